//! The messages and the modal that people see in Slack, as JSON.
//!
//! Written from <https://docs.slack.dev/reference/block-kit/> and
//! <https://docs.slack.dev/messaging/formatting-message-text>. `approval::render` writes the text; `api` sends it.

use serde_json::{Value, json};

use super::interaction::{APPROVE, DENY, OPEN, REASON, Target, is_id};
use crate::approval::display::{indented, quoted_text};
use crate::approval::item::Item;
use crate::approval::render::{Card, Markup, ShownCall, after_question, card, in_span};
use crate::engines::chat::Outcome;
use crate::engines::disclosure::Disclosure;
use crate::mcp::json::{self, JsonError};
use crate::policy::Risk;

/// The longest text of a section is 3,000 characters.
const MAX_SECTION: usize = 3_000;
/// How many sections one reply has. A message may have 50 blocks, but no more than about 13,000 characters in them.
const SECTIONS: usize = 4;
/// How many replies show one call. More would take longer to send than people wait.
const MAX_REPLIES: usize = 5;
/// How many characters of names, and of reasons, are quoted in a line of ours. Each may become an escape of ten.
const QUOTED_NAME: usize = 64;
const QUOTED: usize = 150;

/// Said if the card is too short for the whole call.
const IN_THREAD: &str = "Not everything fits here. The thread below shows the whole call.";
const ON_PAGE: &str =
    "Not everything fits here. So this call can be decided only in the approval inbox.";

/// A question as people see it.
#[derive(Debug)]
pub(super) struct Question {
    /// Names the call on one line.
    named: String,
    /// The card.
    text: String,
    /// What the thread shows; empty if the card shows everything.
    pub(super) replies: Vec<Value>,
    risk: Risk,
    /// Names the tool and the server in the dialog that confirms an approval.
    about: String,
    page: Option<String>,
    pub(super) buttons: Buttons,
}

/// What people can do with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Buttons {
    /// Approve and deny it.
    Decide,
    /// The same, once the thread shows the whole call.
    DecideAfterReplies,
    /// Only open it in the inbox.
    Open,
}

impl Question {
    /// Writes a question. `may_reply` says whether a thread may show what does not fit on the card.
    ///
    /// # Errors
    /// If the call is not JSON.
    pub(super) fn new(disclosure: &Disclosure<'_>, may_reply: bool) -> Result<Question, JsonError> {
        let item = disclosure.item();
        let write = |cut_notice| {
            let look = Card {
                markup: Markup::Mrkdwn,
                max: MAX_SECTION,
                call: disclosure.call(),
                can_deny: false,
                cut_notice,
            };
            card(item, &look)
        };
        let whole = write(ON_PAGE)?;
        let replies = match whole.is_cut && may_reply && disclosure.call() == ShownCall::Whole {
            true => replies(item)?.unwrap_or_default(),
            false => Vec::new(),
        };
        let (text, buttons) = match (whole.is_cut, replies.is_empty()) {
            (false, _) => (whole.text, Buttons::Decide),
            (true, false) => (write(IN_THREAD)?.text, Buttons::DecideAfterReplies),
            (true, true) => (whole.text, Buttons::Open),
        };
        let name = |text| in_span(Markup::Mrkdwn, text, 60);
        Ok(Question {
            named: format!(
                "Tool {}, server {}, risk {}",
                name(&item.tool),
                name(&item.server),
                item.risk
            ),
            text,
            replies,
            risk: item.risk,
            about: format!(
                "tool {}, server {}",
                quoted_text(&item.tool, 60),
                quoted_text(&item.server, 60)
            ),
            page: None,
            buttons,
        })
    }

    /// Returns the same question with the URL of its page.
    pub(super) fn with_page(self, page: Option<String>) -> Question {
        Question { page, ..self }
    }

    /// Returns the message that asks. Without `target`, nobody can decide here.
    pub(super) fn asking(&self, target: Option<&Target>) -> Value {
        let mut blocks = vec![section(&self.text)];
        match target {
            Some(target) => {
                let value = target.to_text();
                blocks.push(json!({
                    "type": "actions",
                    "elements": [self.approve(&value), deny(&value)],
                }));
            }
            None => blocks.extend(self.way_to_page()),
        }
        json!({"text": self.summary(), "blocks": blocks, "unfurl_links": false, "unfurl_media": false})
    }

