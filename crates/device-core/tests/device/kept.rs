//! What a device wrote in a scope it left is kept aside until it is known to be in a backup.

use gridbeat_device_core::KeptState;
use gridbeat_sync_protocol::Grant;

use crate::support::{World, at, list, scope};

/// A device that wrote a slip and a note on it, and then had to leave.
fn left(mut world: World) -> World {
    let slip = world.create(0, "written here").document;
    world.note(0, slip, "and a note");
    world.sync(0);
    world.assert_in_sync();
    world.unlink(0);
    world.relay.grants.clear();
    world.sync(0);
    assert!(list(&world.devices[0]).is_empty(), "nobody sees it here");
    world.unlink(0);
    world
}

fn kept(world: &World) -> u64 {
    world.devices[0].kept().unwrap().changes
}

#[test]
fn what_is_in_no_backup_is_kept_until_the_mark_has_passed() {
    let mut world = left(World::synced(1));
    assert_eq!(kept(&world), 2);
    world.restart(0);
    world.relay.stable = Some(at(0).wall);
    world.sync(0);
    assert_eq!(kept(&world), 2, "the mark lies before it");
    world.unlink(0);
    world.relay.stable = Some(at(1_000_000).wall);
    world.sync(0);
    assert_eq!(world.devices[0].kept().unwrap(), KeptState::default());
}

#[test]
fn what_is_in_a_backup_when_it_leaves_is_not_kept() {
    let mut world = World::synced(1);
    world.relay.stable = Some(at(1_000_000).wall);
    let world = left(world);
    assert_eq!(kept(&world), 0);
}

#[test]
fn a_relay_that_lost_it_gets_it_back_from_a_device_that_left() {
    let mut world = World::synced(1);
    let backup = world.relay.backup();
    let slip = world.create(0, "written after the backup").document;
    world.sync(0);
    let lost = world.relay.changes(slip);
    world.unlink(0);
    let mut world = left(world);
    assert_eq!(kept(&world), 3);
    world.relay.restore(backup, 2);
    // The grants are those of the backup.
    world.relay.grants.insert(scope("grid"), Grant::Write);
    world.sync(0);
    let back = world.relay.changes(slip);
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].bytes, lost[0].bytes);
    assert_eq!(back[0].author, world.devices[0].device());
    world.unlink(0);
    world.sync(0);
    world.assert_in_sync();
    assert_eq!(list(&world.devices[0]).len(), 2, "it is shown as before");
    assert_eq!(kept(&world), 3, "it is in no backup of this life yet");
    world.unlink(0);
    world.relay.stable = Some(at(1_000_000).wall);
    world.sync(0);
    assert_eq!(kept(&world), 0);
    world.assert_in_sync();
}

#[test]
fn what_a_restored_relay_does_not_take_back_is_shown_as_not_accepted() {
    let world = World::synced(1);
    let backup = world.relay.backup();
    let mut world = left(world);
    world.relay.restore(backup, 2);
    world.sync(0);
    assert_eq!(kept(&world), 0);
    let refused = world.devices[0].refused().unwrap();
    assert_eq!(refused.len(), 2);
    assert!(
        refused
            .iter()
            .all(|it| it.intent.is_some() && !it.reason.zh.is_empty())
    );
}

#[test]
fn where_no_backup_is_made_nothing_is_kept_for_ever() {
    let mut world = left(World::synced(1));
    world.ms += 181 * 24 * 3_600_000;
    world.sync(0);
    assert_eq!(kept(&world), 0);
}
