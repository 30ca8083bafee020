//! Describes for people what a server answered in place of a message.
//!
//! Quotes the beginning of the body on one line, without control characters and without the secrets
//! that we have sent.

use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use tokio::time::timeout;

use super::http_server::ServerSession;
use super::redirects::target;
use crate::approval::display::quoted_text;
use crate::evidence::redact::Redaction;
use crate::mcp::json::raw_member;

/// How many characters of a body are quoted.
const SHOWN: usize = 200;
/// How many bytes of a body are read for that.
const LOOKED_AT: usize = 4 * 1024;
/// How long to wait for the body of a response that is not a message.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Replaces a secret.
const HIDDEN: &str = "[hidden]";
/// The length of the shortest secret that is hidden. Shorter texts are too common.
const SHORTEST_HIDDEN: usize = 4;

/// The kind of a response's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Events,
    /// Neither, or in an encoding that we did not request.
    Other,
}

impl Media {
    /// Reads the kind from the headers.
    pub(super) fn of(headers: &HeaderMap) -> Media {
        if encoding(headers).is_some() {
            return Media::Other;
        }
        let value = text(headers, &CONTENT_TYPE).unwrap_or_default();
        match value.split(';').next().unwrap_or_default().trim() {
            value if value.eq_ignore_ascii_case("application/json") => Media::Json,
            value if value.eq_ignore_ascii_case("text/event-stream") => Media::Events,
            _ => Media::Other,
        }
    }
}

/// The head of an unexpected response.
#[derive(Debug)]
pub(super) struct Head {
    status: StatusCode,
    media: Media,
    content_type: Option<String>,
    encoding: Option<String>,
    redirect: Option<Url>,
    /// True if `redirect` has another origin.
    leaves_origin: bool,
    /// The value of `Retry-After`: seconds, or a date.
    retry_after: Option<String>,
}

impl Head {
    /// Reads the head of a response.
    pub(super) fn of(response: &Response) -> Head {
        let headers = response.headers();
        let redirect = target(response, response.url());
        Head {
            status: response.status(),
            media: Media::of(headers),
            content_type: text(headers, &CONTENT_TYPE),
            encoding: encoding(headers),
            leaves_origin: redirect
                .as_ref()
                .is_some_and(|url| url.origin() != response.url().origin()),
            redirect,
            retry_after: text(headers, &RETRY_AFTER),
        }
    }

    /// Describes the answer, and says what to do if the server denies access.
    pub(super) async fn with_advice(&self, peer: &ServerSession, body: &[u8]) -> String {
        let mut description = self.describe(body, &peer.secrets().await);
        if !matches!(
            self.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return description;
        }
        let has_token = match peer.login() {
            Some(login) => Some(login.token().await.is_some()),
            None => None,
        };
        description.push_str(match (peer.has_credentials(), has_token) {
            (true, _) => "; check the `Authorization` header that is configured for it",
            (false, Some(true)) => "; it does not accept the token from its own login",
            (false, Some(false)) if self.status == StatusCode::UNAUTHORIZED => {
                "; it does not offer an OAuth login, so configure an `Authorization` header for it"
            }
            (false, _) => "; configure an `Authorization` header for it",
        });
        description
    }

    /// Describes what the server answered, with the beginning of `body`. Hides `secrets`.
    pub(super) fn describe(&self, body: &[u8], secrets: &[String]) -> String {
        let mut description = format!("the server answered {}", self.status);
        if let Some(url) = &self.redirect {
            let url = shown_url(url, secrets);
            description.push_str(&format!(" and redirects to {url}"));
            description.push_str(match self.leaves_origin {
                true => {
                    ", which is another origin, so nothing was sent there; if that is the server, \
                     put that URL into the config"
                }
                false => "; put that URL into the config",
            });
        }
        if let Some(encoding) = &self.encoding {
            let encoding = quoted_text(encoding, SHOWN);
            description.push_str(&format!(
                " with the content encoding {encoding}, which was not requested"
            ));
            // We cannot decode the body, so it is not quoted.
            return description;
        }
        // Prefers the message of a JSON-RPC error.
        let own = raw_member(&String::from_utf8_lossy(body), &["error", "message"])
            .and_then(|message| serde_json::from_str::<String>(message).ok());
        let said = quoted(own.as_deref().map_or(body, str::as_bytes), secrets);
        if self.status.is_success() && self.media == Media::Other {
            match (&self.content_type, &said) {
                (None, None) => description.push_str(" without a message"),
                (content_type, _) => {
                    let kind = content_type.as_ref().map(|kind| quoted_text(kind, SHOWN));
                    let kind = kind.map_or_else(
                        || "without a content type".to_owned(),
                        |kind| format!("with the content type {kind}"),
                    );
                    description.push_str(&format!(
                        " {kind}, but `application/json` or `text/event-stream` is required"
                    ));
                }
            }
        }
        if let Some(said) = said {
            description.push_str(&format!("; it said: {said}"));
        }
        if let Some(retry_after) = &self.retry_after {
            let retry_after = quoted_text(retry_after, SHOWN);
            description.push_str(&format!(
                "; it asks to try again later (Retry-After {retry_after})"
            ));
        }
        description
    }
}

