//! Files that are not this device's: one clear error each, and they stay as they are, to the byte.

use std::fs;
use std::path::{Path, PathBuf};

use gridbeat_base::{DeviceId, Install, Random, Remedy};
use gridbeat_device_core::{Config, Device, OpenError};
use rusqlite::Connection;
use tempfile::TempDir;

use super::victim::{meet_relay, now, open_plain, report};

/// Opens `name`, which must be refused with these words, and checks that the folder is as it was.
fn check(folder: &TempDir, name: &str, words: &str) {
    let before = content(folder.path());
    let error = open_plain(&folder.path().join(name), 1).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(error.remedy(), Remedy::FixSetup, "{error:?}");
    assert_eq!(content(folder.path()), before, "{error:?}");
}

/// Returns every file of a folder with its bytes; a folder in it has none.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap_or_default()))
        .collect();
    files.sort();
    files
}

/// Makes a file of this device with one report in it.
fn own(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("device.db");
    let mut device = open_plain(&path, 1).unwrap();
    meet_relay(&mut device).unwrap();
    report(&mut device, 20).unwrap();
    device.close().unwrap();
    path
}

#[test]
fn a_text_file_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    fs::write(
        folder.path().join("device.db"),
        "买菜：白菜、豆腐\n".repeat(40),
    )
    .unwrap();
    check(&folder, "device.db", "no SQLite database");
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let other = Connection::open(folder.path().join("device.db")).unwrap();
    other
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1);")
        .unwrap();
    other.close().unwrap();
    check(&folder, "device.db", "another program");
}

#[test]
fn a_file_of_a_later_version_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let file = Connection::open(own(&folder)).unwrap();
    file.execute_batch("PRAGMA user_version = 77; PRAGMA wal_checkpoint(TRUNCATE);")
        .unwrap();
    file.close().unwrap();
    check(&folder, "device.db", "format 77");
}

#[test]
fn a_folder_in_the_files_place_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("device.db")).unwrap();
    check(&folder, "device.db", "cannot be reached");
}

#[test]
fn a_file_of_another_device_is_refused_and_its_database_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = own(&folder);
    let before = fs::read(&path).unwrap();
    let stranger = Config::new(DeviceId::from_bytes([8; 16]), Install::from_bytes([8; 16]));
    let kinds = gridbeat_domain::kinds();
    let alone = tests::while_no_process_starts();
    let result = Device::open(&path, stranger, kinds, Random::from_number(1), now());
    drop(alone);
    let error = result.unwrap_err();
    let owner = DeviceId::from_bytes([7; 16]);
    let is_named = matches!(&error, OpenError::OtherDevice { found } if *found == owner);
    assert!(is_named, "{error:?}");
    assert_eq!(error.remedy(), Remedy::FixSetup);
    assert_eq!(fs::read(&path).unwrap(), before);
    let device = open_plain(&path, 1).unwrap();
    assert_eq!(device.outbox().unwrap().changes, 1);
}
