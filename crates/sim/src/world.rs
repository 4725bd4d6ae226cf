//! The simulated city: phones, a relay, a network and disks, in one thread and one seed.
//!
//! Everything that happens is an event with a time; the world takes the earliest, hands it to the
//! very code that ships, and turns what that code asks for into later events. Not here: how phones and
//! the relay are run (`devices`, `relay`), what people and faults do (`storm`), what must hold
//! (`checks`).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gridbeat_base::{ChangeHash, DocumentId, Random, Scope};
use gridbeat_domain::Catalogue;
use gridbeat_relay_core::{self as relay_core, Relay, SessionId, Task, TaskId};
use gridbeat_relay_store::SqliteStore;

use crate::again::Again;
use crate::files::Files;
use crate::hostile::Hostile;
use crate::network::Network;
use crate::node::{Doom, Fuse, Node};
use crate::options::Options;
use crate::photos::Photos;
use crate::positions::Told;
use crate::steps::Steps;
use crate::trace::Trace;

/// One thing that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A person does something.
    Act(usize),
    /// A phone dials.
    Dial(usize),
    /// A frame arrives at the relay.
    Up(SessionId, Vec<u8>),
    /// A frame arrives at a phone.
    Down(SessionId, Vec<u8>),
    /// A connection ends, on both sides.
    Cut(SessionId),
    /// A phone's deadline.
    WakeDevice(usize),
    /// The relay's deadline.
    WakeRelay,
    /// A task of the relay's reaches its disk. The number tells lives of the relay apart.
    Disk(u64, TaskId, Box<Task>),
    /// A phone starts again.
    StartDevice(usize),
    /// The relay starts again.
    StartRelay,
    /// A phone's disk has room again, or the relay's, and can be written.
    FreeDisk(Option<usize>),
    /// A fault of the storm.
    Fault,
    /// Officers tell where they are, for the last time.
    Tell,
}

/// The relay, its file and its lives.
#[derive(Debug)]
pub(crate) struct RelayNode {
    pub(crate) files: Files,
    pub(crate) core: Option<Relay>,
    pub(crate) store: Option<SqliteStore>,
    pub(crate) config: relay_core::Config,
    pub(crate) fuse: Fuse,
    pub(crate) random: Random,
    pub(crate) backup: Option<PathBuf>,
    /// Whether it ever came back with an older copy.
    pub(crate) was_restored: bool,
    /// Whether a phone was restored while it was down.
    pub(crate) excuse_due: bool,
    pub(crate) life: u64,
    pub(crate) wakes: Option<Duration>,
}

/// The city.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) root: PathBuf,
    pub(crate) random: Random,
    pub(crate) time: Duration,
    /// How long the city's nights were in which nobody had a link: the clocks show them, the events do not.
    pub(crate) nights: Duration,
    pub(crate) nodes: Vec<Node>,
    pub(crate) relay: RelayNode,
    pub(crate) network: Network,
    pub(crate) catalogue: Catalogue,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) is_storm: bool,
    /// Every change the relay called durable, and that no legal loss took away.
    pub(crate) acknowledged: BTreeSet<(DocumentId, ChangeHash)>,
    /// What each push on its way carries.
    pub(crate) pushes: BTreeMap<(SessionId, u64), Vec<(DocumentId, ChangeHash)>>,
    pub(crate) violations: Vec<String>,
    pub(crate) tally: Tally,
    pub(crate) trace: Trace,
    pub(crate) doom: Doom,
    pub(crate) hostile: Hostile,
    pub(crate) steps: Steps,
    pub(crate) again: Again,
    pub(crate) photos: Photos,
    pub(crate) told: Told,
    events: BTreeMap<(Duration, u64), Event>,
    next_event: u64,
}

