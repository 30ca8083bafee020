//! `slack`: a message in a channel of Slack with two buttons, for named people.
//!
//! Calls go to the Web API, and clicks come over Socket Mode, so nothing needs a public address. docs/engines/slack.md
//! describes the set-up. `question` sends and edits messages, `connection` receives clicks, `clicks` decides what they
//! count for.

mod api;
mod clicks;
mod connection;
mod interaction;
mod message;
mod question;
mod socket;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use self::api::{Api, Token};
use self::clicks::Engine;
use self::connection::Hub;
use self::interaction::is_id;
use super::chat::{self, Carried};
use super::courier::{Answer, Courier, CourierContext, CourierSettings, Ending};
use super::http::{PlainHttp, TransportSettings, check_url};
use super::registry::{BadOptions, EngineOption, Registration};
use crate::approval::item::{Assurance, Item};
use crate::gate::{EngineId, Failure, FailureKind};

/// The entry in the registry. Slack vouches for the account that clicked.
pub(super) const REGISTRATION: Registration = Registration::new(
    EngineId::new("slack"),
    Assurance::ChannelAuthenticated,
    &[
        EngineOption::required("botToken").secret(),
        EngineOption::required("appToken").secret(),
        EngineOption::required("channel"),
        EngineOption::required("approvers")
            .with_schema(|| json!({"type": "array", "items": {"type": "string"}, "minItems": 1})),
        EngineOption::optional("apiUrl"),
    ],
    read,
);

/// Where Slack's own methods are.
const API_URL: &str = "https://slack.com/api/";
/// The most people that can be named. All of them are told if a verdict does not count.
const MAX_APPROVERS: usize = 50;
/// The longest name of a channel, in characters.
const MAX_CHANNEL_NAME: usize = 80;
/// How long the end of the process waits for messages that are being edited.
const LAST_EDITS: Duration = Duration::from_secs(1);
/// The scope without which nothing works.
const WRITE_SCOPE: &str = "chat:write";

/// The options from the configuration, as they are written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    bot_token: String,
    app_token: String,
    channel: String,
    approvers: Vec<String>,
    api_url: Option<String>,
}

/// The options, checked.
#[derive(Clone)]
struct SlackSettings {
    api: Arc<Api>,
    channel: String,
    /// Ids of users, without `slack:`.
    approvers: Arc<[String]>,
}

fn read(
    _: EngineId,
    options: &Map<String, Value>,
    transport: &TransportSettings,
) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    let bad = |why: &str| Err(BadOptions(why.to_owned()));
    let options = read_options(options)?;
    let url = options.api_url.as_deref().unwrap_or(API_URL);
    let mut url = check_url("apiUrl", url, transport, PlainHttp::IfAllowed)?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    let (bot, app) = (options.bot_token.trim(), options.app_token.trim());
    if bot.starts_with("xapp-") || app.starts_with("xoxb-") {
        return bad(
            "`botToken` and `appToken` are swapped: a bot's token begins with `xoxb-`, an app's with `xapp-`",
        );
    }
    let channel = options.channel.trim();
    if !is_id(channel) {
        return bad(
            "`channel` must be the id of a channel, such as `C024BE7LR`; Slack shows it at the end of the channel's \
             details",
        );
    }
    let approvers: Vec<String> = options
        .approvers
        .iter()
        .map(|user| user.trim().to_owned())
        .collect();
    if approvers.is_empty() {
        return bad("`approvers` is empty, so nobody could decide; list ids of users");
    }
    if approvers.len() > MAX_APPROVERS {
        return Err(BadOptions(format!(
            "`approvers` has more than {MAX_APPROVERS} users"
        )));
    }
    if approvers.iter().any(|user| !is_person(user)) {
        return bad(
            "`approvers` must be ids of users, such as `U024BE7LH`; in Slack, open a profile, then `⋮`, then “Copy \
             member ID”",
        );
    }
    Ok(Some(Arc::new(SlackSettings {
        api: Arc::new(Api::new(url, bot, app)?),
        channel: channel.to_owned(),
        approvers: approvers.into(),
    })))
}

/// Returns true if a text can be the id of a person.
fn is_person(text: &str) -> bool {
    is_id(text) && text.starts_with(['U', 'W'])
}

