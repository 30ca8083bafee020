//! Compares the store with a model in memory, for random operations by two users of the store in turn.

use proptest::prelude::*;

use super::{New, Scene, asked, verdict};
use crate::approval::item::{Choice, Item};
use crate::engines::inbox::store::{ApprovalRequests, Closed, Decided, Filter, Resumed, State};

const PROXIES: [&str; 2] = ["p", "q"];
const KEYS: [&str; 2] = ["k", "l"];

#[derive(Debug, Clone)]
enum Step {
    Ask(usize, usize, Option<i64>),
    Park(usize, i64),
    Close(usize, Closed),
    Decide(usize, Choice),
    Reopen(usize),
    Take(usize),
    Settle(usize),
    Mark(usize, usize, usize),
    Resume(usize, usize),
    TakeUp(usize, usize),
    Leave(usize, usize),
    /// The proxy dies, or starts again.
    Turn(usize),
    Pass(i64),
    Sweep,
}

/// An item as the trait's documentation describes it.
#[derive(Debug)]
struct Known {
    id: String,
    /// `None` once its owner has left it.
    proxy: Option<usize>,
    asked_ms: i64,
    expires_ms: Option<i64>,
    parked_until_ms: Option<i64>,
    state: State,
    is_taken: bool,
    /// Whether its verdict is settled, or nobody will take it.
    is_settled: bool,
    was_disregarded: bool,
    /// The key for resuming it.
    resume: Option<usize>,
}

impl Known {
    fn is_decided(&self) -> bool {
        matches!(self.state, State::Decided(_))
    }

    /// Returns true if it is parked, or was parked when it was decided.
    fn is_parked(&self) -> bool {
        let is_decided = self.is_decided() && !self.is_settled;
        self.parked_until_ms.is_some() && (is_decided || self.state == State::Parked)
    }

    fn close(&mut self, how: Closed) {
        self.resume = None;
        if self.state.is_open() {
            self.state = State::Closed(how);
        } else {
            self.is_settled = true;
        }
    }

    fn give_to(&mut self, proxy: Option<usize>) {
        self.proxy = proxy;
        self.is_taken = false;
    }

    fn due(&self) -> Option<i64> {
        if self.state == State::Parked {
            self.parked_until_ms
        } else {
            self.expires_ms
        }
    }

    /// Returns true if nobody resumed it in time, so that nobody can any more.
    fn is_lapsed(&self, now: i64) -> bool {
        !self.state.is_open() && self.resume.is_some() && self.parked_until_ms <= Some(now)
    }

    fn is_late(&self, now: i64) -> bool {
        self.state.is_open() && self.due().is_some_and(|due| due <= now)
    }
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![Just(Closed::Expired), Just(Closed::Withdrawn)];
    let choice = prop_oneof![Just(Choice::Approve), Just(Choice::Deny)];
    // Few items, so that each sees many operations.
    let item = 0..3usize;
    prop_oneof![
        4 => (item.clone(), 0..2usize, proptest::option::of(0..60i64))
            .prop_map(|(i, p, life)| Step::Ask(i, p, life)),
        4 => (item.clone(), 0..200i64).prop_map(|(i, life)| Step::Park(i, life)),
        1 => (item.clone(), how).prop_map(|(i, how)| Step::Close(i, how)),
        4 => (item.clone(), choice).prop_map(|(i, choice)| Step::Decide(i, choice)),
        2 => item.clone().prop_map(Step::Reopen),
        2 => (0..2usize).prop_map(Step::Take),
        1 => (0..2usize).prop_map(Step::Settle),
        5 => (item.clone(), 0..2usize, 0..2usize).prop_map(|(i, p, k)| Step::Mark(i, p, k)),
        3 => (0..2usize, 0..2usize).prop_map(|(k, p)| Step::Resume(k, p)),
        2 => (item.clone(), 0..2usize).prop_map(|(i, p)| Step::TakeUp(i, p)),
        2 => (item.clone(), 0..2usize).prop_map(|(i, p)| Step::Leave(i, p)),
        2 => (0..2usize).prop_map(Step::Turn),
        2 => (0..40i64).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ]
}

