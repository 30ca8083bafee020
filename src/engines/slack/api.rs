//! Calls of Slack's Web API, and what its errors mean.
//!
//! Written from <https://docs.slack.dev/apis/web-api/>, and the page of each method under
//! <https://docs.slack.dev/reference/methods/>. What is sent is up to the rest of the engine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Method, Request, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engines::http::{Exchange, Scrub, origin};
use crate::engines::{CourierContext, registry::BadOptions};
use crate::evidence::redact::Redaction;
use crate::gate::{Failure, FailureKind};
use crate::sys::secret::Secret;

/// How long one try may take.
const TRY_TIME: Duration = Duration::from_secs(30);

/// One app's access to Slack.
pub(super) struct Api {
    /// Where the methods are. Ends with `/`.
    url: Url,
    bot: HeaderValue,
    app: HeaderValue,
    /// The app's own token, which names the one connection.
    credential: Secret,
    pub(super) scrub: Arc<Scrub>,
}

/// Which token a method takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Bot,
    App,
}

/// What a method returned.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) value: T,
    pub(super) headers: HeaderMap,
}

/// What every answer has.
#[derive(Deserialize)]
struct Head {
    ok: bool,
    error: Option<String>,
    /// The scope that is missing.
    needed: Option<String>,
}

impl Api {
    pub(super) fn new(url: Url, bot: &str, app: &str) -> Result<Api, BadOptions> {
        let mut scrub = Scrub::default();
        let mut bearer = |key: &str, token: &str| {
            scrub.add(token);
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value = value.map_err(|_| {
                BadOptions(format!("`{key}` has characters that no token can have"))
            })?;
            value.set_sensitive(true);
            Ok(value)
        };
        Ok(Api {
            bot: bearer("botToken", bot)?,
            app: bearer("appToken", app)?,
            credential: Secret::new(format!("slack {app}")),
            url,
            scrub: Arc::new(scrub),
        })
    }

    /// Returns what identifies the app's connection, for choosing the process that holds it. It contains a secret.
    pub(super) fn credential(&self) -> &Secret {
        &self.credential
    }

    /// Returns what sends requests. No further try begins once `limit` is over.
    pub(super) fn exchange(&self, context: &CourierContext, limit: Option<Duration>) -> Exchange {
        Exchange::new(context, &self.scrub, limit)
    }

    /// Calls a method with JSON. Returns `None` if the exchange's time is up before it succeeds.
    ///
    /// # Errors
    /// If Slack cannot be reached, or refuses.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        exchange: &Exchange,
        method: &str,
        token: Token,
        body: &Value,
    ) -> Option<Result<Answer<T>, Failure>> {
        let body = body.to_string();
        let request = || {
            let mut request = self.request(Method::POST, method, token)?;
            let json = HeaderValue::from_static("application/json; charset=utf-8");
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = Some(body.clone().into());
            Ok(request)
        };
        self.send(exchange, method, request).await
    }

    /// Calls a method that only reads, and takes no JSON.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        exchange: &Exchange,
        method: &str,
        query: &[(&str, &str)],
    ) -> Option<Result<Answer<T>, Failure>> {
        let request = || {
            let mut request = self.request(Method::GET, method, Token::Bot)?;
            request.url_mut().query_pairs_mut().extend_pairs(query);
            Ok(request)
        };
        self.send(exchange, method, request).await
    }

    fn request(&self, method: Method, name: &str, token: Token) -> Result<Request, Failure> {
        let url = self.url.join(name).map_err(|error| Failure {
            kind: FailureKind::Misconfigured,
            why: format!("`apiUrl` cannot be used: {error}"),
        })?;
        let mut request = Request::new(method, url);
        *request.timeout_mut() = Some(TRY_TIME);
        let token = match token {
            Token::Bot => &self.bot,
            Token::App => &self.app,
        };
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, token.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("approval-proxy/", env!("CARGO_PKG_VERSION"))),
        );
        Ok(request)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        exchange: &Exchange,
        method: &str,
        request: impl Fn() -> Result<Request, Failure>,
    ) -> Option<Result<Answer<T>, Failure>> {
        let reply = match exchange.send(request).await? {
            Ok(reply) => reply,
            Err(failure) => {
                return Some(Err(Failure {
                    why: format!("{method}: {}", failure.why),
                    ..failure
                }));
            }
        };
        let read = self.read(method, &reply.body, &exchange.redaction);
        Some(read.map(|value| Answer {
            value,
            headers: reply.headers,
        }))
    }

    fn read<T: DeserializeOwned>(
        &self,
        method: &str,
        body: &[u8],
        redaction: &Redaction,
    ) -> Result<T, Failure> {
        let unreadable = || Failure {
            kind: FailureKind::Rejected,
            why: format!(
                "{}'s answer to {method} is not what Slack documents",
                origin(&self.url)
            ),
        };
        let head: Head = serde_json::from_slice(body).map_err(|_| unreadable())?;
        if !head.ok {
            return Err(self.refused(method, &head, redaction));
        }
        serde_json::from_slice(body).map_err(|_| unreadable())
    }

    fn refused(&self, method: &str, head: &Head, redaction: &Redaction) -> Failure {
        let error = head.error.as_deref().unwrap_or_default();
        let quoted = self.scrub.quote(error.as_bytes(), redaction);
        let mut why = format!(
            "Slack answered {} to {method}",
            quoted.as_deref().unwrap_or("no reason")
        );
        let (kind, advice) = meaning(error);
        if let Some(advice) = advice {
            why.push_str("; ");
            why.push_str(advice);
        }
        if let Some(scope) = &head.needed
            && let Some(scope) = self.scrub.quote(scope.as_bytes(), redaction)
        {
            why.push_str(" (missing: ");
            why.push_str(&scope);
            why.push(')');
        }
        Failure { kind, why }
    }
}

/// Returns the kind of failure that an error is, and what to do about it.
fn meaning(error: &str) -> (FailureKind, Option<&'static str>) {
    use FailureKind::{Misconfigured, RateLimited, Rejected, Unreachable};
    match error {
        "invalid_auth"
        | "not_authed"
        | "account_inactive"
        | "token_revoked"
        | "token_expired"
        | "user_removed_from_team" => (
            Misconfigured,
            Some("the token is wrong or was revoked; copy it again from the app's page"),
        ),
        "not_allowed_token_type" => (
            Misconfigured,
            Some("`botToken` must begin with `xoxb-`, and `appToken` with `xapp-`"),
        ),
        "missing_scope" | "no_permission" | "access_denied" | "accesslimited" => (
            Misconfigured,
            Some("give the app the scopes of the manifest, and install it again"),
        ),
        "channel_not_found" => (
            Misconfigured,
            Some("check `channel`, and invite the app to it if it is private"),
        ),
        "not_in_channel" => (
            Misconfigured,
            Some("invite the app to the channel with `/invite`"),
        ),
        "is_archived" => (Misconfigured, Some("the channel is archived")),
        "restricted_action" | "restricted_action_read_only_channel" => (
            Misconfigured,
            Some("the workspace does not let the app post there"),
        ),
        "ratelimited" | "rate_limited" | "message_limit_exceeded" => (RateLimited, None),
        "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org" => (Unreachable, None),
        _ => (Rejected, None),
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("origin", &origin(&self.url))
            .finish_non_exhaustive()
    }
}
