//! CONTRACT section 2: the forms of a config, what reaches the server, and the proxy that is
//! asked to start itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use approval_proxy::config::{CommandTarget, Environment, Flags, Resolved, Target, load};
use serde_json::{Value, json};

use super::support::{ProxyTest, Session, proxy, scripted_upstream};

fn report(session: &mut Session) -> Value {
    session.handshake();
    session.script(json!({"do": "report"}))
}

// "JSON in one of three forms: `{"mcpServers": {NAME: ENTRY}, "approvalProxy": {…}}`; one `ENTRY`
// (name `upstream`; an `approvalProxy` beside it counts); an array of `ENTRY` with `name`
// (default `server-<index>`)."
#[test]
fn each_of_the_three_forms_starts_its_server() {
    type Form = fn(Value) -> (Value, &'static [&'static str], &'static str);
    let forms: [Form; 5] = [
        |entry| (json!({"mcpServers": {"db": entry}}), &[], "db"),
        |entry| (entry, &[], "upstream"),
        |entry| (json!([entry]), &[], "server-0"),
        |mut entry| {
            entry["name"] = json!("named");
            (
                json!([{"command": "false"}, entry]),
                &["-s", "named"],
                "named",
            )
        },
        |entry| {
            (
                json!([{"command": "false"}, entry]),
                &["-s", "server-1"],
                "server-1",
            )
        },
    ];
    for form in forms {
        let test = ProxyTest::new();
        let (config, flags, name) = form(test.built_entry());
        let mut test = test.config(&config);
        for flag in flags {
            test = test.flags([flag]);
        }
        let mut session = test.start();
        session.handshake();
        session.passes("read", json!({}));
        assert_eq!(session.decision("read")["server"], name, "{config}");
        session.finish();
    }
    // "an `approvalProxy` beside it counts"
    let test = ProxyTest::new();
    let mut entry = test.built_entry();
    entry["approvalProxy"] = json!({"dryRun": true});
    let mut session = test.config(entry).start();
    session.handshake();
    session.passes("wipe", json!({}));
    session.finish();
}

// "`$VAR`, `${VAR}` and `${VAR:-default}` expand in `command`, `args`, `env`, …"
#[test]
fn variables_expand_and_env_cwd_and_args_reach_the_server() {
    let test = ProxyTest::new();
    let folder = test.path("work");
    std::fs::create_dir(&folder).unwrap();
    let mut session = test
        .entry("command", json!("${HERE}/scripted_upstream"))
        .entry("env", json!({"PLAIN": "1", "MADE": "$HERE:${GONE:-none}"}))
        .entry("cwd", json!(folder))
        .env(
            "HERE",
            scripted_upstream().parent().unwrap().to_str().unwrap(),
        )
        .env("RECORDED", "yes")
        .upstream(["--show", "${RECORDED}-${UNSET_HERE:-default}"])
        .start();
    let report = report(&mut session);
    let here = scripted_upstream().parent().unwrap().to_str().unwrap();
    assert_eq!(report["env"]["PLAIN"], "1");
    assert_eq!(report["env"]["MADE"], format!("{here}:none"));
    assert_eq!(report["cwd"], json!(folder.canonicalize().unwrap()));
    assert_eq!(report["args"][3], "yes-default");
    session.finish();
}

// DESIGN, Processes: "never see the proxy's own `APPROVAL_*` variables"
#[test]
fn the_proxys_own_variables_never_reach_the_server() {
    let mut session = ProxyTest::new()
        .env("APPROVAL_DRY_RUN", "false")
        .env("APPROVAL_AUTH_TOKEN", "t0p-s3cret")
        .env("APPROVAL_APPROVAL_AUTH_TOKEN", "t0p-s3cret")
        .env("APPROVALS", "stays")
        .env("OTHER", "stays")
        .start();
    let report = report(&mut session);
    assert_eq!(report["env"]["OTHER"], "stays");
    let names = report["env"].as_object().unwrap().keys();
    let ours: Vec<&String> = names.filter(|name| name.starts_with("APPROVAL_")).collect();
    // "with a depth marker in the child's environment as a second guard"
    assert_eq!(ours, ["APPROVAL_PROXY_DEPTH"]);
    assert!(!report.to_string().contains("t0p-s3cret"));
    session.finish();
}

