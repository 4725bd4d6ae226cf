//! Every frame of the protocol, in one enum.
//!
//! The two ends exchange nothing else. A frame's bytes are made and read in `codec` alone; the
//! numbers beside variants and fields are the wire's and never change meaning (`PROTOCOL.md`, 2).

use gridbeat_base::{
    ChangeHash, DeviceId, Digest, DocumentId, Hlc, Incarnation, Install, Scope, Verbs, WallTime,
};

use crate::{
    Bring, Get, Gone, Here, Kept, Noted, Notice, Offer, Offered, Part, Positions, Prove, Removed,
    Seal, Watch, Withheld,
};

/// One message between a device and a relay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// The device's greeting: who it is and where it stands. Always its first frame.
    Hello(Hello),
    /// The relay's answer: where it stands. Always its first frame, unless it closes.
    Welcome(Welcome),
    /// Changes the device has made and the relay has not yet called durable.
    Push(Push),
    /// What became of one push. Sent after the relay's commit, never before.
    Ack(Ack),
    /// Entries of a scope's feed, in order.
    Feed(Feed),
    /// The device has committed a scope's feed up to here.
    Applied(Applied),
    /// One message of range reconciliation over a scope's documents.
    Reconcile(Reconcile),
    /// The device's changes of documents that differ, for the relay to compare.
    Compare(Compare),
    /// The relay's answer to a [`Compare`].
    Compared(Compared),
    /// The sender ends the session, and says why.
    Close(Close),
    /// The relay says that the device is leaving a scope, or everything. Since version 2.
    Notice(Notice),
    /// The device states what it has removed. Since version 2.
    Removed(Removed),
    /// The relay has kept such a statement. Since version 2.
    Noted(Noted),
    /// Documents of a scope that a device has nothing of. Since version 3.
    Snapshot(Snapshot),
    /// The device has committed such documents. Since version 3.
    Taken(Taken),
    /// The device has a blob that a document refers to. Since version 4.
    Offer(Offer),
    /// What the relay wants of it, or has. Since version 4.
    Offered(Offered),
    /// The device proves that it holds a blob. Since version 4.
    Prove(Prove),
    /// The relay has kept a chunk, durably. Since version 4.
    Kept(Kept),
    /// The device asks for chunks of a blob. Since version 4.
    Get(Get),
    /// A chunk of a blob, with what proves it. Since version 4.
    Part(Part),
    /// The relay does not give a blob. Since version 4.
    Withheld(Withheld),
    /// The device tells where it is. Since version 5.
    Here(Here),
    /// The device tells nobody any more. Since version 5.
    Gone(Gone),
    /// The device wants to be told where others are, or no more. Since version 5.
    Watch(Watch),
    /// Where devices are, for one that has just begun to watch; who tells no more. Since version 5.
    Positions(Positions),
    /// Where devices are that have moved. Since version 5.
    Moved(Positions),
    /// A whole blob of one chunk that a document refers to. Since version 5.
    Bring(Bring),
}

/// The device's greeting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The newest and the oldest protocol version it speaks.
    pub versions: Versions,
    /// The device, which its certificate must name too.
    pub device: DeviceId,
    /// The installation: tells a clone from the original.
    pub install: Install,
    /// The relay incarnation its cursors belong to; `None` before the first session.
    pub incarnation: Option<Incarnation>,
    /// Its hybrid logical clock, for measuring the offset and for order.
    pub clock: Hlc,
    /// Where it stands in each scope it holds.
    pub scopes: Vec<ScopeMark>,
}

/// A range of protocol versions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Versions {
    /// The newest spoken.
    pub newest: u16,
    /// The oldest spoken.
    pub oldest: u16,
}

/// Where a device stands in one scope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScopeMark {
    /// The scope.
    pub scope: Scope,
    /// The last feed entry applied; 0 for none.
    pub cursor: u64,
    /// The scope's digest at the cursor.
    pub digest: Digest,
    /// How many documents it holds there.
    pub documents: u64,
    /// How far it has taken a snapshot of the scope, if it is taking one. Since version 3; others skip it.
    pub snapshot: Option<SnapshotMark>,
}

/// How far a device has taken a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotMark {
    /// The entry behind which the feed goes on after it.
    pub as_of: u64,
    /// The mark of the last frame it has committed.
    pub mark: u64,
}

