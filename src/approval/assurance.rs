//! The least assurance that a verdict must have to count.
//!
//! Does not know which engine reaches which level. See [`Assurance`] for the levels.

use std::fmt;

use super::item::Assurance;

/// The value of `requireAssurance`: verdicts below this level do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequiredAssurance {
    word: &'static str,
    level: u8,
}

impl RequiredAssurance {
    /// Every level that can be required, with its configuration name, lowest first.
    pub const WORDS: [(&'static str, RequiredAssurance); 6] = [
        required("caller-relayed", 0),
        required("shared-secret", 1),
        required("inbox-terminal", 2),
        required("inbox-session", 2),
        required("channel-authenticated", 3),
        required("inbox-passphrase", 4),
    ];

    /// Whether this asks for less than `other`.
    #[must_use]
    pub fn is_below(self, other: RequiredAssurance) -> bool {
        self.level < other.level
    }

    /// Returns true if a verdict of this assurance counts.
    #[must_use]
    pub fn is_met_by(self, assurance: Assurance) -> bool {
        level(assurance) >= self.level
    }
}

impl fmt::Display for RequiredAssurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word)
    }
}

const fn required(word: &'static str, level: u8) -> (&'static str, RequiredAssurance) {
    (word, RequiredAssurance { word, level })
}

/// The terminal and the page share a level: both are open to anyone who can use the inbox's store.
fn level(assurance: Assurance) -> u8 {
    match assurance {
        Assurance::CallerRelayed => 0,
        Assurance::SharedSecret => 1,
        Assurance::InboxTerminal | Assurance::InboxSession => 2,
        Assurance::ChannelAuthenticated => 3,
        Assurance::InboxPassphrase => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_meets_its_own_level_and_all_lower_ones() {
        let meets = |assurance: Assurance| -> Vec<&str> {
            let words = RequiredAssurance::WORDS.iter();
            let met = words.filter(|(_, required)| required.is_met_by(assurance));
            met.map(|(word, _)| *word).collect()
        };
        assert_eq!(meets(Assurance::CallerRelayed), ["caller-relayed"]);
        let inbox = [
            "caller-relayed",
            "shared-secret",
            "inbox-terminal",
            "inbox-session",
        ];
        assert_eq!(meets(Assurance::InboxTerminal), inbox);
        assert_eq!(meets(Assurance::InboxSession), inbox);
        assert_eq!(
            meets(Assurance::ChannelAuthenticated),
            [&inbox[..], &["channel-authenticated"]].concat()
        );
        assert_eq!(
            meets(Assurance::InboxPassphrase).len(),
            RequiredAssurance::WORDS.len()
        );
    }

    #[test]
    fn every_assurance_can_be_required_under_its_own_name() {
        for assurance in Assurance::ALL {
            let named = RequiredAssurance::WORDS.iter();
            let mut named = named.filter(|(word, _)| *word == assurance.as_str());
            let (word, required) = named.next().unwrap();
            assert!(required.is_met_by(assurance));
            assert_eq!(required.to_string(), *word);
        }
    }
}
