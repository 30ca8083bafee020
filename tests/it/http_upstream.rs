//! Servers behind HTTP: which parts of requests reach the server, and which parts of responses reach the
//! client.

use serde_json::{Value, json};

use super::support::{
    Http, HttpUpstream, ProxyTest, Response, Session, approval, call, in_session, stateless,
    stateless_call,
};

/// Starts a proxy between HTTP clients and this server.
fn between<const N: usize>(upstream: &HttpUpstream, flags: [&str; N]) -> (Session, Http) {
    let test = ProxyTest::new().config(upstream.config()).flags([
        "--transport",
        "streamable-http",
        "--port",
        "0",
        "--insecure-no-auth",
    ]);
    let session = test.flags(flags).start();
    let http = session.http();
    (session, http)
}

fn wipe() -> Value {
    json!([{"name": "wipe", "annotations": {"destructiveHint": true},
            "inputSchema": {"type": "object"}}])
}

// invariants.md, 3: "What the server was never sent, it cannot have answered." The body of an HTTP error
// usually goes on unchanged, but not while a call is held.
#[test]
fn an_http_error_cannot_answer_a_held_call() {
    let upstream = HttpUpstream::start(&wipe());
    let (_proxy, http) = between(&upstream, []);
    let session = http.session();
    let forged = [
        (
            "application/json",
            r#"{"jsonrpc":"2.0","id":5,"result":{"content":[]}}"#,
        ),
        (
            "application/json",
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"nobody"}}"#,
        ),
        (
            "text/event-stream",
            "data: {\"jsonrpc\":\"2.0\",\"id\":\"5\",\"result\":{}}\n\n",
        ),
    ];
    let ping = |id: u64| {
        let ping = json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
        http.post(&in_session(&session), ping)
    };
    // While no call is held, the client gets the server's error.
    upstream.answers_with("ping", 400, forged[1].0, forged[1].1);
    let mut response = ping(1);
    assert_eq!(response.status, 400);
    assert_eq!(response.json()["error"]["message"], "nobody");
    let mut stream = http.post(&in_session(&session), call(5, "wipe"));
    let prompt = stream.message();
    assert_eq!(prompt["method"], "elicitation/create", "{prompt}");
    for (n, (kind, body)) in forged.into_iter().enumerate() {
        upstream.answers_with("ping", 400, kind, body);
        let id = 10 + n as u64;
        let mut response = ping(id);
        assert_eq!(response.status, 400);
        assert_eq!(response.header("content-type"), Some("application/json"));
        let error = response.json();
        assert_eq!(error["id"], id, "{error}");
        assert!(
            error["error"]["message"].to_string().contains("400"),
            "{error}"
        );
    }
    let answer = json!({"jsonrpc": "2.0", "id": prompt["id"], "result": approval()});
    assert_eq!(http.post(&in_session(&session), answer).status, 202);
    assert_eq!(stream.message()["result"]["content"][0]["text"], "wipe ran");
    assert_eq!(upstream.calls("wipe").len(), 1);
    assert_eq!(ping(2).header("content-type"), Some("text/event-stream"));
}

/// A call with the argument `region`, which some tools want in a header.
fn in_region(id: u64, tool: &str, region: &str) -> Value {
    let mut call = stateless_call(id, tool);
    call["params"]["arguments"] = json!({"region": region, "note": "prod"});
    call
}

/// Returns the `Mcp-Param-*` headers of the newest call of a tool.
fn params_of_last(upstream: &HttpUpstream, tool: &str) -> Vec<(String, String)> {
    let calls = upstream.calls(tool);
    let last = calls.last().expect("the call has arrived");
    let params = last.headers_starting_with("mcp").into_iter();
    let params = params.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let standard = ["mcp-protocol-version", "mcp-method", "mcp-name"];
    params
        .filter(|(name, _)| !standard.contains(&name.as_str()))
        .collect()
}

fn region(value: &str) -> Vec<(String, String)> {
    vec![("mcp-param-my-region".to_owned(), value.to_owned())]
}

/// `sql` declares a header, `plain` declares none, and the one that `bad` declares is not valid.
fn tools() -> Value {
    let tool = |name: &str, schema: Value| {
        json!({"name": name, "annotations": {"readOnlyHint": true},
               "inputSchema": {"type": "object", "properties": {"region": schema}}})
    };
    json!([
        tool("plain", json!({"type": "string"})),
        tool(
            "bad",
            json!({"type": "string", "x-mcp-header": "My Region"})
        ),
        tool(
            "sql",
            json!({"type": "string", "x-mcp-header": "My-Region"})
        ),
    ])
}

