//! What parts of frames count for against the windows and the frame limits (`PROTOCOL.md`, 7).

use crate::limits::{CHANGE_WEIGHT, ENTRY_WEIGHT};
use crate::wire::number;
use crate::{
    Ack, Compared, ComparedDocument, Entry, Feed, FeedChange, PushChange, PushDocument, Snapshot,
    SnapshotDocument, Verdict,
};

/// Size of a change's hash in a frame.
const HASH_BYTES: usize = 32;

impl PushChange {
    /// Returns what the change counts for: its bytes and [`CHANGE_WEIGHT`].
    pub fn weight(&self) -> usize {
        self.bytes.len() + CHANGE_WEIGHT
    }
}

impl PushDocument {
    /// Returns what the document and its changes count for.
    pub fn weight(&self) -> usize {
        ENTRY_WEIGHT + self.changes.iter().map(PushChange::weight).sum::<usize>()
    }
}

impl FeedChange {
    /// Returns what the change counts for: its bytes and [`CHANGE_WEIGHT`].
    pub fn weight(&self) -> usize {
        self.bytes.len() + CHANGE_WEIGHT
    }
}

impl Entry {
    /// Returns what the entry and its changes count for.
    pub fn weight(&self) -> usize {
        ENTRY_WEIGHT
            + match self {
                Self::Attach { changes, .. } => changes.iter().map(FeedChange::weight).sum(),
                Self::Change { change, .. } => change.weight(),
                Self::Detach { .. } | Self::Own { .. } => 0,
            }
    }

    /// Returns how many entries of the feed this stands for.
    pub const fn count(&self) -> u64 {
        match self {
            Self::Attach { .. } | Self::Change { .. } | Self::Detach { .. } => 1,
            Self::Own { count } => *count,
        }
    }
}

impl Feed {
    /// Returns what the frame counts for.
    pub fn weight(&self) -> usize {
        self.entries.iter().map(Entry::weight).sum()
    }

    /// Returns the sequence number of the last entry; `None` if there is no such number.
    pub fn last_seq(&self) -> Option<u64> {
        let mut end = self.first_seq;
        for entry in &self.entries {
            end = end.checked_add(entry.count())?;
        }
        end.checked_sub(1)
    }
}

impl ComparedDocument {
    /// Returns what the document and its changes count for.
    pub fn weight(&self) -> usize {
        ENTRY_WEIGHT
            + self.held.as_ref().map_or(0, |held| {
                (held.heads.len() + held.lacks.len()) * HASH_BYTES
                    + held.changes.iter().map(FeedChange::weight).sum::<usize>()
            })
    }
}

impl Compared {
    /// Returns what the frame counts for.
    pub fn weight(&self) -> usize {
        self.documents.iter().map(ComparedDocument::weight).sum()
    }
}

impl SnapshotDocument {
    /// Returns what the document and its changes count for.
    pub fn weight(&self) -> usize {
        ENTRY_WEIGHT + self.changes.iter().map(FeedChange::weight).sum::<usize>()
    }
}

impl Snapshot {
    /// Returns what the frame counts for.
    pub fn weight(&self) -> usize {
        self.documents.iter().map(SnapshotDocument::weight).sum()
    }
}

impl Ack {
    /// Returns how many entries the push made in its scope: one for each document that entered it
    /// and one for each accepted change.
    pub fn entry_count(&self) -> u64 {
        let attached = self.attached.iter().filter(|attached| **attached).count();
        let verdicts = self.verdicts.iter();
        let accepted = verdicts
            .filter(|verdict| **verdict == Verdict::Accepted)
            .count();
        number(attached + accepted)
    }
}
