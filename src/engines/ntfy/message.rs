//! What is published about an item: the text, and the document for the server.
//!
//! Written from <https://docs.ntfy.sh/publish/> ("Publish as JSON", "Message priority", "Tags & emojis", "Click action",
//! "Send HTTP request", "Limitations"), and from the server's own `server/server_firebase.go` for what a phone gets. Sends
//! nothing.

use bytes::Bytes;
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::carried::Codes;
use crate::approval::display::quoted_text;
use crate::approval::item::Item;
use crate::approval::render::{Card, Markup, ShownCall, after_question, card};
use crate::engines::disclosure::Disclosure;
use crate::mcp::json::JsonError;
use crate::policy::Risk;

/// The longest card, in bytes. A message of more than 4,096 bytes becomes an attachment, which nobody sees at a glance.
const MAX_CARD: usize = 3_800;
/// The longest card as a string in JSON. A server reads documents of up to 8,192 bytes, and the rest needs up to 2,100.
const MAX_ESCAPED: usize = 6_000;
/// The longest card if that one would be longer as a string in JSON. Escapes at most double it.
const MAX_ESCAPED_CARD: usize = 2_000;
/// The longest push, in bytes. ntfy.sh sends a message to phones through Google's service, which takes so much. The server
/// cuts the text of a longer one, without a sign of it on the phone, or the push never arrives.
const MAX_PUSH: usize = 4_000;
/// What a push may have beside the members that we know.
const PUSH_RESERVE: usize = 200;
/// How much of a text a push has once more, for iPhones, in bytes.
const PUSH_ALERT: usize = 100;
/// How many bytes at most remain of a card that is too long for a push, and the steps to fewer.
const MAX_CUT_CARD: usize = 1_200;
const CUT_STEP: usize = 150;
/// The longest title, in bytes.
const MAX_TITLE: usize = 200;
/// How much of a name a title shows, in characters.
const MAX_NAME: usize = 60;
/// The longest URL of a page, in bytes.
const MAX_CLICK: usize = 500;

/// What a message says about an item.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    topic: String,
    title: String,
    card: String,
    risk: Risk,
    /// The item's page.
    click: Option<String>,
    /// Whether all of the call is shown, so that it could be approved there.
    is_whole: bool,
}

impl Text {
    /// Writes an item for a topic. Takes long if the call is large. `click` is the item's page.
    ///
    /// # Errors
    /// If the call is not JSON.
    pub(super) fn new(
        disclosure: &Disclosure<'_>,
        topic: &str,
        click: Option<&str>,
    ) -> Result<Text, JsonError> {
        let (item, call) = (disclosure.item(), disclosure.call());
        let look = |max| Card {
            markup: Markup::Plain,
            max,
            call,
            can_deny: false,
            cut_notice: CUT,
        };
        let mut message = card(item, &look(MAX_CARD))?;
        if escaped(&message.text) > MAX_ESCAPED {
            message = card(item, &look(MAX_ESCAPED_CARD))?;
        }
        let mut text = Text {
            topic: topic.to_owned(),
            title: title(item),
            is_whole: call == ShownCall::Whole && !message.is_cut,
            // The title asks. Messages stay on phones, where the first line would say for good that the call has not run.
            card: after_question(&message.text).to_owned(),
            risk: item.risk,
            click: click
                .filter(|click| click.len() <= MAX_CLICK)
                .map(str::to_owned),
        };
        text.shorten();
        Ok(text)
    }

    /// Cuts the card if phones would not get all of it.
    fn shorten(&mut self) {
        if self.fits(None) {
            return;
        }
        // INVARIANT 2: people approve what they see, and would see less than was sent.
        self.is_whole = false;
        let all = std::mem::take(&mut self.card);
        for max in (0..=MAX_CUT_CARD).rev().step_by(CUT_STEP) {
            self.card = format!("{}…\n\n{CUT}", beginning(&all, max));
            if self.fits(None) {
                return;
            }
        }
    }

    /// Says whether phones get all of the message, with buttons that post to this topic for replies or without.
    fn fits(&self, reply: Option<&Url>) -> bool {
        let longest = Codes::of_full_length();
        let buttons = reply.map(|reply| (&longest, reply));
        push_size(&self.members(buttons)) <= MAX_PUSH
    }

    /// Says whether the message may have buttons: only if phones show the whole call beside them.
    pub(super) fn may_have_buttons(&self, reply: &Url) -> bool {
        // INVARIANT 2. A topic is too weak for calls of high risk.
        self.is_whole && self.risk != Risk::High && self.fits(Some(reply))
    }

    /// Returns the document to publish.
    pub(super) fn document(&self, buttons: Option<(&Codes, &Url)>) -> Bytes {
        Value::from(self.members(buttons)).to_string().into()
    }

