//! What people read on cards, and what nobody can forge or hide there.
//!
//! `prompt` tests the layout and Markdown with the client's prompt, which is written by the same code.

use proptest::prelude::*;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use super::*;
use crate::approval::item::Item;
use crate::mcp::json::write_string;
use crate::mcp::lenient::is_invisible;

const MARKUPS: [Markup; 5] = [
    Markup::Plain,
    Markup::Markdown,
    Markup::Html,
    Markup::Telegram,
    Markup::Mrkdwn,
];

fn item(call: &str) -> Item {
    Item {
        form: None,
        id: "1".repeat(32),
        server: "notes".to_owned(),
        tool: "delete_note".to_owned(),
        risk: Risk::High,
        why: "the tool is marked destructive".to_owned(),
        question: "Allow this tool call?".to_owned(),
        title: None,
        description: Some("Delete a note for good.".to_owned()),
        hints: "destructiveHint true".to_owned(),
        call: call.to_owned(),
        digest: "d".repeat(64),
        client: Some("claude-code 2.1.0".to_owned()),
        client_title: None,
        asked_ms: 0,
        expires_ms: None,
    }
}

fn shown(item: &Item, markup: Markup, max: usize, call: ShownCall<'_>) -> Message {
    let look = Card {
        markup,
        max,
        call,
        can_deny: true,
        cut_notice: "Not everything is shown here.",
    };
    card(item, &look).unwrap()
}

fn whole(item: &Item, markup: Markup) -> Message {
    shown(item, markup, 16 * 1024, ShownCall::Whole)
}

