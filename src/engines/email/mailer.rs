//! Sends the mails of one engine: over one connection at a time, with further tries.
//!
//! A mail that the server may have taken is not sent again. The connection is closed as soon as no other mail waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::sync::{Mutex, MutexGuard};

use super::connection::{Connection, Miss, Peer, Taken};
use super::mail::Mail;
use super::server::Server;
use crate::engines::http::{Exchange, after_tries};
use crate::gate::{Failure, FailureKind};
use crate::sys::with_causes;

/// What became of a mail.
#[derive(Debug)]
pub(super) enum Sent {
    /// The server has taken it.
    Taken(Taken),
    /// It was not sent, because nobody waits for it any more, or its time is up.
    Dropped,
    /// It was not sent.
    Failed(Failure),
}

/// Sends the mails of one engine.
pub(super) struct Mailer {
    server: Server,
    peer: Arc<Peer>,
    /// How certificates are checked. Reads the system's roots at the first use.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    /// What is open, while somebody waits for a turn.
    connection: Mutex<Option<Connection>>,
    /// How many mails wait for a turn.
    waiting: AtomicUsize,
}

impl Mailer {
    pub(super) fn new(server: Server, peer: Peer) -> Mailer {
        Mailer {
            server,
            peer: Arc::new(peer),
            tls: OnceLock::new(),
            connection: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Sends a mail, unless `over` ends before its turn comes. A mail that has begun is sent to its end.
    pub(super) async fn send<T>(
        &self,
        exchange: &Exchange,
        mail: &Mail,
        over: &mut (impl Future<Output = T> + Unpin),
    ) -> Sent {
        let mut further = 0;
        loop {
            let turn = tokio::select! {
                biased;
                _ = &mut *over => return Sent::Dropped,
                turn = self.turn() => turn,
            };
            let miss = match self.try_once(turn, mail).await {
                Ok(taken) => return Sent::Taken(taken),
                Err(miss) => miss,
            };
            let Miss {
                failure,
                is_retryable,
                may_have_arrived,
            } = miss;
            if may_have_arrived {
                return Sent::Failed(Failure {
                    why: format!(
                        "{}; it may have taken the mail, which is not sent again",
                        failure.why
                    ),
                    ..failure
                });
            }
            if !is_retryable || further >= exchange.transport.retry.attempts {
                return Sent::Failed(after_tries(failure, further));
            }
            further += 1;
            let has_time = tokio::select! {
                biased;
                _ = &mut *over => return Sent::Dropped,
                has_time = exchange.pause(further, None, &failure) => has_time,
            };
            if !has_time {
                return Sent::Dropped;
            }
        }
    }

    /// Connects, logs in, and says goodbye.
    pub(super) async fn test(&self) -> Result<(), Failure> {
        let tested = async {
            let mut connection = self.open().await?;
            connection.check().await?;
            connection.quit().await;
            Ok(())
        };
        tested.await.map_err(|miss: Miss| miss.failure)
    }

    /// Waits for its turn. They come in the order in which they were asked for.
    async fn turn(&self) -> MutexGuard<'_, Option<Connection>> {
        let waits = Waits::new(&self.waiting);
        let turn = self.connection.lock().await;
        drop(waits);
        turn
    }

    async fn try_once(
        &self,
        mut turn: MutexGuard<'_, Option<Connection>>,
        mail: &Mail,
    ) -> Result<Taken, Miss> {
        let mut connection = match turn.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        // After a failure, the connection is only closed.
        let taken = connection.deliver(mail).await?;
        match self.waiting.load(Ordering::Relaxed) {
            0 => connection.quit().await,
            _ => *turn = Some(connection),
        }
        Ok(taken)
    }

    async fn open(&self) -> Result<Connection, Miss> {
        let tls = self.tls.get_or_init(tls).clone().map_err(|why| Miss {
            failure: Failure {
                kind: FailureKind::Misconfigured,
                why: format!("cannot set up TLS; check the system's CA certificates: {why}"),
            },
            is_retryable: false,
            may_have_arrived: false,
        })?;
        Connection::open(&self.server, &tls, Arc::clone(&self.peer)).await
    }
}

/// Counts a mail that waits for its turn, also if it stops to wait.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Waits<'a> {
        waiting.fetch_add(1, Ordering::Relaxed);
        Waits(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Trusts the system's roots, and `SSL_CERT_FILE`, as the HTTP client does.
fn tls() -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier())
        .map_err(|error| with_causes(&error))?;
    Ok(Arc::new(config.with_no_client_auth()))
}

#[cfg(test)]
mod tests;
