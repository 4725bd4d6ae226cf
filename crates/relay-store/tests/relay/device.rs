//! A device as the relay sees one: pushes what it is told, applies what it is fed, and holds the
//! relay to its digests. It follows the rules of the protocol, not any program of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridbeat_base::{
    ChangeHash, DeviceId, Digest, DocumentId, Hlc, Incarnation, Install, Scope, WallTime,
};
use gridbeat_document::{
    Actor, Author, Change, Document, Incoming, Kind, Provenance, Side, Stamp,
    Verdict as GateVerdict, advance_heads, gate, genesis_hash,
};
use gridbeat_relay_core::SessionId;
use gridbeat_sync_protocol::{
    Ack, Applied, Close, Compare, CompareDocument, Compared, Entry, Feed, FeedChange, Frame, Hello,
    Item, Noted, Notice, PackForm, Push, PushChange, PushDocument, Reconcile, Reconciler,
    ScopeMark, Verdict, Versions, Welcome,
};

use crate::note::{kinds, note};
use crate::world::World;

/// What a device holds of a scope, from its feed alone.
#[derive(Clone, Default)]
pub(crate) struct Mirror {
    pub(crate) cursor: u64,
    pub(crate) heads: BTreeMap<DocumentId, Vec<ChangeHash>>,
    accepted: BTreeSet<(DocumentId, ChangeHash)>,
}

impl Mirror {
    pub(crate) fn digest(&self) -> Digest {
        let terms = self
            .heads
            .iter()
            .map(|(id, heads)| Digest::of_document(*id, heads));
        terms.fold(Digest::EMPTY, Digest::plus)
    }

    /// Forgets a document, as a bug or a damaged file would.
    pub(crate) fn lose(&mut self, id: DocumentId) {
        self.heads.remove(&id);
        self.accepted.retain(|(it, _)| *it != id);
    }

    fn attach(&mut self, id: DocumentId) {
        self.heads
            .entry(id)
            .or_insert_with(|| vec![genesis_hash(&note(), 1)]);
    }

    fn change(&mut self, id: DocumentId, change: &Change) {
        if self.accepted.insert((id, change.hash)) {
            advance_heads(self.heads.get_mut(&id).unwrap(), change);
        }
    }
}

enum OwnEntry {
    Attach(DocumentId),
    Change(DocumentId, Change),
}

#[derive(Clone)]
struct Held {
    change: Change,
    author: DeviceId,
}

/// One device.
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) install: Install,
    pub(crate) session: SessionId,
    pub(crate) incarnation: Option<Incarnation>,
    /// The newest version it speaks; 1 unless a test says otherwise.
    pub(crate) newest: u16,
    pub(crate) scopes: BTreeMap<Scope, Mirror>,
    documents: BTreeMap<DocumentId, (Document, Vec<Held>)>,
    own: BTreeMap<(Scope, u64), OwnEntry>,
    /// What it saved and nobody has judged yet, in order; filled by [`Self::save`].
    pub(crate) outbox: Vec<(Scope, DocumentId, Change)>,
    /// Every change that was called durable to it.
    pub(crate) durable: Vec<(DocumentId, ChangeHash)>,
    out: BTreeMap<u64, Push>,
    pushes: u64,
    edits: u64,
    actor: Actor,
    pub(crate) welcome: Option<Welcome>,
    pub(crate) acks: Vec<Ack>,
    pub(crate) feeds: Vec<Feed>,
    pub(crate) compared: Vec<Compared>,
    pub(crate) reconciles: Vec<Reconcile>,
    pub(crate) close: Option<Close>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) noted: Vec<Noted>,
}

impl Device {
    /// Makes a device with a number, and enrols it for writing.
    pub(crate) fn enrolled(world: &mut World, number: u8, scopes: &[&Scope]) -> Self {
        let device = Self::new(number, scopes);
        world.enrol(device.id, scopes);
        device
    }

    pub(crate) fn new(number: u8, scopes: &[&Scope]) -> Self {
        Self {
            id: DeviceId::from_bytes([number; 16]),
            install: Install::new([number; 16]),
            session: SessionId(0),
            incarnation: None,
            newest: 1,
            scopes: scopes
                .iter()
                .map(|it| ((*it).clone(), Mirror::default()))
                .collect(),
            documents: BTreeMap::new(),
            own: BTreeMap::new(),
            outbox: Vec::new(),
            durable: Vec::new(),
            out: BTreeMap::new(),
            pushes: 0,
            edits: 0,
            actor: Actor::from_bytes([number; 16]),
            welcome: None,
            acks: Vec::new(),
            feeds: Vec::new(),
            compared: Vec::new(),
            reconciles: Vec::new(),
            close: None,
            notices: Vec::new(),
            noted: Vec::new(),
        }
    }

