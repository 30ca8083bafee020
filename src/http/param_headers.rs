//! Arguments that a server wants to see in headers too, for clients that know no headers.
//!
//! SPEC 2026-07-28, Streamable HTTP, "Custom Headers from Tool Parameters".

use foldhash::HashMap;
use std::borrow::Cow;

use super::facts::{PARAM_PREFIX, decode, encode};
use crate::mcp::json::{Value, raw_member};

/// How deep schemas are looked into.
const MAX_DEPTH: usize = 16;
/// How many headers one tool may have, and all tools together.
const MAX_HEADERS: usize = 32;
const MAX_ALL: usize = 4_096;
/// The longest name of a header, and of a path to an argument, in bytes.
const MAX_NAME: usize = 64;
const MAX_PATH: usize = 512;

/// Which arguments of which tools stand in which headers.
#[derive(Debug, Default)]
pub(super) struct ParamHeaders {
    tools: HashMap<String, Vec<ParamHeader>>,
    /// How many headers there are in all.
    count: usize,
}

#[derive(Debug)]
struct ParamHeader {
    /// In lower case, with its prefix.
    name: String,
    path: Vec<String>,
}

impl ParamHeaders {
    /// Reads the result of a `tools/list`. A tool with more headers than anybody needs, or with bad
    /// ones, is one without.
    pub(super) fn learn(&mut self, line: &str) {
        let tools = raw_member(line, &["result", "tools"]);
        let Some(Ok(Value::Array(tools))) = tools.map(Value::parse_lossy) else {
            return;
        };
        for tool in &tools {
            let (Some(name), Some(schema)) = (
                tool.get("name").and_then(Value::as_str),
                tool.get("inputSchema"),
            ) else {
                continue;
            };
            if let Some(before) = self.tools.remove(&*name) {
                self.count -= before.len();
            }
            let mut found = Vec::new();
            let is_good = collect(schema, &mut Vec::new(), &mut found).is_some();
            if is_good && !found.is_empty() && self.count + found.len() <= MAX_ALL {
                self.count += found.len();
                self.tools.insert(name.into_owned(), found);
            }
        }
    }

    /// Whether the headers of a call with these `params` say what the arguments say. `given` are the
    /// headers that came with it, names in lower case. One of an argument that the call does not have says
    /// too much; one that no tool list explains must at least stand among the arguments: what a human is
    /// shown is all that a call says.
    ///
    /// # Errors
    /// What differs, in a sentence.
    pub(super) fn check(
        &self,
        tool: &str,
        params: &str,
        given: &[(&str, Option<&str>)],
    ) -> Result<(), String> {
        let wanted = self.of_call(tool, params);
        if wanted.is_empty() && given.is_empty() {
            return Ok(());
        }
        let differs = |name: &str| {
            format!("Header mismatch: the header {name} does not say what the arguments say")
        };
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
        let mut others = given
            .iter()
            .filter(|(name, _)| !wanted.iter().any(|(wanted, _)| wanted == name))
            .peekable();
        if others.peek().is_none() {
            return Ok(());
        }
        let arguments = raw_member(params, &["arguments"]).map(Value::parse);
        let arguments = arguments.and_then(Result::ok).unwrap_or(Value::Null);
        if let Some((name, _)) = given.iter().find(|(name, _)| {
            self.declares(tool, name) && !wanted.iter().any(|(wanted, _)| wanted == name)
        }) {
            return Err(differs(name));
        }
        for (name, value) in others.take(MAX_HEADERS + 1) {
            let value = value.and_then(decode);
            if !value.is_some_and(|value| stands_in(&arguments, &value)) {
                return Err(differs(name));
            }
        }
        match given.len() > MAX_HEADERS {
            true => Err("Header mismatch: too many headers of arguments".to_owned()),
            false => Ok(()),
        }
    }

