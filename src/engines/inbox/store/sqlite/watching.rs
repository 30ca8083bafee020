//! Waits for changes by other processes: watches the database's files for writes, then checks whether they changed
//! anything.
//!
//! If files cannot be watched, checks at regular intervals.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::sys::clock::Clock;

/// How long after a write we keep checking for its change: writers sync before their commit takes effect, which can
/// take long on a slow disk.
const ALERT: Duration = Duration::from_secs(2);
/// The shortest and longest pause between two checks. A verdict must reach its proxy within 100 ms in all.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(50);

/// Waits for writes to the store's files.
#[derive(Debug)]
pub(super) struct Watch {
    /// Readable after a write to a file; `None` if files cannot be watched.
    writes: Option<OwnedFd>,
    clock: Clock,
    /// When we last noticed a write.
    last_write: Option<Duration>,
}

/// Why a wait has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// It is time to check for a change.
    Check,
    /// The caller's interrupt became readable.
    Interrupted,
}

impl Watch {
    /// Watches existing files.
    pub(super) fn new(files: &[&Path]) -> Watch {
        let clock = Clock::start();
        Watch {
            writes: watch(files),
            clock,
            // We would have missed a write just before this.
            last_write: Some(clock.elapsed()),
        }
    }

    /// Waits for the next check or until `interrupt` is readable, at most `longest`.
    pub(super) fn wait(&mut self, longest: Duration, interrupt: Option<BorrowedFd<'_>>) -> Wake {
        let since = self
            .last_write
            .map(|last_write| self.clock.elapsed().saturating_sub(last_write));
        let pause = pause(since, self.writes.is_some());
        // During regular checks, a write does not change the time of the next one.
        let writes = self.writes.as_ref().filter(|_| pause.is_none());
        let fds = interrupt.into_iter().chain(writes.map(|fd| fd.as_fd()));
        let pause = pause.map_or(longest, |pause| pause.min(longest));
        let woken = match ready(fds, pause) {
            // The interrupt wins if both are ready.
            Some(0) if interrupt.is_some() => Wake::Interrupted,
            Some(_) | None => Wake::Check,
        };
        self.drain();
        woken
    }

    /// Reads the pending notifications of writes. Their content does not matter.
    fn drain(&mut self) {
        let Some(writes) = &self.writes else {
            return;
        };
        let mut events = [0; 4096];
        loop {
            match rustix::io::read(writes, &mut events) {
                Ok(1..) => self.last_write = Some(self.clock.elapsed()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // No more notifications will arrive.
                Ok(0) | Err(_) => break,
            }
        }
        self.writes = None;
    }
}

/// Waits until one of these is readable or closed at its other end. Returns its index; `None` after `limit` or a
/// signal.
fn ready<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>, limit: Duration) -> Option<usize> {
    let asked = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let mut asked: Vec<PollFd<'_>> = asked.collect();
    let time = Timespec::try_from(limit).ok();
    match poll(&mut asked, time.as_ref()) {
        Ok(_) => asked.iter().position(|fd| !fd.revents().is_empty()),
        Err(Errno::INTR) => None,
        // Do not retry immediately.
        Err(_) => {
            thread::sleep(limit.min(LONGEST));
            None
        }
    }
}

/// Returns how long to wait before the next check; `None` if we watch the files and no write was recent.
fn pause(since_write: Option<Duration>, is_watched: bool) -> Option<Duration> {
    match since_write.filter(|since| *since < ALERT) {
        Some(since) => Some((since / 4).clamp(SHORTEST, LONGEST)),
        None => (!is_watched).then_some(LONGEST),
    }
}

/// Returns a descriptor that becomes readable after a write to one of the files.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn watch(files: &[&Path]) -> Option<OwnedFd> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

    // The system limits the number per user.
    let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
    for file in files {
        add_watch(&watch, *file, WatchFlags::MODIFY).ok()?;
    }
    Some(watch)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn watch(_files: &[&Path]) -> Option<OwnedFd> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn checks_are_frequent_after_a_write_and_at_most_50_ms_apart_until_it_counts() {
        for is_watched in [true, false] {
            let (mut since, mut looks) = (Duration::ZERO, 0);
            while since < ALERT {
                let next = pause(Some(since), is_watched).unwrap();
                assert!(next <= LONGEST && next <= SHORTEST.max(since / 4));
                since += next;
                looks += 1;
            }
            assert!(looks < 70, "{looks}");
        }
    }

    #[test]
    fn long_after_a_write_checks_stop_only_if_the_files_are_watched() {
        for since in [None, Some(ALERT)] {
            assert_eq!(pause(since, true), None);
            assert_eq!(pause(since, false), Some(LONGEST));
        }
    }

    #[test]
    fn an_interrupt_ends_the_wait() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "").unwrap();
        let mut watch = Watch::new(&[&file]);
        let (mut ours, bell) = UnixStream::pair().unwrap();
        ours.write_all(b"!").unwrap();
        let hour = Duration::from_secs(3_600);
        watch.last_write = None;
        // Even if there was a write at the same time.
        fs::write(&file, "x").unwrap();
        assert_eq!(watch.wait(hour, Some(bell.as_fd())), Wake::Interrupted);
        drop(ours);
        assert_eq!(watch.wait(hour, Some(bell.as_fd())), Wake::Interrupted);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_write_ends_the_wait() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "").unwrap();
        let mut watch = Watch::new(&[&file]);
        watch.last_write = None;
        fs::write(&file, "x").unwrap();
        assert_eq!(watch.wait(Duration::from_secs(3_600), None), Wake::Check);
        assert!(watch.last_write.is_some());
        // The same write is not reported twice.
        watch.last_write = None;
        let short = Duration::from_millis(1);
        assert_eq!(watch.wait(short, None), Wake::Check);
        assert_eq!(watch.last_write, None);
    }

    #[test]
    fn without_watched_files_it_checks_at_intervals() {
        let mut watch = Watch::new(&[Path::new("/nowhere/at/all")]);
        assert!(watch.writes.is_none());
        watch.last_write = None;
        let hour = Duration::from_secs(3_600);
        assert_eq!(watch.wait(hour, None), Wake::Check);
    }
}
