//! How many questions, replies and pollers there may be, and when polling ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{TryRecvError, channel};

use super::*;
use crate::approval::item::Choice;
use crate::engines::HttpRuntime;
use crate::engines::for_test::item;

const LINGER: Duration = Duration::from_secs(5);

fn insert(carried: &Carried, id: &str) -> watch::Receiver<Wanted> {
    let inserted = carried.insert(&item(id), Answer::new(|_| ()), None);
    inserted.map_err(|(_, failure)| failure).unwrap().1
}

async fn is_idle_within(carried: &Carried, time: Duration) -> bool {
    let idle = carried.idle(LINGER);
    tokio::time::timeout(time, idle).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn polling_ends_a_while_after_the_last_question_and_not_before() {
    let carried = Carried::default();
    insert(&carried, "1");
    assert!(!is_idle_within(&carried, Duration::from_secs(3_600)).await);
    assert!(!carried.ends_polling());
    carried.end(&item("1").id, |_| String::new());
    assert!(!is_idle_within(&carried, LINGER - Duration::from_millis(2)).await);
    assert!(is_idle_within(&carried, LINGER * 2).await);
    // A question that comes just then keeps the poller.
    insert(&carried, "2");
    assert!(!carried.ends_polling());
    carried.end(&item("2").id, |_| String::new());
    carried.receives(Receiving::Begins);
    assert!(!is_idle_within(&carried, Duration::from_secs(3_600)).await);
    carried.receives(Receiving::Ends);
    assert!(is_idle_within(&carried, LINGER * 2).await && carried.ends_polling());
}

#[test]
fn one_poller_runs_at_a_time() {
    let carried = Carried::default();
    let (started, runtime) = (AtomicUsize::new(0), HttpRuntime::default());
    let start = || {
        started.fetch_add(1, Ordering::Relaxed);
        runtime.spawn(std::future::pending())
    };
    carried.poll(start).unwrap();
    carried.poll(start).unwrap();
    assert_eq!(started.load(Ordering::Relaxed), 1);
    assert!(carried.ends_polling());
    carried.poll(start).unwrap();
    assert_eq!(started.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_is_written_when_its_question_has_ended() {
    let carried = Carried::default();
    insert(&carried, "1");
    carried.all_written().await;
    let user = User {
        id: 7,
        first_name: "X".to_owned(),
        last_name: None,
        username: None,
    };
    let verdict = CarriedVerdict {
        fields: None,
        choice: Choice::Approve,
        reason: None,
        approver: Some(user.approver()),
    };
    let id = item("1").id;
    let given = carried.give(&id, verdict.clone(), &user);
    assert_eq!(given, Given::Given);
    assert_eq!(carried.give(&id, verdict, &user), Given::TooLate);
    let written = tokio::time::timeout(LINGER, carried.all_written()).await;
    assert!(written.is_err());
    carried.end(&id, |who| who.unwrap().name());
    carried.all_written().await;
}

#[test]
fn a_further_question_is_refused_and_its_answer_comes_back() {
    let carried = Carried::default();
    for at in 0..MAX_CARRIED {
        insert(&carried, &format!("{at:04}"));
    }
    let (sender, results) = channel::<()>();
    let answer = Answer::new(move |_| drop(sender));
    let refused = carried.insert(&item("ffff"), answer, None);
    let (answer, failure) = refused.map(drop).unwrap_err();
    assert_eq!(failure.kind, FailureKind::RateLimited);
    assert_eq!(results.try_recv(), Err(TryRecvError::Empty));
    drop(answer);
}

#[test]
fn of_many_replies_the_last_one_of_each_person_to_each_message_is_kept() {
    let carried = Carried::default();
    let place = |message| Place { chat: 1, message };
    for message in 0..300 {
        carried.keep_reply(place(message), 7, "first");
        carried.keep_reply(place(message), 7, "last");
    }
    let oldest = carried.take_reply(place(0), 7);
    assert_eq!(oldest, None, "it is forgotten");
    assert_eq!(carried.take_reply(place(299), 8), None);
    let last = carried.take_reply(place(299), 7);
    assert_eq!(last.as_deref(), Some("last"));
    assert_eq!(carried.take_reply(place(299), 7), None);
    carried.keep_reply(place(1), 7, &"é".repeat(9_000));
    let kept = carried.take_reply(place(1), 7).unwrap();
    assert_eq!(kept.chars().count(), MAX_REPLY);
}
