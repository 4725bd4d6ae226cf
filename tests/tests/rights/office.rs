//! A relay over a real file, and connections to it of which a test writes every frame.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gridbeat_base::{
    DeviceId, DocumentId, Hlc, Install, Monotonic, Now, Random, Scope, Verb, Verbs, WallTime,
};
use gridbeat_document::{
    Actor, Author, Change, Document, Edit, IntentError, Kind, Kinds, Projection, Provenance,
    Refusal, Skeleton, Stamp, View,
};
use gridbeat_domain::kinds;
use gridbeat_relay_core::{Config, Output, Relay, SessionId};
use gridbeat_relay_store::{Granted, Registry as _, SqliteStore, Store as _, StoreOptions};
use gridbeat_sync_protocol::{
    CloseReason, Frame, Hello, PackForm, Push, PushChange, PushDocument, ScopeMark, Verdict,
    Versions, decode, encode,
};
use tempfile::TempDir;

/// When every test begins.
const START: WallTime = WallTime(1_790_000_000_000);

/// A kind that only administrators change: the rules of an area.
#[derive(Debug)]
pub(super) struct Rulebook;

impl Kind for Rulebook {
    fn name(&self) -> &'static str {
        "rulebook"
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn genesis(&self, _: u16, skeleton: &mut Skeleton<'_>) {
        skeleton.map(&["rules"]);
    }

    fn apply(
        &self,
        intent: &[u8],
        _: &Stamp,
        _: &View,
        edit: &mut Edit<'_>,
    ) -> Result<(), IntentError> {
        edit.put(&["rules", "1"], std::str::from_utf8(intent).unwrap());
        Ok(())
    }

    fn project(&self, _: &View) -> Projection {
        Projection::default()
    }

    fn needs(&self, _: &View, _: &View) -> Verbs {
        Verbs::of(&[Verb::Administer])
    }

    fn admit(&self, _: &View, _: &View, _: &Author) -> Result<(), Refusal> {
        Ok(())
    }
}

pub(super) fn every_kind() -> Kinds {
    let rulebook: Arc<dyn Kind> = Arc::new(Rulebook);
    Kinds::new(kinds().iter().cloned().chain([rulebook]))
}

