//! Attacks: nobody but the user in a browser on this machine can see or decide anything.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode};

use super::super::proof;
use super::visitor::{PORT, SECRET, Visitor, decide_path, usual};
use crate::engines::inbox::store::State;
use crate::http::shared::PeerAddr;

/// A form that would approve the item, if it came from our page.
async fn approval(visitor: &Visitor) -> String {
    let csrf = visitor.csrf().await;
    format!("csrf={csrf}&shown={}&choice=approve", usual().fingerprint())
}

#[tokio::test]
async fn a_form_from_anywhere_else_decides_nothing() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let form = approval(&visitor).await;
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "http://127.0.0.1:4001"),
        ("origin", "http://localhost:4000"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("host", "evil.example:4000"),
        ("host", "evil.example"),
        ("host", "127.0.0.1:4001"),
    ] {
        let mut request = visitor.request("POST", &decide_path(&usual()), &form);
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
        let answer = visitor.send(request).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}: {value}");
        assert_eq!(visitor.store.entry(&usual().id).state, State::Waiting);
    }
    let mut request = visitor.request("POST", &decide_path(&usual()), &form);
    request.headers_mut().remove("origin");
    assert_eq!(visitor.send(request).await.status, StatusCode::FORBIDDEN);
    assert_eq!(visitor.store.entry(&usual().id).state, State::Waiting);
    let same = visitor.post(&decide_path(&usual()), &form).await;
    assert_eq!(
        same.status,
        StatusCode::SEE_OTHER,
        "else this test proves nothing"
    );
}

#[tokio::test]
async fn a_name_that_was_made_to_resolve_here_is_shown_nothing() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    for path in [
        "/",
        "/fragment",
        "/history",
        "/login",
        "/events",
        "/prove?nonce=00",
        "/assets/app.js",
    ] {
        let mut request = visitor.request("GET", path, "");
        request
            .headers_mut()
            .insert("host", HeaderValue::from_static("evil.example:4000"));
        let answer = visitor.send(request).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(!answer.text.contains("delete_user"));
    }
}

#[tokio::test]
async fn a_form_without_the_sessions_token_decides_nothing() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let other = Visitor::logged_in(false).await.csrf().await;
    let shown = usual().fingerprint();
    for csrf in ["", "csrf=&", &format!("csrf={other}&"), "csrf=00&"] {
        let form = format!("{csrf}shown={shown}&choice=approve");
        let answer = visitor.post(&decide_path(&usual()), &form).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{csrf}");
    }
    assert_eq!(visitor.store.entry(&usual().id).state, State::Waiting);
}

#[tokio::test]
async fn following_a_link_decides_nothing() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let form = approval(&visitor).await;
    let path = format!("{}?{form}", decide_path(&usual()));
    for method in ["GET", "PUT", "DELETE"] {
        let answer = visitor.send(visitor.request(method, &path, &form)).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    for path in ["/", "/fragment", "/login", &format!("/item/{}", usual().id)] {
        visitor.get(&format!("{path}?{form}")).await;
    }
    assert_eq!(visitor.store.entry(&usual().id).state, State::Waiting);
}

#[tokio::test]
async fn without_a_session_nothing_is_shown_but_how_to_get_one() {
    let mut visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let form = approval(&visitor).await;
    let good = visitor.cookie.clone();
    let flipped = good.replace(|c: char| c.is_ascii_digit(), "a");
    for cookie in [
        "",
        "approvals_4000=",
        "approvals_4000=00",
        &format!("approvals_4000={}", "0".repeat(128)),
        "other=1",
        &flipped,
        &good.replace("approvals", "x"),
        &good.replace("4000", "4001"),
    ] {
        visitor.cookie = cookie.to_owned();
        for path in [
            "/",
            "/fragment",
            "/history",
            "/events",
            &format!("/item/{}", usual().id),
        ] {
            let answer = visitor.get(path).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{cookie} {path}");
            assert!(answer.text.contains("approval-proxy inbox"));
            assert!(!answer.text.contains("delete_user"));
        }
        for path in [decide_path(&usual()), "/logout".to_owned()] {
            let answer = visitor.post(&path, &form).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{cookie} {path}");
        }
    }
}

