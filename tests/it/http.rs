//! HTTP clients: sessions, stateless requests, and requests that must be refused.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{
    Http, ProxyTest, Session, TOKEN, approval, call, eventually, in_session, initialize, stateless,
    stateless_call,
};

/// Starts a proxy with a token, and returns a client that presents it.
fn served<const N: usize>(flags: [&str; N]) -> (Session, Http) {
    let test = ProxyTest::new().env("APPROVAL_AUTH_TOKEN", TOKEN);
    let test = test.flags(["--transport", "streamable-http", "--port", "0"]);
    let session = test.flags(flags).start();
    let http = session.http().with_token();
    (session, http)
}

fn answer(http: &Http, session: &str, prompt: &Value, result: Value) {
    let body = json!({"jsonrpc": "2.0", "id": prompt["id"], "result": result});
    assert_eq!(http.post(&in_session(session), body).status, 202);
}

#[test]
fn the_prompt_arrives_on_the_calls_own_stream_and_a_yes_lets_the_call_run() {
    let (proxy, http) = served([]);
    let session = http.session();
    let mut other = http.send("GET", "/mcp", &in_session(&session), "");
    assert_eq!(other.status, 200);
    let mut waits = http.post(&in_session(&session), call(1, "hang"));
    let mut stream = http.post(&in_session(&session), call(2, "wipe"));
    let prompt = stream.message();
    assert_eq!(prompt["method"], "elicitation/create", "{prompt}");
    assert!(!proxy.has_recorded("wipe"));
    answer(&http, &session, &prompt, approval());
    let result = stream.message();
    assert_eq!(
        (&result["id"], &result["result"]["content"][0]["text"]),
        (&json!(2), &json!("wipe ran"))
    );
    assert_eq!(stream.next(), None);
    // The server got exactly the bytes of the body.
    assert!(proxy.has_recorded(&format!("{}\n", call(2, "wipe"))));
    assert_eq!(proxy.decision("wipe")["decision"], "approved");
    proxy.signal(Signal::TERM);
    assert_eq!(waits.message()["error"]["code"], -32603);
    assert_eq!(other.next(), None);
}

#[test]
fn no_call_runs_after_a_no_or_without_an_answer() {
    let (mut proxy, http) = served(["--timeout", "1"]);
    let session = http.session();
    let mut refused = http.post(&in_session(&session), call(1, "wipe"));
    let prompt = refused.message();
    answer(&http, &session, &prompt, json!({"action": "decline"}));
    assert_eq!(refused.message()["result"]["isError"], true);
    let mut late = http.post(&in_session(&session), call(2, "wipe"));
    assert_eq!(late.message()["method"], "elicitation/create");
    assert_eq!(late.message()["method"], "notifications/cancelled");
    assert_eq!(late.message()["result"]["isError"], true);
    assert!(!proxy.has_recorded("wipe"));
    let decisions: Vec<Value> = proxy
        .decisions()
        .into_iter()
        .map(|line| line["decision"].clone())
        .collect();
    assert_eq!(decisions, ["denied", "timeout"]);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit().0, 143);
}

