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

fn secret() -> Secret {
    Secret::new("key".to_owned())
}

// What the verifier of @looppause/mcp computes: JSON.stringify(Object.fromEntries(Object.entries(unsigned).sort())). It
// keeps the order of nested members as they arrive, which is ours.
#[test]
fn the_published_verifiers_text_is_what_is_signed() {
    let mut response = json!({"nonce": "n", "decision": "approved", "fields": {"z": 1e21, "a": "ü"}, "comment": "\"q\"\n"});
    let response = response.as_object_mut().unwrap();
    sign(response, &secret());
    let text =
        r#"{"comment":"\"q\"\n","decision":"approved","fields":{"a":"ü","z":1e+21},"nonce":"n"}"#;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"key");
    let tag = ring::hmac::sign(&key, text.as_bytes());
    let digits: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(response[SIGNATURE], format!("sha256={digits}"));
    let sent = Value::from(response.clone()).to_string();
    assert!(sent.find("\"a\"") < sent.find("\"z\""), "{sent}");
}

#[test]
fn our_signature_binds_the_decision_to_its_action_details_and_id() {
    let responded = members([("pause_id", "pse_0123".into())]);
    let first = bound(&known(json!({"to": "a"})), &responded, &secret());
    assert_eq!(
        first,
        bound(&known(json!({"to": "a"})), &responded, &secret())
    );
    assert_ne!(
        first,
        bound(&known(json!({"to": "b"})), &responded, &secret())
    );
    let other = members([("pause_id", "pse_0124".into())]);
    assert_ne!(first, bound(&known(json!({"to": "a"})), &other, &secret()));
    let mut other = known(json!({"to": "a"}));
    other.body = other.body.replace("40", "41");
    assert_ne!(first, bound(&other, &responded, &secret()));
}

#[test]
fn a_nonce_stays_and_belongs_to_one_approval() {
    let (one, mut other) = (known(json!({})), known(json!({})));
    other.id.push('4');
    assert_eq!(nonce(&one), nonce(&one));
    assert_eq!(nonce(&one).len(), 32);
    assert_ne!(nonce(&one), nonce(&other));
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
