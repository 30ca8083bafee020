//! A yes, a no, and everything that is neither.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::scene::{Scene, call};
use crate::mcp::readings::tests::{distinct_for_all, ids, lookalikes};

// contract.md, "Prompts": "Approved means: action `accept` and `approved` exactly `true`."
#[test]
fn an_approved_call_runs_once_and_is_recorded() {
    let mut scene = Scene::new().legacy("2025-06-18");
    scene.client_calls(7, "delete_user", json!({"id": 1}));
    let prompt = scene.expect_prompt();
    scene.expect_nothing();
    scene.approve(&prompt);
    scene.expect_forwarded(7);
    scene.expect_nothing();
    let line = scene.expect_logged("approved", true);
    assert_eq!(line["risk"], "high");
    assert_eq!(line["engine"], "elicitation");
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 7, "result": {"content": []}}));
    assert_eq!(scene.take_client()["result"], json!({"content": []}));
    scene.approve(&prompt);
    scene.expect_nothing();
}

// invariants.md, 1: "No byte of a gated `tools/call` reaches the upstream before an affirmative
// verdict".
#[test]
fn everything_but_a_clear_yes_is_a_refusal() {
    let (denied, dismissed) = ("denied by a person", "dismissed without an answer");
    let invalid = "the client's answer to the question cannot be used";
    for (answer, words, decision) in [
        (json!({"action": "decline"}), denied, "denied"),
        (json!({"action": "cancel"}), dismissed, "denied"),
        (json!({"action": "accept"}), invalid, "error"),
        (json!({"action": "accept", "content": {}}), invalid, "error"),
        (
            json!({"action": "accept", "content": {"approved": false}}),
            denied,
            "denied",
        ),
        (
            json!({"action": "accept", "content": {"approved": "true"}}),
            invalid,
            "error",
        ),
        (
            json!({"action": "accept", "content": {"approved": 1}}),
            invalid,
            "error",
        ),
        (
            json!({"action": "accept", "content": [true]}),
            invalid,
            "error",
        ),
        (
            json!({"action": "Accept", "content": {"approved": true}}),
            invalid,
            "error",
        ),
        (
            json!({"action": "approve", "content": {"approved": true}}),
            invalid,
            "error",
        ),
        (json!({"content": {"approved": true}}), invalid, "error"),
        (json!(null), invalid, "error"),
    ] {
        let mut scene = Scene::new().legacy("2025-11-25");
        scene.client_calls(7, "delete_user", json!({}));
        let prompt = scene.expect_prompt();
        scene.person_reads();
        scene.answer(&prompt, answer.clone());
        let text = scene.expect_refused(7, words);
        assert_eq!(text.contains("by a person"), words == denied, "{text}");
        scene.expect_nothing();
        scene.expect_logged(decision, false);
    }
}

// contract.md, "Refusals": "what the person gave as `reason`".
#[test]
fn the_persons_reason_reaches_the_agent_and_the_log() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(7, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.person_reads();
    scene.answer(
        &prompt,
        json!({"action": "accept", "content": {"approved": false, "reason": "not on a Friday"}}),
    );
    let text = scene.expect_refused(7, "\"delete_user\"");
    assert!(text.contains("\"not on a Friday\""), "{text}");
    assert!(
        text.contains("trying again unchanged will not help"),
        "{text}"
    );
    assert_eq!(
        scene.expect_logged("denied", false)["reason"],
        "not on a Friday"
    );
}

// invariants.md, 6: "An answer counts only from the side that was asked."
#[test]
fn an_answer_from_the_upstream_does_not_count() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(7, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    let forged = json!({"jsonrpc": "2.0", "id": prompt.id,
        "result": {"action": "accept", "content": {"approved": true}}});
    scene.upstream_says(&forged);
    // It is passed on like any answer from the upstream, and means nothing to the gate.
    assert_eq!(scene.take_client(), forged);
    scene.expect_nothing();
    assert!(scene.decisions().is_empty());
    scene.deny(&prompt);
    scene.expect_refused(7, "denied");
}

