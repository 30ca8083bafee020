//! The history: decided and closed items.

use super::approver::approver;
use super::call::{self, NAME_LIMIT};
use super::card::{engine_name, name, risk, state};
use super::form::{Form, encode};
use super::html::Html;
use super::time::moment;
use crate::engines::inbox::store::{Entry, Filter};

/// How many items one page of the history shows.
pub(super) const PAGE: usize = 50;

const STATES: [(&str, &str); 5] = [
    ("", "Any outcome"),
    ("approved", "Approved"),
    ("denied", "Denied"),
    ("expired", "Expired"),
    ("withdrawn", "Withdrawn"),
];

/// Reads the filter from a query.
pub(super) fn filter(query: &Form) -> Filter {
    let known = |word: &&str| STATES.iter().any(|(state, _)| state == word);
    Filter {
        state: query.filled("state").filter(known).map(str::to_owned),
        server: query.filled("server").map(str::to_owned),
        tool: query.filled("tool").map(str::to_owned),
        before_ms: query.filled("before_ms").and_then(|ms| ms.parse().ok()),
    }
}

/// Appends the history. `entries` has more than [`PAGE`] items if another page follows.
pub(super) fn show(filter: &Filter, entries: &[Entry], html: &mut Html) {
    html.raw("<h1 class=\"page-title\">History</h1><form class=\"filters\" method=\"get\" action=\"/history\" role=\"search\">");
    html.raw("<label class=\"field\"><span>Outcome</span><select name=\"state\">");
    let chosen = filter.state.as_deref().unwrap_or_default();
    for (word, text) in STATES {
        html.raw("<option value=\"").raw(word);
        html.raw(if word == chosen {
            "\" selected>"
        } else {
            "\">"
        })
        .raw(text)
        .raw("</option>");
    }
    html.raw("</select></label>");
    field(
        "Server (exact name)",
        "server",
        filter.server.as_deref(),
        html,
    );
    field("Tool contains", "tool", filter.tool.as_deref(), html);
    html.raw("<button class=\"button\">Filter</button>");
    let is_filtered = filter.state.is_some() || filter.server.is_some() || filter.tool.is_some();
    if is_filtered || filter.before_ms.is_some() {
        html.raw("<a class=\"clear\" href=\"/history\">Clear</a>");
    }
    html.raw("</form>");
    if entries.is_empty() {
        html.raw("<div class=\"empty\"><p class=\"lead\">Nothing here.</p><p class=\"quiet\">");
        html.raw(if is_filtered {
            "No decision matches this filter."
        } else {
            "Decided and expired calls are listed here."
        });
        html.raw("</p></div>");
        return;
    }
    let (shown, before) = split(entries);
    html.raw("<ol class=\"rows\">");
    for entry in shown {
        row(entry, html);
    }
    html.raw("</ol>");
    if let Some(before) = before {
        let mut query = format!("before_ms={before}");
        for (name, value) in [
            ("&state=", &filter.state),
            ("&server=", &filter.server),
            ("&tool=", &filter.tool),
        ] {
            if let Some(value) = value {
                query.push_str(name);
                encode(value, &mut query);
            }
        }
        html.raw("<p class=\"more\"><a class=\"button\" href=\"/history?")
            .value(&query);
        html.raw("\" rel=\"next\">Show older</a></p>");
    }
}

/// Returns the items of this page, and the time before which the next page starts. Items with the same time
/// stay together, because a page can start only between times.
fn split(entries: &[Entry]) -> (&[Entry], Option<i64>) {
    let Some(next) = entries.get(PAGE) else {
        return (entries, None);
    };
    let moment = next.item.asked_ms;
    let whole = entries
        .iter()
        .take_while(|entry| entry.item.asked_ms > moment);
    match entries.split_at_checked(whole.count()) {
        Some((shown, _)) if !shown.is_empty() => (shown, Some(moment.saturating_add(1))),
        _ => (entries, Some(moment)),
    }
}

fn field(label: &'static str, name: &'static str, value: Option<&str>, html: &mut Html) {
    html.raw("<label class=\"field\"><span>")
        .raw(label)
        .raw("</span><input type=\"search\" name=\"");
    html.raw(name)
        .raw("\" value=\"")
        .value(value.unwrap_or_default())
        .raw("\"></label>");
}

/// Appends one row. All rows use the same columns.
fn row(entry: &Entry, html: &mut Html) {
    let item = &entry.item;
    html.raw("<li><article class=\"row\" tabindex=\"-1\"><div class=\"outcome\">");
    state(entry.state, html);
    html.raw("</div><div class=\"what\"><a class=\"tool\" href=\"/item/")
        .value(&item.id)
        .raw("\">");
    name(&item.tool, NAME_LIMIT, html);
    html.raw("</a>");
    risk(item.risk, html);
    html.raw("<p class=\"begin\">");
    call::preview(&item.call, html);
    html.raw("</p></div><div class=\"by\">");
    if let Some(verdict) = &entry.verdict {
        approver(verdict, html);
        html.raw("<br><span class=\"quiet\">");
        engine_name(entry.engine.as_deref(), html);
        html.raw("</span>");
    } else {
        html.raw("<span class=\"quiet\">nobody decided</span>");
    }
    html.raw("</div><div class=\"meta\"><span class=\"when\">");
    moment(item.asked_ms, html);
    html.raw("</span><span class=\"who\">");
    name(&item.server, NAME_LIMIT, html);
    html.raw("</span></div>");
    let reason = entry.verdict.as_ref();
    if let Some(reason) = reason.and_then(|verdict| verdict.reason.as_ref()) {
        html.raw("<p class=\"reason\">").text(reason).raw("</p>");
    }
    html.raw("</article></li>");
}
