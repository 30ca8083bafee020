//! How other readers read a line: `serde_json` with every key kept, and the quirks of lenient
//! readers.
//!
//! It shares no code with the proxy's own reader.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in their order, including equal keys.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Returns the members of an object with the texts of their values; `text` must be exactly one
/// object.
pub(crate) fn members(text: &str) -> Option<Vec<(String, &str)>> {
    let Members(members) = serde_json::from_str(text).ok()?;
    let members = members.into_iter();
    Some(members.map(|(key, value)| (key, value.get())).collect())
}

/// Returns the texts of an array's items; `text` must be exactly one array.
pub(crate) fn items(text: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

/// Returns true if `text` is exactly one JSON value, whatever its strings contain.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

pub(crate) fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// Returns the member of this name, if there is exactly one.
pub(crate) fn only<'a>(members: &[(String, &'a str)], name: &str) -> Option<&'a str> {
    let mut found = members.iter().filter(|(key, _)| key == name);
    let value = found.next().map(|(_, value)| *value);
    value.filter(|_| found.next().is_none())
}

pub(crate) fn has_equal_keys(members: &[(String, &str)]) -> bool {
    let keys: BTreeSet<&String> = members.iter().map(|(key, _)| key).collect();
    keys.len() < members.len()
}

/// Folds case as Go's `encoding/json` does (including `ſ` and the Kelvin sign), and as readers do
/// that know dotless and dotted `i`. Also trims, drops the best-known invisible characters, and
/// turns full-width letters into ASCII.
pub(crate) fn fold(text: &str) -> String {
    let one = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        '\u{ff0f}' => '/',
        '\u{ff21}'..='\u{ff3a}' => ('a'..='z').nth(c as usize - 0xFF21).unwrap_or(c),
        '\u{ff41}'..='\u{ff5a}' => ('a'..='z').nth(c as usize - 0xFF41).unwrap_or(c),
        other => other.to_ascii_lowercase(),
    };
    let drawn = text.chars().filter(|c| {
        !matches!(
            c,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
        )
    });
    let folded: String = drawn.map(one).collect();
    folded.trim().to_owned()
}

/// A tool call as some readers see it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// Every name that some reader could see.
    pub(crate) names: BTreeSet<String>,
    /// What `arguments.m` could be.
    pub(crate) marks: BTreeSet<String>,
    /// Whether method, params and name have only one reading.
    pub(crate) is_plain: bool,
}

/// Returns every tool call that any reader could see in a line: one that keeps the first or the
/// last of equal keys, folds case, splits at other line ends, reads several values, or accepts
/// invalid UTF-8.
pub(crate) fn calls(line: &[u8]) -> Vec<Call> {
    let text = String::from_utf8_lossy(line);
    let mut calls = Vec::new();
    calls_in(&text, &mut calls);
    let ends = [
        '\r', '\n', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
    ];
    if text.contains(ends) {
        text.split(ends).for_each(|part| calls_in(part, &mut calls));
    }
    calls
}

fn calls_in(text: &str, calls: &mut Vec<Call>) {
    let text = text.trim_start_matches('\u{feff}');
    let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    for value in values.map_while(Result::ok) {
        calls_in_value(value.get(), 0, calls);
    }
}

fn calls_in_value(text: &str, depth: usize, calls: &mut Vec<Call>) {
    if depth > 64 {
        return;
    }
    if let Some(items) = items(text) {
        for item in items {
            calls_in_value(item, depth + 1, calls);
        }
    }
    let Some(members) = members(text) else {
        return;
    };
    let methods = all(&members, "method");
    let is_call = |text: &&&str| string(text).is_some_and(|method| fold(&method) == "tools/call");
    if methods.iter().find(is_call).is_none() {
        return;
    }
    let params = all(&members, "params");
    let mut call = Call::default();
    let mut names = 0;
    for members in params.iter().filter_map(|params| self::members(params)) {
        for name in all(&members, "name") {
            names += 1;
            call.names.extend(string(name));
        }
        for arguments in all(&members, "arguments") {
            let arguments = self::members(arguments).unwrap_or_default();
            let marks = arguments.iter().filter(|(key, _)| key == "m");
            call.marks
                .extend(marks.filter_map(|(_, value)| string(value)));
        }
    }
    call.is_plain = methods.len() == 1 && params.len() == 1 && names == 1;
    calls.push(call);
}

/// Returns the values of all members whose key some reader could take for `name`.
fn all<'a>(members: &[(String, &'a str)], name: &str) -> Vec<&'a str> {
    let found = members.iter().filter(|(key, _)| {
        let seen = key.split('\0').next().unwrap_or_default();
        fold(seen) == name
    });
    found.map(|(_, value)| *value).collect()
}
