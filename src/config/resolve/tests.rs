//! Tests of the choice of the server, the lists, the defaults and the warnings.

mod precedence;

use std::io::Write as _;
use std::path::Path;

use super::*;
use crate::config::file::ConfigFile;
use crate::config::value::Value;
use crate::gate::{Channel, DedupeField, Engine, TimeoutAction};
use crate::policy::Mode;

fn value<T: Value>(text: &str) -> Option<T> {
    Some(T::from_text(text).unwrap())
}

fn resolved(flags: Flags, json: &str, variables: &[(&str, &str)]) -> Result<Resolved, String> {
    let environment: Environment = variables.iter().copied().collect();
    let file = ConfigFile::parse(Path::new("cfg.json"), json.as_bytes()).unwrap();
    let ServerChoice::File { server, .. } = flags.server else {
        panic!("a server of the file");
    };
    Guarded::in_file(file, server, &environment)
        .and_then(|guarded| resolve(flags.layer, guarded, UserConfigs::default(), &environment))
        .map_err(|error| error.to_string())
}

fn flags() -> Flags {
    Flags::new("cfg.json".into())
}

fn with(mut flags: Flags, say: impl FnOnce(&mut Layer)) -> Flags {
    say(&mut flags.layer);
    flags
}

fn config(rules: &str, proxy: &str) -> String {
    format!(
        r#"{{"mcpServers":{{"db":{{"command":"db","approvalRules":{{{rules}}}}}}},
             "approvalProxy":{{{proxy}}}}}"#
    )
}

