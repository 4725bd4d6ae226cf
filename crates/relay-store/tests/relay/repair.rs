//! Reconciliation: restored relays, lost devices, and what changes meanwhile.

use std::fs;

use gridbeat_base::{DocumentId, Scope};
use gridbeat_relay_core::SessionId;
use gridbeat_sync_protocol::{Frame, Reconcile, Verdict};

use crate::device::Device;
use crate::world::{World, scope};

fn id(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 16])
}

fn in_sync(world: &World, device: &Device, scope: &Scope) {
    let rows = world.store.scopes().unwrap();
    let row = rows.iter().find(|row| row.scope == *scope).unwrap();
    let mirror = &device.scopes[scope];
    assert_eq!((mirror.cursor, mirror.digest()), (row.head, row.digest));
}

/// Takes a backup, runs `then`, and puts the backup back.
fn restore_after(world: &mut World, then: impl FnOnce(&mut World)) {
    world.restart();
    let backup = world.path().with_extension("backup");
    fs::copy(world.path(), &backup).unwrap();
    then(world);
    // Ends the relay before its file is replaced.
    world.restart();
    fs::remove_file(world.path().with_extension("db-wal")).ok();
    fs::remove_file(world.path().with_extension("db-shm")).ok();
    fs::copy(&backup, world.path()).unwrap();
    world.restart();
}

#[test]
fn a_restored_relay_gets_back_what_any_device_still_holds() {
    let mut world = World::new();
    let east = scope("east");
    let mut author = Device::enrolled(&mut world, 1, &[&east]);
    let mut reader = Device::enrolled(&mut world, 2, &[&east]);
    author.connect(&mut world);
    let before = author.edit(id(1), "text=before");
    author.push(&mut world, &east, id(1), &[before]);
    let mut lost = Vec::new();
    let first = world.store.incarnation();
    restore_after(&mut world, |world| {
        author.connect(world);
        reader.connect(world);
        lost.push((id(1), author.edit(id(1), "text=after")));
        lost.push((id(2), author.edit(id(2), "text=new")));
        for (document, change) in &lost {
            author.push(world, &east, *document, std::slice::from_ref(change));
        }
        reader.take(world);
    });
    assert_ne!(
        world.store.incarnation(),
        first,
        "the restored file is noticed"
    );
    for (document, change) in &lost {
        assert!(!world.store.contains(*document, &change.hash).unwrap());
    }

    // The author is gone for good; another device holds what it wrote.
    reader.connect(&mut world);
    assert!(!reader.welcome.as_ref().unwrap().scopes[0].digest_agrees);
    reader.reconcile(&mut world, &east);
    in_sync(&world, &reader, &east);
    for (document, change) in &lost {
        assert!(world.store.contains(*document, &change.hash).unwrap());
    }
    let counters = world.relay.counters();
    assert_eq!(
        (counters.changes_accepted, counters.changes_recovered),
        (2, 2)
    );
    assert_eq!(
        (counters.reconciliations, counters.digest_mismatches),
        (1, 0)
    );

    // When the author comes back after all, nothing is there twice.
    author.connect(&mut world);
    author.reconcile(&mut world, &east);
    in_sync(&world, &author, &east);
    assert_eq!(world.relay.counters().changes_accepted, 2);
    let mut late = Device::enrolled(&mut world, 3, &[&east]);
    late.connect(&mut world);
    in_sync(&world, &late, &east);
    assert_eq!(late.view_text(id(1), "text"), "after");
}

