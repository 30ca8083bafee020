//! Tests the order of the rules, sentence by sentence of the contract.
//!
//! Pattern syntax and word lists have their own tests.

use proptest::prelude::*;

use super::*;
use crate::policy::RuleCode;

fn strings(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|&entry| entry.to_owned()).collect()
}

fn policy(mode: Mode) -> Policy {
    with_lists(mode, &[], &[])
}

fn with_lists(mode: Mode, allow: &[&str], deny: &[&str]) -> Policy {
    Policy::new(Rules {
        mode,
        allow: strings(allow),
        deny: strings(deny),
        ..Rules::default()
    })
    .unwrap()
}

fn with_operator(mode: Mode, tool: &str, hints: ToolAnnotations) -> Policy {
    Policy::new(Rules {
        mode,
        custom_annotations: BTreeMap::from([(tool.to_owned(), hints)]),
        ..Rules::default()
    })
    .unwrap()
}

fn none() -> ToolAnnotations {
    ToolAnnotations::new()
}

fn decision(action: Action, risk: Risk, reason: Reason) -> Decision {
    Decision {
        action,
        risk,
        reason,
    }
}

fn listed(policy: &Policy, tool: &str, upstream: ToolAnnotations) -> Decision {
    policy.decide(tool, Listing::Listed(Some(&upstream)))
}

fn bare(policy: &Policy, tool: &str) -> Decision {
    policy.decide(tool, Listing::Listed(None))
}

fn high_word(word: &str) -> Decision {
    ask(Risk::High, Reason::HighRiskToken(word.to_owned()))
}

fn write_word(word: &str) -> Decision {
    ask(Risk::Medium, Reason::WriteToken(word.to_owned()))
}

// "1. deny (exact or glob) → **block**." "first match wins".
#[test]
fn deny_blocks_before_allow_and_every_mode() {
    for mode in Mode::ALL {
        for entry in ["Get_User", "get_*"] {
            let policy = with_lists(mode, &["get_user", "*"], &[entry]);
            let blocked = |risk| decision(Action::Block, risk, Reason::Denied(entry.to_owned()));
            assert_eq!(bare(&policy, "get_user"), blocked(Risk::Unknown));
            let destructive = none().destructive(true);
            assert_eq!(
                listed(&policy, "get_user", destructive),
                blocked(Risk::High)
            );
            let unlisted = policy.decide("get_user", Listing::Unlisted);
            assert_eq!(unlisted, blocked(Risk::High));
            let by_name = policy.decide_by_name("get_user");
            assert_eq!(by_name, Some(blocked(Risk::Unknown)));
        }
    }
}

// "2. allow (exact or glob) → **pass**."
#[test]
fn allow_passes_before_every_mode_hint_and_token() {
    for mode in Mode::ALL {
        for entry in ["Delete_User", "delete_*"] {
            let policy = with_lists(mode, &[entry], &["other"]);
            let passed = pass(Risk::High, Reason::Allowed(entry.to_owned()));
            let destructive = none().destructive(true);
            assert_eq!(listed(&policy, "delete_user", destructive), passed);
            assert_eq!(policy.decide("delete_user", Listing::Unlisted), passed);
            assert_eq!(policy.decide_by_name("delete_user"), Some(passed));
        }
    }
}

// "3. mode `none` → pass".
#[test]
fn mode_none_passes() {
    let policy = policy(Mode::None);
    for (tool, risk) in [
        ("delete_user", Risk::High),
        ("send_mail", Risk::Medium),
        ("get_user", Risk::Unknown),
        ("gét", Risk::High),
    ] {
        let passed = |risk| pass(risk, Reason::Mode(Mode::None));
        assert_eq!(policy.decide_by_name(tool), Some(passed(risk)), "{tool}");
        assert_eq!(bare(&policy, tool), passed(risk), "{tool}");
        // "Risk: `high` (destructiveHint or high-risk token or unlisted)".
        let destructive = none().destructive(true);
        assert_eq!(
            listed(&policy, tool, destructive),
            passed(Risk::High),
            "{tool}"
        );
        let unlisted = policy.decide(tool, Listing::Unlisted);
        assert_eq!(unlisted, passed(Risk::High), "{tool}");
    }
}

