//! What the relay refused: kept whole, with its reason, until a person drops it.

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, WallTime};
use gridbeat_sync_protocol::Reason;
use rusqlite::{Connection, params};

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
}

/// Adds a refused change; its `id` is given here.
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

/// Returns everything refused, the oldest first.
pub(crate) fn load(db: &Connection) -> Result<Vec<RefusedRow>, StorageError> {
    sql::all(
        db,
        "SELECT id, document, kind, scope, hash, author, wall, refused, intent, bytes, code, en, zh
         FROM refused ORDER BY id",
        [],
        |row| {
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
            })
        },
    )
}

/// Drops one; says whether it was there.
pub(crate) fn delete(db: &Connection, id: i64) -> Result<bool, StorageError> {
    Ok(sql::execute(db, "DELETE FROM refused WHERE id = ?1", [id])? > 0)
}
