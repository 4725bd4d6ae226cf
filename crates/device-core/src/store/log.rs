//! The log of changes: the truth about every document.
//!
//! A document's changes stand in an order in which each follows what it depends on. Nothing is taken
//! out of the log but what was refused, and whole documents that leave.

use gridbeat_base::{ChangeHash, DeviceId, WallTime};
use gridbeat_document::Stamp;
use rusqlite::{Connection, Row, params};

use super::sql;
use crate::StorageError;

/// A change as the log knows it, without its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LogEntry {
    pub(crate) id: i64,
    pub(crate) hash: ChangeHash,
    pub(crate) author: DeviceId,
    /// The relay's time of receipt; `None` until it is accepted.
    pub(crate) received: Option<WallTime>,
}

/// What a person wanted, kept beside the change it became, so that it can be done again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Intent {
    pub(crate) stamp: Stamp,
    pub(crate) bytes: Vec<u8>,
}

/// Returns a document's changes in order.
pub(crate) fn entries(db: &Connection, document: i64) -> Result<Vec<LogEntry>, StorageError> {
    sql::all(
        db,
        "SELECT id, hash, author, received FROM change WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
        range(document),
        entry,
    )
}

/// Returns the sum of the relay's times of receipt of a document's changes, in milliseconds.
pub(crate) fn receipts(db: &Connection, document: i64) -> Result<i64, StorageError> {
    let sum = sql::first(
        db,
        "SELECT COALESCE(SUM(received), 0) FROM change WHERE id BETWEEN ?1 AND ?2",
        range(document),
        |row| row.get(0),
    )?;
    Ok(sum.unwrap_or(0))
}

/// Returns a document's raw changes in order.
pub(crate) fn bytes_of_all(
    db: &Connection,
    document: i64,
) -> Result<Vec<(LogEntry, Vec<u8>)>, StorageError> {
    sql::all(
        db,
        "SELECT id, hash, author, received, bytes FROM change
         WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
        range(document),
        |row| Ok((entry(row)?, row.get(4)?)),
    )
}

/// Returns a change and its bytes.
pub(crate) fn find(
    db: &Connection,
    change: i64,
) -> Result<Option<(LogEntry, Vec<u8>)>, StorageError> {
    sql::first(
        db,
        "SELECT id, hash, author, received, bytes FROM change WHERE id = ?1",
        [change],
        |row| Ok((entry(row)?, row.get(4)?)),
    )
}

/// Returns what a person wanted by a change of this device.
pub(crate) fn intent(db: &Connection, change: i64) -> Result<Option<Intent>, StorageError> {
    let found = sql::first(
        db,
        "SELECT author, hlc, wall, relay_offset, fact, intent FROM change WHERE id = ?1 AND intent IS NOT NULL",
        [change],
        |row| {
            let stamp = Stamp {
                device: sql::device_id(row, 0)?,
                hlc: sql::hlc(row, 1)?,
                wall: WallTime(row.get(2)?),
                relay_offset_ms: row.get(3)?,
                fact: row.get(4)?,
            };
            Ok(Intent {
                stamp,
                bytes: row.get(5)?,
            })
        },
    )?;
    Ok(found)
}

/// Adds a change.
pub(crate) fn insert(
    db: &Connection,
    entry: &LogEntry,
    bytes: &[u8],
    intent: Option<&Intent>,
) -> Result<(), StorageError> {
    let stamp = intent.map(|intent| &intent.stamp);
    sql::execute(
        db,
        "INSERT INTO change (id, hash, author, received, hlc, wall, relay_offset, fact, intent, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            entry.id,
            entry.hash.bytes(),
            entry.author.bytes(),
            entry.received.map(WallTime::millis),
            stamp.map(|stamp| sql::hlc_bits(stamp.hlc)),
            stamp.map(|stamp| stamp.wall.millis()),
            stamp.and_then(|stamp| stamp.relay_offset_ms),
            stamp.map(|stamp| stamp.fact),
            intent.map(|intent| &intent.bytes),
            bytes,
        ],
    )?;
    Ok(())
}

/// Notes when the relay received a change, and who it says made it.
pub(crate) fn set_received(
    db: &Connection,
    change: i64,
    author: DeviceId,
    received: WallTime,
) -> Result<(), StorageError> {
    sql::execute(
        db,
        "UPDATE change SET received = ?2, author = ?3 WHERE id = ?1",
        params![change, received.millis(), author.bytes()],
    )?;
    Ok(())
}

/// Notes that the relay does not have a change any more.
pub(crate) fn clear_received(db: &Connection, change: i64) -> Result<(), StorageError> {
    sql::execute(
        db,
        "UPDATE change SET received = NULL WHERE id = ?1",
        [change],
    )?;
    Ok(())
}

/// Takes a change out.
pub(crate) fn delete(db: &Connection, change: i64) -> Result<(), StorageError> {
    sql::execute(db, "DELETE FROM change WHERE id = ?1", [change])?;
    Ok(())
}

/// Takes all changes of a document out.
pub(crate) fn delete_all(db: &Connection, document: i64) -> Result<(), StorageError> {
    sql::execute(
        db,
        "DELETE FROM change WHERE id BETWEEN ?1 AND ?2",
        range(document),
    )?;
    Ok(())
}

/// A change of a document's history, as a person may see it.
pub(crate) struct HistoryRow {
    pub(crate) entry: LogEntry,
    pub(crate) wall: Option<WallTime>,
    pub(crate) intent: Option<Vec<u8>>,
}

/// Returns a document's history in order.
pub(crate) fn history(db: &Connection, document: i64) -> Result<Vec<HistoryRow>, StorageError> {
    sql::all(
        db,
        "SELECT id, hash, author, received, wall, intent FROM change
         WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
        range(document),
        |row| {
            Ok(HistoryRow {
                entry: entry(row)?,
                wall: row.get::<_, Option<i64>>(4)?.map(WallTime),
                intent: row.get(5)?,
            })
        },
    )
}

const fn range(document: i64) -> [i64; 2] {
    [
        sql::change_id(document, 0),
        sql::change_id(document, sql::CHANGE_NUMBER_MAX),
    ]
}

fn entry(row: &Row<'_>) -> rusqlite::Result<LogEntry> {
    Ok(LogEntry {
        id: row.get(0)?,
        hash: sql::hash(row, 1)?,
        author: sql::device_id(row, 2)?,
        received: row.get::<_, Option<i64>>(3)?.map(WallTime),
    })
}
