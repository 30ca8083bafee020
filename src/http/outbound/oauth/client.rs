//! The HTTP client of a login: connects only to allowed addresses, and converts what authorization
//! servers write into what rmcp reads.
//!
//! Also keeps the last error of an authorization server, for the person who waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oauth2::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use rmcp::transport::auth::{
    OAuthHttpClient, OAuthHttpClientError, OAuthHttpClientFuture, OAuthHttpRedirectPolicy,
    OAuthHttpRequest,
};
use serde_json::{Map, Value};

use super::LoginError;
use super::addresses::Addresses;
use crate::http::outbound::http_server::NAME_AND_VERSION;
use crate::http::outbound::redirects::target;
use crate::http::outbound::server_error::{quoted, shown_url};
use crate::sys::with_causes;

/// How long one request may take.
const TIME: Duration = Duration::from_secs(30);
/// The largest response, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// How many redirects are followed, all within the same origin.
const MAX_REDIRECTS: usize = 5;
/// The variables that name proxies.
const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The client for the login of one server.
pub(super) struct LoginClient {
    http: reqwest::Client,
    addresses: Addresses,
    server: Url,
    /// The operator's `User-Agent`, for the server itself.
    user_agent: Option<HeaderValue>,
    state: Mutex<State>,
}

/// What rmcp does not pass on.
#[derive(Debug, Default)]
struct State {
    /// Why the last request failed.
    last_error: Option<String>,
    /// The authentication method to request in a registration.
    wanted_method: Option<String>,
    /// The authentication method for the token endpoint that a registration has set.
    method: Option<String>,
    /// The resource as the server writes it, and as we wrote it for rmcp.
    resource: Option<(String, String)>,
}

/// Why a request was not sent, or its answer not read. Completes a sentence that begins with the URL.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("is not used: it is at an address that this login may not reach")]
    Address,
    #[error("answered with more than 1 MiB")]
    TooLarge,
}

