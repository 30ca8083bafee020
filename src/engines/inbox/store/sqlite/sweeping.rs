//! What is done now and then: the dead's and the late items close, old history is forgotten.
//!
//! In many small changes, so that nobody who asks or decides has to wait for long.

use rusqlite::Transaction;

use super::{SqliteStore, Trouble, close, count, leases, resuming, settle, to_limit};
use crate::engines::inbox::store::{
    ApprovalRequests as _, Closed, HISTORY_MS, MAX_HISTORY, MAX_WAITING, StoreError,
};
use crate::evidence::redact::Redaction;

/// How many items one change is about.
const STEP: usize = 50;
/// How many changes one sweep may need for each thing it does.
const MAX_STEPS: usize = 2 * (MAX_WAITING + MAX_HISTORY) / STEP;
/// How long after a verdict it counts, though its proxy, which lives, has not said so, in milliseconds.
const SETTLE_MS: i64 = 10 * 60 * 1_000;
/// How many free pages are given back to the file system by one sweep.
const FREED_PAGES: usize = 4_096;

/// Which items are past their time.
pub(super) const LATE: &str = "SELECT seq FROM items WHERE due_ms <= ?1 ORDER BY due_ms LIMIT ?2";
/// Which items of a proxy's wait.
pub(super) const ITS_OWN: &str = "SELECT seq FROM items INDEXED BY owners \
     WHERE open = 1 AND proxy = ? LIMIT ?";
/// Which proxies have items that something may still become of.
pub(super) const PROXIES: &str = "SELECT proxy FROM items INDEXED BY owners WHERE open = 1 \
     UNION SELECT proxy FROM items WHERE delivery IN (1, 2)";
/// Which items are old history. A verdict that its proxy has not taken is none yet.
pub(super) const OLD: &str = "SELECT seq FROM items \
     WHERE closed_ms <= ? AND delivery IS NOT 1 ORDER BY closed_ms LIMIT ?";

/// Does all of it.
pub(super) fn sweep(store: &mut SqliteStore, now_ms: i64) -> Result<(), StoreError> {
    in_steps(store, |tx| {
        let mut found = tx.prepare(LATE)?;
        let found = found.query_map((now_ms, to_limit(STEP)), |row| row.get(0))?;
        close_all(tx, &found.collect::<Result<Vec<i64>, _>>()?, now_ms)
    })?;
    in_steps(store, |tx| tidy(tx, now_ms, STEP))?;
    store.read(|db| {
        // It takes a step for each page.
        let mut free = db.prepare(&format!("PRAGMA incremental_vacuum({FREED_PAGES})"))?;
        let mut freed = free.query([])?;
        while freed.next()?.is_some() {}
        Ok(())
    })?;
    bury(store, now_ms)?;
    resuming::unflag(store)?;
    // What is in use now is tried again by the next sweep.
    store.scrub().map(drop)
}

/// Forgets what is too old or too much, and lets go of verdicts that nobody has resumed in time: at most `limit`
/// items in all, of which it returns the number. Forgets the calls whose verdicts count by now, too.
pub(super) fn tidy(tx: &Transaction<'_>, now_ms: i64, limit: usize) -> Result<usize, Trouble> {
    let settled = now_ms.saturating_sub(SETTLE_MS);
    let which = "delivery = 2 AND closed_ms <= ? AND resume IS NULL";
    settle(tx, which, [settled], &Redaction::default())?;
    let lapsed = resuming::lapse(tx, now_ms, limit)?;
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

/// Closes what waits for proxies that are dead, but for what other proxies may resume: that has no owner then.
fn bury(store: &mut SqliteStore, now_ms: i64) -> Result<(), StoreError> {
    let proxies: Vec<String> = store.read(|db| {
        let mut found = db.prepare(PROXIES)?;
        let found = found.query_map([], |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    })?;
    for proxy in proxies.iter().filter(|proxy| leases::is_name(proxy)) {
        // While we hold its lease, no proxy of this name can ask anything.
        let Some(_lease) = leases::take_from_dead(&store.dir, proxy)? else {
            continue;
        };
        in_steps(store, |tx| resuming::disown(tx, proxy, STEP))?;
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

fn close_all(tx: &Transaction<'_>, items: &[i64], now_ms: i64) -> Result<usize, Trouble> {
    for seq in items {
        close(tx, *seq, Closed::Expired, now_ms)?;
    }
    Ok(items.len())
}

/// Takes steps until one is not full.
fn in_steps(
    store: &mut SqliteStore,
    step: impl Fn(&Transaction<'_>) -> Result<usize, Trouble>,
) -> Result<(), StoreError> {
    for _ in 0..MAX_STEPS {
        if store.write(&step)? < STEP {
            break;
        }
    }
    Ok(())
}
