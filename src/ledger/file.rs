//! The audit log on disk: one file, one sequence, many writers.
//!
//! What the lines say is made elsewhere; here they get their place and reach the disk.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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
    /// When it was last seen that `path` still names this file.
    checked: Duration,
    /// Whether the lock could be had last time; if not, nobody is kept waiting for it again.
    lock_was_free: bool,
}

/// How often a taken lock is tried, and how long is waited in between: half a second in all.
/// Another writer holds it for microseconds; one that holds it longer is stopped or broken.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// How often it is looked whether the log was moved.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Where the last sequence number is looked for at first, and at most, from the file's end.
const TAIL: u64 = 64 * 1024;
const MAX_TAIL: u64 = 1024 * 1024 * 1024;

impl LedgerFile {
    /// Opens a log for appending, and makes it (mode 0600) where there is none.
    ///
    /// # Errors
    /// `Open` or `NotAFile`, and those of [`LedgerFile::append`].
    pub fn open(path: &Path) -> Result<LedgerFile, LedgerError> {
        let mut ledger = LedgerFile {
            file: open_file(path)?,
            path: path.to_owned(),
            known: 0,
            seq: 0,
            text: String::new(),
            checked: Duration::ZERO,
            lock_was_free: true,
        };
        ledger.append(&[], Duration::ZERO)?;
        Ok(ledger)
    }

