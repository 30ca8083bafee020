//! The person of the demo: somebody at the terminal, or an answer given in advance.

use std::io::{self, IsTerminal};
use std::thread;

use rmcp::model::{ElicitResult, ElicitationAction};
use rmcp::object;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::Args;
use crate::screen::{ask_for, quoted, say};

/// The person who answers.
pub(crate) enum Person {
    /// Nobody: every answer is the same, for this reason.
    Fixed { approved: bool, why: &'static str },
    /// Somebody at the terminal. Receives the lines that they type.
    AtTerminal(UnboundedReceiver<String>),
}

impl Person {
    pub(crate) fn from_args(args: &Args) -> Self {
        let (approved, why) = match args {
            Args { yes: true, .. } => (true, "--yes"),
            Args { no: true, .. } => (false, "--no"),
            Args { .. } if io::stdin().is_terminal() && io::stdout().is_terminal() => {
                return Self::AtTerminal(lines_of_stdin());
            }
            Args { .. } => (
                false,
                "there is no terminal; use --yes or --no to answer without one",
            ),
        };
        Self::Fixed { approved, why }
    }

    pub(crate) async fn ask(&mut self, message: &str) -> Answer {
        say(quoted("\n   the proxy asks: ", message));
        match self {
            Self::Fixed { approved, why } => {
                let word = if *approved { "yes" } else { "no" };
                say(format!("\n   answer: {word} ({why})\n"));
                Answer {
                    approved: *approved,
                    reason: None,
                }
            }
            Self::AtTerminal(lines) => {
                // Text typed before the question was shown cannot be an answer to it.
                while lines.try_recv().is_ok() {}
                loop {
                    ask_for("\n   approve? y or n, and an optional reason: ");
                    let Some(line) = lines.recv().await else {
                        say("\n   answer: no (the terminal is closed)\n");
                        return Answer::no(None);
                    };
                    if let Some(answer) = Answer::from_line(&line) {
                        say("");
                        return answer;
                    }
                }
            }
        }
    }
}

/// A separate thread reads the terminal: the read cannot be cancelled, and a runtime would wait for
/// it when the demo ends.
fn lines_of_stdin() -> UnboundedReceiver<String> {
    let (sender, receiver) = unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The person's answer.
pub(crate) struct Answer {
    pub(crate) approved: bool,
    reason: Option<String>,
}

impl Answer {
    fn no(reason: Option<String>) -> Self {
        Self {
            approved: false,
            reason,
        }
    }

    /// Reads `y`, `yes`, `n` or `no` in any case, followed by an optional reason. Anything else is
    /// not an answer.
    fn from_line(line: &str) -> Option<Self> {
        let line = line.trim();
        let (word, reason) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let reason = Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty());
        match word
            .trim_end_matches([',', ':', '.'])
            .to_lowercase()
            .as_str()
        {
            "y" | "yes" => Some(Self {
                approved: true,
                reason,
            }),
            "n" | "no" => Some(Self::no(reason)),
            _ => None,
        }
    }
}

impl From<Answer> for ElicitResult {
    fn from(Answer { approved, reason }: Answer) -> Self {
        let content = match reason {
            Some(reason) => object!({ "approved": approved, "reason": reason }),
            // A plain no needs no form: MCP has `decline` for it.
            None if !approved => return Self::new(ElicitationAction::Decline),
            None => object!({ "approved": approved }),
        };
        Self::new(ElicitationAction::Accept).with_content(content.into())
    }
}
