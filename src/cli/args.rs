//! Every flag of the command line, as clap sees it, and as `config` takes it.
//!
//! It reads neither file nor environment, and prints nothing.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::commands::Command;
use super::exit_code;
use crate::config::{
    ByteSize, DedupeFields, Engines, Fault, Flags, HostName, InboxFlags, Layer, Multiplier,
    Pattern, Problem, Seconds, Transport, Value, Whole, WholeSeconds, Word, escaped,
};
use crate::gate::TimeoutAction;
use crate::policy::Mode;

/// A transparent MCP proxy that asks a human before an AI agent's tool call runs
///
/// An MCP client starts it in place of a server: it starts the real server, relays every message, and
/// asks before a tool call that the policy is careful about. For example:
///
///   claude mcp add files -- approval-proxy --upstream ~/servers.json --server files
#[derive(Debug, Clone, Parser)]
#[command(name = "approval-proxy", version, verbatim_doc_comment)]
#[command(after_help = MORE, after_long_help = exit_code::help())]
#[command(override_usage = USAGE)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// Config file that lists the MCP servers; a Claude Desktop or Claude Code config will do
    #[arg(short, long, value_name = "FILE", help_heading = UPSTREAM)]
    upstream: Option<PathBuf>,

    /// Which server of the config to start [default: the first]
    #[arg(short, long, value_name = "NAME", help_heading = UPSTREAM)]
    server: Option<String>,

    /// Which calls are asked about when no rule names the tool [default: destructive]
    #[arg(short, long, help_heading = POLICY, value_parser = word::<Mode>())]
    mode: Option<Mode>,

    /// Tools that run without asking: names or globs, comma-separated; repeatable
    #[arg(long, value_name = "PATTERN", help_heading = POLICY, value_parser = patterns)]
    allow: Vec<Patterns>,

    /// Tools that never run: names or globs, comma-separated; repeatable; beats --allow
    #[arg(long, value_name = "PATTERN", help_heading = POLICY, value_parser = patterns)]
    deny: Vec<Patterns>,

    /// Record what would happen; hold and refuse nothing
    #[arg(long, help_heading = POLICY)]
    dry_run: bool,

    /// Put decision source, risk, mode and rule into refusals
    #[arg(hide_short_help = true)]
    #[arg(long, help_heading = POLICY)]
    explain: bool,

    /// How long a human has, in seconds; 0 is no limit [default: 120]
    #[arg(long, value_name = "SECONDS", help_heading = ASKING, value_parser = value::<Seconds>)]
    #[arg(allow_negative_numbers = true)]
    timeout: Option<Seconds>,

    /// What a prompt that nobody answered in time comes to; approve holds not where two approvals
    /// are needed [default: deny]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "ACTION", help_heading = ASKING, value_parser = word::<TimeoutAction>())]
    timeout_action: Option<TimeoutAction>,

    /// Who asks, in this order: elicitation (a prompt in the client), inbox (a page on this machine)
    /// [default: elicitation,inbox]
    #[arg(long, value_name = "ENGINES", help_heading = ASKING, value_parser = value::<Engines>)]
    engine: Option<Engines>,

    /// How long a parked question stays open, in seconds, from 1 [default: 3600]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "SECONDS", help_heading = ASKING, value_parser = value::<WholeSeconds>)]
    #[arg(allow_negative_numbers = true)]
    approval_park_seconds: Option<WholeSeconds>,

    #[command(flatten)]
    inbox: InboxArgs,

    /// How long an approval covers identical calls, in seconds; 0 is not at all [default: 0]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "SECONDS", help_heading = ASKING, value_parser = value::<Seconds>)]
    #[arg(allow_negative_numbers = true)]
    approve_ttl: Option<Seconds>,

    /// Ask twice about calls of high risk
    #[arg(hide_short_help = true)]
    #[arg(long, help_heading = ASKING)]
    high_risk_double_confirm: bool,

    /// Further tries when the client could not show a prompt, at most 1000 [default: 2]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "COUNT", help_heading = ASKING, value_parser = value::<Whole<0, 1000>>)]
    #[arg(allow_negative_numbers = true)]
    approval_retry_attempts: Option<Whole<0, 1000>>,

    /// Pause before the first further try, in seconds [default: 0.5]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "SECONDS", help_heading = ASKING, value_parser = value::<Seconds>)]
    #[arg(allow_negative_numbers = true)]
    approval_retry_backoff: Option<Seconds>,

    /// Longest pause between tries, in seconds [default: 5]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "SECONDS", help_heading = ASKING, value_parser = value::<Seconds>)]
    #[arg(allow_negative_numbers = true)]
    approval_retry_max_backoff: Option<Seconds>,

    /// By how much each pause is longer than the one before, from 1 to 1000 [default: 2]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "FACTOR", help_heading = ASKING, value_parser = value::<Multiplier>)]
    #[arg(allow_negative_numbers = true)]
    approval_retry_multiplier: Option<Multiplier>,

    /// What makes two calls identical, of server, tool, args, risk [default: server,tool,args]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "FIELDS", help_heading = ASKING, value_parser = value::<DedupeFields>)]
    approval_dedupe_key_fields: Option<DedupeFields>,

    /// The argument keys that count for `args`, comma-separated [default: all]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "KEYS", help_heading = ASKING, value_parser = keys)]
    approval_dedupe_arg_keys: Option<Keys>,

    /// Append one JSON line per decision to this file; `stderr` is stderr alone
    ///
    /// By default it is `audit/SERVER.jsonl` in the state folder, rotated at 64 MiB, with a copy on
    /// stderr
    #[arg(long, value_name = "FILE", help_heading = AUDIT)]
    audit_log: Option<PathBuf>,

    /// Let calls that need no approval run when the log cannot be written
    #[arg(hide_short_help = true)]
    #[arg(long, help_heading = AUDIT)]
    audit_best_effort: bool,

    /// Largest message either way: bytes, or with KiB, MiB, GiB [default: 64MiB]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, value_parser = ByteSize::from_text)]
    #[arg(allow_negative_numbers = true)]
    max_message_size: Option<ByteSize>,

    /// How many requests may wait at once, from 1 to 1048576 [default: 4096]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "COUNT", help_heading = LIMITS, value_parser = value::<Whole<1, 1_048_576>>)]
    #[arg(allow_negative_numbers = true)]
    max_pending: Option<Whole<1, 1_048_576>>,

    /// How clients reach the proxy; `http` is `streamable-http` [default: stdio]
    #[arg(long, help_heading = TRANSPORT, value_parser = word::<Transport>())]
    transport: Option<Transport>,

    /// Address that the HTTP transports bind [default: 127.0.0.1]
    #[arg(hide_short_help = true)]
    #[arg(long, help_heading = TRANSPORT, value_parser = value::<HostName>)]
    host: Option<HostName>,

    /// Port that the HTTP transports bind; 0 is any that is free [default: 8765]
    #[arg(long, help_heading = TRANSPORT, value_parser = value::<Whole<0, 65_535>>)]
    #[arg(allow_negative_numbers = true)]
    port: Option<Whole<0, 65_535>>,

    /// Require HTTP clients to send the bearer token in this file; `auto` creates one in the state
    /// folder; or set APPROVAL_AUTH_TOKEN
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "FILE", help_heading = TRANSPORT)]
    auth_token_file: Option<PathBuf>,

    /// Without a token, let any client that can connect answer its own prompts, and allow other
    /// machines to connect
    #[arg(hide_short_help = true)]
    #[arg(long, help_heading = TRANSPORT)]
    insecure_no_auth: bool,

    /// Accept requests for this host name, beside localhost and IP addresses; repeatable
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "NAME", help_heading = TRANSPORT, value_parser = value::<HostName>)]
    allowed_host: Vec<HostName>,
}

