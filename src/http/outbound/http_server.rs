//! A server behind HTTP, as a session sees it: lines go out as requests, responses come back as
//! lines.
//!
//! What may be sent is decided before it gets here, by the gate.

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
use super::exchange::{Asked, Outcome, exchange, listen, notify, unreachable};
use super::oauth::{Login, LoginError, Reach, Renewed};
use super::redirects::execute;
use super::renewal::Beginning;
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

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How the proxy introduces itself to servers.
pub(super) const NAME_AND_VERSION: &str = concat!("approval-proxy/", env!("CARGO_PKG_VERSION"));
/// How many tokens a request is sent with beyond the first: found, refreshed, from a login.
const MAX_RENEWALS: usize = 3;
/// How long the server has to hear that its session ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a server behind HTTP cannot be spoken to at all.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up; look at the system's CA certificates")]
pub struct HttpServerError(#[source] reqwest::Error);

/// Speaks to one server; each session of ours is one of its own there.
#[derive(Debug, Clone)]
pub struct HttpServer {
    client: Client,
    url: Url,
    headers: HeaderMap,
    is_sse: bool,
    max_message: usize,
    /// Where it is ours to log in, and not the client's.
    login: Option<Login>,
    /// What messages to people call it: its URL, and its name where it has one.
    shown: String,
}

impl HttpServer {
    /// For the server at `url`, with `headers` on every request, and the user and password of the URL
    /// as `Authorization` (RFC 7617) where `headers` has none. `is_sse` is for HTTP+SSE of
    /// 2024-11-05. Messages are at most `max_message` bytes.
    ///
    /// # Errors
    /// Where the system's certificates cannot be used.
    pub fn new(
        url: Url,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        is_sse: bool,
        max_message: usize,
    ) -> Result<HttpServer, HttpServerError> {
        // Fails where it was done before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIME)
            // `redirects` follows those that stay on the server.
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .build()
            .map_err(HttpServerError)?;
        // Whom the URL names goes into a header, and stands in no request's target.
        let first = client.get(url).build().map_err(HttpServerError)?;
        let mut all = first.headers().clone();
        for (name, value) in [
            (USER_AGENT, NAME_AND_VERSION),
            // Without it, a server may encode its answers in any way.
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
        })
    }

    /// Gives it the name that it has in the configuration.
    #[must_use]
    pub fn named(mut self, name: &str) -> HttpServer {
        self.shown = format!("{} {}", in_backticks(name), self.shown);
        self
    }

    /// Logs in where the server asks for it and the operator has given no credentials.
    #[must_use]
    pub fn with_login(mut self, login: impl FnOnce(Url) -> Login) -> HttpServer {
        if !self.headers.contains_key(AUTHORIZATION) {
            self.login = Some(login(self.url.clone()));
        }
        self
    }

    /// Begins a session: returns the task that speaks to the server, and the wires to and from it.
    #[must_use]
    pub fn start(&self, sideband: Option<Arc<Sideband>>) -> (Upstream, Wire, Wire) {
        let (from_relay, to_upstream) = link_out();
        let (to_relay, from_upstream) = link_in();
        let (told, hears) = mpsc::unbounded_channel();
        let peer = Arc::new(ServerSession {
            remote: self.clone(),
            sideband,
            to_relay,
            state: Mutex::default(),
            told,
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
        let upstream = Upstream::Remote(transport::RemoteTask::new(task, hears, end_reason));
        (upstream, to_upstream, from_upstream)
    }
}

/// The server, for all tasks of a session.
#[derive(Debug)]
pub(super) struct ServerSession {
    pub(super) remote: HttpServer,
    pub(super) sideband: Option<Arc<Sideband>>,
    to_relay: LinkWriter,
    state: Mutex<State>,
    /// Tells the relay what is no message.
    pub(super) told: mpsc::UnboundedSender<RemoteEvent>,
    /// Why the task gives up, for the client.
    pub(super) end_reason: Arc<OnceLock<String>>,
    /// How many sessions have been lost and followed by another one.
    sessions: watch::Sender<u64>,
    /// Held by whoever begins one.
    pub(super) renewing: tokio::sync::Mutex<()>,
}

/// What is known of the session.
#[derive(Debug, Default)]
struct State {
    /// What the server calls it.
    session: Option<HeaderValue>,
    /// The revision that `initialize` came to.
    version: Option<HeaderValue>,
    param_headers: ParamHeaders,
    beginning: Beginning,
    /// Whether the server has ever answered an `initialize`.
    is_known: bool,
}

impl ServerSession {
    /// The URL as configured.
    pub(super) fn url(&self) -> Url {
        self.remote.url.clone()
    }

    pub(super) fn max_message(&self) -> usize {
        self.remote.max_message
    }

    /// Asks for events.
    pub(super) fn get(&self, url: Url) -> Request {
        let mut request = self.request(Method::GET, url);
        let events = HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert(ACCEPT, events);
        self.with_session(request)
    }

    /// Brings a message.
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

    /// What every request carries: the operator's headers and, where they have no credentials, the
    /// client's.
    fn headers(&self) -> HeaderMap {
        let mut headers = self.remote.headers.clone();
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

    /// Adds what a session's requests carry.
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

    /// Sends a request, with a token where there was a login. Where the server wants another one,
    /// waits for it and sends the request again.
    /// The server has `limit` to answer each time.
    pub(super) async fn send(
        &self,
        request: Request,
        limit: Option<Duration>,
    ) -> Result<Response, Unsent> {
        let Some(login) = self.login() else {
            return self.send_within(request, limit).await;
        };
        let mut renewals = 0;
        let mut reach = Reach::Browser;
        loop {
            // Only a stream cannot be sent twice, and there is none.
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
            let renewed = match login.renew(token, challenge, reach).await {
                Ok(renewed) => renewed,
                // The server wants something else; what it says itself tells more.
                Err(LoginError::NoOAuth) => return Ok(response),
                Err(error) => return Err(Unsent::NoToken(error)),
            };
            match renewed {
                Renewed::Found => {}
                Renewed::Refreshed => reach = Reach::BrowserOnly,
                // Whoever has just logged in is not to be asked again.
                Renewed::LoggedIn => renewals = MAX_RENEWALS,
            }
        }
    }

    /// Sends a request with the token that there is, which it returns too; nobody is asked for
    /// another.
    pub(super) async fn send_once(
        &self,
        request: Request,
    ) -> (reqwest::Result<Response>, Option<Secret>) {
        let token = match self.login() {
            Some(login) => login.token().await,
            None => None,
        };
        let request = with_token(request, token.as_ref());
        (execute(&self.remote.client, request).await, token)
    }

    async fn send_within(
        &self,
        request: Request,
        limit: Option<Duration>,
    ) -> Result<Response, Unsent> {
        let sending = execute(&self.remote.client, request);
        let sent = match limit {
            Some(limit) => timeout(limit, sending).await.map_err(|_| Unsent::Late)?,
            None => sending.await,
        };
        sent.map_err(Unsent::Unreachable)
    }

    /// The login, if there is one that is ours to do: clients over HTTP log in themselves.
    pub(super) fn login(&self) -> Option<&Login> {
        self.remote
            .login
            .as_ref()
            .filter(|_| self.sideband.is_none())
    }

    /// Whether the operator's headers have credentials.
    pub(super) fn has_credentials(&self) -> bool {
        self.remote.headers.contains_key(AUTHORIZATION)
    }

    /// What goes to the server in confidence, and is not to be repeated to people.
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
        let url = &self.remote.url;
        secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        if let Some(login) = self.login() {
            let token = login.token().await;
            secrets.extend(token.map(|token| token.expose().to_owned()));
        }
        secrets
    }

    /// Whether a server that refuses an `initialize` may be one of 2024-11-05.
    pub(super) fn may_be_old(&self) -> bool {
        !self.state().is_known
    }

    /// Whether the server has given the session a name.
    pub(super) fn has_session(&self) -> bool {
        self.state().session.is_some()
    }

    /// The number of the session, counted from 0.
    pub(super) fn session_number(&self) -> u64 {
        *self.sessions.borrow()
    }

    /// Waits until the session with this number has been followed by another one.
    pub(super) async fn next_session(&self, number: u64) {
        let mut sessions = self.sessions.subscribe();
        // Fails only where the peer is gone, and with it whoever waits.
        let _ = sessions.wait_for(|now| *now > number).await;
    }

    /// What is kept of how the session began.
    pub(super) fn beginning<T>(&self, look: impl FnOnce(&mut Beginning) -> T) -> T {
        look(&mut self.state().beginning)
    }

    /// The revision in use, as a header.
    pub(super) fn version(&self) -> Option<HeaderValue> {
        self.state().version.clone()
    }

    /// Whether the revision in use is this one, given as JSON.
    pub(super) fn is_version(&self, version: Option<&str>) -> bool {
        let ours = self.version();
        ours.is_none() || ours == version.and_then(version_header)
    }

    /// The answer to `initialize` says how the session goes on.
    pub(super) fn begun(&self, session: Option<&HeaderValue>, line: &str) {
        self.state().begun(session, line);
    }

    /// Another session has taken the place of the one that was lost because of `why`; it has begun with
    /// this name and answer to `initialize`, where the server has sessions.
    pub(super) fn restarted(&self, why: &str, begun: Option<(Option<&HeaderValue>, &str)>) {
        // Locked, so that nobody uses the session before the relay is told.
        let mut state = self.state();
        if let Some((session, line)) = begun {
            state.begun(session, line);
        }
        let why = why.to_owned();
        // A relay that is gone need not know.
        let _ = self.told.send(RemoteEvent::Restarted { why });
        self.sessions.send_modify(|number| *number += 1);
    }

    /// Learns from an answer, if it is a tool list, which arguments stand in headers too.
    pub(super) fn learn(&self, asked: &Asked, line: &str) {
        if asked.method == LIST {
            self.state().param_headers.learn(line);
        }
    }

    /// Hands a line to the relay. The relay that is gone needs none.
    pub(super) async fn tell(&self, line: &str) {
        let _ = self.to_relay.send_line(line, None).await;
    }

    /// The same with a note, where there is an HTTP client that it says something to.
    pub(super) async fn tell_with(&self, line: &str, note: impl FnOnce() -> Note) {
        let note = self.sideband.is_some().then(note);
        let _ = self.to_relay.send_line(line, note).await;
    }

    /// The same text, naming the server and its URL if it does not yet.
    pub(super) fn named(&self, why: String) -> String {
        let shown = &self.remote.shown;
        match why.contains(shown) {
            true => why,
            false => format!("{why} (server {shown})"),
        }
    }

    /// Answers a request in the server's place.
    pub(super) async fn fail(&self, id: &RequestId, why: String) {
        let code = crate::mcp::ErrorCode::INTERNAL_ERROR;
        self.tell(&error_response(Some(id), code, why)).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begun(&mut self, session: Option<&HeaderValue>, line: &str) {
        self.is_known = true;
        self.session = session.cloned().map(|mut name| {
            name.set_sensitive(true);
            name
        });
        let version = raw_member(line, &["result", "protocolVersion"]);
        self.version = version.and_then(version_header);
        self.beginning.begun(line);
    }
}

/// A revision, given as JSON, as a header.
fn version_header(json: &str) -> Option<HeaderValue> {
    let version = json.strip_prefix('"')?.strip_suffix('"')?;
    HeaderValue::from_str(version).ok()
}

/// Speaks streamable HTTP with the server until the relay closes.
async fn run(peer: Arc<ServerSession>, mut lines: Lines) -> &'static str {
    let mut requests = JoinSet::new();
    let mut listener = JoinSet::new();
    let mut running: HashMap<RequestId, AbortHandle> = HashMap::default();
    let mut cancelled = CancelledExchanges::default();
    // How many restarts the relay has heard of: what it sends now was decided in that session.
    let mut decided_in = 0;
    loop {
        let frame = tokio::select! {
            frame = lines.next() => frame,
            Some(done) = requests.join_next_with_id(), if !requests.is_empty() => {
                match done {
                    // A client may use an id again that it has given up.
                    Ok((task, Outcome::Done(Some(id)))) => {
                        if running.get(&id).is_some_and(|handle| handle.id() == task) {
                            running.remove(&id);
                        }
                    }
                    Ok((_, Outcome::Old(old))) => {
                        // Hardly anything is asked before `initialize` is answered.
                        let rest = async { while requests.join_next().await.is_some() {} };
                        let _ = timeout(FAREWELL, rest).await;
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
        // The gate lets through nothing that it has not read.
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
            let asked = Asked {
                is_stateless: facts.version.is_some(),
                method: method.to_owned(),
                id: id.clone(),
                decided_in,
            };
            if method == "initialize" && !asked.is_stateless {
                peer.beginning(|beginning| beginning.initialize(text));
            }
            let headers = headers_of(&peer, &facts, lines.take_note());
            let line = text.to_owned();
            let id = id.clone();
            let handle = requests.spawn(exchange(Arc::clone(&peer), asked, line, headers));
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
        let begins = method == "notifications/initialized";
        let is_response = matches!(message.kind, Kind::Response { .. });
        let headers = headers_of(&peer, &facts, None);
        let line = text.to_owned();
        if facts.version.is_some() {
            // It belongs to nothing that others would have to wait for.
            let peer = Arc::clone(&peer);
            requests.spawn(async move {
                notify(&peer, line, headers, false).await;
                Outcome::Done(None)
            });
            continue;
        }
        if begins {
            peer.beginning(|beginning| beginning.initialized(&line));
        }
        // In order: what comes next may rely on it.
        notify(&peer, line, headers, is_response).await;
        // One, however often a client says that it begins.
        if begins && listener.is_empty() {
            listener.spawn(listen(Arc::clone(&peer)));
        }
    }
    // What is on its way may still be answered.
    let rest = async { while requests.join_next().await.is_some() {} };
    let _ = timeout(FAREWELL, rest).await;
    drop(listener);
    if peer.has_session() {
        // A server may refuse it, or not answer.
        let _ = timeout(FAREWELL, peer.send_once(peer.delete())).await;
    }
    "closed"
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum Unsent {
    Unreachable(reqwest::Error),
    Late,
    NoToken(LoginError),
}

impl Unsent {
    /// Whether the server has certainly not seen the request.
    pub(super) fn is_unconnected(&self) -> bool {
        matches!(self, Unsent::Unreachable(error) if error.is_connect())
    }

    /// For the client and the log. Of the server's URL it has what is no secret.
    pub(super) fn why(&self, peer: &ServerSession) -> String {
        let server = &peer.remote.shown;
        match self {
            Unsent::Unreachable(error) => unreachable(server, error),
            Unsent::Late => format!("the server {server} did not answer in time"),
            Unsent::NoToken(error) => format!(
                "the server wants a login, but {error}; try again, or give `headers` with an \
                 `Authorization` in the config"
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

/// What a 401 says of the way to a token.
fn challenge(response: &Response) -> Option<String> {
    let challenges = response.headers().get_all(WWW_AUTHENTICATE);
    let texts = || challenges.iter().filter_map(|value| value.to_str().ok());
    let named = texts().find(|challenge| challenge.contains("resource_metadata"));
    named.or_else(|| texts().next()).map(str::to_owned)
}

/// The headers of one message, made from the message. Of what the client has sent, nothing goes on but
/// the headers of arguments of a call that nobody was asked about, to a tool that no list has told of:
/// a client that knows the tool from before would be refused without them, and can do without once the
/// server has told us the same.
///
/// SPEC 2026-07-28, "Request Metadata": they mirror the body, which is read here, not trusted.
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
    let along = match note {
        Some(Note::Headers { headers, .. }) => Some(headers),
        Some(Note::About(_) | Note::Reply(_)) | None => None,
    };
    let (CALL, Some(name), Some(params)) = (method, &facts.name, facts.params) else {
        return headers;
    };
    let state = peer.state();
    // INVARIANT 2: what the server takes for an argument is made from the body that was let through.
    let made = state.param_headers.of_call(name, params);
    let made = made
        .into_iter()
        .map(|(header, value)| (header, value.into_bytes()));
    let along = along.filter(|_| !state.param_headers.knows(name));
    for (header, value) in along.into_iter().flatten().chain(made) {
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
        let remote = HttpServer::new(Url::parse(url).unwrap(), headers, false, 1024).unwrap();
        let peer = ServerSession {
            remote,
            sideband: None,
            to_relay: link_in().0,
            state: Mutex::default(),
            told: mpsc::unbounded_channel().0,
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
    async fn whom_a_url_names_goes_as_a_header_and_nowhere_else() {
        for request in requests("https://alice:s%20cret@a.example/mcp", &[]) {
            let given = request.headers().get(AUTHORIZATION).unwrap();
            assert_eq!(given, "Basic YWxpY2U6cyBjcmV0");
            assert!(given.is_sensitive());
            assert_eq!(request.url().as_str(), "https://a.example/mcp");
        }
    }

    #[tokio::test]
    async fn an_authorization_of_the_operator_s_wins() {
        let headers = [("authorization", "Bearer token")];
        for request in requests("https://alice:secret@a.example/mcp", &headers) {
            let all = request.headers().get_all(AUTHORIZATION);
            assert_eq!(all.iter().collect::<Vec<_>>(), ["Bearer token"]);
            assert_eq!(request.url().as_str(), "https://a.example/mcp");
        }
    }
}
