//! `engines test`: whether the token works and the bot can write to the chat, and the ids of people who wrote to it.
//!
//! Sends no message and confirms no update.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::Shared;
use super::bot::Refusal;
use super::poller::wanted_updates;
use super::types::{Chat, Member, RawUpdate, User};
use crate::approval::display::quoted_name;
use crate::gate::{Failure, FailureKind};

/// How long to wait until no other process polls.
const ELECTION_TIME: Duration = Duration::from_millis(1_500);
/// How many people are listed.
const MAX_SEEN: usize = 10;

/// Tests the engine.
///
/// # Errors
/// If a question would fail now.
pub(super) async fn test(shared: &Shared) -> Result<String, Failure> {
    let bot: User = call(shared, "getMe", &json!({})).await?;
    let bot_name = bot.username.as_deref().map(|name| format!("@{name}"));
    let bot_name = bot_name.unwrap_or_else(|| quoted_name(&bot.first_name));
    let found = chat(shared, &bot, &bot_name).await;
    let seen = people(shared).await;
    match found {
        Ok(found) => Ok(format!("{found}{seen}")),
        Err(failure) => Err(Failure {
            why: format!("{}{seen}", failure.why),
            ..failure
        }),
    }
}

/// Says whether the bot can write to the chat.
async fn chat(shared: &Shared, bot: &User, bot_name: &str) -> Result<String, Failure> {
    let misconfigured = |why: String| Failure {
        kind: FailureKind::Misconfigured,
        why,
    };
    let chat: Chat = call(shared, "getChat", &json!({"chat_id": shared.chat()}))
        .await
        .map_err(|failure| match failure.kind {
            FailureKind::Rejected => misconfigured(format!(
                "{}; check `chatId`, and that the bot {bot_name} was added to the chat or started there",
                failure.why
            )),
            FailureKind::Unreachable | FailureKind::Misconfigured | FailureKind::RateLimited => failure,
        })?;
    let place = match &chat.title {
        Some(title) => format!("the {} {}", chat.kind, quoted_name(title)),
        None => format!("the {} chat", chat.kind),
    };
    if chat.kind != "private" {
        let body = json!({"chat_id": shared.chat(), "user_id": bot.id});
        let member: Member = call(shared, "getChatMember", &body).await?;
        let by_default = chat.permissions.and_then(|all| all.can_send_messages);
        let may_write = match &*member.status {
            "creator" => true,
            "administrator" => chat.kind != "channel" || member.can_post_messages.unwrap_or(false),
            "member" => chat.kind != "channel" && by_default.unwrap_or(true),
            "restricted" => member.can_send_messages.unwrap_or(false),
            _ => false,
        };
        if !may_write {
            return Err(misconfigured(format!(
                "the bot {bot_name} may not write to {place} (it is {} there); add it, and allow it to send messages",
                quoted_name(&member.status)
            )));
        }
    }
    Ok(format!("{bot_name} can write to {place}"))
}

/// Returns the ids of people who wrote to the bot in the last 24 hours, as the end of a sentence.
async fn people(shared: &Shared) -> String {
    // A poll would end the one of another process.
    let credential = shared.credential();
    let election = shared.rows.elect(&credential);
    let Ok(_elected) = timeout(ELECTION_TIME, election).await else {
        return String::new();
    };
    // Without an offset, nothing is confirmed.
    let body = json!({"timeout": 0, "limit": 100, "allowed_updates": wanted_updates()});
    let Ok(updates) = shared
        .bot
        .once::<Vec<Value>>("getUpdates", &body, Duration::ZERO)
        .await
    else {
        return String::new();
    };
    let mut seen = BTreeSet::new();
    for update in updates.into_iter().rev().filter_map(RawUpdate::read) {
        let message = update.update.and_then(|update| update.message);
        let Some((chat, from)) = message.and_then(|message| Some((message.chat, message.from?)))
        else {
            continue;
        };
        let name = quoted_name(&from.name());
        let place = match (&chat.title, chat.id == from.id) {
            (_, true) => "privately".to_owned(),
            (Some(title), false) => format!("in chat {} ({})", chat.id, quoted_name(title)),
            (None, false) => format!("in chat {}", chat.id),
        };
        seen.insert(format!("user {} ({name}) {place}", from.id));
        if seen.len() >= MAX_SEEN {
            break;
        }
    }
    match seen.is_empty() {
        true => String::new(),
        false => {
            let seen: Vec<String> = seen.into_iter().collect();
            format!("; wrote to the bot lately: {}", seen.join(", "))
        }
    }
}

async fn call<T: serde::de::DeserializeOwned>(
    shared: &Shared,
    method: &str,
    body: &Value,
) -> Result<T, Failure> {
    let called = shared.bot.once(method, body, Duration::ZERO).await;
    called.map_err(|Refusal { failure, .. }| failure)
}
