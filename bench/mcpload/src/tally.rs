//! The results, collected as answers arrive.

use std::time::Duration;

use crate::message::Message;

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) latencies: Vec<Duration>,
    /// JSON-RPC errors.
    pub(crate) errors: u64,
    /// Results with `isError`, such as refused calls.
    pub(crate) tool_errors: u64,
    /// Answers too short for the requested text.
    pub(crate) short_answers: u64,
    pub(crate) elicitations: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) elapsed: Duration,
}

impl Tally {
    pub(crate) fn new(calls: usize) -> Tally {
        Tally {
            latencies: Vec::with_capacity(calls),
            ..Tally::default()
        }
    }

    pub(crate) fn record(&mut self, latency: Duration, answer: &Message<'_>, is_short: bool) {
        self.latencies.push(latency);
        let is_tool_error = answer.result.as_ref().is_some_and(|result| result.is_error);
        self.tool_errors += u64::from(is_tool_error);
        self.short_answers += u64::from(is_short);
        if let Some(error) = answer.error {
            self.errors += 1;
            let start = || error.get().chars().take(300).collect();
            self.first_error.get_or_insert_with(start);
        }
    }
}