    /// Returns the message while its thread is being written.
    pub(super) fn announced(&self) -> Value {
        let waiting =
            context("The buttons appear here as soon as the thread shows the whole call.");
        let blocks = [section(&self.text), waiting];
        json!({"text": self.summary(), "blocks": blocks, "unfurl_links": false, "unfurl_media": false})
    }

    /// Returns the message that says what became of the question.
    pub(super) fn settled(&self, outcome: &Outcome<'_>) -> Value {
        let blocks = [section(&said(outcome)), section(after_question(&self.text))];
        json!({"text": format!("{}. {}", outcome.what, self.named), "blocks": blocks})
    }

    /// One line, for notifications and screen readers.
    fn summary(&self) -> String {
        format!("A tool call waits for approval. {}", self.named)
    }

    fn approve(&self, value: &str) -> Value {
        let mut button = json!({
            "type": "button",
            "action_id": APPROVE,
            "style": "primary",
            "text": plain("Approve"),
            "value": value,
        });
        if self.risk == Risk::High
            && let Some(button) = button.as_object_mut()
        {
            let text = format!("The call runs at once: {}", self.about);
            button.insert(
                "confirm".to_owned(),
                json!({
                    "title": plain("Approve a call of high risk?"),
                    "text": plain(&first(&text, 300)),
                    "confirm": plain("Approve"),
                    "deny": plain("Go back"),
                }),
            );
        }
        button
    }

    /// The link to the page, or how to find it.
    fn way_to_page(&self) -> [Value; 1] {
        match &self.page {
            Some(url) => [json!({
                "type": "actions",
                "elements": [{
                    "type": "button",
                    "action_id": OPEN,
                    "text": plain("Open in the approval inbox"),
                    "url": url,
                }],
            })],
            None => [context(
                "Decide with `approval-proxy inbox` or `approval-proxy approvals` on the machine of the client.",
            )],
        }
    }
}

/// Returns the modal that asks for the reason of a denial.
pub(super) fn reason_modal(target: &Target) -> Value {
    json!({
        "type": "modal",
        "callback_id": REASON,
        "private_metadata": target.to_text(),
        "title": plain("Deny this call"),
        "submit": plain("Deny"),
        "close": plain("Go back"),
        "blocks": [{
            "type": "input",
            "block_id": REASON,
            "optional": true,
            "label": plain("Reason"),
            "hint": plain("The agent reads it, and the audit log keeps it."),
            "element": {
                "type": "plain_text_input",
                "action_id": REASON,
                "multiline": true,
                "max_length": 500,
            },
        }],
    })
}

/// Returns a note that only one person sees.
pub(super) fn note(text: &str) -> Value {
    json!({"text": text, "blocks": [section(text)]})
}

/// Says what became of a question.
fn said(outcome: &Outcome<'_>) -> String {
    let Outcome {
        what,
        note,
        approver,
        engine,
        reason,
    } = outcome;
    let mut text = format!("*{what}*");
    match approver.map(|name| (name.strip_prefix("slack:"), name)) {
        // An edited message notifies nobody.
        Some((Some(user), _)) if is_id(user) => text.push_str(&format!(" by <@{user}>")),
        Some((_, name)) => text.push_str(&format!(
            " by {}",
            in_span(Markup::Mrkdwn, name, QUOTED_NAME)
        )),
        None => {}
    }
    // A mention says that it was here.
    let is_here = approver.is_some_and(|name| name.starts_with("slack:"));
    if let Some(engine) = engine.filter(|_| !is_here) {
        let engine = in_span(Markup::Mrkdwn, engine, QUOTED_NAME);
        text.push_str(&format!(" through {engine}"));
    }
    if let Some(note) = note {
        text.push_str(". ");
        text.push_str(note);
    }
    if let Some(reason) = reason {
        let reason = in_span(Markup::Mrkdwn, reason, QUOTED);
        text.push_str(&format!("\nReason: {reason}"));
    }
    text
}

