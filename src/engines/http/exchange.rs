//! One request and its answer, with further tries, and within limits on time and size.
//!
//! The engine decides what an answer with a good status means.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Request, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::backoff;
use super::lines::Lines;
use super::runtime::HttpRuntime;
use super::scrub::Scrub;
use super::transport::TransportSettings;
use crate::approval::item::Item;
use crate::engines::courier::CourierContext;
use crate::evidence::redact::Redaction;
use crate::gate::{EngineId, Failure, FailureKind};
use crate::sys::clock::{Clock, random_seed, unix_ms};
use crate::sys::with_causes;

/// The longest body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// How long to wait for the head of an answer. A service may hold it back until a person has decided.
const ANSWER_TIME: Duration = Duration::from_secs(60 * 60);
/// How long a body may take to arrive after its head.
pub(in crate::engines) const BODY_TIME: Duration = Duration::from_secs(30);

/// Sends the requests of one engine about one question.
#[derive(Debug, Clone)]
pub(in crate::engines) struct Exchange {
    pub(in crate::engines) engine: EngineId,
    pub(in crate::engines) runtime: Arc<HttpRuntime>,
    pub(in crate::engines) transport: Arc<TransportSettings>,
    pub(in crate::engines) scrub: Arc<Scrub>,
    /// What counts as a secret of the call.
    pub(in crate::engines) redaction: Redaction,
    /// Started when the question was asked.
    pub(in crate::engines) clock: Clock,
    /// When the question's time is up. No further try begins after that.
    pub(in crate::engines) limit: Option<Duration>,
}

/// An answer with a status from 200 to 299.
#[derive(Debug)]
pub(in crate::engines) struct Reply {
    pub(in crate::engines) status: StatusCode,
    pub(in crate::engines) location: Option<String>,
    pub(in crate::engines) retry_after: Option<Duration>,
    pub(in crate::engines) headers: HeaderMap,
    pub(in crate::engines) body: Vec<u8>,
}

/// An answer with any status.
#[derive(Debug)]
pub(in crate::engines) struct Heard {
    pub(in crate::engines) status: StatusCode,
    pub(in crate::engines) body: Vec<u8>,
}

/// What one try may take.
#[derive(Debug, Clone, Copy)]
pub(in crate::engines) struct Patience {
    /// How long to wait for the head of the answer.
    pub(in crate::engines) answer_time: Duration,
    /// The longest body that is read, in bytes.
    pub(in crate::engines) max_body: usize,
}

impl Patience {
    /// For an answer that a service may hold back until a person has decided.
    pub(in crate::engines) const UNTIL_DECIDED: Patience = Patience::until_answered(ANSWER_TIME);

    /// Waits so long for the head of the answer, and reads a body of the usual size.
    pub(in crate::engines) const fn until_answered(answer_time: Duration) -> Patience {
        Patience {
            answer_time,
            max_body: MAX_BODY,
        }
    }
}

/// Whether a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// As configured.
    Freely,
    /// Only if the service has certainly done nothing about it.
    IfUntouched,
}

/// Why a request has no answer that counts.
#[derive(Debug)]
pub(in crate::engines) struct Undelivered {
    pub(in crate::engines) failure: Failure,
    /// The status of the last answer, if there was one.
    pub(in crate::engines) status: Option<StatusCode>,
}

/// Why a try failed.
struct Miss {
    failure: Failure,
    /// Whether a further try may help.
    is_retryable: bool,
    /// Whether the service may have acted on the request.
    may_have_arrived: bool,
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
}

impl Exchange {
    /// Creates what sends requests of the engine with this context, without its `scrub`'s secrets in errors. No further
    /// try begins once `limit` is over.
    pub(in crate::engines) fn new(
        context: &CourierContext,
        scrub: &Arc<Scrub>,
        limit: Option<Duration>,
    ) -> Exchange {
        Exchange {
            engine: context.name,
            runtime: Arc::clone(&context.runtime),
            transport: Arc::clone(&context.transport),
            scrub: Arc::clone(scrub),
            redaction: context.redaction.clone(),
            clock: Clock::start(),
            limit,
        }
    }

