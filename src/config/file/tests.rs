//! The forms of a config file, the names and order of its servers, and files of no known form.

use proptest::prelude::*;

use super::*;
use crate::config::environment::Environment;
use crate::config::resolve::{Flags, resolve};

fn parsed(text: impl AsRef<[u8]>) -> Result<ConfigFile, String> {
    let file = ConfigFile::parse(Path::new("cfg.json"), text.as_ref());
    file.map_err(|error| error.to_string())
}

fn names(file: &ConfigFile) -> Vec<&str> {
    file.servers
        .iter()
        .map(|entry| entry.name.as_str())
        .collect()
}

// contract.md, "Configuration": "JSON in one of three forms: `{"mcpServers": {NAME: ENTRY},
// "approvalProxy": {…}}`".
#[test]
fn mcp_servers_keep_the_order_of_the_file() {
    let file = parsed(
        r#"{"mcpServers":{"z":{"command":"1"},"a":{"command":"2"},"m":{"url":"http://x"}},
            "approvalProxy":{"dryRun":true},"theme":"dark"}"#,
    );
    let file = file.unwrap();
    assert_eq!(names(&file), ["z", "a", "m"]);
    assert_eq!(file.proxy.dry_run, Some(true));
    assert!(file.warnings.is_empty());
}

// contract.md, "Configuration": "one `ENTRY` (name `upstream`; an `approvalProxy` beside it
// counts)".
#[test]
fn one_entry_is_the_server_upstream() {
    for entry in [r#""command":"a""#, r#""url":"http://a""#] {
        let file = parsed(format!(
            r#"{{{entry},"approvalProxy":{{"dryRun":true}},"name":"x"}}"#
        ));
        let file = file.unwrap();
        assert_eq!(names(&file), ["upstream"]);
        assert_eq!(file.proxy.dry_run, Some(true));
    }
}

