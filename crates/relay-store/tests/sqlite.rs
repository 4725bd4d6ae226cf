//! The SQLite store through its public API: conformance, reopening, restored and foreign files,
//! failing commits, full disks, and a reader on another connection.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up fails by that"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gridbeat_base::{ChangeHash, DeviceId, Digest, DocumentId, Position, Random, Scope, WallTime};
use gridbeat_relay_core::{
    Answer, Batch, DocumentState, DocumentWrite, EntryKind, NewChange, NewEntry, RecordFields,
    StoreFault, Task,
};
use gridbeat_relay_store::{
    OpenError, RecordFilter, Registry, SqliteStore, Store, StoreOptions, conformance,
};

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, StoreOptions::default(), &mut random()).unwrap()
}

/// A stream that differs from one call to the next, as a relay's own does.
fn random() -> Random {
    use std::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Random::from_number(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn side(path: &Path) -> PathBuf {
    path.with_extension("db.incarnation")
}

fn east() -> Scope {
    Scope::new("east").unwrap()
}

fn document(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 16])
}

/// A new document with one change of `size` bytes.
fn creation(number: u8, size: usize) -> Task {
    let document = document(number);
    let head = ChangeHash::new([number; 32]);
    let term = Digest::of_document(document, &[head]);
    let entry = |what, delta| NewEntry {
        document,
        what,
        delta,
    };
    Task::Commit(Box::new(Batch {
        received: WallTime(1_000),
        documents: BTreeMap::from([(
            document,
            DocumentWrite {
                kind: if number.is_multiple_of(2) {
                    "note"
                } else {
                    "visit"
                }
                .to_owned(),
                schema_version: 1,
                expected: None,
                changes: vec![NewChange {
                    hash: head,
                    bytes: vec![number; size],
                    author: DeviceId::from_bytes([1; 16]),
                    brought_by: DeviceId::from_bytes([1; 16]),
                    recovered: false,
                }],
                attach: vec![east()],
                detach: Vec::new(),
                state: Some(DocumentState {
                    heads: vec![head],
                    term,
                    cache: vec![number; size],
                    blobs: BTreeSet::new(),
                    record: RecordFields {
                        status: "open".to_owned(),
                        is_open: number < 3,
                        occurred: WallTime(i64::from(number)),
                        position: Position::from_degrees(29.9, 121.7).ok(),
                        text: "占道经营".to_owned(),
                        ..RecordFields::default()
                    },
                }),
            },
        )]),
        scopes: BTreeMap::from([(
            east(),
            vec![
                entry(EntryKind::Attach { upto: 0 }, Digest::EMPTY),
                entry(EntryKind::Change { n: 1 }, term),
            ],
        )]),
        ..Batch::default()
    }))
}

fn head(store: &mut dyn Store) -> u64 {
    let task = Task::ReadFeed {
        scope: east(),
        after: 0,
        bytes_max: 1,
    };
    let Answer::Page(page) = store.run(&task).unwrap() else {
        panic!("a read of the feed is answered by a page");
    };
    page.head
}

#[test]
fn the_sqlite_store_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let mut number = 0;
    conformance::run(&mut || {
        number += 1;
        Box::new(open(&folder.path().join(format!("{number}.db"))))
    });
}

#[test]
fn a_reopened_file_holds_what_was_committed_and_keeps_its_incarnation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let mut store = open(&path);
    let incarnation = store.incarnation();
    store.run(&creation(1, 100)).unwrap();
    drop(store);
    let mut store = open(&path);
    assert_eq!(store.incarnation(), incarnation);
    assert_eq!(head(&mut store), 2);
    assert_eq!(
        store.heads_after(None, 10).unwrap(),
        [(document(1), vec![ChangeHash::new([1; 32])])]
    );
    assert!(
        store
            .contains(document(1), &ChangeHash::new([1; 32]))
            .unwrap()
    );
    assert!(
        !store
            .contains(document(1), &ChangeHash::new([2; 32]))
            .unwrap()
    );
    store.check().unwrap();
}

#[test]
fn a_restored_backup_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let backup = folder.path().join("backup.db");
    let mut store = open(&path);
    store.run(&creation(1, 100)).unwrap();
    let first = store.incarnation();
    drop(store);
    fs::copy(&path, &backup).unwrap();

    let mut store = open(&path);
    assert_eq!(
        store.incarnation(),
        first,
        "a copy taken away changes nothing"
    );
    store.run(&creation(2, 100)).unwrap();
    drop(store);
    fs::copy(&backup, &path).unwrap();

    let store = open(&path);
    let second = store.incarnation();
    assert_ne!(second, first, "the file lacks a commit that was seen");
    drop(store);
    assert_eq!(
        open(&path).incarnation(),
        second,
        "once, not at each opening"
    );

    fs::copy(&backup, &path).unwrap();
    assert_ne!(
        open(&path).incarnation(),
        second,
        "the first life came back"
    );
}

#[test]
fn a_file_without_its_companion_or_beside_a_torn_one_begins_another_life() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let first = open(&path).incarnation();
    fs::remove_file(side(&path)).unwrap();
    let second = open(&path).incarnation();
    assert_ne!(first, second);
    fs::write(side(&path), "gridbeat relay 1 0000").unwrap();
    let third = open(&path).incarnation();
    assert_ne!(second, third);
    assert_eq!(open(&path).incarnation(), third);
}

