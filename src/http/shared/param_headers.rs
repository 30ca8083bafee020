//! Creates and checks the headers that repeat arguments of `tools/call`, if a tool's schema asks for them.
//!
//! `http_server` decides which of a client's headers go on to the server.
//!
//! SPEC 2026-07-28, Streamable HTTP, "Custom Headers from Tool Parameters".

use std::borrow::Cow;

use foldhash::{HashMap, HashSet};

use super::facts::{PARAM_PREFIX, decode, encode};
use crate::mcp::json::{Value, raw_member};
use crate::mcp::lenient::fold;

/// How deeply a schema is searched.
const MAX_DEPTH: usize = 16;
/// How many headers one tool may have.
const MAX_HEADERS: usize = 32;
/// How many headers all tools together may have.
const MAX_ALL: usize = 4_096;
/// The longest name of a header, in bytes.
const MAX_NAME: usize = 64;
/// The longest path to an argument, in bytes.
const MAX_PATH: usize = 512;
/// How many tools are remembered. The gate does not accept a longer list.
const MAX_TOOLS: usize = 10_000;
/// The longest name of a tool with headers, in bytes. To the gate, a tool with a longer name is unlisted.
const MAX_TOOL_NAME: usize = 1_024;

/// Which arguments of which tools are repeated in which headers.
#[derive(Debug, Default)]
pub(in crate::http) struct ParamHeaders {
    /// The tools with such headers, by their exact names.
    tools: HashMap<String, Vec<ParamHeader>>,
    /// The number of headers of all tools.
    count: usize,
    /// Every tool that was on a list, with or without headers.
    known: HashSet<Name>,
    /// True if some list had more tools than we remember. Any tool may have been on it.
    has_forgotten: bool,
}

/// A hash of a tool's name. Names that a lenient server takes for the same have the same hash.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Name([u8; 16]);

impl Name {
    fn of(tool: &str) -> Name {
        let hash = blake3::hash(fold(tool).as_bytes());
        let (start, _) = hash
            .as_bytes()
            .split_first_chunk()
            .unwrap_or((&[0; 16], &[]));
        Name(*start)
    }
}

#[derive(Debug)]
struct ParamHeader {
    /// In lower case, with [`PARAM_PREFIX`].
    name: String,
    path: Vec<String>,
}

impl ParamHeaders {
    /// Reads the result of a `tools/list`. A tool with too many or invalid headers counts as one
    /// without headers.
    pub(in crate::http) fn learn(&mut self, line: &str) {
        let Some(tools) = raw_member(line, &["result", "tools"]) else {
            return;
        };
        let Ok(Value::Array(tools)) = Value::parse_lossy(tools) else {
            self.has_forgotten = true;
            return;
        };
        for tool in &tools {
            let Some(name) = tool.get("name").and_then(Value::as_str) else {
                continue;
            };
            self.remember(&name);
            if let Some(before) = self.tools.remove(&*name) {
                self.count -= before.len();
            }
            let mut found = Vec::new();
            let schema = tool.get("inputSchema").unwrap_or(&Value::Null);
            let is_good = collect(schema, &mut Vec::new(), &mut found).is_some();
            let has_room = self.count + found.len() <= MAX_ALL && name.len() <= MAX_TOOL_NAME;
            if is_good && has_room && !found.is_empty() {
                self.count += found.len();
                self.tools.insert(name.into_owned(), found);
            }
        }
    }

    fn remember(&mut self, tool: &str) {
        let name = Name::of(tool);
        if self.known.len() < MAX_TOOLS {
            self.known.insert(name);
        } else if !self.known.contains(&name) {
            self.has_forgotten = true;
        }
    }

    /// Returns true if a tool was or may have been on a list, under this name or one that a lenient
    /// server takes for the same. A call of such a tool gets the headers that we create, and no others.
    pub(in crate::http) fn knows(&self, tool: &str) -> bool {
        self.has_forgotten || (!self.known.is_empty() && self.known.contains(&Name::of(tool)))
    }

