//! What one admission cycle makes durable, in one transaction.
//!
//! The batch says everything that is to be written, but for what only the committing transaction
//! can know: the sequence numbers. The store adds each entry's `delta` to the scope's running
//! digest and keeps the result with the entry. Documents and scopes come sorted, so that two
//! writers of a database server cannot lock each other out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use gridbeat_base::{BlobHash, ChangeHash, DeviceId, Digest, DocumentId, Install, Scope, WallTime};
use gridbeat_sync_protocol::{BatchProof, Reason, Verdict};

use crate::RecordFields;

/// The writes of one admission cycle.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batch {
    /// The relay's time of receipt of every change in it.
    pub received: WallTime,
    /// The version of the rights it was judged by. If it is another by now, the batch fails with
    /// [`StoreFault::Contended`](crate::StoreFault::Contended): nothing is admitted by a right that was taken.
    /// `None` for one that no device's right decides on.
    pub rights_version: Option<u64>,
    /// The documents written to.
    pub documents: BTreeMap<DocumentId, DocumentWrite>,
    /// The entries of each scope's feed, in order.
    pub scopes: BTreeMap<Scope, Vec<NewEntry>>,
    /// The changes that were not admitted, for the quarantine.
    pub refused: Vec<RefusedChange>,
    /// The pushes it answers, in the order they were judged, with what proves who pushed them.
    pub pushes: Vec<AnsweredPush>,
    /// Where devices stand, as far as it became known since the last batch.
    pub marks: Vec<Mark>,
}

/// What is written to one document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DocumentWrite {
    /// Its kind's name.
    pub kind: String,
    /// The schema version of its genesis.
    pub schema_version: u16,
    /// The version it was loaded at; `None` if it must not exist yet. If that is no longer so, the
    /// batch fails with [`StoreFault::Contended`](crate::StoreFault::Contended).
    pub expected: Option<u64>,
    /// The accepted changes, in causal order: they follow those logged.
    pub changes: Vec<NewChange>,
    /// The scopes it enters.
    pub attach: Vec<Scope>,
    /// The scopes it leaves.
    pub detach: Vec<Scope>,
    /// The document after the changes; `None` if it is the same as before.
    pub state: Option<DocumentState>,
}

/// A document after an admission cycle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DocumentState {
    /// Its heads, sorted.
    pub heads: Vec<ChangeHash>,
    /// Its term of a scope's digest.
    pub term: Digest,
    /// The saved document.
    pub cache: Vec<u8>,
    /// How the document reads as a row.
    pub record: RecordFields,
    /// Every blob that it refers to.
    pub blobs: BTreeSet<BlobHash>,
}

/// One accepted change to be logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewChange {
    /// Its name.
    pub hash: ChangeHash,
    /// Its raw bytes.
    pub bytes: Vec<u8>,
    /// The device that made it.
    pub author: DeviceId,
    /// The device that brought it: the author, but for a change offered again after a restore.
    pub brought_by: DeviceId,
    /// Whether it may have been accepted in another life of the database: its device comes from there, or says so.
    pub recovered: bool,
}

/// One entry to be added to a scope's feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewEntry {
    /// The document.
    pub document: DocumentId,
    /// What happens to it.
    pub what: EntryKind,
    /// What it adds to the scope's digest.
    pub delta: Digest,
}

/// What an entry says of its document. Changes are counted from 1 in the order of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntryKind {
    /// It enters the scope, with its changes up to and including this one; 0 for none.
    Attach {
        /// The last change that enters with it.
        upto: u64,
    },
    /// It leaves the scope.
    Detach,
    /// It changes.
    Change {
        /// The change.
        n: u64,
    },
}

/// A change that was not admitted: its bytes and the rule it broke.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusedChange {
    /// The device that brought it.
    pub device: DeviceId,
    /// The scope it was pushed in.
    pub scope: Scope,
    /// The document it was for.
    pub document: DocumentId,
    /// Its name, if its bytes are a change at all.
    pub hash: Option<ChangeHash>,
    /// The rule it broke, as its device is told.
    pub reason: Reason,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// Its bytes; empty if the session has used up its room in the quarantine.
    pub bytes: Vec<u8>,
}

/// A push and the relay's answer to it, to be put on record beside what it changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AnsweredPush {
    /// The device that pushed.
    pub device: DeviceId,
    /// What was pushed, and the device's signature if it has a key.
    pub proof: BatchProof,
    /// Whether the device came from another life of the database.
    pub recovers: bool,
    /// The scope it was pushed in.
    pub scope: Scope,
    /// The places of its entries among the batch's entries of that scope.
    pub entries: Range<usize>,
    /// One verdict for each change.
    pub verdicts: Vec<Verdict>,
}

/// Where a device stands, for operators: who has not synced, and since when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The device.
    pub device: DeviceId,
    /// The installation that was heard last.
    pub install: Install,
    /// Other installations of the device that were heard since the mark before.
    pub others: BTreeSet<Install>,
    /// When it was last heard.
    pub seen: WallTime,
    /// The relay's clock minus the device's at its greeting, in milliseconds.
    pub clock_offset_ms: i64,
    /// The last entry it called applied, for each scope where that is known.
    pub cursors: BTreeMap<Scope, u64>,
}
