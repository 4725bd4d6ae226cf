//! The device's one SQLite file: every statement there is, and the one way to write.
//!
//! - `file`, `cipher`, `lock`, `schema`: opening; encryption; who else may not; the tables
//! - `wipe`: the way off the disk
//! - `meta`, `scopes`, `documents`, `log`, `records`, `outbox`, `refused`, `removals`, `kept`, `blobs`, `drafts`:
//!   the tables' statements
//! - `sql`: between our types and SQLite's
//!
//! All writing goes through [`Store::write`], one transaction a call. Not here: what is written when.

pub(crate) mod blobs;
mod cipher;
pub(crate) mod documents;
pub(crate) mod drafts;
mod file;
pub(crate) mod kept;
mod lock;
pub(crate) mod log;
pub(crate) mod meta;
pub(crate) mod outbox;
pub(crate) mod records;
pub(crate) mod refused;
pub(crate) mod removals;
mod schema;
pub(crate) mod scopes;
pub(crate) mod sql;
mod wipe;

use core::fmt;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::config::BeforeCommit;
use crate::{DatabaseKey, LinkError, OpenError, SaveError, StorageError};
use lock::Lock;

pub use cipher::{can_encrypt, encrypt, is_encrypted};
pub use wipe::wipe;

/// Empties every table but those that say whose file it is and what was removed.
const WIPE: &str = "
DELETE FROM outbox;
DELETE FROM placement;
DELETE FROM refused;
DELETE FROM kept;
DELETE FROM draft;
DELETE FROM attachment;
DELETE FROM chunk;
DELETE FROM blob;
DELETE FROM change;
DELETE FROM record;
DELETE FROM record_place;
INSERT INTO record_text (record_text) VALUES ('delete-all');
DELETE FROM document;
DELETE FROM scope;
DELETE FROM meta WHERE key = 'incarnation';
";

/// The open file.
pub(crate) struct Store {
    connection: Connection,
    lock: Lock,
    // Set by a disk failure, for good: the file must be opened anew.
    must_reopen: bool,
    was_unclean: bool,
}

impl Store {
    /// Opens the file, or makes it.
    pub(crate) fn open(
        path: &Path,
        key: Option<&DatabaseKey>,
        size_max_bytes: Option<u64>,
        before_commit: Option<BeforeCommit>,
    ) -> Result<Self, OpenError> {
        let mut lock = Lock::take(path)?;
        let mut connection = match file::open(path, lock.was_left_open(), key) {
            Ok(connection) => connection,
            Err(error) => {
                lock.withdraw();
                return Err(error);
            }
        };
        let was_unclean = lock.was_left_open();
        lock.mark_open()?;
        file::set_size_max(&connection, size_max_bytes)?;
        if let Some(mut before_commit) = before_commit {
            connection
                .commit_hook(Some(move || !before_commit()))
                .map_err(StorageError::from)?;
        }
        schema::migrate(&mut connection)?;
        Ok(Self {
            connection,
            lock,
            must_reopen: false,
            was_unclean,
        })
    }

    /// Returns whether the last opener did not close the file.
    pub(crate) const fn was_unclean(&self) -> bool {
        self.was_unclean
    }

    /// Does all of `work` in one transaction, or nothing of it.
    pub(crate) fn write<T, E: StorageFault>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.must_reopen {
            return Err(StorageError::MustReopen.into());
        }
        let result = self.attempt(work);
        if let Err(error) = &result
            && let Some(StorageError::Disk(_)) = error.storage()
        {
            self.must_reopen = true;
        }
        result
    }

    fn attempt<T, E: StorageFault>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StorageError::from)?;
        let value = work(&tx)?;
        tx.commit().map_err(StorageError::from)?;
        Ok(value)
    }

    /// Deletes every record in the file, for good: nothing of them is left on its pages or in its log. What
    /// is stated about it is written in the same transaction; whose file it is stays known.
    pub(crate) fn wipe<T>(
        &mut self,
        state: impl FnOnce(&Connection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.connection.pragma_update(None, "secure_delete", true)?;
        let stated = self.write(|tx| {
            let stated = state(tx)?;
            tx.execute_batch(WIPE)?;
            Ok::<_, StorageError>(stated)
        })?;
        self.checkpoint()?;
        self.connection.execute_batch("VACUUM")?;
        self.checkpoint()?;
        Ok(stated)
    }

    /// Returns the connection for reading.
    pub(crate) const fn reader(&self) -> &Connection {
        &self.connection
    }

    /// Limits the file's size, or takes the limit off.
    pub(crate) fn set_size_max(&self, bytes: Option<u64>) -> Result<(), StorageError> {
        file::set_size_max(&self.connection, bytes)
    }

    /// Brings the write-ahead log into the file and cuts it to nothing.
    pub(crate) fn checkpoint(&self) -> Result<(), StorageError> {
        let busy: bool =
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy {
            tracing::debug!("a reader keeps the log from being cut");
        }
        Ok(())
    }

    /// Closes the file, so that the next opening need not check it.
    pub(crate) fn close(self) -> Result<(), StorageError> {
        let Self {
            connection, lock, ..
        } = self;
        connection.close().map_err(|(_, error)| error)?;
        lock.mark_closed();
        Ok(())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("must_reopen", &self.must_reopen)
            .finish_non_exhaustive()
    }
}

/// An error that may come from storage.
pub(crate) trait StorageFault: From<StorageError> {
    /// Returns the storage's part, if it is one.
    fn storage(&self) -> Option<&StorageError>;
}

impl StorageFault for StorageError {
    fn storage(&self) -> Option<&StorageError> {
        Some(self)
    }
}

impl StorageFault for SaveError {
    fn storage(&self) -> Option<&StorageError> {
        match self {
            Self::Storage(source) => Some(source),
            Self::UnknownKind { .. }
            | Self::UnknownDocument { .. }
            | Self::DocumentExists { .. }
            | Self::UnknownScope { .. }
            | Self::NotRefused { .. }
            | Self::NotGranted(_)
            | Self::Intent(_)
            | Self::Edit(_)
            | Self::BlobSize { .. }
            | Self::BlobUnreadable(_)
            | Self::DiskFull => None,
        }
    }
}

impl StorageFault for LinkError {
    fn storage(&self) -> Option<&StorageError> {
        match self {
            Self::Storage(source) => Some(source),
            Self::OutOfPlace | Self::Session(_) | Self::Reconcile(_) => None,
        }
    }
}

impl StorageFault for OpenError {
    fn storage(&self) -> Option<&StorageError> {
        match self {
            Self::Storage(source) => Some(source),
            Self::NotADatabase
            | Self::ForeignFile { .. }
            | Self::Newer { .. }
            | Self::AlreadyOpen
            | Self::OtherDevice { .. }
            | Self::Damaged { .. }
            | Self::SqliteTooOld { .. }
            | Self::KeyMissing
            | Self::WrongKey
            | Self::NotEncrypted
            | Self::KeyUnsupported
            | Self::Io(_) => None,
        }
    }
}
