//! A recipient that agents may name, for `allowedRecipients`: a channel, a person or an address.
//!
//! Only the syntax is checked; the engines know which of them they can reach.

use serde_json::{Value as Json, json};

use super::error::Fault;
use super::value::{Value, wrong_text};

/// A channel such as `#approvals`, the id of a channel or a person, or an address of mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient(String);

/// The longest address that mail allows (RFC 5321 section 4.5.3.1.3, without the brackets).
const MAX_LENGTH: usize = 254;

impl Recipient {
    /// Returns the recipient as it was written.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl Value for Recipient {
    fn expected() -> String {
        "a channel such as `#approvals`, the id of a channel or a person, or a mail address"
            .to_owned()
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 2, "maxLength": MAX_LENGTH, "pattern": "^[^\\s,]+$"})
    }

    fn from_text(text: &str) -> Result<Recipient, Fault> {
        let is_odd = |c: char| {
            c.is_whitespace()
                || c.is_control()
                || c == ','
                || crate::approval::display::is_invisible(c)
        };
        match (2..=MAX_LENGTH).contains(&text.len()) && !text.contains(is_odd) {
            true => Ok(Recipient(text.to_owned())),
            false => Err(wrong_text::<Recipient>(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_people_and_addresses_are_recipients() {
        for text in [
            "#approvals",
            "#käse_2",
            "C024BE7LR",
            "U024BE7LH",
            "sarah@company.example",
        ] {
            assert_eq!(Recipient::from_text(text).unwrap().into_string(), text);
        }
    }

    #[test]
    fn what_people_could_misread_is_no_recipient() {
        let long = format!("{}@b.example", "a".repeat(MAX_LENGTH));
        for text in [
            "",
            "#",
            "# a",
            "a@b\n",
            "a,b",
            "a\u{202e}@b",
            "a\u{200b}@b",
            &long,
        ] {
            Recipient::from_text(text).unwrap_err();
        }
    }
}
