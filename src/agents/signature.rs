//! Signs decisions that leave as data, with a secret that the receiver shares.
//!
//! HMAC-SHA256 over the JSON Canonicalization Scheme (RFC 8785), but with keys sorted by code point. docs/agents.md has
//! verifiers. A shared secret proves nothing to third parties: whoever can verify can also forge.

use ring::hmac;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::mcp::json::write_string;
use crate::sys::secret::Secret;

/// The member that holds the signature, which does not cover itself.
pub(super) const SIGNATURE: &str = "signature";

/// Adds the member `signature` to a decision: `sha256=` and 64 hexadecimal digits.
pub(super) fn sign(decision: &mut Map<String, Value>, secret: &Secret) {
    decision.remove(SIGNATURE);
    let mut text = String::new();
    write_object(decision, &mut text);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = hmac::sign(&key, text.as_bytes());
    let signature = format!("sha256={}", hex(tag.as_ref()));
    decision.insert(SIGNATURE.to_owned(), signature.into());
}

/// Returns the SHA-256 of a value's canonical form: `sha256:` and 64 hexadecimal digits.
pub(super) fn digest(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    format!("sha256:{}", hex(&Sha256::digest(text)))
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        // RFC 8785, section 3.2.2.3: as ECMAScript writes the nearest double.
        Value::Number(number) => {
            let mut buffer = ryu_js::Buffer::new();
            out.push_str(buffer.format(number.as_f64().unwrap_or_default()));
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => write_object(members, out),
    }
}

fn write_object(members: &Map<String, Value>, out: &mut String) {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    out.push('{');
    for (at, (key, value)) in sorted.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        write(value, out);
    }
    out.push('}');
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn canonical(value: &Value) -> String {
        let mut text = String::new();
        write(value, &mut text);
        text
    }

    // RFC 8785, appendix B and section 3.2.2: what ECMAScript's JSON.stringify returns.
    #[test]
    fn values_are_written_as_ecmascript_writes_them() {
        for (value, text) in [
            (json!(1e21), "1e+21"),
            (json!(1e-7), "1e-7"),
            (json!(333333333.3333333), "333333333.3333333"),
            (json!(4.50), "4.5"),
            (json!(-0.0), "0"),
            (json!(9007199254740993u64), "9007199254740992"),
            (json!(0), "0"),
            (
                json!("ü\u{1f}\n\"\\/\u{7f}"),
                "\"ü\\u001f\\n\\\"\\\\/\u{7f}\"",
            ),
            (
                json!({"b": [1, {"z": null, "a": true}], "a": "€"}),
                r#"{"a":"€","b":[1,{"a":true,"z":null}]}"#,
            ),
        ] {
            assert_eq!(canonical(&value), text);
        }
    }

    // RFC 4231 has no JSON; this value is from `printf '{"a":"ü","n":1e+21}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn a_signature_covers_every_member_but_itself() {
        let mut decision = json!({"n": 1e21, "a": "ü"}).as_object().cloned().unwrap();
        let secret = Secret::new("key".to_owned());
        sign(&mut decision, &secret);
        let signature = decision[SIGNATURE].clone();
        assert_eq!(signature, SIGNED);
        sign(&mut decision, &secret);
        assert_eq!(decision[SIGNATURE], signature);
        decision.insert("a".to_owned(), "u".into());
        sign(&mut decision, &secret);
        assert_ne!(decision[SIGNATURE], signature);
    }

    const SIGNED: &str = "sha256=2454ed4283783a7278e5012a3060d5d0248273853847533195f838debe948950";
}
