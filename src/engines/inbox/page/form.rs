//! Reads forms and queries: names and values, each name once.

use std::time::Duration;

use axum::body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use super::error::PageError;

/// The largest body, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(20);
/// The most fields that a form may have.
const MAX_FIELDS: usize = 128;

/// The fields of a form, or of a query.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form from a request's body.
    pub(super) async fn read(body: Body) -> Result<Form, PageError> {
        let read = timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect());
        let bytes = match read.await {
            Ok(Ok(read)) => read.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(PageError::TooLarge),
            Ok(Err(_)) | Err(_) => return Err(PageError::Form("The form arrived incomplete.")),
        };
        let text = std::str::from_utf8(&bytes).ok();
        text.and_then(Form::parse)
            .ok_or(PageError::Form("The form cannot be read."))
    }

    /// Reads a query. Returns no fields if it cannot be read.
    pub(super) fn query(query: Option<&str>) -> Form {
        query.and_then(Form::parse).unwrap_or_default()
    }

    /// Returns `None` if the text is invalid or ambiguous.
    fn parse(text: &str) -> Option<Form> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if fields.len() == MAX_FIELDS || fields.iter().any(|(known, _)| *known == name) {
                return None;
            }
            fields.push((name, value));
        }
        Some(Form(fields))
    }

    /// Returns a field's value; empty if there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// Returns the fields whose names start with `beginning`: the rest of each name, and the value.
    pub(super) fn beginning<'f>(
        &'f self,
        beginning: &'f str,
    ) -> impl Iterator<Item = (&'f str, &'f str)> {
        let fields = self.0.iter();
        fields.filter_map(move |(name, value)| Some((name.strip_prefix(beginning)?, &**value)))
    }

    /// Returns a field's trimmed value; `None` if that is empty.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        Some(self.get(name).trim()).filter(|value| !value.is_empty())
    }
}

/// Decodes what [`encode`] writes, and the names and values of forms.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            _ => b,
        });
    }
    String::from_utf8(out).ok()
}

/// Appends a value to a query.
pub(super) fn encode(value: &str, out: &mut String) {
    use std::fmt::Write as _;
    for b in value.bytes() {
        if b.is_ascii_alphanumeric() {
            out.push(char::from(b));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_read_as_browsers_write_them() {
        let form = Form::parse("choice=deny&reason=no%2C+not+%22now%22%0D%0A&x=&y").unwrap();
        assert_eq!(form.get("choice"), "deny");
        assert_eq!(form.get("reason"), "no, not \"now\"\r\n");
        assert_eq!(form.filled("reason"), Some("no, not \"now\""));
        assert_eq!(
            (form.filled("x"), form.get("y"), form.get("z")),
            (None, "", "")
        );
    }

    #[test]
    fn an_ambiguous_or_invalid_form_is_not_read() {
        for text in ["a=1&a=2", "a=1&%61=2", "a=%", "a=%2", "a=%zz", "a=%ff"] {
            assert!(Form::parse(text).is_none(), "{text}");
        }
        let many: String = (0..=MAX_FIELDS).map(|i| format!("f{i}=&")).collect();
        assert!(Form::parse(&many).is_none());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(value in any::<String>()) {
            let mut text = String::from("a=");
            encode(&value, &mut text);
            let form = Form::parse(&text).unwrap();
            prop_assert_eq!(form.get("a"), value);
        }
    }
}
