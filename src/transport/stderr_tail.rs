//! The end of what a server wrote to its stderr, fit to be quoted in an error.
//!
//! What passes on to our own stderr is not changed here.

use crate::approval::display::is_unseen;
use crate::evidence::redact::{Redaction, looks_secret};

/// How many bytes are kept. Much more than is quoted, so that what is quoted never begins in the
/// middle of a secret.
const KEPT: usize = 16 * 1024;
/// How many lines are quoted, and how many characters of them, counted from the end.
const LINES: usize = 12;
const CHARACTERS: usize = 1_200;
/// A shorter text is too common to be hidden wherever it stands.
const LEAST_HIDDEN: usize = 4;
/// What stands in place of a secret.
const HIDDEN: &str = "[hidden]";

/// The end of a server's stderr.
#[derive(Debug)]
pub(super) struct StderrTail {
    bytes: Vec<u8>,
    /// Whether something before `bytes` is gone.
    is_cut: bool,
    /// What the server was given in confidence.
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

    /// Adds what the server has written.
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

    /// The last lines on one line, without control characters, secrets and the frames of a stack
    /// trace; `None` if there are none.
    pub(super) fn quoted(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = match self.is_cut {
            // The first line may begin anywhere, even within a secret.
            true => text.split_once('\n').map_or("", |(_, rest)| rest),
            false => &text,
        };
        // Before and after: a secret may hold what is left out, or be coloured.
        let text = self.without_secrets(&plain(&self.without_secrets(text)));
        let text = self.redaction.text(&text);
        let lines: Vec<&str> = (text.lines().map(str::trim))
            .filter(|line| !line.is_empty() && !line.starts_with("at "))
            .collect();
        let last = lines.get(lines.len().saturating_sub(LINES)..)?;
        let told = last.join(" | ");
        let count = told.chars().count();
        let told = match count > CHARACTERS {
            true => format!(
                "…{}",
                told.chars().skip(count - CHARACTERS).collect::<String>()
            ),
            false => told,
        };
        (!told.is_empty()).then_some(told)
    }

    fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret, HIDDEN);
        }
        text
    }
}

/// What a server is given that its last words must not repeat: the values of its variables, and the
/// arguments of flags such as `--api-key`. Long ones come first, since they may hold short ones.
pub(super) fn secrets_of<'p>(
    env: impl Iterator<Item = &'p String>,
    args: &'p [String],
) -> Vec<String> {
    let named = |arg: &str| {
        let is_flag = arg.starts_with('-') && !arg.contains('=');
        is_flag && looks_secret(arg.trim_start_matches('-'))
    };
    let after_flags = args.windows(2).filter_map(|pair| match pair {
        [flag, value] if named(flag) && !value.starts_with('-') => Some(value.as_str()),
        _ => None,
    });
    let in_flags = args.iter().filter_map(|arg| {
        let (name, value) = arg.split_once('=')?;
        looks_secret(name.trim_start_matches('-')).then_some(value)
    });
    let all = env.map(String::as_str).chain(after_flags).chain(in_flags);
    let mut secrets: Vec<String> = all
        .filter(|secret| secret.len() >= LEAST_HIDDEN)
        .map(str::to_owned)
        .collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
}

/// The text without terminal sequences, and without characters that draw nothing or turn text around.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => {
                    // Up to the final byte of a control sequence.
                    chars.find(|c| ('@'..='~').contains(c));
                }
                Some(']') => {
                    // Up to the end of an operating system command: BEL, or ESC and a backslash.
                    if let Some('\u{1b}') = chars.find(|c| matches!(c, '\u{7}' | '\u{1b}')) {
                        chars.next_if_eq(&'\\');
                    }
                }
                Some(_) | None => {}
            },
            '\r' | '\n' => out.push('\n'),
            '\t' => out.push(' '),
            c if c.is_control() || is_unseen(c) => {}
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
        let mut words = StderrTail::new(secrets, Redaction::default());
        for chunk in written.as_bytes().chunks(700) {
            words.push(chunk);
        }
        words.quoted()
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
        let told = quoted(&many, &[]).unwrap();
        assert!(
            told.starts_with("line 4988 | ") && told.ends_with("line 4999"),
            "{told}"
        );
    }

    #[test]
    fn no_length_of_a_line_or_of_all_is_too_much() {
        let told = quoted(&format!("a\n{}", "x".repeat(9_000)), &[]).unwrap();
        assert_eq!(told.chars().count(), CHARACTERS + 1);
        // The beginning of an endless line is gone, and what is left could begin within a secret.
        assert_eq!(quoted(&"x".repeat(1_000_000), &[]), None);
        let mut words = StderrTail::new(Vec::new(), Redaction::default());
        for _ in 0..100 {
            words.push(&[b'x'; 5_000]);
        }
        assert!(words.bytes.len() <= 3 * KEPT);
    }

    #[test]
    fn nothing_in_it_can_lead_a_terminal_or_turn_text_around() {
        let odd =
            "\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}a\u{1b}]8;;x\u{1b}\\b\u{202e}c\u{9b}\0d";
        assert_eq!(quoted(odd, &[]).unwrap(), "red abcd");
    }

    #[test]
    fn no_secret_is_repeated() {
        let token = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
        let written =
            format!("bad key hunter2-\u{1b}[1msecret, hunter2-secret or {token}\nsay a\n");
        let told = quoted(&written, &["hunter2-secret"]).unwrap();
        assert!(!told.contains("hunter2") && !told.contains(token), "{told}");
        assert!(told.ends_with("say a"), "{told}");
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
        let args = args.map(str::to_owned);
        let secrets = secrets_of(env.iter(), &args);
        assert_eq!(secrets, ["value-of-variable", "k-123456", "t-98765"]);
    }
}
