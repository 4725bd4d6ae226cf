//! The quarantine: what lies in it holds nothing up, fills no disk, and is an operator's to discard.

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, WallTime};
use gridbeat_relay_core::{Batch, RefusedChange, Task};
use gridbeat_relay_store::{
    Discarded, QUARANTINE_BYTES_MAX, QUARANTINE_CHANGES_MAX, RefusedFilter, Store as _,
};
use gridbeat_sync_protocol::{Reason, Verdict};

use crate::device::Device;
use crate::world::{World, scope};

fn id(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 16])
}

fn refused(number: u64, size: usize) -> RefusedChange {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    RefusedChange {
        device: DeviceId::from_bytes([9; 16]),
        scope: scope("east"),
        document: id(1),
        hash: Some(ChangeHash::new(hash)),
        reason: Reason {
            code: "unknown_kind".to_owned(),
            en: "the relay does not know this kind of record".to_owned(),
            zh: "服务端不支持此类记录".to_owned(),
        },
        size_bytes: size as u64,
        bytes: vec![7; size],
    }
}

fn refuse(world: &mut World, received: i64, refused: Vec<RefusedChange>) {
    let batch = Batch {
        received: WallTime(received),
        refused,
        ..Batch::default()
    };
    world.store.run(&Task::Commit(Box::new(batch))).unwrap();
}

fn all() -> RefusedFilter {
    RefusedFilter::default()
}

#[test]
fn poison_holds_up_no_other_record_and_no_other_device() {
    let mut world = World::new();
    let east = scope("east");
    let mut bad = Device::enrolled(&mut world, 1, &[&east]);
    let mut good = Device::enrolled(&mut world, 2, &[&east]);
    bad.connect(&mut world);
    good.connect(&mut world);
    let honest = bad.edit(id(1), "text=from the device that also sends poison");
    let poison: Vec<_> = (2..=6)
        .map(|n| (id(n), [bad.edit(id(n), "forbidden=yes")]))
        .collect();
    let mut push: Vec<(DocumentId, &[_])> = vec![(id(1), std::slice::from_ref(&honest))];
    push.extend(poison.iter().map(|(id, changes)| (*id, changes.as_slice())));
    bad.send(&mut world, &east, &push);
    let theirs: Vec<_> = (11..=15)
        .map(|n| (id(n), [good.edit(id(n), "text=fine")]))
        .collect();
    let push: Vec<(DocumentId, &[_])> = theirs
        .iter()
        .map(|(id, changes)| (*id, changes.as_slice()))
        .collect();
    good.send(&mut world, &east, &push);
    world.pump();
    bad.take(&mut world);
    good.take(&mut world);
    assert_eq!(good.acks[0].verdicts, vec![Verdict::Accepted; 5]);
    assert_eq!(bad.acks[0].verdicts[0], Verdict::Accepted);
    let poisoned = &bad.acks[0].verdicts[1..];
    assert!(poisoned.iter().all(|it| matches!(it, Verdict::Refused(_))));
    assert_eq!(world.store.refused(&all(), 100).unwrap().len(), 5);

    // The refused records begin anew by another device, and the one that sent poison goes on.
    let later = good.edit(id(2), "text=begun anew");
    let acked = good.push(&mut world, &east, id(2), &[later]);
    assert_eq!(acked.verdicts, [Verdict::Accepted]);
    let more = bad.edit(id(1), "text=and goes on");
    let acked = bad.push(&mut world, &east, id(1), &[more]);
    assert_eq!(acked.verdicts, [Verdict::Accepted]);
}

#[test]
fn a_refused_change_is_kept_once_with_the_words_its_device_was_told() {
    let mut world = World::new();
    for received in [1, 2] {
        refuse(&mut world, received, vec![refused(3, 3)]);
    }
    let rows = world.store.refused(&all(), 10).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].received, WallTime(1));
    assert_eq!(rows[0].reason, refused(3, 3).reason);
    let (row, bytes) = world.store.refused_change(rows[0].id).unwrap().unwrap();
    assert_eq!(
        (row.size_bytes, row.has_bytes, bytes),
        (3, true, vec![7; 3])
    );
    assert_eq!(world.store.refused_change(rows[0].id + 1).unwrap(), None);
}

