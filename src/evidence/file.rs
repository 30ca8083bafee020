//! The audit log on disk: one file, one sequence, many writers.
//!
//! The lines are made elsewhere; here they get their numbers and reach the disk.
//!
//! # One sequence across rotations
//!
//! A log may be renamed at any time, by us or by a tool such as logrotate, while several processes
//! write to it. No number may then be given twice, once in the old file and once in the new one.
//! Two rules see to that:
//!
//! 1. A writer appends only while it holds the file's lock, and only if, with the lock held, the
//!    path still names that file or did so less than [`LEASE`] ago. So a busy log does not pay for
//!    a `stat` with every line.
//! 2. A writer that finds the new file empty waits until every lease on the old file has run out.
//!    Only then does it read the old file's last number, with that file's lock held, and goes on
//!    from there. By rule 1 nobody appends to the old file after that.
//!
//! Locks are taken from the newer file to the older one. Whoever cannot tell which of two is newer gives
//! up the lock that they have, and begins again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::rotation::{newest_first, open_rotated, rotated, shift};
use crate::evidence::record::Line;
use crate::sys::permissions::{Exposure, writable_by_others};

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
    #[error(
        "the audit log `{0}` is not a plain file; name one with --audit-log, or write `--audit-log stderr`"
    )]
    NotAFile(PathBuf),
    /// Another process holds the lock for too long.
    #[error("the audit log `{0}` is locked by another process; end it, or name another log")]
    Locked(PathBuf),
    /// Each time we opened it, it was moved away before we had its lock.
    #[error("the audit log `{0}` is moved away again and again; check what rotates it")]
    Unstable(PathBuf),
    /// Reading what others wrote, or appending, failed.
    #[error("cannot write the audit log `{path}`; check the disk")]
    Write {
        /// The log.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The audit log is stderr, and too much waits there.
    #[error(
        "stderr takes no more audit lines, because nobody reads it or it cannot be written; name a file with --audit-log"
    )]
    Stderr,
}

/// An open log. Every append holds an advisory lock (`flock`) for the time of one write.
#[derive(Debug)]
pub struct LedgerFile {
    file: File,
    id: FileId,
    path: PathBuf,
    /// From which size on we rotate the log ourselves; `None` leaves that to the operator.
    limit: Option<u64>,
    /// Up to where the file's lines are known; others may have written more.
    known: u64,
    /// The sequence number of the last known line.
    seq: u64,
    /// Lines of one batch, kept to be used again.
    text: String,
    /// When the path was last seen to name this file.
    verified: Option<Duration>,
    /// Whether all locks could be had last time; if not, nobody is kept waiting for them again.
    locks_were_free: bool,
}

/// For how long a writer may rely on the path naming its file.
const LEASE: Duration = Duration::from_micros(250);
/// How long until all leases have run out, with some room for how clocks are read.
const AFTER_LEASES: Duration = Duration::from_micros(500);
/// How often a taken lock is tried, and how long is waited in between, first and at most: half a
/// second in all. Another writer holds it for microseconds, or for milliseconds while it begins a
/// new file; one that holds it longer is stopped or broken.
const LOCK_TRIES: u32 = 56;
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
/// How often we follow a log that is moved away while we open it or begin it.
const MOVES: u32 = 100;
/// Where the last sequence number is looked for at first, and at most, from the file's end.
const TAIL: u64 = 64 * 1024;
const MAX_TAIL: u64 = 1024 * 1024 * 1024;
/// The same for files beside the log, which may hold anything.
const MAX_ROTATED_TAIL: u64 = 16 * 1024 * 1024;
/// How much older than the file that was written to last another one may seem, and be as new.
const AS_NEW: Duration = Duration::from_millis(100);
/// How much memory for lines is kept for the next batch.
const KEPT_MEMORY: usize = 64 * 1024;

