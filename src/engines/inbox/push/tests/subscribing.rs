//! What counts as a subscription.

use serde_json::{Value, json};

use super::user_agent::{AUTH_SECRET, UA_PUBLIC, subscription};
use crate::engines::inbox::push::{BadSubscription, Subscription};

fn read(json: &Value) -> Result<Subscription, BadSubscription> {
    Subscription::from_json(json.to_string().as_bytes())
}

fn at(endpoint: &str) -> Value {
    json!({"endpoint": endpoint, "keys": {"p256dh": UA_PUBLIC, "auth": AUTH_SECRET}})
}

#[test]
fn what_a_browser_describes_is_read_and_written_back() {
    let described = json!({
        "endpoint": "https://push.example/send/a:b_c-d?x=1",
        "expirationTime": 1_800_000_000_000i64,
        "keys": {"auth": AUTH_SECRET, "p256dh": UA_PUBLIC},
    });
    let subscription = read(&described).unwrap();
    assert_eq!(
        subscription.endpoint().as_str(),
        "https://push.example/send/a:b_c-d?x=1"
    );
    let written = subscription.to_json();
    assert_eq!(
        Subscription::from_json(written.as_bytes()),
        Ok(subscription)
    );
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written["keys"], described["keys"]);
}

#[test]
fn an_endpoint_is_an_https_url_of_the_public_internet_without_credentials() {
    let long = format!("https://push.example/{}", "x".repeat(2048));
    let escaped = format!("https://push.example/{}", "é".repeat(700));
    for endpoint in [
        "",
        "push.example/1",
        "http://push.example/1",
        "ftp://push.example/1",
        "https://",
        "https://user@push.example/1",
        "https://:word@push.example/1",
        "https://push.example/1#part",
        "https://127.0.0.1/1",
        "https://0x7f.1/1",
        "https://2130706433/1",
        "https://10.0.0.1/1",
        "https://169.254.169.254/latest",
        "https://[::1]/1",
        "https://[::ffff:10.0.0.1]/1",
        "https://[fd00::1]/1",
        &long,
        &escaped,
    ] {
        let refused = read(&at(endpoint)).unwrap_err();
        assert!(
            matches!(refused, BadSubscription::Endpoint(_)),
            "{endpoint}: {refused}"
        );
        let said = refused.to_string();
        assert!(endpoint.is_empty() || !said.contains(endpoint), "{said}");
    }
    for endpoint in ["https://push.example:8443/", "https://8.8.8.8/1"] {
        assert!(read(&at(endpoint)).is_ok(), "{endpoint}");
    }
}

#[test]
fn keys_are_a_point_of_the_curve_and_sixteen_bytes() {
    let with = |p256dh: &str, auth: &str| {
        let keys = json!({"p256dh": p256dh, "auth": auth});
        read(&json!({"endpoint": "https://push.example/1", "keys": keys})).unwrap_err()
    };
    // The last one has a coordinate that is one too high.
    let off = UA_PUBLIC
        .replace("tCVxsr7N", "tCVxsr7O")
        .replace("iw4", "iw8");
    for point in [
        "",
        "AAAA",
        "A".repeat(87).as_str(),
        &format!("{UA_PUBLIC}AA"),
        &off,
    ] {
        let refused = with(point, AUTH_SECRET);
        assert!(matches!(refused, BadSubscription::PublicKey(_)), "{point}");
    }
    // Compressed: 33 bytes that begin with 2.
    let refused = with("AiVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcx", AUTH_SECRET);
    assert!(matches!(refused, BadSubscription::PublicKey(_)));
    for auth in [
        "",
        "AAAA",
        "BTBZMqHH6r4Tts7J_aSIggAA",
        "BTBZMqHH6r4Tts7J/aSIgg",
    ] {
        let refused = with(UA_PUBLIC, auth);
        assert_eq!(refused, BadSubscription::AuthenticationSecret, "{auth}");
    }
}

#[test]
fn anything_else_is_no_subscription() {
    for other in [
        "",
        "[]",
        "null",
        "{}",
        r#"{"endpoint":"https://push.example/1"}"#,
    ] {
        assert_eq!(
            Subscription::from_json(other.as_bytes()),
            Err(BadSubscription::NotJson),
            "{other}"
        );
    }
    let long = format!("{}{}", at("https://push.example/1"), " ".repeat(4096));
    assert_eq!(
        Subscription::from_json(long.as_bytes()),
        Err(BadSubscription::TooLong)
    );
}

#[test]
fn debug_shows_no_more_than_the_push_service() {
    let shown = format!("{:?}", subscription("https://push.example/send/secret?t=x"));
    assert_eq!(
        shown,
        r#"Subscription { origin: "https://push.example", .. }"#
    );
}
