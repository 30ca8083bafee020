//! Starts a server only to list its tools, as `doctor` does.
//!
//! There are two parts. This file starts a server as an MCP client does, reads its list, and ends it. If the server is
//! approval-proxy itself, `as_probe` is what that process does with its configuration: it serves as always, but refuses
//! every call, asks nobody, logs nobody in, and writes no audit log, in which it would count as a connection.

mod conversation;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout};

pub(crate) use crate::config::PROBE as VARIABLE;
use crate::config::Resolved;
use crate::evidence::redact::Redaction;
use crate::gate::Engine;
use crate::mcp::ToolAnnotations;
use crate::policy::{Action, Decision, Listing, Policy, PolicyError, Rules};
use crate::transport::{Child, ChildError, Program, ServerStderr, Watcher, hidden, secrets_of};

use conversation::Conversation;
pub use conversation::ConversationError;

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Start<'s> {
    /// The program; looked up in `PATH` if it has no slash.
    pub command: &'s OsStr,
    /// Its arguments.
    pub args: &'s [OsString],
    /// Variables to set in addition to ours. Settings of approval-proxy are not inherited.
    pub env: &'s BTreeMap<String, String>,
    /// Where to run it.
    pub cwd: Option<&'s Path>,
}

/// What a server has said about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolList {
    /// Its tools, in its order.
    pub tools: Vec<Tool>,
    /// The first line that was no MCP message.
    pub noise: Option<String>,
    /// How long it took to start and to list its tools.
    pub took: Duration,
}

/// A tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its hints.
    pub annotations: Option<ToolAnnotations>,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The command did not start.
    #[error(transparent)]
    Start(#[from] ChildError),
    /// It started, and did not list its tools.
    #[error("{why}{}", quoted(why, stderr.as_deref()))]
    NoList {
        /// The reason.
        why: ConversationError,
        /// The end of what it wrote to stderr, in one line and without secrets.
        stderr: Option<String>,
    },
}

/// An error that the server has answered says more than its stderr.
fn quoted(why: &ConversationError, stderr: Option<&str>) -> String {
    match (why, stderr) {
        (ConversationError::Refused { .. }, _) | (_, None) => String::new(),
        (_, Some(stderr)) => format!("; its stderr: {stderr}"),
    }
}

/// Starts a server as an MCP client does, lists its tools, and ends it. Calls no tool.
///
/// The list must be there within `limit`. Ending the server takes at most five seconds more.
///
/// # Errors
/// [`ProbeError`].
pub async fn list_tools(
    start: &Start<'_>,
    limit: Duration,
    watcher: Option<&Watcher>,
) -> Result<ToolList, ProbeError> {
    let program = Program {
        command: start.command,
        args: start.args,
        env: start.env,
        withheld: &[],
        cwd: start.cwd,
    };
    let stderr = ServerStderr {
        to: None,
        name: None,
        redaction: Redaction::default(),
    };
    let begun = Instant::now();
    let (mut child, to, from) = Child::start_for_client(&program, &stderr, watcher)?;
    let mut conversation = Conversation::new(to, from);
    let listed = timeout(limit, conversation.tools()).await;
    let took = begun.elapsed();
    let secrets = secrets_of(start.env.values(), start.args);
    let clean = |text: String| {
        Redaction::default()
            .text(&hidden(&text, &secrets))
            .into_owned()
    };
    let noise = conversation.take_noise().map(clean);
    // Closes its stdin, which asks it to end.
    drop(conversation);
    let closed = Instant::now();
    // Of a server that has ended, not of one that we end.
    let own_end = timeout(OWN_END, child.ended()).await.ok();
    child.stop(closed).await;
    child.end_leftovers().await;
    let why = match listed {
        Ok(Ok(tools)) => return Ok(ToolList { tools, noise, took }),
        Ok(Err(ConversationError::Ended(None))) => {
            ConversationError::Ended(own_end.map(|exit| exit.to_string()))
        }
        Ok(Err(ConversationError::Refused { method, message })) => ConversationError::Refused {
            method,
            message: clean(message),
        },
        Ok(Err(why)) => why,
        Err(_) => ConversationError::Silent { limit, noise },
    };
    Err(ProbeError::NoList {
        why,
        stderr: child.stderr_tail(),
    })
}

/// Returns what the policy decides about each tool of a list. If a name is listed twice, the stricter decision counts.
#[must_use]
pub fn decide<'t>(policy: &Policy, tools: &'t [Tool]) -> BTreeMap<&'t str, Decision> {
    let mut decisions: BTreeMap<&str, Decision> = BTreeMap::new();
    for tool in tools {
        let listing = match tool.name.len() > LONGEST_NAME {
            true => Listing::Unlisted,
            false => Listing::Listed(tool.annotations.as_ref()),
        };
        let decision = policy.decide(&tool.name, listing);
        let known = decisions.get(tool.name.as_str());
        if known.is_none_or(|known| strictness(known.action) < strictness(decision.action)) {
            decisions.insert(&tool.name, decision);
        }
    }
    decisions
}

/// How long a server may take to exit of its own accord, after it has closed its stdout or its stdin was closed.
const OWN_END: Duration = Duration::from_secs(1);

fn strictness(action: Action) -> u8 {
    match action {
        Action::Pass => 0,
        Action::Ask => 1,
        Action::Block => 2,
    }
}

/// As for the gate, a tool with a longer name is one that is not listed.
const LONGEST_NAME: usize = 1024;

/// Makes the configuration of a run that of a probe.
///
/// # Errors
/// Never: the pattern is valid.
pub(super) fn as_probe(config: &mut Resolved) -> Result<(), PolicyError> {
    let rules = Rules {
        mode: config.rules.mode,
        deny: vec!["*".to_owned()],
        ..Rules::default()
    };
    config.policy = Policy::new(rules.clone())?;
    config.rules = rules;
    config.settings.dry_run = false;
    let channels = &mut config.settings.channels;
    channels.retain(|channel| channel.engine == Engine::Elicitation);
    config.engines.list.clear();
    Ok(())
}

#[cfg(test)]
mod tests;
