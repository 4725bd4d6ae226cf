//! What is accepted, when it is acknowledged, and what is refused beside it.

use gridbeat_base::{DocumentId, Verbs};
use gridbeat_relay_core::{Config, Output};
use gridbeat_relay_store::{RecordFilter, RefusedFilter};
use gridbeat_sync_protocol::{Frame, Verdict};

use crate::device::{Device, document};
use crate::note::stranger;
use crate::world::{World, scope};

fn id(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 16])
}

fn code(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Refused(reason) => &reason.code,
        Verdict::Accepted | Verdict::Known | Verdict::Incomplete => panic!("{verdict:?}"),
    }
}

#[test]
fn a_push_is_acknowledged_after_its_commit_and_not_before() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let change = device.edit(id(9), "text=hello");
    device.send(&mut world, &east, &[(id(9), std::slice::from_ref(&change))]);
    world.pump_to("commit");
    assert!(world.sent.is_empty(), "nothing is said before the commit");
    assert!(!world.store.contains(id(9), &change.hash).unwrap());
    world.step();
    assert!(world.store.contains(id(9), &change.hash).unwrap());
    let frame = world.sent[&device.session].front().cloned().unwrap();
    let Frame::Ack(ack) = frame else {
        panic!("{frame:?}");
    };
    assert_eq!(ack.first_seq, Some(1));
    assert_eq!(
        (ack.attached, ack.verdicts),
        (vec![true], vec![Verdict::Accepted])
    );
    assert_eq!(ack.received, world.now.wall);
    world.pump();
    device.take(&mut world);
    assert_eq!(device.scopes[&east].cursor, 2);
    assert!(world.outputs.contains(&Output::Committed {
        documents: vec![id(9)]
    }));
}

#[test]
fn pushes_of_many_sessions_share_one_commit() {
    let mut world = World::new();
    let east = scope("east");
    let mut devices: Vec<_> = (1..=5)
        .map(|number| Device::enrolled(&mut world, number, &[&east]))
        .collect();
    for device in &mut devices {
        device.connect(&mut world);
    }
    // The first push starts a cycle; the others come while it is under way.
    for (number, device) in (1..).zip(&mut devices) {
        for n in 0..3 {
            let change = device.edit(id(number), &format!("text={n}"));
            device.send(&mut world, &east, &[(id(number), &[change])]);
        }
    }
    world.pump();
    assert_eq!(world.count("commit"), 2, "{:?}", world.done);
    for device in &mut devices {
        device.take(&mut world);
        assert_eq!(device.acks.len(), 3);
        assert_eq!(device.scopes[&east].cursor, 20);
    }
    assert_eq!(world.relay.counters().commit_changes_most, 14);
}

#[test]
fn sessions_take_turns_however_much_one_has_to_push() {
    let mut world = World::new();
    let east = scope("east");
    let mut heavy = Device::enrolled(&mut world, 1, &[&east]);
    let mut light = Device::enrolled(&mut world, 2, &[&east]);
    heavy.connect(&mut world);
    light.connect(&mut world);
    let changes: Vec<_> = (0..390)
        .map(|n| heavy.edit(id(1), &format!("text={n}")))
        .collect();
    for part in changes.chunks(130) {
        heavy.send(&mut world, &east, &[(id(1), part)]);
    }
    let change = light.edit(id(2), "text=short");
    light.send(&mut world, &east, &[(id(2), &[change])]);
    // One cycle for the heavy device's first push, which came alone. In the next both have a turn.
    world.pump_to("commit");
    world.step();
    world.pump_to("commit");
    world.step();
    light.take_sent(&mut world);
    assert_eq!(
        light.acks.len(),
        1,
        "the light device is answered in the second cycle"
    );
    world.pump();
    heavy.take(&mut world);
    light.take(&mut world);
    assert_eq!(heavy.acks.len(), 3);
    assert_eq!(heavy.scopes[&east].digest(), light.scopes[&east].digest());
}

#[test]
fn what_is_pushed_again_is_known_and_changes_nothing() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let changes = [device.edit(id(9), "text=a"), device.edit(id(9), "text=b")];
    device.push(&mut world, &east, id(9), &changes);
    let commits = world.count("commit");
    for _ in 0..3 {
        device.connect(&mut world);
        let ack = device.push(&mut world, &east, id(9), &changes);
        assert_eq!(ack.verdicts, [Verdict::Known, Verdict::Known]);
        assert_eq!((ack.first_seq, ack.attached), (None, vec![false]));
    }
    // The same again beside something that is not known yet.
    let more = [changes[1].clone(), device.edit(id(9), "text=c")];
    let ack = device.push(&mut world, &east, id(9), &more);
    assert_eq!(ack.verdicts, [Verdict::Known, Verdict::Accepted]);
    assert_eq!(ack.first_seq, Some(4));
    assert_eq!(
        world.count("commit"),
        commits + 1,
        "what is known needs no commit"
    );
    let counters = world.relay.counters();
    assert_eq!((counters.changes_accepted, counters.changes_known), (3, 7));
    world.restart();
    device.connect(&mut world);
    let ack = device.push(&mut world, &east, id(9), &more);
    assert_eq!(ack.verdicts, [Verdict::Known, Verdict::Known], "for ever");
}

