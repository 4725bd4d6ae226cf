//! A track that is being recorded survives a kill of the app: all but the fixes since it was last saved.
//!
//! The app's part of it, as an app writes it: save the begun segment, attach the full one, go on after a kill.

use std::path::Path;

use gridbeat_base::{DeviceId, DocumentId, Install, Position, Random, WallTime};
use gridbeat_device_core::{Config, DATABASE_KEY_BYTES, DatabaseKey, Device};
use gridbeat_domain::track::{Limits, Marks, Recorder, Segment, TrackPoint};
use gridbeat_domain::{PatrolIntent, PatrolView, Transport};
use tempfile::TempDir;

use crate::durability::victim::{meet_relay, now, scope};

/// The name under which the app keeps the segment that it is recording.
const DRAFT: &str = "track";

/// The app saves it after every so many fixes: once a minute.
const SAVED_EVERY: usize = 12;

/// Fixes of the ride: two hours at one in 5 s, three segments.
const FIXES: usize = 1_440 + 100;

/// A ride through a quarter, with stops, a tunnel, a receiver's noise, and one fix that is nowhere near.
fn ride() -> Vec<TrackPoint> {
    let mut random = Random::from_number(20);
    let (mut latitude, mut longitude) = (299_500_000, 1_217_100_000);
    let mut time = now().wall.millis();
    let mut fixes = Vec::new();
    for n in 0..FIXES {
        let mut noise = |most: u64| i32::try_from(random.below(most)).unwrap();
        time += i64::from(5_000 + noise(40));
        let is_standing = n % 200 > 180;
        if !is_standing {
            latitude += 1_500 * [1, 0, -1, 0][n / 90 % 4] + noise(40);
            longitude += 1_700 * [0, 1, 0, -1][n / 90 % 4] + noise(40);
        }
        let jump = if n == 500 { 900_000 } else { 0 };
        let position = Position::from_e7(latitude + jump + noise(60), longitude + noise(60));
        if n % 700 > 690 {
            continue;
        }
        fixes.push(TrackPoint {
            time: WallTime(time),
            position: position.unwrap(),
            accuracy_dm: u16::try_from(30 + noise(60)).ok(),
            speed_cm_s: (!is_standing).then_some(400),
            marks: Marks::default(),
        });
    }
    fixes
}

fn open(path: &Path) -> Device {
    let mut config = Config::new(DeviceId::from_bytes([7; 16]), Install::from_bytes([7; 16]));
    config.key = Some(DatabaseKey::take(&mut [0x6b; DATABASE_KEY_BYTES]));
    let _alone = tests::while_no_process_starts();
    let random = Random::from_number(3);
    Device::open(path, config, gridbeat_domain::kinds(), random, now()).unwrap()
}

/// An app that records a shift's track.
struct App {
    device: Device,
    recorder: Recorder,
    patrol: DocumentId,
    unsaved: usize,
}

impl App {
    fn edit(&mut self, intent: &PatrolIntent) {
        let intent = serde_json::to_vec(intent).unwrap();
        self.device.edit(now(), self.patrol, &intent).unwrap();
    }

    /// Begins a shift.
    fn start(path: &Path) -> Self {
        let mut device = open(path);
        meet_relay(&mut device).unwrap();
        let intent = PatrolIntent::Start {
            shift: "early".into(),
            transport: Transport::Bicycle,
            by: "lin".into(),
        };
        let intent = serde_json::to_vec(&intent).unwrap();
        let patrol = device.create(now(), "patrol", &scope(), &intent).unwrap();
        Self {
            device,
            recorder: Recorder::new(Limits::default()),
            patrol: patrol.document,
            unsaved: 0,
        }
    }

    /// Is killed, and started again.
    fn killed(self, path: &Path) -> Self {
        let Self { device, patrol, .. } = self;
        drop(device);
        let device = open(path);
        let limits = Limits::default();
        let recorder = match device.draft(DRAFT).unwrap() {
            Some(kept) => Recorder::resume(limits, &kept).unwrap(),
            None => Recorder::new(limits),
        };
        Self {
            device,
            recorder,
            patrol,
            unsaved: 0,
        }
    }

    fn record(&mut self, fix: TrackPoint) {
        if let Some(segment) = self.recorder.record(fix) {
            self.attach(&segment);
            return self.save();
        }
        self.unsaved += 1;
        if self.unsaved >= SAVED_EVERY {
            self.save();
        }
    }

    fn save(&mut self) {
        let started = self.recorder.started().unwrap();
        self.device.save_draft(now(), DRAFT, &started).unwrap();
        self.unsaved = 0;
    }

    fn attach(&mut self, segment: &Segment) {
        let hash = self.device.put_blob(now(), &segment.bytes).unwrap();
        self.edit(&PatrolIntent::AddSegment {
            segment: hash,
            points: segment.points,
            from: segment.from,
            to: segment.to,
            length_m: segment.length_m,
            by: "lin".into(),
        });
    }

    /// Ends the shift; returns the fixes of all its segments.
    fn end(mut self) -> (Vec<TrackPoint>, PatrolView) {
        if let Some(segment) = self.recorder.finish() {
            self.attach(&segment);
        }
        assert!(self.device.drop_draft(DRAFT).unwrap());
        let record = self.device.record(self.patrol).unwrap().unwrap();
        let view: PatrolView = serde_json::from_str(&record.body).unwrap();
        let segments = view.segments.iter().map(|segment| {
            let bytes = self.device.get_blob(segment.segment).unwrap().unwrap();
            Segment::read(&bytes).unwrap()
        });
        (segments.flatten().collect(), view)
    }
}

#[test]
fn a_kill_in_the_middle_of_a_ride_costs_at_most_the_fixes_since_the_last_save() {
    let fixes = ride();
    let unmarked = |points: Vec<TrackPoint>| -> Vec<_> {
        let bare = |point: TrackPoint| (point.time, point.position, point.accuracy_dm);
        points.into_iter().map(bare).collect()
    };
    for kill in [1, SAVED_EVERY, 359, 720, 721, 725, 1_000, fixes.len() - 1] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("device.db");
        let mut app = App::start(&path);
        for fix in &fixes[..kill] {
            app.record(*fix);
        }
        let lost = app.unsaved;
        assert!(lost < SAVED_EVERY);
        app = app.killed(&path);
        for fix in &fixes[kill..] {
            app.record(*fix);
        }
        let (recorded, view) = app.end();
        let mut expected = fixes.clone();
        expected.drain(kill - lost..kill);
        assert_eq!(unmarked(recorded), unmarked(expected), "killed at {kill}");
        let points: usize = view.segments.iter().map(|it| it.points as usize).sum();
        assert_eq!(points, fixes.len() - lost);
    }
}

#[test]
fn a_segment_that_a_kill_made_be_finished_twice_is_there_once() {
    let fixes = ride();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("device.db");
    let mut app = App::start(&path);
    for fix in &fixes[..720] {
        app.record(*fix);
    }
    app.save();
    // Full with the next fix: it is attached, but the kill comes before the next one is saved.
    let full = app.recorder.record(fixes[720]).unwrap();
    app.attach(&full);
    app = app.killed(&path);
    for fix in &fixes[720..] {
        app.record(*fix);
    }
    let (recorded, view) = app.end();
    assert_eq!(recorded.len(), fixes.len());
    assert_eq!(view.segments.len(), 3);
    let length: u64 = view.segments.iter().map(|it| u64::from(it.length_m)).sum();
    assert_eq!(view.length_m, length, "no metre is counted twice");
}
