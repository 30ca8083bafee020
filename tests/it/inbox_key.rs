//! The key that signs verdicts: who can replace it, where it is recorded, and which calls need it.

use approval_proxy::engines::inbox::passphrase::{PublicKey, set};
use approval_proxy::sys::secret::Secret;
use serde_json::{Value, json};

use super::support::{ProxyTest, Session, Terminal, approval};

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// Returns a test whose inbox has a passphrase, its terminal, and the fingerprint of its key.
fn with_passphrase() -> (ProxyTest, Terminal, String) {
    let test = ProxyTest::with_inbox();
    let terminal = Terminal::at(&test.path("state"));
    let key = set(&terminal.state_dir(), None, &secret("correct horse")).unwrap();
    (test, terminal, key.fingerprint().to_string())
}

fn key_now(terminal: &Terminal) -> String {
    let key = PublicKey::load(&terminal.state_dir()).unwrap();
    key.unwrap().fingerprint().to_string()
}

/// Starts the proxy with a client that shows prompts.
fn asking_client(test: ProxyTest) -> Session {
    let mut session = test.start();
    session.handshake();
    session
}

fn open_line(session: &Session) -> Value {
    let log = session.log();
    let mut opened = log.into_iter().filter(|line| line["event"] == "open");
    opened.next().unwrap()
}

// Attack: `inbox --set-passphrase` did not ask for the old passphrase, so an agent could set a new one,
// and the log recorded its verdicts as the user's.
#[test]
fn only_somebody_who_knows_the_passphrase_can_replace_it() {
    let (_test, terminal, key) = with_passphrase();
    let set = ["inbox", "--set-passphrase"];
    for typed in [
        "mine now\nmine now\n",
        "mine now\nmine now\nmine now\n",
        "correct hors\nmine now\nmine now\n",
    ] {
        let output = terminal.run_with_stdin(&set, typed);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.err.contains("nothing has changed"), "{output:?}");
        assert_eq!(key_now(&terminal), key);
    }
    let output = terminal.run_with_stdin(&set, "correct horse\nbattery staple\nbattery staple\n");
    assert_eq!(output.code, Some(0), "{output:?}");
    let new = key_now(&terminal);
    assert_ne!(new, key);
    assert!(
        output.err.contains(&format!("The key is {new}")),
        "{output:?}"
    );
    let shown = terminal.run_with_stdin(&["inbox", "--show-key"], "");
    assert_eq!((shown.code, shown.out), (Some(0), format!("{new}\n")));
}

#[test]
fn without_a_passphrase_there_is_no_key_to_show() {
    let test = ProxyTest::with_inbox();
    let terminal = Terminal::at(&test.path("state"));
    let output = terminal.run_with_stdin(&["inbox", "--show-key"], "");
    assert_eq!((output.code, &*output.out), (Some(2), ""));
    assert!(output.err.contains("no passphrase is set"), "{output:?}");
}

#[test]
fn the_key_is_in_the_open_record_and_in_records_of_signed_verdicts() {
    let (test, terminal, key) = with_passphrase();
    let mut session = test.start_without_elicitation();
    assert_eq!(open_line(&session)["inbox_key"], json!(key));
    let call = session.call("wipe", json!({}));
    let id = terminal.wait_for_item("wipe");
    let output = terminal.approvals_with_stdin(&["approve", &id], "correct horse\n");
    assert_eq!(output.code, Some(0), "{output:?}");
    session.expect_ran(call);
    let line = session.decision("wipe");
    assert_eq!(
        (&line["assurance"], &line["inbox_key"]),
        (&json!("inbox-passphrase"), &json!(key))
    );
    session.finish();
    // Without a passphrase, no record names a key.
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    assert!(open_line(&session).get("inbox_key").is_none());
    let terminal = session.terminal();
    let call = session.call("wipe", json!({}));
    terminal.approve(&terminal.wait_for_item("wipe"));
    session.expect_ran(call);
    assert!(session.decision("wipe").get("inbox_key").is_none());
    session.finish();
}