/// Returns true if a text can be the name of a channel, such as `#approvals`.
fn is_channel_name(text: &str) -> bool {
    let name = text.strip_prefix('#').unwrap_or_default();
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=MAX_CHANNEL_NAME).contains(&name.chars().count()) && name.chars().all(is_part)
}

fn read_options(options: &Map<String, Value>) -> Result<Options, BadOptions> {
    for (key, value) in options {
        // Serde's message would quote the value.
        let (is_right, wanted) = match &**key {
            "approvers" => {
                let texts = value.as_array();
                let is_right = texts.is_some_and(|texts| texts.iter().all(Value::is_string));
                (is_right, "a list of strings, such as `[\"U024BE7LH\"]`")
            }
            _ => (value.is_string(), "a string"),
        };
        if !is_right {
            return Err(BadOptions(format!("`{key}` must be {wanted}")));
        }
    }
    Options::deserialize(Value::Object(options.clone()))
        .map_err(|error| BadOptions(error.to_string()))
}

impl fmt::Debug for SlackSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackSettings")
            .field("api", &self.api)
            .field("channel", &self.channel)
            .field("approvers", &self.approvers)
            .finish()
    }
}

impl CourierSettings for SlackSettings {
    fn courier(&self, context: &CourierContext) -> Box<dyn Courier> {
        Box::new(SlackCourier {
            engine: self.engine(context),
        })
    }

    fn needs_page(&self, _: &CourierContext) -> bool {
        // Any call may be too long for a message.
        true
    }

    fn recognizes(&self, approver: &str) -> bool {
        let user = approver.strip_prefix("slack:");
        user.is_some_and(|user| self.approvers.iter().any(|known| known == user))
    }

    /// Messages to the id of a person arrive in the bot's direct messages, as
    /// <https://docs.slack.dev/reference/methods/chat.postMessage> says, which also takes a channel's name.
    fn addressed(&self, recipient: &str) -> Option<Arc<dyn CourierSettings>> {
        let approvers = match is_person(recipient) {
            // INVARIANT 8: nobody becomes an approver by being named.
            true => {
                let mut known = self.approvers.iter();
                known.find(|known| *known == recipient)?;
                [recipient.to_owned()].into()
            }
            false if is_id(recipient) || is_channel_name(recipient) => Arc::clone(&self.approvers),
            false => return None,
        };
        Some(Arc::new(SlackSettings {
            api: Arc::clone(&self.api),
            channel: recipient.to_owned(),
            approvers,
        }))
    }

    fn shares_connection(&self) -> bool {
        true
    }

    fn receive(&self, context: &CourierContext) -> Option<Box<dyn Send>> {
        let engine = self.engine(context);
        match engine.hub.clone().connect() {
            Ok(wanted) => Some(Box::new((engine, wanted))),
            Err(failure) => {
                tracing::warn!(
                    "the engine `{}` cannot receive: {}",
                    context.name.name(),
                    failure.why
                );
                None
            }
        }
    }

    fn test(&self, context: &CourierContext, deadline: Duration) -> Result<String, Failure> {
        let (settings, exchange) = (self.clone(), self.api.exchange(context, Some(deadline)));
        context.runtime.wait(deadline, async move {
            let tested = settings.check(&exchange).await;
            tested.unwrap_or_else(|| Err(Failure::unreachable("Slack does not answer in time")))
        })?
    }
}

/// What `auth.test` says about the bot.
#[derive(Deserialize)]
struct Bot {
    team: Option<String>,
    user: Option<String>,
}

#[derive(Deserialize)]
struct ChannelInfo {
    channel: Channel,
}

#[derive(Deserialize)]
struct Channel {
    name: Option<String>,
    #[serde(default)]
    is_member: bool,
    /// A direct message has no members.
    #[serde(default)]
    is_im: bool,
    #[serde(default)]
    is_archived: bool,
}

