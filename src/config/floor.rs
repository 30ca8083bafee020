//! The floor of a user configuration: minimum settings that no other source may weaken.
//!
//! `load` finds the floors, and `resolve` merges the sources.

use std::path::{Path, PathBuf};

use super::engines::Engines;
use super::error::{ConfigError, path};
use super::host_name::HostName;
use super::number::Seconds;
use super::pointer::{Pointer, shown};
use super::secrets::FILE;
use super::setting::Setting;
use super::settings::{Layer, SETTINGS};
use super::word::{DedupeFields, Word as _};
use crate::approval::assurance::RequiredAssurance;
use crate::approval::item::Assurance;
use crate::gate::{DedupeField, TimeoutAction};
use crate::policy::Mode;

/// The keys of `floor`.
pub(super) const KEYS: [&str; 7] = [
    "mode",
    "alwaysDeny",
    "denyPatterns",
    "requireAssurance",
    "engines",
    "timeoutAction",
    "inboxKey",
];

/// The floor of one file.
#[derive(Debug, Clone)]
pub(super) struct Floor {
    /// The user configuration that it stands in.
    pub(super) file: PathBuf,
    /// What it says; only the settings of [`KEYS`].
    pub(super) layer: Layer,
}

/// Where a layer comes from, to name the place of what it says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// The command line.
    Flags,
    /// The environment.
    Environment,
    /// An object of a file.
    File {
        file: PathBuf,
        /// The object that holds the settings.
        at: Pointer,
    },
}

impl Source {
    /// The place of the setting called `name`, as messages show it.
    pub(super) fn place(&self, name: &str) -> String {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        match self {
            Source::Flags => match setting.and_then(|setting| setting.flag) {
                Some(flag) => format!("`--{}`", flag.long),
                None => format!("`{name}`"),
            },
            Source::Environment => match setting.and_then(Setting::variable) {
                Some(variable) => format!("environment variable `{variable}`"),
                None => format!("`{name}`"),
            },
            Source::File { file, at } => format!("{}: {}", path(file), at.child(name)),
        }
    }
}

/// All floors of a run, or some of them; the machine's is the last. They apply together.
#[derive(Debug, Clone, Default)]
pub(super) struct Floors(Vec<Floor>);

