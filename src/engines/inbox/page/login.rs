//! Logs browsers in to the local page: exchanges a link that works once for a cookie. Finds the session of a request, on
//! either page.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{COOKIE, HeaderMap, HeaderValue, LOCATION, SET_COOKIE};
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::access::{Site, only};
use super::error::{PageError, how_to_log_in};
use super::form::Form;
use super::html::Html;
use super::layout::{answer, bare};
use super::{App, held, keyed, pairing, token_hash};
use crate::approval::item::read_approver;
use crate::engines::inbox::store::{StoreError, Token};
use crate::http::shared::PeerAddr;
use crate::sys::clock::random_seed;

/// How long a login lasts.
const SESSION: Duration = Duration::from_secs(12 * 60 * 60);
/// The length of a session's token, in hexadecimal digits. In a cookie, a seal of the same length follows.
const DIGITS: usize = 64;

/// The session of a logged-in browser.
#[derive(Debug)]
pub(super) struct Session {
    /// The session's hash in the store.
    pub(super) hash: [u8; 32],
    /// The CSRF token that the session's forms must contain.
    pub(super) csrf: String,
    /// The approver's name for its verdicts. Not verified.
    pub(super) approver: Option<String>,
    /// The id of the paired device, on the remote page.
    pub(super) device: Option<String>,
    /// The key with which the device can subscribe to notifications.
    pub(super) push_key: Option<String>,
}

impl App {
    /// Returns the session of a request. `uri` is the requested page, if the browser may request it again.
    pub(super) fn session(
        &self,
        headers: &HeaderMap,
        uri: Option<&Uri>,
    ) -> Result<Session, PageError> {
        let now_ms = self.now().unix_ms;
        let name = self.cookie_name();
        let mut tried = HashSet::new();
        // Attack: servers at other ports of this machine can set cookies with our name, as many as the
        // browser keeps, and the browser may send them before ours. So we try all of them. Only tokens
        // that this page has made reach the store, and each only once.
        for token in cookies(headers, &name).filter_map(|value| self.unsealed(value)) {
            let hash = self.session_hash(token);
            if !tried.insert(hash) {
                continue;
            }
            let device = match &self.remote {
                None => self.has_local(&hash, now_ms)?.then_some(None),
                Some(remote) => remote.device(&hash, now_ms)?.map(Some),
            };
            if let Some(device) = device {
                let csrf = keyed(&self.secret, "csrf", &hash).to_hex().to_string();
                let approver = held(&self.names).of(&hash);
                let approver = approver.or_else(|| self.remembered_name(headers));
                return Ok(Session {
                    hash,
                    csrf,
                    approver,
                    device,
                    push_key: self.push_key(),
                });
            }
        }
        // A link on another site brings no cookie (`SameSite=Strict`); one on this page does.
        let site = axum::http::HeaderName::from_static("sec-fetch-site");
        let is_from_elsewhere = matches!(only(headers, &site), Some("cross-site" | "same-site"));
        let again = uri.filter(|_| is_from_elsewhere);
        let again = again.map(|uri| uri.path().to_owned());
        Err(match self.site {
            Site::Local(_) => PageError::NeedLogin(again),
            Site::Remote(_) => PageError::NeedPairing(again),
        })
    }

    /// Returns true if a session has ended: it has expired, its browser has logged out, or its device was revoked. While
    /// the store cannot say, it has not.
    pub(super) fn is_over(&self, session: &[u8; 32]) -> bool {
        let now_ms = self.now().unix_ms;
        let goes_on = match &self.remote {
            None => self.has_local(session, now_ms),
            Some(remote) => remote.is_paired(session, now_ms),
        };
        goes_on.is_ok_and(|goes_on| !goes_on)
    }

    /// Returns true if a browser on this machine has this session.
    fn has_local(&self, session: &[u8; 32], now_ms: i64) -> Result<bool, StoreError> {
        self.logins(|logins| logins.has_token(Token::Session, session, now_ms))
    }

    /// Returns the cookie's name. Browsers share cookies between all ports of a host; with the port in the
    /// name, two inboxes do not overwrite each other's sessions.
    ///
    /// The prefix `__Host-` keeps other hosts of the domain from setting it (draft-ietf-httpbis-rfc6265bis, section
    /// "Cookie Name Prefixes").
    fn cookie_name(&self) -> String {
        match &self.site {
            Site::Local(port) => format!("approvals_{port}"),
            Site::Remote(url) => {
                let port = url.authority().rsplit_once(':').map(|(_, port)| port);
                format!(
                    "__Host-approvals_{}",
                    port.filter(|port| !port.ends_with(']')).unwrap_or("443")
                )
            }
        }
    }

    /// Returns a new session's token and its hash in the store.
    pub(super) fn new_session(&self) -> Result<(String, [u8; 32]), PageError> {
        let token = random_seed().map_err(|_| PageError::NoRandom)?;
        let token = blake3::Hash::from_bytes(token).to_hex().to_string();
        let hash = self.session_hash(&token);
        Ok((token, hash))
    }

    /// Redirects a browser that has just logged in, with the cookie of its session.
    pub(super) fn logged_in(&self, token: &str, time: Duration) -> Response {
        let value = format!("{token}{}", self.seal(token).to_hex());
        with_cookie(see_other("/"), &self.cookie(&value, time))
    }

    fn seal(&self, token: &str) -> blake3::Hash {
        keyed(&self.instance, "cookie", token.as_bytes())
    }

