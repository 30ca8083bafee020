//! Our stderr, written without ever blocking the relay.
//!
//! A client may not read a server's stderr. Lines then wait here, up to a limit. Lines beyond it are dropped and
//! counted, or refused if stderr is the only audit log. One thread writes everything, so lines never mix.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::time::Instant;

/// How many bytes of each source can wait.
const MAX_WAITING: usize = 1024 * 1024;
/// Maximum size to which waiting lines are merged.
const CHUNK: usize = 64 * 1024;
/// How many bytes to write at once. A longer blocking write would not show that somebody is reading.
const PIECE: usize = 16 * 1024;
/// How long to wait before a write is tried again that failed because the disk is full.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// The limit for a slow reader in [`Stderr::flush`], as a multiple of its `patience`.
const SLOW: u32 = 10;

/// A handle to the only writer of stderr. Clones share it.
#[derive(Debug, Clone)]
pub struct Stderr {
    shared: Arc<Shared>,
}

/// stderr does not accept a line: too many bytes are waiting, or it cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected;

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signals the writer that something was added while [`Queue::writer_waits`].
    more: Condvar,
    /// Signals [`Stderr::flush`] that something was written or never will be.
    less: Condvar,
}

/// The chunks that wait to be written, in order.
#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Chunk>,
    ours: Share,
    server: Share,
    state: State,
    /// Whether the writer has taken a chunk and not finished it.
    is_writing: bool,
    /// Whether the writer waits for more. Waking it costs a system call, so it is woken only then.
    writer_waits: bool,
    /// Whether [`Stderr::flush`] is waiting.
    has_flusher: bool,
    /// The total number of bytes written. It distinguishes a slow reader from one that does not read.
    written: u64,
}

/// Whole lines of one source.
#[derive(Debug)]
struct Chunk {
    source: Source,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Our audit records and messages.
    Ours,
    /// The server's own stderr.
    Server,
    /// A notice about dropped lines. Counts for neither source.
    Notice,
}

/// The share of one source in the queue. It is separate, so that a noisy server takes no space from the audit log.
#[derive(Debug, Default)]
struct Share {
    /// Bytes that were accepted and not written yet.
    waiting: usize,
    /// What was dropped since the last notice.
    dropped: Dropped,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Dropped {
    lines: usize,
    bytes: usize,
}

/// Whether writing works.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Fine,
    /// The disk behind stderr is full; writing is retried.
    Full,
    /// Nothing can be written any more.
    Gone,
}

