//! VAPID, as a push service checks it.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Url;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::engines::inbox::push::ApplicationServerKey;
use crate::sys::state_dir::{ErrorKind, for_test};

/// Checks the header as RFC 8292, section 4, tells push services to. Returns the token's header, its claims, and the
/// public key.
pub(super) fn verified(authorization: &str) -> (Value, Value, String) {
    let parameters = authorization.strip_prefix("vapid t=").unwrap();
    let (token, key) = parameters.split_once(", k=").unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(key))
        .verify(signed.as_bytes(), &decode(signature))
        .unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let json = |text: &str| serde_json::from_slice(&decode(text)).unwrap();
    (json(header), json(claims), key.to_owned())
}

#[test]
fn a_token_is_signed_for_the_origin_of_the_endpoint_and_ends_in_half_a_day() {
    let (_dir, state) = for_test();
    let key = ApplicationServerKey::load(&state).unwrap();
    let endpoint = Url::parse("https://push.example:8443/send/secret-part?x=1").unwrap();
    let now_ms = 1_800_000_000_999;
    let value = key.authorization(&endpoint, "https://phone.example/", now_ms);
    let value = value.unwrap();
    assert!(value.is_sensitive());
    let (header, claims, public) = verified(value.to_str().unwrap());
    assert_eq!(header, json!({"typ": "JWT", "alg": "ES256"}));
    let expected = json!({
        "aud": "https://push.example:8443",
        "exp": 1_800_000_000 + 12 * 60 * 60,
        "sub": "https://phone.example/",
    });
    assert_eq!(claims, expected);
    assert_eq!(public, key.public_key());
    let point = BASE64_URL_SAFE_NO_PAD.decode(public).unwrap();
    assert_eq!((point.len(), point[0]), (65, 4));
}

#[test]
fn all_processes_of_a_user_sign_with_the_same_key_which_only_the_user_can_read() {
    let (dir, state) = for_test();
    let load = || ApplicationServerKey::load(&state).unwrap().public_key();
    let keys: Vec<String> = std::thread::scope(|scope| {
        let loading: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        loading.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
    let path = dir.path().join("web-push.key");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let shown = format!("{:?}", ApplicationServerKey::load(&state).unwrap());
    assert_eq!(shown, format!("ApplicationServerKey({:?})", keys[0]));
}

#[test]
fn a_damaged_or_exposed_key_is_refused_and_kept() {
    let (dir, state) = for_test();
    ApplicationServerKey::load(&state).unwrap();
    let path = dir.path().join("web-push.key");
    let load = || ApplicationServerKey::load(&state).unwrap_err().kind;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(load(), ErrorKind::Exposed);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    for content in [&b""[..], b"no key", &[0x30; 2_000]] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(load(), ErrorKind::Damaged);
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}
