//! Formats items for the terminal: as a list, as text, and as JSON for scripts.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::approval::display::{indented, is_invisible, quoted_name, quoted_text};
use crate::approval::form::Form;
use crate::approval::item::Assurance;
use crate::cli::columns::{Layout, cut};
use crate::config::escaped;
use crate::engines::inbox::store::{AS_IN_THE_LOG, DISREGARDED, Entry};
use crate::evidence::record::Timestamp;
use crate::mcp::json::Value;
use crate::sys::time::short_span;

/// The width of the risk, and of everything before the tool, in columns.
const RISK: usize = 7;
const BEFORE_TOOL: usize = 8 + 2 + 9 + 2 + RISK + 2 + 6 + 2 + 6 + 2;
/// The longest reason in a line of the history, in characters, before it is cut to the line's width.
const REASON_LIMIT: usize = 1_000;
/// The longest name that is shown in full, in characters.
pub(super) const NAME_LIMIT: usize = 64;
const CLIENT_LIMIT: usize = 60;
const TITLE_LIMIT: usize = 200;
/// The longest call, in bytes, whose beginning a line shows.
const MAX_PREVIEWED: usize = 16 * 1024;

/// Which items a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// Waiting items.
    Waiting {
        /// How many there are, including those that are not listed.
        count: usize,
    },
    /// Closed items.
    History,
}

/// Returns a list for people.
pub(super) fn table(entries: &[Entry], rows: Rows, now_ms: i64, layout: Layout) -> String {
    let mut text = heading().to_owned();
    for entry in entries {
        text.push('\n');
        text.push_str(&row(entry, now_ms, layout));
        if rows == Rows::History {
            text.push('\n');
            text.push_str(&outcome(entry, layout));
        }
    }
    if let Rows::Waiting { count } = rows
        && count > entries.len()
    {
        text.push_str(&format!("\nand {} more", count - entries.len()));
    }
    text
}

pub(super) fn heading() -> &'static str {
    "ID        STATE      RISK     AGE     LEFT    TOOL"
}

/// Returns an item as one line.
pub(super) fn row(entry: &Entry, now_ms: i64, layout: Layout) -> String {
    let item = &entry.item;
    let id: String = item.id.chars().take(8).collect();
    let begin = format!(
        "{id:<8}  {:<9}  {}  {:<6}  {:<6}  ",
        entry.state.as_str(),
        layout.risk(item.risk, RISK),
        short_span(now_ms.saturating_sub(item.asked_ms)),
        time_left(entry, now_ms).unwrap_or_else(|| "-".to_owned()),
    );
    let room = layout.width.saturating_sub(BEFORE_TOOL);
    let tool = quoted_text(&item.tool, NAME_LIMIT);
    let server = quoted_text(&item.server, NAME_LIMIT);
    let whole = format!("{tool} of {server}  {}", preview(&item.call, layout.width));
    format!("{begin}{}", cut(whole.trim_end(), room))
}

/// Returns the outcome of an item as a line below it: the engine, the approver and the reason. If there is
/// a name, it leaves no room for the reason, which then has its own line.
fn outcome(entry: &Entry, layout: Layout) -> String {
    let lines = match &entry.verdict {
        None => vec!["nobody decided".to_owned()],
        Some(verdict) => {
            // Escaped, because another program may have written it.
            let engine = entry
                .engine
                .as_deref()
                .map_or_else(|| "inbox".into(), escape_json);
            let reason = match &verdict.reason {
                Some(reason) => quoted_text(reason, REASON_LIMIT),
                None => "none given".to_owned(),
            };
            let place = place(verdict.assurance);
            match &verdict.approver {
                None => vec![format!(
                    "engine: {engine}; approver: somebody {place}; reason: {reason}"
                )],
                // "self-declared" comes first, so that a long name cannot push it out of the line.
                Some(name) => vec![
                    format!(
                        "engine: {engine}; approver: self-declared {}, {place}",
                        quoted_text(name, NAME_LIMIT)
                    ),
                    format!("reason: {reason}"),
                ],
            }
        }
    };
    let room = layout.width.saturating_sub(10);
    let lines = lines
        .iter()
        .map(|line| format!("          {}", cut(line, room)));
    lines.collect::<Vec<String>>().join("\n")
}

