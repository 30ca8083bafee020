//! `engines`: which engines are asked, in which order.
//!
//! Reads the keys that all engines have; each engine reads its own options (`engines::registry`).

use std::sync::Arc;

use serde_json::Map;

use super::error::{Fault, Problem, names};
use super::json::Node;
use super::nearest::nearest;
use super::number::Seconds;
use super::value::{Input, Value, wrong_text, wrong_type};
use crate::engines::{CourierSettings, registry};
use crate::gate::{Channel, Engine, EngineId, OnFailure, Patience};

/// At least one engine, without repetition.
#[derive(Debug, Clone, PartialEq)]
pub struct Engines(Vec<EngineEntry>);

/// The settings of one engine.
#[derive(Debug, Clone, PartialEq)]
struct EngineEntry {
    engine: Engine,
    /// The engine's own options.
    options: Map<String, serde_json::Value>,
    timeout: Option<Seconds>,
    on_timeout: Option<OnFailure>,
    on_transport_error: Option<OnFailure>,
}

impl Engines {
    /// Returns the default: the client's prompt, then the inbox for clients that cannot prompt.
    #[must_use]
    pub fn usual() -> Engines {
        Engines(
            [Engine::Elicitation, Engine::INBOX]
                .map(EngineEntry::new)
                .into(),
        )
    }

    /// Converts to the gate's channels. `on_timeout` and `on_transport_error` apply to entries that do not
    /// set them.
    #[must_use]
    pub fn into_channels(
        self,
        on_timeout: Option<OnFailure>,
        on_transport_error: Option<OnFailure>,
    ) -> Vec<Channel> {
        let channels = self.0.into_iter().map(|entry| {
            let usual = Channel::new(entry.engine);
            let reach = match entry.engine {
                Engine::Elicitation => usual.reach,
                Engine::OutOfBand(engine) => registry::reach(engine, false),
            };
            Channel {
                reach,
                patience: match entry.timeout.map(Seconds::limit) {
                    Some(limit) => Patience::Own(limit),
                    None => usual.patience,
                },
                on_timeout: entry.on_timeout.or(on_timeout).unwrap_or(usual.on_timeout),
                on_transport_error: (entry.on_transport_error)
                    .or(on_transport_error)
                    .unwrap_or(usual.on_transport_error),
                ..usual
            }
        });
        channels.collect()
    }

    /// Returns the settings of the engines that need a courier.
    #[must_use]
    pub fn couriers(&self) -> Vec<(EngineId, Arc<dyn CourierSettings>)> {
        let couriers = self.0.iter().filter_map(|entry| {
            let Engine::OutOfBand(engine) = entry.engine else {
                return None;
            };
            // Cannot fail: `EngineEntry::checked` has read the options before.
            let settings = registry::find(engine.name())?
                .read(engine, &entry.options, &Default::default())
                .ok()?;
            Some((engine, settings?))
        });
        couriers.collect()
    }

