//! What the options of a bot may be, and that its token is printed nowhere.

use serde_json::json;

use super::*;
use crate::engines::for_test::context;

const TOKEN: &str = "7000000001:AAsecret-part_of-the-token";

fn options(change: Value) -> Map<String, Value> {
    let all = json!({"botToken": TOKEN, "chatId": -1_001_234_567_890_f64, "approvers": [77_310_045.0, 5.0]});
    let mut all = all.as_object().unwrap().clone();
    all.extend(change.as_object().unwrap().clone());
    all
}

fn read_with(change: Value) -> Result<Arc<dyn CourierSettings>, String> {
    let transport = TransportSettings::default();
    let read = read(EngineId::new("tg"), &options(change), &transport);
    read.map(Option::unwrap).map_err(|bad| bad.to_string())
}

#[test]
fn the_options_of_a_bot() {
    let settings = read_with(json!({})).unwrap();
    assert!(settings.recognizes("telegram:77310045") && settings.recognizes("telegram:5"));
    for other in ["telegram:6", "telegram:77310045 ", "slack:5", "5", ""] {
        assert!(!settings.recognizes(other), "{other}");
    }
    for chat in [json!("-100123"), json!("@approvals_1"), json!(5.0)] {
        read_with(json!({"chatId": chat})).unwrap();
    }
    read_with(json!({"apiUrl": "http://127.0.0.1:8081/telegram/"})).unwrap();
}

#[test]
fn options_that_cannot_work_are_named_and_not_quoted() {
    for (change, key) in [
        (json!({"botToken": ""}), "botToken"),
        (json!({"botToken": "mark-secret"}), "botToken"),
        (json!({"botToken": "1:mark-secret/../getMe"}), "botToken"),
        (json!({"botToken": "1:mark-secret?x"}), "botToken"),
        (json!({"botToken": 5.0}), "botToken"),
        (json!({"chatId": 0.0}), "chatId"),
        (json!({"chatId": 1.5}), "chatId"),
        (json!({"chatId": 1e300}), "chatId"),
        (json!({"chatId": ""}), "chatId"),
        (json!({"chatId": "approvals"}), "chatId"),
        (json!({"chatId": "@"}), "chatId"),
        (json!({"chatId": "@a/b"}), "chatId"),
        (json!({"approvers": []}), "approvers"),
        (json!({"approvers": 77.0}), "approvers"),
        (json!({"approvers": ["olga"]}), "approvers"),
        (
            json!({"approvers": [5.0, -1_001_234_567_890_f64]}),
            "approvers",
        ),
        (json!({"approvers": vec![5.0; 101]}), "approvers"),
        (json!({"apiUrl": "http://192.0.2.7/"}), "apiUrl"),
        (json!({"apiUrl": "ftp://x"}), "apiUrl"),
    ] {
        let why = read_with(change.clone()).unwrap_err();
        assert!(why.contains(&format!("`{key}`")), "{change}: {why}");
        assert!(!why.contains("mark-secret"), "{why}");
    }
}

#[test]
fn the_token_is_in_no_debug_output() {
    let settings = read_with(json!({})).unwrap();
    let transport = TransportSettings::default();
    let read = read(EngineId::new("tg"), &options(json!({})), &transport).unwrap();
    let text = format!("{settings:?} {read:?}");
    assert!(text.contains("api.telegram.org"), "{text}");
    assert!(!text.contains("secret-part"), "{text}");
}

#[test]
fn a_courier_that_carries_nothing_starts_no_thread() {
    let settings = read_with(json!({})).unwrap();
    let context = context("tg");
    let courier = settings.courier(&context);
    assert!(!context.runtime.is_running());
    drop(courier);
    assert!(!context.runtime.is_running());
}
