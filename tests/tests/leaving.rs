//! Who loses a grant hands over what he saved, keeps nothing else, and signs for it.
//!
//! Here: one grant, one record, one device that is revoked; each cut short at any moment. The same under
//! random faults is in `crates/sim`.

use std::fs;
use std::time::Duration;

use gridbeat_base::{DeviceId, Position, Scope};
use gridbeat_device_core::{SyncProblem, SyncState};
use gridbeat_domain::Step;
use gridbeat_relay_core::LEAVE_WINDOW;
use gridbeat_relay_store::{RefusedFilter, RefusedRow};

use crate::pump::{World, report, scope, step};

/// As many intents as an officer makes in half a shift.
const MANY: usize = 50;

fn other() -> Scope {
    Scope::new("蛟川").unwrap()
}

fn device(place: u8) -> DeviceId {
    DeviceId::from_bytes([place + 1; 16])
}

/// Two devices in one scope, in sync over some records.
fn two_officers(records: usize) -> World {
    let mut world = World::new(2);
    for number in 0..records {
        world.report(0, &format!("第{number}处井盖破损"));
    }
    world.sync_all();
    world.assert_all_in_sync();
    world
}

/// What the device of the second officer states that it removed, in the relay's words; the latest first.
fn removals(world: &World) -> Vec<(Option<Scope>, u64, u64, u64)> {
    let rows = world.store().removals(device(1)).unwrap().into_iter();
    let stated = rows.map(|row| row.statement);
    stated
        .map(|it| (it.scope, it.documents, it.removed, it.kept))
        .collect()
}

/// What is in the relay's quarantine, the latest first.
fn quarantine(world: &World) -> Vec<RefusedRow> {
    let all = RefusedFilter::default();
    world.store().refused(&all, 1_000).unwrap()
}

fn assert_sound(world: &World) {
    let report = world.audit();
    assert!(report.is_sound(), "{:#?}", report.findings);
}

#[test]
fn a_grant_withdrawn_while_fifty_intents_wait_loses_none_of_them_and_leaves_no_record() {
    let mut world = two_officers(3);
    world.unlink(1);
    let (first, _) = world.fingerprint(1)[0];
    for number in 0..MANY {
        world.note(1, first, &format!("第{number}次查看"));
    }
    world.grant(1, &[]);
    world.pass(Duration::from_secs(5 * 86_400));
    world.sync_all();
    assert_eq!(world.fingerprint(1), []);
    assert_eq!(world.waiting(1), 0);
    assert_eq!(world.seats[1].device.refused().unwrap(), []);
    assert_eq!(world.shown(0, first).steps.len(), 1 + MANY);
    assert_eq!(removals(&world), [(Some(scope()), 3, 3, 0)]);
    assert!(matches!(world.state(1), SyncState::InSync { .. }));
    assert_sound(&world);
}

#[test]
fn what_comes_after_the_window_is_kept_with_its_text_on_both_sides() {
    let mut world = two_officers(1);
    world.unlink(1);
    let (first, _) = world.fingerprint(1)[0];
    world.note(1, first, "隔壁也有一处");
    world.grant(1, &[]);
    world.pass(LEAVE_WINDOW);
    world.sync_all();
    assert_eq!(world.fingerprint(1), []);
    let refused = world.seats[1].device.refused().unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].reason.code, "scope_not_granted");
    let intent = String::from_utf8(refused[0].intent.clone().unwrap()).unwrap();
    assert!(intent.contains("隔壁也有一处"));
    assert_eq!(world.shown(0, first).steps.len(), 1);
    let kept = quarantine(&world);
    assert!(kept.len() == 1 && kept[0].has_bytes);
    assert_eq!(removals(&world), [(Some(scope()), 1, 1, 1)]);
    assert_sound(&world);
}

#[test]
fn a_withdrawal_under_an_open_session_is_carried_out_at_once() {
    let mut world = two_officers(2);
    world.grant(1, &[]);
    world.settle();
    world.sync(1);
    assert_eq!(world.fingerprint(1), []);
    assert_eq!(removals(&world), [(Some(scope()), 2, 2, 0)]);
}

#[test]
fn a_scope_granted_again_before_it_was_left_costs_nothing() {
    let mut world = two_officers(3);
    world.unlink(1);
    world.grant(1, &[]);
    world.grant(1, &[&scope()]);
    let (_, before) = world.carried;
    world.sync(1);
    assert!(
        world.carried.1 - before < 300,
        "{}",
        world.carried.1 - before
    );
    world.sync_all();
    world.assert_all_in_sync();
    assert_eq!(removals(&world), []);
}

#[test]
fn a_scope_granted_again_after_it_was_left_comes_back_whole() {
    let mut world = two_officers(3);
    world.grant(1, &[]);
    world.sync_all();
    world.grant(1, &[&scope()]);
    world.sync_all();
    world.assert_all_in_sync();
    world.grant(1, &[]);
    world.sync_all();
    assert_eq!(removals(&world).len(), 2, "each time is stated");
    assert_sound(&world);
}

