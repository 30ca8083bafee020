//! A size in bytes, for `--max-message-size`.

use super::error::Fault;
use super::value::{Form, Value, wrong_text};

/// A number of bytes from 64 KiB to 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(usize);

impl ByteSize {
    /// Returns the number of bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.0
    }
}

impl Value for ByteSize {
    const FORM: Form = Form::Number;

    fn expected() -> String {
        "a size from 64KiB to 4GiB, in bytes or with KiB, MiB or GiB".to_owned()
    }

    /// Reads a whole number of bytes, KiB, MiB or GiB (short: `k`, `M`, `G`). The unit's case does not
    /// matter. `KB` and `MB` are refused because they are ambiguous.
    ///
    /// # Errors
    /// Any other text, or a size out of bounds.
    fn from_text(text: &str) -> Result<ByteSize, Fault> {
        read(text.trim()).ok_or_else(|| wrong_text::<ByteSize>(text))
    }
}

fn read(text: &str) -> Option<ByteSize> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    if !(LEAST..=MOST).contains(&bytes) {
        return None;
    }
    usize::try_from(bytes).ok().map(ByteSize)
}

const LEAST: u64 = 64 << 10;
const MOST: u64 = 4 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_carry_a_binary_unit() {
        let cases = [
            ("65536", 65_536),
            ("65536b", 65_536),
            ("64KiB", 65_536),
            ("64k", 65_536),
            (" 64 mib ", 67_108_864),
            ("1M", 1_048_576),
            ("4GiB", 4_294_967_296),
            ("1g", 1_073_741_824),
        ];
        for (text, bytes) in cases {
            assert_eq!(ByteSize::from_text(text).unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn sizes_out_of_bounds_or_of_another_form_are_refused() {
        let cases = [
            "65535",
            "63KiB",
            "0",
            "4294967297",
            "5GiB",
            "1MB",
            "64KB",
            "1.5MiB",
            "-1",
            "+65536k",
            "",
            "MiB",
            "64 Ki B",
            "99999999999999999999",
            "18446744073709551615GiB",
            "1TiB",
            "٦٤MiB",
        ];
        for text in cases {
            let error = ByteSize::from_text(text).unwrap_err().to_string();
            let expected = "expected a size from 64KiB to 4GiB, in bytes or with KiB, MiB or GiB";
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
