//! The one reader of JSON: strict, borrowing, and true to how numbers were written.
//!
//! It does not know what a message is; see `message` and `tool`.
//!
//! Why not `serde_json` here: it keeps the last of two equal keys, turns numbers into
//! doubles (or needs a feature that changes every crate in the tree), and accepts lone
//! surrogates in text that it skips. A gate must see exactly what any reader behind it
//! could see, so what readers are known to disagree about is an error here. Tests hold
//! this reader against `serde_json`: what it accepts, `serde_json` reads the same way.

use std::borrow::Cow;
use std::collections::HashSet;

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

/// The text of the value that stands at `path` below an object, without reading more of it than
/// its grammar. `None` where there is none, or where the text breaks the grammar before it.
#[must_use]
pub fn raw_member<'a>(text: &'a str, path: &[&str]) -> Option<&'a str> {
    let (first, rest) = path.split_first()?;
    let [found] = raw_members(text, [*first]);
    match rest {
        [] => found,
        _ => raw_member(found?, rest),
    }
}

/// The texts of an object's members of these names, all in one reading. All `None` where the text
/// is no object, or breaks the grammar.
#[must_use]
pub fn raw_members<'a, const N: usize>(text: &'a str, names: [&str; N]) -> [Option<&'a str>; N] {
    let mut reader = Reader::new(text);
    let mut found = [None; N];
    if reader.peek().is_none() {
        return found;
    }
    let read = reader.object(|reader, key| {
        let value = reader.skip()?;
        for (name, found) in names.iter().zip(&mut found) {
            if key.is(name) {
                *found = Some(value);
            }
        }
        Ok(())
    });
    match read {
        Ok(_) => found,
        Err(_) => [None; N],
    }
}

/// A cursor over JSON text that checks the grammar as it goes.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    values: usize,
    /// Whether trees may hold half a surrogate pair.
    lossy: bool,
    /// Whether the text holds tabs anywhere; nearly none does.
    has_tabs: bool,
}

