//! The engine `email` against a fake mail server, with and without TLS.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::smtp::{Certificate, Fault, LOGIN, PASSWORD, Protection, Smtp, engine};
use super::support::{OddServer, ProxyTest, Session, eventually, response};

/// Long enough for a mistake to show.
const A_MOMENT: Duration = Duration::from_millis(400);
/// A tool of risk medium, and one of risk high.
const MEDIUM: &str = "write_file";
const HIGH: &str = "wipe";
/// What links say. The page of a test listens elsewhere.
const PAGE: &str = "http://127.0.0.1:47110";

/// A proxy with these engines, whose mail server is `url`.
fn proxy(engines: Value, url: &str) -> ProxyTest {
    let section = json!({
        "engines": engines,
        "inbox": {"pageUrl": PAGE},
        "approvalRetryAttempts": 1,
        "approvalRetryInitialBackoffSeconds": 0.05,
        "approvalRetryMaxBackoffSeconds": 0.1,
    });
    ProxyTest::with_inbox().env("MAIL", url).section(section)
}

fn start(server: &Smtp) -> Session {
    let url = server.url("smtp", "", "");
    proxy(json!([engine()]), &url).start_without_elicitation()
}

/// A service that always approves, to be asked next.
fn next_engine() -> (OddServer, Value) {
    let yes = r#"{"action":"accept","content":{"approved":true}}"#;
    let service = OddServer::start(move |_| response(200, &[], yes));
    let engine = json!({"type": "webhook", "url": service.url("/ask")});
    (service, engine)
}

/// Makes a call that the engine cannot ask about. Returns how it failed, and all that the proxy said and wrote.
fn failure(url: &str, server: &Smtp, env: &[(&str, &str)]) -> (Value, String) {
    let (_service, next) = next_engine();
    let mut test = proxy(json!([engine(), next]), url);
    for (name, value) in env {
        test = test.env(name, value);
    }
    let mut session = test.start_without_elicitation();
    let id = session.call(MEDIUM, json!({}));
    session.expect_ran(id);
    assert_eq!(session.decision(MEDIUM)["engine"], "webhook");
    let log = session.log();
    let failed = log.iter().find(|line| line["event"] == "engine_failed");
    let failed = failed.unwrap().clone();
    let all = format!("{} {log:?}", session.stderr());
    assert!(!all.contains("PROBE-mail"), "{all}");
    assert_eq!(server.mails().len(), 0);
    session.finish();
    (failed, all)
}

/// Checks that nobody has decided.
fn still_waits(session: &mut Session) {
    std::thread::sleep(A_MOMENT);
    session.sync();
    let mut all = session.decisions();
    all.retain(|line| line["decision"] != "passed");
    assert!(all.is_empty(), "{all:?}");
}

