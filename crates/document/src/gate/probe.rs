//! For fuzzing alone: the gate's count of operations beside Automerge's own. Feature `fuzz`.

use super::operations;
use crate::chunk::Chunk;
use crate::contain::contained;

/// Most rows that are still decoded for a comparison: far more than the gate lets through, in little memory.
const DECODED_MAX: u64 = 20_000;

/// What the bytes of one change name, counted twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counts {
    /// Operations that the gate counted from the runs of the columns.
    pub rows: u64,
    /// Replaced operations that the gate counted so.
    pub replaced: u64,
    /// Operations that Automerge decoded.
    pub decoded: u64,
    /// Replaced operations that Automerge decoded.
    pub decoded_replaced: u64,
}

/// Counts what a change names, if the gate can read it, finds it small and Automerge decodes it.
pub fn counts(bytes: &[u8]) -> Option<Counts> {
    let chunk = Chunk::parse(bytes).ok()?;
    let counted = operations::count(&chunk.columns).ok()?;
    if counted.rows > DECODED_MAX || counted.replaced > DECODED_MAX {
        return None;
    }
    let decoded = contained(|| {
        let change = automerge::Change::try_from(bytes).ok()?;
        let operations = change.decode().operations;
        let replaced = operations.iter().map(|op| op.pred.iter().count() as u64);
        Some((operations.len() as u64, replaced.sum()))
    });
    let (decoded, decoded_replaced) = decoded.flatten()?;
    Some(Counts {
        rows: counted.rows,
        replaced: counted.replaced,
        decoded,
        decoded_replaced,
    })
}
