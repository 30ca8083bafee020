//! One end of a stdio stream, or of a link in its place, read and written without blocking.
//!
//! What the bytes mean is not known here. This is the one place for what Unix kinds of files
//! need: pipes, sockets, terminals and plain files all occur as a program's stdin and stdout.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::link::{LinkReader, LinkWriter};
use super::note::Note;

/// Where bytes come from or go to, and the way to move them without blocking.
#[derive(Debug)]
pub struct Wire {
    how: How,
}

#[derive(Debug)]
enum How {
    /// Waits with the reactor; the descriptor is in non-blocking mode.
    Polled(AsyncFd<OwnedFd>),
    /// Waits with the reactor; each operation asks not to block, so that the mode of a
    /// socket that others share stays as it is.
    SocketIn(AsyncFd<OwnedFd>),
    SocketOut(SocketOut),
    /// A plain file or a device that is always ready.
    Always(OwnedFd),
    /// An end of what stays within this process.
    LinkOut(LinkWriter),
    LinkIn(LinkReader),
}

/// A socket to write to, as [`How::SocketIn`].
///
/// The reactor gets to know it only once it is full. It would otherwise wake us each time the
/// other side has read something, which a pipe does only if it was full.
#[derive(Debug)]
struct SocketOut {
    socket: OwnedFd,
    /// The same socket.
    waiter: OnceLock<AsyncFd<OwnedFd>>,
}

/// What the pipe that a child's stdout goes to may hold, in bytes; four times the usual.
const LARGE_PIPE: usize = 256 * 1024;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// This many bytes were moved; for a read, 0 is the end.
    Done(usize),
    /// It would block; wait until the wire is ready.
    NotReady,
}

impl Wire {
    /// The process's own stdin.
    ///
    /// # Errors
    /// Where it is closed or cannot be waited on.
    pub fn stdin() -> io::Result<Wire> {
        Wire::standard(rustix::stdio::stdin(), "/proc/self/fd/0", OFlags::RDONLY)
    }

    /// The process's own stdout.
    ///
    /// # Errors
    /// Where it is closed or cannot be waited on.
    pub fn stdout() -> io::Result<Wire> {
        Wire::standard(rustix::stdio::stdout(), "/proc/self/fd/1", OFlags::WRONLY)
    }

