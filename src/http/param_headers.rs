//! Arguments that a server wants to see in headers too, for clients that know no headers.
//!
//! SPEC 2026-07-28, Streamable HTTP, "Custom Headers from Tool Parameters".

use std::collections::HashMap;

use super::facts::{decode, encode};
use crate::mcp::json::{Value, raw_member};

/// How many tools are remembered, and how deep their schemas are looked into.
const MAX_TOOLS: usize = 4_096;
const MAX_DEPTH: usize = 16;

/// Which arguments of which tools stand in which headers.
#[derive(Debug, Default)]
pub(super) struct ParamHeaders(HashMap<String, Vec<ParamHeader>>);

#[derive(Debug)]
struct ParamHeader {
    name: String,
    path: Vec<String>,
}

impl ParamHeaders {
    /// Reads the result of a `tools/list`.
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
            let mut found = Vec::new();
            collect(schema, &mut Vec::new(), &mut found);
            if found.is_empty() {
                self.0.remove(&*name);
            } else if self.0.len() < MAX_TOOLS || self.0.contains_key(&*name) {
                self.0.insert(name.into_owned(), found);
            }
        }
    }

    /// Whether the headers of a call with these `params` say what the arguments say. `header` looks
    /// one up by its name in lower case.
    ///
    /// # Errors
    /// What differs, in a sentence.
    pub(super) fn check<'h>(
        &self,
        tool: &str,
        params: &str,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> Result<(), String> {
        for (name, wanted) in self.of_call(tool, params) {
            let found = header(&name).and_then(decode);
            let is_same = found.is_some_and(|found| match decode(&wanted) {
                Some(wanted) => found == wanted || is_same_number(&found, &wanted),
                None => false,
            });
            if !is_same {
                return Err(format!(
                    "Header mismatch: the header {name} does not say what the argument says"
                ));
            }
        }
        Ok(())
    }

    /// The headers of a call with these `params`.
    pub(super) fn of_call(&self, tool: &str, params: &str) -> Vec<(String, String)> {
        let wanted = self.0.get(tool).map_or(&[][..], Vec::as_slice);
        let headers = wanted.iter().filter_map(|header| {
            let mut path = vec!["arguments"];
            path.extend(header.path.iter().map(String::as_str));
            let value = match Value::parse(raw_member(params, &path)?).ok()? {
                Value::String(text) => text.decode().into_owned(),
                Value::Number(token) => token.to_owned(),
                Value::Bool(value) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            let name = format!("mcp-param-{}", header.name.to_ascii_lowercase());
            Some((name, encode(&value).into_owned()))
        });
        headers.collect()
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

/// Only chains of `properties` count.
fn collect(schema: &Value<'_>, path: &mut Vec<String>, found: &mut Vec<ParamHeader>) {
    if path.len() >= MAX_DEPTH {
        return;
    }
    let properties = schema.get("properties").map_or(&[][..], Value::members);
    for (key, property) in properties {
        path.push(key.decode().into_owned());
        if let Some(name) = property.get("x-mcp-header").and_then(Value::as_str) {
            found.push(ParamHeader {
                name: name.into_owned(),
                path: path.clone(),
            });
        }
        collect(property, path, found);
        path.pop();
    }
}

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
}
