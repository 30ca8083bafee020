//! The database file: its tables, its creation, which is atomic, and the checks before its use.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::DbError;
use super::leases::lock_patiently;
use crate::engines::inbox::store::{ErrorKind, StoreError};
use crate::sys::state_dir::{StateDir, io_error, require_private, store_error};

/// The database's name in the user's folder.
const NAME: &str = "inbox.db";
/// The version of the tables, stored in `user_version`.
pub(super) const VERSION: i64 = 8;
/// Identifies our database: "aprx".
const APPLICATION: i64 = 0x6170_7278;
/// How long to wait while another process writes.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// The largest size of the database, in pages of 4 KiB: 1 GiB.
const MAX_PAGES: i64 = 256 * 1024;
/// The largest size of an idle write-ahead log, in bytes.
const MAX_IDLE_LOG: i64 = 8 * 1024 * 1024;

const TABLES: &str = "
CREATE TABLE items (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    proxy TEXT NOT NULL,
    state TEXT NOT NULL,
    server TEXT NOT NULL,
    tool TEXT NOT NULL,
    -- The tool's name in lower case, to be searched.
    tool_key TEXT NOT NULL,
    risk TEXT NOT NULL,
    why TEXT NOT NULL,
    question TEXT NOT NULL,
    description TEXT,
    hints TEXT NOT NULL,
    digest TEXT NOT NULL,
    client TEXT,
    -- What the server calls the tool, and the client itself, beside their names.
    title TEXT,
    client_title TEXT,
    -- The channel that a verdict came through; none is the inbox.
    engine TEXT,
    -- The form that a yes must fill in, and the answers, which are kept until the proxy has them.
    form TEXT,
    fields TEXT,
    asked_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    parked_until_ms INTEGER,
    closed_ms INTEGER,
    reason TEXT,
    cover_ms INTEGER,
    assurance TEXT,
    -- The name that whoever decided gave; nobody has checked it.
    approver TEXT,
    decided_ms INTEGER,
    signature BLOB,
    -- Of a verdict: 1 is for the proxy to take, 2 is taken and may still turn out not to count, 3 did
    -- not count.
    delivery INTEGER,
    -- The key of whoever may resume a parked item: the right to do so, once.
    resume TEXT,
    -- Both follow from other columns; generated ones would keep indexes from being enough.
    open INTEGER NOT NULL CHECK (open = (state IN ('waiting', 'parked'))),
    due_ms INTEGER CHECK (due_ms IS
        CASE state WHEN 'waiting' THEN expires_ms WHEN 'parked' THEN parked_until_ms END),
    -- Three forms of a call, last since they are long: as it is shown; as it was asked, from a verdict
    -- until its proxy has found that it counts; and without secrets, as its proxy knows them, from the
    -- question to the verdict.
    call TEXT NOT NULL,
    whole TEXT,
    redacted TEXT
) STRICT;
-- Each holds all that its queries look at: the rows themselves are long.
CREATE INDEX lists ON items (open, asked_ms, seq, state, server, tool_key);
CREATE INDEX due ON items (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX ended ON items (closed_ms, delivery) WHERE closed_ms IS NOT NULL;
CREATE INDEX owners ON items (proxy, open) WHERE open = 1;
CREATE INDEX deliveries ON items (delivery, proxy) WHERE delivery IS NOT NULL;
CREATE TABLE tokens (
    kind TEXT NOT NULL,
    hash BLOB NOT NULL,
    until_ms INTEGER NOT NULL,
    -- The name of the approver who will have it.
    approver TEXT,
    PRIMARY KEY (kind, hash)
) STRICT, WITHOUT ROWID;
";

/// The indexes for items that may be resumed. Separate from the tables, because databases of older versions get them
/// with the column.
const RESUMES: &str = "
CREATE INDEX IF NOT EXISTS resumes ON items
    (resume, open, asked_ms DESC, seq DESC, state, parked_until_ms, proxy) WHERE resume IS NOT NULL;
CREATE INDEX IF NOT EXISTS resume_ends ON items (open, parked_until_ms, resume) WHERE resume IS NOT NULL;
";

/// Which item a key of an engine's message stands for. Separate for the same reason.
const KEYS: &str = "
CREATE TABLE IF NOT EXISTS keys (
    key TEXT PRIMARY KEY,
    item TEXT NOT NULL REFERENCES items (id) ON DELETE CASCADE,
    -- The engine's name in the process that asked.
    engine TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_of ON keys (item);
";

/// The code that was offered last, and the devices that are paired. Separate for the same reason.
const DEVICES: &str = "
CREATE TABLE IF NOT EXISTS codes (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    hash BLOB NOT NULL,
    until_ms INTEGER NOT NULL,
    -- How many wrong codes were tried.
    wrong INTEGER NOT NULL,
    -- The device that it has paired.
    device TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS devices (
    id TEXT PRIMARY KEY,
    session BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    paired_ms INTEGER NOT NULL,
    used_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    -- Where push messages go, as the browser wrote it.
    subscription TEXT
) STRICT, WITHOUT ROWID;
";

/// The approvals that agents asked for. Separate for the same reason.
const APPROVALS: &str = "
CREATE TABLE IF NOT EXISTS approvals (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    idempotency_key TEXT,
    body TEXT NOT NULL,
    asked_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    outcome TEXT,
    UNIQUE (owner, idempotency_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pending_approvals ON approvals (owner, expires_ms) WHERE outcome IS NULL;
CREATE INDEX IF NOT EXISTS old_approvals ON approvals (expires_ms);
";

/// The columns that each version added to the previous one, all of type text.
const ADDED: [&[&str]; 8] = [
    &[],
    &["items.redacted"],
    &["items.title", "items.client_title", "items.engine"],
    &["items.approver", "tokens.approver", "items.resume"],
    // Version 5 added the table `keys`, version 6 `codes` and `devices`, version 7 `approvals`.
    &[],
    &[],
    &[],
    &["items.form", "items.fields"],
];

/// Returns true if the folder has a database.
pub(in crate::engines::inbox::store) fn has_database(folder: &Path) -> bool {
    folder.join(NAME).symlink_metadata().is_ok()
}

/// Returns the database's path.
pub(super) fn path(dir: &StateDir) -> PathBuf {
    dir.path().join(NAME)
}

/// Device and inode number, which identify a file whatever its name.
pub(super) type FileId = (u64, u64);

/// Returns the id of the file at this path.
pub(super) fn file_id(path: &Path) -> Result<FileId, StoreError> {
    let metadata = fs::symlink_metadata(path).map_err(|error| io_error(path, error))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Returns true if the write-ahead log next to the database is empty.
pub(super) fn has_empty_log(path: &Path) -> bool {
    fs::symlink_metadata(log_path(path)).is_ok_and(|metadata| metadata.len() == 0)
}

/// Returns the path of the write-ahead log. The file exists while the database is open.
pub(super) fn log_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// Opens the database, and creates it if there is none.
pub(super) fn open(dir: &StateDir) -> Result<Connection, StoreError> {
    let path = path(dir);
    if !exists(&path)? {
        create(dir, &path)?;
    }
    // Check by path only: opening and closing the file would release our own locks on it.
    for name in [path.clone(), beside(&path, "-wal"), beside(&path, "-shm")] {
        match fs::symlink_metadata(&name) {
            Ok(metadata) if metadata.is_file() => require_private(&name, &metadata)?,
            Ok(_) => return Err(store_error(&name, ErrorKind::Unusable)),
            // The two files next to it may not exist.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(&name, error)),
        }
    }
    connect(&path).map_err(|error| error.at(&path))
}

fn connect(path: &Path) -> Result<Connection, DbError> {
    let mut db = Connection::open_with_flags(path, flags())?;
    db.busy_timeout(PATIENCE)?;
    let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION || version < 1 {
        return Err(DbError::Kind(ErrorKind::Damaged));
    }
    if version > VERSION {
        return Err(DbError::Kind(ErrorKind::Newer));
    }
    if version < VERSION {
        upgrade(&mut db)?;
    }
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Durable even if the power fails: the log reaches the disk before a commit returns.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "fullfsync", true)?;
    // With an item go the keys that stand for it.
    db.pragma_update(None, "foreign_keys", true)?;
    // Replaced and deleted data is overwritten.
    db.pragma_update(None, "secure_delete", true)?;
    db.pragma_update(None, "cell_size_check", true)?;
    // Not `pragma_update`, because both return a row with the new value.
    db.query_row(&format!("PRAGMA max_page_count = {MAX_PAGES}"), [], |_| {
        Ok(())
    })?;
    db.query_row(
        &format!("PRAGMA journal_size_limit = {MAX_IDLE_LOG}"),
        [],
        |_| Ok(()),
    )?;
    Ok(db)
}

/// Upgrades the tables of an older version. Proxies of that version that have the database open can continue:
/// they name the columns that they use.
fn upgrade(db: &mut Connection) -> Result<(), DbError> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have upgraded it by now.
    let version: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = usize::try_from(version).unwrap_or(usize::MAX);
    let new: Vec<&str> = ADDED
        .iter()
        .skip(known)
        .flat_map(|columns| *columns)
        .copied()
        .collect();
    for column in &new {
        let (table, column) = column.split_once('.').unwrap_or(("items", column));
        tx.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} TEXT"))?;
    }
    if version < VERSION {
        tx.execute_batch(RESUMES)?;
        tx.execute_batch(KEYS)?;
        tx.execute_batch(DEVICES)?;
        tx.execute_batch(APPROVALS)?;
        tx.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(tx.commit()?)
}

/// Creates the database under another name and then renames it. Only one process at a time does so.
fn create(dir: &StateDir, path: &Path) -> Result<(), StoreError> {
    let lock = dir.path().join("inbox.lock");
    let Some(_lock) = lock_patiently(&lock)? else {
        return Err(store_error(path, ErrorKind::Locked));
    };
    if exists(path)? {
        return Ok(());
    }
    // Remove what a process that died here left. SQLite would take an old log for the new database's.
    let new = beside(path, ".new");
    let leftovers = ["", "-journal", "-wal", "-shm"].map(|end| beside(&new, end));
    let logs = ["-journal", "-wal", "-shm"].map(|end| beside(path, end));
    for old in leftovers.iter().chain(&logs) {
        match fs::remove_file(old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(old, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    let mut options = OpenOptions::new();
    let options = options.create_new(true).write(true).mode(0o600);
    options.open(&new).map_err(|error| io_error(path, error))?;
    fill(&new).map_err(|error| error.at(path))?;
    let failed = |error| io_error(path, error);
    File::open(&new)
        .and_then(|f| f.sync_all())
        .map_err(failed)?;
    fs::rename(&new, path).map_err(failed)?;
    dir.sync().map_err(failed)
}

fn fill(new: &Path) -> Result<(), DbError> {
    let mut db = Connection::open_with_flags(new, flags())?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let tx = db.transaction()?;
    tx.execute_batch(TABLES)?;
    tx.execute_batch(RESUMES)?;
    tx.execute_batch(KEYS)?;
    tx.execute_batch(DEVICES)?;
    tx.execute_batch(APPROVALS)?;
    tx.pragma_update(None, "application_id", APPLICATION)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()?;
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| DbError::from(error))
}

/// Without the flags that create a file or treat a path as a URI.
fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn exists(path: &Path) -> Result<bool, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(path, error)),
    }
}

/// Appends `end` to a path.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}
