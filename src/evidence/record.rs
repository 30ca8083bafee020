//! Builds the lines of the audit log.
//!
//! A line has no place in the log yet: `file` or `ledger` adds its `seq`.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::redact::{MAX_TEXT, Redaction, StringDigest, Written, write_name, write_plain};
use crate::approval::digest::CallDigest;
use crate::approval::item::Assurance;
use crate::mcp::json::Value;
use crate::mcp::message::RequestId;
use crate::policy::{Mode, Risk, RuleCode};

/// The version of the format: `v` in every record.
pub const FORMAT_VERSION: u32 = 1;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The policy let it through.
    Passed,
    /// A person approved it.
    Approved,
    /// A person denied it, or nobody could be asked.
    Denied,
    /// The policy refused it.
    Blocked,
    /// Nobody answered in time.
    Timeout,
    /// The client cancelled it or disconnected.
    Cancelled,
    /// Dry run: it would have needed approval or been blocked.
    DryRun,
    /// No decision could be made.
    Error,
}

impl Outcome {
    /// Returns the word used in the log.
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

/// Whether the call was forwarded to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// Yes, right after this record.
    Yes,
    /// No, and it will not be.
    No,
}

/// A time as the log writes it: RFC 3339, UTC, milliseconds, `Z`. Keeps its text, because many records share a time.
#[derive(Debug, Clone)]
pub struct Timestamp {
    unix_ms: i64,
    text: String,
}

impl Timestamp {
    /// Creates a time from milliseconds since 1970, UTC.
    #[must_use]
    pub fn new(unix_ms: i64) -> Timestamp {
        let time = chrono::DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
        Timestamp {
            unix_ms,
            text: time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        }
    }

    /// Changes the time, and its text if needed.
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

/// What all records of one session share: their origin as JSON, and the secrets to redact.
#[derive(Debug, Clone)]
pub struct Origin {
    text: String,
    redaction: Redaction,
}

impl Origin {
    /// Creates the origin of a session's records. `session` identifies this run of the proxy, `server` is the server's
    /// name in the configuration.
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

    /// Redacts these secrets from the records.
    #[must_use]
    pub fn redacting(self, redaction: Redaction) -> Origin {
        Origin { redaction, ..self }
    }
}

/// A decision about one call.
#[derive(Debug, Clone)]
pub struct Decided<'a> {
    /// When it was made.
    pub time: &'a Timestamp,
    /// The session.
    pub origin: &'a Origin,
    /// The tool's exact name.
    pub tool: &'a str,
    /// The arguments, if any.
    pub args: Option<&'a Value<'a>>,
    /// How the call ended.
    pub outcome: Outcome,
    /// How risky the call looked.
    pub risk: Risk,
    /// The policy rule that decided or required approval.
    pub rule: RuleCode,
    /// The reason as text; the person's own, if given.
    pub reason: &'a str,
    /// Why the policy required approval, if a person or a missing answer decided.
    pub policy_reason: Option<&'a str>,
    /// The policy's mode.
    pub mode: Mode,
    /// Whether this is a dry run.
    pub dry_run: bool,
    /// Whether the call was forwarded.
    pub forwarded: Forwarded,
    /// The time from the call's arrival to the decision.
    pub duration: Duration,
    /// The id of the client's request.
    pub request_id: Option<&'a RequestId>,
    /// The digest that an approval was bound to.
    pub call: Option<CallDigest>,
    /// The engine that delivered the verdict.
    pub engine: Option<&'a str>,
    /// How certain it is that a person decided.
    pub assurance: Option<Assurance>,
    /// Who decided. The record says whether anybody has checked the name.
    pub approver: Option<&'a str>,
    /// The key that signed the verdict, if it was signed.
    pub inbox_key: Option<&'a str>,
    /// How long a person allows the same call to run again; zero if not at all.
    pub covers: Duration,
    /// How long the client took to answer the question, if it answered.
    pub answered: Option<Duration>,
}

/// The part of a record between the arguments and the duration, as JSON. Keeps its text, since most records have the
/// same text there as the one before.
#[derive(Debug, Default)]
pub struct OutcomeText {
    last: Option<(Outcome, Risk, RuleCode, Mode, bool, Forwarded)>,
    reason: String,
    policy_reason: Option<String>,
    text: String,
}

