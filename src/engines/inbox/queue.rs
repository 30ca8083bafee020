//! The way of jobs to the inbox's thread, which is heard also while that thread waits for the store.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SendError, Sender, TryIter, TryRecvError, channel,
};
use std::time::Duration;

use super::handle::Job;

/// Where jobs go in. What limits their number is the sender's business.
pub(super) struct Jobs {
    jobs: Sender<Job>,
    /// Becomes readable at the other end with each job, and when this one is gone. Behind the jobs, since it is
    /// dropped behind them.
    bell: UnixStream,
}

/// Where they come out.
pub(super) struct Queue {
    jobs: Receiver<Job>,
    bell: UnixStream,
}

/// Makes both ends.
pub(super) fn queue() -> io::Result<(Jobs, Queue)> {
    let (sender, receiver) = channel();
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    let jobs = Jobs {
        jobs: sender,
        bell: ours,
    };
    let queue = Queue {
        jobs: receiver,
        bell: theirs,
    };
    Ok((jobs, queue))
}

impl Jobs {
    pub(super) fn send(&self, job: Job) -> Result<(), SendError<Job>> {
        self.jobs.send(job)?;
        // If there is no room, it has been rung often enough.
        let _ = (&self.bell).write(&[0]);
        Ok(())
    }
}

impl Queue {
    /// Waits for a job.
    pub(super) fn recv(&self) -> Result<Job, RecvTimeoutError> {
        self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
    }

    /// Waits for a job, for so long at most.
    pub(super) fn recv_timeout(&self, limit: Duration) -> Result<Job, RecvTimeoutError> {
        self.jobs.recv_timeout(limit)
    }

    /// The jobs that are there.
    pub(super) fn try_iter(&self) -> TryIter<'_, Job> {
        self.jobs.try_iter()
    }

    /// A job, if there is one; if there is none, [`bell`](Queue::bell) becomes readable with the next.
    pub(super) fn take(&self) -> Result<Job, TryRecvError> {
        // First this: whoever rings after it is heard.
        let mut rings = [0; 64];
        while matches!((&self.bell).read(&mut rings), Ok(1..)) {}
        self.jobs.try_recv()
    }

    /// Readable when there may be something to [take](Queue::take), or will never be anything again.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
