//! The end of a session, by the client, the upstream or a signal: sends what is queued to the side that is still there,
//! and fails pending requests.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::phase::Phase;
use super::{DRAIN_TIME, Ended, Event, Peer, Session, readable};
use crate::approval::display::in_backticks;
use crate::mcp::first_request::FirstRequest;
use crate::transport::{Attempt, Exit, Wire, is_behind_a_proxy};

/// How long to read what an upstream wrote before it ended. Without this bound, a process that it
/// started could hold its pipe open forever.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait for the client's first request if there is no server.
const FIRST_REQUEST: Duration = Duration::from_secs(3);
/// The same behind another proxy, which itself waits for the client. In a chain of proxies, the
/// times would add up.
const FIRST_REQUEST_BEHIND: Duration = Duration::from_millis(200);
/// How long to wait for the next request if the first one was not `initialize`.
pub(crate) const NEXT_REQUEST: Duration = Duration::from_secs(1);

/// Returns how long to wait for a client's first request if there is no server.
pub(crate) fn first_request_time() -> Duration {
    match is_behind_a_proxy() {
        true => FIRST_REQUEST_BEHIND,
        false => FIRST_REQUEST,
    }
}

impl Session {
    /// Ends a session whose client has closed. No call waits for a decision. The upstream may finish
    /// the requests that it has, within its grace period.
    pub(super) async fn end_by_client(&mut self) -> Phase {
        let closed = self.close_upstream();
        self.relay_remaining_output(DRAIN_TIME).await;
        self.process.stop(closed).await;
        self.fail_pending_requests("the client has closed").await;
        Phase::Over(Ended::ClientClosed)
    }

    pub(super) async fn end_by_signal(&mut self, number: i32) -> Phase {
        let why = format!("approval-proxy was ended by signal {number}");
        // The client is still there, so we withdraw its prompts and tell it why.
        self.client.input = None;
        let closed = self.close_upstream();
        self.fail_pending_requests(&why).await;
        self.process.stop(closed).await;
        Phase::Over(Ended::Signal(number))
    }

    pub(super) async fn end_by_upstream(&mut self) -> Phase {
        let closed = self.close_upstream();
        // Calls that are still held can never run. Record and answer them now.
        self.gate
            .upstream_closing("the server has closed", self.clock.now());
        self.effects.collect(&mut self.gate, None, None, false);
        // The upstream is lost anyway, and if the client is lost, the code below notices.
        let _ = self.carry_out(None);
        // What it wrote before it ended is still in its pipe.
        self.relay_remaining_output(EXIT_PATIENCE).await;
        let exit = self.process.stop(closed).await;
        let is_asked = self.gate.has_unanswered_requests();
        let is_begun = self.gate.awaits_initialize();
        let why = match self.upstream_spoke && !is_begun {
            true => format!("the server {exit}"),
            false => self.why_it_did_not_start(exit).await,
        };
        self.fail_pending_requests(&why).await;
        if self.upstream_spoke {
            return Phase::Over(Ended::UpstreamDied(exit));
        }
        let ended = Ended::UpstreamNeverSpoke(exit);
        // A person who runs us by hand reads the reason on stderr.
        let by_hand = self.client.input.as_ref().is_none_or(Wire::is_terminal);
        if is_begun || by_hand || self.effects.is_over_http() {
            return Phase::Over(ended);
        }
        Phase::Explaining {
            ended,
            why,
            patience: match is_asked {
                true => NEXT_REQUEST,
                false => first_request_time(),
            },
        }
    }

    /// Returns why there is no server, with the end of its stderr.
    async fn why_it_did_not_start(&mut self, exit: Exit) -> String {
        // This also reads its stderr to the end.
        self.process.end_leftovers().await;
        let details = self.process.end_details();
        if let (true, Some(details)) = (exit.is_of_remote(), &details) {
            return format!("approval-proxy: {details}");
        }
        let server = in_backticks(self.gate.server());
        let when = match self.upstream_spoke {
            true => "before it answered `initialize`",
            false => "before it sent a message",
        };
        let stderr = details.map(|tail| format!("; the end of its stderr: {tail}"));
        format!(
            "approval-proxy: the server {server} {exit} {when}{}",
            stderr.unwrap_or_default()
        )
    }

