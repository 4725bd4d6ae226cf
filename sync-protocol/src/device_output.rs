//! What a device's session takes in, and what it wants done.

use gridbeat_base::{Lane, Scope, WallTime};

use crate::{
    CloseReason, Compared, Feed, Frame, Get, Notice, Offer, OfferAnswer, Positions, Reason,
    RemovalHash, Snapshot, Verdict, Welcome,
};

/// What a device's session takes in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DeviceInput {
    /// A frame came from the relay.
    Frame(Frame),
    /// The time may have come that [`DeviceSession::next_deadline`](crate::DeviceSession::next_deadline) named.
    Deadline,
}

/// What a device's session wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DeviceOutput {
    /// Send a frame: on a stream of its own if [`crate::FrameKind::has_own_stream`], else on the
    /// control stream.
    Send {
        /// How urgent it is.
        lane: Lane,
        /// The frame.
        frame: Frame,
    },
    /// The relay greeted. Scopes for which [`DeviceSession::needs_reconciliation`](crate::DeviceSession::needs_reconciliation) holds are not fed
    /// until they are reconciled.
    Welcomed(Welcome),
    /// What became of a push. The fields are those of [`Ack`](crate::Ack).
    Acknowledged {
        /// The push's number.
        number: u64,
        /// Its scope.
        scope: Scope,
        /// The relay's time of receipt.
        received: WallTime,
        /// The sequence number of the first entry it made.
        first_seq: Option<u64>,
        /// For each document of the push, whether it entered the scope by it.
        attached: Vec<bool>,
        /// One verdict for each change, in the push's order.
        verdicts: Vec<Verdict>,
    },
    /// The next entries of a scope's feed: each scope's frames come in order, without gap. Call
    /// [`DeviceSession::applied`](crate::DeviceSession::applied) when they are committed.
    Feed(Feed),
    /// The next frame of a scope's snapshot, in order. Call [`DeviceSession::taken`](crate::DeviceSession::taken) when it is committed. With the last
    /// one the device's cursor becomes what the relay's greeting said, and the feed goes on behind it: entries that the
    /// snapshot already brought may come again.
    Snapshot(Snapshot),
    /// The relay's answer to [`DeviceSession::reconcile`](crate::DeviceSession::reconcile).
    Reconciled {
        /// The scope.
        scope: Scope,
        /// The scope's last sequence number in the inventory it answers from.
        seq: u64,
        /// A message of the negentropy protocol.
        message: Vec<u8>,
    },
    /// The relay's answer to [`DeviceSession::compare`](crate::DeviceSession::compare).
    Compared(Compared),
    /// The reconciliation of a scope is over; comes after the last [`DeviceOutput::Compared`]. The
    /// feed goes on behind `cursor`, which is never beyond what the answers held: entries that they
    /// already brought may come again.
    Aligned {
        /// The scope.
        scope: Scope,
        /// The device's cursor from here on.
        cursor: u64,
    },
    /// The device is leaving a scope, or everything.
    Noticed(Notice),
    /// The relay has kept the statement of removal that was out.
    Noted(RemovalHash),
    /// What the relay says to an offer. After [`OfferAnswer::Wanted`] send what
    /// [`DeviceSession::next_chunk`](crate::DeviceSession::next_chunk) names; after [`OfferAnswer::Prove`] call [`DeviceSession::prove`](crate::DeviceSession::prove).
    Offered {
        /// The offer.
        offer: Offer,
        /// The answer.
        answer: OfferAnswer,
    },
    /// The relay has kept a chunk, durably.
    Kept {
        /// The offer it belongs to.
        offer: Offer,
        /// The chunk.
        chunk: u32,
        /// Whether the relay has the whole blob.
        is_complete: bool,
    },
    /// A chunk that was asked for, verified.
    Part {
        /// What was asked for.
        get: Get,
        /// How many bytes the whole blob has.
        size_bytes: u64,
        /// The chunk.
        chunk: u32,
        /// Its bytes.
        bytes: Vec<u8>,
        /// Whether all that was asked for of the blob has come with it.
        is_last: bool,
    },
    /// The relay does not give what was asked for.
    Withheld {
        /// What was asked for.
        get: Get,
        /// Why.
        reason: Reason,
    },
    /// Where devices are.
    Positions(Positions),
    /// The session is over. Always the last output.
    Closed(CloseReason),
}
