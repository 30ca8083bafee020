//! Recognizes other forms of a listed word: inflected, or run together with another word.
//!
//! It knows plain English spelling and has no dictionary; `words::UNLIKE` lists the exceptions.

/// The shortest word that counts when run together with another word.
const MIN_TOGETHER: usize = 5;
/// The same for write words. Many short ones begin an ordinary noun.
const MIN_WRITE_TOGETHER: usize = 6;
/// Endings that turn a verb into a noun or an adjective.
const NOUN_ENDINGS: &[&str] = &[
    "able", "ables", "ance", "ation", "ations", "ative", "ator", "ators", "ed", "ence", "er",
    "ers", "ing", "ings", "ion", "ions", "ive", "ment", "ments", "or", "ors", "r", "rs", "s",
];

/// Returns the word if it is in the sorted list.
pub(super) fn find(list: &[&'static str], word: &str) -> Option<&'static str> {
    let at = list.binary_search(&word).ok()?;
    list.get(at).copied()
}

/// How to treat a form that ends in `-er`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Agent {
    /// A `remover` removes.
    Counts,
    /// A `poster` is a thing.
    IsNoun,
}

/// Returns the listed word that this is a form of: `deletes`, `deleted`, `deleting`, `deleter`.
pub(super) fn inflected(list: &[&'static str], word: &str, agent: Agent) -> Option<&'static str> {
    let is_agent = word.ends_with("er") || word.ends_with("ers");
    let counts = match agent {
        Agent::Counts => true,
        Agent::IsNoun => !is_agent,
    };
    let mut verbs = with_initial(list, word).iter().copied();
    verbs.find(|verb| counts && is_form(verb, word))
}

/// Returns the part of the sorted list whose words begin with the same byte.
fn with_initial<'a>(list: &'a [&'static str], word: &str) -> &'a [&'static str] {
    let initial = word.bytes().next();
    let from = list.partition_point(|verb| verb.bytes().next() < initial);
    let to = list.partition_point(|verb| verb.bytes().next() <= initial);
    list.get(from..to).unwrap_or_default()
}

fn is_form(verb: &str, word: &str) -> bool {
    // Short words have too many lookalikes: `put` and `puts`, `tar` and `tared`.
    if verb.len() < 3 {
        return false;
    }
    if let Some(end) = word.strip_prefix(verb) {
        let doubled = match (verb.chars().last(), end.chars().next()) {
            (Some(a), Some(b)) if a == b => end.get(b.len_utf8()..).unwrap_or_default(),
            _ => "",
        };
        return match verb.ends_with('e') {
            true => matches!(end, "s" | "d" | "r" | "rs"),
            false => {
                matches!(end, "s" | "es" | "ed" | "ing" | "er" | "ers")
                    || matches!(doubled, "ed" | "ing" | "er" | "ers")
            }
        };
    }
    if let Some(stem) = verb.strip_suffix('e') {
        return word.strip_prefix(stem) == Some("ing");
    }
    if let Some(stem) = verb.strip_suffix('y') {
        return matches!(word.strip_prefix(stem), Some("ies" | "ied"));
    }
    false
}

/// Returns the high-risk word at either end of a run-together word: `deleteuser`, `userdeleted`.
pub(super) fn at_an_end(list: &[&'static str], word: &str) -> Option<&'static str> {
    if word.len() <= MIN_TOGETHER {
        return None;
    }
    let starts = |verb: &&str| verb.len() >= MIN_TOGETHER && word.starts_with(*verb);
    let in_front = with_initial(list, word).iter().copied().find(starts);
    in_front.or_else(|| {
        ["", "s", "d", "ed", "r", "rs", "er"]
            .into_iter()
            .filter_map(|ending| word.strip_suffix(ending))
            .find_map(|bare| ending_of(list, bare, MIN_TOGETHER))
    })
}

/// Returns the listed word, at least `min_len` letters long, that this word ends with.
pub(super) fn ending_of(list: &[&'static str], word: &str, min_len: usize) -> Option<&'static str> {
    let last = word.bytes().next_back();
    let mut verbs = list.iter().copied();
    verbs.find(|verb| {
        verb.bytes().next_back() == last && verb.len() >= min_len && word.ends_with(verb)
    })
}

/// Returns the write word that a run-together word begins with: `createuser`, but not
/// `installation`.
pub(super) fn at_the_start(list: &[&'static str], word: &str) -> Option<&'static str> {
    let mut verbs = with_initial(list, word).iter().copied();
    verbs.find(|verb| {
        let end = word.strip_prefix(verb);
        verb.len() >= MIN_WRITE_TOGETHER
            && end.is_some_and(|end| end.len() >= 3 && !NOUN_ENDINGS.contains(&end))
    })
}

/// Returns true for a likely plural. Verbs in the third person were found before.
pub(super) fn is_plural(word: &str) -> bool {
    word.len() >= 4 && word.ends_with('s') && !word.ends_with("ss")
}
