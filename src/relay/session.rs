//! One session: one client, one gate, one upstream, one loop.
//!
//! The gate decides and `effects` acts; this file waits for the next event and reads.

mod ending;
mod phase;

use std::future::{Future, poll_fn};
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

pub(crate) use ending::{NEXT_REQUEST, first_request_time};

use self::phase::{End, Phase, Stall};
use super::effects::{Effects, Lost};
use super::engines::EnginePort;
use super::outbox::Outbox;
use super::sideband::Sideband;
use super::timer::Timer;
use crate::evidence::Ledger;
use crate::gate::{FromEngine, Gate, Now};
use crate::mcp::frame::{Frame, FrameBuffer};
use crate::sys::clock::Clock;
use crate::transport::{
    Attempt, Exit, Note, RESTART_HEARD, RemoteEvent, Upstream, UpstreamEvent, Wire,
};

/// How long a client that has closed its end may wait for an upstream that reads nothing.
const STALLED: Duration = Duration::from_secs(30);
/// How long a peer has, at the end of a session, to read what is still queued for it.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How a session ended.
#[derive(Debug, Clone, Copy)]
pub enum Ended {
    /// The client closed.
    ClientClosed,
    /// The upstream ended before it had sent a message.
    UpstreamNeverSpoke(Exit),
    /// The upstream ended while the client was still there.
    UpstreamDied(Exit),
    /// A signal with this number ended the session.
    Signal(i32),
}

/// The four wires of a session, its upstream, and its out-of-band engines.
#[derive(Debug)]
pub struct Ends {
    /// Reads what the client sends.
    pub from_client: Wire,
    /// Writes to the client.
    pub to_client: Wire,
    /// Reads what the upstream sends.
    pub from_upstream: Wire,
    /// Writes to the upstream.
    pub to_upstream: Wire,
    /// The upstream itself.
    pub process: Upstream,
    /// The out-of-band engines, if there are any.
    pub engines: Option<EnginePort>,
}

/// One session, from its first byte to its last.
#[derive(Debug)]
pub struct Session {
    gate: Gate,
    clock: Clock,
    effects: Effects,
    client: Side,
    upstream: Side,
    process: Upstream,
    engines: Option<EnginePort>,
    /// True once the upstream has sent a message.
    upstream_spoke: bool,
    /// True if the last read filled the buffer, so that more input is probably there already.
    busy: bool,
}

/// One peer: its input and its output.
#[derive(Debug)]
struct Side {
    input: Option<Wire>,
    frames: FrameBuffer,
    output: Outbox,
}

impl Side {
    /// Takes the note of the line that was read last.
    fn take_note(&self) -> Option<Note> {
        self.input.as_ref()?.take_note(self.frames.position())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Client,
    Upstream,
}

impl Session {
    /// Builds a session. It refuses lines of more than `max_line` bytes. `sideband` is present if the client connects
    /// over HTTP.
    #[must_use]
    pub fn new(
        gate: Gate,
        clock: Clock,
        ledger: Ledger,
        best_effort: bool,
        ends: Ends,
        max_line: usize,
        sideband: Option<Arc<Sideband>>,
    ) -> Session {
        let mut gate = gate;
        if ends.process.may_return_calls() {
            gate.expect_returned_calls();
        }
        Session {
            gate,
            clock,
            effects: Effects::new(ledger, best_effort, sideband),
            client: Side {
                input: Some(ends.from_client),
                frames: FrameBuffer::new(max_line),
                output: Outbox::new(ends.to_client),
            },
            upstream: Side {
                input: Some(ends.from_upstream),
                frames: FrameBuffer::new(max_line),
                output: Outbox::new(ends.to_upstream),
            },
            process: ends.process,
            engines: ends.engines,
            upstream_spoke: false,
            busy: false,
        }
    }

    /// Relays until one side closes or a signal arrives. Then closes the other side, fails pending
    /// requests, and reaps the upstream.
    pub async fn run(mut self, signal: impl Future<Output = i32>) -> Ended {
        tokio::pin!(signal);
        let mut phase = Phase::Relaying;
        loop {
            phase = match phase {
                Phase::Relaying => self.relay(signal.as_mut(), None).await,
                Phase::Closing { until } => self.relay(signal.as_mut(), Some(until)).await,
                Phase::Ending(End::Client) => self.end_by_client().await,
                Phase::Ending(End::Upstream) => self.end_by_upstream().await,
                Phase::Ending(End::Signal(number)) => self.end_by_signal(number).await,
                Phase::Explaining {
                    ended,
                    why,
                    patience,
                } => {
                    tokio::select! {
                        () = self.answer_first_request(&why, patience) => {}
                        // A signal ends us without waiting for the client.
                        _ = signal.as_mut() => {}
                    }
                    Phase::Over(ended)
                }
                Phase::Over(ended) => {
                    self.process.end_leftovers().await;
                    self.record_close(ended);
                    self.effects.finish();
                    return ended;
                }
            };
        }
    }

