//! Every flag of the contract: its name, its default in the help, its field in `Flags`.

use std::path::PathBuf;

use clap::CommandFactory;

use super::*;
use crate::config::{DedupeFields, Flags, Layer, Pattern, ServerChoice, Transport, Value};
use crate::gate::{DedupeField, TimeoutAction};
use crate::policy::Mode;

fn read(flags: &[&str]) -> Result<Flags, clap::Error> {
    let program = ["approval-proxy", "--upstream", "cfg.json"];
    let args = Args::read(program.iter().chain(flags));
    args.map(|args| args.options.into_flags())
}

fn error(flags: &[&str]) -> String {
    usage_line(&read(flags).unwrap_err())
}

fn layer(flags: &[&str]) -> Layer {
    read(flags).unwrap().layer
}

fn of<T: Value>(text: &str) -> Option<T> {
    Some(T::from_text(text).unwrap())
}

#[test]
fn the_command_line_is_well_formed() {
    Args::command().debug_assert();
}

// contract.md, "Command line": every flag is read as it says.
#[test]
fn every_flag_of_the_contract_is_there_with_its_default_in_the_help() {
    let help = Args::command().render_long_help().to_string();
    let about = |flag: &str| {
        let from = help.split(&format!("{flag} <")).nth(1).unwrap_or_default();
        from.split("--")
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (flag, default) in [
        ("--server", "the first"),
        ("--mode", "destructive"),
        ("--timeout", "120"),
        ("--timeout-action", "deny"),
        ("--approve-ttl", "0"),
        ("--max-message-size", "64MiB"),
        ("--max-pending", "4096"),
        ("--transport", "stdio"),
        ("--host", "127.0.0.1"),
        ("--port", "8765"),
        ("--approval-retry-attempts", "2"),
        ("--approval-retry-backoff", "0.5"),
        ("--approval-retry-max-backoff", "5"),
        ("--approval-retry-multiplier", "2"),
        ("--approval-dedupe-key-fields", "server,tool,args"),
        ("--approval-dedupe-arg-keys", "all"),
    ] {
        let about = about(flag);
        assert!(
            about.contains(&format!("[default: {default}]")),
            "{flag}: {about}"
        );
    }
    for flag in [
        "-u, --upstream <FILE>",
        "-s, --server <NAME>",
        "-m, --mode <MODE>",
        "--allow <PATTERN>",
        "--deny <PATTERN>",
        "--explain\n",
        "--high-risk-double-confirm\n",
        "--dry-run\n",
        "--audit-best-effort\n",
        "--audit-log <FILE>",
        "--auth-token-file <FILE>",
        "--insecure-no-auth\n",
        "--version\n",
        "--help\n",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
    for heading in [
        "Upstream",
        "Policy",
        "Asking",
        "Audit",
        "Limits",
        "Transport",
        "Exit codes",
    ] {
        assert!(help.contains(&format!("\n{heading}:\n")), "{heading}");
    }
}

/// Returns the file and the server that the flags name.
fn in_file(flags: Flags) -> (PathBuf, Option<String>) {
    match &flags.server {
        ServerChoice::File { upstream, server } => (upstream.clone(), server.clone()),
        ServerChoice::Command { .. } | ServerChoice::Url { .. } | ServerChoice::None { .. } => {
            panic!("{:?}", flags.server)
        }
    }
}

#[test]
fn without_further_flags_the_layer_is_empty() {
    let flags = read(&[]).unwrap();
    assert_eq!(flags.layer, Layer::default());
    assert_eq!(in_file(flags), ("cfg.json".into(), None));
}

#[test]
#[rustfmt::skip]
fn each_flag_arrives_in_its_field() {
    let cases: [(&[&str], Layer); 18] = [
        (&["--mode", "all"], Layer { mode: Some(Mode::All), ..Layer::default() }),
        (&["-m", "cautious"], Layer { mode: Some(Mode::Cautious), ..Layer::default() }),
        (&["-m", "none"], Layer { mode: Some(Mode::None), ..Layer::default() }),
        (&["--timeout", "0.5"], Layer { timeout: of("0.5"), ..Layer::default() }),
        (&["--timeout-action", "approve"], Layer { timeout_action: Some(TimeoutAction::Approve), ..Layer::default() }),
        (&["--approve-ttl", "60"], Layer { approval_ttl: of("60"), ..Layer::default() }),
        (&["--explain"], Layer { explain: Some(true), ..Layer::default() }),
        (&["--high-risk-double-confirm"], Layer { double_confirm: Some(true), ..Layer::default() }),
        (&["--dry-run"], Layer { dry_run: Some(true), ..Layer::default() }),
        (&["--audit-log", "a.jsonl"], Layer { audit_log: Some("a.jsonl".into()), ..Layer::default() }),
        (&["--approval-retry-attempts", "0"], Layer { retry_attempts: of("0"), ..Layer::default() }),
        (&["--approval-retry-backoff", "1"], Layer { retry_initial_backoff: of("1"), ..Layer::default() }),
        (&["--approval-retry-max-backoff", "9"], Layer { retry_max_backoff: of("9"), ..Layer::default() }),
        (&["--approval-retry-multiplier", "1.5"], Layer { retry_multiplier: of("1.5"), ..Layer::default() }),
        (&["--approval-dedupe-key-fields", "tool, risk"], Layer { dedupe_fields: of("tool,risk"), ..Layer::default() }),
        (&["--approval-dedupe-arg-keys", "id, path"], Layer { dedupe_arg_keys: of("id,path"), ..Layer::default() }),
        (&["--allow", "a"], Layer { allow: Vec::from_text("a").unwrap(), ..Layer::default() }),
        (&["--deny", "d"], Layer { deny: Vec::from_text("d").unwrap(), ..Layer::default() }),
    ];
    for (flags, expected) in cases {
        assert_eq!(layer(flags), expected, "{flags:?}");
    }
}

#[test]
fn the_flags_of_the_http_transports_arrive() {
    let flags = read(&[
        "--host",
        "::1",
        "--port",
        "80",
        "--auth-token-file",
        "t",
        "--insecure-no-auth",
    ]);
    let flags = flags.unwrap().layer;
    assert_eq!(flags.host.unwrap().as_str(), "::1");
    assert_eq!(flags.port.unwrap().get(), 80);
    assert_eq!(flags.auth_token_file.unwrap(), std::path::Path::new("t"));
    assert_eq!(flags.insecure_no_auth, Some(true));
}

#[test]
fn flags_without_a_key_are_read() {
    let flags = read(&[
        "-s",
        "db",
        "--audit-best-effort",
        "--max-message-size",
        "1MiB",
        "--max-pending",
        "7",
        "--transport",
        "sse",
    ]);
    let flags = flags.unwrap();
    assert_eq!(in_file(flags.clone()).1.as_deref(), Some("db"));
    assert_eq!(flags.layer.audit_best_effort, Some(true));
    assert_eq!(flags.layer.max_message_size, of("1MiB"));
    assert_eq!(flags.layer.max_pending, of("7"));
    assert_eq!(flags.layer.transport, Some(Transport::Sse));
    let flags = read(&["--server", "x"]).unwrap();
    assert_eq!(in_file(flags).1.as_deref(), Some("x"));
}

// contract.md, "Command line": "`--allow PATTERN` and `--deny PATTERN` are repeatable and take
// comma lists; white space is trimmed."
#[test]
fn allow_and_deny_are_repeatable_comma_lists() {
    let layer = layer(&[
        "--allow",
        " a , b*,",
        "--allow=c",
        "--deny",
        "x,y",
        "--deny",
        "z",
    ]);
    assert_eq!(layer.allow, Vec::<Pattern>::from_text("a,b*,c").unwrap());
    assert_eq!(layer.deny, Vec::<Pattern>::from_text("x,y,z").unwrap());
}

#[test]
fn the_default_dedupe_fields_are_those_in_the_help() {
    let fields = of::<DedupeFields>("server,tool,args").unwrap().into_vec();
    assert_eq!(
        fields,
        [DedupeField::Server, DedupeField::Tool, DedupeField::Args]
    );
}

#[test]
fn a_bad_value_is_an_error_in_one_line() {
    let seconds = "expected seconds from 0 to 315360000 (ten years)";
    for (flags, message) in [
        (["--timeout", "-1"], seconds),
        (["--timeout", "NaN"], seconds),
        (["--timeout", "1e300"], seconds),
        (["--approve-ttl", "-1"], seconds),
        (["--approval-retry-backoff", "-1"], seconds),
        (["--approval-retry-max-backoff", "-1"], seconds),
        (
            ["--approval-retry-attempts", "-1"],
            "expected a whole number from 0 to 1000",
        ),
        (
            ["--approval-retry-multiplier", "-1"],
            "expected a number from 1 to 1000",
        ),
        (["--max-message-size", "-1"], "expected a size from 64KiB"),
        (["--max-message-size", "1KiB"], "expected a size from 64KiB"),
        (
            ["--max-pending", "0"],
            "expected a whole number from 1 to 1048576",
        ),
        (
            ["--max-pending", "-1"],
            "expected a whole number from 1 to 1048576",
        ),
        (
            ["--port", "65536"],
            "expected a whole number from 0 to 65535",
        ),
        (["--port", "-1"], "expected a whole number from 0 to 65535"),
        (["--host", "http://a"], "expected a host name"),
        (["--allow", "[a"], "the pattern `[a`"),
        (["--deny", "[a"], "the pattern `[a`"),
        (["--deny", ""], "expected a tool name or a glob"),
        (["--deny", " , "], "expected a tool name or a glob"),
        (["--allow", "[]"], "expected a tool name or a glob"),
        (
            ["--mode", "ask"],
            "[possible values: destructive, cautious, all, annotated, none]",
        ),
        (
            ["--timeout-action", "ask"],
            "[possible values: approve, deny, park]",
        ),
        (
            ["--transport", "ws"],
            "[possible values: stdio, sse, streamable-http]",
        ),
        (
            ["--approval-dedupe-key-fields", "tools"],
            "expected one of `server`, `tool`, `args`, `risk`",
        ),
        (["--audit-log", ""], "a value is required"),
    ] {
        let error = error(&flags);
        assert!(
            error.contains(flags[0]) && error.contains(message),
            "{error}"
        );
        assert!(
            !error.contains('\n') && !error.starts_with("error"),
            "{error}"
        );
        assert!(error.ends_with("; see --help"), "{error}");
    }
}

#[test]
fn an_unknown_flag_is_an_error_with_the_nearest_one() {
    let error = error(&["--dryrun"]);
    assert_eq!(
        error,
        "unexpected argument '--dryrun' found; a similar argument exists: '--dry-run'; \
         see --help",
    );
}

#[test]
fn approvals_without_a_subcommand_is_an_error_that_lists_them() {
    let error = Args::read(["approval-proxy", "approvals"].map(OsString::from)).unwrap_err();
    assert_eq!(
        usage_line(&error),
        "missing subcommand; use `approval-proxy approvals list`, `show`, `approve` or `deny`; see --help"
    );
}

#[test]
fn a_missing_server_is_a_usage_error_that_says_what_to_do() {
    let error = Args::read(["approval-proxy", "--dry-run"]).unwrap_err();
    assert_eq!(error.exit_code(), i32::from(exit_code::USAGE));
    assert_eq!(
        usage_line(&error),
        "no server is given; name the file that lists your MCP servers with `--upstream FILE`, or give \
         the server's own command after `--`, or its URL with `--url`; see --help",
    );
}

// contract.md, "Command line": "`--version` and `--help` work without a config."
#[test]
fn version_and_help_work_without_a_config() {
    for (flag, message) in [
        ("--version", "approval-proxy "),
        ("-V", "approval-proxy "),
        ("--help", "--upstream"),
        ("-h", "--upstream"),
    ] {
        let error = Args::read(["approval-proxy", flag]).unwrap_err();
        assert!(!error.use_stderr());
        assert_eq!(error.exit_code(), i32::from(exit_code::OK));
        assert!(error.to_string().contains(message), "{flag}");
    }
}

#[test]
fn usage_errors_go_to_stderr_and_exit_with_the_usage_code() {
    let error = read(&["--mode", "ask"]).unwrap_err();
    assert!(error.use_stderr());
    assert_eq!(error.exit_code(), i32::from(exit_code::USAGE));
}

#[test]
fn a_flag_given_twice_is_an_error() {
    assert!(error(&["--mode", "all", "--mode", "none"]).contains("cannot be used multiple times"));
}

#[test]
fn a_stray_argument_is_an_error() {
    assert_eq!(
        error(&["npx", "-y", "x"]),
        "unexpected argument 'npx' found; put `--` in front of the server's command; see --help"
    );
    assert!(error(&["--dry-run", "npx"]).contains("put `--` in front"));
    let error = |words: &[&str]| usage_line(&Args::read(words).unwrap_err());
    assert!(!error(&["approval-proxy", "inbox", "x"]).contains("put `--` in front"));
    assert!(error(&["approval-proxy", "\u{202e}x"]).contains(r"'\u{202e}x'"));
}

#[test]
fn the_state_dir_may_come_before_or_after_the_subcommand_of_approvals() {
    for flags in [
        ["approvals", "--state-dir", "/s", "list"],
        ["approvals", "list", "--state-dir", "/s"],
    ] {
        let args = Args::read(["approval-proxy"].iter().chain(&flags)).unwrap();
        let Some(Command::Approvals(command)) = args.command else {
            panic!("{flags:?}");
        };
        assert_eq!(command.state_dir.0.state_dir.unwrap().to_str(), Some("/s"));
    }
}
