//! What a push message says about an item, and how urgent it is.
//!
//! Sends nothing, and knows no arguments.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use crate::approval::display::quoted_text;
use crate::approval::item::Item;
use crate::policy::Risk;

/// The longest time for which a push service keeps a message, also if the item has no limit.
pub(super) const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// How much of a name is shown, in characters.
const MAX_NAME: usize = 60;
/// The length of a topic in bytes, before it is written as base64url. A topic has at most 32 characters (RFC 8030,
/// section 5.4).
const TOPIC_LEN: usize = 24;

/// A push message about one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    item: String,
    title: String,
    body: String,
    urgency: Urgency,
    left: Duration,
}

/// The values of the header `Urgency` that we use (RFC 8030, section 5.3).
///
/// Never lower than `normal`: a phone that is not charging would show nothing while the call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Wakes a phone even if its battery is low.
    High,
    /// Waits if the battery is low.
    Normal,
}

impl Urgency {
    /// Returns the value of the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Urgency::High => "high",
            Urgency::Normal => "normal",
        }
    }
}

impl From<Risk> for Urgency {
    fn from(risk: Risk) -> Urgency {
        match risk {
            Risk::High | Risk::Unknown => Urgency::High,
            Risk::Medium | Risk::Low => Urgency::Normal,
        }
    }
}

impl Notice {
    /// Says that an item waits: its tool and its risk, and nothing else of the call.
    #[must_use]
    pub fn about(item: &Item, now_ms: i64) -> Notice {
        let left = item.expires_ms.map_or(MAX_TTL, |expires_ms| {
            let left = expires_ms.saturating_sub(now_ms);
            Duration::from_millis(u64::try_from(left).unwrap_or(0))
        });
        Notice {
            item: item.id.clone(),
            title: format!("Approve {}?", quoted_text(&item.tool, MAX_NAME)),
            body: format!("Risk {}", item.risk.as_str()),
            urgency: item.risk.into(),
            left: left.min(MAX_TTL),
        }
    }

    /// Returns the item's id.
    #[must_use]
    pub fn item(&self) -> &str {
        &self.item
    }

    /// Returns how long the message is of use, from when the notice was made.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// Returns how urgent it is.
    pub(super) fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// Returns the topic: a newer message about the same item replaces an older one that was not delivered, and no
    /// message replaces one about another item (RFC 8030, section 5.4). The push service cannot tell the item's id
    /// from it.
    pub(super) fn topic(&self) -> String {
        let mut topic = [0; TOPIC_LEN];
        let mut hasher =
            blake3::Hasher::new_derive_key("approval-proxy 2026 topic of a push message");
        hasher.update(self.item.as_bytes());
        hasher.finalize_xof().fill(&mut topic);
        BASE64_URL_SAFE_NO_PAD.encode(topic)
    }

    /// Returns the plaintext that our service worker reads. It takes an id from it, never a URL.
    pub(super) fn message(&self) -> Vec<u8> {
        let message = json!({"title": self.title, "body": self.body, "item": self.item});
        message.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::for_test::item;
    use crate::engines::inbox::push::encrypt::MAX_MESSAGE;

    #[test]
    fn a_notice_says_tool_and_risk_and_nothing_else_of_the_call() {
        let mut item = item("a1");
        item.question = "MARK question".to_owned();
        item.why = "MARK why".to_owned();
        item.title = Some("MARK title".to_owned());
        item.description = Some("MARK description".to_owned());
        item.hints = "MARK hints".to_owned();
        item.call = r#"{"name":"drop_table","arguments":{"a":"MARK"}}"#.to_owned();
        item.client = Some("MARK client".to_owned());
        let message = Notice::about(&item, 0).message();
        let message: serde_json::Value = serde_json::from_slice(&message).unwrap();
        let expected = json!({
            "title": "Approve \"drop_table\"?",
            "body": "Risk high",
            "item": item.id,
        });
        assert_eq!(message, expected);
    }

    #[test]
    fn the_longest_names_fit_and_cannot_change_the_text_around_them() {
        for name in [
            "x".repeat(10_000),
            "\u{10ffff}".repeat(10_000),
            "\u{202e}\"\\\n".repeat(10_000),
            "😀".repeat(10_000),
        ] {
            let mut item = item("a1");
            (item.tool, item.server) = (name.clone(), name);
            let notice = Notice::about(&item, 0);
            assert!(notice.message().len() <= MAX_MESSAGE);
            let shown = format!("{}{}", notice.title, notice.body);
            assert!(!shown.contains(['\n', '\u{202e}', '\u{10ffff}']), "{shown}");
        }
    }

    #[test]
    fn it_is_of_use_as_long_as_the_item_waits_but_at_most_a_day() {
        let mut item = item("a1");
        let left = |expires_ms| {
            item.expires_ms = expires_ms;
            Notice::about(&item, 1_000).left().as_secs()
        };
        let lefts = [None, Some(0), Some(61_000), Some(i64::MAX)].map(left);
        assert_eq!(lefts, [86_400, 0, 60, 86_400]);
    }

    #[test]
    fn only_messages_about_the_same_item_replace_each_other() {
        let topic = |id| Notice::about(&item(id), 0).topic();
        let (one, other) = (topic("a1"), topic("b2"));
        assert_eq!(one, topic("a1"));
        assert_ne!(one, other);
        let is_of_the_alphabet = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        assert!(
            one.len() == 32 && one.chars().all(is_of_the_alphabet),
            "{one}"
        );
        assert!(!one.contains("a1000000"), "{one}");
    }

    #[test]
    fn what_may_harm_wakes_a_phone() {
        let urgency = |risk| Urgency::from(risk).as_str();
        let risks = [Risk::High, Risk::Unknown, Risk::Medium, Risk::Low];
        assert_eq!(risks.map(urgency), ["high", "high", "normal", "normal"]);
    }
}
