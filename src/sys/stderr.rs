//! Our stderr, written to without ever blocking the relay.
//!
//! A client may leave a server's stderr unread. Lines then wait here up to a bound. What does not fit
//! is dropped and counted, or refused where the audit log has nothing but stderr. One thread writes
//! everything, so lines never mix.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::time::Instant;

/// How many bytes of each source may wait.
const MAX_WAITING: usize = 1024 * 1024;
/// Up to which size lines that wait are put together.
const CHUNK: usize = 64 * 1024;
/// How much is written at once. A blocking write of more would not show that somebody reads.
const PIECE: usize = 16 * 1024;
/// How long until a write is tried again that failed because there is no room.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// How many times the patience of [`Stderr::flush`] a slow reader may take in all.
const SLOW: u32 = 10;

/// A handle to the one writer of stderr; clones share it.
#[derive(Debug, Clone)]
pub struct Stderr {
    shared: Arc<Shared>,
}

/// stderr does not take a line: too much waits already, or it cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotTaken;

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something was added, and [`Queue::writer_waits`].
    more: Condvar,
    /// Something was written, or never will be, and [`Queue::is_flushed`].
    less: Condvar,
}

/// What waits to be written, in order.
#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Chunk>,
    ours: Share,
    server: Share,
    state: State,
    /// Whether the writer has taken a chunk and not finished it.
    is_writing: bool,
    /// Whether the writer waits for more. Waking it costs a system call, which is spared otherwise.
    writer_waits: bool,
    /// Whether somebody waits until everything is written.
    is_flushed: bool,
    /// How many bytes were ever written: shows a slow reader from one that does not read.
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
    /// Audit lines and messages of ours.
    Ours,
    /// What the server wrote to its own stderr.
    Server,
    /// How much was dropped; counts for nobody.
    Notice,
}

/// One source's part of the queue. Each has its own, so that a noisy server takes no room from the
/// audit log.
#[derive(Debug, Default)]
struct Share {
    /// Bytes that were handed over and not written yet.
    waiting: usize,
    /// What was dropped since the last notice.
    dropped: Dropped,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Dropped {
    lines: usize,
    bytes: usize,
}

/// How writing goes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Fine,
    /// The disk that stderr goes to is full; it is tried again.
    Full,
    /// Nothing can be written any more.
    Gone,
}

impl Stderr {
    /// Starts the writer, a thread that may block for as long as it likes. It ends with the
    /// process.
    ///
    /// # Errors
    /// Where no thread can be started.
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

    /// Hands over whole lines; drops and counts them where too much waits already.
    pub fn send(&self, lines: Vec<u8>) {
        let mut queue = self.shared.lock();
        queue.send(Source::Ours, lines);
        self.shared.wake_writer(queue);
    }

    /// As [`Stderr::send`], for lines that the server wrote.
    pub fn send_from_server(&self, lines: Vec<u8>) {
        let mut queue = self.shared.lock();
        queue.send(Source::Server, lines);
        self.shared.wake_writer(queue);
    }

    /// Hands over whole lines that must not be lost: once taken, only the end of this process
    /// keeps them from being written.
    ///
    /// # Errors
    /// Where too much waits already, or stderr cannot be written.
    pub fn take(&self, lines: Vec<u8>) -> Result<(), NotTaken> {
        let mut queue = self.shared.lock();
        if queue.state != State::Fine {
            return Err(NotTaken);
        }
        queue.add(Source::Ours, lines).map_err(|_| NotTaken)?;
        self.shared.wake_writer(queue);
        Ok(())
    }

