//! What every other crate of Gridbeat shares: ids, time, randomness, positions, digests, privacy.
//!
//! - `id`: the ids of documents, devices, scopes, changes and blobs
//! - `random`: the one source of randomness, seeded by the caller
//! - `time`: wall time for people, monotonic time for waiting, the hybrid logical clock for order
//! - `lane`: how urgent a piece of data is on the link
//! - `media`: what a blob's bytes are, by the first ones
//! - `position`: a point on the ground, in whole ten-millionths of a degree
//! - `digest`: the sum over documents that tells whether two sides hold the same
//! - `redacted`: personal values that never reach a log
//! - `remedy`: what a caller should do about an error
//! - `verbs`: what somebody may do in a scope
//!
//! Pure: no clock is read here, no random number drawn that was not asked of a seeded source, no
//! I/O done.

mod digest;
mod id;
mod lane;
mod media;
mod position;
mod random;
mod redacted;
mod remedy;
mod time;
mod verbs;

pub use digest::Digest;
pub use id::{
    BlobHash, ChangeHash, DeviceId, DocumentId, IdError, Incarnation, Install, SCOPE_BYTES_MAX,
    Scope,
};
pub use lane::Lane;
pub use media::{MEDIA_BYTES, Media};
pub use position::{Position, PositionError};
pub use random::Random;
pub use redacted::Redacted;
pub use remedy::Remedy;
pub use time::{HLC_AHEAD_MAX, Hlc, HlcClock, Monotonic, Now, WallTime};
pub use verbs::{Verb, Verbs, VerbsError};
