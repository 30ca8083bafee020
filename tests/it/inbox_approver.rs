//! Self-declared names of approvers: recorded, shown as self-declared, and signed if there is a passphrase.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use approval_proxy::engines::inbox::passphrase::set;
use approval_proxy::sys::secret::Secret;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{Http, InboxProcess, ProxyTest, Terminal, eventually};

/// Returns the approver's name in an item's stored verdict.
fn stored(terminal: &Terminal, id: &str) -> Option<String> {
    let entry = terminal.store().find(id).unwrap().unwrap();
    entry.verdict.unwrap().approver
}

#[test]
fn a_name_given_in_the_terminal_is_recorded_and_shown_as_self_declared() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    let terminal = session.terminal();
    let mut decided = |what: &str, more: &[&str]| {
        let call = session.call("wipe", json!({}));
        let id = terminal.wait_for_item("wipe");
        let output = terminal.approvals(&[&[what, &*id], more].concat());
        assert_eq!(output.code, Some(0), "{output:?}");
        match what {
            "approve" => session.expect_ran(call),
            _ => drop(session.refusal(call)),
        }
        id
    };
    let by_ann = decided("approve", &["--as", " Ann ", "--reason", "it is mine"]);
    let by_zoe = decided("deny", &["--as", "Zoë"]);
    let by_nobody = decided("approve", &[]);
    for (id, name) in [
        (&by_ann, Some("Ann")),
        (&by_zoe, Some("Zoë")),
        (&by_nobody, None),
    ] {
        assert_eq!(stored(&terminal, id).as_deref(), name);
        let output = terminal.approvals(&["list", "--history", "--json"]).out;
        let all: Vec<Value> = serde_json::from_str(&output).unwrap();
        let item = all.iter().find(|item| item["id"] == **id).unwrap();
        assert_eq!(item["verdict"]["approver"], json!(name), "{item}");
        assert_eq!(item["verdict"]["approver_verified"], json!(false), "{item}");
        let output = terminal.approvals(&["show", id, "--json"]).out;
        let shown: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(shown["verdict"], item["verdict"]);
    }
    let list = terminal.approvals(&["list", "--history"]).out;
    let said = "engine: inbox; approver: self-declared \"Ann\", in a terminal\n";
    assert!(list.contains(said), "{list}");
    assert!(
        list.contains("          reason: \"it is mine\"\n"),
        "{list}"
    );
    assert!(list.contains("approver: somebody in a terminal"), "{list}");
    assert!(
        list.lines().all(|line| line.chars().count() <= 80),
        "{list}"
    );
    let shown = terminal.approvals(&["show", &by_ann]).out;
    let said = "Approver: \"Ann\" (self-declared, not verified)\n";
    assert!(shown.contains(said), "{shown}");
    let shown = terminal.approvals(&["show", &by_nobody]).out;
    assert!(!shown.contains("Approver"), "{shown}");
    session.finish();
}

#[test]
fn a_name_can_come_from_the_environment_and_an_invalid_name_decides_nothing() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    let terminal = session.terminal();
    let first = session.call("wipe", json!({"n": 1}));
    let id = terminal.wait_for_item("wipe");
    let long = "x".repeat(65);
    for (name, why) in [
        ("", "a name cannot be empty"),
        ("An\u{202e}n", "the invisible character U+202E"),
        (&*long, "at most 64 characters, and this one has 65"),
    ] {
        let output = terminal.approvals(&["approve", &id, "--as", name]);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.err.contains(why), "{output:?}");
        assert!(!output.err.contains('\u{202e}'), "{output:?}");
    }
    let decide = |id: &str, flags: &[&str], name: &str| {
        let args = [&["approvals", "approve", id], flags].concat();
        let mut command = terminal.command(&args);
        command.env("APPROVAL_APPROVER", name).output().unwrap()
    };
    let refused = decide(&id, &[], "An\u{1b}n");
    assert_eq!(refused.status.code(), Some(3));
    let output = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(output.contains("`APPROVAL_APPROVER`"), "{output}");
    assert_eq!(terminal.wait_for_item("wipe"), id);
    assert_eq!(session.runs_of("wipe"), 0);

    assert_eq!(decide(&id, &[], "Ann").status.code(), Some(0));
    session.expect_ran(first);
    assert_eq!(stored(&terminal, &id).as_deref(), Some("Ann"));
    for (flags, variable, name) in [
        (&["--as", "Bob"][..], "Ann", Some("Bob")),
        // As with our other variables, an empty one counts as not set.
        (&[], " ", None),
    ] {
        let call = session.call("wipe", json!({"n": 2}));
        let id = terminal.wait_for_item("wipe");
        assert_eq!(decide(&id, flags, variable).status.code(), Some(0));
        session.expect_ran(call);
        assert_eq!(stored(&terminal, &id).as_deref(), name);
    }
    session.finish();
}

