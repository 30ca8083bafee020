//! All sessions of HTTP clients: how they begin and get their ids, how requests find them, and how they end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::conversation::{ClientKind, Conversation};
use crate::relay::Sideband;
use crate::sys::clock::{random_hex, random_seed};
use crate::transport::{Wire, link_in, link_out};

/// The largest number of sessions at once.
pub(super) const MAX_SESSIONS: usize = 1_024;
/// How long a session may stay unused. Longer than any state of an approval is valid.
const IDLE: Duration = Duration::from_secs(65 * 60);
/// How long a session must be unused to be ended for a new one when there are too many.
const IDLE_ENOUGH: Duration = Duration::from_secs(60);
/// How often unused sessions are looked for.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The client's ends of a session, for the relay.
#[derive(Debug)]
pub struct ClientEnds {
    /// Brings what the client sends.
    pub from_client: Wire,
    /// Takes what is sent to the client.
    pub to_client: Wire,
    /// What the two HTTP ends tell each other past the relay.
    pub sideband: Arc<Sideband>,
    /// Becomes a signal's number when the whole server has to end.
    pub signal: watch::Receiver<i32>,
}

/// Relays one session until it ends. The error says why it could not begin.
pub type Relay = Box<
    dyn Fn(ClientEnds) -> Result<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>, String>
        + Send
        + Sync,
>;

/// Records why a message was refused before any session had it.
pub type Record = Box<dyn Fn(&str) + Send + Sync>;

/// Why there is no session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoSession {
    /// There are too many.
    TooMany,
    /// The upstream could not be started, for this reason.
    Upstream(String),
    /// The server is shutting down.
    Ending,
}

/// The owner of a session: a digest of the credentials that opened it. All clients without credentials are one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Owner([u8; 32]);

impl Owner {
    /// Returns the owner with these credentials, the value of `Authorization`.
    pub(super) fn of(credentials: Option<&[u8]>) -> Owner {
        Owner(*blake3::hash(credentials.unwrap_or_default()).as_bytes())
    }
}

/// All sessions.
pub(super) struct Sessions {
    relay: Relay,
    max_line: usize,
    signal: watch::Receiver<i32>,
    by_name: DashMap<String, (Owner, Arc<Conversation>), RandomState>,
    /// The sessions of stateless clients, by their credentials: clients with equal credentials share one.
    shared: DashMap<Owner, Arc<Conversation>, RandomState>,
    /// The tasks that relay the sessions. Locked while a session begins, so that two requests at once neither exceed
    /// [`MAX_SESSIONS`] nor begin two sessions for one set of credentials.
    tasks: Mutex<JoinSet<()>>,
}

/// Without random bytes, no session may begin: its name could be guessed.
fn unguessable<T>(random: Result<T, getrandom::Error>) -> Result<T, NoSession> {
    random.map_err(|error| NoSession::Upstream(error.to_string()))
}

impl Sessions {
    pub(super) fn new(relay: Relay, max_line: usize, signal: watch::Receiver<i32>) -> Sessions {
        Sessions {
            relay,
            max_line,
            signal,
            by_name: DashMap::default(),
            shared: DashMap::default(),
            tasks: Mutex::default(),
        }
    }

    /// Begins a session and gives it a name that nobody can guess.
    pub(super) fn begin(
        &self,
        kind: ClientKind,
        owner: Owner,
    ) -> Result<(String, Arc<Conversation>), NoSession> {
        let mut tasks = self.tasks();
        self.make_room(&mut tasks)?;
        let name = unguessable(random_hex(16))?;
        let conversation = self.start(&mut tasks, kind)?;
        let session = (owner, Arc::clone(&conversation));
        self.by_name.insert(name.clone(), session);
        Ok((name, conversation))
    }

    /// Returns the session that stateless clients with these credentials share, and begins it if there is none.
    ///
    /// Approvals and tool lists never cross from one client's credentials to another's.
    pub(super) fn shared(&self, owner: Owner) -> Result<Arc<Conversation>, NoSession> {
        let mut tasks = self.tasks();
        if let Some(found) = self.find_shared(owner) {
            return Ok(found);
        }
        self.make_room(&mut tasks)?;
        let conversation = self.start(&mut tasks, ClientKind::Stateless)?;
        self.shared.insert(owner, Arc::clone(&conversation));
        Ok(conversation)
    }

