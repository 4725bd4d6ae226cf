//! What a device says about itself: its link, its scopes, its outbox.

use gridbeat_base::{BlobHash, Digest, Media, Remedy, Scope, Verbs, WallTime};
use gridbeat_sync_protocol::{Grant, Reason};

/// Where synchronisation stands, exactly, for a person to read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SyncState {
    /// There is no link.
    Offline {
        /// How many saved changes the relay has not called durable.
        waiting: u64,
    },
    /// The device has greeted the relay and has no answer yet.
    Connecting {
        /// How many saved changes the relay has not called durable.
        waiting: u64,
    },
    /// There is something to send.
    Sending {
        /// How many saved changes the relay has not called durable.
        waiting: u64,
    },
    /// Everything is sent; something is still to come, or to be proven equal.
    Receiving {
        /// How many feed entries are known to be still to come.
        behind: u64,
    },
    /// Nothing waits, every scope's feed is applied to its end, and every digest equals the relay's.
    InSync {
        /// Since when, by this device's clock.
        since: WallTime,
    },
    /// It cannot go on by itself.
    Problem {
        /// What is wrong.
        what: SyncProblem,
        /// What to do about it.
        remedy: Remedy,
    },
}

/// Why synchronisation does not go on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncProblem {
    /// What came could not be stored, because the disk is full.
    #[error("disk is full")]
    DiskFull,
    /// What came could not be stored.
    #[error("storage failed")]
    StorageFailed,
    /// The relay ended the session, and said why.
    #[error("relay ended the session: {}", .0.en)]
    TurnedAway(Reason),
    /// The relay broke the protocol, or does not speak a version of it that this program knows.
    #[error("relay and device do not understand each other")]
    NotUnderstood,
    /// A scope holds something this program cannot read: a later version's, or damage.
    #[error("scope {scope} holds what this program cannot read")]
    Unreadable {
        /// The scope.
        scope: Scope,
    },
}

impl SyncProblem {
    /// Returns what a person should do about it.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::DiskFull => Remedy::FreeSpace,
            Self::StorageFailed | Self::TurnedAway(_) | Self::Unreadable { .. } => Remedy::FixSetup,
            Self::NotUnderstood => Remedy::Report,
        }
    }
}

/// A scope as the device has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScopeState {
    /// The scope.
    pub scope: Scope,
    /// What the device may do there, as the relay last said.
    pub grant: Grant,
    /// The same to the verb; `None` if the relay did not say.
    pub verbs: Option<Verbs>,
    /// The last feed entry applied.
    pub cursor: u64,
    /// The digest over what the relay has accepted, as far as applied.
    pub digest: Digest,
    /// How many documents the relay has there, as far as applied.
    pub documents: u64,
}

/// What is saved here and not yet durable at the relay.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OutboxState {
    /// How many changes.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was saved, by the device's logical clock; `None` if nothing waits.
    pub oldest: Option<WallTime>,
}

/// What is kept aside of documents that have left: own changes that the relay called durable and that are not known
/// to be in a backup of its. Nobody sees them; a relay that lost them is offered them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KeptState {
    /// How many changes.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A blob that a document refers to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// The blob.
    pub hash: BlobHash,
    /// How many bytes it has; `None` until that is known here.
    pub size_bytes: Option<u64>,
    /// What it is, by its first bytes; `None` until these are here.
    pub media: Option<Media>,
    /// How far it is.
    pub state: BlobState,
}

/// How far a blob is on its way, for one document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BlobState {
    /// It is not here, and nobody here wants it.
    Elsewhere,
    /// It is wanted and comes.
    Fetching {
        /// How many chunks are here.
        held: u32,
        /// Of how many, once that is known.
        of: Option<u32>,
    },
    /// It is here, and the relay has nothing of it.
    Here,
    /// It is here, and the relay has a part of it, by its own word.
    Sending {
        /// How many chunks the relay has.
        kept: u32,
        /// Of how many.
        of: u32,
    },
    /// The relay has all of it, by its own word.
    Received {
        /// Whether it is here, too.
        is_here: bool,
    },
    /// It is here, and the relay never takes it for this document, which has left.
    Refused,
}

/// What is to go to the relay of the blobs here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BlobsWaiting {
    /// How many attachments; a blob counts for each document that refers to it.
    pub blobs: u64,
    /// Their bytes that the relay has not called durable.
    pub bytes: u64,
    /// How many of the attachments are held back by [`Uploads`]: "3 photos wait for Wi-Fi".
    pub held: u64,
}

/// Which photos and other blobs go up. Records go up in any case.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Uploads {
    /// All of them.
    #[default]
    All,
    /// Those of at most 256 KiB: thumbnails, previews and tracks, and no original. For a network that costs.
    NoOriginals,
    /// None.
    Nothing,
}

/// What was found when the file was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Opening {
    /// The file is fresh.
    pub is_fresh: bool,
    /// The last opener did not close it, so it was checked.
    pub was_unclean: bool,
    /// It comes from another installation: a backup was restored, or it was copied.
    pub was_restored: bool,
}

/// How often something rare happened since the file was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Documents made anew from their log, because their cache did not load.
    pub documents_rebuilt: u64,
    /// Digests that differed from the relay's at the same cursor.
    pub digest_mismatches: u64,
    /// Reconciliations begun.
    pub reconciliations: u64,
    /// Frames of snapshots taken in.
    pub snapshot_frames: u64,
    /// Changes from the relay that the gate did not let in.
    pub changes_barred: u64,
    /// Changes from the relay whose dependencies were missing.
    pub changes_incomplete: u64,
    /// Changes the relay had lost and got back from here.
    pub changes_recovered: u64,
    /// Own changes the relay refused.
    pub changes_refused: u64,
}
