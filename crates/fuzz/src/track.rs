//! Segments of tracks from anybody: an error, or points that are packed and read to the same points; never a panic, and
//! never more than a segment may have.

use gridbeat_base::{Position, WallTime};
use gridbeat_domain::track::{Marks, POINTS_MAX, Segment, TrackPoint, length_m, simplified};

/// Reads any bytes as a segment.
pub(crate) fn track(input: &[u8]) {
    let Ok(points) = Segment::read(input) else {
        return;
    };
    assert!((1..=POINTS_MAX).contains(&points.len()));
    let segment = Segment::of(&points).expect("as many as were read can be packed");
    assert_eq!(Segment::read(&segment.bytes).as_deref(), Ok(&points[..]));
    assert!(length_m(&points) >= 0.0);
    assert!(simplified(&points, 5.0).len() <= points.len());
}

/// Makes segments of a few kinds: short, long, with all and with nothing told; cut, and bent.
pub(crate) fn segments() -> Vec<Vec<u8>> {
    let fix = |n: i32, told: bool| TrackPoint {
        time: WallTime(1_790_000_000_000 + i64::from(n) * 5_000),
        position: Position::from_e7(299_500_000 + n * n % 977, 1_217_100_000 - n * 131)
            .expect("it is in Zhenhai"),
        accuracy_dm: told.then_some(40 + u16::try_from(n % 7).unwrap_or(0)),
        speed_cm_s: told.then_some(400),
        marks: if n % 50 == 0 {
            Marks::STILL
        } else {
            Marks::default()
        },
    };
    let segment = |count: i32, told| {
        let points: Vec<TrackPoint> = (0..count).map(|n| fix(n, told)).collect();
        Segment::of(&points)
            .expect("there are some, and not too many")
            .bytes
    };
    let whole = [
        (1, false),
        (3, true),
        (200, true),
        (200, false),
        (720, true),
    ];
    let whole = whole.map(|(count, told)| segment(count, told));
    let mut segments = whole.to_vec();
    for bytes in whole {
        let middle = bytes.len() / 2;
        segments.push(bytes[..middle].to_vec());
        let mut bent = bytes;
        bent[middle] ^= 0x10;
        segments.push(bent);
    }
    segments
}
