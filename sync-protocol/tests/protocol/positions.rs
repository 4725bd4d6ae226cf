//! Positions over a session: told in datagrams, watched, and every rule of that.

use gridbeat_base::{DeviceId, Position, WallTime};
use gridbeat_sync_protocol::limits::{SIGHTINGS_MAX, SIGHTINGS_MOVED_MAX};
use gridbeat_sync_protocol::{
    DeviceOutput, DeviceSession, Fix, Frame, Gone, Here, Positions, RelayOutput, RelaySession,
    Seen, SessionError, Sighting, VERSION_OF_POSITIONS, Versions, Watch, Welcome, decode, encode,
};

use crate::support::*;

pub(crate) fn fix() -> Fix {
    Fix {
        device_time: WallTime(1_790_000_000_123),
        receiver_time: Some(WallTime(1_790_000_000_000)),
        position: Position::from_e7(298_712_345, 1_215_512_345).unwrap(),
        accuracy_dm: 48,
        speed_cm_s: Some(412),
        heading_deg: Some(271),
        battery_percent: Some(63),
        waiting: Some(7),
    }
}

pub(crate) fn sighting(seen: bool) -> Sighting {
    Sighting {
        device: DeviceId::from_bytes([9; 16]),
        taken: WallTime(1_790_000_000_456),
        seen: seen.then_some(Seen {
            is_exact: true,
            fix: fix(),
        }),
    }
}

pub(crate) fn positions(count: usize) -> Positions {
    Positions {
        now: WallTime(1_790_000_001_000),
        sightings: vec![sighting(true); count],
    }
}

fn device_of(version: u16) -> DeviceSession {
    let mut session = greeting_device(hello(&[("a", 10)]));
    let welcome = welcome(vec![greeting("a", 10)]);
    give(&mut session, Frame::Welcome(Welcome { version, ..welcome })).unwrap();
    device_outputs(&mut session);
    session
}

fn relay_of(newest: u16) -> RelaySession {
    let mut session = new_relay();
    let mut hello = hello(&[("a", 10)]);
    hello.versions = Versions { newest, oldest: 1 };
    send(&mut session, Frame::Hello(hello)).unwrap();
    session
        .welcome(incarnation(9), WallTime(0), vec![greeting("a", 10)])
        .unwrap();
    relay_outputs(&mut session);
    session
}