/// What happened in a run, in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Changes saved on devices.
    pub saved: u64,
    /// Changes acknowledged by the relay.
    pub acknowledged: u64,
    /// Changes the relay refused.
    pub refused: u64,
    /// Connections cut.
    pub cuts: u64,
    /// Devices that died.
    pub device_crashes: u64,
    /// Deaths of the relay.
    pub relay_crashes: u64,
    /// Backups restored, of devices and the relay.
    pub restores: u64,
    /// Devices cloned.
    pub clones: u64,
    /// Devices moved to other scopes.
    pub moves: u64,
    /// Records handed to another scope.
    pub handovers: u64,
    /// Devices revoked.
    pub revocations: u64,
    /// First flights replayed.
    pub replays: u64,
    /// Saves that a full disk turned down.
    pub full_disks: u64,
    /// Disks that could not be written for a while.
    pub failing_disks: u64,
    /// Long times in which nobody had a link.
    pub nights: u64,
    /// Greetings of an older version.
    pub old_greetings: u64,
    /// Forged changes that a device that turned pushed.
    pub forged: u64,
    /// Those of them that an honest device could have made, and that were taken in.
    pub forged_admitted: u64,
    /// Pushes said again after the calm.
    pub said_again: u64,
    /// Reconciliations that devices began.
    pub reconciliations: u64,
    /// Snapshot frames that the relay sent.
    pub snapshot_frames: u64,
    /// Photos taken and attached.
    pub photos: u64,
    /// Chunks of photos that devices sent.
    pub chunks_sent: u64,
    /// Those of them that were sent before: what was under way when a connection ended.
    pub chunks_again: u64,
    /// Chunks of photos that the relay sent.
    pub chunks_given: u64,
    /// Photos cleared away at the relay, half-way ones too.
    pub blobs_cleared: u64,
    /// Attachments whose photo the relay has at the end.
    pub photos_received: u64,
    /// Times that an officer told where he is.
    pub positions: u64,
    /// Documents at the end.
    pub documents: u64,
}

impl World {
    pub(crate) fn new(seed: u64, options: Options, root: &Path, keep_trace: bool) -> Self {
        let mut random = Random::from_number(seed);
        let doom = Doom::default();
        let relay = RelayNode {
            files: Files::new(root.join("relay"), "relay.db"),
            core: None,
            store: None,
            // Pages of few documents, and in some seeds scopes that are too small for a snapshot.
            config: relay_core::Config {
                snapshot_entries_min: if seed.is_multiple_of(4) { 40 } else { 1 },
                snapshot_bytes: 256 << (seed % 5),
                ..relay_core::Config::default()
            },
            fuse: Fuse::of(&doom),
            random: random.fork(),
            backup: None,
            was_restored: false,
            excuse_due: false,
            life: 0,
            wakes: None,
        };
        let mut world = Self {
            options,
            root: root.to_owned(),
            random,
            time: Duration::ZERO,
            nights: Duration::ZERO,
            nodes: Vec::new(),
            relay,
            network: Network::default(),
            catalogue: Catalogue::national(),
            scopes: Vec::new(),
            is_storm: true,
            acknowledged: BTreeSet::new(),
            pushes: BTreeMap::new(),
            violations: Vec::new(),
            tally: Tally::default(),
            trace: Trace::new(keep_trace),
            doom,
            hostile: Hostile::default(),
            steps: Steps::default(),
            again: Again::default(),
            photos: Photos::default(),
            told: Told::new(seed),
            events: BTreeMap::new(),
            next_event: 0,
        };
        world.start_relay();
        world
    }

    /// The true time, nights and all.
    pub(crate) fn clock(&self) -> Duration {
        self.time + self.nights
    }

    pub(crate) fn at(&mut self, time: Duration, event: Event) {
        self.next_event += 1;
        self.events.insert((time, self.next_event), event);
    }

    pub(crate) fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.time + wait, event);
    }

    /// Lets everything happen up to a moment.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((time, _), event) = entry.remove_entry();
            self.time = time;
            self.handle(event);
        }
        self.time = end;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Act(node) => self.act(node),
            Event::Dial(node) => self.dial(node),
            Event::Up(session, bytes) => self.arrive_up(session, &bytes),
            Event::Down(session, bytes) => self.arrive_down(session, &bytes),
            Event::Cut(session) => self.cut(session),
            Event::WakeDevice(node) => self.wake_device(node),
            Event::WakeRelay => self.wake_relay(),
            Event::Disk(life, id, task) => self.disk(life, id, &task),
            Event::StartDevice(node) => self.start_device(node),
            Event::StartRelay => self.start_relay(),
            Event::FreeDisk(node) => self.free_disk(node),
            Event::Fault => self.fault(),
            Event::Tell => self.tell_all(),
        }
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.trace
            .line(format_args!("{:?} VIOLATION {what}", self.time));
        self.violations.push(what);
    }
}
