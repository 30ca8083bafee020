//! Tests the word lists and how names are split into words.
//!
//! For words against hints, see the tests of `decide`; for the lists on real names, see `field`.

use super::*;
use crate::policy::{Action, Decision, Listing, Mode, Policy, Reason, Risk, Rules};

// The lists of the contract.
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

fn decide(tool: &str) -> Decision {
    Policy::new(Rules::default())
        .unwrap()
        .decide(tool, Listing::Listed(None))
}

fn high_risk(name: &str) -> Option<&'static str> {
    Verbs::of(name).high_risk
}

fn write(name: &str) -> Option<&'static str> {
    Verbs::of(name).write
}

fn read(name: &str) -> Option<&'static str> {
    Verbs::of(name).read
}

#[test]
fn the_lists_hold_the_words_of_the_contract() {
    for (list, contract) in [(WRITE, CONTRACT_WRITE), (HIGH_RISK, CONTRACT_HIGH_RISK)] {
        for word in contract.split_whitespace() {
            assert!(list.contains(&word), "{word}");
        }
    }
}

#[test]
fn the_lists_are_sorted_and_hold_no_word_twice() {
    for list in [
        AT_THE_END,
        CONJUNCTIONS,
        HIGH_RISK,
        NOUN_LIKE,
        NOUNS,
        PROGRAMS,
        READ,
        READ_NOUNS,
        TRAILING,
        UNLIKE,
        WRITE,
    ] {
        assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
    }
}

// The first verb in a name decides, so a word in two lists would hide one of its meanings.
#[test]
fn no_word_both_changes_and_reads_or_is_skipped() {
    for list in [READ, READ_NOUNS, NOUNS] {
        for word in list {
            assert!(!WRITE.contains(word) && !HIGH_RISK.contains(word), "{word}");
        }
    }
    for list in [AT_THE_END, TRAILING] {
        for word in list {
            assert!(WRITE.contains(word), "{word}");
        }
    }
    for word in NOUN_LIKE {
        assert!(READ.contains(word), "{word}");
    }
}

#[test]
fn the_lists_in_the_documentation_are_the_same() {
    let text = include_str!("../../../docs/policy.md");
    for (heading, list) in [
        ("High-risk words", HIGH_RISK),
        ("Write words", WRITE),
        ("Read words", READ),
    ] {
        let (_, rest) = text.split_once(&format!("## {heading}\n\n")).unwrap();
        let (words, _) = rest.split_once(".\n\n").unwrap();
        let words: Vec<&str> = words.split('`').skip(1).step_by(2).collect();
        assert_eq!(words, list);
    }
}

// "6. `destructive`: … ask on a write token".
#[test]
fn every_write_word_gates_as_medium_unless_it_is_a_high_risk_word() {
    for word in WRITE {
        for name in [
            (*word).to_owned(),
            format!("{word}_it"),
            format!("it_{word}"),
        ] {
            let decision = decide(&name);
            assert_eq!(decision.action, Action::Ask, "{name}");
            if high_risk(word).is_none() {
                assert_eq!(decision.risk, Risk::Medium, "{name}");
                assert_eq!(decision.reason, Reason::WriteToken((*word).to_owned()));
            }
        }
    }
}

// Issue 14, point 7: "If the first word is a read word […], ignore write words after it, unless the
// name contains `and`, `or` or `then`".
#[test]
fn no_write_word_counts_after_get_unless_a_conjunction_joins_them() {
    for word in WRITE {
        if high_risk(word).is_some() {
            continue;
        }
        let name = format!("get_{word}_user");
        let passed = Reason::ReadWord("get".to_owned());
        assert_eq!(decide(&name).reason, passed, "{name}");
        for joint in ["and", "or", "then"] {
            let name = format!("get_{joint}_{word}_user");
            assert_eq!(decide(&name).action, Action::Ask, "{name}");
        }
    }
    for name in [
        "get_commit",
        "list_releases",
        "searchPosts",
        "find-tags",
        "query_runs",
    ] {
        assert_eq!(decide(name).action, Action::Pass, "{name}");
    }
    // A conjunction inside another word does not count.
    for name in ["get_order_tag", "get_brand_release", "get_sandbox_run"] {
        assert_eq!(decide(name).action, Action::Pass, "{name}");
    }
}

