//! Keeps the one Socket Mode connection of an app while this process has a question open, if it was chosen to hold it.
//!
//! Slack sends a click to any one connection of an app, and does not repeat it. So only one process of those that share
//! a store connects. A new connection opens before an old one closes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::api::Api;
use super::clicks::{Engine, Telling, act};
use super::socket::{News, Report, Reporter, hold};
use crate::engines::CourierContext;
use crate::engines::http::Task;
use crate::gate::{Failure, FailureKind};

pub(super) use super::socket::url;

/// How long the connection stays after the last question, so that late clicks are told so.
const LINGER: Duration = Duration::from_secs(10);
/// How long an old connection stays after a new one is ready. Slack may still send to it.
const OVERLAP: Duration = Duration::from_secs(10);
/// How long closing may take.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// The pauses between tries to connect. Each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The shortest time between two connections, whatever Slack asks for.
const FASTEST: Duration = Duration::from_secs(1);
/// After this many failures in a row, nobody waits for a click any more.
const MAX_FAILURES: u32 = 4;
/// How many reports of connections wait.
const MAX_REPORTS: usize = 64;
/// How many envelopes are remembered, so that one that comes twice is taken once.
const MAX_SEEN: usize = 256;

/// What the engines of this process that use the same app share.
pub(super) struct Hub {
    api: Arc<Api>,
    /// Of the first of these engines. Only what all have in common is used of it.
    context: CourierContext,
    engines: Mutex<Vec<Weak<Engine>>>,
    /// How many questions, or receivers, need the connection.
    wanted: watch::Sender<usize>,
    /// Keeps the connection. `None` if nothing needs it.
    keeper: Mutex<Option<Task>>,
    telling: Telling,
}

/// Keeps the connection as long as it lives.
#[derive(Debug)]
pub(super) struct Wanted(Arc<Hub>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0
            .wanted
            .send_modify(|wanted| *wanted = wanted.saturating_sub(1));
    }
}

impl Hub {
    pub(super) fn new(api: Arc<Api>, context: CourierContext) -> Hub {
        Hub {
            api,
            context,
            engines: Mutex::default(),
            wanted: watch::Sender::new(0),
            keeper: Mutex::default(),
            telling: Telling::default(),
        }
    }

    /// Clicks may be about this engine's items from now on.
    pub(super) fn serve(&self, engine: &Arc<Engine>) {
        let mut engines = held(&self.engines);
        engines.retain(|engine| engine.strong_count() > 0);
        engines.push(Arc::downgrade(engine));
    }

    pub(super) fn telling(&self) -> &Telling {
        &self.telling
    }

    /// Connects, unless another process does, and stays connected as long as the returned value lives.
    ///
    /// # Errors
    /// If the task cannot be started.
    pub(super) fn connect(self: Arc<Self>) -> Result<Wanted, Failure> {
        let mut keeper = held(&self.keeper);
        self.wanted
            .send_modify(|wanted| *wanted = wanted.saturating_add(1));
        let wanted = Wanted(Arc::clone(&self));
        if keeper.is_none() {
            let hub = Arc::clone(&self);
            let task = self
                .context
                .runtime
                .spawn(async move { hub.keep_connected().await });
            *keeper = Some(task?);
        }
        drop(keeper);
        Ok(wanted)
    }

    async fn keep_connected(self: Arc<Self>) {
        let rows = self.context.rows.clone();
        loop {
            let credential = self.api.credential().expose();
            let elected = tokio::select! {
                elected = rows.elect(credential) => elected,
                () = self.is_idle() => match self.rest() {
                    true => return,
                    false => continue,
                },
            };
            let serving = Serving::new(&self);
            tokio::select! {
                () = serving.run() => {}
                // A process that signs wants the connection. It opens another one as soon as we let go.
                () = elected.preempted() => {}
            }
            drop(elected);
            if self.rest() {
                return;
            }
        }
    }

    /// Waits until nothing has needed the connection for a moment.
    async fn is_idle(&self) {
        let mut wanted = self.wanted.subscribe();
        loop {
            // Cannot fail: `self` holds the sender.
            let _ = wanted.wait_for(|wanted| *wanted == 0).await;
            let again = wanted.wait_for(|wanted| *wanted > 0);
            if timeout(LINGER, again).await.is_err() {
                return;
            }
        }
    }

    /// Forgets the task if nothing needs it. Returns true if it must end.
    fn rest(&self) -> bool {
        let mut keeper = held(&self.keeper);
        let is_idle = *self.wanted.borrow() == 0;
        if is_idle {
            // This is the task itself, which ends by returning.
            drop(keeper.take());
        }
        is_idle
    }

