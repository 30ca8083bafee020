//! Finds secrets by their own form: tokens with a known prefix, JWTs, PEM blocks, and credentials after `Bearer`.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::packed::{self, Searcher};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::strings::Scan;

/// Texts to search for if no single byte reveals a secret. More of them, or shorter ones, would make the search several
/// times slower; a benchmark measures it.
#[rustfmt::skip] // One per line would make the list look long.
const TRIGGERS: [&str; 17] = [
    // `Bearer` and similar schemes.
    "earer ", "EARER ", "earer%20", "asic ", "oken ", "igest ", "gotiate ", "piKey ",
    // Prefixes of tokens; see `at`.
    "eyJ", "AKIA", "ASIA", "AIza", "ATATT3",
    // A `=` in a URL inside a URL.
    "%3D", "%3d",
    // A quoted password after a word, as in SQL.
    "ssword '", "SSWORD '",
];

static SEARCHER: LazyLock<Option<Searcher>> = LazyLock::new(|| {
    // `None` if the processor has no vector instructions.
    packed::Config::new().builder().extend(TRIGGERS).build()
});

/// A shorter text contains no token.
pub(super) const SHORTEST: usize = 10;

/// Calls `found` for each position at which a secret may begin.
pub(super) fn each_trigger(text: &str, mut found: impl FnMut(usize)) {
    if let Some(searcher) = &*SEARCHER {
        return searcher.find_iter(text).for_each(|hit| found(hit.start()));
    }
    for trigger in TRIGGERS {
        text.match_indices(trigger).for_each(|(at, _)| found(at));
    }
}

/// Finds the secret that belongs to a trigger at `at`.
pub(super) fn at(scan: &Scan<'_>, at: usize) -> Option<Range<usize>> {
    let begins = |text: &str| scan.starts_with(at, text);
    match scan.byte(at) {
        b'e' if begins("eyJ") => jwt(scan, at),
        b'e' | b'E' => scheme(scan, at, "bearer"),
        b'a' => scheme(scan, at, "basic"),
        b'o' => scheme(scan, at, "token"),
        b'i' => scheme(scan, at, "digest"),
        b'g' => scheme(scan, at.checked_sub(1)?, "negotiate"),
        b'p' => scheme(scan, at, "apikey"),
        b's' | b'S' => quoted(scan, at + "ssword '".len()),
        _ => {
            let known = SINGLE.iter().find(|(beginning, _)| begins(beginning));
            known.and_then(|(beginning, rest)| token(scan, at, beginning.len(), *rest))
        }
    }
}

/// Finds the token whose prefix ends with the `_`, `-` or `.` at `at`.
pub(super) fn behind(scan: &Scan<'_>, at: usize) -> Option<Range<usize>> {
    // Nearly all return here.
    let (second, first) = (at.checked_sub(1)?, at.checked_sub(2)?);
    let firsts = ENDINGS.get(usize::from(scan.byte(second)))?;
    if firsts >> (scan.byte(first) & 31) & 1 == 0 {
        return None;
    }
    let before = scan.bytes.get(..=at)?;
    let mut known = BEGINNINGS
        .iter()
        .filter(|(beginning, _)| before.ends_with(beginning.as_bytes()));
    let token = known.find_map(|(beginning, rest)| {
        token(scan, at + 1 - beginning.len(), beginning.len(), *rest)
    });
    token.or_else(|| webhook(scan, at))
}

/// For the two bytes before a prefix's final `_`, `-` or `.`: maps the second byte to a bit set of first bytes.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it")]
const ENDINGS: [u32; 256] = {
    let mut endings = [0; 256];
    let mut at = 0;
    while at < BEGINNINGS.len() + WEBHOOKS.len() {
        let beginning = match at < BEGINNINGS.len() {
            true => BEGINNINGS[at].0.as_bytes(),
            false => WEBHOOKS[at - BEGINNINGS.len()].0.as_bytes(),
        };
        let end = beginning.len() - 1;
        endings[beginning[end - 1] as usize] |= 1 << (beginning[end - 2] & 31);
        at += 1;
    }
    endings
};

