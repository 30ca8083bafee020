//! The user configuration and its floor, and the environment variables of ours.

use super::report::{Check, Finding};
use crate::config::{ConfigError, Environment, Resolved, user_config_files};
use crate::sys::with_causes;

/// Checks the configuration that every server gets. `config` is what came of it.
pub(super) fn check(
    config: &Result<Resolved, ConfigError>,
    environment: &Environment,
) -> Vec<Finding> {
    let config = match config {
        Ok(config) => config,
        Err(error) => return vec![Finding::of_error(Check::Configuration, &with_causes(error))],
    };
    let files = match user_config_files(environment) {
        Ok(files) => files,
        Err(error) => {
            return vec![Finding::of_error(
                Check::Configuration,
                &with_causes(&error),
            )];
        }
    };
    let mut findings: Vec<Finding> = (files.iter())
        .map(|file| {
            let floor = match file.has_floor {
                true => "; it has a floor, below which no server can go",
                false => "",
            };
            let what = format!("`{}` is valid{floor}", file.path.display());
            Finding::ok(Check::Configuration, what)
        })
        .collect();
    if findings.is_empty() {
        let what = "there is no user configuration, so the defaults hold";
        findings.push(Finding::ok(Check::Configuration, what));
    }
    findings.extend(config.warnings.iter().map(|warning| of_warning(warning)));
    findings
}

/// A warning ends with what to do, or speaks for itself.
pub(super) fn of_warning(warning: &str) -> Finding {
    let (what, fix) = warning
        .rsplit_once("; ")
        .unwrap_or((warning, "change that setting, unless it is meant"));
    Finding::advice(Check::Configuration, what, fix)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::report::Level;
    use super::super::usual_config;
    use super::*;

    fn found(text: &str) -> Vec<Finding> {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/approval-proxy");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("config.json");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let environment: Environment = [("HOME", home.path().to_str().unwrap())]
            .into_iter()
            .collect();
        check(&usual_config(&environment), &environment)
    }

    #[test]
    fn a_mistake_is_a_problem_with_its_place() {
        let found = found(r#"{"approvalProxy": {"explainDecision": true}}"#);
        assert_eq!(found[0].level, Level::Problem);
        assert!(
            found[0]
                .what
                .contains("config.json: /approvalProxy/explainDecision"),
            "{found:?}"
        );
        assert!(
            found[0]
                .fix
                .as_ref()
                .unwrap()
                .contains("`explainDecisions`"),
            "{found:?}"
        );
    }

    #[test]
    fn a_floor_is_named_and_open_gates_are_advice() {
        let with_floor = found(r#"{"floor": {"mode": "all"}}"#);
        assert!(
            with_floor[0].what.contains("it has a floor"),
            "{with_floor:?}"
        );
        let open = found(r#"{"servers": {"*": {"mode": "none"}}}"#);
        assert_eq!(open[1].level, Level::Advice, "{open:?}");
        assert!(open[1].what.contains("mode `none`"), "{open:?}");
    }
}
