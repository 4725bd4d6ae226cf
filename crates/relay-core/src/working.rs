//! One document in the hands of an admission cycle: loaded, changed by several pushes, written once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridbeat_base::{ChangeHash, Digest, DocumentId, Scope, WallTime};
use gridbeat_document::{Change, Document, Incoming, Kind, Kinds, Provenance, Side, Verdict};
use gridbeat_document::{advance_heads, gate};

use crate::{DocumentState, DocumentWrite, EntryKind, NewChange, NewEntry, StoredDocument};

/// The document itself, as far as it is needed and can be had.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// Nobody changes it in this cycle.
    NotNeeded,
    /// Its kind is not known here.
    UnknownKind,
    /// Neither the saved document nor the log could be read.
    Unreadable,
    /// Here it is.
    Here(Box<Document>),
}

/// One document in an admission cycle.
#[derive(Debug)]
pub(crate) struct Working {
    id: DocumentId,
    /// The version it was read at; `None` if it does not exist yet.
    pub(crate) version: Option<u64>,
    pub(crate) kind: String,
    pub(crate) schema_version: u16,
    pub(crate) loaded: Loaded,
    /// Whether the saved document did not load and it was made from its log.
    pub(crate) rebuilt: bool,
    pub(crate) log_bytes: u64,
    /// What the log knows of each change, those of this cycle included.
    log: BTreeMap<ChangeHash, Provenance>,
    heads: Vec<ChangeHash>,
    /// The scopes it is in, as far as this cycle has come.
    pub(crate) scopes: BTreeSet<Scope>,
    /// The scopes it was taken out of before this cycle.
    left: BTreeSet<Scope>,
    changes: Vec<NewChange>,
    attach: Vec<Scope>,
    detach: Vec<Scope>,
}

impl Working {
    /// Takes up a stored document. With `needed`, it is loaded; `None` if that takes its log, and
    /// the log was not read.
    pub(crate) fn of_stored(
        id: DocumentId,
        stored: StoredDocument,
        kinds: &Kinds,
        needed: bool,
    ) -> Option<Self> {
        let mut rebuilt = false;
        let loaded = match kinds.find(&stored.kind) {
            _ if !needed => Loaded::NotNeeded,
            None => Loaded::UnknownKind,
            // Written with a later program than this one.
            Some(kind) if kind.schema_version() < stored.schema_version => Loaded::UnknownKind,
            Some(kind) => match load(kind, &stored) {
                Some(document) => Loaded::Here(Box::new(document)),
                None => {
                    let bytes: Option<Vec<&[u8]>> =
                        stored.log.iter().map(|it| it.bytes.as_deref()).collect();
                    rebuilt = true;
                    match Document::rebuild(kind, stored.schema_version, bytes?) {
                        Ok(document) if document.heads() == stored.heads => {
                            Loaded::Here(Box::new(document))
                        }
                        Ok(_) | Err(_) => Loaded::Unreadable,
                    }
                }
            },
        };
        let log = stored.log.iter().map(|change| {
            let provenance = Provenance {
                author: Some(change.author),
                received: Some(change.received),
            };
            (change.hash, provenance)
        });
        Some(Self {
            id,
            version: Some(stored.version),
            kind: stored.kind,
            schema_version: stored.schema_version,
            loaded,
            rebuilt,
            log_bytes: stored.log_bytes,
            log: log.collect(),
            heads: stored.heads,
            scopes: stored.scopes.into_iter().collect(),
            left: stored.left.into_iter().collect(),
            changes: Vec::new(),
            attach: Vec::new(),
            detach: Vec::new(),
        })
    }

    /// Begins a document that is not stored yet and that nobody has edited.
    pub(crate) fn new(id: DocumentId, document: Document) -> Self {
        Self {
            id,
            version: None,
            kind: document.kind().name().to_owned(),
            schema_version: document.schema_version(),
            heads: document.heads(),
            loaded: Loaded::Here(Box::new(document)),
            rebuilt: false,
            log_bytes: 0,
            log: BTreeMap::new(),
            scopes: BTreeSet::new(),
            left: BTreeSet::new(),
            changes: Vec::new(),
            attach: Vec::new(),
            detach: Vec::new(),
        }
    }

