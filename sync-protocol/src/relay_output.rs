//! What a relay's session takes in, and what it wants done.

use gridbeat_base::{Lane, Scope};

use crate::{
    BatchProof, BlobNonce, CloseReason, Compare, Frame, Get, Gone, Hello, Here, Offer, Possession,
    PushDocument, RemovalProof, Watch,
};

/// What a relay's session takes in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RelayInput {
    /// A frame came from the device.
    Frame(Frame),
    /// The time may have come that [`RelaySession::next_deadline`](crate::RelaySession::next_deadline) named.
    Deadline,
}

/// What a relay's session wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RelayOutput {
    /// Send a frame: on a stream of its own if [`crate::FrameKind::has_own_stream`], else on the
    /// control stream.
    Send {
        /// How urgent it is.
        lane: Lane,
        /// The frame.
        frame: Frame,
    },
    /// The device greeted. Look it up, and call [`RelaySession::welcome`](crate::RelaySession::welcome) or [`RelaySession::close`](crate::RelaySession::close).
    Greeted(Hello),
    /// Changes to admit. Comes only after the welcome; whether the scope may be written is the
    /// caller's to judge. Answer by [`RelaySession::acknowledge`](crate::RelaySession::acknowledge), in any order.
    Pushed {
        /// The push's number.
        number: u64,
        /// The scope.
        scope: Scope,
        /// The documents.
        documents: Vec<PushDocument>,
        /// What proves who pushed them; signed if the device has a signing key.
        proof: BatchProof,
    },
    /// The device has committed a scope's feed up to here; the window has opened.
    Applied {
        /// The scope.
        scope: Scope,
        /// The last entry committed.
        seq: u64,
    },
    /// The device has committed a scope's snapshot up to a frame; the window has opened, and after the last one the
    /// scope is fed.
    Taken {
        /// The scope.
        scope: Scope,
    },
    /// A message of range reconciliation. Answer by [`RelaySession::reconcile`](crate::RelaySession::reconcile).
    Reconcile {
        /// The scope.
        scope: Scope,
        /// A message of the negentropy protocol.
        message: Vec<u8>,
    },
    /// Documents to compare. Answer by [`RelaySession::compared`](crate::RelaySession::compared), in one or several frames.
    Compare(Compare),
    /// What the device has removed. Answer by [`RelaySession::noted`](crate::RelaySession::noted), after its commit.
    Removed(Box<RemovalProof>),
    /// The device has a blob. Answer by [`RelaySession::offered`](crate::RelaySession::offered).
    Offered(Offer),
    /// A chunk of a blob that is wanted, verified. Answer by [`RelaySession::kept`](crate::RelaySession::kept), after its commit.
    Part {
        /// The offer it belongs to.
        offer: Offer,
        /// The chunk.
        chunk: u32,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A whole blob of one chunk, verified. Answer by [`RelaySession::offered`](crate::RelaySession::offered), after its commit: complete or refused.
    Brought {
        /// What is offered with it.
        offer: Offer,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// What is to prove that the device holds a blob. Answer by [`RelaySession::offered`](crate::RelaySession::offered).
    Proved {
        /// The offer it belongs to.
        offer: Offer,
        /// The nonce that was given out for it.
        nonce: BlobNonce,
        /// The proof.
        proof: Possession,
    },
    /// Chunks of a blob are asked for. Answer by [`RelaySession::give`](crate::RelaySession::give) or [`RelaySession::withhold`](crate::RelaySession::withhold).
    Get(Get),
    /// The device tells where it is. What comes with a lower number than the last word of it is old.
    Here(Here),
    /// The device tells nobody any more where it is; likewise.
    Gone(Gone),
    /// The device wants to be told where others are, or no more. If so, answer by [`RelaySession::positions`](crate::RelaySession::positions).
    Watch(Watch),
    /// The session is over. Always the last output.
    Closed(CloseReason),
}