// contract.md, "Configuration": "an array of `ENTRY` with `name` (default `server-<index>`)".
#[test]
fn an_array_of_entries_names_its_servers() {
    let file = parsed(r#"[{"command":"a"},{"command":"b","name":"db"},{"command":"c"}]"#);
    assert_eq!(names(&file.unwrap()), ["server-0", "db", "server-2"]);
}

#[test]
fn two_servers_with_the_same_name_are_an_error() {
    assert_eq!(
        parsed(r#"{"mcpServers":{"db":{"command":"a"},"d\u0062":{"command":"b"}}}"#).unwrap_err(),
        "cfg.json: /mcpServers/db: this key is written twice; keep one of the two",
    );
    for json in [
        r#"[{"name":"db"},{"name":"db"}]"#,
        r#"[{"name":"server-1"},{}]"#,
    ] {
        let error = parsed(json).unwrap_err();
        assert!(
            error.starts_with("cfg.json: /1: two servers are called `"),
            "{error}"
        );
    }
    assert!(
        parsed(r#"{"mcpServers":{},"mcpServers":{}}"#)
            .unwrap_err()
            .contains("/mcpServers: ")
    );
}

#[test]
fn a_name_that_is_not_a_string_is_an_error() {
    assert_eq!(
        parsed(r#"[{"name":7}]"#).unwrap_err(),
        "cfg.json: /0/name: expected a string, found a number",
    );
}

#[test]
fn rules_are_checked_in_every_server() {
    assert_eq!(
        parsed(r#"{"mcpServers":{"a":{"command":"a"},"db":{"approvalRules":{"mode":"x"}}}}"#)
            .unwrap_err(),
        "cfg.json: /mcpServers/db/approvalRules/mode: expected one of `destructive`, \
         `cautious`, `all`, `annotated`, `none`, found `x`",
    );
    assert!(
        parsed(r#"[{"approvalRules":{"x":1}}]"#)
            .unwrap_err()
            .contains("/0/approvalRules/x")
    );
    assert!(
        parsed(r#"{"command":"a","approvalProxy":{"x":1}}"#)
            .unwrap_err()
            .contains(": /approvalProxy/x")
    );
}

#[test]
fn a_section_in_the_wrong_place_is_an_error() {
    let proxy = "this key has no effect here; move it next to `mcpServers`";
    for (json, message) in [
        (
            r#"{"mcpServers":{"a":{"approvalProxy":{}}}}"#,
            format!("/mcpServers/a/approvalProxy: {proxy}"),
        ),
        (
            r#"[{"approvalProxy":{}}]"#,
            "/0/approvalProxy: this key has no effect here; move it out of the array, which has no \
             place for it: write `{\"mcpServers\": {…}, \"approvalProxy\": {…}}`"
                .into(),
        ),
        (
            r#"{"mcpServers":{},"approvalRules":{}}"#,
            "/approvalRules: this key has no effect here; move it into the entry of a server"
                .into(),
        ),
    ] {
        assert_eq!(parsed(json).unwrap_err(), format!("cfg.json: {message}"));
    }
}

#[test]
fn a_misspelled_section_is_an_error() {
    for (json, place, meant) in [
        (
            r#"{"mcpServers":{},"approvalproxy":{}}"#,
            "/approvalproxy",
            "approvalProxy",
        ),
        (
            r#"{"mcpServers":{"a":{"ApprovalRule":{}}}}"#,
            "/mcpServers/a/ApprovalRule",
            "approvalRules",
        ),
        (
            r#"{"command":"a","approval_rules":{}}"#,
            "/approval_rules",
            "approvalRules",
        ),
        (
            r#"[{"approvalRulez":{}}]"#,
            "/0/approvalRulez",
            "approvalRules",
        ),
    ] {
        let message = format!("cfg.json: {place}: unknown key; did you mean `{meant}`?");
        assert_eq!(parsed(json).unwrap_err(), message);
    }
}

// A rule that is silently ignored is worse than an error: the operator believes that it works.
#[test]
fn a_rule_outside_its_section_is_an_error() {
    let rules = "this key has no effect here; move it into `approvalRules` of a server";
    let proxy = "this key has no effect here; move it into `approvalProxy`";
    for (json, place, message) in [
        (
            r#"{"mcpServers":{"a":{"command":"a","alwaysDeny":["*"]}}}"#,
            "/mcpServers/a/alwaysDeny",
            rules,
        ),
        (
            r#"{"mcpServers":{},"denyPatterns":["*"]}"#,
            "/denyPatterns",
            rules,
        ),
        (r#"{"command":"a","auditLog":"x"}"#, "/auditLog", proxy),
        (r#"[{"timeout_action":"deny"}]"#, "/0/timeout_action", rules),
    ] {
        let message = format!("cfg.json: {place}: {message}");
        assert_eq!(parsed(json).unwrap_err(), message);
    }
}

// contract.md, "Configuration": "Keys that other clients put into an entry are left alone."
#[test]
fn a_key_that_other_clients_may_use_causes_only_a_warning() {
    for (json, place) in [
        (
            r#"{"mcpServers":{"a":{"command":"a","mode":"all"}}}"#,
            "/mcpServers/a/mode",
        ),
        (r#"{"mcpServers":{},"engines":{}}"#, "/engines"),
        (r#"[{"approvalPolicy":"never"}]"#, "/0/approvalPolicy"),
    ] {
        let warnings = parsed(json).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{json}");
        let start = format!("cfg.json: {place}: this key is not read; ");
        assert!(warnings[0].starts_with(&start), "{}", warnings[0]);
    }
    let json = r#"[{"command":"a","alwaysAllow":["x"],"timeout":60,"disabled":false}]"#;
    assert!(parsed(json).unwrap().warnings.is_empty());
}

#[test]
fn a_document_of_another_form_is_an_error() {
    let expected = "expected an object with `mcpServers`, one entry with a `command` or a `url`, or an array \
                    of entries";
    for (json, found) in [
        ("{}", "an object without these keys"),
        (
            r#"{"theme":{"command":7},"mcp":{"allowed":[]}}"#,
            "an object without these keys",
        ),
        ("null", "null"),
        ("7", "a number"),
        (r#""a""#, "a string"),
    ] {
        assert_eq!(
            parsed(json).unwrap_err(),
            format!("cfg.json: {expected}, found {found}")
        );
    }
    for json in [r#"{"mcpServers":7}"#, r#"{"mcpServers":null}"#] {
        let error = parsed(json).unwrap_err();
        assert!(
            error.starts_with("cfg.json: /mcpServers: expected an object of servers"),
            "{error}"
        );
    }
}

// contract.md, "Configuration": "A file that is not JSON: error with line and column."
#[test]
fn a_file_that_is_not_json_is_an_error_with_line_and_column() {
    for (text, place, reason) in [
        ("{\n  \"mcpServers\": }", "2:17", "expected value"),
        ("", "1:1", "the file is empty"),
        (" ", "1:1", "EOF while parsing a value"),
        ("{\"a\":1,,}", "1:8", "key must be a string"),
        ("// x\n{]", "2:2", "key must be a string"),
        ("/* x\n*/ {\"a\" 1}", "2:9", "expected `:`"),
        ("{}\n  /* x", "2:3", "unterminated comment"),
        ("{} {}", "1:4", "trailing characters"),
        ("[1e999]", "1:6", "number out of range"),
    ] {
        let error = parsed(text).unwrap_err();
        let start = format!("cfg.json:{place}: not JSON: {reason}; fix line ");
        assert!(error.starts_with(&start), "{error}");
        assert!(!error.contains(" at line "), "{error}");
    }
    let error = parsed(b"{\"a\":\"\xff\"}").unwrap_err();
    assert!(error.contains(": not JSON: "), "{error}");
    for bytes in [
        b"\xff\xfe{\0}\0".as_slice(),
        b"\xfe\xff\0{\0}",
        b"{\0}\0",
        b"\0{\0}",
    ] {
        let message = "cfg.json: this file is UTF-16; save it as UTF-8";
        assert_eq!(parsed(bytes).unwrap_err(), message);
    }
}

#[test]
fn the_error_says_how_to_fix_a_common_mistake_in_json() {
    for (text, place, hint) in [
        (
            "{'mcpServers':{}}",
            "1:2",
            ": put strings and keys in double quotes",
        ),
        (
            "{\"a\": 'b'}",
            "1:7",
            ": put strings and keys in double quotes",
        ),
        (
            "{\u{201c}a\u{201d}:1}",
            "1:2",
            ": put strings and keys in straight double quotes, `\"`",
        ),
        ("{mcpServers:{}}", "1:2", ": put keys in double quotes"),
        (
            "\n\"mcpServers\": {}",
            "2:13",
            ": put `{` before the whole text and `}` after it",
        ),
        (
            "```json\n{}\n```",
            "1:1",
            ": remove the lines with backticks around the JSON",
        ),
        (
            "{\u{a0}}",
            "1:2",
            ": replace the no-break space, which looks like a space, by a space",
        ),
        ("{\"a\":{", "1:6", ": a closing bracket or quote is missing"),
        (
            "{\"a\":\"b\n\"}",
            "2:0",
            ": close the string with a double quote, and write line breaks as `\\n`",
        ),
        (
            "{\"a\":True}",
            "1:6",
            ": write `true`, `false` and `null`, in lower case",
        ),
        (
            "{} {}",
            "1:4",
            ": a file must hold one JSON value and nothing after it",
        ),
    ] {
        let error = parsed(text).unwrap_err();
        assert!(error.ends_with(hint), "{error}");
        assert!(
            error.starts_with(&format!("cfg.json:{place}: not JSON: ")) || place == "2:0",
            "{error}"
        );
    }
    for (name, text) in [
        ("config.toml", "# x"),
        ("config.yaml", "- x"),
        ("cfg.json", "[mcp_servers.a]\n"),
        ("cfg.json", "mcpServers:\n  a: 1"),
    ] {
        let error = ConfigFile::parse(Path::new(name), text.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains("the file must be JSON"), "{error}");
    }
}

// Issue 15: "Read comments, trailing commas and a BOM."
#[test]
fn comments_trailing_commas_and_byte_order_marks_are_read() {
    let text = "\u{feff}{\r\n// my servers\r\n\"mcpServers\": {/* one */\"a\":{\"command\":\"http://x\",},},}\u{feff}";
    assert_eq!(names(&parsed(text).unwrap()), ["a"]);
    let text = "{ // x\n \"mcpServers\":{\"a\":{\"approvalRules\":{\"x\":1,},},},}";
    let error = parsed(text).unwrap_err();
    assert!(
        error.starts_with("cfg.json: /mcpServers/a/approvalRules/x: "),
        "{error}"
    );
    let twice = "{\"mcpServers\":{\"a\":{\"command\":\"1\"},/**/\"a\":{\"command\":\"2\"},}}";
    assert!(parsed(twice).unwrap_err().contains("written twice"));
}

#[test]
fn the_lists_of_all_clients_are_read() {
    for (json, expected) in [
        (
            r#"{"servers":{"a":{"command":"1"}},"inputs":[]}"#,
            &["a"][..],
        ),
        (
            r#"{"context_servers":{"a":{"source":"custom","command":"1"}},"theme":"x"}"#,
            &["a"],
        ),
        (r#"{"mcp_servers":{"a":{"command":"1"}}}"#, &["a"]),
        (r#"{"amp.mcpServers":{"a":{"command":"1"}}}"#, &["a"]),
        (
            r#"{"mcp":{"a":{"type":"local","command":["1"]}},"command":{"test":{}}}"#,
            &["a"],
        ),
        (
            r#"{"mcp":{"servers":{"a":{"command":"1"}},"inputs":[]}}"#,
            &["a"],
        ),
        (
            r#"{"mcpServers":{"a":{"command":"1"}},"mcp":{"allowed":["a"]},"servers":7}"#,
            &["a"],
        ),
        (
            r#"{"mcpServers":[{"name":"a","command":"1"},{"url":"http://x"}]}"#,
            &["a", "server-1"],
        ),
        (
            r#"{"a":{"command":"1"},"b":{"serverUrl":"http://x"},"$schema":"x","c":{"d":1}}"#,
            &["a", "b"],
        ),
        (
            r#"{"mcpServers":{},"servers":{"a":{"command":"1"}}}"#,
            &["a"],
        ),
        (r#"{"httpUrl":"http://x"}"#, &["upstream"]),
        (r#"{"serverUrl":"http://x"}"#, &["upstream"]),
        (r#"{"command":["a","b"]}"#, &["upstream"]),
        (r#"{"servers":{}}"#, &[]),
    ] {
        let file = parsed(json).unwrap();
        assert_eq!(names(&file), expected, "{json}");
        assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    }
}

#[test]
fn the_proxys_own_section_is_read_next_to_any_list() {
    for list in [
        r#""servers":{"a":{"command":"1"}}"#,
        r#""a":{"command":"1"}"#,
    ] {
        let json = format!(r#"{{{list},"approvalProxy":{{"dryRun":true}}}}"#);
        let file = parsed(&json).unwrap();
        assert_eq!(file.proxy.dry_run, Some(true), "{json}");
        assert_eq!(names(&file), ["a"]);
        assert!(
            parsed(json.replace("dryRun", "dryRum"))
                .unwrap_err()
                .contains("/approvalProxy/dryRum")
        );
    }
    let error = parsed(r#"{"servers":{"a":{"command":"1","approvalProxy":{}}}}"#).unwrap_err();
    assert_eq!(
        error,
        "cfg.json: /servers/a/approvalProxy: this key has no effect here; move it to the top level of the \
         file"
    );
    assert!(parsed(r#"{"a":{"command":"1"},"approvalRules":{}}"#).is_err());
    assert!(parsed(r#"{"a":{"command":"1"},"alwaysDeny":["x"]}"#).is_err());
    assert_eq!(
        names(&parsed(r#"{"dryRun":{"command":"1"}}"#).unwrap()),
        ["dryRun"]
    );
}

#[test]
fn of_several_lists_the_first_is_read_and_a_warning_names_the_others() {
    let json = r#"{"servers":{"b":{"command":"2"}},"mcpServers":{"a":{"command":"1"}}}"#;
    let file = parsed(json).unwrap();
    assert_eq!(names(&file), ["a"]);
    assert_eq!(
        file.warnings,
        [
            "cfg.json: /servers: these servers are not read, because `/mcpServers` has servers; move \
          them there"
        ]
    );
}

// Issue 15: "A null or comment entry of another server does not refuse the file."
#[test]
fn a_member_that_is_not_a_server_does_not_affect_the_servers() {
    for json in [
        r#"{"mcpServers":{"_comment":"x","a":{"command":"1"},"b":null,"old":"disabled","n":1,"l":[]}}"#,
        r#"{"mcpServers":{"//":"x","//":"y","a":{"command":"1"}}}"#,
        r#"[null,"x",{"name":"a","command":"1"}]"#,
    ] {
        assert_eq!(names(&parsed(json).unwrap()), ["a"], "{json}");
    }
    let twins = r#"{"mcpServers":{"a":null,"a":{"command":"1"}}}"#;
    assert!(parsed(twins).unwrap_err().contains("written twice"));
}

#[test]
fn servers_of_single_projects_are_not_read_but_found() {
    let json = r#"{"numStartups":3,"projects":{"/home/me/x":{"mcpServers":{"a":{"command":"1"}}},"/y":{"mcpServers":{}}}}"#;
    let file = parsed(json).unwrap();
    assert!(file.servers.is_empty());
    let places: Vec<String> = file.elsewhere.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["/projects/~1home~1me~1x/mcpServers"]);
}

#[test]
fn a_byte_order_mark_at_the_start_is_skipped() {
    let file = parsed(b"\xef\xbb\xbf{\"command\":\"a\"}").unwrap();
    assert_eq!(names(&file), ["upstream"]);
    let error = parsed(b"\xef\xbb\xbf}").unwrap_err();
    assert!(error.starts_with("cfg.json:1:1: "), "{error}");
}

#[test]
fn hostile_depth_and_width_are_errors_or_harmless() {
    let deep = format!(r#"{{"mcpServers":{}"#, "[".repeat(1_000_000));
    assert!(parsed(deep).unwrap_err().contains("recursion limit"));
    let wide = (0..50_000)
        .map(|n| format!(r#"{{"name":"{n}"}}"#))
        .collect::<Vec<_>>();
    assert_eq!(
        parsed(format!("[{}]", wide.join(",")))
            .unwrap()
            .servers
            .len(),
        50_000
    );
}

#[test]
fn errors_never_write_to_the_terminal() {
    let error =
        parsed("{\"mcpServers\":{\"\\u001b[2J\":{\"approvalRules\":{\"\\n\":1}}}}").unwrap_err();
    assert!(
        error.starts_with(r"cfg.json: /mcpServers/\u{1b}[2J/approvalRules/\n: "),
        "{error}"
    );
}

/// JSON that resembles a config: our keys, with any value.
fn near_configs() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-1".to_owned()),
        Just("1e308".to_owned()),
        Just(r#""${A:-$B}""#.to_owned()),
        Just(r#""${env:A} %A% {env:A} ~/""#.to_owned()),
        Just(r#""[a-z""#.to_owned()),
        Just(r#""all""#.to_owned()),
    ];
    let keys = [
        "mcpServers",
        "approvalProxy",
        "approvalRules",
        "command",
        "args",
        "env",
        "cwd",
        "url",
        "type",
        "name",
        "servers",
        "mcp",
        "httpUrl",
        "envFile",
        "headers",
        "disabledTools",
        "mode",
        "timeout",
        "alwaysDeny",
        "customAnnotations",
        "x",
    ];
    leaf.prop_recursive(5, 64, 4, move |inner| {
        let member = (prop::sample::select(keys.to_vec()), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..4).prop_map(|members| {
                let members = members
                    .into_iter()
                    .map(|(key, value)| format!("\"{key}\":{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn survives(bytes: &[u8]) {
    if let Ok(file) = ConfigFile::parse(Path::new("cfg.json"), bytes) {
        let _ = resolve(Flags::new("cfg.json".into()), file, &Environment::default());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_config_panic(bytes: Vec<u8>) {
        survives(&bytes);
    }

    #[test]
    fn no_json_makes_a_config_panic(text in near_configs()) {
        survives(text.as_bytes());
    }
}
