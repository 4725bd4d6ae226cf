//! Sessions: what is sent, what comes, and when it is called in sync.

use gridbeat_base::{Remedy, Verb, Verbs};
use gridbeat_device_core::{Delivery, Output, SaveError, SyncProblem, SyncState};
use gridbeat_sync_protocol::{
    Close, Entry, Feed, Frame, Grant, PackForm, Reason, ScopeGreeting, Welcome,
    limits::GREETING_TIMEOUT,
};
use serde_json::json;

use crate::support::{World, at, body, frames, list, scope};

#[test]
fn the_first_session_brings_the_scopes() {
    let mut world = World::new(1);
    let device = &mut world.devices[0];
    assert!(matches!(
        device.create(at(0), "slip", &scope("grid"), b"{}"),
        Err(SaveError::UnknownScope { .. })
    ));
    world.sync(0);
    let scopes = world.devices[0].scopes();
    assert_eq!(scopes.len(), 1);
    assert_eq!(scopes[0].grant, Grant::Write);
    world.assert_in_sync();
}

#[test]
fn two_devices_that_edit_one_document_apart_hold_the_same_in_the_end() {
    let mut world = World::synced(2);
    let slip = world.create(0, "共享").document;
    world.sync(0);
    world.sync(1);
    world.settle();
    world.unlink(0);
    world.unlink(1);
    for round in 0..5 {
        world.note(0, slip, &format!("甲 {round}"));
        world.note(1, slip, &format!("乙 {round}"));
        world.create(1, &format!("乙自己的 {round}"));
    }
    world.sync(0);
    world.sync(1);
    world.settle();
    world.assert_in_sync();
    assert_eq!(list(&world.devices[0]).len(), 6);
    assert!(body(&world.devices[0], slip).contains("乙 4"));
    let history = world.devices[1].history(slip).unwrap();
    assert_eq!(history.len(), 11);
    assert!(history.iter().all(|entry| entry.received.is_some()));
}

#[test]
fn a_live_session_carries_each_save_at_once() {
    let mut world = World::synced(2);
    world.sync(0);
    world.sync(1);
    let slip = world.create(0, "now").document;
    let waiting = SyncState::Sending { waiting: 1 };
    assert_eq!(world.devices[0].sync_state(), &waiting);
    let delivery = |world: &World| {
        let record = world.devices[0].record(slip).unwrap().unwrap();
        record.delivery
    };
    assert_eq!(delivery(&world), Delivery::Sent);
    world.settle();
    world.assert_in_sync();
    assert!(matches!(
        delivery(&world),
        Delivery::Received { at: Some(_) }
    ));
    world.note(1, slip, "back");
    world.note(1, slip, "and again");
    world.settle();
    world.assert_in_sync();
    assert!(body(&world.devices[0], slip).contains("and again"));
}

#[test]
fn own_changes_come_back_as_a_count_and_only_then_is_it_in_sync() {
    let mut world = World::synced(1);
    world.relay.entries_max = 2;
    world.create(0, "one");
    world.create(0, "two");
    frames(&mut world.devices[0]);
    world.link(0);
    let mut states = Vec::new();
    let mut own = 0;
    loop {
        let mut sent = Vec::new();
        while let Some(output) = world.devices[0].poll_output() {
            match output {
                Output::Send { frame, .. } => sent.push(frame),
                Output::State(state) => states.push(state),
                Output::Changed { .. }
                | Output::Blobs { .. }
                | Output::Leave(_)
                | Output::Positions
                | Output::Close(_) => {}
            }
        }
        for frame in sent {
            world.relay.handle(at(7_000).wall, 0, frame);
        }
        let answers = world.relay.outputs(0);
        if answers.is_empty() {
            break;
        }
        for frame in answers {
            if let Frame::Feed(feed) = &frame {
                for entry in &feed.entries {
                    match entry {
                        Entry::Own { count } => own += count,
                        Entry::Attach { .. } | Entry::Detach { .. } | Entry::Change { .. } => {
                            panic!("it has those bytes")
                        }
                    }
                }
            }
            world.devices[0].handle_frame(at(8_000), frame).unwrap();
        }
    }
    assert_eq!(own, 4, "two attaches and two changes");
    let names: Vec<_> = states
        .iter()
        .map(|state| match state {
            SyncState::Offline { .. } => "offline",
            SyncState::Connecting { waiting: 2 } => "connecting",
            SyncState::Sending { waiting: 2 } => "sending",
            SyncState::Receiving { behind } if *behind > 0 => "receiving",
            SyncState::InSync { .. } => "in sync",
            SyncState::Connecting { .. }
            | SyncState::Sending { .. }
            | SyncState::Receiving { .. }
            | SyncState::Problem { .. } => "wrong",
        })
        .collect();
    assert_eq!(names[..2], ["connecting", "sending"]);
    assert!(
        names[2..names.len() - 1]
            .iter()
            .all(|name| *name == "receiving")
    );
    assert_eq!(names.last(), Some(&"in sync"));
    world.assert_in_sync();
}

