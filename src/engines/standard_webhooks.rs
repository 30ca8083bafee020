//! Signs and checks messages as the Standard Webhooks specification says, with a shared secret.
//!
//! Pure: the caller brings the time, and remembers which messages have counted.
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>, "Verifying webhook
//! authenticity". Keys of the asymmetric scheme (`whsk_`, `v1a`) are not supported.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use ring::hmac;

/// The header with the message's id, which stays the same when the message is sent again.
pub(super) const ID: &str = "webhook-id";
/// The header with the time of sending, in seconds since 1970, UTC.
pub(super) const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures, separated by spaces.
pub(super) const SIGNATURE: &str = "webhook-signature";

/// How far the time of sending may be from ours, in seconds, in either direction.
pub(super) const TOLERANCE_S: i64 = 5 * 60;
/// The shortest and the longest secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// The longest id, in bytes.
const MAX_ID: usize = 256;
/// How many signatures of one message are compared.
const MAX_SIGNATURES: usize = 16;

/// Begins a secret in the configuration.
const PREFIX: &str = "whsec_";
/// Begins a signature.
const VERSION: &str = "v1,";

/// Accepts secrets with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A shared secret.
#[derive(Clone)]
pub(super) struct SigningKey(hmac::Key);

/// Why a text is no secret. Does not quote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadKey {
    /// Not base64.
    #[error(
        "is not `whsec_` followed by base64; `echo whsec_$(openssl rand -base64 32)` makes a good one"
    )]
    NotBase64,
    /// Too short or too long.
    #[error(
        "has {0} bytes once decoded, and needs from 24 to 64; `echo whsec_$(openssl rand -base64 32)` makes a good one"
    )]
    Length(usize),
}

/// Why a message is not known to be from somebody who has the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadSignature {
    /// A header is missing, or there twice, or has a value that it cannot have.
    Headers,
    /// It was sent too long ago, or will be sent in the future.
    Time,
    /// No signature is right.
    Wrong,
}

impl BadSignature {
    /// Returns the text for the sender.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            BadSignature::Headers => {
                "the headers webhook-id, webhook-timestamp and webhook-signature are missing or malformed"
            }
            BadSignature::Time => {
                "the webhook-timestamp is more than five minutes away from our clock"
            }
            BadSignature::Wrong => "the webhook-signature is wrong",
        }
    }
}

/// The signed headers of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    /// The message's id.
    pub(super) id: String,
    /// When it was sent, in seconds since 1970, UTC.
    pub(super) timestamp: i64,
}

