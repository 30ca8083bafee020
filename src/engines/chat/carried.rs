//! The items that one chat engine carries in this process.
//!
//! The courier, the tasks that send and edit messages, and the task that receives clicks use it from different threads.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::approval::item::{Choice, Item};
use crate::engines::{Answer, CarriedVerdict, Ending, HttpRuntime};
use crate::gate::{Failure, FailureKind};

/// How many items one engine carries at once.
const MAX_CARRIED: usize = 256;
/// How many items are remembered that are no longer carried, so that late clicks are told what happened.
const MAX_OVER: usize = 1_024;

/// What one chat engine carries.
#[derive(Default)]
pub(in crate::engines) struct Carried(Mutex<Items>);

#[derive(Default)]
struct Items {
    open: HashMap<String, Waiting>,
    /// The items that were carried, and how they ended, oldest first.
    over: VecDeque<(String, Option<Ending>)>,
}

struct Waiting {
    /// Of what was sent. A click must be about exactly this.
    fingerprint: String,
    /// `None` once somebody has decided. The store confirms that in a moment.
    answer: Option<Answer>,
    /// Whether people were shown the whole call.
    is_approvable: bool,
    /// Tells the task that sent the message.
    ended: oneshot::Sender<Ended>,
}

/// Why the message about an item no longer asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engines) enum Ended {
    /// Nobody waits for the verdict any more.
    Settled(Ending),
    /// The engine has reported that it failed.
    Failed,
}

/// What a click about an item finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engines) enum Standing {
    /// The item waits here. If the click was a verdict, that has been delivered.
    Open,
    /// It no longer waits. `None` if it is not known yet how it ended.
    Over(Option<Ending>),
    /// The click is about something else than what was sent under this id.
    Changed,
    /// Not everything was shown, so it cannot be approved here.
    NotShown,
    /// This process never carried the item.
    Elsewhere,
}

impl Carried {
    /// Adds an item. The returned receiver hears when its message must no longer ask.
    ///
    /// # Errors
    /// If there are too many. Returns the answer.
    pub(in crate::engines) fn insert(
        &self,
        item: &Item,
        answer: Answer,
    ) -> Result<oneshot::Receiver<Ended>, (Answer, Failure)> {
        let mut items = self.held();
        if items.open.len() >= MAX_CARRIED {
            let failure = Failure {
                kind: FailureKind::RateLimited,
                why: format!("{MAX_CARRIED} of its questions are already open"),
            };
            return Err((answer, failure));
        }
        let (sender, ended) = oneshot::channel();
        let waiting = Waiting {
            fingerprint: item.fingerprint(),
            answer: Some(answer),
            is_approvable: false,
            ended: sender,
        };
        items.over.retain(|(over, _)| *over != item.id);
        items.open.insert(item.id.clone(), waiting);
        Ok(ended)
    }

