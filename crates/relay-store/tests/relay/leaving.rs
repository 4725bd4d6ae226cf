//! Grants that end and devices that are revoked, as the relay answers them.

use std::collections::BTreeMap;

use gridbeat_base::{Digest, DocumentId, Scope, Verbs, WallTime};
use gridbeat_relay_core::LEAVE_WINDOW;
use gridbeat_relay_store::{RefusedFilter, Registry as _};
use gridbeat_sync_protocol::{Frame, Grant, RemovalStatement, Removed, Verdict};

use crate::device::{Device, Mirror};
use crate::world::{World, scope};

fn id(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 16])
}

fn statement(device: &Device, scope: Option<&Scope>) -> RemovalStatement {
    RemovalStatement {
        device: device.id,
        install: device.install,
        scope: scope.cloned(),
        incarnation: device.incarnation,
        seq: 0,
        digest: Digest::EMPTY,
        documents: 0,
        removed: 0,
        kept: 0,
        at: WallTime(1),
    }
}

/// A device that wrote in two scopes, met the relay, and then lost one of them.
fn one_that_leaves(world: &mut World, newest: u16) -> (Device, Scope) {
    let (east, west) = (scope("east"), scope("west"));
    let mut device = Device::enrolled(world, 1, &[&east, &west]);
    device.newest = newest;
    device.connect(world);
    let change = device.edit(id(1), "text=x");
    device.push(world, &east, id(1), &[change]);
    device.disconnect(world);
    world.grant(device.id, &BTreeMap::from([(west, Verbs::WORK)]));
    (device, east)
}

#[test]
fn a_device_is_told_what_it_leaves_and_until_when_and_nothing_that_came_since() {
    let mut world = World::new();
    let (mut device, east) = one_that_leaves(&mut world, 2);
    let since = world.now.wall;
    let mut other = Device::enrolled(&mut world, 2, &[&east]);
    other.connect(&mut world);
    let change = other.edit(id(2), "text=y");
    other.push(&mut world, &east, id(2), &[change]);
    device.connect(&mut world);
    let greeting = &device.welcome.as_ref().unwrap().scopes[0];
    assert_eq!((greeting.grant, greeting.head), (Grant::None, 0));
    assert_eq!(device.notices.len(), 1);
    let notice = &device.notices[0];
    assert_eq!(notice.scope.as_ref(), Some(&east));
    assert_eq!((notice.seq, notice.deadline), (2, since.plus(LEAVE_WINDOW)));
}

#[test]
fn what_waited_is_admitted_until_the_window_ends_or_the_removal_is_stated() {
    for newest in [1, 2] {
        let mut world = World::new();
        let (mut device, east) = one_that_leaves(&mut world, newest);
        device.connect(&mut world);
        assert_eq!(device.notices.len(), usize::from(newest - 1));
        let change = device.edit(id(1), "text=z");
        let ack = device.push(&mut world, &east, id(1), &[change]);
        assert_eq!(ack.verdicts, [Verdict::Accepted], "version {newest}");
        if newest == 2 {
            let statement = statement(&device, Some(&east)).to_bytes();
            let removed = Removed::new(statement, None);
            world.deliver(device.session, Frame::Removed(removed.clone()));
            world.pump();
            device.take(&mut world);
            world.deliver(device.session, Frame::Removed(removed));
            world.pump();
            device.take(&mut world);
            assert_eq!(device.noted.len(), 2, "what comes again is answered again");
            assert_eq!(world.store.removals(device.id).unwrap().len(), 1);
        } else {
            device.disconnect(&mut world);
            world.wait(LEAVE_WINDOW);
            device.connect(&mut world);
        }
        let change = device.edit(id(1), "text=late");
        let ack = device.push(&mut world, &east, id(1), &[change]);
        assert!(
            matches!(&ack.verdicts[0], Verdict::Refused(why) if why.code == "scope_not_granted"),
            "version {newest}"
        );
    }
}

#[test]
fn a_revoked_device_is_let_in_to_hand_over_and_gets_nothing_else() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.newest = 2;
    let mut other = Device::enrolled(&mut world, 2, &[&east]);
    other.connect(&mut world);
    let change = other.edit(id(2), "text=y");
    other.push(&mut world, &east, id(2), &[change]);
    world.store.revoke(device.id, world.now.wall).unwrap();
    device.connect(&mut world);
    let granted = device.welcome.as_ref().unwrap().scopes.iter();
    assert!(
        granted
            .clone()
            .all(|it| it.grant == Grant::None && it.head == 0)
    );
    assert_eq!(device.notices.len(), 1);
    assert_eq!(device.notices[0].scope, None);
    let change = device.edit(id(1), "text=x");
    let hash = change.hash;
    let ack = device.push(&mut world, &east, id(1), &[change]);
    assert!(matches!(&ack.verdicts[0], Verdict::Refused(why) if why.code == "device_revoked"));
    assert!(!world.store.contains(id(1), &hash).unwrap());
    assert_eq!(
        world.store.refused(&RefusedFilter::default(), 10).unwrap()[0].hash,
        Some(hash)
    );
    assert!(device.feeds.is_empty());
    let statement = statement(&device, None).to_bytes();
    world.deliver(
        device.session,
        Frame::Removed(Removed::new(statement, None)),
    );
    world.pump();
    device.take(&mut world);
    assert_eq!(device.noted.len(), 1);
    assert_eq!(world.closed_with(device.session), ("device_revoked", 3600));
}

#[test]
fn a_revoked_device_in_session_is_out_and_may_come_back_at_once() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.newest = 2;
    device.connect(&mut world);
    world.store.revoke(device.id, world.now.wall).unwrap();
    world.wait(std::time::Duration::from_secs(4));
    assert_eq!(world.closed_with(device.session), ("device_revoked", 0));
}

/// A device is granted one scope, says nothing of it, and names another with the same documents as if it held it.
/// Returns whether it is fed the first, not told to compare.
fn is_fed(has_had_the_other: bool) -> bool {
    let mut world = World::new();
    let (east, west) = (scope("east"), scope("west"));
    let mut author = Device::enrolled(&mut world, 1, &[&east]);
    author.connect(&mut world);
    for number in 0..64 {
        let change = author.edit(id(number), "text=x");
        author.push(&mut world, &east, id(number), &[change]);
        world.place(id(number), &west, true);
    }
    let mut device = Device::new(2, &[]);
    device.newest = 2;
    device.incarnation = Some(world.store.incarnation());
    if has_had_the_other {
        world.enrol(device.id, &[&west]);
    }
    world.enrol(device.id, &[&east]);
    let mut claim = Mirror::default();
    claim.cursor = 3;
    device.scopes.insert(west, claim);
    device.connect(&mut world);
    let greetings = &device.welcome.as_ref().unwrap().scopes;
    let granted = greetings.iter().find(|it| it.scope == east).unwrap();
    granted.digest_agrees
}

#[test]
fn what_is_in_a_scope_it_never_had_is_not_told_to_whoever_names_it() {
    assert!(!is_fed(true), "whoever leaves the other compares");
    assert!(is_fed(false));
}
