//! `mcp-echo`: a stdio MCP server that only answers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::fd::AsFd;

use mcp_echo::Server;

fn main() -> io::Result<()> {
    let mut server = Server::default();
    let mut input = BufReader::with_capacity(BUFFER, io::stdin().lock());
    // A file instead of io::stdout(), which would flush at every newline.
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut output = BufWriter::with_capacity(BUFFER, stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return output.flush();
        }
        if !line.trim_ascii().is_empty() {
            server.answer(&line, &mut output)?;
        }
        // Answers to requests that arrived together are sent together.
        if memchr::memchr(b'\n', input.buffer()).is_none() {
            output.flush()?;
        }
    }
}

const BUFFER: usize = 64 * 1024;