pub(super) fn device(number: u64) -> DeviceId {
    let mut bytes = [0xd0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

pub(super) fn scope(name: &str) -> Scope {
    Scope::new(name).unwrap()
}

/// A record in the hands of whoever changes it.
pub(super) struct Draft {
    pub(super) id: DocumentId,
    pub(super) kind: Arc<dyn Kind>,
    document: Document,
    pub(super) changes: Vec<Change>,
}

impl Draft {
    pub(super) fn new(number: u64, kind: &str) -> Self {
        let mut bytes = [0xdc; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        let kind = every_kind().find(kind).unwrap().clone();
        Self {
            id: DocumentId::from_bytes(bytes),
            document: Document::genesis(&kind, kind.schema_version()),
            kind,
            changes: Vec::new(),
        }
    }

    /// Makes a copy in which somebody else goes on.
    pub(super) fn copy(&self) -> Self {
        let changes = self.changes.iter().map(|change| change.bytes.as_slice());
        let version = self.kind.schema_version();
        Self {
            id: self.id,
            document: Document::rebuild(&self.kind, version, changes.collect::<Vec<_>>()).unwrap(),
            kind: Arc::clone(&self.kind),
            changes: self.changes.clone(),
        }
    }

    /// Changes it as a device; `number` tells the change from any other.
    pub(super) fn edit(&mut self, by: DeviceId, number: u64, intent: &[u8]) -> Change {
        let mut fact = [0xfa; 16];
        fact[8..].copy_from_slice(&number.to_be_bytes());
        let wall = WallTime(START.millis() - 100_000 + i64::try_from(number).unwrap());
        let stamp = Stamp {
            hlc: Hlc::at(wall),
            wall,
            relay_offset_ms: None,
            device: by,
            fact,
        };
        let mut actor = *by.bytes();
        actor[..8].copy_from_slice(&number.to_be_bytes());
        let unknown = |_: &_| Provenance::default();
        let change = self
            .document
            .edit(Actor::from_bytes(actor), intent, &stamp, &unknown)
            .unwrap();
        self.changes.push(change.clone());
        change
    }
}

/// One connection, and what came over it.
pub(super) struct Line {
    device: DeviceId,
    pushes: u64,
    /// Every frame that came, as bytes.
    pub(super) came: Vec<Vec<u8>>,
    /// The code it was closed with.
    pub(super) closed: Option<String>,
}

impl Line {
    /// Returns every frame that came, read.
    pub(super) fn frames(&self) -> impl Iterator<Item = Frame> {
        self.came.iter().map(|bytes| decode(bytes).unwrap())
    }
}

/// The relay, its file, and its connections.
pub(super) struct Office {
    pub(super) relay: Relay,
    pub(super) store: SqliteStore,
    pub(super) now: Now,
    pub(super) lines: BTreeMap<SessionId, Line>,
    sessions: u64,
    _folder: TempDir,
}

impl Office {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("relay.db");
        let mut random = Random::from_number(1);
        let store = SqliteStore::open(&path, StoreOptions::default(), &mut random).unwrap();
        Self {
            relay: Relay::new(Config::default(), every_kind(), store.incarnation()),
            store,
            now: Now {
                wall: START,
                monotonic: Monotonic(Duration::from_secs(1)),
            },
            lines: BTreeMap::new(),
            sessions: 0,
            _folder: folder,
        }
    }

    pub(super) fn enrol(&mut self, device: DeviceId, grants: &[(&Scope, Verbs)]) {
        let grants = grants.iter().map(|(scope, verbs)| {
            let granted: Granted = (*verbs).into();
            ((*scope).clone(), granted)
        });
        let now = self.now.wall;
        let added = self.store.add_device(device, "车", &grants.collect(), now);
        added.unwrap();
    }

    /// Connects a device that holds nothing, greets, and waits for what comes.
    pub(super) fn connect(&mut self, device: DeviceId) -> SessionId {
        self.connect_at(device, Vec::new())
    }

    /// Connects a device that stands at these marks, greets, and waits for what comes.
    pub(super) fn connect_at(&mut self, device: DeviceId, marks: Vec<ScopeMark>) -> SessionId {
        let session = self.greet(device, marks);
        self.work();
        session
    }

    /// Connects a device and greets; does nothing that follows.
    pub(super) fn greet(&mut self, device: DeviceId, marks: Vec<ScopeMark>) -> SessionId {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let line = Line {
            device,
            pushes: 0,
            came: Vec::new(),
            closed: None,
        };
        self.lines.insert(session, line);
        self.relay.connected(self.now, session, device, None);
        let hello = Hello {
            versions: Versions::SPOKEN,
            device,
            install: Install::new([1; 16]),
            incarnation: Some(self.store.incarnation()),
            clock: Hlc::at(self.now.wall),
            scopes: marks,
        };
        self.hand_in(session, Frame::Hello(hello));
        session
    }

    /// Hands a frame in, and does nothing that follows from it.
    pub(super) fn hand_in(&mut self, session: SessionId, frame: Frame) {
        let frame = decode(&encode(&frame)).unwrap();
        self.relay.handle_frame(self.now, session, frame);
    }

    /// Hands in changes of one document, and does nothing that follows.
    pub(super) fn offer(
        &mut self,
        session: SessionId,
        scope: &Scope,
        (id, kind): (DocumentId, &Arc<dyn Kind>),
        changes: &[(&Change, Option<DeviceId>)],
    ) -> u64 {
        let line = self.lines.get_mut(&session).unwrap();
        line.pushes += 1;
        let number = line.pushes;
        let changes = changes.iter().map(|(change, author)| PushChange {
            bytes: change.bytes.clone(),
            recovered_from: *author,
        });
        let document = PushDocument {
            document: id,
            kind: kind.name().to_owned(),
            schema_version: kind.schema_version(),
            changes: changes.collect(),
        };
        let push = Push {
            form: PackForm::Whole,
            number,
            after: number - 1,
            scope: scope.clone(),
            documents: vec![document],
            seal: None,
        };
        self.hand_in(session, Frame::Push(push));
        number
    }

    /// Pushes one change of a document; returns what was said of it: a word, or the code of a refusal. `None` if
    /// there was no answer.
    pub(super) fn push(
        &mut self,
        session: SessionId,
        scope: &Scope,
        draft: &Draft,
        change: &Change,
    ) -> Option<String> {
        let number = self.offer(session, scope, (draft.id, &draft.kind), &[(change, None)]);
        self.work();
        self.answer(session, number)
    }

    pub(super) fn answer(&self, session: SessionId, number: u64) -> Option<String> {
        let acks = self.lines[&session].frames();
        let mut acks = acks.filter_map(|frame| {
            let Frame::Ack(ack) = frame else {
                return None;
            };
            (ack.number == number).then_some(ack)
        });
        Some(match &acks.next()?.verdicts[0] {
            Verdict::Accepted => "accepted".to_owned(),
            Verdict::Known => "known".to_owned(),
            Verdict::Incomplete => "incomplete".to_owned(),
            Verdict::Refused(reason) => {
                assert!(!reason.en.is_empty() && !reason.zh.is_empty(), "{reason:?}");
                reason.code.clone()
            }
        })
    }

    pub(super) fn place(&mut self, document: DocumentId, scope: &Scope, attach: bool) {
        self.relay.place(self.now, document, scope.clone(), attach);
        self.work();
    }

    /// Lets time pass, and the relay do what is due.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic.plus(time);
        while let Some(due) = self.relay.next_deadline().filter(|due| *due <= end) {
            let step = due.since(self.now.monotonic);
            self.now.monotonic = due;
            self.now.wall = self.now.wall.plus(step);
            self.relay.handle_deadline(self.now);
            self.work();
        }
        self.now.wall = self.now.wall.plus(end.since(self.now.monotonic));
        self.now.monotonic = end;
    }

    /// Does whatever the relay wants done.
    pub(super) fn work(&mut self) {
        while let Some(output) = self.relay.poll_output() {
            match output {
                Output::Send { session, frame, .. } => {
                    let line = self.lines.get_mut(&session).unwrap();
                    assert_eq!(line.closed, None, "nothing is sent to a closed session");
                    line.came.push(encode(&frame));
                }
                Output::Run { task, work } => {
                    let answer = self.store.run(&work);
                    self.relay.handle_answer(self.now, task, answer);
                }
                Output::Close { session, reason } => {
                    let code = match reason {
                        CloseReason::Ours(close) | CloseReason::Peer(close) => close.reason.code,
                        CloseReason::Failed(error) => format!("{error:?}"),
                    };
                    self.lines.get_mut(&session).unwrap().closed = Some(code);
                }
                Output::Committed { .. }
                | Output::Placed { .. }
                | Output::CloneSuspected { .. }
                | Output::Sighted(_)
                | Output::StoreFailed { .. } => {}
            }
        }
    }

    pub(super) fn device_of(&self, session: SessionId) -> DeviceId {
        self.lines[&session].device
    }
}
