//! The lock on a relay's files: one relay at a time, and none while its database is replaced.
//!
//! `relay.lock` lies in the data directory for ever; removing it would let two hold two files of that name. The
//! system gives the lock back when its holder ends, however it ends. Operators' verbs that only add to the
//! database do not need it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// The file's name.
const FILE: &str = "relay.lock";

/// The lock, held while the value lives.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the lock of a data directory; `None` if somebody has it.
    pub(crate) fn take(data: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(data.join(FILE))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_holds_a_directory() {
        let data = tempfile::tempdir().unwrap();
        let held = DataLock::take(data.path()).unwrap();
        assert!(held.is_some());
        assert!(DataLock::take(data.path()).unwrap().is_none());
    }
}
