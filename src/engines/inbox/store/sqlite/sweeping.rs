//! Regular maintenance: closes expired items and items of dead proxies, and forgets old history.
//!
//! It makes many small changes, so that others who ask or decide do not wait long.

use rusqlite::Transaction;

use super::{DbError, SqliteStore, close, count, leases, resuming, settle, to_limit};
use crate::engines::inbox::store::{
    ApprovalRequests as _, Closed, HISTORY_MS, MAX_HISTORY, MAX_WAITING, StoreError,
};
use crate::evidence::redact::Redaction;

/// How many items one change covers.
const STEP: usize = 50;
/// How many changes one sweep may need for each thing it does.
const MAX_STEPS: usize = 2 * (MAX_WAITING + MAX_HISTORY) / STEP;
/// After how long a verdict is settled although its proxy, which is alive, has not settled it; in milliseconds.
const SETTLE_MS: i64 = 10 * 60 * 1_000;
/// How many free pages one sweep returns to the file system.
const FREED_PAGES: usize = 4_096;

/// The expired items.
pub(super) const LATE: &str = "SELECT seq FROM items WHERE due_ms <= ?1 ORDER BY due_ms LIMIT ?2";
/// The waiting items of a proxy.
pub(super) const ITS_OWN: &str = "SELECT seq FROM items INDEXED BY owners \
     WHERE open = 1 AND proxy = ? LIMIT ?";
/// The proxies with waiting items or unsettled verdicts.
pub(super) const PROXIES: &str = "SELECT proxy FROM items INDEXED BY owners WHERE open = 1 \
     UNION SELECT proxy FROM items WHERE delivery IN (1, 2)";
/// The items of old history. A verdict that its proxy has not taken is not history yet.
pub(super) const OLD: &str = "SELECT seq FROM items \
     WHERE closed_ms <= ? AND delivery IS NOT 1 ORDER BY closed_ms LIMIT ?";

/// [`ApprovalRequests::sweep`](crate::engines::inbox::store::ApprovalRequests::sweep).
pub(super) fn sweep(store: &mut SqliteStore, now_ms: i64) -> Result<(), StoreError> {
    in_steps(store, |tx| {
        let mut found = tx.prepare(LATE)?;
        let found = found.query_map((now_ms, to_limit(STEP)), |row| row.get(0))?;
        close_all(tx, &found.collect::<Result<Vec<i64>, _>>()?, now_ms)
    })?;
    in_steps(store, |tx| forget_old(tx, now_ms, STEP))?;
    store.read(|db| {
        // SQLite frees one page per step.
        let mut free = db.prepare(&format!("PRAGMA incremental_vacuum({FREED_PAGES})"))?;
        let mut freed = free.query([])?;
        while freed.next()?.is_some() {}
        Ok(())
    })?;
    close_dead(store, now_ms)?;
    resuming::unflag(store)?;
    // If another process is in the way, the next sweep tries again.
    store.scrub().map(drop)
}

/// Forgets history that is too old or too long, and verdicts of items that nobody resumed in time: at most `limit`
/// items together. Returns their number. Also settles verdicts older than [`SETTLE_MS`].
pub(super) fn forget_old(
    tx: &Transaction<'_>,
    now_ms: i64,
    limit: usize,
) -> Result<usize, DbError> {
    let settled = now_ms.saturating_sub(SETTLE_MS);
    let which = "delivery = 2 AND closed_ms <= ? AND resume IS NULL";
    settle(tx, which, [settled], &Redaction::default())?;
    let lapsed = resuming::forget_lapsed(tx, now_ms, limit)?;
    let limit = limit.saturating_sub(lapsed);
    let forget = format!("DELETE FROM items WHERE seq IN ({OLD})");
    let too_old = now_ms.saturating_sub(HISTORY_MS);
    let old = tx.execute(&forget, (too_old, to_limit(limit)))?;
    let kept = count(tx, "SELECT count(*) FROM items WHERE open = 0")?;
    let surplus = kept
        .saturating_sub(MAX_HISTORY)
        .min(limit.saturating_sub(old));
    if surplus == 0 {
        return Ok(lapsed + old);
    }
    Ok(lapsed + old + tx.execute(&forget, (i64::MAX, to_limit(surplus)))?)
}

/// Closes the items of dead proxies. Releases those that other proxies may resume.
fn close_dead(store: &mut SqliteStore, now_ms: i64) -> Result<(), StoreError> {
    let proxies: Vec<String> = store.read(|db| {
        let mut found = db.prepare(PROXIES)?;
        let found = found.query_map([], |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    })?;
    for proxy in proxies.iter().filter(|proxy| leases::is_name(proxy)) {
        // While we hold its lease, no proxy with this name can ask.
        let Some(_lease) = leases::take_from_dead(&store.dir, proxy)? else {
            continue;
        };
        in_steps(store, |tx| resuming::release_dead(tx, proxy, STEP))?;
        in_steps(store, |tx| {
            let mut found = tx.prepare(ITS_OWN)?;
            let found = found.query_map((proxy, to_limit(STEP)), |row| row.get(0))?;
            close_all(tx, &found.collect::<Result<Vec<i64>, _>>()?, now_ms)
        })?;
        store.write(|tx| {
            let which = "delivery IN (1, 2) AND proxy = ?";
            settle(tx, which, [proxy], &Redaction::default())
        })?;
    }
    leases::remove_dead(&store.dir)
}

fn close_all(tx: &Transaction<'_>, items: &[i64], now_ms: i64) -> Result<usize, DbError> {
    for seq in items {
        close(tx, *seq, Closed::Expired, now_ms)?;
    }
    Ok(items.len())
}

/// Repeats a step until it finds fewer than [`STEP`] items.
fn in_steps(
    store: &mut SqliteStore,
    step: impl Fn(&Transaction<'_>) -> Result<usize, DbError>,
) -> Result<(), StoreError> {
    for _ in 0..MAX_STEPS {
        if store.write(&step)? < STEP {
            break;
        }
    }
    Ok(())
}
