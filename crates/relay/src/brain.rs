//! The one thread that owns the relay's brain.
//!
//! Everything that happens comes through one bounded queue: while the brain is behind, connections are
//! not read and QUIC's windows hold the devices back. After each input the brain's outputs are
//! carried out: frames are queued on their connections, tasks given to storage. Not here: connections
//! (`listener`), what it all means (`gridbeat-relay-core`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridbeat_base::{DeviceId, DocumentId, Scope};
use gridbeat_link::{Clock, Event, Frames, Identified};
use gridbeat_relay_core::{
    Answer, Counters, Output, PlaceError, Relay, SessionId, StoreFault, TaskId,
};
use gridbeat_sync_protocol::{Close, Frame, Reason, Sighting};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::storage::{Storage, StoreWork};

/// Inputs held, at most. Frames are by far the largest: 64 of the largest are 16 MB.
pub(crate) const INPUTS_HELD: usize = 64;

/// How often the connections of devices that have several are looked at. A device that is there is
/// heard every 25 s, so one that was not for this long has gone on elsewhere.
const SWEEP_EVERY: Duration = Duration::from_secs(40);

/// Connections of one device at a time: a few that it has left behind on a bad day, and one it is on. The
/// oldest goes when there is one more, so that whoever starts anew comes in and whoever hoards hurts himself.
const CONNECTIONS_OF_DEVICE_MAX: usize = 8;

/// How long a device stays away whose connection was one too many.
const AWAY_WHEN_HOARDING: Duration = Duration::from_secs(30);

/// What the brain takes in.
pub(crate) enum Input {
    /// A device has connected, as its certificate says.
    Up {
        session: u64,
        identified: Identified,
        frames: Frames,
    },
    /// Something happened on a connection.
    Link(u64, Event),
    /// Storage has done a task.
    Answer(TaskId, Result<Answer, StoreFault>),
    /// Somebody wants to know what was done.
    Counters(oneshot::Sender<Counters>),
    /// Somebody wants to know where the devices are.
    Positions(oneshot::Sender<Vec<Sighting>>),
    /// The table of devices has changed.
    RightsChanged,
    /// A document is to be put into a scope, or taken out.
    Place {
        document: DocumentId,
        scope: Scope,
        attach: bool,
        done: Placing,
    },
    /// An operator's work on the store.
    Work(StoreWork),
    /// The relay is to shut down.
    Drain,
    /// The relay is to stop at once.
    Stop,
}

/// Who waits for a document to be placed.
pub(crate) type Placing = oneshot::Sender<Result<bool, PlaceError>>;

impl From<(u64, Event)> for Input {
    fn from((session, event): (u64, Event)) -> Self {
        Self::Link(session, event)
    }
}

struct Open {
    device: DeviceId,
    frames: Frames,
    /// UDP datagrams received when it was last looked at.
    seen: u64,
}

/// Owns the brain.
pub(crate) struct Brain {
    pub(crate) relay: Relay,
    pub(crate) storage: Storage,
    pub(crate) clock: Clock,
    pub(crate) committed: broadcast::Sender<Vec<DocumentId>>,
    pub(crate) sighted: broadcast::Sender<Sighting>,
    /// The last fault of storage that was not followed by a success, for `/readyz`.
    pub(crate) fault: watch::Sender<Option<StoreFault>>,
    sessions: BTreeMap<SessionId, Open>,
    placing: BTreeMap<(DocumentId, Scope, bool), Vec<Placing>>,
}

impl Brain {
    pub(crate) fn new(
        relay: Relay,
        storage: Storage,
        clock: Clock,
        (committed, sighted): (
            broadcast::Sender<Vec<DocumentId>>,
            broadcast::Sender<Sighting>,
        ),
        fault: watch::Sender<Option<StoreFault>>,
    ) -> Self {
        Self {
            relay,
            storage,
            clock,
            committed,
            sighted,
            fault,
            sessions: BTreeMap::new(),
            placing: BTreeMap::new(),
        }
    }

