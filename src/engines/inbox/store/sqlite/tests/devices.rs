//! Devices that another program has written into the database.

use super::*;
use crate::engines::inbox::store::{Device, Devices as _};

#[test]
fn a_device_with_an_id_that_is_none_of_ours_does_not_exist() {
    let scene = Scene::new();
    let mut devices = SqliteLogins::new(&scene.state);
    for (number, id) in [
        (1, "3f2a91c0"),
        (2, "\u{1b}[2J\u{1b}[H0"),
        (3, "3F2A91C1"),
        (4, ""),
    ] {
        let hash = [number; 32];
        devices.offer(&hash, i64::MAX).unwrap();
        let device = Device {
            id: id.to_owned(),
            name: "phone".to_owned(),
            paired_ms: 1,
            used_ms: 1,
            until_ms: i64::MAX,
        };
        devices.pair(&hash, &device, &hash, &mut || true).unwrap();
    }
    let listed = devices.devices(1).unwrap();
    let ids: Vec<&str> = listed.iter().map(|device| &*device.id).collect();
    assert_eq!(ids, ["3f2a91c0"]);
    for (number, exists) in [(1, true), (2, false), (3, false), (4, false)] {
        let found = devices.device(&[number; 32], 1).unwrap();
        assert_eq!(found.is_some(), exists, "a session of device {number}");
    }
}
