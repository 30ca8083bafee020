//! A host name, for `--host`, `--allowed-host` and `approvalAllowedHosts`.
//!
//! Only the syntax is checked; the name is not resolved.

use serde_json::{Value as Json, json};

use super::error::Fault;
use super::value::{Value, wrong_text};

/// A host name or an IP address, without scheme, port or path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// Returns the name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for HostName {
    fn expected() -> String {
        "a host name or an IP address, without scheme, port or path".to_owned()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9A-Za-z._:-]+$"})
    }

    fn from_text(text: &str) -> Result<HostName, Fault> {
        let is_address = text.parse::<std::net::IpAddr>().is_ok();
        let is_label = |label: &str| {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !label.is_empty() && label.len() <= 63 && label.bytes().all(letters)
        };
        if is_address || (text.len() <= 253 && text.split('.').all(is_label)) {
            return Ok(HostName(text.to_owned()));
        }
        Err(wrong_text::<HostName>(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::json::Node;

    #[test]
    fn names_and_addresses_are_hosts() {
        let long = "a".repeat(63);
        for text in [
            "localhost",
            "api.example.com",
            "127.0.0.1",
            "::1",
            "my_host-1",
            &long,
        ] {
            assert_eq!(HostName::from_text(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn anything_but_a_host_is_refused() {
        let (label, name) = ("a".repeat(64), "a.".repeat(127) + "a");
        for text in [
            "", "a b", "http://a", "a/b", "a:80", "a..b", "[::1]", "ü", &label, &name,
        ] {
            let error = HostName::from_text(text).unwrap_err().to_string();
            assert!(
                error.starts_with("expected a host name or an IP address"),
                "{error}"
            );
        }
        assert!(HostName::from_node(&Node::Null).is_err());
        assert!(HostName::from_node(&Node::Text("a".to_owned())).is_ok());
    }
}
