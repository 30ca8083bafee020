//! What the engine's messages say: the question, the whole call as a document, and how a question ended.
//!
//! `approval::render` writes the call. Sends nothing.

use super::types::User;
use crate::approval::display::{indented, quoted_name};
use crate::approval::item::{Choice, Closed, Item};
use crate::approval::render::{Card, Markup, Show, ShownCall, after_question, card, in_span};
use crate::engines::courier::Ending;
use crate::engines::disclosure::Disclosure;
use crate::gate::EngineId;
use crate::mcp::json::{JsonError, Value};

/// The longest message, in UTF-16 code units, without its markup
/// (<https://core.telegram.org/bots/api#sendmessage>; `entities` count in UTF-16 code units).
const MAX_MESSAGE: usize = 4_096;
/// How much of a message is kept free for how it ended.
const MAX_OUTCOME: usize = 512;
/// How much of a message is kept free for the link to the page.
const MAX_LINK: usize = 400;
/// The longest markup that is tried, in bytes. A message that fits is only longer if nearly all of it is escaped.
const MAX_MARKUP: usize = 20 * 1024;
/// The largest document, in bytes. Bots can send files of up to 50 MB
/// (<https://core.telegram.org/bots/api#senddocument>).
const MAX_DOCUMENT: usize = 45_000_000;
/// The longest answer to a press, in characters (<https://core.telegram.org/bots/api#answercallbackquery>).
pub(super) const MAX_ANSWER: usize = 200;

/// A question as it is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// The message.
    pub(super) html: String,
    /// What the message still says of the question after its end. Shorter, if `html` leaves no room for how it ended.
    pub(super) later: String,
    /// The whole call, if the message is too short for it.
    pub(super) document: Option<String>,
    /// Whether everything is shown, so that it can be decided there.
    pub(super) is_approvable: bool,
}

impl Text {
    /// Writes a question. Takes long if the call is large.
    ///
    /// # Errors
    /// If the call is not JSON.
    pub(super) fn new(disclosure: &Disclosure<'_>, show: Show) -> Result<Text, JsonError> {
        let (item, call) = (disclosure.item(), disclosure.call());
        let look = |max, cut_notice| Card {
            markup: Markup::Telegram,
            max,
            call,
            can_deny: false,
            cut_notice,
        };
        // Markup is never shorter than what it shows.
        let later = |html: &str, notice| match units(html) <= MAX_MESSAGE - MAX_OUTCOME {
            true => Ok(after_question(html).to_owned()),
            false => card(item, &look(MAX_MESSAGE - MAX_OUTCOME, notice))
                .map(|card| after_question(&card.text).to_owned()),
        };
        let whole = card(item, &look(MAX_MARKUP, CUT))?;
        let is_hidden = call != ShownCall::Whole;
        let room = match is_hidden {
            true => MAX_MESSAGE - MAX_LINK,
            false => MAX_MESSAGE,
        };
        if units(&whole.text) <= room && (is_hidden || !whole.is_cut) {
            return Ok(Text {
                later: later(&whole.text, CUT_LATER)?,
                html: whole.text,
                document: None,
                is_approvable: !is_hidden,
            });
        }
        let document = match (show, is_hidden) {
            (Show::Full, false) => document(item)?,
            (Show::Full | Show::Redacted | Show::Summary, _) => None,
        };
        let notice = match document {
            Some(_) => IN_DOCUMENT,
            None => CUT,
        };
        let html = card(item, &look(MAX_MESSAGE - MAX_LINK, notice))?.text;
        Ok(Text {
            later: later(&html, notice)?,
            html,
            is_approvable: document.is_some(),
            document,
        })
    }

    /// Adds where to decide, to a question that cannot be decided here.
    pub(super) fn link_to(&mut self, page: Option<&str>) {
        let link = match page.filter(|page| units(page) + 100 <= MAX_LINK) {
            Some(page) => format!("Decide in the approval inbox: {page}"),
            None => "Decide in the approval inbox: run approval-proxy inbox".to_owned(),
        };
        self.html.push_str("\n\n");
        self.html.push_str(&Markup::Telegram.words(&link));
    }
}

/// What is said about a call that is too long for the message.
const CUT: &str = "Not everything is shown in this message, so the call can be approved only in the approval inbox.";
const CUT_LATER: &str = "Not everything is shown any more.";
const IN_DOCUMENT: &str =
    "This message is too short for the whole call. The document that it replies to has all of it.";