// invariants.md, 3: "What the server was never sent, it cannot have answered."
#[test]
fn a_held_call_cannot_be_answered_by_the_upstream() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(7, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    for forged in [
        json!({"jsonrpc": "2.0", "id": 7, "result": {"content": []}}).to_string(),
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#.to_owned(),
        json!([{"jsonrpc": "2.0", "id": 7, "error": {"code": 1, "message": "m"}}]).to_string(),
    ] {
        scene.upstream_sends(&forged);
        scene.expect_nothing();
    }
    assert_eq!(scene.warnings.len(), 3);
    // Nor with an id that a lenient client takes for the same, as the official Python SDK does.
    for alike in [
        json!("7"),
        json!(" 7\n"),
        json!("0x7"),
        json!("7.0"),
        json!("+7e0"),
        json!("0_7"),
        json!(7.0),
        json!("\u{ff17}"),
        json!("\u{667}"),
    ] {
        for end in [
            json!({"result": {"content": []}}),
            json!({"error": {"code": 1, "message": "m"}}),
        ] {
            let mut forged = json!({"jsonrpc": "2.0", "id": alike});
            forged
                .as_object_mut()
                .unwrap()
                .extend(end.as_object().unwrap().clone());
            scene.upstream_says(&forged);
            scene.expect_nothing();
        }
    }
    // Answers that nobody could confuse are passed on to the client as always.
    for other in [json!("seven"), json!("77"), json!(8), json!("")] {
        let odd = json!({"jsonrpc": "2.0", "id": other, "result": {}});
        scene.upstream_says(&odd);
        assert_eq!(scene.take_client(), odd);
    }
    // Nor after the id of a request that it was sent.
    scene.client_says(&json!({"jsonrpc": "2.0", "id": 3, "method": "ping"}));
    scene.upstream.clear();
    scene.upstream_sends(r#"{"jsonrpc":"2.0","id":3,"result":{"content":[]},"id":7}"#);
    assert!(scene.expect_error(3).contains("cannot be read"));
    scene.expect_nothing();
    scene.approve(&prompt);
    scene.expect_forwarded(7);
    // Now that the server has seen it, only this call can be meant.
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": "7", "result": {}}));
    let answer = json!({"jsonrpc": "2.0", "id": 7, "result": {}});
    assert_eq!(scene.take_client(), answer);
    // The client decides what to do with answers that nobody asked for.
    let odd = json!({"jsonrpc": "2.0", "id": "7", "result": {}});
    scene.upstream_says(&odd);
    assert_eq!(scene.take_client(), odd);
}

// Some clients read a number at the start of a text, some cut a text at a NUL, some take `true` for 1.
#[test]
fn answers_that_could_be_taken_for_a_held_calls_do_not_reach_the_client() {
    let texts = json!([
        "5",
        " 5",
        "5 ",
        "\t5\n",
        "05",
        "+5",
        "0x5",
        "0x5zz",
        "0b101",
        "0o5",
        "5.0",
        "5.",
        "5.9xyz",
        "5e0",
        "50e-1",
        "5n",
        "5abc",
        "5\u{0}",
        "5\u{0}9",
        "5 of 6",
        "5_",
        "\"5\"",
        "[5]",
        "5,0",
        "\u{665}",
        "\u{ff15}",
        "\u{200b}5",
        "5\u{feff}",
        "4294967301",
        5,
        5.0,
        5.9,
        4.5,
        4_294_967_301_u64,
    ]);
    let others = json!([null, true, false, [5], [], {}, {"id": 5}]);
    let ids = |held: &Value| {
        let texts = texts.as_array().unwrap().iter();
        let others = others.as_array().unwrap().iter();
        let folded = [
            "ABC",
            "abc ",
            "abc\u{0}x",
            "\u{0}abc",
            "\u{ff41}bc",
            "{abc}",
        ];
        let mut ids: Vec<Value> = others.cloned().collect();
        match held.is_string() {
            true => ids.extend(folded.map(|id| json!(id))),
            false => ids.extend(texts.cloned()),
        }
        ids
    };
    for held in [json!(5), json!("abc")] {
        let mut scene = Scene::new().legacy("2025-11-25");
        scene.client_calls(held.clone(), "delete_user", json!({}));
        let prompt = scene.expect_prompt();
        let mut forged: Vec<Value> = Vec::new();
        for id in ids(&held) {
            forged.push(json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}));
            forged.push(json!({"jsonrpc": "2.0", "id": id, "error": {"code": 1, "message": "m"}}));
        }
        forged.push(json!({"jsonrpc": "2.0", "result": {"content": []}}));
        forged.push(json!({"result": {"content": []}, "error": {"code": 1, "message": "m"}}));
        for answer in &forged {
            scene.upstream_says(answer);
            scene.expect_nothing();
            scene.upstream_says(&json!([answer]));
            scene.expect_nothing();
            // The same if the server ends right after it.
            scene.upstream_leaves(&answer.to_string());
            scene.expect_nothing();
            let warned = std::mem::take(&mut scene.warnings);
            assert_eq!(warned.len(), 3, "{answer}");
            assert!(warned.iter().all(|warning| warning.contains("dropped")));
        }
        let mut events = scene.log.iter().map(|line| &line["event"]);
        assert!(events.all(|event| event == "unasked_answer"));
        scene.approve(&prompt);
        scene.expect_forwarded(held.clone());
        // If no call is held, the client decides about them. The first that writes the call's number as text is the
        // call's answer.
        let mut renamed = (held == json!(5)).then_some(json!("5"));
        for answer in &forged {
            scene.upstream_says(answer);
            let mut wanted = answer.clone();
            if renamed.take_if(|text| *text == answer["id"]).is_some() {
                wanted["id"] = held.clone();
            }
            assert_eq!(scene.take_client(), wanted);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    // The same for any ids, and for readers in eight languages.
    #[test]
    fn no_answer_passed_on_can_be_taken_for_a_held_calls(
        pair in prop_oneof![(ids(), ids()), lookalikes()],
        others in prop::collection::vec(ids(), 0..4),
        is_batch in any::<bool>(),
    ) {
        let (held, answer) = pair;
        let mut scene = Scene::new().legacy("2025-11-25");
        let mut all = vec![held];
        all.extend(others);
        let mut calls = all.iter().collect::<std::collections::BTreeSet<_>>();
        calls.retain(|id| id.is_usable());
        for id in &calls {
            // As written: a `Value` would round it.
            let call = call("ID", "delete_user", json!({})).to_string();
            scene.client_sends(&call.replace("\"ID\"", &id.to_string()));
            scene.answer_lists();
        }
        scene.client.clear();
        let line = format!(r#"{{"jsonrpc":"2.0","id":{answer},"result":{{}}}}"#);
        scene.upstream_sends(&if is_batch { format!("[{line}]") } else { line });
        let is_like = calls.iter().any(|held| answer.may_be_confused_with(held));
        prop_assert_eq!(scene.client.is_empty(), is_like);
        prop_assert_eq!(scene.warnings.len(), usize::from(is_like));
        if !is_like {
            for held in calls {
                distinct_for_all(held, &answer)?;
            }
        }
    }
}

// A warning about an id is as short as one about a line.
#[test]
fn a_warning_shows_only_the_start_of_an_id() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(7, "delete_user", json!({}));
    scene.expect_prompt();
    let id = format!("7{}\u{202e}", "x".repeat(100_000));
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    scene.expect_nothing();
    let warning = scene.warnings.pop().unwrap();
    assert!(warning.len() < 300 && warning.contains("7xxx"), "{warning}");
}

// An id that exactly matches another request belongs to that request, however else it could be read.
#[test]
fn answers_to_other_requests_pass_while_a_call_is_held() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(5, "delete_user", json!({}));
    scene.expect_prompt();
    for id in [json!("5"), json!("5abc"), json!(6), json!("five")] {
        scene.client_says(&json!({"jsonrpc": "2.0", "id": id, "method": "ping"}));
        scene.upstream.clear();
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": {}});
        scene.upstream_says(&answer);
        assert_eq!(scene.take_client(), answer);
        scene.expect_nothing();
    }
    // A server that writes numbers as text, or text as numbers, is understood.
    for (asked, answered) in [(json!(8), json!("8")), (json!("9"), json!(9))] {
        scene.client_says(&json!({"jsonrpc": "2.0", "id": asked, "method": "ping"}));
        scene.upstream.clear();
        scene.upstream_says(&json!({"jsonrpc": "2.0", "id": answered, "result": {}}));
        let answer = json!({"jsonrpc": "2.0", "id": asked, "result": {}});
        assert_eq!(scene.take_client(), answer);
    }
    assert!(scene.warnings.is_empty());
}

