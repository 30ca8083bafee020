//! Starts, stops and reaps the upstream's process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::server_stderr::{Reading, ServerStderr};
use super::stderr_tail::{StderrTail, secrets_of};
use super::watcher::{Watched, Watcher};
use super::wire::Wire;

/// The variable that tells a proxy how many proxies it runs behind.
const DEPTH: &str = "APPROVAL_PROXY_DEPTH";
/// The longest chain of proxies. An agent behind a proxy may itself run guarded servers, so a short
/// chain is legitimate; a longer one is a proxy that starts itself over and over.
const MAX_DEPTH: u32 = 4;
/// How long a child has to exit after its stdin is closed, and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long to wait after SIGKILL until the child is reaped.
const REAP: Duration = Duration::from_secs(1);
/// How long the processes that a child left behind have to exit after SIGTERM.
const LEFT_BEHIND: Duration = Duration::from_millis(500);
/// How often to check whether they have.
const POLL: Duration = Duration::from_millis(5);

/// Why the upstream could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The system could not run the command.
    #[error(
        "cannot start `{command}`; check the command, its arguments and its folder, and try to run it by hand"
    )]
    Spawn {
        /// The command as configured.
        command: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The configured working directory is not a folder.
    #[error("cannot start `{command}` in `{cwd}`, which is not a folder; correct its `cwd`")]
    NoFolder {
        /// The command as configured.
        command: String,
        /// The folder as configured.
        cwd: PathBuf,
    },
    /// The config starts the proxy that reads it.
    #[error(
        "`{command}` is approval-proxy itself; the config must name the real server, not the entry that starts the proxy"
    )]
    Itself {
        /// The command as configured.
        command: String,
    },
    /// Too many proxies run behind one another.
    #[error(
        "{0} approval-proxy processes are chained; the config probably starts the proxy that reads it"
    )]
    TooDeep(u32),
}

/// A program to run.
#[derive(Debug, Clone)]
pub struct Program<'a> {
    /// The command; looked up in `PATH` if it has no slash.
    pub command: &'a OsStr,
    /// Its arguments.
    pub args: &'a [OsString],
    /// Variables to set in addition to the inherited ones.
    pub env: &'a BTreeMap<String, String>,
    /// Variables of ours that it must not inherit, in addition to those that [`is_withheld`] names.
    pub withheld: &'a [OsString],
    /// Where to run it; the proxy's own working directory if `None`.
    pub cwd: Option<&'a Path>,
}

/// A running upstream.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    group: Option<Pid>,
    /// Makes the watcher end the group if this process is killed.
    watched: Option<Watched>,
    /// Its stderr, until it is closed.
    stderr: Option<Reading>,
    tail: Arc<Mutex<StderrTail>>,
}

/// How an upstream ended.
#[derive(Debug, Clone, Copy)]
pub struct Exit(How);

#[derive(Debug, Clone, Copy)]
enum How {
    /// A process, with its status if the system reported one.
    Process(Option<ExitStatus>),
    /// A remote server, with the reason in words.
    Remote(&'static str),
}

impl Exit {
    /// Returns true if the upstream was a remote server.
    #[must_use]
    pub fn is_of_remote(&self) -> bool {
        matches!(self.0, How::Remote(_))
    }

    /// Describes the end of a remote server. `how` completes a sentence that begins with "the server".
    pub(super) fn of_remote(how: &'static str) -> Exit {
        Exit(How::Remote(how))
    }
}

impl fmt::Display for Exit {
    /// `exited with status 1`, `was killed by signal 9`, `went away`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.0 {
            How::Process(status) => status,
            How::Remote(how) => return f.write_str(how),
        };
        match status.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => write!(f, "exited with status {code}"),
            Some((None, Some(signal))) => write!(f, "was killed by signal {signal}"),
            Some((None, None)) | None => f.write_str("went away"),
        }
    }
}

