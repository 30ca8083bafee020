//! All sessions of an HTTP server: how they begin, are found again, and end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::HashMap;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::conversation::{ClientKind, Conversation};
use crate::relay::Sideband;
use crate::sys::clock::{random_hex, random_seed};
use crate::transport::{Wire, link_in, link_out};

/// How many sessions there may be at once.
pub(super) const MAX_SESSIONS: usize = 1_024;
/// How long a session may lie unused. Longer than any state of an approval holds.
const IDLE: Duration = Duration::from_secs(65 * 60);
/// One that has been unused for so long gives way to a new one when there are too many.
const IDLE_ENOUGH: Duration = Duration::from_secs(60);
/// How often it is looked for unused ones.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The client's ends of a session, for whoever relays it.
#[derive(Debug)]
pub struct ClientEnds {
    /// What the client sends.
    pub from_client: Wire,
    /// What the client is sent.
    pub to_client: Wire,
    /// What is said past the wires.
    pub sideband: Arc<Sideband>,
    /// Turns to a signal's number when the whole server is to end.
    pub signal: watch::Receiver<i32>,
}

/// Relays one session until it has ended. An error, in a sentence, is why it could not begin.
pub type Relay = Box<
    dyn Fn(ClientEnds) -> Result<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>, String>
        + Send
        + Sync,
>;

/// Writes down why a message was turned away before any session had it.
pub type Record = Box<dyn Fn(&str) + Send + Sync>;

/// Why there is no session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoSession {
    /// There are too many.
    TooMany,
    /// The upstream could not be started; says why.
    Upstream(String),
    /// We are about to end.
    Ending,
}

/// Whose a session is: a digest of the credentials that opened it. Clients that show none are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Owner([u8; 32]);

impl Owner {
    /// Whoever shows these credentials, the value of `Authorization`.
    pub(super) fn of(credentials: Option<&[u8]>) -> Owner {
        Owner(*blake3::hash(credentials.unwrap_or_default()).as_bytes())
    }
}

/// All sessions.
pub(super) struct Sessions {
    relay: Relay,
    max_line: usize,
    signal: watch::Receiver<i32>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<String, (Owner, Arc<Conversation>)>,
    /// What stateless clients share: those that show the same credentials.
    shared: HashMap<Owner, Arc<Conversation>>,
    tasks: JoinSet<()>,
}

/// Nothing that could be guessed may begin.
fn unguessable<T>(random: Result<T, getrandom::Error>) -> Result<T, NoSession> {
    random.map_err(|error| NoSession::Upstream(error.to_string()))
}

impl Sessions {
    pub(super) fn new(relay: Relay, max_line: usize, signal: watch::Receiver<i32>) -> Sessions {
        Sessions {
            relay,
            max_line,
            signal,
            inner: Mutex::default(),
        }
    }

    /// Begins a session and names it so that nobody can guess it.
    pub(super) fn begin(
        &self,
        kind: ClientKind,
        owner: Owner,
    ) -> Result<(String, Arc<Conversation>), NoSession> {
        let mut inner = self.inner();
        self.make_room(&mut inner)?;
        let name = unguessable(random_hex(16))?;
        let conversation = self.start(&mut inner, kind)?;
        inner
            .sessions
            .insert(name.clone(), (owner, Arc::clone(&conversation)));
        Ok((name, conversation))
    }

    /// What the stateless clients with these credentials share; begun where there is none.
    ///
    /// Approvals and tool lists never cross from one client's credentials to another's.
    pub(super) fn shared(&self, owner: Owner) -> Result<Arc<Conversation>, NoSession> {
        let mut inner = self.inner();
        let found = inner.shared.get(&owner);
        if let Some(found) = found.filter(|found| !found.is_over()) {
            return Ok(Arc::clone(found));
        }
        self.make_room(&mut inner)?;
        let conversation = self.start(&mut inner, ClientKind::Stateless)?;
        inner.shared.insert(owner, Arc::clone(&conversation));
        Ok(conversation)
    }

    /// The same, where there is one already.
    pub(super) fn find_shared(&self, owner: Owner) -> Option<Arc<Conversation>> {
        let inner = self.inner();
        let found = inner.shared.get(&owner).filter(|found| !found.is_over());
        found.map(Arc::clone)
    }

    /// The session of this name, if it is this owner's. A call that was asked about under one
    /// `Authorization` cannot run under another.
    pub(super) fn find(&self, name: &str, owner: Owner) -> Option<Arc<Conversation>> {
        let inner = self.inner();
        let (_, found) = inner.sessions.get(name).filter(|(of, _)| *of == owner)?;
        (!found.is_over()).then(|| Arc::clone(found))
    }

    /// Ends the session of this name; false if this owner has none.
    pub(super) fn end(&self, name: &str, owner: Owner) -> bool {
        let sessions = &mut self.inner().sessions;
        if sessions.get(name).is_none_or(|(of, _)| *of != owner) {
            return false;
        }
        sessions.remove(name).is_some_and(|(_, found)| {
            found.close();
            true
        })
    }

    fn start(&self, inner: &mut Inner, kind: ClientKind) -> Result<Arc<Conversation>, NoSession> {
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
        inner.tasks.spawn(relayed);
        // What the upstream sends is relayed at any size up to the cap, and its wrapping in ours
        // adds a little.
        let max_line = self.max_line.saturating_add(64 * 1024);
        Ok(Conversation::begin(
            kind, to_relay, from_relay, sideband, max_line, seed,
        ))
    }

    fn make_room(&self, inner: &mut Inner) -> Result<(), NoSession> {
        while inner.tasks.try_join_next().is_some() {}
        inner.sessions.retain(|_, (_, found)| !found.is_over());
        inner.shared.retain(|_, found| !found.is_over());
        if inner.sessions.len() + inner.shared.len() < MAX_SESSIONS {
            return Ok(());
        }
        let now = Instant::now();
        let sessions = inner.sessions.values().map(|(_, found)| found);
        let all = sessions.chain(inner.shared.values());
        let idle = all.filter_map(|found| Some((found.idle_since()?, found)));
        let idle = idle.filter(|(since, _)| *since + IDLE_ENOUGH <= now);
        let (_, oldest) = idle
            .min_by_key(|(since, _)| *since)
            .ok_or(NoSession::TooMany)?;
        oldest.close();
        inner.sessions.retain(|_, (_, found)| !found.is_over());
        inner.shared.retain(|_, found| !found.is_over());
        Ok(())
    }

    /// Ends what nobody uses any more.
    pub(super) fn end_unused(&self) {
        let mut inner = self.inner();
        while inner.tasks.try_join_next().is_some() {}
        let now = Instant::now();
        let is_used = |found: &Arc<Conversation>| {
            let is_idle = found.idle_since().is_some_and(|since| since + IDLE <= now);
            if is_idle {
                found.close();
            }
            !is_idle && !found.is_over()
        };
        inner.sessions.retain(|_, (_, found)| is_used(found));
        inner.shared.retain(|_, found| is_used(found));
    }

    /// Waits until every session has ended, having been told to.
    pub(super) async fn ended(&self) {
        let mut tasks = std::mem::take(&mut self.inner().tasks);
        while tasks.join_next().await.is_some() {}
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.inner();
        f.debug_struct("Sessions")
            .field("sessions", &inner.sessions.len())
            .field("shared", &inner.shared.len())
            .finish_non_exhaustive()
    }
}
