//! The device's side of the link: what a session with the relay does to the file.
//!
//! - `link` (here): the state of one session, and what the caller hands in
//! - `take`: what each word of the relay does
//! - `work`: one transaction of it, and what every part does to a document
//! - `push`: what is sent next
//! - `ack`, `rebase`: what became of it; a refusal and the intents behind it
//! - `feed`: what others did
//! - `snapshot`: a scope that this device has nothing of
//! - `judged`: the gate for many documents at once
//! - `kept`: what was kept aside, to a relay that lost it
//! - `repair`: two sides that differ find out where
//! - `blobs`: photos and other blobs, chunk by chunk
//! - `leave`: what goes with a grant, and what is stated about it
//!
//! All effects of one call are one transaction; what is told to the relay about them is told after its
//! commit. A session's own state lives in memory and dies with it: the next one begins from the file.

mod ack;
mod blobs;
mod feed;
mod judged;
mod kept;
mod leave;
mod push;
mod rebase;
mod repair;
mod snapshot;
mod take;
mod welcome;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, DocumentId, Incarnation, Lane, Monotonic, Now, Scope, WallTime};
use gridbeat_sync_protocol::{
    Close, CloseReason, DeviceInput, DeviceOutput, DeviceSession, Frame, Grant, Hello, Reason,
    ScopeMark, SessionError, Versions,
};

use crate::{Device, LinkError, StorageError, SyncProblem, SyncState};
pub use leave::Leave;
use push::{PushOut, Pusher};
use repair::Repair;
use snapshot::Snapping;
use take::{Told, take_in};
use work::Work;

/// How often one scope is reconciled in a session before the device says that it cannot be: once for
/// what happened, once for what happened meanwhile.
const REPAIRS_MAX: u32 = 2;

/// A relay that asks for a longer pause than this, in seconds, has a reason a person should read; a
/// shorter one is a relay that restarts.
const PAUSE_S_MAX: u32 = 30;

/// What a device wants done, or makes known.
#[derive(Debug)]
pub enum Output {
    /// Send a frame to the relay.
    Send {
        /// How urgent it is.
        lane: Lane,
        /// The frame.
        frame: Frame,
    },
    /// These documents are different from before; committed.
    Changed {
        /// The documents, in order of id.
        documents: Vec<DocumentId>,
    },
    /// Synchronisation stands differently from before.
    State(SyncState),
    /// Blobs of these documents are further on their way than before; committed.
    Blobs {
        /// The documents, in order of id.
        documents: Vec<DocumentId>,
    },
    /// A scope is being left, or everything; or that is done.
    Leave(Leave),
    /// Others are elsewhere than before: see [`Device::positions`].
    Positions,
    /// The session is over; drop the connection once what was to be sent is sent.
    Close(CloseReason),
}

/// One session with the relay.
#[derive(Debug)]
pub(crate) struct Link {
    session: DeviceSession,
    is_welcomed: bool,
    scopes: BTreeMap<Scope, ScopeLink>,
    /// Pushes without an acknowledgement, by number.
    pushes: BTreeMap<u64, PushOut>,
    /// The changes in them.
    in_flight: BTreeSet<i64>,
    /// Entries of feeds that acknowledged pushes made, by scope and sequence number.
    own: BTreeMap<(i64, u64), OwnEntry>,
    /// Documents of which the relay lacks something: not pushed until their scope is reconciled.
    lagging: BTreeMap<i64, Scope>,
    /// Answered changes that wait again because the feed ended without them; once a session.
    reopened: BTreeSet<i64>,
    /// Those of them that the relay had all the same, and whose scope is reconciled to learn where.
    doubted: BTreeSet<i64>,
    /// The relay's incarnation, until every scope is reconciled with it.
    incarnation: Option<Incarnation>,
    /// Whether the relay lacks what this device may not bring it, or a document that is on its way. Then its
    /// incarnation does not become ours, so that the next session reconciles anew.
    owes: bool,
    /// Whether the device was revoked, and hands over what it has.
    surrenders: bool,
    /// The last of the refused changes that were handed over.
    handed_over: i64,
    /// Whether the file was wiped after that.
    is_wiped: bool,
    /// What was kept aside, on its way to a relay that may have lost it.
    offering: kept::Offering,
    /// Photos and other blobs, both ways.
    blobs: blobs::Blobs,
}

/// Where one scope stands in a session.
#[derive(Debug, Default)]
struct ScopeLink {
    /// The relay's last sequence number, as far as known.
    head: u64,
    /// Whether the digests were equal at the cursor.
    agrees: bool,
    /// Up to here, a repair has run ahead of the feed: digests are compared from this cursor on.
    settled: u64,
    repair: Option<Repair>,
    /// A snapshot that is under way.
    snapshot: Option<Snapping>,
    /// How often it was reconciled since the digests last agreed.
    repairs: u32,
    /// How often it was reconciled because the relay lacked what a push depended on.
    lag_repairs: u32,
    /// Whether reconciling did not help.
    is_stuck: bool,
    /// Whether it is new, and its first reconciliation is over what is held by other scopes too.
    adopts: bool,
}

