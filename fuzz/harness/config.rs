//! Fuzzes the configuration file: no input causes a panic, and whatever loads is consistent.
//!
//! `src/config` tests what each key means.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use approval_proxy::config::{Environment, Flags, Target, load};
use approval_proxy::gate::Settings;
use approval_proxy::policy::{Action, Listing, Policy, Rules};

const SECRET: &str = "s3cr3t-5f1c";
const TEN_YEARS: Duration = Duration::from_secs(315_360_000);

/// Loads the bytes as a file that somebody else may have written.
pub(crate) fn check(bytes: &[u8]) {
    let file = Scratch::new();
    fs::write(&file.0, bytes).expect("the folder for temporary files can be written");
    let environment: Environment = [
        ("HOME", "/home/someone"),
        ("WORD", "word"),
        ("EMPTY", ""),
        ("TOKEN", SECRET),
    ]
    .into_iter()
    .collect();
    let loaded = load(Flags::new(file.0.clone()), &environment);
    // Text that the file itself contains, in a key or a rule, is not secret; what it expands is. Rules are folded: they
    // lose their case and invisible characters.
    let seen = bytes.iter().filter(|byte| byte.is_ascii_graphic());
    let seen: Vec<u8> = seen.map(u8::to_ascii_lowercase).collect();
    let planted = seen
        .windows(SECRET.len())
        .any(|part| part == SECRET.as_bytes());
    let resolved = match loaded {
        Ok(resolved) => resolved,
        Err(error) if planted => {
            // Replaced, not removed: otherwise the text around it could form the secret again.
            is_one_line(&error.to_string().replace(SECRET, " "));
            return;
        }
        Err(error) => {
            is_one_line(&error.to_string());
            let debug = format!("{error:?}");
            assert!(!debug.contains(SECRET), "a secret shows: {debug}");
            return;
        }
    };
    for warning in resolved.warnings.iter().filter(|_| !planted) {
        is_one_line(warning);
    }
    let is_public = match &resolved.server.target {
        Target::Command(server) => {
            assert!(!server.command.trim().is_empty());
            for (name, value) in &server.env {
                assert!(!name.is_empty() && !name.contains(['=', '\0']), "{name:?}");
                assert_eq!(format!("{value:?}"), "***");
            }
            // The command and the folder are not secret: every process list shows them.
            let folder = server.cwd.as_deref().unwrap_or(Path::new(""));
            server.command.contains(SECRET) || folder.to_string_lossy().contains(SECRET)
        }
        Target::Url(server) => {
            let url = server.url.expose().to_ascii_lowercase();
            assert!(url.starts_with("http://") || url.starts_with("https://"));
            assert_eq!(format!("{:?}", server.url), "***");
            false
        }
    };
    if !is_public && !planted {
        let debug = format!("{resolved:?}");
        assert!(!debug.contains(SECRET), "a secret shows: {debug}");
    }
    is_sane(&resolved.settings);
    decides(&resolved.policy, &resolved.rules);
}

/// Foreign text in an error or a warning can neither end the line nor control the terminal, and reveals no secret.
fn is_one_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(
        !text.contains(['\u{2028}', '\u{2029}', '\u{202e}', '\u{200b}']),
        "{text:?}"
    );
    assert!(!text.contains(SECRET), "a secret shows: {text}");
}

fn is_sane(settings: &Settings) {
    if let Some(timeout) = settings.timeout {
        assert!(!timeout.is_zero() && timeout <= TEN_YEARS);
    }
    assert!(settings.approval_ttl <= TEN_YEARS);
    let retry = &settings.retry;
    assert!(retry.initial_backoff <= TEN_YEARS && retry.max_backoff <= TEN_YEARS);
    assert!(retry.multiplier.is_finite() && (1.0..=1000.0).contains(&retry.multiplier));
    assert!(settings.max_pending >= 1);
    assert!(!settings.dedupe_fields.is_empty());
    assert!(!settings.audit_best_effort, "no file can choose that");
}

/// The rules as read and as compiled agree.
fn decides(policy: &Policy, rules: &Rules) {
    for name in ["read", "delete_user", "", "a/b", "K", "\u{202e}", "x\0"] {
        let _ = policy.decide(name, Listing::Unlisted);
        let _ = policy.decide(name, Listing::Listed(None));
    }
    let is_name = |entry: &&String| !entry.contains(['*', '?', '[', ']', '{', '}', '\\', '!']);
    for name in rules.deny.iter().filter(is_name) {
        let decision = policy.decide(name, Listing::Unlisted);
        assert_eq!(decision.action, Action::Block, "{name:?} is denied");
    }
    for name in rules.allow.iter().filter(is_name) {
        let decision = policy.decide(name, Listing::Unlisted);
        assert!(decision.action != Action::Ask, "{name:?} is allowed");
    }
    if rules.deny.iter().any(|entry| entry == "*") {
        let decision = policy.decide("anything", Listing::Unlisted);
        assert_eq!(decision.action, Action::Block);
    }
}

/// A file for this thread only; in memory if the system has a place for that.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => memory.to_owned(),
            false => std::env::temp_dir(),
        };
        let (process, thread) = (std::process::id(), std::thread::current().id());
        Scratch(folder.join(format!("approval-proxy-fuzz-{process}-{thread:?}.json")))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
