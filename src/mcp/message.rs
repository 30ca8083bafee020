//! Reads the JSON-RPC envelope from raw text, so that the text itself can be relayed.
//!
//! It leaves the contents of `params` and `result` to `tool`, `elicit` and others.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::json::{JsonError, Reader, Text, Value, raw_member, write_string};
use super::lenient::{folds_to_one_of, shown_key};

/// Why a line cannot be read safely as a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Its text is not strict JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It is JSON, but neither an object nor a batch of them.
    #[error("neither a JSON object nor a batch of objects")]
    NotAnObject,
    /// A lenient reader could take a key for one of the protocol's.
    #[error(
        "the key `{0}` differs from a protocol key only by case, white space or invisible characters"
    )]
    FoldedKey(String),
    /// It is neither a request, nor a notification, nor a response.
    #[error("neither a request, nor a notification, nor a response")]
    NoKind,
    /// It has both `method` and a result or error, so readers disagree about its kind.
    #[error("both a request and a response")]
    TwoKinds,
    /// It has more members outside the protocol than any message needs.
    #[error("more than {MAX_OTHERS} members that the protocol does not define")]
    TooManyMembers,
    /// A batch has too many entries.
    #[error("a batch of more than {MAX_BATCH} entries")]
    TooManyEntries,
    /// `method` is not a string.
    #[error("`method` is not a string")]
    MethodNotAString,
}

/// Maximum number of envelope members that the protocol does not define.
const MAX_OTHERS: usize = 64;
/// Maximum number of entries in a batch.
const MAX_BATCH: usize = 4_096;
/// Maximum length of a request's id in bytes. Ids of pending requests are kept in memory.
pub(crate) const MAX_ID: usize = 1_024;

/// A JSON-RPC id, compared by value: `1` and `1.0` are the same id, `1` and `"1"` are not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestId {
    /// A whole number.
    Integer(i64),
    /// A number that is not a 64-bit integer, as it was written.
    Number(Arc<str>),
    /// A string.
    Text(Arc<str>),
}

impl RequestId {
    /// Returns true if MCP allows this id: "Requests MUST include a string or integer ID".
    #[must_use]
    pub fn is_usable(&self) -> bool {
        match self {
            RequestId::Integer(_) | RequestId::Text(_) => true,
            RequestId::Number(token) => !token.contains(['.', 'e', 'E']),
        }
    }

    /// Returns true if the id is longer than any request needs.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        match self {
            RequestId::Integer(_) => false,
            RequestId::Number(text) | RequestId::Text(text) => text.len() > MAX_ID,
        }
    }

    /// Appends the id as JSON.
    pub fn write(&self, out: &mut String) {
        match self {
            RequestId::Integer(value) => out.push_str(itoa::Buffer::new().format(*value)),
            RequestId::Number(token) => out.push_str(token),
            RequestId::Text(text) => write_string(text, out),
        }
    }

    /// Reads a value as an id; `None` if it cannot be one.
    #[must_use]
    pub fn read(value: &Value<'_>) -> Option<RequestId> {
        match value {
            Value::String(text) => Some(RequestId::Text(text.decode().into())),
            Value::Number(token) => Some(RequestId::from_number(token)),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Reads an id from JSON text.
    #[must_use]
    pub fn from_json(text: &str) -> Option<RequestId> {
        RequestId::read(&Value::parse(text).ok()?)
    }

    /// Returns this id as a server would if it turns numbers into text or text into numbers: `"1"` for `1`, and `1` for
    /// `"1"`. `None` if converting it back would give another text, as with `"01"`.
    #[must_use]
    pub fn twin(&self) -> Option<RequestId> {
        match self {
            RequestId::Integer(value) => Some(RequestId::Text(value.to_string().into())),
            RequestId::Text(text) => {
                let value: i64 = text.parse().ok()?;
                (value.to_string() == **text).then_some(RequestId::Integer(value))
            }
            RequestId::Number(_) => None,
        }
    }

    fn from_number(token: &str) -> RequestId {
        if let Ok(value) = token.parse() {
            return RequestId::Integer(value);
        }
        // Peers that read numbers as doubles answer `1.0` with `1`.
        match token.parse::<f64>() {
            Ok(value) if value.fract() == 0.0 && value.abs() < MAX_EXACT => {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "whole and within 2^53, so exact"
                )]
                let value = value as i64;
                RequestId::Integer(value)
            }
            _ => RequestId::Number(token.into()),
        }
    }
}

