//! contract.md, "Configuration": the forms of a configuration, what reaches the server, and a
//! configuration that would start the proxy itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use approval_proxy::config::{
    CommandTarget, Environment, Flags, Layer, Resolved, Seconds, ServerChoice, Target, Value as _,
    load,
};
use serde_json::{Value, json};

use super::support::{ProxyTest, Session, proxy, scripted_upstream};

fn report(session: &mut Session) -> Value {
    session.handshake();
    session.script(json!({"do": "report"}))
}

// contract.md, "Configuration": "JSON in one of three forms: `{"mcpServers": {NAME: ENTRY},
// "approvalProxy": {…}}`; one `ENTRY` (name `upstream`; an `approvalProxy` beside it counts); an array
// of `ENTRY` with `name` (default `server-<index>`)."
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
    let test = ProxyTest::new();
    let mut entry = test.built_entry();
    entry["approvalProxy"] = json!({"dryRun": true});
    let mut session = test.config(entry).start();
    session.handshake();
    session.passes("wipe", json!({}));
    session.finish();
}

// contract.md, "Configuration": "`${NAME}` and `${NAME:-default}` expand in `command`, `args`, `env`,
// `cwd`, `envFile`, `url` and `headers`".
#[test]
fn variables_expand_and_env_cwd_and_args_reach_the_server() {
    let test = ProxyTest::new();
    let folder = test.path("work");
    std::fs::create_dir(&folder).unwrap();
    let mut session = test
        .entry("command", json!("${HERE}/scripted_upstream"))
        .entry(
            "env",
            json!({"PLAIN": "1", "MADE": "${HERE}:${GONE:-none}", "TEXT": "pa$sword $${HERE}"}),
        )
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
    assert_eq!(report["env"]["TEXT"], "pa$sword ${HERE}");
    assert_eq!(report["cwd"], json!(folder.canonicalize().unwrap()));
    assert_eq!(report["args"][3], "yes-default");
    session.finish();
}

// contract.md, "Processes": "Servers never see the proxy's own `APPROVAL_*` variables."
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
    // Only the marker that ends a chain of proxies is passed on.
    assert_eq!(ours, ["APPROVAL_PROXY_DEPTH"]);
    assert!(!report.to_string().contains("t0p-s3cret"));
    session.finish();
}

// contract.md, "Configuration": "Keys that other clients put into an entry are left alone."
#[test]
fn a_config_with_the_keys_of_other_clients_works_unchanged() {
    let mut session = ProxyTest::new()
        .entry("type", json!("stdio"))
        .entry("disabled", json!(false))
        .entry("autoApprove", json!([]))
        .entry("description", json!("of notes"))
        .start();
    session.handshake();
    assert_eq!(session.stderr(), "");
    session.finish();
}

// A warning names keys without effect, and `$NAME` if that variable is set in the environment.
#[test]
fn keys_without_effect_are_warned_about_once_and_the_server_starts() {
    let mut session = ProxyTest::new()
        .entry("autoApprove", json!(["x"]))
        .entry("timeout", json!(60))
        .entry(
            "env",
            json!({"A": "$NAMED", "B": "$NAMED $NOT_SET", "C": "%NAMED%"}),
        )
        .env("NAMED", "s3cret")
        .start();
    let report = report(&mut session);
    assert_eq!(report["env"]["B"], "$NAMED $NOT_SET");
    let stderr = session.stderr();
    assert_eq!(stderr.lines().count(), 3, "{stderr}");
    for part in [
        "/mcpServers/box/env/A: `$NAMED` is plain text here, because only `${NAME}` is a variable",
        "/mcpServers/box/env/C: `%NAMED%` is plain text here",
        "/mcpServers/box: `autoApprove`, `timeout` have no effect here",
    ] {
        assert_eq!(stderr.matches(part).count(), 1, "{stderr}");
    }
    assert!(!stderr.contains("s3cret"));
    session.finish();
}

