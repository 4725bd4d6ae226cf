//! Devices and a relay in one process: the cores as they ship over real files, their frames carried by
//! hand. No thread, no socket; time passes when the test says so.
//!
//! long because it is all that a test of whole worlds may do, in one place.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gridbeat_base::{
    BlobHash, ChangeHash, DeviceId, DocumentId, Install, Monotonic, Now, Position, Random, Scope,
    Verbs, WallTime,
};
use gridbeat_device_core as device;
use gridbeat_device_core::{Device, Saved, SyncState};
use gridbeat_domain::{
    Catalogue, CategoryKind, IncidentIntent, IncidentView, PhotoRole, Severity, Step, kinds,
};
use gridbeat_relay_core as relay;
use gridbeat_relay_core::{Relay, SessionId};
use gridbeat_relay_store::{
    AuditReport, BlobsCleared, By, Registry as _, SqliteStore, Store as _, StoreOptions,
};
use gridbeat_sync_protocol::{Frame, Signer, VERSION_NEWEST, decode, encode};
use tempfile::TempDir;

/// When every test begins, by the relay's clock.
const START: WallTime = WallTime(1_790_000_000_000);

/// How long a frame is under way.
const TRAVEL: Duration = Duration::from_millis(20);

/// Rounds of carrying in which any session comes to rest; more means that it never will.
const ROUNDS_MAX: usize = 10_000;

/// A device and the two ends of its link.
pub(crate) struct Seat {
    pub(crate) device: Device,
    /// How far its clock is ahead of the relay's, in milliseconds.
    pub(crate) ahead_ms: i64,
    session: Option<SessionId>,
    pub(crate) inbox: VecDeque<Frame>,
    number: u8,
}

/// Some devices, a relay, and all that lies between them.
pub(crate) struct World {
    pub(crate) seats: Vec<Seat>,
    pub(crate) relay: Relay,
    /// Whether the relay's disk works.
    pub(crate) disk: Arc<AtomicBool>,
    /// What the relay is told, from its next start on.
    pub(crate) config: relay::Config,
    /// Bytes of the frames carried, up and down.
    pub(crate) carried: (usize, usize),
    /// Documents that were carried down in snapshots.
    pub(crate) in_snapshots: usize,
    /// Whether devices sign and the relay gives receipts, from the next start of each on.
    pub(crate) has_keys: bool,
    /// The newest version of the protocol that devices greet with.
    pub(crate) newest: u16,
    /// Every part that was carried up: whose blob, which chunk.
    pub(crate) parts: Vec<(BlobHash, u32)>,
    // Gone while the relay is down.
    store: Option<SqliteStore>,
    random: Random,
    elapsed: Duration,
    sessions: u64,
    folder: TempDir,
}

impl World {
    /// Makes devices that may write in the scope of [`scope`] and have met the relay once.
    pub(crate) fn new(devices: u8) -> Self {
        Self::with_keys(devices, true)
    }

    /// As [`Self::new`], with or without keys to sign by.
    pub(crate) fn with_keys(devices: u8, has_keys: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let disk = Arc::new(AtomicBool::new(true));
        let mut random = Random::from_number(1);
        let path = folder.path().join("relay.db");
        let store = open_store(&path, &disk, &mut random, has_keys);
        let relay = Relay::new(relay::Config::default(), kinds(), store.incarnation());
        let mut world = Self {
            seats: Vec::new(),
            relay,
            disk,
            config: relay::Config::default(),
            carried: (0, 0),
            in_snapshots: 0,
            has_keys,
            newest: VERSION_NEWEST,
            parts: Vec::new(),
            store: Some(store),
            random,
            elapsed: Duration::from_secs(1),
            sessions: 0,
            folder,
        };
        for _ in 0..devices {
            world.add_device();
        }
        world
    }

    /// Enrols one more device, which then syncs once; returns its place.
    pub(crate) fn add_device(&mut self) -> usize {
        let place = self.add_device_that_never_synced();
        self.sync(place);
        self.unlink(place);
        place
    }

