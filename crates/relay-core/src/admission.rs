//! Who may change what: from pushes and loaded documents to one batch and its verdicts.
//!
//! Each change is judged on its own, in the order of the pushes: has the relay had it already, may
//! this device write in this scope, is the document there, and what does the gate say. The rights
//! are those read together with the documents, not those of the greeting. Nothing here is durable
//! yet, and nobody has been told.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Scope, WallTime};
use gridbeat_document::{Author, Change, Incoming, Kinds, Verdict as GateVerdict};
use gridbeat_sync_protocol::{PushDocument, Reason, Verdict};

use crate::config::LOG_BYTES_MAX;
use crate::reasons::{
    self, DEVICE_REVOKED, DOCUMENT_FULL, DOCUMENT_UNREADABLE, NOT_IN_SCOPE, OTHER_KIND,
    SCOPE_NOT_GRANTED, TOO_MANY_DOCUMENTS, UNKNOWN_KIND, UNKNOWN_SCHEMA, Why,
};
use crate::session::{PendingPush, SessionId};
use crate::working::{Loaded, Working};
use crate::{Batch, NewChange, NewEntry, RefusedChange, Rights, Warrant};

/// A push in an admission cycle.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) session: SessionId,
    pub(crate) device: DeviceId,
    /// Whether the device comes from another life of the database.
    pub(crate) recovers: bool,
    /// Whether it may put documents back into the push's scope.
    pub(crate) may_bring_back: bool,
    pub(crate) push: PendingPush,
}

/// What is to become of one push once the batch is durable.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) session: SessionId,
    pub(crate) number: u64,
    pub(crate) scope: Scope,
    pub(crate) attached: Vec<bool>,
    pub(crate) verdicts: Vec<Verdict>,
    /// The places of its entries among the batch's entries of its scope.
    pub(crate) entries: Range<usize>,
}

/// What a device may still use up in this cycle.
#[derive(Debug, Default)]
pub(crate) struct Allowances {
    /// Documents each device may still begin; a device that is not named has no limit.
    pub(crate) documents: BTreeMap<DeviceId, u32>,
    /// Bytes each session may still leave in the quarantine.
    pub(crate) quarantine: BTreeMap<SessionId, usize>,
}

/// One admission cycle's judging.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    pub(crate) kinds: &'a Kinds,
    pub(crate) warrant: &'a Warrant,
    pub(crate) received: WallTime,
    /// The documents that were read, and those that begin.
    pub(crate) working: BTreeMap<DocumentId, Working>,
    pub(crate) allowances: Allowances,
    pub(crate) entries: BTreeMap<Scope, Vec<NewEntry>>,
    pub(crate) refused: Vec<RefusedChange>,
    /// How many documents each device began.
    pub(crate) begun: BTreeMap<DeviceId, u32>,
    /// How many changes were brought by another device than their author.
    pub(crate) recovered: u64,
}

/// What a change's bytes say of it, before anything is believed.
#[derive(Debug)]
struct Named {
    hash: ChangeHash,
    deps: Vec<ChangeHash>,
}

fn named(document: &PushDocument) -> Vec<Option<Named>> {
    let parse = |bytes: &[u8]| {
        let Change { hash, deps, .. } = Change::parse(bytes).ok()?;
        Some(Named { hash, deps })
    };
    let changes = document.changes.iter();
    changes.map(|change| parse(&change.bytes)).collect()
}

