//! What can go wrong with the device's file, a save, a read and the link.
//!
//! One enum a job. Storage trouble is one type, [`StorageError`], inside each; a full disk is a variant
//! of its own wherever a person can do something about it.

use std::io;

use gridbeat_base::{DeviceId, DocumentId, Remedy, Scope, Verb};
use gridbeat_document::{EditError, IntentError};
use gridbeat_sync_protocol::{ReconcileError, SessionError};
use rusqlite::ErrorCode;

/// The file could not be opened. It is as it was, to the byte, unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is something else than an SQLite database.
    #[error("not a Gridbeat file: no SQLite database")]
    NotADatabase,
    /// The file is an SQLite database of another program.
    #[error("not a Gridbeat file: an SQLite database of another program")]
    ForeignFile {
        /// The application id in its header.
        application_id: u32,
    },
    /// The file was written by a later version of this program.
    #[error("file has format {found}, this program knows up to {known}")]
    Newer {
        /// The file's format.
        found: u32,
        /// The latest format this program knows.
        known: u32,
    },
    /// The file is open already, here or in another process.
    #[error("file is open already")]
    AlreadyOpen,
    /// The file belongs to another device.
    #[error("file belongs to device {found}")]
    OtherDevice {
        /// The device it belongs to.
        found: DeviceId,
    },
    /// The file does not pass SQLite's own check after an unclean stop.
    #[error("file is damaged: {finding}")]
    Damaged {
        /// The first thing the check found.
        finding: String,
    },
    /// The SQLite library linked in has a known bug that damages files.
    #[error("SQLite {found} is older than 3.51.3")]
    SqliteTooOld {
        /// The library's version number.
        found: i32,
    },
    /// The file is encrypted and no key was given; or it is nothing of ours.
    #[error("file is encrypted, or no Gridbeat file: its key is missing")]
    KeyMissing,
    /// The key is another file's; or the file is nothing of ours, or damaged in its first page.
    #[error("file does not open with this key: another key, or no Gridbeat file")]
    WrongKey,
    /// A key was given for a file that is not encrypted: see [`encrypt`](crate::encrypt).
    #[error("file is not encrypted, and a key was given for it")]
    NotEncrypted,
    /// A key was given to a program that was built without the feature `encrypted`.
    #[error("this program was built without encryption (feature `encrypted`)")]
    KeyUnsupported,
    /// The file, or the files beside it, could not be reached.
    #[error("file cannot be reached")]
    Io(#[from] io::Error),
    /// The database did not do what it was asked; a migration begun is undone.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl OpenError {
    /// Returns what the caller should do about this error.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::NotADatabase
            | Self::ForeignFile { .. }
            | Self::Newer { .. }
            | Self::OtherDevice { .. }
            | Self::KeyMissing
            | Self::WrongKey
            | Self::NotEncrypted
            | Self::KeyUnsupported
            | Self::SqliteTooOld { .. } => Remedy::FixSetup,
            Self::AlreadyOpen => Remedy::RetryHere,
            Self::Damaged { .. } => Remedy::Restore,
            Self::Io(source) if source.kind() == io::ErrorKind::StorageFull => Remedy::FreeSpace,
            Self::Io(_) => Remedy::FixSetup,
            Self::Storage(source) => source.remedy(),
        }
    }
}

/// A device's data could not be taken off its disk, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WipeError {
    /// The file is open, here or in another process. Nothing was done.
    #[error("file is still open")]
    StillOpen,
    /// A file could not be overwritten or removed: wipe again.
    #[error("not all is wiped yet")]
    Io(#[from] io::Error),
}

impl WipeError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::StillOpen => Remedy::RetryHere,
            Self::Io(_) => Remedy::FixSetup,
        }
    }
}

/// The database did not do what it was asked. Nothing of the transaction remains.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The disk, or the file by its size limit, is full.
    #[error("disk is full")]
    Full,
    /// The disk failed. What was committed before stays; the file must be opened anew, for after a
    /// failed flush nobody knows what the disk holds (Rebello et al., USENIX ATC 2020).
    #[error("disk failed")]
    Disk(#[source] rusqlite::Error),
    /// An earlier disk failure still stands: the file must be opened anew.
    #[error("disk failed earlier; the file must be opened anew")]
    MustReopen,
    /// The commit was refused; the file can be used on.
    #[error("commit failed")]
    CommitFailed,
    /// The file's content is damaged.
    #[error("file is damaged")]
    Damaged(#[source] rusqlite::Error),
    /// The file holds something this program would never write.
    #[error("file holds an impossible value: {what}")]
    Impossible {
        /// Where.
        what: &'static str,
    },
    /// Anything else the database says.
    #[error("database failed")]
    Other(#[source] rusqlite::Error),
}

impl StorageError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Full => Remedy::FreeSpace,
            Self::CommitFailed => Remedy::RetryHere,
            Self::Disk(_) | Self::MustReopen => Remedy::FixSetup,
            Self::Damaged(_) | Self::Impossible { .. } => Remedy::Restore,
            Self::Other(_) => Remedy::Report,
        }
    }
}