fn run(new: New, steps: &[Step]) {
    let mut scene = Scene::new(new);
    let mut leases = PROXIES.map(|proxy| Some(scene.lease(proxy)));
    let mut stores = [scene.other(), scene.other()];
    let mut known: Vec<Known> = Vec::new();
    let mut now = 1_000;
    for (i, step) in steps.iter().enumerate() {
        let store = &mut stores[i % 2];
        let name = |i: usize| format!("item{i}");
        let find = |known: &Vec<Known>, i: usize| known.iter().position(|k| k.id == name(i));
        match step {
            Step::Ask(i, proxy, life) => {
                let expires_ms = life.map(|life| now + life);
                let new = Item {
                    expires_ms,
                    ..asked(&name(*i), now)
                };
                let asked = store.ask(&new, PROXIES[*proxy]);
                assert_eq!(asked.is_err(), find(&known, *i).is_some());
                if asked.is_ok() {
                    // Asking also does some maintenance.
                    for item in known.iter_mut().filter(|k| k.is_lapsed(now)) {
                        item.close(Closed::Expired);
                    }
                    known.push(Known {
                        id: new.id,
                        proxy: Some(*proxy),
                        asked_ms: now,
                        expires_ms,
                        parked_until_ms: None,
                        state: State::Waiting,
                        is_taken: false,
                        is_settled: false,
                        was_disregarded: false,
                        resume: None,
                    });
                }
            }
            Step::Park(i, life) => {
                store.park(&name(*i), now + life).unwrap();
                if let Some(at) = find(&known, *i).filter(|at| known[*at].state.is_open()) {
                    known[at].state = State::Parked;
                    known[at].parked_until_ms = Some(now + life);
                }
            }
            Step::Close(i, how) => {
                store.close(&name(*i), *how, now).unwrap();
                if let Some(at) = find(&known, *i) {
                    known[at].close(*how);
                }
            }
            Step::Decide(i, choice) => {
                let decided = store.decide(&name(*i), &verdict(*choice, now)).unwrap();
                let expected = match find(&known, *i).map(|at| &mut known[at]) {
                    None => Decided::Unknown,
                    Some(item) if !item.state.is_open() => Decided::TooLate(item.state),
                    Some(item) if item.is_late(now) => {
                        Decided::TooLate(State::Closed(Closed::Expired))
                    }
                    Some(item) => {
                        item.state = State::Decided(*choice);
                        item.is_taken = false;
                        item.is_settled = false;
                        item.was_disregarded = false;
                        Decided::Recorded
                    }
                };
                assert_eq!(decided, expected);
            }
            Step::Reopen(i) => {
                store.reopen(&name(*i)).unwrap();
                let item = find(&known, *i).map(|at| &mut known[at]);
                if let Some(item) = item.filter(|k| matches!(k.state, State::Decided(_))) {
                    item.was_disregarded = true;
                    item.resume = item.resume.filter(|_| !item.is_settled);
                    item.state = match item.parked_until_ms {
                        // The original call is gone.
                        _ if item.is_settled => State::Closed(Closed::Expired),
                        Some(_) => State::Parked,
                        None => State::Waiting,
                    };
                }
            }
            Step::Take(proxy) => {
                let taken = store.take_verdicts(PROXIES[*proxy]).unwrap();
                let mut taken: Vec<String> = taken.into_iter().map(|(id, _)| id).collect();
                taken.sort();
                let new = known.iter_mut().filter(|k| {
                    k.proxy == Some(*proxy) && k.is_decided() && !k.is_taken && !k.is_settled
                });
                let mut expected: Vec<String> = new
                    .map(|k| {
                        k.is_taken = true;
                        k.id.clone()
                    })
                    .collect();
                expected.sort();
                assert_eq!(taken, expected);
            }
            Step::Settle(proxy) => {
                store.settle(PROXIES[*proxy]).unwrap();
                for item in known.iter_mut().filter(|k| k.proxy == Some(*proxy)) {
                    item.is_settled |= item.is_taken && item.is_decided() && item.resume.is_none();
                }
            }
            Step::Mark(i, proxy, key) => {
                let marked = store.mark(&name(*i), PROXIES[*proxy], KEYS[*key]).unwrap();
                let mut item = find(&known, *i).map(|at| &mut known[at]);
                item = item.filter(|k| k.proxy == Some(*proxy) && k.is_parked());
                assert_eq!(marked, item.is_some());
                if let Some(item) = item {
                    item.resume = Some(*key);
                }
            }
            Step::Resume(key, proxy) => {
                let resumed = store.resume(KEYS[*key], PROXIES[*proxy], now).unwrap();
                let free = known.iter().enumerate().filter(|(_, k)| {
                    k.resume == Some(*key)
                        && k.is_parked()
                        && k.parked_until_ms > Some(now)
                        && k.proxy.is_none_or(|owner| leases[owner].is_none())
                });
                let best = free.max_by_key(|(at, k)| (k.is_decided(), k.asked_ms, *at));
                let best = best.map(|(at, _)| at);
                let expected = best.map(|at| Resumed {
                    id: known[at].id.clone(),
                    asked_ms: known[at].asked_ms,
                    expires_ms: known[at].expires_ms,
                    parked_until_ms: known[at].parked_until_ms.unwrap(),
                    is_decided: known[at].is_decided(),
                });
                assert_eq!(resumed, expected);
                if let Some(at) = best {
                    known[at].give_to(Some(*proxy));
                }
            }
            Step::TakeUp(i, proxy) => {
                let is_done = store.take_up(&name(*i), PROXIES[*proxy]).unwrap();
                let item = find(&known, *i).map(|at| &mut known[at]);
                let item = item.filter(|k| k.proxy == Some(*proxy));
                let used = item.and_then(|item| item.resume.take());
                assert_eq!(is_done, used.is_some());
            }
            Step::Leave(i, proxy) => {
                store.leave(&name(*i), PROXIES[*proxy], now).unwrap();
                let item = find(&known, *i).map(|at| &mut known[at]);
                match item.filter(|k| k.proxy == Some(*proxy)) {
                    Some(item) if item.resume.is_some() => item.give_to(None),
                    Some(item) => item.close(Closed::Withdrawn),
                    None => {}
                }
            }
            Step::Turn(proxy) => {
                leases[*proxy] = match leases[*proxy].take() {
                    Some(_) => None,
                    None => Some(scene.lease(PROXIES[*proxy])),
                };
            }
            Step::Pass(time) => now += time,
            Step::Sweep => {
                store.sweep(now).unwrap();
                for item in &mut known {
                    let is_dead = item.proxy.is_some_and(|owner| leases[owner].is_none());
                    if item.is_late(now) || item.is_lapsed(now) {
                        item.close(Closed::Expired);
                    } else if is_dead && item.resume.is_some() {
                        item.give_to(None);
                    } else if is_dead {
                        item.close(Closed::Expired);
                    }
                }
                let is_any = known.iter().any(|k| k.resume.is_some());
                assert_eq!(scene.may_resume(), is_any);
            }
        }
        // The flag is set if any item is marked.
        assert!(scene.may_resume() || known.iter().all(|k| k.resume.is_none()));
        // The other user of the store sees it.
        agree(&mut *stores[(i + 1) % 2], &known);
    }
    drop(stores);
    agree(&mut *scene.store, &known);
}

