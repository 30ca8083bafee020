//! Servers that require a login: the proxy logs in for stdio clients, which cannot.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{LoginServer, ProxyTest, Session, eventually};

/// A server, and a home folder that several runs of the proxy share.
struct Home {
    server: LoginServer,
    dir: TempDir,
}

impl Home {
    fn new() -> Home {
        let home = Home {
            server: LoginServer::start(),
            dir: tempfile::tempdir().unwrap(),
        };
        // A "browser" that writes the page's URL to a file. The test opens it.
        let browser = "#!/bin/sh\nprintf %s \"$1\" > \"$0.new\" && mv \"$0.new\" \"$0.page\"\n";
        fs::write(home.browser(), browser).unwrap();
        fs::set_permissions(home.browser(), fs::Permissions::from_mode(0o755)).unwrap();
        home
    }

    fn browser(&self) -> PathBuf {
        self.dir.path().join("browser")
    }

    fn run_with(&self, entry: Value) -> Session {
        let test = ProxyTest::new()
            .config(json!({"mcpServers": {"box": entry}}))
            .flags(["--mode", "none"])
            .env("APPROVAL_STATE_DIR", "")
            .env("XDG_STATE_HOME", self.dir.path().to_str().unwrap())
            .env("BROWSER", self.browser().to_str().unwrap());
        test.start()
    }

    fn run(&self) -> Session {
        self.run_with(json!({"url": self.server.url}))
    }

    /// Waits until a browser is opened, and returns the page.
    fn page(&self) -> String {
        let file = self.dir.path().join("browser.page");
        eventually("a browser", || file.exists());
        let page = fs::read_to_string(&file).unwrap();
        fs::remove_file(file).unwrap();
        page
    }

    /// Logs in and returns the status of the last page.
    fn log_in(&self) -> u16 {
        self.server.browse(&self.page())
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("approval-proxy")
    }

    fn token_file(&self) -> PathBuf {
        let files = fs::read_dir(self.folder()).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "json"));
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

fn ask(session: &mut Session) -> u64 {
    let client = json!({"name": "test", "version": "0"});
    session.request(
        "initialize",
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}),
    )
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_login_lets_the_call_run_and_the_next_run_needs_none() {
    let home = Home::new();
    let mut session = home.run();
    let id = ask(&mut session);
    let page = home.page();
    session.stderr_says(&format!("the server requires a login; open {page}\n"));
    assert_eq!(home.server.browse(&page), 200);
    assert_eq!(
        session.response(id)["result"]["serverInfo"]["name"],
        "login"
    );
    session.notify("notifications/initialized", json!({}));
    session.passes("read", json!({}));
    let log = fs::read_to_string(session.path("audit.jsonl")).unwrap();
    // Libraries do not log the servers' responses either.
    let stderr = session.stderr();
    let ours = ["the server requires a login; open ", "warning: mode `none`"];
    for line in stderr.lines() {
        assert!(ours.iter().any(|part| line.contains(part)), "{stderr}");
    }
    let output = format!("{stderr}{log}");
    session.finish();
    assert_eq!(
        (mode(&home.token_file()), mode(&home.folder())),
        (0o600, 0o700)
    );
    for secret in &home.server.seen().secrets {
        assert!(!output.contains(secret), "{output}");
    }
    let mut again = home.run();
    again.handshake();
    again.passes("read", json!({}));
    again.finish();
    let seen = home.server.seen();
    assert_eq!(
        (seen.registrations, seen.authorizations, seen.refreshes),
        (1, 1, 0)
    );
}

#[test]
fn a_token_is_refreshed_before_it_expires_and_when_it_is_refused() {
    let home = Home::new();
    let mut session = home.run();
    let id = ask(&mut session);
    assert_eq!(home.log_in(), 200);
    session.response(id);
    // The server forgets the token long before it expires.
    home.server.seen().access = "another".to_owned();
    session.passes("read", json!({}));
    assert_eq!(home.server.seen().refreshes, 1);
    session.finish();
    // The token expires while no proxy runs.
    let file = home.token_file();
    let mut stored: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    stored["credentials"]["token_received_at"] = json!(1);
    fs::write(&file, stored.to_string()).unwrap();
    let old = home.server.seen().access.clone();
    home.server.seen().authorization_headers.clear();
    let mut again = home.run();
    again.handshake();
    again.passes("read", json!({}));
    again.finish();
    let seen = home.server.seen();
    assert_eq!((seen.authorizations, seen.refreshes), (1, 2));
    assert!(
        !seen
            .authorization_headers
            .contains(&format!("Bearer {old}"))
    );
    // The new tokens are stored for the next run: a refresh token can be used once.
    let stored = fs::read_to_string(file).unwrap();
    assert!(stored.contains(&seen.access) && stored.contains(&seen.refresh));
}

