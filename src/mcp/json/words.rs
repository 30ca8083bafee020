//! Bit tricks on machine words: scans eight bytes at a time for those that need a closer look.

pub(super) const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
pub(super) const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);

/// Sets the high bit of each zero byte. Above the lowest zero byte the result is not reliable.
pub(super) fn zero_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    word.wrapping_sub(ONES) & !word & HIGH
}

/// Sets the high bit of each byte below 0x20. Above the lowest such byte the result is not
/// reliable.
pub(super) fn controls(word: u64) -> u64 {
    const SPACES: u64 = u64::from_le_bytes([0x20; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    word.wrapping_sub(SPACES) & !word & HIGH
}
