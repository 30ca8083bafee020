//! Approvals that agents asked for.

use super::{New, Scene};
use crate::engines::inbox::store::{Added, KEPT_MS, MAX_PENDING, StoredApproval};

fn approval(id: &str, key: Option<&str>) -> StoredApproval {
    StoredApproval {
        id: id.to_owned(),
        owner: "ann".to_owned(),
        idempotency_key: key.map(str::to_owned),
        body: "{}".to_owned(),
        asked_ms: 10,
        expires_ms: 1_000,
        outcome: None,
    }
}

pub(crate) fn an_approval_is_its_agents_alone_and_ends_once(new: New) {
    let scene = Scene::new(new);
    let (mut store, mut other) = (scene.approvals(), scene.approvals());
    assert_eq!(store.add(&approval("a", None)).unwrap(), Added::New);
    assert_eq!(other.find("a", "ann").unwrap(), Some(approval("a", None)));
    assert_eq!(other.find("a", "bob").unwrap(), None);
    assert_eq!(other.find("b", "ann").unwrap(), None);
    assert_eq!(store.pending("ann").unwrap(), [approval("a", None)]);
    assert_eq!(store.pending("bob").unwrap(), []);
    assert_eq!(store.owners_of_pending("an").unwrap(), ["ann"]);
    assert_eq!(store.owners_of_pending("a%").unwrap(), [""; 0]);
    assert!(store.end("a", "1").unwrap());
    assert_eq!(store.owners_of_pending("").unwrap(), [""; 0]);
    assert!(!other.end("a", "2").unwrap());
    let ended = other.find("a", "ann").unwrap().unwrap();
    assert_eq!(ended.outcome.as_deref(), Some("1"));
    assert_eq!(store.pending("ann").unwrap(), []);
    store.forget_old(1_000 + KEPT_MS - 1).unwrap();
    assert!(store.find("a", "ann").unwrap().is_some());
    store.forget_old(1_000 + KEPT_MS).unwrap();
    assert_eq!(store.find("a", "ann").unwrap(), None);
}

pub(crate) fn a_key_stands_for_one_approval_of_its_agent(new: New) {
    let scene = Scene::new(new);
    let mut store = scene.approvals();
    assert_eq!(store.add(&approval("a", Some("k"))).unwrap(), Added::New);
    let again = StoredApproval {
        body: "[]".to_owned(),
        ..approval("b", Some("k"))
    };
    let known = Added::Known(approval("a", Some("k")));
    assert_eq!(store.add(&again).unwrap(), known);
    let other = StoredApproval {
        owner: "bob".to_owned(),
        ..again
    };
    assert_eq!(store.add(&other).unwrap(), Added::New);
    assert_eq!(store.add(&approval("c", None)).unwrap(), Added::New);
    assert_eq!(store.add(&approval("d", None)).unwrap(), Added::New);
}

pub(crate) fn an_agent_has_only_so_many_pending_approvals(new: New) {
    let scene = Scene::new(new);
    let mut store = scene.approvals();
    for number in 0..MAX_PENDING {
        let added = store.add(&approval(&number.to_string(), None)).unwrap();
        assert_eq!(added, Added::New);
    }
    assert_eq!(store.add(&approval("more", None)).unwrap(), Added::TooMany);
    let other = StoredApproval {
        owner: "bob".to_owned(),
        ..approval("other", None)
    };
    assert_eq!(store.add(&other).unwrap(), Added::New);
    assert!(store.end("0", "1").unwrap());
    assert_eq!(store.add(&approval("more", None)).unwrap(), Added::New);
    // Those that have expired do not count.
    let later = StoredApproval {
        asked_ms: 1_000,
        expires_ms: 2_000,
        ..approval("later", None)
    };
    assert_eq!(store.add(&later).unwrap(), Added::New);
}