#[test]
fn the_quarantine_is_listed_by_device_document_and_rule() {
    let mut world = World::new();
    let mut other = refused(2, 1);
    other.device = DeviceId::from_bytes([8; 16]);
    other.document = id(2);
    other.reason.code = "breaks_document".to_owned();
    refuse(&mut world, 1, vec![refused(1, 1), other, refused(3, 1)]);
    let count = |filter: &RefusedFilter| world.store.refused(filter, 100).unwrap().len();
    assert_eq!(count(&all()), 3);
    let by_device = RefusedFilter {
        device: Some(DeviceId::from_bytes([8; 16])),
        ..all()
    };
    assert_eq!(count(&by_device), 1);
    let by_document = RefusedFilter {
        document: Some(id(1)),
        ..all()
    };
    assert_eq!(count(&by_document), 2);
    let by_rule = RefusedFilter {
        rule: Some("breaks_document".to_owned()),
        ..all()
    };
    assert_eq!(count(&by_rule), 1);
    let first = world.store.refused(&all(), 2).unwrap();
    let next = RefusedFilter {
        before: Some(first[1].id),
        ..all()
    };
    assert_eq!(count(&next), 1);
}

#[test]
fn what_is_discarded_leaves_what_it_was_who_and_why() {
    let mut world = World::new();
    refuse(&mut world, 1, vec![refused(1, 100), refused(2, 50)]);
    let device = DeviceId::from_bytes([9; 16]);
    assert_eq!(world.store.refused_room(device).unwrap().bytes, 150);
    let oldest = world.store.refused(&all(), 10).unwrap()[1].id;
    let how = Discarded {
        at: WallTime(5),
        by: "lin".to_owned(),
        why: "seen to with the officer".to_owned(),
    };
    assert!(world.store.discard_refused(oldest, &how).unwrap());
    assert!(!world.store.discard_refused(oldest, &how).unwrap());
    assert!(!world.store.discard_refused(oldest + 9, &how).unwrap());
    let log = world.store.operations(0, 100).unwrap();
    let on_record = log.iter().filter(|it| it.verb == "quarantine discard");
    let on_record: Vec<_> = on_record
        .map(|it| (it.who.as_str(), it.why.as_str(), it.details.clone()))
        .collect();
    let expected = (
        "lin",
        "seen to with the officer",
        format!("number={oldest}"),
    );
    assert_eq!(on_record, [expected], "once, as it was done once");
    let (row, bytes) = world.store.refused_change(oldest).unwrap().unwrap();
    assert_eq!(row.discarded, Some(how));
    assert_eq!((row.hash, row.size_bytes), (refused(1, 0).hash, 100));
    assert!(!row.has_bytes && bytes.is_empty());
    let room = world.store.refused_room(device).unwrap();
    assert_eq!((room.changes, room.bytes), (1, 50));
    // The device offers it again: it is known to have been discarded.
    refuse(&mut world, 9, vec![refused(1, 100)]);
    assert_eq!(world.store.refused(&all(), 10).unwrap().len(), 2);
}

#[test]
fn a_device_may_leave_only_so_much() {
    let mut world = World::new();
    let size = 64 * 1024;
    let fitting = QUARANTINE_BYTES_MAX / size as u64;
    let many = (0..fitting + 3).map(|n| refused(n, size)).collect();
    refuse(&mut world, 1, many);
    let device = DeviceId::from_bytes([9; 16]);
    let room = world.store.refused_room(device).unwrap();
    assert_eq!(room.bytes, QUARANTINE_BYTES_MAX);
    assert_eq!(room.changes, fitting + 3);
    let latest = &world.store.refused(&all(), 1).unwrap()[0];
    assert_eq!((latest.size_bytes, latest.has_bytes), (size as u64, false));

    let named = (1_000..1_000 + QUARANTINE_CHANGES_MAX).map(|n| refused(n, 0));
    refuse(&mut world, 2, named.collect());
    let room = world.store.refused_room(device).unwrap();
    assert_eq!(room.changes, QUARANTINE_CHANGES_MAX);
    assert_eq!(room.beyond, fitting + 3);
    // Another device has its own room.
    let mut other = refused(1, 10);
    other.device = DeviceId::from_bytes([8; 16]);
    refuse(&mut world, 3, vec![other.clone()]);
    assert_eq!(world.store.refused_room(other.device).unwrap().bytes, 10);
}