    /// The name of the first engine that is not among `allowed`.
    pub(super) fn first_outside(&self, allowed: &Engines) -> Option<&'static str> {
        let mut entries = self.0.iter();
        let outside = entries.find(|entry| allowed.entry(entry.engine).is_none());
        outside.map(|entry| name_of(entry.engine))
    }

    /// Only the engines that are among `allowed`, as they are defined there; `None` if that leaves none.
    pub(super) fn within(mut self, allowed: &Engines) -> Option<Engines> {
        self.0.retain_mut(|entry| {
            let Some(allowed) = allowed.entry(entry.engine) else {
                return false;
            };
            if !allowed.options.is_empty() {
                entry.options = allowed.options.clone();
            }
            true
        });
        (!self.0.is_empty()).then_some(self)
    }

    /// Returns true if one of these engines is another one than `allowed` defines under its name.
    pub(super) fn redefines_any(&self, allowed: &Engines) -> bool {
        let mut entries = self.0.iter().filter(|entry| !entry.options.is_empty());
        entries.any(|entry| {
            let allowed = allowed.entry(entry.engine).map(|allowed| &allowed.options);
            allowed.is_some_and(|options| !options.is_empty() && *options != entry.options)
        })
    }

    /// Whether an entry says more about its engine than every engine has: such as the program to run.
    pub(super) fn defines_any(&self) -> bool {
        self.0.iter().any(|entry| !entry.options.is_empty())
    }

    /// These engines. One that is only named gets the options that `defined` has for it.
    ///
    /// # Errors
    /// The name of an engine that needs options and has none in either.
    pub(super) fn defined_by(mut self, defined: &[Engines]) -> Result<Engines, &'static str> {
        for entry in &mut self.0 {
            if entry.options.is_empty()
                && let Some(known) = defined
                    .iter()
                    .filter_map(|engines| engines.entry(entry.engine))
                    .find(|known| !known.options.is_empty())
            {
                entry.options = known.options.clone();
            }
            if !entry.is_complete() {
                return Err(name_of(entry.engine));
            }
        }
        Ok(self)
    }

    fn entry(&self, engine: Engine) -> Option<&EngineEntry> {
        self.0.iter().find(|entry| entry.engine == engine)
    }

    fn checked(entries: Vec<EngineEntry>) -> Result<Engines, Fault> {
        let is_twice = |(at, entry): (usize, &EngineEntry)| {
            let before = entries.iter().take(at);
            before.into_iter().any(|other| other.engine == entry.engine)
        };
        let found = match entries.len() {
            0 => "an empty list",
            _ if entries.iter().enumerate().any(is_twice) => "one of them twice",
            _ => return Ok(Engines(entries)),
        };
        Err(Fault::from(Problem::Unexpected {
            expected: Engines::expected(),
            found: found.to_owned(),
        }))
    }
}

impl EngineEntry {
    fn new(engine: Engine) -> EngineEntry {
        EngineEntry {
            engine,
            options: Map::new(),
            timeout: None,
            on_timeout: None,
            on_transport_error: None,
        }
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
        format!("one of {}, or an object with that as `type`", names(&words))
    }

    fn from_node(node: &Node) -> Result<EngineEntry, Fault> {
        let object = match node {
            Node::Text(text) => return EngineEntry::from_text(text),
            Node::Object(object) => object,
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Array(_) => {
                return Err(wrong_type::<EngineEntry>(node));
            }
        };
        let Some(named) = object.get("type")? else {
            return Err(Fault::from(Problem::Unexpected {
                expected: EngineEntry::expected(),
                found: "no `type`".to_owned(),
            }));
        };
        let engine = String::from_node(named).and_then(|text| engine_of(&text));
        let mut entry = EngineEntry::new(engine.map_err(|fault| fault.under("type"))?);
        for (key, node) in object.strict_members()? {
            let value = Input::Node(node);
            let read = match key {
                "type" => Ok(()),
                "timeout" => value.set(&mut entry.timeout),
                "onTimeout" => value.set(&mut entry.on_timeout),
                "onTransportError" => value.set(&mut entry.on_transport_error),
                _ if is_plain(entry.engine) => Err(unknown(key)),
                _ => {
                    entry.options.insert(key.to_owned(), plain_json(node));
                    Ok(())
                }
            };
            read.map_err(|fault| fault.under(key))?;
        }
        entry.checked()
    }

    fn from_text(text: &str) -> Result<EngineEntry, Fault> {
        EngineEntry::new(engine_of(text)?).checked()
    }
}

impl EngineEntry {
    /// Whether the engine has the options that it needs.
    fn is_complete(&self) -> bool {
        let Engine::OutOfBand(engine) = self.engine else {
            return true;
        };
        registry::find(engine.name()).is_none_or(|found| {
            found
                .read(engine, &self.options, &Default::default())
                .is_ok()
        })
    }

