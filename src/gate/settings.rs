//! What the operator configures about asking, and the limits of a session.
//!
//! Plain data, filled in by `config`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::approval::assurance::RequiredAssurance;
use crate::approval::cache::DedupeField;
use crate::approval::item::Assurance;
use crate::evidence::redact::Redaction;
use crate::policy::Risk;

/// What to do when a prompt is not answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeoutAction {
    /// Let the call run. Ignored for undelivered prompts, stateless calls, and calls that need two approvals.
    Approve,
    /// Refuse the call. The default.
    #[default]
    Deny,
    /// Refuse the call for now, and leave the question in the inbox. Once it is approved, the same call runs when it is
    /// made again.
    Park,
}

/// What is known about who uses the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Client {
    /// It started us, it has presented the operator's token, or the operator accepts any client.
    #[default]
    Known,
    /// Any process that can connect. Its answers would approve its own calls, so it is not asked.
    Anonymous,
}

/// A way to reach people, as the gate knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A prompt in the client.
    Elicitation,
    /// Anything outside of the client. The question becomes an item, which this engine shows to people.
    OutOfBand(EngineId),
}

impl Engine {
    /// The inbox on the user's machine.
    pub const INBOX: Engine = Engine::OutOfBand(EngineId::INBOX);
}

/// The name of an out-of-band engine, as in the configuration and the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineId(&'static str);

impl EngineId {
    /// The inbox: its page, and the terminal.
    pub const INBOX: EngineId = EngineId("inbox");
    /// What records name in place of an engine if an earlier approval covers a call. No engine can be called so.
    pub const CACHE: &str = "cache";

    /// Creates an id from a name of lower-case ASCII letters and `-`.
    #[must_use]
    pub const fn new(name: &'static str) -> EngineId {
        EngineId(name)
    }

    /// Returns the id of the engine that the configuration calls `name`. Equal names are equal ids.
    ///
    /// Each name is kept for the life of the process, so that an id can be copied. A configuration has few.
    #[must_use]
    pub fn named(name: &str) -> EngineId {
        static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
        if name == EngineId::INBOX.0 {
            return EngineId::INBOX;
        }
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.iter().find(|known| **known == name) {
            return EngineId(known);
        }
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        names.push(name);
        EngineId(name)
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// What to do when an engine could not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Refuse the call.
    Deny,
    /// Ask the next engine, if there is one.
    Fallback,
}

/// One entry of the operator's list of engines. An engine that a call cannot use, such as a prompt in a client that
/// cannot show one, is skipped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    /// The engine.
    pub engine: Engine,
    /// The assurance that its verdicts can reach.
    pub reach: Assurance,
    /// How long a person has here.
    pub patience: Patience,
    /// What to do when nobody answers in time.
    pub on_timeout: OnFailure,
    /// What to do when the engine fails.
    pub on_transport_error: OnFailure,
    /// How long after the question was first asked this engine is asked, too. `None`: only when the one before it has
    /// failed or timed out.
    pub after: Option<Duration>,
    /// The lowest risk that this engine is asked about; [`Risk::Unknown`] counts as medium.
    pub min_risk: Risk,
}

impl Channel {
    /// Creates an entry with the defaults.
    #[must_use]
    pub fn new(engine: Engine) -> Channel {
        Channel {
            engine,
            reach: match engine {
                Engine::Elicitation => Assurance::CallerRelayed,
                Engine::INBOX => Assurance::InboxSession,
                Engine::OutOfBand(_) => Assurance::SharedSecret,
            },
            patience: Patience::Default,
            on_timeout: OnFailure::Deny,
            on_transport_error: OnFailure::Fallback,
            after: None,
            min_risk: Risk::Low,
        }
    }

    /// Returns true if this engine is asked about calls of this risk.
    #[must_use]
    pub fn asks_about(&self, risk: Risk) -> bool {
        let rank = |risk| match risk {
            Risk::Low => 0,
            Risk::Medium | Risk::Unknown => 1,
            Risk::High => 2,
        };
        rank(risk) >= rank(self.min_risk)
    }
}

/// How long a person has at one engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Patience {
    /// [`Settings::timeout`].
    Default,
    /// This long; `None` means no limit.
    Own(Option<Duration>),
}

