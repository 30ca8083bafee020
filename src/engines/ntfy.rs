//! `ntfy`: a push message for each question, through ntfy.sh or a server of your own.
//!
//! Anybody who knows a topic's name may read and write it, so a message decides nothing by default: it leads to the
//! item's page. With `replyTopic` it gets buttons with codes that count once. docs/engines/ntfy.md describes how to set
//! it up. `message` writes the messages, `replies` reads what the buttons post, and `carried` knows the codes.

mod carried;
mod message;
mod replies;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT,
};
use reqwest::{Method, Request, Url};
use serde_json::{Map, Value};
use tokio::time::timeout;

use self::carried::{Carried, Codes, Reading};
use self::message::Text;
use super::courier::{Answer, Courier, CourierContext, CourierSettings, Ending};
use super::disclosure::Disclosure;
use super::http::{Exchange, PlainHttp, Scrub, TransportSettings, check_url, origin};
use super::registry::{BadOptions, EngineOption, Registration, for_courier, text};
use super::webhook::approver_of;
use crate::approval::item::{Assurance, Item};
use crate::gate::{EngineId, Failure, FailureKind};
use crate::sys::clock::unix_ms;

/// The entry in the registry. Everybody who reads the topic holds the codes, so the level is that of a shared secret.
pub(super) const REGISTRATION: Registration = Registration::new(
    EngineId::new("ntfy"),
    Assurance::SharedSecret,
    &[
        EngineOption::required("url"),
        EngineOption::optional("token").secret(),
        EngineOption::optional("replyTopic"),
    ],
    read,
);

/// The longest `url`, in bytes. It is in each button, and a server takes only so much.
const MAX_URL: usize = 256;
/// The longest name of a topic (<https://docs.ntfy.sh/publish/#limitations>).
const MAX_TOPIC: usize = 64;
/// A topic's name that is as long may be secret, so errors do not repeat it.
const SHORTEST_SECRET: usize = 12;
/// How long it is tried to publish a question, if it has no limit of its own.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the server may take to accept a message.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How long a question waits until replies can be read. Without them it has no buttons.
const READY_TIME: Duration = Duration::from_secs(5);

/// The options, checked.
#[derive(Clone)]
struct NtfySettings {
    /// The server. Its path ends with `/`.
    server: Url,
    topic: String,
    /// Where buttons post. There is a token whenever there is this.
    reply: Option<String>,
    /// Sent with every request.
    headers: HeaderMap,
    has_token: bool,
    /// The name that records carry: `ntfy:NAME`.
    approver: String,
    scrub: Arc<Scrub>,
}

fn read(
    name: EngineId,
    options: &Map<String, Value>,
    transport: &TransportSettings,
) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    for_courier(settings(name, options, transport))
}

fn settings(
    name: EngineId,
    options: &Map<String, Value>,
    transport: &TransportSettings,
) -> Result<NtfySettings, BadOptions> {
    let (server, topic) = server_and_topic(text(options, "url")?.unwrap_or_default(), transport)?;
    let (token, reply) = (text(options, "token")?, text(options, "replyTopic")?);
    if let Some(reply) = reply {
        check_reply(reply, &topic, token)?;
    }
    let headers = headers(token)?;
    let mut scrub = Scrub::default();
    token.into_iter().for_each(|token| scrub.add(token));
    for topic in [Some(&*topic), reply].into_iter().flatten() {
        if topic.len() >= SHORTEST_SECRET {
            scrub.add(topic);
        }
    }
    Ok(NtfySettings {
        server,
        topic,
        reply: reply.map(str::to_owned),
        headers,
        has_token: token.is_some(),
        approver: approver_of("ntfy", name, None)?,
        scrub: Arc::new(scrub),
    })
}

/// Reads the option `url`.
fn server_and_topic(url: &str, transport: &TransportSettings) -> Result<(Url, String), BadOptions> {
    let mut server = check_url("url", url, transport, PlainHttp::IfAllowed)?;
    if server.as_str().len() > MAX_URL {
        return Err(BadOptions(format!("`url` is longer than {MAX_URL} bytes")));
    }
    let path = server.path().trim_end_matches('/').to_owned();
    let (before, topic) = path.rsplit_once('/').unwrap_or_default();
    if server.query().is_some() || !is_topic(topic) {
        return Err(BadOptions(format!(
            "`url` must end with the topic, as in https://ntfy.sh/my-topic; a topic has up to {MAX_TOPIC} letters, \
             digits, `-` and `_`"
        )));
    }
    server.set_path(&format!("{before}/"));
    Ok((server, topic.to_owned()))
}

