//! What a server replies, and what its codes mean.
//!
//! RFC 5321 section 4.2, and RFC 3463 for the codes with points. Does no I/O.

use crate::gate::FailureKind;

/// A reply: its code, and the text of all of its lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) text: String,
}

/// What the server has replied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Greeting,
    Hello,
    StartTls,
    Login,
    Sender,
    Recipient,
    Data,
    Mail,
    Check,
}

impl Step {
    /// Returns the words for it, as a part of a sentence.
    pub(super) fn words(self) -> &'static str {
        match self {
            Step::Greeting => "the connection",
            Step::Hello => "EHLO",
            Step::StartTls => "STARTTLS",
            Step::Login => "the login",
            Step::Sender => "the sender `from`",
            Step::Recipient => "a recipient of `to`",
            Step::Data => "DATA",
            Step::Mail => "the mail",
            Step::Check => "NOOP",
        }
    }
}

impl Reply {
    /// Returns true if the last line is there.
    pub(super) fn is_whole(bytes: &[u8]) -> bool {
        let lines = bytes.strip_suffix(b"\n");
        let last = lines.and_then(|lines| lines.rsplit(|b| *b == b'\n').next());
        last.is_some_and(|line| line.get(3) != Some(&b'-'))
    }

    /// Reads a whole reply. Returns `None` if it is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Reply> {
        let mut code = None;
        let mut text = String::new();
        let mut lines = bytes.strip_suffix(b"\n")?.split(|b| *b == b'\n').peekable();
        while let Some(line) = lines.next() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let digits = line.get(..3)?;
            if !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let of_line: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
            let is_last = lines.peek().is_none();
            match (line.get(3), is_last) {
                (None | Some(b' '), true) | (Some(b'-'), false) => {}
                (_, _) => return None,
            }
            if *code.get_or_insert(of_line) != of_line || !(200..600).contains(&of_line) {
                return None;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&String::from_utf8_lossy(line.get(4..).unwrap_or_default()));
        }
        code.map(|code| Reply { code, text })
    }

    /// Returns true if the same may be accepted later.
    pub(super) fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Returns what kind of failure the reply is.
    pub(super) fn kind(&self, step: Step) -> FailureKind {
        let is_about_policy = self.text.starts_with("4.7.");
        match (self.code, step) {
            (500.., Step::Login) | (530 | 534 | 535 | 538, _) => FailureKind::Misconfigured,
            // Such as servers that let unknown senders wait, and limits on mails per hour.
            (450 | 452, _) => FailureKind::RateLimited,
            (400..=499, step) if is_about_policy && step != Step::Login => FailureKind::RateLimited,
            (400..=499, _) => FailureKind::Unreachable,
            (_, _) => FailureKind::Rejected,
        }
    }
}

/// What a server can do, by its reply to EHLO.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    pub(super) has_starttls: bool,
    pub(super) has_plain: bool,
    pub(super) has_login: bool,
}

impl Features {
    /// Reads them. The first line only greets.
    pub(super) fn of(reply: &Reply) -> Features {
        let mut features = Features::default();
        for line in reply.text.lines().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("STARTTLS") => features.has_starttls = true,
                Some("AUTH") => {
                    for word in words {
                        features.has_plain |= word == "PLAIN";
                        features.has_login |= word == "LOGIN";
                    }
                }
                _ => {}
            }
        }
        features
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Option<Reply> {
        Reply::read(text.as_bytes())
    }

    #[test]
    fn a_reply_has_one_code_and_ends_with_a_line_that_says_so() {
        let read = |text| reply(text).map(|reply| (reply.code, reply.text));
        let is = |code, text: &str| Some((code, text.to_owned()));
        assert_eq!(read("250 ok\r\n"), is(250, "ok"));
        assert_eq!(read("250\n"), is(250, ""));
        assert_eq!(read("250-a\r\n250-b\r\n250 c\r\n"), is(250, "a\nb\nc"));
        assert!(Reply::is_whole(b"250-a\r\n250 b\r\n") && Reply::is_whole(b"250\r\n"));
        for part in ["", "2", "250 ok", "250-a\r\n", "250-a\r\n250 b"] {
            assert!(!Reply::is_whole(part.as_bytes()), "{part:?}");
        }
        for none in [
            "\r\n",
            "ok\r\n",
            "25\r\n",
            "+OK ready\r\n",
            "250-a\r\n251 b\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "199 x\r\n",
            "600 x\r\n",
            "2a0 x\r\n",
            "250x\r\n",
        ] {
            assert_eq!(reply(none), None, "{none:?}");
        }
    }

    #[test]
    fn features_are_read_from_the_lines_behind_the_first() {
        let read = |text: &str| Features::of(&reply(text).unwrap());
        let all = read("250-m.example\r\n250-starttls\r\n250 AUTH Login plain XOAUTH2\r\n");
        let expected = Features {
            has_starttls: true,
            has_plain: true,
            has_login: true,
        };
        assert_eq!(all, expected);
        let none = read("250-STARTTLS AUTH PLAIN\r\n250-SIZE 1\r\n250 AUTHPLAIN LOGIN\r\n");
        assert_eq!(none, Features::default());
    }

    #[test]
    fn each_kind_of_refusal_says_what_can_be_done() {
        use FailureKind::{Misconfigured, RateLimited, Rejected, Unreachable};
        for (text, step, kind) in [
            ("421 closing\r\n", Step::Sender, Unreachable),
            ("451 try later\r\n", Step::Mail, Unreachable),
            ("450 busy\r\n", Step::Recipient, RateLimited),
            ("452 too many\r\n", Step::Recipient, RateLimited),
            ("421 4.7.0 too fast\r\n", Step::Greeting, RateLimited),
            ("454 4.7.0 try later\r\n", Step::Login, Unreachable),
            ("535 5.7.8 bad\r\n", Step::Login, Misconfigured),
            ("504 unknown\r\n", Step::Login, Misconfigured),
            ("530 5.7.0 log in\r\n", Step::Sender, Misconfigured),
            ("550 5.1.1 no such user\r\n", Step::Recipient, Rejected),
            ("554 5.7.1 spam\r\n", Step::Mail, Rejected),
            ("354 go\r\n", Step::Mail, Rejected),
        ] {
            let reply = reply(text).unwrap();
            assert_eq!(reply.kind(step), kind, "{text}");
            assert_eq!(reply.is_transient(), text.starts_with('4'), "{text}");
        }
    }
}