impl SlackSettings {
    /// Returns what the courier, its tasks and the connection share.
    fn engine(&self, context: &CourierContext) -> Arc<Engine> {
        let name = self.api.credential().expose();
        let hub = context
            .runtime
            .shared(name, || Hub::new(Arc::clone(&self.api), context.clone()));
        let engine = Arc::new(Engine {
            api: Arc::clone(&self.api),
            channel: self.channel.clone(),
            approvers: Arc::clone(&self.approvers),
            context: context.clone(),
            carried: Carried::default(),
            asked: watch::Sender::new(0),
            hub: Arc::clone(&hub),
        });
        hub.serve(&engine);
        engine
    }

    /// Checks tokens, scopes, the channel and Socket Mode. Returns `None` if the time is up.
    async fn check(&self, exchange: &super::http::Exchange) -> Option<Result<String, Failure>> {
        let api = &self.api;
        let nothing = json!({});
        let bot = api.call::<Bot>(exchange, "auth.test", Token::Bot, &nothing);
        let bot = match bot.await? {
            Ok(bot) => bot,
            Err(failure) => return Some(Err(failure)),
        };
        let scopes = bot.headers.get("x-oauth-scopes");
        let scopes = scopes.and_then(|scopes| scopes.to_str().ok());
        let misses = |scope: &str| {
            scopes.is_some_and(|all| !all.split(',').any(|known| known.trim() == scope))
        };
        let misconfigured = |why: String| {
            let kind = FailureKind::Misconfigured;
            Some(Err(Failure { kind, why }))
        };
        if misses(WRITE_SCOPE) {
            return misconfigured(format!(
                "the bot misses the scope `{WRITE_SCOPE}`; add it and install the app again"
            ));
        }
        let query = [("channel", self.channel.as_str())];
        let channel = api.get::<ChannelInfo>(exchange, "conversations.info", &query);
        let channel = match channel.await? {
            Ok(found) => {
                let Channel {
                    name,
                    is_member,
                    is_im,
                    is_archived,
                } = found.value.channel;
                let name = name.map_or_else(
                    || self.channel.clone(),
                    |name| format!("#{}", api.scrub.clean(&name)),
                );
                if is_archived {
                    return misconfigured(format!("the channel {name} is archived"));
                }
                if !is_member && !is_im {
                    return misconfigured(format!(
                        "the bot is no member of {name}; write `/invite` and the bot's name there"
                    ));
                }
                format!("is a member of {name}")
            }
            // Reading channels is a scope of its own, which nothing else needs.
            Err(failure) if failure.why.contains("missing_scope") => format!(
                "may write (the scopes `channels:read` and `groups:read` would show whether it is in {})",
                self.channel
            ),
            Err(failure) => return Some(Err(failure)),
        };
        let opened = connection::url(api, exchange).await?;
        if let Err(failure) = opened {
            return Some(Err(failure));
        }
        let quoted = |text: Option<String>| {
            let text = text.unwrap_or_default();
            api.scrub
                .quote(text.as_bytes(), &exchange.redaction)
                .unwrap_or_default()
        };
        let (user, team) = (quoted(bot.value.user), quoted(bot.value.team));
        Some(Ok(format!(
            "the bot {user} of the workspace {team} {channel}; Socket Mode accepts the app"
        )))
    }
}

/// Sends the questions, and edits their messages.
struct SlackCourier {
    engine: Arc<Engine>,
}

impl Courier for SlackCourier {
    fn carry(&mut self, item: &Item, answer: Answer) {
        question::carry(&self.engine, item, answer);
    }

    fn withdraw(&mut self, item: &str, ending: &Ending) {
        self.engine.carried.settle(item, ending);
    }

    fn disregarded(&mut self, _: &str, approver: Option<&str>, why: &str) {
        self.engine.tell_approver(approver, &chat::disregarded(why));
    }
}

impl Drop for SlackCourier {
    /// The process is ending. Messages about questions that have just ended may still be edited.
    fn drop(&mut self) {
        self.engine.carried.clear();
        let mut asked = self.engine.asked.subscribe();
        if *asked.borrow_and_update() > 0 {
            let edited = async move {
                // Cannot fail: each task holds the engine, and so the sender.
                let _ = asked.wait_for(|asked| *asked == 0).await;
            };
            // If it takes longer, the messages keep their buttons, and clicks on them are told so.
            let _ = self.engine.context.runtime.wait(LAST_EDITS, edited);
        }
    }
}