/// A feed entry that a push of this session made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct OwnEntry {
    document: DocumentId,
    /// The change; `None` for the document's entering the scope.
    change: Option<ChangeHash>,
}

impl Link {
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        let blobs = self.blobs.next_deadline();
        self.session.next_deadline().into_iter().chain(blobs).min()
    }

    /// Returns whether a relay is there that takes blobs.
    fn takes_blobs(&self) -> bool {
        self.session.speaks_of_blobs() && !self.surrenders
    }

    /// Returns whether a relay is there that is told of positions.
    pub(crate) fn takes_positions(&self) -> bool {
        self.session.speaks_of_positions() && !self.surrenders
    }

    fn scope(&mut self, scope: &Scope) -> &mut ScopeLink {
        self.scopes.entry(scope.clone()).or_default()
    }
}

impl Device {
    /// Begins a session: greets the relay, and offers what waits, the most urgent first.
    ///
    /// # Errors
    ///
    /// [`LinkError::OutOfPlace`] if there is a session.
    pub fn connected(&mut self, now: Now) -> Result<(), LinkError> {
        if self.link.is_some() {
            return Err(LinkError::OutOfPlace);
        }
        let mark = |(scope, row): (&Scope, &crate::store::scopes::ScopeRow)| ScopeMark {
            scope: scope.clone(),
            cursor: row.cursor,
            digest: row.digest,
            documents: row.documents,
            snapshot: row.snapshot,
        };
        let hello = Hello {
            versions: Versions::SPOKEN,
            device: self.device,
            install: self.install,
            incarnation: self.book.incarnation,
            clock: self.book.clock.last(),
            scopes: self.book.scopes.iter().map(mark).collect(),
        };
        self.drop_frames();
        let mut session = DeviceSession::new();
        if let Some(version) = self.book.relay_version {
            session.expect_version(version);
        }
        session.start(now.monotonic, hello)?;
        self.problem = None;
        self.board.connected();
        self.link = Some(Link {
            session,
            is_welcomed: false,
            scopes: BTreeMap::new(),
            pushes: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            own: BTreeMap::new(),
            lagging: BTreeMap::new(),
            reopened: BTreeSet::new(),
            doubted: BTreeSet::new(),
            incarnation: None,
            owes: false,
            surrenders: false,
            handed_over: 0,
            is_wiped: false,
            offering: kept::Offering::default(),
            blobs: blobs::Blobs::default(),
        });
        self.send_waiting(now);
        self.show(now);
        Ok(())
    }

    /// Takes in a frame from the relay, in any order across streams.
    ///
    /// # Errors
    ///
    /// [`LinkError`]: the session is over, and [`Output::Close`] is among the outputs. Nothing that was
    /// committed before is affected.
    pub fn handle_frame(&mut self, now: Now, frame: Frame) -> Result<(), LinkError> {
        self.handle_frames(now, [frame])
    }

    /// Takes in several frames that have arrived, in one transaction: cheaper than one by one.
    ///
    /// # Errors
    ///
    /// As [`Self::handle_frame`]; then none of them has had an effect on the file.
    pub fn handle_frames(
        &mut self,
        now: Now,
        frames: impl IntoIterator<Item = Frame>,
    ) -> Result<(), LinkError> {
        self.handle_inputs(now, frames.into_iter().map(DeviceInput::Frame))
    }

    /// Looks at the clock; to be called when [`Device::next_deadline`] has come.
    ///
    /// # Errors
    ///
    /// As [`Self::handle_frame`].
    pub fn handle_deadline(&mut self, now: Now) -> Result<(), LinkError> {
        if let Err(error) = self.leave_on(now) {
            if self.link.is_some() {
                self.fail(now, &error);
            }
            return Err(error);
        }
        self.handle_inputs(now, [DeviceInput::Deadline])
    }

    /// Ends the session without a word: the connection is gone. Nothing happens if there is none.
    pub fn disconnected(&mut self, now: Now) {
        self.drop_link();
        self.drop_frames();
        self.show(now);
    }

    fn drop_link(&mut self) {
        if self.link.take().is_some_and(|link| !link.is_welcomed) {
            // PROTOCOL 3.2: an older relay may have taken its place, which cannot read what we sent it first.
            self.book.relay_version = None;
        }
    }

    /// Drops what was to be sent over a connection that is gone.
    fn drop_frames(&mut self) {
        self.outputs.retain(|output| match output {
            Output::Send { .. } | Output::Close(_) => false,
            Output::Changed { .. }
            | Output::State(_)
            | Output::Blobs { .. }
            | Output::Leave(_)
            | Output::Positions => true,
        });
    }

