//! The inbox as an engine: for clients that cannot ask, after those that fail, and for questions that outlive their
//! calls.

mod also;
mod denied;
mod history;
mod invalid;
mod left_open;
mod parked;
mod properties;
mod resumed;
mod reviewed;
mod stateless;
mod urls;

use std::time::Duration;

use serde_json::json;

use super::scene::{Scene, call};
use crate::approval::item::{Assurance, Choice, Closed, Verdict};
use crate::gate::{
    Channel, Engine, FromEngine, OnFailure, Patience, Settings, TimeoutAction, ToEngine,
};
use crate::policy::{Mode, Rules};

fn chain(settings: &mut Settings) {
    settings.channels = vec![
        Channel::new(Engine::Elicitation),
        Channel::new(Engine::INBOX),
    ];
}

/// A client without elicitation, and an inbox.
fn scene(change: impl FnOnce(&mut Settings)) -> Scene {
    let scene = Scene::set(|settings| {
        chain(settings);
        change(settings);
    });
    scene.handshake("2025-11-25", json!({}))
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_call_of_a_client_that_cannot_ask_waits_in_the_inbox_and_runs_after_a_yes() {
    let mut scene = scene(|_| {});
    scene.client_sends(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_user","arguments":{"z":1.50,"a":"x"}}}"#,
    );
    scene.answer_lists();
    scene.expect_nothing();
    let item = scene.expect_item();
    assert_eq!((&*item.server, &*item.tool), ("db", "delete_user"));
    assert_eq!(item.question, "Allow this tool call?");
    assert_eq!(item.description.as_deref(), Some("Deletes a user."));
    assert_eq!(item.hints, "destructiveHint true");
    assert_eq!(item.client.as_deref(), Some("c 1"));
    // In the client's order, with numbers as it wrote them.
    assert_eq!(
        item.call,
        r#"{"name":"delete_user","arguments":{"z":1.50,"a":"x"}}"#
    );
    assert_eq!(item.asked_ms + 120_000, item.expires_ms.unwrap());
    scene.decide(&item, Choice::Approve, |verdict| {
        verdict.reason = Some("fine".into());
    });
    scene.expect_forwarded(1);
    let line = scene.expect_logged("approved", true);
    assert_eq!(line["engine"], "inbox");
    assert_eq!(line["assurance"], "inbox-session");
    assert_eq!(line["reason"], "fine");
    assert_eq!(line["call"], format!("sha256:{}", item.digest));
}

// Attack: "Unlisted tool names appear as facts". Only the client vouches for such a name.
#[test]
fn an_item_always_says_that_its_tool_is_unlisted() {
    for (mode, why) in [
        (Mode::Destructive, "the server does not list this tool"),
        (
            Mode::All,
            "mode `all` asks about every call; the server does not list this tool",
        ),
    ] {
        let rules = Rules {
            mode,
            ..Rules::default()
        };
        let mut settings = Settings::default();
        chain(&mut settings);
        let scene = Scene::with(settings, rules);
        let mut scene = scene.handshake("2025-11-25", json!({}));
        scene.client_calls(1, "checked_by_your_administrator", json!({}));
        assert_eq!(scene.expect_item().why, why);
        scene.client_calls(2, "delete_user", json!({}));
        assert!(!scene.expect_item().why.contains("does not list"));
    }
}

#[test]
fn a_verdict_without_the_passphrase_is_recorded_and_decides_nothing() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    let verdict = Verdict {
        fields: None,
        choice: Choice::Approve,
        reason: Some("believe me".into()),
        cover: MINUTE,
        assurance: Assurance::InboxPassphrase,
        approver: None,
        decided_ms: item.asked_ms,
    };
    scene.inbox_sends(FromEngine::Disregarded {
        item: item.id.clone(),
        verdict,
        why: "it was not made with the passphrase",
    });
    scene.expect_nothing();
    let line = scene.log.last().unwrap();
    assert_eq!(
        (&line["event"], &line["item"], &line["choice"]),
        (
            &json!("disregarded_verdict"),
            &json!(item.id),
            &json!("approve")
        )
    );
    // Its claims are not in the log, where they could be taken for the truth.
    assert!(!line.to_string().contains("inbox-passphrase"), "{line}");
    scene.decide(&item, Choice::Deny, |_| {});
    scene.expect_refused(1, "denied");
}