// Approvals, caches and prompts never cross sessions.
#[test]
fn an_answer_in_another_session_does_not_count() {
    let (proxy, http) = served(["--approve-ttl", "60"]);
    let (mine, yours) = (http.session(), http.session());
    assert_ne!(mine, yours);
    let mut stream = http.post(&in_session(&mine), call(1, "wipe"));
    let prompt = stream.message();
    // The other session's upstream gets an answer that it did not ask for.
    answer(&http, &yours, &prompt, approval());
    let mut same = http.post(&in_session(&yours), call(1, "wipe"));
    let theirs = same.message();
    assert_eq!(theirs["method"], "elicitation/create");
    assert_ne!(theirs["id"], prompt["id"]);
    assert!(!proxy.has_recorded(r#""name":"wipe""#));
    answer(&http, &mine, &prompt, approval());
    assert_eq!(stream.message()["result"]["content"][0]["text"], "wipe ran");
    answer(&http, &yours, &theirs, json!({"action": "cancel"}));
    assert_eq!(same.message()["result"]["isError"], true);
}

#[test]
fn two_stateless_clients_with_the_same_id_get_their_own_answers() {
    let (proxy, http) = served(["--mode", "none"]);
    let mut first = http.post(&stateless("slow"), stateless_call(7, "slow"));
    let mut second = http.post(&stateless("read"), stateless_call("7", "read"));
    let answers = [first.message(), second.message()];
    assert_eq!(
        (&answers[0]["id"], &answers[1]["id"]),
        (&json!(7), &json!("7"))
    );
    assert_eq!(answers[0]["result"]["content"][0]["text"], "slow ran");
    assert_eq!(answers[1]["result"]["content"][0]["text"], "read ran");
    assert_eq!(proxy.decisions().len(), 2);
}

#[test]
fn a_stateless_call_is_asked_about_and_its_retry_runs() {
    let (proxy, http) = served([]);
    let asked = http
        .post(&stateless("wipe"), stateless_call(1, "wipe"))
        .message();
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let mut retry = stateless_call(2, "wipe");
    let key = asked["result"]["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap();
    retry["params"]["inputResponses"] = json!({key: approval()});
    retry["params"]["requestState"] = asked["result"]["requestState"].clone();
    assert!(!proxy.has_recorded("wipe"));
    let result = http.post(&stateless("wipe"), &retry).message();
    assert_eq!(
        result["result"]["content"][0]["text"], "wipe ran",
        "{result}"
    );
    // The state is valid once.
    retry["id"] = json!(3);
    let again = http.post(&stateless("wipe"), &retry).message();
    assert_eq!(again["result"]["isError"], true, "{again}");
    assert_eq!(proxy.decisions().len(), 2);
}

#[test]
fn closing_a_response_cancels_a_stateless_call_but_not_a_legacy_one() {
    let (proxy, http) = served(["--mode", "none"]);
    let session = http.session();
    let stream = http.post(&in_session(&session), call(5, "hang"));
    eventually("the call arrives", || proxy.has_recorded("hang"));
    stream.close();
    let stream = http.post(&stateless("hang"), stateless_call(6, "hang"));
    stream.close();
    eventually("it is cancelled", || {
        proxy.has_recorded("notifications/cancelled")
    });
    assert!(!proxy.has_recorded(r#""requestId":5"#));
}

// SPEC 2025-11-25, "Resumability and Redelivery".
#[test]
fn a_client_that_reconnects_gets_the_events_it_missed() {
    let (_proxy, http) = served([]);
    let session = http.session();
    let mut stream = http.post(&in_session(&session), call(1, "wipe"));
    let prompt = stream.message();
    let last = stream.last_event.clone().unwrap();
    stream.close();
    answer(&http, &session, &prompt, approval());
    let [id, version] = in_session(&session);
    let mut again = http.send("GET", "/mcp", &[id, version, ("last-event-id", &last)], "");
    assert_eq!(again.message()["result"]["content"][0]["text"], "wipe ran");
    assert_eq!(again.next(), None);
    for gone in ["99-0", "1-99", "x", "", "-"] {
        let response = http.send("GET", "/mcp", &[id, version, ("last-event-id", gone)], "");
        assert_eq!(response.status, 400, "{gone}");
    }
}

// Attack: a page of another site sends requests, or makes its own name resolve to the proxy.
#[test]
fn pages_of_other_sites_are_turned_away() {
    let (proxy, http) = served([]);
    let body = initialize().to_string();
    for headers in [
        &[("host", "evil.example")][..],
        &[("host", "127.0.0.1.evil.example")],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
    ] {
        for (method, path) in [
            ("POST", "/mcp"),
            ("GET", "/sse"),
            ("POST", "/message?sessionId=1"),
            ("GET", "/healthz"),
        ] {
            let response = http.send(method, path, headers, &body);
            assert_eq!(response.status, 403, "{method} {path} {headers:?}");
        }
    }
    let twice = [
        ("origin", "http://localhost"),
        ("origin", "http://evil.example"),
    ];
    assert_eq!(http.send("POST", "/mcp", &twice, &body).status, 403);
    assert_eq!(
        http.send("GET", "/healthz", &[("origin", "http://localhost:1")], "")
            .status,
        200
    );
    assert!(proxy.recorded().is_empty());
}

#[test]
fn a_token_is_required_if_one_is_set() {
    let test = ProxyTest::new().env("APPROVAL_AUTH_TOKEN", "s3cret-token");
    let proxy = test
        .flags(["--transport", "streamable-http", "--port", "0"])
        .start();
    let http = proxy.http();
    for value in ["Bearer other-token", "Basic s3cret-token", "s3cret-token"] {
        let response = http.post(&[("authorization", value)], initialize());
        assert_eq!(
            (response.status, response.header("www-authenticate")),
            (401, Some("Bearer"))
        );
    }
    assert_eq!(http.post(&[], initialize()).status, 401);
    // Health checks have no token.
    assert_eq!(http.send("GET", "/healthz", &[], "").status, 200);
    let evil = [("host", "evil.example")];
    assert_eq!(http.send("GET", "/healthz", &evil, "").status, 403);
    let mut let_in = http.post(&[("authorization", "Bearer s3cret-token")], initialize());
    assert_eq!(let_in.status, 200);
    let_in.message();
    assert!(!proxy.has_recorded("s3cret-token"));
}

// The proxy remembers ids and progress tokens until a request ends, so their size is limited.
#[test]
fn an_id_or_progress_token_that_is_too_long_is_refused() {
    let (proxy, http) = served(["--mode", "none"]);
    let session = http.session();
    let long = "x".repeat(1_025);
    let with_token = json!({"jsonrpc": "2.0", "id": 1, "method": "ping",
        "params": {"_meta": {"progressToken": long}}});
    let with_id = json!({"jsonrpc": "2.0", "id": long, "method": "ping"});
    for message in [&with_token, &with_id] {
        let mut response = http.post(&in_session(&session), message);
        assert_eq!(response.status, 400);
        let error = response.json()["error"]["message"].to_string();
        assert!(error.contains("longer than 1,024 bytes"), "{error}");
        assert_eq!(
            http.post(&in_session(&session), json!([message])).status,
            400
        );
    }
    assert!(!proxy.has_recorded(&long));
}

// Attack: a raw newline in a body starts a second line on the server's stdin.
#[test]
fn no_body_becomes_two_lines() {
    let (proxy, http) = served(["--mode", "none"]);
    let session = http.session();
    let hidden = call(9, "wipe").to_string();
    for body in [
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"a\":\"\n{hidden}\n\"}}}}"
        ),
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}\n{hidden}"),
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}\r{hidden}"),
        "{".to_owned(),
        String::new(),
    ] {
        let mut response = http.post(&in_session(&session), &body);
        assert_eq!(response.status, 400, "{body}");
        assert!(
            response.json()["error"]["code"].as_i64().unwrap() < -32000,
            "{body}"
        );
    }
    let pretty = serde_json::to_string_pretty(&call(2, "read")).unwrap();
    let mut response = http.post(&in_session(&session), pretty);
    assert_eq!(
        response.message()["result"]["content"][0]["text"],
        "read ran"
    );
    let recorded = String::from_utf8(proxy.recorded()).unwrap();
    let lines = recorded.lines().filter(|line| line.contains("tools/call"));
    assert_eq!(lines.count(), 1, "{recorded}");
}

// Attack: headers and body name different tools, and the proxy and the server believe different ones.
#[test]
fn headers_that_contradict_the_body_stop_the_call() {
    let (proxy, http) = served(["--mode", "none"]);
    for headers in [
        stateless("wipe"),
        [
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "read"),
        ],
        [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/list"),
            ("mcp-name", "read"),
        ],
        [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-name", "read"),
            ("mcp-name", "read"),
        ],
    ] {
        let mut response = http.post(&headers, stateless_call(4, "read"));
        assert_eq!(response.status, 400, "{headers:?}");
        let error = response.json();
        assert_eq!(
            (&error["error"]["code"], &error["id"]),
            (&json!(-32020), &json!(4))
        );
    }
    assert!(!proxy.has_recorded("tools/call"));
    // Each refusal is recorded.
    let refused = proxy
        .log()
        .into_iter()
        .filter(|line| line["event"] == "refused");
    assert_eq!(refused.count(), 4);
}

#[test]
fn sessions_end_when_their_client_deletes_them_and_unknown_ones_are_not_found() {
    let (proxy, http) = served([]);
    let session = http.session();
    let status = |session: &str| http.post(&in_session(session), call(1, "read")).status;
    assert_eq!(
        http.send("DELETE", "/mcp", &in_session(&session), "")
            .status,
        204
    );
    for gone in [&*session, "0123456789abcdef0123456789abcdef", "x", ""] {
        assert_eq!(status(gone), 404, "{gone}");
        assert_eq!(
            http.send("DELETE", "/mcp", &in_session(gone), "").status,
            404
        );
    }
    assert_eq!(http.post(&[], call(1, "read")).status, 400);
    eventually("its upstream ends", || {
        proxy.log().iter().any(|line| line["event"] == "close")
    });
}

#[test]
fn a_request_that_is_too_large_or_of_a_wrong_kind_is_refused() {
    let (proxy, http) = served(["--max-message-size", "64KiB"]);
    let large =
        json!({"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"a": "a".repeat(100_000)}});
    assert_eq!(http.post(&[], large).status, 413);
    assert_eq!(
        http.post(&[("content-type", "text/plain")], initialize())
            .status,
        415
    );
    assert_eq!(
        http.post(&[("accept", "application/json")], initialize())
            .status,
        406
    );
    assert_eq!(http.send("PUT", "/mcp", &[], "").status, 405);
    assert_eq!(http.send("GET", "/other", &[], "").status, 404);
    assert_eq!(
        http.post(&[("mcp-protocol-version", "1999-01-01")], initialize())
            .status,
        400
    );
    assert!(proxy.recorded().is_empty());
}

#[test]
fn when_an_upstream_dies_pending_requests_get_an_error_and_the_session_ends() {
    let (proxy, http) = served(["--mode", "none"]);
    let session = http.session();
    let mut waits = http.post(&in_session(&session), call(1, "hang"));
    let script =
        json!({"jsonrpc": "2.0", "id": 2, "method": "script", "params": {"do": "exit", "code": 3}});
    http.post(&in_session(&session), script);
    let error = waits.message();
    assert_eq!(
        (&error["id"], &error["error"]["code"]),
        (&json!(1), &json!(-32603)),
        "{error}"
    );
    eventually("the session is gone", || {
        http.post(&in_session(&session), call(3, "read")).status == 404
    });
    // New sessions can start, each with a server of its own.
    let again = http.session();
    let mut response = http.post(&in_session(&again), call(1, "read"));
    assert_eq!(
        response.message()["result"]["content"][0]["text"],
        "read ran"
    );
    drop(proxy);
}

// Calls that were handed to the server and not read get an answer too.
#[test]
fn every_call_gets_an_answer_if_an_upstream_stops_reading_and_dies() {
    let (proxy, http) = served(["--mode", "none"]);
    let session = http.session();
    let script = |id: u64, what: &str| {
        let body = json!({"jsonrpc": "2.0", "id": id, "method": "script", "params": {"do": what}});
        http.post(&in_session(&session), body)
    };
    let pid = script(1, "report").message()["result"]["pid"]
        .as_i64()
        .unwrap();
    let _stopped = script(2, "stop_reading");
    eventually("it has stopped", || proxy.has_recorded("stop_reading"));
    let large = "x".repeat(1 << 20);
    let mut calls: Vec<_> = (10..22)
        .map(|id| {
            let mut call = call(id, "read");
            call["params"]["arguments"]["large"] = json!(large);
            http.begin(&in_session(&session), call)
        })
        .collect();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    for call in &mut calls {
        let mut response = call.response();
        match response.status {
            200 => assert_eq!(response.message()["error"]["code"], -32603),
            status => assert_eq!(status, 404),
        }
    }
}

// invariants.md, 3: never for "a client over HTTP": nobody can know if a person has seen the prompt.
#[test]
fn silence_over_http_is_never_a_yes() {
    let (mut proxy, http) = served(["--timeout", "1", "--timeout-action", "approve"]);
    let session = http.session();
    let stream = http.post(&in_session(&session), call(1, "wipe"));
    stream.close();
    let mut stays = http.post(&in_session(&session), call(2, "wipe"));
    assert_eq!(stays.message()["method"], "elicitation/create");
    assert_eq!(stays.message()["method"], "notifications/cancelled");
    assert_eq!(stays.message()["result"]["isError"], true);
    assert!(!proxy.has_recorded("wipe"));
    proxy.signal(Signal::TERM);
    proxy.exit();
}

// Messages that the server sends about one client must not reach another.
#[test]
fn server_messages_about_one_stateless_client_reach_no_other() {
    let (proxy, http) = served(["--mode", "none"]);
    let waits = http.post(&stateless("slow"), {
        let mut call = stateless_call(1, "slow");
        call["params"]["arguments"]["ms"] = json!(1500);
        call
    });
    let say = |text: Value| {
        let mut body = stateless_call(2, "x");
        body["method"] = json!("script");
        body["params"]["do"] = json!("say");
        body["params"]["text"] = json!(format!("{text}\n"));
        let headers = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "script"),
        ];
        http.post(&headers, body)
    };
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "of another"}});
    let question =
        json!({"jsonrpc": "2.0", "id": 77, "method": "elicitation/create", "params": {}});
    let mut said = [say(log), say(question)];
    for response in &mut said {
        assert!(response.message()["result"]["did"].is_string());
    }
    let mut waits = waits;
    assert_eq!(waits.message()["result"]["content"][0]["text"], "slow ran");
    // The proxy answers the server's question with an error.
    eventually("it is refused", || proxy.has_recorded(r#""id":77,"error""#));
}

#[test]
fn a_stateless_client_cannot_start_a_session_in_the_shared_server() {
    let (proxy, http) = served(["--mode", "none"]);
    let mut call = stateless_call(1, "x");
    call["method"] = json!("initialize");
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "initialize"),
    ];
    assert_eq!(http.post(&headers, &call).status, 404);
    for id in [Value::Null, json!(true), json!([1]), json!({})] {
        let mut call = stateless_call(1, "read");
        call["id"] = id;
        assert_eq!(http.post(&stateless("read"), call).status, 400);
    }
    // An `initialize` without an id would start a session that nobody could end.
    let mut nameless = initialize();
    nameless.as_object_mut().unwrap().remove("id");
    assert_eq!(http.post(&[], nameless).status, 400);
    assert!(proxy.recorded().is_empty());
}