    /// Returns whether the relay is to say something about a blob: it was offered one, sent a chunk, or asked for some.
    pub fn awaits_blobs(&self) -> bool {
        self.link
            .as_ref()
            .is_some_and(|link| link.session.awaits_blobs())
    }

    /// Returns where synchronisation stands.
    pub const fn sync_state(&self) -> &SyncState {
        &self.shown
    }

    pub(crate) fn in_flight(&self) -> BTreeSet<i64> {
        let link = self.link.as_ref();
        link.map_or_else(BTreeSet::new, |link| link.in_flight.clone())
    }

    fn handle_inputs(
        &mut self,
        now: Now,
        inputs: impl IntoIterator<Item = DeviceInput>,
    ) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let mut events = Vec::new();
        let mut result = Ok(());
        for input in inputs {
            result = link.session.handle(now.monotonic, input);
            while let Some(output) = link.session.poll_output() {
                if let DeviceOutput::Send { lane, frame } = output {
                    self.outputs.push_back(Output::Send { lane, frame });
                } else if let DeviceOutput::Withheld { get, .. } = output {
                    blobs::withheld(&mut link.blobs, get, now.monotonic);
                } else if let DeviceOutput::Positions(came) = output {
                    if self.board.take_in(now.monotonic, &came) {
                        self.outputs.push_back(Output::Positions);
                    }
                } else {
                    events.push(output);
                }
            }
            if result.is_err() {
                break;
            }
        }
        let result = match result {
            // Nothing to write down: another time to look what may be sent.
            Ok(()) if events.is_empty() && self.leave_due.is_none() => {
                self.send_waiting(now);
                Ok(())
            }
            Ok(()) => self.carry_out(now, events),
            Err(error) => {
                self.end(now, CloseReason::Failed(error.clone()));
                return Err(error.into());
            }
        };
        if let Err(error) = &result {
            self.fail(now, error);
        }
        result
    }

    /// Does in one transaction what the session's outputs ask for, then tells the relay.
    fn carry_out(&mut self, now: Now, events: Vec<DeviceOutput>) -> Result<(), LinkError> {
        let Some(mut link) = self.link.take() else {
            return Ok(());
        };
        let mut told = Told::default();
        self.in_transaction(now, |work| {
            for event in events {
                take_in(work, &mut link, &mut told, event)?;
            }
            repair::begin_due(work, &mut link)?;
            repair::reopen_lost(work, &mut link)
        })?;
        for (scope, number) in told.taken {
            link.session.taken(&scope, number)?;
        }
        self.tell_applied(&mut link, told.fed)?;
        blobs::prove(self.store.reader(), &mut link, told.to_prove)?;
        self.leave_with(now, link)?;
        match told.closed {
            Some(reason) => self.end(now, reason),
            None => self.send_waiting(now),
        }
        self.show(now);
        Ok(())
    }

    /// Tells the relay how far these scopes are.
    fn tell_applied(&self, link: &mut Link, fed: BTreeSet<Scope>) -> Result<(), LinkError> {
        for scope in fed {
            if let Some(row) = self.book.scopes.get(&scope) {
                match link.session.applied(&scope, row.cursor) {
                    // A reconciliation that began meanwhile says where the device stands itself.
                    Ok(()) | Err(SessionError::OutOfPlace(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Runs work in one transaction; memory follows when it is committed.
    fn in_transaction(
        &mut self,
        now: Now,
        job: impl FnOnce(&mut Work<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        let before = self.book.clone();
        let (kinds, random, counters) = (&self.kinds, &mut self.random, self.counters);
        let (device, install) = (self.device, self.install);
        let done = self.store.write(|tx| {
            let mut work = Work {
                tx,
                kinds,
                now,
                random,
                book: before.clone(),
                counters,
                changed: BTreeSet::new(),
                rebased: false,
                device,
                install,
                leaves: false,
                leave_news: Vec::new(),
                blobs_changed: BTreeSet::new(),
            };
            job(&mut work)?;
            work.book.keep(tx, &before)?;
            let flags = (work.rebased, work.leaves, work.leave_news);
            let changed = (work.changed, work.blobs_changed);
            Ok::<_, LinkError>((work.book, work.counters, changed, flags))
        })?;
        let (book, counters, changed, (rebased, leaves, leave_news)) = done;
        let (changed, blobs_changed) = changed;
        self.book = book;
        self.counters = counters;
        if rebased {
            self.actor = None;
        }
        if leaves {
            self.leave_due = Some(now.monotonic);
        }
        if !changed.is_empty() {
            self.outputs.push_back(Output::Changed {
                documents: changed.into_iter().collect(),
            });
        }
        if !blobs_changed.is_empty() {
            self.outputs.push_back(Output::Blobs {
                documents: blobs_changed.into_iter().collect(),
            });
        }
        self.outputs
            .extend(leave_news.into_iter().map(Output::Leave));
        Ok(())
    }

    /// Offers the relay what waits; trouble with that ends the session, not what was saved.
    pub(crate) fn send_waiting(&mut self, now: Now) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        let pusher = Pusher {
            device: self.device,
            install: self.install,
            signer: self.signer.as_ref(),
            wall: now.wall,
        };
        let db = self.store.reader();
        let mut result = push::fill(db, &mut self.book, &pusher, &mut link)
            .and_then(|()| kept::fill(db, &mut self.book, &pusher, &mut link))
            .and_then(|()| blobs::fill(db, now.monotonic, self.uploads, &mut link));
        if result.is_ok() && link.surrenders {
            result = leave::surrender(db, &mut self.book, &pusher, &self.kinds, &mut link);
        }
        if link.takes_positions() {
            let told = self.board.tell(now, &mut link.session);
            result = result.and_then(|()| Ok(told?));
        }
        self.link = Some(link);
        let result = result.and_then(|()| self.send_removal());
        let Some(mut link) = self.link.take() else {
            return;
        };
        while let Some(output) = link.session.poll_output() {
            if let DeviceOutput::Send { lane, frame } = output {
                self.outputs.push_back(Output::Send { lane, frame });
            }
        }
        self.link = Some(link);
        if let Err(error) = result {
            self.fail(now, &error);
        }
    }

    /// Ends the session because of our own trouble, in words.
    fn fail(&mut self, now: Now, error: &LinkError) {
        let close = Close {
            reason: Reason {
                code: "device_trouble".to_owned(),
                en: "the device cannot go on".to_owned(),
                zh: "设备暂时无法继续同步".to_owned(),
            },
            retry_after_s: 0,
        };
        self.outputs.push_back(Output::Send {
            lane: Lane::Control,
            frame: Frame::Close(close.clone()),
        });
        self.end(now, CloseReason::Ours(close));
        self.problem = Some(match error {
            LinkError::Storage(StorageError::Full) => SyncProblem::DiskFull,
            LinkError::Storage(_) => SyncProblem::StorageFailed,
            LinkError::OutOfPlace | LinkError::Session(_) | LinkError::Reconcile(_) => {
                SyncProblem::NotUnderstood
            }
        });
        self.show(now);
    }

    fn end(&mut self, now: Now, reason: CloseReason) {
        self.drop_link();
        self.problem = match &reason {
            CloseReason::Peer(close) if close.retry_after_s > PAUSE_S_MAX => {
                Some(SyncProblem::TurnedAway(close.reason.clone()))
            }
            CloseReason::Peer(_) | CloseReason::Ours(_) => None,
            CloseReason::Failed(SessionError::GreetingTimedOut) => None,
            CloseReason::Failed(_) => Some(SyncProblem::NotUnderstood),
        };
        self.outputs.push_back(Output::Close(reason));
        self.show(now);
    }

    /// Makes known where synchronisation stands, if that is different from before.
    pub(crate) fn show(&mut self, now: Now) {
        let state = self.state(now.wall);
        if state != self.shown {
            self.shown = state.clone();
            self.outputs.push_back(Output::State(state));
        }
    }

    fn state(&self, wall: WallTime) -> SyncState {
        let waiting = self.book.waiting.changes;
        let problem = |what: SyncProblem| SyncState::Problem {
            remedy: what.remedy(),
            what,
        };
        let Some(link) = &self.link else {
            return match &self.problem {
                Some(what) => problem(what.clone()),
                None => SyncState::Offline { waiting },
            };
        };
        if !link.is_welcomed {
            return SyncState::Connecting { waiting };
        }
        if waiting > 0 || link.surrenders {
            return SyncState::Sending { waiting };
        }
        let mut behind = 0;
        let (mut is_done, mut stuck) = (true, None);
        for (scope, row) in &self.book.scopes {
            if row.grant == Grant::None {
                continue;
            }
            let Some(at) = link.scopes.get(scope) else {
                is_done = false;
                continue;
            };
            behind += at.head.saturating_sub(row.cursor);
            is_done &= at.agrees && at.repair.is_none() && at.head == row.cursor;
            if at.is_stuck && stuck.is_none() {
                stuck = Some(scope.clone());
            }
        }
        match (is_done, stuck, &self.shown) {
            (true, _, SyncState::InSync { since }) => SyncState::InSync { since: *since },
            (true, _, _) => SyncState::InSync { since: wall },
            (false, Some(scope), _) if behind == 0 => problem(SyncProblem::Unreadable { scope }),
            (false, _, _) => SyncState::Receiving { behind },
        }
    }
}