/// Describes what the server answered, and says what to do if it denies access.
pub(super) async fn describe(peer: &ServerSession, response: Response) -> String {
    let head = Head::of(&response);
    let body = timeout(BODY_TIME, read_start(response)).await;
    head.with_advice(peer, &body.unwrap_or_default()).await
}

async fn read_start(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < LOOKED_AT
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(LOOKED_AT);
    body
}

/// Returns the beginning of what a server said, in quotes; `None` if it said nothing.
pub(super) fn quoted(said: &[u8], secrets: &[String]) -> Option<String> {
    let said = said.get(..LOOKED_AT).unwrap_or(said);
    let said = String::from_utf8_lossy(said);
    let said = said.trim();
    if said.is_empty() {
        return None;
    }
    let said = redacted(said, secrets);
    let shown: String = said
        .chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' => ' ',
            c => c,
        })
        .filter(|c| !c.is_control())
        .collect();
    let mut said: String = shown.chars().take(SHOWN).collect();
    if said.len() < shown.len() {
        said.push('…');
    }
    Some(quoted_text(&said, SHOWN + 1))
}

/// Hides these secrets in a text, and everything that looks like a secret.
fn redacted(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets
        .iter()
        .filter(|secret| secret.len() >= SHORTEST_HIDDEN)
    {
        text = text.replace(secret, HIDDEN);
    }
    Redaction::default().text(&text).into_owned()
}

/// Returns a URL for people, in backticks. Leaves out the query, because it may contain a secret.
pub(super) fn shown_url(url: &Url, secrets: &[String]) -> String {
    let mut shown = url.clone();
    let has_query = shown.query().is_some();
    shown.set_query(None);
    shown.set_fragment(None);
    if shown.has_host() {
        // Fails only for a URL without a host.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
    }
    let mut shown: String = redacted(shown.as_str(), secrets);
    if let Some((cut, _)) = shown.char_indices().nth(SHOWN) {
        shown.truncate(cut);
        shown.push('…');
    }
    let query = if has_query { "?…" } else { "" };
    format!("`{shown}{query}`")
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Returns the body's encoding, if it has one.
fn encoding(headers: &HeaderMap) -> Option<String> {
    let encoding = text(headers, &CONTENT_ENCODING)?;
    let is_plain = encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
    (!is_plain).then_some(encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_said_is_shortened_and_cleaned_and_secrets_are_hidden() {
        let secrets = ["hunter2-secret".to_owned(), "a".to_owned()];
        let quoted = |text: &str| quoted(text.as_bytes(), &secrets);
        assert_eq!(quoted(" \r\n"), None);
        assert_eq!(
            quoted("Session not found").unwrap(),
            "\"Session not found\""
        );
        let odd = quoted("no\r\n\u{1b}[31m key hunter2-secret\0").unwrap();
        assert_eq!(odd, "\"no  [31m key [hidden]\"");
        assert!(quoted(&"x".repeat(100_000)).unwrap().chars().count() < SHOWN + 50);
        let token = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
        assert!(!quoted(&format!("bad {token}")).unwrap().contains(token));
    }

    #[test]
    fn a_url_is_shown_without_credentials_and_query() {
        let shown = |url: &str| shown_url(&Url::parse(url).unwrap(), &["s3cret".to_owned()]);
        assert_eq!(
            shown("https://alice:pw@a.example/s3cret/mcp?key=1#x"),
            "`https://a.example/[hidden]/mcp?…`"
        );
        assert_eq!(shown("mailto:a@b"), "`mailto:a@b`");
    }
}