    /// Works until the relay is drained, is told to stop, or nobody is left to hand anything in. Gives
    /// storage back, to be ended.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Storage {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        while !self.relay.is_drained() {
            let now = self.clock.monotonic();
            let deadline = self.relay.next_deadline();
            let deadline = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep(deadline.since(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = deadline => self.relay.handle_deadline(self.clock.now()),
                input = inputs.recv() => match input {
                    None | Some(Input::Stop) => break,
                    Some(input) => self.take_in(input),
                },
                _ = sweep.tick() => self.sweep(),
            }
            self.pump();
        }
        self.storage
    }

    fn take_in(&mut self, input: Input) {
        let now = self.clock.now();
        match input {
            Input::Up {
                session,
                identified: Identified { device, key },
                frames,
            } => {
                let session = SessionId(session);
                self.make_room(device);
                let open = Open {
                    device,
                    frames,
                    seen: 0,
                };
                self.sessions.insert(session, open);
                self.relay.connected(now, session, device, key);
            }
            Input::Link(session, event) => self.handle_event(SessionId(session), event),
            Input::Answer(task, result) => {
                self.note_fault(result.as_ref().err());
                self.relay.handle_answer(now, task, result);
            }
            Input::Counters(wanted) => {
                // Whoever asked may have lost patience.
                let _ = wanted.send(self.relay.counters());
            }
            Input::Positions(wanted) => {
                // Likewise.
                let _ = wanted.send(self.relay.positions(now));
            }
            Input::RightsChanged => self.relay.rights_changed(now),
            Input::Place {
                document,
                scope,
                attach,
                done,
            } => {
                let placing = (document, scope.clone(), attach);
                self.placing.entry(placing).or_default().push(done);
                self.relay.place(now, document, scope, attach);
            }
            Input::Work(work) => self.storage.work(work),
            Input::Drain => self.relay.drain(now),
            Input::Stop => unreachable!("ends the loop that calls this"),
        }
    }

    /// Ends the oldest connection of a device that has as many as it may.
    fn make_room(&mut self, device: DeviceId) {
        let of_device = |(_, open): &(&SessionId, &Open)| open.device == device;
        let mut its = self.sessions.iter().filter(of_device);
        let oldest = its.next().map(|(session, _)| *session);
        if its.count() + 1 < CONNECTIONS_OF_DEVICE_MAX {
            return;
        }
        if let Some(session) = oldest
            && let Some(open) = self.sessions.remove(&session)
        {
            tracing::info!(%device, "ended the oldest of too many connections of a device");
            open.frames.close(refusal(
                "too_many_connections",
                "this device has too many connections; the oldest was ended",
                "本设备连接数过多，已断开最早的连接",
                AWAY_WHEN_HOARDING,
            ));
            self.relay.disconnected(self.clock.now(), session);
        }
    }

    fn handle_event(&mut self, session: SessionId, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Frame(frame) => self.relay.handle_frame(now, session, frame),
            Event::Unreadable(error) => {
                if let Some(open) = self.sessions.remove(&session) {
                    tracing::info!(device = %open.device, %error, "a device sent what is no frame");
                    open.frames.close(error.close());
                    self.relay.misbehaved(now, session);
                }
            }
            Event::Ended(end) => {
                if let Some(open) = self.sessions.remove(&session) {
                    tracing::info!(device = %open.device, %end, "a session ended");
                    self.relay.disconnected(now, session);
                }
            }
        }
    }

    fn pump(&mut self) {
        while let Some(output) = self.relay.poll_output() {
            match output {
                Output::Send {
                    session,
                    lane,
                    frame,
                } => {
                    let Some(open) = self.sessions.get(&session) else {
                        continue;
                    };
                    if let Frame::Close(close) = frame {
                        // It is the last; the connection ends with it.
                        open.frames.close(close);
                        self.sessions.remove(&session);
                    } else {
                        open.frames.send(lane, frame);
                    }
                }
                Output::Run { task, work } => self.storage.run(task, work),
                Output::Close { session, reason } => {
                    if let Some(open) = self.sessions.remove(&session) {
                        tracing::info!(device = %open.device, ?reason, "a session ended");
                        open.frames.finish();
                    }
                }
                Output::Committed { documents } => {
                    // Nobody need watch.
                    let _ = self.committed.send(documents);
                }
                Output::Sighted(sighting) => {
                    // Nobody need watch.
                    let _ = self.sighted.send(sighting);
                }
                Output::Placed {
                    document,
                    scope,
                    attach,
                    result,
                } => {
                    let placing = self.placing.remove(&(document, scope, attach));
                    for done in placing.into_iter().flatten() {
                        let _ = done.send(result.clone());
                    }
                }
                Output::CloneSuspected { device } => {
                    tracing::warn!(%device, "two installations of one device: one is a copy");
                }
                Output::StoreFailed { task, fault } => {
                    tracing::error!(task, %fault, "the store failed");
                }
            }
        }
    }

    fn note_fault(&self, fault: Option<&StoreFault>) {
        let is_other = |held: &Option<StoreFault>| held.as_ref() != fault;
        if fault == Some(&StoreFault::Contended) {
            return;
        }
        self.fault.send_if_modified(|held| {
            let changes = is_other(held);
            *held = fault.cloned();
            changes
        });
    }

    /// Ends silent connections of devices that have another one: they went on elsewhere without a
    /// word, and would be held until they time out.
    fn sweep(&mut self) {
        let mut devices = BTreeSet::new();
        let several: BTreeSet<DeviceId> = self
            .sessions
            .values()
            .filter(|open| !devices.insert(open.device))
            .map(|open| open.device)
            .collect();
        let mut silent = Vec::new();
        for (session, open) in &mut self.sessions {
            let seen = open.frames.connection().stats().udp_rx.datagrams;
            if several.contains(&open.device) && seen == open.seen {
                silent.push(*session);
            }
            open.seen = seen;
        }
        for session in silent {
            if let Some(open) = self.sessions.remove(&session) {
                tracing::info!(device = %open.device, "ended a connection its device has left");
                open.frames.finish();
                self.relay.disconnected(self.clock.now(), session);
            }
        }
    }
}

/// Words for a connection that no session was made of.
pub(crate) fn refusal(code: &str, en: &str, zh: &str, retry_after: Duration) -> Close {
    Close {
        reason: Reason {
            code: code.to_owned(),
            en: en.to_owned(),
            zh: zh.to_owned(),
        },
        retry_after_s: u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX),
    }
}
