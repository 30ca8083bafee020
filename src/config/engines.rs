//! `engines`: which engines are asked, in which order, and what each needs.
//!
//! Reads the keys that all engines have; each engine reads its own options (`engines::registry`). An entry that only
//! names an engine gets its options from the user configuration.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::environment::Environment;
use super::error::{ConfigError, Fault, Problem, names};
use super::floor::Source;
use super::json::Node;
use super::nearest::nearest;
use super::number::Seconds;
use super::pointer::shown;
use super::secrets::{FILE, SecretReader};
use super::value::{Input, Value, wrong_text, wrong_type};
use super::word::Word;
use crate::approval::render::Show;
use crate::engines::registry::{self, EngineOption, Registration};
use crate::engines::{CourierSettings, TransportSettings, names_secret};
use crate::gate::{Channel, Engine, EngineId, OnFailure, Patience};
use crate::policy::Risk;

/// At least one engine, with unique names.
#[derive(Debug, Clone, PartialEq)]
pub struct Engines(Vec<EngineEntry>);

/// The settings of one engine.
#[derive(Clone, PartialEq)]
struct EngineEntry {
    /// Unique in the list. Records carry it.
    name: String,
    /// `None` if the entry only names an engine that is defined elsewhere.
    kind: Option<Kind>,
    /// The engine's own options, as they were written.
    options: Map<String, Json>,
    after: Option<Seconds>,
    timeout: Option<Seconds>,
    on_timeout: Option<OnFailure>,
    on_transport_error: Option<OnFailure>,
    min_risk: Option<MinRisk>,
    show: Option<Show>,
    /// Where the options were written; `None` if there are none.
    source: Option<Source>,
}

/// The options may hold secrets, so only their keys are printed.
impl fmt::Debug for EngineEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineEntry")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("options", &self.options.keys())
            .finish_non_exhaustive()
    }
}

/// A type of engine.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Elicitation,
    OutOfBand(&'static Registration),
}

impl PartialEq for Kind {
    fn eq(&self, other: &Kind) -> bool {
        self.word() == other.word()
    }
}

impl Kind {
    fn of(word: &str) -> Option<Kind> {
        match registry::find(word) {
            Some(registered) => Some(Kind::OutOfBand(registered)),
            None => (word == ELICITATION).then_some(Kind::Elicitation),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Elicitation => ELICITATION,
            Kind::OutOfBand(registered) => registered.id.name(),
        }
    }

    fn options(self) -> &'static [EngineOption] {
        match self {
            Kind::Elicitation => &[],
            Kind::OutOfBand(registered) => registered.options,
        }
    }

    /// Returns true if there is only one such engine, whose name is its type.
    fn is_unique(self) -> bool {
        match self {
            Kind::Elicitation => true,
            Kind::OutOfBand(registered) => registered.id == EngineId::INBOX,
        }
    }
}

const ELICITATION: &str = "elicitation";

/// The lowest risk that an engine is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MinRisk(Risk);

impl Word for MinRisk {
    const WORDS: &'static [(&'static str, MinRisk)] = &[
        ("low", MinRisk(Risk::Low)),
        ("medium", MinRisk(Risk::Medium)),
        ("high", MinRisk(Risk::High)),
    ];
}

impl Word for Show {
    const WORDS: &'static [(&'static str, Show)] = &[
        ("full", Show::Full),
        ("redacted", Show::Redacted),
        ("summary", Show::Summary),
    ];
}

/// Whether engines are asked one after another, or together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Each engine is asked when the one before it has failed or timed out, or after its `after`.
    #[default]
    Chain,
    /// All engines are asked at once, except those with an `after`.
    Race,
}

impl Word for Order {
    const WORDS: &'static [(&'static str, Order)] =
        &[("chain", Order::Chain), ("race", Order::Race)];
}

/// What happens to a call if no engine is left that could be asked about it. It is always refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskDefault;

