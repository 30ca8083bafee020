//! `webhook`: a service that gets the approval request in a POST, and answers at once, when it is polled, or with a
//! callback.
//!
//! docs/engines/webhook.md describes the formats. `carried` keeps what is open; the page receives callbacks.

mod carried;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT,
};
use reqwest::{Method, Request, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use self::carried::Carried;
use super::callback::{BadCallback, Callback, CallbackAnswer, Delivery};
use super::courier::{Answer, CarriedVerdict, Courier, CourierContext, CourierSettings, Ending};
use super::disclosure::Disclosure;
use super::http::{
    Exchange, PlainHttp, Reply, Scrub, TransportSettings, check_url, join_same_origin, origin,
    read_headers,
};
use super::registry::{BadOptions, EngineOption, Registration};
use super::request::{self, Possible};
use super::standard_webhooks::{ID, SIGNATURE, SigningKey, TIMESTAMP};
use crate::approval::item::{Assurance, Choice, Item, read_approver};
use crate::approval::render::Show;
use crate::evidence::redact::Redaction;
use crate::gate::{EngineId, Failure, FailureKind};
use crate::sys::clock::unix_ms;

/// The entry in the registry. Anybody who controls the service can answer, so the level is that of a shared secret.
pub(super) const REGISTRATION: Registration = Registration::new(
    EngineId::new("webhook"),
    Assurance::SharedSecret,
    &[
        EngineOption::required("url"),
        EngineOption::optional("headers")
            .with_schema(|| json!({"type": "object", "additionalProperties": {"type": "string"}})),
        EngineOption::optional("secret").secret(),
        EngineOption::optional("approver"),
    ],
    read,
);

/// The pauses between two polls, if the service does not say how long to wait: each is half as long again as the one
/// before.
const FIRST_POLL: Duration = Duration::from_millis(500);
const SLOWEST_POLL: Duration = Duration::from_secs(10);
/// The shortest pause that a service can ask for.
const FASTEST_POLL: Duration = Duration::from_millis(250);

/// The options from the configuration, as they are written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    url: String,
    #[serde(default)]
    headers: Map<String, Value>,
    secret: Option<String>,
    approver: Option<String>,
}

/// The options, checked.
#[derive(Clone)]
struct WebhookSettings {
    url: Url,
    /// Sent with every request.
    headers: reqwest::header::HeaderMap,
    key: Option<SigningKey>,
    /// The name that records carry: `webhook:NAME`.
    approver: String,
    scrub: Arc<Scrub>,
    /// What the courier carries. The callback needs it, too.
    carried: Arc<Carried>,
}

fn read(
    name: EngineId,
    options: &Map<String, Value>,
    transport: &TransportSettings,
) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    let Options {
        url,
        headers,
        secret,
        approver,
    } = read_options(options)?;
    let plain = match secret {
        Some(_) => PlainHttp::IfAllowed,
        None => PlainHttp::Unsigned("`secret`"),
    };
    let url = check_url("url", &url, transport, plain)?;
    let mut scrub = Scrub::default();
    for part in url.path().split('/').chain([url.path()]) {
        // Shorter parts are words such as `hooks`.
        if part.len() >= SHORTEST_TOKEN {
            scrub.add(part);
        }
    }
    for (name, value) in url.query_pairs() {
        scrub.add_named(&name, &value);
    }
    let mut all = reqwest::header::HeaderMap::new();
    for (name, value) in [
        (
            USER_AGENT,
            concat!("approval-proxy/", env!("CARGO_PKG_VERSION")),
        ),
        (ACCEPT, "application/json"),
        (ACCEPT_ENCODING, "identity"),
    ] {
        all.insert(name, HeaderValue::from_static(value));
    }
    if let Some(token) = &transport.auth_token {
        let bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()));
        let mut bearer = bearer.map_err(|_| {
            BadOptions("`approvalAuthToken` has characters that no header can have".to_owned())
        })?;
        bearer.set_sensitive(true);
        all.insert(AUTHORIZATION, bearer);
        scrub.add(token.expose());
    }
    all.extend(read_headers("headers", &headers)?);
    for (name, value) in &headers {
        let value = value.as_str().unwrap_or_default();
        scrub.add_named(name, value);
        // Services also repeat only the credential, without the scheme before it.
        if let Some((_, credential)) = value.split_once(' ') {
            scrub.add_named(name, credential.trim());
        }
    }
    let key = match &secret {
        Some(secret) => {
            scrub.add(secret);
            scrub.add(secret.trim_start_matches("whsec_"));
            let key = SigningKey::read(secret);
            Some(key.map_err(|bad| BadOptions(format!("`secret` {bad}")))?)
        }
        None => None,
    };
    Ok(Some(Arc::new(WebhookSettings {
        url,
        headers: all,
        key,
        approver: approver_of("webhook", name, approver.as_deref())?,
        scrub: Arc::new(scrub),
        carried: Arc::default(),
    })))
}

