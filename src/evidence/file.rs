//! The audit log on disk: one file and one sequence, shared by many writers.
//!
//! `record` builds the lines; this module numbers them and writes them to disk.
//!
//! # One sequence across rotations
//!
//! A log may be renamed at any time, by us or by a tool such as logrotate, while several processes write to it. Even
//! then no number may be used twice, once in the old file and once in the new one. Two rules ensure this:
//!
//! 1. A writer appends only while it holds the file's lock, and only if it has seen, with the lock
//!    held, that the path names this file: now, or less than [`LEASE`] ago. So a busy log does not
//!    pay for a `stat` per line.
//! 2. A writer that finds the new file empty waits until every lease on the old file has expired.
//!    Only then does it lock the old file, read its last number, and continue from there. By rule
//!    1, nobody appends to the old file after that.
//!
//! Locks are taken from the newer file to the older one. A writer that cannot tell which of two files is newer releases
//! its lock and starts again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::rotation::{newest_first, open_rotated, rotated, shift};
use crate::evidence::record::Line;
use crate::sys::permissions::{Exposure, writable_by_others};

/// Why the log could not be opened or appended to.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The log cannot be opened for reading and appending.
    #[error(
        "cannot open the audit log `{path}`; check that its folder exists and is writable, or choose another file with --audit-log"
    )]
    Open {
        /// The log's path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The path is not a regular file.
    #[error(
        "the audit log `{0}` is not a regular file; choose a regular file with --audit-log, or use `--audit-log stderr`"
    )]
    NotAFile(PathBuf),
    /// Another process has held the lock for too long.
    #[error(
        "the audit log `{0}` is locked by another process; stop that process, or choose another file with --audit-log"
    )]
    Locked(PathBuf),
    /// Every time we opened the log, it was moved away before we had its lock.
    #[error("the audit log `{0}` keeps being moved away; check what rotates it")]
    Unstable(PathBuf),
    /// Reading what others wrote, or appending, failed.
    #[error("cannot write the audit log `{path}`; check the disk")]
    Write {
        /// The log's path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The audit log is stderr, and too many bytes are waiting there.
    #[error(
        "cannot write the audit log to stderr, because its reader is too slow or gone; choose a file with --audit-log"
    )]
    Stderr,
}

/// An open log. Each append holds an advisory lock (`flock`) while it writes.
#[derive(Debug)]
pub struct LedgerFile {
    file: File,
    id: FileId,
    path: PathBuf,
    /// The size at which we rotate the log ourselves; `None` leaves that to the operator.
    limit: Option<u64>,
    /// How much of the file is known; others may have appended more.
    known: u64,
    /// The sequence number of the last known line.
    seq: u64,
    /// The lines of one batch. Its memory is reused.
    text: String,
    /// When the path last named this file.
    verified: Option<Duration>,
    /// Whether every lock was free last time. If not, the next attempt does not wait.
    locks_were_free: bool,
}

/// How long a writer may assume that the path still names its file.
const LEASE: Duration = Duration::from_micros(250);
/// How long until all leases have expired, with a margin for how clocks are read.
const AFTER_LEASES: Duration = Duration::from_micros(500);
/// How often to try a lock that is taken, and the first and longest pause between tries: half a second in total.
/// Another writer holds the lock for microseconds, or for milliseconds while it starts a new file. One that holds it
/// longer is stopped or broken.
const LOCK_TRIES: u32 = 56;
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
/// How often we follow a log that is moved away while we open or start it.
const MOVES: u32 = 100;
/// How many bytes from the end of the file to search for the last sequence number, at first and at most.
const TAIL: u64 = 64 * 1024;
const MAX_TAIL: u64 = 1024 * 1024 * 1024;
/// The same limit for other files next to the log, which may contain anything.
const MAX_ROTATED_TAIL: u64 = 16 * 1024 * 1024;
/// How far the times of two files may be apart if either may be the newer one: file systems have coarse clocks.
const AS_NEW: Duration = Duration::from_millis(100);
/// How much memory is kept for the next batch.
const KEPT_MEMORY: usize = 64 * 1024;

