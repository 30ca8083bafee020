//! The lines of the audit log.
//!
//! A line is made here without its place in the log: whoever appends it gives it `seq`.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::redact::{MAX_TEXT, Redaction, StringDigest, Written, write_name, write_plain};
use crate::approval::digest::CallDigest;
use crate::approval::item::Assurance;
use crate::mcp::json::Value;
use crate::mcp::message::RequestId;
use crate::policy::{Mode, Risk, RuleCode};

/// The format's version, in every line as `v`.
pub const FORMAT_VERSION: u32 = 1;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The policy let it through.
    Passed,
    /// A human said yes.
    Approved,
    /// A human said no, or nobody could be asked.
    Denied,
    /// The policy refused it.
    Blocked,
    /// Nobody answered in time.
    Timeout,
    /// The client took it back, or went away.
    Cancelled,
    /// Dry run: it would have been asked about or blocked.
    DryRun,
    /// It could not be decided.
    Error,
}

impl Outcome {
    /// The word in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Approved => "approved",
            Outcome::Denied => "denied",
            Outcome::Blocked => "blocked",
            Outcome::Timeout => "timeout",
            Outcome::Cancelled => "cancelled",
            Outcome::DryRun => "dry_run",
            Outcome::Error => "error",
        }
    }
}

/// Whether the call went on to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// It did, right after this line.
    Yes,
    /// It did not and will not.
    No,
}

/// A moment as the log writes it: RFC 3339, UTC, milliseconds, `Z`. Keeps its text, since many
/// lines are of one moment.
#[derive(Debug, Clone)]
pub struct Timestamp {
    unix_ms: i64,
    text: String,
}

impl Timestamp {
    /// Milliseconds since 1970, UTC.
    #[must_use]
    pub fn new(unix_ms: i64) -> Timestamp {
        let time = chrono::DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
        Timestamp {
            unix_ms,
            text: time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        }
    }