#[test]
fn after_a_restore_a_document_comes_back_into_both_its_scopes() {
    let mut world = World::new();
    let (east, west) = (scope("east"), scope("west"));
    let mut a = Device::enrolled(&mut world, 1, &[&east]);
    let mut b = Device::enrolled(&mut world, 2, &[&west]);
    let mut stranger = Device::enrolled(&mut world, 3, &[&scope("north")]);
    restore_after(&mut world, |world| {
        a.connect(world);
        b.connect(world);
        stranger.connect(world);
        let change = a.edit(id(1), "text=shared");
        a.push(world, &east, id(1), &[change]);
        world.place(id(1), &west, true);
        b.take(world);
    });
    b.connect(&mut world);
    b.reconcile(&mut world, &west);
    in_sync(&world, &b, &west);
    a.connect(&mut world);
    a.reconcile(&mut world, &east);
    a.take(&mut world);
    in_sync(&world, &a, &east);
    let change = a.edit(id(1), "text=still shared");
    let ack = a.push(&mut world, &east, id(1), &[change]);
    assert_eq!(ack.verdicts, [Verdict::Accepted]);
    b.take(&mut world);
    assert_eq!(b.view_text(id(1), "text"), "still shared");

    // Somebody who never held it does not get it by naming it.
    stranger.incarnation = Some(gridbeat_base::Incarnation::new([1; 16]));
    stranger.connect(&mut world);
    let guess = stranger.edit(id(1), "text=let me in");
    let ack = stranger.push(&mut world, &scope("north"), id(1), &[guess]);
    assert!(matches!(&ack.verdicts[0], Verdict::Refused(reason)
        if reason.code == "document_not_in_scope"));
}

#[test]
fn a_document_taken_out_of_a_scope_stays_out_whatever_a_device_of_another_life_says() {
    let mut world = World::new();
    let (east, west) = (scope("east"), scope("west"));
    let mut late = Device::enrolled(&mut world, 1, &[&east]);
    late.connect(&mut world);
    let before = late.edit(id(1), "text=before");
    late.push(&mut world, &east, id(1), std::slice::from_ref(&before));
    late.disconnect(&mut world);
    world.place(id(1), &west, true);
    world.place(id(1), &east, false);
    restore_after(&mut world, |world| {
        Device::enrolled(world, 2, &[&west]);
    });
    let taken_out = world.store.scopes().unwrap();

    // It still has what it was told in that life, as a greeting that is replayed has.
    late.greet(&mut world);
    assert_ne!(late.incarnation, Some(world.store.incarnation()));
    let after = late.edit(id(1), "text=after");
    late.send(&mut world, &east, &[(id(1), &[before, after])]);
    world.pump();
    late.take(&mut world);
    let verdicts = &late.acks.last().unwrap().verdicts;
    assert_eq!(verdicts[0], Verdict::Known);
    assert!(matches!(&verdicts[1], Verdict::Refused(reason)
        if reason.code == "document_not_in_scope"));
    late.reconcile(&mut world, &east);
    assert_eq!(world.store.scopes().unwrap(), taken_out);
}

#[test]
fn what_is_said_again_after_a_restore_puts_no_document_back_before_the_scope_is_compared() {
    let mut world = World::new();
    let (east, west) = (scope("east"), scope("west"));
    let mut a = Device::enrolled(&mut world, 1, &[&east]);
    let mut b = Device::enrolled(&mut world, 2, &[&west]);
    let mut changes = Vec::new();
    restore_after(&mut world, |world| {
        a.connect(world);
        b.connect(world);
        changes.push(a.edit(id(1), "text=shared"));
        a.push(world, &east, id(1), &changes);
        world.place(id(1), &west, true);
        b.take(world);
    });
    b.connect(&mut world);
    b.reconcile(&mut world, &west);
    let in_west_alone = world.store.scopes().unwrap();

    // As a network that recorded it can say it again.
    a.greet(&mut world);
    changes.push(a.edit(id(1), "text=unsent"));
    a.send(&mut world, &east, &[(id(1), &changes)]);
    world.pump();
    a.take(&mut world);
    assert_eq!(
        a.acks.last().unwrap().verdicts,
        [Verdict::Incomplete, Verdict::Incomplete]
    );
    assert_eq!(world.store.scopes().unwrap(), in_west_alone);

    // Only the device itself can go on and compare.
    a.reconcile(&mut world, &east);
    in_sync(&world, &a, &east);
    b.take(&mut world);
    assert_eq!(b.view_text(id(1), "text"), "unsent");
}

