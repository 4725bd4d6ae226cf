//! What tracks promise: every fix comes back as it was, and bad ones are marked, counted and left out.

use core::time::Duration;

use gridbeat_base::{Position, WallTime};
use gridbeat_domain::track::{
    Limits, Marks, POINTS_MAX, Quality, Recorder, Segment, TrackError, TrackPoint, length_m,
    simplified,
};
use proptest::prelude::*;

/// A segment of four fixes, as the first version of the form has it, and as it is told in `docs/tracks.md`.
const GOLDEN: &str = include_str!("../../vectors/track.v1.hex");

fn at(seconds: i64, north_m: f64, east_m: f64) -> TrackPoint {
    let degree = 111_195.0;
    let (latitude, longitude) = (29.95, 121.71_f64);
    let position = Position::from_degrees(
        latitude + north_m / degree,
        longitude + east_m / degree / 29.95_f64.to_radians().cos(),
    );
    TrackPoint {
        time: WallTime(1_790_000_000_000 + seconds * 1_000),
        position: position.unwrap(),
        accuracy_dm: Some(40),
        speed_cm_s: Some(420),
        marks: Marks::default(),
    }
}

/// Half an hour by bicycle: a bend, 4 m/s, a fix in 5 s.
fn ride() -> Vec<TrackPoint> {
    let fix = |n: i32| {
        let along = f64::from(n) * 20.0;
        at(
            i64::from(n) * 5,
            along.min(4_000.0),
            (along - 4_000.0).max(0.0) + f64::from(n % 3),
        )
    };
    (0..360).map(fix).collect()
}

fn recorded(fixes: &[TrackPoint]) -> (Vec<TrackPoint>, Quality) {
    let limits = Limits {
        points: POINTS_MAX,
        ..Limits::default()
    };
    let mut recorder = Recorder::new(limits);
    for fix in fixes {
        assert_eq!(recorder.record(*fix), None);
    }
    let quality = *recorder.quality();
    let segment = recorder.finish().unwrap();
    (Segment::read(&segment.bytes).unwrap(), quality)
}

fn count(quality: &Quality, name: &str) -> u64 {
    let mut counts = quality.counts();
    counts.find(|(of, _)| *of == name).unwrap().1
}

fn any_point() -> impl Strategy<Value = TrackPoint> {
    let place = (
        -900_000_000..=900_000_000,
        -1_800_000_000..=1_800_000_000_i32,
    );
    let told = (any::<Option<u16>>(), any::<Option<u16>>());
    (any::<i64>(), place, told, any::<u8>()).prop_map(|(time, place, told, marks)| TrackPoint {
        time: WallTime(time),
        position: Position::from_e7(place.0, place.1).unwrap(),
        accuracy_dm: told.0,
        speed_cm_s: told.1,
        marks: Marks::from_bits(marks),
    })
}

