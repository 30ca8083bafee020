//! Decides which messages of a chat answer a question, and how. Does no I/O.
//!
//! Written from WAHA's documentation: <https://waha.devlike.pro/docs/how-to/chats/#get-messages> and
//! <https://waha.devlike.pro/docs/how-to/receive-messages/> ("Fields": the ids of people, and `replyTo`, whose `id` may be
//! absent). What its engine WEBJS leaves out is in `_data`, with the names of WhatsApp Web.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::{id, is_group};
use crate::approval::item::Choice;

/// The words that approve, and those that deny, in lower case.
const YES: [&str; 6] = ["yes", "ok", "approve", "y", "👍", "✅"];
const NO: [&str; 6] = ["no", "deny", "denied", "cancel", "n", "❌"];
/// The characters of codes. Without vowels there are no words, and none looks like another.
const LETTERS: [char; 27] = [
    'b', 'c', 'd', 'f', 'g', 'h', 'j', 'k', 'm', 'n', 'p', 'q', 'r', 's', 't', 'v', 'w', 'x', 'z',
    '2', '3', '4', '5', '6', '7', '8', '9',
];
/// How long a code is.
const CODE_LENGTH: usize = 6;

/// What an answer must refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The id of our message, without its chat; `None` if WAHA did not say it.
    pub(super) message: Option<&'a str>,
    pub(super) code: &'a str,
    /// The chat that was asked in.
    pub(super) chat: &'a str,
    pub(super) approvers: &'a [String],
    /// The approvers whose hidden ids we know.
    pub(super) lids: &'a HashMap<String, String>,
}

impl Subject<'_> {
    /// Returns the approver with this id.
    fn approver(&self, id: &str) -> Option<&str> {
        let shown = self.lids.get(id).map_or(id, String::as_str);
        let mut approvers = self.approvers.iter();
        approvers
            .find(|approver| *approver == shown)
            .map(String::as_str)
    }
}

/// What the messages of a chat say about a question.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replies {
    /// The answers that count.
    pub(super) of_approvers: Vec<Reply>,
    /// A hidden id (`@lid`) that answered, and belongs to no approver as far as we know.
    pub(super) hidden: Option<String>,
}

/// An answer that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// The id of the person.
    pub(super) approver: String,
    pub(super) choice: Choice,
    /// When it was written, in seconds. Only orders answers.
    at_s: i64,
}

/// What we read of a message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    from: String,
    from_me: bool,
    participant: Option<String>,
    body: Option<String>,
    reply_to: Option<Quoted>,
    #[serde(default)]
    timestamp: Value,
    #[serde(default, rename = "_data")]
    raw: Value,
}

impl Message {
    /// Returns the id of the message that it quotes.
    fn quoted(&self) -> Option<&str> {
        let said = self.reply_to.as_ref().and_then(|it| it.id.as_deref());
        said.or_else(|| self.raw.get("quotedStanzaID").and_then(Value::as_str))
    }

    /// Returns who wrote it in a group.
    fn participant(&self) -> Option<&str> {
        let raw = || {
            let author = self.raw.get("author")?;
            author
                .as_str()
                .or_else(|| author.get("_serialized").and_then(Value::as_str))
        };
        self.participant.as_deref().or_else(raw)
    }
}

/// The message that it quotes.
#[derive(Deserialize)]
struct Quoted {
    id: Option<String>,
}

/// Returns the answers among the messages of a chat; `None` if that is no list of messages.
///
/// INVARIANT 8: only those of approvers count.
pub(super) fn replies(messages: &[u8], subject: Subject<'_>) -> Option<Replies> {
    let messages: Vec<Value> = serde_json::from_slice(messages).ok()?;
    let mut replies = Replies::default();
    for message in messages {
        // What is unlike a message of a person does not hide the others.
        let Ok(message) = serde_json::from_value(message) else {
            continue;
        };
        let Some((who, choice)) = answer(&message, subject) else {
            continue;
        };
        if let Some(approver) = subject.approver(&who) {
            replies.of_approvers.push(Reply {
                approver: approver.to_owned(),
                choice,
                at_s: seconds(&message.timestamp),
            });
        } else if who.ends_with("@lid") {
            replies.hidden = Some(who);
        }
    }
    Some(replies)
}

