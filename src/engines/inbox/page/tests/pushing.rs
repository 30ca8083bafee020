//! Push messages: who may subscribe, and what devices hear of.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::sync::mpsc;

use super::super::Push;
use super::devices::SharedDevices;
use super::pairing::{offer, pair};
use super::visitor::{NOW_MS, Visitor, item, usual};
use crate::engines::inbox::push::tests::sending::local_sender;
use crate::engines::inbox::push::tests::service::PushService;
use crate::engines::inbox::push::tests::user_agent::{decrypt, subscription};
use crate::engines::inbox::store::Devices as _;

/// A page that sends to this push service, and a phone that is paired with it.
async fn phone(devices: &SharedDevices) -> Visitor {
    let mut phone = Visitor::phone_with(devices, false, |dir| {
        let (sender, gone) = mpsc::channel(8);
        let forget = Box::new(move |device: &str, subscription: &_| {
            sender
                .try_send((device.to_owned(), Clone::clone(subscription)))
                .unwrap();
        });
        Some(Push::with(local_sender(dir, forget), gone))
    });
    let code = offer(devices);
    assert_eq!(pair(&mut phone, &code).await.status, StatusCode::SEE_OTHER);
    phone
}

async fn subscribe(phone: &Visitor, json: &str) -> StatusCode {
    let mut body = format!("csrf={}&subscription=", phone.csrf().await);
    super::super::form::encode(json, &mut body);
    phone.post("/push", &body).await.status
}

fn heard(service: &PushService) -> Value {
    serde_json::from_slice(&decrypt(&service.receive().body).0).unwrap()
}

#[tokio::test]
async fn a_subscribed_phone_hears_of_each_new_call_once() {
    let (devices, service) = (SharedDevices::default(), PushService::start());
    let phone = phone(&devices).await;
    assert!(
        phone
            .get("/")
            .await
            .text
            .contains("<body data-live data-push=\"")
    );
    let json = subscription(&service.endpoint("send/a")).to_json();
    assert_eq!(subscribe(&phone, &json).await, StatusCode::NO_CONTENT);
    phone.ask(&usual());
    phone.app.tell_devices();
    let message = heard(&service);
    assert_eq!(message["item"], usual().id.as_str());
    assert_eq!(message["title"], "Approve \"delete_user\"?");
    assert_eq!(message["body"], "Risk high");
    assert!(
        !message.to_string().contains("90071992547409931"),
        "no arguments"
    );
    let second = item(2, r#"{"name":"delete_user","arguments":{}}"#);
    phone.ask(&second);
    phone.app.tell_devices();
    phone.app.tell_devices();
    assert_eq!(heard(&service)["item"], second.id.as_str());
    let third = item(3, r#"{"name":"delete_user","arguments":{}}"#);
    phone.ask(&third);
    phone.app.tell_devices();
    // Not the second once more.
    assert_eq!(heard(&service)["item"], third.id.as_str());
}

#[tokio::test]
async fn a_page_that_takes_over_repeats_nothing_old() {
    let (devices, service) = (SharedDevices::default(), PushService::start());
    let first = phone(&devices).await;
    let json = subscription(&service.endpoint("send/a")).to_json();
    assert_eq!(subscribe(&first, &json).await, StatusCode::NO_CONTENT);
    first.ask(&usual());
    first.advance(Duration::from_secs(61));
    let new = item(61_000, r#"{"name":"delete_user","arguments":{}}"#);
    first.ask(&new);
    first.app.tell_devices();
    assert_eq!(heard(&service)["item"], new.id.as_str());
}

#[tokio::test]
async fn a_subscription_that_has_ended_is_forgotten() {
    let (devices, service) = (SharedDevices::default(), PushService::start());
    let phone = phone(&devices).await;
    let json = subscription(&service.endpoint("send/a")).to_json();
    assert_eq!(subscribe(&phone, &json).await, StatusCode::NO_CONTENT);
    service.answers("410 Gone");
    phone.ask(&usual());
    phone.app.tell_devices();
    service.receive();
    crate::engines::for_test::eventually(|| {
        phone.app.tell_devices();
        devices.clone().subscriptions(NOW_MS).unwrap().is_empty()
    });
}

#[tokio::test]
async fn only_a_paired_device_subscribes_and_only_to_a_push_service() {
    let devices = SharedDevices::default();
    let mut phone = phone(&devices).await;
    let good = subscription("https://push.example/a").to_json();
    for bad in [
        "{}",
        "nonsense",
        &good.replace("https:", "http:"),
        &good.replace("push.example", "user:pass@push.example"),
    ] {
        assert_eq!(
            subscribe(&phone, bad).await,
            StatusCode::BAD_REQUEST,
            "{bad}"
        );
    }
    assert!(devices.clone().subscriptions(NOW_MS).unwrap().is_empty());
    assert_eq!(
        phone.post("/push", "subscription=").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(subscribe(&phone, &good).await, StatusCode::NO_CONTENT);
    assert_eq!(devices.clone().subscriptions(NOW_MS).unwrap().len(), 1);
    assert_eq!(subscribe(&phone, "").await, StatusCode::NO_CONTENT);
    assert!(devices.clone().subscriptions(NOW_MS).unwrap().is_empty());
    let worker = phone.get("/sw.js").await;
    assert!(worker.header("content-type").starts_with("text/javascript"));
    phone.cookie.clear();
    assert_eq!(
        phone.post("/push", "subscription=").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_page_without_web_push_takes_no_subscriptions() {
    let devices = SharedDevices::default();
    let mut phone = Visitor::phone(&devices, false);
    let code = offer(&devices);
    pair(&mut phone, &code).await;
    assert!(!phone.get("/").await.text.contains("data-push"));
    let good = subscription("https://push.example/a").to_json();
    assert_eq!(subscribe(&phone, &good).await, StatusCode::NOT_FOUND);
    let local = Visitor::logged_in(false).await;
    assert_eq!(
        local.post("/push", "subscription=").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(local.get("/sw.js").await.status, StatusCode::NOT_FOUND);
}
