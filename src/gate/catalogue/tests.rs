//! Tests of the tool list, with lists as upstreams send them and as they should not.

use super::*;

const T0: Duration = Duration::from_secs(100);

fn id(n: i64) -> RequestId {
    RequestId::Integer(n)
}

fn answered(
    catalogue: &mut Catalogue,
    result: Option<&str>,
    now: Duration,
) -> (Next, Option<String>) {
    let id = catalogue.fetch.as_ref().unwrap().ids[0].clone();
    let answer = result.map_or(Answer::Error(None), Answer::Result);
    catalogue.answered(&id, answer, now)
}

/// Tools as in our list and the client's: with a description, so that it can change.
fn tools(names: &[(&str, &str)]) -> String {
    let tools = names
        .iter()
        .map(|(name, description)| format!(r#"{{"name":"{name}","description":"{description}"}}"#));
    tools.collect::<Vec<_>>().join(",")
}

/// A catalogue that has read these tools.
fn read(names: &[(&str, &str)]) -> Catalogue {
    let mut catalogue = started();
    answered(
        &mut catalogue,
        Some(&format!(r#"{{"tools":[{}]}}"#, tools(names))),
        T0,
    );
    assert!(is_known(&catalogue));
    catalogue
}

/// The client asks with these parameters and gets these tools, with more members.
fn compare_client_listing(
    catalogue: &mut Catalogue,
    params: Option<&str>,
    names: &[(&str, &str)],
    more: &str,
) {
    let result = format!(r#"{{"tools":[{}]{more}}}"#, tools(names));
    catalogue.compare_client_listing(&ListRequest::read(params), Some(&result), T0);
}

fn is_known(catalogue: &Catalogue) -> bool {
    matches!(catalogue.state, State::Fresh { .. })
}

fn started() -> Catalogue {
    let mut catalogue = Catalogue::new();
    catalogue.want(T0);
    assert!(catalogue.is_to_be_asked_for());
    catalogue.start(None, T0);
    catalogue.request(id(1), None, T0);
    catalogue
}

#[test]
fn all_pages_are_read_before_the_list_counts() {
    let mut catalogue = started();
    let (next, cursor) = answered(
        &mut catalogue,
        Some(r#"{"tools":[{"name":"a"}],"nextCursor":"p\"2"}"#),
        T0,
    );
    assert_eq!((next, cursor.as_deref()), (Next::Ask, Some("p\"2")));
    assert!(!catalogue.is_settled(T0));
    assert_eq!(
        catalogue.request(id(2), cursor.as_deref(), T0),
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"cursor":"p\"2"}}"#
    );
    assert!(catalogue.is_asked(&id(2)) && !catalogue.is_asked(&id(1)));
    let (next, _) = answered(&mut catalogue, Some(r#"{"tools":[{"name":"b"}]}"#), T0);
    assert_eq!(next, Next::Settled);
    assert!(catalogue.is_settled(T0));
    assert!(catalogue.tool("a").is_some() && catalogue.tool("b").is_some());
    assert!(catalogue.tool("A").is_none(), "names are looked up by case");
}

#[test]
fn a_list_that_changes_while_it_is_read_is_read_again() {
    let mut catalogue = started();
    catalogue.list_changed();
    let (next, _) = answered(&mut catalogue, Some(r#"{"tools":[{"name":"old"}]}"#), T0);
    assert_eq!(next, Next::Ask);
    catalogue.request(id(2), None, T0);
    answered(&mut catalogue, Some(r#"{"tools":[{"name":"new"}]}"#), T0);
    assert!(catalogue.tool("old").is_none() && catalogue.tool("new").is_some());
}

#[test]
fn a_changed_list_is_not_used_any_more() {
    let mut catalogue = started();
    answered(&mut catalogue, Some(r#"{"tools":[{"name":"a"}]}"#), T0);
    assert!(catalogue.is_settled(T0));
    catalogue.list_changed();
    assert!(!catalogue.is_settled(T0));
}

#[test]
fn calls_wait_five_seconds_and_the_reading_continues_for_two_minutes() {
    let mut catalogue = started();
    catalogue.expire(T0 + PATIENCE - Duration::from_nanos(1));
    assert!(!catalogue.is_settled(T0));
    catalogue.expire(T0 + PATIENCE);
    assert!(catalogue.is_settled(T0 + PATIENCE) && catalogue.is_unknown());
    assert!(catalogue.is_asked(&id(1)));
    let last = T0 + LONGEST_READING;
    catalogue.expire(last - Duration::from_nanos(1));
    assert!(catalogue.is_asked(&id(1)));
    catalogue.expire(last);
    assert!(!catalogue.is_asked(&id(1)) && catalogue.retired.contains_any(&id(1)));
    assert_eq!(catalogue.retry, Some(last + RETRIES[0]));
    // It was reported once.
    assert_eq!(catalogue.take_notices().len(), 1);
}

#[test]
fn a_failed_list_is_read_again_three_times_and_then_when_it_is_needed() {
    let mut catalogue = started();
    let mut now = T0;
    for after in RETRIES {
        answered(&mut catalogue, None, now);
        assert!(
            catalogue.is_settled(now + Duration::from_secs(3600)),
            "nobody waits"
        );
        assert_eq!(
            catalogue.take_retry(now + after - Duration::from_nanos(1)),
            None
        );
        now += after;
        assert_eq!(catalogue.take_retry(now), Some(None));
        catalogue.start(None, now);
        catalogue.request(id(2), None, now);
    }
    answered(&mut catalogue, None, now);
    assert_eq!(catalogue.next_step(), None);
    assert!(catalogue.is_settled(now + AFTER_FAILURE - Duration::from_nanos(1)));
    assert!(!catalogue.is_settled(now + AFTER_FAILURE));
}

#[test]
fn an_empty_list_counts_once_it_has_stayed_empty() {
    let mut catalogue = started();
    for _ in RETRIES {
        answered(&mut catalogue, Some(r#"{"tools":[]}"#), T0);
        assert!(catalogue.is_settled(T0) && catalogue.is_unknown());
        let at = catalogue.retry.unwrap();
        catalogue.take_retry(at).unwrap();
        catalogue.start(None, at);
        catalogue.request(id(2), None, at);
    }
    answered(&mut catalogue, Some(r#"{"tools":[]}"#), T0);
    assert!(is_known(&catalogue) && catalogue.next_step().is_none());
    // From then on an empty list is accepted at once.
    catalogue.list_changed();
    catalogue.start(None, T0);
    catalogue.request(id(3), None, T0);
    answered(&mut catalogue, Some(r#"{"tools":[]}"#), T0);
    assert!(is_known(&catalogue));
}

#[test]
fn a_cursor_that_repeats_ends_the_list() {
    let mut catalogue = started();
    let page = r#"{"tools":[{"name":"a"}],"nextCursor":"x"}"#;
    assert_eq!(answered(&mut catalogue, Some(page), T0).0, Next::Ask);
    catalogue.request(id(2), Some("x"), T0);
    assert_eq!(answered(&mut catalogue, Some(page), T0).0, Next::Settled);
    assert!(catalogue.tool("a").is_some());
}

#[test]
fn a_listing_to_the_client_that_differs_makes_ours_stale() {
    let ours = [("a", "1"), ("b", "1")];
    for (what, params, listed, more, fits) in [
        ("the same", None, &ours[..], "", true),
        (
            "in another order",
            Some("{}"),
            &[("b", "1"), ("a", "1")],
            "",
            true,
        ),
        ("changed", None, &[("a", "2"), ("b", "1")], "", false),
        (
            "new",
            None,
            &[("a", "1"), ("b", "1"), ("c", "1")],
            "",
            false,
        ),
        ("gone", None, &[("a", "1")], "", false),
        ("none left", None, &[], "", false),
        (
            "a first page",
            None,
            &[("a", "1")],
            r#","nextCursor":"x""#,
            true,
        ),
        (
            "a later page",
            Some(r#"{"cursor":"y"}"#),
            &[("b", "1")],
            "",
            true,
        ),
        (
            "a changed later page",
            Some(r#"{"cursor":"y"}"#),
            &[("b", "2")],
            "",
            false,
        ),
        ("filtered", Some(r#"{"tag":"x"}"#), &[("b", "1")], "", true),
        (
            "filtered and changed",
            Some(r#"{"tag":"x"}"#),
            &[("b", "2")],
            "",
            false,
        ),
        (
            "with _meta",
            Some(r#"{"_meta":{}}"#),
            &[("b", "1")],
            "",
            false,
        ),
        (
            "twice, in two ways",
            None,
            &[("a", "1"), ("b", "1"), ("b", "2")],
            "",
            false,
        ),
    ] {
        let mut catalogue = read(&ours);
        for _ in 0..2 {
            compare_client_listing(&mut catalogue, params, listed, more);
            assert_eq!(catalogue.is_settled(T0), fits, "{what}");
        }
        // Nothing is learned from it.
        assert_eq!(catalogue.tools.len(), 2, "{what}");
    }
    for result in ["", "7", r#"{"tools":[{"name":"a","name":"a"}]}"#, "{}"] {
        let mut catalogue = read(&ours);
        catalogue.compare_client_listing(&ListRequest::read(None), Some(result), T0);
        assert!(!catalogue.is_settled(T0), "{result}");
    }
    let mut catalogue = read(&ours);
    catalogue.compare_client_listing(&ListRequest::read(None), None, T0);
    assert!(catalogue.is_settled(T0), "an error lists nothing");
}

#[test]
fn a_missing_tool_is_noticed_at_the_end_of_the_pages() {
    let page = |catalogue: &mut Catalogue, cursor: &str, name: &str, next: &str| {
        let params = (!cursor.is_empty()).then(|| format!(r#"{{"cursor":"{cursor}"}}"#));
        let more = match next {
            "" => String::new(),
            next => format!(r#","nextCursor":"{next}""#),
        };
        compare_client_listing(catalogue, params.as_deref(), &[(name, "1")], &more);
        catalogue.is_settled(T0)
    };
    let ours = [("a", "1"), ("b", "1"), ("c", "1")];
    let mut catalogue = read(&ours);
    assert!(page(&mut catalogue, "", "a", "2"));
    assert!(page(&mut catalogue, "2", "b", "3"));
    assert!(page(&mut catalogue, "3", "c", ""));
    // Again, and one is missing.
    assert!(page(&mut catalogue, "", "a", "2"));
    assert!(!page(&mut catalogue, "2", "c", ""));
    // From pages out of order nobody can tell what is missing.
    let mut catalogue = read(&ours);
    assert!(page(&mut catalogue, "", "a", "2"));
    assert!(page(&mut catalogue, "3", "c", ""));
    assert!(page(&mut catalogue, "2", "b", ""));
}

#[test]
fn listings_that_the_client_got_during_a_reading_are_compared_afterwards() {
    for (listed, again) in [("1", false), ("2", true)] {
        let mut catalogue = started();
        compare_client_listing(&mut catalogue, None, &[("a", listed)], "");
        let result = format!(r#"{{"tools":[{}]}}"#, tools(&[("a", "1")]));
        let (next, _) = answered(&mut catalogue, Some(&result), T0);
        assert_eq!(next == Next::Ask, again, "{listed}");
        if again {
            // Once: this reading began after the client's.
            catalogue.request(id(2), None, T0);
            compare_client_listing(&mut catalogue, None, &[("a", "3")], "");
            assert_eq!(answered(&mut catalogue, Some(&result), T0).0, Next::Settled);
        }
        assert!(is_known(&catalogue));
    }
}

#[test]
fn the_memory_for_the_clients_listings_is_limited() {
    let mut catalogue = started();
    let many: Vec<String> = (0..MAX_TOOLS)
        .map(|n| format!(r#"{{"name":"t{n}"}}"#))
        .collect();
    let many = format!(r#"{{"tools":[{}]}}"#, many.join(","));
    for _ in 0..50 {
        catalogue.compare_client_listing(&ListRequest::read(None), Some(&many), T0);
        catalogue.compare_client_listing(&ListRequest::read(None), Some(r#"{"tools":[]}"#), T0);
    }
    for _ in 0..MAX_TOOLS {
        catalogue.compare_client_listing(&ListRequest::read(None), Some("7"), T0);
    }
    assert!(catalogue.fetch.unwrap().seen.len() <= MAX_TOOLS + 1);
}

#[test]
fn ignored_members_are_reported_once_per_tool_and_for_a_limited_number() {
    let mut catalogue = started();
    let tools: Vec<String> = (0..100)
        .map(|n| format!(r#"{{"name":"t{n}","annotations":[]}}"#))
        .collect();
    let page = format!(r#"{{"tools":[{}]}}"#, tools.join(","));
    answered(&mut catalogue, Some(&page), T0);
    let notices = catalogue.take_notices();
    assert_eq!(notices.len(), MAX_REPORTED + 1);
    assert!(
        notices[0].contains("\"t0\"") && notices[0].contains("`annotations`"),
        "{notices:?}"
    );
    catalogue.list_changed();
    catalogue.start(None, T0);
    catalogue.request(id(2), None, T0);
    answered(&mut catalogue, Some(&page), T0);
    assert_eq!(catalogue.take_notices(), Vec::<String>::new());
}

#[test]
fn an_error_or_nonsense_fails_the_list() {
    for result in [
        None,
        Some("[]"),
        Some(r#"{"tools":7}"#),
        Some(r#"{"tools":[{"a":1,"a":1}]}"#),
    ] {
        let mut catalogue = started();
        assert_eq!(answered(&mut catalogue, result, T0).0, Next::Settled);
        assert_eq!(catalogue.state, State::Unknown { until: None });
    }
}

#[test]
fn endless_pages_fail_the_list() {
    let mut catalogue = started();
    for page in 0.. {
        let (next, cursor) = answered(
            &mut catalogue,
            Some(&format!(r#"{{"tools":[],"nextCursor":"{page}"}}"#)),
            T0,
        );
        if next == Next::Settled {
            assert_eq!(page, MAX_PAGES - 1);
            break;
        }
        catalogue.request(id(page as i64), cursor.as_deref(), T0);
    }
    assert!(matches!(catalogue.state, State::Unknown { .. }));
}

#[test]
fn a_list_that_takes_too_much_memory_fails() {
    let mut catalogue = started();
    let long = "d".repeat(MAX_DESCRIPTION);
    let tools: Vec<String> = (0..5000)
        .map(|i| format!(r#"{{"name":"t{i}","description":"{long}"}}"#))
        .collect();
    let page = format!(r#"{{"tools":[{}]}}"#, tools.join(","));
    answered(&mut catalogue, Some(&page), T0);
    assert!(matches!(catalogue.state, State::Unknown { .. }));
    let mut catalogue = started();
    let name = "n".repeat(MAX_NAME + 1);
    let page = format!(r#"{{"tools":[{{"name":"{name}"}},{{"name":"a"}}]}}"#);
    answered(&mut catalogue, Some(&page), T0);
    assert!(catalogue.tool(&name).is_none() && catalogue.tool("a").is_some());
}

#[test]
fn of_two_tools_with_one_name_the_stricter_reading_counts() {
    let read = |tools: &str| {
        let mut catalogue = started();
        answered(
            &mut catalogue,
            Some(&format!(r#"{{"tools":[{tools}]}}"#)),
            T0,
        );
        (*catalogue.tool("a").unwrap().definition).clone()
    };
    let safe = r#"{"name":"a","annotations":{"readOnlyHint":true,"destructiveHint":false}}"#;
    let harmful = r#"{"name":"a","annotations":{"destructiveHint":true}}"#;
    let silent = r#"{"name":"a"}"#;
    let broken = r#"{"name":"a","annotations":7}"#;
    for pair in [format!("{safe},{harmful}"), format!("{harmful},{safe}")] {
        let hints = read(&pair).annotations.unwrap();
        assert_eq!(
            (hints.read_only_hint, hints.destructive_hint),
            (None, Some(true))
        );
    }
    let hints = read(&format!("{safe},{silent}")).annotations.unwrap();
    assert_eq!((hints.read_only_hint, hints.destructive_hint), (None, None));
    let hints = read(&format!("{safe},{broken}")).annotations.unwrap();
    assert_eq!((hints.read_only_hint, hints.destructive_hint), (None, None));
    let hints = read(&format!("{safe},{safe}")).annotations.unwrap();
    assert_eq!(hints.read_only_hint, Some(true));
    assert_ne!(read(&format!("{safe},{silent}")).digest, read(safe).digest);
}

#[test]
fn a_list_is_read_again_after_its_lifetime_but_not_all_the_time() {
    let mut catalogue = started();
    answered(
        &mut catalogue,
        Some(r#"{"tools":[{"name":"a"}],"ttlMs":60000}"#),
        T0,
    );
    assert!(catalogue.is_settled(T0 + Duration::from_secs(59)));
    assert!(!catalogue.is_settled(T0 + Duration::from_secs(60)));
    let mut catalogue = started();
    answered(
        &mut catalogue,
        Some(r#"{"tools":[{"name":"a"}],"ttlMs":0}"#),
        T0,
    );
    assert!(catalogue.is_settled(T0 + Duration::from_secs(4)));
    let mut catalogue = started();
    answered(
        &mut catalogue,
        Some(r#"{"tools":[{"name":"a"}],"ttlMs":18446744073709551615}"#),
        T0,
    );
    assert!(catalogue.is_settled(T0 + Duration::from_secs(4)));
    let mut catalogue = started();
    answered(
        &mut catalogue,
        Some(r#"{"tools":[{"name":"a"}],"ttlMs":"for ever"}"#),
        T0,
    );
    assert!(!catalogue.is_settled(T0 + Duration::from_secs(5)));
    // The page with the shortest lifetime counts.
    let mut catalogue = started();
    let first = r#"{"tools":[{"name":"a"}],"ttlMs":10000,"nextCursor":"2"}"#;
    assert_eq!(answered(&mut catalogue, Some(first), T0).0, Next::Ask);
    answered(
        &mut catalogue,
        Some(r#"{"tools":[{"name":"a"}],"ttlMs":60000}"#),
        T0,
    );
    assert!(catalogue.is_settled(T0 + Duration::from_secs(9)));
    assert!(!catalogue.is_settled(T0 + Duration::from_secs(10)));
}
