//! Starts a new session with a server over HTTP if the server has restarted or forgotten the old one.
//!
//! `exchange` decides what may be sent again, and the gate decides about tool calls.

use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, Request, Response};
use tokio::time::{Instant, sleep, timeout};

use super::exchange::{self, answer_of};
use super::http_server::{SendError, ServerSession};
use super::server_error::describe;
use crate::http::shared::facts::{SESSION, VERSION};
use crate::mcp::json::raw_member;
use crate::mcp::message::RequestId;
use crate::transport::RemoteEvent;

/// How long to wait for a server to come back before pending requests are failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// The pause before the second attempt. Each further pause is twice as long.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two attempts.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the server has for each step of an attempt.
const STEP: Duration = Duration::from_secs(30);
/// The longest `initialize` that is kept to be sent again, in bytes.
const MAX_INITIALIZE: usize = 64 * 1024;
/// The pause between the starts of two sessions if the server has answered no request in the first one.
const PAUSE_BETWEEN: Duration = Duration::from_secs(2);
/// How many returned calls are remembered.
const MAX_RETURNED: usize = 10_000;

/// What we keep of a session's handshake and progress, so that we can start the next session.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    /// The client's `initialize`, as it was sent.
    initialize: Option<String>,
    /// The client's `notifications/initialized`, as it was sent.
    initialized: Option<String>,
    /// The lists whose changes the server announces.
    announces: Vec<&'static str>,
    /// When the newest session started.
    started: Option<Instant>,
    /// True once the server has answered a request in the newest session.
    has_answered: bool,
    /// Calls that were returned to the gate once. They may not be sent again after a second return.
    returned: std::collections::BTreeSet<RequestId>,
    /// How many attempts have failed, and why the last one did.
    failures: (u64, String),
}

impl Handshake {
    /// Stores the client's `initialize`.
    pub(super) fn initialize(&mut self, line: &str) {
        self.initialize = (line.len() <= MAX_INITIALIZE).then(|| line.to_owned());
        self.initialized = None;
    }

    /// Stores the client's `notifications/initialized`.
    pub(super) fn initialized(&mut self, line: &str) {
        self.initialized = (line.len() <= MAX_INITIALIZE).then(|| line.to_owned());
    }

    /// Returns the client's `initialize` and `notifications/initialized`, if they are stored.
    pub(super) fn lines(&self) -> (Option<String>, Option<String>) {
        (self.initialize.clone(), self.initialized.clone())
    }

    /// Notes that a session has started, with this answer to `initialize`.
    pub(super) fn session_started(&mut self, answer: &str) {
        let announces = |kind| {
            let path = ["result", "capabilities", kind, "listChanged"];
            raw_member(answer, &path) == Some("true")
        };
        self.announces = ["tools", "prompts", "resources"]
            .into_iter()
            .filter(|kind| announces(kind))
            .collect();
        self.started = Some(Instant::now());
        self.has_answered = false;
    }

    /// Notes that the server has answered a request in this session.
    pub(super) fn answered(&mut self) {
        self.has_answered = true;
    }

    /// Returns how long to wait before the next session starts. Without this pause, a server that starts
    /// sessions and then knows none of them would be asked in a tight loop.
    pub(super) fn pause_due(&self) -> Duration {
        match self.started {
            Some(started) if !self.has_answered => PAUSE_BETWEEN.saturating_sub(started.elapsed()),
            Some(_) | None => Duration::ZERO,
        }
    }

    /// Notes that a call is returned to the gate. Returns true if this is the first time.
    pub(super) fn is_first_return(&mut self, id: &RequestId) -> bool {
        if self.returned.len() >= MAX_RETURNED {
            self.returned.clear();
        }
        self.returned.insert(id.clone())
    }

    /// Notes that the server has accepted a request.
    pub(super) fn accepted(&mut self, id: &RequestId) {
        self.returned.remove(id);
    }
}

/// Why an attempt to start a session has failed.
enum AttemptError {
    /// The server may come back.
    Temporary(String),
    /// Another attempt would fail, too.
    Permanent(String),
}

impl ServerSession {
    /// Replaces the session with this number, which was lost because of `why`, unless it has been
    /// replaced already. Waits for the server to come back, for 15 seconds at most.
    ///
    /// # Errors
    /// Why there is no new session, in words for the client.
    pub(super) async fn renew(&self, lost: u64, why: &str) -> Result<(), String> {
        let failures = self.handshake(|handshake| handshake.failures.0);
        let _one_at_a_time = self.renewing.lock().await;
        if self.session_number() != lost {
            return Ok(());
        }
        let (now_failed, last) = self.handshake(|handshake| handshake.failures.clone());
        if now_failed != failures {
            // Another task has just failed to renew it while we waited.
            return Err(last);
        }
        sleep(self.handshake(|handshake| handshake.pause_due())).await;
        let deadline = Instant::now() + self.patience();
        let mut pause = FIRST_PAUSE;
        loop {
            let failed = match self.start_session(why).await {
                Ok(()) => return Ok(()),
                Err(AttemptError::Temporary(_)) if Instant::now() + pause < deadline => {
                    sleep(pause).await;
                    pause = LONGEST_PAUSE.min(2 * pause);
                    continue;
                }
                Err(AttemptError::Temporary(failed) | AttemptError::Permanent(failed)) => failed,
            };
            let failed = format!("{why}, and no new session could be started: {failed}");
            self.handshake(|handshake| {
                handshake.failures = (handshake.failures.0 + 1, failed.clone());
            });
            return Err(failed);
        }
    }

