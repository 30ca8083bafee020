//! The cost of a decision, by the policy alone and through the whole gate.

use std::time::Duration;

use approval_proxy::gate::{Gate, Now, Output, Payload, Settings};
use approval_proxy::mcp::ToolAnnotations;
use approval_proxy::mcp::message::read_message;
use approval_proxy::policy::{Listing, Policy, Rules};
use divan::{Bencher, black_box};

use crate::lines::{call, result};

#[divan::bench(args = ["read_note", "drop_table", "get_echo"], sample_size = 100)]
fn decide_by_name(bencher: Bencher<'_, '_>, tool: &str) {
    let policy = policy();
    bencher.bench_local(|| policy.decide_by_name(black_box(tool)));
}

#[divan::bench(sample_size = 100)]
fn decide_with_annotations(bencher: Bencher<'_, '_>) {
    let policy = policy();
    let hints = ToolAnnotations::new().read_only(true);
    bencher.bench_local(|| {
        let listing = Listing::Listed(Some(black_box(&hints)));
        policy.decide(black_box("get_echo"), listing)
    });
}

/// A call that passes, and its result.
#[divan::bench(sample_size = 100)]
fn passed_call(bencher: Bencher<'_, '_>) {
    let mut session = Session::new();
    let (call, result) = (call("get_echo", 100), result(100));
    bencher.bench_local(|| {
        assert!(matches!(session.client(&call), Output::Release { .. }));
        assert_eq!(session.upstream(&result), Output::ToClient(Payload::Frame));
    });
}

/// A call that needs approval and is approved, and its result.
#[divan::bench(sample_size = 100)]
fn approved_call(bencher: Bencher<'_, '_>) {
    let mut session = Session::new();
    let (call, result) = (call("delete_thing", 100), result(100));
    bencher.bench_local(|| {
        let Output::ToClient(Payload::Text(prompt)) = session.client(&call) else {
            panic!("expected a prompt");
        };
        let answer = r#""result":{"action":"accept","content":{"approved":true}}"#;
        let yes = answer_to(&prompt, answer);
        assert!(matches!(session.client(&yes), Output::Release { .. }));
        assert_eq!(session.upstream(&result), Output::ToClient(Payload::Frame));
    });
}

/// A policy with a few rules of each kind, as an operator may have.
fn policy() -> Policy {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Policy::new(Rules {
        allow: texts(&["read_note", "list_notes", "search_*"]),
        deny: texts(&["drop_*", "shutdown"]),
        ..Rules::default()
    })
    .unwrap()
}

/// The gate of a running session, with the tools of `bench/echo`.
struct Session {
    gate: Gate,
    now: Now,
}

impl Session {
    fn new() -> Session {
        let mut session = Session {
            gate: Gate::new(Settings::default(), policy(), "bench", [7; 32]),
            now: Now {
                elapsed: Duration::from_secs(1),
                unix_ms: 1_763_690_000_007,
            },
        };
        session.client(INITIALIZE);
        session.upstream(INITIALIZE_RESULT);
        session.client(INITIALIZED);
        // The first call that its name alone does not decide makes the gate request the list.
        let Output::ToUpstream(list) = session.client(&call("get_echo", 100)) else {
            panic!("expected a request for the list");
        };
        let Payload::Text(list) = list.get() else {
            panic!("expected a request from the gate itself");
        };
        let released = session.upstream(&answer_to(list, TOOLS));
        assert!(matches!(released, Output::Release { .. }));
        session.upstream(&result(100));
        session
    }

    /// Sends a line from the client, and returns the only output.
    fn client(&mut self, line: &str) -> Output {
        self.gate.from_client(line.as_bytes(), self.now);
        self.only_output()
    }

    /// Sends a line from the upstream, and returns the only output.
    fn upstream(&mut self, line: &str) -> Output {
        self.gate.from_upstream(line.as_bytes(), self.now);
        self.only_output()
    }

    fn only_output(&mut self) -> Output {
        let output = self.gate.poll_output().unwrap();
        assert_eq!(self.gate.poll_output(), None);
        // As the relay does before time passes: the client has received the prompt.
        self.gate.client_drained(self.now);
        output
    }
}

/// Returns the response to a request from the gate. `member` is its result.
fn answer_to(request: &str, member: &str) -> String {
    let request = read_message(request).unwrap();
    let id = request.id.as_ref().unwrap();
    format!(r#"{{"jsonrpc":"2.0","id":{id},{member}}}"#)
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"elicitation":{}},"clientInfo":{"name":"bench","version":"1"}}}"#;
const INITIALIZE_RESULT: &str = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const TOOLS: &str = concat!(
    r#""result":{"tools":["#,
    r#"{"name":"get_echo","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},"#,
    r#"{"name":"delete_thing","inputSchema":{"type":"object"},"annotations":{"destructiveHint":true}}"#,
    r#"]}"#
);