    fn engines(&self) -> Vec<Arc<Engine>> {
        held(&self.engines)
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Clicks cannot arrive, so no question can be answered. Returns true if any was open.
    fn fail_all(&self, failure: &Failure) -> bool {
        let failed = |engine: &Arc<Engine>| engine.carried.fail_all(failure);
        // All of them, not only the first.
        self.engines()
            .iter()
            .filter(|engine| failed(engine))
            .count()
            > 0
    }
}

/// The connections of a process that was chosen.
struct Serving<'a> {
    hub: &'a Arc<Hub>,
    reports: mpsc::Receiver<Report>,
    sender: mpsc::Sender<Report>,
    /// The newest last.
    connections: Vec<Connection>,
    /// The number of the next connection.
    next: u64,
    /// How many connections in a row ended before they were ready.
    failures: u32,
    /// Whether the operator knows that we cannot connect.
    has_warned: bool,
    /// When to open the next connection, if one is needed.
    due: Option<Instant>,
    /// When the last one was opened.
    opened: Option<Instant>,
    /// The envelopes that were taken, oldest first.
    seen: VecDeque<String>,
}

struct Connection {
    number: u64,
    is_ready: bool,
    /// Whether Slack is about to close it.
    is_leaving: bool,
    /// When it is closed, because a newer one is ready.
    retires: Option<Instant>,
    stop: watch::Sender<bool>,
    _task: Task,
}

impl Serving<'_> {
    fn new(hub: &Arc<Hub>) -> Serving<'_> {
        let (sender, reports) = mpsc::channel(MAX_REPORTS);
        Serving {
            hub,
            reports,
            sender,
            connections: Vec::new(),
            next: 0,
            failures: 0,
            has_warned: false,
            due: Some(Instant::now()),
            opened: None,
            seen: VecDeque::new(),
        }
    }

    /// Stays connected until nothing needs the connection.
    async fn run(mut self) {
        let hub = Arc::clone(self.hub);
        let mut idle = Box::pin(hub.is_idle());
        loop {
            let retires = self.connections.iter().filter_map(|it| it.retires).min();
            tokio::select! {
                // What people did comes first.
                biased;
                Some(report) = self.reports.recv() => self.take(report),
                () = until(self.due) => self.open(),
                () = until(retires) => self.retire(),
                () = &mut idle => break,
            }
        }
        self.close().await;
    }

    fn open(&mut self) {
        self.due = None;
        self.opened = Some(Instant::now());
        let number = self.next;
        self.next += 1;
        let (stop, stopped) = watch::channel(false);
        let reporter = Reporter {
            connection: number,
            reports: self.sender.clone(),
        };
        let hub = self.hub;
        let held = hold(Arc::clone(&hub.api), hub.context.clone(), reporter, stopped);
        match hub.context.runtime.spawn(held) {
            Ok(task) => self.connections.push(Connection {
                number,
                is_ready: false,
                is_leaving: false,
                retires: None,
                stop,
                _task: task,
            }),
            Err(failure) => self.has_failed(&failure),
        }
    }

    fn take(&mut self, Report { connection, news }: Report) {
        match news {
            News::Ready => self.is_ready(connection),
            News::Did(envelope, interaction) => {
                if self.is_new(envelope) {
                    act(&self.hub.engines(), interaction);
                }
            }
            News::Leaving => {
                let mut connections = self.connections.iter_mut();
                if let Some(leaving) = connections.find(|it| it.number == connection) {
                    leaving.is_leaving = true;
                }
                self.replace_soon(Duration::ZERO);
            }
            News::Ended(result) => {
                let at = self
                    .connections
                    .iter()
                    .position(|it| it.number == connection);
                let ended = at.map(|at| self.connections.remove(at));
                match (result, ended) {
                    (Ok(()), _) => self.replace_soon(FIRST_PAUSE),
                    // It worked for a while.
                    (Err(failure), Some(ended))
                        if ended.is_ready && failure.kind == FailureKind::Unreachable =>
                    {
                        tracing::debug!("{}", failure.why);
                        self.replace_soon(FIRST_PAUSE);
                    }
                    (Err(failure), _) => self.has_failed(&failure),
                }
            }
        }
    }

    fn is_ready(&mut self, connection: u64) {
        self.failures = 0;
        self.has_warned = false;
        let retires = Instant::now() + OVERLAP;
        for it in &mut self.connections {
            match it.number == connection {
                true => it.is_ready = true,
                false if it.number < connection => it.retires = Some(retires),
                false => {}
            }
        }
    }

    /// Opens another connection after a pause, unless there is one already that stays.
    fn replace_soon(&mut self, pause: Duration) {
        let stays = |it: &Connection| !it.is_leaving && it.retires.is_none();
        if self.due.is_none() && !self.connections.iter().any(stays) {
            let soonest = self.opened.map(|opened| opened + FASTEST);
            let due = Instant::now() + pause;
            self.due = Some(soonest.map_or(due, |soonest| due.max(soonest)));
        }
    }

    fn has_failed(&mut self, failure: &Failure) {
        self.failures = self.failures.saturating_add(1);
        let may_pass = matches!(
            failure.kind,
            FailureKind::Unreachable | FailureKind::RateLimited
        );
        let is_served = self.connections.iter().any(|it| it.is_ready);
        if !is_served && (!may_pass || self.failures >= MAX_FAILURES) {
            // The gate warns about a question that fails.
            let is_known = self.hub.fail_all(failure) || self.has_warned;
            if !is_known {
                let engine = self.hub.context.name.name();
                tracing::warn!("the engine `{engine}` receives no answers: {}", failure.why);
            }
            self.has_warned = true;
        }
        let pause = match may_pass {
            true => FIRST_PAUSE * 2_u32.saturating_pow(self.failures.min(10)),
            false => LONGEST_PAUSE,
        };
        self.replace_soon(pause.min(LONGEST_PAUSE));
    }

    /// Closes the connections that a newer one has replaced.
    fn retire(&mut self) {
        let now = Instant::now();
        for it in &mut self.connections {
            if it.retires.is_some_and(|retires| retires <= now) {
                // It reports its end, and is removed then.
                it.retires = Some(now + CLOSE_TIME);
                it.stop.send_replace(true);
            }
        }
    }

    /// Returns true if an envelope has not been taken before.
    fn is_new(&mut self, envelope: String) -> bool {
        if self.seen.contains(&envelope) {
            return false;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(envelope);
        true
    }

    async fn close(mut self) {
        for it in &self.connections {
            it.stop.send_replace(true);
        }
        let hub = Arc::clone(self.hub);
        let closing = async {
            while !self.connections.is_empty()
                && let Some(report) = self.reports.recv().await
            {
                match report.news {
                    News::Did(envelope, interaction) if self.is_new(envelope.clone()) => {
                        act(&hub.engines(), interaction);
                    }
                    News::Ended(_) => {
                        let ended = report.connection;
                        self.connections.retain(|it| it.number != ended);
                    }
                    News::Did(..) | News::Ready | News::Leaving => {}
                }
            }
        };
        // They are dropped now in any case.
        let _ = timeout(CLOSE_TIME, closing).await;
    }
}

