//! The first answer of a session, rights that change, clones, and the end of the relay's work.

use std::collections::BTreeMap;
use std::time::Duration;

use gridbeat_base::{DocumentId, Incarnation, Install, Verbs};
use gridbeat_relay_core::Output;
use gridbeat_relay_store::{LeaseRow, Registry};
use gridbeat_sync_protocol::{CloseReason, DeviceMisbehaved, Frame, Grant, SessionError, Signer};

use crate::device::Device;
use crate::world::{World, device, scope};

fn id(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 16])
}

#[test]
fn a_welcome_says_where_each_scope_stands() {
    let mut world = World::new();
    let (east, west, north) = (scope("east"), scope("west"), scope("north"));
    let mut author = Device::enrolled(&mut world, 1, &[&east, &north]);
    author.connect(&mut world);
    let change = author.edit(id(1), "text=x");
    author.push(&mut world, &east, id(1), std::slice::from_ref(&change));
    let mut second = Device::new(2, &[&west, &east]);
    let grants = BTreeMap::from([(east.clone(), Verbs::READ), (north.clone(), Verbs::WORK)]);
    world.grant(second.id, &grants);
    second.connect(&mut world);
    let welcome = second.welcome.clone().unwrap();
    assert_eq!(welcome.incarnation, world.store.incarnation());
    assert_eq!(welcome.time, world.now.wall);
    let told: Vec<_> = welcome
        .scopes
        .iter()
        .map(|it| (it.scope.as_str(), it.grant, it.head, it.digest_agrees))
        .collect();
    assert_eq!(
        told,
        [
            ("east", Grant::Read, 2, true),
            ("west", Grant::None, 0, true),
            ("north", Grant::Write, 0, true)
        ]
    );
    assert_eq!(second.scopes[&east].cursor, 2, "entries follow at once");
}

#[test]
fn a_device_that_is_up_to_date_gets_a_welcome_and_nothing_else() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let change = device.edit(id(1), "text=x");
    device.push(&mut world, &east, id(1), &[change]);
    let feeds = device.feeds.len();
    device.greet(&mut world);
    assert_eq!(world.step(), Some("greet"));
    assert_eq!(world.step(), None, "one look, one answer");
    assert_eq!(world.sent[&device.session].len(), 1);
    device.take(&mut world);
    assert!(device.welcome.unwrap().scopes[0].digest_agrees);
    assert_eq!(device.feeds.len(), feeds);
}

#[test]
fn pushes_of_the_first_flight_wait_for_the_look_at_the_devices_rights() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.greet(&mut world);
    let change = device.edit(id(1), "text=x");
    device.send(&mut world, &east, &[(id(1), &[change])]);
    assert_eq!(
        world.tasks.len(),
        1,
        "nothing is loaded for somebody unknown"
    );
    world.pump();
    device.take(&mut world);
    assert_eq!(device.acks.len(), 1);
}

#[test]
fn an_unknown_or_revoked_device_is_told_why_and_gets_nothing() {
    let mut world = World::new();
    let east = scope("east");
    let mut unknown = Device::new(8, &[&east]);
    let mut revoked = Device::enrolled(&mut world, 9, &[&east]);
    world.store.revoke(revoked.id, world.now.wall).unwrap();
    for (device, code) in [
        (&mut unknown, "device_unknown"),
        (&mut revoked, "device_revoked"),
    ] {
        device.greet(&mut world);
        let change = device.edit(id(1), "text=x");
        device.send(&mut world, &east, &[(id(1), std::slice::from_ref(&change))]);
        world.pump();
        assert_eq!(world.closed_with(device.session), (code, 3600));
        let mut sent = world.sent.remove(&device.session).unwrap();
        assert!(
            matches!(sent.make_contiguous(), [Frame::Close(_)]),
            "only the reason"
        );
        assert!(!world.store.contains(id(1), &change.hash).unwrap());
    }
    assert_eq!(world.relay.counters().sessions_denied, 2);
    assert_eq!(world.relay.counters().sessions, 0);
}

