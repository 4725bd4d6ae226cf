//! What goes wrong underneath: crashes, failing disks, full disks, damaged caches.

use gridbeat_base::{ChangeHash, DocumentId};
use gridbeat_relay_core::{Batch, Output, StoreFault, Task};
use gridbeat_relay_store::{RefusedFilter, Store};
use gridbeat_sync_protocol::Verdict;

use crate::device::Device;
use crate::world::{World, scope};

fn id(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 16])
}

#[test]
fn a_crash_before_the_commit_leaves_nothing_and_the_device_pushes_again() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let change = device.edit(id(1), "text=x");
    device.send(&mut world, &east, &[(id(1), std::slice::from_ref(&change))]);
    world.pump_to("commit");
    world.restart();
    assert!(!world.store.contains(id(1), &change.hash).unwrap());
    device.connect(&mut world);
    let ack = device.push(&mut world, &east, id(1), &[change]);
    assert_eq!(
        (ack.verdicts, ack.first_seq),
        (vec![Verdict::Accepted], Some(1))
    );
}

#[test]
fn a_crash_after_the_commit_loses_only_the_answer() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let change = device.edit(id(1), "text=x");
    device.send(&mut world, &east, &[(id(1), std::slice::from_ref(&change))]);
    world.pump_to("commit");
    let (_, work) = world.tasks.pop_front().unwrap();
    world.store.run(&work).unwrap();
    world.restart();
    device.connect(&mut world);
    assert_eq!(
        device.scopes[&east].cursor, 2,
        "its own change comes back with its bytes"
    );
    let ack = device.push(&mut world, &east, id(1), &[change]);
    assert_eq!(ack.verdicts, [Verdict::Known]);
}

#[test]
fn a_failing_commit_is_acknowledged_to_nobody() {
    let mut world = World::new();
    let east = scope("east");
    let mut pusher = Device::enrolled(&mut world, 1, &[&east]);
    let mut reader = Device::enrolled(&mut world, 2, &[&east]);
    pusher.connect(&mut world);
    reader.connect(&mut world);
    let change = pusher.edit(id(1), "text=x");
    pusher.send(&mut world, &east, &[(id(1), std::slice::from_ref(&change))]);
    world.break_disk(false);
    world.pump();
    assert_eq!(
        world.closed_with(pusher.session),
        ("relay_storage_failed", 10)
    );
    pusher.take(&mut world);
    assert!(pusher.acks.is_empty());
    assert_eq!(pusher.close.as_ref().unwrap().retry_after_s, 10);
    assert!(
        !world.closed.contains_key(&reader.session),
        "who pushed nothing stays"
    );
    assert!(matches!(
        world.outputs.last(),
        Some(Output::StoreFailed { task: "commit", .. })
    ));
    world.break_disk(true);
    pusher.connect(&mut world);
    pusher.push(&mut world, &east, id(1), &[change]);
    reader.take(&mut world);
    assert_eq!(reader.scopes[&east].cursor, 2);
}

#[test]
fn a_full_disk_is_said_in_words_before_any_part_is_accepted() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    world.store.set_file_size_max(Some(4096)).unwrap();
    let changes: Vec<_> = (0..4)
        .map(|n| device.edit(id(n), &format!("text={}", "长".repeat(5_000))))
        .collect();
    for (n, change) in (0..).zip(&changes) {
        device.send(&mut world, &east, &[(id(n), std::slice::from_ref(change))]);
    }
    world.pump();
    assert_eq!(
        world.closed_with(device.session),
        ("relay_storage_full", 60)
    );
    for (n, change) in (0..).zip(&changes) {
        assert!(!world.store.contains(id(n), &change.hash).unwrap());
    }
    world.store.set_file_size_max(None).unwrap();
    device.connect(&mut world);
    let ack = device.push(&mut world, &east, id(0), &changes[..1]);
    assert_eq!(ack.verdicts, [Verdict::Accepted]);
}

#[test]
fn a_write_that_comes_in_between_is_noticed_and_judged_anew() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let first = device.edit(id(1), "text=x");
    device.push(&mut world, &east, id(1), &[first]);
    let second = device.edit(id(1), "text=y");
    device.send(&mut world, &east, &[(id(1), std::slice::from_ref(&second))]);
    world.pump_to("commit");
    // Another process commits the very batch that this one is about to commit.
    let (_, work) = world.tasks.front().cloned().unwrap();
    world.store.run(&work).unwrap();
    world.pump();
    device.take(&mut world);
    assert_eq!(device.acks.last().unwrap().verdicts, [Verdict::Known]);
    assert_eq!(world.relay.counters().commits_contended, 1);
}

#[test]
fn a_saved_document_that_does_not_load_is_made_again_from_its_log() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let changes: Vec<_> = (0..3)
        .map(|n| device.edit(id(1), &format!("text={n}")))
        .collect();
    device.push(&mut world, &east, id(1), &changes);
    let sqlite = rusqlite::Connection::open(world.path()).unwrap();
    sqlite
        .execute("UPDATE cache SET saved = x'00112233'", [])
        .unwrap();
    drop(sqlite);
    let next = device.edit(id(1), "text=next");
    let ack = device.push(&mut world, &east, id(1), &[next]);
    assert_eq!(ack.verdicts, [Verdict::Accepted]);
    assert_eq!(world.relay.counters().documents_rebuilt, 1);
    let sqlite = rusqlite::Connection::open(world.path()).unwrap();
    sqlite.execute("DELETE FROM cache", []).unwrap();
    drop(sqlite);
    let last = device.edit(id(1), "text=last");
    let ack = device.push(&mut world, &east, id(1), &[last]);
    assert_eq!(ack.verdicts, [Verdict::Accepted]);
}

