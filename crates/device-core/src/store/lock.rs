//! The side file that keeps a second opener out and remembers an unclean stop.
//!
//! `NAME.lock` lies beside the database for ever; removing it would let two openers hold two
//! different files of that name. While the database is open it holds one byte, taken out by a clean
//! close: so a stop in the middle is known without a write per action.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::OpenError;

/// What the side file holds while the database is open.
const OPEN_MARK: &[u8] = b"1";

/// The lock, held while the value lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
    is_fresh: bool,
    was_left_open: bool,
}

impl Lock {
    /// Takes the lock of the database at `database`, or says that somebody has it.
    pub(crate) fn take(database: &Path) -> Result<Self, OpenError> {
        let path = beside(database, ".lock");
        let is_fresh = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::AlreadyOpen,
            TryLockError::Error(source) => OpenError::Io(source),
        })?;
        let was_left_open = file.metadata()?.len() > 0;
        Ok(Self {
            file,
            path,
            is_fresh,
            was_left_open,
        })
    }

    /// Returns whether the last opener did not close.
    pub(crate) const fn was_left_open(&self) -> bool {
        self.was_left_open
    }

    /// Marks the database as open. Flushed, because a lost mark would hide an unclean stop.
    pub(crate) fn mark_open(&mut self) -> Result<(), OpenError> {
        if !self.was_left_open {
            self.file.write_all(OPEN_MARK)?;
            self.file.sync_all()?;
        }
        Ok(())
    }

    /// Marks the database as closed. Not flushed: a lost mark costs one needless check.
    pub(crate) fn mark_closed(&self) {
        if let Err(error) = self.file.set_len(0) {
            tracing::debug!(%error, "the next opening will check the file");
        }
    }

    /// Gives the lock up without a trace, because the database turned out not to be ours.
    pub(crate) fn withdraw(self) {
        if self.is_fresh
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "an empty side file stays");
        }
    }
}

/// Returns the path beside `database` whose name ends in `suffix` in addition.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
