//! The gate's messages in legacy sessions.
//!
//! The other scenes test that they are the right ones.

use serde_json::json;

use super::official::Revision::{self, V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25};
use super::{
    INTERNAL_ERROR, INVALID_REQUEST, LIST, PARSE_ERROR, PROGRESS, PROMPT, REFUSAL, WITHDRAWN, story,
};
use crate::gate::tests::scene::{Log, Scene, call, call_with_token, secs};
use crate::gate::{Settings, TimeoutAction};
use crate::policy::Rules;

/// The revisions with a session.
const LEGACY: [Revision; 4] = [V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25];
/// Those of them in which a client can be asked.
const ASKING: [Revision; 2] = [V2025_06_18, V2025_11_25];

/// A session whose client can be asked, if the revision allows that.
fn session(revision: Revision) -> Scene {
    Scene::new().legacy(revision.name())
}

fn set(revision: Revision, change: impl FnOnce(&mut Settings)) -> Scene {
    Scene::set(change).legacy(revision.name())
}

// ---- questions and their outcomes

#[test]
fn an_approved_call() {
    story(&ASKING, &[LIST, PROMPT], |revision| {
        let mut scene = session(revision);
        scene.client_calls(1, "delete_user", json!({"id": 7}));
        let prompt = scene.expect_prompt();
        scene.approve(&prompt);
        scene.expect_forwarded(1);
        scene
    });
}

// The longest text that is allowed, and characters that are difficult in JSON and for people.
#[test]
fn a_prompt_for_odd_and_large_arguments() {
    story(&ASKING, &[LIST, PROMPT, REFUSAL], |revision| {
        let mut scene = set(revision, |settings| {
            settings.server = "a \"b\"\n\u{202e}c".into()
        });
        let odd = "\"\\\u{1}\u{7f}\u{85}\u{2028}\u{202e}😀\r\n";
        let arguments = json!({"large": "é".repeat(100_000), odd: [odd, null, 1e300, {"n": -0.0}]});
        scene.client_calls(odd, "delete_user", arguments);
        let prompt = scene.expect_prompt();
        let reason = json!({"action": "decline", "content": {"approved": false, "reason": odd}});
        scene.person_reads();
        scene.answer(&prompt, reason);
        scene.expect_refused(odd, "denied by a person");
        scene
    });
}

#[test]
fn a_denied_call() {
    for explain in [false, true] {
        story(&ASKING, &[LIST, PROMPT, REFUSAL], |revision| {
            let mut scene = set(revision, |settings| settings.explain = explain);
            scene.client_calls("x", "delete_user", json!({}));
            let prompt = scene.expect_prompt();
            scene.deny(&prompt);
            scene.expect_refused("x", "denied by a person");
            scene
        });
    }
}

#[test]
fn a_call_that_needs_two_yeses() {
    story(&ASKING, &[LIST, PROMPT, PROMPT, REFUSAL], |revision| {
        let mut scene = set(revision, |settings| settings.double_confirm = true);
        scene.client_calls(1, "delete_user", json!({}));
        let first = scene.expect_prompt();
        scene.approve(&first);
        let second = scene.expect_prompt();
        scene.deny(&second);
        scene.expect_refused(1, "denied by a person");
        scene
    });
}

#[test]
fn a_call_that_nobody_answers_in_time() {
    let made = [LIST, PROMPT, PROGRESS, PROGRESS, WITHDRAWN, REFUSAL];
    for token in [
        json!(5),
        json!("a \"token\""),
        json!(-9_007_199_254_740_991_i64),
    ] {
        story(&ASKING, &made, |revision| {
            let mut scene = set(revision, |settings| settings.timeout = Some(secs(25)));
            scene.client_says(&call_with_token(1, "delete_user", token.clone()));
            scene.answer_lists();
            scene.advance(secs(30));
            scene.client.clear();
            scene.expect_logged("timeout", false);
            scene
        });
    }
}

#[test]
fn a_call_that_silence_approves() {
    story(&ASKING, &[LIST, PROMPT, WITHDRAWN], |revision| {
        let mut scene = set(revision, |settings| {
            settings.timeout_action = TimeoutAction::Approve;
        });
        scene.client_calls(1, "delete_user", json!({}));
        scene.client_reads_all();
        scene.advance(secs(300));
        scene.expect_forwarded(1);
        scene
    });
}

#[test]
fn a_call_that_the_client_cannot_show() {
    story(
        &ASKING,
        &[LIST, PROMPT, PROMPT, PROMPT, REFUSAL],
        |revision| {
            let mut scene = session(revision);
            scene.client_calls(1, "delete_user", json!({}));
            for _ in 0..3 {
                let prompt = scene.expect_prompt();
                scene.answer_with_error(&prompt);
                scene.advance(secs(1));
            }
            scene.expect_refused(1, "no window");
            scene
        },
    );
}