#[test]
fn a_device_that_lost_documents_gets_them_by_comparing() {
    let mut world = World::new();
    let east = scope("east");
    let mut author = Device::enrolled(&mut world, 1, &[&east]);
    author.connect(&mut world);
    for n in 0..60 {
        let change = author.edit(id(n), &format!("text={}", "长".repeat(3_000)));
        author.push(&mut world, &east, id(n), &[change]);
    }
    let mut reader = Device::enrolled(&mut world, 2, &[&east]);
    reader.connect(&mut world);
    in_sync(&world, &reader, &east);
    let mirror = reader.scopes.get_mut(&east).unwrap();
    for n in 0..55 {
        mirror.lose(id(n));
    }
    reader.connect(&mut world);
    assert!(!reader.welcome.as_ref().unwrap().scopes[0].digest_agrees);
    assert_eq!(world.relay.counters().digest_mismatches, 1);
    let compares = world.count("compare");
    reader.reconcile(&mut world, &east);
    in_sync(&world, &reader, &east);
    assert!(
        world.count("compare") > compares + 1,
        "a long answer comes in parts"
    );
}

#[test]
fn what_changes_during_a_reconciliation_is_fed_after_it() {
    let mut world = World::new();
    let east = scope("east");
    let mut author = Device::enrolled(&mut world, 1, &[&east]);
    let mut reader = Device::enrolled(&mut world, 2, &[&east]);
    author.connect(&mut world);
    let first = author.edit(id(1), "text=1");
    author.push(&mut world, &east, id(1), &[first]);
    reader.connect(&mut world);
    reader.incarnation = Some(gridbeat_base::Incarnation::new([9; 16]));
    reader.greet(&mut world);
    world.pump();
    reader.take(&mut world);
    // The inventory is taken before another change comes, and answered after it.
    let (_, message) = gridbeat_sync_protocol::Reconciler::initiate([]);
    let frame = Reconcile {
        scope: east.clone(),
        seq: 0,
        message,
    };
    world.deliver(reader.session, Frame::Reconcile(frame));
    world.pump_to("inventory");
    world.step();
    let second = author.edit(id(1), "text=2");
    author.push(&mut world, &east, id(1), &[second]);
    let frames = world.sent.remove(&reader.session).unwrap();
    assert!(
        matches!(&frames.iter().collect::<Vec<_>>()[..], [Frame::Reconcile(answer)] if answer.seq == 2),
        "no entry comes in between: {frames:?}"
    );
    let compare = gridbeat_sync_protocol::Compare {
        scope: east.clone(),
        documents: Vec::new(),
        last: true,
    };
    world.deliver(reader.session, Frame::Compare(compare));
    world.pump();
    reader.scopes.get_mut(&east).unwrap().cursor = 2;
    reader.take(&mut world);
    in_sync(&world, &reader, &east);
    assert_eq!(reader.view_text(id(1), "text"), "2");
}

#[test]
fn one_inventory_answers_all_who_wait_for_it() {
    let mut world = World::new();
    let east = scope("east");
    let mut sessions: Vec<SessionId> = Vec::new();
    for number in 1..=4 {
        let mut device = Device::enrolled(&mut world, number, &[&east]);
        device.connect(&mut world);
        sessions.push(device.session);
    }
    for session in &sessions {
        let (_, message) = gridbeat_sync_protocol::Reconciler::initiate([]);
        let frame = Reconcile {
            scope: east.clone(),
            seq: 0,
            message,
        };
        world.deliver(*session, Frame::Reconcile(frame));
    }
    world.pump();
    assert_eq!(world.count("inventory"), 1);
    for session in &sessions {
        assert!(matches!(
            world.sent[session].front(),
            Some(Frame::Reconcile(_))
        ));
    }
    let frame = Reconcile {
        scope: east,
        seq: 0,
        message: vec![1, 2, 3],
    };
    world.deliver(sessions[0], Frame::Reconcile(frame));
    world.pump();
    assert_eq!(world.closed_with(sessions[0]).0, "reconcile_malformed");
}
