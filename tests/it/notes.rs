//! The real server `examples/notes_server.rs`, whose effects are files.

use serde_json::{Value, json};

use super::support::{ProxyTest, Session, approval};

fn session() -> Session {
    let mut session = ProxyTest::around_notes().start();
    session.handshake();
    session
}

fn notes(session: &Session) -> Vec<String> {
    let entries = std::fs::read_dir(session.path("notes")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn text_of(response: &Value) -> &str {
    assert_ne!(response["result"]["isError"], true, "{response}");
    response["result"]["content"][0]["text"].as_str().unwrap()
}

#[test]
fn reads_are_free_and_writes_need_a_yes() {
    let mut session = session();
    let id = session.call("list_notes", json!({}));
    let response = session.response(id);
    let first = text_of(&response).lines().next().unwrap().to_owned();
    let id = session.call("read_note", json!({"name": first}));
    text_of(&session.response(id));
    assert!(!session.was_prompted());
    let before = notes(&session);

    // After a no, the files are unchanged.
    let id = session.call("delete_note", json!({"name": first}));
    let prompt = session.prompt();
    assert!(
        prompt["params"]["message"]
            .as_str()
            .unwrap()
            .contains(&first)
    );
    assert_eq!(
        notes(&session),
        before,
        "nothing runs while a person thinks"
    );
    let no = json!({"action": "accept", "content": {"approved": false, "reason": "I need it"}});
    session.answer(&prompt, no);
    assert!(session.refusal(id).contains("I need it"));
    session.sync();
    assert_eq!(notes(&session), before);

    // After a yes, the call runs.
    let id = session.call("delete_note", json!({"name": first}));
    let prompt = session.prompt();
    session.answer(&prompt, approval());
    assert!(text_of(&session.response(id)).contains("Deleted"));
    assert!(!notes(&session).contains(&format!("{first}.txt")));

    // The tool has no hints, so the word `add` decides.
    let id = session.call("add_note", json!({"name": "new-note", "text": "hello"}));
    session.approve();
    text_of(&session.response(id));
    assert_eq!(
        std::fs::read_to_string(session.path("notes/new-note.txt")).unwrap(),
        "hello"
    );

    let lines = session.decisions();
    let outcomes: Vec<(&str, &str, bool)> = lines
        .iter()
        .map(|line| {
            let word = |key: &str| line[key].as_str().unwrap();
            (
                word("tool"),
                word("decision"),
                line["forwarded"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("list_notes", "passed", true),
            ("read_note", "passed", true),
            ("delete_note", "denied", false),
            ("delete_note", "approved", true),
            ("add_note", "approved", true),
        ]
    );
    session.finish();
}

#[test]
fn resources_and_prompts_are_relayed() {
    let mut session = session();
    for (method, params, key) in [
        ("resources/list", json!({}), "resources"),
        ("prompts/list", json!({}), "prompts"),
        (
            "prompts/get",
            json!({"name": "summarise_notes", "arguments": {}}),
            "messages",
        ),
        ("tools/list", json!({}), "tools"),
    ] {
        let id = session.request(method, params);
        let response = session.response(id);
        assert!(response["result"][key].is_array(), "{response}");
    }
    session.finish();
}

#[test]
fn progress_from_the_server_passes_through() {
    let mut session = session();
    let id = session.request(
        "tools/call",
        json!({"name": "count_slowly", "arguments": {"up_to": 3, "pause_ms": 5}, "_meta": {"progressToken": 7}}),
    );
    for n in 1..=3 {
        let progress = session.message("notifications/progress");
        assert_eq!(progress["params"]["progressToken"], 7);
        assert_eq!(progress["params"]["progress"].as_f64(), Some(f64::from(n)));
    }
    assert_eq!(text_of(&session.response(id)), "Counted to 3.");
    session.finish();
}

#[test]
fn a_running_call_can_be_cancelled() {
    let mut session = session();
    let id = session.request(
        "tools/call",
        json!({"name": "count_slowly", "arguments": {"up_to": 200, "pause_ms": 50}, "_meta": {"progressToken": 1}}),
    );
    session.message("notifications/progress");
    session.notify("notifications/cancelled", json!({"requestId": id}));
    session.stderr_says("count_slowly: cancelled");
    session.finish();
}

#[test]
fn a_note_may_contain_any_text() {
    let mut session = session();
    let text = "a\u{1b}[31m \u{202e} ``` \u{0} \u{1f980} \"\\ \n";
    let id = session.call("add_note", json!({"name": "odd", "text": text}));
    let prompt = session.approve();
    let message = prompt["params"]["message"].as_str().unwrap();
    // contract.md, "Prompts": "characters that draw nothing or turn text around are written out."
    assert!(!message.contains(['\u{1b}', '\u{202e}', '\0']), "{message}");
    text_of(&session.response(id));
    assert_eq!(
        std::fs::read_to_string(session.path("notes/odd.txt")).unwrap(),
        text
    );
    session.finish();
}