/// Returns replies that show the whole call; `None` if it is too long for that.
fn replies(item: &Item) -> Result<Option<Vec<Value>>, JsonError> {
    let call = json::Value::parse(&item.call)?;
    let whole = indented(&call);
    // Nearly all characters are one byte, and escaping only makes it longer.
    if whole.len() > MAX_REPLIES * SECTIONS * MAX_SECTION * 4 {
        return Ok(None);
    }
    let parts = in_blocks(&whole);
    let count = parts.len().div_ceil(SECTIONS);
    if count > MAX_REPLIES {
        return Ok(None);
    }
    let replies = parts.chunks(SECTIONS).zip(1..).map(|(parts, n)| {
        let title = format!("The whole call, part {n} of {count}");
        let mut blocks = vec![context(&title)];
        blocks.extend(parts.iter().map(|part| section(part)));
        json!({"text": title, "blocks": blocks, "unfurl_links": false, "unfurl_media": false})
    });
    Ok(Some(replies.collect()))
}

/// Returns visible text as blocks of code, each short enough for a section.
fn in_blocks(text: &str) -> Vec<String> {
    const BEGIN: &str = "```\n";
    const END: &str = "\n```";
    let room = MAX_SECTION - BEGIN.len() - END.len();
    let mut blocks = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(room);
        let part = loop {
            while !rest.is_char_boundary(end) {
                end = end.saturating_sub(1);
            }
            let part = rest.get(..end).unwrap_or_default();
            let code = in_block(part);
            if code.chars().count() <= room {
                // Breaks between lines if that costs little.
                let line = part.rfind('\n').filter(|at| *at > end / 2);
                break match line {
                    Some(at) if end < rest.len() => rest.get(..=at).unwrap_or(part),
                    _ => part,
                };
            }
            end = end * 3 / 4;
        };
        rest = rest.get(part.len()..).unwrap_or_default();
        let code = in_block(part.trim_end_matches('\n'));
        blocks.push(format!("{BEGIN}{code}{END}"));
    }
    blocks
}

fn in_block(text: &str) -> String {
    crate::approval::render::in_block(Markup::Mrkdwn, text)
}

/// `verbatim` keeps Slack from making links and mentions out of what looks like one.
fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}})
}

fn context(text: &str) -> Value {
    json!({"type": "context", "elements": [{"type": "mrkdwn", "text": text, "verbatim": true}]})
}

fn deny(value: &str) -> Value {
    json!({
        "type": "button",
        "action_id": DENY,
        "style": "danger",
        "text": plain("Deny"),
        "value": value,
    })
}

fn plain(text: &str) -> Value {
    json!({"type": "plain_text", "text": text, "emoji": false})
}

