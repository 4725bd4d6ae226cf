//! The one thread that owns the device's file.
//!
//! SQLite is called synchronously, and a commit waits for the disk; so it happens here and not on
//! the app's async workers. Calls of the app come first, then what the link brings, several frames
//! in one transaction; after each, the core's outputs are carried out. Not here: dialling and asking
//! (`dialer`), the app's side of a call (`handle`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gridbeat_base::{Monotonic, Now};
use gridbeat_device_core as core;
use gridbeat_device_core::{LinkError, Output};
use gridbeat_link::{Clock, End, Event, FirstFlight, Frames};
use gridbeat_sync_protocol::{Close, CloseReason, DecodeError, Frame, SessionError};
use tokio::sync::mpsc;

use crate::LinkNews;
use crate::shared::Shared;

/// Something the app wants done.
pub(crate) type Call = Box<dyn FnOnce(&mut Owner) + Send>;

/// Frames taken in one transaction, at most: a commit's wait for the disk is shared by so many.
const FRAMES_AT_ONCE: usize = 32;

/// How long to stay away after the relay broke a rule, or we could not store what it sent. It doubles
/// each time (`backoff`).
const AWAY_AFTER_FAULT: Duration = Duration::from_secs(60);
const AWAY_AFTER_TROUBLE: Duration = Duration::from_secs(5);

/// What the link brings.
pub(crate) enum Input {
    /// A connection is there, or begins anew: a session may begin. It is released when the greeting
    /// and what waits are queued.
    Up {
        tag: u64,
        frames: Frames,
        first_flight: FirstFlight,
    },
    /// Something happened on a connection.
    Link(u64, Event),
}

impl From<(u64, Event)> for Input {
    fn from((tag, event): (u64, Event)) -> Self {
        Self::Link(tag, event)
    }
}

/// What the link is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// The relay greeted.
    Greeted,
    /// The session of this connection is over.
    Ended {
        tag: u64,
        end: End,
        /// How long to stay away at least, if it was for a reason that only time may mend.
        stay_away: Option<Duration>,
    },
    /// The network is another one, of this name.
    NetworkChanged(Option<String>),
    /// Somebody wants it now.
    Hurry,
    /// A link is wanted, or not.
    Want(bool),
    /// The device is closed.
    Stop,
}

struct Session {
    tag: u64,
    frames: Frames,
    /// When each push went out, and how many changes are in it.
    pushes: BTreeMap<u64, (Monotonic, usize)>,
}

/// Owns the core.
pub(crate) struct Owner {
    pub(crate) core: core::Device,
    /// The core's last words in this session.
    parting: Option<Close>,
    clock: Clock,
    session: Option<Session>,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
}

/// Why the owner's loop goes on or not.
enum Woken {
    Call(Option<Call>),
    Input(Option<Input>),
    Deadline,
}

impl Owner {
    pub(crate) const fn new(
        core: core::Device,
        clock: Clock,
        shared: Arc<Shared>,
        orders: mpsc::UnboundedSender<Order>,
    ) -> Self {
        Self {
            core,
            parting: None,
            clock,
            session: None,
            shared,
            orders,
        }
    }

    /// Works until the app has let go of the device; then closes the file.
    pub(crate) async fn run(
        mut self,
        mut calls: mpsc::UnboundedReceiver<Call>,
        mut inputs: mpsc::Receiver<Input>,
    ) {
        let mut next = None;
        self.pump();
        loop {
            let woken = match next.take() {
                Some(input) => Woken::Input(Some(input)),
                None => self.wait(&mut calls, &mut inputs).await,
            };
            match woken {
                Woken::Call(Some(call)) => call(&mut self),
                Woken::Input(Some(input)) => next = self.take_in(input, &mut inputs),
                Woken::Deadline => {
                    let done = self.core.handle_deadline(self.clock.now());
                    log_trouble(done);
                }
                Woken::Call(None) | Woken::Input(None) => break,
            }
            self.pump();
        }
        if let Some(session) = self.session.take() {
            session.frames.finish();
        }
        if let Err(error) = self.core.close() {
            tracing::warn!(%error, "the device's file was not closed cleanly; it will be checked");
        }
    }

