//! Parked items that outlive their session: which proxy may resume one, and with which verdict.

use super::{New, REDACTED, Scene, UNTIL, asked, item};
use crate::approval::item::Choice;
use crate::engines::inbox::store::{Closed, Resumed, State};

pub(crate) fn an_item_that_was_left_is_resumed_as_it_was_asked_and_only_with_its_key(new: New) {
    let mut scene = Scene::new(new);
    let _leases = ["p", "q", "r"].map(|proxy| scene.lease(proxy));
    scene.store.ask(&item("a"), "p").unwrap();
    scene.store.park("a", UNTIL).unwrap();
    scene.store.mark("a", "p", "key").unwrap();
    // Its owner is still alive.
    assert_eq!(scene.resume("q", 2_000), None);
    scene.store.leave("a", "p", 2_000).unwrap();
    assert_eq!(scene.state_of("a"), State::Parked);
    assert_eq!(scene.store.resume("other", "q", 3_000).unwrap(), None);
    let resumed = scene.store.resume("key", "q", 3_000).unwrap();
    let expected = Resumed {
        id: "a".to_owned(),
        asked_ms: 1_000,
        expires_ms: Some(5_000),
        parked_until_ms: UNTIL,
        is_decided: false,
    };
    assert_eq!(resumed, Some(expected));
    // From now on it belongs to the new owner, as if that proxy had asked.
    assert_eq!(scene.resume("r", 3_000), None);
    let given = scene.decide("a", Choice::Approve);
    assert_eq!(scene.store.take_verdicts("p").unwrap(), []);
    assert_eq!(
        scene.store.take_verdicts("q").unwrap(),
        [("a".to_owned(), given)]
    );
}

pub(crate) fn only_its_owner_marks_an_item_and_only_while_it_is_parked(new: New) {
    let mut scene = Scene::new(new);
    let _leases = ["p", "q"].map(|proxy| scene.lease(proxy));
    for id in ["waiting", "parked", "closed", "decided", "settled", "early"] {
        scene.store.ask(&asked(id, 1_000), "p").unwrap();
        if !["waiting", "early"].contains(&id) {
            scene.store.park(id, UNTIL).unwrap();
        }
    }
    scene
        .store
        .close("closed", Closed::Withdrawn, 2_000)
        .unwrap();
    for id in ["settled", "early"] {
        scene.decide(id, Choice::Approve);
    }
    scene.store.take_verdicts("p").unwrap();
    scene.store.settle("p").unwrap();
    // A verdict arrived before the mark.
    scene.decide("decided", Choice::Approve);
    for id in ["parked", "decided", "unknown"] {
        assert!(!scene.store.mark(id, "q", "key").unwrap(), "{id}");
    }
    for id in ["waiting", "closed", "settled", "early", "unknown"] {
        assert!(!scene.store.mark(id, "p", "key").unwrap(), "{id}");
    }
    assert!(!scene.may_resume());
    for id in ["parked", "decided"] {
        assert!(scene.store.mark(id, "p", "key").unwrap(), "{id}");
    }
    assert!(scene.may_resume());
}

pub(crate) fn the_items_of_a_dead_proxy_are_resumed_before_a_sweep_and_after_it(new: New) {
    for is_swept in [false, true] {
        let mut scene = Scene::new(new);
        let dead = scene.lease("dead");
        let _lease = scene.lease("q");
        scene.park("open", "dead");
        scene.store.ask(&asked("unmarked", 1_000), "dead").unwrap();
        scene.store.park("unmarked", UNTIL).unwrap();
        scene.store.sweep(2_000).unwrap();
        assert_eq!(scene.resume("q", 2_000), None);
        drop(dead);
        if is_swept {
            scene.store.sweep(3_000).unwrap();
            let expired = State::Closed(Closed::Expired);
            assert_eq!(scene.state_of("unmarked"), expired);
        }
        assert_eq!(scene.state_of("open"), State::Parked);
        assert_eq!(
            scene.store.find("open").unwrap().unwrap().item,
            asked("open", 1_000)
        );
        assert_eq!(scene.resume("q", 4_000).as_deref(), Some("open"));
        // The sweep leaves the item to its new owner.
        scene.store.sweep(5_000).unwrap();
        let given = scene.decide("open", Choice::Deny);
        let taken = scene.store.take_verdicts("q").unwrap();
        assert_eq!(taken, [("open".to_owned(), given)]);
    }
}

