//! Tests what an allow or deny entry matches, against a second implementation of the syntax.
//!
//! For what a match leads to, see the tests of `decide`.

use std::error::Error as _;

use proptest::prelude::*;

use super::*;

fn allows(entry: &str, tool: &str) -> bool {
    let list = AllowList::new(&[entry.to_owned()]).unwrap();
    list.find(tool).is_some()
}

fn denies(entry: &str, tool: &str) -> bool {
    let list = DenyList::new(&[entry.to_owned()]).unwrap();
    list.find(tool).is_some()
}

fn both(entry: &str, tool: &str) -> bool {
    let allowed = allows(entry, tool);
    assert_eq!(allowed, denies(entry, tool), "`{entry}` on `{tool}`");
    allowed
}

fn error(entry: &str) -> PolicyError {
    let error = DenyList::new(&[entry.to_owned()]).unwrap_err();
    let other = AllowList::new(&[entry.to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), other.to_string());
    error
}

const KELVIN: &str = "\u{212a}";

// "Names and patterns compare without case."
#[test]
fn exact_names_are_case_insensitive() {
    assert!(both("Delete_User", "dELETE_uSER"));
    assert!(!both("delete_user", "delete_users"));
    assert!(!both("delete_user", "xdelete_user"));
}

// "Names and patterns compare without case."
#[test]
fn globs_are_case_insensitive() {
    assert!(both("Get_*", "gET_USER"));
    assert!(both("get_[A-C]", "get_b"));
    assert!(both("get_[a-c]", "get_B"));
    assert!(!both("get_[!a]", "get_A"));
}

// "`*` (any run, also `.` and `/`)".
#[test]
fn a_star_is_any_run() {
    for tool in ["get", "getx", "get.a/b", "get/", "get\tx", "get a:b-c"] {
        assert!(denies("get*", tool), "{tool}");
    }
    assert!(both("*user", ".hidden/user"));
    assert!(both("a*z", "az"));
    assert!(!both("get*", "forget"));
    assert!(!both("a*z", "azb"));
    assert!(denies("get*", "get\n\u{0}x"));
}

// "`*` (any run …)": two of them are no more than one, and no directory syntax.
#[test]
fn two_stars_are_one() {
    for glob in ["a/**/b", "a/***/b"] {
        assert!(both(glob, "a//b"));
        assert!(both(glob, "a/x/y/b"));
        assert!(!both(glob, "a/b"), "{glob}");
    }
    assert!(both("**", "anything"));
    assert!(both("**/x", "/x"));
    assert!(!both("**/x", "x"));
}

// "`?`".
#[test]
fn a_question_mark_is_one_character() {
    assert!(both("get?", "get."));
    assert!(both("get?", "get/"));
    assert!(!both("get?", "get"));
    assert!(!both("get?", "getab"));
}

// "`[a-z]`".
#[test]
fn a_class_is_one_of_its_members() {
    assert!(both("[a-cx]1", "b1"));
    assert!(both("[a-cx]1", "x1"));
    assert!(!both("[a-cx]1", "d1"));
    assert!(!both("[a-cx]1", "1"));
    assert!(!both("[a-cx]1", "-1"));
}

// "`[!x]`".
#[test]
fn a_negated_class_is_any_other_character() {
    for glob in ["v[!x]", "v[^x]"] {
        assert!(both(glob, "vy"));
        assert!(both(glob, "v/"));
        assert!(!both(glob, "vx"));
        assert!(!both(glob, "v"));
        // The negating character is not a member.
        assert!(both(glob, "v!") && both(glob, "v^"));
    }
}

#[test]
fn brackets_and_hyphens_can_be_members() {
    assert!(both("[]a]", "]"));
    assert!(both("[!]a]", "b"));
    assert!(!both("[!]a]", "]"));
    assert!(both("[^]a]", "b"));
    assert!(!both("[^]a]", "]"));
    assert!(both("[-a]", "-"));
    assert!(both("[a-]", "-"));
    assert!(!both("[a-]", "b"));
    assert!(both("a]*", "a]b"));
}

