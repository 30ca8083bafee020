//! The list of engines outside of the client: their options, and the assurance of their verdicts.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::courier::CourierSettings;
#[cfg(feature = "email")]
use super::email;
use super::http::TransportSettings;
#[cfg(feature = "slack")]
use super::slack;
#[cfg(feature = "telegram")]
use super::telegram;
use super::{command, ntfy, waha, webhook, whatsapp};
use crate::approval::item::Assurance;
use crate::gate::EngineId;

/// One type of engine.
#[derive(Debug)]
pub struct Registration {
    /// The word for the type, as in `"type": "webhook"`. Also the default name of an engine of this type.
    pub id: EngineId,
    /// The assurance of a verdict through this engine.
    reach: Assurance,
    /// Its own configuration keys, in addition to those of every engine.
    pub options: &'static [EngineOption],
    /// Reads the options.
    settings: ReadOptions,
}

/// Reads the options of the engine with this name. Returns `None` if the engine needs no courier.
type ReadOptions = fn(
    EngineId,
    &Map<String, Value>,
    &TransportSettings,
) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions>;

/// A configuration key of one engine.
#[derive(Debug)]
pub struct EngineOption {
    /// The key.
    pub key: &'static str,
    /// Whether it must be set.
    pub is_required: bool,
    /// Whether its value is a secret. Then the configuration also takes `${VAR}` in it, and the key with `File`
    /// appended.
    pub is_secret: bool,
    /// The JSON Schema of its value.
    pub schema: fn() -> Value,
}

impl EngineOption {
    /// Creates the option of a text that must be set.
    pub(super) const fn required(key: &'static str) -> EngineOption {
        EngineOption {
            key,
            is_required: true,
            is_secret: false,
            schema: || json!({"type": "string"}),
        }
    }

    /// Creates the option of a text that may be left out.
    pub(super) const fn optional(key: &'static str) -> EngineOption {
        EngineOption {
            is_required: false,
            ..EngineOption::required(key)
        }
    }

    /// Returns the same option, with a secret as its value.
    pub(super) const fn secret(self) -> EngineOption {
        EngineOption {
            is_secret: true,
            ..self
        }
    }

    /// Returns the same option, with a value of this schema in place of a text.
    pub(super) const fn with_schema(self, schema: fn() -> Value) -> EngineOption {
        EngineOption { schema, ..self }
    }
}

/// Returns an engine's settings as [`Registration::read`] has them.
pub(super) fn for_courier<S: CourierSettings + 'static>(
    settings: Result<S, BadOptions>,
) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    Ok(Some(Arc::new(settings?)))
}

/// Returns the text of an option, without white space around it.
///
/// # Errors
/// If it is not a string. Does not quote it: it may be a secret.
pub(super) fn text<'a>(
    options: &'a Map<String, Value>,
    key: &str,
) -> Result<Option<&'a str>, BadOptions> {
    match options.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim())),
        Some(_) => Err(BadOptions(format!("`{key}` must be a string"))),
    }
}

/// Why the options of an engine are invalid. Never quotes a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadOptions(pub String);

/// Every engine outside of the client.
static ENGINES: &[Registration] = &[
    Registration {
        id: EngineId::INBOX,
        reach: Assurance::InboxSession,
        options: &[],
        settings: no_options,
    },
    #[cfg(feature = "slack")]
    slack::REGISTRATION,
    #[cfg(feature = "telegram")]
    telegram::REGISTRATION,
    #[cfg(feature = "email")]
    email::REGISTRATION,
    ntfy::REGISTRATION,
    whatsapp::REGISTRATION,
    waha::REGISTRATION,
    webhook::REGISTRATION,
    command::REGISTRATION,
];

/// Returns the engine with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Registration> {
    ENGINES.iter().find(|engine| engine.id.name() == name)
}

/// Returns the names of all engines.
pub fn names() -> impl Iterator<Item = &'static str> {
    ENGINES.iter().map(|engine| engine.id.name())
}

/// Returns the assurance of a verdict through this engine. `is_signed` says whether the inbox requires signed verdicts.
#[must_use]
pub fn reach(engine: EngineId, is_signed: bool) -> Assurance {
    find(engine.name()).map_or(Assurance::CallerRelayed, |registered| {
        registered.reach(is_signed)
    })
}

/// Returns the assurance of a verdict read from the store. What the row claims counts only if it `is_signed`, because
/// any program of the user can write to the store.
#[must_use]
pub fn stored_assurance(claimed: Assurance, is_signed: bool) -> Assurance {
    match claimed {
        _ if is_signed => claimed,
        // A row does not prove that a chat service vouched for anybody.
        Assurance::ChannelAuthenticated => Assurance::InboxTerminal,
        // A row does not prove whether it came from the page or the terminal; both are the same level.
        Assurance::InboxPassphrase | Assurance::InboxSession => Assurance::InboxSession,
        Assurance::InboxTerminal => Assurance::InboxTerminal,
        Assurance::SharedSecret | Assurance::CallerRelayed => claimed,
    }
}

impl Registration {
    /// Reads the engine's own options. Returns `None` if the engine needs no courier.
    ///
    /// # Errors
    /// Says what is wrong with the options.
    pub fn read(
        &self,
        name: EngineId,
        options: &Map<String, Value>,
        transport: &TransportSettings,
    ) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
        (self.settings)(name, options, transport)
    }

    /// Returns the assurance of a verdict through an engine of this type. `is_signed` says whether the inbox requires
    /// signed verdicts.
    #[must_use]
    pub fn reach(&self, is_signed: bool) -> Assurance {
        match self.id == EngineId::INBOX && is_signed {
            true => Assurance::InboxPassphrase,
            false => self.reach,
        }
    }

    pub(super) const fn new(
        id: EngineId,
        reach: Assurance,
        options: &'static [EngineOption],
        settings: ReadOptions,
    ) -> Registration {
        Registration {
            id,
            reach,
            options,
            settings,
        }
    }
}

fn no_options(
    _: EngineId,
    options: &Map<String, Value>,
    _: &TransportSettings,
) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    match options.keys().next() {
        None => Ok(None),
        Some(key) => Err(BadOptions(format!("the inbox has no option `{key}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_has_a_unique_name_and_is_found_by_it() {
        let all: Vec<&str> = names().collect();
        for name in &all {
            assert_eq!(find(name).unwrap().id.name(), *name);
            assert_eq!(all.iter().filter(|other| *other == name).count(), 1);
        }
        assert!(find("elicitation").is_none(), "that one is in the client");
    }

    #[test]
    fn a_row_that_is_not_signed_is_worth_no_more_than_what_anybody_could_write() {
        for claimed in Assurance::ALL {
            let without = stored_assurance(claimed, false);
            assert_ne!(without, Assurance::InboxPassphrase);
            assert_ne!(without, Assurance::ChannelAuthenticated);
            assert_eq!(stored_assurance(claimed, true), claimed);
        }
        assert_eq!(reach(EngineId::INBOX, true), Assurance::InboxPassphrase);
        assert_eq!(reach(EngineId::INBOX, false), Assurance::InboxSession);
    }
}
