//! Drives the question about one approval: carries messages between it and the engines, and tells it the time.
//!
//! The gate's [`Question`] decides; [`Approvals`] keeps how it ends.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::approvals::Approvals;
use super::outcome::{Outcome, Status};
use crate::gate::{Failure, FromEngine, Now, Question, QuestionOutput, ToEngine};

/// Drives one question until it ends.
pub(super) struct Driver {
    approvals: Arc<Approvals>,
    id: String,
    question: Question,
    to_us: UnboundedSender<FromEngine>,
    from_engines: UnboundedReceiver<FromEngine>,
}

impl Driver {
    pub(super) fn new(approvals: &Arc<Approvals>, id: String, question: Question) -> Driver {
        let (to_us, from_engines) = unbounded_channel();
        Driver {
            approvals: Arc::clone(approvals),
            id,
            question,
            to_us,
            from_engines,
        }
    }

    pub(super) async fn drive(mut self, mut cancelled: watch::Receiver<bool>, is_resumed: bool) {
        let now = self.now();
        let mut outputs = match is_resumed {
            true => self.question.find(now),
            false => self.question.begin(now),
        };
        loop {
            if self.carry_out(outputs) {
                return;
            }
            let due = self.question.next_time();
            let left = due.map(|due| due.saturating_sub(self.now().elapsed));
            let tick = async {
                match left {
                    Some(left) => sleep_until(Instant::now() + left).await,
                    None => std::future::pending().await,
                }
            };
            outputs = tokio::select! {
                message = self.from_engines.recv() => match message {
                    Some(message) => {
                        let now = self.now();
                        self.question.from_engine(message, now)
                    }
                    None => return,
                },
                is_cancelled = cancelled.wait_for(|is_cancelled| *is_cancelled) => {
                    // An error means that nobody can cancel any more.
                    if is_cancelled.is_err() {
                        return;
                    }
                    drop(is_cancelled);
                    let now = self.now();
                    let outputs = self.question.cancel(now);
                    self.carry_out(outputs);
                    self.approvals.end(&self.id, Outcome::of(Status::Cancelled, None));
                    return;
                }
                () = tick => {
                    let now = self.now();
                    self.question.tick(now)
                }
            };
        }
    }

    fn now(&self) -> Now {
        self.approvals.clock.now()
    }

    /// Carries outputs out. Returns true if the question is over.
    fn carry_out(&mut self, outputs: Vec<QuestionOutput>) -> bool {
        let mut is_over = false;
        let mut outputs: VecDeque<QuestionOutput> = outputs.into();
        while let Some(output) = outputs.pop_front() {
            match output {
                QuestionOutput::ToEngine(message) => {
                    let asked = match &message {
                        ToEngine::Ask { engine, item, .. } => Some((*engine, item.id.clone())),
                        ToEngine::Join { engine, item } => Some((*engine, item.clone())),
                        ToEngine::OpenBrowser { .. }
                        | ToEngine::Park { .. }
                        | ToEngine::Close { .. }
                        | ToEngine::Decided(_)
                        | ToEngine::Resume(_) => None,
                    };
                    let sent = self.approvals.engines.send(message, &self.to_us);
                    if let (Err(why), Some((engine, item))) = (sent, asked) {
                        let failed = FromEngine::Failed {
                            engine: Some(engine),
                            item,
                            failure: Failure::unreachable(why),
                        };
                        let now = self.now();
                        outputs.extend(self.question.from_engine(failed, now));
                    }
                }
                QuestionOutput::Disregarded(why) => {
                    tracing::warn!("a verdict about approval {} does not count: {why}", self.id);
                    self.approvals.record_disregarded(&self.id, why);
                }
                QuestionOutput::Ended(end) => {
                    is_over = true;
                    // If it is not kept, a later process finds the verdict.
                    if self.approvals.end(&self.id, end.into()) {
                        outputs.extend(self.question.settle());
                    }
                }
            }
        }
        is_over
    }
}
