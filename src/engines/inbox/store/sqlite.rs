//! The store in the user's folder: one SQLite database that all of a user's proxies open.
//!
//! It ensures that an item has at most one verdict; the worker and the gate decide whether it counts.

mod approvals;
mod devices;
mod leases;
mod logins;
mod resuming;
mod rows;
mod schema;
mod sweeping;
#[cfg(test)]
mod tests;
mod watching;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ToSql;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior};

pub(super) use self::leases::Leases;
pub(super) use self::logins::SqliteLogins;
pub(super) use self::resuming::is_flagged;
use self::rows::{ENTRY, redacted, stored_cover};
use self::schema::FileId;
pub(super) use self::schema::has_database;
use self::watching::{Wake, Watch};
use super::{
    ApprovalRequests, Closed, Decided, Elsewhere, Entry, ErrorKind, Filter, MAX_KEYS, MAX_WAITING,
    Place, Remembered, Resumed, SignedVerdict, State, StoreError, cut_reason,
};
use crate::approval::item::{Choice, Item};
use crate::evidence::redact::Redaction;
use crate::sys::clock::Clock;
use crate::sys::state_dir::{StateDir, store_error};

/// The number of waiting items.
const COUNT_OPEN: &str = "SELECT count(*) FROM items WHERE open = 1";
/// The waiting items of a list.
const OPEN: &str = "SELECT seq FROM items WHERE open = 1 ORDER BY asked_ms, seq LIMIT ?";
/// Whether a proxy has verdicts to take.
const HAS_VERDICTS: &str = "SELECT EXISTS (SELECT 1 FROM items WHERE delivery = 1 AND proxy = ?)";
/// The history items of a list. Reads only an index, not the long rows.
const CLOSED: &str = "SELECT seq FROM items WHERE open = 0 \
     AND (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR server = ?2) \
     AND (?3 IS NULL OR instr(tool_key, ?3) > 0) \
     AND asked_ms < coalesce(?4, 9223372036854775807) \
     ORDER BY asked_ms DESC, seq DESC LIMIT ?5";

/// The approval requests in a [`StateDir`].
///
/// The original call is kept, hidden, as long as the verdict may turn out not to count: until its proxy has
/// [settled](ApprovalRequests::settle) the verdict or has died. A verdict that a later proxy may take up is kept
/// unchanged until its time is over.
///
/// Whether a verdict is too late depends on its `decided_ms`. The next sweep closes an item that is reopened after its
/// deadline.
#[derive(Debug)]
pub(super) struct SqliteStore {
    db: Connection,
    dir: StateDir,
    path: PathBuf,
    /// Identifies the file at `path`.
    file: FileId,
    /// Says what is secret in the calls that are asked here.
    redaction: Redaction,
    /// The last [`version`] that we read.
    seen_version: i64,
    /// Waits for changes by others. Created when first needed.
    watch: Option<Watch>,
}

impl SqliteStore {
    /// Opens the database `inbox.db` in the folder, and creates it if there is none.
    ///
    /// # Errors
    /// Every [`ErrorKind`]; `Locked` after about a second.
    pub(super) fn open(dir: &StateDir) -> Result<SqliteStore, StoreError> {
        let path = schema::path(dir);
        let db = schema::open(dir)?;
        let seen_version = version(&db).map_err(|error| error.at(&path))?;
        Ok(SqliteStore {
            db,
            file: schema::file_id(&path)?,
            path,
            dir: dir.clone(),
            redaction: Redaction::default(),
            seen_version,
            watch: None,
        })
    }

    /// Sets what is secret in the calls that are asked here. A process that decides keeps those secrets
    /// out of the history too, without knowing them.
    #[must_use]
    pub(super) fn redacting(self, redaction: Redaction) -> SqliteStore {
        SqliteStore { redaction, ..self }
    }

    /// Makes a change in one transaction.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, DbError>,
    ) -> Result<T, StoreError> {
        let path = &self.path;
        let tried = || {
            let tx = self
                .db
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            let changed = change(&tx)?;
            tx.commit()?;
            Ok(changed)
        };
        tried().map_err(|error: DbError| error.at(path))
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, DbError>,
    ) -> Result<T, StoreError> {
        query(&self.db).map_err(|error| error.at(&self.path))
    }
}

