//! One question in WhatsApp: sends its message, reads the replies, and says how it ended.
//!
//! `reply` decides which replies count.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::reply::{Replies, Reply, Subject, bare, code, first, lid, replies, sent_id};
use super::{WahaSettings, approver, explained};
use crate::approval::display::quoted_name;
use crate::approval::item::{Choice, Item};
use crate::engines::bridge::ANSWER_TIME;
use crate::engines::chat::{Carried, Ended, NOT_SHOWN, PlainQuestion, has_failed, outcome};
use crate::engines::http::{Exchange, Patience};
use crate::engines::{CarriedVerdict, CourierContext};
use crate::gate::Failure;
use crate::sys::clock::{random_seed, unix_ms};

/// How many messages of the chat one poll reads.
const MESSAGES: &str = "100";
/// The size of these messages, in bytes. WAHA adds everything that it knows about each.
const MAX_MESSAGES: usize = 8 * 1024 * 1024;
/// How far WhatsApp's clock may be behind ours, in seconds. Older messages are not read.
const SKEW_S: i64 = 60 * 60;
/// How long a session that has lost WhatsApp may take to come back. WAHA answers 422 to everything meanwhile.
const RECONNECTING: Duration = Duration::from_secs(120);
/// The longest answer to a look-up, in bytes.
const MAX_LOOKUP: usize = 64 * 1024;

/// One question on its way.
pub(super) struct Question {
    pub(super) settings: WahaSettings,
    pub(super) context: CourierContext,
    pub(super) exchange: Exchange,
    pub(super) carried: Arc<Carried>,
    pub(super) item: Item,
}

/// The message of a question.
struct Sent {
    /// Its id, as WAHA said it.
    id: Option<String>,
    code: String,
    is_approvable: bool,
}

impl Question {
    /// Asks, delivers the verdict, and says in the chat how the question ended.
    pub(super) async fn run(self, mut ended: oneshot::Receiver<Ended>) {
        let since_s = unix_ms() / 1_000 - SKEW_S;
        let sent = match self.send().await {
            Some(Ok(sent)) => sent,
            Some(Err(failure)) => return self.fail(failure),
            // The time is up. The gate has the same limit, and says what follows.
            None => return,
        };
        let over = tokio::select! {
            over = &mut ended => over,
            followed = self.follow(&sent, since_s) => {
                if let Some(Err(failure)) = followed {
                    self.fail(failure);
                }
                ended.await
            }
        };
        // Otherwise the process is ending.
        if let Ok(ended) = over {
            self.say(&sent, &ended_text(&ended)).await;
        }
    }

    fn fail(&self, failure: Failure) {
        let failure = self.settings.bridge.explained(failure);
        self.carried.fail(&self.item.id, failure);
    }

    /// Sends the question. Returns `None` if its time is up before.
    async fn send(&self) -> Option<Result<Sent, Failure>> {
        let question = match PlainQuestion::new(&self.item, &self.context).await {
            Ok(question) => question,
            Err(failure) => return Some(Err(failure)),
        };
        let code = match random_seed() {
            Ok([a, b, c, d, ..]) => code(u32::from_be_bytes([a, b, c, d])),
            Err(error) => {
                let why = format!("the system has no randomness: {error}");
                return Some(Err(Failure::unreachable(why)));
            }
        };
        let is_approvable = question.is_approvable;
        if is_approvable {
            self.carried.is_shown(&self.item.id);
        }
        let how = match is_approvable {
            true => "Reply to this message with yes or no. Or write the word and this code:",
            false => "To deny, reply to this message with no. Or write the word and this code:",
        };
        let body = self.message(&format!("{}\n\n{how} {code}", question.text));
        let id = match self.post(&self.exchange, &body).await? {
            Ok(id) => id,
            Err(failure) => return Some(Err(failure)),
        };
        Some(Ok(Sent {
            id,
            code,
            is_approvable,
        }))
    }

