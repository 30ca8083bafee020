//! Remote entries that are not as simple as a URL with headers: what cannot work behind us is left alone, with the reason.

use serde_json::json;

use super::toml::values_of;
use super::*;

fn home_of(client: &Client, entry: &str) -> Home {
    let text = match client.name {
        "codex" => format!("[mcp_servers.a]\n{entry}\n"),
        _ => format!("{{\"mcpServers\": {{\"a\": {{{entry}}}}}}}"),
    };
    Home::with(client, text.as_bytes())
}

/// Checks that an entry stays as it is, and returns why.
fn left(client: &Client, entry: &str) -> String {
    let home = home_of(client, entry);
    let plan = home.plan(Task::Wrap(None)).unwrap();
    assert!(plan.changes.is_empty(), "{entry}");
    assert_eq!(plan.left.len(), 1, "{entry}");
    let why = &plan.left[0].why;
    assert!(!why.contains("hunter2"), "{why}");
    why.clone()
}

#[test]
fn entries_of_codex_that_would_not_start_behind_us_are_left_alone() {
    const URL: &str = "url = \"https://a/mcp\"\n";
    for (keys, why) in [
        (
            "bearer_token_env_var = \"\"",
            "`bearer_token_env_var` is not the name of a variable",
        ),
        (
            "bearer_token_env_var = 5",
            "`bearer_token_env_var` is not the name of a variable",
        ),
        (
            "bearer_token_env_var = \"A=hunter2\"",
            "`bearer_token_env_var` is not the name of a variable",
        ),
        (
            "env_http_headers = [\"X\"]",
            "`env_http_headers` does not name a variable for each header",
        ),
        (
            "env_http_headers = { X = 5 }",
            "`env_http_headers` does not name a variable for each header",
        ),
        (
            "env_http_headers = { X = \"\" }",
            "`env_http_headers` does not name a variable for each header",
        ),
        ("http_headers = { X = 5 }", "its headers are not texts"),
        ("http_headers = { X = \"\" }", "the header `X` is empty"),
        (
            "http_headers = { \"X Y\" = \"hunter2\" }",
            "`X Y` is not the name of a header",
        ),
        (
            "http_headers = { X = \"a\\nhunter2\" }",
            "the value of the header `X` has characters",
        ),
        (
            "env_http_headers = { \"\" = \"A\" }",
            "`` is not the name of a header",
        ),
        (
            "http_headers = { X = \"1\" }\nenv_http_headers = { x = \"A\" }",
            "the header `x` stands in it twice",
        ),
        (
            "http_headers = { authorization = \"hunter2\" }\nbearer_token_env_var = \"T\"",
            "the header `Authorization` stands in it twice",
        ),
        (
            "http_headers = { X = \"1\" }\nheaders = { Y = \"1\" }",
            "it has headers in several places",
        ),
        (
            "bearer_token = \"hunter2\"",
            "the client makes its headers or its login itself",
        ),
        (
            "cwd = \"/\"\nargs = [\"x\"]",
            "it has a URL, and keys of a command",
        ),
    ] {
        let found = left(&codex::CLIENT, &format!("{URL}{keys}"));
        assert!(found.contains(why), "{keys}: {found}");
    }
}

#[test]
fn odd_keys_of_codex_are_passed_on_once_and_unknown_ones_stay() {
    let keys = "url = \"https://a/mcp\"\nbearer_token_env_var = \"B\"\nmystery = { k = [1] }\n\
                env_http_headers = { X = \"A\", Y = \"B\", Z = \"A\", W = \"MCP_HEADER_V\" }\nhttp_headers = { V = \"1\" }";
    let home = home_of(&codex::CLIENT, keys);
    let before = home.text();
    home.run(Task::Wrap(None));
    let values = values_of(syntax::Syntax::Toml, &home.text());
    let entry = &values["mcp_servers"]["a"];
    assert_eq!(
        entry["env_vars"],
        json!(["A", "B", "MCP_HEADER_V"]),
        "{entry}"
    );
    // The variable of that name is not ours to set.
    assert_eq!(entry["env"], json!({"MCP_HEADER_V_2": "1"}), "{entry}");
    assert_eq!(entry["mystery"]["k"][0]["written"], "1");
    let args = entry["args"].to_string();
    for option in [
        "V=MCP_HEADER_V_2",
        "W=MCP_HEADER_V\"",
        "X=A",
        "Z=A",
        "\"--bearer-env\",\"B\"",
    ] {
        assert!(args.contains(option), "{option}: {args}");
    }
    home.run(Task::Unwrap);
    assert_eq!(home.text(), before);
}