// Comments, trailing commas, a BOM, and entries of other servers that are null or a comment are
// accepted. So are `servers` (VS Code) and `context_servers` (Zed) for `mcpServers`, the types
// `streamableHttp`, `http`, `local` and `remote`, and `command` as an array.
#[test]
fn configs_of_other_clients_start_their_server() {
    for (config, name) in [
        (
            "\u{feff}{\r\n  // mine\r\n  \"mcpServers\": {\"a\": {\"command\": COMMAND, \"args\": [ARG,],},},\r\n}\r\n",
            "a",
        ),
        (
            r#"{"inputs":[],"servers":{"a":{"type":"stdio","command":COMMAND,"args":[ARG]}}}"#,
            "a",
        ),
        (
            r#"{"theme":"x","context_servers":{"a":{"source":"custom","command":COMMAND,"args":[ARG]}}}"#,
            "a",
        ),
        (
            r#"{"context_servers":{"a":{"command":{"path":COMMAND,"args":[ARG],"env":{}},"settings":{}}}}"#,
            "a",
        ),
        (
            r#"{"mcp":{"a":{"type":"local","command":[COMMAND,ARG],"enabled":true}}}"#,
            "a",
        ),
        (
            r#"{"mcp":{"servers":{"a":{"command":COMMAND,"args":[ARG]}}}}"#,
            "a",
        ),
        (
            r#"{"amp.mcpServers":{"a":{"command":COMMAND,"args":[ARG]}}}"#,
            "a",
        ),
        (r#"{"a":{"command":COMMAND,"args":ARG}}"#, "a"),
        (
            r#"{"mcpServers":[{"name":"a","command":COMMAND,"args":[ARG]}]}"#,
            "a",
        ),
        (r#"{"command":[COMMAND,ARG]}"#, "upstream"),
        (
            r#"{"mcpServers":{"_comment":"x","//":"y","b":null,"c":"off","d":{"command":"false","disabled":true},
                "e":{"url":"x","enabled":false},"a":{"command":COMMAND,"args":[ARG]}}}"#,
            "a",
        ),
    ] {
        let test = ProxyTest::new();
        let entry = test.built_entry();
        let config = config.replace("COMMAND", &entry["command"].to_string());
        let config = config.replace("ARG", &entry["args"][0].to_string());
        let mut session = test.config(&config).start();
        session.handshake();
        session.passes("read", json!({}));
        assert_eq!(session.decision("read")["server"], name, "{config}");
        assert_eq!(session.stderr(), "", "{config}");
        session.finish();
    }
}

// A disabled server is never the default.
#[test]
fn a_disabled_server_starts_only_if_it_is_named() {
    let mut session = ProxyTest::new().entry("disabled", json!(true)).start();
    assert_eq!(session.exit().0, 3);
    session.stderr_says("every server is disabled; start one anyway with `--server` (`box`)");
    let mut session = ProxyTest::new()
        .entry("disabled", json!(true))
        .flags(["--server", "box"])
        .start();
    session.handshake();
    session.stderr_says("server `box` is disabled in this file");
    session.finish();
}

#[test]
fn an_env_file_reaches_the_server_and_disabled_tools_are_refused() {
    let test = ProxyTest::new();
    std::fs::write(
        test.path("x.env"),
        "# keys\nexport A=\"file # 1\"\nB='two\nlines'\nC=$A ${A}\n",
    )
    .unwrap();
    let mut session = test
        .entry("envFile", json!("x.env"))
        .entry("env", json!({"C": "entry"}))
        .entry("disabledTools", json!(["wipe"]))
        .start();
    let report = report(&mut session);
    assert_eq!(report["env"]["A"], "file # 1");
    assert_eq!(report["env"]["B"], "two\nlines");
    assert_eq!(report["env"]["C"], "entry");
    session.is_refused("wipe", json!({}));
    let decision = session.decision("wipe");
    assert_eq!(decision["decision"], "blocked");
    assert!(decision.to_string().contains("wipe"), "{decision}");
    assert_eq!(session.stderr(), "");
    session.finish();
}

