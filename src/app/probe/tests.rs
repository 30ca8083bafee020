use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

/// Runs a shell script as a server.
async fn probed(script: &str, limit: Duration) -> Result<ToolList, ProbeError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let args = ["-c".into(), format!(". {}", path.display()).into()];
    let start = Start {
        command: "/bin/sh".as_ref(),
        args: &args,
        env: &BTreeMap::from([("API_KEY".to_owned(), "hunter22".to_owned())]),
        cwd: None,
    };
    list_tools(&start, limit, None).await
}

const LONG: Duration = Duration::from_secs(20);
const HELLO: &str = r#"read l; echo '{"jsonrpc":"2.0","id":1,"result":{}}'; read l"#;

#[tokio::test]
async fn all_pages_are_read_and_requests_of_the_server_are_answered() {
    let script = format!(
        r#"echo starting; {HELLO}
read l; echo '{{"jsonrpc":"2.0","id":"r","method":"roots/list"}}'
read answer; case "$answer" in *-32601*) ;; *) exit 1;; esac
echo '{{"jsonrpc":"2.0","method":"notifications/message"}}'
echo '{{"jsonrpc":"2.0","id":2,"result":{{"tools":[{{"name":"read_a"}}],"nextCursor":"c"}}}}'
read l; case "$l" in *'"cursor":"c"'*) ;; *) exit 1;; esac
echo '{{"jsonrpc":"2.0","id":3,"result":{{"tools":[{{"name":"b","annotations":{{"destructiveHint":true}}}}]}}}}'
read l"#
    );
    let listed = probed(&script, LONG).await.unwrap();
    let names: Vec<&str> = listed.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["read_a", "b"]);
    assert_eq!(listed.noise.as_deref(), Some("starting"));
    let policy = Policy::new(Rules::default()).unwrap();
    let decisions = decide(&policy, &listed.tools);
    assert_eq!(decisions["read_a"].action, Action::Pass);
    assert_eq!(decisions["b"].action, Action::Ask);
}

#[tokio::test]
async fn a_server_without_initialize_lists_its_tools_too() {
    let script = r#"read l; echo '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}'
read l; case "$l" in *'"2026-07-28"'*) ;; *) exit 1;; esac
echo '{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}'; read l"#;
    assert_eq!(probed(script, LONG).await.unwrap().tools, []);
}

#[tokio::test]
async fn failures_say_what_happened_and_hide_secrets() {
    let short = Duration::from_millis(300);
    for (script, limit, says) in [
        ("echo no $API_KEY >&2; exit 3", LONG, "exited with status 3"),
        ("exec sleep 60", short, "within 0.3 s"),
        ("echo 'Hello!'; exec sleep 60", short, "no MCP: `Hello!`"),
        (
            r#"read l; echo '{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"\u001b[31mno"}}'; exit 0"#,
            LONG,
            r"with an error: \u{1b}[31mno",
        ),
        (
            r#"read l; echo '{"jsonrpc":"2.0","id":1,"result":{}}'; read l; read l; echo '{"jsonrpc":"2.0","id":2,"result":[]}'; read l"#,
            LONG,
            "not a list of tools",
        ),
        ("exec cat /dev/zero", LONG, "wrote more than"),
    ] {
        let error = probed(script, limit).await.unwrap_err().to_string();
        assert!(error.contains(says), "{script}: {error}");
        assert!(!error.contains("hunter22"), "{error}");
        assert!(!error.contains('\u{1b}'), "{error}");
    }
}

#[tokio::test]
async fn a_flood_on_stderr_neither_blocks_the_server_nor_is_quoted_whole() {
    let flood = "head -c 3000000 /dev/zero | tr '\\0' 'x' >&2; echo >&2; echo the end >&2; exit 1";
    let error = probed(flood, LONG).await.unwrap_err().to_string();
    assert!(error.contains("the end"), "{error}");
    assert!(error.len() < 3000, "{}", error.len());
}

#[test]
fn the_stricter_decision_about_a_name_counts() {
    let tool = |is_destructive| Tool {
        name: "x".to_owned(),
        annotations: Some(ToolAnnotations {
            destructive_hint: Some(is_destructive),
            read_only_hint: Some(!is_destructive),
            ..ToolAnnotations::default()
        }),
    };
    let policy = Policy::new(Rules::default()).unwrap();
    for tools in [[tool(true), tool(false)], [tool(false), tool(true)]] {
        assert_eq!(decide(&policy, &tools)["x"].action, Action::Ask);
    }
}
