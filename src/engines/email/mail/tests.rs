use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::approval::item::{Choice, Closed};
use crate::approval::render::Show;
use crate::engines::Ending;
use crate::engines::chat::outcome;
use crate::engines::for_test::item;
use crate::evidence::redact::Redaction;
use crate::gate::EngineId;
use crate::policy::Risk;

const LINK: &str = "https://phone.example/item/a0";

fn question(item: &Item, show: Show) -> Letter {
    let disclosure = Disclosure::new(item, show, &Redaction::default()).unwrap();
    Letter::question(&disclosure, LINK).unwrap()
}

fn parties() -> Parties {
    Parties {
        from: mailbox("Approvals <bot@mail.example>").unwrap(),
        to: vec![mailbox("olga@people.example").unwrap()],
    }
}

fn ids(own: &str, answers: Option<&str>) -> Ids {
    Ids {
        own: format!("<{own}@mail.example>"),
        answers: answers.map(|id| format!("<{id}@mail.example>")),
    }
}

/// Returns the mail as a server gets it.
fn sent(letter: &Letter) -> String {
    let mail = letter.mail(&parties(), &ids("one", None), 1_790_000_000_000);
    String::from_utf8(mail.unwrap().data).unwrap()
}

/// Returns the headers, with the lines of each joined.
fn headers(data: &str) -> Vec<(String, String)> {
    let (head, _) = data.split_once("\r\n\r\n").unwrap();
    let head = head.replace("\r\n ", " ");
    head.split("\r\n")
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    let mut found = headers.iter().filter(|(other, _)| other == name);
    let (_, value) = found.next().unwrap_or_else(|| panic!("{name}"));
    assert!(found.next().is_none(), "{name} is there twice");
    value
}

/// Decodes the words of RFC 2047 that lettre writes.
fn decoded(header: &str) -> String {
    let mut text = String::new();
    for word in header.split(' ') {
        let inner = word
            .strip_prefix("=?utf-8?b?")
            .and_then(|word| word.strip_suffix("?="));
        match inner {
            Some(inner) => {
                text.push_str(&String::from_utf8(STANDARD.decode(inner).unwrap()).unwrap());
            }
            None => {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(word);
            }
        }
    }
    text
}

