//! A scope that comes as a snapshot, to a device that has nothing of it.

use gridbeat_base::Verbs;
use gridbeat_device_core::SyncState;
use gridbeat_sync_protocol::{
    Frame, Grant, PackForm, ScopeGreeting, Snapshot, SnapshotDocument, Welcome,
};

use crate::support::{World, body, frames, scope};

#[test]
fn every_document_of_a_snapshot_is_as_its_author_has_it() {
    let mut world = with_forty_documents();
    let mut wholes = world.relay.wholes();
    // What the relay names twice is one document.
    wholes.push(wholes[7].clone());
    take(&mut world, wholes);
    let SyncState::InSync { .. } = world.devices[1].sync_state() else {
        panic!("{:?}", world.devices[1].sync_state());
    };
    let held = world.devices[1].fingerprint().unwrap();
    assert_eq!(held.len(), 40);
    assert_eq!(held, world.devices[0].fingerprint().unwrap());
    for (document, _) in held {
        let shown = body(&world.devices[1], document);
        assert_eq!(shown, body(&world.devices[0], document));
    }
}

#[test]
fn a_change_that_is_not_sound_keeps_nothing_else_of_a_snapshot_out() {
    let mut world = with_forty_documents();
    let mut wholes = world.relay.wholes();
    let forged = wholes[25].document;
    let last = wholes[25].changes[0].bytes.last_mut().unwrap();
    *last ^= 1;
    take(&mut world, wholes);
    let counters = world.devices[1].counters();
    assert_eq!(counters.changes_barred, 1);
    assert_eq!(counters.changes_incomplete, 1, "what builds on it");
    let held = world.devices[1].fingerprint().unwrap();
    let theirs = world.devices[0].fingerprint().unwrap();
    assert_eq!(held.len(), 40);
    for (held, theirs) in held.iter().zip(&theirs) {
        assert_eq!(held == theirs, held.0 != forged);
    }
}

/// Two devices: one that has brought the relay 40 documents, and one that was never there.
fn with_forty_documents() -> World {
    let mut world = World::new(2);
    world.sync(0);
    for number in 0..40 {
        let document = world.create(0, &format!("第{number}条")).document;
        world.note(0, document, &format!("备注 {number}"));
    }
    world.settle();
    world.unlink(0);
    world
}

/// Gives the second device a snapshot in one frame.
fn take(world: &mut World, documents: Vec<SnapshotDocument>) {
    let (head, digest) = world.relay.end_of(&scope("grid"));
    let now = world.now();
    world.devices[1].connected(now).unwrap();
    frames(&mut world.devices[1]);
    let welcome = Frame::Welcome(Welcome {
        version: world.relay.newest,
        incarnation: world.relay.incarnation,
        time: now.wall,
        scopes: vec![ScopeGreeting {
            scope: scope("grid"),
            grant: Grant::Write,
            head,
            digest_agrees: true,
            verbs: Some(Verbs::ALL),
            snapshot: Some(head),
        }],
        stable: None,
    });
    world.devices[1].handle_frame(now, welcome).unwrap();
    let snapshot = Frame::Snapshot(Snapshot {
        scope: scope("grid"),
        number: 1,
        seq: head,
        digest,
        mark: 1,
        last: true,
        documents,
        form: PackForm::Whole,
    });
    world.devices[1].handle_frame(now, snapshot).unwrap();
}