    /// Reads the chat until somebody has decided.
    async fn follow(&self, sent: &Sent, since_s: i64) -> Option<Result<(), Failure>> {
        let WahaSettings {
            bridge,
            session,
            chat,
            poll_interval,
            ..
        } = &self.settings;
        let path = ["api", &**session, "chats", &**chat, "messages"];
        let since = since_s.to_string();
        let query = [
            ("limit", MESSAGES),
            ("downloadMedia", "false"),
            ("filter.fromMe", "false"),
            ("filter.timestamp.gte", since.as_str()),
        ];
        let patience = Patience {
            answer_time: ANSWER_TIME,
            max_body: MAX_MESSAGES,
        };
        let mut approvers = Approvers::default();
        let mut has_told = false;
        let mut pause = *poll_interval;
        let mut lost: Option<Instant> = None;
        loop {
            sleep(pause).await;
            let get = || Ok(bridge.request(Method::GET, &path, &query, None));
            let polled = match self.exchange.poll(patience, get).await? {
                Ok(polled) => polled,
                Err(missed)
                    if missed.status == Some(StatusCode::UNPROCESSABLE_ENTITY)
                        && lost.get_or_insert_with(Instant::now).elapsed() < RECONNECTING =>
                {
                    continue;
                }
                Err(missed) => return Some(Err(explained(missed, session))),
            };
            lost = None;
            pause = polled.retry_after.unwrap_or_default().max(*poll_interval);
            let read = self.replies(&polled.body, sent, &mut approvers).await;
            let Some(mut replies) = read else {
                return Some(Err(bridge.rejected("its answer is no list of messages")));
            };
            if !sent.is_approvable {
                let all = replies.len();
                replies.retain(|reply| reply.choice == Choice::Deny);
                if replies.len() < all && !has_told {
                    has_told = true;
                    self.say(sent, NOT_SHOWN).await;
                }
            }
            if let Some(reply) = first(replies) {
                let verdict = CarriedVerdict {
                    fields: None,
                    choice: reply.choice,
                    reason: None,
                    approver: Some(approver(&reply.approver)),
                };
                let fingerprint = self.item.fingerprint();
                self.carried.decide(&self.item.id, &fingerprint, verdict);
                return Some(Ok(()));
            }
        }
    }

    /// Returns the answers of approvers; `None` if WAHA's answer is no list of messages.
    async fn replies(
        &self,
        messages: &[u8],
        sent: &Sent,
        approvers: &mut Approvers,
    ) -> Option<Vec<Reply>> {
        let settings = &self.settings;
        let read = |lids: &HashMap<String, String>| {
            let subject = Subject {
                message: sent.id.as_deref().map(bare),
                code: &sent.code,
                chat: &settings.chat,
                approvers: &settings.approvers,
                lids,
            };
            replies(messages, subject)
        };
        let Replies {
            mut of_approvers,
            hidden,
        } = read(&approvers.lids)?;
        if hidden.is_some() && self.look_up(approvers).await {
            of_approvers = read(&approvers.lids)?.of_approvers;
        }
        if let Some(hidden) = hidden.filter(|_| of_approvers.is_empty())
            && !std::mem::replace(&mut approvers.has_warned, true)
        {
            tracing::warn!(
                "the engine `{}`: an answer of {hidden} does not count, because WAHA knows no approver by this id; if it \
                 is one, add the id to `approvers`",
                self.context.name.name()
            );
        }
        Some(of_approvers)
    }

    /// Asks WAHA for the hidden ids of the approvers, once for each. Returns whether it learned one.
    ///
    /// We ask about approvers, not about who wrote: nobody in the chat can make us ask more.
    async fn look_up(&self, approvers: &mut Approvers) -> bool {
        let WahaSettings {
            bridge, session, ..
        } = &self.settings;
        let before = approvers.lids.len();
        for id in self.settings.approvers.iter() {
            let Some(number) = id.strip_suffix("@c.us") else {
                continue;
            };
            if approvers.asked.contains(id) {
                continue;
            }
            let path = ["api", &**session, "lids", "pn", number];
            let get = bridge.request(Method::GET, &path, &[], None);
            let Ok(heard) = self.exchange.hear(get, ANSWER_TIME, MAX_LOOKUP).await else {
                // The rest are asked for with the next poll.
                break;
            };
            approvers.asked.push(id.clone());
            if let Some(lid) = lid(&heard.body).filter(|_| heard.status.is_success()) {
                approvers.lids.insert(lid, id.clone());
            }
        }
        approvers.lids.len() > before
    }