    /// Greets on a new connection, and does nothing more.
    pub(crate) fn greet(&mut self, world: &mut World) {
        self.session = world.connect(self.id);
        self.pushes = 0;
        self.out.clear();
        self.own.clear();
        self.welcome = None;
        world.deliver(self.session, Frame::Hello(self.hello(world)));
    }

    /// Greets, and takes everything that comes.
    pub(crate) fn connect(&mut self, world: &mut World) {
        self.greet(world);
        world.pump();
        self.take(world);
    }

    pub(crate) fn hello(&self, world: &World) -> Hello {
        let marks = self.scopes.iter().map(|(scope, mirror)| ScopeMark {
            scope: scope.clone(),
            cursor: mirror.cursor,
            digest: mirror.digest(),
            documents: mirror.heads.len() as u64,
            snapshot: None,
        });
        Hello {
            versions: Versions {
                newest: self.newest,
                oldest: 1,
            },
            device: self.id,
            install: self.install,
            incarnation: self.incarnation,
            clock: Hlc::at(WallTime(world.now.wall.millis() - 250)),
            scopes: marks.collect(),
        }
    }

    /// Edits a document, or begins it.
    pub(crate) fn edit(&mut self, id: DocumentId, intent: &str) -> Change {
        self.edit_of(&note(), id, intent)
    }

    pub(crate) fn edit_of(&mut self, kind: &Arc<dyn Kind>, id: DocumentId, intent: &str) -> Change {
        self.edits += 1;
        let mut fact = [0; 16];
        fact[..8].copy_from_slice(&self.edits.to_be_bytes());
        let stamp = Stamp {
            hlc: Hlc::from_bits(self.edits << 16),
            wall: WallTime(1_600_000_000_000),
            relay_offset_ms: None,
            device: self.id,
            fact,
        };
        let unknown = |_: &ChangeHash| Provenance::default();
        let (document, log) = self
            .documents
            .entry(id)
            .or_insert_with(|| (Document::genesis(kind, 1), Vec::new()));
        let change = document
            .edit(self.actor, intent.as_bytes(), &stamp, &unknown)
            .unwrap();
        log.push(Held {
            change: change.clone(),
            author: self.id,
        });
        change
    }

    pub(crate) fn view_text(&self, id: DocumentId, field: &str) -> String {
        let view = self.documents[&id].0.view(&|_| Provenance::default());
        view.text(&["fields", field]).to_owned()
    }

    /// Edits a document, and keeps the change until it is judged.
    pub(crate) fn save(&mut self, scope: &Scope, id: DocumentId, intent: &str) {
        let change = self.edit(id, intent);
        self.outbox.push((scope.clone(), id, change));
    }

    /// Sends everything that is not judged and not under way.
    pub(crate) fn send_outbox(&mut self, world: &mut World) {
        let under_way: BTreeSet<_> = self
            .out
            .values()
            .flat_map(|push| push.documents.iter().flat_map(|it| &it.changes))
            .map(|change| change.bytes.clone())
            .collect();
        for (scope, id, change) in self.outbox.clone() {
            if !under_way.contains(&change.bytes) {
                self.send(world, &scope, &[(id, &[change])]);
            }
        }
    }

    /// Loses its connection.
    pub(crate) fn disconnect(&mut self, world: &mut World) {
        world.relay.disconnected(world.now, self.session);
        world.sent.remove(&self.session);
        self.out.clear();
        self.session = SessionId(0);
    }

    /// Sends changes, but takes nothing.
    pub(crate) fn send(
        &mut self,
        world: &mut World,
        scope: &Scope,
        push: &[(DocumentId, &[Change])],
    ) {
        let documents = push
            .iter()
            .map(|(id, changes)| document(*id, "note", changes, None));
        self.send_push(world, scope, documents.collect());
    }

    pub(crate) fn send_push(
        &mut self,
        world: &mut World,
        scope: &Scope,
        documents: Vec<PushDocument>,
    ) {
        self.pushes += 1;
        let push = Push {
            form: PackForm::Whole,
            number: self.pushes,
            after: 0,
            scope: scope.clone(),
            documents,
            seal: None,
        };
        self.out.insert(self.pushes, push.clone());
        world.deliver(self.session, Frame::Push(push));
    }

    /// Sends changes of one document, and takes everything that comes; returns the answer.
    pub(crate) fn push(
        &mut self,
        world: &mut World,
        scope: &Scope,
        id: DocumentId,
        changes: &[Change],
    ) -> Ack {
        self.send(world, scope, &[(id, changes)]);
        world.pump();
        self.take(world);
        self.acks.last().unwrap().clone()
    }

    /// Takes in every frame that was sent, and says what it applied.
    pub(crate) fn take(&mut self, world: &mut World) {
        loop {
            let frames = world.sent.remove(&self.session).unwrap_or_default();
            if frames.is_empty() {
                return;
            }
            for frame in frames {
                self.handle(world, frame);
            }
            world.pump();
        }
    }

