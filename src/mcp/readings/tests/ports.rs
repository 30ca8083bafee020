//! How other languages parse an unexpected id, ported to Rust.

use crate::mcp::message::RequestId;

/// The result of parsing an id.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Read {
    Number(f64),
    Text(String),
    /// The reader reports an error.
    Failed,
}

type Port = fn(&RequestId) -> Read;

pub(super) const PORTS: [(&str, Port); 21] = [
    ("JavaScript Number", |id| of_text(id, js_number)),
    ("JavaScript parseInt", |id| of_text(id, js_parse_int)),
    ("JavaScript parseFloat", |id| of_text(id, js_parse_float)),
    ("JavaScript | 0", |id| {
        let number = number_or(id, js_number);
        number.map_or(Read::Failed, |found| Read::Number(to_int_32(found)))
    }),
    ("JavaScript Math.round", |id| {
        number_or(id, js_number).map_or(Read::Failed, |found| Read::Number((found + 0.5).floor()))
    }),
    ("C atoi", |id| of_text(id, |text| c_strtol(text, 10))),
    ("C strtol", |id| of_text(id, |text| c_strtol(text, 0))),
    ("C strtod", |id| of_text(id, c_strtod)),
    ("Python int", |id| match id {
        RequestId::Text(text) => found(python_int(text)),
        RequestId::Integer(_) | RequestId::Number(_) => found(plain(id).map(f64::trunc)),
    }),
    ("Python float", |id| of_text(id, python_float)),
    ("PHP (int)", |id| {
        of_text(id, |text| {
            decimal_prefix(text, " \t\n\r\u{b}\u{c}").map(f64::trunc)
        })
    }),
    ("Perl", |id| {
        of_text(id, |text| decimal_prefix(text, " \t\n\r\u{c}"))
    }),
    ("Ruby to_i", |id| of_text(id, ruby_to_i)),
    ("Ruby Integer", |id| of_text(id, ruby_integer)),
    ("Go Atoi", |id| {
        of_text(id, |text| {
            text.parse::<i64>().ok().map(|value| value as f64)
        })
    }),
    ("Java Integer.decode", |id| of_text(id, java_decode)),
    ("Java Double.intValue", |id| {
        let number = number_or(id, strict_decimal);
        number.map_or(Read::Failed, |found| {
            Read::Number((found as i64 as i32).into())
        })
    }),
    ("trim", |id| as_text(id, |text| text.trim().to_owned())),
    ("C string", |id| {
        as_text(id, |text| text.split('\0').next().unwrap().to_owned())
    }),
    ("fold case", |id| as_text(id, str::to_lowercase)),
    ("drop controls", |id| {
        as_text(id, |text| {
            text.chars().filter(|c| !c.is_control()).collect()
        })
    }),
];

fn found(number: Option<f64>) -> Read {
    match number {
        Some(number) if !number.is_nan() => Read::Number(number),
        _ => Read::Failed,
    }
}

fn plain(id: &RequestId) -> Option<f64> {
    match id {
        RequestId::Integer(value) => Some(*value as f64),
        RequestId::Number(token) => token.parse().ok(),
        RequestId::Text(_) => None,
    }
}

fn number_or(id: &RequestId, read: fn(&str) -> Option<f64>) -> Option<f64> {
    match id {
        RequestId::Text(text) => read(text),
        RequestId::Integer(_) | RequestId::Number(_) => plain(id),
    }
}

/// Reads numbers through their text too, because many clients keep ids as text.
fn of_text(id: &RequestId, read: fn(&str) -> Option<f64>) -> Read {
    match id {
        RequestId::Text(text) => found(read(text)),
        RequestId::Integer(_) | RequestId::Number(_) => found(plain(id)),
    }
}

fn as_text(id: &RequestId, read: fn(&str) -> String) -> Read {
    match id {
        RequestId::Text(text) => Read::Text(read(text)),
        RequestId::Integer(_) | RequestId::Number(_) => Read::Text(read(&id.to_string())),
    }
}

fn digits(text: &str, radix: u32) -> Option<f64> {
    let is_all = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    is_all.then(|| digits_prefix(text, radix).unwrap())
}

