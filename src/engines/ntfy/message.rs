//! What is published about an item: the text, and the document for the server.
//!
//! Written from <https://docs.ntfy.sh/publish/> ("Publish as JSON", "Message priority", "Tags & emojis", "Click action",
//! "Send HTTP request", "Limitations"). Sends nothing.

use bytes::Bytes;
use reqwest::Url;
use serde_json::{Value, json};

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
/// The longest title, in bytes.
const MAX_TITLE: usize = 200;
/// How much of a name a title shows, in characters.
const MAX_NAME: usize = 60;
/// The longest URL of a page, in bytes.
const MAX_CLICK: usize = 500;

/// What a message says about an item.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    title: String,
    card: String,
    risk: Risk,
    /// Whether all of the call is shown, so that it could be approved there.
    pub(super) is_whole: bool,
}

impl Text {
    /// Writes an item. Takes long if the call is large.
    ///
    /// # Errors
    /// If the call is not JSON.
    pub(super) fn new(disclosure: &Disclosure<'_>) -> Result<Text, JsonError> {
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
        Ok(Text {
            title: title(item),
            is_whole: call == ShownCall::Whole && !message.is_cut,
            // The title asks. Messages stay on phones, where the first line would say for good that the call has not run.
            card: after_question(&message.text).to_owned(),
            risk: item.risk,
        })
    }

    /// Returns the document to publish. `click` is the item's page.
    pub(super) fn document(
        &self,
        topic: &str,
        click: Option<&str>,
        buttons: Option<(&Codes, &Url)>,
    ) -> Bytes {
        let click = click.filter(|click| click.len() <= MAX_CLICK);
        let (priority, symbol) = urgency(self.risk);
        let end = match (buttons, click) {
            (Some(_), _) => "",
            (None, Some(_)) => "\n\nTap this message to decide in the approval inbox.",
            (None, None) => "\n\nDecide in the approval inbox: run approval-proxy inbox",
        };
        let mut document = json!({
            "topic": topic,
            "title": self.title,
            "message": format!("{}{end}", self.card),
            "priority": priority,
            "tags": [symbol, format!("risk-{}", self.risk.as_str())],
        });
        let mut add = |key: &str, value: Value| {
            if let Some(members) = document.as_object_mut() {
                members.insert(key.to_owned(), value);
            }
        };
        if let Some(click) = click {
            add("click", click.into());
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
        document.to_string().into()
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
    let mut end = MAX_TITLE.min(title.len());
    while !title.is_char_boundary(end) {
        end -= 1;
    }
    title.truncate(end);
    title
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
        Text::new(&disclosure).unwrap()
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
                let text = text(&item, Show::Full);
                let click = format!("https://{}", "c".repeat(480));
                for buttons in [None, Some((&codes, &url))] {
                    let document = text.document(&"t".repeat(64), Some(&click), buttons);
                    assert!(document.len() <= SERVER_DOCUMENT, "{part:?} {count}");
                    let document: Value = serde_json::from_slice(&document).unwrap();
                    let message = document["message"].as_str().unwrap();
                    assert!(message.len() <= SERVER_MESSAGE, "{part:?} {count}");
                    let title = document["title"].as_str().unwrap();
                    assert!(title.len() <= MAX_TITLE, "{title}");
                }
            }
        }
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
            let document = text(&item, Show::Full).document("t", None, None);
            serde_json::from_slice(&document).unwrap()
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