impl LoginClient {
    /// Creates a client for the login of the server at `url`.
    pub(super) fn new(
        url: &Url,
        user_agent: Option<HeaderValue>,
    ) -> Result<LoginClient, LoginError> {
        let proxies = PROXIES
            .into_iter()
            .filter_map(|name| std::env::var(name).ok());
        let addresses = Addresses::new(url, proxies);
        let http = reqwest::Client::builder()
            .timeout(TIME)
            .user_agent(NAME_AND_VERSION)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(addresses.clone()))
            .build()
            .map_err(|_| LoginError::System)?;
        Ok(LoginClient {
            http,
            addresses,
            server: url.clone(),
            user_agent,
            state: Mutex::default(),
        })
    }

    /// Returns why the last request failed, if it did.
    pub(super) fn last_error(&self) -> Option<String> {
        self.state().last_error.clone()
    }

    /// Sets the authentication method to request in a registration.
    pub(super) fn want_method(&self, method: Option<String>) {
        self.state().wanted_method = method;
    }

    /// Returns the authentication method that a registration has set.
    pub(super) fn method(&self) -> Option<String> {
        self.state().method.clone()
    }

    /// Returns the login page with the resource as the server writes it.
    pub(super) fn with_resource(&self, page: Url) -> Url {
        let Some((stated, read)) = self.state().resource.clone() else {
            return page;
        };
        let pairs: Vec<(String, String)> = page.query_pairs().into_owned().collect();
        let mut page = page;
        page.query_pairs_mut()
            .clear()
            .extend_pairs(pairs.iter().map(|pair| restored(pair, &stated, &read)));
        page
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_error(&self, error: String) {
        self.state().last_error = Some(error);
    }

    async fn answer(
        &self,
        request: OAuthHttpRequest,
    ) -> Result<Response<Vec<u8>>, OAuthHttpClientError> {
        let OAuthHttpRequest {
            mut request,
            redirect_policy,
            ..
        } = request;
        self.state().last_error = None;
        let kind = Kind::of(&request);
        match kind {
            Kind::Discovery => {}
            Kind::Registration => self.request_method(&mut request),
            Kind::Token => self.restore_resource(&mut request),
        }
        let secrets = secrets(&request);
        let url = request.uri().to_string();
        let sent = self.send(request, redirect_policy).await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                self.set_error(format!("{} {error}", shown(&url)));
                return Err(error.into());
            }
        };
        if !response.status().is_success() {
            self.set_error(self.refusal(&url, &response, &secrets));
            return Ok(response);
        }
        match kind {
            Kind::Discovery => self.normalize_discovery(&mut response),
            Kind::Registration => self.normalize_registration(&url, &mut response),
            Kind::Token => self.normalize_token(&url, &mut response),
        }
        Ok(response)
    }

    async fn send(
        &self,
        request: Request<Vec<u8>>,
        policy: OAuthHttpRedirectPolicy,
    ) -> Result<Response<Vec<u8>>, String> {
        let invalid =
            |error: reqwest::Error| format!("cannot be requested: {}", with_causes(&error));
        let mut request = reqwest::Request::try_from(request).map_err(invalid)?;
        for _ in 0..MAX_REDIRECTS {
            let is_server = request.url().origin() == self.server.origin();
            if let Some(name) = self.user_agent.as_ref().filter(|_| is_server) {
                request.headers_mut().insert(USER_AGENT, name.clone());
            }
            if !self.addresses.allow(request.url()) {
                return Err(Refused::Address.to_string());
            }
            let again = request.try_clone();
            let from = request.url().clone();
            let sent = self.http.execute(request).await;
            // Without the error itself, which names the URL.
            let cause = |error: &reqwest::Error| {
                let cause = std::error::Error::source(error);
                cause.map_or_else(|| "no answer".to_owned(), with_causes)
            };
            let response = sent.map_err(|error| format!("cannot be reached: {}", cause(&error)))?;
            let keeps_body = matches!(
                response.status(),
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            );
            let next = target(&response, &from).filter(|next| next.origin() == from.origin());
            match (policy, again, next) {
                (OAuthHttpRedirectPolicy::Follow, Some(mut again), Some(next)) if keeps_body => {
                    *again.url_mut() = next;
                    request = again;
                }
                _ => return read_response(response).await,
            }
        }
        Err("redirects too often".to_owned())
    }

    /// Returns the error in an authorization server's refusal.
    ///
    /// SPEC RFC 6749, section 5.2, and RFC 7591, section 3.2.2: `error` and `error_description`.
    fn refusal(&self, url: &str, response: &Response<Vec<u8>>, secrets: &[String]) -> String {
        let status = response.status();
        let body: Option<Map<String, Value>> = serde_json::from_slice(response.body()).ok();
        let text = |name: &str| body.as_ref()?.get(name)?.as_str();
        if let Some(error) = text("error") {
            return oauth_error(error, text("error_description"), secrets);
        }
        let mut description = format!("{} answered {status}", shown(url));
        let location = response.headers().get(reqwest::header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let location = location.and_then(|location| Url::parse(url).ok()?.join(location).ok());
        if let Some(location) = location.filter(|_| status.is_redirection()) {
            let location = shown_url(&location, secrets);
            description.push_str(&format!(
                " and redirects to {location}, which is not followed"
            ));
        }
        if let Some(said) = quoted(response.body(), secrets) {
            description.push_str(&format!("; it said: {said}"));
        }
        description
    }

    /// Normalizes the server's resource, which may have an extra slash at the end.
    fn normalize_discovery(&self, response: &mut Response<Vec<u8>>) {
        let Some(mut document) = object(response) else {
            return;
        };
        let stated = document.get("resource").and_then(Value::as_str);
        let Some(stated) = stated.map(str::to_owned) else {
            return;
        };
        if let Some(read) = read_as(&stated, &self.server) {
            document.insert("resource".to_owned(), Value::String(read.clone()));
            self.state().resource = Some((stated, read));
            replace(response, document);
        }
    }

    fn normalize_registration(&self, url: &str, response: &mut Response<Vec<u8>>) {
        let Some(mut client) = object(response) else {
            self.set_error(format!(
                "the answer from {} is not a JSON object",
                shown(url)
            ));
            return;
        };
        if !client.contains_key("client_id") {
            self.set_error(format!("the answer from {} has no `client_id`", shown(url)));
        }
        let method = client.get("token_endpoint_auth_method");
        self.state().method = method.and_then(Value::as_str).map(str::to_owned);
        // RFC 7591 requires servers to repeat all registered metadata, but some do not.
        if !client.get("redirect_uris").is_some_and(Value::is_array) {
            client.insert("redirect_uris".to_owned(), Value::Array(Vec::new()));
        }
        replace(response, client);
    }

    fn normalize_token(&self, url: &str, response: &mut Response<Vec<u8>>) {
        let Some(mut token) = object(response) else {
            // Does not quote the body, because it may contain a token.
            let kind = response.headers().get(CONTENT_TYPE);
            let kind = kind.map_or(&b"none"[..], HeaderValue::as_bytes);
            let kind = quoted(kind, &[]).unwrap_or_default();
            self.set_error(format!(
                "the answer from {} is not a JSON object (content type {kind})",
                shown(url)
            ));
            return;
        };
        // GitHub and others send errors with a 200.
        if let Some(error) = token.get("error").and_then(Value::as_str) {
            let description = token.get("error_description").and_then(Value::as_str);
            self.set_error(oauth_error(error, description, &[]));
            return;
        }
        if !token.contains_key("access_token") {
            self.set_error(format!(
                "the answer from {} has no `access_token`",
                shown(url)
            ));
        }
        if let Some(life) = token.get("expires_in") {
            match seconds(life) {
                Some(life) => token.insert("expires_in".to_owned(), Value::from(life)),
                // Drops an unreadable lifetime: the server answers 401 when the token has expired.
                None => token.remove("expires_in"),
            };
        }
        // We support no other type, and servers that omit it mean this one.
        if token.get("token_type").is_none_or(Value::is_null) {
            token.insert("token_type".to_owned(), Value::from("Bearer"));
        }
        replace(response, token);
    }

    fn request_method(&self, request: &mut Request<Vec<u8>>) {
        let Some(method) = self.state().wanted_method.clone() else {
            return;
        };
        let body: Option<Map<String, Value>> = serde_json::from_slice(request.body()).ok();
        if let Some(mut body) = body {
            body.insert("token_endpoint_auth_method".to_owned(), Value::from(method));
            *request.body_mut() = Value::Object(body).to_string().into_bytes();
        }
    }

    fn restore_resource(&self, request: &mut Request<Vec<u8>>) {
        let Some((stated, read)) = self.state().resource.clone() else {
            return;
        };
        let Ok(mut form) = Url::parse("http://form.invalid/") else {
            return;
        };
        let pairs = pairs(request.body());
        form.query_pairs_mut()
            .extend_pairs(pairs.iter().map(|pair| restored(pair, &stated, &read)));
        *request.body_mut() = form.query().unwrap_or_default().as_bytes().to_vec();
    }
}

