//! Asks for a passphrase in the terminal, unseen.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write as _};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::inbox::InboxError;
use crate::secret::Secret;

/// Longer ones are cut.
const MAX: u64 = 1024;

/// Asks in the terminal, whatever stdin and stdout are; without one, reads a line of stdin.
///
/// # Errors
/// `Terminal` where nothing can be read, `Signal` where one came first.
pub(super) fn ask(question: &str) -> Result<Secret, InboxError> {
    match OpenOptions::new().read(true).write(true).open("/dev/tty") {
        Ok(terminal) => ask_in(terminal, question),
        Err(_) => read_line(io::stdin().lock()).map_err(InboxError::Terminal),
    }
}

fn ask_in(terminal: File, question: &str) -> Result<Secret, InboxError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(InboxError::System)?;
    let _inside = runtime.enter();
    // Before anything changes: whoever is ended by a signal leaves the terminal as it is.
    let listen = |kind| signal(kind).map_err(InboxError::System);
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let mut hidden = Hidden::new(terminal, question).map_err(InboxError::Terminal)?;
    let reader = hidden.terminal.try_clone().map_err(InboxError::Terminal)?;
    let (sender, read) = oneshot::channel();
    // A read of a terminal cannot be cancelled; where a signal comes first, the process ends.
    thread::spawn(move || sender.send(read_line(BufReader::new(reader))));
    let ended = runtime.block_on(async {
        let kind = tokio::select! {
            read = read => return Ok(read.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))),
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hang_up.recv() => SignalKind::hangup(),
        };
        Err(InboxError::Signal(kind.as_raw_value()))
    });
    // What is typed next belongs on a line of its own.
    let _ = hidden.terminal.write_all(b"\n");
    ended?.map_err(InboxError::Terminal)
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

/// A terminal that does not show what is typed, for as long as this lives.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    /// Asks, and hides the answer.
    fn new(mut terminal: File, question: &str) -> io::Result<Hidden> {
        terminal.write_all(format!("{question}: ").as_bytes())?;
        let before = tcgetattr(&terminal)?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &unseen)?;
        Ok(Hidden { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // The user's shell sets it right where we cannot.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
