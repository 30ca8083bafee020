//! Tests of the list of engines: its forms, names, order and secrets.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::*;
use crate::config::pointer::Pointer;

const HOOK: &str = r#""type":"webhook","url":"https://hooks.example/q""#;

fn read(json: &str) -> Result<Engines, Fault> {
    Engines::from_node(&serde_json::from_str(json).unwrap())
}

fn configured_with(
    engines: Engines,
    order: Order,
    variables: &[(&str, &str)],
) -> Result<ConfiguredEngines, String> {
    let environment: Environment = variables.iter().copied().collect();
    let engines = engines.defined_by(&[]).map_err(|error| error.to_string())?;
    let configured = engines.configured(&EngineContext {
        environment: &environment,
        transport: &TransportSettings::default(),
        order,
        on_timeout: None,
        on_transport_error: None,
    });
    configured.map_err(|error| error.to_string())
}

fn configured(json: &str, variables: &[(&str, &str)]) -> Result<ConfiguredEngines, String> {
    let engines = read(json).map_err(|fault| fault.to_string())?;
    configured_with(engines, Order::Chain, variables)
}

fn channels(json: &str, order: Order) -> Vec<Channel> {
    let configured = configured_with(read(json).unwrap(), order, &[]).unwrap();
    configured
        .list
        .iter()
        .map(|engine| engine.channel)
        .collect()
}

#[test]
fn engines_are_words_or_objects_in_the_order_they_are_asked() {
    let found = channels(
        r#"[{"type":"elicitation","timeout":30,"onTimeout":"fallback"},
            {"type":"inbox","timeout":0,"onTransportError":"deny","minRisk":"high"}]"#,
        Order::Chain,
    );
    assert_eq!(
        found,
        [
            Channel {
                patience: Patience::Own(Some(Duration::from_secs(30))),
                on_timeout: OnFailure::Fallback,
                ..Channel::new(Engine::Elicitation)
            },
            Channel {
                patience: Patience::Own(None),
                on_transport_error: OnFailure::Deny,
                min_risk: Risk::High,
                ..Channel::new(Engine::INBOX)
            },
        ]
    );
    let usual = configured_with(Engines::usual(), Order::Chain, &[]).unwrap();
    let usual: Vec<Engine> = usual
        .list
        .iter()
        .map(|engine| engine.channel.engine)
        .collect();
    assert_eq!(usual, [Engine::Elicitation, Engine::INBOX]);
    let text = Engines::from_text("inbox, elicitation").unwrap();
    assert_eq!(text.0.len(), 2);
}

