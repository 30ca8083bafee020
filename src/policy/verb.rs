//! The words in a tool's name, and which of them say that a call changes something.
//!
//! It does not weigh them against hints; see `engine`.

use heck::ToSnakeCase as _;

/// The first word of each list that a tool's name holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verbs {
    /// A word of the high-risk list.
    pub(super) high_risk: Option<&'static str>,
    /// A word of the write list.
    pub(super) write: Option<&'static str>,
    /// The word of the read list that the name begins with.
    pub(super) read: Option<&'static str>,
}

impl Verbs {
    /// Finds the words of both lists in a tool's name.
    pub(super) fn of(name: &str) -> Verbs {
        // The name comes from a server that may wish to hide a word. heck alone reads `dELETE` as
        // `d` and `elete`; a split at separators alone reads `deleteUser` as one word. So both.
        let humps = name.to_snake_case();
        let whole = name.to_lowercase();
        let mut verbs = Verbs {
            read: words(&humps).next().and_then(|first| find(READ, first)),
            ..Verbs::default()
        };
        for token in words(&humps).chain(words(&whole)) {
            verbs.high_risk = verbs.high_risk.or_else(|| find(HIGH_RISK, token));
            verbs.write = verbs.write.or_else(|| find(WRITE, token));
        }
        verbs
    }
}

/// Splits at everything that is no letter or digit, and drops the digits that end a word.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_alphanumeric())
        .map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()))
}

fn find(list: &[&'static str], token: &str) -> Option<&'static str> {
    let at = list.binary_search(&token).ok()?;
    list.get(at).copied()
}

// INVARIANT: both lists are sorted, for the binary search; a test watches over it.

#[rustfmt::skip] // One word a line would hide how short the lists are.
const HIGH_RISK: &[&str] = &[
    "bash", "delete", "destroy", "drop", "erase", "eval", "format", "kill", "pay", "purge",
    "remove", "revoke", "rm", "rmdir", "shell", "shutdown", "sudo", "terminate", "transfer",
    "truncate", "uninstall", "unlink", "wipe", "withdraw",
];

#[rustfmt::skip] // As above.
const WRITE: &[&str] = &[
    "add", "append", "apply", "approve", "archive", "cancel", "charge", "checkout", "chmod",
    "chown", "clear", "commit", "create", "delete", "deploy", "destroy", "disable", "downgrade",
    "drop", "edit", "enable", "exec", "execute", "format", "grant", "import", "insert", "install",
    "kill", "merge", "migrate", "modify", "mount", "move", "overwrite", "patch", "pay", "post",
    "publish", "purge", "push", "put", "refund", "release", "remove", "rename", "replace", "reset",
    "restart", "restore", "revoke", "rollback", "run", "save", "send", "set", "shutdown", "start",
    "stop", "store", "submit", "tag", "terminate", "transfer", "trash", "truncate", "uninstall",
    "update", "upgrade", "upload", "wipe", "withdraw", "write",
];

#[rustfmt::skip] // As above.
const READ: &[&str] = &["describe", "find", "get", "list", "query", "read", "search", "show"];

#[cfg(test)]
mod tests;
