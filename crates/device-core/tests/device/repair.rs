//! Two sides that differ find out and mend it, whichever of them fell back.

use gridbeat_base::Remedy;
use gridbeat_device_core::{SyncProblem, SyncState};
use gridbeat_sync_protocol::{Frame, Grant};

use crate::support::{World, body, frames, list, scope};

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
    for frame in frames(&mut world.devices[0]) {
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
fn what_a_reader_holds_and_the_relay_lost_is_brought_back_once_it_may_write() {
    let mut world = settled();
    unlink(&mut world);
    let empty = crate::relay::Relay::new(1).backup();
    world.relay.restore(empty, 9);
    world.relay.grants.insert(scope("grid"), Grant::Read);
    for _ in 0..2 {
        world.sync(1);
        assert!(matches!(
            world.devices[1].sync_state(),
            SyncState::InSync { .. }
        ));
        world.unlink(1);
    }
    assert_eq!(world.relay.head(&scope("grid")), 0);
    world.relay.grants.insert(scope("grid"), Grant::Write);
    world.sync(1);
    assert_eq!(world.relay.head(&scope("grid")), 36);
    world.sync(0);
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

#[test]
fn a_document_the_relay_moved_away_keeps_its_times_whichever_scope_is_compared_first() {
    for name in ["area", "squad"] {
        let mut world = World::new(2);
        world.relay.grants.insert(scope(name), Grant::Write);
        world.sync(0);
        let slip = world.create(0, "moved").document;
        let other = world.create(0, "in the other").document;
        world.settle();
        world.relay.place(other, &scope(name), true);
        world.settle();
        world.unlink(0);
        world.relay.place(slip, &scope(name), true);
        world.relay.place(slip, &scope("grid"), false);
        let backup = world.relay.backup();
        world.relay.restore(backup, 5);
        world.sync(0);
        // This one never had it in another scope.
        world.sync(1);
        world.settle();
        world.assert_in_sync();
        let record = world.devices[0].record(slip).unwrap().unwrap();
        assert_eq!(record.scopes, [scope(name)]);
    }
}

#[test]
fn a_record_whose_acknowledgement_overtakes_its_feed_stays_on_the_screen() {
    let mut world = World::synced(1);
    world.sync(0);
    let slip = world.create(0, "said twice").document;
    let sent = frames(&mut world.devices[0]);
    // Over another connection of the same device first, so that here it is known and its entries are no own ones.
    world.relay.connected(7, world.devices[0].device());
    for session in [7, 0] {
        for frame in &sent {
            let now = world.now();
            world.relay.handle(now.wall, session, frame.clone());
        }
    }
    let mut late = Vec::new();
    for _ in 0..8 {
        for frame in world.relay.outputs(0) {
            if matches!(frame, Frame::Feed(_)) {
                late.push(frame);
                continue;
            }
            let now = world.now();
            world.devices[0].handle_frame(now, frame).unwrap();
            assert_eq!(list(&world.devices[0]), [slip]);
        }
        for frame in frames(&mut world.devices[0]) {
            let now = world.now();
            world.relay.handle(now.wall, 0, frame);
        }
    }
    for frame in late {
        let now = world.now();
        world.devices[0].handle_frame(now, frame).unwrap();
    }
    world.settle();
    world.assert_in_sync();
    assert_eq!(list(&world.devices[0]), [slip]);
}

#[test]
fn a_device_cut_off_while_it_brings_a_document_back_comes_from_the_other_life_again() {
    let mut world = settled();
    unlink(&mut world);
    let (before, empty) = (
        world.relay.incarnation,
        crate::relay::Relay::new(1).backup(),
    );
    world.relay.restore(empty, 9);
    world.link(1);
    let mut pushes = 0;
    while !world.relay.seen.contains(&"compared") || pushes == 0 {
        for frame in frames(&mut world.devices[1]) {
            if matches!(frame, Frame::Push(_)) {
                // It is lost.
                pushes += 1;
                continue;
            }
            let now = world.now();
            world.relay.handle(now.wall, 1, frame);
        }
        for frame in world.relay.outputs(1) {
            let now = world.now();
            world.devices[1].handle_frame(now, frame).unwrap();
        }
    }
    world.unlink(1);
    let now = world.now();
    world.devices[1].connected(now).unwrap();
    let sent = frames(&mut world.devices[1]);
    assert!(matches!(&sent[0], Frame::Hello(hello) if hello.incarnation == Some(before)));
}