fn digits_prefix(text: &str, radix: u32) -> Option<f64> {
    let digits: Vec<u32> = text.chars().map_while(|c| c.to_digit(radix)).collect();
    if digits.is_empty() {
        return None;
    }
    if radix == 10 {
        let text: String = digits.iter().map(|digit| digit.to_string()).collect();
        return text.parse().ok();
    }
    let radix = u128::from(radix);
    let add =
        |value: u128, digit: &u32| value.saturating_mul(radix).saturating_add((*digit).into());
    Some(digits.iter().fold(0, add) as f64)
}

fn split_sign(text: &str) -> (f64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn js_trim(text: &str) -> &str {
    text.trim_matches(|c: char| (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}')
}

/// A decimal number that takes up the whole text.
fn strict_decimal(text: &str) -> Option<f64> {
    let (_, digits) = split_sign(text);
    let starts = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|_| starts)
}

fn js_number(text: &str) -> Option<f64> {
    let text = js_trim(text);
    if text.is_empty() {
        return Some(0.0);
    }
    let lower = text.to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = lower.strip_prefix(prefix) {
            return digits(rest, radix);
        }
    }
    match split_sign(text) {
        (sign, "Infinity") => Some(sign * f64::INFINITY),
        _ => strict_decimal(text),
    }
}

fn js_parse_int(text: &str) -> Option<f64> {
    let (sign, rest) = split_sign(js_trim(text));
    let lower = rest.to_ascii_lowercase();
    let number = match lower.strip_prefix("0x") {
        Some(rest) => digits_prefix(rest, 16),
        None => digits_prefix(&lower, 10),
    };
    number.map(|number| sign * number)
}

fn js_parse_float(text: &str) -> Option<f64> {
    let text = js_trim(text);
    let (sign, rest) = split_sign(text);
    if rest.starts_with("Infinity") {
        return Some(sign * f64::INFINITY);
    }
    longest(text)
}

/// Returns the longest prefix of a text that is a decimal number.
fn longest(text: &str) -> Option<f64> {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let ends: Vec<usize> = ends.collect();
    ends.iter()
        .rev()
        .find_map(|end| strict_decimal(text.get(..*end)?))
}

fn to_int_32(value: f64) -> f64 {
    if !value.is_finite() {
        return 0.0;
    }
    f64::from(value.trunc().rem_euclid(4_294_967_296.0) as u32 as i32)
}

const C_SPACE: &str = " \t\n\r\u{b}\u{c}";

fn skip<'a>(text: &'a str, space: &str) -> &'a str {
    text.trim_start_matches(|c| space.contains(c))
}

/// C returns 0 if it can parse nothing; the test treats a failure as 0.
fn c_strtol(text: &str, base: u32) -> Option<f64> {
    let text = text.split('\0').next().unwrap();
    let (sign, rest) = split_sign(skip(text, C_SPACE));
    let lower = rest.to_ascii_lowercase();
    let hex = lower
        .strip_prefix("0x")
        .and_then(|rest| digits_prefix(rest, 16));
    let number = match (base, hex) {
        (0, Some(number)) => Some(number),
        (0, None) if lower.starts_with('0') => digits_prefix(&lower, 8),
        _ => digits_prefix(&lower, 10),
    };
    // The result is clamped to 64 bits.
    number.map(|number| (sign * number).clamp(i64::MIN as f64, i64::MAX as f64))
}

