//! A save is whole and durable, or did not happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gridbeat_base::{DocumentId, Random, Remedy};
use gridbeat_device_core::{Delivery, Device, Query, SaveError, StorageError, SyncState};
use serde_json::json;

use crate::support::{World, at, body, config, kinds, list, scope};

#[test]
fn what_is_saved_survives_a_process_that_just_stops() {
    let mut world = World::synced(1);
    let saved = world.create(0, "井盖丢失");
    world.note(0, saved.document, "已设围挡");
    let before = body(&world.devices[0], saved.document);
    world.restart(0);
    assert!(world.devices[0].opening().was_unclean);
    assert_eq!(body(&world.devices[0], saved.document), before);
    assert_eq!(world.devices[0].outbox().unwrap().changes, 2);
    assert_eq!(
        world.devices[0].sync_state(),
        &SyncState::Offline { waiting: 2 }
    );
    let record = world.devices[0].record(saved.document).unwrap().unwrap();
    assert_eq!(record.delivery, Delivery::OnDevice);
    assert_eq!(record.scopes, [scope("grid")]);
}

#[test]
fn a_clean_close_needs_no_check_at_the_next_opening() {
    let mut world = World::synced(1);
    world.create(0, "one");
    let path = world.folder.file("1.db");
    world.devices.remove(0).close().unwrap();
    let device = Device::open(&path, config(1), kinds(), Random::from_number(9), at(0)).unwrap();
    assert!(!device.opening().was_unclean);
    assert!(!device.opening().is_fresh);
    assert_eq!(list(&device).len(), 1);
}