/// Identifies a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl LedgerFile {
    /// Opens a log for appending, and creates it (mode 0600) if it does not exist. The operator has to rotate it.
    ///
    /// # Errors
    /// `Open` or `NotAFile`, and those of [`LedgerFile::append`].
    pub fn open(path: &Path) -> Result<LedgerFile, LedgerError> {
        LedgerFile::open_with(path, None)
    }

    /// Like [`LedgerFile::open`], but rotates the log before it exceeds `limit` bytes: `NAME` becomes `NAME.1`, which
    /// becomes `NAME.2`, and so on. Ten are kept.
    ///
    /// # Errors
    /// As [`LedgerFile::open`].
    pub fn open_rotating(path: &Path, limit: u64) -> Result<LedgerFile, LedgerError> {
        LedgerFile::open_with(path, Some(limit))
    }

    fn open_with(path: &Path, limit: Option<u64>) -> Result<LedgerFile, LedgerError> {
        retry_if_moved(|| LedgerFile::open_once(path, limit))
    }

    fn open_once(path: &Path, limit: Option<u64>) -> Result<LedgerFile, LedgerError> {
        let (file, id) = open_current(path, LOCK_TRIES)?;
        let mut ledger = LedgerFile {
            file,
            id,
            path: path.to_owned(),
            limit,
            known: u64::MAX,
            seq: 0,
            text: String::new(),
            verified: None,
            locks_were_free: true,
        };
        let end = ledger.end()?;
        ledger.catch_up(end)?;
        // An empty file is fully known. The last line of another file may be torn, so the next append has to check.
        if end == 0 {
            ledger.known = 0;
        }
        let _ = ledger.file.unlock();
        Ok(ledger)
    }

    /// Appends lines with the next sequence numbers, either all of them or none.
    ///
    /// Once this returns, the lines survive the end of this process. Only [`LedgerFile::sync`] protects them from a
    /// power failure.
    ///
    /// `elapsed` returns the time since some fixed moment and is called with the lock held. If the log was moved away,
    /// for example by logrotate, a new file continues the sequence.
    ///
    /// # Errors
    /// `Locked`, `Unstable` or `Write`, and those of [`LedgerFile::open`] after a rotation. In these cases none of the
    /// lines is in the log.
    pub fn append(
        &mut self,
        lines: &[Line],
        elapsed: impl Fn() -> Duration,
    ) -> Result<(), LedgerError> {
        // Do not keep the memory of a huge line.
        self.text.clear();
        self.text.shrink_to(KEPT_MEMORY);
        let written = retry_if_moved(|| self.append_to_current(lines, &elapsed));
        self.locks_were_free = !matches!(written, Err(LedgerError::Locked(_)));
        written
    }

    /// Returns what the last append wrote, if it succeeded.
    #[must_use]
    pub fn written(&self) -> &str {
        // A leading line break ends a line that somebody else left torn.
        self.text.trim_start_matches('\n')
    }

    /// Flushes the file to disk.
    ///
    /// # Errors
    /// `Write`.
    pub fn sync(&self) -> Result<(), LedgerError> {
        self.file
            .sync_data()
            .map_err(|source| self.cannot_write(source))
    }

    /// Returns how others can write to the file, if they can.
    #[must_use]
    pub fn writable_by_others(&self) -> Option<Exposure> {
        writable_by_others(&self.file.metadata().ok()?)
    }

    fn append_to_current(
        &mut self,
        lines: &[Line],
        elapsed: &impl Fn() -> Duration,
    ) -> Result<(), LedgerError> {
        self.lock_current(elapsed)?;
        self.text.clear();
        let written = self.append_locked(lines, elapsed);
        // Closing the file unlocks it too, so a failure here does not matter.
        let _ = self.file.unlock();
        written
    }

    /// Locks the file that the path names, which may be a new one.
    fn lock_current(&mut self, elapsed: &impl Fn() -> Duration) -> Result<(), LedgerError> {
        lock(&self.path, self.lock_tries(), || {
            is_locked(&self.path, self.file.try_lock())
        })?;
        // Read with the lock held, so that a pause of this process before it cannot extend the lease: while we hold the
        // lock, nobody else can start the next file.
        let now = elapsed();
        let has_lease = |verified| now.saturating_sub(verified) < LEASE;
        if self.verified.is_some_and(has_lease) {
            return Ok(());
        }
        if names(&self.path, self.id) {
            self.verified = Some(now);
            return Ok(());
        }
        self.verified = None;
        let _ = self.file.unlock();
        self.follow_path(elapsed)
    }

    /// Switches to the file that the path names now, and leaves it locked.
    fn follow_path(&mut self, elapsed: &impl Fn() -> Duration) -> Result<(), LedgerError> {
        let now = elapsed();
        let (next, id) = open_current(&self.path, self.lock_tries())?;
        let is_empty = next.metadata().is_ok_and(|metadata| metadata.len() == 0);
        // `self` changes only after everything has succeeded. After an error, the next append starts here again.
        let seq = match is_empty {
            true => self.begin_after(Some(&self.file), id)?,
            // Its creator has waited for all leases, but may not have known about our file.
            false => self.last_number_of(&self.file, id)?,
        };
        self.seq = self.seq.max(seq);
        // The last line of another writer's file may be torn; the append checks.
        self.known = if is_empty { 0 } else { u64::MAX };
        self.file = next;
        self.id = id;
        self.verified = Some(now);
        Ok(())
    }

    /// Returns the last number before an empty log: the highest in any earlier file of the log that can be found. `old`
    /// is one of them. `id` is the empty log, which is locked.
    ///
    /// Returns `Unstable` if the log was moved away meanwhile and another writer is starting the next one. That writer
    /// waits for our lock, so the caller must release it and start again.
    fn begin_after(&self, old: Option<&File>, id: FileId) -> Result<u64, LedgerError> {
        if old.is_none() && rotated(&self.path).is_empty() {
            return Ok(0);
        }
        std::thread::sleep(AFTER_LEASES);
        let mut highest = match old {
            Some(old) => self.last_number_of(old, id)?,
            None => 0,
        };
        let mut found = None;
        for (written, path) in newest_first(rotated(&self.path)) {
            // The file written last has the highest number. File systems have coarse clocks, so files that appear
            // slightly older are checked too.
            let age = found.and_then(|found: SystemTime| found.duration_since(written).ok());
            if age.is_some_and(|age| age > AS_NEW) {
                break;
            }
            // An empty file may belong to a writer that holds its lock and is about to write.
            let Some(file) = open_rotated(&path) else {
                continue;
            };
            if file_id(&file).is_ok_and(|other| other != id) {
                let last = self.last_number_of(&file, id)?;
                highest = highest.max(last);
                found = found.or((last > 0).then_some(written));
            }
        }
        Ok(highest)
    }

    /// Returns the last number of a file that is no longer the log. `id` is the log, which is locked.
    fn last_number_of(&self, file: &File, id: FileId) -> Result<u64, LedgerError> {
        // A shared lock also works for read-only files and several readers.
        lock(&self.path, self.lock_tries(), || {
            let locked = file.try_lock_shared();
            // If the path still names our log, the other file is older, and the holder of its lock will soon be done.
            // Otherwise that file may be newer, and its holder may be waiting for our lock. Then it has no number yet,
            // since it needs our lock to get one.
            match locked {
                Err(TryLockError::WouldBlock) if !names(&self.path, id) => {
                    Err(LedgerError::Unstable(self.path.clone()))
                }
                locked => is_locked(&self.path, locked),
            }
        })?;
        let tail = file.metadata().and_then(|metadata| {
            let tail = Tail::read(file, metadata.len(), MAX_ROTATED_TAIL)?;
            Ok(tail.seq.unwrap_or(0))
        });
        let _ = file.unlock();
        tail.map_err(|source| self.cannot_write(source))
    }

    fn lock_tries(&self) -> u32 {
        if self.locks_were_free { LOCK_TRIES } else { 1 }
    }

    fn append_locked(
        &mut self,
        lines: &[Line],
        elapsed: &impl Fn() -> Duration,
    ) -> Result<(), LedgerError> {
        let mut end = self.end()?;
        if self.is_full(end, lines) {
            self.rotate(elapsed)?;
            end = self.end()?;
        }
        if end != self.known {
            self.catch_up(end)?;
        }
        let mut seq = self.seq;
        for line in lines {
            // A forged line may already claim the highest possible number.
            seq = seq.saturating_add(1);
            line.write(seq, &mut self.text);
        }
        if let Err(error) = (&self.file).write_all(self.text.as_bytes()) {
            // Remove a partial line, since no reader could parse it. If that fails too, the next writer ends the torn
            // line first.
            let _ = self.file.set_len(end);
            self.known = u64::MAX;
            return Err(self.cannot_write(error));
        }
        self.known = end + self.text.len() as u64;
        self.seq = seq;
        Ok(())
    }

    fn is_full(&self, end: u64, lines: &[Line]) -> bool {
        let Some(limit) = self.limit else {
            return false;
        };
        // An estimate: `v` and `seq` add a few bytes to each line.
        let more: usize = lines.iter().map(Line::len).sum();
        end > 0 && more > 0 && end.saturating_add(more as u64) > limit
    }

    /// Moves the log away, unless another writer has just done so, and starts a new one. Our file is locked before, the
    /// new one after.
    fn rotate(&mut self, elapsed: &impl Fn() -> Duration) -> Result<(), LedgerError> {
        // A lease is not enough: the path must name exactly this file. While we hold its lock, no other writer moves
        // it.
        if names(&self.path, self.id) {
            shift(&self.path).map_err(|source| self.cannot_write(source))?;
        }
        let _ = self.file.unlock();
        self.follow_path(elapsed)
    }

    fn end(&self) -> Result<u64, LedgerError> {
        // Cheaper than reading all metadata, and a file that is only appended to has no use for its position.
        let end = (&self.file).seek(SeekFrom::End(0));
        end.map_err(|source| self.cannot_write(source))
    }

    /// Catches up after others have written, or after the file was truncated or replaced: finds the last number, and
    /// ends a torn line.
    fn catch_up(&mut self, end: u64) -> Result<(), LedgerError> {
        let tail = Tail::read(&self.file, end, MAX_TAIL);
        let tail = tail.map_err(|source| self.cannot_write(source))?;
        if tail.is_torn {
            self.text.push('\n');
        }
        let found = match tail.seq {
            Some(seq) => seq,
            // The file is empty, or was truncated. Its lines may be in a copy.
            None if tail.is_whole => self.begin_after(None, self.id)?,
            None => 0,
        };
        // The sequence never goes back, even if the log was truncated while we had it open.
        self.seq = self.seq.max(found);
        Ok(())
    }

    fn cannot_write(&self, source: io::Error) -> LedgerError {
        LedgerError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

/// Tries again if the log was moved away.
fn retry_if_moved<T>(
    mut attempt: impl FnMut() -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    for _ in 1..MOVES {
        match attempt() {
            Err(LedgerError::Unstable(_)) => {}
            done => return done,
        }
    }
    attempt()
}

/// Opens the file that the path names, creates it if needed, and locks it. Returns `Unstable` if the path names another
/// file by then.
fn open_current(path: &Path, lock_tries: u32) -> Result<(File, FileId), LedgerError> {
    let file = open_file(path)?;
    lock(path, lock_tries, || is_locked(path, file.try_lock()))?;
    let id = file_id(&file).map_err(|source| LedgerError::Open {
        path: path.to_owned(),
        source,
    })?;
    match names(path, id) {
        true => Ok((file, id)),
        false => Err(LedgerError::Unstable(path.to_owned())),
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
        // Opening a named pipe must not block.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(open)?;
    if !file.metadata().map_err(open)?.is_file() {
        return Err(LedgerError::NotAFile(path.to_owned()));
    }
    Ok(file)
}

/// Tries to lock the file, with pauses.
fn lock(
    path: &Path,
    tries: u32,
    try_lock: impl Fn() -> Result<bool, LedgerError>,
) -> Result<(), LedgerError> {
    let mut pause = FIRST_PAUSE;
    for attempt in 0..tries {
        if attempt > 0 {
            // The calls of this batch cannot continue without their records, so waiting is all that is left to do.
            std::thread::sleep(pause);
            pause = LONGEST_PAUSE.min(2 * pause);
        }
        if try_lock()? {
            return Ok(());
        }
    }
    Err(LedgerError::Locked(path.to_owned()))
}

/// Turns the result of a try into whether the file is locked now.
fn is_locked(path: &Path, locked: Result<(), TryLockError>) -> Result<bool, LedgerError> {
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(LedgerError::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

fn file_id(file: &File) -> io::Result<FileId> {
    let metadata = file.metadata()?;
    Ok(FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

/// Returns true if the path names this file. If that cannot be determined, returns false: opening the path then reports
/// the error.
fn names(path: &Path, id: FileId) -> bool {
    std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (id.device, id.inode))
}

/// The content of a file's end.
struct Tail {
    /// The number of the last line that has one.
    seq: Option<u64>,
    /// Whether the last line has no line break.
    is_torn: bool,
    /// Whether this is the whole file.
    is_whole: bool,
}

impl Tail {
    /// Reads the file backwards from `end` until it finds a number, at most `most` bytes.
    fn read(file: &File, end: u64, most: u64) -> io::Result<Tail> {
        let mut window = TAIL;
        loop {
            let start = end.saturating_sub(window);
            let bytes = read_range(file, start, end)?;
            let tail = Tail {
                seq: last_seq(&bytes, start == 0),
                is_torn: bytes.last().is_some_and(|byte| *byte != b'\n'),
                is_whole: start == 0,
            };
            if tail.seq.is_some() || tail.is_whole || window >= most {
                return Ok(tail);
            }
            window = window.saturating_mul(16);
        }
    }
}

/// Reads the bytes from `start` to `end`, or fewer if the file was truncated.
fn read_range(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(end - start).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, start + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Returns the sequence number of the last complete line. Unless `whole`, the first line may lack its start.
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
mod tests;
