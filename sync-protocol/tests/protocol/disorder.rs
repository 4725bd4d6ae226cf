//! Streams do not wait for each other: whatever the order in which frames arrive, the device gets every
//! entry of the feed once and in order.
//!
//! A small world: one scope, one device, one relay with a log. The control stream keeps its order in
//! each direction; frames with a stream of their own arrive whenever they like. Others write to the
//! log, the device pushes, and now and then it reconciles though nothing is wrong. In every other world the scope comes as
//! a snapshot first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridbeat_base::{Lane, Random, Verbs, WallTime};
use gridbeat_sync_protocol::{
    Ack, CompareDocument, Compared, ComparedDocument, DeviceInput, DeviceOutput, DeviceSession,
    Entry, Feed, Frame, PackForm, RelayInput, RelayOutput, RelaySession, Snapshot,
    SnapshotDocument, Verdict, decode, encode,
};

use crate::support::*;

/// What lies between two sessions in one direction.
#[derive(Default)]
struct Way {
    control: VecDeque<Vec<u8>>,
    streams: Vec<Vec<u8>>,
}

impl Way {
    fn put(&mut self, frame: &Frame) {
        if frame.kind().has_own_stream() {
            self.streams.push(encode(frame));
        } else {
            self.control.push_back(encode(frame));
        }
    }

    fn take(&mut self, random: &mut Random) -> Option<Frame> {
        let streams = self.streams.len() as u64;
        let bytes = match random.below(streams + 1) {
            0 => self.control.pop_front(),
            place => Some(
                self.streams
                    .swap_remove(usize::try_from(place - 1).unwrap()),
            ),
        };
        bytes.map(|bytes| decode(&bytes).unwrap())
    }
}

/// What waits for the relay's answer.
enum Due {
    Ack { number: u64, documents: usize },
    Reconcile,
    Compare(Vec<CompareDocument>, bool),
}

struct World {
    random: Random,
    device: DeviceSession,
    relay: RelaySession,
    up: Way,
    down: Way,
    /// The scope's feed; the entry with number 1 comes first.
    log: Vec<Entry>,
    due: Vec<Due>,
    /// What the device has of the feed.
    held: BTreeMap<u64, Entry>,
    cursor: u64,
    /// Entries the device knows to be its own, from acknowledgements.
    own: BTreeSet<u64>,
    is_reconciling: bool,
    /// Whether the scope comes as a snapshot, and of how many frames that is still to be.
    snapshot: Option<u64>,
    /// Where the feed goes on after it, and its frames that the device got.
    as_of: u64,
    got: u64,
    /// How often each path was taken.
    counts: BTreeMap<&'static str, u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut device = DeviceSession::new();
        device.start(NOW, hello(&[("a", 0)])).unwrap();
        Self {
            random: Random::from_number(seed),
            device,
            relay: new_relay(),
            up: Way::default(),
            down: Way::default(),
            log: Vec::new(),
            due: Vec::new(),
            held: BTreeMap::new(),
            cursor: 0,
            own: BTreeSet::new(),
            is_reconciling: false,
            snapshot: (seed % 2 == 1).then_some(1 + seed % 5),
            as_of: 0,
            got: 0,
            counts: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn head(&self) -> u64 {
        self.log.len() as u64
    }

    fn write(&mut self) {
        self.log.push(change_entry(self.random.bytes::<1>()[0]));
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0 => self.write(),
            1 => self.push(),
            2 | 3 => self.answer(),
            4 | 5 => self.feed(),
            6 | 7 => self.carry_up(),
            8 => self.carry_down(),
            _ => {
                if self.random.chance(100) {
                    self.reconcile();
                }
                self.carry_down();
            }
        }
        self.outputs();
    }

    fn push(&mut self) {
        let documents =
            (0..1 + self.random.below(3)).map(|n| push_document(u8::try_from(n).unwrap(), 60));
        let documents = documents.collect();
        if self.device.can_push(Lane::Record) {
            self.device
                .push(Lane::Record, &scope("a"), documents)
                .unwrap();
        }
    }

    fn reconcile(&mut self) {
        if !self.is_reconciling && self.device.reconcile(&scope("a"), vec![1]).is_ok() {
            self.is_reconciling = true;
            self.count("reconciliations");
        }
    }

