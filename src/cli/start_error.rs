//! Reports a failed start to the client over stdio, because most clients hide stderr but show the error that
//! answers their first request.
//!
//! `relay` does the same if the server ends before it sends a message.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_default;

use crate::mcp::ErrorCode;
use crate::mcp::error::error_response;
use crate::mcp::first_request::FirstRequest;
use crate::mcp::frame::FrameBuffer;
use crate::relay::{NEXT_REQUEST, first_request_time};
use crate::sys::clock::Clock;

/// The longest request that is parsed in full. In a longer one, we only look for the id.
const MAX_LINE: usize = 64 * 1024;
/// How much to read in total. A client that sends more without a request gets no answer.
const MAX_READ: usize = 4 * 1024 * 1024;

/// Answers the client's first request with `why`, if stdin is not a terminal and a request comes within a
/// few seconds. In a terminal, a person reads stderr.
pub(super) fn answer_first_request(why: &str) {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return;
    }
    // Nothing listens for signals any more, so restore their default effect: they end the process.
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Cannot fail for signals that may be caught, and the wait is short.
        let _ = register_conditional_default(signal, Arc::new(AtomicBool::new(true)));
    }
    // A client that is gone needs no answer.
    let _ = answer(
        stdin.as_fd(),
        &mut io::stdout(),
        why,
        [first_request_time(), NEXT_REQUEST],
    );
}

/// Guesses whether a command line, which may be wrong, means a session over stdin and stdout.
pub(super) fn is_over_stdio(arguments: &[OsString]) -> bool {
    // What stands behind `--` is the server's.
    let arguments = arguments
        .iter()
        .skip(1)
        .take_while(|argument| *argument != "--")
        .map(|argument| argument.to_string_lossy());
    let arguments: Vec<_> = arguments.collect();
    let is_command = arguments
        .first()
        .is_some_and(|first| COMMANDS.contains(&&**first));
    let after = arguments.windows(2).filter_map(|pair| match pair {
        [flag, value] if flag == "--transport" => Some(&**value),
        _ => None,
    });
    let joined = (arguments.iter()).filter_map(|argument| argument.strip_prefix("--transport="));
    let is_http = after
        .chain(joined)
        .any(|transport| matches!(transport, "sse" | "http" | "streamable-http"));
    !is_command && !is_http
}

/// The first words of command lines that serve no client.
const COMMANDS: [&str; 9] = [
    "inbox",
    "approvals",
    "engines",
    "ask",
    "clients",
    "wrap",
    "unwrap",
    "doctor",
    "help",
];

/// Answers the first request from `from`, and the following ones until the client's last. Waits for the
/// first request for the first duration, and for each of the others for the second.
fn answer(
    from: BorrowedFd<'_>,
    to: &mut impl Write,
    why: &str,
    [first, next]: [Duration; 2],
) -> io::Result<()> {
    let clock = Clock::start();
    let mut until = first;
    let mut frames = FrameBuffer::new(MAX_LINE);
    let mut left = MAX_READ;
    loop {
        while let Some(frame) = frames.next_frame() {
            let Some(request) = FirstRequest::read(&frames, &frame) else {
                continue;
            };
            let line = error_response(
                Some(&request.id),
                ErrorCode::INTERNAL_ERROR,
                format!("approval-proxy: {why}"),
            );
            to.write_all(format!("{line}\n").as_bytes())?;
            to.flush()?;
            if request.is_last() {
                return Ok(());
            }
            until = clock.now().elapsed + next;
        }
        frames.compact();
        let time = until.saturating_sub(clock.now().elapsed);
        if time.is_zero() || left == 0 {
            return Ok(());
        }
        match wait_for_input(from, time)? {
            Wait::Readable => {}
            // Not read now: stdin blocks, so a read could outlast the deadline.
            Wait::Interrupted => continue,
            Wait::TimeIsUp => return Ok(()),
        }
        let mut chunk = [0; 16 * 1024];
        match rustix::io::read(from, &mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                left = left.saturating_sub(count);
                let read = chunk.get(..count).unwrap_or_default();
                frames.space().extend_from_slice(read);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

enum Wait {
    /// There is input, or its end.
    Readable,
    /// A signal came.
    Interrupted,
    TimeIsUp,
}

fn wait_for_input(from: BorrowedFd<'_>, time: Duration) -> io::Result<Wait> {
    let time = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    let mut polled = [PollFd::from_borrowed_fd(from, PollFlags::IN)];
    match poll(&mut polled, Some(&time)) {
        Ok(0) => Ok(Wait::TimeIsUp),
        Ok(_) => Ok(Wait::Readable),
        Err(Errno::INTR) => Ok(Wait::Interrupted),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::pipe;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    fn answers(sent: &str) -> Vec<serde_json::Value> {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(sent.as_bytes()).unwrap();
        let mut out = Vec::new();
        answer(reader.as_fd(), &mut out, "no `file`", [SOON, SOON]).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn the_first_request_is_answered_with_the_reason_and_nothing_else() {
        let sent = "\n{\"jsonrpc\":\"2.0\",\"method\":\"n\"}\nnoise\n\
                    {\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"initialize\"}\n\
                    {\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\"}\n";
        let answers = answers(sent);
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0]["id"], "a");
        assert_eq!(answers[0]["error"]["code"], -32603);
        assert_eq!(answers[0]["error"]["message"], "approval-proxy: no `file`");
    }

    #[test]
    fn a_client_that_probes_the_revision_first_gets_the_reason_twice() {
        let sent = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"server/discover\"}\n\
                    {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}\n";
        let answers = answers(sent);
        assert_eq!(
            answers
                .iter()
                .map(|answer| &answer["id"])
                .collect::<Vec<_>>(),
            [0, 1]
        );
    }

    #[test]
    fn the_wait_for_a_request_is_limited() {
        assert_eq!(answers(""), Vec::<serde_json::Value>::new());
        assert_eq!(
            answers("{\"jsonrpc\":\"2.0\",\"id\":0"),
            Vec::<serde_json::Value>::new()
        );
        let (reader, writer) = pipe().unwrap();
        drop(writer);
        let long = [Duration::from_secs(1000); 2];
        answer(reader.as_fd(), &mut Vec::new(), "x", long).unwrap();
    }

    #[test]
    fn a_session_over_stdio_is_recognised_by_the_arguments() {
        for (line, expected) in [
            ("", true),
            ("--no-such-flag", true),
            ("--upstream x --transport stdio", true),
            ("--upstream x --transport http --port y", false),
            ("--transport=sse", false),
            ("inbox --bad", false),
            ("approvals", false),
            ("wrap --bad", false),
            ("help x", false),
        ] {
            let words = ["approval-proxy"]
                .into_iter()
                .chain(line.split_whitespace());
            let words: Vec<OsString> = words.map(OsString::from).collect();
            assert_eq!(is_over_stdio(&words), expected, "{line}");
        }
    }
}
