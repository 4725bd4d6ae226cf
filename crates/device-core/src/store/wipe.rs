//! Taking a device's data off its disk: the key first, then everything else.
//!
//! Without its key an encrypted file is noise, and a key is small enough to be overwritten in place: that is
//! why it comes first, and why what follows may be interrupted. On flash memory an overwritten byte may
//! live on in a spare block that only a laboratory reads; the phone's own encryption is against that.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use super::file::{self, Content};
use super::lock::{Lock, beside};
use crate::{OpenError, WipeError};

/// How much is overwritten at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// What lies beside a database, or did when something was interrupted; at last itself.
const ALL: [&str; 8] = [
    "-wal",
    "-shm",
    "-journal",
    ".new",
    ".new-wal",
    ".new-shm",
    ".new-journal",
    "",
];

/// Destroys `secrets` in their order, then the database at `database` and all that lies beside it. What is
/// not there is no error, so that an interrupted wipe is repeated until it is done.
///
/// A secret is a file that holds a key: the database's, the device's own. A key that the system keeps is
/// the app's to destroy, before it calls this. What was never encrypted is overwritten, as far as the
/// disk does that. `NAME.lock` stays, empty: it keeps two openers apart for ever.
///
/// # Errors
///
/// [`WipeError`]: what comes before it in that order is gone.
pub fn wipe(database: &Path, secrets: &[&Path]) -> Result<(), WipeError> {
    let lock = match Lock::take(database) {
        Ok(lock) => lock,
        Err(OpenError::Io(source)) => return Err(source.into()),
        Err(_) => return Err(WipeError::StillOpen),
    };
    for secret in secrets {
        overwrite(secret)?;
        file::remove(secret)?;
        file::sync_folder_of(secret)?;
    }
    // A log is as its database is; and what nobody can read as a database may be anything.
    let is_noise = match file::content(database) {
        Ok(Content::Encrypted | Content::None) => true,
        Err(OpenError::Io(source)) => return Err(source.into()),
        Ok(Content::Plain) | Err(_) => false,
    };
    for suffix in ALL {
        let path = beside(database, suffix);
        if !is_noise {
            overwrite(&path)?;
        }
        file::remove(&path)?;
    }
    file::sync_folder_of(database)?;
    lock.mark_closed();
    Ok(())
}

/// Overwrites a file with zeros in its place, down to the disk.
fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let zeros = vec![0; CHUNK_BYTES];
    let mut left = file.metadata()?.len();
    while left > 0 {
        let length = CHUNK_BYTES.min(usize::try_from(left).unwrap_or(CHUNK_BYTES));
        file.write_all(&zeros[..length])?;
        left -= length as u64;
    }
    file.sync_all()
}
