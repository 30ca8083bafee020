//! What stands beside the bare form: the inbox, and its items in the terminal.
//!
//! It says what the commands are; what they do stands in `inbox` and `approvals`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::options::InboxOptions;
use crate::approval::item::read_approver;
use crate::config::{ApproverName, Value as _, Whole};

/// A command beside running the proxy.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve the approval inbox's page, or open the one that is served already
    Inbox(InboxCommand),
    /// See and decide in the terminal what waits in the inbox
    Approvals(ApprovalsCommand),
}

/// `approval-proxy inbox`.
#[derive(Debug, Clone, Args)]
pub struct InboxCommand {
    #[command(flatten)]
    pub(super) inbox: InboxOptions,

    /// Set a passphrase, without which no verdict counts from then on; asks for the current one
    /// first, if there is one. Restart the proxies that run
    #[arg(long)]
    pub(super) set_passphrase: bool,

    /// Print the fingerprint of the passphrase's key, for `inboxKey` in the configuration
    #[arg(long, conflicts_with = "set_passphrase")]
    pub(super) show_key: bool,

    /// Record NAME as the approver of what is decided in the browser that this logs in; or
    /// APPROVAL_APPROVER. Nobody checks the name, and the page can change it
    #[arg(long = "as", value_name = "NAME", value_parser = ApproverName::read)]
    #[arg(conflicts_with_all = ["set_passphrase", "show_key"])]
    pub(super) approver: Option<ApproverName>,
}

/// `approval-proxy approvals`.
#[derive(Debug, Clone, Args)]
pub struct ApprovalsCommand {
    /// Folder that all your proxies share; or APPROVAL_STATE_DIR [default: approval-proxy in
    /// $XDG_STATE_HOME, else in ~/.local/state]
    #[arg(
        long = "state-dir",
        id = "approvals_state_dir",
        value_name = "DIR",
        global = true
    )]
    pub(super) state_dir: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) what: Approvals,
}

/// What to do with items.
#[derive(Debug, Clone, Subcommand)]
pub enum Approvals {
    /// What waits, newest first, in lines of at most 80 columns, or as wide as the terminal is
    List(ListCommand),
    /// Everything about one item
    Show {
        /// The item's id, or as much of it as no other item has
        id: String,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let the call run
    Approve {
        /// The item's id, or as much of it as no other item has
        id: String,

        /// Why; goes into the audit log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,

        /// Let this very call run again for so many minutes, at most 1440
        #[arg(long = "for", value_name = "MINUTES", value_parser = minutes)]
        minutes: Option<Whole<1, 1440>>,

        /// Record NAME as the approver; or APPROVAL_APPROVER. Nobody checks the name
        #[arg(long = "as", value_name = "NAME", value_parser = read_approver)]
        approver: Option<String>,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Refuse the call
    Deny {
        /// The item's id, or as much of it as no other item has
        id: String,

        /// Why; the agent reads it
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,

        /// Record NAME as the approver; or APPROVAL_APPROVER. Nobody checks the name
        #[arg(long = "as", value_name = "NAME", value_parser = read_approver)]
        approver: Option<String>,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// `approval-proxy approvals list`.
#[derive(Debug, Clone, Args)]
pub struct ListCommand {
    /// What was decided, or waits no more, instead: with the engine, who decided, and the reason
    #[arg(long)]
    pub(super) history: bool,

    /// List at most so many, from 1 to 1000, the newest
    #[arg(long, value_name = "COUNT", value_parser = count)]
    pub(super) limit: Option<Whole<1, 1000>>,

    /// Print JSON, everything of each item
    #[arg(long)]
    pub(super) json: bool,

    /// Go on, and show what comes and goes, until Ctrl-C
    #[arg(long, conflicts_with_all = ["history", "json"])]
    pub(super) watch: bool,
}

fn count(text: &str) -> Result<Whole<1, 1000>, crate::config::Fault> {
    Whole::from_text(text.trim())
}

fn minutes(text: &str) -> Result<Whole<1, 1440>, crate::config::Fault> {
    Whole::from_text(text.trim())
}