proptest! {
    #[test]
    fn any_fixes_come_back_as_they_were(points in prop::collection::vec(any_point(), 1..60)) {
        let segment = Segment::of(&points).unwrap();
        prop_assert_eq!(Segment::read(&segment.bytes), Ok(points));
    }

    #[test]
    fn damaged_bytes_are_an_error_or_other_points_but_no_panic(
        place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let bytes = Segment::of(&ride()).unwrap().bytes;
        let mut touched = bytes.clone();
        touched[place.index(bytes.len())] = byte;
        if let Ok(points) = Segment::read(&touched) {
            prop_assert!((1..=POINTS_MAX).contains(&points.len()));
        }
        prop_assert!(Segment::read(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_simplified_line_stays_within_its_tolerance(
        steps in prop::collection::vec((-40.0..40.0_f64, -40.0..40.0_f64), 2..80), tolerance in 1.0..50.0_f64,
    ) {
        let mut place = (0.0, 0.0);
        let points: Vec<TrackPoint> = steps.iter().zip(0..).map(|(step, n)| {
            place = (place.0 + step.0, place.1 + step.1);
            at(n * 5, place.0, place.1)
        }).collect();
        let line = simplified(&points, tolerance);
        prop_assert_eq!(line.first(), points.first().map(|point| &point.position));
        prop_assert_eq!(line.last(), points.last().map(|point| &point.position));
        for point in &points {
            let nearest = line.windows(2).map(|pair| from_line_m(point.position, pair[0], pair[1]));
            let nearest = nearest.fold(f64::INFINITY, f64::min);
            prop_assert!(nearest <= tolerance * 1.001 + 0.05, "{} m off", nearest);
        }
    }
}

/// How far a place is from the line between two others, in metres, on a plane there.
fn from_line_m(place: Position, from: Position, to: Position) -> f64 {
    let narrow = place.latitude_deg().to_radians().cos();
    let flat = |other: Position| {
        let x = (other.longitude_deg() - place.longitude_deg()) * 111_195.0 * narrow;
        (x, (other.latitude_deg() - place.latitude_deg()) * 111_195.0)
    };
    let ((ax, ay), (bx, by)) = (flat(from), flat(to));
    let (dx, dy) = (bx - ax, by - ay);
    let square = dx * dx + dy * dy;
    let share = if square > 0.0 {
        (-(ax * dx + ay * dy) / square).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (ax + share * dx).hypot(ay + share * dy)
}

#[test]
fn a_ride_takes_few_bytes_and_keeps_its_length() {
    let (points, quality) = recorded(&ride());
    assert_eq!(points, ride());
    assert_eq!((quality.fixes, quality.bad), (360, 0));
    let segment = Segment::of(&points).unwrap();
    assert!(
        segment.bytes.len() < 3 * points.len(),
        "{}",
        segment.bytes.len()
    );
    assert_eq!((segment.points, segment.length_m / 100), (360, 71));
    assert_eq!(
        (segment.from, segment.to),
        (points[0].time, points[359].time)
    );
}

#[test]
fn a_bad_fix_is_kept_and_marked_and_counted_and_left_out() {
    let mut fixes = ride();
    fixes[50].accuracy_dm = Some(900);
    fixes[100].position = at(0, 60_000.0, 0.0).position;
    fixes[150].time = fixes[149].time;
    fixes[200].marks = Marks::MOCKED;
    let (points, quality) = recorded(&fixes);
    assert_eq!(points.len(), fixes.len());
    for (place, mark, name) in [
        (50, Marks::INACCURATE, "inaccurate"),
        (100, Marks::JUMP, "jump"),
        (150, Marks::OUT_OF_ORDER, "out_of_order"),
        (200, Marks::MOCKED, "mocked"),
    ] {
        assert_eq!(points[place].marks, mark, "{name}");
        assert_eq!(count(&quality, name), 1, "{name}");
        assert_eq!(points[place].position, fixes[place].position);
    }
    assert_eq!(quality.bad, 4);
    assert_eq!(Quality::of(&points), quality);
    let (good, _) = recorded(&ride());
    assert!((length_m(&points) - length_m(&good)).abs() < 20.0);
    let line = simplified(&points, 5.0);
    assert!(!line.contains(&fixes[100].position));
}

#[test]
fn a_pause_in_recording_is_a_mark_on_the_track_and_no_bad_fix() {
    let mut fixes = ride();
    fixes.drain(100..120);
    let (points, quality) = recorded(&fixes);
    assert_eq!(points[100].marks, Marks::AFTER_GAP);
    assert_eq!((count(&quality, "after_gap"), quality.bad), (1, 0));
}

#[test]
fn drift_while_standing_is_no_way() {
    let mut fixes: Vec<TrackPoint> = ride()[..20].to_vec();
    let stop = 19.0 * 20.0;
    let drift = |n: i64| {
        let angle = n as f64;
        at(100 + n * 5, stop + 8.0 * angle.sin(), 8.0 * angle.cos())
    };
    fixes.extend((0..120).map(drift));
    let (points, quality) = recorded(&fixes);
    assert!(count(&quality, "still") > 100);
    let raw: f64 = fixes
        .windows(2)
        .map(|pair| pair[0].position.distance_m(pair[1].position))
        .sum();
    let length = length_m(&points);
    assert!(raw > 1_200.0 && length < 550.0, "{length} of {raw}");
}

#[test]
fn a_clock_that_was_years_ahead_once_spoils_one_fix_at_most() {
    let mut fixes = ride();
    fixes[100].time = WallTime(fixes[100].time.millis() + 5 * 365 * 86_400_000);
    let (points, quality) = recorded(&fixes);
    assert!(quality.bad <= 1, "{quality:?}");
    assert!(points[102..].iter().all(|point| !point.marks.is_bad()));
}

#[test]
fn a_started_segment_goes_on_after_a_kill_at_any_fix() {
    let limits = Limits {
        points: 100,
        ..Limits::default()
    };
    let segments = |kill: Option<usize>| {
        let mut recorder = Recorder::new(limits);
        let mut segments = Vec::new();
        for (place, fix) in ride().into_iter().enumerate() {
            segments.extend(recorder.record(fix));
            if kill == Some(place) {
                let kept = recorder.started().unwrap();
                recorder = Recorder::resume(limits, &kept).unwrap();
            }
        }
        segments.extend(recorder.finish());
        segments
    };
    let whole = segments(None);
    assert_eq!(
        whole
            .iter()
            .map(|segment| segment.points)
            .collect::<Vec<_>>(),
        [100, 100, 100, 60]
    );
    for kill in [0, 1, 50, 98, 99, 100, 101, 359] {
        assert_eq!(segments(Some(kill)), whole, "{kill}");
    }
}

#[test]
fn what_is_no_segment_is_told_by_what_is_wrong_with_it() {
    let bytes = Segment::of(&ride()).unwrap().bytes;
    let mut later = bytes.clone();
    later[3] = 2;
    let longer = [bytes.as_slice(), &[0]].concat();
    let none = [&bytes[..4], &[0]].concat();
    for (bytes, expected) in [
        (&b"GB"[..], TrackError::NotATrack),
        (b"\xff\xd8\xff\xe0photo", TrackError::NotATrack),
        (&later, TrackError::LaterVersion),
        (&longer, TrackError::Damaged),
        (&bytes[..bytes.len() - 1], TrackError::Damaged),
        (&none, TrackError::Points(0)),
    ] {
        assert_eq!(Segment::read(bytes), Err(expected));
    }
    assert_eq!(Segment::of(&[]), Err(TrackError::Points(0)));
    let many = vec![at(0, 0.0, 0.0); POINTS_MAX + 1];
    assert_eq!(Segment::of(&many), Err(TrackError::Points(4_097)));
}

#[test]
fn the_first_versions_bytes_are_read_as_ever() {
    let text: String = GOLDEN.split_whitespace().collect();
    let bytes: Vec<u8> = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect();
    let mut fixes: Vec<TrackPoint> = (0..4_i32)
        .map(|n| TrackPoint {
            time: WallTime(1_790_000_000_000 + i64::from(n) * 5_000),
            position: Position::from_e7(299_500_000 + n * n * 1_230, 1_217_100_000 - n * 2_470)
                .unwrap(),
            accuracy_dm: Some(46),
            speed_cm_s: None,
            marks: Marks::default(),
        })
        .collect();
    fixes[3].time = WallTime(1_790_000_100_000);
    fixes[3].speed_cm_s = Some(0);
    fixes[3].marks = Marks::AFTER_GAP.with(Marks::INACCURATE);
    assert_eq!(Segment::read(&bytes).unwrap(), fixes);
    let gap = Duration::from_secs(60);
    assert_eq!(Limits::default().gap, gap, "docs/tracks.md tells it");
}
