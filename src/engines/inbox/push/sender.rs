//! Sends notices to the push services of subscribed devices: RFC 8030, section 5.
//!
//! The caller knows the devices and which items wait. A notice is a courtesy: if it cannot be sent, the item still waits
//! on the page.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue,
    LOCATION, RETRY_AFTER, USER_AGENT,
};
use reqwest::{Client, ClientBuilder, Method, Request, Response, StatusCode};
use tokio::time::{sleep, timeout};

use super::addresses::Addresses;
use super::encrypt::{self, encrypt};
use super::notice::Notice;
use super::queue::{Queue, Waiting};
use super::subscription::Subscription;
use super::vapid::ApplicationServerKey;
use crate::engines::HttpRuntime;
use crate::engines::http::{
    BODY_TIME, CONNECT_TIME, Scrub, Task, backoff, body_of, client_builder, jitter, origin, text,
};
use crate::engines::inbox::remote::PageUrl;
use crate::evidence::redact::Redaction;
use crate::gate::Retry;
use crate::sys::clock::{Clock, unix_ms};
use crate::sys::with_causes;

/// The most devices for which notices wait at once.
const MAX_DEVICES: usize = 64;
/// How long a push service may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes. It only helps to say what is wrong.
const MAX_ANSWER: usize = 4096;

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");
const AGENT: &str = concat!("approval-proxy/", env!("CARGO_PKG_VERSION"));

/// Hears that a device's subscription is gone, so that the caller forgets it unless the device has a newer one. Called
/// on the thread that sends, so it must not block.
pub type Forget = Box<dyn Fn(&str, &Subscription) + Send + Sync>;

/// Sends notices. Dropping it cancels all that is on its way.
#[derive(Debug)]
pub struct Sender(Arc<Shared>);

struct Shared {
    runtime: Arc<HttpRuntime>,
    key: ApplicationServerKey,
    /// The contact in our tokens (RFC 8292, section 2.1).
    page: PageUrl,
    retry: Retry,
    forget: Forget,
    addresses: Addresses,
    client: OnceLock<Result<Client, String>>,
    /// Changes the client in tests.
    adapt: fn(ClientBuilder) -> ClientBuilder,
    clock: Clock,
    /// Those for which something waits, by the caller's names.
    devices: Mutex<BTreeMap<String, Device>>,
}

struct Device {
    /// The newest. A device may subscribe again while notices wait.
    subscription: Arc<Subscription>,
    queue: Queue,
    /// Sends what waits, one after the other, and then removes the device.
    task: Option<Task>,
}

/// What became of one try.
enum Outcome {
    Accepted,
    /// The subscription has ended.
    Gone,
    /// Trying again would not help.
    Refused(String),
    /// Trying again may help, after this pause if the push service has named one.
    Failed {
        why: String,
        retry_after: Option<Duration>,
    },
}

impl Sender {
    /// Creates a sender with our key, for the page at this `https:` URL. Nothing starts before the first notice.
    ///
    /// `retry` says how often and after which pauses a failed try is repeated. `forget` hears of subscriptions that are
    /// gone.
    #[must_use]
    pub fn new(
        runtime: Arc<HttpRuntime>,
        key: ApplicationServerKey,
        page: PageUrl,
        retry: Retry,
        forget: Forget,
    ) -> Sender {
        let addresses = Addresses::public();
        Sender::with_addresses(runtime, key, page, retry, forget, addresses, |builder| {
            builder
        })
    }

    /// Like [`Sender::new`], with a way to a push service that only tests have.
    pub(super) fn with_addresses(
        runtime: Arc<HttpRuntime>,
        key: ApplicationServerKey,
        page: PageUrl,
        retry: Retry,
        forget: Forget,
        addresses: Addresses,
        adapt: fn(ClientBuilder) -> ClientBuilder,
    ) -> Sender {
        Sender(Arc::new(Shared {
            runtime,
            key,
            page,
            retry,
            forget,
            addresses,
            client: OnceLock::new(),
            adapt,
            clock: Clock::start(),
            devices: Mutex::default(),
        }))
    }

