//! The printed results.

use std::time::Duration;

use serde_json::{Value, json};

use crate::options::Options;
use crate::tally::Tally;
use crate::usage::Usage;

pub(crate) struct Report {
    start_up: Duration,
    tally: Tally,
    child: Usage,
}

impl Report {
    pub(crate) fn new(start_up: Duration, mut tally: Tally, child: Usage) -> Report {
        tally.latencies.sort_unstable();
        Report {
            start_up,
            tally,
            child,
        }
    }

    pub(crate) fn print(&self, options: &Options) {
        let report = self.to_json();
        if options.json {
            return println!("{report}");
        }
        for (key, value) in report.as_object().into_iter().flatten() {
            println!("{key:22} {value}");
        }
    }

    fn to_json(&self) -> Value {
        let tally = &self.tally;
        let calls = tally.latencies.len() as f64;
        json!({
            "calls": tally.latencies.len(),
            "startup_ms": tenths(self.start_up.as_secs_f64() * 1e3),
            "p50_us": self.percentile(0.50),
            "p90_us": self.percentile(0.90),
            "p99_us": self.percentile(0.99),
            "max_us": self.percentile(1.0),
            "calls_per_s": tenths(calls / tally.elapsed.as_secs_f64()),
            "child_peak_rss_kib": self.child.peak_kib,
            "child_cpu_us_per_call": tenths(self.child.cpu_ns as f64 / 1e3 / calls),
            "errors": tally.errors,
            "tool_errors": tally.tool_errors,
            "short_answers": tally.short_answers,
            "elicitations": tally.elicitations,
            "first_error": tally.first_error,
        })
    }

    /// In microseconds.
    fn percentile(&self, part: f64) -> f64 {
        let latencies = &self.tally.latencies;
        let at = ((latencies.len() - 1) as f64 * part).round() as usize;
        tenths(latencies[at].as_secs_f64() * 1e6)
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
