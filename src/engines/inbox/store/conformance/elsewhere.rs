//! Decisions made through other engines, which the store keeps for the history.

use super::{New, REDACTED, Scene, elsewhere, ids, item, verdict};
use crate::approval::item::{Assurance, Choice};
use crate::engines::inbox::store::{Closed, Decided, Filter, State};

pub(crate) fn a_decision_made_elsewhere_is_history_without_secrets_and_never_waits(new: New) {
    let mut scene = Scene::new(new);
    let decided = [elsewhere("a", 2_000), elsewhere("b", 2_001)];
    scene.store.record(&decided).unwrap();
    assert_eq!(scene.store.waiting(10).unwrap(), (Vec::new(), 0));
    let kept = scene.store.history(&Filter::default(), 10).unwrap();
    assert_eq!(ids(&kept), ["b", "a"]);
    for entry in &kept {
        assert_eq!(entry.state, State::Decided(Choice::Approve));
        assert_eq!(entry.engine.as_deref(), Some("elicitation"));
        assert_eq!(entry.item.call, REDACTED);
        let verdict = entry.verdict.as_ref().unwrap();
        assert_eq!(verdict.assurance, Assurance::CallerRelayed);
    }
    // No proxy takes it as a verdict, and nobody can decide it any more.
    assert_eq!(scene.store.take_verdicts("").unwrap(), []);
    let again = scene.store.decide("a", &verdict(Choice::Deny, 3_000));
    let standing = State::Decided(Choice::Approve);
    assert_eq!(again.unwrap(), Decided::TooLate(standing));
}

pub(crate) fn a_recorded_decision_cannot_replace_an_item(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    scene.store.ask(&item("a"), "p").unwrap();
    scene.store.record(&[elsewhere("a", 2_000)]).unwrap();
    assert_eq!(scene.state_of("a"), State::Waiting);
    assert_eq!(scene.store.find("a").unwrap().unwrap().item, item("a"));
}

pub(crate) fn a_decision_made_elsewhere_updates_its_withdrawn_item(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    scene.store.ask(&item("a"), "p").unwrap();
    scene.store.close("a", Closed::Withdrawn, 1_500).unwrap();
    scene.store.record(&[elsewhere("a", 2_000)]).unwrap();
    let history = scene.store.history(&Filter::default(), 10).unwrap();
    let [entry] = &history[..] else {
        panic!("{history:?}");
    };
    assert_eq!(entry.state, State::Decided(Choice::Approve));
    assert_eq!(entry.engine.as_deref(), Some("elicitation"));
    assert_eq!(entry.closed_ms, Some(2_000));
    // No proxy takes it as a verdict.
    assert_eq!(scene.store.take_verdicts("p").unwrap(), []);
    // An expired or decided item stays unchanged.
    scene.store.ask(&item("b"), "p").unwrap();
    scene.store.close("b", Closed::Expired, 1_500).unwrap();
    scene.store.record(&[elsewhere("b", 2_000)]).unwrap();
    assert_eq!(scene.state_of("b"), State::Closed(Closed::Expired));
}
