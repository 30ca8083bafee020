//! Invalid answers: the client failed to ask, so the next engine is asked.

use serde_json::{Value, json};

use super::chain;
use crate::approval::item::{Choice, Closed};
use crate::gate::tests::instant::{ERAS, millis};
use crate::gate::tests::scene::secs;
use crate::gate::{Channel, Engine, OnFailure, ToEngine};

/// Answers, and what is wrong with each.
fn invalid() -> [(Value, &'static str); 8] {
    let accept = |content: Value| json!({"action": "accept", "content": content});
    [
        (json!({"action": "accept"}), "`approved` is missing"),
        (accept(json!({})), "`approved` is missing"),
        (accept(json!(null)), "`approved` is missing"),
        (
            accept(json!({"approved": null})),
            "`approved` is not a boolean",
        ),
        (
            accept(json!({"approved": "true"})),
            "`approved` is not a boolean",
        ),
        (
            accept(json!({"Approved": true})),
            "the answer cannot be read",
        ),
        (json!({"action": "approve"}), "the answer cannot be read"),
        (json!(null), "the answer cannot be read"),
    ]
}

// contract.md, "Clients that answer for themselves": "Invalid answer (accept without `approved`,
// wrong types): the engine failed; the next one is asked."
#[test]
fn after_an_invalid_answer_the_inbox_is_asked() {
    for era in ERAS {
        for (answer, _) in invalid() {
            let mut scene = era.scene(chain);
            let asked = era.asks(&mut scene, 1, 7);
            // However fast it arrives.
            scene.advance(millis(10));
            let id = asked.answers(&mut scene, answer);
            // It is not retried: an answer is an answer.
            scene.advance(secs(10));
            scene.expect_nothing();
            let item = scene.expect_item();
            assert_eq!(item.question, "Allow this tool call?");
            assert!(scene.decisions().is_empty());
            scene.decide(&item, Choice::Approve, |_| {});
            scene.answer_lists();
            scene.expect_forwarded(id);
            let line = scene.expect_logged("approved", true);
            assert_eq!(line["engine"], "inbox", "{line}");
        }
    }
}

// contract.md, "Clients that answer for themselves": "If there is none, the call is refused with
// decision `error`, and the text does not claim that a person denied it."
#[test]
fn an_invalid_answer_without_another_engine_is_an_error() {
    for era in ERAS {
        for (answer, why) in invalid() {
            for denies in [false, true] {
                // `onTransportError: deny` asks nobody else either.
                let mut scene = era.scene(|settings| {
                    if denies {
                        chain(settings);
                        settings.channels[0].on_transport_error = OnFailure::Deny;
                    }
                });
                let asked = era.asks(&mut scene, 1, 7);
                scene.advance(secs(5));
                let id = asked.answers(&mut scene, answer.clone());
                let text = scene.expect_refused(id, why);
                assert!(!text.contains("by a person"), "{text}");
                let line = scene.expect_logged("error", false);
                assert_eq!(
                    (&line["engine"], &line["assurance"], &line["reason"]),
                    (&json!("elicitation"), &json!(null), &json!(why)),
                    "{line}"
                );
                scene.advance(secs(600));
                scene.expect_nothing();
                assert!(scene.inbox.is_empty());
                assert_eq!(scene.decisions().len(), 1);
            }
        }
    }
}

#[test]
fn after_an_invalid_answer_to_the_second_question_only_that_one_is_asked_elsewhere() {
    for era in ERAS {
        let mut scene = era.scene(|settings| {
            chain(settings);
            settings.double_confirm = true;
        });
        let asked = era.asks(&mut scene, 1, 7);
        scene.person_reads();
        let yes = json!({"action": "accept", "content": {"approved": true}});
        let id = asked.answers(&mut scene, yes);
        let second = asked.second(&mut scene, id);
        let id = second.answers(&mut scene, json!({"action": "accept"}));
        let item = scene.expect_item();
        assert!(item.question.starts_with("Second confirmation"));
        scene.decide(&item, Choice::Approve, |_| {});
        scene.answer_lists();
        scene.expect_forwarded(id);
    }
}

#[test]
fn an_invalid_answer_from_the_last_engine_is_an_error() {
    for era in ERAS {
        let mut scene = era.scene(|settings| {
            settings.channels = vec![
                Channel::new(Engine::INBOX),
                Channel::new(Engine::Elicitation),
            ];
            settings.channels[0].on_timeout = OnFailure::Fallback;
        });
        era.calls(&mut scene, 1, 7);
        scene.expect_item();
        scene.advance(secs(121));
        scene.inbox.clear();
        let asked = era.asked(&mut scene, 1, 7);
        let id = asked.answers(&mut scene, json!({"action": "accept"}));
        scene.expect_refused(id, "`approved` is missing");
        // The item stayed open while the client was asked.
        assert!(
            matches!(
                scene.inbox.pop_front(),
                Some(ToEngine::Close {
                    how: Closed::Withdrawn,
                    ..
                })
            ),
            "{:?}",
            scene.inbox
        );
    }
}