#[test]
fn leaving_goes_on_where_a_cut_or_a_crash_stopped_it() {
    // Once with more documents than go in one transaction.
    for (cut, records) in [
        (0, 2),
        (1, 2),
        (2, 2),
        (3, 260),
        (4, 2),
        (5, 2),
        (6, 2),
        (8, 2),
    ] {
        let mut world = two_officers(records);
        world.unlink(1);
        let (first, _) = world.fingerprint(1)[0];
        world.note(1, first, "离开前的记录");
        world.grant(1, &[]);
        world.link(1);
        for _ in 0..cut {
            world.carry_up(1);
            world.carry_down(1, 1);
        }
        world.restart_device(1, |_| {});
        world.wake(1);
        world.restart_relay(|_| {});
        world.sync_all();
        assert_eq!(world.fingerprint(1), [], "cut {cut}");
        assert_eq!(world.shown(0, first).steps.len(), 2, "cut {cut}");
        assert_eq!(
            removals(&world),
            [(Some(scope()), records as u64, records as u64, 0)],
            "cut {cut}"
        );
        assert_sound(&world);
    }
}

#[test]
fn records_in_another_granted_scope_stay_and_cost_no_bytes() {
    let mut world = two_officers(20);
    world.grant(1, &[&scope(), &other()]);
    let shared = world.fingerprint(0)[0].0;
    world.place(shared, &other());
    world.sync_all();
    world.unlink(1);
    world.grant(1, &[&other()]);
    let before = world.carried;
    world.sync(1);
    let (up, down) = (world.carried.0 - before.0, world.carried.1 - before.1);
    assert!(up < 600 && down < 400, "{up} up, {down} down");
    assert_eq!(world.fingerprint(1), world.fingerprint(0)[..1]);
    assert_eq!(removals(&world), [(Some(scope()), 20, 19, 0)]);
    world.note(1, shared, "已在新区域查看");
    world.sync_all();
    assert_eq!(world.shown(0, shared).steps.len(), 2);
}

#[test]
fn a_device_moved_between_areas_gets_the_difference_alone() {
    const SHARED: usize = 300;
    let mut world = two_officers(SHARED);
    let shared: Vec<_> = world.fingerprint(0).into_iter().map(|it| it.0).collect();
    world.grant(0, &[&scope(), &other()]);
    for document in &shared {
        world.place(*document, &other());
    }
    world.sync_all();
    let new = report(
        "只在新区域",
        "赵巡查",
        Position::from_degrees(29.9, 121.7).ok(),
    );
    for _ in 0..5 {
        world.create_in(0, &other(), &new);
        world.report(0, "只在旧区域");
    }
    world.sync_all();
    world.assert_all_in_sync_but(0);
    world.unlink(1);
    world.grant(1, &[&other()]);
    let before = world.carried;
    // Cut in the middle, too: what is held stays until the new scope is there.
    world.link(1);
    for _ in 0..3 {
        world.carry_up(1);
        world.carry_down(1, 1);
    }
    world.unlink(1);
    world.sync(1);
    let bytes = world.carried.0 + world.carried.1 - before.0 - before.1;
    assert!(bytes < 15_000, "{bytes} bytes for five records of {SHARED}");
    assert_eq!(world.fingerprint(1).len(), SHARED + 5);
    assert!(matches!(world.state(1), SyncState::InSync { .. }));
    assert_eq!(removals(&world), [(Some(scope()), 305, 5, 0)]);
}

#[test]
fn a_record_handed_to_another_scope_while_it_is_edited_keeps_the_edit_in_words() {
    let mut world = two_officers(2);
    let (first, _) = world.fingerprint(1)[0];
    world.unlink(1);
    world.note(1, first, "正在处理");
    world.grant(0, &[&scope(), &other()]);
    world.place(first, &other());
    world.take_out(first, &scope());
    world.sync_all();
    assert_eq!(world.fingerprint(1).len(), 1);
    let refused = world.seats[1].device.refused().unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].reason.code, "document_not_in_scope");
    assert_eq!(world.waiting(1), 0);
    assert!(quarantine(&world)[0].has_bytes);
    assert!(matches!(world.state(1), SyncState::InSync { .. }));
}

fn assert_wiped(world: &mut World) {
    assert_eq!(world.fingerprint(1), []);
    assert_eq!(world.waiting(1), 0);
    assert_eq!(world.seats[1].device.refused().unwrap(), []);
    assert_eq!(world.seats[1].device.drafts().unwrap(), []);
    let SyncState::Problem { what, .. } = world.state(1) else {
        panic!("{:?}", world.state(1));
    };
    assert!(matches!(what, SyncProblem::TurnedAway(reason) if reason.code == "device_revoked"));
    let stated = removals(world);
    assert!(stated.iter().any(|it| it.0.is_none()), "{stated:?}");
    assert_sound(world);
    world.restart_device(1, |file| {
        let bytes = fs::read(file).unwrap();
        for word in ["井盖", "机密"] {
            let found = bytes
                .windows(word.len())
                .any(|part| part == word.as_bytes());
            assert!(!found, "{word} is still in the file");
        }
    });
}

