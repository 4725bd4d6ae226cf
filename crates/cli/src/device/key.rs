//! The key of a device's file, in the device's folder or where `--key-file` says.
//!
//! A device that is made gets a key and an encrypted file. A plain file of before is opened as it is, with a
//! warning, until `gridbeat device encrypt` makes an encrypted one of it: nobody is kept from work.

use std::path::Path;

use anyhow::{Context as _, bail};
use gridbeat_device::{
    DatabaseKey, KeySource, can_encrypt, encrypt, is_encrypted, make_key_file, read_key_file,
};

use crate::output::{Ending, print};

/// The key file in a device's folder, if none is named.
pub(super) const KEY: &str = "device.key";

/// Finds the key of a database, or makes one if there is no database yet.
pub(super) fn find(database: &Path, key_file: &Path) -> anyhow::Result<KeySource> {
    if let Some(key) = read(key_file)? {
        return Ok(KeySource::Key(key));
    }
    let state = is_encrypted(database).with_context(|| shown(database))?;
    match state {
        None if can_encrypt() => Ok(KeySource::Key(make(key_file)?)),
        None => Ok(KeySource::None),
        Some(true) => bail!(
            "{} is encrypted, and its key is not in {}",
            database.display(),
            key_file.display()
        ),
        Some(false) => {
            if can_encrypt() {
                tracing::warn!("the device's file is not encrypted: gridbeat device encrypt");
            }
            Ok(KeySource::None)
        }
    }
}

/// Makes an encrypted file of a plain one. The key is durable before anything is encrypted with it.
pub(super) fn encrypt_file(database: &Path, key_file: &Path) -> anyhow::Result<Ending> {
    let state = is_encrypted(database).with_context(|| shown(database))?;
    let key = match (read(key_file)?, state) {
        (_, None) => bail!("{}: there is no device's file yet", database.display()),
        (Some(key), Some(_)) => key,
        (None, Some(false)) if can_encrypt() => make(key_file)?,
        (None, Some(false)) => bail!("this program was built without encryption"),
        (None, Some(true)) => bail!(
            "{} is encrypted already, and its key is not in {}",
            database.display(),
            key_file.display()
        ),
    };
    let was_plain = encrypt(database, &key).with_context(|| shown(database))?;
    print(if was_plain {
        "encrypted; keep the key file where copies of the database do not go"
    } else {
        "was encrypted already"
    })?;
    Ok(Ending::Good)
}

fn read(key_file: &Path) -> anyhow::Result<Option<DatabaseKey>> {
    read_key_file(key_file).with_context(|| shown(key_file))
}

fn make(key_file: &Path) -> anyhow::Result<DatabaseKey> {
    make_key_file(key_file).with_context(|| shown(key_file))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
#[cfg(feature = "encrypted")]
mod tests {
    use gridbeat_base::{DeviceId, Install, Now, Random};
    use gridbeat_device_core::{Config, Device};
    use tempfile::TempDir;

    use super::*;

    fn open(database: &Path, key: Option<DatabaseKey>) {
        let mut config = Config::new(DeviceId::from_bytes([1; 16]), Install::from_bytes([1; 16]));
        config.key = key;
        let (kinds, random) = (gridbeat_domain::kinds(), Random::from_number(1));
        let device = Device::open(database, config, kinds, random, Now::default()).unwrap();
        device.close().unwrap();
    }

    fn found(source: KeySource) -> Option<DatabaseKey> {
        match source {
            KeySource::Key(key) => Some(key),
            KeySource::None | KeySource::Asked(_) => None,
        }
    }

    #[test]
    fn a_new_device_gets_a_key_and_keeps_it() {
        let folder = TempDir::new().unwrap();
        let (database, key_file) = (folder.path().join("device.db"), folder.path().join(KEY));
        let made = found(find(&database, &key_file).unwrap()).unwrap();
        let bytes = *made.reveal();
        open(&database, Some(made));
        assert_eq!(is_encrypted(&database).unwrap(), Some(true));
        let kept = found(find(&database, &key_file).unwrap()).unwrap();
        assert_eq!(*kept.reveal(), bytes);
    }

    #[test]
    fn a_plain_file_is_opened_as_it_is_until_it_is_encrypted() {
        let folder = TempDir::new().unwrap();
        let (database, key_file) = (folder.path().join("device.db"), folder.path().join(KEY));
        assert!(encrypt_file(&database, &key_file).is_err(), "nothing there");
        open(&database, None);
        assert!(found(find(&database, &key_file).unwrap()).is_none());
        assert!(!key_file.exists());
        for _ in 0..2 {
            assert_eq!(encrypt_file(&database, &key_file).unwrap(), Ending::Good);
            let key = found(find(&database, &key_file).unwrap());
            assert!(key.is_some());
            open(&database, key);
        }
    }

    #[test]
    fn a_key_that_is_missing_is_named_and_no_other_is_made() {
        let folder = TempDir::new().unwrap();
        let (database, key_file) = (folder.path().join("device.db"), folder.path().join(KEY));
        open(&database, found(find(&database, &key_file).unwrap()));
        std::fs::remove_file(&key_file).unwrap();
        for error in [
            find(&database, &key_file).map(|_| ()).unwrap_err(),
            encrypt_file(&database, &key_file).map(|_| ()).unwrap_err(),
        ] {
            assert!(error.to_string().contains("its key is not in"), "{error}");
        }
        assert!(!key_file.exists());
    }
}
