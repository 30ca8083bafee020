//! The frame around every page.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;

use super::approver;
use super::html::Html;
use super::login::Session;

/// The tab that a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab<'a> {
    /// The waiting calls.
    Waiting,
    /// The history.
    History,
    /// The page of the item with this id.
    Item(&'a str),
    /// Another page.
    None,
}

/// Returns a page for a logged-in browser. `waiting` is the number of waiting items.
pub(super) fn page(
    title: &str,
    tab: Tab<'_>,
    session: &Session,
    waiting: usize,
    body: &Html,
) -> Html {
    let mut html = Html::new();
    head(title, waiting, None, &mut html);
    html.raw("<body data-live");
    if let Some(key) = &session.push_key {
        html.raw(" data-push=\"").value(key).raw("\"");
    }
    html.raw(">");
    html.raw("<a class=\"skip\" href=\"#main\">Skip to content</a><header class=\"top\"><div class=\"bar\">");
    html.raw("<a class=\"brand\" href=\"/\"><img src=\"/assets/icon.svg\" alt=\"\" width=\"22\" height=\"22\">Approvals</a><nav aria-label=\"Views\"><a href=\"/\"");
    if tab == Tab::Waiting {
        html.raw(" aria-current=\"page\"");
    }
    html.raw(">Waiting <span class=\"count\" id=\"count\">")
        .text(&waiting.to_string());
    html.raw("</span></a><a href=\"/history\"");
    if tab == Tab::History {
        html.raw(" aria-current=\"page\"");
    }
    html.raw(">History</a></nav>");
    approver::field(tab, session, &mut html);
    html.raw("<div class=\"tools\">");
    html.raw("<button type=\"button\" class=\"plain\" id=\"forget\" hidden>Forget the passphrase</button>");
    html.raw("<button type=\"button\" class=\"plain needs-script\" id=\"notify\" hidden>Notify me</button>");
    html.raw("<button type=\"button\" class=\"plain needs-script\" id=\"help-button\" aria-haspopup=\"dialog\" aria-label=\"Keyboard shortcuts\" title=\"Keyboard shortcuts\">?</button>");
    html.raw(
        "<form method=\"post\" action=\"/logout\"><input type=\"hidden\" name=\"csrf\" value=\"",
    );
    html.value(&session.csrf)
        .raw("\"><button class=\"plain\">Log out</button></form>");
    // The message covers the page, so nothing moves when it appears.
    html.raw("</div></div><p class=\"offline\" id=\"offline\" role=\"alert\" hidden>No connection to the inbox. The page reconnects when a proxy runs.</p></header>");
    html.raw("<main id=\"main\" tabindex=\"-1\">")
        .add(body)
        .raw("</main>");
    html.raw(HELP).raw("</body></html>");
    html
}

/// Returns a page for anybody. If `redirect` is set, the browser goes there by itself.
pub(super) fn bare(title: &str, redirect: Option<&str>, body: &Html) -> Html {
    let mut html = Html::new();
    head(title, 0, redirect, &mut html);
    html.raw("<body><header class=\"top\"><div class=\"bar\"><a class=\"brand\" href=\"/\"><img src=\"/assets/icon.svg\" alt=\"\" width=\"22\" height=\"22\">Approvals</a></div></header>");
    html.raw("<main id=\"main\">")
        .add(body)
        .raw("</main></body></html>");
    html
}

fn head(title: &str, waiting: usize, redirect: Option<&str>, html: &mut Html) {
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">");
    if let Some(redirect) = redirect {
        html.raw("<meta http-equiv=\"refresh\" content=\"0;url=")
            .value(redirect)
            .raw("\">");
    }
    html.raw("<title>");
    if waiting > 0 {
        html.raw("(").text(&waiting.to_string()).raw(") ");
    }
    // A title cannot contain elements, so we cannot use `text` with its marks.
    html.value(title)
        .raw("</title><link rel=\"icon\" type=\"image/svg+xml\" href=\"");
    html.raw(if waiting > 0 {
        "/assets/icon-waiting.svg"
    } else {
        "/assets/icon.svg"
    });
    html.raw("\"><link rel=\"apple-touch-icon\" href=\"/assets/icon-180.png\"><link rel=\"manifest\" href=\"/manifest.webmanifest\"><link rel=\"stylesheet\" href=\"/assets/app.css\"><script type=\"module\" src=\"/assets/app.js\"></script></head>");
}

/// The dialog with the keyboard shortcuts, which the script opens.
const HELP: &str = "<dialog id=\"help\" aria-labelledby=\"help-title\"><h2 id=\"help-title\">Keyboard shortcuts</h2><dl>\
<div><dt><kbd>j</kbd> <kbd>k</kbd> or <kbd>↓</kbd> <kbd>↑</kbd></dt><dd>next, previous call</dd></div>\
<div><dt><kbd>a</kbd> then <kbd>Enter</kbd></dt><dd>approve</dd></div>\
<div><dt><kbd>d</kbd> then <kbd>Enter</kbd></dt><dd>deny; type a reason in between</dd></div>\
<div><dt><kbd>s</kbd></dt><dd>select the call</dd></div>\
<div><dt><kbd>A</kbd> <kbd>D</kbd></dt><dd>approve, deny all selected calls, after one more page</dd></div>\
<div><dt><kbd>n</kbd></dt><dd>show what is new</dd></div>\
<div><dt><kbd>o</kbd></dt><dd>open the call’s own page</dd></div>\
<div><dt><kbd>x</kbd></dt><dd>open a row; unfold or fold long texts</dd></div>\
<div><dt><kbd>/</kbd></dt><dd>filter</dd></div>\
<div><dt><kbd>Esc</kbd></dt><dd>leave a field, close this</dd></div>\
</dl><p class=\"quiet\">Keys do nothing in the first second after the page opens or a card changes.</p><form method=\"dialog\"><button class=\"button\">Close</button></form></dialog>";

/// Returns a response with a page.
pub(super) fn answer(status: StatusCode, page: Html) -> Response {
    let mut response = Response::new(Body::from(page.into_string()));
    *response.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    response
}