    /// Like [`Exchange::new`], about one question: until its time is up, the engine's, or `longest`.
    pub(in crate::engines) fn about(
        item: Option<&Item>,
        context: &CourierContext,
        scrub: &Arc<Scrub>,
        longest: Duration,
    ) -> Exchange {
        let left = item.and_then(|item| item.expires_ms).map(|expires_ms| {
            let left = expires_ms.saturating_sub(unix_ms());
            Duration::from_millis(u64::try_from(left).unwrap_or(0))
        });
        let limits = [left, context.timeout, Some(longest)];
        Exchange::new(context, scrub, limits.into_iter().flatten().min())
    }

    /// Sends a request until it is answered, or no further try is allowed. `request` makes it anew for each try.
    ///
    /// Returns `None` if the question's time is up before the next try may begin. That is no failure: the gate has the
    /// same limit, and says what follows.
    ///
    /// # Errors
    /// The failure of the last try.
    pub(in crate::engines) async fn send(
        &self,
        request: impl Fn() -> Result<Request, Failure>,
    ) -> Option<Result<Reply, Failure>> {
        self.fetch(Patience::UNTIL_DECIDED, request).await
    }

    /// Like [`Exchange::send`], but each try waits only so long for the head of its answer.
    ///
    /// # Errors
    /// The failure of the last try.
    pub(in crate::engines) async fn send_within(
        &self,
        answer_time: Duration,
        request: impl Fn() -> Result<Request, Failure>,
    ) -> Option<Result<Reply, Failure>> {
        self.fetch(Patience::until_answered(answer_time), request)
            .await
    }

    /// Like [`Exchange::send`], within other limits for each try.
    ///
    /// # Errors
    /// The failure of the last try.
    pub(in crate::engines) async fn fetch(
        &self,
        patience: Patience,
        request: impl Fn() -> Result<Request, Failure>,
    ) -> Option<Result<Reply, Failure>> {
        let sent = self.poll(patience, request).await?;
        Some(sent.map_err(|undelivered| undelivered.failure))
    }

    /// Like [`Exchange::fetch`], for an engine that a status tells more.
    ///
    /// # Errors
    /// The failure of the last try, with the status of its answer.
    pub(in crate::engines) async fn poll(
        &self,
        patience: Patience,
        request: impl Fn() -> Result<Request, Failure>,
    ) -> Option<Result<Reply, Undelivered>> {
        self.tries(Repeat::Freely, patience, request).await
    }

    /// Like [`Exchange::send`], for a request that asks people: one that may have arrived is not sent again, because they
    /// would be asked twice.
    ///
    /// # Errors
    /// The failure of the last try, with the status of its answer.
    pub(in crate::engines) async fn send_once(
        &self,
        patience: Patience,
        request: impl Fn() -> Result<Request, Failure>,
    ) -> Option<Result<Reply, Undelivered>> {
        self.tries(Repeat::IfUntouched, patience, request).await
    }

    async fn tries(
        &self,
        repeat: Repeat,
        patience: Patience,
        request: impl Fn() -> Result<Request, Failure>,
    ) -> Option<Result<Reply, Undelivered>> {
        let mut further = 0;
        loop {
            let sent = match request() {
                Ok(request) => self.attempt(request, patience).await,
                Err(failure) => Err(Miss::last(failure)),
            };
            let miss = match sent {
                Ok(reply) => return Some(Ok(reply)),
                Err(miss) => miss,
            };
            let retry = &self.transport.retry;
            let may_repeat = match repeat {
                Repeat::Freely => true,
                Repeat::IfUntouched => !miss.may_have_arrived,
            };
            if !miss.is_retryable || !may_repeat || further >= retry.attempts {
                return Some(Err(Undelivered {
                    failure: after_tries(miss.failure, further),
                    status: miss.status,
                }));
            }
            further += 1;
            if !self.pause(further, miss.retry_after, &miss.failure).await {
                return None;
            }
        }
    }

