//! Every rule of `PROTOCOL.md` that a peer can break, one variant each.
//!
//! A variant says what happened in numbers and scopes, never in the peer's own bytes. Each has a test
//! in the session that raises it.

use gridbeat_base::{DeviceId, DocumentId, Scope};

use crate::{FrameKind, Versions};

macro_rules! codes {
    ($name:ident { $($pattern:pat => $code:literal,)* }) => {
        impl $name {
            /// Returns the rule's stable code, as it stands in the frame that ends the session.
            pub const fn code(&self) -> &'static str {
                match self {
                    $($pattern => $code,)*
                }
            }
        }
    };
}

/// A rule that the relay broke.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayMisbehaved {
    /// It sent a frame that only devices send.
    #[error("a {0:?} frame came from the relay")]
    NotForDevice(FrameKind),
    /// It sent something on the control stream before its greeting.
    #[error("a {0:?} frame came before the relay's greeting")]
    NotWelcomed(FrameKind),
    /// It greeted a second time.
    #[error("the relay greeted twice")]
    WelcomedTwice,
    /// It chose a version that we did not offer.
    #[error("the relay chose version {0}, which was not offered")]
    VersionNotOffered(u16),
    /// Its greeting does not name our scopes first and in order, or names one twice.
    #[error("the relay's greeting does not answer for scope {0}")]
    WelcomeScopes(Scope),
    /// It acknowledged a push that is not out.
    #[error("push {0} was acknowledged but is not out")]
    AcknowledgedUnsent(u64),
    /// Its acknowledgement does not have one verdict a change and one mark a document.
    #[error("the acknowledgement of push {0} does not fit the push")]
    AckCounts(u64),
    /// Its acknowledgement names entries where it made none, or none where it made some.
    #[error("the acknowledgement of push {0} does not name its entries")]
    AckEntries(u64),
    /// It fed a scope that it did not grant.
    #[error("entries of scope {0}, which is not granted")]
    FeedNotGranted(Scope),
    /// It fed a scope that must be reconciled first.
    #[error("entries of scope {0}, which is not reconciled")]
    FeedNotReconciled(Scope),
    /// A feed frame is empty, starts at 0, or reaches beyond the head it names.
    #[error("entries of scope {scope} from {first_seq} that cannot be numbered so")]
    FeedNumbers {
        /// The scope.
        scope: Scope,
        /// The number of the first entry.
        first_seq: u64,
    },
    /// It sent entries a second time.
    #[error("entry {seq} of scope {scope} came twice")]
    FeedRepeats {
        /// The scope.
        scope: Scope,
        /// The first such entry.
        seq: u64,
    },
    /// It sent more than the feed window holds.
    #[error("entries of weight {weight} beyond the window")]
    FeedOverWindow {
        /// What would be out with this frame.
        weight: usize,
    },
    /// It counted entries as ours that it has not acknowledged to us in this session.
    #[error("entry {seq} of scope {scope} is not of this session")]
    OwnNotAcknowledged {
        /// The scope.
        scope: Scope,
        /// The first entry of the run.
        seq: u64,
    },
    /// It sent a message of a reconciliation that does not wait for one.
    #[error("a reconciliation message for scope {0} that was not asked for")]
    ReconcileUnasked(Scope),
    /// It answered a comparison that is not out.
    #[error("a comparison for scope {0} that was not asked for")]
    ComparedUnasked(Scope),
    /// It answered for a document that was not asked about, or twice for one.
    #[error("a comparison of document {0} that was not asked for")]
    ComparedDocument(DocumentId),
    /// It called an answer the last while documents are missing, or before we asked for the last.
    #[error("a comparison of scope {0} that ends too early")]
    ComparedTooShort(Scope),
    /// It sent a frame of a later version than the session's.
    #[error("a {0:?} frame in a session of an earlier version")]
    LaterVersion(FrameKind),
    /// It gave notice of a scope that it granted in this session, or of everything while it granted any.
    #[error("a notice of what is granted")]
    NoticeGranted,
    /// It acknowledged a removal that is not out.
    #[error("a removal was acknowledged but is not out")]
    NotedUnsent,
    /// It announced a snapshot of a scope that is not granted, or that we have a cursor in.
    #[error("a snapshot of scope {0} that may not be announced")]
    WelcomeSnapshot(Scope),
    /// It sent a snapshot that it did not announce, or that is over.
    #[error("documents of scope {0} that were not announced")]
    SnapshotNotDue(Scope),
    /// A snapshot frame came a second time, is numbered 0 or lies behind the last, or has no documents and is not the
    /// last.
    #[error("snapshot frame {number} of scope {scope} that cannot be numbered so, or is empty")]
    SnapshotNumbers {
        /// The scope.
        scope: Scope,
        /// Its number.
        number: u64,
    },
    /// It answered an offer that does not wait for this answer.
    #[error("an offer was answered that is not out")]
    OfferedUnasked,
    /// It wants chunks of a blob that has others, or none.
    #[error("an offer was answered with the chunks of another blob")]
    OfferedChunks,
    /// It says that it kept a chunk that is not out, or is complete too early or too late.
    #[error("chunk {0} of a blob was kept but is not out, or did not make it whole")]
    KeptUnsent(u32),
    /// It sent a chunk that was not asked for.
    #[error("chunk {0} of a blob that was not asked for")]
    PartUnasked(u32),
    /// It sent a chunk that is not the blob's.
    #[error("chunk {0} of a blob with other content than its name")]
    PartContent(u32),
    /// It does not give what was not asked for.
    #[error("a blob was withheld that was not asked for")]
    WithheldUnasked,
}