impl OAuthHttpClient for LoginClient {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(self.answer(request))
    }
}

/// The kind of a request from rmcp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Discovery,
    Registration,
    Token,
}

impl Kind {
    fn of(request: &Request<Vec<u8>>) -> Kind {
        let kind = request.headers().get(CONTENT_TYPE);
        match kind.and_then(|kind| kind.to_str().ok()) {
            _ if request.method() == Method::GET => Kind::Discovery,
            Some(kind) if kind.starts_with("application/json") => Kind::Registration,
            Some(_) | None => Kind::Token,
        }
    }
}

/// Returns an OAuth error as text.
pub(super) fn oauth_error(error: &str, description: Option<&str>, secrets: &[String]) -> String {
    let quoted = |text: &str| quoted(text.as_bytes(), secrets);
    let error = quoted(error).unwrap_or_else(|| "an unnamed error".to_owned());
    match description.and_then(quoted) {
        Some(description) => format!("{error}, {description}"),
        None => error,
    }
}

/// Returns the server's resource without slashes at the end, for rmcp. Returns `None` if there are
/// none, or if the resource differs from the server's URL in anything else.
fn read_as(stated: &str, server: &Url) -> Option<String> {
    let mut url = Url::parse(stated).ok()?;
    let path = url.path().trim_end_matches('/').to_owned();
    let is_server = url.origin() == server.origin() && path == server.path().trim_end_matches('/');
    if !is_server || path == url.path() || path.is_empty() {
        return None;
    }
    url.set_path(&path);
    Some(url.into())
}

/// Returns a parameter with the resource as the server writes it.
fn restored<'a>(
    (name, value): &'a (String, String),
    stated: &'a str,
    read: &str,
) -> (&'a str, &'a str) {
    let is_resource = name == "resource" && value == read;
    (name, if is_resource { stated } else { value })
}

