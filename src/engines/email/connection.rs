//! One connection to the server: greeting, TLS, login, and mails.
//!
//! Written from RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 4954 and RFC 4616 (logins). Does not try anything again;
//! `mailer` does. docs/decisions/35-mail.md says why this is ours.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::mail::Mail;
use super::reply::{Features, Reply, Step};
use super::server::{Login, Security, Server};
use crate::engines::http::Scrub;
use crate::evidence::redact::Redaction;
use crate::gate::{Failure, FailureKind};

/// How long connecting may take: looking up the name, TCP, and TLS, each.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long an address may take, if the server has others.
const ADDRESS_TIME: Duration = Duration::from_secs(4);
/// How many addresses of a server are tried.
const MAX_ADDRESSES: usize = 4;
/// How long the server may take for a reply, or to read a mail.
const REPLY_TIME: Duration = Duration::from_secs(30);
/// How long it may take to accept a mail that it has read.
const ACCEPT_TIME: Duration = Duration::from_secs(60);
/// How long a goodbye may take.
const QUIT_TIME: Duration = Duration::from_secs(2);
/// The longest reply, in bytes, with all of its lines.
const MAX_REPLY: usize = 16 * 1024;

/// What a connection runs on.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl Wire for TcpStream {}
impl Wire for tokio_rustls::client::TlsStream<TcpStream> {}

/// The server as texts refer to it, and what they must not repeat.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) scrub: Arc<Scrub>,
    pub(super) redaction: Redaction,
}

/// Why something was not done.
#[derive(Debug)]
pub(super) struct Miss {
    pub(super) failure: Failure,
    /// Whether a further try may help.
    pub(super) is_retryable: bool,
    /// Whether the server may have taken the mail.
    pub(super) may_have_arrived: bool,
}

/// A mail that the server has taken.
#[derive(Debug)]
pub(super) struct Taken {
    /// The recipients that it refused, and what it said.
    pub(super) refused: Vec<String>,
}

/// A connection that is ready for a mail.
pub(super) struct Connection {
    talk: Talk<Box<dyn Wire>>,
}

/// Commands and replies over one stream.
struct Talk<S> {
    stream: BufReader<S>,
    peer: Arc<Peer>,
}

impl Peer {
    fn miss(&self, kind: FailureKind, is_retryable: bool, why: &str) -> Miss {
        Miss {
            failure: Failure {
                kind,
                why: self.scrub.clean(&format!("{} {why}", self.name)),
            },
            is_retryable,
            may_have_arrived: false,
        }
    }

    /// The server does not answer, or not as it should.
    fn lost(&self, why: &str) -> Miss {
        self.miss(FailureKind::Unreachable, true, why)
    }

    fn misconfigured(&self, why: &str) -> Miss {
        self.miss(FailureKind::Misconfigured, false, why)
    }

    /// The server refused a step.
    fn refused(&self, step: Step, reply: &Reply) -> Miss {
        self.miss(
            reply.kind(step),
            reply.is_transient(),
            &self.quoted(step, reply),
        )
    }

    fn quoted(&self, step: Step, reply: &Reply) -> String {
        let mut why = format!("answered {} to {}", reply.code, step.words());
        if let Some(text) = self.scrub.quote(reply.text.as_bytes(), &self.redaction) {
            why.push_str(": ");
            why.push_str(&text);
        }
        if reply.kind(step) == FailureKind::Misconfigured {
            why.push_str("; check the user name and the password in `smtp`");
        }
        why
    }
}

impl Connection {
    /// Connects, and logs in. Nothing is said about mails, and no password is sent, before the way is protected.
    pub(super) async fn open(
        server: &Server,
        tls: &Arc<ClientConfig>,
        peer: Arc<Peer>,
    ) -> Result<Connection, Miss> {
        let tcp = connect(server, &peer).await?;
        let mut talk = match &server.security {
            Security::Loopback => Talk::new(tcp, peer).boxed(),
            Security::Tls(name) => {
                let stream = handshake(tcp, name, tls, &peer).await?;
                Talk::new(stream, peer).boxed()
            }
            Security::StartTls(name) => {
                let mut talk = Talk::new(tcp, peer);
                talk.greeted().await?;
                if !talk.hello().await?.has_starttls {
                    return Err(talk.peer.misconfigured(
                        "offers no STARTTLS, or somebody on the way hides it; nothing was sent",
                    ));
                }
                talk.step(Step::StartTls, "STARTTLS", &[220]).await?;
                let peer = Arc::clone(&talk.peer);
                let tcp = talk.into_quiet()?;
                let stream = handshake(tcp, name, tls, &peer).await?;
                Talk::new(stream, peer).boxed()
            }
        };
        if !matches!(server.security, Security::StartTls(_)) {
            talk.greeted().await?;
        }
        // RFC 3207 section 4.2: what was said before TLS is forgotten.
        let features = talk.hello().await?;
        if let Some(login) = &server.login {
            talk.log_in(login, &features).await?;
        }
        Ok(Connection { talk })
    }