impl Value for AskDefault {
    fn expected() -> String {
        "`deny`".to_owned()
    }

    fn words() -> Vec<(&'static str, Vec<&'static str>)> {
        vec![("deny", Vec::new())]
    }

    fn schema() -> Json {
        serde_json::json!({"const": "deny"})
    }

    fn from_text(text: &str) -> Result<AskDefault, Fault> {
        match text {
            "deny" => Ok(AskDefault),
            // mcp-extras has it, and so may the files of people who come from there.
            "approve" => Err(Fault::from(Problem::ApprovesUnasked)),
            _ => Err(wrong_text::<AskDefault>(text)),
        }
    }
}

/// An engine that is ready to be asked.
#[derive(Debug, Clone)]
pub struct ConfiguredEngine {
    /// What the gate knows about it.
    pub channel: Channel,
    /// The word for its type.
    pub kind: &'static str,
    /// How much of a call's arguments may leave this machine.
    pub show: Show,
    /// What carries its questions to people; `None` for the client's prompt and the inbox.
    pub courier: Option<Arc<dyn CourierSettings>>,
}

impl ConfiguredEngine {
    /// Returns the word for how much it shows.
    #[must_use]
    pub fn show_word(&self) -> &'static str {
        self.show.word()
    }
}

/// The engines of a run, in their order.
#[derive(Debug, Clone, Default)]
pub struct ConfiguredEngines {
    /// Each engine.
    pub list: Vec<ConfiguredEngine>,
    /// The variables that options of engines expand, also of those that this run does not ask. Child processes must not
    /// inherit them.
    pub withheld: Vec<OsString>,
}

/// What the options of engines are read with.
pub(super) struct EngineContext<'a> {
    pub(super) environment: &'a Environment,
    pub(super) transport: &'a TransportSettings,
    pub(super) order: Order,
    /// What applies to entries that do not set it.
    pub(super) on_timeout: Option<OnFailure>,
    pub(super) on_transport_error: Option<OnFailure>,
}

impl Engines {
    /// Returns the default: the client's prompt, then the inbox for clients that cannot prompt.
    #[must_use]
    pub fn usual() -> Engines {
        let entry = |kind: Kind| EngineEntry::new(kind.word(), Some(kind));
        let inbox = registry::find(EngineId::INBOX.name()).map(Kind::OutOfBand);
        let kinds = [Some(Kind::Elicitation), inbox];
        Engines(kinds.into_iter().flatten().map(entry).collect())
    }

    /// Sets where the options of these engines were written.
    pub(super) fn are_from(&mut self, source: &Source) {
        for entry in &mut self.0 {
            if !entry.options.is_empty() {
                entry.source.get_or_insert_with(|| source.clone());
            }
        }
    }

    /// Reads the options of all engines, with their secrets.
    ///
    /// # Errors
    /// The first engine that cannot work so: its place, and what is missing or wrong.
    pub(super) fn configured(
        self,
        context: &EngineContext<'_>,
    ) -> Result<ConfiguredEngines, ConfigError> {
        let mut configured = ConfiguredEngines::default();
        for entry in self.0 {
            let (name, source) = (entry.name.clone(), entry.source.clone());
            let engine = entry.configured(context);
            let engine = engine.map_err(|why| ConfigError::Engine {
                place: source.map(|source| source.place("engines")),
                engine: name,
                why,
            })?;
            configured.list.push(engine);
        }
        Ok(configured)
    }

    /// Returns the texts of all options in which variables are expanded, and whether each is secret.
    pub(super) fn expanded(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().flat_map(EngineEntry::expanded)
    }

    /// The name of the first engine that is not among `allowed`.
    pub(super) fn first_outside(&self, allowed: &Engines) -> Option<&str> {
        let mut entries = self.0.iter();
        let outside = entries.find(|entry| allowed.entry(&entry.name).is_none());
        outside.map(|entry| &*entry.name)
    }