fn agree(store: &mut dyn ApprovalRequests, known: &[Known]) {
    let in_order = |is_open: bool| {
        let some = known.iter().enumerate();
        let some = some.filter(|(_, k)| k.state.is_open() == is_open);
        let mut some: Vec<(usize, &Known)> = some.collect();
        some.sort_by_key(|(at, k)| (k.asked_ms, *at));
        if !is_open {
            some.reverse();
        }
        some.into_iter().map(|(_, k)| k).collect::<Vec<&Known>>()
    };
    let (waiting, count) = store.waiting(100).unwrap();
    assert_eq!(count, waiting.len());
    let history = store.history(&Filter::default(), 100).unwrap();
    for (found, is_open) in [(waiting, true), (history, false)] {
        let expected = in_order(is_open);
        assert_eq!(found.len(), expected.len());
        for (entry, known) in found.iter().zip(expected) {
            assert_eq!((&entry.item.id, entry.state), (&known.id, known.state));
            assert_eq!(entry.parked_until_ms, known.parked_until_ms);
            assert_eq!(entry.was_disregarded, known.was_disregarded);
            assert_eq!(entry.closed_ms.is_none(), is_open);
            assert_eq!(
                entry.verdict.is_some(),
                matches!(entry.state, State::Decided(_))
            );
            assert_eq!(entry.item.call.contains("hunter2"), is_open);
        }
    }
}

pub(crate) fn any_order_of_operations_agrees_with_the_model(new: New) {
    let config = ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..120))| run(new, &steps));
}
