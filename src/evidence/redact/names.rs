//! Recognizes names of secrets: of keys, headers, parameters, variables and flags.
//!
//! It looks at names only; `strings` finds secrets by their value.

use crate::mcp::lenient;

/// What a name says about the value next to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// Nothing.
    Plain,
    /// The value is a secret, unless it is a number: `tokens`.
    SecretUnlessNumber,
    /// The value is a secret.
    Secret,
}

/// How a word affects the name that contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Makes the name a secret's name.
    Secret,
    /// Like `Secret`, but not before an address or a method.
    Authorization,
    /// Only at the end: `auth_url` and `auth_method` are not secret.
    Auth,
    /// Only at the end, and not in `first_pass` or `gpio_pin`.
    Pass,
    /// Only alone, or in the name of a session cookie.
    Sid,
    /// Not for a position in a list, such as `page_token`.
    Token,
    /// Like `Token`, and not if tokens are counted.
    Tokens,
    /// Only after certain words; see [`PAIRS`].
    End,
}

/// The words that matter.
#[rustfmt::skip] // One word per line would make the list look long.
pub(super) const WORDS: &[(&str, Kind)] = &[
    ("password", Kind::Secret), ("passwords", Kind::Secret), ("passwd", Kind::Secret),
    ("passphrase", Kind::Secret), ("passcode", Kind::Secret), ("passkey", Kind::Secret),
    ("pwd", Kind::Secret), ("secret", Kind::Secret), ("secrets", Kind::Secret),
    ("credential", Kind::Secret), ("credentials", Kind::Secret), ("cred", Kind::Secret),
    ("creds", Kind::Secret), ("bearer", Kind::Secret), ("jwt", Kind::Secret), ("dsn", Kind::Secret),
    ("otp", Kind::Secret), ("totp", Kind::Secret), ("hotp", Kind::Secret), ("cookie", Kind::Secret),
    ("cookies", Kind::Secret), ("psk", Kind::Secret), ("csrf", Kind::Secret), ("xsrf", Kind::Secret),
    ("cvv", Kind::Secret), ("cvc", Kind::Secret), ("mnemonic", Kind::Secret),
    ("connstr", Kind::Secret), ("sessid", Kind::Secret), ("phpsessid", Kind::Secret),
    ("accesskeyid", Kind::Secret),
    ("authorization", Kind::Authorization), ("auth", Kind::Auth), ("oauth", Kind::Auth),
    ("pass", Kind::Pass), ("pw", Kind::Pass), ("mfa", Kind::Pass), ("2fa", Kind::Pass),
    ("pin", Kind::Pass), ("sid", Kind::Sid), ("token", Kind::Token), ("tokens", Kind::Tokens),
    ("key", Kind::End), ("keys", Kind::End), ("code", Kind::End), ("codes", Kind::End),
    ("phrase", Kind::End), ("word", Kind::End), ("string", Kind::End), ("str", Kind::End),
    ("id", Kind::End), ("answer", Kind::End), ("hash", Kind::End), ("header", Kind::End),
    ("headers", Kind::End), ("value", Kind::End), ("data", Kind::End), ("number", Kind::End),
    ("pat", Kind::End), ("assertion", Kind::End),
];

/// Words that form a secret's name together: one of the first list after one of the second, as two words or written as
/// one.
#[rustfmt::skip] // As above.
pub(super) const PAIRS: &[(&[&str], &[&str])] = &[
    (&["key", "keys"], &[
        "api", "access", "private", "priv", "secret", "signing", "encryption", "decryption", "cipher",
        "master", "auth", "account", "storage", "shared", "ssh", "gpg", "pgp", "rsa", "subscription",
        "deploy", "deployment", "session", "hmac", "aes", "app", "application", "client", "consumer",
        "license", "licence", "function", "functions", "wallet", "recovery", "service", "admin", "root",
        "pass", "token", "tls", "ssl",
    ]),
    (&["code", "codes"], &[
        "otp", "totp", "mfa", "2fa", "auth", "authorization", "verification", "recovery", "backup",
        "security", "pin", "pass", "login", "factor",
    ]),
    (&["phrase"], &["pass", "seed", "recovery"]),
    (&["word"], &["pass", "seed"]),
    (&["string", "str"], &["connection", "conn"]),
    (&["id"], &["session", "sess"]),
    (&["answer"], &["security"]),
    (&["hash", "header", "headers", "value", "data", "number"], &["auth", "pass", "pin", "pw"]),
    (&["pat"], &["github", "gitlab", "gh", "personal", "azure", "ado"]),
    (&["assertion"], &["client", "saml"]),
];

