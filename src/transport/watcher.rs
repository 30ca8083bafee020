//! A small process that ends the servers of a proxy that was killed.
//!
//! A proxy that is killed with SIGKILL cannot end its servers, and a server that ignores the end
//! of its input would keep running. So the proxy starts itself a second time, as its watcher. The
//! watcher learns that the proxy is gone when a socket closes. This file is the proxy's side;
//! `process` is the watcher's.

mod process;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::{SendFlags, send};
use rustix::process::{Pid, test_kill_process_group};

pub use process::run as run_watcher;

/// The only argument of a watcher.
const ARGUMENT: &str = "__watcher";
/// How often to check whether the watcher has exited.
const POLL: Duration = Duration::from_millis(1);

/// Returns true if a command line is that of a watcher.
#[must_use]
pub fn is_watcher(arguments: &[OsString]) -> bool {
    matches!(arguments, [_, only] if only == ARGUMENT)
}

/// The watcher of this process. It is started when there is a first process group to watch. Clones
/// share it.
#[derive(Debug, Clone)]
pub struct Watcher {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The groups that are watched, in case the watcher has to be restarted.
    groups: BTreeSet<i32>,
    running: Option<Running>,
    has_warned: bool,
}

#[derive(Debug)]
struct Running {
    /// Its other end is the watcher's stdin. Nobody else may hold this end, because the watcher
    /// takes the end of its input for the end of this process.
    socket: UnixStream,
    process: Child,
}

/// A process group that is watched until [`Watched::ended`]. If this is dropped without that call,
/// the group is still watched.
#[derive(Debug)]
#[must_use]
pub(super) struct Watched {
    watcher: Watcher,
    group: Pid,
}

impl Watcher {
    /// Creates a watcher that will start this executable again. Its `main` must pass its arguments
    /// to [`is_watcher`] first and, if that returns true, call [`run_watcher`].
    #[must_use]
    pub fn of_this_program() -> Watcher {
        Watcher {
            shared: Arc::default(),
        }
    }

    /// Watches a group. Starts the watcher if there is none or it has exited.
    pub(super) fn watch(&self, group: Pid) -> Watched {
        self.shared().add(group);
        Watched {
            watcher: self.clone(),
            group,
        }
    }

    /// Lets the watcher end the groups that are still watched, and reaps it. Waits for `patience`
    /// at most.
    pub fn finish(&self, patience: Duration) {
        let Some(running) = self.shared().running.take() else {
            return;
        };
        let mut process = running.process;
        drop(running.socket);
        let mut waited = Duration::ZERO;
        while matches!(process.try_wait(), Ok(None)) && waited < patience {
            thread::sleep(POLL);
            waited += POLL;
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Reports that the group has ended, because its number may be given to another group.
    pub(super) fn ended(self) {
        self.watcher.shared().remove(self.group);
    }
}

impl Shared {
    fn add(&mut self, group: Pid) {
        let group = group.as_raw_nonzero().get();
        self.groups.insert(group);
        if let Some(running) = self.running.take() {
            if send_groups(&running.socket, [group]).is_ok() {
                self.running = Some(running);
                return;
            }
            running.kill();
        }
        // A new watcher must not learn of groups that have ended meanwhile.
        self.groups.retain(|group| exists(*group));
        match Running::start(&self.groups) {
            Ok(running) => self.running = Some(running),
            Err(error) if !self.has_warned => {
                self.has_warned = true;
                tracing::warn!(
                    "cannot start the watcher, so a server may keep running if this proxy is killed: {error}"
                );
            }
            Err(_) => {}
        }
    }

    fn remove(&mut self, group: Pid) {
        let group = group.as_raw_nonzero().get();
        if self.groups.remove(&group)
            && let Some(running) = &self.running
        {
            // If the watcher has exited, `add` notices that.
            let _ = send_groups(&running.socket, [-group]);
        }
    }
}

impl Running {
    fn start(groups: &BTreeSet<i32>) -> io::Result<Running> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.shutdown(Shutdown::Read)?;
        // Sent first, so that the watcher learns of them even if we are killed while it starts.
        send_groups(&ours, groups.iter().copied())?;
        let process = Command::new(this_program()?)
            .arg0("approval-proxy")
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            // A signal to our group must not reach it.
            .process_group(0)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Running {
            socket: ours,
            process,
        })
    }

    /// Kills a watcher that does not respond, before it can take the end of its input for our end.
    fn kill(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends groups to a watcher. A negative number means that the group is gone. Never blocks: a watcher
/// that cannot accept a few bytes is of no use.
fn send_groups(watcher: &UnixStream, groups: impl IntoIterator<Item = i32>) -> io::Result<()> {
    let numbers: Vec<u8> = groups.into_iter().flat_map(i32::to_ne_bytes).collect();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    send(watcher, &numbers, flags)?;
    Ok(())
}

/// Returns a path to the running executable that works even if its file was replaced.
fn this_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}

/// Returns true if a process group has a member.
fn exists(group: i32) -> bool {
    Pid::from_raw(group).is_some_and(|group| test_kill_process_group(group).is_ok())
}
