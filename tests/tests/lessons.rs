//! What users of other systems suffered does not happen here: their complaints as tests, each named by
//! the promise it makes.
//!
//! Not here: the same under random faults (`crates/sim`), and what needs a network of its own.

use std::fs;

use gridbeat_base::Position;
use gridbeat_device_core::{Near, Order, Query, SyncState};
use gridbeat_domain::{FOLD_SLACK, IncidentIntent, State, Step};
use rusqlite::Connection;

use crate::pump::{World, step};

/// Changes as many as an officer makes in a week, for what must not grow with them.
const MANY: usize = 200;

/// Most bytes, each way, of a reconnection after which nothing is new.
const GREETING_BYTES_MAX: usize = 200;

/// Automerge 870: two documents differ, and both sides say that they are in sync.
#[test]
fn two_sides_that_differ_find_out_and_are_mended() {
    let mut world = World::new(2);
    let first = world.report(0, "井盖破损");
    world.sync(0);
    world.sync(1);
    world.note(0, first.document, "已设警示");
    world.unlink(1);
    world.settle();
    // The second device believes to have the note, as after a bug or a bad block.
    world.restart_device(1, |file| {
        let file = Connection::open(file).unwrap();
        file.execute("UPDATE scope SET cursor = cursor + 1", [])
            .unwrap();
    });
    world.sync(1);
    assert_eq!(world.relay.counters().digest_mismatches, 1);
    world.assert_all_in_sync();
    assert_eq!(world.shown(1, first.document).steps.len(), 2);
}

/// Subduction 162: local files do not load while the server is unwell.
#[test]
fn everything_on_the_device_can_be_read_and_saved_whatever_the_network_does() {
    let mut world = World::new(1);
    let first = world.report(0, "路灯不亮");
    // From a greeting without an answer to a link that is cut: none may stand in the way.
    world.link(0);
    assert!(matches!(
        world.state(0),
        SyncState::Connecting { waiting: 1 }
    ));
    let second = world.report(0, "树枝倒伏");
    world.unlink(0);
    world.note(0, first.document, "已拍照");
    assert!(matches!(world.state(0), SyncState::Offline { waiting: 3 }));
    let query = Query {
        near: Some(Near {
            position: Position::from_degrees(29.951, 121.711).unwrap(),
            within_m: Some(500.0),
        }),
        order: Order::NearestFirst,
        ..Query::default()
    };
    let device = &world.seats[0].device;
    assert_eq!(device.query(&query).unwrap().len(), 2);
    let query = Query {
        text: Some("倒伏".into()),
        ..Query::default()
    };
    assert_eq!(device.query(&query).unwrap()[0].document, second.document);
    assert_eq!(device.history(first.document).unwrap().len(), 2);
}

/// PowerSync 15: a failed upload is never tried again until the next local write.
#[test]
fn what_failed_to_go_out_goes_out_on_the_next_link_without_another_save() {
    let mut world = World::new(2);
    world.report(0, "占道经营");
    world.break_disk();
    world.sync(0);
    assert_eq!(
        world.waiting(0),
        1,
        "the relay acknowledged what it could not store"
    );
    world.unlink(0);
    world.mend_disk();
    world.sync(0);
    world.sync(1);
    world.assert_all_in_sync();
    assert_eq!(world.fingerprint(1).len(), 1);
}

/// PowerSync: one rejected write blocks all that follows, and so downloads too; or it is dropped without
/// a word.
#[test]
fn a_refused_change_is_shown_and_blocks_neither_what_follows_nor_what_comes() {
    const LETTERS: [&str; 5] = ["甲", "乙", "丙", "丁", "戊"];
    let last = 4;
    let mut world = World::new(5);
    let base = "墙面开裂。".repeat(20);
    let first = world.report(0, &base);
    world.sync_all();
    for place in 0..LETTERS.len() {
        world.unlink(place);
    }
    // Each text is short enough; merged they are not, which nobody could know offline.
    let long = |letter: &str| IncidentIntent::Describe {
        description: base.clone() + &letter.repeat(790),
    };
    for (place, letter) in LETTERS.iter().enumerate() {
        world.edit(place, first.document, &long(letter));
    }
    world.note(last, first.document, "业主已知");
    let other = world.report(last, "窗户松动");
    for place in 0..LETTERS.len() {
        world.sync(place);
    }
    world.assert_all_in_sync();

    let refused = world.seats[last].device.refused().unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].document, first.document);
    assert!(!refused[0].reason.zh.is_empty());
    let intent: IncidentIntent =
        serde_json::from_slice(refused[0].intent.as_ref().unwrap()).unwrap();
    assert_eq!(intent, long("戊"), "what the officer wrote is gone");
    for place in 0..LETTERS.len() {
        let shown = world.shown(place, first.document);
        assert!(shown.description.starts_with(&base));
        for letter in LETTERS {
            let kept = if letter == "戊" { 0 } else { 790 };
            assert_eq!(shown.description.matches(letter).count(), kept);
        }
        assert_eq!(shown.steps.last().unwrap().note, "业主已知");
        assert_eq!(world.shown(place, other.document).description, "窗户松动");
    }
}

