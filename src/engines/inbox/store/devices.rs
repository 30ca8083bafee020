//! Devices that are paired with the remote page: phones, and browsers on other machines.

use super::StoreError;

/// How many devices may be paired at once.
pub const MAX_DEVICES: usize = 20;
/// How many wrong codes void a code.
pub const MAX_WRONG_CODES: u32 = 5;
/// How long a device stays paired, in milliseconds: 30 days.
pub const DEVICE_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// A device that is paired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Eight hexadecimal digits.
    pub id: String,
    /// What its user calls it. Do not trust it: any program that can write to the store may have written it.
    pub name: String,
    /// When it was paired.
    pub paired_ms: i64,
    /// When it last asked for a page.
    pub used_ms: i64,
    /// When its session ends.
    pub until_ms: i64,
}

/// What became of an attempt to pair a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paired {
    /// It is paired, and the code is used up.
    Done,
    /// The code is wrong.
    WrongCode,
    /// No code is valid: there is none, or it has expired, was used, or was voided by wrong codes.
    NoCode,
    /// [`MAX_DEVICES`] are paired. The code stays valid.
    TooMany,
    /// It could not be recorded, so it is not paired. The code is used up.
    Unrecorded,
}

/// What became of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// It waits for a device.
    Open,
    /// It has paired the device with this id.
    Used(String),
    /// Wrong codes have voided it.
    Void,
    /// It has expired, or another code has replaced it.
    Gone,
}

/// The devices of this machine's remote page. Keeps only hashes of codes and of sessions.
///
/// When a method returns, its change is durable, and every other user of the same store sees it.
pub trait Devices: Send {
    /// Makes a code valid until `until_ms`. The previous code is no longer valid.
    ///
    /// # Errors
    /// Like every method of this trait: [`StoreError`].
    fn offer(&mut self, code: &[u8; 32], until_ms: i64) -> Result<(), StoreError>;

    /// Returns what became of a code that was offered.
    fn offered(&mut self, code: &[u8; 32], now_ms: i64) -> Result<Offer, StoreError>;

    /// Pairs a device, whose session has this hash, if the code is valid and `record` returns true. A code pairs one of
    /// several callers. [`MAX_WRONG_CODES`] wrong ones void it.
    fn pair(
        &mut self,
        code: &[u8; 32],
        device: &Device,
        session: &[u8; 32],
        record: &mut dyn FnMut() -> bool,
    ) -> Result<Paired, StoreError>;

    /// Returns the device whose session has this hash.
    fn device(&mut self, session: &[u8; 32], now_ms: i64) -> Result<Option<Device>, StoreError>;

    /// Notes that a device has just been used.
    fn used(&mut self, id: &str, now_ms: i64) -> Result<(), StoreError>;

    /// Returns the paired devices, the oldest first.
    fn devices(&mut self, now_ms: i64) -> Result<Vec<Device>, StoreError>;

    /// Ends the pairing with a device, and its subscription. Returns false if no such device is paired.
    fn revoke(&mut self, id: &str) -> Result<bool, StoreError>;

    /// Sets or removes the push subscription of a device, as JSON.
    fn subscribe(&mut self, id: &str, subscription: Option<&str>) -> Result<(), StoreError>;

    /// Returns the push subscriptions of paired devices with their ids. Do not trust them.
    fn subscriptions(&mut self, now_ms: i64) -> Result<Vec<(String, String)>, StoreError>;
}
