//! Reads the headers of a server with a URL, from the keys of all clients.

use std::collections::BTreeMap;

use super::environment::Environment;
use super::error::{Fault, Problem};
use super::expand::expand;
use super::json::{Node, Object};
use super::scalar::text_of;
use super::value::{Value as _, wrong_type};
use crate::evidence::redact::looks_secret;
use crate::sys::secret::Secret;

/// Returns the headers of `entry`, variables expanded.
///
/// # Errors
/// A wrong type, an unset variable, a header that is given twice, an empty credential, or characters that
/// a header cannot contain.
pub(super) fn headers(
    entry: &Object,
    environment: &Environment,
) -> Result<BTreeMap<String, Secret>, Fault> {
    let mut headers = Headers(BTreeMap::new());
    for key in ["headers", "http_headers"] {
        if let Some(node) = entry.get(key)? {
            let read = headers.read(node, |value| expand(value, environment));
            read.map_err(|fault| fault.under(key))?;
        }
    }
    // An option of the MCP SDK for TypeScript, which some clients pass on.
    if let Some(Node::Object(request)) = entry.get("requestInit")?
        && let Some(node) = request.get("headers")?
    {
        let read = headers.read(node, |value| expand(value, environment));
        read.map_err(|fault| fault.under("headers").under("requestInit"))?;
    }
    if let Some(node) = entry.get("env_http_headers")? {
        let read = headers.read(node, |name| named(name, environment));
        read.map_err(|fault| fault.under("env_http_headers"))?;
    }
    if let Some(node) = entry.get(TOKEN)? {
        let token = String::from_node(node).and_then(|name| Ok(named(&name, environment)?));
        let token = token.and_then(|token| match token.trim() {
            "" => Err(Problem::EmptySecret.into()),
            token => headers.add("Authorization".to_owned(), &format!("Bearer {token}")),
        });
        token.map_err(|fault| fault.under(TOKEN))?;
    }
    Ok(headers.0)
}

struct Headers(BTreeMap<String, Secret>);

impl Headers {
    fn read(
        &mut self,
        node: &Node,
        value: impl Fn(&str) -> Result<String, Problem>,
    ) -> Result<(), Fault> {
        let Node::Object(object) = node else {
            return Err(wrong_type::<BTreeMap<String, String>>(node));
        };
        for (name, node) in object.strict_members()? {
            if matches!(node, Node::Null) {
                continue;
            }
            let read = text_of(node).and_then(|text| Ok(value(&text)?));
            let added = read.and_then(|value| self.add(name.to_owned(), &value));
            added.map_err(|fault| fault.under(name))?;
        }
        Ok(())
    }

    fn add(&mut self, name: String, value: &str) -> Result<(), Fault> {
        // As browsers and Node do: a token from a file often ends with a line break.
        let value = value.trim_matches([' ', '\t', '\r', '\n']);
        if looks_secret(&name) && holds_no_credentials(value) {
            return Err(Problem::EmptySecret.into());
        }
        let is_header = reqwest::header::HeaderName::try_from(&name).is_ok()
            && reqwest::header::HeaderValue::try_from(value).is_ok();
        if !is_header {
            return Err(Fault::from(Problem::Unexpected {
                expected: "the name and the value of an HTTP header".to_owned(),
                found: "characters that a header cannot contain".to_owned(),
            }));
        }
        if self.0.keys().any(|known| known.eq_ignore_ascii_case(&name)) {
            return Err(Problem::DuplicateHeader.into());
        }
        self.0.insert(name, Secret::new(value.to_owned()));
        Ok(())
    }
}

/// Returns the value of the variable `name`.
fn named(name: &str, environment: &Environment) -> Result<String, Problem> {
    let value = environment.get(name)?.map(str::to_owned);
    value.ok_or_else(|| Problem::UnsetName(name.to_owned()))
}

/// Returns true if a header's value is blank, or only an authentication scheme, as `Bearer ${TOKEN}` is if
/// `TOKEN` is empty.
fn holds_no_credentials(value: &str) -> bool {
    const SCHEMES: [&str; 5] = ["bearer", "basic", "token", "digest", "apikey"];
    let value = value.trim();
    value.is_empty()
        || SCHEMES
            .iter()
            .any(|scheme| scheme.eq_ignore_ascii_case(value))
}

/// Codex's key for the name of the variable that holds a token.
const TOKEN: &str = "bearer_token_env_var";