// "Keys that other clients put into an entry are left alone."
#[test]
fn a_config_with_the_keys_of_other_clients_works_unchanged() {
    let mut session = ProxyTest::new()
        .entry("type", json!("stdio"))
        .entry("disabled", json!(false))
        .entry("autoApprove", json!(["x"]))
        .entry("envFile", json!("${NOT_EXPANDED}"))
        .start();
    session.handshake();
    assert_eq!(session.stderr(), "");
    session.finish();
}

// DESIGN, Processes: "A config entry that resolves to the proxy itself (a user points
// `--upstream` at the very file that starts us) is refused"
#[test]
fn a_config_that_names_the_proxy_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("approval-proxy");
    std::os::unix::fs::symlink(proxy(), &link).unwrap();
    for (command, path) in [
        (proxy(), None),
        (link.clone(), None),
        (PathBuf::from("approval-proxy"), Some(folder.path())),
    ] {
        let mut test = ProxyTest::new();
        if let Some(path) = path {
            test = test.entry("env", json!({"PATH": path}));
        }
        let config = test.path("config.json");
        let mut session = test
            .entry("command", json!(command))
            .entry("args", json!(["--upstream", config]))
            .start();
        assert_eq!(session.exit().0, 4);
        session.stderr_says("is approval-proxy itself");
        assert_eq!(session.stderr().lines().count(), 1, "{}", session.stderr());
        assert_eq!(session.rest(), Vec::<Value>::new());
    }
}

// "… with a depth marker in the child's environment as a second guard."
#[test]
fn a_proxy_that_starts_itself_through_a_shell_ends_soon() {
    let test = ProxyTest::new().without_log();
    let config = test.path("config.json");
    let mut session = test
        .entry("command", json!("sh"))
        .entry(
            "args",
            json!(["-c", "exec \"$0\" --upstream \"$1\"", proxy(), config]),
        )
        .start();
    let (code, took) = session.exit();
    assert_eq!(code, 4);
    assert!(took < Duration::from_secs(5), "{took:?}");
    session.stderr_says("stand behind one another");
    assert_eq!(session.rest(), Vec::<Value>::new());
}

#[test]
fn a_proxy_behind_a_proxy_works() {
    let inner = ProxyTest::new();
    let entry = inner.built_entry();
    let config = inner.path("inner.json");
    std::fs::write(&config, json!({"mcpServers": {"inner": entry}}).to_string()).unwrap();
    let mut session = inner
        .entry("command", json!("sh"))
        .entry(
            "args",
            json!([
                "-c",
                "exec \"$0\" -m none --upstream \"$1\"",
                proxy(),
                config
            ]),
        )
        .start();
    session.handshake();
    let id = session.call("wipe", json!({}));
    session.approve();
    assert_eq!(
        session.response(id)["result"]["content"][0]["text"],
        "wipe ran"
    );
    session.finish();
}

// STYLE, Tests: "`examples/*` and `proxy.example.json` are loaded by a test through the same code"
#[test]
fn the_example_configs_load_and_say_what_their_texts_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let load = |name: &str| {
        // The checkout may be another user's, whose files the proxy refuses.
        let copy = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(copy.path(), std::fs::read(root.join(name)).unwrap()).unwrap();
        let resolved = load(Flags::new(copy.path().to_owned()), &Environment::default());
        resolved.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let example = load("proxy.example.json");
    assert_eq!(example.warnings, Vec::<String>::new());
    assert_eq!(example.server.name, "notes");
    assert_eq!(command(&example).command, "cargo");
    assert!(example.settings.explain);
    assert_eq!(example.settings.timeout, Some(Duration::from_secs(300)));

    let upstream = load("examples/clients/upstream.json");
    assert_eq!(upstream.warnings, Vec::<String>::new());
    assert_eq!(upstream.server.name, "filesystem");
    assert_eq!(command(&upstream).command, "npx");

    // What the clients start is the proxy with that file.
    for client in [
        "claude-code.mcp.json",
        "claude_desktop_config.json",
        "cursor.mcp.json",
    ] {
        let client = load(&format!("examples/clients/{client}"));
        assert_eq!(command(&client).command, "approval-proxy");
        assert!(
            command(&client)
                .args
                .iter()
                .any(|arg| arg.ends_with("upstream.json"))
        );
    }
}

fn command(resolved: &Resolved) -> &CommandTarget {
    match &resolved.server.target {
        Target::Command(target) => target,
        Target::Url(_) => panic!("{} has a url", resolved.server.name),
    }
}
