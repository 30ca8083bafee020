//! The optional passphrase: with it, approving takes more than access to the user's files.
//!
//! A key derived from the passphrase signs verdicts; proxies know only the public half. They must read it before an
//! agent could replace it, because any program that can write to the folder can replace it.

use std::fmt;
use std::path::PathBuf;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::store::{StoreError, cut_reason};
use crate::approval::item::Verdict;
use crate::sys::clock::random_seed;
use crate::sys::secret::Secret;
use crate::sys::state_dir::{StateDir, io_error, suggested_command};

/// The file's name in the user's folder.
const NAME: &str = "passphrase.json";
/// The version of the file's format.
const VERSION: u32 = 1;
/// The longest file that we read. Our own is much shorter.
const MAX_FILE: usize = 4 * 1024;
/// The shortest passphrase, in characters. An attacker can copy the file and try passphrases without limit.
pub(crate) const MIN: usize = 8;
/// The argon2id cost of a new passphrase: more than OWASP recommends.
const COST: Cost = Cost {
    memory_kib: 64 * 1024,
    passes: 3,
    lanes: 1,
};
/// The highest cost that we accept from a file.
const MAX_COST: Cost = Cost {
    memory_kib: 512 * 1024,
    passes: 16,
    lanes: 8,
};
/// The accepted lengths of a salt, in bytes.
const SALT_LENGTHS: std::ops::RangeInclusive<usize> = 16..=64;
/// Separates our signatures from others with the same key.
const DOMAIN: &str = "approval-proxy/inbox-verdict/1";
/// The same for verdicts with an approver's name. Signatures of versions without names stay valid, but
/// only for verdicts without a name.
const NAMED_DOMAIN: &str = "approval-proxy/inbox-verdict/2";
/// The same for verdicts through an engine other than the inbox.
const ENGINE_DOMAIN: &str = "approval-proxy/engine-verdict/1";
/// The same for verdicts with answers to a form.
const FORM_DOMAIN: &str = "approval-proxy/form-verdict/1";

/// Verifies verdicts. Cannot sign.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// Identifies a [`PublicKey`] to people: `sha256:` and the SHA-256 of the raw key in lower-case
/// hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFingerprint([u8; 32]);

/// Signs verdicts.
pub struct Signer(Ed25519KeyPair);

/// Why the passphrase cannot be set or used.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// It is not the passphrase that was set.
    #[error("the passphrase is wrong; nothing has changed")]
    Wrong,
    /// No passphrase is set.
    #[error("no passphrase is set")]
    NotSet,
    /// A passphrase is set already, and replacing it takes the current one.
    #[error("a passphrase is already set; enter it to set another one")]
    AlreadySet,
    /// It is short enough to guess by trial.
    #[error("a passphrase needs at least {MIN} characters; nothing has changed")]
    TooShort,
    /// The file is not one that this version wrote.
    #[error("{} is damaged or from a newer version; restore it, or remove it, set a passphrase with \
         `{}`, and restart your proxies", .0.display(), suggested_command("inbox --set-passphrase", .0.parent()))]
    Damaged(PathBuf),
    /// There is too little memory, or no randomness.
    #[error("cannot process the passphrase: {0}")]
    Failed(String),
    /// The file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Sets the passphrase and returns the public key. If one is set already, `current` must be that one;
/// verdicts signed with it no longer verify.
///
/// Takes a good part of a second for each of the two passphrases, and 64 MiB of memory during that time.
///
/// # Errors
/// `AlreadySet` without the current passphrase, `Wrong` with another one; `TooShort` with fewer than
/// eight characters; `Damaged` if the file is not valid; `Failed` without memory or randomness; `Store`
/// if the file cannot be read or written.
pub fn set(
    dir: &StateDir,
    current: Option<&Secret>,
    passphrase: &Secret,
) -> Result<PublicKey, PassphraseError> {
    if passphrase.expose().chars().count() < MIN {
        return Err(PassphraseError::TooShort);
    }
    match (read(dir)?, current) {
        (None, _) => {}
        (Some(_), None) => return Err(PassphraseError::AlreadySet),
        (Some(_), Some(current)) => unlock(dir, current).map(drop)?,
    }
    set_at(dir, passphrase, COST)
}