    /// Relays lines until the next phase begins, at `until` at the latest.
    async fn relay(
        &mut self,
        mut signal: Pin<&mut impl Future<Output = i32>>,
        until: Option<Instant>,
    ) -> Phase {
        let mut timer = Timer::new();
        let mut stall = Stall::default();
        loop {
            let deadline = self.gate.poll_timeout();
            let deadline = deadline.map(|elapsed| self.clock.at(elapsed));
            // While one side does not read, we read nothing that would add to its queue. We still read
            // the upstream's output while the upstream does not read: that adds next to nothing to the
            // upstream's queue, and the upstream may read again only after we have taken its output.
            let upstream_keeps_up = self.upstream_keeps_up();
            let may_read_upstream = self.client_keeps_up();
            let may_read_client = may_read_upstream && upstream_keeps_up;
            match upstream_keeps_up {
                true => stall.end(),
                false => stall.begin(),
            }
            // Every branch only waits and may be cancelled at any time: reading and writing happen
            // afterwards.
            let event = tokio::select! {
                biased;
                _ = readable(&self.client.input), if may_read_client => Event::Readable(Peer::Client),
                _ = readable(&self.upstream.input), if may_read_upstream => Event::Readable(Peer::Upstream),
                _ = self.client.output.writable() => Event::Writable(Peer::Client),
                _ = self.upstream.output.writable() => Event::Writable(Peer::Upstream),
                number = signal.as_mut() => Event::Signal(number),
                event = self.process.next() => Event::Upstream(event),
                message = from_engine(&mut self.engines) => Event::Engine(message),
                () = timer.fires(deadline) => Event::Timer,
                () = sleep_until_some(stall.next_check()) => Event::Stalled,
                () = sleep_until_some(until) => return Phase::Ending(End::Client),
            };
            let step = match event {
                Event::Signal(number) => return Phase::Ending(End::Signal(number)),
                Event::Readable(peer) => self.read(peer),
                Event::Writable(peer) => {
                    if peer == Peer::Upstream {
                        stall.end();
                    }
                    self.flush(peer)
                }
                // Its stdout may still be open, held by a process that it started.
                Event::Upstream(UpstreamEvent::Ended(_)) => ControlFlow::Break(()),
                Event::Upstream(UpstreamEvent::Remote(event)) => self.handle_remote_event(&event),
                Event::Stalled => {
                    if self.client_has_hung_up(stall.check()) {
                        self.client_is_gone();
                        return Phase::Ending(End::Client);
                    }
                    ControlFlow::Continue(())
                }
                Event::Engine(message) => {
                    self.gate.from_engine(message, self.clock.now());
                    let keeps_up = self.client_keeps_up();
                    self.effects.collect(&mut self.gate, None, None, keeps_up);
                    self.carry_out(None)
                }
                Event::Timer => self.tick(),
            };
            if std::mem::take(&mut self.busy) {
                // A peer that never stops sending must not starve the other peer, a signal, or a
                // deadline.
                tokio::task::yield_now().await;
                if let Some(number) = now_or_never(signal.as_mut()).await {
                    return Phase::Ending(End::Signal(number));
                }
                if deadline.is_some_and(|at| at <= Instant::now()) && self.tick().is_break() {
                    return Phase::Ending(End::Upstream);
                }
            }
            if self.gate.wants_drained() && self.client.output.is_empty() {
                self.gate.client_drained(self.clock.now());
            }
            if step.is_break() {
                return Phase::Ending(End::Upstream);
            }
            if self.effects.close_upstream {
                if self.upstream.output.is_empty() {
                    return Phase::Ending(End::Client);
                }
                if until.is_none() {
                    return Phase::Closing {
                        until: Instant::now() + DRAIN_TIME,
                    };
                }
            }
        }
    }