/// A browser sends a page the cookies that servers at other ports have set, those with longer paths first.
#[tokio::test]
async fn cookies_that_other_ports_have_set_lock_nobody_out() {
    let mut visitor = Visitor::logged_in(false).await;
    let good = visitor.cookie.clone();
    let junk = |value: String| format!("approvals_4000={value}; ").repeat(180);
    for (what, before) in [
        ("tokens", junk("0".repeat(64))),
        ("sealed tokens", junk("0".repeat(128))),
        ("not ASCII", junk("ä".repeat(64))),
        ("long values", junk("x".repeat(4_000))),
        ("no values", junk(String::new())),
        ("others", format!("x={}; ", "x".repeat(4_000)).repeat(180)),
    ] {
        visitor.cookie = format!("{before}{good}");
        assert_eq!(visitor.get("/").await.status, StatusCode::OK, "{what}");
        visitor.ask(&usual());
        let decided = visitor.decide(&usual(), "choice=deny").await;
        assert_eq!(decided.status, StatusCode::SEE_OTHER, "{what}");
        visitor.store.with(|memory| memory.entries.clear());
    }
}

/// A server that has seen old sessions of ours can make the browser send them.
#[tokio::test]
async fn cookies_of_ended_sessions_do_not_hide_a_valid_one() {
    let mut visitor = Visitor::logged_in(false).await;
    let mut before = String::new();
    for _ in 0..20 {
        before.push_str(&format!("{}; ", visitor.cookie));
        let csrf = visitor.csrf().await;
        visitor.post("/logout", &format!("csrf={csrf}")).await;
        visitor.log_in().await;
    }
    visitor.cookie = format!("{before}{}", visitor.cookie);
    assert_eq!(visitor.get("/").await.status, StatusCode::OK);
    visitor.cookie = before;
    assert_eq!(visitor.get("/").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_ends_when_it_expires_and_at_logout() {
    let visitor = Visitor::logged_in(false).await;
    visitor.advance(Duration::from_secs(12 * 60 * 60 - 1));
    assert_eq!(visitor.get("/").await.status, StatusCode::OK);
    visitor.advance(Duration::from_secs(1));
    assert_eq!(visitor.get("/").await.status, StatusCode::UNAUTHORIZED);

    let visitor = Visitor::logged_in(false).await;
    let forged = visitor.post("/logout", "csrf=00").await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    let csrf = visitor.csrf().await;
    let answer = visitor.post("/logout", &format!("csrf={csrf}")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("approvals_4000=; Path=/; ") && cookie.contains("Max-Age=0"));
    assert_eq!(visitor.get("/").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_link_logs_in_once_and_only_in_its_time() {
    let visitor = Visitor::stranger(false);
    visitor.add_login("first");
    visitor.add_login("second");
    let answer = visitor.post("/login", "token=first").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, "/")
    );
    let cookie = answer.header("set-cookie");
    for part in [
        "approvals_4000=",
        "HttpOnly",
        "SameSite=Strict",
        "Path=/",
        "Max-Age=43200",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    for token in ["first", "", "third"] {
        let answer = visitor.post("/login", &format!("token={token}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{token}");
        assert_eq!(answer.header("set-cookie"), "");
    }
    visitor.advance(Duration::from_secs(600));
    let late = visitor.post("/login", "token=second").await;
    assert_eq!(late.status, StatusCode::FORBIDDEN);
}

fn from(peer: [u8; 4], mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(PeerAddr(peer.into()));
    request
}

#[tokio::test]
async fn an_address_with_many_wrong_tokens_must_wait_and_others_need_not() {
    let visitor = Visitor::stranger(false);
    let wrong = |peer| visitor.send(from(peer, visitor.request("POST", "/login", "token=x")));
    for _ in 0..20 {
        assert_eq!(wrong([127, 0, 0, 1]).await.status, StatusCode::FORBIDDEN);
    }
    let answer = wrong([127, 0, 0, 1]).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "60");
    assert_eq!(wrong([127, 0, 0, 2]).await.status, StatusCode::FORBIDDEN);
    visitor.advance(Duration::from_secs(60));
    assert_eq!(wrong([127, 0, 0, 1]).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_valid_link_logs_in_however_often_others_have_failed() {
    let visitor = Visitor::stranger(false);
    visitor.add_login("good");
    for form in ["token=x", "token=%", "", "a&a", "token=x&token=y"] {
        for _ in 0..200 {
            let request = visitor.request("POST", "/login", form);
            let answer = visitor.send(from([127, 0, 0, 1], request)).await;
            assert!(answer.status.is_client_error());
        }
    }
    let request = visitor.request("POST", "/login", "token=good");
    let answer = visitor.send(from([127, 0, 0, 1], request)).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_form_that_is_too_large_is_not_read() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let reason = "x".repeat(64 * 1024);
    let answer = visitor
        .decide(&usual(), &format!("choice=approve&reason={reason}"))
        .await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let request = visitor.request("POST", "/login", "");
    let (parts, _) = request.into_parts();
    let endless = Request::from_parts(parts, Body::from("a".repeat(1 << 20)));
    assert_eq!(
        visitor.send(endless).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(visitor.store.entry(&usual().id).state, State::Waiting);
}

#[tokio::test]
async fn every_response_forbids_what_our_pages_do_not_need() {
    let visitor = Visitor::logged_in(false).await;
    let mut answers = Vec::new();
    for path in [
        "/",
        "/history",
        "/login",
        "/nothing",
        "/item/x",
        "/assets/app.css",
        "/assets/x",
        "/prove?nonce=x",
    ] {
        answers.push(visitor.get(path).await);
    }
    answers.push(visitor.post("/login", "token=x").await);
    answers.push(visitor.send(visitor.request("DELETE", "/", "")).await);
    for answer in answers {
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
    }
}

#[tokio::test]
async fn a_link_on_another_site_leads_to_the_item_after_one_more_step() {
    let mut visitor = Visitor::logged_in(false).await;
    visitor.cookie.clear();
    let path = format!("/item/{}", usual().id);
    let mut request = visitor.request("GET", &path, "");
    request
        .headers_mut()
        .insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
    let step = format!("content=\"0;url={path}\"");
    assert!(visitor.send(request).await.text.contains(&step));
    assert!(
        !visitor.get(&path).await.text.contains("http-equiv"),
        "and no further"
    );
}

#[tokio::test]
async fn the_page_proves_that_it_knows_the_secret() {
    let visitor = Visitor::stranger(false);
    let nonce = "0123456789abcdef".repeat(2);
    let answer = visitor.get(&format!("/prove?nonce={nonce}")).await;
    assert_eq!(
        (answer.status, answer.text),
        (StatusCode::OK, proof(&SECRET, PORT, &nonce))
    );
    assert_ne!(proof(&SECRET, PORT, &nonce), proof(&[8; 32], PORT, &nonce));
    assert_ne!(
        proof(&SECRET, PORT, &nonce),
        proof(&SECRET, PORT, &nonce.replace('0', "1"))
    );
    // Relayed by a process at another port, it proves nothing.
    assert_ne!(
        proof(&SECRET, PORT, &nonce),
        proof(&SECRET, PORT + 1, &nonce)
    );
    for nonce in ["", "00", &"g".repeat(32), &"0".repeat(129)] {
        let answer = visitor.get(&format!("/prove?nonce={nonce}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{nonce}");
    }
    let session = Visitor::logged_in(false).await;
    let hash = blake3::hash(
        session
            .cookie
            .trim_start_matches("approvals_4000=")
            .as_bytes(),
    );
    assert_ne!(proof(&SECRET, PORT, &hash.to_hex()), session.csrf().await);
}

/// Tabs that are still open send their cookie to a process that takes the port of an ended page.
#[tokio::test]
async fn a_session_ends_with_the_process_that_served_its_page() {
    let visitor = Visitor::logged_in(false).await;
    assert_eq!(visitor.get("/").await.status, StatusCode::OK);
    let next = visitor.at_the_next_page();
    for path in ["/", "/fragment", "/events"] {
        assert_eq!(
            next.get(path).await.status,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
    }
}
