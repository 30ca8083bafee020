//! Several engines: chains, races, engines that join later, and a question that is open at many of them.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::scene::{Prompt, Scene, secs};
use crate::approval::item::{Assurance, Choice, Item, Verdict};
use crate::gate::{
    Channel, Engine, EngineId, Failure, FailureKind, FromEngine, OnFailure, Patience, Settings,
    ToEngine,
};
use crate::policy::Risk;

fn id(name: &str) -> EngineId {
    EngineId::named(name)
}

fn engine(name: &str) -> Channel {
    Channel::new(Engine::OutOfBand(id(name)))
}

fn timed(name: &str, seconds: u64) -> Channel {
    Channel {
        patience: Patience::Own(Some(secs(seconds))),
        on_timeout: OnFailure::Fallback,
        ..engine(name)
    }
}

fn after(seconds: u64, channel: Channel) -> Channel {
    Channel {
        after: Some(secs(seconds)),
        ..channel
    }
}

/// A client that can prompt, and these engines.
fn scene(channels: Vec<Channel>, change: impl FnOnce(&mut Settings)) -> Scene {
    let scene = Scene::set(|settings| {
        settings.channels = channels;
        settings.timeout = Some(secs(60));
        settings.instant_decline = Duration::ZERO;
        change(settings);
    });
    scene.handshake("2025-11-25", json!({"elicitation": {}}))
}

fn call(scene: &mut Scene, tool: &str) {
    scene.client_calls(1, tool, json!({"id": 7}));
    scene.answer_lists();
}

/// What the engines received, without texts.
fn received(scene: &mut Scene) -> Vec<String> {
    let received = std::mem::take(&mut scene.inbox).into_iter();
    let names = received.map(|message| match message {
        ToEngine::Ask { engine, .. } => format!("ask {}", engine.name()),
        ToEngine::Join { engine, .. } => format!("join {}", engine.name()),
        ToEngine::Close { how, .. } => format!("close {how:?}"),
        ToEngine::OpenBrowser { .. } => "browser".to_owned(),
        ToEngine::Park { .. } => "park".to_owned(),
        ToEngine::Decided(_) => "history".to_owned(),
        ToEngine::Resume(_) => "resume".to_owned(),
    });
    names.collect()
}

fn item(scene: &mut Scene) -> Item {
    let mut messages = scene.inbox.iter();
    let item = messages.find_map(|message| match message {
        ToEngine::Ask { item, .. } => Some((**item).clone()),
        ToEngine::Join { .. }
        | ToEngine::OpenBrowser { .. }
        | ToEngine::Park { .. }
        | ToEngine::Close { .. }
        | ToEngine::Decided(_)
        | ToEngine::Resume(_) => None,
    });
    item.expect("an item")
}

fn verdict(engine: &str, item: &Item, choice: Choice) -> FromEngine {
    FromEngine::Verdict {
        engine: id(engine),
        item: item.id.clone(),
        verdict: Verdict {
            fields: None,
            choice,
            reason: None,
            cover: Duration::ZERO,
            assurance: Assurance::SharedSecret,
            approver: Some(format!("{engine}:ann")),
            decided_ms: 0,
        },
    }
}

fn fails(engine: &str, item: &Item) -> FromEngine {
    FromEngine::Failed {
        engine: Some(id(engine)),
        item: item.id.clone(),
        failure: Failure {
            kind: FailureKind::Rejected,
            why: "no such channel".to_owned(),
        },
    }
}

fn events<'s>(scene: &'s Scene, name: &str) -> Vec<&'s Value> {
    let events = scene.log.iter();
    events.filter(|line| line["event"] == name).collect()
}

fn record(scene: &Scene) -> Value {
    let decisions = scene.decisions();
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    decisions[0].clone()
}

#[test]
fn a_race_asks_all_at_once_and_the_first_answer_counts() {
    let race = || {
        vec![
            after(0, engine("a")),
            after(0, engine("b")),
            after(0, engine("c")),
        ]
    };
    let mut scene = scene(race(), |_| {});
    call(&mut scene, "delete_user");
    let item = item(&mut scene);
    assert_eq!(received(&mut scene), ["ask a", "join b", "join c"]);
    scene.inbox_sends(verdict("b", &item, Choice::Approve));
    scene.expect_forwarded(1);
    scene.inbox_sends(verdict("a", &item, Choice::Deny));
    scene.expect_nothing();
    let record = record(&scene);
    assert_eq!(
        (&record["engine"], &record["approver"], &record["decision"]),
        (&json!("b"), &json!("b:ann"), &json!("approved"))
    );
}