/// Says where the approver decided, or how they proved who they are.
fn place(assurance: Assurance) -> &'static str {
    match assurance {
        Assurance::CallerRelayed => "at the client",
        Assurance::SharedSecret => "through another program",
        Assurance::InboxTerminal => "in a terminal",
        Assurance::InboxSession => "logged in to the page",
        Assurance::ChannelAuthenticated => "in a chat",
        Assurance::InboxPassphrase => "with the passphrase",
    }
}

/// Returns how long a verdict can still be given, if there is a limit.
fn time_left(entry: &Entry, now_ms: i64) -> Option<String> {
    let until = entry.parked_until_ms.or(entry.item.expires_ms);
    let until = until.filter(|_| entry.state.is_open())?;
    Some(short_span(until.saturating_sub(now_ms)))
}

/// Returns the beginning of a call's arguments on one line, at most `room` characters.
fn preview(call: &str, room: usize) -> String {
    if call.len() > MAX_PREVIEWED {
        return format!("({} kB)", call.len() / 1000);
    }
    let Ok(call) = Value::parse(call) else {
        return String::new();
    };
    let arguments = call.get("arguments").map(indented).unwrap_or_default();
    // Only line breaks of the indentation remain: those inside strings are escaped.
    let line = arguments.lines().map(str::trim_start);
    let line = line.collect::<Vec<&str>>().join(" ");
    match line.char_indices().nth(room) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line,
    }
}

/// Returns everything about an item, for people.
pub(super) fn as_text(entry: &Entry, now_ms: i64) -> String {
    const LONG: usize = 100_000;
    let item = &entry.item;
    let mut text = format!(
        "{}\n\nItem:    {}\nState:   {}\nServer:  {}\nTool:    {}\nRisk:    {} ({})\n",
        escaped(&item.question),
        item.id,
        entry.state.as_str(),
        quoted_name(&item.server),
        quoted_text(&item.tool, NAME_LIMIT),
        item.risk.as_str(),
        escaped(&item.why),
    );
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<8} {value}\n"));
    let client = [&item.client, &item.client_title];
    let client: Vec<String> = client
        .into_iter()
        .flatten()
        .map(|name| quoted_text(name, CLIENT_LIMIT))
        .collect();
    if !client.is_empty() {
        line("Client:", format!("calls itself {}", client.join(" and ")));
    }
    if let Some(title) = &item.title {
        let title = quoted_text(title, TITLE_LIMIT);
        line("Title:", format!("the server calls the tool {title}"));
    }
    if let Some(description) = &item.description {
        line(
            "The server describes the tool as:",
            quoted_text(description, LONG),
        );
    }
    if !item.hints.is_empty() {
        line("Hints, not verified:", escaped(&item.hints));
    }
    line("Asked:", time(item.asked_ms));
    if let Some(left) = time_left(entry, now_ms) {
        line("Time:", format!("{left} left"));
    }
    if entry.was_disregarded {
        line("Beware:", DISREGARDED.to_owned());
    }
    if let Some(verdict) = &entry.verdict {
        let engine = entry.engine.as_deref();
        let engine = engine.map_or_else(|| "inbox".into(), escape_json);
        line(
            "Decided:",
            format!(
                "{} ({}, engine {engine})",
                time(verdict.decided_ms),
                verdict.assurance
            ),
        );
        if let Some(name) = &verdict.approver {
            let name = quoted_text(name, NAME_LIMIT);
            line("Approver:", format!("{name} (self-declared, not verified)"));
        }
        if let Some(reason) = &verdict.reason {
            line("Reason:", quoted_text(reason, LONG));
        }
    }
    line("SHA-256:", item.digest.clone());
    if !entry.state.is_open() {
        line("Call:", AS_IN_THE_LOG.to_owned());
    }
    let call = match Value::parse(&item.call) {
        Ok(call) => {
            // `call` shows the full name of the tool. Warn if it is not the tool above.
            if call.get("name").and_then(Value::as_str).as_deref() != Some(&*item.tool) {
                let tool = quoted_text(&item.tool, LONG);
                line(
                    "Beware:",
                    format!("the call names a tool other than {tool}"),
                );
            }
            indented(&call)
        }
        // A redacted call may no longer be valid JSON.
        Err(_) => quoted_text(&item.call, LONG),
    };
    let form = item.form.as_deref().map(form_text).unwrap_or_default();
    format!("{text}\n{call}{form}")
}

