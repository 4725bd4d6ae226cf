//! The relay as a program runs it: QUIC, storage, the brain between them, and pages for operators.
//!
//! - [`relay`](start): from start to stop
//! - [`config`](RelayConfig): its configuration, one TOML file
//! - [`authority`](Authority): the certificate authority of the relay and its devices; `root`: the key above
//!   it, which the relay does not need
//! - [`operator`](Operator): invite, approve, revoke, list
//! - `enrol`, `attempts`: what a device is answered that wants to be enrolled; `applicants`: its connection
//! - [`quarantine`](QuarantineLine): what was refused, as an operator reads it
//! - [`clones`](CloneLine): devices that were copied, as an operator reads them
//! - [`recovery`](backup): backups, their return, what came back
//! - `lock`: one relay at a time on one directory
//! - `listener`: accepts connections; `brain`: the thread that owns the brain; `storage`: those that
//!   do its tasks
//! - `admin`, `open_metrics`: health and metrics
//!
//! Embeds in any program with a tokio runtime. Not here: what is admitted and sent
//! (`gridbeat-relay-core`), how QUIC is set up (`gridbeat-link`), signals and the command line (`cli`).

mod admin;
mod applicants;
mod attempts;
mod authority;
mod brain;
mod certificates;
mod clones;
mod config;
mod enrol;
mod listener;
mod lock;
mod open_metrics;
mod operator;
#[cfg(feature = "fuzz")]
mod probe;
mod quarantine;
mod recovery;
mod relay;
mod root;
mod sockets;
mod storage;
mod tunnels;

pub use authority::{
    Authority, LEASE_DAYS_DEFAULT, LEASE_DAYS_MAX, LEASE_DAYS_MIN, Lease, RelayIdentity,
};
pub use certificates::AuthorityError;
pub use clones::CloneLine;
pub use config::{ConfigError, RelayConfig, WrongValue};
pub use operator::{Invite, Operator, OperatorError};
#[cfg(feature = "fuzz")]
pub use probe::EnrolmentDesk;
pub use quarantine::{QuarantineDetail, QuarantineLine, QuarantineOutline};
pub use recovery::{BroughtLine, Recovered, SilentLine, backup, recovered, restore, set_stable};
pub use relay::{RelayHandle, StartError, start};

#[doc(no_inline)]
pub use gridbeat_link::TrafficCounts;
#[doc(no_inline)]
pub use gridbeat_relay_core::{Counters, PlaceError, StoreFault};
#[doc(no_inline)]
pub use gridbeat_relay_store::{
    Approval, Backup, BackupError, BlobCheck, BlobsCleared, By, ByError, CloneRow, DeviceRow,
    Granted, InvitationRow, RefusedFilter, RemovalRow, RequestRow, Restored, Standing,
};
#[doc(no_inline)]
pub use gridbeat_sync_protocol::{Fingerprint, Invitation};
