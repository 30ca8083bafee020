use super::*;

fn known(details: Value) -> StoredApproval {
    StoredApproval {
        id: "pse_0123".to_owned(),
        owner: "holder:1".to_owned(),
        idempotency_key: None,
        body: json!({"shown": {"action": "Pay 40 €", "details": details}}).to_string(),
        asked_ms: 1_700_000_000_000,
        expires_ms: 1_700_000_060_000,
        outcome: None,
    }
}

#[test]
fn the_published_signature_covers_sorted_top_level_members() {
    let response = json!({"nonce": "n", "decision": "approved", "fields": {"z": 1, "a": "ü"}, "comment": "\"q\"\n"});
    let text = top_sorted(&response);
    let members: Vec<_> = ["comment", "decision", "fields", "nonce"]
        .map(|name| text.find(&format!("\"{name}\":")).unwrap())
        .into();
    assert!(members.is_sorted(), "{text}");
    assert!(
        text.contains(r#""comment":"\"q\"\n""#) && text.contains("ü"),
        "{text}"
    );
    // RFC 4231, test case 2.
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
    assert_eq!(
        sign(&key, "what do ya want for nothing?"),
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

#[test]
fn our_signature_binds_the_decision_to_the_action_and_its_details() {
    let responded = json!({"pause_id": "pse_0123", "response": {"decision": "approved"}});
    let text = bound(&known(json!({"to": "a", "iban": "1"})), &responded);
    assert_eq!(
        text,
        r#"{"action_description":"Pay 40 €","action_details":{"iban":"1","to":"a"},"pause_id":"pse_0123","response":{"decision":"approved"}}"#
    );
    assert_ne!(
        text,
        bound(&known(json!({"to": "b", "iban": "1"})), &responded)
    );
}

#[test]
fn hours_are_more_than_none_and_at_most_a_week() {
    for good in [json!(24), json!(168), json!(0.0006)] {
        time(&good).unwrap();
    }
    for bad in [
        json!(0),
        json!(-1),
        json!(168.1),
        json!("4"),
        json!(null),
        json!(1e300),
        json!([1]),
    ] {
        time(&bad).unwrap_err();
    }
}

#[test]
fn details_are_texts() {
    texts(&json!({})).unwrap();
    texts(&json!({"a": "b"})).unwrap();
    for bad in [
        json!("a"),
        json!(["a"]),
        json!({"a": 7}),
        json!({"a": {"b": "c"}}),
        json!({"a": null}),
    ] {
        texts(&bad).unwrap_err();
    }
}
