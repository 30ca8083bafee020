//! Who is logged in: a link that works once is exchanged for a cookie.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
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
use crate::approval::item::read_approver;
use crate::engines::inbox::store::Token;
use crate::http::shared::PeerAddr;
use crate::sys::clock::random_seed;

/// How long a login holds.
const SESSION: Duration = Duration::from_secs(12 * 60 * 60);
/// The length of a session's token in hexadecimal digits. In a cookie, a seal of the same length
/// follows.
const DIGITS: usize = 64;

/// Somebody who is logged in.
#[derive(Debug)]
pub(super) struct Session {
    /// The store knows the session by this.
    pub(super) hash: [u8; 32],
    /// What the session's forms must bring.
    pub(super) csrf: String,
    /// The name that its verdicts are recorded with. Nobody has checked it.
    pub(super) approver: Option<String>,
}

impl App {
    /// Who asks. `uri` is what is asked for, if it may be asked for again.
    pub(super) fn session(
        &self,
        headers: &HeaderMap,
        uri: Option<&Uri>,
    ) -> Result<Session, Trouble> {
        let now_ms = self.now().unix_ms;
        let name = self.cookie_name();
        let mut tried = HashSet::new();
        // Servers at other ports of this machine can set cookies of our name too, as many as the
        // browser keeps, and have them sent before ours. So we try all of them. Only tokens that this
        // page has made reach the store, and each of them once.
        for token in cookies(headers, &name).filter_map(|value| self.unsealed(value)) {
            let hash = self.session_hash(token);
            if !tried.insert(hash) {
                continue;
            }
            if self.logins(|logins| logins.has_token(Token::Session, &hash, now_ms))? {
                let csrf = keyed(&self.secret, "csrf", &hash).to_hex().to_string();
                let approver = held(&self.names).of(&hash);
                return Ok(Session {
                    hash,
                    csrf,
                    approver,
                });
            }
        }
        // A link on another site brings no cookie (`SameSite=Strict`); one on this page does.
        let site = axum::http::HeaderName::from_static("sec-fetch-site");
        let is_from_elsewhere = matches!(only(headers, &site), Some("cross-site" | "same-site"));
        let again = uri.filter(|_| is_from_elsewhere);
        Err(Trouble::NeedLogin(again.map(|uri| uri.path().to_owned())))
    }

    /// Browsers share cookies between all ports of a host. With the port in the name, two inboxes do
    /// not overwrite each other's sessions.
    fn cookie_name(&self) -> String {
        format!("approvals_{}", self.port)
    }

    fn seal(&self, token: &str) -> blake3::Hash {
        keyed(&self.instance, "cookie", token.as_bytes())
    }

    /// The token in a cookie, if this page has made it.
    fn unsealed<'a>(&self, value: &'a str) -> Option<&'a str> {
        let (token, seal) = value.split_at_checked(DIGITS)?;
        // Equality of BLAKE3 hashes takes the same time wherever they differ.
        let is_ours = blake3::Hash::from_hex(seal).is_ok_and(|seal| seal == self.seal(token));
        is_ours.then_some(token)
    }

    /// A `Set-Cookie` header that holds for this long.
    fn cookie(&self, value: &str, time: Duration) -> String {
        format!(
            "{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}",
            self.cookie_name(),
            time.as_secs()
        )
    }

    /// A form that somebody who is logged in has sent, and the session: only a form that we gave to that session.
    pub(super) async fn form(&self, request: Request) -> Result<(Session, Form), Trouble> {
        let session = self.session(request.headers(), None)?;
        let form = Form::read(request.into_body()).await?;
        self.check_csrf(&session, &form)?;
        Ok((session, form))
    }

    /// Whether a form is one that we gave to this session.
    fn check_csrf(&self, session: &Session, form: &Form) -> Result<(), Trouble> {
        let expected = keyed(&self.secret, "csrf", &session.hash);
        // Equality of BLAKE3 hashes takes the same time wherever they differ.
        match blake3::Hash::from_hex(form.get("csrf")) {
            Ok(given) if given == expected => Ok(()),
            Ok(_) | Err(_) => Err(Trouble::Csrf),
        }
    }
}

/// The values of the cookies of this name. Other cookies may be no UTF-8; they do not matter.
fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(COOKIE).iter();
    let pairs = all.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = str::from_utf8(pair.trim_ascii()).ok()?;
        let (found, value) = pair.split_once('=')?;
        (found == name).then_some(value)
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
    let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
    // Whoever logs in again in the same browser is not asked for their name again.
    let before = app.session(request.headers(), None).ok();
    let form = Form::read(request.into_body()).await?;
    let now = app.now();
    let hash = token_hash(form.filled("token").unwrap_or_default());
    let session = random_seed().map_err(|_| Trouble::NoRandom)?;
    let session = blake3::Hash::from_bytes(session).to_hex();
    let given = app.logins(|logins| logins.approver(Token::Login, &hash))?;
    // Another program may have written it, and anything there.
    let given = given.and_then(|name| read_approver(&name).ok());
    if !app.logins(|logins| logins.take_token(Token::Login, &hash, now.unix_ms))? {
        // Tokens cannot be guessed, so this only tells a program that keeps trying to wait. A right
        // token is always accepted: all programs on this machine share one address.
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        return Err(match held(&app.wrong_logins).take(peer, now.elapsed) {
            true => Trouble::BadToken,
            false => Trouble::TooMany,
        });
    }
    let until_ms = i64::try_from(SESSION.as_millis()).unwrap_or(i64::MAX);
    let until_ms = now.unix_ms.saturating_add(until_ms);
    let hash = app.session_hash(&session);
    let approver = given.or_else(|| before.and_then(|before| before.approver));
    app.logins(|logins| logins.add_token(Token::Session, &hash, until_ms))?;
    held(&app.names).set(hash, approver);
    let value = format!("{session}{}", app.seal(&session).to_hex());
    Ok(with_cookie(see_other("/"), &app.cookie(&value, SESSION)))
}

/// `POST /logout`
pub(super) async fn log_out(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Trouble> {
    let (session, _) = app.form(request).await?;
    let now_ms = app.now().unix_ms;
    app.logins(|logins| logins.take_token(Token::Session, &session.hash, now_ms))?;
    held(&app.names).set(session.hash, None);
    let cookie = app.cookie("", Duration::ZERO);
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