/// Returns the answer that counts: the first one. If two came in the same second, a no.
pub(super) fn first(replies: Vec<Reply>) -> Option<Reply> {
    let is_yes = |reply: &Reply| reply.choice == Choice::Approve;
    replies
        .into_iter()
        .min_by_key(|reply| (reply.at_s, is_yes(reply)))
}

/// Returns who answers, whoever that is, and what.
fn answer(message: &Message, subject: Subject<'_>) -> Option<(String, Choice)> {
    if message.from_me {
        return None;
    }
    let from = person(&message.from)?;
    let who = if is_group(subject.chat) {
        // The message is of the group; its participant wrote it.
        let participant = message.participant().filter(|_| from == subject.chat);
        participant.and_then(person)?
    } else {
        from
    };
    let is_quote = match (message.quoted(), subject.message) {
        (Some(quoted), Some(ours)) => bare(quoted) == ours,
        _ => false,
    };
    let choice = choice(message.body.as_deref()?, subject.code, is_quote)?;
    Some((who, choice))
}

/// Reads an id in a message. It may name one of the devices of the person, as in `15552220000:12@lid`.
fn person(text: &str) -> Option<String> {
    let (user, server) = text.split_once('@')?;
    let number = user.split([':', '.']).next()?;
    let is_device = |c: char| c.is_ascii_digit() || matches!(c, ':' | '.');
    let device = user.get(number.len()..)?;
    device
        .chars()
        .all(is_device)
        .then(|| id(&format!("{number}@{server}")))?
}

/// Reads what somebody wrote. It is an answer if it is one word, and refers to the question by a quote or its code.
///
/// INVARIANT 3: with anything else beside it, it is none.
fn choice(text: &str, code: &str, is_quote: bool) -> Option<Choice> {
    let mut word = None;
    let mut has_code = false;
    for part in text.split_whitespace() {
        // Phones end a sentence by themselves. A question mark stays: `yes?` is no yes.
        let part = part.trim_end_matches(['.', ',', '!', ':', ';']);
        if part.eq_ignore_ascii_case(code) && !has_code {
            has_code = true;
        } else if word.is_none() {
            word = Some(part);
        } else {
            return None;
        }
    }
    if !has_code && !is_quote {
        return None;
    }
    // Variants of an emoji: its colour, and whether it is text.
    let is_variant = |c: char| matches!(c, '\u{1f3fb}'..='\u{1f3ff}' | '\u{fe0f}');
    let word = word?.to_lowercase().replace(is_variant, "");
    match &*word {
        word if YES.contains(&word) => Some(Choice::Approve),
        word if NO.contains(&word) => Some(Choice::Deny),
        _ => None,
    }
}

/// Returns the id of a message without the chat and the participant: `true_15552220000@c.us_3EB0…` is `3EB0…`.
pub(super) fn bare(id: &str) -> &str {
    let mut parts = id.split('_');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("true" | "false"), Some(_), Some(bare)) => bare,
        _ => id,
    }
}

/// Returns the id of a message that was sent. WAHA's engines answer in different forms.
pub(super) fn sent_id(body: &[u8]) -> Option<String> {
    let sent: Value = serde_json::from_slice(body).ok()?;
    let found = [
        sent.pointer("/id"),
        sent.pointer("/id/_serialized"),
        sent.pointer("/id/id"),
        sent.pointer("/key/id"),
        sent.pointer("/_data/id/_serialized"),
        sent.pointer("/_data/key/id"),
    ];
    let mut texts = found.into_iter().flatten().filter_map(Value::as_str);
    texts.find(|id| !id.is_empty()).map(str::to_owned)
}

