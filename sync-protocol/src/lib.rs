//! The wire between devices and relays, and both ends of a session; carries opaque changes.
//!
//! - `frame`: every frame in one enum
//! - `batch`, `key`: what a device signs of each push, and by which keys
//! - `leave`: the notice of leaving, and the signed statement of what was removed
//! - `blob`, `chunk_set`, `blob_frame`: photos and other blobs in verified chunks, and the frames that carry them
//! - `position_frame`: where devices are, in datagrams
//! - `codec`, `body`, `pack`, `wire`: the bytes of frames, made and read there alone
//! - `chunks`: raw changes taken apart for a pack, and put together again
//! - `reader`: frames on a stream that carries many
//! - `device_session`, `device_output`, `device_scope`, `device_blobs`: the device's end of a session
//! - `relay_session`, `relay_output`, `relay_pushes`, `relay_scope`, `relay_blobs`, `runs`: the relay's end
//! - `snapshot`: a scope that comes to a device that has nothing of it, on both ends
//! - `enrol`, `invitation`: how a device comes to be known, and what it is asked in by
//! - `reconcile`: how two sides find which documents differ
//! - [`limits`], `weight`: every limit, and what counts against it
//! - `version`: versions of the protocol
//! - `error`, `misbehaved`: what can go wrong, and what peers may not do
//!
//! The caller makes one session a connection, hands it every frame that [`decode`] reads, carries out
//! its outputs, and sends the bytes that [`encode`] makes. The published specification is
//! `PROTOCOL.md`.
//!
//! Pure: no clock is read here, no I/O done, and nothing is kept beyond the limits.

mod batch;
mod blob;
mod blob_frame;
mod body;
mod chunk_set;
mod chunks;
mod codec;
mod device_blobs;
mod device_output;
mod device_scope;
mod device_session;
mod enrol;
mod error;
mod frame;
mod invitation;
mod key;
mod leave;
pub mod limits;
mod misbehaved;
mod pack;
mod position_frame;
mod reader;
mod reconcile;
mod relay_blobs;
mod relay_output;
mod relay_pushes;
mod relay_scope;
mod relay_session;
mod runs;
mod snapshot;
mod version;
mod weight;
mod wire;

pub use batch::{
    BATCH_MARK_BYTES, BatchDocument, BatchHash, BatchMark, BatchProof, BatchStamp, BatchStatement,
    Seal,
};
pub use blob::{
    BlobError, BlobNonce, BlobTree, CHUNK_BYTES, Possession, blob_hash, chunk_count, is_blob_size,
    verify_slice,
};
pub use blob_frame::{
    BLOB_NOT_ATTACHED, Bring, Get, Kept, Offer, OfferAnswer, Offered, Part, Prove, Withheld,
};
pub use chunk_set::ChunkSet;
pub use codec::{decode, encode};
pub use device_output::{DeviceInput, DeviceOutput};
pub use device_session::DeviceSession;
pub use enrol::{
    ENROL_ALPN, EnrolAnswer, EnrolCode, EnrolRefusal, EnrolRequest, Fingerprint, FingerprintError,
    Issued, KeyRequest, Redeem,
};
pub use error::{CloseReason, DecodeError, SessionError};
pub use frame::{
    Ack, Applied, Close, Compare, CompareDocument, Compared, ComparedDocument, Entry, Feed,
    FeedChange, Frame, FrameKind, Grant, Held, Hello, PackForm, Push, PushChange, PushDocument,
    Reason, Reconcile, ScopeGreeting, ScopeMark, Snapshot, SnapshotDocument, SnapshotMark, Taken,
    Verdict, Versions, Welcome,
};
pub use invitation::{Invitation, InvitationError, Pin};
pub use key::{PublicKey, SIGNATURE_BYTES, SUITE, Signature, Signer};
pub use leave::{Noted, Notice, RemovalHash, RemovalProof, RemovalStatement, Removed};
pub use misbehaved::{DeviceMisbehaved, RelayMisbehaved};
pub use position_frame::{Fix, Gone, Here, Positions, Seen, Sighting, Watch};
pub use reader::{FrameReader, write_prefixed};
pub use reconcile::{Item, ReconcileError, Reconciler, Step, respond};
pub use relay_output::{RelayInput, RelayOutput};
pub use relay_session::RelaySession;
pub use version::{
    ALPN, VERSION_NEWEST, VERSION_OF_APART, VERSION_OF_BLOBS, VERSION_OF_BRINGING,
    VERSION_OF_LEAVING, VERSION_OF_POSITIONS, VERSION_OF_SNAPSHOTS, VERSION_OLDEST,
};