#[test]
fn a_tool_that_changes_while_a_person_is_asked() {
    let round = [LIST, PROMPT];
    let made = [&round[..], &round, &round, &round, &[LIST, REFUSAL]].concat();
    story(&ASKING, &made, |revision| {
        let mut scene = session(revision);
        scene.client_calls(1, "delete_user", json!({}));
        for n in 0..4 {
            let prompt = scene.expect_prompt();
            scene.tools_change(json!([{"name": "delete_user", "description": n.to_string()}]));
            scene.approve(&prompt);
        }
        scene.expect_refused(1, "kept changing");
        scene
    });
}

#[test]
fn a_call_that_the_client_cancels() {
    story(&ASKING, &[LIST, PROMPT, WITHDRAWN], |revision| {
        let mut scene = session(revision);
        scene.client_calls(1, "delete_user", json!({}));
        scene.client_cancels(1);
        scene.expect_logged("cancelled", false);
        scene
    });
}

#[test]
fn a_client_that_goes() {
    // One call waits for a person, then another for the list.
    story(
        &ASKING,
        &[LIST, PROMPT, LIST, REFUSAL, REFUSAL],
        |revision| {
            let mut scene = session(revision);
            scene.client_calls(1, "delete_user", json!({}));
            scene.expect_prompt();
            scene.tools_change(scene.tools.clone());
            scene.client_says(&call(2, "delete_user", json!({"id": 2})));
            scene.client_closes();
            scene.expect_refused(1, "the client has gone");
            scene.answer_lists();
            scene.expect_refused(2, "the client has gone");
            scene
        },
    );
}

#[test]
fn a_client_that_begins_another_session() {
    story(&ASKING, &[LIST, PROMPT, WITHDRAWN, REFUSAL], |revision| {
        let mut scene = session(revision);
        scene.client_calls(1, "delete_user", json!({}));
        let prompt = scene.expect_prompt();
        let mut scene = scene.legacy(revision.name());
        scene.approve(&prompt);
        scene.expect_nothing();
        scene
    });
}

#[test]
fn an_upstream_that_goes() {
    let made = [LIST, PROMPT, WITHDRAWN, INTERNAL_ERROR, INTERNAL_ERROR];
    story(&ASKING, &made, |revision| {
        let mut scene = session(revision);
        scene.client_calls("held", "delete_user", json!({}));
        scene.expect_prompt();
        scene.client_calls("sent", "read_note", json!({}));
        scene.expect_forwarded("sent");
        scene.upstream_closes();
        scene
    });
}

// ---- refused without a question

#[test]
fn a_call_that_a_rule_blocks() {
    for explain in [false, true] {
        story(&LEGACY, &[REFUSAL], |revision| {
            let settings = Settings {
                explain,
                ..Settings::default()
            };
            let rules = Rules {
                deny: vec!["*".into()],
                ..Rules::default()
            };
            let mut scene = Scene::with(settings, rules).legacy(revision.name());
            scene.client_calls("", "t", json!({}));
            scene.expect_refused("", "blocked");
            scene
        });
    }
}

#[test]
fn a_client_that_cannot_be_asked() {
    story(&LEGACY, &[LIST, REFUSAL], |revision| {
        let mut scene = Scene::new().handshake(revision.name(), json!({}));
        scene.client_calls(1, "delete_user", json!({}));
        scene.expect_refused(1, "does not declare");
        scene
    });
}

#[test]
fn a_revision_without_elicitation() {
    story(&[V2024_11_05, V2025_03_26], &[LIST, REFUSAL], |revision| {
        let mut scene = session(revision);
        scene.client_says(&call_with_token(1, "delete_user", 5));
        scene.answer_lists();
        scene.expect_refused(1, "no elicitation");
        scene
    });
}

#[test]
fn a_call_before_the_handshake() {
    story(&LEGACY, &[REFUSAL, REFUSAL], |revision| {
        let mut scene = Scene::new();
        scene.client_says(&call(1, "delete_user", json!({})));
        scene.expect_refused(1, "before the client's `initialize`");
        scene.client_says(
            &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": revision.name(), "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "c", "version": "1"}}}),
        );
        scene.client_says(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        scene.client_says(&call_with_token(2, "delete_user", 5));
        scene.advance(secs(60));
        scene.expect_refused(2, "has not answered `initialize`");
        scene
    });
    story(&LEGACY, &[REFUSAL], |revision| {
        let mut scene = Scene::new();
        scene.client_says(
            &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": revision.name(), "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "c", "version": "1"}}}),
        );
        scene.client_says(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        scene.client_says(&call(2, "delete_user", json!({})));
        scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 0,
            "error": {"code": -32602, "message": "no"}}));
        scene.client.clear();
        scene.advance(secs(60));
        scene.expect_refused(2, "not agreed on a protocol revision by `initialize`");
        scene
    });
}

#[test]
fn a_call_that_cannot_be_recorded() {
    story(&LEGACY, &[LIST, REFUSAL], |revision| {
        let mut scene = session(revision);
        scene.log_state = Log::Broken;
        scene.client_calls(1, "read_note", json!({}));
        scene.expect_refused(1, "audit record");
        scene
    });
}