/// Returns the secrets of a request, which its answer may repeat.
fn secrets(request: &Request<Vec<u8>>) -> Vec<String> {
    const SECRET: [&str; 4] = ["code", "code_verifier", "client_secret", "refresh_token"];
    let mut secrets = Vec::new();
    if Kind::of(request) == Kind::Token {
        let pairs = pairs(request.body()).into_iter();
        let pairs = pairs.filter(|(name, _)| SECRET.contains(&&**name));
        secrets.extend(pairs.map(|(_, value)| value));
    }
    secrets.extend(basic_secrets(request.headers()).into_iter().flatten());
    secrets
}

fn basic_secrets(headers: &HeaderMap) -> Option<Vec<String>> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let encoded = value.split_once(' ')?.1.trim();
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let password = decoded.split_once(':')?.1.to_owned();
    Some(vec![encoded.to_owned(), decoded, password])
}

/// Parses a form.
fn pairs(form: &[u8]) -> Vec<(String, String)> {
    let form = String::from_utf8_lossy(form);
    // A URL's query has the same format.
    let url = Url::parse(&format!("http://form.invalid/?{form}"));
    url.map(|url| url.query_pairs().into_owned().collect())
        .unwrap_or_default()
}

fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => shown_url(&url, &[]),
        Err(_) => "an invalid URL".to_owned(),
    }
}

fn object(response: &Response<Vec<u8>>) -> Option<Map<String, Value>> {
    serde_json::from_slice(response.body()).ok()
}

fn replace(response: &mut Response<Vec<u8>>, object: Map<String, Value>) {
    *response.body_mut() = Value::Object(object).to_string().into_bytes();
}

/// Reads seconds from a number, or from a number written as text.
fn seconds(value: &Value) -> Option<u64> {
    if let Value::String(text) = value {
        let value: Value = serde_json::from_str(text.trim()).ok()?;
        return value.is_number().then(|| seconds(&value))?;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and a fraction of a second does not matter"
    )]
    let whole = |value: f64| value as u64;
    value.as_u64().or_else(|| value.as_f64().map(whole))
}

/// Reads a whole response.
async fn read_response(mut response: reqwest::Response) -> Result<Response<Vec<u8>>, String> {
    let mut builder = Response::builder().status(response.status());
    for (name, value) in response.headers() {
        builder = builder.header(name, value);
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                return Err(Refused::TooLarge.to_string());
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(_) => return Err("cut off its answer".to_owned()),
        }
    }
    builder.body(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_servers_resource_may_have_slashes_at_the_end() {
        let server = Url::parse("https://mcp.example/mcp?key=1").unwrap();
        let read = |stated: &str| read_as(stated, &server);
        for stated in [
            "https://mcp.example/mcp/",
            "https://mcp.example/mcp//",
            "https://MCP.example:443/mcp/",
        ] {
            assert_eq!(read(stated).as_deref(), Some("https://mcp.example/mcp"));
        }
        // rmcp decides about these.
        for stated in [
            "https://mcp.example/mcp",
            "https://mcp.example/",
            "https://mcp.example/other/",
            "https://evil.example/mcp/",
            "http://mcp.example/mcp/",
            "https://mcp.example:444/mcp/",
            "mcp",
        ] {
            assert_eq!(read(stated), None, "{stated}");
        }
    }

    #[test]
    fn seconds_are_read_from_numbers_and_from_text() {
        for value in [
            json!(3600),
            json!("3600"),
            json!(" 3600 "),
            json!(3600.7),
            json!("3600.0"),
        ] {
            assert_eq!(seconds(&value), Some(3600), "{value}");
        }
        for value in [
            json!(null),
            json!("soon"),
            json!({}),
            json!("\"3600\""),
            json!(""),
        ] {
            assert_eq!(seconds(&value), None, "{value}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_the_secrets_of_its_request() {
        let request = Request::builder()
            .method("POST")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, "Basic Y2lkOnMzY3JldCE=")
            .body(b"code=c0de-1&code_verifier=v%2B1%2F&client_secret=hunter2&a=b".to_vec())
            .unwrap();
        let secrets = secrets(&request);
        for secret in ["c0de-1", "v+1/", "hunter2", "s3cret!", "Y2lkOnMzY3JldCE="] {
            assert!(secrets.iter().any(|found| found == secret), "{secret}");
            let description = format!("bad {secret}");
            let error = oauth_error("invalid_grant", Some(&description), &secrets);
            assert!(!error.contains(secret), "{error}");
        }
        assert!(!secrets.contains(&"b".to_owned()));
    }
}