// "High-risk tokens (they gate too)"; issue 14: "high-risk words still count".
#[test]
fn every_high_risk_word_gates_as_high_at_any_position() {
    for word in HIGH_RISK {
        for name in [
            (*word).to_owned(),
            format!("get_{word}_user"),
            format!("list_{word}"),
        ] {
            let decision = decide(&name);
            assert_eq!(decision.action, Action::Ask, "{name}");
            assert_eq!(decision.risk, Risk::High, "{name}");
            assert_eq!(decision.reason, Reason::HighRiskToken((*word).to_owned()));
        }
    }
}

// Issue 14, point 7: these passed without hints.
#[test]
fn the_names_of_the_field_report_are_asked_about() {
    for name in [
        "hdel",
        "json_del",
        "powershell",
        "terminal",
        "reboot_instance",
        "flushall",
        "deleteuser",
        "s3delete",
        "disable2fa",
        "DELETEuser",
        "browser_evaluate",
        "get_or_create_user",
    ] {
        assert_eq!(decide(name).action, Action::Ask, "{name}");
    }
}

// Issue 14: "high-risk words of five letters and more count at either end of a run-together word".
#[test]
fn long_high_risk_words_count_at_either_end_of_a_run_together_word() {
    for word in HIGH_RISK.iter().filter(|word| word.len() >= 5) {
        for name in [
            format!("{word}zwq"),
            format!("zwq{word}"),
            format!("get_{word}zwq"),
            format!("ZWQ{word}"),
        ] {
            assert!(high_risk(&name).is_some(), "{name}");
        }
        // In the middle, or cut short, it does not count.
        assert_eq!(high_risk(&format!("zwq{word}zwq")), None, "{word}");
    }
    for name in [
        "skilled",
        "dropbox",
        "payload",
        "armor",
        "evaluation",
        "address",
        "model",
    ] {
        assert_eq!(Verbs::of(name), Verbs::default(), "{name}");
    }
}

#[test]
fn a_write_word_is_found_at_the_start_of_a_run_together_word() {
    for (name, word) in [
        ("createuser", "create"),
        ("executescript", "execute"),
        ("installpackage", "install"),
        ("hardreset", "reset"),
        ("usercreate", "create"),
    ] {
        assert_eq!(write(name), Some(word), "{name}");
    }
    for name in [
        "installation",
        "creator",
        "executive",
        "executable",
        "preset",
        "publisher",
    ] {
        assert_eq!(write(name), None, "{name}");
    }
}

// Issue 14: "inflections (`deletes`, `deleted`)".
#[test]
fn a_word_counts_in_its_other_forms() {
    for name in [
        "deletes",
        "deleted",
        "deleting",
        "deleter",
        "deletes_user",
        "userDeleted",
    ] {
        assert_eq!(high_risk(name), Some("delete"), "{name}");
    }
    for (name, word) in [
        ("dropped", "drop"),
        ("dropping", "drop"),
        ("destroys", "destroy"),
        ("remover", "remove"),
        ("killing", "kill"),
        ("get_purged", "purge"),
    ] {
        assert_eq!(high_risk(name), Some(word), "{name}");
    }
    for (name, word) in [
        ("applies_patch", "apply"),
        ("modified_item", "modify"),
        ("stopped", "stop"),
        ("updates_user", "update"),
        ("creating", "create"),
        ("pushes_branch", "push"),
    ] {
        assert_eq!(write(name), Some(word), "{name}");
    }
}

#[test]
fn nouns_that_look_like_a_form_do_not_count() {
    for name in [
        "user_settings",
        "formatter",
        "undeleted",
        "determinate",
        "project_updates",
        "shells",
        "shipping_address",
        "supported_formats",
    ] {
        assert_eq!(Verbs::of(name), Verbs::default(), "{name}");
    }
    assert_eq!(read("list_transfers"), Some("list"));
    assert_eq!(high_risk("list_transfers"), None);
}

