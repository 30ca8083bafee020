//! The approvals of agents, in a table of the same database.

use rusqlite::{OptionalExtension as _, Row};

use super::{SqliteLogins, to_limit};
use crate::engines::inbox::store::{
    Added, Approvals, KEPT_MS, MAX_OWNERS, MAX_PENDING, StoreError, StoredApproval,
};

const COLUMNS: &str = "id, owner, idempotency_key, body, asked_ms, expires_ms, outcome";

impl Approvals for SqliteLogins {
    fn add(&mut self, approval: &StoredApproval) -> Result<Added, StoreError> {
        self.store()?.write(|tx| {
            if let Some(key) = &approval.idempotency_key {
                let sql = format!(
                    "SELECT {COLUMNS} FROM approvals WHERE owner = ? AND idempotency_key = ?"
                );
                let known = tx
                    .query_row(&sql, (&approval.owner, key), read)
                    .optional()?;
                if let Some(known) = known {
                    return Ok(Added::Known(known));
                }
            }
            let sql = "SELECT count(*) >= ?2 FROM approvals \
                 WHERE owner = ?1 AND outcome IS NULL AND expires_ms > ?3";
            let limits = (&approval.owner, to_limit(MAX_PENDING), approval.asked_ms);
            if tx.query_row(sql, limits, |row| row.get(0))? {
                return Ok(Added::TooMany);
            }
            let StoredApproval {
                id,
                owner,
                idempotency_key,
                body,
                asked_ms,
                expires_ms,
                outcome,
            } = approval;
            let sql = format!("INSERT INTO approvals ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)");
            tx.execute(
                &sql,
                (
                    id,
                    owner,
                    idempotency_key,
                    body,
                    asked_ms,
                    expires_ms,
                    outcome,
                ),
            )?;
            Ok(Added::New)
        })
    }

    fn find(&mut self, id: &str, owner: &str) -> Result<Option<StoredApproval>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM approvals WHERE id = ? AND owner = ?");
        self.store()?
            .read(|db| Ok(db.query_row(&sql, (id, owner), read).optional()?))
    }

    fn end(&mut self, id: &str, outcome: &str) -> Result<bool, StoreError> {
        self.store()?.write(|tx| {
            let sql = "UPDATE approvals SET outcome = ? WHERE id = ? AND outcome IS NULL";
            Ok(tx.execute(sql, (outcome, id))? == 1)
        })
    }

    fn pending(&mut self, owner: &str) -> Result<Vec<StoredApproval>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM approvals WHERE owner = ? AND outcome IS NULL ORDER BY asked_ms, id"
        );
        self.store()?.read(|db| {
            let mut found = db.prepare(&sql)?;
            let found = found.query_map([owner], read)?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }

    fn owners_of_pending(&mut self, beginning: &str) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT DISTINCT owner FROM approvals INDEXED BY pending_approvals \
             WHERE outcome IS NULL AND substr(owner, 1, length(?1)) = ?1 LIMIT ?2";
        self.store()?.read(|db| {
            let mut found = db.prepare(sql)?;
            let found = found.query_map((beginning, to_limit(MAX_OWNERS)), |row| row.get(0))?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }

    fn forget_old(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.store()?.write(|tx| {
            let old = now_ms.saturating_sub(KEPT_MS);
            tx.execute("DELETE FROM approvals WHERE expires_ms <= ?", [old])?;
            Ok(())
        })
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredApproval> {
    Ok(StoredApproval {
        id: row.get(0)?,
        owner: row.get(1)?,
        idempotency_key: row.get(2)?,
        body: row.get(3)?,
        asked_ms: row.get(4)?,
        expires_ms: row.get(5)?,
        outcome: row.get(6)?,
    })
}
