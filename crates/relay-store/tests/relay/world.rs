//! A relay over a real file, driven by hand: no thread, no socket, no clock.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gridbeat_base::{DeviceId, DocumentId, Monotonic, Now, Random, Scope, Verbs, WallTime};
use gridbeat_relay_core::{Config, Output, Relay, SessionId, Task, TaskId};
use gridbeat_relay_store::{Registry, SqliteStore, Store, StoreOptions};
use gridbeat_sync_protocol::{CloseReason, Frame, PublicKey, decode, encode};
use tempfile::TempDir;

use crate::note::kinds;

/// A relay, its file, and what it sent.
pub(crate) struct World {
    pub(crate) relay: Relay,
    pub(crate) store: SqliteStore,
    pub(crate) now: Now,
    pub(crate) random: Random,
    /// Tasks that the relay asked for and that were not done yet.
    pub(crate) tasks: VecDeque<(TaskId, Task)>,
    /// The names of the tasks that were done.
    pub(crate) done: Vec<&'static str>,
    pub(crate) sent: BTreeMap<SessionId, VecDeque<Frame>>,
    pub(crate) closed: BTreeMap<SessionId, CloseReason>,
    /// All other outputs.
    pub(crate) outputs: Vec<Output>,
    /// Whether the disk works.
    pub(crate) disk: Arc<AtomicBool>,
    next_session: u64,
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(AtomicBool::new(true));
        let mut random = Random::from_number(1);
        let store = open(&folder, &disk, &mut random);
        Self {
            relay: Relay::new(config, kinds(), store.incarnation()),
            store,
            now: Now {
                wall: WallTime(1_700_000_000_000),
                monotonic: Monotonic(Duration::from_secs(1)),
            },
            random,
            tasks: VecDeque::new(),
            done: Vec::new(),
            sent: BTreeMap::new(),
            closed: BTreeMap::new(),
            outputs: Vec::new(),
            disk,
            next_session: 1,
            folder,
        }
    }

    /// Where the relay's file is.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("relay.db")
    }

    /// Starts the relay again on the same file; every session is gone.
    pub(crate) fn restart(&mut self) {
        // The old one is closed first, as a process ends before the next one starts.
        self.store = SqliteStore::open(
            &self.folder.path().join("other.db"),
            StoreOptions::default(),
            &mut self.random,
        )
        .unwrap();
        self.store = open(&self.folder, &self.disk, &mut self.random);
        self.relay = Relay::new(Config::default(), kinds(), self.store.incarnation());
        self.tasks.clear();
        self.sent.clear();
    }

    /// Enrols a device that may write in scopes.
    pub(crate) fn enrol(&mut self, device: DeviceId, scopes: &[&Scope]) {
        let grants = scopes.iter().map(|scope| ((*scope).clone(), Verbs::WORK));
        self.grant(device, &grants.collect());
    }

    pub(crate) fn grant(&mut self, device: DeviceId, verbs: &BTreeMap<Scope, Verbs>) {
        let grants = verbs
            .iter()
            .map(|(scope, verbs)| (scope.clone(), (*verbs).into()));
        self.store
            .add_device(device, "Bike", &grants.collect(), self.now.wall)
            .unwrap();
    }

    /// Lets time pass, and the relay do what is due.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now.wall = self.now.wall.plus(time);
        self.now.monotonic = self.now.monotonic.plus(time);
        if self
            .relay
            .next_deadline()
            .is_some_and(|due| due <= self.now.monotonic)
        {
            self.relay.handle_deadline(self.now);
        }
        self.pump();
    }

    pub(crate) fn connect(&mut self, device: DeviceId) -> SessionId {
        self.connect_with(device, None)
    }

    /// Connects a device that shows a certificate for a key.
    pub(crate) fn connect_with(&mut self, device: DeviceId, key: Option<PublicKey>) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.relay.connected(self.now, session, device, key);
        self.collect();
        session
    }

    /// Hands a frame to the relay, but does no task.
    pub(crate) fn deliver(&mut self, session: SessionId, frame: Frame) {
        let frame = decode(&encode(&frame)).unwrap();
        self.relay.handle_frame(self.now, session, frame);
        self.collect();
    }

    pub(crate) fn place(&mut self, document: DocumentId, scope: &Scope, attach: bool) {
        self.relay.place(self.now, document, scope.clone(), attach);
        self.pump();
    }

    /// Does the oldest task that is under way; returns its name.
    pub(crate) fn step(&mut self) -> Option<&'static str> {
        let (task, work) = self.tasks.pop_front()?;
        let answer = self.store.run(&work);
        self.done.push(work.name());
        self.relay.handle_answer(self.now, task, answer);
        self.collect();
        Some(work.name())
    }

    /// Does all tasks until there is none.
    pub(crate) fn pump(&mut self) {
        self.collect();
        while self.step().is_some() {}
    }

    /// Does tasks until one of this name is next.
    pub(crate) fn pump_to(&mut self, name: &str) {
        while self
            .tasks
            .front()
            .is_some_and(|(_, task)| task.name() != name)
        {
            self.step();
        }
        assert!(!self.tasks.is_empty(), "no {name} came");
    }

    /// Returns how often a task was done.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.done.iter().filter(|done| **done == name).count()
    }

    pub(crate) fn break_disk(&self, works: bool) {
        self.disk.store(works, Ordering::Relaxed);
    }

    /// Returns the code a session was closed with, and how long to stay away.
    pub(crate) fn closed_with(&self, session: SessionId) -> (&str, u32) {
        match &self.closed[&session] {
            CloseReason::Ours(close) => (&close.reason.code, close.retry_after_s),
            reason @ (CloseReason::Peer(_) | CloseReason::Failed(_)) => panic!("{reason:?}"),
        }
    }

    pub(crate) fn collect(&mut self) {
        while let Some(output) = self.relay.poll_output() {
            match output {
                Output::Send { session, frame, .. } => {
                    let frame = decode(&encode(&frame)).unwrap();
                    self.sent.entry(session).or_default().push_back(frame);
                }
                Output::Run { task, work } => self.tasks.push_back((task, work)),
                Output::Close { session, reason } => {
                    self.closed.insert(session, reason);
                }
                Output::Committed { .. }
                | Output::Placed { .. }
                | Output::CloneSuspected { .. }
                | Output::Sighted(_)
                | Output::StoreFailed { .. } => self.outputs.push(output),
            }
        }
    }
}

fn open(folder: &TempDir, disk: &Arc<AtomicBool>, random: &mut Random) -> SqliteStore {
    let works = Arc::clone(disk);
    let options = StoreOptions {
        before_commit: Some(Box::new(move || works.load(Ordering::Relaxed))),
        ..StoreOptions::default()
    };
    SqliteStore::open(&folder.path().join("relay.db"), options, random).unwrap()
}

pub(crate) fn scope(name: &str) -> Scope {
    Scope::new(name).unwrap()
}

pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}