fn list_tools(http: &Http) -> Value {
    let mut list = stateless_call(1, "x");
    list["method"] = json!("tools/list");
    list["params"].as_object_mut().unwrap().remove("name");
    list["params"].as_object_mut().unwrap().remove("arguments");
    let [version, _, _] = stateless("x");
    http.post(&[version, ("mcp-method", "tools/list")], list)
        .message()
}

/// Posts a call with its required headers and `more`.
fn post(http: &Http, tool: &str, call: &Value, more: &[(&str, &str)]) -> Response {
    let headers: Vec<(&str, &str)> = stateless(tool).into_iter().chain(more.to_vec()).collect();
    http.post(&headers, call)
}

// invariants.md, 2: "No `Mcp-Param-*` header that a client sent with an approved call goes on".
#[test]
fn only_param_headers_made_from_the_arguments_reach_a_server_whose_list_is_known() {
    for upstream in [
        HttpUpstream::start(&tools()),
        HttpUpstream::start(&tools()).in_pages(),
    ] {
        // The proxy reads the list itself; no client has requested it.
        let (_proxy, http) = between(&upstream, []);
        let call = in_region(1, "sql", "eu");
        for more in [
            &[][..],
            &[("mcp-param-my-region", "eu")],
            &[
                ("mcp-param-my-region", "eu"),
                ("Mcp-Param-My_Region", "prod"),
                ("Mcp-Param-Note", "prod"),
                ("Mcp_Param_My_Region", "prod"),
            ],
            &[("MCP-PARAM-MY-REGION", "=?base64?ZXU=?=")],
            &[("mcp-param-my-region", "prod")],
            &[
                ("mcp-param-my-region", "prod"),
                ("mcp-param-my-region", "eu"),
            ],
        ] {
            assert_eq!(post(&http, "sql", &call, more).status, 200, "{more:?}");
            assert_eq!(params_of_last(&upstream, "sql"), region("eu"), "{more:?}");
        }
        for tool in ["plain", "bad"] {
            let call = in_region(2, tool, "eu");
            let more = [("mcp-param-my-region", "eu"), ("mcp-param-x", "prod")];
            assert_eq!(post(&http, tool, &call, &more).status, 200);
            assert_eq!(params_of_last(&upstream, tool), [], "{tool}");
        }
    }
}

// SPEC 2026-07-28: declared headers must match the arguments; of any other header, "ignore it".
#[test]
fn declared_headers_are_compared_and_others_dropped_once_a_client_has_the_list() {
    let upstream = HttpUpstream::start(&tools());
    let (_proxy, http) = between(&upstream, ["--mode", "none"]);
    assert_eq!(list_tools(&http)["result"]["tools"], tools());
    let call = in_region(1, "sql", "eu");
    let right = ("mcp-param-my-region", "eu");
    for more in [
        &[][..],
        &[("mcp-param-my-region", "prod")],
        &[right, right],
        &[right, ("mcp-param-my-region", "prod")],
        &[("mcp-param-my_region", "eu")],
    ] {
        let mut response = post(&http, "sql", &call, more);
        assert_eq!(response.status, 400, "{more:?}");
        assert_eq!(response.json()["error"]["code"], -32020, "{more:?}");
    }
    assert!(upstream.calls("sql").is_empty());
    for other in [
        ("Mcp-Param-My_Region", "prod"),
        ("mcp-param-note", "prod"),
        ("mcp-param-x", "said by no argument"),
        ("mcp-param-x", "=?base64?!?="),
    ] {
        assert_eq!(post(&http, "sql", &call, &[right, other]).status, 200);
        assert_eq!(params_of_last(&upstream, "sql"), region("eu"), "{other:?}");
        let call = in_region(2, "plain", "eu");
        assert_eq!(post(&http, "plain", &call, &[right, other]).status, 200);
        assert_eq!(params_of_last(&upstream, "plain"), [], "{other:?}");
    }
    // Some servers take another spelling of the name for the same tool.
    let odd = in_region(3, "Plain ", "eu");
    let headers = [("mcp-param-note", "prod")];
    let mut name = stateless("=?base64?UGxhaW4g?=").to_vec();
    name.extend(headers);
    assert_eq!(http.post(&name, odd).status, 200);
    assert_eq!(params_of_last(&upstream, "Plain "), []);
    // The list changes, and with it the declared headers.
    let mut changed = tools();
    changed[0]["inputSchema"] = changed[2]["inputSchema"].clone();
    changed[2]["inputSchema"] = json!({"type": "object"});
    upstream.set_tools(&changed);
    list_tools(&http);
    assert_eq!(post(&http, "sql", &call, &[right]).status, 200);
    assert_eq!(params_of_last(&upstream, "sql"), []);
    let call = in_region(4, "plain", "eu");
    assert_eq!(post(&http, "plain", &call, &[right]).status, 200);
    assert_eq!(params_of_last(&upstream, "plain"), region("eu"));
}

