//! The upstream of a session: a child process or a remote server. Says whether it lives and how it ended.
//!
//! Messages go through its wires instead.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, timeout_at};

use super::child::{Child, Exit};

/// How long a remote server has to answer pending requests once the session ends.
const GRACE: Duration = Duration::from_secs(2);

/// The server behind a session.
#[derive(Debug)]
pub enum Upstream {
    /// A process that we have started.
    Child(Child),
    /// A remote server.
    Remote(RemoteTask),
}

/// An event of a remote server, or of the task that talks to it, that is not a message.
#[derive(Debug, PartialEq, Eq)]
pub enum RemoteEvent {
    /// The server has lost the session, and a new one has started in its place. The relay writes
    /// [`RESTART_HEARD`] behind the last line that it sent before it learned of this.
    Restarted {
        /// How the session was lost.
        why: String,
    },
    /// A tool call, as it was sent, that the server has certainly not accepted.
    Returned {
        /// The call.
        line: String,
        /// Why the server has not accepted it.
        why: String,
        /// True if the call may be sent to the server again.
        may_go_again: bool,
    },
}

/// The line with which the relay confirms that it knows of a restart. Every other line is JSON.
pub const RESTART_HEARD: &str = "restart heard";

/// An event of an upstream that is not a message.
#[derive(Debug)]
pub enum UpstreamEvent {
    /// It has ended.
    Ended(Exit),
    /// An event of a remote server.
    Remote(RemoteEvent),
}

/// A task that talks to a remote server.
#[derive(Debug)]
pub struct RemoteTask {
    /// Returns why it can no longer reach the server.
    task: JoinHandle<&'static str>,
    /// At most one event for each request in flight, and one for each session.
    events: UnboundedReceiver<RemoteEvent>,
    /// How the task ended, once it has.
    ended: Option<Exit>,
    /// Details about why the task ended, if there are any.
    end_reason: Arc<OnceLock<String>>,
}

impl RemoteTask {
    /// Wraps a task that returns why it can no longer reach the server. `events` receives its events, and
    /// `end_reason` may hold more details about its end.
    #[must_use]
    pub fn new(
        task: JoinHandle<&'static str>,
        events: UnboundedReceiver<RemoteEvent>,
        end_reason: Arc<OnceLock<String>>,
    ) -> RemoteTask {
        RemoteTask {
            task,
            events,
            ended: None,
            end_reason,
        }
    }

    /// Waits until it has ended or reports an event. May be cancelled, and called again.
    async fn next(&mut self) -> UpstreamEvent {
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => return UpstreamEvent::Remote(event),
            why = &mut self.task, if self.ended.is_none() => {
                self.ended = Some(Exit::of_remote(why.unwrap_or(UNREACHABLE)));
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
        let exit = Exit::of_remote(why.unwrap_or(UNREACHABLE));
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

    /// Waits until it has ended or reports an event. May be cancelled, and called again.
    pub async fn next(&mut self) -> UpstreamEvent {
        match self {
            Upstream::Child(child) => UpstreamEvent::Ended(child.ended().await),
            Upstream::Remote(remote) => remote.next().await,
        }
    }

    /// Returns true if it may return calls that it has not accepted.
    #[must_use]
    pub fn may_return_calls(&self) -> bool {
        matches!(self, Upstream::Remote(_))
    }

    /// Ends it, after its input was closed at `closed`. Takes at most five seconds.
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

    /// Returns details about its end that may be quoted to a client: the end of a process's stderr, or
    /// why a remote server cannot be reached.
    #[must_use]
    pub fn end_details(&self) -> Option<String> {
        match self {
            Upstream::Child(child) => child.stderr_tail(),
            Upstream::Remote(remote) => remote.end_reason.get().cloned(),
        }
    }

    /// Ends the processes that it left behind.
    pub async fn end_leftovers(&mut self) {
        if let Upstream::Child(child) = self {
            child.end_leftovers().await;
        }
    }
}

/// How a remote server ended if its task panicked. Completes a sentence that begins with "the server".
const UNREACHABLE: &str = "became unreachable";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_reason_why_a_remote_server_ended_is_remembered() {
        let task = tokio::spawn(async { "did not accept a message" });
        let (_, events) = tokio::sync::mpsc::unbounded_channel();
        let mut upstream = Upstream::Remote(RemoteTask::new(task, events, Arc::default()));
        let ended = upstream.ended().await.to_string();
        assert!(ended.contains("did not accept a message"), "{ended}");
        assert_eq!(upstream.ended().await.to_string(), ended);
        assert_eq!(upstream.stop(Instant::now()).await.to_string(), ended);
    }
}