    /// Checks that the headers of a call match its arguments. `given` are the headers that came with
    /// the call, with names in lower case.
    ///
    /// If the tool is known, the declared headers must be there. Others mean nothing, and are not
    /// forwarded. SPEC: servers that do not recognize a header are to ignore it. If the tool is
    /// unknown, the value of each header must occur among the arguments.
    ///
    /// # Errors
    /// What differs, in a sentence.
    pub(in crate::http) fn check(
        &self,
        tool: &str,
        params: &str,
        given: &[(&str, Option<&str>)],
    ) -> Result<(), String> {
        let wanted = self.of_call(tool, params);
        if wanted.is_empty() && given.is_empty() {
            return Ok(());
        }
        let differs =
            |name: &str| format!("Header mismatch: the header {name} does not match the arguments");
        for (name, wanted) in &wanted {
            let mut same_name = given.iter().filter(|(other, _)| other == name);
            let found = same_name.next().and_then(|(_, value)| *value);
            let is_same = found.and_then(decode).is_some_and(|found| {
                let wanted = decode(wanted).unwrap_or_default();
                found == wanted || is_same_number(&found, &wanted)
            });
            if !is_same || same_name.next().is_some() {
                return Err(differs(name));
            }
        }
        // A declared header whose argument the call does not have.
        if let Some((name, _)) = given.iter().find(|(name, _)| {
            self.declares(tool, name) && !wanted.iter().any(|(wanted, _)| wanted == name)
        }) {
            return Err(differs(name));
        }
        if given.is_empty() || self.knows(tool) {
            return Ok(());
        }
        let arguments = raw_member(params, &["arguments"]).map(Value::parse);
        let arguments = arguments.and_then(Result::ok).unwrap_or(Value::Null);
        for (name, value) in given.iter().take(MAX_HEADERS + 1) {
            let value = value.and_then(decode);
            if !value.is_some_and(|value| occurs_in(&arguments, &value)) {
                return Err(differs(name));
            }
        }
        match given.len() > MAX_HEADERS {
            true => Err("Header mismatch: too many Mcp-Param headers".to_owned()),
            false => Ok(()),
        }
    }

    /// Returns true if this tool declares a header with this name in lower case.
    fn declares(&self, tool: &str, header: &str) -> bool {
        let mut declared = self.tools.get(tool).into_iter().flatten();
        declared.any(|declared| declared.name == header)
    }

    /// Returns the headers for a call with these `params`.
    pub(in crate::http) fn of_call(&self, tool: &str, params: &str) -> Vec<(String, String)> {
        let Some(wanted) = self.tools.get(tool) else {
            return Vec::new();
        };
        let arguments = raw_member(params, &["arguments"]).map(Value::parse);
        let Some(Ok(arguments)) = arguments else {
            return Vec::new();
        };
        let headers = wanted.iter().filter_map(|header| {
            let mut path = header.path.iter();
            let value = path.try_fold(&arguments, |value, key| value.get(key))?;
            Some((header.name.clone(), encode(&text_of(value)?).into_owned()))
        });
        headers.collect()
    }
}

/// Returns a value as a header's text; `None` for values that have no header.
fn text_of<'a>(value: &Value<'a>) -> Option<Cow<'a, str>> {
    match value {
        Value::String(text) => Some(text.decode()),
        Value::Number(token) => Some(Cow::Borrowed(token)),
        Value::Bool(true) => Some(Cow::Borrowed("true")),
        Value::Bool(false) => Some(Cow::Borrowed("false")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns true if this text is one of the values in `value`.
fn occurs_in(value: &Value<'_>, text: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| occurs_in(item, text)),
        Value::Object(members) => members.iter().any(|(_, value)| occurs_in(value, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text_of(value).is_some_and(|found| found == text || is_same_number(&found, text))
        }
    }
}

/// 2^53.
const MAX_SAFE: f64 = 9_007_199_254_740_992.0;

/// SPEC: "servers SHOULD compare the header value and the body value numerically".
fn is_same_number(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        // Doubles beyond this cannot distinguish neighbouring integers.
        (Ok(a), Ok(b)) => a == b && a.abs() < MAX_SAFE,
        _ => false,
    }
}

/// Collects the headers that a schema declares, along chains of `properties` only. Returns `None` if
/// there are too many headers or an invalid one.
fn collect(schema: &Value<'_>, path: &mut Vec<String>, found: &mut Vec<ParamHeader>) -> Option<()> {
    if path.len() >= MAX_DEPTH {
        return Some(());
    }
    let properties = schema.get("properties").map_or(&[][..], Value::members);
    for (key, property) in properties {
        // Most properties declare no header. Skipping them first avoids copying long keys.
        if property.members().is_empty() {
            continue;
        }
        path.push(key.decode().into_owned());
        if let Some(name) = property.get("x-mcp-header").and_then(Value::as_str) {
            let is_token = name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || TCHAR.contains(&b));
            let length: usize = path.iter().map(String::len).sum();
            let name = name.to_ascii_lowercase();
            let is_good = is_token && (1..=MAX_NAME).contains(&name.len()) && length <= MAX_PATH;
            let name = format!("{PARAM_PREFIX}{name}");
            // SPEC: "MUST be case-insensitively unique".
            let is_taken = found.iter().any(|other| other.name == name);
            if !is_good || is_taken || found.len() >= MAX_HEADERS {
                return None;
            }
            let path = path.clone();
            found.push(ParamHeader { name, path });
        }
        collect(property, path, found)?;
        path.pop();
    }
    Some(())
}

