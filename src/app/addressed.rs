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

#[cfg(test)]
#[cfg(all(feature = "email", feature = "slack"))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::{Environment, Flags, load};

    fn config(proxy: &str) -> Resolved {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let text =
            format!(r#"{{"mcpServers": {{"s": {{"command": "c"}}}}, "approvalProxy": {proxy}}}"#);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let environment: Environment = [("HOME", "/home/u")].into_iter().collect();
        load(Flags::new(file), &environment).unwrap()
    }

    #[test]
    fn slack_comes_first_and_only_allowed_recipients_can_be_asked() {
        let mut config = config(
            r##"{
                "ask": "race",
                "engines": [
                    {"type": "email", "smtp": "smtp://localhost", "from": "a@b.example", "to": "ops@b.example"},
                    {"type": "slack", "botToken": "xoxb-1", "appToken": "xapp-1", "channel": "C0OPS",
                     "approvers": ["U0OLGA"], "minRisk": "high", "timeout": 60},
                    {"type": "slack", "name": "other", "botToken": "xoxb-2", "appToken": "xapp-2",
                     "channel": "C0OTHER", "approvers": ["U0OLGA", "U0ERIK"]},
                    "inbox"
                ],
                "inbox": {"pageUrl": "http://127.0.0.1:1"},
                "allowedRecipients": ["sarah@b.example", "#ops", "U0OLGA", "U0ERIK", "U0NOBODY", "nobody"]
            }"##,
        );
        let addressed = address(&mut config);
        let names: Vec<&str> = addressed.iter().map(|it| it.engine.name()).collect();
        assert_eq!(
            names,
            [
                "slack to #ops",
                "slack to U0OLGA",
                "slack to U0ERIK",
                "email to sarah@b.example"
            ]
        );
        let channels = &config.settings.channels;
        let asked: Vec<Engine> = channels.iter().map(|channel| channel.engine).collect();
        let named: Vec<Engine> =
            (addressed.iter().map(|it| Engine::OutOfBand(it.engine))).collect();
        assert_eq!(asked, named, "nobody else is asked");
        for channel in channels {
            assert_eq!((channel.after, channel.min_risk), (None, Risk::Low));
            assert_eq!(channel.patience, Patience::Default);
        }
        // The one that Erik may use is not the first engine of that type.
        let of = |name: &str| {
            let mut engines = config.engines.list.iter();
            let engine =
                engines.find(|it| it.channel.engine == Engine::OutOfBand(EngineId::named(name)));
            engine.unwrap().courier.clone().unwrap()
        };
        let (olga, erik) = (of("slack to U0OLGA"), of("slack to U0ERIK"));
        assert!(olga.recognizes("slack:U0OLGA") && !olga.recognizes("slack:U0ERIK"));
        assert!(erik.recognizes("slack:U0ERIK") && !erik.recognizes("slack:U0OLGA"));
        assert!(of("slack to #ops").recognizes("slack:U0OLGA"));
        assert!(!of("email to sarah@b.example").recognizes("sarah@b.example"));
    }

    #[test]
    fn without_allowed_recipients_nobody_can_be_asked() {
        let mut config = config(r#"{"engines": ["inbox"]}"#);
        assert_eq!(address(&mut config), []);
        assert_eq!(config.settings.channels, []);
    }
}
