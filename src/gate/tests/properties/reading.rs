//! A second, simple implementation of policy, tool lists, prompts and ids.
//!
//! Knows only the few tools and rules of these tests, and calls nothing of the gate's.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::steps::Setup;

/// The tools that are called. The fifth is never listed; the sixth has a Cyrillic letter; the
/// seventh differs from the second only in case.
pub(super) const TOOLS: [&str; 8] = [
    "read_note",
    "delete_user",
    "add_note",
    "ponder",
    "ghost",
    "r\u{435}ad_note",
    "Delete_User",
    "muse",
];
const NEVER_LISTED: &str = "ghost";

/// What an upstream says about a tool; the description names the hints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    hint: u8,
    pub(super) description: String,
}

/// A list as it was read; a name can occur more than once.
pub(super) type Listing = BTreeMap<&'static str, Vec<Definition>>;

pub(super) fn add_tools(tools: &[(u8, u8, u8)], listing: &mut Listing) {
    for (tool, hint, description) in tools {
        let name = TOOLS[usize::from(*tool) % TOOLS.len()];
        if name == NEVER_LISTED {
            continue;
        }
        let definition = Definition {
            hint: *hint,
            description: format!("d{description}-{hint}"),
        };
        let definitions = listing.entry(name).or_default();
        if !definitions.contains(&definition) {
            definitions.push(definition);
        }
    }
}

/// The same list as an upstream writes it.
pub(super) fn write_tools(tools: &[(u8, u8, u8)]) -> Value {
    let all = tools.iter().map(|(tool, hint, description)| {
        let name = TOOLS[usize::from(*tool) % TOOLS.len()];
        let mut tool = json!({"name": name, "description": format!("d{description}-{hint}")});
        match hint {
            1 => tool["annotations"] = json!({"readOnlyHint": true}),
            2 => tool["annotations"] = json!({"readOnlyHint": false}),
            3 => tool["annotations"] = json!({"destructiveHint": true}),
            4 => tool["annotations"] = json!({"destructiveHint": false}),
            5 => tool["annotations"] = json!({"readOnlyHint": true, "destructiveHint": true}),
            6 => tool["annotations"] = json!({"readOnlyHint": "true"}),
            _ => {}
        }
        tool
    });
    all.filter(|tool| tool["name"] != NEVER_LISTED).collect()
}

/// What a prompt shows of a tool: one definition, or none if it is unlisted or two share the name.
pub(super) fn shown_description(listing: Option<&Listing>, tool: &str) -> Option<String> {
    match listing?.get(tool)?.as_slice() {
        [one] => Some(one.description.clone()),
        _ => None,
    }
}

/// What the rules decide without a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByName {
    Pass,
    Block,
    Depends,
}

pub(super) fn allow_rules(choice: u8) -> Vec<String> {
    match choice {
        1 => vec!["ponder".into(), "ghost".into()],
        2 => vec!["read_*".into(), "r?ad_*".into()],
        _ => Vec::new(),
    }
}

pub(super) fn deny_rules(choice: u8) -> Vec<String> {
    match choice {
        1 => vec!["delete_user".into()],
        2 => vec!["add_*".into()],
        _ => Vec::new(),
    }
}

pub(super) fn by_name(setup: &Setup, tool: &str) -> ByName {
    let denied = match setup.deny {
        1 => tool.eq_ignore_ascii_case("delete_user"),
        2 => tool == "add_note",
        _ => false,
    };
    let allowed = match setup.allow {
        1 => tool == "ponder" || tool == "ghost",
        2 => tool == "read_note",
        _ => false,
    };
    match (denied, allowed) {
        (true, _) => ByName::Block,
        (false, true) => ByName::Pass,
        (false, false) if setup.mode == 3 => ByName::Pass,
        (false, false) => ByName::Depends,
    }
}

