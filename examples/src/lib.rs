//! What the examples share: a town whose devices and relay live in one process.
//!
//! The town owns one relay over its file and any number of devices over theirs, and carries their frames
//! by function calls: a link that is cut and mended in a line. It is also the shortest account of
//! how the two cores are driven. An app has sockets in its place: `gridbeat-device` and
//! `gridbeat-relay` are that.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use gridbeat_base::{DeviceId, Install, Monotonic, Now, Random, Scope, Verbs, WallTime};
use gridbeat_device_core::{self as device, Device, SyncState};
use gridbeat_document::Kinds;
use gridbeat_relay_core::{self as relay, Relay, SessionId};
use gridbeat_relay_store::{Granted, Registry as _, SqliteStore, Store as _, StoreOptions};
use gridbeat_sync_protocol::{CloseReason, Frame};
use tempfile::TempDir;

/// Some devices, their relay, and the links between them. Its files go when it is dropped.
#[derive(Debug)]
pub struct Town {
    kinds: Kinds,
    random: Random,
    began: Instant,
    relay: Relay,
    store: SqliteStore,
    seats: Vec<Seat>,
    sessions: u64,
    folder: TempDir,
}

#[derive(Debug)]
struct Seat {
    device: Device,
    /// The open session, while there is a link.
    session: Option<SessionId>,
    /// Frames on their way down.
    inbox: VecDeque<Frame>,
}

