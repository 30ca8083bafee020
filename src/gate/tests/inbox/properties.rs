//! Random sessions with the inbox: whatever happens in whatever order, a call runs only for as many
//! yeses as were given about that very call, and every call has one line.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::chain;
use crate::approval::item::{Choice, Item};
use crate::gate::tests::scene::{Scene, call};
use crate::gate::{FromInbox, TimeoutAction, ToInbox};

#[derive(Debug, Clone)]
enum Step {
    /// The client makes one of a few calls.
    Call(u8),
    /// A verdict about some item, open or not; also a second one, or one that comes late.
    Decide {
        item: usize,
        choice: Choice,
    },
    /// The inbox fails to take some item.
    Fail(usize),
    Cancel(usize),
    Wait(u16),
    /// The server changes the tool.
    Change,
    /// The client begins another session.
    Begin,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u8..3).prop_map(Step::Call),
        6 => (0usize..12, any::<bool>()).prop_map(|(item, is_yes)| Step::Decide {
            item,
            choice: if is_yes { Choice::Approve } else { Choice::Deny },
        }),
        1 => (0usize..12).prop_map(Step::Fail),
        2 => (0usize..12).prop_map(Step::Cancel),
        3 => (1u16..90).prop_map(Step::Wait),
        1 => Just(Step::Change),
        1 => Just(Step::Begin),
    ];
    prop::collection::vec(step, 1..60)
}

/// A call as a human tells it from others: its argument, and which version of the tool it is of.
type Seen = (u64, u32);

struct World {
    scene: Scene,
    version: u32,
    needed: u32,
    calls: Vec<u32>,
    items: Vec<(Item, Seen)>,
    decided: Vec<String>,
    yeses: HashMap<Seen, u32>,
    runs: HashMap<Seen, u32>,
}

impl World {
    fn new(parks: bool, twice: bool) -> World {
        let scene = Scene::set(|settings| {
            chain(settings);
            settings.timeout = Some(Duration::from_secs(60));
            settings.double_confirm = twice;
            settings.park_for = Duration::from_secs(300);
            if parks {
                settings.timeout_action = TimeoutAction::Park;
            }
        });
        World {
            scene: scene.handshake("2025-11-25", json!({})),
            version: 0,
            needed: if twice { 2 } else { 1 },
            calls: Vec::new(),
            items: Vec::new(),
            decided: Vec::new(),
            yeses: HashMap::new(),
            runs: HashMap::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Call(argument) => {
                let id = u32::try_from(self.calls.len()).unwrap() + 1;
                self.calls.push(id);
                self.scene
                    .client_says(&call(id, "delete_user", json!({"id": argument})));
            }
            Step::Decide { item, choice } => {
                let Some((item, seen)) = self.items.get(*item).cloned() else {
                    return;
                };
                // The store hands out one verdict about an item; what comes twice is a fault that
                // must do no harm.
                if !self.decided.contains(&item.id) && *choice == Choice::Approve {
                    *self.yeses.entry(seen).or_default() += 1;
                }
                self.decided.push(item.id.clone());
                self.scene.decide(&item, *choice, |_| {});
            }
            Step::Fail(item) => {
                if let Some((item, _)) = self.items.get(*item) {
                    let item = item.id.clone();
                    let why = "full".to_owned();
                    self.scene.inbox_tells(FromInbox::Failed { item, why });
                }
            }
            Step::Cancel(at) => {
                if let Some(id) = self.calls.get(*at) {
                    self.scene.client_cancels(*id);
                }
            }
            Step::Wait(seconds) => self.scene.advance(Duration::from_secs((*seconds).into())),
            Step::Change => {
                self.version += 1;
                let description = format!("version {}", self.version);
                self.scene.client.clear();
                self.scene.tools_change(json!([{"name": "delete_user",
                    "description": description, "annotations": {"destructiveHint": true}}]));
            }
            Step::Begin => {
                let scene = std::mem::replace(&mut self.scene, Scene::new());
                self.scene = scene.handshake("2025-11-25", json!({}));
            }
        }
        self.scene.answer_lists();
        self.look();
    }

    /// Sees what the step led to.
    fn look(&mut self) {
        while let Some(told) = self.scene.inbox.pop_front() {
            if let ToInbox::Ask(item) = told {
                let call: Value = serde_json::from_str(&item.call).unwrap();
                let seen = (call["arguments"]["id"].as_u64().unwrap(), self.version);
                self.items.push((*item, seen));
            }
        }
        for line in std::mem::take(&mut self.scene.upstream) {
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["method"] != "tools/call" {
                continue;
            }
            let argument = message["params"]["arguments"]["id"].as_u64().unwrap();
            let seen = (argument, self.version);
            let runs = self.runs.entry(seen).or_default();
            *runs += 1;
            let yeses = self.yeses.get(&seen).copied().unwrap_or_default();
            assert!(
                *runs * self.needed <= yeses,
                "{seen:?} ran {runs} times after {yeses} yeses"
            );
        }
        self.scene.client.clear();
    }

    fn end(mut self) {
        self.scene.client_closes();
        self.scene.advance(Duration::from_secs(1000));
        self.look();
        for id in &self.calls {
            let is_it = |line: &&Value| line["request_id"] == *id && line.get("tool").is_some();
            let lines = self.scene.log.iter().filter(is_it).count();
            assert_eq!(lines, 1, "call {id}");
        }
    }
}

proptest! {
    #[test]
    fn a_call_runs_for_as_many_yeses_as_were_given_about_it(
        steps in steps(),
        parks in any::<bool>(),
        twice in any::<bool>(),
    ) {
        let mut world = World::new(parks, twice);
        for step in &steps {
            world.take(step);
        }
        world.end();
    }
}
