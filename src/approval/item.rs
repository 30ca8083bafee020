//! An approval request as stored in the inbox, and a person's verdict on it.
//!
//! Plain data. The gate decides what is asked; the inbox stores items and decides who may answer.

use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::display::is_invisible;
use crate::policy::Risk;

/// A call that waits for a person's verdict, with everything that the person needs to see.
///
/// Texts come from the client and the server and are not escaped. Every renderer must escape them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The item's id: 32 lower-case hexadecimal digits that nobody can guess.
    pub id: String,
    /// The server's name in the configuration.
    pub server: String,
    /// The tool's exact name.
    pub tool: String,
    /// How much harm the call could do.
    pub risk: Risk,
    /// Why the policy asks about the call, as text.
    pub why: String,
    /// Which of the call's questions this is, as text, such as "Allow this tool call?".
    pub question: String,
    /// The tool's title, from the server.
    pub title: Option<String>,
    /// The tool's description, from the server.
    pub description: Option<String>,
    /// The tool's hints, as text; empty if there are none.
    pub hints: String,
    /// The whole call as JSON: `name`, `arguments` and every other parameter that the server could act on, as the
    /// client wrote them, including numbers.
    pub call: String,
    /// SHA-256 of the call, in lower-case hexadecimal. A verdict is bound to exactly this.
    pub digest: String,
    /// The client's name for itself, if it gives one.
    pub client: Option<String>,
    /// The client's title for itself, if it gives one.
    pub client_title: Option<String>,
    /// The [form](super::form::Form) that a yes must fill in, as JSON; `None` if there is none.
    pub form: Option<String>,
    /// When the question was asked, in milliseconds since 1970, UTC.
    pub asked_ms: i64,
    /// When the person's time is up; `None` if there is no limit.
    pub expires_ms: Option<i64>,
}

impl Item {
    /// Returns the SHA-256 of everything that is shown of the item, in lower-case hexadecimal. A verdict is about this.
    /// The digest alone does not cover the texts that are stored beside it.
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
        // Older proxies do not know titles. Without a title, the fingerprint is the same as theirs.
        let titles = [self.title.as_deref(), self.client_title.as_deref()];
        let has_titles = titles.iter().any(Option::is_some) || self.form.is_some();
        let titles = titles.into_iter().filter(|_| has_titles);
        // Nor forms.
        let form = self.form.iter().map(|form| Some(&**form));
        let mut hasher = Sha256::new();
        for part in parts.into_iter().chain(titles).chain(form) {
            let length = part.map(|part| u64::try_from(part.len()).unwrap_or(u64::MAX - 1));
            // No text is that long, so this length stands for a missing part.
            hasher.update(length.unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part.unwrap_or_default());
        }
        let hash: [u8; 32] = hasher.finalize().into();
        blake3::Hash::from_bytes(hash).to_hex().to_string()
    }
}

/// A person's decision about an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Approve or deny.
    pub choice: Choice,
    /// The reason, in the person's own words.
    pub reason: Option<String>,
    /// The answers to the item's form, a JSON object; `None` if it has none, and for a no.
    pub fields: Option<String>,
    /// How long an approval also covers the same call; zero means not at all.
    pub cover: Duration,
    /// How certain it is that a person decided.
    pub assurance: Assurance,
    /// Who decided, by the name they gave. [`read_approver`] accepts the name; nobody has verified it.
    pub approver: Option<String>,
    /// When the person decided, in milliseconds since 1970, UTC.
    pub decided_ms: i64,
}

/// The longest name of an approver, in characters.
pub const MAX_APPROVER: usize = 64;

/// Why a text cannot be the name of an approver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadApprover {
    /// Empty, or white space only.
    #[error("a name cannot be empty")]
    Empty,
    /// More than [`MAX_APPROVER`] characters.
    #[error("a name can have at most {MAX_APPROVER} characters, and this one has {0}")]
    TooLong(usize),
    /// Contains a control or invisible character.
    #[error("a name cannot contain the invisible character U+{:04X}", u32::from(*.0))]
    Unseen(char),
}

/// Reads the name that an approver wants to be known by, and trims white space.
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
    match name.chars().find(|c| c.is_control() || is_invisible(*c)) {
        Some(unseen) => Err(BadApprover::Unseen(unseen)),
        None => Ok(name.to_owned()),
    }
}

/// A person's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Let the call run.
    Approve,
    /// Refuse the call.
    Deny,
}

impl Choice {
    /// Returns the word used in the store and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Choice::Approve => "approve",
            Choice::Deny => "deny",
        }
    }
}

/// Why an item was closed without a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Its time was up, or its proxy died.
    Expired,
    /// The call was cancelled, or its client or server has gone.
    Withdrawn,
}

/// How certain it is that a person decided, rather than a program acting for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assurance {
    /// The client says that its user decided.
    CallerRelayed,
    /// Somebody who knows a secret shared with a service or a program.
    SharedSecret,
    /// Somebody who was logged in to the inbox's page.
    InboxSession,
    /// Somebody who can write to the inbox's store, through the command line.
    InboxTerminal,
    /// A named account of a chat service.
    ChannelAuthenticated,
    /// Somebody who knows the passphrase.
    InboxPassphrase,
}

impl Assurance {
    /// All levels, weakest first.
    pub const ALL: [Assurance; 6] = [
        Assurance::CallerRelayed,
        Assurance::SharedSecret,
        Assurance::InboxTerminal,
        Assurance::InboxSession,
        Assurance::ChannelAuthenticated,
        Assurance::InboxPassphrase,
    ];

    /// Returns true if a service has checked who decided. Otherwise the approver's name is only what somebody typed.
    #[must_use]
    pub fn verifies_approver(self) -> bool {
        self == Assurance::ChannelAuthenticated
    }

    /// Returns the word used in audit records and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Assurance::CallerRelayed => "caller-relayed",
            Assurance::SharedSecret => "shared-secret",
            Assurance::InboxSession => "inbox-session",
            Assurance::InboxTerminal => "inbox-terminal",
            Assurance::ChannelAuthenticated => "channel-authenticated",
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
    fn a_name_is_short_and_visible_and_gets_trimmed() {
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
        let message = BadApprover::Unseen('\u{202e}').to_string();
        assert_eq!(
            message,
            "a name cannot contain the invisible character U+202E"
        );
    }

    #[test]
    fn every_part_of_an_item_changes_its_fingerprint() {
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
            form: None,
            asked_ms: 1,
            expires_ms: None,
        };
        type Change = fn(&mut Item);
        let changes: [Change; 17] = [
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
            |i| i.form = Some(String::new()),
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
