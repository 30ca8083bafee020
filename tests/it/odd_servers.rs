//! HTTP servers that are odd like real ones: they work, or the error says what they did.

use serde_json::{Value, json};

use super::support::{
    OddServer, ProxyTest, Request, Session, approval, in_session, plain_response, response,
};

fn around(entry: Value) -> Session {
    let test = ProxyTest::new().config(json!({"mcpServers": {"box": entry}}));
    test.start()
}

fn initialize(session: &mut Session) -> Value {
    let client = json!({"name": "test", "version": "0"});
    let id = session.request(
        "initialize",
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}),
    );
    session.response(id)
}

/// Returns the error that `initialize` gets from this server.
fn error_of(entry: Value) -> String {
    let mut session = around(entry);
    let response = initialize(&mut session);
    let error = response["error"]["message"].as_str();
    error.unwrap_or_else(|| panic!("{response}")).to_owned()
}

fn works(entry: Value) {
    let mut session = around(entry);
    session.handshake();
    session.passes("read", json!({}));
    session.finish();
}

fn with_answer(request: &Request, respond: impl Fn(Value) -> String) -> String {
    match request.answer() {
        Some(answer) if request.method == "POST" => respond(answer),
        _ => plain_response(request),
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// Turns a numeric id of an answer into text, and the reverse.
fn swapped(mut answer: Value) -> Value {
    answer["id"] = match &answer["id"] {
        Value::Number(number) => json!(number.to_string()),
        Value::String(text) => text
            .parse::<i64>()
            .map_or(json!(text), |number| json!(number)),
        other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            other.clone()
        }
    };
    answer
}

#[test]
fn an_id_that_comes_back_as_text_or_as_a_number_is_restored() {
    let as_json = OddServer::start(|request| {
        with_answer(request, |answer| {
            response(200, &[JSON], &swapped(answer).to_string())
        })
    });
    let as_events = OddServer::start(|request| {
        with_answer(request, |answer| {
            let event = format!("data: {}\n\n", swapped(answer));
            response(200, &[("content-type", "text/event-stream")], &event)
        })
    });
    let of_2024 = OddServer::of_2024_that_answers("\n", swapped, plain_response);
    for (server, path) in [(as_json, "/mcp"), (as_events, "/mcp"), (of_2024, "/sse")] {
        let mut session = around(json!({"url": server.url(path)}));
        session.handshake();
        session.passes("read", json!({}));
        let call = json!({"jsonrpc": "2.0", "id": "41", "method": "tools/call",
                          "params": {"name": "read", "arguments": {}}});
        session.send(call);
        let answer = session.response("41");
        assert_eq!(answer["result"]["content"][0]["text"], "read ran");
        session.finish();
    }
}

// invariants.md, 3: "What the server was never sent, it cannot have answered."
#[test]
fn an_id_as_text_cannot_answer_a_held_call() {
    let server = OddServer::start(|request| {
        with_answer(request, |answer| {
            let mut answer = swapped(answer);
            if request.message()["method"] == "ping" {
                // The held call's id, as a number or as text.
                answer["id"] = json!(request.message()["params"]["forge"]);
            }
            response(200, &[JSON], &answer.to_string())
        })
    });
    let mut session = around(json!({"url": server.url("/mcp")}));
    session.handshake();
    let call = session.call("wipe", json!({}));
    let prompt = session.prompt();
    for forge in [json!(call), json!(call.to_string())] {
        let ping = session.request("ping", json!({"forge": forge}));
        let answer = session.response(ping);
        assert!(answer.get("error").is_some(), "{answer}");
    }
    assert_eq!(server.calls("wipe"), 0);
    session.answer(&prompt, approval());
    let answer = session.response(call);
    assert_eq!(
        answer["result"]["content"][0]["text"], "wipe ran",
        "{answer}"
    );
    session.finish();
}

#[test]
fn every_request_has_our_user_agent_unless_the_config_sets_another() {
    let ours = format!("approval-proxy/{}", env!("CARGO_PKG_VERSION"));
    for (headers, wanted) in [
        (json!({}), &*ours),
        (json!({"User-Agent": "Mine/1"}), "Mine/1"),
    ] {
        let server = OddServer::start(plain_response);
        let old = OddServer::of_2024("\n", plain_response);
        let mut session = around(json!({"url": server.url("/mcp"), "headers": headers}));
        session.handshake();
        session.passes("read", json!({}));
        // The proxy opens this stream after `initialized`.
        super::support::eventually("a GET", || {
            server.seen().iter().any(|request| request.method == "GET")
        });
        session.finish();
        works(json!({"url": old.url("/sse"), "headers": headers}));
        let seen: Vec<Request> = server.seen().into_iter().chain(old.seen()).collect();
        for request in &seen {
            assert_eq!(request.header("user-agent"), Some(wanted), "{request:?}");
        }
        assert!(seen.len() > 8);
    }
}

#[test]
fn a_server_of_2024_11_05_is_recognized_by_its_url_or_by_the_config() {
    for (path, key, value) in [
        ("/sse", "x", ""),
        ("/sse/", "x", ""),
        ("/sse?key=1", "x", ""),
        ("/sse", "transport", "sse"),
        ("/sse?", "type", "sse"),
    ] {
        let server = OddServer::of_2024("\r\n", |_| response(500, &[], ""));
        works(json!({"url": server.url(path), key: value}));
        let seen = server.seen();
        assert_eq!((&*seen[0].method, &*seen[0].path), ("GET", path));
    }
}

// SPEC 2025-11-25, "Backwards Compatibility".
#[test]
fn a_server_that_refuses_a_post_is_tried_as_one_of_2024_11_05() {
    for status in [400, 404, 405, 406, 415] {
        // `type` overrides the URL, which would mean HTTP+SSE.
        let server = OddServer::of_2024("\n", move |_| response(status, &[], "no such thing"));
        let entry = json!({"url": server.url("/sse"), "type": "http"});
        let mut session = around(entry);
        session.handshake();
        session.passes("read", json!({}));
        let call = session.call("wipe", json!({}));
        session.approve();
        let answer = session.response(call);
        assert_eq!(answer["result"]["content"][0]["text"], "wipe ran");
        assert_eq!(server.calls("wipe"), 1);
        session.finish();
        let posts = server
            .seen()
            .into_iter()
            .filter(|request| request.method == "POST");
        let to_url = posts.filter(|request| request.path == "/sse").count();
        assert_eq!(to_url, 1, "everything else goes to its endpoint");
    }
}

#[test]
fn if_neither_transport_works_the_error_names_both_attempts() {
    let server = OddServer::start(|request| match &*request.method {
        "POST" => response(404, &[], "nothing here"),
        _ => response(410, &[], "nor here"),
    });
    let error = error_of(json!({"url": server.url("/mcp")}));
    for part in [
        "over streamable HTTP, the server answered 404",
        "it said: \"nothing here\"",
        "over HTTP+SSE, the server answered 410",
        "it said: \"nor here\"",
    ] {
        assert!(error.contains(part), "{error}");
    }
    // A stream without an endpoint, one whose endpoint is elsewhere, and an HTML page.
    for (kind, body, wanted) in [
        (
            "text/event-stream",
            "event: ping\ndata: 1\n\n",
            "does not begin with an `endpoint` event",
        ),
        (
            "text/event-stream",
            "event: endpoint\ndata: http://a.example/m?k=hunter2\n\n",
            "wants its messages at `http://a.example/m?…`, which has another origin",
        ),
        ("text/html", "<html>hi</html>", "content type \"text/html\""),
    ] {
        let server = OddServer::start(move |request| match &*request.method {
            "POST" => response(405, &[], ""),
            _ => response(200, &[("content-type", kind)], body),
        });
        let error = error_of(json!({"url": server.url("/mcp")}));
        assert!(error.contains(wanted), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn only_a_refusal_that_an_old_server_could_give_leads_to_another_attempt() {
    let answered = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"bad args"}}"#;
    for (status, body) in [(400, answered), (403, ""), (429, ""), (500, ""), (503, "")] {
        let server = OddServer::start(move |request| match request.message()["id"].as_u64() {
            Some(id) => {
                let body = body.replace("\"id\":1", &format!("\"id\":{id}"));
                response(status, &[JSON], &body)
            }
            None => plain_response(request),
        });
        let mut session = around(json!({"url": server.url("/mcp")}));
        let answer = initialize(&mut session);
        assert!(answer.get("error").is_some(), "{answer}");
        if !body.is_empty() {
            assert_eq!(answer["error"]["message"], "bad args");
        }
        session.finish();
        let gets = server
            .seen()
            .iter()
            .filter(|request| request.method == "GET")
            .count();
        assert_eq!(gets, 0, "{status}");
    }
}

#[test]
fn redirects_are_followed_within_the_origin_and_are_errors_elsewhere() {
    for status in [301, 307, 308] {
        let server = OddServer::start(move |request| match &*request.path {
            "/mcp/" => plain_response(request),
            _ => response(status, &[("location", "/mcp/")], ""),
        });
        works(json!({"url": server.url("/mcp")}));
    }
    // Following these would lose the message.
    for status in [302, 303] {
        let server =
            OddServer::start(move |_| response(status, &[("location", "/login?s=hunter2")], ""));
        let error = error_of(json!({"url": server.url("/mcp")}));
        let wanted = format!("redirects to `{}?…`; put that URL", server.url("/login"));
        assert!(error.contains(&wanted), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let other = OddServer::start(plain_response);
    let location = format!("http://me:hunter2@127.0.0.1:{}/mcp?key=hunter2", other.port);
    let server = OddServer::start(move |_| response(307, &[("location", &location)], ""));
    let headers = json!({"authorization": "Bearer s3cret-token"});
    let error = error_of(json!({"url": server.url("/mcp"), "headers": headers}));
    let wanted = format!(
        "redirects to `{}?…`, which is another origin",
        other.url("/mcp")
    );
    assert!(error.contains(&wanted), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    assert!(other.seen().is_empty(), "nothing was sent there");
    // An endless redirect.
    let server = OddServer::start(|_| response(307, &[("location", "/mcp")], ""));
    let error = error_of(json!({"url": server.url("/mcp")}));
    assert!(error.contains("redirects to"), "{error}");
    assert_eq!(server.seen().len(), 6);
}

#[test]
fn the_error_names_a_wrong_content_type_or_encoding_and_quotes_the_server() {
    for (headers, body, wanted) in [
        (
            vec![("content-type", "text/html")],
            "<html>Sign in</html>",
            vec![
                "200",
                "\"text/html\"",
                "`application/json` or `text/event-stream`",
                "<html>Sign in",
            ],
        ),
        (
            vec![],
            "{\"jsonrpc\":\"2.0\"}",
            vec!["without a content type", "jsonrpc"],
        ),
        (
            vec![
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
            ],
            "\u{1f}x",
            vec!["content encoding \"gzip\"", "not requested"],
        ),
        (vec![], "", vec!["200", "without a message"]),
    ] {
        let server = OddServer::start({
            let headers = headers.clone();
            move |_| response(200, &headers, body)
        });
        let error = error_of(json!({"url": server.url("/mcp")}));
        for part in wanted {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert_eq!(server.seen()[0].header("accept-encoding"), Some("identity"));
    }
}

#[test]
fn the_error_of_a_busy_server_quotes_it_and_its_retry_after() {
    let server = OddServer::start(|_| response(429, &[("retry-after", "30")], "slow down"));
    let error = error_of(json!({"url": server.url("/mcp")}));
    assert!(
        error.contains("429") && error.contains("\"slow down\""),
        "{error}"
    );
    assert!(error.contains("Retry-After \"30\""), "{error}");
    assert_eq!(
        server.seen().len(),
        1,
        "the request is not repeated at once"
    );
}

#[test]
fn errors_quote_a_server_without_secrets_and_control_characters() {
    let server = OddServer::start(|request| {
        let key = request.header("x-api-key").unwrap_or_default().to_owned();
        let said = format!(
            "key {key} at {}\u{1b}[31m\r\nis unknown{}",
            request.path,
            "x".repeat(9_000)
        );
        response(500, &[("content-type", "text/plain")], &said)
    });
    let entry = json!({"url": server.url("/mcp?k=query-secret"),
                       "headers": {"X-Api-Key": "header-secret"}});
    let error = error_of(entry);
    assert!(
        error.contains("it said: \"key [hidden] at /mcp?k=[hidden][31m"),
        "{error}"
    );
    assert!(error.contains("is unknown"), "{error}");
    assert!(
        !error.contains('\u{1b}') && !error.contains("secret"),
        "{error}"
    );
    assert!(error.len() < 500, "{error}");
}

#[test]
fn paths_with_a_slash_at_the_end_are_served_too() {
    let test = ProxyTest::around_notes().flags([
        "--transport",
        "streamable-http",
        "--port",
        "0",
        "--insecure-no-auth",
    ]);
    let proxy = test.start();
    let http = proxy.http();
    let begin = super::support::initialize().to_string();
    let mut response = http.send("POST", "/mcp/", &[], &begin);
    assert_eq!(response.status, 200);
    response.message();
    let session = response.header("mcp-session-id").unwrap().to_owned();
    let ended = http.send("DELETE", "/mcp/", &in_session(&session), "");
    assert!(ended.status < 300, "{}", ended.status);
    let mut stream = http.send("GET", "/sse/", &[("accept", "text/event-stream")], "");
    assert_eq!(stream.status, 200);
    let endpoint = stream.message();
    assert!(
        endpoint
            .as_str()
            .unwrap()
            .starts_with("/message?sessionId=")
    );
}
