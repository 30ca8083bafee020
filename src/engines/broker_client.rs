//! A client of a broker that asks people: `POST /v1/approvals`, and `GET /v1/approvals/{id}?wait=true`.
//!
//! This is what sesame-mcp speaks, as its documentation has it: bearer keys, JSON, and statuses in plain words. What a
//! broker says of who decided is not read, because that tool's result has no place for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use reqwest::{Method, Request, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use super::http::{
    Exchange, HttpRuntime, Patience, PlainHttp, Scrub, TransportSettings, check_url,
};
use super::registry::BadOptions;
use crate::evidence::redact::Redaction;
use crate::gate::{EngineId, Failure, FailureKind};
use crate::sys::clock::Clock;

/// What errors call a broker.
const NAME: EngineId = EngineId::new("broker");
/// How long a broker may take to accept a request.
const ACCEPT_TIME: Duration = Duration::from_secs(30);
/// How long a broker may hold an answer back.
const HOLD_TIME: Duration = Duration::from_secs(60);
/// The pause before a broker is asked again that did not hold its answer back, or that is away.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest id of an approval.
const MAX_ID: usize = 128;

/// A broker, and the key for it.
pub struct BrokerClient {
    url: Url,
    authorization: HeaderValue,
    transport: Arc<TransportSettings>,
    runtime: Arc<HttpRuntime>,
    scrub: Arc<Scrub>,
    redaction: Redaction,
}

/// How an approval stands at a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerStatus {
    /// A person said yes.
    Approved,
    /// A person said no.
    Denied,
    /// Nobody decided in time, or the request was withdrawn there.
    Expired,
    /// Nobody has decided yet.
    Pending,
}

/// What a broker says about an approval.
#[derive(Deserialize)]
struct Answered {
    id: Option<Value>,
    approval_id: Option<Value>,
    status: Option<String>,
}

impl fmt::Debug for BrokerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerClient").finish_non_exhaustive()
    }
}

impl BrokerClient {
    /// Creates a client of the broker at this URL, which the variable `variable` holds. Connects to nothing.
    ///
    /// # Errors
    /// Says what is wrong with the URL or the key, without either.
    pub fn new(
        variable: &str,
        url: &str,
        key: &str,
        transport: &TransportSettings,
        redaction: &Redaction,
    ) -> Result<BrokerClient, BadOptions> {
        let mut url = check_url(variable, url.trim(), transport, PlainHttp::IfAllowed)?;
        url.set_query(None);
        let path = url.path_segments_mut();
        let mut path = path.map_err(|()| BadOptions(format!("`{variable}` has no path")))?;
        path.pop_if_empty().extend(["v1", "approvals"]);
        drop(path);
        let key = key.trim();
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| {
            BadOptions("the key has characters that no header can carry".to_owned())
        })?;
        authorization.set_sensitive(true);
        let mut scrub = Scrub::default();
        scrub.add(key);
        Ok(BrokerClient {
            url,
            authorization,
            transport: Arc::new(transport.clone()),
            runtime: Arc::default(),
            scrub: Arc::new(scrub),
            redaction: redaction.clone(),
        })
    }

    /// Asks the broker, and returns the id of the approval. `body` is the request, as JSON.
    ///
    /// # Errors
    /// If the broker does not take it before `limit` is over.
    pub async fn ask(&self, body: &Value, limit: Duration) -> Result<String, Failure> {
        let text = body.to_string();
        let request = || {
            let mut request = self.request(Method::POST, self.url.clone());
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = Some(text.clone().into());
            Ok(request)
        };
        let exchange = self.exchange(limit);
        let patience = Patience::until_answered(limit.clamp(PAUSE, ACCEPT_TIME));
        // People would be asked twice.
        let sent = exchange.send_once(patience, request).await;
        let sent = sent.unwrap_or_else(|| {
            Err(super::http::Undelivered {
                failure: Failure::unreachable("the broker did not take the request in time"),
                status: None,
            })
        });
        let reply = sent.map_err(|undelivered| undelivered.failure)?;
        let answered = read(&reply.body)?;
        let id = answered.id.as_ref().or(answered.approval_id.as_ref());
        let id = id.and_then(Value::as_str);
        let id = id.filter(|id| is_id(id));
        id.map(str::to_owned)
            .ok_or_else(|| rejected("the broker's answer has no usable `id`"))
    }

    /// Waits until an approval is decided or over, at most `longest`. Then it is [`BrokerStatus::Pending`].
    ///
    /// # Errors
    /// If the broker no longer says how it stands.
    pub async fn wait(&self, id: &str, longest: Duration) -> Result<BrokerStatus, Failure> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(id);
        }
        url.query_pairs_mut().append_pair("wait", "true");
        let clock = Clock::start();
        loop {
            let began = clock.elapsed();
            let left = longest.saturating_sub(began);
            if left.is_zero() {
                return Ok(BrokerStatus::Pending);
            }
            let patience = Patience::until_answered(left.min(HOLD_TIME));
            let request = || Ok(self.request(Method::GET, url.clone()));
            let exchange = self.exchange(left);
            let Some(looked) = exchange.fetch(patience, request).await else {
                return Ok(BrokerStatus::Pending);
            };
            match looked {
                Ok(reply) => match status(read(&reply.body)?.status.as_deref())? {
                    BrokerStatus::Pending => {}
                    status @ (BrokerStatus::Approved
                    | BrokerStatus::Denied
                    | BrokerStatus::Expired) => return Ok(status),
                },
                // The request stands there, so the answer may still be had.
                Err(failure) if failure.kind == FailureKind::Unreachable => {
                    tracing::warn!("the broker is away: {}", failure.why);
                }
                Err(failure) => return Err(failure),
            }
            if clock.elapsed().saturating_sub(began) < PAUSE {
                sleep(PAUSE.min(left)).await;
            }
        }
    }

    fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let agent = HeaderValue::from_static(concat!("approval-proxy/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, agent);
        request
    }

    fn exchange(&self, limit: Duration) -> Exchange {
        Exchange {
            engine: NAME,
            runtime: Arc::clone(&self.runtime),
            transport: Arc::clone(&self.transport),
            scrub: Arc::clone(&self.scrub),
            redaction: self.redaction.clone(),
            clock: Clock::start(),
            limit: Some(limit),
        }
    }
}

