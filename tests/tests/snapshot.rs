//! A device that has nothing of a scope: what it is shown first, and what a cut costs it.

use std::fs;

use gridbeat_base::DocumentId;
use gridbeat_device_core::SyncState;
use gridbeat_domain::Step;
use tempfile::TempDir;

use crate::pump::{World, step};

/// How many incidents there are.
const COUNT: usize = 24;

/// A relay with incidents, every third of them closed, whose snapshots have a few documents a frame; and the place of a
/// device that has never met it. The incidents come in the order of their reports.
fn world() -> (World, Vec<DocumentId>, usize) {
    let mut world = World::new(1);
    world.config.snapshot_entries_min = 1;
    world.config.snapshot_bytes = 4_000;
    world.restart_relay(|_| {});
    world.sync(0);
    let mut incidents = Vec::new();
    for number in 0..COUNT {
        incidents.push(world.report(0, &format!("井盖破损 {number}")).document);
        // Reports of one moment reach the relay in one push, in any order.
        world.settle();
    }
    for closed in incidents.iter().step_by(3) {
        world.edit(0, *closed, &step(Step::Decline, "重复"));
    }
    world.settle();
    world.unlink(0);
    let newcomer = world.add_device_that_never_synced();
    (world, incidents, newcomer)
}

fn held(world: &World, place: usize) -> Vec<DocumentId> {
    let held = world.fingerprint(place).into_iter();
    held.map(|(document, _)| document).collect()
}

#[test]
fn the_open_and_newest_incidents_come_first() {
    let (mut world, incidents, newcomer) = world();
    world.link(newcomer);
    let mut came: Vec<DocumentId> = Vec::new();
    while world.carry_up(newcomer) {
        while world.carry_down(newcomer, 1) {
            let news: Vec<_> = held(&world, newcomer)
                .into_iter()
                .filter(|it| !came.contains(it))
                .collect();
            // Within a frame all come at once.
            let mut sorted = news.clone();
            sorted.sort_by_key(|it| std::cmp::Reverse(incidents.iter().position(|at| at == it)));
            came.extend(sorted);
        }
    }
    let number_of = |it: &DocumentId| incidents.iter().position(|at| at == it).unwrap();
    let numbers: Vec<usize> = came.iter().map(number_of).collect();
    let (closed, open): (Vec<usize>, Vec<usize>) =
        (0..COUNT).rev().partition(|number| number % 3 == 0);
    // The first closed ones may share a frame with the last open ones.
    assert_eq!(numbers[..open.len() / 2], open[..open.len() / 2]);
    assert_eq!(numbers.len(), open.len() + closed.len());
    assert_eq!(numbers.last(), closed.last());
    assert_eq!(world.in_snapshots, COUNT);
}

#[test]
fn a_cut_costs_no_document_twice_even_if_the_device_dies_by_it() {
    let (mut world, _, newcomer) = world();
    let mut cuts = 0;
    while !matches!(world.state(newcomer), SyncState::InSync { .. }) {
        world.link(newcomer);
        world.carry_up(newcomer);
        // The greeting, and one frame.
        world.carry_down(newcomer, 2);
        if matches!(world.state(newcomer), SyncState::InSync { .. }) {
            break;
        }
        world.restart_device(newcomer, |_| {});
        cuts += 1;
        assert!(cuts <= COUNT, "each session brings some");
    }
    assert!(cuts > 3);
    assert_eq!(world.in_snapshots, COUNT);
    assert_eq!(world.fingerprint(newcomer), world.fingerprint(0));
}

#[test]
fn what_changes_under_way_arrives_too() {
    let (mut world, incidents, newcomer) = world();
    world.link(0);
    world.settle();
    world.link(newcomer);
    world.carry_up(newcomer);
    world.carry_down(newcomer, 2);
    let before = held(&world, newcomer);
    assert!(!before.is_empty() && before.len() < COUNT / 2);
    // One that has come, one that has not, a new one, and one that the second round would have brought, and is open now.
    world.note(0, before[0], "已通知权属单位");
    world.note(0, incidents[1], "已通知权属单位");
    let new = world.report(0, "新的").document;
    world.edit(0, incidents[2], &step(Step::Decline, "重复"));
    // The device saves something itself.
    let own = world.report(newcomer, "自己的").document;
    world.settle();
    for place in [0, newcomer] {
        assert!(matches!(world.state(place), SyncState::InSync { .. }));
        assert!(held(&world, place).contains(&new));
        assert!(held(&world, place).contains(&own));
    }
    assert_eq!(world.fingerprint(newcomer), world.fingerprint(0));
}

#[test]
fn a_snapshot_of_another_life_of_the_relay_is_reconciled() {
    let (mut world, _, newcomer) = world();
    let folder = TempDir::new().unwrap();
    let backup = folder.path().join("backup.db");
    world.restart_relay(|file| {
        fs::copy(file, &backup).unwrap();
    });
    world.link(newcomer);
    world.carry_up(newcomer);
    world.carry_down(newcomer, 3);
    world.unlink(newcomer);
    world.sync(0);
    world.report(0, "备份之后");
    world.settle();
    let before = world.in_snapshots;
    assert!(0 < before && before < COUNT);
    world.restart_relay(|file| {
        fs::copy(&backup, file).unwrap();
    });
    world.sync(newcomer);
    world.sync(0);
    assert_eq!(world.in_snapshots, before);
    assert_eq!(world.fingerprint(newcomer).len(), COUNT + 1);
    assert_eq!(world.fingerprint(newcomer), world.fingerprint(0));
}