impl SigningKey {
    /// Reads a secret from the configuration: `whsec_` and 24 to 64 bytes in base64.
    pub(super) fn read(text: &str) -> Result<SigningKey, BadKey> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).ok_or(BadKey::NotBase64)?;
        let bytes = LENIENT.decode(encoded).map_err(|_| BadKey::NotBase64)?;
        match SECRET_BYTES.contains(&bytes.len()) {
            true => Ok(SigningKey(hmac::Key::new(hmac::HMAC_SHA256, &bytes))),
            false => Err(BadKey::Length(bytes.len())),
        }
    }

    /// Returns the value of `webhook-signature`. The id must not contain a full stop.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let tag = hmac::sign(&self.0, &content(id, timestamp, body));
        format!("{VERSION}{}", BASE64_STANDARD.encode(tag))
    }

    /// Checks the values of the three headers. `now_s` is in seconds since 1970, UTC.
    pub(super) fn verify(
        &self,
        [id, timestamp, signatures]: [Option<&str>; 3],
        body: &[u8],
        now_s: i64,
    ) -> Result<Signed, BadSignature> {
        let (Some(id), Some(timestamp), Some(signatures)) = (id, timestamp, signatures) else {
            return Err(BadSignature::Headers);
        };
        // The specification warns of ids with full stops: the signed content could be read in two ways.
        let is_id = |b: u8| b.is_ascii_graphic() && b != b'.';
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(is_id) {
            return Err(BadSignature::Headers);
        }
        if timestamp.is_empty() || !timestamp.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadSignature::Headers);
        }
        let sent: i64 = timestamp.parse().map_err(|_| BadSignature::Headers)?;
        // What was signed is the number as it was written, and ours has no leading zeros.
        if timestamp.len() > 1 && timestamp.starts_with('0') {
            return Err(BadSignature::Headers);
        }
        let content = content(id, sent, body);
        let is_right = |signature: &str| {
            let encoded = signature.strip_prefix(VERSION);
            let tag = encoded.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
            // Takes the same time wherever the difference is.
            tag.is_some_and(|tag| hmac::verify(&self.0, &content, &tag).is_ok())
        };
        if !signatures.split(' ').take(MAX_SIGNATURES).any(is_right) {
            return Err(BadSignature::Wrong);
        }
        if now_s.abs_diff(sent) > TOLERANCE_S.unsigned_abs() {
            return Err(BadSignature::Time);
        }
        Ok(Signed {
            id: id.to_owned(),
            timestamp: sent,
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Returns what is signed.
fn content(id: &str, timestamp: i64, body: &[u8]) -> Vec<u8> {
    let mut content = format!("{id}.{timestamp}.").into_bytes();
    content.extend_from_slice(body);
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the specification's own libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const MESSAGE: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SENT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const RIGHT: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn key() -> SigningKey {
        SigningKey::read(SECRET).unwrap()
    }

    fn verify(
        id: &str,
        timestamp: &str,
        signature: &str,
        now_s: i64,
    ) -> Result<Signed, BadSignature> {
        let headers = [Some(id), Some(timestamp), Some(signature)];
        key().verify(headers, BODY, now_s)
    }

    #[test]
    fn the_published_vector_is_signed_and_verified() {
        assert_eq!(key().sign(MESSAGE, SENT, BODY), RIGHT);
        let signed = verify(MESSAGE, "1614265330", RIGHT, SENT).unwrap();
        assert_eq!((signed.id.as_str(), signed.timestamp), (MESSAGE, SENT));
    }

    #[test]
    fn one_right_signature_among_several_is_enough() {
        let others = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= \
             v2,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";
        let several = format!("{others} {RIGHT} v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=");
        assert!(verify(MESSAGE, "1614265330", &several, SENT).is_ok());
        assert_eq!(
            verify(MESSAGE, "1614265330", others, SENT),
            Err(BadSignature::Wrong)
        );
        // Nobody needs to compare thousands.
        let many = format!("{}{RIGHT}", "v1,AA== ".repeat(10_000));
        assert!(verify(MESSAGE, "1614265330", &many, SENT).is_err());
    }

    #[test]
    fn anything_else_is_refused() {
        let asymmetric = RIGHT.replace("v1,", "v1a,");
        let upper = RIGHT.replace("v1,", "V1,");
        let bare = RIGHT.replace("v1,", "");
        let changed = RIGHT.replace("g0h", "g0H");
        for wrong in ["", " ", "v1,", "v1, ", &asymmetric, &upper, &bare, &changed] {
            let found = verify(MESSAGE, "1614265330", wrong, SENT);
            assert_eq!(found, Err(BadSignature::Wrong), "{wrong:?}");
        }
        let other_id = verify("msg_other", "1614265330", RIGHT, SENT);
        assert_eq!(other_id, Err(BadSignature::Wrong));
        let other_time = verify(MESSAGE, "1614265331", RIGHT, SENT);
        assert_eq!(other_time, Err(BadSignature::Wrong));
        let long = "m".repeat(257);
        for (id, timestamp) in [
            ("", "1614265330"),
            ("a.b", "1614265330"),
            ("a b", "1614265330"),
            (long.as_str(), "1614265330"),
            (MESSAGE, ""),
            (MESSAGE, "-1614265330"),
            (MESSAGE, "+1614265330"),
            (MESSAGE, "01614265330"),
            (MESSAGE, "1614265330.0"),
            (MESSAGE, "99999999999999999999999"),
            (MESSAGE, "now"),
        ] {
            let found = verify(id, timestamp, RIGHT, SENT);
            assert_eq!(found, Err(BadSignature::Headers), "{id:?} {timestamp:?}");
        }
        for missing in 0..3 {
            let mut headers = [Some(MESSAGE), Some("1614265330"), Some(RIGHT)];
            headers[missing] = None;
            let found = key().verify(headers, BODY, SENT);
            assert_eq!(found, Err(BadSignature::Headers));
        }
    }

    #[test]
    fn five_minutes_are_tolerated_in_both_directions() {
        for (now_s, is_fine) in [
            (SENT - 301, false),
            (SENT - 300, true),
            (SENT + 300, true),
            (SENT + 301, false),
            (i64::MIN, false),
            (i64::MAX, false),
        ] {
            let found = verify(MESSAGE, "1614265330", RIGHT, now_s);
            assert_eq!(found.is_ok(), is_fine, "{now_s}");
        }
    }

    #[test]
    fn no_full_stop_moves_between_the_parts() {
        // "a.1.2.x" could be id "a", time 1 and body "2.x", or id "a.1", time 2 and body "x".
        let signature = key().sign("a", SENT, b"2.x");
        let moved = format!("a.{SENT}");
        let headers = [Some(moved.as_str()), Some("2"), Some(signature.as_str())];
        assert_eq!(
            key().verify(headers, b"x", SENT),
            Err(BadSignature::Headers)
        );
    }

    #[test]
    fn a_secret_has_the_prefix_and_from_24_to_64_bytes() {
        let with = |bytes: usize| format!("whsec_{}", BASE64_STANDARD.encode(vec![7; bytes]));
        for (bytes, is_fine) in [(23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(SigningKey::read(&with(bytes)).is_ok(), is_fine, "{bytes}");
        }
        let unpadded = with(25);
        assert!(SigningKey::read(unpadded.trim_end_matches('=')).is_ok());
        for bad in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_????????????????????????????????",
            "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            let error = SigningKey::read(bad).unwrap_err().to_string();
            let quoted = bad.get(6..).filter(|rest| error.contains(rest));
            assert!(quoted.is_none_or(str::is_empty), "{error}");
        }
        assert_eq!(format!("{:?}", key()), "***");
    }
}
