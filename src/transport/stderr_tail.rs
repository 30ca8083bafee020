//! Keeps the end of a server's stderr and cleans it for quoting in an error.
//!
//! `server_stderr` passes the full text on to our own stderr.

use std::ffi::OsString;

use crate::approval::display::is_invisible;
use crate::evidence::redact::{Redaction, looks_secret};

/// How many bytes are kept: much more than is quoted, so that a quotation never begins in the
/// middle of a secret.
const KEPT: usize = 16 * 1024;
/// How many lines are quoted at most.
const LINES: usize = 12;
/// How many characters of these lines are quoted, counted from the end.
const CHARACTERS: usize = 1_200;
/// The length of the shortest secret that is hidden. Shorter texts are too common.
const SHORTEST_HIDDEN: usize = 4;
/// Replaces a secret.
const HIDDEN: &str = "[hidden]";

/// The end of a server's stderr.
#[derive(Debug)]
pub(super) struct StderrTail {
    bytes: Vec<u8>,
    /// True if something before `bytes` was discarded.
    is_cut: bool,
    /// The secrets that the server was given.
    secrets: Vec<String>,
    redaction: Redaction,
}

impl StderrTail {
    pub(super) fn new(secrets: Vec<String>, redaction: Redaction) -> StderrTail {
        StderrTail {
            bytes: Vec::new(),
            is_cut: false,
            secrets,
            redaction,
        }
    }

    /// Adds output of the server.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let skipped = bytes.len().saturating_sub(KEPT);
        self.is_cut |= skipped > 0;
        self.bytes
            .extend_from_slice(bytes.get(skipped..).unwrap_or_default());
        if self.bytes.len() > 2 * KEPT {
            self.bytes.drain(..self.bytes.len() - KEPT);
            self.is_cut = true;
        }
    }

    /// Returns the last lines joined into one, without control characters, secrets and the frames of a
    /// stack trace; `None` if there are none.
    pub(super) fn quoted(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = match self.is_cut {
            // The first line may be incomplete, and begin within a secret.
            true => text.split_once('\n').map_or("", |(_, rest)| rest),
            false => &text,
        };
        // Hides secrets twice: a secret may contain characters that `plain` removes, or be
        // interrupted by colour codes.
        let text = self.without_secrets(&plain(&self.without_secrets(text)));
        let text = self.redaction.text(&text);
        let lines: Vec<&str> = (text.lines().map(str::trim))
            .filter(|line| !line.is_empty() && !line.starts_with("at "))
            .collect();
        let last = lines.get(lines.len().saturating_sub(LINES)..)?;
        let quoted = last.join(" | ");
        let count = quoted.chars().count();
        let quoted = match count > CHARACTERS {
            true => format!(
                "…{}",
                quoted.chars().skip(count - CHARACTERS).collect::<String>()
            ),
            false => quoted,
        };
        (!quoted.is_empty()).then_some(quoted)
    }

    fn without_secrets(&self, text: &str) -> String {
        hidden(text, &self.secrets)
    }
}

/// Returns a text with each of the secrets replaced.
pub(crate) fn hidden(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        text = text.replace(secret, HIDDEN);
    }
    text
}

/// Returns what a quotation must not reveal: the values of the server's variables, and the arguments
/// of flags such as `--api-key`. Long secrets come first, since they may contain short ones.
pub(crate) fn secrets_of<'e>(
    env: impl Iterator<Item = &'e String>,
    args: &[OsString],
) -> Vec<String> {
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let is_secret_flag = |arg: &str| {
        let is_flag = arg.starts_with('-') && !arg.contains('=');
        is_flag && looks_secret(arg.trim_start_matches('-'))
    };
    let after_flags = args.windows(2).filter_map(|pair| match pair {
        [flag, value] if is_secret_flag(flag) && !value.starts_with('-') => Some(value.to_string()),
        _ => None,
    });
    let in_flags = args.iter().filter_map(|arg| {
        let (name, value) = arg.split_once('=')?;
        looks_secret(name.trim_start_matches('-')).then(|| value.to_owned())
    });
    let all = env.cloned().chain(after_flags).chain(in_flags);
    let mut secrets: Vec<String> = all
        .filter(|secret| secret.len() >= SHORTEST_HIDDEN)
        .collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
}

