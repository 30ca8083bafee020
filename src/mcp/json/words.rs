//! Eight bytes at a time: which of them need a closer look.

pub(super) const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
pub(super) const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);

/// The high bit of each byte that is zero; of those above the lowest zero byte, not reliably.
pub(super) fn zero_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    word.wrapping_sub(ONES) & !word & HIGH
}

/// The high bit of each byte below 0x20; of those above the lowest such byte, not reliably.
pub(super) fn controls(word: u64) -> u64 {
    const SPACES: u64 = u64::from_le_bytes([0x20; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    word.wrapping_sub(SPACES) & !word & HIGH
}
