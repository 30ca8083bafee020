//! What the process ends with; scripts rely on these numbers.
//!
//! Which failure ends a run is decided by `app`.

/// The client closed the session, or `--help` or `--version` was asked for.
pub const OK: u8 = 0;
/// Something else failed; a bug, or a system that is out of resources.
pub const INTERNAL: u8 = 1;
/// The command line cannot be understood, or what was typed at its question is not to be used.
pub const USAGE: u8 = 2;
/// The config file, an environment variable of ours, an address or the state folder is missing or wrong.
pub const CONFIG: u8 = 3;
/// The upstream server could not be started, or ended before it sent a message.
pub const UPSTREAM_START: u8 = 4;
/// The audit log cannot be opened at the start.
pub const AUDIT_LOG: u8 = 5;
/// The upstream server died while the client was still there.
pub const UPSTREAM_DIED: u8 = 6;
/// A command names an item of the inbox that does not wait, or that there is not.
pub const NO_ITEM: u8 = 7;

/// Every code but those of signals, and when the process ends with it: for `--help` and docs/cli.md.
pub const ALL: [(u8, &str); 8] = [
    (OK, "the client closed the session"),
    (INTERNAL, "internal error"),
    (
        USAGE,
        "bad usage; a passphrase that is wrong or missing; a verdict that counts for nothing",
    ),
    (
        CONFIG,
        "bad configuration; another inbox key than `inboxKey`; an address that cannot be listened on; \
         an inbox that cannot be used",
    ),
    (
        UPSTREAM_START,
        "the upstream server could not be started, or ended before it sent a message",
    ),
    (AUDIT_LOG, "the audit log could not be opened"),
    (
        UPSTREAM_DIED,
        "the upstream server died while the client was still there",
    ),
    (NO_ITEM, "`approvals`: no such item waits"),
];

/// The code after the signal `number` ended the run: 128 + `number`, as shells count. Numbers
/// that no signal has come to [`INTERNAL`].
#[must_use]
pub fn for_signal(number: i32) -> u8 {
    match u8::try_from(number) {
        Ok(signal @ 1..=127) => 128 + signal,
        _ => INTERNAL,
    }
}

/// The section of the help text that lists the codes.
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

    // CONTRACT: "Exit: 0 when the client closes; a documented non-zero code per kind of failure
    // (bad usage, bad config, upstream could not start, audit log not writable, upstream died)."
    #[test]
    fn every_kind_of_end_has_its_own_documented_code() {
        let codes = ALL.map(|(code, _)| code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7]);
        let help = help();
        for (code, meaning) in ALL {
            assert!(
                help.contains(&format!("  {code}     {meaning}\n")),
                "{help}"
            );
        }
        assert!(help.ends_with("128+N ended by signal N"));
    }

    #[test]
    fn a_signal_ends_with_its_number_over_128() {
        assert_eq!(for_signal(15), 143);
        assert_eq!(for_signal(1), 129);
        assert_eq!(for_signal(127), 255);
        for number in [0, -1, 128, 300] {
            assert_eq!(for_signal(number), INTERNAL);
        }
    }
}