impl Admission<'_> {
    /// Puts a document into a scope or takes it out. Returns whether that changed anything; `None`
    /// if there is no such document.
    pub(crate) fn place(
        &mut self,
        document: DocumentId,
        scope: &Scope,
        attach: bool,
    ) -> Option<bool> {
        let working = self.working.get_mut(&document)?;
        if working.scopes.contains(scope) == attach {
            return Some(false);
        }
        let entry = if attach {
            working.enter(scope)
        } else {
            working.leave(scope)
        };
        self.entries.entry(scope.clone()).or_default().push(entry);
        Some(true)
    }

    /// Judges a push.
    pub(crate) fn judge(&mut self, taken: &Taken) -> Judged {
        let PendingPush {
            number,
            scope,
            documents,
            proof: _,
        } = &taken.push;
        let names: Vec<_> = documents.iter().map(named).collect();
        // All of these before the push's own entries, which have to be dense.
        for (document, names) in documents.iter().zip(&names) {
            self.bring_back(taken, document, names);
        }
        let before = self.entries.get(scope).map_or(0, Vec::len);
        let mut attached = Vec::new();
        let mut verdicts = Vec::new();
        for (document, names) in documents.iter().zip(&names) {
            let (entered, judged) = self.judge_document(taken, document, names);
            attached.push(entered);
            verdicts.extend(judged);
        }
        let after = self.entries.get(scope).map_or(0, Vec::len);
        Judged {
            session: taken.session,
            number: *number,
            scope: scope.clone(),
            attached,
            verdicts,
            entries: before..after,
        }
    }

    /// Returns what is to be written.
    pub(crate) fn into_batch(self) -> Batch {
        let documents = self.working.into_iter();
        Batch {
            received: self.received,
            rights_version: None,
            documents: documents
                .filter_map(|(id, working)| Some((id, working.into_write()?)))
                .collect(),
            scopes: self.entries,
            refused: self.refused,
            pushes: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// After a restore, puts a document back into a scope that the database no longer knows it in.
    fn bring_back(&mut self, taken: &Taken, document: &PushDocument, names: &[Option<Named>]) {
        if !taken.may_bring_back || !self.has_lost_place(taken, document, names) {
            return;
        }
        let scope = &taken.push.scope;
        if let Some(working) = self.working.get_mut(&document.document) {
            let entry = working.enter(scope);
            self.entries.entry(scope.clone()).or_default().push(entry);
        }
    }

    /// Returns whether a restored database may have lost that a document was in the push's scope.
    ///
    /// It may have learnt of the document in one scope from one device, while another device holds it in a
    /// second one. The device must come from another life of the database and name a change that the document
    /// has: without having held it, that cannot be guessed. And nobody may have taken the document out of the
    /// scope, as far as the database knows: then it is the device that is behind.
    fn has_lost_place(
        &self,
        taken: &Taken,
        document: &PushDocument,
        names: &[Option<Named>],
    ) -> bool {
        let scope = &taken.push.scope;
        let Some(working) = self.working.get(&document.document) else {
            return false;
        };
        let held = names.iter().flatten().any(|name| {
            working.knows(&name.hash) || name.deps.iter().any(|dep| working.knows(dep))
        });
        let may_write = self.warrant.in_scope(taken.device, scope).may_change();
        taken.recovers && working.exists() && held && working.lacks(scope) && may_write
    }

    /// Judges one document's changes. Returns whether it entered the push's scope by them.
    fn judge_document(
        &mut self,
        taken: &Taken,
        document: &PushDocument,
        names: &[Option<Named>],
    ) -> (bool, Vec<Verdict>) {
        if self.has_lost_place(taken, document, names) {
            // PROTOCOL 4.4: the device compares, and brings it back then.
            return (false, vec![Verdict::Incomplete; names.len()]);
        }
        let working = self.working.get(&document.document);
        let is_known = |name: &Option<Named>| {
            let name = name.as_ref()?;
            working?.knows(&name.hash).then_some(Verdict::Known)
        };
        let mut verdicts: Vec<Option<Verdict>> = names.iter().map(is_known).collect();
        let mut entered = false;
        if verdicts.iter().any(Option::is_none) {
            if let Some(why) = self.obstacle(taken, document) {
                for (index, verdict) in verdicts.iter_mut().enumerate() {
                    if verdict.is_none() {
                        let hash = names[index].as_ref().map(|name| name.hash);
                        *verdict = Some(self.refuse(taken, document, index, hash, why.reason()));
                    }
                }
            } else {
                entered = self.admit(taken, document, names, &mut verdicts);
            }
        }
        let verdicts = verdicts.into_iter();
        let judged =
            verdicts.map(|verdict| verdict.expect("known, refused, or judged by the gate"));
        (entered, judged.collect())
    }

    /// Returns why no change of this document may enter, whatever it does.
    fn obstacle(&self, taken: &Taken, document: &PushDocument) -> Option<Why> {
        let scope = &taken.push.scope;
        if self.warrant.rights.get(&taken.device) == Some(&Rights::Revoked) {
            return Some(DEVICE_REVOKED);
        }
        if !self.warrant.in_scope(taken.device, scope).may_change() {
            return Some(SCOPE_NOT_GRANTED);
        }
        let working = self.working.get(&document.document);
        if let Some(working) = working.filter(|working| working.exists()) {
            // First of all: nothing is told of a record in an area that this device may not see.
            if !working.scopes.contains(scope) {
                return Some(NOT_IN_SCOPE);
            }
            if (&working.kind, working.schema_version) != (&document.kind, document.schema_version)
            {
                return Some(OTHER_KIND);
            }
            return match working.loaded {
                Loaded::Here(_) => None,
                Loaded::UnknownKind => Some(UNKNOWN_KIND),
                Loaded::Unreadable | Loaded::NotNeeded => Some(DOCUMENT_UNREADABLE),
            };
        }
        let Some(kind) = self.kinds.find(&document.kind) else {
            return Some(UNKNOWN_KIND);
        };
        if !(1..=kind.schema_version()).contains(&document.schema_version) {
            return Some(UNKNOWN_SCHEMA);
        }
        let left = self.allowances.documents.get(&taken.device);
        (left == Some(&0)).then_some(TOO_MANY_DOCUMENTS)
    }

    /// Lets the gate judge what has no verdict yet, and logs what it admits.
    fn admit(
        &mut self,
        taken: &Taken,
        document: &PushDocument,
        names: &[Option<Named>],
        verdicts: &mut [Option<Verdict>],
    ) -> bool {
        let id = document.document;
        let mut working = self.take_up(document);
        let mut room = LOG_BYTES_MAX.saturating_sub(working.log_bytes);
        let mut offered = Vec::new();
        let mut incoming = Vec::new();
        let later = Later::of(names);
        for (index, change) in document.changes.iter().enumerate() {
            let name = names[index].as_ref();
            if verdicts[index].is_some() {
                continue;
            }
            if name.is_some_and(|name| later.has_dependency_of(name, index)) {
                // PROTOCOL 4.3: a push has its changes in causal order. The feed takes their order.
                verdicts[index] = Some(Verdict::Incomplete);
                continue;
            }
            let size = change.bytes.len() as u64;
            if size > room {
                let hash = name.map(|name| name.hash);
                let full = DOCUMENT_FULL.reason();
                verdicts[index] = Some(self.refuse(taken, document, index, hash, full));
                continue;
            }
            room -= size;
            let author = change.recovered_from.unwrap_or(taken.device);
            offered.push(index);
            incoming.push(Incoming {
                bytes: &change.bytes,
                author: self.author(taken, author),
                received: Some(self.received),
            });
        }
        let judged = working.admit(&incoming);
        let judged = judged.expect("an obstacle keeps out what is not loaded");
        let mut entered = false;
        for ((index, incoming), verdict) in offered.into_iter().zip(&incoming).zip(judged) {
            verdicts[index] = Some(match verdict {
                GateVerdict::Admitted(change) => {
                    let offered = &document.changes[index];
                    let recovered = taken.recovers || offered.recovered_from.is_some();
                    let by = (incoming.author.device, recovered);
                    entered |= self.log(taken, &mut working, by, &change);
                    Verdict::Accepted
                }
                GateVerdict::Known(_) => Verdict::Known,
                GateVerdict::Incomplete { .. } => Verdict::Incomplete,
                GateVerdict::Refused { hash, rule } => {
                    self.refuse(taken, document, index, hash, reasons::of_rule(&rule))
                }
            });
        }
        self.working.insert(id, working);
        entered
    }

    /// Returns by what right an author's change is judged: that of the scope it is pushed in, at this moment.
    ///
    /// A change that another device brings back was judged once, by a life of the database that is gone, and was
    /// durable. It may have been made with a right that was taken since, or given after the backup. So it is
    /// judged by all its author ever held; and not at all where a restored database cannot know that.
    fn author(&self, taken: &Taken, device: DeviceId) -> Author {
        let verbs = if device == taken.device {
            self.warrant.in_scope(device, &taken.push.scope)
        } else {
            self.warrant.held_by(device)
        };
        Author { device, verbs }
    }

    /// Takes a document out of the map, or begins it.
    fn take_up(&mut self, document: &PushDocument) -> Working {
        match self.working.remove(&document.document) {
            Some(working) if working.exists() => working,
            // One that was begun and to which nothing was admitted may have been of another kind.
            Some(_) | None => {
                let blank = self.kinds.begin(&document.kind, document.schema_version);
                let blank = blank.expect("an obstacle keeps out unknown kinds and versions");
                Working::new(document.document, blank)
            }
        }
    }

    /// Logs an admitted change, with an entry in each scope of its document. Returns whether the
    /// document began by it.
    fn log(
        &mut self,
        taken: &Taken,
        working: &mut Working,
        (author, recovered): (DeviceId, bool),
        change: &Change,
    ) -> bool {
        let begins = !working.exists();
        if begins {
            let scope = &taken.push.scope;
            let entry = working.enter(scope);
            self.entries.entry(scope.clone()).or_default().push(entry);
            *self.begun.entry(taken.device).or_default() += 1;
            if let Some(left) = self.allowances.documents.get_mut(&taken.device) {
                *left = left.saturating_sub(1);
            }
        }
        if author != taken.device {
            self.recovered += 1;
        }
        let new = NewChange {
            hash: change.hash,
            bytes: change.bytes.clone(),
            author,
            brought_by: taken.device,
            recovered,
        };
        let entry = working.log(change, new, self.received);
        for scope in &working.scopes {
            let entries = self.entries.entry(scope.clone()).or_default();
            entries.push(entry.clone());
        }
        begins
    }

    /// Puts a change into the quarantine.
    fn refuse(
        &mut self,
        taken: &Taken,
        document: &PushDocument,
        index: usize,
        hash: Option<ChangeHash>,
        reason: Reason,
    ) -> Verdict {
        let left = self.allowances.quarantine.entry(taken.session).or_default();
        let bytes = &document.changes[index].bytes;
        let kept = bytes.len() <= *left;
        if kept {
            *left -= bytes.len();
        }
        self.refused.push(RefusedChange {
            device: taken.device,
            scope: taken.push.scope.clone(),
            document: document.document,
            hash,
            reason: reason.clone(),
            size_bytes: bytes.len() as u64,
            bytes: if kept { bytes.clone() } else { Vec::new() },
        });
        Verdict::Refused(reason)
    }
}

/// Where the changes of one document stand in a push.
struct Later(BTreeMap<ChangeHash, usize>);

impl Later {
    fn of(names: &[Option<Named>]) -> Self {
        let mut first = BTreeMap::new();
        for (index, name) in names.iter().enumerate() {
            if let Some(name) = name {
                first.entry(name.hash).or_insert(index);
            }
        }
        Self(first)
    }

    /// Returns whether a dependency of the change at `index` comes only after it.
    fn has_dependency_of(&self, name: &Named, index: usize) -> bool {
        let deps: BTreeSet<_> = name.deps.iter().collect();
        deps.iter()
            .any(|dep| self.0.get(dep).is_some_and(|first| *first > index))
    }
}