impl ApprovalRequests for SqliteStore {
    fn ask(&mut self, item: &Item, proxy: &str) -> Result<(), StoreError> {
        if !leases::is_name(proxy) {
            return Err(store_error(&self.path, ErrorKind::Unusable));
        }
        let redacted = redacted(&item.call, &self.redaction);
        self.write(|tx| {
            // Nobody sweeps while no process serves a page.
            sweeping::forget_old(tx, item.asked_ms, 10)?;
            if count(tx, COUNT_OPEN)? >= MAX_WAITING {
                return Err(DbError::Kind(ErrorKind::Full));
            }
            let key = item.tool.to_lowercase();
            let columns: [(&str, &dyn ToSql); 22] = [
                ("id", &item.id),
                ("proxy", &proxy),
                ("state", &State::Waiting.as_str()),
                ("server", &item.server),
                ("tool", &item.tool),
                ("tool_key", &key),
                ("risk", &item.risk.as_str()),
                ("why", &item.why),
                ("question", &item.question),
                ("description", &item.description),
                ("hints", &item.hints),
                ("digest", &item.digest),
                ("client", &item.client),
                ("title", &item.title),
                ("client_title", &item.client_title),
                ("form", &item.form),
                ("asked_ms", &item.asked_ms),
                ("expires_ms", &item.expires_ms),
                ("open", &true),
                ("due_ms", &item.expires_ms),
                ("call", &item.call),
                ("redacted", &redacted),
            ];
            insert(tx, "INSERT", columns)
        })
    }

    fn park(&mut self, id: &str, until_ms: i64) -> Result<(), StoreError> {
        self.write(|tx| {
            let sql = "UPDATE items SET state = ?1, parked_until_ms = ?2, due_ms = ?2 \
                 WHERE id = ?3 AND open = 1";
            tx.execute(sql, (State::Parked.as_str(), until_ms, id))?;
            Ok(())
        })
    }

