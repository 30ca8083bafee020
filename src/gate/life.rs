//! A session's life beside its messages: time passes, and either side goes away.

use std::time::Duration;

use super::ask::Event;
use super::handshake::SLOW;
use super::held::{Era, HeldKey};
use super::output::{Output, Ticket};
use super::refusal::{Refusal, refused_result};
use super::state::{Gate, InFlight, Now, PeerState};
use super::verdict::Failed;
use crate::approval::display::in_backticks;
use crate::evidence::record::Outcome;
use crate::mcp::ErrorCode;
use crate::mcp::error::progress_notification;
use crate::mcp::message::RequestId;

impl Gate {
    /// When [`Gate::tick`] is due, as [`Now::elapsed`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let progress = self.held.values().map(|held| {
            let progress = held.progress.as_ref();
            progress.map(|progress| progress.next)
        });
        let times = [
            self.asks.next_time(),
            self.list_timer(),
            self.upstream_rounds.next_deadline(),
            self.handshake.slow_at(),
            self.resume_lookups.next_deadline(),
        ];
        progress.chain(times).flatten().min()
    }

    /// The time has come that [`Gate::poll_timeout`] named.
    pub fn tick(&mut self, now: Now) {
        if self.handshake.is_newly_slow(now.elapsed) {
            self.warn(format!(
                "the server {} has not answered `initialize` after {} s; waiting on",
                in_backticks(&self.settings.server),
                SLOW.as_secs()
            ));
        }
        self.tick_list(now);
        self.tick_lookups(now);
        self.resume_waiting(now);
        self.tick_asks(now);
        self.upstream_rounds.expire(now.elapsed);
        self.tick_progress(now);
        self.close_if_done();
    }

    /// Everything put out for the client so far is in its pipe.
    pub fn client_drained(&mut self, now: Now) {
        self.asks.delivered(now.elapsed);
    }

    /// Keeps clients patient that asked to hear of progress.
    pub(super) fn tick_progress(&mut self, now: Now) {
        let mut notifications = Vec::new();
        for held in self.held.values_mut() {
            if let Some(progress) = &mut held.progress
                && progress.next <= now.elapsed
            {
                let value = progress.advance(now.elapsed);
                let text = "waiting for a human's approval";
                notifications.push(progress_notification(&progress.token, value, text));
            }
        }
        for notification in notifications {
            self.put(Output::Progress(notification));
        }
    }

    /// The line of a released call could not be written, so the call was not sent: the client
    /// is told, and the log, once it can be written again.
    pub fn not_recorded(&mut self, ticket: &Ticket, now: Now) {
        // In the same batch, the client may have used its id again.
        let sent = self.in_flight.get(&ticket.id);
        if sent.is_some_and(InFlight::is_call) {
            self.in_flight.remove(&ticket.id);
        }
        let why = "the audit record could not be written, so the call was not sent";
        self.record_unheld(now, &ticket.tool, Outcome::Error, why, Some(&ticket.id));
        let refusal = Refusal::NotRecorded;
        let explanation = ticket.explanation.as_deref();
        let result = refused_result(&ticket.id, &ticket.tool, ticket.era, &refusal, explanation);
        self.send_to_client(result);
    }

    /// The client has closed: nobody can be asked any more. Calls that wait for the tool list
    /// are still decided; when nothing waits, the upstream is to be closed.
    pub fn client_closed(&mut self, now: Now) {
        self.client = PeerState::Gone;
        let failed = Failed::new(Outcome::Cancelled, Refusal::Cancelled);
        self.end_lookups(now);
        self.end_asks(|_| true, &failed, now);
        self.upstream_rounds.expire(Duration::MAX);
        self.resume_waiting(now);
        self.close_if_done();
    }

    /// The upstream takes no more: calls that wait for a decision can never run. What it has
    /// been sent may still be answered, until [`Gate::upstream_closed`].
    pub fn upstream_closing(&mut self, how: &str, now: Now) {
        self.upstream = PeerState::Gone;
        let held: Vec<HeldKey> = self.held.keys().copied().collect();
        for key in held {
            self.fail_held(key, how, now);
        }
        let failed = Failed::new(Outcome::Error, Refusal::Cancelled).logged(how);
        self.end_asks(|_| true, &failed, now);
        self.upstream_rounds.expire(Duration::MAX);
    }

    /// The upstream has gone; `how` says so in words. Everything that waits is answered.
    pub fn upstream_closed(&mut self, how: &str, now: Now) {
        self.upstream_closing(how, now);
        let mut ids: Vec<RequestId> = std::mem::take(&mut self.in_flight).into_keys().collect();
        ids.sort();
        for id in ids {
            self.send_error(Some(&id), ErrorCode::INTERNAL_ERROR, how.to_owned());
        }
    }

    /// The client begins another session.
    ///
    /// INVARIANT 2: a yes that the old one gives, or has given to a call that still waits to be
    /// compared with the list, lets nothing run in the new one. A call that waits for the list
    /// to be decided at all waits on: nobody was asked about it, and it goes by the new
    /// session's list and is asked about in the new session's words.
    pub(super) fn abandon_session(&mut self, now: Now) {
        // Requests of 2026-07-28 belong to no session.
        let failed = Failed::new(Outcome::Cancelled, Refusal::NewSession);
        self.abandon_lookups(&failed, now);
        self.end_asks(|era| era == Era::Legacy, &failed, now);
    }

    /// Nobody can answer the questions of an era, or be answered, any more.
    fn end_asks(&mut self, is_over: impl Fn(Era) -> bool, failed: &Failed, now: Now) {
        for key in self.asks.keys(|ask| is_over(ask.era)) {
            self.step(key, Event::Ended(failed.clone()), now);
        }
    }
}
