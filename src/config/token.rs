//! The bearer token of HTTP clients, for `APPROVAL_AUTH_TOKEN` and `--auth-token-file`.
//!
//! `http::inbound` compares it.

use std::ops::RangeInclusive;

use super::error::{Fault, Problem};
use super::value::Value;
use crate::sys::secret::Secret;

/// The token that HTTP clients must send.
pub struct BearerToken(Secret);

impl BearerToken {
    pub(super) fn into_secret(self) -> Secret {
        self.0
    }
}

impl Value for BearerToken {
    fn expected() -> String {
        "a token of 8 to 4096 visible ASCII characters".to_owned()
    }

    fn from_text(text: &str) -> Result<BearerToken, Fault> {
        bearer_token(text).map(BearerToken).ok_or_else(|| {
            Fault::from(Problem::Unexpected {
                expected: BearerToken::expected(),
                found: "something else".to_owned(),
            })
        })
    }
}

/// Reads the token that HTTP clients must send: 8 to 4096 visible ASCII characters.
pub(super) fn bearer_token(text: &str) -> Option<Secret> {
    let text = text.trim();
    let is_token = BEARER_TOKEN.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    is_token.then(|| Secret::new(text.to_owned()))
}

/// The allowed length in bytes. A shorter token could be guessed.
pub(super) const BEARER_TOKEN: RangeInclusive<usize> = 8..=4096;