#[test]
fn an_acknowledgement_that_is_lost_costs_nothing() {
    let mut world = World::synced(1);
    let slip = world.create(0, "one").document;
    world.link(0);
    for frame in frames(&mut world.devices[0]) {
        let now = world.now();
        world.relay.handle(now.wall, 0, frame);
    }
    // All answers are lost, and the process with them.
    world.restart(0);
    assert_eq!(world.devices[0].outbox().unwrap().changes, 1);
    world.sync(0);
    world.assert_in_sync();
    let history = world.devices[0].history(slip).unwrap();
    assert!(history[0].received.is_some());
    assert_eq!(world.relay.changes(slip).len(), 1);
    assert_eq!(world.devices[0].counters().digest_mismatches, 0);
}

#[test]
fn a_record_the_relay_learnt_over_another_connection_stays_while_its_feed_is_under_way() {
    let mut world = World::synced(1);
    let slip = world.create(0, "one").document;
    world.link(0);
    let device = world.devices[0].device();
    world.relay.connected(9, device);
    let mut feeds = Vec::new();
    loop {
        let sent = frames(&mut world.devices[0]);
        if sent.is_empty() {
            break;
        }
        for frame in sent {
            let now = world.now().wall;
            if matches!(frame, Frame::Push(_)) {
                world.relay.handle(now, 9, frame.clone());
            }
            world.relay.handle(now, 0, frame);
        }
        for frame in world.relay.outputs(0) {
            if matches!(frame, Frame::Feed(_)) {
                feeds.push(frame);
                continue;
            }
            let now = world.now();
            world.devices[0].handle_frame(now, frame).unwrap();
            assert!(world.devices[0].record(slip).unwrap().is_some());
        }
    }
    for frame in feeds {
        let now = world.now();
        world.devices[0].handle_frame(now, frame).unwrap();
    }
    world.settle();
    world.assert_in_sync();
    assert_eq!(world.relay.changes(slip).len(), 1);
}

#[test]
fn a_receipt_shows_in_the_record() {
    let mut world = World::synced(1);
    let slip = world.create(0, "one").document;
    world.note(0, slip, "note");
    assert!(body(&world.devices[0], slip).contains("null"));
    world.sync(0);
    assert!(!body(&world.devices[0], slip).contains("null"));
}

#[test]
fn hundreds_of_saves_made_offline_go_out_in_pushes_that_fit() {
    let mut world = World::synced(2);
    let long = "长".repeat(2_000);
    for number in 0..60 {
        let slip = world.create(0, &format!("{number}")).document;
        world.note(0, slip, &long);
        world.note(0, slip, "short");
    }
    let one = world.create(0, "one document with many").document;
    for number in 0..250 {
        world.note(0, one, &format!("note {number}"));
    }
    world.relay.entries_max = 100;
    world.sync(0);
    world.sync(1);
    world.settle();
    world.assert_in_sync();
    assert_eq!(world.devices[1].history(one).unwrap().len(), 251);
}

#[test]
fn a_document_that_leaves_the_scope_goes_but_nothing_unsent() {
    let mut world = World::synced(2);
    let (sent, edited) = (
        world.create(0, "sent").document,
        world.create(0, "edited").document,
    );
    world.sync(0);
    world.sync(1);
    world.settle();
    world.unlink(1);
    world.note(1, edited, "unsent");
    world.relay.place(sent, &scope("grid"), false);
    world.relay.place(edited, &scope("grid"), false);
    world.settle();
    assert!(list(&world.devices[0]).is_empty());
    assert!(world.devices[0].fingerprint().unwrap().is_empty());
    // The second device sees the departure before its push is answered.
    world.link(1);
    let sent_frames = frames(&mut world.devices[1]);
    for frame in sent_frames {
        let now = world.now();
        if matches!(frame, Frame::Hello(_)) {
            world.relay.handle(now.wall, 1, frame);
        }
    }
    for frame in world.relay.outputs(1) {
        let now = world.now();
        world.devices[1].handle_frame(now, frame).unwrap();
    }
    assert_eq!(list(&world.devices[1]), [edited]);
    assert!(body(&world.devices[1], edited).contains("unsent"));
    world.unlink(1);
    world.restart(1);
    assert_eq!(list(&world.devices[1]), [edited]);
    // This relay takes what arrives, and so puts the document back.
    world.sync(1);
    world.settle();
    world.assert_in_sync();
    assert!(body(&world.devices[0], edited).contains("unsent"));
}