    /// The engine can be set up so. One without options of its own may only name an engine that is defined elsewhere.
    fn checked(self) -> Result<EngineEntry, Fault> {
        if self.options.is_empty() {
            return Ok(self);
        }
        if let Engine::OutOfBand(engine) = self.engine
            && let Some(registered) = registry::find(engine.name())
            && let Err(bad) = registered.read(engine, &self.options, &Default::default())
        {
            return Err(Fault::from(Problem::Unexpected {
                expected: format!("the options of the engine `{}`", engine.name()),
                found: bad.to_string(),
            }));
        }
        Ok(self)
    }
}

fn name_of(engine: Engine) -> &'static str {
    match engine {
        Engine::Elicitation => ELICITATION,
        Engine::OutOfBand(engine) => engine.name(),
    }
}

const ELICITATION: &str = "elicitation";

/// Returns the name of every engine.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    std::iter::once(ELICITATION).chain(registry::names())
}

fn engine_of(text: &str) -> Result<Engine, Fault> {
    match registry::find(text) {
        Some(registered) => Ok(Engine::OutOfBand(registered.id)),
        None if text == ELICITATION => Ok(Engine::Elicitation),
        None => Err(wrong_text::<EngineEntry>(text)),
    }
}

/// Returns true if the engine has no options of its own.
fn is_plain(engine: Engine) -> bool {
    matches!(engine, Engine::Elicitation | Engine::INBOX)
}

/// Converts to the JSON type that engines read their options from.
fn plain_json(node: &Node) -> serde_json::Value {
    match node {
        Node::Null => serde_json::Value::Null,
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

fn unknown(key: &str) -> Fault {
    let nearest = nearest(key, KEYS).unwrap_or_default();
    Fault::from(Problem::UnknownKey { nearest })
}

const KEYS: [&str; 4] = ["type", "timeout", "onTimeout", "onTransportError"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(json: &str) -> Result<Engines, Fault> {
        Engines::from_node(&serde_json::from_str(json).unwrap())
    }

    fn channels(json: &str) -> Vec<Channel> {
        read(json).unwrap().into_channels(None, None)
    }

    #[test]
    fn engines_are_words_or_objects_in_the_order_they_are_asked() {
        let found = channels(
            r#"[{"type":"elicitation","timeout":30,"onTimeout":"fallback"},{"type":"inbox","timeout":0,"onTransportError":"deny"}]"#,
        );
        let usual = channels(r#"["elicitation","inbox"]"#);
        assert_eq!(usual, Engines::usual().into_channels(None, None));
        assert_eq!(
            found,
            [
                Channel {
                    patience: Patience::Own(Some(Duration::from_secs(30))),
                    on_timeout: OnFailure::Fallback,
                    ..Channel::new(Engine::Elicitation)
                },
                Channel {
                    patience: Patience::Own(None),
                    on_transport_error: OnFailure::Deny,
                    ..Channel::new(Engine::INBOX)
                },
            ]
        );
        let text = Engines::from_text("inbox, elicitation").unwrap();
        let [first, second] = text.into_channels(Some(OnFailure::Fallback), None)[..] else {
            panic!();
        };
        assert_eq!(
            (first.engine, second.engine),
            (Engine::INBOX, Engine::Elicitation)
        );
        assert_eq!(first.on_timeout, OnFailure::Fallback);
    }

    #[test]
    fn an_invalid_list_of_engines_is_an_error_with_its_place() {
        for (json, place, words) in [
            (r#"[]"#, "", "an empty list"),
            (r#"["inbox","inbox"]"#, "", "twice"),
            (r#"["email"]"#, "/0", "`elicitation`"),
            (r#"[{"timeout":3}]"#, "/0", "no `type`"),
            (r#"[{"type":"inbox","timout":3}]"#, "/0/timout", "timeout"),
            (
                r#"[{"type":"inbox","timeout":-1}]"#,
                "/0/timeout",
                "seconds",
            ),
            (r#"{"type":"inbox"}"#, "", "list"),
        ] {
            let fault = read(json).unwrap_err().to_string();
            assert!(
                fault.contains(place) && fault.contains(words),
                "{json}: {fault}"
            );
        }
    }
}
