//! The audit log on disk: one file, one sequence, many writers.
//!
//! What the lines say is made elsewhere; here they get their place and reach the disk.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audit::record::Line;

/// Why lines could not be appended, or the log not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be opened for reading and appending.
    #[error(
        "cannot open the audit log `{path}`; check that its folder exists and may be written to, or name another with --audit-log"
    )]
    Open {
        /// The log.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is something else than a plain file.
    #[error("the audit log `{0}` is not a plain file; name one with --audit-log")]
    NotAFile(PathBuf),
    /// Another process holds the lock for too long.
    #[error("the audit log `{0}` is locked by another process; end it, or name another log")]
    Locked(PathBuf),
    /// Reading what others wrote, or appending, failed.
    #[error("cannot write the audit log `{path}`; check the disk")]
    Write {
        /// The log.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// An open log. Every append holds an advisory lock (`flock`) for the time of one write.
#[derive(Debug)]
pub struct LedgerFile {
    file: File,
    path: PathBuf,
    /// Up to where the file's lines are known; others may have written more.
    known: u64,
    /// The sequence number of the last known line.
    seq: u64,
    /// Lines of one batch, kept to be used again.
    text: String,
}

/// How often a taken lock is tried again, and how long is waited in between: 2 s in all.
/// Another writer holds it for microseconds; one that holds it longer is stopped or broken.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// The longest line whose sequence number is looked for at the file's end.
const TAIL: u64 = 64 * 1024;

impl LedgerFile {
    /// Opens a log for appending, and makes it (mode 0600) where there is none.
    ///
    /// # Errors
    /// `Open` or `NotAFile`, and those of [`LedgerFile::append`].
    pub fn open(path: &Path) -> Result<LedgerFile, LedgerError> {
        let open = |source| LedgerError::Open {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(open)?;
        if !file.metadata().map_err(open)?.is_file() {
            return Err(LedgerError::NotAFile(path.to_owned()));
        }
        let mut ledger = LedgerFile {
            file,
            path: path.to_owned(),
            known: 0,
            seq: 0,
            text: String::new(),
        };
        ledger.append(&[])?;
        Ok(ledger)
    }

    /// Appends lines with the next sequence numbers, all of them or none.
    ///
    /// A line that this returns for survives the end of this process; against a power cut
    /// it is as safe as the system's page cache ([`LedgerFile::sync`]).
    ///
    /// # Errors
    /// `Locked` or `Write`; the file is then as it was.
    pub fn append(&mut self, lines: &[Line]) -> Result<(), LedgerError> {
        self.lock()?;
        let written = self.append_locked(lines);
        // Closing the file unlocks it too; nothing is left to do where this fails.
        let _ = self.file.unlock();
        written.map_err(|source| LedgerError::Write {
            path: self.path.clone(),
            source,
        })
    }

    /// Asks the system to bring everything to the disk.
    ///
    /// # Errors
    /// `Write`.
    pub fn sync(&self) -> Result<(), LedgerError> {
        self.file.sync_data().map_err(|source| LedgerError::Write {
            path: self.path.clone(),
            source,
        })
    }

    fn lock(&self) -> Result<(), LedgerError> {
        for _ in 0..LOCK_TRIES {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                // The calls that wait for this line may not go on without it, so there is
                // nothing better to do than to wait.
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(source)) => {
                    return Err(LedgerError::Write {
                        path: self.path.clone(),
                        source,
                    });
                }
            }
        }
        Err(LedgerError::Locked(self.path.clone()))
    }

    fn append_locked(&mut self, lines: &[Line]) -> io::Result<()> {
        // Cheaper than asking for all metadata, and the position means nothing in a file that
        // is only appended to.
        let end = self.file.seek(SeekFrom::End(0))?;
        self.text.clear();
        if end != self.known {
            self.catch_up(end)?;
        }
        let mut seq = self.seq;
        for line in lines {
            seq += 1;
            line.write(seq, &mut self.text);
        }
        if let Err(error) = (&self.file).write_all(self.text.as_bytes()) {
            // Half a line would be read as a whole one by nobody: take it back. Where even
            // that fails, the next writer ends the torn line first.
            let _ = self.file.set_len(end);
            self.known = u64::MAX;
            return Err(error);
        }
        self.known = end + self.text.len() as u64;
        self.seq = seq;
        // One giant line must not keep its memory.
        self.text.shrink_to(64 * 1024);
        Ok(())
    }

    /// Others have written, or the file was cut or replaced: learns the last number, and
    /// ends a line that somebody left torn.
    fn catch_up(&mut self, end: u64) -> io::Result<()> {
        let mut window = TAIL;
        loop {
            let start = end.saturating_sub(window);
            self.file.seek(SeekFrom::Start(start))?;
            let mut tail = Vec::new();
            (&self.file).take(end - start).read_to_end(&mut tail)?;
            if tail.last().is_some_and(|byte| *byte != b'\n') {
                self.text.push('\n');
            }
            // The sequence never goes back, also where a log was cut while we had it open.
            let found = last_seq(&tail, start == 0);
            if found.is_some() || start == 0 {
                self.seq = self.seq.max(found.unwrap_or(0));
                return Ok(());
            }
            self.text.clear();
            window = window.saturating_mul(16);
        }
    }
}

/// The sequence number of the last whole line; its front part may be missing unless `whole`.
fn last_seq(tail: &[u8], whole: bool) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        seq: u64,
    }
    let mut lines: Vec<&[u8]> = tail.split(|byte| *byte == b'\n').collect();
    if !whole && !lines.is_empty() {
        lines.remove(0);
    }
    let numbered = lines.iter().rev();
    numbered
        .filter_map(|line| serde_json::from_slice::<Numbered>(line).ok())
        .map(|line| line.seq)
        .next()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::audit::record::Timestamp;

    fn line(n: usize) -> Line {
        Line::event(&Timestamp::new(0), "s", "test", &[("n", &n.to_string())])
    }

    fn seqs(path: &Path) -> Vec<u64> {
        let text = std::fs::read_to_string(path).unwrap();
        let values = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        values.map(|line| line["seq"].as_u64().unwrap()).collect()
    }

    #[test]
    fn several_writers_share_one_gapless_sequence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let writers = (0..4).map(|_| {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut ledger = LedgerFile::open(&path).unwrap();
                for n in 0..50 {
                    ledger.append(&[line(n), line(n)]).unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.join().unwrap();
        }
        assert_eq!(seqs(&path), (1..=400).collect::<Vec<u64>>());
    }

    #[test]
    fn new_files_are_readable_by_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        LedgerFile::open(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_somebody_left_torn_is_ended_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        LedgerFile::open(&path).unwrap().append(&[line(1)]).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str(r#"{"v":1,"seq":2,"ts"#);
        std::fs::write(&path, &text).unwrap();
        LedgerFile::open(&path).unwrap().append(&[line(2)]).unwrap();
        assert_eq!(seqs(&path), [1, 2]);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    }

    #[test]
    fn the_sequence_goes_on_after_a_line_longer_than_the_window_and_after_a_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut first = LedgerFile::open(&path).unwrap();
        let giant = Line::event(&Timestamp::new(0), "s", "test", &[("x", &"x".repeat(3 * TAIL as usize))]);
        first.append(&[line(1), giant]).unwrap();
        LedgerFile::open(&path).unwrap().append(&[line(3)]).unwrap();
        assert_eq!(seqs(&path), [1, 2, 3]);
        std::fs::write(&path, "").unwrap();
        first.append(&[line(4)]).unwrap();
        assert_eq!(seqs(&path), [3], "this writer had seen two lines");
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("no/such/folder/audit.jsonl");
        let error = LedgerFile::open(&missing).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot open the audit log `"),
            "{error}"
        );
        assert!(LedgerFile::open(dir.path()).is_err());
        assert!(matches!(
            LedgerFile::open(Path::new("/dev/null")),
            Err(LedgerError::NotAFile(_))
        ));
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_no_torn_line() {
        // /dev/full stands for the disk: every write to it fails with ENOSPC.
        let full = Path::new("/dev/full");
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(full)
            .unwrap();
        let mut ledger = LedgerFile {
            file,
            path: full.to_owned(),
            known: 0,
            seq: 0,
            text: String::new(),
        };
        assert!(matches!(
            ledger.append(&[line(1)]),
            Err(LedgerError::Write { .. })
        ));
        assert_eq!(ledger.seq, 0);
    }
}
