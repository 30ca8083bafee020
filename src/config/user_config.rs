//! The user configuration: engines, allow lists and limits that hold for all servers of a user, and the floor.
//!
//! It reads the text of one such file. Which files there are is found by `load`; how their layers lie over each other is
//! decided by `resolve`.

use std::path::{Path, PathBuf};

use super::error::{ConfigError, Fault, Problem};
use super::file::parse_json;
use super::floor::Source;
use super::json::{Node, Object};
use super::nearest::nearest;
use super::pointer::Pointer;
use super::section::Section;
use super::setting::Setting;
use super::settings::{Layer, SETTINGS};

/// What a user configuration says.
#[derive(Debug, Clone)]
pub(super) struct UserConfig {
    /// The file as it was named.
    pub(super) file: PathBuf,
    /// `approvalProxy`: for all servers.
    pub(super) proxy: Layer,
    /// `servers`: rules by the name of a server; [`ANY`] stands for each.
    servers: Vec<(String, Layer)>,
    /// `floor`, if there is one.
    pub(super) floor: Option<Layer>,
}

/// The key of `servers` that holds for every server.
pub(super) const ANY: &str = "*";

impl UserConfig {
    /// Reads the text of the file: JSON, with comments and trailing commas.
    ///
    /// # Errors
    /// Text that is not JSON, an unknown key, a bad value.
    pub(super) fn parse(file: &Path, bytes: &[u8]) -> Result<UserConfig, ConfigError> {
        let in_file = |fault| ConfigError::InFile {
            file: file.to_owned(),
            fault,
        };
        let node = parse_json(file, bytes)?;
        let Node::Object(object) = &node else {
            return Err(in_file(Fault::from(Problem::Unexpected {
                expected: "an object with `approvalProxy`, `servers` and `floor`".to_owned(),
                found: node.kind().to_owned(),
            })));
        };
        UserConfig::read(file, object).map_err(in_file)
    }

    fn read(file: &Path, object: &Object) -> Result<UserConfig, Fault> {
        let mut config = UserConfig {
            file: file.to_owned(),
            proxy: Layer::default(),
            servers: Vec::new(),
            floor: None,
        };
        for (key, node) in object.strict_members()? {
            match key {
                "approvalProxy" => {
                    refuse_rules(node).map_err(|fault| fault.under(key))?;
                    config.proxy = Section::Proxy.read_from(object)?;
                }
                "servers" => {
                    config.servers = servers(node).map_err(|fault| fault.under("servers"))?;
                }
                "floor" => config.floor = Some(Section::Floor.read_from(object)?),
                "$schema" => {}
                _ => {
                    let nearest = nearest(key, KEYS).unwrap_or_default();
                    return Err(Fault::from(Problem::UnknownKey { nearest }).under(key));
                }
            }
        }
        Ok(config)
    }

    /// Everything that it says with its place, without the floor.
    pub(super) fn layers_at(&self) -> impl Iterator<Item = (Pointer, &Layer)> {
        let proxy = Pointer::default().child("approvalProxy");
        let servers = self.servers.iter().map(|(name, layer)| {
            let at = Pointer::default().child("servers").child(name.as_str());
            (at, layer)
        });
        std::iter::once((proxy, &self.proxy)).chain(servers)
    }

    /// Returns this file with a place in it.
    pub(super) fn source(&self, at: Pointer) -> Source {
        Source::File {
            file: self.file.clone(),
            at,
        }
    }

    /// What `servers` says about the server called `name`, each with its place: the server's own rules first.
    pub(super) fn rules_for(&self, name: &str) -> impl Iterator<Item = (Pointer, &Layer)> {
        let of = |wanted: &str| {
            let mut servers = self.servers.iter();
            servers.find(|(server, _)| server == wanted)
        };
        // A server can be called `*` only by a name that somebody chose to annoy.
        let own = of(name).filter(|_| name != ANY);
        own.into_iter().chain(of(ANY)).map(|(server, layer)| {
            let at = Pointer::default().child("servers").child(server.as_str());
            (at, layer)
        })
    }
}

/// Refuses a key of `servers` in `approvalProxy`, with the place that it has in this file.
fn refuse_rules(node: &Node) -> Result<(), Fault> {
    let Node::Object(object) = node else {
        return Ok(());
    };
    for (name, _) in object.members() {
        let mut settings = SETTINGS.iter();
        let is_rule = |setting: &Setting| {
            setting.name == name && Section::Rules.takes(setting) && !Section::Proxy.takes(setting)
        };
        if settings.any(is_rule) {
            let home = "into `servers.*`, or into `servers` under the name of one server";
            return Err(Fault::from(Problem::Misplaced { home }).under(name));
        }
    }
    Ok(())
}

fn servers(node: &Node) -> Result<Vec<(String, Layer)>, Fault> {
    let Node::Object(object) = node else {
        return Err(Fault::from(Problem::Unexpected {
            expected: "an object of rules by the name of a server".to_owned(),
            found: node.kind().to_owned(),
        }));
    };
    let mut servers = Vec::new();
    for (name, node) in object.strict_members()? {
        let rules = Section::Rules.read(node);
        servers.push((name.to_owned(), rules.map_err(|fault| fault.under(name))?));
    }
    Ok(servers)
}

const KEYS: [&str; 3] = ["approvalProxy", "servers", "floor"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Mode;

    fn read(json: &str) -> Result<UserConfig, String> {
        let read = UserConfig::parse(Path::new("config.json"), json.as_bytes());
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn a_servers_own_rules_come_before_those_for_every_server() {
        let config = read(
            r#"{ // comments are fine
                "servers": {"*": {"mode": "all"}, "files": {"mode": "none"},}, "$schema": "x",
            }"#,
        );
        let config = config.unwrap();
        let modes = |name: &str| -> Vec<Mode> {
            let rules = config.rules_for(name);
            rules.filter_map(|(_, layer)| layer.mode).collect()
        };
        assert_eq!(modes("files"), [Mode::None, Mode::All]);
        assert_eq!(modes("Files"), [Mode::All]);
        assert_eq!(modes("*"), [Mode::All]);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (json, says) in [
            (
                r#"{"server": {}}"#,
                "/server: unknown key; did you mean `servers`?",
            ),
            (r#"{"mcpServers": {}}"#, "/mcpServers: unknown key"),
            (
                r#"{"servers": []}"#,
                "/servers: expected an object of rules",
            ),
            (
                r#"{"servers": {"a/b": {"mode": "sometimes"}}}"#,
                "/servers/a~1b/mode: expected one of",
            ),
            (
                r#"{"servers": {"*": {"dryRun": true}}}"#,
                "/servers/*/dryRun: this key has no effect here",
            ),
            (
                r#"{"servers": {"a": {}, "a": {}}}"#,
                "/servers/a: this key is written twice",
            ),
            (
                r#"{"approvalProxy": {"mode": "all"}}"#,
                "/approvalProxy/mode: this key has no effect here; move it into `servers.*`",
            ),
            (
                r#"{"floor": {"mode": "sometimes"}}"#,
                "/floor/mode: expected one of",
            ),
            (
                r#"{"floor": {"alwaysAllow": ["x"]}}"#,
                "/floor/alwaysAllow: this key has no effect here",
            ),
            (
                r#"{"floor": {"mod": "all"}}"#,
                "/floor/mod: unknown key; did you mean `mode`?",
            ),
            (
                r#"{"approvalProxy": {"explainDecision": true}}"#,
                "did you mean `explainDecisions`?",
            ),
            (r#"[]"#, "expected an object with `approvalProxy`"),
            ("{\n \"floor\": ]", "config.json:2:11: not JSON"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
