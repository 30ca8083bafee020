//! Which path is answered how, and what every answer has in its head.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::call::NAME_LIMIT;
use super::card::{Form as CardForm, Message, Scene, Typed, card, detail, said};
use super::form::Form;
use super::html::Html;
use super::layout::{Tab, answer, page};
use super::login::{Session, log_in, log_out};
use super::trouble::Trouble;
use super::{App, access, approver, decide, events, history, login, proof, several};
use crate::approval::display::quoted_text;
use crate::approval::item::Choice;
use crate::approval::request::QuestionKind;
use crate::engines::inbox::store::{Entry, State as Standing};

/// How many items are listed, and how many more at a time.
const LISTED: usize = 100;
/// From how many items on they are listed as rows, which open to whole cards.
const ROWS_BEYOND: usize = 20;
/// The most items on one page; newer ones move up as older ones are decided.
const MAX_LISTED: usize = 500;
/// The most bytes that the cards of one page take; the last one may go beyond.
const MAX_CARDS: usize = 4 * 1024 * 1024;

/// What the browser may do with our pages: nothing but what they bring.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Answers requests that name the page's port.
pub(super) fn router(app: Arc<App>) -> Router {
    let port = app.port;
    Router::new()
        .route("/", get(waiting))
        .route("/fragment", get(fragment))
        .route("/item/{id}", get(item))
        .route("/item/{id}/decide", post(decide::decide))
        .route("/decide", post(several::decide))
        .route("/history", get(past))
        .route("/name", post(approver::set))
        .route("/events", get(events::listen))
        .route("/login", get(login::show).post(log_in))
        .route("/logout", post(log_out))
        .route("/prove", get(prove))
        .route("/assets/{name}", get(asset))
        .fallback(async || Trouble::NotFound)
        .method_not_allowed_fallback(async || Trouble::Method)
        .layer(from_fn(move |request: Request, next: Next| async move {
            let (method, uri) = (request.method(), request.uri());
            let allowed = access::check(method, uri, request.headers(), port);
            let mut response = match allowed {
                Ok(()) => next.run(request).await,
                Err(why) => Trouble::TurnedAway(why).into_response(),
            };
            guard(response.headers_mut());
            response
        }))
        .with_state(app)
}

fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: with it browsers send `Origin: null` with our own forms.
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
) -> Result<Response, Trouble> {
    let session = app.session(&headers, Some(&uri))?;
    let query = Form::query(uri.query());
    let mut body = Html::new();
    if let Some((message, state)) = message(&query) {
        said(message, state, &mut body);
        let id = query.get("item");
        if is_id(id) {
            body.raw("<p class=\"said-link\"><a href=\"/item/")
                .value(id)
                .raw("\">Look at it</a></p>");
        }
    }
    body.raw("<div class=\"title-row\"><div class=\"title\"><h1 class=\"page-title\">Waiting for you</h1><button type=\"button\" class=\"button\" id=\"news\" hidden></button></div><label class=\"needs-script\" id=\"list-tools\" hidden><span class=\"unread\">Filter by tool, server or argument</span><input type=\"search\" id=\"filter\" autocomplete=\"off\" placeholder=\"Filter\"></label></div>");
    body.raw("<p class=\"status\" id=\"status\" role=\"status\" aria-live=\"polite\"></p>");
    let count = list(&app, &session, &query, &mut body)?;
    several::bar(&session, &mut body);
    let page = page("Approvals", Tab::Waiting, &session, count, &body);
    Ok(answer(StatusCode::OK, page))
}

