//! Warns about keys of other clients that we ignore, and about text that looks like another program's
//! variables.
//!
//! `entry` reads the keys that have an effect.

use std::collections::HashSet;

use super::environment::Environment;
use super::error::names;
use super::foreign_variables::{percent_variables, plain_variables};
use super::json::{Node, Object};
use super::misplaced::misplaced;
use super::pointer::Pointer;

/// Returns a warning about the keys of `entry` that are ignored, if there are any. `is_started` is false
/// for a server with a URL.
pub(super) fn without_effect(entry: &Object, is_started: bool) -> Option<String> {
    let doubtful = misplaced(entry).unwrap_or_default();
    let mut seen = HashSet::new();
    let mut unread: Vec<&str> = Vec::new();
    for (key, node) in entry.members() {
        let is_read = READ.contains(&key)
            || match is_started {
                true => READ_TO_START.contains(&key),
                false => READ_TO_REACH.contains(&key),
            };
        let is_silent = is_read || needs_no_effect(key, node) || doubtful.contains(&key);
        if !is_silent && seen.insert(key) {
            unread.push(key);
        }
    }
    if unread.is_empty() {
        return None;
    }
    let first: Vec<&str> = unread.iter().take(MOST).copied().collect();
    let others = match unread.len().saturating_sub(MOST) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let verb = match unread.len() {
        1 => "has",
        _ => "have",
    };
    let mut warning = format!("{}{others} {verb} no effect here", names(&first));
    for (keys, hint) in HINTS {
        if unread.iter().any(|key| keys.contains(key)) {
            warning.push_str(hint);
        }
    }
    Some(warning)
}

/// The largest number of names in a warning.
const MOST: usize = 8;

/// Keys that have an effect in every entry.
const READ: [&str; 14] = [
    "type",
    "transport",
    "disabled",
    "enabled",
    "disabledTools",
    "disabled_tools",
    "excludeTools",
    "approvalRules",
    "approvalProxy",
    "command",
    "url",
    "serverUrl",
    "httpUrl",
    "name",
];
/// Keys that have an effect if we start the server. `env_vars` names variables that the server gets, which
/// needs no code because it gets all.
const READ_TO_START: [&str; 6] = ["args", "env", "environment", "cwd", "envFile", "env_vars"];
/// Keys that have an effect if the server has a URL.
const READ_TO_REACH: [&str; 5] = [
    "headers",
    "http_headers",
    "env_http_headers",
    "bearer_token_env_var",
    "requestInit",
];
/// Keys for people and menus.
const FOR_PEOPLE: [&str; 16] = [
    "description",
    "title",
    "displayName",
    "display_name",
    "icon",
    "icons",
    "iconUrl",
    "id",
    "version",
    "author",
    "homepage",
    "repository",
    "tags",
    "source",
    "note",
    "notes",
];

const HINTS: [(&[&str], &str); 4] = [
    (
        &[
            "autoApprove",
            "auto_approve",
            "alwaysAllow",
            "always_allow",
            "trust",
            "default_tools_approval_mode",
        ],
        "; list tools that need no approval in `alwaysAllow` in `approvalRules`",
    ),
    (
        &[
            "includeTools",
            "enabledTools",
            "enabled_tools",
            "allowedTools",
            "tools",
        ],
        "; tools missing from that list are not refused: to refuse tools, list them in `disabledTools`",
    ),
    (
        &[
            "timeout",
            "tool_timeout_sec",
            "initTimeout",
            "startup_timeout_sec",
        ],
        "; to limit how long a person has to answer, set `timeout` in `approvalRules`",
    ),
    (
        &[
            "authorization_token",
            "auth",
            "oauth",
            "bearerToken",
            "apiKey",
        ],
        "; give a token with `\"headers\": {\"Authorization\": \"Bearer ${NAME}\"}`",
    ),
];

/// Returns true if nobody expects an effect of the key: a comment, a text for people, an empty value.
fn needs_no_effect(key: &str, node: &Node) -> bool {
    if key.is_empty() || key.starts_with(['_', '/', '#', '$']) || FOR_PEOPLE.contains(&key) {
        return true;
    }
    match node {
        Node::Null => true,
        Node::Text(text) => text.is_empty() || key.to_ascii_lowercase().contains("comment"),
        Node::Array(elements) => match key {
            // Copilot CLI's way to write "all tools".
            "tools" => elements
                .iter()
                .all(|one| *one == Node::Text("*".to_owned())),
            _ => elements.is_empty(),
        },
        Node::Object(object) => object.members().next().is_none(),
        Node::Bool(value) => key == "trust" && !value,
        Node::Number(_) => false,
    }
}

