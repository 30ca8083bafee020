//! The page's routes, and the headers of every response.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::access::Site;
use super::call::NAME_LIMIT;
use super::card::{CardContext, CardKind, Message, Typed, card, detail, notice};
use super::error::PageError;
use super::form::Form;
use super::html::Html;
use super::layout::{Tab, answer, page};
use super::login::{Session, log_in, log_out};
use super::{
    App, access, approver, callback, decide, events, history, login, pairing, proof, push, several,
};
use crate::approval::display::quoted_text;
use crate::approval::item::Choice;
use crate::approval::request::QuestionKind;
use crate::engines::inbox::store::{Entry, State as ItemState};

/// How many items are listed at first, and how many "Show more" adds.
const LISTED: usize = 100;
/// With more items than this, each is a row that opens to a whole card.
const ROWS_BEYOND: usize = 20;
/// The most items on one page. Newer ones move up as older ones are decided.
const MAX_LISTED: usize = 500;
/// The most bytes for the cards of one page. The last card may exceed it.
const MAX_CARDS: usize = 4 * 1024 * 1024;

/// The Content-Security-Policy of our pages: they may only load and do what is our own.
const CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
    connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; \
    frame-ancestors 'none'; base-uri 'none'";

/// Creates the router. It refuses requests for another host or port.
pub(super) fn router(app: Arc<App>) -> Router {
    let callbacks = callback::router(Arc::clone(&app));
    let site = app.site.clone();
    let logging_in = match app.site {
        Site::Local(_) => Router::new()
            .route("/login", get(login::show).post(log_in))
            .route("/prove", get(prove)),
        Site::Remote(_) => Router::new()
            .route("/login", get(pairing::how))
            .route("/pair", get(pairing::show).post(pairing::pair))
            .route("/push", post(push::subscribe))
            .route("/sw.js", get(push::service_worker)),
    };
    let pages = logging_in
        .route("/", get(waiting))
        .route("/fragment", get(fragment))
        .route("/item/{id}", get(item))
        .route("/item/{id}/decide", post(decide::decide))
        .route("/decide", post(several::decide))
        .route("/history", get(show_history))
        .route("/name", post(approver::set))
        .route("/events", get(events::listen))
        .route("/logout", post(log_out))
        .route("/manifest.webmanifest", get(manifest))
        .route("/assets/{name}", get(asset))
        .fallback(async || PageError::NotFound)
        .method_not_allowed_fallback(async || PageError::Method)
        .layer(from_fn(move |request: Request, next: Next| {
            let (method, uri) = (request.method(), request.uri());
            let allowed = access::check(method, uri, request.headers(), &site);
            async move {
                let mut response = match allowed {
                    Ok(()) => next.run(request).await,
                    Err(why) => PageError::Access(why).into_response(),
                };
                set_security_headers(response.headers_mut());
                response
            }
        }))
        .with_state(app);
    pages.merge(callbacks)
}