/// `GET /fragment`: only the list, for the script to put into an open page.
async fn fragment(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Trouble> {
    let session = app.session(&headers, None)?;
    let mut body = Html::new();
    list(&app, &session, &Form::query(uri.query()), &mut body)?;
    Ok(answer(StatusCode::OK, body))
}

/// Appends what waits; says how much that is.
fn list(app: &App, session: &Session, query: &Form, html: &mut Html) -> Result<usize, Trouble> {
    let show = query.get("show").parse().unwrap_or(LISTED);
    let show = show.clamp(LISTED, MAX_LISTED);
    let (entries, count) = app.store(|store| store.waiting(show))?;
    html.raw("<div id=\"inbox\" data-count=\"")
        .text(&count.to_string())
        .raw("\" data-approver=\"")
        .value(session.approver.as_deref().unwrap_or_default())
        .raw("\">");
    if entries.is_empty() {
        html.raw("<div class=\"empty\"><img src=\"/assets/icon.svg\" alt=\"\" width=\"56\" height=\"56\"><div class=\"known\"><p class=\"lead\">Nothing waits for you.</p><p class=\"quiet\">As soon as an agent wants to do something that needs your yes, it appears here by itself.</p></div><p class=\"lead unknown\">Without a connection nobody knows what waits.</p></div>");
    }
    html.raw("<p class=\"asked\">")
        .raw(QuestionKind::First.question())
        .raw("</p>");
    html.raw("<ol class=\"cards\" id=\"cards\">");
    let scene = app.scene(session);
    let (start, mut shown) = (html.len(), 0);
    let form = match entries.len() > ROWS_BEYOND {
        true => CardForm::Row,
        false => CardForm::Whole,
    };
    for entry in &entries {
        if html.len() - start >= MAX_CARDS {
            break;
        }
        card(entry, scene, form, html);
        shown += 1;
    }
    html.raw("</ol>");
    if count > shown {
        html.raw("<p class=\"more\"><span class=\"quiet\">")
            .text(&shown.to_string());
        html.raw(" of ").text(&count.to_string());
        html.raw(" are shown, the oldest first.");
        if show < MAX_LISTED && shown == entries.len() {
            html.raw("</span> <a class=\"button\" href=\"/?show=");
            html.text(&(show + LISTED).to_string());
            html.raw("\">Show more</a></p>");
        } else {
            html.raw(" Newer ones follow as these are decided.</span></p>");
        }
    }
    html.raw("</div>");
    Ok(count)
}

impl App {
    pub(super) fn scene<'a>(&self, session: &'a Session) -> Scene<'a> {
        Scene {
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
) -> Result<Response, Trouble> {
    let session = app.session(&headers, Some(&uri))?;
    if !is_id(&id) {
        return Err(Trouble::NotFound);
    }
    let entry = app
        .store(|store| store.find(&id))?
        .ok_or(Trouble::NotFound)?;
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

/// An item's own page.
pub(super) fn item_page(
    app: &App,
    session: &Session,
    entry: &Entry,
    message: Option<Message>,
    typed: &Typed<'_>,
    status: StatusCode,
) -> Result<Response, Trouble> {
    let (_, count) = app.store(|store| store.waiting(0))?;
    let mut body = Html::new();
    detail(entry, app.scene(session), message, typed, &mut body);
    let title = quoted_text(&entry.item.tool, NAME_LIMIT);
    let tab = Tab::Item(&entry.item.id);
    let page = page(&title, tab, session, count, &body);
    Ok(answer(status, page))
}

/// What a redirect of ours wants to be said.
fn message(query: &Form) -> Option<(Message, Standing)> {
    use crate::engines::inbox::store::Closed;
    let state = match query.get("state") {
        "approved" => Standing::Decided(Choice::Approve),
        "denied" => Standing::Decided(Choice::Deny),
        "expired" => Standing::Closed(Closed::Expired),
        "withdrawn" => Standing::Closed(Closed::Withdrawn),
        _ => Standing::Waiting,
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

/// Whether this can be an item's name.
pub(super) fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `GET /history`
async fn past(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Trouble> {
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
async fn prove(State(app): State<Arc<App>>, uri: Uri) -> Result<String, Trouble> {
    let query = Form::query(uri.query());
    let nonce = query.get("nonce");
    let is_nonce =
        (32..=128).contains(&nonce.len()) && nonce.bytes().all(|b| b.is_ascii_hexdigit());
    match is_nonce {
        true => Ok(proof(&app.secret, app.port, nonce)),
        false => Err(Trouble::Form(
            "The nonce must be 32 to 128 hexadecimal digits.",
        )),
    }
}

/// `GET /assets/{name}`
async fn asset(Path(name): Path<String>) -> Result<Response, Trouble> {
    let (kind, text) = match &*name {
        "app.css" => ("text/css; charset=utf-8", include_str!("assets/app.css")),
        "app.js" => (
            "text/javascript; charset=utf-8",
            include_str!("assets/app.js"),
        ),
        "guard.js" => (
            "text/javascript; charset=utf-8",
            include_str!("assets/guard.js"),
        ),
        "icon.svg" => ("image/svg+xml", include_str!("assets/icon.svg")),
        "icon-waiting.svg" => ("image/svg+xml", include_str!("assets/icon-waiting.svg")),
        _ => return Err(Trouble::NotFound),
    };
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}
