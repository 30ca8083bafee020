//! Lists as upstreams send them, and as they should not.

use super::*;

const T0: Duration = Duration::from_secs(100);

fn id(n: i64) -> RequestId {
    RequestId::Integer(n)
}

fn started() -> Catalogue {
    let mut catalogue = Catalogue::new();
    catalogue.want(T0);
    assert!(catalogue.is_to_be_asked_for());
    catalogue.start(None);
    catalogue.request(id(1), None);
    catalogue
}

#[test]
fn all_pages_are_read_before_the_list_counts() {
    let mut catalogue = started();
    let (next, cursor) =
        catalogue.answered(Some(r#"{"tools":[{"name":"a"}],"nextCursor":"p\"2"}"#), T0);
    assert_eq!((next, cursor.as_deref()), (Next::Ask, Some("p\"2")));
    assert!(!catalogue.is_settled(T0));
    assert_eq!(
        catalogue.request(id(2), cursor.as_deref()),
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"cursor":"p\"2"}}"#
    );
    assert!(catalogue.is_asked(&id(2)) && !catalogue.is_asked(&id(1)));
    let (next, _) = catalogue.answered(Some(r#"{"tools":[{"name":"b"}]}"#), T0);
    assert_eq!(next, Next::Settled);
    assert!(catalogue.is_settled(T0));
    assert!(catalogue.tool("a").is_some() && catalogue.tool("b").is_some());
    assert!(catalogue.tool("A").is_none(), "names are looked up by case");
}

#[test]
fn a_list_that_changes_while_it_is_read_is_read_again() {
    let mut catalogue = started();
    catalogue.changed();
    let (next, _) = catalogue.answered(Some(r#"{"tools":[{"name":"old"}]}"#), T0);
    assert_eq!(next, Next::Ask);
    catalogue.request(id(2), None);
    catalogue.answered(Some(r#"{"tools":[{"name":"new"}]}"#), T0);
    assert!(catalogue.tool("old").is_none() && catalogue.tool("new").is_some());
}

#[test]
fn a_changed_list_is_not_used_any_more() {
    let mut catalogue = started();
    catalogue.answered(Some(r#"{"tools":[]}"#), T0);
    assert!(catalogue.is_settled(T0));
    catalogue.changed();
    assert!(!catalogue.is_settled(T0));
}

#[test]
fn five_seconds_at_most_then_every_tool_is_unlisted_for_a_while() {
    let mut catalogue = started();
    assert_eq!(
        catalogue.expire(T0 + PATIENCE - Duration::from_nanos(1)),
        None
    );
    assert_eq!(catalogue.expire(T0 + PATIENCE), Some(id(1)));
    assert!(catalogue.is_settled(T0 + PATIENCE));
    assert!(catalogue.tool("a").is_none());
    assert!(!catalogue.is_settled(T0 + PATIENCE + AFTER_FAILURE));
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
        assert_eq!(catalogue.answered(result, T0).0, Next::Settled);
        assert_eq!(
            catalogue.state,
            State::Failed {
                until: T0 + AFTER_FAILURE
            }
        );
    }
}

#[test]
fn endless_pages_fail_the_list() {
    let mut catalogue = started();
    for page in 0.. {
        let (next, cursor) = catalogue.answered(Some(r#"{"tools":[],"nextCursor":"x"}"#), T0);
        if next == Next::Settled {
            assert_eq!(page, MAX_PAGES - 1);
            break;
        }
        catalogue.request(id(page as i64), cursor.as_deref());
    }
    assert!(matches!(catalogue.state, State::Failed { .. }));
}

#[test]
fn a_list_that_would_fill_the_memory_fails() {
    let mut catalogue = started();
    let long = "d".repeat(MAX_DESCRIPTION);
    let tools: Vec<String> = (0..5000)
        .map(|i| format!(r#"{{"name":"t{i}","description":"{long}"}}"#))
        .collect();
    let page = format!(r#"{{"tools":[{}]}}"#, tools.join(","));
    catalogue.answered(Some(&page), T0);
    assert!(matches!(catalogue.state, State::Failed { .. }));
    let mut catalogue = started();
    let name = "n".repeat(MAX_NAME + 1);
    let page = format!(r#"{{"tools":[{{"name":"{name}"}},{{"name":"a"}}]}}"#);
    catalogue.answered(Some(&page), T0);
    assert!(catalogue.tool(&name).is_none() && catalogue.tool("a").is_some());
}

#[test]
fn of_two_tools_with_one_name_the_stricter_reading_counts() {
    let read = |tools: &str| {
        let mut catalogue = started();
        catalogue.answered(Some(&format!(r#"{{"tools":[{tools}]}}"#)), T0);
        (*catalogue.tool("a").unwrap().definition).clone()
    };
    let safe = r#"{"name":"a","annotations":{"readOnlyHint":true,"destructiveHint":false}}"#;
    let harmful = r#"{"name":"a","annotations":{"destructiveHint":true}}"#;
    let silent = r#"{"name":"a"}"#;
    let broken = r#"{"name":"a","annotations":7}"#;
    for pair in [format!("{safe},{harmful}"), format!("{harmful},{safe}")] {
        let hints = read(&pair).annotations.unwrap().unwrap();
        assert_eq!(
            (hints.read_only_hint, hints.destructive_hint),
            (None, Some(true))
        );
    }
    let hints = read(&format!("{safe},{silent}"))
        .annotations
        .unwrap()
        .unwrap();
    assert_eq!((hints.read_only_hint, hints.destructive_hint), (None, None));
    assert_eq!(read(&format!("{safe},{broken}")).annotations, None);
    let hints = read(&format!("{safe},{safe}"))
        .annotations
        .unwrap()
        .unwrap();
    assert_eq!(hints.read_only_hint, Some(true));
    assert_ne!(read(&format!("{safe},{silent}")).digest, read(safe).digest);
}

#[test]
fn a_list_with_a_lifetime_is_read_again_after_it_but_not_all_the_time() {
    let mut catalogue = started();
    catalogue.answered(Some(r#"{"tools":[],"ttlMs":60000}"#), T0);
    assert!(catalogue.is_settled(T0 + Duration::from_secs(59)));
    assert!(!catalogue.is_settled(T0 + Duration::from_secs(60)));
    let mut catalogue = started();
    catalogue.answered(Some(r#"{"tools":[],"ttlMs":0}"#), T0);
    assert!(catalogue.is_settled(T0 + Duration::from_secs(4)));
    let mut catalogue = started();
    catalogue.answered(Some(r#"{"tools":[],"ttlMs":18446744073709551615}"#), T0);
    assert!(catalogue.is_settled(T0 + Duration::from_secs(4)));
    let mut catalogue = started();
    catalogue.answered(Some(r#"{"tools":[],"ttlMs":"for ever"}"#), T0);
    assert!(!catalogue.is_settled(T0 + Duration::from_secs(5)));
    // The page that lives shortest counts.
    let mut catalogue = started();
    let first = r#"{"tools":[],"ttlMs":10000,"nextCursor":"2"}"#;
    assert_eq!(catalogue.answered(Some(first), T0).0, Next::Ask);
    catalogue.answered(Some(r#"{"tools":[],"ttlMs":60000}"#), T0);
    assert!(catalogue.is_settled(T0 + Duration::from_secs(9)));
    assert!(!catalogue.is_settled(T0 + Duration::from_secs(10)));
}
