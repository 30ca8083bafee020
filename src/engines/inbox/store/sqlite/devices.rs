//! The devices of the remote page, in tables of the same database.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{DbError, SqliteLogins, count};
use crate::engines::inbox::store::{
    Device, Devices, MAX_DEVICES, MAX_WRONG_CODES, Offer, Paired, StoreError,
};

const DEVICE: &str = "id, name, paired_ms, used_ms, until_ms";

impl Devices for SqliteLogins {
    fn offer(&mut self, code: &[u8; 32], until_ms: i64) -> Result<(), StoreError> {
        self.store()?.write(|tx| {
            let sql = "INSERT OR REPLACE INTO codes (only, hash, until_ms, wrong, device) \
                 VALUES (1, ?, ?, 0, NULL)";
            tx.execute(sql, (code, until_ms))?;
            Ok(())
        })
    }

    fn offered(&mut self, code: &[u8; 32], now_ms: i64) -> Result<Offer, StoreError> {
        self.store()?.read(|db| {
            Ok(match current(db)? {
                Some(Code {
                    hash,
                    device: Some(id),
                    ..
                }) if hash == *code => Offer::Used(id),
                Some(known) if known.hash != *code || known.until_ms <= now_ms => Offer::Gone,
                Some(known) if known.wrong >= MAX_WRONG_CODES => Offer::Void,
                Some(_) => Offer::Open,
                None => Offer::Gone,
            })
        })
    }

    fn pair(
        &mut self,
        code: &[u8; 32],
        device: &Device,
        session: &[u8; 32],
        record: &mut dyn FnMut() -> bool,
    ) -> Result<Paired, StoreError> {
        let now_ms = device.paired_ms;
        // Reading first, so that attempts without a valid code do not lock others out.
        if !self
            .store()?
            .read(|db| Ok(current(db)?.is_some_and(|code| code.is_open(now_ms))))?
        {
            return Ok(Paired::NoCode);
        }
        self.store()?.write(|tx| {
            let Some(known) = current(tx)?.filter(|code| code.is_open(now_ms)) else {
                return Ok(Paired::NoCode);
            };
            if known.hash != *code {
                tx.execute("UPDATE codes SET wrong = wrong + 1", [])?;
                return Ok(Paired::WrongCode);
            }
            tx.execute("DELETE FROM devices WHERE until_ms <= ?", [now_ms])?;
            if count(tx, "SELECT count(*) FROM devices")? >= MAX_DEVICES {
                return Ok(Paired::TooMany);
            }
            let Device { id, name, paired_ms, used_ms, until_ms } = device;
            tx.execute("UPDATE codes SET device = ?", [id])?;
            // Before anybody can see the device.
            if !record() {
                return Ok(Paired::Unrecorded);
            }
            tx.execute(
                "INSERT INTO devices (id, session, name, paired_ms, used_ms, until_ms) VALUES (?, ?, ?, ?, ?, ?)",
                (id, session, name, paired_ms, used_ms, until_ms),
            )?;
            Ok(Paired::Done)
        })
    }

    fn device(&mut self, session: &[u8; 32], now_ms: i64) -> Result<Option<Device>, StoreError> {
        let sql = format!("SELECT {DEVICE} FROM devices WHERE session = ? AND until_ms > ?");
        let found = self
            .store()?
            .read(|db| Ok(db.query_row(&sql, (session, now_ms), device).optional()?));
        found.map(|device| device.filter(is_ours))
    }

    fn used(&mut self, id: &str, now_ms: i64) -> Result<(), StoreError> {
        self.store()?.write(|tx| {
            tx.execute("UPDATE devices SET used_ms = ? WHERE id = ?", (now_ms, id))?;
            Ok(())
        })
    }

    fn devices(&mut self, now_ms: i64) -> Result<Vec<Device>, StoreError> {
        let sql = format!("SELECT {DEVICE} FROM devices WHERE until_ms > ? ORDER BY paired_ms, id");
        self.store()?.read(|db| {
            let mut found = db.prepare(&sql)?;
            let found = found.query_map([now_ms], device)?;
            let mut found = found.collect::<Result<Vec<_>, _>>()?;
            found.retain(is_ours);
            Ok(found)
        })
    }

    fn revoke(&mut self, id: &str) -> Result<bool, StoreError> {
        self.store()?
            .write(|tx| Ok(tx.execute("DELETE FROM devices WHERE id = ?", [id])? == 1))
    }

    fn subscribe(&mut self, id: &str, subscription: Option<&str>) -> Result<(), StoreError> {
        self.store()?.write(|tx| {
            let sql = "UPDATE devices SET subscription = ? WHERE id = ?";
            tx.execute(sql, (subscription, id))?;
            Ok(())
        })
    }

    fn subscriptions(&mut self, now_ms: i64) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT id, subscription FROM devices \
             WHERE subscription IS NOT NULL AND until_ms > ? ORDER BY id";
        self.store()?.read(|db| {
            let mut found = db.prepare(sql)?;
            let found = found.query_map([now_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut found = found.collect::<Result<Vec<(String, String)>, _>>()?;
            found.retain(|(id, _)| is_our_id(id));
            Ok(found)
        })
    }
}

/// The code that was offered last.
struct Code {
    hash: [u8; 32],
    until_ms: i64,
    wrong: u32,
    device: Option<String>,
}

impl Code {
    fn is_open(&self, now_ms: i64) -> bool {
        self.until_ms > now_ms && self.wrong < MAX_WRONG_CODES && self.device.is_none()
    }
}

fn current(db: &Connection) -> Result<Option<Code>, DbError> {
    let read = |row: &Row<'_>| {
        Ok(Code {
            hash: row.get(0)?,
            until_ms: row.get(1)?,
            wrong: row.get(2)?,
            device: row.get(3)?,
        })
    };
    let sql = "SELECT hash, until_ms, wrong, device FROM codes";
    Ok(db.query_row(sql, [], read).optional()?)
}

/// Returns false if the device's id is none of ours: another program has written it. Such a device could neither be shown
/// safely in a terminal nor named to revoke it, so it is not one.
fn is_ours(device: &Device) -> bool {
    is_our_id(&device.id)
}

fn is_our_id(id: &str) -> bool {
    id.len() == 8
        && id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn device(row: &Row<'_>) -> rusqlite::Result<Device> {
    Ok(Device {
        id: row.get(0)?,
        name: row.get(1)?,
        paired_ms: row.get(2)?,
        used_ms: row.get(3)?,
        until_ms: row.get(4)?,
    })
}