/// How a failed prompt is retried.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Further tries after the first; 0 turns retries off.
    pub attempts: u32,
    /// The pause before the first further try.
    pub initial_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// The factor by which each pause grows; at least 1, finite.
    pub multiplier: f64,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: 2,
            initial_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(5),
            multiplier: 2.0,
        }
    }
}

/// Everything that the gate needs to know about asking, refusing and recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The server's name in the configuration: shown to people and written to the log.
    pub server: Arc<str>,
    /// How long a person has; `None` means no limit.
    pub timeout: Option<Duration>,
    /// What to do when a delivered prompt is not answered in time.
    pub timeout_action: TimeoutAction,
    /// Whether the client may be asked at all.
    pub client: Client,
    /// The engines to ask, in this order.
    pub channels: Vec<Channel>,
    /// How much assurance a verdict must have to count. Engines that cannot reach it are not asked.
    pub require_assurance: Option<RequiredAssurance>,
    /// The log's name for the key of signed verdicts, if they must be signed.
    pub inbox_key: Option<String>,
    /// How long a parked question stays open.
    pub park_for: Duration,
    /// Whether a parked question outlives its session, so that a later session of the same client with the same server
    /// can resume it.
    pub resumes_parked: bool,
    /// A no from the client that comes faster than this does not count as a person's; zero turns this off.
    pub instant_decline: Duration,
    /// How long identical calls are refused without asking after a person denied one; zero means not at all.
    pub deny_memory: Duration,
    /// How long the client may be silent before the inbox also lists a question; zero turns this off.
    pub also_inbox_after: Duration,
    /// How long an approval covers identical calls; zero turns the cache off.
    pub approval_ttl: Duration,
    /// Put decision source, risk and mode into refusals.
    pub explain: bool,
    /// Require two approvals for risk `high`.
    pub double_confirm: bool,
    /// Record what would happen, and hold or refuse nothing.
    pub dry_run: bool,
    /// How a client that could not show a prompt is asked again.
    pub retry: Retry,
    /// What makes two calls identical.
    pub dedupe_fields: Vec<DedupeField>,
    /// The argument keys that count for `DedupeField::Args`; empty means all.
    pub dedupe_arg_keys: Vec<String>,
    /// How many requests may wait at once, for a person and for the upstream each.
    pub max_pending: usize,
    /// Let calls that need no approval run when their audit line cannot be written.
    pub audit_best_effort: bool,
    /// What counts as a secret, which the log does not keep.
    pub redaction: Redaction,
}

impl Settings {
    /// Returns the log's name for the key that a verdict of this assurance was signed with, if it was.
    pub(super) fn signing_key(&self, assurance: Option<Assurance>) -> Option<&str> {
        let key = self.inbox_key.as_deref();
        key.filter(|_| assurance == Some(Assurance::InboxPassphrase))
    }

    /// Returns the inbox's position in the list of engines.
    pub(super) fn inbox(&self) -> Option<usize> {
        let mut channels = self.channels.iter();
        channels.position(|channel| channel.engine == Engine::INBOX)
    }

    /// Returns true if an answer came faster than a person can read.
    pub(super) fn is_instant(&self, took: Duration) -> bool {
        took < self.instant_decline
    }

    /// Returns true if a verdict of this assurance counts.
    #[must_use]
    pub fn counts(&self, assurance: Assurance) -> bool {
        let required = self.require_assurance;
        required.is_none_or(|required| required.is_met_by(assurance))
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            server: "upstream".into(),
            timeout: Some(Duration::from_secs(120)),
            timeout_action: TimeoutAction::Deny,
            client: Client::Known,
            channels: vec![Channel::new(Engine::Elicitation)],
            require_assurance: None,
            inbox_key: None,
            park_for: Duration::from_secs(3600),
            resumes_parked: false,
            instant_decline: Duration::from_millis(250),
            deny_memory: Duration::ZERO,
            also_inbox_after: Duration::from_secs(5),
            approval_ttl: Duration::ZERO,
            explain: false,
            double_confirm: false,
            dry_run: false,
            retry: Retry::default(),
            dedupe_fields: vec![DedupeField::Server, DedupeField::Tool, DedupeField::Args],
            dedupe_arg_keys: Vec::new(),
            max_pending: 4096,
            audit_best_effort: false,
            redaction: Redaction::default(),
        }
    }
}