/// The relay's greeting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Welcome {
    /// The protocol version of this session.
    pub version: u16,
    /// The relay's present incarnation.
    pub incarnation: Incarnation,
    /// The relay's clock.
    pub time: WallTime,
    /// Each scope the device named in its greeting, in that order, then each other it is granted.
    /// None twice.
    pub scopes: Vec<ScopeGreeting>,
    /// Everything the relay received up to this time, by its clock, is known to be in a backup or on a standby;
    /// `None` for nothing. Since version 2; readers of version 1 skip it.
    pub stable: Option<WallTime>,
}

/// Where the relay stands in one scope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScopeGreeting {
    /// The scope.
    pub scope: Scope,
    /// What the device may do there.
    pub grant: Grant,
    /// The same to the verb, for a device that is to say at once what it may not do; `None` from a relay that
    /// does not tell. Nothing in the protocol depends on it.
    pub verbs: Option<Verbs>,
    /// The feed's last sequence number; 0 when empty or not granted.
    pub head: u64,
    /// Whether the device's digest is the relay's at the device's cursor. `false` also when the
    /// cursor lies beyond the head. `true` for a scope the device did not name (cursor 0).
    pub digest_agrees: bool,
    /// If the scope comes as a snapshot first: the entry behind which the feed goes on after it. Since version 3, and
    /// only with `verbs`.
    pub snapshot: Option<u64>,
}

/// What a device may do in a scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grant {
    /// Nothing: the scope is withheld.
    None,
    /// Receive its documents.
    Read,
    /// Receive its documents, change them and add new ones.
    Write,
}

/// Changes of one scope on their way to the relay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Push {
    /// The push's number, from 1, dense in a session.
    pub number: u64,
    /// The relay handles this push once it has handled every push up to this number; 0 for at once.
    /// So an urgent push does not wait for a large earlier one, unless both change one document.
    pub after: u64,
    /// The scope whose grant it uses, and where new documents begin.
    pub scope: Scope,
    /// The documents it changes.
    pub documents: Vec<PushDocument>,
    /// How its changes travel.
    pub form: PackForm,
    /// The device's signature; `None` from a device without a signing key.
    pub seal: Option<Seal>,
}

/// How the changes of a frame travel. What they are is the same.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PackForm {
    /// Each as it is.
    #[default]
    Whole,
    /// Taken apart, like beside like, without what the reader can make.
    Apart,
}

/// One document's changes in a push.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushDocument {
    /// The document.
    pub document: DocumentId,
    /// Its kind's name.
    pub kind: String,
    /// The schema version its genesis was made with.
    pub schema_version: u16,
    /// Raw changes in causal order.
    pub changes: Vec<PushChange>,
}

/// One change in a push.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushChange {
    /// The raw Automerge change chunk.
    pub bytes: Vec<u8>,
    /// Who made it, if not the pushing device: it is offered again to a relay that lost it.
    pub recovered_from: Option<DeviceId>,
}

/// What became of one push.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ack {
    /// The push's number.
    pub number: u64,
    /// The relay's time of receipt, for every change it accepted from this push.
    pub received: WallTime,
    /// The sequence number, in the push's scope, of the first entry it made; `None` if it made none.
    ///
    /// The entries follow densely: document by document in the push's order, an attach first where
    /// `attached` says so, then the accepted changes in order.
    pub first_seq: Option<u64>,
    /// For each document of the push, whether it entered the scope by it.
    pub attached: Vec<bool>,
    /// One verdict for each change, in the push's order. On the wire, runs of
    /// [`Verdict::Accepted`] are one number.
    pub verdicts: Vec<Verdict>,
}

/// What became of one change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Durable, with a place in the feed.
    Accepted,
    /// Durable since an earlier push.
    Known,
    /// The relay lacks something it depends on. Keep it, reconcile the scope, push again.
    Incomplete,
    /// Not admitted, and never will be. Quarantined at the relay.
    Refused(Reason),
}

/// A reason in a form for programs and one for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason {
    /// A stable code: lower-case with underscores, at most 64 bytes.
    pub code: String,
    /// A sentence in English, at most 512 bytes.
    pub en: String,
    /// The same in Chinese, at most 512 bytes.
    pub zh: String,
}