// ---- lists

#[test]
fn a_list_of_many_pages() {
    for cursor in ["2", "\"\\\n\u{1}\u{2028}😀"] {
        story(&LEGACY, &[LIST, LIST], |revision| {
            let mut scene = session(revision);
            scene.client_says(&call_with_token(1, "read_note", 5));
            let id = scene.take_list_request().unwrap();
            scene.upstream_says(&json!({"jsonrpc": "2.0", "id": id,
                "result": {"tools": scene.tools, "nextCursor": cursor}}));
            scene.answer_lists();
            scene.expect_forwarded(1);
            scene
        });
    }
}

#[test]
fn a_list_that_does_not_come() {
    // With a text id and a number.
    story(&ASKING, &[LIST, LIST, PROMPT], |revision| {
        let mut scene = session(revision);
        scene.client_says(&call_with_token(1, "read_note", 5));
        scene.advance(secs(6));
        scene
    });
}

// ---- messages that cannot be read, or may not be sent

#[test]
fn lines_that_cannot_be_read_safely() {
    for (line, code) in [
        ("{", PARSE_ERROR),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"x"}"#,
            PARSE_ERROR,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"a","method":"ping"}x"#,
            PARSE_ERROR,
        ),
        ("7", INVALID_REQUEST),
        ("[]", INVALID_REQUEST),
        ("[7]", INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1}"#, INVALID_REQUEST),
        (
            r#"{"jsonrpc":"2.0","id":1,"Method":"tools/call","method":"x"}"#,
            INVALID_REQUEST,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"Tools/Call"}"#,
            INVALID_REQUEST,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
            INVALID_REQUEST,
        ),
        (
            r#"{"id":1,"method":"tools/call","params":{"name":"read_note"}}"#,
            INVALID_REQUEST,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"t","Name":"u"}}"#,
            INVALID_REQUEST,
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"t"}}"#,
            INVALID_REQUEST,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"name":"t"}}"#,
            INVALID_REQUEST,
        ),
        (
            r#"{"jsonrpc":"2.0","id":12345678901234567890123,"method":"tools/call","params":{}}"#,
            INVALID_REQUEST,
        ),
    ] {
        story(&LEGACY, &[code], |revision| {
            let mut scene = session(revision);
            scene.client_sends(line);
            scene
        });
    }
    story(&LEGACY, &[INVALID_REQUEST], |revision| {
        let mut scene = session(revision);
        scene.client_says(&call("x".repeat(2_000), "read_note", json!({})));
        scene
    });
    story(&LEGACY, &[PARSE_ERROR], |revision| {
        let mut scene = session(revision);
        scene.client_sends_bytes(b"\xff");
        scene
    });
}

#[test]
fn lines_that_are_too_long() {
    story(&LEGACY, &[INVALID_REQUEST, INVALID_REQUEST], |revision| {
        let mut scene = session(revision);
        scene.client_sends_overlong(r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":""#, "");
        scene.client_sends_overlong("", "");
        scene
    });
    story(&LEGACY, &[INTERNAL_ERROR], |revision| {
        let mut scene = session(revision);
        scene.client_says(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
        scene.upstream_sends_overlong(r#"{"jsonrpc":"2.0","id":1,"result":{"x":""#, "");
        scene
    });
}

#[test]
fn ids_that_are_in_use() {
    story(
        &LEGACY,
        &[LIST, INVALID_REQUEST, INVALID_REQUEST, INVALID_REQUEST],
        |revision| {
            let mut scene = session(revision);
            scene.client_says(&call(1, "read_note", json!({})));
            let list = scene.take_list_request().unwrap();
            scene.client_says(&call(1, "read_note", json!({})));
            scene.client_says(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
            // The upstream gets this one.
            scene.upstream_says(&json!({"jsonrpc": "2.0", "id": list, "method": "ping"}));
            assert_eq!(scene.take_upstream()["id"], list);
            scene
        },
    );
}

#[test]
fn more_calls_than_may_wait() {
    story(&LEGACY, &[INVALID_REQUEST, INTERNAL_ERROR], |revision| {
        let mut scene = set(revision, |settings| settings.max_pending = 1);
        scene.client_says(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
        scene.client_says(&call(2, "read_note", json!({})));
        scene.client_says(&json!({"jsonrpc": "2.0", "id": 3, "method": "ping"}));
        scene
    });
}

// A split batch is not the gate's own message: its entries are passed on unchanged.
#[test]
fn a_batch() {
    story(&LEGACY, &[INVALID_REQUEST, LIST], |revision| {
        let mut scene = session(revision);
        scene.client_sends(&format!(
            r#"[{{"jsonrpc":"2.0","id":"p",  "method":"ping"}},7,{}]"#,
            call(1, "read_note", json!({}))
        ));
        scene.take_upstream();
        scene.answer_lists();
        scene.expect_forwarded(1);
        scene
    });
}