    /// Only the engines that are among `allowed`, as they are defined there; `None` if that leaves none.
    pub(super) fn within(mut self, allowed: &Engines) -> Option<Engines> {
        self.0.retain_mut(|entry| {
            let Some(allowed) = allowed.entry(&entry.name) else {
                return false;
            };
            if allowed.defines() {
                entry.take_definition(allowed);
            }
            true
        });
        (!self.0.is_empty()).then_some(self)
    }

    /// Returns true if one of these engines is another one than `allowed` defines under its name.
    pub(super) fn redefines_any(&self, allowed: &Engines) -> bool {
        let mut entries = self.0.iter().filter(|entry| entry.defines());
        entries.any(|entry| {
            let allowed = allowed.entry(&entry.name);
            allowed.is_some_and(|allowed| allowed.defines() && !entry.is_same_engine(allowed))
        })
    }

    /// Whether an entry says more about its engine than its name and when it is asked: such as the program to run.
    pub(super) fn defines_any(&self) -> bool {
        self.0.iter().any(EngineEntry::defines)
    }

    /// These engines. One that is only named gets the options that `defined` has for it.
    ///
    /// # Errors
    /// An engine that needs options and has none in either.
    pub(super) fn defined_by(mut self, defined: &[Engines]) -> Result<Engines, ConfigError> {
        for entry in &mut self.0 {
            let known = || {
                let entries = defined.iter();
                let mut entries = entries.filter_map(|engines| engines.entry(&entry.name));
                entries.find(|known| known.defines()).cloned()
            };
            if !entry.defines()
                && let Some(known) = known()
            {
                entry.take_definition(&known);
            }
            let is_known = match entry.kind {
                None => false,
                Some(kind) => {
                    let needs_any = kind.options().iter().any(|option| option.is_required);
                    !needs_any || !entry.options.is_empty()
                }
            };
            if !is_known {
                let mut known: Vec<String> = words().map(str::to_owned).collect();
                let others = defined.iter().flat_map(|engines| &engines.0);
                known.extend(others.map(|entry| shown(&entry.name)));
                known.sort();
                known.dedup();
                return Err(ConfigError::UndefinedEngine {
                    is_type: entry.kind.is_some(),
                    name: entry.name.clone(),
                    known: known.join("`, `"),
                });
            }
        }
        Ok(self)
    }

    #[cfg(test)]
    pub(super) fn has(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    fn entry(&self, name: &str) -> Option<&EngineEntry> {
        self.0.iter().find(|entry| entry.name == name)
    }

    fn checked(entries: Vec<EngineEntry>) -> Result<Engines, Fault> {
        let mut names: Vec<&str> = entries.iter().map(|entry| &*entry.name).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair.first() == pair.last());
        let found = match (entries.len(), twice.and_then(|pair| pair.first())) {
            (0, _) => "an empty list".to_owned(),
            (_, Some(name)) => {
                format!(
                    "two that are called `{}`; give one of them another `name`",
                    shown(name)
                )
            }
            (_, None) => return Ok(Engines(entries)),
        };
        Err(Fault::from(Problem::Unexpected {
            expected: Engines::expected(),
            found,
        }))
    }
}

impl EngineEntry {
    fn new(name: &str, kind: Option<Kind>) -> EngineEntry {
        EngineEntry {
            name: name.to_owned(),
            kind,
            options: Map::new(),
            after: None,
            timeout: None,
            on_timeout: None,
            on_transport_error: None,
            min_risk: None,
            show: None,
            source: None,
        }
    }

    /// Whether it says what the engine is, or what it sends.
    fn defines(&self) -> bool {
        !self.options.is_empty() || self.show.is_some()
    }

    /// Returns the texts of the options in which [`EngineEntry::plain_options`] expands variables.
    fn expanded(&self) -> impl Iterator<Item = (&str, bool)> {
        self.options.iter().flat_map(|(key, value)| match value {
            Json::String(text) if self.expands(key) => vec![(text.as_str(), true)],
            Json::Object(members) => {
                let members = members.iter();
                let texts =
                    members.filter_map(|(name, value)| Some((value.as_str()?, names_secret(name))));
                texts.collect()
            }
            Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => {
                Vec::new()
            }
        })
    }