/// Returns a code for a question.
pub(super) fn code(random: u32) -> String {
    let mut rest = usize::try_from(random).unwrap_or_default();
    let mut code = String::with_capacity(CODE_LENGTH);
    for _ in 0..CODE_LENGTH {
        code.extend(LETTERS.get(rest % LETTERS.len()));
        rest /= LETTERS.len();
    }
    code
}

/// Returns the hidden id in the answer to a look-up by phone number; `None` if there is none.
///
/// Written from <https://waha.devlike.pro/docs/how-to/contacts/#api---lids>.
pub(super) fn lid(body: &[u8]) -> Option<String> {
    let found: Value = serde_json::from_slice(body).ok()?;
    let lid = person(found.get("lid")?.as_str()?)?;
    lid.ends_with("@lid").then_some(lid)
}

/// Some engines count in milliseconds, or have a fraction.
fn seconds(timestamp: &Value) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it only orders answers, and saturates"
    )]
    let time = timestamp.as_f64().unwrap_or_default() as i64;
    if time > 100_000_000_000 {
        time / 1_000
    } else {
        time
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ANN: &str = "15552220000@c.us";
    const GROUP: &str = "120363000000000001@g.us";

    fn read_all(chat: &str, messages: &Value, lids: &HashMap<String, String>) -> Replies {
        let approvers = [ANN.to_owned()];
        let subject = Subject {
            message: Some("OURS"),
            code: "k7m2xq",
            chat,
            approvers: &approvers,
            lids,
        };
        replies(messages.to_string().as_bytes(), subject).unwrap()
    }

    fn read(chat: &str, messages: &Value) -> Vec<Reply> {
        read_all(chat, messages, &HashMap::new()).of_approvers
    }

    fn message(from: &str, body: &str, quoted: Option<&str>) -> Value {
        json!({"id": "false_x_THEIRS", "timestamp": 1_790_000_000, "from": from, "fromMe": false,
            "participant": null, "body": body, "replyTo": quoted.map(|id| json!({"id": id}))})
    }

    fn choices(message: &Value) -> Vec<Choice> {
        let replies = read(ANN, &json!([message]));
        replies.into_iter().map(|reply| reply.choice).collect()
    }

    #[test]
    fn a_word_counts_if_it_quotes_our_message_or_carries_the_code() {
        for (body, quoted, choice) in [
            ("yes", Some("OURS"), Choice::Approve),
            (
                " Yes\n",
                Some("true_15552220000@c.us_OURS"),
                Choice::Approve,
            ),
            ("👍🏽", Some("OURS"), Choice::Approve),
            ("✅\u{fe0f}", Some("OURS"), Choice::Approve),
            ("OK K7M2XQ", None, Choice::Approve),
            ("k7m2xq approve", None, Choice::Approve),
            ("y k7m2xq", Some("OURS"), Choice::Approve),
            ("Denied", Some("OURS"), Choice::Deny),
            ("❌", Some("OURS"), Choice::Deny),
            ("no k7m2xq", Some("ANOTHER"), Choice::Deny),
            // As phones complete and correct it.
            ("Yes. ", Some("OURS"), Choice::Approve),
            ("Yes, k7m2xq!", None, Choice::Approve),
            ("k7m2xq: no.", None, Choice::Deny),
        ] {
            assert_eq!(choices(&message(ANN, body, quoted)), [choice], "{body}");
        }
    }

    #[test]
    fn anything_else_is_no_answer() {
        for (body, quoted) in [
            ("yes", None),
            ("yes", Some("ANOTHER")),
            ("yes", Some("true_OURS_ANOTHER")),
            ("yes k7m2xr", None),
            ("yes k7m2xr", Some("OURS")),
            ("yesk7m2xq", None),
            ("k7m2xq", None),
            ("k7m2xq k7m2xq", Some("OURS")),
            ("yes please do not", Some("OURS")),
            ("yes no k7m2xq", None),
            ("not yes", Some("OURS")),
            ("maybe", Some("OURS")),
            ("yes?", Some("OURS")),
            ("yes?.", Some("OURS")),
            (".", Some("OURS")),
            ("yes . no", Some("OURS")),
            ("", Some("OURS")),
        ] {
            assert_eq!(choices(&message(ANN, body, quoted)), [], "{body}");
        }
    }

    #[test]
    fn only_an_approver_counts_and_in_a_group_that_is_the_participant() {
        let stranger = "15553330000@c.us";
        assert_eq!(choices(&message(stranger, "yes", Some("OURS"))), []);
        let mut ours = message(ANN, "yes", Some("OURS"));
        ours["fromMe"] = json!(true);
        assert_eq!(choices(&ours), []);
        ours.as_object_mut().unwrap().remove("fromMe");
        assert_eq!(choices(&ours), []);

        let mut said = message(GROUP, "yes", Some("OURS"));
        assert_eq!(read(GROUP, &json!([said])), []);
        for (participant, counts) in [
            (ANN, true),
            ("15552220000@s.whatsapp.net", true),
            (stranger, false),
            (GROUP, false),
        ] {
            said["participant"] = json!(participant);
            let replies = read(GROUP, &json!([said]));
            assert_eq!(replies.len(), usize::from(counts), "{participant}");
        }
        // Of a chat with her, not of the group.
        let mut elsewhere = message(ANN, "yes", Some("OURS"));
        elsewhere["participant"] = json!(ANN);
        assert_eq!(read(GROUP, &json!([elsewhere])), []);
    }

    #[test]
    fn a_hidden_id_counts_if_it_is_known_as_an_approvers() {
        let hidden = "999000111222333@lid";
        let known = HashMap::from([(hidden.to_owned(), ANN.to_owned())]);
        let direct = json!([message(hidden, "yes", Some("OURS"))]);
        let mut said = message(GROUP, "yes", Some("OURS"));
        said["participant"] = json!("999000111222333:7@lid");
        for (chat, messages) in [(ANN, direct), (GROUP, json!([said]))] {
            let unknown = read_all(chat, &messages, &HashMap::new());
            assert_eq!(unknown.of_approvers, []);
            assert_eq!(unknown.hidden.as_deref(), Some(hidden));
            let counted = read_all(chat, &messages, &known);
            assert_eq!(counted.of_approvers[0].approver, ANN);
            assert_eq!(counted.hidden, None);
        }
        // Only answers are looked up.
        let chatter = json!([message(hidden, "hello", Some("OURS"))]);
        assert_eq!(read_all(ANN, &chatter, &known), Replies::default());
        let other = HashMap::from([(hidden.to_owned(), "15553330000@c.us".to_owned())]);
        let of_another = json!([message(hidden, "yes", Some("OURS"))]);
        assert_eq!(read_all(ANN, &of_another, &other).of_approvers, []);
    }

    #[test]
    fn a_hidden_id_is_read_from_the_answer_to_a_look_up() {
        for (body, found) in [
            (r#"{"lid":"123@lid","pn":"456@c.us"}"#, Some("123@lid")),
            (r#"{"lid":null,"pn":"456@c.us"}"#, None),
            (r#"{"lid":"456@c.us","pn":"456@c.us"}"#, None),
            (r#"{"statusCode":404}"#, None),
            ("[]", None),
        ] {
            assert_eq!(lid(body.as_bytes()).as_deref(), found, "{body}");
        }
    }

    #[test]
    fn what_webjs_leaves_out_is_found_in_its_raw_data() {
        let mut said = message(GROUP, "yes", None);
        said["replyTo"] = json!({"body": "the question"});
        said["_data"] = json!({"quotedStanzaID": "OURS", "author": {"_serialized": ANN}});
        said.as_object_mut().unwrap().remove("participant");
        assert_eq!(read(GROUP, &json!([said])).len(), 1);
        said["_data"]["author"] = json!(ANN);
        assert_eq!(read(GROUP, &json!([said])).len(), 1);
        said["_data"]["author"] = json!("15553330000@c.us");
        assert_eq!(read(GROUP, &json!([said])), []);
        // What WAHA says itself comes first.
        said["participant"] = json!("15553330000@c.us");
        said["_data"]["author"] = json!(ANN);
        assert_eq!(read(GROUP, &json!([said])), []);
        said["participant"] = json!(ANN);
        said["replyTo"]["id"] = json!("ANOTHER");
        assert_eq!(read(GROUP, &json!([said])), []);
    }

    #[test]
    fn an_id_may_name_a_device() {
        for (text, read) in [
            ("15552220000:12@s.whatsapp.net", Some(ANN)),
            ("15552220000.0:12@s.whatsapp.net", Some(ANN)),
            ("15552220000:x@c.us", None),
            ("15552220000:1@c.us@lid", None),
            (":1@c.us", None),
        ] {
            assert_eq!(person(text).as_deref(), read, "{text}");
        }
    }

    #[test]
    fn the_first_answer_counts_and_in_the_same_second_a_no() {
        let at = |body: &str, timestamp: i64| {
            let mut message = message(ANN, body, Some("OURS"));
            message["timestamp"] = json!(timestamp);
            message
        };
        let first_of = |messages: Value| first(read(ANN, &messages)).unwrap().choice;
        let later_no = json!([at("no", 1_790_000_009), at("yes", 1_790_000_001_000)]);
        assert_eq!(first_of(later_no), Choice::Approve);
        let same = json!([at("yes", 1_790_000_001), at("no", 1_790_000_001)]);
        assert_eq!(first_of(same), Choice::Deny);
        let mut later = at("yes", 0);
        later["timestamp"] = json!(1_790_000_005.5);
        let fraction = json!([at("no", 1_790_000_004), later]);
        assert_eq!(first_of(fraction), Choice::Deny);
    }

    #[test]
    fn odd_messages_do_not_hide_an_answer() {
        let odd = json!([null, 7, {"from": 1}, {"fromMe": false},
            {"from": ANN, "fromMe": false, "body": null}, message(ANN, "no", Some("OURS"))]);
        assert_eq!(read(ANN, &odd).len(), 1);
        let subject = Subject {
            message: None,
            code: "k7m2xq",
            chat: ANN,
            approvers: &[],
            lids: &HashMap::new(),
        };
        assert_eq!(replies(b"{}", subject), None);
    }

    #[test]
    fn the_id_of_our_message_is_found_in_every_form() {
        for sent in [
            json!({"id": "true_15552220000@c.us_OURS"}),
            json!({"id": {"fromMe": true, "_serialized": "true_15552220000@c.us_OURS", "id": "OURS"}}),
            json!({"key": {"remoteJid": "15552220000@s.whatsapp.net", "fromMe": true, "id": "OURS"}}),
            json!({"id": "true_120363000000000001@g.us_OURS_15550001111@c.us"}),
        ] {
            let id = sent_id(sent.to_string().as_bytes()).unwrap();
            assert_eq!(bare(&id), "OURS", "{sent}");
        }
        for none in ["", "{}", r#"{"id":""}"#, r#"{"id":7}"#] {
            assert_eq!(sent_id(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn a_code_has_six_letters_or_digits_and_depends_on_all_of_the_randomness() {
        let codes = [0, 1, 26, 27, 1_000_000, 387_420_488].map(code);
        for code in &codes {
            assert_eq!(code.len(), CODE_LENGTH);
            assert!(code.bytes().all(|b| b.is_ascii_alphanumeric()), "{code}");
            let same = codes.iter().filter(|other| *other == code);
            assert_eq!(same.count(), 1, "{code}");
        }
    }
}
