//! The relay's brain, as one state machine over all sessions.
//!
//! The caller's whole duty, in order:
//!
//! 1. call one of the `handle` methods, [`Relay::connected`] or [`Relay::disconnected`] with one
//!    input and the time it happened;
//! 2. call [`Relay::poll_output`] until it returns `None`, carrying out each output;
//! 3. wait for the next input, but no longer than [`Relay::next_deadline`].
//!
//! Nothing is kept in memory for a stored document: what is here grows with sessions and with what
//! they have under way, and each of these is bounded. Nothing is acknowledged or fed before the
//! store said that it is durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridbeat_base::{DeviceId, DocumentId, Incarnation, Monotonic, Now, Scope};
use gridbeat_document::Kinds;
use gridbeat_sync_protocol::{
    Close, CloseReason, Frame, Get, PublicKey, RelayInput, RelayOutput, SessionError,
};

use crate::blobs::{BlobOf, ChunkOf, Offering};
use crate::cycle::{Cycle, Placing};
use crate::fan::Fan;
use crate::leave::Keeping;
use crate::marks::Marks;
use crate::positions::Whereabouts;
use crate::reasons::{DEVICE_SUSPENDED, INTERNAL, RELAY_DRAINING};
use crate::session::{PendingPush, Session};
use crate::turns::Turns;
use crate::{
    Answer, Config, Counters, NewBlob, Output, PlaceError, SessionId, StoreFault, Task, TaskId,
};

/// What a task under way is for.
#[derive(Debug)]
pub(crate) enum Waiting {
    Greet { session: SessionId },
    Rights,
    Load,
    Commit,
    Read { scope: Scope, after: u64 },
    Snapshot { scope: Scope, after: Option<u64> },
    Inventory { scope: Scope },
    Compare { session: SessionId, scope: Scope },
    Marks,
    Keep(Keeping),
    Offer(Offering),
    KeepChunks(Vec<ChunkOf>),
    Bring(Vec<BlobOf>),
    ReadChunks { session: SessionId, get: Get },
}

/// The relay's brain. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Relay {
    pub(crate) config: Config,
    pub(crate) kinds: Kinds,
    pub(crate) incarnation: Incarnation,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) cycle: Cycle,
    /// The sessions with pushes that wait for a cycle.
    pub(crate) ready: BTreeSet<SessionId>,
    /// The session whose turn it is in the next cycle, or the next one after it.
    pub(crate) turn: SessionId,
    /// When a device may go on whose pushes wait for its turn, if none is ready before.
    pub(crate) turn_due: Option<Monotonic>,
    /// Which devices may have a turn.
    pub(crate) turns: Turns,
    pub(crate) places: VecDeque<Placing>,
    /// The scopes of the welcomed sessions.
    pub(crate) fans: BTreeMap<Scope, Fan>,
    /// The scopes whose inventory is being read.
    pub(crate) inventories: BTreeSet<Scope>,
    /// The places at which snapshots are being read.
    pub(crate) snaps: BTreeSet<(Scope, Option<u64>)>,
    /// The scopes of which somebody may be able to take more.
    pub(crate) dirty: BTreeSet<Scope>,
    /// Greetings that are being looked up, and the heads of scopes committed to meanwhile: what was
    /// read for a greeting may be older.
    pub(crate) greeting: BTreeSet<SessionId>,
    pub(crate) heads_meanwhile: BTreeMap<Scope, u64>,
    pub(crate) marks: Marks,
    pub(crate) rights_version: Option<u64>,
    pub(crate) rights_due: Option<Monotonic>,
    /// Whether a greeting was looked up since the rights were last asked for.
    pub(crate) rights_overtaken: bool,
    /// How many documents each device began in the present hour, where that is limited.
    pub(crate) begun: BTreeMap<DeviceId, (Monotonic, u32)>,
    pub(crate) counters: Counters,
    /// The chunks of blobs that wait to be made durable, and whether some are being made so.
    pub(crate) chunks: VecDeque<ChunkOf>,
    pub(crate) keeps_chunks: bool,
    /// The same of whole blobs.
    pub(crate) brought: VecDeque<(BlobOf, NewBlob)>,
    pub(crate) keeps_brought: bool,
    pub(crate) whereabouts: Whereabouts,
    draining: bool,
    tasks: BTreeMap<TaskId, Waiting>,
    next_task: u64,
    outputs: VecDeque<Output>,
}