    /// Returns the session that stateless clients with these credentials share, if there is one.
    pub(super) fn find_shared(&self, owner: Owner) -> Option<Arc<Conversation>> {
        let found = self.shared.get(&owner)?;
        (!found.is_over()).then(|| Arc::clone(&found))
    }

    /// Returns the session of this name if this owner opened it. A call that was asked about under one
    /// `Authorization` cannot run under another.
    pub(super) fn find(&self, name: &str, owner: Owner) -> Option<Arc<Conversation>> {
        let session = self.by_name.get(name)?;
        let (of, found) = session.value();
        (*of == owner && !found.is_over()).then(|| Arc::clone(found))
    }

    /// Ends the session of this name. Returns false if this owner has none.
    pub(super) fn end(&self, name: &str, owner: Owner) -> bool {
        let removed = self.by_name.remove_if(name, |_, (of, _)| *of == owner);
        removed.is_some_and(|(_, (_, found))| {
            found.close();
            true
        })
    }

    fn start(
        &self,
        tasks: &mut JoinSet<()>,
        kind: ClientKind,
    ) -> Result<Arc<Conversation>, NoSession> {
        if *self.signal.borrow() != 0 {
            return Err(NoSession::Ending);
        }
        let seed = unguessable(random_seed())?;
        let sideband = Arc::new(Sideband::default());
        let (to_relay, from_client) = link_in();
        let (from_relay, to_client) = link_out();
        let ends = ClientEnds {
            from_client,
            to_client,
            sideband: Arc::clone(&sideband),
            signal: self.signal.clone(),
        };
        let relayed = (self.relay)(ends).map_err(NoSession::Upstream)?;
        tasks.spawn(relayed);
        // The limit is for what the upstream sends; our wrapping adds a little.
        let max_line = self.max_line.saturating_add(64 * 1024);
        Ok(Conversation::begin(
            kind, to_relay, from_relay, sideband, max_line, seed,
        ))
    }

    fn make_room(&self, tasks: &mut JoinSet<()>) -> Result<(), NoSession> {
        while tasks.try_join_next().is_some() {}
        self.forget_ended();
        if self.len() < MAX_SESSIONS {
            return Ok(());
        }
        let now = Instant::now();
        let (_, oldest) = self
            .all()
            .into_iter()
            .filter_map(|found| Some((found.idle_since()?, found)))
            .filter(|(since, _)| *since + IDLE_ENOUGH <= now)
            .min_by_key(|(since, _)| *since)
            .ok_or(NoSession::TooMany)?;
        oldest.close();
        self.forget_ended();
        Ok(())
    }

    fn len(&self) -> usize {
        self.by_name.len() + self.shared.len()
    }

    fn all(&self) -> Vec<Arc<Conversation>> {
        let named = self
            .by_name
            .iter()
            .map(|session| Arc::clone(&session.value().1));
        let shared = self
            .shared
            .iter()
            .map(|session| Arc::clone(session.value()));
        named.chain(shared).collect()
    }

    fn forget_ended(&self) {
        self.by_name.retain(|_, (_, found)| !found.is_over());
        self.shared.retain(|_, found| !found.is_over());
    }

    /// Ends the sessions that nobody uses any more.
    pub(super) fn end_unused(&self) {
        while self.tasks().try_join_next().is_some() {}
        let now = Instant::now();
        for session in self.all() {
            if session
                .idle_since()
                .is_some_and(|since| since + IDLE <= now)
            {
                session.close();
            }
        }
        self.forget_ended();
    }

    /// Waits until every session has ended. The signal has told them to.
    pub(super) async fn ended(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks());
        while tasks.join_next().await.is_some() {}
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions")
            .field("by_name", &self.by_name.len())
            .field("shared", &self.shared.len())
            .finish_non_exhaustive()
    }
}