/// Returns how long Telegram takes our own markup to be.
fn units(html: &str) -> usize {
    let (mut count, mut rest) = (0, html);
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '<' => rest.find('>'),
            '&' => rest.find(';'),
            _ => None,
        };
        count += match (c, end) {
            ('<', Some(_)) => 0,
            (_, Some(_)) => 1,
            (_, None) => c.len_utf16(),
        };
        let read = end.map_or(c.len_utf8(), |end| end + 1);
        rest = rest.get(read..).unwrap_or_default();
    }
    count
}

/// Returns the whole call as a document, with the names that it belongs to; `None` if it is too long for one.
fn document(item: &Item) -> Result<Option<String>, JsonError> {
    let call = Value::parse(&item.call)?;
    let text = format!(
        "Server {}, tool {}\nSHA-256 of the whole call: {}\nThe whole call:\n{}\n",
        quoted_name(&item.server),
        quoted_name(&item.tool),
        item.digest,
        indented(&call)
    );
    Ok((text.len() <= MAX_DOCUMENT).then_some(text))
}

/// Returns a question's message after its end. `outcome` is what [`outcome`] returned.
pub(super) fn ended(outcome: &str, question: &str) -> String {
    format!("{outcome}\n\n{question}")
}

/// Returns how a question ended. `engine` is our own name, `who` the person who decided here.
pub(super) fn outcome(ending: &Ending, engine: EngineId, who: Option<&User>) -> String {
    let (choice, reason, approver, through) = match ending {
        Ending::Decided {
            choice,
            reason,
            approver,
            engine,
        } => (choice, reason, approver, *engine),
        Ending::Closed(Closed::Expired) => {
            return "⌛ Nobody decided in time. The call did not run.".to_owned();
        }
        Ending::Closed(Closed::Withdrawn) => {
            return "This question is not waiting any more.".to_owned();
        }
    };
    // Our own approver may have been too late.
    let is_theirs = |who: &&User| through == engine && approver.as_deref() == Some(&who.approver());
    let who = who.filter(is_theirs);
    let code = |text: &str, limit| in_span(Markup::Telegram, text, limit);
    let mut line = match choice {
        Choice::Approve => "✅ Approved".to_owned(),
        Choice::Deny => "❌ Denied".to_owned(),
    };
    if let Some(name) = who.map(User::name).filter(|name| !name.is_empty()) {
        line.push_str(&format!(" by {}", code(&name, 40)));
    }
    if let Some(approver) = approver {
        let before = if who.is_some() { "," } else { " by" };
        line.push_str(&format!("{before} {}", code(approver, 64)));
    }
    if through != engine {
        line.push_str(&format!(" through {}", code(through.name(), 64)));
    }
    let with_reason = |limit| {
        let reason = reason.as_deref()?;
        Some(format!("{line}\nReason: {}", code(reason, limit)))
    };
    let mut texts = [200, 40].into_iter().filter_map(with_reason);
    let fitting = texts.find(|text| units(text) <= MAX_OUTCOME);
    let line = fitting.unwrap_or(line);
    match units(&line) <= MAX_OUTCOME {
        true => line,
        // Only names full of invisible characters are that long.
        false => line.split(" by ").next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::for_test::item;
    use crate::evidence::redact::Redaction;
    use crate::mcp::json::write_string;

    fn written(arguments: &str, show: Show) -> Text {
        let item = Item {
            call: format!(r#"{{"name":"drop_table","arguments":{arguments}}}"#),
            ..item("1")
        };
        let disclosure = Disclosure::new(&item, show, &Redaction::default()).unwrap();
        Text::new(&disclosure, show).unwrap()
    }

    fn string(text: &str) -> String {
        let mut json = String::new();
        write_string(text, &mut json);
        json
    }

    #[test]
    fn what_fits_is_shown_whole_and_can_be_decided() {
        for arguments in [r#"{"a":1}"#.to_owned(), string(&"z".repeat(3_500))] {
            for show in [Show::Full, Show::Redacted] {
                let text = written(&arguments, show);
                assert!(text.is_approvable && text.document.is_none(), "{text:?}");
            }
        }
        // It is the number of UTF-16 code units that counts, not that of bytes.
        let text = written(&string(&"漢".repeat(3_500)), Show::Full);
        assert!(text.is_approvable && text.document.is_none(), "{text:?}");
        let text = written(&string(&"&".repeat(3_500)), Show::Full);
        assert!(text.is_approvable && text.document.is_none(), "{text:?}");
        let text = written(&string(&"😀".repeat(2_500)), Show::Full);
        assert!(text.document.is_some(), "{text:?}");
    }

    #[test]
    fn what_is_too_long_goes_along_as_a_document_if_everything_may_be_sent() {
        let long = format!("{}\u{202e}TAIL", "z".repeat(9_000));
        let text = written(&string(&long), Show::Full);
        let document = text.document.unwrap();
        assert!(text.is_approvable);
        assert!(document.contains(&"z".repeat(9_000)));
        assert!(
            document.contains("\\u{202e}TAIL"),
            "invisible characters are visible"
        );
        assert!(text.html.contains("The document that it replies to"));
        for show in [Show::Redacted, Show::Summary] {
            let text = written(&string(&long), show);
            assert!(!text.is_approvable && text.document.is_none(), "{text:?}");
        }
        let items = format!("[{}]", vec!["1"; 2_000].join(","));
        assert!(
            written(&items, Show::Full)
                .document
                .unwrap()
                .matches('1')
                .count()
                >= 2_000
        );
    }

    #[test]
    fn what_is_not_shown_whole_cannot_be_decided_here() {
        let secret = r#"{"password":"hunter2-XK"}"#;
        let mut text = written(secret, Show::Redacted);
        assert!(
            !text.is_approvable && !text.html.contains("hunter2"),
            "{text:?}"
        );
        text.link_to(Some("http://127.0.0.1:7/item/1"));
        assert!(
            text.html
                .contains("\n\nDecide in the approval inbox: http://127.0.0.1:7/item/1")
        );
        assert!(!written(r#"{"a":1}"#, Show::Summary).is_approvable);
    }

    #[test]
    fn every_message_is_short_enough_with_the_longest_ending() {
        let hostile = "<b>\u{1f600}&amp;\u{e0041}\u{202e}@all https://evil.example ".repeat(300);
        let user = User {
            id: 77,
            first_name: "\u{202e}".repeat(300),
            last_name: Some("<b>".repeat(300)),
            username: Some("x".repeat(300)),
        };
        let ending = Ending::Decided {
            choice: Choice::Deny,
            reason: Some(hostile.clone()),
            approver: Some("telegram:77".to_owned()),
            engine: EngineId::new("telegram"),
        };
        for show in [Show::Full, Show::Redacted, Show::Summary] {
            for text in [&hostile, &"\u{e0041}".repeat(900), &"z".repeat(3_000)] {
                let mut text = written(&string(text), show);
                text.link_to(Some(&format!("https://inbox.example/{}", "x".repeat(200))));
                for who in [None, Some(&user)] {
                    assert!(units(&text.html) <= MAX_MESSAGE, "{}", units(&text.html));
                    let outcome = outcome(&ending, EngineId::new("telegram"), who);
                    assert!(outcome.starts_with("❌ Denied"), "{outcome}");
                    let ended = ended(&outcome, &text.later);
                    assert!(units(&ended) <= MAX_MESSAGE, "{}", units(&ended));
                }
            }
        }
    }

    #[test]
    fn the_end_names_who_decided_and_nothing_of_it_is_markup() {
        let user = User {
            id: 77,
            first_name: "<a>@all".to_owned(),
            last_name: None,
            username: Some("olga".to_owned()),
        };
        let telegram = EngineId::new("telegram");
        let decided = |engine, approver: Option<&str>, reason: Option<&str>| Ending::Decided {
            choice: Choice::Approve,
            reason: reason.map(str::to_owned),
            approver: approver.map(str::to_owned),
            engine,
        };
        let here = decided(telegram, Some("telegram:77"), Some("ok & <fine>"));
        assert_eq!(
            outcome(&here, telegram, Some(&user)),
            "✅ Approved by <code>&lt;a&gt;@all (@olga)</code>, <code>telegram:77</code>\n\
             Reason: <code>ok &amp; &lt;fine&gt;</code>"
        );
        let slack = decided(EngineId::new("slack"), Some("slack:U1"), None);
        for too_late in [None, Some(&user)] {
            assert_eq!(
                outcome(&slack, telegram, too_late),
                "✅ Approved by <code>slack:U1</code> through <code>slack</code>"
            );
        }
        let inbox = decided(EngineId::INBOX, None, None);
        let by_nobody = outcome(&inbox, telegram, None);
        assert_eq!(by_nobody, "✅ Approved through <code>inbox</code>");
    }

    #[test]
    fn markup_has_no_length_and_an_entity_is_one_unit() {
        for (html, length) in [
            ("", 0),
            ("a<code>b</code>", 2),
            ("&lt;&#39;x", 3),
            ("😀é", 3),
        ] {
            assert_eq!(units(html), length, "{html}");
        }
    }
}
