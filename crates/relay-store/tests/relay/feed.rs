//! What the others see: order, density, own runs, windows, several scopes, placements.

use gridbeat_base::{DocumentId, Scope};
use gridbeat_relay_core::{Output, PlaceError};
use gridbeat_sync_protocol::{Entry, Frame};

use crate::device::Device;
use crate::world::{World, scope};

fn id(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 16])
}

fn pair(world: &mut World, scopes: &[&Scope]) -> (Device, Device) {
    let mut a = Device::enrolled(world, 1, scopes);
    let mut b = Device::enrolled(world, 2, scopes);
    a.connect(world);
    b.connect(world);
    (a, b)
}

#[test]
fn every_session_sees_the_same_dense_order() {
    let mut world = World::new();
    let east = scope("east");
    let (mut a, mut b) = pair(&mut world, &[&east]);
    for n in 0..20 {
        let change = a.edit(id(1), &format!("a={n}"));
        a.send(&mut world, &east, &[(id(1), &[change])]);
        let change = b.edit(id(2), &format!("b={n}"));
        b.send(&mut world, &east, &[(id(2), &[change])]);
    }
    world.pump();
    for _ in 0..3 {
        a.take(&mut world);
        b.take(&mut world);
    }
    assert_eq!((a.scopes[&east].cursor, b.scopes[&east].cursor), (42, 42));
    assert_eq!(a.scopes[&east].heads, b.scopes[&east].heads);
    assert_eq!(b.view_text(id(1), "a"), "19");
    assert_eq!(a.view_text(id(2), "b"), "19");
    let mut late = Device::enrolled(&mut world, 3, &[&east]);
    late.connect(&mut world);
    assert_eq!(late.scopes[&east].heads, a.scopes[&east].heads);
}

#[test]
fn what_a_session_pushed_itself_comes_back_as_a_count() {
    let mut world = World::new();
    let east = scope("east");
    let (mut a, mut b) = pair(&mut world, &[&east]);
    let changes = [a.edit(id(1), "text=x"), a.edit(id(1), "text=y")];
    a.push(&mut world, &east, id(1), &changes);
    b.take(&mut world);
    let own: Vec<_> = a.feeds.iter().flat_map(|feed| &feed.entries).collect();
    assert_eq!(own, [&Entry::Own { count: 3 }]);
    assert!(matches!(
        &b.feeds[0].entries[..],
        [
            Entry::Attach { .. },
            Entry::Change { .. },
            Entry::Change { .. }
        ]
    ));
    // After a reconnect nobody remembers whose they were.
    a.scopes.clear();
    a.feeds.clear();
    a.connect(&mut world);
    assert!(matches!(
        &a.feeds[0].entries[..],
        [Entry::Attach { .. }, ..]
    ));
}

#[test]
fn a_session_is_fed_no_more_than_its_window_and_goes_on_when_it_has_applied() {
    let mut world = World::new();
    let east = scope("east");
    let mut a = Device::enrolled(&mut world, 1, &[&east]);
    a.connect(&mut world);
    let long = "长".repeat(1_500);
    for n in 0..200 {
        let change = a.edit(id(n), &format!("text={long}"));
        a.push(&mut world, &east, id(n), &[change]);
    }
    let mut b = Device::enrolled(&mut world, 2, &[&east]);
    b.greet(&mut world);
    world.pump();
    let sent = &world.sent[&b.session];
    let feeds: Vec<_> = sent
        .iter()
        .filter(|frame| matches!(frame, Frame::Feed(_)))
        .collect();
    assert!((7..=9).contains(&feeds.len()), "{} frames", feeds.len());
    b.take(&mut world);
    assert_eq!(b.scopes[&east].cursor, 400);
    assert_eq!(b.scopes[&east].digest(), a.scopes[&east].digest());
}

