//! A small process that ends the servers of a proxy that was killed.
//!
//! A proxy that is killed with SIGKILL cannot end its servers, and a server that ignores the end
//! of its input would run on. So the proxy starts itself a second time, as its watcher, which
//! learns by the end of a socket that the proxy is gone. This is the proxy's side; what the
//! watcher does stands in `process`.

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
/// How often we look whether the watcher has ended.
const LOOK: Duration = Duration::from_millis(1);

/// Whether a command line is that of a watcher.
#[must_use]
pub fn is_watcher(arguments: &[OsString]) -> bool {
    matches!(arguments, [_, only] if only == ARGUMENT)
}

/// The watcher of this process. It starts with the first process group that it is to watch; clones
/// share it.
#[derive(Debug, Clone)]
pub struct Watcher {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// What is being watched, for a watcher that is started anew.
    groups: BTreeSet<i32>,
    running: Option<Running>,
    has_warned: bool,
}

#[derive(Debug)]
struct Running {
    /// Its other end is the watcher's stdin. Nobody else may hold this end: the watcher takes the
    /// end of its input for the end of this process.
    socket: UnixStream,
    process: Child,
}

/// A process group that is watched until it is known to have ended. If this is dropped before
/// that, the group is still watched.
#[derive(Debug)]
#[must_use]
pub(super) struct Watched {
    watcher: Watcher,
    group: Pid,
}

impl Watcher {
    /// For a program that passes its arguments to [`is_watcher`] first, and becomes a watcher with
    /// [`run_watcher`]: its executable is started again.
    #[must_use]
    pub fn of_this_program() -> Watcher {
        Watcher {
            shared: Arc::default(),
        }
    }

    /// Watches a group. If there is no watcher, or it has ended, starts one.
    pub(super) fn watch(&self, group: Pid) -> Watched {
        self.shared().add(group);
        Watched {
            watcher: self.clone(),
            group,
        }
    }

    /// Lets the watcher end, and reaps it. It takes over what is still being watched; waits for
    /// `patience` at most.
    pub fn finish(&self, patience: Duration) {
        let Some(running) = self.shared().running.take() else {
            return;
        };
        let mut process = running.process;
        drop(running.socket);
        let mut waited = Duration::ZERO;
        while matches!(process.try_wait(), Ok(None)) && waited < patience {
            thread::sleep(LOOK);
            waited += LOOK;
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// The group has ended: its number may become another group's.
    pub(super) fn ended(self) {
        self.watcher.shared().remove(self.group);
    }
}

impl Shared {
    fn add(&mut self, group: Pid) {
        let group = group.as_raw_nonzero().get();
        self.groups.insert(group);
        if let Some(running) = self.running.take() {
            if tell(&running.socket, [group]).is_ok() {
                self.running = Some(running);
                return;
            }
            running.end();
        }
        // Whatever has ended meanwhile is none of a new watcher's business.
        self.groups.retain(|group| exists(*group));
        match Running::start(&self.groups) {
            Ok(running) => self.running = Some(running),
            Err(error) if !self.has_warned => {
                self.has_warned = true;
                tracing::warn!(
                    "the watcher cannot be started, so a server may run on if this proxy is killed: {error}"
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
            // A watcher that has ended is found out when the next group is added.
            let _ = tell(&running.socket, [-group]);
        }
    }
}

impl Running {
    fn start(groups: &BTreeSet<i32>) -> io::Result<Running> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.shutdown(Shutdown::Read)?;
        // The watcher finds them there even if we are killed while it starts.
        tell(&ours, groups.iter().copied())?;
        let process = Command::new(this_program()?)
            .arg0("approval-proxy")
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            // A signal to our group is not meant for it.
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

    /// Ends a watcher that is of no use, before it can take the end of its input for ours.
    fn end(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Tells a watcher of groups, or, with a minus sign, that they are gone. Never waits: a watcher that
/// does not take a few bytes is of no use.
fn tell(watcher: &UnixStream, groups: impl IntoIterator<Item = i32>) -> io::Result<()> {
    let numbers: Vec<u8> = groups.into_iter().flat_map(i32::to_ne_bytes).collect();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    send(watcher, &numbers, flags)?;
    Ok(())
}

/// What is running, also if its file has been replaced since.
fn this_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}

/// Whether a process group has a member.
fn exists(group: i32) -> bool {
    Pid::from_raw(group).is_some_and(|group| test_kill_process_group(group).is_ok())
}