#[test]
fn a_certificate_for_another_key_than_the_one_issued_last_opens_nothing_not_even_a_surrender() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.newest = 2;
    let key = |number: u8| Signer::from_seed(&[number; 32]).public_key();
    let lease = |world: &World, number: u8| LeaseRow {
        device: device.id,
        key: key(number),
        certificate: Vec::new(),
        issued: world.now.wall,
        renew_after: world.now.wall.plus(Duration::from_hours(1)),
        not_after: world.now.wall.plus(Duration::from_hours(2)),
    };
    let (first, second) = (lease(&world, 1), lease(&world, 2));
    let ends = |world: &mut World, shown: Option<u8>| {
        let session = world.connect_with(device.id, shown.map(key));
        world.deliver(session, Frame::Hello(device.hello(world)));
        world.pump();
        let mut sent = world.sent.remove(&session).unwrap();
        let end = match sent.make_contiguous() {
            [Frame::Close(close)] => {
                assert!(!close.reason.en.is_empty() && !close.reason.zh.is_empty());
                Some(close.reason.code.clone())
            }
            _ => None,
        };
        world.relay.disconnected(world.now, session);
        world.pump();
        end
    };
    let replaced = Some("device_key_replaced".to_owned());
    // Who was never issued a key by this relay is known by its certificate alone.
    assert_eq!(ends(&mut world, None), None);
    world.store.put_lease(&first).unwrap();
    assert_eq!(ends(&mut world, Some(1)), None);
    assert_eq!(ends(&mut world, Some(2)), replaced);
    assert_eq!(ends(&mut world, None), replaced);
    // With another key issued, the first opens nothing more.
    world.store.put_lease(&second).unwrap();
    assert_eq!(ends(&mut world, Some(1)), replaced);
    assert_eq!(ends(&mut world, Some(2)), None);

    // A revoked device hands over with its own key, and nobody in its name with another.
    world.store.revoke(device.id, world.now.wall).unwrap();
    let revoked = Some("device_revoked".to_owned());
    assert_eq!(ends(&mut world, Some(1)), revoked);
    assert_eq!(ends(&mut world, Some(2)), None, "it is let in to hand over");
}

#[test]
fn a_session_ends_within_five_seconds_of_its_devices_revocation() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    let mut other = Device::enrolled(&mut world, 2, &[&east]);
    device.connect(&mut world);
    other.connect(&mut world);
    world.wait(Duration::from_secs(4));
    world.store.revoke(device.id, world.now.wall).unwrap();
    world.wait(Duration::from_secs(4));
    assert_eq!(world.closed_with(device.session).0, "device_revoked");
    assert!(!world.closed.contains_key(&other.session));
    assert_eq!(world.relay.counters().sessions, 1);
}

#[test]
fn a_push_is_judged_by_the_rights_of_its_own_moment() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    let mut revoked = Device::enrolled(&mut world, 2, &[&east]);
    device.connect(&mut world);
    revoked.connect(&mut world);
    world.grant(device.id, &BTreeMap::from([(east.clone(), Verbs::READ)]));
    world.store.revoke(revoked.id, world.now.wall).unwrap();
    let change = device.edit(id(1), "text=x");
    let ack = device.push(&mut world, &east, id(1), &[change]);
    assert!(
        matches!(&ack.verdicts[0], gridbeat_sync_protocol::Verdict::Refused(reason)
            if reason.code == "scope_not_granted")
    );
    let change = revoked.edit(id(2), "text=x");
    revoked.send(&mut world, &east, &[(id(2), std::slice::from_ref(&change))]);
    world.pump();
    assert_eq!(world.closed_with(revoked.session).0, "device_revoked");
    assert!(!world.store.contains(id(2), &change.hash).unwrap());
}

#[test]
fn a_session_whose_grants_change_begins_anew() {
    let mut world = World::new();
    let (east, west) = (scope("east"), scope("west"));
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    world.enrol(device.id, &[&east, &west]);
    world.relay.rights_changed(world.now);
    world.pump();
    assert_eq!(world.closed_with(device.session), ("grants_changed", 0));
    device.connect(&mut world);
    assert!(device.scopes.contains_key(&west));
    world.wait(Duration::from_secs(60));
    assert!(!world.closed.contains_key(&device.session));
}

#[test]
fn a_device_that_greets_as_another_or_says_nothing_is_sent_away() {
    let mut world = World::new();
    let east = scope("east");
    let other = Device::enrolled(&mut world, 2, &[&east]);
    let session = world.connect(device(1));
    world.deliver(session, Frame::Hello(other.hello(&world)));
    let wrong = DeviceMisbehaved::WrongDevice {
        claimed: device(2),
        proven: device(1),
    };
    let reason = CloseReason::Failed(SessionError::DeviceMisbehaved(wrong));
    assert_eq!(world.closed.get(&session), Some(&reason));
    assert_eq!(world.relay.counters().sessions_misbehaved, 1);
    let silent = world.connect(device(3));
    world.wait(Duration::from_secs(8));
    let reason = CloseReason::Failed(SessionError::GreetingTimedOut);
    assert_eq!(world.closed.get(&silent), Some(&reason));
}