impl<'a> Reader<'a> {
    /// Starts at the front of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Reader<'a> {
        Reader {
            text,
            at: 0,
            values: 0,
            lossy: false,
            has_tabs: memchr::memchr(b'\t', text.as_bytes()).is_some(),
        }
    }

    /// The next byte that is not white space, without passing it.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Checks that nothing but white space follows.
    ///
    /// # Errors
    /// `TrailingText`.
    pub fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(JsonError::TrailingText),
        }
    }

    /// Reads an object's members one by one; `each` must read the member's value.
    ///
    /// # Errors
    /// `Syntax` where no object stands, and what reading it or `each` returns. Equal keys
    /// are the caller's to find.
    pub fn object(
        &mut self,
        each: impl FnMut(&mut Reader<'a>, Text<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.expect(b'{')?;
        self.members(each)
    }

    /// Reads an object from behind its opening brace on.
    fn members(
        &mut self,
        mut each: impl FnMut(&mut Reader<'a>, Text<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            self.expect(b'"')?;
            let key = self.rest_of_whole_string()?;
            if key.escaped && key.decode().contains('\0') {
                return Err(JsonError::NulInKey);
            }
            self.expect(b':')?;
            each(self, key)?;
            if !self.eat(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// Reads an array's items one by one; `each` must read the item.
    ///
    /// # Errors
    /// `Syntax` where no array stands, and what reading it or `each` returns.
    pub fn array(
        &mut self,
        mut each: impl FnMut(&mut Reader<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.expect(b'[')?;
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if !self.eat(b',') {
                return self.expect(b']');
            }
        }
    }

    /// Passes one value, checking its grammar only, and returns its text.
    ///
    /// # Errors
    /// `Syntax`, `ControlCharacter` or `TooDeep`.
    pub fn skip(&mut self) -> Result<&'a str, JsonError> {
        self.peek();
        let start = self.at;
        // One entry for each open object (true) or array (false): no recursion, so that a
        // peer's nesting costs bytes and not stack.
        let mut open: Vec<bool> = Vec::new();
        loop {
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    if !self.eat(b'}') {
                        open.push(true);
                        self.string()?;
                        self.expect(b':')?;
                        continue_if_shallow(&open)?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    if !self.eat(b']') {
                        open.push(false);
                        continue_if_shallow(&open)?;
                        continue;
                    }
                }
                first => {
                    self.scalar(first)?;
                }
            }
            // A value has ended: close what it closes, or go on to the next one.
            loop {
                let Some(&in_object) = open.last() else {
                    return self.slice(start, self.at);
                };
                if self.eat(b',') {
                    if in_object {
                        self.string()?;
                        self.expect(b':')?;
                    }
                    break;
                }
                self.expect(if in_object { b'}' } else { b']' })?;
                open.pop();
            }
        }
    }

    /// Passes one value as [`Reader::skip`] does, and reads it as a tree on the way if it can be.
    ///
    /// # Errors
    /// Those of [`Reader::skip`].
    pub fn skip_as_tree(&mut self) -> Result<(&'a str, Option<Value<'a>>), JsonError> {
        self.peek();
        let (start, values) = (self.at, self.values);
        match self.tree() {
            Ok(tree) => Ok((self.slice(start, self.at)?, Some(tree))),
            // What is wrong with it is found again when it is read for its own sake; here only
            // the grammar counts, so that the members behind it are still read.
            Err(_) => {
                (self.at, self.values) = (start, values);
                Ok((self.skip()?, None))
            }
        }
    }

    /// Reads one value as a tree, in which no object holds a key twice.
    ///
    /// # Errors
    /// Any `JsonError` but those of [`line_text`] and `TrailingText`.
    pub fn tree(&mut self) -> Result<Value<'a>, JsonError> {
        self.tree_at(0)
    }

    fn tree_at(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        if depth > MAX_TREE_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.values += 1;
        if self.values > MAX_TREE_VALUES {
            return Err(JsonError::TooManyValues);
        }
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                let mut members = Vec::new();
                self.members(|reader, key| {
                    members.push((key, reader.tree_at(depth + 1)?));
                    Ok(())
                })?;
                no_equal_keys(&members)?;
                Ok(Value::Object(members))
            }
            Some(b'[') => {
                let mut items = Vec::new();
                self.array(|reader| {
                    items.push(reader.tree_at(depth + 1)?);
                    Ok(())
                })?;
                Ok(Value::Array(items))
            }
            Some(b'"') => {
                self.at += 1;
                self.rest_of_whole_string().map(Value::String)
            }
            first => self.scalar(first),
        }
    }

    /// Reads a string that means the same to every reader, from behind its opening quote on.
    fn rest_of_whole_string(&mut self) -> Result<Text<'a>, JsonError> {
        let text = self.rest_of_string()?;
        if text.lone_surrogate && !self.lossy {
            return Err(JsonError::LoneSurrogate);
        }
        Ok(text)
    }

    /// Reads a value that is no object and no array, and starts with the byte `first`.
    fn scalar(&mut self, first: Option<u8>) -> Result<Value<'a>, JsonError> {
        match first {
            Some(b'"') => {
                self.at += 1;
                self.rest_of_string().map(Value::String)
            }
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(JsonError::Syntax(self.at)),
        }
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, JsonError> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(JsonError::Syntax(self.at));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Value<'a>, JsonError> {
        let start = self.at;
        self.eat_here(b'-');
        if !self.eat_here(b'0') {
            self.digits()?;
        }
        if self.eat_here(b'.') {
            self.digits()?;
        }
        if self.eat_here(b'e') || self.eat_here(b'E') {
            let _ = self.eat_here(b'+') || self.eat_here(b'-');
            self.digits()?;
        }
        // `01`, `1x`: what follows a number must not look like more of it.
        if matches!(self.byte(), Some(b) if b.is_ascii_alphanumeric() || b == b'.' || b == b'-' || b == b'+')
        {
            return Err(JsonError::Syntax(self.at));
        }
        Ok(Value::Number(self.slice(start, self.at)?))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(JsonError::Syntax(self.at));
        }
        Ok(())
    }

    /// Reads a string, from its opening quote on.
    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        self.expect(b'"')?;
        self.rest_of_string()
    }

    /// Reads a string, from behind its opening quote on.
    fn rest_of_string(&mut self) -> Result<Text<'a>, JsonError> {
        let start = self.at;
        let mut escaped = false;
        let mut lone_surrogate = false;
        loop {
            let Some(ahead) = end_of_plain_text(self.rest()) else {
                return Err(JsonError::Syntax(self.text.len()));
            };
            let end = self.at + ahead;
            self.at = end + 1;
            if self.text.as_bytes().get(end) == Some(&b'"') {
                let raw = self.slice(start, end)?;
                // `line_text` lets tabs through, since they may stand between tokens.
                if self.has_tabs && memchr::memchr(b'\t', raw.as_bytes()).is_some() {
                    return Err(JsonError::ControlCharacter);
                }
                return Ok(Text {
                    raw,
                    escaped,
                    lone_surrogate,
                });
            }
            escaped = true;
            lone_surrogate |= self.escape()? == Surrogate::Lone;
        }
    }

    /// Passes what follows a backslash.
    fn escape(&mut self) -> Result<Surrogate, JsonError> {
        let at = self.at;
        self.at += 1;
        match self.text.as_bytes().get(at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                Ok(Surrogate::PairedOrNone)
            }
            Some(b'u') => match self.four_hex_digits()? {
                0xD800..=0xDBFF => {
                    let after = self.rest().strip_prefix(b"\\u").and_then(hex4);
                    let Some((0xDC00..=0xDFFF, rest)) = after else {
                        return Ok(Surrogate::Lone);
                    };
                    self.at = self.text.len() - rest.len();
                    Ok(Surrogate::PairedOrNone)
                }
                0xDC00..=0xDFFF => Ok(Surrogate::Lone),
                _ => Ok(Surrogate::PairedOrNone),
            },
            _ => Err(JsonError::Syntax(at)),
        }
    }

    fn four_hex_digits(&mut self) -> Result<u32, JsonError> {
        let (value, rest) = hex4(self.rest()).ok_or(JsonError::Syntax(self.at))?;
        self.at = self.text.len() - rest.len();
        Ok(value)
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn slice(&self, start: usize, end: usize) -> Result<&'a str, JsonError> {
        self.text.get(start..end).ok_or(JsonError::Syntax(start))
    }

    /// Passes `byte` if it comes next after white space.
    pub fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn eat_here(&mut self, byte: u8) -> bool {
        let found = self.byte() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(JsonError::Syntax(self.at))
        }
    }
}

