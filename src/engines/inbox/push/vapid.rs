//! Identifies us to push services: RFC 8292, with one key pair for all of a user's proxies.
//!
//! Does no I/O except for loading the key. Sends nothing.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Url;
use reqwest::header::HeaderValue;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use crate::sys::state_dir::{StateDir, StoreError};

/// The file in the state folder with the private key, as PKCS#8.
const KEY_FILE: &str = "web-push.key";
/// How long a token is valid, in seconds: half of the most that RFC 8292 (section 2) allows, so that a push service
/// whose clock is late takes it too.
const VALID_S: i64 = 12 * 60 * 60;

/// The key pair with which we sign. A push service accepts messages to a subscription only with the key that the
/// subscription was made for (RFC 8292, section 4).
pub struct ApplicationServerKey(EcdsaKeyPair);

/// A token cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the token for the push service cannot be signed; check the system's random number generator"
)]
pub struct SignError;

impl ApplicationServerKey {
    /// Loads the key pair from the state folder. The first process that asks creates it.
    ///
    /// # Errors
    /// If the file `web-push.key` is exposed to others, is no such key, or cannot be read or created.
    pub fn load(state: &StateDir) -> Result<ApplicationServerKey, StoreError> {
        let generate = || {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                &SystemRandom::new(),
            );
            let pkcs8 = pkcs8.map_err(|_| io::Error::other("no key can be generated"))?;
            Ok(pkcs8.as_ref().to_vec())
        };
        state.private_key(KEY_FILE, generate, ApplicationServerKey::from_pkcs8)
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<ApplicationServerKey> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random);
        pair.ok().map(ApplicationServerKey)
    }

    /// Returns the public key as base64url: an uncompressed point. User agents subscribe with it as their
    /// `applicationServerKey`.
    #[must_use]
    pub fn public_key(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0.public_key())
    }

    /// Returns the value of the `Authorization` header for a request to a push resource: a token for its origin, and
    /// our public key (RFC 8292, sections 2 and 3). `contact` is an `https:` URL of ours.
    ///
    /// # Errors
    /// If there are no random bytes.
    pub fn authorization(
        &self,
        endpoint: &Url,
        contact: &str,
        now_ms: i64,
    ) -> Result<HeaderValue, SignError> {
        let claims = json!({
            "aud": endpoint.origin().unicode_serialization(),
            "exp": (now_ms / 1_000).saturating_add(VALID_S),
            "sub": contact,
        });
        let header = json!({"typ": "JWT", "alg": "ES256"});
        let part = |json: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| SignError)?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        let value = format!("vapid t={signed}.{signature}, k={}", self.public_key());
        let mut value = HeaderValue::try_from(value).map_err(|_| SignError)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for ApplicationServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApplicationServerKey")
            .field(&self.public_key())
            .finish()
    }
}
