//! The device's half of one sync session, as a state machine.
//!
//! A session lives as long as one connection. The caller's whole duty, in order:
//!
//! 1. call [`DeviceSession::start`] once, and then as many [`DeviceSession::push`] as it takes;
//! 2. call [`DeviceSession::handle`] with each frame that arrives, in any order across streams;
//! 3. after each call, call [`DeviceSession::poll_output`] until it returns `None`, carrying out
//!    each output;
//! 4. wait for the next input, but no longer than [`DeviceSession::next_deadline`].
//!
//! The session numbers pushes, keeps to the windows, puts feed frames in order and holds the relay to
//! the rules. Rules: `PROTOCOL.md`, 3 and 4. Not here: bytes (`codec`), what to send, storage.
//!
//! long because one state answers every frame of the relay, and its parts make sense together only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridbeat_base::{BlobHash, DocumentId, Lane, Monotonic, Scope};

use crate::device_blobs::DeviceBlobs;
use crate::device_output::{DeviceInput, DeviceOutput};
use crate::device_scope::{DeviceScope, Standing};
use crate::error::{check_size, wrong_size};
use crate::limits::{
    COMPARE_CHANGES_MAX, COMPARE_DOCUMENTS_MAX, FEED_WEIGHT_MAX, FEED_WINDOW_BYTES,
    GREETING_TIMEOUT, PUSH_CHANGES_MAX, PUSH_DOCUMENTS_MAX, PUSH_RESERVE_BYTES, PUSH_WEIGHT_MAX,
    PUSH_WINDOW_BYTES, PUSHES_OUT_MAX, PUSHES_RESERVE, RECONCILE_BYTES_MAX,
};
use crate::{
    Ack, Applied, Bring, CHUNK_BYTES, Close, CloseReason, Compare, CompareDocument, Compared, Feed,
    Fix, Frame, FrameKind, Get, Gone, Grant, Hello, Here, Kept, Noted, Notice, Offer, Offered,
    PackForm, Part, Positions, Possession, Prove, Push, PushDocument, Reconcile, RelayMisbehaved,
    RemovalHash, Removed, Seal, SessionError, Snapshot, Taken, VERSION_OF_BLOBS,
    VERSION_OF_BRINGING, VERSION_OF_LEAVING, VERSION_OF_POSITIONS, VERSION_OF_SNAPSHOTS, Watch,
    Welcome, Withheld,
};

enum State {
    /// Nothing was sent.
    Idle,
    /// Our greeting is out. Of frames on the control stream, only the relay's greeting may come.
    Greeting {
        deadline: Monotonic,
        hello: Hello,
    },
    /// Both may send.
    Live {
        version: u16,
    },
    Ended,
}

/// A push without an acknowledgement.
struct PushOut {
    scope: Scope,
    documents: BTreeSet<DocumentId>,
    changes: usize,
    weight: usize,
}

/// The device's half of one session.
pub struct DeviceSession {
    state: State,
    /// The version that the relay chose last; 0 if that is not known.
    expected: u16,
    /// How changes travel that are pushed now.
    form: PackForm,
    /// Pushes without an acknowledgement, by number.
    pushes: BTreeMap<u64, PushOut>,
    /// The number of the newest push.
    pushed: u64,
    scopes: BTreeMap<Scope, DeviceScope>,
    /// The statement of removal without an acknowledgement.
    removal: Option<RemovalHash>,
    blobs: DeviceBlobs,
    /// The number of the last word about where the device is.
    placed: u64,
    outputs: VecDeque<DeviceOutput>,
}