    fn standard(fd: BorrowedFd<'_>, path: &str, access: OFlags) -> io::Result<Wire> {
        let interest = if access == OFlags::RDONLY {
            Interest::READABLE
        } else {
            Interest::WRITABLE
        };
        match FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) {
            FileType::Socket if access == OFlags::RDONLY => {
                let polled = register(fd.try_clone_to_owned()?, interest);
                let polled = polled.map_err(|(_, cause)| cause)?;
                Ok(Wire {
                    how: How::SocketIn(polled),
                })
            }
            FileType::Socket => Ok(Wire::socket_out(fd.try_clone_to_owned()?)),
            FileType::Fifo | FileType::CharacterDevice => {
                // Opening it anew gives a file description of our own: the non-blocking mode
                // then holds for nobody who shares the old one, like the shell's terminal.
                let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let owned = match rustix::fs::open(path, flags, Mode::empty()) {
                    Ok(own) => own,
                    Err(_) => nonblocking(fd.try_clone_to_owned()?)?,
                };
                Wire::polled(owned, interest)
            }
            FileType::RegularFile
            | FileType::Directory
            | FileType::Symlink
            | FileType::BlockDevice
            | FileType::Unknown => Ok(Wire {
                how: How::Always(fd.try_clone_to_owned()?),
            }),
        }
    }

    /// Our end of a child's stdin, to write to: a socket.
    #[must_use]
    pub fn to_child(socket: OwnedFd) -> Wire {
        Wire::socket_out(socket)
    }

    /// Our end of a child's stdout, to read from.
    ///
    /// # Errors
    /// Where the descriptor cannot be waited on.
    pub fn from_child(fd: OwnedFd) -> io::Result<Wire> {
        // A large result then comes in a few reads. The system may refuse, which does no harm.
        let _ = rustix::pipe::fcntl_setpipe_size(&fd, LARGE_PIPE);
        Wire::polled(nonblocking(fd)?, Interest::READABLE)
    }

    pub(super) fn to_link(end: LinkWriter) -> Wire {
        Wire {
            how: How::LinkOut(end),
        }
    }

    pub(super) fn from_link(end: LinkReader) -> Wire {
        Wire {
            how: How::LinkIn(end),
        }
    }

    fn socket_out(socket: OwnedFd) -> Wire {
        let waiter = OnceLock::new();
        Wire {
            how: How::SocketOut(SocketOut { socket, waiter }),
        }
    }

    fn polled(fd: OwnedFd, interest: Interest) -> io::Result<Wire> {
        let how = match register(fd, interest) {
            Ok(polled) => How::Polled(polled),
            // Devices like /dev/null cannot be polled and need not be.
            Err((fd, cause)) if cause.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                How::Always(fd)
            }
            Err((_, cause)) => return Err(cause),
        };
        Ok(Wire { how })
    }

    /// Whether it is a terminal, at which a person sits and no client.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        match &self.how {
            How::Polled(fd) | How::SocketIn(fd) => rustix::termios::isatty(fd),
            How::Always(fd) => rustix::termios::isatty(fd),
            How::SocketOut(_) | How::LinkOut(_) | How::LinkIn(_) => false,
        }
    }

    /// Waits until a read may succeed. May be cancelled: nothing is read here.
    ///
    /// # Errors
    /// Where the reactor is gone.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.how {
            // Cheaper than `AsyncFd::readable`, which any number of tasks may await; one awaits this.
            How::Polled(fd) | How::SocketIn(fd) => {
                poll_fn(|context| fd.poll_read_ready(context).map_ok(drop)).await
            }
            How::LinkIn(end) => {
                end.readable().await;
                Ok(())
            }
            How::SocketOut(_) | How::Always(_) | How::LinkOut(_) => Ok(()),
        }
    }

    /// Waits until a write may succeed. May be cancelled: nothing is written here.
    ///
    /// # Errors
    /// Where the reactor is gone.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.how {
            How::Polled(fd) => fd.writable().await.map(drop),
            How::SocketOut(socket) => socket.writable().await,
            How::LinkOut(end) => {
                end.writable().await;
                Ok(())
            }
            How::SocketIn(_) | How::Always(_) | How::LinkIn(_) => Ok(()),
        }
    }

    /// Whether the other side has closed its end, although there may still be more to read.
    /// Never of a plain file, which has no other side. Says nothing about the wire to a child's
    /// stdin, on which nothing comes back.
    #[must_use]
    pub fn has_hung_up(&self) -> bool {
        match &self.how {
            How::Polled(fd) | How::SocketIn(fd) => is_closed_there(fd.get_ref()),
            How::SocketOut(socket) => is_closed_there(&socket.socket),
            How::LinkIn(end) => end.has_hung_up(),
            How::LinkOut(end) => end.has_hung_up(),
            How::Always(_) => false,
        }
    }

    /// The note of the line that ends behind this many bytes, of all that were ever read; only links carry any. Lines
    /// are to be asked about in order.
    #[must_use]
    pub fn take_note(&self, end: u64) -> Option<Note> {
        match &self.how {
            How::LinkIn(end_of_link) => end_of_link.take_note(end),
            How::Polled(_)
            | How::SocketIn(_)
            | How::SocketOut(_)
            | How::Always(_)
            | How::LinkOut(_) => None,
        }
    }

    /// Gives a note to the line that ends `ahead` bytes from here, of those that are written next. Where there is no
    /// link, it is lost.
    pub fn add_note(&self, ahead: usize, note: Note) {
        if let How::LinkOut(end) = &self.how {
            end.add_note(ahead, note);
        }
    }

    /// Appends what can be read at once to `buf`, at most its spare capacity.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_read(&self, buf: &mut Vec<u8>) -> io::Result<Attempt> {
        let room = buf.capacity() - buf.len();
        match &self.how {
            How::Polled(fd) => {
                polled_read(fd, room, |fd| rustix::io::read(fd, spare_capacity(buf)))
            }
            How::SocketIn(fd) => polled_read(fd, room, |fd| {
                let read = rustix::net::recv(fd, spare_capacity(buf), RecvFlags::DONTWAIT);
                read.map(|(count, _)| count)
            }),
            How::Always(fd) => {
                uninterrupted(|| rustix::io::read(fd, spare_capacity(buf))).map(Attempt::Done)
            }
            How::LinkIn(end) => Ok(end.try_read(buf)),
            How::SocketOut(_) | How::LinkOut(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes what can be written at once of `parts`, in order.
    ///
    /// # Errors
    /// What the system says; `BrokenPipe` where the other side has closed.
    pub fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<Attempt> {
        let written = match &self.how {
            How::Polled(fd) => fd.try_io(Interest::WRITABLE, |fd| {
                uninterrupted(|| match parts {
                    [one] => rustix::io::write(fd, one),
                    many => rustix::io::writev(fd, many),
                })
            }),
            How::SocketOut(socket) => socket.send(parts),
            How::Always(fd) => uninterrupted(|| rustix::io::writev(fd, parts)),
            How::LinkOut(end) => return end.try_write(parts),
            How::SocketIn(_) | How::LinkIn(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        not_ready_or(written)
    }
}

impl SocketOut {
    /// Waits until it is not full any more. May be cancelled.
    async fn writable(&self) -> io::Result<()> {
        let waiter = match self.waiter.get() {
            Some(waiter) => waiter,
            None => {
                let socket = self.socket.try_clone()?;
                let waiter = register(socket, Interest::WRITABLE);
                let waiter = waiter.map_err(|(_, cause)| cause)?;
                self.waiter.get_or_init(|| waiter)
            }
        };
        waiter.writable().await.map(drop)
    }

    fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.waiter.get() {
            // The reactor has to learn that it is full again.
            Some(waiter) => waiter.try_io(Interest::WRITABLE, |socket| send(socket, parts)),
            None => send(&self.socket, parts),
        }
    }
}

fn send(socket: &OwnedFd, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    uninterrupted(|| match parts {
        [one] => rustix::net::send(socket, one, flags),
        many => {
            let mut nothing = SendAncillaryBuffer::default();
            rustix::net::sendmsg(socket, many, &mut nothing, flags)
        }
    })
}

fn is_closed_there(fd: &OwnedFd) -> bool {
    let asked = PollFlags::HUP | PollFlags::RDHUP;
    let mut fds = [PollFd::new(fd, asked)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Hands a descriptor to the reactor; gives it back where the reactor cannot wait on it.
#[expect(
    deprecated,
    reason = "deprecated for types that may name another descriptor later, which OwnedFd never \
              does; the replacement is an unsafe function, and this crate has no unsafe code"
)]
fn register(fd: OwnedFd, interest: Interest) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    AsyncFd::try_with_interest(fd, interest).map_err(|error| error.into_parts())
}

/// Reads, and tells the reactor when there is nothing more for now.
///
/// A short read has emptied the pipe: whatever comes next raises a new event, so the next
/// wait needs no futile read before it. The reactor learns of that as of any "would block".
fn polled_read(
    fd: &AsyncFd<OwnedFd>,
    room: usize,
    mut read: impl FnMut(&OwnedFd) -> Result<usize, Errno>,
) -> io::Result<Attempt> {
    let mut short = None;
    let result = fd.try_io(Interest::READABLE, |fd| {
        let count = uninterrupted(|| read(fd))?;
        if count > 0 && count < room {
            short = Some(count);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    });
    match short {
        Some(count) => Ok(Attempt::Done(count)),
        None => not_ready_or(result),
    }
}

fn not_ready_or(result: io::Result<usize>) -> io::Result<Attempt> {
    match result {
        Ok(count) => Ok(Attempt::Done(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Attempt::NotReady),
        Err(error) => Err(error),
    }
}

fn uninterrupted(mut operation: impl FnMut() -> Result<usize, Errno>) -> io::Result<usize> {
    loop {
        match operation() {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

fn nonblocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(fd.as_fd())?;
    rustix::fs::fcntl_setfl(fd.as_fd(), flags | OFlags::NONBLOCK)?;
    Ok(fd)
}