#[test]
fn a_race_with_the_client_withdraws_whatever_loses() {
    let race = || {
        vec![
            after(0, Channel::new(Engine::Elicitation)),
            after(0, engine("a")),
        ]
    };
    let mut one = scene(race(), |_| {});
    call(&mut one, "delete_user");
    let (prompt, shown) = (one.expect_prompt(), item(&mut one));
    one.inbox_sends(verdict("a", &shown, Choice::Approve));
    one.expect_withdrawn(&prompt);
    one.expect_forwarded(1);

    let mut other = scene(race(), |_| {});
    call(&mut other, "delete_user");
    let prompt = other.expect_prompt();
    received(&mut other);
    other.deny(&prompt);
    other.expect_refused(1, "denied by a person");
    assert_eq!(received(&mut other), ["close Withdrawn"]);
    assert_eq!(record(&other)["engine"], "elicitation");
}

#[test]
fn an_engine_joins_after_its_time_in_a_chain_and_in_a_race() {
    for first in [engine("a"), after(0, engine("a"))] {
        let mut scene = scene(vec![first, after(5, engine("b"))], |_| {});
        call(&mut scene, "delete_user");
        let item = item(&mut scene);
        assert_eq!(received(&mut scene), ["ask a"]);
        scene.advance(Duration::from_millis(4_999));
        assert_eq!(received(&mut scene), [""; 0]);
        scene.advance(Duration::from_millis(1));
        assert_eq!(received(&mut scene), ["join b"]);
        // The row stays open for the time that somebody has at `b`.
        assert_eq!(item.expires_ms.unwrap() - item.asked_ms, 65_000);
        scene.advance(secs(58));
        scene.inbox_sends(verdict("b", &item, Choice::Approve));
        scene.expect_forwarded(1);
    }
}

#[test]
fn a_chain_asks_the_next_engine_when_one_times_out_and_a_late_yes_still_counts() {
    let mut scene = scene(vec![timed("a", 10), timed("b", 10), timed("c", 10)], |_| {});
    call(&mut scene, "delete_user");
    let item = item(&mut scene);
    assert_eq!(item.expires_ms.unwrap() - item.asked_ms, 30_000);
    assert_eq!(received(&mut scene), ["ask a"]);
    scene.advance(secs(11));
    assert_eq!(received(&mut scene), ["join b"]);
    scene.advance(secs(11));
    assert_eq!(received(&mut scene), ["join c"]);
    scene.inbox_sends(verdict("a", &item, Choice::Approve));
    scene.expect_forwarded(1);
    assert_eq!(record(&scene)["engine"], "a");
}

// A row whose time is too short by a millisecond was withdrawn and asked anew, so that a late yes could not count.
#[test]
fn a_timer_that_fires_a_little_late_replaces_no_row() {
    let late = Duration::from_millis(7);
    let chain = vec![timed("a", 10), timed("b", 60), timed("c", 60)];
    let joining = vec![engine("a"), after(2, engine("b")), after(4, engine("c"))];
    for channels in [chain, joining] {
        let mut scene = scene(channels, |_| {});
        call(&mut scene, "delete_user");
        let item = item(&mut scene);
        assert_eq!(received(&mut scene), ["ask a"]);
        scene.advance_late(secs(11), late);
        scene.advance_late(secs(61), late);
        let joined = received(&mut scene);
        assert_eq!(joined[..2], ["join b", "join c"], "{joined:?}");
        if joined.len() == 2 {
            scene.inbox_sends(verdict("a", &item, Choice::Approve));
            scene.expect_forwarded(1);
        }
    }
    // One that fires very late gives people their whole time.
    let mut scene = scene(vec![timed("a", 10), timed("b", 60)], |_| {});
    call(&mut scene, "delete_user");
    received(&mut scene);
    scene.advance_late(secs(10), secs(30));
    assert_eq!(received(&mut scene), ["ask b", "join a"]);
}

#[test]
fn a_chain_that_nobody_answers_is_refused_when_the_last_time_is_up() {
    let mut scene = scene(vec![timed("a", 10), timed("b", 10)], |_| {});
    call(&mut scene, "delete_user");
    received(&mut scene);
    scene.advance(secs(11));
    scene.advance(secs(9));
    scene.expect_nothing();
    scene.advance(secs(2));
    scene.expect_refused(1, "nobody answered in time");
    assert_eq!(received(&mut scene), ["join b", "close Expired"]);
    assert_eq!(record(&scene)["decision"], "timeout");
}

