//! No key, another key, a key for a plain file: one clear error each, and the files as they were.

use std::fs;

use gridbeat_base::Remedy;
use gridbeat_device_core::{DATABASE_KEY_BYTES, DatabaseKey, OpenError, is_encrypted};
use tempfile::TempDir;

use super::{content, key, open, work};

fn other_key() -> DatabaseKey {
    DatabaseKey::take(&mut [9; DATABASE_KEY_BYTES])
}

/// Makes a folder with a file in it; it is left as a crash leaves it if `in_the_middle`.
fn folder(with: Option<DatabaseKey>, in_the_middle: bool) -> TempDir {
    let origin = TempDir::new().unwrap();
    let mut device = open(&origin.path().join("device.db"), with).unwrap();
    work(&mut device);
    if !in_the_middle {
        device.close().unwrap();
        return origin;
    }
    let folder = TempDir::new().unwrap();
    for (path, bytes) in content(origin.path()) {
        fs::write(folder.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    folder
}

/// Opens with `key`, which must fail as `expected` says, with these words, and leave every byte.
fn check(
    folder: &TempDir,
    key: Option<DatabaseKey>,
    expected: fn(&OpenError) -> bool,
    words: &str,
) {
    let before = content(folder.path());
    let error = open(&folder.path().join("device.db"), key).unwrap_err();
    assert!(expected(&error), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(error.remedy(), Remedy::FixSetup);
    let after = content(folder.path());
    let names = |files: &[(std::path::PathBuf, Vec<u8>)]| -> Vec<_> {
        files
            .iter()
            .map(|(path, bytes)| (path.clone(), bytes.len()))
            .collect()
    };
    assert_eq!(names(&before), names(&after));
    assert!(before == after, "some bytes are others");
}

#[test]
fn another_key_opens_nothing_and_changes_nothing() {
    for in_the_middle in [false, true] {
        let folder = folder(Some(key()), in_the_middle);
        let expected = |error: &OpenError| matches!(error, OpenError::WrongKey);
        check(
            &folder,
            Some(other_key()),
            expected,
            "does not open with this key",
        );
        let device = open(&folder.path().join("device.db"), Some(key())).unwrap();
        assert_eq!(device.outbox().unwrap().changes, 7);
    }
}

#[test]
fn no_key_opens_nothing_and_changes_nothing() {
    for in_the_middle in [false, true] {
        let folder = folder(Some(key()), in_the_middle);
        let path = folder.path().join("device.db");
        assert_eq!(is_encrypted(&path).unwrap(), Some(true));
        let expected = |error: &OpenError| matches!(error, OpenError::KeyMissing);
        check(&folder, None, expected, "its key is missing");
        let device = open(&path, Some(key())).unwrap();
        assert_eq!(device.outbox().unwrap().changes, 7);
    }
}

#[test]
fn a_key_for_a_plain_file_opens_nothing_and_changes_nothing() {
    for in_the_middle in [false, true] {
        let folder = folder(None, in_the_middle);
        let path = folder.path().join("device.db");
        assert_eq!(is_encrypted(&path).unwrap(), Some(false));
        let expected = |error: &OpenError| matches!(error, OpenError::NotEncrypted);
        check(&folder, Some(key()), expected, "not encrypted");
        let device = open(&path, None).unwrap();
        assert_eq!(device.outbox().unwrap().changes, 7);
    }
}

#[test]
fn noise_of_the_size_of_a_file_is_refused_with_any_key() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("device.db");
    fs::write(&path, [0x5a; 3 * 4_096]).unwrap();
    let expected = |error: &OpenError| matches!(error, OpenError::WrongKey);
    check(&folder, Some(key()), expected, "no Gridbeat file");
    let expected = |error: &OpenError| matches!(error, OpenError::KeyMissing);
    check(&folder, None, expected, "no Gridbeat file");
}

#[test]
fn a_key_prints_nothing_of_itself() {
    let printed = format!("{:?}", key());
    assert_eq!(printed, "DatabaseKey(…)");
}