// contract.md, "Command line": "Lists of allow and deny are united over all sources".
#[test]
fn lists_of_allow_and_deny_are_united_over_all_sources() {
    let mut flags = flags();
    flags.layer.allow = Vec::from_text("a1").unwrap();
    flags.layer.deny = Vec::from_text("d1").unwrap();
    let json = config(
        r#""alwaysAllow":["a2"],"allowPatterns":["a3*"],"alwaysDeny":["d2"],"denyPatterns":["d3*"]"#,
        "",
    );
    let variables = [
        ("APPROVAL_ALWAYS_ALLOW", "a4"),
        ("APPROVAL_ALLOW_PATTERNS", r#"["a5*"]"#),
        ("APPROVAL_ALWAYS_DENY", "d4"),
        ("APPROVAL_DENY_PATTERNS", "d5*, d6"),
    ];
    let resolved = resolved(flags, &json, &variables).unwrap();
    assert_eq!(resolved.rules.allow, ["a1", "a2", "a3*", "a4", "a5*"]);
    assert_eq!(resolved.rules.deny, ["d1", "d2", "d3*", "d4", "d5*", "d6"]);
}

#[test]
fn a_timeout_beats_a_default_timeout_of_its_own_source_only() {
    let both = [
        ("APPROVAL_TIMEOUT", "1"),
        ("APPROVAL_DEFAULT_TIMEOUT", "2"),
        ("APPROVAL_TIMEOUT_ACTION", "approve"),
        ("APPROVAL_DEFAULT_TIMEOUT_ACTION", "deny"),
    ];
    let settings = resolved(flags(), &config("", ""), &both).unwrap().settings;
    assert_eq!(settings.timeout, Some(Duration::from_secs(1)));
    assert_eq!(settings.timeout_action, TimeoutAction::Approve);

    let proxy = config("", r#""defaultTimeout":3,"defaultTimeoutAction":"deny""#);
    let settings = resolved(flags(), &proxy, &both).unwrap().settings;
    assert_eq!(settings.timeout, Some(Duration::from_secs(3)));
    assert_eq!(settings.timeout_action, TimeoutAction::Deny);
}

// contract.md, "Command line": "how long a person has; 0 = no limit".
#[test]
fn a_timeout_of_zero_is_no_limit() {
    let settings = resolved(flags(), &config(r#""timeout":0"#, ""), &[])
        .unwrap()
        .settings;
    assert_eq!(settings.timeout, None);
}

#[test]
fn without_any_setting_the_defaults_of_the_contract_apply() {
    let resolved = resolved(flags(), &config("", ""), &[]).unwrap();
    let settings = Settings {
        server: "db".into(),
        // A prompt in the client, and the inbox for clients that cannot show one.
        channels: [Engine::Elicitation, Engine::INBOX]
            .map(Channel::new)
            .into(),
        ..Settings::default()
    };
    assert_eq!(resolved.settings, settings);
    assert_eq!(settings.timeout, Some(Duration::from_secs(120)));
    assert_eq!(settings.max_pending, 4096);
    let fields = [DedupeField::Server, DedupeField::Tool, DedupeField::Args];
    assert_eq!(settings.dedupe_fields, fields);
    assert_eq!(resolved.rules, Rules::default());
    assert_eq!(resolved.policy.mode(), Mode::Destructive);
    assert_eq!(resolved.max_message_size, 64 << 20);
    assert_eq!(resolved.audit_log, AuditLog::StateFolder);
    assert_eq!(resolved.config_path.as_deref(), Some(Path::new("cfg.json")));
    assert_eq!(resolved.warnings, [""; 0]);
}

#[test]
fn settings_that_only_flags_have_are_read() {
    let flags = with(flags(), |layer| {
        layer.audit_best_effort = Some(true);
        layer.max_message_size = value("1MiB");
        layer.max_pending = value("7");
    });
    let resolved = resolved(flags, &config("", ""), &[]).unwrap();
    assert!(resolved.settings.audit_best_effort);
    assert_eq!(resolved.settings.max_pending, 7);
    assert_eq!(resolved.max_message_size, 1 << 20);
}

#[test]
fn the_policy_follows_the_rules() {
    let json = config(r#""mode":"all","alwaysDeny":["rm"]"#, "");
    let resolved = resolved(flags(), &json, &[]).unwrap();
    assert_eq!(resolved.policy.mode(), Mode::All);
    assert!(resolved.policy.decide_by_name("rm").is_some());
}

const THREE: &str = r#"{"mcpServers":{"z":{"command":"1","approvalRules":{"mode":"all"}},
    "a":{"command":"${UNSET}"},"m":{"url":"http://x"}}}"#;

fn called(name: &str) -> ServerChoice {
    ServerChoice::File {
        upstream: "cfg.json".into(),
        server: Some(name.to_owned()),
    }
}

fn named(name: &str) -> Flags {
    Flags {
        server: called(name),
        ..flags()
    }
}

// contract.md, "Command line": "If there are several and none is named, the first that is not
// disabled is used, and a warning on stderr names the choice. An unknown name is an error that
// lists the names."
#[test]
fn the_first_server_is_chosen_and_a_warning_names_it() {
    let resolved = resolved(flags(), THREE, &[]).unwrap();
    assert_eq!(resolved.server.name, "z");
    assert_eq!(&*resolved.settings.server, "z");
    assert_eq!(resolved.rules.mode, Mode::All);
    assert_eq!(
        resolved.warnings,
        [
            "cfg.json: there are several servers (`z`, `a`, `m`); using `z`; choose another with \
         `--server NAME`",
        ]
    );
}

#[test]
fn a_named_server_is_chosen_without_a_warning_and_only_it_is_expanded() {
    let resolved = |name| resolved(named(name), THREE, &[]);
    let z = resolved("z").unwrap();
    assert_eq!((z.server.name.as_str(), z.warnings.len()), ("z", 0));
    assert!(
        resolved("a")
            .unwrap_err()
            .starts_with("cfg.json: /mcpServers/a/command: the variable `UNSET`")
    );
    assert!(matches!(
        resolved("m").unwrap().server.target,
        Target::Url(_)
    ));
}

#[test]
fn rules_of_other_servers_do_not_count() {
    let variables = [("UNSET", "cmd")];
    assert_eq!(
        resolved(named("a"), THREE, &variables).unwrap().rules.mode,
        Mode::Destructive
    );
}

#[test]
fn an_unknown_server_is_an_error_that_lists_the_names() {
    for name in ["b", "Z", ""] {
        assert_eq!(
            resolved(named(name), THREE, &[]).unwrap_err(),
            format!(
                "cfg.json: there is no server `{name}`; use `--server` with one of `z`, `a`, `m`"
            ),
        );
    }
}

#[test]
fn a_config_without_servers_is_an_error() {
    for json in ["[]", r#"{"mcpServers":{}}"#] {
        for flags in [flags(), named("a")] {
            assert_eq!(
                resolved(flags, json, &[]).unwrap_err(),
                "cfg.json: no server is configured; add one, as in `{\"mcpServers\": {\"NAME\": {\"command\": \"PROGRAM\"}}}`",
            );
        }
    }
}

fn over_http(host: Option<&str>) -> Flags {
    with(flags(), |layer| {
        layer.transport = Some(Transport::StreamableHttp);
        layer.host = host.map(|host| HostName::from_text(host).unwrap());
    })
}

#[test]
fn http_clients_are_served_on_loopback_by_default() {
    assert!(resolved(flags(), THREE, &[]).unwrap().http.is_none());
    let serving = resolved(over_http(None), THREE, &[]).unwrap().http.unwrap();
    assert_eq!((&*serving.host, serving.port), ("127.0.0.1", 8765));
    assert!(serving.token.is_none());
    for host in ["localhost", "::1", "127.0.0.9"] {
        assert!(
            resolved(over_http(Some(host)), THREE, &[]).is_ok(),
            "{host}"
        );
    }
}

#[test]
fn other_machines_may_connect_only_with_a_token_or_insecure_no_auth() {
    for host in ["0.0.0.0", "::", "192.168.1.7", "proxy.example"] {
        let error = resolved(over_http(Some(host)), THREE, &[]).unwrap_err();
        assert!(
            error.contains("--auth-token-file") && error.contains(host),
            "{error}"
        );
    }
    let variables = [("APPROVAL_AUTH_TOKEN", "s3cret-token")];
    let http = resolved(over_http(Some("0.0.0.0")), THREE, &variables);
    assert_eq!(
        http.unwrap().http.unwrap().token.unwrap().expose(),
        "s3cret-token"
    );
    let open = with(over_http(Some("0.0.0.0")), |layer| {
        layer.insecure_no_auth = Some(true);
    });
    assert!(resolved(open, THREE, &[]).unwrap().http.is_some());
}

// Any program that can reach loopback could answer its own prompts.
#[test]
fn http_clients_are_asked_only_with_a_token_or_insecure_no_auth() {
    let json = r#"{"command":"a"}"#;
    let anonymous = resolved(over_http(None), json, &[]).unwrap();
    assert_eq!(anonymous.settings.client, Client::Anonymous);
    let [message] = &anonymous.warnings[..] else {
        panic!("{:?}", anonymous.warnings);
    };
    assert!(
        message.contains("questions go to the inbox instead"),
        "{message}"
    );
    let elicitation = [("APPROVAL_ENGINES", "elicitation")];
    let alone = resolved(over_http(None), json, &elicitation).unwrap();
    assert!(
        alone.warnings[0].contains("are refused"),
        "{:?}",
        alone.warnings
    );
    let inbox = resolved(over_http(None), json, &[("APPROVAL_ENGINES", "inbox")]).unwrap();
    assert!(inbox.warnings.is_empty(), "{:?}", inbox.warnings);
    let token = [("APPROVAL_AUTH_TOKEN", "s3cret-token")];
    let open = with(over_http(None), |layer| layer.insecure_no_auth = Some(true));
    for (flags, variables) in [(over_http(None), &token[..]), (open, &[]), (flags(), &[])] {
        let known = resolved(flags, json, variables).unwrap();
        assert_eq!(known.settings.client, Client::Known);
        assert!(known.warnings.is_empty(), "{:?}", known.warnings);
    }
}

#[test]
fn a_token_of_our_own_needs_a_state_folder() {
    let auto = || {
        with(over_http(None), |layer| {
            layer.auth_token_file = Some("auto".into());
        })
    };
    let nowhere = resolved(auto(), THREE, &[]).unwrap_err();
    assert!(nowhere.contains("--state-dir"), "{nowhere}");
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state").display().to_string();
    let variables = [("APPROVAL_STATE_DIR", &*state)];
    let token = |flags| {
        let serving = resolved(flags, THREE, &variables).unwrap().http.unwrap();
        assert_eq!(
            serving.stored_token.unwrap(),
            Path::new(&state).join("auth-token")
        );
        serving.token.unwrap().expose().to_owned()
    };
    let made = token(auto());
    assert_eq!(made.len(), 64);
    assert_eq!(token(auto()), made);
}

#[test]
fn the_token_of_the_file_wins_and_a_bad_one_stops_the_start() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let with_file = |path: &Path| {
        with(over_http(None), |layer| {
            layer.auth_token_file = Some(path.to_owned());
        })
    };
    file.write_all(b"  from-the-file\n").unwrap();
    let variables = [("APPROVAL_AUTH_TOKEN", "from-the-environment")];
    let http = resolved(with_file(file.path()), THREE, &variables);
    assert_eq!(
        http.unwrap().http.unwrap().token.unwrap().expose(),
        "from-the-file"
    );
    for bad in [
        "",
        "short",
        "two words here",
        &"x".repeat(4_097),
        "gr\u{fc}n-gr\u{fc}n",
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bad.as_bytes()).unwrap();
        let error = resolved(with_file(file.path()), THREE, &[]).unwrap_err();
        assert!(error.contains("--auth-token-file") && (bad.is_empty() || !error.contains(bad)));
    }
    assert!(resolved(with_file(Path::new("/nonexistent")), THREE, &[]).is_err());
}

#[test]
fn settings_for_http_cause_a_warning_over_stdio() {
    let flags = with(over_http(Some("0.0.0.0")), |layer| {
        layer.transport = Some(Transport::Stdio);
    });
    let warnings = resolved(
        flags,
        r#"{"command":"a"}"#,
        &[("APPROVAL_AUTH_TOKEN", "s3cret-token")],
    );
    let warnings = warnings.unwrap().warnings;
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("`--host`") && warnings[1].contains("`APPROVAL_AUTH_TOKEN`"));
}

