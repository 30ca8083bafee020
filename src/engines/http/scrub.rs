//! Removes an engine's secrets from texts about it. Services repeat what we send them, and errors repeat URLs.
//!
//! Finds a secret as it is, and as JSON, a URL or a form writes it. Does not find one that is encoded otherwise.

use std::cmp::Reverse;
use std::ops::Range;

use memchr::memmem;

use crate::approval::display::quoted_text;
use crate::evidence::redact::Redaction;
use crate::sys::secret::Secret;

/// Replaces a secret.
const HIDDEN: &str = "[hidden]";
/// The length of the shortest secret that is hidden. Shorter texts are too common.
const SHORTEST: usize = 4;
/// The same for a value whose name does not say that it is secret. Shorter ones are words such as `blue`.
const SHORTEST_UNNAMED: usize = 8;
/// How many characters of a service's answer are quoted.
const QUOTED: usize = 200;
/// The most bytes that an escaped text has for each of its own, as in `\\\\u0041`.
const LONGEST_ESCAPE: usize = 7;

/// The secrets of one engine.
#[derive(Debug, Clone, Default)]
pub(in crate::engines) struct Scrub(Vec<Secret>);

impl Scrub {
    /// Adds a secret.
    pub(in crate::engines) fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        let is_known = self.0.iter().any(|known| known.expose() == secret);
        if secret.len() >= SHORTEST && !is_known {
            self.0.push(Secret::new(secret.to_owned()));
        }
    }

    /// Adds the value of a header, a variable or a parameter, which need not be a secret.
    pub(in crate::engines) fn add_named(&mut self, name: &str, value: &str) {
        if value.len() >= SHORTEST_UNNAMED || names_secret(name) {
            self.add(value);
        }
    }

    /// Returns the text without the secrets.
    pub(in crate::engines) fn clean(&self, text: &str) -> String {
        without(0, text, &self.find(text))
    }

    /// Returns about the last `longest` bytes of the text, without the secrets.
    ///
    /// `text` must begin at least [`Scrub::margin`] bytes before those, unless it is whole: then no part of a secret
    /// remains whose beginning is missing.
    pub(in crate::engines) fn clean_end(&self, text: &str, longest: usize) -> String {
        let found = self.find(text);
        let mut from = text.len().saturating_sub(longest);
        if let Some(cut) = found.iter().find(|secret| secret.contains(&from)) {
            from = cut.start;
        }
        while !text.is_char_boundary(from) {
            from += 1;
        }
        without(from, text, &found)
    }

    /// Returns how many bytes the longest secret can have in a text.
    pub(in crate::engines) fn margin(&self) -> usize {
        let lengths = self.0.iter().map(|secret| secret.expose().len());
        lengths.max().unwrap_or(0).saturating_mul(LONGEST_ESCAPE)
    }

    /// Returns the beginning of what somebody else wrote, in quotes, on one line, without the secrets; `None` if there
    /// is nothing to show. A service may also repeat the call, so `redaction` removes the secrets of that.
    pub(in crate::engines) fn quote(&self, text: &[u8], redaction: &Redaction) -> Option<String> {
        let text = String::from_utf8_lossy(text);
        let clean = self.clean(text.trim());
        let clean = redaction.text(&clean);
        (!clean.is_empty()).then(|| quoted_text(&clean, QUOTED))
    }

    /// Returns where the secrets are, in order. Those that touch are one.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if self.0.is_empty() {
            return found;
        }
        for view in View::all(text) {
            for secret in &self.0 {
                let length = secret.expose().len();
                let starts = memmem::find_iter(&view.bytes, secret.expose());
                found.extend(starts.filter_map(|at| view.place(at..at + length)));
            }
        }
        found.sort_by_key(|secret| (secret.start, Reverse(secret.end)));
        let mut apart: Vec<Range<usize>> = Vec::new();
        for secret in found {
            match apart.last_mut() {
                Some(last) if secret.start <= last.end => last.end = last.end.max(secret.end),
                Some(_) | None => apart.push(secret),
            }
        }
        apart
    }
}

/// Returns the text from `from` on, with the `secrets` in it replaced.
fn without(from: usize, text: &str, secrets: &[Range<usize>]) -> String {
    let mut clean = String::with_capacity(text.len().saturating_sub(from));
    let mut end = from;
    for secret in secrets.iter().filter(|secret| secret.start >= from) {
        clean.push_str(text.get(end..secret.start).unwrap_or_default());
        clean.push_str(HIDDEN);
        end = secret.end;
    }
    clean.push_str(text.get(end..).unwrap_or_default());
    clean
}

