//! What people do with our messages, read from the payloads that Slack sends.
//!
//! Written from <https://docs.slack.dev/reference/interaction-payloads/block_actions-payload> and
//! <https://docs.slack.dev/reference/interaction-payloads/view-interactions-payload>. Whether it counts is decided in
//! `clicks`.

use serde_json::Value;

use crate::approval::item::Choice;

/// The ids of our buttons. They stand in messages, so they must not change.
pub(super) const APPROVE: &str = "approval_proxy_approve";
pub(super) const DENY: &str = "approval_proxy_deny";
/// The id of the link to the page. Slack reports clicks on it, too.
pub(super) const OPEN: &str = "approval_proxy_open";
/// The ids of the modal for a reason, and of its field.
pub(super) const REASON: &str = "approval_proxy_reason";

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Interaction {
    /// Clicked one of the two buttons.
    Click(Click),
    /// Sent the modal with the reason for a denial.
    Reason(Reason),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Click {
    /// The id of a user. Slack vouches for it.
    pub(super) user: String,
    pub(super) channel: Option<String>,
    pub(super) choice: Choice,
    /// The button's value; see [`Target`].
    pub(super) value: String,
    /// Opens a modal within three seconds.
    pub(super) trigger: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) user: String,
    /// The modal's `private_metadata`; see [`Target`].
    pub(super) value: String,
    pub(super) reason: Option<String>,
}

/// The longest text of a payload that is taken, in bytes. Ours are shorter.
const MAX_TEXT: usize = 4_096;

impl Interaction {
    /// Reads a payload. Returns `None` if it is about nothing of ours, or not as documented.
    pub(super) fn of(payload: &Value) -> Option<Interaction> {
        let user = payload.pointer("/user/id").and_then(text_of)?;
        let user = is_id(user).then(|| user.to_owned())?;
        match payload.get("type").and_then(Value::as_str)? {
            "block_actions" => {
                let [action] = payload.get("actions")?.as_array()?.as_slice() else {
                    // A click is one action.
                    return None;
                };
                let choice = match action.get("action_id").and_then(Value::as_str)? {
                    APPROVE => Choice::Approve,
                    DENY => Choice::Deny,
                    _ => return None,
                };
                let channel = payload.pointer("/channel/id");
                let channel = channel.or_else(|| payload.pointer("/container/channel_id"));
                let channel = channel.and_then(text_of).filter(|id| is_id(id));
                let trigger = payload.get("trigger_id").and_then(text_of);
                Some(Interaction::Click(Click {
                    user,
                    channel: channel.map(str::to_owned),
                    choice,
                    value: action.get("value").and_then(text_of)?.to_owned(),
                    trigger: trigger.map(str::to_owned),
                }))
            }
            "view_submission" => {
                let view = payload.get("view")?;
                if view.get("callback_id").and_then(Value::as_str)? != REASON {
                    return None;
                }
                let value = view.get("private_metadata").and_then(text_of)?;
                // Not cut here: the store does that, and says where.
                let reason = view.pointer(&format!("/state/values/{REASON}/{REASON}/value"));
                let reason = reason.and_then(Value::as_str).map(str::trim);
                let reason = reason.filter(|reason| !reason.is_empty());
                Some(Interaction::Reason(Reason {
                    user,
                    value: value.to_owned(),
                    reason: reason.map(str::to_owned),
                }))
            }
            _ => None,
        }
    }
}

fn text_of(value: &Value) -> Option<&str> {
    let text = value.as_str()?;
    (!text.is_empty() && text.len() <= MAX_TEXT).then_some(text)
}

