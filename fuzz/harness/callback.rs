//! Fuzzes callbacks of a webhook: without the secret nothing counts, and a yes is one for other readers, too.

use std::sync::{Arc, OnceLock};

use approval_proxy::approval::item::Choice;
use approval_proxy::approval::render::Show;
use approval_proxy::engines::{
    BadCallback, Callback, CourierContext, HttpRuntime, PageLinks, Rows, TransportSettings,
    registry,
};
use approval_proxy::evidence::redact::Redaction;
use approval_proxy::gate::EngineId;
use axum::http::HeaderMap;
use ring::hmac;
use serde_json::Value;

const KEY: [u8; 24] = [7; 24];
const SECRET: &str = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
const NOW_S: i64 = 1_790_000_000;

fn callback() -> &'static Arc<dyn Callback> {
    static CALLBACK: OnceLock<Arc<dyn Callback>> = OnceLock::new();
    CALLBACK.get_or_init(|| {
        let name = EngineId::new("ops");
        let options = serde_json::json!({"url": "http://127.0.0.1:9/", "secret": SECRET});
        let options = options.as_object().expect("it is one");
        let webhook = registry::find("webhook").expect("it is registered");
        let settings = webhook
            .read(name, options, &TransportSettings::default())
            .expect("the options are right")
            .expect("it has a courier");
        let context = CourierContext {
            name,
            show: Show::Full,
            timeout: None,
            transport: Arc::default(),
            redaction: Redaction::default(),
            withheld: Arc::new([]),
            runtime: Arc::new(HttpRuntime::default()),
            page: PageLinks::default(),
            rows: Rows::default(),
        };
        settings.callback(&context).expect("it has a secret")
    })
}

/// Takes the bytes as a body, and as a signature over it.
pub(crate) fn check(bytes: &[u8]) {
    let guess = String::from_utf8_lossy(bytes);
    let forged = read(&guess, bytes);
    assert!(
        matches!(forged, Err(BadCallback::Unauthenticated(_))),
        "{forged:?}"
    );
    let mut content = format!("msg_1.{NOW_S}.").into_bytes();
    content.extend_from_slice(bytes);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &KEY), &content);
    let signature = format!("v1,{}", base64(tag.as_ref()));
    let answer = match read(&signature, bytes) {
        Ok(answer) => answer,
        Err(BadCallback::Malformed(_)) => return,
        Err(other) => panic!("the signature is right: {other}"),
    };
    let other: Value = serde_json::from_slice(bytes).expect("it is JSON for every reader");
    assert_eq!(other["id"], *answer.item);
    assert_eq!(other["fingerprint"], *answer.fingerprint);
    let is_yes = other["action"] == "accept" && other["content"]["approved"] == true;
    assert_eq!(is_yes, answer.verdict.choice == Choice::Approve);
}

fn read(
    signature: &str,
    body: &[u8],
) -> Result<approval_proxy::engines::CallbackAnswer, BadCallback> {
    let mut headers = HeaderMap::new();
    let sent = NOW_S.to_string();
    for (name, value) in [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", &sent),
        ("webhook-signature", signature),
    ] {
        // Not every input can be in a header.
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    callback().read(&headers, body, NOW_S * 1_000)
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for at in 0..4 {
            match at <= chunk.len() {
                true => out.push(char::from(ALPHABET[bits >> (18 - 6 * at) & 63])),
                false => out.push('='),
            }
        }
    }
    out
}