impl From<rusqlite::Error> for StorageError {
    fn from(source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
                Self::Disk(source)
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(source),
            Some(ErrorCode::ConstraintViolation)
                if source.sqlite_error().is_some_and(|error| {
                    error.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_COMMITHOOK
                }) =>
            {
                Self::CommitFailed
            }
            _ => Self::Other(source),
        }
    }
}

/// A save was not made. Nothing of it is in the file, and the device can be used on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// No kind of this name is registered.
    #[error("unknown kind {kind:?}")]
    UnknownKind {
        /// The name.
        kind: String,
    },
    /// The device holds no such document.
    #[error("unknown document {document}")]
    UnknownDocument {
        /// The document.
        document: DocumentId,
    },
    /// A document that was to be made is here already.
    #[error("document {document} is here already")]
    DocumentExists {
        /// The document.
        document: DocumentId,
    },
    /// The relay has not named this scope to the device.
    #[error("unknown scope {scope}")]
    UnknownScope {
        /// The scope.
        scope: Scope,
    },
    /// The device lacks this verb here, as the relay last said.
    #[error("this device may not {0} here")]
    NotGranted(Verb),
    /// Nothing of this number is among what was refused and is still to be seen to.
    #[error("nothing that was refused has the number {id}")]
    NotRefused {
        /// The number.
        id: i64,
    },
    /// The kind did not take the intent.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// The document did not take the edit.
    #[error("document did not take the edit")]
    Edit(#[source] EditError),
    /// A blob is empty, or larger than one may be.
    #[error("a blob has 1 to {max} bytes, not {size_bytes}")]
    BlobSize {
        /// How many bytes there are, as far as they were read.
        size_bytes: u64,
        /// The most there may be.
        max: u64,
    },
    /// A blob's bytes could not be read where they come from.
    #[error("the bytes of a blob cannot be read")]
    BlobUnreadable(#[source] io::Error),
    /// The disk is full: what was saved before is safe, this was not saved.
    #[error("disk is full")]
    DiskFull,
    /// The database failed.
    #[error(transparent)]
    Storage(StorageError),
}

impl SaveError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::UnknownKind { .. }
            | Self::UnknownDocument { .. }
            | Self::DocumentExists { .. }
            | Self::UnknownScope { .. }
            | Self::NotRefused { .. }
            | Self::NotGranted(_)
            | Self::BlobSize { .. }
            | Self::BlobUnreadable(_) => Remedy::FixInput,
            Self::Intent(source) => source.remedy(),
            Self::Edit(source) => source.remedy(),
            Self::DiskFull => Remedy::FreeSpace,
            Self::Storage(source) => source.remedy(),
        }
    }
}

impl From<StorageError> for SaveError {
    fn from(source: StorageError) -> Self {
        match source {
            StorageError::Full => Self::DiskFull,
            StorageError::Disk(_)
            | StorageError::MustReopen
            | StorageError::CommitFailed
            | StorageError::Damaged(_)
            | StorageError::Impossible { .. }
            | StorageError::Other(_) => Self::Storage(source),
        }
    }
}

impl From<EditError> for SaveError {
    fn from(source: EditError) -> Self {
        if let EditError::Intent(source) = source {
            Self::Intent(source)
        } else {
            Self::Edit(source)
        }
    }
}

/// A read was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The device holds no such document.
    #[error("unknown document {document}")]
    UnknownDocument {
        /// The document.
        document: DocumentId,
    },
    /// The document's kind is not registered.
    #[error("unknown kind {kind:?}")]
    UnknownKind {
        /// The kind's name.
        kind: String,
    },
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ReadError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::UnknownDocument { .. } | Self::UnknownKind { .. } => Remedy::FixInput,
            Self::Storage(source) => source.remedy(),
        }
    }
}

/// The session with the relay is over. Everything committed before stays, and another may begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// There is no session, or there is one already.
    #[error("call does not fit the link's state")]
    OutOfPlace,
    /// The session ended by its own rules.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The relay's part of a reconciliation cannot be read.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// What the relay sent could not be stored.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl LinkError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::OutOfPlace => Remedy::Report,
            Self::Session(source) => source.remedy(),
            Self::Reconcile(source) => source.remedy(),
            Self::Storage(source) => source.remedy(),
        }
    }
}