    /// Reads once from a peer and handles the result. `Break` means that the upstream is gone.
    fn read(&mut self, peer: Peer) -> ControlFlow<()> {
        let side = match peer {
            Peer::Client => &mut self.client,
            Peer::Upstream => &mut self.upstream,
        };
        let Some(wire) = &side.input else {
            return ControlFlow::Continue(());
        };
        let space = side.frames.space();
        let room = space.capacity() - space.len();
        match wire.try_read(space) {
            Ok(Attempt::NotReady) => ControlFlow::Continue(()),
            Ok(Attempt::Done(count)) if count > 0 => {
                self.busy = count == room;
                self.handle_frames(peer)
            }
            // A read error means the same as the end of input: nothing more will come.
            Ok(Attempt::Done(_)) | Err(_) => self.peer_closed(peer),
        }
    }

    /// Handles an event of a remote server that is not a message.
    fn handle_remote_event(&mut self, event: &RemoteEvent) -> ControlFlow<()> {
        let now = self.clock.now();
        match event {
            RemoteEvent::Restarted { why } => self.gate.upstream_restarted(why, now),
            RemoteEvent::Returned {
                line,
                why,
                may_go_again,
            } => self.gate.call_returned(line, why, *may_go_again, now),
        }
        let keeps_up = self.client_keeps_up();
        self.effects.collect(&mut self.gate, None, None, keeps_up);
        let step = self.carry_out(None);
        if let RemoteEvent::Restarted { .. } = event {
            // Queued behind every call that was decided earlier.
            self.upstream.output.push_line(RESTART_HEARD);
        }
        step
    }

    /// Tells the gate the time.
    fn tick(&mut self) -> ControlFlow<()> {
        let heard = self.client_keeps_up() && self.upstream_keeps_up();
        // Over HTTP, we cannot know whether the client has seen what we sent: it may be gone and come
        // back for it later. INVARIANT 3: its silence then means nothing.
        let heard = heard && !self.effects.is_over_http();
        // Reads first, because an answer that has already arrived is in time.
        if heard && self.read(Peer::Client).is_break() {
            return ControlFlow::Break(());
        }
        self.gate.set_client_heard(heard);
        self.gate.tick(self.clock.now());
        let keeps_up = self.client_keeps_up();
        self.effects.collect(&mut self.gate, None, None, keeps_up);
        self.carry_out(None)
    }

    /// Passes whole lines to the gate and carries out its outputs, in one batch.
    fn handle_frames(&mut self, peer: Peer) -> ControlFlow<()> {
        // Everything in one read arrived at the same time.
        let now = self.clock.now();
        while let Some(frame) = self.side_mut(peer).frames.next_frame() {
            self.handle_frame(peer, &frame, now);
        }
        self.carry_out(Some(peer))
    }

    /// Handles what a peer sent after its last newline, before it closed.
    fn handle_rest(&mut self, peer: Peer, frame: &Frame) {
        let now = self.clock.now();
        match (peer, frame) {
            // The line may be incomplete: the server may have been killed while it wrote it.
            (Peer::Upstream, Frame::Line(range)) => {
                let line = self.upstream.frames.line(range);
                self.gate.rest_from_upstream(line, now);
                self.effects
                    .collect(&mut self.gate, Some(range), None, true);
            }
            (Peer::Upstream, Frame::Overlong { .. }) | (Peer::Client, _) => {
                self.handle_frame(peer, frame, now);
            }
        }
    }

    fn handle_frame(&mut self, peer: Peer, frame: &Frame, now: Now) {
        let range = match (frame, peer) {
            (Frame::Line(range), Peer::Client) => {
                self.gate.from_client(self.client.frames.line(range), now);
                Some(range)
            }
            (Frame::Line(range), Peer::Upstream) => {
                let line = self.upstream.frames.line(range);
                // A banner or a usage text is not a message.
                self.upstream_spoke |= line.trim_ascii_start().starts_with(b"{");
                self.gate.from_upstream(line, now);
                Some(range)
            }
            (Frame::Overlong { head, tail }, Peer::Client) => {
                self.gate.overlong_from_client(head, tail, now);
                None
            }
            (Frame::Overlong { head, tail }, Peer::Upstream) => {
                self.gate.overlong_from_upstream(head, tail);
                None
            }
        };
        let note = self.side_mut(peer).take_note();
        let keeps_up = self.client_keeps_up();
        self.effects.collect(&mut self.gate, range, note, keeps_up);
    }

