//! The watcher itself: reads the numbers of process groups until the proxy is gone, then ends
//! those that are left.
//!
//! A number could become another group's once its group is gone. This is how that is kept from
//! doing harm: the system does not give a number out again while any process of the group is
//! left, the proxy takes back the number of a group that it has ended, and here a group that is
//! found gone is forgotten at once. While the proxy lives, that is with each number that comes;
//! after its end, every few milliseconds and right before each signal. In that time the system
//! would have to give out all other numbers first.

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

/// How long a server has to end once its input has ended, and again after SIGTERM: as long as the
/// proxy would give it.
const GRACE: Duration = Duration::from_secs(2);
/// How often we look whether it has.
const LOOK: Duration = Duration::from_millis(10);
/// The most groups at once; a proxy has no more than a thousand sessions.
const MAX: usize = 4_096;
/// What the process is called in lists of processes.
#[cfg(target_os = "linux")]
const NAME: &std::ffi::CStr = c"approval-watch";

/// Runs as the watcher of the process at the other end of stdin, until that process is gone.
/// False, at once, if stdin is not what a proxy gives its watcher.
#[must_use]
pub fn run() -> bool {
    let mut stdin = io::stdin().lock();
    let stat = rustix::fs::fstat(stdin.as_fd());
    if !stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket) {
        let _ = writeln!(
            io::stderr(),
            "approval-proxy: error: the proxy itself starts its watcher"
        );
        return false;
    }
    // `killall approval-proxy` must not take the watcher along.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(NAME);
    // It can do its work without, too.
    let _ = forbid_inspection();
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // It ends when the proxy does, and not before.
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    let mut groups = Groups::default();
    let mut number = [0; size_of::<i32>()];
    while stdin.read_exact(&mut number).is_ok() {
        groups.hear(i32::from_ne_bytes(number));
    }
    groups.end();
    true
}

/// The process groups that are to be ended.
#[derive(Debug, Default)]
struct Groups(BTreeSet<i32>);

impl Groups {
    /// A number from the proxy: that of a group, negative if the group is gone.
    fn hear(&mut self, number: i32) {
        self.forget_gone();
        if number < 0 {
            self.0.remove(&number.wrapping_neg());
        } else if self.0.len() < MAX {
            self.0.insert(number);
        }
    }

    /// Ends them all, as the proxy would have.
    fn end(mut self) {
        for signal in [Signal::TERM, Signal::KILL] {
            self.wait();
            for group in self.0.iter().filter_map(|group| Pid::from_raw(*group)) {
                // One that is gone by now is what we want.
                let _ = kill_process_group(group, signal);
            }
        }
    }

    /// Waits until they are gone, for [`GRACE`] at most. What has ended and has not been reaped is
    /// still there, which does no harm.
    fn wait(&mut self) {
        let mut waited = Duration::ZERO;
        self.forget_gone();
        while !self.0.is_empty() && waited < GRACE {
            thread::sleep(LOOK);
            waited += LOOK;
            self.forget_gone();
        }
    }

    fn forget_gone(&mut self) {
        self.0.retain(|group| exists(*group));
    }
}
