//! Splits a tool's name into words.
//!
//! It does not know what the words mean.

/// The ways to split a name, in lower case, with `_` between words.
pub(super) struct Readings {
    /// The distinct results, the most likely first.
    texts: Vec<String>,
}

impl Readings {
    /// Splits at capitals in three ways: `HTTPDelete` before the last capital of a run,
    /// `DELETEuser` after the run, and `dELETE` not at all. Each way also splits at characters that
    /// are neither letters nor digits, and between letters and digits.
    pub(super) fn of(name: &str) -> Readings {
        let mut texts: Vec<String> = Vec::new();
        let ways: &[Capitals] = match name.chars().any(char::is_uppercase) {
            true => &[Capitals::Acronyms, Capitals::Runs, Capitals::Ignored],
            false => &[Capitals::Ignored],
        };
        for &capitals in ways {
            let text = split(name, capitals);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        Readings { texts }
    }

    /// Returns the words of each split.
    pub(super) fn each(&self) -> impl Iterator<Item = Vec<&str>> {
        self.texts
            .iter()
            .map(|text| text.split('_').filter(|word| !word.is_empty()).collect())
    }
}

#[derive(Clone, Copy)]
enum Capitals {
    /// `HTTPDelete` is `http` and `delete`.
    Acronyms,
    /// `DELETEuser` is `delete` and `user`.
    Runs,
    /// `dELETE` is `delete`.
    Ignored,
}

fn split(name: &str, capitals: Capitals) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    let mut chars = name.chars().peekable();
    let (mut before, mut last) = (None, None);
    while let Some(c) = chars.next() {
        if !c.is_alphanumeric() {
            text.push('_');
            (before, last) = (None, None);
            continue;
        }
        let next = chars.peek().copied();
        if last.is_some_and(|last| is_boundary(before, last, c, next, capitals)) {
            text.push('_');
        }
        text.extend(c.to_lowercase());
        (before, last) = (last, Some(c));
    }
    text
}

/// Returns true if a word begins at `c`, which follows `last`.
fn is_boundary(
    before: Option<char>,
    last: char,
    c: char,
    next: Option<char>,
    capitals: Capitals,
) -> bool {
    if last.is_numeric() != c.is_numeric() {
        return true;
    }
    let begins_hump = !last.is_uppercase() && c.is_uppercase();
    match capitals {
        Capitals::Acronyms => {
            let ends_acronym = last.is_uppercase()
                && c.is_uppercase()
                && next.is_some_and(|next| next.is_lowercase());
            begins_hump || ends_acronym
        }
        Capitals::Runs => {
            let ends_run =
                last.is_uppercase() && before.is_some_and(char::is_uppercase) && c.is_lowercase();
            begins_hump || ends_run
        }
        Capitals::Ignored => false,
    }
}