/// A part of a URL's path that is as long may be a token.
const SHORTEST_TOKEN: usize = 12;

fn read_options(options: &Map<String, Value>) -> Result<Options, BadOptions> {
    for (key, value) in options {
        let is_right = match &**key {
            "url" | "secret" | "approver" => value.is_string(),
            "headers" => value.is_object(),
            _ => true,
        };
        // Serde's message would quote the value.
        if !is_right {
            let wanted = if key == "headers" {
                "an object"
            } else {
                "a string"
            };
            return Err(BadOptions(format!("`{key}` must be {wanted}")));
        }
    }
    Options::deserialize(Value::Object(options.clone()))
        .map_err(|error| BadOptions(error.to_string()))
}

/// Returns the name that records carry: `TYPE:NAME`.
///
/// # Errors
/// If it cannot be the name of an approver.
pub(super) fn approver_of(
    kind: &str,
    engine: EngineId,
    approver: Option<&str>,
) -> Result<String, BadOptions> {
    let name = approver.map_or(engine.name(), str::trim);
    let read = read_approver(&format!("{kind}:{name}"));
    match name.is_empty() {
        true => Err(BadOptions("`approver` is empty".to_owned())),
        false => read.map_err(|bad| BadOptions(format!("`approver` is not usable: {bad}"))),
    }
}

impl fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest of the URL may contain a token.
        f.debug_struct("WebhookSettings")
            .field("origin", &origin(&self.url))
            .field("is_signed", &self.key.is_some())
            .field("approver", &self.approver)
            .finish_non_exhaustive()
    }
}

impl CourierSettings for WebhookSettings {
    fn courier(&self, context: &CourierContext) -> Box<dyn Courier> {
        Box::new(WebhookCourier {
            settings: Arc::new(self.clone()),
            context: context.clone(),
        })
    }

    fn needs_page(&self, context: &CourierContext) -> bool {
        self.key.is_some() || context.show != Show::Full
    }

    fn callback(&self, context: &CourierContext) -> Option<Arc<dyn Callback>> {
        let key = self.key.clone()?;
        Some(Arc::new(WebhookCallback {
            key,
            approver: self.approver.clone(),
            scrub: Arc::clone(&self.scrub),
            carried: Arc::clone(&self.carried),
            show: context.show,
            redaction: context.redaction.clone(),
        }))
    }

    fn test(&self, context: &CourierContext, deadline: Duration) -> Result<String, Failure> {
        let peer = origin(&self.url);
        let exchange = self.exchange(context, None, deadline);
        let settings = self.clone();
        let id = format!("test_{}", unix_ms());
        let seen = context.runtime.wait(deadline, async move {
            let head = || settings.request(Method::HEAD, &settings.url, &id, &Bytes::new());
            exchange.probe(head).await
        })??;
        match seen {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure {
                kind: FailureKind::Misconfigured,
                why: format!("{peer} answered {seen}; check `headers` and `approvalAuthToken`"),
            }),
            seen if seen.is_server_error() && seen != StatusCode::NOT_IMPLEMENTED => {
                Err(Failure::unreachable(format!("{peer} answered {seen}")))
            }
            seen => Ok(format!(
                "{peer} answers ({} to HEAD); only a question can show whether it accepts one",
                seen.as_u16()
            )),
        }
    }
}

impl WebhookSettings {
    /// Returns what sends requests about one question.
    fn exchange(
        &self,
        context: &CourierContext,
        item: Option<&Item>,
        longest: Duration,
    ) -> Exchange {
        Exchange::about(item, context, &self.scrub, longest)
    }