impl Relay {
    /// Makes a relay over a store whose present life is `incarnation`.
    pub fn new(config: Config, kinds: Kinds, incarnation: Incarnation) -> Self {
        Self {
            config,
            kinds,
            incarnation,
            sessions: BTreeMap::new(),
            cycle: Cycle::Idle,
            ready: BTreeSet::new(),
            turn: SessionId(0),
            turn_due: None,
            turns: Turns::default(),
            places: VecDeque::new(),
            fans: BTreeMap::new(),
            inventories: BTreeSet::new(),
            snaps: BTreeSet::new(),
            dirty: BTreeSet::new(),
            greeting: BTreeSet::new(),
            heads_meanwhile: BTreeMap::new(),
            marks: Marks::default(),
            rights_version: None,
            rights_due: None,
            rights_overtaken: false,
            begun: BTreeMap::new(),
            counters: Counters::default(),
            chunks: VecDeque::new(),
            keeps_chunks: false,
            brought: VecDeque::new(),
            keeps_brought: false,
            whereabouts: Whereabouts::default(),
            draining: false,
            tasks: BTreeMap::new(),
            next_task: 1,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in a new connection of a device, as its certificate names it, with the signing key in that
    /// certificate: every push must then be signed by it. What the device may do is looked up when it
    /// greets.
    ///
    /// # Panics
    ///
    /// If the session's name was given out before and is open.
    pub fn connected(
        &mut self,
        now: Now,
        session: SessionId,
        device: DeviceId,
        key: Option<PublicKey>,
    ) {
        let new = Session::new(now.monotonic, device, key);
        let old = self.sessions.insert(session, new);
        assert!(old.is_none(), "the shell gives out each name once");
        self.counters.sessions_opened += 1;
        let refresh = self.config.rights_refresh;
        self.rights_due
            .get_or_insert_with(|| now.monotonic.plus(refresh));
        if self.draining {
            self.close(
                now,
                session,
                RELAY_DRAINING.close(self.config.retry_after_drain),
            );
        } else if let Some(left) = self.turns.struck_out(now.monotonic, device) {
            self.counters.sessions_suspended += 1;
            self.close(now, session, DEVICE_SUSPENDED.close(left));
        }
        self.work(now);
    }

    /// Takes in that a session's bytes were no frame, and that the connection is gone with that.
    pub fn misbehaved(&mut self, now: Now, session: SessionId) {
        if let Some(open) = self.sessions.get(&session) {
            self.turns.strike(now.monotonic, open.device);
            self.counters.sessions_misbehaved += 1;
        }
        self.forget(session);
        self.work(now);
    }

    /// Takes in a frame of a session. A fault of the peer ends that session only; frames of a
    /// session that has ended are ignored.
    pub fn handle_frame(&mut self, now: Now, session: SessionId, frame: Frame) {
        self.input(now, session, RelayInput::Frame(frame));
        self.work(now);
    }

    /// Takes in that a session's connection is gone. What it pushed may still become durable.
    pub fn disconnected(&mut self, now: Now, session: SessionId) {
        self.forget(session);
        self.work(now);
    }

    /// Takes in what became of a task.
    ///
    /// # Panics
    ///
    /// If the task is not under way, or the answer is another task's.
    pub fn handle_answer(&mut self, now: Now, task: TaskId, result: Result<Answer, StoreFault>) {
        let waiting = self.tasks.remove(&task);
        let waiting = waiting.expect("each task is answered once");
        if let Err(fault) = &result
            && *fault != StoreFault::Contended
        {
            self.counters.store_faults += 1;
            let task = waiting.name();
            let fault = fault.clone();
            self.output(Output::StoreFailed { task, fault });
        }
        match waiting {
            Waiting::Greet { session } => self.greeted(now, session, result),
            Waiting::Rights => self.rights_read(now, result),
            Waiting::Load => self.loaded(now, result),
            Waiting::Commit => self.committed(now, result),
            Waiting::Read { scope, after } => self.page_read(now, &scope, after, result),
            Waiting::Snapshot { scope, after } => self.snapshot_read(now, &scope, after, result),
            Waiting::Inventory { scope } => self.inventory_read(now, &scope, result),
            Waiting::Compare { session, scope } => self.compare_read(now, session, &scope, result),
            Waiting::Keep(keeping) => self.kept(now, keeping, result),
            Waiting::Offer(offering) => self.offer_looked_up(now, offering, result),
            Waiting::KeepChunks(chunks) => self.chunks_kept(now, chunks, result),
            Waiting::Bring(brought) => self.blobs_brought(now, &brought, result),
            Waiting::ReadChunks { session, get } => self.chunks_read(now, session, get, result),
            // Shutting down, there is no later to try them again.
            Waiting::Marks if self.draining => self.marks.forget(),
            Waiting::Marks => self
                .marks
                .written(now.monotonic, &self.config, result.is_ok()),
        }
        self.work(now);
    }

    /// Takes in that the time may have come which [`Self::next_deadline`] named.
    pub fn handle_deadline(&mut self, now: Now) {
        let is_due = |session: &Session| {
            let deadline = session.protocol.next_deadline();
            deadline.is_some_and(|deadline| deadline <= now.monotonic)
        };
        let sessions = self.sessions.iter();
        let due: Vec<_> = sessions
            .filter(|(_, it)| is_due(it))
            .map(|(id, _)| *id)
            .collect();
        for session in due {
            self.input(now, session, RelayInput::Deadline);
        }
        if self.rights_due.is_some_and(|due| due <= now.monotonic) {
            self.read_rights();
        }
        if let Some(marks) = self.marks.due(now.monotonic) {
            self.run(Waiting::Marks, Task::Marks(marks));
        }
        self.tell_moved(now);
        self.work(now);
    }

    /// Returns when to call [`Self::handle_deadline`]: the earliest end of a wait for a greeting, the
    /// next look at the rights of the devices in session, the next note of where devices stand, the next word to
    /// those that watch positions.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        // Only sessions that have not greeted have a deadline, and those are few.
        let sessions = self.sessions.values().filter(|it| it.rights.is_none());
        let greetings = sessions.filter_map(|it| it.protocol.next_deadline());
        let others = [
            self.rights_due,
            self.marks.next_deadline(),
            self.whereabouts.next_deadline(),
            // A cycle under way looks for itself when it has ended.
            self.turn_due.filter(|_| matches!(self.cycle, Cycle::Idle)),
        ];
        greetings.chain(others.into_iter().flatten()).min()
    }

    /// Returns the next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Puts a document into a scope, or takes it out. [`Output::Placed`] says what became of it.
    pub fn place(&mut self, now: Now, document: DocumentId, scope: Scope, attach: bool) {
        let placing = Placing {
            document,
            scope,
            attach,
        };
        if self.draining {
            self.placed(placing, Err(PlaceError::Draining));
        } else {
            self.places.push_back(placing);
        }
        self.work(now);
    }

    /// Looks at the rights of all devices in session at once, because they have changed.
    pub fn rights_changed(&mut self, now: Now) {
        if self.rights_due.is_some() {
            self.read_rights();
        }
        self.work(now);
    }

    /// Begins to shut down: takes no more pushes, ends the cycle that is under way, and then every
    /// session, in words. See [`Self::is_drained`].
    pub fn drain(&mut self, now: Now) {
        self.draining = true;
        self.turn_due = None;
        for placing in std::mem::take(&mut self.places) {
            self.placed(placing, Err(PlaceError::Draining));
        }
        self.work(now);
    }

    /// Returns whether it has shut down: no session is open and no task under way.
    pub fn is_drained(&self) -> bool {
        self.draining && self.sessions.is_empty() && self.tasks.is_empty()
    }

    /// Returns what was done since the start.
    pub fn counters(&self) -> Counters {
        Counters {
            sessions: self.sessions.len() as u64,
            ..self.counters
        }
    }

    /// Returns the sessions that are open, with their devices.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, DeviceId)> {
        self.sessions
            .iter()
            .map(|(id, session)| (*id, session.device))
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Starts a task.
    pub(crate) fn run(&mut self, waiting: Waiting, work: Task) {
        let task = TaskId(self.next_task);
        self.next_task += 1;
        self.tasks.insert(task, waiting);
        self.output(Output::Run { task, work });
    }

    /// Ends a session, in words.
    pub(crate) fn close(&mut self, now: Now, session: SessionId, close: Close) {
        if let Some(open) = self.sessions.get_mut(&session) {
            open.protocol.close(close);
            self.settle(now, session);
        }
    }

    /// Ends a session that cannot go on because of a fault of ours.
    pub(crate) fn close_internal(&mut self, now: Now, session: SessionId, error: &SessionError) {
        tracing::debug!(session = session.0, %error, "a session cannot go on");
        self.close(now, session, INTERNAL.close(self.config.retry_after_fault));
    }

    fn input(&mut self, now: Now, session: SessionId, input: RelayInput) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        match open.protocol.handle(now.monotonic, input) {
            Ok(()) => self.settle(now, session),
            Err(error) => self.failed(now, session, &error),
        }
    }

