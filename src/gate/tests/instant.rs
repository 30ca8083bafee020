//! A no that comes faster than a person can read, in legacy and stateless: it is not a person's
//! decision.
//!
//! `inbox::left_open` tests what happens to its question if there is an inbox.

use std::time::Duration;

use serde_json::{Value, json};

use super::scene::{Prompt, Scene, secs};
use super::stateless::{expect_question, expect_spent, retry, says, stateless, yes};
use crate::gate::Settings;

pub(super) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn cancel() -> Value {
    json!({"action": "cancel"})
}

pub(super) fn decline() -> Value {
    json!({"action": "decline"})
}

fn not_approved() -> Value {
    json!({"action": "accept", "content": {"approved": false}})
}

/// A protocol in which a client can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    Legacy,
    Stateless,
}

pub(super) const ERAS: [Era; 2] = [Era::Legacy, Era::Stateless];

/// A question that the client received.
pub(super) enum Asked {
    Prompt(u32, Prompt),
    State(Value, Value),
}

impl Era {
    pub(super) fn scene(self, change: impl FnOnce(&mut Settings)) -> Scene {
        match self {
            Era::Legacy => Scene::set(change).legacy("2025-11-25"),
            Era::Stateless => Scene::set(change),
        }
    }

    pub(super) fn calls(self, scene: &mut Scene, id: u32, argument: u64) {
        let arguments = json!({"id": argument});
        match self {
            Era::Legacy => scene.client_calls(id, "delete_user", arguments),
            Era::Stateless => says(scene, &stateless(id.into(), "delete_user", arguments)),
        }
    }

    /// The client calls, and is asked at once.
    pub(super) fn asks(self, scene: &mut Scene, id: u32, argument: u64) -> Asked {
        self.calls(scene, id, argument);
        self.asked(scene, id, argument)
    }

    /// The client has received the question about its call.
    pub(super) fn asked(self, scene: &mut Scene, id: u32, argument: u64) -> Asked {
        match self {
            Era::Legacy => {
                let prompt = scene.expect_prompt();
                scene.client_reads_all();
                Asked::Prompt(id, prompt)
            }
            Era::Stateless => {
                let (state, _) = expect_question(scene, id.into());
                Asked::State(
                    stateless(id.into(), "delete_user", json!({"id": argument})),
                    state,
                )
            }
        }
    }
}

impl Asked {
    /// The client has received the second of two questions, in answer to this request.
    pub(super) fn second(&self, scene: &mut Scene, id: u32) -> Asked {
        let second = match self {
            Asked::Prompt(id, _) => Asked::Prompt(*id, scene.expect_prompt()),
            Asked::State(call, _) => {
                let (state, _) = expect_question(scene, id.into());
                let mut call = call.clone();
                call["id"] = json!(id);
                Asked::State(call, state)
            }
        };
        scene.client_reads_all();
        second
    }

    /// The client answers. Returns the id of the request that is answered then.
    pub(super) fn answers(&self, scene: &mut Scene, answer: Value) -> u32 {
        match self {
            Asked::Prompt(id, prompt) => {
                scene.answer(prompt, answer);
                *id
            }
            Asked::State(call, state) => {
                let id = u32::try_from(call["id"].as_u64().unwrap()).unwrap() + 1000;
                let answers = json!({"approval-proxy": answer});
                says(scene, &retry(call, id.into(), answers, state));
                id
            }
        }
    }
}

/// The newest decision is the client's, took this long, and is not a person's.
fn expect_not_a_persons(scene: &Scene, decision: &str, took: f64) {
    let line = scene.expect_logged(decision, false);
    assert_eq!(line["engine"], "elicitation", "{line}");
    assert_eq!(line["assurance"], Value::Null, "{line}");
    assert_eq!(line["answered_ms"], took, "{line}");
}

// contract.md, "Clients that answer for themselves": "Instant decline or cancel (under 250 ms […];
// legacy and stateless): the call is refused at once. A decline is recorded as `denied`, a cancel
// as `cancelled`, each with the time it took; the text says that the client answered faster than a
// person can read, and does not claim that a person decided."
#[test]
fn an_instant_no_is_not_a_persons_decision() {
    for era in ERAS {
        for (answer, decision, words) in [
            (cancel(), "cancelled", "the client dismissed the question"),
            (decline(), "denied", "the client declined the question"),
            (
                not_approved(),
                "denied",
                "the client answered the question with a no",
            ),
        ] {
            let mut scene = era.scene(|_| {});
            let asked = era.asks(&mut scene, 1, 7);
            scene.advance(millis(10));
            let id = asked.answers(&mut scene, answer);
            let text = scene.expect_refused(id, words);
            let whole = format!(
                "The call to tool \"delete_user\" was denied: it needs a person's approval, and {words} \
                 after 10 ms, faster than a person can read. It was not run, and trying again will not \
                 help unless the client shows the question to a person."
            );
            assert_eq!(text, whole);
            expect_not_a_persons(&scene, decision, 10.0);
            let reason = scene.decisions()[0]["reason"].as_str().unwrap();
            assert!(reason.contains("after 10 ms"), "{reason}");
            assert_eq!(scene.decisions().len(), 1);
            scene.expect_nothing();
            // It is an answer: a yes that follows counts for nothing.
            let again = asked.answers(&mut scene, yes()["approval-proxy"].clone());
            if era == Era::Stateless {
                expect_spent(&mut scene, again.into());
            }
            scene.expect_nothing();
        }
    }
}

