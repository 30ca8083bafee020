//! The worker's job queue. It can wake the worker while it waits for the store.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SendError, Sender, TryIter, TryRecvError, channel,
};
use std::time::Duration;

use super::handle::Job;

/// The sending end. It is unbounded: the sender limits the number of jobs.
pub(super) struct Jobs {
    jobs: Sender<Job>,
    /// Makes the other end readable with each job, and when it is dropped. Declared after `jobs`, because it must be
    /// dropped after it.
    bell: UnixStream,
}

/// The receiving end.
pub(super) struct Queue {
    jobs: Receiver<Job>,
    bell: UnixStream,
}

/// Creates both ends.
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
        // If the socket is full, the bell has rung already.
        let _ = (&self.bell).write(&[0]);
        Ok(())
    }
}

impl Queue {
    /// Waits for a job.
    pub(super) fn recv(&self) -> Result<Job, RecvTimeoutError> {
        self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
    }

    /// Waits for a job, at most `limit`.
    pub(super) fn recv_timeout(&self, limit: Duration) -> Result<Job, RecvTimeoutError> {
        self.jobs.recv_timeout(limit)
    }

    /// Returns the jobs that have arrived.
    pub(super) fn try_iter(&self) -> TryIter<'_, Job> {
        self.jobs.try_iter()
    }

    /// Returns a job if one has arrived. Otherwise [`bell`](Queue::bell) becomes readable with the next one.
    pub(super) fn take(&self) -> Result<Job, TryRecvError> {
        // Empty the bell before checking for jobs, so that no ring is lost.
        let mut rings = [0; 64];
        while matches!((&self.bell).read(&mut rings), Ok(1..)) {}
        self.jobs.try_recv()
    }

    /// Readable when there may be a job to [take](Queue::take), or when the sending end is gone.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