    /// Returns the token of a cookie if this page has made it.
    fn unsealed<'a>(&self, value: &'a str) -> Option<&'a str> {
        let (token, seal) = value.split_at_checked(DIGITS)?;
        // Comparing BLAKE3 hashes takes constant time.
        let is_ours = blake3::Hash::from_hex(seal).is_ok_and(|seal| seal == self.seal(token));
        is_ours.then_some(token)
    }

    /// Returns a `Set-Cookie` header that is valid for `time`.
    fn cookie(&self, value: &str, time: Duration) -> String {
        self.cookie_called(&self.cookie_name(), value, time)
    }

    fn cookie_called(&self, name: &str, value: &str, time: Duration) -> String {
        let secure = match self.site {
            Site::Local(_) => "",
            Site::Remote(_) => " Secure;",
        };
        format!(
            "{name}={value}; Path=/; HttpOnly;{secure} SameSite=Strict; Max-Age={}",
            time.as_secs()
        )
    }

    /// The cookie in which a device keeps its approver's name: on the device, because nothing else may choose the name
    /// in a person's signature.
    fn name_cookie(&self) -> String {
        format!("{}_name", self.cookie_name())
    }

    /// Returns the approver's name that a device has kept.
    fn remembered_name(&self, headers: &HeaderMap) -> Option<String> {
        self.remote.as_ref()?;
        let name = self.name_cookie();
        let kept = cookies(headers, &name).next()?;
        read_approver(&super::form::decode(kept)?).ok()
    }

    /// Lets a device keep its approver's name, or forget it.
    pub(super) fn remember_name(&self, response: Response, name: Option<&str>) -> Response {
        if self.remote.is_none() {
            return response;
        }
        let mut value = String::new();
        super::form::encode(name.unwrap_or_default(), &mut value);
        let time = match name {
            Some(_) => pairing::SESSION,
            None => Duration::ZERO,
        };
        with_cookie(
            response,
            &self.cookie_called(&self.name_cookie(), &value, time),
        )
    }

    /// Reads a form from a logged-in browser, and returns its session too. Refuses a form that we did not give to that
    /// session.
    pub(super) async fn form(&self, request: Request) -> Result<(Session, Form), PageError> {
        let session = self.session(request.headers(), None)?;
        let form = Form::read(request.into_body()).await?;
        self.check_csrf(&session, &form)?;
        Ok((session, form))
    }

    /// Checks that we gave this form to this session.
    fn check_csrf(&self, session: &Session, form: &Form) -> Result<(), PageError> {
        let expected = keyed(&self.secret, "csrf", &session.hash);
        // Comparing BLAKE3 hashes takes constant time.
        match blake3::Hash::from_hex(form.get("csrf")) {
            Ok(given) if given == expected => Ok(()),
            Ok(_) | Err(_) => Err(PageError::Csrf),
        }
    }
}

/// Returns the values of the cookies with this name. Ignores cookies that are not UTF-8.
fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(COOKIE).iter();
    let pairs = all.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = str::from_utf8(pair.trim_ascii()).ok()?;
        let (found, value) = pair.split_once('=')?;
        (found == name).then_some(value)
    })
}

/// `GET /login`: the target of the link from the terminal. The script sends the part after `#`.
pub(super) async fn show() -> Response {
    let mut body = Html::new();
    body.raw("<section class=\"notice\"><h1 id=\"login-title\">Log in to see your approvals</h1>");
    body.raw("<div id=\"login-how\">");
    how_to_log_in(&mut body);
    body.raw(
        "<details><summary>Without JavaScript</summary><p class=\"quiet\">Paste the part of the link after <code>#</code>.</p>\
         <form id=\"login\" method=\"post\" action=\"/login\"><label for=\"token\">Code from the link</label>\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"off\" required> \
         <button class=\"button\">Log in</button></form></details></div></section>",
    );
    answer(StatusCode::OK, bare("Log in", None, &body))
}

/// `POST /login`
pub(super) async fn log_in(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, PageError> {
    let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
    // A browser that logs in again keeps its approver's name.
    let before = app.session(request.headers(), None).ok();
    let form = Form::read(request.into_body()).await?;
    let now = app.now();
    let hash = token_hash(form.filled("token").unwrap_or_default());
    let given = app.logins(|logins| logins.approver(Token::Login, &hash))?;
    // Another program may have written anything there.
    let given = given.and_then(|name| read_approver(&name).ok());
    if !app.logins(|logins| logins.take_token(Token::Login, &hash, now.unix_ms))? {
        // Tokens cannot be guessed, so this only slows down a program that keeps trying. A valid token
        // is always accepted, because all programs on this machine share one address.
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        return Err(match held(&app.wrong_logins).take(peer, now.elapsed) {
            true => PageError::BadToken,
            false => PageError::TooMany,
        });
    }
    let until_ms = i64::try_from(SESSION.as_millis()).unwrap_or(i64::MAX);
    let until_ms = now.unix_ms.saturating_add(until_ms);
    let (session, hash) = app.new_session()?;
    let approver = given.or_else(|| before.and_then(|before| before.approver));
    app.logins(|logins| logins.add_token(Token::Session, &hash, until_ms))?;
    held(&app.names).set(hash, approver);
    Ok(app.logged_in(&session, SESSION))
}

/// `POST /logout`
pub(super) async fn log_out(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, PageError> {
    let (session, _) = app.form(request).await?;
    match &app.remote {
        None => {
            let now_ms = app.now().unix_ms;
            app.logins(|logins| logins.take_token(Token::Session, &session.hash, now_ms))?;
        }
        Some(remote) => remote.leave(&session, app.now().unix_ms)?,
    }
    held(&app.names).set(session.hash, None);
    let cookie = app.cookie("", Duration::ZERO);
    Ok(with_cookie(see_other("/login"), &cookie))
}

/// Redirects the browser to another of our pages.
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
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
