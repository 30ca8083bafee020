//! `waha`: WAHA, a WhatsApp HTTP API of yours. Asks with a message in a chat, and reads the replies.
//!
//! docs/engines/waha.md describes how to set it up. `question` sends and polls, and `reply` decides what counts.

mod question;
mod reply;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderName;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::question::Question;
use super::bridge::{self, ANSWER_TIME, Bridge, Credential};
use super::chat::Carried;
use super::courier::{Answer, Courier, CourierContext, CourierSettings, Ending};
use super::http::{Patience, TransportSettings, Undelivered};
use super::registry::{BadOptions, EngineOption, Registration, text};
use crate::approval::item::{Assurance, Item};
use crate::gate::{EngineId, Failure, FailureKind};

/// The entry in the registry. WAHA says who wrote, but anybody with its API key controls it, so the level is that of a
/// shared secret.
pub(super) const REGISTRATION: Registration = Registration::new(
    EngineId::new("waha"),
    Assurance::SharedSecret,
    &[
        EngineOption::required("url"),
        EngineOption::required("chatId"),
        EngineOption::required("approvers")
            .with_schema(|| json!({"type": "array", "items": {"type": "string"}, "minItems": 1})),
        EngineOption::optional("session"),
        EngineOption::optional("apiKey").secret(),
        EngineOption::optional("pollInterval").with_schema(bridge::poll_interval_schema),
    ],
    read,
);

/// The pause between two polls, unless `pollInterval` says otherwise.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// The session, unless `session` says otherwise.
const SESSION: &str = "default";
/// The most approvers of one engine.
const MAX_APPROVERS: usize = 100;
/// The longest number of a person or a group, in digits.
const MAX_NUMBER: usize = 40;
/// The longest name of a session, in bytes.
const MAX_SESSION: usize = 64;

/// The options, checked. Cheap to clone.
#[derive(Debug, Clone)]
struct WahaSettings {
    bridge: Bridge,
    session: Arc<str>,
    chat: Arc<str>,
    /// The ids of people, as [`id`] writes them.
    approvers: Arc<[String]>,
    poll_interval: Duration,
}

fn read(
    _: EngineId,
    options: &Map<String, Value>,
    transport: &TransportSettings,
) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    let bad = |why: &str| BadOptions(why.to_owned());
    let chat = text(options, "chatId")?.and_then(id);
    let chat = chat.ok_or_else(|| {
        bad("`chatId` must be the id of a chat, such as `15552220000@c.us`, or `120363000000000001@g.us` for a group")
    })?;
    let approvers = options.get("approvers").and_then(Value::as_array);
    let person = |value: &Value| {
        let id = id(value.as_str()?.trim())?;
        (!is_group(&id)).then_some(id)
    };
    let approvers: Option<Vec<String>> = approvers.and_then(|ids| ids.iter().map(person).collect());
    let approvers = approvers.ok_or_else(|| {
        bad("`approvers` must be a list of the WhatsApp ids of people, such as [\"15552220000@c.us\"]")
    })?;
    if approvers.is_empty() {
        return Err(bad(
            "`approvers` is empty, so nobody could decide; list the WhatsApp ids of people",
        ));
    }
    if approvers.len() > MAX_APPROVERS {
        return Err(BadOptions(format!(
            "`approvers` has more than {MAX_APPROVERS} ids"
        )));
    }
    let session = text(options, "session")?.unwrap_or(SESSION);
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !(1..=MAX_SESSION).contains(&session.len()) || !session.bytes().all(is_part) {
        return Err(bad(
            "`session` must be the name of a session of WAHA: letters, digits, `-` and `_`",
        ));
    }
    let key = text(options, KEY)?.map(|secret| Credential {
        header: HeaderName::from_static("x-api-key"),
        scheme: "",
        secret,
    });
    let url = text(options, "url")?.unwrap_or_default();
    Ok(Some(Arc::new(WahaSettings {
        bridge: Bridge::new("url", url, transport, KEY, key)?,
        session: session.into(),
        chat: chat.into(),
        approvers: approvers.into(),
        poll_interval: bridge::poll_interval(options, POLL_INTERVAL)?,
    })))
}

/// Where the API key is configured.
const KEY: &str = "apiKey";

/// Returns the id of a person or a group as WAHA writes it; `None` if it is none.
fn id(text: &str) -> Option<String> {
    let (number, server) = text.split_once('@')?;
    let is_part = |b: u8| b.is_ascii_digit() || b == b'-';
    let is_number = (1..=MAX_NUMBER).contains(&number.len()) && number.bytes().all(is_part);
    let server = match server {
        "c.us" | "g.us" | "lid" => server,
        // WhatsApp's own form of the first.
        "s.whatsapp.net" => "c.us",
        _ => return None,
    };
    is_number.then(|| format!("{number}@{server}"))
}

fn is_group(id: &str) -> bool {
    id.ends_with("@g.us")
}

/// Returns the name that records carry.
fn approver(id: &str) -> String {
    format!("waha:{id}")
}

impl CourierSettings for WahaSettings {
    fn courier(&self, context: &CourierContext) -> Box<dyn Courier> {
        Box::new(WahaCourier {
            settings: self.clone(),
            context: context.clone(),
            carried: Arc::default(),
        })
    }

    fn needs_page(&self, _: &CourierContext) -> bool {
        // Any call may be too long for a message.
        true
    }

