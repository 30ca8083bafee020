//! Encryption, against the examples of RFC 8188 and RFC 8291, and against a user agent.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::p256::shared_secret;
use super::user_agent::{AUTH_SECRET, UA_PRIVATE, UA_PUBLIC, bytes, decrypt, subscription};
use crate::engines::inbox::push::encrypt::{
    EncryptError, MAX_MESSAGE, encode, encrypt, input_keying_material, key_and_nonce,
};

/// RFC 8291, appendix A.
const PLAINTEXT: &[u8] = b"When I grow up, I want to be a watermelon";
const AS_PRIVATE: &str = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
const AS_PUBLIC: &str =
    "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
const SALT: &str = "DGv6ra1nlYgDCS1FRnbzlw";
const ECDH_SECRET: &str = "kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs";
const IKM: &str = "S4lYMb_L0FxCeq0WhDx813KgSYqU26kOyzWUdsXYyrg";
const CEK: &str = "oIhVW04MRdy2XN9CiKLxTg";
const NONCE: &str = "4h_95klXJ5E_qnoN";
/// RFC 8291, section 5.
const BODY: &str = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn the_example_of_rfc_8291_is_encrypted_byte_for_byte() {
    // ring agrees only with keys of its own making, so the agreement of the example is computed here.
    let (as_private, ua_private): (Vec<u8>, Vec<u8>) = (bytes(AS_PRIVATE), bytes(UA_PRIVATE));
    let (as_public, ua_public): (Vec<u8>, Vec<u8>) = (bytes(AS_PUBLIC), bytes(UA_PUBLIC));
    let secret = shared_secret(&as_private, &ua_public);
    assert_eq!(base64(secret), ECDH_SECRET);
    assert_eq!(shared_secret(&ua_private, &as_public), secret);

    let (auth, ua_public, salt) = (bytes(AUTH_SECRET), bytes(UA_PUBLIC), bytes(SALT));
    let ikm = input_keying_material(&secret, &auth, &ua_public, &as_public).unwrap();
    assert_eq!(base64(ikm), IKM);
    let (key, nonce) = key_and_nonce(&ikm, &salt).unwrap();
    assert_eq!((base64(key), base64(nonce)), (CEK.into(), NONCE.into()));
    let padded = PLAINTEXT.len() + 1;
    let body = encode(&ikm, &salt, &as_public, PLAINTEXT, padded).unwrap();
    assert_eq!(base64(body), BODY);
}

#[test]
fn the_user_agent_of_these_tests_decrypts_the_example_of_rfc_8291() {
    let body: Vec<u8> = bytes(BODY);
    assert_eq!(decrypt(&body), (PLAINTEXT.to_vec(), 0));
}

#[test]
fn the_example_of_rfc_8188_with_one_record_is_encoded_byte_for_byte() {
    // Section 3.1. Section 3.2 has two records; push messages have one.
    let ikm: Vec<u8> = bytes("yqdlZ-tYemfogSmv7Ws5PQ");
    let salt = bytes("I1BsxtFttlv3u_Oo94xnmw");
    let body = encode(&ikm, &salt, b"", b"I am the walrus", 16).unwrap();
    assert_eq!(
        base64(body),
        "I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg"
    );
}

#[test]
fn a_user_agent_decrypts_what_is_encrypted_for_it() {
    let subscription = subscription("https://push.example/1");
    for message in [&b"{}"[..], "\u{0}é\u{0}".as_bytes(), &[b'x'; MAX_MESSAGE]] {
        let body = encrypt(&subscription, message).unwrap();
        assert_eq!(decrypt(&body).0, message);
    }
}

#[test]
fn all_messages_have_the_same_length_which_every_push_service_takes() {
    let subscription = subscription("https://push.example/1");
    let length = |message: usize| {
        let body = encrypt(&subscription, &vec![b'x'; message]).unwrap();
        let (_, padding) = decrypt(&body);
        assert_eq!(padding, MAX_MESSAGE - message);
        body.len()
    };
    let lengths = [0, 1, 500, MAX_MESSAGE].map(length);
    assert!(lengths.iter().all(|length| *length == lengths[0]));
    // RFC 8030, section 7.2.
    assert!(lengths[0] <= 4096, "{lengths:?}");
    assert_eq!(
        encrypt(&subscription, &[b'x'; MAX_MESSAGE + 1]),
        Err(EncryptError::TooLong)
    );
}

#[test]
fn each_message_has_a_salt_and_a_key_of_its_own() {
    let subscription = subscription("https://push.example/1");
    let header = || encrypt(&subscription, b"{}").unwrap()[..86].to_vec();
    let (one, other) = (header(), header());
    assert_ne!(one[..16], other[..16]);
    assert_ne!(one[21..], other[21..]);
}