#[test]
fn two_installations_of_one_device_are_counted_and_both_go_on() {
    let mut world = World::new();
    let east = scope("east");
    let mut original = Device::enrolled(&mut world, 1, &[&east]);
    original.connect(&mut world);
    let mut again = Device::new(1, &[&east]);
    again.connect(&mut world);
    assert_eq!(
        world.relay.counters().clones_suspected,
        0,
        "a second session is no clone"
    );
    let mut clone = Device::new(1, &[&east]);
    clone.install = Install::new([77; 16]);
    clone.connect(&mut world);
    assert_eq!(world.relay.counters().clones_suspected, 1);
    assert!(
        world
            .outputs
            .contains(&Output::CloneSuspected { device: device(1) })
    );
    let change = original.edit(id(1), "text=x");
    original.push(&mut world, &east, id(1), &[change]);
    clone.take(&mut world);
    assert_eq!(clone.scopes[&east].cursor, 2);
}

#[test]
fn operators_see_where_each_device_stands_after_a_while() {
    let mut world = World::new();
    let east = scope("east");
    let mut a = Device::enrolled(&mut world, 1, &[&east]);
    let mut b = Device::enrolled(&mut world, 2, &[&east]);
    a.connect(&mut world);
    b.greet(&mut world);
    world.pump();
    let change = a.edit(id(1), "text=x");
    a.push(&mut world, &east, id(1), &[change]);
    world.wait(Duration::from_secs(31));
    let rows = world.store.devices().unwrap();
    assert_eq!(rows[0].cursors[&east], (2, 2));
    assert_eq!(rows[1].cursors.get(&east), None, "it has applied nothing");
    let (seen, install, offset) = rows[0].seen.unwrap();
    assert_eq!((install, offset), (a.install, 250));
    assert!(seen < world.now.wall);
    assert!(world.relay.next_deadline().unwrap() > world.now.monotonic);
}

#[test]
fn draining_ends_what_is_under_way_and_then_every_session() {
    let mut world = World::new();
    let east = scope("east");
    let mut a = Device::enrolled(&mut world, 1, &[&east]);
    let mut b = Device::enrolled(&mut world, 2, &[&east]);
    a.connect(&mut world);
    b.connect(&mut world);
    let change = a.edit(id(1), "text=x");
    a.send(&mut world, &east, &[(id(1), &[change])]);
    let late = b.edit(id(2), "text=y");
    b.send(&mut world, &east, &[(id(2), std::slice::from_ref(&late))]);
    world.relay.drain(world.now);
    assert!(!world.relay.is_drained());
    world.pump();
    assert!(world.relay.is_drained());
    a.take(&mut world);
    assert_eq!(a.acks.len(), 1, "the cycle under way is ended");
    assert!(
        !world.store.contains(id(2), &late.hash).unwrap(),
        "and no other begun"
    );
    for device in [&a, &b] {
        assert_eq!(world.closed_with(device.session), ("relay_restarting", 2));
    }
    let mut c = Device::enrolled(&mut world, 3, &[&east]);
    c.greet(&mut world);
    assert_eq!(world.closed_with(c.session).0, "relay_restarting");
    assert_eq!(
        world.store.devices().unwrap()[0].seen.unwrap().1,
        a.install,
        "marks are kept"
    );
}

#[test]
fn a_commit_during_the_look_up_is_not_missed() {
    let mut world = World::new();
    let east = scope("east");
    let mut a = Device::enrolled(&mut world, 1, &[&east]);
    let mut b = Device::enrolled(&mut world, 2, &[&east]);
    a.connect(&mut world);
    b.greet(&mut world);
    // The look is done before the commit, but answered after it.
    let (greet, work) = world.tasks.pop_front().unwrap();
    let answer = gridbeat_relay_store::Store::run(&mut world.store, &work);
    let change = a.edit(id(1), "text=x");
    a.push(&mut world, &east, id(1), &[change]);
    world.relay.handle_answer(world.now, greet, answer);
    world.pump();
    b.take(&mut world);
    assert_eq!(b.scopes[&east].cursor, 2);
}

#[test]
fn a_device_of_another_life_is_fed_nothing_before_it_reconciles() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let change = device.edit(id(1), "text=x");
    device.push(&mut world, &east, id(1), &[change]);
    device.incarnation = Some(Incarnation::new([9; 16]));
    device.feeds.clear();
    device.connect(&mut world);
    assert!(device.feeds.is_empty());
    device.reconcile(&mut world, &east);
    assert_eq!(device.scopes[&east].cursor, 2);
    assert_eq!(
        world.relay.counters().digest_mismatches,
        0,
        "another life is no mismatch"
    );
}