pub(super) fn set_security_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: browsers would send `Origin: null` with our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// `GET /`
async fn waiting(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, PageError> {
    let session = app.session(&headers, Some(&uri))?;
    let query = Form::query(uri.query());
    let mut body = Html::new();
    if let Some((message, state)) = message(&query) {
        notice(message, state, &mut body);
        let id = query.get("item");
        if is_id(id) {
            body.raw("<p class=\"said-link\"><a href=\"/item/")
                .value(id)
                .raw("\">Show the call</a></p>");
        }
    }
    body.raw("<div class=\"title-row\"><div class=\"title\"><h1 class=\"page-title\">Waiting for you</h1><button type=\"button\" class=\"button\" id=\"news\" hidden></button></div><label class=\"needs-script\" id=\"list-tools\" hidden><span class=\"unread\">Filter by tool, server or argument</span><input type=\"search\" id=\"filter\" autocomplete=\"off\" placeholder=\"Filter\"></label></div>");
    body.raw("<p class=\"status\" id=\"status\" role=\"status\" aria-live=\"polite\"></p>");
    let count = list(&app, &session, &query, &mut body)?;
    several::bar(&session, &mut body);
    let page = page("Approvals", Tab::Waiting, &session, count, &body);
    Ok(answer(StatusCode::OK, page))
}

/// `GET /fragment`: only the list, which the script puts into an open page.
async fn fragment(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, PageError> {
    let session = app.session(&headers, None)?;
    let mut body = Html::new();
    list(&app, &session, &Form::query(uri.query()), &mut body)?;
    Ok(answer(StatusCode::OK, body))
}

/// Appends the list of waiting items. Returns how many wait in all.
fn list(app: &App, session: &Session, query: &Form, html: &mut Html) -> Result<usize, PageError> {
    let show = query.get("show").parse().unwrap_or(LISTED);
    let show = show.clamp(LISTED, MAX_LISTED);
    let (entries, count) = app.store(|store| store.waiting(show))?;
    html.raw("<div id=\"inbox\" data-count=\"")
        .text(&count.to_string())
        .raw("\" data-approver=\"")
        .value(session.approver.as_deref().unwrap_or_default())
        .raw("\">");
    if entries.is_empty() {
        html.raw("<div class=\"empty\"><img src=\"/assets/icon.svg\" alt=\"\" width=\"56\" height=\"56\"><div class=\"known\"><p class=\"lead\">Nothing is waiting for you.</p><p class=\"quiet\">When an agent needs your approval, its call appears here.</p></div><p class=\"lead unknown\">No connection. Calls may be waiting.</p></div>");
    }
    html.raw("<p class=\"asked\">")
        .raw(QuestionKind::First.question())
        .raw("</p>");
    html.raw("<ol class=\"cards\" id=\"cards\">");
    let context = app.context(session);
    let (start, mut shown) = (html.len(), 0);
    let form = match entries.len() > ROWS_BEYOND {
        true => CardKind::Row,
        false => CardKind::Whole,
    };
    for entry in &entries {
        if html.len() - start >= MAX_CARDS {
            break;
        }
        card(entry, context, form, html);
        shown += 1;
    }
    html.raw("</ol>");
    if count > shown {
        html.raw("<p class=\"more\"><span class=\"quiet\">Showing ")
            .text(&shown.to_string());
        html.raw(" of ").text(&count.to_string());
        html.raw(", oldest first.");
        if show < MAX_LISTED && shown == entries.len() {
            html.raw("</span> <a class=\"button\" href=\"/?show=");
            html.text(&(show + LISTED).to_string());
            html.raw("\">Show more</a></p>");
        } else {
            html.raw(" Newer calls appear as you decide these.</span></p>");
        }
    }
    html.raw("</div>");
    Ok(count)
}

impl App {
    /// The port of the local page; 0 for the remote one.
    fn port(&self) -> u16 {
        match self.site {
            Site::Local(port) => port,
            Site::Remote(_) => 0,
        }
    }

    pub(super) fn context<'a>(&self, session: &'a Session) -> CardContext<'a> {
        CardContext {
            csrf: &session.csrf,
            needs_passphrase: self.passphrase.is_some(),
            now_ms: self.now().unix_ms,
        }
    }
}

