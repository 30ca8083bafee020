//! `wrap`, `unwrap` and `clients`, and that a guarded entry works when a client starts it.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use super::support::{Home, notes_server, proxy};

// Issue 20: "The wrapped entry is started as the client would start it, lists tools and calls one."
#[test]
fn a_guarded_entry_lists_the_tools_and_calls_one_and_is_restored() {
    let home = Home::new();
    let entry = json!({"command": notes_server(), "args": [], "env": {"API_KEY": "hunter2"}});
    let text = format!("{{ // mine\n\"mcpServers\": {{\"notes\": {entry}}},\n}}\n");
    let path = home.write(".cursor/mcp.json", &text);
    let shown = home.succeeds(&["wrap", "cursor"]);
    assert!(
        shown.contains("--write") && !shown.contains("hunter2"),
        "{shown}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let clients =
        || -> Value { serde_json::from_str(&home.succeeds(&["clients", "--json"])).unwrap() };
    let server = &clients()[0]["servers"][0];
    assert_eq!(server["guarded"], false);

    home.succeeds(&["wrap", "cursor", "--write"]);
    let wrapped = fs::read_to_string(&path).unwrap();
    let json = wrapped.replace("// mine", "").replace("},\n}", "}\n}");
    let json: Value = serde_json::from_str(&json).unwrap();
    let entry = &json["mcpServers"]["notes"];
    assert_eq!(
        entry["command"],
        proxy().canonicalize().unwrap().to_str().unwrap()
    );
    assert_eq!(clients()[0]["servers"][0]["connected"], Value::Null);
    let hello = json!({
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "it", "version": "1"},
    });
    let answers = home.ask(
        entry,
        &[
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
            json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "list_notes", "arguments": {}}}),
        ],
    );
    let tools = answers[1]["result"]["tools"].as_array().unwrap();
    assert!(
        tools.iter().any(|tool| tool["name"] == "delete_note"),
        "{answers:?}"
    );
    assert!(answers[2]["result"]["content"].is_array(), "{answers:?}");
    let server = &clients()[0]["servers"][0];
    assert!(
        server["connected"]
            .as_str()
            .is_some_and(|time| time.starts_with("20")),
        "{server}"
    );
    assert_eq!(
        (&server["kind"], &server["guarded"]),
        (&json!("stdio"), &json!(true))
    );

    home.succeeds(&["unwrap", "--all", "--write"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let kept = fs::read_dir(home.path().join(".local/state/approval-proxy/wrap")).unwrap();
    assert_eq!(kept.count(), 0);
}

#[test]
fn runs_at_the_same_time_guard_all_servers_and_forget_none() {
    let home = Home::new();
    let servers: serde_json::Map<String, Value> = (0..6)
        .map(|number| (format!("s{number}"), json!({"command": "x"})))
        .collect();
    let text = json!({"mcpServers": servers}).to_string();
    let path = home.write(".cursor/mcp.json", &text);
    for verb in ["wrap", "unwrap"] {
        let start = |server: &String| {
            let mut command = home.command(&proxy());
            command.args([verb, "cursor", "--server", server, "--write"]);
            command.stdin(Stdio::null()).stdout(Stdio::piped());
            command.spawn().unwrap()
        };
        let runs: Vec<_> = servers.keys().map(start).collect();
        for run in runs {
            let output = run.wait_with_output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{said}");
            assert!(!said.contains("by its structure"), "{said}");
        }
        let guarded = fs::read_to_string(&path).unwrap().matches("--name").count();
        assert_eq!(guarded, if verb == "wrap" { servers.len() } else { 0 });
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn exit_codes_say_whether_something_was_left() {
    let home = Home::new();
    let good = home.write(
        ".kiro/settings/mcp.json",
        r#"{"mcpServers": {"a": {"command": "x"}}}"#,
    );
    let bad = home.write(".cursor/mcp.json", "{");
    let code = |words: &[&str]| home.run(words).status.code().unwrap();
    assert_eq!(code(&["wrap"]), 2);
    assert_eq!(code(&["wrap", "no-such-client"]), 2);
    assert_eq!(code(&["wrap", "kiro", "--server", "b"]), 2);
    assert_eq!(code(&["wrap", "gone.json"]), 3);
    assert_eq!(code(&["wrap", "zed"]), 3);
    assert_eq!(code(&["wrap", "--all", "--write"]), 3);
    assert_eq!(fs::read_to_string(&bad).unwrap(), "{");
    assert!(fs::read_to_string(&good).unwrap().contains("--name"));
    assert_eq!(code(&["unwrap", "kiro", "--write"]), 0);
    assert_eq!(code(&["clients"]), 0);
}

#[test]
fn files_of_a_project_change_only_if_they_are_named_and_without_a_path() {
    let home = Home::new();
    let text = r#"{"mcpServers": {"a": {"command": "x"}}}"#;
    let path = home.write("work/.mcp.json", text);
    assert_eq!(
        home.run(&["wrap", "claude-code", "--write"]).status.code(),
        Some(3)
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    home.succeeds(&["wrap", "work/.mcp.json", "--write"]);
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .contains(r#""command": "approval-proxy""#)
    );
    home.succeeds(&["unwrap", "work/.mcp.json", "--write"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}
