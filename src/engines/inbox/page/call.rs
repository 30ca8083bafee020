//! A call's parameters as somebody reads them before saying yes: all of them, as they were written.
//!
//! Long texts are folded, with their size and both ends; nothing is left out.

use super::html::Html;
use crate::mcp::json::Value;

/// The longest string that stands in its line, in characters.
const IN_LINE: usize = 160;
/// The longest text that is not folded, in characters; and the most lines.
const UNFOLDED: usize = 1_200;
const UNFOLDED_LINES: usize = 24;
/// How much of a folded text's two ends is shown, in characters.
const PREVIEW: usize = 120;
/// How much of a tool's name is shown above the call, in characters. The call shows a longer one in full.
pub(super) const NAME_LIMIT: usize = 64;

/// How much is shown of how arguments begin, in characters; and from how many bytes on a call is not read
/// for that.
const BEGINNING: usize = 100;
const MAX_BEGUN: usize = 64 * 1024;

/// Deeper levels are not shown further to the right: a page must not be many times its call.
const MAX_INDENT: usize = 20;

/// The level of the heading that parameters stand below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Below {
    /// The page's own.
    H1,
    /// A card's, in a list.
    H2,
}

/// What may be folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folds {
    /// Long texts are.
    Long,
    /// Nothing is: what is confirmed is in sight.
    None,
}

/// Appends the parameters of a call of `tool`.
pub(super) fn show(call: &str, tool: &str, below: Below, folds: Folds, html: &mut Html) {
    match Value::parse(call) {
        Ok(value @ Value::Object(_)) => members(&value, tool, below, folds, html),
        Ok(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_),
        )
        | Err(_) => unreadable(call, html),
    }
}

/// Appends how a call's arguments begin, on one line, for lists. All of them are shown elsewhere.
pub(super) fn beginning(call: &str, html: &mut Html) {
    if call.len() > MAX_BEGUN {
        html.raw("<span class=\"between\">").text(&size(call.len()));
        html.raw(" of parameters</span>");
        return;
    }
    let parsed = Value::parse(call).ok();
    let arguments = parsed.as_ref().and_then(|call| call.get("arguments"));
    let members = arguments.map(Value::members).unwrap_or_default();
    if members.is_empty() {
        html.raw("<span class=\"between\">no arguments</span>");
        return;
    }
    let mut left = BEGINNING;
    for (at, (key, value)) in members.iter().enumerate() {
        html.raw(if at > 0 { ", " } else { "" });
        if left == 0 {
            html.raw("<span class=\"between\">…</span>");
            return;
        }
        html.raw("<span class=\"key\">");
        begun(&key.decode(), &mut left, html);
        html.raw("</span>: ");
        if let Value::String(text) = value {
            begun(&text.decode(), &mut left, html);
        } else {
            let mut text = String::new();
            value.write_canonical(&mut text);
            let head = head_of(&text, &mut left);
            html.text(head);
            html.raw(if head.len() < text.len() { "…" } else { "" });
        }
    }
}

/// Appends how a string begins, in quotes; outside of them, whether there is more.
fn begun(text: &str, left: &mut usize, html: &mut Html) {
    let head = head_of(text, left);
    html.quoted(head, usize::MAX, "left out");
    html.raw(if head.len() < text.len() { "…" } else { "" });
}

/// The beginning of a text that has room, which it takes.
fn head_of<'t>(text: &'t str, left: &mut usize) -> &'t str {
    let end = text
        .char_indices()
        .nth(*left)
        .map_or(text.len(), |(at, _)| at);
    let head = text.get(..end).unwrap_or_default();
    *left = left.saturating_sub(head.chars().count());
    head
}

fn members(call: &Value<'_>, tool: &str, below: Below, folds: Folds, html: &mut Html) {
    if call.get("name").and_then(Value::as_str).as_deref() != Some(tool) {
        html.raw("<p class=\"warning\">The call names another tool than the one asked about.</p>");
    }
    match call.get("arguments") {
        None => {
            html.raw("<p class=\"quiet\">No arguments.</p>");
        }
        Some(arguments) if arguments.is_object() && arguments.members().is_empty() => {
            html.raw("<p class=\"quiet\">No arguments.</p>");
        }
        Some(arguments) => {
            // It stands right below the tool's name, and needs no heading to be seen.
            heading("Arguments", "part unread", below, html);
            block(arguments, folds, html);
        }
    }
    let is_named_above = tool.chars().nth(NAME_LIMIT).is_none();
    let more = call.members().iter().filter(|(key, value)| {
        let is_tool = is_named_above && value.as_str().as_deref() == Some(tool);
        let is_shown_above = key.is("arguments") || (key.is("name") && is_tool);
        !is_shown_above
    });
    let more: Vec<_> = more.cloned().collect();
    if !more.is_empty() {
        heading("Other parameters", "part", below, html);
        block(&Value::Object(more), folds, html);
    }
}

