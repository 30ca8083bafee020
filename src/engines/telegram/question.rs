//! The message of one question, from sending it to showing how it ended. One task for each question.
//!
//! `text` writes it; `updates` receives the verdict.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::Shared;
use super::bot::File;
use super::carried::{Face, Wanted};
use super::press::{Buttons, no_buttons};
use super::text::{self, Text};
use super::types::Message;
use crate::approval::item::Item;
use crate::engines::CourierContext;
use crate::engines::disclosure::Disclosure;
use crate::gate::{Failure, FailureKind};
use crate::sys::clock::unix_ms;

/// How long it is tried to send a question, if it has no limit of its own.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it is tried to edit a message.
const EDIT_TIME: Duration = Duration::from_secs(60);
/// The name of the document with the whole call.
const DOCUMENT: &str = "call.txt";

/// One question on its way.
pub(super) struct Question {
    pub(super) shared: Arc<Shared>,
    pub(super) context: CourierContext,
    pub(super) buttons: Buttons,
    pub(super) wanted: watch::Receiver<Wanted>,
}

impl Question {
    /// Sends the question, and edits its message until it is over.
    pub(super) async fn run(mut self, item: Item) {
        let id = item.id.clone();
        let sent = self.send(item).await;
        self.shared.carried.is_sent(&id);
        match sent {
            Some(Ok((message, later))) => self.follow(message, &later).await,
            Some(Err(failure)) => self.shared.carried.fail(&id, failure),
            // The time is up. The gate has the same limit, and says what follows.
            None => {}
        }
    }

    /// Returns the message, and what it says after the end; `None` if the time was up.
    async fn send(&self, item: Item) -> Option<Result<(Message, String), Failure>> {
        let (shared, context) = (&self.shared, &self.context);
        let left = item.expires_ms.map(|expires_ms| {
            let left = expires_ms.saturating_sub(unix_ms());
            Duration::from_millis(u64::try_from(left).unwrap_or(0))
        });
        let limits = [left, context.timeout, Some(LONGEST)];
        let limit = limits.into_iter().flatten().min();
        let written = Disclosure::new(&item, context.show, &context.redaction)
            .and_then(|disclosure| Text::new(&disclosure, context.show));
        let mut text = match written {
            Ok(text) => text,
            Err(error) => {
                return Some(Err(Failure {
                    kind: FailureKind::Rejected,
                    why: format!("the request cannot be written: {error}"),
                }));
            }
        };
        let mut body = json!({
            "chat_id": shared.chat(),
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": true},
        });
        if text.is_approvable {
            add(&mut body, "reply_markup", self.buttons.of_question());
            // So that whichever process polls finds the item. This one needs no store for that.
            let key = shared.key(&self.buttons);
            let engine = shared.engine.name();
            if let Err(failure) = shared.rows.remember(&key, &item.id, engine).await {
                tracing::debug!("other processes cannot take answers: {}", failure.why);
            }
        } else {
            text.link_to(context.page.soon(&item.id).await.as_deref());
        }
        shared.carried.shows(&item.id, text.is_approvable);
        drop(item);
        if let Some(document) = text.document.take() {
            let file = File {
                name: DOCUMENT,
                content: document.as_bytes(),
            };
            let fields = [
                (
                    "chat_id",
                    shared.chat().to_string().trim_matches('"').to_owned(),
                ),
                (
                    "caption",
                    "The whole call of the question below.".to_owned(),
                ),
            ];
            let is_wanted = || self.is_wanted();
            let uploaded =
                shared
                    .bot
                    .upload::<Message>("sendDocument", &fields, &file, limit, is_wanted);
            match uploaded.await? {
                Ok(message) => {
                    let reply = json!({"message_id": message.message_id, "allow_sending_without_reply": false});
                    add(&mut body, "reply_parameters", reply);
                }
                Err(failure) => return Some(Err(failure)),
            }
        }
        add(&mut body, "text", text.html.into());
        let sent = shared
            .bot
            .call::<Message>("sendMessage", &body, limit, || self.is_wanted());
        Some(sent.await?.map(|message| (message, text.later)))
    }

    fn is_wanted(&self) -> bool {
        !matches!(self.wanted.borrow().face, Face::Over(_))
    }

    /// Edits the message as the question goes on.
    async fn follow(&mut self, message: Message, later: &str) {
        let mut shown = Wanted {
            face: Face::Asking,
            notes: (0, String::new()),
        };
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            if wanted.notes.0 != shown.notes.0 {
                self.note(message, &wanted.notes.1).await;
            }
            if wanted.face != shown.face {
                self.show(message, later, &wanted.face).await;
            }
            if matches!(wanted.face, Face::Over(_)) {
                return;
            }
            shown = wanted;
            if self.wanted.changed().await.is_err() {
                return;
            }
        }
    }

    async fn show(&self, message: Message, later: &str, face: &Face) {
        let mut body = json!({"chat_id": message.chat.id, "message_id": message.message_id});
        let method = match face {
            Face::Asking => {
                add(&mut body, "reply_markup", self.buttons.of_question());
                "editMessageReplyMarkup"
            }
            Face::AskingReason => {
                add(&mut body, "reply_markup", self.buttons.of_denial());
                "editMessageReplyMarkup"
            }
            Face::Over(outcome) => {
                add(&mut body, "text", text::ended(outcome, later).into());
                add(&mut body, "parse_mode", "HTML".into());
                add(
                    &mut body,
                    "link_preview_options",
                    json!({"is_disabled": true}),
                );
                add(&mut body, "reply_markup", no_buttons());
                "editMessageText"
            }
        };
        self.edit(method, &body).await;
    }

    async fn note(&self, message: Message, note: &str) {
        let body = json!({
            "chat_id": message.chat.id,
            "text": note,
            "parse_mode": "HTML",
            "reply_parameters": {"message_id": message.message_id, "allow_sending_without_reply": true},
        });
        self.edit("sendMessage", &body).await;
    }

    /// Calls a method whose failure has no consequence for the question. People may have deleted the message, or removed
    /// the bot.
    async fn edit(&self, method: &str, body: &Value) {
        let edited = self
            .shared
            .bot
            .call::<Value>(method, body, Some(EDIT_TIME), || true);
        if let Some(Err(failure)) = edited.await {
            match failure.kind {
                FailureKind::Rejected => tracing::debug!("{method}: {}", failure.why),
                FailureKind::Unreachable
                | FailureKind::Misconfigured
                | FailureKind::RateLimited => {
                    let engine = self.shared.engine.name();
                    tracing::warn!(
                        "the engine `{engine}` cannot edit its message: {}",
                        failure.why
                    );
                }
            }
        }
    }
}

fn add(body: &mut Value, key: &str, value: Value) {
    if let Some(members) = body.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}
