//! The calls of the Bot API that the engine makes, over the couriers' HTTP.
//!
//! Written from <https://core.telegram.org/bots/api>. Decides nothing about questions.
//!
//! The token is a part of every URL, so no URL of a request may stand in an error or a log: failures name the origin,
//! and quote answers only without the token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use reqwest::{Method, Request, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engines::courier::CourierContext;
use crate::engines::http::{Exchange, Scrub, origin, retry_after_in};
use crate::gate::{Failure, FailureKind};
use crate::sys::clock::random_hex;
use crate::sys::secret::Secret;

/// How long a call may go unanswered, apart from a poll, which the server holds back.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// The longest answer to a poll, in bytes. A poll asks for few updates, and one is at most some 60 KiB long: two texts of
/// 4,096 characters, escaped, with their entities.
const MAX_POLL: usize = 4 * 1024 * 1024;

/// A bot, and how it is reached.
#[derive(Clone)]
pub(super) struct Bot {
    context: CourierContext,
    scrub: Arc<Scrub>,
    address: Address,
}

/// Where the Bot API is, and the bot's token.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) api: Url,
    pub(super) token: Secret,
}

/// A file to upload.
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) content: &'a [u8],
}

/// An answer of the Bot API (<https://core.telegram.org/bots/api#making-requests>).
#[derive(Deserialize)]
struct Reply<T> {
    result: T,
}

/// Why a call was refused.
#[derive(Deserialize)]
struct Refused {
    description: String,
}

/// Why a call that is not tried again has no result.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What to say about it.
    pub(super) failure: Failure,
    /// The status of the answer, if there is one.
    pub(super) status: Option<StatusCode>,
    /// How long the server asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// The server's own words, without secrets.
    pub(super) description: String,
}

impl Address {
    /// The bot's id, which is no secret: it begins the token.
    pub(super) fn bot(&self) -> &str {
        let token = self.token.expose();
        token.split_once(':').map_or(token, |(id, _)| id)
    }

    fn method(&self, method: &str) -> Url {
        let mut url = self.api.clone();
        // Cannot fail: the URL is http: or https:.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            path.push(&format!("bot{}", self.token.expose()));
            path.push(method);
        }
        url
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("origin", &origin(&self.api))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Bot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bot")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Bot {
    pub(super) fn new(address: Address, scrub: Arc<Scrub>, context: &CourierContext) -> Bot {
        Bot {
            context: context.clone(),
            scrub,
            address,
        }
    }

