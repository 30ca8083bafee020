//! Shows an entry without its secrets.

use std::ops::Range;

use super::syntax::{Layout, Member, Node, Syntax, Value};
use crate::evidence::redact::{Redaction, looks_secret};

/// Returns the text of a member with its secrets replaced. Values of the environment and of headers are secrets,
/// unless they are variables of the client.
pub(super) fn masked(text: &str, member: &Member, syntax: Syntax) -> String {
    let mut hidden = Hidden {
        syntax,
        redaction: Redaction::default(),
        places: Vec::new(),
    };
    hidden.member(member, false);
    let whole = member.at();
    let mut out = String::new();
    let mut done = whole.start;
    hidden.places.sort_by_key(|(at, _)| at.start);
    for (at, with) in &hidden.places {
        // Between values there may be comments, which may hold secrets too.
        let between = text.get(done..at.start).unwrap_or_default();
        out.push_str(&hidden.redaction.text(between));
        match with {
            Some(with) => out.push_str(with),
            None => out.push_str(text.get(at.clone()).unwrap_or_default()),
        }
        done = at.end;
    }
    out.push_str(
        &hidden
            .redaction
            .text(text.get(done..whole.end).unwrap_or_default()),
    );
    out
}

struct Hidden {
    syntax: Syntax,
    redaction: Redaction,
    /// Keys and values, each with what is shown instead.
    places: Vec<(Range<usize>, Option<String>)>,
}

impl Hidden {
    fn member(&mut self, member: &Member, in_secrets: bool) {
        if !matches!(member.layout, Layout::Table | Layout::Dotted(_)) {
            self.places.push((member.key_at.clone(), None));
        }
        let holds_secrets = SECRETS.contains(&member.key.as_str());
        let names_variables = NAMES.contains(&member.key.as_str());
        let is_secret = in_secrets || looks_secret(&member.key) && !names_variables;
        self.node(&member.node, is_secret, holds_secrets || in_secrets);
    }

    fn node(&mut self, node: &Node, is_secret: bool, in_secrets: bool) {
        match &node.value {
            Value::Text(text) => self.text(node, text, is_secret),
            Value::Other if is_secret || in_secrets => self.hide(node, REDACTED),
            Value::Map(members) => {
                for member in members {
                    self.member(member, in_secrets);
                }
            }
            Value::List(words) => self.words(words, is_secret),
            Value::Null | Value::Bool(_) | Value::Other => {
                self.places.push((node.at.clone(), None))
            }
        }
    }

    /// Arguments: a secret may follow an option that names it, or stand behind a `=`.
    fn words(&mut self, words: &[Node], is_secret: bool) {
        let mut option = "";
        for word in words {
            let Some(text) = word.text() else {
                self.node(word, is_secret, false);
                option = "";
                continue;
            };
            let names_variable = OURS.contains(&option);
            let follows = option.starts_with('-')
                && !text.starts_with('-')
                && looks_secret(option.trim_start_matches('-'));
            match text.split_once('=') {
                _ if names_variable => self.places.push((word.at.clone(), None)),
                Some((key, value))
                    if looks_secret(key.trim_start_matches('-')) && !is_variable(value) =>
                {
                    self.hide(word, &format!("{key}={REDACTED}"));
                }
                _ => self.text(word, text, is_secret || follows),
            }
            option = text;
        }
    }

    fn text(&mut self, node: &Node, text: &str, is_secret: bool) {
        if is_secret && !is_variable(text) && !text.is_empty() {
            return self.hide(node, REDACTED);
        }
        let shown = without_credentials(text);
        let shown = self.redaction.text(&shown);
        match shown == text {
            true => self.places.push((node.at.clone(), None)),
            false => {
                let shown = shown.into_owned();
                self.hide(node, &shown);
            }
        }
    }

    fn hide(&mut self, node: &Node, with: &str) {
        let literal = self.syntax.literal(with);
        self.places.push((node.at.clone(), Some(literal)));
    }
}

/// Returns true if the whole text is a variable that the client expands, such as `${input:key}`.
fn is_variable(text: &str) -> bool {
    let inner = text
        .strip_prefix("${")
        .or_else(|| text.strip_prefix("{env:"))
        .and_then(|rest| rest.strip_suffix('}'));
    // A default value may be a secret.
    inner.is_some_and(|inner| !inner.contains(['{', '}']) && !inner.contains(":-"))
}

/// Returns a URL without user name, password, query and fragment.
fn without_credentials(text: &str) -> String {
    let is_web = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https" | "ws" | "wss");
    let Some(mut url) = reqwest::Url::parse(text.trim()).ok().filter(is_web) else {
        return text.to_owned();
    };
    let is_named = !url.username().is_empty() || url.password().is_some();
    if !is_named && url.query().is_none() && url.fragment().is_none() {
        return text.to_owned();
    }
    if is_named {
        let _ = url.set_password(None);
        let _ = url.set_username("redacted");
    }
    if url.query().is_some() {
        url.set_query(Some("redacted"));
    }
    if url.fragment().is_some() {
        url.set_fragment(Some("redacted"));
    }
    url.to_string()
}

/// As in the audit log.
const REDACTED: &str = "[redacted]";
/// Keys whose members are secrets.
const SECRETS: [&str; 5] = ["env", "environment", "envs", "headers", "http_headers"];
/// Keys that name variables, not their values.
const NAMES: [&str; 4] = [
    "bearer_token_env_var",
    "env_http_headers",
    "env_vars",
    "env_keys",
];
/// Our options that name variables.
const OURS: [&str; 3] = ["--header-env", "--bearer-env", "--url-env"];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        let root = Syntax::Json.parse(json).unwrap();
        masked(json, root.get("s").unwrap(), Syntax::Json)
    }

    #[test]
    fn values_of_the_environment_and_of_headers_are_hidden_unless_they_are_variables() {
        let text = shown(
            r#"{"s": {"env": {"HOME_OF": "hunter2", "K": "${input:key}", "D": "${K:-hunter2}"}, "headers": {"X": "hunter2"}}}"#,
        );
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("${input:key}"), "{text}");
    }

    #[test]
    fn secrets_in_arguments_urls_and_comments_are_hidden() {
        for json in [
            r#"{"s": {"args": ["--api-key", "hunter2"]}}"#,
            r#"{"s": {"args": ["--token=hunter2"]}}"#,
            r#"{"s": {"args": ["-e", "API_KEY=hunter2"]}}"#,
            r#"{"s": {"url": "https://a/?key=hunter2"}}"#,
            r#"{"s": {"url": "https://u:hunter2@a/"}}"#,
            r#"{"s": {"url": "HTTPS://a/#hunter2"}}"#,
            r#"{"s": {"url": " wss://a/?key=hunter2"}}"#,
            r#"{"s": {"api_key": "hunter2"}}"#,
            "{\"s\": { // \"password\": \"hunter2\"\n}}",
        ] {
            assert!(!shown(json).contains("hunter2"), "{}", shown(json));
        }
        let kept = r#"{"s": {"args": ["-y", "@x/y", "--header-env", "X-Api-Key=MCP_KEY"]}}"#;
        let inside = kept.strip_prefix('{').unwrap().strip_suffix('}');
        assert_eq!(Some(&*shown(kept)), inside);
    }
}
