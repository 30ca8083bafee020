//! `telegram`: a bot that asks in a chat of Telegram, with buttons.
//!
//! docs/engines/telegram.md describes how to set it up. `question` sends and edits the messages, `poller` receives what
//! people press and reply, and `updates` decides what that means.

mod bot;
mod carried;
mod poller;
mod press;
mod question;
mod test;
mod text;
mod types;
mod updates;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use self::bot::{Address, Bot};
use self::carried::{Carried, Receiving};
use self::press::Buttons;
use self::question::Question;
use super::chat;
use super::courier::{Answer, Courier, CourierContext, CourierSettings, Ending};
use super::http::{HttpRuntime, PlainHttp, Scrub, TransportSettings, check_url};
use super::registry::{BadOptions, EngineOption, Registration, for_courier, text};
use super::rows::Rows;
use crate::approval::item::{Assurance, Item};
use crate::approval::render::{Markup, Show};
use crate::gate::{EngineId, Failure};
use crate::sys::secret::Secret;

/// The entry in the registry. Telegram says which account pressed a button, and the configuration names the accounts.
pub(super) const REGISTRATION: Registration = Registration::new(
    EngineId::new("telegram"),
    Assurance::ChannelAuthenticated,
    &[
        EngineOption::required("botToken").secret(),
        EngineOption::required("chatId").with_schema(|| json!({"type": ["integer", "string"]})),
        EngineOption::required("approvers")
            .with_schema(|| json!({"type": "array", "items": {"type": "integer"}, "minItems": 1})),
        EngineOption::optional("apiUrl"),
    ],
    read,
);

const API: &str = "https://api.telegram.org";
/// The most approvers of one engine.
const MAX_APPROVERS: usize = 100;
/// Ids have at most 52 significant bits (<https://core.telegram.org/bots/api#user>), so doubles hold them.
const MAX_ID: f64 = 4_503_599_627_370_496.0;
/// How long the end of a process waits until the messages of its questions say that they are over.
const LAST_EDITS: Duration = Duration::from_secs(1);
/// What these messages say.
const NOT_WAITING: &str = "This question is not waiting any more.";

/// The options, checked.
#[derive(Clone)]
struct TelegramSettings {
    address: Address,
    chat: Chat,
    approvers: Arc<[i64]>,
    scrub: Arc<Scrub>,
    /// What the couriers and receivers of this process carry.
    carried: Arc<Carried>,
}

/// Where questions are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Chat {
    /// A chat's id.
    Id(i64),
    /// The name of a public group or channel, with its `@`.
    Name(String),
}

fn read(
    _: EngineId,
    options: &Map<String, Value>,
    transport: &TransportSettings,
) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    for_courier(settings(options, transport))
}

fn settings(
    options: &Map<String, Value>,
    transport: &TransportSettings,
) -> Result<TelegramSettings, BadOptions> {
    let bad = |why: &str| BadOptions(why.to_owned());
    let token = text(options, "botToken")?.unwrap_or_default();
    if !is_token(token) {
        return Err(bad(
            "`botToken` must be the token of a bot, as BotFather gives it: digits, a colon, and then letters and digits",
        ));
    }
    let chat = options.get("chatId").and_then(read_chat);
    let chat = chat.ok_or_else(|| {
        bad(
            "`chatId` must be the id of a chat, such as -1001234567890, or the name of a public one, such as `@approvals`",
        )
    })?;
    let approvers = options.get("approvers").and_then(Value::as_array);
    let approvers: Option<Vec<i64>> = approvers.and_then(|ids| {
        ids.iter()
            .map(|id| read_id(id).filter(|id| *id > 0))
            .collect()
    });
    let approvers = approvers.ok_or_else(|| {
        bad("`approvers` must be a list of the numeric ids of Telegram users, such as [77310045]")
    })?;
    if approvers.is_empty() {
        return Err(bad(
            "`approvers` is empty, so nobody could decide; list the numeric ids of Telegram users",
        ));
    }
    if approvers.len() > MAX_APPROVERS {
        return Err(BadOptions(format!(
            "`approvers` has more than {MAX_APPROVERS} ids"
        )));
    }
    let api = text(options, "apiUrl")?.unwrap_or(API);
    let mut api = check_url("apiUrl", api, transport, PlainHttp::IfAllowed)?;
    api.set_query(None);
    let mut scrub = Scrub::default();
    scrub.add(token);
    if let Some((_, secret)) = token.split_once(':') {
        scrub.add(secret);
    }
    Ok(TelegramSettings {
        address: Address {
            api,
            token: Secret::new(token.to_owned()),
        },
        chat,
        approvers: approvers.into(),
        scrub: Arc::new(scrub),
        carried: Arc::default(),
    })
}

/// Returns true for the form of a bot's token. Other text could lead to another path of the server.
fn is_token(token: &str) -> bool {
    let Some((id, secret)) = token.split_once(':') else {
        return false;
    };
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (1..=20).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_digit())
        && (1..=200).contains(&secret.len())
        && secret.bytes().all(is_part)
}

/// Reads a whole number. The configuration has all numbers as doubles.
fn read_id(value: &Value) -> Option<i64> {
    let number = value.as_f64()?;
    let is_id = number.fract() == 0.0 && number.abs() <= MAX_ID && number != 0.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is a whole number within 52 bits"
    )]
    is_id.then_some(number as i64)
}