#[test]
fn one_read_serves_all_sessions_at_one_place() {
    let mut world = World::new();
    let east = scope("east");
    let (mut a, mut b) = pair(&mut world, &[&east]);
    let mut c = Device::enrolled(&mut world, 3, &[&east]);
    c.connect(&mut world);
    let reads = world.count("read_feed");
    let change = a.edit(id(1), "text=x");
    a.push(&mut world, &east, id(1), &[change]);
    assert_eq!(world.count("read_feed"), reads + 1);
    b.take(&mut world);
    c.take(&mut world);
    assert_eq!((b.scopes[&east].cursor, c.scopes[&east].cursor), (2, 2));
}

#[test]
fn a_document_in_two_scopes_changes_in_both_feeds_at_once() {
    let mut world = World::new();
    let (east, west) = (scope("east"), scope("west"));
    let mut a = Device::enrolled(&mut world, 1, &[&east]);
    let mut b = Device::enrolled(&mut world, 2, &[&west]);
    let mut both = Device::enrolled(&mut world, 3, &[&east, &west]);
    a.connect(&mut world);
    b.connect(&mut world);
    both.connect(&mut world);
    let changes = [a.edit(id(1), "text=x"), a.edit(id(1), "text=y")];
    a.push(&mut world, &east, id(1), &changes);
    world.place(id(1), &west, true);
    let placed = |result| Output::Placed {
        document: id(1),
        scope: west.clone(),
        attach: true,
        result,
    };
    assert_eq!(world.outputs.last(), Some(&placed(Ok(true))));
    b.take(&mut world);
    assert!(
        matches!(&b.feeds[0].entries[..], [Entry::Attach { changes, .. }] if changes.len() == 2),
        "its changes up to here come with it"
    );
    assert_eq!(b.view_text(id(1), "text"), "y");
    let change = b.edit(id(1), "text=z");
    b.push(&mut world, &west, id(1), &[change]);
    a.take(&mut world);
    both.take(&mut world);
    assert_eq!(a.view_text(id(1), "text"), "z");
    assert_eq!(a.scopes[&east].heads, b.scopes[&west].heads);
    assert_eq!(both.scopes[&east].heads, both.scopes[&west].heads);
    world.place(id(1), &west, true);
    assert_eq!(
        world.outputs.last(),
        Some(&placed(Ok(false))),
        "it is there already"
    );

    world.place(id(1), &west, false);
    b.take(&mut world);
    a.take(&mut world);
    assert!(b.scopes[&west].heads.is_empty());
    assert_eq!(a.scopes[&east].heads.len(), 1, "it stays where it also is");
    let late = b.edit(id(1), "text=too late");
    let ack = b.push(&mut world, &west, id(1), &[late]);
    assert!(
        matches!(&ack.verdicts[0], gridbeat_sync_protocol::Verdict::Refused(reason)
            if reason.code == "document_not_in_scope")
    );
    world.place(id(7), &west, true);
    assert!(matches!(
        world.outputs.last(),
        Some(Output::Placed {
            result: Err(PlaceError::UnknownDocument),
            ..
        })
    ));
}

#[test]
fn placements_and_pushes_of_one_cycle_agree() {
    let mut world = World::new();
    let (east, west) = (scope("east"), scope("west"));
    let mut a = Device::enrolled(&mut world, 1, &[&east]);
    let mut b = Device::enrolled(&mut world, 2, &[&west]);
    a.connect(&mut world);
    b.connect(&mut world);
    let first = a.edit(id(1), "text=x");
    a.push(&mut world, &east, id(1), &[first]);
    // While one cycle is under way, the next gathers an entering, a leaving and a change.
    let other = a.edit(id(2), "text=other");
    a.send(&mut world, &east, &[(id(2), &[other])]);
    world.relay.place(world.now, id(1), west.clone(), true);
    let second = a.edit(id(1), "text=y");
    a.send(&mut world, &east, &[(id(1), &[second])]);
    world.relay.place(world.now, id(1), west.clone(), false);
    world.relay.place(world.now, id(1), west.clone(), true);
    world.pump();
    a.take(&mut world);
    b.take(&mut world);
    assert_eq!(b.view_text(id(1), "text"), "y");
    assert_eq!(b.scopes[&west].cursor, 4, "enters, changes, leaves, enters");
    assert_eq!(b.scopes[&west].heads[&id(1)], a.scopes[&east].heads[&id(1)]);
}
