//! Seals the `requestState` that the proxy hands to clients, so that only states it wrote itself are accepted.
//!
//! The gate knows what a state belongs to, and accepts each state once.
//!
//! SPEC 2026-07-28, multi round-trip requests: "servers MUST treat `requestState` as an
//! attacker-controlled input", and "MUST protect its integrity".

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::digest::CallDigest;

/// The longest upstream state that is wrapped, in bytes.
pub const MAX_UPSTREAM_STATE: usize = 1024 * 1024;
/// The longest state that is opened. JSON may write one byte as six, and base64 writes three bytes as four.
const MAX_STATE: usize = 16 * MAX_UPSTREAM_STATE;

/// The content of a state. The seal covers all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestState {
    /// 128 random bits in hex, unique to this state.
    pub nonce: String,
    /// The digest of the call that the state belongs to, in hex.
    pub call: String,
    /// When the state expires, in milliseconds since the proxy's start.
    pub expires_ms: u64,
    /// The upstream's own state, if this state wraps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
}

impl RequestState {
    /// Returns true if the state belongs to this call and has not expired.
    #[must_use]
    pub fn is_valid_for(&self, call: &CallDigest, now: Duration) -> bool {
        self.call == call.to_string() && now.as_millis() < u128::from(self.expires_ms)
    }
}

/// Seals states with keyed BLAKE3. The key dies with the process. rmcp's codec is not used because it reads the clock.
///
/// A sealed state is `PAYLOAD.SEAL`, both in base64.
pub struct Sealer {
    key: [u8; 32],
    /// Bound into every state, so that states of another server's proxy are rejected.
    server: String,
}

impl Sealer {
    /// Creates a sealer for one server. `seed` is 256 random bits that nobody else knows.
    #[must_use]
    pub fn new(seed: &[u8; 32], server: &str) -> Sealer {
        Sealer {
            // The seed has other uses. A derived key reveals nothing about them, and they reveal nothing about it.
            key: blake3::derive_key("approval-proxy 2026-11 request state", seed),
            server: server.to_owned(),
        }
    }

    /// Writes a state for the client to send back.
    #[must_use]
    pub fn seal(&self, state: &RequestState) -> String {
        // Serializing strings and a number cannot fail.
        let payload = serde_json::to_vec(state).unwrap_or_default();
        let mut sealed = URL_SAFE_NO_PAD.encode(&payload);
        sealed.push('.');
        URL_SAFE_NO_PAD.encode_string(self.seal_of(&payload).as_bytes(), &mut sealed);
        sealed
    }

    /// Reads a state that a client sent back. Returns `None` unless it is, byte for byte, what [`Sealer::seal`] wrote.
    #[must_use]
    pub fn open(&self, sealed: &str) -> Option<RequestState> {
        if sealed.len() > MAX_STATE {
            return None;
        }
        // This base64 decoder accepts only the one text that its encoder writes for the same bytes.
        let (payload, seal) = sealed.split_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let seal: [u8; 32] = URL_SAFE_NO_PAD.decode(seal).ok()?.try_into().ok()?;
        // `blake3::Hash` compares in constant time.
        if self.seal_of(&payload) != seal {
            return None;
        }
        serde_json::from_slice(&payload).ok()
    }

    fn seal_of(&self, payload: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // The length comes first, so no other pair of server and payload hashes the same bytes.
        hasher.update(&(self.server.len() as u64).to_le_bytes());
        hasher.update(self.server.as_bytes());
        hasher.update(payload);
        hasher.finalize()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mcp::tool::CallToolRequestParams;

    fn state(upstream: Option<&str>) -> RequestState {
        RequestState {
            nonce: "00112233445566778899aabbccddeeff".into(),
            call: digest("t").to_string(),
            expires_ms: 5,
            upstream: upstream.map(str::to_owned),
        }
    }

    fn digest(name: &str) -> CallDigest {
        let params = format!(r#"{{"name":"{name}"}}"#);
        CallDigest::of("db", &CallToolRequestParams::parse(&params).unwrap(), None)
    }

    #[test]
    fn only_sealed_states_can_be_opened() {
        let sealer = Sealer::new(&[1; 32], "db");
        for upstream in [None, Some(""), Some("their \"state\" é")] {
            let sealed = sealer.seal(&state(upstream));
            assert_eq!(sealer.open(&sealed), Some(state(upstream)));
            assert_eq!(Sealer::new(&[2; 32], "db").open(&sealed), None);
            assert_eq!(Sealer::new(&[1; 32], "x").open(&sealed), None);
            assert_eq!(sealer.open(sealed.strip_prefix(|_| true).unwrap()), None);
            assert_eq!(sealer.open(sealed.strip_suffix(|_| true).unwrap()), None);
            for appended in ["A", "=", ".", "\n"] {
                assert_eq!(sealer.open(&format!("{sealed}{appended}")), None);
            }
        }
        for text in ["", "x", ".", "..", "e30.", "e30.AAAA", "null", "{}"] {
            assert_eq!(sealer.open(text), None, "{text}");
        }
        assert_eq!(sealer.open(&"A".repeat(MAX_STATE + 1)), None);
        let worst = "\u{1}".repeat(MAX_UPSTREAM_STATE);
        let sealed = sealer.seal(&state(Some(&worst)));
        assert_eq!(sealer.open(&sealed).unwrap().upstream, Some(worst));
    }

    // Computed with the Python package `blake3`, an implementation of its own.
    #[test]
    fn a_sealed_state_is_what_another_implementation_computes() {
        let state = RequestState {
            call: "c0".to_owned(),
            ..state(Some("theirs"))
        };
        let sealed = "eyJub25jZSI6IjAwMTEyMjMzNDQ1NTY2Nzc4ODk5YWFiYmNjZGRlZWZmIiwiY2FsbCI6ImMwIiwiZXhwaXJlc19tcyI6NSwidXBzdHJl\
            YW0iOiJ0aGVpcnMifQ.dRjnnDUiyDqX1btjHSFy_z5nnM2o5yUw8JuKwFuCZQg";
        let sealer = Sealer::new(&[1; 32], "db");
        assert_eq!(sealer.seal(&state), sealed);
        assert_eq!(sealer.open(sealed), Some(state));
    }

    #[test]
    fn a_state_is_valid_for_its_call_until_it_expires() {
        let state = state(None);
        let at = Duration::from_millis;
        assert!(state.is_valid_for(&digest("t"), at(4)));
        assert!(!state.is_valid_for(&digest("t"), at(5)));
        assert!(!state.is_valid_for(&digest("u"), at(4)));
    }

    proptest! {
        #[test]
        fn any_changed_byte_breaks_the_seal(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9._-]") {
            let sealer = Sealer::new(&[1; 32], "db");
            let sealed = sealer.seal(&state(Some("theirs")));
            let at = at.index(sealed.len());
            let mut changed = sealed.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(sealer.open(&changed).is_some(), changed == sealed);
        }
    }
}
