//! The phones' side of the world: starting, dying, dialling, and carrying out what a core asks for.

use core::time::Duration;

use gridbeat_base::{DocumentId, Monotonic, Now};
use gridbeat_device_core as device_core;
use gridbeat_document::Change;
use gridbeat_relay_core::SessionId;
use gridbeat_sync_protocol::{Frame, decode, encode};

use crate::network::Fate;
use crate::node::signer;
use crate::positions::is_of_positions;
use crate::world::{Event, World};

/// How long a phone waits at most before it dials again.
const REDIAL_MILLIS_MAX: u64 = 60_000;

impl World {
    pub(crate) fn start_device(&mut self, node: usize) {
        if self.nodes[node].core.is_some() {
            return;
        }
        let time = self.time;
        let clock = self.clock();
        match self.nodes[node].open(clock) {
            Ok(()) => {
                self.trace
                    .line(format_args!("{time:?} device {node} starts"));
                self.nodes[node].files.tidy();
                self.sort_saved(node);
                if !self.is_storm {
                    self.open_all_photos(node);
                }
                self.start_again(node);
                self.after(Duration::from_millis(1), Event::Dial(node));
            }
            Err(_) if self.nodes[node].fuse.has_blown() => {
                self.tally.device_crashes += 1;
                let wait = Duration::from_secs(1 + self.random.below(600));
                self.end_device(node, wait);
            }
            Err(error) => self.violate(format!("device {node} cannot open its file: {error:?}")),
        }
    }

    /// Kills a phone as it stands; it starts again after a while.
    pub(crate) fn crash_device(&mut self, node: usize, back_after: Duration) {
        if self.nodes[node].core.is_some() {
            self.end_device(node, back_after);
        }
    }

    fn end_device(&mut self, node: usize, back_after: Duration) {
        let torn = self.options.faults.torn_logs && self.random.chance(300);
        let mut random = self.random.fork();
        self.trace
            .line(format_args!("{:?} device {node} dies", self.time));
        self.sort_saved(node);
        self.nodes[node].files.crash(torn.then_some(&mut random));
        if self.doom.take_torn() {
            self.nodes[node].files.tear(&mut random);
        }
        self.nodes[node].core = None;
        self.nodes[node].wakes = None;
        if let Some(session) = self.nodes[node].session.take() {
            self.end_at_relay(session);
        }
        self.after(back_after, Event::StartDevice(node));
    }

    pub(crate) fn dial(&mut self, node: usize) {
        let partitioned = self.nodes[node].link.is_partitioned(self.time);
        if self.nodes[node].core.is_none() || self.nodes[node].session.is_some() {
            return;
        }
        if self.has_given_up(node) {
            return;
        }
        if partitioned || self.relay.core.is_none() {
            self.redial(node);
            return;
        }
        let session = self.network.open(node, self.time, false);
        self.nodes[node].session = Some(session);
        let now = self.relay_now();
        let device = self.nodes[node].device;
        let key = Some(signer(device).public_key());
        self.relay_do(|relay| relay.connected(now, session, device, key));
        self.device_do(node, |core, now| core.connected(now));
    }

    pub(crate) fn redial(&mut self, node: usize) {
        let most = if self.is_storm {
            REDIAL_MILLIS_MAX
        } else {
            1_000
        };
        let wait = Duration::from_millis(200 + self.random.below(most));
        self.after(wait, Event::Dial(node));
    }

    /// Lets a phone's core do something, and carries out what it asks for.
    pub(crate) fn device_do<E: core::fmt::Debug>(
        &mut self,
        node: usize,
        work: impl FnOnce(&mut device_core::Device, Now) -> Result<(), E>,
    ) {
        let now = self.nodes[node].now(self.clock());
        let Some(core) = self.nodes[node].core.as_mut() else {
            return;
        };
        let result = work(core, now);
        if self.nodes[node].fuse.has_blown() {
            self.tally.device_crashes += 1;
            let wait = Duration::from_secs(1 + self.random.below(600));
            self.crash_device(node, wait);
            return;
        }
        if let Err(error) = result {
            self.trace
                .line(format_args!("{:?} device {node}: {error:?}", self.time));
            self.hang_up(node);
        }
        self.pump_device(node);
    }

    pub(crate) fn pump_device(&mut self, node: usize) {
        while let Some(output) = self.nodes[node]
            .core
            .as_mut()
            .and_then(device_core::Device::poll_output)
        {
            match output {
                device_core::Output::Send { frame, .. } => self.send_up(node, &frame),
                device_core::Output::Changed { documents } => {
                    self.watch(node, &documents);
                    self.open_photos(node, &documents);
                }
                device_core::Output::Leave(news) => {
                    self.trace
                        .line(format_args!("{:?} device {node}: {news:?}", self.time));
                    self.sort_saved(node);
                }
                device_core::Output::State(state) => {
                    self.trace
                        .line(format_args!("{:?} device {node} is {state:?}", self.time));
                }
                device_core::Output::Blobs { .. } | device_core::Output::Positions => {}
                device_core::Output::Close { .. } => self.hang_up(node),
            }
        }
        let deadline = self.nodes[node]
            .core
            .as_ref()
            .and_then(device_core::Device::next_deadline);
        let deadline = deadline.map(|Monotonic(due)| due.saturating_sub(self.nights));
        if let Some(deadline) = deadline
            && self.nodes[node]
                .wakes
                .is_none_or(|wakes| deadline < wakes || wakes <= self.time)
        {
            self.nodes[node].wakes = Some(deadline);
            self.at(deadline.max(self.time), Event::WakeDevice(node));
        }
    }

