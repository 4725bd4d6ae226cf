//! Devices and a relay in one process: the cores as they ship over real files, and a link that an input bends.
//!
//! No thread, no socket; time passes with each step.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridbeat_base::{
    DeviceId, DocumentId, Install, Monotonic, Now, Position, Random, Scope, Verbs, WallTime,
};
use gridbeat_device_core as device;
use gridbeat_device_core::Device;
use gridbeat_domain::{Catalogue, CategoryKind, IncidentIntent, Severity, kinds};
use gridbeat_relay_core as relay;
use gridbeat_relay_core::{Relay, SessionId};
use gridbeat_relay_store::{Registry as _, SqliteStore, Store as _, StoreOptions};
use gridbeat_sync_protocol::{Frame, Signer, decode, encode};
use tempfile::TempDir;

use crate::scene::step;

/// When every run begins, by everybody's clock.
const START: WallTime = WallTime(1_790_000_000_000);

/// How long a frame is under way.
const TRAVEL: Duration = Duration::from_millis(20);

/// Rounds of carrying in which any session comes to rest.
const ROUNDS_MAX: usize = 500;

/// Changes bytes under way.
pub(crate) type Bend<'b> = &'b mut dyn FnMut(Vec<u8>) -> Vec<u8>;

/// A device and the two ends of its link.
struct Seat {
    device: Option<Device>,
    session: Option<SessionId>,
    inbox: VecDeque<Frame>,
    saved: Vec<DocumentId>,
}

/// Some devices, a relay, and all that lies between them.
pub(crate) struct World {
    seats: Vec<Seat>,
    relay: Relay,
    store: SqliteStore,
    elapsed: Duration,
    sessions: u64,
    has_keys: bool,
    /// Every frame carried, in order: to be said again, or to begin an input with.
    pub(crate) heard: Vec<Vec<u8>>,
    folder: TempDir,
}

impl World {
    /// Makes devices that may write in one scope and have met the relay once.
    pub(crate) fn new(devices: u8) -> Self {
        Self::with_keys(devices, false)
    }

    /// The same, with devices that sign and a relay that gives receipts.
    pub(crate) fn signed(devices: u8) -> Self {
        Self::with_keys(devices, true)
    }

    fn with_keys(devices: u8, has_keys: bool) -> Self {
        let folder = folder();
        let mut random = Random::from_number(1);
        let path = folder.path().join("relay.db");
        let options = StoreOptions {
            receipts: has_keys.then(|| (signer(0), START)),
            ..StoreOptions::default()
        };
        let mut store =
            SqliteStore::open(&path, options, &mut random).expect("an empty folder takes a store");
        for number in 1..=devices {
            let grants = BTreeMap::from([(scope(), Verbs::WORK.into())]);
            store
                .add_device(id(number), "车", &grants, START)
                .expect("the store works");
        }
        let relay = Relay::new(relay::Config::default(), kinds(), store.incarnation());
        let mut world = Self {
            seats: Vec::new(),
            relay,
            store,
            elapsed: Duration::from_secs(1),
            sessions: 0,
            has_keys,
            heard: Vec::new(),
            folder,
        };
        for place in 0..usize::from(devices) {
            let device = Some(world.open_device(place));
            world.seats.push(Seat {
                device,
                session: None,
                inbox: VecDeque::new(),
                saved: Vec::new(),
            });
            world.link(place);
            world.settle(place);
        }
        world
    }

    fn open_device(&self, place: usize) -> Device {
        let number = number_of(place);
        let mut config = device::Config::new(id(number), Install::from_bytes([number; 16]));
        config.signer = self.has_keys.then(|| signer(number));
        let random = Random::from_number(u64::from(number) + self.elapsed.as_secs());
        Device::open(
            &self.device_path(place),
            config,
            kinds(),
            random,
            self.now(),
        )
        .expect("a device's file opens, whatever came over its link")
    }

    fn device_path(&self, place: usize) -> PathBuf {
        self.folder.path().join(format!("device-{place}.db"))
    }

    fn device(&mut self, place: usize) -> &mut Device {
        self.seats[place]
            .device
            .as_mut()
            .expect("a device is closed only while it opens again")
    }

