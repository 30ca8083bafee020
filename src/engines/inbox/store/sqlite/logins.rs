//! The logins to the page, in a table of the same database. `devices` uses the same connection type.

use rusqlite::OptionalExtension as _;

use super::{SqliteStore, to_limit};
use crate::engines::inbox::store::{Logins, MAX_TOKENS, StoreError, Token};
use crate::sys::state_dir::StateDir;

/// The logins and devices in a [`StateDir`]. Opens the database when first used, because most processes do not need it.
#[derive(Debug)]
pub(in crate::engines::inbox::store) struct SqliteLogins {
    dir: StateDir,
    store: Option<SqliteStore>,
}

impl SqliteLogins {
    /// Creates the logins. Does not open the database yet.
    pub(in crate::engines::inbox::store) fn new(dir: &StateDir) -> SqliteLogins {
        SqliteLogins {
            dir: dir.clone(),
            store: None,
        }
    }

    pub(super) fn store(&mut self) -> Result<&mut SqliteStore, StoreError> {
        // Not `get_or_insert_with`, because opening may fail.
        let store = match self.store.take() {
            Some(store) => store,
            None => SqliteStore::open(&self.dir)?,
        };
        Ok(self.store.insert(store))
    }
}

impl Logins for SqliteLogins {
    fn add_token(&mut self, kind: Token, hash: &[u8; 32], until_ms: i64) -> Result<(), StoreError> {
        self.store()?.write(|tx| {
            let sql = "INSERT OR REPLACE INTO tokens (kind, hash, until_ms) VALUES (?, ?, ?)";
            tx.execute(sql, (word(kind), hash, until_ms))?;
            let sql = "DELETE FROM tokens WHERE kind = ?1 AND hash IN (SELECT hash FROM tokens \
                 WHERE kind = ?1 ORDER BY until_ms DESC LIMIT -1 OFFSET ?2)";
            tx.execute(sql, (word(kind), to_limit(MAX_TOKENS)))?;
            Ok(())
        })
    }

    fn has_token(&mut self, kind: Token, hash: &[u8; 32], now_ms: i64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM tokens \
             WHERE kind = ? AND hash = ? AND until_ms > ?)";
        self.store()?
            .read(|db| Ok(db.query_row(sql, (word(kind), hash, now_ms), |row| row.get(0))?))
    }

    fn take_token(
        &mut self,
        kind: Token,
        hash: &[u8; 32],
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        // Reading first, so that wrong guesses do not lock others out.
        if !self.has_token(kind, hash, now_ms)? {
            return Ok(false);
        }
        self.store()?.write(|tx| {
            let sql = "DELETE FROM tokens WHERE kind = ? AND hash = ? AND until_ms > ?";
            Ok(tx.execute(sql, (word(kind), hash, now_ms))? == 1)
        })
    }

    fn set_approver(&mut self, kind: Token, hash: &[u8; 32], name: &str) -> Result<(), StoreError> {
        self.store()?.write(|tx| {
            let sql = "UPDATE tokens SET approver = ? WHERE kind = ? AND hash = ?";
            tx.execute(sql, (name, word(kind), hash))?;
            Ok(())
        })
    }

    fn approver(&mut self, kind: Token, hash: &[u8; 32]) -> Result<Option<String>, StoreError> {
        let sql = "SELECT approver FROM tokens WHERE kind = ? AND hash = ?";
        self.store()?.read(|db| {
            let found = db.query_row(sql, (word(kind), hash), |row| row.get(0));
            // The row may be missing, or have no name.
            Ok(found.optional()?.flatten())
        })
    }

    fn forget_old(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.store()?.write(|tx| {
            tx.execute("DELETE FROM tokens WHERE until_ms <= ?", [now_ms])?;
            tx.execute("DELETE FROM devices WHERE until_ms <= ?", [now_ms])?;
            tx.execute("DELETE FROM codes WHERE until_ms <= ?", [now_ms])?;
            Ok(())
        })
    }
}

fn word(kind: Token) -> &'static str {
    match kind {
        Token::Login => "login",
        Token::Session => "session",
    }
}