/// RFC 9110, section 5.6.2: the characters of a token other than letters and digits.
const TCHAR: &[u8] = b"!#$%&'*+-.^_`|~";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marked_arguments_of_a_call_become_headers() {
        let mut headers = ParamHeaders::default();
        headers.learn(
            r#"{"id":1,"result":{"tools":[{"name":"sql","inputSchema":{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
            "list":{"type":"array","items":{"properties":{"x":{"x-mcp-header":"X"}}}}}}}]}}"#,
        );
        let params =
            r#"{"name":"sql","arguments":{"region":"größe","deep":{"n":42},"list":[{"x":1}]}}"#;
        assert_eq!(
            headers.of_call("sql", params),
            [
                (
                    "mcp-param-region".to_owned(),
                    "=?base64?Z3LDtsOfZQ==?=".to_owned()
                ),
                ("mcp-param-n".to_owned(), "42".to_owned()),
            ]
        );
        assert_eq!(
            headers.of_call("sql", r#"{"arguments":{"region":null}}"#),
            []
        );
        assert_eq!(headers.of_call("other", params), []);
    }

    fn learned(schema: &str) -> ParamHeaders {
        let mut headers = ParamHeaders::default();
        headers.learn(&format!(
            r#"{{"id":1,"result":{{"tools":[{{"name":"t","inputSchema":{{"properties":{schema}}}}}]}}}}"#
        ));
        headers
    }

    #[test]
    fn headers_must_match_the_arguments() {
        let headers = learned(r#"{"region":{"x-mcp-header":"Region"},"n":{"x-mcp-header":"N"}}"#);
        let params = r#"{"arguments":{"region":"test","n":42,"other":"o"}}"#;
        let check = |given: &[(&str, Option<&str>)]| headers.check("t", params, given);
        let region = ("mcp-param-region", Some("test"));
        let n = ("mcp-param-n", Some("42.0"));
        assert_eq!(check(&[region, n]), Ok(()));
        // Undeclared headers mean nothing.
        for value in [Some("o"), Some("prod"), Some("=?base64?!?="), None] {
            assert_eq!(check(&[region, n, ("mcp-param-x", value)]), Ok(()));
            assert_eq!(check(&[region, n, ("mcp-param-reg_ion", value)]), Ok(()));
        }
        for given in [
            &[region][..],
            &[("mcp-param-region", Some("prod")), n],
            &[region, region, n],
            &[("mcp-param-region", None), n],
            &[("mcp-param-reg_ion", Some("test")), n],
        ] {
            assert!(check(given).is_err(), "{given:?}");
        }
        // The server would take the header for an argument that nobody was shown.
        for params in [
            r#"{"arguments":{"n":42,"other":"test"}}"#,
            r#"{"arguments":{"n":42,"region":null,"other":"test"}}"#,
            r#"{"arguments":{"n":42,"region":["test"]}}"#,
            r#"{"arguments":{"n":42,"region":{"x":"test"}}}"#,
        ] {
            assert!(
                headers.check("t", params, &[region, n]).is_err(),
                "{params}"
            );
            assert_eq!(headers.check("t", params, &[n]), Ok(()));
        }
        // Before any list is known, a header's value must still be among the arguments that were shown.
        let unknown = ParamHeaders::default();
        assert_eq!(unknown.check("t", params, &[region]), Ok(()));
        assert!(
            unknown
                .check("t", params, &[("mcp-param-region", Some("prod"))])
                .is_err()
        );
        assert!(unknown.check("t", "{}", &[region]).is_err());
    }

    /// A list of tools that have only a name and a schema.
    fn list(tools: impl IntoIterator<Item = (String, &'static str)>) -> String {
        let tools = tools
            .into_iter()
            .map(|(name, schema)| format!(r#"{{"name":"{name}","inputSchema":{schema}}}"#));
        let tools: Vec<String> = tools.collect();
        format!(r#"{{"id":1,"result":{{"tools":[{}]}}}}"#, tools.join(","))
    }

    const REGION: &str = r#"{"properties":{"region":{"x-mcp-header":"Region"}}}"#;

    #[test]
    fn a_tool_is_known_once_it_was_on_a_list_with_or_without_headers() {
        let mut headers = ParamHeaders::default();
        assert!(!headers.knows("sql"));
        for nothing in [
            r#"{"id":1,"error":{"code":-32603,"message":"m"}}"#,
            r#"{"id":1,"result":{"tools":[]}}"#,
            r#"{"id":1,"result":{"tools":[{"inputSchema":{}},{"name":7}]}}"#,
        ] {
            headers.learn(nothing);
            assert!(!headers.knows("sql"), "{nothing}");
        }
        headers.learn(&list([("sql".into(), REGION), ("plain".into(), "{}")]));
        headers.learn(r#"{"id":1,"result":{"tools":[{"name":"bare"}]}}"#);
        // A server that trims and folds names takes these for the same tools.
        for known in [
            "sql",
            "plain",
            "bare",
            "SQL",
            " plain\n",
            "ba\u{200b}re",
            "\u{ff53}ql",
        ] {
            assert!(headers.knows(known), "{known:?}");
        }
        assert!(!headers.knows("other"));
        // Tools of earlier pages stay known, and a tool's headers are replaced.
        headers.learn(&list([("sql".into(), "{}"), ("next".into(), REGION)]));
        let params = r#"{"arguments":{"region":"eu"}}"#;
        assert_eq!(headers.of_call("sql", params), []);
        assert_eq!(headers.of_call("next", params).len(), 1);
        assert!(headers.knows("plain") && headers.knows("next"));
        assert_eq!(headers.count, 1);
    }

    // A tool that we do not remember may have been on the list.
    #[test]
    fn after_a_list_that_is_too_long_to_remember_every_tool_counts_as_known() {
        let names = |range: std::ops::Range<usize>| range.map(|n| (format!("t{n}"), "{}"));
        let mut headers = ParamHeaders::default();
        headers.learn(&list(names(0..MAX_TOOLS)));
        headers.learn(&list(names(0..MAX_TOOLS)));
        assert!(headers.knows("t0") && !headers.knows("other"));
        headers.learn(&list(names(MAX_TOOLS..2 * MAX_TOOLS)));
        assert!(headers.knows("other") && headers.known.len() == MAX_TOOLS);
        for unreadable in [
            r#"{"id":1,"result":{"tools":7}}"#,
            r#"{"id":1,"result":{"tools":[{"name":"a","name":"b"}]}}"#,
        ] {
            let mut headers = ParamHeaders::default();
            headers.learn(unreadable);
            assert!(headers.knows("a"), "{unreadable}");
        }
        // A tool whose name is too long has no headers, but is known.
        let long = "n".repeat(MAX_TOOL_NAME + 1);
        let mut headers = ParamHeaders::default();
        headers.learn(&list([(long.clone(), REGION)]));
        assert!(headers.knows(&long) && headers.tools.is_empty() && !headers.knows("other"));
    }

    // SPEC: "MUST be case-insensitively unique among all `x-mcp-header` values".
    #[test]
    fn a_tool_that_declares_one_header_twice_has_none() {
        let headers = learned(r#"{"a":{"x-mcp-header":"Region"},"b":{"x-mcp-header":"rEGION"}}"#);
        let params = r#"{"arguments":{"a":"1","b":"2"}}"#;
        assert_eq!(headers.of_call("t", params), []);
        assert!(headers.knows("t"));
    }

    #[test]
    fn a_hostile_list_is_cheap_to_read() {
        let key = "k".repeat(10_000);
        let leaves: Vec<String> = (0..5_000)
            .map(|n| format!(r#""a{n}":{{"x-mcp-header":"H{n}"}}"#))
            .collect();
        let leaves = leaves.join(",");
        for schema in [
            format!(r#"{{"{key}":{{"properties":{{{leaves}}}}}}}"#),
            format!("{{{leaves}}}"),
            r#"{"a":{"x-mcp-header":""}}"#.to_owned(),
            r#"{"a":{"x-mcp-header":"a b"}}"#.to_owned(),
            format!(
                r#"{{"a":{{"x-mcp-header":"{}"}}}}"#,
                "h".repeat(MAX_NAME + 1)
            ),
        ] {
            let headers = learned(&schema);
            assert!(headers.tools.is_empty() && headers.count == 0);
            // The tool is known, so a client's own headers do not count.
            assert!(headers.knows("t"));
        }
    }
}
