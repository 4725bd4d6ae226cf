//! Own changes of documents that have left, kept aside until they are known to be in a backup.
//!
//! The relay called them durable; but until its stable mark has passed them, a loss of its disk loses them if
//! nobody else holds them. They belong to no document here and nobody sees them. Bounded: see
//! [`KEPT_BYTES_MAX`] and [`KEPT_AGE_MAX`]. Not here: when they are offered again (`link::kept`).

use core::time::Duration;

use gridbeat_base::{ChangeHash, DocumentId, Incarnation, Scope, WallTime};
use rusqlite::{Connection, Row, params};

use super::sql;
use crate::StorageError;

/// Bytes kept aside at most; the ones received first go. With 80 to 270 bytes a change it is more than one officer
/// writes in a year.
pub(crate) const KEPT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How long a change is kept aside where no backup is ever made: as long as a device may be away and come back.
pub(crate) const KEPT_AGE_MAX: Duration = Duration::from_hours(180 * 24);

/// A change that is kept aside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KeptRow {
    /// Its place: in a document, causal order.
    pub(crate) id: i64,
    pub(crate) scope: String,
    pub(crate) document: DocumentId,
    pub(crate) kind: String,
    pub(crate) schema_version: u16,
    pub(crate) hash: ChangeHash,
    pub(crate) bytes: Vec<u8>,
}

/// Keeps the own changes of a document that leaves which the mark has not passed.
pub(crate) fn keep(
    db: &Connection,
    document: i64,
    scope: &Scope,
    incarnation: Incarnation,
    stable: Option<WallTime>,
    now: WallTime,
) -> Result<(), StorageError> {
    let kept = sql::execute(
        db,
        "INSERT INTO kept (scope, document, kind, schema, hash, author, received, incarnation, since,
             wall, intent, bytes)
         SELECT ?3, d.uuid, d.kind, d.schema, c.hash, c.author, c.received, ?4, ?6, c.wall, c.intent,
             c.bytes
         FROM change c JOIN document d ON d.id = ?7
         WHERE c.id BETWEEN ?1 AND ?2 AND c.intent IS NOT NULL AND c.received IS NOT NULL
             AND (?5 IS NULL OR c.received > ?5)
         ORDER BY c.id
         ON CONFLICT (hash) DO NOTHING",
        params![
            sql::change_id(document, 0),
            sql::change_id(document, sql::CHANGE_NUMBER_MAX),
            scope.as_str(),
            incarnation.bytes(),
            stable.map(WallTime::millis),
            now.millis(),
            document,
        ],
    )?;
    if kept > 0 { trim(db, now) } else { Ok(()) }
}

/// Lets go what is too old, and what is too much: the first received first.
pub(crate) fn trim(db: &Connection, now: WallTime) -> Result<(), StorageError> {
    let age_ms = i64::try_from(KEPT_AGE_MAX.as_millis()).unwrap_or(i64::MAX);
    sql::execute(
        db,
        "DELETE FROM kept WHERE since < ?1",
        [now.millis().saturating_sub(age_ms)],
    )?;
    while total(db)?.1 > KEPT_BYTES_MAX {
        sql::execute(
            db,
            "DELETE FROM kept WHERE id IN (SELECT id FROM kept ORDER BY received, id LIMIT 100)",
            [],
        )?;
    }
    Ok(())
}

/// Lets go what the mark of a relay's life has passed.
pub(crate) fn pass(
    db: &Connection,
    incarnation: Incarnation,
    stable: WallTime,
) -> Result<(), StorageError> {
    sql::execute(
        db,
        "DELETE FROM kept WHERE incarnation = ?1 AND received <= ?2",
        params![incarnation.bytes(), stable.millis()],
    )?;
    Ok(())
}

/// Returns how many there are, and their bytes.
pub(crate) fn total(db: &Connection) -> Result<(u64, u64), StorageError> {
    let found = sql::first(
        db,
        "SELECT count(*), COALESCE(sum(length(bytes)), 0) FROM kept",
        [],
        |row| Ok((sql::count(row, 0)?, sql::count(row, 1)?)),
    )?;
    Ok(found.unwrap_or_default())
}

/// Returns those that another life of the relay's database called durable, in the order to offer them, from the one
/// after `after` on.
pub(crate) fn of_other_lives(
    db: &Connection,
    incarnation: Incarnation,
    after: i64,
    limit: usize,
) -> Result<Vec<KeptRow>, StorageError> {
    sql::all(
        db,
        "SELECT id, scope, document, kind, schema, hash, bytes FROM kept
         WHERE incarnation <> ?1 AND id > ?2 ORDER BY id LIMIT ?3",
        params![
            incarnation.bytes(),
            after,
            i64::try_from(limit).unwrap_or(i64::MAX)
        ],
        kept_row,
    )
}

fn kept_row(row: &Row<'_>) -> rusqlite::Result<KeptRow> {
    Ok(KeptRow {
        id: row.get(0)?,
        scope: row.get(1)?,
        document: sql::document_id(row, 2)?,
        kind: row.get(3)?,
        schema_version: row.get(4)?,
        hash: sql::hash(row, 5)?,
        bytes: row.get(6)?,
    })
}

/// Notes that this life of the relay's database has it, too.
pub(crate) fn accepted(
    db: &Connection,
    id: i64,
    incarnation: Incarnation,
    received: WallTime,
) -> Result<(), StorageError> {
    sql::execute(
        db,
        "UPDATE kept SET incarnation = ?2, received = ?3 WHERE id = ?1",
        params![id, incarnation.bytes(), received.millis()],
    )?;
    Ok(())
}

/// Moves one among what was refused, with the reason.
pub(crate) fn refuse(
    db: &Connection,
    id: i64,
    (code, en, zh): (&str, &str, &str),
    now: WallTime,
) -> Result<(), StorageError> {
    sql::execute(
        db,
        "INSERT INTO refused (document, kind, scope, hash, author, wall, refused, intent, bytes, code,
             en, zh)
         SELECT document, kind, scope, hash, author, COALESCE(wall, ?2), ?2, intent, bytes, ?3, ?4, ?5
         FROM kept WHERE id = ?1",
        params![id, now.millis(), code, en, zh],
    )?;
    sql::execute(db, "DELETE FROM kept WHERE id = ?1", [id])?;
    Ok(())
}
