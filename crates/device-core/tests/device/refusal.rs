//! A refusal: nothing is lost by it, and nothing is held up.

use gridbeat_device_core::{SaveError, SyncState};
use serde_json::json;

use crate::support::{World, at, body, list, scope};

#[test]
fn a_refused_note_is_kept_with_its_reason_and_later_notes_stay() {
    let mut world = World::synced(2);
    let slip = world.create(0, "one").document;
    world.sync(0);
    world.sync(1);
    world.settle();
    world.unlink(0);
    world.note(0, slip, "fine");
    let bad = world.note(0, slip, "forbidden words");
    world.note(0, slip, "later");
    world.note(0, slip, "latest");
    world.note(1, slip, "meanwhile, elsewhere");
    world.settle();
    world.sync(0);
    world.settle();
    world.assert_in_sync();
    let shown = body(&world.devices[1], slip);
    for kept in ["fine", "later", "latest", "elsewhere"] {
        assert!(shown.contains(kept), "{kept}: {shown}");
    }
    assert!(!shown.contains("forbidden"));
    let device = &mut world.devices[0];
    let refused = device.refused().unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].change, bad.change);
    assert_eq!(refused[0].document, slip);
    assert_eq!(refused[0].reason.code, "forbidden_word");
    assert_eq!(refused[0].reason.zh, "含有禁用词");
    assert_eq!(
        refused[0].intent.as_deref(),
        Some(json!({"note": "forbidden words"}).to_string().as_bytes())
    );
    assert_eq!(device.counters().changes_refused, 1);
    assert!(device.drop_refused(at(70_000), refused[0].id).unwrap());
    assert!(!device.drop_refused(at(70_000), refused[0].id).unwrap());
    assert!(device.refused().unwrap().is_empty());
    let history = device.refused_history().unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].intent, refused[0].intent);
    assert_eq!(history[0].reason, refused[0].reason);
    let settled = history[0].settled.unwrap();
    assert_eq!((settled.at, settled.replaced_by), (at(70_000).wall, None));
    // It goes on as before.
    world.note(0, slip, "after all that");
    world.settle();
    world.assert_in_sync();
}

#[test]
fn a_replayed_intent_keeps_the_stamp_of_its_first_day() {
    let mut world = World::synced(1);
    let slip = world.create(0, "one").document;
    world.sync(0);
    world.unlink(0);
    world.note(0, slip, "forbidden");
    world.note(0, slip, "later");
    let saved = world.devices[0].history(slip).unwrap()[2].saved;
    world.sync(0);
    world.assert_in_sync();
    let history = world.devices[0].history(slip).unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(history[1].saved, saved);
}

#[test]
fn a_document_whose_first_change_is_refused_goes_and_its_intents_stay() {
    let mut world = World::synced(1);
    let good = world.create(0, "good").document;
    let bad = world.create(0, "forbidden").document;
    world.note(0, bad, "a note that cannot stand alone");
    world.sync(0);
    world.assert_in_sync();
    assert_eq!(list(&world.devices[0]), [good]);
    let refused = world.devices[0].refused().unwrap();
    let codes: Vec<_> = refused.iter().map(|one| one.reason.code.as_str()).collect();
    assert_eq!(codes, ["forbidden_word", "not_opened"]);
    assert!(refused.iter().all(|one| one.document == bad));
    assert_eq!(world.devices[0].scopes()[0].documents, 1);
}

#[test]
fn a_refusal_survives_a_restart_between_its_answer_and_the_replay() {
    let mut world = World::synced(1);
    let slip = world.create(0, "one").document;
    world.sync(0);
    world.unlink(0);
    world.note(0, slip, "forbidden");
    world.note(0, slip, "later");
    world.link(0);
    // Hello and pushes go, their answers come, and the process stops.
    world.exchange(0);
    world.restart(0);
    assert_eq!(world.devices[0].refused().unwrap().len(), 1);
    assert_eq!(
        world.devices[0].sync_state(),
        &SyncState::Offline { waiting: 1 }
    );
    world.sync(0);
    world.assert_in_sync();
    assert!(body(&world.devices[0], slip).contains("later"));
}