impl Child {
    /// Starts a program in its own process group, with its stderr going where `stderr` says.
    /// Returns it with the wires to its stdin and from its stdout.
    ///
    /// Its stdin is a socket, because any process of the same user could open a pipe through
    /// `/proc/PID/fd/0` and write a call to it. A socket cannot be opened that way. Its stdout is
    /// a pipe, because many programs open `/dev/stdout`.
    ///
    /// If there is a `watcher`, it ends the group if this process is killed.
    ///
    /// # Errors
    /// Why the program cannot be started.
    pub fn start(
        program: &Program<'_>,
        stderr: &ServerStderr,
        watcher: Option<&Watcher>,
    ) -> Result<(Child, Wire, Wire), ChildError> {
        let depth = depth_of(std::env::var(DEPTH).ok().as_deref());
        if depth >= MAX_DEPTH {
            return Err(ChildError::TooDeep(depth));
        }
        if program.cwd.is_none_or(Path::is_dir) && is_this_program(program) {
            return Err(ChildError::Itself {
                command: program.command.to_string_lossy().into_owned(),
            });
        }
        Child::spawn(program, stderr, watcher, Some(depth + 1))
    }

    /// Starts a program as an MCP client does. Unlike [`Child::start`], it may be approval-proxy, which gets our own
    /// settings and secrets only if `program` sets them.
    ///
    /// # Errors
    /// Why the program cannot be started.
    pub fn start_for_client(
        program: &Program<'_>,
        stderr: &ServerStderr,
        watcher: Option<&Watcher>,
    ) -> Result<(Child, Wire, Wire), ChildError> {
        Child::spawn(program, stderr, watcher, None)
    }

    fn spawn(
        program: &Program<'_>,
        stderr: &ServerStderr,
        watcher: Option<&Watcher>,
        depth: Option<u32>,
    ) -> Result<(Child, Wire, Wire), ChildError> {
        let spawn = |source| ChildError::Spawn {
            command: program.command.to_string_lossy().into_owned(),
            source,
        };
        if let Some(cwd) = program.cwd.filter(|cwd| !cwd.is_dir()) {
            return Err(ChildError::NoFolder {
                command: program.command.to_string_lossy().into_owned(),
                cwd: cwd.to_owned(),
            });
        }
        let (ours, theirs) = one_way_socket().map_err(spawn)?;
        let mut command = Command::new(program.command);
        command
            .args(program.args)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A signal to the client's group must not end the upstream while it still answers
            // calls.
            .process_group(0)
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if is_withheld(&name) || program.withheld.contains(&name) {
                command.env_remove(name);
            }
        }
        command.envs(program.env);
        if let Some(depth) = depth {
            command.env(DEPTH, depth.to_string());
        }
        if let Some(cwd) = program.cwd {
            command.current_dir(cwd);
        }
        let mut process = command.spawn().map_err(spawn)?;
        let group = process
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let watched = group.and_then(|group| Some(watcher?.watch(group)));
        // `command` holds the server's end open, so we would not notice when the server closes it.
        drop(command);
        let to = Wire::to_child(ours.into());
        let stdout = process.stdout.take().map(|stdout| stdout.into_owned_fd());
        let stdout = stdout.unwrap_or_else(|| Err(io::Error::other("no pipe")));
        let from = stdout.and_then(Wire::from_child).map_err(spawn)?;
        let from_stderr = process.stderr.take().map(|stderr| stderr.into_owned_fd());
        let from_stderr = from_stderr.unwrap_or_else(|| Err(io::Error::other("no pipe")));
        let secrets = secrets_of(program.env.values(), program.args);
        let tail = StderrTail::new(secrets, stderr.redaction.clone());
        let tail = Arc::new(Mutex::new(tail));
        let reading = |fd| Reading::start(fd, stderr, Arc::clone(&tail));
        let stderr = Some(from_stderr.and_then(reading).map_err(spawn)?);
        let child = Child {
            process,
            group,
            watched,
            stderr,
            tail,
        };
        Ok((child, to, from))
    }

    /// Waits until it has exited. May be cancelled and called again.
    pub async fn ended(&mut self) -> Exit {
        Exit(How::Process(self.process.wait().await.ok()))
    }

    /// Ends it, after its stdin was closed at `closed`: waits, then sends SIGTERM, then SIGKILL to
    /// its whole group. Takes at most five seconds, counted from `closed`.
    pub async fn stop(&mut self, closed: Instant) -> Exit {
        if let Ok(exit) = timeout_at(closed + GRACE, self.ended()).await {
            return exit;
        }
        self.signal(Signal::TERM);
        if let Ok(exit) = timeout_at(closed + 2 * GRACE, self.ended()).await {
            return exit;
        }
        self.signal(Signal::KILL);
        timeout(REAP, self.ended())
            .await
            .unwrap_or(Exit(How::Process(None)))
    }

    /// Ends the processes that it left behind in its group after it exited. Passes on what they all
    /// wrote to stderr.
    pub async fn end_leftovers(&mut self) {
        self.end_group().await;
        if let Some(stderr) = self.stderr.take() {
            stderr.finish().await;
        }
    }

    /// Returns the last lines that it wrote to stderr, cleaned for quoting to a client. They are
    /// complete after [`Child::end_leftovers`].
    #[must_use]
    pub fn stderr_tail(&self) -> Option<String> {
        let tail = self.tail.lock();
        tail.unwrap_or_else(PoisonError::into_inner).quoted()
    }

    async fn end_group(&mut self) {
        let Some(group) = self.group else {
            return;
        };
        self.signal(Signal::TERM);
        let gone = async {
            while test_kill_process_group(group).is_ok() {
                sleep(POLL).await;
            }
        };
        if timeout(LEFT_BEHIND, gone).await.is_err() {
            self.signal(Signal::KILL);
        }
        if let Some(watched) = self.watched.take() {
            watched.ended();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It does no harm if the group is gone already.
            let _ = kill_process_group(group, signal);
        }
    }
}