fn rejected(why: &str) -> Failure {
    Failure {
        kind: FailureKind::Rejected,
        why: why.to_owned(),
    }
}

fn read(body: &[u8]) -> Result<Answered, Failure> {
    // Not serde's message: it would quote the broker.
    serde_json::from_slice(body).map_err(|_| rejected("the broker's answer is not as documented"))
}

fn status(word: Option<&str>) -> Result<BrokerStatus, Failure> {
    match word {
        Some("approved") => Ok(BrokerStatus::Approved),
        Some("denied" | "rejected") => Ok(BrokerStatus::Denied),
        Some("expired" | "cancelled") => Ok(BrokerStatus::Expired),
        Some("pending") => Ok(BrokerStatus::Pending),
        // INVARIANT 3: an unknown word is no yes.
        Some(_) | None => Err(rejected("the broker's answer has no known `status`")),
    }
}

/// Returns true if this can be an id. It becomes part of a path, and agents read it.
fn is_id(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_words_decide() {
        assert_eq!(status(Some("approved")).unwrap(), BrokerStatus::Approved);
        assert_eq!(status(Some("denied")).unwrap(), BrokerStatus::Denied);
        assert_eq!(status(Some("expired")).unwrap(), BrokerStatus::Expired);
        for word in ["", "Approved", "approve", "ok", "true", "APPROVED "] {
            status(Some(word)).unwrap_err();
        }
        status(None).unwrap_err();
    }

    #[test]
    fn an_id_stays_one_part_of_the_path() {
        assert!(is_id("ap_1-Zz"));
        for text in ["", "a/b", "..", "a?b", "a%2f", "ü", &"a".repeat(MAX_ID + 1)] {
            assert!(!is_id(text), "{text}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_the_key() {
        for url in [
            "",
            "broker",
            "ftp://a.example",
            "http://a.example",
            "https://u:p@a.example",
        ] {
            let error = BrokerClient::new(
                "SESAME_BROKER_URL",
                url,
                "sk_live_secret",
                &TransportSettings::default(),
                &Redaction::default(),
            );
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("SESAME_BROKER_URL") && !error.contains("sk_live"),
                "{error}"
            );
        }
    }
}
