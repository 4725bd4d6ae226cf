//! Between our types and SQLite's.

use gridbeat_base::{ChangeHash, DeviceId, Digest, DocumentId, Hlc};
use gridbeat_sync_protocol::Grant;
use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use super::schema::CHANGE_NUMBER_BITS;
use crate::StorageError;

/// Bytes of a change's hash.
const HASH_BYTES: usize = 32;

/// A column that holds something this program would never write.
pub(crate) const fn impossible(what: &'static str) -> StorageError {
    StorageError::Impossible { what }
}

/// Runs a statement that returns no rows; gives how many rows it changed.
pub(crate) fn execute(
    db: &Connection,
    sql: &'static str,
    params: impl Params,
) -> Result<usize, StorageError> {
    Ok(db.prepare_cached(sql)?.execute(params)?)
}

/// Runs a statement and reads its first row, if there is one.
pub(crate) fn first<T>(
    db: &Connection,
    sql: &'static str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StorageError> {
    Ok(db.prepare_cached(sql)?.query_row(params, read).optional()?)
}

/// Runs a statement and reads all its rows.
pub(crate) fn all<T>(
    db: &Connection,
    sql: &'static str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StorageError> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params, read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Reads a change's hash.
pub(crate) fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<ChangeHash> {
    Ok(ChangeHash::from_bytes(row.get(column)?))
}

/// Reads a document's id.
pub(crate) fn document_id(row: &Row<'_>, column: usize) -> rusqlite::Result<DocumentId> {
    Ok(DocumentId::from_bytes(row.get(column)?))
}

/// Reads a device's id.
pub(crate) fn device_id(row: &Row<'_>, column: usize) -> rusqlite::Result<DeviceId> {
    Ok(DeviceId::from_bytes(row.get(column)?))
}

/// Reads a digest.
pub(crate) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    Ok(Digest::from_bytes(row.get(column)?))
}

/// Reads heads: hashes end to end.
pub(crate) fn heads(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<ChangeHash>> {
    let bytes = row.get_ref(column)?.as_blob()?;
    Ok(bytes
        .chunks_exact(HASH_BYTES)
        .map(|chunk| ChangeHash::from_bytes(chunk.try_into().expect("a chunk has a hash's bytes")))
        .collect())
}

/// Writes heads end to end.
pub(crate) fn heads_bytes(heads: &[ChangeHash]) -> Vec<u8> {
    heads.iter().flat_map(|head| *head.bytes()).collect()
}

/// Writes a stamp. Bit for bit, so that a clock gone mad (beyond the year 6400) is stored too.
pub(crate) const fn hlc_bits(hlc: Hlc) -> i64 {
    hlc.bits().cast_signed()
}

/// Reads a stamp.
pub(crate) fn hlc(row: &Row<'_>, column: usize) -> rusqlite::Result<Hlc> {
    Ok(Hlc::from_bits(row.get::<_, i64>(column)?.cast_unsigned()))
}

/// Writes a count or a sequence number; none comes near 2⁶³.
pub(crate) fn count_bits(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Reads a count or a sequence number.
pub(crate) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let count: i64 = row.get(column)?;
    u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, count))
}

/// Writes a grant.
pub(crate) const fn grant_bits(grant: Grant) -> i64 {
    match grant {
        Grant::None => 0,
        Grant::Read => 1,
        Grant::Write => 2,
    }
}

/// Reads a grant; a number of a later version grants nothing.
pub(crate) fn grant(row: &Row<'_>, column: usize) -> rusqlite::Result<Grant> {
    Ok(match row.get::<_, i64>(column)? {
        1 => Grant::Read,
        2 => Grant::Write,
        _ => Grant::None,
    })
}

/// Returns the id of a document's change by its number.
pub(crate) const fn change_id(document: i64, number: i64) -> i64 {
    (document << CHANGE_NUMBER_BITS) | number
}

/// Returns the document a change's id belongs to.
pub(crate) const fn document_of(change: i64) -> i64 {
    change >> CHANGE_NUMBER_BITS
}

/// The last number a document can give to a change.
pub(crate) const CHANGE_NUMBER_MAX: i64 = (1 << CHANGE_NUMBER_BITS) - 1;
