//! Identifies the user and the server of a session: two sessions must have both in common before one may resume what
//! the other has parked.
//!
//! Plain data. The client and the call must be the same too; the gate digests those.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ring::hmac;

use super::store::{LASTING, StoreError};
use crate::gate::ResumeKey;
use crate::sys::secret::Secret;
use crate::sys::state_dir::{StateDir, io_error};
use crate::transport::is_withheld;

/// The user and the server of a session, as far as the configuration identifies them.
///
/// `Debug` shows nothing of it, because most of it may be secret.
#[derive(Clone)]
pub struct Identity {
    /// How the client proves that it belongs to the user.
    pub credentials: Credentials,
    /// The server.
    pub server: ServerIdentity,
}

/// How a client proves that it belongs to the user. If clients connect over HTTP without a token, any process can
/// connect, so there is no identity.
#[derive(Clone)]
pub enum Credentials {
    /// It started us.
    Stdio,
    /// It knows this token.
    Token(Secret),
}

/// A server.
#[derive(Clone)]
pub enum ServerIdentity {
    /// None: an agent asks by itself. The key of each question suffices, because it holds the question's random id.
    Agents,
    /// A program that we start.
    Command {
        /// The program.
        command: OsString,
        /// Its arguments.
        args: Vec<OsString>,
        /// The variables that the configuration sets, in addition to the inherited ones.
        env: BTreeMap<String, Secret>,
        /// Its working directory; ours if `None`.
        cwd: Option<PathBuf>,
    },
    /// A server that we reach over HTTP.
    Url {
        /// Its URL.
        url: Secret,
        /// The headers of every request.
        headers: BTreeMap<String, Secret>,
        /// Whether it speaks HTTP+SSE of 2024-11-05.
        is_sse: bool,
    },
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// Computes the key that an item is marked with in the store: an HMAC-SHA256, with the folder's secret, of
    /// everything that both sessions must have in common. Without that secret, nobody can guess the parts of an
    /// identity by trial.
    ///
    /// # Errors
    /// If the secret or our working directory cannot be read.
    pub fn stored_key(&self, dir: &StateDir, resume: &ResumeKey) -> Result<String, StoreError> {
        let failed = |error: io::Error| io_error(Path::new("."), error);
        let process = Process {
            uid: rustix::process::geteuid().as_raw(),
            environment: std::env::vars_os().collect(),
            cwd: std::env::current_dir().map_err(failed)?,
        };
        Ok(self.key(&dir.secret()?, &process, resume))
    }

    fn key(&self, secret: &[u8; 32], process: &Process, resume: &ResumeKey) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut parts = Parts(hmac::Context::with_key(&key));
        parts.add(LABEL);
        parts.add(&process.uid.to_be_bytes());
        match &self.credentials {
            Credentials::Stdio => parts.add(b"stdio"),
            Credentials::Token(token) => {
                parts.add(b"token");
                parts.add(token.expose().as_bytes());
            }
        }
        match &self.server {
            ServerIdentity::Command {
                command,
                args,
                env,
                cwd,
            } => {
                parts.add(b"command");
                parts.add(command.as_encoded_bytes());
                parts.add_number(args.len());
                args.iter()
                    .for_each(|arg| parts.add(arg.as_encoded_bytes()));
                // A relative path starts at our own working directory, as for the operating system.
                let cwd = cwd.as_ref().map(|cwd| process.cwd.join(cwd));
                let cwd = cwd.as_ref().unwrap_or(&process.cwd);
                parts.add(cwd.as_os_str().as_encoded_bytes());
                parts.add_pairs(&environment_of(env, process));
            }
            ServerIdentity::Agents => parts.add(b"agents"),
            ServerIdentity::Url {
                url,
                headers,
                is_sse,
            } => {
                parts.add(if *is_sse { b"sse" } else { b"url" });
                parts.add(url.expose().as_bytes());
                parts.add_pairs(&texts(headers).collect());
            }
        }
        parts.add(&resume.0);
        let mut hex = match self.server {
            ServerIdentity::Agents => LASTING.to_owned(),
            ServerIdentity::Command { .. } | ServerIdentity::Url { .. } => String::new(),
        };
        for byte in parts.0.sign().as_ref() {
            hex.push_str(&format!("{byte:02x}"));
        }
        hex
    }
}