impl OutcomeText {
    /// Returns these members of the record, each after a comma.
    fn of(&mut self, record: &Decided<'_>) -> &str {
        let last = (
            record.outcome,
            record.risk,
            record.rule,
            record.mode,
            record.dry_run,
            record.forwarded,
        );
        let is_same = self.last == Some(last)
            && self.reason == record.reason
            && self.policy_reason.as_deref() == record.policy_reason;
        if !is_same {
            self.last = Some(last);
            record.reason.clone_into(&mut self.reason);
            self.policy_reason = record.policy_reason.map(str::to_owned);
            self.text.clear();
            write_outcome(record, &mut self.text);
            if record.reason.len() > MAX_TEXT {
                // Too large to keep.
                *self = OutcomeText {
                    text: std::mem::take(&mut self.text),
                    ..OutcomeText::default()
                };
            }
        }
        &self.text
    }
}

fn write_outcome(record: &Decided<'_>, out: &mut String) {
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

/// A record that has no place in the log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Everything after `v` and `seq`, including the closing brace.
    body: String,
}

impl Line {
    /// Writes the record of a decision. Reuses `memory` and discards its content.
    #[must_use]
    pub fn decided(record: &Decided<'_>, outcome_text: &mut OutcomeText, memory: String) -> Line {
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
        body.push_str(outcome_text.of(record));
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
            let is_verified = record.assurance.is_some_and(Assurance::verifies_approver);
            write_approver(name, is_verified, &record.origin.redaction, &mut body);
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

    /// Writes a record that is not a decision: `event` and the members that describe it. It never has a `tool`. An
    /// `approver` is marked as verified only if the `assurance` says that a service has checked the name.
    #[must_use]
    pub fn event(time: &Timestamp, origin: &Origin, event: &str, members: &[(&str, &str)]) -> Line {
        Line::event_about(time, origin, event, None, members)
    }

    /// Like [`Line::event`], about the request with this id.
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
        let verified = |assurance: &Assurance| assurance.verifies_approver();
        let verified = Assurance::ALL.into_iter().filter(verified);
        let is_verified = verified
            .map(Assurance::as_str)
            .any(|assurance| members.contains(&("assurance", assurance)));
        for (key, value) in members {
            if IDS.contains(key) {
                text(key, value, &mut body);
                continue;
            }
            if *key == APPROVER {
                write_approver(value, is_verified, &origin.redaction, &mut body);
                continue;
            }
            member(key, &mut body);
            origin.redaction.write_text(value, &mut body);
        }
        body.push('}');
        Line { body }
    }

    /// Returns the line's memory, to reuse it for another line.
    #[must_use]
    pub fn into_memory(self) -> String {
        self.body
    }

    /// Returns the length in bytes, without `v`, `seq` and the newline.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no line is empty")]
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Appends the whole line with its number and newline.
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

/// Appends a member whose key and value are ours and need no escaping.
fn word(key: &str, value: &str, out: &mut String) {
    for part in [",\"", key, "\":\"", value, "\""] {
        out.push_str(part);
    }
}

/// The members of an event that identify something. An operator's redaction patterns must not hide them.
const IDS: [&str; 3] = ["call", "item", "inbox_key"];

/// The member that names the approver.
const APPROVER: &str = "approver";

/// Appends the approver's name, and whether a service has checked it.
fn write_approver(name: &str, is_verified: bool, redaction: &Redaction, out: &mut String) {
    member(APPROVER, out);
    redaction.write_text(name, out);
    member("approver_verified", out);
    out.push_str(if is_verified { "true" } else { "false" });
}

/// Appends a member. The key is ours and needs no escaping.
fn text(key: &str, value: &str, out: &mut String) {
    member(key, out);
    write_plain(value, out);
}

/// Appends a member's key and the colon.
fn member(key: &str, out: &mut String) {
    for part in [",\"", key, "\":"] {
        out.push_str(part);
    }
}

/// Appends a call's arguments, and their length and digest if they are shortened.
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

/// Appends an id as JSON without invisible characters.
fn write_id(id: &RequestId, out: &mut String) {
    match id {
        RequestId::Integer(_) | RequestId::Number(_) => id.write(out),
        RequestId::Text(id) => write_plain(id, out),
    }
}

/// Appends milliseconds with three decimal places, because a passed call takes microseconds.
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
    fn an_approval_that_covers_later_calls_says_for_how_long() {
        let args = Value::Null;
        let record = Decided {
            covers: Duration::from_secs(900),
            ..decided(&args)
        };
        let mut out = String::new();
        Line::decided(&record, &mut OutcomeText::default(), String::new()).write(1, &mut out);
        let end = r#""assurance":"caller-relayed","covers_seconds":900}"#;
        assert!(out.trim_end().ends_with(end), "{out}");
    }