#[test]
fn a_document_in_two_scopes_has_each_change_in_both_feeds_and_leaves_one_alone() {
    let mut world = World::new(2);
    world.relay.grants.insert(scope("squad"), Grant::Write);
    world.sync(0);
    world.sync(1);
    let slip = world.create(0, "shared").document;
    world.settle();
    world.relay.place(slip, &scope("squad"), true);
    world.settle();
    world.note(1, slip, "in both");
    world.settle();
    world.assert_in_sync();
    let record = world.devices[0].record(slip).unwrap().unwrap();
    assert_eq!(record.scopes, [scope("grid"), scope("squad")]);
    world.relay.place(slip, &scope("grid"), false);
    world.settle();
    world.note(0, slip, "through the other scope");
    world.settle();
    world.assert_in_sync();
    let record = world.devices[1].record(slip).unwrap().unwrap();
    assert_eq!(record.scopes, [scope("squad")]);
    assert!(record.body.contains("through the other scope"));
    assert_eq!(world.devices[0].counters().reconciliations, 0);
}

#[test]
fn a_scope_that_is_taken_away_goes_with_its_documents_and_comes_back_whole() {
    let mut world = World::synced(1);
    let slip = world.create(0, "one").document;
    world.create(0, "two");
    world.sync(0);
    world.unlink(0);
    world.relay.grants.clear();
    world.sync(0);
    assert!(list(&world.devices[0]).is_empty());
    assert!(world.devices[0].scopes().is_empty());
    world.assert_in_sync();
    world.unlink(0);
    world.relay.grants.insert(scope("grid"), Grant::Read);
    world.sync(0);
    world.assert_in_sync();
    assert_eq!(list(&world.devices[0]).len(), 2);
    assert!(matches!(
        world.devices[0].edit(at(99_000), slip, br#"{"note": "x"}"#),
        Err(SaveError::NotGranted(Verb::Edit))
    ));
    let create = world.devices[0].create(at(99_000), "slip", &scope("grid"), b"{}");
    assert!(matches!(create, Err(SaveError::NotGranted(Verb::Report))));
}

#[test]
fn what_a_device_knows_it_may_not_do_is_refused_at_once_and_not_saved() {
    let mut world = World::synced(1);
    let slip = world.create(0, "one").document;
    world.sync(0);
    world.unlink(0);
    let told = |world: &mut World, verbs: Option<Verbs>| {
        match verbs {
            Some(verbs) => world.relay.verbs.insert(scope("grid"), verbs),
            None => world.relay.verbs.remove(&scope("grid")),
        };
        world.sync(0);
        world.unlink(0);
        world.restart(0);
    };
    let edit = |world: &mut World| {
        let now = world.now();
        world.devices[0].edit(now, slip, br#"{"note": "x"}"#)
    };
    told(&mut world, Some(Verbs::of(&[Verb::Report])));
    let lacking = edit(&mut world);
    assert!(
        matches!(lacking, Err(SaveError::NotGranted(Verb::Edit))),
        "{lacking:?}"
    );
    assert_eq!(world.devices[0].outbox().unwrap().changes, 0);
    world.create(0, "two");

    told(&mut world, Some(Verbs::of(&[Verb::Edit])));
    edit(&mut world).unwrap();
    let now = world.now();
    let begun = world.devices[0].create(now, "slip", &scope("grid"), br#"{"open": {"text": "x"}}"#);
    assert!(
        matches!(begun, Err(SaveError::NotGranted(Verb::Report))),
        "{begun:?}"
    );

    // A relay that does not tell decides on its own: here all is saved.
    told(&mut world, None);
    edit(&mut world).unwrap();
    world.create(0, "three");
    world.sync(0);
    world.assert_in_sync();
}

#[test]
fn nothing_changed_means_one_greeting_each_way() {
    let mut world = World::synced(1);
    world.create(0, "one");
    world.sync(0);
    world.unlink(0);
    world.link(0);
    let sent = frames(&mut world.devices[0]);
    assert!(matches!(sent[..], [Frame::Hello(_)]));
    for frame in sent {
        world.relay.handle(at(9_000).wall, 0, frame);
    }
    let answer = world.relay.outputs(0);
    assert!(matches!(answer[..], [Frame::Welcome(_)]));
    for frame in answer {
        world.devices[0].handle_frame(at(9_000), frame).unwrap();
    }
    assert!(frames(&mut world.devices[0]).is_empty());
    world.assert_in_sync();
}

#[test]
fn a_relay_that_does_not_answer_is_given_up() {
    let mut world = World::new(1);
    let device = &mut world.devices[0];
    device.connected(at(0)).unwrap();
    assert!(device.connected(at(0)).is_err());
    let deadline = device.next_deadline().unwrap();
    assert_eq!(deadline.0, GREETING_TIMEOUT);
    assert!(device.handle_deadline(at(100)).is_ok());
    assert!(device.handle_deadline(at(8_000)).is_err());
    assert_eq!(device.sync_state(), &SyncState::Offline { waiting: 0 });
    assert_eq!(device.next_deadline(), None);
    device.connected(at(9_000)).unwrap();
}

#[test]
fn a_relay_that_breaks_the_protocol_is_left_and_nothing_of_it_is_kept() {
    let mut world = World::synced(1);
    let slip = world.create(0, "one").document;
    world.sync(0);
    frames(&mut world.devices[0]);
    let stray = Frame::Feed(Feed {
        form: PackForm::Whole,
        scope: scope("elsewhere"),
        first_seq: 1,
        digest: gridbeat_base::Digest::EMPTY,
        head: 1,
        entries: vec![Entry::Detach { document: slip }],
    });
    let result = world.devices[0].handle_frame(at(9_000), stray);
    assert_eq!(result.unwrap_err().remedy(), Remedy::Report);
    assert!(matches!(
        world.devices[0].sync_state(),
        SyncState::Problem {
            what: SyncProblem::NotUnderstood,
            ..
        }
    ));
    let outputs: Vec<_> = std::iter::from_fn(|| world.devices[0].poll_output()).collect();
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Close(_)))
    );
    world.relay.disconnected(0);
    world.sync(0);
    world.assert_in_sync();
}

