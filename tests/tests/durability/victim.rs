//! A short piece of work with one file, in a process of its own, and what must be true of the file
//! after that process died or its disk failed.
//!
//! The process is this very test binary: the test [`a_victim_works_if_it_is_given_a_file`] does the
//! work when the environment names a file, and nothing otherwise. What was saved it writes to stdout
//! *after* the device has returned it, as an officer would see it.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use gridbeat_base::{
    DeviceId, Incarnation, Install, Monotonic, Now, Position, Random, Remedy, Scope, WallTime,
};
use gridbeat_device_core::{
    Config, DATABASE_KEY_BYTES, DatabaseKey, Device, OpenError, SaveError, Saved, SyncState,
};
use gridbeat_domain::{Catalogue, CategoryKind, IncidentIntent, IncidentView, Severity, Step};
use gridbeat_sync_protocol::{Frame, Grant, ScopeGreeting, VERSION_NEWEST, Welcome};
use rusqlite::Connection;

/// Names the file, in the victim's environment.
pub(super) const FILE: &str = "GRIDBEAT_VICTIM_FILE";

/// The victim's test, as its process is told to run it.
pub(super) const TEST: &str = "durability::victim::a_victim_works_if_it_is_given_a_file";

/// What the victim's file is encrypted with, as a device's is.
const KEY: [u8; DATABASE_KEY_BYTES] = [0x6b; DATABASE_KEY_BYTES];

/// How often a step is tried; one failure is injected in a run.
const TRIES: usize = 2;

#[test]
fn a_victim_works_if_it_is_given_a_file() {
    if let Some(file) = std::env::var_os(FILE) {
        work(Path::new(&file));
    }
}

pub(crate) fn now() -> Now {
    Now {
        wall: WallTime(1_790_000_000_000),
        monotonic: Monotonic(Duration::from_secs(1)),
    }
}

pub(super) fn open(path: &Path, seed: u64) -> Result<Device, OpenError> {
    open_with(path, seed, Some(DatabaseKey::take(&mut KEY.clone())))
}

/// Opens a file that is not encrypted, or is nothing of ours.
pub(super) fn open_plain(path: &Path, seed: u64) -> Result<Device, OpenError> {
    open_with(path, seed, None)
}

fn open_with(path: &Path, seed: u64, key: Option<DatabaseKey>) -> Result<Device, OpenError> {
    let mut config = Config::new(DeviceId::from_bytes([7; 16]), Install::from_bytes([7; 16]));
    config.key = key;
    let kinds = gridbeat_domain::kinds();
    let _alone = tests::while_no_process_starts();
    Device::open(path, config, kinds, Random::from_number(seed), now())
}

pub(crate) fn scope() -> Scope {
    Scope::new("招宝山").unwrap()
}

/// Lets the device meet a relay that grants it one scope, and leave again.
pub(crate) fn meet_relay(device: &mut Device) -> Result<(), Remedy> {
    let welcome = Welcome {
        version: VERSION_NEWEST,
        incarnation: Incarnation::new([1; 16]),
        time: now().wall,
        scopes: vec![ScopeGreeting {
            scope: scope(),
            grant: Grant::Write,
            head: 0,
            digest_agrees: true,
            verbs: None,
            snapshot: None,
        }],
        stable: None,
    };
    device.disconnected(now());
    let met = device
        .connected(now())
        .and_then(|()| device.handle_frame(now(), Frame::Welcome(welcome)));
    device.disconnected(now());
    met.map_err(|error| error.remedy())
}

/// Reports a manhole cover, in `characters` characters.
pub(super) fn report(device: &mut Device, characters: usize) -> Result<Saved, SaveError> {
    let catalogue = Catalogue::national();
    let intent = IncidentIntent::Report {
        category: catalogue.find(CategoryKind::Part, "01001").unwrap().clone(),
        description: "井盖松动".chars().cycle().take(characters).collect(),
        address: "南大街12号".into(),
        position: Position::from_degrees(29.95, 121.71).ok(),
        severity: Severity::Serious,
        by: "赵巡查".into(),
        gps: None,
    };
    let intent = serde_json::to_vec(&intent).unwrap();
    device.create(now(), "incident", &scope(), &intent)
}

fn note(device: &mut Device, saved: Saved, note: &str) -> Result<Saved, SaveError> {
    let intent = IncidentIntent::Step {
        step: Step::Note,
        note: note.into(),
        unit: None,
        by: "赵巡查".into(),
        gps: None,
    };
    let intent = serde_json::to_vec(&intent).unwrap();
    device.edit(now(), saved.document, &intent)
}