// "`all` → **ask**." "Risk: `high` (destructiveHint or high-risk token or unlisted), `medium`
// (write token), `low` (mode all), else `unknown`."
#[test]
fn mode_all_asks_and_names_the_risk() {
    let policy = policy(Mode::All);
    let asked = |risk| ask(risk, Reason::Mode(Mode::All));
    assert_eq!(bare(&policy, "get_user"), asked(Risk::Low));
    assert_eq!(bare(&policy, "send_mail"), asked(Risk::Medium));
    assert_eq!(bare(&policy, "delete_user"), asked(Risk::High));
    let unlisted = policy.decide("get_user", Listing::Unlisted);
    assert_eq!(unlisted, asked(Risk::High));
    for (hints, risk) in [
        (none().destructive(true), Risk::High),
        (none().read_only(false), Risk::Medium),
        (none().read_only(false).destructive(false), Risk::Low),
        (none().read_only(true), Risk::Low),
    ] {
        assert_eq!(listed(&policy, "get_user", hints), asked(risk));
    }
}

// "4. a tool that the upstream does not list → ask (what is unknown is treated as destructive,
// risk high)."
#[test]
fn an_unlisted_tool_is_asked_about_as_high_risk() {
    for mode in [Mode::Destructive, Mode::Cautious, Mode::Annotated] {
        let unlisted = ask(Risk::High, Reason::Unlisted);
        assert_eq!(policy(mode).decide("get_user", Listing::Unlisted), unlisted);
        let unknown = ask(Risk::High, Reason::ListUnknown);
        assert_eq!(policy(mode).decide("get_user", Listing::Unknown), unknown);
        // Rule 4 comes before all hints, also the operator's.
        let vouched = with_operator(mode, "get_user", none().read_only(true));
        assert_eq!(vouched.decide("get_user", Listing::Unlisted), unlisted);
    }
}

// "5. `annotated` → ask if `destructiveHint` is true, else pass."
#[test]
fn mode_annotated_goes_by_the_destructive_hint_alone() {
    let policy = policy(Mode::Annotated);
    let asked = ask(Risk::High, Reason::DestructiveHint);
    let passed = |risk| pass(risk, Reason::Mode(Mode::Annotated));
    assert_eq!(listed(&policy, "get_user", none().destructive(true)), asked);
    let both = none().destructive(true).read_only(true);
    assert_eq!(listed(&policy, "get_user", both), asked);
    let additive = none().destructive(false);
    assert_eq!(listed(&policy, "get_user", additive), passed(Risk::Unknown));
    assert_eq!(bare(&policy, "get_user"), passed(Risk::Unknown));
    assert_eq!(bare(&policy, "send_mail"), passed(Risk::Medium));
    assert_eq!(bare(&policy, "delete_user"), passed(Risk::High));
    let writes = none().read_only(false);
    assert_eq!(listed(&policy, "get_user", writes), passed(Risk::Medium));
}

// "6. `destructive`: ask if `destructiveHint` is true".
#[test]
fn mode_destructive_asks_about_a_destructive_hint_first() {
    let policy = policy(Mode::Destructive);
    for hints in [
        none().destructive(true),
        none().destructive(true).read_only(true),
        none().destructive(true).read_only(false),
    ] {
        for tool in ["get_user", "delete_user", "send_mail"] {
            assert_eq!(
                listed(&policy, tool, hints.clone()),
                ask(Risk::High, Reason::DestructiveHint)
            );
        }
    }
}

// "ask on a high-risk token". "An upstream's own `readOnlyHint` clears write tokens, never
// high-risk ones: hints come from a party that is not trusted."
#[test]
fn no_hint_of_the_upstream_clears_a_high_risk_token() {
    let policy = policy(Mode::Destructive);
    for hints in [
        none(),
        none().read_only(true),
        none().destructive(false),
        none().read_only(true).destructive(false),
    ] {
        assert_eq!(
            listed(&policy, "send_and_delete", hints),
            high_word("delete")
        );
    }
}

