//! Of many connections, the one that is missed least gives way.

use std::future::pending;

use proptest::prelude::*;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{advance, timeout};

use super::*;

const UNREAD: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// A connection, as a task that ends when it is told to close.
struct Open {
    seat: Seat,
    task: JoinHandle<()>,
}

impl Open {
    fn is_closed(&self) -> bool {
        self.task.is_finished()
    }

    /// Asks for something that takes long to answer.
    fn ask(&self) {
        self.seat.head_arrived(false);
    }

    fn be_answered(&self) {
        self.seat.answered();
    }
}

async fn open(roster: &Arc<Roster>) -> Open {
    let place = roster.enter().await;
    let seat = place.seat();
    let task = tokio::spawn(async move {
        let _place = place;
        pending().await
    });
    seat.is_served_by(task.abort_handle());
    // The next one comes later.
    advance(Duration::from_millis(1)).await;
    Open { seat, task }
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

async fn is_let_in(roster: &Arc<Roster>) -> bool {
    timeout(Duration::from_millis(100), open(roster))
        .await
        .is_ok()
}

#[tokio::test(start_paused = true)]
async fn the_oldest_connection_that_has_not_asked_gives_way_to_a_newcomer() {
    let roster = Roster::new(3, UNREAD);
    let all = open_all(&roster, 3).await;
    assert!(closed(&all).is_empty());
    let _fourth = open(&roster).await;
    assert_eq!(closed(&all), [0]);
    let _fifth = open(&roster).await;
    assert_eq!(closed(&all), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_request_is_being_answered_never_gives_way() {
    let roster = Roster::new(3, UNREAD);
    let all = open_all(&roster, 3).await;
    all.iter().for_each(Open::ask);
    advance(SECOND * 3_600).await;
    assert!(!is_let_in(&roster).await);
    all[1].be_answered();
    assert!(is_let_in(&roster).await);
    assert_eq!(closed(&all), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_waits_until_a_busy_connection_has_closed() {
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
async fn a_body_that_does_not_come_makes_no_connection_busy() {
    let roster = Roster::new(2, UNREAD);
    let all = open_all(&roster, 2).await;
    all[0].seat.head_arrived(true);
    all[1].seat.head_arrived(true);
    all[0].seat.body_arrived();
    let _newcomer = open(&roster).await;
    assert_eq!(closed(&all), [1]);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_been_answered_before_stays_longer_than_those_who_never_ask() {
    let roster = Roster::new(3, UNREAD);
    let all = open_all(&roster, 3).await;
    all[0].ask();
    all[0].be_answered();
    advance(SECOND * 3).await;
    let _newcomers = open_all(&roster, 2).await;
    assert_eq!(closed(&all), [1, 2]);
}

/// Whoever connects over and over must not push out clients that are about to ask.
#[tokio::test(start_paused = true)]
async fn a_client_that_has_just_come_outlives_many_that_were_here_before() {
    let roster = Roster::new(10, UNREAD);
    let idle = open_all(&roster, 9).await;
    for one in &idle {
        one.ask();
        one.be_answered();
    }
    let just_come = open(&roster).await;
    let _flood = open_all(&roster, 9).await;
    assert_eq!(closed(&idle).len(), 9);
    assert!(!just_come.is_closed());
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_read_an_answer_gives_way_after_a_while() {
    let roster = Roster::new(2, UNREAD);
    let all = open_all(&roster, 2).await;
    all.iter().for_each(Open::ask);
    all[0].seat.output_is_stuck();
    // All that is left of this one's answer is in a buffer.
    all[1].seat.output_is_stuck();
    all[1].be_answered();
    assert!(!is_let_in(&roster).await);
    let start = Instant::now();
    let _newcomer = open(&roster).await;
    assert!(start.elapsed() > UNREAD - SECOND && start.elapsed() <= UNREAD);
    assert_eq!(closed(&all), [0]);
    all[1].seat.output_is_sent();
    let _another = open(&roster).await;
    assert_eq!(closed(&all), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_again_in_time_stays() {
    let roster = Roster::new(1, UNREAD);
    let slow = open(&roster).await;
    slow.ask();
    slow.seat.output_is_stuck();
    advance(UNREAD - SECOND).await;
    slow.seat.output_is_sent();
    advance(UNREAD).await;
    assert!(!is_let_in(&roster).await);
    assert!(!slow.is_closed());
}

#[tokio::test(start_paused = true)]
async fn one_connection_is_closed_for_one_newcomer_even_if_that_is_asked_for_again() {
    let roster = Roster::new(4, UNREAD);
    let all = open_all(&roster, 4).await;
    for _ in 0..10 {
        // Cancelled before anything can have closed.
        let mut entering = Box::pin(roster.enter());
        std::future::poll_fn(|context| {
            let _ = entering.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    }
    yield_now().await;
    assert_eq!(closed(&all), [0]);
    assert!(roster.shrink().await);
    assert_eq!(closed(&all), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn where_all_are_busy_none_is_closed_for_want_of_descriptors() {
    let roster = Roster::new(4, UNREAD);
    let busy = open(&roster).await;
    busy.ask();
    assert!(!roster.shrink().await);
    let idle = open(&roster).await;
    assert!(roster.shrink().await);
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
    fn nobody_is_forgotten_and_nobody_gives_way_twice(events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let roster = Roster::new(6, UNREAD);
            let mut all = open_all(&roster, 6).await;
            for (at, event, seconds) in events {
                let seat = &all[at].seat;
                match event {
                    Event::Head(has_body) => seat.head_arrived(has_body),
                    Event::Body => seat.body_arrived(),
                    Event::Answered => seat.answered(),
                    Event::Stuck => seat.output_is_stuck(),
                    Event::Sent => seat.output_is_sent(),
                    Event::Left => {
                        all[at].task.abort();
                        let _ = (&mut all[at].task).await;
                        all[at] = open(&roster).await;
                    }
                }
                advance(SECOND * u32::try_from(seconds).unwrap()).await;
                let inner = roster.inner();
                let expected: BTreeSet<_> = inner
                    .seats
                    .iter()
                    .filter_map(|(id, state)| state.yields().map(|(kind, since)| (kind, since, *id)))
                    .collect();
                assert_eq!(inner.yielding, expected);
                assert!(inner.seats.len() <= 6 && inner.closing <= 1);
            }
            // Whoever can give way does, one by one, and nobody else.
            let can: usize = all.iter().filter(|one| roster.inner().seats[&one.seat.id].yields().is_some()).count();
            advance(UNREAD).await;
            let mut closed = 0;
            while roster.shrink().await {
                closed += 1;
            }
            assert_eq!(closed, can);
            assert!(roster.inner().yielding.is_empty());
        });
    }
}
