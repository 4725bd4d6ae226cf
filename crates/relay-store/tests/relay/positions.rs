//! Where devices are: who is told, how exactly, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use gridbeat_base::{DeviceId, Position, Verb, Verbs, WallTime};
use gridbeat_relay_core::Output;
use gridbeat_relay_store::Registry as _;
use gridbeat_sync_protocol::limits::{
    POSITION_KEPT, POSITION_KEPT_COARSE, SIGHTINGS_MAX, SIGHTINGS_MOVED_MAX,
};
use gridbeat_sync_protocol::{
    Fix, Frame, Gone, Here, Positions, Seen, Sighting, VERSION_NEWEST, Watch,
};

use crate::device::Device;
use crate::world::{World, scope};

const SECOND: Duration = Duration::from_secs(1);

fn fix() -> Fix {
    Fix {
        device_time: WallTime(1_600_000_000_000),
        receiver_time: Some(WallTime(1_700_000_000_123)),
        position: Position::from_e7(298_712_345, -1_215_512_345).unwrap(),
        accuracy_dm: 48,
        speed_cm_s: Some(412),
        heading_deg: Some(271),
        battery_percent: Some(63),
        waiting: Some(7),
    }
}

/// A device with these verbs in a scope, in session.
fn present(world: &mut World, number: u8, name: &str, verbs: Verbs) -> Device {
    let name = scope(name);
    let mut device = Device::new(number, &[&name]);
    device.newest = VERSION_NEWEST;
    world.grant(device.id, &BTreeMap::from([(name, verbs)]));
    device.connect(world);
    device
}

fn officer(world: &mut World) -> Device {
    present(world, 1, "east", Verbs::of(&[Verb::Report, Verb::Edit]))
}

fn dispatcher(world: &mut World) -> Device {
    present(world, 2, "east", Verbs::of(&[Verb::Dispatch]))
}

fn peer(world: &mut World) -> Device {
    present(world, 3, "east", Verbs::READ)
}

fn tell(world: &mut World, device: &Device, number: u64, age_ms: u64, fix: Fix) {
    let here = Here {
        number,
        age_ms,
        fix,
    };
    world.deliver(device.session, Frame::Here(here));
}

fn gone(world: &mut World, device: &Device, number: u64) {
    world.deliver(device.session, Frame::Gone(Gone { number }));
}

fn watch(world: &mut World, device: &Device) {
    let watch = Watch { is_wanted: true };
    world.deliver(device.session, Frame::Watch(watch));
}

/// What a device was told since it was last looked: surely, and in datagrams.
fn told(world: &mut World, device: &Device) -> (Vec<Positions>, Vec<Positions>) {
    let (mut surely, mut moved) = (Vec::new(), Vec::new());
    for frame in world.sent.remove(&device.session).unwrap_or_default() {
        let kind = frame.kind();
        if let Frame::Positions(positions) = frame {
            surely.push(positions);
        } else if let Frame::Moved(positions) = frame {
            assert!(kind.is_datagram());
            moved.push(positions);
        }
    }
    (surely, moved)
}

/// What a device was told of one other in one datagram and nothing else.
fn moved(world: &mut World, device: &Device) -> Sighting {
    let (surely, moved) = told(world, device);
    assert_eq!(surely, []);
    let [positions] = moved.try_into().unwrap();
    let [sighting] = positions.sightings.try_into().unwrap();
    sighting
}

fn is_told_nothing(world: &mut World, device: &Device) -> bool {
    told(world, device) == (vec![], vec![])
}

#[test]
fn who_dispatches_is_told_exactly_others_roughly_and_strangers_nothing() {
    let mut world = World::new();
    let officer = officer(&mut world);
    let (dispatcher, peer) = (dispatcher(&mut world), peer(&mut world));
    let stranger = present(&mut world, 4, "west", Verbs::WORK);
    for device in [&officer, &dispatcher, &peer, &stranger] {
        watch(&mut world, device);
        assert_eq!(told(&mut world, device).0.len(), 1);
    }
    tell(&mut world, &officer, 1, 2_000, fix());
    world.wait(SECOND);

    let taken = WallTime(world.now.wall.millis() - 3_000);
    let exact = Sighting {
        device: officer.id,
        taken,
        seen: Some(Seen {
            is_exact: true,
            fix: fix(),
        }),
    };
    assert_eq!(moved(&mut world, &dispatcher), exact);
    let rough = Fix {
        position: Position::from_e7(298_710_000, -1_215_510_000).unwrap(),
        accuracy_dm: 1_500,
        speed_cm_s: None,
        heading_deg: None,
        battery_percent: None,
        waiting: None,
        ..fix()
    };
    let rough = Seen {
        is_exact: false,
        fix: rough,
    };
    assert_eq!(moved(&mut world, &peer).seen, Some(rough));
    assert!(is_told_nothing(&mut world, &officer), "of itself");
    assert!(is_told_nothing(&mut world, &stranger));
    assert_eq!(world.relay.positions(world.now), [exact]);
    assert!(world.outputs.contains(&Output::Sighted(exact)));
}

