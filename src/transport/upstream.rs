//! The other end of a session: a process of ours, or a server somewhere else.
//!
//! What is said to it goes through wires; here is only whether it lives, and how it ends.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, timeout_at};

use super::child::{Child, Exit};

/// How long what was sent to a server elsewhere has to be answered once the session ends.
const GRACE: Duration = Duration::from_secs(2);

/// What a session's calls go to.
#[derive(Debug)]
pub enum Upstream {
    /// A process that we have started.
    Child(Child),
    /// A server somewhere else.
    Remote(RemoteTask),
}

/// What a server elsewhere, or the task that speaks to it, tells beside its messages.
#[derive(Debug, PartialEq, Eq)]
pub enum RemoteEvent {
    /// The server has lost the session, and another one has begun in its place. The relay writes
    /// [`RESTART_HEARD`] behind the last line that was sent before it learned of this.
    Restarted {
        /// How the session was lost.
        why: String,
    },
    /// A tool call, as it was sent, that the server has certainly not taken.
    Returned {
        /// The call.
        line: String,
        /// Why the server has not taken it.
        why: String,
        /// Whether the server could take it now.
        may_go_again: bool,
    },
}

/// The line by which the relay says that it has heard of a restart. Every other line is JSON.
pub const RESTART_HEARD: &str = "restart heard";

/// What a session hears of its upstream beside the messages.
#[derive(Debug)]
pub enum UpstreamEvent {
    /// It has ended.
    Ended(Exit),
    /// A server elsewhere tells something.
    Told(RemoteEvent),
}

/// A task that speaks to a server elsewhere.
#[derive(Debug)]
pub struct RemoteTask {
    /// Ends with why it can do so no more.
    task: JoinHandle<&'static str>,
    /// At most one event for each request in flight, and one for each session.
    told: UnboundedReceiver<RemoteEvent>,
    /// What it ended with.
    ended: Option<Exit>,
    /// Why the task gave up, where it has more to say than how it ended.
    end_reason: Arc<OnceLock<String>>,
}

impl RemoteTask {
    /// `task` ends with why the server cannot be spoken to any more; `told` brings what it tells.
    /// `end_reason` may say more about the end.
    #[must_use]
    pub fn new(
        task: JoinHandle<&'static str>,
        told: UnboundedReceiver<RemoteEvent>,
        end_reason: Arc<OnceLock<String>>,
    ) -> RemoteTask {
        RemoteTask {
            task,
            told,
            ended: None,
            end_reason,
        }
    }

    /// Waits until it has ended or tells something. May be cancelled, and called again.
    async fn next(&mut self) -> UpstreamEvent {
        tokio::select! {
            biased;
            Some(told) = self.told.recv() => return UpstreamEvent::Told(told),
            why = &mut self.task, if self.ended.is_none() => {
                self.ended = Some(Exit::of_remote(why.unwrap_or("cannot be spoken to")));
            }
            else => {}
        }
        UpstreamEvent::Ended(self.ended().await)
    }

    /// Waits until it has ended. May be cancelled, and called again.
    async fn ended(&mut self) -> Exit {
        if let Some(exit) = self.ended {
            return exit;
        }
        let why = (&mut self.task).await;
        let exit = Exit::of_remote(why.unwrap_or("cannot be spoken to"));
        self.ended = Some(exit);
        exit
    }
}

impl Drop for RemoteTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Waits until it has ended. May be cancelled, and called again.
    pub async fn ended(&mut self) -> Exit {
        match self {
            Upstream::Child(child) => child.ended().await,
            Upstream::Remote(remote) => remote.ended().await,
        }
    }

    /// Waits until it has ended or tells something. May be cancelled, and called again.
    pub async fn next(&mut self) -> UpstreamEvent {
        match self {
            Upstream::Child(child) => UpstreamEvent::Ended(child.ended().await),
            Upstream::Remote(remote) => remote.next().await,
        }
    }

    /// Whether it may hand calls back that it has not taken.
    #[must_use]
    pub fn may_return_calls(&self) -> bool {
        matches!(self, Upstream::Remote(_))
    }

    /// Makes it end, having closed what is sent to it at `closed`; five seconds at most.
    pub async fn stop(&mut self, closed: Instant) -> Exit {
        match self {
            Upstream::Child(child) => child.stop(closed).await,
            Upstream::Remote(remote) => match timeout_at(closed + GRACE, remote.ended()).await {
                Ok(exit) => exit,
                Err(_) => {
                    remote.task.abort();
                    Exit::of_remote("did not answer in time")
                }
            },
        }
    }

    /// What it said last, fit to be quoted to a client: the end of a process's stderr, or why a server
    /// elsewhere cannot be spoken to.
    #[must_use]
    pub fn last_words(&self) -> Option<String> {
        match self {
            Upstream::Child(child) => child.last_words(),
            Upstream::Remote(remote) => remote.end_reason.get().cloned(),
        }
    }

    /// Ends what it started and left behind.
    pub async fn end_what_it_left_behind(&mut self) {
        if let Upstream::Child(child) = self {
            child.end_what_it_left_behind().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn why_a_server_elsewhere_has_ended_is_not_forgotten() {
        let task = tokio::spawn(async { "did not take a message" });
        let (_, told) = tokio::sync::mpsc::unbounded_channel();
        let mut upstream = Upstream::Remote(RemoteTask::new(task, told, Arc::default()));
        let ended = upstream.ended().await.to_string();
        assert!(ended.contains("did not take a message"), "{ended}");
        assert_eq!(upstream.ended().await.to_string(), ended);
        assert_eq!(upstream.stop(Instant::now()).await.to_string(), ended);
    }
}
