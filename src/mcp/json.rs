//! The only JSON reader: strict, borrowing, and it keeps numbers as they were written.
//!
//! It does not know what a message is; see `message` and `tool`.
//!
//! Why not `serde_json`: it keeps the last of two equal keys, turns numbers into doubles (or needs
//! a feature that affects every crate in the tree), and accepts lone surrogates in text that it
//! skips. A gate must see exactly what any reader behind it could see, so anything that readers are
//! known to disagree about is an error here. Tests compare this reader with `serde_json`: whatever
//! it accepts, `serde_json` reads the same way.

mod outline;
mod reader;
mod words;

use std::borrow::Cow;

pub use outline::Outline;
pub use reader::{Reader, raw_member, raw_members};

use words::{BACKSLASHES, QUOTES, controls, zero_bytes};

/// Maximum nesting of objects and arrays in a value that is read as a tree.
pub const MAX_TREE_DEPTH: usize = 128;
/// Maximum number of values in one tree. It bounds a tree's memory to a small multiple of its text.
pub const MAX_TREE_VALUES: usize = 1_000_000;
/// Maximum nesting of objects and arrays in a value that is only skipped.
const MAX_SKIP_DEPTH: usize = 1_024;

/// Why a text cannot be read safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is not UTF-8 (RFC 8259, section 8.1).
    #[error("not valid UTF-8")]
    NotUtf8,
    /// The text starts with a byte order mark (RFC 8259, section 8.1).
    #[error("starts with a byte order mark")]
    ByteOrderMark,
    /// The text holds a control character at which some readers end the line or the text.
    #[error("contains a raw control character")]
    ControlCharacter,
    /// The text breaks the grammar of RFC 8259 at this byte.
    #[error("not valid JSON at byte {0}")]
    Syntax(usize),
    /// More text follows the value.
    #[error("more than one JSON value")]
    TrailingText,
    /// An object has the same key twice; readers differ in which one they keep.
    #[error("the same key occurs twice in one object")]
    DuplicateKey,
    /// A string holds half of a UTF-16 surrogate pair; readers decode it differently.
    #[error("a string contains half of a surrogate pair")]
    LoneSurrogate,
    /// A key holds U+0000, at which some readers end it.
    #[error("a key contains a NUL character")]
    NulInKey,
    /// Objects and arrays are nested deeper than all readers support.
    #[error("nested too deeply")]
    TooDeep,
    /// More values than `MAX_TREE_VALUES`.
    #[error("too many values")]
    TooManyValues,
}

/// Checks that a line's bytes are text in which every later reader sees the same lines and values.
///
/// Some readers end a line at a lone carriage return (Python's text mode), so one inside a line
/// would show them lines that we do not see. A `\r` at the very end is not part of the text.
///
/// # Errors
/// `NotUtf8`, `ByteOrderMark` or `ControlCharacter`. A tab is the only control character allowed
/// between tokens.
pub fn line_text(line: &[u8]) -> Result<&str, JsonError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // Without an early exit, the compiler can use vector instructions.
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

/// The content of a JSON string as it was written; known to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    raw: &'a str,
    /// Whether `raw` contains escapes. If not, `raw` is the decoded string.
    escaped: bool,
    /// Whether an escape is half of a surrogate pair. It decodes to U+FFFD.
    lone_surrogate: bool,
}

impl<'a> Text<'a> {
    /// Returns the content of the string as it was written, with its escapes.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Returns true if the decoded string equals `meaning`.
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

    /// Decodes the string.
    #[must_use]
    pub fn decode(&self) -> Cow<'a, str> {
        if self.escaped {
            Cow::Owned(unescape(self.raw))
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

/// A JSON value that borrows from its text. Objects keep their order and have no duplicate keys.
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
    /// Any `JsonError` except those of [`line_text`].
    pub fn parse(text: &'a str) -> Result<Value<'a>, JsonError> {
        let mut reader = Reader::new(text);
        let value = reader.tree()?;
        reader.end()?;
        Ok(value)
    }

    /// Makes a string value. `plain` must not contain anything that JSON escapes.
    #[must_use]
    pub fn string(plain: &'a str) -> Value<'a> {
        Value::String(Text {
            raw: plain,
            escaped: false,
            lone_surrogate: false,
        })
    }

    /// Reads exactly one value, with half a surrogate pair read as U+FFFD. For what a server says
    /// about itself, where one broken emoji must not spoil the rest.
    ///
    /// # Errors
    /// Any `JsonError` except `LoneSurrogate` and those of [`line_text`].
    pub fn parse_lossy(text: &'a str) -> Result<Value<'a>, JsonError> {
        let mut reader = Reader::new(text);
        reader.lossy = true;
        let value = reader.tree()?;
        reader.end()?;
        Ok(value)
    }

    /// Returns the member of an object with this key; `None` for other values too.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.members()
            .iter()
            .find(|(name, _)| name.is(key))
            .map(|(_, value)| value)
    }

    /// Returns the members of an object; empty for other values.
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

    /// Decodes a string; `None` for other values.
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

    /// Returns true for an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self, Value::Object(_))
    }

    /// Appends the value on one line: object keys sorted by code point, numbers as written, strings
    /// with the fewest escapes. Equal calls give equal text.
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

/// Appends an object with these members, as [`Value::write_canonical`] does.
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

/// Appends `text` as a JSON string. Escapes quotes, backslashes and C0 controls only.
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

/// Finds the first byte that needs an escape, eight bytes at a time.
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

/// Decodes the content of a string that the reader has accepted.
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

/// Decodes what follows `\u`. Half a surrogate pair becomes U+FFFD.
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