#[test]
fn what_is_unsent_when_a_scope_is_taken_away_is_refused_and_kept() {
    let mut world = World::synced(1);
    let slip = world.create(0, "one").document;
    world.sync(0);
    world.unlink(0);
    world.note(0, slip, "unsent");
    world.relay.grants.clear();
    // The push is on its way with the greeting; an answer to it may come after the withdrawal.
    world.sync(0);
    assert!(list(&world.devices[0]).is_empty());
    assert_eq!(world.devices[0].outbox().unwrap().changes, 0);
    assert_eq!(world.devices[0].refused().unwrap().len(), 1);
    assert!(world.devices[0].scopes().is_empty());
    let create = world.devices[0].create(at(99_000), "slip", &scope("grid"), b"{}");
    assert!(create.is_err());
}

#[test]
fn a_refused_note_is_corrected_and_the_refused_one_is_marked_as_replaced() {
    let mut world = World::synced(2);
    let slip = world.create(0, "one").document;
    world.sync(0);
    world.sync(1);
    world.note(0, slip, "forbidden words");
    world.note(0, slip, "later");
    world.settle();
    let refused = world.devices[0].refused().unwrap();
    let intent = json!({"note": "mended words"}).to_string();
    let device = &mut world.devices[0];
    let saved = device
        .correct_refused(at(71_000), refused[0].id, intent.as_bytes())
        .unwrap();
    assert!(device.refused().unwrap().is_empty());
    let settled = device.refused_history().unwrap()[0].settled.unwrap();
    assert_eq!(settled.replaced_by, Some(saved));
    world.settle();
    world.assert_in_sync();
    let shown = body(&world.devices[1], slip);
    assert!(
        shown.contains("mended words") && shown.contains("later"),
        "{shown}"
    );
    // Once is enough.
    let again = world.devices[0].correct_refused(at(72_000), refused[0].id, intent.as_bytes());
    assert!(
        matches!(again, Err(SaveError::NotRefused { .. })),
        "{again:?}"
    );
}

#[test]
fn a_correction_that_cannot_be_saved_leaves_the_refused_one_to_be_seen_to() {
    let mut world = World::synced(1);
    let slip = world.create(0, "one").document;
    world.sync(0);
    world.note(0, slip, "forbidden words");
    world.settle();
    let device = &mut world.devices[0];
    let id = device.refused().unwrap()[0].id;
    let wrong = device.correct_refused(at(71_000), id, b"no intent");
    assert!(matches!(wrong, Err(SaveError::Intent(_))), "{wrong:?}");
    assert_eq!(device.refused().unwrap().len(), 1);
    assert!(device.refused_history().unwrap().is_empty());
}

#[test]
fn a_record_that_ended_with_its_first_change_begins_by_the_corrected_one() {
    let mut world = World::synced(2);
    let bad = world.create(0, "forbidden").document;
    world.note(0, bad, "a note that cannot stand alone");
    world.sync(0);
    world.sync(1);
    assert!(list(&world.devices[0]).is_empty());
    let refused = world.devices[0].refused().unwrap();
    let note = json!({"note": "stands now"}).to_string();
    let device = &mut world.devices[0];
    let early = device.correct_refused(at(71_000), refused[1].id, note.as_bytes());
    assert!(
        matches!(early, Err(SaveError::UnknownDocument { .. })),
        "{early:?}"
    );
    let title = json!({"open": "allowed"}).to_string();
    let begun = device.correct_refused(at(72_000), refused[0].id, title.as_bytes());
    assert_eq!(begun.unwrap().document, bad);
    device
        .correct_refused(at(73_000), refused[1].id, note.as_bytes())
        .unwrap();
    assert!(device.refused().unwrap().is_empty());
    world.settle();
    world.assert_in_sync();
    assert!(body(&world.devices[1], bad).contains("stands now"));
}
