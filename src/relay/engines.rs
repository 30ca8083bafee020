//! The way from a session to the inbox and back.
//!
//! What the inbox is, is not known here.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::gate::{Failure, FromEngine, Resume, Resumption, ToEngine};

/// Where questions go, from all sessions of this process.
pub trait OutOfBandEngines: Debug + Send + Sync {
    /// Takes what a gate puts out. Never blocks. What becomes of a question is told by `answers`:
    /// where its page is, and how it ended, so that they need no bound of their own. Whether there is anything to
    /// resume is answered before this returns.
    ///
    /// # Errors
    /// Why it cannot be taken, in words.
    fn tell(&self, told: ToEngine, answers: &UnboundedSender<FromEngine>) -> Result<(), String>;
}

/// One session's way to the inbox.
#[derive(Debug)]
pub struct EnginePort {
    inbox: Arc<dyn OutOfBandEngines>,
    answers: UnboundedSender<FromEngine>,
    from: UnboundedReceiver<FromEngine>,
}

impl EnginePort {
    /// The way to `inbox`.
    #[must_use]
    pub fn new(inbox: Arc<dyn OutOfBandEngines>) -> EnginePort {
        let (answers, from) = unbounded_channel();
        EnginePort {
            inbox,
            answers,
            from,
        }
    }

    pub(super) fn tell(&self, told: ToEngine) {
        let item = match &told {
            ToEngine::Ask { item, .. } => Some(item.id.clone()),
            ToEngine::OpenBrowser { .. }
            | ToEngine::Park { .. }
            | ToEngine::Close { .. }
            | ToEngine::Decided(_)
            | ToEngine::Resume(_) => None,
        };
        let unanswered = match &told {
            ToEngine::Resume(resume) => without_inbox(resume),
            ToEngine::Ask { .. }
            | ToEngine::OpenBrowser { .. }
            | ToEngine::Park { .. }
            | ToEngine::Close { .. }
            | ToEngine::Decided(_) => None,
        };
        let Err(why) = self.inbox.tell(told, &self.answers) else {
            return;
        };
        // The receiver of both is ours.
        if let Some(item) = item {
            tracing::error!("a call needs the approval inbox, which cannot be used: {why}");
            let failure = Failure::unreachable(why);
            let _ = self.answers.send(FromEngine::Failed { item, failure });
        } else if let Some(answer) = unanswered {
            tracing::warn!("the approval inbox cannot be used to resume an approval: {why}");
            let _ = self.answers.send(FromEngine::Resume(answer));
        }
    }

    /// What the inbox tells next. May be cancelled.
    pub(super) async fn next(&mut self) -> FromEngine {
        match self.from.recv().await {
            Some(told) => told,
            // Never, as long as we are here.
            None => std::future::pending().await,
        }
    }
}

/// The answer where the inbox can give none, so that no call waits for it for ever: there is nothing to resume.
fn without_inbox(resume: &Resume) -> Option<Resumption> {
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

    /// An inbox that can take nothing.
    #[derive(Debug)]
    struct Broken;

    impl OutOfBandEngines for Broken {
        fn tell(&self, _: ToEngine, _: &UnboundedSender<FromEngine>) -> Result<(), String> {
            Err("it is broken".to_owned())
        }
    }

    #[test]
    fn a_session_whose_inbox_is_broken_waits_for_no_answer_about_parked_items() {
        let mut port = EnginePort::new(Arc::new(Broken));
        let item = || "a".to_owned();
        let (lookup, key) = (5, ResumeKey([0; 32]));
        let line = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;
        let call = KeptCall::read(line).unwrap();
        let request = Arc::new(ApprovalRequest {
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
            port.tell(ToEngine::Resume(resume));
            let expected = expected.map(FromEngine::Resume);
            assert_eq!(port.from.try_recv().ok(), expected);
        }
    }
}
