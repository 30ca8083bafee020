//! The channel between a session and the out-of-band engines.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::gate::{Failure, FromEngine, Resume, Resumption, ToEngine};

/// Takes questions from all sessions of this process to people.
pub trait OutOfBandEngines: Debug + Send + Sync {
    /// Accepts one message from a gate. Never blocks. Reports through `answers` where a question's
    /// page is and how the question ended; as that is little for each question, the channel needs
    /// no bound of its own. Answers `Resume::IsAny` before it returns.
    ///
    /// # Errors
    /// Why the message cannot be accepted, in words.
    fn send(&self, message: ToEngine, answers: &UnboundedSender<FromEngine>) -> Result<(), String>;
}

/// One session's connection to the out-of-band engines.
#[derive(Debug)]
pub struct EnginePort {
    engines: Arc<dyn OutOfBandEngines>,
    answers: UnboundedSender<FromEngine>,
    incoming: UnboundedReceiver<FromEngine>,
}

impl EnginePort {
    /// Connects a session to `engines`.
    #[must_use]
    pub fn new(engines: Arc<dyn OutOfBandEngines>) -> EnginePort {
        let (answers, incoming) = unbounded_channel();
        EnginePort {
            engines,
            answers,
            incoming,
        }
    }

    /// Sends a message to the engines. If they cannot take it and the gate waits for an answer,
    /// answers in their place.
    pub(super) fn send(&self, message: ToEngine) {
        let asked = match &message {
            ToEngine::Ask { item, .. } => Some((None, item.id.clone())),
            ToEngine::Join { engine, item } => Some((Some(*engine), item.clone())),
            ToEngine::OpenBrowser { .. }
            | ToEngine::Park { .. }
            | ToEngine::Close { .. }
            | ToEngine::Decided(_)
            | ToEngine::Resume(_) => None,
        };
        let fallback = match &message {
            ToEngine::Resume(resume) => nothing_to_resume(resume),
            ToEngine::Ask { .. }
            | ToEngine::Join { .. }
            | ToEngine::OpenBrowser { .. }
            | ToEngine::Park { .. }
            | ToEngine::Close { .. }
            | ToEngine::Decided(_) => None,
        };
        let Err(why) = self.engines.send(message, &self.answers) else {
            return;
        };
        // Sending cannot fail: the receiver is ours.
        if let Some((engine, item)) = asked {
            tracing::error!("a call needs the approval inbox, which cannot be used: {why}");
            let failure = Failure::unreachable(why);
            let _ = self.answers.send(FromEngine::Failed {
                engine,
                item,
                failure,
            });
        } else if let Some(answer) = fallback {
            tracing::warn!("the approval inbox cannot be used to resume an approval: {why}");
            let _ = self.answers.send(FromEngine::Resume(answer));
        }
    }

    /// Returns the engines' next message. May be cancelled.
    pub(super) async fn next(&mut self) -> FromEngine {
        match self.incoming.recv().await {
            Some(message) => message,
            // Cannot happen: `self.answers` keeps the channel open.
            None => std::future::pending().await,
        }
    }
}

/// Returns the answer "nothing to resume", so that no call waits forever for engines that failed.
fn nothing_to_resume(resume: &Resume) -> Option<Resumption> {
    match resume {
        Resume::IsAny => Some(Resumption::IsAny(false)),
        Resume::Find { lookup, .. } => Some(Resumption::Found {
            lookup: *lookup,
            parked: None,
        }),
        Resume::TakeUp { item } => Some(Resumption::TakenUp {
            item: item.clone(),
            is_done: false,
        }),
        Resume::Mark { .. } | Resume::Leave { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::approval::digest::CallDigest;
    use crate::approval::request::{ApprovalRequest, QuestionKind};
    use crate::gate::ResumeKey;
    use crate::mcp::tool::KeptCall;
    use crate::policy::Risk;

    /// Engines that refuse every message.
    #[derive(Debug)]
    struct Broken;

    impl OutOfBandEngines for Broken {
        fn send(&self, _: ToEngine, _: &UnboundedSender<FromEngine>) -> Result<(), String> {
            Err("it is broken".to_owned())
        }
    }

    #[test]
    fn a_session_does_not_wait_for_a_broken_inbox_to_answer_about_parked_items() {
        let mut port = EnginePort::new(Arc::new(Broken));
        let item = || "a".to_owned();
        let (lookup, key) = (5, ResumeKey([0; 32]));
        let line = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;
        let call = KeptCall::read(line).unwrap();
        let request = Arc::new(ApprovalRequest {
            form: None,
            server: "".into(),
            tool: "t".into(),
            is_listed: true,
            risk: Risk::High,
            why: "".into(),
            round: QuestionKind::First,
            title: None,
            description: None,
            hints: String::new(),
            digest: CallDigest::of("", &call.params(), None),
            call,
            client: None,
            client_title: None,
            covers: Duration::ZERO,
        });
        for (resume, expected) in [
            (Resume::IsAny, Some(Resumption::IsAny(false))),
            (Resume::Mark { item: item(), key }, None),
            (
                Resume::Find {
                    lookup,
                    key,
                    request,
                },
                Some(Resumption::Found {
                    lookup,
                    parked: None,
                }),
            ),
            (
                Resume::TakeUp { item: item() },
                Some(Resumption::TakenUp {
                    item: item(),
                    is_done: false,
                }),
            ),
            (Resume::Leave { item: item() }, None),
        ] {
            port.send(ToEngine::Resume(resume));
            let expected = expected.map(FromEngine::Resume);
            assert_eq!(port.incoming.try_recv().ok(), expected);
        }
    }
}