#[test]
fn a_time_out_that_denies_asks_nobody_else_but_waits_for_who_was_asked() {
    let deny = |name| Channel {
        on_timeout: OnFailure::Deny,
        ..timed(name, 10)
    };
    let mut scene = scene(vec![deny("a"), deny("b")], |_| {});
    call(&mut scene, "delete_user");
    scene.advance(secs(11));
    scene.expect_refused(1, "nobody answered in time");
    assert_eq!(received(&mut scene), ["ask a", "close Expired"]);

    let mut race = self::scene(vec![after(0, deny("a")), after(5, deny("b"))], |_| {});
    call(&mut race, "delete_user");
    let item = item(&mut race);
    race.advance(secs(5));
    race.advance(secs(7));
    race.expect_nothing();
    race.inbox_sends(verdict("a", &item, Choice::Approve));
    race.expect_forwarded(1);
}

#[test]
fn a_failed_engine_is_reported_to_the_operator_and_the_next_is_asked() {
    let mut scene = scene(vec![engine("a"), engine("b")], |_| {});
    call(&mut scene, "delete_user");
    let first = item(&mut scene);
    received(&mut scene);
    scene.inbox_sends(fails("a", &first));
    assert_eq!(received(&mut scene), ["join b"]);
    let failed = events(&scene, "engine_failed");
    assert_eq!(
        (&failed[0]["engine"], &failed[0]["kind"]),
        (&json!("a"), &json!("rejected"))
    );
    assert_eq!(scene.warnings.len(), 1);
    assert!(scene.warnings[0].contains("no such channel"));
    scene.inbox_sends(verdict("b", &first, Choice::Deny));
    let text = scene.expect_refused(1, "denied by a person");
    assert!(!text.contains("channel"), "{text}");
}