/// Where the inbox is: the same for every command that has to do with it.
#[derive(Debug, Clone, clap::Args)]
pub struct InboxArgs {
    /// Folder that all your proxies share; or APPROVAL_STATE_DIR [default: approval-proxy in
    /// $XDG_STATE_HOME, else in ~/.local/state]
    #[arg(long, value_name = "DIR", help_heading = INBOX)]
    state_dir: Option<PathBuf>,

    /// Port of the inbox's page; 0 is any that is free [default: 8766]
    #[arg(long, value_name = "PORT", help_heading = INBOX, value_parser = value::<Whole<0, 65_535>>)]
    #[arg(allow_negative_numbers = true)]
    inbox_port: Option<Whole<0, 65_535>>,

    /// Never open a browser
    #[arg(long, help_heading = INBOX)]
    no_browser: bool,
}

impl InboxArgs {
    /// The flags as `config` takes them.
    #[must_use]
    pub fn into_flags(self) -> InboxFlags {
        InboxFlags {
            state_dir: self.state_dir,
            port: self.inbox_port,
            no_browser: self.no_browser,
            approver: None,
        }
    }
}

impl Args {
    /// Reads a command line, of which the first item is the program's name.
    ///
    /// # Errors
    /// What clap refuses, and a missing `--upstream`: an error for stderr, which
    /// [`usage_line`] makes one line. A request for help or the version: a text for stdout
    /// (`use_stderr()` is false).
    pub fn read<I, T>(arguments: I) -> Result<Args, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let args = Args::try_parse_from(arguments)?;
        // Not clap's `required`: the subcommands beside the bare form need no file.
        if args.upstream.is_none() && args.command.is_none() {
            let mut command = Args::command();
            return Err(command.error(ErrorKind::MissingRequiredArgument, NO_UPSTREAM));
        }
        Ok(args)
    }

    /// The flags as `config` takes them.
    #[must_use]
    pub fn into_flags(self) -> Flags {
        Flags {
            // `read` lets no `Args` out without it; an empty path cannot be opened either.
            upstream: self.upstream.unwrap_or_default(),
            server: self.server,
            audit_best_effort: self.audit_best_effort,
            max_message_size: self.max_message_size.unwrap_or(ByteSize::DEFAULT),
            max_pending: self.max_pending,
            transport: self.transport.unwrap_or_default(),
            host: self.host,
            port: self.port,
            auth_token_file: self.auth_token_file,
            insecure_no_auth: self.insecure_no_auth,
            allowed_hosts: self.allowed_host,
            inbox: self.inbox.into_flags(),
            layer: Layer {
                mode: self.mode,
                allow: self.allow.into_iter().flat_map(|list| list.0).collect(),
                deny: self.deny.into_iter().flat_map(|list| list.0).collect(),
                timeout: self.timeout,
                timeout_action: self.timeout_action,
                dry_run: self.dry_run.then_some(true),
                audit_log: self.audit_log,
                engines: self.engine,
                park: self.approval_park_seconds,
                approval_ttl: self.approve_ttl,
                explain: self.explain.then_some(true),
                double_confirm: self.high_risk_double_confirm.then_some(true),
                retry_attempts: self.approval_retry_attempts,
                retry_initial_backoff: self.approval_retry_backoff,
                retry_max_backoff: self.approval_retry_max_backoff,
                retry_multiplier: self.approval_retry_multiplier,
                dedupe_fields: self.approval_dedupe_key_fields,
                dedupe_arg_keys: self.approval_dedupe_arg_keys.map(|keys| keys.0),
                ..Layer::default()
            },
        }
    }
}