    /// Whether a header, named in lower case, stands for an argument of this tool.
    pub(super) fn declares(&self, tool: &str, header: &str) -> bool {
        let declared = self.tools.get(tool).into_iter().flatten();
        declared.into_iter().any(|declared| declared.name == header)
    }

    /// The headers of a call with these `params`.
    pub(super) fn of_call(&self, tool: &str, params: &str) -> Vec<(String, String)> {
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

/// A value as a header says it; `None` for what stands in none.
fn text_of<'a>(value: &Value<'a>) -> Option<Cow<'a, str>> {
    match value {
        Value::String(text) => Some(text.decode()),
        Value::Number(token) => Some(Cow::Borrowed(token)),
        Value::Bool(true) => Some(Cow::Borrowed("true")),
        Value::Bool(false) => Some(Cow::Borrowed("false")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether one of the values says this.
fn stands_in(value: &Value<'_>, text: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| stands_in(item, text)),
        Value::Object(members) => members.iter().any(|(_, value)| stands_in(value, text)),
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
        // Beyond, doubles do not tell one whole number from the next.
        (Ok(a), Ok(b)) => a == b && a.abs() < MAX_SAFE,
        _ => false,
    }
}

/// Only chains of `properties` count. `None` where there are too many headers, or bad ones.
fn collect(schema: &Value<'_>, path: &mut Vec<String>, found: &mut Vec<ParamHeader>) -> Option<()> {
    if path.len() >= MAX_DEPTH {
        return Some(());
    }
    let properties = schema.get("properties").map_or(&[][..], Value::members);
    for (key, property) in properties {
        // Most arguments have none, and their names may be of any length.
        if property.members().is_empty() {
            continue;
        }
        path.push(key.decode().into_owned());
        if let Some(name) = property.get("x-mcp-header").and_then(Value::as_str) {
            let is_token = name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || TCHAR.contains(&b));
            let length: usize = path.iter().map(String::len).sum();
            let is_good = is_token && (1..=MAX_NAME).contains(&name.len()) && length <= MAX_PATH;
            if !is_good || found.len() >= MAX_HEADERS {
                return None;
            }
            found.push(ParamHeader {
                name: format!("{PARAM_PREFIX}{}", name.to_ascii_lowercase()),
                path: path.clone(),
            });
        }
        collect(property, path, found)?;
        path.pop();
    }
    Some(())
}

/// RFC 9110, section 5.6.2: what a token may hold beside letters and digits.
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
    fn headers_say_what_the_arguments_say_or_the_call_is_refused() {
        let headers = learned(r#"{"region":{"x-mcp-header":"Region"},"n":{"x-mcp-header":"N"}}"#);
        let params = r#"{"arguments":{"region":"test","n":42,"other":"o"}}"#;
        let check = |given: &[(&str, Option<&str>)]| headers.check("t", params, given);
        let region = ("mcp-param-region", Some("test"));
        let n = ("mcp-param-n", Some("42.0"));
        assert_eq!(check(&[region, n]), Ok(()));
        assert_eq!(check(&[region, n, ("mcp-param-x", Some("o"))]), Ok(()));
        for given in [
            &[region][..],
            &[("mcp-param-region", Some("prod")), n],
            &[region, region, n],
            &[("mcp-param-region", None), n],
            &[region, n, ("mcp-param-x", Some("prod"))],
            &[region, n, ("mcp-param-x", Some("=?base64?!?="))],
        ] {
            assert!(check(given).is_err(), "{given:?}");
        }
        // What the server would take for an argument that nobody was shown, whatever else says so.
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
        // Before any list is known, a header still says nothing that nobody was shown.
        let unknown = ParamHeaders::default();
        assert_eq!(unknown.check("t", params, &[region]), Ok(()));
        assert!(
            unknown
                .check("t", params, &[("mcp-param-region", Some("prod"))])
                .is_err()
        );
        assert!(unknown.check("t", "{}", &[region]).is_err());
    }

    #[test]
    fn a_list_that_is_made_to_be_expensive_is_not() {
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
        }
    }
}
