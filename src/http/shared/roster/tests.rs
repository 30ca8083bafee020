//! The roster closes the connection that is missed least.

use std::future::pending;

use proptest::prelude::*;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{advance, timeout};

use super::*;

const UNREAD: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// A connection: a task that ends when the roster aborts it.
struct Open {
    reporter: Reporter,
    task: JoinHandle<()>,
}

impl Open {
    fn is_closed(&self) -> bool {
        self.task.is_finished()
    }

    /// Sends a request that takes long to answer.
    fn ask(&self) {
        self.reporter.head_arrived(false);
    }

    fn be_answered(&self) {
        self.reporter.answered();
    }
}

async fn open(roster: &Arc<Roster>) -> Open {
    let slot = roster.acquire().await;
    let reporter = slot.reporter();
    let task = tokio::spawn(async move {
        let _slot = slot;
        pending().await
    });
    reporter.set_task(task.abort_handle());
    // The next connection is opened later.
    advance(Duration::from_millis(1)).await;
    Open { reporter, task }
}

async fn open_all(roster: &Arc<Roster>, count: usize) -> Vec<Open> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(open(roster).await);
    }
    all
}

fn closed(all: &[Open]) -> Vec<usize> {
    let all = all.iter().enumerate();
    all.filter(|(_, one)| one.is_closed())
        .map(|(at, _)| at)
        .collect()
}

async fn is_accepted(roster: &Arc<Roster>) -> bool {
    timeout(Duration::from_millis(100), open(roster))
        .await
        .is_ok()
}

