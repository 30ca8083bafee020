//! The page for paired devices, and phones that talk to it: over TLS, or as a reverse proxy passes their requests on.
//!
//! Who may decide is left to the tests.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use super::{InboxProcess, ProxyTest, Terminal, eventually};

/// Much longer than anything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);
/// The host of the page. Nobody resolves it: the tests say where to connect.
pub(crate) const HOST: &str = "phone.example";
const FORM: &str = "application/x-www-form-urlencoded";

/// Where a page for paired devices is, and how it is protected.
pub(crate) struct RemotePage {
    pub(crate) port: u16,
    settings: Value,
    /// What its certificate is checked with; `None` behind a reverse proxy.
    tls: Option<Arc<ClientConfig>>,
}

impl RemotePage {
    /// A page that speaks TLS, with a new certificate in this folder.
    pub(crate) fn with_tls(folder: &Path) -> RemotePage {
        let (cert, key) = (folder.join("page.crt"), folder.join("page.key"));
        let names = vec![HOST.to_owned(), "other.example".to_owned()];
        let made = generate_simple_self_signed(names).unwrap();
        let CertifiedKey {
            cert: certificate,
            signing_key,
        } = made;
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&key, signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        let port = free_port();
        RemotePage {
            port,
            settings: json!({
                "pageUrl": format!("https://{HOST}:{port}"),
                "listen": format!("127.0.0.1:{port}"),
                "tlsCert": cert,
                "tlsKey": key,
            }),
            tls: Some(client(certificate.der())),
        }
    }

    /// A page behind a reverse proxy that has these addresses.
    pub(crate) fn behind(addresses: &[&str]) -> RemotePage {
        let port = free_port();
        RemotePage {
            port,
            settings: json!({
                "pageUrl": format!("https://{HOST}"),
                "listen": format!("0.0.0.0:{port}"),
                "behindProxy": addresses,
            }),
            tls: None,
        }
    }

    /// Makes a command's process know the page.
    pub(crate) fn in_env<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("APPROVAL_INBOX", self.settings.to_string())
    }

    /// A device that is not paired.
    pub(crate) fn phone(&self) -> Phone {
        let authority = self.settings["pageUrl"].as_str().unwrap();
        let authority = authority.strip_prefix("https://").unwrap().to_owned();
        Phone {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
            origin: format!("https://{authority}"),
            authority,
            server_name: HOST.to_owned(),
            tls: self.tls.clone(),
            from: Ipv4Addr::LOCALHOST,
            cookie: String::new(),
        }
    }

    /// Starts `inbox --no-browser`, which serves this page.
    pub(crate) fn inbox(&self, terminal: &Terminal) -> InboxProcess {
        let mut command = terminal.command(&["inbox", "--no-browser", "--inbox-port", "0"]);
        self.in_env(&mut command);
        let inbox = InboxProcess::of(command);
        eventually("the page for paired devices", || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        inbox
    }

    /// Starts `inbox --pair`, and types nothing.
    pub(crate) fn pairing(&self, terminal: &Terminal) -> Pairing {
        let mut command = terminal.command(&["inbox", "--pair"]);
        self.in_env(&mut command).stdin(Stdio::piped());
        Pairing::start(command)
    }

    /// Pairs a device, and returns it.
    pub(crate) fn paired(&self, terminal: &Terminal, name: &str) -> Phone {
        let mut pairing = self.pairing(terminal);
        let code = pairing.code();
        let mut phone = self.phone();
        assert_eq!(phone.pair(&code, name), 303, "{}", pairing.said());
        pairing.says("Paired: device ");
        phone
    }
}

impl ProxyTest {
    /// Lets the proxy serve this page for paired devices.
    pub(crate) fn remote_page(self, page: &RemotePage) -> ProxyTest {
        self.env("APPROVAL_INBOX", &page.settings.to_string())
    }
}