    /// Returns true if variables are expanded in the text of this option.
    fn expands(&self, key: &str) -> bool {
        let options = self.kind.map_or(&[][..], Kind::options);
        // A URL may hold a token.
        matches!(key, "url" | "bridgeUrl")
            || options
                .iter()
                .any(|option| option.key == key && option.is_secret)
    }

    fn is_same_engine(&self, other: &EngineEntry) -> bool {
        self.kind == other.kind && self.options == other.options && self.show == other.show
    }

    /// Makes it the engine that `other` defines, asked when this entry says.
    fn take_definition(&mut self, other: &EngineEntry) {
        self.kind = other.kind;
        self.options = other.options.clone();
        self.show = other.show;
        self.source = other.source.clone();
        self.after = self.after.or(other.after);
        self.timeout = self.timeout.or(other.timeout);
        self.on_timeout = self.on_timeout.or(other.on_timeout);
        self.on_transport_error = self.on_transport_error.or(other.on_transport_error);
        self.min_risk = self.min_risk.or(other.min_risk);
    }

    fn configured(self, context: &EngineContext<'_>) -> Result<ConfiguredEngine, String> {
        let Some(kind) = self.kind else {
            return Err("it is not defined".to_owned());
        };
        let (engine, reach, courier) = match kind {
            Kind::Elicitation => (Engine::Elicitation, None, None),
            Kind::OutOfBand(registered) => {
                let name = EngineId::named(&self.name);
                let options = self.plain_options(kind, context)?;
                let courier = registered.read(name, &options, context.transport);
                let courier = courier.map_err(|bad| bad.to_string())?;
                (
                    Engine::OutOfBand(name),
                    Some(registered.reach(false)),
                    courier,
                )
            }
        };
        let usual = Channel::new(engine);
        let joins_at_once = || match context.order {
            Order::Chain => None,
            Order::Race => Some(std::time::Duration::ZERO),
        };
        Ok(ConfiguredEngine {
            channel: Channel {
                reach: reach.unwrap_or(usual.reach),
                patience: match self.timeout.map(Seconds::limit) {
                    Some(limit) => Patience::Own(limit),
                    None => usual.patience,
                },
                on_timeout: (self.on_timeout.or(context.on_timeout)).unwrap_or(usual.on_timeout),
                on_transport_error: (self.on_transport_error)
                    .or(context.on_transport_error)
                    .unwrap_or(usual.on_transport_error),
                after: self.after.map(Seconds::duration).or_else(joins_at_once),
                min_risk: self.min_risk.map_or(usual.min_risk, |least| least.0),
                ..usual
            },
            kind: kind.word(),
            show: self.show.unwrap_or_else(|| usual_show(kind)),
            courier,
        })
    }