#[test]
fn a_name_without_such_a_word_has_no_verbs() {
    for name in ["", "user", "_", "42", "allUsers", "settings", "frobnicate"] {
        assert_eq!(Verbs::of(name), Verbs::default(), "{name}");
    }
}

// "Tokens come from splitting snake, kebab, camel, Pascal, dots, slashes, colons, spaces".
#[test]
fn a_word_is_found_in_every_spelling_of_the_name() {
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
        "DELETEuser",
        "__delete__",
        "user(delete)",
        "delete2",
        "delete2_user",
        "user_delete42",
        "delete2User",
        "2delete",
        "s3delete",
        "dELETE_user",
        "DeLeTe",
        "user.dElEtE",
        "dElete2",
    ] {
        assert_eq!(high_risk(name), Some("delete"), "{name}");
    }
    for name in [
        "getUser",
        "get-user",
        "GetUser",
        "get.user",
        "GET_USER",
        "get2fa",
        "API-get-user",
    ] {
        assert_eq!(read(name), Some("get"), "{name}");
    }
    for name in ["setUser", "SET_user", "SETuser", "user.set", "sET_user"] {
        assert_eq!(write(name), Some("set"), "{name}");
    }
}

#[test]
fn a_word_in_pieces_is_not_found() {
    assert_eq!(high_risk("re2move"), None);
}

#[test]
fn nouns_before_a_read_word_are_skipped() {
    for (name, word) in [
        ("github_list_issues", "list"),
        ("slack_get_users", "get"),
        ("notion-search", "search"),
        ("API-get-user", "get"),
        ("pods_list", "list"),
        ("widgets_list", "list"),
        ("issue_read", "read"),
        ("pull_request_read", "read"),
        ("mongodb-logs", "logs"),
        ("db-stats", "stats"),
        ("browser_take_screenshot", "screenshot"),
        ("acme_list_tickets", "list"),
        ("acme-search", "search"),
        ("post_get", "get"),
    ] {
        assert_eq!(read(name), Some(word), "{name}");
        assert_eq!(write(name), None, "{name}");
    }
}

// Otherwise an unknown verb before a noun would look like a name that reads.
#[test]
fn an_unknown_word_is_not_skipped_if_the_read_word_may_be_a_noun() {
    for name in [
        "frobnicate_list",
        "zorch_view",
        "blorp_status",
        "frob_query",
        "frob",
    ] {
        assert_eq!(Verbs::of(name), Verbs::default(), "{name}");
    }
}

#[test]
fn a_verb_before_a_read_word_counts() {
    for name in [
        "mark_all_notifications_read",
        "create_list",
        "save_search",
        "share_list",
        "run_query",
        "browser_click",
        "issue_write",
        "rotate_logs",
        "pull_request_review_write",
        "start_search",
        "run_get_request",
        "set_get_path",
    ] {
        assert!(write(name).is_some(), "{name}");
        assert_eq!(read(name), None, "{name}");
    }
}

#[test]
fn a_read_word_that_is_part_of_another_verb_hides_nothing() {
    for name in [
        "check_out",
        "check_in",
        "search_replace",
        "find_replace",
        "list_append",
        "query_execute",
        "extract_archive",
        "compute_stop_instance",
        "head_turn",
        "dig_block",
        "recall_message",
    ] {
        let verbs = Verbs::of(name);
        assert_eq!(verbs.read, None, "{name}");
        let cautious = Rules {
            mode: Mode::Cautious,
            ..Rules::default()
        };
        let decision = Policy::new(cautious)
            .unwrap()
            .decide(name, Listing::Listed(None));
        assert_eq!(decision.action, Action::Ask, "{name}");
    }
}

#[test]
fn the_first_word_of_each_list_is_reported() {
    let verbs = Verbs::of("send_then_drop_then_kill");
    assert_eq!(verbs.write, Some("send"));
    assert_eq!(verbs.high_risk, Some("drop"));
}

#[test]
fn a_very_long_name_is_read_like_a_short_one() {
    let name = "getA".repeat(20_000);
    assert_eq!(read(&name), Some("get"));
    let name = "a".repeat(100_000);
    assert_eq!(Verbs::of(&name), Verbs::default());
}