/// Returns true if a call may run without asking, by this list.
pub(super) fn passes(setup: &Setup, listing: Option<&Listing>, tool: &str) -> bool {
    match by_name(setup, tool) {
        ByName::Pass => return true,
        ByName::Block => return false,
        ByName::Depends => {}
    }
    let Some(definitions) = listing.and_then(|listing| listing.get(tool)) else {
        return false;
    };
    let one_passes = |definition: &Definition| {
        let (read_only, destructive) = hints(definition.hint);
        let plain = match setup.mode {
            0 => {
                let high = tool.eq_ignore_ascii_case("delete_user");
                let write = tool == "add_note" && read_only != Some(true);
                let admits = read_only == Some(false) && destructive != Some(false);
                destructive != Some(true) && !high && !write && !admits
            }
            2 => destructive != Some(true),
            _ => false,
        };
        plain && tool.is_ascii()
    };
    definitions.iter().all(one_passes)
}

/// Returns true if the call is high-risk whatever list counts.
pub(super) fn is_surely_high(tool: &str) -> bool {
    tool == NEVER_LISTED || !tool.is_ascii() || tool.eq_ignore_ascii_case("delete_user")
}

/// Returns true for an id of the gate's own: random text, or a number for servers that understand
/// nothing else.
pub(super) fn is_of_gate(id: &Value) -> bool {
    let is_text = id.as_str().is_some_and(|id| id.len() == 32);
    is_text
        || id
            .as_i64()
            .is_some_and(|id| (1 << 52..1 << 53).contains(&id))
}

/// `readOnlyHint` and `destructiveHint`; one of a wrong type is ignored.
fn hints(hint: u8) -> (Option<bool>, Option<bool>) {
    match hint {
        1 => (Some(true), None),
        2 => (Some(false), None),
        3 => (None, Some(true)),
        4 => (None, Some(false)),
        5 => (Some(true), Some(true)),
        _ => (None, None),
    }
}

/// What a person sees in a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) round: QuestionKind,
    /// Tool, arguments and other parameters: what a yes is for.
    pub(super) what: What,
    pub(super) is_high: bool,
    pub(super) description: Option<String>,
    /// It says, or may mean, that the list is not known: then no list contradicts it.
    pub(super) may_be_unknown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QuestionKind {
    First,
    Second,
    Changed,
}

/// Tool, arguments and other parameters, with numbers as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct What {
    pub(super) tool: String,
    pub(super) args: String,
    pub(super) others: String,
}

pub(super) fn read_prompt(message: &str) -> Shown {
    let line = |start: &str| {
        let found = message.lines().find_map(|line| line.strip_prefix(start));
        found.map(str::to_owned)
    };
    let in_code = |text: String| {
        let (_, rest) = text.split_once('`').unwrap();
        rest.split_once('`').unwrap().0.to_owned()
    };
    let shown = |title: &str| {
        if let Some(short) = line(&format!("{title}: ")) {
            return Some(without_spaces(&in_code(short)));
        }
        let (_, rest) = message.split_once(&format!("\n{title}:\n```json\n"))?;
        let (body, _) = rest.split_once("\n```")?;
        Some(without_spaces(body))
    };
    let heading = line("Server ").unwrap();
    let (_, tool) = heading.split_once(", ").unwrap();
    let first = message.lines().next().unwrap();
    Shown {
        round: if first.starts_with("Second confirmation") {
            QuestionKind::Second
        } else if first.starts_with("The server changed") {
            QuestionKind::Changed
        } else {
            QuestionKind::First
        },
        what: What {
            tool: in_code(tool.to_owned()),
            args: shown("Arguments").expect("a prompt shows the arguments"),
            others: shown("Other parameters").unwrap_or_default(),
        },
        is_high: heading.contains(", risk high"),
        description: line("The server says: ").map(in_code),
        may_be_unknown: message.contains("the server's tool list is not known yet")
            || (heading.contains("a tool the client names")
                && !message.contains("the server does not list this tool")),
    }
}

/// JSON without white space outside of strings.
fn without_spaces(json: &str) -> String {
    let mut in_string = false;
    let mut escaped = false;
    let kept = json.chars().filter(|c| {
        if in_string && !escaped && *c == '\\' {
            escaped = true;
            return true;
        }
        if *c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = false;
        in_string || !c.is_whitespace()
    });
    kept.collect()
}

/// An id by its meaning: `1` and `1.0` are equal, `1` and `"1"` are not.
pub(super) fn meaning(id: &Value) -> String {
    match id.as_f64() {
        Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
        _ => id.to_string(),
    }
}
