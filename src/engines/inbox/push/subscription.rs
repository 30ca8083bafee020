//! A push message subscription, as a browser describes it.
//!
//! Checks what it says. Does not ask the push service whether it exists.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Url;
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use serde::Deserialize;
use serde_json::json;

use crate::engines::http::origin;
use crate::sys::net::is_public_address;

/// The longest JSON that is read, in bytes.
const MAX_JSON: usize = 4096;
/// The longest URL of a push resource, in bytes.
const MAX_ENDPOINT: usize = 2048;
/// The length of a user agent's public key: an uncompressed point of P-256 (RFC 8291, section 3.1).
pub(super) const PUBLIC_KEY_LEN: usize = 65;
/// The length of an authentication secret (RFC 8291, section 3.2).
pub(super) const AUTH_LEN: usize = 16;
/// Begins an uncompressed point.
const UNCOMPRESSED: u8 = 0x04;

/// Where the push service takes messages for one user agent, and what they are encrypted with.
///
/// Everybody who knows the endpoint and has our key may send to it, so `Debug` shows only its origin.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The push resource (RFC 8030, section 2).
    endpoint: Url,
    p256dh: [u8; PUBLIC_KEY_LEN],
    auth: [u8; AUTH_LEN],
}

/// Why a text is no subscription. Does not quote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSubscription {
    /// Too much text.
    #[error("the push subscription is longer than {MAX_JSON} bytes")]
    TooLong,
    /// Not what `PushSubscription.toJSON()` returns.
    #[error("the push subscription is not JSON with `endpoint`, `keys.p256dh` and `keys.auth`")]
    NotJson,
    /// No endpoint that we may send to.
    #[error("the push subscription's `endpoint` {0}")]
    Endpoint(&'static str),
    /// No public key.
    #[error("the push subscription's `keys.p256dh` {0}")]
    PublicKey(&'static str),
    /// No authentication secret.
    #[error("the push subscription's `keys.auth` is not {AUTH_LEN} bytes of base64url")]
    AuthenticationSecret,
}

/// The members of `PushSubscriptionJSON` (<https://www.w3.org/TR/push-api/#pushsubscription-interface>). Others, such as
/// `expirationTime`, are of no use to us: the push service says when a subscription is gone.
#[derive(Deserialize)]
struct Written {
    endpoint: String,
    keys: Keys,
}

#[derive(Deserialize)]
struct Keys {
    p256dh: String,
    auth: String,
}

impl Subscription {
    /// Reads what a browser's `PushSubscription.toJSON()` returns.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn from_json(json: &[u8]) -> Result<Subscription, BadSubscription> {
        if json.len() > MAX_JSON {
            return Err(BadSubscription::TooLong);
        }
        let written: Written =
            serde_json::from_slice(json).map_err(|_| BadSubscription::NotJson)?;
        let auth = bytes(&written.keys.auth).ok_or(BadSubscription::AuthenticationSecret)?;
        Ok(Subscription {
            endpoint: read_endpoint(&written.endpoint).map_err(BadSubscription::Endpoint)?,
            p256dh: read_public_key(&written.keys.p256dh).map_err(BadSubscription::PublicKey)?,
            auth,
        })
    }

    /// Returns JSON that [`Subscription::from_json`] reads. It contains a secret.
    #[must_use]
    pub fn to_json(&self) -> String {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let keys = json!({"p256dh": encode(&self.p256dh), "auth": encode(&self.auth)});
        json!({"endpoint": self.endpoint.as_str(), "keys": keys}).to_string()
    }

    /// Returns the URL of the push resource.
    #[must_use]
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Returns the user agent's public key.
    pub(super) fn user_agent_public_key(&self) -> &[u8; PUBLIC_KEY_LEN] {
        &self.p256dh
    }

    /// Returns the secret that the user agent shares with us, but not with the push service.
    pub(super) fn authentication_secret(&self) -> &[u8; AUTH_LEN] {
        &self.auth
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("origin", &origin(&self.endpoint))
            .finish_non_exhaustive()
    }
}

fn read_endpoint(text: &str) -> Result<Url, &'static str> {
    if text.len() > MAX_ENDPOINT {
        return Err("is longer than 2,048 bytes");
    }
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    if url.scheme() != "https" {
        return Err("does not begin with `https://`");
    }
    // What is sent is the URL as it was parsed, and that may be longer.
    if url.as_str().len() > MAX_ENDPOINT {
        return Err("is longer than 2,048 bytes");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("contains a user name or a password");
    }
    if url.fragment().is_some() {
        return Err("contains a `#`");
    }
    match address_in(&url) {
        Some(address) if !is_public_address(address) => {
            Err("is at an address that the public Internet does not have")
        }
        Some(_) | None => Ok(url),
    }
}

/// Returns the address in a URL whose host is no name. Such an address is never looked up.
pub(super) fn address_in(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

fn read_public_key(text: &str) -> Result<[u8; PUBLIC_KEY_LEN], &'static str> {
    const NO_KEY: &str = "is not 65 bytes of base64url that begin with 4: an uncompressed point";
    let key: [u8; PUBLIC_KEY_LEN] = bytes(text).ok_or(NO_KEY)?;
    if key.first() != Some(&UNCOMPRESSED) {
        return Err(NO_KEY);
    }
    // Agreeing is how ring checks that a point is on the curve.
    let trial = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
    let trial = trial.map_err(|_| "cannot be checked without random bytes")?;
    agree_ephemeral(trial, &UnparsedPublicKey::new(&ECDH_P256, key), |_| ())
        .map_err(|_| "is not a point of the curve P-256")?;
    Ok(key)
}

fn bytes<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}
