//! The relay's side of the world: its lives, its disk, and carrying out what the core asks for.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use gridbeat_base::{Monotonic, Now, WallTime};
use gridbeat_relay_core::{self as relay_core, Relay, SessionId, Task, TaskId};
use gridbeat_relay_store::{SqliteStore, Store as _, StoreOptions};
use gridbeat_sync_protocol::{Frame, Signer, Verdict, decode, encode};

use crate::network::{Fate, Link};
use crate::node::{EPOCH, signer};
use crate::options::Canary;
use crate::positions::is_of_positions;
use crate::world::{Event, World};

/// The key that the simulated relay signs its receipts by, in every life.
const RECEIPT_KEY: [u8; 32] = [0x52; 32];

/// How long a disk takes for a task at most.
const DISK_MICROS_MAX: u64 = 8_000;

impl World {
    pub(crate) fn relay_now(&self) -> Now {
        let millis = i64::try_from(self.clock().as_millis()).unwrap_or(i64::MAX);
        Now {
            wall: WallTime(EPOCH.millis() + millis),
            monotonic: Monotonic(self.clock()),
        }
    }

    pub(crate) fn start_relay(&mut self) {
        if self.relay.core.is_some() {
            return;
        }
        self.relay.fuse.set(0);
        self.relay.fuse.fail(false);
        let fuse = self.relay.fuse.clone();
        let options = StoreOptions {
            receipts: Some((Signer::from_seed(&RECEIPT_KEY), self.relay_now().wall)),
            before_commit: Some(Box::new(move || fuse.commit())),
            ..StoreOptions::default()
        };
        match SqliteStore::open(&self.relay.files.path(), options, &mut self.relay.random) {
            Ok(store) => {
                self.trace
                    .line(format_args!("{:?} relay starts", self.time));
                let incarnation = store.incarnation();
                let config = self.relay.config.clone();
                self.relay.core = Some(Relay::new(config, gridbeat_domain::kinds(), incarnation));
                self.relay.store = Some(store);
                self.relay.life += 1;
                self.relay.files.tidy();
                if self.relay.excuse_due {
                    self.excuse_what_went_with_a_phone();
                }
            }
            Err(error) => self.violate(format!("the relay cannot open its database: {error:?}")),
        }
    }

    /// Kills the relay as it stands: every connection ends, every task under way is gone.
    pub(crate) fn crash_relay(&mut self, back_after: Duration) {
        if self.relay.core.is_none() {
            return;
        }
        self.trace.line(format_args!("{:?} relay dies", self.time));
        let torn = self.options.faults.torn_logs && self.random.chance(300);
        let mut random = self.random.fork();
        self.relay.files.crash(torn.then_some(&mut random));
        if self.doom.take_torn() {
            self.relay.files.tear(&mut random);
        }
        self.take_relay_down();
        self.after(back_after, Event::StartRelay);
    }

    pub(crate) fn take_relay_down(&mut self) {
        self.relay.core = None;
        self.relay.store = None;
        self.relay.wakes = None;
        for session in self.network.sessions() {
            self.cut(session);
        }
    }

    pub(crate) fn relay_do(&mut self, work: impl FnOnce(&mut Relay)) {
        let Some(relay) = self.relay.core.as_mut() else {
            return;
        };
        work(relay);
        self.pump_relay();
    }

    pub(crate) fn pump_relay(&mut self) {
        let mut outputs = VecDeque::new();
        let Some(relay) = self.relay.core.as_mut() else {
            return;
        };
        while let Some(output) = relay.poll_output() {
            outputs.push_back(output);
        }
        let deadline = relay.next_deadline();
        let deadline = deadline.map(|Monotonic(due)| due.saturating_sub(self.nights));
        for output in outputs {
            match output {
                relay_core::Output::Send { session, frame, .. } => self.send_down(session, &frame),
                relay_core::Output::Run { task, work } => {
                    let wait = Duration::from_micros(50 + self.random.below(DISK_MICROS_MAX));
                    let event = Event::Disk(self.relay.life, task, Box::new(work));
                    self.after(wait, event);
                }
                relay_core::Output::Close { session, .. } => {
                    // What was sent before it still arrives.
                    self.after(Duration::from_secs(1), Event::Cut(session));
                }
                relay_core::Output::Committed { .. }
                | relay_core::Output::Sighted(_)
                | relay_core::Output::Placed { .. }
                | relay_core::Output::CloneSuspected { .. } => {}
                relay_core::Output::StoreFailed { task, fault } => {
                    self.trace.line(format_args!(
                        "{:?} store failed at {task}: {fault:?}",
                        self.time
                    ));
                }
            }
        }
        if let Some(deadline) = deadline
            && self
                .relay
                .wakes
                .is_none_or(|wakes| deadline < wakes || wakes <= self.time)
        {
            self.relay.wakes = Some(deadline);
            self.at(deadline.max(self.time), Event::WakeRelay);
        }
    }

    pub(crate) fn wake_relay(&mut self) {
        if self.relay.wakes.is_some_and(|wakes| wakes <= self.time) {
            self.relay.wakes = None;
        }
        let now = self.relay_now();
        self.relay_do(|relay| relay.handle_deadline(now));
    }