/// The properties of our process that a server inherits.
struct Process {
    uid: u32,
    environment: Vec<(OsString, OsString)>,
    cwd: PathBuf,
}

/// Returns the environment of a server without the session variables. Variables that the configuration sets always
/// count.
fn environment_of<'a>(
    set: &'a BTreeMap<String, Secret>,
    process: &'a Process,
) -> BTreeMap<&'a OsStr, &'a OsStr> {
    let inherited = process.environment.iter();
    let inherited = inherited.map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    let mut environment: BTreeMap<&OsStr, &OsStr> = inherited
        .filter(|(name, _)| !is_withheld(name) && !is_of_session(name))
        .collect();
    environment.extend(texts(set));
    environment
}

fn texts(pairs: &BTreeMap<String, Secret>) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    let pairs = pairs.iter();
    pairs.map(|(name, value)| (OsStr::new(name), OsStr::new(value.expose())))
}

/// Returns true if a variable is one of [`SESSION_VARIABLES`].
fn is_of_session(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    SESSION_VARIABLES
        .iter()
        .any(|known| match known.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning.as_bytes()),
            None => name == known.as_bytes(),
        })
}

/// Hashes parts unambiguously: each is preceded by its length.
struct Parts(hmac::Context);

impl Parts {
    fn add(&mut self, part: &[u8]) {
        self.add_number(part.len());
        self.0.update(part);
    }

    fn add_number(&mut self, number: usize) {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        self.0.update(&number.to_be_bytes());
    }

    fn add_pairs(&mut self, pairs: &BTreeMap<&OsStr, &OsStr>) {
        self.add_number(pairs.len());
        for (name, value) in pairs {
            self.add(name.as_encoded_bytes());
            self.add(value.as_encoded_bytes());
        }
    }
}

/// Separates these HMACs from others with the same secret.
const LABEL: &[u8] = b"approval-proxy/resume-key/1";

