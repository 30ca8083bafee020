//! The one reader of JSON: strict, borrowing, and true to how numbers were written.
//!
//! It does not know what a message is; see `message` and `tool`.
//!
//! Why not `serde_json` here: it keeps the last of two equal keys, turns numbers into
//! doubles (or needs a feature that changes every crate in the tree), and accepts lone
//! surrogates in text that it skips. A gate must see exactly what any reader behind it
//! could see, so what readers are known to disagree about is an error here. Tests hold
//! this reader against `serde_json`: what it accepts, `serde_json` reads the same way.

mod outline;
mod reader;
mod words;

use std::borrow::Cow;

pub use outline::Outline;
pub use reader::{Reader, raw_member, raw_members};

use words::{BACKSLASHES, QUOTES, controls, zero_bytes};

/// Objects and arrays inside one another in a value that is read as a tree.
pub const MAX_TREE_DEPTH: usize = 128;
/// Values in one tree. Bounds the memory of a tree to a small multiple of its text.
pub const MAX_TREE_VALUES: usize = 1_000_000;
/// Objects and arrays inside one another in a value that is only skipped.
const MAX_SKIP_DEPTH: usize = 1_024;

/// Why a text cannot be read safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is not UTF-8 (RFC 8259, section 8.1).
    #[error("not valid UTF-8")]
    NotUtf8,
    /// The text starts with a byte order mark (RFC 8259, section 8.1).
    #[error("a byte order mark stands in front")]
    ByteOrderMark,
    /// A control character stands where some readers would end the line or the text.
    #[error("a raw control character")]
    ControlCharacter,
    /// The text breaks the grammar of RFC 8259 at this byte.
    #[error("not valid JSON at byte {0}")]
    Syntax(usize),
    /// More follows after the value.
    #[error("more than one JSON value")]
    TrailingText,
    /// An object holds the same key twice; readers differ in which one they keep.
    #[error("a key occurs twice in one object")]
    DuplicateKey,
    /// A string holds half of a UTF-16 surrogate pair; readers differ in what it becomes.
    #[error("half of a surrogate pair in a string")]
    LoneSurrogate,
    /// A key holds U+0000, where some readers end it.
    #[error("a key holds a NUL character")]
    NulInKey,
    /// Objects and arrays are nested deeper than readers agree on.
    #[error("nested too deeply")]
    TooDeep,
    /// More values than `MAX_TREE_VALUES`.
    #[error("too many values")]
    TooManyValues,
}

/// Reads a line's bytes as text in which every later reader sees the same lines and values.
///
/// Some readers end a line at a lone carriage return (Python's text mode), so one inside
/// would let them see lines that we do not. A `\r` right before the end is not part of the
/// text.
///
/// # Errors
/// `NotUtf8`, `ByteOrderMark` or `ControlCharacter`; a tab is the one control character
/// that may stand between tokens.
pub fn line_text(line: &[u8]) -> Result<&str, JsonError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // Folding without an early exit lets the compiler use vector instructions.
    if line
        .iter()
        .fold(false, |found, b| found | (*b < 0x20 && *b != b'\t'))
    {
        return Err(JsonError::ControlCharacter);
    }
    let text = std::str::from_utf8(line).map_err(|_| JsonError::NotUtf8)?;
    if text.starts_with('\u{feff}') {
        return Err(JsonError::ByteOrderMark);
    }
    Ok(text)
}

/// The inside of a JSON string as it was written; known to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    raw: &'a str,
    /// Whether `raw` holds escapes; without any, it is its own meaning.
    escaped: bool,
    /// Whether an escape is half of a surrogate pair; it decodes to U+FFFD.
    lone_surrogate: bool,
}

impl<'a> Text<'a> {
    /// The inside of the string as it was written, escapes and all.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Whether the string means this.
    #[must_use]
    pub fn is(&self, meaning: &str) -> bool {
        if self.escaped {
            unescape(self.raw) == meaning
        } else {
            self.raw == meaning
        }
    }

    fn means_the_same(&self, other: &Text<'_>) -> bool {
        if self.escaped || other.escaped {
            self.decode() == other.decode()
        } else {
            self.raw == other.raw
        }
    }