    /// Adds an item and starts `work` about it, which hears when nobody waits any more. Reports a failure if either is not
    /// possible.
    pub(in crate::engines) fn carry<W: Future<Output = ()> + Send + 'static>(
        &self,
        item: &Item,
        answer: Answer,
        runtime: &HttpRuntime,
        work: impl FnOnce(oneshot::Receiver<Ended>) -> W,
    ) {
        let ended = match self.insert(item, answer) {
            Ok(ended) => ended,
            Err((answer, failure)) => return answer.send(Err(failure)),
        };
        // It ends by itself, soon after the item does.
        if let Err(failure) = runtime.spawn_detached(work(ended)) {
            self.fail(&item.id, failure);
        }
    }

    /// People are shown the whole call, so they may approve it.
    pub(in crate::engines) fn is_shown(&self, item: &str) {
        if let Some(waiting) = self.held().open.get_mut(item) {
            waiting.is_approvable = true;
        }
    }

    /// Says whether an item waits here for this choice.
    pub(in crate::engines) fn standing(
        &self,
        item: &str,
        fingerprint: &str,
        choice: Choice,
    ) -> Standing {
        self.held().standing(item, fingerprint, choice)
    }

    /// Sends the verdict of a click, if the item still waits for it.
    pub(in crate::engines) fn decide(
        &self,
        item: &str,
        fingerprint: &str,
        verdict: CarriedVerdict,
    ) -> Standing {
        let mut items = self.held();
        let standing = items.standing(item, fingerprint, verdict.choice);
        if standing != Standing::Open {
            return standing;
        }
        let waiting = items.open.get_mut(item);
        let answer = waiting.and_then(|waiting| waiting.answer.take());
        drop(items);
        if let Some(answer) = answer {
            answer.send(Ok(verdict));
        }
        standing
    }

    /// Reports that an item cannot be asked about, unless somebody has decided.
    pub(in crate::engines) fn fail(&self, item: &str, failure: Failure) {
        let mut items = self.held();
        let is_waiting = items.open.get(item).is_some_and(|it| it.answer.is_some());
        let failed = is_waiting.then(|| items.end(item, None)).flatten();
        drop(items);
        if let Some(Waiting { answer, ended, .. }) = failed {
            // Its task may have ended.
            let _ = ended.send(Ended::Failed);
            if let Some(answer) = answer {
                answer.send(Err(failure));
            }
        }
    }

    /// Reports that no item can be decided any more. Returns true if there was any.
    pub(in crate::engines) fn fail_all(&self, failure: &Failure) -> bool {
        let all: Vec<String> = self.held().open.keys().cloned().collect();
        for item in &all {
            self.fail(item, failure.clone());
        }
        !all.is_empty()
    }

    /// Nobody waits for the verdict any more.
    pub(in crate::engines) fn settle(&self, item: &str, ending: &Ending) {
        let settled = self.held().end(item, Some(ending.clone()));
        if let Some(Waiting { ended, .. }) = settled {
            // Its task may have ended.
            let _ = ended.send(Ended::Settled(ending.clone()));
        }
    }

    /// Forgets all items.
    pub(in crate::engines) fn clear(&self) {
        let all = std::mem::take(&mut self.held().open);
        drop(all);
    }

    fn held(&self) -> MutexGuard<'_, Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Items {
    fn standing(&self, item: &str, fingerprint: &str, choice: Choice) -> Standing {
        let Some(waiting) = self.open.get(item) else {
            let mut over = self.over.iter().rev();
            return match over.find(|(id, _)| id == item) {
                Some((_, ending)) => Standing::Over(ending.clone()),
                None => Standing::Elsewhere,
            };
        };
        match (&waiting.answer, choice) {
            // INVARIANT 2: what was sent, whatever the store says.
            _ if waiting.fingerprint != fingerprint => Standing::Changed,
            (None, _) => Standing::Over(None),
            (Some(_), Choice::Approve) if !waiting.is_approvable => Standing::NotShown,
            (Some(_), _) => Standing::Open,
        }
    }

    fn end(&mut self, item: &str, ending: Option<Ending>) -> Option<Waiting> {
        let waiting = self.open.remove(item)?;
        if self.over.len() >= MAX_OVER {
            self.over.pop_front();
        }
        self.over.push_back((item.to_owned(), ending));
        Some(waiting)
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::engines::for_test::item;

    fn carrying(carried: &Carried, id: &str) -> Receiver<Result<CarriedVerdict, Failure>> {
        let (sender, results) = channel();
        let answer = Answer::new(move |answer| {
            // The test may have ended already.
            let _ = sender.send(answer);
        });
        carried.insert(&item(id), answer).unwrap();
        results
    }

    fn verdict(choice: Choice) -> CarriedVerdict {
        CarriedVerdict {
            fields: None,
            choice,
            reason: None,
            approver: Some("chat:1".to_owned()),
        }
    }

    fn decide(carried: &Carried, id: &str, choice: Choice) -> Standing {
        carried.decide(&item(id).id, &item(id).fingerprint(), verdict(choice))
    }

    #[test]
    fn only_the_first_of_two_verdicts_is_delivered() {
        let carried = Carried::default();
        let results = carrying(&carried, "a");
        carried.is_shown(&item("a").id);
        assert_eq!(decide(&carried, "a", Choice::Approve), Standing::Open);
        assert_eq!(decide(&carried, "a", Choice::Deny), Standing::Over(None));
        assert_eq!(results.recv().unwrap(), Ok(verdict(Choice::Approve)));
        // The answer is gone.
        assert!(results.recv().is_err());
    }

    #[test]
    fn a_click_about_anything_but_what_was_sent_counts_for_nothing() {
        let carried = Carried::default();
        let results = carrying(&carried, "a");
        carried.is_shown(&item("a").id);
        let id = item("a").id;
        let other = item("b").fingerprint();
        let standing = carried.decide(&id, &other, verdict(Choice::Approve));
        assert_eq!(standing, Standing::Changed);
        assert_eq!(decide(&carried, "b", Choice::Approve), Standing::Elsewhere);
        assert!(results.try_recv().is_err());
        assert_eq!(decide(&carried, "a", Choice::Approve), Standing::Open);
    }

    #[test]
    fn what_was_not_shown_whole_can_only_be_denied() {
        let carried = Carried::default();
        let results = carrying(&carried, "a");
        assert_eq!(decide(&carried, "a", Choice::Approve), Standing::NotShown);
        assert_eq!(decide(&carried, "a", Choice::Deny), Standing::Open);
        assert_eq!(results.recv().unwrap(), Ok(verdict(Choice::Deny)));
    }

    #[test]
    fn a_late_click_learns_how_the_question_ended() {
        use crate::approval::item::Closed;
        let carried = Carried::default();
        let _results = carrying(&carried, "a");
        let ending = Ending::Closed(Closed::Expired);
        carried.settle(&item("a").id, &ending);
        let standing = decide(&carried, "a", Choice::Deny);
        assert_eq!(standing, Standing::Over(Some(ending)));
    }

    #[test]
    fn a_failure_is_reported_once_and_never_after_a_verdict() {
        let carried = Carried::default();
        let failure = Failure::unreachable("gone");
        let failing = carrying(&carried, "a");
        let decided = carrying(&carried, "b");
        assert_eq!(decide(&carried, "b", Choice::Deny), Standing::Open);
        carried.fail_all(&failure);
        carried.fail(&item("a").id, failure.clone());
        assert_eq!(failing.iter().collect::<Vec<_>>(), [Err(failure)]);
        assert_eq!(
            decided.iter().collect::<Vec<_>>(),
            [Ok(verdict(Choice::Deny))]
        );
    }

    #[test]
    fn the_number_of_open_questions_is_bounded() {
        let carried = Carried::default();
        let all: Vec<_> = (0..MAX_CARRIED)
            .map(|n| carrying(&carried, &format!("{n:x}f")))
            .collect();
        let refused = carried.insert(&item("fff"), Answer::new(|_| ()));
        assert_eq!(refused.unwrap_err().1.kind, FailureKind::RateLimited);
        drop(all);
    }
}
