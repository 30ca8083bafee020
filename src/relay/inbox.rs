//! The way from a session to the inbox and back.
//!
//! What the inbox is, is not known here.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::gate::{FromInbox, Resume, Resumption, ToInbox};

/// Where questions go, from all sessions of this process.
pub trait Inbox: Debug + Send + Sync {
    /// Takes what a gate puts out. Never blocks. What becomes of a question is told by `answers`:
    /// where its page is, and how it ended, so that they need no bound of their own. Whether there is anything to
    /// resume is answered before this returns.
    ///
    /// # Errors
    /// Why it cannot be taken, in words.
    fn tell(&self, told: ToInbox, answers: &UnboundedSender<FromInbox>) -> Result<(), String>;
}

/// One session's way to the inbox.
#[derive(Debug)]
pub struct InboxPort {
    inbox: Arc<dyn Inbox>,
    answers: UnboundedSender<FromInbox>,
    from: UnboundedReceiver<FromInbox>,
}

impl InboxPort {
    /// The way to `inbox`.
    #[must_use]
    pub fn new(inbox: Arc<dyn Inbox>) -> InboxPort {
        let (answers, from) = unbounded_channel();
        InboxPort {
            inbox,
            answers,
            from,
        }
    }

    pub(super) fn tell(&self, told: ToInbox) {
        let item = match &told {
            ToInbox::Ask { item, .. } => Some(item.id.clone()),
            ToInbox::OpenBrowser { .. }
            | ToInbox::Park { .. }
            | ToInbox::Close { .. }
            | ToInbox::Decided(_)
            | ToInbox::Resume(_) => None,
        };
        let unanswered = match &told {
            ToInbox::Resume(resume) => without_inbox(resume),
            ToInbox::Ask { .. }
            | ToInbox::OpenBrowser { .. }
            | ToInbox::Park { .. }
            | ToInbox::Close { .. }
            | ToInbox::Decided(_) => None,
        };
        let Err(why) = self.inbox.tell(told, &self.answers) else {
            return;
        };
        // The receiver of both is ours.
        if let Some(item) = item {
            tracing::error!("a call needs the approval inbox, which cannot be used: {why}");
            let _ = self.answers.send(FromInbox::Failed { item, why });
        } else if let Some(answer) = unanswered {
            tracing::warn!("the approval inbox cannot be used to resume an approval: {why}");
            let _ = self.answers.send(FromInbox::Resume(answer));
        }
    }

    /// What the inbox tells next. May be cancelled.
    pub(super) async fn next(&mut self) -> FromInbox {
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
        Resume::Find { seek, .. } => Some(Resumption::Found {
            seek: *seek,
            parked: None,
        }),
        Resume::TakeUp { item } => Some(Resumption::TakenUp {
            item: item.clone(),
            is_done: false,
        }),
        Resume::Mark { .. } | Resume::Leave { .. } => None,
    }
}