/// Doubles represent every whole number below this exactly.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

/// The `id` member of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// There is none.
    Absent,
    /// It is `null`, a boolean, an array or an object.
    Unusable,
    /// It is a string or a number.
    Some(RequestId),
}

impl Id {
    /// Returns the id, if it is readable.
    #[must_use]
    pub fn as_ref(&self) -> Option<&RequestId> {
        match self {
            Id::Some(id) => Some(id),
            Id::Absent | Id::Unusable => None,
        }
    }
}

/// The kind of a message, derived from its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A request or, without an id, a notification.
    Call {
        /// The method, unescaped.
        method: Cow<'a, str>,
        /// The text of `params`.
        params: Option<&'a str>,
        /// The parsed `params` of a `tools/call`, if they could be read in the same pass: `method` came before them,
        /// and they have no error.
        tree: Option<Value<'a>>,
    },
    /// A response. One with both members or an odd id is still a response.
    Response {
        /// The text of `result`.
        result: Option<&'a str>,
        /// The text of `error`.
        error: Option<&'a str>,
    },
}

/// One message's envelope, borrowed from its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// The id.
    pub id: Id,
    /// What the message is.
    pub kind: Kind<'a>,
    /// Whether `jsonrpc` is `"2.0"` and the envelope has only members that the protocol defines.
    pub is_plain: bool,
}

/// What is known about a line that cannot be read safely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The id, if one was read before the error; a refusal goes to it.
    pub id: Option<RequestId>,
    /// The error.
    pub error: MessageError,
}

/// A line's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// White space only.
    Blank,
    /// One message.
    Message(Message<'a>),
    /// The texts of a batch's entries (2025-03-26 allows batches).
    Batch(Vec<&'a str>),
}

/// Reads a line's text.
///
/// # Errors
/// `Unreadable` if two readers could read the line differently, or if it is not a message.
pub fn read_line(text: &str) -> Result<Line<'_>, Unreadable> {
    read_line_with(text, Trees::Read)
}

/// Like [`read_line`], without the parsed parameters of a call, which take most of the time.
///
/// # Errors
/// As [`read_line`].
pub fn read_envelope(text: &str) -> Result<Line<'_>, Unreadable> {
    read_line_with(text, Trees::Skip)
}

/// Whether to parse the parameters of a call as a tree in the same pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trees {
    Read,
    Skip,
}

fn read_line_with(text: &str, trees: Trees) -> Result<Line<'_>, Unreadable> {
    let start = text.trim_start_matches([' ', '\t', '\n', '\r']);
    match start.as_bytes().first() {
        None => Ok(Line::Blank),
        Some(b'[') => read_batch(Reader::new(text))
            .map(Line::Batch)
            .map_err(|error| Unreadable { id: None, error }),
        Some(_) => read_message_with(text, trees).map(Line::Message),
    }
}

fn read_batch(mut reader: Reader<'_>) -> Result<Vec<&str>, MessageError> {
    let mut entries = Vec::new();
    let mut left_out = false;
    reader.array(|reader| {
        let entry = reader.skip()?;
        if entries.len() < MAX_BATCH {
            entries.push(entry);
        } else {
            left_out = true;
        }
        Ok(())
    })?;
    reader.end()?;
    if left_out {
        return Err(MessageError::TooManyEntries);
    }
    Ok(entries)
}

/// Reads the text of one message.
///
/// # Errors
/// As [`read_line`].
pub fn read_message(text: &str) -> Result<Message<'_>, Unreadable> {
    read_message_with(text, Trees::Read)
}