#[test]
fn who_reads_alone_tells_nobody_where_he_is() {
    let mut world = World::new();
    let (peer, dispatcher) = (peer(&mut world), dispatcher(&mut world));
    watch(&mut world, &dispatcher);
    told(&mut world, &dispatcher);
    tell(&mut world, &peer, 1, 0, fix());
    world.wait(SECOND);
    assert!(is_told_nothing(&mut world, &dispatcher));
    assert_eq!(world.relay.positions(world.now), []);
}

#[test]
fn dispatch_in_another_scope_is_not_dispatch_here() {
    let mut world = World::new();
    let officer = officer(&mut world);
    let mut both = Device::new(2, &[&scope("east"), &scope("west")]);
    both.newest = VERSION_NEWEST;
    let verbs = [
        (scope("east"), Verbs::READ),
        (scope("west"), Verbs::of(&[Verb::Dispatch])),
    ];
    world.grant(both.id, &BTreeMap::from(verbs));
    both.connect(&mut world);
    watch(&mut world, &both);
    told(&mut world, &both);
    tell(&mut world, &officer, 1, 0, fix());
    world.wait(SECOND);
    assert!(!moved(&mut world, &both).seen.unwrap().is_exact);
}

#[test]
fn who_begins_to_watch_is_told_where_a_device_was_last_that_is_gone_from_the_net() {
    let mut world = World::new();
    let mut officer = officer(&mut world);
    tell(&mut world, &officer, 1, 0, fix());
    officer.disconnect(&mut world);
    world.wait(Duration::from_secs(3_600));
    let dispatcher = dispatcher(&mut world);
    watch(&mut world, &dispatcher);
    let (surely, moved) = told(&mut world, &dispatcher);
    assert_eq!(moved, []);
    let [positions] = surely.try_into().unwrap();
    assert_eq!(positions.now, world.now.wall);
    assert_eq!(positions.sightings[0].device, officer.id);
    assert_eq!(
        positions.sightings[0].taken,
        WallTime(world.now.wall.millis() - 3_600_000)
    );
}

#[test]
fn who_watches_no_more_is_told_no_more() {
    let mut world = World::new();
    let (officer, dispatcher) = (officer(&mut world), dispatcher(&mut world));
    watch(&mut world, &dispatcher);
    let stop = Watch { is_wanted: false };
    world.deliver(dispatcher.session, Frame::Watch(stop));
    told(&mut world, &dispatcher);
    tell(&mut world, &officer, 1, 0, fix());
    world.wait(SECOND);
    assert!(is_told_nothing(&mut world, &dispatcher));
}

#[test]
fn who_tells_no_more_is_forgotten_and_what_comes_late_is_not_taken() {
    let mut world = World::new();
    let (officer, dispatcher) = (officer(&mut world), dispatcher(&mut world));
    let stranger = present(&mut world, 4, "west", Verbs::WORK);
    watch(&mut world, &dispatcher);
    watch(&mut world, &stranger);
    tell(&mut world, &officer, 1, 0, fix());
    world.wait(SECOND);
    let before = moved_taken(&mut world, &dispatcher);
    told(&mut world, &stranger);

    gone(&mut world, &officer, 3);
    let (surely, _) = told(&mut world, &dispatcher);
    let gone_for_all = surely[0].sightings[0];
    assert_eq!((gone_for_all.device, gone_for_all.seen), (officer.id, None));
    assert!(gone_for_all.taken > before);
    assert!(is_told_nothing(&mut world, &stranger));
    // A datagram that was overtaken.
    tell(&mut world, &officer, 2, 0, fix());
    world.wait(SECOND);
    assert!(is_told_nothing(&mut world, &dispatcher));
    assert_eq!(world.relay.positions(world.now), []);
    // And on duty again, in another session, whose numbers begin anew.
    let mut officer = officer;
    officer.disconnect(&mut world);
    officer.connect(&mut world);
    tell(&mut world, &officer, 1, 0, fix());
    assert_eq!(world.relay.positions(world.now).len(), 1);
}

fn moved_taken(world: &mut World, device: &Device) -> WallTime {
    let (_, moved) = told(world, device);
    moved[0].sightings[0].taken
}

#[test]
fn of_two_fixes_the_later_is_told_as_the_later_whatever_the_link_did() {
    let mut world = World::new();
    let (officer, dispatcher) = (officer(&mut world), dispatcher(&mut world));
    watch(&mut world, &dispatcher);
    // The first was ten seconds on its way, and seems to be of now; the second tells its age rightly.
    tell(&mut world, &officer, 1, 0, fix());
    world.wait(SECOND);
    let first = moved_taken(&mut world, &dispatcher);
    tell(&mut world, &officer, 2, 9_000, fix());
    world.wait(SECOND);
    assert!(moved_taken(&mut world, &dispatcher) > first);
    // An older one that comes last is nothing.
    tell(&mut world, &officer, 1, 0, fix());
    world.wait(SECOND);
    assert!(is_told_nothing(&mut world, &dispatcher));
}