/// Clear anywhere in a name: `pgpassword_file`.
const ANYWHERE: &[&str] = &["password", "passwd", "passphrase", "credential"];

/// At the end of a name, these mean that the value only measures or describes a secret.
#[rustfmt::skip] // As above.
pub(super) const MEASURES: &[&str] = &[
    "count", "counts", "limit", "limits", "length", "len", "size", "type", "types", "policy", "budget",
    "usage", "used", "expiry", "expiration", "expires", "ttl", "lifetime", "at", "in", "seconds",
    "minutes", "hours", "days", "second", "minute", "hour", "day", "month", "format", "required",
    "enabled", "max", "min", "remaining", "total", "cost", "rate", "stdin", "strength",
];

/// After these, a token is a position in a list, or a token of a language model.
#[rustfmt::skip] // As above.
pub(super) const PLACES: &[&str] = &[
    "page", "next", "prev", "previous", "continuation", "continue", "pagination", "paging", "cursor",
    "sync", "resume", "delta", "skip", "start", "end", "stop", "progress", "eos", "bos", "pad", "mask",
    "unk", "sep", "cls", "special",
];

/// After these, tokens are counted.
#[rustfmt::skip] // As above.
pub(super) const COUNTED: &[&str] = &[
    "max", "min", "num", "number", "n", "total", "prompt", "completion", "input", "output", "cached",
    "cache", "reasoning", "thinking", "budget", "new", "text", "image", "audio", "used", "remaining",
    "context",
];

/// Before these, authorization and tokens are a place or a method, not a value.
#[rustfmt::skip] // As above.
const MANNERS: &[&str] = &[
    "url", "uri", "endpoint", "server", "servers", "method", "methods", "mode", "scheme", "status",
    "provider", "domain", "host", "realm",
];

/// After these, `pass` and `pin` mean something else.
#[rustfmt::skip] // As above.
const OTHER_SENSES: &[&str] = &[
    "first", "second", "third", "single", "multi", "two", "one", "boarding", "by", "low", "high", "band",
    "gpio", "map", "led", "season",
];

/// After these, `sid` is a session's id.
const SESSIONS: &[&str] = &["connect", "session", "php", "express"];

/// Returns what a name says about the value next to it.
pub(super) fn judge(name: &str) -> Verdict {
    // Nearly every name returns here.
    if !is_suspicious(name.as_bytes()) {
        return Verdict::Plain;
    }
    let words = Words::of(name);
    let verdict = words.judge();
    // In a very long name, the end counts as well as the beginning.
    if verdict == Verdict::Plain && !words.is_whole {
        return Words::of_end(name).judge();
    }
    verdict
}

/// Returns true if `name` contains the words of `wanted` in sequence.
pub(super) fn has_words(name: &str, wanted: &str) -> bool {
    let wanted = Words::of(wanted);
    let is_in = |words: &Words| wanted.count > 0 && words.spell(wanted.joined());
    let words = Words::of(name);
    is_in(&words) || (!words.is_whole && is_in(&Words::of_end(name)))
}

/// Returns true if a name is one of the words in `last`, or one of `first` followed by one of `last`.
pub(super) fn is_named(name: &str, first: &[&str], last: &[&str]) -> bool {
    let words = Words::of(name);
    match words.count {
        1 => is_in(last, words.word(0)),
        2 => is_in(first, words.word(0)) && is_in(last, words.word(1)),
        _ => false,
    }
}

/// Quickly checks if a name could be a secret's name. Every such name contains a word that begins like one of these. A
/// test compares this with the word list.
fn is_suspicious(name: &[u8]) -> bool {
    let lower = |at: usize| name.get(at).map_or(0, |b| b | 32);
    let mut four = [0, lower(0), lower(1), lower(2)];
    (3..name.len() + 3).any(|at| {
        let [_, first, second, third] = four;
        four = [first, second, third, lower(at)];
        match &four {
            b"pass" | b"secr" | b"secu" | b"sess" | b"seed" | b"cred" | b"bear" | b"cook"
            | b"code" | b"conn" | b"mnem" | b"auth" | b"toke" | b"phra" | b"asse" => true,
            [b'p', b'w', b'd', _]
            | [b'j', b'w', b't', _]
            | [b'd', b's', b'n', _]
            | [b'o', b't', b'p', _]
            | [b'p', b's', b'k', _]
            | [b's', b'r', b'f', _]
            | [b'c', b'v', b'v' | b'c', _]
            | [b'm' | b'2', b'f', b'a', _]
            | [b'p', b'i', b'n', _]
            | [b's', b'i', b'd', _]
            | [b'k', b'e', b'y', _] => true,
            // Whole words only: `path` does not contain `pat`.
            [b'p', b'w', next, _] | [b'p', b'a', b't', next] => !next.is_ascii_lowercase(),
            // Letters that look like ASCII letters.
            [first, ..] => !first.is_ascii(),
        }
    })
}

