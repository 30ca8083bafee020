use rustls::RootCertStore;
use tokio::net::TcpListener;

use super::*;
use crate::engines::email::for_test::{Does, mail, says, serve, server, takes_all};

async fn open(port: u16, url: &str) -> Result<Connection, Miss> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let (server, peer) = server(port, url);
    Connection::open(&server, &Arc::new(tls), peer).await
}

const WITH_LOGIN: &str = "smtp://bot:PROBE-pass@127.0.0.1:PORT";

async fn send(
    behaviour: impl Fn(&str) -> Does + Send + 'static,
    to: &[&str],
) -> (Result<Taken, Miss>, Vec<String>) {
    let (port, heard) = serve(behaviour).await;
    let sent = match open(port, WITH_LOGIN).await {
        Ok(mut connection) => connection.deliver(&mail(to)).await,
        Err(miss) => Err(miss),
    };
    let heard = heard.lock().unwrap().clone();
    (sent, heard)
}

#[tokio::test]
async fn a_mail_is_sent_after_the_login() {
    let (sent, heard) = send(takes_all, &["a@b.example", "c@d.example"]).await;
    assert!(sent.unwrap().refused.is_empty());
    assert_eq!(
        heard,
        [
            "EHLO [127.0.0.1]",
            "AUTH PLAIN AGJvdABQUk9CRS1wYXNz",
            "MAIL FROM:<bot@mail.example>",
            "RCPT TO:<a@b.example>",
            "RCPT TO:<c@d.example>",
            "DATA",
            "Subject: x",
            "",
            "..",
            "hello",
            "."
        ]
    );
}

