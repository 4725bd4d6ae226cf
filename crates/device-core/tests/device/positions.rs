//! Where a device is, as far as it tells, and where others are.

use std::time::Duration;

use gridbeat_base::{Position, WallTime};
use gridbeat_device_core::Whereabouts;
use gridbeat_sync_protocol::limits::{POSITION_KEPT, POSITION_KEPT_COARSE, POSITION_STALE};
use gridbeat_sync_protocol::{
    Fix, Frame, Gone, Here, Positions, Seen, Sighting, VERSION_OF_POSITIONS, Watch,
};

use crate::support::{World, at, device_id, frames};

fn whereabouts(latitude_e7: i32) -> Whereabouts {
    Whereabouts {
        position: Position::from_e7(latitude_e7, 1_215_512_345).unwrap(),
        accuracy_dm: 48,
        speed_cm_s: Some(412),
        heading_deg: Some(360),
        battery_percent: Some(63),
        receiver_time: Some(WallTime(7)),
    }
}

/// What a device tells of positions, of all that it says.
fn told(world: &mut World) -> Vec<Frame> {
    let all = frames(&mut world.devices[0]).into_iter();
    all.filter(|frame| matches!(frame, Frame::Here(_) | Frame::Gone(_) | Frame::Watch(_)))
        .collect()
}

fn latitude(frame: &Frame) -> i32 {
    let Frame::Here(here) = frame else {
        panic!("{frame:?}");
    };
    here.fix.position.latitude_e7()
}

/// A device that is in session since a while; returns when it is.
fn in_session() -> (World, i64) {
    let mut world = World::synced(1);
    world.sync(0);
    let ms = world.ms;
    (world, ms)
}

#[test]
fn a_fix_is_told_at_once_with_three_clocks_and_what_waits() {
    let (mut world, ms) = in_session();
    world.devices[0].share_position(at(ms), whereabouts(298_712_345));
    let fix = Fix {
        device_time: at(ms).wall,
        receiver_time: Some(WallTime(7)),
        position: whereabouts(298_712_345).position,
        accuracy_dm: 48,
        speed_cm_s: Some(412),
        heading_deg: Some(0),
        battery_percent: Some(63),
        waiting: Some(0),
    };
    let here = Here {
        number: 1,
        age_ms: 0,
        fix,
    };
    assert_eq!(told(&mut world), [Frame::Here(here)]);
}

#[test]
fn of_the_fixes_of_a_second_the_newest_is_told() {
    let (mut world, ms) = in_session();
    for (after, latitude_e7) in [(0, 1), (300, 2), (600, 3)] {
        world.devices[0].share_position(at(ms + after), whereabouts(latitude_e7));
    }
    let now = told(&mut world);
    assert_eq!(now.iter().map(latitude).collect::<Vec<_>>(), [1]);
    let due = world.devices[0].next_deadline().unwrap();
    assert_eq!(due, at(ms + 1_000).monotonic);
    world.devices[0].handle_deadline(at(ms + 1_000)).unwrap();
    let later = told(&mut world);
    assert_eq!(later.iter().map(latitude).collect::<Vec<_>>(), [3]);
    let Frame::Here(here) = later[0] else {
        panic!("{later:?}");
    };
    assert_eq!((here.number, here.age_ms), (2, 400));
}