    /// Sends a mail. The connection is of no use after a failure.
    pub(super) async fn deliver(&mut self, mail: &Mail) -> Result<Taken, Miss> {
        let talk = &mut self.talk;
        let from = format!("MAIL FROM:<{}>", mail.from);
        talk.step(Step::Sender, &from, &[250]).await?;
        let mut refused = Vec::new();
        let mut misses: Option<Miss> = None;
        for to in &mail.to {
            let reply = talk.command(&format!("RCPT TO:<{to}>")).await?;
            match reply.code {
                250..=252 => continue,
                // The server is about to close the connection.
                421 => return Err(talk.peer.refused(Step::Recipient, &reply)),
                _ => {}
            }
            refused.push(format!(
                "`{to}`: {}",
                talk.peer.quoted(Step::Recipient, &reply)
            ));
            let miss = talk.peer.refused(Step::Recipient, &reply);
            // If all are refused, a further try helps if it helps anybody.
            if misses.as_ref().is_none_or(|known| !known.is_retryable) {
                misses = Some(miss);
            }
        }
        if let Some(miss) = misses
            && refused.len() == mail.to.len()
        {
            return Err(miss);
        }
        talk.step(Step::Data, "DATA", &[354]).await?;
        let silent = |peer: &Peer| peer.lost("does not read the mail");
        match timeout(REPLY_TIME, talk.write(&mail.data)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(talk.broken(&error)),
            Err(_) => return Err(silent(&talk.peer)),
        }
        // From here on the server may have it, whatever we hear.
        let maybe = |miss: Miss| Miss {
            is_retryable: false,
            may_have_arrived: true,
            ..miss
        };
        match timeout(REPLY_TIME, talk.write(b".\r\n")).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(maybe(talk.broken(&error))),
            Err(_) => return Err(maybe(silent(&talk.peer))),
        }
        let reply = talk.reply(ACCEPT_TIME).await.map_err(maybe)?;
        match reply.code {
            250 => Ok(Taken { refused }),
            _ => Err(talk.peer.refused(Step::Mail, &reply)),
        }
    }

    /// Checks that the server still answers.
    pub(super) async fn check(&mut self) -> Result<(), Miss> {
        self.talk
            .step(Step::Check, "NOOP", &[250])
            .await
            .map(|_| ())
    }

    /// Says goodbye, and closes the connection.
    pub(super) async fn quit(mut self) {
        // It is closed in any case.
        let _ = timeout(QUIT_TIME, self.talk.command("QUIT")).await;
        let _ = timeout(QUIT_TIME, self.talk.stream.shutdown()).await;
    }
}

impl<S: Wire + 'static> Talk<S> {
    fn new(stream: S, peer: Arc<Peer>) -> Talk<S> {
        let stream = BufReader::new(stream);
        Talk { stream, peer }
    }

    /// Forgets the type of the stream. Nothing may have been read.
    fn boxed(self) -> Talk<Box<dyn Wire>> {
        Talk {
            stream: BufReader::new(Box::new(self.stream.into_inner())),
            peer: self.peer,
        }
    }

    /// Returns the stream for TLS.
    fn into_quiet(self) -> Result<S, Miss> {
        // Whoever can write here before TLS could otherwise answer in the server's name after it (CVE-2011-0411).
        match self.stream.buffer().is_empty() {
            true => Ok(self.stream.into_inner()),
            false => Err(self
                .peer
                .misconfigured("said more before TLS than it may; nothing was sent")),
        }
    }
}

impl Wire for Box<dyn Wire> {}

impl<S: Wire> Talk<S> {
    async fn greeted(&mut self) -> Result<(), Miss> {
        let reply = self.reply(REPLY_TIME).await?;
        match reply.code {
            220 => Ok(()),
            _ => Err(self.peer.refused(Step::Greeting, &reply)),
        }
    }

    async fn hello(&mut self) -> Result<Features, Miss> {
        // An address in brackets, because this machine need not have a name (RFC 5321 section 4.1.4).
        let reply = self.step(Step::Hello, "EHLO [127.0.0.1]", &[250]).await?;
        Ok(Features::of(&reply))
    }

