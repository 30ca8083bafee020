//! Open pages are notified of changes, over real connections.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::{Page, PageSettings, Security, token_hash};
use super::visitor::{Shared, Visitor, item, usual};
use crate::engines::inbox::store::{ApprovalRequests as _, Logins as _, Token};
use crate::sys::clock::Clock;

/// Returns the next event that is not a keep-alive.
async fn next_event(body: &mut Body) -> Option<String> {
    for _ in 0..5 {
        let frame = timeout(Duration::from_secs(60), body.frame())
            .await
            .unwrap()?;
        let data = frame.unwrap().into_data().unwrap();
        if !data.starts_with(b":") {
            return Some(String::from_utf8(data.to_vec()).unwrap());
        }
    }
    panic!("nothing but signs of life")
}

#[tokio::test(start_paused = true)]
async fn a_listener_is_notified_of_own_verdicts_and_of_changes_by_others() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let app = Arc::clone(&visitor.app);
    tokio::spawn(async move { app.watch_store().await });
    let answer = visitor.raw(visitor.request("GET", "/events", "")).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.into_body();
    visitor.decide(&usual(), "choice=deny").await;
    assert_eq!(
        next_event(&mut body).await.unwrap(),
        "event: changed\ndata:\n\n"
    );
    visitor.store.with(|memory| memory.is_changed = true);
    assert!(next_event(&mut body).await.is_some());
    visitor.ask(&item(2, "{}"));
    visitor.advance(Duration::from_secs(600));
    assert!(next_event(&mut body).await.is_some(), "its time is over");
    visitor
        .store
        .with(|memory| memory.broken = Some(crate::engines::inbox::store::ErrorKind::Locked));
    assert!(next_event(&mut body).await.is_some(), "the store fails");
    visitor.store.with(|memory| memory.broken = None);
    assert!(next_event(&mut body).await.is_some(), "and works again");
    visitor.app.changes.end();
    assert_eq!(next_event(&mut body).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_sends_keep_alives() {
    let visitor = Visitor::logged_in(false).await;
    let mut body = visitor
        .raw(visitor.request("GET", "/events", ""))
        .await
        .into_body();
    for _ in 0..5 {
        let frame = timeout(Duration::from_secs(16), body.frame())
            .await
            .unwrap();
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), ":\n\n");
    }
}

/// Opens the largest allowed number of streams.
async fn listen(visitor: &Visitor) -> Vec<Response<Body>> {
    let mut open = Vec::new();
    loop {
        let answer = visitor.raw(visitor.request("GET", "/events", "")).await;
        if answer.status() != StatusCode::OK {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            return open;
        }
        open.push(answer);
    }
}

#[tokio::test]
async fn the_number_of_listeners_is_bounded_and_closed_ones_free_their_slots() {
    let visitor = Visitor::logged_in(false).await;
    let mut open = listen(&visitor).await;
    assert_eq!(open.len(), 8, "of one session");
    let mut others = Vec::new();
    for _ in 0..10 {
        let other = visitor.and_another().await;
        others.push(listen(&other).await);
    }
    let of_others: Vec<usize> = others.iter().map(Vec::len).collect();
    assert_eq!(of_others, [8, 8, 8, 8, 8, 8, 8, 0, 0, 0], "64 of all");
    open.pop();
    assert_eq!(listen(&visitor).await.len(), 1);
    drop(open);
    assert_eq!(listen(&visitor).await.len(), 8);
}

/// Sends text to the page over a new connection, and reads until it is closed.
async fn talk(port: u16, text: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_page_is_served_over_sockets_until_it_is_stopped() {
    let mut store = Shared::default();
    let until = Clock::start().now().unix_ms + 60_000;
    store
        .add_token(Token::Login, &token_hash("in"), until)
        .unwrap();
    store.ask(&usual(), "proxy").unwrap();
    let settings = PageSettings {
        callbacks: Arc::default(),
        instance: [9; 32],
        secret: [1; 32],
        passphrase: None,
        remote: None,
    };
    let page = Page::new(Box::new(store.clone()), Box::new(store), settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        page.serve(listener, &Security::Loopback, stopped).await
    });

    let host = format!("Host: localhost:{port}\r\nConnection: close\r\n");
    let origin = format!("Origin: http://localhost:{port}\r\n");
    let answer = talk(port, &format!("GET / HTTP/1.1\r\n{host}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let answer = talk(
        port,
        &format!("POST /login HTTP/1.1\r\n{host}{origin}Content-Length: 8\r\n\r\ntoken=in"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    let cookie = answer
        .split("set-cookie: ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    // The most cookies that a browser keeps for a host.
    let junk = format!("x={}; ", "x".repeat(4094)).repeat(180);
    let answer = talk(
        port,
        &format!("GET / HTTP/1.1\r\n{host}Cookie: {junk}{cookie}\r\n\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut head = format!("GET / HTTP/1.1\r\n{host}Cookie: ");
    head.extend(std::iter::repeat_n('x', 768 * 1024 - head.len()));
    let answer = talk(port, &head).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    let mut listening = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET /events HTTP/1.1\r\n{host}Cookie: {cookie}\r\n\r\n");
    listening.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    listening.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stop.send(()).unwrap();
    timeout(Duration::from_secs(60), serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let mut rest = Vec::new();
    listening.read_to_end(&mut rest).await.unwrap();
}
