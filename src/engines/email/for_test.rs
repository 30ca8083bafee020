//! A mail server for tests, as a task on loopback. It keeps what it hears.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::connection::Peer;
use super::mail::Mail;
use super::server::Server;
use crate::engines::http::{Scrub, TransportSettings};
use crate::evidence::redact::Redaction;

/// What a server does about a command.
pub(super) enum Does {
    Says(String),
    Hangs,
    Closes,
}

pub(super) fn says(text: &str) -> Does {
    Does::Says(format!("{text}\r\n"))
}

/// A server that takes everything. The greeting answers the command ``, and the end of a mail the command `.`.
pub(super) fn takes_all(command: &str) -> Does {
    match command.split([' ', ':']).next().unwrap() {
        "" => says("220 m.example"),
        "EHLO" => says("250-m.example\r\n250 AUTH PLAIN"),
        "AUTH" => says("235 ok"),
        "DATA" => says("354 go"),
        _ => says("250 ok"),
    }
}

/// What a client said.
pub(super) type Heard = Arc<Mutex<Vec<String>>>;

/// Starts a server for one connection. Returns its port, and what it hears.
pub(super) async fn serve(behaviour: impl Fn(&str) -> Does + Send + 'static) -> (u16, Heard) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    let keeps = Arc::clone(&heard);
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(tcp);
        let (mut command, mut is_mail) = (String::new(), false);
        loop {
            if !is_mail || command == "." {
                match behaviour(&command) {
                    Does::Says(text) => {
                        is_mail = command == "DATA" && text.starts_with("354");
                        // The client may have closed the connection.
                        let _ = stream.write_all(text.as_bytes()).await;
                    }
                    Does::Hangs => std::future::pending().await,
                    Does::Closes => return,
                }
            }
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            command = line.trim_end().to_owned();
            keeps.lock().unwrap().push(command.clone());
        }
    });
    (port, heard)
}

pub(super) fn server(port: u16, url: &str) -> (Server, Arc<Peer>) {
    let mut scrub = Scrub::default();
    let url = url.replace("PORT", &port.to_string());
    let server = Server::read(&url, &TransportSettings::default(), &mut scrub).unwrap();
    let peer = Arc::new(Peer {
        name: server.peer(),
        scrub: Arc::new(scrub),
        redaction: Redaction::default(),
    });
    (server, peer)
}

pub(super) fn mail(to: &[&str]) -> Mail {
    Mail {
        from: "bot@mail.example".to_owned(),
        to: to.iter().map(|to| (*to).to_owned()).collect(),
        data: b"Subject: x\r\n\r\n..\r\nhello\r\n".to_vec(),
    }
}