    /// Enrols one more device; returns its place.
    pub(crate) fn add_device_that_never_synced(&mut self) -> usize {
        let place = self.seats.len();
        let number = u8::try_from(place + 1).unwrap();
        self.enrol(number);
        let device = self.open_device(number);
        self.seats.push(Seat {
            device,
            ahead_ms: 0,
            session: None,
            inbox: VecDeque::new(),
            number,
        });
        place
    }

    fn enrol(&mut self, number: u8) {
        let grants = BTreeMap::from([(scope(), Verbs::WORK.into())]);
        let device = DeviceId::from_bytes([number; 16]);
        let store = self.store.as_mut().unwrap();
        store.act_as(By::new("王调度", "新车上路").unwrap());
        store.add_device(device, "车", &grants, START).unwrap();
    }

    fn open_device(&mut self, number: u8) -> Device {
        let id = DeviceId::from_bytes([number; 16]);
        let mut config = device::Config::new(id, Install::from_bytes([number; 16]));
        config.signer = self.has_keys.then(|| signer(id));
        let path = self.device_path(number);
        let random = Random::from_number(self.random.number());
        let _alone = tests::while_no_process_starts();
        Device::open(&path, config, kinds(), random, self.relay_now()).unwrap()
    }

    fn device_path(&self, number: u8) -> PathBuf {
        self.folder.path().join(format!("device-{number}.db"))
    }

    pub(crate) fn relay_path(&self) -> PathBuf {
        self.folder.path().join("relay.db")
    }

    /// The relay's time.
    fn relay_now(&self) -> Now {
        Now {
            wall: START.plus(self.elapsed),
            monotonic: Monotonic(self.elapsed),
        }
    }

    /// A device's time, a moment after the last thing that happened anywhere.
    pub(crate) fn now(&mut self, place: usize) -> Now {
        self.elapsed += TRAVEL;
        let now = self.relay_now();
        Now {
            wall: WallTime(now.wall.millis() + self.seats[place].ahead_ms),
            monotonic: now.monotonic,
        }
    }

    /// Connects a device and carries until nothing moves.
    pub(crate) fn sync(&mut self, place: usize) {
        self.link(place);
        self.settle();
    }

    /// Syncs one device after the other, anew, and leaves all links up.
    pub(crate) fn sync_all(&mut self) {
        for place in 0..self.seats.len() {
            self.unlink(place);
        }
        for place in 0..self.seats.len() {
            self.sync(place);
        }
    }

