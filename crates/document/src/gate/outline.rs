//! What can be told of a change that must not be opened: read from its bytes alone.
//!
//! For those who look into a quarantine. Nothing here hands anything to Automerge: the header is read and
//! the runs of the columns are summed, in time and memory bounded by the bytes. Nothing told is believed: a
//! forged change may say anything of itself. Not here: whether it may enter (`gate`).

use gridbeat_base::ChangeHash;

use super::operations;
use crate::ParseError;
use crate::chunk::Chunk;

/// What a change's bytes say of it, without any operation decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outline {
    /// Its name.
    pub hash: ChangeHash,
    /// The id it was written under; 16 bytes in an honest change.
    pub actor: Vec<u8>,
    /// Which change of that actor it says it is.
    pub seq: u64,
    /// When its author's clock says it was made, in seconds since 1970.
    pub time_s: i64,
    /// Where it starts to count its operations.
    pub start_op: u64,
    /// On how many changes it was made.
    pub dependencies: usize,
    /// How many operations its columns name; `None` if they cannot be counted.
    pub operations: Option<u64>,
    /// How many earlier operations those replace; `None` if they cannot be counted.
    pub replaced: Option<u64>,
    /// Whether it has a message or bytes of an unknown meaning, which no honest change has.
    pub has_extras: bool,
}

impl Outline {
    /// Reads it from bytes that nobody vouches for.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if the bytes are not exactly one uncompressed change.
    pub fn read(bytes: &[u8]) -> Result<Self, ParseError> {
        let chunk = Chunk::parse(bytes)?;
        let counted = operations::count(&chunk.columns).ok();
        Ok(Self {
            hash: chunk.hash,
            actor: chunk.actor.to_vec(),
            seq: chunk.seq,
            time_s: chunk.time,
            start_op: chunk.start_op,
            dependencies: chunk.deps.len(),
            operations: counted.map(|counted| counted.rows),
            replaced: counted.map(|counted| counted.replaced),
            has_extras: chunk.has_message || !chunk.extra.is_empty(),
        })
    }
}
