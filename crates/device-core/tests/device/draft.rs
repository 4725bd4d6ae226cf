//! What is begun survives a kill, stays within its bounds, and is gone when the device is wiped.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use gridbeat_base::Remedy;
use gridbeat_device_core::{
    DRAFT_BYTES_MAX, DRAFT_NAME_BYTES_MAX, DRAFTS_MAX, Device, Draft, DraftError,
};
use rusqlite::Connection;

use crate::support::{Folder, World, at, body, open};

/// Bytes of a frame of SQLite's log, beyond its page.
const FRAME_HEAD_BYTES: u64 = 24;

/// Copies a file as a loss of power leaves it: while it is open.
fn copied(path: &Path, name: &str) -> PathBuf {
    let copy = path.with_file_name(name);
    for suffix in ["", "-wal"] {
        let of = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        fs::copy(of(path), of(&copy)).unwrap();
    }
    copy
}

fn log_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

fn names(device: &Device) -> Vec<String> {
    let drafts = device.drafts().unwrap().into_iter();
    drafts.map(|draft| draft.name).collect()
}

#[test]
fn a_draft_survives_a_process_that_just_stops_and_the_last_one_saved_counts() {
    let mut world = World::synced(1);
    let device = &mut world.devices[0];
    device.save_draft(at(5_000), "轨迹", b"one fix").unwrap();
    device.save_draft(at(6_000), "轨迹", b"two fixes").unwrap();
    device.save_draft(at(7_000), "a report", b"").unwrap();
    world.restart(0);
    let device = &mut world.devices[0];
    assert!(device.opening().was_unclean);
    let (track, report) = (device.draft("轨迹").unwrap(), device.draft("a report"));
    assert_eq!(track.as_deref(), Some(&b"two fixes"[..]));
    assert_eq!(report.unwrap().as_deref(), Some(&b""[..]));
    let draft = |name: &str, size_bytes, ms| Draft {
        name: name.to_owned(),
        size_bytes,
        saved: at(ms).wall,
    };
    let expected = [draft("a report", 0, 7_000), draft("轨迹", 9, 6_000)];
    assert_eq!(device.drafts().unwrap(), expected);
    assert!(device.drop_draft("轨迹").unwrap());
    assert!(!device.drop_draft("轨迹").unwrap());
    world.restart(0);
    assert_eq!(world.devices[0].draft("轨迹").unwrap(), None);
    assert_eq!(names(&world.devices[0]), ["a report"]);
    // It is nobody else's.
    world.sync(0);
    assert_eq!(names(&world.devices[0]), ["a report"]);
    world.assert_in_sync();
}

#[test]
fn of_a_draft_whose_save_was_torn_the_one_before_is_there() {
    let folder = Folder::new();
    let path = folder.file("1.db");
    let mut device = open(&path, 1);
    let (first, second) = (vec![1; 9_000], vec![2; 9_000]);
    device.save_draft(at(1_000), "track", &first).unwrap();
    let before = fs::metadata(log_of(&path)).unwrap().len();
    device.save_draft(at(2_000), "track", &second).unwrap();
    let after = fs::metadata(log_of(&path)).unwrap().len();
    assert!(after > before);
    // Beyond the last commit there may be a frame that was never finished.
    let garbage = copied(&path, "garbage.db");
    let mut log = OpenOptions::new()
        .append(true)
        .open(log_of(&garbage))
        .unwrap();
    log.write_all(&[0x5a; 1_000]).unwrap();
    let kept = open(&garbage, 1).draft("track").unwrap();
    assert_eq!(kept.as_deref(), Some(&second[..]));
    // Cut anywhere within the last commit, nothing of it counts.
    for (n, length) in [before, before + FRAME_HEAD_BYTES, after - 4_096, after - 1]
        .into_iter()
        .enumerate()
    {
        let torn = copied(&path, &format!("torn{n}.db"));
        let log = OpenOptions::new().write(true).open(log_of(&torn)).unwrap();
        log.set_len(length).unwrap();
        let kept = open(&torn, 1).draft("track").unwrap();
        assert_eq!(kept.as_deref(), Some(&first[..]), "cut to {length}");
    }
}

#[test]
fn a_draft_is_bounded_and_says_so_in_both_languages() {
    let mut world = World::synced(1);
    let device = &mut world.devices[0];
    let long = "长".repeat(DRAFT_NAME_BYTES_MAX / 3);
    let most = vec![7; DRAFT_BYTES_MAX];
    device.save_draft(at(0), &long, &most).unwrap();
    for number in 1..DRAFTS_MAX {
        let name = format!("draft {number}");
        device.save_draft(at(0), &name, b"x").unwrap();
    }
    let more = vec![7; DRAFT_BYTES_MAX + 1];
    let longer = "x".repeat(DRAFT_NAME_BYTES_MAX + 1);
    let mut refused = Vec::new();
    for (name, bytes) in [
        ("", &b"x"[..]),
        (longer.as_str(), b"x"),
        ("draft 1", &more),
        ("one more", b"x"),
    ] {
        let error = device.save_draft(at(0), name, bytes).unwrap_err();
        assert_eq!(error.remedy(), Remedy::FixInput);
        assert!(error.words().en.is_ascii() && !error.words().zh.is_ascii());
        refused.push(error);
    }
    assert!(matches!(
        refused[..],
        [
            DraftError::Name { size_bytes: 0 },
            DraftError::Name { .. },
            DraftError::Size { .. },
            DraftError::TooMany
        ]
    ));
    assert_eq!(device.drafts().unwrap().len(), DRAFTS_MAX);
    // One that is there is saved again, however many there are.
    device.save_draft(at(0), "draft 1", b"y").unwrap();
    assert_eq!(device.draft("draft 1").unwrap().unwrap(), b"y");
    assert_eq!(device.draft(&long).unwrap().unwrap(), most);
}

#[test]
fn on_a_full_disk_the_draft_from_before_stays() {
    let mut world = World::synced(1);
    let device = &mut world.devices[0];
    device.save_draft(at(0), "track", b"before").unwrap();
    device.set_file_size_max(Some(1)).unwrap();
    let error = device.save_draft(at(1), "track", &[1; 100_000]);
    let error = error.unwrap_err();
    assert!(matches!(error, DraftError::DiskFull), "{error:?}");
    assert_eq!(error.remedy(), Remedy::FreeSpace);
    assert_eq!(device.draft("track").unwrap().unwrap(), b"before");
    device.set_file_size_max(None).unwrap();
    device.save_draft(at(2), "track", &[1; 100_000]).unwrap();
}

#[test]
fn a_file_from_before_there_were_drafts_keeps_its_records_and_takes_drafts() {
    let mut world = World::synced(1);
    let saved = world.create(0, "井盖丢失");
    let hash = world.devices[0].put_blob(at(0), b"photo").unwrap();
    let before = body(&world.devices[0], saved.document);
    world.devices.remove(0).close().unwrap();
    let path = world.folder.file("1.db");
    let file = Connection::open(&path).unwrap();
    file.execute_batch("DROP TABLE draft; PRAGMA user_version = 7;")
        .unwrap();
    drop(file);
    world.devices.push(open(&path, 1));
    let device = &mut world.devices[0];
    assert_eq!(body(device, saved.document), before);
    assert_eq!(device.get_blob(hash).unwrap().unwrap(), b"photo");
    assert_eq!(device.drafts().unwrap(), []);
    device.save_draft(at(0), "track", b"fixes").unwrap();
    world.sync(0);
    world.assert_in_sync();
}
