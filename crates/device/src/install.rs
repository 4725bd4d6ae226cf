//! The installation's id, in a file of its own.
//!
//! It tells a device from its clone, and so must not be where backups take it along with the
//! records. On phones that is the platform's key store, and the app hands the id in; for programs on
//! a desk it is a file beside the records'.

use std::io;
use std::path::Path;

use gridbeat_base::Install;
use gridbeat_link::{random_from_system, read_private, write_private};

/// Reads the installation's id from a file, which it makes with a fresh id if there is none.
///
/// # Errors
///
/// As the file system says; `InvalidData` if the file holds something else, `PermissionDenied` if
/// others may read it.
pub fn install_from_file(path: &Path) -> io::Result<Install> {
    match read_private(path) {
        Ok(bytes) => bytes
            .as_slice()
            .try_into()
            .map(Install::from_bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not an installation's id")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let install = random_from_system().bytes();
            write_private(path, &install)?;
            Ok(Install::from_bytes(install))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("install");
        let first = install_from_file(&path).unwrap();
        assert_eq!(install_from_file(&path).unwrap(), first);
        let other = install_from_file(&dir.path().join("other")).unwrap();
        assert_ne!(first, other);
    }
}