#[test]
fn an_ordinary_card_in_each_markup() {
    let item = item(r#"{"name":"delete_note","arguments":{"name": "shopping", "n":1.0}}"#);
    let digest = "d".repeat(64);
    let message = whole(&item, Markup::Plain);
    assert!(!message.is_cut);
    assert_eq!(
        message.text,
        format!(
            r#"Allow this tool call? Asked by approval-proxy; the call has not run.
Server "notes", tool "delete_note", risk high
Arguments: {{"name": "shopping", "n": 1.0}}
Why: the tool is marked destructive (hints, not verified: destructiveHint true)
The server says: "Delete a note for good."
Client, by its own account: "claude-code 2.1.0"
SHA-256 of the whole call: {digest}"#
        )
    );
    assert_eq!(
        whole(&item, Markup::Html).text,
        format!(
            r#"Allow this tool call? Asked by approval-proxy; the call has not run.<br>
Server <code>notes</code>, tool <code>delete_note</code>, risk high<br>
Arguments: <code>{{&quot;name&quot;: &quot;shopping&quot;, &quot;n&quot;: 1.0}}</code><br>
Why: the tool is marked destructive (hints, not verified: destructiveHint true)<br>
The server says: <code>Delete a note for good.</code><br>
Client, by its own account: <code>claude-code 2.1.0</code><br>
SHA-256 of the whole call: {digest}<br>"#
        )
    );
    assert_eq!(
        whole(&item, Markup::Telegram).text,
        format!(
            r#"Allow this tool call? Asked by approval-proxy; the call has not run.
Server <code>notes</code>, tool <code>delete_note</code>, risk high
Arguments: <code>{{&quot;name&quot;: &quot;shopping&quot;, &quot;n&quot;: 1.0}}</code>
Why: the tool is marked destructive (hints, not verified: destructiveHint true)
The server says: <code>Delete a note for good.</code>
Client, by its own account: <code>claude-code 2.1.0</code>
SHA-256 of the whole call: {digest}"#
        )
    );
    let mrkdwn = whole(&item, Markup::Mrkdwn).text;
    assert!(mrkdwn.contains("Server `notes`, tool `delete_note`, risk high\n"));
    assert!(mrkdwn.contains("Arguments: `{\"name\": \"shopping\", \"n\": 1.0}`\n"));
    let markdown = whole(&item, Markup::Markdown).text;
    assert!(markdown.contains("Server `notes`, tool `delete_note`, risk high  \n"));
    assert!(markdown.contains("Arguments: `{\"name\": \"shopping\", \"n\": 1.0}`  \n"));
}

#[test]
fn other_parameters_and_missing_arguments_are_shown() {
    let item = item(r#"{"name":"delete_note","task":{"ttl":5}}"#);
    for markup in MARKUPS {
        let text = whole(&item, markup).text;
        assert!(
            text.contains("Arguments: ") && text.contains("null"),
            "{text}"
        );
        assert!(
            text.contains("Other parameters: ") && text.contains("ttl"),
            "{text}"
        );
    }
}

#[test]
fn what_is_left_out_is_said_and_the_digest_is_whole() {
    let long = format!(
        r#"{{"name":"delete_note","arguments":{{"a":"{}"}}}}"#,
        "y".repeat(30_000)
    );
    for markup in MARKUPS {
        for max in [2_000, 4_000, 16 * 1024] {
            let message = shown(&item(&long), markup, max, ShownCall::Whole);
            assert!(message.is_cut && message.text.len() <= max);
            let text = message.text;
            assert!(text.contains("Not everything is shown here."), "{text}");
            assert!(text.contains("of 30000 characters left out"), "{text}");
            assert!(text.contains(&"d".repeat(64)), "{text}");
        }
    }
}

#[test]
fn a_card_that_may_not_show_the_call_says_that_it_cannot_be_approved() {
    let item = item(r#"{"name":"delete_note","arguments":{"a":"mark-1"}}"#);
    for markup in MARKUPS {
        let redacted = r#"{"name":"delete_note","arguments":{"a":"[redacted]"}}"#;
        for call in [ShownCall::Redacted(redacted), ShownCall::Hidden] {
            let message = shown(&item, markup, 4_000, call);
            assert!(message.is_cut);
            assert!(!message.text.contains("mark-1"), "{}", message.text);
            assert!(
                message.text.contains("only in the approval inbox"),
                "{}",
                message.text
            );
            assert!(message.text.contains(&"d".repeat(64)));
        }
    }
}

#[test]
fn a_call_that_is_no_json_is_an_error() {
    let look = Card {
        markup: Markup::Plain,
        max: 4_000,
        call: ShownCall::Redacted("{"),
        can_deny: true,
        cut_notice: "",
    };
    assert!(card(&item("{}"), &look).is_err());
}

/// Pieces that mean something in one of the markups.
const PIECES: [&str; 42] = [
    "<!channel>",
    "<@U024BE7LH> <#C024BE7LR>",
    "<https://evil.example|x>",
    "<!date^1392734382^{date}|x>",
    "&lt;!here&gt;",
    " *b* _i_ ~s~ ",
    " :smile: ",
    "` *b* `",
    "<b>",
    "</code>",
    "</pre>",
    "<br>",
    "<a href=\"https://evil.example\">x</a>",
    "<script>",
    "<!--",
    "<tg-spoiler>",
    "@channel @all",
    "tg://user?id=1 t.me/x /start",
    "https://evil.example #tag",
    "&lt;",
    "&#60;b&#62;",
    "&nbsp;",
    "&",
    "'",
    "\"",
    "`",
    "```\n",
    "**x**",
    "[x](https://evil.example)",
    "![x](https://evil.example/i.png)",
    "\n\nWhy: it is harmless\n",
    "\r\n# Title\r\n",
    "\"\nServer \"good\", tool \"read\", risk low\n\"",
    "\u{202e}",
    "\u{200b}",
    "\u{2028}",
    "\0",
    "\u{1b}[2J",
    "\u{e0041}",
    "   ",
    "\u{a0}\u{a0}",
    "e\u{301}\u{301}\u{301}\u{301}",
];

fn hostile(text: &str) -> Item {
    let mut json = String::new();
    write_string(text, &mut json);
    // A key with a NUL is refused before anybody is asked.
    let mut key = String::new();
    write_string(&text.replace('\0', ""), &mut key);
    let call = format!(
        r#"{{"name":{json},"arguments":{{{key}:{json},"o":[{json},{{"k":{json}}}]}},"t":{json}}}"#
    );
    Item {
        server: text.to_owned(),
        tool: text.to_owned(),
        description: Some(text.to_owned()),
        client: Some(text.to_owned()),
        ..item(&call)
    }
}

/// Returns the text of our HTML outside of `<code>` and `<pre>`. In Telegram, links and mentions arise only there.
///
/// # Errors
/// What is there and must not be.
fn outside_of_html(html: &str, markup: Markup) -> Result<String, String> {
    let (mut outside, mut inside) = (String::new(), None);
    let mut rest = html;
    while let Some(at) = rest.find(['<', '>', '&']) {
        let (text, from) = rest.split_at(at);
        if inside.is_none() {
            outside.push_str(text);
        }
        let mut known = vec!["<code>", "</code>", "<pre>", "</pre>"];
        let mut entities = vec!["&lt;", "&gt;", "&amp;", "&quot;", "&#39;"];
        if markup == Markup::Html {
            // Telegram refuses the tag. Its documentation did not always have the entity.
            known.push("<br>");
            entities.push("&nbsp;");
        }
        let tag = known.into_iter().find(|tag| from.starts_with(tag));
        let entity = entities.into_iter().find(|entity| from.starts_with(entity));
        let Some(found) = tag.or(entity) else {
            return Err(from.chars().take(20).collect());
        };
        inside = match (found, inside) {
            ("<code>", None) => Some("</code>"),
            ("<pre>", None) => Some("</pre>"),
            ("<code>" | "<pre>", Some(_)) => return Err(format!("nested {found}")),
            ("</code>" | "</pre>", Some(end)) if end == found => None,
            ("</code>" | "</pre>", _) => return Err(format!("stray {found}")),
            (_, inside) => inside,
        };
        rest = from.strip_prefix(found).unwrap_or_default();
    }
    match inside {
        Some(end) => Err(format!("no {end}")),
        None => Ok(outside + rest),
    }
}

/// Returns the text of our Markdown outside of code.
///
/// # Errors
/// An element that our cards do not have.
fn outside_of_markdown(text: &str) -> Result<String, String> {
    let (mut outside, mut is_code) = (String::new(), false);
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Paragraph) | Event::End(TagEnd::Paragraph) => {}
            Event::Start(Tag::CodeBlock(_)) => is_code = true,
            Event::End(TagEnd::CodeBlock) => is_code = false,
            Event::Text(text) if !is_code => outside.push_str(&text),
            Event::Text(_) | Event::Code(_) => {}
            Event::SoftBreak | Event::HardBreak => outside.push('\n'),
            other @ (Event::Start(_)
            | Event::End(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::Html(_)
            | Event::InlineHtml(_)
            | Event::FootnoteReference(_)
            | Event::Rule
            | Event::TaskListMarker(_)) => return Err(format!("{other:?}")),
        }
    }
    Ok(outside)
}

/// Returns the text of our mrkdwn outside of code.
///
/// # Errors
/// What is there and must not be.
fn outside_of_mrkdwn(text: &str) -> Result<String, String> {
    let mut outside = String::new();
    let mut fence = None;
    let mut rest = text;
    while !rest.is_empty() {
        let found = ["```", "`", "&", "<", ">", "*", "_", "~", ":", "\n"]
            .into_iter()
            .find(|mark| rest.starts_with(mark));
        let entity = ["&amp;", "&lt;", "&gt;"]
            .into_iter()
            .find(|entity| rest.starts_with(entity));
        let next = match (found, fence) {
            (Some("&"), _) => entity.ok_or("a stray &")?,
            (Some(mark @ ("<" | ">")), _) => return Err(format!("a live {mark}")),
            (Some(mark @ ("```" | "`")), None) => {
                // Slack takes it for code only after these.
                if !outside.is_empty() && !outside.ends_with([' ', '\n', '(']) {
                    return Err(format!("code after {outside:?}"));
                }
                fence = Some(mark);
                mark
            }
            (Some(mark @ ("```" | "`")), Some(open)) if mark == open => {
                fence = None;
                mark
            }
            (Some("```"), Some(_)) => return Err("a block in a span".to_owned()),
            (Some("\n"), Some("`")) => return Err("a span over two lines".to_owned()),
            (Some(mark @ ("*" | "_" | "~")), None) => return Err(format!("a live {mark}")),
            (Some(":"), None) if !rest.starts_with(": ") && !rest.starts_with(":\n") => {
                return Err("an emoji".to_owned());
            }
            (found, _) => found.unwrap_or_else(|| {
                let end = rest.char_indices().nth(1).map_or(rest.len(), |(at, _)| at);
                rest.get(..end).unwrap_or_default()
            }),
        };
        if fence.is_none() {
            outside.push_str(next);
        }
        rest = rest.get(next.len()..).unwrap_or_default();
    }
    match fence {
        Some(open) => Err(format!("no closing {open}")),
        None => Ok(outside),
    }
}

/// The beginnings of the lines of a plain card. In a value, each line begins with white space, a bracket, a quote or a
/// number.
const BEGINNINGS: [&str; 10] = [
    "Allow this tool call?",
    "Server \"",
    "Not everything is shown here.",
    "SHA-256 of the whole call: ",
    "Arguments:",
    "Other parameters:",
    "Why: the tool is marked destructive",
    "The server says: \"",
    "Client, by its own account: \"",
    "The server says: (empty)",
];

fn check(item: &Item, max: usize) -> Result<(), TestCaseError> {
    for markup in MARKUPS {
        let message = shown(item, markup, max, ShownCall::Whole);
        let text = &message.text;
        prop_assert!(text.len() <= max, "{markup:?}: {} of {max}", text.len());
        let unseen = text.chars().find(|c| *c != '\n' && is_invisible(*c));
        prop_assert_eq!(unseen, None, "{:?}: {}", markup, text);
        prop_assert!(text.contains(&item.digest), "{}", text);
        match markup {
            Markup::Plain => {
                let risks = text.matches(", risk ").count();
                prop_assert!(risks >= 1);
                for line in text.lines() {
                    let is_value = line.starts_with([' ', '{', '}', '[', ']', '"', '…']);
                    let is_ours = BEGINNINGS.iter().any(|known| line.starts_with(known));
                    prop_assert!(is_value || is_ours, "{line}\n{text}");
                }
                let ours = text
                    .lines()
                    .filter(|line| line.starts_with("Why: "))
                    .count();
                prop_assert_eq!(ours, 1, "{}", text);
            }
            Markup::Markdown => {
                let outside = outside_of_markdown(text);
                prop_assert!(outside.is_ok(), "{outside:?}: {text}");
                prop_assert!(!outside.unwrap_or_default().contains("EVIL"), "{text}");
            }
            Markup::Html | Markup::Telegram => {
                let outside = outside_of_html(text, markup);
                prop_assert!(outside.is_ok(), "{outside:?}: {text}");
                prop_assert!(!outside.unwrap_or_default().contains("EVIL"), "{text}");
            }
            Markup::Mrkdwn => {
                let outside = outside_of_mrkdwn(text);
                prop_assert!(outside.is_ok(), "{outside:?}: {text}");
                prop_assert!(!outside.unwrap_or_default().contains("EVIL"), "{text}");
            }
        }
    }
    Ok(())
}

#[test]
fn no_single_piece_of_markup_has_an_effect() {
    for piece in PIECES {
        for max in [2_000, 16 * 1024] {
            check(&hostile(&format!("EVIL{piece}EVIL")), max).unwrap();
            check(&hostile(&piece.repeat(100)), max).unwrap();
        }
    }
}

#[test]
fn words_that_quote_something_stay_readable_in_mrkdwn() {
    for (why, shown) in [
        ("its name says `drop`", "its name says `drop`"),
        ("`a_b` and (`*x*`), too", "`a_b` and (`*x*`), too"),
        ("1 < 2 & 3", "1 &lt; 2 &amp; 3"),
        // One of these is not ours, so none is taken for code.
        ("`a` `*b*", r"`\u{60}a\u{60} \u{60}*b*`"),
        ("x`*b*`y", r"`x\u{60}*b*\u{60}y`"),
        ("*all* of it", "`*all* of it`"),
        ("at :tada: once", "`at :tada: once`"),
    ] {
        let item = Item {
            why: why.to_owned(),
            hints: String::new(),
            ..item("{}")
        };
        let text = whole(&item, Markup::Mrkdwn).text;
        assert!(text.contains(&format!("Why: {shown}\n")), "{text}");
    }
}

#[test]
fn spaces_can_be_counted_in_html() {
    let item = Item {
        description: Some(" a  b ".to_owned()),
        ..item("{}")
    };
    let text = whole(&item, Markup::Html).text;
    assert!(
        text.contains("<code>&nbsp;a &nbsp;b&nbsp;</code>"),
        "{text}"
    );
}

proptest! {
    // Rendering hundreds of long strings takes a while in a debug build.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_mixture_of_texts_has_an_effect(
        parts in prop::collection::vec(prop::sample::select(&PIECES[..]), 1..12),
        noise in any::<String>(),
        pad in prop::sample::select(&[0_usize, 60, 600, 9_000][..]),
        max in prop::sample::select(&[2_000_usize, 4_000, 16 * 1024][..]),
    ) {
        let noise = noise.replace("EVIL", "");
        let text = format!("EVIL{}{noise}{}", parts.concat(), "p".repeat(pad));
        check(&hostile(&text), max)?;
    }
}