#[test]
fn with_a_passphrase_a_name_is_signed_and_cannot_be_replaced() {
    let test = ProxyTest::with_inbox().flags(["--timeout", "0"]);
    let terminal = Terminal::at(&test.path("state"));
    let dir = terminal.state_dir();
    set(&dir, None, &Secret::new("correct horse".to_owned())).unwrap();
    let mut session = test.start_without_elicitation();
    let call = session.call("wipe", json!({}));
    let id = terminal.wait_for_item("wipe");
    let mut approve = terminal.in_terminal(&["approvals", "approve", &id, "--as", "Ann"]);
    approve.shows("You sign as \"Ann\".");
    approve.shows("Passphrase: ");
    eventually("no echo", || !approve.echoes());
    approve.types("correct horse\n");
    assert_eq!(approve.exit(), Some(0), "{}", approve.shown());
    session.expect_ran(call);
    assert_eq!(session.decision("wipe")["assurance"], "inbox-passphrase");

    // Attack: a program that can write to the store changes the name as soon as a signed verdict is there.
    let db = rusqlite::Connection::open(dir.path().join("inbox.db")).unwrap();
    db.execute_batch(
        "CREATE TRIGGER renames AFTER UPDATE OF delivery ON items WHEN new.delivery = 1 \
         BEGIN UPDATE items SET approver = 'Bob' WHERE id = new.id; END",
    )
    .unwrap();
    session.call("wipe", json!({"n": 2}));
    let id = terminal.wait_for_item("wipe");
    for flags in [&["--as", "Ann"][..], &[]] {
        let args = [&["approve", &*id], flags].concat();
        let output = terminal.approvals_with_stdin(&args, "correct horse\n");
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.err.contains("does not count"), "{output:?}");
    }
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}

#[test]
fn the_browser_that_the_inbox_opens_uses_the_name_given_to_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::at(&dir.path().join("state"));
    let seen = dir.path().join("opened");
    let script = dir.path().join("browser.sh");
    let text = format!(
        "#!/bin/sh\nprintf '%s' \"$1\" > '{0}.new' && mv '{0}.new' '{0}'\n",
        seen.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o700)).unwrap();
    let mut command = terminal.command(&["inbox", "--inbox-port", "0", "--as", "Ann"]);
    command.env("BROWSER", &script);
    let mut inbox = InboxProcess::of(command);
    eventually("a browser is opened", || seen.exists());
    let url = fs::read_to_string(&seen).unwrap();
    let html = fs::read_to_string(Path::new(url.strip_prefix("file://").unwrap())).unwrap();
    assert!(!html.contains("Ann"), "{html}");
    let (_, link) = html.split_once("url=http://").unwrap();
    let (link, _) = link.split_once('"').unwrap();
    let (address, token) = link.split_once("/login#").unwrap();
    let page = Http::at(address);
    let origin = format!("http://{address}");
    let form = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("origin", &*origin),
    ];
    let answer = page.send("POST", "/login", &form, &format!("token={token}"));
    let cookie = answer.header("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let mut shown = page.send("GET", "/", &[("cookie", &cookie)], "");
    let shown = shown.body_text();
    assert!(shown.contains("<bdi id=\"approver\">Ann</bdi>"), "{shown}");
    inbox.end(Signal::TERM);
}
