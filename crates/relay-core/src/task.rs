//! What the relay's brain asks of its storage, and what storage answers.
//!
//! Each [`Task`] is one transaction of its own; nothing is held open from one to the next, so that
//! a store may be a file in this process or a server elsewhere. Answers name what was read as of
//! one moment. Everything read is bounded by the task, not by what is stored.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{
    BlobHash, ChangeHash, DeviceId, Digest, DocumentId, Remedy, Scope, Verbs, WallTime,
};
use gridbeat_sync_protocol::{BlobNonce, ChunkSet, Get, Offer, Possession, RemovalProof};

use crate::{Batch, Mark};

/// Names one task that is under way. Never given twice by one relay.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TaskId(pub u64);

/// One piece of work for storage: one transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Task {
    /// Reads what a session's first answer needs. Answered by [`Answer::Greeting`].
    Greet {
        /// The device that greets.
        device: DeviceId,
        /// The scopes it named, each with its cursor.
        cursors: Vec<(Scope, u64)>,
    },
    /// Reads the present rights of devices, if any device's rights changed. Answered by
    /// [`Answer::Rights`].
    Rights {
        /// The devices of the live sessions.
        devices: Vec<DeviceId>,
        /// The version of the rights that the relay has; nothing is read if it is still that one.
        unless: Option<u64>,
    },
    /// Reads the documents of one admission cycle. Answered by [`Answer::Loaded`].
    Load {
        /// The documents, each once.
        documents: Vec<DocumentId>,
        /// The devices whose changes are to be admitted: their rights are read in the same moment.
        devices: Vec<DeviceId>,
        /// The authors of changes that other devices bring back: what each ever held is read.
        authors: BTreeSet<DeviceId>,
        /// Those of the documents whose changes are wanted with their bytes.
        logs: BTreeSet<DocumentId>,
        /// How many bytes may be read; the documents beyond are left out, but never the first.
        bytes_max: u64,
        /// The relay's time: a grant that ended still judges until its window is over.
        at: WallTime,
    },
    /// Makes a batch durable, whole or not at all. Answered by [`Answer::Committed`].
    Commit(Box<Batch>),
    /// Reads a scope's feed from a position on. Answered by [`Answer::Page`].
    ReadFeed {
        /// The scope.
        scope: Scope,
        /// The last entry already had; 0 for none.
        after: u64,
        /// How many bytes of changes may be read; at least one entry is.
        bytes_max: u64,
    },
    /// Reads the documents of a scope, whole, from a place on: the open ones first, then the others, the newest first.
    /// Answered by [`Answer::Snapshot`].
    ReadSnapshot {
        /// The scope.
        scope: Scope,
        /// The mark of the page before; `None` for the first.
        after: Option<u64>,
        /// How many bytes of changes may be read; at least one document is.
        bytes_max: u64,
    },
    /// Reads each document's term of a scope's digest. Answered by [`Answer::Inventory`].
    Inventory {
        /// The scope.
        scope: Scope,
    },
    /// Compares documents of a scope with what a device holds of them. Answered by
    /// [`Answer::Compared`].
    Compare {
        /// The scope.
        scope: Scope,
        /// The documents, each with the hashes of the changes the device holds.
        documents: Vec<(DocumentId, Vec<ChangeHash>)>,
        /// How many bytes may be read; the documents beyond are left out, but never the first.
        bytes_max: u64,
    },
    /// Remembers where devices stand, for operators. Answered by [`Answer::Marked`].
    Marks(Vec<Mark>),
    /// Keeps a device's statement of removal; once, however often it comes. Answered by
    /// [`Answer::Kept`].
    Keep(Box<Removal>),
    /// Looks what there is of a blob that a device offers, and remembers that it comes. Answered by
    /// [`Answer::Offered`].
    Offer {
        /// The device.
        device: DeviceId,
        /// What it offers.
        offer: Offer,
        /// The relay's time: a grant that ended still lets blobs in until its window is over.
        at: WallTime,
    },
    /// Keeps chunks of blobs that were verified. Answered by [`Answer::ChunksKept`].
    KeepChunks {
        /// The chunks, in order.
        chunks: Vec<NewChunk>,
        /// The relay's time.
        at: WallTime,
    },
    /// Keeps whole blobs of one chunk that were verified. Answered by [`Answer::Brought`].
    Bring {
        /// The blobs, in order.
        blobs: Vec<NewBlob>,
        /// The relay's time: a grant that ended still lets blobs in until its window is over.
        at: WallTime,
    },
    /// Holds the proof that a device has a blob against the blob. Answered by [`Answer::Proven`].
    Prove {
        /// The device.
        device: DeviceId,
        /// What it offered.
        offer: Offer,
        /// The nonce it was given.
        nonce: BlobNonce,
        /// Its proof.
        proof: Possession,
        /// The relay's time.
        at: WallTime,
    },
    /// Reads chunks of a blob for a device. Answered by [`Answer::Chunks`].
    ReadChunks {
        /// The device.
        device: DeviceId,
        /// What it asks for.
        get: Get,
    },
}