    /// Makes a request, signed if there is a secret. `id` stays the same for each try.
    fn request(
        &self,
        method: Method,
        url: &Url,
        id: &str,
        body: &Bytes,
    ) -> Result<Request, Failure> {
        let mut request = Request::new(method, url.clone());
        let headers = request.headers_mut();
        *headers = self.headers.clone();
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(key) = &self.key {
            let now_s = unix_ms() / 1_000;
            let signed = [
                (ID, id.to_owned()),
                (TIMESTAMP, now_s.to_string()),
                (SIGNATURE, key.sign(id, now_s, body)),
            ];
            for (name, value) in signed {
                // Cannot fail: all of them are printable ASCII.
                let value = HeaderValue::try_from(value).map_err(|error| Failure {
                    kind: FailureKind::Misconfigured,
                    why: error.to_string(),
                })?;
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if !body.is_empty() {
            *request.body_mut() = Some(body.clone().into());
        }
        Ok(request)
    }
}

/// Sends the questions, and waits for the answers.
struct WebhookCourier {
    settings: Arc<WebhookSettings>,
    context: CourierContext,
}

/// How long the retries of one question may go on, if it has no limit of its own.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Courier for WebhookCourier {
    fn carry(&mut self, item: &Item, answer: Answer) {
        let carried = &self.settings.carried;
        if let Err((answer, failure)) = carried.insert(item, answer) {
            return answer.send(Err(failure));
        }
        let question = Question {
            settings: Arc::clone(&self.settings),
            exchange: self.settings.exchange(&self.context, Some(item), LONGEST),
            context: self.context.clone(),
        };
        let (id, item) = (item.id.clone(), item.clone());
        let work = async move {
            let id = item.id.clone();
            if let Some(result) = question.ask(item).await {
                question.settings.carried.settle(&id, result);
            }
        };
        match self.context.runtime.spawn(work) {
            Ok(task) => carried.runs(&id, task),
            Err(failure) => carried.settle(&id, Err(failure)),
        }
    }

    fn withdraw(&mut self, item: &str, _: &Ending) {
        self.settings.carried.withdraw(item);
    }
}

impl Drop for WebhookCourier {
    fn drop(&mut self) {
        self.settings.carried.clear();
    }
}

/// One question on its way.
struct Question {
    settings: Arc<WebhookSettings>,
    context: CourierContext,
    exchange: Exchange,
}

impl Question {
    /// Sends the item and waits for the verdict. Returns `None` if a callback may still bring it, or if the time is up.
    async fn ask(&self, item: Item) -> Option<Result<CarriedVerdict, Failure>> {
        let (id, body, possible) = match self.document(item).await {
            Ok(document) => document,
            Err(failure) => return Some(Err(failure)),
        };
        let settings = &self.settings;
        let message = format!("msg_{id}");
        let post = || settings.request(Method::POST, &settings.url, &message, &body);
        let sent = self.exchange.send(post).await;
        drop(body);
        settings.carried.is_sent(&id);
        let mut reply = match sent? {
            Ok(reply) => reply,
            Err(failure) => return Some(Err(failure)),
        };
        let mut polled = None;
        let mut pause = FIRST_POLL;
        loop {
            if reply.status != StatusCode::ACCEPTED {
                let WebhookSettings {
                    approver, scrub, ..
                } = &**settings;
                let verdict = request::verdict(&reply.body, approver, &possible, scrub);
                return Some(verdict.map_err(|failure| self.with_peer(failure)));
            }
            let url = match self.next_poll(polled, &reply) {
                Ok(Some(url)) => url,
                Ok(None) => return None,
                Err(failure) => return Some(Err(failure)),
            };
            sleep(reply.retry_after.unwrap_or(pause).max(FASTEST_POLL)).await;
            pause = (pause * 3 / 2).min(SLOWEST_POLL);
            let get = || settings.request(Method::GET, &url, &message, &Bytes::new());
            reply = match self.exchange.send(get).await? {
                Ok(reply) => reply,
                Err(failure) => return Some(Err(failure)),
            };
            polled = Some(url);
        }
    }

