//! Arguments, reasons and error texts as the audit log keeps them: with secrets replaced, long texts shortened, and a
//! limit on their size.
//!
//! For digests of whole calls, see `approval::digest`.

mod names;
mod strings;
mod tokens;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;

use regex::Regex;
use sha2::{Digest as _, Sha256};

use self::names::Verdict;
use self::strings::IsSecret;
use crate::approval::display::is_invisible;
use crate::mcp::json::{JsonError, Text, Value, write_string};

/// Maximum length of a string that is kept whole, in characters.
pub const MAX_STRING: usize = 500;
/// Maximum length of the arguments in one record, in bytes.
pub const MAX_ARGS: usize = 64 * 1024;
/// Maximum length of a reason or another text in a record, in bytes before escaping.
pub const MAX_TEXT: usize = 4 * 1024;
/// The replacement for a secret.
pub const REDACTED: &str = "[redacted]";
/// How many characters of a longer string are kept.
const KEPT: usize = 100;
/// How much of a longer string is searched for secrets, in bytes. Much less is kept, so a secret that begins in the
/// kept part is seen whole, or enough of it.
const SEARCHED: usize = 4 * 1024;
/// Space for closing many arrays and objects at once, and for noting what is missing in them.
const ENDS: usize = 8 * 1024;
/// How deep JSON inside strings inside JSON is parsed.
const MAX_NESTED: u8 = 3;

/// The digest that stands for the part of a text that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StringDigest {
    /// The faster one, for calls that pass and have no digest of their own.
    Blake3,
    /// The one that approvals are bound to.
    Sha256,
}

impl StringDigest {
    /// Returns the digest of a text, prefixed with the algorithm's name.
    #[must_use]
    pub fn of(self, text: &str) -> String {
        match self {
            StringDigest::Blake3 => format!("blake3:{}", blake3::hash(text.as_bytes()).to_hex()),
            StringDigest::Sha256 => format!("sha256:{}", hex(&Sha256::digest(text.as_bytes()))),
        }
    }
}

/// What counts as a secret: our built-in rules, and what an operator adds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Redaction {
    /// The operator's additions. Most operators have none.
    custom: Option<Arc<Custom>>,
}

#[derive(Clone)]
struct Custom {
    names: Vec<String>,
    patterns: Vec<Regex>,
}

impl Redaction {
    /// Adds names, which work like the built-in ones, and patterns, each match of which is a secret.
    #[must_use]
    pub fn with(names: Vec<String>, patterns: Vec<Regex>) -> Redaction {
        let is_any = !names.is_empty() || !patterns.is_empty();
        Redaction {
            custom: is_any.then(|| Arc::new(Custom { names, patterns })),
        }
    }

    /// Returns true if the value under this name is a secret, whatever it is.
    #[must_use]
    pub fn is_secret(&self, name: &str) -> bool {
        self.judge(name) == Verdict::Secret
    }

    /// Appends a value as JSON without secrets. Strings longer than [`MAX_STRING`] characters are shortened and get
    /// their length and digest. If the value exceeds [`MAX_ARGS`] bytes, its last elements and members are replaced by
    /// a note.
    pub fn write(&self, value: &Value<'_>, digest: StringDigest, out: &mut String) -> Written {
        let end = out.len() + MAX_ARGS - ENDS;
        let mut writer = Writer::new(self, digest, end, out);
        writer.value(value);
        match writer.is_full {
            false => Written::Whole,
            true => Written::Part,
        }
    }

    /// Returns a JSON text with its secrets replaced and nothing shortened; `None` if there are none in it.
    ///
    /// # Errors
    /// If the text is not JSON.
    pub fn whole(&self, text: &str) -> Result<Option<String>, JsonError> {
        let value = Value::parse(text)?;
        let mut out = String::with_capacity(text.len());
        let mut writer = Writer::new(self, StringDigest::Sha256, usize::MAX, &mut out);
        writer.shortens = false;
        writer.value(&value);
        Ok(writer.has_hidden.then_some(out))
    }