/// Checks the option `replyTopic`.
fn check_reply(reply: &str, topic: &str, token: Option<&str>) -> Result<(), BadOptions> {
    if !is_topic(reply) {
        return Err(BadOptions(format!(
            "`replyTopic` must be the name of a topic: up to {MAX_TOPIC} letters, digits, `-` and `_`"
        )));
    }
    let bad = |why: &str| Err(BadOptions(why.to_owned()));
    if reply == topic {
        return bad("`replyTopic` must be another topic than that of `url`, which people read");
    }
    match token {
        Some(_) => Ok(()),
        None => bad("`replyTopic` needs a `token`, so that nobody else can read the replies"),
    }
}

/// Returns the headers of every request.
fn headers(token: Option<&str>) -> Result<HeaderMap, BadOptions> {
    const AGENT: &str = concat!("approval-proxy/", env!("CARGO_PKG_VERSION"));
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(token) = token {
        let is_token = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        let bearer = HeaderValue::try_from(format!("Bearer {token}")).ok();
        let bearer = bearer.filter(|_| is_token);
        let mut bearer = bearer.ok_or_else(|| {
            let why = "`token` must be an access token of ntfy, on one line and without spaces";
            BadOptions(why.to_owned())
        })?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    Ok(headers)
}

fn is_topic(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=MAX_TOPIC).contains(&text.len()) && text.bytes().all(is_part)
}

impl fmt::Debug for NtfySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The topics' names may be secret.
        f.debug_struct("NtfySettings")
            .field("origin", &origin(&self.server))
            .field("has_token", &self.has_token)
            .field("has_buttons", &self.reply.is_some())
            .field("approver", &self.approver)
            .finish_non_exhaustive()
    }
}

impl NtfySettings {
    /// Returns the address of something on the server.
    fn address(&self, path: &str) -> Url {
        let mut url = self.server.clone();
        url.set_path(&format!("{}{path}", self.server.path()));
        url
    }

    fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        *request.headers_mut() = self.headers.clone();
        request
    }

    fn shared(&self, context: &CourierContext) -> Arc<Shared> {
        Arc::new(Shared {
            settings: self.clone(),
            context: context.clone(),
            carried: Carried::default(),
        })
    }
}

impl CourierSettings for NtfySettings {
    fn courier(&self, context: &CourierContext) -> Box<dyn Courier> {
        Box::new(NtfyCourier(self.shared(context)))
    }

    fn needs_page(&self, _: &CourierContext) -> bool {
        true
    }

    fn test(&self, context: &CourierContext, deadline: Duration) -> Result<String, Failure> {
        let shared = self.shared(context);
        let runtime = Arc::clone(&context.runtime);
        runtime.wait(deadline, async move { shared.test(deadline).await })?
    }
}

/// What the tasks of one courier share.
#[derive(Debug)]
struct Shared {
    settings: NtfySettings,
    context: CourierContext,
    carried: Carried,
}

/// Publishes the questions, and lets the replies be read.
struct NtfyCourier(Arc<Shared>);

impl Courier for NtfyCourier {
    fn carry(&mut self, item: &Item, answer: Answer) {
        let shared = &self.0;
        if let Err((answer, failure)) = shared.carried.insert(item, answer) {
            return answer.send(Err(failure));
        }
        let (task, id, item) = (Arc::clone(shared), item.id.clone(), item.clone());
        let work = async move {
            let id = item.id.clone();
            // Once the message is published, this engine is not over: the item is open until somebody decides.
            match task.publish(item).await {
                Ok(()) => task.carried.is_sent(&id),
                Err(failure) => task.carried.fail(&id, failure),
            }
        };
        match shared.context.runtime.spawn(work) {
            Ok(task) => shared.carried.runs(&id, task),
            Err(failure) => shared.carried.fail(&id, failure),
        }
    }

    fn withdraw(&mut self, item: &str, _: &Ending) {
        self.0.carried.withdraw(item);
    }
}

impl Drop for NtfyCourier {
    fn drop(&mut self) {
        self.0.carried.clear();
    }
}

impl Shared {
    /// Returns what sends requests about one question.
    fn exchange(&self, item: Option<&Item>) -> Exchange {
        Exchange::about(item, &self.context, &self.settings.scrub, LONGEST)
    }

