//! No planted word, place, photo or key in any file, whenever the folder is copied.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{content, found, key, open, planted, work};

/// Copies a folder as a crash leaves it: while the file is open.
fn crashed(folder: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for (path, bytes) in content(folder) {
        fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    copy
}

#[test]
fn what_is_planted_is_in_no_file_at_any_time() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("device.db");
    let mut device = open(&path, Some(key())).unwrap();
    work(&mut device);
    let in_the_log = crashed(folder.path());
    let log = in_the_log.path().join("device.db-wal");
    assert!(fs::metadata(log).unwrap().len() > 0, "nothing in the log");
    assert_eq!(found(in_the_log.path(), &planted()), [""; 0]);

    device.checkpoint().unwrap();
    assert_eq!(found(folder.path(), &planted()), [""; 0]);
    work(&mut device);
    device.close().unwrap();
    assert_eq!(found(folder.path(), &planted()), [""; 0]);

    // What was copied is whole for whoever has the key.
    let device = open(&in_the_log.path().join("device.db"), Some(key())).unwrap();
    assert!(device.opening().was_unclean);
    assert_eq!(device.outbox().unwrap().changes, 7);
    drop(device);
    assert_eq!(found(in_the_log.path(), &planted()), [""; 0]);
}

#[test]
fn the_search_finds_what_is_planted_where_nothing_is_encrypted() {
    let folder = TempDir::new().unwrap();
    let mut device = open(&folder.path().join("device.db"), None).unwrap();
    work(&mut device);
    let all = found(folder.path(), &planted());
    // Words, the photo, and both halves of a place as SQLite keeps them in the rows.
    for part in [
        "UTF-8",
        "a photo",
        "a draft",
        "299518437",
        "1217172659",
        "SQLite",
    ] {
        assert!(
            all.iter().any(|found| found.contains(part)),
            "{part}: {all:?}"
        );
    }
}