#[test]
fn what_was_made_without_a_link_is_told_with_its_age_when_there_is_one_and_only_the_newest() {
    let mut world = World::synced(1);
    let ms = world.ms;
    world.devices[0].share_position(at(ms), whereabouts(1));
    world.devices[0].share_position(at(ms + 60_000), whereabouts(2));
    assert_eq!(world.devices[0].next_deadline(), None);
    world.ms = ms + 360_000;
    world.sync(0);
    let told = std::mem::take(&mut world.relay.told);
    let [Frame::Here(here)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(here.fix.position.latitude_e7(), 2);
    assert_eq!(here.fix.device_time, at(ms + 60_000).wall);
    assert!((300_000..330_000).contains(&here.age_ms), "{}", here.age_ms);
    // And in the next session again: the relay may be another one.
    world.unlink(0);
    world.sync(0);
    assert_eq!(world.relay.told.len(), 1);
}

#[test]
fn off_duty_is_said_at_once_and_in_each_session() {
    let (mut world, ms) = in_session();
    world.devices[0].share_position(at(ms), whereabouts(1));
    world.devices[0].hide_position(at(ms + 10));
    let last = told(&mut world).pop();
    assert_eq!(last, Some(Frame::Gone(Gone { number: 2 })));
    world.unlink(0);
    world.sync(0);
    assert_eq!(world.relay.told, [Frame::Gone(Gone { number: 1 })]);
}

#[test]
fn whoever_never_told_says_nothing_about_it() {
    let mut world = World::new(1);
    world.sync(0);
    assert_eq!(world.relay.told, []);
}

#[test]
fn a_relay_that_knows_no_positions_is_told_none() {
    let mut world = World::synced(1);
    world.relay.newest = VERSION_OF_POSITIONS - 1;
    let ms = world.ms;
    world.devices[0].share_position(at(ms), whereabouts(1));
    world.devices[0].watch_positions(at(ms), true);
    world.sync(0);
    assert_eq!(world.relay.told, []);
    assert_eq!(world.devices[0].next_deadline(), None);
}

fn sighting(number: u8, taken_ms: i64, is_exact: Option<bool>) -> Sighting {
    let fix = Fix {
        device_time: WallTime(0),
        receiver_time: None,
        position: Position::from_e7(298_712_345, i32::from(number)).unwrap(),
        accuracy_dm: 48,
        speed_cm_s: None,
        heading_deg: None,
        battery_percent: None,
        waiting: None,
    };
    Sighting {
        device: device_id(number),
        taken: WallTime(taken_ms),
        seen: is_exact.map(|is_exact| Seen { is_exact, fix }),
    }
}

/// A device that watches; the relay's clock has nothing to do with the device's.
fn watching() -> (World, i64) {
    let (mut world, ms) = in_session();
    world.devices[0].watch_positions(at(ms), true);
    let watch = Watch { is_wanted: true };
    assert_eq!(told(&mut world), [Frame::Watch(watch)]);
    (world, ms)
}

fn come(world: &mut World, ms: i64, now_ms: i64, sightings: Vec<Sighting>) {
    let positions = Positions {
        now: WallTime(now_ms),
        sightings,
    };
    let frame = Frame::Positions(positions);
    world.devices[0].handle_frame(at(ms), frame).unwrap();
}

fn seen(world: &World, ms: i64) -> Vec<(u8, u64, bool)> {
    let seen = world.devices[0].positions(at(ms));
    seen.iter()
        .map(|it| (it.device.bytes()[0], it.age.as_secs(), it.is_stale))
        .collect()
}

#[test]
fn a_position_ages_on_the_devices_own_clock_and_is_stale_and_then_gone() {
    let (mut world, ms) = watching();
    let both = vec![
        sighting(7, 90_000, Some(true)),
        sighting(8, 100_000, Some(false)),
    ];
    come(&mut world, ms, 100_000, both);
    assert_eq!(seen(&world, ms), [(7, 10, false), (8, 0, false)]);
    // The link goes, and with it nothing that is known.
    world.unlink(0);
    let after = |time: Duration| ms + i64::try_from(time.as_millis()).unwrap();
    let stale = POSITION_STALE.as_secs();
    let at_stale = after(POSITION_STALE);
    assert_eq!(
        seen(&world, at_stale - 10_000),
        [(7, stale, true), (8, stale - 10, false)]
    );
    assert_eq!(
        seen(&world, at_stale),
        [(7, stale + 10, true), (8, stale, true)]
    );
    let rough = after(POSITION_KEPT_COARSE);
    assert_eq!(seen(&world, rough).len(), 1);
    let kept = after(POSITION_KEPT - Duration::from_secs(10));
    assert_eq!(seen(&world, kept - 1).len(), 1);
    assert_eq!(seen(&world, kept), []);
}

#[test]
fn of_two_sightings_the_later_counts_in_whatever_order_they_come() {
    let (mut world, ms) = watching();
    come(
        &mut world,
        ms,
        100_000,
        vec![sighting(7, 95_000, Some(true))],
    );
    come(
        &mut world,
        ms,
        101_000,
        vec![sighting(7, 90_000, Some(true))],
    );
    assert_eq!(seen(&world, ms), [(7, 5, false)]);
    come(&mut world, ms, 102_000, vec![sighting(7, 101_000, None)]);
    assert_eq!(seen(&world, ms), []);
    come(
        &mut world,
        ms,
        102_000,
        vec![sighting(7, 99_000, Some(true))],
    );
    assert_eq!(seen(&world, ms), [], "a datagram that was overtaken");
    come(
        &mut world,
        ms,
        103_000,
        vec![sighting(7, 103_000, Some(true))],
    );
    assert_eq!(seen(&world, ms), [(7, 0, false)]);
}

#[test]
fn what_a_session_says_first_takes_the_place_of_what_was_known() {
    let (mut world, ms) = watching();
    let both = vec![
        sighting(7, 100_000, Some(true)),
        sighting(8, 100_000, Some(true)),
    ];
    come(&mut world, ms, 100_000, both);
    world.unlink(0);
    world.sync(0);
    let watch = Frame::Watch(Watch { is_wanted: true });
    assert_eq!(world.relay.told, [watch]);
    let ms = world.ms;
    assert_eq!(seen(&world, ms).len(), 2, "until it has");
    come(
        &mut world,
        ms,
        200_000,
        vec![sighting(8, 200_000, Some(true))],
    );
    assert_eq!(seen(&world, ms), [(8, 0, false)]);
}

#[test]
fn whoever_looks_no_more_knows_nobodys_place() {
    let (mut world, ms) = watching();
    come(
        &mut world,
        ms,
        100_000,
        vec![sighting(7, 100_000, Some(true))],
    );
    world.devices[0].watch_positions(at(ms), false);
    let watch = Frame::Watch(Watch { is_wanted: false });
    assert_eq!(told(&mut world), [watch]);
    assert_eq!(seen(&world, ms), []);
    // What was under way.
    come(
        &mut world,
        ms,
        100_000,
        vec![sighting(8, 100_000, Some(true))],
    );
    assert_eq!(seen(&world, ms), []);
}
