//! A plain file becomes an encrypted one, whatever happens in between.

use std::path::Path;

use gridbeat_base::Remedy;
use gridbeat_device_core::{OpenError, is_encrypted};
use tempfile::TempDir;

use super::{encrypt, found, key, open, planted, work};
use crate::durability::blows::{Blow, Moment, strike_every};

/// Names the file, in the victim's environment.
const FILE: &str = "GRIDBEAT_MOVED_FILE";

const TEST: &str = "at_rest::moving::a_victim_encrypts_a_file_if_it_is_given_one";

#[test]
fn a_victim_encrypts_a_file_if_it_is_given_one() {
    if let Some(file) = std::env::var_os(FILE) {
        match encrypt(Path::new(&file)) {
            Ok(true) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Makes a plain file, left in the middle of work, and returns what it holds.
fn plain(path: &Path) -> String {
    let mut device = open(path, None).unwrap();
    work(&mut device);
    shown(&device)
}

/// Everything a device shows, as text.
fn shown(device: &gridbeat_device_core::Device) -> String {
    let mut text = format!("{:?}", device.outbox().unwrap());
    for (document, heads) in device.fingerprint().unwrap() {
        let record = device.record(document).unwrap().unwrap();
        let history = device.history(document).unwrap();
        text += &format!("{document} {heads:?} {} {history:?}", record.body);
    }
    let query = gridbeat_device_core::Query {
        text: Some("消防".into()),
        ..gridbeat_device_core::Query::default()
    };
    text += &format!("{}", device.query(&query).unwrap().len());
    text
}

#[test]
fn an_encrypted_file_holds_what_the_plain_one_held_and_nothing_of_it_is_left() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("device.db");
    let before = plain(&path);
    assert!(encrypt(&path).unwrap(), "it was plain");
    assert_eq!(found(folder.path(), &planted()), [""; 0]);
    let mut device = open(&path, Some(key())).unwrap();
    assert_eq!(shown(&device), before);
    work(&mut device);
    device.close().unwrap();
    assert!(!encrypt(&path).unwrap(), "it is encrypted already");
}

#[test]
fn what_is_no_plain_file_of_ours_is_not_encrypted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("device.db");
    let error = encrypt(&path).unwrap_err();
    assert!(matches!(error, OpenError::NotADatabase), "{error:?}");
    std::fs::write(&path, "买菜").unwrap();
    let error = encrypt(&path).unwrap_err();
    assert!(matches!(error, OpenError::NotADatabase), "{error:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let path = folder.path().join("open.db");
    let device = open(&path, None).unwrap();
    let error = encrypt(&path).unwrap_err();
    assert_eq!(error.remedy(), Remedy::RetryHere);
    drop(device);
}

#[test]
fn whoever_is_killed_while_encrypting_has_the_one_file_or_the_other() {
    for call in ["fsync", "rename", "unlink"] {
        let mut expected = String::new();
        let calls = strike_every((TEST, FILE), call, Blow::Kill, &mut |moment, path| {
            if moment == Moment::Before {
                expected = plain(path);
            } else {
                let is_encrypted = is_encrypted(path).unwrap().unwrap();
                let device = open(path, is_encrypted.then(key)).unwrap();
                assert_eq!(shown(&device), expected, "killed at {call}");
                drop(device);
                encrypt(path).unwrap();
                let device = open(path, Some(key())).unwrap();
                assert_eq!(shown(&device), expected, "killed at {call}");
            }
        });
        assert!(calls >= 1, "never called {call}");
    }
}
