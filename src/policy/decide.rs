//! Turns a call into a decision: by the operator's rules first, then by hints and the tool's name.
//!
//! It keeps no state between calls and does not fetch the upstream's tool list.

use std::collections::BTreeMap;

use super::matcher::{AllowList, DenyList, is_readable, trusted_key};
use super::verb::Verbs;
use super::{Action, Decision, Hint, Mode, PolicyError, Reason, Risk, Rules};
use crate::mcp::ToolAnnotations;

/// What the upstream's current tool list says about a tool.
#[derive(Debug, Clone, Copy)]
pub enum Listing<'a> {
    /// There is no reliable list yet.
    Unknown,
    /// The tool is not in the list.
    Unlisted,
    /// The tool is in the list, with its hints if it has any.
    Listed(Option<&'a ToolAnnotations>),
}

/// An operator's rules, checked and compiled.
#[derive(Debug, Clone)]
pub struct Policy {
    mode: Mode,
    allow: AllowList,
    deny: DenyList,
    /// Keyed by `trusted_key`, because a read-only hint from the operator lets calls pass.
    custom_annotations: BTreeMap<String, ToolAnnotations>,
}

impl Policy {
    /// Compiles the rules.
    ///
    /// # Errors
    ///
    /// If a glob is invalid, or if two custom annotations name the same tool.
    pub fn new(rules: Rules) -> Result<Policy, PolicyError> {
        Ok(Policy {
            mode: rules.mode,
            allow: AllowList::new(&rules.allow)?,
            deny: DenyList::new(&rules.deny)?,
            custom_annotations: by_key(rules.custom_annotations)?,
        })
    }

    /// Returns the mode, for the audit log and explanations.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the decision if it does not depend on the upstream's tool list: a deny entry, an
    /// allow entry, or mode `none`. It passes or blocks, and never asks.
    #[must_use]
    pub fn decide_by_name(&self, tool: &str) -> Option<Decision> {
        let risk = || self.risk(tool, None);
        let by_entry = self.decide_by_entry(tool, risk);
        by_entry.or_else(|| match self.mode {
            Mode::None => Some(pass(risk(), Reason::Mode(Mode::None))),
            Mode::Destructive | Mode::Cautious | Mode::All | Mode::Annotated => None,
        })
    }

    /// Decides about one call; the first rule that matches wins.
    pub fn decide(&self, tool: &str, listing: Listing<'_>) -> Decision {
        let risk = || self.risk(tool, Some(listing));
        if let Some(decision) = self.decide_by_entry(tool, risk) {
            return decision;
        }
        let signs = match listing {
            Listing::Unknown => Err(Reason::ListUnknown),
            Listing::Unlisted => Err(Reason::Unlisted),
            Listing::Listed(upstream) => Ok(self.signs(tool, upstream)),
        };
        match (self.mode, signs) {
            (Mode::None, _) => pass(risk(), Reason::Mode(Mode::None)),
            (Mode::Destructive | Mode::Cautious | Mode::All | Mode::Annotated, _)
                if !is_readable(tool) =>
            {
                ask(Risk::High, Reason::UnreadableName)
            }
            (Mode::All, signs) => ask(
                signs.map_or(Risk::High, |signs| signs.risk_or(Risk::Low)),
                Reason::Mode(Mode::All),
            ),
            (Mode::Destructive | Mode::Cautious | Mode::Annotated, Err(unlisted)) => {
                ask(Risk::High, unlisted)
            }
            (Mode::Annotated, Ok(signs)) => signs.decide_annotated(),
            (Mode::Destructive, Ok(signs)) => signs.decide_destructive(),
            (Mode::Cautious, Ok(signs)) => signs.decide_cautious(),
        }
    }

    /// Returns the effective hints of a tool, as shown to a person: the operator's hints override
    /// the upstream's field by field.
    #[must_use]
    pub fn hints(&self, tool: &str, upstream: Option<&ToolAnnotations>) -> ToolAnnotations {
        let operator = self.operator_hints(tool);
        let merged = MergedHints::new(operator, upstream);
        ToolAnnotations {
            title: field(operator, upstream, |hints| hints.title.clone()),
            read_only_hint: merged.read_only,
            destructive_hint: merged.destructive,
            idempotent_hint: field(operator, upstream, |hints| hints.idempotent_hint),
            open_world_hint: field(operator, upstream, |hints| hints.open_world_hint),
        }
    }

