//! What a server answered in place of a message, in words for people.
//!
//! It decides nothing. What the server said is quoted: the beginning of it, on one line, without
//! control characters and without what we have sent it in confidence.

use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use tokio::time::timeout;

use super::http_server::ServerSession;
use super::redirects::target;
use crate::approval::display::quoted_text;
use crate::evidence::redact::Redaction;
use crate::mcp::json::raw_member;

/// How much of what a server said is shown, in characters.
const SHOWN: usize = 200;
/// How much of it is looked at, in bytes.
const LOOKED_AT: usize = 4 * 1024;
/// How long the rest of a response that is no message may take.
const BODY_TIME: Duration = Duration::from_secs(5);
/// What stands in place of what we have sent in confidence.
const HIDDEN: &str = "[hidden]";
/// A shorter text is too common to be hidden wherever it stands.
const LEAST_HIDDEN: usize = 4;

/// What the body of a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Events,
    /// Neither, or encoded in a way that nobody asked for.
    Other,
}

impl Media {
    /// What the headers say.
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

/// The head of a response that is not what was expected.
#[derive(Debug)]
pub(super) struct Head {
    status: StatusCode,
    media: Media,
    kind: Option<String>,
    encoding: Option<String>,
    leads_to: Option<Url>,
    is_elsewhere: bool,
    /// When it wants to be asked again: seconds, or a date.
    again: Option<String>,
}

impl Head {
    /// The head of this response.
    pub(super) fn of(response: &Response) -> Head {
        let headers = response.headers();
        let leads_to = target(response, response.url());
        Head {
            status: response.status(),
            media: Media::of(headers),
            kind: text(headers, &CONTENT_TYPE),
            encoding: encoding(headers),
            is_elsewhere: leads_to
                .as_ref()
                .is_some_and(|url| url.origin() != response.url().origin()),
            leads_to,
            again: text(headers, &RETRY_AFTER),
        }
    }

    /// The same words, and what to do where the server does not let us in.
    pub(super) async fn with_advice(&self, peer: &ServerSession, body: &[u8]) -> String {
        let mut words = self.in_words(body, &peer.secrets().await);
        if !matches!(
            self.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return words;
        }
        let has_token = match peer.login() {
            Some(login) => Some(login.token().await.is_some()),
            None => None,
        };
        words.push_str(match (peer.has_credentials(), has_token) {
            (true, _) => "; look at the `Authorization` in `headers`",
            (false, Some(true)) => "; it does not take the token of its own login",
            (false, Some(false)) if self.status == StatusCode::UNAUTHORIZED => {
                "; it names no login with OAuth, so give `headers` with an `Authorization` in the \
                 config"
            }
            (false, _) => "; give `headers` with an `Authorization` in the config",
        });
        words
    }

    /// What the server answered, with the beginning of `body`. `secrets` are not repeated.
    pub(super) fn in_words(&self, body: &[u8], secrets: &[String]) -> String {
        let mut words = format!("the server answered {}", self.status);
        if let Some(url) = &self.leads_to {
            let url = shown_url(url, secrets);
            words.push_str(&format!(" and redirects to {url}"));
            words.push_str(match self.is_elsewhere {
                true => {
                    ", another origin, to which nothing was sent; if that is where the server is, \
                     put that URL into the config"
                }
                false => "; put that URL into the config",
            });
        }
        if let Some(encoding) = &self.encoding {
            let encoding = quoted_text(encoding, SHOWN);
            words.push_str(&format!(
                " with the content encoding {encoding}, which it was not asked for"
            ));
            // The body means nothing to anybody who cannot decode it.
            return words;
        }
        // A JSON-RPC error says it best.
        let own = raw_member(&String::from_utf8_lossy(body), &["error", "message"])
            .and_then(|message| serde_json::from_str::<String>(message).ok());
        let said = quoted(own.as_deref().map_or(body, str::as_bytes), secrets);
        if self.status.is_success() && self.media == Media::Other {
            match (&self.kind, &said) {
                (None, None) => words.push_str(" without a message"),
                (kind, _) => {
                    let kind = kind.as_ref().map(|kind| quoted_text(kind, SHOWN));
                    let kind = kind.map_or_else(
                        || "without a content type".to_owned(),
                        |kind| format!("with the content type {kind}"),
                    );
                    words.push_str(&format!(
                        " {kind}, where `application/json` or `text/event-stream` is due"
                    ));
                }
            }
        }
        if let Some(said) = said {
            words.push_str(&format!("; it said: {said}"));
        }
        if let Some(again) = &self.again {
            let again = quoted_text(again, SHOWN);
            words.push_str(&format!(
                "; it wants to be asked again later (Retry-After {again})"
            ));
        }
        words
    }
}

/// What the server answered, in words.
pub(super) async fn in_words(peer: &ServerSession, response: Response) -> String {
    let head = Head::of(&response);
    let body = timeout(BODY_TIME, beginning(response)).await;
    head.with_advice(peer, &body.unwrap_or_default()).await
}

async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < LOOKED_AT
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(LOOKED_AT);
    body
}

/// The beginning of what a server said, in quotes; `None` if it said nothing.
pub(super) fn quoted(said: &[u8], secrets: &[String]) -> Option<String> {
    let said = said.get(..LOOKED_AT).unwrap_or(said);
    let said = String::from_utf8_lossy(said);
    let said = said.trim();
    if said.is_empty() {
        return None;
    }
    let said = without(said, secrets);
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

/// A text without these secrets, and without what looks like one.
fn without(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= LEAST_HIDDEN) {
        text = text.replace(secret, HIDDEN);
    }
    Redaction::default().text(&text).into_owned()
}

/// A URL for people, in backticks: a query may hold a secret, and is left out.
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
    let mut shown: String = without(shown.as_str(), secrets);
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

/// How the body is encoded, if it is.
fn encoding(headers: &HeaderMap) -> Option<String> {
    let encoding = text(headers, &CONTENT_ENCODING)?;
    let is_plain = encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
    (!is_plain).then_some(encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_said_is_shortened_and_cleaned_and_repeats_no_secret() {
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
