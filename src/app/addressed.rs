//! Engines for one recipient alone, which agents may name: `allowedRecipients`.
//!
//! Each is an engine of the configuration with another destination, under a name of its own, so everything that holds
//! for engines holds for them: who may decide, which verdict counts, what is recorded.

use crate::agents::Addressed;
use crate::config::{ConfiguredEngine, Resolved};
use crate::gate::{Channel, Engine, EngineId, OnFailure, Patience};
use crate::policy::Risk;

/// The type of engine that is asked first.
const FIRST: &str = "slack";

/// Replaces the engines that are asked by those for one recipient alone, Slack before mail. Returns them. The first
/// engine of each type that can reach a recipient is the one that does.
pub fn address(config: &mut Resolved) -> Vec<Addressed> {
    let mut found: Vec<(Addressed, ConfiguredEngine)> = Vec::new();
    for recipient in &config.allowed_recipients {
        for engine in &config.engines.list {
            let kind = engine.kind;
            let is_known = found
                .iter()
                .any(|(known, _)| known.recipient == *recipient && known.kind == kind);
            let courier = engine.courier.as_ref().filter(|_| !is_known);
            let Some(courier) = courier.and_then(|courier| courier.addressed(recipient)) else {
                continue;
            };
            // No engine of the configuration can be called so: names have no spaces.
            let id = EngineId::named(&format!("{kind} to {recipient}"));
            let addressed = Addressed {
                recipient: recipient.clone(),
                kind,
                engine: id,
            };
            let channel = Channel {
                engine: Engine::OutOfBand(id),
                // The agent says how long people have, and that these are asked one after another.
                patience: Patience::Default,
                on_transport_error: OnFailure::Fallback,
                after: None,
                min_risk: Risk::Low,
                ..engine.channel
            };
            let engine = ConfiguredEngine {
                channel,
                courier: Some(courier),
                ..engine.clone()
            };
            found.push((addressed, engine));
        }
    }
    found.sort_by_key(|(addressed, _)| addressed.kind != FIRST);
    config.settings.channels = found.iter().map(|(_, engine)| engine.channel).collect();
    let (addressed, engines): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    config.engines.list.extend(engines);
    addressed
}