#[test]
fn an_env_file_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let test = ProxyTest::new();
    let file = test.path("x.env");
    std::fs::write(&file, "PATH=/tmp/evil").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut session = test.entry("envFile", json!("x.env")).start();
    assert_eq!(session.exit().0, 3);
    session.stderr_says("/mcpServers/box/envFile: `");
    session.stderr_says("other users may write to this env file (its mode is 0666)");
}

#[test]
fn a_tilde_works_in_every_path() {
    let test = ProxyTest::new();
    let home = test.path("");
    std::os::unix::fs::symlink(scripted_upstream(), home.join("server")).unwrap();
    std::fs::create_dir(home.join("work")).unwrap();
    std::fs::write(home.join("x.env"), "A=1").unwrap();
    let config = json!({"mcpServers": {"box": {
        "command": "~/server", "args": ["~/record"], "cwd": "~/work", "envFile": "~/x.env",
    }}});
    std::fs::write(home.join("tilde.json"), config.to_string()).unwrap();
    let mut session = test
        .without_log()
        .in_shell("shift 2; set -- --upstream '~/tilde.json' --audit-log '~/log.jsonl' --state-dir '~/state' \"$@\";")
        .env("HOME", home.to_str().unwrap())
        .start();
    let report = report(&mut session);
    assert_eq!(report["env"]["A"], "1");
    assert_eq!(
        report["cwd"],
        json!(home.join("work").canonicalize().unwrap())
    );
    session.passes("read", json!({}));
    assert!(home.join("log.jsonl").is_file());
    assert!(session.has_recorded("tools/call"));
    assert_eq!(session.stderr(), "");
    session.finish();
}

#[test]
fn a_tilde_works_in_the_state_folder_of_approvals() {
    use std::os::unix::fs::DirBuilderExt as _;
    let home = tempfile::tempdir().unwrap();
    let list = || {
        let mut command = std::process::Command::new(proxy());
        command.args(["approvals", "--state-dir", "~/state", "list"]);
        command.env("HOME", home.path()).output().unwrap()
    };
    let stderr = String::from_utf8(list().stderr).unwrap();
    let folder = home.path().join("state");
    let missing = format!("there is no folder `{}`", folder.display());
    assert!(stderr.contains(&missing), "{stderr}");
    let mut private = std::fs::DirBuilder::new();
    private.mode(0o700).create(&folder).unwrap();
    let output = list();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

// The error names the client whose syntax it is.
#[test]
fn another_clients_variable_syntax_stops_the_start_and_the_error_says_what_to_write() {
    for (text, whose, instead) in [
        (
            "${env:HOME}",
            "Cursor, VS Code and Windsurf",
            "write `${HOME}`",
        ),
        ("${input:api-key}", "VS Code asks for", "write `${API_KEY}`"),
        (
            "${workspaceFolder}/x",
            "VS Code or Cursor",
            "write the path of that folder",
        ),
        ("${userHome}/x", "VS Code and Cursor", "write `${HOME}`"),
        ("{env:HOME}", "opencode", "write `${HOME}`"),
        ("${{ secrets.KEY }}", "Continue", "write `${KEY}`"),
        ("${X%%.*}", "begins a variable", "`$${` for the text `${`"),
    ] {
        let mut session = ProxyTest::new().entry("env", json!({"K": text})).start();
        assert_eq!(session.exit().0, 3);
        session.stderr_says(instead);
        let stderr = session.stderr();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        for part in ["config.json: /mcpServers/box/env/K: ", whose, instead] {
            assert!(stderr.contains(part), "{text}: {stderr}");
        }
    }
}

// Mistakes that people make: each is one line with the file, the place and the fix.
#[test]
fn each_mistake_is_one_error_with_its_place_and_a_fix() {
    for (config, place, remedy) in [
        ("{'mcpServers':{}}", "config.json:1:2: ", "double quotes"),
        (
            "\"mcpServers\":{}",
            "config.json:1:13: ",
            "put `{` before the whole text",
        ),
        (
            "{\"mcpServers\":{} /* x",
            "config.json:1:18: ",
            "close it with `*/`",
        ),
        ("{\0\"\0", "config.json: ", "save it as UTF-8"),
        (
            r#"{"mcpServers":{"a":{"command":"sh -c x"}}}"#,
            "/mcpServers/a/command: ",
            r#""command": "sh", "args": ["-c", "x"]"#,
        ),
        (
            r#"{"mcpServers":{"a":{"command":"sh","args":"-c x"}}}"#,
            "/mcpServers/a/args: ",
            "each argument on its own",
        ),
        (
            r#"{"mcpServers":{"a":{"command":"sh","args":[1.10]}}}"#,
            "/mcpServers/a/args/0: ",
            "put it in quotes",
        ),
        (
            r#"{"mcpServers":{"a":{"type":"stdio","url":"http://x"}}}"#,
            "/mcpServers/a: ",
            "remove `type`",
        ),
        (
            r#"{"mcpServers":{"a":{"httpUrl":"http://x","url":"http://y"}}}"#,
            "/mcpServers/a: ",
            "keep one of the two",
        ),
        (
            r#"{"mcpServers":{"a":{"command":"sh","alwaysDeny":["x"]}}}"#,
            "/mcpServers/a/alwaysDeny: ",
            "move it into `approvalRules`",
        ),
        (
            r#"{"mcpServers":{"a":{"command":"sh","envFile":"none.env"}}}"#,
            "/mcpServers/a/envFile: ",
            "correct the path",
        ),
        (
            r#"{"mcpServers":{"a":{"url":"http://x","bearer_token_env_var":"NOT_SET_1"}}}"#,
            "/mcpServers/a/bearer_token_env_var: ",
            "`NOT_SET_1` is not set",
        ),
        (
            r#"{"projects":{"/p":{"mcpServers":{"a":{"command":"sh"}}}}}"#,
            "config.json: ",
            "copy the one you want",
        ),
        (
            r#"[{"name":"a","command":"${NOT_SET_1}"}]"#,
            "server `a`: /0/command: ",
            "`${NOT_SET_1:-default}`",
        ),
    ] {
        let mut session = ProxyTest::new().config(config).start();
        assert_eq!(session.exit().0, 3, "{config}: {}", session.stderr());
        session.stderr_says(remedy);
        let stderr = session.stderr();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            stderr.contains(place) && stderr.contains(remedy),
            "{config}: {stderr}"
        );
    }
}

