//! Encrypts push messages for a user agent: RFC 8291, in the content coding `aes128gcm` of RFC 8188.
//!
//! Does no I/O except for drawing random bytes, and does not know what a message says.

use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::{aead, hkdf};

use super::subscription::{AUTH_LEN, PUBLIC_KEY_LEN, Subscription};
use crate::sys::clock::random_seed;

/// The `Content-Encoding` of what [`encrypt`] returns.
pub const CONTENT_ENCODING: &str = "aes128gcm";

/// The longest message, in bytes.
pub(super) const MAX_MESSAGE: usize = 2047;
/// The length of a message with delimiter and padding. It is the same for all, so that the push service does not learn
/// from it which call waits. The body stays below the 4,096 bytes that every push service takes (RFC 8030, section 7.2).
const PADDED: usize = MAX_MESSAGE + DELIMITER_LEN;
/// The `rs` of the header: more than any record of ours has, because there is just one (RFC 8291, section 4).
const RECORD_SIZE: u32 = 4096;
/// Follows the plaintext of the last record (RFC 8188, section 2).
const LAST_RECORD: u8 = 0x02;
const DELIMITER_LEN: usize = 1;

/// The length of the salt (RFC 8188, section 2.1).
pub(super) const SALT_LEN: usize = 16;
/// The length of the input keying material for the content coding (RFC 8291, section 3.4).
const IKM_LEN: usize = 32;
/// The length of the content-encryption key.
const CEK_LEN: usize = 16;

/// Why a message cannot be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// It does not fit.
    #[error("the push message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    /// The system provides no random bytes, or the subscription's key is unusable.
    #[error("the push message cannot be encrypted; check the system's random number generator")]
    Failed,
}

impl From<Unspecified> for EncryptError {
    fn from(_: Unspecified) -> EncryptError {
        EncryptError::Failed
    }
}

/// Encrypts a message for the user agent that has subscribed, with a key pair and a salt that are used only once
/// (RFC 8291, section 3). Returns the body of the request; all bodies have the same length.
///
/// # Errors
/// If the message is too long, or there are no random bytes.
pub fn encrypt(subscription: &Subscription, message: &[u8]) -> Result<Vec<u8>, EncryptError> {
    let as_private = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new())?;
    let as_public = as_private.compute_public_key()?;
    let seed = random_seed().map_err(|_| EncryptError::Failed)?;
    let (salt, _) = seed
        .split_first_chunk::<SALT_LEN>()
        .ok_or(EncryptError::Failed)?;
    let ua_public = subscription.user_agent_public_key();
    let peer = UnparsedPublicKey::new(&ECDH_P256, ua_public);
    let ikm = agree_ephemeral(as_private, &peer, |ecdh_secret| {
        input_keying_material(
            ecdh_secret,
            subscription.authentication_secret(),
            ua_public,
            as_public.as_ref(),
        )
    })??;
    encode(&ikm, salt, as_public.as_ref(), message, PADDED)
}

/// Combines the shared secret with the authentication secret and both public keys (RFC 8291, section 3.4).
pub(super) fn input_keying_material(
    ecdh_secret: &[u8],
    auth_secret: &[u8; AUTH_LEN],
    ua_public: &[u8; PUBLIC_KEY_LEN],
    as_public: &[u8],
) -> Result<[u8; IKM_LEN], Unspecified> {
    let key_info: [&[u8]; 3] = [b"WebPush: info\0", ua_public, as_public];
    derive(auth_secret, ecdh_secret, &key_info)
}

/// Derives the content-encryption key and the nonce of the first record (RFC 8188, sections 2.2 and 2.3).
pub(super) fn key_and_nonce(
    ikm: &[u8],
    salt: &[u8; SALT_LEN],
) -> Result<([u8; CEK_LEN], [u8; aead::NONCE_LEN]), Unspecified> {
    let key = derive(salt, ikm, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce = derive(salt, ikm, &[b"Content-Encoding: nonce\0"])?;
    Ok((key, nonce))
}

/// Returns the header and the only record, whose plaintext is padded to `padded` bytes (RFC 8188, section 2).
pub(super) fn encode(
    ikm: &[u8],
    salt: &[u8; SALT_LEN],
    key_id: &[u8],
    message: &[u8],
    padded: usize,
) -> Result<Vec<u8>, EncryptError> {
    if message.len() + DELIMITER_LEN > padded {
        return Err(EncryptError::TooLong);
    }
    let mut record = message.to_vec();
    record.push(LAST_RECORD);
    record.resize(padded, 0);

    let (key, nonce) = key_and_nonce(ikm, salt)?;
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key)?);
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut record)?;

    let id_len = u8::try_from(key_id.len()).map_err(|_| EncryptError::Failed)?;
    let header: [&[u8]; 4] = [salt, &RECORD_SIZE.to_be_bytes(), &[id_len], key_id];
    let mut body = header.concat();
    body.append(&mut record);
    Ok(body)
}

/// HKDF with SHA-256 (RFC 5869).
fn derive<const LEN: usize>(
    salt: &[u8],
    ikm: &[u8],
    info: &[&[u8]],
) -> Result<[u8; LEN], Unspecified> {
    let mut out = [0; LEN];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(ikm);
    prk.expand(info, OutputLen(LEN))?.fill(&mut out)?;
    Ok(out)
}

/// How many bytes HKDF returns.
struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}
