//! Arguments as the audit log keeps them: secrets replaced, long strings shortened.
//!
//! Digests of whole calls are `approval::digest`'s business.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::approval::display::is_unseen;
use crate::mcp::json::{Value, write_string};

/// Strings up to this many characters are kept whole.
pub const MAX_STRING: usize = 500;
/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";
/// What is kept of a longer string.
const KEPT: usize = 100;

/// Which digest stands for the part of a string that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StringDigest {
    /// The fast one, for calls that pass and need no digest of their own.
    Blake3,
    /// The one that a human's yes is bound with too.
    Sha256,
}

/// Appends a value as JSON with every value under a secret-looking key replaced, at any
/// depth, and strings over [`MAX_STRING`] characters shortened with their length and digest.
pub fn write_redacted(value: &Value<'_>, digest: StringDigest, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(token) => out.push_str(token),
        Value::String(text) => write_shortened(&text.decode(), digest, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_redacted(item, digest, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (i, (key, value)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                let key = key.decode();
                write_shortened(&key, digest, out);
                out.push(':');
                if looks_secret(&key) {
                    write_string(REDACTED, out);
                } else {
                    write_redacted(value, digest, out);
                }
            }
            out.push('}');
        }
    }
}

/// Appends text as a JSON string in which nothing can hide, move other text about, or end a
/// line for some reader: such characters are written as `\\uXXXX`.
pub fn write_plain(text: &str, out: &mut String) {
    // Nearly all text is printable ASCII without a quote; one look at all bytes finds that out.
    let plain = text.bytes().fold(true, |all, b| {
        all & matches!(b, 0x20..=0x7E) & (b != b'"') & (b != b'\\')
    });
    if plain {
        out.reserve(text.len() + 2);
        for part in ["\"", text, "\""] {
            out.push_str(part);
        }
        return;
    }
    if !text.chars().any(|c| c >= '\x7F' && is_unseen(c)) {
        return write_string(text, out);
    }
    let mut written = String::new();
    write_string(text, &mut written);
    for c in written.chars() {
        if is_unseen(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
}

/// Appends a string, shortened where it is long.
pub fn write_shortened(text: &str, digest: StringDigest, out: &mut String) {
    // Bytes bound characters from above, so most strings need no counting.
    if text.len() <= MAX_STRING {
        return write_plain(text, out);
    }
    let count = text.chars().count();
    if count <= MAX_STRING {
        return write_plain(text, out);
    }
    let kept: String = text.chars().take(KEPT).collect();
    let digest = match digest {
        StringDigest::Blake3 => format!("blake3:{}", blake3::hash(text.as_bytes()).to_hex()),
        StringDigest::Sha256 => format!("sha256:{}", hex(&Sha256::digest(text.as_bytes()))),
    };
    write_plain(&format!("{kept}… ({count} characters, {digest})"), out);
}

/// The length of `token`.
const SHORTEST_WORD: usize = 5;

/// What a secret's key has in its name, of what begins with this letter.
fn secret_words(first: u8) -> &'static [&'static str] {
    match first {
        b'p' => &["password", "passwd", "passphrase", "privatekey"],
        b's' => &["secret"],
        b't' => &["token"],
        b'a' => &["apikey", "accesskey", "authorization"],
        b'c' => &["credential", "cookie"],
        _ => &[],
    }
}

/// Whether a key looks like a secret's, in any case style.
pub(crate) fn looks_secret(key: &str) -> bool {
    if key.len() < SHORTEST_WORD {
        return false;
    }
    let plain: Vec<u8> = if key.is_ascii() {
        let letters = key.bytes().filter(u8::is_ascii_alphanumeric);
        letters.map(|b| b.to_ascii_lowercase()).collect()
    } else {
        let letters = key.chars().filter(|c| c.is_alphanumeric());
        letters
            .flat_map(char::to_lowercase)
            .collect::<String>()
            .into()
    };
    // One pass; few letters begin a word at all.
    (0..plain.len()).any(|at| {
        let rest = plain.get(at..).unwrap_or_default();
        let words = rest.first().map_or(&[][..], |first| secret_words(*first));
        words.iter().any(|word| rest.starts_with(word.as_bytes()))
    })
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str, digest: StringDigest) -> String {
        let mut out = String::new();
        write_redacted(&Value::parse(text).unwrap(), digest, &mut out);
        out
    }

    #[test]
    fn the_words_in_the_documentation_are_the_same() {
        let text = include_str!("../../docs/policy.md");
        let (_, rest) = text.split_once("at any depth:\n\n").unwrap();
        let (words, _) = rest.split_once(".\n\n").unwrap();
        let words: Vec<&str> = words.split('`').skip(1).step_by(2).collect();
        let mut documented = words.clone();
        documented.sort_unstable();
        let known = (b'a'..=b'z').flat_map(secret_words);
        let mut known: Vec<&str> = known.copied().collect();
        known.sort_unstable();
        assert_eq!(documented, known);
        for word in words {
            assert!(looks_secret(&format!("my_{word}_1")), "{word}");
        }
    }

    #[test]
    fn values_under_secret_keys_are_replaced_at_any_depth_and_in_any_case_style() {
        for key in [
            "password",
            "dbPassword",
            "PASSWD",
            "client_secret",
            "access-token",
            "apiKey",
            "API_KEY",
            "api key",
            "Authorization",
            "credentials",
            "privateKey",
            "PRIVATE-KEY",
            "Set-Cookie",
            "passphrase",
            "tok\\u0065n",
        ] {
            let text = format!(r#"{{"a":[{{"{key}":{{"deep":["hunter2"]}}}}]}}"#);
            let out = redacted(&text, StringDigest::Sha256);
            assert!(!out.contains("hunter2"), "{out}");
            assert!(out.contains(r#""[redacted]""#), "{out}");
        }
        assert_eq!(
            redacted(r#"{"path":"/a","n":1.0}"#, StringDigest::Blake3),
            r#"{"path":"/a","n":1.0}"#
        );
    }

    #[test]
    fn a_line_looks_the_same_to_every_reader_and_cannot_be_disguised() {
        let text = "a\u{2028}b\u{85}c\u{202e}d\u{9b}e\u{e0041}é😀";
        let mut json = String::new();
        write_string(text, &mut json);
        let out = redacted(&json, StringDigest::Sha256);
        assert_eq!(out, r#""a\u2028b\u0085c\u202ed\u009be\udb40\udc41é😀""#);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
    }

    #[test]
    fn strings_over_500_characters_are_shortened_with_length_and_digest() {
        let text = "é".repeat(501);
        let out = redacted(&format!("\"{text}\""), StringDigest::Sha256);
        let digest = hex(&Sha256::digest(text.as_bytes()));
        assert_eq!(
            out,
            format!("\"{}… (501 characters, sha256:{digest})\"", "é".repeat(100))
        );
        let fast = redacted(&format!("\"{text}\""), StringDigest::Blake3);
        assert!(
            fast.contains(&format!("blake3:{}", blake3::hash(text.as_bytes()))),
            "{fast}"
        );
        let kept = format!("\"{}\"", "é".repeat(500));
        assert_eq!(redacted(&kept, StringDigest::Sha256), kept);
    }
}
