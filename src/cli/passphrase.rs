//! Asks for a passphrase in the terminal, unseen.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::secret::Secret;

/// Longer ones are cut.
const MAX: u64 = 1024;

/// Asks in the terminal, whatever stdin and stdout are; without one, reads a line of stdin.
///
/// # Errors
/// Where nothing can be read.
pub(super) fn ask(question: &str) -> io::Result<Secret> {
    match OpenOptions::new().read(true).write(true).open("/dev/tty") {
        Ok(terminal) => ask_in(terminal, question),
        Err(_) => read_line(io::stdin().lock()),
    }
}

fn ask_in(mut terminal: File, question: &str) -> io::Result<Secret> {
    terminal.write_all(format!("{question}: ").as_bytes())?;
    let before = tcgetattr(&terminal)?;
    let mut unseen = before.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &unseen)?;
    let _restored = Restored {
        terminal: terminal.try_clone()?,
        before,
    };
    let read = read_line(BufReader::new(&terminal));
    terminal.write_all(b"\n")?;
    read
}

fn read_line(from: impl BufRead) -> io::Result<Secret> {
    let mut line = String::new();
    from.take(MAX).read_line(&mut line)?;
    let text = line.trim_end_matches(['\n', '\r']);
    match text.is_empty() {
        true => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "no passphrase was given",
        )),
        false => Ok(Secret::new(text.to_owned())),
    }
}

/// A terminal that shows again what is typed.
struct Restored {
    terminal: File,
    before: Termios,
}

impl Drop for Restored {
    fn drop(&mut self) {
        // The user's shell sets it right where we cannot.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