// Attack: the next proxy trusted whoever had replaced the file.
#[test]
fn a_missing_key_or_one_that_is_not_the_pinned_one_stops_the_start() {
    let (test, terminal, key) = with_passphrase();
    let pinned = || ProxyTest::with_inbox().section(json!({"inboxKey": key}));
    let state = terminal.state_dir();
    pinned()
        .state(state.path())
        .start_without_elicitation()
        .finish();
    let none = pinned();
    let by_variable = ProxyTest::with_inbox().env("APPROVAL_INBOX_KEY", &key);
    std::fs::remove_file(state.path().join("passphrase.json")).unwrap();
    set(&state, None, &secret("mine now")).unwrap();
    let other = pinned().state(state.path());
    for (test, words) in [
        (none, "no passphrase is set"),
        (by_variable, "no passphrase is set"),
        (other, "the inbox has the key sha256:"),
    ] {
        let mut session = test.start();
        assert_eq!(session.exit().0, 3);
        session.stderr_says("`inboxKey` pins the key");
        session.stderr_says(words);
        assert!(session.recorded().is_empty());
    }
    drop(test);
}

#[test]
fn a_warning_says_that_a_yes_in_the_client_bypasses_the_passphrase() {
    let bypasses = "a passphrase is set, but an approval given in the client does not need it";
    let says = |test: ProxyTest| {
        let session = test.start_without_elicitation();
        let says = session.stderr().contains(bypasses);
        session.finish();
        says
    };
    let both = |test: ProxyTest| test.flags(["--engine", "elicitation,inbox"]);
    assert!(says(both(with_passphrase().0)));
    assert!(!says(with_passphrase().0.flags(["--engine", "inbox"])));
    assert!(!says(both(ProxyTest::with_inbox())));
    let required = json!({"requireAssurance": "inbox-passphrase"});
    assert!(!says(both(with_passphrase().0.rules(required))));
}

// contract.md, "Engines": "`requireAssurance: LEVEL` refuses verdicts below it, and the engines that
// cannot reach it are not asked."
#[test]
fn an_engine_that_cannot_reach_the_required_assurance_is_not_asked() {
    for required in ["inbox-terminal", "inbox-session", "shared-secret"] {
        let test = ProxyTest::with_inbox().flags(["--engine", "elicitation,inbox"]);
        let mut session = asking_client(test.rules(json!({"requireAssurance": required})));
        let terminal = session.terminal();
        let call = session.call("wipe", json!({}));
        terminal.approve(&terminal.wait_for_item("wipe"));
        session.expect_ran(call);
        assert!(!session.was_prompted());
        assert_eq!(session.decision("wipe")["engine"], "inbox");
        session.finish();
    }
    let low = ProxyTest::new().rules(json!({"requireAssurance": "caller-relayed"}));
    let mut session = asking_client(low);
    session.call("wipe", json!({}));
    let prompt = session.prompt();
    session.answer(&prompt, approval());
    session.sync();
    assert_eq!(session.decision("wipe")["assurance"], "caller-relayed");
    session.finish();
}

#[test]
fn nothing_runs_if_no_engine_reaches_the_required_assurance() {
    for required in ["channel-authenticated", "inbox-passphrase"] {
        // Without a passphrase the inbox does not reach these levels.
        let test = ProxyTest::with_inbox().flags(["--engine", "elicitation,inbox"]);
        let mut session = asking_client(test.rules(json!({"requireAssurance": required})));
        let output = session.is_refused("wipe", json!({}));
        assert!(output.contains("configured no way to ask"), "{output}");
        assert!(!session.was_prompted());
        assert!(session.terminal().open_items().is_empty());
        session.stderr_says("no engine of `engines` can reach");
        session.finish();
    }
}

#[test]
fn with_the_passphrase_required_only_a_signed_verdict_lets_a_call_run() {
    let (test, terminal, _) = with_passphrase();
    let test = test.flags(["--engine", "elicitation,inbox"]);
    let mut session = asking_client(test.rules(json!({"requireAssurance": "inbox-passphrase"})));
    let call = session.call("wipe", json!({}));
    let id = terminal.wait_for_item("wipe");
    let output = terminal.approvals_with_stdin(&["approve", &id], "wrong horse\n");
    assert_eq!(output.code, Some(2), "{output:?}");
    let output = terminal.approvals_with_stdin(&["approve", &id], "correct horse\n");
    assert_eq!(output.code, Some(0), "{output:?}");
    session.expect_ran(call);
    assert!(!session.was_prompted());
    session.finish();
}

#[test]
fn silence_has_no_assurance() {
    let test = ProxyTest::new().flags(["--timeout", "1", "--timeout-action", "approve"]);
    let mut session = asking_client(test.rules(json!({"requireAssurance": "caller-relayed"})));
    let call = session.call("wipe", json!({}));
    session.prompt();
    let output = session.refusal(call);
    assert!(output.contains("nobody answered in time"), "{output}");
    assert_eq!(session.runs_of("wipe"), 0);
    session.stderr_says("silence does not meet");
    session.finish();
}