    async fn log_in(&mut self, login: &Login, features: &Features) -> Result<(), Miss> {
        let reply = match (features.has_plain, features.has_login) {
            (true, _) => {
                let response = login.plain();
                let reply = self.command(&format!("AUTH PLAIN {response}")).await?;
                match reply.code {
                    334 => self.command(&response).await?,
                    _ => reply,
                }
            }
            (false, true) => {
                let mut reply = self.command("AUTH LOGIN").await?;
                for response in login.login() {
                    if reply.code == 334 {
                        reply = self.command(&response).await?;
                    }
                }
                reply
            }
            (false, false) => {
                return Err(self.peer.misconfigured(
                    "offers no login with a user name and a password (PLAIN or LOGIN); if it wants none, remove them \
                     from `smtp`",
                ));
            }
        };
        match reply.code {
            235 => Ok(()),
            _ => Err(self.peer.refused(Step::Login, &reply)),
        }
    }

    /// Sends a command, whose reply must have one of these codes.
    async fn step(&mut self, step: Step, command: &str, codes: &[u16]) -> Result<Reply, Miss> {
        let reply = self.command(command).await?;
        match codes.contains(&reply.code) {
            true => Ok(reply),
            false => Err(self.peer.refused(step, &reply)),
        }
    }

    async fn command(&mut self, command: &str) -> Result<Reply, Miss> {
        let line = format!("{command}\r\n");
        match timeout(REPLY_TIME, self.write(line.as_bytes())).await {
            Ok(Ok(())) => self.reply(REPLY_TIME).await,
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(self.peer.lost("does not read")),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn reply(&mut self, longest: Duration) -> Result<Reply, Miss> {
        let mut text = Vec::new();
        let read = async {
            while !Reply::is_whole(&text) {
                let room = MAX_REPLY.saturating_sub(text.len());
                let mut rest = (&mut self.stream).take(u64::try_from(room).unwrap_or(0));
                let count = rest.read_until(b'\n', &mut text).await?;
                if count == 0 || !text.ends_with(b"\n") {
                    return Ok(count == room);
                }
            }
            Ok(false)
        };
        let is_too_long: bool = match timeout(longest, read).await {
            Ok(Ok(is_too_long)) => is_too_long,
            Ok(Err(error)) => return Err(self.broken(&error)),
            Err(_) => return Err(self.peer.lost("does not answer")),
        };
        if is_too_long {
            return Err(self.peer.lost(&format!(
                "answered with more than {MAX_REPLY} bytes; is it a mail server?"
            )));
        }
        match Reply::read(&text) {
            Some(reply) => Ok(reply),
            None if text.is_empty() => Err(self.peer.lost("closed the connection")),
            None => Err(self
                .peer
                .lost("did not answer as a mail server does; check the port in `smtp`")),
        }
    }

    fn broken(&self, error: &io::Error) -> Miss {
        self.peer.lost(&format!("lost the connection: {error}"))
    }
}

async fn connect(server: &Server, peer: &Peer) -> Result<TcpStream, Miss> {
    let place = (server.host.as_str(), server.port);
    let found = match timeout(CONNECT_TIME, lookup_host(place)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(peer.lost(&format!("cannot be found: {error}"))),
        Err(_) => return Err(peer.lost("cannot be found: looking up its name takes too long")),
    };
    let mut last = "it has no address".to_owned();
    let addresses: Vec<_> = found.take(MAX_ADDRESSES).collect();
    let longest = match addresses.len() {
        0 | 1 => CONNECT_TIME,
        _ => ADDRESS_TIME,
    };
    for address in addresses {
        match timeout(longest, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // Only makes commands faster.
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = "it does not answer".to_owned(),
        }
    }
    Err(peer.lost(&format!("cannot be reached: {last}")))
}

async fn handshake(
    tcp: TcpStream,
    name: &ServerName<'static>,
    tls: &Arc<ClientConfig>,
    peer: &Peer,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Miss> {
    let connector = TlsConnector::from(Arc::clone(tls));
    let error = match timeout(CONNECT_TIME, connector.connect(name.clone(), tcp)).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => error,
        Err(_) => return Err(peer.lost("does not answer in TLS")),
    };
    let is_about_certificate = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)));
    Err(match is_about_certificate {
        true => peer.misconfigured(&format!("has no certificate that counts: {error}")),
        false => peer.lost(&format!("cannot speak TLS with us: {error}")),
    })
}

#[cfg(test)]
mod tests;
