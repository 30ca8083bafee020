//! One session: one client, one gate, one upstream, one loop.
//!
//! The gate decides and `effects` acts; this waits for whatever comes first and reads it.

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

/// How long a client that has closed its end may wait for an upstream that takes nothing.
const STALLED: Duration = Duration::from_secs(30);
/// How long a peer that is about to go has to take what it is still owed.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a session ended.
#[derive(Debug, Clone, Copy)]
pub enum Ended {
    /// The client closed.
    ClientClosed,
    /// The upstream ended before it had sent a message.
    UpstreamNeverSpoke(Exit),
    /// The upstream ended while the client was still there.
    UpstreamDied(Exit),
    /// A signal asked for the end; holds its number.
    Signal(i32),
}

/// The four ends of a session, its upstream, and where its questions may go.
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
    /// The inbox, if questions may go there.
    pub inbox: Option<EnginePort>,
}

/// Everything that belongs to a session.
#[derive(Debug)]
pub struct Session {
    gate: Gate,
    clock: Clock,
    effects: Effects,
    client: Side,
    upstream: Side,
    process: Upstream,
    inbox: Option<EnginePort>,
    /// Whether the upstream has sent a message yet.
    upstream_spoke: bool,
    /// Whether the last read took all that it could: more is probably there already.
    busy: bool,
}

/// One peer: what it sends and what it is sent.
#[derive(Debug)]
struct Side {
    input: Option<Wire>,
    frames: FrameBuffer,
    output: Outbox,
}