    /// Returns the options with the values of their variables and secret files.
    fn plain_options(
        &self,
        kind: Kind,
        context: &EngineContext<'_>,
    ) -> Result<Map<String, Json>, String> {
        let reader = SecretReader {
            environment: context.environment,
            source: self.source.as_ref(),
        };
        let mut plain = Map::new();
        for (key, value) in &self.options {
            let option = kind.options().iter().find(|option| option.key == key);
            let (key, value) = match (option, value) {
                (Some(option), Json::String(text)) if option.is_secret => {
                    (key.as_str(), Json::String(reader.text(key, text)?))
                }
                (Some(_), Json::String(text)) if self.expands(key) => {
                    (key.as_str(), Json::String(reader.plain(key, text)?))
                }
                // Headers, or the environment of a program.
                (Some(_), Json::Object(members)) => {
                    let members = members.iter().map(|(name, value)| {
                        let at = format!("{key}/{name}");
                        let value = match value {
                            Json::String(text) if names_secret(name) => reader.text(&at, text)?,
                            Json::String(text) => reader.plain(&at, text)?,
                            other @ (Json::Null
                            | Json::Bool(_)
                            | Json::Number(_)
                            | Json::Array(_)
                            | Json::Object(_)) => return Ok((name.clone(), other.clone())),
                        };
                        Ok((name.clone(), Json::String(value)))
                    });
                    let members: Result<Map<String, Json>, String> = members.collect();
                    (key.as_str(), Json::Object(members?))
                }
                (Some(_), _) => (key.as_str(), value.clone()),
                (None, Json::String(path)) => {
                    let name = key.strip_suffix(FILE).unwrap_or(key);
                    (name, Json::String(reader.file(key, path.as_ref())?))
                }
                (None, _) => return Err(format!("`{key}` must be a path")),
            };
            if plain.insert(key.to_owned(), value).is_some() {
                return Err(format!("`{key}` and `{key}{FILE}` are both set; keep one"));
            }
        }
        Ok(plain)
    }
}

/// What an engine sends if its entry does not say.
fn usual_show(kind: Kind) -> Show {
    match kind.word() {
        // These are services of others.
        "slack" | "telegram" | "ntfy" | "whatsapp" | "waha" | "email" => Show::Redacted,
        _ => Show::Full,
    }
}

impl Value for Engines {
    fn expected() -> String {
        format!("a list of engines, each {}", EngineEntry::expected())
    }

    fn from_node(node: &Node) -> Result<Engines, Fault> {
        Engines::checked(Vec::from_node(node)?)
    }

    fn from_text(text: &str) -> Result<Engines, Fault> {
        Engines::checked(Vec::from_text(text)?)
    }
}

impl Value for EngineEntry {
    fn expected() -> String {
        let words: Vec<&str> = words().collect();
        format!(
            "one of {}, an object with that as `type`, or the name of an engine of the user configuration",
            names(&words)
        )
    }

    fn from_node(node: &Node) -> Result<EngineEntry, Fault> {
        let object = match node {
            Node::Text(text) => return EngineEntry::from_text(text),
            Node::Object(object) => object,
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Array(_) => {
                return Err(wrong_type::<EngineEntry>(node));
            }
        };
        let text_of = |key: &str| -> Result<Option<String>, Fault> {
            let node = object.get(key)?;
            let text = node.map(String::from_node).transpose();
            text.map_err(|fault| fault.under(key))
        };
        let (word, name) = (text_of("type")?, text_of("name")?);
        let kind = match &word {
            Some(word) => Some(Kind::of(word).ok_or_else(|| unknown_type(word).under("type"))?),
            None => None,
        };
        let Some(name) = name.or(word) else {
            return Err(Fault::from(Problem::Unexpected {
                expected: EngineEntry::expected(),
                found: "no `type`".to_owned(),
            }));
        };
        check_name(&name, kind).map_err(|fault| fault.under("name"))?;
        let mut entry = EngineEntry::new(&name, kind.or_else(|| Kind::of(&name)));
        for (key, node) in object.strict_members()? {
            let value = Input::Node(node);
            let read = match key {
                "type" | "name" => Ok(()),
                "after" => value.set(&mut entry.after),
                "timeout" => value.set(&mut entry.timeout),
                "onTimeout" => value.set(&mut entry.on_timeout),
                "onTransportError" => value.set(&mut entry.on_transport_error),
                "minRisk" => value.set(&mut entry.min_risk),
                "show" => value.set(&mut entry.show),
                _ if entry.takes(key) => {
                    entry.options.insert(key.to_owned(), plain_json(node));
                    Ok(())
                }
                _ => Err(entry.unknown(key)),
            };
            read.map_err(|fault| fault.under(key))?;
        }
        entry.checked()
    }

    fn from_text(text: &str) -> Result<EngineEntry, Fault> {
        let kind = Kind::of(text);
        check_name(text, kind)?;
        Ok(EngineEntry::new(text, kind))
    }
}