    /// Replaces the secrets in a text.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.hide(text, false, MAX_NESTED)
    }

    /// Appends a text as JSON without secrets, cut after [`MAX_TEXT`] bytes.
    pub fn write_text(&self, text: &str, out: &mut String) {
        if text.len() <= MAX_TEXT {
            return write_plain(&self.text(text), out);
        }
        let shown = self.hide(beginning(text, MAX_TEXT + SEARCHED), true, 0);
        let kept = beginning(&shown, MAX_TEXT);
        write_plain(&format!("{kept}… ({} bytes)", text.len()), out);
    }

    /// Returns what a name says about the value next to it.
    fn judge(&self, name: &str) -> Verdict {
        match &self.custom {
            Some(custom)
                if custom
                    .names
                    .iter()
                    .any(|known| names::has_words(name, known)) =>
            {
                Verdict::Secret
            }
            Some(_) | None => names::judge(name),
        }
    }

    /// Returns a string without secrets, shortened if it is long.
    fn shown<'t>(&self, text: &'t str, digest: StringDigest, nested: u8) -> Cow<'t, str> {
        let Some(count) = too_many_characters(text) else {
            return self.hide(text, false, nested);
        };
        let window = self.hide(beginning(text, SEARCHED), true, 0);
        Cow::Owned(shortened(&window, count, &digest.of(text)))
    }

    /// Replaces the secrets in a text. If `is_cut`, the text continues beyond what we see. Unless `nested` is zero, a
    /// text that is JSON is parsed.
    fn hide<'t>(&self, text: &'t str, is_cut: bool, nested: u8) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        if let Some(hidden) = self.hide_in_json(&text, nested) {
            text = Cow::Owned(hidden);
        }
        let mut found = Vec::new();
        let is_secret: IsSecret<'_> = &|name| self.judge(name) != Verdict::Plain;
        strings::find(&text, is_cut, is_secret, &mut found);
        if let Some(custom) = &self.custom {
            let matches = custom
                .patterns
                .iter()
                .flat_map(|pattern| pattern.find_iter(&text));
            found.extend(
                matches
                    .map(|found| found.range())
                    .filter(|range| !range.is_empty()),
            );
        }
        match found.is_empty() {
            true => text,
            false => Cow::Owned(replaced(&text, found)),
        }
    }

    /// Replaces the secrets that keys reveal in a JSON text. Returns `None` if there are none or the text is not JSON.
    fn hide_in_json(&self, text: &str, nested: u8) -> Option<String> {
        let is_likely = match text.as_bytes().first() {
            Some(b'{' | b'[') => true,
            Some(first) => first.is_ascii_whitespace() && text.trim_start().starts_with(['{', '[']),
            None => false,
        };
        if !is_likely || nested == 0 || !text.contains('"') {
            return None;
        }
        let value = Value::parse(text).ok()?;
        let mut out = String::new();
        let mut writer = Writer::new(self, StringDigest::Sha256, usize::MAX, &mut out);
        writer.shortens = false;
        writer.nested = nested - 1;
        writer.value(&value);
        writer.has_hidden.then_some(out)
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Custom) -> bool {
        let patterns = self.patterns.iter().map(Regex::as_str);
        self.names == other.names && patterns.eq(other.patterns.iter().map(Regex::as_str))
    }
}

/// The derived implementation would print compiled automata.
impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns: Vec<&str> = self.patterns.iter().map(Regex::as_str).collect();
        let mut shown = f.debug_struct("Custom");
        shown
            .field("names", &self.names)
            .field("patterns", &patterns)
            .finish()
    }
}

/// How much of a value has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// All elements and members.
    Whole,
    /// Only the first ones.
    Part,
}

/// Writes one value.
struct Writer<'w> {
    redaction: &'w Redaction,
    digest: StringDigest,
    out: &'w mut String,
    /// How long `out` may become, not counting what closes arrays and objects.
    end: usize,
    /// Whether something did not fit, so that the rest is left out.
    is_full: bool,
    /// Whether long strings and numbers are shortened.
    shortens: bool,
    /// Whether a secret was replaced.
    has_hidden: bool,
    /// How many more levels of JSON inside strings are parsed.
    nested: u8,
}

