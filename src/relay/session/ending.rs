//! How a session ends: whoever is still there gets what it is owed, and an answer to what waits.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Ended, Event, FAREWELL, Peer, Session, readable};

/// How long what an upstream wrote before it ended may take to arrive: what it started may hold
/// its pipe open for ever.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

impl Session {
    /// The client has closed and nothing waits for a decision: the upstream may finish what
    /// it has been given, within its grace.
    pub(super) async fn end_by_client(&mut self) -> Ended {
        let closed = self.close_upstream();
        self.relay_the_rest(FAREWELL).await;
        self.process.stop(closed).await;
        self.answer_what_waits("the client has closed").await;
        Ended::ClientClosed
    }

    pub(super) async fn end_by_signal(&mut self, number: i32) -> Ended {
        let why = format!("approval-proxy was ended by signal {number}");
        // The client is still there: its prompts are withdrawn, and it is told why.
        self.client.input = None;
        let closed = self.close_upstream();
        self.answer_what_waits(&why).await;
        self.process.stop(closed).await;
        Ended::Signal(number)
    }

    pub(super) async fn end_by_upstream(&mut self) -> Ended {
        let closed = self.close_upstream();
        // Calls that are still held can never run; their lines and answers need not wait.
        self.gate
            .upstream_closing("the server has closed", self.clock.now());
        self.effects.collect(&mut self.gate, None, false);
        // That the upstream is lost is known; that the client is shows below.
        let _ = self.carry_out(None);
        // What it wrote before it ended is still in its pipe.
        self.relay_the_rest(EXIT_PATIENCE).await;
        let exit = self.process.stop(closed).await;
        self.answer_what_waits(&format!("the server {exit}")).await;
        if self.upstream_spoke {
            Ended::UpstreamDied(exit)
        } else {
            Ended::UpstreamNeverSpoke(exit)
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
                    | Event::Inbox(_) => ControlFlow::Continue(()),
                };
            }
        };
        // What comes later than that is lost, as it is when a client kills a server.
        let _ = timeout(patience, rest).await;
    }

    /// Tells the client that nothing will come of what it waits for, and brings it to it.
    async fn answer_what_waits(&mut self, why: &str) {
        self.gate.upstream_closed(why, self.clock.now());
        self.effects.collect(&mut self.gate, None, false);
        // That either side is lost changes nothing any more.
        let _ = self.carry_out(None);
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
        self.effects.collect(&mut self.gate, None, false);
        let _ = self.carry_out(None);
    }

    /// Closes the upstream's stdin; returns since when it is asked to end.
    fn close_upstream(&mut self) -> Instant {
        self.upstream.output.close();
        Instant::now()
    }
}
