//! Sending, to a push service on this machine that decrypts.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use reqwest::{Certificate, ClientBuilder, dns::Resolve as _};
use serde_json::Value;
use tempfile::TempDir;

use super::identifying::verified;
use super::service::{CA, PushService, Received};
use super::user_agent::{decrypt, subscription};
use crate::engines::HttpRuntime;
use crate::engines::for_test::{DEADLINE, eventually, item};
use crate::engines::inbox::push::addresses::Addresses;
use crate::engines::inbox::push::{ApplicationServerKey, Forget, Notice, Sender};
use crate::engines::inbox::remote::PageUrl;
use crate::gate::Retry;
use crate::policy::Risk;
use crate::sys::clock::unix_ms;
use crate::sys::net::is_public_address;
use crate::sys::state_dir::{StateDir, for_test};

/// A sender whose names lead to this machine.
struct Scene {
    service: PushService,
    sender: Sender,
    runtime: Arc<HttpRuntime>,
    /// Devices whose subscription is gone, with its path.
    gone: Receiver<(String, String)>,
    _state: TempDir,
}

impl Scene {
    fn new() -> Scene {
        // As if this machine were on the public Internet.
        Scene::with(&["127.0.0.1"], |address| {
            address == IpAddr::V4(Ipv4Addr::LOCALHOST) || is_public_address(address)
        })
    }

    fn with(addresses: &[&str], may: fn(IpAddr) -> bool) -> Scene {
        let (state, dir) = for_test();
        let (sender, gone) = channel();
        let runtime = Arc::new(HttpRuntime::default());
        let retry = Retry {
            attempts: 2,
            initial_backoff: Duration::from_millis(1),
            ..Retry::default()
        };
        let names = ["push.example", "other.example"].map(|name| (name, addresses));
        let sender = Sender::with_addresses(
            Arc::clone(&runtime),
            ApplicationServerKey::load(&dir).unwrap(),
            PageUrl::read("https://phone.example").unwrap(),
            retry,
            Box::new(move |device, subscription| {
                let path = subscription.endpoint().path().to_owned();
                sender.send((device.to_owned(), path)).unwrap();
            }),
            Addresses::for_test(&names, may),
            trusting,
        );
        Scene {
            service: PushService::start(),
            sender,
            runtime,
            gone,
            _state: state,
        }
    }

    /// Sends a notice about the item to the device `phone`, which has subscribed at this path.
    fn sends(&self, path: &str, id: &str) {
        let subscription = subscription(&self.service.endpoint(path));
        self.sender
            .send("phone", &subscription, Notice::about(&item(id), unix_ms()));
    }

    /// Waits for a request, and returns the beginning of the id of its item.
    fn hears_of(&self) -> String {
        message(&self.service.receive())["item"]
            .as_str()
            .map(|id| id.trim_end_matches('0').to_owned())
            .unwrap()
    }

    /// Waits until nothing is waiting to be sent.
    fn is_done(&self) {
        eventually(|| self.sender.is_idle());
    }
}

/// Returns a sender that takes the push service of these tests for one on the Internet.
pub(in crate::engines::inbox) fn local_sender(dir: &StateDir, forget: Forget) -> Sender {
    Sender::with_addresses(
        Arc::default(),
        ApplicationServerKey::load(dir).unwrap(),
        PageUrl::read("https://phone.example").unwrap(),
        Retry::default(),
        forget,
        Addresses::for_test(&[("push.example", &["127.0.0.1"])], |_| true),
        trusting,
    )
}

fn trusting(builder: ClientBuilder) -> ClientBuilder {
    builder.tls_certs_only([Certificate::from_pem(CA).unwrap()])
}

fn message(request: &Received) -> Value {
    serde_json::from_slice(&decrypt(&request.body).0).unwrap()
}