#[test]
fn two_runs_at_once_need_one_login() {
    let home = Home::new();
    let (mut first, mut second) = (home.run(), home.run());
    let ids = (ask(&mut first), ask(&mut second));
    assert_eq!(home.log_in(), 200);
    assert_eq!(
        first.response(ids.0)["result"]["serverInfo"]["name"],
        "login"
    );
    assert_eq!(
        second.response(ids.1)["result"]["serverInfo"]["name"],
        "login"
    );
    assert_eq!(home.server.seen().authorizations, 1);
}

#[test]
fn calls_that_get_a_401_at_the_same_time_wait_for_one_login() {
    let home = Home::new();
    home.server.seen().only_calls_need_login = true;
    let mut session = home.run();
    session.handshake();
    let calls: Vec<u64> = (0..5).map(|_| session.call("read", json!({}))).collect();
    assert_eq!(home.log_in(), 200);
    for call in calls {
        let response = session.response(call);
        assert_eq!(
            response["result"]["content"][0]["text"], "read ran",
            "{response}"
        );
    }
    session.finish();
    assert_eq!(home.server.seen().authorizations, 1);
}

#[test]
fn a_callback_with_a_forged_state_is_refused_and_its_code_is_not_used() {
    let home = Home::new();
    let mut session = home.run();
    let id = ask(&mut session);
    let page = home.page();
    let redirect = Url::parse(&page).unwrap();
    let redirect = redirect
        .query_pairs()
        .find(|(name, _)| name == "redirect_uri");
    let redirect = redirect.unwrap().1.into_owned();
    assert!(redirect.starts_with("http://127.0.0.1:"), "{redirect}");
    for query in [
        "?code=forged&state=forged",
        "?code=forged",
        "?error=access_denied&state=forged",
        "",
    ] {
        assert_eq!(
            home.server.browse(&format!("{redirect}{query}")),
            400,
            "{query}"
        );
    }
    assert_eq!(home.server.browse(&page), 200);
    assert_eq!(
        session.response(id)["result"]["serverInfo"]["name"],
        "login"
    );
    assert_eq!(home.server.seen().unknown_codes, [""; 0]);
}

#[test]
fn a_login_that_is_refused_is_an_error_that_says_what_to_do() {
    let home = Home::new();
    home.server.seen().refuses_logins = true;
    let mut session = home.run();
    let id = ask(&mut session);
    assert_eq!(home.log_in(), 200);
    let error = session.response(id)["error"]["message"].clone();
    assert_eq!(
        error,
        "the server requires a login, but the login was refused: \"access_denied\"; try again, or \
         configure an `Authorization` header for it"
    );
    // A new attempt is a new login.
    home.server.seen().refuses_logins = false;
    let id = ask(&mut session);
    assert_eq!(home.log_in(), 200);
    assert_eq!(
        session.response(id)["result"]["serverInfo"]["name"],
        "login"
    );
}

#[test]
fn nobody_is_asked_to_log_in_twice_for_one_request() {
    let home = Home::new();
    home.server.seen().refuses_every_token = true;
    let mut session = home.run();
    for logins in 1..=2 {
        let id = ask(&mut session);
        // The second time, the proxy first tries to refresh the token, which does not help either.
        assert_eq!(home.log_in(), 200);
        let error = session.response(id)["error"]["message"].clone();
        assert!(error.as_str().unwrap().contains("401"), "{error}");
        let seen = home.server.seen();
        assert_eq!((seen.authorizations, seen.refreshes), (logins, logins - 1));
    }
}

#[test]
fn a_server_that_names_no_login_is_an_error_that_says_what_to_do() {
    let home = Home::new();
    home.server.seen().names_no_login = true;
    let mut session = home.run();
    let id = ask(&mut session);
    let error = session.response(id)["error"]["message"].clone();
    let error = error.as_str().unwrap();
    assert!(
        error.contains("configure an `Authorization` header for it"),
        "{error}"
    );
    assert!(!home.dir.path().join("browser.page").exists());
}

#[test]
fn with_an_authorization_in_the_config_nobody_is_asked_to_log_in() {
    let home = Home::new();
    let headers = json!({"authorization": "Bearer wrong"});
    let mut session = home.run_with(json!({"url": home.server.url, "headers": headers}));
    let id = ask(&mut session);
    let error = session.response(id)["error"]["message"].clone();
    assert!(error.as_str().unwrap().contains("401"), "{error}");
    let seen = home.server.seen();
    assert_eq!((seen.registrations, seen.authorizations), (0, 0));
    assert_eq!(seen.authorization_headers, ["Bearer wrong"]);
}