impl Town {
    /// Makes a town with a relay and no devices.
    ///
    /// # Errors
    ///
    /// If no file can be made.
    pub fn new(kinds: Kinds) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        // An app seeds this from the system; an example is the same each time.
        let mut random = Random::from_number(2026);
        let path = folder.path().join("relay.db");
        let store = SqliteStore::open(&path, StoreOptions::default(), &mut random)?;
        Ok(Self {
            relay: Relay::new(relay::Config::default(), kinds.clone(), store.incarnation()),
            kinds,
            random,
            began: Instant::now(),
            store,
            seats: Vec::new(),
            sessions: 0,
            folder,
        })
    }

    /// Enrols a device that may write in `scopes`, opens its file, and lets it meet the relay once, by
    /// which it learns what it may do. Returns its place in the town.
    ///
    /// # Errors
    ///
    /// If the relay cannot store it, or its file cannot be made.
    pub fn enrol(&mut self, name: &str, scopes: &[&Scope]) -> anyhow::Result<usize> {
        let place = self.seats.len();
        let id = DeviceId::mint(self.now().wall, &mut self.random);
        let install = Install::from_bytes(self.random.bytes());
        let grants: BTreeMap<Scope, Granted> = scopes
            .iter()
            .map(|scope| ((*scope).clone(), Verbs::WORK.into()))
            .collect();
        let now = self.now();
        self.store.add_device(id, name, &grants, now.wall)?;
        let path = self.folder.path().join(format!("device-{place}.db"));
        let config = device::Config::new(id, install);
        let random = self.random.fork();
        let device = Device::open(&path, config, self.kinds.clone(), random, now)
            .with_context(|| format!("{} does not open", path.display()))?;
        self.seats.push(Seat {
            device,
            session: None,
            inbox: VecDeque::new(),
        });
        self.sync(place)?;
        self.cut(place);
        Ok(place)
    }

    /// Returns the time now, by both clocks.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = wall.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
        Now {
            wall: WallTime(millis),
            monotonic: Monotonic(self.began.elapsed()),
        }
    }

    /// Returns the device at a place.
    pub fn device(&mut self, place: usize) -> &mut Device {
        &mut self.seats[place].device
    }

    /// Connects a device to the relay. Nothing is carried yet.
    ///
    /// # Errors
    ///
    /// If it is connected.
    pub fn link(&mut self, place: usize) -> anyhow::Result<()> {
        let now = self.now();
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let seat = &mut self.seats[place];
        seat.device.connected(now)?;
        seat.session = Some(session);
        self.relay
            .connected(now, session, seat.device.device(), None);
        Ok(())
    }

    /// Connects a device to the relay and carries until nothing moves; returns how many frames.
    ///
    /// # Errors
    ///
    /// As [`Self::link`] and [`Self::carry`].
    pub fn sync(&mut self, place: usize) -> anyhow::Result<usize> {
        self.link(place)?;
        self.carry()
    }

    /// Cuts a device's link; what is under way to it is lost.
    pub fn cut(&mut self, place: usize) {
        let now = self.now();
        let seat = &mut self.seats[place];
        seat.inbox.clear();
        seat.device.disconnected(now);
        // What it had to say was for the link that is gone.
        while seat.device.poll_output().is_some() {}
        if let Some(session) = seat.session.take() {
            self.relay.disconnected(now, session);
        }
    }

    /// Carries frames between the relay and every linked device until nothing moves; returns how many.
    ///
    /// # Errors
    ///
    /// If a device cannot store what comes, or the relay ends a session.
    pub fn carry(&mut self) -> anyhow::Result<usize> {
        let mut frames = 0;
        loop {
            let before = frames;
            for place in 0..self.seats.len() {
                frames += self.carry_up(place)?;
                frames += self.carry_down(place)?;
            }
            if frames == before {
                return Ok(frames);
            }
        }
    }

    fn carry_up(&mut self, place: usize) -> anyhow::Result<usize> {
        let mut frames = 0;
        while let Some(output) = self.seats[place].device.poll_output() {
            match (output, self.seats[place].session) {
                (device::Output::Send { frame, .. }, Some(session)) => {
                    frames += 1;
                    let now = self.now();
                    self.relay.handle_frame(now, session, frame);
                }
                // What was to be sent on a link that is cut, and what an app would show.
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
        self.work()?;
        Ok(frames)
    }

    fn carry_down(&mut self, place: usize) -> anyhow::Result<usize> {
        let mut frames = 0;
        while let Some(frame) = self.seats[place].inbox.pop_front() {
            frames += 1;
            let now = self.now();
            self.seats[place].device.handle_frame(now, frame)?;
        }
        Ok(frames)
    }

    /// Does what the relay wants done: sends frames, and runs its tasks on the store.
    fn work(&mut self) -> anyhow::Result<()> {
        while let Some(output) = self.relay.poll_output() {
            match output {
                relay::Output::Send { session, frame, .. } => {
                    let mut seats = self.seats.iter_mut();
                    if let Some(seat) = seats.find(|seat| seat.session == Some(session)) {
                        seat.inbox.push_back(frame);
                    }
                }
                relay::Output::Run { task, work } => {
                    let answer = self.store.run(&work);
                    let now = self.now();
                    self.relay.handle_answer(now, task, answer);
                }
                relay::Output::Close { reason, .. } => {
                    let why = match reason {
                        CloseReason::Peer(close) | CloseReason::Ours(close) => close.reason.en,
                        CloseReason::Failed(error) => error.to_string(),
                    };
                    anyhow::bail!("the relay ended a session: {why}");
                }
                relay::Output::Committed { .. }
                | relay::Output::Placed { .. }
                | relay::Output::CloneSuspected { .. }
                | relay::Output::Sighted(_)
                | relay::Output::StoreFailed { .. } => {}
            }
        }
        Ok(())
    }

    /// Checks that all devices are in sync: nothing waits, and all hold the same documents and changes.
    ///
    /// # Errors
    ///
    /// If they are not.
    pub fn ensure_in_sync(&self) -> anyhow::Result<()> {
        let Some(first) = self.seats.first() else {
            return Ok(());
        };
        for seat in &self.seats {
            let state = seat.device.sync_state();
            ensure!(
                matches!(state, SyncState::InSync { .. }),
                "a device is {state:?}"
            );
            ensure!(seat.device.outbox()?.changes == 0, "changes wait");
            ensure!(
                seat.device.fingerprint()? == first.device.fingerprint()?,
                "two devices hold different changes"
            );
        }
        Ok(())
    }
}