impl Stderr {
    /// Starts the writer: a thread that may block forever and ends with the process.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start() -> io::Result<Stderr> {
        Stderr::start_with(rustix::stdio::stderr())
    }

    fn start_with(out: impl AsFd + Send + 'static) -> io::Result<Stderr> {
        let shared = Arc::new(Shared::default());
        let writers_share = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("stderr".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || write_everything(&writers_share, &out))?;
        Ok(Stderr { shared })
    }

    /// Sends whole lines; drops and counts them if too many bytes are waiting.
    pub fn send(&self, lines: Vec<u8>) {
        let mut queue = self.shared.lock();
        queue.send(Source::Ours, lines);
        self.shared.wake_writer(queue);
    }

    /// Like [`Stderr::send`], for the server's lines.
    pub fn send_from_server(&self, lines: Vec<u8>) {
        let mut queue = self.shared.lock();
        queue.send(Source::Server, lines);
        self.shared.wake_writer(queue);
    }

    /// Sends whole lines that must not be lost. Once accepted, they are lost only if this process ends.
    ///
    /// # Errors
    /// If too many bytes are waiting, or if stderr cannot be written.
    pub fn try_send(&self, lines: Vec<u8>) -> Result<(), Rejected> {
        let mut queue = self.shared.lock();
        if queue.state != State::Fine {
            return Err(Rejected);
        }
        queue.add(Source::Ours, lines).map_err(|_| Rejected)?;
        self.shared.wake_writer(queue);
        Ok(())
    }

    /// Waits until everything is written, as long as something is written at least once per `patience`, and at most ten
    /// times `patience`.
    pub fn flush(&self, patience: Duration) {
        let latest = Instant::now() + SLOW * patience;
        let mut queue = self.shared.lock();
        while !queue.is_idle() && Instant::now() < latest {
            queue.has_flusher = true;
            let before = queue.written;
            let waits = |queue: &mut Queue| !queue.is_idle() && queue.written == before;
            let waited = self.shared.less.wait_timeout_while(queue, patience, waits);
            let (locked, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                // An unread stderr must not keep the proxy from exiting.
                return;
            }
            queue = locked;
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next chunk.
    fn next(&self) -> Chunk {
        let mut queue = self.lock();
        loop {
            if let Some(chunk) = queue.next() {
                queue.is_writing = true;
                return chunk;
            }
            queue.writer_waits = true;
            queue = (self.more.wait(queue)).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wake_writer(&self, mut queue: MutexGuard<'_, Queue>) {
        if std::mem::take(&mut queue.writer_waits) {
            drop(queue);
            self.more.notify_one();
        }
    }

    /// Makes a change that [`Stderr::flush`] may be waiting for.
    fn update(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.lock();
        change(&mut queue);
        if queue.has_flusher {
            drop(queue);
            self.less.notify_all();
        }
    }
}

impl Queue {
    fn send(&mut self, source: Source, lines: Vec<u8>) {
        if let Err(lines) = self.add(source, lines)
            && let Some(share) = self.share(source)
        {
            share.dropped.lines += memchr::memchr_iter(b'\n', &lines).count();
            share.dropped.bytes += lines.len();
        }
    }

    /// Appends lines, or returns them if too many bytes are waiting.
    fn add(&mut self, source: Source, lines: Vec<u8>) -> Result<(), Vec<u8>> {
        if self.state == State::Gone {
            // A notice about dropped lines could never be written.
            return Err(lines);
        }
        let size = lines.len();
        if let Some(share) = self.share(source) {
            // One huge line is accepted if nothing else is waiting.
            if share.waiting > 0 && share.waiting + size > MAX_WAITING {
                return Err(lines);
            }
            share.waiting += size;
        }
        self.note_dropped();
        match self.chunks.back_mut() {
            Some(last) if last.source == source && last.bytes.len() + size <= CHUNK => {
                last.bytes.extend_from_slice(&lines);
            }
            _ => self.chunks.push_back(Chunk {
                source,
                bytes: lines,
            }),
        }
        Ok(())
    }

    /// Adds a notice about the lines that were dropped at this point, if any.
    fn note_dropped(&mut self) {
        let notices = [
            (std::mem::take(&mut self.ours.dropped), ""),
            (
                std::mem::take(&mut self.server.dropped),
                " of the server's stderr",
            ),
        ];
        for (dropped, source) in notices {
            if dropped != Dropped::default() {
                self.chunks.push_back(Chunk {
                    source: Source::Notice,
                    bytes: dropped.notice(source).into_bytes(),
                });
            }
        }
    }

    fn next(&mut self) -> Option<Chunk> {
        if self.chunks.is_empty() {
            self.note_dropped();
        }
        self.chunks.pop_front()
    }

    fn is_idle(&self) -> bool {
        self.chunks.is_empty() && !self.is_writing
    }

    fn share(&mut self, source: Source) -> Option<&mut Share> {
        match source {
            Source::Ours => Some(&mut self.ours),
            Source::Server => Some(&mut self.server),
            Source::Notice => None,
        }
    }
}

impl Dropped {
    fn notice(self, source: &str) -> String {
        let Dropped { lines, bytes } = self;
        let were = if lines == 1 { "line was" } else { "lines were" };
        format!(
            "approval-proxy: {lines} {were} dropped here ({bytes} bytes{source}): stderr was not read in time\n"
        )
    }
}

fn write_everything(shared: &Shared, out: &impl AsFd) {
    loop {
        let chunk = shared.next();
        if write_chunk(shared, out, &chunk.bytes).is_err() {
            shared.update(|queue| {
                *queue = Queue {
                    state: State::Gone,
                    has_flusher: queue.has_flusher,
                    ..Queue::default()
                };
            });
            return;
        }
        shared.update(|queue| {
            queue.is_writing = false;
            if let Some(share) = queue.share(chunk.source) {
                share.waiting -= chunk.bytes.len();
            }
        });
    }
}

/// Writes all bytes, however long that takes. Fails only if nothing can ever be written again.
fn write_chunk(shared: &Shared, out: &impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(out, bytes.get(..PIECE).unwrap_or(bytes)) {
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                shared.update(|queue| {
                    queue.written += count as u64;
                    queue.state = State::Fine;
                });
            }
            Err(Errno::INTR) => {}
            // Another process with the same stderr may have put it into non-blocking mode, as Node.js does.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(out, PollFlags::OUT)], None);
            }
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {
                shared.update(|queue| queue.state = State::Full);
                std::thread::sleep(TRY_AGAIN);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use rustix::fs::OFlags;

    use super::*;

    /// Returns a stderr that nobody reads yet, and its reader.
    fn unread() -> (Stderr, File) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (Stderr::start_with(writer).unwrap(), File::from(reader))
    }

    /// Returns everything that was written or reported, up to `the end`.
    fn read_all(stderr: &Stderr, mut reader: File) -> String {
        let stderr = stderr.clone();
        std::thread::spawn(move || {
            while stderr.try_send(b"the end\n".to_vec()).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut text = String::new();
        let mut chunk = [0; 64 * 1024];
        while !text.ends_with("the end\n") {
            let count = reader.read(&mut chunk).unwrap();
            text.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
        }
        text
    }

    /// Returns how many lines the notices report as dropped.
    fn dropped_lines(text: &str) -> usize {
        let notices = text
            .lines()
            .filter_map(|line| line.strip_prefix("approval-proxy: "));
        notices
            .map(|notice| notice.split(' ').next().unwrap().parse::<usize>().unwrap())
            .sum()
    }

    fn numbered(from: usize, to: usize) -> Vec<u8> {
        let lines = (from..to).map(|n| format!("{n:0100}\n"));
        lines.collect::<String>().into_bytes()
    }

    // Once a whole batch counted as one dropped line: 4,541 lines were missing and 41 were reported.
    #[test]
    fn an_unread_stderr_blocks_nothing_and_each_dropped_line_is_counted_in_its_place() {
        let (stderr, mut reader) = unread();
        // Batches of all sizes, three times the limit. Then some is read, and more is sent.
        let mut next = 0;
        let mut send = |bytes: usize| {
            let stop = next + bytes / 101;
            while next < stop {
                let batch = next % 130 + 1;
                stderr.send(numbered(next, next + batch));
                next += batch;
            }
        };
        send(3 * MAX_WAITING);
        let mut some = vec![0; 400 * 1024];
        reader.read_exact(&mut some).unwrap();
        send(MAX_WAITING);
        let text = String::from_utf8(some).unwrap() + &read_all(&stderr, reader);
        let (mut expected, mut missing) = (0, 0);
        for line in text.lines().take_while(|line| *line != "the end") {
            match line.strip_prefix("approval-proxy: ") {
                Some(_) => {
                    let lines = dropped_lines(line);
                    expected += lines;
                    missing += lines;
                }
                None => {
                    assert_eq!(line.parse::<usize>().unwrap(), expected);
                    expected += 1;
                }
            }
        }
        assert_eq!(expected, next);
        assert!(missing > 10_000 && missing < next - 10_000, "{missing}");
    }

    #[test]
    fn lines_that_must_not_be_lost_are_refused_instead_of_dropped() {
        let (stderr, reader) = unread();
        let mut taken = 0;
        while stderr.try_send(numbered(taken, taken + 10)).is_ok() {
            taken += 10;
        }
        assert!(taken * 101 >= MAX_WAITING - 10 * 101, "{taken}");
        let text = read_all(&stderr, reader);
        let written: Vec<usize> = text.lines().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(written, (0..taken).collect::<Vec<usize>>());
        assert_eq!(dropped_lines(&text), 0, "what is refused is not dropped");
    }

    #[test]
    fn a_noisy_server_takes_no_space_from_the_audit_log() {
        let (stderr, reader) = unread();
        for _ in 0..4 {
            stderr.send_from_server(vec![b'\n'; MAX_WAITING / 2]);
        }
        assert_eq!(stderr.try_send(numbered(0, 5000)), Ok(()));
        let text = read_all(&stderr, reader);
        assert_eq!(dropped_lines(&text), MAX_WAITING);
        assert!(text.contains(" of the server's stderr): "), "no notice");
    }

    // Node.js puts a stderr that it shares with us into non-blocking mode.
    #[test]
    fn a_stderr_in_non_blocking_mode_loses_nothing() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        let stderr = Stderr::start_with(writer).unwrap();
        let lines = MAX_WAITING / 101;
        stderr.send(numbered(0, lines));
        let text = read_all(&stderr, File::from(reader));
        let written = text.lines().filter_map(|line| line.parse::<usize>().ok());
        assert!(written.eq(0..lines));
    }

    #[test]
    fn an_unwritable_stderr_accepts_no_audit_line() {
        let eventually_refused = |stderr: &Stderr| {
            // Lines sent before the first write has failed count as accepted.
            for _ in 0..5000 {
                if stderr.try_send(b"line\n".to_vec()).is_err() {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            false
        };
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        assert!(eventually_refused(&Stderr::start_with(writer).unwrap()));
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert!(eventually_refused(
            &Stderr::start_with(OwnedFd::from(full)).unwrap()
        ));
    }

    #[test]
    fn one_huge_line_is_written_if_nothing_else_waits() {
        let (stderr, reader) = unread();
        let giant = [vec![b'y'; 2 * MAX_WAITING], vec![b'\n']].concat();
        stderr.send(giant.clone());
        let text = read_all(&stderr, reader);
        assert!(text.as_bytes().starts_with(&giant));
    }

    #[test]
    fn a_slow_reader_gets_everything_and_an_absent_one_is_not_waited_for() {
        let (stderr, mut reader) = unread();
        stderr.send(numbered(0, 5000));
        let reading = std::thread::spawn(move || {
            let mut chunk = [0; 64 * 1024];
            let mut total = 0;
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                total += count;
                if total == 5000 * 101 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            total
        });
        // Eight reads take longer than the patience for one.
        stderr.flush(Duration::from_millis(100));
        assert!(stderr.shared.lock().is_idle());
        assert_eq!(reading.join().unwrap(), 5000 * 101);

        let (stderr, _reader) = unread();
        stderr.send(numbered(0, 5000));
        let start = Instant::now();
        stderr.flush(Duration::from_millis(100));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
