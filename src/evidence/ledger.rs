//! Where audit lines go: a file, stderr, or both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::record::{Line, Origin, Timestamp};
use super::{LedgerError, LedgerFile};
use crate::sys::Stderr;
use crate::sys::clock::{Clock, unix_ms};

/// Where audit lines go.
///
/// A clone is the same log: sessions in one process share its sequence.
#[derive(Debug, Clone)]
pub enum Ledger {
    /// A file.
    File(Arc<Mutex<LedgerFile>>),
    /// A file that must take each line, and a copy on stderr, where lines may be dropped.
    Copied {
        /// The file.
        file: Arc<Mutex<LedgerFile>>,
        /// Where the copy goes.
        stderr: Stderr,
    },
    /// stderr alone: what it does not take is not recorded.
    Stderr {
        /// The writer.
        stderr: Stderr,
        /// The last number of this run.
        seq: Arc<Mutex<u64>>,
    },
}

impl Ledger {
    /// A log in a file.
    #[must_use]
    pub fn file(file: LedgerFile) -> Ledger {
        Ledger::File(Arc::new(Mutex::new(file)))
    }

    /// A log in a file, with a copy on stderr.
    #[must_use]
    pub fn copied(file: LedgerFile, stderr: Stderr) -> Ledger {
        Ledger::Copied {
            file: Arc::new(Mutex::new(file)),
            stderr,
        }
    }

    /// A log on stderr.
    #[must_use]
    pub fn stderr(stderr: Stderr) -> Ledger {
        Ledger::Stderr {
            stderr,
            seq: Arc::default(),
        }
    }

    /// Whether audit lines go to our stderr, where nobody else may then write.
    #[must_use]
    pub fn uses_stderr(&self) -> bool {
        match self {
            Ledger::File(_) => false,
            Ledger::Copied { .. } | Ledger::Stderr { .. } => true,
        }
    }

    /// Writes down that a message was turned away before it belonged to any session of ours.
    ///
    /// # Errors
    /// As the log's.
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

    /// Writes lines, and numbers them.
    pub(crate) fn append(&self, lines: &[Line], clock: &Clock) -> Result<(), LedgerError> {
        let elapsed = || clock.elapsed();
        match self {
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
                let taken = stderr.take(text.into_bytes());
                taken.map_err(|_| LedgerError::Stderr)?;
                *last = next;
                Ok(())
            }
        }
    }

    /// Sees to it that what was written survives a power failure.
    pub(crate) fn sync(&self) -> Result<(), LedgerError> {
        match self {
            Ledger::File(file) | Ledger::Copied { file, .. } => locked(file).sync(),
            Ledger::Stderr { .. } => Ok(()),
        }
    }
}

/// Nobody holds the lock across an await, so it is free in a process of one thread.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