/// A usage error in one line, without the help that clap puts below it and without control
/// characters that an argument may hold.
#[must_use]
pub fn usage_line(error: &clap::Error) -> String {
    // Only `approvals` needs one; clap would print its help.
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "say what to do: `approval-proxy approvals list`, `show`, `approve` or `deny`; see \
                --help"
            .to_owned();
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let told: Vec<&str> = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    let told = escaped(&told.join(" ").replace(" tip: ", "; "));
    format!(
        "{}; see --help",
        told.strip_prefix("error: ").unwrap_or(&told)
    )
}

/// What one `--allow` or `--deny` holds.
#[derive(Debug, Clone)]
struct Patterns(Vec<Pattern>);

/// What `--approval-dedupe-arg-keys` holds. clap would read a bare `Vec` as "repeatable".
#[derive(Debug, Clone)]
struct Keys(Vec<String>);

const USAGE: &str = "approval-proxy --upstream <FILE> [OPTIONS]
       approval-proxy inbox [OPTIONS]
       approval-proxy approvals list|show|approve|deny [OPTIONS]";
const MORE: &str = "See --help for every option and the exit codes, and `approval-proxy help inbox` or \
                    `help approvals` for the commands.";
const UPSTREAM: &str = "Upstream";
const POLICY: &str = "Policy";
const ASKING: &str = "Asking";
const AUDIT: &str = "Audit";
const INBOX: &str = "Inbox";
const LIMITS: &str = "Limits";
const TRANSPORT: &str = "Transport";

const NO_UPSTREAM: &str = "no config file is given; name the JSON file that lists your MCP \
                           servers with `--upstream FILE`";

fn value<T: Value>(text: &str) -> Result<T, Fault> {
    T::from_text(text.trim())
}

fn patterns(text: &str) -> Result<Patterns, Fault> {
    let patterns: Vec<Pattern> = value(text)?;
    // A variable that is not set leaves `--deny ""`, and an operator who believes that it counts.
    match patterns.is_empty() {
        true => Err(Fault::from(Problem::Unexpected {
            expected: Pattern::expected(),
            found: "none".to_owned(),
        })),
        false => Ok(Patterns(patterns)),
    }
}

fn keys(text: &str) -> Result<Keys, Fault> {
    value(text).map(Keys)
}

fn word<T: Word + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let words = T::WORDS.iter().map(|(word, _)| {
        let aliases = T::ALIASES.iter().filter(move |(_, meant)| meant == word);
        PossibleValue::new(*word).aliases(aliases.map(|(alias, _)| *alias))
    });
    PossibleValuesParser::new(words).try_map(|text| T::from_text(&text))
}

#[cfg(test)]
mod tests;