// "`readOnlyHint` true → pass; ask on a write token". "An upstream's own `readOnlyHint` clears
// write tokens".
#[test]
fn a_read_only_hint_of_the_upstream_clears_a_write_token() {
    let policy = policy(Mode::Destructive);
    assert_eq!(bare(&policy, "send_mail"), write_word("send"));
    assert_eq!(
        listed(&policy, "send_mail", none().read_only(true)),
        pass(Risk::Unknown, Reason::ReadOnlyHint)
    );
    for hints in [
        none().read_only(false).destructive(false),
        none().destructive(false),
    ] {
        assert_eq!(listed(&policy, "send_mail", hints), write_word("send"));
    }
    // Issue 14, point 9: "hints come before words, except high-risk ones".
    let writes = none().read_only(false);
    let asked = ask(Risk::Medium, Reason::NotReadOnly);
    assert_eq!(listed(&policy, "send_mail", writes), asked);
}

// "else pass."
#[test]
fn mode_destructive_passes_if_nothing_suggests_a_change() {
    let policy = policy(Mode::Destructive);
    let passed = pass(Risk::Unknown, Reason::Harmless);
    assert_eq!(bare(&policy, "user"), passed);
    let reads = pass(Risk::Unknown, Reason::ReadWord("get".to_owned()));
    assert_eq!(bare(&policy, "get_user"), reads);
    assert_eq!(listed(&policy, "get_user", none()), reads);
    // Rule `read-word` applies only without hints.
    let additive = none().destructive(false);
    assert_eq!(listed(&policy, "get_user", additive), passed);
}

// "An explicit `readOnlyHint: false` without `destructiveHint: false` is asked about too, risk
// medium (that is the specification's default reading)."
#[test]
fn an_explicit_not_read_only_is_asked_about_unless_it_is_not_destructive() {
    let policy = policy(Mode::Destructive);
    assert_eq!(
        listed(&policy, "get_user", none().read_only(false)),
        ask(Risk::Medium, Reason::NotReadOnly)
    );
    let additive = none().read_only(false).destructive(false);
    assert_eq!(
        listed(&policy, "get_user", additive),
        pass(Risk::Unknown, Reason::Harmless)
    );
}

// "An operator's `customAnnotations` lie over the upstream's hints and win".
#[test]
fn the_operators_hints_win_field_by_field() {
    let dangerous = with_operator(
        Mode::Destructive,
        "Get_User",
        none().read_only(false).destructive(true),
    );
    assert_eq!(
        listed(&dangerous, "gET_uSER", none().read_only(true)),
        ask(Risk::High, Reason::OperatorHint(Hint::Destructive))
    );
    // Field by field: one field from the operator, the other from the upstream.
    let additive = with_operator(Mode::Destructive, "get_user", none().destructive(false));
    assert_eq!(
        listed(
            &additive,
            "get_user",
            none().destructive(true).read_only(false)
        ),
        pass(Risk::Unknown, Reason::OperatorHint(Hint::NotDestructive))
    );
    let writing = with_operator(Mode::Destructive, "get_user", none().read_only(false));
    assert_eq!(
        listed(&writing, "get_user", none().read_only(true)),
        ask(Risk::Medium, Reason::OperatorHint(Hint::NotReadOnly))
    );
    assert_eq!(
        bare(&additive, "other"),
        pass(Risk::Unknown, Reason::Harmless)
    );
}

// "an operator's `readOnlyHint: true` clears every token and hint."
#[test]
fn the_operators_read_only_clears_every_token_and_hint() {
    let upstream = none().destructive(true).read_only(false);
    for tool in ["delete_user", "send_mail", "get_user"] {
        let vouch = |mode| with_operator(mode, tool, none().read_only(true));
        assert_eq!(
            listed(&vouch(Mode::Destructive), tool, upstream.clone()),
            pass(Risk::Unknown, Reason::OperatorHint(Hint::ReadOnly))
        );
        assert_eq!(
            listed(&vouch(Mode::Annotated), tool, upstream.clone()),
            pass(Risk::Unknown, Reason::OperatorHint(Hint::ReadOnly))
        );
        assert_eq!(
            listed(&vouch(Mode::All), tool, upstream.clone()),
            ask(Risk::Low, Reason::Mode(Mode::All))
        );
    }
}

#[test]
fn the_operators_destructive_hint_beats_their_read_only_hint() {
    let contradiction = none().read_only(true).destructive(true);
    let policy = with_operator(Mode::Destructive, "get_user", contradiction);
    assert_eq!(
        bare(&policy, "get_user"),
        ask(Risk::High, Reason::OperatorHint(Hint::Destructive))
    );
}