    /// Replies to the question's message. A failure has no consequence for the question.
    async fn say(&self, sent: &Sent, text: &str) {
        let exchange = self.settings.bridge.exchange(&self.context, None);
        let mut said = None;
        if let Some(id) = &sent.id {
            let mut body = self.message(text);
            if let Some(members) = body.as_object_mut() {
                members.insert("reply_to".to_owned(), id.as_str().into());
            }
            said = self.post(&exchange, &body).await;
        }
        // WEBJS sometimes cannot find the message that we reply to. Then the code says which one it is.
        if !matches!(said, Some(Ok(_))) {
            let body = self.message(&format!("{text} ({})", sent.code));
            said = self.post(&exchange, &body).await;
        }
        if let Some(Err(failure)) = said {
            tracing::debug!(
                "the engine `{}` cannot say how a question ended: {}",
                self.context.name.name(),
                failure.why
            );
        }
    }

    fn message(&self, text: &str) -> Value {
        json!({
            "chatId": &*self.settings.chat,
            "text": text,
            "session": &*self.settings.session,
            // A preview would open the link to the inbox, or one in the arguments.
            "linkPreview": false,
        })
    }

    /// Sends a message. Returns its id, if WAHA says it.
    async fn post(
        &self,
        exchange: &Exchange,
        body: &Value,
    ) -> Option<Result<Option<String>, Failure>> {
        let bridge = &self.settings.bridge;
        let path = ["api", "sendText"];
        let post = || Ok(bridge.request(Method::POST, &path, &[], Some(body)));
        let patience = Patience::until_answered(ANSWER_TIME);
        let sent = exchange.send_once(patience, post).await?;
        Some(match sent {
            Ok(reply) => Ok(sent_id(&reply.body)),
            Err(undelivered) => Err(explained(undelivered, &self.settings.session)),
        })
    }
}

/// What one question has learned about the ids of approvers.
#[derive(Default)]
struct Approvers {
    /// Their ids, by their hidden ids.
    lids: HashMap<String, String>,
    /// Who has been looked up.
    asked: Vec<String>,
    /// Whether it was said that an answer does not count.
    has_warned: bool,
}

/// Says how a question ended. The names in it are not ours.
fn ended_text(ended: &Ended) -> String {
    let outcome = match ended {
        Ended::Settled(ending) => outcome(ending),
        Ended::Failed => has_failed(),
    };
    let mut text = outcome.what.to_owned();
    if let Some(approver) = outcome.approver {
        text.push_str(" by ");
        text.push_str(&quoted_name(approver));
    }
    if let Some(engine) = outcome.engine {
        text.push_str(" through ");
        text.push_str(engine);
    }
    text.push('.');
    if let Some(note) = outcome.note {
        text.push(' ');
        text.push_str(note);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::item::Closed;
    use crate::engines::Ending;
    use crate::gate::EngineId;

    #[test]
    fn the_end_says_who_decided_and_where() {
        let decided = Ended::Settled(Ending::Decided {
            choice: Choice::Approve,
            reason: None,
            approver: Some("slack:U1\n❌ Denied".to_owned()),
            engine: EngineId::new("slack"),
        });
        let text = ended_text(&decided);
        assert!(text.starts_with("Approved by \"slack:U1"), "{text}");
        assert!(
            text.ends_with(" through slack.") && !text.contains('\n'),
            "{text}"
        );
        let expired = ended_text(&Ended::Settled(Ending::Closed(Closed::Expired)));
        assert_eq!(expired, "Expired. Nobody decided in time.");
    }
}
