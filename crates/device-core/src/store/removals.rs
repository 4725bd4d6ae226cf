//! What this device has stated that it removed: kept until the relay has, and a little longer for people.
//!
//! A statement is signed when it is sent, so that a device with a renewed key can still send an old one.

use gridbeat_base::Scope;
use gridbeat_sync_protocol::{RemovalHash, RemovalStatement};
use rusqlite::{Connection, params};

use super::sql;
use crate::StorageError;

/// Statements kept that the relay has too.
const NOTED_MAX: i64 = 64;

/// Adds a statement that the relay does not have.
pub(crate) fn insert(db: &Connection, statement: &RemovalStatement) -> Result<(), StorageError> {
    sql::execute(
        db,
        "INSERT INTO removal (scope, hash, statement, noted) VALUES (?1, ?2, ?3, 0)",
        params![
            statement.scope.as_ref().map(Scope::as_str),
            RemovalHash::of(&statement.to_bytes()).bytes(),
            statement.to_bytes(),
        ],
    )?;
    Ok(())
}

/// Returns the oldest statement that the relay does not have, of those whose scope may be spoken of.
pub(crate) fn next(
    db: &Connection,
    may_be_sent: impl Fn(Option<&Scope>) -> bool,
) -> Result<Option<Vec<u8>>, StorageError> {
    let rows: Vec<(Option<String>, Vec<u8>)> = sql::all(
        db,
        "SELECT scope, statement FROM removal WHERE noted = 0 ORDER BY id",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    for (name, statement) in rows {
        let scope = name
            .map(|name| Scope::new(&name).map_err(|_| sql::impossible("removal.scope")))
            .transpose()?;
        if may_be_sent(scope.as_ref()) {
            return Ok(Some(statement));
        }
    }
    Ok(None)
}

/// Notes that the relay has a statement; says whether it is one of everything.
pub(crate) fn note(db: &Connection, removal: &RemovalHash) -> Result<bool, StorageError> {
    let is_everything = sql::first(
        db,
        "SELECT scope IS NULL FROM removal WHERE hash = ?1",
        [removal.bytes()],
        |row| row.get(0),
    )?;
    sql::execute(
        db,
        "UPDATE removal SET noted = 1 WHERE hash = ?1",
        [removal.bytes()],
    )?;
    sql::execute(
        db,
        "DELETE FROM removal WHERE noted = 1 AND id <=
             (SELECT id FROM removal WHERE noted = 1 ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        [NOTED_MAX],
    )?;
    Ok(is_everything.unwrap_or(false))
}

/// Lets the last statement of everything be sent again; says whether there is one.
pub(crate) fn reopen_everything(db: &Connection) -> Result<bool, StorageError> {
    let reopened = sql::execute(
        db,
        "UPDATE removal SET noted = 0
         WHERE id = (SELECT max(id) FROM removal WHERE scope IS NULL)",
        [],
    )?;
    Ok(reopened > 0)
}
