//! Random sessions, one after the other, with one inbox: however they end, a call runs only for as many yeses as were
//! given about that call of that client.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

use super::shared_inbox::SharedInbox;
use super::{Client, PLAIN, ROOTED, begin, send_roots, settings};
use crate::approval::item::Choice;
use crate::gate::Settings;
use crate::gate::tests::scene::{Scene, secs, usual_tools};
use crate::policy::Rules;

#[derive(Debug, Clone)]
enum Step {
    /// The client makes one of a few calls.
    Call(u8),
    Cancel(u8),
    Decide(usize, bool),
    Wait(u64),
    /// The inbox handles its messages.
    Serve,
    /// The client sends its roots.
    Roots,
    /// The server changes the tool, or changes it back.
    Change(u8),
    /// The session ends, or is killed, and another client connects.
    Next {
        client: u8,
        is_killed: bool,
    },
    /// The client begins another session in the same connection.
    Again,
}

const CLIENTS: [Client; 4] = [
    PLAIN,
    ROOTED,
    Client { name: "d", ..PLAIN },
    Client {
        roots: Some("file:///b"),
        ..ROOTED
    },
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u8..2).prop_map(Step::Call),
        1 => (0u8..6).prop_map(Step::Cancel),
        6 => (0usize..6, prop::bool::weighted(0.8)).prop_map(|(item, is_yes)| Step::Decide(item, is_yes)),
        4 => prop_oneof![Just(1u64), Just(3), Just(62), Just(1_800)].prop_map(Step::Wait),
        12 => Just(Step::Serve),
        4 => Just(Step::Roots),
        1 => (0u8..2).prop_map(Step::Change),
        5 => (prop_oneof![5 => Just(0u8), 3 => Just(1), 1 => Just(2), 1 => Just(3)], any::<bool>())
            .prop_map(|(client, is_killed)| Step::Next { client, is_killed }),
        1 => Just(Step::Again),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a yes is about: the client, the call, and the tool as shown.
type Seen = (Client, u64, String);

struct World {
    shared: SharedInbox,
    scene: Scene,
    session: u8,
    client: Client,
    description: u8,
    settings: Settings,
    calls: u64,
    yeses: HashMap<Seen, u32>,
    runs: HashMap<Seen, u32>,
    /// Who asked about an item.
    askers: HashMap<String, Client>,
    resumed: u32,
}

impl World {
    fn new(settings: Settings) -> World {
        World {
            shared: SharedInbox::default(),
            scene: begin(Scene::seeded(settings.clone(), Rules::default(), 1), PLAIN),
            session: 1,
            client: PLAIN,
            description: 0,
            settings,
            calls: 0,
            yeses: HashMap::new(),
            runs: HashMap::new(),
            askers: HashMap::new(),
            resumed: 0,
        }
    }

    fn does(&mut self, step: &Step) {
        match step {
            Step::Call(which) => {
                self.calls += 1;
                self.scene
                    .client_calls(self.calls, "delete_user", json!({"id": which}));
            }
            Step::Cancel(back) => {
                let id = self.calls.saturating_sub(u64::from(*back));
                self.scene.client_cancels(id);
            }
            Step::Decide(which, is_yes) => {
                let Some(item) = self.shared.items().nth(*which).cloned() else {
                    return;
                };
                let choice = if *is_yes {
                    Choice::Approve
                } else {
                    Choice::Deny
                };
                if self.shared.decide(&item.id, choice) && *is_yes {
                    let call: Value = serde_json::from_str(&item.call).unwrap();
                    let seen = (
                        self.askers[&item.id],
                        call["arguments"]["id"].as_u64().unwrap(),
                        item.description.unwrap(),
                    );
                    *self.yeses.entry(seen).or_default() += 1;
                }
            }
            Step::Wait(seconds) => self.scene.advance(secs(*seconds)),
            Step::Serve => {
                self.shared.serve(self.session, &mut self.scene);
            }
            Step::Roots => {
                send_roots(&mut self.scene, self.client.roots.unwrap_or("file:///none"));
            }
            Step::Change(description) => {
                self.description = *description;
                self.scene.client.clear();
                self.scene.tools_change(tools(*description));
            }
            Step::Next { client, is_killed } => {
                if *is_killed {
                    self.shared.dies(self.session);
                } else {
                    self.scene.client_closes();
                    self.look();
                    self.shared.serve(self.session, &mut self.scene);
                    self.shared.dies(self.session);
                }
                self.look();
                self.session += 1;
                self.client = CLIENTS[usize::from(*client)];
                let now = self.scene.now;
                let scene = Scene::seeded(self.settings.clone(), Rules::default(), self.session);
                let mut scene = scene.with_tools(tools(self.description));
                scene.now = now;
                self.scene = begin(scene, self.client);
            }
            Step::Again => {
                let scene = std::mem::replace(&mut self.scene, Scene::new());
                self.scene = begin(scene, self.client);
            }
        }
        self.scene.answer_lists();
        self.look();
    }

    /// Counts what has run.
    fn look(&mut self) {
        for item in self.shared.items() {
            self.askers.entry(item.id.clone()).or_insert(self.client);
        }
        self.resumed += u32::try_from(
            (self.scene.log.drain(..))
                .filter(|line| line["event"] == "resumed")
                .count(),
        )
        .unwrap();
        let described = format!("Deletes a user, {}.", self.description);
        for text in self.scene.upstream.drain(..) {
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["method"] != "tools/call" {
                continue;
            }
            let id = message["params"]["arguments"]["id"].as_u64().unwrap();
            let seen = (self.client, id, described.clone());
            let runs = self.runs.entry(seen.clone()).or_default();
            *runs += 1;
            let yeses = self.yeses.get(&seen).copied().unwrap_or_default();
            assert!(*runs <= yeses, "{runs} runs for {yeses} yeses: {seen:?}");
        }
    }
}

fn tools(description: u8) -> Value {
    let mut tools = usual_tools();
    tools[1]["description"] = json!(format!("Deletes a user, {description}."));
    tools
}

proptest! {
    // invariants.md, 1 and 2: one yes, one run, whichever session hears of the yes, and however
    // sessions end.
    #[test]
    fn a_call_runs_at_most_once_per_yes_given_in_any_session(steps in steps()) {
        let mut world = World::new(settings());
        world.scene.tools = tools(0);
        for step in &steps {
            world.does(step);
        }
    }
}

// A property about sessions that resume nothing would hold for a gate that never resumes.
#[test]
fn sessions_of_this_kind_do_resume() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut resumed, mut ran) = (0, 0);
    for _ in 0..200 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let mut world = World::new(settings());
        world.scene.tools = tools(0);
        for step in &steps {
            world.does(step);
        }
        resumed += world.resumed;
        ran += world.runs.values().sum::<u32>();
    }
    assert!(resumed > 5 && ran > 20, "{resumed} resumed, {ran} ran");
}
