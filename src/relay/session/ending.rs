//! How a session ends: whoever is still there gets what it is owed, and an answer to what waits.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::phase::Phase;
use super::{Ended, Event, FAREWELL, Peer, Session, readable};
use crate::approval::display::in_backticks;
use crate::mcp::first_request::FirstRequest;
use crate::transport::{Attempt, Exit, Wire, is_behind_a_proxy};

/// How long what an upstream wrote before it ended may take to arrive: what it started may hold
/// its pipe open for ever.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);
/// How long a client may take for its first request, where there is no server to bring it to.
const FIRST_REQUEST: Duration = Duration::from_secs(3);
/// The same behind another proxy, which waits for the client itself. Of several behind one another, each
/// would add its time.
const FIRST_REQUEST_BEHIND: Duration = Duration::from_millis(200);
/// How long it may take for the next one, where it has asked for something before `initialize`.
pub(crate) const NEXT_REQUEST: Duration = Duration::from_secs(1);

/// How long to wait for a client's first request that nobody will carry out.
pub(crate) fn first_request_time() -> Duration {
    match is_behind_a_proxy() {
        true => FIRST_REQUEST_BEHIND,
        false => FIRST_REQUEST,
    }
}

impl Session {
    /// The client has closed and nothing waits for a decision: the upstream may finish what
    /// it has been given, within its grace.
    pub(super) async fn end_by_client(&mut self) -> Phase {
        let closed = self.close_upstream();
        self.relay_the_rest(FAREWELL).await;
        self.process.stop(closed).await;
        self.answer_what_waits("the client has closed").await;
        Phase::Over(Ended::ClientClosed)
    }

    pub(super) async fn end_by_signal(&mut self, number: i32) -> Phase {
        let why = format!("approval-proxy was ended by signal {number}");
        // The client is still there: its prompts are withdrawn, and it is told why.
        self.client.input = None;
        let closed = self.close_upstream();
        self.answer_what_waits(&why).await;
        self.process.stop(closed).await;
        Phase::Over(Ended::Signal(number))
    }

    pub(super) async fn end_by_upstream(&mut self) -> Phase {
        let closed = self.close_upstream();
        // Calls that are still held can never run; their lines and answers need not wait.
        self.gate
            .upstream_closing("the server has closed", self.clock.now());
        self.effects.collect(&mut self.gate, None, None, false);
        // That the upstream is lost is known; that the client is shows below.
        let _ = self.carry_out(None);
        // What it wrote before it ended is still in its pipe.
        self.relay_the_rest(EXIT_PATIENCE).await;
        let exit = self.process.stop(closed).await;
        let is_asked = self.gate.owes_answers();
        let is_begun = self.gate.awaits_initialize();
        let why = match self.upstream_spoke && !is_begun {
            true => format!("the server {exit}"),
            false => self.why_it_did_not_begin(exit).await,
        };
        self.answer_what_waits(&why).await;
        if self.upstream_spoke {
            return Phase::Over(Ended::UpstreamDied(exit));
        }
        let ended = Ended::UpstreamNeverSpoke(exit);
        // People who run us by hand read stderr.
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

    /// Why there is no server, with what it said last.
    async fn why_it_did_not_begin(&mut self, exit: Exit) -> String {
        // What it has written to stderr is read to its end on the way.
        self.process.end_what_it_left_behind().await;
        let said = self.process.last_words();
        if let (true, Some(said)) = (exit.is_of_remote(), &said) {
            return format!("approval-proxy: {said}");
        }
        let server = in_backticks(self.gate.server());
        let when = match self.upstream_spoke {
            true => "before it answered `initialize`",
            false => "before it sent a message",
        };
        let said = said.map(|said| format!("; the end of its stderr: {said}"));
        format!(
            "approval-proxy: the server {server} {exit} {when}{}",
            said.unwrap_or_default()
        )
    }

    /// Tells a client that asks something within `patience` why there is no server. A client that
    /// begins with something else than `initialize` may go on with that.
    pub(super) async fn answer_first_request(&mut self, why: &str, patience: Duration) {
        let mut until = Instant::now() + patience;
        while let Some(request) = self.next_request(until).await {
            let now = self.clock.now();
            self.gate.request_without_upstream(&request, why, now);
            self.effects.collect(&mut self.gate, None, None, false);
            // That the client is lost changes nothing any more.
            let _ = self.carry_out(None);
            self.send_what_waits().await;
            if request.is_last() {
                return;
            }
            until = Instant::now() + NEXT_REQUEST;
        }
    }

    /// The client's next request; `None` if there is none until then, or it has closed.
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
                // A wire that is always ready, as a file's, ends before the time does.
                Ok(Attempt::NotReady) => tokio::task::yield_now().await,
                Ok(Attempt::Done(_)) | Err(_) => return None,
            }
        }
    }

    /// Relays what the upstream still sends until it closes its stdout.
    async fn relay_the_rest(&mut self, patience: Duration) {
        let rest = async {
            while self.upstream.input.is_some() {
                let may_read = !self.client.output.is_above_high_water();
                let event = tokio::select! {
                    _ = readable(&self.upstream.input), if may_read => Event::Readable(Peer::Upstream),
                    _ = self.client.output.writable() => Event::Writable(Peer::Client),
                };
                // That the upstream is gone, or the client, is known here.
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
        // What comes later than that is lost, as it is when a client kills a server.
        let _ = timeout(patience, rest).await;
    }

    /// Tells the client that nothing will come of what it waits for, and brings it to it.
    async fn answer_what_waits(&mut self, why: &str) {
        self.gate.upstream_closed(why, self.clock.now());
        self.effects.collect(&mut self.gate, None, None, false);
        // That either side is lost changes nothing any more.
        let _ = self.carry_out(None);
        self.send_what_waits().await;
    }

    /// Brings to the client what waits for it.
    async fn send_what_waits(&mut self) {
        let rest = async {
            while !self.client.output.is_empty() {
                if self.client.output.writable().await.is_err()
                    || self.client.output.flush().is_err()
                {
                    return;
                }
            }
        };
        let _ = timeout(FAREWELL, rest).await;
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

    /// Closes the upstream's stdin; returns since when it is asked to end.
    fn close_upstream(&mut self) -> Instant {
        self.upstream.output.close();
        Instant::now()
    }
}
