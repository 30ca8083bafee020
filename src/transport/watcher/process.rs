//! The watcher itself: reads the numbers of process groups until the proxy is gone, then ends the
//! groups that are left.
//!
//! Once a group is gone, its number could be given to another group. Three things prevent harm: the
//! system does not reuse a number while any process of the group is left; the proxy takes back the
//! number of a group that it has ended; and the watcher forgets groups that are gone. It checks
//! for them whenever a number arrives while the proxy lives, and afterwards every few milliseconds
//! and right before each signal. In that time, the system would have to use up all other numbers.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rustix::fs::FileType;
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::exists;
use crate::transport::forbid_inspection;

/// How long a server has to exit once its input has ended, and again after SIGTERM: as long as the
/// proxy would give it.
const GRACE: Duration = Duration::from_secs(2);
/// How often to check whether it has.
const POLL: Duration = Duration::from_millis(10);
/// The largest number of groups at once; a proxy has no more than a thousand sessions.
const MAX: usize = 4_096;
/// The process's name in process lists.
#[cfg(target_os = "linux")]
const NAME: &std::ffi::CStr = c"approval-watch";

/// Runs as the watcher of the process at the other end of stdin, until that process is gone.
/// Returns false at once if stdin is not a socket, as a proxy's watcher has.
#[must_use]
pub fn run() -> bool {
    let mut stdin = io::stdin().lock();
    let stat = rustix::fs::fstat(stdin.as_fd());
    if !stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket) {
        let _ = writeln!(
            io::stderr(),
            "approval-proxy: error: do not run the watcher yourself; the proxy starts it"
        );
        return false;
    }
    // `killall approval-proxy` must not kill the watcher.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(NAME);
    // The watcher works without this, too.
    let _ = forbid_inspection();
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // The watcher ignores these: it must not exit before the proxy does.
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    let mut groups = Groups::default();
    let mut number = [0; size_of::<i32>()];
    while stdin.read_exact(&mut number).is_ok() {
        groups.update(i32::from_ne_bytes(number));
    }
    groups.end();
    true
}

/// The process groups to end once the proxy is gone.
#[derive(Debug, Default)]
struct Groups(BTreeSet<i32>);

impl Groups {
    /// Adds the group with this number, or removes it if the number is negative.
    fn update(&mut self, number: i32) {
        self.forget_gone();
        if number < 0 {
            self.0.remove(&number.wrapping_neg());
        } else if self.0.len() < MAX {
            self.0.insert(number);
        }
    }

    /// Ends all groups, as the proxy would have.
    fn end(mut self) {
        for signal in [Signal::TERM, Signal::KILL] {
            self.wait();
            for group in self.0.iter().filter_map(|group| Pid::from_raw(*group)) {
                // It does no harm if the group is gone already.
                let _ = kill_process_group(group, signal);
            }
        }
    }

    /// Waits until all groups are gone, for [`GRACE`] at most. A process that has exited but is not
    /// reaped counts as still there, which does no harm.
    fn wait(&mut self) {
        let mut waited = Duration::ZERO;
        self.forget_gone();
        while !self.0.is_empty() && waited < GRACE {
            thread::sleep(POLL);
            waited += POLL;
            self.forget_gone();
        }
    }

    fn forget_gone(&mut self) {
        self.0.retain(|group| exists(*group));
    }
}