// Issue 14, point 8.
#[test]
fn mode_cautious_asks_about_tools_not_known_to_be_read_only() {
    let policy = policy(Mode::Cautious);
    let reads = || pass(Risk::Unknown, Reason::ReadWord("get".to_owned()));
    let unknown = || ask(Risk::Unknown, Reason::UnknownVerb);
    let not_read_only = || ask(Risk::Medium, Reason::NotReadOnly);
    let read_only = || pass(Risk::Unknown, Reason::ReadOnlyHint);
    let destructive = || ask(Risk::High, Reason::DestructiveHint);
    for (tool, hints, expected) in [
        ("get_user", none(), reads()),
        ("get_user", none().idempotent(true), reads()),
        ("get_user", none().read_only(true), read_only()),
        (
            "get_user",
            none().read_only(true).destructive(false),
            read_only(),
        ),
        ("send_mail", none().read_only(true), read_only()),
        ("frobnicate", none().read_only(true), read_only()),
        ("get_user", none().destructive(false), unknown()),
        ("get_user", none().read_only(false), not_read_only()),
        (
            "get_user",
            none().read_only(false).destructive(false),
            not_read_only(),
        ),
        ("send_mail", none().read_only(false), not_read_only()),
        ("get_user", none().destructive(true), destructive()),
        (
            "get_user",
            none().destructive(true).read_only(true),
            destructive(),
        ),
        ("delete_user", none().read_only(true), high_word("delete")),
        ("get_deleted", none(), high_word("delete")),
        ("get_commit", none(), reads()),
        ("get_or_create_user", none(), write_word("create")),
        (
            "issue_read",
            none(),
            pass(Risk::Unknown, Reason::ReadWord("read".to_owned())),
        ),
        ("send_mail", none(), write_word("send")),
        ("frobnicate", none(), unknown()),
        ("user", none(), unknown()),
        ("", none(), unknown()),
    ] {
        assert_eq!(listed(&policy, tool, hints), expected, "{tool}");
    }
    assert_eq!(bare(&policy, "get_user"), reads());
    assert_eq!(bare(&policy, "frobnicate"), unknown());
}

#[test]
fn the_operators_hints_count_in_mode_cautious_and_are_named() {
    for (hints, upstream, expected) in [
        (
            none().read_only(true),
            none(),
            pass(Risk::Unknown, Reason::OperatorHint(Hint::ReadOnly)),
        ),
        (
            none().read_only(false),
            none().read_only(true),
            ask(Risk::Medium, Reason::OperatorHint(Hint::NotReadOnly)),
        ),
        (
            none().destructive(true),
            none().read_only(true),
            ask(Risk::High, Reason::OperatorHint(Hint::Destructive)),
        ),
    ] {
        let policy = with_operator(Mode::Cautious, "get_user", hints);
        assert_eq!(listed(&policy, "get_user", upstream), expected);
    }
}

// Issue 14, point 9.
#[test]
fn the_operators_hint_is_the_rule_only_if_it_changed_something() {
    let additive = with_operator(Mode::Annotated, "t", none().destructive(false));
    let code = |upstream| listed(&additive, "t", upstream).reason.code();
    assert_eq!(code(none().destructive(true)), RuleCode::OperatorHint);
    assert_eq!(code(none()), RuleCode::Default);
    let additive = with_operator(Mode::Destructive, "t", none().destructive(false));
    let code = |upstream| listed(&additive, "t", upstream).reason.code();
    assert_eq!(code(none().destructive(true)), RuleCode::OperatorHint);
    assert_eq!(code(none().read_only(false)), RuleCode::OperatorHint);
    assert_eq!(code(none().read_only(true)), RuleCode::ReadOnlyHint);
    assert_eq!(code(none()), RuleCode::Default);
}

// Only `readOnlyHint: true` clears tokens.
#[test]
fn other_hints_of_the_operator_clear_no_token() {
    for hints in [none().destructive(false), none().read_only(false), none()] {
        let policy = with_operator(Mode::Destructive, "delete_user", hints);
        assert_eq!(bare(&policy, "delete_user"), high_word("delete"));
    }
}