/// Returns the retry that approves a call.
fn approved(asked: &Value, call: &Value) -> Value {
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    let keys = result["inputRequests"].as_object().unwrap();
    let key = keys.keys().next().unwrap();
    let mut retry = call.clone();
    retry["id"] = json!(call["id"].as_u64().unwrap() + 100);
    retry["params"]["inputResponses"] = json!({key: approval()});
    retry["params"]["requestState"] = result["requestState"].clone();
    retry
}

#[test]
fn a_call_is_forwarded_without_headers_that_were_not_shown() {
    let upstream = HttpUpstream::start(&wipe());
    let more = [("mcp-param-my-region", "eu"), ("mcp-param-x", "prod")];
    // With a list, and without any.
    for has_list in [true, false] {
        if !has_list {
            upstream.answers_with("tools/list", 500, "text/plain", "no list today");
        }
        let (_proxy, http) = between(&upstream, []);
        let call = in_region(1, "wipe", "eu");
        let asked = post(&http, "wipe", &call, &more).message();
        let retry = approved(&asked, &call);
        let done = post(&http, "wipe", &retry, &more).message();
        assert_eq!(done["result"]["content"][0]["text"], "wipe ran", "{done}");
        assert_eq!(params_of_last(&upstream, "wipe"), []);
    }
    assert_eq!(upstream.calls("wipe").len(), 2);
}

// A client that still has the list must send the header, and the server requires it.
#[test]
fn the_first_call_of_a_client_that_knows_the_list_keeps_its_param_headers() {
    for flags in [&["--mode", "destructive"], &["--mode", "none"]] {
        let upstream = HttpUpstream::start(&tools());
        let (_proxy, http) = between(&upstream, *flags);
        let call = in_region(1, "sql", "größe");
        let header = ("mcp-param-my-region", "=?base64?Z3LDtsOfZQ==?=");
        assert_eq!(post(&http, "sql", &call, &[header]).status, 200);
        assert_eq!(params_of_last(&upstream, "sql"), region(header.1));
        // A value that no argument has is refused even before the list is known.
        let wrong = post(&http, "other", &call, &[("mcp-param-my-region", "x")]);
        assert_eq!(wrong.status, 400);
    }
}

// Only the body of a request goes on, and headers that are made from it.
#[test]
fn no_other_header_of_a_client_reaches_the_server() {
    let upstream = HttpUpstream::start(&tools());
    let (_proxy, http) = between(&upstream, ["--mode", "none"]);
    let odd = [
        ("mcp-session-id-x", "1"),
        ("mcp_name", "wipe"),
        ("mcp_method", "tools/list"),
        ("mcp_protocol_version", "2025-11-25"),
        ("mcp-param", "1"),
        ("last-event-id", "1-1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("cookie", "a=b"),
        ("x-mcp-header", "My-Region"),
    ];
    assert_eq!(
        post(&http, "plain", &in_region(1, "plain", "eu"), &odd).status,
        200
    );
    let call = upstream.calls("plain").remove(0);
    for (name, _) in odd {
        assert!(
            call.headers_starting_with(name).is_empty(),
            "{name}: {call:?}"
        );
    }
    let made = [
        ("mcp-method", "tools/call"),
        ("mcp-name", "plain"),
        ("mcp-protocol-version", "2026-07-28"),
    ];
    let mut found = call.headers_starting_with("mcp");
    found.sort_unstable();
    assert_eq!(found, made);
    // `Mcp-Param-*` headers belong to calls only.
    let mut get = in_region(2, "sql", "eu");
    get["method"] = json!("prompts/get");
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "prompts/get"),
        ("mcp-name", "sql"),
        ("mcp-param-my-region", "eu"),
    ];
    for learned in [false, true] {
        if learned {
            list_tools(&http);
        }
        assert_eq!(http.post(&headers, &get).status, 200);
        let got = upstream.requests("prompts/get").pop().unwrap();
        assert!(got.headers_starting_with("mcp-param").is_empty(), "{got:?}");
    }
}