/// Derives the key from the passphrase. Takes as long as [`set`].
///
/// # Errors
/// `Wrong`, `NotSet`; `Damaged` also if the file demands a higher cost than ours ever would; `Failed`
/// without memory; `Store` if the file cannot be read or is accessible to other users.
pub fn unlock(dir: &StateDir, passphrase: &Secret) -> Result<Signer, PassphraseError> {
    let file = read(dir)?.ok_or(PassphraseError::NotSet)?;
    let signer = derive(passphrase, &file.salt, file.cost)?;
    if signer.public_key() == file.public_key {
        Ok(signer)
    } else {
        Err(PassphraseError::Wrong)
    }
}

impl PublicKey {
    /// Reads the key of the current passphrase; `None` if none is set.
    ///
    /// # Errors
    /// `Damaged` or `Store`: there is a key, or may be, but it cannot be read.
    pub fn load(dir: &StateDir) -> Result<Option<PublicKey>, PassphraseError> {
        Ok(read(dir)?.map(|file| file.public_key))
    }

    /// Returns the key's fingerprint, as in the audit log and in `inboxKey`.
    #[must_use]
    pub fn fingerprint(&self) -> KeyFingerprint {
        KeyFingerprint(Sha256::digest(self.0).into())
    }

    /// Returns true if the passphrase's key signed exactly this verdict about exactly this item as it was shown.
    /// `engine` is the name of the engine that it came through; `None` is the inbox.
    #[must_use]
    pub fn verify(
        &self,
        item_id: &str,
        fingerprint: &str,
        verdict: &Verdict,
        engine: Option<&str>,
        signature: &[u8],
    ) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        let signed = signed_bytes(item_id, fingerprint, verdict, engine);
        key.verify(&signed, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", STANDARD.encode(self.0))
    }
}

impl KeyFingerprint {
    /// Reads what `Display` writes, in upper or lower case. Returns `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<KeyFingerprint> {
        let digits = text.strip_prefix(FINGERPRINT_PREFIX)?;
        let hash = blake3::Hash::from_hex(digits.to_ascii_lowercase()).ok()?;
        Some(KeyFingerprint(*hash.as_bytes()))
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = blake3::Hash::from_bytes(self.0).to_hex();
        write!(f, "{FINGERPRINT_PREFIX}{digits}")
    }
}

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const FINGERPRINT_PREFIX: &str = "sha256:";

impl Signer {
    /// Signs a verdict about an item with this fingerprint.
    ///
    /// The signature covers the verdict as a store keeps it: with its reason cut to the limit, and its
    /// cover in whole milliseconds. `engine` is the name of the engine that it came through; `None` is the inbox.
    #[must_use]
    pub fn sign(
        &self,
        item_id: &str,
        fingerprint: &str,
        verdict: &Verdict,
        engine: Option<&str>,
    ) -> Vec<u8> {
        let signed = signed_bytes(item_id, fingerprint, verdict, engine);
        self.0.sign(&signed).as_ref().to_vec()
    }

    /// Returns the key that verifies the signatures.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let mut key = [0; 32];
        // An Ed25519 key has 32 bytes.
        for (to, from) in key.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(key)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(***)")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// The file as written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    argon2id: Cost,
    salt: String,
    ed25519: String,
}

/// The file's checked content.
struct Parsed {
    cost: Cost,
    salt: Vec<u8>,
    public_key: PublicKey,
}

fn set_at(dir: &StateDir, passphrase: &Secret, cost: Cost) -> Result<PublicKey, PassphraseError> {
    if passphrase.expose().chars().count() < MIN {
        return Err(PassphraseError::TooShort);
    }
    let salt = random_seed().map_err(|error| PassphraseError::Failed(error.to_string()))?;
    let public_key = derive(passphrase, &salt, cost)?.public_key();
    let written = Written {
        version: VERSION,
        argon2id: cost,
        salt: STANDARD.encode(salt),
        ed25519: STANDARD.encode(public_key.0),
    };
    let failed = |error: serde_json::Error| io_error(dir.path(), error.into());
    let bytes = serde_json::to_vec(&written).map_err(failed)?;
    dir.replace(NAME, &bytes)?;
    Ok(public_key)
}

fn read(dir: &StateDir) -> Result<Option<Parsed>, PassphraseError> {
    let Some(bytes) = dir.read(NAME, MAX_FILE)? else {
        return Ok(None);
    };
    let parsed = parse(&bytes);
    let damaged = || PassphraseError::Damaged(dir.path().join(NAME));
    parsed.map(Some).ok_or_else(damaged)
}

