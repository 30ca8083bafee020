//! Two runs that change one file at the same time: no run forgets what the other one kept.

use super::*;

const TWO: &str = "{\"mcpServers\": {\"a\": {\"command\":  \"x\"}, \"b\": {\"command\":  \"y\"}}}";

fn only(name: &str) -> Choice {
    Choice {
        only: vec![name.to_owned()],
        ..Choice::default()
    }
}

/// Works out the first plan, runs the second, then writes the first.
fn interleaved(
    home: &Home,
    (first, first_choice): (Task<'_>, &Choice),
    (second, second_choice): (Task<'_>, &Choice),
) -> Result<Plan, ClientsError> {
    let mut plan = home.plan_for(&home.file, first, first_choice).unwrap();
    home.run_for(&home.file, second, second_choice);
    let written = home.planner().write(&mut plan, first, first_choice);
    written.map(|()| plan)
}

fn has_ledger_of(home: &Home, names: &[&str]) {
    let ledger = Ledgers::open(&home.state_dir).unwrap().read(&home.file);
    let mut known: Vec<_> = (ledger.unwrap().entries.iter())
        .map(|record| record.path.last().unwrap().clone())
        .collect();
    known.sort();
    assert_eq!(known, names);
}

#[test]
fn entries_that_two_runs_guard_at_the_same_time_are_both_restored_byte_for_byte() {
    let home = Home::with(&cursor::CLIENT, TWO.as_bytes());
    let (a, b) = (only("a"), only("b"));
    interleaved(&home, (Task::Wrap(None), &a), (Task::Wrap(None), &b)).unwrap();
    has_ledger_of(&home, &["a", "b"]);
    let plan = home.run(Task::Unwrap);
    assert!(plan.changes.iter().all(|change| change.note.is_none()));
    assert_eq!(home.text(), TWO);
}

#[test]
fn a_run_that_another_one_has_overtaken_changes_nothing() {
    let home = Home::with(&cursor::CLIENT, TWO.as_bytes());
    let all = Choice::default();
    let plan = interleaved(&home, (Task::Wrap(None), &all), (Task::Wrap(None), &all)).unwrap();
    assert!(plan.changes.is_empty());
    has_ledger_of(&home, &["a", "b"]);
    let plan = interleaved(&home, (Task::Unwrap, &all), (Task::Unwrap, &all)).unwrap();
    assert!(plan.changes.is_empty());
    assert_eq!(home.text(), TWO);
    assert_eq!(home.kept(), [""; 0].map(PathBuf::from));
}

#[test]
fn one_run_restores_an_entry_while_another_one_guards_the_next() {
    let home = Home::with(&cursor::CLIENT, TWO.as_bytes());
    let (a, b) = (only("a"), only("b"));
    home.run_for(&home.file, Task::Wrap(None), &a);
    interleaved(&home, (Task::Unwrap, &a), (Task::Wrap(None), &b)).unwrap();
    has_ledger_of(&home, &["b"]);
    home.run(Task::Unwrap);
    assert_eq!(home.text(), TWO);
}

#[test]
fn a_change_that_was_not_shown_is_not_written() {
    let home = Home::with(&cursor::CLIENT, TWO.as_bytes());
    let (a, b) = (only("a"), only("b"));
    let mut plan = home.plan_for(&home.file, Task::Wrap(None), &a).unwrap();
    home.run_for(&home.file, Task::Wrap(None), &b);
    let edited = home.text().replace("\"x\"", "\"z\"");
    fs::write(&home.file, &edited).unwrap();
    let error = home.planner().write(&mut plan, Task::Wrap(None), &a);
    assert!(matches!(error, Err(ClientsError::File(FileError::Changed))));
    assert_eq!(home.text(), edited);
    has_ledger_of(&home, &["b"]);
}

#[test]
fn a_run_does_not_wait_for_ever_for_another_one() {
    let home = Home::with(&cursor::CLIENT, TWO.as_bytes());
    let ledgers = Ledgers::open(&home.state_dir).unwrap();
    let lock = ledgers.lock(1).unwrap();
    assert!(lock.is_some());
    assert!(ledgers.lock(2).unwrap().is_none());
    drop(lock);
    assert!(ledgers.lock(1).unwrap().is_some());
}
