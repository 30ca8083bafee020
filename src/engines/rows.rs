//! The items of all processes that share the store, for engines whose service allows one connection per credential.
//!
//! The connected process receives the verdicts about other processes' items, too. It writes them to the store; the
//! process that asked decides what they are worth there.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::courier::CarriedVerdict;
use super::inbox::passphrase::Signer;
use super::inbox::store::{
    self, Decided, Lease, Remembered, SignedVerdict, State, Store, StoreError, cut_reason,
};
use crate::approval::item::{Assurance, Item, Verdict, read_approver};
use crate::evidence::redact::Redaction;
use crate::gate::Failure;
use crate::sys::clock::unix_ms;
use crate::sys::state_dir::StateDir;
use crate::sys::with_causes;

/// How often a process tries to become the connected one, or checks whether one that signs wants to be it. Another
/// process must take over within five seconds.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// The items of all processes that share the store, as one engine sees them. Cheap to clone. Opens nothing before its
/// first use.
#[derive(Clone)]
pub struct Rows {
    shared: Arc<Shared>,
    /// The assurance of the engine's verdicts, if they are signed.
    reach: Assurance,
}

/// What all engines of a process share.
struct Shared {
    /// The folder of the store; `None` if unknown.
    folder: Option<PathBuf>,
    redaction: Redaction,
    signer: Option<Signer>,
    store: Mutex<Option<Store>>,
}

/// An item of any process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The item.
    pub item: Item,
    /// Its state.
    pub state: State,
}

/// What a key of a message stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// The item's id.
    pub item: String,
    /// The engine's name in the process that sent the message.
    pub engine: String,
}

/// The right to hold the one connection of a credential. Ends when it is dropped.
#[derive(Debug)]
pub struct Elected {
    rows: Rows,
    /// The name of the lease of processes that sign.
    signers: String,
    _leases: Vec<Lease>,
}

impl Rows {
    /// Creates the rows of the store in `folder`. With `signer`, verdicts about other processes' items are signed.
    #[must_use]
    pub fn new(folder: Option<PathBuf>, redaction: Redaction, signer: Option<Signer>) -> Rows {
        Rows {
            shared: Arc::new(Shared {
                folder,
                redaction,
                signer,
                store: Mutex::default(),
            }),
            reach: Assurance::CallerRelayed,
        }
    }

    /// Returns the same rows for an engine whose own verdicts have this assurance.
    #[must_use]
    pub fn with_reach(&self, reach: Assurance) -> Rows {
        let shared = Arc::clone(&self.shared);
        Rows { shared, reach }
    }