    pub(crate) fn disk(&mut self, life: u64, id: TaskId, task: &Task) {
        if life != self.relay.life {
            return;
        }
        let Some(store) = self.relay.store.as_mut() else {
            return;
        };
        let result = match self.options.canary {
            Some(Canary::LostCommit)
                if matches!(task, Task::Commit(_)) && self.random.chance(100) =>
            {
                lie_about(store, task)
            }
            Some(_) | None => store.run(task),
        };
        self.trace.line(format_args!(
            "{:?} disk {} {}",
            self.time,
            task.name(),
            result.is_ok()
        ));
        if self.relay.fuse.has_blown() {
            self.tally.relay_crashes += 1;
            let wait = Duration::from_secs(1 + self.random.below(120));
            self.crash_relay(wait);
            return;
        }
        let now = self.relay_now();
        self.relay_do(|relay| relay.handle_answer(now, id, result));
    }

    pub(crate) fn send_down(&mut self, session: SessionId, frame: &Frame) {
        let bytes = encode(frame);
        self.trace.line(format_args!(
            "{:?} {session:?} down {:?} {} bytes",
            self.time,
            frame.kind(),
            bytes.len()
        ));
        self.step_down(session, frame, bytes.len());
        self.photo_down(session, frame);
        self.seen_down(session, frame);
        if let Frame::Ack(ack) = frame {
            // The relay has spoken: from here on, these may not be lost.
            let pushed = self
                .pushes
                .get(&(session, ack.number))
                .cloned()
                .unwrap_or_default();
            for (change, verdict) in pushed.into_iter().zip(&ack.verdicts) {
                self.judged(change, verdict);
                match verdict {
                    Verdict::Accepted | Verdict::Known => {
                        if self.acknowledged.insert(change) {
                            self.tally.acknowledged += 1;
                        }
                    }
                    Verdict::Refused(_) => self.tally.refused += 1,
                    Verdict::Incomplete => {}
                }
            }
        }
        let Some(connection) = self.network.get(session) else {
            return;
        };
        let link = self
            .nodes
            .get(connection.node)
            .map_or(Link::CALM, |node| node.link);
        // What goes about positions draws from a source of its own.
        let random = match frame.kind() {
            kind if is_of_positions(kind) => &mut self.told.random,
            _ => &mut self.random,
        };
        match self
            .network
            .send(session, frame, false, &link, self.time, random)
        {
            Some(Fate::Arrives(at)) => self.at(at, Event::Down(session, bytes)),
            Some(Fate::Cuts(at)) => self.at(at, Event::Cut(session)),
            Some(Fate::Lost) | None => {}
        }
    }

    pub(crate) fn arrive_up(&mut self, session: SessionId, bytes: &[u8]) {
        if self.network.get(session).is_none() {
            return;
        }
        match decode(bytes) {
            Ok(frame) => {
                let now = self.relay_now();
                self.relay_do(|relay| relay.handle_frame(now, session, frame));
            }
            Err(_) if self.is_thiefs(session) => self.cut(session),
            Err(error) => self.violate(format!("a frame of a device does not decode: {error:?}")),
        }
    }

    /// The network replays a connection's first flight, as it can with 0-RTT data.
    pub(crate) fn replay(&mut self, session: SessionId) {
        let Some(connection) = self.network.get(session) else {
            return;
        };
        let (node, flight) = (connection.node, connection.first_flight.clone());
        let device = self.nodes[node].device;
        let replay = self.network.open(node, self.time, true);
        // The pushes are the same, so their acknowledgements count the same.
        let copied: Vec<_> = self
            .pushes
            .range((session, 0)..=(session, u64::MAX))
            .map(|((_, number), changes)| (*number, changes.clone()))
            .collect();
        for (number, changes) in copied {
            self.pushes.insert((replay, number), changes);
        }
        self.tally.replays += 1;
        let now = self.relay_now();
        let key = Some(signer(device).public_key());
        self.relay_do(|relay| relay.connected(now, replay, device, key));
        for (index, bytes) in flight.into_iter().enumerate() {
            let wait = Duration::from_millis(1 + index as u64 + self.random.below(50));
            self.after(wait, Event::Up(replay, bytes));
        }
        self.after(Duration::from_secs(30), Event::Cut(replay));
    }
}

/// Answers a commit as if it had been done, by doing it on nothing: the canary of a lying disk.
fn lie_about(
    store: &mut SqliteStore,
    task: &Task,
) -> Result<relay_core::Answer, relay_core::StoreFault> {
    let Task::Commit(batch) = task else {
        return store.run(task);
    };
    let mut first_seqs = BTreeMap::new();
    for scope in batch.scopes.keys() {
        let rows = store.scopes()?;
        let head = rows
            .iter()
            .find(|row| row.scope == *scope)
            .map_or(0, |row| row.head);
        first_seqs.insert(scope.clone(), head + 1);
    }
    Ok(relay_core::Answer::Committed { first_seqs })
}
