//! The ways in which careless clients read a request's id, to find two ids that one of them could
//! confuse.
//!
//! The gate decides what to do about such ids.

use super::message::{MAX_ID, RequestId};

/// One way to read an id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reading {
    /// A whole number, modulo 2^32. Readers cut off fractions, round to doubles, and wrap at 32 or
    /// 64 bits; equal numbers are still equal after that.
    Number(u32),
    /// A number that some reader fails to parse. Many then use 0.
    Failed,
    /// A text, without what readers trim, skip or fold.
    Text(Box<str>),
    /// Could be anything: the id is too long or too unusual to tell.
    Anything,
}

impl Reading {
    /// Returns true if one of the readings for which `known` holds is equivalent to this one. Call
    /// it only if there are any.
    pub fn is_among(&self, known: impl Fn(&Reading) -> bool) -> bool {
        match self {
            Reading::Anything => true,
            // Two ids that both fail are not confused: a client can parse its own ids.
            Reading::Failed => known(&Reading::Number(0)),
            Reading::Number(0) => known(self) || known(&Reading::Failed),
            Reading::Number(_) | Reading::Text(_) => known(self),
        }
    }
}

impl RequestId {
    /// Returns every way in which some reader reads this id.
    #[must_use]
    pub fn readings(&self) -> Vec<Reading> {
        let mut found = Vec::new();
        match self {
            RequestId::Integer(value) => {
                let value = *value;
                found.push(Reading::Number(wrapped(value)));
                // Beyond 2^53 a double is another number.
                add_double(value as f64, &mut found);
            }
            RequestId::Number(token) => {
                add_numbers(&token.to_ascii_lowercase(), &mut found);
                found.push(Reading::Failed);
            }
            RequestId::Text(text) => add_text(text, &mut found),
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns true if some reader could confuse the two ids, or if that is in doubt.
    #[must_use]
    pub fn may_be_confused_with(&self, other: &RequestId) -> bool {
        let (own, others) = (self.readings(), other.readings());
        let mut own = own.iter();
        others.contains(&Reading::Anything)
            || own.any(|reading| reading.is_among(|known| others.contains(known)))
    }
}

fn add_text(text: &str, found: &mut Vec<Reading>) {
    // Beyond ASCII, readers differ in digits, case, width, white space and normal forms, and hardly
    // any client uses such ids. No pending request of a client has so long an id either.
    if !text.is_ascii() || text.len() > MAX_ID {
        return found.push(Reading::Anything);
    }
    let lower = text.to_ascii_lowercase();
    let is_drawn = |c: &char| c.is_ascii_graphic();
    let squeezed: String = lower.chars().filter(is_drawn).collect();
    // C ends a text at a NUL; others skip it.
    let cut = lower.split('\0').next().unwrap_or_default();
    let cut: String = cut.chars().filter(is_drawn).collect();
    for text in [&squeezed, &cut] {
        // UUID parsers accept hyphens, braces and a prefix.
        let bare: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        let bare = bare.strip_prefix("urnuuid").unwrap_or(&bare);
        found.push(Reading::Text(text.as_str().into()));
        if !bare.is_empty() {
            found.push(Reading::Text(bare.into()));
        }
    }
    add_numbers(&lower, found);
    let without_separators: String = squeezed
        .chars()
        .filter(|c| !matches!(c, '_' | ',' | '\''))
        .collect();
    add_numbers(&without_separators, found);
    if squeezed.is_empty() {
        // JavaScript reads an empty text as 0.
        found.push(Reading::Number(0));
    }
    if matches!(&*squeezed, "true" | "t" | "yes" | "y" | "on") {
        // True is -1 in Visual Basic.
        found.extend([Reading::Number(1), Reading::Number(u32::MAX)]);
    }
    let value: Option<i64> = text.parse().ok();
    if value.is_none_or(|value| value.to_string() != text) {
        found.push(Reading::Failed);
    }
}

/// Adds every number that a lower-case text starts with.
fn add_numbers(text: &str, found: &mut Vec<Reading>) {
    let is_skipped =
        |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.' | '#' | '$' | '&');
    // Some read `5-` and `(5)` as -5.
    let is_odd = text.contains(['-', '(']);
    let text = text.trim_start_matches(is_skipped);
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut read = Vec::new();
    add_unsigned(digits, &mut read);
    for reading in read {
        if let Reading::Number(number) = reading
            && (is_negative || is_odd)
        {
            found.push(Reading::Number(number.wrapping_neg()));
        }
        if !is_negative || reading == Reading::Anything {
            found.push(reading);
        }
    }
}

fn add_unsigned(text: &str, found: &mut Vec<Reading>) {
    for (prefix, radix) in RADIXES {
        if let Some(digits) = text.strip_prefix(prefix) {
            add_digits(digits, radix, found);
        }
    }
    if text.starts_with('0') {
        add_digits(text, 8, found);
    }
    add_hex_float(text, found);
    add_decimal(text.trim_start_matches(['#', '$', '&']), found);
    if text.starts_with("inf") {
        add_double(f64::INFINITY, found);
    }
}

/// Prefixes of numbers in other bases, and of explicit decimals.
const RADIXES: [(&str, u32); 8] = [
    ("0x", 16),
    ("#", 16),
    ("$", 16),
    ("&h", 16),
    ("0o", 8),
    ("&o", 8),
    ("0b", 2),
    ("0d", 10),
];

/// Adds the whole number that a text starts with.
fn add_digits(text: &str, radix: u32, found: &mut Vec<Reading>) {
    let digits = text.chars().map_while(|c| c.to_digit(radix));
    let mut count = 0;
    let (mut wrapped, mut value) = (0_u32, 0_u128);
    for digit in digits {
        count += 1;
        wrapped = wrapped.wrapping_mul(radix).wrapping_add(digit);
        let more = value.saturating_mul(radix.into());
        value = more.saturating_add(digit.into());
    }
    if count > 0 {
        found.push(Reading::Number(wrapped));
        add_double(value as f64, found);
    }
}

/// Adds the decimal number that a text starts with, with and without its exponent.
fn add_decimal(text: &str, found: &mut Vec<Reading>) {
    let digits_from = |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        rest.bytes().take_while(u8::is_ascii_digit).count()
    };
    add_digits(text, 10, found);
    let whole = digits_from(0);
    let byte = |at: usize| text.as_bytes().get(at).copied();
    let (mut end, mut fraction) = (whole, 0);
    // Some countries use a decimal comma.
    if matches!(byte(end), Some(b'.' | b',')) {
        fraction = digits_from(end + 1);
        end += 1 + fraction;
    }
    if whole + fraction == 0 {
        return;
    }
    let mut add = |end: usize| {
        let number = text.get(..end).unwrap_or_default().replace(',', ".");
        if let Ok(number) = number.parse() {
            add_double(number, found);
        }
    };
    add(end);
    if byte(end) == Some(b'e') {
        let sign = usize::from(matches!(byte(end + 1), Some(b'+' | b'-')));
        let exponent = digits_from(end + 1 + sign);
        if exponent > 0 {
            add(end + 1 + sign + exponent);
        }
    }
}

/// Adds a hexadecimal floating-point number such as C's `0x1.8p3`.
fn add_hex_float(text: &str, found: &mut Vec<Reading>) {
    let Some(text) = text.strip_prefix("0x") else {
        return;
    };
    let mut value = 0.0_f64;
    let mut scale = 0_i32;
    let mut is_fraction = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match c.to_digit(16) {
            Some(digit) => {
                value = value * 16.0 + f64::from(digit);
                scale -= if is_fraction { 4 } else { 0 };
            }
            None if c == '.' && !is_fraction => is_fraction = true,
            None => break,
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    if value.is_infinite() {
        // The exponent may make it finite again.
        return found.push(Reading::Anything);
    }
    add_double(times_power_of_two(value, f64::from(scale)), found);
    if let Some(exponent) = rest.strip_prefix('p') {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        let digits = exponent.bytes().skip(sign);
        let end = sign + digits.take_while(u8::is_ascii_digit).count();
        if let Some(Ok(exponent)) = exponent.get(..end).map(str::parse::<f64>) {
            add_double(
                times_power_of_two(value, f64::from(scale) + exponent),
                found,
            );
        }
    }
}

/// Returns a finite number times two to the power of `exponent`, which must be whole.
///
/// Not `exp2`, which would make the program load the system's math library.
fn times_power_of_two(mut value: f64, exponent: f64) -> f64 {
    // Beyond this range, every double but zero becomes zero or infinite.
    let mut left = exponent.clamp(-2_200.0, 2_200.0);
    while left != 0.0 {
        let step = left.clamp(-1_022.0, 1_023.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to 2046"
        )]
        let biased = (step + 1_023.0) as u64;
        value *= f64::from_bits(biased << 52);
        left -= step;
    }
    value
}

/// Adds the whole numbers around a double that is not NaN.
fn add_double(value: f64, found: &mut Vec<Reading>) {
    if value.is_finite() {
        for whole in [value.floor(), value.ceil()] {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 to 2^32 - 1"
            )]
            let wrapped = whole.rem_euclid(TWO_TO_32) as u32;
            found.push(Reading::Number(wrapped));
        }
    }
    // A number that does not fit becomes the largest or smallest 64-bit integer.
    if value.abs() >= TWO_TO_63 {
        found.extend([Reading::Number(u32::MAX), Reading::Number(0)]);
    }
}

fn wrapped(value: i64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "modulo 2^32 is what is wanted"
    )]
    let wrapped = value as u32;
    wrapped
}

const TWO_TO_32: f64 = 4_294_967_296.0;
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

#[cfg(test)]
pub(crate) mod tests;
