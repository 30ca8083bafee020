//! `doctor`: what it finds, and that it changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::{Home, eventually, is_running, notes_server, proxy};

const CURSOR: &str = ".cursor/mcp.json";

fn with_servers(servers: Value) -> Home {
    let home = Home::new();
    let text = json!({"mcpServers": servers}).to_string();
    home.write(CURSOR, &text);
    home
}

fn text(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    text
}

fn doctor(home: &Home, words: &[&str]) -> (Option<i32>, String) {
    let output = home.run(&[&["doctor"], words].concat());
    (output.status.code(), text(&output))
}

fn as_json(home: &Home, words: &[&str]) -> Value {
    let (_, text) = doctor(home, &[&["--json"], words].concat());
    serde_json::from_str(&text).unwrap()
}

/// The sentences about a server, each with its level.
fn about<'j>(json: &'j Value, server: &str) -> Vec<(&'j str, &'j str)> {
    let findings = json["findings"].as_array().unwrap();
    let about = findings
        .iter()
        .filter(|finding| finding["server"] == server);
    about
        .map(|finding| {
            let works = finding["level"] == "ok";
            assert_eq!(works, finding["fix"].is_null(), "{finding}");
            (
                finding["level"].as_str().unwrap(),
                finding["what"].as_str().unwrap(),
            )
        })
        .collect()
}

#[track_caller]
fn has(json: &Value, server: &str, level: &str, says: &str) {
    let about = about(json, server);
    let found = about
        .iter()
        .any(|(own, what)| *own == level && what.contains(says));
    assert!(found, "{server}: no {level} `{says}` in {about:?}");
}