#[test]
fn a_document_whose_log_is_damaged_is_left_alone_and_its_changes_kept_aside() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let first = device.edit(id(1), "text=x");
    device.push(&mut world, &east, id(1), &[first]);
    let sqlite = rusqlite::Connection::open(world.path()).unwrap();
    sqlite
        // A damaged disk asks no trigger.
        .execute_batch(
            "DROP TRIGGER change_stays; DELETE FROM cache; UPDATE change SET bytes = x'00'",
        )
        .unwrap();
    drop(sqlite);
    let next = device.edit(id(1), "text=next");
    let ack = device.push(&mut world, &east, id(1), std::slice::from_ref(&next));
    assert!(matches!(&ack.verdicts[0], Verdict::Refused(reason)
        if reason.code == "document_unreadable"));
    let latest = world.store.refused(&RefusedFilter::default(), 1).unwrap();
    let (_, bytes) = world.store.refused_change(latest[0].id).unwrap().unwrap();
    assert_eq!(bytes, next.bytes);
    let other = device.edit(id(2), "text=fine");
    assert_eq!(
        device.push(&mut world, &east, id(2), &[other]).verdicts,
        [Verdict::Accepted]
    );
}

#[test]
fn a_session_may_leave_only_so_much_in_the_quarantine() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let mut hash = ChangeHash::new([0; 32]);
    for n in 0..20 {
        let change = device.edit(id(n), &format!("text={}", "x".repeat(60_000)));
        hash = change.hash;
        device.push(&mut world, &scope("nowhere"), id(n), &[change]);
    }
    let kept = world.store.refused(&RefusedFilter::default(), 100).unwrap();
    assert_eq!(kept.len(), 20);
    let rows = kept.iter().filter(|row| row.has_bytes);
    let bytes: u64 = rows.map(|row| row.size_bytes).sum();
    assert!((900_000..=1024 * 1024).contains(&bytes), "{bytes}");
    assert_eq!(
        (kept[0].hash, kept[0].has_bytes),
        (Some(hash), false),
        "the rest only by name"
    );
    assert!(kept[0].size_bytes > 60_000);
}

#[test]
fn a_push_of_documents_too_large_for_one_read_is_judged_all_the_same() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    let mut other = Device::enrolled(&mut world, 2, &[&east]);
    device.connect(&mut world);
    other.connect(&mut world);
    let sqlite = rusqlite::Connection::open(world.path()).unwrap();
    let mut edits = Vec::new();
    for n in 1..=3 {
        let change = device.edit(id(n), "text=x");
        device.push(&mut world, &east, id(n), &[change]);
        edits.push((id(n), vec![device.edit(id(n), "text=y")]));
    }
    // Caches that are far too large, and will not load: only their size matters here.
    sqlite
        .execute("UPDATE cache SET saved = zeroblob(1500000)", [])
        .unwrap();
    let push: Vec<_> = edits.iter().map(|(id, it)| (*id, it.as_slice())).collect();
    device.send(&mut world, &east, &push);
    let change = other.edit(id(9), "text=z");
    other.send(&mut world, &east, &[(id(9), &[change])]);
    world.pump();
    device.take(&mut world);
    other.take(&mut world);
    assert_eq!(
        device.acks.last().unwrap().verdicts,
        vec![Verdict::Accepted; 3]
    );
    assert_eq!(other.acks.last().unwrap().verdicts, [Verdict::Accepted]);
    device.take(&mut world);
    assert_eq!(device.scopes[&east].digest(), other.scopes[&east].digest());
}

#[test]
fn a_store_that_fails_at_reading_ends_the_sessions_that_need_it() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.greet(&mut world);
    let (greet, _) = world.tasks.pop_front().unwrap();
    let fault = StoreFault::Failed {
        detail: "gone".to_owned(),
    };
    world
        .relay
        .handle_answer(world.now, greet, Err(fault.clone()));
    world.collect();
    assert_eq!(world.closed_with(device.session).0, "relay_storage_failed");
    device.connect(&mut world);
    let change = device.edit(id(1), "text=x");
    device.push(&mut world, &east, id(1), &[change]);
    let mut reader = Device::enrolled(&mut world, 2, &[&east]);
    reader.greet(&mut world);
    world.pump_to("read_feed");
    let (read, _) = world.tasks.pop_front().unwrap();
    world.relay.handle_answer(world.now, read, Err(fault));
    world.pump();
    assert_eq!(world.closed_with(reader.session).0, "relay_storage_failed");
    assert!(!world.closed.contains_key(&device.session));
    assert_eq!(world.relay.counters().store_faults, 2);
}

#[test]
fn marks_that_could_not_be_written_are_tried_again() {
    let mut world = World::new();
    let mut device = Device::enrolled(&mut world, 1, &[&scope("east")]);
    device.connect(&mut world);
    world.break_disk(false);
    world.wait(std::time::Duration::from_secs(31));
    world.break_disk(true);
    world.wait(std::time::Duration::from_secs(31));
    let rows = gridbeat_relay_store::Registry::devices(&world.store).unwrap();
    assert!(rows[0].seen.is_some());
    let empty = Task::Commit(Box::<Batch>::default());
    world.store.run(&empty).unwrap();
}
