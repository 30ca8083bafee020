//! Asks for a passphrase in the terminal, without showing what is typed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_default;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::inbox::InboxError;
use crate::sys::secret::Secret;

/// In bytes. Terminals do not deliver lines longer than four times that.
const MAX: u64 = 1024;

const NONE: &str = "no passphrase was given";

/// Asks in the terminal, even if stdin and stdout are redirected; without a terminal, reads lines of stdin.
/// Returns an answer of 1 to 1,024 bytes to each question.
///
/// # Errors
/// `Unanswered` if a line is empty, missing or too long; `Terminal` if nothing can be read; `Signal` if a
/// signal came first.
pub(super) fn ask<const N: usize>(questions: [&str; N]) -> Result<[Secret; N], InboxError> {
    let answers = match OpenOptions::new().read(true).write(true).open("/dev/tty") {
        Ok(terminal) => ask_in(terminal, &questions)?,
        Err(_) => read_answers(&questions, io::stdin().lock(), &mut io::sink())?,
    };
    answers.try_into().map_err(|_| InboxError::Unanswered(NONE))
}

fn ask_in(terminal: File, questions: &[&str]) -> Result<Vec<Secret>, InboxError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(InboxError::System)?;
    let _inside = runtime.enter();
    // Before the terminal's mode changes: a signal that ended the process would leave it changed.
    let listen = |kind| signal(kind).map_err(InboxError::System);
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let signals = DefaultSignals::new().map_err(InboxError::System)?;
    let hidden = Hidden::new(terminal, signals).map_err(InboxError::Terminal)?;
    let reader = hidden.terminal.try_clone().map_err(InboxError::Terminal)?;
    let mut writer = hidden.terminal.try_clone().map_err(InboxError::Terminal)?;
    let questions: Vec<String> = questions
        .iter()
        .map(|&question| question.to_owned())
        .collect();
    let (sender, read) = oneshot::channel();
    // A read of a terminal cannot be cancelled. If a signal comes first, the process ends anyway.
    thread::spawn(move || {
        let answers = read_answers(&questions, BufReader::new(reader), &mut writer);
        sender.send(answers)
    });
    runtime.block_on(async {
        let kind = tokio::select! {
            read = read => return read.unwrap_or(Err(InboxError::Unanswered(NONE))),
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hang_up.recv() => SignalKind::hangup(),
        };
        // Whatever is printed next starts on a new line.
        let _ = (&hidden.terminal).write_all(b"\n");
        Err(InboxError::Signal(kind.as_raw_value()))
    })
}

/// Writes each question to `to` and reads its answer from `from`.
fn read_answers(
    questions: &[impl AsRef<str>],
    mut from: impl BufRead,
    to: &mut impl Write,
) -> Result<Vec<Secret>, InboxError> {
    let mut show = |text: &str| to.write_all(text.as_bytes()).map_err(InboxError::Terminal);
    let mut answer = |question: &str| {
        show(&format!("{question}: "))?;
        let read = read_line(&mut from);
        // The line break that the person typed was not shown.
        show("\n")?;
        read
    };
    let questions = questions.iter();
    questions
        .map(|question| answer(question.as_ref()))
        .collect()
}

fn read_line(from: &mut impl BufRead) -> Result<Secret, InboxError> {
    let mut line = String::new();
    let read = Read::take(from, MAX + 2).read_line(&mut line);
    read.map_err(InboxError::Terminal)?;
    let text = line.trim_end_matches(['\n', '\r']);
    match text.len() as u64 {
        0 => Err(InboxError::Unanswered(NONE)),
        1..=MAX => Ok(Secret::new(text.to_owned())),
        _ => Err(InboxError::Unanswered(
            "a passphrase has at most 1024 bytes",
        )),
    }
}

/// A terminal that does not show what is typed while this value exists.
struct Hidden {
    terminal: File,
    before: Termios,
    /// Dropped last, after the terminal's mode is restored.
    _signals: DefaultSignals,
}

impl Hidden {
    fn new(terminal: File, signals: DefaultSignals) -> io::Result<Hidden> {
        let before = tcgetattr(&terminal)?;
        let mut no_echo = before.clone();
        no_echo.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &no_echo)?;
        Ok(Hidden {
            terminal,
            before,
            _signals: signals,
        })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // If this fails, the user's shell restores the mode.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Restores the default effect of signals when it is dropped, so that Ctrl-C still ends the process after
/// the last answer. Tokio alone would ignore every later signal of a kind that it has listened for once.
struct DefaultSignals(Arc<AtomicBool>);

impl DefaultSignals {
    fn new() -> io::Result<DefaultSignals> {
        let is_default = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            register_conditional_default(signal, Arc::clone(&is_default))?;
        }
        Ok(DefaultSignals(is_default))
    }
}

impl Drop for DefaultSignals {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(typed: &str) -> Result<Vec<String>, String> {
        let mut shown = Vec::new();
        let read = read_answers(&["First", "Second"], typed.as_bytes(), &mut shown);
        let answers = read.map_err(|error| error.to_string())?;
        assert_eq!(shown, b"First: \nSecond: \n");
        Ok(answers.iter().map(|one| one.expose().to_owned()).collect())
    }

    #[test]
    fn every_question_gets_a_line() {
        let long = "x".repeat(1024);
        for (typed, read) in [
            ("a b\nc\n", ["a b", "c"]),
            ("a\r\nc", ["a", "c"]),
            (&*format!("{long}\n{long}\r\n"), [&*long, &*long]),
        ] {
            assert_eq!(answers(typed).unwrap(), read);
        }
    }

    #[test]
    fn a_missing_empty_or_too_long_answer_is_an_error() {
        let long = format!("{}\na\n", "x".repeat(1025));
        for (typed, why) in [
            ("", "no passphrase was given; nothing has changed"),
            ("a\n", "no passphrase was given; nothing has changed"),
            ("\na\n", "no passphrase was given; nothing has changed"),
            (
                &*long,
                "a passphrase has at most 1024 bytes; nothing has changed",
            ),
        ] {
            assert_eq!(answers(typed).unwrap_err(), why);
        }
    }
}