/// All files below a folder, with their contents.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.insert(path.clone(), Vec::new());
            all.append(&mut tree(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

#[test]
fn a_sound_machine_is_reported_with_its_tools_and_is_left_as_it_was() {
    let home = with_servers(json!({"notes": {"command": notes_server()}}));
    home.succeeds(&["wrap", "cursor", "--write"]);
    let before = tree(&home.path());
    let (code, text) = doctor(&home, &[]);
    assert_eq!(code, Some(0), "{text}");
    for says in [
        "Cursor",
        "guarded; 6 tools",
        "asked about 3: add_note, delete_note, rename_note",
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let json = as_json(&home, &[]);
    assert_eq!((&json["ok"], &json["problems"]), (&json!(true), &json!(0)));
    let server = &json["servers"][0];
    assert_eq!(server["status"], "works");
    assert_eq!(server["tools"].as_array().unwrap().len(), 6);
    assert_eq!(
        server["asked"],
        json!(["add_note", "delete_note", "rename_note"])
    );
    assert_eq!(server["blocked"], json!([]));
    assert_eq!(tree(&home.path()), before);
}

#[test]
fn a_check_is_no_connection_and_calls_no_tool() {
    let home = Home::new();
    let wire = home.path().join("wire");
    let server = format!("tee -a {} | {}", wire.display(), notes_server().display());
    let entry = json!({"command": "sh", "args": ["-c", server]});
    let path = home.write(CURSOR, &json!({"mcpServers": {"notes": entry}}).to_string());
    home.succeeds(&["wrap", "cursor", "--write"]);
    let connected = || -> Value {
        let clients: Value = serde_json::from_str(&home.succeeds(&["clients", "--json"])).unwrap();
        clients[0]["servers"][0]["connected"].clone()
    };
    home.succeeds(&["doctor"]);
    assert_eq!(connected(), Value::Null);
    let sent = fs::read_to_string(&wire).unwrap();
    assert!(
        sent.contains("tools/list") && !sent.contains("tools/call"),
        "{sent}"
    );

    let wrapped: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    home.ask(&wrapped["mcpServers"]["notes"], &[]);
    let before = connected();
    assert!(before.is_string());
    let log = home
        .path()
        .join(".local/state/approval-proxy/audit/notes.jsonl");
    let records = fs::read(&log).unwrap();
    home.succeeds(&["doctor"]);
    assert_eq!(connected(), before);
    assert_eq!(fs::read(&log).unwrap(), records);
}

#[test]
fn a_probe_refuses_every_call_and_writes_no_log() {
    let home = Home::new();
    let args = json!(["--mode", "none", "--", notes_server()]);
    let env = json!({"APPROVAL_PROXY_PROBE": "1", "APPROVAL_DRY_RUN": "1"});
    let entry = json!({"command": proxy(), "args": args, "env": env});
    let hello = json!({
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "it", "version": "1"},
    });
    let answers = home.ask(
        &entry,
        &[
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_notes", "arguments": {}}}),
        ],
    );
    assert_eq!(answers[1]["result"]["isError"], true, "{answers:?}");
    assert_eq!(tree(&home.path()).len(), 0);
}

#[test]
fn each_server_that_does_not_work_is_named_with_what_to_do_and_without_its_secrets() {
    let home = with_servers(json!({
        "lost": {"command": "/nowhere/no-such-program"},
        "bare": {"command": "no-such-program-either"},
        "folder": {"command": "/usr"},
        "dies": {"command": "sh", "args": ["-c", "echo boom $KEY >&2; exit 3"], "env": {"KEY": "hunter2222"}},
        "hangs": {"command": "sleep", "args": ["60"]},
        "babbles": {"command": "sh", "args": ["-c", "echo 'Welcome!'; exec sleep 60"]},
        "floods": {"command": "sh", "args": ["-c", "while :; do echo flood >&2; done"]},
        "closes": {"command": "sh", "args": ["-c", "exec sleep 60 >&-"]},
        "works": {"command": notes_server()},
        "chatty": {"command": "sh", "args": ["-c", format!("echo hi; exec {}", notes_server().display())]},
    }));
    for is_guarded in [false, true] {
        if is_guarded {
            home.succeeds(&["wrap", "cursor", "--write"]);
        }
        let json = as_json(&home, &["--start-timeout", "1"]);
        for (server, says) in [
            ("lost", "no-such-program` does not exist"),
            ("bare", "is in no folder of `PATH`"),
            ("folder", "`/usr` is a folder"),
            ("dies", "exited with status 3 before it"),
            ("dies", "boom [hidden]"),
            ("hangs", "did not list its tools within 1 s"),
            ("babbles", "Welcome!"),
            ("floods", "did not list its tools within 1 s"),
            ("closes", "before it"),
        ] {
            has(&json, server, "problem", says);
        }
        has(&json, "works", "ok", "6 tools");
        has(&json, "chatty", "ok", "6 tools");
        assert_eq!(json["ok"], false);
        assert!(!json.to_string().contains("hunter2222"), "{json}");
    }
    let (code, text) = doctor(&home, &["--start-timeout", "1"]);
    assert_eq!(code, Some(3));
    assert!(!text.contains("hunter2222"), "{text}");
    assert!(
        text.contains("problems;") && text.contains("fix: "),
        "{text}"
    );
}

#[test]
fn mistakes_in_guarded_entries_are_found_without_starting_them() {
    let proxy = proxy();
    let notes = notes_server();
    let home = with_servers(json!({
        "gone": {"command": "/gone/approval-proxy", "args": ["--name", "gone", "--", notes]},
        "dashes": {"command": proxy, "args": ["npx", "x"]},
        "command": {"command": proxy, "args": ["inbox"]},
        "http": {"command": proxy, "args": ["--transport", "http", "--auth-token-file", "auto", "--", notes]},
        "twice": {"command": proxy, "args": ["--", proxy, "--name", "inner", "--", notes]},
        "open": {"command": proxy, "args": ["--mode", "none", "--timeout-action", "approve", "--", notes]},
        "unreachable": {"command": proxy, "args": ["--", notes], "env": {"APPROVAL_REQUIRE_ASSURANCE": "inbox-passphrase"}},
        "relative": {"command": proxy, "args": ["--upstream", "x.json"]},
        "log": {"command": proxy, "args": ["--audit-log", "/gone/folder/log", "--", notes]},
    }));
    let json = as_json(&home, &[]);
    for (server, level, says) in [
        ("gone", "problem", "`/gone/approval-proxy` does not exist"),
        ("dashes", "problem", "does not understand its arguments"),
        ("command", "problem", "guards no server"),
        ("http", "problem", "over stdio"),
        ("open", "advice", "mode `none`"),
        ("open", "advice", "nobody answers"),
        ("unreachable", "problem", "no engine reaches"),
        ("relative", "advice", "`--upstream`, `x.json`, is relative"),
        ("log", "problem", "cannot be created"),
    ] {
        has(&json, server, level, says);
    }
    let findings = json["findings"].as_array().unwrap();
    let fix_of = |server: &str| {
        let finding = findings.iter().find(|finding| finding["server"] == server);
        finding.unwrap()["fix"].as_str().unwrap()
    };
    assert_eq!(fix_of("gone"), "approval-proxy wrap cursor --write");
    assert!(
        fix_of("dashes").contains("put `--` in front"),
        "{}",
        fix_of("dashes")
    );
    // Neither a token of HTTP clients nor the log of the inner proxy.
    assert_eq!(
        tree(&home.path()).len(),
        2,
        "{:?}",
        tree(&home.path()).keys()
    );
}

#[test]
fn a_server_that_is_guarded_twice_is_advice_and_the_second_guard_writes_no_log() {
    let home = Home::new();
    // A copy, because a proxy refuses to start itself.
    let copy = home.path().join("approval-proxy");
    fs::copy(proxy(), &copy).unwrap();
    let args = json!([
        "--name",
        "outer",
        "--",
        copy,
        "--name",
        "inner",
        "--",
        notes_server()
    ]);
    let text = json!({"mcpServers": {"twice": {"command": proxy(), "args": args}}}).to_string();
    home.write(CURSOR, &text);
    let json = as_json(&home, &[]);
    has(&json, "twice", "advice", "guarded twice");
    has(&json, "twice", "ok", "6 tools");
    assert!(!home.path().join(".local").exists());
}

#[test]
fn broken_configurations_are_findings_and_not_the_end() {
    let home = with_servers(json!({"notes": {"command": notes_server()}}));
    let config = home.write(
        ".config/approval-proxy/config.json",
        r#"{"approvalProxy": {"explainDecision": true}}"#,
    );
    fs::set_permissions(config, fs::Permissions::from_mode(0o600)).unwrap();
    home.write(".codex/config.toml", "[mcp_servers.a\n");
    let (code, text) = doctor(&home, &[]);
    assert_eq!(code, Some(3));
    for says in ["explainDecisions", "config.toml", "not TOML", "6 tools"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let mut command = home.command(&proxy());
    let output = command
        .arg("doctor")
        .env("APPROVAL_APPROVER", "\u{1b}[31m")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = self::text(&output);
    assert!(
        text.contains("APPROVAL_APPROVER") && text.contains("6 tools"),
        "{text}"
    );
}

#[test]
fn an_exposed_state_folder_and_a_file_in_its_place_are_problems() {
    let home = Home::new();
    let folder = home.path().join("state");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let named = ["--state-dir", folder.to_str().unwrap()];
    let (code, text) = doctor(&home, &named);
    assert_eq!(code, Some(3));
    assert!(text.contains("fix: chmod 700 "), "{text}");
    // Also for root, to whom nothing is read-only.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    let (code, text) = doctor(&home, &named);
    assert_eq!(code, Some(3));
    assert!(text.contains("not writable"), "{text}");
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    assert_eq!(doctor(&home, &named).0, Some(3));
}

#[test]
fn names_that_somebody_chose_cannot_control_the_terminal() {
    let evil = "a\u{1b}[31m\u{202e}\n";
    let list = json!({"jsonrpc": "2.0", "id": 2, "result": {"tools": [{"name": format!("delete{evil}")}]}});
    let script = format!(
        "read l; echo '{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{}}}}'; read l; read l; printf '%s\\n' '{list}'; read l"
    );
    let home = with_servers(json!({
        evil: {"command": format!("/gone{evil}")},
        "tools": {"command": "sh", "args": ["-c", script]},
    }));
    let (code, text) = doctor(&home, &[]);
    assert_eq!(code, Some(3));
    assert!(text.contains(r"a\u{1b}[31m\u{202e}\n"), "{text}");
    let json = as_json(&home, &[]);
    assert_eq!(
        json["servers"][1]["tools"],
        json!([format!("delete{evil}")])
    );
}

#[test]
fn servers_of_a_project_start_only_if_they_are_wanted() {
    let home = Home::new();
    let mark = home.path().join("started");
    let script = format!("touch {}; exit 1", mark.display());
    let entry = json!({"mcpServers": {"theirs": {"command": "sh", "args": ["-c", script]}}});
    home.write("work/.mcp.json", &entry.to_string());
    let run = |words: &[&str]| {
        let mut command = home.command(&proxy());
        command.current_dir(home.path().join("work")).args(words);
        command.stdin(Stdio::null()).output().unwrap()
    };
    let output = run(&["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output).contains("doctor --project"), "{output:?}");
    assert!(!mark.exists());
    assert_eq!(run(&["doctor", "--project"]).status.code(), Some(3));
    assert!(mark.exists());
}

#[test]
fn entries_that_only_the_client_can_start_are_not_started() {
    let home = Home::new();
    let text = r#"{"mcpServers": {
        "asks": {"command": "x", "args": ["${input:key}"]},
        "unset": {"command": "x", "env": {"A": "${env:NOT_SET_HERE}"}},
        "off": {"command": "/gone", "disabled": true},
        "both": {"command": "x", "url": "https://a/"},
    }}"#;
    home.write(CURSOR, text);
    let json = as_json(&home, &[]);
    has(
        &json,
        "asks",
        "advice",
        "only the client knows the value of `input:key`",
    );
    has(&json, "unset", "advice", "`NOT_SET_HERE` is not set here");
    has(&json, "off", "ok", "it is disabled");
    has(&json, "both", "advice", "both a command and a URL");
    assert_eq!(json["ok"], true);
    assert_eq!(json["servers"][0]["status"], "not started");
}

#[test]
fn what_works_and_could_be_better_is_advice() {
    let notes = notes_server();
    let guarded = |name: &str, rest: &[&str]| {
        let mut args = vec!["--name", name, "--", notes.to_str().unwrap()];
        args.extend(rest);
        json!({"command": proxy(), "args": args, "env": {"KEY": "hunter2222"}})
    };
    let home =
        with_servers(json!({"notes": guarded("notes", &[]), "other": guarded("other", &[])}));
    let slow = json!({"notes": guarded("notes", &["other"]), "patient": guarded("patient", &[])});
    let mut gemini = json!({"mcpServers": slow});
    gemini["mcpServers"]["patient"]["timeout"] = json!(700_000);
    gemini["mcpServers"]["bare"] = json!({"command": "./run"});
    home.write(".gemini/settings.json", &gemini.to_string());
    for folder in ["", ".cursor"] {
        fs::set_permissions(home.path().join(folder), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let json = as_json(&home, &[]);
    has(
        &json,
        "notes",
        "advice",
        "another server is called `notes` too",
    );
    has(&json, "notes", "advice", "Gemini CLI ends a tool call");
    has(&json, "bare", "advice", "relative to the folder");
    assert_eq!(
        about(&json, "patient").len(),
        1,
        "{:?}",
        about(&json, "patient")
    );
    assert_eq!(
        about(&json, "other").len(),
        1,
        "{:?}",
        about(&json, "other")
    );
    let exposed = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["client"] == "cursor" && finding["server"].is_null());
    let exposed = exposed.unwrap();
    assert!(
        exposed["fix"]
            .as_str()
            .unwrap()
            .starts_with("chmod go-rwx "),
        "{exposed}"
    );
}

/// Answers every request with 401. Returns its URL.
fn server_that_wants_a_login() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn a_refused_connection_is_reported_without_waiting_for_the_server() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let home = with_servers(json!({
        "http": {"url": format!("http://{nobody}/mcp")},
        "sse": {"url": format!("http://{nobody}/sse")},
        "guarded": {"command": proxy(), "args": ["--name", "g", "--url", format!("http://{nobody}/mcp")]},
    }));
    // A proxy that serves a client waits longer than this for a server to come back.
    let json = as_json(&home, &["--start-timeout", "8"]);
    for server in ["http", "sse", "guarded"] {
        has(&json, server, "problem", "cannot be reached");
        has(&json, server, "problem", "Connection refused");
    }
}

#[test]
fn a_server_that_wants_a_login_is_not_logged_in_to() {
    let home = with_servers(json!({"remote": {"url": server_that_wants_a_login()}}));
    let browser = home.path().join("browser");
    let opened = home.path().join("opened");
    fs::write(&browser, format!("#!/bin/sh\ntouch {}\n", opened.display())).unwrap();
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o700)).unwrap();
    let run = || {
        let mut command = home.command(&proxy());
        command.args(["doctor", "--json"]).env("BROWSER", &browser);
        let output = command.stdin(Stdio::null()).output().unwrap();
        serde_json::from_str::<Value>(&text(&output)).unwrap()
    };
    has(&run(), "remote", "ok", "requires a login");
    home.succeeds(&["wrap", "cursor", "--write"]);
    let json = run();
    has(&json, "remote", "advice", "requires a login");
    assert_eq!(json["ok"], true);
    assert!(!opened.exists());
    let state = home.path().join(".local/state/approval-proxy");
    let names: Vec<_> = tree(&state)
        .into_keys()
        .filter(|path| path.parent() == Some(&state))
        .collect();
    assert_eq!(names, [state.join("wrap")]);
}

#[test]
fn a_signal_ends_it_and_the_servers() {
    let home = Home::new();
    let pid = home.path().join("pid");
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; trap '' TERM; while :; do sleep 1; done",
        pid.display()
    );
    let entry = json!({"mcpServers": {"hangs": {"command": "sh", "args": ["-c", script]}}});
    home.write(CURSOR, &entry.to_string());
    let mut child = home
        .command(&proxy())
        .arg("doctor")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the server has started", || pid.exists());
    let server: u64 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    let own = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(own, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    eventually("the server has ended", || !is_running(server));
}
