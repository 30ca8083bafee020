//! The human of the demonstration: somebody at the terminal, or an answer given beforehand.

use std::io::{self, IsTerminal};
use std::thread;

use rmcp::model::{ElicitResult, ElicitationAction};
use rmcp::object;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::Args;
use crate::screen::{ask_for, quoted, say};

/// Who answers.
pub(crate) enum Human {
    /// Nobody is there: every answer is the same, for the reason that is given.
    Fixed { approved: bool, why: &'static str },
    /// Somebody at the terminal; here come the lines that they type.
    AtTerminal(UnboundedReceiver<String>),
}

impl Human {
    pub(crate) fn from_args(args: &Args) -> Self {
        let (approved, why) = match args {
            Args { yes: true, .. } => (true, "--yes"),
            Args { no: true, .. } => (false, "--no"),
            Args { .. } if io::stdin().is_terminal() && io::stdout().is_terminal() => {
                return Self::AtTerminal(lines_of_stdin());
            }
            Args { .. } => (
                false,
                "there is no terminal to ask at; --yes or --no answer without one",
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
                // What was typed before the question was shown cannot be an answer to it.
                while lines.try_recv().is_ok() {}
                loop {
                    ask_for("\n   approve? y or n, and a reason if you like: ");
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

/// A thread of its own reads the terminal: a read from it cannot be called off, and a runtime
/// would wait for it when the demonstration ends.
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

/// What the human said.
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

    /// `y`, `yes`, `n` or `no`, in any case, and then the reason. All else is no answer.
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
            // A plain no needs no form: MCP has a word for it.
            None if !approved => return Self::new(ElicitationAction::Decline),
            None => object!({ "approved": approved }),
        };
        Self::new(ElicitationAction::Accept).with_content(content.into())
    }
}
