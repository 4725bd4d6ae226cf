//! Drafts: what an app has begun and not saved as a record yet, under names of the app's own.
//!
//! They belong to no document and no scope, are sent nowhere, and go when the app drops them or the file is wiped.

use gridbeat_base::WallTime;
use rusqlite::{Connection, params};

use super::sql;
use crate::{Draft, StorageError};

/// Keeps a draft in the place of the one of its name.
pub(crate) fn put(
    db: &Connection,
    name: &str,
    bytes: &[u8],
    now: WallTime,
) -> Result<(), StorageError> {
    sql::execute(
        db,
        "INSERT OR REPLACE INTO draft (name, saved, bytes) VALUES (?1, ?2, ?3)",
        params![name, now.millis(), bytes],
    )?;
    Ok(())
}

/// Returns a draft's bytes.
pub(crate) fn find(db: &Connection, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
    sql::first(
        db,
        "SELECT bytes FROM draft WHERE name = ?1",
        [name],
        |row| row.get(0),
    )
}

/// Lists all drafts, in order of their names.
pub(crate) fn list(db: &Connection) -> Result<Vec<Draft>, StorageError> {
    sql::all(
        db,
        "SELECT name, length(bytes), saved FROM draft ORDER BY name",
        [],
        |row| {
            Ok(Draft {
                name: row.get(0)?,
                size_bytes: sql::count(row, 1)?,
                saved: WallTime(row.get(2)?),
            })
        },
    )
}

/// Counts the drafts of other names.
pub(crate) fn count_others(db: &Connection, name: &str) -> Result<u64, StorageError> {
    let count = sql::first(
        db,
        "SELECT count(*) FROM draft WHERE name <> ?1",
        [name],
        |row| sql::count(row, 0),
    )?;
    Ok(count.unwrap_or(0))
}

/// Drops a draft; says whether there was one.
pub(crate) fn remove(db: &Connection, name: &str) -> Result<bool, StorageError> {
    Ok(sql::execute(db, "DELETE FROM draft WHERE name = ?1", [name])? > 0)
}
