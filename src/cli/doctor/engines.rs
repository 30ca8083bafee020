//! The engines: who is asked, in which order, and whether a verdict from there can count.

use super::report::{Check, Finding};
use crate::app::assurance_of;
use crate::config::{InboxSettings, Resolved};
use crate::engines::inbox::passphrase::PublicKey;
use crate::gate::{Engine, TimeoutAction};
use crate::sys::state_dir::{StateDir, suggested_command};

/// Checks the engines of servers without settings of their own.
pub(super) fn check(config: Option<&Resolved>) -> Vec<Finding> {
    let Some(config) = config else {
        return vec![Finding::advice(
            Check::Engines,
            "the engines cannot be checked, because the configuration cannot be read",
            "correct the configuration first; see above",
        )];
    };
    let settings = &config.settings;
    let is_signed = is_signed(&config.inbox);
    let engines: Vec<String> = (settings.channels.iter())
        .map(|channel| {
            let assurance = assurance_of(channel, is_signed);
            match channel.engine {
                Engine::Elicitation => {
                    format!("`elicitation`, the client's own prompt (up to {assurance})")
                }
                Engine::OutOfBand(engine) => format!("`{}` (up to {assurance})", engine.name()),
            }
        })
        .collect();
    let what = format!(
        "a question goes to these engines, in order: {}",
        engines.join(", ")
    );
    let mut findings = vec![Finding::ok(Check::Engines, what)];
    findings.extend(out_of_reach(config, is_signed));
    let has_other = (settings.channels.iter()).any(|channel| channel.engine != Engine::Elicitation);
    if !has_other {
        findings.push(Finding::advice(
            Check::Engines,
            "only the client is asked, so a call is refused if the client shows no prompt",
            "add `inbox` to `engines`",
        ));
    }
    findings.extend(opens_gate(config));
    findings
}

/// Returns a problem if no engine reaches the required assurance.
pub(super) fn out_of_reach(config: &Resolved, is_signed: bool) -> Option<Finding> {
    let settings = &config.settings;
    let required = settings.require_assurance?;
    let mut channels = settings.channels.iter();
    let is_reached = channels.any(|channel| settings.counts(assurance_of(channel, is_signed)));
    (!is_reached).then(|| {
        let what = format!(
            "`requireAssurance` is `{required}`, which no engine reaches, so every call that needs an approval is refused"
        );
        let command = suggested_command("inbox --set-passphrase", config.inbox.state_dir.as_deref());
        let fix = format!("add `inbox` to `engines` and set a passphrase with `{command}`, or require less");
        Finding::problem(Check::Engines, what, fix)
    })
}

/// Returns advice about settings that let calls run although nobody has approved them.
pub(super) fn opens_gate(config: &Resolved) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |what: &str, fix: &str| findings.push(Finding::advice(Check::Engines, what, fix));
    if config.rules.allow.iter().any(|pattern| pattern == "*") {
        add(
            "the pattern `*` lets every call pass without a question",
            "allow only the tools that need no approval",
        );
    }
    if config.settings.timeout_action == TimeoutAction::Approve {
        add(
            "`timeoutAction` is `approve`, so a call that nobody answers runs",
            "use `deny` or `park`",
        );
    }
    findings
}

/// Returns true if verdicts of the inbox need the passphrase.
pub(in crate::cli) fn is_signed(inbox: &InboxSettings) -> bool {
    let folder = inbox.state_dir.as_deref().filter(|folder| folder.is_dir());
    let dir = folder.and_then(|folder| StateDir::open(folder).ok());
    dir.is_some_and(|dir| PublicKey::load(&dir).is_ok_and(|key| key.is_some()))
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::super::usual_config;
    use super::*;
    use crate::config::Environment;

    fn found(variables: &[(&str, &str)]) -> Vec<Finding> {
        let environment: Environment = variables.iter().copied().collect();
        check(Some(&usual_config(&environment).unwrap()))
    }

    fn has(found: &[Finding], level: Level, says: &str) -> bool {
        (found.iter()).any(|found| found.level == level && found.what.contains(says))
    }

    #[test]
    fn engines_are_listed_with_what_they_reach() {
        let found = found(&[("HOME", "/nonexistent")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("`elicitation`"), "{found:?}");
        assert!(
            found[0].what.contains("`inbox` (up to inbox-session)"),
            "{found:?}"
        );
    }

    #[test]
    fn an_assurance_that_nobody_reaches_is_a_problem_and_open_gates_are_advice() {
        let required = ("APPROVAL_REQUIRE_ASSURANCE", "inbox-passphrase");
        assert!(has(
            &found(&[required]),
            Level::Problem,
            "no engine reaches"
        ));
        let alone = found(&[("APPROVAL_ENGINES", "elicitation")]);
        assert!(has(&alone, Level::Advice, "only the client"), "{alone:?}");
        let open = found(&[
            ("APPROVAL_TIMEOUT_ACTION", "approve"),
            ("APPROVAL_ALLOW", "*"),
        ]);
        assert!(has(&open, Level::Advice, "nobody answers"), "{open:?}");
    }

    #[test]
    fn without_a_configuration_they_are_not_checked() {
        assert_eq!(check(None)[0].level, Level::Advice);
    }
}