#[test]
fn a_no_in_the_inbox_refuses_the_call_with_its_reason() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.decide(&item, Choice::Deny, |verdict| {
        verdict.reason = Some("not on a Friday".into());
        verdict.assurance = Assurance::InboxPassphrase;
    });
    scene.expect_refused(1, "not on a Friday");
    let line = scene.expect_logged("denied", false);
    assert_eq!(line["assurance"], "inbox-passphrase");
}

#[test]
fn one_verdict_lets_one_call_run() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(1);
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_nothing();
    let second = scene.expect_item();
    assert_ne!(second.id, item.id);
    // A verdict on the old item does not count for the new one.
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();
}

#[test]
fn a_client_that_can_ask_is_asked_and_the_inbox_is_not() {
    let mut scene = Scene::set(chain).legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    assert!(scene.inbox.is_empty());
    scene.approve(&prompt);
    scene.expect_forwarded(1);
    let line = scene.expect_logged("approved", true);
    assert_eq!(line["assurance"], "caller-relayed");
}

#[test]
fn the_inbox_takes_over_when_the_client_fails_or_is_silent_if_configured() {
    // A client that cannot show its prompt, after all retries.
    let mut scene = Scene::set(|settings| {
        chain(settings);
        settings.retry.attempts = 0;
    })
    .legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    scene.answer_with_error(&prompt);
    let item = scene.expect_item();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(1);

    // A client that does not answer in its engine's time.
    let mut scene = Scene::set(|settings| {
        chain(settings);
        settings.channels[0].patience = Patience::Own(Some(MINUTE));
        settings.channels[0].on_timeout = OnFailure::Fallback;
    })
    .legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    scene.advance(MINUTE);
    scene.expect_withdrawn(&prompt);
    let item = scene.expect_item();
    // A late answer to the prompt counts for nothing.
    scene.approve(&prompt);
    scene.expect_nothing();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(1);

    // If no fallback is configured, a timeout is a no.
    let mut scene = Scene::set(chain).legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    scene.advance(2 * MINUTE);
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(1, "nobody answered in time");
    assert!(scene.inbox.is_empty());
}

#[test]
fn when_the_inbox_fails_the_call_is_refused_or_the_next_engine_asked() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    let why = "the disk is full".to_owned();
    let failed = |item: &str| FromEngine::Failed {
        engine: None,
        item: item.to_owned(),
        failure: crate::gate::Failure::unreachable(why.clone()),
    };
    scene.inbox_sends(failed(&item.id));
    // The operator must fix it, not an agent.
    let received = scene.expect_refused(1, "the approval inbox cannot be used");
    assert!(!received.contains("disk"), "{received}");
    let line = scene.expect_logged("error", false);
    assert!(
        line["reason"]
            .as_str()
            .unwrap()
            .contains("the disk is full"),
        "{line}"
    );

    let mut scene = Scene::set(|settings| {
        settings.channels = vec![
            Channel::new(Engine::INBOX),
            Channel::new(Engine::Elicitation),
        ];
    })
    .legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.inbox_sends(failed(&item.id));
    let prompt = scene.expect_prompt();
    assert!(prompt.message.contains("delete_user"), "{}", prompt.message);
    scene.approve(&prompt);
    scene.expect_forwarded(1);
}

#[test]
fn silence_in_the_inbox_is_a_no_even_under_approve() {
    let mut scene = scene(|settings| settings.timeout_action = TimeoutAction::Approve);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.client_reads_all();
    // A verdict at the last moment has half a second to arrive.
    scene.advance(2 * MINUTE);
    scene.expect_nothing();
    scene.advance(Duration::from_millis(500));
    scene.expect_refused(1, "nobody answered in time");
    let how = Closed::Expired;
    assert_eq!(
        scene.inbox.pop_front(),
        Some(ToEngine::Close {
            item: item.id.clone(),
            how
        })
    );
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();
}