    fn members(&self, buttons: Option<(&Codes, &Url)>) -> Map<String, Value> {
        let (priority, symbol) = urgency(self.risk);
        let end = match (buttons, &self.click) {
            (Some(_), _) => "",
            (None, Some(_)) => "\n\nTap this message to decide in the approval inbox.",
            (None, None) => "\n\nDecide in the approval inbox: run approval-proxy inbox",
        };
        let mut members = Map::new();
        let mut add = |key: &str, value: Value| {
            members.insert(key.to_owned(), value);
        };
        add("topic", self.topic.as_str().into());
        add("title", self.title.as_str().into());
        add("message", format!("{}{end}", self.card).into());
        add("priority", priority.into());
        let risk = format!("risk-{}", self.risk.as_str());
        add("tags", json!([symbol, risk]));
        if let Some(click) = &self.click {
            add("click", click.as_str().into());
        }
        if let Some((codes, url)) = buttons {
            // Without headers: pressing a button needs no credential to write to that topic.
            let button = |label: &str, code: &str| {
                json!({
                    "action": "http", "label": label, "url": url.as_str(), "method": "POST", "body": code,
                    "clear": true,
                })
            };
            let both = [
                button("Approve", &codes.approve),
                button("Deny", &codes.deny),
            ];
            add("actions", Value::from(both.to_vec()));
        }
        members
    }
}

/// What is said about a call that is too long for the message.
const CUT: &str = "Not everything is shown in this message, so the call can be decided only in the approval inbox.";

/// Returns the title. The tool comes first, because phones cut titles.
fn title(item: &Item) -> String {
    let (tool, server) = (
        quoted_text(&item.tool, MAX_NAME),
        quoted_text(&item.server, MAX_NAME),
    );
    let mut title = format!(
        "{tool} on {server}, risk {}: {}",
        item.risk.as_str(),
        item.question
    );
    title.truncate(beginning(&title, MAX_TITLE).len());
    title
}

