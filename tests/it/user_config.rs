//! Issue 19: the user configuration, where it is found, and its floor, with the real binary.
//!
//! What a floor allows, key by key, is tested in `config::floor`. Where a test needs another `/etc` and another user
//! database, the proxy runs in a user and mount namespace; without those it is skipped.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::support::{ProxyTest, Session, eventually};

/// A test around the scripted upstream that asks as it does where nobody has set anything.
fn test() -> ProxyTest {
    let test = ProxyTest::new().prefixed().env("APPROVAL_ENGINES", "");
    let folder = test.path("xdg");
    test.env("XDG_CONFIG_HOME", folder.to_str().unwrap())
}

/// A file in the test's folder, with folders around it that only their owner may write to.
fn write(test: &ProxyTest, name: &str, text: impl AsRef<[u8]>) -> String {
    let file = test.path(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    set_mode(&file, 0o600);
    file.to_str().unwrap().to_owned()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn deny(tool: &str) -> String {
    json!({"servers": {"*": {"alwaysDeny": [tool]}}}).to_string()
}

/// Expects a start that fails because of the configuration: the client is told why.
#[track_caller]
fn fails(mut session: Session, says: &[&str]) -> Session {
    let id = session.request(
        "initialize",
        json!({"protocolVersion": "2025-06-18", "capabilities": {}}),
    );
    let answer = session.response(id);
    let text = answer["error"]["message"]
        .as_str()
        .unwrap_or_else(|| panic!("it starts: {answer}"));
    for words in says {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(session.exit().0, 3, "{text}");
    assert!(!session.path("record").exists(), "the server was started");
    session
}

#[track_caller]
fn blocks(session: &mut Session, tools: &[&str]) {
    for tool in tools {
        let text = session.is_refused(tool, json!({}));
        assert!(text.contains("blocked"), "{tool}: {text}");
    }
}

// "`$XDG_CONFIG_HOME/approval-proxy/config.json` (`--config FILE`, `APPROVAL_CONFIG`)".
#[test]
fn the_strongest_of_four_places_is_the_one_in_use() {
    let tools = ["read", "plain", "write_file", "wipe"];
    for strongest in 0..4 {
        let test = test().flags(["--mode", "none"]);
        let places = [
            "flag.json",
            "variable.json",
            "xdg/approval-proxy/config.json",
            "home/.config/approval-proxy/config.json",
        ];
        let files: Vec<String> = places
            .iter()
            .zip(tools)
            .map(|(name, tool)| write(&test, name, deny(tool)))
            .collect();
        let home = test.path("home");
        let mut test = test.env("HOME", home.to_str().unwrap());
        test = match strongest {
            0 => test
                .flags(["--config", &files[0]])
                .env("APPROVAL_CONFIG", &files[1]),
            1 => test.env("APPROVAL_CONFIG", &files[1]),
            2 => test.env("APPROVAL_CONFIG", ""),
            _ => test.env("APPROVAL_CONFIG", " ").env("XDG_CONFIG_HOME", ""),
        };
        let mut session = test.start();
        session.handshake();
        for (at, tool) in tools.iter().enumerate() {
            match at == strongest {
                true => blocks(&mut session, &[tool]),
                false => drop(session.passes(tool, json!({}))),
            }
        }
        session.finish();
    }
}

// "All paths set in these environment variables must be absolute." (XDG Base Directory Specification)
#[test]
fn a_relative_xdg_config_home_counts_as_none() {
    let test = test();
    write(&test, "xdg/approval-proxy/config.json", deny("read"));
    write(
        &test,
        "home/.config/approval-proxy/config.json",
        deny("plain"),
    );
    let (folder, home) = (test.path(""), test.path("home"));
    let mut session = test
        .cwd(folder)
        .env("XDG_CONFIG_HOME", "xdg")
        .env("HOME", home.to_str().unwrap())
        .start();
    session.handshake();
    session.passes("read", json!({}));
    blocks(&mut session, &["plain"]);
}

#[test]
fn the_audit_log_and_the_engines_are_written_once_for_all_servers() {
    for name in ["one", "two"] {
        let test = ProxyTest::new()
            .prefixed()
            .without_log()
            .env("APPROVAL_ENGINES", "");
        let log = test.log_path();
        let config = json!({"approvalProxy": {"auditLog": log, "engines": ["elicitation"]}, "servers": {"two": {"alwaysDeny": ["read"]}}});
        let file = write(&test, "c.json", config.to_string());
        let mut session = test.flags(["--config", &file, "--name", name]).start();
        session.handshake();
        match name {
            "one" => drop(session.passes("read", json!({}))),
            _ => blocks(&mut session, &["read"]),
        }
        assert_eq!(session.decision("read")["server"], name);
        session.finish();
    }
}

#[test]
fn a_configuration_that_is_named_must_be_there() {
    fails(
        test().flags(["--config", "/nonexistent/c.json"]).start(),
        &["/nonexistent/c.json", "cannot be read"],
    );
    fails(
        test().env("APPROVAL_CONFIG", "/nonexistent/c.json").start(),
        &["/nonexistent/c.json"],
    );
    let by_file = ProxyTest::new().env("APPROVAL_CONFIG", "/nonexistent/c.json");
    fails(by_file.start(), &["/nonexistent/c.json"]);
    // Nothing is in these folders.
    for variable in ["XDG_CONFIG_HOME", "HOME"] {
        let mut session = test()
            .env("XDG_CONFIG_HOME", "")
            .env(variable, "/nonexistent")
            .start();
        session.handshake();
        session.passes("read", json!({}));
    }
}

// "A user configuration that other users may write to is refused."
#[test]
fn a_configuration_that_others_may_write_to_or_replace_is_refused() {
    let by_flag = |file_mode: u32, folder_mode: u32| {
        let test = test();
        let file = write(&test, "folder/c.json", "{}");
        set_mode(Path::new(&file), file_mode);
        set_mode(&test.path("folder"), folder_mode);
        test.flags(["--config", &file]).start()
    };
    let by_place = |file_mode: u32, folder_mode: u32| {
        let test = test();
        let file = write(&test, "xdg/approval-proxy/config.json", "{}");
        set_mode(Path::new(&file), file_mode);
        set_mode(&test.path("xdg/approval-proxy"), folder_mode);
        test.start()
    };
    for (file_mode, folder_mode, mode) in [
        (0o666, 0o755, "0666"),
        (0o602, 0o700, "0602"),
        (0o644, 0o777, "0777"),
        (0o600, 0o702, "0702"),
    ] {
        fails(by_flag(file_mode, folder_mode), &["folder/c.json", mode]);
        fails(
            by_place(file_mode, folder_mode),
            &["approval-proxy/config.json", mode],
        );
    }
    for (file_mode, folder_mode) in [(0o644, 0o755), (0o600, 0o700), (0o400, 0o1777)] {
        for mut session in [
            by_flag(file_mode, folder_mode),
            by_place(file_mode, folder_mode),
        ] {
            session.handshake();
            session.passes("read", json!({}));
        }
    }
}

// "Comments and trailing commas are fine." A file that cannot be understood is never skipped.
#[test]
fn a_configuration_that_cannot_be_understood_stops_the_start() {
    let utf16: Vec<u8> = "{\"floor\": {}}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let with_mark = [b"\xff\xfe".as_slice(), &utf16].concat();
    for (text, says) in [
        (b"{\"floor\": {}, \"floor\": {}}".as_slice(), "written twice"),
        (b"{\"floor\": {\"mode\": \"all\", \"mode\": \"none\"}}", "written twice"),
        (b"{\"approvalProxy\": {\"engines\": [{\"type\": \"inbox\", \"type\": \"elicitation\"}]}}", "written twice"),
        (b"{\"Floor\": {\"mode\": \"all\"}}", "unknown key"),
        (b"{\"floor\": {\"Mode\": \"all\"}}", "unknown key"),
        (b"{\"floor\": {\"mode\": \"ALL\"}}", "expected one of"),
        (b"{\"floor\": [\"all\"]}", "expected an object"),
        (b"{\"floor\": {\"mode\": null}}", "expected one of"),
        (b"{\"floor\": {}} {\"floor\": {}}", "not JSON"),
        (b"{\"floor\": {\"mode\": \"all\"}", "not JSON"),
        (b"", "the file is empty"),
        (b"floor:\n  mode: all\n", "not JSON"),
        (&utf16, "UTF-16"),
        (&with_mark, "UTF-16"),
        (b"{\"floor\": {\"mode\": \"\xff\"}}", "not JSON"),
    ] {
        let test = test();
        write(&test, "xdg/approval-proxy/config.json", text);
        fails(test.start(), &["approval-proxy/config.json", says]);
    }
    let test = test();
    write(
        &test,
        "xdg/approval-proxy/config.json",
        "\u{feff}{ // mine\n \"floor\": {\"alwaysDeny\": [\"read\",],}, /* end */ }\n",
    );
    let mut session = test.start();
    session.handshake();
    blocks(&mut session, &["read"]);
}

/// What a flag or a variable may try under `{"floor": {"mode": "cautious", "engines": ["elicitation", "inbox"]}}`.
#[test]
fn no_spelling_of_a_flag_or_a_variable_gets_below_a_floor() {
    let floor =
        json!({"floor": {"mode": "cautious", "engines": ["elicitation", "inbox"]}}).to_string();
    let command = r#"[{"type": "command", "command": "/bin/true"}]"#;
    let flags: [&[&str]; 11] = [
        &["-m", "none"],
        &["-mnone"],
        &["-m=none"],
        &["--mode=none"],
        &["--mode", "destructive", "--deny", "x"],
        &["--allow=*"],
        &["--engine", "command"],
        &["--engine", command],
        &["--timeout-action=approve"],
        &["--approve-ttl", "0.001"],
        &["--approval-dedupe-arg-keys=id"],
    ];
    for flags in flags {
        let test = test();
        let file = write(&test, "c.json", &floor);
        let mut test = test.flags(["--config", &file]);
        for flag in flags {
            test = test.flags([flag]);
        }
        let name = flags[0].split('=').next().unwrap();
        let name = if name.starts_with("-m") {
            "--mode"
        } else {
            name
        };
        fails(test.start(), &[&format!("`{name}`"), "c.json: /floor"]);
    }
    for (variable, value) in [
        ("APPROVAL_MODE", " none "),
        ("APPROVAL_ALWAYS_ALLOW", "[\"*\"]"),
        ("APPROVAL_ALLOW_PATTERNS", "wip?"),
        ("APPROVAL_ENGINES", command),
        ("APPROVAL_DRY_RUN", "1"),
        ("APPROVAL_TIMEOUT_ACTION", "approve"),
        ("APPROVAL_DEFAULT_TIMEOUT_ACTION", "approve"),
        ("APPROVAL_APPROVAL_TTL_SECONDS", "1"),
        (
            "APPROVAL_CUSTOM_ANNOTATIONS",
            r#"{"wipe": {"destructiveHint": false}}"#,
        ),
        ("APPROVAL_APPROVAL_AUTH_TOKEN", "12345678"),
    ] {
        let test = test();
        let file = write(&test, "c.json", &floor);
        let session = test.flags(["--config", &file]).env(variable, value).start();
        fails(session, &[&format!("`{variable}`"), "c.json: /floor"]);
    }
    // What is no setting has no effect.
    let test = test();
    let file = write(&test, "c.json", &floor);
    let mut session = test
        .flags(["--config", &file])
        .env("approval_mode", "none")
        .env("APPROVAL_FLOOR", "{}")
        .env("APPROVAL_NO_FLOOR", "1")
        .start();
    session.handshake();
    session.call("wipe", json!({}));
    session.prompt();
}

/// What a project's file may try.
#[test]
fn no_file_of_a_project_gets_below_a_floor() {
    let floor = r#"{"servers": {"box": {"alwaysDeny": ["plain"]}}, "floor": {"mode": "cautious", "alwaysDeny": ["read"]}}"#;
    let with = |name: &str, rules: Value, more: Value| {
        let test = ProxyTest::new().env("APPROVAL_ENGINES", "");
        let file = write(&test, "c.json", floor);
        let mut entry = test.built_entry();
        for (key, value) in more.as_object().unwrap() {
            entry[key] = value.clone();
        }
        entry["approvalRules"] = rules;
        test.config(json!({"mcpServers": {name: entry}}))
            .flags(["--config", &file])
            .start()
    };
    for rules in [
        json!({"mode": "none"}),
        json!({"alwaysAllow": ["read"]}),
        json!({"engines": [{"type": "command", "command": "/bin/true", "timeout": 0}]}),
        json!({"timeoutAction": "approve", "timeout": 0.001}),
        json!({"customAnnotations": {"WIPE": {"readOnlyHint": true}}}),
    ] {
        let key = rules.as_object().unwrap().keys().next().unwrap().clone();
        let place = format!("/mcpServers/box/approvalRules/{key}");
        fails(
            with("box", rules, json!({})),
            &["config.json", &place, "c.json: /floor"],
        );
    }
    // A name that avoids the rules for another one does not avoid the floor.
    let others = json!({"env": {"APPROVAL_MODE": "none"}, "disabledTools": ["big"], "mode": "none", "autoApprove": ["wipe"]});
    for name in ["box", "Box", "*", "", "../box"] {
        let rules = json!({"timeout": 0, "approvalInstantDeclineMs": 0, "alwaysDeny": [], "engines": [{"type": "elicitation", "timeout": 0}]});
        let mut session = with(name, rules, others.clone());
        session.handshake();
        blocks(&mut session, &["read", "big"]);
        match name {
            "box" => blocks(&mut session, &["plain"]),
            _ => {
                session.call("plain", json!({}));
                session.prompt();
            }
        }
        session.call("wipe", json!({}));
        session.prompt();
    }
}

/// A machine of its own: an `/etc` and a home folder that the user database names, seen from inside a namespace.
struct Machine {
    test: ProxyTest,
}

const ETC: &str = "etc/approval-proxy/config.json";
const HOME: &str = "own/.config/approval-proxy/config.json";

impl Machine {
    /// `None` where the system does not allow such namespaces.
    #[expect(
        clippy::print_stderr,
        reason = "somebody should see that a test was skipped"
    )]
    fn new() -> Option<Machine> {
        let test = test();
        let home = test.path("own");
        fs::create_dir_all(&home).unwrap();
        write(
            &test,
            "etc/passwd",
            format!("root:x:0:0::{}:/bin/sh\n", home.display()),
        );
        write(&test, "etc/nsswitch.conf", "passwd: files\n");
        let mut probe = Command::new("sh");
        probe.args(["-c", &inside(&test.path("etc")), "true"]);
        let works = probe
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !works {
            eprintln!("skipped: this system has no user and mount namespaces for us");
        }
        works.then_some(Machine { test })
    }

    fn file(self, name: &str, text: impl AsRef<[u8]>) -> Machine {
        write(&self.test, name, text);
        self
    }

    fn place(&self, name: &str) -> PathBuf {
        let path = self.test.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn with(self, change: impl FnOnce(ProxyTest) -> ProxyTest) -> Machine {
        Machine {
            test: change(self.test),
        }
    }

    fn start(self) -> Session {
        self.start_after("")
    }

    /// Starts the proxy after a shell has run `before` in the test's folder.
    fn start_after(self, before: &str) -> Session {
        let (etc, folder) = (self.test.path("etc"), self.test.path(""));
        let shell = format!("cd '{}'; {before} {};", folder.display(), inside(&etc));
        self.test.in_shell(&shell).start()
    }
}

/// A shell command that becomes `"$0" "$@"` with another `/etc`, as a root without privileges.
fn inside(etc: &Path) -> String {
    format!(
        "exec unshare --user --map-root-user --mount sh -c 'mount --bind \"$0\" /etc && exec setpriv --bounding-set=-all \
         --inh-caps=-all -- \"$@\"' '{}' \"$0\" \"$@\"",
        etc.display()
    )
}

// "The floors of `/etc/approval-proxy/config.json`, of the user configuration under the home folder that the user database
// names, and of the configuration file in use all apply together, whatever flags and environment say."
#[test]
fn the_floors_of_the_machine_the_home_folder_and_the_file_in_use_apply_together() {
    let floors = || {
        let machine = Machine::new()?;
        let machine = machine
            .file(
                ETC,
                r#"{"servers": {"*": {"alwaysDeny": ["big"]}}, "floor": {"mode": "all"}}"#,
            )
            .file(HOME, r#"{"floor": {"alwaysDeny": ["write_file"]}}"#)
            .file("mine.json", r#"{"floor": {"alwaysDeny": ["plain"]}}"#);
        let mine = machine.test.path("mine.json").to_str().unwrap().to_owned();
        let elsewhere = machine.test.path("project").to_str().unwrap().to_owned();
        let machine = machine.with(|test| {
            test.env("HOME", &elsewhere)
                .env("XDG_CONFIG_HOME", &elsewhere)
        });
        Some((machine, mine))
    };
    let Some((machine, mine)) = floors() else {
        return;
    };
    let mut session = machine
        .with(|test| test.flags(["--config", &mine]).env("APPROVAL_MODE", "all"))
        .start();
    session.handshake();
    blocks(&mut session, &["write_file", "plain"]);
    // Of the machine's file only the floor counts.
    for tool in ["read", "big"] {
        session.call(tool, json!({"bytes": 1}));
        session.prompt();
    }
    for config in [true, false] {
        let (machine, mine) = floors().unwrap();
        let machine = machine.with(|test| match config {
            true => test.env("APPROVAL_CONFIG", &mine),
            false => test,
        });
        let weaker = machine.with(|test| test.flags(["--mode", "cautious"]));
        fails(
            weaker.start(),
            &["`--mode`", "/etc/approval-proxy/config.json: /floor/mode"],
        );
    }
}

#[test]
fn without_home_the_configuration_and_the_state_are_in_the_folder_that_the_user_database_names() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let path = std::env::var("PATH").unwrap();
    let machine = machine.file(HOME, r#"{"approvalProxy": {"engines": ["elicitation"], "approvalInstantDeclineMs": 0}, "servers": {"scripted_upstream": {"alwaysDeny": ["read"]}}}"#);
    let mut session = machine
        .with(|test| {
            let test = test.with_only_this_env().env("PATH", &path);
            test.env("XDG_CONFIG_HOME", "").without_log()
        })
        .start();
    session.handshake();
    blocks(&mut session, &["read"]);
    let log = session.path("own/.local/state/approval-proxy/audit/scripted_upstream.jsonl");
    assert!(fs::read_to_string(log).unwrap().contains("\"blocked\""));
    let report = session.script(json!({"do": "report"}));
    assert_eq!(report["env"].get("HOME"), None);
}

#[test]
fn a_floor_behind_a_link_applies() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let machine = machine.file(
        "own/dotfiles/proxy.json",
        r#"{"servers": {"*": {"alwaysAllow": ["wipe"]}}, "floor": {"mode": "all"}}"#,
    );
    symlink("../../dotfiles/proxy.json", machine.place(HOME)).unwrap();
    let link = machine.test.path("link.json");
    symlink("own/dotfiles/proxy.json", &link).unwrap();
    let link = link.to_str().unwrap().to_owned();
    // It is the user's own by each of its names, so its allow rule counts.
    let mut session = machine.with(|test| test.flags(["--config", &link])).start();
    session.handshake();
    session.passes("wipe", json!({}));
    session.call("read", json!({}));
    session.prompt();
}

#[test]
fn a_configuration_without_a_name_is_held_to_the_floors_too() {
    const EVIL: &str = r#"{"servers": {"*": {"alwaysAllow": ["*"]}}}"#;
    for (before, says) in [
        ("exec 3<evil.json;", "/dev/fd/3: /servers/*/alwaysAllow"),
        (
            "exec 3<evil.json; rm evil.json;",
            "/dev/fd/3: /servers/*/alwaysAllow",
        ),
        (
            "mkfifo pipe; cat evil.json >pipe & exec 3<pipe;",
            "/dev/fd/3: this user configuration cannot be read",
        ),
    ] {
        let Some(machine) = Machine::new() else {
            return;
        };
        let machine = machine
            .file(HOME, r#"{"floor": {}}"#)
            .file("evil.json", EVIL);
        let machine = machine.with(|test| test.flags(["--config", "/dev/fd/3"]));
        fails(machine.start_after(before), &[says]);
    }
}

#[test]
fn what_cannot_be_read_in_the_place_of_a_floor_stops_the_start() {
    type Place = fn(&Path);
    let places: [(&str, Place); 9] = [
        ("a folder", |file| fs::create_dir(file).unwrap()),
        ("a pipe", |file| {
            assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
        }),
        ("a socket", |file| {
            drop(std::os::unix::net::UnixListener::bind(file).unwrap())
        }),
        ("a link to a terminal", |file| {
            symlink("/dev/tty", file).unwrap()
        }),
        ("a link that leads nowhere", |file| {
            symlink("nowhere.json", file).unwrap()
        }),
        ("a loop", |file| symlink("config.json", file).unwrap()),
        ("an unreadable file", |file| {
            fs::write(file, "{}").unwrap();
            set_mode(file, 0);
        }),
        ("a file in an unreadable folder", |file| {
            fs::write(file, "{}").unwrap();
            set_mode(file.parent().unwrap(), 0);
        }),
        ("what is not JSON", |file| fs::write(file, "{").unwrap()),
    ];
    for (what, place) in places {
        for (name, shown) in [(ETC, format!("/{ETC}")), (HOME, HOME.to_owned())] {
            let Some(machine) = Machine::new() else {
                return;
            };
            place(&machine.place(name));
            let folder = machine.place(name).parent().unwrap().to_owned();
            let session = fails(machine.start(), &[&shown]);
            eventually(what, || session.stderr().contains("error: "));
            // So that the test's folder can be removed.
            set_mode(&folder, 0o700);
            drop(session);
        }
    }
}

// "Whoever chooses the state folder chooses the passphrase."
#[test]
fn another_state_folder_does_not_bring_another_passphrase() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let machine = machine.file(
        HOME,
        r#"{"floor": {"requireAssurance": "inbox-passphrase"}}"#,
    );
    // The test's own state folder is not the one in the home folder.
    fails(
        machine.start(),
        &["the state folder", "/floor/requireAssurance", "inboxKey"],
    );
    let machine = Machine::new().unwrap().file(
        HOME,
        r#"{"floor": {"requireAssurance": "inbox-passphrase"}}"#,
    );
    let state = machine.test.path("own/.local/state/approval-proxy");
    let mut session = machine
        .with(|test| test.env("APPROVAL_STATE_DIR", state.to_str().unwrap()))
        .start();
    session.handshake();
    session.passes("read", json!({}));
}
