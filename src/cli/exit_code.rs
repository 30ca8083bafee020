//! The exit codes. Scripts rely on these numbers.
//!
//! `app` decides which failure ends a run.

/// The client closed the session, or `--help` or `--version` was asked for.
pub const OK: u8 = 0;
/// Something else failed; a bug, or a system that is out of resources.
pub const INTERNAL: u8 = 1;
/// The command line is wrong, or the answer to a question of the command cannot be used.
pub const USAGE: u8 = 2;
/// The config file, an environment variable of ours, an address or the state folder is missing or wrong.
pub const CONFIG: u8 = 3;
/// The upstream server could not be started, or ended before it sent a message.
pub const UPSTREAM_START: u8 = 4;
/// The audit log could not be opened at the start.
pub const AUDIT_LOG: u8 = 5;
/// The upstream server died while the client was still connected.
pub const UPSTREAM_DIED: u8 = 6;
/// A command names an item of the inbox that does not exist or is not waiting, or a device that is not paired.
pub const NO_ITEM: u8 = 7;
/// `ask`: a person said no.
pub const REFUSED: u8 = 10;
/// `ask`: nobody decided. `engines test --send`: nobody answered the question in time. `inbox --pair`: no device was
/// paired.
pub const NOBODY_DECIDED: u8 = 12;

/// Every code except those of signals, and when the process exits with it, for `--help` and docs/cli.md.
pub const ALL: [(u8, &str); 10] = [
    (OK, "the client closed the session"),
    (INTERNAL, "internal error"),
    (
        USAGE,
        "bad usage; a wrong or missing passphrase; a verdict that does not count",
    ),
    (
        CONFIG,
        "bad configuration; an inbox key other than `inboxKey`; an address, an inbox or a client's file that cannot be used; `doctor` found a problem",
    ),
    (
        UPSTREAM_START,
        "the upstream server could not be started, or ended before it sent a message",
    ),
    (AUDIT_LOG, "the audit log could not be opened"),
    (
        UPSTREAM_DIED,
        "the upstream server died while the client was still connected",
    ),
    (
        NO_ITEM,
        "`approvals`: no such item is waiting; `inbox --devices --revoke`: no such device",
    ),
    (REFUSED, "`ask`: denied"),
    (
        NOBODY_DECIDED,
        "`ask`: nobody decided; `engines test --send`: nobody answered in time; `inbox --pair`: no device was paired",
    ),
];

/// Returns the exit code for a run that the signal `number` ended: 128 + `number`, as in shells. Numbers
/// that are not signals yield [`INTERNAL`].
#[must_use]
pub fn for_signal(number: i32) -> u8 {
    match u8::try_from(number) {
        Ok(signal @ 1..=127) => 128 + signal,
        _ => INTERNAL,
    }
}

/// Returns the section of the help text that lists the codes.
#[must_use]
pub fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in ALL {
        text.push_str(&format!("  {code:<5} {meaning}\n"));
    }
    text + "  128+N ended by signal N"
}

#[cfg(test)]
mod tests {
    use super::*;

    // contract.md, "Command line": "Exit: 0 when the client closes; a documented non-zero code per
    // kind of failure (bad usage, bad config, upstream could not start, audit log not writable,
    // upstream died, no such item)".
    #[test]
    fn every_kind_of_end_has_its_own_documented_code() {
        let codes = ALL.map(|(code, _)| code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 10, 12]);
        let help = help();
        for (code, meaning) in ALL {
            assert!(help.contains(&format!("  {code:<5} {meaning}\n")), "{help}");
        }
        assert!(help.ends_with("128+N ended by signal N"));
    }

    #[test]
    fn a_signal_yields_128_plus_its_number() {
        assert_eq!(for_signal(15), 143);
        assert_eq!(for_signal(1), 129);
        assert_eq!(for_signal(127), 255);
        for number in [0, -1, 128, 300] {
            assert_eq!(for_signal(number), INTERNAL);
        }
    }
}