/// Whether an escape is half of a surrogate pair.
#[derive(PartialEq, Eq)]
enum Surrogate {
    PairedOrNone,
    Lone,
}

/// Where a string's next quote or backslash stands.
fn end_of_plain_text(bytes: &[u8]) -> Option<usize> {
    // Most strings are short, and for those eight bytes at a time beat setting up a search.
    const SHORT: usize = 4;
    let (words, _) = bytes.as_chunks();
    let first = words.get(..SHORT).unwrap_or(words);
    for (i, word) in first.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES);
        if found != 0 {
            return Some(8 * i + (found.trailing_zeros() / 8) as usize);
        }
    }
    let at = 8 * first.len();
    let rest = bytes.get(at..)?;
    memchr::memchr2(b'"', b'\\', rest).map(|ahead| at + ahead)
}

const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);

/// The high bit of each byte that is zero; of those above the lowest zero byte, not reliably.
fn zero_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    word.wrapping_sub(ONES) & !word & HIGH
}

/// The high bit of each byte below 0x20; of those above the lowest such byte, not reliably.
fn controls(word: u64) -> u64 {
    const SPACES: u64 = u64::from_le_bytes([0x20; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    word.wrapping_sub(SPACES) & !word & HIGH
}

fn continue_if_shallow(open: &[bool]) -> Result<(), JsonError> {
    if open.len() > MAX_SKIP_DEPTH {
        return Err(JsonError::TooDeep);
    }
    Ok(())
}

/// INVARIANT 4: two readers that keep different ones of two equal keys never both see this.
fn no_equal_keys(members: &[(Text<'_>, Value<'_>)]) -> Result<(), JsonError> {
    // Most objects are small; comparing pairs then beats hashing.
    const FEW: usize = 8;
    let distinct = if members.len() <= FEW {
        members.iter().enumerate().all(|(i, (key, _))| {
            let later = &mut members.iter().skip(i + 1);
            later.all(|(other, _)| !key.means_the_same(other))
        })
    } else {
        let mut seen = HashSet::with_capacity(members.len());
        members.iter().all(|(key, _)| seen.insert(key.decode()))
    };
    if distinct {
        Ok(())
    } else {
        Err(JsonError::DuplicateKey)
    }
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
