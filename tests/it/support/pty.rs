//! A pseudoterminal, and somebody who types and reads there.
//!
//! It does not know which program runs in it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::eventually;

/// A terminal and the program that runs in it.
pub(crate) struct Pty {
    /// Our end: typed keys go in here.
    keys: File,
    /// The program's end. We only read its modes.
    line: File,
    shown: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Pty {
    /// Starts a program in a terminal of its own.
    pub(crate) fn start(command: &Command) -> Pty {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap();
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).open(name.to_str().unwrap())
        };
        let line = open().unwrap();
        // A program can make it its controlling terminal only in a session of its own.
        let mut started = Command::new("setsid");
        started
            .args(["--ctty", "--wait"])
            .arg(command.get_program());
        started.args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => started.env(key, value),
                None => started.env_remove(key),
            };
        }
        started.stdin(open().unwrap()).stdout(open().unwrap());
        let child = started.stderr(open().unwrap()).spawn().unwrap();
        let keys = File::from(keys);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, seen) = (keys.try_clone().unwrap(), Arc::clone(&shown));
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                seen.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        Pty {
            keys,
            line,
            shown,
            child,
        }
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Everything that was shown so far.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    pub(crate) fn shows(&self, text: &str) {
        eventually(text, || self.shown().contains(text));
    }

    /// Returns true if the terminal shows what is typed.
    pub(crate) fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        modes.contains(LocalModes::ECHO)
    }

    /// Waits for the end and returns the exit code.
    pub(crate) fn exit(&mut self) -> Option<i32> {
        let mut code = None;
        eventually("the program ends", || {
            let ended = self.child.try_wait().unwrap();
            code = ended.and_then(|status| status.code());
            ended.is_some()
        });
        code
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