#[test]
fn the_reason_of_an_instant_no_is_not_called_a_persons() {
    for era in ERAS {
        let mut scene = era.scene(|settings| settings.explain = true);
        let asked = era.asks(&mut scene, 1, 7);
        let answer =
            json!({"action": "accept", "content": {"approved": false, "reason": "no \"UI\" here"}});
        let id = asked.answers(&mut scene, answer);
        let text = scene.expect_refused(id, r#"gave the reason "no \"UI\" here""#);
        assert!(
            !text.contains("by a person") && !text.contains("who said"),
            "{text}"
        );
        assert!(text.contains("source=client"), "{text}");
    }
}

// contract.md, "Clients that answer for themselves": "under 250 ms, `approvalInstantDeclineMs`, 0 =
// off".
#[test]
fn a_no_at_or_above_the_limit_is_a_persons() {
    for era in ERAS {
        for (limit, took, is_persons) in [
            (None, 249, false),
            (None, 250, true),
            (Some(1_000), 999, false),
            (Some(1_000), 1_000, true),
            (Some(0), 0, true),
        ] {
            for (answer, persons) in [
                (decline(), "was denied by a person."),
                (cancel(), "the question was dismissed without an answer."),
            ] {
                let mut scene = era.scene(|settings| {
                    if let Some(limit) = limit {
                        settings.instant_decline = millis(limit);
                    }
                });
                let asked = era.asks(&mut scene, 1, 7);
                scene.advance(millis(took));
                let id = asked.answers(&mut scene, answer);
                let text = scene.expect_refused(id, "\"delete_user\"");
                assert_eq!(text.contains(persons), is_persons, "{text}");
                assert_eq!(text.contains("faster than"), !is_persons, "{text}");
                if is_persons {
                    let line = scene.expect_logged("denied", false);
                    assert_eq!(line["assurance"], "caller-relayed", "{line}");
                    assert_eq!(line["answered_ms"], took as f64, "{line}");
                }
            }
        }
    }
}

// A client that approves by itself is the operator's choice; the log shows how fast it was.
#[test]
fn an_instant_yes_stays_a_yes_and_says_how_long_it_took() {
    for era in ERAS {
        let mut scene = era.scene(|_| {});
        let asked = era.asks(&mut scene, 1, 7);
        scene.advance(millis(3));
        let id = asked.answers(&mut scene, yes()["approval-proxy"].clone());
        scene.expect_forwarded(id);
        let line = scene.expect_logged("approved", true);
        assert_eq!(line["answered_ms"], 3.0);
        assert_eq!(line["assurance"], "caller-relayed");
    }
}

// A prompt may wait in our own queue for long; that time does not count as the client's.
#[test]
fn the_time_counts_from_when_the_prompt_was_written_to_the_client() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.advance(secs(10));
    scene.client_reads_all();
    scene.advance(millis(200));
    // Data written later changes nothing.
    scene.client_reads_all();
    scene.advance(millis(49));
    scene.answer(&prompt, cancel());
    scene.expect_refused(1, "after 249 ms, faster than a person can read");
    expect_not_a_persons(&scene, "cancelled", 249.0);

    scene.client_calls(2, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.client_reads_all();
    scene.advance(millis(249));
    scene.client_reads_all();
    scene.advance(millis(1));
    scene.answer(&prompt, cancel());
    scene.expect_refused(2, "dismissed without an answer");
    // If it is not known when the prompt was written, the time counts from when it was put out.
    scene.client_calls(3, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.advance(millis(10));
    scene.answer(&prompt, cancel());
    scene.expect_refused(3, "after 10 ms, faster than a person can read");
}

#[test]
fn the_time_of_a_repeated_prompt_starts_again() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let first = scene.expect_prompt();
    scene.client_reads_all();
    scene.answer_with_error(&first);
    scene.advance(millis(500));
    let second = scene.expect_prompt();
    scene.client_reads_all();
    scene.advance(millis(10));
    scene.answer(&second, decline());
    scene.expect_refused(1, "after 10 ms, faster than a person can read");

    // The same in 2026-07-28, if a retry brings no answer.
    let mut scene = Scene::new();
    let call = stateless(1, "delete_user", json!({}));
    says(&mut scene, &call);
    let (state, _) = expect_question(&mut scene, 1);
    scene.advance(secs(10));
    says(&mut scene, &retry(&call, 2, json!({}), &state));
    let (state, _) = expect_question(&mut scene, 2);
    scene.advance(millis(10));
    let answers = json!({"approval-proxy": decline()});
    says(&mut scene, &retry(&call, 3, answers, &state));
    scene.expect_refused(3, "after 10 ms, faster than a person can read");
}

#[test]
fn the_second_of_two_questions_has_a_time_of_its_own() {
    for era in ERAS {
        let mut scene = era.scene(|settings| settings.double_confirm = true);
        let asked = era.asks(&mut scene, 1, 7);
        scene.advance(secs(5));
        let id = asked.answers(&mut scene, yes()["approval-proxy"].clone());
        let second = asked.second(&mut scene, id);
        scene.advance(millis(10));
        let id = second.answers(&mut scene, cancel());
        scene.expect_refused(id, "after 10 ms, faster than a person can read");
        expect_not_a_persons(&scene, "cancelled", 10.0);
        scene.expect_nothing();
    }
}

#[test]
fn an_instant_no_refuses_all_calls_of_a_shared_question() {
    let mut scene = Scene::set(|settings| settings.approval_ttl = secs(60)).legacy("2025-11-25");
    for id in [1, 2] {
        scene.client_calls(id, "delete_user", json!({}));
    }
    let prompt = scene.expect_prompt();
    scene.client_reads_all();
    scene.answer(&prompt, decline());
    for id in [1, 2] {
        scene.expect_refused(id, "faster than a person can read");
    }
    scene.expect_nothing();
    // And covers nothing.
    scene.client_calls(3, "delete_user", json!({}));
    scene.expect_prompt();
}
