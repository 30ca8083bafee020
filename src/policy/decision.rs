//! The types of the policy: mode, risk, action, and the reason for a decision.
//!
//! `decide` makes the decisions.

use std::borrow::Cow;
use std::fmt;

use super::RuleCode;

/// Which calls need approval if no allow or deny rule names the tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Ask about calls that may change or destroy something, judged by hints and name. The default.
    #[default]
    Destructive,
    /// Ask about every tool that is not known to be read-only.
    Cautious,
    /// Ask about every call.
    All,
    /// Ask only if the tool has `destructiveHint: true`.
    Annotated,
    /// Never ask.
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

    /// Returns the word used on the command line, in configuration and in the audit log.
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

/// How much harm a call could do, judged by name and hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Risk {
    /// `destructiveHint: true`, a high-risk word, an unlisted tool, or an unreadable name.
    High,
    /// A write word, or an explicit `readOnlyHint: false`.
    Medium,
    /// Nothing suggests a change; the call needs approval only because the mode is `all`.
    Low,
    /// Nothing is known either way.
    Unknown,
}

impl Risk {
    /// Returns the word used in prompts, refusals and the audit log.
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

/// What to do with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Forward it without asking.
    Pass,
    /// Hold it until a person approves it.
    Ask,
    /// Refuse it without asking.
    Block,
}

/// The policy's decision about one call.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// How risky the call looks. Shown to the person and written to the audit log.
    pub risk: Risk,
    /// The rule that decided.
    pub reason: Reason,
}

/// The rule that decided. Its `Display` is the sentence that people read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// An exact entry or a glob of the deny lists matched. Holds the entry.
    Denied(String),
    /// An exact entry or a glob of the allow lists matched. Holds the entry.
    Allowed(String),
    /// The name contains characters outside printable ASCII.
    UnreadableName,
    /// The mode alone decided: `all`, `none`, or `annotated` without a destructive hint.
    Mode(Mode),
    /// The upstream's tool list is not known yet.
    ListUnknown,
    /// The upstream does not list the tool, or its list could not be read.
    Unlisted,
    /// The hints carry `destructiveHint: true`.
    DestructiveHint,
    /// The name contains a high-risk word. Holds the word.
    HighRiskToken(String),
    /// The name contains a write word. Holds the word.
    WriteToken(String),
    /// The hints carry `readOnlyHint: false` and no `destructiveHint: false`.
    NotReadOnly,
    /// The hints carry `readOnlyHint: true`.
    ReadOnlyHint,
    /// There are no hints, and the name begins with a read word. Holds the word.
    ReadWord(String),
    /// Mode `cautious`, and neither the hints nor the name show that the tool only reads.
    UnknownVerb,
    /// A hint in the operator's `customAnnotations` decided. Holds the hint.
    OperatorHint(Hint),
    /// Nothing in the name or the hints suggests a change.
    Harmless,
}

/// What a hint says about a tool.
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
    /// Returns the stable code of the rule.
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

    /// Returns the sentence that people read.
    #[must_use]
    pub fn text(&self) -> Cow<'static, str> {
        let fixed = match self {
            Reason::Denied(rule) => return format!("the deny rule `{rule}` matches").into(),
            Reason::Allowed(rule) => return format!("the allow rule `{rule}` matches").into(),
            Reason::HighRiskToken(token) | Reason::WriteToken(token) | Reason::ReadWord(token) => {
                return format!("its name says `{token}`").into();
            }
            Reason::UnreadableName => "the tool's name has characters outside printable ASCII",
            Reason::Mode(Mode::All) => "mode `all` asks about every call",
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
