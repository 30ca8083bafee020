//! The objects of the Bot API that the engine reads, with the members that it needs.
//!
//! Written from <https://core.telegram.org/bots/api#available-types>. Members that we do not name are ignored, so newer
//! versions of the API can be read.

use serde::Deserialize;
use serde_json::Value;

/// A message or a press. At most one of the members is there.
#[derive(Debug, Deserialize)]
pub(super) struct Update {
    pub(super) message: Option<Incoming>,
    pub(super) callback_query: Option<CallbackQuery>,
}

/// A press of a button.
#[derive(Debug, Deserialize)]
pub(super) struct CallbackQuery {
    pub(super) id: String,
    pub(super) from: User,
    /// The message with the button. Also there if it is too old to be read.
    pub(super) message: Option<Message>,
    pub(super) data: Option<String>,
}

/// A message that a person sent.
#[derive(Debug, Deserialize)]
pub(super) struct Incoming {
    pub(super) chat: Chat,
    /// Absent in channels.
    pub(super) from: Option<User>,
    pub(super) text: Option<String>,
    pub(super) caption: Option<String>,
    pub(super) reply_to_message: Option<Message>,
}

/// A message of ours.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Message {
    pub(super) message_id: i64,
    pub(super) chat: ChatId,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct ChatId {
    pub(super) id: i64,
}

/// A chat.
#[derive(Debug, Deserialize)]
pub(super) struct Chat {
    pub(super) id: i64,
    /// `private`, `group`, `supergroup` or `channel`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) title: Option<String>,
    /// What its members may do.
    pub(super) permissions: Option<Permissions>,
}

/// What members of a group may do.
#[derive(Debug, Deserialize)]
pub(super) struct Permissions {
    pub(super) can_send_messages: Option<bool>,
}

/// A user, or a bot.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct User {
    pub(super) id: i64,
    #[serde(default)]
    pub(super) first_name: String,
    pub(super) last_name: Option<String>,
    pub(super) username: Option<String>,
}

/// A member of a chat.
#[derive(Debug, Deserialize)]
pub(super) struct Member {
    /// `creator`, `administrator`, `member`, `restricted`, `left` or `kicked`.
    pub(super) status: String,
    pub(super) can_send_messages: Option<bool>,
    pub(super) can_post_messages: Option<bool>,
}

/// An update as it came. One that cannot be read must not hide the others.
#[derive(Debug)]
pub(super) struct RawUpdate {
    /// Confirms the update.
    pub(super) id: i64,
    /// `None` if it is of no use to us.
    pub(super) update: Option<Update>,
}

impl RawUpdate {
    /// Reads an update. Returns `None` if it has no id.
    pub(super) fn read(value: Value) -> Option<RawUpdate> {
        let id = value.get("update_id")?.as_i64()?;
        let update = Update::deserialize(value).ok();
        Some(RawUpdate { id, update })
    }
}

impl User {
    /// Returns how people know the user. Anybody can choose such a name.
    pub(super) fn name(&self) -> String {
        let mut name = self.first_name.clone();
        if let Some(last) = &self.last_name {
            name.push(' ');
            name.push_str(last);
        }
        match &self.username {
            Some(username) if name.is_empty() => format!("@{username}"),
            Some(username) => format!("{name} (@{username})"),
            None => name,
        }
    }

    /// Returns how records name the user.
    pub(super) fn approver(&self) -> String {
        approver(self.id)
    }
}

/// Returns how records name the user with this id.
pub(super) fn approver(id: i64) -> String {
    format!("telegram:{id}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_update_that_is_of_no_use_still_has_its_id() {
        let press = json!({"update_id": 7, "callback_query": {"id": "1", "from": {"id": 5, "is_bot": false, "first_name": "Ann"},
            "chat_instance": "x", "data": "d", "message": {"message_id": 3, "date": 0, "chat": {"id": -9, "type": "group"}}}});
        let read = RawUpdate::read(press).unwrap();
        let query = read.update.unwrap().callback_query.unwrap();
        assert_eq!((read.id, query.message.unwrap().chat.id), (7, -9));
        let odd = RawUpdate::read(json!({"update_id": 8, "callback_query": {"id": 1}})).unwrap();
        assert!(odd.id == 8 && odd.update.is_none());
        let newer = RawUpdate::read(json!({"update_id": 9, "poll": {}})).unwrap();
        assert!(newer.update.unwrap().callback_query.is_none());
        for none in [json!({}), json!("x"), json!({"update_id": "9"})] {
            assert!(RawUpdate::read(none).is_none());
        }
    }
}