    /// A reader sees time move forward: no officer is shown fewer changes of a document than before.
    pub(crate) fn watch(&mut self, node: usize, documents: &[DocumentId]) {
        let mut shrunk = Vec::new();
        let Some(core) = &self.nodes[node].core else {
            return;
        };
        let refused = core.refused().map(|all| all.len()).unwrap_or_default();
        let mut seen = Vec::new();
        let mut has_left = false;
        for document in documents {
            let Ok(history) = core.history(*document) else {
                // It left the phone with its scope.
                has_left = true;
                continue;
            };
            let count = history.len();
            let before = self.nodes[node]
                .seen
                .get(document)
                .copied()
                .unwrap_or_default();
            // A refused change leaves the document; it is kept in the list of refused ones.
            if count + refused < before {
                shrunk.push(format!(
                    "device {node} showed {before} changes of {document}, then {count}"
                ));
            }
            seen.push((*document, count));
        }
        self.nodes[node].seen.extend(seen);
        if has_left {
            self.sort_saved(node);
        }
        for violation in shrunk {
            self.violate(violation);
        }
    }

    pub(crate) fn hang_up(&mut self, node: usize) {
        if let Some(session) = self.nodes[node].session {
            self.cut(session);
        }
    }

    pub(crate) fn send_up(&mut self, node: usize, frame: &Frame) {
        let Some(session) = self.nodes[node].session else {
            return;
        };
        let frame = &self.as_spoken(node, frame);
        let bytes = encode(frame);
        self.trace.line(format_args!(
            "{:?} {session:?} up {:?} {} bytes",
            self.time,
            frame.kind(),
            bytes.len()
        ));
        if let Frame::Push(push) = frame {
            let changes = push.documents.iter().flat_map(|document| {
                let parsed = document
                    .changes
                    .iter()
                    .map(|change| Change::parse(&change.bytes));
                parsed
                    .filter_map(Result::ok)
                    .map(|change| (document.document, change.hash))
            });
            self.pushes
                .insert((session, push.number), changes.collect());
        }
        if let Some(connection) = self.network.get_mut(session)
            && matches!(frame, Frame::Hello(_) | Frame::Push(_))
            && connection.first_flight.len() < 4
        {
            connection.first_flight.push(bytes.clone());
        }
        self.step_up(session, frame, bytes.len());
        self.photo_up(node, session, frame);
        self.remember(node, session, frame, &bytes);
        self.overhear_up(node, frame, &bytes);
        let link = self.nodes[node].link;
        // What goes about positions draws from a source of its own.
        let random = match frame.kind() {
            kind if is_of_positions(kind) => &mut self.told.random,
            _ => &mut self.random,
        };
        match self
            .network
            .send(session, frame, true, &link, self.time, random)
        {
            Some(Fate::Arrives(at)) => self.at(at, Event::Up(session, bytes)),
            Some(Fate::Cuts(at)) => self.at(at, Event::Cut(session)),
            Some(Fate::Lost) | None => {}
        }
    }

    pub(crate) fn arrive_down(&mut self, session: SessionId, bytes: &[u8]) {
        let Some(connection) = self.network.get(session) else {
            return;
        };
        if connection.is_replay {
            return;
        }
        let node = connection.node;
        match decode(bytes) {
            Ok(mut frame) => {
                self.plant_in(&mut frame);
                self.as_read(node, &mut frame);
                self.overhear_down(node, &frame);
                self.device_do(node, |core, now| core.handle_frame(now, frame));
            }
            Err(error) => self.violate(format!("a frame of the relay does not decode: {error:?}")),
        }
    }

    pub(crate) fn wake_device(&mut self, node: usize) {
        if self.nodes[node]
            .wakes
            .is_some_and(|wakes| wakes <= self.time)
        {
            self.nodes[node].wakes = None;
        }
        self.device_do(node, device_core::Device::handle_deadline);
    }

    /// Ends a connection on both sides; the phone dials again after a while.
    pub(crate) fn cut(&mut self, session: SessionId) {
        let Some(connection) = self.network.close(session) else {
            return;
        };
        self.steps_end(session);
        self.trace
            .line(format_args!("{:?} {session:?} ends", self.time));
        if !connection.is_replay {
            self.tally.cuts += 1;
            let node = connection.node;
            if self.nodes[node].session == Some(session) {
                self.nodes[node].session = None;
                let now = self.nodes[node].now(self.clock());
                if let Some(core) = self.nodes[node].core.as_mut() {
                    core.disconnected(now);
                }
                self.pump_device(node);
                self.redial(node);
            }
        }
        let now = self.relay_now();
        self.relay_do(|relay| relay.disconnected(now, session));
    }

    pub(crate) fn end_at_relay(&mut self, session: SessionId) {
        self.network.close(session);
        self.steps_end(session);
        let now = self.relay_now();
        self.relay_do(|relay| relay.disconnected(now, session));
    }
}
