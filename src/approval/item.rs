//! A question as it waits in an inbox: what is shown of a call, and what a human made of it.
//!
//! Plain data. Who may ask is the gate's business, where it waits and who may answer the inbox's.

use std::fmt;
use std::time::Duration;

use crate::policy::Risk;

/// A call that waits for a human, with everything that a human needs to see of it.
///
/// Texts are the client's and the server's own, unescaped: whoever shows them escapes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Names the item: 32 lower-case hexadecimal digits that nobody can guess.
    pub id: String,
    /// The server's name in the configuration.
    pub server: String,
    /// The tool's exact name.
    pub tool: String,
    /// How much harm the call could do.
    pub risk: Risk,
    /// Why the policy wants it asked about, in words.
    pub why: String,
    /// Which of the call's questions this is, in words: "Allow this tool call?" and the like.
    pub question: String,
    /// What the server says about the tool.
    pub description: Option<String>,
    /// The tool's hints, in words; empty if there are none.
    pub hints: String,
    /// The whole call as JSON, as the client wrote it, numbers included: `name`, `arguments`, and
    /// every other parameter that the server could act on.
    pub call: String,
    /// SHA-256 of the call, in lower-case hexadecimal. A verdict holds for exactly this.
    pub digest: String,
    /// What the client calls itself, if it does.
    pub client: Option<String>,
    /// When it was asked, in milliseconds since 1970, UTC.
    pub asked_ms: i64,
    /// When the human's time is over; `None` if it has no limit.
    pub expires_ms: Option<i64>,
}

/// What a human decided about an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Yes or no.
    pub choice: Choice,
    /// In the human's own words.
    pub reason: Option<String>,
    /// How long a yes covers the very same call, too; zero is not at all.
    pub cover: Duration,
    /// How sure it is that a human decided.
    pub assurance: Assurance,
    /// When, in milliseconds since 1970, UTC.
    pub decided_ms: i64,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The call may run.
    Approve,
    /// It may not.
    Deny,
}

impl Choice {
    /// The word used in the store and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Choice::Approve => "approve",
            Choice::Deny => "deny",
        }
    }
}

/// Why an item waits no more although nobody decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Its time was over, or its proxy died.
    Expired,
    /// The call was taken back, or its client or server has gone.
    Withdrawn,
}

/// How sure it is that a human decided, and not a program that acts for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assurance {
    /// The client says that its user said so.
    CallerRelayed,
    /// Somebody who was logged in to the inbox's page.
    InboxSession,
    /// Somebody who may write to the inbox's store, by the command line.
    InboxTerminal,
    /// Somebody who knows the passphrase.
    InboxPassphrase,
}

impl Assurance {
    /// Every one, from the weakest on.
    pub const ALL: [Assurance; 4] = [
        Assurance::CallerRelayed,
        Assurance::InboxTerminal,
        Assurance::InboxSession,
        Assurance::InboxPassphrase,
    ];

    /// The word used in audit lines and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Assurance::CallerRelayed => "caller-relayed",
            Assurance::InboxSession => "inbox-session",
            Assurance::InboxTerminal => "inbox-terminal",
            Assurance::InboxPassphrase => "inbox-passphrase",
        }
    }
}

impl fmt::Display for Assurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
