//! The TLS certificate of the remote page, and its key, from PEM files that somebody renews.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;

use crate::sys::clock::Clock;
use crate::sys::permissions::readable_by_others;

/// How often we look whether the files have changed, at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A certificate in use. Clones share it.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    cert: PathBuf,
    key: PathBuf,
    clock: Clock,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// When the files were last changed.
    changed: Changed,
    /// When we last looked.
    looked: Duration,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

/// The times of both files.
type Changed = [Option<SystemTime>; 2];

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("`{}` cannot be read; check `{key}`", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The key of the configuration that names it.
        key: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A file does not have what it should.
    #[error("`{}` has no {what} as PEM; check `{key}`", .file.display())]
    Nothing {
        /// The file.
        file: PathBuf,
        /// What it should have.
        what: &'static str,
        /// The key of the configuration that names it.
        key: &'static str,
    },
    /// Certificate and key do not fit, or are of a kind that TLS does not have.
    #[error("the certificate in `{}` cannot be used with the key in `{}`", .cert.display(), .key.display())]
    Unusable {
        /// The file with the certificate.
        cert: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
}

impl Certificate {
    /// Reads a certificate with those that vouch for it, and its key.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(cert: &Path, key: &Path) -> Result<Certificate, CertificateError> {
        if let Some(exposure) = fs::metadata(key).ok().as_ref().and_then(readable_by_others) {
            tracing::warn!(
                "other users may read `{}` ({exposure}) and pretend to be the inbox's page; `chmod 600` it",
                key.display()
            );
        }
        let clock = Clock::start();
        let current = Current {
            // Before reading: a change in between is found the next time.
            changed: changed(cert, key),
            config: Arc::new(read(cert, key)?),
            looked: clock.now().elapsed,
        };
        Ok(Certificate(Arc::new(Shared {
            cert: cert.to_owned(),
            key: key.to_owned(),
            clock,
            current: Mutex::new(current),
        })))
    }

    /// Returns what accepts the next connection. Reads the files again if they have changed; while they cannot be used,
    /// what was read last stays in use.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        let now = self.0.clock.now().elapsed;
        TlsAcceptor::from(self.config(now))
    }

    fn config(&self, now: Duration) -> Arc<ServerConfig> {
        let Shared {
            cert, key, current, ..
        } = &*self.0;
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(current.looked) >= LOOK_EVERY {
            current.looked = now;
            let found = changed(cert, key);
            if found != current.changed {
                current.changed = found;
                match read(cert, key) {
                    Ok(config) => current.config = Arc::new(config),
                    Err(error) => {
                        let why = crate::sys::with_causes(&error);
                        tracing::warn!("the inbox's page keeps its old certificate: {why}");
                    }
                }
            }
        }
        Arc::clone(&current.config)
    }
}

fn changed(cert: &Path, key: &Path) -> Changed {
    [cert, key].map(|file| fs::metadata(file).and_then(|found| found.modified()).ok())
}

fn read(cert: &Path, key: &Path) -> Result<ServerConfig, CertificateError> {
    const CERT: (&str, &str) = ("certificate", "tlsCert");
    const KEY: (&str, &str) = ("private key", "tlsKey");
    let bad = |file: &Path, (what, key): (&'static str, &'static str), error| {
        let file = file.to_owned();
        if let pem::Error::Io(source) = error {
            CertificateError::Unreadable { file, key, source }
        } else {
            CertificateError::Nothing { file, what, key }
        }
    };
    let chain =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| bad(cert, CERT, error))?;
    if chain.is_empty() {
        return Err(bad(cert, CERT, pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, KEY, error))?;
    let unusable = |source| CertificateError::Unusable {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests;