// "A tool name with characters outside printable ASCII is never allowed by a glob and is asked
// about as high risk."
#[test]
fn an_unreadable_name_is_asked_about_as_high_risk() {
    for mode in [
        Mode::Destructive,
        Mode::Cautious,
        Mode::All,
        Mode::Annotated,
    ] {
        for tool in ["gét", "get\u{200b}user", "get\nuser", "\u{7f}"] {
            let asked = ask(Risk::High, Reason::UnreadableName);
            let policy = with_lists(mode, &["*", "g*"], &[]);
            assert_eq!(
                listed(&policy, tool, none().read_only(true)),
                asked,
                "{tool:?}"
            );
            assert_eq!(policy.decide(tool, Listing::Unlisted), asked);
            assert_eq!(policy.decide_by_name(tool), None);
            let vouched = with_operator(mode, tool, none().read_only(true));
            assert_eq!(bare(&vouched, tool), asked);
        }
    }
}

#[test]
fn an_unreadable_name_is_still_blocked_and_still_allowed_by_its_exact_entry() {
    let denied = with_lists(Mode::None, &["gét"], &["g?t"]);
    assert_eq!(
        bare(&denied, "gét"),
        decision(Action::Block, Risk::High, Reason::Denied("g?t".to_owned()))
    );
    let allowed = with_lists(Mode::All, &["gét"], &[]);
    assert_eq!(
        bare(&allowed, "gét"),
        pass(Risk::High, Reason::Allowed("gét".to_owned()))
    );
}

#[test]
fn every_printable_ascii_character_is_readable() {
    let printable: String = (' '..='~').collect();
    let decision = bare(&policy(Mode::Annotated), &printable);
    assert_eq!(decision.reason, Reason::Mode(Mode::Annotated));
}

#[test]
fn the_name_alone_never_asks() {
    for mode in [
        Mode::Destructive,
        Mode::Cautious,
        Mode::All,
        Mode::Annotated,
    ] {
        for tool in ["get_user", "delete_user", ""] {
            assert_eq!(policy(mode).decide_by_name(tool), None);
        }
    }
}

// The risk of passed and blocked calls uses only what is known without the list.
#[test]
fn the_risk_of_a_blocked_call_uses_the_operators_hints() {
    for (tool, hints, risk) in [
        ("get_user", none().destructive(true), Risk::High),
        ("get_user", none().read_only(false), Risk::Medium),
        ("delete_user", none().read_only(true), Risk::Unknown),
        ("delete_user", none(), Risk::High),
        ("send_mail", none(), Risk::Medium),
    ] {
        let policy = Policy::new(Rules {
            deny: strings(&["*"]),
            custom_annotations: BTreeMap::from([(tool.to_owned(), hints)]),
            ..Rules::default()
        })
        .unwrap();
        assert_eq!(bare(&policy, tool).risk, risk, "{tool}");
    }
}

#[test]
fn hints_are_merged_for_the_person() {
    let operator = ToolAnnotations {
        title: Some("Ours".to_owned()),
        ..none().read_only(false).idempotent(true)
    };
    let upstream = ToolAnnotations {
        title: Some("Theirs".to_owned()),
        read_only_hint: Some(true),
        destructive_hint: Some(true),
        idempotent_hint: Some(false),
        open_world_hint: Some(false),
    };
    let policy = with_operator(Mode::Destructive, "Get_User", operator);
    assert_eq!(
        policy.hints("get_user", Some(&upstream)),
        ToolAnnotations {
            title: Some("Ours".to_owned()),
            read_only_hint: Some(false),
            destructive_hint: Some(true),
            idempotent_hint: Some(true),
            open_world_hint: Some(false),
        }
    );
    assert_eq!(policy.hints("other", Some(&upstream)), upstream);
    assert_eq!(policy.hints("other", None), none());
    assert_eq!(policy.hints("get_user", None).read_only_hint, Some(false));
}

#[test]
fn shown_hints_omit_a_warning_that_the_operator_overrode() {
    let upstream = none().destructive(true).open_world(true);
    let vouched = with_operator(Mode::All, "get_user", none().read_only(true));
    assert_eq!(
        vouched.hints("get_user", Some(&upstream)),
        none().read_only(true).open_world(true)
    );
    let warned = none().read_only(true).destructive(true);
    let policy = with_operator(Mode::All, "get_user", warned.clone());
    assert_eq!(policy.hints("get_user", None), warned);
}

