//! Which engines there are outside of the client, what each takes, and how much its verdicts assure.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::command;
use super::courier::CourierSettings;
use crate::approval::item::Assurance;
use crate::gate::EngineId;

/// One engine.
#[derive(Debug)]
pub struct Registration {
    /// Its name in the configuration and the audit log.
    pub id: EngineId,
    /// How sure it is that a person decided, where one did by this engine.
    reach: Assurance,
    /// The keys that the configuration can give it beside those of every engine.
    pub options: &'static [EngineOption],
    /// Reads them.
    settings: ReadOptions,
}

/// Reads the options of an engine; `None` is one that needs no courier.
type ReadOptions = fn(&Map<String, Value>) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions>;

/// A key that one engine knows.
#[derive(Debug)]
pub struct EngineOption {
    /// The key.
    pub key: &'static str,
    /// Whether the engine needs it.
    pub is_required: bool,
    /// The JSON Schema of its value.
    pub schema: fn() -> Value,
}

/// Why an engine cannot be set up so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadOptions(pub String);

/// Every engine outside of the client. A new one is a line here.
static ENGINES: [Registration; 2] = [
    Registration {
        id: EngineId::INBOX,
        reach: Assurance::InboxSession,
        options: &[],
        settings: none,
    },
    command::REGISTRATION,
];

/// The engine of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Registration> {
    ENGINES.iter().find(|engine| engine.id.name() == name)
}

/// The names of all of them.
pub fn names() -> impl Iterator<Item = &'static str> {
    ENGINES.iter().map(|engine| engine.id.name())
}

/// How sure it can be that a person decided by this engine. `is_signed` says whether the inbox's verdicts have to be
/// signed.
#[must_use]
pub fn reach(engine: EngineId, is_signed: bool) -> Assurance {
    match find(engine.name()) {
        Some(registered) if registered.id == EngineId::INBOX && is_signed => {
            Assurance::InboxPassphrase
        }
        Some(registered) => registered.reach,
        None => Assurance::CallerRelayed,
    }
}

/// How much a verdict assures that stands in the store. What the row says of itself counts only if it `is_signed`, since
/// any program of the user can write to the store.
#[must_use]
pub fn of_row(claimed: Assurance, is_signed: bool) -> Assurance {
    match claimed {
        _ if is_signed => claimed,
        // Nobody can tell the page from the terminal by a row; both are one level.
        Assurance::InboxPassphrase | Assurance::InboxSession => Assurance::InboxSession,
        Assurance::InboxTerminal => Assurance::InboxTerminal,
        Assurance::SharedSecret | Assurance::CallerRelayed => claimed,
    }
}

impl Registration {
    /// Reads the options of the engine: every key that is not one of all engines. `None` is an engine that needs no
    /// courier.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn read(
        &self,
        options: &Map<String, Value>,
    ) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
        (self.settings)(options)
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

fn none(options: &Map<String, Value>) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    match options.keys().next() {
        None => Ok(None),
        Some(key) => Err(BadOptions(format!("the inbox has no option `{key}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_has_a_name_of_its_own_and_is_found_by_it() {
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
            assert_ne!(of_row(claimed, false), Assurance::InboxPassphrase);
            assert_eq!(of_row(claimed, true), claimed);
        }
        assert_eq!(reach(EngineId::INBOX, true), Assurance::InboxPassphrase);
        assert_eq!(reach(EngineId::INBOX, false), Assurance::InboxSession);
    }
}