fn read_message_with(text: &str, trees: Trees) -> Result<Message<'_>, Unreadable> {
    let mut reader = Reader::new(text);
    if reader.peek() != Some(b'{') {
        let error = not_an_object(reader);
        return Err(Unreadable { id: None, error });
    }
    let mut envelope = Envelope::default();
    match envelope.read(reader, trees) {
        Ok(()) => {}
        Err(error) => {
            return Err(Unreadable {
                // An id that occurs twice identifies nobody.
                id: envelope.id.take().and_then(|id| RequestId::read(&id)),
                error,
            });
        }
    }
    let id = match &envelope.id {
        None => Id::Absent,
        Some(value) => RequestId::read(value).map_or(Id::Unusable, Id::Some),
    };
    let unreadable = |error| Unreadable {
        id: id.as_ref().cloned(),
        error,
    };
    let answers = envelope.result.is_some() || envelope.error.is_some();
    let kind = match envelope.method {
        Some(_) if answers => return Err(unreadable(MessageError::TwoKinds)),
        Some(Value::String(method)) => Kind::Call {
            method: method.decode(),
            params: envelope.params,
            tree: envelope.tree,
        },
        Some(_) => return Err(unreadable(MessageError::MethodNotAString)),
        None if answers => Kind::Response {
            result: envelope.result,
            error: envelope.error,
        },
        None => return Err(unreadable(MessageError::NoKind)),
    };
    let is_plain = envelope.version_2 && envelope.others.is_empty();
    Ok(Message { id, kind, is_plain })
}

/// Returns the error for a text that does not start with an object. SPEC, JSON-RPC 2.0, section 5.1, distinguishes
/// "Invalid JSON" from "The JSON sent is not a valid Request object".
fn not_an_object(mut reader: Reader<'_>) -> MessageError {
    match reader.skip().and_then(|_| reader.end()) {
        Ok(()) => MessageError::NotAnObject,
        Err(error) => error.into(),
    }
}

#[derive(Default)]
struct Envelope<'a> {
    version_2: bool,
    version_seen: bool,
    id: Option<Value<'a>>,
    method: Option<Value<'a>>,
    params: Option<&'a str>,
    tree: Option<Value<'a>>,
    result: Option<&'a str>,
    error: Option<&'a str>,
    others: Vec<Text<'a>>,
}

/// The method that runs a tool.
pub const CALL: &str = "tools/call";

const ENVELOPE_KEYS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

impl<'a> Envelope<'a> {
    fn read(&mut self, mut reader: Reader<'a>, trees: Trees) -> Result<(), MessageError> {
        let mut folded = None;
        let mut too_many = false;
        reader.object(|reader, key| {
            let name = key.decode();
            match &*name {
                "jsonrpc" => {
                    let value = reader.skip()?;
                    self.version_2 = value == "\"2.0\"";
                    once(std::mem::replace(&mut self.version_seen, true))
                }
                "id" => {
                    let value = reader.tree()?;
                    let before = self.id.take();
                    once(before.is_some())?;
                    self.id = Some(value);
                    Ok(())
                }
                "method" => once(self.method.replace(reader.tree()?).is_some()),
                "params" => {
                    let method = self.method.as_ref();
                    let is_call = matches!(method, Some(Value::String(method)) if method.is(CALL));
                    let (text, tree) = if is_call && trees == Trees::Read {
                        reader.skip_as_tree()?
                    } else {
                        (reader.skip()?, None)
                    };
                    self.tree = tree;
                    once(self.params.replace(text).is_some())
                }
                "result" => once(self.result.replace(reader.skip()?).is_some()),
                "error" => once(self.error.replace(reader.skip()?).is_some()),
                other => {
                    if self.others.len() >= MAX_OTHERS {
                        too_many = true;
                        return reader.skip().map(drop);
                    }
                    if folds_to_one_of(other, &ENVELOPE_KEYS) {
                        folded = Some(shown_key(other));
                    }
                    once(self.others.iter().any(|seen| seen.decode() == other))?;
                    self.others.push(key);
                    reader.skip().map(drop)
                }
            }
        })?;
        reader.end()?;
        if too_many {
            return Err(MessageError::TooManyMembers);
        }
        match folded {
            Some(key) => Err(MessageError::FoldedKey(key)),
            None => Ok(()),
        }
    }
}

/// INVARIANT 4: an envelope with a duplicate key is never accepted.
fn once(seen_before: bool) -> Result<(), JsonError> {
    if seen_before {
        Err(JsonError::DuplicateKey)
    } else {
        Ok(())
    }
}

/// What comes before the id, in the two orders.
const ID_FIRST: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
const ID_LAST: &[u8] = br#","jsonrpc":"2.0","id":"#;