/// Returns the first `max` bytes of a text, or fewer, without a part of a character.
fn beginning(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Returns the priority, where 3 is the usual one and 5 the highest, and a tag that is shown as an emoji.
fn urgency(risk: Risk) -> (u8, &'static str) {
    match risk {
        Risk::High => (5, "rotating_light"),
        Risk::Medium | Risk::Unknown => (4, "warning"),
        Risk::Low => (3, "question"),
    }
}

/// Returns how many bytes a text has as a string in JSON.
fn escaped(text: &str) -> usize {
    Value::from(text).to_string().len()
}

/// Returns how many bytes the server sends to Google's service for phones. That has all members twice: for Android phones,
/// and in what is passed on to iPhones.
fn push_size(members: &Map<String, Value>) -> usize {
    let text = |key: &str| members.get(key).and_then(Value::as_str).unwrap_or_default();
    let json = |key: &str| members.get(key).map(Value::to_string).unwrap_or_default();
    let data = json!({
        "id": "x".repeat(12), "time": "0".repeat(10), "event": "message", "topic": text("topic"),
        "priority": json("priority"), "tags": json("tags"), "click": text("click"), "icon": "",
        "title": text("title"), "message": text("message"), "content_type": "", "encoding": "",
        "actions": json("actions"),
    });
    let alert = json!({"title": text("title"), "body": beginning(text("message"), PUSH_ALERT)});
    let push = json!({
        "topic": text("topic"), "data": data, "android": {"priority": "high"},
        "apns": {"payload": [data, {"aps": {"alert": alert, "mutable-content": 1}}]},
    });
    let push = push.to_string();
    // The server's JSON writes these as six bytes.
    let longer = push.matches(['<', '>', '&', '\u{2028}', '\u{2029}']);
    push.len() + 5 * longer.count() + PUSH_RESERVE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::render::Show;
    use crate::engines::for_test::item;
    use crate::evidence::redact::Redaction;

    /// "Messages can be up to 4,096 bytes long"; a JSON document up to twice that.
    const SERVER_MESSAGE: usize = 4_096;
    const SERVER_DOCUMENT: usize = 2 * SERVER_MESSAGE;

    fn text(item: &Item, show: Show) -> Text {
        let disclosure = Disclosure::new(item, show, &Redaction::default()).unwrap();
        Text::new(&disclosure, "t", None).unwrap()
    }

    fn json(document: &Bytes) -> Value {
        serde_json::from_slice(document).unwrap()
    }

    fn buttons() -> (Codes, Url) {
        let codes = Codes {
            approve: "a".repeat(32),
            deny: "d".repeat(32),
        };
        let host = "h".repeat(230);
        let url = Url::parse(&format!("https://{host}/{}", "r".repeat(64))).unwrap();
        (codes, url)
    }

    fn with_argument(value: &str) -> Item {
        let value = Value::from(value);
        Item {
            call: format!(r#"{{"name":"drop_table","arguments":{{"v":{value}}}}}"#),
            ..item("a")
        }
    }

    #[test]
    fn no_message_is_longer_than_a_server_takes() {
        let (codes, url) = buttons();
        for part in ["x", "\"", "\n", "\\", "é", "😀", "\u{1}", "\u{202e}"] {
            for count in [1, 500, 1_000, 2_000, 3_000, 9_000] {
                let item = Item {
                    tool: part.repeat(count),
                    description: Some(part.repeat(count)),
                    ..with_argument(&part.repeat(count))
                };
                let disclosure = Disclosure::new(&item, Show::Full, &Redaction::default()).unwrap();
                let click = format!("https://{}", "c".repeat(480));
                let text = Text::new(&disclosure, &"t".repeat(64), Some(&click)).unwrap();
                for buttons in [None, Some((&codes, &url))] {
                    let document = text.document(buttons);
                    assert!(document.len() <= SERVER_DOCUMENT, "{part:?} {count}");
                    let document = json(&document);
                    let message = document["message"].as_str().unwrap();
                    assert!(message.len() <= SERVER_MESSAGE, "{part:?} {count}");
                    let title = document["title"].as_str().unwrap();
                    assert!(title.len() <= MAX_TITLE, "{title}");
                }
                let members = text.members(None);
                assert!(push_size(&members) <= MAX_PUSH, "{part:?} {count}");
            }
        }
    }

    #[test]
    fn a_push_is_measured_as_ntfy_sh_measures_it() {
        // <https://github.com/binwiederhier/ntfy/issues/1515>: of texts of 2,441 and 2,820 bytes, 871 and 491 remained.
        for (sent, remained) in [(2_441, 871), (2_820, 491)] {
            let members = json!({"topic": "test_test_123456", "message": "x".repeat(sent)});
            let measured = push_size(members.as_object().unwrap());
            let theirs = 4_000 - 16 + sent - remained;
            assert!((theirs..theirs + 400).contains(&measured), "{measured}");
        }
    }

    #[test]
    fn there_are_buttons_only_beside_a_call_that_phones_show_to_its_last_byte() {
        let reply = Url::parse("https://ntfy.sh/replies-81c2").unwrap();
        let of = |length: usize| {
            let item = Item {
                risk: Risk::Medium,
                ..with_argument(&"y".repeat(length))
            };
            text(&item, Show::Full)
        };
        assert!(of(300).may_have_buttons(&reply));
        let longer = (300..4_000).find(|length| !of(*length).may_have_buttons(&reply));
        let longest = of(longer.unwrap() - 1);
        let codes = Codes::of_full_length();
        let members = longest.members(Some((&codes, &reply)));
        assert!(push_size(&members) > MAX_PUSH - 10);
        for length in (300..4_000).step_by(100) {
            let text = of(length);
            assert!(push_size(&text.members(None)) <= MAX_PUSH, "{length}");
            assert!(text.is_whole || text.card.ends_with(CUT), "{length}");
            assert!(text.is_whole || !text.may_have_buttons(&reply), "{length}");
        }
        let high = Item {
            risk: Risk::High,
            ..with_argument("y")
        };
        assert!(!text(&high, Show::Full).may_have_buttons(&reply));
    }

    #[test]
    fn only_a_call_that_is_shown_whole_could_be_approved_there() {
        assert!(text(&with_argument("orders-7Q"), Show::Redacted).is_whole);
        let long = text(&with_argument(&"y".repeat(9_000)), Show::Full);
        assert!(!long.is_whole && long.card.contains(CUT), "{}", long.card);
        let secret = Item {
            call: r#"{"name":"x","arguments":{"password":"hunter2-XK"}}"#.to_owned(),
            ..item("a")
        };
        let redacted = text(&secret, Show::Redacted);
        assert!(!redacted.is_whole && !redacted.card.contains("hunter2"));
        let summary = text(&with_argument("orders-7Q"), Show::Summary);
        assert!(!summary.is_whole && !summary.card.contains("orders-7Q"));
    }

    #[test]
    fn a_riskier_call_has_a_higher_priority_and_its_risk_is_in_title_and_tags() {
        let document = |risk| -> Value {
            let item = Item { risk, ..item("a") };
            json(&text(&item, Show::Full).document(None))
        };
        let all = [Risk::Low, Risk::Medium, Risk::High].map(document);
        let priorities: Vec<_> = all.iter().map(|it| it["priority"].as_u64()).collect();
        assert_eq!(priorities, [Some(3), Some(4), Some(5)]);
        let [.., high] = all;
        assert_eq!(high["tags"], json!(["rotating_light", "risk-high"]));
        let title = r#""drop_table" on "db", risk high: Allow this tool call?"#;
        assert_eq!(high["title"], title);
        assert!(high.get("actions").is_none() && high.get("click").is_none());
        let message = high["message"].as_str().unwrap();
        assert!(!message.contains("has not run"), "{message}");
        assert!(message.ends_with("run approval-proxy inbox"), "{message}");
    }
}
