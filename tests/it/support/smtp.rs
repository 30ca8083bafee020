//! A fake mail server on loopback, with and without TLS.
//!
//! Written from RFC 5321, RFC 3207 and RFC 4954. It keeps what it hears, and refuses what comes in the wrong order. What
//! is right for us is decided in the tests. `.ci/mail.py` uses a server that is not ours.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::eventually;

/// The account of every fake that wants a login.
pub(crate) const USER: &str = "bot";
pub(crate) const PASSWORD: &str = "PROBE-mail-secret";
/// The account as a URL says it.
pub(crate) const LOGIN: &str = "bot:PROBE-mail-secret@";

/// The engine's entry in a configuration. The server is in the variable `MAIL`, as others may read the configurations of
/// tests.
pub(crate) fn engine() -> Value {
    json!({
        "type": "email",
        "smtp": "${MAIL}",
        "from": "Approvals <bot@mail.example>",
        "to": "olga@people.example",
    })
}

/// How the server protects the way to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    None,
    StartTls,
    Tls,
}

/// What happens instead of the usual reply to a command. `.` is the end of a mail.
#[derive(Clone)]
pub(crate) enum Fault {
    Says(&'static str),
    HangsUp,
    Hangs,
}

/// A mail that the server has taken.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    raw: String,
    pub(crate) is_protected: bool,
}

/// The server.
pub(crate) struct Smtp {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    protection: Protection,
    wants_login: bool,
    tls: Option<Arc<ServerConfig>>,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    mails: Vec<Received>,
    /// Each command, and whether it came over TLS.
    commands: Vec<(bool, String)>,
    connections: usize,
    open: usize,
    most_open: usize,
    /// The beginning of a command, what happens to it, and how often that still happens.
    faults: Vec<(&'static str, Fault, usize)>,
}

/// A certificate for localhost that vouches for itself, and its key, as files.
pub(crate) struct Certificate {
    _dir: tempfile::TempDir,
    pub(crate) cert: PathBuf,
    key: PathBuf,
}

impl Certificate {
    /// Returns `None` if there is no openssl.
    pub(crate) fn new() -> Option<Certificate> {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ]);
        openssl.args(["-subj", "/CN=localhost"]);
        openssl.args(["-addext", "subjectAltName=DNS:localhost"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert);
        let made = openssl.output().ok()?;
        assert!(made.status.success(), "{made:?}");
        let _dir = dir;
        Some(Certificate { _dir, cert, key })
    }

    fn config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = CertificateDer::pem_file_iter(&self.cert).unwrap();
        let chain: Vec<_> = chain.map(Result::unwrap).collect();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&self.key).unwrap());
        Arc::new(config.unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.cert
    }
}

impl Smtp {
    /// A server without TLS and without a login.
    pub(crate) fn start() -> Smtp {
        Smtp::with(Protection::None, false, None)
    }

    /// A server that wants a login.
    pub(crate) fn with_login(protection: Protection, certificate: Option<&Certificate>) -> Smtp {
        Smtp::with(protection, true, certificate)
    }

