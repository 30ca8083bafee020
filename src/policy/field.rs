//! Measures the policy on the tools of real servers: dangerous calls that it misses, and reads that
//! it asks about needlessly.
//!
//! People judged the tools in the lists. A change to a word list changes the figures here; they
//! must not get worse.

use super::{Action, Listing, Mode, Policy, Rules};
use crate::mcp::ToolAnnotations;

/// Real servers, with their hints.
const FIRST: &str = include_str!("field/first.txt");
/// More servers, listed from memory and judged before any words were chosen.
const SECOND: &str = include_str!("field/second.txt");
/// More servers, judged after the words were chosen and before the policy was measured on them.
const THIRD: &str = include_str!("field/third.txt");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Read,
    Write,
    Danger,
}

struct Tool {
    name: &'static str,
    verdict: Verdict,
    hints: Option<ToolAnnotations>,
}

fn tools(list: &'static str) -> Vec<Tool> {
    let mut tools = Vec::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ').skip(1);
        let verdict = match words.next().unwrap() {
            "read" => Verdict::Read,
            "write" => Verdict::Write,
            "danger" => Verdict::Danger,
            other => panic!("no verdict: {other}"),
        };
        tools.extend(words.map(|word| {
            let (name, hints) = word.rsplit_once(':').unwrap_or((word, ""));
            let hint = |yes, no| match (hints.contains(yes), hints.contains(no)) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            };
            Tool {
                name,
                verdict,
                hints: (!hints.is_empty()).then(|| ToolAnnotations {
                    read_only_hint: hint('R', 'r'),
                    destructive_hint: hint('D', 'd'),
                    ..ToolAnnotations::default()
                }),
            }
        }));
    }
    tools
}

/// The figures of one list in one mode.
#[derive(Debug, PartialEq, Eq)]
struct Figures {
    /// Dangerous tools that pass.
    danger_missed: usize,
    /// Other tools that change something and pass.
    write_missed: usize,
    /// Tools that only read and need approval.
    needless: usize,
    /// Of those, tools whose server says `readOnlyHint: false`.
    by_wrong_hint: usize,
}

fn measure(list: &'static str, mode: Mode) -> Figures {
    let rules = Rules {
        mode,
        ..Rules::default()
    };
    let policy = Policy::new(rules).unwrap();
    let (mut missed, mut writes, mut needless, mut hinted) = (vec![], vec![], vec![], vec![]);
    for tool in tools(list) {
        let listing = Listing::Listed(tool.hints.as_ref());
        let decision = policy.decide(tool.name, listing);
        let denies_reading =
            (tool.hints.as_ref()).is_some_and(|hints| hints.read_only_hint == Some(false));
        match (decision.action, tool.verdict) {
            (Action::Pass, Verdict::Danger) => missed.push(tool.name),
            (Action::Pass, Verdict::Write) => writes.push(tool.name),
            (Action::Ask, Verdict::Read) if denies_reading => hinted.push(tool.name),
            (Action::Ask, Verdict::Read) => needless.push(tool.name),
            _ => {}
        }
    }
    // Shown if the test fails.
    println!("{mode}: missed {missed:?}, {writes:?}; needless {needless:?}; by hints {hinted:?}");
    Figures {
        danger_missed: missed.len(),
        write_missed: writes.len(),
        needless: needless.len() + hinted.len(),
        by_wrong_hint: hinted.len(),
    }
}

fn count(list: &'static str, verdict: Verdict) -> usize {
    let of_verdict = tools(list)
        .into_iter()
        .filter(|tool| tool.verdict == verdict);
    of_verdict.count()
}

#[test]
fn the_lists_are_as_long_as_the_figures_say() {
    let counts = [FIRST, SECOND, THIRD].map(|list| {
        [Verdict::Danger, Verdict::Write, Verdict::Read].map(|verdict| count(list, verdict))
    });
    assert_eq!(counts, [[80, 189, 273], [237, 176, 376], [298, 24, 142]]);
}

/// Mode `destructive`. Before issue 14, on the same lists:
///
/// | list | danger missed | write missed | needless |
/// |---|---|---|---|
/// | first | 10 of 80 | 32 of 189 | 12 of 273, all by hints |
/// | second | 88 of 237 | 62 of 176 | 6 of 376 |
/// | third | 129 of 298 | 15 of 24 | 4 of 142 |
///
/// The first measurement on unseen lists, with words chosen for the first list only, gave: second
/// 4, 7 and 9; third 24, 3 and 2. The figures below include the words that these measurements
/// showed to be missing.
#[test]
fn mode_destructive_misses_no_dangerous_tool() {
    let figures = |danger_missed, write_missed, needless, by_wrong_hint| Figures {
        danger_missed,
        write_missed,
        needless,
        by_wrong_hint,
    };
    let measured = [FIRST, SECOND, THIRD].map(|list| measure(list, Mode::Destructive));
    // The one missed is `d1_database_query`, whose server says that it neither only reads nor
    // destroys.
    let expected = [
        figures(0, 2, 15, 12),
        figures(1, 6, 7, 0),
        figures(0, 2, 1, 0),
    ];
    assert_eq!(measured, expected);
}

/// Mode `cautious`. The first measurement on unseen lists gave: second 0, 0 and 32 of 376; third 1
/// of 299, 1 of 23 and 11 of 142.
#[test]
fn mode_cautious_misses_at_most_1_percent_and_asks_about_at_most_10_percent_of_reads() {
    let measured = [FIRST, SECOND, THIRD].map(|list| (list, measure(list, Mode::Cautious)));
    for (list, figures) in measured {
        let changes = count(list, Verdict::Danger) + count(list, Verdict::Write);
        assert!(
            (figures.danger_missed + figures.write_missed) * 100 <= changes,
            "{figures:?}"
        );
        let needless = figures.needless - figures.by_wrong_hint;
        assert!(needless * 10 <= count(list, Verdict::Read), "{figures:?}");
    }
}