// "`{`, `}` and `\` are literal."
#[test]
fn braces_and_backslashes_are_literal() {
    assert!(both("{a,b}*", "{a,b}c"));
    assert!(!both("{a,b}*", "ac"));
    assert!(both("}?{", "}x{"));
    assert!(both(r"a\*", r"a\b"));
    assert!(!both(r"a\*", "a*"));
    assert!(both(r"a\b", r"a\b"));
    assert!(both(r"[\]*", r"\x"));
    assert!(both("{a}", "{a}"));
}

#[test]
fn an_entry_without_glob_characters_is_an_exact_name() {
    for tool in [r"a\b", "{a}", "a]", "a!b", "a,b", "a.b"] {
        assert!(both(tool, tool), "{tool}");
    }
    assert!(!both("a.b", "axb"));
}

#[test]
fn an_empty_entry_names_no_tool() {
    assert!(!both("", ""));
    assert!(!both("", "a"));
}

#[test]
fn a_deny_glob_is_also_a_name_but_an_allow_glob_is_not() {
    assert!(denies("get[1]", "GET[1]"));
    assert!(!allows("get[1]", "get[1]"));
    assert!(both("get[1]", "get1"));
}

#[test]
fn an_exact_entry_is_reported_before_globs_and_globs_in_their_order() {
    let entries = ["*b*", "a*", "A_B"].map(str::to_owned);
    let allow = AllowList::new(&entries).unwrap();
    let deny = DenyList::new(&entries).unwrap();
    for (tool, entry) in [("a_b", "A_B"), ("ab", "*b*"), ("a", "a*")] {
        assert_eq!(allow.find(tool), Some(entry));
        assert_eq!(deny.find(tool), Some(entry));
    }
    assert_eq!(allow.find("c"), None);
    assert_eq!(deny.find("c"), None);
}

// "A tool name with characters outside printable ASCII is never allowed by a glob".
#[test]
fn an_unreadable_name_is_never_allowed_by_a_glob() {
    for tool in [
        "gét",
        "g\u{200b}t",
        "g\nt",
        "g\u{7f}t",
        "g\u{0}t",
        "g\u{1b}t",
    ] {
        for glob in ["*", "g?t", "g*", "g[!x]t", "gé*", "*é*"] {
            assert!(!allows(glob, tool), "`{glob}` on {tool:?}");
        }
    }
    assert!(allows("g?t", "g~t"));
    assert!(allows("g?t", "g t"));
}

#[test]
fn an_unreadable_name_is_allowed_by_its_exact_entry_only() {
    assert!(allows("gét", "gét"));
    assert!(allows("a\tb", "a\tb"));
    // Folding must not widen what is allowed.
    assert!(!allows("gét", "gÉt"));
    assert!(!allows("gét", "GéT"));
    assert!(!allows("kill", &format!("{KELVIN}ill")));
    assert!(!allows(&format!("{KELVIN}ill"), "kill"));
    assert!(!allows("\u{130}d", "id"));
}

// If in doubt, deny: two names that differ only in case, in any script, are both denied. A server
// that trims names or reads wide letters as plain ones would run the tool.
#[test]
fn a_name_that_only_looks_different_is_denied_and_no_glob_allows_it() {
    for name in [
        "delete_user ",
        " delete_user",
        "\tdelete_user\n",
        "delete_user\u{200b}",
        "delete\u{ad}_user",
        "\u{ff44}elete_user",
        "delete_user\0",
        "DELETE_USER ",
    ] {
        for entry in ["delete_user", "delete_*", "*_user", "d?lete_user"] {
            assert!(denies(entry, name), "{entry} on {name:?}");
            assert!(!allows(entry, name), "{entry} on {name:?}");
        }
        assert!(!denies("delete_note", name) && !denies("get_*", name));
    }
    // White space inside a name is part of it.
    assert!(allows("get *", "get user") && !denies("get_*", "get user"));
}

#[test]
fn folding_widens_what_is_denied() {
    assert!(denies("gét", "GÉT"));
    assert!(denies("kill", &format!("{KELVIN}ill")));
    assert!(denies("send", "\u{17f}end"));
    assert!(denies("straße", "STRASSE"));
    assert!(denies("kill*", &format!("{KELVIN}ill_all")));
    assert!(denies(&format!("{KELVIN}ill*"), "kill_all"));
    assert!(denies("*straße*", "x_STRASSE_y"));
}