    /// Cuts all links and lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        for place in 0..self.seats.len() {
            self.unlink(place);
        }
        self.elapsed += time;
    }

    /// Connects a device; carries nothing.
    pub(crate) fn link(&mut self, place: usize) {
        let now = self.now(place);
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let seat = &mut self.seats[place];
        seat.session = Some(session);
        seat.device.connected(now).unwrap();
        let id = seat.device.device();
        let key = self.has_keys.then(|| signer(id).public_key());
        self.relay.connected(self.relay_now(), session, id, key);
    }

    /// Cuts a device's link: what is under way to it is gone.
    pub(crate) fn unlink(&mut self, place: usize) {
        let now = self.now(place);
        let seat = &mut self.seats[place];
        seat.inbox.clear();
        seat.device.disconnected(now);
        // What it had to say was for the link that is gone.
        while seat.device.poll_output().is_some() {}
        if let Some(session) = seat.session.take() {
            let now = self.relay_now();
            self.relay.disconnected(now, session);
        }
    }

    /// Carries frames to and fro until nothing moves.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for place in 0..self.seats.len() {
                moved |= self.carry_up(place);
                moved |= self.carry_down(place, usize::MAX);
                moved |= self.wake(place);
            }
            if !moved {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Lets a device do what is due.
    pub(crate) fn wake(&mut self, place: usize) -> bool {
        let now = self.relay_now();
        let seat = &mut self.seats[place];
        let now = Now {
            wall: WallTime(now.wall.millis() + seat.ahead_ms),
            monotonic: now.monotonic,
        };
        let device = &mut seat.device;
        let is_due = device
            .next_deadline()
            .is_some_and(|due| due <= now.monotonic);
        if is_due && device.handle_deadline(now).is_err() {
            self.unlink(place);
        }
        is_due
    }

    /// Carries what a device has to say; the relay does all that follows. Says if there was anything.
    pub(crate) fn carry_up(&mut self, place: usize) -> bool {
        let mut moved = false;
        while let Some(output) = self.seats[place].device.poll_output() {
            match (output, self.seats[place].session) {
                (device::Output::Send { mut frame, .. }, Some(session)) => {
                    moved = true;
                    if let Frame::Hello(hello) = &mut frame {
                        hello.versions.newest = hello.versions.newest.min(self.newest);
                    } else if let Frame::Part(part) = &frame {
                        self.parts.push((part.hash, part.chunk));
                    } else if let Frame::Bring(bring) = &frame {
                        self.parts.push((bring.hash, 0));
                    }
                    let bytes = encode(&frame);
                    self.carried.0 += bytes.len();
                    self.elapsed += TRAVEL;
                    let now = self.relay_now();
                    self.relay
                        .handle_frame(now, session, decode(&bytes).unwrap());
                    self.work();
                }
                (device::Output::Close(_), Some(_)) => self.unlink(place),
                (
                    device::Output::Send { .. }
                    | device::Output::Close(_)
                    | device::Output::Changed { .. }
                    | device::Output::State(_)
                    | device::Output::Blobs { .. }
                    | device::Output::Leave(_)
                    | device::Output::Positions,
                    _,
                ) => {}
            }
        }
        self.work();
        moved
    }

    /// Says a frame to the relay in a device's session, as a program might that is not ours.
    pub(crate) fn say(&mut self, place: usize, frame: Frame) {
        let session = self.seats[place].session.unwrap();
        let now = self.relay_now();
        self.relay.handle_frame(now, session, frame);
        self.work();
    }

    /// Carries at most so many frames to a device. Says if there was anything.
    pub(crate) fn carry_down(&mut self, place: usize, frames_max: usize) -> bool {
        let mut moved = false;
        for _ in 0..frames_max {
            let Some(frame) = self.seats[place].inbox.pop_front() else {
                break;
            };
            moved = true;
            let bytes = encode(&frame);
            self.carried.1 += bytes.len();
            if let Frame::Snapshot(snapshot) = &frame {
                self.in_snapshots += snapshot.documents.len();
            }
            let now = self.now(place);
            let device = &mut self.seats[place].device;
            // An error ends the session; its end is among the device's outputs.
            if device.handle_frame(now, decode(&bytes).unwrap()).is_err() {
                self.unlink(place);
            }
        }
        let seat = &self.seats[place];
        if seat.session.is_none() && seat.inbox.is_empty() {
            let now = self.now(place);
            self.seats[place].device.disconnected(now);
        }
        moved
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
                    let answer = self.store.as_mut().unwrap().run(&work);
                    let now = self.relay_now();
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
                | relay::Output::Sighted(_)
                | relay::Output::StoreFailed { .. } => {}
            }
        }
    }

    fn seat_of(&mut self, session: SessionId) -> Option<&mut Seat> {
        self.seats
            .iter_mut()
            .find(|seat| seat.session == Some(session))
    }

    /// Grants a device work in these scopes and in no others; the relay's operator does.
    pub(crate) fn grant(&mut self, place: usize, scopes: &[&Scope]) {
        let grants = scopes
            .iter()
            .map(|scope| ((*scope).clone(), Verbs::WORK.into()));
        let device = self.seats[place].device.device();
        let now = self.relay_now();
        let store = self.store.as_mut().unwrap();
        store
            .add_device(device, "车", &grants.collect(), now.wall)
            .unwrap();
        self.relay.rights_changed(now);
        self.work();
    }

    /// Revokes a device; the relay's operator does.
    pub(crate) fn revoke(&mut self, place: usize) {
        let device = self.seats[place].device.device();
        let now = self.relay_now();
        self.store
            .as_mut()
            .unwrap()
            .revoke(device, now.wall)
            .unwrap();
        self.relay.rights_changed(now);
        self.work();
    }

    /// Clears away at the relay what no record refers to, and what stands still, at once.
    pub(crate) fn clear_blobs(&mut self) -> BlobsCleared {
        let at = self.relay_now().wall.plus(TRAVEL);
        self.store
            .as_mut()
            .unwrap()
            .clear_blobs(at, at, false)
            .unwrap()
    }

    /// Returns the relay's store.
    pub(crate) fn store(&self) -> &SqliteStore {
        self.store.as_ref().unwrap()
    }

    /// Takes a document out of a scope; the relay's operator does.
    pub(crate) fn take_out(&mut self, document: DocumentId, scope: &Scope) {
        let now = self.relay_now();
        self.relay.place(now, document, scope.clone(), false);
        self.work();
    }

    /// Puts a document into another scope; the relay's operator does.
    pub(crate) fn place(&mut self, document: DocumentId, scope: &Scope) {
        let now = self.relay_now();
        self.relay.place(now, document, scope.clone(), true);
        self.work();
    }

    /// Verifies the relay's evidence.
    pub(crate) fn audit(&self) -> AuditReport {
        self.store.as_ref().unwrap().audit().unwrap()
    }

    /// Ends the relay's process, does something to its file, and starts it again.
    pub(crate) fn restart_relay(&mut self, meanwhile: impl FnOnce(&Path)) {
        for place in 0..self.seats.len() {
            self.unlink(place);
        }
        drop(self.store.take());
        meanwhile(&self.relay_path());
        let path = self.relay_path();
        let mut store = open_store(&path, &self.disk, &mut self.random, self.has_keys);
        store.list_references(&kinds()).unwrap();
        self.relay = Relay::new(self.config.clone(), kinds(), store.incarnation());
        self.store = Some(store);
    }

    /// Ends a device's process, does something to its file, and starts it again.
    pub(crate) fn restart_device(&mut self, place: usize, meanwhile: impl FnOnce(&Path)) {
        self.unlink(place);
        let Seat {
            device,
            ahead_ms,
            number,
            ..
        } = self.seats.remove(place);
        device.close().unwrap();
        meanwhile(&self.device_path(number));
        let device = self.open_device(number);
        let seat = Seat {
            device,
            ahead_ms,
            session: None,
            inbox: VecDeque::new(),
            number,
        };
        self.seats.insert(place, seat);
    }

    pub(crate) fn break_disk(&self) {
        self.disk.store(false, Ordering::Relaxed);
    }

    pub(crate) fn mend_disk(&self) {
        self.disk.store(true, Ordering::Relaxed);
    }

    /// Reports an incident from a device.
    pub(crate) fn report(&mut self, place: usize, description: &str) -> Saved {
        let intent = report(
            description,
            "赵巡查",
            Position::from_degrees(29.95, 121.71).ok(),
        );
        self.create(place, &intent)
    }

    pub(crate) fn create(&mut self, place: usize, intent: &IncidentIntent) -> Saved {
        self.create_in(place, &scope(), intent)
    }

    pub(crate) fn create_in(
        &mut self,
        place: usize,
        scope: &Scope,
        intent: &IncidentIntent,
    ) -> Saved {
        let now = self.now(place);
        let intent = serde_json::to_vec(intent).unwrap();
        let device = &mut self.seats[place].device;
        device.create(now, "incident", scope, &intent).unwrap()
    }

    pub(crate) fn edit(&mut self, place: usize, document: DocumentId, intent: &IncidentIntent) {
        let now = self.now(place);
        let intent = serde_json::to_vec(intent).unwrap();
        let device = &mut self.seats[place].device;
        device.edit(now, document, &intent).unwrap();
    }

    /// Takes a photo and attaches it.
    pub(crate) fn attach(&mut self, place: usize, document: DocumentId, bytes: &[u8]) -> BlobHash {
        let now = self.now(place);
        let hash = self.seats[place].device.put_blob(now, bytes).unwrap();
        self.refer(place, document, hash);
        hash
    }

    /// Attaches a photo by its name alone.
    pub(crate) fn refer(&mut self, place: usize, document: DocumentId, hash: BlobHash) {
        let photo = IncidentIntent::AddPhoto {
            hash,
            role: PhotoRole::Near,
            position: None,
            preview: None,
            thumbnail: None,
        };
        self.edit(place, document, &photo);
    }

    /// Opens a photo of a record, and so wants it; says whether the record refers to it.
    pub(crate) fn open(&mut self, place: usize, document: DocumentId, hash: BlobHash) -> bool {
        let now = self.now(place);
        let device = &mut self.seats[place].device;
        device.want_blob(now, document, hash).unwrap()
    }

    pub(crate) fn note(&mut self, place: usize, document: DocumentId, note: &str) {
        self.edit(place, document, &step(Step::Note, note));
    }

    /// Returns what a device shows of an incident.
    pub(crate) fn shown(&self, place: usize, document: DocumentId) -> IncidentView {
        let record = self.seats[place].device.record(document).unwrap().unwrap();
        serde_json::from_str(&record.body).unwrap()
    }

    pub(crate) fn state(&self, place: usize) -> &SyncState {
        self.seats[place].device.sync_state()
    }

    pub(crate) fn waiting(&self, place: usize) -> u64 {
        self.seats[place].device.outbox().unwrap().changes
    }

    pub(crate) fn fingerprint(&self, place: usize) -> Vec<(DocumentId, Vec<ChangeHash>)> {
        self.seats[place].device.fingerprint().unwrap()
    }

    /// Checks that every device but one says it is in sync.
    pub(crate) fn assert_all_in_sync_but(&self, place: usize) {
        for other in (0..self.seats.len()).filter(|other| *other != place) {
            let state = self.state(other);
            assert!(
                matches!(state, SyncState::InSync { .. }),
                "{other}: {state:?}"
            );
        }
    }

    /// Checks that every device says it is in sync, and that all hold the same.
    pub(crate) fn assert_all_in_sync(&self) {
        for place in 0..self.seats.len() {
            let state = self.state(place);
            assert!(
                matches!(state, SyncState::InSync { .. }),
                "{place}: {state:?}"
            );
            assert_eq!(self.waiting(place), 0, "{place}");
            assert_eq!(self.fingerprint(place), self.fingerprint(0), "{place}");
        }
    }
}

