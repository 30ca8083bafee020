//! What the inbox tells leads to.
//!
//! What a verdict means for a question is decided in `ask`.

use super::ask::Event;
use super::output::FromInbox;
use super::state::{Gate, Now};
use crate::approval::item::Verdict;

impl Gate {
    /// The inbox tells something.
    pub fn from_inbox(&mut self, told: FromInbox, now: Now) {
        match told {
            FromInbox::Verdict { item, verdict } if !self.settings.counts(verdict.assurance) => {
                let why = "its assurance is below `requireAssurance`";
                self.record_disregarded(&item, &verdict, why, now);
            }
            FromInbox::Verdict { item, verdict } => {
                self.end_invitation(&item);
                match self.asks.of_item(&item) {
                    Some(key) => self.step(key, Event::Decided(verdict), now),
                    None => {
                        self.warn("a verdict of the inbox came too late and counts as none".into())
                    }
                }
            }
            // What it says of how it was made is not to be believed.
            FromInbox::Disregarded { item, verdict } => {
                let why = "it was not made with the passphrase";
                self.record_disregarded(&item, &verdict, why, now);
            }
            FromInbox::Posted { item, url } => {
                if let Some(key) = self.asks.of_item(&item) {
                    self.step(key, Event::HasPage(url), now);
                }
            }
            FromInbox::Resume(told) => self.resumption(told, now),
            FromInbox::Failed { item, why } => {
                self.end_invitation(&item);
                if let Some(key) = self.asks.of_item(&item) {
                    self.step(key, Event::Lost(why), now);
                }
            }
        }
        self.close_if_done();
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