/// What tells files apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl LedgerFile {
    /// Opens a log for appending, and creates it (mode 0600) where there is none. Rotating it is
    /// the operator's business.
    ///
    /// # Errors
    /// `Open` or `NotAFile`, and those of [`LedgerFile::append`].
    pub fn open(path: &Path) -> Result<LedgerFile, LedgerError> {
        LedgerFile::open_with(path, None)
    }

    /// Like [`LedgerFile::open`], and rotates the log before it grows beyond `limit` bytes:
    /// `NAME` becomes `NAME.1`, that becomes `NAME.2`, and so on; ten are kept.
    ///
    /// # Errors
    /// As [`LedgerFile::open`].
    pub fn open_rotating(path: &Path, limit: u64) -> Result<LedgerFile, LedgerError> {
        LedgerFile::open_with(path, Some(limit))
    }

    fn open_with(path: &Path, limit: Option<u64>) -> Result<LedgerFile, LedgerError> {
        while_moved(|| LedgerFile::open_once(path, limit))
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
        // An empty file is known as such. Of another one the last line may be torn, and the next
        // append has to look.
        if end == 0 {
            ledger.known = 0;
        }
        let _ = ledger.file.unlock();
        Ok(ledger)
    }

    /// Appends lines with the next sequence numbers, all of them or none.
    ///
    /// A line that this returns for survives the end of this process; against a power cut
    /// it is as safe as the system's page cache ([`LedgerFile::sync`]).
    ///
    /// `elapsed` reads the time since some fixed moment; it is read while the lock is held. Where
    /// the log was moved away, as log rotation does, a new one is begun, and the sequence goes on
    /// in it.
    ///
    /// # Errors
    /// `Locked`, `Unstable` or `Write`, and those of [`LedgerFile::open`] after a rotation; no line
    /// of these is then in the log.
    pub fn append(
        &mut self,
        lines: &[Line],
        elapsed: impl Fn() -> Duration,
    ) -> Result<(), LedgerError> {
        // One giant line must not keep its memory.
        self.text.clear();
        self.text.shrink_to(KEPT_MEMORY);
        let written = while_moved(|| self.append_to_current(lines, &elapsed));
        self.locks_were_free = !matches!(written, Err(LedgerError::Locked(_)));
        written
    }

    /// What the last append wrote, if it succeeded.
    #[must_use]
    pub fn written(&self) -> &str {
        // A line break in front ends a line that somebody else left torn.
        self.text.trim_start_matches('\n')
    }

    /// Asks the system to bring everything to the disk.
    ///
    /// # Errors
    /// `Write`.
    pub fn sync(&self) -> Result<(), LedgerError> {
        self.file
            .sync_data()
            .map_err(|source| self.cannot_write(source))
    }

    /// How others may write to the file, if they may.
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
        // Closing the file unlocks it too; nothing is left to do where this fails.
        let _ = self.file.unlock();
        written
    }

    /// Locks the file that the path names, which may have become another one.
    fn lock_current(&mut self, elapsed: &impl Fn() -> Duration) -> Result<(), LedgerError> {
        lock(&self.path, self.lock_tries(), || {
            is_locked(&self.path, self.file.try_lock())
        })?;
        // Read with the lock held: however long we were kept from running before, the lease is
        // judged by the time at which nobody else can begin the next file.
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

    /// Goes over to the file that the path names now, and leaves it locked.
    fn follow_path(&mut self, elapsed: &impl Fn() -> Duration) -> Result<(), LedgerError> {
        let now = elapsed();
        let (next, id) = open_current(&self.path, self.lock_tries())?;
        let is_empty = next.metadata().is_ok_and(|metadata| metadata.len() == 0);
        // Nothing of `self` changes until everything is known: after an error the next append
        // begins here again.
        let seq = match is_empty {
            true => self.begin_after(Some(&self.file), id)?,
            // Who began it has waited for all leases. But they may not have known of our file.
            false => self.last_number_of(&self.file, id)?,
        };
        self.seq = self.seq.max(seq);
        // Another file's last line may be torn: the append looks.
        self.known = if is_empty { 0 } else { u64::MAX };
        self.file = next;
        self.id = id;
        self.verified = Some(now);
        Ok(())
    }

    /// The number after which a log that is empty goes on: the highest in any file that was the
    /// log before, as far as such files can be found. `old` is one, and `id` is the empty log, which
    /// is locked.
    ///
    /// Fails with `Unstable` where the log is moved away meanwhile and somebody else begins the next
    /// one, for which they wait for us.
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
            // The highest number is in the file that was written to last. File systems' clocks are
            // coarse, so those that seem a little older are looked at as well.
            let age = found.and_then(|found: SystemTime| found.duration_since(written).ok());
            if age.is_some_and(|age| age > AS_NEW) {
                break;
            }
            // One that is empty may be about to be written to, by who has it locked.
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

    /// The last number of a file that is the log no more. `id` is the log, which is locked.
    fn last_number_of(&self, file: &File, id: FileId) -> Result<u64, LedgerError> {
        // Shared, so that files that may only be read will do, and several readers at once.
        lock(&self.path, self.lock_tries(), || {
            let locked = file.try_lock_shared();
            // If our log is still there, the other file is older, and whoever has it locked will soon
            // be done. Otherwise it may be newer, and they may wait for ours. It has no number yet
            // then: they would have to have had our lock.
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
            // Somebody else's line may claim the highest number there is.
            seq = seq.saturating_add(1);
            line.write(seq, &mut self.text);
        }
        if let Err(error) = (&self.file).write_all(self.text.as_bytes()) {
            // Half a line would be read as a whole one by nobody: take it back. Where even
            // that fails, the next writer ends the torn line first.
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
        // Close enough: `v` and `seq` add some bytes to each line.
        let more: usize = lines.iter().map(Line::len).sum();
        end > 0 && more > 0 && end.saturating_add(more as u64) > limit
    }

    /// Moves the log away, unless somebody else has just done so, and begins a new one. Our file
    /// is locked before, the new one after.
    fn rotate(&mut self, elapsed: &impl Fn() -> Duration) -> Result<(), LedgerError> {
        // A lease is not enough: this must be the very file that is moved. With its lock held, no
        // other writer moves it.
        if names(&self.path, self.id) {
            shift(&self.path).map_err(|source| self.cannot_write(source))?;
        }
        let _ = self.file.unlock();
        self.follow_path(elapsed)
    }

    fn end(&self) -> Result<u64, LedgerError> {
        // Cheaper than asking for all metadata, and the position means nothing in a file that
        // is only appended to.
        let end = (&self.file).seek(SeekFrom::End(0));
        end.map_err(|source| self.cannot_write(source))
    }

    /// Others have written, or the file was cut or replaced: learns the last number, and
    /// ends a line that somebody left torn.
    fn catch_up(&mut self, end: u64) -> Result<(), LedgerError> {
        let tail = Tail::read(&self.file, end, MAX_TAIL);
        let tail = tail.map_err(|source| self.cannot_write(source))?;
        if tail.is_torn {
            self.text.push('\n');
        }
        let found = match tail.seq {
            Some(seq) => seq,
            // Nothing is in it, or nothing is left: what it held may stand in a copy.
            None if tail.is_whole => self.begin_after(None, self.id)?,
            None => 0,
        };
        // The sequence never goes back, also where a log was cut while we had it open.
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

/// Tries again where the log was moved away.
fn while_moved<T>(mut attempt: impl FnMut() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
    for _ in 1..MOVES {
        match attempt() {
            Err(LedgerError::Unstable(_)) => {}
            done => return done,
        }
    }
    attempt()
}

/// Opens the file that the path names, creating it where there is none, and locks it. With the
/// lock held, the path still names it; otherwise this fails with `Unstable`.
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
        // A named pipe must not keep us waiting for its reader.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(open)?;
    if !file.metadata().map_err(open)?.is_file() {
        return Err(LedgerError::NotAFile(path.to_owned()));
    }
    Ok(file)
}

/// Tries until the file is locked.
fn lock(
    path: &Path,
    tries: u32,
    try_lock: impl Fn() -> Result<bool, LedgerError>,
) -> Result<(), LedgerError> {
    let mut pause = FIRST_PAUSE;
    for attempt in 0..tries {
        if attempt > 0 {
            // The calls that wait for this line may not go on without it, so there is
            // nothing better to do than to wait.
            std::thread::sleep(pause);
            pause = LONGEST_PAUSE.min(2 * pause);
        }
        if try_lock()? {
            return Ok(());
        }
    }
    Err(LedgerError::Locked(path.to_owned()))
}

/// Whether a file is locked now.
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

/// Whether the path names this file. Where that cannot be told it does not, and opening it says
/// why.
fn names(path: &Path, id: FileId) -> bool {
    std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (id.device, id.inode))
}

/// What the end of a file says.
struct Tail {
    /// The number of the last line that has one.
    seq: Option<u64>,
    /// Whether the last line has no end.
    is_torn: bool,
    /// Whether the whole file was looked at.
    is_whole: bool,
}

impl Tail {
    /// Reads the file backwards from `end` until a number is found, `most` bytes at most.
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

/// The bytes between two places, or fewer if the file has been cut.
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
mod tests;
