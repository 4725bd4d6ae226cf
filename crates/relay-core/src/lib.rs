//! The relay's brain: sessions, admission, sequencing, fan-out. No I/O.
//!
//! - `relay`: the state machine over all sessions, and its inputs
//! - `output`: what it wants done
//! - `greet`: the first answer of a session, and rights that change
//! - `cycle`, `admission`, `working`: from pushes to one batch, and from the commit to the answers
//! - `turns`: whose pushes may go; who is struck out
//! - `fan`: what is committed, to every session that is fed it
//! - `repair`: reconciliations
//! - `snapshot`: scopes for devices that have nothing of them
//! - `leave`: notices, statements of removal, and what a revoked device hands over
//! - `blobs`: photos and other blobs, both ways
//! - `marks`: where devices stand with their feeds
//! - `positions`: where devices are on the ground
//! - `task`, `batch`, `record`: what is asked of storage, and what storage answers
//! - `config`, `counters`, `reasons`, `session`: what the names say
//!
//! A store answers tasks; see `gridbeat-relay-store`. Pure: no clock is read here, no I/O done, and
//! nothing is kept for a document that is not being worked on.

mod admission;
mod batch;
mod blobs;
mod config;
mod counters;
mod cycle;
mod fan;
mod greet;
mod leave;
mod marks;
mod output;
mod positions;
mod reasons;
mod record;
mod relay;
mod repair;
mod session;
mod snapshot;
mod task;
mod turns;
mod working;

pub use batch::{
    AnsweredPush, Batch, DocumentState, DocumentWrite, EntryKind, Mark, NewChange, NewEntry,
    RefusedChange,
};
pub use config::{Config, LEAVE_WINDOW};
pub use counters::Counters;
pub use output::{Output, PlaceError};
pub use record::{RecordFields, RecordRow};
pub use relay::Relay;
pub use session::SessionId;
pub use task::{
    Answer, BlobChunks, BlobStanding, ChunkOutcome, ComparedWith, Comparison, EndedGrant, Greeting,
    Inventory, LoggedChange, NewBlob, NewChunk, Page, Removal, Rights, ScopePosition, SnapshotPage,
    StoreFault, StoredChange, StoredDocument, StoredEntry, Surrender, Task, TaskId, Warrant,
    WholeDocument,
};
