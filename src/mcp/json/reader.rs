//! The cursor over JSON text. It checks grammar and depth.
//!
//! `json` interprets the values.

use std::collections::HashSet;

use super::words::{BACKSLASHES, QUOTES, zero_bytes};
use super::{JsonError, MAX_SKIP_DEPTH, MAX_TREE_DEPTH, MAX_TREE_VALUES, Text, Value, hex4};

/// Returns the text of the value at `path` in an object, and checks no more than the grammar.
/// `None` if there is no such value, or if the text before it breaks the grammar.
#[must_use]
pub fn raw_member<'a>(text: &'a str, path: &[&str]) -> Option<&'a str> {
    let (first, rest) = path.split_first()?;
    let [found] = raw_members(text, [*first]);
    match rest {
        [] => found,
        _ => raw_member(found?, rest),
    }
}

/// Returns the texts of an object's members with these names, in one pass. All are `None` if the
/// text is not an object or breaks the grammar.
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
    /// Whether trees may contain half a surrogate pair.
    pub(super) lossy: bool,
    /// Whether the text contains a tab anywhere. Hardly any does.
    has_tabs: bool,
}

impl<'a> Reader<'a> {
    /// Creates a reader at the start of `text`.
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

    /// Returns the next byte that is not white space, without consuming it.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Checks that only white space follows.
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
    /// `Syntax` if there is no object here, or any error from reading it or from `each`. The caller
    /// must check for equal keys.
    pub fn object(
        &mut self,
        each: impl FnMut(&mut Reader<'a>, Text<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.expect(b'{')?;
        self.members(each)
    }

    /// Reads an object after its opening brace.
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
    /// `Syntax` if there is no array here, or any error from reading it or from `each`.
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

    /// Skips one value, checks only its grammar, and returns its text.
    ///
    /// # Errors
    /// `Syntax`, `ControlCharacter` or `TooDeep`.
    pub fn skip(&mut self) -> Result<&'a str, JsonError> {
        self.peek();
        let start = self.at;
        // One entry per open object (true) or array (false). Without recursion, a peer's nesting
        // costs heap bytes and no stack.
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
            // A value has ended: close the containers that end here, or go on to the next value.
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

    /// Skips one value as [`Reader::skip`] does, and also returns it as a tree if it can be read as
    /// one.
    ///
    /// # Errors
    /// Those of [`Reader::skip`].
    pub fn skip_as_tree(&mut self) -> Result<(&'a str, Option<Value<'a>>), JsonError> {
        self.peek();
        let (start, values) = (self.at, self.values);
        match self.tree() {
            Ok(tree) => Ok((self.slice(start, self.at)?, Some(tree))),
            // The caller finds this error when it reads the value as a tree. Here only the grammar
            // counts, so that the members after the value are still read.
            Err(_) => {
                (self.at, self.values) = (start, values);
                Ok((self.skip()?, None))
            }
        }
    }

    /// Reads one value as a tree. No object in it has a key twice.
    ///
    /// # Errors
    /// Any `JsonError` except those of [`line_text`](super::line_text) and `TrailingText`.
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

    /// Reads the rest of a string after its opening quote. Every reader must decode the string
    /// alike.
    fn rest_of_whole_string(&mut self) -> Result<Text<'a>, JsonError> {
        let text = self.rest_of_string()?;
        if text.lone_surrogate && !self.lossy {
            return Err(JsonError::LoneSurrogate);
        }
        Ok(text)
    }

    /// Reads a value that is neither an object nor an array and starts with the byte `first`.
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
        // `01`, `1x`: the text after a number must not look like part of it.
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

    /// Reads a string, including its opening quote.
    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        self.expect(b'"')?;
        self.rest_of_string()
    }

    /// Reads the rest of a string after its opening quote.
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
                // `line_text` allows tabs because they may stand between tokens.
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

    /// Skips the rest of an escape after its backslash.
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

    /// Consumes `byte` if it is next after white space.
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

/// Finds the next quote or backslash in a string.
fn end_of_plain_text(bytes: &[u8]) -> Option<usize> {
    // Most strings are short. For those, eight bytes at a time are faster than setting up a search.
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

fn continue_if_shallow(open: &[bool]) -> Result<(), JsonError> {
    if open.len() > MAX_SKIP_DEPTH {
        return Err(JsonError::TooDeep);
    }
    Ok(())
}

/// INVARIANT 4: two readers that keep different ones of two equal keys never both see this object.
fn no_equal_keys(members: &[(Text<'_>, Value<'_>)]) -> Result<(), JsonError> {
    // Most objects are small, and for those comparing pairs is faster than hashing.
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