    /// The relay answers something that waits, not always the oldest.
    fn answer(&mut self) {
        if self.due.is_empty() {
            return;
        }
        let place = self.random.below(self.due.len() as u64);
        match self.due.swap_remove(usize::try_from(place).unwrap()) {
            Due::Ack { number, documents } => {
                let first = self.head() + 1;
                let verdicts: Vec<Verdict> = (0..documents)
                    .map(|_| match self.random.below(3) {
                        0 => Verdict::Known,
                        _ => Verdict::Accepted,
                    })
                    .collect();
                let accepted = verdicts
                    .iter()
                    .filter(|verdict| **verdict == Verdict::Accepted);
                let made = accepted.count();
                (0..made).for_each(|_| self.write());
                let ack = Ack {
                    number,
                    received: WallTime(0),
                    first_seq: (made > 0).then_some(first),
                    attached: vec![false; documents],
                    verdicts,
                };
                self.relay.acknowledge(ack).unwrap();
            }
            Due::Reconcile => {
                let seq = self.head();
                self.relay.reconcile(&scope("a"), seq, vec![2]).unwrap();
            }
            Due::Compare(documents, last) => {
                let unknown = documents.iter().map(|asked| ComparedDocument {
                    document: asked.document,
                    held: None,
                });
                let compared = Compared {
                    form: PackForm::Whole,
                    scope: scope("a"),
                    seq: self.head(),
                    digest: digest(1),
                    documents: unknown.collect(),
                    last,
                };
                self.relay.compared(compared).unwrap();
            }
        }
    }

    /// The relay sends a frame of the snapshot, each of one document.
    fn snap(&mut self) {
        let (Some(left), true) = (self.snapshot, self.relay.snapshot_room(&scope("a")) > 0) else {
            return;
        };
        self.snapshot = (left > 1).then(|| left - 1);
        let whole = SnapshotDocument {
            document: document(u8::try_from(left).unwrap()),
            kind: "incident".to_owned(),
            schema_version: 1,
            changes: vec![change(&[7; 40])],
        };
        let frame = Snapshot {
            scope: scope("a"),
            number: 0,
            seq: self.head(),
            digest: digest(1),
            mark: left,
            last: left == 1,
            documents: vec![whole],
            form: PackForm::Whole,
        };
        self.relay.snapshot(Lane::Record, frame).unwrap();
    }

    fn take(&mut self, frame: &Snapshot) {
        self.got += 1;
        assert_eq!(frame.number, self.got, "in order, without gap");
        assert_eq!(self.cursor, 0, "nothing is fed before");
        self.count("snapshots");
        if frame.last {
            self.cursor = self.as_of;
            let log = self.log.iter().cloned();
            self.held = (1..=self.cursor).zip(log).collect();
        }
        if frame.last || self.random.chance(700) {
            self.device.taken(&scope("a"), frame.number).unwrap();
        }
    }

    fn feed(&mut self) {
        self.snap();
        let Some(fed) = self.relay.fed(&scope("a")) else {
            return;
        };
        let count = (1 + self.random.below(4)).min(self.head() - fed);
        if count > 0 && self.relay.feed_room(&scope("a")) > 0 {
            let from = usize::try_from(fed).unwrap();
            let entries = self.log[from..from + usize::try_from(count).unwrap()].to_vec();
            let mut frame = feed("a", fed + 1, entries);
            frame.head = self.head();
            self.relay.feed(Lane::Record, frame).unwrap();
        }
    }

    fn carry_up(&mut self) {
        if let Some(frame) = self.up.take(&mut self.random) {
            self.relay.handle(NOW, RelayInput::Frame(frame)).unwrap();
        }
    }

    fn carry_down(&mut self) {
        if let Some(frame) = self.down.take(&mut self.random) {
            self.device.handle(NOW, DeviceInput::Frame(frame)).unwrap();
        }
    }