/// How many bytes and words of a name are read.
const MAX_BYTES: usize = 128;
const MAX_WORDS: usize = 32;
/// How many bytes at the end of a longer name are read. They never hold more words than fit.
const MAX_END: usize = 48;

/// The words of a name in lower case: the same for `dbPassword`, `DB_PASSWORD` and `db-password`.
struct Words {
    /// The words without separators.
    text: [u8; MAX_BYTES],
    /// The end of each word.
    ends: [u8; MAX_WORDS],
    count: usize,
    /// Whether the whole name has been read.
    is_whole: bool,
}

impl Words {
    fn of(name: &str) -> Words {
        if name.is_ascii() {
            return Words::read(name.as_bytes());
        }
        // Full-width letters count as letters, and invisible characters are dropped.
        let mut plain = String::with_capacity(name.len());
        for c in name.chars().take(2 * MAX_BYTES) {
            match c.is_ascii() {
                true => plain.push(c),
                false => plain.push_str(&lenient::fold(c.encode_utf8(&mut [0; 4]))),
            }
        }
        let words = Words::read(plain.as_bytes());
        Words {
            is_whole: words.is_whole && name.chars().nth(2 * MAX_BYTES).is_none(),
            ..words
        }
    }

    fn of_end(name: &str) -> Words {
        let mut start = name.len().saturating_sub(MAX_END);
        while !name.is_char_boundary(start) {
            start += 1;
        }
        Words::of(name.get(start..).unwrap_or_default())
    }

    fn read(name: &[u8]) -> Words {
        let mut words = Words {
            text: [0; MAX_BYTES],
            ends: [0; MAX_WORDS],
            count: 0,
            is_whole: false,
        };
        let mut length = 0;
        let mut before = Class::None;
        let mut at = 0;
        while let Some(&byte) = name.get(at) {
            let class = Class::of(byte);
            // `api%5Fkey`
            if byte == b'%' && is_hex(name.get(at + 1)) && is_hex(name.get(at + 2)) {
                at += 2;
            }
            at += 1;
            let is_start = match (before, class) {
                (_, Class::None) | (Class::Lower | Class::Digit, Class::Upper) => true,
                // `APIKey`
                (Class::Upper, Class::Upper) => name.get(at).is_some_and(u8::is_ascii_lowercase),
                _ => false,
            };
            before = class;
            if is_start && !words.end_word(length) {
                return words;
            }
            if class == Class::None {
                continue;
            }
            let Some(slot) = words.text.get_mut(length) else {
                words.end_word(length);
                return words;
            };
            *slot = byte.to_ascii_lowercase();
            length += 1;
        }
        words.is_whole = words.end_word(length);
        words
    }

    /// Ends the current word, if any. Returns false if there is no room for it.
    fn end_word(&mut self, length: usize) -> bool {
        if length == self.start(self.count) {
            return true;
        }
        let Some(end) = self.ends.get_mut(self.count) else {
            return false;
        };
        *end = u8::try_from(length).unwrap_or(u8::MAX);
        self.count += 1;
        true
    }

    fn start(&self, word: usize) -> usize {
        let before = word.checked_sub(1).and_then(|before| self.ends.get(before));
        before.map_or(0, |end| usize::from(*end))
    }

    /// Returns a word without its trailing digits; empty if there is no such word.
    fn word(&self, word: usize) -> &[u8] {
        if word >= self.count {
            return &[];
        }
        let range = self.start(word)..self.start(word + 1);
        let mut text = self.text.get(range).unwrap_or_default();
        while let [rest @ .., b'0'..=b'9'] = text {
            text = rest;
        }
        text
    }

    fn joined(&self) -> &[u8] {
        self.text.get(..self.start(self.count)).unwrap_or_default()
    }

