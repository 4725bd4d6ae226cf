//! Why a store could not be opened, and how the database's errors read as faults.

use std::io;
use std::path::PathBuf;

use gridbeat_base::Remedy;
use gridbeat_relay_core::StoreFault;
use rusqlite::ErrorCode;

/// Why a relay's file could not be opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is there, but it is not a Gridbeat relay's.
    #[error("{} is not a relay's file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A later program has written it.
    #[error("{} was written by a newer program (version {version})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i32,
    },
    /// The file or the one beside it cannot be read or written.
    #[error("{} cannot be used", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The database failed.
    #[error("{} cannot be opened", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: StoreFault,
    },
}

impl OpenError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Foreign { .. } | Self::Newer { .. } | Self::Unusable { .. } => Remedy::FixSetup,
            Self::Database { source, .. } => source.remedy(),
        }
    }
}

/// Reads a database error as a fault.
pub(crate) fn fault(error: rusqlite::Error) -> StoreFault {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreFault::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreFault::Damaged {
            detail: error.to_string(),
        },
        Some(_) => StoreFault::Failed {
            detail: error.to_string(),
        },
        // Not from the database: a value that was read does not have the type it was written with.
        None => StoreFault::Damaged {
            detail: error.to_string(),
        },
    }
}

/// Something stored cannot be what was written.
pub(crate) fn damaged(what: &str) -> StoreFault {
    StoreFault::Damaged {
        detail: what.to_owned(),
    }
}