    fn close(&mut self, id: &str, how: Closed, now_ms: i64) -> Result<(), StoreError> {
        let redaction = self.redaction.clone();
        self.write(|tx| {
            let sql = "SELECT seq, open FROM items WHERE id = ?";
            let found = tx.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)));
            match found.optional()? {
                Some((seq, true)) => close(tx, seq, how, now_ms),
                // Discard a verdict that arrived in the meantime.
                Some((seq, false)) => forget_verdict(tx, seq, &redaction),
                None => Ok(()),
            }
        })
    }

    fn withdraw(&mut self, id: &str, now_ms: i64) -> Result<bool, StoreError> {
        self.write(|tx| {
            let sql = "SELECT seq FROM items WHERE id = ? AND open = 1";
            let open = tx.query_row(sql, [id], |row| row.get(0)).optional()?;
            if let Some(seq) = open {
                close(tx, seq, Closed::Withdrawn, now_ms)?;
            }
            Ok(open.is_some())
        })
    }

    fn decide(&mut self, id: &str, signed: &SignedVerdict) -> Result<Decided, StoreError> {
        let verdict = &signed.verdict;
        self.write(|tx| {
            let sql = "SELECT seq, state, due_ms FROM items WHERE id = ?";
            let found = tx.query_row(sql, [id], |row| {
                let due: Option<i64> = row.get("due_ms")?;
                Ok((row.get::<_, i64>("seq")?, rows::state(row)?, due))
            });
            let Some((seq, state, due)) = found.optional()? else {
                return Ok(Decided::Unknown);
            };
            if !state.is_open() {
                return Ok(Decided::TooLate(state));
            }
            if due.is_some_and(|due| due <= verdict.decided_ms) {
                return Ok(Decided::TooLate(State::Closed(Closed::Expired)));
            }
            let sql = "UPDATE items SET state = ?2, open = 0, due_ms = NULL, closed_ms = ?3, decided_ms = ?3, reason = ?4, \
                 cover_ms = ?5, assurance = ?6, signature = ?7, call = ?8, whole = call, \
                 redacted = NULL, delivery = 1, approver = ?9, engine = ?10, \
                 fields = ?11 WHERE seq = ?1";
            let values = rusqlite::params![
                seq,
                State::Decided(verdict.choice).as_str(),
                verdict.decided_ms,
                verdict.reason.as_deref().map(cut_reason),
                stored_cover(verdict.cover),
                verdict.assurance.as_str(),
                signed.signature,
                redacted_call(tx, seq)?,
                verdict.approver,
                signed.engine,
                verdict.fields,
            ];
            tx.execute(sql, values)?;
            Ok(Decided::Recorded)
        })
    }

    fn remember(&mut self, key: &str, what: &Remembered) -> Result<(), StoreError> {
        // A foreign key refuses unknown items, and `OR IGNORE` does not cover that.
        let sql = "INSERT OR IGNORE INTO keys (key, item, engine) \
             SELECT ?1, id, ?3 FROM items WHERE id = ?2 \
             AND (SELECT count(*) FROM keys WHERE item = ?2) < ?4";
        let most = i64::try_from(MAX_KEYS).unwrap_or(i64::MAX);
        self.write(|tx| {
            tx.execute(sql, (key, &what.item, &what.engine, most))?;
            Ok(())
        })
    }

    fn recall(&mut self, key: &str) -> Result<Option<Remembered>, StoreError> {
        self.read(|db| {
            let sql = "SELECT item, engine FROM keys WHERE key = ?";
            let found = db.query_row(sql, [key], |row| {
                let (item, engine) = (row.get(0)?, row.get(1)?);
                Ok(Remembered { item, engine })
            });
            Ok(found.optional()?)
        })
    }

    fn reopen(&mut self, id: &str) -> Result<(), StoreError> {
        // Without the original call, a person could not see what to decide about.
        let sql = "UPDATE items SET \
             state = CASE WHEN whole IS NULL THEN ?2 \
                 WHEN parked_until_ms IS NULL THEN ?3 ELSE ?4 END, \
             open = whole IS NOT NULL, \
             due_ms = CASE WHEN whole IS NOT NULL THEN \
                 CASE WHEN parked_until_ms IS NULL THEN expires_ms ELSE parked_until_ms END END, \
             closed_ms = CASE WHEN whole IS NULL THEN closed_ms END, \
             redacted = CASE WHEN whole IS NOT NULL THEN call END, \
             call = coalesce(whole, call), whole = NULL, decided_ms = NULL, reason = NULL, \
             cover_ms = NULL, assurance = NULL, approver = NULL, engine = NULL, signature = NULL, delivery = 3, fields = NULL, \
             resume = CASE WHEN whole IS NOT NULL THEN resume END WHERE id = ?1 AND state IN (?5, ?6)";
        let states = [
            State::Closed(Closed::Expired),
            State::Waiting,
            State::Parked,
            State::Decided(Choice::Approve),
            State::Decided(Choice::Deny),
        ];
        let [expired, waiting, parked, approved, denied] = states.map(State::as_str);
        self.write(|tx| {
            tx.execute(sql, (id, expired, waiting, parked, approved, denied))?;
            Ok(())
        })
    }

    fn take_verdicts(&mut self, proxy: &str) -> Result<Vec<(String, SignedVerdict)>, StoreError> {
        // Proxies check often, and usually there is nothing. Reading first avoids locking others out.
        let is_any: bool =
            self.read(|db| Ok(db.query_row(HAS_VERDICTS, [proxy], |row| row.get(0))?))?;
        if !is_any {
            return Ok(Vec::new());
        }
        self.write(|tx| {
            let sql = "SELECT id, state, reason, cover_ms, assurance, approver, decided_ms, signature, engine, \
                 fields FROM items WHERE delivery = 1 AND proxy = ? ORDER BY decided_ms, seq";
            let mut found = tx.prepare(sql)?;
            let found = found.query_map([proxy], |row| {
                Ok((row.get("id")?, rows::signed_verdict(row)?))
            })?;
            let found = found.collect::<Result<_, _>>()?;
            let sql = "UPDATE items SET delivery = 2 WHERE delivery = 1 AND proxy = ?";
            tx.execute(sql, [proxy])?;
            Ok(found)
        })
    }

    fn settle(&mut self, proxy: &str) -> Result<(), StoreError> {
        let redaction = self.redaction.clone();
        // A verdict that another proxy may still take up must stay as it was signed.
        let which = "delivery = 2 AND proxy = ? AND resume IS NULL";
        self.write(|tx| settle(tx, which, [proxy], &redaction))
    }

    fn mark(&mut self, id: &str, proxy: &str, key: &str) -> Result<bool, StoreError> {
        resuming::mark(self, id, proxy, key)
    }

    fn resume(
        &mut self,
        key: &str,
        proxy: &str,
        now_ms: i64,
    ) -> Result<Option<Resumed>, StoreError> {
        resuming::resume(self, key, proxy, now_ms)
    }

    fn take_up(&mut self, id: &str, proxy: &str) -> Result<bool, StoreError> {
        resuming::take_up(self, id, proxy)
    }

    fn leave(&mut self, id: &str, proxy: &str, now_ms: i64) -> Result<(), StoreError> {
        resuming::leave(self, id, proxy, now_ms)
    }

    fn record(&mut self, decided: &[Elsewhere]) -> Result<(), StoreError> {
        let redaction = self.redaction.clone();
        self.write(|tx| {
            for one in decided {
                record(tx, one, &redaction)?;
            }
            Ok(())
        })
    }

    fn changed(
        &mut self,
        longest: Duration,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<bool, StoreError> {
        let clock = Clock::start();
        loop {
            let version = self.read(version)?;
            if std::mem::replace(&mut self.seen_version, version) != version {
                return Ok(true);
            }
            let left = longest.saturating_sub(clock.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            let watch = match &mut self.watch {
                Some(watch) => watch,
                none => none.insert(Watch::new(&[&self.path, &schema::log_path(&self.path)])),
            };
            if watch.wait(left, interrupt) == Wake::Interrupted {
                return Ok(false);
            }
        }
    }

    fn waiting(&mut self, limit: usize) -> Result<(Vec<Entry>, usize), StoreError> {
        let path = &self.path;
        let mut looked = || {
            // One transaction, so that both answers are from the same moment.
            let tx = self.db.transaction()?;
            let all = count(&tx, COUNT_OPEN)?;
            let sql =
                format!("SELECT {ENTRY} FROM items WHERE seq IN ({OPEN}) ORDER BY asked_ms, seq");
            let mut found = tx.prepare(&sql)?;
            let found = found.query_map([to_limit(limit)], rows::entry)?;
            Ok((found.collect::<Result<_, _>>()?, all))
        };
        looked().map_err(|error: DbError| error.at(path))
    }

    fn history(&mut self, filter: &Filter, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let tool = filter.tool.as_ref().map(|tool| tool.to_lowercase());
        let sql = format!(
            "SELECT {ENTRY} FROM items WHERE seq IN ({CLOSED}) ORDER BY asked_ms DESC, seq DESC"
        );
        self.read(|db| {
            let mut found = db.prepare(&sql)?;
            let values = (
                &filter.state,
                &filter.server,
                &tool,
                filter.before_ms,
                to_limit(limit),
            );
            let found = found.query_map(values, rows::entry)?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }

    fn find(&mut self, id: &str) -> Result<Option<Entry>, StoreError> {
        let sql = format!("SELECT {ENTRY} FROM items WHERE id = ?");
        self.read(|db| Ok(db.query_row(&sql, [id], rows::entry).optional()?))
    }

    fn find_by_beginning(
        &mut self,
        beginning: &str,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        // U+10FFFF is the last character, so every id with this beginning sorts before it.
        let sql = format!(
            "SELECT {ENTRY} FROM items WHERE id >= ?1 AND id < ?1 || char(0x10ffff) \
             ORDER BY open DESC, asked_ms DESC, seq DESC LIMIT ?2"
        );
        self.read(|db| {
            let mut found = db.prepare(&sql)?;
            let found = found.query_map((beginning, to_limit(limit)), rows::entry)?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }

    fn sweep(&mut self, now_ms: i64) -> Result<(), StoreError> {
        sweeping::sweep(self, now_ms)
    }

    fn check(&mut self) -> Result<(), StoreError> {
        if schema::file_id(&self.path)? != self.file {
            return Err(store_error(&self.path, ErrorKind::Unusable));
        }
        self.read(|db| {
            // If the files were overwritten, the pages may exist only in our memory.
            db.release_memory()?;
            let tables = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0));
            match tables? {
                0_i64 => Err(DbError::Kind(ErrorKind::Damaged)),
                _ => Ok(()),
            }
        })
    }

    fn scrub(&mut self) -> Result<bool, StoreError> {
        // Overwritten data stays in the write-ahead log until the log is truncated.
        // Do not truncate an empty log: to all others, that would look like a change.
        if schema::has_empty_log(&self.path) {
            return Ok(true);
        }
        let tried = || {
            self.db.busy_timeout(Duration::ZERO)?;
            let busy = self
                .db
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                    row.get::<_, bool>(0)
                });
            self.db.busy_timeout(schema::PATIENCE)?;
            Ok(!busy?)
        };
        match tried().map_err(|error: DbError| error.at(&self.path)) {
            Err(error) if error.kind == ErrorKind::Locked => Ok(false),
            tried => tried,
        }
    }
}

/// Inserts an item.
fn insert<const N: usize>(
    tx: &Transaction<'_>,
    how: &str,
    columns: [(&str, &dyn ToSql); N],
) -> Result<(), DbError> {
    let names = columns.map(|(name, _)| name).join(", ");
    let marks = columns.map(|_| "?").join(", ");
    let sql = format!("{how} INTO items ({names}) VALUES ({marks})");
    tx.execute(&sql, &columns.map(|(_, value)| value)[..])?;
    Ok(())
}

/// Records one decision made through another engine.
fn record(tx: &Transaction<'_>, one: &Elsewhere, redaction: &Redaction) -> Result<(), DbError> {
    let Elsewhere {
        item,
        verdict,
        engine,
    } = one;
    sweeping::forget_old(tx, verdict.decided_ms, 10)?;
    let call = redacted(&item.call, redaction);
    let reason = verdict.reason.as_deref().map(|reason| {
        let reason = redaction.text(reason);
        cut_reason(&reason).to_owned()
    });
    let approver = verdict.approver.as_deref();
    let approver = approver.map(|name| redaction.text(name));
    let columns: [(&str, &dyn ToSql); 26] = [
        ("id", &item.id),
        // No proxy waits for it.
        ("proxy", &""),
        ("state", &State::Decided(verdict.choice).as_str()),
        ("server", &item.server),
        ("tool", &item.tool),
        ("tool_key", &item.tool.to_lowercase()),
        ("risk", &item.risk.as_str()),
        ("why", &item.why),
        ("question", &item.question),
        ("description", &item.description),
        ("hints", &item.hints),
        ("digest", &item.digest),
        ("client", &item.client),
        ("title", &item.title),
        ("client_title", &item.client_title),
        ("engine", engine),
        ("asked_ms", &item.asked_ms),
        ("expires_ms", &item.expires_ms),
        ("closed_ms", &verdict.decided_ms),
        ("decided_ms", &verdict.decided_ms),
        ("reason", &reason),
        ("cover_ms", &stored_cover(verdict.cover)),
        ("assurance", &verdict.assurance.as_str()),
        ("approver", &approver),
        ("open", &false),
        ("call", &call),
    ];
    insert(tx, "INSERT OR IGNORE", columns)?;
    // If the inbox showed it too, that item was withdrawn when somebody decided elsewhere. Keep one row for both.
    let sql = "UPDATE items SET state = ?2, engine = ?3, decided_ms = ?4, closed_ms = ?4, reason = ?5, cover_ms = ?6, \
         assurance = ?7, approver = ?8 WHERE id = ?1 AND state = ?9";
    let values = rusqlite::params![
        item.id,
        State::Decided(verdict.choice).as_str(),
        engine,
        verdict.decided_ms,
        reason,
        stored_cover(verdict.cover),
        verdict.assurance.as_str(),
        approver,
        State::Closed(Closed::Withdrawn).as_str(),
    ];
    tx.execute(sql, values)?;
    Ok(())
}

/// Closes a waiting item.
fn close(tx: &Transaction<'_>, seq: i64, how: Closed, now_ms: i64) -> Result<(), DbError> {
    let call = redacted_call(tx, seq)?;
    let sql = "UPDATE items SET state = ?, open = 0, due_ms = NULL, closed_ms = ?, call = ?, \
         redacted = NULL, resume = NULL WHERE seq = ?";
    let state = State::Closed(how).as_str();
    tx.execute(sql, (state, now_ms, call, seq))?;
    Ok(())
}

/// Returns the call of a waiting item as it will be kept once it no longer waits.
fn redacted_call(tx: &Transaction<'_>, seq: i64) -> Result<String, DbError> {
    let sql = "SELECT redacted FROM items WHERE seq = ?";
    if let Some(redacted) = tx.query_row(sql, [seq], |row| row.get(0))? {
        return Ok(redacted);
    }
    // A proxy of an older version asked it.
    let sql = "SELECT call FROM items WHERE seq = ?";
    let call: String = tx.query_row(sql, [seq], |row| row.get(0))?;
    Ok(redacted(&call, &Redaction::default()))
}

/// Forgets what is kept in case a verdict does not count: the original call, and the unredacted reason
/// and approver's name.
fn settle(
    tx: &Transaction<'_>,
    which: &str,
    values: impl rusqlite::Params,
    redaction: &Redaction,
) -> Result<(), DbError> {
    type Words = Option<String>;
    let sql = format!("SELECT seq, reason, approver FROM items WHERE {which}");
    let mut found = tx.prepare(&sql)?;
    let found = found.query_map(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let found: Vec<(i64, Words, Words)> = found.collect::<Result<_, _>>()?;
    for (seq, reason, approver) in found {
        let [reason, approver] =
            [reason, approver].map(|words| words.map(|words| redaction.text(&words).into_owned()));
        let sql = "UPDATE items SET whole = NULL, delivery = NULL, resume = NULL, fields = NULL, reason = ?, approver = ? \
             WHERE seq = ?";
        tx.execute(sql, (reason, approver, seq))?;
    }
    Ok(())
}

/// Forgets an item's verdict, if it has one, because nobody will take it up. Also forbids resuming the item.
fn forget_verdict(tx: &Transaction<'_>, seq: i64, redaction: &Redaction) -> Result<(), DbError> {
    settle(tx, "delivery IN (1, 2) AND seq = ?", [seq], redaction)?;
    let sql = "UPDATE items SET resume = NULL WHERE seq = ? AND resume IS NOT NULL";
    tx.execute(sql, [seq])?;
    Ok(())
}

/// Returns a number that changes whenever another connection has changed the database.
fn version(db: &Connection) -> Result<i64, DbError> {
    Ok(db.pragma_query_value(None, "data_version", |row| row.get(0))?)
}

fn count(db: &Connection, sql: &str) -> Result<usize, DbError> {
    let count: i64 = db.query_row(sql, [], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

fn to_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Why a query or a change failed.
#[derive(Debug)]
enum DbError {
    /// SQLite failed, or a row is invalid.
    Sqlite(rusqlite::Error),
    /// Our own check failed.
    Kind(ErrorKind),
    /// A file next to the database failed.
    File(StoreError),
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> DbError {
        DbError::Sqlite(error)
    }
}

impl DbError {
    fn at(self, path: &Path) -> StoreError {
        match self {
            DbError::Kind(kind) => store_error(path, kind),
            DbError::File(error) => error,
            DbError::Sqlite(error) => StoreError {
                place: Place::Path(path.to_path_buf()),
                kind: kind(&error),
                source: Some(Box::new(error)),
            },
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "foreign enums, of which only a few members tell the user what to do"
)]
fn kind(error: &rusqlite::Error) -> ErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ErrorKind::Full,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Locked,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Damaged,
        Some(_) => ErrorKind::Unusable,
        None => match error {
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => ErrorKind::Damaged,
            _ => ErrorKind::Unusable,
        },
    }
}
