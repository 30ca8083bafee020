//! What the engines for bridges share: the HTTP API of a program of yours that writes to a messenger, and is polled for
//! what people answer.
//!
//! Knows no bridge. What is sent and what an answer means is up to each engine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use reqwest::{Method, Request, StatusCode, Url};
use serde_json::{Map, Value, json};

use super::courier::CourierContext;
use super::http::{Exchange, PlainHttp, Scrub, TransportSettings, check_url, origin};
use super::registry::BadOptions;
use crate::approval::item::Item;
use crate::gate::{Failure, FailureKind};

/// How long a call may go unanswered, unless the bridge holds its answer back until a person has decided.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How long the tries to ask may go on, if a question has no limit of its own.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest and the longest `pollInterval`, in seconds.
const FASTEST_POLL: f64 = 0.1;
const SLOWEST_POLL: f64 = 60.0;

/// A bridge, and how it is reached.
#[derive(Clone)]
pub(super) struct Bridge {
    url: Url,
    /// Sent with every request.
    headers: HeaderMap,
    /// The key of the configuration that its credential is from.
    credential_key: &'static str,
    pub(super) scrub: Arc<Scrub>,
}

/// What a bridge asks for with every request.
pub(super) struct Credential<'a> {
    /// The header that carries it.
    pub(super) header: HeaderName,
    /// What stands before it there.
    pub(super) scheme: &'a str,
    pub(super) secret: &'a str,
}

impl Bridge {
    /// Reads the URL in the option `key`. `credential_key` says where a credential is configured, also if there is none.
    ///
    /// # Errors
    /// Says what is wrong. Quotes no secret.
    pub(super) fn new(
        key: &str,
        url: &str,
        transport: &TransportSettings,
        credential_key: &'static str,
        credential: Option<Credential<'_>>,
    ) -> Result<Bridge, BadOptions> {
        let mut url = check_url(key, url, transport, PlainHttp::IfAllowed)?;
        url.set_query(None);
        let mut scrub = Scrub::default();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (
                USER_AGENT,
                concat!("approval-proxy/", env!("CARGO_PKG_VERSION")),
            ),
            (ACCEPT, "application/json"),
            (ACCEPT_ENCODING, "identity"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(credential) = credential {
            let value = format!("{}{}", credential.scheme, credential.secret);
            let mut value = HeaderValue::try_from(value).map_err(|_| {
                BadOptions(format!(
                    "`{credential_key}` has characters that no header can have"
                ))
            })?;
            value.set_sensitive(true);
            headers.insert(credential.header, value);
            scrub.add(credential.secret);
        }
        Ok(Bridge {
            url,
            headers,
            credential_key,
            scrub: Arc::new(scrub),
        })
    }

    /// Returns how texts refer to the bridge.
    pub(super) fn peer(&self) -> String {
        origin(&self.url)
    }

    /// Makes a request. `path` is below the bridge's URL, each segment as it is before it is escaped.
    pub(super) fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Request {
        let mut url = self.url.clone();
        // Cannot fail: the URL is http: or https:.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            segments.extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = Request::new(method, url);
        *request.headers_mut() = self.headers.clone();
        if let Some(body) = body {
            let kind = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, kind);
            *request.body_mut() = Some(body.to_string().into());
        }
        request
    }

    /// Returns what sends requests, about one question if there is an item.
    pub(super) fn exchange(&self, context: &CourierContext, item: Option<&Item>) -> Exchange {
        Exchange::about(item, context, &self.scrub, LONGEST)
    }

    /// Adds what to do about a refused credential.
    pub(super) fn explained(&self, failure: Failure) -> Failure {
        match failure.kind {
            FailureKind::Misconfigured => Failure {
                why: format!("{}; check `{}`", failure.why, self.credential_key),
                ..failure
            },
            FailureKind::Unreachable | FailureKind::Rejected | FailureKind::RateLimited => failure,
        }
    }

