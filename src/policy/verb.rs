//! Finds the words in a tool's name that suggest a change or a read.
//!
//! The lists are in `words`; `decide` weighs words against hints.

mod forms;
mod split;
mod words;

use forms::{Agent, find, is_plural};
use split::Readings;
use words::{
    AT_THE_END, CONJUNCTIONS, HIGH_RISK, NOUN_LIKE, NOUNS, PROGRAMS, READ, READ_NOUNS, TRAILING,
    UNLIKE, WRITE,
};

/// The words in a tool's name that count: the first of each list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verbs {
    /// A high-risk word at any position.
    pub(super) high_risk: Option<&'static str>,
    /// A write word, unless the name begins with a read word.
    pub(super) write: Option<&'static str>,
    /// The read word at the beginning of the name, if no write word counts.
    pub(super) read: Option<&'static str>,
}

impl Verbs {
    /// Finds the words that count in a tool's name.
    pub(super) fn of(name: &str) -> Verbs {
        let readings = Readings::of(name);
        let mut verbs = Verbs::default();
        // The server chooses the name and may want to hide a word, so the name is split in several
        // ways. A high-risk word counts in any of them. A write word counts unless an earlier split
        // found a read word at the beginning.
        for words in readings.each() {
            verbs.high_risk = verbs.high_risk.or_else(|| high_risk_word(&words));
            if verbs.read.is_some() {
                continue;
            }
            match verb(&words) {
                Verb::Reads(word) if verbs.write.is_none() => verbs.read = Some(word),
                Verb::Writes(word) => verbs.write = verbs.write.or(Some(word)),
                Verb::Reads(_) | Verb::Unknown => {}
            }
        }
        verbs
    }
}

/// What a name's words mean, read from left to right.
enum Verb {
    Reads(&'static str),
    Writes(&'static str),
    Unknown,
}

fn verb(words: &[&str]) -> Verb {
    let lead = leading_read_word(words).filter(|&(at, read)| !is_another_verb(words, at, read));
    let write = match lead {
        // `get_commit` names a commit; `get_or_create_user` may create a user.
        Some((at, read)) if !has_conjunction(words) && !is_before_verb(words, at, read) => None,
        Some(_) | None => first_write_word(words),
    };
    let write = write.or_else(|| match words {
        // A program that runs its input.
        [only] => find(PROGRAMS, only),
        [name, version] if version.bytes().all(|b| b.is_ascii_digit()) => find(PROGRAMS, name),
        _ => None,
    });
    match (write, lead) {
        (Some(word), _) => Verb::Writes(word),
        (None, Some((_, word))) => Verb::Reads(word),
        (None, None) => Verb::Unknown,
    }
}

/// Returns the read word that a name begins with, and its position.
///
/// Many names begin with the server or the kind of thing: `slack_get_users`, `pods_list`. So known
/// nouns and plurals are skipped. After any other word, only a read word that is hardly ever a noun
/// counts: `zendesk_list_tickets`, but not `frobnicate_list`.
fn leading_read_word(words: &[&str]) -> Option<(usize, &'static str)> {
    let mut are_nouns = true;
    for (at, word) in words.iter().enumerate() {
        let is_last = at + 1 == words.len();
        if let Some(read) = find(READ, word) {
            let is_verb = are_nouns || !is_last || matches!(read, "get" | "search" | "lookup");
            return is_verb.then_some((at, read));
        }
        if let Some(read) = find(READ_NOUNS, word)
            && is_last
            && are_nouns
        {
            return Some((at, read));
        }
        match (*word, words.get(at + 1).copied()) {
            // A noun: `pull_request_read`.
            ("pull" | "merge", Some("request" | "requests")) => continue,
            ("request" | "requests", _) if at > 0 => continue,
            ("place", Some("details")) | ("reverse", Some("geocode")) => continue,
            ("look", Some("up")) => return Some((at + 1, "lookup")),
            ("browser" | "page", Some("snapshot")) if is_last_but_one(at, words) => {
                return Some((at + 1, "snapshot"));
            }
            ("take" | "capture", Some("screenshot")) if is_last_but_one(at, words) => {
                return Some((at + 1, "screenshot"));
            }
            // `pods_log`, but not `log_call`.
            ("log", None) if at > 0 && are_nouns => return Some((at, "log")),
            // `post_get`, `commit_describe`: the noun comes first.
            (
                "call" | "charge" | "checkout" | "comment" | "commit" | "draft" | "label"
                | "message" | "order" | "post" | "record" | "release" | "report" | "script"
                | "store" | "tag",
                Some("get" | "describe"),
            ) => continue,
            _ => {}
        }
        if write_word(word).is_some() {
            return None;
        }
        are_nouns &= is_noun(word);
    }
    None
}

fn is_last_but_one(at: usize, words: &[&str]) -> bool {
    at + 2 == words.len()
}

fn is_noun(word: &str) -> bool {
    word.len() < 2
        || word.bytes().all(|b| b.is_ascii_digit())
        || NOUNS.binary_search(&word).is_ok()
        || is_plural(word)
}

/// For example `find_and_modify`, which does both.
fn has_conjunction(words: &[&str]) -> bool {
    words.iter().any(|word| CONJUNCTIONS.contains(word))
}

/// Returns true if a read word and the next word form another verb: `check_out`.
fn is_another_verb(words: &[&str], at: usize, read: &str) -> bool {
    match (read, words.get(at + 1).copied()) {
        ("check", Some(next)) => matches!(next, "in" | "out"),
        ("extract", Some(next)) => {
            matches!(next, "all" | "archive" | "file" | "files" | "tar" | "zip")
        }
        ("recall", Some(next)) => {
            matches!(next, "email" | "mail" | "message" | "messages" | "order")
        }
        _ => false,
    }
}

/// Returns true if a read word may be a noun here, followed by the verb: `search_replace`,
/// `list_append`, `compute_stop_instance`.
fn is_before_verb(words: &[&str], at: usize, read: &str) -> bool {
    let ends_in_verb = || {
        let last = words.iter().skip(at + 1).next_back();
        last.is_some_and(|last| TRAILING.contains(last))
    };
    matches!(read, "cat" | "compute" | "dig" | "head" | "tail")
        || (NOUN_LIKE.contains(&read) && ends_in_verb())
}

fn high_risk_word(words: &[&str]) -> Option<&'static str> {
    words.iter().find_map(|word| {
        let exact = find(HIGH_RISK, word);
        if exact.is_some() || UNLIKE.binary_search(word).is_ok() {
            return exact;
        }
        forms::inflected(HIGH_RISK, word, Agent::Counts)
            .or_else(|| forms::at_an_end(HIGH_RISK, word))
    })
}

fn first_write_word(words: &[&str]) -> Option<&'static str> {
    // `updates_user` updates, but in `user_updates` the same word is a noun.
    let front = match words {
        [first, _, ..] if first.ends_with('s') && !NOUNS.contains(first) => {
            forms::inflected(WRITE, first, Agent::IsNoun)
        }
        _ => None,
    };
    front.or_else(|| words.iter().find_map(|word| write_word(word)))
}

fn write_word(word: &str) -> Option<&'static str> {
    let exact = find(WRITE, word);
    if exact.is_some() || UNLIKE.binary_search(&word).is_ok() {
        return exact;
    }
    forms::inflected(WRITE, word, Agent::IsNoun)
        .or_else(|| forms::at_the_start(WRITE, word))
        .or_else(|| forms::ending_of(AT_THE_END, word, 0))
}

#[cfg(test)]
mod tests;