#[test]
fn an_operator_can_say_that_a_file_was_restored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let mut store = open(&path);
    let first = store.incarnation();
    let second = store.new_incarnation(WallTime(1), &mut random()).unwrap();
    assert_ne!(first, second);
    assert_eq!(store.incarnation(), second);
    store.run(&creation(1, 10)).unwrap();
    drop(store);
    assert_eq!(open(&path).incarnation(), second);
}

#[test]
fn a_foreign_file_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let sqlite = rusqlite::Connection::open(folder.path().join("other.db")).unwrap();
    sqlite.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(sqlite);
    let other = fs::read(folder.path().join("other.db")).unwrap();
    for content in [
        b"not a database, but long enough for a header".to_vec(),
        other,
    ] {
        fs::write(&path, &content).unwrap();
        let error = SqliteStore::open(&path, StoreOptions::default(), &mut random()).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            2,
            "nothing beside it"
        );
    }
}

#[test]
fn a_file_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    drop(open(&path));
    let sqlite = rusqlite::Connection::open(&path).unwrap();
    sqlite.pragma_update(None, "user_version", 99).unwrap();
    drop(sqlite);
    let error = SqliteStore::open(&path, StoreOptions::default(), &mut random()).unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { version: 99, .. }),
        "{error}"
    );
}

#[test]
fn a_commit_that_fails_leaves_nothing_and_the_next_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let healthy = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&healthy);
    let options = StoreOptions {
        before_commit: Some(Box::new(move || asked.load(Ordering::Relaxed))),
        ..StoreOptions::default()
    };
    let mut store = SqliteStore::open(&path, options, &mut random()).unwrap();
    healthy.store(false, Ordering::Relaxed);
    let error = store.run(&creation(1, 100)).unwrap_err();
    assert!(matches!(error, StoreFault::Failed { .. }), "{error}");
    assert_eq!(head(&mut store), 0);
    healthy.store(true, Ordering::Relaxed);
    store.run(&creation(1, 100)).unwrap();
    assert_eq!(head(&mut store), 2);
    let incarnation = store.incarnation();
    drop(store);
    assert_eq!(open(&path).incarnation(), incarnation);
}

#[test]
fn a_full_disk_is_said_so_and_reading_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let mut store = open(&path);
    store.run(&creation(1, 100)).unwrap();
    store.set_file_size_max(Some(4096)).unwrap();
    assert_eq!(store.run(&creation(2, 60_000)), Err(StoreFault::Full));
    assert_eq!(head(&mut store), 2);
    store.set_file_size_max(None).unwrap();
    store.run(&creation(2, 60_000)).unwrap();
    assert_eq!(head(&mut store), 4);
}

#[test]
fn a_reader_sees_every_commit_that_returned_and_never_writes() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder.path().join("relay.db"));
    let mut reader = store.reader().unwrap();
    for number in 1..5 {
        store.run(&creation(number, 100)).unwrap();
        assert_eq!(head(&mut reader), u64::from(number) * 2);
    }
    assert!(reader.run(&creation(9, 100)).is_err());
    assert!(reader.run(&Task::Marks(Vec::new())).is_err());
}

#[test]
fn records_are_listed_by_what_they_are_and_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder.path().join("relay.db"));
    for number in 1..=5 {
        store.run(&creation(number, 10)).unwrap();
    }
    let numbers = |filter: &RecordFilter, limit| -> Vec<i64> {
        let rows = store.records(filter, limit).unwrap();
        rows.iter()
            .map(|row| row.fields.occurred.millis())
            .collect()
    };
    let all = RecordFilter::default();
    assert_eq!(numbers(&all, 9), [5, 4, 3, 2, 1]);
    let before = RecordFilter {
        before: Some((WallTime(4), document(4))),
        ..all.clone()
    };
    assert_eq!(numbers(&before, 2), [3, 2]);
    let open = RecordFilter {
        is_open: Some(true),
        kind: Some("note".to_owned()),
        scope: Some(east()),
        status: Some("open".to_owned()),
        ..all.clone()
    };
    assert_eq!(numbers(&open, 9), [2]);
    let elsewhere = RecordFilter {
        scope: Scope::new("west").ok(),
        ..all.clone()
    };
    assert!(numbers(&elsewhere, 9).is_empty());
    let row = &store.records(&all, 1).unwrap()[0];
    assert_eq!(
        (row.scopes.clone(), row.kind.as_str()),
        (vec![east()], "visit")
    );
    assert_eq!(row.fields.text, "占道经营");
    assert!(row.fields.position.is_some());
    let scope = &store.scopes().unwrap()[0];
    assert_eq!((scope.head, scope.documents), (10, 5));
}

#[test]
fn devices_of_a_reopened_file_are_still_enrolled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let device = DeviceId::from_bytes([1; 16]);
    open(&path)
        .add_device(device, "Bike 1", &BTreeMap::new(), WallTime(1))
        .unwrap();
    open(&path).revoke(device, WallTime(2)).unwrap();
    let rows = open(&path).devices().unwrap();
    assert_eq!(rows[0].revoked, Some(WallTime(2)));
}
