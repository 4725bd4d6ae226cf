//! What the relay refused: kept whole, with its reason, until a person corrects or drops it; then without its
//! bytes, for the history.

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Scope, WallTime};
use gridbeat_sync_protocol::Reason;
use rusqlite::{Connection, Row, params};

use super::sql;
use crate::StorageError;

/// A refused change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RefusedRow {
    pub(crate) id: i64,
    pub(crate) document: DocumentId,
    pub(crate) kind: String,
    pub(crate) scope: String,
    pub(crate) hash: ChangeHash,
    pub(crate) author: DeviceId,
    pub(crate) wall: WallTime,
    pub(crate) refused: WallTime,
    pub(crate) intent: Option<Vec<u8>>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) reason: Reason,
    pub(crate) settled: Option<(WallTime, Option<Replacement>)>,
}

/// The document and the change that a corrected intent was saved as.
pub(crate) type Replacement = (DocumentId, ChangeHash);

/// Adds a refused change, to be seen to; its `id` is given here.
pub(crate) fn insert(db: &Connection, row: &RefusedRow) -> Result<(), StorageError> {
    sql::execute(
        db,
        "INSERT INTO refused (document, kind, scope, hash, author, wall, refused, intent, bytes,
             code, en, zh)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            row.document.bytes(),
            row.kind,
            row.scope,
            row.hash.bytes(),
            row.author.bytes(),
            row.wall.millis(),
            row.refused.millis(),
            row.intent,
            row.bytes,
            row.reason.code,
            row.reason.en,
            row.reason.zh,
        ],
    )?;
    Ok(())
}

/// Which refused changes to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Which {
    /// Those that nobody has seen to.
    Open,
    /// Those that were dropped or corrected.
    Settled,
}

/// Returns what was refused, the oldest first.
pub(crate) fn load(db: &Connection, which: Which) -> Result<Vec<RefusedRow>, StorageError> {
    sql::all(
        db,
        "SELECT id, document, kind, scope, hash, author, wall, refused, intent, bytes, code, en, zh,
             settled, replaced_in, replaced_by
         FROM refused WHERE (settled IS NOT NULL) = ?1 ORDER BY id",
        [which == Which::Settled],
        row,
    )
}

/// Returns one that nobody has seen to.
pub(crate) fn find(db: &Connection, id: i64) -> Result<Option<RefusedRow>, StorageError> {
    sql::first(
        db,
        "SELECT id, document, kind, scope, hash, author, wall, refused, intent, bytes, code, en, zh,
             settled, replaced_in, replaced_by
         FROM refused WHERE id = ?1 AND settled IS NULL",
        [id],
        row,
    )
}

/// Notes that a person has seen to one; says whether it was open. Its bytes go: what was wanted stays.
pub(crate) fn settle(
    db: &Connection,
    id: i64,
    at: WallTime,
    replacement: Option<Replacement>,
) -> Result<bool, StorageError> {
    let settled = sql::execute(
        db,
        "UPDATE refused SET settled = ?2, replaced_in = ?3, replaced_by = ?4, bytes = x''
         WHERE id = ?1 AND settled IS NULL",
        params![
            id,
            at.millis(),
            replacement.map(|(document, _)| *document.bytes()),
            replacement.map(|(_, change)| *change.bytes()),
        ],
    )?;
    Ok(settled > 0)
}

/// Returns the oldest behind another that nobody has seen to; 0 stands before the first.
pub(crate) fn after(db: &Connection, id: i64) -> Result<Option<RefusedRow>, StorageError> {
    sql::first(
        db,
        "SELECT id, document, kind, scope, hash, author, wall, refused, intent, bytes, code, en, zh,
             settled, replaced_in, replaced_by
         FROM refused WHERE id > ?1 AND settled IS NULL ORDER BY id LIMIT 1",
        [id],
        row,
    )
}

/// Returns how much was refused of one scope and nobody has seen to.
pub(crate) fn count(db: &Connection, scope: &Scope) -> Result<u64, StorageError> {
    let count = sql::first(
        db,
        "SELECT count(*) FROM refused WHERE scope = ?1 AND settled IS NULL",
        [scope.as_str()],
        |row| sql::count(row, 0),
    )?;
    Ok(count.unwrap_or(0))
}

/// Drops one for good; says whether it was there.
pub(crate) fn delete(db: &Connection, id: i64) -> Result<bool, StorageError> {
    Ok(sql::execute(db, "DELETE FROM refused WHERE id = ?1", [id])? > 0)
}

fn row(row: &Row<'_>) -> rusqlite::Result<RefusedRow> {
    let replacement = match row.get::<_, Option<[u8; 32]>>(15)? {
        Some(change) => Some((sql::document_id(row, 14)?, ChangeHash::from_bytes(change))),
        None => None,
    };
    Ok(RefusedRow {
        id: row.get(0)?,
        document: sql::document_id(row, 1)?,
        kind: row.get(2)?,
        scope: row.get(3)?,
        hash: sql::hash(row, 4)?,
        author: sql::device_id(row, 5)?,
        wall: WallTime(row.get(6)?),
        refused: WallTime(row.get(7)?),
        intent: row.get(8)?,
        bytes: row.get(9)?,
        reason: Reason {
            code: row.get(10)?,
            en: row.get(11)?,
            zh: row.get(12)?,
        },
        settled: row
            .get::<_, Option<i64>>(13)?
            .map(|at| (WallTime(at), replacement)),
    })
}