fn heading(text: &'static str, class: &'static str, below: Below, html: &mut Html) {
    let (start, end) = match below {
        Below::H1 => ("<h2 class=\"", "</h2>"),
        Below::H2 => ("<h3 class=\"", "</h3>"),
    };
    html.raw(start).raw(class).raw("\">").raw(text).raw(end);
}

fn unreadable(call: &str, html: &mut Html) {
    html.raw("<p class=\"warning\">The call is not an object of JSON; it is shown as it came.</p>");
    html.raw("<div class=\"code\">").lines(call).raw("</div>");
}

fn block(value: &Value<'_>, folds: Folds, html: &mut Html) {
    html.raw(
        "<div class=\"code\" tabindex=\"0\" role=\"group\" aria-label=\"Parameters as JSON\">",
    );
    show_value(value, 0, folds, html);
    html.raw("</div>");
}

fn show_value(value: &Value<'_>, indent: usize, folds: Folds, html: &mut Html) -> Ends {
    let mut ends = Ends::InLine;
    match value {
        Value::Null => {
            html.raw("<span class=\"lit\">null</span>");
        }
        Value::Bool(value) => {
            html.raw("<span class=\"lit\">");
            html.raw(if *value { "true" } else { "false" })
                .raw("</span>");
        }
        Value::Number(token) => {
            html.raw("<span class=\"num\">").text(token).raw("</span>");
        }
        Value::String(text) => return string(&text.decode(), folds, html),
        Value::Array(items) if items.is_empty() => {
            html.raw("[]");
        }
        Value::Array(items) => {
            html.raw("[");
            for (i, item) in items.iter().enumerate() {
                new_line(i > 0, &mut ends, indent + 1, html);
                ends = show_value(item, indent + 1, folds, html);
            }
            new_line(false, &mut ends, indent, html);
            html.raw("]");
        }
        Value::Object(members) if members.is_empty() => {
            html.raw("{}");
        }
        Value::Object(members) => {
            html.raw("{");
            for (i, (key, value)) in members.iter().enumerate() {
                new_line(i > 0, &mut ends, indent + 1, html);
                html.raw("<span class=\"key\">");
                in_line(&key.decode(), html);
                html.raw("</span>: ");
                ends = show_value(value, indent + 1, folds, html);
            }
            new_line(false, &mut ends, indent, html);
            html.raw("}");
        }
    }
    Ends::InLine
}

/// Where a value leaves off.
enum Ends {
    InLine,
    /// Below a box, where a line begins already.
    BelowBox,
}

fn new_line(comma: bool, ends: &mut Ends, indent: usize, html: &mut Html) {
    match std::mem::replace(ends, Ends::InLine) {
        Ends::InLine => html.raw(if comma { ",\n" } else { "\n" }),
        Ends::BelowBox => html,
    };
    for _ in 0..indent.min(MAX_INDENT) {
        html.raw("  ");
    }
}

/// A string that is too long for its line, or has several, stands in a box of its own, where no
/// text of it can look like another parameter.
fn string(text: &str, folds: Folds, html: &mut Html) -> Ends {
    let count = text.chars().count();
    let lines = text.split('\n').count();
    if count <= IN_LINE && lines == 1 {
        html.raw("<span class=\"str\">");
        in_line(text, html);
        html.raw("</span>");
        return Ends::InLine;
    }
    // The script folds it, and wants it unfolded before Approve. Without a script it stays open.
    let is_long = count > UNFOLDED || lines > UNFOLDED_LINES;
    let is_folded = is_long && folds == Folds::Long;
    html.raw(if is_folded {
        "<details class=\"long\" data-fold open><summary>"
    } else {
        "<details class=\"long\" open><summary>"
    });
    html.raw("<span class=\"size\">text, ")
        .text(&size(text.len()));
    if lines > 1 {
        html.raw(", ").text(&lines.to_string()).raw(" lines");
    }
    html.raw("</span> <span class=\"str preview\">")
        .quoted(text, PREVIEW, "folded")
        .raw("</span></summary><div class=\"str body\">")
        .block(text)
        .raw("</div></details>");
    Ends::BelowBox
}

fn in_line(text: &str, html: &mut Html) {
    html.quoted(text, usize::MAX, "left out");
}

/// So many bytes, in words.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}
