//! Renders a call's parameters for the person who decides: all of them, as they were written.
//!
//! Long texts can be folded to their size, beginning and end; nothing is omitted.

use super::html::Html;
use crate::mcp::json::Value;

/// The longest string that is shown inline, in characters.
const IN_LINE: usize = 160;
/// The longest text that is not folded, in characters and in lines.
const UNFOLDED: usize = 1_200;
const UNFOLDED_LINES: usize = 24;
/// How much of a folded text is shown, both ends together, in characters.
const PREVIEW: usize = 120;
/// How much of a tool's name is shown above the call, in characters. The call itself shows all of it.
pub(super) const NAME_LIMIT: usize = 64;

/// How much of the arguments a preview shows, in characters; and the largest call, in bytes, with a preview.
const BEGINNING: usize = 100;
const MAX_BEGUN: usize = 64 * 1024;

/// The deepest indentation: a page must not be many times larger than its call.
const MAX_INDENT: usize = 20;

/// The level of the heading above the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadingLevel {
    /// The heading of a page.
    H1,
    /// The heading of a card in a list.
    H2,
}

/// What is folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folding {
    /// Long texts.
    Long,
    /// Nothing, so that a person sees all they confirm.
    None,
}

/// Appends the parameters of a call to `tool`.
pub(super) fn show(call: &str, tool: &str, level: HeadingLevel, folding: Folding, html: &mut Html) {
    match Value::parse(call) {
        Ok(value @ Value::Object(_)) => members(&value, tool, level, folding, html),
        Ok(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_),
        )
        | Err(_) => unreadable(call, html),
    }
}

/// Appends the beginning of a call's arguments on one line, for lists.
pub(super) fn preview(call: &str, html: &mut Html) {
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
        quoted_start(&key.decode(), &mut left, html);
        html.raw("</span>: ");
        if let Value::String(text) = value {
            quoted_start(&text.decode(), &mut left, html);
        } else {
            let mut text = String::new();
            value.write_canonical(&mut text);
            let head = head_of(&text, &mut left);
            html.text(head);
            html.raw(if head.len() < text.len() { "…" } else { "" });
        }
    }
}

/// Appends the beginning of a string in quotes, and "…" after them if there is more.
fn quoted_start(text: &str, left: &mut usize, html: &mut Html) {
    let head = head_of(text, left);
    html.quoted(head, usize::MAX, "left out");
    html.raw(if head.len() < text.len() { "…" } else { "" });
}

/// Returns the beginning of a text that fits into `left` characters, and reduces `left`.
fn head_of<'t>(text: &'t str, left: &mut usize) -> &'t str {
    let end = text
        .char_indices()
        .nth(*left)
        .map_or(text.len(), |(at, _)| at);
    let head = text.get(..end).unwrap_or_default();
    *left = left.saturating_sub(head.chars().count());
    head
}

fn members(call: &Value<'_>, tool: &str, level: HeadingLevel, folding: Folding, html: &mut Html) {
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
            // Directly below the tool's name, so the heading is only for screen readers.
            heading("Arguments", "part unread", level, html);
            block(arguments, folding, html);
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
        heading("Other parameters", "part", level, html);
        block(&Value::Object(more), folding, html);
    }
}

fn heading(text: &'static str, class: &'static str, level: HeadingLevel, html: &mut Html) {
    let (start, end) = match level {
        HeadingLevel::H1 => ("<h2 class=\"", "</h2>"),
        HeadingLevel::H2 => ("<h3 class=\"", "</h3>"),
    };
    html.raw(start).raw(class).raw("\">").raw(text).raw(end);
}

fn unreadable(call: &str, html: &mut Html) {
    html.raw("<p class=\"warning\">The call is not a JSON object. It is shown as received.</p>");
    html.raw("<div class=\"code\">").lines(call).raw("</div>");
}

fn block(value: &Value<'_>, folding: Folding, html: &mut Html) {
    html.raw(
        "<div class=\"code\" tabindex=\"0\" role=\"group\" aria-label=\"Parameters as JSON\">",
    );
    show_value(value, 0, folding, html);
    html.raw("</div>");
}

fn show_value(value: &Value<'_>, indent: usize, folding: Folding, html: &mut Html) -> ValueEnd {
    let mut end = ValueEnd::InLine;
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
        Value::String(text) => return string(&text.decode(), folding, html),
        Value::Array(items) if items.is_empty() => {
            html.raw("[]");
        }
        Value::Array(items) => {
            html.raw("[");
            for (i, item) in items.iter().enumerate() {
                new_line(i > 0, &mut end, indent + 1, html);
                end = show_value(item, indent + 1, folding, html);
            }
            new_line(false, &mut end, indent, html);
            html.raw("]");
        }
        Value::Object(members) if members.is_empty() => {
            html.raw("{}");
        }
        Value::Object(members) => {
            html.raw("{");
            for (i, (key, value)) in members.iter().enumerate() {
                new_line(i > 0, &mut end, indent + 1, html);
                html.raw("<span class=\"key\">");
                in_line(&key.decode(), html);
                html.raw("</span>: ");
                end = show_value(value, indent + 1, folding, html);
            }
            new_line(false, &mut end, indent, html);
            html.raw("}");
        }
    }
    ValueEnd::InLine
}

/// Where the text after a value goes.
enum ValueEnd {
    /// On the same line.
    InLine,
    /// Below a box, on a new line.
    BelowBox,
}

fn new_line(comma: bool, end: &mut ValueEnd, indent: usize, html: &mut Html) {
    match std::mem::replace(end, ValueEnd::InLine) {
        ValueEnd::InLine => html.raw(if comma { ",\n" } else { "\n" }),
        ValueEnd::BelowBox => html,
    };
    for _ in 0..indent.min(MAX_INDENT) {
        html.raw("  ");
    }
}

/// Appends a string. A long one, or one with several lines, gets its own box, where its text cannot look
/// like another parameter.
fn string(text: &str, folding: Folding, html: &mut Html) -> ValueEnd {
    let count = text.chars().count();
    let lines = text.split('\n').count();
    if count <= IN_LINE && lines == 1 {
        html.raw("<span class=\"str\">");
        in_line(text, html);
        html.raw("</span>");
        return ValueEnd::InLine;
    }
    // The script folds it, and enables Approve once it was unfolded. Without the script it stays open.
    let is_long = count > UNFOLDED || lines > UNFOLDED_LINES;
    let is_folded = is_long && folding == Folding::Long;
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
    ValueEnd::BelowBox
}

fn in_line(text: &str, html: &mut Html) {
    html.quoted(text, usize::MAX, "left out");
}

/// Formats a number of bytes.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}
