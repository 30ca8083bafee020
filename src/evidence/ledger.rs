//! The destination of the audit log: a file, stderr, or both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::record::{Line, Origin, Timestamp};
use super::{LedgerError, LedgerFile};
use crate::sys::Stderr;
use crate::sys::clock::{Clock, unix_ms};

/// The destination of the audit log.
///
/// Clones share one log: sessions in one process share its sequence.
#[derive(Debug, Clone)]
pub enum Ledger {
    /// A file.
    File(Arc<Mutex<LedgerFile>>),
    /// A file that must accept every record, and a copy on stderr, which may drop records.
    Copied {
        /// The file.
        file: Arc<Mutex<LedgerFile>>,
        /// The destination of the copy.
        stderr: Stderr,
    },
    /// Stderr only: a record that it does not accept is lost.
    Stderr {
        /// The writer to stderr.
        stderr: Stderr,
        /// The last sequence number of this run.
        seq: Arc<Mutex<u64>>,
    },
    /// Nowhere: in a run that refuses every call.
    Nowhere,
}

impl Ledger {
    /// Creates a log in a file.
    #[must_use]
    pub fn file(file: LedgerFile) -> Ledger {
        Ledger::File(Arc::new(Mutex::new(file)))
    }

    /// Creates a log in a file, with a copy on stderr.
    #[must_use]
    pub fn copied(file: LedgerFile, stderr: Stderr) -> Ledger {
        Ledger::Copied {
            file: Arc::new(Mutex::new(file)),
            stderr,
        }
    }

    /// Creates a log on stderr.
    #[must_use]
    pub fn stderr(stderr: Stderr) -> Ledger {
        Ledger::Stderr {
            stderr,
            seq: Arc::default(),
        }
    }

    /// Returns true if the log goes to our stderr, so that nothing else may write there.
    #[must_use]
    pub fn uses_stderr(&self) -> bool {
        match self {
            Ledger::File(_) | Ledger::Nowhere => false,
            Ledger::Copied { .. } | Ledger::Stderr { .. } => true,
        }
    }

    /// Records that a message was refused before it belonged to any session.
    ///
    /// # Errors
    /// Any error of the log.
    pub fn record_refusal(
        &self,
        origin: &Origin,
        reason: &str,
        clock: &Clock,
    ) -> Result<(), LedgerError> {
        let time = Timestamp::new(unix_ms());
        let line = Line::event(&time, origin, "refused", &[("reason", reason)]);
        self.append(&[line], clock)
    }

    /// Numbers and writes lines.
    pub(crate) fn append(&self, lines: &[Line], clock: &Clock) -> Result<(), LedgerError> {
        let elapsed = || clock.elapsed();
        match self {
            Ledger::Nowhere => Ok(()),
            Ledger::File(file) => locked(file).append(lines, elapsed),
            Ledger::Copied { file, stderr } => {
                let mut file = locked(file);
                file.append(lines, elapsed)?;
                stderr.send(file.written().as_bytes().to_vec());
                Ok(())
            }
            Ledger::Stderr { stderr, seq } => {
                let mut last = locked(seq);
                let mut next = *last;
                let mut text = String::new();
                for line in lines {
                    next += 1;
                    line.write(next, &mut text);
                }
                let sent = stderr.try_send(text.into_bytes());
                sent.map_err(|_| LedgerError::Stderr)?;
                *last = next;
                Ok(())
            }
        }
    }

    /// Makes sure that the lines survive a power failure.
    pub(crate) fn sync(&self) -> Result<(), LedgerError> {
        match self {
            Ledger::File(file) | Ledger::Copied { file, .. } => locked(file).sync(),
            Ledger::Stderr { .. } | Ledger::Nowhere => Ok(()),
        }
    }
}

/// The lock is never held across an await, so it is free in a single-threaded process.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
