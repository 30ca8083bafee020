//! A process that can only connect cannot keep people out of the inbox, or clients out of the proxy.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use approval_proxy::engines::inbox::page::token_hash;
use approval_proxy::engines::inbox::store::Token;
use rustix::net::sockopt::set_socket_recv_buffer_size;
#[cfg(target_os = "linux")]
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use super::support::{
    Http, ProxyTest, Session, Terminal, announced_page, call, eventually, in_session, initialize,
};

/// Longer than anything here may take.
const SOON: Duration = Duration::from_secs(3);
const FORM: &str = "application/x-www-form-urlencoded";
/// More connections than either listener accepts.
const MANY: usize = 400;

/// Opens connections, writes `text` to each and reads nothing. A failed write is not an error: the proxy
/// may have closed the connection.
fn crowd(at: &Http, count: usize, text: &str) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(&at.address).unwrap();
        // A small buffer, so that unread answers soon fill it.
        set_socket_recv_buffer_size(&stream, 4096).unwrap();
        let patience = Some(Duration::from_millis(200));
        stream.set_write_timeout(patience).unwrap();
        let _ = stream.write_all(text.as_bytes());
        stream
    };
    (0..count).map(open).collect()
}

/// A browser at the inbox, and the `Cookie` header that it sends.
struct Browser {
    page: Http,
    cookie: String,
}

impl Browser {
    /// Logs in with a link.
    fn logged_in(page: &Http, terminal: &Terminal) -> Browser {
        let mut browser = Browser {
            page: page.clone(),
            cookie: String::new(),
        };
        let (mut logins, token) = (terminal.logins(), "a".repeat(64));
        logins
            .add_token(Token::Login, &token_hash(&token), i64::MAX)
            .unwrap();
        let (head, _) = browser.post("/login", &format!("token={token}"));
        assert!(head.starts_with("HTTP/1.1 303"), "{head}");
        let (_, cookie) = head.split_once("set-cookie: ").unwrap();
        browser.cookie = cookie.split(';').next().unwrap().to_owned();
        browser
    }