impl Side {
    /// The note of the line that was read last.
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
    /// Puts a session together. Lines of more than `max_line` bytes are refused. There is a `sideband` where the client
    /// comes by HTTP.
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
            inbox: ends.inbox,
            upstream_spoke: false,
            busy: false,
        }
    }

    /// Relays until one side closes or `signal` says so; then ends the other side, answers
    /// what waits, and reaps the upstream.
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
                        // Whoever wants us to end need not wait for the client.
                        _ = signal.as_mut() => {}
                    }
                    Phase::Over(ended)
                }
                Phase::Over(ended) => {
                    self.process.end_what_it_left_behind().await;
                    self.record_close(ended);
                    self.effects.finish();
                    return ended;
                }
            };
        }
    }

    /// Relays lines until the next phase begins, which is `until` then at the latest.
    async fn relay(
        &mut self,
        mut signal: Pin<&mut impl Future<Output = i32>>,
        until: Option<Instant>,
    ) -> Phase {
        let mut alarm = Timer::new();
        let mut stall = Stall::default();
        loop {
            let timer = self.gate.poll_timeout();
            let timer = timer.map(|elapsed| self.clock.at(elapsed));
            // While one side does not read, what would add to its queue is not read either. What
            // the upstream says adds next to nothing to its own: it is read even while it does
            // not read, since it may do so only once it is rid of what it has to say.
            let upstream_keeps_up = self.upstream_keeps_up();
            let may_read_upstream = self.client_keeps_up();
            let may_read_client = may_read_upstream && upstream_keeps_up;
            match upstream_keeps_up {
                true => stall.end(),
                false => stall.begin(),
            }
            // Every branch only waits and may be cancelled at any time: what is read or
            // written is read or written afterwards.
            let event = tokio::select! {
                biased;
                _ = readable(&self.client.input), if may_read_client => Event::Readable(Peer::Client),
                _ = readable(&self.upstream.input), if may_read_upstream => Event::Readable(Peer::Upstream),
                _ = self.client.output.writable() => Event::Writable(Peer::Client),
                _ = self.upstream.output.writable() => Event::Writable(Peer::Upstream),
                number = signal.as_mut() => Event::Signal(number),
                event = self.process.next() => Event::Upstream(event),
                told = from_engine(&mut self.inbox) => Event::Engine(told),
                () = alarm.rings(timer) => Event::Timer,
                () = sleep_until_some(stall.look_at()) => Event::Stalled,
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
                // Its stdout may stay open, held by what it started.
                Event::Upstream(UpstreamEvent::Ended(_)) => ControlFlow::Break(()),
                Event::Upstream(UpstreamEvent::Told(told)) => self.hear(&told),
                Event::Stalled => {
                    if self.client_has_hung_up(stall.look()) {
                        self.client_is_gone();
                        return Phase::Ending(End::Client);
                    }
                    ControlFlow::Continue(())
                }
                Event::Engine(told) => {
                    self.gate.from_engine(told, self.clock.now());
                    let keeps_up = self.client_keeps_up();
                    self.effects.collect(&mut self.gate, None, None, keeps_up);
                    self.carry_out(None)
                }
                Event::Timer => self.tick(),
            };
            if std::mem::take(&mut self.busy) {
                // A peer that never stops must not keep the reactor from seeing the other one,
                // a signal, or the time.
                tokio::task::yield_now().await;
                if let Some(number) = now_or_never(signal.as_mut()).await {
                    return Phase::Ending(End::Signal(number));
                }
                if timer.is_some_and(|at| at <= Instant::now()) && self.tick().is_break() {
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
                        until: Instant::now() + FAREWELL,
                    };
                }
            }
        }
    }

    /// Reads once from a peer and does what that leads to. `Break` when the upstream is gone.
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
            // An error on reading means what the end means: nothing more will come.
            Ok(Attempt::Done(_)) | Err(_) => self.peer_closed(peer),
        }
    }

    /// The server elsewhere tells something beside its messages.
    fn hear(&mut self, told: &RemoteEvent) -> ControlFlow<()> {
        let now = self.clock.now();
        match told {
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
        if let RemoteEvent::Restarted { .. } = told {
            // Behind every call that was decided before.
            self.upstream.output.say(RESTART_HEARD);
        }
        step
    }

    /// Tells the gate the time.
    fn tick(&mut self) -> ControlFlow<()> {
        let heard = self.client_keeps_up() && self.upstream_keeps_up();
        // What is sent over HTTP has left us, but nobody knows who has seen it: the client may be
        // gone, and come back for it later. INVARIANT 3: silence then says nothing.
        let heard = heard && !self.effects.is_over_http();
        if heard && self.read(Peer::Client).is_break() {
            // An answer that is here already counts before the time that is over.
            return ControlFlow::Break(());
        }
        self.gate.set_client_heard(heard);
        self.gate.tick(self.clock.now());
        let keeps_up = self.client_keeps_up();
        self.effects.collect(&mut self.gate, None, None, keeps_up);
        self.carry_out(None)
    }

    /// Hands whole lines to the gate and does what they lead to, in one batch.
    fn handle_frames(&mut self, peer: Peer) -> ControlFlow<()> {
        // What came in one read came at one time.
        let now = self.clock.now();
        while let Some(frame) = self.side_mut(peer).frames.next_frame() {
            self.handle_frame(peer, &frame, now);
        }
        self.carry_out(Some(peer))
    }

    /// What a peer sent after its last newline before it closed.
    fn handle_rest(&mut self, peer: Peer, frame: &Frame) {
        let now = self.clock.now();
        match (peer, frame) {
            // A server that was ended in the middle of a line has torn it.
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
                // A banner or a usage text is no message.
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

    /// Carries out what was collected; frames are ranges of `read`'s buffer.
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
        self.tell_inbox();
        self.after_write(lost)
    }

    fn tell_inbox(&mut self) {
        let told = std::mem::take(&mut self.effects.to_inbox);
        if let Some(inbox) = &self.inbox {
            told.into_iter().for_each(|told| inbox.tell(told));
        }
    }

    fn flush(&mut self, peer: Peer) -> ControlFlow<()> {
        let output = &mut self.side_mut(peer).output;
        let failed = output.flush().is_err();
        if let Some(memory) = output.take_spare() {
            // It came from what the other side sent.
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
        self.tell_inbox();
        if lost.client {
            self.client.output.close();
        }
    }

    /// Whether the client has gone while nothing was read from it for so long. One that has
    /// only closed its end after sending much may wait for its answers a while.
    fn client_has_hung_up(&self, unread_for: Duration) -> bool {
        let input = self.client.input.as_ref();
        input.is_some_and(Wire::has_hung_up)
            && (self.client.output.has_hung_up() || unread_for >= STALLED)
    }

    /// Whether the upstream takes what it is sent, or at least little enough waits for it. While
    /// a human is asked more may wait: the answer stands behind it.
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
    /// The upstream has taken nothing for a while.
    Stalled,
    /// The inbox tells something.
    Engine(FromEngine),
}

async fn from_engine(inbox: &mut Option<EnginePort>) -> FromEngine {
    match inbox {
        Some(inbox) => inbox.next().await,
        None => std::future::pending().await,
    }
}

async fn readable(wire: &Option<Wire>) -> io::Result<()> {
    match wire {
        Some(wire) => wire.readable().await,
        None => std::future::pending().await,
    }
}

/// What a future is ready with, without waiting for it.
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
