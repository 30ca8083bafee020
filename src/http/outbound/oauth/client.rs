//! The HTTP client of a login. It says who we are, keeps to the addresses that a login may reach, and
//! evens out what authorization servers write differently from what rmcp reads.
//!
//! It also keeps what they said when they refused, for the person who waits.

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
/// How large a response may be.
const MAX_BODY: usize = 1024 * 1024;
/// How many redirects of a registration are followed, all on the same origin.
const MAX_REDIRECTS: usize = 5;
/// Where the environment names proxies.
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
    /// What the operator calls us, for the server itself.
    user_agent: Option<HeaderValue>,
    heard: Mutex<Heard>,
}

/// What came along, and is not in rmcp's words.
#[derive(Debug, Default)]
struct Heard {
    /// Why the last request came to nothing.
    trouble: Option<String>,
    /// How to ask to authenticate, in a registration.
    wanted_method: Option<String>,
    /// How a registration says that we authenticate at the token endpoint.
    method: Option<String>,
    /// What the server calls itself, and what rmcp believes so.
    resource: Option<(String, String)>,
}

/// Why a request was not made, or not answered.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("it is at an address that this login may not reach")]
    Address,
    #[error("its answer is larger than 1 MiB")]
    TooLarge,
}

impl LoginClient {
    /// For the server at `url`.
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
            heard: Mutex::default(),
        })
    }

    /// Why the last request came to nothing, in words.
    pub(super) fn trouble(&self) -> Option<String> {
        self.heard().trouble.clone()
    }

    /// Registers for this way to authenticate.
    pub(super) fn want_method(&self, method: Option<String>) {
        self.heard().wanted_method = method;
    }

    /// How a registration says that we authenticate.
    pub(super) fn method(&self) -> Option<String> {
        self.heard().method.clone()
    }

    /// The page to log in at, with the resource as the server calls itself.
    pub(super) fn with_resource(&self, page: Url) -> Url {
        let Some((stated, read)) = self.heard().resource.clone() else {
            return page;
        };
        let pairs: Vec<(String, String)> = page.query_pairs().into_owned().collect();
        let mut page = page;
        page.query_pairs_mut()
            .clear()
            .extend_pairs(pairs.iter().map(|pair| restated(pair, &stated, &read)));
        page
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.heard().trouble = None;
        let kind = Kind::of(&request);
        match kind {
            Kind::Discovery => {}
            Kind::Registration => self.ask_for_method(&mut request),
            Kind::Token => self.restate_resource(&mut request),
        }
        let secrets = secrets(&request);
        let url = request.uri().to_string();
        let sent = self.send(request, redirect_policy).await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                self.heard().trouble = Some(format!("{} {error}", shown(&url)));
                return Err(error.into());
            }
        };
        if !response.status().is_success() {
            self.heard().trouble = Some(self.refusal(&url, &response, &secrets));
            return Ok(response);
        }
        match kind {
            Kind::Discovery => self.even_out_discovery(&mut response),
            Kind::Registration => self.even_out_registration(&url, &mut response),
            Kind::Token => self.even_out_token(&url, &mut response),
        }
        Ok(response)
    }

    async fn send(
        &self,
        request: Request<Vec<u8>>,
        policy: OAuthHttpRedirectPolicy,
    ) -> Result<Response<Vec<u8>>, String> {
        let unmade = |error: reqwest::Error| format!("cannot be asked: {}", with_causes(&error));
        let mut request = reqwest::Request::try_from(request).map_err(unmade)?;
        for _ in 0..MAX_REDIRECTS {
            let is_server = request.url().origin() == self.server.origin();
            if let Some(name) = self.user_agent.as_ref().filter(|_| is_server) {
                request.headers_mut().insert(USER_AGENT, name.clone());
            }
            if !self.addresses.allow(request.url()) {
                return Err(format!("is not asked: {}", Failed::Address));
            }
            let again = request.try_clone();
            let from = request.url().clone();
            let sent = self.http.execute(request).await;
            // Not the error itself, which names the URL.
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
                _ => return whole(response).await,
            }
        }
        Err("redirects too often".to_owned())
    }

    /// What an authorization server says when it refuses.
    ///
    /// SPEC RFC 6749, section 5.2, and RFC 7591, section 3.2.2: `error` and `error_description`.
    fn refusal(&self, url: &str, response: &Response<Vec<u8>>, secrets: &[String]) -> String {
        let status = response.status();
        let body: Option<Map<String, Value>> = serde_json::from_slice(response.body()).ok();
        let text = |name: &str| body.as_ref()?.get(name)?.as_str();
        if let Some(error) = text("error") {
            return said(error, text("error_description"), secrets);
        }
        let mut words = format!("{} answered {status}", shown(url));
        let location = response.headers().get(reqwest::header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let location = location.and_then(|location| Url::parse(url).ok()?.join(location).ok());
        if let Some(location) = location.filter(|_| status.is_redirection()) {
            let location = shown_url(&location, secrets);
            words.push_str(&format!(
                " and redirects to {location}, which is not followed"
            ));
        }
        if let Some(said) = quoted(response.body(), secrets) {
            words.push_str(&format!("; it said: {said}"));
        }
        words
    }

    /// Servers call themselves with and without a slash at the end.
    fn even_out_discovery(&self, response: &mut Response<Vec<u8>>) {
        let Some(mut document) = object(response) else {
            return;
        };
        let stated = document.get("resource").and_then(Value::as_str);
        let Some(stated) = stated.map(str::to_owned) else {
            return;
        };
        if let Some(read) = read_as(&stated, &self.server) {
            document.insert("resource".to_owned(), Value::String(read.clone()));
            self.heard().resource = Some((stated, read));
            replace(response, document);
        }
    }

    fn even_out_registration(&self, url: &str, response: &mut Response<Vec<u8>>) {
        let Some(mut client) = object(response) else {
            self.heard().trouble = Some(format!("the answer of {} is no JSON object", shown(url)));
            return;
        };
        if !client.contains_key("client_id") {
            self.heard().trouble = Some(format!("the answer of {} has no `client_id`", shown(url)));
        }
        let method = client.get("token_endpoint_auth_method");
        self.heard().method = method.and_then(Value::as_str).map(str::to_owned);
        // RFC 7591 has servers repeat all that they registered, and some do not.
        if !client.get("redirect_uris").is_some_and(Value::is_array) {
            client.insert("redirect_uris".to_owned(), Value::Array(Vec::new()));
        }
        replace(response, client);
    }

    fn even_out_token(&self, url: &str, response: &mut Response<Vec<u8>>) {
        let Some(mut token) = object(response) else {
            // Not what it said: it may be a token.
            let kind = response.headers().get(CONTENT_TYPE);
            let kind = kind.map_or(&b"none"[..], HeaderValue::as_bytes);
            let kind = quoted(kind, &[]).unwrap_or_default();
            self.heard().trouble = Some(format!(
                "the answer of {} is no JSON object (content type {kind})",
                shown(url)
            ));
            return;
        };
        // GitHub, and others after it, say so with a 200.
        if let Some(error) = token.get("error").and_then(Value::as_str) {
            let description = token.get("error_description").and_then(Value::as_str);
            self.heard().trouble = Some(said(error, description, &[]));
            return;
        }
        if !token.contains_key("access_token") {
            self.heard().trouble = Some(format!(
                "the answer of {} has no `access_token`",
                shown(url)
            ));
        }
        if let Some(life) = token.get("expires_in") {
            match seconds(life) {
                Some(life) => token.insert("expires_in".to_owned(), Value::from(life)),
                // As good as none: the server says 401 when it is over.
                None => token.remove("expires_in"),
            };
        }
        // We can use no other type, and servers that leave it out mean this one.
        if token.get("token_type").is_none_or(Value::is_null) {
            token.insert("token_type".to_owned(), Value::from("Bearer"));
        }
        replace(response, token);
    }

    fn ask_for_method(&self, request: &mut Request<Vec<u8>>) {
        let Some(method) = self.heard().wanted_method.clone() else {
            return;
        };
        let body: Option<Map<String, Value>> = serde_json::from_slice(request.body()).ok();
        if let Some(mut body) = body {
            body.insert("token_endpoint_auth_method".to_owned(), Value::from(method));
            *request.body_mut() = Value::Object(body).to_string().into_bytes();
        }
    }

    fn restate_resource(&self, request: &mut Request<Vec<u8>>) {
        let Some((stated, read)) = self.heard().resource.clone() else {
            return;
        };
        let Ok(mut form) = Url::parse("http://form.invalid/") else {
            return;
        };
        let pairs = pairs(request.body());
        form.query_pairs_mut()
            .extend_pairs(pairs.iter().map(|pair| restated(pair, &stated, &read)));
        *request.body_mut() = form.query().unwrap_or_default().as_bytes().to_vec();
    }
}

