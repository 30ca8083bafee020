//! Turns one call into a decision: the operator's rules first, then hints and the tool's name.
//!
//! It keeps no state between calls, and does not fetch the upstream's tool list.

use std::collections::BTreeMap;

use rmcp::model::ToolAnnotations;

use super::matcher::{AllowList, DenyList, is_readable, trusted_key};
use super::verb::Verbs;
use super::{Action, Decision, Mode, PolicyError, Reason, Risk, Rules};

/// What the upstream's tool list, as it stands now, says about a tool.
#[derive(Debug, Clone, Copy)]
pub enum Listing<'a> {
    /// The tool is not in the list, or there is no list to rely on.
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
        let risk = self.risk(tool, None);
        self.decide_by_entry(tool, risk).or(match self.mode {
            Mode::None => Some(pass(risk, Reason::Mode(Mode::None))),
            Mode::Destructive | Mode::All | Mode::Annotated => None,
        })
    }

    /// The decision for one call; the first rule that matches wins.
    pub fn decide(&self, tool: &str, listing: Listing<'_>) -> Decision {
        let risk = self.risk(tool, Some(listing));
        if let Some(decision) = self.decide_by_entry(tool, risk) {
            return decision;
        }
        let signs = match listing {
            Listing::Unlisted => None,
            Listing::Listed(upstream) => Some(self.signs(tool, upstream)),
        };
        match (self.mode, signs) {
            (Mode::None, _) => pass(risk, Reason::Mode(Mode::None)),
            (Mode::Destructive | Mode::All | Mode::Annotated, _) if !is_readable(tool) => {
                ask(Risk::High, Reason::UnreadableName)
            }
            (Mode::All, signs) => ask(
                signs.map_or(Risk::High, |signs| signs.risk_or(Risk::Low)),
                Reason::Mode(Mode::All),
            ),
            (Mode::Destructive | Mode::Annotated, None) => ask(Risk::High, Reason::Unlisted),
            (Mode::Annotated, Some(signs)) => signs.decide_annotated(),
            (Mode::Destructive, Some(signs)) => signs.decide_destructive(),
        }
    }

    /// The hints that count for a tool, as a human is shown them: the operator's over the
    /// upstream's, field by field.
    #[must_use]
    pub fn hints(&self, tool: &str, upstream: Option<&ToolAnnotations>) -> ToolAnnotations {
        let operator = self.operator_hints(tool);
        let merged = MergedHints::new(operator, upstream);
        ToolAnnotations::from_raw(
            field(operator, upstream, |hints| hints.title.clone()),
            merged.read_only,
            merged.destructive,
            field(operator, upstream, |hints| hints.idempotent_hint),
            field(operator, upstream, |hints| hints.open_world_hint),
        )
    }

    fn decide_by_entry(&self, tool: &str, risk: Risk) -> Option<Decision> {
        if let Some(entry) = self.deny.find(tool) {
            return Some(Decision {
                action: Action::Block,
                risk,
                reason: Reason::Denied(entry.to_owned()),
            });
        }
        let entry = self.allow.find(tool)?;
        Some(pass(risk, Reason::Allowed(entry.to_owned())))
    }

    /// The risk of a call that no hint or word decides about; without a listing, as far as the
    /// name tells.
    fn risk(&self, tool: &str, listing: Option<Listing<'_>>) -> Risk {
        match listing {
            _ if !is_readable(tool) => Risk::High,
            Some(Listing::Unlisted) => Risk::High,
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
        if self.is_destructive() {
            ask(Risk::High, Reason::DestructiveHint)
        } else {
            pass(self.risk_or(Risk::Unknown), Reason::Mode(Mode::Annotated))
        }
    }

    fn decide_destructive(self) -> Decision {
        if self.is_destructive() {
            ask(Risk::High, Reason::DestructiveHint)
        } else if let Some(token) = self.verbs.high_risk {
            ask(Risk::High, Reason::HighRiskToken(token.to_owned()))
        } else if self.hints.read_only == Some(true) {
            pass(Risk::Unknown, Reason::ReadOnlyHint)
        } else if let Some(token) = self.verbs.write {
            ask(Risk::Medium, Reason::WriteToken(token.to_owned()))
        } else if self.is_not_read_only() {
            ask(Risk::Medium, Reason::NotReadOnly)
        } else {
            pass(Risk::Unknown, Reason::Harmless)
        }
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

/// The two hints that decide.
#[derive(Debug, Clone, Copy)]
struct MergedHints {
    read_only: Option<bool>,
    destructive: Option<bool>,
}

impl MergedHints {
    fn new(operator: Option<&ToolAnnotations>, upstream: Option<&ToolAnnotations>) -> MergedHints {
        // An operator who vouches for a tool overrules the upstream's warning, but not their own.
        let warning_from = if is_vouched_for(operator) {
            None
        } else {
            upstream
        };
        MergedHints {
            read_only: field(operator, upstream, |hints| hints.read_only_hint),
            destructive: field(operator, warning_from, |hints| hints.destructive_hint),
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
