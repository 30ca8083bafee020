//! Questions and verdicts, from the proxy that asks to the person who decides and back.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{New, REDACTED, Scene, asked, ids, is_changed, item, verdict};
use crate::approval::item::{Choice, Item};
use crate::engines::inbox::store::{
    Closed, Decided, Entry, ErrorKind, Filter, HISTORY_MS, MAX_REASON, State,
};

pub(crate) fn a_form_is_shown_as_it_was_asked_and_only_the_asker_gets_its_answers(new: New) {
    let mut scene = Scene::new(new);
    let mut page = scene.other();
    let with_form = Item {
        form: Some(r#"{"type":"object"}"#.to_owned()),
        ..item("a")
    };
    scene.store.ask(&with_form, "p").unwrap();
    assert_eq!(page.find("a").unwrap().unwrap().item, with_form);
    let mut given = verdict(Choice::Approve, 2_000);
    given.verdict.fields = Some(r#"{"card":"4711"}"#.to_owned());
    page.decide("a", &given).unwrap();
    let entry = page.find("a").unwrap().unwrap();
    assert_eq!(entry.verdict.unwrap().fields, None);
    let taken = scene.store.take_verdicts("p").unwrap();
    assert_eq!(taken, [("a".to_owned(), given)]);
    // One that does not count is forgotten, and another one may follow.
    scene.store.reopen("a").unwrap();
    let plain = verdict(Choice::Deny, 3_000);
    page.decide("a", &plain).unwrap();
    let taken = scene.store.take_verdicts("p").unwrap();
    assert_eq!(taken, [("a".to_owned(), plain)]);
}

pub(crate) fn another_user_of_the_store_sees_and_decides_an_item_and_the_asker_takes_the_verdict_once(
    new: New,
) {
    let mut scene = Scene::new(new);
    let mut page = scene.other();
    assert!(!is_changed(&mut *page));
    scene.store.ask(&item("a"), "p").unwrap();
    assert!(is_changed(&mut *page));
    assert!(!is_changed(&mut *page));
    let (waiting, count) = page.waiting(10).unwrap();
    assert_eq!((waiting.len(), count), (1, 1));
    assert_eq!(waiting[0].item, item("a"));
    assert_eq!(waiting[0].state, State::Waiting);

    assert!(!is_changed(&mut *scene.store));
    let given = verdict(Choice::Approve, 2_000);
    assert_eq!(page.decide("a", &given).unwrap(), Decided::Recorded);
    assert!(is_changed(&mut *scene.store));
    assert_eq!(scene.store.take_verdicts("other").unwrap(), []);
    let taken = scene.store.take_verdicts("p").unwrap();
    assert_eq!(taken, [("a".to_owned(), given.clone())]);
    assert_eq!(scene.store.take_verdicts("p").unwrap(), []);
    assert_eq!(page.waiting(10).unwrap(), (Vec::new(), 0));
    let entry = page.find("a").unwrap().unwrap();
    assert_eq!(entry.state, State::Decided(Choice::Approve));
    assert_eq!(entry.verdict, Some(given.verdict));
    assert_eq!(entry.closed_ms, Some(2_000));
    assert_eq!(page.history(&Filter::default(), 10).unwrap(), [entry]);
}

pub(crate) fn waiting_for_a_change_ends_with_the_change_or_the_time_limit(new: New) {
    let mut scene = Scene::new(new);
    let mut page = scene.other();
    let hour = Duration::from_secs(3_600);
    // Its own changes do not count.
    scene.store.ask(&item("a"), "p").unwrap();
    let short = Duration::from_millis(20);
    assert!(!scene.store.changed(short, None).unwrap());
    // One change before the wait, and one during it.
    page.park("a", 9_000).unwrap();
    assert!(scene.store.changed(hour, None).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            page.decide("a", &verdict(Choice::Approve, 2_000)).unwrap();
        });
        assert!(scene.store.changed(hour, None).unwrap());
    });
    assert!(!scene.store.changed(Duration::ZERO, None).unwrap());
    let (ours, bell) = UnixStream::pair().unwrap();
    drop(ours);
    assert!(!scene.store.changed(hour, Some(bell.as_fd())).unwrap());
}

pub(crate) fn of_many_verdicts_at_once_exactly_one_counts(new: New) {
    let mut scene = Scene::new(new);
    scene.store.ask(&item("a"), "p").unwrap();
    let results: Vec<Decided> = std::thread::scope(|scope| {
        let deciding: Vec<_> = (0..8)
            .map(|i| {
                let mut store = scene.other();
                let choice = [Choice::Approve, Choice::Deny][i % 2];
                scope.spawn(move || store.decide("a", &verdict(choice, 2_000)).unwrap())
            })
            .collect();
        deciding
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect()
    });
    let recorded = results.iter().filter(|one| **one == Decided::Recorded);
    assert_eq!(recorded.count(), 1);
    let state = scene.state_of("a");
    assert!(matches!(state, State::Decided(_)));
    let late = results
        .iter()
        .filter(|one| **one == Decided::TooLate(state));
    assert_eq!(late.count(), 7);
    assert_eq!(scene.store.take_verdicts("p").unwrap().len(), 1);
}