    /// Returns our public key, with which user agents subscribe.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.0.key.public_key()
    }

    /// Sends a notice to a device, after those that already wait for it. Replaces one about the same item.
    ///
    /// Returns at once. What goes wrong is logged.
    pub fn send(&self, device: &str, subscription: &Subscription, notice: Notice) {
        let (shared, notice) = (&self.0, Arc::new(notice));
        let now = shared.clock.elapsed();
        let mut devices = shared.devices();
        if let Some(known) = devices.get_mut(device) {
            if *known.subscription != *subscription {
                known.subscription = Arc::new(subscription.clone());
            }
            return known.queue.push(notice, now);
        }
        if devices.len() >= MAX_DEVICES {
            tracing::warn!("a push message is not sent: {MAX_DEVICES} devices have some waiting");
            return;
        }
        let mut queue = Queue::default();
        queue.push(notice, now);
        let work = Arc::clone(shared).deliver(device.to_owned());
        // The task waits for the lock that is held here.
        match shared.runtime.spawn(work) {
            Ok(task) => {
                let new = Device {
                    subscription: Arc::new(subscription.clone()),
                    queue,
                    task: Some(task),
                };
                devices.insert(device.to_owned(), new);
            }
            Err(failure) => tracing::warn!("a push message is not sent: {}", failure.why),
        }
    }

    /// Drops notices about an item that no longer waits. One that a push service has may still be shown; it leads to the
    /// item's page, which says how the item ended.
    pub fn withdraw(&self, item: &str) {
        for device in self.0.devices().values_mut() {
            device.queue.withdraw(item);
        }
    }

    /// Drops all that waits for a device, and cancels what is on its way.
    pub fn forget(&self, device: &str) {
        self.0.devices().remove(device);
    }

    /// Returns true if nothing waits.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.0.devices().is_empty()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.devices().clear();
    }
}

impl Shared {
    fn devices(&self) -> MutexGuard<'_, BTreeMap<String, Device>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits for a device, until nothing does.
    async fn deliver(self: Arc<Shared>, device: String) {
        while let Some((subscription, waiting)) = self.next(&device) {
            let outcome = self.push(&subscription, &waiting).await;
            if let Some(pause) = self.settle(&device, &subscription, &waiting, outcome) {
                sleep(pause).await;
            }
        }
    }

    /// Returns what to send next. Removes the device if nothing waits for it.
    fn next(&self, device: &str) -> Option<(Arc<Subscription>, Waiting)> {
        let now = self.clock.elapsed();
        let mut devices = self.devices();
        let known = devices.get_mut(device)?;
        let Some(first) = known.queue.first(now) else {
            // This task ends by itself. Aborting it would be harmless, too.
            if let Some(task) = devices.remove(device).and_then(|known| known.task) {
                task.detach();
            }
            return None;
        };
        Some((Arc::clone(&known.subscription), first))
    }

    /// Draws the consequences of a try. Returns how long to wait before the next one.
    fn settle(
        &self,
        device: &str,
        subscription: &Arc<Subscription>,
        waiting: &Waiting,
        outcome: Outcome,
    ) -> Option<Duration> {
        let mut devices = self.devices();
        let known = devices.get_mut(device)?;
        match outcome {
            Outcome::Accepted => {
                known.queue.done(waiting.number);
                None
            }
            Outcome::Refused(why) => {
                known.queue.done(waiting.number);
                tracing::warn!("a push message was not taken: {why}");
                None
            }
            Outcome::Gone => {
                // What waits may be for a newer subscription.
                if Arc::ptr_eq(&known.subscription, subscription) {
                    known.queue = Queue::default();
                }
                drop(devices);
                tracing::info!(
                    "{} has ended the push subscription of a device",
                    origin(subscription.endpoint())
                );
                (self.forget)(device, subscription);
                None
            }
            Outcome::Failed { why, retry_after } => {
                let failures = known.queue.failed(waiting.number)?;
                if failures <= self.retry.attempts {
                    let pause = || backoff::pause(&self.retry, failures, jitter());
                    return Some(retry_after.unwrap_or_else(pause));
                }
                known.queue.done(waiting.number);
                tracing::warn!("a push message was not taken: {why} (after {failures} tries)");
                // Asked of us for whatever comes next, too.
                retry_after
            }
        }
    }

