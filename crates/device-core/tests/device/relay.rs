//! A relay small enough to read, made of frames alone: it keeps feeds and documents in memory.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{
    ChangeHash, DeviceId, Digest, DocumentId, Incarnation, Scope, Verbs, WallTime,
};
use gridbeat_document::{
    Author, Change, Document, Incoming, Provenance, Rule, Side, Verdict as Admission,
    advance_heads, gate, genesis_hash,
};
use gridbeat_sync_protocol::{
    Ack, Compared, ComparedDocument, Entry, Feed, FeedChange, Frame, Grant, Held, Hello, Item,
    Noted, PackForm, Push, PushDocument, Reason, Reconcile, RemovalHash, ScopeGreeting,
    SnapshotDocument, VERSION_NEWEST, Verdict, Welcome, respond,
};

use crate::support::{kinds, scope};

#[derive(Clone)]
struct Kept {
    kind: String,
    schema_version: u16,
    changes: Vec<FeedChange>,
    /// Heads by scope.
    placed: BTreeMap<Scope, Vec<ChangeHash>>,
}

#[derive(Clone)]
struct Stored {
    entry: Entry,
    /// The connection that pushed it.
    by: Option<u64>,
    digest: Digest,
}

struct Session {
    connection: u64,
    device: DeviceId,
    /// The last entry sent, by scope that is fed.
    fed: BTreeMap<Scope, u64>,
    /// Where the feed goes on after a reconciliation.
    resume: BTreeMap<Scope, u64>,
    out: Vec<Frame>,
}

/// The relay. Cloning it is taking a backup.
pub(crate) struct Relay {
    pub(crate) incarnation: Incarnation,
    pub(crate) grants: BTreeMap<Scope, Grant>,
    /// What it tells of a scope to the verb.
    pub(crate) verbs: BTreeMap<Scope, Verbs>,
    /// What it says is in a backup.
    pub(crate) stable: Option<WallTime>,
    /// Entries a feed frame may have.
    pub(crate) entries_max: usize,
    /// The newest version of the protocol that it speaks.
    pub(crate) newest: u16,
    documents: BTreeMap<DocumentId, Kept>,
    feeds: BTreeMap<Scope, Vec<Stored>>,
    sessions: BTreeMap<usize, Session>,
    connections: u64,
    /// Frames by name, as they came and went.
    pub(crate) seen: Vec<&'static str>,
    /// What devices said about positions.
    pub(crate) told: Vec<Frame>,
}

/// What a backup holds.
pub(crate) struct Backup {
    documents: BTreeMap<DocumentId, Kept>,
    feeds: BTreeMap<Scope, Vec<Stored>>,
}

