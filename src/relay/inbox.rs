//! The way from a session to the inbox and back.
//!
//! What the inbox is, is not known here.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::gate::{FromInbox, ToInbox};

/// Where questions go, from all sessions of this process.
pub trait Inbox: Debug + Send + Sync {
    /// Takes what a gate puts out. Never blocks. What becomes of a question is told by `answers`:
    /// where its page is, and how it ended, so that they need no bound of their own.
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
        if let (Err(why), Some(item)) = (self.inbox.tell(told, &self.answers), item) {
            tracing::error!("a call needs the approval inbox, which cannot be used: {why}");
            // Its receiver is ours.
            let _ = self.answers.send(FromInbox::Failed { item, why });
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