#[tokio::test]
async fn the_other_kinds_of_login_work_too() {
    let (sent, heard) = send(
        |command| match command {
            "EHLO [127.0.0.1]" => says("250-m.example\r\n250 AUTH LOGIN"),
            "AUTH LOGIN" => says("334 VXNlcm5hbWU6"),
            "Ym90" => says("334 UGFzc3dvcmQ6"),
            "UFJPQkUtcGFzcw==" => says("235 ok"),
            other => takes_all(other),
        },
        &["a@b.example"],
    )
    .await;
    assert!(sent.is_ok(), "{heard:?}");
    // A server that does not read the response behind the command.
    let (sent, heard) = send(
        |command| match command {
            "AUTH PLAIN AGJvdABQUk9CRS1wYXNz" => says("334 "),
            "AGJvdABQUk9CRS1wYXNz" => says("235 ok"),
            other => takes_all(other),
        },
        &["a@b.example"],
    )
    .await;
    assert!(sent.is_ok(), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_or_hangs_up_at_any_step_is_given_up() {
    for at in ["", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "."] {
        for hangs in [true, false] {
            let (sent, _) = send(
                move |command| match command.split([' ', ':']).next().unwrap() == at {
                    true if hangs => Does::Hangs,
                    true => Does::Closes,
                    false => takes_all(command),
                },
                &["a@b.example"],
            )
            .await;
            let miss = sent.unwrap_err();
            assert_eq!(miss.failure.kind, FailureKind::Unreachable, "{at}");
            // Only at the end it may have the mail.
            assert_eq!(miss.may_have_arrived, at == ".", "{at}: {miss:?}");
            assert_eq!(miss.is_retryable, at != ".", "{at}: {miss:?}");
        }
    }
}

#[tokio::test]
async fn what_the_server_says_is_quoted_without_the_password() {
    for (at, reply, kind, is_retryable) in [
        ("", "554 no", FailureKind::Rejected, false),
        ("", "421 later", FailureKind::Unreachable, true),
        (
            "AUTH",
            "535 5.7.8 bad AGJvdABQUk9CRS1wYXNz PROBE-pass",
            FailureKind::Misconfigured,
            false,
        ),
        (
            "MAIL",
            "530 5.7.0 log in",
            FailureKind::Misconfigured,
            false,
        ),
        (
            "RCPT",
            "550 5.1.1 no such user",
            FailureKind::Rejected,
            false,
        ),
        ("RCPT", "450 4.2.1 busy", FailureKind::RateLimited, true),
        ("RCPT", "421 4.3.2 closing", FailureKind::Unreachable, true),
        ("DATA", "554 none", FailureKind::Rejected, false),
        (".", "451 try later", FailureKind::Unreachable, true),
        (".", "552 too large", FailureKind::Rejected, false),
    ] {
        let (sent, _) = send(
            move |command| match command.split([' ', ':']).next().unwrap() == at {
                true => says(reply),
                false => takes_all(command),
            },
            &["a@b.example"],
        )
        .await;
        let miss = sent.unwrap_err();
        let why = &miss.failure.why;
        assert_eq!(miss.failure.kind, kind, "{why}");
        assert_eq!(miss.is_retryable, is_retryable, "{why}");
        assert!(!miss.may_have_arrived, "it said that it has not: {why}");
        assert!(
            why.starts_with("127.0.0.1:") && why.contains(reply.get(..3).unwrap()),
            "{why}"
        );
        assert!(!why.contains("PROBE") && !why.contains("AGJv"), "{why}");
    }
}

#[tokio::test]
async fn who_is_refused_does_not_keep_the_others_from_their_mail() {
    let refuses = |command: &str| match command {
        "RCPT TO:<gone@b.example>" => says("550 5.1.1 no such user"),
        "RCPT TO:<busy@b.example>" => says("450 4.2.1 busy"),
        other => takes_all(other),
    };
    let (sent, heard) = send(refuses, &["gone@b.example", "a@b.example"]).await;
    let refused = sent.unwrap().refused;
    assert!(
        refused.len() == 1 && refused[0].contains("gone@b.example"),
        "{refused:?}"
    );
    assert!(refused[0].contains("no such user"), "{refused:?}");
    assert!(heard.contains(&"DATA".to_owned()));
    // If all are refused, it is tried again if that may help anybody.
    let (sent, heard) = send(refuses, &["gone@b.example", "busy@b.example"]).await;
    let miss = sent.unwrap_err();
    assert!(
        miss.is_retryable && miss.failure.why.contains("450"),
        "{miss:?}"
    );
    assert!(!heard.contains(&"DATA".to_owned()));
}

#[tokio::test]
async fn a_server_that_hides_starttls_hears_nothing_of_it() {
    let url = "smtp://bot:PROBE-pass@127.0.0.1:PORT?starttls=required";
    let (port, heard) = serve(takes_all).await;
    let miss = open(port, url).await.err().unwrap();
    assert_eq!(miss.failure.kind, FailureKind::Misconfigured);
    assert!(
        !miss.is_retryable && miss.failure.why.contains("STARTTLS"),
        "{miss:?}"
    );
    assert_eq!(*heard.lock().unwrap(), ["EHLO [127.0.0.1]"]);
}

#[tokio::test]
async fn what_is_said_before_tls_does_not_count_after_it() {
    let url = "smtp://bot:PROBE-pass@127.0.0.1:PORT?starttls=required";
    let (port, heard) = serve(|command| match command {
        "EHLO [127.0.0.1]" => says("250-m.example\r\n250 STARTTLS"),
        "STARTTLS" => says("220 go\r\n250-m.example\r\n250 AUTH PLAIN\r\n235 ok"),
        other => takes_all(other),
    })
    .await;
    let miss = open(port, url).await.err().unwrap();
    assert!(miss.failure.why.contains("before TLS"), "{miss:?}");
    assert_eq!(*heard.lock().unwrap(), ["EHLO [127.0.0.1]", "STARTTLS"]);
}

#[tokio::test]
async fn a_server_that_cannot_take_the_login_does_not_get_it() {
    let (sent, heard) = send(
        |command| match command.starts_with("EHLO") {
            true => says("250-m.example\r\n250 AUTH XOAUTH2 CRAM-MD5"),
            false => takes_all(command),
        },
        &["a@b.example"],
    )
    .await;
    let miss = sent.unwrap_err();
    assert_eq!(miss.failure.kind, FailureKind::Misconfigured);
    assert_eq!(heard, ["EHLO [127.0.0.1]"]);
}

#[tokio::test]
async fn an_answer_without_end_is_not_kept() {
    for (answer, words) in [
        ("x".repeat(100_000), "more than"),
        ("250-x\r\n".repeat(20_000), "more than"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(), "mail server"),
        ("\u{0}\r\n".to_owned(), "mail server"),
    ] {
        let (sent, _) = send(
            move |command| match command.is_empty() {
                true => Does::Says(answer.clone()),
                false => takes_all(command),
            },
            &["a@b.example"],
        )
        .await;
        let why = sent.unwrap_err().failure.why;
        assert!(why.contains(words) && why.len() < 200, "{why}");
    }
}

#[tokio::test]
async fn nobody_who_listens_is_a_failure_at_once() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let miss = open(port, WITH_LOGIN).await.err().unwrap();
    assert_eq!(miss.failure.kind, FailureKind::Unreachable);
    assert!(
        miss.is_retryable && miss.failure.why.contains("cannot be reached"),
        "{miss:?}"
    );
}
