//! Handles everything in a session besides messages: time passes (timeouts, progress notifications), and either side
//! goes away.

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
    /// Returns when [`Gate::tick`] is due, as [`Now::elapsed`].
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

    /// Does what is due at the time that [`Gate::poll_timeout`] returned.
    pub fn tick(&mut self, now: Now) {
        if self.handshake.is_newly_slow(now.elapsed) {
            self.warn(format!(
                "the server {} has not answered `initialize` after {} s; still waiting",
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

    /// Notes that everything put out for the client so far is in its pipe.
    pub fn client_drained(&mut self, now: Now) {
        self.asks.delivered(now.elapsed);
    }

    /// Sends progress notifications to clients that asked for them.
    pub(super) fn tick_progress(&mut self, now: Now) {
        let mut notifications = Vec::new();
        for held in self.held.values_mut() {
            if let Some(progress) = &mut held.progress
                && progress.next <= now.elapsed
            {
                let value = progress.advance(now.elapsed);
                let text = "waiting for a person's approval";
                notifications.push(progress_notification(&progress.token, value, text));
            }
        }
        for notification in notifications {
            self.put(Output::Progress(notification));
        }
    }

    /// Handles a released call whose record could not be written, so the call was not sent. Tells
    /// the client, and records the failure for when the log can be written again.
    pub fn not_recorded(&mut self, ticket: &Ticket, now: Now) {
        // The client may have used the id again in the same batch.
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

    /// Handles the client's end: nobody can be asked any more. Calls that wait for the tool list
    /// are still decided. When nothing waits, the upstream is closed.
    pub fn client_closed(&mut self, now: Now) {
        self.client = PeerState::Gone;
        let failed = Failed::new(Outcome::Cancelled, Refusal::Cancelled);
        self.end_lookups(now);
        self.end_asks(|_| true, &failed, now);
        self.upstream_rounds.expire(Duration::MAX);
        self.resume_waiting(now);
        self.close_if_done();
    }

    /// Handles an upstream that accepts nothing more: waiting calls can never run. Calls that it
    /// has received may still be answered, until [`Gate::upstream_closed`].
    pub fn upstream_closing(&mut self, how: &str, now: Now) {
        self.upstream = PeerState::Gone;
        let held: Vec<HeldKey> = self.held.keys().copied().collect();
        for key in held {
            self.fail_held(key, how, now);
        }
        let failed = Failed::new(Outcome::Error, Refusal::Cancelled).with_log_text(how);
        self.end_asks(|_| true, &failed, now);
        self.upstream_rounds.expire(Duration::MAX);
    }

    /// Handles the upstream's end and answers everything that waits. `how` describes the end.
    pub fn upstream_closed(&mut self, how: &str, now: Now) {
        self.upstream_closing(how, now);
        let mut ids: Vec<RequestId> = std::mem::take(&mut self.in_flight).into_keys().collect();
        ids.sort();
        for id in ids {
            self.send_error(Some(&id), ErrorCode::INTERNAL_ERROR, how.to_owned());
        }
    }

    /// Ends the client's session because it begins another one.
    ///
    /// INVARIANT 2: a yes from the old session lets nothing run in the new one, even if its call
    /// still waits to be checked against the list. A call that nobody was asked about because it
    /// waits for the list keeps waiting: it is decided by the new session's list, and asked about
    /// in the new session's format.
    pub(super) fn abandon_session(&mut self, now: Now) {
        // Stateless requests belong to no session.
        let failed = Failed::new(Outcome::Cancelled, Refusal::NewSession);
        self.abandon_lookups(&failed, now);
        self.end_asks(|era| era == Era::Legacy, &failed, now);
    }

    /// Ends the questions of the given eras: nobody can answer them any more, or be answered.
    fn end_asks(&mut self, is_over: impl Fn(Era) -> bool, failed: &Failed, now: Now) {
        for key in self.asks.keys(|ask| is_over(ask.era)) {
            self.step(key, Event::Ended(failed.clone()), now);
        }
    }
}
