//! Who is asked, and whose verdict counts, if the operator requires an assurance or the client is anonymous.

use serde_json::json;

use super::scene::{Scene, secs};
use crate::approval::assurance::RequiredAssurance;
use crate::approval::item::{Assurance, Choice};
use crate::gate::{Channel, Client, Engine, Settings, TimeoutAction};

fn required(word: &str) -> Option<RequiredAssurance> {
    let words = RequiredAssurance::WORDS.into_iter();
    let mut found = words.filter(|(known, _)| *known == word);
    found.next().map(|(_, required)| required)
}

/// A client that shows forms, and an inbox whose verdicts reach this assurance.
fn scene(reach: Assurance, change: impl FnOnce(&mut Settings)) -> Scene {
    let scene = Scene::set(|settings| {
        let inbox = Channel {
            reach,
            ..Channel::new(Engine::INBOX)
        };
        settings.channels = vec![Channel::new(Engine::Elicitation), inbox];
        change(settings);
    });
    scene.handshake("2025-11-25", json!({"elicitation": {}}))
}

#[test]
fn an_engine_below_the_required_assurance_is_skipped() {
    let mut scene = scene(Assurance::InboxSession, |settings| {
        settings.require_assurance = required("inbox-session");
    });
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(1);
}

#[test]
fn a_call_is_refused_if_no_engine_reaches_the_required_assurance() {
    let mut scene = scene(Assurance::InboxSession, |settings| {
        settings.require_assurance = required("inbox-passphrase");
        settings.timeout_action = TimeoutAction::Park;
    });
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    scene.expect_refused(1, "configured no way to ask");
    scene.expect_nothing();
}

// Whatever an engine claims to reach, only the verdict's own assurance counts.
#[test]
fn a_verdict_below_the_required_assurance_decides_nothing() {
    let mut scene = scene(Assurance::InboxPassphrase, |settings| {
        settings.require_assurance = required("inbox-passphrase");
    });
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    for choice in [Choice::Approve, Choice::Deny] {
        for assurance in [Assurance::InboxTerminal, Assurance::InboxSession] {
            scene.decide(&item, choice, |verdict| verdict.assurance = assurance);
            scene.expect_nothing();
            let line = scene.log.last().unwrap();
            assert_eq!(line["event"], "disregarded_verdict", "{line}");
            assert!(line["reason"].as_str().unwrap().contains("below"), "{line}");
        }
    }
    scene.decide(&item, Choice::Approve, |verdict| {
        verdict.assurance = Assurance::InboxPassphrase;
    });
    scene.expect_forwarded(1);
}

#[test]
fn silence_gives_no_assurance() {
    let mut scene = scene(Assurance::InboxSession, |settings| {
        settings.require_assurance = required("caller-relayed");
        settings.timeout_action = TimeoutAction::Approve;
    });
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    scene.client_reads_all();
    scene.advance(secs(121));
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(1, "nobody answered in time");
}

#[test]
fn an_anonymous_client_is_never_asked() {
    let anonymous = |settings: &mut Settings| settings.client = Client::Anonymous;
    let mut legacy = scene(Assurance::InboxSession, anonymous);
    legacy.client_calls(1, "delete_user", json!({"id": 7}));
    let item = legacy.expect_item();
    legacy.expect_nothing();
    legacy.decide(&item, Choice::Approve, |_| {});
    legacy.expect_forwarded(1);

    let mut alone = scene(Assurance::InboxSession, |settings| {
        settings.client = Client::Anonymous;
        settings.channels.truncate(1);
    });
    alone.client_says(
        &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "delete_user", "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}}}),
    );
    alone.answer_lists();
    alone.expect_refused(1, "does not ask HTTP clients that present no token");
    alone.expect_nothing();
}

#[test]
fn a_signed_decision_names_its_key() {
    let key = "sha256:00";
    for (assurance, named) in [
        (Assurance::InboxPassphrase, Some(key)),
        (Assurance::InboxSession, None),
    ] {
        let mut scene = scene(Assurance::InboxPassphrase, |settings| {
            settings.inbox_key = Some(key.to_owned());
            settings.double_confirm = true;
            settings.channels.remove(0);
        });
        scene.client_calls(1, "delete_user", json!({"id": 7}));
        for _ in 0..2 {
            let item = scene.expect_item();
            scene.decide(&item, Choice::Approve, |verdict| {
                verdict.assurance = assurance
            });
        }
        scene.expect_forwarded(1);
        let first = scene
            .log
            .iter()
            .find(|line| line["event"] == "first_approval");
        let line = scene.expect_logged("approved", true);
        for line in [first.unwrap(), line] {
            assert_eq!(
                line.get("inbox_key").and_then(|key| key.as_str()),
                named,
                "{line}"
            );
        }
    }
}
