//! Finds our keys in places where they have no effect, because the operator believes that they work.
//!
//! A key that other clients use too is never an error.

use super::error::{Fault, Problem};
use super::json::Object;
use super::nearest::{edits, plain};
use super::section::Section;
use super::setting::Place;
use super::settings::SETTINGS;

/// Checks the keys of `object`, which is an entry or the object that contains the list of servers.
///
/// Returns the keys to warn about: they have no effect there, but may be meant for us.
///
/// # Errors
/// A misspelled section, or a key that only we have and that belongs in a section. The place is relative
/// to `object`.
pub(super) fn misplaced(object: &Object) -> Result<Vec<&str>, Fault> {
    let mut doubtful = Vec::new();
    for (key, _) in object.members() {
        match Misplaced::of(key) {
            Misplaced::None => {}
            Misplaced::Doubtful => doubtful.push(key),
            Misplaced::Ours(problem) => return Err(Fault::from(problem).under(key)),
        }
    }
    Ok(doubtful)
}

/// The verdict on a key in a place where only our two sections have an effect.
enum Misplaced {
    /// A section, or a key of another client.
    None,
    /// Possibly our key.
    Doubtful,
    /// Certainly our key.
    Ours(Problem),
}

impl Misplaced {
    fn of(key: &str) -> Misplaced {
        let sections = [Section::Rules, Section::Proxy].map(Section::name);
        if sections.contains(&key) {
            return Misplaced::None;
        }
        let is_typo = |section: &&str| edits(key, section) <= MAX_EDITS;
        if let Some(nearest) = sections.into_iter().find(is_typo) {
            return Misplaced::Ours(Problem::UnknownKey { nearest });
        }
        let spelled = plain(key);
        let mut settings = SETTINGS.iter();
        let is_meant = |key: &'static str| plain(key) == spelled;
        match settings.find(|setting| setting.key().is_some_and(is_meant)) {
            Some(ours) if OF_OTHERS.contains(&ours.name) => Misplaced::None,
            Some(ours) if OF_BOTH.contains(&ours.name) => Misplaced::Doubtful,
            Some(ours) => Misplaced::Ours(Problem::Misplaced {
                home: match ours.place {
                    Place::Proxy => Section::Proxy.home(),
                    Place::Rules | Place::Both | Place::Inbox | Place::Process => {
                        Section::Rules.home()
                    }
                },
            }),
            None if spelled.starts_with("approval") => Misplaced::Doubtful,
            None => Misplaced::None,
        }
    }
}

/// How many letters may differ in a misspelled section. `approvalPolicy`, which another client has,
/// differs in more.
const MAX_EDITS: usize = 2;

/// Our keys that other clients have in an entry. Ignoring them there lets no call through.
const OF_OTHERS: [&str; 2] = ["alwaysAllow", "timeout"];

/// Our keys that other clients may have chosen, too.
const OF_BOTH: [&str; 2] = ["mode", "engines"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(key: &str) -> String {
        match Misplaced::of(key) {
            Misplaced::None => "-".to_owned(),
            Misplaced::Doubtful => "?".to_owned(),
            Misplaced::Ours(problem) => problem.to_string(),
        }
    }

    #[test]
    fn a_misspelled_section_is_an_error() {
        for (key, meant) in [
            ("approvalRule", "approvalRules"),
            ("approval_rules", "approvalRules"),
            ("approvalRulez", "approvalRules"),
            ("ApprovalRules", "approvalRules"),
            ("approvelRules", "approvalRules"),
            ("aprovalRules", "approvalRules"),
            ("approval-proxy", "approvalProxy"),
            ("approvalProxi", "approvalProxy"),
            ("APPROVALPROXY", "approvalProxy"),
        ] {
            let expected = format!("unknown key; did you mean `{meant}`?");
            assert_eq!(verdict(key), expected, "{key}");
        }
    }

    #[test]
    fn a_key_that_only_we_have_is_an_error_outside_its_section() {
        let rules = "this key has no effect here; move it into `approvalRules` of a server";
        for key in [
            "alwaysDeny",
            "always_deny",
            "denyPatterns",
            "allowPatterns",
            "timeoutAction",
            "customAnnotations",
            "approvalTtlSeconds",
        ] {
            assert_eq!(verdict(key), rules, "{key}");
        }
        let proxy = "this key has no effect here; move it into `approvalProxy`";
        for key in ["dryRun", "auditLog", "defaultTimeout", "DRY-RUN"] {
            assert_eq!(verdict(key), proxy, "{key}");
        }
    }

    // contract.md, "Configuration": "Keys that other clients put into an entry are left alone."
    #[test]
    fn keys_of_other_clients_are_left_alone() {
        for key in [
            "command",
            "alwaysAllow",
            "timeout",
            "autoApprove",
            "disabled",
            "disabledTools",
            "description",
            "initTimeout",
            "trust",
            "approve",
            "rules",
            "proxy",
            "",
            "approvalRules",
            "approvalProxy",
        ] {
            assert_eq!(verdict(key), "-", "{key}");
        }
        for key in ["mode", "Mode", "engines", "approvalPolicy", "approval_mode"] {
            assert_eq!(verdict(key), "?", "{key}");
        }
    }

    proptest! {
        #[test]
        fn every_key_of_ours_is_noticed_in_any_case(index in 0..SETTINGS.len(), upper in any::<u64>()) {
            prop_assume!(SETTINGS[index].key().is_some());
            let name = SETTINGS[index].name;
            prop_assume!(!OF_OTHERS.contains(&name));
            let cased = name.chars().enumerate().map(|(at, c)| match upper >> (at % 64) & 1 {
                1 => c.to_ascii_uppercase(),
                _ => c.to_ascii_lowercase(),
            });
            prop_assert_ne!(verdict(&cased.collect::<String>()), "-");
        }
    }
}