/// Returns true for the names of headers, variables and parameters that carry credentials.
pub(crate) fn names_secret(name: &str) -> bool {
    const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "key", "auth"];
    let lower = name.to_ascii_lowercase();
    CREDENTIALS.iter().any(|word| lower.contains(word)) || Redaction::default().is_secret(name)
}

/// A text as it reads without the escapes of a notation.
struct View {
    bytes: Vec<u8>,
    /// Where each byte stands in the text as it is, and where that ends.
    places: Vec<usize>,
}

/// Reads the escape at the beginning of a text. Returns what it stands for, and its length; `None` if there is none.
type ReadEscape = fn(&[u8]) -> Option<(Unescaped, usize)>;

enum Unescaped {
    Byte(u8),
    Char(char),
}

impl View {
    /// Returns every view in which a secret may be found: JSON may stand in a string of JSON, and a URL in either.
    fn all(text: &str) -> Vec<View> {
        let plain = View {
            bytes: text.into(),
            places: (0..=text.len()).collect(),
        };
        let json = plain.without(b'\\', json_escape);
        let inner = json
            .as_ref()
            .and_then(|json| json.without(b'\\', json_escape));
        let mut views: Vec<View> = [Some(plain), json, inner].into_iter().flatten().collect();
        let urls = views.iter().flat_map(|view| {
            let form = view.without(b'+', form_escape);
            [view.without(b'%', url_escape), form]
        });
        let urls: Vec<View> = urls.flatten().collect();
        views.extend(urls);
        views
    }

    /// Returns the view without these escapes; `None` if it has none, because `sign` is in each.
    fn without(&self, sign: u8, escape: ReadEscape) -> Option<View> {
        memchr::memchr(sign, &self.bytes)?;
        let mut view = View {
            bytes: Vec::with_capacity(self.bytes.len()),
            places: Vec::with_capacity(self.places.len()),
        };
        let mut at = 0;
        while let Some(rest @ [first, ..]) = self.bytes.get(at..) {
            let (unescaped, length) = escape(rest).unwrap_or((Unescaped::Byte(*first), 1));
            let mut buffer = [0; 4];
            let bytes = match unescaped {
                Unescaped::Byte(byte) => {
                    buffer = [byte, 0, 0, 0];
                    buffer.get(..1)?
                }
                Unescaped::Char(char) => char.encode_utf8(&mut buffer).as_bytes(),
            };
            view.bytes.extend_from_slice(bytes);
            let place = self.places.get(at).copied()?;
            view.places.extend(bytes.iter().map(|_| place));
            at += length;
        }
        view.places.push(self.places.last().copied()?);
        Some(view)
    }

    /// Returns where a part of this view stands in the text.
    fn place(&self, part: Range<usize>) -> Option<Range<usize>> {
        Some(*self.places.get(part.start)?..*self.places.get(part.end)?)
    }
}

fn json_escape(text: &[u8]) -> Option<(Unescaped, usize)> {
    let byte = match text {
        [b'\\', b'n', ..] => b'\n',
        [b'\\', b't', ..] => b'\t',
        [b'\\', b'r', ..] => b'\r',
        [b'\\', b'b', ..] => 8,
        [b'\\', b'f', ..] => 12,
        [b'\\', byte @ (b'"' | b'\\' | b'/'), ..] => *byte,
        _ => {
            let first = code_unit(text)?;
            let second = || code_unit(text.get(6..)?);
            let pair = [Some(first), second()];
            let mut decoded = char::decode_utf16(pair.into_iter().flatten());
            let char = decoded.next()?.ok()?;
            return Some((Unescaped::Char(char), 6 * char.len_utf16()));
        }
    };
    Some((Unescaped::Byte(byte), 2))
}

/// Reads `\uXXXX`.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    hex(digits)
}

fn url_escape(text: &[u8]) -> Option<(Unescaped, usize)> {
    let digits = text.strip_prefix(b"%")?.get(..2)?;
    let byte = hex(digits)?.try_into().ok()?;
    Some((Unescaped::Byte(byte), 3))
}

/// In forms, a space is a plus sign.
fn form_escape(text: &[u8]) -> Option<(Unescaped, usize)> {
    match text {
        [b'+', ..] => Some((Unescaped::Byte(b' '), 1)),
        _ => url_escape(text),
    }
}

