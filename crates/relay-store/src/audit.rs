//! Verifying a relay's evidence on its file, without a key and without writing.
//!
//! Receipts come first: they are signed, and account for every batch, every change and every entry of
//! every feed. Then each row they speak of is held against them, so that a finding names the row.
//!
//! - `audit` (here): the report, and opening a file to read only
//! - `chain`: receipts and batches, their signatures and their order
//! - `rows`: the rows of the log, held against what the receipts say
//! - `trace`: what the file says of one document
//!
//! Not covered: what can be made again from the log (`record`, `cache`, heads, counts), who may do what at present
//! (`device`, `device_grant`; how it came to that is in the operators' log), the quarantine's rows (`refused`; that and why something was refused is in
//! the receipt), and where devices stand (`mark`, `device_cursor`).

mod chain;
mod rows;
mod trace;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use gridbeat_base::{DeviceId, Incarnation, Remedy, WallTime};
use gridbeat_relay_core::StoreFault;
use gridbeat_sync_protocol::PublicKey;
use rusqlite::{Connection, OpenFlags};

use crate::error::fault;
use crate::{Operation, SqliteReader, SqliteStore, operation, schema};

use chain::read_account;
pub use trace::{
    DocumentTrace, TracedBatch, TracedChange, TracedDevice, TracedPlacement, TracedRefusal,
};

/// How many findings are kept: the first ones say what happened, later ones mostly follow from them.
pub const FINDINGS_MAX: usize = 1000;

/// The rows that a report speaks for: each table with its columns.
pub const COVERED: [(&str, &[&str]); 10] = [
    ("receipt", &["id", "statement", "signature"]),
    ("chain", &["id", "receipts", "last", "incarnation", "key"]),
    ("batch", &["id", "hash", "device", "statement", "signature"]),
    ("device_key", &["device", "suite", "key", "first_seen"]),
    (
        "removal",
        &["hash", "device", "scope", "received", "statement"],
    ),
    ("scope", &["id", "name", "head", "digest"]),
    (
        "document",
        &["id", "uuid", "kind", "schema_version", "changes"],
    ),
    (
        "change",
        &[
            "document",
            "n",
            "hash",
            "author",
            "brought_by",
            "received",
            "bytes",
        ],
    ),
    (
        "feed",
        &["scope", "seq", "what", "document", "change", "digest"],
    ),
    (
        "operation",
        &["id", "at", "who", "verb", "subject", "why", "details"],
    ),
];

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct AuditReport {
    /// Receipts verified.
    pub receipts: u64,
    /// Batches verified, and how many of them are signed by a device.
    pub batches: u64,
    /// See [`Self::batches`].
    pub batches_signed: u64,
    /// Changes of the log, and how many of them were brought by another device than their author.
    pub changes: u64,
    /// See [`Self::changes`].
    pub changes_recovered: u64,
    /// Entries of feeds.
    pub entries: u64,
    /// Statements of removal.
    pub removals: u64,
    /// Entries of the operators' log.
    pub operations: u64,
    /// Changes and entries from before the first receipt: they are verified as a whole.
    pub before: (u64, u64),
    /// Each life of the database, and each key, in order.
    pub segments: Vec<Segment>,
    /// Each device that pushed.
    pub devices: BTreeMap<DeviceId, DeviceAccount>,
    /// What a person should know, and what is as it may be: a restored backup, for one.
    pub notes: Vec<Finding>,
    /// What is not as it was written, the first [`FINDINGS_MAX`]; none in sound evidence.
    pub findings: Vec<Finding>,
}

/// A run of receipts under one life of the database and one key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// Its first receipt.
    pub first: u64,
    /// When it began, by the relay's clock.
    pub began: WallTime,
    /// The life of the database.
    pub incarnation: Incarnation,
    /// The key that signs.
    pub key: PublicKey,
}

/// What a device has signed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DeviceAccount {
    /// Its batches.
    pub batches: u64,
    /// How many of its batches have a number that another one of the same installation has: it crashed, was
    /// restored or was copied.
    pub numbers_repeated: u64,
}