#[test]
fn a_commit_that_fails_leaves_nothing_and_the_device_goes_on() {
    let mut world = World::synced(1);
    let path = world.folder.file("1.db");
    world.devices.clear();
    let dies = Arc::new(AtomicBool::new(false));
    let mut config = config(1);
    let hook = Arc::clone(&dies);
    config.before_commit = Some(Box::new(move || !hook.load(Ordering::Relaxed)));
    let device = Device::open(&path, config, kinds(), Random::from_number(3), at(0)).unwrap();
    world.devices.push(device);

    let kept = world.create(0, "kept");
    dies.store(true, Ordering::Relaxed);
    let device = &mut world.devices[0];
    let now = at(50_000);
    let intent = br#"{"open": {"text": "lost"}}"#;
    let result = device.create(now, "slip", &scope("grid"), intent);
    assert!(matches!(
        result,
        Err(SaveError::Storage(StorageError::CommitFailed))
    ));
    let result = device.edit(now, kept.document, br#"{"note": "lost"}"#);
    assert!(result.is_err());
    assert_eq!(list(device), [kept.document]);
    assert_eq!(device.outbox().unwrap().changes, 1);
    assert_eq!(device.sync_state(), &SyncState::Offline { waiting: 1 });
    assert_eq!(device.history(kept.document).unwrap().len(), 1);

    dies.store(false, Ordering::Relaxed);
    world.note(0, kept.document, "goes on");
    world.sync(0);
    world.assert_in_sync();
}

#[test]
fn an_intent_that_may_not_be_done_saves_nothing() {
    let mut world = World::synced(1);
    let device = &mut world.devices[0];
    let grid = scope("grid");
    let result = device.create(at(5_000), "slip", &grid, br#"{"note": "x"}"#);
    let error = result.unwrap_err();
    assert!(matches!(error, SaveError::Intent(_)), "{error}");
    assert_eq!(error.remedy(), Remedy::FixInput);
    assert!(matches!(
        device.create(at(5_000), "slip", &scope("elsewhere"), b"{}"),
        Err(SaveError::UnknownScope { .. })
    ));
    assert!(matches!(
        device.create(at(5_000), "plan", &grid, b"{}"),
        Err(SaveError::UnknownKind { .. })
    ));
    let nobody = DocumentId::from_bytes([1; 16]);
    assert!(matches!(
        device.edit(at(5_000), nobody, b"{}"),
        Err(SaveError::UnknownDocument { .. })
    ));
    assert!(device.query(&Query::default()).unwrap().is_empty());
    assert!(device.fingerprint().unwrap().is_empty());
    assert_eq!(device.outbox().unwrap().changes, 0);
}

#[test]
fn a_record_of_another_system_is_taken_over_once() {
    let mut world = World::synced(1);
    let (grid, theirs) = (scope("grid"), DocumentId::from_bytes([9; 16]));
    let device = &mut world.devices[0];
    let saved = device.create_as(
        at(5_000),
        theirs,
        "slip",
        &grid,
        br#"{"open": {"text": "theirs"}}"#,
    );
    assert_eq!(saved.unwrap().document, theirs);
    let again = device.create_as(
        at(5_001),
        theirs,
        "slip",
        &grid,
        br#"{"open": {"text": "theirs"}}"#,
    );
    assert!(matches!(
        again,
        Err(SaveError::DocumentExists { document }) if document == theirs
    ));
    assert_eq!(device.history(theirs).unwrap().len(), 1);
}

#[test]
fn history_tells_who_wanted_what_and_when() {
    let mut world = World::synced(1);
    let saved = world.create(0, "one");
    world.note(0, saved.document, "two");
    let history = world.devices[0].history(saved.document).unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(history[0].change, saved.change);
    assert_eq!(history[0].author, world.devices[0].device());
    assert_eq!(
        history[1].intent.as_deref(),
        Some(&br#"{"note":"two"}"#[..])
    );
    assert!(history[0].saved < history[1].saved);
    assert_eq!(history[1].received, None);
}

#[test]
fn stamps_rise_over_a_restart_though_the_clock_fell_back() {
    let mut world = World::synced(1);
    let saved = world.create(0, "one");
    let oldest = world.devices[0].outbox().unwrap().oldest.unwrap();
    world.restart(0);
    world.ms = -500_000_000;
    world.note(0, saved.document, "two");
    assert_eq!(world.devices[0].outbox().unwrap().oldest, Some(oldest));
}

#[test]
fn a_copy_of_the_file_writes_under_another_actor_and_both_reconcile() {
    let mut world = World::synced(1);
    let saved = world.create(0, "one");
    world.sync(0);
    world.unlink(0);
    world.devices.remove(0).close().unwrap();
    let (path, copy) = (world.folder.file("1.db"), world.folder.file("copy.db"));
    std::fs::copy(&path, &copy).unwrap();
    for (path, seed, install) in [(path, 100, 1), (copy, 200, 2)] {
        let mut config = config(1);
        config.install = gridbeat_base::Install::from_bytes([install; 16]);
        let device =
            Device::open(&path, config, kinds(), Random::from_number(seed), at(0)).unwrap();
        assert_eq!(device.opening().was_restored, install == 2);
        world.devices.push(device);
    }
    world.note(0, saved.document, "original");
    world.note(1, saved.document, "copy");
    world.sync(0);
    world.sync(1);
    world.settle();
    world.assert_in_sync();
    let body = body(&world.devices[0], saved.document);
    assert!(body.contains("original") && body.contains("copy"), "{body}");
}

#[test]
fn a_blob_comes_back_by_its_hash() {
    let mut world = World::synced(1);
    let device = &mut world.devices[0];
    let hash = device.put_blob(at(0), b"photo").unwrap();
    assert_eq!(device.put_blob(at(0), b"photo").unwrap(), hash);
    assert_eq!(
        device.get_blob(hash).unwrap().as_deref(),
        Some(&b"photo"[..])
    );
    let other = gridbeat_base::BlobHash::from_bytes([0; 32]);
    assert_eq!(device.get_blob(other).unwrap(), None);
}

#[test]
fn a_saved_document_that_does_not_load_is_made_again_from_its_log() {
    let mut world = World::synced(1);
    let saved = world.create(0, "one");
    world.note(0, saved.document, "two");
    let before = body(&world.devices[0], saved.document);
    world.devices.clear();
    let path = world.folder.file("1.db");
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute("UPDATE document SET saved = x'0102'", [])
        .unwrap();
    drop(file);
    let device = Device::open(&path, config(1), kinds(), Random::from_number(9), at(0)).unwrap();
    world.devices.push(device);
    assert_eq!(body(&world.devices[0], saved.document), before);
    world.note(0, saved.document, "three");
    assert_eq!(world.devices[0].counters().documents_rebuilt, 1);
    let intent = json!({"text": "one", "notes": ["two", "three"]});
    for note in intent["notes"].as_array().unwrap() {
        assert!(body(&world.devices[0], saved.document).contains(note.as_str().unwrap()));
    }
    world.sync(0);
    world.assert_in_sync();
}