/// What follows a token's prefix.
#[derive(Clone, Copy)]
enum Rest {
    /// Random characters: this many letters and digits in a row, or this many characters that include both.
    Random(usize),
    /// At least this many letters and digits, and nothing else.
    Plain(usize),
    /// At least this many characters, including dots.
    Dotted(usize),
    /// At least this many capitals and digits.
    Capitals(usize),
    /// Exactly this many hexadecimal digits.
    Hex(usize),
}

/// Token prefixes of well-known services.
#[rustfmt::skip] // As above.
const BEGINNINGS: &[(&str, Rest)] = &[
    ("ghp_", Rest::Random(16)), ("gho_", Rest::Random(16)), ("ghu_", Rest::Random(16)),
    ("ghs_", Rest::Random(16)), ("ghr_", Rest::Random(16)), ("github_pat_", Rest::Random(16)),
    ("glpat-", Rest::Random(16)), ("gldt-", Rest::Random(16)), ("glrt-", Rest::Random(16)),
    ("glptt-", Rest::Random(16)), ("glsoat-", Rest::Random(16)), ("glcbt-", Rest::Random(16)),
    ("sk-", Rest::Random(16)), ("sess-", Rest::Random(20)), ("sk_live_", Rest::Plain(8)),
    ("sk_test_", Rest::Plain(8)), ("rk_live_", Rest::Plain(8)), ("rk_test_", Rest::Plain(8)),
    ("sk_", Rest::Plain(20)), ("gsk_", Rest::Plain(20)), ("whsec_", Rest::Random(16)),
    ("xoxb-", Rest::Random(10)), ("xoxp-", Rest::Random(10)), ("xoxa-", Rest::Random(10)),
    ("xoxr-", Rest::Random(10)), ("xoxs-", Rest::Random(10)), ("xoxe-", Rest::Random(10)),
    ("xoxc-", Rest::Random(10)), ("xoxd-", Rest::Random(10)), ("xoxe.", Rest::Dotted(16)),
    ("xapp-", Rest::Random(10)), ("ya29.", Rest::Dotted(16)), ("GOCSPX-", Rest::Random(16)),
    ("npm_", Rest::Plain(20)), ("pypi-", Rest::Random(20)), ("dop_v1_", Rest::Random(16)),
    ("doo_v1_", Rest::Random(16)), ("dor_v1_", Rest::Random(16)), ("shpat_", Rest::Random(16)),
    ("shpca_", Rest::Random(16)), ("shppa_", Rest::Random(16)), ("shpss_", Rest::Random(16)),
    ("hf_", Rest::Plain(20)), ("SG.", Rest::Dotted(20)), ("AGE-SECRET-KEY-", Rest::Capitals(16)),
    ("hvs.", Rest::Random(16)), ("hvb.", Rest::Random(16)), ("hvr.", Rest::Random(16)),
    ("dckr_pat_", Rest::Random(16)), ("glsa_", Rest::Random(16)), ("glc_", Rest::Plain(20)),
    ("tskey-", Rest::Random(16)), ("key-", Rest::Hex(32)), ("NRAK-", Rest::Capitals(16)),
    ("PMAK-", Rest::Random(16)), ("CFPAT-", Rest::Random(20)), ("lin_api_", Rest::Random(16)),
    ("ntn_", Rest::Plain(20)), ("figd_", Rest::Random(20)), ("sntrys_", Rest::Random(16)),
    ("sntryu_", Rest::Random(16)), ("nvapi-", Rest::Random(20)), ("xai-", Rest::Random(20)),
    ("pplx-", Rest::Random(20)), ("sbp_", Rest::Random(20)), ("rubygems_", Rest::Random(16)),
    ("xkeysib-", Rest::Random(20)), ("pul-", Rest::Hex(40)), ("sq0atp-", Rest::Random(16)),
    ("sq0csp-", Rest::Random(16)), ("pscale_tkn_", Rest::Random(16)), ("pscale_pw_", Rest::Random(16)),
];

/// Webhook hosts without their last part, and the paths before their secrets.
const WEBHOOKS: &[(&str, &[&str])] = &[
    (
        "hooks.slack.",
        &["com/services/", "com/workflows/", "com/triggers/"],
    ),
    ("discord.", &["com/api/webhooks/"]),
    ("discordapp.", &["com/api/webhooks/"]),
];

/// Tokens without a separator after their prefix.
const SINGLE: [(&str, Rest); 4] = [
    ("AKIA", Rest::Capitals(12)),
    ("ASIA", Rest::Capitals(12)),
    ("AIza", Rest::Random(30)),
    ("ATATT3", Rest::Random(20)),
];

