//! The URL of a document about this client, for `clientIdMetadataUrl`.
//!
//! Authorization servers fetch the document; we do not.

use reqwest::Url;
use serde_json::{Value as Json, json};

use super::error::{Fault, Problem};
use super::value::Value;

/// The URL of a Client ID Metadata Document, as it was written. It is the client's id, which servers
/// compare as text.
///
/// SPEC draft-ietf-oauth-client-id-metadata-document, "Client Identifier": "Client identifier URLs MUST
/// have an "https" scheme, MUST contain a path component, MUST NOT contain single-dot or double-dot path
/// segments, MUST NOT contain a fragment component and MUST NOT contain a username or password."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentUrl(String);

impl DocumentUrl {
    /// Returns the URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for DocumentUrl {
    fn expected() -> String {
        "a URL that begins with `https://`, with a path, and without user, password, fragment and dot \
         segments"
            .to_owned()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^https://[^/?#@]+/[^#@]+$"})
    }

    fn from_text(text: &str) -> Result<DocumentUrl, Fault> {
        let is_document = Url::parse(text).is_ok_and(|url| {
            // Check the text: parsing removes dot segments, in every spelling.
            let start = url.as_str().find(url.path()).unwrap_or_default();
            let path = text.get(start..).unwrap_or_default();
            let path = path.split(['?', '#']).next().unwrap_or_default();
            let is_dot = |segment: &str| {
                let segment = segment.to_ascii_lowercase().replace("%2e", ".");
                segment == "." || segment == ".."
            };
            let has_user = !url.username().is_empty() || url.password().is_some();
            let is_plain =
                text.starts_with("https://") && text.bytes().all(|b| b.is_ascii_graphic());
            is_plain
                && url.has_host()
                && url.path() != "/"
                && !text.contains(['#', '@', '\\'])
                && !has_user
                && !path.split('/').any(is_dot)
        });
        if is_document {
            return Ok(DocumentUrl(text.to_owned()));
        }
        // Do not quote the text: it may contain a password.
        Err(Fault::from(Problem::Unexpected {
            expected: DocumentUrl::expected(),
            found: "another text".to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_at_an_https_url_with_a_path() {
        for text in [
            "https://a.example/client.json",
            "https://a.example:8443/x/y",
            "https://A.example/x..y/.z",
            "https://a.example/x?v=1",
        ] {
            assert_eq!(DocumentUrl::from_text(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "client.json",
            "http://a.example/client.json",
            "https://a.example",
            "https://a.example/",
            "https://a.example/x#y",
            "https://me:hunter2@a.example/x",
            "https://me@a.example/x",
            "https://@a.example/x",
            "https://a.example/../x",
            "https://a.example/y/./x",
            "https://a.example/y/%2E%2e/x",
            "https://a.example/x y",
            "https:///x",
        ] {
            let error = DocumentUrl::from_text(text).unwrap_err().to_string();
            assert!(
                error.starts_with("expected a URL that begins with"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