#[test]
fn a_mail_leads_to_the_page_and_a_second_one_says_how_it_ended() {
    let server = Smtp::start();
    let mut session = start(&server);
    session.passes("read", json!({}));
    assert_eq!(
        server.connections(),
        0,
        "nothing connects before a question"
    );
    let id = session.call(HIGH, json!({"mark": "mark-one", "password": "hunter2-XK"}));
    let asked = server.mail(1);
    assert_eq!(asked.from, "bot@mail.example");
    assert_eq!(asked.to, ["olga@people.example"]);
    let item = session.terminal().wait_for_item(HIGH);
    for part in [asked.part("text/plain"), asked.part("text/html")] {
        for word in ["wipe", "box", "mark-one", &format!("{PAGE}/item/{item}")] {
            assert!(part.contains(word), "{word}: {part}");
        }
        assert!(!part.contains("hunter2"), "{part}");
    }
    let subject = asked.header("Subject").unwrap();
    assert_eq!(subject, r#"Risk high: "wipe" on "box""#);
    assert_eq!(asked.header("Auto-Submitted").unwrap(), "auto-generated");
    let thread = asked.header("Message-ID").unwrap();
    assert!(
        thread.ends_with("@mail.example>") && thread.len() == 47,
        "{thread}"
    );
    assert_eq!(asked.header("In-Reply-To"), None);
    still_waits(&mut session);
    eventually("the connection is closed", || server.open().0 == 0);

    let denied = session
        .terminal()
        .approvals(&["deny", &item, "--reason", "no, OPS-12 <b>"]);
    assert_eq!(denied.code, Some(0), "{denied:?}");
    assert!(session.refusal(id).contains("OPS-12"));
    let told = server.mail(2);
    for name in ["In-Reply-To", "References"] {
        assert_eq!(told.header(name).unwrap(), thread);
    }
    assert_ne!(told.header("Message-ID").unwrap(), thread);
    assert_eq!(told.header("Subject").unwrap(), format!("Re: {subject}"));
    let (text, html) = (told.part("text/plain"), told.part("text/html"));
    assert!(
        text.contains("Denied") && text.contains("OPS-12 <b>"),
        "{text}"
    );
    assert!(text.contains(r#"through "inbox""#), "{text}");
    assert!(html.contains("OPS-12 &lt;b&gt;"), "{html}");
    assert_eq!(session.decision(HIGH)["engine"], "inbox");
    session.finish();
}

#[test]
fn each_question_has_a_thread_and_one_connection_is_open_at_a_time() {
    let server = Smtp::start();
    let mut session = start(&server);
    let calls: Vec<u64> = (0..6)
        .map(|n| session.call(MEDIUM, json!({ "n": n })))
        .collect();
    eventually("all mails", || server.mails().len() == calls.len());
    let items = session.terminal().wait_for_items(calls.len());
    for item in &items {
        session.terminal().approve(item["id"].as_str().unwrap());
    }
    calls.into_iter().for_each(|call| session.expect_ran(call));
    eventually("all second mails", || server.mails().len() == 12);
    let (asked, told): (Vec<_>, Vec<_>) = server
        .mails()
        .into_iter()
        .partition(|mail| mail.header("In-Reply-To").is_none());
    let mut threads: Vec<_> = asked.iter().map(|mail| mail.header("Message-ID")).collect();
    let mut answered: Vec<_> = told.iter().map(|mail| mail.header("In-Reply-To")).collect();
    threads.sort();
    answered.sort();
    assert_eq!(threads, answered);
    threads.dedup();
    assert_eq!(threads.len(), 6);
    eventually("it is closed", || server.open().0 == 0);
    assert_eq!(server.open().1, 1, "one at a time");
    session.finish();
}

#[test]
fn a_question_that_nobody_answers_is_refused_and_the_mail_says_so() {
    let server = Smtp::start();
    let mut asks = engine();
    asks["timeout"] = json!(1);
    let url = server.url("smtp", "", "");
    let mut session = proxy(json!([asks]), &url).start_without_elicitation();
    let id = session.call(MEDIUM, json!({}));
    session.refusal(id);
    let told = server.mail(2);
    assert!(
        told.part("text/plain").contains("Nobody decided in time"),
        "{told:?}"
    );
    assert_eq!(session.runs_of(MEDIUM), 0);
    session.finish();
}

#[test]
fn the_end_of_the_proxy_does_not_keep_people_waiting_for_it() {
    let server = Smtp::start();
    let mut session = start(&server);
    session.call(MEDIUM, json!({}));
    server.mail(1);
    session.close_stdin();
    let (_, took) = session.exit();
    assert!(took < Duration::from_secs(3), "{took:?}");
    let told = server.mail(2);
    assert!(told.part("text/plain").contains("Withdrawn"), "{told:?}");
    // And a server that hangs does not keep the proxy.
    let server = Smtp::start();
    let mut session = start(&server);
    session.call(MEDIUM, json!({}));
    server.mail(1);
    server.fails("EHLO", Fault::Hangs, 9);
    session.close_stdin();
    let (_, took) = session.exit();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_refused_recipient_fails_the_engine_and_says_what_the_server_said() {
    let server = Smtp::start();
    server.fails("RCPT", Fault::Says("550 5.1.1 no such user"), 1);
    let (failed, all) = failure(&server.url("smtp", "", ""), &server, &[]);
    assert_eq!(failed["kind"], "rejected", "{failed}");
    assert!(all.contains("550") && all.contains("no such user"), "{all}");
    assert_eq!(server.count("DATA"), 0);
}

#[test]
fn who_is_refused_does_not_keep_the_others_from_their_mail() {
    let server = Smtp::start();
    let mut asks = engine();
    asks["to"] = json!(["gone@people.example", "Olga <olga@people.example>"]);
    let url = server.url("smtp", "", "");
    let mut session = proxy(json!([asks]), &url).start_without_elicitation();
    let id = session.call(MEDIUM, json!({}));
    assert_eq!(server.mail(1).to, ["olga@people.example"]);
    session.stderr_says("did not reach `gone@people.example`");
    let item = session.terminal().wait_for_item(MEDIUM);
    session.terminal().approve(&item);
    session.expect_ran(id);
    let log = session.log();
    assert!(
        log.iter().all(|line| line["event"] != "engine_failed"),
        "{log:?}"
    );
    session.finish();
}

#[test]
fn a_failure_that_passes_is_tried_again() {
    for (command, fault) in [
        ("", Fault::Says("421 4.3.2 too busy")),
        ("", Fault::HangsUp),
        ("EHLO", Fault::HangsUp),
        ("MAIL", Fault::Says("451 4.3.0 try later")),
        ("RCPT", Fault::Says("450 4.2.1 wait")),
        ("DATA", Fault::HangsUp),
        (".", Fault::Says("451 4.3.0 try later")),
    ] {
        let server = Smtp::start();
        server.fails(command, fault, 1);
        let mut session = start(&server);
        session.call(MEDIUM, json!({}));
        server.mail(1);
        assert_eq!(server.connections(), 2, "{command}");
        still_waits(&mut session);
        session.close_stdin();
    }
}

#[test]
fn a_failure_that_stays_has_a_kind_and_the_next_engine_is_asked() {
    for (command, reply, kind) in [
        ("", "421 4.3.2 too busy", "unreachable"),
        ("MAIL", "421 4.7.0 too fast", "rate-limited"),
        ("RCPT", "450 4.2.1 wait", "rate-limited"),
        ("MAIL", "553 5.7.1 not your address", "rejected"),
        ("MAIL", "530 5.7.0 log in", "misconfigured"),
        (".", "554 5.7.1 looks like spam", "rejected"),
    ] {
        let server = Smtp::start();
        server.fails(command, Fault::Says(reply), 2);
        let (failed, all) = failure(&server.url("smtp", "", ""), &server, &[]);
        assert_eq!(failed["kind"], kind, "{reply}");
        assert!(all.contains(&reply[..3]), "{all}");
    }
    let server = Smtp::start();
    let (failed, _) = failure("smtp://127.0.0.1:1", &server, &[]);
    assert_eq!(failed["kind"], "unreachable");
}

#[test]
fn a_mail_that_may_have_been_taken_is_not_sent_again() {
    let server = Smtp::start();
    server.fails(".", Fault::HangsUp, 1);
    let (_service, next) = next_engine();
    let url = server.url("smtp", "", "");
    let mut session = proxy(json!([engine(), next]), &url).start_without_elicitation();
    let id = session.call(MEDIUM, json!({}));
    session.expect_ran(id);
    session.stderr_says("may have taken the mail");
    std::thread::sleep(A_MOMENT);
    assert_eq!((server.mails().len(), server.connections()), (1, 1));
    let log = session.log();
    let failed = log.iter().find(|line| line["event"] == "engine_failed");
    assert_eq!(failed.unwrap()["kind"], "unreachable");
    session.finish();
}

#[test]
fn a_wrong_password_is_said_without_quoting_it() {
    let server = Smtp::with_login(Protection::None, None);
    let wrong = "bot:PROBE-mail-wrong@";
    let (failed, all) = failure(&server.url("smtp", wrong, ""), &server, &[]);
    assert_eq!(failed["kind"], "misconfigured");
    assert!(
        all.contains("535") && all.contains("password in `smtp`"),
        "{all}"
    );
    assert!(!all.contains("AGJvdABQUk9CRS1tYWls"), "in base64: {all}");
    assert_eq!(server.count("AUTH"), 1, "not tried again");
}

#[test]
fn with_tls_the_login_and_the_mail_are_protected() {
    let Some(certificate) = Certificate::new() else {
        return;
    };
    for (protection, scheme, query) in [
        (Protection::Tls, "smtps", ""),
        (Protection::StartTls, "smtp", "?starttls=required"),
    ] {
        let server = Smtp::with_login(protection, Some(&certificate));
        let url = server.url(scheme, LOGIN, query);
        let test = proxy(json!([engine()]), &url)
            .env("SSL_CERT_FILE", certificate.path().to_str().unwrap());
        let mut session = test.start_without_elicitation();
        let id = session.call(HIGH, json!({"mark": "mark-tls"}));
        assert!(server.mail(1).is_protected);
        for (is_protected, command) in server.commands() {
            let is_before = ["EHLO", "STARTTLS"]
                .iter()
                .any(|word| command.starts_with(word));
            assert!(is_protected || is_before, "{command}");
        }
        let item = session.terminal().wait_for_item(HIGH);
        session.terminal().approve(&item);
        session.expect_ran(id);
        let told = server.mail(2);
        assert!(told.part("text/plain").contains("Approved"), "{told:?}");
        // The password is nowhere but in the login.
        let mails: String = server
            .mails()
            .iter()
            .map(|mail| mail.raw().to_owned())
            .collect();
        let recorded = String::from_utf8_lossy(&session.recorded()).into_owned();
        let history = format!("{:?}", session.terminal().history());
        let all = [
            mails,
            recorded,
            history,
            session.stderr(),
            format!("{:?}", session.log()),
        ];
        for text in all {
            assert!(
                !text.contains(PASSWORD) && !text.contains("UFJPQkU"),
                "{text}"
            );
        }
        session.finish();
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_gets_nothing() {
    let Some(certificate) = Certificate::new() else {
        return;
    };
    let other = Certificate::new().unwrap();
    for (protection, scheme, query) in [
        (Protection::Tls, "smtps", ""),
        (Protection::StartTls, "smtp", "?starttls=required"),
    ] {
        let server = Smtp::with_login(protection, Some(&certificate));
        let url = server.url(scheme, LOGIN, query);
        let trusts_other = [("SSL_CERT_FILE", other.path().to_str().unwrap())];
        // A certificate for another name, too.
        let by_address = url.replace("localhost", "127.0.0.1");
        let trusts_this = [("SSL_CERT_FILE", certificate.path().to_str().unwrap())];
        for (url, env) in [(&url, trusts_other), (&by_address, trusts_this)] {
            let (failed, all) = failure(url, &server, &env);
            assert_eq!(failed["kind"], "misconfigured");
            assert!(all.contains("certificate"), "{all}");
        }
        for (_, command) in server.commands() {
            let is_before = ["EHLO", "STARTTLS"]
                .iter()
                .any(|word| command.starts_with(word));
            assert!(is_before, "{command}");
        }
    }
}

#[test]
fn a_server_without_starttls_gets_nothing() {
    let server = Smtp::with_login(Protection::None, None);
    let url = server.url("smtp", LOGIN, "?starttls=required");
    let (failed, all) = failure(&url, &server, &[]);
    assert_eq!(failed["kind"], "misconfigured");
    assert!(all.contains("STARTTLS"), "{all}");
    assert_eq!(server.count(""), server.count("EHLO"));
}

#[test]
fn no_name_of_a_tool_adds_a_header_or_a_link() {
    let server = Smtp::start();
    let name = "wipe\r\nBcc: eve@evil.example\r\n\r\n<a href=\"https://evil.example/yes\">\u{202e}";
    let tools = json!([{
        "name": name, "description": name, "inputSchema": {"type": "object"},
        "annotations": {"destructiveHint": true},
    }]);
    let url = server.url("smtp", "", "");
    let test = proxy(json!([engine()]), &url).tools(&tools);
    let mut session = test.start_without_elicitation();
    session.request("tools/list", json!({}));
    session.call(name, json!({"t": format!("{name}.\r\n.\r\n")}));
    let mail = server.mail(1);
    assert_eq!(mail.to, ["olga@people.example"]);
    assert_eq!(mail.header("Bcc"), None);
    let (text, html) = (mail.part("text/plain"), mail.part("text/html"));
    assert!(
        !text.contains('\u{202e}') && !text.contains("\nBcc"),
        "{text}"
    );
    assert!(text.contains(r"\nBcc: eve@evil.example"), "{text}");
    assert_eq!(html.matches("<a ").count(), 1, "{html}");
    session.close_stdin();
}

#[test]
fn without_page_url_the_start_fails_and_names_it() {
    let section = json!({"engines": [engine()]});
    let test = ProxyTest::with_inbox().env("MAIL", "smtps://mail.example");
    let mut session = test.section(section).start();
    let (code, _) = session.exit();
    assert_eq!(code, 3);
    session.stderr_says("`approvalProxy.inbox.pageUrl`");
}

fn engines_test(url: &str, env: &[(&str, &str)]) -> (Option<i32>, String) {
    let section = json!({"engines": [engine()], "inbox": {"pageUrl": PAGE}});
    let env: Vec<_> = env.iter().copied().chain([("MAIL", url)]).collect();
    let (code, text) = super::support::engines_test(section, &env);
    assert!(!text.contains("PROBE-mail"), "{text}");
    (code, text)
}

#[test]
fn engines_test_says_what_is_wrong_and_sends_nothing() {
    let server = Smtp::start();
    let (code, text) = engines_test(&server.url("smtp", "", ""), &[]);
    assert!(code == Some(0) && text.contains("answers;"), "{text}");
    let wants_login = Smtp::with_login(Protection::None, None);
    let (code, text) = engines_test(&wants_login.url("smtp", LOGIN, ""), &[]);
    assert!(
        code == Some(0) && text.contains("accepts the login"),
        "{text}"
    );
    let (code, text) = engines_test(&wants_login.url("smtp", "bot:PROBE-mail-x@", ""), &[]);
    assert!(code == Some(3) && text.contains("535"), "{text}");
    assert!(
        text.contains("the user name and the password in `smtp`"),
        "{text}"
    );
    // Nobody gives a password to a server that does not want it.
    let (code, text) = engines_test(&server.url("smtp", LOGIN, ""), &[]);
    assert!(
        code == Some(3) && text.contains("offers no login"),
        "{text}"
    );
    let (code, text) = engines_test("smtp://127.0.0.1:1", &[]);
    assert!(
        code != Some(0) && text.contains("cannot be reached"),
        "{text}"
    );
    for server in [&server, &wants_login] {
        assert_eq!(server.count("MAIL"), 0);
    }
    assert_eq!(wants_login.count("NOOP"), 1);
    if let Some(certificate) = Certificate::new() {
        let trusts = [("SSL_CERT_FILE", certificate.path().to_str().unwrap())];
        let server = Smtp::with_login(Protection::StartTls, Some(&certificate));
        let url = server.url("smtp", LOGIN, "?starttls=required");
        let (code, text) = engines_test(&url, &trusts);
        assert!(
            code == Some(0) && text.contains("over TLS and accepts"),
            "{text}"
        );
        let (code, text) = engines_test(&url, &[]);
        assert!(code == Some(3) && text.contains("certificate"), "{text}");
        assert_eq!(server.count("AUTH"), 1);
    }
}
