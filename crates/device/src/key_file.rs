//! The key of the device's file, in a file of its own: for programs on a desk.
//!
//! On phones the key belongs to the system's key store (Android Keystore, Secure Enclave), which gives it
//! out only while the owner is there; the app hands it in by [`KeySource::Asked`](crate::KeySource). A key file
//! protects a database that is copied or thrown away without it, not a stolen folder that holds both.

use std::io;
use std::path::Path;

use gridbeat_device_core::{DATABASE_KEY_BYTES, DatabaseKey};
use gridbeat_link::{random_from_system, read_private, write_private};
use zeroize::Zeroizing;

/// What stands before the key: what it is a key of.
const ALGORITHM: &str = "sqlcipher4 ";

/// Reads a key from a file; `None` if there is none.
///
/// # Errors
///
/// As the file system says; `InvalidData` if the file holds something else, `PermissionDenied` if others
/// may read it.
pub fn read_key_file(path: &Path) -> io::Result<Option<DatabaseKey>> {
    let bytes = match read_private(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => Zeroizing::new(other?),
    };
    let mut key = Zeroizing::new([0; DATABASE_KEY_BYTES]);
    let mut read = || -> Option<()> {
        let digits = bytes.strip_prefix(ALGORITHM.as_bytes())?;
        let digits = digits.strip_suffix(b"\n").unwrap_or(digits);
        if digits.len() != 2 * DATABASE_KEY_BYTES {
            return None;
        }
        for (byte, digits) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
        }
        Some(())
    };
    match read() {
        Some(()) => Ok(Some(DatabaseKey::take(&mut key))),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a database's key",
        )),
    }
}

/// Makes a fresh key and keeps it in a file that only its owner may read.
///
/// # Errors
///
/// As the file system says.
pub fn make_key_file(path: &Path) -> io::Result<DatabaseKey> {
    let mut bytes = Zeroizing::new(random_from_system().bytes::<DATABASE_KEY_BYTES>());
    let mut text = Zeroizing::new(String::with_capacity(
        ALGORITHM.len() + 2 * DATABASE_KEY_BYTES + 1,
    ));
    text.push_str(ALGORITHM);
    for byte in bytes.iter() {
        for digit in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text.push('\n');
    write_private(path, text.as_bytes())?;
    Ok(DatabaseKey::take(&mut bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_made_and_nothing_else_is_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device.key");
        assert!(read_key_file(&path).unwrap().is_none());
        let made = make_key_file(&path).unwrap();
        let read = read_key_file(&path).unwrap().unwrap();
        assert_eq!(made.reveal(), read.reveal());
        for bad in ["", "sqlcipher4 12", &"f".repeat(75), "sqlcipher4 \n"] {
            write_private(&path, bad.as_bytes()).unwrap();
            let error = read_key_file(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad:?}");
        }
    }
}