/// Waits until an instant; forever if there is none.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use serde_json::json;
    use tokio::time::advance;

    use super::*;
    use crate::engines::CarriedVerdict;
    use crate::engines::chat::Carried;
    use crate::engines::for_test::{self, item};
    use crate::engines::slack::interaction::{APPROVE, Interaction, Target};
    use crate::engines::{Answer, Ending};

    const OLGA: &str = "U0OLGA001";

    /// A hub with one engine. Nothing of it contacts anybody.
    fn engine() -> Arc<Engine> {
        let url = "http://127.0.0.1:9/api/".parse().unwrap();
        let api = Arc::new(Api::new(url, "xoxb-1", "xapp-1").unwrap());
        let context = for_test::context("slack");
        let hub = Arc::new(Hub::new(Arc::clone(&api), context.clone()));
        let engine = Arc::new(Engine {
            api,
            channel: "C024BE7LR".to_owned(),
            approvers: [OLGA.to_owned()].into(),
            context,
            carried: Carried::default(),
            asked: watch::Sender::new(0),
            hub: Arc::clone(&hub),
        });
        hub.serve(&engine);
        engine
    }

    fn carrying(engine: &Engine, id: &str) -> Receiver<Result<CarriedVerdict, Failure>> {
        let (sender, results) = std::sync::mpsc::channel();
        let answer = Answer::new(move |answer| {
            // The test may have ended already.
            let _ = sender.send(answer);
        });
        engine.carried.insert(&item(id), answer).unwrap();
        engine.carried.is_shown(&item(id).id);
        results
    }

    /// Opens a connection that never reports anything by itself.
    fn opened(serving: &mut Serving<'_>) -> u64 {
        serving.due = None;
        serving.opened = Some(Instant::now());
        let number = serving.next;
        serving.next += 1;
        let runtime = &serving.hub.context.runtime;
        serving.connections.push(Connection {
            number,
            is_ready: false,
            is_leaving: false,
            retires: None,
            stop: watch::channel(false).0,
            _task: runtime.spawn(std::future::pending()).unwrap(),
        });
        number
    }

    fn news(serving: &mut Serving<'_>, connection: u64, news: News) {
        serving.take(Report { connection, news });
    }

    fn due_in(serving: &Serving<'_>) -> Option<Duration> {
        serving.due.map(|due| due - Instant::now())
    }

    fn broke() -> News {
        News::Ended(Err(Failure::unreachable("it broke")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_leaving_is_replaced_first_and_kept_for_a_while() {
        let engine = engine();
        let mut serving = Serving::new(&engine.hub);
        let old = opened(&mut serving);
        news(&mut serving, old, News::Ready);
        advance(Duration::from_secs(60)).await;
        news(&mut serving, old, News::Leaving);
        assert_eq!(due_in(&serving), Some(Duration::ZERO));
        let new = opened(&mut serving);
        // Said twice, while the new one is not ready yet.
        news(&mut serving, old, News::Leaving);
        assert_eq!(due_in(&serving), None);
        advance(OVERLAP * 2).await;
        serving.retire();
        assert!(!*serving.connections[0].stop.borrow());
        news(&mut serving, new, News::Ready);
        serving.retire();
        assert!(!*serving.connections[0].stop.borrow());
        advance(OVERLAP).await;
        serving.retire();
        assert!(*serving.connections[0].stop.borrow());
        assert!(!*serving.connections[1].stop.borrow());
        news(&mut serving, old, News::Ended(Ok(())));
        assert_eq!((serving.connections.len(), due_in(&serving)), (1, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_always_wants_another_connection_gets_one_a_second() {
        let engine = engine();
        let mut serving = Serving::new(&engine.hub);
        for _ in 0..3 {
            let number = opened(&mut serving);
            news(&mut serving, number, News::Ready);
            news(&mut serving, number, News::Leaving);
            assert_eq!(due_in(&serving), Some(FASTEST));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn questions_outlive_a_few_failures_and_pauses_grow() {
        let engine = engine();
        let results = carrying(&engine, "a");
        let mut serving = Serving::new(&engine.hub);
        let mut pauses = Vec::new();
        for failures in 1..=12 {
            let number = opened(&mut serving);
            advance(FASTEST).await;
            news(&mut serving, number, broke());
            pauses.push(due_in(&serving).unwrap());
            assert_eq!(results.try_recv().is_ok(), failures == MAX_FAILURES);
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
        // One that worked starts from the beginning.
        let number = opened(&mut serving);
        news(&mut serving, number, News::Ready);
        advance(FASTEST).await;
        news(&mut serving, number, broke());
        assert_eq!(due_in(&serving), Some(FIRST_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_pass_fails_the_questions_at_once() {
        let engine = engine();
        let results = carrying(&engine, "a");
        let mut serving = Serving::new(&engine.hub);
        let number = opened(&mut serving);
        news(&mut serving, number, News::Ready);
        let failure = Failure {
            kind: FailureKind::Misconfigured,
            why: "revoked".to_owned(),
        };
        news(&mut serving, number, News::Ended(Err(failure.clone())));
        assert_eq!(results.try_recv().unwrap(), Err(failure));
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_outlives_the_last_question_by_a_moment() {
        let engine = engine();
        let wanted = |count| {
            engine.hub.wanted.send_replace(count);
        };
        wanted(1);
        let mut idle = Box::pin(engine.hub.is_idle());
        let a_day = Duration::from_secs(86_400);
        assert!(timeout(a_day, &mut idle).await.is_err());
        wanted(0);
        let nearly = LINGER - Duration::from_millis(1);
        assert!(timeout(nearly, &mut idle).await.is_err());
        // Another question comes in time.
        wanted(1);
        assert!(timeout(a_day, &mut idle).await.is_err());
        wanted(0);
        let start = Instant::now();
        idle.await;
        assert_eq!(start.elapsed(), LINGER);
    }

    #[tokio::test(start_paused = true)]
    async fn an_envelope_that_comes_twice_is_taken_once() {
        let engine = engine();
        let mut serving = Serving::new(&engine.hub);
        let number = opened(&mut serving);
        let click = |id: &str| {
            let target = Target {
                item: item(id).id,
                fingerprint: item(id).fingerprint(),
                engine: "slack".to_owned(),
                channel: None,
            };
            let payload = json!({
                "type": "block_actions",
                "user": {"id": OLGA},
                "actions": [{"action_id": APPROVE, "value": target.to_text()}],
            });
            Interaction::of(&payload).unwrap()
        };
        let first = carrying(&engine, "a");
        news(&mut serving, number, News::Did("e1".to_owned(), click("a")));
        let verdict = first.try_recv().unwrap().unwrap();
        assert_eq!(verdict.approver.as_deref(), Some("slack:U0OLGA001"));
        // The same envelope, about what is open again under the same id.
        let again = carrying(&engine, "a");
        news(&mut serving, number, News::Did("e1".to_owned(), click("a")));
        assert!(again.try_recv().is_err());
        news(&mut serving, number, News::Did("e2".to_owned(), click("a")));
        assert!(again.try_recv().is_ok());
        engine.carried.settle(
            &item("a").id,
            &Ending::Closed(crate::approval::item::Closed::Expired),
        );
    }
}