pub(crate) fn a_verdict_reaches_the_next_owner_whenever_it_was_given(new: New) {
    for is_swept in [false, true] {
        for when in ["before", "taken", "after"] {
            let mut scene = Scene::new(new);
            let dead = scene.lease("dead");
            let _lease = scene.lease("q");
            scene.park("a", "dead");
            let mut given = None;
            if when != "after" {
                given = Some(scene.decide("a", Choice::Approve));
            }
            if when == "taken" {
                assert_eq!(scene.store.take_verdicts("dead").unwrap().len(), 1);
                // The verdict counts, but no call has taken it up.
                scene.store.settle("dead").unwrap();
            }
            drop(dead);
            if is_swept {
                scene.store.sweep(3_000).unwrap();
            }
            let given = given.unwrap_or_else(|| scene.decide("a", Choice::Approve));
            assert_eq!(scene.resume("q", 4_000).as_deref(), Some("a"), "{when}");
            let taken = [("a".to_owned(), given)];
            assert_eq!(scene.store.take_verdicts("q").unwrap(), taken, "{when}");
            assert_eq!(scene.store.take_verdicts("q").unwrap(), []);
            assert!(scene.store.take_up("a", "q").unwrap());
        }
    }
}

pub(crate) fn of_many_proxies_that_resume_at_once_one_gets_the_item(new: New) {
    for is_dead in [false, true] {
        for round in 0..8 {
            let mut scene = Scene::new(new);
            let lease = scene.lease("p");
            scene.park("a", "p");
            if round % 2 == 0 {
                scene.decide("a", Choice::Approve);
            }
            match is_dead {
                true => drop(lease),
                false => scene.store.leave("a", "p", 2_000).unwrap(),
            }
            let names = ["q0", "q1", "q2", "q3"];
            let leases = names.map(|name| scene.lease(name));
            let got: Vec<&str> = std::thread::scope(|scope| {
                let asking = names.map(|name| {
                    let mut store = scene.other();
                    scope.spawn(move || (store.resume("key", name, 3_000).unwrap(), name))
                });
                let answers = asking.into_iter().map(|one| one.join().unwrap());
                let some = answers.filter(|(resumed, _)| resumed.is_some());
                some.map(|(_, name)| name).collect()
            });
            assert_eq!(got.len(), 1, "{got:?}");
            let can_take_up = names.map(|name| scene.store.take_up("a", name).unwrap());
            assert_eq!(can_take_up, names.map(|name| name == got[0]));
            drop(leases);
        }
    }
}

pub(crate) fn nobody_resumes_an_item_that_was_taken_up_even_if_its_owner_dies(new: New) {
    let mut scene = Scene::new(new);
    let lease = scene.lease("p");
    let _other = scene.lease("q");
    for id in ["open", "decided"] {
        scene.park(id, "p");
    }
    scene.decide("decided", Choice::Approve);
    for id in ["open", "decided"] {
        assert!(!scene.store.take_up(id, "q").unwrap());
        assert!(scene.store.take_up(id, "p").unwrap());
        assert!(!scene.store.take_up(id, "p").unwrap());
    }
    assert!(!scene.store.take_up("unknown", "p").unwrap());
    // Its call keeps waiting, and may be parked again.
    assert_eq!(scene.state_of("open"), State::Parked);
    drop(lease);
    assert_eq!(scene.resume("q", 3_000), None);
    scene.store.sweep(3_000).unwrap();
    assert_eq!(scene.resume("q", 4_000), None);
    assert_eq!(scene.state_of("open"), State::Closed(Closed::Expired));
    assert_eq!(
        scene.store.find("decided").unwrap().unwrap().item.call,
        REDACTED
    );
}

pub(crate) fn a_proxy_that_dies_before_taking_up_an_item_leaves_it_to_the_next(new: New) {
    let mut scene = Scene::new(new);
    let first = scene.lease("p");
    scene.park("a", "p");
    let given = scene.decide("a", Choice::Approve);
    drop(first);
    let second = scene.lease("q");
    assert_eq!(scene.resume("q", 3_000).as_deref(), Some("a"));
    assert_eq!(scene.store.take_verdicts("q").unwrap().len(), 1);
    drop(second);
    let _third = scene.lease("r");
    assert_eq!(scene.resume("r", 4_000).as_deref(), Some("a"));
    assert!(!scene.store.take_up("a", "q").unwrap());
    let taken = scene.store.take_verdicts("r").unwrap();
    assert_eq!(taken, [("a".to_owned(), given)]);
    assert!(scene.store.take_up("a", "r").unwrap());
}

pub(crate) fn leaving_an_unmarked_item_withdraws_it_and_leaving_another_proxys_item_does_nothing(
    new: New,
) {
    let mut scene = Scene::new(new);
    let _leases = ["p", "q"].map(|proxy| scene.lease(proxy));
    for id in ["waiting", "parked", "decided", "others"] {
        scene.store.ask(&asked(id, 1_000), "p").unwrap();
    }
    scene.store.park("parked", UNTIL).unwrap();
    scene.decide("decided", Choice::Approve);
    scene.store.leave("others", "q", 2_000).unwrap();
    scene.store.leave("unknown", "p", 2_000).unwrap();
    assert_eq!(scene.state_of("others"), State::Waiting);
    for id in ["waiting", "parked", "decided"] {
        scene.store.leave(id, "p", 2_000).unwrap();
        assert_eq!(scene.store.find(id).unwrap().unwrap().item.call, REDACTED);
    }
    let withdrawn = State::Closed(Closed::Withdrawn);
    assert_eq!(scene.state_of("waiting"), withdrawn);
    assert_eq!(scene.state_of("parked"), withdrawn);
    // Its verdict is discarded.
    assert_eq!(scene.store.take_verdicts("p").unwrap(), []);

    // A previous owner cannot withdraw an item.
    scene.park("a", "p");
    scene.store.leave("a", "p", 2_000).unwrap();
    assert_eq!(scene.resume("q", 3_000).as_deref(), Some("a"));
    scene.store.take_up("a", "q").unwrap();
    scene.store.leave("a", "p", 4_000).unwrap();
    assert_eq!(scene.state_of("a"), State::Parked);
}

