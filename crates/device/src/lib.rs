//! The device as an app embeds it: one object that saves, answers, and keeps a link to the relay.
//!
//! - [`device`](Device): the API
//! - [`watch`](Watch): a query that is shown again when its records change
//! - [`enrol`](Enrolment): from an invitation to a bundle
//! - [`config`](Config), [`install`](install_from_file), [`key_file`](read_key_file): what a device is
//!   opened with
//! - [`report`](LinkReport): figures and news of the link
//! - [`error`](OpenError): what can go wrong
//! - `photo` (feature `photos`): the smaller pictures of a photo, and a photo without its metadata
//! - `owner`: the thread that owns the file; `dialer`: the task that keeps the link; `dial`: one dial
//! - `lease`, `renew`: when the certificate is renewed, and how; `ask`: one question of enrolment
//! - `pulse`: when a silent link is asked; `backoff`: when to dial again
//! - `shared`: what these know in common
//!
//! Works fully without a network. Not here: what records mean (their kinds), what is stored and sent
//! (`gridbeat-device-core`), how QUIC is set up (`gridbeat-link`).

mod ask;
mod backoff;
mod config;
mod device;
mod dial;
mod dialer;
mod enrol;
mod error;
mod install;
mod key_file;
mod lease;
mod owner;
mod paths;
#[cfg(feature = "photos")]
mod photo;
mod pulse;
mod radio;
mod renew;
mod report;
mod shared;
mod watch;

pub use config::{Config, KeySource, LinkPolicy};
pub use device::Device;
pub use enrol::{EnrolError, EnrolNews, EnrolStep, Enrolment};
pub use error::{CallError, Failure, OpenError};
pub use install::install_from_file;
pub use key_file::{make_key_file, read_key_file};
#[cfg(feature = "photos")]
pub use photo::{
    PHOTO_BYTES_MAX, PHOTO_PIXELS_MAX, PREVIEW_BYTES_MAX, PREVIEW_SIDE_PX, Photo, PhotoBlobs,
    PhotoError, PhotoSaveError, PhotoTaken, THUMBNAIL_BYTES_MAX, THUMBNAIL_SIDE_PX,
    without_metadata,
};
pub use report::{Handshake, LinkNews, LinkReport, Path, SyncReport};
pub use watch::Watch;

#[doc(no_inline)]
pub use gridbeat_device_core::{
    Attachment, BeforeCommit, BlobState, BlobsWaiting, Counters, DATABASE_KEY_BYTES,
    DRAFT_BYTES_MAX, DRAFT_NAME_BYTES_MAX, DRAFTS_MAX, DatabaseKey, Delivery, Draft, DraftError,
    HistoryEntry, KeptState, Leave, Near, Opening, Order, OutboxState, QUERY_LIMIT, Query,
    ReadError, Record, RefusedIntent, SaveError, Saved, ScopeState, SeenDevice, Settled,
    StorageError, SyncProblem, SyncState, Uploads, Whereabouts, WipeError, can_encrypt, encrypt,
    is_encrypted, wipe,
};
#[doc(no_inline)]
pub use gridbeat_link::{BundleError, DeviceBundle, End, TlsError, TrafficCounts};
#[doc(no_inline)]
pub use gridbeat_sync_protocol::{Fingerprint, Invitation, InvitationError, Reason};
