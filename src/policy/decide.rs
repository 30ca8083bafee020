//! Turns one call into a decision: the operator's rules first, then hints and the tool's name.
//!
//! It keeps no state between calls, and does not fetch the upstream's tool list.

use std::collections::BTreeMap;

use super::matcher::{AllowList, DenyList, is_readable, trusted_key};
use super::verb::Verbs;
use super::{Action, Decision, Hint, Mode, PolicyError, Reason, Risk, Rules};
use crate::mcp::ToolAnnotations;

/// What the upstream's tool list, as it stands now, says about a tool.
#[derive(Debug, Clone, Copy)]
pub enum Listing<'a> {
    /// There is no list to rely on yet.
    Unknown,
    /// The tool is not in the list.
    Unlisted,
    /// The tool is in the list, with these hints if it has any.
    Listed(Option<&'a ToolAnnotations>),
}

/// An operator's rules, checked and compiled.
#[derive(Debug, Clone)]
pub struct Policy {
    mode: Mode,
    allow: AllowList,
    deny: DenyList,
    /// By `trusted_key`, because a read-only hint of the operator lets calls pass.
    custom_annotations: BTreeMap<String, ToolAnnotations>,
}

impl Policy {
    /// Compiles the rules.
    ///
    /// # Errors
    ///
    /// If a glob is bad, or two custom annotations mean the same tool.
    pub fn new(rules: Rules) -> Result<Policy, PolicyError> {
        Ok(Policy {
            mode: rules.mode,
            allow: AllowList::new(&rules.allow)?,
            deny: DenyList::new(&rules.deny)?,
            custom_annotations: by_key(rules.custom_annotations)?,
        })
    }

    /// The mode, as audit lines and explanations name it.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The decision, where it does not depend on the upstream's tool list: a deny entry, an allow
    /// entry, or mode `none`. It passes or blocks, and never asks.
    #[must_use]
    pub fn decide_by_name(&self, tool: &str) -> Option<Decision> {
        let risk = || self.risk(tool, None);
        let by_entry = self.decide_by_entry(tool, risk);
        by_entry.or_else(|| match self.mode {
            Mode::None => Some(pass(risk(), Reason::Mode(Mode::None))),
            Mode::Destructive | Mode::Cautious | Mode::All | Mode::Annotated => None,
        })
    }

    /// The decision for one call; the first rule that matches wins.
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

    /// The hints that count for a tool, as a human is shown them: the operator's over the
    /// upstream's, field by field.
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

    /// The risk of a call that no hint or word decides about; without a listing, as far as the
    /// name tells.
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
        if !is_vouched_for(operator) {
            verbs = Verbs::of(tool);
            if hints.read_only == Some(true) {
                // Hints come from a party that is not trusted: the high-risk word stays.
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

/// What hints and name say about a listed tool, after the operator's word has been heard.
#[derive(Debug, Clone, Copy)]
struct Signs {
    hints: MergedHints,
    verbs: Verbs,
}

impl Signs {
    fn decide_annotated(self) -> Decision {
        self.decide_by_warning().unwrap_or_else(|| {
            let reason = self.overruled().unwrap_or(Reason::Mode(Mode::Annotated));
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
        } else if let Some(overruled) = self.overruled() {
            pass(Risk::Unknown, overruled)
        } else if let Some(word) = self.read_word() {
            pass(Risk::Unknown, Reason::ReadWord(word.to_owned()))
        } else {
            pass(Risk::Unknown, Reason::Harmless)
        }
    }

    /// Asks about every tool that is not known only to read.
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

    /// What comes first in the modes that read names: a warning, a high-risk word, and the word
    /// that a tool only reads, in this order.
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

    /// Who says that the tool only reads, or that it does not.
    fn read_only_reason(self) -> Reason {
        match (self.hints.operator_read_only, self.hints.read_only) {
            (Some(true), _) => Reason::OperatorHint(Hint::ReadOnly),
            (Some(false), _) => Reason::OperatorHint(Hint::NotReadOnly),
            (None, Some(true)) => Reason::ReadOnlyHint,
            (None, Some(false) | None) => Reason::NotReadOnly,
        }
    }

    /// The operator's hint without which a hint of the upstream's would have had the call asked
    /// about.
    fn overruled(self) -> Option<Reason> {
        let is_additive =
            self.hints.read_only == Some(false) && self.hints.operator_destructive == Some(false);
        if !self.hints.is_warning_overruled && !is_additive {
            return None;
        }
        Some(Reason::OperatorHint(match self.hints.operator_read_only {
            Some(true) => Hint::ReadOnly,
            Some(false) | None => Hint::NotDestructive,
        }))
    }

    /// The read word that the name begins with, where it counts: hints come before words.
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

/// The two hints that decide, and the operator's own part in them.
#[derive(Debug, Clone, Copy)]
struct MergedHints {
    read_only: Option<bool>,
    destructive: Option<bool>,
    operator_read_only: Option<bool>,
    operator_destructive: Option<bool>,
    /// The upstream says `destructiveHint: true`, and the operator's hints say otherwise.
    is_warning_overruled: bool,
}

impl MergedHints {
    fn new(operator: Option<&ToolAnnotations>, upstream: Option<&ToolAnnotations>) -> MergedHints {
        // An operator who vouches for a tool overrules the upstream's warning, but not their own.
        let warning_from = if is_vouched_for(operator) {
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
            is_warning_overruled: is_warned && destructive != Some(true),
        }
    }
}

fn is_vouched_for(operator: Option<&ToolAnnotations>) -> bool {
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