#[test]
fn folding_joins_every_case_of_every_character() {
    for c in '\0'..=char::MAX {
        let folded = fold(&c.to_string());
        assert_eq!(fold(&c.to_uppercase().to_string()), folded, "{c:?}");
        assert_eq!(fold(&c.to_lowercase().to_string()), folded, "{c:?}");
    }
}

// What matches as written stays denied, even if folding turns two characters into one.
#[test]
fn folding_never_narrows_what_is_denied() {
    assert!(denies("?_x", "ß_x"));
    assert!(denies("ŉ?", "ŉß"));
    assert!(denies("[!s]_x", "\u{17f}_x"));
    // With folding, `a` to `_` would run backwards.
    assert!(denies("[A-_]*", "b") && denies("[A-_]*", "[é"));
}

#[test]
fn deny_globs_count_the_characters_of_unreadable_names() {
    assert!(denies("*", "é"));
    assert!(denies("?_x", "é_x"));
    assert!(denies("?_x", "\u{1f600}_x"));
    assert!(denies("[!a]_x", "é_x"));
    assert!(denies("é*", "éa"));
    assert!(denies("É*", "éa"));
    assert!(!denies("?_x", "éé_x"));
    assert!(!denies("[a-z]_x", "é_x"));
    // A glob with a character beyond ASCII says nothing about plain names.
    assert!(!denies("é*", "ea"));
}

#[test]
fn a_bad_glob_is_an_error_that_names_it() {
    for glob in [
        "[", "a[b", "[]", "[!]", "[^]", "[!", "[^", "a[b-", "[a-]b[c", "*[\\",
    ] {
        let error = error(glob);
        assert!(matches!(error, PolicyError::UnclosedClass(_)), "{error:?}");
        assert!(error.to_string().contains(&format!("`{glob}`")));
    }
    for glob in ["[z-a]", "[a--]", "[a-c-e]", "[A-C-E]x"] {
        let error = error(glob);
        assert!(matches!(error, PolicyError::BadRange(_)), "{error:?}");
        assert!(error.to_string().contains(&format!("`{glob}`")));
    }
    for glob in ["[é]", "[a-é]", "[!é]", "[\u{7f}]", "[\t]"] {
        let error = error(glob);
        assert!(
            matches!(error, PolicyError::UnreadableClass(_)),
            "{error:?}"
        );
        assert!(error.to_string().contains(&format!("`{glob}`")));
    }
}

#[test]
fn a_range_may_be_followed_by_a_hyphen_that_ends_the_class() {
    assert!(both("[a-c-]", "-"));
    assert!(both("[a-c-]", "b"));
    assert!(!both("[a-c-]", "d"));
    assert!(both("[a-a]", "a"));
}