// contract.md, "Processes": "A config entry that resolves to the proxy itself (a user points
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

// A marker in the server's environment counts the proxies, in case the configuration hides one.
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
    session.stderr_says("approval-proxy processes are chained");
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

#[test]
fn the_example_configs_load_as_described() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = |name: &str| {
        // The checkout may belong to another user, and the proxy refuses such files.
        let copy = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(copy.path(), std::fs::read(root.join(name)).unwrap()).unwrap();
        let resolved = load(Flags::new(copy.path().to_owned()), &Environment::default());
        resolved.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let notes = example("proxy.example.json");
    assert_eq!(notes.warnings, Vec::<String>::new());
    assert_eq!(notes.server.name, "notes");
    assert_eq!(command(&notes).command, "cargo");
    assert!(notes.settings.explain);
    assert_eq!(notes.settings.timeout, Some(Duration::from_secs(300)));

    // What the clients start is the proxy, and it starts the server with the rules of the user's file.
    let user = tempfile::NamedTempFile::new().unwrap();
    let text = std::fs::read(root.join("examples/clients/user-config.json")).unwrap();
    std::fs::write(user.path(), text).unwrap();
    for client in [
        "claude-code.mcp.json",
        "claude_desktop_config.json",
        "cursor.mcp.json",
        "vscode.mcp.json",
    ] {
        let client = example(&format!("examples/clients/{client}"));
        let started = command(&client);
        assert_eq!(started.command, "approval-proxy");
        let [dashes, program, args @ ..] = &started.args[..] else {
            panic!("{:?}", started.args);
        };
        assert_eq!(dashes, "--");
        let flags = Flags {
            server: ServerChoice::Command {
                program: program.clone(),
                args: args.to_vec(),
                name: None,
            },
            layer: Layer::default(),
        };
        let variables = [("APPROVAL_CONFIG", user.path().to_str().unwrap())];
        let resolved = load(flags, &variables.into_iter().collect()).unwrap();
        assert_eq!(resolved.warnings, Vec::<String>::new());
        assert_eq!(resolved.server.name, "filesystem");
        assert_eq!(command(&resolved).command, "npx");
        assert_eq!(resolved.rules.allow, ["create_directory"]);
    }
}