#[test]
fn the_same_change_in_two_pushes_of_one_cycle_is_logged_once() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    let mut twin = Device::enrolled(&mut world, 2, &[&east]);
    device.connect(&mut world);
    twin.connect(&mut world);
    let change = device.edit(id(9), "text=a");
    let copy = document(
        id(9),
        "note",
        std::slice::from_ref(&change),
        Some(device.id),
    );
    // Occupies the first cycle.
    let other = twin.edit(id(8), "text=b");
    twin.send(&mut world, &east, &[(id(8), &[other])]);
    device.send(&mut world, &east, &[(id(9), &[change])]);
    twin.send_push(&mut world, &east, vec![copy]);
    world.pump();
    device.take(&mut world);
    twin.take(&mut world);
    assert_eq!(device.acks[0].verdicts, [Verdict::Accepted]);
    assert_eq!(twin.acks[1].verdicts, [Verdict::Known]);
    assert_eq!(twin.scopes[&east].cursor, 4);
}

#[test]
fn a_refused_change_does_not_hold_up_the_honest_ones_beside_it() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let good = device.edit(id(1), "text=fine");
    let bad = device.edit(id(2), "forbidden=yes");
    let after = device.edit(id(2), "text=later");
    let fine = device.edit(id(3), "text=fine too");
    let garbage = {
        let mut change = fine.clone();
        change.bytes = vec![7; 20];
        change
    };
    device.send(
        &mut world,
        &east,
        &[
            (id(1), &[good]),
            (id(2), &[bad.clone(), after]),
            (id(3), &[fine]),
            (id(4), &[garbage]),
        ],
    );
    world.pump();
    device.take(&mut world);
    let ack = &device.acks[0];
    assert_eq!(ack.verdicts[0], Verdict::Accepted);
    assert_eq!(code(&ack.verdicts[1]), "field_is_closed");
    assert_eq!(
        ack.verdicts[2],
        Verdict::Incomplete,
        "it was made on the refused one"
    );
    assert_eq!(ack.verdicts[3], Verdict::Accepted);
    assert_eq!(code(&ack.verdicts[4]), "not_a_change");
    assert_eq!(
        ack.attached,
        [true, false, true, false],
        "nothing begins by a refusal"
    );
    assert_eq!(device.scopes[&east].cursor, 4);
    let quarantine = world.store.refused(&RefusedFilter::default(), 10).unwrap();
    assert_eq!(quarantine.len(), 2);
    assert_eq!(quarantine[1].hash, Some(bad.hash));
    let kept = world.store.refused_change(quarantine[1].id).unwrap();
    assert_eq!(kept.unwrap().1, bad.bytes);
    assert_eq!(
        (quarantine[0].hash, quarantine[0].reason.code.as_str()),
        (None, "not_a_change")
    );
    let Verdict::Refused(reason) = &ack.verdicts[1] else {
        panic!("it was refused");
    };
    assert_eq!(
        (reason.en.as_str(), reason.zh.as_str()),
        ("this field is closed", "此字段已关闭")
    );
}

#[test]
fn nothing_is_admitted_beyond_the_grants() {
    let mut world = World::new();
    let (east, west, north) = (scope("east"), scope("west"), scope("north"));
    let mut owner = Device::enrolled(&mut world, 1, &[&west]);
    let mut device = Device::new(2, &[&east]);
    let grants = [(east.clone(), Verbs::WORK), (north.clone(), Verbs::READ)];
    world.grant(device.id, &grants.into());
    owner.connect(&mut world);
    device.connect(&mut world);
    let first = owner.edit(id(1), "text=theirs");
    owner.push(&mut world, &west, id(1), &[first]);

    let change = device.edit(id(2), "text=mine");
    for forbidden in [&west, &north, &scope("nowhere")] {
        let ack = device.push(&mut world, forbidden, id(2), std::slice::from_ref(&change));
        assert_eq!(code(&ack.verdicts[0]), "scope_not_granted");
    }
    // Nor into a document of another scope by naming one's own.
    let intrusion = device.edit(id(1), "text=intrusion");
    let ack = device.push(&mut world, &east, id(1), &[intrusion]);
    assert_eq!(code(&ack.verdicts[0]), "document_not_in_scope");
    assert_eq!(device.scopes[&east].cursor, 0);
    owner.take(&mut world);
    assert_eq!(owner.scopes[&west].cursor, 2);
    assert!(
        !device.scopes.contains_key(&west),
        "and nothing of it is told"
    );
}