    /// What the string means.
    #[must_use]
    pub fn decode(&self) -> Cow<'a, str> {
        if self.escaped {
            Cow::Owned(unescape(self.raw))
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

/// A JSON value that borrows from its text. Objects keep their order and have no equal keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number(&'a str),
    /// A string.
    String(Text<'a>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object.
    Object(Vec<(Text<'a>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// Reads exactly one value.
    ///
    /// # Errors
    /// Any `JsonError` but those of [`line_text`].
    pub fn parse(text: &'a str) -> Result<Value<'a>, JsonError> {
        let mut reader = Reader::new(text);
        let value = reader.tree()?;
        reader.end()?;
        Ok(value)
    }

    /// A string that holds nothing which JSON would escape.
    #[must_use]
    pub fn string(plain: &'a str) -> Value<'a> {
        Value::String(Text {
            raw: plain,
            escaped: false,
            lone_surrogate: false,
        })
    }

    /// Reads exactly one value in which half a surrogate pair counts as U+FFFD: for what a
    /// server says of itself, where one broken emoji must not spoil the rest.
    ///
    /// # Errors
    /// Any `JsonError` but `LoneSurrogate` and those of [`line_text`].
    pub fn parse_lossy(text: &'a str) -> Result<Value<'a>, JsonError> {
        let mut reader = Reader::new(text);
        reader.lossy = true;
        let value = reader.tree()?;
        reader.end()?;
        Ok(value)
    }

    /// The member of an object with this name; `None` for other values too.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.members()
            .iter()
            .find(|(name, _)| name.is(key))
            .map(|(_, value)| value)
    }

    /// The members of an object; empty for other values.
    #[must_use]
    pub fn members(&self) -> &[(Text<'a>, Value<'a>)] {
        match self {
            Value::Object(members) => members,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => &[],
        }
    }

    /// What a string means; `None` for other values.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        match self {
            Value::String(text) => Some(text.decode()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }

    /// Whether this is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self, Value::Object(_))
    }

    /// Appends the value on one line, object keys sorted by code point, numbers as written,
    /// strings with the fewest escapes. Equal calls give equal text.
    pub fn write_canonical(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Number(token) => out.push_str(token),
            Value::String(text) => write_string(&text.decode(), out),
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write_canonical(out);
                }
                out.push(']');
            }
            Value::Object(members) => {
                write_canonical_members(members.iter().map(|(key, value)| (*key, value)), out);
            }
        }
    }
}

/// Appends an object made of these members, as [`Value::write_canonical`] does.
pub fn write_canonical_members<'v, 'a: 'v>(
    members: impl Iterator<Item = (Text<'a>, &'v Value<'a>)>,
    out: &mut String,
) {
    let mut sorted: Vec<_> = members.map(|(key, value)| (key.decode(), value)).collect();
    sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    out.push('{');
    for (i, (key, value)) in sorted.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(&key, out);
        out.push(':');
        value.write_canonical(out);
    }
    out.push('}');
}

/// Appends `text` as a JSON string: quotes, backslashes and C0 controls escaped, the rest as it is.
pub fn write_string(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    while let Some(at) = first_to_escape(rest.as_bytes()) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(control) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

fn needs_escape(b: u8) -> bool {
    b < 0x20 || b == b'"' || b == b'\\'
}

/// Where the first byte stands that needs an escape; eight bytes are looked at at a time.
fn first_to_escape(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES) | controls(word);
        if found != 0 {
            return Some(8 * i + (found.trailing_zeros() / 8) as usize);
        }
    }
    let at = rest.iter().position(|b| needs_escape(*b))?;
    Some(bytes.len() - rest.len() + at)
}

/// Decodes the inside of a string that the reader has accepted.
fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = after.chars();
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let (decoded, after) = unicode_escape(chars.as_str());
                out.push(decoded);
                rest = after;
                continue;
            }
            Some(itself) => out.push(itself),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// Decodes what follows `\u`; half a surrogate pair becomes U+FFFD.
fn unicode_escape(text: &str) -> (char, &str) {
    let after = |bytes: &[u8]| text.get(text.len() - bytes.len()..).unwrap_or_default();
    let Some((first, rest)) = hex4(text.as_bytes()) else {
        return (char::REPLACEMENT_CHARACTER, text);
    };
    if let Some(single) = char::from_u32(first) {
        return (single, after(rest));
    }
    match rest.strip_prefix(b"\\u").and_then(hex4) {
        Some((second @ 0xDC00..=0xDFFF, rest)) => {
            let code = 0x10000 + ((first & 0x3FF) << 10) + (second & 0x3FF);
            (
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                after(rest),
            )
        }
        _ => (char::REPLACEMENT_CHARACTER, after(rest)),
    }
}

fn hex4(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(4)?;
    let mut value = 0;
    for digit in digits {
        value = value * 16 + char::from(*digit).to_digit(16)?;
    }
    Some((value, rest))
}

#[cfg(test)]
mod tests;