    /// Calls a method, and tries again as configured, but not beyond `limit`. `None` if the time is up before that.
    ///
    /// `is_wanted` is asked before each try: what nobody needs any more is not sent.
    ///
    /// # Errors
    /// The failure of the last try.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        parameters: &Value,
        limit: Option<Duration>,
        is_wanted: impl Fn() -> bool,
    ) -> Option<Result<T, Failure>> {
        let body = parameters.to_string();
        let request = || match is_wanted() {
            true => Ok(self.request(method, "application/json", body.clone().into_bytes())),
            false => Err(Failure::unreachable("the question is over")),
        };
        self.send(request, limit).await
    }

    /// Like [`Bot::call`], with a file in the field `document`.
    ///
    /// # Errors
    /// The failure of the last try.
    pub(super) async fn upload<T: DeserializeOwned>(
        &self,
        method: &str,
        fields: &[(&str, String)],
        file: &File<'_>,
        limit: Option<Duration>,
        is_wanted: impl Fn() -> bool,
    ) -> Option<Result<T, Failure>> {
        let boundary = match random_hex(16) {
            Ok(random) => format!("approval-proxy-{random}"),
            Err(error) => {
                let why = format!("the system has no randomness: {error}");
                return Some(Err(Failure::unreachable(why)));
            }
        };
        let body = multipart(&boundary, fields, file);
        let kind = format!("multipart/form-data; boundary={boundary}");
        let request = || match is_wanted() {
            true => Ok(self.request(method, &kind, body.clone())),
            false => Err(Failure::unreachable("the question is over")),
        };
        self.send(request, limit).await
    }

    /// Calls a method once. The server may hold the answer back for `patience`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) async fn once<T: DeserializeOwned>(
        &self,
        method: &str,
        parameters: &Value,
        patience: Duration,
    ) -> Result<T, Refusal> {
        let body = parameters.to_string().into_bytes();
        let request = self.request(method, "application/json", body);
        let time = patience.saturating_add(ANSWER_TIME);
        let heard = self.exchange(None).hear(request, time, MAX_POLL).await;
        let heard = heard.map_err(|failure| Refusal {
            failure,
            status: None,
            retry_after: None,
            description: String::new(),
        })?;
        if heard.status.is_success()
            && let Ok(Reply { result }) = serde_json::from_slice(&heard.body)
        {
            return Ok(result);
        }
        Err(self.refusal(heard.status, &heard.body))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Refusal {
        let refused: Result<Refused, _> = serde_json::from_slice(body);
        let description = refused.map_or_else(
            |_| {
                self.scrub
                    .quote(body, &self.context.redaction)
                    .unwrap_or_default()
            },
            |refused| self.scrub.clean(&refused.description),
        );
        let peer = origin(&self.address.api);
        let (kind, advice) = match status {
            // A token that is none at all is a path that does not exist.
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => (
                FailureKind::Misconfigured,
                "; the token is wrong or was revoked, so check `botToken`",
            ),
            StatusCode::FORBIDDEN => (FailureKind::Misconfigured, ""),
            StatusCode::TOO_MANY_REQUESTS => (FailureKind::RateLimited, ""),
            status if status.is_server_error() => (FailureKind::Unreachable, ""),
            status if status.is_success() => {
                (FailureKind::Rejected, "; that is not the Bot API's answer")
            }
            _ => (FailureKind::Rejected, ""),
        };
        let quoted = self
            .scrub
            .quote(description.as_bytes(), &self.context.redaction);
        let why = format!(
            "{peer} answered {status}: {}{advice}",
            quoted.unwrap_or_else(|| "nothing".to_owned())
        );
        Refusal {
            failure: Failure { kind, why },
            status: Some(status),
            retry_after: retry_after_in(body),
            description,
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> Result<Request, Failure>,
        limit: Option<Duration>,
    ) -> Option<Result<T, Failure>> {
        let sent = self
            .exchange(limit)
            .send_within(ANSWER_TIME, request)
            .await?;
        Some(sent.and_then(|reply| {
            let read = serde_json::from_slice(&reply.body);
            read.map(|Reply { result }| result)
                .map_err(|_| self.refusal(reply.status, &reply.body).failure)
        }))
    }

    fn exchange(&self, limit: Option<Duration>) -> Exchange {
        Exchange::new(&self.context, &self.scrub, limit)
    }

    fn request(&self, method: &str, kind: &str, body: Vec<u8>) -> Request {
        let mut request = Request::new(Method::POST, self.address.method(method));
        let headers = request.headers_mut();
        for (name, value) in [
            (
                USER_AGENT,
                concat!("approval-proxy/", env!("CARGO_PKG_VERSION")),
            ),
            (ACCEPT, "application/json"),
            (ACCEPT_ENCODING, "identity"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(kind) = HeaderValue::try_from(kind) {
            headers.insert(CONTENT_TYPE, kind);
        }
        *request.body_mut() = Some(body.into());
        request
    }
}

/// Returns a `multipart/form-data` body (RFC 7578). The boundary is random, so no content can contain it.
fn multipart(boundary: &str, fields: &[(&str, String)], file: &File<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(file.content.len() + 1_024);
    for (name, value) in fields {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
        body.extend_from_slice(head.as_bytes());
    }
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"document\"; filename=\"{}\"\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n",
        file.name
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(file.content);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::for_test::context;

    const TOKEN: &str = "7000000001:AAsecret-part_of-the-token";

    fn address(api: &str) -> Address {
        Address {
            api: Url::parse(api).unwrap(),
            token: Secret::new(TOKEN.to_owned()),
        }
    }

    #[test]
    fn methods_are_below_the_api_and_the_token() {
        for api in ["https://tg.example/x", "https://tg.example/x/"] {
            let url = address(api).method("getMe");
            assert_eq!(
                url.as_str(),
                format!("https://tg.example/x/bot{TOKEN}/getMe")
            );
        }
        assert_eq!(address("https://tg.example").bot(), "7000000001");
    }

    #[test]
    fn the_token_is_in_no_debug_output_and_in_no_refusal() {
        let mut scrub = Scrub::default();
        scrub.add(TOKEN);
        let bot = Bot::new(
            address("https://tg.example"),
            Arc::new(scrub),
            &context("tg"),
        );
        let body = format!(r#"{{"ok":false,"description":"no such path: /bot{TOKEN}/getMe"}}"#);
        let html = format!("<h1>/bot{TOKEN}/getMe</h1>");
        let refusals = [body, html].map(|body| bot.refusal(StatusCode::NOT_FOUND, body.as_bytes()));
        let text = format!("{bot:?} {refusals:?}");
        assert!(!text.contains("secret-part"), "{text}");
        assert!(text.contains("check `botToken`"), "{text}");
    }

    #[test]
    fn a_file_is_one_part_and_its_content_is_as_it_is() {
        let file = File {
            name: "call.txt",
            content: b"a\r\n--b\0\xff",
        };
        let body = multipart("B", &[("chat_id", "-1".to_owned())], &file);
        let expected =
            b"--B\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n-1\r\n--B\r\n\
            Content-Disposition: form-data; name=\"document\"; filename=\"call.txt\"\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\r\na\r\n--b\0\xff\r\n--B--\r\n";
        assert_eq!(body, expected);
    }
}
