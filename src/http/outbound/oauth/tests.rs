use std::fs::{self, Permissions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::flow::{is_secure, may_be_sent_to};
use super::redirect::Redirect;
use super::store::{Store, Stored};
use super::{LIMIT, Login, LoginEnvironment, LoginError, RenewalMode, Renewed};
use crate::sys::Stderr;
use crate::sys::secret::Secret;
use crate::sys::state_dir::for_test;

fn url() -> Url {
    Url::parse("https://mcp.example/mcp?key=hunter2").unwrap()
}

fn stored(token: &str, received: u64, life: Option<u64>) -> Stored {
    let stored = json!({
        "version": 1, "client_secret": "hunter2", "challenge": null,
        "credentials": {
            "client_id": "client", "token_received_at": received, "issuer": null,
            "token_response": {
                "access_token": token, "token_type": "bearer", "expires_in": life}}});
    serde_json::from_value(stored).unwrap()
}

fn login(folder: &Path) -> Login {
    let environment = LoginEnvironment {
        folder: Some(folder.to_owned()),
        browser: None,
        may_ask: true,
        stderr: Stderr::start().unwrap(),
        user_agent: None,
        document: None,
    };
    Login::new(url(), environment)
}

#[tokio::test(start_paused = true)]
async fn a_login_waits_five_minutes_at_most() {
    let start = Instant::now();
    let redirect = Redirect::listen().await.unwrap();
    let answer = redirect
        .answer(Secret::new("state".to_owned()), LIMIT)
        .await;
    assert_eq!(answer.unwrap_err(), LoginError::Late);
    let waited = start.elapsed();
    assert!(waited >= LIMIT && waited < LIMIT + Duration::from_secs(2));
    assert_eq!(LIMIT, Duration::from_secs(300));
}

#[tokio::test]
async fn idle_connections_do_not_keep_the_browser_out_and_their_number_is_bounded() {
    let redirect = Redirect::listen().await.unwrap();
    let uri = Url::parse(redirect.uri()).unwrap();
    let address = (Ipv4Addr::LOCALHOST, uri.port().unwrap());
    let waiting = redirect.answer(Secret::new("state".to_owned()), LIMIT);
    let coming = async {
        let mut idle = Vec::new();
        for _ in 0..100 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut browser = TcpStream::connect(address).await.unwrap();
        let head = "GET /callback?state=state&code=c HTTP/1.1\r\nconnection: close\r\n\r\n";
        browser.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        browser.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let is_open = |stream: &&TcpStream| {
            let read = stream.try_read(&mut [0]);
            read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        assert!(idle.iter().filter(is_open).count() < 20);
    };
    let (answer, ()) = tokio::join!(waiting, coming);
    assert_eq!(answer.unwrap().code.expose(), "c");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_in_another_process_is_waited_for_just_as_long() {
    let dir = for_test().0;
    let store = || Store::new(Some(dir.path().to_owned()), &url());
    let held = store().lock(LIMIT).await.unwrap();
    let start = Instant::now();
    assert_eq!(store().lock(LIMIT).await.err(), Some(LoginError::Late));
    assert!(start.elapsed() >= LIMIT);
    drop(held);
    assert!(store().lock(LIMIT).await.is_ok());
}

#[tokio::test]
async fn if_a_token_is_refused_one_that_another_process_has_stored_is_found() {
    let dir = for_test().0;
    let store = Store::new(Some(dir.path().to_owned()), &url());
    store.write(&stored("first", 0, None)).unwrap();
    let login = login(dir.path());
    let first = login.token().await;
    assert_eq!(first.as_ref().unwrap().expose(), "first");
    store.write(&stored("second", 0, None)).unwrap();
    let waiter = login.clone();
    let refused = first.clone();
    let waiter = tokio::spawn(async move { waiter.replaced(refused.as_ref()).await });
    assert_eq!(
        login.renew(first, None, RenewalMode::Browser).await,
        Ok(Renewed::Found)
    );
    waiter.await.unwrap();
    assert_eq!(login.token().await.unwrap().expose(), "second");
}

#[test]
fn a_token_is_due_shortly_before_it_expires() {
    let is_due = |life, now| stored("t", 1000, life).is_due(now);
    assert!(!is_due(None, u64::MAX));
    assert!(!is_due(Some(3600), 1000 + 3569));
    assert!(is_due(Some(3600), 1000 + 3570));
    // For a short lifetime, the margin is a quarter of it.
    assert!(!is_due(Some(20), 1000 + 14));
    assert!(is_due(Some(20), 1000 + 15));
    // The clock was set back.
    assert!(!is_due(Some(3600), 0));
}

#[test]
fn only_our_own_files_are_read_and_their_names_reveal_no_secret() {
    let dir = for_test().0;
    let store = Store::new(Some(dir.path().join("new")), &url());
    assert!(store.read().is_none());
    store.write(&stored("token", 0, None)).unwrap();
    assert!(
        store
            .read()
            .unwrap()
            .has_token(Some(&Secret::new("token".to_owned())))
    );
    let names = || std::fs::read_dir(dir.path().join("new")).unwrap();
    let names: Vec<_> = names().map(|file| file.unwrap().path()).collect();
    let [name] = &names[..] else {
        panic!("{names:?}");
    };
    assert!(!name.to_str().unwrap().contains("hunter2"), "{names:?}");
    assert!(
        name.to_str().unwrap().contains("login-mcp.example-"),
        "{names:?}"
    );
    for text in ["", "{}", r#"{"version":2}"#] {
        std::fs::write(name, text).unwrap();
        assert!(store.read().is_none(), "{text}");
    }
    let elsewhere = Url::parse("https://mcp.example/other").unwrap();
    let other = Store::new(Some(dir.path().join("new")), &elsewhere);
    store.write(&stored("token", 0, None)).unwrap();
    assert!(other.read().is_none());
    assert!(
        Store::new(None, &url())
            .write(&stored("token", 0, None))
            .is_err()
    );
}

#[test]
fn a_folder_that_others_have_access_to_is_not_changed_and_gets_no_token() {
    let dir = for_test().0;
    let mode = || fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777;
    let store = Store::new(Some(dir.path().to_owned()), &url());
    store.write(&stored("token", 0, None)).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let error = store.write(&stored("other", 0, None)).unwrap_err();
    assert!(error.contains("chmod go-rwx"), "{error}");
    assert!(store.read().is_none());
    assert_eq!(mode(), 0o755);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    let token = Secret::new("token".to_owned());
    assert!(store.read().unwrap().has_token(Some(&token)));
}

#[test]
fn a_login_uses_https_or_stays_on_this_machine() {
    for url in [
        "https://a.example/x",
        "http://127.0.0.1:1/",
        "http://localhost/",
        "http://[::1]/",
    ] {
        assert!(is_secure(url), "{url}");
    }
    for url in [
        "http://a.example/",
        "http://localhost.a.example/",
        "http://10.0.0.1/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "ssh://-oProxyCommand=x",
        "",
    ] {
        assert!(!is_secure(url), "{url}");
    }
}

// A server must not use us to reach what it cannot reach itself.
#[test]
fn only_the_login_of_a_local_server_may_be_on_this_machine() {
    let url = |text: &str| Url::parse(text).unwrap();
    let remote = url("https://mcp.example/mcp");
    for endpoint in [
        "https://login.example/token",
        "https://mcp.example:8443/register",
    ] {
        assert!(may_be_sent_to(endpoint, &remote), "{endpoint}");
    }
    for endpoint in [
        "http://127.0.0.1:2375/containers/prod/stop",
        "http://localhost/x",
        "http://[::1]:9200/",
        "https://localhost/x",
        "https://a.localhost./x",
        "https://127.0.0.1/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest",
        "https://[fd00::1]/x",
        "http://mcp.example/x",
    ] {
        assert!(!may_be_sent_to(endpoint, &remote), "{endpoint}");
    }
    let here = url("http://127.0.0.1:8000/mcp");
    for endpoint in [
        "http://127.0.0.1:9000/token",
        "http://localhost:1/x",
        "https://a.example/x",
    ] {
        assert!(may_be_sent_to(endpoint, &here), "{endpoint}");
    }
    let address = url("https://10.0.0.1/mcp");
    assert!(may_be_sent_to("https://10.0.0.1/token", &address));
    assert!(!may_be_sent_to("https://10.0.0.2/token", &address));
}

#[test]
fn debug_shows_no_secret() {
    let dir = for_test().0;
    let store = Store::new(Some(dir.path().to_owned()), &url());
    store.write(&stored("hunter2", 0, None)).unwrap();
    assert_eq!(format!("{:?}", login(dir.path())), "Login { .. }");
}