impl Task {
    /// Returns whether it writes. All else may run on another connection, at the same time.
    pub const fn is_write(&self) -> bool {
        match self {
            Self::Commit(_)
            | Self::Marks(_)
            | Self::Keep(_)
            | Self::Offer { .. }
            | Self::KeepChunks { .. }
            | Self::Bring { .. }
            | Self::Prove { .. } => true,
            Self::Greet { .. }
            | Self::Rights { .. }
            | Self::Load { .. }
            | Self::ReadFeed { .. }
            | Self::ReadSnapshot { .. }
            | Self::Inventory { .. }
            | Self::Compare { .. }
            | Self::ReadChunks { .. } => false,
        }
    }

    /// Returns the task's name in one word, for logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Greet { .. } => "greet",
            Self::Rights { .. } => "rights",
            Self::Load { .. } => "load",
            Self::Commit(_) => "commit",
            Self::ReadFeed { .. } => "read_feed",
            Self::ReadSnapshot { .. } => "read_snapshot",
            Self::Inventory { .. } => "inventory",
            Self::Compare { .. } => "compare",
            Self::Marks(_) => "marks",
            Self::Keep(_) => "keep",
            Self::Offer { .. } => "offer",
            Self::KeepChunks { .. } => "keep_chunks",
            Self::Bring { .. } => "bring",
            Self::Prove { .. } => "prove",
            Self::ReadChunks { .. } => "read_chunks",
        }
    }
}

/// What storage answers to a task; one variant for each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// To [`Task::Greet`].
    Greeting(Greeting),
    /// To [`Task::Rights`].
    Rights {
        /// The version of all devices' rights: another one after each change to any.
        version: u64,
        /// The rights of the devices asked about; `None` if the version is the one named.
        rights: Option<BTreeMap<DeviceId, Rights>>,
    },
    /// To [`Task::Load`].
    Loaded {
        /// What is stored of the documents asked about: of the first ones, as many as fit. `None`
        /// beside a document that does not exist.
        documents: Vec<(DocumentId, Option<StoredDocument>)>,
        /// By what right their changes are judged; rights that ended and still judge are among them.
        warrant: Warrant,
    },
    /// To [`Task::Commit`]: it is durable.
    Committed {
        /// The sequence number of the first entry in each scope of the batch.
        first_seqs: BTreeMap<Scope, u64>,
    },
    /// To [`Task::ReadFeed`].
    Page(Page),
    /// To [`Task::ReadSnapshot`].
    Snapshot(SnapshotPage),
    /// To [`Task::Inventory`].
    Inventory(Inventory),
    /// To [`Task::Compare`].
    Compared(Comparison),
    /// To [`Task::Marks`].
    Marked,
    /// To [`Task::Keep`].
    Kept,
    /// To [`Task::Offer`].
    Offered(BlobStanding),
    /// To [`Task::KeepChunks`]: what became of each, in order.
    ChunksKept(Vec<ChunkOutcome>),
    /// To [`Task::Bring`]: whether each is now its document's, in order; `false` if the document is none that the device may
    /// see, or does not refer to it.
    Brought(Vec<bool>),
    /// To [`Task::Prove`]: whether the blob is now the document's.
    Proven(bool),
    /// To [`Task::ReadChunks`]; `None` if the device may not have it, or it is not here.
    Chunks(Option<BlobChunks>),
}

/// A chunk of a blob that a device has offered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewChunk {
    /// The device.
    pub device: DeviceId,
    /// The blob.
    pub hash: BlobHash,
    /// How many bytes the blob has, as the device says.
    pub size_bytes: u64,
    /// The chunk.
    pub chunk: u32,
    /// Its bytes, which were verified against the blob's name.
    pub bytes: Vec<u8>,
}

/// A whole blob of one chunk that a device has brought for a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewBlob {
    /// The device.
    pub device: DeviceId,
    /// What it is, and for which document.
    pub offer: Offer,
    /// Its bytes, which were verified against its name.
    pub bytes: Vec<u8>,
}

