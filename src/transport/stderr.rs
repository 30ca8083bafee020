//! stderr, written to without ever blocking the relay.
//!
//! Clients may leave a server's stderr unread. Lines then wait here up to a bound, and what
//! does not fit is dropped and counted: stderr is a convenience, not evidence.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How many bytes may wait.
const MAX_WAITING: usize = 1024 * 1024;

/// A handle to the one writer of stderr; clones share it.
#[derive(Debug, Clone)]
pub struct Stderr {
    lines: Sender<Job>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bytes that were handed over and not written yet; bounds the channel.
    waiting: AtomicUsize,
    /// Lines that were dropped since the last one that was not.
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Job {
    Write(Vec<u8>),
    /// Everything before this is written: say so.
    Flush(Sender<()>),
}

impl Stderr {
    /// Starts the writer, a thread that may block for as long as it likes.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start() -> io::Result<Stderr> {
        Stderr::start_with(io::stderr())
    }

    fn start_with(out: impl Write + Send + 'static) -> io::Result<Stderr> {
        let (lines, jobs) = channel();
        let shared = Arc::new(Shared::default());
        let writers_share = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("stderr".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || write_all(&jobs, out, &writers_share))?;
        Ok(Stderr { lines, shared })
    }

    /// Hands over whole lines; drops them where too much waits already.
    pub fn send(&self, lines: Vec<u8>) {
        let size = lines.len();
        let waiting = self.shared.waiting.fetch_add(size, Ordering::Relaxed);
        if waiting > 0 && waiting + size > MAX_WAITING {
            self.shared.waiting.fetch_sub(size, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The writer only ends with the process.
        let _ = self.lines.send(Job::Write(lines));
    }

    /// Waits until everything is written, for at most `patience`.
    pub fn flush(&self, patience: Duration) {
        let (done, wait) = channel();
        if self.lines.send(Job::Flush(done)).is_ok() {
            // An unread stderr must not keep the proxy from ending.
            let _ = wait.recv_timeout(patience);
        }
    }
}

fn write_all(jobs: &Receiver<Job>, mut out: impl Write, shared: &Shared) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Write(lines) => {
                // Where stderr cannot be written to there is nobody to tell.
                let _ = out.write_all(&lines);
                shared.waiting.fetch_sub(lines.len(), Ordering::Relaxed);
                let dropped = shared.dropped.swap(0, Ordering::Relaxed);
                if dropped > 0 {
                    let _ = writeln!(
                        out,
                        "approval-proxy: {dropped} lines were dropped here: stderr was not read in time"
                    );
                }
            }
            Job::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
    }
}

/// For `tracing`: each event is one write.
impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.send(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// A stderr that blocks until it is opened.
    #[derive(Clone, Default)]
    struct Gated(Arc<(Mutex<Opened>, Condvar)>);

    /// Whether it was opened, and what was written since.
    type Opened = (bool, Vec<u8>);

    impl Gated {
        fn open(&self) {
            self.0.0.lock().unwrap().0 = true;
            self.0.1.notify_all();
        }
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (state, changed) = &*self.0;
            let mut state = changed
                .wait_while(state.lock().unwrap(), |state| !state.0)
                .unwrap();
            state.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_unread_stderr_blocks_nobody_and_what_is_dropped_is_counted() {
        let out = Gated::default();
        let stderr = Stderr::start_with(out.clone()).unwrap();
        let line = [vec![b'x'; 1023], vec![b'\n']].concat();
        for _ in 0..2 * MAX_WAITING / line.len() {
            stderr.send(line.clone());
        }
        stderr.flush(Duration::ZERO);
        out.open();
        stderr.flush(Duration::from_secs(30));
        let written = String::from_utf8(out.0.0.lock().unwrap().1.clone()).unwrap();
        let whole = written.lines().filter(|line| line.len() == 1023).count();
        let told: usize = written
            .lines()
            .filter_map(|line| {
                line.strip_prefix("approval-proxy: ")?
                    .split(' ')
                    .next()?
                    .parse::<usize>()
                    .ok()
            })
            .sum();
        assert_eq!(whole + told, 2 * MAX_WAITING / line.len());
        assert!(
            told > 0 && whole >= MAX_WAITING / line.len() - 1,
            "{whole} {told}"
        );
    }

    #[test]
    fn one_giant_line_is_written_when_nothing_else_waits() {
        let out = Gated::default();
        out.open();
        let stderr = Stderr::start_with(out.clone()).unwrap();
        stderr.send(vec![b'y'; 2 * MAX_WAITING]);
        stderr.flush(Duration::from_secs(30));
        assert_eq!(out.0.0.lock().unwrap().1.len(), 2 * MAX_WAITING);
    }
}