    /// Carries out the collected outputs; frames are ranges of `read`'s buffer.
    fn carry_out(&mut self, read: Option<Peer>) -> ControlFlow<()> {
        let buffer = match read {
            Some(Peer::Client) => Some(&mut self.client.frames),
            Some(Peer::Upstream) => Some(&mut self.upstream.frames),
            None => None,
        };
        let lost = self.effects.carry_out(
            &mut self.gate,
            &self.clock,
            buffer,
            &mut self.client.output,
            &mut self.upstream.output,
        );
        if let Some(peer) = read {
            self.side_mut(peer).frames.compact();
        }
        self.send_to_engines();
        self.after_write(lost)
    }

    fn send_to_engines(&mut self) {
        let messages = std::mem::take(&mut self.effects.to_engines);
        if let Some(engines) = &self.engines {
            for message in messages {
                engines.send(message);
            }
        }
    }

    fn flush(&mut self, peer: Peer) -> ControlFlow<()> {
        let output = &mut self.side_mut(peer).output;
        let failed = output.flush().is_err();
        if let Some(memory) = output.take_spare() {
            // The buffer held input of the other side; give it back to that side.
            match peer {
                Peer::Client => self.upstream.frames.give_memory(memory),
                Peer::Upstream => self.client.frames.give_memory(memory),
            }
        }
        self.after_write(Lost {
            client: failed && peer == Peer::Client,
            upstream: failed && peer == Peer::Upstream,
        })
    }

    fn after_write(&mut self, lost: Lost) -> ControlFlow<()> {
        if lost.client {
            self.client.output.close();
            if self.client.input.take().is_some() {
                self.client_is_gone();
            }
        }
        if lost.upstream {
            self.upstream.output.close();
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn peer_closed(&mut self, peer: Peer) -> ControlFlow<()> {
        let side = self.side_mut(peer);
        side.input = None;
        if let Some(frame) = side.frames.take_rest() {
            self.handle_rest(peer, &frame);
        }
        let step = self.carry_out(Some(peer));
        match peer {
            Peer::Client => {
                self.client_is_gone();
                step
            }
            Peer::Upstream => ControlFlow::Break(()),
        }
    }

    fn client_is_gone(&mut self) {
        self.client.input = None;
        self.gate.client_closed(self.clock.now());
        self.effects.collect(&mut self.gate, None, None, false);
        let lost = self.effects.carry_out(
            &mut self.gate,
            &self.clock,
            None,
            &mut self.client.output,
            &mut self.upstream.output,
        );
        self.send_to_engines();
        if lost.client {
            self.client.output.close();
        }
    }

    /// Returns true if the client has gone while we did not read from it for `unread_for`. A client
    /// that only closed its sending end may wait a while for its answers.
    fn client_has_hung_up(&self, unread_for: Duration) -> bool {
        let input = self.client.input.as_ref();
        input.is_some_and(Wire::has_hung_up)
            && (self.client.output.has_hung_up() || unread_for >= STALLED)
    }

    /// Returns true if the upstream reads fast enough to keep its queue short. While a person is
    /// asked, the queue may grow longer, because the person's answer comes behind it.
    fn upstream_keeps_up(&self) -> bool {
        let output = &self.upstream.output;
        !output.is_above_high_water() || (self.gate.is_asking() && !output.is_above_flood_mark())
    }

    fn client_keeps_up(&self) -> bool {
        !self.client.output.is_above_high_water()
    }

    fn side_mut(&mut self, peer: Peer) -> &mut Side {
        match peer {
            Peer::Client => &mut self.client,
            Peer::Upstream => &mut self.upstream,
        }
    }
}

/// What the loop waits for.
enum Event {
    Signal(i32),
    Readable(Peer),
    Writable(Peer),
    Upstream(UpstreamEvent),
    Timer,
    /// The upstream has read nothing for a while.
    Stalled,
    /// A message from an out-of-band engine.
    Engine(FromEngine),
}

async fn from_engine(engines: &mut Option<EnginePort>) -> FromEngine {
    match engines {
        Some(engines) => engines.next().await,
        None => std::future::pending().await,
    }
}

async fn readable(wire: &Option<Wire>) -> io::Result<()> {
    match wire {
        Some(wire) => wire.readable().await,
        None => std::future::pending().await,
    }
}

/// Returns a future's value if it is ready, without waiting.
async fn now_or_never<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    })
    .await
}

async fn sleep_until_some(timer: Option<Instant>) {
    match timer {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