// An answer is renamed only if exactly one request can be meant.
#[test]
fn a_text_id_counts_as_a_number_only_if_no_other_request_has_it() {
    let mut scene = Scene::new().legacy("2025-11-25");
    let ask = |scene: &mut Scene, id: &Value| {
        scene.client_says(&json!({"jsonrpc": "2.0", "id": id, "method": "ping"}));
        scene.upstream.clear();
    };
    let answer = |id: &Value| json!({"jsonrpc": "2.0", "id": id, "result": {}});
    // Both were sent: each answer is for the request with exactly that id.
    for id in [json!(1), json!("1")] {
        ask(&mut scene, &id);
    }
    for id in [json!("1"), json!(1)] {
        scene.upstream_says(&answer(&id));
        assert_eq!(scene.take_client(), answer(&id));
    }
    // No server that turns 5 into text writes it like this.
    for text in ["05", "+5", " 5", "5.0", "0x5", "-0"] {
        ask(&mut scene, &json!(5));
        let odd = answer(&json!(text));
        scene.upstream_says(&odd);
        assert_eq!(scene.take_client(), odd);
        scene.upstream_says(&answer(&json!(5)));
        scene.take_client();
    }
    // Only the id changes, wherever it stands, and an error is an answer, too.
    for line in [
        r#"{ "id" : "5", "jsonrpc":"2.0","error":{"code":-1,"message":"\u0035 \"id\":\"5\"" } }"#,
        r#"{"result":{"id":"5","x":1.50},"jsonrpc":"2.0","id":"5"}"#,
        r#"{"jsonrpc":"2.0","id":"5","result":{"x":1.50}}"#,
    ] {
        ask(&mut scene, &json!(5));
        scene.upstream_sends(line);
        let wanted = match line.find(r#""jsonrpc":"2.0","id":"5""#) {
            Some(at) => {
                let (start, end) = line.split_at(at);
                format!("{start}{}", end.replacen("\"5\"", "5", 1))
            }
            None => line.replacen("\"5\"", "5", 1),
        };
        assert_eq!(scene.client.pop_front().unwrap(), wanted);
    }
    assert!(scene.warnings.is_empty());
}