#[test]
fn a_relay_that_turns_the_device_away_says_why() {
    let mut world = World::synced(1);
    world.link(0);
    let reason = Reason {
        code: "revoked".to_owned(),
        en: "the device was revoked".to_owned(),
        zh: "设备已停用".to_owned(),
    };
    let close = Frame::Close(Close {
        reason: reason.clone(),
        retry_after_s: 3_600,
    });
    world.devices[0].handle_frame(at(9_000), close).unwrap();
    assert_eq!(
        world.devices[0].sync_state(),
        &SyncState::Problem {
            what: SyncProblem::TurnedAway(reason),
            remedy: Remedy::FixSetup,
        }
    );
}

#[test]
fn the_relays_clock_is_measured_and_kept() {
    let mut world = World::synced(1);
    world.link(0);
    frames(&mut world.devices[0]);
    let welcome = Frame::Welcome(Welcome {
        version: 1,
        incarnation: world.relay.incarnation,
        time: at(3_600_000).wall,
        scopes: vec![ScopeGreeting {
            scope: scope("grid"),
            grant: Grant::Write,
            head: 0,
            digest_agrees: true,
            verbs: None,
            snapshot: None,
        }],
        stable: None,
    });
    world.devices[0].handle_frame(at(0), welcome).unwrap();
    assert_eq!(world.devices[0].relay_offset_ms(), Some(3_600_000));
    world.restart(0);
    assert_eq!(world.devices[0].relay_offset_ms(), Some(3_600_000));
}

#[test]
fn several_frames_at_once_are_as_good_as_one_by_one() {
    let mut world = World::synced(2);
    for number in 0..30 {
        world.create(0, &json!(number).to_string());
    }
    world.relay.entries_max = 3;
    world.sync(0);
    world.link(1);
    for frame in frames(&mut world.devices[1]) {
        world.relay.handle(at(9_000).wall, 1, frame);
    }
    let answers = world.relay.outputs(1);
    assert!(answers.len() > 10);
    world.devices[1].handle_frames(at(9_000), answers).unwrap();
    let sent = frames(&mut world.devices[1]);
    assert!(matches!(sent[..], [Frame::Applied(_)]), "one for all");
    world.assert_in_sync();
}

#[test]
fn what_is_sent_before_the_greeting_is_in_the_form_that_the_relay_took_last() {
    let mut world = World::synced(1);
    assert_eq!(first_push(&mut world), PackForm::Apart);
    world.sync(0);
    world.unlink(0);
    // An older relay takes its place, and cannot read the push: it goes without a greeting.
    world.relay.newest = 2;
    assert_eq!(first_push(&mut world), PackForm::Apart);
    assert_eq!(first_push(&mut world), PackForm::Whole);
    world.sync(0);
    world.assert_in_sync();
    world.unlink(0);
    assert_eq!(first_push(&mut world), PackForm::Whole);
    world.relay.newest = 3;
    world.sync(0);
    world.restart(0);
    assert_eq!(first_push(&mut world), PackForm::Apart);
}

/// Saves something, connects, and is cut off before the relay has said anything.
fn first_push(world: &mut World) -> PackForm {
    world.create(0, "one");
    world.link(0);
    let sent = frames(&mut world.devices[0]);
    world.unlink(0);
    let push = sent.iter().rev().find_map(|frame| {
        if let Frame::Push(push) = frame {
            Some(push)
        } else {
            None
        }
    });
    push.unwrap().form
}
