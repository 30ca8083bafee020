//! Servers behind HTTP that restart, and calls that come back because the server did not take them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::scene::{Event, Scene, secs, usual_tools};

fn scene() -> Scene {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.gate.expect_returned_calls();
    scene
}

/// A scene in which `delete_user` was approved as 7, and the line that the server got.
fn approved() -> (Scene, String) {
    let mut scene = scene();
    scene.client_calls(7, "delete_user", json!({"id": 1}));
    let prompt = scene.expect_prompt();
    scene.approve(&prompt);
    let line = scene.upstream.front().cloned().unwrap();
    scene.expect_forwarded(7);
    (scene, line)
}

fn with_description(text: &str) -> Value {
    let mut tools = usual_tools();
    tools[1]["description"] = text.into();
    tools
}

fn events<'s>(scene: &'s Scene, name: &str) -> Vec<&'s Value> {
    let lines = scene.log.iter();
    lines.filter(|line| line["event"] == name).collect()
}

#[test]
fn an_approved_call_goes_again_if_its_tool_is_what_was_shown() {
    let (mut scene, line) = approved();
    scene.upstream_restarts();
    scene.call_comes_back(&line, true);
    assert!(scene.client.is_empty(), "{:?}", scene.client);
    scene.answer_lists();
    assert_eq!(scene.expect_forwarded(7).to_string(), line);
    scene.expect_nothing();
    // Its first record stays, and it has one more of its own.
    let lines = scene.decisions();
    assert_eq!(lines.len(), 2);
    assert!(
        lines
            .iter()
            .all(|line| line["decision"] == "approved" && line["forwarded"] == true)
    );
    assert_eq!(events(&scene, "restarted").len(), 1);
    assert_eq!(events(&scene, "returned")[0]["request_id"], "7");
    // Its answer goes to the client.
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 7, "result": {"content": []}}));
    assert_eq!(scene.take_client()["id"], 7);
}

#[test]
fn an_approved_call_does_not_go_again_if_its_tool_has_changed() {
    let (mut scene, line) = approved();
    scene.tools = with_description("Deletes everybody.");
    scene.upstream_restarts();
    scene.call_comes_back(&line, true);
    scene.answer_lists();
    let prompt = scene.expect_prompt();
    assert!(
        prompt.message.contains("Deletes everybody."),
        "{}",
        prompt.message
    );
    scene.deny(&prompt);
    scene.expect_refused(7, "denied");
    scene.expect_nothing();
}

#[test]
fn a_yes_to_an_unknown_tool_does_not_count_after_a_restart() {
    let mut scene = scene();
    scene.client_says(&super::scene::call(7, "delete_user", json!({"id": 1})));
    let list = scene.take_list_request().unwrap();
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": list,
        "error": {"code": -32603, "message": "not yet"}}));
    let prompt = scene.expect_prompt();
    assert!(
        prompt.message.contains("not known yet"),
        "{}",
        prompt.message
    );
    scene.approve(&prompt);
    let line = scene.upstream.front().cloned().unwrap();
    scene.expect_forwarded(7);
    scene.upstream_restarts();
    scene.call_comes_back(&line, true);
    scene.answer_lists();
    let prompt = scene.expect_prompt();
    assert!(
        prompt.message.contains("Deletes a user."),
        "{}",
        prompt.message
    );
    scene.expect_nothing();
}

#[test]
fn a_passed_call_goes_again_only_if_it_passes_again() {
    for (read_only, passes) in [(true, true), (false, false)] {
        let mut scene = scene();
        scene.client_calls(7, "read_note", json!({}));
        let line = scene.upstream.front().cloned().unwrap();
        scene.expect_forwarded(7);
        scene.tools[0]["annotations"] =
            json!({"readOnlyHint": read_only, "destructiveHint": !read_only});
        scene.upstream_restarts();
        scene.call_comes_back(&line, true);
        scene.answer_lists();
        if passes {
            scene.expect_forwarded(7);
        } else {
            scene.expect_prompt();
        }
        scene.expect_nothing();
    }
}

#[test]
fn a_call_that_may_not_go_again_is_answered_and_its_record_corrected() {
    let (mut scene, line) = approved();
    scene.call_comes_back(&line, false);
    let error = scene.take_client();
    assert_eq!(error["id"], 7);
    let message = error["error"]["message"].as_str().unwrap();
    assert_eq!(message, "the call was not run: it knows no such session");
    assert_eq!(events(&scene, "returned").len(), 1);
    scene.expect_nothing();
}

#[test]
fn only_released_calls_can_come_back() {
    let (mut scene, line) = approved();
    // Cancelled by the client, answered, never sent, or not what was approved.
    scene.client_cancels(7);
    scene.take_upstream();
    scene.call_comes_back(&line, true);
    scene.expect_nothing();
    assert!(events(&scene, "returned").is_empty());

    let (mut scene, line) = approved();
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 7, "result": {}}));
    scene.take_client();
    scene.call_comes_back(&line, true);
    scene.expect_nothing();

    let (mut scene, line) = approved();
    scene.call_comes_back(&line.replace(r#""id":1"#, r#""id":2"#), true);
    assert!(scene.take_client()["error"]["message"].is_string());
    scene.expect_nothing();
}

#[test]
fn a_yes_is_used_once_however_often_the_call_comes_back() {
    let (mut scene, line) = approved();
    for _ in 0..3 {
        scene.upstream_restarts();
        scene.call_comes_back(&line, true);
        scene.answer_lists();
        scene.expect_forwarded(7);
        scene.expect_nothing();
    }
    // That was the same call going again; a different call is asked about.
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 7, "result": {}}));
    scene.take_client();
    scene.client_calls(8, "delete_user", json!({"id": 1}));
    scene.expect_prompt();
}