/// One thing that is not as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The table.
    pub table: &'static str,
    /// The row, by its key: `id=7`, `document=3 n=2`.
    pub row: String,
    /// The device it concerns, if that is known.
    pub device: Option<DeviceId>,
    /// What is wrong, as a sentence without its end.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.row)?;
        if let Some(device) = self.device {
            write!(f, " (device {device})")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl AuditReport {
    /// Returns whether everything is as it was written.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    pub(crate) fn find(
        &mut self,
        table: &'static str,
        row: String,
        device: Option<DeviceId>,
        what: impl Into<String>,
    ) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                table,
                row,
                device,
                what: what.into(),
            });
        }
    }
}

/// Why there is nothing to verify.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The file cannot be opened to be read.
    #[error("{} cannot be read as a database", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: StoreFault,
    },
    /// The file is not a relay's, or of another version.
    #[error("{} is not a relay's database of this version", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The relay has kept no evidence in it yet.
    #[error("the database has no receipts: they begin when its relay is started by this version")]
    NoReceipts,
    /// Reading failed on the way.
    #[error("the database could not be read to its end")]
    Store(#[from] StoreFault),
}

impl AuditError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Unreadable { .. } | Self::Foreign { .. } | Self::NoReceipts => Remedy::FixInput,
            Self::Store(source) => source.remedy(),
        }
    }
}

/// A relay's file, opened to be read only. A file of a relay that runs may be read too, as of one
/// moment; a copy is better.
#[derive(Debug)]
pub struct Archive {
    connection: Connection,
}

impl Archive {
    /// Opens a relay's file.
    ///
    /// # Errors
    ///
    /// [`AuditError`]; nothing is ever written.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let unreadable = |error| AuditError::Unreadable {
            path: path.to_owned(),
            source: fault(error),
        };
        let connection = open(path).map_err(unreadable)?;
        let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i32>(0));
        let id = number("PRAGMA application_id").map_err(unreadable)?;
        let version = number("PRAGMA user_version").map_err(unreadable)?;
        if id != schema::APPLICATION_ID || version != schema::newest() {
            return Err(AuditError::Foreign {
                path: path.to_owned(),
            });
        }
        Ok(Self { connection })
    }

    /// Reads the operators' log in its order: what comes after entry `after`, at most `limit` entries.
    ///
    /// # Errors
    ///
    /// [`AuditError::Store`].
    pub fn operations(&self, after: u64, limit: u64) -> Result<Vec<Operation>, AuditError> {
        Ok(operation::read(&self.connection, after, limit)?)
    }

    /// Verifies everything there is.
    ///
    /// # Errors
    ///
    /// [`AuditError::NoReceipts`], [`AuditError::Store`].
    pub fn verify(&self) -> Result<AuditReport, AuditError> {
        verify(&self.connection)
    }
}

/// A copy that nobody writes to has no log beside it. SQLite would want to make one all the same, in a
/// folder that may be sealed, unless it is told that the file does not change.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if Path::new(&log).exists() {
        return Connection::open_with_flags(path, flags);
    }
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
}

macro_rules! audit {
    ($($name:ident),*) => {$(
        impl $name {
            /// Verifies the evidence in the file.
            ///
            /// # Errors
            ///
            /// [`AuditError::NoReceipts`], [`AuditError::Store`].
            pub fn audit(&self) -> Result<AuditReport, AuditError> {
                verify(self.connection())
            }
        }
    )*};
}

audit!(SqliteStore, SqliteReader);

/// Verifies everything as of one moment.
fn verify(connection: &Connection) -> Result<AuditReport, AuditError> {
    // Ends when dropped. A caller may have one open already.
    let _tx = connection.unchecked_transaction().ok();
    let mut report = AuditReport::default();
    let account = read_account(connection, &mut report)?;
    if account.is_empty() {
        return Err(AuditError::NoReceipts);
    }
    rows::verify(connection, &account, &mut report)?;
    Ok(report)
}