    fn decide_by_entry(&self, tool: &str, risk: impl Fn() -> Risk) -> Option<Decision> {
        if let Some(entry) = self.deny.find(tool) {
            return Some(Decision {
                action: Action::Block,
                risk: risk(),
                reason: Reason::Denied(entry.to_owned()),
            });
        }
        let entry = self.allow.find(tool)?;
        Some(pass(risk(), Reason::Allowed(entry.to_owned())))
    }

    /// The risk of a call that was not decided by a hint or word. Without a listing, only the name
    /// and the operator's hints count.
    fn risk(&self, tool: &str, listing: Option<Listing<'_>>) -> Risk {
        match listing {
            _ if !is_readable(tool) => Risk::High,
            Some(Listing::Unknown | Listing::Unlisted) => Risk::High,
            Some(Listing::Listed(upstream)) => self.signs(tool, upstream).risk_or(Risk::Unknown),
            None => self.signs(tool, None).risk_or(Risk::Unknown),
        }
    }

    fn signs(&self, tool: &str, upstream: Option<&ToolAnnotations>) -> Signs {
        let operator = self.operator_hints(tool);
        let hints = MergedHints::new(operator, upstream);
        let mut verbs = Verbs::default();
        if !operator_says_read_only(operator) {
            verbs = Verbs::of(tool);
            if hints.read_only == Some(true) {
                // The upstream's hints are not trusted, so a high-risk word still counts.
                verbs.write = None;
            }
        }
        Signs { hints, verbs }
    }

    fn operator_hints(&self, tool: &str) -> Option<&ToolAnnotations> {
        if self.custom_annotations.is_empty() {
            return None;
        }
        self.custom_annotations.get(trusted_key(tool).as_ref())
    }
}

/// What hints and name say about a listed tool, after the operator's hints were applied.
#[derive(Debug, Clone, Copy)]
struct Signs {
    hints: MergedHints,
    verbs: Verbs,
}

impl Signs {
    fn decide_annotated(self) -> Decision {
        self.decide_by_warning().unwrap_or_else(|| {
            let reason = self
                .override_reason()
                .unwrap_or(Reason::Mode(Mode::Annotated));
            pass(self.risk_or(Risk::Unknown), reason)
        })
    }

    fn decide_destructive(self) -> Decision {
        if let Some(decision) = self.decide_by_strong_signs() {
            decision
        } else if self.is_not_read_only() {
            ask(Risk::Medium, self.read_only_reason())
        } else if let Some(word) = self.verbs.write {
            ask(Risk::Medium, Reason::WriteToken(word.to_owned()))
        } else if let Some(reason) = self.override_reason() {
            pass(Risk::Unknown, reason)
        } else if let Some(word) = self.read_word() {
            pass(Risk::Unknown, Reason::ReadWord(word.to_owned()))
        } else {
            pass(Risk::Unknown, Reason::Harmless)
        }
    }

    /// Asks about every tool that is not known to be read-only.
    fn decide_cautious(self) -> Decision {
        if let Some(decision) = self.decide_by_strong_signs() {
            decision
        } else if self.hints.read_only == Some(false) {
            ask(Risk::Medium, self.read_only_reason())
        } else if let Some(word) = self.verbs.write {
            ask(Risk::Medium, Reason::WriteToken(word.to_owned()))
        } else if let Some(word) = self.read_word() {
            pass(Risk::Unknown, Reason::ReadWord(word.to_owned()))
        } else {
            ask(Risk::Unknown, Reason::UnknownVerb)
        }
    }

    /// The first checks in the modes that read names, in this order: a warning, a high-risk word,
    /// and a read-only hint.
    fn decide_by_strong_signs(self) -> Option<Decision> {
        if let Some(decision) = self.decide_by_warning() {
            return Some(decision);
        }
        if let Some(word) = self.verbs.high_risk {
            return Some(ask(Risk::High, Reason::HighRiskToken(word.to_owned())));
        }
        (self.hints.read_only == Some(true)).then(|| pass(Risk::Unknown, self.read_only_reason()))
    }

    fn decide_by_warning(self) -> Option<Decision> {
        let reason = match self.hints.operator_destructive {
            Some(true) => Reason::OperatorHint(Hint::Destructive),
            Some(false) | None => Reason::DestructiveHint,
        };
        self.is_destructive().then(|| ask(Risk::High, reason))
    }

