//! A question as it waits in an inbox: what is shown of a call, and what a human made of it.
//!
//! Plain data. Who may ask is the gate's business, where it waits and who may answer the inbox's.

use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::display::is_unseen;
use crate::policy::Risk;

/// A call that waits for a human, with everything that a human needs to see of it.
///
/// Texts come from the client and the server and are not escaped; every renderer must escape them.
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
    /// What the server calls the tool, beside its name.
    pub title: Option<String>,
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
    /// The title that the client gives itself beside that.
    pub client_title: Option<String>,
    /// When it was asked, in milliseconds since 1970, UTC.
    pub asked_ms: i64,
    /// When the human's time is over; `None` if it has no limit.
    pub expires_ms: Option<i64>,
}

impl Item {
    /// SHA-256 of everything that is shown of it, in lower-case hexadecimal: what a verdict is
    /// about. The digest alone says nothing of the texts that stand beside it in a store.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let (asked, expires) = (self.asked_ms, self.expires_ms);
        let (asked, expires) = (Some(asked.to_string()), expires.map(|ms| ms.to_string()));
        let parts = [
            Some(&*self.id),
            Some(&*self.server),
            Some(&*self.tool),
            Some(self.risk.as_str()),
            Some(&*self.why),
            Some(&*self.question),
            self.description.as_deref(),
            Some(&*self.hints),
            Some(&*self.call),
            Some(&*self.digest),
            self.client.as_deref(),
            asked.as_deref(),
            expires.as_deref(),
        ];
        // Proxies from before there were titles know nothing of them. Without one, nothing differs for them.
        let titles = [self.title.as_deref(), self.client_title.as_deref()];
        let has_titles = titles.iter().any(Option::is_some);
        let titles = titles.into_iter().filter(|_| has_titles);
        let mut hasher = Sha256::new();
        for part in parts.into_iter().chain(titles) {
            let length = part.map(|part| u64::try_from(part.len()).unwrap_or(u64::MAX - 1));
            // No text is as long as that: it stands for none at all.
            hasher.update(length.unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part.unwrap_or_default());
        }
        let hash: [u8; 32] = hasher.finalize().into();
        blake3::Hash::from_bytes(hash).to_hex().to_string()
    }
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
    /// Who decided, as they call themselves: [`read_approver`] accepts it, and nobody has checked it.
    pub approver: Option<String>,
    /// When, in milliseconds since 1970, UTC.
    pub decided_ms: i64,
}

/// The longest name of an approver, in characters.
pub const MAX_APPROVER: usize = 64;

/// Why a text cannot be the name of an approver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadApprover {
    /// Nothing but space, or not even that.
    #[error("a name cannot be empty")]
    Empty,
    /// More than [`MAX_APPROVER`] characters.
    #[error("a name can have at most {MAX_APPROVER} characters, and this one has {0}")]
    TooLong(usize),
    /// A control character, or one that cannot be seen.
    #[error("a name cannot contain the invisible character U+{:04X}", u32::from(*.0))]
    Unseen(char),
}

/// Reads the name by which an approver wants to be known, without the space around it.
///
/// # Errors
/// [`BadApprover`].
pub fn read_approver(text: &str) -> Result<String, BadApprover> {
    let name = text.trim();
    if name.is_empty() {
        return Err(BadApprover::Empty);
    }
    let length = name.chars().count();
    if length > MAX_APPROVER {
        return Err(BadApprover::TooLong(length));
    }
    match name.chars().find(|c| c.is_control() || is_unseen(*c)) {
        Some(unseen) => Err(BadApprover::Unseen(unseen)),
        None => Ok(name.to_owned()),
    }
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
    /// Somebody who knows a secret that a service or a program shares with us.
    SharedSecret,
    /// Somebody who was logged in to the inbox's page.
    InboxSession,
    /// Somebody who may write to the inbox's store, by the command line.
    InboxTerminal,
    /// Somebody who knows the passphrase.
    InboxPassphrase,
}

impl Assurance {
    /// Every one, from the weakest on.
    pub const ALL: [Assurance; 5] = [
        Assurance::CallerRelayed,
        Assurance::SharedSecret,
        Assurance::InboxTerminal,
        Assurance::InboxSession,
        Assurance::InboxPassphrase,
    ];

    /// The word used in audit lines and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Assurance::CallerRelayed => "caller-relayed",
            Assurance::SharedSecret => "shared-secret",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_in_sight_and_has_no_space_around_it() {
        assert_eq!(read_approver(" Ann \t"), Ok("Ann".to_owned()));
        assert_eq!(
            read_approver("Zoë Ångström-O'Neil"),
            Ok("Zoë Ångström-O'Neil".to_owned())
        );
        // Characters count, not bytes.
        let longest = "é".repeat(MAX_APPROVER);
        assert_eq!(read_approver(&longest), Ok(longest.clone()));
        let longer = format!("{longest}é");
        assert_eq!(read_approver(&longer), Err(BadApprover::TooLong(65)));
        for empty in ["", " ", "\n", "\u{3000}"] {
            assert_eq!(read_approver(empty), Err(BadApprover::Empty), "{empty:?}");
        }
        for unseen in [
            '\0',
            '\n',
            '\u{1b}',
            '\u{9b}',
            '\u{200b}',
            '\u{202e}',
            '\u{e0041}',
        ] {
            let name = format!("An{unseen}n");
            assert_eq!(read_approver(&name), Err(BadApprover::Unseen(unseen)));
        }
        let told = BadApprover::Unseen('\u{202e}').to_string();
        assert_eq!(told, "a name cannot contain the invisible character U+202E");
    }

    #[test]
    fn every_part_of_an_item_counts_for_what_a_verdict_is_about() {
        let item = Item {
            id: "i".into(),
            server: "s".into(),
            tool: "t".into(),
            risk: Risk::High,
            why: "w".into(),
            question: "q".into(),
            title: None,
            description: None,
            hints: String::new(),
            call: "{}".into(),
            digest: "d".into(),
            client: None,
            client_title: None,
            asked_ms: 1,
            expires_ms: None,
        };
        type Change = fn(&mut Item);
        let changes: [Change; 16] = [
            |i| i.id.push('x'),
            |i| i.server.push('x'),
            |i| i.tool.push('x'),
            |i| i.risk = Risk::Low,
            |i| i.why.push('x'),
            |i| i.question.push('x'),
            |i| i.description = Some(String::new()),
            |i| i.hints.push('x'),
            |i| i.call.push(' '),
            |i| i.digest.push('x'),
            |i| i.client = Some(String::new()),
            |i| i.title = Some(String::new()),
            |i| i.client_title = Some(String::new()),
            |i| i.asked_ms = 2,
            |i| i.expires_ms = Some(1),
            |i| (i.server, i.tool) = ("st".into(), String::new()),
        ];
        let mut seen = vec![item.fingerprint()];
        for change in changes {
            let mut changed = item.clone();
            change(&mut changed);
            seen.push(changed.fingerprint());
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), changes.len() + 1);
        assert_eq!(item.clone().fingerprint(), item.fingerprint());
    }
}