/// Entries of one scope's feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Feed {
    /// The scope.
    pub scope: Scope,
    /// The sequence number of the first entry.
    pub first_seq: u64,
    /// The scope's digest after the last entry.
    pub digest: Digest,
    /// The scope's last sequence number when this was sent: how much is still to come.
    pub head: u64,
    /// The entries, numbered densely. An [`Entry::Own`] stands for as many as it counts.
    pub entries: Vec<Entry>,
    /// How their changes travel.
    pub form: PackForm,
}

/// One entry of a feed, or a run of the receiver's own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// A document enters the scope. If it existed before, its earlier changes come with it.
    Attach {
        /// The document.
        document: DocumentId,
        /// Its kind's name.
        kind: String,
        /// The schema version of its genesis.
        schema_version: u16,
        /// Its changes up to here, in causal order; empty for a document that begins here.
        changes: Vec<FeedChange>,
    },
    /// A document leaves the scope.
    Detach {
        /// The document.
        document: DocumentId,
    },
    /// A change to a document in the scope.
    Change {
        /// The document.
        document: DocumentId,
        /// The change.
        change: FeedChange,
    },
    /// Changes (and the attaching of their documents) that this very session pushed, and that the
    /// relay acknowledged in it: the device has them.
    Own {
        /// How many consecutive entries.
        count: u64,
    },
}

/// An accepted change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeedChange {
    /// The raw Automerge change chunk.
    pub bytes: Vec<u8>,
    /// The device that made it.
    pub author: DeviceId,
    /// When the relay received it.
    pub received: WallTime,
}

/// Documents of a scope on their way to a device that has nothing of it: all they are, in the place of all they went
/// through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    /// The scope.
    pub scope: Scope,
    /// The frame's number, from 1, dense in a session and a scope.
    pub number: u64,
    /// The scope's last sequence number when this was read.
    pub seq: u64,
    /// The scope's digest then.
    pub digest: Digest,
    /// Where the snapshot goes on behind this frame. Means something to the relay alone.
    pub mark: u64,
    /// Whether it is the last one.
    pub last: bool,
    /// The documents; there may be none in the last frame only.
    pub documents: Vec<SnapshotDocument>,
    /// How their changes travel.
    pub form: PackForm,
}

/// One document in a snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotDocument {
    /// The document.
    pub document: DocumentId,
    /// Its kind's name.
    pub kind: String,
    /// The schema version of its genesis.
    pub schema_version: u16,
    /// All its changes, in causal order.
    pub changes: Vec<FeedChange>,
}

/// How far a device has committed a snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taken {
    /// The scope.
    pub scope: Scope,
    /// The number of the last frame committed.
    pub number: u64,
}

/// How far a device has committed a scope's feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Applied {
    /// The scope.
    pub scope: Scope,
    /// The last entry committed.
    pub seq: u64,
}

/// One message of range reconciliation; the device asks, the relay answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reconcile {
    /// The scope.
    pub scope: Scope,
    /// From the relay, the scope's last sequence number when it took the inventory it answers from; the
    /// first answer's is where the feed goes on after the reconciliation. From the device, 0.
    pub seq: u64,
    /// A message of the negentropy protocol, version 1.
    pub message: Vec<u8>,
}

/// What the device holds of documents that differ. The next one may follow when this is answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Compare {
    /// The scope.
    pub scope: Scope,
    /// The documents, with every accepted change the device holds of each.
    pub documents: Vec<CompareDocument>,
    /// Whether this is the last such frame of this reconciliation. A reconciliation that found no
    /// difference still sends one, without documents, to learn the sequence number.
    pub last: bool,
}

/// What the device holds of one document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CompareDocument {
    /// The document.
    pub document: DocumentId,
    /// The hashes of the accepted changes it holds, without the genesis; empty if it lacks it.
    pub changes: Vec<ChangeHash>,
}

/// The relay's side of documents that differ, all as of one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Compared {
    /// The scope.
    pub scope: Scope,
    /// The scope's last sequence number at that moment.
    pub seq: u64,
    /// The scope's digest at that moment.
    pub digest: Digest,
    /// The documents asked about.
    pub documents: Vec<ComparedDocument>,
    /// How their changes travel.
    pub form: PackForm,
    /// Whether this answers the last [`Compare`], completely.
    pub last: bool,
}

/// The relay's side of one document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ComparedDocument {
    /// The document.
    pub document: DocumentId,
    /// What the relay has of it in this scope; `None` if nothing.
    pub held: Option<Held>,
}