    /// Moves to another moment, or stays.
    pub fn set(&mut self, unix_ms: i64) {
        if self.unix_ms != unix_ms {
            *self = Timestamp::new(unix_ms);
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What all lines of one session have in common: where they come from, written once, and what is kept
/// out of them.
#[derive(Debug, Clone)]
pub struct Origin {
    text: String,
    redaction: Redaction,
}

impl Origin {
    /// `session` names this run of the proxy, `server` is its name in the configuration.
    #[must_use]
    pub fn new(session: &str, server: &str) -> Origin {
        let mut written = String::new();
        text("session", session, &mut written);
        text("server", server, &mut written);
        Origin {
            text: written,
            redaction: Redaction::default(),
        }
    }

    /// Lines without these secrets.
    #[must_use]
    pub fn redacting(self, redaction: Redaction) -> Origin {
        Origin { redaction, ..self }
    }
}

/// One decision.
#[derive(Debug, Clone)]
pub struct Decided<'a> {
    /// When it was made.
    pub time: &'a Timestamp,
    /// Whose it is.
    pub origin: &'a Origin,
    /// The tool's exact name.
    pub tool: &'a str,
    /// The arguments, if any.
    pub args: Option<&'a Value<'a>>,
    /// What became of the call.
    pub outcome: Outcome,
    /// How risky the call looked.
    pub risk: Risk,
    /// Which of the policy's rules decided, or asked.
    pub rule: RuleCode,
    /// Why, in words: the human's own where there are any.
    pub reason: &'a str,
    /// Why the policy asked, where a human or the lack of one decided.
    pub policy_reason: Option<&'a str>,
    /// The mode in force.
    pub mode: Mode,
    /// Whether this is a dry run.
    pub dry_run: bool,
    /// Whether the call went on.
    pub forwarded: Forwarded,
    /// From the call's arrival to the decision.
    pub duration: Duration,
    /// The id that the client gave the call.
    pub request_id: Option<&'a RequestId>,
    /// The digest that a yes was bound to.
    pub call: Option<CallDigest>,
    /// Which channel the verdict came through.
    pub engine: Option<&'a str>,
    /// How sure it is that a human decided.
    pub assurance: Option<Assurance>,
    /// Who decided, as they call themselves. Nobody has checked it, and the line says so.
    pub approver: Option<&'a str>,
    /// The key that the verdict was signed with, where it was.
    pub inbox_key: Option<&'a str>,
    /// For how long a human lets the same call run again; zero is not at all.
    pub covers: Duration,
    /// How long after it got the question the client answered it, where it did.
    pub answered: Option<Duration>,
}

/// What a line says between a call's arguments and its duration. Keeps its text, since most
/// lines say the same there as the one before.
#[derive(Debug, Default)]
pub struct Fate {
    said: Option<(Outcome, Risk, RuleCode, Mode, bool, Forwarded)>,
    reason: String,
    policy_reason: Option<String>,
    text: String,
}

impl Fate {
    /// The members of this record, each after a comma.
    fn of(&mut self, record: &Decided<'_>) -> &str {
        let said = (
            record.outcome,
            record.risk,
            record.rule,
            record.mode,
            record.dry_run,
            record.forwarded,
        );
        let is_same = self.said == Some(said)
            && self.reason == record.reason
            && self.policy_reason.as_deref() == record.policy_reason;
        if !is_same {
            self.said = Some(said);
            record.reason.clone_into(&mut self.reason);
            self.policy_reason = record.policy_reason.map(str::to_owned);
            self.text.clear();
            write_fate(record, &mut self.text);
            if record.reason.len() > MAX_TEXT {
                // It is not worth its memory.
                *self = Fate {
                    text: std::mem::take(&mut self.text),
                    ..Fate::default()
                };
            }
        }
        &self.text
    }
}

fn write_fate(record: &Decided<'_>, out: &mut String) {
    word("decision", record.outcome.as_str(), out);
    word("risk", record.risk.as_str(), out);
    word("rule", record.rule.as_str(), out);
    member("reason", out);
    record.origin.redaction.write_text(record.reason, out);
    if let Some(reason) = record.policy_reason {
        text("policy_reason", reason, out);
    }
    word("mode", record.mode.as_str(), out);
    let truth = |value| if value { "true" } else { "false" };
    out.push_str(r#","dry_run":"#);
    out.push_str(truth(record.dry_run));
    out.push_str(r#","forwarded":"#);
    out.push_str(truth(record.forwarded == Forwarded::Yes));
}

/// A line that has no place in the log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Everything after `v` and `seq`, closing brace included.
    body: String,
}

impl Line {
    /// The line of a decision, written into `memory`, whose content is lost.
    #[must_use]
    pub fn decided(record: &Decided<'_>, fate: &mut Fate, memory: String) -> Line {
        let digest = match record.call {
            Some(_) => StringDigest::Sha256,
            None => StringDigest::Blake3,
        };
        let mut body = start(record.time, record.origin, memory);
        body.push_str(r#","tool":"#);
        write_name(record.tool, digest, &mut body);
        body.push_str(r#","args":"#);
        match record.args {
            Some(args) => write_args(args, &record.origin.redaction, digest, &mut body),
            None => body.push_str("null"),
        }
        body.push_str(fate.of(record));
        body.push_str(r#","duration_ms":"#);
        milliseconds(record.duration, &mut body);
        if let Some(id) = record.request_id {
            body.push_str(r#","request_id":"#);
            write_id(id, &mut body);
        }
        if let Some(digest) = record.call {
            let _ = write!(body, r#","call":"sha256:{digest}""#);
        }
        if let Some(engine) = record.engine {
            text("engine", engine, &mut body);
        }
        if let Some(assurance) = record.assurance {
            word("assurance", assurance.as_str(), &mut body);
        }
        if let Some(name) = record.approver {
            write_approver(name, &record.origin.redaction, &mut body);
        }
        if let Some(key) = record.inbox_key {
            word("inbox_key", key, &mut body);
        }
        if !record.covers.is_zero() {
            let _ = write!(body, r#","covers_seconds":{}"#, record.covers.as_secs());
        }
        if let Some(answered) = record.answered {
            body.push_str(r#","answered_ms":"#);
            milliseconds(answered, &mut body);
        }
        body.push('}');
        Line { body }
    }

    /// A line that is no decision: `event` and whatever describes it. Never has a `tool`. Behind an
    /// `approver` the line says that nobody has checked the name.
    #[must_use]
    pub fn event(time: &Timestamp, origin: &Origin, event: &str, members: &[(&str, &str)]) -> Line {
        Line::event_about(time, origin, event, None, members)
    }

    /// The same about the request with this id.
    #[must_use]
    pub fn event_about(
        time: &Timestamp,
        origin: &Origin,
        event: &str,
        id: Option<&RequestId>,
        members: &[(&str, &str)],
    ) -> Line {
        let mut body = start(time, origin, String::new());
        text("event", event, &mut body);
        if let Some(id) = id {
            body.push_str(r#","request_id":"#);
            write_id(id, &mut body);
        }
        for (key, value) in members {
            if IDS.contains(key) {
                text(key, value, &mut body);
                continue;
            }
            if *key == APPROVER {
                write_approver(value, &origin.redaction, &mut body);
                continue;
            }
            member(key, &mut body);
            origin.redaction.write_text(value, &mut body);
        }
        body.push('}');
        Line { body }
    }

    /// The line's memory, for another line.
    #[must_use]
    pub fn into_memory(self) -> String {
        self.body
    }

    /// What the line takes, in bytes, but for its place.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no line is empty")]
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Appends the whole line, newline included, at its place in the log.
    pub fn write(&self, seq: u64, out: &mut String) {
        let mut digits = itoa::Buffer::new();
        out.push_str(r#"{"v":"#);
        out.push_str(digits.format(FORMAT_VERSION));
        out.push_str(r#","seq":"#);
        out.push_str(digits.format(seq));
        out.push(',');
        out.push_str(&self.body);
        out.push('\n');
    }
}

fn start(time: &Timestamp, origin: &Origin, memory: String) -> String {
    let mut body = memory;
    body.clear();
    body.reserve(512);
    body.push_str(r#""ts":""#);
    body.push_str(&time.text);
    body.push('"');
    body.push_str(&origin.text);
    body
}

/// Appends a member of which both key and value are ours and need no escapes.
fn word(key: &str, value: &str, out: &mut String) {
    for part in [",\"", key, "\":\"", value, "\""] {
        out.push_str(part);
    }
}

/// The members of an event that name something, and that no pattern of an operator's may hide.
const IDS: [&str; 3] = ["call", "item", "inbox_key"];

/// The member that names who decided.
const APPROVER: &str = "approver";

/// Appends the name that an approver gave, and that nobody has checked it.
fn write_approver(name: &str, redaction: &Redaction, out: &mut String) {
    member(APPROVER, out);
    redaction.write_text(name, out);
    member("approver_verified", out);
    out.push_str("false");
}

/// Appends a member; `key` is one of ours and needs no escapes.
fn text(key: &str, value: &str, out: &mut String) {
    member(key, out);
    write_plain(value, out);
}

/// Appends what stands before a member's value.
fn member(key: &str, out: &mut String) {
    for part in [",\"", key, "\":"] {
        out.push_str(part);
    }
}

/// Appends a call's arguments, and how long they are where not all of them are kept.
fn write_args(args: &Value<'_>, redaction: &Redaction, digest: StringDigest, out: &mut String) {
    match redaction.write(args, digest, out) {
        Written::Whole => {}
        Written::Part => {
            let mut canonical = String::new();
            args.write_canonical(&mut canonical);
            // Writing to a String cannot fail.
            let _ = write!(out, r#","args_bytes":{}"#, canonical.len());
            word("args_digest", &digest.of(&canonical), out);
        }
    }
}

/// Appends an id as JSON in which nothing can hide.
fn write_id(id: &RequestId, out: &mut String) {
    match id {
        RequestId::Integer(_) | RequestId::Number(_) => id.write(out),
        RequestId::Text(id) => write_plain(id, out),
    }
}

/// Appends milliseconds with three digits after the point: a passed call takes microseconds.
fn milliseconds(duration: Duration, out: &mut String) {
    let micros = duration.as_micros();
    let mut digits = itoa::Buffer::new();
    out.push_str(digits.format(micros / 1000));
    out.push('.');
    let thousandths = micros % 1000;
    out.push_str(if thousandths < 100 { "0" } else { "" });
    out.push_str(if thousandths < 10 { "0" } else { "" });
    out.push_str(digits.format(thousandths));
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::mcp::tool::CallToolRequestParams;

    static ORIGIN: LazyLock<Origin> = LazyLock::new(|| Origin::new("s", "db"));
    static TIME: LazyLock<Timestamp> = LazyLock::new(|| Timestamp::new(1_763_690_000_007));

    fn decided<'a>(args: &'a Value<'a>) -> Decided<'a> {
        Decided {
            time: &TIME,
            origin: &ORIGIN,
            tool: "drop_table",
            args: Some(args),
            outcome: Outcome::Approved,
            risk: Risk::High,
            rule: RuleCode::DestructiveHint,
            reason: "fine",
            policy_reason: Some("the tool is marked destructive"),
            mode: Mode::Destructive,
            dry_run: false,
            forwarded: Forwarded::Yes,
            duration: Duration::from_micros(1_234_567),
            request_id: Some(&RequestId::Integer(7)),
            call: None,
            engine: Some("elicitation"),
            assurance: Some(Assurance::CallerRelayed),
            approver: None,
            inbox_key: None,
            covers: Duration::ZERO,
            answered: None,
        }
    }

    #[test]
    fn a_yes_that_holds_for_longer_says_for_how_long() {
        let args = Value::Null;
        let record = Decided {
            covers: Duration::from_secs(900),
            ..decided(&args)
        };
        let mut out = String::new();
        Line::decided(&record, &mut Fate::default(), String::new()).write(1, &mut out);
        let end = r#""assurance":"caller-relayed","covers_seconds":900}"#;
        assert!(out.trim_end().ends_with(end), "{out}");
    }

    #[test]
    fn an_answer_of_the_client_says_how_long_it_took() {
        let args = Value::Null;
        let record = Decided {
            answered: Some(Duration::from_micros(10_250)),
            ..decided(&args)
        };
        let mut out = String::new();
        Line::decided(&record, &mut Fate::default(), String::new()).write(1, &mut out);
        let end = r#""assurance":"caller-relayed","answered_ms":10.250}"#;
        assert!(out.trim_end().ends_with(end), "{out}");
    }

    #[test]
    fn a_name_that_an_approver_gave_is_never_written_as_a_fact() {
        let args = Value::Null;
        let record = Decided {
            assurance: Some(Assurance::InboxPassphrase),
            approver: Some("Ann \"\u{202e}\""),
            inbox_key: Some("sha256:00"),
            ..decided(&args)
        };
        let mut out = String::new();
        Line::decided(&record, &mut Fate::default(), String::new()).write(1, &mut out);
        let end = concat!(
            r#""assurance":"inbox-passphrase","approver":"Ann \"\u202e\"","approver_verified":false,"#,
            r#""inbox_key":"sha256:00"}"#
        );
        assert!(out.trim_end().ends_with(end), "{out}");
        let members = [("item", "0a"), ("approver", "Ann"), ("choice", "deny")];
        let mut out = String::new();
        Line::event(&TIME, &ORIGIN, "parked_verdict", &members).write(1, &mut out);
        let end = r#""item":"0a","approver":"Ann","approver_verified":false,"choice":"deny"}"#;
        assert!(out.trim_end().ends_with(end), "{out}");
        // Who gave no name is not mentioned.
        let mut out = String::new();
        Line::decided(&decided(&args), &mut Fate::default(), String::new()).write(1, &mut out);
        Line::event(&TIME, &ORIGIN, "parked_verdict", &[("item", "0a")]).write(2, &mut out);
        assert!(!out.contains("approver"), "{out}");
    }

    #[test]
    fn a_secret_in_place_of_a_name_is_replaced_in_decisions_and_events() {
        let args = Value::Null;
        let pattern = regex::Regex::new("EMP-[0-9]+").unwrap();
        let origin = Origin::new("s", "db").redacting(Redaction::with(Vec::new(), vec![pattern]));
        for (name, shown) in [
            ("Ann, token=hunter2", "Ann, token=[redacted]"),
            ("Ann EMP-12", "Ann [redacted]"),
        ] {
            let record = Decided {
                origin: &origin,
                approver: Some(name),
                ..decided(&args)
            };
            let mut out = String::new();
            Line::decided(&record, &mut Fate::default(), String::new()).write(1, &mut out);
            Line::event(&TIME, &origin, "first_approval", &[("approver", name)]).write(2, &mut out);
            let member = format!(r#""approver":"{shown}","approver_verified":false"#);
            assert_eq!(out.matches(&member).count(), 2, "{out}");
        }
    }

    #[test]
    fn a_decision_line_has_every_key_of_the_contract() {
        let args = Value::parse(r#"{"table":"users"}"#).unwrap();
        let mut out = String::new();
        Line::decided(&decided(&args), &mut Fate::default(), String::new()).write(41, &mut out);
        assert_eq!(
            out,
            concat!(
                r#"{"v":1,"seq":41,"ts":"2025-11-21T01:53:20.007Z","session":"s","server":"db","tool":"drop_table","#,
                r#""args":{"table":"users"},"decision":"approved","risk":"high","rule":"destructive-hint","reason":"fine","#,
                r#""policy_reason":"the tool is marked destructive","mode":"destructive","dry_run":false,"#,
                r#""forwarded":true,"duration_ms":1234.567,"request_id":7,"engine":"elicitation","assurance":"caller-relayed"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn every_key_of_a_decision_line_is_documented() {
        let page = include_str!("../../docs/audit-log.md");
        let args = format!("[{}]", vec![r#""a""#; 50_000].join(","));
        let args = Value::parse(&args).unwrap();
        let call = CallToolRequestParams::parse(r#"{"name":"drop_table"}"#).unwrap();
        let record = Decided {
            call: Some(CallDigest::of("db", &call, None)),
            approver: Some("Ann"),
            inbox_key: Some("sha256:00"),
            covers: Duration::from_secs(900),
            answered: Some(Duration::from_secs(1)),
            ..decided(&args)
        };
        let mut out = String::new();
        Line::decided(&record, &mut Fate::default(), String::new()).write(1, &mut out);
        let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&out).unwrap();
        for key in line.keys() {
            assert!(page.contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn a_line_says_its_own_whatever_the_one_before_said() {
        let args = Value::Null;
        let base = decided(&args);
        let change = |change: fn(&mut Decided<'_>)| {
            let mut record = base.clone();
            change(&mut record);
            record
        };
        let records = [
            base.clone(),
            base.clone(),
            change(|record| record.outcome = Outcome::Denied),
            change(|record| record.risk = Risk::Low),
            change(|record| record.rule = RuleCode::ModeAll),
            change(|record| record.mode = Mode::All),
            change(|record| record.dry_run = true),
            change(|record| record.forwarded = Forwarded::No),
            change(|record| record.reason = "other"),
            change(|record| record.policy_reason = None),
            change(|record| record.policy_reason = Some("other")),
        ];
        let mut kept = Fate::default();
        for first in &records {
            for second in &records {
                let _ = Line::decided(first, &mut kept, String::new());
                assert_eq!(
                    Line::decided(second, &mut kept, String::new()),
                    Line::decided(second, &mut Fate::default(), String::new())
                );
            }
        }
    }

    #[test]
    fn an_event_line_carries_event_and_never_a_tool() {
        let mut out = String::new();
        Line::event(&Timestamp::new(0), &ORIGIN, "open", &[("version", "0.1.0")])
            .write(1, &mut out);
        assert_eq!(
            out,
            "{\"v\":1,\"seq\":1,\"ts\":\"1970-01-01T00:00:00.000Z\",\"session\":\"s\",\"server\":\"db\",\"event\":\"open\",\"version\":\"0.1.0\"}\n"
        );
    }

    #[test]
    fn no_name_or_reason_breaks_out_of_its_line() {
        let args = Value::Null;
        let mut record = decided(&args);
        record.tool = "a\"\n{}";
        record.reason = "b\u{1b}\r\n";
        let mut out = String::new();
        Line::decided(&record, &mut Fate::default(), "left over".to_owned()).write(1, &mut out);
        assert_eq!(out.matches('\n').count(), 1);
        let line: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(line["tool"], "a\"\n{}");
    }

    #[test]
    fn reasons_and_events_are_written_without_secrets_and_names_as_they_are() {
        let args = Value::Null;
        let record = Decided {
            tool: "get_password: x",
            reason: "the client could not ask: GET https://me:hunter2@db/?token=hunter2 failed",
            call: None,
            ..decided(&args)
        };
        let mut out = String::new();
        Line::decided(&record, &mut Fate::default(), String::new()).write(1, &mut out);
        assert!(!out.contains("hunter2"), "{out}");
        assert!(out.contains(r#""tool":"get_password: x""#), "{out}");
        assert!(
            out.contains("GET https://me:[redacted]@db/?token=[redacted] failed"),
            "{out}"
        );
        let pattern = regex::Regex::new("[0-9a-f]{8}|orion").unwrap();
        let origin = Origin::new("s", "db").redacting(Redaction::with(Vec::new(), vec![pattern]));
        let members = [
            ("item", "0123456789abcdef"),
            ("reason", "of orion: password: hunter2"),
        ];
        let mut out = String::new();
        Line::event(&TIME, &origin, "refused", &members).write(1, &mut out);
        assert!(
            out.contains(
                r#""item":"0123456789abcdef","reason":"of [redacted]: password: [redacted]""#
            ),
            "{out}"
        );
    }

    #[test]
    fn however_large_a_call_its_line_is_small_and_says_how_large_it_was() {
        let large = format!(
            r#"{{"to":"all","rows":[{}]}}"#,
            vec![r#""\u202e\u202e""#; 500_000].join(",")
        );
        let args = Value::parse(&large).unwrap();
        let long = "\u{202e}".repeat(1_000_000);
        let record = Decided {
            tool: &long,
            reason: &long,
            call: None,
            ..decided(&args)
        };
        let mut kept = Fate::default();
        let mut out = String::new();
        Line::decided(&record, &mut kept, String::new()).write(1, &mut out);
        assert!(out.len() < 80 * 1024, "{}", out.len());
        assert!(kept.reason.capacity() <= MAX_TEXT);
        let line: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(line["args"]["to"], "all");
        let mut canonical = String::new();
        args.write_canonical(&mut canonical);
        assert_eq!(line["args_bytes"], canonical.len());
        assert_eq!(line["args_digest"], StringDigest::Blake3.of(&canonical));
        // Nothing of that is there where nothing is left out.
        let args = Value::Null;
        let mut out = String::new();
        Line::decided(&decided(&args), &mut kept, String::new()).write(1, &mut out);
        assert!(!out.contains("args_"), "{out}");
    }
}