    /// Reads the clocks.
    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    async fn wait(
        &self,
        calls: &mut mpsc::UnboundedReceiver<Call>,
        inputs: &mut mpsc::Receiver<Input>,
    ) -> Woken {
        let now = self.clock.monotonic();
        let deadline = self.core.next_deadline();
        let deadline = async {
            match deadline {
                Some(deadline) => tokio::time::sleep(deadline.since(now)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            call = calls.recv() => Woken::Call(call),
            () = deadline => Woken::Deadline,
            input = inputs.recv() => Woken::Input(input),
        }
    }

    /// Takes in what the link brought; returns what came after it and was not taken in yet.
    fn take_in(&mut self, input: Input, inputs: &mut mpsc::Receiver<Input>) -> Option<Input> {
        let (tag, event) = match input {
            Input::Up {
                tag,
                frames,
                first_flight,
            } => {
                self.begin(tag, frames.clone());
                self.pump();
                frames.release(first_flight);
                return None;
            }
            Input::Link(tag, event) => (tag, event),
        };
        if self
            .session
            .as_ref()
            .is_none_or(|session| session.tag != tag)
        {
            return None;
        }
        match event {
            Event::Frame(frame) => {
                let (frames, next) = gather(tag, frame, inputs);
                self.handle_frames(frames);
                return next;
            }
            Event::Unreadable(error) => self.end_unreadable(&error),
            Event::Ended(end) => {
                if let End::Words(close) = &end {
                    // The words may have come no other way.
                    let done = self
                        .core
                        .handle_frame(self.clock.now(), Frame::Close(close.clone()));
                    log_trouble(done);
                    self.pump();
                }
                self.end(end, None);
            }
        }
        None
    }

    fn begin(&mut self, tag: u64, frames: Frames) {
        if let Some(before) = self.session.take() {
            if before.tag != tag {
                before.frames.finish();
            }
            self.core.disconnected(self.clock.now());
            self.pump();
        }
        self.session = Some(Session {
            tag,
            frames,
            pushes: BTreeMap::new(),
        });
        let done = self.core.connected(self.clock.now());
        log_trouble(done);
    }

    fn handle_frames(&mut self, frames: Vec<Frame>) {
        let is_greeted = frames
            .iter()
            .any(|frame| matches!(frame, Frame::Welcome(_)));
        let acknowledged: Vec<u64> = frames
            .iter()
            .filter_map(|frame| {
                if let Frame::Ack(ack) = frame {
                    Some(ack.number)
                } else {
                    None
                }
            })
            .collect();
        let now = self.clock.now();
        for push in acknowledged {
            self.note_acknowledged(push, now.monotonic);
        }
        let done = self.core.handle_frames(now, frames);
        if done.is_ok() && is_greeted {
            self.shared.set_fault(None);
            self.order(Order::Greeted);
        }
        log_trouble(done);
    }

    fn note_acknowledged(&mut self, push: u64, now: Monotonic) {
        let session = self.session.as_mut();
        let Some((sent, changes)) = session.and_then(|session| session.pushes.remove(&push)) else {
            return;
        };
        self.shared
            .count(|report| report.acknowledged_changes += changes as u64);
        self.shared.tell(LinkNews::Acknowledged {
            push,
            changes,
            after: now.since(sent),
        });
    }

    /// Carries out what the core wants done.
    pub(crate) fn pump(&mut self) {
        // Before the state is told: who waits for both must not find it in sync while blobs are on their way.
        if self.core.awaits_blobs() {
            self.shared.set_awaits_blobs(true);
        }
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { lane, frame } => {
                    let Some(session) = &mut self.session else {
                        continue;
                    };
                    if let Frame::Push(push) = &frame {
                        let changes = push.documents.iter().map(|push| push.changes.len()).sum();
                        let sent = self.clock.monotonic();
                        session.pushes.insert(push.number, (sent, changes));
                    }
                    if let Frame::Part(_) = frame {
                        self.shared.count(|report| report.blob_parts_sent += 1);
                    }
                    if let Frame::Close(close) = frame {
                        // Goes with the connection's own end: see `link::end`.
                        self.parting = Some(close);
                    } else {
                        session.frames.send(lane, frame);
                    }
                }
                Output::Changed { documents } => {
                    tracing::debug!(documents = documents.len(), "documents changed");
                    self.shared.changed.send_modify(|commits| *commits += 1);
                    // Nobody need listen.
                    let _ = self.shared.documents_changed.send(documents);
                }
                Output::State(state) => self.shared.set_state(state),
                Output::Blobs { documents } => {
                    // Nobody need listen.
                    let _ = self.shared.blobs_changed.send(documents);
                }
                Output::Positions => self.shared.positions.send_modify(|times| *times += 1),
                Output::Leave(news) => {
                    tracing::info!(?news, "leaving");
                    // Nobody need listen.
                    let _ = self.shared.leaving.send(news);
                }
                Output::Close(reason) => self.close(reason),
            }
        }
        self.shared.set_awaits_blobs(self.core.awaits_blobs());
    }

    /// Ends the session because the core says so.
    fn close(&mut self, reason: CloseReason) {
        let parting = self.parting.take();
        if let Some(session) = &self.session {
            match parting {
                Some(close) => session.frames.close(close),
                None => session.frames.finish(),
            }
        }
        let (end, stay_away) = match reason {
            CloseReason::Peer(close) => (End::Words(close), None),
            CloseReason::Ours(_) => (End::Finished, Some(AWAY_AFTER_TROUBLE)),
            CloseReason::Failed(SessionError::GreetingTimedOut) => (End::Silent, None),
            CloseReason::Failed(_) => (End::RuleBroken, Some(AWAY_AFTER_FAULT)),
        };
        self.end(end, stay_away);
    }

    fn end_unreadable(&mut self, error: &DecodeError) {
        tracing::warn!(%error, "the relay sent what is no frame");
        if let Some(session) = &self.session {
            session.frames.close(error.close());
        }
        self.end(End::RuleBroken, Some(AWAY_AFTER_FAULT));
    }

    fn end(&mut self, end: End, stay_away: Option<Duration>) {
        let Some(session) = self.session.take() else {
            return;
        };
        tracing::info!(%end, "the session ended");
        self.core.disconnected(self.clock.now());
        self.order(Order::Ended {
            tag: session.tag,
            end,
            stay_away,
        });
    }

    fn order(&self, order: Order) {
        // A device without a link has no receiver.
        let _ = self.orders.send(order);
    }
}

/// Says why a session cannot go on; the core's outputs end it.
fn log_trouble(done: Result<(), LinkError>) {
    if let Err(error) = done {
        tracing::warn!(%error, "the session cannot go on");
    }
}

/// Takes the frames that have come already, to be handled in one transaction.
fn gather(
    tag: u64,
    first: Frame,
    inputs: &mut mpsc::Receiver<Input>,
) -> (Vec<Frame>, Option<Input>) {
    let mut frames = vec![first];
    while frames.len() < FRAMES_AT_ONCE {
        match inputs.try_recv() {
            Ok(Input::Link(of, Event::Frame(frame))) if of == tag => frames.push(frame),
            Ok(next) => return (frames, Some(next)),
            Err(_) => break,
        }
    }
    (frames, None)
}
