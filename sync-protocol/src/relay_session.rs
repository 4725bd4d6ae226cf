//! The relay's half of one sync session, as a state machine.
//!
//! A session lives as long as one connection. The caller's whole duty, in order:
//!
//! 1. call [`RelaySession::handle`] with each frame that arrives, in any order across streams;
//! 2. after [`RelayOutput::Greeted`], look the device up and call [`RelaySession::welcome`];
//! 3. answer each push by [`RelaySession::acknowledge`] after its commit, each message and
//!    comparison by [`RelaySession::reconcile`] and [`RelaySession::compared`]; feed each scope while
//!    [`RelaySession::feed_room`] says so;
//! 4. after each call, call [`RelaySession::poll_output`] until it returns `None`;
//! 5. wait for the next input, but no longer than [`RelaySession::next_deadline`].
//!
//! The session holds the device to the rules and the windows. It trusts its caller: an answer that does
//! not fit is a bug, and panics. Rules: `PROTOCOL.md`, 3 and 4. Not here: bytes, rights, storage.
//!
//! long because one state answers every frame of the device, and its parts make sense together only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridbeat_base::{BlobHash, DeviceId, Incarnation, Install, Lane, Monotonic, Scope, WallTime};

use crate::error::{check_size, wrong_size};
use crate::limits::{
    FEED_ENTRIES_MAX, FEED_WEIGHT_MAX, FEED_WINDOW_BYTES, GREETING_TIMEOUT, SIGHTINGS_MAX,
    SIGHTINGS_MOVED_MAX, SNAPSHOT_DOCUMENTS_MAX,
};
use crate::relay_blobs::RelayBlobs;
use crate::relay_output::{RelayInput, RelayOutput};
use crate::relay_pushes::RelayPushes;
use crate::relay_scope::RelayScope;
use crate::{
    Ack, Applied, BatchProof, BatchStatement, Bring, Close, CloseReason, Compare, Compared,
    DeviceMisbehaved, Feed, Frame, FrameKind, Get, Grant, Hello, Kept, Noted, Notice, Offer,
    OfferAnswer, Offered, PackForm, Part, Positions, Prove, PublicKey, Push, Reason, Reconcile,
    RemovalHash, RemovalProof, Removed, ScopeGreeting, SessionError, Snapshot, Taken,
    VERSION_OF_BLOBS, VERSION_OF_BRINGING, VERSION_OF_LEAVING, VERSION_OF_POSITIONS,
    VERSION_OF_SNAPSHOTS, Versions, Welcome, Withheld,
};

enum State {
    /// The device's greeting has not come.
    Greeting {
        deadline: Monotonic,
    },
    /// It has come, and our answer is being made. Nothing but pushes may come.
    Greeted {
        hello: Hello,
        version: u16,
    },
    /// Both may send.
    Live {
        install: Install,
        version: u16,
    },
    Ended,
}

/// The relay's half of one session.
pub struct RelaySession {
    /// The device that the connection's certificate names.
    device: DeviceId,
    /// The signing key in that certificate.
    key: Option<PublicKey>,
    state: State,
    pushes: RelayPushes,
    /// The scopes granted at the welcome.
    scopes: BTreeMap<Scope, RelayScope>,
    /// The statement of removal that waits for our answer.
    removal: Option<RemovalHash>,
    blobs: RelayBlobs,
    outputs: VecDeque<RelayOutput>,
}

