//! Tests of what a person reads in a prompt, and of what nobody can forge in it.

use proptest::prelude::*;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use std::time::Duration;

use super::*;
use crate::approval::digest::CallDigest;
use crate::approval::request::QuestionKind;
use crate::mcp::json::write_string;
use crate::mcp::tool::{CallToolRequestParams, KeptCall};
use crate::policy::{Reason, Risk};

fn request(params: &str) -> ApprovalRequest {
    let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let call = KeptCall::read(&line).unwrap();
    ApprovalRequest {
        form: None,
        server: "db".into(),
        tool: call.params().name.into(),
        is_listed: true,
        risk: Risk::High,
        why: Reason::DestructiveHint.text(),
        round: QuestionKind::First,
        title: None,
        description: None,
        hints: hints_text(&ToolAnnotations::new().destructive(true)),
        digest: CallDigest::of("db", &call.params(), None),
        call,
        client: None,
        client_title: None,
        covers: Duration::ZERO,
    }
}

fn message(params: &str, description: Option<&str>) -> Message {
    let request = ApprovalRequest {
        description: description.map(str::to_owned),
        ..request(params)
    };
    request.message(false)
}

fn message_for(params: &str, description: Option<&str>) -> String {
    message(params, description).text
}

/// The lines, without the spaces that break them in Markdown.
fn lines(message: &str) -> Vec<&str> {
    message.lines().map(str::trim_end).collect()
}

#[test]
fn an_ordinary_call_is_a_few_lines() {
    assert_eq!(
        lines(&message_for(
            r#"{"name":"drop_table","arguments":{"table":"users","n":1.0,"deep":[{}]}}"#,
            Some("Drops a table."),
        )),
        [
            "Allow this tool call? Asked by approval-proxy; the call has not run.",
            "Server `db`, tool `drop_table`, risk high",
            r#"Arguments: `{"table": "users", "n": 1.0, "deep": [{}]}`"#,
            "Why: the tool is marked destructive (hints, not verified: destructiveHint true)",
            "The server says: `Drops a table.`",
        ]
    );
}

