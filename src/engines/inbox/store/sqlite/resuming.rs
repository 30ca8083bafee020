//! Parked items that outlive their session, and which proxy may resume them.
//!
//! A proxy may resume an item while the row's `resume` is set; clearing it uses up that right. `identity` decides
//! whether two sessions have the same key.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::{DbError, SqliteStore, close, forget_verdict, leases, to_limit};
use crate::engines::inbox::store::{Closed, KEPT_MS, Resumed, StoreError};
use crate::evidence::redact::Redaction;
use crate::sys::state_dir::{StateDir, io_error};

/// The file in the user's folder that exists whenever any item may be resumed.
///
/// It is created and removed while the database is locked for writing, so it exists whenever a mark does.
const FLAG: &str = "resumable";
/// How many items with the same key we check.
const MAX_CANDIDATES: usize = 100;

/// The items with a key, in the order in which to resume them.
pub(super) const CANDIDATES: &str = "SELECT seq, proxy FROM items INDEXED BY resumes \
     WHERE resume = ?1 AND state IN ('parked', 'approved', 'denied') \
     AND (parked_until_ms > ?2 OR open = 0 AND resume GLOB 'approval:*') \
     ORDER BY open, asked_ms DESC, seq DESC LIMIT ?3";
/// The items of a dead proxy that others may resume.
pub(super) const LEFT_BEHIND: &str = "SELECT seq FROM items INDEXED BY resumes \
     WHERE resume IS NOT NULL AND proxy = ? LIMIT ?";
/// The items that were decided, or closed by an older version, and that nobody resumed in time: by the first time, or by
/// the second one if their keys are [`LASTING`](crate::engines::inbox::store::LASTING).
pub(super) const LAPSED: &str = "SELECT seq FROM items INDEXED BY resume_ends \
     WHERE resume IS NOT NULL AND open = 0 AND parked_until_ms <= ?1 \
     AND (parked_until_ms <= ?2 OR resume NOT GLOB 'approval:*') LIMIT ?3";
/// True if any item may be resumed.
pub(super) const IS_ANY: &str = "SELECT EXISTS (SELECT 1 FROM items INDEXED BY resume_ends \
     WHERE resume IS NOT NULL)";

/// True if a row is parked, or was parked when it was decided and still has its original call.
const IS_PARKED: &str = "parked_until_ms IS NOT NULL AND (state = 'parked' OR \
     state IN ('approved', 'denied') AND delivery IN (1, 2) AND whole IS NOT NULL)";
/// The new `delivery` of a row whose owner changes: the next owner can take the verdict.
const HANDED_ON: &str = "CASE WHEN open = 0 THEN 1 ELSE delivery END";

/// [`ApprovalRequests::mark`](crate::engines::inbox::store::ApprovalRequests::mark).
pub(super) fn mark(
    store: &mut SqliteStore,
    id: &str,
    proxy: &str,
    key: &str,
) -> Result<bool, StoreError> {
    let dir = store.dir.clone();
    store.write(|tx| {
        let sql =
            format!("UPDATE items SET resume = ?3 WHERE id = ?1 AND proxy = ?2 AND {IS_PARKED}");
        let is_marked = tx.execute(&sql, (id, proxy, key))? == 1;
        if is_marked {
            // Before the commit, because nobody looks for the item without the flag.
            flag(&dir).map_err(DbError::File)?;
        }
        Ok(is_marked)
    })
}

/// [`ApprovalRequests::resume`](crate::engines::inbox::store::ApprovalRequests::resume).
pub(super) fn resume(
    store: &mut SqliteStore,
    key: &str,
    proxy: &str,
    now_ms: i64,
) -> Result<Option<Resumed>, StoreError> {
    // Usually there is none. Reading first avoids locking others out.
    let candidates: Vec<(i64, String)> = store.read(|db| {
        let mut found = db.prepare(CANDIDATES)?;
        let values = (key, now_ms, to_limit(MAX_CANDIDATES));
        let found = found.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    })?;
    for (seq, owner) in candidates {
        // While we hold the dead owner's lease, no new proxy can use its name.
        let lease = match owner.as_str() {
            "" => None,
            name if !leases::is_name(name) => continue,
            name => match leases::take_from_dead(&store.dir, name)? {
                Some(lease) => Some(lease),
                None => continue,
            },
        };
        let resumed = store.write(|tx| claim(tx, seq, (key, &owner, proxy), now_ms))?;
        drop(lease);
        if resumed.is_some() {
            return Ok(resumed);
        }
    }
    Ok(None)
}