codes!(RelayMisbehaved {
    Self::NotForDevice(_) => "not_for_device",
    Self::NotWelcomed(_) => "not_welcomed",
    Self::WelcomedTwice => "welcomed_twice",
    Self::VersionNotOffered(_) => "version_not_offered",
    Self::WelcomeScopes(_) => "welcome_scopes",
    Self::AcknowledgedUnsent(_) => "acknowledged_unsent",
    Self::AckCounts(_) => "ack_counts",
    Self::AckEntries(_) => "ack_entries",
    Self::FeedNotGranted(_) => "feed_not_granted",
    Self::FeedNotReconciled(_) => "feed_not_reconciled",
    Self::FeedNumbers { .. } => "feed_numbers",
    Self::FeedRepeats { .. } => "feed_repeats",
    Self::FeedOverWindow { .. } => "feed_over_window",
    Self::OwnNotAcknowledged { .. } => "own_not_acknowledged",
    Self::ReconcileUnasked(_) => "reconcile_unasked",
    Self::ComparedUnasked(_) => "compared_unasked",
    Self::ComparedDocument(_) => "compared_document",
    Self::ComparedTooShort(_) => "compared_too_short",
    Self::LaterVersion(_) => "later_version",
    Self::NoticeGranted => "notice_granted",
    Self::NotedUnsent => "noted_unsent",
    Self::WelcomeSnapshot(_) => "welcome_snapshot",
    Self::SnapshotNotDue(_) => "snapshot_not_due",
    Self::SnapshotNumbers { .. } => "snapshot_numbers",
    Self::OfferedUnasked => "offered_unasked",
    Self::OfferedChunks => "offered_chunks",
    Self::KeptUnsent(_) => "kept_unsent",
    Self::PartUnasked(_) => "part_unasked",
    Self::PartContent(_) => "part_content",
    Self::WithheldUnasked => "withheld_unasked",
});

