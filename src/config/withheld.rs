//! The variables that no child process inherits: those that options of engines expand.
//!
//! Collects their names from everything that configures engines, also those of other servers: one proxy's server must
//! not get the secret with which another proxy's engine can be answered. `transport::child` and the engine `command`
//! leave the variables out.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::engines::Engines;
use super::expand::variables_of;
use super::settings::Layer;

/// The variables, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Withheld {
    /// Each, with whether an option that is certainly secret uses it.
    variables: BTreeMap<String, bool>,
}

impl Withheld {
    /// Adds the variables in the options of a layer's engines, and in the token that is sent with questions.
    pub(super) fn add(&mut self, layer: &Layer) {
        let engines = layer.engines.iter().flat_map(Engines::expanded);
        let token = layer.question_token.iter().chain(&layer.decision_secret);
        let token = token.map(|token| (token.as_written(), true));
        for (text, is_secret) in engines.chain(token) {
            for name in variables_of(text).filter(|name| !is_needed(name)) {
                *self.variables.entry(name.to_owned()).or_default() |= is_secret;
            }
        }
    }

    /// Returns true if the variable holds a secret.
    pub(super) fn is_secret(&self, name: &str) -> bool {
        self.variables.get(name) == Some(&true)
    }

    /// Returns the names, in order.
    pub(super) fn into_names(self) -> Vec<OsString> {
        self.variables.into_keys().map(OsString::from).collect()
    }
}

/// Returns true for variables without which many programs do not start or do not find their files. They hold no secret,
/// and a program of an engine may well be given a longer `PATH`.
fn is_needed(name: &str) -> bool {
    const NEEDED: [&str; 12] = [
        "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "PWD", "SHELL", "TEMP", "TERM", "TMPDIR",
        "TZ", "USER",
    ];
    NEEDED.contains(&name) || name.starts_with("LC_") || name.starts_with("XDG_")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;
    use crate::config::environment::{Environment, Machine};
    use crate::config::load::load;
    use crate::config::resolve::Flags;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

    /// Returns what is withheld from the server `files` of this config file, with this user configuration at home, and
    /// maybe another one that a flag names.
    fn withheld(home: &str, project: &str, chosen: Option<&str>) -> Vec<OsString> {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            file
        };
        write(".config/approval-proxy/config.json", home);
        let variables = ["PATH", "LC_TIME", "A", "B", "C", "D", "E", "F", "G"];
        let mut variables: Vec<(&str, &str)> = variables.map(|name| (name, SECRET)).into();
        variables.push(("HOME", dir.path().to_str().unwrap()));
        let environment: Environment = variables.into_iter().collect();
        let environment = environment.on(Machine {
            home: Some(dir.path().to_owned()),
            config: Some(Path::new("/nowhere/config.json").to_owned()),
        });
        let mut flags = Flags::new(write("project.json", project));
        flags.layer.config = chosen.map(|text| write("chosen.json", text));
        load(flags, &environment).unwrap().engines.withheld
    }

    const PLAIN: &str = r#"{"mcpServers": {"files": {"command": "c"}}}"#;

    #[test]
    fn variables_of_all_engines_are_withheld_whichever_server_asks_them() {
        let home = r#"{
            "approvalProxy": {"approvalAuthToken": "${A}"},
            "servers": {
                "files": {"engines": ["inbox"]},
                "other": {"engines": [{"type": "webhook", "url": "https://a/${B}", "secret": "${C}"}]}
            },
            "floor": {"engines": ["inbox", {"type": "webhook", "name": "ops", "url": "https://a/",
                "headers": {"X-Key": "${D}"}}]}
        }"#;
        assert_eq!(withheld(home, PLAIN, None), ["A", "B", "C", "D"]);
        // A project that chooses another configuration learns nothing of the user's.
        assert_eq!(withheld(home, PLAIN, Some("{}")), ["A", "B", "C", "D"]);
        let project = r#"{"mcpServers": {"files": {"command": "c"}, "db": {"command": "d", "approvalRules":
            {"engines": [{"type": "command", "command": "x", "env": {"T": "${E}-${F:-no}", "U": "$${G}"}}]}}}}"#;
        assert_eq!(withheld("{}", project, None), ["E", "F"]);
    }

    #[test]
    fn no_program_loses_the_variables_that_it_needs_to_start() {
        let home = r#"{"approvalProxy": {"engines": [{"type": "command", "command": "x",
            "env": {"PATH": "/opt:${PATH}", "TIME": "${LC_TIME}", "FOLDER": "${HOME}/x", "T": "${A}"}}]}}"#;
        assert_eq!(withheld(home, PLAIN, None), ["A"]);
    }
}