fn read_chat(value: &Value) -> Option<Chat> {
    let Value::String(text) = value else {
        return read_id(value).map(Chat::Id);
    };
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    match text.strip_prefix('@') {
        Some(name) if !name.is_empty() && name.len() <= 64 && name.bytes().all(is_part) => {
            Some(Chat::Name(text.clone()))
        }
        Some(_) => None,
        None => text.parse().ok().filter(|id| *id != 0).map(Chat::Id),
    }
}

impl Chat {
    fn to_json(&self) -> Value {
        match self {
            Chat::Id(id) => (*id).into(),
            Chat::Name(name) => name.as_str().into(),
        }
    }
}

impl fmt::Debug for TelegramSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelegramSettings")
            .field("address", &self.address)
            .field("chat", &self.chat)
            .field("approvers", &self.approvers)
            .finish_non_exhaustive()
    }
}

impl CourierSettings for TelegramSettings {
    fn courier(&self, context: &CourierContext) -> Box<dyn Courier> {
        Box::new(TelegramCourier {
            shared: self.shared(context),
            context: context.clone(),
        })
    }

    fn needs_page(&self, context: &CourierContext) -> bool {
        context.show != Show::Full
    }

    fn recognizes(&self, approver: &str) -> bool {
        let mut approvers = self.approvers.iter();
        approvers.any(|id| types::approver(*id) == approver)
    }

    fn shares_connection(&self) -> bool {
        true
    }

    fn receive(&self, context: &CourierContext) -> Option<Box<dyn Send>> {
        let shared = self.shared(context);
        shared.carried.receives(Receiving::Begins);
        if let Err(failure) = poller::start(&shared) {
            shared.warn(&failure);
        }
        Some(Box::new(Receiver(shared)))
    }

    fn test(&self, context: &CourierContext, deadline: Duration) -> Result<String, Failure> {
        let shared = self.shared(context);
        let runtime = Arc::clone(&context.runtime);
        runtime.wait(deadline, async move { test::test(&shared).await })?
    }
}

impl TelegramSettings {
    fn shared(&self, context: &CourierContext) -> Arc<Shared> {
        Arc::new(Shared {
            engine: context.name,
            bot: Bot::new(self.address.clone(), Arc::clone(&self.scrub), context),
            settings: self.clone(),
            rows: context.rows.clone(),
            runtime: Arc::clone(&context.runtime),
            carried: Arc::clone(&self.carried),
        })
    }
}

/// What the tasks of one engine share.
#[derive(Debug)]
struct Shared {
    engine: EngineId,
    bot: Bot,
    settings: TelegramSettings,
    rows: Rows,
    runtime: Arc<HttpRuntime>,
    carried: Arc<Carried>,
}

impl Shared {
    fn is_approver(&self, user: i64) -> bool {
        self.settings.approvers.contains(&user)
    }

    /// Returns the chat as a parameter of methods.
    fn chat(&self) -> Value {
        self.settings.chat.to_json()
    }

    /// What only one process may hold. The token tells bots apart; its digest is all that others see of it.
    fn credential(&self) -> String {
        format!("telegram:{}", self.settings.address.token.expose())
    }

    /// Returns the key under which all processes find the item of these buttons.
    fn key(&self, buttons: &Buttons) -> String {
        format!("telegram/{}/{}", self.settings.address.bot(), buttons.token)
    }

    fn warn(&self, failure: &Failure) {
        tracing::warn!("the engine `{}`: {}", self.engine.name(), failure.why);
    }
}

/// Receives verdicts about other processes' questions until it is dropped.
struct Receiver(Arc<Shared>);

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.carried.receives(Receiving::Ends);
    }
}

/// Sends the questions, and lets the poller receive the answers.
struct TelegramCourier {
    shared: Arc<Shared>,
    context: CourierContext,
}

impl Courier for TelegramCourier {
    fn carry(&mut self, item: &Item, answer: Answer) {
        let (shared, carried) = (&self.shared, &self.shared.carried);
        let until = (self.context.timeout).and_then(|time| Instant::now().checked_add(time));
        let (buttons, wanted) = match carried.insert(item, answer, until) {
            Ok(inserted) => inserted,
            Err((answer, failure)) => return answer.send(Err(failure)),
        };
        let question = Question {
            shared: Arc::clone(shared),
            context: self.context.clone(),
            buttons,
            wanted,
        };
        let (running, id, item) = (carried.begins(), item.id.clone(), item.clone());
        let work = async move {
            question.run(item).await;
            drop(running);
        };
        let started = shared.runtime.spawn(work);
        // It ends with the question, after its message says how.
        let started = started.map(super::http::Task::detach);
        if let Err(failure) = started.and_then(|()| poller::start(shared)) {
            carried.fail(&id, failure);
        }
    }

    fn withdraw(&mut self, item: &str, ending: &Ending) {
        let engine = self.shared.engine;
        let outcome = |who: Option<&types::User>| text::outcome(ending, engine, who);
        self.shared.carried.end(item, outcome);
    }

    fn disregarded(&mut self, item: &str, _: Option<&str>, why: &str) {
        let note = Markup::Telegram.words(&chat::disregarded(why)).into_owned();
        self.shared.carried.note(item, &note);
    }
}

impl Drop for TelegramCourier {
    fn drop(&mut self) {
        let carried = Arc::clone(&self.shared.carried);
        carried.end_all(NOT_WAITING);
        if carried.is_running() {
            let last = async move { carried.all_done().await };
            // What takes longer stays as it is.
            let _ = self.shared.runtime.wait(LAST_EDITS, last);
        }
        self.shared.carried.cancel_polling();
    }
}

#[cfg(test)]
mod tests;
