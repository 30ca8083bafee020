//! A user agent that decrypts push messages, written from RFC 8291 and RFC 8188 without the code under test.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::{aead, hmac};

use super::p256::shared_secret;
use crate::engines::inbox::push::Subscription;

/// The user agent's keys of RFC 8291, appendix A.
pub(in crate::engines::inbox) const UA_PRIVATE: &str =
    "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
pub(in crate::engines::inbox) const UA_PUBLIC: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
pub(in crate::engines::inbox) const AUTH_SECRET: &str = "BTBZMqHH6r4Tts7J_aSIgg";

pub(in crate::engines::inbox) fn bytes<T: TryFrom<Vec<u8>>>(base64: &str) -> T {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(base64).unwrap();
    T::try_from(bytes).ok().unwrap()
}

/// Returns the user agent's subscription at an endpoint.
pub(in crate::engines::inbox) fn subscription(endpoint: &str) -> Subscription {
    let keys = serde_json::json!({"p256dh": UA_PUBLIC, "auth": AUTH_SECRET});
    let json = serde_json::json!({"endpoint": endpoint, "expirationTime": null, "keys": keys});
    Subscription::from_json(json.to_string().as_bytes()).unwrap()
}

/// Decrypts the body of a push message with one record. Returns the plaintext and the number of padding bytes.
pub(in crate::engines::inbox) fn decrypt(body: &[u8]) -> (Vec<u8>, usize) {
    // salt (16), rs (4), idlen (1), keyid (idlen), record: RFC 8188, section 2.1.
    let (salt, rest) = body.split_at(16);
    let (record_size, rest) = rest.split_at(4);
    let (as_public, record) = rest[1..].split_at(usize::from(rest[0]));
    let record_size = u32::from_be_bytes(record_size.try_into().unwrap());
    assert!(record.len() <= usize::try_from(record_size).unwrap());

    let private: Vec<u8> = bytes(UA_PRIVATE);
    let secret = shared_secret(&private, as_public);
    let (public, auth): (Vec<u8>, Vec<u8>) = (bytes(UA_PUBLIC), bytes(AUTH_SECRET));
    let ikm = hkdf(
        &auth,
        &secret,
        &[b"WebPush: info\0", &public[..], as_public].concat(),
        32,
    );
    let key = hkdf(salt, &ikm, b"Content-Encoding: aes128gcm\0", 16);
    let nonce = hkdf(salt, &ikm, b"Content-Encoding: nonce\0", 12);

    let key = aead::UnboundKey::new(&aead::AES_128_GCM, &key).unwrap();
    let nonce = aead::Nonce::try_assume_unique_for_key(&nonce).unwrap();
    let mut record = record.to_vec();
    let padded = aead::LessSafeKey::new(key)
        .open_in_place(nonce, aead::Aad::empty(), &mut record)
        .unwrap();
    // Zeros after the delimiter of the last record, which is 2: RFC 8188, section 2.
    let end = padded.iter().rposition(|byte| *byte != 0).unwrap();
    assert_eq!(padded[end], 2);
    (padded[..end].to_vec(), padded.len() - end - 1)
}

/// One block of HKDF, which is enough for up to 32 bytes: RFC 5869, sections 2.2 and 2.3.
fn hkdf(salt: &[u8], ikm: &[u8], info: &[u8], length: usize) -> Vec<u8> {
    let mac = |key: &[u8], data: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, data).as_ref().to_vec()
    };
    let prk = mac(salt, ikm);
    let mut block = mac(&prk, &[info, &[1]].concat());
    block.truncate(length);
    block
}