/// Returns true if a text can be an id of Slack: of a user, such as `U024BE7LH`, or of a channel.
pub(super) fn is_id(text: &str) -> bool {
    (3..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// What a button is about. It travels in the button's value, and in the modal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The item's id.
    pub(super) item: String,
    /// Of exactly what the message shows. A program that can write to the store cannot point a button at another call.
    pub(super) fingerprint: String,
    /// The engine's name in the process that asked.
    pub(super) engine: String,
    /// Where the message is. Only in a modal.
    pub(super) channel: Option<String>,
}

/// The version of the format.
const VERSION: &str = "1";

impl Target {
    /// Writes it as one short text.
    pub(super) fn to_text(&self) -> String {
        let Target {
            item,
            fingerprint,
            engine,
            channel,
        } = self;
        // No part has a colon.
        let channel = channel.as_deref().unwrap_or_default();
        format!("{VERSION}:{item}:{fingerprint}:{engine}:{channel}")
    }

    /// Reads it.
    pub(super) fn of(text: &str) -> Option<Target> {
        let parts: Vec<&str> = text.split(':').collect();
        let &[VERSION, item, fingerprint, engine, channel] = parts.as_slice() else {
            return None;
        };
        let is_hex = |text: &str, length| {
            text.len() == length
                && text
                    .bytes()
                    .all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
        };
        if !is_hex(item, 32) || !is_hex(fingerprint, 64) || engine.is_empty() {
            return None;
        }
        Some(Target {
            item: item.to_owned(),
            fingerprint: fingerprint.to_owned(),
            engine: engine.to_owned(),
            channel: is_id(channel).then(|| channel.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target() -> Target {
        Target {
            item: "0a".repeat(16),
            fingerprint: "1b".repeat(32),
            engine: "team.one_2-x".to_owned(),
            channel: Some("C024BE7LR".to_owned()),
        }
    }

    fn click() -> Value {
        json!({
            "type": "block_actions",
            "user": {"id": "U024BE7LH", "team_id": "T1"},
            "channel": {"id": "C024BE7LR"},
            "trigger_id": "1.2.3",
            "actions": [{"action_id": APPROVE, "value": "v", "type": "button"}],
        })
    }

    fn submission() -> Value {
        json!({
            "type": "view_submission",
            "user": {"id": "U024BE7LH"},
            "view": {
                "callback_id": REASON,
                "private_metadata": "v",
                "state": {"values": {REASON: {REASON: {"type": "plain_text_input", "value": " no "}}}},
            },
        })
    }

    #[test]
    fn a_click_and_a_reason_are_read_as_documented() {
        let read = Interaction::of(&click()).unwrap();
        assert_eq!(
            read,
            Interaction::Click(Click {
                user: "U024BE7LH".to_owned(),
                channel: Some("C024BE7LR".to_owned()),
                choice: Choice::Approve,
                value: "v".to_owned(),
                trigger: Some("1.2.3".to_owned()),
            })
        );
        let read = Interaction::of(&submission()).unwrap();
        assert_eq!(
            read,
            Interaction::Reason(Reason {
                user: "U024BE7LH".to_owned(),
                value: "v".to_owned(),
                reason: Some("no".to_owned()),
            })
        );
        let mut silent = submission();
        silent["view"]["state"]["values"][REASON][REASON]["value"] = Value::Null;
        let Some(Interaction::Reason(read)) = Interaction::of(&silent) else {
            panic!("no reason is needed");
        };
        assert_eq!(read.reason, None);
    }

    #[test]
    fn anything_else_is_nothing_of_ours() {
        type Change = fn(&mut Value);
        let changes: [Change; 13] = [
            |p| *p = json!(null),
            |p| *p = json!([]),
            |p| p["type"] = json!("shortcut"),
            |p| p["type"] = json!(["block_actions"]),
            |p| p["user"] = json!(null),
            |p| p["user"]["id"] = json!(["U024BE7LH"]),
            |p| p["user"]["id"] = json!("U024BE7LH> <!channel"),
            |p| p["actions"] = json!([]),
            |p| p["actions"] = json!({"0": p["actions"][0].clone()}),
            |p| p["actions"] = json!([p["actions"][0].clone(), p["actions"][0].clone()]),
            |p| p["actions"][0]["action_id"] = json!(OPEN),
            |p| p["actions"][0]["value"] = json!(null),
            |p| p["actions"][0]["value"] = json!("v".repeat(5_000)),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut changed = click();
            change(&mut changed);
            assert_eq!(Interaction::of(&changed), None, "change {n}");
        }
        for (at, value) in [
            ("/view/callback_id", json!("approve")),
            ("/view/private_metadata", json!(7)),
            ("/view", json!(null)),
        ] {
            let mut changed = submission();
            *changed.pointer_mut(at).unwrap() = value;
            assert_eq!(Interaction::of(&changed), None, "{at}");
        }
    }

    #[test]
    fn a_target_survives_its_text_and_nothing_else_is_one() {
        let without = Target {
            channel: None,
            ..target()
        };
        for target in [target(), without] {
            assert_eq!(Target::of(&target.to_text()), Some(target));
        }
        let text = target().to_text();
        assert!(text.len() < 2_000, "Slack takes no longer value");
        for wrong in [
            "",
            "0",
            &"0".repeat(32),
            &text.replace("0a0a", "0A0A"),
            &text.replace("1b1b", "1b"),
            &text.replace("1:", "2:"),
            &format!("{text}:x"),
        ] {
            assert_eq!(Target::of(wrong), None, "{wrong}");
        }
    }
}