#[test]
fn a_glob_too_big_to_compile_is_an_error_that_names_it() {
    let big = "?".repeat(500_000);
    let entries = ["get_*".to_owned(), big.clone()];
    let error = DenyList::new(&entries).unwrap_err();
    let PolicyError::Glob { pattern, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(pattern, &big);
    assert!(error.source().is_some());
}

#[test]
fn globs_too_big_together_are_an_error() {
    let large = "?".repeat(12_500);
    let entries: Vec<String> = (0..40).map(|n| format!("{n}{large}")).collect();
    let error = AllowList::new(&entries).unwrap_err();
    assert!(
        matches!(error, PolicyError::TooManyGlobs { count: 40, .. }),
        "{error:?}"
    );
}

#[test]
fn debug_output_shows_what_the_operator_wrote_and_no_automaton() {
    let list = DenyList::new(&["get_*".to_owned()]).unwrap();
    let text = format!("{list:?}");
    assert!(text.contains("get_*") && text.len() < 200, "{text}");
}

/// A second implementation of the glob syntax, slow and simple. `None` for an invalid glob.
fn reference(glob: &str, name: &str) -> Option<bool> {
    let glob: Vec<char> = glob.chars().collect();
    let name: Vec<char> = name.chars().collect();
    Some(reference_matches(&reference_parse(&glob)?, &name))
}

#[derive(Debug)]
enum Part {
    Run,
    One,
    Char(char),
    Class(bool, Vec<(char, char)>),
}

fn reference_parse(glob: &[char]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < glob.len() {
        match glob[at] {
            '*' => parts.push(Part::Run),
            '?' => parts.push(Part::One),
            '[' => {
                let negated = matches!(glob.get(at + 1), Some('!' | '^'));
                let start = at + 1 + usize::from(negated);
                // The first member may be a `]`.
                let end = (start + 1..glob.len()).find(|&i| glob[i] == ']')?;
                parts.push(Part::Class(negated, reference_ranges(&glob[start..end])?));
                at = end;
            }
            c => parts.push(Part::Char(c)),
        }
        at += 1;
    }
    Some(parts)
}

fn reference_ranges(members: &[char]) -> Option<Vec<(char, char)>> {
    let mut ranges = Vec::new();
    let mut rest = members;
    while let Some(&low) = rest.first() {
        if !(' '..='~').contains(&low) {
            return None;
        }
        if rest.len() < 3 || rest[1] != '-' {
            ranges.push((low, low));
            rest = &rest[1..];
            continue;
        }
        let high = rest[2];
        let two_ends = rest.len() > 4 && rest[3] == '-';
        if high < low || two_ends || !(' '..='~').contains(&high) {
            return None;
        }
        ranges.push((low, high));
        rest = &rest[3..];
    }
    Some(ranges)
}

fn reference_matches(parts: &[Part], name: &[char]) -> bool {
    let Some((part, parts)) = parts.split_first() else {
        return name.is_empty();
    };
    if let Part::Run = part {
        return (0..=name.len()).any(|skip| reference_matches(parts, &name[skip..]));
    }
    let Some((&c, rest)) = name.split_first() else {
        return false;
    };
    let fits = match part {
        Part::Run | Part::One => true,
        Part::Char(wanted) => wanted.eq_ignore_ascii_case(&c),
        Part::Class(negated, ranges) => {
            let cases = [c.to_ascii_lowercase(), c.to_ascii_uppercase()];
            let member =
                |(low, high): &(char, char)| cases.iter().any(|case| (low..=high).contains(&case));
            ranges.iter().any(member) != *negated
        }
    };
    fits && reference_matches(parts, rest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn globs_match_what_the_reference_matches(
        glob in r"[abB*?\[\]!^{}\\,./-]{0,9}",
        name in r"[abB!^{}\\\],./-]{0,6}",
    ) {
        compare_with_reference(&glob, &name)?;
    }

    #[test]
    fn globs_of_any_ascii_match_what_the_reference_matches(
        glob in r"[\x00-\x7f]{0,6}[*?\[][\x00-\x7f]{0,6}",
        name in r"[\x00-\x7f]{0,12}",
    ) {
        compare_with_reference(&glob, &name)?;
    }

    // Folding and flattening may deny more than the glob says, but never less.
    #[test]
    fn a_deny_glob_misses_nothing_that_it_spells_out(
        glob in r"[aké!\u{212a}ßŉſ*?\[\]-]{0,6}",
        name in r"[akséÉ\u{212a}ßŉſ\u{1f600}]{0,5}",
    ) {
        if reference(&glob, &name) == Some(true) && is_glob(&glob) {
            prop_assert!(denies(&glob, &name));
        }
    }
}

fn compare_with_reference(glob: &str, name: &str) -> Result<(), TestCaseError> {
    if !is_glob(glob) {
        return Ok(());
    }
    let entries = [glob.to_owned()];
    let (allow, deny) = (AllowList::new(&entries), DenyList::new(&entries));
    let Some(expected) = reference(glob, name) else {
        prop_assert!(allow.is_err() && deny.is_err());
        return Ok(());
    };
    let by_name = glob.eq_ignore_ascii_case(name);
    let denied = deny.unwrap().find(name).is_some();
    if name.bytes().all(|b| b.is_ascii_graphic()) {
        prop_assert_eq!(denied, expected || by_name);
    } else {
        // The name as a lenient server reads it counts too.
        prop_assert!(denied || !(expected || by_name));
    }
    prop_assert_eq!(
        allow.unwrap().find(name).is_some(),
        expected && is_readable(name) && name.trim() == name
    );
    Ok(())
}
