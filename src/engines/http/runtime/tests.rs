//! What starts, and when, and how long connecting may take.

use std::net::TcpListener;
use std::sync::mpsc::channel;

use super::*;
use crate::engines::http::{Exchange, Scrub, TransportSettings};
use crate::gate::{EngineId, Retry};
use crate::sys::clock::Clock;

#[test]
fn nothing_starts_before_the_first_task() {
    let runtime = HttpRuntime::default();
    assert!(!runtime.is_running());
    let (sender, ran) = channel();
    let task = runtime.spawn(async move {
        let _ = sender.send(std::thread::current().name().map(str::to_owned));
    });
    assert!(task.is_ok());
    let name = ran.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(name.as_deref(), Some("engines-http"));
}

#[test]
fn a_dropped_task_is_cancelled_and_makes_room() {
    let runtime = HttpRuntime::default();
    let forever = || runtime.spawn(std::future::pending());
    let mut tasks: Vec<Task> = (0..MAX_TASKS).map(|_| forever().unwrap()).collect();
    assert_eq!(forever().unwrap_err().kind, FailureKind::RateLimited);
    tasks.pop();
    crate::engines::for_test::eventually(|| forever().is_ok());
}

#[test]
fn a_tls_handshake_that_does_not_go_on_is_given_up() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let url = Url::parse(&url).unwrap();
    let runtime = HttpRuntime::default().with_connect_time(Duration::from_millis(200));
    let transport = TransportSettings {
        retry: Retry {
            attempts: 0,
            ..Retry::default()
        },
        ..TransportSettings::default()
    };
    let runtime = Arc::new(runtime);
    let exchange = Exchange {
        engine: EngineId::new("x"),
        runtime: Arc::clone(&runtime),
        transport: Arc::new(transport),
        scrub: Arc::new(Scrub::default()),
        redaction: crate::evidence::redact::Redaction::default(),
        clock: Clock::start(),
        limit: None,
    };
    let sent = runtime.wait(Duration::from_secs(20), async move {
        let request = || Ok(reqwest::Request::new(reqwest::Method::GET, url.clone()));
        exchange.send(request).await.map(|sent| sent.map(|_| ()))
    });
    let failure = sent.unwrap().unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable, "{}", failure.why);
    drop(silent);
}