/// Reads a result's id from one end of the line only, in the two orders in which servers write the members: `jsonrpc`,
/// `id`, `result` and `result`, `jsonrpc`, `id`.
///
/// Results are large, and most need no more than this. Invalid JSON in between goes unnoticed and reaches the client,
/// as it would without a proxy. That gives a server no new power, because it can send its client any line.
#[must_use]
pub fn peek_result_id(line: &[u8]) -> Option<RequestId> {
    peek_result(line).map(|(id, _)| id)
}

/// Like [`peek_result_id`], and also returns the position of the id in the line.
#[must_use]
pub fn peek_result(line: &[u8]) -> Option<(RequestId, Range<usize>)> {
    let inner = line.strip_suffix(b"}")?;
    let (start, token) = if let Some(rest) = inner.strip_prefix(ID_FIRST) {
        let end = memchr::memchr(b',', rest.get(..MAX_PEEKED_ID.min(rest.len()))?)?;
        let (token, rest) = rest.split_at_checked(end)?;
        let is_result = rest.starts_with(br#","result":"#);
        (ID_FIRST.len(), is_result.then_some(token)?)
    } else if inner.starts_with(br#"{"result":"#) {
        let tail_start = inner.len().saturating_sub(MAX_PEEKED_ID);
        let at = memchr::memmem::rfind(inner.get(tail_start..)?, ID_LAST)?;
        let start = tail_start + at + ID_LAST.len();
        (start, inner.get(start..)?)
    } else {
        return None;
    };
    let place = start..start + token.len();
    let token = std::str::from_utf8(token).ok()?;
    // Only ids without commas and escapes: digits, or a plain quoted word.
    let word = token
        .strip_prefix('"')
        .and_then(|token| token.strip_suffix('"'));
    let id = match word {
        Some(word) if word.bytes().all(is_plain_id_byte) => RequestId::Text(word.into()),
        Some(_) => return None,
        None if token.bytes().all(|b| b.is_ascii_digit()) => {
            RequestId::Integer(token.parse().ok()?)
        }
        None => return None,
    };
    Some((id, place))
}

/// Returns a message with another id and everything else unchanged; `None` if it has no id.
#[must_use]
pub fn with_id(line: &str, id: &RequestId) -> Option<String> {
    let own = peek_result(line.as_bytes()).and_then(|(_, place)| line.get(place));
    let own = own.or_else(|| raw_member(line, &["id"]))?;
    let start = own.as_ptr().addr() - line.as_ptr().addr();
    let mut out = String::with_capacity(line.len() + 32);
    out.push_str(line.get(..start)?);
    id.write(&mut out);
    out.push_str(line.get(start + own.len()..)?);
    Some(out)
}

/// Finds the id of a message of which only both ends are left. Peers write the id before or after the part that makes a
/// message large. Use it only to address an error.
#[must_use]
pub fn id_at_the_ends(head: &[u8], tail: &[u8]) -> Option<RequestId> {
    id_at_the_front(&String::from_utf8_lossy(head))
        .or_else(|| id_at_the_end(&String::from_utf8_lossy(tail)))
}

fn id_at_the_front(text: &str) -> Option<RequestId> {
    let mut reader = Reader::new(text);
    let mut id = None;
    // The object's end is missing, so reading it always fails somewhere.
    let _ = reader.object(|reader, key| match &*key.decode() {
        "jsonrpc" => reader.skip().map(drop),
        "id" => {
            id = RequestId::read(&reader.tree()?);
            Err(JsonError::TrailingText)
        }
        _ => Err(JsonError::TrailingText),
    });
    id
}

fn id_at_the_end(text: &str) -> Option<RequestId> {
    const KEY: &str = r#","id":"#;
    let (_, rest) = text.rsplit_once(KEY)?;
    let mut reader = Reader::new(rest);
    let id = RequestId::read(&reader.tree().ok()?);
    // Only the end of the message may follow. Otherwise this is not the message's own id.
    if reader.eat(b',') {
        let version = [r#""jsonrpc":"2.0"}"#, r#""jsonrpc": "2.0"}"#];
        let rest = rest.trim_end();
        return id.filter(|_| version.iter().any(|version| rest.ends_with(version)));
    }
    id.filter(|_| reader.eat(b'}') && reader.end().is_ok())
}

/// How many bytes at each end of a line [`peek_result_id`] searches.
const MAX_PEEKED_ID: usize = 128;

fn is_plain_id_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':')
}

#[cfg(test)]
mod tests;