/// CHT 7528: a link that drops inside the first batch begins again from zero.
#[test]
fn a_catch_up_that_is_cut_again_and_again_goes_on_where_it_was() {
    let mut world = World::new(1);
    for number in 0..MANY {
        world.report(0, &format!("{number} {}", "长".repeat(890)));
    }
    world.sync(0);
    let newcomer = world.add_device_that_never_synced();
    let (mut cuts, mut held) = (0, 0);
    loop {
        world.link(newcomer);
        world.carry_up(newcomer);
        // The greeting and one frame of the feed, then the tunnel.
        world.carry_down(newcomer, 2);
        let holds = world.fingerprint(newcomer).len();
        if holds == MANY {
            break;
        }
        assert!(holds > held, "nothing was kept of what came");
        held = holds;
        cuts += 1;
        world.unlink(newcomer);
    }
    assert!(cuts > 0, "all came in one frame");
    world.settle();
    world.assert_all_in_sync();
}

/// PouchDB 7578, 6175: databases that are equal still take long to find out.
#[test]
fn a_reconnection_with_nothing_new_costs_the_same_however_much_is_held() {
    let mut world = World::new(2);
    let mut bytes = |reports: usize| {
        for number in 0..reports {
            world.report(0, &format!("{number}号井盖"));
        }
        world.sync(0);
        world.sync(1);
        world.unlink(1);
        world.unlink(0);
        world.carried = (0, 0);
        world.sync(1);
        let carried = world.carried;
        world.unlink(1);
        carried
    };
    let (few, many) = (bytes(2), bytes(MANY));
    assert!(
        few.0 <= GREETING_BYTES_MAX && few.1 <= GREETING_BYTES_MAX,
        "{few:?}"
    );
    // Sequence numbers and counts are written in as many bytes as they need.
    assert!(
        many.0 <= few.0 + 8 && many.1 <= few.1 + 8,
        "{few:?}, then {many:?}"
    );
}

/// CHT 8093: what was written after the server's backup is never sent again.
#[test]
fn a_relay_restored_from_a_backup_gets_everything_back() {
    let mut world = World::new(2);
    let old = world.report(0, "垃圾堆积");
    world.sync(0);
    world.sync(1);
    let backup = world.relay_path().with_extension("backup");
    world.restart_relay(|file| {
        fs::copy(file, &backup).unwrap();
    });
    world.sync(0);
    world.sync(1);
    let lost = world.report(0, "沙井盖缺失");
    world.note(1, old.document, "已通知保洁");
    world.settle();
    world.assert_all_in_sync();

    world.restart_relay(|file| {
        fs::copy(&backup, file).unwrap();
    });
    world.sync(0);
    world.sync(1);
    world.assert_all_in_sync();
    assert!(world.relay.counters().reconciliations > 0);
    let newcomer = world.add_device();
    world.sync(newcomer);
    world.assert_all_in_sync();
    assert_eq!(
        world.shown(newcomer, lost.document).description,
        "沙井盖缺失"
    );
    assert_eq!(world.shown(newcomer, old.document).steps.len(), 2);
}

/// ODK forum 50 (since 2010): a link cut after the server stored an entry makes it two, or ten.
#[test]
fn what_is_sent_again_because_the_answer_was_lost_is_there_once() {
    let mut world = World::new(2);
    let saved = world.report(0, "违章停车");
    for _ in 0..10 {
        world.link(0);
        // The relay stores it; its answer never arrives.
        world.carry_up(0);
        world.unlink(0);
        assert_eq!(world.waiting(0), 1);
    }
    world.sync(0);
    world.sync(1);
    world.assert_all_in_sync();
    assert_eq!(world.relay.counters().changes_accepted, 1);
    assert!(world.relay.counters().changes_known >= 9);
    assert_eq!(world.fingerprint(1).len(), 1);
    assert_eq!(
        world.seats[1].device.history(saved.document).unwrap().len(),
        1
    );
    assert!(world.seats[0].device.refused().unwrap().is_empty());
}

/// CHT 6284, Evolu 709: clocks that are wrong break the order, or everybody else refuses the change.
#[test]
fn clocks_that_are_wrong_by_years_neither_block_nor_win() {
    const YEAR_MS: i64 = 365 * 24 * 3_600_000;
    let (early, late, right) = (0, 1, 2);
    let mut world = World::new(3);
    world.seats[early].ahead_ms = 3 * YEAR_MS;
    world.seats[late].ahead_ms = -2 * YEAR_MS;
    let saved = world.report(right, "护栏缺失");
    world.sync_all();
    world.edit(early, saved.document, &step(Step::Accept, ""));
    world.sync_all();
    // A step of a clock that runs ahead counts as if taken within this time of its receipt.
    world.pass(FOLD_SLACK);
    world.edit(right, saved.document, &step(Step::File, ""));
    world.note(late, saved.document, "已到场");
    world.sync_all();
    world.edit(early, saved.document, &step(Step::Dispatch, ""));
    world.sync_all();
    world.assert_all_in_sync();
    assert_eq!(world.relay.counters().changes_refused, 0);
    for place in [early, late, right] {
        let shown = world.shown(place, saved.document);
        assert_eq!((shown.state, shown.steps.len()), (State::Dispatched, 5));
        assert_eq!(shown, world.shown(right, saved.document));
    }
}

#[test]
fn a_clock_that_runs_behind_answers_after_what_it_saw() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let (right, late) = (0, 1);
    let mut world = World::new(2);
    world.seats[late].ahead_ms = -40 * DAY_MS;
    let saved = world.report(right, "路灯不亮");
    world.sync_all();
    world.edit(late, saved.document, &step(Step::Accept, ""));
    // Before and after the relay has received it, by anybody's table of steps.
    let shown = world.shown(late, saved.document);
    assert_eq!((shown.state, shown.steps.len()), (State::Accepted, 2));
    world.sync_all();
    for place in [right, late] {
        let shown = world.shown(place, saved.document);
        assert_eq!((shown.state, shown.steps.len()), (State::Accepted, 2));
    }
    world.assert_all_in_sync();
}