    /// Says whether a status means that the bridge would take questions.
    ///
    /// # Errors
    /// If it would not.
    pub(super) fn accepts(&self, status: StatusCode) -> Result<(), Failure> {
        let peer = self.peer();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.explained(Failure {
                kind: FailureKind::Misconfigured,
                why: format!("{peer} answered {status}"),
            })),
            status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
                Err(Failure::unreachable(format!("{peer} answered {status}")))
            }
            _ => Ok(()),
        }
    }

    /// Says that the bridge's answer is not what it should be.
    pub(super) fn rejected(&self, why: &str) -> Failure {
        Failure {
            kind: FailureKind::Rejected,
            why: format!("{}: {why}", self.peer()),
        }
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge")
            .field("origin", &self.peer())
            .finish_non_exhaustive()
    }
}

/// Returns the pause between two polls.
///
/// # Errors
/// If it is no number within the limits.
pub(super) fn poll_interval(
    options: &Map<String, Value>,
    usual: Duration,
) -> Result<Duration, BadOptions> {
    let Some(value) = options.get("pollInterval") else {
        return Ok(usual);
    };
    let seconds = value.as_f64();
    let seconds = seconds.filter(|seconds| (FASTEST_POLL..=SLOWEST_POLL).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        BadOptions(format!(
            "`pollInterval` must be a number of seconds from {FASTEST_POLL} to {SLOWEST_POLL}"
        ))
    })
}

/// The JSON Schema of `pollInterval`.
pub(super) fn poll_interval_schema() -> Value {
    json!({"type": "number", "minimum": FASTEST_POLL, "maximum": SLOWEST_POLL})
}

#[cfg(test)]
mod tests {
    use reqwest::header::AUTHORIZATION;

    use super::*;

    fn bridge(url: &str) -> Bridge {
        let credential = Credential {
            header: AUTHORIZATION,
            scheme: "Bearer ",
            secret: "PROBE-bearer-secret",
        };
        let transport = TransportSettings::default();
        Bridge::new(
            "bridgeUrl",
            url,
            &transport,
            "approvalAuthToken",
            Some(credential),
        )
        .unwrap()
    }

    #[test]
    fn a_segment_of_the_path_cannot_lead_elsewhere() {
        for base in ["http://127.0.0.1:9003/x", "http://127.0.0.1:9003/x/?y=1"] {
            let path = ["chats", "a/../b?c#d@g.us", "messages"];
            let request = bridge(base).request(Method::GET, &path, &[("limit", "5")], None);
            assert_eq!(
                request.url().as_str(),
                "http://127.0.0.1:9003/x/chats/a%2F..%2Fb%3Fc%23d@g.us/messages?limit=5"
            );
        }
    }

    #[test]
    fn the_credential_goes_with_every_request_and_into_no_text() {
        let bridge = bridge("http://127.0.0.1:9003");
        let request = bridge.request(Method::GET, &[], &[], None);
        assert_eq!(
            request.headers()[AUTHORIZATION],
            "Bearer PROBE-bearer-secret"
        );
        let text = format!("{bridge:?} {request:?}");
        assert!(!text.contains("PROBE-bearer"), "{text}");
        assert_eq!(bridge.scrub.clean("x PROBE-bearer-secret"), "x [hidden]");
    }

    #[test]
    fn the_pause_between_polls_has_limits() {
        let read = |value: Value| {
            let options = Map::from_iter([("pollInterval".to_owned(), value)]);
            poll_interval(&options, Duration::from_secs(1))
        };
        assert_eq!(read(json!(0.2)), Ok(Duration::from_millis(200)));
        assert_eq!(read(json!(60)), Ok(Duration::from_secs(60)));
        for wrong in [json!(0), json!(-1), json!(1e300), json!("1"), json!(null)] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
        let usual = poll_interval(&Map::new(), Duration::from_secs(2));
        assert_eq!(usual, Ok(Duration::from_secs(2)));
    }
}
