//! Finds the known name that is most similar to an unknown one.
//!
//! For suggestions only: a misspelled name is never accepted.

/// Returns the candidate that is most similar to `name`, ignoring case, `_` and `-`.
///
/// A candidate that contains `name` wins (`deny` is in `alwaysDeny`). Otherwise the spelling decides, the
/// start more than the end.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = plain(name);
    let similarity = |candidate: &str| {
        let candidate = plain(candidate);
        let part = f64::from(u8::from(!name.is_empty() && candidate.contains(&name)));
        part + strsim::jaro_winkler(&name, &candidate)
    };
    let rated = candidates.into_iter().map(|one| (similarity(one), one));
    rated
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Returns true if `name` may be a misspelling of `candidate`: a part of it, or a few letters different.
pub(super) fn is_similar(name: &str, candidate: &str) -> bool {
    let is_part = plain(name).len() > 2 && plain(candidate).contains(&plain(name));
    is_part || edits(name, candidate) <= plain(candidate).len() / 3
}

/// Returns the edit distance between `a` and `b`, ignoring case, `_` and `-`.
pub(super) fn edits(a: &str, b: &str) -> usize {
    strsim::levenshtein(&plain(a), &plain(b))
}

/// Returns the name in lower case, without `_` and `-`.
pub(super) fn plain(name: &str) -> String {
    // Truncated, so that comparing a huge key is cheap.
    name.chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .take(80)
        .collect::<String>()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{is_similar, nearest};

    #[test]
    fn the_nearest_name_ignores_case_and_separators() {
        let known = ["mode", "alwaysDeny", "timeout", "timeoutAction", "dryRun"];
        for (name, meant) in [
            ("Mode", "mode"),
            ("mod", "mode"),
            ("deny", "alwaysDeny"),
            ("time_out", "timeout"),
            ("time_out-a", "timeoutAction"),
            ("timeoutActoin", "timeoutAction"),
            ("DRY-RUN", "dryRun"),
            ("dryRum", "dryRun"),
        ] {
            assert_eq!(nearest(name, known), Some(meant), "{name}");
        }
        assert!(nearest("", known).is_some());
        assert_eq!(nearest("mode", []), None);
    }

    #[test]
    fn only_a_misspelling_is_similar() {
        for (name, candidate) in [
            ("DENY", "ALWAYS_DENY"),
            ("DRYRUM", "DRY_RUN"),
            ("MOD", "MODE"),
            ("TIMEOUT_ACTOIN", "TIMEOUT_ACTION"),
        ] {
            assert!(is_similar(name, candidate), "{name}");
        }
        for (name, candidate) in [
            ("SOMETHING", "MODE"),
            ("TESTS_REQUIRED", "STATE_DIR"),
            ("", "MODE"),
            ("E", "MODE"),
        ] {
            assert!(!is_similar(name, candidate), "{name}");
        }
    }

    #[test]
    fn a_huge_name_is_cheap_to_compare() {
        assert!(nearest(&"x".repeat(10_000_000), ["mode"]).is_some());
    }
}