/// Says what a yes must fill in.
fn form_text(form: &str) -> String {
    const LONG: usize = 1_000;
    let Some(form) = Form::parse(form) else {
        return "\n\nThe agent's form cannot be read, so this can only be denied.".to_owned();
    };
    let mut text =
        "\n\nTo approve, answer the agent's questions with --field NAME=VALUE:".to_owned();
    for field in form.fields() {
        let name = quoted_text(&field.name, NAME_LIMIT);
        let need = if field.is_required { "" } else { ", optional" };
        text.push_str(&format!("\n  {name}: {}{need}", field.expected()));
        for theirs in [&field.title, &field.description].into_iter().flatten() {
            text.push_str(&format!("\n    {}", quoted_text(theirs, LONG)));
        }
        for choice in field.choices() {
            let value = quoted_text(&choice.value, LONG);
            let title = match choice.title == choice.value {
                true => String::new(),
                false => format!(" for {}", quoted_text(&choice.title, LONG)),
            };
            text.push_str(&format!("\n    - {value}{title}"));
        }
    }
    text
}

fn time(unix_ms: i64) -> String {
    Timestamp::new(unix_ms).to_string()
}

/// Escapes characters in JSON that could control a terminal: control characters, invisible ones, and ones
/// that change the direction of text. They occur only in strings, where the escape means the same.
pub(in crate::cli) fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !(c.is_control() || is_invisible(c)) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

/// An item, as scripts read it.
#[derive(Serialize)]
pub(super) struct ItemJson<'a> {
    id: &'a str,
    state: &'a str,
    server: &'a str,
    tool: &'a str,
    title: Option<&'a str>,
    risk: &'a str,
    why: &'a str,
    question: &'a str,
    description: Option<&'a str>,
    hints: &'a str,
    call: Box<RawValue>,
    digest: &'a str,
    client: Option<&'a str>,
    client_title: Option<&'a str>,
    asked: String,
    expires: Option<String>,
    parked_until: Option<String>,
    closed: Option<String>,
    disregarded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<Box<RawValue>>,
    verdict: Option<VerdictJson<'a>>,
}

#[derive(Serialize)]
pub(super) struct VerdictJson<'a> {
    choice: &'a str,
    engine: &'a str,
    reason: Option<&'a str>,
    cover_seconds: u64,
    assurance: &'a str,
    approver: Option<&'a str>,
    /// Always false: no engine verifies names yet. Scripts can already check it.
    approver_verified: bool,
    decided: String,
}