#[derive(Debug, Clone)]
enum Step {
    Call(bool),
    Answer(bool),
    /// From now on the tool has this description and these hints, and the server does not announce it.
    Restart(u8, bool),
    ComesBack(u8, bool),
    Lists,
    Result(u8),
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        any::<bool>().prop_map(Step::Call),
        any::<bool>().prop_map(Step::Answer),
        (0u8..3, any::<bool>()).prop_map(|(text, harmless)| Step::Restart(text, harmless)),
        (any::<u8>(), prop::bool::weighted(0.8))
            .prop_map(|(which, again)| Step::ComesBack(which, again)),
        Just(Step::Lists),
        any::<u8>().prop_map(Step::Result),
        Just(Step::Wait),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    /// INVARIANTS 1 and 2, whatever restarts and comes back: each call that the server gets has a record right before
    /// it. If the server calls the tool dangerous, the last prompt about the call was answered with a yes and showed
    /// the tool as the server lists it.
    #[test]
    fn a_returned_call_goes_again_only_as_what_was_approved(steps in steps()) {
        let mut scene = scene();
        let mut next = 100;
        // For each prompt: its call, what it showed, and whether it was approved.
        let mut shown: Vec<(Value, u64, String, Option<bool>)> = Vec::new();
        let mut newest: Vec<u64> = Vec::new();
        let mut sent: Vec<String> = Vec::new();
        let mut seen = 0;
        for step in steps {
            match step {
                Step::Call(dangerous) => {
                    next += 1;
                    newest.push(next);
                    let tool = if dangerous { "delete_user" } else { "read_note" };
                    scene.client_calls(next, tool, json!({"n": next}));
                }
                Step::Answer(yes) => {
                    let open = shown.iter_mut().rev().find(|(.., said)| said.is_none());
                    if let Some((id, _, _, said)) = open {
                        *said = Some(yes);
                        let action = if yes { "accept" } else { "decline" };
                        scene.person_reads();
                        scene.client_says(&json!({"jsonrpc": "2.0", "id": id,
                            "result": {"action": action, "content": {"approved": yes}}}));
                    }
                }
                Step::Restart(text, harmless) => {
                    scene.tools = with_description(&format!("text {text}"));
                    scene.tools[0]["description"] = format!("text {text}").into();
                    scene.tools[0]["annotations"] =
                        json!({"readOnlyHint": harmless, "destructiveHint": !harmless});
                    scene.upstream_restarts();
                }
                Step::ComesBack(which, again) => if !sent.is_empty() {
                    let line = sent[usize::from(which) % sent.len()].clone();
                    scene.call_comes_back(&line, again);
                },
                Step::Lists => scene.answer_lists(),
                Step::Result(which) => if !sent.is_empty() {
                    let line: Value = serde_json::from_str(&sent[usize::from(which) % sent.len()]).unwrap();
                    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": line["id"], "result": {}}));
                },
                Step::Wait => scene.advance(secs(3)),
            }
            let events: Vec<Event> = scene.journal[seen..].iter().map(|(_, event)| event.clone()).collect();
            seen = scene.journal.len();
            let mut line_before = None;
            for event in events {
                match event {
                    Event::Client(text) => {
                        let message: Value = serde_json::from_str(&text).unwrap();
                        if message["method"] == "elicitation/create" {
                            let about = newest.iter().rev().copied().find(|n| {
                                message["params"]["message"].as_str().unwrap().contains(&format!("\"n\": {n}"))
                                    || message["params"]["message"].as_str().unwrap().contains(&format!("\"n\":{n}"))
                            });
                            prop_assert!(about.is_some(), "{}", message);
                            let text = message["params"]["message"].as_str().unwrap().to_owned();
                            shown.push((message["id"].clone(), about.unwrap(), text, None));
                        }
                    }
                    Event::Line { line, .. } => line_before = Some(line),
                    Event::Upstream(text) => {
                        let message: Value = serde_json::from_str(&text).unwrap();
                        if message["method"] != "tools/call" {
                            continue;
                        }
                        let line = line_before.take();
                        prop_assert!(line.is_some_and(|line| line["forwarded"] == true
                            && line["request_id"] == message["id"]), "no line before {}", text);
                        let name = &message["params"]["name"];
                        let is_marked = scene.tools.as_array().unwrap().iter().any(|tool| {
                            tool["name"] == *name && tool["annotations"]["destructiveHint"] == true
                        });
                        let prompt = shown.iter().rev().find(|(_, about, ..)| message["id"] == *about);
                        if is_marked {
                            prop_assert!(prompt.is_some_and(|(.., said)| *said == Some(true)), "{}", text);
                            let described = scene.tools.as_array().unwrap().iter()
                                .find(|tool| tool["name"] == *name).unwrap()["description"].as_str();
                            if let (Some(text), Some((.., message, _))) = (described, prompt) {
                                // If the list could not be read, the prompt said so.
 let is_known = message.contains(", tool `");
 prop_assert!(!is_known || message.contains(text), "{} is not in {}", text, message);
                            }
                        }
                        sent.push(text);
                    }
                    Event::Progress(_) => {}
                }
            }
            scene.client.clear();
            // Only lists wait for the server.
            scene.upstream.retain(|line| line.contains("tools/list"));
        }
    }
}