/// Finds a token whose prefix begins at `start` and is `length` bytes long.
fn token(scan: &Scan<'_>, start: usize, length: usize, rest: Rest) -> Option<Range<usize>> {
    if scan.byte_before(start).is_ascii_alphanumeric() {
        return None;
    }
    let from = start + length;
    let is_dotted = matches!(rest, Rest::Dotted(_));
    let run = scan.run(from, |b| is_in_token(b) || (is_dotted && b == b'.'));
    let longest = || {
        run.split(['-', '_', '.'])
            .map(str::len)
            .max()
            .unwrap_or_default()
    };
    let is_token = match rest {
        Rest::Random(least) => longest() >= least || (run.len() >= least && is_mixed(run)),
        Rest::Plain(least) => longest() >= least,
        Rest::Dotted(least) => run.len() >= least,
        Rest::Capitals(least) => {
            let is_capital = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
            run.len() >= least && run.bytes().all(is_capital)
        }
        Rest::Hex(length) => run.len() == length && run.bytes().all(|b| b.is_ascii_hexdigit()),
    };
    is_token.then_some(start..from + run.trim_end_matches('.').len())
}

/// Finds `header.payload.signature`, each part in base64url, if the first is a JSON object.
fn jwt(scan: &Scan<'_>, at: usize) -> Option<Range<usize>> {
    if is_in_token(scan.byte_before(at)) {
        return None;
    }
    let run = scan
        .run(at, |b| is_in_token(b) || b == b'.')
        .trim_end_matches('.');
    let mut parts = run.split('.');
    let header = parts.next().is_some_and(|header| header.len() >= 8);
    let payload = parts.next();
    let is_jwt =
        payload.is_some_and(|payload| payload.starts_with("eyJ") || parts.next().is_some());
    let is_cut = scan.is_cut && at + run.len() == scan.bytes.len();
    (header && (is_jwt || is_cut)).then_some(at..at + run.len())
}

/// Finds the content of a PEM block that contains something private.
pub(super) fn pem(scan: &Scan<'_>, at: usize) -> Option<Range<usize>> {
    let dashes = scan.over(at, |b| b == b'-');
    let words = scan.over(dashes, |b| b == b' ');
    let label = scan.run(words, |b| b.is_ascii_alphanumeric() || b == b' ');
    let is_private = |label: &str| {
        let is_public = [
            "CERTIFICATE",
            "PUBLIC",
            "SIGNATURE",
            "PARAMETERS",
            "MESSAGE",
            "CRL",
        ];
        !is_public.iter().any(|public| label.contains(public)) || label.contains("PRIVATE")
    };
    if let Some(label) = label
        .strip_prefix("BEGIN ")
        .filter(|label| is_private(label))
    {
        let header = words + "BEGIN ".len() + label.len();
        let start = scan.over(header, |b| b == b'-');
        let end = ["-----END", "---- END"];
        let rest = scan.text.get(start..)?;
        let length = end.iter().filter_map(|end| rest.find(end)).min();
        let end = start + length.unwrap_or(rest.len());
        return (start < end).then_some(start..end);
    }
    // The end of a block whose beginning is missing.
    label
        .strip_prefix("END ")
        .filter(|label| is_private(label))?;
    let is_inside = |b: u8| {
        b.is_ascii_alphanumeric()
            || b.is_ascii_whitespace()
            || matches!(b, b'+' | b'/' | b'=' | b'\\')
    };
    let start = scan.back_over_at_most(at, at, is_inside);
    (start < at).then_some(start..at)
}

