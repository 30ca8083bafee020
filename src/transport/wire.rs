//! One end of a stdio stream, or of a link in its place, read and written without blocking.
//!
//! The only place that deals with kinds of Unix files: pipes, sockets, terminals and plain files all
//! occur as a program's stdin and stdout.

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

/// A source or destination of bytes that never blocks.
#[derive(Debug)]
pub struct Wire {
    how: How,
}

#[derive(Debug)]
enum How {
    /// Waits with the reactor. The descriptor is in non-blocking mode.
    Polled(AsyncFd<OwnedFd>),
    /// Waits with the reactor. Each operation sets a flag not to block, because changing the mode
    /// would affect others that share the socket.
    SocketIn(AsyncFd<OwnedFd>),
    SocketOut(SocketOut),
    /// A plain file or a device that is always ready.
    Always(OwnedFd),
    /// One end of a link within this process.
    LinkOut(LinkWriter),
    LinkIn(LinkReader),
}

/// A socket to write to. As in [`How::SocketIn`], each operation sets a flag not to block.
///
/// It is registered with the reactor only once it is full. Otherwise the reactor would wake us each
/// time the other side reads something; with a pipe, it does so only if the pipe was full.
#[derive(Debug)]
struct SocketOut {
    socket: OwnedFd,
    /// The same socket.
    waiter: OnceLock<AsyncFd<OwnedFd>>,
}

/// The size of the pipe for a child's stdout, in bytes: four times the usual.
const LARGE_PIPE: usize = 256 * 1024;

/// The result of an attempt to read or write.
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
    /// If it is closed or cannot be waited on.
    pub fn stdin() -> io::Result<Wire> {
        Wire::standard(rustix::stdio::stdin(), "/proc/self/fd/0", OFlags::RDONLY)
    }

    /// The process's own stdout.
    ///
    /// # Errors
    /// If it is closed or cannot be waited on.
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
                // Opening it again gives us a file description of our own. The non-blocking mode
                // then does not affect others that share the old one, such as the shell.
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

    /// Our end of a child's stdin, which is a socket.
    #[must_use]
    pub fn to_child(socket: OwnedFd) -> Wire {
        Wire::socket_out(socket)
    }

    /// Our end of a child's stdout.
    ///
    /// # Errors
    /// If the descriptor cannot be waited on.
    pub fn from_child(fd: OwnedFd) -> io::Result<Wire> {
        // With this, a large result arrives in a few reads. It does no harm if the system refuses.
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
            // Devices such as /dev/null cannot be polled, and need not be.
            Err((fd, cause)) if cause.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                How::Always(fd)
            }
            Err((_, cause)) => return Err(cause),
        };
        Ok(Wire { how })
    }

    /// Returns true if it is a terminal, so that a person and not a client is at the other end.
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
    /// If the reactor is gone.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.how {
            // Cheaper than `AsyncFd::readable`, which supports several waiting tasks; we have one.
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
    /// If the reactor is gone.
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

    /// Returns true if the other side has closed its end. There may still be more to read. Always
    /// false for a plain file, which has no other side. Meaningless for the wire to a child's
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

    /// Takes the note of the line that ends at byte `end`, counted from the first byte that was ever read. Only links
    /// carry notes. Must be called for lines in order.
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

    /// Attaches a note to a line that is about to be written: the one that ends `ahead` bytes from here. Does nothing
    /// if this is not a link.
    pub fn add_note(&self, ahead: usize, note: Note) {
        if let How::LinkOut(end) = &self.how {
            end.add_note(ahead, note);
        }
    }

    /// Appends what can be read without blocking to `buf`, at most its spare capacity.
    ///
    /// # Errors
    /// The system's error.
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

    /// Writes as much of `parts` as possible without blocking, in order.
    ///
    /// # Errors
    /// The system's error; `BrokenPipe` if the other side has closed.
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
    /// Waits until the socket is no longer full. May be cancelled.
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
            // The reactor must learn if the socket is full again.
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

/// Registers a descriptor with the reactor. Returns it with the error if that fails.
#[expect(
    deprecated,
    reason = "deprecated for types that may name another descriptor later, which OwnedFd never \
              does; the replacement is an unsafe function, and this crate has no unsafe code"
)]
fn register(fd: OwnedFd, interest: Interest) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    AsyncFd::try_with_interest(fd, interest).map_err(|error| error.into_parts())
}

/// Reads, and clears the reactor's readiness if there is nothing more to read for now.
///
/// A short read has emptied the pipe, and new input raises a new event. So we report a short read to
/// the reactor as "would block", which saves a futile read before the next wait.
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
