//! A push service on this machine: it speaks HTTP/1.1 over TLS, keeps what it gets, and answers as the test says.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::engines::for_test::DEADLINE;

/// Trusted by the clients of these tests. Its key is lost.
pub(in crate::engines::inbox) const CA: &[u8] = include_bytes!("ca.pem");
/// The certificate of the host `push.example`, and its key.
const IDENTITY: &[u8] = include_bytes!("push.example.pem");

/// A request for a push message.
#[derive(Debug)]
pub(in crate::engines::inbox) struct Received {
    pub(in crate::engines::inbox) line: String,
    pub(in crate::engines::inbox) headers: BTreeMap<String, String>,
    pub(in crate::engines::inbox) body: Vec<u8>,
}

#[derive(Debug)]
struct Answer {
    text: String,
    /// Held back until this says something, or its sender is dropped.
    hold: Option<Receiver<()>>,
}

#[derive(Debug)]
pub(in crate::engines::inbox) struct PushService {
    port: u16,
    received: Receiver<Received>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    connected: AtomicUsize,
    closed: AtomicUsize,
}

impl PushService {
    pub(in crate::engines::inbox) fn start() -> PushService {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(IDENTITY).collect();
        let key = PrivateKeyDer::from_pem_slice(IDENTITY).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates.unwrap(), key);
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, received) = channel();
        let shared = Arc::new(Shared::default());
        let service = Arc::clone(&shared);
        // These threads end with the tests' process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, service) = (Arc::clone(&config), Arc::clone(&service));
                let sender = sender.clone();
                std::thread::spawn(move || service.serve(stream, config, &sender));
            }
        });
        PushService {
            port,
            received,
            shared,
        }
    }

    /// Returns the URL of a push resource here.
    pub(in crate::engines::inbox) fn endpoint(&self, path: &str) -> String {
        format!("https://push.example:{}/{path}", self.port)
    }

    pub(in crate::engines::inbox) fn port(&self) -> u16 {
        self.port
    }

    /// Sets the next answer after those that are set: a status line, and headers.
    pub(in crate::engines::inbox) fn answers(&self, head: &str) {
        self.add(head, None);
    }

    /// Like `answers`, but holds the answer back until the returned value is dropped.
    pub(in crate::engines::inbox) fn holds(&self, head: &str) -> Sender<()> {
        let (release, hold) = channel();
        self.add(head, Some(hold));
        release
    }

    fn add(&self, head: &str, hold: Option<Receiver<()>>) {
        let text = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
        let mut answers = self.shared.answers.lock().unwrap();
        answers.push_back(Answer { text, hold });
    }

    /// Waits for the next request.
    pub(in crate::engines::inbox) fn receive(&self) -> Received {
        self.received.recv_timeout(DEADLINE).unwrap()
    }

    /// Returns true if no request waits to be looked at.
    pub(in crate::engines::inbox) fn has_no_more(&self) -> bool {
        self.received.try_recv().is_err()
    }

    /// Returns how many connections there were.
    pub(in crate::engines::inbox) fn connections(&self) -> usize {
        self.shared.connected.load(Ordering::SeqCst)
    }

    /// Returns how many of them have ended.
    pub(in crate::engines::inbox) fn closed(&self) -> usize {
        self.shared.closed.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream, config: Arc<ServerConfig>, received: &Sender<Received>) {
        self.connected.fetch_add(1, Ordering::SeqCst);
        let connection = ServerConnection::new(config).unwrap();
        let mut stream = BufReader::new(StreamOwned::new(connection, stream));
        while let Some(request) = read_request(&mut stream) {
            // The test may have ended.
            let _ = received.send(request);
            let answer = self.answers.lock().unwrap().pop_front();
            let text = answer.map(|answer| {
                if let Some(hold) = answer.hold {
                    let _ = hold.recv();
                }
                answer.text
            });
            let created = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
            let text = text.unwrap_or_else(|| created.to_owned());
            if stream.get_mut().write_all(text.as_bytes()).is_err() {
                break;
            }
        }
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

/// Reads a request. `None` if the connection ends.
fn read_request(
    stream: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>,
) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: BTreeMap<String, String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(Received {
        line: lines.swap_remove(0),
        headers,
        body,
    })
}
