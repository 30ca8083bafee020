//! Devices that are paired with the page.

use super::{New, Scene};
use crate::engines::inbox::store::{
    DEVICE_MS, Device, Devices, MAX_DEVICES, MAX_WRONG_CODES, Offer, Paired,
};

const CODE: [u8; 32] = [1; 32];
const WRONG: [u8; 32] = [2; 32];

fn device(number: u8, now_ms: i64) -> Device {
    Device {
        id: format!("{number:08x}"),
        name: format!("Phone {number}"),
        paired_ms: now_ms,
        used_ms: now_ms,
        until_ms: now_ms + DEVICE_MS,
    }
}

fn pair(store: &mut dyn Devices, code: &[u8; 32], number: u8, now_ms: i64) -> Paired {
    store
        .pair(code, &device(number, now_ms), &[number; 32], &mut || true)
        .unwrap()
}

pub(crate) fn a_code_pairs_one_device_once_and_until_it_expires(new: New) {
    let scene = Scene::new(new);
    let mut store = scene.devices();
    assert_eq!(pair(&mut *store, &CODE, 1, 0), Paired::NoCode);
    store.offer(&CODE, 1_000).unwrap();
    assert_eq!(store.offered(&CODE, 999).unwrap(), Offer::Open);
    assert_eq!(store.offered(&CODE, 1_000).unwrap(), Offer::Gone);
    assert_eq!(store.offered(&WRONG, 0).unwrap(), Offer::Gone);
    assert_eq!(pair(&mut *store, &CODE, 1, 1_000), Paired::NoCode);
    let paired = std::thread::scope(|scope| {
        let all: Vec<_> = (1..=8)
            .map(|number| {
                let mut store = scene.devices();
                scope.spawn(move || pair(&mut *store, &CODE, number, 999))
            })
            .collect();
        let all = all.into_iter().map(|one| one.join().unwrap());
        all.filter(|paired| *paired == Paired::Done).count()
    });
    assert_eq!(paired, 1);
    let devices = store.devices(999).unwrap();
    assert_eq!(devices.len(), 1);
    // Whoever waits for the code learns it even after the code's time.
    let used = store.offered(&CODE, 2_000).unwrap();
    assert_eq!(used, Offer::Used(devices[0].id.clone()));
}

pub(crate) fn a_device_that_cannot_be_recorded_is_not_paired(new: New) {
    let scene = Scene::new(new);
    let mut store = scene.devices();
    store.offer(&CODE, 1_000).unwrap();
    let refused = store.pair(&CODE, &device(1, 0), &[1; 32], &mut || false);
    assert_eq!(refused.unwrap(), Paired::Unrecorded);
    assert_eq!(store.devices(0).unwrap(), []);
    let used = store.offered(&CODE, 0).unwrap();
    assert_eq!(used, Offer::Used(device(1, 0).id));
    assert_eq!(pair(&mut *store, &CODE, 2, 0), Paired::NoCode);
}

pub(crate) fn five_wrong_codes_void_a_code_and_the_next_one_is_valid(new: New) {
    let scene = Scene::new(new);
    let mut store = scene.devices();
    store.offer(&CODE, 1_000).unwrap();
    for _ in 0..MAX_WRONG_CODES {
        assert_eq!(store.offered(&CODE, 0).unwrap(), Offer::Open);
        assert_eq!(pair(&mut *store, &WRONG, 1, 0), Paired::WrongCode);
    }
    assert_eq!(store.offered(&CODE, 0).unwrap(), Offer::Void);
    assert_eq!(pair(&mut *store, &CODE, 1, 0), Paired::NoCode);
    let next = [3; 32];
    store.offer(&next, 1_000).unwrap();
    assert_eq!(store.offered(&CODE, 0).unwrap(), Offer::Gone);
    assert_eq!(pair(&mut *store, &next, 1, 0), Paired::Done);
}

pub(crate) fn a_device_is_known_by_its_session_until_it_is_revoked_or_expires(new: New) {
    let scene = Scene::new(new);
    let (mut store, mut page) = (scene.devices(), scene.devices());
    store.offer(&CODE, 1_000).unwrap();
    assert_eq!(pair(&mut *page, &CODE, 7, 10), Paired::Done);
    let paired = device(7, 10);
    assert_eq!(page.device(&[7; 32], 10).unwrap(), Some(paired.clone()));
    assert_eq!(page.device(&[8; 32], 10).unwrap(), None);
    assert_eq!(page.device(&[7; 32], paired.until_ms).unwrap(), None);
    page.used(&paired.id, 50).unwrap();
    assert_eq!(store.devices(50).unwrap()[0].used_ms, 50);
    assert_eq!(store.devices(paired.until_ms).unwrap(), []);
    assert!(!store.revoke("00000008").unwrap());
    assert!(store.revoke(&paired.id).unwrap());
    assert!(!store.revoke(&paired.id).unwrap());
    assert_eq!(page.device(&[7; 32], 10).unwrap(), None);
}

pub(crate) fn only_so_many_devices_are_paired_and_a_revoked_or_expired_one_makes_room(new: New) {
    let scene = Scene::new(new);
    let mut store = scene.devices();
    let most = u8::try_from(MAX_DEVICES).unwrap();
    for number in 0..most {
        store.offer(&CODE, i64::MAX).unwrap();
        assert_eq!(
            pair(&mut *store, &CODE, number, number.into()),
            Paired::Done
        );
    }
    store.offer(&CODE, i64::MAX).unwrap();
    assert_eq!(pair(&mut *store, &CODE, most, 100), Paired::TooMany);
    assert_eq!(store.offered(&CODE, 100).unwrap(), Offer::Open);
    assert!(store.revoke(&device(3, 0).id).unwrap());
    assert_eq!(pair(&mut *store, &CODE, most, 100), Paired::Done);
    store.offer(&CODE, i64::MAX).unwrap();
    assert_eq!(pair(&mut *store, &CODE, 77, DEVICE_MS), Paired::Done);
    assert_eq!(store.devices(DEVICE_MS).unwrap().len(), MAX_DEVICES);
}

pub(crate) fn a_subscription_ends_with_its_device(new: New) {
    let scene = Scene::new(new);
    let mut store = scene.devices();
    for number in [1, 2] {
        store.offer(&CODE, 1_000).unwrap();
        assert_eq!(pair(&mut *store, &CODE, number, 0), Paired::Done);
    }
    let (one, two) = (device(1, 0).id, device(2, 0).id);
    store.subscribe(&one, Some("{}")).unwrap();
    store.subscribe(&two, Some("[]")).unwrap();
    let both = [
        (one.clone(), "{}".to_owned()),
        (two.clone(), "[]".to_owned()),
    ];
    assert_eq!(store.subscriptions(0).unwrap(), both);
    assert_eq!(store.subscriptions(DEVICE_MS).unwrap(), []);
    store.subscribe(&two, None).unwrap();
    store.revoke(&one).unwrap();
    assert_eq!(store.subscriptions(0).unwrap(), []);
    store.subscribe(&one, Some("{}")).unwrap();
    assert_eq!(store.subscriptions(0).unwrap(), []);
}