// Claude Code shows only the last lines of a prompt, in a window of 24.
#[test]
fn an_ordinary_call_with_several_arguments_is_at_most_twelve_lines() {
    let long_description = "Writes a file. ".repeat(60);
    for arguments in [
        r#"{"path":"/home/me/work/notes.txt","content":"Dear all,\n\nsee you on Friday.\n","mode":"w","encoding":"utf-8","mkdirs":true}"#,
        r#"{"to":["ann@example.com","bob@example.com"],"cc":[],"subject":"Minutes","body":"As discussed.","attachments":[{"name":"a.pdf","size":1024},{"name":"b.pdf","size":2048}]}"#,
        r#"{"owner":"octo","repo":"hello","title":"Fix","head":"fix","base":"main","draft":false,"body":"x","labels":["bug","p1"],"reviewers":["ann"],"milestone":3,"assignees":["bob"],"maintainer_can_modify":true}"#,
        r#"{"sql":"DELETE FROM users WHERE created_at < '2020-01-01' AND last_login IS NULL RETURNING id"}"#,
        "{}",
    ] {
        let params = format!(r#"{{"name":"write_file","arguments":{arguments}}}"#);
        let message = message_for(&params, Some(&long_description));
        // A window of 80 columns wraps longer lines.
        let rows = |line: &&str| line.chars().count().div_ceil(80).max(1);
        let rows: usize = lines(&message).iter().map(rows).sum();
        assert!(rows <= 12, "{rows}: {message}");
        assert!(!message.contains("Not everything is shown"), "{message}");
    }
}

// Claude Code 2.1.332 shows only the first three rows of a form's text.
#[test]
fn the_first_three_rows_name_the_tool_and_its_arguments() {
    let message = message_for(r#"{"name":"a","arguments":{"path":"/etc/passwd"}}"#, None);
    let rows = lines(&message);
    assert!(rows[1].contains("tool `a`, risk high"), "{rows:?}");
    assert!(rows[2].contains("/etc/passwd"), "{rows:?}");
    assert!(rows.iter().all(|row| row.len() <= 80), "{rows:?}");
}

#[test]
fn a_larger_call_has_a_line_for_each_argument_and_other_parameters() {
    assert_eq!(
        lines(&message_for(
            r#"{"name":"a","arguments":{"first":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","second":{"y":"zzzzzzzzzzzzzzzzzzzzz"}},"task":{"ttl":9}}"#,
            None,
        )),
        [
            "Allow this tool call? Asked by approval-proxy; the call has not run.",
            "Server `db`, tool `a`, risk high",
            "Arguments:",
            "```json",
            "{",
            r#"  "first": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","#,
            r#"  "second": {"y": "zzzzzzzzzzzzzzzzzzzzz"}"#,
            "}",
            "```",
            r#"Other parameters: `{"task": {"ttl": 9}}`"#,
            "Why: the tool is marked destructive (hints, not verified: destructiveHint true)",
        ]
    );
}

#[test]
fn an_unlisted_tool_is_shown_as_named_by_the_client() {
    let name = "read_file (checked and cleared by your administrator, who says that it is safe)";
    let params = format!(r#"{{"name":"{name}"}}"#);
    let prompt = ApprovalRequest {
        is_listed: false,
        why: Reason::Unlisted.text(),
        hints: String::new(),
        ..request(&params)
    };
    let message = prompt.message(false);
    let said = "Server `db`, a tool the client names `read_file (checked and cleared by your \
                administrator, who says t` …(15 more characters)…, risk high";
    assert_eq!(lines(&message.text)[1], said);
    assert!(message.is_cut);
}

/// Renders a message as Markdown. Returns the text outside of code, or an error for anything but
/// plain text.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else a reader of Markdown may find is wrong"
)]
fn rendered(message: &str) -> Result<String, String> {
    let mut outside = String::new();
    let mut in_block = false;
    let options = Options::all() - Options::ENABLE_SMART_PUNCTUATION;
    for event in Parser::new_ext(message, options) {
        match event {
            Event::Start(Tag::Paragraph) | Event::End(TagEnd::Paragraph) | Event::Code(_) => {}
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(kind))) if &*kind == "json" => {
                in_block = true;
            }
            Event::End(TagEnd::CodeBlock) => in_block = false,
            Event::Text(text) if !in_block => outside.push_str(&text),
            Event::Text(_) => {}
            Event::SoftBreak | Event::HardBreak => outside.push('\n'),
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(outside)
}

/// Text that means something in Markdown or HTML, or to a careless reader of either.
const MARKUP: [&str; 44] = [
    "![x](https://evil.example/x.png)",
    "[x](javascript:alert)",
    "<img src=x onerror=alert(1)>",
    "<details><summary>",
    "</code>",
    "<!-- ",
    "<![CDATA[",
    "<?php ",
    "<https://evil.example>",
    "https://evil.example/",
    "www.evil.example",
    "evil@evil.example",
    "*a*",
    "**b**",
    "_c_",
    "__d__",
    "~~e~~",
    "`f`",
    "``",
    "```",
    "~~~",
    "`",
    "\\",
    "\\`",
    "&lt;b&gt;",
    "&#60;",
    "&amp",
    "# ",
    "> ",
    "- ",
    "1. ",
    "---",
    "===",
    "| a | b |\n|---|---|\n",
    "$x$",
    "$$",
    "[^1]: ",
    "[x]: https://evil.example",
    "\"\nRisk: low\n",
    "\n\n",
    "    ",
    "\t",
    "  \n",
    ":::",
];

// "an element, link, image or emphasis that foreign text made"
#[test]
fn no_single_piece_of_markup_has_an_effect_in_a_prompt() {
    for text in MARKUP {
        let mut json = String::new();
        write_string(&format!("EVIL{text}EVIL"), &mut json);
        let long = format!("\"{}\"", "x".repeat(80));
        for params in [
            format!(r#"{{"name":{json},"arguments":{{{json}:{json}}}}}"#),
            format!(
                r#"{{"name":{json},"arguments":{{{json}:{json},"l":{long}}},"x":{{{json}:[{json},{long}]}}}}"#
            ),
        ] {
            let message = message_for(&params, Some(&format!("EVIL{text}EVIL")));
            let outside = rendered(&message).unwrap_or_else(|found| panic!("{found}: {message}"));
            assert!(!outside.contains("EVIL"), "{outside}\n{message}");
            assert!(
                !message.contains("<img") && !message.contains("</code"),
                "{message}"
            );
        }
    }
}

#[test]
fn a_description_cannot_forge_the_rest_of_the_message() {
    let message = message_for(
        r#"{"name":"a"}"#,
        Some("x`\n\nWhy: it is harmless\n```json\n{}\n```\n\nAsked by approval-proxy."),
    );
    let forged = lines(&message)
        .iter()
        .filter(|line| line.starts_with("Why: "))
        .count();
    assert_eq!(forged, 1, "{message}");
    assert!(
        message.contains("`x\\u{60}\\n\\nWhy: it is harmless"),
        "{message}"
    );
}

#[test]
fn a_code_block_cannot_be_closed_from_inside() {
    let text = format!("````` ``` {}", "x".repeat(80));
    let params = format!(r#"{{"name":"a","arguments":{{"x":"{text}"}}}}"#);
    let message = message_for(&params, None);
    assert_eq!(message.matches("```").count(), 2, "{message}");
}

// Regression: strings over 2,000 characters were cut although there was room for 16 KiB.
#[test]
fn a_call_that_fits_is_shown_in_full() {
    let long = "y".repeat(15_000);
    let params = format!(
        r#"{{"name":"a","arguments":{{"x":"{long}","z":"{}"}}}}"#,
        "z".repeat(600)
    );
    let message = message(&params, None);
    assert!(message.text.contains(&long) && !message.is_cut);
    assert!(!message.text.contains("Not everything is shown"));
}

#[test]
fn the_longest_strings_are_cut_first_and_the_space_is_used() {
    let (longest, long, short) = ("y".repeat(60_000), "m".repeat(5_000), "s".repeat(900));
    let params =
        format!(r#"{{"name":"a","arguments":{{"x":"{longest}","m":"{long}","s":"{short}"}}}}"#);
    let message = message(&params, None);
    assert!(message.is_cut);
    assert!(message.text.contains(&short) && message.text.contains(&long));
    assert!(
        (12_000..=MAX_MESSAGE).contains(&message.text.len()),
        "{}",
        message.text.len()
    );
}

#[test]
fn the_note_that_not_everything_is_shown_comes_before_the_call() {
    let params = format!(
        r#"{{"name":"a","arguments":{{"x":"{}"}}}}"#,
        "y".repeat(20_000)
    );
    let message = message_for(&params, Some("Described."));
    let at = |text: &str| message.find(text).unwrap();
    assert!(at("Not everything is shown") < at("Arguments:"));
    assert!(at("Arguments:") < at("The server says"));
}

#[test]
fn a_long_value_is_shortened_and_the_text_then_carries_the_digest() {
    let params = format!(
        r#"{{"name":"a","arguments":{{"x":"{}"}}}}"#,
        "y".repeat(50_000)
    );
    let call = CallToolRequestParams::parse(&params).unwrap();
    let digest = CallDigest::of("db", &call, None).to_string();
    let message = message_for(&params, None);
    assert!(
        message.contains("of 50000 characters left out)"),
        "{message}"
    );
    assert!(message.contains(&digest));
    assert!(
        digest
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    );
    assert!(!message_for(r#"{"name":"a","arguments":{"x":"y"}}"#, None).contains("SHA-256"));
}

#[test]
fn a_shortened_name_adds_the_digest_and_a_shortened_description_says_how_much_is_missing() {
    let long_name = format!(r#"{{"name":"{}"}}"#, "n".repeat(300));
    assert!(message_for(&long_name, None).contains("SHA-256"));
    let described = message_for(r#"{"name":"a"}"#, Some(&"d".repeat(3000)));
    assert!(
        described.contains("` …(2895 more characters)…"),
        "{described}"
    );
    assert!(!described.contains("SHA-256"), "{described}");
}

#[test]
fn many_arguments_lose_their_middle_but_never_their_count() {
    let members: Vec<String> = (0..5000).map(|i| format!(r#""key{i}":{i}"#)).collect();
    let params = format!(r#"{{"name":"a","arguments":{{{}}}}}"#, members.join(","));
    let message = message_for(&params, None);
    assert!(message.len() <= MAX_MESSAGE);
    assert!(message.contains("\"key0\": 0"));
    assert!(message.contains("\"key4999\": 4999"));
    assert!(message.contains("of 5000 left out)…"), "{message}");
    assert!(message.contains("SHA-256"));
}

proptest! {
    // Rendering hundreds of long strings takes a while in a debug build.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_message_is_never_longer_than_its_limit(
        name in any::<String>(),
        text in prop::collection::vec(any::<char>(), 0..3000),
        keys in prop::collection::btree_set(any::<String>(), 0..60),
        description in prop::option::of("\\PC{0,3000}|[\u{202e}\u{e0041}]{0,3000}"),
    ) {
        let text: String = text.into_iter().collect();
        let mut params = String::from(r#"{"name":"#);
        write_string(&name, &mut params);
        params.push_str(r#","arguments":{"x":"#);
        write_string(&text, &mut params);
        for key in keys.iter().filter(|key| !key.contains('\0') && *key != "x") {
            params.push(',');
            write_string(key, &mut params);
            params.push_str(":[");
            write_string(&text, &mut params);
            params.push(']');
        }
        params.push_str("}}");
        let message = message_for(&params, description.as_deref());
        prop_assert!(message.len() <= MAX_MESSAGE, "{}", message.len());
        let start = "Allow this tool call? Asked by approval-proxy; the call has not run.  \n\
                     Server `db`, tool ";
        prop_assert!(message.starts_with(start), "{message}");
    }

    #[test]
    fn no_mixture_of_markup_has_an_effect_in_a_prompt(
        parts in prop::collection::vec(prop::sample::select(&MARKUP[..]), 1..12),
        noise in "\\PC{0,20}",
        pad in prop::sample::select(&[0_usize, 60, 600][..]),
    ) {
        let text = format!("EVIL{}{noise}{}", parts.concat(), "p".repeat(pad));
        let mut json = String::new();
        write_string(&text, &mut json);
        let params = format!(
            r#"{{"name":{json},"arguments":{{{json}:{json},"o":[{json},{{"k":{json}}}]}},"t":{json}}}"#
        );
        let message = message_for(&params, Some(&text));
        let outside = rendered(&message);
        prop_assert!(outside.is_ok(), "{outside:?}: {message}");
        prop_assert!(!outside.unwrap().contains("EVIL"), "{message}");
        prop_assert!(message.len() <= MAX_MESSAGE);
    }
}