    /// Returns true if a sequence of whole words is written like `wanted`.
    fn spell(&self, wanted: &[u8]) -> bool {
        let joined = self.joined();
        (0..self.count).any(|first| {
            let start = self.start(first);
            let rest = joined.get(start..).unwrap_or_default();
            let end = start + wanted.len();
            // Digits may follow, as in `name2`.
            let is_end = |word| {
                let digits = joined.get(end..self.start(word));
                digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
            };
            rest.starts_with(wanted) && (first + 1..=self.count).any(is_end)
        })
    }

    fn judge(&self) -> Verdict {
        let Some(last) = self.count.checked_sub(1) else {
            return Verdict::Plain;
        };
        let mut found = Verdict::Plain;
        for at in 0..self.count {
            found = found.max(self.judge_word(at, last));
        }
        if last > 0 {
            found = found.max(written_as_one(self.joined()));
        }
        if found > Verdict::Plain && last > 0 && is_in(MEASURES, self.word(last)) {
            return Verdict::Plain;
        }
        found
    }

    fn judge_word(&self, at: usize, last: usize) -> Verdict {
        let word = self.word(at);
        let Some(kind) = kind(word) else {
            return written_as_one(word);
        };
        let before = at
            .checked_sub(1)
            .map_or(&[][..], |before| self.word(before));
        let after = self.word(at + 1);
        let is_place = || is_in(PLACES, before);
        let is_secret = match kind {
            Kind::Secret => true,
            Kind::Authorization => !is_in(MANNERS, after),
            Kind::Auth => at == last,
            Kind::Pass => at == last && !is_in(OTHER_SENSES, before),
            Kind::Sid => self.count == 1 || is_in(SESSIONS, before),
            Kind::Token => !is_place() && !is_in(MANNERS, after),
            Kind::Tokens if is_place() || is_in(COUNTED, before) => false,
            Kind::Tokens => return Verdict::SecretUnlessNumber,
            Kind::End => {
                let mut pairs = PAIRS.iter();
                pairs.any(|(ends, heads)| is_in(ends, word) && is_in(heads, before))
            }
        };
        match is_secret {
            true => Verdict::Secret,
            false => Verdict::Plain,
        }
    }
}

/// Returns what a word says that contains other words: `dbpassword`, `slacktoken`, `apikey`.
fn written_as_one(word: &[u8]) -> Verdict {
    let behind = |rest: &[u8], lists: &[&[&str]]| {
        let mut heads = lists.iter().copied().flatten();
        heads.any(|head| rest.ends_with(head.as_bytes()))
    };
    let secret_unless = |is_none: bool, secret: Verdict| match is_none {
        true => Verdict::Plain,
        false => secret,
    };
    if let Some(rest) = word.strip_suffix(b"token") {
        return secret_unless(rest.is_empty() || behind(rest, &[PLACES]), Verdict::Secret);
    }
    if let Some(rest) = word.strip_suffix(b"tokens") {
        let is_count = rest.is_empty() || behind(rest, &[PLACES, COUNTED]);
        return secret_unless(is_count, Verdict::SecretUnlessNumber);
    }
    if word.ends_with(b"secret") || word.ends_with(b"secrets") {
        return Verdict::Secret;
    }
    let mut pairs = PAIRS.iter();
    let is_pair = pairs.any(|(ends, heads)| {
        let mut rests = ends
            .iter()
            .filter_map(|end| word.strip_suffix(end.as_bytes()));
        rests.any(|rest| behind(rest, &[heads]))
    });
    match is_pair {
        true => Verdict::Secret,
        false => anywhere(word),
    }
}

fn anywhere(word: &[u8]) -> Verdict {
    let is_in_it = |known: &str| {
        let mut places = word.windows(known.len());
        places.any(|place| place == known.as_bytes())
    };
    match ANYWHERE.iter().any(|known| is_in_it(known)) {
        true => Verdict::Secret,
        false => Verdict::Plain,
    }
}

fn kind(word: &[u8]) -> Option<Kind> {
    let found = WORDS.iter().find(|(known, _)| known.as_bytes() == word);
    found.map(|(_, kind)| *kind)
}

fn is_in(list: &[&str], word: &[u8]) -> bool {
    list.iter().any(|known| known.as_bytes() == word)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
    /// Not part of a word.
    None,
}

impl Class {
    fn of(byte: u8) -> Class {
        match byte {
            // The bytes beyond ASCII that remain are lower-case letters.
            b'a'..=b'z' | 0x80.. => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            b'0'..=b'9' => Class::Digit,
            _ => Class::None,
        }
    }
}

fn is_hex(byte: Option<&u8>) -> bool {
    byte.is_some_and(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests;