impl Relay {
    pub(crate) fn new(life: u8) -> Self {
        Self {
            incarnation: Incarnation::from_bytes([life; 16]),
            grants: BTreeMap::from([(scope("grid"), Grant::Write)]),
            verbs: BTreeMap::new(),
            stable: None,
            entries_max: 7,
            newest: VERSION_NEWEST,
            documents: BTreeMap::new(),
            feeds: BTreeMap::new(),
            sessions: BTreeMap::new(),
            connections: 0,
            seen: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Returns its documents as a snapshot brings them.
    pub(crate) fn wholes(&self) -> Vec<SnapshotDocument> {
        let whole = |(document, kept): (&DocumentId, &Kept)| SnapshotDocument {
            document: *document,
            kind: kept.kind.clone(),
            schema_version: kept.schema_version,
            changes: kept.changes.clone(),
        };
        self.documents.iter().map(whole).collect()
    }

    /// Returns where a scope's feed ends: its last sequence number, and the digest there.
    pub(crate) fn end_of(&self, scope: &Scope) -> (u64, Digest) {
        let feed = &self.feeds[scope];
        (feed.len() as u64, feed[feed.len() - 1].digest)
    }

    pub(crate) fn backup(&self) -> Backup {
        Backup {
            documents: self.documents.clone(),
            feeds: self.feeds.clone(),
        }
    }

    /// Begins another life from a backup.
    pub(crate) fn restore(&mut self, backup: Backup, life: u8) {
        self.incarnation = Incarnation::from_bytes([life; 16]);
        self.documents = backup.documents;
        self.feeds = backup.feeds;
        self.sessions.clear();
    }

    pub(crate) fn connected(&mut self, session: usize, device: DeviceId) {
        self.connections += 1;
        self.sessions.insert(
            session,
            Session {
                connection: self.connections,
                device,
                fed: BTreeMap::new(),
                resume: BTreeMap::new(),
                out: Vec::new(),
            },
        );
    }

    pub(crate) fn disconnected(&mut self, session: usize) {
        self.sessions.remove(&session);
    }

    /// Places a document in another scope, or takes it out.
    pub(crate) fn place(&mut self, document: DocumentId, scope: &Scope, is_in: bool) {
        let held = self.documents.get_mut(&document).unwrap();
        let entry = if is_in {
            let heads = held.placed.values().next().cloned();
            let genesis = genesis_hash(kinds().find(&held.kind).unwrap(), held.schema_version);
            held.placed
                .insert(scope.clone(), heads.unwrap_or_else(|| vec![genesis]));
            Entry::Attach {
                document,
                kind: held.kind.clone(),
                schema_version: held.schema_version,
                changes: held.changes.clone(),
            }
        } else {
            held.placed.remove(scope);
            Entry::Detach { document }
        };
        self.log(scope, entry, None);
    }

    /// Makes the digests of a feed's last entries wrong, as a bug would.
    pub(crate) fn spoil_digest(&mut self, scope: &Scope) {
        let last = self.feeds.get_mut(scope).unwrap().last_mut().unwrap();
        last.digest = Digest::from_bytes([9; 16]);
    }

    /// Returns the scopes a document is in.
    pub(crate) fn placed(&self, document: DocumentId) -> Vec<Scope> {
        let held = self.documents.get(&document);
        held.map_or_else(Vec::new, |held| held.placed.keys().cloned().collect())
    }

    pub(crate) fn head(&self, scope: &Scope) -> u64 {
        self.feeds.get(scope).map_or(0, Vec::len) as u64
    }

    pub(crate) fn changes(&self, document: DocumentId) -> Vec<FeedChange> {
        let held = self.documents.get(&document);
        held.map_or_else(Vec::new, |held| held.changes.clone())
    }

    pub(crate) fn handle(&mut self, now: WallTime, session: usize, frame: Frame) {
        if !self.sessions.contains_key(&session) {
            return;
        }
        match frame {
            Frame::Hello(hello) => self.greet(now, session, &hello),
            Frame::Push(push) => self.push(now, session, &push),
            Frame::Applied(_) => {}
            Frame::Reconcile(asked) => self.reconcile(session, &asked),
            Frame::Compare(compare) => {
                let documents = compare
                    .documents
                    .iter()
                    .map(|asked| self.compare(&compare.scope, asked.document, &asked.changes))
                    .collect();
                let compared = Compared {
                    form: PackForm::Whole,
                    seq: self.head(&compare.scope),
                    digest: self.digest(&compare.scope),
                    documents,
                    last: compare.last,
                    scope: compare.scope.clone(),
                };
                self.send(session, Frame::Compared(compared));
                if compare.last {
                    let at = self.sessions.get_mut(&session).unwrap();
                    let resume = at.resume.remove(&compare.scope).unwrap();
                    at.fed.insert(compare.scope, resume);
                }
            }
            Frame::Close(_) => self.disconnected(session),
            Frame::Removed(removed) => {
                let removal = RemovalHash::of(&removed.statement);
                self.send(session, Frame::Noted(Noted { removal }));
            }
            Frame::Welcome(_)
            | Frame::Ack(_)
            | Frame::Feed(_)
            | Frame::Compared(_)
            | Frame::Notice(_)
            | Frame::Noted(_)
            | Frame::Snapshot(_)
            | Frame::Taken(_)
            | Frame::Offered(_)
            | Frame::Kept(_)
            | Frame::Withheld(_)
            | Frame::Positions(_)
            | Frame::Moved(_) => panic!("not for a relay"),
            Frame::Here(_) | Frame::Gone(_) | Frame::Watch(_) => self.told.push(frame),
            Frame::Offer(_)
            | Frame::Prove(_)
            | Frame::Get(_)
            | Frame::Part(_)
            | Frame::Bring(_) => {
                panic!("no document here refers to a blob")
            }
        }
    }

    /// Returns what goes to a session.
    pub(crate) fn outputs(&mut self, session: usize) -> Vec<Frame> {
        self.fan_out(session);
        let out = self
            .sessions
            .get_mut(&session)
            .map(|at| std::mem::take(&mut at.out));
        let out = out.unwrap_or_default();
        for frame in &out {
            self.seen.push(match frame {
                Frame::Welcome(_) => "welcome",
                Frame::Ack(_) => "ack",
                Frame::Feed(_) => "feed",
                Frame::Reconcile(_) => "reconcile",
                Frame::Compared(_) => "compared",
                Frame::Hello(_)
                | Frame::Push(_)
                | Frame::Applied(_)
                | Frame::Compare(_)
                | Frame::Notice(_)
                | Frame::Removed(_)
                | Frame::Noted(_)
                | Frame::Snapshot(_)
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
                | Frame::Bring(_)
                | Frame::Close(_) => "other",
            });
        }
        out
    }

    fn greet(&mut self, now: WallTime, session: usize, hello: &Hello) {
        let mut scopes = Vec::new();
        let named = hello.scopes.iter().map(|mark| mark.scope.clone());
        let others = self.grants.keys().cloned();
        let mut fed = BTreeMap::new();
        for name in named.chain(others) {
            if scopes.iter().any(|at: &ScopeGreeting| at.scope == name) {
                continue;
            }
            let mark = hello.scopes.iter().find(|mark| mark.scope == name);
            let cursor = mark.map_or(0, |mark| mark.cursor);
            let head = self.head(&name);
            let digest = match cursor {
                0 => Some(Digest::EMPTY),
                _ => self
                    .feeds
                    .get(&name)
                    .and_then(|feed| feed.get(usize::try_from(cursor).unwrap() - 1))
                    .map(|stored| stored.digest),
            };
            let agrees = mark.is_none_or(|mark| Some(mark.digest) == digest);
            let grant = self.grants.get(&name).copied().unwrap_or(Grant::None);
            let same = cursor == 0 || hello.incarnation == Some(self.incarnation);
            if grant != Grant::None && agrees && same {
                fed.insert(name.clone(), cursor);
            }
            let verbs = self.verbs.get(&name).copied();
            scopes.push(ScopeGreeting {
                scope: name,
                grant,
                head: if grant == Grant::None { 0 } else { head },
                digest_agrees: agrees,
                verbs,
                snapshot: None,
            });
        }
        self.sessions.get_mut(&session).unwrap().fed = fed;
        let welcome = Welcome {
            version: hello.versions.newest.min(self.newest),
            incarnation: self.incarnation,
            time: now,
            scopes,
            stable: self.stable,
        };
        self.send(session, Frame::Welcome(welcome));
    }

    fn push(&mut self, now: WallTime, session: usize, push: &Push) {
        let (connection, device) = {
            let at = &self.sessions[&session];
            (at.connection, at.device)
        };
        let first = self.head(&push.scope) + 1;
        let (mut attached, mut verdicts) = (Vec::new(), Vec::new());
        for pushed in &push.documents {
            let held = self.documents.get(&pushed.document).cloned();
            let mut held = held.unwrap_or_else(|| Kept {
                kind: pushed.kind.clone(),
                schema_version: pushed.schema_version,
                changes: Vec::new(),
                placed: BTreeMap::new(),
            });
            let (accepted, answers) = self.admit(&held, &push.scope, pushed, device);
            verdicts.extend(answers);
            let is_new = !accepted.is_empty() && !held.placed.contains_key(&push.scope);
            attached.push(is_new);
            if is_new {
                let heads = held.placed.values().next().cloned();
                let genesis = genesis_hash(kinds().find(&held.kind).unwrap(), held.schema_version);
                let heads = heads.unwrap_or_else(|| vec![genesis]);
                held.placed.insert(push.scope.clone(), heads);
                let entry = Entry::Attach {
                    document: pushed.document,
                    kind: pushed.kind.clone(),
                    schema_version: pushed.schema_version,
                    changes: held.changes.clone(),
                };
                self.documents.insert(pushed.document, held.clone());
                self.log(&push.scope, entry, Some(connection));
            }
            for (change, author) in accepted {
                let stored = FeedChange {
                    bytes: change.bytes.clone(),
                    author,
                    received: now,
                };
                held.changes.push(stored.clone());
                let scopes: Vec<Scope> = held.placed.keys().cloned().collect();
                for at in scopes {
                    advance_heads(held.placed.get_mut(&at).unwrap(), &change);
                    self.documents.insert(pushed.document, held.clone());
                    let entry = Entry::Change {
                        document: pushed.document,
                        change: stored.clone(),
                    };
                    let by = (at == push.scope).then_some(connection);
                    self.log(&at, entry, by);
                }
            }
        }
        let made = self.head(&push.scope) + 1 > first;
        let ack = Ack {
            number: push.number,
            received: now,
            first_seq: made.then_some(first),
            attached,
            verdicts,
        };
        self.send(session, Frame::Ack(ack));
    }

    /// Decides on a document's changes: which are accepted, and what to say of each.
    fn admit(
        &self,
        held: &Kept,
        scope: &Scope,
        pushed: &PushDocument,
        device: DeviceId,
    ) -> (Vec<(Change, DeviceId)>, Vec<Verdict>) {
        let kind = kinds().find(&pushed.kind).unwrap().clone();
        let log: Vec<&[u8]> = held.changes.iter().map(|c| c.bytes.as_slice()).collect();
        let mut document = Document::rebuild(&kind, pushed.schema_version, log).unwrap();
        let may = self.grants.get(scope) == Some(&Grant::Write);
        let (mut accepted, mut verdicts) = (Vec::new(), Vec::new());
        for change in &pushed.changes {
            let author = change.recovered_from.unwrap_or(device);
            let incoming = [Incoming {
                bytes: &change.bytes,
                author: Author::decided(author),
                received: None,
            }];
            let provenance = |_: &ChangeHash| Provenance::default();
            let verdict = if may {
                gate::admit(&mut document, &incoming, Side::Device, &provenance).remove(0)
            } else {
                Admission::Refused {
                    hash: None,
                    rule: Rule::BadActor,
                }
            };
            verdicts.push(match verdict {
                Admission::Admitted(change) => {
                    accepted.push((change, author));
                    Verdict::Accepted
                }
                Admission::Known(_) => Verdict::Known,
                Admission::Incomplete { .. } => Verdict::Incomplete,
                Admission::Refused { rule, .. } => Verdict::Refused(Reason {
                    code: rule.code().to_owned(),
                    en: rule.words().en.to_owned(),
                    zh: rule.words().zh.to_owned(),
                }),
            });
        }
        (accepted, verdicts)
    }

    fn reconcile(&mut self, session: usize, asked: &Reconcile) {
        let items = self.documents.iter().filter_map(|(document, held)| {
            let heads = held.placed.get(&asked.scope)?;
            Some(Item {
                document: *document,
                digest: Digest::of_document(*document, heads).with_receipts(
                    held.changes
                        .iter()
                        .map(|change| change.received.millis())
                        .sum(),
                ),
            })
        });
        let message = respond(items, &asked.message).unwrap();
        let seq = self.head(&asked.scope);
        let at = self.sessions.get_mut(&session).unwrap();
        at.fed.remove(&asked.scope);
        at.resume.entry(asked.scope.clone()).or_insert(seq);
        let answer = Reconcile {
            scope: asked.scope.clone(),
            seq,
            message,
        };
        self.send(session, Frame::Reconcile(answer));
    }

    fn compare(
        &self,
        scope: &Scope,
        document: DocumentId,
        named: &[ChangeHash],
    ) -> ComparedDocument {
        let held = self.documents.get(&document);
        let placed = held.and_then(|held| Some((held, held.placed.get(scope)?)));
        let held = placed.map(|(held, heads)| {
            let name = |change: &FeedChange| Change::parse(&change.bytes).unwrap().hash;
            let ours: BTreeSet<ChangeHash> = held.changes.iter().map(name).collect();
            Held {
                kind: held.kind.clone(),
                schema_version: held.schema_version,
                heads: heads.clone(),
                lacks: named
                    .iter()
                    .filter(|hash| !ours.contains(hash))
                    .copied()
                    .collect(),
                changes: held
                    .changes
                    .iter()
                    .filter(|change| !named.contains(&name(change)))
                    .cloned()
                    .collect(),
            }
        });
        ComparedDocument { document, held }
    }

    fn log(&mut self, scope: &Scope, entry: Entry, by: Option<u64>) {
        let digest = self.digest(scope);
        let stored = Stored { entry, by, digest };
        self.feeds.entry(scope.clone()).or_default().push(stored);
    }

    fn digest(&self, scope: &Scope) -> Digest {
        let terms = self.documents.iter().filter_map(|(document, held)| {
            Some(Digest::of_document(*document, held.placed.get(scope)?))
        });
        terms.fold(Digest::EMPTY, Digest::plus)
    }

    fn fan_out(&mut self, session: usize) {
        let Some(at) = self.sessions.get_mut(&session) else {
            return;
        };
        for (scope, fed) in &mut at.fed {
            let Some(feed) = self.feeds.get(scope) else {
                continue;
            };
            while let Some(rest) = feed.get(usize::try_from(*fed).unwrap()..)
                && !rest.is_empty()
            {
                let part = &rest[..rest.len().min(self.entries_max)];
                let mut entries: Vec<Entry> = Vec::new();
                for stored in part {
                    match entries.last_mut() {
                        Some(Entry::Own { count }) if stored.by == Some(at.connection) => {
                            *count += 1;
                        }
                        _ if stored.by == Some(at.connection) => {
                            entries.push(Entry::Own { count: 1 });
                        }
                        _ => entries.push(stored.entry.clone()),
                    }
                }
                at.out.push(Frame::Feed(Feed {
                    form: PackForm::Whole,
                    scope: scope.clone(),
                    first_seq: *fed + 1,
                    digest: part.last().unwrap().digest,
                    head: feed.len() as u64,
                    entries,
                }));
                *fed += part.len() as u64;
            }
        }
    }

    fn send(&mut self, session: usize, frame: Frame) {
        if let Some(at) = self.sessions.get_mut(&session) {
            at.out.push(frame);
        }
    }
}
