//! How ids, hashes and numbers lie in columns, and back.

use gridbeat_base::{ChangeHash, Digest, DocumentId, Scope, Verbs};
use gridbeat_relay_core::StoreFault;

use crate::error::damaged;

/// Bytes of one change's hash in a `heads` column.
const HASH_BYTES: usize = 32;

/// SQLite's integers are signed; sequence numbers and counts stay far below their end.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).expect("sequence numbers and sizes stay below 2^63")
}

/// Reads a number that was written by [`to_sql`]. A cursor of a peer may be any number.
pub(crate) fn clamp_to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Reads a number that cannot be negative.
pub(crate) fn from_sql(number: i64) -> Result<u64, StoreFault> {
    u64::try_from(number).map_err(|_| damaged("a count is negative"))
}

/// Reads a schema version.
pub(crate) fn schema_version(number: i64) -> Result<u16, StoreFault> {
    u16::try_from(number).map_err(|_| damaged("a schema version is out of range"))
}

/// Writes heads one behind the other.
pub(crate) fn heads_to_sql(heads: &[ChangeHash]) -> Vec<u8> {
    heads.iter().flat_map(|head| *head.bytes()).collect()
}

/// Reads heads.
pub(crate) fn heads_from_sql(bytes: &[u8]) -> Result<Vec<ChangeHash>, StoreFault> {
    let (heads, rest) = bytes.as_chunks::<HASH_BYTES>();
    if !rest.is_empty() {
        return Err(damaged("heads are cut off"));
    }
    Ok(heads.iter().copied().map(ChangeHash::from_bytes).collect())
}

/// Reads a scope's name.
pub(crate) fn scope(name: &str) -> Result<Scope, StoreFault> {
    Scope::new(name).map_err(|_| damaged("a scope's name is not one"))
}

/// Reads a set of verbs.
pub(crate) fn verbs(bits: u8) -> Result<Verbs, StoreFault> {
    Verbs::from_bits(bits).map_err(|_| damaged("a grant has verbs that are none"))
}

/// Reads a digest.
pub(crate) const fn digest(bytes: [u8; 16]) -> Digest {
    Digest::from_bytes(bytes)
}

/// Reads a document's id.
pub(crate) const fn document(bytes: [u8; 16]) -> DocumentId {
    DocumentId::from_bytes(bytes)
}
