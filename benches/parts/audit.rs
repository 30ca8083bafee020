//! The cost of an audit record: to build it as text, and to append it to the file.

use std::time::Duration;

use approval_proxy::evidence::LedgerFile;
use approval_proxy::evidence::record::{
    Decided, Forwarded, Line, Origin, Outcome, OutcomeText, Timestamp,
};
use approval_proxy::mcp::json::Value;
use approval_proxy::mcp::message::RequestId;
use approval_proxy::policy::{Mode, Risk, RuleCode};
use approval_proxy::sys::clock::Clock;
use divan::{Bencher, black_box};

use crate::lines::SIZES;

#[divan::bench(name = "Line::decided + write, arguments of bytes", args = SIZES, sample_size = 100)]
fn text(bencher: Bencher<'_, '_>, size: usize) {
    let arguments = arguments(size);
    let arguments = Value::parse(&arguments).unwrap();
    let (time, origin) = (Timestamp::new(0), Origin::new("bench", "echo"));
    let mut out = String::new();
    bencher.bench_local(|| {
        out.clear();
        line(&time, &origin, black_box(&arguments)).write(7, &mut out);
        black_box(&out);
    });
}

/// Ordinary arguments: paths, addresses, queries and prose, and nothing secret.
#[divan::bench(name = "Line::decided + write, ordinary arguments", sample_size = 100)]
fn ordinary(bencher: Bencher<'_, '_>) {
    let arguments = Value::parse(ORDINARY).unwrap();
    let (time, origin) = (Timestamp::new(0), Origin::new("bench", "echo"));
    let mut out = String::new();
    bencher.bench_local(|| {
        out.clear();
        line(&time, &origin, black_box(&arguments)).write(7, &mut out);
        black_box(&out);
    });
}

const ORDINARY: &str = r#"{"path":"/home/me/projects/demo/src/main.rs","recursive":true,"limit":50,
"url":"https://example.com/search?q=rust+json&page=2","query":"SELECT id, title FROM notes WHERE id = 7",
"message":"Please list the open issues that were filed since Monday: there should be three of them.",
"options":{"timeout_ms":3000,"encoding":"utf-8","tags":["a","b-c","d_e"]}}"#;

/// A batch of lines under one lock with one write, as the relay appends them.
#[divan::bench(name = "LedgerFile::append, lines", args = [1, 64], sample_size = 10)]
fn append(bencher: Bencher<'_, '_>, count: usize) {
    let arguments = arguments(100);
    let arguments = Value::parse(&arguments).unwrap();
    let (time, origin) = (Timestamp::new(0), Origin::new("bench", "echo"));
    let lines = vec![line(&time, &origin, &arguments); count];
    let folder = tempfile::tempdir().unwrap();
    let start = Clock::start();
    let mut ledger = LedgerFile::open(&folder.path().join("audit.jsonl")).unwrap();
    bencher.bench_local(|| {
        ledger
            .append(black_box(&lines), || start.elapsed())
            .unwrap()
    });
}

/// Returns a call's arguments that contain a string of `size` bytes.
fn arguments(size: usize) -> String {
    format!(r#"{{"pad":"{}","size":100}}"#, "p".repeat(size))
}

fn line(time: &Timestamp, origin: &Origin, arguments: &Value<'_>) -> Line {
    let record = Decided {
        time,
        origin,
        tool: "get_echo",
        args: Some(arguments),
        outcome: Outcome::Passed,
        risk: Risk::Unknown,
        rule: RuleCode::ReadOnlyHint,
        reason: "the tool is marked read-only",
        policy_reason: None,
        mode: Mode::Destructive,
        dry_run: false,
        forwarded: Forwarded::Yes,
        duration: Duration::from_micros(2),
        request_id: Some(&RequestId::Integer(7)),
        call: None,
        engine: None,
        assurance: None,
        approver: None,
        inbox_key: None,
        covers: Duration::ZERO,
        answered: None,
    };
    Line::decided(&record, &mut OutcomeText::default(), String::new())
}
