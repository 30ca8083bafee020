//! The results, and how they are printed.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::answer::Answer;

/// The results of one session.
#[derive(Debug)]
pub(crate) struct Tally {
    session: usize,
    sent: u64,
    good: u64,
    errors: Vec<(u16, String)>,
    wrong: Vec<String>,
    latencies: Vec<Duration>,
    /// For a failed session: the status of the answer to its next request; 0 without an answer.
    pub(crate) next_status: Option<u16>,
    /// For any other session: the status of the answer to its DELETE.
    pub(crate) end_status: Option<u16>,
}

impl Tally {
    pub(crate) fn new(session: usize) -> Tally {
        Tally {
            session,
            sent: 0,
            good: 0,
            errors: Vec::new(),
            wrong: Vec::new(),
            latencies: Vec::new(),
            next_status: None,
            end_status: None,
        }
    }

    pub(crate) fn record(&mut self, latency: Duration, answer: Answer) {
        self.sent += 1;
        self.latencies.push(latency);
        match answer {
            Answer::Good => self.good += 1,
            Answer::Error(status, text) => self.errors.push((status, text)),
            Answer::Wrong(text) => self.wrong.push(text),
        }
    }

    /// Discards the times of the warm-up.
    pub(crate) fn forget_times(&mut self) {
        self.latencies.clear();
    }

    fn to_json(&self) -> Value {
        json!({
            "session": self.session,
            "sent": self.sent,
            "good": self.good,
            "errors": self.errors,
            "wrong": self.wrong,
            "next_status": self.next_status,
            "end_status": self.end_status,
        })
    }
}

/// The results of all sessions.
#[derive(Debug)]
pub(crate) struct Report {
    elapsed: Duration,
    latencies: Vec<Duration>,
    sessions: Vec<Tally>,
}

impl Report {
    pub(crate) fn new(elapsed: Duration, mut sessions: Vec<Tally>) -> Report {
        let times = sessions.iter_mut().map(|tally| &mut tally.latencies);
        let mut latencies: Vec<Duration> = times.flat_map(std::mem::take).collect();
        latencies.sort_unstable();
        sessions.sort_by_key(|tally| tally.session);
        Report {
            elapsed,
            latencies,
            sessions,
        }
    }

    /// In microseconds.
    fn percentile(&self, part: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let found = self.latencies.get((last as f64 * part).round() as usize);
        tenths(found.map_or(0.0, |time| time.as_secs_f64() * 1e6))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.latencies.len();
        let sum = |count: fn(&Tally) -> u64| self.sessions.iter().map(count).sum::<u64>();
        let report = json!({
            "calls": calls,
            "p50_us": self.percentile(0.50),
            "p90_us": self.percentile(0.90),
            "p99_us": self.percentile(0.99),
            "max_us": self.percentile(1.0),
            "calls_per_s": tenths(calls as f64 / self.elapsed.as_secs_f64()),
            "errors": sum(|tally| tally.errors.len() as u64),
            "wrong": sum(|tally| tally.wrong.len() as u64),
            "sessions": self.sessions.iter().map(Tally::to_json).collect::<Vec<_>>(),
        });
        write!(f, "{report}")
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