fn c_strtod(text: &str) -> Option<f64> {
    let text = text.split('\0').next().unwrap();
    let text = skip(text, C_SPACE);
    let (sign, rest) = split_sign(text);
    let lower = rest.to_ascii_lowercase();
    if lower.starts_with("inf") {
        return Some(sign * f64::INFINITY);
    }
    let Some(hex) = lower.strip_prefix("0x") else {
        return longest(text);
    };
    let whole: String = hex.chars().take_while(char::is_ascii_hexdigit).collect();
    let (_, rest) = hex.split_at(whole.len());
    let fraction: String = rest
        .strip_prefix('.')
        .map(|rest| rest.chars().take_while(char::is_ascii_hexdigit).collect())
        .unwrap_or_default();
    if whole.is_empty() && fraction.is_empty() {
        return Some(0.0);
    }
    let all = format!("{whole}{fraction}");
    let rest = rest
        .strip_prefix('.')
        .map_or(rest, |rest| rest.split_at(fraction.len()).1);
    let exponent = rest.strip_prefix('p').and_then(|rest| {
        let (sign, digits) = split_sign(rest);
        digits_prefix(digits, 10).map(|number| sign * number)
    });
    let scale = exponent.unwrap_or(0.0) - 4.0 * fraction.len() as f64;
    digits_prefix(&all, 16).map(|number| sign * number * scale.exp2())
}

/// Accepts digits of any script, and underscores between digits.
fn python_plain(text: &str) -> Option<String> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c));
    let mut out = String::new();
    let mut last = None;
    for c in text.chars() {
        match c {
            '_' if last.is_some_and(|last: char| last.is_ascii_digit()) => {}
            '_' => return None,
            c => out.push(python_digit(c).unwrap_or(c)),
        }
        last = (c == '_').then_some('_').or(out.chars().last());
    }
    (last != Some('_')).then_some(out)
}

/// Some of the scripts whose digits Python accepts.
fn python_digit(c: char) -> Option<char> {
    let zeros = [
        '0',
        '\u{660}',
        '\u{6f0}',
        '\u{966}',
        '\u{e50}',
        '\u{ff10}',
        '\u{1d7ce}',
    ];
    zeros.iter().find_map(|zero| {
        let digit = u32::from(c).checked_sub(u32::from(*zero))?;
        char::from_digit(digit, 10)
    })
}

fn python_int(text: &str) -> Option<f64> {
    let text = python_plain(text)?;
    let (sign, rest) = split_sign(&text);
    digits(rest, 10).map(|number| sign * number)
}

fn python_float(text: &str) -> Option<f64> {
    let text = python_plain(text)?.to_ascii_lowercase();
    match split_sign(&text) {
        (sign, "inf" | "infinity") => Some(sign * f64::INFINITY),
        _ => strict_decimal(&text),
    }
}

fn decimal_prefix(text: &str, space: &str) -> Option<f64> {
    longest(skip(text, space))
}

fn ruby_to_i(text: &str) -> Option<f64> {
    let (sign, rest) = split_sign(skip(text, C_SPACE));
    let mut digits = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_ascii_digit() => digits.push(c),
            '_' if !digits.is_empty() && chars.peek().is_some_and(char::is_ascii_digit) => {}
            _ => break,
        }
    }
    let number: Option<f64> = digits.parse().ok();
    number.map(|number| sign * number)
}

fn ruby_integer(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c| C_SPACE.contains(c));
    let (sign, rest) = split_sign(text);
    let lower = rest.to_ascii_lowercase();
    let radixes = [("0x", 16), ("0b", 2), ("0o", 8), ("0d", 10), ("0", 8)];
    let other = radixes.iter().find_map(|(prefix, radix)| {
        let rest = lower.strip_prefix(prefix)?;
        Some((rest.to_owned(), *radix))
    });
    let (rest, radix) = other
        .filter(|(rest, _)| !rest.is_empty())
        .unwrap_or((lower, 10));
    let is_good = !rest.starts_with('_') && !rest.ends_with('_') && !rest.contains("__");
    let number = digits(&rest.replace('_', ""), radix).filter(|_| is_good);
    number.map(|number| sign * number)
}

fn java_decode(text: &str) -> Option<f64> {
    let (sign, rest) = split_sign(text);
    let lower = rest.to_ascii_lowercase();
    let hex = lower.strip_prefix("0x").or(lower.strip_prefix('#'));
    let number = match (hex, lower.strip_prefix('0')) {
        (Some(hex), _) => digits(hex, 16),
        (None, Some(rest)) if !rest.is_empty() => digits(rest, 8),
        (None, _) => digits(&lower, 10),
    };
    number.map(|number| sign * number)
}