#[test]
fn what_a_device_tells_of_itself_is_numbered_and_comes_out_as_it_was_told() {
    let mut device = device_of(VERSION_OF_POSITIONS);
    device.here(250, fix()).unwrap();
    device.gone().unwrap();
    device.watch(true).unwrap();
    let here = Here {
        number: 1,
        age_ms: 250,
        fix: fix(),
    };
    let gone = Gone { number: 2 };
    let watch = Watch { is_wanted: true };
    let frames = [Frame::Here(here), Frame::Gone(gone), Frame::Watch(watch)];
    let sent: Vec<Frame> = device_outputs(&mut device)
        .into_iter()
        .filter_map(|output| {
            if let DeviceOutput::Send { frame, .. } = output {
                Some(frame)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(sent, frames);

    let mut relay = live_relay();
    for frame in frames {
        send(&mut relay, decode(&encode(&frame)).unwrap()).unwrap();
    }
    assert_eq!(
        relay_outputs(&mut relay),
        [
            RelayOutput::Here(here),
            RelayOutput::Gone(gone),
            RelayOutput::Watch(watch)
        ]
    );
}

#[test]
fn where_others_are_comes_out_as_the_relay_said() {
    let mut relay = live_relay();
    relay.positions(positions(2)).unwrap();
    relay.moved(positions(1)).unwrap();
    let frames = [Frame::Positions(positions(2)), Frame::Moved(positions(1))];
    let sent: Vec<Frame> = relay_outputs(&mut relay)
        .into_iter()
        .filter_map(|output| {
            if let RelayOutput::Send { frame, .. } = output {
                Some(frame)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(sent, frames);

    let mut device = device_of(VERSION_OF_POSITIONS);
    for frame in frames {
        give(&mut device, decode(&encode(&frame)).unwrap()).unwrap();
    }
    assert_eq!(
        device_outputs(&mut device),
        [
            DeviceOutput::Positions(positions(2)),
            DeviceOutput::Positions(positions(1))
        ]
    );
}

#[test]
fn what_travels_in_a_datagram_fits_one() {
    let largest = Fix {
        device_time: WallTime(i64::MAX),
        receiver_time: Some(WallTime(i64::MIN)),
        position: Position::from_e7(-900_000_000, -1_800_000_000).unwrap(),
        accuracy_dm: u32::MAX,
        speed_cm_s: Some(u32::MAX),
        heading_deg: Some(359),
        battery_percent: Some(100),
        waiting: Some(u64::MAX),
    };
    let sighting = Sighting {
        device: DeviceId::from_bytes([9; 16]),
        taken: WallTime(i64::MAX),
        seen: Some(Seen {
            is_exact: false,
            fix: largest,
        }),
    };
    let moved = Frame::Moved(Positions {
        now: WallTime(i64::MAX),
        sightings: vec![sighting; SIGHTINGS_MOVED_MAX],
    });
    // QUIC takes at most 42 bytes of the 1,200 that every path carries for itself.
    assert!(encode(&moved).len() <= 1_158, "{}", encode(&moved).len());
    let here = Frame::Here(Here {
        number: u64::MAX,
        age_ms: u64::MAX,
        fix: largest,
    });
    assert!(encode(&here).len() <= 100, "{}", encode(&here).len());
    for frame in [moved, here] {
        assert!(frame.kind().is_datagram());
        assert_eq!(decode(&encode(&frame)), Ok(frame));
    }
}

#[test]
fn a_position_in_a_session_that_has_none_breaks_a_rule() {
    let older = VERSION_OF_POSITIONS - 1;
    for frame in [Frame::Positions(positions(1)), Frame::Moved(positions(1))] {
        match give(&mut device_of(older), frame) {
            Err(SessionError::RelayMisbehaved(fault)) => assert_eq!(fault.code(), "later_version"),
            other => panic!("{other:?}"),
        }
    }
    let here = Here {
        number: 1,
        age_ms: 0,
        fix: fix(),
    };
    let watch = Watch { is_wanted: true };
    for frame in [
        Frame::Here(here),
        Frame::Gone(Gone { number: 1 }),
        Frame::Watch(watch),
    ] {
        match send(&mut relay_of(older), frame) {
            Err(SessionError::DeviceMisbehaved(fault)) => assert_eq!(fault.code(), "later_version"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nothing_is_told_of_positions_in_a_session_that_has_none() {
    let older = VERSION_OF_POSITIONS - 1;
    let mut device = device_of(older);
    assert_eq!(device.here(0, fix()), Err(SessionError::NotOpen));
    assert_eq!(device.gone(), Err(SessionError::NotOpen));
    assert_eq!(device.watch(true), Err(SessionError::NotOpen));
    assert_eq!(device_outputs(&mut device), []);
    let mut relay = relay_of(older);
    assert_eq!(relay.positions(positions(1)), Err(SessionError::NotOpen));
    assert_eq!(relay.moved(positions(1)), Err(SessionError::NotOpen));
    assert_eq!(relay_outputs(&mut relay), []);
}

#[test]
fn a_datagram_that_overtakes_a_greeting_is_nothing() {
    let mut device = greeting_device(hello(&[("a", 10)]));
    give(&mut device, Frame::Moved(positions(1))).unwrap();
    assert_eq!(device_outputs(&mut device), []);
    let mut relay = new_relay();
    let here = Here {
        number: 1,
        age_ms: 0,
        fix: fix(),
    };
    send(&mut relay, Frame::Here(here)).unwrap();
    assert_eq!(relay_outputs(&mut relay), []);
}

#[test]
fn more_sightings_than_a_frame_may_have_are_not_sent() {
    let mut relay = live_relay();
    let wrong_size = |weight, max| Err(SessionError::WrongSize { weight, max });
    assert_eq!(
        relay.positions(positions(SIGHTINGS_MAX + 1)),
        wrong_size(SIGHTINGS_MAX + 1, SIGHTINGS_MAX)
    );
    assert_eq!(
        relay.moved(positions(SIGHTINGS_MOVED_MAX + 1)),
        wrong_size(SIGHTINGS_MOVED_MAX + 1, SIGHTINGS_MOVED_MAX)
    );
    let many = |frame: Frame| decode(&encode(&frame)).is_err();
    assert!(many(Frame::Moved(positions(SIGHTINGS_MOVED_MAX + 1))));
    assert!(many(Frame::Positions(positions(SIGHTINGS_MAX + 1))));
}