    /// Sends a notice once.
    async fn push(&self, subscription: &Subscription, waiting: &Waiting) -> Outcome {
        let left = waiting.until.saturating_sub(self.clock.elapsed());
        let request = match self.request(subscription, &waiting.notice, left) {
            Ok(request) => request,
            Err(why) => return Outcome::Refused(why),
        };
        let client = match self.client() {
            Ok(client) => client,
            Err(why) => return Outcome::Refused(why),
        };
        let peer = origin(subscription.endpoint());
        let failed = |why| Outcome::Failed {
            why,
            retry_after: None,
        };
        match timeout(ANSWER_TIME, client.execute(request)).await {
            Ok(Ok(response)) => outcome(&peer, subscription, response).await,
            Ok(Err(error)) => failed(format!(
                "{peer} cannot be reached: {}",
                with_causes(&error.without_url())
            )),
            Err(_) => failed(format!("{peer} does not answer")),
        }
    }

    /// Returns the request for a push message (RFC 8030, section 5).
    fn request(
        &self,
        subscription: &Subscription,
        notice: &Notice,
        left: Duration,
    ) -> Result<Request, String> {
        let endpoint = subscription.endpoint();
        if !self.addresses.allow(endpoint) {
            return Err("its endpoint is not on the public Internet".to_owned());
        }
        let body = encrypt(subscription, &notice.message()).map_err(|error| error.to_string())?;
        let authorization = self
            .key
            .authorization(endpoint, &self.page.address(), unix_ms())
            .map_err(|error| error.to_string())?;
        let topic = HeaderValue::try_from(notice.topic()).map_err(|error| error.to_string())?;
        let mut request = Request::new(Method::POST, endpoint.clone());
        *request.body_mut() = Some(body.into());
        request.headers_mut().extend([
            (AUTHORIZATION, authorization),
            (TTL, HeaderValue::from(left.as_secs())),
            (URGENCY, HeaderValue::from_static(notice.urgency().as_str())),
            (TOPIC, topic),
            (
                CONTENT_ENCODING,
                HeaderValue::from_static(encrypt::CONTENT_ENCODING),
            ),
            (
                CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            ),
            (USER_AGENT, HeaderValue::from_static(AGENT)),
            (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        ]);
        Ok(request)
    }

    fn client(&self) -> Result<Client, String> {
        let build = || {
            let builder = client_builder(CONNECT_TIME)
                .https_only(true)
                // The proxy would look the name up, and connect to wherever it leads.
                .no_proxy()
                .dns_resolver(Arc::new(self.addresses.clone()));
            (self.adapt)(builder).build().map_err(|error| {
                format!(
                    "cannot set up HTTPS; check the system's CA certificates: {}",
                    with_causes(&error)
                )
            })
        };
        self.client.get_or_init(build).clone()
    }
}

/// Reads the answer of a push service.
async fn outcome(peer: &str, subscription: &Subscription, response: Response) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Accepted;
    }
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        return Outcome::Gone;
    }
    let retry_after = text(response.headers(), &RETRY_AFTER);
    let retry_after = retry_after.and_then(|wait| backoff::retry_after(&wait, unix_ms()));
    let is_redirect = status.is_redirection() && response.headers().contains_key(LOCATION);
    let mut why = format!("{peer} answered {status}");
    if is_redirect {
        why.push_str("; redirects are not followed");
    }
    if let Ok(Ok(body)) = timeout(BODY_TIME, body_of(response, MAX_ANSWER)).await {
        let mut scrub = Scrub::default();
        scrub.add(subscription.endpoint().path());
        if let Some(quoted) = scrub.quote(&body, &Redaction::default()) {
            why.push_str(": ");
            why.push_str(&quoted);
        }
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS => Outcome::Failed { why, retry_after },
        status if status.is_server_error() => Outcome::Failed { why, retry_after },
        _ => Outcome::Refused(why),
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("key", &self.key)
            .field("page", &self.page)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use axum::http;

    use super::*;
    use crate::engines::for_test::item;
    use crate::engines::inbox::push::tests::user_agent::subscription;
    use crate::sys::state_dir::for_test;

    async fn outcome_of(status: u16, retry_after: &str, body: &str) -> Outcome {
        let response = http::Response::builder().status(status);
        let response = response.header("retry-after", retry_after);
        let response = response.body(body.to_owned()).unwrap();
        let subscription = subscription("https://push.example/secret-part");
        outcome("https://push.example", &subscription, response.into()).await
    }

    #[tokio::test]
    async fn the_push_service_says_when_to_try_again() {
        for status in [429, 500, 502, 503, 507] {
            let Outcome::Failed { retry_after, .. } = outcome_of(status, "90", "").await else {
                panic!("{status}");
            };
            assert_eq!(retry_after, Some(Duration::from_secs(90)), "{status}");
        }
        // At most an hour.
        let Outcome::Failed { retry_after, .. } = outcome_of(503, "999999", "").await else {
            panic!();
        };
        assert_eq!(retry_after, Some(Duration::from_secs(3600)));
    }

    #[tokio::test]
    async fn a_refusal_quotes_the_push_service_but_not_the_endpoint() {
        let body = "no \n/secret-part is not yours";
        let Outcome::Refused(why) = outcome_of(403, "", body).await else {
            panic!();
        };
        assert!(why.contains("https://push.example answered 403"), "{why}");
        assert!(why.contains("is not yours"), "{why}");
        assert!(!why.contains("secret-part") && !why.contains('\n'), "{why}");
        let long = "x".repeat(MAX_ANSWER + 1);
        let Outcome::Refused(why) = outcome_of(413, "", &long).await else {
            panic!();
        };
        assert!(why.len() < 200, "{why}");
    }

    #[test]
    fn pauses_are_as_long_as_asked_for_and_otherwise_grow() {
        let (_dir, state) = for_test();
        let retry = Retry {
            attempts: 2,
            initial_backoff: Duration::from_secs(2),
            ..Retry::default()
        };
        let runtime = Arc::default();
        let key = ApplicationServerKey::load(&state).unwrap();
        let page = PageUrl::read("https://phone.example").unwrap();
        let sender = Sender::new(runtime, key, page, retry, Box::new(|_, _| {}));
        let shared = &sender.0;
        let subscription = Arc::new(subscription("https://push.example/1"));
        let mut queue = Queue::default();
        for id in ["a1", "b2"] {
            queue.push(Arc::new(Notice::about(&item(id), 0)), Duration::ZERO);
        }
        let device = Device {
            subscription: Arc::clone(&subscription),
            queue,
            task: None,
        };
        shared.devices().insert("phone".to_owned(), device);
        let fails = |waiting: &Waiting, seconds: Option<u64>| {
            let retry_after = seconds.map(Duration::from_secs);
            let why = String::new();
            let failed = Outcome::Failed { why, retry_after };
            shared.settle("phone", &subscription, waiting, failed)
        };
        let (_, first) = shared.next("phone").unwrap();
        let pause = fails(&first, None).unwrap();
        assert!((1..=2).contains(&pause.as_secs()), "{pause:?}");
        assert_eq!(fails(&first, Some(90)), Some(Duration::from_secs(90)));
        // The last try. The next notice waits as well.
        assert_eq!(fails(&first, Some(70)), Some(Duration::from_secs(70)));
        let (_, second) = shared.next("phone").unwrap();
        assert_ne!(first.number, second.number);
        // One that was withdrawn meanwhile.
        sender.withdraw(second.notice.item());
        assert_eq!(fails(&second, None), None);
        assert!(shared.next("phone").is_none());
        assert!(sender.is_idle());
    }
}