    fn recognizes(&self, name: &str) -> bool {
        self.approvers.iter().any(|id| approver(id) == name)
    }

    fn test(&self, context: &CourierContext, deadline: Duration) -> Result<String, Failure> {
        let bridge = self.bridge.clone();
        let (session, exchange) = (Arc::clone(&self.session), bridge.exchange(context, None));
        let chat = Arc::clone(&self.chat);
        let answered = context.runtime.wait(deadline, async move {
            let path = ["api", "sessions", &*session];
            let get = || Ok(bridge.request(Method::GET, &path, &[], None));
            let sent = match exchange.send_within(ANSWER_TIME, get).await? {
                Ok(sent) => sent,
                Err(failure) => return Some(Err(bridge.explained(failure))),
            };
            // NOWEB refuses this without its store, and then no answer would ever arrive.
            let path = ["api", &*session, "chats", &*chat, "messages"];
            let query = [("limit", "1"), ("downloadMedia", "false")];
            let get = || Ok(bridge.request(Method::GET, &path, &query, None));
            if let Some(Err(missed)) = exchange
                .poll(Patience::until_answered(ANSWER_TIME), get)
                .await
                && missed.status == Some(StatusCode::BAD_REQUEST)
            {
                return Some(Err(explained(missed, &session)));
            }
            Some(Ok(sent))
        })?;
        let (peer, session) = (self.bridge.peer(), &self.session);
        let answered = answered.unwrap_or_else(|| {
            Err(Failure::unreachable(format!(
                "{peer} does not answer in time"
            )))
        })?;
        let seen: Option<Session> = serde_json::from_slice(&answered.body).ok();
        match seen.as_ref().map(|seen| seen.status.as_str()) {
            Some("WORKING") => Ok(format!("{peer}: the session `{session}` is signed in")),
            Some(_) => Err(Failure {
                kind: FailureKind::Misconfigured,
                why: format!(
                    "{peer}: the session `{session}` is not signed in to WhatsApp; sign in on WAHA's dashboard"
                ),
            }),
            None => Err(self.bridge.rejected("that is not WAHA's answer")),
        }
    }
}

/// Says what to do about an answer of WAHA that has a meaning of its own.
fn explained(undelivered: Undelivered, session: &str) -> Failure {
    let Undelivered {
        failure: Failure { kind, why },
        status,
    } = undelivered;
    match status {
        // While a session is starting or signed out.
        Some(StatusCode::UNPROCESSABLE_ENTITY) => Failure {
            kind,
            why: format!("{why}; see on WAHA's dashboard whether the session `{session}` works"),
        },
        // <https://waha.devlike.pro/docs/engines/noweb/#store>
        Some(StatusCode::BAD_REQUEST) => Failure {
            kind,
            why: format!("{why}; with WAHA's engine NOWEB, turn its store on"),
        },
        Some(_) | None => Failure { kind, why },
    }
}

/// What WAHA says about a session.
#[derive(Deserialize)]
struct Session {
    status: String,
}

/// Sends the questions, and reads the replies.
struct WahaCourier {
    settings: WahaSettings,
    context: CourierContext,
    carried: Arc<Carried>,
}

impl Courier for WahaCourier {
    fn carry(&mut self, item: &Item, answer: Answer) {
        let question = Question {
            settings: self.settings.clone(),
            exchange: self.settings.bridge.exchange(&self.context, Some(item)),
            context: self.context.clone(),
            carried: Arc::clone(&self.carried),
            item: item.clone(),
        };
        let runtime = &self.context.runtime;
        self.carried
            .carry(item, answer, runtime, |ended| question.run(ended));
    }

    fn withdraw(&mut self, item: &str, ending: &Ending) {
        self.carried.settle(item, ending);
    }
}

impl Drop for WahaCourier {
    fn drop(&mut self) {
        // Ends the tasks, too.
        self.carried.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_named_and_no_secret_is_quoted() {
        let right = json!({"url": "http://localhost:3000", "chatId": "15552220000@c.us",
            "approvers": ["15552220000@s.whatsapp.net"], "apiKey": "PROBE-key"});
        let read = |key: &str, value: Value| {
            let mut options = right.as_object().unwrap().clone();
            options.insert(key.to_owned(), value);
            let read = super::read(EngineId::new("wa"), &options, &TransportSettings::default());
            read.map(|settings| format!("{settings:?}"))
                .map_err(|bad| bad.0)
        };
        let settings = read("session", json!("main")).unwrap();
        assert!(settings.contains("15552220000@c.us"), "{settings}");
        assert!(!settings.contains("s.whatsapp.net") && !settings.contains("PROBE-key"));
        for (key, wrong) in [
            ("url", json!("http://waha.example:3000")),
            ("chatId", json!("+1 555 222 0000")),
            ("chatId", json!("15552220000@c.us/../x")),
            ("approvers", json!([])),
            ("approvers", json!("15552220000@c.us")),
            ("approvers", json!([15_552_220_000_u64])),
            ("approvers", json!(["120363000000000001@g.us"])),
            ("session", json!("a/b")),
            ("session", json!("")),
            ("apiKey", json!("PROBE\nkey")),
            ("apiKey", json!(["PROBE-key"])),
            ("pollInterval", json!("2")),
        ] {
            let error = read(key, wrong.clone()).unwrap_err();
            assert!(error.contains(&format!("`{key}`")), "{wrong}: {error}");
            assert!(!error.contains("PROBE"), "{error}");
        }
    }
}