#[test]
fn a_notice_reaches_the_user_agent_and_tells_the_push_service_nothing() {
    let scene = Scene::new();
    assert!(!scene.runtime.is_running());
    let mut item = item("a1");
    item.expires_ms = Some(unix_ms() + 100_500);
    let subscription = subscription(&scene.service.endpoint("send/abc?x=1"));
    scene
        .sender
        .send("phone", &subscription, Notice::about(&item, unix_ms()));
    let request = scene.service.receive();

    assert_eq!(request.line, "POST /send/abc?x=1 HTTP/1.1");
    let header = |name: &str| request.headers[name].as_str();
    assert_eq!(header("content-encoding"), "aes128gcm");
    assert_eq!(header("urgency"), "high");
    let ttl: u64 = header("ttl").parse().unwrap();
    assert!((90..=100).contains(&ttl), "{ttl}");
    assert_eq!(header("topic").len(), 32);
    let (_, claims, key) = verified(header("authorization"));
    let origin = format!("https://push.example:{}", scene.service.port());
    assert_eq!(claims["aud"], origin);
    assert_eq!(claims["sub"], "https://phone.example/");
    let ahead = claims["exp"].as_i64().unwrap() - unix_ms() / 1_000;
    assert!((42_000..=43_200).contains(&ahead), "{ahead}");
    assert_eq!(key, scene.sender.public_key());

    let message = message(&request);
    assert_eq!(message["title"], "Approve \"drop_table\"?");
    assert_eq!(message["body"], "Risk high");
    assert_eq!(message["item"], item.id);
    for (name, value) in &request.headers {
        let is_told = value.contains("drop_table") || value.contains(&item.id);
        assert!(!is_told, "{name}: {value}");
    }
    scene.is_done();
    assert!(scene.service.has_no_more());
}

#[test]
fn a_message_about_another_item_has_another_topic_and_the_same_length() {
    let scene = Scene::new();
    let mut harmless = item("b2");
    (harmless.tool, harmless.risk) = ("x".to_owned(), Risk::Low);
    let subscription = subscription(&scene.service.endpoint("1"));
    for item in [&item("a1"), &harmless, &item("a1")] {
        scene
            .sender
            .send("phone", &subscription, Notice::about(item, unix_ms()));
        scene.is_done();
    }
    let [first, second, third] = [(); 3].map(|()| scene.service.receive());
    assert_eq!(first.headers["topic"], third.headers["topic"]);
    assert_ne!(first.headers["topic"], second.headers["topic"]);
    assert_eq!(second.headers["urgency"], "normal");
    assert_eq!(first.body.len(), second.body.len());
    // One connection is enough.
    assert_eq!(scene.service.connections(), 1);
}

#[test]
fn a_redirect_is_not_followed() {
    let scene = Scene::new();
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let location = scene.service.endpoint("elsewhere");
        scene
            .service
            .answers(&format!("{status}\r\nLocation: {location}"));
        scene.sends("1", "a1");
        assert_eq!(scene.service.receive().line, "POST /1 HTTP/1.1");
        scene.is_done();
        assert!(scene.service.has_no_more(), "{status}");
    }
}

#[test]
fn a_name_with_a_private_address_is_not_connected_to() {
    for addresses in [
        &["127.0.0.1"][..],
        &["1.1.1.1", "127.0.0.1"],
        &["127.0.0.1", "1.1.1.1"],
    ] {
        let scene = Scene::with(addresses, is_public_address);
        scene.sends("1", "a1");
        scene.is_done();
        assert_eq!(scene.service.connections(), 0, "{addresses:?}");
    }
}

#[tokio::test]
async fn a_name_resolves_only_if_all_of_its_addresses_are_public() {
    let resolved = async |texts: &[&str]| {
        let addresses = Addresses::for_test(&[("push.example", texts)], is_public_address);
        let found = addresses.resolve("push.example".parse().unwrap()).await;
        found.map(Iterator::count).ok()
    };
    assert_eq!(resolved(&["1.1.1.1", "2606:4700::1111"]).await, Some(2));
    for private in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "fd00::1",
        "::ffff:10.0.0.1",
    ] {
        assert_eq!(resolved(&[private]).await, None, "{private}");
        assert_eq!(resolved(&["1.1.1.1", private]).await, None, "{private}");
    }
    let localhost = Addresses::public().resolve("localhost".parse().unwrap());
    assert!(localhost.await.is_err());
}

#[test]
fn a_push_service_must_prove_its_name() {
    let scene = Scene::new();
    let endpoint = format!("https://other.example:{}/1", scene.service.port());
    let notice = Notice::about(&item("a1"), unix_ms());
    scene.sender.send("phone", &subscription(&endpoint), notice);
    scene.is_done();
    assert!(scene.service.connections() > 0);
    assert!(scene.service.has_no_more());
}

#[test]
fn a_subscription_that_is_gone_is_reported_and_gets_nothing_more() {
    for status in ["404 Not Found", "410 Gone"] {
        let scene = Scene::new();
        let release = scene.service.holds(status);
        scene.sends("1", "a1");
        assert_eq!(scene.hears_of(), "a1");
        scene.sends("1", "b2");
        drop(release);
        let gone = scene.gone.recv_timeout(DEADLINE).unwrap();
        assert_eq!(gone, ("phone".to_owned(), "/1".to_owned()));
        scene.is_done();
        assert!(scene.service.has_no_more(), "{status}");
    }
}