/// Variables of a terminal, a desktop or an agent's session. They do not count unless the configuration sets them: they
/// differ in each session, and servers hardly depend on them. `*` stands for any ending.
///
/// `SSH_*` are included although a server may use `SSH_AUTH_SOCK`: its path changes with each login.
pub const SESSION_VARIABLES: &[&str] = &[
    // Shells.
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "ATUIN_SESSION",
    "DIRENV_DIFF",
    "DIRENV_WATCHES",
    "FNM_MULTISHELL_PATH",
    "MCFLY_SESSION_ID",
    "SHELL_SESSION_ID",
    "STARSHIP_SESSION_KEY",
    // Terminals.
    "TERM*",
    "COLORTERM",
    "COLORFGBG",
    "COLUMNS",
    "LINES",
    "WINDOWID",
    "WINDOWPATH",
    "GPG_TTY",
    "ALACRITTY_*",
    "GHOSTTY_*",
    "GNOME_TERMINAL_*",
    "ITERM_*",
    "KITTY_*",
    "KONSOLE_*",
    "LC_TERMINAL*",
    "TILIX_ID",
    "VTE_VERSION",
    "WEZTERM_*",
    "WSL_INTEROP",
    "WT_PROFILE_ID",
    "WT_SESSION",
    "STY",
    "WINDOW",
    "TMUX*",
    "ZELLIJ*",
    // Logins and desktops.
    "SSH_*",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_ACTIVATION_TOKEN",
    "XDG_SEAT*",
    "XDG_SESSION_*",
    "XDG_VTNR",
    "DBUS_SESSION_BUS_*",
    "DBUS_STARTER_*",
    "DESKTOP_STARTUP_ID",
    "GIO_LAUNCHED_DESKTOP_FILE*",
    "GPG_AGENT_INFO",
    "HYPRLAND_INSTANCE_SIGNATURE",
    "I3SOCK",
    "NIRI_SOCKET",
    "SECURITYSESSIONID",
    "SESSION_MANAGER",
    "SWAYSOCK",
    "XPC_FLAGS",
    "XPC_SERVICE_NAME",
    // Service managers.
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "MANAGERPID*",
    "MEMORY_PRESSURE_*",
    "NOTIFY_SOCKET",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    // Editors, and agents that start servers. An AppImage, such as Cursor, is mounted at a new path each time.
    "APPDIR",
    "CLAUDECODE",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_SSE_PORT",
    "CODEX_THREAD_ID",
    "CURSOR_AGENT",
    "CURSOR_SESSION_ID",
    "CURSOR_TRACE_ID",
    "EMACS_SERVER_FILE",
    "INSIDE_EMACS",
    "NVIM",
    "NVIM_LISTEN_ADDRESS",
    "VSCODE_*",
    "WINDSURF_PID",
    "ZED_TERM",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::state_dir::for_test;

    const SECRET: [u8; 32] = [7; 32];
    const RESUME: ResumeKey = ResumeKey([9; 32]);

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, Secret> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), secret(value));
        pairs.into_iter().map(owned).collect()
    }

    fn process(environment: &[(&str, &str)]) -> Process {
        let owned = |(name, value): &(&str, &str)| (name.into(), value.into());
        Process {
            uid: 1000,
            environment: environment.iter().map(owned).collect(),
            cwd: "/home/u/project".into(),
        }
    }

    fn started(
        command: &str,
        args: &[&str],
        env: BTreeMap<String, Secret>,
        cwd: Option<&str>,
    ) -> Identity {
        Identity {
            credentials: Credentials::Stdio,
            server: ServerIdentity::Command {
                command: command.into(),
                args: args.iter().map(OsString::from).collect(),
                env,
                cwd: cwd.map(PathBuf::from),
            },
        }
    }

    fn remote(url: &str, headers: BTreeMap<String, Secret>, is_sse: bool) -> Identity {
        Identity {
            credentials: Credentials::Stdio,
            server: ServerIdentity::Url {
                url: secret(url),
                headers,
                is_sse,
            },
        }
    }

    fn with_token(identity: Identity, token: &str) -> Identity {
        Identity {
            credentials: Credentials::Token(secret(token)),
            ..identity
        }
    }

    fn key(identity: &Identity, process: &Process) -> String {
        identity.key(&SECRET, process, &RESUME)
    }

    #[test]
    fn every_part_of_an_identity_counts() {
        let usual = process(&[("PATH", "/bin"), ("HOME", "/home/u")]);
        let keys = [
            started("srv", &["a"], pairs([]), None),
            started("srv2", &["a"], pairs([]), None),
            started("srv", &["b"], pairs([]), None),
            started("srv", &[], pairs([]), None),
            started("srv", &["a", ""], pairs([]), None),
            started("srva", &[], pairs([]), None),
            started("srv", &["a"], pairs([("N", "v")]), None),
            started("srv", &["a"], pairs([("N", "w")]), None),
            started("srv", &["a"], pairs([("Nv", "")]), None),
            started("srv", &["a"], pairs([("PATH", "/usr/bin")]), None),
            started("srv", &["a"], pairs([]), Some("/srv")),
            started("srv", &["a"], pairs([]), Some("sub")),
            with_token(started("srv", &["a"], pairs([]), None), "t"),
            with_token(started("srv", &["a"], pairs([]), None), "u"),
            remote("https://a/", pairs([]), false),
            remote("https://b/", pairs([]), false),
            remote("https://a/", pairs([]), true),
            remote("https://a/", pairs([("X-Key", "1")]), false),
            remote("https://a/", pairs([("X-Key", "2")]), false),
            remote("https://a/", pairs([("X-Key1", "")]), false),
            with_token(remote("https://a/", pairs([]), false), "t"),
        ];
        let mut keys: Vec<String> = keys.iter().map(|one| key(one, &usual)).collect();

        // The process and the folder count too.
        let first = started("srv", &["a"], pairs([]), None);
        assert_eq!(keys[0], key(&first, &usual));
        keys.extend(
            [
                Process {
                    uid: 1001,
                    ..process(&[("PATH", "/bin"), ("HOME", "/home/u")])
                },
                Process {
                    cwd: "/home/u".into(),
                    ..process(&[("PATH", "/bin"), ("HOME", "/home/u")])
                },
                process(&[("PATH", "/bin"), ("HOME", "/home/v")]),
                process(&[("PATH", "/bin")]),
                process(&[
                    ("PATH", "/bin"),
                    ("HOME", "/home/u"),
                    ("AWS_PROFILE", "prod"),
                ]),
            ]
            .iter()
            .map(|process| key(&first, process)),
        );
        keys.push(first.key(&[8; 32], &usual, &RESUME));
        keys.push(first.key(&SECRET, &usual, &ResumeKey([10; 32])));
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
        assert!(keys.iter().all(|key| key.len() == 64));
    }

    #[test]
    fn what_another_session_of_the_same_user_sets_does_not_count() {
        let server = started("srv", &["a"], pairs([("TOKEN", "x")]), None);
        let usual = key(&server, &process(&[("PATH", "/bin"), ("HOME", "/home/u")]));
        // In another order, because another process may have one.
        let mut variables = vec![("HOME", "/home/u"), ("PATH", "/bin")];
        let of_session: Vec<String> = SESSION_VARIABLES
            .iter()
            .map(|name| name.replace('*', "_X"))
            .chain(["APPROVAL_AUTH_TOKEN".into(), "APPROVAL_PROXY_DEPTH".into()])
            .collect();
        variables.extend(of_session.iter().map(|name| (name.as_str(), "other")));
        assert_eq!(key(&server, &process(&variables)), usual);
        // The configuration overrides an inherited value.
        variables.push(("TOKEN", "inherited"));
        assert_eq!(key(&server, &process(&variables)), usual);
    }

    #[test]
    fn a_session_variable_that_the_configuration_sets_counts() {
        let usual = process(&[("PATH", "/bin"), ("SSH_AUTH_SOCK", "/run/1")]);
        let mut keys: Vec<String> = [
            pairs([]),
            pairs([("SSH_AUTH_SOCK", "/run/1")]),
            pairs([("SSH_AUTH_SOCK", "/run/2")]),
            pairs([("DISPLAY", ":1")]),
            pairs([("APPROVAL_X", "1")]),
        ]
        .into_iter()
        .map(|env| key(&started("srv", &[], env, None), &usual))
        .collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 5);
    }

    #[test]
    fn a_folder_counts_as_the_same_whether_its_path_is_relative_or_absolute() {
        let usual = process(&[]);
        let named = |cwd| key(&started("srv", &[], pairs([]), cwd), &usual);
        assert_eq!(named(Some("/home/u/project")), named(None));
        assert_eq!(named(Some("/home/u/project/sub")), named(Some("sub")));
    }

    #[test]
    fn a_key_is_the_same_in_every_process_of_the_user_but_differs_between_folders() {
        let (_one, one) = for_test();
        let (_other, other) = for_test();
        let server = started("srv", &["a"], pairs([]), None);
        let made = server.stored_key(&one, &RESUME).unwrap();
        assert_eq!(server.clone().stored_key(&one, &RESUME).unwrap(), made);
        assert_ne!(server.stored_key(&other, &RESUME).unwrap(), made);
    }

    #[test]
    fn debug_shows_nothing_of_an_identity() {
        let command = started("srv", &["--key=hunter2"], pairs([("K", "hunter2")]), None);
        let command = with_token(command, "hunter2");
        let url = remote("https://hunter2@a/", pairs([("X", "hunter2")]), false);
        for identity in [command, url] {
            assert_eq!(format!("{identity:?}"), "Identity { .. }");
        }
    }
}
