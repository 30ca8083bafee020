//! The text of a secret setting, before its variables are replaced.

use std::fmt;

use serde_json::Value as Json;

use super::error::Fault;
use super::value::Value;
use crate::sys::secret::Secret;

/// A secret as it was written: itself, or with `${VARIABLE}`. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Returns the text as it was written.
    #[must_use]
    pub fn as_written(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Value for SecretText {
    fn expected() -> String {
        Secret::expected()
    }

    fn schema() -> Json {
        Secret::schema()
    }

    fn from_text(text: &str) -> Result<SecretText, Fault> {
        Secret::from_text(text).map(|secret| SecretText(secret.expose().to_owned()))
    }
}
