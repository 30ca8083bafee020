//! Turns JSON with comments and trailing commas into plain JSON of the same length.
//!
//! Replaces comments, trailing commas and byte order marks by spaces. So the positions in `serde_json`'s
//! errors are those of the file.

/// A `/*` without `*/`. Holds its position in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclosed(pub(super) usize);

/// Replaces each byte of a comment, a byte order mark or a comma before a closing bracket by a space.
/// Keeps line breaks and strings.
///
/// # Errors
/// An unterminated block comment.
pub(super) fn to_json(text: &[u8]) -> Result<Vec<u8>, Unclosed> {
    let mut json = text.to_vec();
    let mut at = 0;
    let mut follows_value = false;
    // A comma after a value, followed only by blanks so far.
    let mut comma = None;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (token, length) = token(rest).ok_or(Unclosed(at))?;
        match token {
            Token::Space => {}
            Token::Comment => blank(&mut json, at, length),
            Token::Comma => {
                comma = follows_value.then_some(at);
                follows_value = false;
            }
            Token::Close => {
                if let Some(comma) = comma.take() {
                    blank(&mut json, comma, 1);
                }
                follows_value = true;
            }
            Token::Open => (comma, follows_value) = (None, false),
            Token::Value => (comma, follows_value) = (None, true),
        }
        at += length;
    }
    Ok(json)
}

/// The kinds of tokens that need different treatment.
enum Token {
    Space,
    /// Or a byte order mark.
    Comment,
    Comma,
    /// A closing bracket or brace.
    Close,
    /// An opening bracket or brace, or a colon.
    Open,
    /// A string, or a byte of anything else.
    Value,
}

/// Returns the token at the start of `rest` and its length, which is at least 1. `None` for an
/// unterminated block comment.
fn token(rest: &[u8]) -> Option<(Token, usize)> {
    let token = match rest {
        [b' ' | b'\t' | b'\r' | b'\n', ..] => (Token::Space, 1),
        [0xef, 0xbb, 0xbf, ..] => (Token::Comment, 3),
        [b'/', b'/', ..] => {
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            (Token::Comment, end.unwrap_or(rest.len()))
        }
        [b'/', b'*', body @ ..] => {
            let end = body.windows(2).position(|pair| pair == b"*/")?;
            (Token::Comment, end + 4)
        }
        [b'"', body @ ..] => (Token::Value, 1 + string_length(body)),
        [b',', ..] => (Token::Comma, 1),
        [b'}' | b']', ..] => (Token::Close, 1),
        [b'{' | b'[' | b':', ..] => (Token::Open, 1),
        _ => (Token::Value, 1),
    };
    Some(token)
}

/// Returns the length of a string without its opening quote; all of `body` if it is unterminated.
fn string_length(body: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = body.iter().position(|byte| match byte {
        _ if is_escaped => {
            is_escaped = false;
            false
        }
        b'\\' => {
            is_escaped = true;
            false
        }
        byte => *byte == b'"',
    });
    end.map_or(body.len(), |end| end + 1)
}

fn blank(json: &mut [u8], at: usize, length: usize) {
    let bytes = json.iter_mut().skip(at).take(length);
    for byte in bytes.filter(|byte| !matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> String {
        let json = to_json(text.as_bytes()).unwrap();
        assert_eq!(json.len(), text.len());
        String::from_utf8(json).unwrap()
    }

    #[test]
    fn comments_become_blanks_and_line_breaks_stay() {
        for (text, plain) in [
            ("// a\n{}", "    \n{}"),
            ("{// a\r\n}// b", "{    \r\n}    "),
            ("/* a\n*/{}/**/", "    \n  {}    "),
            ("{/*/*/}", "{     }"),
            ("[1/* , */]", "[1       ]"),
        ] {
            assert_eq!(json(text), plain);
        }
        assert_eq!(to_json(b"{} /* a"), Err(Unclosed(3)));
        assert_eq!(to_json(b"{} /*/"), Err(Unclosed(3)));
    }

    #[test]
    fn only_a_comma_between_a_value_and_a_closing_bracket_is_removed() {
        for (text, plain) in [
            ("[1,]", "[1 ]"),
            (r#"{"a":{},}"#, r#"{"a":{} }"#),
            ("[[],// x\n]", "[[]     \n]"),
            ("[\"a\" , /* , */ ]", "[\"a\"           ]"),
        ] {
            assert_eq!(json(text), plain);
        }
        for text in ["[,]", "{,}", "[1,,]", r#"{"a":,}"#, "[1,2]", "{},"] {
            assert_eq!(json(text), text);
        }
    }

    #[test]
    fn strings_stay_as_they_are() {
        for text in [
            r#"{"U":"http://x//y /* z */"}"#,
            r#"["\"// a","\\",",]"]"#,
            r#"["\\\"/*"]"#,
            "[\"\u{feff}\"]",
            r#"["not closed // a"#,
        ] {
            assert_eq!(json(text), text);
        }
    }

    #[test]
    fn byte_order_marks_outside_strings_become_blanks() {
        assert_eq!(json("{}\u{feff}"), "{}   ");
        assert_eq!(json("\u{feff}[1,\u{feff}]"), "   [1    ]");
    }

    proptest! {
        #[test]
        fn plain_json_stays_as_it_is(text in r#"[^/,\x{feff}]{0,40}"#) {
            prop_assert_eq!(json(&text), text);
        }

        #[test]
        fn no_bytes_make_it_panic_or_change_the_length(bytes: Vec<u8>) {
            if let Ok(json) = to_json(&bytes) {
                prop_assert_eq!(json.len(), bytes.len());
            }
        }
    }
}