fn parse(bytes: &[u8]) -> Option<Parsed> {
    let written: Written = serde_json::from_slice(bytes).ok()?;
    let cost = written.argon2id;
    let is_affordable = cost.memory_kib <= MAX_COST.memory_kib
        && cost.passes <= MAX_COST.passes
        && cost.lanes <= MAX_COST.lanes;
    let salt = STANDARD.decode(written.salt).ok()?;
    let public_key = STANDARD.decode(written.ed25519).ok()?;
    let is_ours =
        bytes.len() <= MAX_FILE && written.version == VERSION && SALT_LENGTHS.contains(&salt.len());
    (is_affordable && is_ours).then_some(Parsed {
        cost,
        salt,
        public_key: PublicKey(public_key.try_into().ok()?),
    })
}

fn derive(passphrase: &Secret, salt: &[u8], cost: Cost) -> Result<Signer, PassphraseError> {
    let failed = |error: argon2::Error| PassphraseError::Failed(error.to_string());
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(failed)?;
    let mut seed = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose().as_bytes(), salt, &mut seed)
        .map_err(failed)?;
    let key = Ed25519KeyPair::from_seed_unchecked(&seed);
    let key = key.map_err(|error| PassphraseError::Failed(error.to_string()))?;
    Ok(Signer(key))
}