/// The key in a device's certificate.
fn signer(device: DeviceId) -> Signer {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(device.bytes());
    Signer::from_seed(&seed)
}

fn open_store(
    path: &Path,
    disk: &Arc<AtomicBool>,
    random: &mut Random,
    has_keys: bool,
) -> SqliteStore {
    let works = Arc::clone(disk);
    let options = StoreOptions {
        receipts: has_keys.then(|| (Signer::from_seed(&[7; 32]), START)),
        before_commit: Some(Box::new(move || works.load(Ordering::Relaxed))),
        ..StoreOptions::default()
    };
    SqliteStore::open(path, options, random).unwrap()
}

/// The scope all devices share.
pub(crate) fn scope() -> Scope {
    Scope::new("招宝山").unwrap()
}

pub(crate) fn report(description: &str, by: &str, position: Option<Position>) -> IncidentIntent {
    let catalogue = Catalogue::national();
    IncidentIntent::Report {
        category: catalogue.find(CategoryKind::Part, "01001").unwrap().clone(),
        description: description.into(),
        address: String::new(),
        position,
        severity: Severity::Ordinary,
        by: by.into(),
        gps: None,
    }
}

pub(crate) fn step(step: Step, note: &str) -> IncidentIntent {
    IncidentIntent::Step {
        step,
        note: note.into(),
        unit: None,
        by: "赵巡查".into(),
        gps: None,
    }
}
