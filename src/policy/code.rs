//! The stable codes of the rules, as used in the audit log, `--explain` and docs/policy.md.
//!
//! The matching sentences are in `decision`; `decide` finds the rule that decides.

use std::fmt;

/// Which rule made a decision.
///
/// The codes are an interface: people filter audit logs by them. New rules may add codes, but no
/// code may be renamed or change its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleCode {
    /// A deny entry names the tool.
    DenyRule,
    /// An allow entry names the tool.
    AllowRule,
    /// Mode `none` passes every call.
    ModeNone,
    /// Mode `all` asks about every call.
    ModeAll,
    /// The server's tool list is not known yet.
    ListUnknown,
    /// The server does not list the tool.
    UnlistedTool,
    /// The name contains characters outside printable ASCII.
    UnreadableName,
    /// The server's hints say `destructiveHint: true`.
    DestructiveHint,
    /// The name contains a high-risk word.
    HighRiskWord,
    /// The server's hints say `readOnlyHint: true`.
    ReadOnlyHint,
    /// The name contains a write word that counts.
    WriteWord,
    /// The server's hints say `readOnlyHint: false`.
    NotReadOnlyHint,
    /// There are no hints, and the name begins with a read word.
    ReadWord,
    /// Mode `cautious`, and nothing shows that the tool only reads.
    UnknownVerb,
    /// A hint in the operator's `customAnnotations` decided.
    OperatorHint,
    /// No other rule matched.
    Default,
}

impl RuleCode {
    /// Every code, in the order of docs/policy.md.
    pub const ALL: [RuleCode; 16] = [
        RuleCode::DenyRule,
        RuleCode::AllowRule,
        RuleCode::ModeNone,
        RuleCode::ModeAll,
        RuleCode::ListUnknown,
        RuleCode::UnlistedTool,
        RuleCode::UnreadableName,
        RuleCode::DestructiveHint,
        RuleCode::HighRiskWord,
        RuleCode::ReadOnlyHint,
        RuleCode::WriteWord,
        RuleCode::NotReadOnlyHint,
        RuleCode::ReadWord,
        RuleCode::UnknownVerb,
        RuleCode::OperatorHint,
        RuleCode::Default,
    ];

    /// Returns the code as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RuleCode::DenyRule => "deny-rule",
            RuleCode::AllowRule => "allow-rule",
            RuleCode::ModeNone => "mode-none",
            RuleCode::ModeAll => "mode-all",
            RuleCode::ListUnknown => "list-unknown",
            RuleCode::UnlistedTool => "unlisted-tool",
            RuleCode::UnreadableName => "unreadable-name",
            RuleCode::DestructiveHint => "destructive-hint",
            RuleCode::HighRiskWord => "high-risk-word",
            RuleCode::ReadOnlyHint => "read-only-hint",
            RuleCode::WriteWord => "write-word",
            RuleCode::NotReadOnlyHint => "not-read-only-hint",
            RuleCode::ReadWord => "read-word",
            RuleCode::UnknownVerb => "unknown-verb",
            RuleCode::OperatorHint => "operator-hint",
            RuleCode::Default => "default",
        }
    }
}

impl fmt::Display for RuleCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Issue 14, point 9: the set is frozen.
    #[test]
    fn the_codes_are_exactly_these() {
        assert_eq!(
            RuleCode::ALL.map(RuleCode::as_str),
            [
                "deny-rule",
                "allow-rule",
                "mode-none",
                "mode-all",
                "list-unknown",
                "unlisted-tool",
                "unreadable-name",
                "destructive-hint",
                "high-risk-word",
                "read-only-hint",
                "write-word",
                "not-read-only-hint",
                "read-word",
                "unknown-verb",
                "operator-hint",
                "default",
            ]
        );
    }

    #[test]
    fn the_documentation_has_a_heading_for_every_code_and_no_other() {
        let text = include_str!("../../docs/policy.md");
        let (_, rest) = text.split_once("\n## Rule codes\n").unwrap();
        let section = rest.split("\n## ").next().unwrap();
        let headings: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
            .collect();
        assert_eq!(headings, RuleCode::ALL.map(RuleCode::as_str));
    }
}
