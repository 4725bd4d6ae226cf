//! What lies on a device's disk tells nothing to whoever has no key, and is gone when it is wiped.
//!
//! - `planted`: no planted word, place or key in any file, whenever the folder is copied
//! - `keys`: no key, another key, a key for a plain file: one clear error each, and the files as they were
//! - `moving`: a plain file becomes an encrypted one, whatever happens in between
//! - `wiping`: the key goes first, whatever happens in between
//!
//! Not here: that encrypted files are as durable as plain ones (`durability`, which runs encrypted).

mod keys;
mod moving;
mod planted;
mod wiping;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use gridbeat_base::{DeviceId, Install, Position, Random};
use gridbeat_device_core::{Config, DATABASE_KEY_BYTES, DatabaseKey, Device, OpenError, WipeError};
use gridbeat_domain::{Catalogue, CategoryKind, IncidentIntent, Severity, Step};

use crate::durability::victim::{meet_relay, now, scope};

/// Names, what an officer wrote, and an address.
const WORDS: &[&str] = &[
    "欧阳询之",
    "Ouyang-Xun",
    "红色三轮车挡住消防通道",
    "胜利路甲七十七号",
];

const LATITUDE_DEG: f64 = 29.951_843_7;
const LONGITUDE_DEG: f64 = 121.717_265_9;

/// The same in ten-millionths of a degree, as they are stored.
const PLACE_E7: [i32; 2] = [299_518_437, 1_217_172_659];

/// The bytes of a photo.
const PHOTO: &[u8] = b"Exif-of-a-photo-that-nobody-else-has";

/// What is begun and not saved as a record.
const DRAFT: &[u8] = b"half-of-a-report-that-nobody-has-seen";

/// The bytes of the key all files here are encrypted with.
const KEY_BYTES: [u8; DATABASE_KEY_BYTES] = *b"a key that is found if ever kept";

/// Each opening draws its ids from another seed.
static SEED: AtomicU64 = AtomicU64::new(1);

fn key() -> DatabaseKey {
    DatabaseKey::take(&mut KEY_BYTES.clone())
}

fn open(path: &Path, key: Option<DatabaseKey>) -> Result<Device, OpenError> {
    let mut config = Config::new(DeviceId::from_bytes([7; 16]), Install::from_bytes([7; 16]));
    config.key = key;
    let _alone = tests::while_no_process_starts();
    Device::open(
        path,
        config,
        gridbeat_domain::kinds(),
        Random::from_number(SEED.fetch_add(1, Ordering::Relaxed)),
        now(),
    )
}

fn encrypt(path: &Path) -> Result<bool, OpenError> {
    let _alone = tests::while_no_process_starts();
    gridbeat_device_core::encrypt(path, &key())
}

fn wipe(path: &Path, secrets: &[&Path]) -> Result<(), WipeError> {
    let _alone = tests::while_no_process_starts();
    gridbeat_device_core::wipe(path, secrets)
}

/// A morning's work with everything planted in it.
fn work(device: &mut Device) {
    meet_relay(device).unwrap();
    let position = Position::from_degrees(LATITUDE_DEG, LONGITUDE_DEG).ok();
    let category = Catalogue::national();
    let category = category.find(CategoryKind::Part, "01001").unwrap().clone();
    let report = IncidentIntent::Report {
        category,
        description: WORDS[2].into(),
        address: WORDS[3].into(),
        position,
        severity: Severity::Serious,
        by: WORDS[0].into(),
        gps: None,
    };
    let report = serde_json::to_vec(&report).unwrap();
    let mut saved = device.create(now(), "incident", &scope(), &report).unwrap();
    for _ in 0..3 {
        let note = IncidentIntent::Step {
            step: Step::Note,
            note: WORDS[2].into(),
            unit: Some(WORDS[0].into()),
            by: WORDS[1].into(),
            gps: None,
        };
        let note = serde_json::to_vec(&note).unwrap();
        device.edit(now(), saved.document, &note).unwrap();
        saved = device.create(now(), "incident", &scope(), &report).unwrap();
    }
    device.put_blob(now(), PHOTO).unwrap();
    device.save_draft(now(), "report", DRAFT).unwrap();
}

/// Returns every file in a folder, with its bytes.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Everything planted, in every form it may lie on a disk in.
fn planted() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for word in WORDS {
        let units = || word.encode_utf16();
        all.push((format!("{word} in UTF-8"), word.as_bytes().to_vec()));
        all.push((
            format!("{word} in UTF-16, little-endian"),
            units().flat_map(u16::to_le_bytes).collect(),
        ));
        all.push((
            format!("{word} in UTF-16, big-endian"),
            units().flat_map(u16::to_be_bytes).collect(),
        ));
    }
    for degrees in PLACE_E7 {
        all.push((format!("{degrees}"), degrees.to_be_bytes().to_vec()));
        all.push((
            format!("{degrees}, little-endian"),
            degrees.to_le_bytes().to_vec(),
        ));
        all.push((
            format!("{degrees}, as text"),
            degrees.to_string().into_bytes(),
        ));
    }
    all.push(("a photo".into(), PHOTO.to_vec()));
    all.push(("a draft".into(), DRAFT.to_vec()));
    all.push(("SQLite's own words".into(), b"CREATE TABLE".to_vec()));
    all.extend(key_forms());
    all
}

/// The key, in every form it may lie on a disk in.
fn key_forms() -> Vec<(String, Vec<u8>)> {
    let hex: String = KEY_BYTES.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        ("the key".into(), KEY_BYTES.to_vec()),
        ("the key in hex".into(), hex.to_uppercase().into_bytes()),
        ("the key in hex".into(), hex.into_bytes()),
    ]
}

/// Returns which of `wanted` are in the files of a folder.
fn found(folder: &Path, wanted: &[(String, Vec<u8>)]) -> Vec<String> {
    let files = content(folder);
    let is_in = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|it| it == wanted);
    let mut found = Vec::new();
    for (path, bytes) in &files {
        for (what, wanted) in wanted {
            if is_in(bytes, wanted) {
                found.push(format!("{what} in {}", path.display()));
            }
        }
    }
    found
}
