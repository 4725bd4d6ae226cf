//! Two sides that differ find out and mend it, whichever of them fell back.

use gridbeat_base::Remedy;
use gridbeat_device_core::{SyncProblem, SyncState};
use gridbeat_sync_protocol::Grant;

use crate::support::{World, body, list, scope};

/// Two devices in sync, with some documents.
fn settled() -> World {
    let mut world = World::synced(2);
    for number in 0..12 {
        let slip = world.create(0, &format!("slip {number}")).document;
        world.note(0, slip, "first");
    }
    world.sync(0);
    world.sync(1);
    world.settle();
    world.assert_in_sync();
    world
}

fn unlink(world: &mut World) {
    world.unlink(0);
    world.unlink(1);
}

#[test]
fn a_digest_that_differs_is_found_and_reconciled() {
    let mut world = settled();
    let slip = list(&world.devices[0])[0];
    world.note(0, slip, "with a wrong digest");
    // Hand the push over, then spoil what the relay says about it.
    for frame in crate::support::frames(&mut world.devices[0]) {
        let now = world.now();
        world.relay.handle(now.wall, 0, frame);
    }
    world.relay.spoil_digest(&scope("grid"));
    world.settle();
    assert!(world.relay.seen.contains(&"reconcile"));
    for device in &world.devices {
        assert_eq!(device.counters().digest_mismatches, 1);
        assert_eq!(device.counters().reconciliations, 1);
    }
    world.assert_in_sync();
    world.note(1, slip, "and on");
    world.settle();
    world.assert_in_sync();
}

#[test]
fn a_relay_restored_from_a_backup_gets_back_all_that_any_device_holds() {
    let mut world = settled();
    let backup = world.relay.backup();
    let slips = list(&world.devices[0]);
    for slip in &slips[..3] {
        world.note(0, *slip, "after the backup");
        world.note(1, *slip, "after the backup, too");
    }
    let young = world.create(1, "made after the backup").document;
    world.settle();
    world.assert_in_sync();
    let before = world.devices[0].fingerprint().unwrap();
    unlink(&mut world);
    world.note(0, young, "offline");
    world.relay.restore(backup, 2);
    world.sync(0);
    assert!(world.devices[0].counters().changes_recovered >= 7);
    world.sync(1);
    world.settle();
    world.assert_in_sync();
    assert_eq!(before.len(), world.devices[0].fingerprint().unwrap().len());
    assert!(body(&world.devices[1], slips[0]).contains("too"));
    assert!(body(&world.devices[1], young).contains("offline"));
    let authors: Vec<_> = world
        .relay
        .changes(young)
        .iter()
        .map(|c| c.author)
        .collect();
    assert_eq!(
        authors,
        [world.devices[1].device(), world.devices[0].device()],
        "the author stays, whoever brought it"
    );
    // A life that is known needs no second reconciliation.
    let reconciled = world.devices[1].counters().reconciliations;
    unlink(&mut world);
    world.sync(1);
    assert_eq!(world.devices[1].counters().reconciliations, reconciled);
}

#[test]
fn a_relay_that_lost_everything_is_filled_again() {
    let mut world = settled();
    unlink(&mut world);
    let empty = crate::relay::Relay::new(1).backup();
    world.relay.restore(empty, 9);
    world.sync(0);
    world.sync(1);
    world.settle();
    world.assert_in_sync();
    assert_eq!(list(&world.devices[1]).len(), 12);
    assert_eq!(world.relay.head(&scope("grid")), 36);
}

#[test]
fn a_relay_that_fell_back_without_knowing_is_found_out_by_its_digest() {
    let mut world = settled();
    let backup = world.relay.backup();
    let slip = list(&world.devices[0])[0];
    world.note(0, slip, "lost by the relay");
    world.settle();
    unlink(&mut world);
    world.relay.restore(backup, 1);
    // It takes new entries over the ones it lost.
    world.note(1, slip, "over it");
    world.note(1, slip, "and over it");
    world.sync(1);
    world.sync(0);
    world.settle();
    world.assert_in_sync_but_receipts();
    let shown = body(&world.devices[1], slip);
    assert!(shown.contains("lost by the relay") && shown.contains("and over it"));
}

#[test]
fn a_device_restored_from_a_backup_catches_up_and_loses_nothing() {
    let mut world = settled();
    world.unlink(0);
    world.devices[0].checkpoint().unwrap();
    let (path, backup) = (world.folder.file("1.db"), world.folder.file("backup"));
    std::fs::copy(&path, &backup).unwrap();
    let slip = list(&world.devices[0])[3];
    world.note(0, slip, "after the device's backup");
    world.sync(0);
    world.note(1, slip, "elsewhere");
    world.settle();
    world.unlink(0);
    let device = world.devices.remove(0);
    drop(device);
    std::fs::copy(&backup, &path).unwrap();
    let device = crate::support::try_open(&path, 1, 777).unwrap();
    world.devices.insert(0, device);
    world.note(0, slip, "after the restore");
    world.sync(0);
    world.settle();
    world.assert_in_sync();
    let shown = body(&world.devices[0], slip);
    for note in ["backup", "elsewhere", "restore"] {
        assert!(shown.contains(note), "{note}: {shown}");
    }
}

#[test]
fn a_reader_keeps_what_the_relay_lost_and_stays_in_sync() {
    let mut world = settled();
    unlink(&mut world);
    world.relay.grants.insert(scope("grid"), Grant::Read);
    let empty = crate::relay::Relay::new(1).backup();
    world.relay.restore(empty, 9);
    world.sync(1);
    assert!(matches!(
        world.devices[1].sync_state(),
        SyncState::InSync { .. }
    ));
    assert_eq!(list(&world.devices[1]).len(), 12);
    unlink(&mut world);
    world.relay.grants.insert(scope("grid"), Grant::Write);
    world.sync(0);
    world.sync(1);
    world.settle();
    world.assert_in_sync();
}

#[test]
fn what_this_program_cannot_read_is_said_and_comes_with_a_program_that_can() {
    let mut world = settled();
    world.restart_with(1, gridbeat_document::Kinds::default());
    let slip = world.create(0, "for later programs").document;
    world.settle();
    world.sync(1);
    assert_eq!(
        world.devices[1].sync_state(),
        &SyncState::Problem {
            what: SyncProblem::Unreadable {
                scope: scope("grid")
            },
            remedy: Remedy::FixSetup,
        }
    );
    assert!(world.devices[1].counters().reconciliations <= 2);
    assert!(world.devices[1].counters().changes_barred > 0);
    world.restart_with(1, crate::support::kinds());
    world.sync(1);
    world.assert_in_sync();
    assert!(list(&world.devices[1]).contains(&slip));
}

#[test]
fn a_document_the_relay_moved_away_before_its_restore_leaves_here_too() {
    let mut world = World::new(2);
    world.relay.grants.insert(scope("squad"), Grant::Write);
    world.sync(0);
    world.sync(1);
    let slip = world.create(0, "moved").document;
    world.settle();
    unlink(&mut world);
    world.relay.place(slip, &scope("squad"), true);
    world.relay.place(slip, &scope("grid"), false);
    let backup = world.relay.backup();
    world.relay.restore(backup, 5);
    world.sync(0);
    world.sync(1);
    world.settle();
    world.assert_in_sync();
    let record = world.devices[0].record(slip).unwrap().unwrap();
    assert_eq!(record.scopes, [scope("squad")]);
}