/// Returns a warning for each kind of variable in `entry` that is not expanded, with the place of the first.
pub(super) fn lookalikes(entry: &Object, environment: &Environment) -> Vec<String> {
    let texts = texts(entry);
    let found = |is_in: &dyn Fn(&str) -> Vec<String>| {
        let mut place = None;
        let mut found: Vec<String> = Vec::new();
        for (at, text) in &texts {
            for name in is_in(text) {
                place.get_or_insert(at);
                if found.len() < MOST && !found.contains(&name) {
                    found.push(name);
                }
            }
        }
        Some((place?.to_string(), found))
    };
    let owned = |name: &str| name.to_owned();
    let mut warnings = Vec::new();
    if let Some((at, found)) =
        found(&|text| plain_variables(text, environment).map(owned).collect())
    {
        let why = "plain text here, because only `${NAME}` is a variable";
        warnings.push(not_expanded(&at, &found, "$", "", why));
    }
    if let Some((at, found)) =
        found(&|text| percent_variables(text, environment).map(owned).collect())
    {
        let why = "plain text here, because `%NAME%` is a variable only on Windows";
        warnings.push(not_expanded(&at, &found, "%", "%", why));
    }
    let home = texts.iter().find(|(at, text)| {
        let is_env = ["env", "environment"].iter().any(|key| at.begins_with(key));
        is_env && text.starts_with("~/")
    });
    if let Some((at, _)) = home {
        warnings.push(format!(
            "{at}: `~/` is not expanded in variables; write `${{HOME}}/` if the server needs the full path"
        ));
    }
    warnings
}

fn not_expanded(at: &str, found: &[String], before: &str, after: &str, why: &str) -> String {
    let written: Vec<String> = found
        .iter()
        .map(|one| format!("{before}{one}{after}"))
        .collect();
    let first = found.first().map_or("NAME", String::as_str);
    let verb = match found {
        [_] => "is",
        _ => "are",
    };
    let written = names(&written);
    let instead = names(&[format!("${{{first}}}")]);
    format!("{at}: {written} {verb} {why}; write {instead} for the value")
}

/// Returns the texts of `entry` in which variables are expanded, with their places.
fn texts(entry: &Object) -> Vec<(Pointer, &str)> {
    const KEYS: [&str; 12] = [
        "command",
        "args",
        "env",
        "environment",
        "cwd",
        "envFile",
        "url",
        "serverUrl",
        "httpUrl",
        "headers",
        "http_headers",
        "requestInit",
    ];
    let mut texts = Vec::new();
    for (key, node) in entry.members() {
        if KEYS.contains(&key) {
            collect(Pointer::default().child(key), node, &mut texts);
        }
    }
    texts
}

/// Recursion is safe: `serde_json` limits the depth of a document to 128.
fn collect<'a>(at: Pointer, node: &'a Node, texts: &mut Vec<(Pointer, &'a str)>) {
    match node {
        Node::Text(text) => texts.push((at, text)),
        Node::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                collect(at.child(index.to_string()), element, texts);
            }
        }
        Node::Object(object) => {
            for (key, node) in object.members() {
                collect(at.child(key), node, texts);
            }
        }
        Node::Null | Node::Bool(_) | Node::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &str) -> Object {
        let Node::Object(object) = serde_json::from_str(json).unwrap() else {
            panic!("{json}");
        };
        object
    }

    fn warning(json: &str) -> String {
        without_effect(&entry(json), true).unwrap_or_default()
    }

    #[test]
    fn keys_without_effect_are_named_in_one_warning() {
        let warning = warning(
            r#"{"command":"a","autoApprove":["x"],"timeout":30,"disabled":false,"sandbox":true,"headers":{"A":"1"}}"#,
        );
        let start = "`autoApprove`, `timeout`, `sandbox`, `headers` have no effect here; ";
        assert!(warning.starts_with(start), "{warning}");
        assert!(
            warning.contains("`alwaysAllow` in `approvalRules`"),
            "{warning}"
        );
        let warning = without_effect(&entry(r#"{"url":"http://a","env":{"A":"1"}}"#), false);
        assert_eq!(warning.unwrap(), "`env` has no effect here");
    }

    #[test]
    fn keys_that_need_no_effect_cause_no_warning() {
        for json in [
            r#"{"command":"a","args":["b"],"env":{"A":"1"},"cwd":"/","envFile":"x","type":"stdio"}"#,
            r#"{"command":"a","description":"b","_comment":"c","//":"d","icon":"e","someComment":"f"}"#,
            r#"{"command":"a","autoApprove":[],"alwaysAllow":[],"timeout":null,"tools":["*"],"trust":false}"#,
            r#"{"command":"a","mode":"all","env_vars":["PATH"],"disabledTools":["x"],"enabled":true}"#,
        ] {
            assert_eq!(warning(json), "", "{json}");
        }
        assert!(warning(r#"{"command":"a","tools":["x"]}"#).contains("not refused"));
    }

    #[test]
    fn each_kind_of_foreign_variable_is_warned_about_once() {
        let environment: Environment = [("HOME", "/h"), ("TOKEN", "s3cret")].into_iter().collect();
        let json = r#"{"command":"$HOME/a","args":["$TOKEN","$NOPE","%HOME%"],
                       "env":{"A":"$HOME","B":"%APPDATA%","C":"~/c"},"description":"$TOKEN"}"#;
        assert_eq!(
            lookalikes(&entry(json), &environment),
            [
                "/command: `$HOME`, `$TOKEN` are plain text here, because only `${NAME}` is a variable; write `${HOME}` for the value",
                "/args/2: `%HOME%`, `%APPDATA%` are plain text here, because `%NAME%` is a variable only on Windows; write `${HOME}` for the value",
                "/env/C: `~/` is not expanded in variables; write `${HOME}/` if the server needs the full path",
            ]
        );
        let plain = r#"{"command":"a","env":{"PGPASSWORD":"pa$sword","RE":"^foo$|bar$"}}"#;
        assert!(lookalikes(&entry(plain), &environment).is_empty());
    }
}