/// Returns true if an inherited variable is withheld from upstreams, because it is a setting or secret of the proxy.
#[must_use]
pub fn is_withheld(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"APPROVAL_")
}

/// Creates a socket pair in which only the first end can send.
fn one_way_socket() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    // If the server wrote to its stdin, the unread data would turn the end of its input into an
    // error.
    ours.shutdown(Shutdown::Read)?;
    Ok((ours, theirs))
}

/// Returns true if another proxy has started us. It quotes our stderr to its client, so we need not
/// wait for the client.
#[must_use]
pub fn is_behind_a_proxy() -> bool {
    depth_of(std::env::var(DEPTH).ok().as_deref()) > 0
}

fn depth_of(variable: Option<&str>) -> u32 {
    // A value that is not a number did not come from us. It must not disable the check.
    variable.map_or(0, |text| text.parse().unwrap_or(MAX_DEPTH))
}

/// Returns true if the command is this very executable.
fn is_this_program(program: &Program<'_>) -> bool {
    let Ok(this) = std::env::current_exe().and_then(|path| path.canonicalize()) else {
        return false;
    };
    candidates(program)
        .first()
        .is_some_and(|found| *found == this)
}

/// Returns the files that a command may mean, in the order in which the system tries them.
fn candidates(program: &Program<'_>) -> Vec<PathBuf> {
    let base = program.cwd.unwrap_or(Path::new("."));
    if program.command.as_encoded_bytes().contains(&b'/') {
        // A relative command is looked up from the child's working directory.
        return base
            .join(program.command)
            .canonicalize()
            .into_iter()
            .collect();
    }
    let path = match program.env.get("PATH") {
        Some(path) => path.into(),
        None => std::env::var_os("PATH").unwrap_or_default(),
    };
    std::env::split_paths(&path)
        .filter_map(|folder| base.join(folder).join(program.command).canonicalize().ok())
        .filter(|file| file.is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_depth_does_not_disable_the_check() {
        assert_eq!(depth_of(None), 0);
        assert_eq!(depth_of(Some("2")), 2);
        assert_eq!(depth_of(Some("x")), MAX_DEPTH);
        assert_eq!(depth_of(Some("-1")), MAX_DEPTH);
    }

    #[test]
    fn this_program_is_recognized_by_path_by_name_and_through_a_link() {
        let this = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("renamed");
        std::os::unix::fs::symlink(&this, &link).unwrap();
        let env = BTreeMap::from([("PATH".to_owned(), dir.path().display().to_string())]);
        let is_this = |command: &str| {
            is_this_program(&Program {
                command: command.as_ref(),
                args: &[],
                env: &env,
                withheld: &[],
                cwd: None,
            })
        };
        assert!(is_this(this.to_str().unwrap()));
        assert!(is_this(link.to_str().unwrap()));
        assert!(is_this("renamed"));
        assert!(!is_this("/bin/sh"));
        assert!(!is_this("no-such-program"));
    }
}
