//! The policy's vocabulary: mode, risk, action, and the reason for a decision.
//!
//! It says nothing about how a decision is reached; see `decide`.

use std::borrow::Cow;
use std::fmt;

use super::RuleCode;

/// Which calls are asked about when no allow or deny rule names the tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Ask about what may change or destroy something, by hints and by name. The default.
    #[default]
    Destructive,
    /// Ask about every tool that is not known only to read.
    Cautious,
    /// Ask about every call.
    All,
    /// Ask only where the tool carries `destructiveHint: true`.
    Annotated,
    /// Ask about nothing.
    None,
}

impl Mode {
    /// Every mode, in the order in which help texts list them.
    pub const ALL: [Mode; 5] = [
        Mode::Destructive,
        Mode::Cautious,
        Mode::All,
        Mode::Annotated,
        Mode::None,
    ];

    /// The word used on the command line, in configuration and in audit lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Destructive => "destructive",
            Mode::Cautious => "cautious",
            Mode::All => "all",
            Mode::Annotated => "annotated",
            Mode::None => "none",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much harm a call could do, as far as its name and hints tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Risk {
    /// `destructiveHint: true`, a high-risk token, an unlisted tool, or an unreadable name.
    High,
    /// A write token, or an explicit `readOnlyHint: false`.
    Medium,
    /// Nothing points to a change; asked about only because the mode is `all`.
    Low,
    /// Nothing is known either way.
    Unknown,
}

impl Risk {
    /// The word used in prompts, refusals and audit lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Risk::High => "high",
            Risk::Medium => "medium",
            Risk::Low => "low",
            Risk::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is done with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Forward it without asking anybody.
    Pass,
    /// Hold it until a human has said yes.
    Ask,
    /// Refuse it without asking anybody.
    Block,
}

/// The policy's answer for one call.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// How risky the call looks; shown to the human and written to the audit log.
    pub risk: Risk,
    /// Which rule decided.
    pub reason: Reason,
}

/// Which rule decided; its `Display` is the sentence that people read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// An exact entry or a glob of the deny lists matched; holds the entry.
    Denied(String),
    /// An exact entry or a glob of the allow lists matched; holds the entry.
    Allowed(String),
    /// The name has characters outside printable ASCII.
    UnreadableName,
    /// The mode alone decided: `all`, `none`, or `annotated` without a destructive hint.
    Mode(Mode),
    /// The upstream's tool list is not known yet.
    ListUnknown,
    /// The upstream does not list the tool, or its list could not be read.
    Unlisted,
    /// The hints carry `destructiveHint: true`.
    DestructiveHint,
    /// The name holds a high-risk token; holds the token.
    HighRiskToken(String),
    /// The name holds a write token; holds the token.
    WriteToken(String),
    /// The hints carry `readOnlyHint: false` and no `destructiveHint: false`.
    NotReadOnly,
    /// The hints carry `readOnlyHint: true`.
    ReadOnlyHint,
    /// The hints are silent, and the name begins with a read word; holds the word.
    ReadWord(String),
    /// Mode `cautious`, and neither the hints nor the name say that the tool only reads.
    UnknownVerb,
    /// A hint in the operator's `customAnnotations` decided; holds what it says.
    OperatorHint(Hint),
    /// Nothing in the name or the hints points to a change.
    Harmless,
}

/// What a hint says of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// `destructiveHint: true`.
    Destructive,
    /// `destructiveHint: false`.
    NotDestructive,
    /// `readOnlyHint: true`.
    ReadOnly,
    /// `readOnlyHint: false`.
    NotReadOnly,
}

impl Reason {
    /// The stable code of the rule.
    #[must_use]
    pub fn code(&self) -> RuleCode {
        match self {
            Reason::Denied(_) => RuleCode::DenyRule,
            Reason::Allowed(_) => RuleCode::AllowRule,
            Reason::Mode(Mode::None) => RuleCode::ModeNone,
            Reason::Mode(Mode::All) => RuleCode::ModeAll,
            Reason::ListUnknown => RuleCode::ListUnknown,
            Reason::Unlisted => RuleCode::UnlistedTool,
            Reason::UnreadableName => RuleCode::UnreadableName,
            Reason::DestructiveHint => RuleCode::DestructiveHint,
            Reason::HighRiskToken(_) => RuleCode::HighRiskWord,
            Reason::ReadOnlyHint => RuleCode::ReadOnlyHint,
            Reason::WriteToken(_) => RuleCode::WriteWord,
            Reason::NotReadOnly => RuleCode::NotReadOnlyHint,
            Reason::ReadWord(_) => RuleCode::ReadWord,
            Reason::UnknownVerb => RuleCode::UnknownVerb,
            Reason::OperatorHint(_) => RuleCode::OperatorHint,
            Reason::Harmless
            | Reason::Mode(Mode::Destructive | Mode::Cautious | Mode::Annotated) => {
                RuleCode::Default
            }
        }
    }

    /// The sentence that people read.
    #[must_use]
    pub fn text(&self) -> Cow<'static, str> {
        let fixed = match self {
            Reason::Denied(rule) => return format!("the deny rule `{rule}` matches").into(),
            Reason::Allowed(rule) => return format!("the allow rule `{rule}` matches").into(),
            Reason::HighRiskToken(token) | Reason::WriteToken(token) | Reason::ReadWord(token) => {
                return format!("its name says `{token}`").into();
            }
            Reason::UnreadableName => "the tool's name has characters outside printable ASCII",
            Reason::Mode(Mode::All) => "every call is asked about",
            Reason::Mode(Mode::Destructive) => "mode `destructive`",
            Reason::Mode(Mode::Cautious) => "mode `cautious`",
            Reason::Mode(Mode::Annotated) => "mode `annotated`",
            Reason::Mode(Mode::None) => "mode `none`",
            Reason::ListUnknown => "the server's tool list is not known yet",
            Reason::Unlisted => "the server does not list this tool",
            Reason::DestructiveHint => "the tool is marked destructive",
            Reason::NotReadOnly => "the tool is marked as not read-only",
            Reason::ReadOnlyHint => "the tool is marked read-only",
            Reason::UnknownVerb => "neither its name nor its hints say that it only reads",
            Reason::OperatorHint(Hint::Destructive) => {
                "`customAnnotations` mark the tool destructive"
            }
            Reason::OperatorHint(Hint::NotDestructive) => {
                "`customAnnotations` mark the tool as not destructive"
            }
            Reason::OperatorHint(Hint::ReadOnly) => "`customAnnotations` mark the tool read-only",
            Reason::OperatorHint(Hint::NotReadOnly) => {
                "`customAnnotations` mark the tool as not read-only"
            }
            Reason::Harmless => "nothing in its name or hints points to a change",
        };
        fixed.into()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}
