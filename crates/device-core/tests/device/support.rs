//! Devices in a folder of their own, their clock, and shorthands.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gridbeat_base::{DeviceId, DocumentId, Install, Lane, Monotonic, Now, Random, Scope, WallTime};
use gridbeat_device_core::{Config, Device, OpenError, Output, Query, Saved, SyncState};
use gridbeat_document::{Kind, Kinds};
use gridbeat_sync_protocol::Frame;
use serde_json::json;
use tempfile::TempDir;

use crate::kind::Slip;
use crate::relay::Relay;

/// When tests begin.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

pub(crate) fn kinds() -> Kinds {
    Kinds::new([Arc::new(Slip) as Arc<dyn Kind>])
}

pub(crate) fn scope(name: &str) -> Scope {
    Scope::new(name).unwrap()
}

pub(crate) fn at(ms: i64) -> Now {
    Now {
        wall: WallTime(START_MS + ms),
        monotonic: Monotonic(Duration::from_millis(ms.unsigned_abs())),
    }
}

pub(crate) fn device_id(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

pub(crate) fn config(number: u8) -> Config {
    Config::new(device_id(number), Install::from_bytes([number; 16]))
}

/// A folder that goes when it is dropped; in memory where there is such a thing.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        Self(if memory.is_dir() {
            TempDir::new_in(memory).unwrap()
        } else {
            TempDir::new().unwrap()
        })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

pub(crate) fn open(path: &Path, number: u8) -> Device {
    try_open(path, number, u64::from(number)).unwrap()
}

pub(crate) fn try_open(path: &Path, number: u8, seed: u64) -> Result<Device, OpenError> {
    Device::open(
        path,
        config(number),
        kinds(),
        Random::from_number(seed),
        at(0),
    )
}

/// A device with its file and a relay that grants it the scope "grid".
pub(crate) struct World {
    pub(crate) folder: Folder,
    pub(crate) relay: Relay,
    pub(crate) devices: Vec<Device>,
    /// Frames that devices sent and that have not been carried to the relay, by device.
    pub(crate) ms: i64,
}

impl World {
    pub(crate) fn new(devices: u8) -> Self {
        let folder = Folder::new();
        let devices = (1..=devices)
            .map(|number| open(&folder.file(&format!("{number}.db")), number))
            .collect();
        Self {
            folder,
            relay: Relay::new(1),
            devices,
            ms: 1_000,
        }
    }

    /// Makes devices that have been in sync with the relay once.
    pub(crate) fn synced(devices: u8) -> Self {
        let mut world = Self::new(devices);
        for device in 0..world.devices.len() {
            world.sync(device);
            world.unlink(device);
        }
        world
    }

    pub(crate) fn now(&mut self) -> Now {
        self.ms += 1_000;
        at(self.ms)
    }

    /// Connects a device and carries frames to and fro until nothing moves.
    pub(crate) fn sync(&mut self, device: usize) {
        self.link(device);
        self.settle();
    }

    pub(crate) fn link(&mut self, device: usize) {
        let now = self.now();
        self.devices[device].connected(now).unwrap();
        self.relay.connected(device, self.devices[device].device());
    }

    pub(crate) fn unlink(&mut self, device: usize) {
        let now = self.now();
        self.devices[device].disconnected(now);
        self.relay.disconnected(device);
    }

    /// Carries frames until nothing moves.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            for device in 0..self.devices.len() {
                moved |= self.exchange(device);
            }
            if !moved {
                return;
            }
        }
        panic!("it never settles");
    }

    /// Carries what a device has to say to the relay, and all answers back.
    pub(crate) fn exchange(&mut self, device: usize) -> bool {
        let sent = frames(&mut self.devices[device]);
        let mut moved = !sent.is_empty();
        for frame in sent {
            let now = self.now();
            self.relay.handle(now.wall, device, frame);
        }
        for frame in self.relay.outputs(device) {
            moved = true;
            let now = self.now();
            self.devices[device].handle_frame(now, frame).unwrap();
        }
        moved
    }

    pub(crate) fn create(&mut self, device: usize, text: &str) -> Saved {
        let now = self.now();
        let intent = json!({"open": {"text": text}}).to_string();
        self.devices[device]
            .create(now, "slip", &scope("grid"), intent.as_bytes())
            .unwrap()
    }

    pub(crate) fn note(&mut self, device: usize, document: DocumentId, text: &str) -> Saved {
        let now = self.now();
        let intent = json!({"note": text}).to_string();
        self.devices[device]
            .edit(now, document, intent.as_bytes())
            .unwrap()
    }

    /// Opens a device's file again with a program that knows other kinds.
    pub(crate) fn restart_with(&mut self, device: usize, kinds: Kinds) {
        let number = u8::try_from(device + 1).unwrap();
        self.relay.disconnected(device);
        drop(self.devices.remove(device));
        let path = self.folder.file(&format!("{number}.db"));
        let random = Random::from_number(u64::try_from(self.ms).unwrap());
        let opened = Device::open(&path, config(number), kinds, random, at(0)).unwrap();
        self.devices.insert(device, opened);
    }

    /// Drops a device as a killed process would, and opens its file again.
    pub(crate) fn restart(&mut self, device: usize) {
        self.restart_with(device, kinds());
    }

    /// Checks that all devices are in sync and show the same.
    pub(crate) fn assert_in_sync(&self) {
        self.assert_equal(|body| body);
    }

    /// The same, but for times of receipt: a relay that lost a change without knowing it receives it
    /// anew, and tells so only to those that lack it.
    pub(crate) fn assert_in_sync_but_receipts(&self) {
        self.assert_equal(|body| {
            let mut body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let notes = body["notes"].as_array_mut().unwrap();
            notes.sort_by_key(ToString::to_string);
            body["received"] = json!(null);
            body.to_string()
        });
    }

    fn assert_equal(&self, shown: impl Fn(String) -> String) {
        let first = self.devices[0].fingerprint().unwrap();
        for device in &self.devices {
            assert!(
                matches!(device.sync_state(), SyncState::InSync { .. }),
                "{:?}",
                device.sync_state()
            );
            assert_eq!(device.outbox().unwrap().changes, 0);
            assert_eq!(device.fingerprint().unwrap(), first);
            for (document, _) in &first {
                assert_eq!(
                    shown(body(device, *document)),
                    shown(body(&self.devices[0], *document)),
                    "{document}"
                );
            }
        }
    }
}

/// Takes the frames out of a device's outputs.
pub(crate) fn frames(device: &mut Device) -> Vec<Frame> {
    let mut sent: Vec<(Lane, Frame)> = Vec::new();
    while let Some(output) = device.poll_output() {
        match output {
            Output::Send { lane, frame } => sent.push((lane, frame)),
            Output::Changed { .. }
            | Output::State(_)
            | Output::Blobs { .. }
            | Output::Leave(_)
            | Output::Positions
            | Output::Close(_) => {}
        }
    }
    sent.into_iter().map(|(_, frame)| frame).collect()
}

pub(crate) fn body(device: &Device, document: DocumentId) -> String {
    device.record(document).unwrap().unwrap().body
}

pub(crate) fn list(device: &Device) -> Vec<DocumentId> {
    let records = device.query(&Query::default()).unwrap();
    records.iter().map(|record| record.document).collect()
}
