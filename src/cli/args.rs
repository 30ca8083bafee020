//! The command line as a whole: the proxy's own options, or a command beside it.
//!
//! It reads neither file nor environment, and prints nothing.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use super::approvals::ApprovalsCommand;
use super::exit_code;
use super::inbox::InboxCommand;
use super::options::ProxyOptions;
use crate::config::escaped;

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

    #[command(flatten)]
    pub(super) options: ProxyOptions,
}

/// A command beside running the proxy.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve the approval inbox's page, or open the one that is served already
    Inbox(InboxCommand),
    /// See and decide in the terminal what waits in the inbox
    Approvals(ApprovalsCommand),
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
        if args.command.is_none()
            && let Err(why) = args.options.check_server()
        {
            return Err(Args::command().error(ErrorKind::ArgumentConflict, why));
        }
        Ok(args)
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

const USAGE: &str = "approval-proxy [OPTIONS] -- <COMMAND>...
       approval-proxy [OPTIONS] --url <URL>
       approval-proxy [OPTIONS] --upstream <FILE>
       approval-proxy inbox [OPTIONS]
       approval-proxy approvals list|show|approve|deny [OPTIONS]";
const MORE: &str = "See --help for every option and the exit codes, and `approval-proxy help inbox` or \
                    `help approvals` for the commands.";

#[cfg(test)]
mod tests;