/// Makes a proxy the owner of an item, unless the item is no longer `owner`'s or can no longer be resumed.
fn claim(
    tx: &Transaction<'_>,
    seq: i64,
    (key, owner, proxy): (&str, &str, &str),
    now_ms: i64,
) -> Result<Option<Resumed>, DbError> {
    let sql = format!(
        "UPDATE items SET proxy = ?4, delivery = {HANDED_ON} \
         WHERE seq = ?1 AND resume = ?2 AND proxy = ?3 AND {IS_PARKED} \
         AND (parked_until_ms > ?5 OR open = 0 AND resume GLOB 'approval:*')"
    );
    if tx.execute(&sql, (seq, key, owner, proxy, now_ms))? == 0 {
        return Ok(None);
    }
    let sql = "SELECT id, asked_ms, expires_ms, parked_until_ms, open = 0 FROM items WHERE seq = ?";
    let resumed = tx.query_row(sql, [seq], |row| {
        Ok(Resumed {
            id: row.get("id")?,
            asked_ms: row.get("asked_ms")?,
            expires_ms: row.get("expires_ms")?,
            parked_until_ms: row.get("parked_until_ms")?,
            is_decided: row.get(4)?,
        })
    });
    Ok(Some(resumed?))
}

/// [`ApprovalRequests::take_up`](crate::engines::inbox::store::ApprovalRequests::take_up).
pub(super) fn take_up(store: &mut SqliteStore, id: &str, proxy: &str) -> Result<bool, StoreError> {
    store.write(|tx| {
        let sql =
            "UPDATE items SET resume = NULL WHERE id = ? AND proxy = ? AND resume IS NOT NULL";
        Ok(tx.execute(sql, (id, proxy))? == 1)
    })
}

/// [`ApprovalRequests::leave`](crate::engines::inbox::store::ApprovalRequests::leave).
pub(super) fn leave(
    store: &mut SqliteStore,
    id: &str,
    proxy: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let redaction = store.redaction.clone();
    store.write(|tx| {
        let sql = "SELECT seq, open FROM items WHERE id = ? AND proxy = ?";
        let found = tx.query_row(sql, (id, proxy), |row| Ok((row.get(0)?, row.get(1)?)));
        let Some((seq, is_open)) = found.optional()? else {
            return Ok(());
        };
        if release(tx, seq)? {
            return Ok(());
        }
        match is_open {
            true => close(tx, seq, Closed::Withdrawn, now_ms),
            false => forget_verdict(tx, seq, &redaction),
        }
    })
}

/// Leaves an item without an owner, with its verdict for the next one. Returns false if nobody may resume it.
fn release(tx: &Transaction<'_>, seq: i64) -> Result<bool, DbError> {
    let sql = format!(
        "UPDATE items SET proxy = '', delivery = {HANDED_ON} \
         WHERE seq = ? AND resume IS NOT NULL AND {IS_PARKED}"
    );
    Ok(tx.execute(&sql, [seq])? == 1)
}

/// Releases the items of a dead proxy that others may resume, at most `limit`. The caller holds the proxy's lease.
/// Returns how many items it has checked.
pub(super) fn release_dead(
    tx: &Transaction<'_>,
    proxy: &str,
    limit: usize,
) -> Result<usize, DbError> {
    let mut found = tx.prepare(LEFT_BEHIND)?;
    let found = found.query_map((proxy, to_limit(limit)), |row| row.get(0))?;
    let found: Vec<i64> = found.collect::<Result<_, _>>()?;
    for seq in &found {
        if !release(tx, *seq)? {
            // Closed by an older version, which does not know the column.
            tx.execute("UPDATE items SET resume = NULL WHERE seq = ?", [seq])?;
        }
    }
    Ok(found.len())
}

/// Forgets the verdicts of items that nobody resumed in time, at most `limit`. Returns how many.
pub(super) fn forget_lapsed(
    tx: &Transaction<'_>,
    now_ms: i64,
    limit: usize,
) -> Result<usize, DbError> {
    let mut found = tx.prepare(LAPSED)?;
    let old = now_ms.saturating_sub(KEPT_MS);
    let found = found.query_map((now_ms, old, to_limit(limit)), |row| row.get(0))?;
    let found: Vec<i64> = found.collect::<Result<_, _>>()?;
    for seq in &found {
        forget_verdict(tx, *seq, &Redaction::default())?;
    }
    Ok(found.len())
}

/// Returns true if an item may be resumable.
pub(in crate::engines::inbox::store) fn is_flagged(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(FLAG)).is_ok()
}

fn flag(dir: &StateDir) -> Result<(), StoreError> {
    let path = dir.path().join(FLAG);
    let mut options = OpenOptions::new();
    match options.create_new(true).write(true).mode(0o600).open(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io_error(&path, error));
        }
        Ok(_) | Err(_) => {}
    }
    // Sync even if it exists: the process that created it may have died before its sync.
    dir.sync().map_err(|error| io_error(&path, error))
}

/// Removes the flag if no item may be resumed.
pub(super) fn unflag(store: &mut SqliteStore) -> Result<(), StoreError> {
    let dir = store.dir.clone();
    let is_any = |db: &Connection| db.query_row(IS_ANY, [], |row| row.get::<_, bool>(0));
    if !is_flagged(dir.path()) || store.read(|db| Ok(is_any(db)?))? {
        return Ok(());
    }
    store.write(|tx| {
        if !is_any(tx)? {
            // If it stays, sessions only look for items in vain.
            let _ = fs::remove_file(dir.path().join(FLAG));
        }
        Ok(())
    })
}