    fn outputs(&mut self) {
        while let Some(output) = self.relay.poll_output() {
            match output {
                RelayOutput::Send { frame, .. } => self.down.put(&frame),
                RelayOutput::Greeted(_) => {
                    let mut scopes = vec![greeting("a", self.head())];
                    if self.snapshot.is_some() {
                        self.as_of = self.head();
                        scopes[0].verbs = Some(Verbs::WORK);
                        scopes[0].snapshot = Some(self.as_of);
                    }
                    let welcomed = self.relay.welcome(incarnation(9), WallTime(0), scopes);
                    welcomed.unwrap();
                }
                RelayOutput::Pushed {
                    number, documents, ..
                } => {
                    let documents = documents.len();
                    self.due.push(Due::Ack { number, documents });
                }
                RelayOutput::Applied { seq, .. } => assert!(seq <= self.head()),
                RelayOutput::Taken { .. } => {}
                RelayOutput::Reconcile { .. } => self.due.push(Due::Reconcile),
                RelayOutput::Compare(compare) => {
                    self.due.push(Due::Compare(compare.documents, compare.last));
                }
                other @ (RelayOutput::Removed(_)
                | RelayOutput::Offered(_)
                | RelayOutput::Part { .. }
                | RelayOutput::Brought { .. }
                | RelayOutput::Proved { .. }
                | RelayOutput::Get(_)
                | RelayOutput::Here(_)
                | RelayOutput::Gone(_)
                | RelayOutput::Watch(_)
                | RelayOutput::Closed(_)) => panic!("{other:?}"),
            }
        }
        while let Some(output) = self.device.poll_output() {
            match output {
                DeviceOutput::Send { frame, .. } => self.up.put(&frame),
                DeviceOutput::Feed(feed) => self.apply(feed),
                DeviceOutput::Snapshot(frame) => self.take(&frame),
                DeviceOutput::Acknowledged {
                    first_seq: Some(first),
                    verdicts,
                    ..
                } => {
                    let all = verdicts.iter();
                    let accepted = all.filter(|verdict| **verdict == Verdict::Accepted);
                    self.own.extend((first..).take(accepted.count()));
                }
                DeviceOutput::Welcomed(_)
                | DeviceOutput::Acknowledged { .. }
                | DeviceOutput::Compared(_) => {}
                DeviceOutput::Reconciled { .. } => self.compare(),
                DeviceOutput::Aligned { cursor, .. } => {
                    // The answers brought everything up to there, at least.
                    self.is_reconciling = false;
                    self.held = (1..=cursor).zip(self.log.iter().cloned()).collect();
                    self.cursor = cursor;
                }
                other @ (DeviceOutput::Noticed(_)
                | DeviceOutput::Noted(_)
                | DeviceOutput::Offered { .. }
                | DeviceOutput::Kept { .. }
                | DeviceOutput::Part { .. }
                | DeviceOutput::Withheld { .. }
                | DeviceOutput::Positions(_)
                | DeviceOutput::Closed(_)) => panic!("{other:?}"),
            }
        }
    }

    fn compare(&mut self) {
        if self.random.chance(500) {
            return self.device.reconcile(&scope("a"), vec![3]).unwrap();
        }
        let asked = |n| CompareDocument {
            document: document(n),
            changes: vec![],
        };
        if self.random.chance(500) {
            self.device
                .compare(&scope("a"), vec![asked(1), asked(2)], false)
                .unwrap();
        }
        self.device
            .compare(&scope("a"), vec![asked(3)], true)
            .unwrap();
    }

    fn apply(&mut self, feed: Feed) {
        assert!(!self.is_reconciling, "nothing is fed meanwhile");
        assert_eq!(feed.first_seq, self.cursor + 1, "in order, without gap");
        for entry in feed.entries {
            for _ in 0..entry.count() {
                self.cursor += 1;
                if matches!(entry, Entry::Own { .. }) {
                    assert!(
                        self.own.contains(&self.cursor),
                        "known by its acknowledgement"
                    );
                    let place = usize::try_from(self.cursor - 1).unwrap();
                    self.held.insert(self.cursor, self.log[place].clone());
                    self.count("own");
                } else {
                    self.held.insert(self.cursor, entry.clone());
                    self.count("others");
                }
            }
        }
        if self.random.chance(700) {
            self.device.applied(&scope("a"), self.cursor).unwrap();
        }
    }

    /// No more writes: everything arrives.
    fn calm(&mut self) {
        for _ in 0..3_000 {
            self.answer();
            self.feed();
            self.carry_up();
            self.carry_down();
            self.outputs();
        }
        assert_eq!(self.cursor, self.head());
        let held: Vec<Entry> = self.held.values().cloned().collect();
        assert_eq!(held, self.log);
        assert!(!self.is_reconciling && self.due.is_empty());
    }
}

#[test]
fn every_entry_arrives_once_and_in_order_whatever_the_order_of_streams() {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..200 {
        let mut world = World::new(seed);
        (0..600).for_each(|_| world.step());
        world.calm();
        for (what, count) in world.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    println!("{counts:?}");
    assert!(counts.values().all(|count| *count > 200), "{counts:?}");
    assert_eq!(counts.len(), 4, "every path was taken");
}