impl EngineEntry {
    /// Returns true if the engine has an option with this key, or a secret one whose file it names.
    fn takes(&self, key: &str) -> bool {
        let options = self.kind.map_or(&[][..], Kind::options);
        options.iter().any(|option| {
            key == option.key || option.is_secret && key.strip_suffix(FILE) == Some(option.key)
        })
    }

    fn unknown(&self, key: &str) -> Fault {
        let options = self.kind.map_or(&[][..], Kind::options);
        let keys = KEYS.iter().copied();
        let known = keys.chain(options.iter().map(|option| option.key));
        let nearest = nearest(key, known).unwrap_or_default();
        Fault::from(Problem::UnknownKey { nearest })
    }

    /// An entry with options has all that its type needs. One without may name an engine that is defined elsewhere.
    fn checked(self) -> Result<EngineEntry, Fault> {
        let options = self.kind.map_or(&[][..], Kind::options);
        let is_set = |key: &str| {
            let in_file = format!("{key}{FILE}");
            self.options.contains_key(key) || self.options.contains_key(&in_file)
        };
        let mut required = options.iter().filter(|option| option.is_required);
        match required.find(|option| !self.options.is_empty() && !is_set(option.key)) {
            None => Ok(self),
            Some(missing) => Err(Fault::from(Problem::MissingOption {
                engine: self.kind.map_or("", Kind::word),
                key: missing.key,
            })),
        }
    }
}

/// Checks the name of an engine: it stands in records, on command lines and in URLs.
fn check_name(name: &str, kind: Option<Kind>) -> Result<(), Fault> {
    const LONGEST: usize = 64;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = (1..=LONGEST).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(is_part);
    let fault = |expected: String| {
        Fault::from(Problem::Unexpected {
            expected,
            found: format!("`{}`", shown(name)),
        })
    };
    // In any case: people read the names in records.
    let lower = name.to_ascii_lowercase();
    let other = Kind::of(&lower)
        .filter(|named| kind.is_some_and(|kind| kind != *named || name != named.word()));
    match (kind, other) {
        _ if !is_name => Err(fault(
            "a name of letters, digits, `-`, `_` and `.`, at most 64".to_owned(),
        )),
        (Some(_), _) if lower == EngineId::CACHE => Err(fault(format!(
            "a name other than `{}`, which stands for an earlier approval in records",
            EngineId::CACHE
        ))),
        (Some(kind), _) if kind.is_unique() && name != kind.word() => {
            Err(fault(format!("no other name than `{}`", kind.word())))
        }
        (_, Some(_)) => Err(fault(
            "a name that is not another type of engine".to_owned(),
        )),
        (_, None) => Ok(()),
    }
}

/// Returns the words for all types of engines.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    std::iter::once(ELICITATION).chain(registry::names())
}

fn unknown_type(text: &str) -> Fault {
    let words: Vec<&str> = words().collect();
    Fault::from(Problem::Unexpected {
        expected: format!("one of {}", names(&words)),
        found: format!("`{}`", shown(text)),
    })
}

/// Converts to the JSON type that engines read their options from.
pub(super) fn plain_json(node: &Node) -> Json {
    match node {
        Node::Null => Json::Null,
        Node::Bool(value) => (*value).into(),
        Node::Number(value) => (*value).into(),
        Node::Text(text) => text.as_str().into(),
        Node::Array(items) => items.iter().map(plain_json).collect(),
        Node::Object(object) => {
            let members = object.members();
            members
                .map(|(key, node)| (key.to_owned(), plain_json(node)))
                .collect()
        }
    }
}

/// The keys of every engine.
pub(super) const KEYS: [&str; 8] = [
    "type",
    "name",
    "after",
    "timeout",
    "onTimeout",
    "onTransportError",
    "minRisk",
    "show",
];

#[cfg(test)]
mod tests;