    fn now(&self) -> Now {
        Now {
            wall: START.plus(self.elapsed),
            monotonic: Monotonic(self.elapsed),
        }
    }

    fn moment(&mut self) -> Now {
        self.elapsed += TRAVEL;
        self.now()
    }

    /// Lets time pass, and what waits for it happen.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.elapsed += time;
        let now = self.now();
        self.relay.handle_deadline(now);
        self.work();
        for place in 0..self.seats.len() {
            if self.device(place).handle_deadline(now).is_err() {
                self.unlink(place);
            }
        }
    }

    /// Connects a device anew.
    pub(crate) fn link(&mut self, place: usize) {
        self.unlink(place);
        let now = self.moment();
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.device(place)
            .connected(now)
            .expect("a device without a link takes one");
        let number = number_of(place);
        let key = self.has_keys.then(|| signer(number).public_key());
        self.relay.connected(now, session, id(number), key);
        self.seats[place].session = Some(session);
        self.work();
    }

    /// Cuts a device's link: what is under way is gone.
    pub(crate) fn unlink(&mut self, place: usize) {
        let now = self.moment();
        self.seats[place].inbox.clear();
        let device = self.device(place);
        device.disconnected(now);
        while device.poll_output().is_some() {}
        if let Some(session) = self.seats[place].session.take() {
            self.relay.disconnected(now, session);
            self.work();
        }
    }

    /// Carries what a device has to say. Says if there was anything.
    pub(crate) fn carry_up(&mut self, place: usize, bend: Bend<'_>) -> bool {
        let mut moved = false;
        while let Some(output) = self.device(place).poll_output() {
            match output {
                device::Output::Send { frame, .. } => {
                    moved = true;
                    let bytes = bend(encode(&frame));
                    self.say(place, &bytes);
                }
                device::Output::Close(_) => self.unlink(place),
                device::Output::Changed { .. }
                | device::Output::State(_)
                | device::Output::Blobs { .. }
                | device::Output::Leave(_)
                | device::Output::Positions => {}
            }
        }
        moved
    }

    /// Says something to the relay in a device's name.
    pub(crate) fn say(&mut self, place: usize, bytes: &[u8]) {
        self.heard.push(bytes.to_vec());
        let now = self.moment();
        match (decode(bytes), self.seats[place].session) {
            (Ok(frame), Some(session)) => {
                self.relay.handle_frame(now, session, frame);
                self.work();
            }
            // What cannot be read ends the connection.
            (Err(_), Some(_)) => self.unlink(place),
            (_, None) => {}
        }
    }

    /// Carries what the relay has to say to a device. Says if there was anything.
    pub(crate) fn carry_down(&mut self, place: usize, bend: Bend<'_>) -> bool {
        let mut moved = false;
        while let Some(frame) = self.seats[place].inbox.pop_front() {
            moved = true;
            let bytes = bend(encode(&frame));
            self.tell(place, &bytes);
        }
        moved
    }

    /// Tells a device something in the relay's name.
    pub(crate) fn tell(&mut self, place: usize, bytes: &[u8]) {
        self.heard.push(bytes.to_vec());
        if self.seats[place].session.is_none() {
            return;
        }
        let now = self.moment();
        let heard =
            decode(bytes).is_ok_and(|frame| self.device(place).handle_frame(now, frame).is_ok());
        if !heard {
            self.unlink(place);
        }
    }

    /// Carries a device's frames to and fro until nothing moves.
    pub(crate) fn settle(&mut self, place: usize) {
        for _ in 0..ROUNDS_MAX {
            let up = self.carry_up(place, &mut |bytes| bytes);
            let down = self.carry_down(place, &mut |bytes| bytes);
            if !up && !down {
                return;
            }
        }
        panic!("an honest session never comes to rest");
    }

    /// Does whatever the relay wants done.
    fn work(&mut self) {
        while let Some(output) = self.relay.poll_output() {
            match output {
                relay::Output::Send { session, frame, .. } => {
                    if let Some(seat) = self.seat_of(session) {
                        seat.inbox.push_back(frame);
                    }
                }
                relay::Output::Run { task, work } => {
                    let answer = self.store.run(&work);
                    let now = self.now();
                    self.relay.handle_answer(now, task, answer);
                }
                relay::Output::Close { session, .. } => {
                    if let Some(seat) = self.seat_of(session) {
                        seat.session = None;
                    }
                }
                relay::Output::Committed { .. }
                | relay::Output::Placed { .. }
                | relay::Output::CloneSuspected { .. }
                | relay::Output::Sighted(_) => {}
                relay::Output::StoreFailed { task, fault } => {
                    panic!("a frame made the store fail at {task}: {fault:?}");
                }
            }
        }
    }

    fn seat_of(&mut self, session: SessionId) -> Option<&mut Seat> {
        self.seats
            .iter_mut()
            .find(|seat| seat.session == Some(session))
    }

    /// Reports an incident from a device. Says if the device would.
    pub(crate) fn report(&mut self, place: usize) -> bool {
        let intent = serde_json::to_vec(&report("井盖缺失")).expect("an intent is plain data");
        let now = self.moment();
        let saved = self
            .device(place)
            .create(now, "incident", &scope(), &intent);
        self.keep(place, saved)
    }

    /// Adds a note to one of a device's own incidents. Says if the device would.
    pub(crate) fn note(&mut self, place: usize, which: usize) -> bool {
        let saved = &self.seats[place].saved;
        let Some(document) = saved.get(which % saved.len().max(1)).copied() else {
            return false;
        };
        let intent = serde_json::to_vec(&step("已到场")).expect("an intent is plain data");
        let now = self.moment();
        let saved = self.device(place).edit(now, document, &intent);
        self.keep(place, saved)
    }

    fn keep(&mut self, place: usize, saved: Result<device::Saved, device::SaveError>) -> bool {
        match saved {
            Ok(saved) => {
                let documents = &mut self.seats[place].saved;
                if !documents.contains(&saved.document) {
                    documents.push(saved.document);
                }
                true
            }
            Err(device::SaveError::Storage(error)) => panic!("a save hit the file: {error}"),
            Err(_) => false,
        }
    }

    /// Closes a device and opens its file again.
    pub(crate) fn reopen(&mut self, place: usize) {
        self.unlink(place);
        if let Some(device) = self.seats[place].device.take() {
            device.close().expect("a device closes its file");
        }
        self.seats[place].device = Some(self.open_device(place));
    }

    /// Ends everything, and returns the folder with the relay's database, `relay.db`.
    pub(crate) fn into_folder(self) -> TempDir {
        // The store closes its file before the folder is handed on.
        let Self { store, folder, .. } = self;
        drop(store);
        folder
    }

    /// Returns how many of a device's changes wait to be sent.
    pub(crate) fn waiting(&mut self, place: usize) -> u64 {
        let outbox = self.device(place).outbox();
        outbox.expect("the file can be read").changes
    }

    /// Returns whether a device can show every incident it saved.
    pub(crate) fn shows_all(&mut self, place: usize) -> bool {
        let saved = self.seats[place].saved.clone();
        saved.into_iter().all(|document| {
            let record = self.device(place).record(document);
            record.expect("the file can be read").is_some()
        })
    }

    /// Returns whether a device says that it is in sync.
    pub(crate) fn is_in_sync(&mut self, place: usize) -> bool {
        let state = self.device(place).sync_state();
        matches!(state, device::SyncState::InSync { .. })
    }
}

pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        TempDir::new_in(memory)
    } else {
        TempDir::new()
    };
    made.expect("there is room for a temporary folder")
}

fn number_of(place: usize) -> u8 {
    u8::try_from(place + 1).expect("there are few devices")
}

fn signer(number: u8) -> Signer {
    Signer::from_seed(&[number + 1; 32])
}

fn id(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

fn scope() -> Scope {
    Scope::new("招宝山").expect("a place is a scope")
}

/// What an officer reports.
pub(crate) fn report(description: &str) -> IncidentIntent {
    let catalogue = Catalogue::national();
    let category = catalogue.find(CategoryKind::Part, "01001");
    IncidentIntent::Report {
        category: category.expect("the national catalogue has it").clone(),
        description: description.into(),
        address: String::new(),
        position: Position::from_degrees(29.95, 121.71).ok(),
        severity: Severity::Ordinary,
        by: "赵巡查".into(),
        gps: None,
    }
}