impl Floors {
    pub(super) fn new(floors: Vec<Floor>) -> Floors {
        Floors(floors)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses a `layer` that is weaker than a floor. `baseline` is what the user configuration says, over the defaults:
    /// what has no key in a floor may not be weaker than that.
    ///
    /// # Errors
    /// The first setting that is weaker, with its place and that of the floor.
    pub(super) fn check(
        &self,
        source: &Source,
        layer: &Layer,
        baseline: &Layer,
    ) -> Result<(), ConfigError> {
        for floor in &self.0 {
            if let Some(undercut) = floor.undercut_by(layer, baseline) {
                return Err(floor.refusal(source.place(undercut.name), undercut));
            }
        }
        Ok(())
    }

    /// Refuses another `floor` that defines engines. It may be lower than these floors, because all apply together.
    ///
    /// # Errors
    /// Its place, and that of a floor here.
    pub(super) fn check_floor(&self, source: &Source, floor: &Layer) -> Result<(), ConfigError> {
        match (self.0.first(), defines_engines(floor)) {
            (Some(above), Some(undercut)) => {
                Err(above.refusal(source.place(undercut.name), undercut))
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Refuses a dry run that the user's own configuration asks for: it would let calls run that the floor denies.
    ///
    /// # Errors
    /// The place of `dryRun`, and that of a floor.
    pub(super) fn forbid_dry_run(&self, source: &Source) -> Result<(), ConfigError> {
        match self.0.first() {
            Some(floor) => Err(floor.refusal(source.place("dryRun"), dry_run())),
            None => Ok(()),
        }
    }

    /// Refuses to give the server a `variable` that holds a secret: with it, whoever wrote the server's entry could
    /// answer questions.
    ///
    /// # Errors
    /// The `place` that names the variable, and that of a floor.
    pub(super) fn forbid_secret(&self, place: &str, variable: &str) -> Result<(), ConfigError> {
        let Some(floor) = self.0.first() else {
            return Ok(());
        };
        let undercut = Undercut {
            name: "",
            problem: format!(
                "the server would get the variable `{}`, whose value can approve calls",
                shown(variable)
            ),
            key: "",
        };
        Err(floor.refusal(place.to_owned(), undercut))
    }

    /// Refuses a state folder that is not the `usual` one, if a floor needs a passphrase and none pins its key: whoever
    /// chooses the folder chooses the passphrase.
    ///
    /// # Errors
    /// The folder, with the place of the floor.
    pub(super) fn check_state_dir(
        &self,
        state_dir: Option<&Path>,
        usual: Option<&Path>,
    ) -> Result<(), ConfigError> {
        let needs_passphrase =
            |required: RequiredAssurance| !required.is_met_by(Assurance::InboxTerminal);
        let is_pinned = self.0.iter().any(|floor| floor.layer.inbox_key.is_some());
        let mut floors = self.0.iter();
        let floor =
            floors.find(|floor| floor.layer.require_assurance.is_some_and(needs_passphrase));
        match (floor, state_dir) {
            (Some(floor), Some(folder)) if !is_pinned && state_dir != usual => {
                let undercut = Undercut {
                    name: "stateDir",
                    problem: "its passphrase need not be yours; pin your key with `inboxKey` in the floor"
                        .to_owned(),
                    key: "requireAssurance",
                };
                let place = format!("the state folder `{}`", path(folder));
                Err(floor.refusal(place, undercut))
            }
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// What holds in the end: `layer`, but nowhere below a floor, over the `defaults`. A source that must not be weaker
    /// has been [checked](Floors::check) before, so this changes what the user configuration says, and sets what nobody
    /// says. Returns a warning for each setting that it changes.
    ///
    /// # Errors
    /// Floors that contradict each other, or that allow none of the engines.
    pub(super) fn raise(
        &self,
        mut layer: Layer,
        defaults: Layer,
    ) -> Result<(Layer, Vec<String>), ConfigError> {
        let Some(strictest) = self.strictest()? else {
            return Ok((layer.over(defaults), Vec::new()));
        };
        let mut warnings = Vec::new();
        let mut raised = |key: &str| {
            warnings.push(format!(
                "`{key}` of the user configuration is below the floor, and raised to it"
            ));
        };
        if let (Some(least), Some(mode)) = (strictest.mode, layer.mode)
            && strength(mode) < strength(least)
        {
            raised("mode");
            layer.mode = Some(least);
        }
        if let (Some(least), Some(required)) =
            (strictest.require_assurance, layer.require_assurance)
            && required.is_below(least)
        {
            raised("requireAssurance");
            layer.require_assurance = Some(least);
        }
        if let (Some(least), Some(action)) = (strictest.timeout_action, layer.timeout_action)
            && severity(action) < severity(least)
        {
            raised("timeoutAction");
            layer.timeout_action = Some(least);
        }
        if let (Some(allowed), Some(engines)) = (&strictest.engines, &layer.engines)
            && (engines.first_outside(allowed).is_some() || engines.redefines_any(allowed))
        {
            raised("engines");
            let within = engines.clone().within(allowed);
            layer.engines = Some(within.ok_or_else(|| self.no_engine_left())?);
        }
        if let (Some(pinned), Some(key)) = (&strictest.inbox_key, &layer.inbox_key)
            && pinned != key
        {
            raised("inboxKey");
            layer.inbox_key = Some(pinned.clone());
        }
        Ok((layer.over(strictest).over(defaults), warnings))
    }

    /// What all floors say together; `None` if there is none.
    fn strictest(&self) -> Result<Option<Layer>, ConfigError> {
        let Some((first, others)) = self.0.split_first() else {
            return Ok(None);
        };
        let mut strictest = first.layer.clone();
        for floor in others {
            let other = floor.layer.clone();
            if let (Some(one), Some(two)) = (&strictest.inbox_key, &other.inbox_key)
                && one != two
            {
                let has_key = |floor: &&Floor| floor.layer.inbox_key.is_some();
                let first = self.0.iter().find(has_key).unwrap_or(first);
                return Err(ConfigError::TwoKeys {
                    one: floor.file.clone(),
                    other: first.file.clone(),
                });
            }
            let stronger = |one: Mode, two: Mode| {
                if strength(one) < strength(two) {
                    two
                } else {
                    one
                }
            };
            let stricter = |one: TimeoutAction, two| {
                if severity(one) < severity(two) {
                    two
                } else {
                    one
                }
            };
            let higher = |one: RequiredAssurance, two| if one.is_below(two) { two } else { one };
            strictest.mode = both(strictest.mode, other.mode, stronger);
            strictest.timeout_action =
                both(strictest.timeout_action, other.timeout_action, stricter);
            strictest.require_assurance =
                both(strictest.require_assurance, other.require_assurance, higher);
            strictest.engines = match (strictest.engines.take(), &other.engines) {
                (Some(one), Some(two)) => {
                    Some(one.within(two).ok_or_else(|| self.no_engine_left())?)
                }
                (one, _) => one,
            };
            strictest = strictest.over(other);
        }
        Ok(Some(strictest))
    }

    fn no_engine_left(&self) -> ConfigError {
        let limits = |floor: &&Floor| floor.layer.engines.is_some();
        let floor = self.0.iter().find(limits).map(|floor| floor.file.clone());
        ConfigError::NoEngineLeft {
            floor: floor.unwrap_or_default(),
        }
    }

    /// The engines that the floors define, the machine's first.
    pub(super) fn engines(&self) -> impl Iterator<Item = Engines> {
        let floors = self.0.iter().rev();
        floors.filter_map(|floor| {
            let mut engines = floor.layer.engines.clone()?;
            engines.are_from(&Source::File {
                file: floor.file.clone(),
                at: Pointer::default().child("floor"),
            });
            Some(engines)
        })
    }
}

fn both<T: Copy>(one: Option<T>, two: Option<T>, pick: impl Fn(T, T) -> T) -> Option<T> {
    match (one, two) {
        (Some(one), Some(two)) => Some(pick(one, two)),
        (one, two) => one.or(two),
    }
}

/// What is weaker than a floor allows.
struct Undercut {
    /// The setting that says it.
    name: &'static str,
    problem: String,
    /// The key of the floor; empty if any floor forbids it.
    key: &'static str,
}

fn dry_run() -> Undercut {
    Undercut {
        name: "dryRun",
        problem: "a dry run lets every call run".to_owned(),
        key: "",
    }
}

/// The definition of an engine in `layer`, which may only name engines.
fn defines_engines(layer: &Layer) -> Option<Undercut> {
    let engines = layer.engines.as_ref();
    engines.filter(|engines| engines.defines_any())?;
    Some(Undercut {
        name: "engines",
        problem: "it defines an engine; name one of the user configuration".to_owned(),
        key: "",
    })
}

impl Floor {
    /// The error about something at `place` that this floor does not allow.
    fn refusal(&self, place: String, undercut: Undercut) -> ConfigError {
        ConfigError::BelowFloor {
            place,
            problem: undercut.problem,
            floor: self.file.clone(),
            key: undercut.key,
        }
    }

    /// The first thing in `layer` that this floor does not allow.
    fn undercut_by(&self, layer: &Layer, baseline: &Layer) -> Option<Undercut> {
        let below = &self.layer;
        let undercut = |names: &'static [&'static str], key, problem: String| {
            // A layer that no source was read for, as in a library, has no names.
            let name = layer.given.first_of(names).or(names.first().copied());
            let name = name.unwrap_or_default();
            Some(Undercut { name, problem, key })
        };
        if let (Some(least), Some(mode)) = (below.mode, layer.mode)
            && strength(mode) < strength(least)
        {
            let problem = format!("mode `{}` is weaker than `{}`", mode.word(), least.word());
            return undercut(&["mode"], "mode", problem);
        }
        if let (Some(least), Some(required)) = (below.require_assurance, layer.require_assurance)
            && required.is_below(least)
        {
            let problem = format!("`{required}` is a lower assurance than `{least}`");
            return undercut(&["requireAssurance"], "requireAssurance", problem);
        }
        if let (Some(allowed), Some(engines)) = (&below.engines, &layer.engines)
            && let Some(engine) = engines.first_outside(allowed)
        {
            let problem = format!("the engine `{engine}` is not listed");
            return undercut(&["engines"], "engines", problem);
        }
        if let (Some(pinned), Some(key)) = (&below.inbox_key, &layer.inbox_key)
            && pinned != key
        {
            return undercut(&["inboxKey"], "inboxKey", "it names another key".to_owned());
        }
        const TIMEOUT_ACTION: &[&str] = &["timeoutAction", "defaultTimeoutAction"];
        if let (Some(least), Some(action)) = (below.timeout_action, layer.timeout_action)
            && severity(action) < severity(least)
        {
            let (action, least) = (action.word(), least.word());
            let problem = format!("`{action}` on time-out is weaker than `{least}`");
            return undercut(TIMEOUT_ACTION, "timeoutAction", problem);
        }
        let any =
            |names: &'static [&'static str], problem: &str| undercut(names, "", problem.to_owned());
        if layer.timeout_action == Some(TimeoutAction::Approve) {
            return any(TIMEOUT_ACTION, "a time-out may not approve");
        }
        if !layer.allow.is_empty() {
            let names = &["allow", "alwaysAllow", "allowPatterns"];
            return any(names, "it adds an allow rule");
        }
        if let Some(undercut) = defines_engines(layer) {
            return Some(undercut);
        }
        if layer.custom_annotations.lowers_any() {
            let problem = "it can lower a decision; only `destructiveHint: true` and `readOnlyHint: false` raise one";
            return any(&["customAnnotations"], problem);
        }
        if layer.dry_run == Some(true) {
            return Some(dry_run());
        }
        if layer.audit_best_effort == Some(true) {
            return any(&["auditBestEffort"], "calls could run without a record");
        }
        if layer.insecure_no_auth == Some(true) {
            return any(
                &["insecureNoAuth"],
                "any program could approve its own calls",
            );
        }
        if let Some(ttl) = layer.approval_ttl
            && ttl.duration()
                > baseline
                    .approval_ttl
                    .map_or_else(Default::default, Seconds::duration)
        {
            return any(&["approvalTtlSeconds"], "it makes an approval last longer");
        }
        if let Some(fields) = &layer.dedupe_fields
            && !fields.contains_all(baseline.dedupe_fields.as_ref())
        {
            let problem =
                "it drops a field that makes calls differ, so an approval covers more calls";
            return any(&["approvalDedupeKeyFields"], problem);
        }
        if let Some(keys) = &layer.dedupe_arg_keys {
            let kept = |wanted: &Vec<String>| wanted.iter().all(|key| keys.contains(key));
            if !baseline.dedupe_arg_keys.as_ref().is_some_and(kept) {
                let problem =
                    "it drops arguments that make calls differ, so an approval covers more calls";
                return any(&["approvalDedupeArgKeys"], problem);
            }
        }
        if layer.double_confirm == Some(false) && baseline.double_confirm == Some(true) {
            let names = &["highRiskRequiresDoubleConfirmation"];
            return any(names, "it drops the second confirmation");
        }
        if layer.allow_insecure_http == Some(true) && baseline.allow_insecure_http != Some(true) {
            let problem = "questions could be read and answered on their way";
            return any(&["approvalAllowInsecureHttp"], problem);
        }
        if let Some(hosts) = &layer.question_hosts
            && !is_within(
                hosts,
                baseline.question_hosts.as_deref().unwrap_or_default(),
            )
        {
            let problem = "questions could go to a host that the user configuration does not allow";
            return any(&["approvalAllowedHosts"], problem);
        }
        if let Some(recipients) = &layer.allowed_recipients {
            let allowed = baseline.allowed_recipients.as_deref().unwrap_or_default();
            if !recipients
                .iter()
                .all(|recipient| allowed.contains(recipient))
            {
                let problem =
                    "questions could go to a recipient that the user configuration does not allow";
                return any(&["allowedRecipients"], problem);
            }
        }
        if layer.inbox.is_some() && layer.inbox != baseline.inbox {
            let problem = "links could lead to another page than that of the user configuration, which could ask for the passphrase";
            return any(&["inbox"], problem);
        }
        let is_secret = |name: &&&'static str| {
            // The key of a secret, or the key that names the file with it.
            let key = name.strip_suffix(FILE).unwrap_or(name);
            let mut settings = SETTINGS.iter();
            settings
                .any(|setting| setting.name == key && setting.is_secret && setting.key().is_some())
        };
        if let Some(name) = layer.given.names().iter().find(is_secret) {
            return Some(Undercut {
                name,
                problem: "it sets a secret; engines take theirs from the user configuration"
                    .to_owned(),
                key: "",
            });
        }
        None
    }
}

/// Returns true if `hosts` are among `allowed`. An empty list stands for all hosts.
fn is_within(hosts: &[HostName], allowed: &[HostName]) -> bool {
    let is_allowed = |host: &HostName| {
        let mut allowed = allowed.iter();
        allowed.any(|allowed| allowed.as_str().eq_ignore_ascii_case(host.as_str()))
    };
    allowed.is_empty() || !hosts.is_empty() && hosts.iter().all(is_allowed)
}

/// How much a mode asks about, from 0.
fn strength(mode: Mode) -> u8 {
    match mode {
        Mode::None => 0,
        Mode::Annotated => 1,
        Mode::Destructive => 2,
        Mode::Cautious => 3,
        Mode::All => 4,
    }
}

/// How careful the action on time-out is, from 0.
fn severity(action: TimeoutAction) -> u8 {
    match action {
        TimeoutAction::Approve => 0,
        TimeoutAction::Park => 1,
        TimeoutAction::Deny => 2,
    }
}

impl DedupeFields {
    /// Whether each of the `wanted` fields, or of the usual ones, is among these.
    fn contains_all(&self, wanted: Option<&DedupeFields>) -> bool {
        let contains = |field: &DedupeField| self.fields().contains(field);
        match wanted {
            Some(wanted) => wanted.fields().iter().all(contains),
            None => [DedupeField::Server, DedupeField::Tool, DedupeField::Args]
                .iter()
                .all(contains),
        }
    }
}

#[cfg(test)]
mod tests;
