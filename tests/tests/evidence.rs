//! Who pushed what is proven by signatures, and no edit of a relay's file goes unnoticed.
//!
//! - `tampering`: ten thousand edits of one row, each found and named
//! - `tracing`: one incident, told from a relay's file
//!
//! Here: what verifies, and what a restored, a rolled back and an old database look like.

mod tampering;
mod tracing;

use std::fs;
use std::path::{Path, PathBuf};

use gridbeat_base::{DeviceId, Scope};

use crate::pump::World;

fn other_scope() -> Scope {
    Scope::new("蛟川").unwrap()
}

/// A relay to which three devices pushed: alone, together, again, and in two scopes.
fn a_days_work() -> World {
    let mut world = World::new(3);
    let first = world.report(0, "井盖破损");
    world.report(1, "共享单车乱停");
    world.sync_all();
    world.place(first.document, &other_scope());
    world.note(1, first.document, "已通知养护单位");
    world.note(2, first.document, "现场已围挡");
    world.settle();
    world.report(2, "路面积水");
    world.note(0, first.document, "请尽快处理");
    world.settle();
    for place in [1, 2] {
        world.grant(place, &[&crate::pump::scope(), &other_scope()]);
        world.sync_all();
        world.grant(place, &[&crate::pump::scope()]);
    }
    world.sync_all();
    world.assert_all_in_sync();
    world
}

#[test]
fn everything_in_the_log_has_its_devices_signature_and_the_relays_receipt() {
    let world = a_days_work();
    let report = world.audit();
    assert!(report.is_sound(), "{:#?}", report.findings);
    assert_eq!(report.before, (0, 0));
    assert_eq!(report.batches_signed, report.batches);
    assert_eq!(report.devices.len(), 3);
    assert!(report.changes >= 6 && report.entries > report.changes);
    assert!(report.receipts > report.batches);
    assert_eq!((report.segments.len(), report.notes.len()), (1, 0));
    assert_eq!(report.removals, 2);
}

#[test]
fn a_push_whose_acknowledgement_was_lost_is_sent_again_and_both_verify() {
    let mut world = World::new(2);
    world.report(0, "占道经营");
    world.link(0);
    world.carry_up(0);
    world.unlink(0);
    world.sync(0);
    let note = world.report(0, "绿地踩踏");
    world.settle();
    world.note(0, note.document, "已处理");
    world.settle();
    let report = world.audit();
    assert!(report.is_sound(), "{:#?}", report.findings);
    let device = DeviceId::from_bytes([1; 16]);
    assert_eq!(report.devices[&device].batches, 4);
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}

#[test]
fn a_device_that_was_restored_may_use_its_numbers_again() {
    let mut world = World::new(1);
    world.report(0, "占道经营");
    world.sync(0);
    let backup = world.relay_path().with_extension("device");
    world.restart_device(0, |file| {
        fs::copy(file, &backup).unwrap();
    });
    world.report(0, "绿地踩踏");
    world.sync(0);
    world.restart_device(0, |file| {
        fs::copy(&backup, file).unwrap();
    });
    world.report(0, "路面积水");
    world.sync(0);
    let report = world.audit();
    assert!(report.is_sound(), "{:#?}", report.findings);
    let device = DeviceId::from_bytes([1; 16]);
    assert_eq!(report.devices[&device].numbers_repeated, 1);
}

/// Copies a relay's file, with the small one beside it or without.
fn copy(from: &Path, to: &Path, with_side_file: bool) {
    let side = |path: &Path| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".incarnation");
        name.into()
    };
    fs::copy(from, to).unwrap();
    if with_side_file {
        fs::copy(side(from), side(to)).unwrap();
    }
}

/// Lets a relay be put back to an earlier state behind its devices' back.
fn put_back(with_side_file: bool) -> World {
    let mut world = World::new(2);
    let kept = world.report(0, "井盖破损");
    world.sync_all();
    let backup = world.relay_path().with_extension("backup");
    world.restart_relay(|file| copy(file, &backup, with_side_file));
    world.sync_all();
    world.note(0, kept.document, "已通知");
    world.report(1, "路面积水");
    world.settle();
    world.restart_relay(|file| copy(&backup, file, with_side_file));
    world.sync_all();
    world.note(0, kept.document, "又通知");
    world.settle();
    world.sync_all();
    world
}

#[test]
fn a_relay_restored_from_a_backup_begins_a_segment_and_verifies() {
    let world = put_back(false);
    let report = world.audit();
    assert!(report.is_sound(), "{:#?}", report.findings);
    assert_eq!(report.segments.len(), 2);
    assert!(report.segments[0].incarnation != report.segments[1].incarnation);
    let told = report.notes.iter().any(|note| note.table == "batch");
    assert!(told, "the devices have seen more than the backup");
}

#[test]
fn a_relay_put_back_in_secret_is_given_away_by_its_devices() {
    let world = put_back(true);
    let report = world.audit();
    assert_eq!(report.segments.len(), 1, "it looks like one life");
    let device = Some(DeviceId::from_bytes([1; 16]));
    let found = report.findings.iter().any(|it| it.device == device);
    assert!(found, "{:#?}", report.findings);
}

#[test]
fn what_was_there_before_the_first_receipt_is_verified_as_a_whole() {
    let mut world = World::with_keys(2, false);
    let old = world.report(0, "井盖破损");
    world.sync_all();
    world.has_keys = true;
    world.restart_relay(|_| {});
    for place in 0..2 {
        world.restart_device(place, |_| {});
    }
    world.note(1, old.document, "已通知");
    world.report(0, "路面积水");
    world.sync_all();
    let report = world.audit();
    assert!(report.is_sound(), "{:#?}", report.findings);
    assert_eq!((report.before, report.changes), ((1, 2), 3));
    world.restart_relay(|file| {
        let file = rusqlite::Connection::open(file).unwrap();
        file.execute_batch(
            "DROP TRIGGER change_stays; UPDATE change SET received = received + 1 WHERE n = 1
             AND received = (SELECT min(received) FROM change)",
        )
        .unwrap();
    });
    let report = world.audit();
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    assert_eq!(report.findings[0].row, "before the first receipt");
}

#[test]
fn a_device_that_signed_once_does_not_come_in_unsigned() {
    let mut world = World::new(1);
    world.report(0, "井盖破损");
    world.sync(0);
    world.has_keys = false;
    world.restart_device(0, |_| {});
    world.report(0, "路面积水");
    world.sync(0);
    assert_eq!(world.waiting(0), 1);
    assert_eq!(world.relay.counters().sessions_denied, 1);
    world.has_keys = true;
    world.restart_device(0, |_| {});
    world.sync(0);
    world.assert_all_in_sync();
}
