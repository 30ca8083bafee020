//! Reads rows into entries and verdicts. An invalid row counts as damage.

use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Error, Row};

use crate::approval::item::{Assurance, Choice, Item, Verdict, read_approver};
use crate::engines::inbox::store::{Closed, Entry, SignedVerdict, State};
use crate::evidence::redact::{Redaction, StringDigest, Written};
use crate::mcp::json::Value;
use crate::policy::Risk;

/// The columns of an entry.
pub(super) const ENTRY: &str = "id, server, tool, risk, why, question, title, description, hints, call, \
     digest, client, client_title, asked_ms, expires_ms, state, parked_until_ms, closed_ms, reason, cover_ms, \
     assurance, approver, decided_ms, delivery, engine, form";

/// Stored in place of a call that cannot be read.
const UNREADABLE: &str = r#""[not kept: it is not JSON that can be read safely]""#;

/// Reads an entry from the columns of [`ENTRY`].
pub(super) fn entry(row: &Row<'_>) -> Result<Entry, Error> {
    let state = state(row)?;
    Ok(Entry {
        item: Item {
            id: row.get("id")?,
            server: row.get("server")?,
            tool: row.get("tool")?,
            risk: word(row, "risk", &RISKS, Risk::as_str)?,
            why: row.get("why")?,
            question: row.get("question")?,
            title: row.get("title")?,
            description: row.get("description")?,
            hints: row.get("hints")?,
            call: row.get("call")?,
            digest: row.get("digest")?,
            client: row.get("client")?,
            client_title: row.get("client_title")?,
            form: row.get("form")?,
            asked_ms: row.get("asked_ms")?,
            expires_ms: row.get("expires_ms")?,
        },
        state,
        verdict: match state {
            State::Decided(choice) => Some(shown(verdict(row, choice)?)),
            State::Waiting | State::Parked | State::Closed(_) => None,
        },
        engine: row.get("engine")?,
        parked_until_ms: row.get("parked_until_ms")?,
        closed_ms: row.get("closed_ms")?,
        was_disregarded: row.get::<_, Option<i64>>("delivery")? == Some(3),
    })
}

/// Reads the verdict of a decided row, with its signature.
pub(super) fn signed_verdict(row: &Row<'_>) -> Result<SignedVerdict, Error> {
    let State::Decided(choice) = state(row)? else {
        return Err(damaged(row, "state"));
    };
    let verdict = verdict(row, choice)?;
    // Another program may have written an invalid name. Without it, the signature does not verify.
    let is_name = |name: &String| read_approver(name).as_ref() == Ok(name);
    Ok(SignedVerdict {
        verdict: Verdict {
            approver: verdict.approver.filter(is_name),
            fields: row.get("fields")?,
            ..verdict
        },
        signature: row.get("signature")?,
        engine: row.get("engine")?,
    })
}

/// Reads the state of an item.
pub(super) fn state(row: &Row<'_>) -> Result<State, Error> {
    word(row, "state", &STATES, State::as_str)
}

/// Converts a duration to its stored form.
pub(super) fn stored_cover(cover: Duration) -> i64 {
    i64::try_from(cover.as_millis()).unwrap_or(i64::MAX)
}

/// Redacts a call as in the audit log, for items that no longer wait.
pub(super) fn redacted(call: &str, redaction: &Redaction) -> String {
    let Ok(value) = Value::parse(call) else {
        return UNREADABLE.to_owned();
    };
    let mut out = String::new();
    // Both are fine: omissions are marked in place, and the digest of the whole call is stored too.
    let (Written::Whole | Written::Part) = redaction.write(&value, StringDigest::Sha256, &mut out);
    out
}

/// Redacts a verdict for display. The proxy takes, and the signature covers, the original text.
fn shown(verdict: Verdict) -> Verdict {
    let redaction = Redaction::default();
    Verdict {
        reason: verdict
            .reason
            .map(|reason| redaction.text(&reason).into_owned()),
        approver: verdict
            .approver
            .map(|name| redaction.text(&name).into_owned()),
        ..verdict
    }
}

fn verdict(row: &Row<'_>, choice: Choice) -> Result<Verdict, Error> {
    let cover: i64 = row.get("cover_ms")?;
    let cover = u64::try_from(cover).map_err(|_| damaged(row, "cover_ms"))?;
    Ok(Verdict {
        choice,
        reason: row.get("reason")?,
        // Only the proxy gets them.
        fields: None,
        cover: Duration::from_millis(cover),
        assurance: word(row, "assurance", &Assurance::ALL, Assurance::as_str)?,
        approver: row.get("approver")?,
        decided_ms: row.get("decided_ms")?,
    })
}

const RISKS: [Risk; 4] = [Risk::High, Risk::Medium, Risk::Low, Risk::Unknown];

const STATES: [State; 6] = [
    State::Waiting,
    State::Parked,
    State::Decided(Choice::Approve),
    State::Decided(Choice::Deny),
    State::Closed(Closed::Expired),
    State::Closed(Closed::Withdrawn),
];

fn word<T: Copy>(
    row: &Row<'_>,
    column: &str,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
) -> Result<T, Error> {
    let word: String = row.get(column)?;
    let found = all.iter().find(|one| as_str(**one) == word);
    found.copied().ok_or_else(|| damaged(row, column))
}

fn damaged(row: &Row<'_>, column: &str) -> Error {
    let at = row.as_ref().column_index(column).unwrap_or_default();
    Error::InvalidColumnType(at, column.to_owned(), Type::Text)
}
