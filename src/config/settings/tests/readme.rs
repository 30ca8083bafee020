//! README's tables against the table: what they name, and the defaults that they give.

use std::collections::BTreeMap;

use super::*;
use crate::config::setting::PREFIX;
use crate::config::value::Form;

const README: &str = include_str!("../../../../README.md");
const PAGES: [&str; 3] = [
    README,
    include_str!("../../../../docs/config.md"),
    include_str!("../../../../SECURITY.md"),
];

/// The rows of the first table below `heading`, each a list of its cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = README.split_once(&format!("\n## {heading}\n")).unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &'static str| row.trim_matches('|').split('|').map(str::trim).collect();
    rows.map(cells).collect()
}

/// What stands in backticks in a cell, each with what follows it.
fn quoted(cell: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts: Vec<&str> = cell.split('`').skip(1).collect();
    let pairs: Vec<_> = parts.chunks(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.into_iter()
}

/// What README has to say of a default; `None` where that is left to it.
fn told(setting: &Setting) -> Option<&'static str> {
    match setting.fallback {
        Fallback::Value(text) => Some(text),
        Fallback::None if setting.form == Form::Switch => Some("off"),
        // It is too long for a cell.
        Fallback::Words(_) if setting.name == "stateDir" => None,
        Fallback::Words(words) => Some(words),
        Fallback::None => None,
    }
}

#[test]
fn every_flag_is_in_the_table_of_flags_with_its_default_and_no_other() {
    let mut in_readme = BTreeMap::new();
    for row in table("Flags") {
        let flags = quoted(row[0]).filter(|(flag, _)| flag.starts_with("--"));
        let flags: Vec<&str> = flags.map(|(flag, _)| flag).collect();
        let default = row[1].replace('`', "");
        let defaults: Vec<&str> = match flags.len() {
            1 => vec![&default],
            several if default.is_empty() => vec![""; several],
            _ => default.split(", ").collect(),
        };
        assert_eq!(flags.len(), defaults.len(), "{row:?}");
        for (flag, default) in flags.into_iter().zip(defaults) {
            let (long, metavar) = flag.split_once(' ').unwrap_or((flag, ""));
            let before = in_readme.insert(long.to_owned(), (metavar, default.to_owned()));
            assert!(before.is_none(), "{long} twice");
        }
    }
    // They name the file and the server, and are no settings.
    for flag in ["--upstream", "--server"] {
        assert!(in_readme.remove(flag).is_some(), "{flag}");
    }
    for setting in SETTINGS {
        let Some(flag) = setting.flag else { continue };
        let long = format!("--{}", flag.long);
        let found = in_readme.remove(&long);
        let (metavar, default) = found.unwrap_or_else(|| panic!("{long} is not in README"));
        assert!(metavar.is_empty() || metavar == flag.metavar, "{long}");
        if let Some(told) = told(setting) {
            assert_eq!(default, told, "{long}");
        }
    }
    assert_eq!(in_readme, BTreeMap::new(), "flags without a row");
}

#[test]
fn every_key_is_in_the_table_of_keys_with_its_place_and_default_and_no_other() {
    let mut in_readme = BTreeMap::new();
    for row in table("Config") {
        let place = match row[1] {
            "`approvalRules`" => Place::Rules,
            "`approvalProxy`" => Place::Proxy,
            "both" => Place::Both,
            other => panic!("{other}"),
        };
        for (key, after) in quoted(row[0]) {
            // An example of a value.
            if key.starts_with('{') {
                continue;
            }
            let default = after.strip_prefix(" (");
            let default = default.and_then(|after| after.split([';', ')']).next());
            assert!(
                in_readme.insert(key, (place, default)).is_none(),
                "{key} twice"
            );
        }
    }
    let (_, later) = README
        .split_once("Keys that only later channels use (")
        .unwrap();
    let (later, _) = later.split_once(')').unwrap();
    for setting in SETTINGS {
        let Some(key) = setting.key() else { continue };
        if setting.effect == Effect::Later {
            assert!(quoted(later).any(|(named, _)| named == key), "{key}");
            continue;
        }
        let found = in_readme.remove(key);
        let (place, default) = found.unwrap_or_else(|| panic!("{key} is not in README"));
        assert_eq!(place, setting.place, "{key}");
        assert_eq!(
            default.unwrap_or("off"),
            told(setting).unwrap_or("off"),
            "{key}"
        );
    }
    assert_eq!(in_readme, BTreeMap::new(), "keys without a row");
}

#[test]
fn every_variable_that_the_pages_name_has_a_row_and_those_without_a_key_are_named() {
    let known: Vec<String> = SETTINGS.iter().filter_map(Setting::variable).collect();
    for page in PAGES {
        let words = page.split(|c: char| !matches!(c, 'A'..='Z' | '_'));
        // The prefix alone stands for all of them.
        for name in words.filter(|word| word.starts_with(PREFIX) && *word != PREFIX) {
            assert!(known.iter().any(|known| known == name), "{name}");
        }
    }
    for setting in SETTINGS.iter().filter(|setting| setting.key().is_none()) {
        if let Some(variable) = setting.variable() {
            assert!(README.contains(&format!("`{variable}`")), "{variable}");
        }
    }
}
