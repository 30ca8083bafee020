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
    /// A server somewhere else.
    Remote(Remote),
}

/// A task that speaks to a server elsewhere.
#[derive(Debug)]
pub struct Remote {
    /// Ends with why it can do so no more.
    task: JoinHandle<&'static str>,
    /// What it ended with.
    ended: Option<Exit>,
}

impl Remote {
    /// `task` ends with why the server cannot be spoken to any more.
    #[must_use]
    pub fn new(task: JoinHandle<&'static str>) -> Remote {
        Remote { task, ended: None }
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

impl Drop for Remote {
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
        let mut upstream = Upstream::Remote(Remote::new(task));
        let ended = upstream.ended().await.to_string();
        assert!(ended.contains("did not take a message"), "{ended}");
        assert_eq!(upstream.ended().await.to_string(), ended);
        assert_eq!(upstream.stop(Instant::now()).await.to_string(), ended);
    }
}
