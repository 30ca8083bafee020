//! What an operator decides about asking, and the limits of a session.
//!
//! Plain data, filled by `config`; nothing here is read from a file or the environment.

use std::sync::Arc;
use std::time::Duration;

use crate::approval::assurance::RequiredAssurance;
use crate::approval::cache::DedupeField;
use crate::approval::item::Assurance;
use crate::evidence::redact::Redaction;

/// The final outcome of a prompt that was delivered and that nobody answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeoutAction {
    /// Let the call run. Holds for delivered prompts of the legacy revisions only, and not where
    /// two approvals are needed.
    Approve,
    /// Refuse the call. The default.
    #[default]
    Deny,
    /// Refuse the call for now, and leave the question in the inbox: once it is approved, the same
    /// call runs when it is made again.
    Park,
}

/// What is known of who sits behind the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Client {
    /// It started us, it has shown the operator's token, or the operator takes any.
    #[default]
    Known,
    /// Any process that can connect: its answers would approve its own calls, so it is not asked.
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

/// Names an engine outside of the client, as the configuration and the audit log do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineId(&'static str);

impl EngineId {
    /// The inbox: its page, and the terminal.
    pub const INBOX: EngineId = EngineId("inbox");

    /// The engine of this name: lower-case ASCII letters and `-`.
    #[must_use]
    pub const fn new(name: &'static str) -> EngineId {
        EngineId(name)
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// What follows where a channel could not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The call is refused.
    Deny,
    /// The next channel is asked, if there is one.
    Fallback,
}

/// One channel of the chain that a question goes along. A channel that does not exist for a call,
/// such as a prompt in a client that cannot show one, is passed over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    /// What asks.
    pub engine: Engine,
    /// The assurance that its verdicts can reach.
    pub reach: Assurance,
    /// How long a human has here.
    pub patience: Patience,
    /// What follows where nobody answers in time.
    pub on_timeout: OnFailure,
    /// What follows where the channel fails.
    pub on_transport_error: OnFailure,
}

impl Channel {
    /// The channel as it is where nobody says anything about it.
    #[must_use]
    pub fn new(engine: Engine) -> Channel {
        Channel {
            engine,
            reach: match engine {
                Engine::Elicitation => Assurance::CallerRelayed,
                Engine::INBOX => Assurance::InboxSession,
                Engine::OutOfBand(_) => Assurance::SharedSecret,
            },
            patience: Patience::AsForAll,
            on_timeout: OnFailure::Deny,
            on_transport_error: OnFailure::Fallback,
        }
    }
}

/// How long a human has at one channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Patience {
    /// [`Settings::timeout`].
    AsForAll,
    /// So long; `None` is no limit.
    Own(Option<Duration>),
}

/// How a channel that could not decide is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Further tries after the first; 0 turns retries off.
    pub attempts: u32,
    /// The pause before the first further try.
    pub initial_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// By how much each pause is longer than the one before; at least 1, finite.
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
    /// The server's name in the configuration: shown to the human, written to the log.
    pub server: Arc<str>,
    /// How long a human has; `None` is no limit.
    pub timeout: Option<Duration>,
    /// What an unanswered, delivered prompt comes to.
    pub timeout_action: TimeoutAction,
    /// Whether the client may be asked at all.
    pub client: Client,
    /// What is asked, in this order.
    pub channels: Vec<Channel>,
    /// How much assurance a verdict must have to count; engines that cannot reach it are not asked.
    pub require_assurance: Option<RequiredAssurance>,
    /// What the log calls the key of signed verdicts, if they have to be signed.
    pub inbox_key: Option<String>,
    /// How long a question that nobody answered in time stays open, where it is parked.
    pub park_for: Duration,
    /// Whether a parked question outlives its session: a later session of the same client with the same server can
    /// resume it.
    pub resumes_parked: bool,
    /// A no from the client that comes faster than this is nobody's decision; zero turns that off.
    pub instant_decline: Duration,
    /// For how long identical calls are refused without asking after a person denied one; zero is not at all.
    pub deny_memory: Duration,
    /// After how much silence of the client the inbox shows a question, too; zero turns that off.
    pub also_inbox_after: Duration,
    /// How long an approval covers identical calls; zero turns the cache off.
    pub approval_ttl: Duration,
    /// Put decision source, risk and mode into refusals.
    pub explain: bool,
    /// Risk `high` needs two approvals.
    pub double_confirm: bool,
    /// Record what would happen, hold and refuse nothing.
    pub dry_run: bool,
    /// How a client that could not show a prompt is tried again.
    pub retry: Retry,
    /// What makes two calls identical.
    pub dedupe_fields: Vec<DedupeField>,
    /// The argument keys that count for `DedupeField::Args`; empty means all.
    pub dedupe_arg_keys: Vec<String>,
    /// How many requests may wait at once, for a human and for the upstream each.
    pub max_pending: usize,
    /// Let calls that need no approval run when their audit line cannot be written.
    pub audit_best_effort: bool,
    /// What counts as a secret that the log does not keep.
    pub redaction: Redaction,
}

impl Settings {
    /// What the log calls the key that a verdict of this assurance was signed with, if it was.
    pub(super) fn key_behind(&self, assurance: Option<Assurance>) -> Option<&str> {
        let key = self.inbox_key.as_deref();
        key.filter(|_| assurance == Some(Assurance::InboxPassphrase))
    }

    /// Where in the list of engines the inbox stands.
    pub(super) fn inbox(&self) -> Option<usize> {
        let mut channels = self.channels.iter();
        channels.position(|channel| channel.engine == Engine::INBOX)
    }

    /// Whether an answer that took so long came faster than a person can read.
    pub(super) fn is_instant(&self, took: Duration) -> bool {
        took < self.instant_decline
    }

    /// Whether a verdict of this assurance counts.
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