#[test]
fn an_invalid_list_of_engines_is_an_error_with_its_place() {
    for (json, place, words) in [
        (r#"[]"#, "", "an empty list"),
        (r#"["inbox","inbox"]"#, "", "two that are called `inbox`"),
        (r#"[{"type":"fax"}]"#, "/0/type", "`elicitation`"),
        (r#"[{"timeout":3}]"#, "/0", "no `type`"),
        (r#"[{"type":"inbox","timout":3}]"#, "/0/timout", "timeout"),
        (
            r#"[{"type":"inbox","timeout":-1}]"#,
            "/0/timeout",
            "seconds",
        ),
        (
            r#"[{"type":"inbox","minRisk":"unknown"}]"#,
            "/0/minRisk",
            "`medium`",
        ),
        (
            r#"[{"type":"inbox","name":"mine"}]"#,
            "/0/name",
            "no other name",
        ),
        (
            r#"[{"type":"webhook","url":"https://a","name":"inbox"}]"#,
            "/0/name",
            "another type",
        ),
        (
            r#"[{"type":"webhook","url":"https://a","name":"a/b"}]"#,
            "/0/name",
            "letters",
        ),
        (
            r#"[{"type":"webhook","url":"https://a","name":"Elicitation"}]"#,
            "/0/name",
            "another type",
        ),
        (
            r#"[{"type":"webhook","url":"https://a","name":"Webhook"}]"#,
            "/0/name",
            "another type",
        ),
        (
            r#"[{"type":"command","command":"a","name":"cache"}]"#,
            "/0/name",
            "an earlier approval",
        ),
        (
            r#"[{"type":"webhook","url":"https://a","name":"Cache"}]"#,
            "/0/name",
            "an earlier approval",
        ),
        (r#"[{"type":"webhook","secret":"x"}]"#, "/0", "needs `url`"),
        (
            r#"[{"type":"webhook","url":"https://a","sekret":"x"}]"#,
            "/0/sekret",
            "`secret`",
        ),
        (r#"{"type":"inbox"}"#, "", "list"),
    ] {
        let fault = read(json).unwrap_err().to_string();
        assert!(
            fault.contains(place) && fault.contains(words),
            "{json}: {fault}"
        );
    }
}

#[test]
fn engines_of_one_type_have_their_own_names() {
    let json = format!(r#"[{{{HOOK},"name":"ops"}},{{{HOOK},"name":"day","after":9}},{{{HOOK}}}]"#);
    let configured = configured(&json, &[]).unwrap();
    let names = configured.list.iter().map(|engine| engine.channel.engine);
    let ids = ["ops", "day", "webhook"].map(|name| Engine::OutOfBand(EngineId::named(name)));
    assert!(names.eq(ids));
    let twice = format!(r#"[{{{HOOK},"name":"ops"}},{{{HOOK},"name":"ops"}}]"#);
    let fault = read(&twice).unwrap_err().to_string();
    assert!(fault.contains("two that are called `ops`"), "{fault}");
}

#[test]
fn a_race_asks_all_at_once_but_those_with_a_time_of_their_own() {
    let json = format!(r#"["elicitation",{{{HOOK},"after":2}},"inbox"]"#);
    let after = |order| -> Vec<Option<u64>> {
        let channels = channels(&json, order).into_iter();
        let after = channels.map(|channel| channel.after);
        after
            .map(|after| after.map(|after| after.as_secs()))
            .collect()
    };
    assert_eq!(after(Order::Chain), [None, Some(2), None]);
    assert_eq!(after(Order::Race), [Some(0), Some(2), Some(0)]);
}

#[test]
fn a_name_that_nothing_defines_is_an_error_that_lists_the_names() {
    let error = configured(r#"["opps"]"#, &[]).unwrap_err();
    assert!(
        error.contains("`opps` is not defined") && error.contains("`webhook`"),
        "{error}"
    );
    let error = configured(r#"["webhook"]"#, &[]).unwrap_err();
    assert!(error.contains("named without its options"), "{error}");
    let ops = read(&format!(r#"[{{{HOOK},"name":"ops","timeout":9}}]"#)).unwrap();
    let named = read(r#"[{"name":"ops","onTimeout":"fallback"}]"#).unwrap();
    let found = named.defined_by(&[ops]).unwrap();
    let found = configured_with(found, Order::Chain, &[]).unwrap();
    let [engine] = &found.list[..] else { panic!() };
    assert_eq!(engine.kind, "webhook");
    assert_eq!(engine.channel.on_timeout, OnFailure::Fallback);
    assert_eq!(
        engine.channel.patience,
        Patience::Own(Some(Duration::from_secs(9)))
    );
}

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

#[test]
fn a_secret_comes_from_a_variable_or_a_file() {
    let json = format!(r#"[{{{HOOK},"secret":"${{HOOK_KEY}}"}}]"#);
    let found = configured(&json, &[("HOOK_KEY", SECRET)]).unwrap();
    assert!(!format!("{found:?}").contains("MDEy"));
    for (variables, says) in [
        (&[][..], "HOOK_KEY"),
        (&[("HOOK_KEY", "")], "the variable `HOOK_KEY` is"),
    ] {
        let error = configured(&json, variables).unwrap_err();
        assert!(
            error.contains("the engine `webhook`") && error.contains(says),
            "{error}"
        );
    }
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{SECRET}").unwrap();
    let path = file.path().display();
    let json = format!(r#"[{{{HOOK},"secretFile":"{path}"}}]"#);
    assert!(configured(&json, &[]).is_ok());
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o640))
        .unwrap();
    let error = configured(&json, &[]).unwrap_err();
    assert!(error.contains("0640") && error.contains("chmod"), "{error}");
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o600))
        .unwrap();
    let both = format!(r#"[{{{HOOK},"secretFile":"{path}","secret":"${{HOOK_KEY}}"}}]"#);
    let error = configured(&both, &[("HOOK_KEY", SECRET)]).unwrap_err();
    assert!(error.contains("both set"), "{error}");
    let json = format!(r#"[{{{HOOK},"secretFile":"/nowhere/key"}}]"#);
    let error = configured(&json, &[]).unwrap_err();
    assert!(error.contains("/nowhere/key"), "{error}");
    let headers = format!(r#"[{{{HOOK},"headers":{{"Authorization":"Bearer ${{TOKEN_X}}"}}}}]"#);
    assert!(configured(&headers, &[("TOKEN_X", "t0ken")]).is_ok());
}

#[test]
fn the_url_of_a_bridge_comes_from_the_variable_that_mcp_extras_users_have() {
    let json = r#"[{"type":"whatsapp","bridgeUrl":"${NANOCLAW_APPROVALS_URL}"}]"#;
    let url = ("NANOCLAW_APPROVALS_URL", "http://localhost:3002");
    let found = configured(json, &[url]).unwrap();
    assert!(format!("{found:?}").contains("localhost:3002"), "{found:?}");
    let error = configured(json, &[]).unwrap_err();
    assert!(error.contains("NANOCLAW_APPROVALS_URL"), "{error}");
}

#[test]
fn a_secret_that_stands_in_a_file_that_others_may_read_is_an_error() {
    let file = NamedTempFile::new().unwrap();
    let source = Source::File {
        file: file.path().to_owned(),
        at: Pointer::default().child("approvalProxy"),
    };
    let with_mode = |json: &str, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), permissions).unwrap();
        let mut engines = read(json).unwrap();
        engines.are_from(&source);
        configured_with(engines, Order::Chain, &[("KEY", SECRET)])
    };
    let literal = format!(r#"[{{{HOOK},"secret":"{SECRET}"}}]"#);
    assert!(with_mode(&literal, 0o600).is_ok());
    let error = with_mode(&literal, 0o644).unwrap_err();
    for words in ["/approvalProxy/engines", "`secret`", "0644", "secretFile"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(!error.contains("MDEy"), "{error}");
    let header = format!(r#"[{{{HOOK},"headers":{{"X-Api-Key":"abc"}}}}]"#);
    assert!(with_mode(&header, 0o644).is_err());
    // A default stands in the file, too.
    let default = format!(r#"[{{{HOOK},"secret":"${{NOT_SET:-{SECRET}}}"}}]"#);
    let error = with_mode(&default, 0o644).unwrap_err();
    assert!(error.contains("0644") && !error.contains("MDEy"), "{error}");
    assert!(with_mode(&default, 0o600).is_ok());
    for harmless in [
        format!(r#"[{{{HOOK},"secret":"${{KEY}}"}}]"#),
        format!(r#"[{{{HOOK},"secret":"${{KEY:-}}"}}]"#),
        format!(r#"[{{{HOOK},"headers":{{"X-Team":"blue"}}}}]"#),
    ] {
        assert!(with_mode(&harmless, 0o644).is_ok(), "{harmless}");
    }
}