    /// Takes in the frames sent so far, without letting the relay go on.
    pub(crate) fn take_sent(&mut self, world: &mut World) {
        for frame in world.sent.remove(&self.session).unwrap_or_default() {
            self.handle(world, frame);
        }
    }

    fn handle(&mut self, world: &mut World, frame: Frame) {
        match frame {
            Frame::Welcome(welcome) => {
                if self.incarnation.is_none() {
                    self.incarnation = Some(welcome.incarnation);
                }
                for greeting in &welcome.scopes {
                    self.scopes.entry(greeting.scope.clone()).or_default();
                }
                self.welcome = Some(welcome);
            }
            Frame::Ack(ack) => self.acknowledged(ack),
            Frame::Feed(feed) => {
                let (scope, seq) = (feed.scope.clone(), feed.last_seq().unwrap());
                self.apply(&feed);
                self.feeds.push(feed);
                world.deliver(self.session, Frame::Applied(Applied { scope, seq }));
            }
            Frame::Reconcile(reconcile) => self.reconciles.push(reconcile),
            Frame::Compared(compared) => self.compared.push(compared),
            Frame::Close(close) => self.close = Some(close),
            Frame::Notice(notice) => self.notices.push(notice),
            Frame::Noted(noted) => self.noted.push(noted),
            Frame::Snapshot(_) => panic!("no scope here is large enough"),
            Frame::Hello(_)
            | Frame::Push(_)
            | Frame::Applied(_)
            | Frame::Compare(_)
            | Frame::Removed(_)
            | Frame::Taken(_)
            | Frame::Offer(_)
            | Frame::Offered(_)
            | Frame::Prove(_)
            | Frame::Kept(_)
            | Frame::Get(_)
            | Frame::Part(_)
            | Frame::Withheld(_)
            | Frame::Here(_)
            | Frame::Gone(_)
            | Frame::Watch(_)
            | Frame::Positions(_)
            | Frame::Moved(_)
            | Frame::Bring(_) => panic!("a relay sends no {:?}", frame.kind()),
        }
    }

    fn acknowledged(&mut self, ack: Ack) {
        let push = self.out.remove(&ack.number).unwrap();
        let mut verdicts = ack.verdicts.iter();
        let mut seq = ack.first_seq.unwrap_or(0);
        let mut note = |entry| {
            self.own.insert((push.scope.clone(), seq), entry);
            seq += 1;
        };
        for (pushed, attached) in push.documents.iter().zip(&ack.attached) {
            if *attached {
                note(OwnEntry::Attach(pushed.document));
            }
            for change in &pushed.changes {
                let verdict = verdicts.next().unwrap();
                let Ok(change) = Change::parse(&change.bytes) else {
                    continue;
                };
                if *verdict != Verdict::Incomplete {
                    self.outbox.retain(|(_, _, it)| it.hash != change.hash);
                }
                if matches!(verdict, Verdict::Accepted | Verdict::Known) {
                    self.durable.push((pushed.document, change.hash));
                }
                if *verdict == Verdict::Accepted {
                    note(OwnEntry::Change(pushed.document, change));
                }
            }
        }
        self.acks.push(ack);
    }

    fn apply(&mut self, feed: &Feed) {
        let mut mirror = self.scopes.remove(&feed.scope).unwrap();
        assert_eq!(feed.first_seq, mirror.cursor + 1, "the feed is dense");
        let mut seq = feed.first_seq;
        for entry in &feed.entries {
            match entry {
                Entry::Attach {
                    document, changes, ..
                } => {
                    mirror.attach(*document);
                    for change in changes {
                        self.receive(*document, change);
                        mirror.change(*document, &Change::parse(&change.bytes).unwrap());
                    }
                }
                Entry::Detach { document } => {
                    mirror.lose(*document);
                }
                Entry::Change { document, change } => {
                    self.receive(*document, change);
                    mirror.change(*document, &Change::parse(&change.bytes).unwrap());
                }
                Entry::Own { count } => {
                    for seq in seq..seq + count {
                        match self.own.remove(&(feed.scope.clone(), seq)).unwrap() {
                            OwnEntry::Attach(document) => mirror.attach(document),
                            OwnEntry::Change(document, change) => mirror.change(document, &change),
                        }
                    }
                }
            }
            seq += entry.count();
        }
        mirror.cursor = seq - 1;
        assert_eq!(
            mirror.digest(),
            feed.digest,
            "digests agree after entry {}",
            seq - 1
        );
        self.scopes.insert(feed.scope.clone(), mirror);
    }