    /// Returns the reason for a read-only hint or its opposite: the operator's hint or the
    /// upstream's.
    fn read_only_reason(self) -> Reason {
        match (self.hints.operator_read_only, self.hints.read_only) {
            (Some(true), _) => Reason::OperatorHint(Hint::ReadOnly),
            (Some(false), _) => Reason::OperatorHint(Hint::NotReadOnly),
            (None, Some(true)) => Reason::ReadOnlyHint,
            (None, Some(false) | None) => Reason::NotReadOnly,
        }
    }

    /// Returns the operator's hint that kept one of the upstream's hints from requiring approval.
    fn override_reason(self) -> Option<Reason> {
        let is_additive =
            self.hints.read_only == Some(false) && self.hints.operator_destructive == Some(false);
        if !self.hints.is_warning_overridden && !is_additive {
            return None;
        }
        Some(Reason::OperatorHint(match self.hints.operator_read_only {
            Some(true) => Hint::ReadOnly,
            Some(false) | None => Hint::NotDestructive,
        }))
    }

    /// Returns the read word that the name begins with, if it counts: hints take precedence over
    /// words.
    fn read_word(self) -> Option<&'static str> {
        let is_silent = self.hints.read_only.is_none() && self.hints.destructive.is_none();
        self.verbs.read.filter(|_| is_silent)
    }

    fn risk_or(self, otherwise: Risk) -> Risk {
        if self.is_destructive() || self.verbs.high_risk.is_some() {
            Risk::High
        } else if self.verbs.write.is_some() || self.is_not_read_only() {
            Risk::Medium
        } else {
            otherwise
        }
    }

    fn is_destructive(self) -> bool {
        self.hints.destructive == Some(true)
    }

    // SPEC 2025-11-25: "(This property is meaningful only when `readOnlyHint == false`)
    // Default: true", of `destructiveHint`.
    fn is_not_read_only(self) -> bool {
        self.hints.read_only == Some(false) && self.hints.destructive != Some(false)
    }
}

/// The two hints that decide, and the operator's share in them.
#[derive(Debug, Clone, Copy)]
struct MergedHints {
    read_only: Option<bool>,
    destructive: Option<bool>,
    operator_read_only: Option<bool>,
    operator_destructive: Option<bool>,
    /// The upstream says `destructiveHint: true`, and the operator's hints say otherwise.
    is_warning_overridden: bool,
}

impl MergedHints {
    fn new(operator: Option<&ToolAnnotations>, upstream: Option<&ToolAnnotations>) -> MergedHints {
        // An operator's read-only hint overrides the upstream's destructive hint, but not the
        // operator's own.
        let warning_from = if operator_says_read_only(operator) {
            None
        } else {
            upstream
        };
        let destructive = field(operator, warning_from, |hints| hints.destructive_hint);
        let is_warned = upstream.and_then(|hints| hints.destructive_hint) == Some(true);
        MergedHints {
            read_only: field(operator, upstream, |hints| hints.read_only_hint),
            destructive,
            operator_read_only: operator.and_then(|hints| hints.read_only_hint),
            operator_destructive: operator.and_then(|hints| hints.destructive_hint),
            is_warning_overridden: is_warned && destructive != Some(true),
        }
    }
}

fn operator_says_read_only(operator: Option<&ToolAnnotations>) -> bool {
    operator.and_then(|hints| hints.read_only_hint) == Some(true)
}

fn field<T>(
    operator: Option<&ToolAnnotations>,
    upstream: Option<&ToolAnnotations>,
    get: impl Fn(&ToolAnnotations) -> Option<T>,
) -> Option<T> {
    operator.and_then(&get).or_else(|| upstream.and_then(&get))
}

fn by_key(
    annotations: BTreeMap<String, ToolAnnotations>,
) -> Result<BTreeMap<String, ToolAnnotations>, PolicyError> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut keyed = BTreeMap::new();
    for (name, hints) in annotations {
        let key = trusted_key(&name).into_owned();
        if let Some(first) = names.insert(key.clone(), name.clone()) {
            return Err(PolicyError::AmbiguousAnnotations {
                first,
                second: name,
            });
        }
        keyed.insert(key, hints);
    }
    Ok(keyed)
}

fn ask(risk: Risk, reason: Reason) -> Decision {
    Decision {
        action: Action::Ask,
        risk,
        reason,
    }
}

fn pass(risk: Risk, reason: Reason) -> Decision {
    Decision {
        action: Action::Pass,
        risk,
        reason,
    }
}

#[cfg(test)]
mod tests;