    /// Waits until the further try with this number, from 1, may begin. Returns false if the question's time is up
    /// before: then it says why the last try failed. `asked` is how long the service asked to wait.
    pub(in crate::engines) async fn pause(
        &self,
        further: u32,
        asked: Option<Duration>,
        failure: &Failure,
    ) -> bool {
        // What the service asks for beats our own maximum.
        let retry = &self.transport.retry;
        let pause = asked.unwrap_or_else(|| backoff::pause(retry, further, jitter()));
        if !self.has_time_for(pause) {
            tracing::warn!(
                "the engine `{}` has no time for a further try: {}",
                self.engine.name(),
                after_tries(failure.clone(), further.saturating_sub(1)).why
            );
            return false;
        }
        sleep(pause).await;
        true
    }

    /// Sends a request once, and returns the status of the answer, whatever it is.
    ///
    /// # Errors
    /// If there is no answer.
    pub(in crate::engines) async fn probe(
        &self,
        request: impl Fn() -> Result<Request, Failure>,
    ) -> Result<StatusCode, Failure> {
        let request = request()?;
        let peer = origin(request.url());
        let client = self.runtime.client(request.url())?;
        match client.execute(request).await {
            Ok(response) => Ok(response.status()),
            Err(error) => Err(self.unreachable(&peer, error)),
        }
    }

    /// Sends a request once, and returns the answer, whatever its status. For answers that may be longer than others,
    /// and that the service may hold back.
    ///
    /// # Errors
    /// If there is no complete answer.
    pub(in crate::engines) async fn hear(
        &self,
        request: Request,
        answer_time: Duration,
        max_body: usize,
    ) -> Result<Heard, Failure> {
        let peer = origin(request.url());
        let client = self.runtime.client(request.url())?;
        let silent = |_| Failure::unreachable(format!("{peer} does not answer"));
        let response = timeout(answer_time, client.execute(request)).await;
        let response = response.map_err(silent)?;
        let response = response.map_err(|error| self.unreachable(&peer, error))?;
        let status = response.status();
        let body = timeout(BODY_TIME, body_of(response, max_body)).await;
        match body.map_err(silent)? {
            Ok(body) => Ok(Heard { status, body }),
            Err(BadBody::TooLong) => Err(too_long(&peer, max_body)),
            Err(BadBody::Broken(error)) => Err(self.unreachable(&peer, error)),
        }
    }