    /// Writes the item. Returns its id, the body, and what the answer can be.
    async fn document(&self, item: Item) -> Result<(String, Bytes, Possible), Failure> {
        let rejected = |error: &dyn fmt::Display| Failure {
            kind: FailureKind::Rejected,
            why: format!("the request cannot be written: {error}"),
        };
        let (show, redaction) = (self.context.show, &self.context.redaction);
        let disclosure = Disclosure::new(&item, show, redaction)
            .map_err(|error| rejected(&error))?
            .with_forms();
        let is_approvable = disclosure.is_approvable();
        let page = match is_approvable {
            true => self.context.page.of(&item.id),
            false => self.context.page.soon(&item.id).await,
        };
        let json = request::to_json(&disclosure, page.as_deref());
        let json = json.map_err(|error| rejected(&error))?;
        drop(disclosure);
        let possible = Possible {
            is_approvable,
            form: item.form,
        };
        Ok((item.id, json.into(), possible))
    }

    /// Returns the URL to poll after a 202; `None` if a callback will bring the verdict. `polled` is what was polled
    /// before; it may be the URL of the question.
    fn next_poll(&self, polled: Option<Url>, reply: &Reply) -> Result<Option<Url>, Failure> {
        let rejected = |why: &str| {
            self.with_peer(Failure {
                kind: FailureKind::Rejected,
                why: why.to_owned(),
            })
        };
        match (&reply.location, polled) {
            (Some(location), polled) => {
                let base = polled.as_ref().unwrap_or(&self.settings.url);
                join_same_origin(base, location).map(Some).ok_or_else(|| {
                    rejected(
                        "the `Location` of its answer is at another origin, so it is not polled",
                    )
                })
            }
            // Polled again where it is.
            (None, Some(polled)) => Ok(Some(polled)),
            (None, None) if self.settings.key.is_some() => Ok(None),
            (None, None) => Err(rejected(
                "it answered 202 without a `Location`; only with a `secret` can it answer with a callback",
            )),
        }
    }

    fn with_peer(&self, failure: Failure) -> Failure {
        Failure {
            why: format!("{}: {}", origin(&self.settings.url), failure.why),
            ..failure
        }
    }
}

/// Checks callbacks.
#[derive(Debug)]
struct WebhookCallback {
    key: SigningKey,
    approver: String,
    scrub: Arc<Scrub>,
    carried: Arc<Carried>,
    show: Show,
    redaction: Redaction,
}

/// What a callback has beside the answer.
#[derive(Deserialize)]
struct Subject {
    id: String,
    fingerprint: String,
}

impl Callback for WebhookCallback {
    fn read(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now_ms: i64,
    ) -> Result<CallbackAnswer, BadCallback> {
        let header = |name| {
            let mut all = headers.get_all(name).iter();
            let first = all.next()?.to_str().ok()?;
            all.next().is_none().then_some(first)
        };
        let signed = [header(ID), header(TIMESTAMP), header(SIGNATURE)];
        let signed = self.key.verify(signed, body, now_ms / 1_000);
        let signed = signed.map_err(|bad| BadCallback::Unauthenticated(bad.as_str()))?;
        if self.carried.has_counted(&signed.id) {
            return Err(BadCallback::Replayed);
        }
        let verdict = request::read_answer(body, &self.approver, &self.scrub)
            .map_err(|bad| BadCallback::Malformed(bad.as_str()))?;
        // `read_answer` has checked that no key is there twice.
        let Subject { id, fingerprint } = serde_json::from_slice(body).map_err(|_| {
            BadCallback::Malformed(
                "`id` and `fingerprint` of the request must be there, as strings",
            )
        })?;
        Ok(CallbackAnswer {
            message: signed.id,
            item: id,
            fingerprint,
            verdict,
            sent_s: signed.timestamp,
        })
    }

    fn deliver(&self, answer: &CallbackAnswer, item: &Item) -> Delivery {
        let is_approvable = || {
            Disclosure::new(item, self.show, &self.redaction)
                .is_ok_and(|disclosure| disclosure.with_forms().is_approvable())
        };
        if answer.verdict.choice == Choice::Approve && !is_approvable() {
            return Delivery::Refused(request::NOT_SHOWN);
        }
        self.carried
            .deliver(&answer.item, &answer.fingerprint, answer.verdict.clone())
    }

    fn has_counted(&self, answer: &CallbackAnswer) {
        self.carried.count(&answer.message, answer.sent_s);
    }
}
