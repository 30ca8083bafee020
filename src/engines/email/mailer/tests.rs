use std::time::Duration;

use super::*;
use crate::engines::email::for_test::{Does, Heard, mail, says, serve, server, takes_all};
use crate::engines::for_test::context;
use crate::engines::http::Scrub;

/// A mailer whose server does this, what sends about a question, and what the server hears.
async fn mailer(
    behaviour: impl Fn(&str) -> Does + Send + 'static,
    limit: Option<Duration>,
) -> (Arc<Mailer>, Exchange, Heard) {
    let (port, heard) = serve(behaviour).await;
    let (server, peer) = server(port, "smtp://127.0.0.1:PORT");
    let peer = Arc::into_inner(peer).unwrap();
    let exchange = Exchange::new(&context("email"), &Arc::new(Scrub::default()), limit);
    (Arc::new(Mailer::new(server, peer)), exchange, heard)
}

/// Sends a mail that nobody stops.
async fn send(mailer: &Mailer, exchange: &Exchange) -> Sent {
    let mut never = std::future::pending::<()>();
    mailer
        .send(exchange, &mail(&["a@b.example"]), &mut never)
        .await
}

#[tokio::test]
async fn a_question_that_is_over_before_its_turn_sends_no_mail() {
    let (mailer, exchange, heard) = mailer(takes_all, None).await;
    let turn = mailer.turn().await;
    let (over, mut ended) = tokio::sync::oneshot::channel::<()>();
    let waiting = Arc::clone(&mailer);
    let task = tokio::spawn(async move {
        let mail = mail(&["a@b.example"]);
        waiting.send(&exchange, &mail, &mut ended).await
    });
    while mailer.waiting.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    over.send(()).unwrap();
    assert!(matches!(task.await.unwrap(), Sent::Dropped));
    assert_eq!(mailer.waiting.load(Ordering::Relaxed), 0);
    drop(turn);
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn mails_that_wait_share_the_connection_and_the_last_one_closes_it() {
    let (mailer, exchange, heard) = mailer(takes_all, None).await;
    let turn = mailer.turn().await;
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let (mailer, exchange) = (Arc::clone(&mailer), exchange.clone());
            tokio::spawn(async move { send(&mailer, &exchange).await })
        })
        .collect();
    while mailer.waiting.load(Ordering::Relaxed) < 3 {
        tokio::task::yield_now().await;
    }
    drop(turn);
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Sent::Taken(_)));
    }
    assert!(mailer.connection.lock().await.is_none());
    let heard = heard.lock().unwrap();
    let count = |word: &str| heard.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!((count("EHLO"), count("MAIL"), count("QUIT")), (1, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn tries_end_with_the_time_of_the_question() {
    let refuses = |command: &str| match command.starts_with("MAIL") {
        true => says("451 try later"),
        false => takes_all(command),
    };
    let (mailer, exchange, _) = mailer(refuses, Some(Duration::ZERO)).await;
    let sent = send(&mailer, &exchange).await;
    // The gate has the same limit. It says what follows.
    assert!(matches!(sent, Sent::Dropped));
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_may_have_been_taken_is_sent_once() {
    let hangs = |command: &str| match command {
        "." => Does::Hangs,
        _ => takes_all(command),
    };
    let (mailer, exchange, heard) = mailer(hangs, None).await;
    let Sent::Failed(failure) = send(&mailer, &exchange).await else {
        panic!("it is not known to be taken");
    };
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(failure.why.contains("may have taken"), "{}", failure.why);
    let heard = heard.lock().unwrap();
    assert_eq!(heard.iter().filter(|line| *line == "DATA").count(), 1);
}
