//! The known name that somebody probably meant.
//!
//! It only suggests, and says how alike two names are; nothing is ever read under another name than its own.

/// The candidate that is most like `name`, without regard to case, `_` and `-`.
///
/// A candidate that holds `name` as a part wins (`deny` is in `alwaysDeny`), then the likeness of
/// the spelling counts, the start more than the end.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = plain(name);
    let likeness = |candidate: &str| {
        let candidate = plain(candidate);
        let part = f64::from(u8::from(!name.is_empty() && candidate.contains(&name)));
        part + strsim::jaro_winkler(&name, &candidate)
    };
    let rated = candidates.into_iter().map(|one| (likeness(one), one));
    rated
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Whether `name` is so like `candidate` that it can be a slip of it: a part, or a few letters away.
pub(super) fn is_alike(name: &str, candidate: &str) -> bool {
    let is_part = plain(name).len() > 2 && plain(candidate).contains(&plain(name));
    is_part || edits(name, candidate) <= plain(candidate).len() / 3
}

/// How many letters have to be put in, taken out or changed to make `a` of `b`, without regard to
/// case, `_` and `-`.
pub(super) fn edits(a: &str, b: &str) -> usize {
    strsim::levenshtein(&plain(a), &plain(b))
}

/// The name without what nobody remembers: case, `_` and `-`.
pub(super) fn plain(name: &str) -> String {
    // What is compared is cut, so that a huge key costs no time.
    name.chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .take(80)
        .collect::<String>()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{is_alike, nearest};

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
    fn only_a_slip_is_alike() {
        for (name, candidate) in [
            ("DENY", "ALWAYS_DENY"),
            ("DRYRUM", "DRY_RUN"),
            ("MOD", "MODE"),
            ("TIMEOUT_ACTOIN", "TIMEOUT_ACTION"),
        ] {
            assert!(is_alike(name, candidate), "{name}");
        }
        for (name, candidate) in [
            ("SOMETHING", "MODE"),
            ("TESTS_REQUIRED", "STATE_DIR"),
            ("", "MODE"),
            ("E", "MODE"),
        ] {
            assert!(!is_alike(name, candidate), "{name}");
        }
    }

    #[test]
    fn a_huge_name_costs_no_time() {
        assert!(nearest(&"x".repeat(10_000_000), ["mode"]).is_some());
    }
}