/// Where a blob stands that a device offers for a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BlobStanding {
    /// The document is none that the device may see, or does not refer to the blob.
    NotAttached,
    /// The device has too many blobs on their way.
    TooMany,
    /// The whole blob is here for the document.
    Complete,
    /// The whole blob is here, for another document. The nonce was just made up.
    Held(BlobNonce),
    /// These chunks of it are here from this device; not all.
    Wanted(ChunkSet),
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChunkOutcome {
    /// It is durable.
    Kept,
    /// It is durable, and the blob is whole and its document's.
    Whole,
    /// The blob is not awaited from the device any more.
    Gone,
}

/// Chunks of a blob on their way to a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlobChunks {
    /// How many bytes the whole blob has.
    pub size_bytes: u64,
    /// The slices of the chunks from the first one asked for on; fewer at the blob's end.
    pub slices: Vec<Vec<u8>>,
}

/// A device's statement of removal, and when it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Removal {
    /// The relay's time of receipt.
    pub received: WallTime,
    /// The statement, and who signed it.
    pub proof: RemovalProof,
}

/// What the relay's own table says of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rights {
    /// It was never enrolled here.
    Unknown,
    /// It was, and no longer may do anything.
    Revoked,
    /// It may do this; no set of verbs is empty.
    Granted(BTreeMap<Scope, Verbs>),
}

impl Rights {
    /// Returns what the device may do in a scope.
    pub fn in_scope(&self, scope: &Scope) -> Verbs {
        match self {
            Self::Unknown | Self::Revoked => Verbs::NONE,
            Self::Granted(scopes) => scopes.get(scope).copied().unwrap_or_default(),
        }
    }
}

/// By what right changes are judged, as of one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Warrant {
    /// The version of all devices' rights; named again by the commit.
    pub version: u64,
    /// The rights of the devices asked about.
    pub rights: BTreeMap<DeviceId, Rights>,
    /// Every verb that each author asked about was ever granted, in any scope. `None` if the database was
    /// restored from a backup once: what was granted after the backup is gone.
    pub held: Option<BTreeMap<DeviceId, Verbs>>,
}

impl Warrant {
    /// Returns what a device may do in a scope.
    pub fn in_scope(&self, device: DeviceId, scope: &Scope) -> Verbs {
        let rights = self.rights.get(&device);
        rights.map_or(Verbs::NONE, |rights| rights.in_scope(scope))
    }

    /// Returns by what a change is judged whose author is not the device that brings it.
    pub fn held_by(&self, author: DeviceId) -> Verbs {
        let held = |held: &BTreeMap<_, _>| held.get(&author).copied().unwrap_or_default();
        self.held.as_ref().map_or(Verbs::ALL, held)
    }
}

/// What a session's first answer needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Greeting {
    /// What the device may do.
    pub rights: Rights,
    /// Whether the device has a signing key on record.
    pub signs: bool,
    /// The key of its present lease; `None` if it was issued none here.
    pub leased: Option<[u8; 32]>,
    /// Each scope the device named, in that order, then each other one it is granted.
    pub scopes: Vec<ScopePosition>,
    /// The grants of the scopes it named that have ended.
    pub ended: BTreeMap<Scope, EndedGrant>,
    /// Of a revoked device: what it may hand over.
    pub surrender: Option<Surrender>,
    /// Everything received up to then is known to be in a backup; `None` for nothing.
    pub stable: Option<WallTime>,
}

/// What a revoked device may hand over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Surrender {
    /// When it was revoked.
    pub revoked: WallTime,
    /// How many bytes the quarantine still takes from it.
    pub bytes_left: u64,
    /// How many changes it still takes from it.
    pub changes_left: u64,
}

/// A grant that has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndedGrant {
    /// The scope's last sequence number then.
    pub seq: u64,
    /// Until when what was saved in the scope is still judged by it.
    pub until: WallTime,
}

/// Where a scope's feed stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScopePosition {
    /// The scope.
    pub scope: Scope,
    /// Its last sequence number; 0 when empty.
    pub head: u64,
    /// Its digest at the device's cursor; `None` if the cursor lies beyond the head.
    pub digest_at_cursor: Option<Digest>,
    /// Whether the device has nothing of it, and most of its documents by the scopes it named.
    pub is_mostly_held: bool,
}

/// What is stored of one document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredDocument {
    /// Its kind's name.
    pub kind: String,
    /// The schema version of its genesis.
    pub schema_version: u16,
    /// Rises with every write to the document or its placements; named again by the commit.
    pub version: u64,
    /// Its heads, sorted.
    pub heads: Vec<ChangeHash>,
    /// The scopes it is in, sorted.
    pub scopes: Vec<Scope>,
    /// The scopes it is not in and was taken out of, in this database's life or an earlier one, sorted.
    pub left: Vec<Scope>,
    /// How many bytes its changes have together.
    pub log_bytes: u64,
    /// The saved document, if there is one. A cache of the log, never the truth.
    pub cache: Option<Vec<u8>>,
    /// All its changes in the order of their acceptance, which is a causal one.
    pub log: Vec<LoggedChange>,
}