/// A rule that the device broke.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceMisbehaved {
    /// It sent a frame that only relays send.
    #[error("a {0:?} frame came from the device")]
    NotForRelay(FrameKind),
    /// It sent something on the control stream before its greeting.
    #[error("a {0:?} frame came before the device's greeting")]
    NotGreeted(FrameKind),
    /// It greeted a second time.
    #[error("the device greeted twice")]
    GreetedTwice,
    /// It greeted as another device than its certificate names.
    #[error("the device greeted as {claimed}, its certificate says {proven}")]
    WrongDevice {
        /// The device its greeting names.
        claimed: DeviceId,
        /// The device its certificate names.
        proven: DeviceId,
    },
    /// Its range of versions runs backwards.
    #[error("the device's versions run backwards, from {} to {}", .0.oldest, .0.newest)]
    VersionsBackwards(Versions),
    /// It named a scope twice in its greeting.
    #[error("the device's greeting names scope {0} twice")]
    ScopeTwice(Scope),
    /// It sent something that must wait for the relay's greeting.
    #[error("a {0:?} frame came before the relay had greeted")]
    TooEarly(FrameKind),
    /// A push's number came before, or is 0.
    #[error("push {0} came twice")]
    PushRepeated(u64),
    /// A push's number is too far ahead of the oldest one without an acknowledgement.
    #[error("push {number} came while push {oldest} is out")]
    PushTooFarAhead {
        /// Its number.
        number: u64,
        /// The oldest one without an acknowledgement.
        oldest: u64,
    },
    /// A push waits for itself or for a later one.
    #[error("push {number} waits for push {after}")]
    PushAfterLater {
        /// Its number.
        number: u64,
        /// The number it waits for.
        after: u64,
    },
    /// A push, or a document in it, has no changes, or a document is in it twice.
    #[error("push {0} has a document without changes, or twice, or none")]
    PushContent(u64),
    /// It sent more than the push window holds.
    #[error("pushes of weight {weight} beyond the window")]
    PushOverWindow {
        /// What would be out with this push.
        weight: usize,
    },
    /// It sent a push without the signature that its certificate calls for.
    #[error("push {0} is not signed")]
    PushUnsigned(u64),
    /// A push's signature is not that of the device's certified key.
    #[error("push {0} does not have the signature of the device's certified key")]
    PushSignature(u64),
    /// It said that it applied entries that were not sent to it.
    #[error("entry {seq} of scope {scope} was applied but not sent")]
    AppliedUnsent {
        /// The scope.
        scope: Scope,
        /// What it says.
        seq: u64,
    },
    /// It said that it applied less than before.
    #[error("entry {seq} of scope {scope} was applied after a later one")]
    AppliedBackwards {
        /// The scope.
        scope: Scope,
        /// What it says.
        seq: u64,
    },
    /// It wants to reconcile a scope that is not granted to it.
    #[error("a reconciliation of scope {0}, which is not granted")]
    ReconcileNotGranted(Scope),
    /// It sent the next message of a reconciliation before the answer to the last.
    #[error("a reconciliation message for scope {0} before the last was answered")]
    ReconcileTooSoon(Scope),
    /// Its reconciliation does not come to an end.
    #[error("a reconciliation of scope {0} without end")]
    ReconcileTooLong(Scope),
    /// It compares without having reconciled.
    #[error("a comparison of scope {0} without a reconciliation")]
    CompareUnreconciled(Scope),
    /// It sent the next comparison before the answer to the last.
    #[error("a comparison of scope {0} before the last was answered")]
    CompareTooSoon(Scope),
    /// A comparison names a document twice, or none though it is not the last.
    #[error("a comparison of scope {0} with a document twice, or with none")]
    CompareContent(Scope),
    /// It sent a frame of a later version than the session's.
    #[error("a {0:?} frame in a session of an earlier version")]
    LaterVersion(FrameKind),
    /// A statement of removal cannot be read, or is another device's.
    #[error("a removal that is no statement of this device")]
    RemovedContent,
    /// A statement of removal does not have the signature of the device's certified key, or has one
    /// without such a key.
    #[error("a removal without the signature of the device's certified key")]
    RemovedSignature,
    /// It sent the next statement of removal before the answer to the last.
    #[error("a removal before the last was acknowledged")]
    RemovedTooSoon,
    /// It said that it has taken snapshot frames that were not sent to it, or said so before.
    #[error("snapshot frame {number} of scope {scope} was taken but is not out")]
    TakenUnsent {
        /// The scope.
        scope: Scope,
        /// What it says.
        number: u64,
    },
    /// It offered a blob that is empty or too large.
    #[error("an offer of a blob of {0} bytes")]
    OfferContent(u64),
    /// It offered a blob that it has on offer.
    #[error("a blob was offered twice at a time")]
    OfferRepeated,
    /// It has too many blobs on offer.
    #[error("too many blobs on offer")]
    OffersTooMany,
    /// It sent a chunk that the relay does not want.
    #[error("chunk {0} of a blob that is not wanted")]
    PartUnasked(u32),
    /// It sent more parts than the window holds.
    #[error("parts of blobs beyond the window")]
    PartOverWindow,
    /// It sent a chunk that is not the blob's.
    #[error("chunk {0} of a blob with other content than its name")]
    PartContent(u32),
    /// It proved what it was not asked to.
    #[error("a proof of possession that was not asked for")]
    ProveUnasked,
    /// It asked for nothing, for too many chunks, or twice at a time for one blob.
    #[error("chunks of a blob were asked for beyond the window")]
    GetOverWindow,
}

codes!(DeviceMisbehaved {
    Self::NotForRelay(_) => "not_for_relay",
    Self::NotGreeted(_) => "not_greeted",
    Self::GreetedTwice => "greeted_twice",
    Self::WrongDevice { .. } => "wrong_device",
    Self::VersionsBackwards(_) => "versions_backwards",
    Self::ScopeTwice(_) => "scope_twice",
    Self::TooEarly(_) => "too_early",
    Self::PushRepeated(_) => "push_repeated",
    Self::PushTooFarAhead { .. } => "push_too_far_ahead",
    Self::PushAfterLater { .. } => "push_after_later",
    Self::PushContent(_) => "push_content",
    Self::PushOverWindow { .. } => "push_over_window",
    Self::PushUnsigned(_) => "push_unsigned",
    Self::PushSignature(_) => "push_signature",
    Self::AppliedUnsent { .. } => "applied_unsent",
    Self::AppliedBackwards { .. } => "applied_backwards",
    Self::ReconcileNotGranted(_) => "reconcile_not_granted",
    Self::ReconcileTooSoon(_) => "reconcile_too_soon",
    Self::ReconcileTooLong(_) => "reconcile_too_long",
    Self::CompareUnreconciled(_) => "compare_unreconciled",
    Self::CompareTooSoon(_) => "compare_too_soon",
    Self::CompareContent(_) => "compare_content",
    Self::LaterVersion(_) => "later_version",
    Self::RemovedContent => "removed_content",
    Self::RemovedSignature => "removed_signature",
    Self::RemovedTooSoon => "removed_too_soon",
    Self::TakenUnsent { .. } => "taken_unsent",
    Self::OfferContent(_) => "offer_content",
    Self::OfferRepeated => "offer_repeated",
    Self::OffersTooMany => "offers_too_many",
    Self::PartUnasked(_) => "part_unasked",
    Self::PartOverWindow => "part_over_window",
    Self::PartContent(_) => "part_content",
    Self::ProveUnasked => "prove_unasked",
    Self::GetOverWindow => "get_over_window",
});