    /// Takes in that an error has ended a session: its words and its end are among its outputs.
    pub(crate) fn failed(&mut self, now: Now, session: SessionId, error: &SessionError) {
        tracing::debug!(session = session.0, %error, "a session ended");
        if matches!(error, SessionError::DeviceMisbehaved(_)) {
            self.counters.sessions_misbehaved += 1;
            if let Some(open) = self.sessions.get(&session) {
                self.turns.strike(now.monotonic, open.device);
            }
        }
        self.settle(now, session);
    }

    /// Carries out what a session wants done.
    pub(crate) fn settle(&mut self, now: Now, session: SessionId) {
        while let Some(open) = self.sessions.get_mut(&session) {
            let Some(output) = open.protocol.poll_output() else {
                return;
            };
            match output {
                RelayOutput::Send { lane, frame } => self.output(Output::Send {
                    session,
                    lane,
                    frame,
                }),
                RelayOutput::Greeted(hello) => self.greet(now, session, hello),
                RelayOutput::Pushed {
                    number,
                    scope,
                    documents,
                    proof,
                } => {
                    self.counters.pushes += 1;
                    open.pending.push_back(PendingPush {
                        number,
                        scope,
                        documents,
                        proof,
                    });
                    self.ready.insert(session);
                }
                RelayOutput::Applied { scope, seq } => self.applied(now, session, scope, seq),
                RelayOutput::Taken { scope } => self.snapshot_taken(session, scope),
                RelayOutput::Reconcile { scope, message } => {
                    self.reconcile(session, scope, message);
                }
                RelayOutput::Compare(compare) => self.compare(session, compare),
                RelayOutput::Removed(proof) => self.removed(now, session, *proof),
                RelayOutput::Offered(offer) => self.blob_offered(now, session, offer),
                RelayOutput::Part {
                    offer,
                    chunk,
                    bytes,
                } => self.chunk_came(session, offer, chunk, bytes),
                RelayOutput::Brought { offer, bytes } => self.blob_brought(session, offer, bytes),
                RelayOutput::Proved {
                    offer,
                    nonce,
                    proof,
                } => self.blob_proved(now, session, offer, nonce, proof),
                RelayOutput::Get(get) => self.blob_asked_for(session, get),
                RelayOutput::Here(here) => self.here(now, session, here),
                RelayOutput::Gone(gone) => self.gone(now, session, gone),
                RelayOutput::Watch(watch) => self.watch(now, session, watch),
                RelayOutput::Closed(reason) => self.closed(session, reason),
            }
        }
    }

