//! What was asked before, and what became of it.

use super::approver::approver;
use super::call::{self, NAME_LIMIT};
use super::card::{name, risk, state, through};
use super::form::{Form, encode};
use super::html::Html;
use super::time::moment;
use crate::engines::inbox::store::{Entry, Filter};

/// How many items a page of the history has.
pub(super) const PAGE: usize = 50;

const STATES: [(&str, &str); 5] = [
    ("", "Any outcome"),
    ("approved", "Approved"),
    ("denied", "Denied"),
    ("expired", "Expired"),
    ("withdrawn", "Withdrawn"),
];

/// What the query asks for.
pub(super) fn filter(query: &Form) -> Filter {
    let known = |word: &&str| STATES.iter().any(|(state, _)| state == word);
    Filter {
        state: query.filled("state").filter(known).map(str::to_owned),
        server: query.filled("server").map(str::to_owned),
        tool: query.filled("tool").map(str::to_owned),
        before_ms: query.filled("before_ms").and_then(|ms| ms.parse().ok()),
    }
}

/// Appends the history. `entries` has one more than [`PAGE`] where there is more.
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
    field("Server, exactly", "server", filter.server.as_deref(), html);
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
            "Once something was decided, or its time was over, it is listed here."
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
        html.raw("\" rel=\"next\">Show older ones</a></p>");
    }
}

/// What stands on this page, and before when the next one begins. Items of one moment stay
/// together, since a page can begin only between moments.
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

/// Appends one decision. The parts of all rows stand in the same columns.
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
    call::beginning(&item.call, html);
    html.raw("</p></div><div class=\"by\">");
    if let Some(verdict) = &entry.verdict {
        approver(verdict, html);
        html.raw("<br><span class=\"quiet\">");
        through(entry.engine.as_deref(), html);
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