/// One accepted change as logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoggedChange {
    /// Its name.
    pub hash: ChangeHash,
    /// The device that made it.
    pub author: DeviceId,
    /// When the relay received it.
    pub received: WallTime,
    /// Its bytes, if they were asked for or there is no cache.
    pub bytes: Option<Vec<u8>>,
}

/// An accepted change on its way to a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredChange {
    /// The raw change.
    pub bytes: Vec<u8>,
    /// The device that made it.
    pub author: DeviceId,
    /// When the relay received it.
    pub received: WallTime,
}

/// Consecutive entries of a scope's feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// The scope's last sequence number at the moment of reading.
    pub head: u64,
    /// The digest after the last of the entries.
    pub digest: Digest,
    /// The entries from the one after the position asked for; empty only at the head.
    pub entries: Vec<StoredEntry>,
}

/// One entry of a feed as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoredEntry {
    /// A document enters the scope.
    Attach {
        /// The document.
        document: DocumentId,
        /// Its kind's name.
        kind: String,
        /// The schema version of its genesis.
        schema_version: u16,
        /// The changes that enter with it, in causal order.
        changes: Vec<StoredChange>,
    },
    /// A document leaves the scope.
    Detach {
        /// The document.
        document: DocumentId,
    },
    /// A document in the scope changes.
    Change {
        /// The document.
        document: DocumentId,
        /// Its kind's name.
        kind: String,
        /// The change.
        change: StoredChange,
    },
}

/// Documents of a scope, whole, at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotPage {
    /// The scope's last sequence number at that moment.
    pub seq: u64,
    /// The scope's digest at that moment.
    pub digest: Digest,
    /// The documents, from the place asked for.
    pub documents: Vec<WholeDocument>,
    /// The place of the next page. Documents that were in the scope when the first page was read, and have not changed
    /// since, are in one of the pages, each in one.
    pub mark: u64,
    /// Whether there are no more.
    pub last: bool,
}

/// A document with all its changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WholeDocument {
    /// The document.
    pub document: DocumentId,
    /// Its kind's name.
    pub kind: String,
    /// The schema version of its genesis.
    pub schema_version: u16,
    /// Its changes, in causal order.
    pub changes: Vec<StoredChange>,
}

/// All documents of a scope at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inventory {
    /// The scope's last sequence number at that moment.
    pub seq: u64,
    /// The scope's digest at that moment.
    pub digest: Digest,
    /// Each document with its term of the digest and the sum of its receipts
    /// ([`Digest::with_receipts`]), in no particular order.
    pub items: Vec<(DocumentId, Digest)>,
}

/// Documents of a scope beside what a device holds of them, at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Comparison {
    /// The scope's last sequence number at that moment.
    pub seq: u64,
    /// The scope's digest at that moment.
    pub digest: Digest,
    /// The documents asked about: of the first ones, as many as fit. `None` beside a document that
    /// is not in the scope.
    pub documents: Vec<(DocumentId, Option<ComparedWith>)>,
}

/// One document of a scope beside what a device holds of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ComparedWith {
    /// Its kind's name.
    pub kind: String,
    /// The schema version of its genesis.
    pub schema_version: u16,
    /// Its heads, sorted.
    pub heads: Vec<ChangeHash>,
    /// The changes the device named that are not stored, sorted.
    pub lacks: Vec<ChangeHash>,
    /// The stored changes the device did not name, in causal order.
    pub changes: Vec<StoredChange>,
}

/// Storage could not do a task; nothing of it is done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreFault {
    /// There is no space left for it.
    #[error("the store has no space left")]
    Full,
    /// Another write came between the reading and the committing of an admission cycle.
    #[error("another write came in between")]
    Contended,
    /// It failed, and may succeed at another time.
    #[error("the store failed: {detail}")]
    Failed {
        /// What the database said.
        detail: String,
    },
    /// What is stored cannot be what was written.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What was found.
        detail: String,
    },
}

impl StoreFault {
    /// Returns what the caller should do about this fault.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Full => Remedy::FreeSpace,
            Self::Contended | Self::Failed { .. } => Remedy::RetryHere,
            Self::Damaged { .. } => Remedy::Restore,
        }
    }
}
