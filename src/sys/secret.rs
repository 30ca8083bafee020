//! A text that must not reach a log, an error or a debug print.
//!
//! It neither encrypts nor wipes memory; it only prevents accidental printing.

use std::fmt;

/// A secret text: `Debug` prints `***`, and there is no `Display`.
///
/// There is no `PartialEq` either: tokens must be compared in constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`. Do not keep other copies of it.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// Returns the text itself, for the code that has to send or use it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_is_not_printed_by_debug() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        assert_eq!(secret.expose(), "hunter2");
    }
}