    fn receive(&mut self, id: DocumentId, change: &FeedChange) {
        let known = kinds();
        let kind = known.find("note").unwrap();
        let (document, log) = self
            .documents
            .entry(id)
            .or_insert_with(|| (Document::genesis(kind, 1), Vec::new()));
        let incoming = [Incoming {
            bytes: &change.bytes,
            author: Author::decided(change.author),
            received: None,
        }];
        let verdict = gate::admit(document, &incoming, Side::Relay, &|_| Provenance::default());
        match verdict.into_iter().next().unwrap() {
            GateVerdict::Admitted(admitted) => log.push(Held {
                change: admitted,
                author: change.author,
            }),
            GateVerdict::Known(_) => {}
            verdict @ (GateVerdict::Incomplete { .. } | GateVerdict::Refused { .. }) => {
                panic!("{verdict:?}")
            }
        }
    }

    /// Reconciles a scope as the protocol has it, and pushes what the relay lacks.
    pub(crate) fn reconcile(&mut self, world: &mut World, scope: &Scope) {
        let mirror = self.scopes[scope].clone();
        let items = mirror.heads.iter().map(|(document, heads)| Item {
            document: *document,
            digest: Digest::of_document(*document, heads),
        });
        let (mut reconciler, message) = Reconciler::initiate(items);
        let mut differ = BTreeSet::new();
        let mut next = Some(message);
        let mut resume = None;
        while let Some(message) = next {
            let frame = Reconcile {
                scope: scope.clone(),
                seq: 0,
                message,
            };
            world.deliver(self.session, Frame::Reconcile(frame));
            world.pump();
            self.take(world);
            let answer = self.reconciles.pop().unwrap();
            resume.get_or_insert(answer.seq);
            let step = reconciler.step(&answer.message).unwrap();
            differ.extend(step.documents());
            next = step.reply;
        }
        self.compare(world, scope, differ);
        let mut mirror = self.scopes.remove(scope).unwrap();
        let answers = std::mem::take(&mut self.compared);
        assert!(answers.last().unwrap().last);
        let mut lost = Vec::new();
        for document in answers.into_iter().flat_map(|it| it.documents) {
            let id = document.document;
            mirror.lose(id);
            let log = self
                .documents
                .get(&id)
                .map_or(Vec::new(), |(_, log)| log.clone());
            let lacks: BTreeSet<_> = match document.held {
                None => log.iter().map(|held| held.change.hash).collect(),
                Some(held) => {
                    for change in &held.changes {
                        self.receive(id, change);
                    }
                    mirror.heads.insert(id, held.heads);
                    let log = self.documents.get(&id).map_or(&[][..], |(_, log)| log);
                    let hashes = log.iter().map(|it| it.change.hash);
                    mirror.accepted.extend(
                        hashes
                            .filter(|it| !held.lacks.contains(it))
                            .map(|it| (id, it)),
                    );
                    held.lacks.into_iter().collect()
                }
            };
            lost.extend(
                log.into_iter()
                    .filter(|it| lacks.contains(&it.change.hash))
                    .map(|it| (id, it)),
            );
        }
        mirror.cursor = resume.unwrap();
        self.scopes.insert(scope.clone(), mirror);
        self.incarnation = self.welcome.as_ref().map(|welcome| welcome.incarnation);
        world.pump();
        self.take(world);
        self.offer_again(world, scope, lost);
    }

    fn compare(&mut self, world: &mut World, scope: &Scope, differ: BTreeSet<DocumentId>) {
        let documents = differ.into_iter().map(|document| {
            let log = self
                .documents
                .get(&document)
                .map_or(&[][..], |(_, log)| log);
            let held = log.iter().map(|held| held.change.hash);
            let mirror = &self.scopes[scope];
            let changes = held.filter(|it| mirror.accepted.contains(&(document, *it)));
            CompareDocument {
                document,
                changes: changes.collect(),
            }
        });
        let compare = Compare {
            scope: scope.clone(),
            documents: documents.collect(),
            last: true,
        };
        world.deliver(self.session, Frame::Compare(compare));
        world.pump();
        self.take(world);
    }

    fn offer_again(&mut self, world: &mut World, scope: &Scope, lost: Vec<(DocumentId, Held)>) {
        for (id, held) in lost {
            let recovered_from = (held.author != self.id).then_some(held.author);
            let pushed = document(id, "note", &[held.change], recovered_from);
            self.send_push(world, scope, vec![pushed]);
        }
        world.pump();
        self.take(world);
    }
}

pub(crate) fn document(
    id: DocumentId,
    kind: &str,
    changes: &[Change],
    recovered_from: Option<DeviceId>,
) -> PushDocument {
    let changes = changes.iter().map(|change| PushChange {
        bytes: change.bytes.clone(),
        recovered_from,
    });
    PushDocument {
        document: id,
        kind: kind.to_owned(),
        schema_version: 1,
        changes: changes.collect(),
    }
}
