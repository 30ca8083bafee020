//! Holds docs/configuration.md and docs/cli.md against the table of settings: names, places, defaults, flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use reqwest::Url;

use super::*;
use crate::config::floor;
use crate::config::server_name::{name_of_command, name_of_url};
use crate::config::setting::PREFIX;
use crate::config::value::Form;

const CONFIGURATION: &str = include_str!("../../../../docs/configuration.md");
const CLI: &str = include_str!("../../../../docs/cli.md");

/// The rows of all tables whose header begins with `header`, each as a list of its cells.
fn rows(header: &str) -> Vec<Vec<&'static str>> {
    let mut rows = Vec::new();
    let mut lines = CONFIGURATION.lines();
    while lines.by_ref().any(|line| line.starts_with(header)) {
        let table = lines.by_ref().skip(1);
        for row in table.take_while(|line| line.starts_with('|')) {
            let row = row.strip_prefix('|').unwrap().strip_suffix('|').unwrap();
            rows.push(row.split('|').map(str::trim).collect());
        }
    }
    assert!(rows.len() > 5, "{header}: {rows:?}");
    rows
}

/// A cell without its backticks.
fn plain(cell: &str) -> String {
    cell.replace('`', "")
}

/// The default as the page must state it; `None` if the page is free to choose its words.
fn documented_default(setting: &Setting) -> Option<&'static str> {
    match setting.fallback {
        Fallback::Value(text) => Some(text),
        Fallback::None if setting.form == Form::Switch => Some("off"),
        // Too long for a cell.
        Fallback::Words(_) if setting.name == "stateDir" => None,
        Fallback::Words(words) => Some(words),
        Fallback::None => None,
    }
}

fn check_default(setting: &Setting, default: &str) {
    if let Some(documented) = documented_default(setting) {
        assert_eq!(plain(default), documented, "{}", setting.name);
    }
}

#[test]
fn every_key_is_in_a_table_with_its_place_default_and_flag_and_no_other() {
    let mut documented = BTreeMap::new();
    for row in rows("| key | where | default | flag |") {
        let before = documented.insert(plain(row[0]), row.clone());
        assert!(before.is_none(), "{row:?} twice");
    }
    for setting in SETTINGS {
        let Some(key) = setting.key() else { continue };
        let row = documented.remove(key);
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row for `{key}`"));
        let place = match setting.place {
            Place::Rules => "`approvalRules`",
            Place::Proxy => "`approvalProxy`",
            Place::Both => "both",
            Place::Inbox | Place::Process => panic!("{key}"),
        };
        assert_eq!(row[1], place, "{key}");
        check_default(setting, row[2]);
        let flag = setting.flag.map(|flag| format!("`--{}`", flag.long));
        assert_eq!(row[3], flag.unwrap_or_default(), "{key}");
    }
    assert!(documented.is_empty(), "no such keys: {documented:?}");
}

#[test]
fn every_flag_and_variable_without_a_key_is_in_a_table_and_no_other() {
    let mut flags = BTreeMap::new();
    let mut variables = BTreeMap::new();
    for row in rows("| flag | variable | default |") {
        let cell = plain(row[0]);
        let (flag, metavar) = cell.split_once(' ').unwrap_or((&cell, ""));
        if !flag.is_empty() {
            let metavar = metavar.split(',').next().unwrap_or_default().to_owned();
            let before = flags.insert(flag.to_owned(), (metavar, row[2]));
            assert!(before.is_none(), "{row:?} twice");
        }
        if !row[1].is_empty() {
            let before = variables.insert(plain(row[1]), flag.to_owned());
            assert!(before.is_none(), "{row:?} twice");
        }
    }
    // These say which server to guard, and are not settings.
    for flag in [
        "--",
        "--url",
        "--url-env",
        "--url-type",
        "--upstream",
        "--server",
        "--name",
        "--header-env",
        "--bearer-env",
    ] {
        assert!(flags.remove(flag).is_some(), "{flag}");
    }
    for setting in SETTINGS.iter().filter(|setting| setting.key().is_none()) {
        let mut long = String::new();
        if let Some(flag) = setting.flag {
            long = format!("--{}", flag.long);
            let row = flags.remove(&long);
            let (metavar, default) =
                row.unwrap_or_else(|| panic!("docs/configuration.md has no row for `{long}`"));
            assert_eq!(metavar, flag.metavar, "{long}");
            check_default(setting, default);
        }
        if let Some(variable) = setting.variable() {
            assert_eq!(variables.remove(&variable), Some(long), "{variable}");
        }
    }
    assert!(
        flags.is_empty() && variables.is_empty(),
        "{flags:?} {variables:?}"
    );
}

#[test]
fn the_table_of_server_names_is_true() {
    for row in rows("| command line | name |") {
        let line = plain(row[0]);
        let derived = match line.strip_prefix("--url ") {
            Some(url) => name_of_url(&Url::parse(url).unwrap()),
            None => {
                let mut words = line.split(' ').map(OsString::from);
                let program = words.next().unwrap();
                name_of_command(&program, &words.collect::<Vec<_>>())
            }
        };
        assert_eq!(derived, plain(row[1]), "{line}");
    }
}

#[test]
fn every_key_of_a_floor_is_in_its_table_and_no_other() {
    let (_, chapter) = CONFIGURATION.split_once("\n| key of `floor` |").unwrap();
    let table = chapter.lines().skip(2);
    let mut documented: Vec<String> = table
        .take_while(|line| line.starts_with('|'))
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split(','))
        .map(|key| plain(key.trim()))
        .collect();
    documented.sort();
    let mut keys = floor::KEYS.to_vec();
    keys.sort_unstable();
    assert_eq!(documented, keys);
}

#[test]
fn every_flag_is_in_the_reference_of_the_command_line() {
    for flag in SETTINGS.iter().filter_map(|setting| setting.flag) {
        let long = format!("--{}", flag.long);
        assert!(CLI.contains(&long), "docs/cli.md has no `{long}`");
    }
}

#[test]
fn every_variable_that_a_page_names_is_one_of_ours() {
    let known: Vec<String> = SETTINGS.iter().filter_map(Setting::variable).collect();
    for (path, page) in pages() {
        let words = page.split(|c: char| !matches!(c, 'A'..='Z' | '_'));
        // The prefix alone stands for all of them.
        for name in words.filter(|word| word.starts_with(PREFIX) && *word != PREFIX) {
            assert!(known.iter().any(|known| known == name), "{path}: {name}");
        }
    }
}

/// The pages for users, each with its path.
pub(in crate::config) fn pages() -> Vec<(String, String)> {
    let mut paths = vec!["README.md".into(), "SECURITY.md".into()];
    for folder in ["docs", "docs/engines"] {
        let files = fs::read_dir(folder).unwrap();
        let files = files.map(|file| file.unwrap().path());
        paths.extend(files.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    }
    let read = |path: &Path| {
        (
            path.display().to_string(),
            fs::read_to_string(path).unwrap(),
        )
    };
    paths.iter().map(|path| read(path)).collect()
}
