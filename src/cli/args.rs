//! The whole command line: the proxy's own options, or a subcommand.
//!
//! Reads no file or environment variable, and prints nothing.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use super::approvals::ApprovalsCommand;
use super::ask::AskCommand;
use super::clients::ClientsCommand;
use super::doctor::DoctorCommand;
use super::engines::EnginesCommand;
use super::exit_code;
use super::inbox::InboxCommand;
use super::mcp::McpCommand;
use super::options::ProxyOptions;
use super::wrap::{UnwrapCommand, WrapCommand};
use crate::config::escaped;

/// Hold an AI agent's risky MCP tool calls until a person approves them
///
/// An MCP client starts the proxy in place of a server. The proxy starts the real server, relays every
/// message, and asks a person before a risky tool call runs. For example:
///
///   claude mcp add files -- approval-proxy -- npx -y @modelcontextprotocol/server-filesystem ~/work
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
    /// Show the engines that ask people, and test them
    Engines(EnginesCommand),
    /// Serve approval tools to an agent, over MCP
    ///
    /// The agent asks by itself, and nothing stops it from acting without an approval. To hold an agent's tool calls,
    /// guard its servers
    Mcp(McpCommand),
    /// Ask people once, for a script, and exit with 0, 10 or 12: approved, denied, nobody decided
    ///
    /// For example: approval-proxy ask "Deploy 1.4 to production" --risk high && ./deploy. Nothing stops a script from
    /// going on without an approval
    Ask(AskCommand),
    /// List the MCP clients of this machine, and which of their servers are guarded
    Clients(ClientsCommand),
    /// Guard the servers in the files of MCP clients
    ///
    /// Shows what would change. With --write, changes the entries in place, and keeps the rest of each file byte for
    /// byte
    Wrap(WrapCommand),
    /// Restore the entries that wrap has changed
    ///
    /// Shows what would change. With --write, restores the original text of each entry
    Unwrap(UnwrapCommand),
    /// Check everything on this machine, and say what to do about what does not work
    ///
    /// Starts the server of each entry in the files of MCP clients and lists its tools, but calls none. Exits with 3 if
    /// something does not work
    Doctor(DoctorCommand),
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
        // Not clap's `required`, because the subcommands need no server.
        if args.command.is_none()
            && let Err(why) = args.options.check_server()
        {
            return Err(Args::command().error(ErrorKind::ArgumentConflict, why));
        }
        Ok(args)
    }
}

/// Returns a usage error as one line, without clap's help below it and with control characters escaped.
#[must_use]
pub fn usage_line(error: &clap::Error) -> String {
    // Clap would print the help instead of an error.
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let is_of_engines = match error.get(ContextKind::InvalidSubcommand) {
            Some(ContextValue::String(command)) => command.ends_with("engines"),
            Some(_) | None => false,
        };
        return match is_of_engines {
            true => "missing subcommand; use `approval-proxy engines list` or `test`; see --help",
            false => {
                "missing subcommand; use `approval-proxy approvals list`, `show`, `approve` or `deny`; see --help"
            }
        }
        .to_owned();
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let message: Vec<&str> = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        // Clap takes a flag that does not exist for the server's command.
        .filter(|line| !line.is_empty() && !line.starts_with("tip: to pass "))
        .collect();
    let message = escaped(&message.join(" ").replace(" tip: ", "; "));
    let hint = match is_command_without_dashes(error) {
        true => "; put `--` in front of the server's command",
        false => "",
    };
    format!(
        "{}{hint}; see --help",
        message.strip_prefix("error: ").unwrap_or(&message)
    )
}

/// Returns true if the error is about a word that the proxy itself does not take, such as `npx`.
fn is_command_without_dashes(error: &clap::Error) -> bool {
    let is_word = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => !word.starts_with('-'),
        Some(_) | None => false,
    };
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        Some(_) | None => String::new(),
    };
    error.kind() == ErrorKind::UnknownArgument && is_word && usage.contains(USAGE)
}

const USAGE: &str = "approval-proxy [OPTIONS] -- <COMMAND>...
       approval-proxy [OPTIONS] --url <URL>
       approval-proxy [OPTIONS] --upstream <FILE>
       approval-proxy inbox [OPTIONS]
       approval-proxy approvals list|show|approve|deny [OPTIONS]
       approval-proxy engines list|test [OPTIONS]
       approval-proxy mcp [OPTIONS]
       approval-proxy ask [OPTIONS] <ACTION>
       approval-proxy clients [OPTIONS]
       approval-proxy wrap|unwrap [OPTIONS] [CLIENT|FILE]...
       approval-proxy doctor [OPTIONS]";
const MORE: &str = "See --help for all options and the exit codes.
See `approval-proxy help inbox`, `help approvals`, `help engines`, `help mcp`, `help ask`, `help clients`, `help wrap`, `help unwrap` and `help doctor` for the commands.";

#[cfg(test)]
mod tests;