    /// Publishes a question.
    async fn publish(self: &Arc<Shared>, item: Item) -> Result<(), Failure> {
        let (settings, context) = (&self.settings, &self.context);
        let exchange = self.exchange(Some(&item));
        let page = context.page.soon(&item.id).await;
        let written = Disclosure::new(&item, context.show, &context.redaction)
            .and_then(|disclosure| Text::new(&disclosure, &settings.topic, page.as_deref()));
        let text = written.map_err(|error| Failure {
            kind: FailureKind::Rejected,
            why: format!("the request cannot be written: {error}"),
        })?;
        let reply = settings.reply.as_deref();
        let reply = reply.map(|reply| settings.address(reply));
        let codes = match reply.filter(|reply| text.may_have_buttons(reply)) {
            Some(reply) => {
                let codes = self.codes(&item.id).await;
                codes.map(|codes| (codes, reply))
            }
            None => None,
        };
        drop(item);
        let body = text.document(codes.as_ref().map(|(codes, url)| (codes, url)));
        let post = || {
            let mut request = settings.request(Method::POST, settings.server.clone());
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = Some(body.clone().into());
            Ok(request)
        };
        match exchange.send_within(ANSWER_TIME, post).await {
            Some(sent) => sent.map(drop),
            // The time is up. The gate has the same limit, and says what follows.
            None => Ok(()),
        }
    }

    /// Returns the codes of an item's buttons. `None` if replies cannot be read: then the message only notifies.
    async fn codes(self: &Arc<Shared>, item: &str) -> Option<Codes> {
        let start = |reading| {
            self.context
                .runtime
                .spawn(replies::read(Arc::clone(self), reading))
        };
        let (codes, mut reading) = match self.carried.offer(item, start) {
            Ok(offered) => offered,
            Err(failure) => {
                self.has_no_buttons(&failure.why);
                return None;
            }
        };
        let known = reading.wait_for(|reading| *reading != Reading::Connecting);
        let is_ready = match timeout(READY_TIME, known).await {
            Ok(Ok(reading)) => *reading == Reading::Ready,
            Ok(Err(_)) | Err(_) => false,
        };
        if is_ready {
            return Some(codes);
        }
        self.carried.revoke(item);
        self.has_no_buttons("the replies cannot be read");
        None
    }

    fn has_no_buttons(&self, why: &str) {
        let engine = self.context.name.name();
        tracing::warn!("the engine `{engine}` asks without buttons: {why}");
    }

    /// Checks the server, the token and the topic for replies. Publishes nothing.
    async fn test(&self, deadline: Duration) -> Result<String, Failure> {
        let settings = &self.settings;
        let peer = origin(&settings.server);
        let exchange = self.exchange(None);
        // The server checks a token whatever is asked for.
        let health = settings.request(Method::GET, settings.address("v1/health"));
        let heard = exchange.hear(health, deadline, MAX_TEST).await?;
        match heard.status.as_u16() {
            401 | 403 => {
                return Err(Failure {
                    kind: FailureKind::Misconfigured,
                    why: format!("{peer} answered {}; check `token`", heard.status),
                });
            }
            200..=299 => {}
            _ => {
                return Err(Failure::unreachable(format!(
                    "{peer} answered {}; is it a server of ntfy?",
                    heard.status
                )));
            }
        }
        let Some(reply) = &settings.reply else {
            return Ok(format!(
                "{peer} answers; only a question can show whether it accepts one"
            ));
        };
        let mut url = settings.address(&format!("{reply}/json"));
        let now_s = (unix_ms() / 1_000).to_string();
        url.query_pairs_mut()
            .append_pair("poll", "1")
            .append_pair("since", &now_s);
        let own = settings.request(Method::GET, url);
        let mut foreign = settings.request(Method::GET, own.url().clone());
        foreign.headers_mut().remove(AUTHORIZATION);
        let own = exchange.hear(own, deadline, MAX_TEST).await?.status;
        if !own.is_success() {
            return Err(Failure {
                kind: FailureKind::Misconfigured,
                why: format!(
                    "{peer} answered {own} to reading `replyTopic`; let the user of `token` read it"
                ),
            });
        }
        let foreign = exchange.hear(foreign, deadline, MAX_TEST).await?.status;
        if foreign.is_success() {
            return Err(Failure {
                kind: FailureKind::Misconfigured,
                why: format!(
                    "{peer} lets everyone read `replyTopic`; let them only write to it: \
                     ntfy access everyone TOPIC write-only"
                ),
            });
        }
        Ok(format!(
            "{peer} answers, and only `token` can read `replyTopic`; only a question can show whether it accepts one"
        ))
    }
}

/// The longest answer to a test, in bytes.
const MAX_TEST: usize = 64 * 1024;

#[cfg(test)]
mod tests;
