//! Turns steps into lines, tells the oracle what they mean, and lets the gate have them.

mod client;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::oracle::Oracle;
use super::steps::{Change, FromClient, FromUpstream, Setup, Step, Which};
use crate::gate::tests::properties::lines;
use crate::gate::tests::properties::reading::{meaning, write_tools};
use crate::gate::tests::properties::steps::Ending;
use crate::gate::tests::scene::{Event, Log, Scene};
use crate::gate::{Gate, Retry, Settings};
use crate::policy::{Mode, Policy, Rules};

pub(super) struct World {
    setup: Setup,
    scene: Scene,
    oracle: Oracle,
    /// Makes messages different from each other.
    count: u64,
    legacy_calls: u64,
    /// The tools that the upstream has.
    tools: Vec<(u8, u8, u8)>,
    /// Ids that the line in the making has used.
    in_line: BTreeSet<String>,
    /// Ids that the client has used, oldest first.
    used: Vec<Value>,
    /// The upstream's own newest state.
    upstream_state: String,
    client_open: bool,
    upstream_open: bool,
    /// What is done to the truth before the oracle sees it.
    forge: Forge,
}

/// Changes what the gate did in a step.
pub(super) type Forge = fn(&mut Vec<(Duration, Event)>);

/// Plays the steps, then closes both sides, and checks the whole way. Says what was seen, and
/// how often.
pub(super) fn play(setup: &Setup, steps: &[Step]) -> BTreeMap<&'static str, u32> {
    play_forged(setup, steps, |_| ())
}

/// As [`play`], but the oracle sees something else than what happened.
pub(super) fn play_forged(
    setup: &Setup,
    steps: &[Step],
    forge: Forge,
) -> BTreeMap<&'static str, u32> {
    let mut world = World::new(setup);
    world.forge = forge;
    for step in steps {
        world.step(step);
        world.answer_eagerly();
    }
    world.end();
    world.oracle.seen
}

fn settings(setup: &Setup) -> (Settings, Rules) {
    let settings = Settings {
        timeout: setup.timeout_secs.map(Duration::from_secs),
        approval_ttl: Duration::from_secs(setup.ttl_secs),
        double_confirm: setup.double_confirm,
        max_pending: setup.max_pending,
        audit_best_effort: setup.best_effort,
        retry: Retry {
            attempts: 0,
            ..Retry::default()
        },
        ..Settings::default()
    };
    let mode = if setup.all {
        Mode::All
    } else {
        Mode::Destructive
    };
    let rules = Rules {
        mode,
        ..Rules::default()
    };
    (settings, rules)
}

impl World {
    fn new(setup: &Setup) -> World {
        let (settings, rules) = settings(setup);
        let mut scene = Scene::with(settings, rules);
        if setup.legacy {
            scene = scene.legacy("2025-11-25");
            scene.journal.clear();
        }
        World {
            setup: setup.clone(),
            scene,
            oracle: Oracle::new(setup),
            count: 1000,
            legacy_calls: 0,
            tools: vec![(0, 1, 0), (1, 3, 0), (2, 0, 0), (3, 0, 0), (7, 2, 0)],
            in_line: BTreeSet::new(),
            used: Vec::new(),
            upstream_state: "theirs".to_owned(),
            client_open: true,
            upstream_open: true,
            forge: |_| (),
        }
    }

