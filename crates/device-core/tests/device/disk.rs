//! Files that are not ours, files that are damaged, disks that are full.

use std::fs;
use std::path::Path;

use gridbeat_base::Remedy;
use gridbeat_device_core::{Device, OpenError, SaveError, SyncProblem, SyncState};
use rusqlite::Connection;

use crate::support::{Folder, World, at, body, frames, list, scope, try_open};

/// Opens a file that must be refused, and checks that it and its folder are as they were.
fn refused(path: &Path) -> OpenError {
    let before = (fs::read(path).unwrap(), names(path));
    let error = try_open(path, 1, 1).unwrap_err();
    assert_eq!((fs::read(path).unwrap(), names(path)), before);
    assert!(!error.to_string().is_empty());
    error
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_that_is_no_database_stays_as_it_is() {
    let folder = Folder::new();
    let path = folder.file("notes.txt");
    for content in [&b"x"[..], &b"a shopping list\n".repeat(40)] {
        fs::write(&path, content).unwrap();
        assert!(matches!(refused(&path), OpenError::NotADatabase));
    }
}

#[test]
fn a_database_of_another_program_stays_as_it_is() {
    let folder = Folder::new();
    let path = folder.file("other.db");
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("PRAGMA application_id = 7; CREATE TABLE t (x); INSERT INTO t VALUES (1);")
        .unwrap();
    drop(other);
    let error = refused(&path);
    assert!(matches!(
        error,
        OpenError::ForeignFile { application_id: 7 }
    ));
    assert_eq!(error.remedy(), Remedy::FixSetup);
}

#[test]
fn a_file_of_a_later_version_stays_as_it_is() {
    let folder = Folder::new();
    let path = folder.file("1.db");
    try_open(&path, 1, 1).unwrap().close().unwrap();
    let file = Connection::open(&path).unwrap();
    file.execute_batch("PRAGMA user_version = 900; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop(file);
    assert!(matches!(
        refused(&path),
        OpenError::Newer { found: 900, .. }
    ));
}

#[test]
fn a_file_of_another_device_is_refused() {
    let folder = Folder::new();
    let path = folder.file("1.db");
    try_open(&path, 1, 1).unwrap().close().unwrap();
    assert!(matches!(
        try_open(&path, 2, 1),
        Err(OpenError::OtherDevice { .. })
    ));
}

#[test]
fn a_file_is_opened_once_at_a_time() {
    let folder = Folder::new();
    let path = folder.file("1.db");
    let device = try_open(&path, 1, 1).unwrap();
    assert!(matches!(try_open(&path, 1, 1), Err(OpenError::AlreadyOpen)));
    drop(device);
    assert!(try_open(&path, 1, 1).is_ok());
}

#[test]
fn a_damaged_file_is_found_out_after_an_unclean_stop() {
    let mut world = World::synced(1);
    for number in 0..60 {
        world.create(0, &format!("slip {number}"));
    }
    world.devices[0].checkpoint().unwrap();
    let path = world.folder.file("1.db");
    drop(world.devices.remove(0));
    let mut bytes = fs::read(&path).unwrap();
    for byte in &mut bytes[8 * 4096..20 * 4096] {
        *byte = 0xA5;
    }
    fs::write(&path, bytes).unwrap();
    let error = try_open(&path, 1, 1).unwrap_err();
    assert_eq!(error.remedy(), Remedy::Restore, "{error}");
}

#[test]
fn a_half_made_file_is_made_anew() {
    let folder = Folder::new();
    let path = folder.file("1.db");
    fs::write(folder.file("1.db.new"), b"half of a file").unwrap();
    fs::write(folder.file("1.db-wal"), b"of a file that is gone").unwrap();
    let device = try_open(&path, 1, 1).unwrap();
    assert!(device.opening().is_fresh);
    assert!(!names(&path).contains(&"1.db.new".to_owned()));
}

/// Bytes of the file at which saving is tried, page by page.
fn sizes(path: &Path, pages: u64) -> impl Iterator<Item = u64> + use<> {
    let now = fs::metadata(path).unwrap().len();
    (0..pages).map(move |page| now + page * 4096)
}

#[test]
fn a_full_disk_at_any_step_loses_nothing_and_the_device_goes_on() {
    let mut world = World::synced(1);
    let first = world.create(0, "first");
    world.devices[0].checkpoint().unwrap();
    let path = world.folder.file("1.db");
    let text = "满".repeat(3_000);
    let (mut failed, mut saved) = (0, 1);
    for size in sizes(&path, 40) {
        let device = &mut world.devices[0];
        device.set_file_size_max(Some(size)).unwrap();
        let before = (device.fingerprint().unwrap(), device.outbox().unwrap());
        let intent = format!(r#"{{"open": {{"text": "{text}", "at": [30.0, 121.0]}}}}"#);
        match device.create(at(9_000), "slip", &scope("grid"), intent.as_bytes()) {
            Ok(_) => saved += 1,
            Err(error) => {
                assert!(matches!(error, SaveError::DiskFull), "{error:?}");
                assert_eq!(error.remedy(), Remedy::FreeSpace);
                let after = (device.fingerprint().unwrap(), device.outbox().unwrap());
                assert_eq!(after, before);
                failed += 1;
            }
        }
        assert_eq!(list(device).len(), saved);
    }
    assert!(failed > 3 && saved > 1, "{failed} failed, {saved} saved");
    world.devices[0].set_file_size_max(None).unwrap();
    world.note(0, first.document, "room again");
    assert!(body(&world.devices[0], first.document).contains("room again"));
    world.sync(0);
    world.assert_in_sync();
    world.restart(0);
    assert_eq!(list(&world.devices[0]).len(), saved);
}

#[test]
fn a_full_disk_while_receiving_ends_the_session_and_the_next_one_goes_on() {
    let mut world = World::synced(2);
    for number in 0..20 {
        world.create(0, &format!("{number} {}", "长".repeat(900)));
    }
    world.sync(0);
    world.devices[1].checkpoint().unwrap();
    let path = world.folder.file("2.db");
    let full = fs::metadata(&path).unwrap().len() + 5 * 4096;
    world.devices[1].set_file_size_max(Some(full)).unwrap();
    world.link(1);
    let mut error = None;
    while error.is_none() {
        for frame in frames(&mut world.devices[1]) {
            let now = world.now();
            world.relay.handle(now.wall, 1, frame);
        }
        for frame in world.relay.outputs(1) {
            let now = world.now();
            let result = world.devices[1].handle_frame(now, frame);
            error = error.or_else(|| result.err());
        }
    }
    assert_eq!(error.unwrap().remedy(), Remedy::FreeSpace);
    assert!(matches!(
        world.devices[1].sync_state(),
        SyncState::Problem {
            what: SyncProblem::DiskFull,
            ..
        }
    ));
    let device: &Device = &world.devices[1];
    assert_eq!(list(device).len() as u64, device.scopes()[0].documents);
    world.relay.disconnected(1);
    world.devices[1].set_file_size_max(None).unwrap();
    frames(&mut world.devices[1]);
    world.sync(1);
    world.assert_in_sync();
}