// invariants.md, 2: the person sees the arguments, so no header may say more.
#[test]
fn param_headers_cannot_contradict_the_arguments() {
    let (proxy, http) = served(["--mode", "none"]);
    let [a, b, c] = stateless("read");
    let mut call = stateless_call(1, "read");
    call["params"]["arguments"] = json!({"region": "test"});
    let post = |region: &str| {
        http.post(&[a, b, c, ("mcp-param-region", region)], &call)
            .status
    };
    assert_eq!(post("prod"), 400);
    assert!(!proxy.has_recorded("tools/call"));
    assert_eq!(post("test"), 200);
}

// SPEC 2024-11-05, "HTTP with SSE".
#[test]
fn clients_of_2024_11_05_can_use_its_two_endpoints() {
    let (proxy, http) = served([]);
    let mut stream = http.send("GET", "/sse", &[], "");
    let endpoint = stream.message().as_str().unwrap().to_owned();
    let post = |body: Value| http.send("POST", &endpoint, &[], &body.to_string()).status;
    assert_eq!(post(initialize()), 202);
    assert_eq!(stream.message()["id"], "init");
    assert_eq!(
        post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})),
        202
    );
    assert_eq!(post(call(1, "wipe")), 202);
    let prompt = stream.message();
    assert_eq!(prompt["method"], "elicitation/create");
    assert_eq!(
        post(json!({"jsonrpc": "2.0", "id": prompt["id"], "result": approval()})),
        202
    );
    assert_eq!(stream.message()["result"]["content"][0]["text"], "wipe ran");
    // Streamable HTTP does not know the session.
    let id = endpoint.split_once('=').unwrap().1;
    assert_eq!(http.post(&in_session(id), call(2, "read")).status, 404);
    stream.close();
    eventually("its upstream ends", || {
        proxy.log().iter().any(|line| line["event"] == "close")
    });
    assert_eq!(post(call(2, "read")), 404);
}

// A server of 2024-11-05 may take a while to name its endpoint for messages.
#[test]
fn messages_sent_before_an_sse_server_is_ready_are_not_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/sse", listener.local_addr().unwrap());
    let config = json!({"mcpServers": {"box": {"url": url}}});
    let mut session = ProxyTest::new().config(config).start();
    let id = session.request("ping", json!({}));
    let (mut stream, _) = listener.accept().unwrap();
    // By then the proxy has read the client's message.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    write!(stream, "{head}event: endpoint\ndata: /message\n\n").unwrap();
    let (mut post, _) = listener.accept().unwrap();
    let mut request = vec![0; 4096];
    let count = post.read(&mut request).unwrap();
    assert!(request[..count].starts_with(b"POST /message"));
    write!(post, "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").unwrap();
    write!(
        stream,
        "data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n\n"
    )
    .unwrap();
    assert_eq!(session.response(id)["result"], json!({}));
}