    /// Returns true if this process signs verdicts about other processes' items.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.shared.signer.is_some()
    }

    /// Returns an item of any process.
    ///
    /// # Errors
    /// Like every method here: if the store cannot be used.
    pub async fn find(&self, id: &str) -> Result<Option<Row>, Failure> {
        let id = id.to_owned();
        let entry = self.on_store(move |store, _| store.requests.find(&id));
        let entry = entry.await?;
        Ok(entry.map(|entry| Row {
            item: entry.item,
            state: entry.state,
        }))
    }

    /// Records a verdict about another process's item. `item` is what [`Rows::find`] returned, and was compared with
    /// what the person saw; `engine` is the engine's name in the process that asked.
    ///
    /// Without a signature the verdict is worth no more than any row that a program of this user could write.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub async fn decide(
        &self,
        item: &Item,
        engine: &str,
        carried: CarriedVerdict,
    ) -> Result<Decided, Failure> {
        let assurance = match self.signs() {
            true => self.reach,
            false => Assurance::InboxTerminal,
        };
        let verdict = Verdict {
            choice: carried.choice,
            fields: carried.fields,
            reason: carried.reason.map(|reason| cut_reason(&reason).to_owned()),
            cover: Duration::ZERO,
            assurance,
            approver: carried.approver.and_then(|name| read_approver(&name).ok()),
            decided_ms: unix_ms(),
        };
        let (id, fingerprint) = (item.id.clone(), item.fingerprint());
        let engine = engine.to_owned();
        self.on_store(move |store, shared| {
            let signer = shared.signer.as_ref();
            let signature =
                signer.map(|signer| signer.sign(&id, &fingerprint, &verdict, Some(&engine)));
            let signed = SignedVerdict {
                verdict,
                signature,
                engine: Some(engine),
            };
            store.requests.decide(&id, &signed)
        })
        .await
    }

    /// Remembers which item a key of a message stands for, for whichever process meets the key. Ends with the item's
    /// row.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub async fn remember(&self, key: &str, item: &str, engine: &str) -> Result<(), Failure> {
        let key = key.to_owned();
        let remembered = Remembered {
            item: item.to_owned(),
            engine: engine.to_owned(),
        };
        self.on_store(move |store, _| store.requests.remember(&key, &remembered))
            .await
    }

    /// Returns what a key stands for. Any program of this user could have changed it, so compare the item with what the
    /// person saw.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub async fn recall(&self, key: &str) -> Result<Option<Recalled>, Failure> {
        let key = key.to_owned();
        let found = self.on_store(move |store, _| store.requests.recall(&key));
        Ok(found
            .await?
            .map(|Remembered { item, engine }| Recalled { item, engine }))
    }

    /// Waits until this process may hold the one connection of a credential. Processes that sign come first.
    pub async fn elect(&self, credential: &str) -> Elected {
        let [name, signers] = lease_names(credential);
        let mut leases = Vec::new();
        loop {
            // A store that cannot be used now may be usable in a moment.
            if self.signs() && leases.is_empty() {
                leases.extend(self.lease(&signers).await);
            }
            let may_connect = match self.signs() {
                true => !leases.is_empty(),
                false => !self.is_held(&signers).await,
            };
            if may_connect && let Some(lease) = self.lease(&name).await {
                leases.push(lease);
                return Elected {
                    rows: self.clone(),
                    signers,
                    _leases: leases,
                };
            }
            sleep(TRY_EVERY).await;
        }
    }

    async fn lease(&self, name: &str) -> Option<Lease> {
        let name = name.to_owned();
        let lease = self.on_store(move |store, _| store.liveness.try_lease(&name));
        lease.await.ok().flatten()
    }

    /// Returns true if another process holds the lease.
    async fn is_held(&self, name: &str) -> bool {
        let name = name.to_owned();
        let held = self.on_store(move |store, _| {
            let lease = store.liveness.try_lease(&name)?;
            Ok(lease.is_none())
        });
        held.await.unwrap_or(false)
    }

    /// Runs `work` on the store, on a thread that may block.
    async fn on_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store, &Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let shared = Arc::clone(&self.shared);
        let done = spawn_blocking(move || shared.use_store(work)).await;
        done.map_err(|_| Failure::unreachable("the inbox's thread has ended"))?
    }
}

impl Shared {
    fn use_store<T>(
        &self,
        work: impl FnOnce(&mut Store, &Shared) -> Result<T, StoreError>,
    ) -> Result<T, Failure> {
        let failed = |error: StoreError| Failure::unreachable(with_causes(&error));
        let folder = self.folder.as_deref();
        let folder = folder.ok_or_else(|| Failure::unreachable("no state folder is known"))?;
        let mut open = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &mut *open
            && store.requests.check().is_err()
        {
            *open = None;
        }
        // Not `get_or_insert_with`, because opening may fail.
        let store = match open.take() {
            Some(store) => store,
            None => StateDir::open(folder)
                .and_then(|dir| store::open(&dir, &self.redaction))
                .map_err(failed)?,
        };
        work(open.insert(store), self).map_err(failed)
    }
}

impl Elected {
    /// Waits until a process that signs wants the connection. Then close it and drop this.
    pub fn preempted(&self) -> impl Future<Output = ()> + Send + use<> {
        // Not with `self`: a lease cannot be shared between threads.
        let (rows, signers) = (self.rows.clone(), self.signers.clone());
        async move {
            if rows.signs() {
                return std::future::pending().await;
            }
            loop {
                sleep(TRY_EVERY).await;
                if rows.is_held(&signers).await {
                    return;
                }
            }
        }
    }
}

/// Returns the names of the leases of a credential: of the connection, and of the processes that sign.
fn lease_names(credential: &str) -> [String; 2] {
    let digest = Sha256::digest(credential.as_bytes());
    let digits: String = digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    [
        format!("connection-{digits}"),
        format!("connection-{digits}-signed"),
    ]
}

impl Default for Rows {
    /// Rows without a store: every use fails.
    fn default() -> Rows {
        Rows::new(None, Redaction::default(), None)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
