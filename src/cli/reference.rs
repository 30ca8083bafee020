//! Compares docs/cli.md with the command line: the output of each `--help`, and the exit codes.

use std::env;
use std::fs;
use std::ops::Range;

use super::args::Args;
use super::exit_code;

const PAGE: &str = "docs/cli.md";
const COMMANDS: [&str; 13] = [
    "approval-proxy",
    "approval-proxy inbox",
    "approval-proxy approvals",
    "approval-proxy approvals list",
    "approval-proxy approvals show",
    "approval-proxy approvals approve",
    "approval-proxy approvals deny",
    "approval-proxy mcp",
    "approval-proxy ask",
    "approval-proxy clients",
    "approval-proxy wrap",
    "approval-proxy unwrap",
    "approval-proxy doctor",
];

#[test]
fn the_page_has_each_help_text_and_the_exit_codes() {
    let page = fs::read_to_string(PAGE).unwrap();
    let mut current = page.clone();
    for command in COMMANDS {
        let place = between(&current, &format!("```text\n$ {command} --help\n"), "```\n");
        current.replace_range(place, &help(&format!("{command} --help")));
    }
    let place = between(&current, "\n## Exit codes\n\n", "\n\n");
    current.replace_range(place, &exit_codes());
    is_current(PAGE, &page, &current);
}

#[test]
fn the_short_help_is_what_it_was() {
    let path = "tests/fixtures/help/short.txt";
    let kept = fs::read_to_string(path).unwrap();
    is_current(path, &kept, &help("approval-proxy -h"));
}

/// Compares a file with what it should be, or writes it.
fn is_current(path: &str, found: &str, current: &str) {
    if env::var_os("WRITE_DOCS").is_some() {
        return fs::write(path, current).unwrap();
    }
    for (found, current) in found.lines().zip(current.lines()) {
        assert_eq!(found, current, "{path} is out of date: {HOW_TO_WRITE}");
    }
    assert!(found == current, "{path} is out of date: {HOW_TO_WRITE}");
}

const HOW_TO_WRITE: &str =
    "run `WRITE_DOCS=1 cargo test --lib cli::reference`, and review the diff";

/// The part of a page after `start`, up to `end`.
fn between(page: &str, start: &str, end: &str) -> Range<usize> {
    let at = page
        .find(start)
        .unwrap_or_else(|| panic!("{PAGE} has no {start:?}"));
    let from = at + start.len();
    let length = page.split_at(from).1.find(end);
    from..from + length.unwrap_or_else(|| panic!("{PAGE}: {start:?} has no end"))
}

/// What a command line that asks for help prints, without white space at the ends of lines.
fn help(line: &str) -> String {
    let help = Args::read(line.split(' ')).unwrap_err();
    assert!(!help.use_stderr(), "{line}");
    let help = help.render().to_string();
    help.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn exit_codes() -> String {
    let rows = exit_code::ALL.map(|(code, meaning)| format!("| {code} | {meaning} |\n"));
    format!(
        "| code | when |\n|---|---|\n{}| 128+N | ended by signal N |",
        rows.concat()
    )
}