#[test]
fn a_fix_is_kept_for_a_long_shift_and_for_peers_half_an_hour() {
    let mut world = World::new();
    let (officer, dispatcher, peer) = (
        officer(&mut world),
        dispatcher(&mut world),
        peer(&mut world),
    );
    tell(&mut world, &officer, 1, 60_000, fix());
    let shown = |world: &mut World, device: &Device| {
        watch(world, device);
        let (surely, _) = told(world, device);
        surely.iter().map(|it| it.sightings.len()).sum::<usize>()
    };
    let made = Duration::from_secs(60);
    world.wait(POSITION_KEPT_COARSE.saturating_sub(made + SECOND));
    assert_eq!(shown(&mut world, &peer), 1);
    world.wait(SECOND);
    assert_eq!(shown(&mut world, &peer), 0);
    world.wait(POSITION_KEPT - POSITION_KEPT_COARSE - SECOND);
    assert_eq!(shown(&mut world, &dispatcher), 1);
    world.wait(SECOND);
    assert_eq!(shown(&mut world, &dispatcher), 0);
    assert_eq!(world.relay.positions(world.now), []);
    // One that was made so long ago is not taken.
    let age_ms = u64::try_from(POSITION_KEPT.as_millis()).unwrap();
    tell(&mut world, &officer, 2, age_ms, fix());
    tell(&mut world, &officer, 3, u64::MAX, fix());
    assert_eq!(world.relay.positions(world.now), []);
}

#[test]
fn where_a_device_was_goes_with_its_right_to_be_there() {
    let mut world = World::new();
    let (mut officer, dispatcher) = (officer(&mut world), dispatcher(&mut world));
    watch(&mut world, &dispatcher);
    tell(&mut world, &officer, 1, 0, fix());
    world.wait(SECOND);
    told(&mut world, &dispatcher);
    // It is not even there any more.
    officer.disconnect(&mut world);
    world.store.revoke(officer.id, world.now.wall).unwrap();
    world.relay.rights_changed(world.now);
    world.pump();
    let (surely, _) = told(&mut world, &dispatcher);
    assert_eq!(surely[0].sightings[0].seen, None);
    assert_eq!(world.relay.positions(world.now), []);
}

#[test]
fn what_moves_within_a_second_is_told_together_in_datagrams_that_fit() {
    let mut world = World::new();
    let dispatcher = dispatcher(&mut world);
    watch(&mut world, &dispatcher);
    told(&mut world, &dispatcher);
    let count = SIGHTINGS_MOVED_MAX + 3;
    for number in 0..count {
        let number = 100 + u8::try_from(number).unwrap();
        let officer = present(&mut world, number, "east", Verbs::WORK);
        tell(&mut world, &officer, 1, 0, fix());
        tell(&mut world, &officer, 2, 0, fix());
    }
    world.wait(SECOND);
    let (_, moved) = told(&mut world, &dispatcher);
    let sizes: Vec<usize> = moved.iter().map(|it| it.sightings.len()).collect();
    assert_eq!(sizes, [SIGHTINGS_MOVED_MAX, 3], "each once, the newest");
}

#[test]
fn a_district_is_told_in_several_frames() {
    let mut world = World::new();
    let dispatcher = dispatcher(&mut world);
    let count = SIGHTINGS_MAX + 1;
    for number in 0..count {
        let mut officer = Device::new(9, &[&scope("east")]);
        let mut id = [0xee; 16];
        id[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
        officer.id = DeviceId::from_bytes(id);
        officer.newest = VERSION_NEWEST;
        world.enrol(officer.id, &[&scope("east")]);
        officer.connect(&mut world);
        tell(&mut world, &officer, 1, 0, fix());
    }
    watch(&mut world, &dispatcher);
    let (surely, _) = told(&mut world, &dispatcher);
    let sizes: Vec<usize> = surely.iter().map(|it| it.sightings.len()).collect();
    assert_eq!(sizes, [SIGHTINGS_MAX, 1]);
}

#[test]
fn nothing_of_a_position_is_written_down() {
    let mut world = World::new();
    let officer = officer(&mut world);
    let done = world.done.len();
    tell(&mut world, &officer, 1, 0, fix());
    gone(&mut world, &officer, 2);
    world.pump();
    assert_eq!(world.done.len(), done, "{:?}", world.done);
    tell(&mut world, &officer, 3, 0, fix());
    world.restart();
    assert_eq!(world.relay.positions(world.now), []);
}