#[test]
fn urls_that_we_cannot_ask_are_left_alone() {
    for url in [
        "ws://a/mcp",
        "wss://a/${KEY}",
        "file:///a",
        "unix:/run/a.sock",
        "npipe://./pipe/a",
        "a/mcp",
        "localhost:8080/mcp",
        "http:",
        "https://",
        "http:///mcp:x",
        "stdio://hunter2",
    ] {
        let why = left(&cursor::CLIENT, &format!("\"url\": \"{url}\""));
        assert!(why.contains("`http://` or `https://`"), "{url}: {why}");
    }
}

#[test]
fn a_url_with_a_fragment_stands_in_no_argument_and_in_no_output() {
    for url in [
        "https://a/mcp#hunter2",
        "HTTPS://a/mcp#hunter2",
        "HTTPS://u:hunter2@a/mcp",
        " HTTPS://a/mcp?k=hunter2",
        "${BASE}/mcp",
        "{env:BASE}/mcp",
    ] {
        let home = home_of(&cursor::CLIENT, &format!("\"url\": \"{url}\""));
        let before = home.text();
        let plan = home.run(Task::Wrap(None));
        for change in &plan.changes {
            let shown = format!("{}{}", change.before, change.after);
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let values = values_of(syntax::Syntax::Json, &home.text());
        let entry = &values["mcpServers"]["a"];
        assert_eq!(
            entry["args"],
            json!(["--name", "a", "--url-env", "MCP_SERVER_URL"])
        );
        assert_eq!(entry["env"], json!({"MCP_SERVER_URL": url}));
        home.run(Task::Unwrap);
        assert_eq!(home.text(), before);
    }
}

#[test]
fn a_url_in_capitals_or_among_blanks_is_guarded() {
    for url in [
        "HTTPS://A.example/mcp",
        "http://[::1]:8080/mcp",
        " https://a/mcp ",
    ] {
        let home = home_of(&cursor::CLIENT, &format!("\"url\": \"{url}\""));
        let before = home.text();
        assert_eq!(home.run(Task::Wrap(None)).changes.len(), 1, "{url}");
        home.run(Task::Unwrap);
        assert_eq!(home.text(), before);
    }
}

#[test]
fn headers_that_we_could_not_send_are_left_to_the_client() {
    for (headers, why) in [
        (r#"{"X": ""}"#, "the header `X` is empty"),
        (
            r#"{"X": "a", "x": "b"}"#,
            "the header `x` stands in it twice",
        ),
        (r#"{"X=Y": "a"}"#, "`X=Y` is not the name of a header"),
        (r#"{"X": {}}"#, "its headers are not texts"),
        (r#"["X: hunter2"]"#, "its headers are not texts"),
    ] {
        let entry = format!("\"url\": \"https://a/mcp\", \"headers\": {headers}");
        let found = left(&cursor::CLIENT, &entry);
        assert!(found.contains(why), "{headers}: {found}");
    }
    // Only the client knows the value.
    let entry = r#""url": "https://a/mcp", "headers": {"X": "${env:EMPTY}"}"#;
    assert_eq!(
        home_of(&cursor::CLIENT, entry)
            .run(Task::Wrap(None))
            .changes
            .len(),
        1
    );
}