    /// Waits up to `patience` for the client's first request, and answers it with why there is no
    /// server. If the request is not `initialize`, waits for the next one, too.
    pub(super) async fn answer_first_request(&mut self, why: &str, patience: Duration) {
        let mut until = Instant::now() + patience;
        while let Some(request) = self.next_request(until).await {
            let now = self.clock.now();
            self.gate.request_without_upstream(&request, why, now);
            self.effects.collect(&mut self.gate, None, None, false);
            // It no longer matters if the client is lost.
            let _ = self.carry_out(None);
            self.flush_to_client().await;
            if request.is_last() {
                return;
            }
            until = Instant::now() + NEXT_REQUEST;
        }
    }

    /// Returns the client's next request; `None` if none arrives until then, or the client has closed.
    async fn next_request(&mut self, until: Instant) -> Option<FirstRequest> {
        loop {
            while let Some(frame) = self.client.frames.next_frame() {
                let request = FirstRequest::read(&self.client.frames, &frame);
                if request.is_some() {
                    return request;
                }
            }
            self.client.frames.compact();
            timeout_at(until, readable(&self.client.input))
                .await
                .ok()?
                .ok()?;
            let wire = self.client.input.as_ref()?;
            match wire.try_read(self.client.frames.space()) {
                Ok(Attempt::Done(count)) if count > 0 => {}
                // A wire that is always ready, such as a file, reaches its end before the deadline.
                Ok(Attempt::NotReady) => tokio::task::yield_now().await,
                Ok(Attempt::Done(_)) | Err(_) => return None,
            }
        }
    }

    /// Relays what the upstream still sends until it closes its stdout, for `patience` at most.
    async fn relay_remaining_output(&mut self, patience: Duration) {
        let rest = async {
            while self.upstream.input.is_some() {
                let may_read = !self.client.output.is_above_high_water();
                let event = tokio::select! {
                    _ = readable(&self.upstream.input), if may_read => Event::Readable(Peer::Upstream),
                    _ = self.client.output.writable() => Event::Writable(Peer::Client),
                };
                // The loop's condition notices a lost upstream; a lost client changes nothing.
                let _ = match event {
                    Event::Readable(peer) => self.read(peer),
                    Event::Writable(peer) => self.flush(peer),
                    Event::Signal(_)
                    | Event::Timer
                    | Event::Upstream(_)
                    | Event::Stalled
                    | Event::Engine(_) => ControlFlow::Continue(()),
                };
            }
        };
        // Later output is lost, as it is if a client kills a server.
        let _ = timeout(patience, rest).await;
    }

    /// Fails every pending request and flushes the errors to the client.
    async fn fail_pending_requests(&mut self, why: &str) {
        self.gate.upstream_closed(why, self.clock.now());
        self.effects.collect(&mut self.gate, None, None, false);
        // It no longer matters if either side is lost.
        let _ = self.carry_out(None);
        self.flush_to_client().await;
    }

    /// Writes everything that is queued for the client, for [`DRAIN_TIME`] at most.
    async fn flush_to_client(&mut self) {
        let rest = async {
            while !self.client.output.is_empty() {
                if self.client.output.writable().await.is_err()
                    || self.client.output.flush().is_err()
                {
                    return;
                }
            }
        };
        let _ = timeout(DRAIN_TIME, rest).await;
    }

    pub(super) fn record_close(&mut self, ended: Ended) {
        let how = match ended {
            Ended::ClientClosed => "the client closed".to_owned(),
            Ended::UpstreamNeverSpoke(exit) | Ended::UpstreamDied(exit) => {
                format!("the server {exit}")
            }
            Ended::Signal(number) => format!("signal {number}"),
        };
        self.gate.record_close(self.clock.now(), &how);
        self.effects.collect(&mut self.gate, None, None, false);
        let _ = self.carry_out(None);
    }

    /// Closes the upstream's stdin. Returns the time from which its grace period counts.
    fn close_upstream(&mut self) -> Instant {
        self.upstream.output.close();
        Instant::now()
    }
}