/// `GET /item/{id}`
async fn item(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, PageError> {
    let session = app.session(&headers, Some(&uri))?;
    if !is_id(&id) {
        return Err(PageError::NotFound);
    }
    let entry = app
        .store(|store| store.find(&id))?
        .ok_or(PageError::NotFound)?;
    let message = message(&Form::query(uri.query())).map(|(message, _)| message);
    item_page(
        &app,
        &session,
        &entry,
        message,
        &Typed::default(),
        StatusCode::OK,
    )
}

/// Returns an item's own page.
pub(super) fn item_page(
    app: &App,
    session: &Session,
    entry: &Entry,
    message: Option<Message>,
    typed: &Typed<'_>,
    status: StatusCode,
) -> Result<Response, PageError> {
    let (_, count) = app.store(|store| store.waiting(0))?;
    let mut body = Html::new();
    detail(entry, app.context(session), message, typed, &mut body);
    let title = quoted_text(&entry.item.tool, NAME_LIMIT);
    let tab = Tab::Item(&entry.item.id);
    let page = page(&title, tab, session, count, &body);
    Ok(answer(status, page))
}

/// Returns the message that one of our redirects asks for.
fn message(query: &Form) -> Option<(Message, ItemState)> {
    use crate::engines::inbox::store::Closed;
    let state = match query.get("state") {
        "approved" => ItemState::Decided(Choice::Approve),
        "denied" => ItemState::Decided(Choice::Deny),
        "expired" => ItemState::Closed(Closed::Expired),
        "withdrawn" => ItemState::Closed(Closed::Withdrawn),
        _ => ItemState::Waiting,
    };
    let message = match query.get("said") {
        "approved" => Message::Done(Choice::Approve),
        "denied" => Message::Done(Choice::Deny),
        "late" => Message::TooLate,
        "several" => {
            let number = |name| query.get(name).parse().ok();
            let choice = match query.get("choice") {
                "approve" => Choice::Approve,
                _ => Choice::Deny,
            };
            let (done, late) = (number("done")?, number("late")?);
            Message::Several { choice, done, late }
        }
        _ => return None,
    };
    Some((message, state))
}

/// Returns true if this may be an item's id.
pub(super) fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `GET /history`
async fn show_history(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, PageError> {
    let session = app.session(&headers, Some(&uri))?;
    let filter = history::filter(&Form::query(uri.query()));
    let (entries, count) = app.store(|store| {
        let entries = store.history(&filter, history::PAGE + 1)?;
        Ok((entries, store.waiting(0)?.1))
    })?;
    let mut body = Html::new();
    history::show(&filter, &entries, &mut body);
    let page = page("History · Approvals", Tab::History, &session, count, &body);
    Ok(answer(StatusCode::OK, page))
}

/// `GET /prove`
async fn prove(State(app): State<Arc<App>>, uri: Uri) -> Result<String, PageError> {
    let query = Form::query(uri.query());
    let nonce = query.get("nonce");
    let is_nonce =
        (32..=128).contains(&nonce.len()) && nonce.bytes().all(|b| b.is_ascii_hexdigit());
    match is_nonce {
        true => Ok(proof(&app.secret, app.port(), nonce)),
        false => Err(PageError::Form(
            "The nonce must be 32 to 128 hexadecimal digits.",
        )),
    }
}

/// `GET /assets/{name}`
async fn asset(Path(name): Path<String>) -> Result<Response, PageError> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let (kind, content): (_, &'static [u8]) = match &*name {
        "app.css" => ("text/css; charset=utf-8", include_bytes!("assets/app.css")),
        "app.js" => (SCRIPT, include_bytes!("assets/app.js")),
        "guard.js" => (SCRIPT, include_bytes!("assets/guard.js")),
        "icon.svg" => ("image/svg+xml", include_bytes!("assets/icon.svg")),
        "icon-waiting.svg" => ("image/svg+xml", include_bytes!("assets/icon-waiting.svg")),
        "icon-180.png" => ("image/png", include_bytes!("assets/icon-180.png")),
        "icon-512.png" => ("image/png", include_bytes!("assets/icon-512.png")),
        _ => return Err(PageError::NotFound),
    };
    Ok(own_file(kind, content))
}

/// `GET /manifest.webmanifest`: lets a phone install the page (W3C, Web Application Manifest).
async fn manifest() -> Response {
    own_file(
        "application/manifest+json",
        include_bytes!("assets/manifest.json"),
    )
}

/// Returns a file of our own, which nobody needs to log in for.
pub(super) fn own_file(kind: &'static str, content: &'static [u8]) -> Response {
    let mut response = Response::new(Body::from(content));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
