//! One change as it is stored and sent: a raw, uncompressed Automerge change chunk and its names.

use gridbeat_base::ChangeHash;

use crate::ParseError;
use crate::chunk::Chunk;

/// One accepted or locally made change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Its name everywhere: the SHA-256 of its bytes.
    pub hash: ChangeHash,
    /// The raw chunk (Automerge chunk type 1), never compressed.
    pub bytes: Vec<u8>,
    /// The changes it was made on, ascending. Always holds its actor's previous change.
    pub deps: Vec<ChangeHash>,
}

impl Change {
    /// Reads the hash and the dependencies of bytes from our own log.
    ///
    /// Checks the checksum but not the operations: bytes from elsewhere pass [`gate::admit`](crate::gate::admit).
    ///
    /// # Errors
    ///
    /// [`ParseError`] if the bytes are not exactly one uncompressed change chunk.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let chunk = Chunk::parse(bytes)?;
        Ok(Self {
            hash: chunk.hash,
            deps: chunk.deps,
            bytes: bytes.to_vec(),
        })
    }

    pub(crate) fn of_automerge(change: &automerge::Change) -> Self {
        let mut deps: Vec<_> = change.deps().iter().map(|dep| hash_of(*dep)).collect();
        deps.sort_unstable();
        Self {
            hash: hash_of(change.hash()),
            bytes: change.raw_bytes().to_vec(),
            deps,
        }
    }
}

/// Moves a document's heads on by one accepted change: `(heads − deps) ∪ {hash}`.
///
/// Keeps them sorted. The caller hands changes in causal order and each once.
pub fn advance_heads(heads: &mut Vec<ChangeHash>, change: &Change) {
    heads.retain(|head| !change.deps.contains(head) && *head != change.hash);
    let place = heads.partition_point(|head| *head < change.hash);
    heads.insert(place, change.hash);
}

pub(crate) fn hash_of(hash: automerge::ChangeHash) -> ChangeHash {
    ChangeHash::new(hash.0)
}
