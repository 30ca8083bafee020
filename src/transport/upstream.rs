//! The other end of a session: a process of ours, or a server somewhere else.
//!
//! What is said to it goes through wires; here is only whether it lives, and how it ends.

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
    /// A task that speaks to a server elsewhere, and ends with why it can do so no more.
    Remote(JoinHandle<&'static str>),
}

impl Upstream {
    /// Waits until it has ended. May be cancelled and called again, until it has returned.
    pub async fn ended(&mut self) -> Exit {
        match self {
            Upstream::Child(child) => child.ended().await,
            Upstream::Remote(task) => Exit::of_remote(task.await.unwrap_or("cannot be spoken to")),
        }
    }

    /// Makes it end, having closed what is sent to it at `closed`; five seconds at most.
    pub async fn stop(&mut self, closed: Instant) -> Exit {
        match self {
            Upstream::Child(child) => child.stop(closed).await,
            // Its end has been seen before.
            Upstream::Remote(task) if task.is_finished() => {
                Exit::of_remote("has ended the session")
            }
            Upstream::Remote(task) => match timeout_at(closed + GRACE, &mut *task).await {
                Ok(how) => Exit::of_remote(how.unwrap_or("cannot be spoken to")),
                Err(_) => {
                    task.abort();
                    Exit::of_remote("did not answer in time")
                }
            },
        }
    }

    /// Ends what it started and left behind.
    pub async fn end_what_it_left_behind(&self) {
        if let Upstream::Child(child) = self {
            child.end_what_it_left_behind().await;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Upstream::Remote(task) = self {
            task.abort();
        }
    }
}
