//! How a store waits for others: it hears of writes to the database's files, and looks whether they changed anything.
//!
//! Where files cannot be watched, it looks every now and then.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::sys::clock::Clock;

/// How long after a write it is looked for what it changed: writers sync before their change counts, which can take
/// long on a slow disk.
const ALERT: Duration = Duration::from_secs(2);
/// The pauses between two looks, as long as it is looked: a verdict may take 100 ms to its proxy, all in all.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(50);

/// What a store waits with.
#[derive(Debug)]
pub(super) struct Watch {
    /// Readable once a file was written to; `None` where files cannot be watched.
    writes: Option<OwnedFd>,
    clock: Clock,
    /// When a write was last heard of.
    heard: Option<Duration>,
}

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// It is time to look.
    Look,
    /// The caller has something else to do.
    Interrupted,
}

impl Watch {
    /// Watches files that are there.
    pub(super) fn new(files: &[&Path]) -> Watch {
        let clock = Clock::start();
        Watch {
            writes: watch(files),
            clock,
            // What was written just before was not heard of.
            heard: Some(clock.elapsed()),
        }
    }

    /// Waits for the time of the next look, until `interrupt` is readable, or for so long at most.
    pub(super) fn wait(&mut self, longest: Duration, interrupt: Option<BorrowedFd<'_>>) -> Woken {
        let since = self
            .heard
            .map(|heard| self.clock.elapsed().saturating_sub(heard));
        let pause = pause(since, self.writes.is_some());
        // While it is looked again and again, a write changes nothing about when.
        let writes = self.writes.as_ref().filter(|_| pause.is_none());
        let fds = interrupt.into_iter().chain(writes.map(|fd| fd.as_fd()));
        let pause = pause.map_or(longest, |pause| pause.min(longest));
        let woken = match ready(fds, pause) {
            // The interrupt comes first, whether or not there is anything else.
            Some(0) if interrupt.is_some() => Woken::Interrupted,
            Some(_) | None => Woken::Look,
        };
        self.hear();
        woken
    }

    /// Takes note of writes. Which they were does not matter.
    fn hear(&mut self) {
        let Some(writes) = &self.writes else {
            return;
        };
        let mut events = [0; 4096];
        loop {
            match rustix::io::read(writes, &mut events) {
                Ok(1..) => self.heard = Some(self.clock.elapsed()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Nobody tells us anything any more.
                Ok(0) | Err(_) => break,
            }
        }
        self.writes = None;
    }
}

/// Waits until one of these is readable, or closed at its other end: which one, by its place. `None` if none is within
/// this time, or a signal came.
fn ready<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>, limit: Duration) -> Option<usize> {
    let asked = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let mut asked: Vec<PollFd<'_>> = asked.collect();
    let time = Timespec::try_from(limit).ok();
    match poll(&mut asked, time.as_ref()) {
        Ok(_) => asked.iter().position(|fd| !fd.revents().is_empty()),
        Err(Errno::INTR) => None,
        // Not to be tried again at once.
        Err(_) => {
            thread::sleep(limit.min(LONGEST));
            None
        }
    }
}

/// How long to wait before the next look; `None` if a write would be heard of, and none was for long.
fn pause(since_heard: Option<Duration>, is_watched: bool) -> Option<Duration> {
    match since_heard.filter(|since| *since < ALERT) {
        Some(since) => Some((since / 4).clamp(SHORTEST, LONGEST)),
        None => (!is_watched).then_some(LONGEST),
    }
}

/// What is readable once one of the files was written to.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn watch(files: &[&Path]) -> Option<OwnedFd> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

    // The system allows a user only so many.
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
    fn looks_are_close_together_after_a_write_and_never_more_than_50_ms_apart_while_it_may_count() {
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
    fn long_after_a_write_only_those_who_hear_of_the_next_one_stop_looking() {
        for since in [None, Some(ALERT)] {
            assert_eq!(pause(since, true), None);
            assert_eq!(pause(since, false), Some(LONGEST));
        }
    }

    #[test]
    fn whoever_has_something_else_to_do_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "").unwrap();
        let mut watch = Watch::new(&[&file]);
        let (mut ours, bell) = UnixStream::pair().unwrap();
        ours.write_all(b"!").unwrap();
        let hour = Duration::from_secs(3_600);
        watch.heard = None;
        // Also where something was written at the same time.
        fs::write(&file, "x").unwrap();
        assert_eq!(watch.wait(hour, Some(bell.as_fd())), Woken::Interrupted);
        drop(ours);
        assert_eq!(watch.wait(hour, Some(bell.as_fd())), Woken::Interrupted);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_write_ends_the_wait() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "").unwrap();
        let mut watch = Watch::new(&[&file]);
        watch.heard = None;
        fs::write(&file, "x").unwrap();
        assert_eq!(watch.wait(Duration::from_secs(3_600), None), Woken::Look);
        assert!(watch.heard.is_some());
        // What was heard is not heard again.
        watch.heard = None;
        let short = Duration::from_millis(1);
        assert_eq!(watch.wait(short, None), Woken::Look);
        assert_eq!(watch.heard, None);
    }

    #[test]
    fn without_the_files_it_looks_every_now_and_then() {
        let mut watch = Watch::new(&[Path::new("/nowhere/at/all")]);
        assert!(watch.writes.is_none());
        watch.heard = None;
        let hour = Duration::from_secs(3_600);
        assert_eq!(watch.wait(hour, None), Woken::Look);
    }
}
