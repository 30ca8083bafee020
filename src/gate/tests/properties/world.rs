//! Turns steps into lines, tells the oracle what they mean, and passes them to the gate.

mod client;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::lines;
use super::oracle::Oracle;
use super::reading::{allow_rules, deny_rules, meaning};
use super::steps::{
    Change, Ending, FromClient, FromUpstream, IdPick, ListAnswer, Setup, Step, Which,
};
use crate::gate::tests::scene::{Event, Log, Scene};
use crate::gate::{Retry, Settings, TimeoutAction};
use crate::policy::{Mode, Rules};

pub(super) struct World {
    setup: Setup,
    scene: Scene,
    oracle: Oracle,
    /// Makes every message unique.
    count: u64,
    /// The tools that the upstream has.
    tools: Vec<(u8, u8, u8)>,
    /// Ids used in the current line.
    in_line: BTreeSet<String>,
    /// Ids that the client has used, oldest first.
    used: Vec<Value>,
    /// The upstream's own newest state.
    upstream_state: String,
    client_open: bool,
    heard: bool,
    upstream_open: bool,
    /// A change to the events before the oracle sees them.
    forge: Forge,
}

/// Changes what the gate did in a step.
pub(super) type Forge = fn(&mut Vec<(Duration, Event)>);

/// Plays the steps, then closes both sides, and checks everything. Returns what was seen, and how
/// often.
pub(super) fn play(setup: &Setup, steps: &[Step]) -> BTreeMap<&'static str, u32> {
    play_forged(setup, steps, |_| ())
}

/// Does the same as [`play`], but the oracle sees altered events.
pub(super) fn play_forged(
    setup: &Setup,
    steps: &[Step],
    forge: Forge,
) -> BTreeMap<&'static str, u32> {
    let mut world = World::new(setup, forge);
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
        timeout_action: if setup.approve_on_timeout {
            TimeoutAction::Approve
        } else {
            TimeoutAction::Deny
        },
        approval_ttl: Duration::from_secs(setup.ttl_secs),
        explain: setup.explain,
        double_confirm: setup.double_confirm,
        dry_run: setup.dry_run,
        retry: Retry {
            attempts: setup.retries,
            ..Retry::default()
        },
        max_pending: setup.max_pending,
        audit_best_effort: setup.best_effort,
        ..Settings::default()
    };
    let modes = [Mode::Destructive, Mode::All, Mode::Annotated, Mode::None];
    let rules = Rules {
        mode: modes[usize::from(setup.mode)],
        allow: allow_rules(setup.allow),
        deny: deny_rules(setup.deny),
        ..Rules::default()
    };
    (settings, rules)
}

impl World {
    fn new(setup: &Setup, forge: Forge) -> World {
        let (settings, rules) = settings(setup);
        let mut scene = Scene::with(settings, rules);
        if setup.shaken {
            scene = scene.legacy("2025-11-25");
            scene.journal.clear();
        }
        World {
            setup: setup.clone(),
            scene,
            oracle: Oracle::new(setup),
            count: 1000,
            tools: vec![(0, 1, 0), (1, 3, 0), (2, 0, 0), (3, 0, 0), (7, 2, 0)],
            in_line: BTreeSet::new(),
            used: Vec::new(),
            upstream_state: "theirs".to_owned(),
            client_open: true,
            heard: true,
            upstream_open: true,
            forge,
        }
    }