#[test]
fn an_item_is_withdrawn_when_its_call_is_cancelled() {
    for end in [
        |scene: &mut Scene| scene.client_cancels(1),
        |scene: &mut Scene| scene.client_closes(),
        |scene: &mut Scene| scene.upstream_closes(),
    ] {
        let mut scene = scene(|_| {});
        scene.client_calls(1, "delete_user", json!({"id": 7}));
        let item = scene.expect_item();
        end(&mut scene);
        let how = Closed::Withdrawn;
        let closed = ToEngine::Close {
            item: item.id.clone(),
            how,
        };
        assert_eq!(scene.inbox.pop_front(), Some(closed));
        scene.decide(&item, Choice::Approve, |_| {});
        assert!(scene.upstream.is_empty());
    }
}

#[test]
fn a_tool_that_changes_while_the_item_waits_is_asked_about_again() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.tools_change(json!([{"name": "delete_user", "description": "Deletes everything."}]));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.answer_lists();
    scene.expect_nothing();
    let again = scene.expect_item();
    assert_eq!(again.description.as_deref(), Some("Deletes everything."));
    assert!(again.question.starts_with("The server changed this tool"));
    assert_ne!(again.digest, item.digest);
}

#[test]
fn a_yes_for_some_minutes_covers_the_same_call_and_no_other() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.decide(&item, Choice::Approve, |verdict| verdict.cover = 5 * MINUTE);
    scene.expect_forwarded(1);
    assert_eq!(scene.expect_logged("approved", true)["covers_seconds"], 300);
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_forwarded(2);
    let line = scene.expect_logged("approved", true);
    assert_eq!(
        (&line["engine"], &line["covers_seconds"]),
        (&json!("cache"), &json!(null))
    );
    scene.client_calls(3, "delete_user", json!({"id": 8}));
    scene.expect_item();
    scene.advance(5 * MINUTE);
    scene.client.clear();
    scene.inbox.clear();
    scene.client_calls(4, "delete_user", json!({"id": 7}));
    scene.expect_item();
    scene.expect_nothing();
}

#[test]
fn two_yeses_are_two_items() {
    let mut scene = scene(|settings| settings.double_confirm = true);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let first = scene.expect_item();
    assert!(first.question.contains("asked twice"));
    scene.decide(&first, Choice::Approve, |verdict| {
        verdict.reason = Some("one".into())
    });
    scene.expect_nothing();
    let line = scene.log.last().unwrap();
    assert_eq!(
        (&line["event"], &line["reason"], &line["assurance"]),
        (
            &json!("first_approval"),
            &json!("one"),
            &json!("inbox-session")
        )
    );
    let second = scene.expect_item();
    assert!(second.question.starts_with("Second confirmation"));
    scene.decide(&first, Choice::Approve, |_| {});
    scene.expect_nothing();
    scene.decide(&second, Choice::Approve, |_| {});
    scene.expect_forwarded(1);
}

#[test]
fn a_stateless_call_without_elicitation_waits_in_the_inbox() {
    let mut scene = Scene::set(chain);
    let mut message = call(1, "delete_user", json!({"id": 7}));
    message["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "m", "version": "2"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    scene.client_says(&message);
    scene.answer_lists();
    scene.expect_nothing();
    let item = scene.expect_item();
    assert_eq!(item.client.as_deref(), Some("m 2"));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(1);
}

#[test]
fn a_call_too_large_to_read_does_not_go_into_the_inbox() {
    let mut scene = scene(|_| {});
    let large = "x".repeat(5 * 1024 * 1024);
    scene.client_calls(1, "delete_user", json!({"id": large}));
    scene.expect_refused(1, "larger than the 4 MiB");
    assert!(scene.inbox.is_empty());
}