fn hex(digits: &[u8]) -> Option<u16> {
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_in_every_form_in_which_a_service_repeats_them() {
        let mut scrub = Scrub::default();
        scrub.add("Bearer s3c/ret+=");
        scrub.add("s3c/ret+=");
        for text in [
            r#"{"authorization":"Bearer s3c/ret+="}"#,
            "s3c/ret+=",
            r#""s3c\/ret+=""#,
            "/x?token=s3c%2Fret%2B%3D",
        ] {
            let quoted = scrub.clean(text);
            assert!(!quoted.contains("s3c"), "{quoted}");
            assert!(quoted.contains(HIDDEN), "{quoted}");
        }
        // As Go, PHP, Python and .NET write JSON, also in a string of other JSON.
        let mut scrub = Scrub::default();
        scrub.add("p\"q\\r&<é😀+\nz");
        for text in [
            r#"p\"q\\r&<é😀+\nz"#,
            r#"p\"q\\r\u0026\u003cé😀+\nz"#,
            r#"p\"q\\r&<\u00e9\ud83d\ude00+\nz"#,
            r#"p\u0022q\\r\u0026\u003C\u00E9\uD83D\uDE00\u002B\u000Az"#,
            r#"p\\\"q\\\\r&<\\u00e9\\ud83d\\ude00+\\nz"#,
            "p%22q%5cr%26%3C%C3%A9%f0%9f%98%80%2b%0Az",
        ] {
            assert_eq!(scrub.clean(&format!("<{text}>")), "<[hidden]>", "{text}");
        }
        let mut scrub = Scrub::default();
        scrub.add("a b+c/");
        for text in ["a+b%2Bc%2F", r#"\/x?t=a%20b%2Bc\/"#, r#"{"t":"a b+c\/"}"#] {
            let clean = scrub.clean(text);
            assert!(clean.contains(HIDDEN) && !clean.contains("%2B"), "{clean}");
        }
        // Two that share a part.
        let mut scrub = Scrub::default();
        scrub.add("abcd1234");
        scrub.add("1234efgh");
        assert_eq!(scrub.clean("<abcd1234efgh>"), "<[hidden]>");
        // Escapes that are none.
        for odd in [
            r"\",
            r"\u12",
            r"\ud83d",
            r"\udc00\u0041",
            "%",
            "%4",
            "%zz",
            r"\u+123",
        ] {
            assert_eq!(scrub.clean(odd), odd);
        }
    }

    #[test]
    fn short_values_are_hidden_only_if_their_name_says_so() {
        let mut scrub = Scrub::default();
        scrub.add_named("X-Team", "blue");
        scrub.add_named("X-Api-Key", "k3y1");
        scrub.add_named("ROUTE", "R0UTE-99");
        scrub.add_named("TOKEN", "abc");
        // `abc` is too short to be hidden without damage.
        let clean = scrub.clean("blue k3y1 R0UTE-99 abc");
        assert_eq!(clean, "blue [hidden] [hidden] abc");
    }

    #[test]
    fn the_end_of_a_text_shows_no_part_of_a_secret() {
        let mut scrub = Scrub::default();
        scrub.add("0123456789");
        scrub.add("ÄÖÜß");
        let text = format!(
            "{}0123456789é0123456789ÄÖÜß\\u0030123456789.",
            "x".repeat(100)
        );
        for longest in 0..=text.len() {
            let end = scrub.clean_end(&text, longest);
            let rest = end.replace(HIDDEN, "");
            assert!(
                !rest.contains(|c: char| c.is_ascii_digit() || "ÄÖÜß".contains(c)),
                "{end}"
            );
        }
        assert_eq!(scrub.clean_end(&text, 1), ".");
        assert_eq!(scrub.clean_end(&text, 2), "[hidden].");
        assert!(scrub.margin() >= 70);
    }

    #[test]
    fn short_texts_stay_as_they_are() {
        let mut scrub = Scrub::default();
        scrub.add("abc");
        assert_eq!(scrub.clean("abc"), "abc");
        scrub.add("s3cret");
        assert!(!format!("{scrub:?}").contains("s3c"));
    }

    #[test]
    fn quotes_are_one_short_visible_line() {
        let quote = |text: &[u8]| Scrub::default().quote(text, &Redaction::default());
        assert_eq!(quote(b" \n"), None);
        let quoted = quote("a\nb\u{202e}\u{1b}[2J".as_bytes()).unwrap();
        assert_eq!(quoted, r#""a\nb\u{202e}\u{1b}[2J""#);
        let long = quote(&[b'x'; 10_000]).unwrap();
        assert!(long.len() < 300, "{long}");
        assert!(quote(b"\xff\xfe").is_some());
    }
}