    /// Sends a request and returns the head and the body of the answer.
    fn send(&self, request: &str, headers: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.page.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let (host, cookie, length) = (&self.page.address, &self.cookie, body.len());
        let text = format!(
            "{request} HTTP/1.1\r\nhost: {host}\r\ncookie: {cookie}\r\nconnection: close\r\n\
             content-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn post(&self, path: &str, form: &str) -> (String, String) {
        let headers = format!(
            "origin: http://{}\r\ncontent-type: {FORM}\r\n",
            self.page.address
        );
        self.send(&format!("POST {path}"), &headers, form)
    }

    /// Approves the only item on the page.
    fn approve(&self, item: &str) {
        let (head, shown) = self.send("GET /", "", "");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let field = |name: &str| {
            let (_, rest) = shown
                .split_once(&format!("name=\"{name}\" value=\""))
                .unwrap();
            rest.split('"').next().unwrap()
        };
        let (csrf, digest) = (field("csrf"), field("shown"));
        let form = format!("csrf={csrf}&shown={digest}&choice=approve");
        let (head, _) = self.post(&format!("/item/{item}/decide"), &form);
        assert!(head.starts_with("HTTP/1.1 303"), "{head}");
    }
}

/// A proxy with one call that waits in the inbox.
struct Waiting {
    session: Session,
    terminal: Terminal,
    page: Http,
    call: u64,
    item: String,
}

fn waiting(test: ProxyTest) -> Waiting {
    let mut session = test.start_without_elicitation();
    let terminal = session.terminal();
    let call = session.call("wipe", json!({}));
    let item = terminal.wait_for_item("wipe");
    let page = announced_page(|| session.stderr());
    Waiting {
        session,
        terminal,
        page,
        call,
        item,
    }
}

#[test]
fn connections_that_ask_for_nothing_keep_nobody_from_deciding() {
    let unread = "GET /assets/app.js HTTP/1.1\r\nhost: 127.0.0.1:1\r\n\r\n".repeat(10_000);
    for (count, text, limit) in [
        (MANY, "", SOON),
        (MANY, "GET / HTTP/1.1\r\nhost: ", SOON),
        (
            MANY,
            "POST /login HTTP/1.1\r\ncontent-length: 9\r\n\r\ntok",
            SOON,
        ),
        (MANY, "GET /login HTTP/1.1\r\n\r\n", SOON),
        // The page writes answers until it notices that nobody reads them. That can take long on a
        // slow machine.
        (140, &unread, SOON * 5),
    ] {
        let mut waiting = waiting(ProxyTest::with_inbox());
        let text = text.replace("127.0.0.1:1", &waiting.page.address);
        let _crowd = crowd(&waiting.page, count, &text);
        let start = Instant::now();
        let browser = Browser::logged_in(&waiting.page, &waiting.terminal);
        browser.approve(&waiting.item);
        let took = start.elapsed();
        assert!(took < limit, "{took:?} beside {text:.60}");
        waiting.session.expect_ran(waiting.call);
        assert!(waiting.terminal.page_answers_at(&waiting.page));
    }
}

#[test]
fn a_link_logs_in_after_hundreds_of_wrong_ones() {
    let mut waiting = waiting(ProxyTest::with_inbox());
    let stranger = Browser {
        page: waiting.page.clone(),
        cookie: String::new(),
    };
    let mut statuses = Vec::new();
    for number in 0..300 {
        let (head, _) = stranger.post("/login", &format!("token={number:064}"));
        statuses.push(head.split(' ').nth(1).unwrap().to_owned());
    }
    assert_eq!(statuses[0], "403");
    assert_eq!(statuses[299], "429");
    let browser = Browser::logged_in(&waiting.page, &waiting.terminal);
    browser.approve(&waiting.item);
    waiting.session.expect_ran(waiting.call);
}

/// A server at another port of this machine can make a browser send 180 cookies of 4 KiB to every port.
#[test]
fn cookies_of_other_ports_keep_nobody_from_deciding() {
    let mut waiting = waiting(ProxyTest::with_inbox());
    let browser = Browser::logged_in(&waiting.page, &waiting.terminal);
    let (name, value) = browser.cookie.split_once('=').unwrap();
    assert!(name.ends_with(&waiting.page.address.rsplit(':').next().unwrap()));
    let of_our_form = format!("{name}={}; ", "f".repeat(value.len()));
    let other = format!("x={}; ", "x".repeat(4094));
    let junk = of_our_form.repeat(100) + &other.repeat(79);
    let browser = Browser {
        cookie: format!("{junk}{}", browser.cookie),
        ..browser
    };
    browser.approve(&waiting.item);
    waiting.session.expect_ran(waiting.call);
}

/// Opens a session of a client that cannot be asked.
fn session_without_elicitation(http: &Http) -> String {
    let mut hello = initialize();
    hello["params"]["capabilities"] = json!({});
    let mut response = http.post(&[], hello);
    assert_eq!(response.status, 200);
    response.message();
    let session = response.header("mcp-session-id").unwrap().to_owned();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let accepted = http.post(&in_session(&session), initialized);
    assert_eq!(accepted.status, 202);
    session
}

fn runs(http: &Http, session: &str, id: u64) {
    let mut called = http.post(&in_session(session), call(id, "read"));
    let message: Value = called.message();
    assert_eq!(message["result"]["content"][0]["text"], "read ran");
}

/// Starts a proxy with far fewer file descriptors than the usual 1,024.
fn served_with_few_descriptors() -> (Session, Http) {
    let flags = ["--transport", "streamable-http", "--port", "0"];
    let test = ProxyTest::new().in_shell("ulimit -Sn 128;").flags(flags);
    let session = test.start();
    let http = session.http();
    (session, http)
}

#[test]
fn connections_that_ask_for_nothing_keep_no_client_from_calling() {
    for text in [
        "",
        "POST /mcp HTTP/1.1\r\nhost: ",
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n{",
        "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    ] {
        let (_proxy, http) = served_with_few_descriptors();
        let _crowd = crowd(&http, MANY, text);
        let start = Instant::now();
        // A session starts a server, which takes descriptors too.
        let session = session_without_elicitation(&http);
        runs(&http, &session, 1);
        let took = start.elapsed();
        assert!(took < SOON, "{took:?} beside {text}");
    }
}

#[test]
fn a_waiting_call_is_answered_however_many_clients_connect() {
    let flags = ["--transport", "streamable-http", "--port", "0"];
    let test = ProxyTest::with_inbox().in_shell("ulimit -Sn 128;");
    let proxy = test.flags(flags).start();
    let (http, terminal) = (proxy.http(), proxy.terminal());
    let session = session_without_elicitation(&http);
    let mut waiting = http.begin(&in_session(&session), call(1, "wipe"));
    let item = terminal.wait_for_item("wipe");
    let page = announced_page(|| proxy.stderr());
    let mut crowds = crowd(&http, MANY, "");
    crowds.extend(crowd(&page, MANY, ""));
    let browser = Browser::logged_in(&page, &terminal);
    browser.approve(&item);
    let ran = waiting.response().message();
    assert_eq!(ran["result"]["content"][0]["text"], "wipe ran");
    runs(&http, &session, 2);
}

/// Other things, such as many servers, can use up the descriptors.
#[cfg(target_os = "linux")]
#[test]
fn without_free_descriptors_a_new_connection_replaces_an_idle_one() {
    let (proxy, http) = served_with_few_descriptors();
    let pid = proxy.pid();
    // The lowest free descriptor, and how many are open.
    let descriptors = || -> (u64, usize) {
        let folder = format!("/proc/{}/fd", pid.as_raw_pid());
        let names = std::fs::read_dir(folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let open: Vec<u64> = names.map(|name| name.parse().unwrap()).collect();
        let free = (0..).find(|number| !open.contains(number));
        (free.unwrap(), open.len())
    };
    let session = session_without_elicitation(&http);
    let mut idle = crowd(&http, 20, "");
    let mut next = 0;
    // The test's parent may have left one or two open that are far from the others.
    eventually("all others are contiguous", || {
        idle.extend(crowd(&http, 1, ""));
        let (free, open) = descriptors();
        next = free;
        next > 30 && usize::try_from(next).unwrap() + 3 > open
    });
    let few = Rlimit {
        current: Some(next),
        maximum: Some(next),
    };
    prlimit(Some(pid), Resource::Nofile, few).unwrap();
    // Take up what is left below that.
    let _others = crowd(&http, 20, "");
    let start = Instant::now();
    for id in 2..20 {
        runs(&http, &session, id);
    }
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}