pub(crate) fn a_verdict_after_the_deadline_is_too_late_and_a_sweep_closes_the_item(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    scene.store.ask(&item("a"), "p").unwrap();
    let expired = Decided::TooLate(State::Closed(Closed::Expired));
    let late = verdict(Choice::Approve, 5_000);
    assert_eq!(scene.store.decide("a", &late).unwrap(), expired);
    scene.store.sweep(4_999).unwrap();
    assert_eq!(scene.state_of("a"), State::Waiting);
    scene.store.sweep(5_000).unwrap();
    let entry = scene.store.find("a").unwrap().unwrap();
    assert_eq!(entry.state, State::Closed(Closed::Expired));
    assert_eq!((entry.closed_ms, entry.verdict), (Some(5_000), None));
    assert_eq!(entry.item.call, REDACTED);
    let early = verdict(Choice::Approve, 4_000);
    assert_eq!(scene.store.decide("a", &early).unwrap(), expired);
    assert_eq!(scene.store.decide("b", &early).unwrap(), Decided::Unknown);
}

pub(crate) fn a_parked_item_waits_past_its_first_deadline_and_its_approval_can_be_taken_later(
    new: New,
) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    for id in ["a", "b"] {
        scene.store.ask(&item(id), "p").unwrap();
        scene.store.park(id, 100_000).unwrap();
    }
    scene.store.sweep(50_000).unwrap();
    let entry = scene.store.find("a").unwrap().unwrap();
    assert_eq!(
        (entry.state, entry.parked_until_ms),
        (State::Parked, Some(100_000))
    );
    assert_eq!(entry.item.call, item("a").call);
    assert_eq!(scene.store.waiting(10).unwrap().1, 2);
    let yes = verdict(Choice::Approve, 60_000);
    assert_eq!(scene.store.decide("a", &yes).unwrap(), Decided::Recorded);
    let late = verdict(Choice::Approve, 100_000);
    let expired = Decided::TooLate(State::Closed(Closed::Expired));
    assert_eq!(scene.store.decide("b", &late).unwrap(), expired);
    // Also much later, because its proxy is alive.
    scene.store.sweep(100 * HISTORY_MS).unwrap();
    assert_eq!(
        scene.store.take_verdicts("p").unwrap(),
        [("a".to_owned(), yes)]
    );
}

pub(crate) fn parking_or_closing_a_decided_item_changes_nothing(new: New) {
    let mut scene = Scene::new(new);
    scene.store.ask(&item("a"), "p").unwrap();
    scene
        .store
        .decide("a", &verdict(Choice::Deny, 2_000))
        .unwrap();
    let before = scene.store.find("a").unwrap();
    scene.store.park("a", 9_000).unwrap();
    scene.store.close("a", Closed::Withdrawn, 3_000).unwrap();
    assert_eq!(scene.store.find("a").unwrap(), before);
    scene.store.park("unknown", 9_000).unwrap();
    scene
        .store
        .close("unknown", Closed::Withdrawn, 3_000)
        .unwrap();
    scene.store.reopen("unknown").unwrap();
}

pub(crate) fn an_item_is_withdrawn_only_while_nobody_has_decided(new: New) {
    let mut scene = Scene::new(new);
    for id in ["a", "b"] {
        scene.store.ask(&item(id), "p").unwrap();
    }
    let given = verdict(Choice::Approve, 2_000);
    scene.store.decide("a", &given).unwrap();
    assert!(!scene.store.withdraw("a", 3_000).unwrap());
    assert_eq!(
        scene.store.take_verdicts("p").unwrap(),
        [("a".to_owned(), given.clone())]
    );
    assert!(scene.store.withdraw("b", 3_000).unwrap());
    let closed = State::Closed(Closed::Withdrawn);
    assert_eq!(
        scene.store.decide("b", &given).unwrap(),
        Decided::TooLate(closed)
    );
    assert!(!scene.store.withdraw("b", 3_000).unwrap());
    assert!(!scene.store.withdraw("unknown", 3_000).unwrap());
}