pub(crate) fn the_verdict_of_a_marked_item_is_not_settled_by_time_alone(new: New) {
    let mut scene = Scene::new(new);
    let lease = scene.lease("p");
    scene.store.ask(&asked("a", 1_000), "p").unwrap();
    scene.store.park("a", i64::MAX).unwrap();
    scene.store.mark("a", "p", "key").unwrap();
    let given = scene.decide("a", Choice::Approve);
    scene.store.take_verdicts("p").unwrap();
    scene.store.settle("p").unwrap();
    // While no page is served, asking does the maintenance.
    let hours_later = 24 * 3_600_000;
    scene.store.ask(&asked("b", hours_later), "p").unwrap();
    scene.store.sweep(hours_later).unwrap();
    drop(lease);
    let _other = scene.lease("q");
    assert_eq!(scene.resume("q", hours_later).as_deref(), Some("a"));
    let taken = scene.store.take_verdicts("q").unwrap();
    assert_eq!(taken, [("a".to_owned(), given)]);
}

pub(crate) fn resuming_prefers_decided_items_and_then_newer_ones(new: New) {
    let mut scene = Scene::new(new);
    let lease = scene.lease("p");
    for (id, asked_ms) in [("d1", 10), ("d2", 20), ("o1", 30), ("o2", 40)] {
        scene.store.ask(&asked(id, asked_ms), "p").unwrap();
        scene.store.park(id, UNTIL).unwrap();
        scene.store.mark(id, "p", "key").unwrap();
    }
    scene.decide("d1", Choice::Deny);
    scene.decide("d2", Choice::Approve);
    drop(lease);
    let _other = scene.lease("q");
    let got = [(); 5].map(|()| scene.resume("q", 3_000));
    let got = got.map(|id| id.unwrap_or_default());
    assert_eq!(got, ["d2", "d1", "o2", "o1", ""]);
}

pub(crate) fn an_item_without_an_owner_can_be_decided_and_resumed_after_a_verdict_that_did_not_count(
    new: New,
) {
    let mut scene = Scene::new(new);
    let lease = scene.lease("p");
    scene.park("a", "p");
    scene.decide("a", Choice::Approve);
    scene.store.take_verdicts("p").unwrap();
    scene.store.reopen("a").unwrap();
    drop(lease);
    scene.store.sweep(3_000).unwrap();
    let entry = scene.store.find("a").unwrap().unwrap();
    assert_eq!((entry.state, entry.was_disregarded), (State::Parked, true));
    // The same without an owner.
    scene.decide("a", Choice::Approve);
    scene.store.reopen("a").unwrap();
    assert_eq!(scene.state_of("a"), State::Parked);
    let given = scene.decide("a", Choice::Deny);
    let _other = scene.lease("q");
    assert_eq!(scene.resume("q", 4_000).as_deref(), Some("a"));
    let taken = scene.store.take_verdicts("q").unwrap();
    assert_eq!(taken, [("a".to_owned(), given)]);
}

pub(crate) fn a_closed_item_is_not_resumed(new: New) {
    let mut scene = Scene::new(new);
    let _leases = ["p", "q"].map(|proxy| scene.lease(proxy));
    for id in ["open", "decided", "parted"] {
        scene.park(id, "p");
    }
    scene.decide("decided", Choice::Approve);
    scene.store.leave("parted", "p", 2_000).unwrap();
    for id in ["open", "decided", "parted"] {
        scene.store.close(id, Closed::Withdrawn, 3_000).unwrap();
        assert!(!scene.store.take_up(id, "p").unwrap());
    }
    assert_eq!(scene.resume("q", 4_000), None);
    scene.store.sweep(4_000).unwrap();
    assert!(!scene.may_resume());
}

pub(crate) fn no_mark_is_lost_to_sweeps_at_the_same_time(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    for i in 0..40 {
        let id = i.to_string();
        scene.store.ask(&asked(&id, 1_000), "p").unwrap();
        scene.store.park(&id, UNTIL).unwrap();
    }
    let mut sweeping = scene.other();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..100).for_each(|_| sweeping.sweep(2_000).unwrap()));
        for i in 0..40 {
            let id = i.to_string();
            assert!(scene.store.mark(&id, "p", "key").unwrap());
            assert!(scene.may_resume());
            assert!(scene.store.take_up(&id, "p").unwrap());
        }
    });
}