    /// Returns whether it is, or will be, stored.
    pub(crate) const fn exists(&self) -> bool {
        self.version.is_some() || !self.changes.is_empty()
    }

    /// Returns whether a change is in the log, or will be.
    pub(crate) fn knows(&self, change: &ChangeHash) -> bool {
        self.log.contains_key(change)
    }

    /// Returns how many changes the log has, those of this cycle included.
    pub(crate) fn count(&self) -> u64 {
        self.log.len() as u64
    }

    /// Returns whether the document is not in a scope though nobody took it out of it, as far as this database knows.
    pub(crate) fn lacks(&self, scope: &Scope) -> bool {
        let was_taken_out = self.left.contains(scope) || self.detach.contains(scope);
        !self.scopes.contains(scope) && !was_taken_out
    }

    /// Puts the document into a scope, as it is.
    pub(crate) fn enter(&mut self, scope: &Scope) -> NewEntry {
        self.scopes.insert(scope.clone());
        self.attach.push(scope.clone());
        NewEntry {
            document: self.id,
            what: EntryKind::Attach { upto: self.count() },
            delta: self.term(),
        }
    }

    /// Takes the document out of a scope.
    pub(crate) fn leave(&mut self, scope: &Scope) -> NewEntry {
        self.scopes.remove(scope);
        self.detach.push(scope.clone());
        NewEntry {
            document: self.id,
            what: EntryKind::Detach,
            delta: Digest::EMPTY.minus(self.term()),
        }
    }

    /// Hands changes to the gate.
    pub(crate) fn admit(&mut self, incoming: &[Incoming<'_>]) -> Option<Vec<Verdict>> {
        let Loaded::Here(document) = &mut self.loaded else {
            return None;
        };
        let log = &self.log;
        let provenance = |hash: &ChangeHash| log.get(hash).copied().unwrap_or_default();
        Some(gate::admit(document, incoming, Side::Device, &provenance))
    }

    /// Logs a change that the gate admitted; the entry belongs into each of [`Self::scopes`].
    pub(crate) fn log(&mut self, change: &Change, new: NewChange, received: WallTime) -> NewEntry {
        let before = self.term();
        advance_heads(&mut self.heads, change);
        let provenance = Provenance {
            author: Some(new.author),
            received: Some(received),
        };
        self.log.insert(new.hash, provenance);
        self.log_bytes += new.bytes.len() as u64;
        self.changes.push(new);
        NewEntry {
            document: self.id,
            what: EntryKind::Change { n: self.count() },
            delta: self.term().minus(before),
        }
    }

    /// Returns what is to be written; `None` if nothing has changed.
    pub(crate) fn into_write(mut self) -> Option<DocumentWrite> {
        let moved = !self.attach.is_empty() || !self.detach.is_empty();
        if self.changes.is_empty() && !moved {
            return None;
        }
        let term = self.term();
        let state = match (&mut self.loaded, self.changes.is_empty()) {
            (Loaded::Here(document), false) => {
                // Whatever was put in came through the gate.
                let view = document.take_admitted().expect("changes were let in");
                assert_eq!(document.heads(), self.heads, "heads move with each change");
                Some(DocumentState {
                    heads: self.heads,
                    term,
                    cache: document.save(),
                    record: document.kind().project(&view).into(),
                    blobs: document.kind().blobs(&view),
                })
            }
            (Loaded::NotNeeded | Loaded::UnknownKind | Loaded::Unreadable | Loaded::Here(_), _) => {
                None
            }
        };
        Some(DocumentWrite {
            kind: self.kind,
            schema_version: self.schema_version,
            expected: self.version,
            changes: self.changes,
            attach: self.attach,
            detach: self.detach,
            state,
        })
    }

    fn term(&self) -> Digest {
        Digest::of_document(self.id, &self.heads)
    }
}

/// Loads the saved document, if it is there and is the log's.
fn load(kind: &Arc<dyn Kind>, stored: &StoredDocument) -> Option<Document> {
    let cache = stored.cache.as_ref()?;
    let document = Document::load(kind, stored.schema_version, cache).ok()?;
    (document.heads() == stored.heads).then_some(document)
}