#[test]
fn the_report_of_a_failure_shows_no_secret() {
    let mut scene = scene(vec![engine("a")], |_| {});
    call(&mut scene, "delete_user");
    let first = item(&mut scene);
    let FromEngine::Failed {
        engine,
        item,
        mut failure,
    } = fails("a", &first)
    else {
        panic!("it is one");
    };
    failure.why = "cannot take password=hunter2".to_owned();
    scene.inbox_sends(FromEngine::Failed {
        engine,
        item,
        failure,
    });
    let shown = format!("{:?} {:?}", scene.warnings, scene.log);
    assert!(
        shown.contains("cannot take") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn after_a_failure_people_have_their_whole_time_at_the_next_engine() {
    let mut scene = scene(vec![engine("a"), timed("b", 90)], |_| {});
    call(&mut scene, "delete_user");
    let first = item(&mut scene);
    received(&mut scene);
    scene.advance(secs(30));
    scene.inbox_sends(fails("a", &first));
    let next = item(&mut scene);
    assert_eq!(received(&mut scene), ["ask b"]);
    assert_eq!(next.expires_ms.unwrap() - next.asked_ms, 90_000);
    scene.advance(secs(89));
    scene.inbox_sends(verdict("b", &next, Choice::Approve));
    scene.expect_forwarded(1);
    // The old row is withdrawn, so a verdict about it is a fault.
    scene.inbox_sends(verdict("inbox", &first, Choice::Approve));
    scene.expect_nothing();
}

#[test]
fn a_verdict_that_came_just_before_its_row_was_replaced_counts() {
    for choice in [Choice::Approve, Choice::Deny] {
        let mut scene = scene(vec![engine("a"), timed("b", 90)], |_| {});
        call(&mut scene, "delete_user");
        let first = item(&mut scene);
        scene.advance(secs(30));
        scene.inbox_sends(fails("a", &first));
        let next = item(&mut scene);
        scene.inbox_sends(verdict("inbox", &first, choice));
        match choice {
            Choice::Approve => drop(scene.expect_forwarded(1)),
            Choice::Deny => drop(scene.expect_refused(1, "denied by a person")),
        }
        scene.inbox_sends(verdict("b", &next, Choice::Approve));
        scene.expect_nothing();
    }
}

#[test]
fn if_one_of_several_fails_the_others_go_on_and_if_all_fail_the_call_is_refused() {
    let mut scene = scene(vec![after(0, engine("a")), after(0, engine("b"))], |_| {});
    call(&mut scene, "delete_user");
    let item = item(&mut scene);
    received(&mut scene);
    scene.inbox_sends(fails("a", &item));
    scene.expect_nothing();
    scene.inbox_sends(fails("b", &item));
    let text = scene.expect_refused(1, "the approval engine `b` cannot be used");
    assert!(!text.contains("denied by"), "{text}");
    assert_eq!(received(&mut scene), ["close Withdrawn"]);
    assert_eq!(record(&scene)["decision"], "error");
}

#[test]
fn a_failure_that_denies_refuses_the_call_even_in_a_race() {
    let strict = Channel {
        on_transport_error: OnFailure::Deny,
        ..after(0, engine("a"))
    };
    let mut scene = scene(vec![strict, after(0, engine("b"))], |_| {});
    call(&mut scene, "delete_user");
    let item = item(&mut scene);
    scene.inbox_sends(fails("a", &item));
    scene.expect_refused(1, "cannot be used");
    scene.inbox_sends(verdict("b", &item, Choice::Approve));
    scene.expect_nothing();
}

#[test]
fn an_engine_is_asked_only_about_its_risk_and_without_another_the_call_is_refused() {
    let high = Channel {
        min_risk: Risk::High,
        ..engine("a")
    };
    let mut scene = scene(vec![high], |settings| settings.timeout = None);
    // A tool that the server does not list has the highest risk.
    call(&mut scene, "delete_user");
    assert_eq!(received(&mut scene), ["ask a"]);
    for (risk, low, medium, high) in [
        (Risk::Low, true, false, false),
        (Risk::Medium, true, true, false),
        (Risk::Unknown, true, true, false),
        (Risk::High, true, true, true),
    ] {
        for (least, asks) in [(Risk::Low, low), (Risk::Medium, medium), (Risk::High, high)] {
            let channel = Channel {
                min_risk: least,
                ..engine("a")
            };
            assert_eq!(channel.asks_about(risk), asks, "{risk} at {least}");
        }
    }
    let mut none = Scene::set(|settings| {
        settings.channels = vec![Channel {
            min_risk: Risk::High,
            ..engine("a")
        }];
    })
    .with_tools(json!([{"name": "send_note", "inputSchema": {"type": "object"}}]))
    .handshake("2025-11-25", json!({}));
    none.client_calls(1, "send_note", json!({}));
    none.answer_lists();
    if none.inbox.is_empty() {
        let text = none.expect_refused(1, "no way to ask");
        assert!(!text.contains("denied by"), "{text}");
        assert_eq!(record(&none)["decision"], "error");
    }
}

#[test]
fn the_second_of_two_yeses_is_asked_where_the_first_came_from() {
    let race = vec![after(0, engine("a")), after(0, engine("b"))];
    let mut scene = scene(race, |settings| settings.double_confirm = true);
    call(&mut scene, "delete_user");
    let first = item(&mut scene);
    received(&mut scene);
    scene.inbox_sends(verdict("b", &first, Choice::Approve));
    let second = item(&mut scene);
    assert_eq!(received(&mut scene), ["ask b"]);
    assert_ne!(first.id, second.id);
    scene.inbox_sends(verdict("b", &first, Choice::Approve));
    scene.expect_nothing();
    scene.inbox_sends(verdict("b", &second, Choice::Approve));
    scene.expect_forwarded(1);
}

/// One thing that happens to the question.
#[derive(Debug, Clone)]
enum Happens {
    Verdict(usize, bool),
    Fails(usize),
    Client(bool),
    Wait(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        2 => (0..3_usize, any::<bool>()).prop_map(|(at, is_yes)| Happens::Verdict(at, is_yes)),
        2 => (0..3_usize).prop_map(Happens::Fails),
        1 => any::<bool>().prop_map(Happens::Client),
        4 => (1..20_000_u64).prop_map(Happens::Wait),
    ]
}

fn channels() -> impl Strategy<Value = Vec<Channel>> {
    let one = (
        prop::option::of(0..20_u64),
        prop::option::of(1..20_u64),
        any::<bool>(),
        any::<bool>(),
    );
    prop::collection::vec(one, 4).prop_map(|drawn| {
        let engines = [
            Engine::Elicitation,
            Engine::OutOfBand(id("a")),
            Engine::OutOfBand(id("b")),
            Engine::INBOX,
        ];
        let channels = engines.into_iter().zip(drawn);
        let choose = |is_deny| match is_deny {
            true => OnFailure::Deny,
            false => OnFailure::Fallback,
        };
        let channels = channels.map(|(engine, (after, timeout, denies, fails))| Channel {
            after: after.map(secs),
            patience: timeout.map_or(Patience::Default, |time| Patience::Own(Some(secs(time)))),
            on_timeout: choose(denies),
            on_transport_error: choose(fails),
            ..Channel::new(engine)
        });
        channels.collect()
    })
}

/// A scene, and what is open in it.
struct Watched {
    scene: Scene,
    /// The client's open prompts.
    prompts: Vec<Prompt>,
    /// The newest row.
    item: Option<Item>,
    /// The open rows.
    open: Vec<String>,
    /// The first answer that counts: its engine, and whether it was a yes.
    first: Option<(String, bool)>,
}

impl Watched {
    fn look(&mut self) {
        while let Some(text) = self.scene.client.pop_front() {
            let message: Value = serde_json::from_str(&text).unwrap();
            match message["method"].as_str() {
                Some("elicitation/create") => self.prompts.push(Prompt {
                    id: message["id"].clone(),
                    params: message["params"].clone(),
                    message: String::new(),
                }),
                Some("notifications/cancelled") => {
                    let id = &message["params"]["requestId"];
                    self.prompts.retain(|prompt| prompt.id != *id);
                }
                _ => {}
            }
        }
        for message in std::mem::take(&mut self.scene.inbox) {
            match message {
                ToEngine::Ask { item, replaces, .. } => {
                    self.open.retain(|known| Some(known) != replaces.as_ref());
                    self.open.push(item.id.clone());
                    self.item = Some(*item);
                }
                ToEngine::Close { item, .. } => self.open.retain(|known| *known != item),
                ToEngine::Join { item, .. } => {
                    assert!(self.open.contains(&item), "a row that is joined is open");
                }
                ToEngine::OpenBrowser { .. }
                | ToEngine::Park { .. }
                | ToEngine::Decided(_)
                | ToEngine::Resume(_) => {}
            }
        }
    }

    fn take(&mut self, step: Happens) {
        const NAMES: [&str; 3] = ["a", "b", "inbox"];
        match (step, self.item.clone()) {
            (Happens::Wait(millis), _) => self.scene.advance(Duration::from_millis(millis)),
            (Happens::Verdict(at, is_yes), Some(item)) => {
                if self.open.contains(&item.id) {
                    self.decides(NAMES[at], is_yes);
                    self.open.retain(|known| *known != item.id);
                }
                let choice = if is_yes {
                    Choice::Approve
                } else {
                    Choice::Deny
                };
                self.scene.inbox_sends(verdict(NAMES[at], &item, choice));
            }
            (Happens::Fails(at), Some(item)) => self.scene.inbox_sends(fails(NAMES[at], &item)),
            (Happens::Client(is_yes), _) => {
                let Some(prompt) = self.prompts.pop() else {
                    return;
                };
                self.decides("elicitation", is_yes);
                let answer = json!({"action": "accept", "content": {"approved": is_yes}});
                self.scene.answer(&prompt, answer);
            }
            (Happens::Verdict(..) | Happens::Fails(_), None) => {}
        }
        self.look();
    }

    fn decides(&mut self, engine: &str, is_yes: bool) {
        self.first.get_or_insert((engine.to_owned(), is_yes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    // INVARIANTS 1 and 2: whatever comes, in whatever order, a call runs only after one yes about the row or the prompt
    // that is open, has one record, whose engine is the one that decided, and leaves nothing open.
    #[test]
    fn four_engines_give_one_decision_and_leave_nothing_open(
        channels in channels(),
        steps in prop::collection::vec(happens(), 0..12),
    ) {
        let mut world = Watched {
            scene: scene(channels, |_| {}),
            prompts: Vec::new(),
            item: None,
            open: Vec::new(),
            first: None,
        };
        call(&mut world.scene, "delete_user");
        world.look();
        for step in steps {
            world.take(step);
        }
        for _ in 0..20 {
            world.take(Happens::Wait(60_000));
        }
        let decisions = world.scene.decisions();
        prop_assert_eq!(decisions.len(), 1, "{:?}", decisions);
        let record = decisions[0];
        prop_assert_eq!(record["decision"] == "approved", record["forwarded"] == true);
        match &world.first {
            Some((engine, is_yes)) => {
                prop_assert_eq!(&record["engine"], &json!(engine));
                prop_assert_eq!(record["decision"] == "approved", *is_yes);
            }
            None => prop_assert!(record["forwarded"] == false, "{}", record),
        }
        prop_assert!(world.open.is_empty() && world.prompts.is_empty());
    }
}