pub(crate) fn a_verdict_that_did_not_count_leaves_the_item_as_it_was(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    for id in ["a", "parked", "settled"] {
        scene.store.ask(&asked(id, 1_000), "p").unwrap();
    }
    scene.store.park("parked", i64::MAX).unwrap();
    let before = ["a", "parked"].map(|id| scene.store.find(id).unwrap().unwrap());
    for id in ["a", "parked"] {
        scene.store.reopen(id).unwrap();
        scene
            .store
            .decide(id, &verdict(Choice::Approve, 2_000))
            .unwrap();
    }
    assert_eq!(scene.store.take_verdicts("p").unwrap().len(), 2);
    for old in before {
        scene.store.reopen(&old.item.id).unwrap();
        let expected = Entry {
            was_disregarded: true,
            ..old
        };
        assert_eq!(scene.store.find(&expected.item.id).unwrap(), Some(expected));
    }
    let no = verdict(Choice::Deny, 3_000);
    assert_eq!(scene.store.decide("a", &no).unwrap(), Decided::Recorded);
    assert!(!scene.store.find("a").unwrap().unwrap().was_disregarded);
    assert_eq!(
        scene.store.take_verdicts("p").unwrap(),
        [("a".to_owned(), no)]
    );

    // An item without its original call does not wait again.
    scene
        .store
        .decide("settled", &verdict(Choice::Approve, 2_000))
        .unwrap();
    scene.store.take_verdicts("p").unwrap();
    scene.store.sweep(2_000_000).unwrap();
    scene.store.reopen("settled").unwrap();
    assert_eq!(scene.state_of("settled"), State::Closed(Closed::Expired));
}

pub(crate) fn a_long_reason_is_cut_between_characters(new: New) {
    let mut scene = Scene::new(new);
    scene.store.ask(&item("a"), "p").unwrap();
    let mut long = verdict(Choice::Deny, 2_000);
    long.verdict.reason = Some(format!("a{}", "é".repeat(MAX_REASON)));
    scene.store.decide("a", &long).unwrap();
    let kept = scene
        .store
        .find("a")
        .unwrap()
        .unwrap()
        .verdict
        .unwrap()
        .reason
        .unwrap();
    assert_eq!(kept.len(), MAX_REASON - 1);
    assert!(kept.ends_with('é'));
}

pub(crate) fn the_items_of_a_dropped_lease_expire_and_those_of_a_live_one_here_do_not(new: New) {
    let mut scene = Scene::new(new);
    let dead = scene.lease("dead");
    let _alive = scene.lease("alive");
    for (id, proxy) in [
        ("d1", "dead"),
        ("d2", "dead"),
        ("d3", "dead"),
        ("a1", "alive"),
    ] {
        scene.store.ask(&asked(id, 1_000), proxy).unwrap();
    }
    scene.store.park("d2", i64::MAX).unwrap();
    scene
        .store
        .decide("d3", &verdict(Choice::Approve, 2_000))
        .unwrap();
    scene.store.sweep(3_000).unwrap();
    assert_eq!(scene.store.waiting(10).unwrap().1, 3);
    drop(dead);
    let mut others = [scene.other(), scene.other()];
    std::thread::scope(|scope| {
        for other in &mut others {
            scope.spawn(|| other.sweep(4_000).unwrap());
        }
    });
    let waiting = scene.store.waiting(10).unwrap();
    assert_eq!((ids(&waiting.0), waiting.1), (vec!["a1"], 1));
    for id in ["d1", "d2"] {
        let entry = scene.store.find(id).unwrap().unwrap();
        assert_eq!(entry.state, State::Closed(Closed::Expired));
        assert_eq!(entry.item.call, REDACTED);
    }
    // A new proxy with that name must not take the approval of the old one.
    assert_eq!(scene.store.take_verdicts("dead").unwrap(), []);
}

pub(crate) fn maintenance_of_an_idle_store_is_not_reported_as_a_change(new: New) {
    let mut scene = Scene::new(new);
    let mut page = scene.other();
    let _lease = scene.lease("p");
    scene.store.ask(&asked("a", 1_000), "p").unwrap();
    scene.store.sweep(2_000).unwrap();
    assert!(is_changed(&mut *page));
    for now_ms in 3_000..3_005 {
        scene.store.sweep(now_ms).unwrap();
        assert!(!is_changed(&mut *page));
        assert_eq!(page.waiting(10).unwrap().1, 1);
        assert_eq!(scene.store.take_verdicts("p").unwrap(), []);
        scene.store.settle("p").unwrap();
        assert!(!is_changed(&mut *page));
    }
}

pub(crate) fn an_item_with_an_existing_id_is_refused_and_changes_nothing(new: New) {
    let mut scene = Scene::new(new);
    scene.store.ask(&item("a"), "p").unwrap();
    let error = scene.store.ask(&asked("a", 9_000), "p").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unusable);
    assert_eq!(scene.store.find("a").unwrap().unwrap().item, item("a"));
    let error = scene.store.ask(&item("b"), "../p").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unusable);
}
