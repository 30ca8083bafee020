//! Removes an engine's secrets from texts about it. Services repeat what we send them, and errors repeat URLs.

use crate::approval::display::quoted_text;
use crate::sys::secret::Secret;

/// Replaces a secret.
const HIDDEN: &str = "[hidden]";
/// The length of the shortest secret that is hidden. Shorter texts are too common.
const SHORTEST: usize = 4;
/// How many characters of a service's answer are quoted.
const QUOTED: usize = 200;

/// The secrets of one engine.
#[derive(Debug, Clone, Default)]
pub(in crate::engines) struct Scrub(Vec<Secret>);

impl Scrub {
    /// Adds a secret, in the forms in which others may repeat it.
    pub(in crate::engines) fn add(&mut self, secret: &str) {
        let forms = [
            secret.to_owned(),
            secret.replace('/', "\\/"),
            percent_encoded(secret),
        ];
        for form in forms {
            if form.len() >= SHORTEST && !self.0.iter().any(|known| known.expose() == form) {
                self.0.push(Secret::new(form));
            }
        }
        // Longer ones first: one secret may be part of another.
        self.0
            .sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    }

    /// Returns the text without the secrets.
    pub(in crate::engines) fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.0 {
            if clean.contains(secret.expose()) {
                clean = clean.replace(secret.expose(), HIDDEN);
            }
        }
        clean
    }

    /// Returns the beginning of what somebody else wrote, in quotes, on one line, without the secrets; `None` if there
    /// is nothing to show.
    pub(in crate::engines) fn quote(&self, text: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(text);
        let clean = self.clean(text.trim());
        (!clean.is_empty()).then(|| quoted_text(&clean, QUOTED))
    }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_in_every_form_in_which_a_service_repeats_them() {
        let mut scrub = Scrub::default();
        scrub.add("Bearer s3c/ret+=");
        scrub.add("s3c/ret+=");
        scrub.add("abc");
        for text in [
            r#"{"authorization":"Bearer s3c/ret+="}"#,
            "s3c/ret+=",
            r#""s3c\/ret+=""#,
            "/x?token=s3c%2Fret%2B%3D",
        ] {
            let quoted = scrub.quote(text.as_bytes()).unwrap();
            assert!(!quoted.contains("s3c"), "{quoted}");
            assert!(quoted.contains(HIDDEN), "{quoted}");
        }
        // Too short to be hidden without damage.
        assert_eq!(scrub.clean("abc"), "abc");
        assert_eq!(format!("{scrub:?}").matches("s3c").count(), 0);
    }

    #[test]
    fn quotes_are_one_short_visible_line() {
        let scrub = Scrub::default();
        assert_eq!(scrub.quote(b" \n"), None);
        let quoted = scrub.quote("a\nb\u{202e}\u{1b}[2J".as_bytes()).unwrap();
        assert_eq!(quoted, r#""a\nb\u{202e}\u{1b}[2J""#);
        let long = scrub.quote(&[b'x'; 10_000]).unwrap();
        assert!(long.len() < 300, "{long}");
        assert!(scrub.quote(b"\xff\xfe").is_some());
    }
}
