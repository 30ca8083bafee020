//! The page for paired devices: who gets in, over TLS and behind a reverse proxy, and which process serves it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use approval_proxy::engines::inbox::page::token_hash;
use approval_proxy::engines::inbox::passphrase::set;
use approval_proxy::engines::inbox::store::{DEVICE_MS, Device, Token};
use approval_proxy::sys::secret::Secret;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::remote::{HOST, Pairing, Phone, RemotePage};
use super::support::{CommandOutput, ProxyTest, Session, Terminal, announced_page, eventually};

/// Longer than a process may take to notice something and to act.
const SOON: Duration = Duration::from_secs(5);
/// An address of this machine that is not the reverse proxy's.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A user: a state folder, and a page for paired devices.
struct World {
    dir: TempDir,
    terminal: Terminal,
    page: RemotePage,
}

impl World {
    fn with(page: impl FnOnce(&TempDir) -> RemotePage) -> World {
        let dir = tempfile::tempdir().unwrap();
        let terminal = Terminal::at(&dir.path().join("state"));
        let page = page(&dir);
        World {
            dir,
            terminal,
            page,
        }
    }

    fn with_tls() -> World {
        World::with(|dir| RemotePage::with_tls(dir.path()))
    }

    fn behind(addresses: &[&str]) -> World {
        World::with(|_| RemotePage::behind(addresses))
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn test(&self) -> ProxyTest {
        ProxyTest::with_inbox().state(&self.state())
    }

    fn proxy(&self) -> Session {
        self.test()
            .remote_page(&self.page)
            .start_without_elicitation()
    }

    fn paired(&self, name: &str) -> Phone {
        self.page.paired(&self.terminal, name)
    }

    /// Runs a command that knows the page.
    fn run(&self, args: &[&str]) -> CommandOutput {
        let mut command = self.terminal.command(args);
        let output = self.page.in_env(&mut command).output().unwrap();
        CommandOutput {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn devices(&self) -> Vec<Device> {
        self.terminal.devices().devices(0).unwrap()
    }

    /// Writes a device into the store, as any program of this user can.
    fn add_device(&self, id: &str) {
        let mut devices = self.terminal.devices();
        let device = Device {
            id: id.to_owned(),
            name: format!("phone {id}"),
            paired_ms: 1,
            used_ms: 1,
            until_ms: i64::MAX,
        };
        let hash = token_hash(id);
        devices.offer(&hash, i64::MAX).unwrap();
        devices.pair(&hash, &device, &hash, &mut || true).unwrap();
    }

    /// Returns the records about devices.
    fn records(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.state().join("audit/inbox.jsonl")).unwrap_or_default();
        assert!(log.is_empty() || log.ends_with('\n'), "a torn line");
        log.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Makes a call that is asked about, and returns its id and its item.
fn ask(session: &mut Session, terminal: &Terminal) -> (u64, String) {
    let id = session.call("wipe", json!({"disk": "mark-one"}));
    (id, terminal.wait_for_item("wipe"))
}

#[test]
fn a_paired_phone_decides_over_tls_and_its_code_works_once() {
    let world = World::with_tls();
    let mut session = world.proxy();
    let (call, item) = ask(&mut session, &world.terminal);
    let mut pairing = world.page.pairing(&world.terminal);
    let code = pairing.code();
    let shown = pairing.shown();
    let address = format!("https://{}/pair", world.page.phone().authority);
    assert!(shown.contains('█') && shown.contains(&address), "{shown}");

    let mut phone = world.page.phone();
    for path in [
        "/",
        "/fragment",
        "/history",
        "/events",
        &format!("/item/{item}"),
    ] {
        let reply = phone.get(path);
        assert_eq!(reply.status, 401, "{path}");
        assert!(!reply.text.contains("mark-one"), "{path}");
    }
    let form = phone.get("/pair");
    assert!(form.text.contains("name=\"code\"") && !form.text.contains(&code));
    assert_eq!(phone.pair(&code.to_lowercase(), "Ann"), 303);
    pairing.says("Paired: device ");
    assert_eq!(pairing.exit(), Some(0), "another process serves the page");
    let mut stranger = world.page.phone();
    assert_eq!(stranger.pair(&code, "Eve"), 403);
    assert!(!stranger.is_in());

    assert!(phone.get("/").text.contains("mark-one"));
    // Whatever opens links decides nothing.
    let form = "choice=approve&csrf=&shown=";
    for path in ["", "/decide", &format!("/decide?{form}")] {
        for method in ["GET", "HEAD"] {
            phone.send(method, &format!("/item/{item}{path}"), &[], "");
        }
    }
    session.sync();
    assert_eq!(session.runs_of("wipe"), 0);
    assert_eq!(phone.decide(&item, "choice=approve").status, 303);
    session.expect_ran(call);
    let decision = session.decision("wipe");
    assert_eq!(decision["decision"], "approved", "{decision}");
    assert_eq!(decision["engine"], "inbox", "{decision}");
    assert_eq!(decision["assurance"], "inbox-session", "{decision}");
    let records = world.records();
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["event"], "device_paired");
    assert_eq!(records[0]["name"], "Ann");
    assert_eq!(records[0]["by"], "page");
    session.finish();
}

#[test]
fn with_a_passphrase_both_pairing_and_each_verdict_need_it() {
    let world = World::with_tls();
    let secret = Secret::new("correct horse".to_owned());
    set(&world.terminal.state_dir(), None, &secret).unwrap();
    let mut session = world.proxy();
    let (call, item) = ask(&mut session, &world.terminal);
    let mut phone = world.page.phone();
    for line in ["wrong horse", ""] {
        let mut pairing = world.page.pairing(&world.terminal);
        pairing.types(line);
        assert_eq!(pairing.exit(), Some(2), "{}", pairing.said());
        assert_eq!(pairing.shown(), "", "it shows no code");
        assert_eq!(phone.pair("", "Eve"), 403);
        assert!(
            phone
                .post("/pair", "code=")
                .text
                .contains("No code is valid now")
        );
    }
    let mut pairing = world.page.pairing(&world.terminal);
    pairing.types("correct horse");
    assert_eq!(phone.pair(&pairing.code(), "Ann"), 303);
    assert_eq!(phone.decide(&item, "choice=approve").status, 403);
    let reply = phone.decide(&item, "choice=approve&passphrase=wrong+horse");
    assert_eq!(reply.status, 403);
    session.sync();
    assert_eq!(session.runs_of("wipe"), 0);
    let reply = phone.decide(&item, "choice=approve&passphrase=correct+horse");
    assert_eq!(reply.status, 303);
    session.expect_ran(call);
    assert_eq!(session.decision("wipe")["assurance"], "inbox-passphrase");
    session.finish();
}

/// A ClientHello of TLS 1.1 (RFC 4346, section 7.4.1.2) with the suites of its time.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.push(0);
    let suites = [0xc0, 0x13, 0xc0, 0x14, 0xc0, 0x09, 0x00, 0x2f];
    body.extend([0, 8]);
    body.extend(suites);
    body.extend([1, 0]);
    // Extensions: supported groups (secp256r1), point formats (uncompressed).
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0];
    body.extend([0, 14]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

#[test]
fn neither_plain_http_nor_an_old_tls_gets_an_answer() {
    let world = World::with_tls();
    let _inbox = world.page.inbox(&world.terminal);
    let phone = world.page.phone();
    assert_eq!(phone.get("/pair").status, 200, "else this proves nothing");
    let read = |bytes: &[u8]| {
        let mut stream = phone.tcp().unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    };
    let host = &phone.authority;
    for path in ["/pair", "/", "/assets/app.js", "/callback/ops"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let answer = read(request.as_bytes());
        // At most an alert of TLS.
        assert!(
            answer.len() < 16 && !answer.starts_with(b"HTTP"),
            "{answer:?}"
        );
    }
    let answer = read(&hello_of_tls_1_1());
    // A fatal alert of TLS (RFC 8446, section 6), and nothing else.
    assert_eq!(
        (answer.len(), answer[0], answer[5]),
        (7, 21, 2),
        "{answer:?}"
    );
}

#[test]
fn requests_for_other_names_and_from_other_pages_are_refused() {
    let world = World::with_tls();
    let _inbox = world.page.inbox(&world.terminal);
    let phone = world.paired("Ann");
    let port = world.page.port;
    for host in [
        "evil.example".to_owned(),
        HOST.to_owned(),
        format!("evil.example:{port}"),
        format!("{HOST}.evil.example:{port}"),
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        String::new(),
    ] {
        for path in ["/", "/pair", "/login", "/assets/app.js"] {
            let reply = phone.send("GET", path, &[("host", &host)], "");
            assert_eq!(reply.status, 403, "{host} {path}");
        }
    }
    // The certificate has this name too, so the handshake succeeds.
    let mut other = phone.clone();
    other.server_name = "other.example".to_owned();
    other.authority = format!("other.example:{port}");
    assert_eq!(other.get("/").status, 403);

    let mut pairing = world.page.pairing(&world.terminal);
    let form = format!("code={}&name=Eve", pairing.code());
    let http = format!("http://{HOST}:{port}");
    let no_port = format!("https://{HOST}");
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", &http),
        ("origin", &no_port),
        ("origin", "http://127.0.0.1:8766"),
        ("origin", "null"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "none"),
    ] {
        for path in ["/pair", "/logout", "/name"] {
            let reply = phone.send("POST", path, &[(name, value)], &form);
            assert_eq!(reply.status, 403, "{name}: {value} {path}");
            assert!(reply.header("access-control-allow-origin").is_empty());
        }
    }
    assert_eq!(world.devices().len(), 1);
    assert!(phone.is_in());
    assert_eq!(
        phone.post("/pair", &form).status,
        303,
        "it was a valid code"
    );
}

#[test]
fn sessions_of_one_page_are_worth_nothing_at_the_other() {
    let world = World::with_tls();
    let inbox = world.page.inbox(&world.terminal);
    let local = announced_page(|| inbox.stderr());
    let phone = world.paired("Ann");
    let token = "a".repeat(64);
    let mut logins = world.terminal.logins();
    logins
        .add_token(Token::Login, &token_hash(&token), i64::MAX)
        .unwrap();
    let here = format!("http://{}", local.address);
    let as_form = [
        ("origin", &*here),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let login = local.send("POST", "/login", &as_form, &format!("token={token}"));
    assert_eq!(login.status, 303);
    let cookie = login.header("set-cookie").unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    let at_the_local_page = |cookie: &str| local.send("GET", "/", &[("cookie", cookie)], "").status;
    assert_eq!(at_the_local_page(cookie), 200);

    let (name, value) = phone.cookie.split_once('=').unwrap();
    assert_eq!(name, format!("__Host-approvals_{}", world.page.port));
    let (local_name, local_value) = cookie.split_once('=').unwrap();
    for stolen in [phone.cookie.clone(), format!("{local_name}={value}")] {
        assert_eq!(at_the_local_page(&stolen), 401, "{stolen}");
    }
    let mut thief = world.page.phone();
    for stolen in [cookie.to_owned(), format!("{name}={local_value}")] {
        thief.cookie = stolen;
        assert!(!thief.is_in(), "{}", thief.cookie);
    }
    // The remote page gives no proof that another process could pass on as its own.
    assert_eq!(
        phone
            .get(&format!("/prove?nonce={}", "0".repeat(64)))
            .status,
        404
    );
    let link = world.page.phone().post("/login", &format!("token={token}"));
    assert_eq!(link.status, 405, "links log in to the local page only");
}

#[test]
fn only_the_reverse_proxy_reaches_the_page_behind_it() {
    let world = World::behind(&["127.0.0.1"]);
    let _inbox = world.page.inbox(&world.terminal);
    let proxy = world.page.phone();
    let mut neighbour = proxy.clone();
    neighbour.from = NEIGHBOUR;
    let mut pairing = world.page.pairing(&world.terminal);
    let form = format!("code={}&name=Eve", pairing.code());
    let spoofed = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1;host=phone.example;proto=https"),
        ("x-forwarded-host", HOST),
        ("x-forwarded-proto", "https"),
    ];
    for path in [
        "/",
        "/pair",
        "/login",
        "/assets/app.js",
        "/callback/ops",
        "/events",
    ] {
        let reply = neighbour.send("GET", path, &spoofed, "");
        assert_eq!(reply.status, 403, "{path}");
        assert!(reply.text.contains("`behindProxy`"), "{}", reply.text);
    }
    assert_eq!(neighbour.send("POST", "/pair", &spoofed, &form).status, 403);
    assert_eq!(world.devices(), []);
    // What the reverse proxy says about names decides nothing: `Host` does.
    for host in ["evil.example", "127.0.0.1"] {
        let headers = [&spoofed[..], &[("host", host)]].concat();
        assert_eq!(
            proxy.send("GET", "/pair", &headers, "").status,
            403,
            "{host}"
        );
    }
    let mut phone = proxy.clone();
    assert_eq!(
        phone.pair(form.split(['=', '&']).nth(1).unwrap(), "Ann"),
        303
    );
    assert!(
        phone.cookie.starts_with("__Host-approvals_443="),
        "{}",
        phone.cookie
    );
    assert!(phone.is_in());
    neighbour.cookie.clone_from(&phone.cookie);
    assert_eq!(neighbour.get("/").status, 403, "not even with the cookie");
}

#[test]
fn another_proxy_takes_over_and_the_phone_stays_paired() {
    let world = World::with_tls();
    let mut first = world.proxy();
    ask(&mut first, &world.terminal);
    let mut second = world.proxy();
    let call = second.call("wipe", json!({"of": "second"}));
    world.terminal.wait_for_items(2);
    let phone = world.paired("Ann");
    first.signal(Signal::KILL);
    assert_eq!(first.exit().0, -9);
    let killed = Instant::now();
    eventually("the phone is in again", || phone.is_in());
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    let item = world.terminal.wait_for_item("wipe");
    assert_eq!(phone.decide(&item, "choice=approve").status, 303);
    second.expect_ran(call);
    second.finish();
}

#[test]
fn one_process_serves_the_page_here_and_another_the_page_elsewhere() {
    let world = World::with_tls();
    let mut without = world.test().start_without_elicitation();
    without.call("wipe", json!({"of": "the one without settings"}));
    world.terminal.wait_for_items(1);
    let local = announced_page(|| without.stderr());
    let mut with = world.proxy();
    let call = with.call("write_file", json!({"of": "the other"}));
    let items = world.terminal.wait_for_items(2);
    let phone = world.paired("Ann");
    assert_eq!(announced_page(|| with.stderr()).address, local.address);
    assert!(world.terminal.page_answers_at(&local));
    // The phone sees and decides about the calls of all proxies.
    let list = phone.get("/").text;
    assert!(list.contains("the one without settings") && list.contains("the other"));
    let item = items[1]["id"].as_str().unwrap();
    assert_eq!(phone.decide(item, "choice=approve").status, 303);
    with.expect_ran(call);
    with.finish();
}

/// Expects that pairing has failed for this reason.
#[track_caller]
fn failed(mut pairing: Pairing, why: &str) {
    assert_eq!(pairing.exit(), Some(12), "{}", pairing.said());
    let said = pairing.said();
    assert!(
        said.contains("no device was paired") && said.contains(why),
        "{said}"
    );
}

#[test]
fn five_wrong_codes_void_the_code_and_end_the_command() {
    let world = World::with_tls();
    let _inbox = world.page.inbox(&world.terminal);
    let mut pairing = world.page.pairing(&world.terminal);
    let code = pairing.code();
    let mut eve = world.page.phone();
    let last = code.as_bytes()[8];
    let others = b"ABCDEF".iter().filter(|letter| **letter != last).take(5);
    for letter in others {
        let wrong = format!("{}{}", &code[..8], char::from(*letter));
        assert_eq!(eve.pair(&wrong, "Eve"), 403, "{wrong}");
    }
    assert_eq!(eve.pair(&code, "Eve"), 403, "the right one is void too");
    failed(pairing, "5 wrong codes");
    assert!(world.devices().is_empty() && world.records().is_empty());
}

#[test]
fn a_code_that_another_one_has_replaced_ends_its_command() {
    let world = World::with_tls();
    let _inbox = world.page.inbox(&world.terminal);
    let mut first = world.page.pairing(&world.terminal);
    let old = first.code();
    let mut second = world.page.pairing(&world.terminal);
    let new = second.code();
    failed(first, "another one replaced it");
    let mut phone = world.page.phone();
    assert_eq!(phone.pair(&old, "Ann"), 403);
    assert_eq!(phone.pair(&new, "Ann"), 303);
    assert_eq!(second.exit(), Some(0));
}

#[test]
fn a_code_is_invalid_once_its_command_is_stopped() {
    let world = World::with_tls();
    let _inbox = world.page.inbox(&world.terminal);
    let mut pairing = world.page.pairing(&world.terminal);
    let code = pairing.code();
    kill_process(Pid::from_child(&pairing.process.child), Signal::INT).unwrap();
    assert_eq!(pairing.exit(), Some(130));
    let mut eve = world.page.phone();
    assert_eq!(eve.pair(&code, "Eve"), 403);
    assert_eq!(world.devices(), []);

    // A code that has replaced it stays valid.
    let mut first = world.page.pairing(&world.terminal);
    first.code();
    kill_process(Pid::from_child(&first.process.child), Signal::STOP).unwrap();
    let mut second = world.page.pairing(&world.terminal);
    let code = second.code();
    for signal in [Signal::INT, Signal::CONT] {
        kill_process(Pid::from_child(&first.process.child), signal).unwrap();
    }
    first.exit();
    assert_eq!(eve.pair(&code, "Ann"), 303, "{}", second.said());
}

#[test]
fn a_device_that_is_not_recorded_is_not_paired() {
    let world = World::with_tls();
    let _inbox = world.page.inbox(&world.terminal);
    fs::write(world.state().join("audit"), "").unwrap();
    let mut pairing = world.page.pairing(&world.terminal);
    let code = pairing.code();
    let mut phone = world.page.phone();
    assert_eq!(phone.pair(&code, "Ann"), 503);
    assert!(!phone.is_in());
    failed(pairing, "cannot be recorded");
    assert_eq!(world.devices(), []);
}

#[test]
fn devices_are_listed_and_revoked_by_the_beginning_of_their_id() {
    let world = World::with_tls();
    assert_eq!(
        world.run(&["inbox", "--devices"]).out,
        "No device is paired.\n"
    );
    for id in ["abcd0001", "abcd0002", "ef000003"] {
        world.add_device(id);
    }
    let listed = world.run(&["inbox", "--devices"]).out;
    assert_eq!(listed.lines().count(), 4, "{listed}");
    for id in [
        "abcd", "abcd000", "ffff", "e", "ef00000", "EF000003", "", "%",
    ] {
        let output = world.run(&["inbox", "--devices", "--revoke", id]);
        if id == "ef00000" {
            assert_eq!(output.code, Some(0), "{output:?}");
            continue;
        }
        assert_eq!(output.code, Some(7), "{id}: {output:?}");
        assert!(output.err.contains("inbox --devices"), "{output:?}");
    }
    let left: Vec<String> = world.devices().into_iter().map(|it| it.id).collect();
    assert_eq!(left, ["abcd0001", "abcd0002"]);
    let records = world.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["event"], "device_revoked");
    assert_eq!(records[0]["device"], "ef000003");
    assert_eq!(records[0]["by"], "terminal");
}

#[test]
fn a_revoked_phone_sees_no_more_even_on_its_open_page() {
    let world = World::with_tls();
    let mut session = world.proxy();
    let (_, item) = ask(&mut session, &world.terminal);
    let phone = world.paired("Ann");
    let page = phone.get(&format!("/item/{item}"));
    let (csrf, shown) = (page.field("csrf"), page.field("shown"));
    let mut stream = phone
        .begin("GET", "/events", &[("connection", "close")], "")
        .unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let id = world.devices().remove(0).id;
    let output = world.run(&["inbox", "--devices", "--revoke", &id]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let revoked = Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(revoked.elapsed() < SOON, "{:?}", revoked.elapsed());
    let rest = String::from_utf8_lossy(&rest);
    assert!(
        rest.contains("event: changed"),
        "the page asks again: {rest}"
    );
    let form = format!("csrf={csrf}&shown={shown}&choice=approve");
    let reply = phone.post(&format!("/item/{item}/decide"), &form);
    assert_eq!(reply.status, 401);
    assert!(!phone.is_in());
    session.sync();
    assert_eq!(session.runs_of("wipe"), 0);
    assert_eq!(world.terminal.state_of(&item), "waiting");
    session.finish();
}

#[test]
fn the_log_of_devices_has_no_gap_while_several_processes_write() {
    let world = World::with_tls();
    let _inbox = world.page.inbox(&world.terminal);
    let ids: Vec<String> = (0..8).map(|n| format!("{n:08x}")).collect();
    for id in &ids {
        world.add_device(id);
    }
    let mut children: Vec<_> = (ids.iter())
        .map(|id| {
            let args = ["inbox", "--devices", "--revoke", id];
            world.terminal.command(&args).spawn().unwrap()
        })
        .collect();
    // Meanwhile the page writes to it too.
    for _ in 0..3 {
        let phone = world.paired("Ann");
        let csrf = phone.get("/").field("csrf");
        assert_eq!(phone.post("/logout", &format!("csrf={csrf}")).status, 303);
    }
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let records = world.records();
    let numbers: Vec<u64> = records
        .iter()
        .map(|it| it["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=14).collect::<Vec<u64>>());
    for (event, count) in [("device_paired", 3), ("device_revoked", 11)] {
        let found = records.iter().filter(|record| record["event"] == event);
        assert_eq!(found.count(), count, "{event}");
    }
}

#[test]
fn a_page_that_cannot_be_served_ends_the_command_that_serves_it() {
    type Breaks = fn(&mut World) -> Option<TcpListener>;
    let missing: Breaks = |world| {
        fs::remove_file(world.dir.path().join("page.crt")).unwrap();
        None
    };
    let other_key: Breaks = |world| {
        let other = tempfile::tempdir().unwrap();
        RemotePage::with_tls(other.path());
        fs::copy(
            other.path().join("page.key"),
            world.dir.path().join("page.key"),
        )
        .unwrap();
        None
    };
    let taken: Breaks = |world| Some(TcpListener::bind(("127.0.0.1", world.page.port)).unwrap());
    for (breaks, says) in [
        (missing, ["page.crt", "tlsCert"]),
        (other_key, ["page.crt", "page.key"]),
        (taken, ["cannot listen on 127.0.0.1:", "change `listen`"]),
    ] {
        let mut world = World::with_tls();
        let _kept = breaks(&mut world);
        for args in [
            &["inbox", "--no-browser", "--inbox-port", "0"][..],
            &["inbox", "--pair"],
        ] {
            let output = world.run(args);
            assert_eq!(output.code, Some(3), "{args:?}: {output:?}");
            assert_eq!(output.out, "", "no code, no link");
            for says in says {
                assert!(output.err.contains(says), "{says}: {output:?}");
            }
        }
        // A proxy has more to do than to serve this page.
        let mut session = world.proxy();
        let (call, item) = ask(&mut session, &world.terminal);
        let local = announced_page(|| session.stderr());
        assert!(world.terminal.page_answers_at(&local));
        session.stderr_says(says[0]);
        world.terminal.approve(&item);
        session.expect_ran(call);
        // It says so once, however often it tries.
        let (call, item) = ask(&mut session, &world.terminal);
        world.terminal.approve(&item);
        session.expect_ran(call);
        let stderr = session.stderr();
        assert_eq!(stderr.matches(says[0]).count(), 1, "{stderr}");
        session.finish();
    }
}

#[test]
fn a_proxy_that_nobody_asks_opens_nothing_for_the_page() {
    let world = World::with_tls();
    let counts = |test: ProxyTest| {
        let mut session = test.start_without_elicitation();
        for n in 0..3 {
            let call = session.call("read", json!({"n": n}));
            session.expect_ran(call);
        }
        let pid = session.pid().as_raw_nonzero();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let open = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        // `socket:[4711]` or a path.
        let kind = |open: PathBuf| {
            open.to_string_lossy()
                .split([':', '.'])
                .next()
                .map(str::to_owned)
        };
        let mut open: Vec<String> = open.filter_map(kind).collect();
        open.sort();
        let counts = (tasks, open);
        assert!(TcpStream::connect(("127.0.0.1", world.page.port)).is_err());
        session.finish();
        counts
    };
    let with = counts(world.test().remote_page(&world.page));
    assert!(!world.state().join("remote-page.lock").exists());
    assert_eq!(with, counts(world.test()));
}

/// Opens connections that ask nothing: half of them say nothing, the others begin with `text`.
fn crowd(from: &Phone, text: &[u8]) -> Vec<TcpStream> {
    let open = |n: usize| {
        let mut stream = from.tcp().unwrap();
        if n.is_multiple_of(2) {
            let _ = stream.write_all(text);
        }
        stream
    };
    (0..200).map(open).collect()
}

#[test]
fn connections_that_ask_nothing_do_not_lock_a_phone_out() {
    let world = World::with_tls();
    let _inbox = world.page.inbox(&world.terminal);
    let phone = world.paired("Ann");
    let hello = hello_of_tls_1_1();
    let _open = crowd(&phone, &hello[..20]);
    for _ in 0..3 {
        let start = Instant::now();
        assert!(phone.is_in());
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }

    let world = World::behind(&["127.0.0.1"]);
    let _inbox = world.page.inbox(&world.terminal);
    let phone = world.paired("Ann");
    let mut neighbour = phone.clone();
    neighbour.from = NEIGHBOUR;
    let _open = crowd(&neighbour, b"GET / HTTP/1.1\r\nhost: phone.example\r\n");
    let start = Instant::now();
    assert!(phone.is_in());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn a_session_ends_after_thirty_days() {
    let world = World::with_tls();
    let _inbox = world.page.inbox(&world.terminal);
    let mut phone = world.page.phone();
    let mut pairing = world.page.pairing(&world.terminal);
    let reply = phone.post("/pair", &format!("code={}&name=Ann", pairing.code()));
    let cookie = reply.header("set-cookie")[0].to_owned();
    let days = format!("Max-Age={}", DEVICE_MS / 1000);
    for part in [&days, "Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let device = world.devices().remove(0);
    assert_eq!(device.until_ms - device.paired_ms, DEVICE_MS);
    phone.cookie = cookie.split(';').next().unwrap().to_owned();
    assert!(phone.is_in());
}

#[test]
fn without_settings_there_is_no_page_to_pair_with() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::at(&dir.path().join("state"));
    let mut command = terminal.command(&["inbox", "--pair"]);
    let output = command.env("XDG_CONFIG_HOME", dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("`approvalProxy.inbox`"), "{said}");
}
