//! Connects a session to a server over streamable HTTP: sends the relay's lines as requests, and turns
//! the responses into lines.
//!
//! The gate has already decided about everything that is sent here.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use foldhash::HashMap;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT, WWW_AUTHENTICATE,
};
use reqwest::{Client, Method, Request, Response, StatusCode, Url};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::cancelled::CancelledExchanges;
use super::exchange::{Outcome, PendingRequest, exchange, listen, notify, unreachable};
use super::oauth::{Login, LoginError, RenewalMode, Renewed};
use super::redirects::execute;
use super::renewal::{Handshake, PATIENCE};
use super::server_error::shown_url;
use super::sse_server;
use crate::approval::display::in_backticks;
use crate::http::shared::facts::{Facts, METHOD, NAME, SESSION, VERSION, encode};
use crate::http::shared::lines::Lines;
use crate::http::shared::param_headers::ParamHeaders;
use crate::mcp::error::error_response;
use crate::mcp::frame::Frame;
use crate::mcp::json::raw_member;
use crate::mcp::message::{CALL, Kind, Line, RequestId, read_envelope};
use crate::mcp::tool::LIST;
use crate::relay::Sideband;
use crate::sys::secret::Secret;
use crate::transport::{
    self, LinkWriter, Note, RESTART_HEARD, RemoteEvent, Upstream, Wire, link_in, link_out,
};

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// The proxy's default `User-Agent`.
pub(super) const NAME_AND_VERSION: &str = concat!("approval-proxy/", env!("CARGO_PKG_VERSION"));
/// How many more tokens a request is tried with after the first one: found, refreshed, from a login.
const MAX_RENEWALS: usize = 3;
/// How long the end of a session may wait for the server, in each step.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Why the HTTP client could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client; check the system's CA certificates")]
pub struct HttpServerError(#[source] reqwest::Error);

/// A client for one HTTP server. Each session of ours has its own session on the server.
#[derive(Debug, Clone)]
pub struct HttpServer {
    client: Client,
    url: Url,
    headers: HeaderMap,
    is_sse: bool,
    max_message: usize,
    /// Present if we may log in, and not only the client.
    login: Option<Login>,
    /// How messages to people refer to it: by its name, if it has one, and its URL.
    shown: String,
    /// How long to wait for the server to come back before pending requests are failed.
    patience: Duration,
}

impl HttpServer {
    /// Creates a client for the server at `url`. Every request has these `headers`. If they have no
    /// `Authorization`, it is made of the URL's user and password (RFC 7617). `is_sse` selects HTTP+SSE
    /// of 2024-11-05. Messages have at most `max_message` bytes.
    ///
    /// # Errors
    /// If the system's certificates cannot be used.
    pub fn new(
        url: Url,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        is_sse: bool,
        max_message: usize,
    ) -> Result<HttpServer, HttpServerError> {
        // Fails if a provider is installed already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIME)
            // `redirects` follows those that stay on the server.
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .build()
            .map_err(HttpServerError)?;
        // Moves the URL's user and password into a header, so that no request's target has them.
        let first = client.get(url).build().map_err(HttpServerError)?;
        let mut all = first.headers().clone();
        for (name, value) in [
            (USER_AGENT, NAME_AND_VERSION),
            // Without it, a server may use any encoding for its answers.
            (ACCEPT_ENCODING, "identity"),
        ] {
            all.insert(name, HeaderValue::from_static(value));
        }
        all.extend(headers.into_iter().collect::<HeaderMap>());
        let shown = format!("at {}", shown_url(first.url(), &[]));
        Ok(HttpServer {
            client,
            url: first.url().clone(),
            headers: all,
            is_sse,
            max_message,
            login: None,
            shown,
            patience: PATIENCE,
        })
    }

    /// Does not wait for a server that cannot be reached to come back: somebody wants to know how it is now.
    #[must_use]
    pub fn without_patience(mut self) -> HttpServer {
        self.patience = Duration::ZERO;
        self
    }

    /// Sets the name that the server has in the configuration.
    #[must_use]
    pub fn named(mut self, name: &str) -> HttpServer {
        self.shown = format!("{} {}", in_backticks(name), self.shown);
        self
    }

    /// Lets the proxy log in if the server requires it and the operator has not configured credentials.
    #[must_use]
    pub fn with_login(mut self, login: impl FnOnce(Url) -> Login) -> HttpServer {
        if !self.headers.contains_key(AUTHORIZATION) {
            self.login = Some(login(self.url.clone()));
        }
        self
    }

    /// Starts a session. Returns the task that talks to the server, and the wires to and from it.
    #[must_use]
    pub fn start(&self, sideband: Option<Arc<Sideband>>) -> (Upstream, Wire, Wire) {
        let (from_relay, to_upstream) = link_out();
        let (to_relay, from_upstream) = link_in();
        let (events, remote_events) = mpsc::unbounded_channel();
        let peer = Arc::new(ServerSession {
            server: self.clone(),
            sideband,
            to_relay,
            state: Mutex::default(),
            events,
            end_reason: Arc::default(),
            sessions: watch::Sender::new(0),
            renewing: tokio::sync::Mutex::default(),
        });
        let end_reason = Arc::clone(&peer.end_reason);
        let lines = Lines::new(from_relay, self.max_message.saturating_mul(2));
        let task = match self.is_sse {
            true => tokio::spawn(sse_server::run(peer, lines, None)),
            false => tokio::spawn(run(peer, lines)),
        };
        let task = transport::RemoteTask::new(task, remote_events, end_reason);
        let upstream = Upstream::Remote(task);
        (upstream, to_upstream, from_upstream)
    }
}

/// A session with a server, shared by all tasks of the session.
#[derive(Debug)]
pub(super) struct ServerSession {
    pub(super) server: HttpServer,
    pub(super) sideband: Option<Arc<Sideband>>,
    to_relay: LinkWriter,
    state: Mutex<State>,
    /// Sends the relay events that are not messages.
    pub(super) events: mpsc::UnboundedSender<RemoteEvent>,
    /// Why the task ended, for the client.
    pub(super) end_reason: Arc<OnceLock<String>>,
    /// How many sessions on the server were lost and replaced.
    sessions: watch::Sender<u64>,
    /// Locked while a new session is being started.
    pub(super) renewing: tokio::sync::Mutex<()>,
}

/// The state of the session on the server.
#[derive(Debug, Default)]
struct State {
    /// The session's id.
    session: Option<HeaderValue>,
    /// The revision that `initialize` has negotiated.
    version: Option<HeaderValue>,
    param_headers: ParamHeaders,
    handshake: Handshake,
    /// True once the server has answered an `initialize`.
    is_known: bool,
}

impl ServerSession {
    /// Returns the configured URL.
    pub(super) fn url(&self) -> Url {
        self.server.url.clone()
    }

    pub(super) fn max_message(&self) -> usize {
        self.server.max_message
    }

    /// How long to wait for the server to come back.
    pub(super) fn patience(&self) -> Duration {
        self.server.patience
    }

    /// Returns a request for an event stream.
    pub(super) fn get(&self, url: Url) -> Request {
        let mut request = self.request(Method::GET, url);
        let events = HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert(ACCEPT, events);
        self.with_session(request)
    }

    /// Returns a request that sends a message.
    pub(super) fn post(&self, url: Url, line: impl Into<reqwest::Body>) -> Request {
        let mut request = self.request(Method::POST, url);
        let headers = request.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, "application/json"),
            (ACCEPT, "application/json, text/event-stream"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        *request.body_mut() = Some(line.into());
        request
    }

    pub(super) fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        *request.headers_mut() = self.headers();
        request
    }

    /// Returns the headers of every request: the operator's and, if they have no credentials, the
    /// client's credentials.
    fn headers(&self) -> HeaderMap {
        let mut headers = self.server.headers.clone();
        let credentials = self
            .sideband
            .as_ref()
            .and_then(|sideband| sideband.credentials());
        if let Some(credentials) = credentials
            && !headers.contains_key(AUTHORIZATION)
            && let Ok(mut value) = HeaderValue::from_bytes(credentials.expose().as_bytes())
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        headers
    }

    /// Adds the headers of the current session.
    pub(super) fn with_session(&self, mut request: Request) -> Request {
        let state = self.state();
        let headers = request.headers_mut();
        for (name, value) in [(&SESSION, &state.session), (&VERSION, &state.version)] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        request
    }

    /// Sends a request, with a token if there was a login. If the server requires another token, gets
    /// one and sends the request again. The server has `limit` to answer each time.
    pub(super) async fn send(
        &self,
        request: Request,
        limit: Option<Duration>,
    ) -> Result<Response, SendError> {
        let Some(login) = self.login() else {
            return self.send_within(request, limit).await;
        };
        let mut renewals = 0;
        let mut mode = RenewalMode::Browser;
        loop {
            // Always clonable: only a body that is a stream is not.
            let again = request.try_clone();
            let token = login.token().await;
            let Some(this) = again else {
                return self.send_within(request, limit).await;
            };
            let this = with_token(this, token.as_ref());
            let response = self.send_within(this, limit).await?;
            if response.status() != StatusCode::UNAUTHORIZED || renewals == MAX_RENEWALS {
                return Ok(response);
            }
            let challenge = challenge(&response);
            renewals += 1;
            let renewed = match login.renew(token, challenge, mode).await {
                Ok(renewed) => renewed,
                // The server wants something else. Its own answer says more.
                Err(LoginError::NoOAuth) => return Ok(response),
                Err(error) => return Err(SendError::NoToken(error)),
            };
            match renewed {
                Renewed::Found => {}
                Renewed::Refreshed => mode = RenewalMode::BrowserOnly,
                // Do not ask a person again who has just logged in.
                Renewed::LoggedIn => renewals = MAX_RENEWALS,
            }
        }
    }

    /// Sends a request with the current token, and never gets another one. Also returns that token.
    pub(super) async fn send_once(
        &self,
        request: Request,
    ) -> (reqwest::Result<Response>, Option<Secret>) {
        let token = match self.login() {
            Some(login) => login.token().await,
            None => None,
        };
        let request = with_token(request, token.as_ref());
        (execute(&self.server.client, request).await, token)
    }

    async fn send_within(
        &self,
        request: Request,
        limit: Option<Duration>,
    ) -> Result<Response, SendError> {
        let sending = execute(&self.server.client, request);
        let sent = match limit {
            Some(limit) => timeout(limit, sending)
                .await
                .map_err(|_| SendError::Timeout)?,
            None => sending.await,
        };
        sent.map_err(SendError::Unreachable)
    }

    /// Returns the login, if we may log in. Clients over HTTP log in themselves.
    pub(super) fn login(&self) -> Option<&Login> {
        self.server
            .login
            .as_ref()
            .filter(|_| self.sideband.is_none())
    }

    /// Returns true if the operator's headers have credentials.
    pub(super) fn has_credentials(&self) -> bool {
        self.server.headers.contains_key(AUTHORIZATION)
    }

    /// Returns the secrets that are sent to the server. Texts for people must not repeat them.
    pub(super) async fn secrets(&self) -> Vec<String> {
        let mut secrets = Vec::new();
        let mut headers = self.headers();
        headers.extend(
            self.state()
                .session
                .clone()
                .map(|name| (SESSION.clone(), name)),
        );
        for value in headers.values().filter(|value| value.is_sensitive()) {
            let Ok(value) = value.to_str() else {
                continue;
            };
            secrets.push(value.to_owned());
            secrets.extend(
                value
                    .split_once(' ')
                    .map(|(_, rest)| rest.trim().to_owned()),
            );
        }
        let url = &self.server.url;
        secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        if let Some(login) = self.login() {
            let token = login.token().await;
            secrets.extend(token.map(|token| token.expose().to_owned()));
        }
        secrets
    }

    /// Returns true if a server that refuses an `initialize` may be one of 2024-11-05.
    pub(super) fn may_be_old(&self) -> bool {
        !self.state().is_known
    }

    /// Returns true if the server has given the session an id.
    pub(super) fn has_session(&self) -> bool {
        self.state().session.is_some()
    }

    /// Returns the number of the current session on the server, counted from 0.
    pub(super) fn session_number(&self) -> u64 {
        *self.sessions.borrow()
    }

    /// Waits until the session with this number has been replaced.
    pub(super) async fn next_session(&self, number: u64) {
        let mut sessions = self.sessions.subscribe();
        // Cannot fail: `self` holds the sender.
        let _ = sessions.wait_for(|now| *now > number).await;
    }

    /// Calls `f` with what we keep of the session's handshake.
    pub(super) fn handshake<T>(&self, f: impl FnOnce(&mut Handshake) -> T) -> T {
        f(&mut self.state().handshake)
    }

    /// Returns the negotiated revision, as a header.
    pub(super) fn version(&self) -> Option<HeaderValue> {
        self.state().version.clone()
    }

    /// Returns true if this revision, given as JSON, is the negotiated one, or none is negotiated.
    pub(super) fn is_version(&self, version: Option<&str>) -> bool {
        let ours = self.version();
        ours.is_none() || ours == version.and_then(version_header)
    }

    /// Stores the new session's id and the answer to `initialize`.
    pub(super) fn session_started(&self, session: Option<&HeaderValue>, line: &str) {
        self.state().session_started(session, line);
    }

    /// Replaces the session that was lost because of `why`, and tells the relay. If the server has
    /// sessions, `started` is the new session's id and answer to `initialize`.
    pub(super) fn restarted(&self, why: &str, started: Option<(Option<&HeaderValue>, &str)>) {
        // Locked until the end, so that nobody uses the session before the event is sent.
        let mut state = self.state();
        if let Some((session, line)) = started {
            state.session_started(session, line);
        }
        let why = why.to_owned();
        // Fails only if the relay is gone.
        let _ = self.events.send(RemoteEvent::Restarted { why });
        self.sessions.send_modify(|number| *number += 1);
    }

    /// If this is the answer to `tools/list`, learns which arguments are repeated in headers.
    pub(super) fn learn(&self, pending: &PendingRequest, line: &str) {
        if pending.method == LIST {
            self.state().param_headers.learn(line);
        }
    }

    /// Sends a line to the relay. Ignores errors: a relay that is gone needs no lines.
    pub(super) async fn deliver(&self, line: &str) {
        let _ = self.to_relay.send_line(line, None).await;
    }

    /// Like [`ServerSession::deliver`], with a note if the client connects over HTTP.
    pub(super) async fn deliver_with(&self, line: &str, note: impl FnOnce() -> Note) {
        let note = self.sideband.is_some().then(note);
        let _ = self.to_relay.send_line(line, note).await;
    }

    /// Appends the server's name and URL to a text that does not have them yet.
    pub(super) fn named(&self, why: String) -> String {
        let shown = &self.server.shown;
        match why.contains(shown) {
            true => why,
            false => format!("{why} (server {shown})"),
        }
    }

    /// Answers a request with an error in place of the server.
    pub(super) async fn fail(&self, id: &RequestId, why: String) {
        let code = crate::mcp::ErrorCode::INTERNAL_ERROR;
        self.deliver(&error_response(Some(id), code, why)).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn session_started(&mut self, session: Option<&HeaderValue>, line: &str) {
        self.is_known = true;
        self.session = session.cloned().map(|mut name| {
            name.set_sensitive(true);
            name
        });
        let version = raw_member(line, &["result", "protocolVersion"]);
        self.version = version.and_then(version_header);
        self.handshake.session_started(line);
    }
}

/// Converts a revision from JSON to a header.
fn version_header(json: &str) -> Option<HeaderValue> {
    let version = json.strip_prefix('"')?.strip_suffix('"')?;
    HeaderValue::from_str(version).ok()
}

/// Talks streamable HTTP with the server until the relay closes.
async fn run(peer: Arc<ServerSession>, mut lines: Lines) -> &'static str {
    let mut requests = JoinSet::new();
    let mut listener = JoinSet::new();
    let mut running: HashMap<RequestId, AbortHandle> = HashMap::default();
    let mut cancelled = CancelledExchanges::default();
    // The number of the session that the relay's current decisions were made for: how many restarts
    // it knows about.
    let mut decided_in = 0;
    loop {
        let frame = tokio::select! {
            frame = lines.next() => frame,
            Some(done) = requests.join_next_with_id(), if !requests.is_empty() => {
                match done {
                    // A client may reuse the id of a cancelled request.
                    Ok((task, Outcome::Done(Some(id)))) => {
                        if running.get(&id).is_some_and(|handle| handle.id() == task) {
                            running.remove(&id);
                        }
                    }
                    Ok((_, Outcome::Old(old))) => {
                        // There are hardly any requests before `initialize` is answered.
                        let rest = async { while requests.join_next().await.is_some() {} };
                        let _ = timeout(DRAIN_TIME, rest).await;
                        return sse_server::run(peer, lines, Some(old)).await;
                    }
                    Ok((_, Outcome::Done(None))) | Err(_) => {}
                }
                continue;
            }
            () = cancelled.next() => continue,
        };
        let Some(frame) = frame else {
            break;
        };
        let Frame::Line(range) = frame else {
            continue;
        };
        // Cannot fail: the gate passes on only lines that it has read.
        let Ok(text) = std::str::from_utf8(lines.line(&range)) else {
            continue;
        };
        if text == RESTART_HEARD {
            decided_in += 1;
            continue;
        }
        let Ok(Line::Message(message)) = read_envelope(text) else {
            continue;
        };
        let facts = Facts::of(&message);
        let method = facts.method.as_deref().unwrap_or_default();
        if let Some(id) = facts.id.clone() {
            let pending = PendingRequest {
                is_stateless: facts.version.is_some(),
                method: method.to_owned(),
                id: id.clone(),
                decided_in,
            };
            if method == "initialize" && !pending.is_stateless {
                peer.handshake(|handshake| handshake.initialize(text));
            }
            let headers = headers_of(&peer, &facts, lines.take_note());
            let line = text.to_owned();
            let id = id.clone();
            let handle = requests.spawn(exchange(Arc::clone(&peer), pending, line, headers));
            running.insert(id, handle);
            continue;
        }
        if method == "notifications/cancelled" {
            let id = facts
                .params
                .and_then(|params| raw_member(params, &["requestId"]));
            let id = id.and_then(RequestId::from_json);
            if let Some(handle) = id.and_then(|id| running.remove(&id)) {
                if facts.version.is_some() {
                    // A stateless request is cancelled by closing its response.
                    handle.abort();
                    continue;
                }
                cancelled.add(handle);
            }
        }
        let is_initialized = method == "notifications/initialized";
        let is_response = matches!(message.kind, Kind::Response { .. });
        let headers = headers_of(&peer, &facts, None);
        let line = text.to_owned();
        if facts.version.is_some() {
            // Stateless notifications need not be sent in order.
            let peer = Arc::clone(&peer);
            requests.spawn(async move {
                notify(&peer, line, headers, false).await;
                Outcome::Done(None)
            });
            continue;
        }
        if is_initialized {
            peer.handshake(|handshake| handshake.initialized(&line));
        }
        // Sent in order, because the next message may depend on it.
        notify(&peer, line, headers, is_response).await;
        // Only one listener, even if a client repeats the notification.
        if is_initialized && listener.is_empty() {
            listener.spawn(listen(Arc::clone(&peer)));
        }
    }
    // Requests in flight may still be answered.
    let rest = async { while requests.join_next().await.is_some() {} };
    let _ = timeout(DRAIN_TIME, rest).await;
    drop(listener);
    if peer.has_session() {
        // The server may refuse it or not answer.
        let _ = timeout(DRAIN_TIME, peer.send_once(peer.delete())).await;
    }
    "closed"
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum SendError {
    Unreachable(reqwest::Error),
    Timeout,
    NoToken(LoginError),
}

impl SendError {
    /// Returns true if the server has certainly not seen the request.
    pub(super) fn is_unconnected(&self) -> bool {
        matches!(self, SendError::Unreachable(error) if error.is_connect())
    }

    /// Returns the error as text for the client and the log. It has no secret part of the server's URL.
    pub(super) fn why(&self, peer: &ServerSession) -> String {
        let server = &peer.server.shown;
        match self {
            SendError::Unreachable(error) => unreachable(server, error),
            SendError::Timeout => format!("the server {server} did not answer in time"),
            SendError::NoToken(error) => format!(
                "the server requires a login, but {error}; try again, or configure an `Authorization` \
                 header for it"
            ),
        }
    }
}

fn with_token(mut request: Request, token: Option<&Secret>) -> Request {
    let token = token.map(|token| HeaderValue::from_str(&format!("Bearer {}", token.expose())));
    if let Some(Ok(mut token)) = token {
        token.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, token);
    }
    request
}

