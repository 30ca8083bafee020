//! Proves the word lists and how names are cut into words.
//!
//! What a word leads to beside hints is proved in `engine`.

use super::*;
use crate::policy::{Action, Decision, Listing, Policy, Reason, Risk, Rules};

// The lists of the contract, word for word and in its order.
const CONTRACT_WRITE: &str = "write create update delete remove move rename insert append set put \
    post patch execute exec run trash kill drop truncate clear reset destroy overwrite replace \
    modify edit push deploy upload import send publish commit merge checkout tag release rollback \
    restore wipe purge format mount enable disable start stop restart terminate shutdown install \
    uninstall add save store submit \
    migrate apply upgrade downgrade revoke grant approve transfer pay charge refund withdraw \
    archive cancel chmod chown";
const CONTRACT_HIGH_RISK: &str = "delete destroy remove truncate drop wipe purge kill terminate \
    shutdown rm format uninstall \
    unlink rmdir erase shell bash sudo eval transfer pay withdraw revoke";

fn sorted(words: &str) -> Vec<&str> {
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.sort_unstable();
    words
}

fn decide(tool: &str) -> Decision {
    Policy::new(Rules::default())
        .unwrap()
        .decide(tool, Listing::Listed(None))
}

fn high_risk(name: &str) -> Option<&'static str> {
    Verbs::of(name).high_risk
}

// "Write tokens: write create update … chmod chown." "High-risk tokens …: delete destroy …"
// Equality also proves that the lists are sorted and hold nothing else.
#[test]
fn the_lists_are_those_of_the_contract_and_sorted() {
    assert_eq!(WRITE, sorted(CONTRACT_WRITE));
    assert_eq!(HIGH_RISK, sorted(CONTRACT_HIGH_RISK));
}

#[test]
fn the_lists_in_the_documentation_are_the_same() {
    let text = include_str!("../../../docs/policy.md");
    for (heading, list) in [("High-risk words", HIGH_RISK), ("Write words", WRITE)] {
        let (_, rest) = text.split_once(&format!("## {heading}\n\n")).unwrap();
        let (words, _) = rest.split_once(".\n\n").unwrap();
        let words: Vec<&str> = words.split('`').skip(1).step_by(2).collect();
        assert_eq!(words, list);
    }
}

// "6. `destructive`: … ask on a write token".
#[test]
fn every_write_word_gates_as_medium_unless_it_is_a_high_risk_word() {
    for word in CONTRACT_WRITE.split_whitespace() {
        for name in [word.to_owned(), format!("get_{word}_user")] {
            let decision = decide(&name);
            assert_eq!(decision.action, Action::Ask, "{name}");
            if !CONTRACT_HIGH_RISK.split_whitespace().any(|w| w == word) {
                assert_eq!(decision.risk, Risk::Medium, "{name}");
                assert_eq!(decision.reason, Reason::WriteToken(word.to_owned()));
            }
        }
    }
}

// "High-risk tokens (they gate too)".
#[test]
fn every_high_risk_word_gates_as_high() {
    for word in CONTRACT_HIGH_RISK.split_whitespace() {
        for name in [word.to_owned(), format!("get_{word}_user")] {
            let decision = decide(&name);
            assert_eq!(decision.action, Action::Ask, "{name}");
            assert_eq!(decision.risk, Risk::High, "{name}");
            assert_eq!(decision.reason, Reason::HighRiskToken(word.to_owned()));
        }
    }
}

#[test]
fn a_name_without_such_a_word_has_no_verbs() {
    for name in ["", "user", "_", "42", "allUsers", "settings", "runner"] {
        assert_eq!(Verbs::of(name), Verbs::default(), "{name}");
    }
}

// "Tokens come from splitting snake, kebab, camel, Pascal, dots, slashes, colons, spaces".
#[test]
fn a_word_is_found_however_the_name_is_spelt() {
    for name in [
        "user_delete",
        "user-delete",
        "userDelete",
        "deleteUser",
        "DeleteUser",
        "user.delete",
        "user/delete",
        "user:delete",
        "user delete",
        "USER_DELETE",
        "HTTPDelete",
        "__delete__",
        "user(delete)",
    ] {
        assert_eq!(high_risk(name), Some("delete"), "{name}");
    }
}

// "trailing digits fall off a token".
#[test]
fn trailing_digits_fall_off() {
    for name in ["delete2", "delete2_user", "user_delete42", "delete2User"] {
        assert_eq!(high_risk(name), Some("delete"), "{name}");
    }
}

// Only trailing ones do.
#[test]
fn other_digits_stay() {
    assert_eq!(high_risk("2delete"), None);
    assert_eq!(high_risk("del2ete"), None);
}

#[test]
fn a_word_does_not_hide_behind_odd_capitals() {
    for name in ["dELETE_user", "DeLeTe", "user.dElEtE", "dElete2"] {
        assert_eq!(high_risk(name), Some("delete"), "{name}");
    }
}

#[test]
fn a_word_inside_a_longer_word_does_not_count() {
    for name in ["undeleted", "payload", "address", "formatter", "dropbox"] {
        assert_eq!(Verbs::of(name), Verbs::default(), "{name}");
    }
}

#[test]
fn the_first_word_of_each_list_is_reported() {
    let verbs = Verbs::of("send_then_drop_then_kill");
    assert_eq!(verbs.write, Some("send"));
    assert_eq!(verbs.high_risk, Some("drop"));
}