#[test]
fn two_custom_annotations_for_one_tool_are_an_error() {
    let rules = |names: &[&str]| Rules {
        custom_annotations: names
            .iter()
            .map(|&name| (name.to_owned(), none()))
            .collect(),
        ..Rules::default()
    };
    let error = Policy::new(rules(&["get_user", "Get_User"])).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("`Get_User`") && text.contains("`get_user`"),
        "{text}"
    );
    assert!(Policy::new(rules(&["get_user", "get_users"])).is_ok());
}

#[test]
fn a_bad_glob_is_an_error_in_either_list() {
    for (allow, deny) in [(&["a["][..], &[][..]), (&[], &["a["])] {
        let error = Policy::new(Rules {
            allow: strings(allow),
            deny: strings(deny),
            ..Rules::default()
        })
        .unwrap_err();
        assert!(error.to_string().contains("`a[`"));
    }
}

#[test]
fn the_policy_returns_its_mode() {
    for mode in Mode::ALL {
        assert_eq!(policy(mode).mode(), mode);
    }
}

fn any_mode() -> impl Strategy<Value = Mode> {
    proptest::sample::select(&Mode::ALL[..])
}

fn any_hints() -> impl Strategy<Value = Option<ToolAnnotations>> {
    let hints =
        (any::<Option<bool>>(), any::<Option<bool>>()).prop_map(|(read_only, destructive)| {
            ToolAnnotations {
                read_only_hint: read_only,
                destructive_hint: destructive,
                ..none()
            }
        });
    proptest::option::of(hints)
}

fn listing(listed: bool, upstream: Option<&ToolAnnotations>) -> Listing<'_> {
    if listed {
        Listing::Listed(upstream)
    } else {
        Listing::Unlisted
    }
}

proptest! {
    #[test]
    fn deny_blocks_whatever_else_applies(
        tool in "\\PC{1,12}|[a-zA-Z_.]{1,12}|(?s).{1,5}",
        mode in any_mode(),
        upper in any::<bool>(),
        by_glob in any::<bool>(),
        operator in any_hints(),
        upstream in any_hints(),
        is_listed in any::<bool>(),
    ) {
        let mut entry = if upper { tool.to_uppercase() } else { tool.clone() };
        prop_assume!(!entry.contains('['));
        if by_glob {
            entry = format!("*{entry}");
        }
        let policy = Policy::new(Rules {
            mode,
            allow: vec!["*".to_owned(), tool.replace('[', "")],
            deny: vec![entry.clone()],
            custom_annotations: operator.into_iter().map(|hints| (tool.clone(), hints)).collect(),
        }).unwrap();
        let decision = policy.decide(&tool, listing(is_listed, upstream.as_ref()));
        prop_assert_eq!(decision.action, Action::Block);
        prop_assert_eq!(decision.reason, Reason::Denied(entry));
    }

    #[test]
    fn any_call_under_any_rules_gets_a_decision(
        tool in any::<String>(),
        mode in any_mode(),
        allow in proptest::collection::vec(any::<String>(), 0..3),
        deny in proptest::collection::vec(any::<String>(), 0..3),
        operator in any_hints(),
        upstream in any_hints(),
        is_listed in any::<bool>(),
    ) {
        let rules = Rules {
            mode,
            allow,
            deny,
            custom_annotations: operator.into_iter().map(|hints| (tool.clone(), hints)).collect(),
        };
        let Ok(policy) = Policy::new(rules) else { return Ok(()) };
        let decision = policy.decide(&tool, listing(is_listed, upstream.as_ref()));
        let _ = policy.hints(&tool, upstream.as_ref());
        // If the name alone decides, the list cannot change the decision.
        if let Some(by_name) = policy.decide_by_name(&tool) {
            prop_assert_eq!((by_name.action, by_name.reason), (decision.action, decision.reason));
        }
    }

    #[test]
    fn an_unreadable_name_passes_neither_by_glob_nor_by_hint_nor_by_default(
        tool in "(?s).{0,6}[^ -~](?s).{0,6}",
        mode in proptest::sample::select(vec![Mode::Destructive, Mode::Cautious, Mode::All, Mode::Annotated]),
        upstream in any_hints(),
        is_listed in any::<bool>(),
    ) {
        let policy = with_lists(mode, &["*", "?*"], &[]);
        let decision = policy.decide(&tool, listing(is_listed, upstream.as_ref()));
        prop_assert_eq!(decision, ask(Risk::High, Reason::UnreadableName));
    }
}