#[test]
fn approving_on_timeout_over_http_causes_a_warning() {
    let json = r#"{"command":"a","approvalRules":{"timeoutAction":"approve"}}"#;
    let warnings = resolved(over_http(None), json, &[]).unwrap().warnings;
    assert!(warnings[0].contains("no effect over HTTP"), "{warnings:?}");
    assert!(resolved(flags(), json, &[]).unwrap().warnings.is_empty());
}

#[test]
fn parking_without_the_inbox_causes_a_warning() {
    let json = |engines| {
        format!(
            r#"{{"command":"a","approvalRules":{{"timeoutAction":"park","engines":{engines}}}}}"#
        )
    };
    let warnings = |engines| resolved(flags(), &json(engines), &[]).unwrap().warnings;
    assert!(warnings(r#"["elicitation"]"#)[0].contains("`park` has no effect"));
    for engines in [r#"["elicitation","inbox"]"#, r#"["inbox"]"#] {
        assert!(warnings(engines).is_empty(), "{engines}");
    }
}

#[test]
fn warnings_about_the_file_are_kept() {
    let json = r#"{"command":"a","approvalMode":"never"}"#;
    assert_eq!(resolved(flags(), json, &[]).unwrap().warnings.len(), 1);
}

#[test]
fn a_header_that_the_protocol_sets_is_a_warning_unless_it_says_the_same() {
    let json = r#"{"url":"http://a/mcp","headers":{"Accept":"text/html","Authorization":"Bearer s3cret",
        "content-type":"application/json","MCP-Protocol-Version":"2025-06-18","X-Mine":"1"}}"#;
    let warnings = resolved(flags(), json, &[]).unwrap().warnings;
    let message = ["Accept", "MCP-Protocol-Version"].map(|name| {
        format!(
            "`{name}` in `headers` is not sent, because the protocol sets this header for each message"
        )
    });
    assert_eq!(warnings, message);
}

