//! What verbs decide, and when they are looked at.

use std::collections::BTreeMap;

use gridbeat_base::{DeviceId, DocumentId, Random, Verb, Verbs};
use gridbeat_document::Change;
use gridbeat_relay_store::Registry;
use gridbeat_sync_protocol::Verdict;

use crate::device::{Device, document};
use crate::world::{World, scope};

fn id(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 16])
}

fn code(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Known => "known",
        Verdict::Incomplete => "incomplete",
        Verdict::Refused(reason) => &reason.code,
    }
}

/// Has a device bring a change of a new document in another's name; returns what was said.
fn bring(
    world: &mut World,
    device: &mut Device,
    number: u8,
    change: &Change,
    author: DeviceId,
) -> String {
    let pushed = document(
        id(number),
        "note",
        std::slice::from_ref(change),
        Some(author),
    );
    device.send_push(world, &scope("east"), vec![pushed]);
    world.pump();
    device.take(world);
    code(&device.acks.last().unwrap().verdicts[0]).to_owned()
}

#[test]
fn a_right_that_is_taken_while_a_push_is_judged_admits_nothing() {
    for revoked in [false, true] {
        let mut world = World::new();
        let east = scope("east");
        let mut device = Device::enrolled(&mut world, 1, &[&east]);
        device.connect(&mut world);
        let change = device.edit(id(1), "text=x");
        let pushed = document(id(1), "note", &[change], None);
        device.send_push(&mut world, &east, vec![pushed]);
        world.pump_to("commit");
        if revoked {
            world.store.revoke(device.id, world.now.wall).unwrap();
        } else {
            world.grant(device.id, &BTreeMap::from([(east.clone(), Verbs::READ)]));
        }
        world.pump();
        device.take(&mut world);
        if revoked {
            assert_eq!(world.closed_with(device.session).0, "device_revoked");
            assert!(device.acks.is_empty());
        } else {
            assert_eq!(code(&device.acks[0].verdicts[0]), "scope_not_granted");
        }
        assert_eq!(world.relay.counters().changes_accepted, 0);
    }
}

#[test]
fn what_another_brings_back_is_judged_by_all_its_author_ever_held() {
    let mut world = World::new();
    let east = scope("east");
    let mut author = Device::new(1, &[&east]);
    let reporter = Verbs::of(&[Verb::Report]);
    world.grant(author.id, &BTreeMap::from([(east.clone(), reporter)]));
    let mut finder = Device::enrolled(&mut world, 2, &[&east]);
    finder.connect(&mut world);

    let begun = author.edit(id(1), "text=x");
    let edited = author.edit(id(1), "text=y");
    assert_eq!(
        bring(&mut world, &mut finder, 1, &begun, author.id),
        "accepted"
    );
    let said = bring(&mut world, &mut finder, 1, &edited, author.id);
    assert_eq!(said, "edit_not_granted");

    // Moved away and then revoked, the author did this when it was allowed.
    world.grant(author.id, &BTreeMap::new());
    world.store.revoke(author.id, world.now.wall).unwrap();
    let second = author.edit(id(2), "text=x");
    assert_eq!(
        bring(&mut world, &mut finder, 2, &second, author.id),
        "accepted"
    );

    // Nobody of that name was ever here: unless a backup was restored, which would not know.
    let mut stranger = Device::new(9, &[&east]);
    let third = stranger.edit(id(3), "text=x");
    let said = bring(&mut world, &mut finder, 3, &third, stranger.id);
    assert_eq!(said, "report_not_granted");
    world
        .store
        .new_incarnation(gridbeat_base::WallTime(1), &mut Random::from_number(5))
        .unwrap();
    world.restart();
    finder.connect(&mut world);
    assert_eq!(
        bring(&mut world, &mut finder, 3, &third, stranger.id),
        "accepted"
    );
}