    /// Sends a request once, and returns the lines of the answer as they arrive. Each has at most `max_line` bytes.
    ///
    /// # Errors
    /// If there is no answer, or one with another status than 2xx.
    pub(in crate::engines) async fn subscribe(
        &self,
        request: Request,
        answer_time: Duration,
        max_line: usize,
    ) -> Result<Lines, Failure> {
        let peer = origin(request.url());
        let client = self.runtime.client(request.url())?;
        let response = timeout(answer_time, client.execute(request)).await;
        let response = response
            .map_err(|_| Failure::unreachable(format!("{peer} does not answer")))?
            .map_err(|error| self.unreachable(&peer, error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Lines::new(response, peer, max_line));
        }
        let is_redirect = response.headers().contains_key(LOCATION);
        // The body only helps to say what is wrong.
        let body = match timeout(BODY_TIME, body_of(response, MAX_BODY)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        Err(self.refused(&peer, status, is_redirect, &body))
    }

    fn unreachable(&self, peer: &str, error: reqwest::Error) -> Failure {
        let why = with_causes(&error.without_url());
        Failure::unreachable(
            self.scrub
                .clean(&format!("{peer} cannot be reached: {why}")),
        )
    }

    /// Returns true if the question's time is not up after a pause.
    fn has_time_for(&self, pause: Duration) -> bool {
        self.limit
            .is_none_or(|limit| self.clock.elapsed().saturating_add(pause) < limit)
    }

    async fn attempt(&self, request: Request, patience: Patience) -> Result<Reply, Miss> {
        let Patience {
            answer_time,
            max_body,
        } = patience;
        let peer = origin(request.url());
        let unreachable = |why: String| Miss {
            failure: Failure::unreachable(self.scrub.clean(&why)),
            is_retryable: true,
            may_have_arrived: true,
            status: None,
            retry_after: None,
        };
        let client = self.runtime.client(request.url()).map_err(Miss::last)?;
        let response = match timeout(answer_time, client.execute(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return Err(Miss {
                    may_have_arrived: !error.is_connect(),
                    failure: self.unreachable(&peer, error),
                    is_retryable: true,
                    status: None,
                    retry_after: None,
                });
            }
            Err(_) => return Err(unreachable(format!("{peer} does not answer"))),
        };
        let status = response.status();
        let headers = response.headers().clone();
        let location = text(&headers, &LOCATION);
        let wait = text(&headers, &RETRY_AFTER);
        let retry_after = wait.and_then(|wait| backoff::retry_after(&wait, unix_ms()));
        let body = timeout(BODY_TIME, body_of(response, max_body)).await;
        if !status.is_success() {
            // The body only helps to say what is wrong.
            let body = match body {
                Ok(Ok(body)) => body,
                Ok(Err(_)) | Err(_) => Vec::new(),
            };
            return Err(Miss {
                failure: self.refused(&peer, status, location.is_some(), &body),
                is_retryable: self.transport.retryable_statuses.contains(&status.as_u16()),
                // "Too Many Requests" and "Too Early" say that nothing was done (RFC 6585 section 4, RFC 8470 section 5.2).
                may_have_arrived: !matches!(
                    status,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::TOO_EARLY
                ),
                status: Some(status),
                retry_after: retry_after.or_else(|| retry_after_in(&body)),
            });
        }
        match body {
            Ok(Ok(body)) => Ok(Reply {
                status,
                location,
                retry_after,
                headers,
                body,
            }),
            Ok(Err(BadBody::TooLong)) => Err(Miss::last(too_long(&peer, max_body))),
            Ok(Err(BadBody::Broken(error))) => {
                let why = with_causes(&error.without_url());
                Err(unreachable(format!(
                    "the answer of {peer} broke off: {why}"
                )))
            }
            Err(_) => Err(unreachable(format!(
                "the answer of {peer} was not complete after {} s",
                BODY_TIME.as_secs()
            ))),
        }
    }

    /// Describes an answer with another status than 2xx.
    fn refused(&self, peer: &str, status: StatusCode, is_redirect: bool, body: &[u8]) -> Failure {
        let mut why = format!("{peer} answered {status}");
        if status.is_redirection() && is_redirect {
            why.push_str("; redirects are not followed, so configure the URL that it points to");
        }
        if let Some(quoted) = self.scrub.quote(body, &self.redaction) {
            why.push_str(": ");
            why.push_str(&quoted);
        }
        Failure {
            kind: kind_of(status),
            why,
        }
    }
}

impl Miss {
    /// A further try would not help.
    fn last(failure: Failure) -> Miss {
        Miss {
            failure,
            is_retryable: false,
            may_have_arrived: true,
            status: None,
            retry_after: None,
        }
    }
}

/// Returns what kind of failure a status is.
fn kind_of(status: StatusCode) -> FailureKind {
    match status {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED => FailureKind::Misconfigured,
        StatusCode::TOO_MANY_REQUESTS => FailureKind::RateLimited,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => FailureKind::Unreachable,
        status if status.is_server_error() => FailureKind::Unreachable,
        _ => FailureKind::Rejected,
    }
}

/// Adds how often it was tried.
pub(in crate::engines) fn after_tries(failure: Failure, further: u32) -> Failure {
    match further {
        0 => failure,
        _ => Failure {
            why: format!(
                "{} (after {} tries)",
                failure.why,
                further.saturating_add(1)
            ),
            ..failure
        },
    }
}

/// Why there is no body.
pub(in crate::engines) enum BadBody {
    TooLong,
    Broken(reqwest::Error),
}

fn too_long(peer: &str, max_body: usize) -> Failure {
    Failure {
        kind: FailureKind::Rejected,
        why: format!("the answer of {peer} is longer than {max_body} bytes"),
    }
}

/// Returns how long a body asks to wait. Telegram says it there, whether or not it sends the header
/// (<https://core.telegram.org/bots/api#responseparameters>).
pub(in crate::engines) fn retry_after_in(body: &[u8]) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Body {
        parameters: Parameters,
    }
    #[derive(Deserialize)]
    struct Parameters {
        retry_after: u64,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    backoff::retry_after(&body.parameters.retry_after.to_string(), 0)
}

/// Reads the body of an answer, of at most so many bytes.
///
/// # Errors
/// If it is longer, or breaks off.
pub(in crate::engines) async fn body_of(
    mut response: Response,
    max_body: usize,
) -> Result<Vec<u8>, BadBody> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BadBody::Broken)? {
        if body.len() + chunk.len() > max_body {
            return Err(BadBody::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Returns a header's value if it occurs once and is text.
pub(in crate::engines) fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then(|| first.to_owned())
}

/// Returns how texts refer to a service. The rest of its URL may contain a token.
pub(in crate::engines) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Returns the URL that a `Location` refers to, if that has the same origin and no credentials.
pub(in crate::engines) fn join_same_origin(base: &Url, location: &str) -> Option<Url> {
    let mut url = base.join(location).ok()?;
    url.set_fragment(None);
    let is_same = url.origin() == base.origin() && url.origin().is_tuple();
    (is_same && url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// Returns a random number from 0 to 1.
pub(in crate::engines) fn jitter() -> f64 {
    // Without randomness, the pause is merely the same for all.
    let seed = random_seed().map_or(u8::MAX, |seed| seed.first().copied().unwrap_or(u8::MAX));
    f64::from(seed) / f64::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_say_how_long_to_wait() {
        let seconds = |body: &str| retry_after_in(body.as_bytes()).map(|wait| wait.as_secs());
        let limited = r#"{"ok":false,"parameters":{"retry_after":7}}"#;
        assert_eq!(seconds(limited), Some(7));
        let forever = r#"{"parameters":{"retry_after":18446744073709551615}}"#;
        assert_eq!(seconds(forever), Some(3600));
        for other in ["", "<html>", "{}", r#"{"parameters":{"retry_after":-1}}"#] {
            assert_eq!(seconds(other), None, "{other}");
        }
    }

    #[test]
    fn a_location_is_followed_only_on_the_same_origin() {
        let base = Url::parse("https://hooks.example:8443/ask/here").unwrap();
        let joined = |location| join_same_origin(&base, location).map(String::from);
        for (location, url) in [
            ("/status/1", "https://hooks.example:8443/status/1"),
            ("2?x=1#part", "https://hooks.example:8443/ask/2?x=1"),
            (
                "https://HOOKS.example:8443/3",
                "https://hooks.example:8443/3",
            ),
            ("//hooks.example:8443/4", "https://hooks.example:8443/4"),
        ] {
            assert_eq!(joined(location).as_deref(), Some(url), "{location}");
        }
        for elsewhere in [
            "http://hooks.example:8443/",
            "https://hooks.example/",
            "https://hooks.example.evil.example:8443/",
            "//evil.example/x",
            "\\\\evil.example\\x",
            "https://a@hooks.example:8443/",
            "https://:b@hooks.example:8443/",
            "data:text/plain,x",
            "file:///etc/passwd",
            "https://",
        ] {
            assert_eq!(joined(elsewhere), None, "{elsewhere}");
        }
    }
}