impl DeviceSession {
    /// Makes a session that has not begun.
    pub fn new() -> Self {
        Self {
            state: State::Idle,
            expected: 0,
            form: PackForm::Whole,
            pushes: BTreeMap::new(),
            pushed: 0,
            scopes: BTreeMap::new(),
            removal: None,
            blobs: DeviceBlobs::default(),
            placed: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Takes it that the relay will choose this version again, which it chose last: what goes out before its greeting is in
    /// the form of that.
    pub fn expect_version(&mut self, version: u16) {
        self.expected = version;
        self.form = PackForm::of_version(version);
    }

    /// Begins the session: greets the relay. Pushes may follow at once.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if it was begun before.
    pub fn start(&mut self, now: Monotonic, hello: Hello) -> Result<(), SessionError> {
        if !matches!(self.state, State::Idle) {
            return Err(SessionError::NotOpen);
        }
        for mark in &hello.scopes {
            let scope = DeviceScope::new(mark.cursor, Standing::Unknown);
            self.scopes.insert(mark.scope.clone(), scope);
        }
        self.send(Lane::Control, Frame::Hello(hello.clone()));
        self.state = State::Greeting {
            deadline: now.plus(GREETING_TIMEOUT),
            hello,
        };
        Ok(())
    }

    /// Returns whether a push of this lane would be taken. Urgent pushes are taken a little longer.
    pub fn can_push(&self, lane: Lane) -> bool {
        // PROTOCOL 4.3: the windows of pushes.
        let (bytes, numbers) = match lane {
            Lane::Control | Lane::Urgent => (0, 0),
            Lane::Record | Lane::Log | Lane::Preview | Lane::Original => {
                (PUSH_RESERVE_BYTES, PUSHES_RESERVE)
            }
        };
        let oldest = self.pushes.keys().next().copied();
        let oldest = oldest.unwrap_or(self.pushed + 1);
        let out: usize = self.pushes.values().map(|push| push.weight).sum();
        self.is_open()
            && out < PUSH_WINDOW_BYTES - bytes
            && self.pushed + 1 - oldest < PUSHES_OUT_MAX - numbers
    }

    /// Sends changes of one scope; returns the push's number.
    ///
    /// Each document has at least one change and is there once; a document's changes go out in causal
    /// order over all pushes.
    ///
    /// # Errors
    ///
    /// [`SessionError::Full`] if [`Self::can_push`] is false, [`SessionError::WrongSize`] if it is beyond
    /// [`PUSH_WEIGHT_MAX`], [`PUSH_DOCUMENTS_MAX`] or [`PUSH_CHANGES_MAX`] or has nothing in it,
    /// [`SessionError::NotOpen`]. None of them ends the session.
    pub fn push(
        &mut self,
        lane: Lane,
        scope: &Scope,
        documents: Vec<PushDocument>,
    ) -> Result<u64, SessionError> {
        self.push_sealed(lane, scope, documents, None)
    }

    /// Sends changes of one scope with the device's signature; see [`Self::push`]. The seal is that of
    /// [`BatchStatement::of_push`](crate::BatchStatement::of_push) over the same scope and documents.
    ///
    /// # Errors
    ///
    /// As [`Self::push`].
    pub fn push_sealed(
        &mut self,
        lane: Lane,
        scope: &Scope,
        documents: Vec<PushDocument>,
        seal: Option<Seal>,
    ) -> Result<u64, SessionError> {
        self.check_open()?;
        let changes: usize = documents
            .iter()
            .map(|document| document.changes.len())
            .sum();
        let weight: usize = documents.iter().map(PushDocument::weight).sum();
        let ids: BTreeSet<DocumentId> = documents.iter().map(|push| push.document).collect();
        let whole = documents.iter().all(|push| !push.changes.is_empty());
        if !whole || ids.len() != documents.len() {
            return Err(wrong_size(0, PUSH_CHANGES_MAX));
        }
        check_size(documents.len(), PUSH_DOCUMENTS_MAX)?;
        check_size(changes, PUSH_CHANGES_MAX)?;
        check_size(weight, PUSH_WEIGHT_MAX)?;
        if !self.can_push(lane) {
            return Err(SessionError::Full);
        }
        self.pushed += 1;
        // PROTOCOL 4.3: a push waits for the earlier ones that change the same documents, and so does
        // not wait for the others.
        let after = self.last_push_of(&ids);
        self.pushes.insert(
            self.pushed,
            PushOut {
                scope: scope.clone(),
                documents: ids,
                changes,
                weight,
            },
        );
        let push = Push {
            number: self.pushed,
            after,
            scope: scope.clone(),
            documents,
            form: self.form,
            seal,
        };
        self.send(lane, Frame::Push(push));
        Ok(self.pushed)
    }

    /// Returns the latest push without an acknowledgement that changes one of these documents; 0 if there is none.
    fn last_push_of(&self, documents: &BTreeSet<DocumentId>) -> u64 {
        let mut pushes = self.pushes.iter().rev();
        let last = pushes.find(|(_, push)| !push.documents.is_disjoint(documents));
        last.map_or(0, |(number, _)| *number)
    }

    /// Tells the relay that a scope's feed is committed up to `seq`. Says nothing during the scope's
    /// reconciliation, and nothing if it was told before.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`], or [`SessionError::OutOfPlace`] for a scope that is not fed.
    pub fn applied(&mut self, scope: &Scope, seq: u64) -> Result<(), SessionError> {
        if let Some(seq) = self.live_scope(scope)?.applied(seq) {
            let scope = scope.clone();
            self.send(Lane::Control, Frame::Applied(Applied { scope, seq }));
        }
        Ok(())
    }

    /// Tells the relay that a scope's snapshot is committed up to a frame. Says nothing if it was told before.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`], or [`SessionError::OutOfPlace`] for a scope that the relay did not name.
    pub fn taken(&mut self, scope: &Scope, number: u64) -> Result<(), SessionError> {
        if self.live_scope(scope)?.taken(number) {
            let scope = scope.clone();
            self.send(Lane::Control, Frame::Taken(Taken { scope, number }));
        }
        Ok(())
    }

    /// Sends a message of range reconciliation; the first one of a scope begins its reconciliation. Feed
    /// frames of the scope that have not come out yet never will; the feed goes on after
    /// [`DeviceOutput::Aligned`].
    ///
    /// # Errors
    ///
    /// [`SessionError::OutOfPlace`] if the scope is not granted, or the last message or comparison is not
    /// answered yet; [`SessionError::WrongSize`]; [`SessionError::NotOpen`].
    pub fn reconcile(&mut self, scope: &Scope, message: Vec<u8>) -> Result<(), SessionError> {
        check_size(message.len(), RECONCILE_BYTES_MAX)?;
        self.live_scope(scope)?.ask(scope)?;
        let scope = scope.clone();
        let frame = Reconcile {
            scope,
            seq: 0,
            message,
        };
        self.send(Lane::Control, Frame::Reconcile(frame));
        Ok(())
    }

    /// Asks the relay to compare documents. May be called several times in a row: each frame goes out
    /// when the one before is answered. The one with `last` may be without documents, the others not.
    ///
    /// # Errors
    ///
    /// [`SessionError::OutOfPlace`] outside of a reconciliation, before its answer or after the last
    /// comparison; [`SessionError::WrongSize`] if it is beyond [`COMPARE_DOCUMENTS_MAX`] or
    /// [`COMPARE_CHANGES_MAX`], or empty; [`SessionError::NotOpen`].
    pub fn compare(
        &mut self,
        scope: &Scope,
        documents: Vec<CompareDocument>,
        last: bool,
    ) -> Result<(), SessionError> {
        let changes: usize = documents
            .iter()
            .map(|document| document.changes.len())
            .sum();
        if documents.is_empty() && !last {
            return Err(wrong_size(0, COMPARE_DOCUMENTS_MAX));
        }
        if documents.len() > COMPARE_DOCUMENTS_MAX {
            return Err(wrong_size(documents.len(), COMPARE_DOCUMENTS_MAX));
        }
        if changes > COMPARE_CHANGES_MAX {
            return Err(wrong_size(changes, COMPARE_CHANGES_MAX));
        }
        let compare = Compare {
            scope: scope.clone(),
            documents,
            last,
        };
        if let Some(compare) = self.live_scope(scope)?.compare(compare)? {
            self.send(Lane::Control, Frame::Compare(compare));
        }
        Ok(())
    }

    /// Returns whether the relay's greeting said that the scope must be reconciled before it is fed,
    /// and that has not been done.
    pub fn needs_reconciliation(&self, scope: &Scope) -> bool {
        let scope = self.scopes.get(scope);
        scope.is_some_and(|scope| scope.standing == Standing::Apart)
    }

    /// Returns whether the session's version speaks of leaving; `false` before the relay's greeting.
    pub const fn speaks_of_leaving(&self) -> bool {
        matches!(self.state, State::Live { version } if version >= VERSION_OF_LEAVING)
    }

    /// Returns whether a statement of removal may go out.
    pub const fn can_remove(&self) -> bool {
        self.speaks_of_leaving() && self.removal.is_none()
    }

    /// Sends a statement of removal. [`DeviceOutput::Noted`] says when the relay has kept it.
    ///
    /// # Errors
    ///
    /// [`SessionError::Full`] if [`Self::can_remove`] is false; [`SessionError::NotOpen`].
    pub fn removed(&mut self, removed: Removed) -> Result<(), SessionError> {
        self.check_open()?;
        // PROTOCOL 4.13: one is out at a time.
        if !self.can_remove() {
            return Err(SessionError::Full);
        }
        self.removal = Some(RemovalHash::of(&removed.statement));
        self.send(Lane::Control, Frame::Removed(removed));
        Ok(())
    }

    /// Returns whether the session's version speaks of blobs; `false` before the relay's greeting.
    pub const fn speaks_of_blobs(&self) -> bool {
        matches!(self.state, State::Live { version } if version >= VERSION_OF_BLOBS)
    }

    /// Returns whether a blob may be offered.
    pub fn can_offer(&self, hash: &BlobHash) -> bool {
        self.speaks_of_blobs() && self.blobs.can_offer(hash)
    }

    /// Offers a blob that a document refers to. [`DeviceOutput::Offered`] answers.
    ///
    /// # Errors
    ///
    /// [`SessionError::Full`] if [`Self::can_offer`] is false; [`SessionError::NotOpen`].
    pub fn offer(&mut self, offer: Offer) -> Result<(), SessionError> {
        self.check_open()?;
        // PROTOCOL 4.18: each blob once at a time, and not too many.
        if !self.can_offer(&offer.hash) {
            return Err(SessionError::Full);
        }
        self.blobs.offer(offer);
        self.send(Lane::Control, Frame::Offer(offer));
        Ok(())
    }

    /// Returns whether a blob may be brought: in the session's version; before the relay's greeting, in the one that this
    /// relay chose last.
    pub fn can_bring(&self, hash: &BlobHash) -> bool {
        let is_of_version = match self.state {
            State::Greeting { .. } => self.expected >= VERSION_OF_BRINGING,
            State::Live { version } => version >= VERSION_OF_BRINGING,
            State::Idle | State::Ended => false,
        };
        is_of_version && self.blobs.can_offer(hash)
    }

    /// Brings a whole blob of one chunk that a document refers to, by changes that are acknowledged or out.
    /// [`DeviceOutput::Offered`] says what became of it: complete or refused.
    ///
    /// # Errors
    ///
    /// [`SessionError::Full`] if [`Self::can_bring`] is false, [`SessionError::WrongSize`] if it is empty or has more than
    /// [`CHUNK_BYTES`].
    pub fn bring(
        &mut self,
        lane: Lane,
        document: DocumentId,
        hash: BlobHash,
        bytes: Vec<u8>,
    ) -> Result<(), SessionError> {
        check_size(bytes.len(), CHUNK_BYTES)?;
        if !self.can_bring(&hash) {
            return Err(SessionError::Full);
        }
        let size_bytes = bytes.len() as u64;
        self.blobs.bring(Offer {
            document,
            hash,
            size_bytes,
        });
        // PROTOCOL 4.27: it waits for what makes the document refer to it.
        let ids = BTreeSet::from([document]);
        let bring = Bring {
            document,
            hash,
            after: self.last_push_of(&ids),
            bytes,
        };
        self.send(lane, Frame::Bring(bring));
        Ok(())
    }

    /// Returns whether the relay is to say something about a blob: to answer, to keep a chunk, to give some.
    pub fn awaits_blobs(&self) -> bool {
        self.blobs.is_awaiting()
    }

    /// Returns how many parts were sent that the relay has not kept.
    pub fn parts_out(&self) -> usize {
        self.blobs.parts_out()
    }

    /// Returns the first chunk of a blob that the relay wants and that is not out.
    pub fn next_chunk(&self, hash: &BlobHash) -> Option<u32> {
        self.blobs.next_chunk(hash)
    }

    /// Sends the slice of a chunk that the relay wants ([`BlobTree::slice`](crate::BlobTree::slice)).
    ///
    /// # Errors
    ///
    /// [`SessionError::Full`] if [`PARTS_OUT_MAX`](crate::limits::PARTS_OUT_MAX) are out, or the relay does not want
    /// it; [`SessionError::NotOpen`].
    pub fn part(
        &mut self,
        lane: Lane,
        hash: BlobHash,
        chunk: u32,
        slice: Vec<u8>,
    ) -> Result<(), SessionError> {
        self.check_open()?;
        let size_bytes = self.blobs.send(&hash, chunk).ok_or(SessionError::Full)?;
        let part = Part {
            hash,
            size_bytes,
            chunk,
            slice,
        };
        self.send(lane, Frame::Part(part));
        Ok(())
    }

    /// Proves that the device holds a blob. [`DeviceOutput::Offered`] answers.
    ///
    /// # Errors
    ///
    /// [`SessionError::Full`] if no proof is asked for; [`SessionError::NotOpen`].
    pub fn prove(&mut self, hash: BlobHash, proof: Possession) -> Result<(), SessionError> {
        self.check_open()?;
        if !self.blobs.prove(&hash) {
            return Err(SessionError::Full);
        }
        self.send(Lane::Control, Frame::Prove(Prove { hash, proof }));
        Ok(())
    }

    /// Returns how many chunks of a blob may be asked for; 0 while some are.
    pub fn get_room(&self, hash: &BlobHash) -> u32 {
        if self.speaks_of_blobs() {
            self.blobs.get_room(hash)
        } else {
            0
        }
    }

    /// Asks for chunks of a blob that a document refers to. [`DeviceOutput::Part`] or
    /// [`DeviceOutput::Withheld`] answers.
    ///
    /// # Errors
    ///
    /// [`SessionError::Full`] if [`Self::get_room`] is less; [`SessionError::NotOpen`].
    pub fn get(&mut self, get: Get) -> Result<(), SessionError> {
        self.check_open()?;
        // PROTOCOL 4.21: each blob once at a time, and within the window.
        if get.count == 0 || get.count > self.get_room(&get.hash) {
            return Err(SessionError::Full);
        }
        self.blobs.get(get);
        self.send(Lane::Control, Frame::Get(get));
        Ok(())
    }

    /// Returns whether the session's version speaks of positions; `false` before the relay's greeting.
    pub const fn speaks_of_positions(&self) -> bool {
        matches!(self.state, State::Live { version } if version >= VERSION_OF_POSITIONS)
    }

    /// Tells where the device is, in a datagram: it may be lost. `age_ms` is how long ago the fix was made.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOpen`] if [`Self::speaks_of_positions`] is false.
    pub fn here(&mut self, age_ms: u64, fix: Fix) -> Result<(), SessionError> {
        let number = self.place()?;
        let here = Here {
            number,
            age_ms,
            fix,
        };
        self.send(Lane::Control, Frame::Here(here));
        Ok(())
    }

    /// Tells nobody any more where the device is.
    ///
    /// # Errors
    ///
    /// As [`Self::here`].
    pub fn gone(&mut self) -> Result<(), SessionError> {
        let number = self.place()?;
        self.send(Lane::Control, Frame::Gone(Gone { number }));
        Ok(())
    }

    /// Asks to be told where others are, or to be told no more. [`DeviceOutput::Positions`] tells.
    ///
    /// # Errors
    ///
    /// As [`Self::here`].
    pub fn watch(&mut self, is_wanted: bool) -> Result<(), SessionError> {
        if !self.speaks_of_positions() {
            return Err(SessionError::NotOpen);
        }
        self.send(Lane::Control, Frame::Watch(Watch { is_wanted }));
        Ok(())
    }

    /// Numbers the next word about where the device is.
    fn place(&mut self) -> Result<u64, SessionError> {
        if !self.speaks_of_positions() {
            return Err(SessionError::NotOpen);
        }
        self.placed += 1;
        Ok(self.placed)
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
    /// [`DeviceOutput::Closed`]. Input before the start or after the end is ignored.
    pub fn handle(&mut self, now: Monotonic, input: DeviceInput) -> Result<(), SessionError> {
        let result = match input {
            DeviceInput::Frame(frame) => self.handle_frame(frame),
            DeviceInput::Deadline => self.handle_deadline(now),
        };
        if let Err(error) = &result {
            self.send(Lane::Control, Frame::Close(error.close()));
            self.end(CloseReason::Failed(error.clone()));
        }
        result
    }

    /// Returns the next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<DeviceOutput> {
        self.outputs.pop_front()
    }

    /// Returns when to call [`Self::handle`] with [`DeviceInput::Deadline`]: the end of the wait for the
    /// relay's greeting.
    pub const fn next_deadline(&self) -> Option<Monotonic> {
        match &self.state {
            State::Greeting { deadline, .. } => Some(*deadline),
            State::Idle | State::Live { .. } | State::Ended => None,
        }
    }

    fn handle_deadline(&self, now: Monotonic) -> Result<(), SessionError> {
        match &self.state {
            State::Greeting { deadline, .. } if *deadline <= now => {
                Err(SessionError::GreetingTimedOut)
            }
            State::Idle | State::Greeting { .. } | State::Live { .. } | State::Ended => Ok(()),
        }
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<(), SessionError> {
        let kind = frame.kind();
        match (&self.state, frame) {
            (State::Idle | State::Ended, _) => Ok(()),
            (
                _,
                Frame::Hello(_)
                | Frame::Push(_)
                | Frame::Applied(_)
                | Frame::Compare(_)
                | Frame::Removed(_)
                | Frame::Taken(_)
                | Frame::Offer(_)
                | Frame::Prove(_)
                | Frame::Get(_)
                | Frame::Here(_)
                | Frame::Gone(_)
                | Frame::Watch(_)
                | Frame::Bring(_),
            ) => Err(RelayMisbehaved::NotForDevice(kind).into()),
            (_, Frame::Close(close)) => {
                self.end(CloseReason::Peer(close));
                Ok(())
            }
            (_, Frame::Feed(feed)) => self.handle_feed(feed),
            (_, Frame::Snapshot(frame)) => self.handle_snapshot(frame),
            (State::Greeting { .. }, Frame::Welcome(welcome)) => self.handle_welcome(welcome),
            (State::Live { .. }, Frame::Welcome(_)) => Err(RelayMisbehaved::WelcomedTwice.into()),
            (
                State::Greeting { .. },
                Frame::Ack(_)
                | Frame::Reconcile(_)
                | Frame::Compared(_)
                | Frame::Notice(_)
                | Frame::Noted(_)
                | Frame::Offered(_)
                | Frame::Kept(_)
                | Frame::Part(_)
                | Frame::Withheld(_)
                | Frame::Positions(_),
            ) => {
                // PROTOCOL 3.3: the relay's greeting comes first on the control stream.
                Err(RelayMisbehaved::NotWelcomed(kind).into())
            }
            (State::Live { .. }, Frame::Ack(ack)) => self.handle_ack(ack),
            (State::Live { .. }, Frame::Reconcile(reconcile)) => self.handle_reconcile(reconcile),
            (State::Live { .. }, Frame::Compared(compared)) => self.handle_compared(compared),
            // PROTOCOL 9.1: a frame is sent only in sessions of its version.
            (State::Live { version }, Frame::Notice(_) | Frame::Noted(_))
                if *version < VERSION_OF_LEAVING =>
            {
                Err(RelayMisbehaved::LaterVersion(kind).into())
            }
            (State::Live { .. }, Frame::Notice(notice)) => self.handle_notice(notice),
            (State::Live { .. }, Frame::Noted(noted)) => self.handle_noted(noted),
            (
                State::Live { .. },
                Frame::Offered(_) | Frame::Kept(_) | Frame::Part(_) | Frame::Withheld(_),
            ) if !self.speaks_of_blobs() => Err(RelayMisbehaved::LaterVersion(kind).into()),
            (State::Live { .. }, Frame::Offered(offered)) => self.handle_offered(offered),
            (State::Live { .. }, Frame::Kept(kept)) => self.handle_kept(kept),
            (State::Live { .. }, Frame::Part(part)) => self.handle_part(part),
            (State::Live { .. }, Frame::Withheld(withheld)) => self.handle_withheld(withheld),
            // PROTOCOL 4.25: a datagram may overtake the greeting, and is nothing then.
            (State::Greeting { .. }, Frame::Moved(_)) => Ok(()),
            (State::Live { .. }, Frame::Positions(seen) | Frame::Moved(seen)) => {
                self.handle_positions(seen, kind)
            }
        }
    }

    fn handle_positions(&mut self, seen: Positions, kind: FrameKind) -> Result<(), SessionError> {
        // PROTOCOL 9.1: a frame is sent only in sessions of its version.
        if !self.speaks_of_positions() {
            return Err(RelayMisbehaved::LaterVersion(kind).into());
        }
        self.outputs.push_back(DeviceOutput::Positions(seen));
        Ok(())
    }

    fn handle_noted(&mut self, noted: Noted) -> Result<(), SessionError> {
        // PROTOCOL 4.14: an acknowledgement names the removal that is out.
        self.removal
            .take_if(|removal| *removal == noted.removal)
            .ok_or(RelayMisbehaved::NotedUnsent)?;
        self.outputs.push_back(DeviceOutput::Noted(noted.removal));
        Ok(())
    }

    fn handle_offered(&mut self, offered: Offered) -> Result<(), SessionError> {
        let offer = self.blobs.offered(&offered)?;
        let answer = offered.answer;
        self.outputs
            .push_back(DeviceOutput::Offered { offer, answer });
        Ok(())
    }

    fn handle_kept(&mut self, kept: Kept) -> Result<(), SessionError> {
        let offer = self.blobs.kept(&kept)?;
        self.outputs.push_back(DeviceOutput::Kept {
            offer,
            chunk: kept.chunk,
            is_complete: kept.is_complete,
        });
        Ok(())
    }

    fn handle_part(&mut self, part: Part) -> Result<(), SessionError> {
        let came = self.blobs.part(&part)?;
        self.outputs.push_back(DeviceOutput::Part {
            get: came.get,
            size_bytes: part.size_bytes,
            chunk: part.chunk,
            bytes: came.bytes,
            is_last: came.is_last,
        });
        Ok(())
    }

    fn handle_withheld(&mut self, withheld: Withheld) -> Result<(), SessionError> {
        let get = self.blobs.withheld(&withheld.hash)?;
        let reason = withheld.reason;
        self.outputs
            .push_back(DeviceOutput::Withheld { get, reason });
        Ok(())
    }

    fn handle_welcome(&mut self, welcome: Welcome) -> Result<(), SessionError> {
        let version = welcome.version;
        let before = std::mem::replace(&mut self.state, State::Live { version });
        let State::Greeting { hello, .. } = before else {
            unreachable!("called in that state alone");
        };
        // PROTOCOL 3.2: the version is one of those offered.
        if !hello.versions.contain(welcome.version) {
            return Err(RelayMisbehaved::VersionNotOffered(welcome.version).into());
        }
        self.form = PackForm::of_version(version);
        // PROTOCOL 3.4: our scopes come first, in our order; none is there twice.
        for (place, mark) in hello.scopes.iter().enumerate() {
            if welcome.scopes.get(place).map(|scope| &scope.scope) != Some(&mark.scope) {
                return Err(RelayMisbehaved::WelcomeScopes(mark.scope.clone()).into());
            }
        }
        let mut seen = BTreeSet::new();
        for (place, greeting) in welcome.scopes.iter().enumerate() {
            if !seen.insert(&greeting.scope) {
                return Err(RelayMisbehaved::WelcomeScopes(greeting.scope.clone()).into());
            }
            let cursor = hello.scopes.get(place).map_or(0, |mark| mark.cursor);
            let same_life = hello.incarnation == Some(welcome.incarnation) || cursor == 0;
            let scope = self.scopes.entry(greeting.scope.clone());
            let scope = scope.or_insert_with(|| DeviceScope::new(0, Standing::Unknown));
            // PROTOCOL 4.15: a snapshot is of a granted scope that nothing was applied of.
            let may_come = greeting.grant != Grant::None && cursor == 0;
            if greeting.snapshot.is_some() && !(may_come && version >= VERSION_OF_SNAPSHOTS) {
                return Err(RelayMisbehaved::WelcomeSnapshot(greeting.scope.clone()).into());
            }
            // PROTOCOL 3.5: a scope is fed at once only if both sides agree on what is before.
            scope.standing = match greeting.grant {
                Grant::None => Standing::NotGranted,
                Grant::Read | Grant::Write if let Some(as_of) = greeting.snapshot => {
                    Standing::Snapshot { as_of }
                }
                Grant::Read | Grant::Write if same_life && greeting.digest_agrees => {
                    Standing::Aligned
                }
                Grant::Read | Grant::Write => Standing::Apart,
            };
        }
        self.outputs.push_back(DeviceOutput::Welcomed(welcome));
        self.release_early()
    }

    fn handle_notice(&mut self, notice: Notice) -> Result<(), SessionError> {
        let mut scopes = self.scopes.iter();
        let is_granted = scopes.any(|(name, scope)| {
            scope.standing != Standing::NotGranted
                && notice.scope.as_ref().is_none_or(|scope| scope == name)
        });
        // PROTOCOL 4.12: what is left is not granted.
        if is_granted {
            return Err(RelayMisbehaved::NoticeGranted.into());
        }
        self.outputs.push_back(DeviceOutput::Noticed(notice));
        Ok(())
    }

    /// Deals with the feed and snapshot frames that overtook the relay's greeting.
    fn release_early(&mut self) -> Result<(), SessionError> {
        let scopes: Vec<Scope> = self.scopes.keys().cloned().collect();
        for name in scopes {
            let scope = self.scopes.get_mut(&name).expect("named just before");
            let is_snapshot = matches!(scope.standing, Standing::Snapshot { .. });
            if scope.holds_snapshot() && !is_snapshot {
                return Err(RelayMisbehaved::SnapshotNotDue(name).into());
            }
            match scope.standing {
                Standing::Unknown | Standing::NotGranted if scope.holds_feed() => {
                    return Err(RelayMisbehaved::FeedNotGranted(name).into());
                }
                Standing::Apart | Standing::Snapshot { .. } if scope.holds_feed() => {
                    return Err(RelayMisbehaved::FeedNotReconciled(name).into());
                }
                Standing::Snapshot { .. } => self.release_snapshot(&name)?,
                Standing::Aligned => self.release(&name)?,
                Standing::Unknown | Standing::NotGranted | Standing::Apart => {}
            }
        }
        // Scopes that only such a frame named are not granted.
        self.scopes
            .retain(|_, scope| scope.standing != Standing::Unknown);
        Ok(())
    }

    fn handle_ack(&mut self, ack: Ack) -> Result<(), SessionError> {
        // PROTOCOL 4.4: an acknowledgement names one push that is out, in full.
        let Some(push) = self.pushes.remove(&ack.number) else {
            return Err(RelayMisbehaved::AcknowledgedUnsent(ack.number).into());
        };
        if ack.verdicts.len() != push.changes || ack.attached.len() != push.documents.len() {
            return Err(RelayMisbehaved::AckCounts(ack.number).into());
        }
        let entries = ack.entry_count();
        let bad_first = match ack.first_seq {
            Some(first) => entries == 0 || first == 0 || first.checked_add(entries).is_none(),
            None => entries != 0,
        };
        if bad_first {
            return Err(RelayMisbehaved::AckEntries(ack.number).into());
        }
        if let (Some(first), Some(scope)) = (ack.first_seq, self.scopes.get_mut(&push.scope)) {
            scope.note_own(first, entries);
        }
        self.outputs.push_back(DeviceOutput::Acknowledged {
            number: ack.number,
            scope: push.scope.clone(),
            received: ack.received,
            first_seq: ack.first_seq,
            attached: ack.attached,
            verdicts: ack.verdicts,
        });
        self.release(&push.scope)
    }

    fn handle_feed(&mut self, feed: Feed) -> Result<(), SessionError> {
        let name = feed.scope.clone();
        self.check_window(feed.weight())?;
        let not_granted = RelayMisbehaved::FeedNotGranted(name.clone());
        self.fed_scope(&name).ok_or(not_granted)?.accept(feed)?;
        self.release(&name)
    }

    fn handle_snapshot(&mut self, frame: Snapshot) -> Result<(), SessionError> {
        let name = frame.scope.clone();
        self.check_window(frame.weight())?;
        let not_due = RelayMisbehaved::SnapshotNotDue(name.clone());
        self.fed_scope(&name)
            .ok_or(not_due)?
            .accept_snapshot(frame)?;
        self.release_snapshot(&name)
    }

    /// Finds the scope of a frame that may have overtaken the relay's greeting.
    fn fed_scope(&mut self, name: &Scope) -> Option<&mut DeviceScope> {
        // PROTOCOL 3.5: a scope the device did not name is fed from its start.
        if matches!(self.state, State::Greeting { .. }) && !self.scopes.contains_key(name) {
            let scope = DeviceScope::new(0, Standing::Unknown);
            self.scopes.insert(name.clone(), scope);
        }
        self.scopes.get_mut(name)
    }

    /// Checks that a frame of so much weight was due.
    fn check_window(&self, weight: usize) -> Result<(), RelayMisbehaved> {
        let held: usize = self.scopes.values().map(DeviceScope::weight).sum();
        let weight = held.saturating_add(weight);
        // PROTOCOL 4.7: a frame is sent while less than the window is out.
        if weight > FEED_WINDOW_BYTES + FEED_WEIGHT_MAX {
            return Err(RelayMisbehaved::FeedOverWindow { weight });
        }
        Ok(())
    }

    /// Gives out every snapshot frame of a scope whose turn it is.
    fn release_snapshot(&mut self, name: &Scope) -> Result<(), SessionError> {
        if let Some(scope) = self.scopes.get_mut(name) {
            while let Some(frame) = scope.release_snapshot() {
                self.outputs.push_back(DeviceOutput::Snapshot(frame));
            }
        }
        Ok(())
    }

    /// Gives out every feed frame of a scope whose turn it is.
    fn release(&mut self, name: &Scope) -> Result<(), SessionError> {
        let pushes_out = self.pushes.values().any(|push| push.scope == *name);
        if let Some(scope) = self.scopes.get_mut(name) {
            while let Some(feed) = scope.release(pushes_out)? {
                // PROTOCOL 9.1: what later versions brought is sent only in their sessions.
                if matches!(self.state, State::Live { version } if !feed.form.is_of(version)) {
                    return Err(RelayMisbehaved::LaterVersion(FrameKind::Feed).into());
                }
                self.outputs.push_back(DeviceOutput::Feed(feed));
            }
        }
        Ok(())
    }

    fn handle_reconcile(&mut self, reconcile: Reconcile) -> Result<(), SessionError> {
        let Some(scope) = self.scopes.get_mut(&reconcile.scope) else {
            return Err(RelayMisbehaved::ReconcileUnasked(reconcile.scope).into());
        };
        scope.answered(&reconcile)?;
        self.outputs.push_back(DeviceOutput::Reconciled {
            scope: reconcile.scope,
            seq: reconcile.seq,
            message: reconcile.message,
        });
        Ok(())
    }

    fn handle_compared(&mut self, compared: Compared) -> Result<(), SessionError> {
        let name = compared.scope.clone();
        // PROTOCOL 9.1: what later versions brought is sent only in their sessions.
        if matches!(self.state, State::Live { version } if !compared.form.is_of(version)) {
            return Err(RelayMisbehaved::LaterVersion(FrameKind::Compared).into());
        }
        let Some(scope) = self.scopes.get_mut(&name) else {
            return Err(RelayMisbehaved::ComparedUnasked(name).into());
        };
        let after = scope.compared(&compared)?;
        self.outputs.push_back(DeviceOutput::Compared(compared));
        if let Some(compare) = after.next {
            self.send(Lane::Control, Frame::Compare(compare));
        }
        if let Some(cursor) = after.aligned {
            let scope = name.clone();
            self.outputs
                .push_back(DeviceOutput::Aligned { scope, cursor });
            self.release(&name)?;
        }
        Ok(())
    }

    const fn is_open(&self) -> bool {
        matches!(self.state, State::Greeting { .. } | State::Live { .. })
    }

    const fn check_open(&self) -> Result<(), SessionError> {
        match self.is_open() {
            true => Ok(()),
            false => Err(SessionError::NotOpen),
        }
    }

    fn live_scope(&mut self, scope: &Scope) -> Result<&mut DeviceScope, SessionError> {
        if !matches!(self.state, State::Live { .. }) {
            return Err(SessionError::NotOpen);
        }
        let found = self.scopes.get_mut(scope);
        found.ok_or_else(|| SessionError::OutOfPlace(scope.clone()))
    }

    fn send(&mut self, lane: Lane, frame: Frame) {
        self.outputs.push_back(DeviceOutput::Send { lane, frame });
    }

    fn end(&mut self, reason: CloseReason) {
        self.state = State::Ended;
        self.outputs.push_back(DeviceOutput::Closed(reason));
    }
}

impl Default for DeviceSession {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for DeviceSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Idle => "idle",
            State::Greeting { .. } => "greeting",
            State::Live { .. } => "live",
            State::Ended => "ended",
        };
        f.debug_struct("DeviceSession")
            .field("state", &state)
            .field("pushes_out", &self.pushes.len())
            .field("scopes", &self.scopes.len())
            .finish_non_exhaustive()
    }
}