/// Returns the challenge of a 401, preferably one that names the resource's metadata.
fn challenge(response: &Response) -> Option<String> {
    let challenges = response.headers().get_all(WWW_AUTHENTICATE);
    let texts = || challenges.iter().filter_map(|value| value.to_str().ok());
    let named = texts().find(|challenge| challenge.contains("resource_metadata"));
    named.or_else(|| texts().next()).map(str::to_owned)
}

/// Returns the headers of one message, created from the message.
///
/// Forwards only one kind of header from the client: `Mcp-Param` headers of a call that nobody was
/// asked about, if no list had its tool. A client that knows the tool from an earlier list would
/// otherwise be refused. Once a list has the tool, we create these headers ourselves.
///
/// SPEC 2026-07-28, "Request Metadata": the headers mirror the body, so we create them from the body.
fn headers_of(peer: &ServerSession, facts: &Facts<'_>, note: Option<Note>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(version) = &facts.version else {
        return headers;
    };
    let mut put = |name: HeaderName, value: &[u8]| {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    };
    let method = facts.method.as_deref().unwrap_or_default();
    put(VERSION.clone(), version.as_bytes());
    put(METHOD.clone(), method.as_bytes());
    if let Some(name) = &facts.name {
        put(NAME.clone(), encode(name).as_bytes());
    }
    let forwarded = match note {
        Some(Note::Headers { headers, .. }) => Some(headers),
        Some(Note::About(_) | Note::Reply(_)) | None => None,
    };
    let (CALL, Some(name), Some(params)) = (method, &facts.name, facts.params) else {
        return headers;
    };
    let state = peer.state();
    // INVARIANT 2: headers that the server takes for arguments are created from the body that the gate
    // has seen.
    let created = state.param_headers.of_call(name, params);
    let created = created
        .into_iter()
        .map(|(header, value)| (header, value.into_bytes()));
    let forwarded = forwarded.filter(|_| !state.param_headers.knows(name));
    for (header, value) in forwarded.into_iter().flatten().chain(created) {
        if let Ok(header) = HeaderName::try_from(header) {
            put(header, &value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(url: &str, headers: &[(&'static str, &'static str)]) -> Vec<Request> {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let server = HttpServer::new(Url::parse(url).unwrap(), headers, false, 1024).unwrap();
        let peer = ServerSession {
            server,
            sideband: None,
            to_relay: link_in().0,
            state: Mutex::default(),
            events: mpsc::unbounded_channel().0,
            end_reason: Arc::default(),
            sessions: watch::Sender::new(0),
            renewing: tokio::sync::Mutex::default(),
        };
        vec![
            peer.post(peer.url(), "{}"),
            peer.get(peer.url()),
            peer.request(Method::DELETE, peer.url()),
        ]
    }

    #[tokio::test]
    async fn the_credentials_of_a_url_are_sent_only_as_a_header() {
        for request in requests("https://alice:s%20cret@a.example/mcp", &[]) {
            let given = request.headers().get(AUTHORIZATION).unwrap();
            assert_eq!(given, "Basic YWxpY2U6cyBjcmV0");
            assert!(given.is_sensitive());
            assert_eq!(request.url().as_str(), "https://a.example/mcp");
        }
    }

    #[tokio::test]
    async fn an_authorization_header_of_the_operator_takes_precedence() {
        let headers = [("authorization", "Bearer token")];
        for request in requests("https://alice:secret@a.example/mcp", &headers) {
            let all = request.headers().get_all(AUTHORIZATION);
            assert_eq!(all.iter().collect::<Vec<_>>(), ["Bearer token"]);
            assert_eq!(request.url().as_str(), "https://a.example/mcp");
        }
    }
}
