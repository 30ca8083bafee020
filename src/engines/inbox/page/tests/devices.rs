//! The paired devices of these tests, in memory.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::engines::inbox::store::{
    Device, Devices, ErrorKind, MAX_DEVICES, MAX_WRONG_CODES, Offer, Paired, StoreError,
};
use crate::sys::state_dir::store_error;

/// Devices that the test can read while the page uses them.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedDevices(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The hash of the code, its end, the wrong ones, and the device that it has paired.
    code: Option<([u8; 32], i64, u32, Option<String>)>,
    /// True if nothing can be written.
    is_full: bool,
    /// Each with its session and its subscription.
    devices: Vec<(Device, [u8; 32], Option<String>)>,
}

impl SharedDevices {
    /// From now on, nothing can be written.
    pub(super) fn fill(&self) {
        self.0.lock().unwrap().is_full = true;
    }

    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> Result<T, StoreError> {
        Ok(work(&mut self.0.lock().unwrap()))
    }
}

impl Devices for SharedDevices {
    fn offer(&mut self, code: &[u8; 32], until_ms: i64) -> Result<(), StoreError> {
        self.with(|known| known.code = Some((*code, until_ms, 0, None)))
    }

    fn offered(&mut self, code: &[u8; 32], now_ms: i64) -> Result<Offer, StoreError> {
        self.with(|known| match &known.code {
            Some((hash, _, _, Some(id))) if hash == code => Offer::Used(id.clone()),
            Some((hash, until_ms, wrong, None)) if hash == code && *until_ms > now_ms => {
                match *wrong < MAX_WRONG_CODES {
                    true => Offer::Open,
                    false => Offer::Void,
                }
            }
            Some(_) | None => Offer::Gone,
        })
    }

    fn pair(
        &mut self,
        code: &[u8; 32],
        device: &Device,
        session: &[u8; 32],
        record: &mut dyn FnMut() -> bool,
    ) -> Result<Paired, StoreError> {
        self.with(|known| {
            let now_ms = device.paired_ms;
            let Some((hash, until_ms, wrong, used)) = &mut known.code else {
                return Paired::NoCode;
            };
            if *until_ms <= now_ms || *wrong >= MAX_WRONG_CODES || used.is_some() {
                return Paired::NoCode;
            }
            if hash != code {
                *wrong += 1;
                return Paired::WrongCode;
            }
            known.devices.retain(|(it, ..)| it.until_ms > now_ms);
            if known.devices.len() >= MAX_DEVICES {
                return Paired::TooMany;
            }
            *used = Some(device.id.clone());
            if !record() {
                return Paired::Unrecorded;
            }
            known.devices.push((device.clone(), *session, None));
            Paired::Done
        })
    }

    fn device(&mut self, session: &[u8; 32], now_ms: i64) -> Result<Option<Device>, StoreError> {
        self.with(|known| {
            let mut devices = known.devices.iter();
            let found = devices.find(|(it, of, _)| of == session && it.until_ms > now_ms);
            found.map(|(device, ..)| device.clone())
        })
    }

    fn used(&mut self, id: &str, now_ms: i64) -> Result<(), StoreError> {
        if self.with(|known| known.is_full)? {
            return Err(store_error(Path::new("inbox.db"), ErrorKind::Full));
        }
        self.with(|known| {
            let devices = known.devices.iter_mut();
            devices
                .filter(|(it, ..)| it.id == id)
                .for_each(|(it, ..)| it.used_ms = now_ms);
        })
    }

    fn devices(&mut self, now_ms: i64) -> Result<Vec<Device>, StoreError> {
        self.with(|known| {
            let mut devices: Vec<Device> = (known.devices.iter())
                .map(|(device, ..)| device.clone())
                .filter(|device| device.until_ms > now_ms)
                .collect();
            devices.sort_by_key(|device| device.paired_ms);
            devices
        })
    }

    fn revoke(&mut self, id: &str) -> Result<bool, StoreError> {
        self.with(|known| {
            let before = known.devices.len();
            known.devices.retain(|(it, ..)| it.id != id);
            known.devices.len() < before
        })
    }

    fn subscribe(&mut self, id: &str, subscription: Option<&str>) -> Result<(), StoreError> {
        self.with(|known| {
            let devices = known.devices.iter_mut();
            devices
                .filter(|(it, ..)| it.id == id)
                .for_each(|(_, _, known)| *known = subscription.map(str::to_owned));
        })
    }

    fn subscriptions(&mut self, now_ms: i64) -> Result<Vec<(String, String)>, StoreError> {
        self.with(|known| {
            let devices = known.devices.iter().filter(|(it, ..)| it.until_ms > now_ms);
            let all = devices.filter_map(|(it, _, json)| Some((it.id.clone(), json.clone()?)));
            all.collect()
        })
    }
}