    /// Waits while a new session is being started, because the next message belongs there.
    pub(super) async fn wait_for_renewal(&self) {
        if self.renewing.try_lock().is_err() {
            drop(self.renewing.lock().await);
        }
    }

    async fn start_session(&self, why: &str) -> Result<(), AttemptError> {
        let (initialize, initialized) = self.handshake(|handshake| handshake.lines());
        let Some(initialize) = initialize else {
            // Without `initialize` there is no session to start. Any answer means that the server is back.
            let probe = self.get(self.url());
            self.attempt(probe).await?;
            self.restarted(why, None);
            return Ok(());
        };
        let response = self
            .attempt(self.post(self.url(), initialize.clone()))
            .await?;
        let status = response.status();
        if !status.is_success() {
            let description = describe(self, response).await;
            return Err(match status.is_server_error() {
                true => AttemptError::Temporary(description),
                false => AttemptError::Permanent(description),
            });
        }
        let session = response.headers().get(&SESSION).cloned();
        let id = raw_member(&initialize, &["id"]).and_then(RequestId::from_json);
        let id = id.unwrap_or(RequestId::Integer(0));
        let answer = timeout(STEP, answer_of(response, &id, self.max_message())).await;
        let answer = answer
            .unwrap_or_else(|_| Err("the server did not answer in time".to_owned()))
            .map_err(AttemptError::Permanent)?;
        let version = raw_member(&answer, &["result", "protocolVersion"]);
        if !self.is_version(version) {
            return Err(AttemptError::Permanent(OTHER_REVISION.to_owned()));
        }
        if let Some(initialized) = initialized {
            let mut request = self.post(self.url(), initialized);
            self.add_session_headers(&mut request, session.as_ref());
            self.attempt(request).await?;
        }
        self.restarted(why, Some((session.as_ref(), &answer)));
        self.announce_changes().await;
        Ok(())
    }

    /// Tells the client to read its lists again, because they are from the lost session.
    pub(super) async fn announce_changes(&self) {
        for kind in self.handshake(|handshake| handshake.announces.clone()) {
            let changed =
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/{kind}/list_changed"}}"#);
            self.deliver(&changed).await;
        }
    }

    /// Adds the headers of a session that is still being started.
    fn add_session_headers(&self, request: &mut Request, session: Option<&HeaderValue>) {
        let version = self.version();
        for (name, value) in [(&SESSION, session), (&VERSION, version.as_ref())] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.clone());
            }
        }
    }

    async fn attempt(&self, request: Request) -> Result<Response, AttemptError> {
        self.send(request, Some(STEP))
            .await
            .map_err(|error| match error {
                SendError::Unreachable(_) => AttemptError::Temporary(error.why(self)),
                SendError::Timeout | SendError::NoToken(_) => {
                    AttemptError::Permanent(error.why(self))
                }
            })
    }

    /// Returns a call to the gate that the server has certainly not accepted. `is_reachable` says
    /// whether the server could accept it now.
    pub(super) fn return_call(
        &self,
        id: &RequestId,
        line: String,
        why: String,
        is_reachable: bool,
    ) {
        let is_first = self.handshake(|handshake| handshake.is_first_return(id));
        // Fails only if the session has ended.
        let _ = self.events.send(RemoteEvent::Returned {
            line,
            why,
            may_go_again: is_first && is_reachable,
        });
    }

    /// Returns true if the server has lost the session. For a request that was answered with a 400,
    /// which may have many reasons. `body` is the body of that answer.
    pub(super) async fn is_session_lost(&self, body: &[u8]) -> bool {
        if exchange::mentions_session(body) {
            return true;
        }
        let ping = r#"{"jsonrpc":"2.0","id":"approval-proxy-ping","method":"ping"}"#;
        let ping = self.with_session(self.post(self.url(), ping.to_owned()));
        match self.send(ping, Some(STEP)).await {
            Ok(response) => matches!(response.status().as_u16(), 400 | 404),
            Err(_) => false,
        }
    }

    /// Returns the request that ends the session.
    pub(super) fn delete(&self) -> Request {
        self.with_session(self.request(Method::DELETE, self.url()))
    }
}

/// Why a server that has negotiated another revision cannot replace the old session.
pub(super) const OTHER_REVISION: &str =
    "the server now speaks another revision of MCP; restart approval-proxy";
