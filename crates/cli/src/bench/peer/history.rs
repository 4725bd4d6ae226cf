//! Histories at the relay: what others did there, written by the relay's own brain without a network.
//!
//! Each person who acts is a device of its own. Their pushes go through the gate and are committed as any
//! other's, in the order of the actions; those that do not build on each other share a push, which is what
//! makes forty thousand of them take seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use gridbeat_base::{ChangeHash, DocumentId, Hlc, Random, Scope, WallTime};
use gridbeat_document::{Document, Kind, Provenance, Stamp};
use gridbeat_link::random_from_system;
use gridbeat_sync_protocol::{PushChange, PushDocument, limits};
use rusqlite::{Connection, OpenFlags, params};

use super::action::Action;
use super::case::CASE;
use crate::bench::stock::{MadeUp, Stock};

/// Changes of a push, at most: what keeps its bytes well under a frame's.
const PUSH_CHANGES: usize = 200;

/// The documents that actions touch, at the relay, and who acts.
#[derive(Debug)]
pub(super) struct History<'s> {
    stock: &'s mut Stock,
    scope: &'s Scope,
    kind: Arc<dyn Kind>,
    random: Random,
    authors: BTreeMap<String, MadeUp>,
    documents: BTreeMap<DocumentId, Document>,
    /// What each author has not yet pushed.
    waiting: BTreeMap<String, BTreeMap<DocumentId, Vec<PushChange>>>,
    /// Whose changes of a document wait.
    touched: BTreeMap<DocumentId, String>,
    /// Changes that wait, of all authors.
    changes: usize,
}

impl<'s> History<'s> {
    /// Begins on top of what the relay holds.
    pub(super) fn begin(stock: &'s mut Stock, scope: &'s Scope) -> anyhow::Result<Self> {
        let kinds = crate::bench::kinds();
        let kind = kinds.find(CASE).context("the kind of the workloads")?;
        Ok(Self {
            stock,
            scope,
            kind: Arc::clone(kind),
            random: random_from_system(),
            authors: BTreeMap::new(),
            documents: BTreeMap::new(),
            waiting: BTreeMap::new(),
            touched: BTreeMap::new(),
            changes: 0,
        })
    }

    /// Has the actions done, each by whoever did it; `database` is the relay's, for what is there already.
    pub(super) fn act(&mut self, actions: &[Action], database: &Path) -> anyhow::Result<()> {
        let db = open(database)?;
        for action in actions {
            if !self.documents.contains_key(&action.doc) {
                let document = self.find(&db, action.doc)?;
                self.documents.insert(action.doc, document);
            }
            let is_full = self.changes >= PUSH_CHANGES
                || self.waiting.get(&action.who).is_some_and(|documents| {
                    documents.len() >= limits::PUSH_DOCUMENTS_MAX
                        && !documents.contains_key(&action.doc)
                });
            let is_built_on = self
                .touched
                .get(&action.doc)
                .is_some_and(|who| *who != action.who);
            if is_full || is_built_on {
                self.flush()?;
            }
            self.stock.set_wall(WallTime(action.t));
            self.enact(action)?;
        }
        self.flush()
    }

    /// Returns the heads of each document that was touched.
    pub(super) fn states(&self) -> BTreeMap<DocumentId, Vec<ChangeHash>> {
        let heads = |(id, document): (&DocumentId, &Document)| (*id, document.heads());
        self.documents.iter().map(heads).collect()
    }

    fn find(&self, db: &Connection, id: DocumentId) -> anyhow::Result<Document> {
        let changes = changes(db, id)?;
        let bytes = changes.iter().map(Vec::as_slice);
        Ok(Document::rebuild(
            &self.kind,
            self.kind.schema_version(),
            bytes,
        )?)
    }

    fn enact(&mut self, action: &Action) -> anyhow::Result<()> {
        let wall = WallTime(action.t);
        if !self.authors.contains_key(&action.who) {
            let author = self.stock.author(self.scope)?;
            self.authors.insert(action.who.clone(), author);
        }
        let author = &self.authors[&action.who];
        let stamp = Stamp {
            hlc: Hlc::at(wall),
            wall,
            relay_offset_ms: None,
            device: author.device,
            fact: self.random.bytes(),
        };
        let document = self
            .documents
            .get_mut(&action.doc)
            .context("found before")?;
        let intent = serde_json::to_vec(action)?;
        let change = document.edit(author.actor, &intent, &stamp, &|_| Provenance::default())?;
        let waiting = self.waiting.entry(action.who.clone()).or_default();
        waiting.entry(action.doc).or_default().push(PushChange {
            bytes: change.bytes,
            recovered_from: None,
        });
        self.touched.insert(action.doc, action.who.clone());
        self.changes += 1;
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.touched.clear();
        self.changes = 0;
        for (who, documents) in std::mem::take(&mut self.waiting) {
            let author = self.authors.get_mut(&who).context("made before")?;
            let documents = documents
                .into_iter()
                .map(|(document, changes)| PushDocument {
                    document,
                    kind: CASE.to_owned(),
                    schema_version: self.kind.schema_version(),
                    changes,
                });
            self.stock.rest();
            self.stock.push(author, self.scope, documents.collect())?;
        }
        Ok(())
    }
}

/// Opens a relay's database to look into it while it may be in use.
pub(super) fn open(database: &Path) -> anyhow::Result<Connection> {
    Ok(Connection::open_with_flags(
        database,
        OpenFlags::SQLITE_OPEN_READ_ONLY,
    )?)
}

/// Returns a document's changes in their order; none if it is not there.
fn changes(db: &Connection, document: DocumentId) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut found = db.prepare_cached(
        "SELECT bytes FROM change JOIN document ON document.id = change.document WHERE uuid = ? ORDER BY n",
    )?;
    let rows = found.query_map(params![document.bytes()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns whether a relay's database holds a change of a document.
pub(super) fn holds(
    db: &Connection,
    document: DocumentId,
    hash: &ChangeHash,
) -> anyhow::Result<bool> {
    let mut found = db.prepare_cached(
        "SELECT 1 FROM change JOIN document ON document.id = change.document WHERE uuid = ? AND hash = ?",
    )?;
    Ok(found.exists(params![document.bytes(), hash.bytes()])?)
}

/// Returns the heads of the documents that a relay's database holds, of these or of all.
pub(super) fn heads(
    db: &Connection,
    only: Option<&BTreeSet<DocumentId>>,
) -> anyhow::Result<BTreeMap<DocumentId, Vec<ChangeHash>>> {
    let mut all = db.prepare("SELECT uuid, heads FROM document WHERE kind = ?")?;
    let mut rows = all.query([CASE])?;
    let mut states = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (uuid, heads): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let uuid = uuid.try_into().ok().context("an id has 16 bytes")?;
        let document = DocumentId::from_bytes(uuid);
        if only.is_none_or(|only| only.contains(&document)) {
            let (heads, rest) = heads.as_chunks::<32>();
            ensure!(rest.is_empty(), "heads have 32 bytes each");
            let heads = heads.iter().copied().map(ChangeHash::from_bytes).collect();
            states.insert(document, heads);
        }
    }
    Ok(states)
}

/// Says whether every blob that a document refers to is there as a whole.
pub(super) fn has_all_blobs(db: &Connection) -> anyhow::Result<bool> {
    let mut missing =
        db.prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM attachment WHERE complete = 0)")?;
    Ok(missing.query_row([], |row| row.get(0))?)
}