/// What the victim does: makes the file, meets the relay, and saves, with a checkpoint amidst.
fn work(path: &Path) {
    let mut device = (0..TRIES)
        .find_map(|_| open(path, 1).map_err(|error| failed(error.remedy())).ok())
        .expect("one failure is not two");
    if let Err(remedy) = meet_relay(&mut device) {
        failed(remedy);
        device = reopen(device, path);
        meet_relay(&mut device).expect("one failure is not two");
    }
    let first = persist(&mut device, path, |device| report(device, 30));
    persist(&mut device, path, |device| note(device, first, "已拍照"));
    let long = persist(&mut device, path, |device| report(device, 900));
    if let Err(error) = device.checkpoint() {
        failed(error.remedy());
        device = reopen(device, path);
    }
    persist(&mut device, path, |device| note(device, long, "已设警示"));
    persist(&mut device, path, |device| note(device, first, "已通知"));
    if let Err(error) = device.close() {
        failed(error.remedy());
    }
    say("done");
}

/// Does a step as an app would: if it fails, does what the error says, then tries again.
fn persist(
    device: &mut Device,
    path: &Path,
    step: impl Fn(&mut Device) -> Result<Saved, SaveError>,
) -> Saved {
    for _ in 0..TRIES {
        match step(device) {
            Ok(saved) => {
                say(&format!("saved {} {}", saved.document, saved.change));
                return saved;
            }
            Err(error) => {
                failed(error.remedy());
                if error.remedy() == Remedy::FixSetup {
                    reopen_in_place(device, path);
                }
            }
        }
    }
    panic!("one failure is not two");
}

fn reopen(device: Device, path: &Path) -> Device {
    drop(device);
    open(path, 2).expect("one failure is not two")
}

fn reopen_in_place(device: &mut Device, path: &Path) {
    // A device holds its file for as long as it lives, so another one takes its place meanwhile.
    let folder = tempfile::tempdir().unwrap();
    let stopgap = open(&folder.path().join("stopgap.db"), 3).unwrap();
    drop(std::mem::replace(device, stopgap));
    *device = open(path, 2).expect("one failure is not two");
}

fn failed(remedy: Remedy) {
    say(&format!("failed {remedy:?}"));
}

/// Writes a line past the test harness, at once: what is said after it must not come before it.
fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "victim: {line}").unwrap();
    stdout.flush().unwrap();
}

/// What a victim wrote before its end.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Documents and changes that it was told are saved.
    pub(super) saved: Vec<(String, String)>,
    /// What it was told to do about what failed.
    pub(super) failed: Vec<String>,
    /// Whether it came to its end.
    pub(super) is_done: bool,
}

impl Told {
    pub(super) fn read(stdout: &str) -> Self {
        let mut told = Self::default();
        // The harness may have begun the line.
        for line in stdout
            .lines()
            .filter_map(|line| line.split_once("victim: "))
        {
            let words: Vec<_> = line.1.split(' ').collect();
            match words[..] {
                ["saved", document, change] => {
                    told.saved.push((document.into(), change.into()));
                }
                ["failed", remedy] => told.failed.push(remedy.into()),
                ["done"] => told.is_done = true,
                _ => panic!("{line:?}"),
            }
        }
        told
    }
}

/// Checks that a file holds all that was told to be saved, and nothing half; then works on with it.
pub(super) fn check(path: &Path, told: &Told) {
    let mut device = open(path, 9).unwrap();
    let mut changes = BTreeSet::new();
    for (document, heads) in device.fingerprint().unwrap() {
        let record = device.record(document).unwrap().unwrap();
        let shown: IncidentView = serde_json::from_str(&record.body).unwrap();
        assert_eq!((shown.unreadable, record.attention), (0, 0));
        let history = device.history(document).unwrap();
        // A report and each note is one fact and one change: none without the other.
        assert_eq!(shown.steps.len(), history.len());
        assert!(
            heads
                .iter()
                .all(|head| history.iter().any(|entry| entry.change == *head))
        );
        assert!(device.view(document).is_ok());
        for entry in history {
            assert!(entry.intent.is_some());
            changes.insert((document.to_string(), entry.change.to_string()));
        }
    }
    for saved in &told.saved {
        assert!(changes.contains(saved), "{saved:?} was saved and is gone");
    }
    assert_eq!(device.outbox().unwrap().changes, changes.len() as u64);

    meet_relay(&mut device).unwrap();
    let more = report(&mut device, 10).unwrap();
    assert!(device.record(more.document).unwrap().is_some());
    assert!(matches!(device.sync_state(), SyncState::Offline { waiting } if *waiting > 0));
    device.close().unwrap();

    let file = Connection::open(path).unwrap();
    let key = format!("PRAGMA key = \"x'{}'\"", "6b".repeat(DATABASE_KEY_BYTES));
    file.execute_batch(&key).unwrap();
    let finding: String = file
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(finding, "ok");
}