    fn step(&mut self, step: &Step) {
        self.oracle.is_at(self.scene.now.elapsed);
        self.in_line.clear();
        let mut ticked = false;
        match step {
            Step::Client(entries) if self.client_open && self.upstream_open => {
                if let Some(line) = self.client_line(entries) {
                    self.scene.client_sends(&line);
                }
            }
            Step::Upstream(entry) if self.upstream_open => {
                if let Some(line) = self.upstream_line(entry) {
                    self.scene.upstream_sends(&line);
                }
            }
            Step::Client(_) | Step::Upstream(_) => {}
            Step::Rounds(count) => return self.rounds(*count),
            Step::WaitMillis(millis) => {
                self.scene.advance(Duration::from_millis(*millis));
                ticked = true;
            }
            Step::LateMillis(millis) => {
                self.oracle.is_late();
                self.scene.now.elapsed += Duration::from_millis(*millis);
                self.scene.now.unix_ms += i64::try_from(*millis).unwrap();
            }
            Step::BreakLog => self.scene.log_state = Log::Broken,
            Step::MendLog => self.scene.log_state = Log::Writable,
            Step::CloseClient => self.close_client(),
        }
        self.look(ticked);
    }

    fn rounds(&mut self, count: u8) {
        for _ in 0..count {
            self.step(&Step::Upstream(FromUpstream::Answer { which: 0, how: 1 }));
            self.answer_eagerly();
            self.step(&Step::Client(vec![FromClient::Retry {
                id: None,
                state: Which::Unused(0),
                answer: 0,
                change: Change::None,
            }]));
            self.answer_eagerly();
        }
    }

    /// Lets the oracle see what has happened.
    fn look(&mut self, ticked: bool) {
        let mut events = std::mem::take(&mut self.scene.journal);
        (self.forge)(&mut events);
        self.oracle.sees(&events);
        self.oracle.is_at(self.scene.now.elapsed);
        self.oracle.ends_step(ticked);
    }

    fn close_client(&mut self) {
        if std::mem::take(&mut self.client_open) {
            self.oracle.loses_client();
            self.scene.client_closes();
        }
    }

    fn close_upstream(&mut self) {
        if std::mem::take(&mut self.upstream_open) {
            self.oracle.loses_upstream();
            self.scene.upstream_closes();
        }
    }

    fn answer_eagerly(&mut self) {
        while self.setup.eager && self.upstream_open && self.oracle.lists.open().is_some() {
            self.oracle.is_at(self.scene.now.elapsed);
            let line = self.own_list(false).unwrap();
            self.scene.upstream_sends(&line);
            self.look(false);
        }
    }

    fn end(&mut self) {
        let patience = Step::WaitMillis(7_200_000);
        match self.setup.ending {
            Ending::Client => self.close_client(),
            Ending::Upstream => self.close_upstream(),
            Ending::Closing if self.upstream_open => {
                self.oracle.loses_upstream();
                self.scene.upstream_takes_no_more();
            }
            Ending::Closing => {}
        }
        self.look(false);
        self.step(&patience);
        self.close_client();
        self.look(false);
        self.close_upstream();
        self.look(false);
        self.step(&patience);
        self.oracle.ends();
        assert_eq!(self.scene.gate.poll_timeout(), None);
        assert_eq!(self.scene.close_upstream, 1);
    }

    fn fresh(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn pick_id(&mut self, pick: Option<u8>) -> String {
        let text = match pick {
            None => self.fresh().to_string(),
            Some(at) => lines::IDS[usize::from(at) % lines::IDS.len()].to_owned(),
        };
        let id: Value = serde_json::from_str(&text).unwrap();
        if !self.in_line.insert(meaning(&id)) {
            return self.pick_id(None);
        }
        self.used.push(id);
        text
    }

    /// What another proxy, with another key, hands out for the same call.
    fn foreign_state(&self, call: &str) -> String {
        let (settings, rules) = settings(&self.setup);
        let settings = Settings {
            server: "db".into(),
            max_pending: 4096,
            ..settings
        };
        let mut scene = Scene::new();
        scene.gate = Gate::new(settings, Policy::new(rules).unwrap(), "s", [8; 32]);
        scene.tools = write_tools(&self.tools);
        scene.client_sends(call);
        scene.answer_lists();
        // Where its list has the tool as harmless, it asks nothing.
        let answer = scene.client.pop_front().unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let state = answer["result"]["requestState"].as_str();
        state.unwrap_or("none was given").to_owned()
    }
}
