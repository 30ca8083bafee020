//! One question in WhatsApp: sends its message, reads the replies, and says how it ended.
//!
//! `reply` decides which replies count.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::reply::{Subject, bare, code, first, replies, sent_id};
use super::{WahaSettings, approver};
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
            approvers,
            poll_interval,
        } = &self.settings;
        let subject = Subject {
            message: sent.id.as_deref().map(bare),
            code: &sent.code,
            chat,
            approvers,
        };
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
        let mut has_told = false;
        let mut pause = *poll_interval;
        loop {
            sleep(pause).await;
            let get = || Ok(bridge.request(Method::GET, &path, &query, None));
            let polled = match self.exchange.fetch(patience, get).await? {
                Ok(polled) => polled,
                Err(failure) => return Some(Err(failure)),
            };
            pause = polled.retry_after.unwrap_or_default().max(*poll_interval);
            let Some(mut replies) = replies(&polled.body, subject) else {
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

    /// Replies to the question's message. A failure has no consequence for the question.
    async fn say(&self, sent: &Sent, text: &str) {
        let mut body = self.message(text);
        if let (Some(id), Some(members)) = (&sent.id, body.as_object_mut()) {
            members.insert("reply_to".to_owned(), id.as_str().into());
        }
        let exchange = self.settings.bridge.exchange(&self.context, None);
        if let Some(Err(failure)) = self.post(&exchange, &body).await {
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
            Err(undelivered) => Err(undelivered.failure),
        })
    }
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