    /// Waits until everything is written, for as long as something is written at least once per
    /// `patience`, and for ten times that at most.
    pub fn flush(&self, patience: Duration) {
        let latest = Instant::now() + SLOW * patience;
        let mut queue = self.shared.lock();
        while !queue.is_idle() && Instant::now() < latest {
            queue.is_flushed = true;
            let before = queue.written;
            let waits = |queue: &mut Queue| !queue.is_idle() && queue.written == before;
            let waited = self.shared.less.wait_timeout_while(queue, patience, waits);
            let (locked, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                // An unread stderr must not keep the proxy from ending.
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

    /// The next chunk, once there is one.
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

    /// Changes something that [`Stderr::flush`] may wait for.
    fn update(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.lock();
        change(&mut queue);
        if queue.is_flushed {
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

    /// Adds lines at the end, or gives them back if too much waits.
    fn add(&mut self, source: Source, lines: Vec<u8>) -> Result<(), Vec<u8>> {
        if self.state == State::Gone {
            // There is nobody to tell how many were dropped.
            return Err(lines);
        }
        let size = lines.len();
        if let Some(share) = self.share(source) {
            // One giant line may go when nothing else waits.
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

    /// Says at this place of the output how much was dropped there, if anything was.
    fn note_dropped(&mut self) {
        let notices = [
            (std::mem::take(&mut self.ours.dropped), ""),
            (
                std::mem::take(&mut self.server.dropped),
                " of the server's stderr",
            ),
        ];
        for (dropped, of_whom) in notices {
            if dropped != Dropped::default() {
                self.chunks.push_back(Chunk {
                    source: Source::Notice,
                    bytes: dropped.notice(of_whom).into_bytes(),
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
    fn notice(self, of_whom: &str) -> String {
        let Dropped { lines, bytes } = self;
        let were = if lines == 1 { "line was" } else { "lines were" };
        format!(
            "approval-proxy: {lines} {were} dropped here ({bytes} bytes{of_whom}): stderr was not read in time\n"
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
                    is_flushed: queue.is_flushed,
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

/// Writes all of it, however long that takes. Fails only where nothing can ever be written again.
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
            // Whoever shares our stderr may have put it into non-blocking mode, as Node.js does.
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

    /// A stderr that nobody reads yet, and what reads it.
    fn unread() -> (Stderr, File) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (Stderr::start_with(writer).unwrap(), File::from(reader))
    }

    /// Everything that was handed over or told, and then `the end`.
    fn read_all(stderr: &Stderr, mut reader: File) -> String {
        let stderr = stderr.clone();
        std::thread::spawn(move || {
            while stderr.take(b"the end\n".to_vec()).is_err() {
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

    /// How many lines the notices say were dropped.
    fn told(text: &str) -> usize {
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

    // A batch of lines was one drop, and so 4,541 lines were missing where 41 were told.
    #[test]
    fn an_unread_stderr_blocks_nobody_and_every_dropped_line_is_counted_where_it_is_missing() {
        let (stderr, mut reader) = unread();
        // Batches of all sizes, three times what may wait; then some is read, and there is more.
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
                    let lines = told(line);
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
        while stderr.take(numbered(taken, taken + 10)).is_ok() {
            taken += 10;
        }
        assert!(taken * 101 >= MAX_WAITING - 10 * 101, "{taken}");
        let text = read_all(&stderr, reader);
        let written: Vec<usize> = text.lines().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(written, (0..taken).collect::<Vec<usize>>());
        assert_eq!(told(&text), 0, "what is refused is not dropped");
    }

    #[test]
    fn a_noisy_server_takes_no_room_from_the_audit_log() {
        let (stderr, reader) = unread();
        for _ in 0..4 {
            stderr.send_from_server(vec![b'\n'; MAX_WAITING / 2]);
        }
        assert_eq!(stderr.take(numbered(0, 5000)), Ok(()));
        let text = read_all(&stderr, reader);
        assert_eq!(told(&text), MAX_WAITING);
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
    fn a_stderr_that_cannot_be_written_takes_no_audit_line() {
        let eventually_refused = |stderr: &Stderr| {
            // What is handed over before the first write has failed counts as taken.
            for _ in 0..5000 {
                if stderr.take(b"line\n".to_vec()).is_err() {
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
    fn one_giant_line_is_written_when_nothing_else_waits() {
        let (stderr, reader) = unread();
        let giant = [vec![b'y'; 2 * MAX_WAITING], vec![b'\n']].concat();
        stderr.send(giant.clone());
        let text = read_all(&stderr, reader);
        assert!(text.as_bytes().starts_with(&giant));
    }

    #[test]
    fn a_slow_reader_gets_everything_before_the_end_and_none_is_waited_for() {
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