    fn with(protection: Protection, wants_login: bool, certificate: Option<&Certificate>) -> Smtp {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            protection,
            wants_login,
            tls: certificate.map(Certificate::config),
            heard: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        // The threads end with the test process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&serving);
                thread::spawn(move || {
                    state.change(|heard| {
                        heard.connections += 1;
                        heard.open += 1;
                        heard.most_open = heard.most_open.max(heard.open);
                    });
                    state.serve(stream.unwrap());
                    state.change(|heard| heard.open -= 1);
                });
            }
        });
        Smtp { port, state }
    }

    /// The value of the variable that [`engine`] names.
    pub(crate) fn url(&self, scheme: &str, login: &str, query: &str) -> String {
        format!("{scheme}://{login}localhost:{}{query}", self.port)
    }

    /// Lets something happen instead of the usual reply to the next `count` commands that begin so.
    pub(crate) fn fails(&self, command: &'static str, fault: Fault, count: usize) {
        self.state
            .change(|heard| heard.faults.push((command, fault, count)));
    }

    pub(crate) fn mails(&self) -> Vec<Received> {
        self.state.change(|heard| heard.mails.clone())
    }

    /// Waits until there are so many mails, and returns the last of them.
    pub(crate) fn mail(&self, count: usize) -> Received {
        eventually("a mail", || self.mails().len() >= count);
        let mails = self.mails();
        assert_eq!(mails.len(), count, "{mails:?}");
        mails.last().unwrap().clone()
    }

    /// Returns the commands so far, and whether each came over TLS.
    pub(crate) fn commands(&self) -> Vec<(bool, String)> {
        self.state.change(|heard| heard.commands.clone())
    }

    /// Returns how many commands began so.
    pub(crate) fn count(&self, command: &str) -> usize {
        let commands = self.commands();
        let matching = commands
            .iter()
            .filter(|(_, text)| text.starts_with(command));
        matching.count()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.change(|heard| heard.connections)
    }

    /// Returns how many connections are open, and how many have been at once.
    pub(crate) fn open(&self) -> (usize, usize) {
        self.state.change(|heard| (heard.open, heard.most_open))
    }
}

impl State {
    fn change<T>(&self, change: impl FnOnce(&mut Heard) -> T) -> T {
        change(&mut self.heard.lock().unwrap())
    }

    fn serve(&self, tcp: TcpStream) {
        // Longer than any test.
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        if self.protection != Protection::Tls {
            let upgrade = self.talk(&tcp, false);
            if !upgrade {
                return;
            }
        }
        let connection = ServerConnection::new(Arc::clone(self.tls.as_ref().unwrap())).unwrap();
        self.talk(StreamOwned::new(connection, tcp), true);
    }

    /// Returns true if TLS comes next.
    fn talk<S: Read + Write>(&self, stream: S, is_protected: bool) -> bool {
        let mut stream = BufReader::new(stream);
        let is_upgraded = is_protected && self.protection == Protection::StartTls;
        if !is_upgraded && !self.says(&mut stream, "", "220 fake.example ESMTP") {
            return false;
        }
        let (mut has_login, mut from, mut to) = (!self.wants_login, None, Vec::new());
        loop {
            let mut line = String::new();
            // What is no text is TLS that nobody asked for.
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
            let command = line.trim_end().to_owned();
            self.change(|heard| heard.commands.push((is_protected, command.clone())));
            let offers_tls = self.protection == Protection::StartTls && !is_protected;
            let word = command.split([' ', ':']).next().unwrap();
            let reply = match word {
                "EHLO" => {
                    let mut reply = "250-fake.example greets\r\n250-SIZE 1000000\r\n".to_owned();
                    if offers_tls {
                        reply.push_str("250-STARTTLS\r\n");
                    }
                    if self.wants_login {
                        reply.push_str("250-AUTH LOGIN PLAIN\r\n");
                    }
                    reply + "250 ENHANCEDSTATUSCODES"
                }
                "STARTTLS" if offers_tls => {
                    return self.says(&mut stream, &command, "220 go ahead");
                }
                "AUTH" => {
                    let right = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
                    has_login = command == format!("AUTH PLAIN {right}");
                    match has_login {
                        true => "235 2.7.0 welcome".to_owned(),
                        // As servers do that say what they got.
                        false => format!("535 5.7.8 bad credentials: {command}"),
                    }
                }
                "MAIL" if has_login => {
                    (from, to) = (Some(path(&command)), Vec::new());
                    "250 2.1.0 ok".to_owned()
                }
                "MAIL" => "530 5.7.0 log in first".to_owned(),
                "RCPT" if from.is_some() => match path(&command).starts_with("gone") {
                    true => "550 5.1.1 no such user".to_owned(),
                    false => {
                        to.push(path(&command));
                        "250 2.1.5 ok".to_owned()
                    }
                },
                "DATA" if !to.is_empty() => {
                    if !self.says(&mut stream, "DATA", "354 go ahead") {
                        return false;
                    }
                    let mut raw = String::new();
                    loop {
                        let mut line = String::new();
                        if stream.read_line(&mut line).unwrap_or(0) == 0 {
                            return false;
                        }
                        if line == ".\r\n" {
                            break;
                        }
                        raw.push_str(line.strip_prefix('.').unwrap_or(&line));
                    }
                    let mail = Received {
                        from: from.take().unwrap(),
                        to: std::mem::take(&mut to),
                        raw,
                        is_protected,
                    };
                    // A refusal is the only reply after which it has not taken the mail.
                    let fault = self.fault(".");
                    if !matches!(fault, Some(Fault::Says(_))) {
                        self.change(|heard| heard.mails.push(mail));
                    }
                    if !write(&mut stream, fault, "250 2.0.0 queued") {
                        return false;
                    }
                    continue;
                }
                "NOOP" => "250 2.0.0 ok".to_owned(),
                "QUIT" => {
                    self.says(&mut stream, "QUIT", "221 2.0.0 bye");
                    return false;
                }
                _ => "503 5.5.1 not now".to_owned(),
            };
            if !self.says(&mut stream, &command, &reply) {
                return false;
            }
        }
    }

