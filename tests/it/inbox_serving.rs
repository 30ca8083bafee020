//! Which process serves the inbox's page, and which processes are not taken for it.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use approval_proxy::approval::item::Closed;
use approval_proxy::engines::inbox::store::State;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::support::remote::free_port;
use super::support::{InboxProcess, ProxyTest, Session, Terminal, announced_page, eventually};

/// Longer than a proxy may take to notice something and to act.
const SOON: Duration = Duration::from_secs(4);

fn folder() -> (TempDir, Terminal) {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::at(&state(&dir));
    (dir, terminal)
}

fn state(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("state")
}

fn in_folder(dir: &TempDir) -> Session {
    ProxyTest::with_inbox()
        .state(&state(dir))
        .start_without_elicitation()
}

/// Writes a private file.
fn put(path: &Path, text: &str) -> File {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    File::options().write(true).open(path).unwrap()
}

/// Listens at a port, without being the page.
fn squatter(answer: fn(TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    port
}

fn garbage(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nyes!");
}

/// Never answers, and hangs up only when the client does.
fn silence(mut stream: TcpStream) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// Answers one byte at a time, just often enough to avoid timeouts.
fn drip(mut stream: TcpStream) {
    while stream.write_all(b"H").is_ok() {
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn two_proxies_share_one_inbox_and_its_page_outlives_the_proxy_that_serves_it() {
    let (dir, terminal) = folder();
    let mut first = in_folder(&dir);
    first.call("wipe", json!({"of": "first"}));
    let of_first = terminal.wait_for_item("wipe");
    let page = announced_page(|| first.stderr());
    let mut second = in_folder(&dir);
    let call = second.call("wipe", json!({"of": "second"}));
    let both = terminal.wait_for_items(2);
    let of_second = both[1]["id"].as_str().unwrap().to_owned();
    assert_eq!(both[0]["id"], *of_first);
    assert_eq!(announced_page(|| second.stderr()).address, page.address);
    assert!(terminal.page_answers_at(&page));

    first.signal(Signal::KILL);
    assert_eq!(first.exit().0, -9);
    let killed = Instant::now();
    eventually("another process serves the page", || {
        terminal.page_answers_at(&page)
    });
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    // Not through the command, which would clean up itself.
    let mut store = terminal.store();
    let expired = State::Closed(Closed::Expired);
    eventually("the item of the first is closed", || {
        store.find(&of_first).unwrap().unwrap().state == expired
    });
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    assert_eq!(terminal.wait_for_item("wipe"), of_second);
    let past = terminal.history();
    assert_eq!(past.len(), 1);
    assert_eq!(
        (&past[0]["id"], &past[0]["state"]),
        (&json!(of_first), &json!("expired"))
    );
    let output = terminal.approvals(&["approve", &of_first]);
    assert_eq!(output.code, Some(7), "{output:?}");
    assert!(output.err.contains("expired"), "{output:?}");
    terminal.approve(&of_second);
    second.expect_ran(call);
    assert!(!first.has_recorded("first"));
    let stderr = second.stderr();
    assert_eq!(stderr.matches("http://").count(), 1, "{stderr}");
    second.finish();
}

#[test]
fn each_proxy_gets_the_verdicts_about_its_own_calls() {
    let (dir, terminal) = folder();
    let mut first = in_folder(&dir);
    let mut second = in_folder(&dir);
    let mine = first.call("wipe", json!({"same": 1}));
    let of_first = terminal.wait_for_item("wipe");
    let theirs = second.call("wipe", json!({"same": 1}));
    let of_second = terminal.wait_for_items(2)[1]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let output = terminal.approvals(&["deny", &of_second]);
    assert_eq!(output.code, Some(0), "{output:?}");
    second.refusal(theirs);
    first.sync();
    assert_eq!(first.runs_of("wipe"), 0);
    terminal.approve(&of_first);
    first.expect_ran(mine);
    assert_eq!(second.runs_of("wipe"), 0);
    first.finish();
    second.finish();
}

#[test]
fn an_item_is_withdrawn_when_its_client_leaves() {
    let (dir, terminal) = folder();
    let mut session = in_folder(&dir);
    session.call("wipe", json!({}));
    let id = terminal.wait_for_item("wipe");
    session.finish();
    assert_eq!(terminal.state_of(&id), "withdrawn");
    assert!(terminal.open_items().is_empty());
}

#[test]
fn another_port_is_used_if_the_wanted_one_is_taken() {
    let taken = squatter(garbage);
    let test = ProxyTest::new().env("APPROVAL_ENGINES", "");
    let mut session = test
        .flags(["--inbox-port", &taken.to_string()])
        .start_without_elicitation();
    let terminal = session.terminal();
    let call = session.call("wipe", json!({}));
    terminal.approve(&terminal.wait_for_item("wipe"));
    let page = announced_page(|| session.stderr());
    assert_ne!(page.address, format!("127.0.0.1:{taken}"));
    session.expect_ran(call);
    eventually("the page answers", || terminal.page_answers_at(&page));
    session.finish();
}

#[test]
fn a_named_port_beats_the_previous_one() {
    let (_dir, terminal) = folder();
    let page = |port: &str| {
        let mut inbox = terminal.inbox(port);
        let page = page_of(&inbox);
        inbox.end(Signal::TERM);
        page.address
    };
    let (first, named) = (page("0"), free_port());
    // By default the page keeps its port, so bookmarks still work.
    assert_eq!(page("0"), first);
    assert_eq!(page(&named.to_string()), format!("127.0.0.1:{named}"));
    assert_eq!(page("0"), format!("127.0.0.1:{named}"));
}

#[test]
fn a_process_at_the_pages_port_is_not_announced_until_it_proves_that_it_is_the_inbox() {
    for (what, answer) in [
        ("garbage", garbage as fn(TcpStream)),
        ("silence", silence),
        ("drip", drip),
    ] {
        let (dir, terminal) = folder();
        terminal.state_dir();
        put(
            &state(&dir).join("page.port"),
            &squatter(answer).to_string(),
        );
        let lock = put(&state(&dir).join("page.lock"), "");
        lock.lock().unwrap();
        let mut session = in_folder(&dir);
        let call = session.call("wipe", json!({}));
        let id = terminal.wait_for_item("wipe");
        session.stderr_says("does not answer as it should");
        let decided = Instant::now();
        terminal.approve(&id);
        session.expect_ran(call);
        assert!(decided.elapsed() < SOON, "{what}: {:?}", decided.elapsed());
        // Some checks later it is still not announced, and there is still one warning.
        let call = session.call("wipe", json!({"n": 2}));
        let id = terminal.wait_for_item("wipe");
        let start = Instant::now();
        eventually("a few checks", || {
            start.elapsed() > Duration::from_millis(2_500)
        });
        let stderr = session.stderr();
        assert!(!stderr.contains("http://"), "{what}: {stderr}");
        let warned = stderr.matches("does not answer as it should").count();
        assert_eq!(warned, 1, "{what}: {stderr}");
        // The other process goes away.
        drop(lock);
        let page = announced_page(|| session.stderr());
        eventually("the page answers", || terminal.page_answers_at(&page));
        terminal.approve(&id);
        session.expect_ran(call);
        session.finish();
    }
}

fn page_of(inbox: &InboxProcess) -> super::support::Http {
    announced_page(|| inbox.stderr())
}

#[test]
fn a_standalone_inbox_serves_the_page_until_it_ends_and_another_takes_over() {
    let (dir, terminal) = folder();
    let mut first = terminal.inbox("0");
    let page = page_of(&first);
    assert!(terminal.page_answers_at(&page));
    let mut second = terminal.inbox("0");
    assert_eq!(page_of(&second).address, page.address);
    assert!(
        second.stderr().contains("takes over"),
        "{}",
        second.stderr()
    );
    // A proxy finds the page.
    let mut session = in_folder(&dir);
    let call = session.call("wipe", json!({}));
    let id = terminal.wait_for_item("wipe");
    assert_eq!(announced_page(|| session.stderr()).address, page.address);
    terminal.approve(&id);
    session.expect_ran(call);
    session.finish();

    let (code, out) = first.end(Signal::TERM);
    assert_eq!(code, Some(143), "{}", first.stderr());
    assert_eq!(out, "", "secrets are for terminals only");
    let ended = Instant::now();
    eventually("the second serves the page", || {
        terminal.page_answers_at(&page)
    });
    assert!(ended.elapsed() < SOON, "{:?}", ended.elapsed());
    for inbox in [&first, &second] {
        let stderr = inbox.stderr();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            stderr.contains("`approval-proxy approvals list"),
            "{stderr}"
        );
        assert!(!stderr.contains('#'), "{stderr}");
    }
    let (code, _) = second.end(Signal::INT);
    assert_eq!(code, Some(130), "{}", second.stderr());
}

#[test]
fn of_many_inboxes_that_start_at_once_one_serves_the_page_and_none_exits() {
    let (_dir, terminal) = folder();
    let mut all: Vec<InboxProcess> = (0..6).map(|_| terminal.inbox("0")).collect();
    let pages: Vec<String> = all
        .iter_mut()
        .map(|inbox| {
            eventually("it says where the page is, or ends", || {
                inbox.stderr().contains(" at http://") || inbox.child.try_wait().unwrap().is_some()
            });
            assert!(
                inbox.child.try_wait().unwrap().is_none(),
                "{}",
                inbox.stderr()
            );
            page_of(inbox).address
        })
        .collect();
    assert!(pages.iter().all(|page| *page == pages[0]), "{pages:?}");
}

// The secret that logs a browser in is in no process list, and is gone once used.
#[test]
fn a_browser_logs_in_through_a_file_that_is_deleted_once_used() {
    let (dir, terminal) = folder();
    let seen = dir.path().join("opened");
    let script = dir.path().join("browser.sh");
    let text = format!(
        "#!/bin/sh\nprintf '%s' \"$1\" > '{0}.new' && mv '{0}.new' '{0}'\n",
        seen.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o700)).unwrap();
    for is_used in [true, false] {
        let _ = fs::remove_file(&seen);
        let mut inbox = terminal.inbox_opening(&script);
        eventually("a browser is opened", || seen.exists());
        let url = fs::read_to_string(&seen).unwrap();
        let file = Path::new(url.strip_prefix("file://").unwrap()).to_owned();
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!file.file_name().unwrap().to_str().unwrap().starts_with('.'));
        let html = fs::read_to_string(&file).unwrap();
        let (_, link) = html.split_once("url=").unwrap();
        let (link, _) = link.split_once('"').unwrap();
        let (page, token) = link.split_once("/login#").unwrap();
        assert!(!inbox.stderr().contains(token));
        if is_used {
            let page = super::support::Http::at(page.strip_prefix("http://").unwrap());
            let origin = format!("http://{}", page.address);
            let form = [
                ("content-type", "application/x-www-form-urlencoded"),
                ("origin", &*origin),
            ];
            let answer = page.send("POST", "/login", &form, &format!("token={token}"));
            assert_eq!(answer.status, 303);
            assert!(answer.header("set-cookie").is_some());
            eventually("the file is gone", || !file.exists());
        }
        let (code, _) = inbox.end(Signal::TERM);
        assert_eq!(code, Some(128 + 15));
        assert!(!file.exists());
    }
}
