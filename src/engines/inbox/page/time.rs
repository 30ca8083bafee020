//! Renders times and durations.

use chrono::DateTime;

use super::html::Html;
use crate::sys::time::span;

/// Appends a time. The script converts it to the reader's time zone and language.
pub(super) fn moment(unix_ms: i64, html: &mut Html) {
    let time = DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
    html.raw("<time data-ms=\"").number(unix_ms).raw("\">");
    html.text(&time.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    html.raw("</time>");
}

/// Appends how long ago a time was. The script keeps it up to date.
pub(super) fn ago(unix_ms: i64, now_ms: i64, html: &mut Html) {
    html.raw("<time data-ago=\"").number(unix_ms).raw("\">");
    html.text(&match now_ms.saturating_sub(unix_ms) {
        ..5_000 => "just now".to_owned(),
        passed => format!("{} ago", span(passed)),
    });
    html.raw("</time>");
}

/// Appends how much time is left. The script counts it down.
pub(super) fn left(unix_ms: i64, now_ms: i64, html: &mut Html) {
    html.raw("<time data-left=\"").number(unix_ms).raw("\">");
    html.text(&match unix_ms.saturating_sub(now_ms) {
        ..=0 => "expired".to_owned(),
        left => format!("{} left", span(left)),
    });
    html.raw("</time>");
}