    fn closed(&mut self, session: SessionId, reason: CloseReason) {
        self.forget(session);
        self.output(Output::Close { session, reason });
    }

    fn forget(&mut self, session: SessionId) {
        let Some(gone) = self.sessions.remove(&session) else {
            return;
        };
        self.ready.remove(&session);
        for scope in gone.scopes() {
            self.leave_fan(&scope, session);
        }
        if self.sessions.is_empty() {
            self.rights_due = None;
        }
    }

    /// Starts whatever can be started after an input.
    fn work(&mut self, now: Now) {
        if !self.draining {
            self.start_cycle(now);
            self.keep_chunks(now);
            self.keep_brought(now);
        }
        for scope in std::mem::take(&mut self.dirty) {
            self.fan_out(&scope);
        }
        if self.draining && matches!(self.cycle, Cycle::Idle) {
            let close = RELAY_DRAINING.close(self.config.retry_after_drain);
            let open: Vec<_> = self.sessions.keys().copied().collect();
            for session in open {
                self.close(now, session, close.clone());
            }
            if let Some(marks) = self.marks.take_all() {
                self.run(Waiting::Marks, Task::Marks(marks));
            }
        }
    }
}

impl Waiting {
    const fn name(&self) -> &'static str {
        match self {
            Self::Greet { .. } => "greet",
            Self::Rights => "rights",
            Self::Load => "load",
            Self::Commit => "commit",
            Self::Read { .. } => "read_feed",
            Self::Snapshot { .. } => "read_snapshot",
            Self::Inventory { .. } => "inventory",
            Self::Compare { .. } => "compare",
            Self::Marks => "marks",
            Self::Keep(_) => "keep",
            Self::Offer(_) => "offer",
            Self::KeepChunks(_) => "keep_chunks",
            Self::Bring(_) => "bring",
            Self::ReadChunks { .. } => "read_chunks",
        }
    }
}