// contract.md, "Policy": "`{`, `}` and `\` are literal." People who know shells expect something
// else.
#[test]
fn a_pattern_that_looks_like_an_alternative_is_a_warning() {
    let mut flags = flags();
    // What the shell's `--deny 'drop_{a,b}'` becomes.
    flags.layer.deny = Vec::from_text("drop_{a,b}").unwrap();
    let json = config(r#""allowPatterns":["read_\\*","read_*"]"#, "");
    let warnings = resolved(flags, &json, &[]).unwrap().warnings;
    let message = [r"drop_{a", "b}", r"read_\*"].map(|pattern| {
        format!(
            r"pattern `{pattern}`: `{{`, `}}` and `\` are plain characters; write one pattern for each alternative"
        )
    });
    assert_eq!(warnings, message);
}

#[test]
fn a_setting_that_lets_all_calls_run_causes_a_warning_whatever_its_source() {
    let dry_run = "dry run: calls run without an approval, and are only recorded";
    let none = "mode `none`: no call needs an approval; only deny patterns refuse calls";
    for (rules, proxy, variables, message) in [
        ("", r#""dryRun":true"#, [("X", "")], dry_run),
        ("", "", [("APPROVAL_DRY_RUN", "1")], dry_run),
        (r#""mode":"none""#, "", [("X", "")], none),
        ("", "", [("APPROVAL_MODE", "none")], none),
    ] {
        let warnings = resolved(flags(), &config(rules, proxy), &variables);
        assert_eq!(warnings.unwrap().warnings, [message]);
    }
    let guarded = config(r#""mode":"all""#, r#""dryRun":false"#);
    let variables = [("APPROVAL_MODE", "none"), ("APPROVAL_DRY_RUN", "1")];
    let warnings = resolved(flags(), &guarded, &variables).unwrap().warnings;
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn a_bad_variable_stops_the_start_even_under_a_stronger_source() {
    let json = config(r#""mode":"all""#, "");
    let error = resolved(flags(), &json, &[("APPROVAL_MODE", "x")]).unwrap_err();
    assert!(
        error.starts_with("environment variable `APPROVAL_MODE`: "),
        "{error}"
    );
}

#[test]
fn a_tilde_in_cwd_and_audit_log_is_home() {
    let json = r#"{"command":"a","cwd":"~/work","approvalProxy":{"auditLog":"~/a.jsonl"}}"#;
    let resolved = |variables| resolved(flags(), json, variables);
    let home = resolved(&[("HOME", "/h")]).unwrap();
    let Target::Command(target) = &home.server.target else {
        panic!("it is started");
    };
    assert_eq!(target.cwd.as_deref(), Some(Path::new("/h/work")));
    assert_eq!(home.audit_log, AuditLog::File("/h/a.jsonl".into()));
    assert!(
        resolved(&[])
            .unwrap_err()
            .starts_with("cfg.json: server `upstream`: /cwd: `~/` needs the variable `HOME`")
    );
}

#[test]
fn secrets_are_not_printed_by_debug() {
    let json = r#"{"command":"a","args":["${T}"],"env":{"K":"${T}"},
        "approvalRules":{"approvalAuthToken":"hunter2"}}"#;
    let resolved = resolved(flags(), json, &[("T", "hunter2")]).unwrap();
    let Target::Command(target) = &resolved.server.target else {
        panic!("it is started");
    };
    assert_eq!(target.args, ["hunter2"]);
    assert!(!format!("{resolved:?}").contains("hunter2"));
}

#[test]
fn the_log_redacts_the_union_of_all_sources() {
    let rules = r#""auditRedact":{"names":["employeeId"]}"#;
    let proxy = r#""auditRedact":{"names":["caseId"],"patterns":["orion"]}"#;
    let variables = [("APPROVAL_AUDIT_REDACT", r#"{"patterns":["vega"]}"#)];
    let resolved = resolved(flags(), &config(rules, proxy), &variables).unwrap();
    assert_eq!(
        resolved
            .settings
            .redaction
            .text("employee_id=1 case-id=2 orion vega password=3"),
        "employee_id=[redacted] case-id=[redacted] [redacted] [redacted] password=[redacted]"
    );
}

// Issue 15: "`disabled: true` and `enabled: false` entries are skipped as the default server."
#[test]
fn a_disabled_server_is_used_only_by_name() {
    let json = r#"{"mcpServers":{"a":{"command":"a","disabled":true},"b":{"command":"b","enabled":false},
                   "c":{"command":"c"}}}"#;
    let found = resolved(flags(), json, &[]).unwrap();
    assert_eq!(found.server.name, "c");
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    let mut named = flags();
    named.server = called("a");
    let found = resolved(named, json, &[]).unwrap();
    assert_eq!(found.server.name, "a");
    assert_eq!(
        found.warnings,
        ["cfg.json: server `a` is disabled in this file, but used because `--server` names it"]
    );
    let all = r#"{"mcpServers":{"a":{"command":"a","disabled":true},"b":{"command":"b","enabled":false}}}"#;
    assert_eq!(
        resolved(flags(), all, &[]).unwrap_err(),
        "cfg.json: every server is disabled; start one anyway with `--server` (`a`, `b`), or remove \
         its `disabled` or `enabled` key"
    );
}

#[test]
fn a_member_that_is_not_a_server_is_an_error_if_it_is_chosen_or_the_only_one() {
    let json = r#"{"mcpServers":{"old":"disabled","a":{"command":"a"}}}"#;
    assert_eq!(resolved(flags(), json, &[]).unwrap().server.name, "a");
    let mut named = flags();
    named.server = called("old");
    let message = "cfg.json: /mcpServers/old: expected the entry of a server, an object with a `command` or a \
                `url`, found a string";
    assert_eq!(resolved(named, json, &[]).unwrap_err(), message);
    let alone = r#"{"mcpServers":{"old":"disabled"}}"#;
    assert_eq!(resolved(flags(), alone, &[]).unwrap_err(), message);
    let error = resolved(flags(), "[7]", &[]).unwrap_err();
    assert!(
        error.starts_with("cfg.json: /0: expected the entry"),
        "{error}"
    );
}

#[test]
fn the_error_mentions_servers_of_single_projects_if_no_server_is_found() {
    let projects = r#""projects":{"/x":{"mcpServers":{"a":{"command":"1"}}}}"#;
    let message = "the servers in `/projects/~1x/mcpServers` are not read: copy the one you want to the top-level \
                `mcpServers`";
    for json in [
        format!("{{{projects}}}"),
        format!(r#"{{"mcpServers":{{}},{projects}}}"#),
    ] {
        let error = resolved(flags(), &json, &[]).unwrap_err();
        assert!(
            error.contains("no server is configured") && error.contains(message),
            "{error}"
        );
    }
    let mut named = flags();
    named.server = called("a");
    let json = format!(r#"{{"mcpServers":{{"b":{{"command":"1"}}}},{projects}}}"#);
    let error = resolved(named, &json, &[]).unwrap_err();
    assert!(
        error.contains("there is no server `a`") && error.contains(message),
        "{error}"
    );
}

#[test]
fn an_error_names_the_server_if_its_place_does_not() {
    for (json, message) in [
        (
            r#"[{"name":"db","command":"${NO}"}]"#,
            "cfg.json: server `db`: /0/command: ",
        ),
        (
            r#"{"command":"${NO}"}"#,
            "cfg.json: server `upstream`: /command: ",
        ),
        (
            r#"{"mcpServers":{"db":{"command":"${NO}"}}}"#,
            "cfg.json: /mcpServers/db/command: ",
        ),
    ] {
        let error = resolved(flags(), json, &[]).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
}

// Issue 15: "`disabledTools` where their meaning is clear"
#[test]
fn disabled_tools_are_deny_rules() {
    let json = r#"{"mcpServers":{"a":{"command":"a","disabledTools":["delete_x"],
                   "approvalRules":{"alwaysDeny":["rm"]}}}}"#;
    let found = resolved(flags(), json, &[]).unwrap();
    assert_eq!(found.rules.deny, ["rm", "delete_x"]);
    assert!(found.warnings.is_empty());
}

// Issue 15: "Where a config names a variable that is set in the environment as `$NAME`, warn once."
#[test]
fn variables_and_keys_of_other_clients_cause_one_warning_each() {
    let json = r#"{"mcpServers":{"a":{"command":"a","args":["$TOKEN","$TOKEN"],"env":{"A":"$TOKEN$NO"},
                   "autoApprove":["x"]},"b":{"command":"$TOKEN","autoApprove":["y"],"disabled":true}}}"#;
    let found = resolved(flags(), json, &[("TOKEN", "s3cret")]).unwrap();
    assert_eq!(
        found.warnings,
        [
            "cfg.json: /mcpServers/a/args/0: `$TOKEN` is plain text here, because only `${NAME}` is a \
             variable; write `${TOKEN}` for the value",
            "cfg.json: /mcpServers/a: `autoApprove` has no effect here; list tools that need no approval in \
             `alwaysAllow` in `approvalRules`",
        ]
    );
}

// Issue 15: "`~/` works in every path, including `command` and `--upstream`."
#[test]
fn a_tilde_in_the_path_of_the_token_file_is_home() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "eight888").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).unwrap();
    let mut flags = flags();
    flags.layer.transport = Some(Transport::StreamableHttp);
    flags.layer.auth_token_file = Some("~/token".into());
    let home = folder.path().to_str().unwrap();
    let found = resolved(flags, r#"{"command":"a"}"#, &[("HOME", home)]).unwrap();
    assert_eq!(found.http.unwrap().token.unwrap().expose(), "eight888");
}
