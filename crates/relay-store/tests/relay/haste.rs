//! A hasty device delays nobody else, and one that breaks the rules again and again is kept out for a while.

use std::time::Duration;

use gridbeat_base::DocumentId;
use gridbeat_sync_protocol::limits::PUSH_DOCUMENTS_MAX;
use gridbeat_sync_protocol::{Applied, Frame, PushDocument};

use crate::device::{Device, document};
use crate::world::{World, device, scope};

/// A document's id that no other of these tests uses.
fn id(number: u32) -> DocumentId {
    let mut bytes = [0x77; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    DocumentId::from_bytes(bytes)
}

/// The most documents that a push may have.
const FULL: u32 = PUSH_DOCUMENTS_MAX as u32;

/// Makes so many, from that number on.
fn full(device: &mut Device, from: u32) -> Vec<PushDocument> {
    (from..from + FULL)
        .map(|number| {
            let change = device.edit(id(number), "text=x");
            document(id(number), "note", &[change], None)
        })
        .collect()
}

#[test]
fn a_device_that_pushes_without_end_takes_no_time_from_one_that_does_not() {
    let mut world = World::new();
    let (east, west) = (scope("east"), scope("west"));
    let mut hasty = Device::enrolled(&mut world, 1, &[&east]);
    let mut officer = Device::enrolled(&mut world, 2, &[&west]);
    hasty.connect(&mut world);
    officer.connect(&mut world);
    let mut documents = 0;
    let (mut waited_for, mut answered) = (0, 0);
    let begun = officer.edit(id(1_000_000), "text=begun");
    officer.push(&mut world, &west, id(1_000_000), &[begun]);
    for second in 0..60 {
        // As many as it has answers for: it always has six under way.
        while hasty.acks.len() + 6 > answered {
            let push = full(&mut hasty, documents);
            documents += FULL;
            answered += 1;
            hasty.send_push(&mut world, &east, push);
        }
        let change = officer.edit(id(1_000_000), &format!("text={second}"));
        let before = world.count("commit");
        officer.send(&mut world, &west, &[(id(1_000_000), &[change])]);
        world.pump_to("commit");
        while officer.acks.len() < second + 2 {
            world.step();
            officer.take_sent(&mut world);
        }
        waited_for = waited_for.max(world.count("commit") - before);
        world.pump();
        hasty.take(&mut world);
        officer.take(&mut world);
        world.wait(Duration::from_secs(1));
    }
    // Four at once; then 10 documents a second, which is a push in six.
    let pushes = hasty.acks.len();
    assert!((12..=14).contains(&pushes), "{pushes} pushes in a minute");
    // And never two in one cycle: whoever comes meanwhile waits for one.
    let most = world.relay.counters().commit_changes_most;
    assert!(most <= u64::from(FULL) + 1, "{most} changes in a cycle");
    assert_eq!(officer.acks.len(), 61);
    // The cycle under way, and its own.
    assert!(waited_for <= 2, "it waited for {waited_for} commits");
}

#[test]
fn a_device_that_is_alone_is_served_as_fast_as_it_pushes() {
    let mut world = World::new();
    let east = scope("east");
    let mut hasty = Device::enrolled(&mut world, 1, &[&east]);
    hasty.connect(&mut world);
    for number in 0..10 {
        let push = full(&mut hasty, number * FULL);
        hasty.send_push(&mut world, &east, push);
        world.pump();
        hasty.take(&mut world);
    }
    assert_eq!(hasty.acks.len(), 10);
}

#[test]
fn a_device_that_breaks_the_rules_again_and_again_is_kept_out_in_words_and_comes_back() {
    let mut world = World::new();
    let east = scope("east");
    let mut rude = Device::enrolled(&mut world, 1, &[&east]);
    for _ in 0..5 {
        let session = world.connect(device(1));
        let applied = Applied {
            scope: east.clone(),
            seq: 1,
        };
        world.deliver(session, Frame::Applied(applied));
        assert!(world.closed.contains_key(&session));
    }
    let session = world.connect(device(1));
    assert_eq!(world.closed_with(session), ("device_suspended", 600));
    assert_eq!(world.relay.counters().sessions_suspended, 1);
    // Others come and go as ever.
    let mut officer = Device::enrolled(&mut world, 2, &[&east]);
    officer.connect(&mut world);
    world.wait(Duration::from_secs(600));
    rude.connect(&mut world);
    let change = rude.edit(id(1), "text=x");
    let ack = rude.push(&mut world, &east, id(1), &[change]);
    assert_eq!(ack.first_seq, Some(1));
}

#[test]
fn bytes_that_are_no_frames_count_as_broken_rules() {
    let mut world = World::new();
    let east = scope("east");
    Device::enrolled(&mut world, 1, &[&east]);
    for _ in 0..5 {
        let session = world.connect(device(1));
        world.relay.misbehaved(world.now, session);
    }
    let session = world.connect(device(1));
    assert_eq!(world.closed_with(session).0, "device_suspended");
}