    /// Replies to a command. Returns false if the connection is over.
    fn says<S: Read + Write>(&self, stream: &mut BufReader<S>, command: &str, reply: &str) -> bool {
        write(stream, self.fault(command), reply)
    }

    fn fault(&self, command: &str) -> Option<Fault> {
        self.change(|heard| {
            let mut faults = heard.faults.iter_mut();
            let (_, fault, count) = faults.find(|(begins, _, count)| {
                *count > 0 && command.starts_with(begins) && command.is_empty() == begins.is_empty()
            })?;
            *count -= 1;
            Some(fault.clone())
        })
    }
}

fn write<S: Read + Write>(stream: &mut BufReader<S>, fault: Option<Fault>, reply: &str) -> bool {
    let reply = match fault {
        None => reply,
        Some(Fault::Says(reply)) => reply,
        Some(Fault::HangsUp) => return false,
        Some(Fault::Hangs) => {
            thread::sleep(Duration::from_secs(60));
            return false;
        }
    };
    let sent = stream
        .get_mut()
        .write_all(format!("{reply}\r\n").as_bytes());
    sent.and_then(|()| stream.get_mut().flush()).is_ok()
}

/// Returns the address of MAIL or RCPT.
fn path(command: &str) -> String {
    let (_, path) = command.split_once('<').unwrap();
    path.strip_suffix('>').unwrap().to_owned()
}

impl Received {
    /// The value of a header that occurs once, on one line.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let (head, _) = self.raw.split_once("\r\n\r\n").unwrap();
        let head = head.replace("\r\n ", " ");
        let begin = format!("{name}: ");
        let mut found = head
            .split("\r\n")
            .filter_map(|line| line.strip_prefix(&*begin));
        let value = found.next()?.to_owned();
        assert_eq!(found.next(), None, "{name} is there twice: {head}");
        Some(value)
    }

    /// The part of this type, such as `text/plain`.
    pub(crate) fn part(&self, kind: &str) -> String {
        let (_, boundary) = self.raw.split_once("boundary=\"").unwrap();
        let (boundary, _) = boundary.split_once('"').unwrap();
        let boundary = format!("--{boundary}");
        let mut parts = self.raw.split(&boundary).skip(1);
        let part = parts.find(|part| part.contains(&format!("Content-Type: {kind}")));
        let (head, body) = part.unwrap().split_once("\r\n\r\n").unwrap();
        match head.contains("quoted-printable") {
            true => unquoted(body),
            false => body.to_owned(),
        }
    }

    /// All of it, as it was sent.
    pub(crate) fn raw(&self) -> &str {
        &self.raw
    }
}

/// Decodes quoted-printable.
fn unquoted(body: &str) -> String {
    let body = body.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = body.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'=', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                after
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    String::from_utf8(bytes).unwrap()
}
