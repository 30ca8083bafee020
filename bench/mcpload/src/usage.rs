//! Memory and processor time of one process, from /proc.
//!
//! Its children, such as the server behind a proxy, are not included.

use std::fs;

#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) peak_kib: u64,
    pub(crate) cpu_ns: u64,
}

impl Usage {
    pub(crate) fn of(process: u32) -> Usage {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let peak_kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0);
        let threads = fs::read_dir(format!("/proc/{process}/task"));
        let cpu_ns = threads
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
            .sum();
        Usage { peak_kib, cpu_ns }
    }

    /// Returns the processor time since `before`, and the peak memory of the whole run.
    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            peak_kib: self.peak_kib,
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
        }
    }
}