#[test]
fn a_device_that_has_subscribed_again_gets_what_waits() {
    let scene = Scene::new();
    let release = scene.service.holds("410 Gone");
    scene.sends("old", "a1");
    assert_eq!(scene.service.receive().line, "POST /old HTTP/1.1");
    scene.sends("new", "b2");
    drop(release);
    let gone = scene.gone.recv_timeout(DEADLINE).unwrap();
    assert_eq!(gone, ("phone".to_owned(), "/old".to_owned()));
    // What the old one did not take is still worth knowing.
    let [first, second] = [(); 2].map(|()| scene.service.receive());
    assert_eq!(first.line, "POST /new HTTP/1.1");
    assert_eq!(message(&first)["item"], item("a1").id);
    assert_eq!(message(&second)["item"], item("b2").id);
    scene.is_done();
    assert!(scene.gone.try_recv().is_err());
}

#[test]
fn an_overloaded_push_service_is_asked_again_a_few_times() {
    let scene = Scene::new();
    scene.service.answers("503 Unavailable");
    scene
        .service
        .answers("429 Too Many Requests\r\nRetry-After: 0");
    scene.sends("1", "a1");
    let [first, second, third] = [(); 3].map(|()| scene.service.receive());
    assert_eq!(first.headers["topic"], second.headers["topic"]);
    // A key and a salt are used once.
    assert_ne!(first.body, second.body);
    assert_eq!(message(&third), message(&first));
    scene.is_done();

    for _ in 0..3 {
        scene.service.answers("500 Broken");
    }
    scene.sends("1", "b2");
    scene.sends("1", "c3");
    let heard: Vec<String> = (0..4).map(|_| scene.hears_of()).collect();
    assert_eq!(heard, ["b2", "b2", "b2", "c3"]);
    scene.is_done();
    assert!(scene.service.has_no_more());
}

#[test]
fn a_refused_message_is_not_sent_again() {
    let scene = Scene::new();
    for status in ["400 Bad", "401 Who", "403 No", "413 Too Large"] {
        scene.service.answers(status);
        scene.sends("1", "a1");
        assert_eq!(scene.hears_of(), "a1");
        scene.sends("1", "b2");
        assert_eq!(scene.hears_of(), "b2");
        scene.is_done();
        assert!(scene.service.has_no_more(), "{status}");
    }
    assert!(scene.gone.try_recv().is_err());
}

#[test]
fn ten_notices_wait_for_a_device_and_the_oldest_gives_way() {
    let scene = Scene::new();
    let release = scene.service.holds("201 Created");
    scene.sends("1", "a1");
    assert_eq!(scene.hears_of(), "a1");
    let ids: Vec<String> = (1..=12).map(|n| format!("{n}f")).collect();
    ids.iter().for_each(|id| scene.sends("1", id));
    scene.sender.withdraw(&item("5f").id);
    drop(release);
    let heard: Vec<String> = (0..9).map(|_| scene.hears_of()).collect();
    let expected: Vec<&String> = ids[2..].iter().filter(|id| *id != "5f").collect();
    assert_eq!(heard.iter().collect::<Vec<_>>(), expected);
    scene.is_done();
    assert!(scene.service.has_no_more());
}

#[test]
fn a_forgotten_device_and_a_dropped_sender_cancel_what_is_on_its_way() {
    let scene = Scene::new();
    let release = scene.service.holds("503 Unavailable");
    scene.sends("1", "a1");
    assert_eq!(scene.hears_of(), "a1");
    scene.sends("1", "b2");
    scene.sender.forget("phone");
    drop(release);
    eventually(|| scene.service.closed() == 1);
    assert!(scene.sender.is_idle() && scene.service.has_no_more());

    let Scene {
        service, sender, ..
    } = scene;
    let release = service.holds("503 Unavailable");
    let notice = Notice::about(&item("c3"), unix_ms());
    sender.send("phone", &subscription(&service.endpoint("1")), notice);
    service.receive();
    drop(sender);
    drop(release);
    eventually(|| service.closed() == 2);
    assert!(service.has_no_more());
}

#[test]
fn what_is_too_late_is_not_sent() {
    let scene = Scene::new();
    let mut late = item("a1");
    late.expires_ms = Some(unix_ms() - 1);
    let subscription = subscription(&scene.service.endpoint("1"));
    scene
        .sender
        .send("phone", &subscription, Notice::about(&late, unix_ms()));
    scene.sends("1", "b2");
    assert_eq!(scene.hears_of(), "b2");
    scene.is_done();
    assert!(scene.service.has_no_more());
}