impl<'w> Writer<'w> {
    fn new(
        redaction: &'w Redaction,
        digest: StringDigest,
        end: usize,
        out: &'w mut String,
    ) -> Writer<'w> {
        Writer {
            redaction,
            digest,
            out,
            end,
            is_full: false,
            shortens: true,
            has_hidden: false,
            nested: MAX_NESTED,
        }
    }

    fn value(&mut self, value: &Value<'_>) {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Number(token) if self.shortens && token.len() > MAX_STRING => {
                let token = shortened(token, token.len(), &self.digest.of(token));
                write_plain(&token, self.out);
            }
            Value::Number(token) => self.out.push_str(token),
            Value::String(text) => {
                let text = text.decode();
                let shown = self.shown(&text, self.nested);
                self.has_hidden |= matches!(&shown, Cow::Owned(shown) if *shown != text);
                write_plain(&shown, self.out);
            }
            Value::Array(items) => self.array(items),
            Value::Object(members) => self.object(members),
        }
    }

    /// Returns a string without secrets.
    fn shown<'t>(&self, text: &'t str, nested: u8) -> Cow<'t, str> {
        match self.shortens {
            true => self.redaction.shown(text, self.digest, nested),
            false => self.redaction.hide(text, false, nested),
        }
    }

    fn array(&mut self, items: &[Value<'_>]) {
        self.out.push('[');
        let mut follows_name = false;
        for (i, item) in items.iter().enumerate() {
            let start = self.out.len();
            if i > 0 {
                self.out.push(',');
            }
            match follows_name && matches!(item, Value::String(_) | Value::Number(_)) {
                true => self.hidden(),
                false => self.value(item),
            }
            if let Some(left) = self.left_out(start, i, items.len()) {
                if left > 0 {
                    self.out.push_str(if left < items.len() { "," } else { "" });
                    // Writing to a String cannot fail.
                    let _ = write!(self.out, r#""[shortened: {left} more]""#);
                }
                break;
            }
            follows_name = self.names_next(items, i);
        }
        self.out.push(']');
    }

    /// Returns true if an element names a secret in the next element: `["--password", "hunter2"]`, `["Authorization",
    /// "Bearer …"]`.
    fn names_next(&self, items: &[Value<'_>], at: usize) -> bool {
        let Some(Value::String(text)) = items.get(at) else {
            return false;
        };
        let is_pair = items.len() == 2 && at == 0;
        if !(is_pair || text.raw().starts_with('-')) {
            return false;
        }
        let name = text.decode();
        let is_name = name.len() <= MAX_NAME && !name.contains([' ', '=', ':']);
        let is_secret: IsSecret<'_> = &|name| self.redaction.judge(name) != Verdict::Plain;
        is_name && strings::is_secret_flag(&name, is_secret)
    }

    fn object(&mut self, members: &[(Text<'_>, Value<'_>)]) {
        self.out.push('{');
        for (i, (key, value)) in members.iter().enumerate() {
            let start = self.out.len();
            if i > 0 {
                self.out.push(',');
            }
            let key = key.decode();
            self.key(&key, i);
            self.out.push(':');
            let mut verdict = self.redaction.judge(&key);
            if verdict == Verdict::Plain && is_value_key(&key) {
                verdict = self.named_verdict(members);
            }
            match (verdict, value) {
                (Verdict::Plain, _)
                | (Verdict::SecretUnlessNumber, Value::Number(_))
                // Never a secret.
                | (_, Value::Null | Value::Bool(_)) => self.value(value),
                _ => self.hidden(),
            }
            if let Some(left) = self.left_out(start, i, members.len()) {
                // No note if its key would be a duplicate.
                if left > 0 && !members.iter().any(|(key, _)| key.is("…")) {
                    self.out
                        .push_str(if left < members.len() { "," } else { "" });
                    let _ = write!(self.out, r#""…":"[shortened: {left} more]""#);
                }
                break;
            }
        }
        self.out.push('}');
    }

    /// Writes a key. Two keys with secrets in them must stay distinct.
    fn key(&mut self, key: &str, at: usize) {
        // Too short to be recognized as a secret by its form.
        if key.len() < SHORTEST_SECRET {
            return write_plain(key, self.out);
        }
        let shown = self.shown(key, 0);
        if !shown.contains(REDACTED) {
            return write_plain(&shown, self.out);
        }
        self.has_hidden |= shown != key;
        write_plain(&format!("{shown} (member {at})"), self.out);
    }

    /// Returns what an object's `name`, `key` or `header` says about its `value`.
    fn named_verdict(&self, members: &[(Text<'_>, Value<'_>)]) -> Verdict {
        let names = members.iter().filter_map(|(key, value)| {
            let Value::String(name) = value else {
                return None;
            };
            let is_name = name.raw().len() <= MAX_NAME && is_name_key(&key.decode());
            is_name.then(|| self.redaction.judge(&name.decode()))
        });
        names.max().unwrap_or(Verdict::Plain)
    }

    fn hidden(&mut self) {
        self.has_hidden = true;
        write_plain(REDACTED, self.out);
    }

    /// Returns how many of `count` elements are left out if the one at `at` is the last to be written. It begins at
    /// `start` in the text, and is removed if it does not fit itself.
    fn left_out(&mut self, start: usize, at: usize, count: usize) -> Option<usize> {
        if self.is_full {
            return Some(count - at - 1);
        }
        if self.out.len() <= self.end {
            return None;
        }
        self.is_full = true;
        self.out.truncate(start);
        Some(count - at)
    }
}

/// A token that is recognized by its form is longer.
const SHORTEST_SECRET: usize = 12;

/// Maximum length of a text that can name the value next to it, in bytes.
const MAX_NAME: usize = 80;

/// Keys whose value is the name of another value.
#[rustfmt::skip] // One word per line would make the list look long.
const NAME_KEYS: &[&str] = &[
    "name", "key", "header", "field", "k", "id", "label", "param", "parameter", "prop", "property",
    "variable", "var", "attribute", "attr", "option", "flag", "setting", "selector", "element", "locator",
    "placeholder", "target", "env",
];

/// Keys whose value is named by another member.
#[rustfmt::skip] // As above.
const VALUE_KEYS: &[&str] = &[
    "value", "values", "val", "v", "content", "contents", "data", "text", "default", "raw", "input",
];

/// Words that may come before either, as in `headerName` and `headerValue`.
#[rustfmt::skip] // As above.
const KINDS: &[&str] = &[
    "header", "field", "param", "parameter", "property", "variable", "var", "attribute", "attr", "option",
    "setting", "key", "cookie", "env", "form", "input", "config", "query", "string", "new", "default",
    "plain",
];

fn is_name_key(key: &str) -> bool {
    names::is_named(key, KINDS, NAME_KEYS)
}

fn is_value_key(key: &str) -> bool {
    // Nearly every key has another ending.
    let end = |length: usize| {
        let bytes = key.as_bytes();
        bytes
            .len()
            .checked_sub(length)
            .and_then(|start| bytes.get(start..))
    };
    let ends_in = |value: &str| {
        end(value.len()).is_some_and(|end| end.eq_ignore_ascii_case(value.as_bytes()))
    };
    let is_likely = match end(1) {
        Some([b'e' | b'E']) => ends_in("value"),
        Some([b't' | b'T']) => {
            ends_in("text") || ends_in("content") || ends_in("default") || ends_in("input")
        }
        Some([b's' | b'S']) => ends_in("values") || ends_in("contents"),
        Some([b'a' | b'A']) => ends_in("data"),
        Some([b'l' | b'L' | b'v' | b'V' | b'w' | b'W']) => true,
        _ => false,
    };
    is_likely && names::is_named(key, KINDS, VALUE_KEYS)
}

/// Returns true if a key looks like the name of a secret, in any case style.
#[must_use]
pub fn looks_secret(key: &str) -> bool {
    names::judge(key) != Verdict::Plain
}

/// Replaces these ranges of a text.
fn replaced(text: &str, mut places: Vec<Range<usize>>) -> String {
    places.sort_unstable_by_key(|place| (place.start, place.end));
    let mut out = String::with_capacity(text.len());
    let mut end = 0;
    let mut is_first = true;
    for place in places {
        if place.start > end || is_first {
            out.push_str(text.get(end..place.start).unwrap_or_default());
            out.push_str(REDACTED);
        }
        is_first = false;
        end = end.max(place.end);
    }
    out.push_str(text.get(end..).unwrap_or_default());
    out
}

/// Returns the number of characters if it exceeds the limit.
fn too_many_characters(text: &str) -> Option<usize> {
    // The number of bytes is an upper bound, so most texts need no counting.
    if text.len() <= MAX_STRING {
        return None;
    }
    Some(text.chars().count()).filter(|count| *count > MAX_STRING)
}

/// Shortens a text of `count` characters.
fn shortened(text: &str, count: usize, digest: &str) -> String {
    let kept: String = text.chars().take(KEPT).collect();
    format!("{kept}… ({count} characters, {digest})")
}

/// Returns at most `most` bytes of a text, cut between characters.
fn beginning(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Appends text as a JSON string. Characters that are invisible, that move other text, or that end a line for some
/// readers are written as `\\uXXXX`.
pub fn write_plain(text: &str, out: &mut String) {
    // Nearly all text is printable ASCII without a quote; one pass over the bytes finds that out.
    let plain = text.bytes().fold(true, |all, b| {
        all & matches!(b, 0x20..=0x7E) & (b != b'"') & (b != b'\\')
    });
    if plain {
        out.reserve(text.len() + 2);
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    if !text.chars().any(|c| c >= '\x7F' && is_invisible(c)) {
        return write_string(text, out);
    }
    let mut written = String::new();
    write_string(text, &mut written);
    for c in written.chars() {
        if is_invisible(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
}

/// Appends a name, shortened if it is long and otherwise unchanged.
pub fn write_name(name: &str, digest: StringDigest, out: &mut String) {
    match too_many_characters(name) {
        Some(count) => write_plain(&shortened(name, count, &digest.of(name)), out),
        None => write_plain(name, out),
    }
}

/// Returns lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