#[test]
fn a_mail_asks_in_text_and_html_and_has_one_link() {
    let letter = question(&item("a"), Show::Redacted);
    assert_eq!(letter.subject, r#"Risk high: "drop_table" on "db""#);
    for text in [&letter.text, &letter.html] {
        for word in [
            "Allow this tool call?",
            "drop_table",
            "1.50",
            "it destroys",
            "Opening it decides nothing.",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("has not run"), "{text}");
    }
    assert_eq!(letter.text.matches("http").count(), 1, "{}", letter.text);
    let shown = format!("<a href=\"{LINK}\">{LINK}</a>");
    assert!(letter.html.contains(&shown), "{}", letter.html);
    assert_eq!(letter.html.matches("http").count(), 2, "{}", letter.html);
    for loading in ["<img", "<script", "<link", "@import", "src=", "url("] {
        assert!(!letter.html.contains(loading), "{loading}");
    }
    let data = sent(&letter);
    let headers = headers(&data);
    for (name, value) in [
        ("From", "Approvals <bot@mail.example>"),
        ("To", "olga@people.example"),
        ("Message-ID", "<one@mail.example>"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
        ("Date", "Mon, 21 Sep 2026 14:13:20 +0000"),
    ] {
        assert_eq!(header(&headers, name), value);
    }
    assert!(header(&headers, "Content-Type").starts_with("multipart/alternative"));
    assert!(!data.contains("In-Reply-To") && !data.contains("References"));
}

#[test]
fn how_it_ended_is_said_in_the_same_thread_with_who_and_why() {
    let subject = Subject::of(&item("a"));
    let denied = Ending::Decided {
        choice: Choice::Deny,
        reason: Some("not <today>, OPS-12".to_owned()),
        approver: Some("olga".to_owned()),
        engine: EngineId::INBOX,
    };
    let letter = Letter::ending(&subject, &outcome(&denied));
    assert_eq!(letter.subject, r#"Re: Risk high: "drop_table" on "db""#);
    for word in ["Denied", r#""olga""#, r#""inbox""#, "not <today>, OPS-12"] {
        assert!(letter.text.contains(word), "{word}: {}", letter.text);
    }
    assert!(letter.html.contains("not &lt;today&gt;"), "{}", letter.html);
    assert!(!letter.text.contains("http") && !letter.html.contains("http"));
    let mail = letter.mail(&parties(), &ids("two", Some("one")), 1_790_000_000_000);
    let data = String::from_utf8(mail.unwrap().data).unwrap();
    let headers = headers(&data);
    for name in ["In-Reply-To", "References"] {
        assert_eq!(header(&headers, name), "<one@mail.example>");
    }
    assert_eq!(header(&headers, "Message-ID"), "<two@mail.example>");
    for (how, words) in [
        (Closed::Expired, "Nobody decided in time."),
        (Closed::Withdrawn, "Nobody waits"),
    ] {
        let letter = Letter::ending(&subject, &outcome(&Ending::Closed(how)));
        assert!(letter.text.contains(words), "{}", letter.text);
    }
}

#[test]
fn what_may_leave_this_machine_is_what_show_says() {
    let secret = Item {
        call: r#"{"name":"x","arguments":{"password":"hunter2-XK","t":"orders-7Q"}}"#.to_owned(),
        ..item("a")
    };
    for (show, has_secret, has_rest) in [
        (Show::Full, true, true),
        (Show::Redacted, false, true),
        (Show::Summary, false, false),
    ] {
        let Letter {
            subject,
            text,
            html,
        } = question(&secret, show);
        for part in [&text, &html] {
            assert_eq!(part.contains("hunter2-XK"), has_secret, "{part}");
            assert_eq!(part.contains("orders-7Q"), has_rest, "{part}");
        }
        assert!(!subject.contains("orders-7Q"), "{subject}");
    }
}

#[test]
fn a_long_call_is_cut_visibly_and_the_mail_has_a_limit() {
    for part in ["y", "\"", "<", "é", "\u{202e}", "😀", "\r\n"] {
        let value = serde_json::Value::from(part.repeat(100_000));
        let long = Item {
            call: format!(r#"{{"name":"x","arguments":{{"t":{value}}}}}"#),
            tool: part.repeat(9_000),
            server: part.repeat(9_000),
            description: Some(part.repeat(9_000)),
            ..item("a")
        };
        let letter = question(&long, Show::Full);
        assert!(letter.subject.len() <= MAX_SUBJECT, "{}", letter.subject);
        for text in [&letter.text, &letter.html] {
            assert!(text.contains("Not everything is shown"), "{part:?}");
            assert!(text.contains(LINK), "{part:?}");
        }
        assert!(letter.text.len() < MAX_TEXT + 1_000);
        assert!(letter.html.len() < MAX_HTML + 1_500);
        let data = sent(&letter);
        assert!(data.len() < 300_000, "{part:?}: {}", data.len());
        assert!(data.is_ascii(), "{part:?}");
        // RFC 5322 section 2.1.1.
        assert!(data.split("\r\n").all(|line| line.len() <= 998), "{part:?}");
    }
}

#[test]
fn no_name_adds_a_header_a_line_or_markup() {
    for name in [
        "x\r\nBcc: eve@evil.example",
        "x\nBcc: eve@evil.example\n\nbody",
        "x\rBcc: eve@evil.example",
        "x\u{2028}Bcc: eve@evil.example\u{85}y",
        "=?utf-8?q?x=0D=0ABcc:_eve@evil.example?=",
        "\u{202e}elbat_pord",
        "</code><a href=\"https://evil.example\">approve</a>",
        "x\r\n.\r\nMAIL FROM:<eve@evil.example>",
        "é\r\nBcc: eve@evil.example é",
        "",
    ] {
        let hostile = Item {
            tool: name.to_owned(),
            server: name.to_owned(),
            question: "Allow this tool call?".to_owned(),
            description: Some(name.to_owned()),
            client: Some(name.to_owned()),
            ..item("a")
        };
        let letter = question(&hostile, Show::Full);
        for text in [&letter.subject, &letter.text] {
            assert!(!text.contains(['\r', '\u{202e}', '\u{2028}']), "{text:?}");
            assert!(!text.contains("\nBcc"), "{text:?}");
        }
        assert!(!letter.subject.contains('\n'), "{:?}", letter.subject);
        assert!(!letter.html.contains("<a href=\"https://evil"), "{name:?}");
        let subject = Subject::of(&hostile);
        let decided = Ending::Decided {
            choice: Choice::Approve,
            reason: Some(name.to_owned()),
            approver: Some(name.to_owned()),
            engine: EngineId::INBOX,
        };
        for letter in [letter, Letter::ending(&subject, &outcome(&decided))] {
            let data = sent(&letter);
            let headers = headers(&data);
            let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
            let known = [
                "From",
                "Subject",
                "Date",
                "Message-ID",
                "Auto-Submitted",
                "To",
                "MIME-Version",
                "Content-Type",
            ];
            assert_eq!(names, known, "{name:?}");
            let shown = decoded(header(&headers, "Subject"));
            assert!(shown.contains("Risk high:"), "{shown}");
            assert!(
                !data.contains("\r\n.\r\n") && !data.contains("\nMAIL"),
                "{name:?}"
            );
            assert!(!data.replace("\r\n", "").contains(['\r', '\n']), "{name:?}");
        }
    }
}

#[test]
fn the_subject_reads_as_it_was_written() {
    let odd = Item {
        tool: "supprimer_élève_削除_削除_削除_削除".to_owned(),
        risk: Risk::Medium,
        ..item("a")
    };
    let letter = question(&odd, Show::Full);
    let data = sent(&letter);
    let shown = decoded(header(&headers(&data), "Subject"));
    let bare = |text: &str| text.replace(' ', "");
    assert_eq!(bare(&shown), bare(&letter.subject));
}

#[test]
fn every_recipient_is_named_and_no_line_is_too_long() {
    let long = "x".repeat(60);
    let mut to = vec![
        "a@people.example".to_owned(),
        "\"Größe, Olga\" <b@people.example>".to_owned(),
        "c@[192.0.2.7]".to_owned(),
        "\"d d\"@people.example".to_owned(),
    ];
    to.extend((to.len()..20).map(|n| format!("{long}{n}@people.example")));
    let to: Vec<Mailbox> = to.iter().map(|text| mailbox(text).unwrap()).collect();
    let parties = Parties { to, ..parties() };
    let letter = question(&item("a"), Show::Redacted);
    let mail = letter.mail(&parties, &ids("one", None), 1_790_000_000_000);
    let mail = mail.unwrap();
    assert_eq!(mail.to.len(), 20);
    let data = String::from_utf8(mail.data).unwrap();
    assert!(data.lines().all(|line| line.len() <= 998));
    let headers = headers(&data);
    let named = header(&headers, "To");
    assert_eq!(named.split(", ").count(), 20, "{named}");
    for to in mail.to {
        assert!(named.contains(&*to), "{to}: {named}");
    }
    assert!(named.contains("=?utf-8?b?"), "{named}");
}

#[test]
fn lines_end_as_they_must_and_none_ends_the_mail() {
    let data = |text: &str| String::from_utf8(as_data(text.as_bytes())).unwrap();
    assert_eq!(data("a\r\nb"), "a\r\nb\r\n");
    assert_eq!(data("a\n.\nb\r.\r.."), "a\r\n..\r\nb\r\n..\r\n...\r\n");
    assert_eq!(data("\r\n.\r\n"), "\r\n..\r\n");
    assert_eq!(data(""), "");
}

#[test]
fn an_address_may_have_a_name_quotes_and_a_domain_of_other_letters() {
    for (text, address, name) in [
        ("a@b.example", "a@b.example", None),
        ("Approvals <a@b.example>", "a@b.example", Some("Approvals")),
        (
            "\"Ops, on call\" <a+x@b.example>",
            "a+x@b.example",
            Some("Ops, on call"),
        ),
        ("Größe <a@b.example>", "a@b.example", Some("Größe")),
        ("olga@bücher.example", "olga@xn--bcher-kva.example", None),
        ("\"a b\"@b.example", "\"a b\"@b.example", None),
        ("\"a.b\"@b.example", "a.b@b.example", None),
        ("\"a>b\"@b.example", "\"a>b\"@b.example", None),
        ("root@localhost", "root@localhost", None),
        ("a@[192.0.2.7]", "a@[192.0.2.7]", None),
    ] {
        let read = mailbox(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(read.email.to_string(), address, "{text}");
        assert_eq!(read.name.as_deref(), name, "{text}");
    }
    let long = format!("a@{}example", "b.".repeat(200));
    for text in [
        "",
        "olga",
        "a@b@c",
        "a@b.example, c@d.example",
        "a@b.example>",
        "<a@b.example",
        "a@b.example\r\nRCPT TO:<eve@evil.example>",
        "A\nBcc: x <a@b.example>",
        "\"a\tb\"@c.example",
        "ö@b.example",
        "a@b.example> SIZE=1",
        "a b@c.example",
        "a@b .example",
        &long,
    ] {
        assert!(mailbox(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_wall_clock_that_is_wrong_does_not_stop_a_mail() {
    let letter = question(&item("a"), Show::Full);
    for unix_ms in [i64::MIN, -1, 0, i64::MAX] {
        assert!(letter.mail(&parties(), &ids("one", None), unix_ms).is_ok());
    }
}