#[tokio::test(start_paused = true)]
async fn the_oldest_connection_without_a_request_is_closed_for_a_new_one() {
    let roster = Roster::new(3, UNREAD);
    let all = open_all(&roster, 3).await;
    assert!(closed(&all).is_empty());
    let _fourth = open(&roster).await;
    assert_eq!(closed(&all), [0]);
    let _fifth = open(&roster).await;
    assert_eq!(closed(&all), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_request_is_being_answered_is_never_closed() {
    let roster = Roster::new(3, UNREAD);
    let all = open_all(&roster, 3).await;
    all.iter().for_each(Open::ask);
    advance(SECOND * 3_600).await;
    assert!(!is_accepted(&roster).await);
    all[1].be_answered();
    assert!(is_accepted(&roster).await);
    assert_eq!(closed(&all), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_waits_until_a_busy_one_has_closed() {
    let roster = Roster::new(1, UNREAD);
    let busy = open(&roster).await;
    busy.ask();
    let waiting = tokio::spawn({
        let roster = Arc::clone(&roster);
        async move { open(&roster).await }
    });
    yield_now().await;
    assert!(!waiting.is_finished());
    busy.task.abort();
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_does_not_make_its_connection_busy() {
    let roster = Roster::new(2, UNREAD);
    let all = open_all(&roster, 2).await;
    all[0].reporter.head_arrived(true);
    all[1].reporter.head_arrived(true);
    all[0].reporter.body_arrived();
    let _newcomer = open(&roster).await;
    assert_eq!(closed(&all), [1]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_longer_than_one_that_never_sent_a_request() {
    let roster = Roster::new(3, UNREAD);
    let all = open_all(&roster, 3).await;
    all[0].ask();
    all[0].be_answered();
    advance(SECOND * 3).await;
    let _newcomers = open_all(&roster, 2).await;
    assert_eq!(closed(&all), [1, 2]);
}

// A client that connects over and over must not push out clients that are about to send a request.
#[tokio::test(start_paused = true)]
async fn a_fresh_connection_is_kept_while_older_idle_ones_are_closed() {
    let roster = Roster::new(10, UNREAD);
    let idle = open_all(&roster, 9).await;
    for one in &idle {
        one.ask();
        one.be_answered();
    }
    let fresh = open(&roster).await;
    let _flood = open_all(&roster, 9).await;
    assert_eq!(closed(&idle).len(), 9);
    assert!(!fresh.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_an_unread_answer_is_closed_after_a_while() {
    let roster = Roster::new(2, UNREAD);
    let all = open_all(&roster, 2).await;
    all.iter().for_each(Open::ask);
    all[0].reporter.output_is_stuck();
    // The rest of this one's answer is in a buffer.
    all[1].reporter.output_is_stuck();
    all[1].be_answered();
    assert!(!is_accepted(&roster).await);
    let start = Instant::now();
    let _newcomer = open(&roster).await;
    assert!(start.elapsed() > UNREAD - SECOND && start.elapsed() <= UNREAD);
    assert_eq!(closed(&all), [0]);
    all[1].reporter.output_is_sent();
    let _another = open(&roster).await;
    assert_eq!(closed(&all), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_read_again_in_time_is_kept() {
    let roster = Roster::new(1, UNREAD);
    let slow = open(&roster).await;
    slow.ask();
    slow.reporter.output_is_stuck();
    advance(UNREAD - SECOND).await;
    slow.reporter.output_is_sent();
    advance(UNREAD).await;
    assert!(!is_accepted(&roster).await);
    assert!(!slow.is_closed());
}

#[tokio::test(start_paused = true)]
async fn one_connection_is_closed_for_a_new_one_even_if_the_wait_is_restarted() {
    let roster = Roster::new(4, UNREAD);
    let all = open_all(&roster, 4).await;
    for _ in 0..10 {
        // Cancelled before any connection can have closed.
        let mut acquiring = Box::pin(roster.acquire());
        std::future::poll_fn(|context| {
            let _ = acquiring.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    }
    yield_now().await;
    assert_eq!(closed(&all), [0]);
    assert!(roster.close_one().await);
    assert_eq!(closed(&all), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn busy_connections_are_not_closed_if_descriptors_are_short() {
    let roster = Roster::new(4, UNREAD);
    let busy = open(&roster).await;
    busy.ask();
    assert!(!roster.close_one().await);
    let idle = open(&roster).await;
    assert!(roster.close_one().await);
    assert!(!busy.is_closed() && idle.is_closed());
}

/// What can happen on a connection.
#[derive(Debug, Clone, Copy)]
enum Event {
    Head(bool),
    Body,
    Answered,
    Stuck,
    Sent,
    Left,
}

fn events() -> impl Strategy<Value = Vec<(usize, Event, u64)>> {
    let event = prop_oneof![
        any::<bool>().prop_map(Event::Head),
        Just(Event::Body),
        Just(Event::Answered),
        Just(Event::Stuck),
        Just(Event::Sent),
        Just(Event::Left),
    ];
    prop::collection::vec((0..6_usize, event, 0..5_u64), 0..60)
}

proptest! {
    /// Whatever happens, in whatever order, the roster's two views of the connections agree.
    #[test]
    fn the_set_of_closable_connections_matches_their_states(events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let roster = Roster::new(6, UNREAD);
            let mut all = open_all(&roster, 6).await;
            for (at, event, seconds) in events {
                let reporter = &all[at].reporter;
                match event {
                    Event::Head(has_body) => reporter.head_arrived(has_body),
                    Event::Body => reporter.body_arrived(),
                    Event::Answered => reporter.answered(),
                    Event::Stuck => reporter.output_is_stuck(),
                    Event::Sent => reporter.output_is_sent(),
                    Event::Left => {
                        all[at].task.abort();
                        let _ = (&mut all[at].task).await;
                        all[at] = open(&roster).await;
                    }
                }
                advance(SECOND * u32::try_from(seconds).unwrap()).await;
                let inner = roster.inner();
                let expected: BTreeSet<_> = inner
                    .connections
                    .iter()
                    .filter_map(|(id, state)| state.closable().map(|(kind, since)| (kind, since, *id)))
                    .collect();
                assert_eq!(inner.closable, expected);
                assert!(inner.connections.len() <= 6 && inner.closing <= 1);
            }
            // Exactly the closable connections are closed, one by one.
            let can: usize = all.iter().filter(|one| roster.inner().connections[&one.reporter.id].closable().is_some()).count();
            advance(UNREAD).await;
            let mut closed = 0;
            while roster.close_one().await {
                closed += 1;
            }
            assert_eq!(closed, can);
            assert!(roster.inner().closable.is_empty());
        });
    }
}
