//! A line of bytes within this process that looks like a pipe to whoever holds its wire.
//!
//! By it the relay speaks to what is no process: to HTTP clients, and to servers behind HTTP. It
//! need not know, and what is proven of it over pipes holds there too.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;

use tokio::net::UnixStream;

use super::wire::Wire;

/// A way into the relay: what is written to the stream is read from the wire.
///
/// # Errors
/// Where the system has no more descriptors, or there is no reactor.
pub fn link_in() -> io::Result<(UnixStream, Wire)> {
    let (ours, theirs) = pair()?;
    Ok((ours, Wire::from_child(theirs)?))
}

/// A way out of the relay: what is written to the wire is read from the stream.
///
/// # Errors
/// As [`link_in`].
pub fn link_out() -> io::Result<(UnixStream, Wire)> {
    let (ours, theirs) = pair()?;
    Ok((ours, Wire::to_child(theirs)?))
}

fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}
