//! `byte-pump COMMAND [ARG...]`: copies bytes between its own stdio and that of a command, with one
//! thread per direction. It does not look at them.
//!
//! Every proxy has to make the same system calls, so its time is the baseline for comparisons.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;

/// The capacity of a Linux pipe.
const BUFFER: usize = 64 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().ok_or("usage: byte-pump COMMAND [ARG...]")?;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let child_input = child.stdin.take().ok_or("the child has no stdin")?;
    let child_output = child.stdout.take().ok_or("the child has no stdout")?;
    let (input, output) = (unbuffered(io::stdin())?, unbuffered(io::stdout())?);
    // When the client closes, the thread drops the child's stdin and so closes it.
    thread::spawn(move || pump(input, OwnedFd::from(child_input).into()));
    pump(OwnedFd::from(child_output).into(), output)?;
    child.wait()?;
    Ok(())
}

/// Copies until the end. Not with `io::copy`, which would let the kernel do it: a proxy has to see
/// what it forwards.
fn pump(mut from: File, mut to: File) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

fn unbuffered(stream: impl AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}
