//! A wipe destroys the key first, whatever happens in between.

use std::fs;
use std::path::{Path, PathBuf};

use gridbeat_device::{make_key_file, read_key_file};
use gridbeat_device_core::{OpenError, WipeError};
use tempfile::TempDir;

use super::{content, found, open, planted, wipe, work};
use crate::durability::blows::{Blow, Moment, strike_every};

/// Names the file, in the victim's environment.
const FILE: &str = "GRIDBEAT_WIPED_FILE";

const TEST: &str = "at_rest::wiping::a_victim_wipes_a_file_if_it_is_given_one";

#[test]
fn a_victim_wipes_a_file_if_it_is_given_one() {
    if let Some(file) = std::env::var_os(FILE) {
        let file = PathBuf::from(file);
        wipe(&file, &[&key_file(&file)]).unwrap();
    }
}

fn key_file(database: &Path) -> PathBuf {
    database.with_file_name("device.key")
}

/// Makes an encrypted file, left in the middle of work, with its key beside it.
fn make(path: &Path) {
    let key = make_key_file(&key_file(path)).unwrap();
    let mut device = open(path, Some(key)).unwrap();
    work(&mut device);
}

#[test]
fn after_a_wipe_nothing_opens_not_even_a_copy_made_before() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("device.db");
    make(&path);
    let copy = TempDir::new().unwrap();
    for (path, bytes) in content(folder.path()) {
        let name = path.file_name().unwrap();
        if name != "device.key" {
            fs::write(copy.path().join(name), bytes).unwrap();
        }
    }
    wipe(&path, &[&key_file(&path)]).unwrap();
    let left = content(folder.path());
    assert_eq!(left, [(folder.path().join("device.db.lock"), Vec::new())]);
    let error = open(&copy.path().join("device.db"), None).unwrap_err();
    assert!(matches!(error, OpenError::KeyMissing), "{error:?}");
    assert_eq!(found(copy.path(), &planted()), [""; 0]);
    // Again does no harm, and a device may begin anew.
    wipe(&path, &[&key_file(&path)]).unwrap();
    make(&path);
}

#[test]
fn a_device_that_is_open_is_not_wiped_under_its_hands() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("device.db");
    let key = make_key_file(&key_file(&path)).unwrap();
    let mut device = open(&path, Some(key)).unwrap();
    let error = wipe(&path, &[&key_file(&path)]).unwrap_err();
    assert!(matches!(error, WipeError::StillOpen), "{error:?}");
    work(&mut device);
    assert!(read_key_file(&key_file(&path)).unwrap().is_some());
}

#[test]
fn a_plain_file_is_overwritten_before_it_goes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("device.db");
    let mut device = open(&path, None).unwrap();
    work(&mut device);
    device.close().unwrap();
    // A second name of the same file shows what its blocks hold.
    let blocks = folder.path().join("blocks");
    fs::hard_link(&path, &blocks).unwrap();
    wipe(&path, &[]).unwrap();
    assert!(!path.exists());
    assert!(fs::read(&blocks).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn whoever_is_killed_while_wiping_has_lost_the_key_before_anything_else_and_goes_on() {
    for call in ["fsync", "unlink", "ftruncate"] {
        let calls = strike_every((TEST, FILE), call, Blow::Kill, &mut |moment, path| {
            if moment == Moment::Before {
                return make(path);
            }
            let database = fs::read(path).unwrap_or_default();
            let has_key = matches!(read_key_file(&key_file(path)), Ok(Some(_)));
            if has_key {
                assert!(!database.is_empty(), "the database went first");
                let key = read_key_file(&key_file(path)).unwrap();
                drop(open(path, key).unwrap());
            }
            wipe(path, &[&key_file(path)]).unwrap();
            assert!(!path.exists() && !key_file(path).exists());
        });
        assert!(calls >= 1, "never called {call}");
    }
}
