//! Recognizes a listed word in its other forms: inflected, or written together with another one.
//!
//! Plain English spelling, no dictionary; `words::UNLIKE` has the exceptions.

/// The shortest word that counts when it is written together with another one.
const MIN_TOGETHER: usize = 5;
/// The same for write words, of which many begin ordinary nouns.
const MIN_WRITE_TOGETHER: usize = 6;
/// What makes a noun or an adjective of a verb.
const NOUN_ENDINGS: &[&str] = &[
    "able", "ables", "ance", "ation", "ations", "ative", "ator", "ators", "ed", "ence", "er",
    "ers", "ing", "ings", "ion", "ions", "ive", "ment", "ments", "or", "ors", "r", "rs", "s",
];

/// The word itself, if the sorted list has it.
pub(super) fn find(list: &[&'static str], word: &str) -> Option<&'static str> {
    let at = list.binary_search(&word).ok()?;
    list.get(at).copied()
}

/// What a form in `-er` is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Agent {
    /// A `remover` removes.
    Counts,
    /// A `poster` is a thing.
    IsNoun,
}

/// The word of the list of which this is a form: `deletes`, `deleted`, `deleting`, `deleter`.
pub(super) fn inflected(list: &[&'static str], word: &str, agent: Agent) -> Option<&'static str> {
    let is_agent = word.ends_with("er") || word.ends_with("ers");
    let counts = match agent {
        Agent::Counts => true,
        Agent::IsNoun => !is_agent,
    };
    let mut verbs = with_initial(list, word).iter().copied();
    verbs.find(|verb| counts && is_form(verb, word))
}

/// The part of the sorted list that begins with the same byte.
fn with_initial<'a>(list: &'a [&'static str], word: &str) -> &'a [&'static str] {
    let initial = word.bytes().next();
    let from = list.partition_point(|verb| verb.bytes().next() < initial);
    let to = list.partition_point(|verb| verb.bytes().next() <= initial);
    list.get(from..to).unwrap_or_default()
}

fn is_form(verb: &str, word: &str) -> bool {
    // Short ones have too many neighbours: `put` and `puts`, `tar` and `tared`.
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

/// The high-risk word at either end of a run-together word: `deleteuser`, `userdeleted`.
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

/// The word of the list, of so many letters or more, that this one ends with.
pub(super) fn ending_of(list: &[&'static str], word: &str, min_len: usize) -> Option<&'static str> {
    let last = word.bytes().next_back();
    let mut verbs = list.iter().copied();
    verbs.find(|verb| {
        verb.bytes().next_back() == last && verb.len() >= min_len && word.ends_with(verb)
    })
}

/// The write word that a run-together word begins with: `createuser`, but not `installation`.
pub(super) fn at_the_start(list: &[&'static str], word: &str) -> Option<&'static str> {
    let mut verbs = with_initial(list, word).iter().copied();
    verbs.find(|verb| {
        let end = word.strip_prefix(verb);
        verb.len() >= MIN_WRITE_TOGETHER
            && end.is_some_and(|end| end.len() >= 3 && !NOUN_ENDINGS.contains(&end))
    })
}

/// Whether this is some plural. No third person is: verbs are looked for first.
pub(super) fn is_plural(word: &str) -> bool {
    word.len() >= 4 && word.ends_with('s') && !word.ends_with("ss")
}