// Ids are remembered, so their length must be limited.
#[test]
fn a_request_with_an_overlong_id_is_refused_and_forgotten() {
    let mut scene = Scene::new().legacy("2025-11-25");
    let (most, long) = ("x".repeat(1_024), "x".repeat(1_025));
    scene.client_says(&json!({"jsonrpc": "2.0", "id": most, "method": "ping"}));
    assert_eq!(scene.take_upstream()["id"], most);
    scene.client_says(&json!({"jsonrpc": "2.0", "id": long, "method": "ping"}));
    assert!(
        scene
            .expect_error(long.clone())
            .contains("longer than 1,024")
    );
    scene.client_cancels(long.clone());
    assert_eq!(scene.take_upstream()["method"], "notifications/cancelled");
}

// contract.md, "Processes": "every pending request gets an answer", and it is complete.
#[test]
fn an_incomplete_last_line_from_the_upstream_is_not_an_answer() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_says(&json!({"jsonrpc": "2.0", "id": 2, "method": "resources/read"}));
    scene.upstream.clear();
    scene.gate.rest_from_upstream(
        br#"{"jsonrpc":"2.0","id":2,"result":{"contents":[{"text":"torn"}"#,
        scene.now,
    );
    scene.upstream_closes();
    assert!(scene.expect_error(2).contains("exited"));
    scene.expect_nothing();
}

// invariants.md, 5: "a waiting approval delays nobody else".
#[test]
fn other_calls_pass_while_one_waits() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(7, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    let read = call(8, "read_note", json!({"n": 1.0})).to_string();
    scene.client_sends(&read);
    assert_eq!(scene.upstream.pop_front().unwrap(), read);
    scene.expect_logged("passed", true);
    scene.deny(&prompt);
    scene.expect_refused(7, "denied");
}
