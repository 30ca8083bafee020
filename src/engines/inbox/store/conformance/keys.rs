//! The keys of engines' messages.

use super::{New, Scene, item, verdict};
use crate::approval::item::Choice;
use crate::engines::inbox::store::{HISTORY_MS, MAX_KEYS, Remembered};

fn of(item: &str) -> Remembered {
    Remembered {
        item: item.to_owned(),
        engine: "team".to_owned(),
    }
}

pub(crate) fn a_key_stands_for_its_item_as_long_as_the_row_exists(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    for id in ["a", "b"] {
        scene.store.ask(&item(id), "p").unwrap();
    }
    scene.store.remember("k", &of("a")).unwrap();
    assert_eq!(scene.other().recall("k").unwrap(), Some(of("a")));
    assert_eq!(scene.store.recall("K").unwrap(), None);
    // A key keeps its first meaning.
    scene.other().remember("k", &of("b")).unwrap();
    assert_eq!(scene.store.recall("k").unwrap(), Some(of("a")));

    scene
        .store
        .decide("a", &verdict(Choice::Deny, 2_000))
        .unwrap();
    assert_eq!(scene.store.recall("k").unwrap(), Some(of("a")));
    scene.store.take_verdicts("p").unwrap();
    scene.store.settle("p").unwrap();
    scene.store.sweep(2_001 + HISTORY_MS).unwrap();
    assert_eq!(scene.store.find("a").unwrap(), None);
    assert_eq!(scene.store.recall("k").unwrap(), None);
}

pub(crate) fn an_unknown_item_has_no_keys_and_a_known_one_only_so_many(new: New) {
    let mut scene = Scene::new(new);
    let _lease = scene.lease("p");
    scene.store.remember("k", &of("nothing")).unwrap();
    assert_eq!(scene.store.recall("k").unwrap(), None);
    scene.store.ask(&item("a"), "p").unwrap();
    for n in 0..=MAX_KEYS {
        scene.store.remember(&format!("k{n}"), &of("a")).unwrap();
    }
    let last = format!("k{}", MAX_KEYS - 1);
    assert_eq!(scene.store.recall(&last).unwrap(), Some(of("a")));
    let beyond = format!("k{MAX_KEYS}");
    assert_eq!(scene.store.recall(&beyond).unwrap(), None);
}
