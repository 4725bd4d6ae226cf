//! Photos and track segments, by the hash of their bytes.

use gridbeat_base::BlobHash;
use rusqlite::{Connection, params};

use super::sql;
use crate::StorageError;

/// Keeps a blob; one that is kept already stays.
pub(crate) fn insert(db: &Connection, hash: BlobHash, bytes: &[u8]) -> Result<(), StorageError> {
    sql::execute(
        db,
        "INSERT INTO blob (hash, bytes) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING",
        params![hash.bytes(), bytes],
    )?;
    Ok(())
}

/// Returns a blob.
pub(crate) fn find(db: &Connection, hash: BlobHash) -> Result<Option<Vec<u8>>, StorageError> {
    sql::first(
        db,
        "SELECT bytes FROM blob WHERE hash = ?1",
        [hash.bytes()],
        |row| row.get(0),
    )
}
