//! The relay's storage: one trait, a SQLite file behind it, and the suite every backend must pass.
//!
//! - [`Store`]: does the tasks of `gridbeat-relay-core`, each in one transaction
//! - [`Registry`]: the devices a relay knows, and what they may do
//! - [`SqliteStore`], [`SqliteReader`]: both in one SQLite file
//! - [`By`], [`Operation`]: who did what at the relay, and why
//! - [`InvitationRow`], [`Standing`], [`LeaseRow`], [`Renewal`]: who is asked in, who came, what was issued
//! - [`AttachmentRow`], [`BlobCheck`], [`BlobsCleared`]: what was found of photos and other blobs, and cleared away
//! - [`Archive`], [`AuditReport`]: what verifies the evidence in such a file
//! - [`conformance`]: what any backend must do, as assertions

mod audit;
mod backup;
mod blob_care;
mod blobs;
mod clones;
mod commit;
pub mod conformance;
mod console;
mod enrolment;
mod error;
mod evidence;
mod invitation;
mod leaving;
mod lineage;
mod lives;
mod operation;
mod quarantine;
mod read;
mod receipt;
mod registry;
mod schema;
mod snapshot;
mod sqlite;
mod store;
mod value;

pub use audit::{
    Archive, AuditError, AuditReport, COVERED, DeviceAccount, DocumentTrace, FINDINGS_MAX, Finding,
    Segment, TracedBatch, TracedChange, TracedDevice, TracedPlacement, TracedRefusal,
};
pub use backup::{Backup, BackupError, Restored};
pub use blob_care::{AttachmentRow, BlobCheck, BlobsCleared};
pub use clones::{CLONE_PAIRS_MAX, CloneRow};
pub use console::{RecordFilter, ScopeRow};
pub use enrolment::Approval;
pub use error::OpenError;
pub use invitation::{
    FINGERPRINT_TRIES_MAX, INVITATION_LIFETIME, InvitationRow, LEASE_GRACE, LeaseRow,
    REQUEST_LIFETIME, Renewal, RequestRow, Standing,
};
pub use leaving::RemovalRow;
pub use lives::{BroughtBack, BroughtBy, Life};
pub use operation::{By, ByError, Operation, WHO_BYTES_MAX, WHY_BYTES_MAX};
pub use quarantine::{
    Discarded, QUARANTINE_BYTES_MAX, QUARANTINE_CHANGES_MAX, RefusedFilter, RefusedRoom, RefusedRow,
};
pub use registry::{DeviceRow, Granted};
pub use sqlite::{SqliteReader, SqliteStore, StoreOptions};
pub use store::{Registry, Store};