/// What the relay has of a document in a scope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The kind's name.
    pub kind: String,
    /// The schema version of its genesis.
    pub schema_version: u16,
    /// Its heads in this scope.
    pub heads: Vec<ChangeHash>,
    /// Which of the changes the device named the relay lacks.
    pub lacks: Vec<ChangeHash>,
    /// The changes the device did not name, in causal order.
    pub changes: Vec<FeedChange>,
}

/// The end of a session, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Close {
    /// Why.
    pub reason: Reason,
    /// How long to wait before the next session; 0 for as soon as wanted.
    pub retry_after_s: u32,
}

/// The name of a frame, without what it carries.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum FrameKind {
    /// [`Frame::Hello`]
    Hello,
    /// [`Frame::Welcome`]
    Welcome,
    /// [`Frame::Push`]
    Push,
    /// [`Frame::Ack`]
    Ack,
    /// [`Frame::Feed`]
    Feed,
    /// [`Frame::Applied`]
    Applied,
    /// [`Frame::Reconcile`]
    Reconcile,
    /// [`Frame::Compare`]
    Compare,
    /// [`Frame::Compared`]
    Compared,
    /// [`Frame::Close`]
    Close,
    /// [`Frame::Notice`]
    Notice,
    /// [`Frame::Removed`]
    Removed,
    /// [`Frame::Noted`]
    Noted,
    /// [`Frame::Snapshot`]
    Snapshot,
    /// [`Frame::Taken`]
    Taken,
    /// [`Frame::Offer`]
    Offer,
    /// [`Frame::Offered`]
    Offered,
    /// [`Frame::Prove`]
    Prove,
    /// [`Frame::Kept`]
    Kept,
    /// [`Frame::Get`]
    Get,
    /// [`Frame::Part`]
    Part,
    /// [`Frame::Withheld`]
    Withheld,
    /// [`Frame::Here`]
    Here,
    /// [`Frame::Gone`]
    Gone,
    /// [`Frame::Watch`]
    Watch,
    /// [`Frame::Positions`]
    Positions,
    /// [`Frame::Moved`]
    Moved,
    /// [`Frame::Bring`]
    Bring,
}

impl FrameKind {
    /// Returns whether a frame of this kind travels on a stream of its own, not on the control stream.
    pub const fn has_own_stream(self) -> bool {
        // PROTOCOL 6.3: a push, a feed frame, a snapshot frame, a part and a blob that is brought have a stream each.
        matches!(
            self,
            Self::Push | Self::Feed | Self::Snapshot | Self::Part | Self::Bring
        )
    }

    /// Returns whether a frame of this kind travels in a datagram, which may be lost, overtaken and doubled.
    pub const fn is_datagram(self) -> bool {
        // PROTOCOL 6.6: what the next one makes worthless.
        matches!(self, Self::Here | Self::Moved)
    }
}

impl Frame {
    /// Returns the frame's name.
    pub const fn kind(&self) -> FrameKind {
        match self {
            Self::Hello(_) => FrameKind::Hello,
            Self::Welcome(_) => FrameKind::Welcome,
            Self::Push(_) => FrameKind::Push,
            Self::Ack(_) => FrameKind::Ack,
            Self::Feed(_) => FrameKind::Feed,
            Self::Applied(_) => FrameKind::Applied,
            Self::Reconcile(_) => FrameKind::Reconcile,
            Self::Compare(_) => FrameKind::Compare,
            Self::Compared(_) => FrameKind::Compared,
            Self::Close(_) => FrameKind::Close,
            Self::Notice(_) => FrameKind::Notice,
            Self::Removed(_) => FrameKind::Removed,
            Self::Noted(_) => FrameKind::Noted,
            Self::Snapshot(_) => FrameKind::Snapshot,
            Self::Taken(_) => FrameKind::Taken,
            Self::Offer(_) => FrameKind::Offer,
            Self::Offered(_) => FrameKind::Offered,
            Self::Prove(_) => FrameKind::Prove,
            Self::Kept(_) => FrameKind::Kept,
            Self::Get(_) => FrameKind::Get,
            Self::Part(_) => FrameKind::Part,
            Self::Withheld(_) => FrameKind::Withheld,
            Self::Here(_) => FrameKind::Here,
            Self::Gone(_) => FrameKind::Gone,
            Self::Watch(_) => FrameKind::Watch,
            Self::Positions(_) => FrameKind::Positions,
            Self::Moved(_) => FrameKind::Moved,
            Self::Bring(_) => FrameKind::Bring,
        }
    }
}
