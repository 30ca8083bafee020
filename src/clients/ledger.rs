//! What entries were before we guarded them, and a copy of each file: private files in the state folder.
//!
//! `plan` decides what is kept and what is forgotten.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::sys::state_dir::{StateDir, StoreError, io_error};

/// The folder of the ledgers.
#[derive(Debug)]
pub(super) struct Ledgers {
    dir: StateDir,
}

/// What we know about the entries of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    v: u32,
    /// The path of the file without symbolic links.
    pub(super) file: String,
    /// The path by which it was named at last. It tells more about whose file it is, and in which language.
    #[serde(default)]
    pub(super) named: String,
    pub(super) entries: Vec<Record>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The keys that lead to it.
    pub(super) path: Vec<String>,
    /// Its bytes before.
    pub(super) original: String,
    /// What we wrote instead. There are several texts if its options were changed, because a killed run may have
    /// written only the ledger.
    pub(super) wrapped: Vec<String>,
}

/// How long to wait between two looks at the lock.
const PAUSE: Duration = Duration::from_millis(20);
/// How often to look: for about ten seconds. A run holds the lock for milliseconds.
pub(super) const TRIES: u32 = 500;
const VERSION: u32 = 1;
const FOLDER: &str = "wrap";
/// The longest ledger that we read.
const MOST: usize = 128 << 20;

impl Ledger {
    pub(super) fn new(target: &Path) -> Ledger {
        Ledger {
            v: VERSION,
            file: target.to_string_lossy().into_owned(),
            named: String::new(),
            entries: Vec::new(),
        }
    }

    /// Returns the record of the entry at these keys.
    pub(super) fn entry(&self, path: &[String]) -> Option<&Record> {
        self.entries.iter().find(|record| record.path == path)
    }

    /// Adds a record, or replaces the one of the same entry.
    pub(super) fn put(&mut self, record: Record) {
        self.forget(&record.path);
        self.entries.push(record);
    }

    /// Removes the record of an entry.
    pub(super) fn forget(&mut self, path: &[String]) {
        self.entries.retain(|record| record.path != path);
    }
}

impl Ledgers {
    /// Opens the folder in the state folder, and creates it.
    ///
    /// # Errors
    /// A folder that others can read, or an error from the system.
    pub(super) fn open(state_dir: &Path) -> Result<Ledgers, StoreError> {
        let state = StateDir::open(state_dir)?;
        let dir = StateDir::open(&state.path().join(FOLDER))?;
        Ok(Ledgers { dir })
    }

    /// Opens the folder if there is one, and creates nothing.
    ///
    /// # Errors
    /// A folder that others can read, or an error from the system.
    pub(super) fn find(state_dir: &Path) -> Result<Option<Ledgers>, StoreError> {
        match state_dir.join(FOLDER).exists() {
            true => Ledgers::open(state_dir).map(Some),
            false => Ok(None),
        }
    }

    /// Waits until no other run reads or writes, and keeps others waiting while the file is open. `None` if another run
    /// is still at it after `tries` looks.
    ///
    /// # Errors
    /// An error from the system.
    pub(super) fn lock(&self, tries: u32) -> Result<Option<fs::File>, StoreError> {
        self.lock_by(FlockOperation::NonBlockingLockExclusive, tries)
    }

    /// The same, but only keeps others from writing.
    ///
    /// # Errors
    /// An error from the system.
    pub(super) fn lock_for_reading(&self, tries: u32) -> Result<Option<fs::File>, StoreError> {
        self.lock_by(FlockOperation::NonBlockingLockShared, tries)
    }

    fn lock_by(
        &self,
        operation: FlockOperation,
        tries: u32,
    ) -> Result<Option<fs::File>, StoreError> {
        let failed = |error| io_error(self.dir.path(), error);
        let file = fs::File::open(self.dir.path()).map_err(failed)?;
        for _ in 0..tries {
            match flock(&file, operation) {
                Ok(()) => return Ok(Some(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(PAUSE),
                Err(error) => return Err(failed(error.into())),
            }
        }
        Ok(None)
    }

    /// Returns what is known about the file at `target`. A damaged ledger is no ledger: entries are then unwrapped by
    /// their structure.
    ///
    /// # Errors
    /// A ledger that others can read, or an error from the system.
    pub(super) fn read(&self, target: &Path) -> Result<Ledger, StoreError> {
        let bytes = self.dir.read(&ledger_name(target), MOST)?;
        let ledger = bytes.and_then(|bytes| serde_json::from_slice::<Ledger>(&bytes).ok());
        let ledger = ledger.filter(|ledger| ledger.v == VERSION);
        Ok(ledger.unwrap_or_else(|| Ledger::new(target)))
    }

    /// Returns the files that have a ledger, by the names that they were given, as long as these lead there.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path())
            .into_iter()
            .flatten()
            .flatten();
        let ledgers = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let bytes = self
                .dir
                .read(name.strip_suffix(".json").map(|_| &*name)?, MOST);
            let ledger: Ledger = serde_json::from_slice(&bytes.ok()??).ok()?;
            let (file, named) = (PathBuf::from(ledger.file), PathBuf::from(ledger.named));
            let is_same = named.canonicalize().is_ok_and(|target| target == file);
            Some(if is_same { named } else { file })
        });
        let mut files: Vec<PathBuf> = ledgers.collect();
        files.sort();
        files
    }

    /// Keeps a ledger, and with `backup` a copy of the whole file. Without entries, forgets both.
    ///
    /// # Errors
    /// An error from the system.
    pub(super) fn write(
        &self,
        target: &Path,
        ledger: &Ledger,
        backup: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        if ledger.entries.is_empty() {
            return self.forget(target);
        }
        if let Some(bytes) = backup {
            self.dir
                .replace(&format!("{}.backup", stem(target)), bytes)?;
        }
        let failed = |error| io_error(self.dir.path(), error);
        let text = serde_json::to_vec(ledger).map_err(|error| failed(error.into()))?;
        self.dir.replace(&ledger_name(target), &text)
    }

    fn forget(&self, target: &Path) -> Result<(), StoreError> {
        let failed = |error| io_error(self.dir.path(), error);
        let beginning = format!("{}.", stem(target));
        for entry in fs::read_dir(self.dir.path()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // With what a killed run left.
            if entry.file_name().to_string_lossy().starts_with(&beginning) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        self.dir.sync().map_err(failed)
    }
}

fn stem(target: &Path) -> String {
    let digest = blake3::hash(target.as_os_str().as_encoded_bytes()).to_hex();
    digest.get(..32).unwrap_or_default().to_owned()
}

fn ledger_name(target: &Path) -> String {
    format!("{}.json", stem(target))
}