    /// Appends lines with the next sequence numbers, all of them or none.
    ///
    /// A line that this returns for survives the end of this process; against a power cut
    /// it is as safe as the system's page cache ([`LedgerFile::sync`]).
    ///
    /// `elapsed` is the time since some fixed moment. Once a second it is checked that the
    /// log's path still names this file; where it was moved away, as log rotation does, a new
    /// one is begun, and the sequence goes on in it.
    ///
    /// # Errors
    /// `Locked` or `Write`, and those of [`LedgerFile::open`] after a rotation; the file is
    /// then as it was.
    pub fn append(&mut self, lines: &[Line], elapsed: Duration) -> Result<(), LedgerError> {
        if elapsed.saturating_sub(self.checked) >= CHECK_EVERY {
            // Only once it succeeds: until then no append may end up in a file that is gone.
            self.follow_path()?;
            self.checked = elapsed;
        }
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

    /// Goes over to the file that the path names now, if that is another one.
    fn follow_path(&mut self) -> Result<(), LedgerError> {
        let ours = self.file.metadata();
        let named = std::fs::metadata(&self.path);
        if let (Ok(ours), Ok(named)) = (&ours, &named)
            && (ours.dev(), ours.ino()) == (named.dev(), named.ino())
        {
            return Ok(());
        }
        // What was written to the file that moved stays there.
        self.file = open_file(&self.path)?;
        self.known = 0;
        Ok(())
    }

    fn lock(&mut self) -> Result<(), LedgerError> {
        let tries = if self.lock_was_free { LOCK_TRIES } else { 1 };
        self.lock_was_free = false;
        for attempt in 0..tries {
            if attempt > 0 {
                // The calls that wait for this line may not go on without it, so there is
                // nothing better to do than to wait.
                std::thread::sleep(LOCK_PAUSE);
            }
            match self.file.try_lock() {
                Ok(()) => {
                    self.lock_was_free = true;
                    return Ok(());
                }
                Err(TryLockError::WouldBlock) => {}
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
            // Somebody else's line may claim the highest number there is.
            seq = seq.saturating_add(1);
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
            if found.is_some() || start == 0 || window >= MAX_TAIL {
                self.seq = self.seq.max(found.unwrap_or(0));
                return Ok(());
            }
            self.text.clear();
            window = window.saturating_mul(16);
        }
    }
}

fn open_file(path: &Path) -> Result<File, LedgerError> {
    let open = |source| LedgerError::Open {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        // A named pipe must not keep us waiting for its reader.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(open)?;
    if !file.metadata().map_err(open)?.is_file() {
        return Err(LedgerError::NotAFile(path.to_owned()));
    }
    Ok(file)
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
    use crate::audit::record::{Origin, Timestamp};

    fn line(n: usize) -> Line {
        Line::event(
            &Timestamp::new(0),
            &Origin::new("s", "db"),
            "test",
            &[("n", &n.to_string())],
        )
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
                    ledger.append(&[line(n), line(n)], Duration::ZERO).unwrap();
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
        LedgerFile::open(&path)
            .unwrap()
            .append(&[line(1)], Duration::ZERO)
            .unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str(r#"{"v":1,"seq":2,"ts"#);
        std::fs::write(&path, &text).unwrap();
        LedgerFile::open(&path)
            .unwrap()
            .append(&[line(2)], Duration::ZERO)
            .unwrap();
        assert_eq!(seqs(&path), [1, 2]);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    }

    #[test]
    fn the_sequence_goes_on_after_a_line_longer_than_the_window_and_after_a_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut first = LedgerFile::open(&path).unwrap();
        let giant = Line::event(
            &Timestamp::new(0),
            &Origin::new("s", "db"),
            "test",
            &[("x", &"x".repeat(3 * TAIL as usize))],
        );
        first.append(&[line(1), giant], Duration::ZERO).unwrap();
        LedgerFile::open(&path)
            .unwrap()
            .append(&[line(3)], Duration::ZERO)
            .unwrap();
        assert_eq!(seqs(&path), [1, 2, 3]);
        std::fs::write(&path, "").unwrap();
        first.append(&[line(4)], Duration::ZERO).unwrap();
        assert_eq!(seqs(&path), [3], "this writer had seen two lines");
    }

    #[test]
    fn a_log_that_is_moved_away_is_begun_anew_and_its_sequence_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let old = dir.path().join("audit.jsonl.1");
        let mut ledger = LedgerFile::open(&path).unwrap();
        ledger.append(&[line(1), line(2)], Duration::ZERO).unwrap();
        std::fs::rename(&path, &old).unwrap();
        let later = CHECK_EVERY;
        ledger.append(&[line(3)], later).unwrap();
        assert_eq!((seqs(&old), seqs(&path)), (vec![1, 2], vec![3]));
        std::fs::remove_file(&path).unwrap();
        ledger.append(&[line(4)], 2 * later).unwrap();
        assert_eq!(seqs(&path), [4]);
    }

    #[test]
    fn nothing_is_written_to_a_file_that_is_gone_and_cannot_be_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("logs");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("audit.jsonl");
        let mut ledger = LedgerFile::open(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        for millis in [0, 1, 500, 2000] {
            let later = CHECK_EVERY + Duration::from_millis(millis);
            assert!(ledger.append(&[line(1)], later).is_err(), "{millis}");
        }
        std::fs::create_dir(&folder).unwrap();
        ledger.append(&[line(1)], CHECK_EVERY * 9).unwrap();
        assert_eq!(seqs(&path), [1]);
    }

    #[test]
    fn a_lock_that_is_never_free_fails_fast_after_the_first_time_and_nothing_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut ledger = LedgerFile::open(&path).unwrap();
        let holder = File::open(&path).unwrap();
        holder.lock().unwrap();
        for _ in 0..1000 {
            let result = ledger.append(&[line(1)], Duration::ZERO);
            assert!(matches!(result, Err(LedgerError::Locked(_))));
        }
        holder.unlock().unwrap();
        ledger.append(&[line(1)], Duration::ZERO).unwrap();
        assert_eq!(seqs(&path), [1]);
    }

    #[test]
    fn the_highest_number_there_is_does_not_end_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        std::fs::write(&path, format!("{{\"seq\":{}}}\n", u64::MAX)).unwrap();
        let mut ledger = LedgerFile::open(&path).unwrap();
        ledger.append(&[line(1)], Duration::ZERO).unwrap();
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
            checked: Duration::ZERO,
            lock_was_free: true,
        };
        assert!(matches!(
            ledger.append(&[line(1)], Duration::ZERO),
            Err(LedgerError::Write { .. })
        ));
        assert_eq!(ledger.seq, 0);
    }
}