/// Finds the credentials after the name of an HTTP authentication scheme, whose first letter is right before `at`.
fn scheme(scan: &Scan<'_>, at: usize, name: &str) -> Option<Range<usize>> {
    let start = at.checked_sub(1)?;
    let end = start + name.len();
    let written = scan.text.get(start..end)?;
    let is_inside_word = scan.byte_before(start).is_ascii_alphanumeric();
    if is_inside_word || !written.eq_ignore_ascii_case(name) {
        return None;
    }
    let mut from = scan.over(end, |b| matches!(b, b' ' | b'\t' | b'+'));
    while scan.starts_with(from, "%20") {
        from += 3;
    }
    if from == end {
        return None;
    }
    if name == "digest" {
        let parameter = scan.run(from, |b| b.is_ascii_alphanumeric());
        let is_header = !parameter.is_empty() && scan.byte(from + parameter.len()) == b'=';
        let end = from
            + scan
                .text
                .get(from..)?
                .find(['\n', '\r', '\''])
                .unwrap_or(scan.text.len() - from);
        return is_header.then_some(from..end);
    }
    let credentials = scan.run(from, is_in_credentials);
    let credentials = credentials.trim_end_matches('.');
    let end = from + credentials.len();
    // The whole text, or all of a quoted text.
    let is_all = !scan.byte_before(start).is_ascii_whitespace() && {
        let after = scan.byte(end);
        end == scan.bytes.len() || matches!(after, b'"' | b'\'' | b'`' | b'\\' | b'\n' | b'\r')
    };
    let has_digit = credentials.bytes().any(|b| b.is_ascii_digit());
    let later = credentials.get(1..).unwrap_or_default();
    let is_odd = has_digit || later.bytes().any(|b| !b.is_ascii_lowercase() && b != b'-');
    let is_secret = match name {
        "bearer" => {
            const WORDS: [&str; 6] = [
                "token",
                "tokens",
                "auth",
                "authentication",
                "authorization",
                "scheme",
            ];
            let is_word = WORDS
                .iter()
                .any(|word| credentials.eq_ignore_ascii_case(word));
            (credentials.len() >= 6 && is_odd) || credentials.len() >= 20 || (is_all && !is_word)
        }
        "basic" => {
            is_user_and_password(credentials) || (is_all && credentials.len() >= 4 && is_odd)
        }
        "token" | "apikey" => {
            has_digit && (credentials.len() >= 16 || (is_all && credentials.len() >= 8))
        }
        _ => credentials.len() >= 16,
    };
    let is_cut = scan.is_cut && end == scan.bytes.len();
    ((is_secret || is_cut) && !credentials.is_empty()).then_some(from..end)
}

/// Returns true for the name of an HTTP authentication scheme.
pub(super) fn is_scheme(word: &str) -> bool {
    let known = ["bearer", "basic", "token", "digest", "negotiate", "apikey"];
    known.iter().any(|known| word.eq_ignore_ascii_case(known))
}

fn is_user_and_password(credentials: &str) -> bool {
    let decoded = STANDARD_NO_PAD.decode(credentials.trim_end_matches('='));
    decoded.is_ok_and(|decoded| decoded.contains(&b':'))
}

/// Finds a webhook's path, which is enough to use the webhook. The host name's last dot is at `dot`.
fn webhook(scan: &Scan<'_>, dot: usize) -> Option<Range<usize>> {
    let host = scan.bytes.get(..=dot)?;
    let (_, paths) = WEBHOOKS
        .iter()
        .find(|(known, _)| host.ends_with(known.as_bytes()))?;
    let known = paths.iter().find(|path| scan.starts_with(dot + 1, path))?;
    let start = dot + 1 + known.len();
    let path = scan.run(start, |b| is_in_token(b) || b == b'/');
    (path.len() >= 16).then_some(start..start + path.len())
}

/// Finds the value in `PASSWORD 'hunter2'`. With a separator, the separator finds it.
fn quoted(scan: &Scan<'_>, at: usize) -> Option<Range<usize>> {
    let length = scan.text.get(at..)?.find('\'');
    let end = at + length.unwrap_or(scan.text.len() - at);
    (at < end).then_some(at..end)
}

/// Returns true for a text that looks random: long, with digits among the letters.
pub(super) fn is_like_token(text: &str) -> bool {
    text.len() >= 16
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

fn is_mixed(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Returns true for letters, digits, `-` and `_`.
pub(super) fn is_in_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')
}

/// Returns true for the characters of a parameter's value in a URL.
pub(super) fn is_in_parameter(b: u8) -> bool {
    is_in_token(b) || matches!(b, b'.' | b'%' | b'+' | b'/' | b'=' | b'~')
}

/// Returns true for the characters of `b64token` (RFC 6750).
fn is_in_credentials(b: u8) -> bool {
    is_in_token(b) || matches!(b, b'.' | b'~' | b'+' | b'/' | b'=')
}