// Loads the example as it is on the page.
#[test]
fn the_example_of_the_configuration_page_loads_without_a_warning() {
    let page = include_str!("../../docs/configuration.md");
    let example = page.split("```jsonc\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    std::fs::write(&file, example).unwrap();
    std::fs::write(
        folder.path().join("files.env"),
        "export LEVEL='debug' # x\n",
    )
    .unwrap();
    let environment: Environment = [("HOME", "/home/me"), ("FILES_KEY", "k")]
        .into_iter()
        .collect();
    let resolved = load(Flags::new(file), &environment).unwrap();
    assert_eq!(resolved.warnings, Vec::<String>::new());
    assert_eq!(resolved.server.name, "files");
    assert_eq!(resolved.rules.deny, ["move_file"]);
    let target = command(&resolved);
    assert_eq!(target.args.last().unwrap(), "/home/me/notes");
    let env = target
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()));
    assert_eq!(
        env.collect::<Vec<_>>(),
        [("API_KEY", "k"), ("LEVEL", "debug")]
    );
}

// The page's table of which source wins: each row says what holds without the sources above it.
#[test]
fn the_first_example_of_the_configuration_page_resolves_as_its_table_says() {
    let page = include_str!("../../docs/configuration.md");
    let mut blocks = page.split("```json\n").skip(1);
    let mut block = || blocks.next().unwrap().split("```").next().unwrap();
    let (servers, user) = (block(), block());
    let (_, table) = page.split_once("| | source, strongest first |").unwrap();
    let rows = table.lines().skip(2);
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
    let sources = [
        "--timeout 10",
        r#""timeout": 60"#,
        r#""defaultTimeout": 300"#,
        "APPROVAL_TIMEOUT=30",
        r#""timeout": 20"#,
        r#""timeout": 90"#,
        r#""defaultTimeout": 240"#,
    ];
    assert_eq!(rows.len(), sources.len() + 1);
    for (gone, row) in rows.into_iter().enumerate() {
        let (silent, speaking) = sources.split_at(gone);
        assert!(speaking.first().is_none_or(|next| row.contains(next)));
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            // A key that says nothing about the time.
            let other = r#""approvalOnTimeout": "deny""#;
            let text = silent
                .iter()
                .fold(text.to_owned(), |text, source| text.replace(source, other));
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let user = file("config.json", user);
        let mut variables = vec![
            ("ISSUES_TOKEN", "t0k3n"),
            ("APPROVAL_CONFIG", user.to_str().unwrap()),
        ];
        if speaking.contains(&"APPROVAL_TIMEOUT=30") {
            variables.push(("APPROVAL_TIMEOUT", "30"));
        }
        let mut layer = Layer::default();
        if speaking.contains(&"--timeout 10") {
            layer.timeout = Some(Seconds::from_text("10").unwrap());
        }
        let flags = Flags {
            server: ServerChoice::File {
                upstream: file("mcp.json", servers),
                server: Some("files".to_owned()),
            },
            layer,
        };
        let resolved = load(flags, &variables.into_iter().collect()).unwrap();
        let seconds = resolved.settings.timeout.unwrap().as_secs();
        assert!(
            row.ends_with(&format!("| {seconds} s |")),
            "{row}: {seconds}"
        );
    }
}

fn command(resolved: &Resolved) -> &CommandTarget {
    match &resolved.server.target {
        Target::Command(target) => target,
        Target::Url(_) => panic!("{} has a url", resolved.server.name),
    }
}