impl OAuthHttpClient for LoginClient {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(self.answer(request))
    }
}

/// What rmcp asks for.
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

/// An error in the words of OAuth.
pub(super) fn said(error: &str, description: Option<&str>, secrets: &[String]) -> String {
    let quoted = |text: &str| quoted(text.as_bytes(), secrets);
    let error = quoted(error).unwrap_or_else(|| "an error without a name".to_owned());
    match description.and_then(quoted) {
        Some(description) => format!("{error}, {description}"),
        None => error,
    }
}

/// What rmcp is to read in place of what a server calls itself, where that differs from its URL in
/// slashes at the end only.
fn read_as(stated: &str, server: &Url) -> Option<String> {
    let mut url = Url::parse(stated).ok()?;
    let path = url.path().trim_end_matches('/').to_owned();
    let is_it = url.origin() == server.origin() && path == server.path().trim_end_matches('/');
    if !is_it || path == url.path() || path.is_empty() {
        return None;
    }
    url.set_path(&path);
    Some(url.into())
}

fn restated<'a>(
    (name, value): &'a (String, String),
    stated: &'a str,
    read: &str,
) -> (&'a str, &'a str) {
    let is_it = name == "resource" && value == read;
    (name, if is_it { stated } else { value })
}

/// What a request holds that its answer could repeat.
fn secrets(request: &Request<Vec<u8>>) -> Vec<String> {
    const SECRET: [&str; 4] = ["code", "code_verifier", "client_secret", "refresh_token"];
    let mut secrets = Vec::new();
    if Kind::of(request) == Kind::Token {
        let pairs = pairs(request.body()).into_iter();
        let pairs = pairs.filter(|(name, _)| SECRET.contains(&&**name));
        secrets.extend(pairs.map(|(_, value)| value));
    }
    secrets.extend(basic(request.headers()).into_iter().flatten());
    secrets
}

