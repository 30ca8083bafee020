//! What `mcp --compat` reads from the environment, as the other products do.
//!
//! `agents::compat` serves their tools.

use std::ffi::OsString;
use std::sync::Arc;

use serde_json::Value;

use super::{Compat, McpError};
use crate::agents::{Addressed, Approvals, ApprovalsError, LoopPause, Sesame, Tools};
use crate::app::address;
use crate::config::{Environment, Resolved};
use crate::engines::broker_client::BrokerClient;
use crate::sys::Stderr;
use crate::sys::secret::Secret;

const BROKER_URL: &str = "SESAME_BROKER_URL";
const BROKER_KEY: &str = "SESAME_API_KEY";
const SIGNING_SECRET: &str = "LOOPPAUSE_SIGNING_SECRET";
const HOSTED_KEY: &str = "LOOPPAUSE_API_KEY";
const HOSTED_URL: &str = "LOOPPAUSE_API_URL";

/// Which tools are served, with what they need.
pub(super) enum Served {
    Native,
    Sesame,
    Broker(BrokerClient),
    LoopPause {
        recipients: Vec<Addressed>,
        form: Option<Value>,
        secret: Option<Secret>,
    },
}

impl Served {
    /// Reads the environment. Says on stderr what has no effect. Withholds the secrets from programs that engines start.
    pub(super) fn new(
        compat: Option<Compat>,
        config: &mut Resolved,
        environment: &Environment,
        stderr: &Stderr,
    ) -> Result<Served, McpError> {
        let secrets = [BROKER_KEY, SIGNING_SECRET, HOSTED_KEY].map(OsString::from);
        config.engines.withheld.extend(secrets);
        match compat {
            None => Ok(Served::Native),
            Some(Compat::Sesame) => sesame(config, environment),
            Some(Compat::Looppause) => Ok(looppause(config, environment, stderr)),
        }
    }

    /// Creates the tools, and the approvals that they ask for with `open`, unless a broker asks.
    pub(super) fn tools(
        self,
        open: impl FnOnce() -> Result<Arc<Approvals>, ApprovalsError>,
    ) -> Result<(Tools, Option<Arc<Approvals>>), ApprovalsError> {
        let mut approvals = None;
        let open = || open().map(|opened| Arc::clone(approvals.insert(opened)));
        let tools = match self {
            Served::Broker(broker) => Tools::sesame(Sesame::of_broker(broker)),
            Served::Native => Tools::new(open()?),
            Served::Sesame => Tools::sesame(Sesame::new(open()?)),
            Served::LoopPause {
                recipients,
                form,
                secret,
            } => Tools::looppause(LoopPause::new(open()?, recipients, form, secret)),
        };
        Ok((tools, approvals))
    }
}

fn sesame(config: &Resolved, environment: &Environment) -> Result<Served, McpError> {
    let key = environment.of_another_program(BROKER_KEY);
    let Some(url) = environment.of_another_program(BROKER_URL) else {
        if key.is_some() {
            tracing::warn!(
                "`{BROKER_KEY}` is set and not used, because `{BROKER_URL}` is not; the engines of this machine ask"
            );
        }
        return Ok(Served::Sesame);
    };
    let Some(key) = key else {
        return Err(McpError::Compat(format!(
            "`{BROKER_URL}` is set, but `{BROKER_KEY}` is not, or is empty; set the broker's key, or unset the URL to let \
             the engines of this machine ask"
        )));
    };
    let redaction = &config.settings.redaction;
    let broker = BrokerClient::new(BROKER_URL, url, key, &config.engine_transport, redaction);
    broker
        .map(Served::Broker)
        .map_err(|bad| McpError::Compat(bad.to_string()))
}

fn looppause(config: &mut Resolved, environment: &Environment, stderr: &Stderr) -> Served {
    let is_set = |name: &&str| environment.of_another_program(name).is_some();
    let unused: Vec<&str> = [HOSTED_KEY, HOSTED_URL]
        .into_iter()
        .filter(is_set)
        .collect();
    let unused = match unused.is_empty() {
        true => String::new(),
        false => format!(" (`{}` not used)", unused.join("` and `")),
    };
    let note = format!(
        "approval-proxy: nothing goes to the hosted service of LoopPause; the engines of this machine ask{unused}\n"
    );
    stderr.send(note.into_bytes());
    let recipients = address(config);
    if recipients.is_empty() {
        tracing::warn!(
            "no recipient can be asked: set `allowedRecipients` of `approvalProxy` in the user configuration to channels, \
             people and addresses that an engine of `engines` reaches"
        );
    }
    let secret = environment.of_another_program(SIGNING_SECRET);
    if secret.is_none() {
        tracing::warn!("decisions are not signed, because `{SIGNING_SECRET}` is not set");
    }
    let secret = secret.map(|secret| Secret::new(secret.to_owned()));
    Served::LoopPause {
        recipients,
        form: config.approval_form.clone(),
        secret,
    }
}
