use serde_json::json;

use super::*;
use crate::engines::for_test::{carry, context, item};
use crate::sys::secret::Secret;

const TOKEN: &str = "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2";

fn options(options: &Value) -> Result<NtfySettings, String> {
    let options = options.as_object().unwrap();
    let transport = TransportSettings::default();
    settings(EngineId::new("ntfy"), options, &transport).map_err(|BadOptions(why)| why)
}

#[test]
fn the_url_is_a_server_and_a_topic() {
    for (url, server, topic) in [
        ("https://ntfy.sh/alerts", "https://ntfy.sh/", "alerts"),
        ("https://ntfy.sh/alerts/", "https://ntfy.sh/", "alerts"),
        ("http://127.0.0.1:80/a_B-9", "http://127.0.0.1/", "a_B-9"),
        ("https://a.example/ntfy/x", "https://a.example/ntfy/", "x"),
    ] {
        let settings = options(&json!({"url": url})).unwrap();
        assert_eq!(
            (settings.server.as_str(), &*settings.topic),
            (server, topic)
        );
    }
    let long = format!("https://ntfy.sh/{}", "t".repeat(65));
    for url in [
        "https://ntfy.sh",
        "https://ntfy.sh/",
        "https://ntfy.sh/a,b",
        "https://ntfy.sh/a%2fb",
        "https://ntfy.sh/a?auth=x",
        "https://user:pw@ntfy.sh/a",
        "http://ntfy.sh/a",
        "ntfy.sh/a",
        &long,
    ] {
        let why = options(&json!({"url": url})).unwrap_err();
        assert!(why.starts_with("`url`"), "{url}: {why}");
    }
}

#[test]
fn there_are_no_buttons_without_a_token_of_our_own() {
    let url = "https://ntfy.sh/alerts";
    for (rest, missing) in [
        (json!({"replyTopic": "replies"}), "needs a `token`"),
        (
            json!({"replyTopic": "alerts", "token": TOKEN}),
            "another topic",
        ),
        (json!({"replyTopic": "a/b", "token": TOKEN}), "`replyTopic`"),
        (json!({"replyTopic": "", "token": TOKEN}), "`replyTopic`"),
        (json!({"replyTopic": "replies", "token": " "}), "`token`"),
        (json!({"token": "tk_a\nb"}), "`token`"),
        (json!({"token": 7}), "`token` must be a string"),
    ] {
        let mut all = json!({"url": url});
        all.as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        let why = options(&all).unwrap_err();
        assert!(why.contains(missing) && !why.contains("tk_"), "{why}");
    }
    // The token for other engines is not for this server.
    let transport = TransportSettings {
        auth_token: Some(Secret::new("for-the-bridge".to_owned())),
        ..TransportSettings::default()
    };
    let plain = json!({"url": url});
    let plain = settings(
        EngineId::new("ntfy"),
        plain.as_object().unwrap(),
        &transport,
    )
    .unwrap();
    assert!(!plain.headers.contains_key(AUTHORIZATION));
}

#[test]
fn neither_the_token_nor_a_topic_is_printed_by_debug() {
    let all = json!({"url": "https://ntfy.sh/alerts-4711-xyz", "token": TOKEN, "replyTopic": "replies-4711"});
    let settings = options(&all).unwrap();
    let printed = format!("{settings:?} {:?}", settings.headers);
    assert!(
        !printed.contains("tk_") && !printed.contains("4711"),
        "{printed}"
    );
    let clean = settings
        .scrub
        .clean(&format!("{TOKEN} alerts-4711-xyz replies-4711"));
    assert_eq!(clean, "[hidden] [hidden] [hidden]");
}

#[test]
fn nothing_starts_before_the_first_question() {
    let settings = options(&json!({"url": "https://ntfy.sh/alerts"})).unwrap();
    let context = context("ntfy");
    let mut courier = settings.courier(&context);
    assert!(settings.needs_page(&context) && !context.runtime.is_running());
    let item = item("a");
    let results = carry(&mut *courier, &item);
    assert!(context.runtime.is_running());
    courier.withdraw(
        &item.id,
        &Ending::Closed(crate::approval::item::Closed::Withdrawn),
    );
    assert!(results.recv().is_err(), "no verdict, and no failure");
}
