//! The device's brain and its one SQLite file; synchronous, without a network and without a clock.
//!
//! - `device`: open, save, close
//! - `draft`: what is begun and not saved as a record yet
//! - `refused`: what the relay did not accept, in a person's hands
//! - `positions`: where this device is and where others are, which is in no file
//! - `query`, `read`, `near`, `text`: what screens ask; places; words in Chinese and others
//! - `link`: the device's side of a session with a relay
//! - `state`: what the device says about itself
//! - `book`: the little of the file that is held in memory
//! - `store`: the file: every statement there is
//! - `key`: what the file is encrypted with
//! - `config`, `error`: what it is opened with; what can go wrong
//!
//! The caller's whole duty: call one method at a time, with the time it happens at; after each call,
//! [`Device::poll_output`] until it returns `None`, carrying out each output; and
//! [`Device::handle_deadline`] no later than [`Device::next_deadline`] says.

mod book;
mod config;
mod device;
mod draft;
mod error;
mod key;
mod link;
mod near;
mod positions;
mod query;
mod read;
mod refused;
mod state;
mod store;
mod text;

pub use config::{BeforeCommit, Config};
pub use device::{Device, Saved};
pub use draft::{DRAFT_BYTES_MAX, DRAFT_NAME_BYTES_MAX, DRAFTS_MAX, Draft, DraftError};
pub use error::{LinkError, OpenError, ReadError, SaveError, StorageError, WipeError};
pub use key::{DATABASE_KEY_BYTES, DatabaseKey};
pub use link::{Leave, Output};
pub use positions::{SeenDevice, Whereabouts};
pub use query::{
    Delivery, HistoryEntry, Near, Order, QUERY_LIMIT, Query, Record, RefusedIntent, Settled,
};
pub use state::{
    Attachment, BlobState, BlobsWaiting, Counters, KeptState, Opening, OutboxState, ScopeState,
    SyncProblem, SyncState, Uploads,
};
pub use store::{can_encrypt, encrypt, is_encrypted, wipe};
