//! Turns the body of an HTTP message into exactly one line.

use crate::mcp::json::{JsonError, line_text};

/// Returns a body as one line. Line breaks between tokens become spaces, which JSON allows anywhere.
///
/// INVARIANT 4: a line break in a body never becomes a second line on stdio. Within a string it is
/// not valid JSON, and a correct reader refuses it, so we do too.
///
/// # Errors
/// `NotUtf8`, `ByteOrderMark`, or `ControlCharacter` (also for a line break in a string). The reader
/// of the line finds all other errors.
pub(in crate::http) fn one_line(body: &[u8]) -> Result<String, JsonError> {
    let body = body.trim_ascii();
    let text = std::str::from_utf8(body).map_err(|_| JsonError::NotUtf8)?;
    if text.starts_with('\u{feff}') {
        return Err(JsonError::ByteOrderMark);
    }
    let mut line = text.to_owned();
    if memchr::memchr2(b'\n', b'\r', body).is_none() {
        line_text(body)?;
        return Ok(line);
    }
    line.clear();
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            '\n' | '\r' if in_string => return Err(JsonError::ControlCharacter),
            '\n' | '\r' => {
                line.push(' ');
                continue;
            }
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && c == '\\' && !escaped;
        line.push(c);
    }
    // Refused here, because the gate could not read the id and so could not answer.
    line_text(line.as_bytes())?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn line_breaks_become_spaces_between_tokens_and_are_refused_in_strings() {
        assert_eq!(
            one_line(b"{\r\n  \"a\": 1\n}\n").unwrap(),
            "{    \"a\": 1 }"
        );
        assert_eq!(
            one_line(b"{\"a\":\"\\\\\"\n}").unwrap(),
            "{\"a\":\"\\\\\" }"
        );
        for body in [&b"{\"a\":\"x\ny\"}"[..], b"{\"a\":\"\\\"\n\"}", b"[\"\r\"]"] {
            assert_eq!(one_line(body), Err(JsonError::ControlCharacter));
        }
        assert_eq!(
            one_line(b"{\"a\":\"\0\"}"),
            Err(JsonError::ControlCharacter)
        );
        assert_eq!(
            one_line(b"{\n\"a\":\"\x1b\"}"),
            Err(JsonError::ControlCharacter)
        );
        assert_eq!(one_line(b"\xef\xbb\xbf{}"), Err(JsonError::ByteOrderMark));
        assert_eq!(one_line(b"\xff"), Err(JsonError::NotUtf8));
    }

    proptest! {
        #[test]
        fn no_body_becomes_two_lines(body in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(line) = one_line(&body) {
                prop_assert!(!line.contains(['\n', '\r']));
            }
        }

        #[test]
        fn json_keeps_its_meaning(text in "[ \"\\\\a\n\r{}:,1]{0,12}") {
            let before = serde_json::from_str::<serde_json::Value>(&text);
            match one_line(text.as_bytes()) {
                Ok(line) => {
                    let after = serde_json::from_str::<serde_json::Value>(&line);
                    prop_assert_eq!(before.ok(), after.ok());
                }
                Err(_) => prop_assert!(before.is_err()),
            }
        }
    }
}
