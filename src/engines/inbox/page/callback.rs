//! `POST /callback/{name}`: the answers of services that answer later.
//!
//! The engine checks who sent it; this asks the store whether the item is still open, and decides it there if no
//! courier of this process carries it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use super::App;
use super::routes::{is_id, set_security_headers};
use crate::approval::item::{Assurance, Verdict};
use crate::engines::inbox::store::{Decided, SignedVerdict, StoreError, cut_reason};
use crate::engines::request::fitting;
use crate::engines::{BadCallback, CallbackAnswer, Delivery};

/// The largest body, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Creates the route.
///
/// It stands outside of the page's checks of `Host`, `Origin` and login. Services reach it under whatever name a tunnel
/// or a reverse proxy has, and no browser sends these requests. The signature over the whole body takes the place of
/// all three: a foreign web page has no secret to sign with. Nothing here reads a cookie, and no answer contains
/// anything about an item.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/callback/{name}", any(receive))
        .layer(map_response(async |mut response: Response| {
            set_security_headers(response.headers_mut());
            response
        }))
        .with_state(app)
}

/// Why a callback did not count.
enum Refusal {
    /// There is no such engine, or it takes no callbacks.
    NotFound,
    TooLarge,
    /// The body did not arrive.
    Incomplete,
    Bad(BadCallback),
    /// The answer is about something else, or too late.
    Conflict(&'static str),
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::Store(error)
    }
}

const NOT_OPEN: &str = "no open request has this `id`; it was decided, withdrawn, or has expired";
const OTHER: &str = "`fingerprint` is not that of the request";
const NEEDS_PASSPHRASE: &str = "this process did not ask, and a passphrase is set: only the approval inbox can \
    decide this request";

async fn receive(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let callback = match *request.method() == Method::POST {
        true => app.callbacks.of(&name).ok_or(Refusal::NotFound)?,
        false => return Err(Refusal::NotFound),
    };
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    let answer = callback.read(&head.headers, &body, app.now().unix_ms);
    let answer = answer.map_err(Refusal::Bad)?;
    if !is_id(&answer.item) {
        return Err(Refusal::Conflict(NOT_OPEN));
    }
    let entry = app.store(|store| store.find(&answer.item))?;
    let entry = entry.filter(|entry| entry.state.is_open());
    let item = entry.ok_or(Refusal::Conflict(NOT_OPEN))?.item;
    if item.fingerprint() != answer.fingerprint {
        return Err(Refusal::Conflict(OTHER));
    }
    let verdict = fitting(answer.verdict, item.form.as_deref()).map_err(Refusal::Conflict)?;
    let answer = CallbackAnswer { verdict, ..answer };
    match callback.deliver(&answer, &item) {
        Delivery::Delivered => {}
        Delivery::Refused(why) => return Err(Refusal::Conflict(why)),
        Delivery::Elsewhere => decide(&app, &name, &answer)?,
    }
    callback.has_counted(&answer);
    app.changes.notify();
    Ok(reply(StatusCode::OK, "accepted"))
}

/// Decides an item in the store, for the process that asked.
fn decide(app: &App, engine: &str, answer: &CallbackAnswer) -> Result<(), Refusal> {
    // Such a row would be worth nothing, because nobody has signed it with the passphrase.
    if app.passphrase.is_some() {
        return Err(Refusal::Conflict(NEEDS_PASSPHRASE));
    }
    let CallbackAnswer { item, verdict, .. } = answer;
    let signed = SignedVerdict {
        verdict: Verdict {
            choice: verdict.choice,
            fields: verdict.fields.clone(),
            reason: (verdict.reason.as_deref()).map(|reason| cut_reason(reason).to_owned()),
            cover: Duration::ZERO,
            assurance: Assurance::SharedSecret,
            approver: verdict.approver.clone(),
            decided_ms: app.now().unix_ms,
        },
        signature: None,
        engine: Some(engine.to_owned()),
    };
    match app.store(|store| store.decide(item, &signed))? {
        Decided::Recorded => Ok(()),
        Decided::TooLate(_) | Decided::Unknown => Err(Refusal::Conflict(NOT_OPEN)),
    }
}

async fn read(body: Body) -> Result<Vec<u8>, Refusal> {
    match timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(read)) => Ok(read.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Refusal::Incomplete),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, why) = match &self {
            Refusal::NotFound => (
                StatusCode::NOT_FOUND,
                "no engine of this name takes callbacks; it needs a `secret`, and the method is POST",
            ),
            Refusal::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is larger than 64 KiB",
            ),
            Refusal::Incomplete => (StatusCode::BAD_REQUEST, "the body arrived incomplete"),
            Refusal::Bad(BadCallback::Unauthenticated(why)) => (StatusCode::UNAUTHORIZED, *why),
            Refusal::Bad(BadCallback::Malformed(why)) => (StatusCode::BAD_REQUEST, *why),
            Refusal::Bad(BadCallback::Replayed) => {
                (StatusCode::CONFLICT, "this callback has counted already")
            }
            Refusal::Conflict(why) => (StatusCode::CONFLICT, *why),
            Refusal::Store(error) => {
                tracing::warn!(
                    "a callback cannot be stored: {}",
                    crate::sys::with_causes(error)
                );
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the inbox's store cannot be used; try again",
                )
            }
        };
        reply(status, why)
    }
}

fn reply(status: StatusCode, text: &'static str) -> Response {
    let key = if status.is_success() {
        "status"
    } else {
        "error"
    };
    let body = serde_json::json!({ key: text }).to_string();
    let mut response = (status, body).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