/// Returns an item for scripts.
pub(super) fn as_json(entry: &Entry) -> ItemJson<'_> {
    let item = &entry.item;
    let call = RawValue::from_string(item.call.clone());
    ItemJson {
        id: &item.id,
        state: entry.state.as_str(),
        server: &item.server,
        tool: &item.tool,
        title: item.title.as_deref(),
        risk: item.risk.as_str(),
        why: &item.why,
        question: &item.question,
        description: item.description.as_deref(),
        hints: &item.hints,
        call: call.unwrap_or_else(|_| RawValue::NULL.to_owned()),
        digest: &item.digest,
        client: item.client.as_deref(),
        client_title: item.client_title.as_deref(),
        asked: time(item.asked_ms),
        expires: item.expires_ms.map(time),
        parked_until: entry.parked_until_ms.map(time),
        closed: entry.closed_ms.map(time),
        disregarded: entry.was_disregarded,
        form: (item.form.clone()).and_then(|form| RawValue::from_string(form).ok()),
        verdict: entry.verdict.as_ref().map(|verdict| VerdictJson {
            choice: verdict.choice.as_str(),
            engine: entry.engine.as_deref().unwrap_or("inbox"),
            reason: verdict.reason.as_deref(),
            cover_seconds: verdict.cover.as_secs(),
            assurance: verdict.assurance.as_str(),
            approver: verdict.approver.as_deref(),
            approver_verified: false,
            decided: time(verdict.decided_ms),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::item::{Choice, Item, Verdict};
    use crate::cli::columns::columns;
    use crate::engines::inbox::store::State;
    use crate::policy::Risk;

    fn entry(tool: &str, call: &str) -> Entry {
        Entry {
            item: Item {
                form: None,
                id: "0".repeat(32),
                server: "crm".to_owned(),
                tool: tool.to_owned(),
                risk: Risk::High,
                why: "it destroys".to_owned(),
                question: "Allow this tool call?".to_owned(),
                title: None,
                description: None,
                hints: String::new(),
                call: call.to_owned(),
                digest: String::new(),
                client: Some(format!("Claude Code, checked. {}", "z".repeat(100))),
                client_title: None,
                asked_ms: 0,
                expires_ms: None,
            },
            state: State::Waiting,
            verdict: None,
            engine: None,
            parked_until_ms: None,
            closed_ms: None,
            was_disregarded: false,
        }
    }

    #[test]
    fn names_are_quoted_and_shortened_and_the_call_says_the_tools_in_full() {
        let long = format!("delete_{}_all", "x".repeat(100));
        let call = format!(r#"{{"name":"{long}","arguments":{{}}}}"#);
        let entry = entry(&long, &call);
        let text = as_text(&entry, 0);
        let line = |begin: &str| text.lines().find(|line| line.starts_with(begin)).unwrap();
        let client = line("Client:");
        assert!(client.starts_with("Client:  calls itself \"Claude Code, checked. z"));
        assert!(client.contains("characters left out") && client.len() < 160);
        assert!(!line("Tool:").contains(&long) && line("Tool:").ends_with("_all\""));
        let (_, call) = text.split_once("\n\n{").unwrap();
        assert!(call.contains(&format!("\"name\": \"{long}\"")), "{call}");
        assert!(!text.contains("Beware") && !text.contains("Title:"));
        let rows = Rows::Waiting { count: 1 };
        assert!(!table(&[entry], rows, 0, Layout::PLAIN).contains(&long));
    }

    #[test]
    fn titles_are_shown_as_claims_of_the_server_and_the_client() {
        let mut entry = entry("wipe", "{}");
        entry.item.title = Some("Tidy up\u{202e}".to_owned());
        entry.item.client_title = Some("The Console".to_owned());
        let text = as_text(&entry, 0);
        assert!(text.contains("zz\" and \"The Console\"\n"), "{text}");
        assert!(
            text.contains("Title:   the server calls the tool \"Tidy up"),
            "{text}"
        );
        assert!(!text.contains('\u{202e}'), "{text}");
        let json = serde_json::to_value(as_json(&entry)).unwrap();
        assert_eq!(json["title"], "Tidy up\u{202e}");
        assert_eq!(json["client_title"], "The Console");
    }

    #[test]
    fn every_line_of_a_list_fits_and_a_cut_one_ends_with_an_ellipsis() {
        let arguments = format!(
            r#"{{"name":"t","arguments":{{"a":"{}"}}}}"#,
            "日本".repeat(100)
        );
        for (tool, call) in [
            ("t", "{}"),
            ("日本語", &arguments),
            (&"x".repeat(500), &arguments),
        ] {
            let mut decided = entry(tool, call);
            decided.state = State::Decided(Choice::Deny);
            decided.verdict = Some(Verdict {
                fields: None,
                choice: Choice::Deny,
                reason: Some("never ".repeat(100)),
                cover: std::time::Duration::ZERO,
                assurance: Assurance::InboxTerminal,
                approver: None,
                decided_ms: 0,
            });
            for width in [80, 120] {
                let layout = Layout {
                    width,
                    ..Layout::PLAIN
                };
                let text = table(&[decided.clone()], Rows::History, 0, layout);
                assert!(text.lines().all(|line| columns(line) <= width), "{text}");
                assert!(
                    text.contains(
                        "engine: inbox; approver: somebody in a terminal; reason: \"never"
                    )
                );
                assert!(text.ends_with('…'), "{text}");
            }
        }
        let undecided = table(&[entry("t", "{}")], Rows::History, 0, Layout::PLAIN);
        assert!(undecided.ends_with("nobody decided"), "{undecided}");
    }

    #[test]
    fn a_name_is_always_shown_as_self_declared() {
        let named = |name: &str| {
            let mut decided = entry("wipe", "{}");
            decided.state = State::Decided(Choice::Deny);
            decided.verdict = Some(Verdict {
                fields: None,
                choice: Choice::Deny,
                reason: Some("not today".to_owned()),
                cover: std::time::Duration::ZERO,
                assurance: Assurance::InboxTerminal,
                approver: Some(name.to_owned()),
                decided_ms: 0,
            });
            decided
        };
        let ann = named("Ann");
        let list = table(std::slice::from_ref(&ann), Rows::History, 0, Layout::PLAIN);
        assert!(
            list.ends_with(concat!(
                "\n          engine: inbox; approver: self-declared \"Ann\", in a terminal",
                "\n          reason: \"not today\""
            )),
            "{list}"
        );
        let text = as_text(&ann, 0);
        let line = "\nApprover: \"Ann\" (self-declared, not verified)\n";
        assert!(text.contains(line), "{text}");
        let json = serde_json::to_value(as_json(&ann)).unwrap();
        assert_eq!(json["verdict"]["approver"], "Ann");
        assert_eq!(json["verdict"]["approver_verified"], false);
        // Another program may have written a name that controls a terminal, or that fills the line.
        for name in ["\u{1b}[2K\u{202e}x", &"日本".repeat(40), "a\n\", verified"] {
            let entry = named(name);
            let list = table(
                std::slice::from_ref(&entry),
                Rows::History,
                0,
                Layout::PLAIN,
            );
            assert!(list.contains("approver: self-declared \""), "{list}");
            assert!(list.lines().all(|line| columns(line) <= 80), "{list}");
            assert_eq!(list.lines().count(), 4, "{list}");
            for text in [list, as_text(&entry, 0)] {
                assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
            }
        }
    }

    #[test]
    fn a_call_of_another_tool_causes_a_warning() {
        let text = as_text(&entry("read", r#"{"name":"wipe","arguments":{}}"#), 0);
        assert!(
            text.contains("Beware:  the call names a tool other than \"read\""),
            "{text}"
        );
    }

    #[test]
    fn json_for_a_terminal_means_the_same_and_cannot_control_it() {
        let text = "{\n  \"a\": \"x\u{202e}\u{9b}\u{e0001}y\u{7f} é\"\n}";
        let escaped = escape_json(text);
        assert!(
            escaped.contains(r"x\u202e\u009b\udb40\udc01y\u007f é"),
            "{escaped}"
        );
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&escaped), parse(text));
    }
}
