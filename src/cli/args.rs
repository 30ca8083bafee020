//! The whole command line: the proxy's own options, or a subcommand.
//!
//! Reads no file or environment variable, and prints nothing.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use super::approvals::ApprovalsCommand;
use super::exit_code;
use super::inbox::InboxCommand;
use super::options::ProxyOptions;
use crate::config::escaped;

/// Hold an AI agent's risky MCP tool calls until a person approves them
///
/// An MCP client starts the proxy in place of a server. The proxy starts the real server, relays every
/// message, and asks a person before a risky tool call runs. For example:
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

    #[command(flatten)]
    pub(super) options: ProxyOptions,
}

/// A subcommand. Without one, the program runs the proxy.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Open the inbox page in a browser, and serve it if no proxy does
    Inbox(InboxCommand),
    /// List, show and decide items of the inbox in the terminal
    Approvals(ApprovalsCommand),
}

impl Args {
    /// Reads a command line. Its first item is the program's name.
    ///
    /// # Errors
    /// For a bad command line or a missing `--upstream`, an error for stderr; [`usage_line`] puts it on one
    /// line. For a request for help or the version, a text for stdout (`use_stderr()` is false).
    pub fn read<I, T>(arguments: I) -> Result<Args, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let args = Args::try_parse_from(arguments)?;
        // Not clap's `required`, because the subcommands need no file.
        if args.options.upstream.is_none() && args.command.is_none() {
            let mut command = Args::command();
            return Err(command.error(ErrorKind::MissingRequiredArgument, NO_UPSTREAM));
        }
        Ok(args)
    }
}

/// Returns a usage error as one line, without clap's help below it and with control characters escaped.
#[must_use]
pub fn usage_line(error: &clap::Error) -> String {
    // Only `approvals` requires a subcommand. Clap would print the help instead of an error.
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "missing subcommand; use `approval-proxy approvals list`, `show`, `approve` or `deny`; see \
                --help"
            .to_owned();
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let message: Vec<&str> = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    let message = escaped(&message.join(" ").replace(" tip: ", "; "));
    format!(
        "{}; see --help",
        message.strip_prefix("error: ").unwrap_or(&message)
    )
}

const USAGE: &str = "approval-proxy --upstream <FILE> [OPTIONS]
       approval-proxy inbox [OPTIONS]
       approval-proxy approvals list|show|approve|deny [OPTIONS]";
const MORE: &str = "See --help for all options and the exit codes.
See `approval-proxy help inbox` and `approval-proxy help approvals` for the commands.";

const NO_UPSTREAM: &str = "no config file given; name the JSON file that lists your MCP \
                           servers with `--upstream FILE`";

#[cfg(test)]
mod tests;
