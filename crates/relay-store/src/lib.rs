//! The relay's storage: one trait, a SQLite file behind it, and the suite every backend must pass.
//!
//! - [`Store`]: does the tasks of `gridbeat-relay-core`, each in one transaction
//! - [`Registry`]: the devices a relay knows, and what they may do
//! - [`SqliteStore`], [`SqliteReader`]: both in one SQLite file
//! - [`conformance`]: what any backend must do, as assertions

mod commit;
pub mod conformance;
mod console;
mod error;
mod lineage;
mod read;
mod registry;
mod schema;
mod sqlite;
mod store;
mod value;

pub use console::{RecordFilter, RefusedRow, ScopeRow};
pub use error::OpenError;
pub use registry::DeviceRow;
pub use sqlite::{SqliteReader, SqliteStore, StoreOptions};
pub use store::{Registry, Store};