/// Removes terminal sequences, and characters that are invisible or reverse the direction of text.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => {
                    // Skips to the final byte of a control sequence.
                    chars.find(|c| ('@'..='~').contains(c));
                }
                Some(']') => {
                    // Skips to the end of an operating system command: BEL, or ESC and a backslash.
                    if let Some('\u{1b}') = chars.find(|c| matches!(c, '\u{7}' | '\u{1b}')) {
                        chars.next_if_eq(&'\\');
                    }
                }
                Some(_) | None => {}
            },
            '\r' | '\n' => out.push('\n'),
            '\t' => out.push(' '),
            c if c.is_control() || is_invisible(c) => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(written: &str, secrets: &[&str]) -> Option<String> {
        let secrets = secrets.iter().map(|&secret| secret.to_owned()).collect();
        let mut tail = StderrTail::new(secrets, Redaction::default());
        for chunk in written.as_bytes().chunks(700) {
            tail.push(chunk);
        }
        tail.quoted()
    }

    #[test]
    fn the_last_lines_are_quoted_on_one_line() {
        assert_eq!(quoted("", &[]), None);
        assert_eq!(quoted("\n \r\n", &[]), None);
        assert_eq!(quoted("one\ntwo\r\n", &[]).unwrap(), "one | two");
        let node = "Error: Cannot find module '/x'\n    at Module._load (node:1)\n\nNode.js v20\n";
        assert_eq!(
            quoted(node, &[]).unwrap(),
            "Error: Cannot find module '/x' | Node.js v20"
        );
        let many: String = (0..5000).map(|number| format!("line {number}\n")).collect();
        let quotation = quoted(&many, &[]).unwrap();
        assert!(
            quotation.starts_with("line 4988 | ") && quotation.ends_with("line 4999"),
            "{quotation}"
        );
    }

    #[test]
    fn long_lines_and_long_output_are_cut() {
        let quotation = quoted(&format!("a\n{}", "x".repeat(9_000)), &[]).unwrap();
        assert_eq!(quotation.chars().count(), CHARACTERS + 1);
        // The beginning of an endless line is gone, and the rest could begin within a secret.
        assert_eq!(quoted(&"x".repeat(1_000_000), &[]), None);
        let mut tail = StderrTail::new(Vec::new(), Redaction::default());
        for _ in 0..100 {
            tail.push(&[b'x'; 5_000]);
        }
        assert!(tail.bytes.len() <= 3 * KEPT);
    }

    #[test]
    fn a_quotation_cannot_control_a_terminal_or_reverse_text() {
        let odd =
            "\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}a\u{1b}]8;;x\u{1b}\\b\u{202e}c\u{9b}\0d";
        assert_eq!(quoted(odd, &[]).unwrap(), "red abcd");
    }

    #[test]
    fn a_quotation_hides_secrets() {
        let token = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
        let written =
            format!("bad key hunter2-\u{1b}[1msecret, hunter2-secret or {token}\nsay a\n");
        let quotation = quoted(&written, &["hunter2-secret"]).unwrap();
        assert!(!quotation.contains("hunter2"), "{quotation}");
        assert!(!quotation.contains(token), "{quotation}");
        assert!(quotation.ends_with("say a"), "{quotation}");
    }

    #[test]
    fn variables_and_the_arguments_of_secret_flags_are_secrets() {
        let env = ["value-of-variable".to_owned(), "1".to_owned()];
        let args = [
            "run",
            "--api-key",
            "k-123456",
            "--token=t-98765",
            "/srv/server.js",
        ];
        let args = args.map(OsString::from);
        let secrets = secrets_of(env.iter(), &args);
        assert_eq!(secrets, ["value-of-variable", "k-123456", "t-98765"]);
    }
}