/// Returns the beginning of a text that is not needed whole.
fn first(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::approval::item::Choice;
    use crate::approval::render::Show;
    use crate::engines::Ending;
    use crate::engines::chat::outcome;
    use crate::engines::for_test;
    use crate::evidence::redact::Redaction;
    use crate::gate::EngineId;
    use crate::mcp::json::write_string;

    fn target() -> Target {
        Target {
            item: "0a".repeat(16),
            fingerprint: "1b".repeat(32),
            engine: "slack".to_owned(),
            channel: None,
        }
    }

    fn question(item: &Item) -> Question {
        let disclosure = Disclosure::new(item, Show::Full, &Redaction::default()).unwrap();
        Question::new(&disclosure, true).unwrap()
    }

    /// Slack's limits, from the reference of Block Kit.
    fn fits(message: &Value) {
        let blocks = message["blocks"].as_array().unwrap();
        assert!((1..=50).contains(&blocks.len()));
        for block in blocks {
            let text = block["text"]["text"].as_str();
            if block["type"] == "section" {
                let length = text.unwrap().chars().count();
                assert!((1..=3_000).contains(&length), "{length}");
            }
            for button in block["elements"].as_array().into_iter().flatten() {
                let length = |key: &str| button[key].as_str().map_or(0, str::len);
                assert!(length("value") <= 2_000 && length("url") <= 3_000);
                let confirm = button["confirm"]["text"]["text"].as_str();
                assert!(confirm.is_none_or(|text| text.chars().count() <= 300));
            }
        }
        assert!(message["text"].as_str().unwrap().len() <= 40_000);
    }

    fn ending(approver: &str, reason: &str) -> Ending {
        Ending::Decided {
            choice: Choice::Approve,
            reason: Some(reason.to_owned()),
            approver: Some(approver.to_owned()),
            engine: EngineId::new("slack"),
        }
    }

    #[test]
    fn only_the_id_of_a_user_becomes_a_mention() {
        let said = |approver| said(&outcome(&ending(approver, "")));
        assert_eq!(said("slack:U024BE7LH"), "*Approved* by <@U024BE7LH>");
        for other in [
            "slack:U1> <!channel",
            "slack:",
            "webhook:<!here>",
            "telegram:77310045",
        ] {
            let text = said(other);
            assert!(!text.contains('<'), "{text}");
            assert!(text.starts_with("*Approved* by `"), "{text}");
        }
        let text = super::said(&outcome(&ending("slack:U024BE7LH", "*so* <!channel>\n`x`")));
        assert!(
            text.ends_with(r"Reason: `*so* &lt;!channel&gt;\n\u{60}x\u{60}`"),
            "{text}"
        );
    }

    #[test]
    fn only_a_call_of_high_risk_is_confirmed() {
        for risk in [Risk::Low, Risk::Medium, Risk::High, Risk::Unknown] {
            let item = Item {
                risk,
                ..for_test::item("1")
            };
            let message = question(&item).asking(Some(&target()));
            let approve = &message["blocks"][1]["elements"][0];
            assert_eq!(approve["confirm"].is_object(), risk == Risk::High, "{risk}");
        }
    }

    #[test]
    fn a_settled_message_keeps_what_was_decided_and_no_button() {
        let item = for_test::item("1");
        let question = question(&item);
        assert!(
            question
                .asking(Some(&target()))
                .to_string()
                .contains("button")
        );
        let settled = question.settled(&outcome(&ending("slack:U024BE7LH", "")));
        let text = settled.to_string();
        assert!(
            text.contains("drop_table") && !text.contains("button"),
            "{text}"
        );
        fits(&settled);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_message_keeps_slacks_limits_and_a_thread_leaves_nothing_out(
            unit in "[ -~äß\u{202e}\n]{1,12}|<!channel>|```",
            times in prop::sample::select(&[1_usize, 60, 900, 4_000][..]),
        ) {
            let text = unit.repeat(times);
            let mut json = String::new();
            write_string(&text, &mut json);
            let item = Item {
                tool: text.clone(),
                server: text.clone(),
                description: Some(text.clone()),
                call: format!(r#"{{"name":"x","arguments":{{"a":{json}}}}}"#),
                ..for_test::item("1")
            };
            let question = question(&item);
            fits(&question.asking(Some(&target())));
            fits(&question.asking(None));
            fits(&question.announced());
            fits(&question.settled(&outcome(&ending(&text, &text))));
            prop_assert!(question.replies.len() <= MAX_REPLIES);
            let mut shown = String::new();
            for reply in &question.replies {
                fits(reply);
                let blocks = reply["blocks"].as_array().unwrap();
                for block in blocks.iter().filter(|block| block["type"] == "section") {
                    let text = block["text"]["text"].as_str().unwrap();
                    let inner = text.strip_prefix("```\n").and_then(|it| it.strip_suffix("\n```"));
                    let inner = inner.unwrap();
                    prop_assert!(!inner.contains("``"), "{}", inner);
                    shown.push_str(inner);
                }
            }
            if question.buttons == Buttons::DecideAfterReplies {
                let whole = indented(&json::Value::parse(&item.call).unwrap());
                let plain = shown
                    .replace("&lt;", "<")
                    .replace("&gt;", ">")
                    .replace("&amp;", "&")
                    .replace("\\u{60}", "`");
                let without = |text: &str| text.replace('\n', "");
                prop_assert_eq!(without(&plain), without(&whole));
            }
        }
    }
}