impl RelaySession {
    /// Begins a session with the device that the connection's certificate names. If the certificate has
    /// a signing key, every push must be signed by it; if not, none may be.
    pub fn new(now: Monotonic, device: DeviceId, key: Option<PublicKey>) -> Self {
        Self {
            device,
            key,
            state: State::Greeting {
                deadline: now.plus(GREETING_TIMEOUT),
            },
            pushes: RelayPushes::default(),
            scopes: BTreeMap::new(),
            removal: None,
            blobs: RelayBlobs::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Answers the device's greeting; then come the pushes that were held until now.
    ///
    /// `scopes` are each scope the greeting names, in that order, then each other that is granted.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if no greeting waits for it: the session may have ended meanwhile. A push
    /// that was held may break a rule: that ends the session, as in [`Self::handle`].
    ///
    /// # Panics
    ///
    /// If `scopes` are not as described.
    pub fn welcome(
        &mut self,
        incarnation: Incarnation,
        time: WallTime,
        scopes: Vec<ScopeGreeting>,
    ) -> Result<(), SessionError> {
        self.welcome_stable(incarnation, time, scopes, None)
    }

    /// Answers the device's greeting as [`Self::welcome`] does, and tells the relay's stable mark.
    ///
    /// # Errors
    ///
    /// As [`Self::welcome`].
    ///
    /// # Panics
    ///
    /// As [`Self::welcome`].
    pub fn welcome_stable(
        &mut self,
        incarnation: Incarnation,
        time: WallTime,
        scopes: Vec<ScopeGreeting>,
        stable: Option<WallTime>,
    ) -> Result<(), SessionError> {
        let State::Greeted { hello, version } = &self.state else {
            return Err(SessionError::NotOpen);
        };
        let mut granted = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (place, greeting) in scopes.iter().enumerate() {
            let mark = hello.scopes.get(place);
            let in_order = mark.is_none_or(|mark| mark.scope == greeting.scope);
            assert!(in_order, "the scopes named come first, in order");
            assert!(seen.insert(&greeting.scope), "no scope comes twice");
            let cursor = mark.map_or(0, |mark| mark.cursor);
            let same_life = hello.incarnation == Some(incarnation) || cursor == 0;
            // PROTOCOL 3.5: a scope is fed at once only if both sides agree on what is before.
            let cursor = (same_life && greeting.digest_agrees).then_some(cursor);
            match greeting.grant {
                Grant::None => {}
                Grant::Read | Grant::Write => {
                    assert!(
                        greeting.snapshot.is_none() || *version >= VERSION_OF_SNAPSHOTS,
                        "a snapshot is announced in sessions that have them"
                    );
                    let scope = match greeting.snapshot {
                        Some(as_of) => RelayScope::of_snapshot(as_of),
                        None => RelayScope::new(cursor),
                    };
                    granted.insert(greeting.scope.clone(), scope);
                }
            }
        }
        assert!(hello.scopes.len() <= scopes.len(), "each scope is answered");
        let version = *version;
        let welcome = Welcome {
            version,
            incarnation,
            time,
            scopes,
            stable,
        };
        let install = hello.install;
        self.scopes = granted;
        self.state = State::Live { install, version };
        self.send(Lane::Control, Frame::Welcome(welcome));
        let result = self.release_pushes().and_then(|()| self.check_brought());
        self.release_brought();
        self.end_if_failed(result)
    }

    /// Answers a push, after the commit of what it says. The entries it names are from here on fed to
    /// this device as a count.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if the session has ended meanwhile.
    ///
    /// # Panics
    ///
    /// If no such push waits, or the answer does not fit it.
    pub fn acknowledge(&mut self, ack: Ack) -> Result<(), SessionError> {
        self.check_live()?;
        let push = self.pushes.acknowledge(ack.number);
        let push = push.expect("one answer for each push that came out");
        assert_eq!(ack.verdicts.len(), push.changes, "one verdict a change");
        assert_eq!(ack.attached.len(), push.documents, "one mark a document");
        let entries = ack.entry_count();
        assert_eq!(
            ack.first_seq.is_some(),
            entries > 0,
            "entries have a number"
        );
        if let (Some(first), Some(scope)) = (ack.first_seq, self.scopes.get_mut(&push.scope)) {
            scope.note_own(first, entries);
        }
        self.send(Lane::Control, Frame::Ack(ack));
        self.release_brought();
        Ok(())
    }

    /// Returns how much more of a scope's feed may go out: 0 if nothing, because the scope is not
    /// granted or must be reconciled, or the window is full. While it is more than 0, one frame may go
    /// out, even if it weighs more.
    pub fn feed_room(&self, scope: &Scope) -> usize {
        if self.fed(scope).is_none() {
            return 0;
        }
        let out: usize = self.scopes.values().map(RelayScope::weight).sum();
        FEED_WINDOW_BYTES.saturating_sub(out)
    }

    /// Returns the last entry of a scope's feed that went out: the feed goes on behind it. `None` while
    /// the scope is not fed.
    pub fn fed(&self, scope: &Scope) -> Option<u64> {
        if !matches!(self.state, State::Live { .. }) {
            return None;
        }
        self.scopes.get(scope)?.fed()
    }

    /// Sends entries of a scope's feed. Those the device pushed itself in this session become counts.
    ///
    /// # Errors
    ///
    /// [`SessionError::Full`] if there is no room, [`SessionError::OutOfPlace`] if the feed does not go on
    /// there (see [`Self::fed`]), [`SessionError::WrongSize`] if it is empty, or beyond
    /// [`FEED_ENTRIES_MAX`] or [`FEED_WEIGHT_MAX`]; [`SessionError::NotOpen`]. None ends the session.
    pub fn feed(&mut self, lane: Lane, mut feed: Feed) -> Result<(), SessionError> {
        self.check_live()?;
        let room = self.feed_room(&feed.scope);
        let scope = self.scopes.get_mut(&feed.scope);
        let fed = scope.as_ref().and_then(|scope| scope.fed());
        let (Some(scope), Some(fed), Some(last)) = (scope, fed, feed.last_seq()) else {
            return Err(SessionError::OutOfPlace(feed.scope));
        };
        if feed.first_seq != fed + 1 || feed.head < last {
            return Err(SessionError::OutOfPlace(feed.scope));
        }
        // PROTOCOL 4.7: a frame is sent while less than the window is out.
        if room == 0 {
            return Err(SessionError::Full);
        }
        scope.count_own(&mut feed);
        check_size(feed.entries.len(), FEED_ENTRIES_MAX)?;
        let weight = feed.weight();
        check_size(weight, FEED_WEIGHT_MAX)?;
        scope.note_fed(last, weight);
        feed.form = self.form();
        self.send(lane, Frame::Feed(feed));
        Ok(())
    }

    /// Returns how much more of a scope's snapshot may go out: 0 if nothing, because none is under way or the window
    /// is full. While it is more than 0, one frame may go out, even if it weighs more.
    pub fn snapshot_room(&self, scope: &Scope) -> usize {
        let is_wanted = self
            .scopes
            .get(scope)
            .is_some_and(RelayScope::wants_snapshot);
        if !is_wanted || !matches!(self.state, State::Live { .. }) {
            return 0;
        }
        let out: usize = self.scopes.values().map(RelayScope::weight).sum();
        FEED_WINDOW_BYTES.saturating_sub(out)
    }

    /// Sends the next documents of a scope's snapshot; the number is given here.
    ///
    /// # Errors
    ///
    /// [`SessionError::Full`] if there is no room, [`SessionError::OutOfPlace`] if no snapshot of the scope is under way,
    /// [`SessionError::WrongSize`] if it is beyond [`SNAPSHOT_DOCUMENTS_MAX`] or [`FEED_WEIGHT_MAX`], or empty and not the
    /// last; [`SessionError::NotOpen`]. None ends the session.
    pub fn snapshot(&mut self, lane: Lane, mut frame: Snapshot) -> Result<(), SessionError> {
        self.check_live()?;
        let room = self.snapshot_room(&frame.scope);
        if !(frame.documents.is_empty() && frame.last) {
            check_size(frame.documents.len(), SNAPSHOT_DOCUMENTS_MAX)?;
            check_size(frame.weight(), FEED_WEIGHT_MAX)?;
        }
        frame.form = self.form();
        match self.scopes.get_mut(&frame.scope) {
            Some(scope) if scope.wants_snapshot() => {
                // PROTOCOL 4.16: a frame is sent while less than the window is out.
                if room == 0 {
                    return Err(SessionError::Full);
                }
                scope.note_snapshot(&mut frame);
            }
            Some(_) | None => return Err(SessionError::OutOfPlace(frame.scope)),
        }
        self.send(lane, Frame::Snapshot(frame));
        Ok(())
    }

    /// Returns whether the session's version has snapshots; `false` before the device's greeting.
    pub const fn speaks_of_snapshots(&self) -> bool {
        match self.state {
            State::Greeted { version, .. } | State::Live { version, .. } => {
                version >= VERSION_OF_SNAPSHOTS
            }
            State::Greeting { .. } | State::Ended => false,
        }
    }

    /// Answers a message of range reconciliation, from an inventory taken when the scope's last
    /// sequence number was `seq`.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if the session has ended meanwhile.
    ///
    /// # Panics
    ///
    /// If no message of the scope waits for it.
    pub fn reconcile(
        &mut self,
        scope: &Scope,
        seq: u64,
        message: Vec<u8>,
    ) -> Result<(), SessionError> {
        self.check_live()?;
        let going = self.scopes.get_mut(scope);
        let due = going.is_some_and(|going| going.answered(seq));
        assert!(due, "one answer for each message that came out");
        let frame = Reconcile {
            scope: scope.clone(),
            seq,
            message,
        };
        self.send(Lane::Control, Frame::Reconcile(frame));
        Ok(())
    }

    /// Answers a comparison, or a part of one. The frame with `last` answers the last one and ends the
    /// reconciliation: the feed then goes on behind the first [`Self::reconcile`]'s `seq`.
    ///
    /// # Errors
    ///
    /// [`SessionError::WrongSize`] if it is beyond [`FEED_WEIGHT_MAX`]; [`SessionError::NotOpen`] if
    /// the session has ended meanwhile.
    ///
    /// # Panics
    ///
    /// If it does not fit the comparison that waits.
    pub fn compared(&mut self, mut compared: Compared) -> Result<(), SessionError> {
        self.check_live()?;
        if !compared.documents.is_empty() {
            check_size(compared.weight(), FEED_WEIGHT_MAX)?;
        }
        let scope = self.scopes.get_mut(&compared.scope);
        let fits = scope.is_some_and(|scope| scope.compared(&compared));
        assert!(fits, "the answer fits the comparison that came out");
        compared.form = self.form();
        self.send(Lane::Control, Frame::Compared(compared));
        Ok(())
    }

    /// Returns whether the session's version speaks of leaving; `false` before the device's greeting.
    pub const fn speaks_of_leaving(&self) -> bool {
        match self.state {
            State::Greeted { version, .. } | State::Live { version, .. } => {
                version >= VERSION_OF_LEAVING
            }
            State::Greeting { .. } | State::Ended => false,
        }
    }

    /// Tells the device that it is leaving what is not granted in this session.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if the session has ended meanwhile, or is of a version without this.
    ///
    /// # Panics
    ///
    /// If the scope is granted, or any is for a notice of everything.
    pub fn notice(&mut self, notice: Notice) -> Result<(), SessionError> {
        self.check_live()?;
        if !self.speaks_of_leaving() {
            return Err(SessionError::NotOpen);
        }
        let is_granted = match &notice.scope {
            Some(scope) => self.scopes.contains_key(scope),
            None => !self.scopes.is_empty(),
        };
        assert!(!is_granted, "what is left is not granted");
        self.send(Lane::Control, Frame::Notice(notice));
        Ok(())
    }

    /// Answers a statement of removal, after the commit that keeps it.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if the session has ended meanwhile.
    ///
    /// # Panics
    ///
    /// If it does not wait for an answer.
    pub fn noted(&mut self, removal: RemovalHash) -> Result<(), SessionError> {
        self.check_live()?;
        let due = self.removal.take();
        assert_eq!(due, Some(removal), "one answer for each that came out");
        self.send(Lane::Control, Frame::Noted(Noted { removal }));
        Ok(())
    }

    /// Returns whether the session's version speaks of blobs; `false` before the welcome.
    pub const fn speaks_of_blobs(&self) -> bool {
        matches!(self.state, State::Live { version, .. } if version >= VERSION_OF_BLOBS)
    }

    /// Answers an offer, or the proof it led to.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if the session has ended meanwhile.
    ///
    /// # Panics
    ///
    /// If the blob is not on offer, or the answer is none to what came last.
    pub fn offered(&mut self, hash: BlobHash, answer: OfferAnswer) -> Result<(), SessionError> {
        self.check_live()?;
        let is_due = self.blobs.answered(hash, &answer);
        assert!(is_due, "one answer for each offer and proof that came out");
        self.send(Lane::Control, Frame::Offered(Offered { hash, answer }));
        Ok(())
    }

    /// Returns whether a blob is whole once the chunk is kept that is being kept.
    pub fn is_last_chunk(&self, hash: &BlobHash) -> bool {
        self.blobs.is_last(hash)
    }

    /// Says that a chunk is kept, after its commit; and that the blob is whole, with its last.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if the session has ended meanwhile.
    ///
    /// # Panics
    ///
    /// If no such chunk waits for it.
    pub fn kept(
        &mut self,
        hash: BlobHash,
        chunk: u32,
        is_complete: bool,
    ) -> Result<(), SessionError> {
        self.check_live()?;
        let is_due = self.blobs.kept(hash, is_complete);
        assert!(is_due, "one answer for each chunk that came out");
        let kept = Kept {
            hash,
            chunk,
            is_complete,
        };
        self.send(Lane::Control, Frame::Kept(kept));
        Ok(())
    }

    /// Gives the chunks that were asked for of a blob: their slices, from the first one on.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if the session has ended meanwhile.
    ///
    /// # Panics
    ///
    /// If they were not asked for.
    pub fn give(
        &mut self,
        lane: Lane,
        hash: BlobHash,
        size_bytes: u64,
        slices: Vec<Vec<u8>>,
    ) -> Result<(), SessionError> {
        self.check_live()?;
        let get = self.blobs.given(hash);
        let get = get.expect("one answer for each blob that was asked for");
        assert!(slices.len() <= get.count as usize, "no more than was asked");
        for (chunk, slice) in (get.first..).zip(slices) {
            let part = Part {
                hash,
                size_bytes,
                chunk,
                slice,
            };
            self.send(lane, Frame::Part(part));
        }
        Ok(())
    }

    /// Does not give what was asked for of a blob.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if the session has ended meanwhile.
    ///
    /// # Panics
    ///
    /// If it was not asked for.
    pub fn withhold(&mut self, hash: BlobHash, reason: Reason) -> Result<(), SessionError> {
        self.check_live()?;
        let get = self.blobs.given(hash);
        assert!(get.is_some(), "one answer for each blob that was asked for");
        self.send(Lane::Control, Frame::Withheld(Withheld { hash, reason }));
        Ok(())
    }

    /// Returns whether the session's version speaks of positions; `false` before our greeting.
    pub const fn speaks_of_positions(&self) -> bool {
        matches!(self.state, State::Live { version, .. } if version >= VERSION_OF_POSITIONS)
    }

    /// Tells where devices are, surely: to one that has just begun to watch, or of those that tell no more.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if the session has ended meanwhile, [`SessionError::WrongSize`] if they are beyond
    /// [`SIGHTINGS_MAX`].
    pub fn positions(&mut self, positions: Positions) -> Result<(), SessionError> {
        self.check_sightings(&positions, SIGHTINGS_MAX)?;
        self.send(Lane::Control, Frame::Positions(positions));
        Ok(())
    }

    /// Tells where devices are that have moved, in a datagram: it may be lost.
    ///
    /// # Errors
    ///
    /// As [`Self::positions`]; here the limit is [`SIGHTINGS_MOVED_MAX`].
    pub fn moved(&mut self, positions: Positions) -> Result<(), SessionError> {
        self.check_sightings(&positions, SIGHTINGS_MOVED_MAX)?;
        self.send(Lane::Control, Frame::Moved(positions));
        Ok(())
    }

    const fn check_sightings(&self, positions: &Positions, max: usize) -> Result<(), SessionError> {
        if !self.speaks_of_positions() {
            return Err(SessionError::NotOpen);
        }
        let count = positions.sightings.len();
        if count > max {
            return Err(wrong_size(count, max));
        }
        Ok(())
    }

    /// Ends the session, in words.
    pub fn close(&mut self, close: Close) {
        if !matches!(self.state, State::Ended) {
            self.send(Lane::Control, Frame::Close(close.clone()));
            self.end(CloseReason::Ours(close));
        }
    }

    /// Takes in one input that happened at `now`, and queues what must be done about it.
    ///
    /// # Errors
    ///
    /// Any error ends the session: its last outputs are the `Close` frame to send and
    /// [`RelayOutput::Closed`]. Input after the end is ignored.
    pub fn handle(&mut self, now: Monotonic, input: RelayInput) -> Result<(), SessionError> {
        let result = match input {
            RelayInput::Frame(frame) => self.handle_frame(frame),
            RelayInput::Deadline => self.handle_deadline(now),
        };
        self.end_if_failed(result)
    }

    /// Returns the next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<RelayOutput> {
        self.outputs.pop_front()
    }

    /// Returns when to call [`Self::handle`] with [`RelayInput::Deadline`]: the end of the wait for the
    /// device's greeting.
    pub const fn next_deadline(&self) -> Option<Monotonic> {
        match &self.state {
            State::Greeting { deadline } => Some(*deadline),
            State::Greeted { .. } | State::Live { .. } | State::Ended => None,
        }
    }

    fn handle_deadline(&self, now: Monotonic) -> Result<(), SessionError> {
        match &self.state {
            State::Greeting { deadline } if *deadline <= now => Err(SessionError::GreetingTimedOut),
            State::Greeting { .. } | State::Greeted { .. } | State::Live { .. } | State::Ended => {
                Ok(())
            }
        }
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<(), SessionError> {
        let kind = frame.kind();
        match (&self.state, frame) {
            (State::Ended, _) => Ok(()),
            (
                _,
                Frame::Welcome(_)
                | Frame::Ack(_)
                | Frame::Feed(_)
                | Frame::Compared(_)
                | Frame::Notice(_)
                | Frame::Noted(_)
                | Frame::Snapshot(_)
                | Frame::Offered(_)
                | Frame::Kept(_)
                | Frame::Withheld(_)
                | Frame::Positions(_)
                | Frame::Moved(_),
            ) => Err(DeviceMisbehaved::NotForRelay(kind).into()),
            (_, Frame::Push(push)) => {
                // PROTOCOL 3.3: a push may overtake the greeting, on another stream; it waits.
                self.pushes.accept(push)?;
                self.release_pushes()
            }
            (_, Frame::Bring(bring)) => self.handle_bring(bring),
            (State::Greeting { .. }, Frame::Hello(hello)) => self.handle_hello(hello),
            (State::Greeted { .. } | State::Live { .. }, Frame::Hello(_)) => {
                Err(DeviceMisbehaved::GreetedTwice.into())
            }
            (
                State::Greeting { .. } | State::Greeted { .. },
                Frame::Applied(_)
                | Frame::Reconcile(_)
                | Frame::Compare(_)
                | Frame::Removed(_)
                | Frame::Taken(_)
                | Frame::Offer(_)
                | Frame::Prove(_)
                | Frame::Get(_)
                | Frame::Part(_)
                | Frame::Gone(_)
                | Frame::Watch(_),
            ) => Err(self.ungreeted(kind).into()),
            (State::Greeting { .. }, Frame::Close(_)) => Err(self.ungreeted(kind).into()),
            (State::Greeted { .. } | State::Live { .. }, Frame::Close(close)) => {
                self.end(CloseReason::Peer(close));
                Ok(())
            }
            (State::Live { .. }, Frame::Applied(applied)) => self.handle_applied(applied),
            (State::Live { .. }, Frame::Reconcile(reconcile)) => self.handle_reconcile(reconcile),
            (State::Live { .. }, Frame::Compare(compare)) => self.handle_compare(compare),
            (State::Live { .. }, Frame::Removed(removed)) => self.handle_removed(removed),
            (State::Live { .. }, Frame::Taken(taken)) => self.handle_taken(taken),
            (
                State::Live { .. },
                Frame::Offer(_) | Frame::Prove(_) | Frame::Get(_) | Frame::Part(_),
            ) if !self.speaks_of_blobs() => Err(DeviceMisbehaved::LaterVersion(kind).into()),
            (State::Live { .. }, Frame::Offer(offer)) => self.handle_offer(offer),
            (State::Live { .. }, Frame::Prove(prove)) => self.handle_prove(prove),
            (State::Live { .. }, Frame::Get(get)) => self.handle_get(get),
            (State::Live { .. }, Frame::Part(part)) => self.handle_part(part),
            // PROTOCOL 4.23: a datagram may overtake the greeting, and is nothing then.
            (State::Greeting { .. } | State::Greeted { .. }, Frame::Here(_)) => Ok(()),
            (State::Live { .. }, Frame::Here(here)) => self.hand_on(RelayOutput::Here(here), kind),
            (State::Live { .. }, Frame::Gone(gone)) => self.hand_on(RelayOutput::Gone(gone), kind),
            (State::Live { .. }, Frame::Watch(it)) => self.hand_on(RelayOutput::Watch(it), kind),
        }
    }

    /// Returns the rule that a frame breaks which did not wait for the greetings.
    const fn ungreeted(&self, kind: FrameKind) -> DeviceMisbehaved {
        match self.state {
            // PROTOCOL 3.1: the device's greeting comes first on the control stream.
            State::Greeting { .. } => DeviceMisbehaved::NotGreeted(kind),
            State::Greeted { .. } | State::Live { .. } | State::Ended => {
                DeviceMisbehaved::TooEarly(kind)
            }
        }
    }

    /// Hands a word about positions on.
    fn hand_on(&mut self, output: RelayOutput, kind: FrameKind) -> Result<(), SessionError> {
        if !self.speaks_of_positions() {
            return Err(DeviceMisbehaved::LaterVersion(kind).into());
        }
        self.outputs.push_back(output);
        Ok(())
    }

    fn handle_offer(&mut self, offer: Offer) -> Result<(), SessionError> {
        self.blobs.offer(offer)?;
        self.outputs.push_back(RelayOutput::Offered(offer));
        Ok(())
    }

    fn handle_bring(&mut self, bring: Bring) -> Result<(), SessionError> {
        // PROTOCOL 3.3: it may overtake the greeting, on another stream; it waits.
        self.blobs.bring(bring)?;
        self.check_brought()?;
        self.release_brought();
        Ok(())
    }

    /// Checks that nothing was brought in a session whose version has no bringing, once that is known.
    fn check_brought(&self) -> Result<(), SessionError> {
        let is_older =
            matches!(self.state, State::Live { version, .. } if version < VERSION_OF_BRINGING);
        if is_older && self.blobs.has_brought() {
            return Err(DeviceMisbehaved::LaterVersion(FrameKind::Bring).into());
        }
        Ok(())
    }

    /// Hands on every blob that was brought and whose turn it is.
    fn release_brought(&mut self) {
        if !matches!(self.state, State::Live { version, .. } if version >= VERSION_OF_BRINGING) {
            return;
        }
        while let Some((offer, bytes)) = self.blobs.release(|number| self.pushes.is_handled(number))
        {
            self.outputs
                .push_back(RelayOutput::Brought { offer, bytes });
        }
    }

    fn handle_prove(&mut self, prove: Prove) -> Result<(), SessionError> {
        let (offer, nonce) = self.blobs.proved(&prove)?;
        let proof = prove.proof;
        self.outputs.push_back(RelayOutput::Proved {
            offer,
            nonce,
            proof,
        });
        Ok(())
    }

    fn handle_get(&mut self, get: Get) -> Result<(), SessionError> {
        self.blobs.get(get)?;
        self.outputs.push_back(RelayOutput::Get(get));
        Ok(())
    }

    fn handle_part(&mut self, part: Part) -> Result<(), SessionError> {
        let came = self.blobs.part(&part)?;
        self.outputs.push_back(RelayOutput::Part {
            offer: came.offer,
            chunk: came.chunk,
            bytes: came.bytes,
        });
        Ok(())
    }

    fn handle_hello(&mut self, hello: Hello) -> Result<(), SessionError> {
        // PROTOCOL 3.1: the device is the one its certificate names.
        if hello.device != self.device {
            return Err(DeviceMisbehaved::WrongDevice {
                claimed: hello.device,
                proven: self.device,
            }
            .into());
        }
        let theirs = hello.versions;
        if theirs.oldest > theirs.newest {
            return Err(DeviceMisbehaved::VersionsBackwards(theirs).into());
        }
        let mut seen = BTreeSet::new();
        for mark in &hello.scopes {
            if !seen.insert(&mark.scope) {
                return Err(DeviceMisbehaved::ScopeTwice(mark.scope.clone()).into());
            }
        }
        let common = Versions::SPOKEN.common(theirs);
        let version = common.ok_or(SessionError::NoCommonVersion { theirs })?;
        self.outputs.push_back(RelayOutput::Greeted(hello.clone()));
        self.state = State::Greeted { hello, version };
        Ok(())
    }

    fn handle_applied(&mut self, applied: Applied) -> Result<(), SessionError> {
        let Applied { scope, seq } = applied;
        let Some(fed) = self.scopes.get_mut(&scope) else {
            return Err(DeviceMisbehaved::AppliedUnsent { scope, seq }.into());
        };
        fed.applied(&scope, seq)?;
        self.outputs.push_back(RelayOutput::Applied { scope, seq });
        Ok(())
    }

    fn handle_taken(&mut self, taken: Taken) -> Result<(), SessionError> {
        let Taken { scope, number } = taken;
        let Some(fed) = self.scopes.get_mut(&scope) else {
            return Err(DeviceMisbehaved::TakenUnsent { scope, number }.into());
        };
        fed.taken(&scope, number)?;
        self.outputs.push_back(RelayOutput::Taken { scope });
        Ok(())
    }

    fn handle_reconcile(&mut self, reconcile: Reconcile) -> Result<(), SessionError> {
        let Reconcile { scope, message, .. } = reconcile;
        let Some(going) = self.scopes.get_mut(&scope) else {
            return Err(DeviceMisbehaved::ReconcileNotGranted(scope).into());
        };
        going.asked(&scope)?;
        self.outputs
            .push_back(RelayOutput::Reconcile { scope, message });
        Ok(())
    }

    fn handle_compare(&mut self, compare: Compare) -> Result<(), SessionError> {
        let Some(going) = self.scopes.get_mut(&compare.scope) else {
            return Err(DeviceMisbehaved::CompareUnreconciled(compare.scope).into());
        };
        going.compare(&compare)?;
        self.outputs.push_back(RelayOutput::Compare(compare));
        Ok(())
    }

    fn handle_removed(&mut self, removed: Removed) -> Result<(), SessionError> {
        // PROTOCOL 9.1: a frame is sent only in sessions of its version.
        if !self.speaks_of_leaving() {
            return Err(DeviceMisbehaved::LaterVersion(FrameKind::Removed).into());
        }
        // PROTOCOL 4.13: one is out at a time, the device's own, signed by its certified key.
        if self.removal.is_some() {
            return Err(DeviceMisbehaved::RemovedTooSoon.into());
        }
        let Removed {
            statement,
            signature,
        } = removed;
        let read = RemovalProof::of_bytes(statement, None);
        let proof = read.filter(|proof| proof.statement.device == self.device);
        let proof = proof.ok_or(DeviceMisbehaved::RemovedContent)?;
        let signed = match (self.key, signature) {
            (Some(key), Some(signature)) => Some((key, signature)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(DeviceMisbehaved::RemovedSignature.into());
            }
        };
        let proof = RemovalProof::of_bytes(proof.bytes, signed);
        let proof = proof.ok_or(DeviceMisbehaved::RemovedSignature)?;
        self.removal = Some(proof.hash);
        self.outputs
            .push_back(RelayOutput::Removed(Box::new(proof)));
        Ok(())
    }

    /// Hands on every push whose turn it is, once the device has greeted and was welcomed.
    fn release_pushes(&mut self) -> Result<(), SessionError> {
        let State::Live { install, version } = self.state else {
            return Ok(());
        };
        while let Some(push) = self.pushes.release() {
            // PROTOCOL 9.1: what later versions brought is sent only in their sessions.
            if !push.form.is_of(version) {
                return Err(DeviceMisbehaved::LaterVersion(FrameKind::Push).into());
            }
            let proof = self.prove(install, &push)?;
            self.outputs.push_back(RelayOutput::Pushed {
                number: push.number,
                scope: push.scope,
                documents: push.documents,
                proof,
            });
        }
        Ok(())
    }

    /// Makes a push's statement, and verifies its signature.
    fn prove(&self, install: Install, push: &Push) -> Result<BatchProof, DeviceMisbehaved> {
        let Push { scope, seal, .. } = push;
        // PROTOCOL 4.10: a push is signed if and only if the device's certificate has a signing key.
        let signed = match (self.key, seal) {
            (Some(key), Some(seal)) => Some((key, seal.signature)),
            (None, None) => None,
            (Some(_), None) => return Err(DeviceMisbehaved::PushUnsigned(push.number)),
            (None, Some(_)) => return Err(DeviceMisbehaved::PushSignature(push.number)),
        };
        let stamp = seal.map(|seal| seal.stamp).unwrap_or_default();
        let documents = &push.documents;
        BatchStatement::of_push(self.device, install, stamp, scope, documents)
            .prove(signed)
            .ok_or(DeviceMisbehaved::PushSignature(push.number))
    }

    fn end_if_failed(&mut self, result: Result<(), SessionError>) -> Result<(), SessionError> {
        if let Err(error) = &result {
            self.send(Lane::Control, Frame::Close(error.close()));
            self.end(CloseReason::Failed(error.clone()));
        }
        result
    }

    /// Returns how changes travel that are fed now.
    const fn form(&self) -> PackForm {
        match self.state {
            State::Live { version, .. } => PackForm::of_version(version),
            State::Greeting { .. } | State::Greeted { .. } | State::Ended => PackForm::Whole,
        }
    }

    const fn check_live(&self) -> Result<(), SessionError> {
        if matches!(self.state, State::Live { .. }) {
            Ok(())
        } else {
            Err(SessionError::NotOpen)
        }
    }

    fn send(&mut self, lane: Lane, frame: Frame) {
        self.outputs.push_back(RelayOutput::Send { lane, frame });
    }

    fn end(&mut self, reason: CloseReason) {
        self.state = State::Ended;
        self.outputs.push_back(RelayOutput::Closed(reason));
    }
}

impl std::fmt::Debug for RelaySession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Greeting { .. } => "greeting",
            State::Greeted { .. } => "greeted",
            State::Live { .. } => "live",
            State::Ended => "ended",
        };
        f.debug_struct("RelaySession")
            .field("device", &self.device)
            .field("state", &state)
            .field("pushes_open", &self.pushes.open_count())
            .field("scopes", &self.scopes.len())
            .finish_non_exhaustive()
    }
}
