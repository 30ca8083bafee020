//! The settings for sending that all engines share, and the URLs that engines may use.

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::engines::inbox::remote::PageUrl;
use crate::engines::registry::BadOptions;
use crate::gate::Retry;
use crate::sys::net::is_loopback;
use crate::sys::secret::Secret;

/// The most headers that an engine may send in addition to our own.
const MAX_HEADERS: usize = 32;

/// How engines send.
#[derive(Debug, Clone)]
pub struct TransportSettings {
    /// How often a failed exchange is tried again, and after which pauses.
    pub retry: Retry,
    /// The statuses after which an exchange is tried again.
    pub retryable_statuses: Vec<u16>,
    /// Whether plain `http:` may leave this machine.
    pub allow_insecure_http: bool,
    /// The only hosts that may be contacted, in lower case; all if empty.
    pub allowed_hosts: Vec<String>,
    /// Sent as `Authorization: Bearer`, unless the engine has a credential of its own.
    pub auth_token: Option<Secret>,
    /// What links to the inbox's page say; `None` for its address on this machine.
    pub page_url: Option<PageUrl>,
}

/// The statuses after which an exchange is tried again by default.
const RETRYABLE: [u16; 8] = [408, 409, 425, 429, 500, 502, 503, 504];

impl Default for TransportSettings {
    fn default() -> TransportSettings {
        TransportSettings {
            retry: Retry::default(),
            retryable_statuses: RETRYABLE.to_vec(),
            allow_insecure_http: false,
            allowed_hosts: Vec::new(),
            auth_token: None,
            page_url: None,
        }
    }
}

/// Whether an engine may use plain `http:` beyond this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engines) enum PlainHttp {
    /// Only if the operator allows it for all engines.
    IfAllowed,
    /// Only if its messages are signed, too. They are not, and the words say what is missing.
    Unsigned(&'static str),
}

/// The host under which a container reaches its machine.
const DOCKER_HOST: &str = "host.docker.internal";

/// Reads the URL in the option `key`. It must be `https:`, or plain `http:` where that is allowed.
///
/// # Errors
/// Says what is wrong, and quotes at most the host: the rest may contain a token.
pub(in crate::engines) fn check_url(
    key: &str,
    text: &str,
    transport: &TransportSettings,
    plain: PlainHttp,
) -> Result<Url, BadOptions> {
    let bad = |why: String| Err(BadOptions(format!("`{key}` {why}")));
    let Ok(mut url) = Url::parse(text) else {
        return bad("is not a URL".to_owned());
    };
    if !matches!(url.scheme(), "https" | "http") {
        return bad("must begin with `https://` or `http://`".to_owned());
    }
    let Some(host) = url.host_str().map(str::to_owned) else {
        return bad("has no host".to_owned());
    };
    if !url.username().is_empty() || url.password().is_some() {
        return bad(
            "contains a user name or a password; send credentials in a header instead".to_owned(),
        );
    }
    let is_near = is_loopback(&host) || host == DOCKER_HOST;
    if url.scheme() == "http" && !is_near {
        let missing = match (transport.allow_insecure_http, plain) {
            (false, _) => Some("`approvalAllowInsecureHttp`"),
            (true, PlainHttp::Unsigned(missing)) => Some(missing),
            (true, PlainHttp::IfAllowed) => None,
        };
        if let Some(missing) = missing {
            return bad(format!(
                "is plain http: to `{host}`, which is not a loopback address; use https:, or set {missing}"
            ));
        }
    }
    check_host(key, &host, transport)?;
    url.set_fragment(None);
    Ok(url)
}

/// Checks that the host in the option `key` may be contacted. An IPv6 address is in brackets.
///
/// # Errors
/// If others are allowed, and this one is not. Quotes it.
pub(in crate::engines) fn check_host(
    key: &str,
    host: &str,
    transport: &TransportSettings,
) -> Result<(), BadOptions> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let bare = bare.unwrap_or(host);
    let allowed = &transport.allowed_hosts;
    match allowed.is_empty() || allowed.iter().any(|host| host.eq_ignore_ascii_case(bare)) {
        true => Ok(()),
        false => Err(BadOptions(format!(
            "`{key}` has the host `{bare}`, which is not among `approvalAllowedHosts`"
        ))),
    }
}

/// Headers that only we set, because they decide how a message is read.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads the headers in the option `key`. Marks all of them as sensitive.
///
/// # Errors
/// Names a header that cannot be sent, but not its value.
pub(in crate::engines) fn read_headers(
    key: &str,
    headers: &Map<String, Value>,
) -> Result<HeaderMap, BadOptions> {
    if headers.len() > MAX_HEADERS {
        return Err(BadOptions(format!(
            "`{key}` has more than {MAX_HEADERS} headers"
        )));
    }
    let mut read = HeaderMap::new();
    for (name, value) in headers {
        let bad = |why: &str| BadOptions(format!("`{key}`: the header `{name}` {why}"));
        let known = HeaderName::try_from(name).map_err(|_| bad("has an invalid name"))?;
        let is_ours = known.as_str().starts_with("webhook-");
        if is_ours || RESERVED.contains(&known.as_str()) {
            return Err(bad("is set by approval-proxy"));
        }
        let Value::String(value) = value else {
            return Err(bad("must have a string as its value"));
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| {
            bad("has a value with characters that no header can have, such as a line break")
        })?;
        value.set_sensitive(true);
        if read.insert(known, value).is_some() {
            return Err(bad("is there twice; names of headers are case-insensitive"));
        }
    }
    Ok(read)
}