/// Returns the bytes to sign: each part is preceded by its length, so no two verdicts have the same bytes.
fn signed_bytes(
    item_id: &str,
    fingerprint: &str,
    verdict: &Verdict,
    engine: Option<&str>,
) -> Vec<u8> {
    let reason = verdict.reason.as_deref().map(cut_reason);
    let cover = u64::try_from(verdict.cover.as_millis()).unwrap_or(u64::MAX);
    let approver = verdict.approver.as_deref().map(str::as_bytes);
    let fields = verdict.fields.as_deref().map(str::as_bytes);
    let domain = match (fields, engine, approver) {
        (Some(_), _, _) => FORM_DOMAIN,
        (None, Some(_), _) => ENGINE_DOMAIN,
        (None, None, Some(_)) => NAMED_DOMAIN,
        (None, None, None) => DOMAIN,
    };
    let parts = [
        domain.as_bytes(),
        item_id.as_bytes(),
        fingerprint.as_bytes(),
        verdict.choice.as_str().as_bytes(),
        // No reason differs from an empty one.
        if reason.is_some() { b"1" } else { b"0" },
        reason.unwrap_or_default().as_bytes(),
        &cover.to_be_bytes(),
        verdict.assurance.as_str().as_bytes(),
        &verdict.decided_ms.to_be_bytes(),
    ];
    let mut bytes = Vec::new();
    let engine = engine.map(str::as_bytes);
    // With answers, either of the two names below may be missing.
    let flag: Option<&[u8]> = fields.map(|_| match engine {
        Some(_) => &b"1"[..],
        None => b"0",
    });
    // Before the name of the approver, which may be missing.
    let texts = [fields, flag, engine, approver].into_iter().flatten();
    for part in parts.into_iter().chain(texts) {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::time::Duration;

    use super::*;
    use crate::approval::item::{Assurance, Choice};
    use crate::engines::inbox::store::{ErrorKind, MAX_REASON};
    use crate::sys::state_dir::for_test;

    /// Cheap, because tests are not optimized.
    const CHEAP: Cost = Cost {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn verdict() -> Verdict {
        Verdict {
            fields: None,
            choice: Choice::Approve,
            reason: Some("fine".to_owned()),
            cover: Duration::from_secs(60),
            assurance: Assurance::InboxPassphrase,
            approver: None,
            decided_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn the_right_passphrase_signs_what_the_public_key_verifies() {
        let (dir, state) = for_test();
        assert_eq!(PublicKey::load(&state).unwrap(), None);
        let set = set_at(&state, &secret("correct horse"), CHEAP).unwrap();
        assert_eq!(PublicKey::load(&state).unwrap(), Some(set.clone()));
        let signer = unlock(&state, &secret("correct horse")).unwrap();
        let signature = signer.sign("id", "digest", &verdict(), None);
        assert!(set.verify("id", "digest", &verdict(), None, &signature));
        let mode = fs::metadata(dir.path().join(NAME)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(format!("{signer:?}"), "Signer(***)");
    }

    // Attack: an agent with a shell set its own passphrase, and the log attributed its verdicts to the user.
    #[test]
    fn a_passphrase_is_replaced_only_by_who_knows_it() {
        let (dir, state) = for_test();
        let first = set_at(&state, &secret("correct horse"), CHEAP).unwrap();
        let new = secret("battery staple");
        let without = set(&state, None, &new).unwrap_err();
        assert!(matches!(without, PassphraseError::AlreadySet));
        let wrong = set(&state, Some(&secret("correct hors")), &new).unwrap_err();
        assert!(matches!(wrong, PassphraseError::Wrong));
        let short = set(&state, Some(&secret("correct horse")), &secret("short"));
        assert!(matches!(short.unwrap_err(), PassphraseError::TooShort));
        assert_eq!(PublicKey::load(&state).unwrap(), Some(first.clone()));
        let second = set(&state, Some(&secret("correct horse")), &new).unwrap();
        assert_ne!(second.fingerprint(), first.fingerprint());
        fs::write(dir.path().join(NAME), "{}").unwrap();
        let damaged = set(&state, Some(&new), &new).unwrap_err();
        assert!(matches!(damaged, PassphraseError::Damaged(_)));
    }

    #[test]
    fn a_fingerprint_is_read_as_it_is_written() {
        let fingerprint = PublicKey([7; 32]).fingerprint();
        // printf '\x07%.0s' {1..32} | sha256sum
        let text = "sha256:4bb06f8e4e3a7715d201d573d0aa423762e55dabd61a2c02278fa56cc6d294e0";
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(KeyFingerprint::parse(text), Some(fingerprint.clone()));
        let upper = text.to_uppercase().replace("SHA", "sha");
        assert_eq!(KeyFingerprint::parse(&upper), Some(fingerprint.clone()));
        for bad in [
            "",
            "sha256:",
            "sha512:00",
            text.strip_prefix("sha256:").unwrap(),
            &format!("{text}0"),
            text.strip_suffix('0').unwrap(),
        ] {
            assert_eq!(KeyFingerprint::parse(bad), None, "{bad}");
        }
    }

    // Attack: a person's no in a chat becomes their yes in the inbox, or one of another engine.
    #[test]
    fn a_signature_covers_the_engine() {
        let (_dir, state) = for_test();
        let key = set_at(&state, &secret("correct horse"), CHEAP).unwrap();
        let signer = unlock(&state, &secret("correct horse")).unwrap();
        let named = |name: Option<&str>| Verdict {
            approver: name.map(str::to_owned),
            ..verdict()
        };
        let given = named(Some("slack:U1"));
        let good = signer.sign("id", "digest", &given, Some("slack"));
        assert!(key.verify("id", "digest", &given, Some("slack"), &good));
        for (name, engine) in [
            (Some("slack:U1"), None),
            (Some("slack:U1"), Some("slack2")),
            (Some("slack:U1"), Some("")),
            (Some("slack:U2"), Some("slack")),
            (None, Some("slack")),
            (Some("slack"), Some("slack:U1")),
            (None, Some("slackslack:U1")),
        ] {
            let verdict = named(name);
            let holds = key.verify("id", "digest", &verdict, engine, &good);
            assert!(!holds, "{name:?} {engine:?}");
        }
    }

    // Attack: a program changes what the person has filled in, or lets a yes without a form pass for one with answers.
    #[test]
    fn a_signature_covers_the_answers_to_a_form() {
        let (_dir, state) = for_test();
        let key = set_at(&state, &secret("correct horse"), CHEAP).unwrap();
        let signer = unlock(&state, &secret("correct horse")).unwrap();
        let with = |fields: Option<&str>, name: Option<&str>| Verdict {
            fields: fields.map(str::to_owned),
            approver: name.map(str::to_owned),
            ..verdict()
        };
        let answers = Some(r#"{"amount":40}"#);
        for engine in [None, Some("slack")] {
            for name in [None, Some("Ann")] {
                let given = with(answers, name);
                let good = signer.sign("id", "digest", &given, engine);
                assert!(key.verify("id", "digest", &given, engine, &good));
                for (fields, name, engine) in [
                    (Some(r#"{"amount":4000}"#), name, engine),
                    (None, name, engine),
                    (Some(""), name, engine),
                    (answers, Some("Eve"), engine),
                    (answers, name, Some("other")),
                    (answers, engine, name),
                ] {
                    let other = with(fields, name);
                    let is_same = (&other, engine) == (&given, engine) && fields == answers;
                    let holds = key.verify("id", "digest", &other, engine, &good);
                    assert!(!holds || is_same, "{fields:?} {name:?} {engine:?}");
                }
            }
        }
        let plain = signer.sign("id", "digest", &verdict(), None);
        assert!(!key.verify("id", "digest", &with(answers, None), None, &plain));
    }

    #[test]
    fn a_new_passphrase_has_the_intended_cost() {
        let (dir, state) = for_test();
        set(&state, None, &secret("pass phrase")).unwrap();
        let text = fs::read_to_string(dir.path().join(NAME)).unwrap();
        let cost = r#""argon2id":{"memory_kib":65536,"passes":3,"lanes":1}"#;
        assert!(text.contains(cost), "{text}");
    }

    #[test]
    fn another_passphrase_is_wrong_and_a_short_one_is_not_accepted() {
        let (_dir, state) = for_test();
        let unset = unlock(&state, &secret("pass phrase")).unwrap_err();
        assert!(matches!(unset, PassphraseError::NotSet));
        // Characters count, not bytes.
        for short in ["", "seven77", "äöüäöüä"] {
            let short = set_at(&state, &secret(short), CHEAP).unwrap_err();
            assert!(matches!(short, PassphraseError::TooShort));
            let unset = unlock(&state, &secret("pass phrase")).unwrap_err();
            assert!(matches!(unset, PassphraseError::NotSet));
        }
        set_at(&state, &secret("eight888"), CHEAP).unwrap();
        set_at(&state, &secret("pass phrase"), CHEAP).unwrap();
        for other in ["", "Pass phrase", "pass phrase ", "pass  phrase"] {
            let error = unlock(&state, &secret(other)).unwrap_err();
            assert!(matches!(error, PassphraseError::Wrong), "{other}");
        }
    }

    #[test]
    fn setting_the_same_passphrase_again_makes_another_key() {
        let (_dir, state) = for_test();
        let first = set_at(&state, &secret("pass phrase"), CHEAP).unwrap();
        let second = set_at(&state, &secret("pass phrase"), CHEAP).unwrap();
        assert_ne!(first, second);
        let signer = unlock(&state, &secret("pass phrase")).unwrap();
        let signature = signer.sign("id", "digest", &verdict(), None);
        assert!(!first.verify("id", "digest", &verdict(), None, &signature));
    }

    #[test]
    fn a_signature_is_for_one_item_one_call_and_one_verdict() {
        let (_dir, state) = for_test();
        let key = set_at(&state, &secret("pass phrase"), CHEAP).unwrap();
        let signer = unlock(&state, &secret("pass phrase")).unwrap();
        let good = signer.sign("id", "digest", &verdict(), None);
        type Change = fn(&mut Verdict);
        let changes: [Change; 9] = [
            |v| v.choice = Choice::Deny,
            |v| v.reason = None,
            |v| v.reason = Some(String::new()),
            |v| v.reason = Some("fine!".to_owned()),
            |v| v.cover = Duration::from_secs(61),
            |v| v.assurance = Assurance::InboxSession,
            |v| v.approver = Some("Ann".to_owned()),
            |v| v.approver = Some(String::new()),
            |v| v.decided_ms += 1,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut changed = verdict();
            change(&mut changed);
            assert!(!key.verify("id", "digest", &changed, None, &good), "{i}");
        }
        for (id, digest) in [("ie", "digest"), ("id", "digess"), ("iddig", "est")] {
            assert!(!key.verify(id, digest, &verdict(), None, &good));
        }
        for at in 0..good.len() {
            let mut tampered = good.clone();
            tampered[at] ^= 1;
            assert!(!key.verify("id", "digest", &verdict(), None, &tampered));
        }
        assert!(!key.verify("id", "digest", &verdict(), None, b""));
        assert!(!key.verify("id", "digest", &verdict(), None, &good[1..]));
    }

    #[test]
    fn a_signature_covers_the_name_that_the_approver_gave() {
        let signer = derive(&secret("correct horse"), &[7; 32], CHEAP).unwrap();
        let key = signer.public_key();
        let by = |name: Option<&str>| Verdict {
            approver: name.map(str::to_owned),
            ..verdict()
        };
        let good = signer.sign("id", "digest", &by(Some("Ann")), None);
        assert!(key.verify("id", "digest", &by(Some("Ann")), None, &good));
        for other in [None, Some(""), Some("ann"), Some("Ann "), Some("Anna")] {
            let is_valid = key.verify("id", "digest", &by(other), None, &good);
            assert!(!is_valid, "{other:?}");
        }
    }

    /// The signature of `verdict()` by the last version without names.
    const FROM_BEFORE_NAMES: &str =
        "m1fjaq4/gtvRP74EzfEZiCz1kLAJza965G083ShmKte6fhl6rQ1ylr7me0jSsEvortSzJ4I+LcHqarIJgiQlCA==";

    #[test]
    fn a_signature_from_before_there_were_names_holds_for_no_name() {
        let signer = derive(&secret("correct horse"), &[7; 32], CHEAP).unwrap();
        let key = signer.public_key();
        let old = STANDARD.decode(FROM_BEFORE_NAMES).unwrap();
        assert!(key.verify("id", "digest", &verdict(), None, &old));
        assert_eq!(signer.sign("id", "digest", &verdict(), None), old);
        for name in ["", "Ann"] {
            let named = Verdict {
                approver: Some(name.to_owned()),
                ..verdict()
            };
            assert!(!key.verify("id", "digest", &named, None, &old), "{name}");
        }
    }

    #[test]
    fn no_reason_and_an_empty_reason_are_signed_differently() {
        let with = |reason: Option<&str>| Verdict {
            reason: reason.map(str::to_owned),
            ..verdict()
        };
        let bytes = |verdict| signed_bytes("id", "digest", &verdict, None);
        assert_ne!(bytes(with(None)), bytes(with(Some(""))));
    }

    #[test]
    fn a_signature_holds_for_the_verdict_as_it_is_stored() {
        let (_dir, state) = for_test();
        let key = set_at(&state, &secret("pass phrase"), CHEAP).unwrap();
        let signer = unlock(&state, &secret("pass phrase")).unwrap();
        let given = Verdict {
            reason: Some("é".repeat(MAX_REASON)),
            cover: Duration::new(1, 500_000),
            ..verdict()
        };
        let stored = Verdict {
            reason: Some("é".repeat(MAX_REASON / 2)),
            cover: Duration::from_secs(1),
            ..verdict()
        };
        let signature = signer.sign("id", "digest", &given, None);
        assert!(key.verify("id", "digest", &stored, None, &signature));
    }

    #[test]
    fn a_file_that_is_damaged_newer_or_too_costly_is_refused_before_any_work() {
        let (dir, state) = for_test();
        let path = dir.path().join(NAME);
        set_at(&state, &secret("pass phrase"), CHEAP).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let (half, _) = good.split_at(good.len() / 2);
        let padded = format!("{good}{}", " ".repeat(MAX_FILE));
        for bad in [
            "",
            "{}",
            "\0\u{1}\u{2}",
            half,
            &padded,
            &good.replace(r#""version":1"#, r#""version":2"#),
            &good.replace(r#""version":1"#, r#""version":1,"more":1"#),
            &good.replace(r#""memory_kib":64"#, r#""memory_kib":104857600"#),
            &good.replace(r#""passes":1"#, r#""passes":4294967295"#),
            &good.replace(r#""lanes":1"#, r#""lanes":16777215"#),
            &good.replace(r#""salt":""#, r#""salt":"*"#),
            &good.replace(r#""ed25519":""#, r#""ed25519":"AAAA"#),
        ] {
            assert_ne!(bad, good);
            fs::write(&path, bad).unwrap();
            let error = unlock(&state, &secret("pass phrase")).unwrap_err();
            assert!(matches!(error, PassphraseError::Damaged(_)), "{bad}");
            PublicKey::load(&state).unwrap_err();
        }
        fs::write(&path, good.replace(r#""passes":1"#, r#""passes":0"#)).unwrap();
        let error = unlock(&state, &secret("pass phrase")).unwrap_err();
        assert!(matches!(error, PassphraseError::Failed(_)), "{error}");
    }

    #[test]
    fn a_file_that_others_may_read_or_write_is_refused() {
        let (dir, state) = for_test();
        set_at(&state, &secret("pass phrase"), CHEAP).unwrap();
        let path = dir.path().join(NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o602)).unwrap();
        let error = PublicKey::load(&state).unwrap_err();
        let PassphraseError::Store(error) = error else {
            panic!("{error}");
        };
        assert_eq!(error.kind, ErrorKind::Exposed);
    }
}
