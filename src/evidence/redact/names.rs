//! Which names stand for secrets: of keys, headers, parameters, variables and flags.
//!
//! It only looks at names; secrets that show in a value are found by `strings`.

use crate::mcp::lenient;

/// What a name says about the value beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// Nothing.
    Plain,
    /// The value is a secret, unless it is a number: `tokens`.
    SecretUnlessNumber,
    /// The value is a secret.
    Secret,
}

/// What a word does to the name that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Makes the name a secret's.
    Secret,
    /// The same, but not before an address or a method.
    Authorization,
    /// Only at the end: `auth_url` and `auth_method` are no secrets.
    Auth,
    /// Only at the end, and not in `first_pass` or `gpio_pin`.
    Pass,
    /// Only alone, or in the name of a session's cookie.
    Sid,
    /// Not in a place in a list, such as `page_token`.
    Token,
    /// The same, and not where tokens are counted.
    Tokens,
    /// Only behind certain words; see [`PAIRS`].
    End,
}

/// The words that matter.
#[rustfmt::skip] // One word a line would hide how short the list is.
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

/// Words that make a secret's name together: one of the first behind one of the second, as two words
/// or written as one.
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

/// Unmistakable wherever they stand in a name: `pgpassword_file`.
const ANYWHERE: &[&str] = &["password", "passwd", "passphrase", "credential"];

/// In a name that ends so, the secret's word only says what is measured or described.
#[rustfmt::skip] // As above.
pub(super) const MEASURES: &[&str] = &[
    "count", "counts", "limit", "limits", "length", "len", "size", "type", "types", "policy", "budget",
    "usage", "used", "expiry", "expiration", "expires", "ttl", "lifetime", "at", "in", "seconds",
    "minutes", "hours", "days", "second", "minute", "hour", "day", "month", "format", "required",
    "enabled", "max", "min", "remaining", "total", "cost", "rate", "stdin", "strength",
];

/// Behind these, a token is a place in a list, or one that a language model reads.
#[rustfmt::skip] // As above.
pub(super) const PLACES: &[&str] = &[
    "page", "next", "prev", "previous", "continuation", "continue", "pagination", "paging", "cursor",
    "sync", "resume", "delta", "skip", "start", "end", "stop", "progress", "eos", "bos", "pad", "mask",
    "unk", "sep", "cls", "special",
];

/// Behind these, tokens are counted.
#[rustfmt::skip] // As above.
pub(super) const COUNTED: &[&str] = &[
    "max", "min", "num", "number", "n", "total", "prompt", "completion", "input", "output", "cached",
    "cache", "reasoning", "thinking", "budget", "new", "text", "image", "audio", "used", "remaining",
    "context",
];

/// Before these, authorization and tokens say where or how, not what.
#[rustfmt::skip] // As above.
const MANNERS: &[&str] = &[
    "url", "uri", "endpoint", "server", "servers", "method", "methods", "mode", "scheme", "status",
    "provider", "domain", "host", "realm",
];

/// Behind these, `pass` and `pin` are something else.
#[rustfmt::skip] // As above.
const OTHER_SENSES: &[&str] = &[
    "first", "second", "third", "single", "multi", "two", "one", "boarding", "by", "low", "high", "band",
    "gpio", "map", "led", "season",
];

/// Behind these, `sid` is a session's.
const SESSIONS: &[&str] = &["connect", "session", "php", "express"];

/// What a name says about the value beside it.
pub(super) fn judge(name: &str) -> Verdict {
    // Nearly every name ends here.
    if !is_suspicious(name.as_bytes()) {
        return Verdict::Plain;
    }
    let words = Words::of(name);
    let verdict = words.judge();
    // The end of a very long name counts as well as its beginning.
    if verdict == Verdict::Plain && !words.is_whole {
        return Words::of_end(name).judge();
    }
    verdict
}

/// Whether the words of `wanted` stand in `name`, one behind the other.
pub(super) fn has_words(name: &str, wanted: &str) -> bool {
    let wanted = Words::of(wanted);
    let is_in = |words: &Words| wanted.count > 0 && words.spell(wanted.joined());
    let words = Words::of(name);
    is_in(&words) || (!words.is_whole && is_in(&Words::of_end(name)))
}

/// Whether a name is one of the words `last`, or one of them behind one of `first`.
pub(super) fn is_named(name: &str, first: &[&str], last: &[&str]) -> bool {
    let words = Words::of(name);
    match words.count {
        1 => is_in(last, words.word(0)),
        2 => is_in(first, words.word(0)) && is_in(last, words.word(1)),
        _ => false,
    }
}

/// Whether a name could be a secret's, so that it has to be taken apart: something in it begins like a
/// word that no such name lacks. A test holds this against the words.
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
            // Only whole: `path` is no `pat`.
            [b'p', b'w', next, _] | [b'p', b'a', b't', next] => !next.is_ascii_lowercase(),
            // Letters that look like ours.
            [first, ..] => !first.is_ascii(),
        }
    })
}

/// How many bytes of a name are looked at, and how many words.
const MAX_BYTES: usize = 128;
const MAX_WORDS: usize = 32;
/// How many bytes of the end of a longer name: never more words than there is room for.
const MAX_END: usize = 48;

/// The words of a name in lower case. `dbPassword`, `DB_PASSWORD` and `db-password` have the same.
struct Words {
    /// One behind the other.
    text: [u8; MAX_BYTES],
    /// Where each one ends.
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
        // Full-width letters are letters, and what draws nothing is nothing.
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

    /// Ends the word that is being read, if there is one. False if there is no room for it.
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

    /// A word without the digits at its end; empty if there is none.
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

    /// Whether whole words, one behind the other, are written like this.
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

/// What a word says that others are part of: `dbpassword`, `slacktoken`, `apikey`.
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
    /// Nothing that words are made of.
    None,
}

impl Class {
    fn of(byte: u8) -> Class {
        match byte {
            // What is left beyond ASCII is letters in lower case.
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