#[test]
fn kinds_and_versions_that_the_relay_does_not_know_are_refused() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let strange = device.edit_of(&stranger(), id(1), "text=x");
    let strange = document(id(1), "stranger", &[strange], None);
    let change = device.edit(id(2), "text=x");
    let mut newer = document(id(2), "note", std::slice::from_ref(&change), None);
    newer.schema_version = 2;
    let mut zero = newer.clone();
    (zero.document, zero.schema_version) = (id(3), 0);
    device.send_push(&mut world, &east, vec![strange, newer, zero]);
    world.pump();
    device.take(&mut world);
    let codes: Vec<_> = device.acks[0].verdicts.iter().map(code).collect();
    assert_eq!(codes, ["unknown_kind", "unknown_schema", "unknown_schema"]);
    let ack = device.push(&mut world, &east, id(2), &[change]);
    assert_eq!(ack.verdicts, [Verdict::Accepted]);
    let next = device.edit(id(2), "text=y");
    let other = document(id(2), "stranger", &[next], None);
    device.send_push(&mut world, &east, vec![other]);
    world.pump();
    device.take(&mut world);
    assert_eq!(code(&device.acks[2].verdicts[0]), "other_kind");
}

#[test]
fn a_change_without_its_dependencies_is_incomplete_until_they_come() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let first = device.edit(id(1), "text=a");
    let second = device.edit(id(1), "text=b");
    let ack = device.push(&mut world, &east, id(1), std::slice::from_ref(&second));
    assert_eq!(
        (ack.verdicts, ack.attached),
        (vec![Verdict::Incomplete], vec![false])
    );
    // A push is in causal order; one that is not is not sorted for the device.
    let ack = device.push(&mut world, &east, id(1), &[second.clone(), first]);
    assert_eq!(ack.verdicts, [Verdict::Incomplete, Verdict::Accepted]);
    let ack = device.push(&mut world, &east, id(1), &[second]);
    assert_eq!(ack.verdicts, [Verdict::Accepted]);
    assert_eq!(device.scopes[&east].cursor, 3);
}

#[test]
fn a_device_that_begins_too_many_documents_is_refused_for_the_rest_of_the_hour() {
    let mut world = World::with(Config {
        new_documents_per_hour_max: Some(2),
        ..Config::default()
    });
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let changes: Vec<_> = (1..=4).map(|n| device.edit(id(n), "text=x")).collect();
    let begin = |device: &mut Device, world: &mut World, n: u8| {
        device.push(
            world,
            &east,
            id(n),
            &changes[usize::from(n) - 1..usize::from(n)],
        )
    };
    assert_eq!(
        begin(&mut device, &mut world, 1).verdicts,
        [Verdict::Accepted]
    );
    assert_eq!(
        begin(&mut device, &mut world, 2).verdicts,
        [Verdict::Accepted]
    );
    assert_eq!(
        code(&begin(&mut device, &mut world, 3).verdicts[0]),
        "too_many_documents"
    );
    let more = device.edit(id(1), "text=y");
    assert_eq!(
        device.push(&mut world, &east, id(1), &[more]).verdicts,
        [Verdict::Accepted]
    );
    world.wait(std::time::Duration::from_secs(3601));
    assert_eq!(
        begin(&mut device, &mut world, 4).verdicts,
        [Verdict::Accepted]
    );
}

#[test]
fn a_record_is_written_in_the_commit_of_the_change() {
    let mut world = World::new();
    let east = scope("east");
    let mut device = Device::enrolled(&mut world, 1, &[&east]);
    device.connect(&mut world);
    let changes = [
        device.edit(id(1), "text=占道经营"),
        device.edit(id(1), "status=closed"),
    ];
    device.push(&mut world, &east, id(1), &changes[..1]);
    let row = world
        .store
        .records(&RecordFilter::default(), 9)
        .unwrap()
        .remove(0);
    assert_eq!(
        (row.document, row.fields.is_open, row.fields.text.as_str()),
        (id(1), true, "占道经营")
    );
    world.now.wall.0 += 5_000;
    device.push(&mut world, &east, id(1), &changes[1..]);
    let row = world
        .store
        .records(&RecordFilter::default(), 9)
        .unwrap()
        .remove(0);
    assert!(!row.fields.is_open);
    assert_eq!((row.updated, row.scopes), (world.now.wall, vec![east]));
}