    fn step(&mut self, step: &Step) {
        self.oracle.is_at(self.scene.now.elapsed);
        self.in_line.clear();
        let mut ticked = false;
        match step {
            Step::Client(entries) if self.client_open && self.upstream_open && self.heard => {
                if let Some(line) = self.client_line(entries) {
                    self.scene.client_sends(&line);
                }
            }
            Step::Upstream(entries) if self.upstream_open => {
                if let Some(line) = self.upstream_line(entries) {
                    self.scene.upstream_sends(&line);
                }
            }
            Step::Client(_) | Step::Upstream(_) => {}
            Step::Rounds(count) => return self.rounds(*count),
            Step::WaitMillis(millis) => {
                self.oracle.waits(true);
                self.scene.advance(Duration::from_millis(*millis));
                ticked = true;
            }
            Step::LateMillis(millis) => {
                self.oracle.waits(false);
                self.scene.now.elapsed += Duration::from_millis(*millis);
                self.scene.now.unix_ms += i64::try_from(*millis).unwrap();
            }
            Step::Drained => {
                self.scene.client_reads_all();
                self.oracle.delivers_prompts();
            }
            Step::Heard(heard) => {
                self.heard = *heard;
                self.oracle.hears_client(*heard);
                self.scene.gate.set_client_heard(*heard);
            }
            Step::BreakLog => self.scene.log_state = Log::Broken,
            Step::MendLog => self.scene.log_state = Log::Writable,
            Step::CloseClient => self.close_client(),
            Step::CloseUpstream => self.close_upstream(),
        }
        self.look(ticked);
    }

    fn rounds(&mut self, count: u8) {
        let retry = FromClient::Retry {
            id: IdPick::Fresh,
            state: Which::Unused(0),
            answer: 0,
            change: Change::None,
        };
        for _ in 0..count {
            self.step(&Step::Upstream(vec![FromUpstream::Round {
                which: 0,
                how: 1,
            }]));
            self.answer_eagerly();
            self.step(&Step::Client(vec![retry.clone()]));
            self.answer_eagerly();
        }
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

    /// Shows the oracle what has happened.
    fn look(&mut self, ticked: bool) {
        let mut events = std::mem::take(&mut self.scene.journal);
        (self.forge)(&mut events);
        self.oracle.sees(&events);
        self.oracle.is_at(self.scene.now.elapsed);
        self.oracle.ends_step(ticked);
    }

    fn answer_eagerly(&mut self) {
        if self.setup.eager && self.upstream_open && self.client_open && self.heard {
            self.shake_hands();
        }
        while self.setup.eager && self.upstream_open {
            let mut lists = self.oracle.lists.asked.iter();
            let Some(which) = lists.rposition(|list| list.open) else {
                return;
            };
            self.oracle.is_at(self.scene.now.elapsed);
            let line = self.own_list(which, &ListAnswer::True);
            self.scene.upstream_sends(&line);
            self.look(false);
        }
    }

    /// If the client has sent `initialize`, completes the handshake.
    fn shake_hands(&mut self) {
        let mut unanswered = self.oracle.unanswered.values();
        let Some(at) = unanswered.position(|unanswered| unanswered.method == "initialize") else {
            return;
        };
        self.oracle.is_at(self.scene.now.elapsed);
        let line = self.answer_pending(at, 0, true, 1);
        self.scene.upstream_sends(&line);
        self.look(false);
        if let Some(line) = self.client_line(&[FromClient::Initialized]) {
            self.scene.client_sends(&line);
        }
        self.look(false);
    }

    fn end(&mut self) {
        let patience = Step::WaitMillis(7_200_000);
        match self.setup.ending {
            Ending::Client => self.step(&Step::CloseClient),
            Ending::Upstream => self.step(&Step::CloseUpstream),
            Ending::Closing if self.upstream_open => {
                self.oracle.loses_upstream();
                self.scene.upstream_takes_no_more();
                self.look(false);
            }
            Ending::Closing => {}
        }
        self.step(&patience);
        self.step(&Step::CloseClient);
        self.step(&Step::CloseUpstream);
        self.step(&patience);
        self.oracle.ends();
        assert_eq!(self.scene.gate.poll_timeout(), None);
        assert!(!self.scene.gate.wants_drained());
        assert_eq!(self.scene.close_upstream, 1);
    }

    fn fresh(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn pick_id(&mut self, pick: IdPick) -> String {
        let text = match pick {
            IdPick::Fresh => self.fresh().to_string(),
            IdPick::FreshText => format!("\"r{}\"", self.fresh()),
            IdPick::Pool(at) => lines::IDS[usize::from(at) % lines::IDS.len()].to_owned(),
        };
        let id: Value = serde_json::from_str(&text).unwrap();
        if !self.in_line.insert(meaning(&id)) {
            return self.pick_id(IdPick::Fresh);
        }
        self.used.push(id);
        text
    }
}
