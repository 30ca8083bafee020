//! A session with a server behind HTTP that is lost, because the server has restarted or forgotten
//! it, and the one that begins in its place.
//!
//! What must not be sent again is decided in `exchange`, and what becomes of tool calls by the gate.

use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, Request, Response};
use tokio::time::{Instant, sleep, timeout};

use super::exchange::{self, answer_of};
use super::http_server::{ServerSession, Unsent};
use super::server_error::in_words;
use crate::http::shared::facts::{SESSION, VERSION};
use crate::mcp::json::raw_member;
use crate::mcp::message::RequestId;
use crate::transport::RemoteEvent;

/// How long a server may take to come back before those that wait for it are told.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// The pause before the second attempt; each one is twice as long as the one before.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the server has for each step of an attempt.
const STEP: Duration = Duration::from_secs(30);
/// The longest `initialize` that is kept to be sent again, in bytes.
const MAX_INITIALIZE: usize = 64 * 1024;
/// How soon after a session another one may begin, if the server has answered no request in it.
const PAUSE_BETWEEN: Duration = Duration::from_secs(2);
/// How many calls that came back once are remembered.
const MAX_RETURNED: usize = 10_000;

/// What is kept of a session, so that another one can begin like it.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    /// The client's `initialize` and `notifications/initialized`, as they were sent.
    initialize: Option<String>,
    initialized: Option<String>,
    /// Which lists the server announces changes of.
    announces: Vec<&'static str>,
    /// When the newest session began, and whether the server has answered a request in it.
    began: Option<Instant>,
    has_answered: bool,
    /// Calls that came back once, and may not a second time.
    returned: std::collections::BTreeSet<RequestId>,
    /// How many attempts have failed, and why the last one did.
    failures: (u64, String),
}

impl Beginning {
    /// The client begins a session with this line.
    pub(super) fn initialize(&mut self, line: &str) {
        self.initialize = (line.len() <= MAX_INITIALIZE).then(|| line.to_owned());
        self.initialized = None;
    }

    /// The client has sent `notifications/initialized`.
    pub(super) fn initialized(&mut self, line: &str) {
        self.initialized = (line.len() <= MAX_INITIALIZE).then(|| line.to_owned());
    }

    /// The client's `initialize` and `notifications/initialized`, as far as they are known.
    pub(super) fn lines(&self) -> (Option<String>, Option<String>) {
        (self.initialize.clone(), self.initialized.clone())
    }

    /// The server has answered `initialize`.
    pub(super) fn begun(&mut self, answer: &str) {
        let announces = |kind| {
            let path = ["result", "capabilities", kind, "listChanged"];
            raw_member(answer, &path) == Some("true")
        };
        self.announces = ["tools", "prompts", "resources"]
            .into_iter()
            .filter(|kind| announces(kind))
            .collect();
        self.began = Some(Instant::now());
        self.has_answered = false;
    }

    /// The server has answered a request in this session.
    pub(super) fn answered(&mut self) {
        self.has_answered = true;
    }

    /// How long to wait before another session begins: a server that gives sessions and then knows none
    /// of them would otherwise be asked without a pause.
    pub(super) fn rest_due(&self) -> Duration {
        match self.began {
            Some(began) if !self.has_answered => PAUSE_BETWEEN.saturating_sub(began.elapsed()),
            Some(_) | None => Duration::ZERO,
        }
    }

    /// Whether a call comes back for the first time.
    pub(super) fn returns(&mut self, id: &RequestId) -> bool {
        if self.returned.len() >= MAX_RETURNED {
            self.returned.clear();
        }
        self.returned.insert(id.clone())
    }

    /// The server has taken a request.
    pub(super) fn taken(&mut self, id: &RequestId) {
        self.returned.remove(id);
    }
}

/// Why an attempt to begin a session has failed.
enum Failed {
    /// The server may be about to come back.
    Yet(String),
    /// Another attempt would fail too.
    ForGood(String),
}