    #[test]
    fn the_time_that_the_client_took_to_answer_is_recorded() {
        let args = Value::Null;
        let record = Decided {
            answered: Some(Duration::from_micros(10_250)),
            ..decided(&args)
        };
        let mut out = String::new();
        Line::decided(&record, &mut OutcomeText::default(), String::new()).write(1, &mut out);
        let end = r#""assurance":"caller-relayed","answered_ms":10.250}"#;
        assert!(out.trim_end().ends_with(end), "{out}");
    }

    #[test]
    fn an_approvers_name_is_verified_only_by_a_service() {
        let args = Value::Null;
        let record = Decided {
            assurance: Some(Assurance::InboxPassphrase),
            approver: Some("Ann \"\u{202e}\""),
            inbox_key: Some("sha256:00"),
            ..decided(&args)
        };
        let mut out = String::new();
        Line::decided(&record, &mut OutcomeText::default(), String::new()).write(1, &mut out);
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
        let record = Decided {
            assurance: Some(Assurance::ChannelAuthenticated),
            approver: Some("slack:U024BE7LH"),
            ..decided(&args)
        };
        let mut out = String::new();
        Line::decided(&record, &mut OutcomeText::default(), String::new()).write(1, &mut out);
        let members = [
            ("assurance", "channel-authenticated"),
            ("approver", "slack:U024BE7LH"),
        ];
        Line::event(&TIME, &ORIGIN, "first_approval", &members).write(2, &mut out);
        let member = r#""approver":"slack:U024BE7LH","approver_verified":true"#;
        assert_eq!(out.matches(member).count(), 2, "{out}");
        // No name, no mention of an approver.
        let mut out = String::new();
        Line::decided(&decided(&args), &mut OutcomeText::default(), String::new())
            .write(1, &mut out);
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
            Line::decided(&record, &mut OutcomeText::default(), String::new()).write(1, &mut out);
            Line::event(&TIME, &origin, "first_approval", &[("approver", name)]).write(2, &mut out);
            let member = format!(r#""approver":"{shown}","approver_verified":false"#);
            assert_eq!(out.matches(&member).count(), 2, "{out}");
        }
    }

    #[test]
    fn a_decision_line_has_every_key_of_the_contract() {
        let args = Value::parse(r#"{"table":"users"}"#).unwrap();
        let mut out = String::new();
        Line::decided(&decided(&args), &mut OutcomeText::default(), String::new())
            .write(41, &mut out);
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
        Line::decided(&record, &mut OutcomeText::default(), String::new()).write(1, &mut out);
        let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&out).unwrap();
        for key in line.keys() {
            assert!(page.contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn no_line_repeats_text_of_the_line_before_it() {
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
        let mut kept = OutcomeText::default();
        for first in &records {
            for second in &records {
                let _ = Line::decided(first, &mut kept, String::new());
                assert_eq!(
                    Line::decided(second, &mut kept, String::new()),
                    Line::decided(second, &mut OutcomeText::default(), String::new())
                );
            }
        }
    }

    #[test]
    fn an_event_has_a_name_and_never_a_tool() {
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
        Line::decided(&record, &mut OutcomeText::default(), "left over".to_owned())
            .write(1, &mut out);
        assert_eq!(out.matches('\n').count(), 1);
        let line: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(line["tool"], "a\"\n{}");
    }

    #[test]
    fn secrets_in_reasons_and_events_are_redacted_and_names_are_kept() {
        let args = Value::Null;
        let record = Decided {
            tool: "get_password: x",
            reason: "the client could not ask: GET https://me:hunter2@db/?token=hunter2 failed",
            call: None,
            ..decided(&args)
        };
        let mut out = String::new();
        Line::decided(&record, &mut OutcomeText::default(), String::new()).write(1, &mut out);
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
    fn the_record_of_a_huge_call_is_small_and_has_the_calls_size() {
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
        let mut kept = OutcomeText::default();
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
        // These members are absent if nothing is left out.
        let args = Value::Null;
        let mut out = String::new();
        Line::decided(&decided(&args), &mut kept, String::new()).write(1, &mut out);
        assert!(!out.contains("args_"), "{out}");
    }
}