fn basic(headers: &HeaderMap) -> Option<Vec<String>> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let encoded = value.split_once(' ')?.1.trim();
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let password = decoded.split_once(':')?.1.to_owned();
    Some(vec![encoded.to_owned(), decoded, password])
}

/// What stands in a form.
fn pairs(form: &[u8]) -> Vec<(String, String)> {
    let form = String::from_utf8_lossy(form);
    // The query of a URL is a form.
    let url = Url::parse(&format!("http://form.invalid/?{form}"));
    url.map(|url| url.query_pairs().into_owned().collect())
        .unwrap_or_default()
}

fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => shown_url(&url, &[]),
        Err(_) => "what is no URL".to_owned(),
    }
}

fn object(response: &Response<Vec<u8>>) -> Option<Map<String, Value>> {
    serde_json::from_slice(response.body()).ok()
}

fn replace(response: &mut Response<Vec<u8>>, object: Map<String, Value>) {
    *response.body_mut() = Value::Object(object).to_string().into_bytes();
}

/// Seconds, however they are written.
fn seconds(value: &Value) -> Option<u64> {
    if let Value::String(text) = value {
        let value: Value = serde_json::from_str(text.trim()).ok()?;
        return value.is_number().then(|| seconds(&value))?;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and a fraction of a second is nothing"
    )]
    let whole = |value: f64| value as u64;
    value.as_u64().or_else(|| value.as_f64().map(whole))
}

/// The whole of a response.
async fn whole(mut response: reqwest::Response) -> Result<Response<Vec<u8>>, String> {
    let mut builder = Response::builder().status(response.status());
    for (name, value) in response.headers() {
        builder = builder.header(name, value);
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                return Err(Failed::TooLarge.to_string());
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(_) => return Err("broke off its answer".to_owned()),
        }
    }
    builder.body(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_server_may_write_its_name_with_a_slash_at_the_end() {
        let server = Url::parse("https://mcp.example/mcp?key=1").unwrap();
        let read = |stated: &str| read_as(stated, &server);
        for stated in [
            "https://mcp.example/mcp/",
            "https://mcp.example/mcp//",
            "https://MCP.example:443/mcp/",
        ] {
            assert_eq!(read(stated).as_deref(), Some("https://mcp.example/mcp"));
        }
        // These are rmcp's to judge.
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
    fn seconds_are_read_however_they_are_written() {
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
    fn what_is_sent_in_confidence_is_not_repeated() {
        let request = Request::builder()
            .method("POST")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, "Basic Y2lkOnMzY3JldCE=")
            .body(b"code=c0de-1&code_verifier=v%2B1%2F&client_secret=hunter2&a=b".to_vec())
            .unwrap();
        let secrets = secrets(&request);
        for secret in ["c0de-1", "v+1/", "hunter2", "s3cret!", "Y2lkOnMzY3JldCE="] {
            assert!(secrets.iter().any(|found| found == secret), "{secret}");
            let error = said("invalid_grant", Some(&format!("bad {secret}")), &secrets);
            assert!(!error.contains(secret), "{error}");
        }
        assert!(!secrets.contains(&"b".to_owned()));
    }
}
