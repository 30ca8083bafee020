//! Who is logged in: a link that works once is exchanged for a cookie.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{COOKIE, HeaderMap, HeaderValue, LOCATION, SET_COOKIE};
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::access::only;
use super::form::Form;
use super::html::Html;
use super::layout::{answer, bare};
use super::trouble::{Trouble, how_to_log_in};
use super::{App, held, keyed, token_hash};
use crate::clock::random_seed;
use crate::inbox::store::Token;

/// How long a login holds.
const SESSION: Duration = Duration::from_secs(12 * 60 * 60);
const COOKIE_NAME: &str = "approvals";
/// How many cookies of this name are tried: another port of this machine may have set one, too.
const MAX_TRIED: usize = 4;

/// Somebody who is logged in.
#[derive(Debug)]
pub(super) struct Session {
    hash: [u8; 32],
    /// What the session's forms must bring.
    pub(super) csrf: String,
}

impl App {
    /// Who asks. `uri` is what is asked for, if it may be asked for again.
    pub(super) fn session(
        &self,
        headers: &HeaderMap,
        uri: Option<&Uri>,
    ) -> Result<Session, Trouble> {
        let now_ms = self.now().unix_ms;
        for token in cookies(headers).take(MAX_TRIED) {
            let hash = self.session_hash(token);
            if self.store(|store| store.has_token(Token::Session, &hash, now_ms))? {
                let csrf = keyed(&self.secret, "csrf", &hash).to_hex().to_string();
                return Ok(Session { hash, csrf });
            }
        }
        // A link on another site brings no cookie (`SameSite=Strict`); one on this page does.
        let site = axum::http::HeaderName::from_static("sec-fetch-site");
        let is_from_elsewhere = matches!(only(headers, &site), Some("cross-site" | "same-site"));
        let again = uri.filter(|_| is_from_elsewhere);
        Err(Trouble::NeedLogin(again.map(|uri| uri.path().to_owned())))
    }

    /// Whether a form is one that we gave to this session.
    pub(super) fn check_csrf(&self, session: &Session, form: &Form) -> Result<(), Trouble> {
        let expected = keyed(&self.secret, "csrf", &session.hash);
        // Equality of BLAKE3 hashes takes the same time wherever they differ.
        match blake3::Hash::from_hex(form.get("csrf")) {
            Ok(given) if given == expected => Ok(()),
            Ok(_) | Err(_) => Err(Trouble::Csrf),
        }
    }
}

/// The values of our cookie that could be sessions.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(COOKIE).iter();
    let all = all.filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE_NAME && value.len() == 64).then_some(value)
    })
}

/// `GET /login`: where the link from the terminal leads; the script sends what is behind its `#`.
pub(super) async fn show() -> Response {
    let mut body = Html::new();
    body.raw("<section class=\"notice\"><h1 id=\"login-title\">Log in to see your approvals</h1>");
    body.raw("<div id=\"login-how\">");
    how_to_log_in(&mut body);
    body.raw(
        "<details><summary>Without JavaScript</summary><p class=\"quiet\">Paste what stands behind <code>#</code> in the link.</p>\
         <form id=\"login\" method=\"post\" action=\"/login\"><label for=\"token\">Code of the link</label>\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"off\" required> \
         <button class=\"button\">Log in</button></form></details></div></section>",
    );
    answer(StatusCode::OK, bare("Log in", None, &body))
}

/// `POST /login`
pub(super) async fn log_in(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Trouble> {
    let now = app.now();
    if !held(&app.logins).take(now.elapsed) {
        return Err(Trouble::TooMany);
    }
    let form = Form::read(request.into_body()).await?;
    let hash = token_hash(form.filled("token").unwrap_or_default());
    let session = random_seed().map_err(|_| Trouble::NoRandom)?;
    let session = blake3::Hash::from_bytes(session).to_hex();
    if !app.store(|store| store.take_token(Token::Login, &hash, now.unix_ms))? {
        return Err(Trouble::BadToken);
    }
    let until_ms = i64::try_from(SESSION.as_millis()).unwrap_or(i64::MAX);
    let until_ms = now.unix_ms.saturating_add(until_ms);
    let hash = app.session_hash(&session);
    app.store(|store| store.add_token(Token::Session, &hash, until_ms))?;
    let cookie = format!(
        "{COOKIE_NAME}={session}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}",
        SESSION.as_secs()
    );
    Ok(with_cookie(see_other("/"), &cookie))
}

/// `POST /logout`
pub(super) async fn log_out(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Trouble> {
    let session = app.session(request.headers(), None)?;
    let form = Form::read(request.into_body()).await?;
    app.check_csrf(&session, &form)?;
    let now_ms = app.now().unix_ms;
    app.store(|store| store.take_token(Token::Session, &session.hash, now_ms))?;
    let cookie = format!("{COOKIE_NAME}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok(with_cookie(see_other("/login"), &cookie))
}

/// Sends the browser to another page of ours.
pub(super) fn see_other(path: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(path) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, path);
    }
    response
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
