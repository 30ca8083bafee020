//! Handles messages from out-of-band engines. Refuses verdicts that are too late, too old, or of too little assurance.
//!
//! `ask` decides what any other verdict means for a question.

use std::time::Duration;

use super::ask::{Ask, Event, LONGEST};
use super::held::AskKey;
use super::output::{Failure, FromEngine};
use super::settings::EngineId;
use super::state::{Gate, Now};
use crate::approval::item::{Choice, Closed, Verdict};

impl Gate {
    /// Handles a message from an out-of-band engine.
    pub fn from_engine(&mut self, message: FromEngine, now: Now) {
        match message {
            FromEngine::Verdict { item, verdict, .. }
                if !self.settings.counts(verdict.assurance) =>
            {
                let why = "its assurance is below `requireAssurance`";
                self.record_disregarded(&item, &verdict, why, now);
                // Nobody can decide about the item any more. If it stayed parked, its call would never be asked about
                // again.
                let key = self.asks.of_item(&item);
                let is_parked = |key: &AskKey| self.asks.get(*key).is_some_and(Ask::is_parked);
                if let Some(key) = key.filter(is_parked) {
                    self.close_item(item, Closed::Withdrawn);
                    let (engine, failure) = (None, Failure::unreachable(why));
                    self.step(key, Event::EngineFailed { engine, failure }, now);
                }
            }
            FromEngine::Verdict {
                engine,
                item,
                verdict,
            } => {
                self.end_invitation(&item);
                self.failing.retain(|failing| *failing != engine);
                match self.asks.of_item(&item) {
                    Some(key) => self.decided(key, (engine, item), verdict, now),
                    None => self.warn("a verdict came too late and was ignored".into()),
                }
            }
            FromEngine::Disregarded { item, verdict, why } => {
                self.record_disregarded(&item, &verdict, why, now);
            }
            FromEngine::Listed { item, url } => {
                if let Some(key) = self.asks.of_item(&item) {
                    self.step(key, Event::HasPage(url), now);
                }
            }
            FromEngine::Resume(message) => self.resumption(message, now),
            FromEngine::Failed {
                engine,
                item,
                failure,
            } => {
                if let Some(engine) = engine {
                    self.engine_failed(engine, &failure, now);
                } else {
                    self.end_invitation(&item);
                }
                if let Some(key) = self.asks.of_item(&item) {
                    self.step(key, Event::EngineFailed { engine, failure }, now);
                }
            }
        }
        self.close_if_done();
    }

    /// Handles a person's verdict about a question's item.
    ///
    /// INVARIANT 2: a yes runs once. For a question of an earlier session, only the store knows whether it has run, and
    /// anyone who can write to the store can restore an old row, even if verdicts are signed. So a yes is good only for
    /// as long as its question could have stayed parked, counted from the time that was signed with it.
    fn decided(
        &mut self,
        key: AskKey,
        (engine, item): (EngineId, String),
        verdict: Verdict,
        now: Now,
    ) {
        let is_resumed = self.asks.get(key).is_some_and(Ask::has_resumed_item);
        let age = now.unix_ms.saturating_sub(verdict.decided_ms);
        let age = Duration::from_millis(u64::try_from(age).unwrap_or_default());
        let age = if is_resumed { age } else { Duration::ZERO };
        let longest = self.settings.park_for.saturating_add(LONGEST);
        if verdict.choice == Choice::Approve && age > longest {
            let why = "it was given too long ago";
            self.record_disregarded(&item, &verdict, why, now);
            self.close_item(item, Closed::Withdrawn);
            let failure = Failure::unreachable(format!("a verdict was found, but {why}"));
            let engine = None;
            return self.step(key, Event::EngineFailed { engine, failure }, now);
        }
        // It is about the item in whose place another one came just now.
        let open = self.asks.get(key).and_then(Ask::open_item);
        if let Some(open) = open.filter(|open| *open != item).map(str::to_owned) {
            self.close_item(open, Closed::Withdrawn);
        }
        self.asks.set_verdict_age(key, age);
        self.step(key, Event::Decided { engine, verdict }, now);
    }

    /// Reports an engine's failure to the operator: each one in the audit log, and on stderr once until it brings a
    /// verdict again.
    fn engine_failed(&mut self, engine: EngineId, failure: &Failure, now: Now) {
        let members = [
            ("engine", engine.name()),
            ("kind", failure.kind.name()),
            ("reason", &failure.why),
        ];
        self.record_event(now, "engine_failed", &members);
        if !self.failing.contains(&engine) {
            self.failing.push(engine);
            self.warn(format!(
                "the engine `{}` {}: {}",
                engine.name(),
                failure.kind.as_str(),
                failure.why
            ));
        }
    }

    fn record_disregarded(&mut self, item: &str, verdict: &Verdict, why: &str, now: Now) {
        let mut members = vec![
            ("item", item),
            ("choice", verdict.choice.as_str()),
            ("reason", why),
        ];
        members.extend(verdict.approver.as_deref().map(|name| ("approver", name)));
        self.record_event(now, "disregarded_verdict", &members);
    }
}