impl ServerSession {
    /// Begins a session in place of the one with this number, which was lost because of `why`, unless
    /// that has been done already. Waits for the server to come back, for 15 seconds at most.
    ///
    /// # Errors
    /// Why there is no other session, in words for the client.
    pub(super) async fn renew(&self, lost: u64, why: &str) -> Result<(), String> {
        let failures = self.beginning(|beginning| beginning.failures.0);
        let _one_at_a_time = self.renewing.lock().await;
        if self.session_number() != lost {
            return Ok(());
        }
        let (now_failed, last) = self.beginning(|beginning| beginning.failures.clone());
        if now_failed != failures {
            // Whoever waited as long has just been told.
            return Err(last);
        }
        sleep(self.beginning(|beginning| beginning.rest_due())).await;
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let failed = match self.begin_again(why).await {
                Ok(()) => return Ok(()),
                Err(Failed::Yet(_)) if Instant::now() + pause < deadline => {
                    sleep(pause).await;
                    pause = LONGEST_PAUSE.min(2 * pause);
                    continue;
                }
                Err(Failed::Yet(failed) | Failed::ForGood(failed)) => failed,
            };
            let failed = format!("{why}, and no new session could begin: {failed}");
            self.beginning(|beginning| {
                beginning.failures = (beginning.failures.0 + 1, failed.clone());
            });
            return Err(failed);
        }
    }

    /// Waits while another session begins: what is sent now belongs there.
    pub(super) async fn wait_for_renewal(&self) {
        if self.renewing.try_lock().is_err() {
            drop(self.renewing.lock().await);
        }
    }

    async fn begin_again(&self, why: &str) -> Result<(), Failed> {
        let (initialize, initialized) = self.beginning(|beginning| beginning.lines());
        let Some(initialize) = initialize else {
            // There is nothing to begin; any answer says that the server is back.
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
            let words = in_words(self, response).await;
            return Err(match status.is_server_error() {
                true => Failed::Yet(words),
                false => Failed::ForGood(words),
            });
        }
        let session = response.headers().get(&SESSION).cloned();
        let id = raw_member(&initialize, &["id"]).and_then(RequestId::from_json);
        let id = id.unwrap_or(RequestId::Integer(0));
        let answer = timeout(STEP, answer_of(response, &id, self.max_message())).await;
        let answer = answer
            .unwrap_or_else(|_| Err("the server did not answer in time".to_owned()))
            .map_err(Failed::ForGood)?;
        let version = raw_member(&answer, &["result", "protocolVersion"]);
        if !self.is_version(version) {
            let why = "the server speaks another revision of MCP now; start approval-proxy again";
            return Err(Failed::ForGood(why.to_owned()));
        }
        if let Some(initialized) = initialized {
            let mut request = self.post(self.url(), initialized);
            self.stamp(&mut request, session.as_ref());
            self.attempt(request).await?;
        }
        self.restarted(why, Some((session.as_ref(), &answer)));
        self.announce().await;
        Ok(())
    }

    /// Tells the client that what it has read is of a session that is lost.
    pub(super) async fn announce(&self) {
        for kind in self.beginning(|beginning| beginning.announces.clone()) {
            let changed =
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/{kind}/list_changed"}}"#);
            self.tell(&changed).await;
        }
    }

    /// The headers of a session that has not begun yet.
    fn stamp(&self, request: &mut Request, session: Option<&HeaderValue>) {
        let version = self.version();
        for (name, value) in [(&SESSION, session), (&VERSION, version.as_ref())] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.clone());
            }
        }
    }

    async fn attempt(&self, request: Request) -> Result<Response, Failed> {
        self.send(request, Some(STEP))
            .await
            .map_err(|error| match error {
                Unsent::Unreachable(_) => Failed::Yet(error.why(self)),
                Unsent::Late | Unsent::NoToken(_) => Failed::ForGood(error.why(self)),
            })
    }

    /// Says that a call was certainly not taken, and hands it back.
    pub(super) fn hand_back(&self, id: &RequestId, line: String, why: String, is_back: bool) {
        let is_first = self.beginning(|beginning| beginning.returns(id));
        // A session that is over wants nothing back.
        let _ = self.told.send(RemoteEvent::Returned {
            line,
            why,
            may_go_again: is_first && is_back,
        });
    }

    /// Whether the server has lost the session, where it answers a request in it with a 400, which
    /// may have many reasons. `body` is what it said.
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

    /// The request that ends a session.
    pub(super) fn delete(&self) -> Request {
        self.with_session(self.request(Method::DELETE, self.url()))
    }
}