/// Returns a port at which nobody is listening now.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs at once begin at different places.
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        // Below the ports that the system gives to others meanwhile.
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn client(certificate: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A running `inbox --pair`.
pub(crate) struct Pairing {
    pub(crate) process: InboxProcess,
    keys: Option<ChildStdin>,
    shown: Arc<Mutex<String>>,
}

impl Pairing {
    fn start(command: Command) -> Pairing {
        let mut process = InboxProcess::of(command);
        let out = process.child.stdout.take().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&shown);
        thread::spawn(move || {
            let mut lines = BufReader::new(out);
            let mut line = String::new();
            while let Ok(1..) = lines.read_line(&mut line) {
                seen.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        Pairing {
            keys: process.child.stdin.take(),
            process,
            shown,
        }
    }

    /// Types a line, and no other.
    pub(crate) fn types(&mut self, line: &str) {
        let mut keys = self.keys.take().unwrap();
        keys.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.shown(), self.process.stderr())
    }

    pub(crate) fn says(&self, text: &str) {
        eventually(text, || self.said().contains(text));
    }

    /// Waits for the code.
    pub(crate) fn code(&mut self) -> String {
        let is_code = |line: &&str| {
            line.len() == 9 && line.as_bytes()[4] == b'-' && line.is_ascii() && !line.contains(' ')
        };
        let mut code = None;
        eventually("a code", || {
            let shown = self.shown();
            code = shown
                .lines()
                .map(str::trim)
                .find(is_code)
                .map(str::to_owned);
            let ended = self.process.child.try_wait().unwrap();
            assert!(code.is_some() || ended.is_none(), "{}", self.said());
            code.is_some()
        });
        code.unwrap()
    }

    /// Waits for the end, and returns the exit code.
    pub(crate) fn exit(&mut self) -> Option<i32> {
        self.keys = None;
        let mut ended = None;
        eventually("the command ends", || {
            ended = self.process.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap().code()
    }
}

/// A device, or what stands in for a reverse proxy in front of it.
#[derive(Clone)]
pub(crate) struct Phone {
    address: SocketAddr,
    pub(crate) authority: String,
    pub(crate) origin: String,
    /// What it asks for in its TLS handshake.
    pub(crate) server_name: String,
    tls: Option<Arc<ClientConfig>>,
    /// The address that it connects from.
    pub(crate) from: Ipv4Addr,
    /// The `Cookie` header that it sends.
    pub(crate) cookie: String,
}

/// An answer with its body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) text: String,
}

impl Reply {
    fn read(mut stream: impl Read) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            // Without TLS's own end, which does not matter after a whole answer.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
        let text = String::from_utf8_lossy(&bytes);
        let parts = text.split_once("\r\n\r\n");
        let (head, text) = parts.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Reply {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            head: head.to_owned(),
            text: text.to_owned(),
        })
    }

    /// Returns a header's values.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let lines = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value).collect()
    }

    /// Returns the value of a form's hidden field.
    pub(crate) fn field(&self, name: &str) -> String {
        let before = format!("name=\"{name}\" value=\"");
        let (_, rest) = self
            .text
            .split_once(&before)
            .unwrap_or_else(|| panic!("no {name} in {}", self.text));
        rest.split('"').next().unwrap().to_owned()
    }
}

/// A connection, with or without TLS.
pub(crate) trait Wire: Read + Write + Send {}

impl<W: Read + Write + Send> Wire for W {}

impl Phone {
    /// Connects, without a handshake.
    pub(crate) fn tcp(&self) -> io::Result<TcpStream> {
        // A program that another test starts meanwhile must not hold it open.
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddr::from((self.from, 0)))?;
        connect(&socket, &self.address)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    /// Connects.
    pub(crate) fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let stream = self.tcp()?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.server_name.clone()).unwrap();
        let connection = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }

    /// Sends a request as a browser at the page would, except for `headers`, and returns the open connection.
    pub(crate) fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Box<dyn Wire>> {
        let mut wire = self.connect()?;
        let length = body.len().to_string();
        let mut usual = vec![("host", &*self.authority), ("content-length", &length)];
        if !self.cookie.is_empty() {
            usual.push(("cookie", &self.cookie));
        }
        if method == "POST" {
            usual.push(("origin", &self.origin));
            usual.push(("content-type", FORM));
        }
        let is_replaced = |name: &str| headers.iter().any(|(other, _)| *other == name);
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        let usual = usual.iter().filter(|(name, _)| !is_replaced(name));
        for (name, value) in usual.chain(headers) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        wire.write_all(format!("{text}\r\n{body}").as_bytes())?;
        wire.flush()?;
        Ok(wire)
    }

    /// Sends a request, and reads the whole answer.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Reply> {
        let headers = [headers, &[("connection", "close")]].concat();
        Reply::read(self.begin(method, path, &headers, body)?)
    }

    #[track_caller]
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "")
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, &[], body)
    }

    /// Returns true if it sees the list.
    pub(crate) fn is_in(&self) -> bool {
        self.try_send("GET", "/", &[], "")
            .is_ok_and(|reply| reply.status == 200)
    }

    /// Enters a code, keeps the cookie, and returns the status.
    #[track_caller]
    pub(crate) fn pair(&mut self, code: &str, name: &str) -> u16 {
        let reply = self.post("/pair", &format!("code={code}&name={name}"));
        if let Some(cookie) = reply.header("set-cookie").first() {
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
        reply.status
    }

    /// Decides about an item with the form on its page.
    #[track_caller]
    pub(crate) fn decide(&self, item: &str, rest: &str) -> Reply {
        let page = self.get(&format!("/item/{item}"));
        let (csrf, shown) = (page.field("csrf"), page.field("shown"));
        self.post(
            &format!("/item/{item}/decide"),
            &format!("csrf={csrf}&shown={shown}&{rest}"),
        )
    }
}