#[test]
fn a_revoked_device_hands_over_what_waits_and_keeps_nothing() {
    let mut world = two_officers(4);
    world.unlink(1);
    let (first, _) = world.fingerprint(1)[0];
    for number in 0..MANY {
        world.note(1, first, &format!("机密{number}"));
    }
    let now = world.now(1);
    let device = &mut world.seats[1].device;
    device
        .save_draft(now, "note", "机密草稿".as_bytes())
        .unwrap();
    world.report(0, "另一处井盖");
    world.settle();
    world.revoke(1);
    let before = world.carried.1;
    world.sync(1);
    world.settle();
    assert!(
        world.carried.1 - before < 20_000,
        "nothing is sent but answers"
    );
    let kept = quarantine(&world);
    assert_eq!(kept.len(), MANY);
    assert!(
        kept.iter()
            .all(|row| row.reason.code == "device_revoked" && row.has_bytes)
    );
    assert_eq!(world.shown(0, first).steps.len(), 1, "nothing is admitted");
    assert_wiped(&mut world);
    // It is told the same again, and answers the same.
    let stated = removals(&world);
    world.sync(1);
    assert_eq!(removals(&world), stated);
    assert_wiped(&mut world);
}

#[test]
fn a_device_revoked_under_an_open_session_is_out_and_hands_over_in_the_next() {
    let mut world = two_officers(4);
    let (first, _) = world.fingerprint(1)[0];
    world.revoke(1);
    // It is out; the officer does not know yet.
    world.note(1, first, "机密");
    world.settle();
    world.sync(1);
    let kept = quarantine(&world);
    assert_eq!(
        (kept.len(), kept[0].reason.code.as_str()),
        (1, "device_revoked")
    );
    assert_wiped(&mut world);
}

#[test]
fn what_was_refused_before_is_handed_over_too() {
    let mut world = two_officers(1);
    let (first, _) = world.fingerprint(1)[0];
    world.unlink(1);
    world.note(1, first, "机密");
    world.grant(1, &[]);
    world.pass(LEAVE_WINDOW);
    world.sync(1);
    assert_eq!(world.seats[1].device.refused().unwrap().len(), 1);
    world.revoke(1);
    world.unlink(1);
    world.sync(1);
    let codes: Vec<_> = quarantine(&world);
    let codes: Vec<_> = codes.iter().map(|row| row.reason.code.as_str()).collect();
    assert_eq!(codes, ["device_revoked", "scope_not_granted"]);
    assert_wiped(&mut world);
}

#[test]
fn a_revoked_device_keeps_what_the_relay_has_no_room_for() {
    let mut world = two_officers(1);
    let (first, _) = world.fingerprint(1)[0];
    world.unlink(1);
    world.note(1, first, "机密");
    let fill = |file: &std::path::Path, sql: &str| {
        let file = rusqlite::Connection::open(file).unwrap();
        file.execute(sql, [device(1).bytes()]).unwrap();
    };
    world.restart_relay(|file| {
        fill(file, "INSERT INTO refused_room VALUES (?1, 1, 16777216, 0)");
    });
    world.revoke(1);
    world.sync(1);
    assert_eq!(world.waiting(1), 1);
    assert_eq!(world.fingerprint(1).len(), 1, "nothing is wiped");
    world.restart_relay(|file| fill(file, "DELETE FROM refused_room WHERE device = ?1"));
    world.sync(1);
    assert_eq!(quarantine(&world).len(), 1);
    assert_wiped(&mut world);
}

#[test]
fn surrender_goes_on_where_a_cut_or_a_crash_stopped_it() {
    for cut in 0..8 {
        let mut world = two_officers(4);
        world.unlink(1);
        let (first, _) = world.fingerprint(1)[0];
        world.edit(1, first, &step(Step::Note, "机密"));
        world.revoke(1);
        world.link(1);
        for _ in 0..cut {
            world.carry_up(1);
            world.carry_down(1, 1);
        }
        world.restart_device(1, |_| {});
        world.restart_relay(|_| {});
        world.sync(1);
        assert_eq!(quarantine(&world).len(), 1, "cut {cut}");
        assert_wiped(&mut world);
    }
}

#[test]
fn a_wiped_device_that_is_let_in_again_begins_anew() {
    let mut world = two_officers(4);
    world.revoke(1);
    world.unlink(1);
    world.sync(1);
    assert_wiped(&mut world);
    world.grant(1, &[&scope()]);
    world.sync_all();
    world.assert_all_in_sync();
    let (first, _) = world.fingerprint(1)[0];
    world.note(1, first, "重新开始");
    world.sync_all();
    world.assert_all_in_sync();
    world.revoke(1);
    world.unlink(1);
    world.sync(1);
    assert_wiped(&mut world);
}
