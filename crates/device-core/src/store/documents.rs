//! A document on its way between the file and memory.
//!
//! [`Loaded`] holds one document for one task: read it, change it, [`Loaded::store`] it, drop it. What
//! screens query is written in the same call, so it can never differ from the document.

use core::fmt;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, WallTime};
use gridbeat_document::{Change, Document, Kind, Kinds, Provenance, View};
use rusqlite::{Connection, params};

use super::log::{self, Intent, LogEntry};
use super::{blobs, outbox, records, sql};
use crate::{LinkError, ReadError, SaveError, StorageError};

/// One document in memory, with what the log knows of its changes.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) id: i64,
    pub(crate) uuid: DocumentId,
    pub(crate) kind: Arc<dyn Kind>,
    pub(crate) schema_version: u16,
    pub(crate) document: Document,
    pub(crate) log: BTreeMap<ChangeHash, LogEntry>,
    /// Whether the cache did not load, so that the document came from its log.
    pub(crate) was_rebuilt: bool,
    /// How it reads, if the gate has just read it; `None` once anything of it, or what the log knows, is different.
    pub(crate) read: Option<View>,
    last: i64,
}

/// What became different since a document was last stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Touched {
    /// Its changes.
    Content,
    /// Only who made which change and when it was received.
    Provenance,
}

/// Why a document was not loaded.
#[derive(Debug)]
pub(crate) enum LoadFault {
    /// Its kind, or that kind's schema version, is not registered.
    UnknownKind(String),
    /// The storage failed, or neither cache nor log make a document.
    Storage(StorageError),
}

impl From<StorageError> for LoadFault {
    fn from(source: StorageError) -> Self {
        Self::Storage(source)
    }
}

impl From<LoadFault> for SaveError {
    fn from(fault: LoadFault) -> Self {
        match fault {
            LoadFault::UnknownKind(kind) => Self::UnknownKind { kind },
            LoadFault::Storage(source) => source.into(),
        }
    }
}

impl From<LoadFault> for ReadError {
    fn from(fault: LoadFault) -> Self {
        match fault {
            LoadFault::UnknownKind(kind) => Self::UnknownKind { kind },
            LoadFault::Storage(source) => source.into(),
        }
    }
}

impl From<LoadFault> for LinkError {
    fn from(fault: LoadFault) -> Self {
        match fault {
            // A document of a kind that was registered once: the program lost a kind.
            LoadFault::UnknownKind(_) => sql::impossible("document.kind").into(),
            LoadFault::Storage(source) => source.into(),
        }
    }
}

/// Finds a kind that can read this schema version.
pub(crate) fn readable<'k>(
    kinds: &'k Kinds,
    name: &str,
    schema_version: u16,
) -> Option<&'k Arc<dyn Kind>> {
    kinds
        .find(name)
        .filter(|kind| (1..=kind.schema_version()).contains(&schema_version))
}

/// Returns the row of a document.
pub(crate) fn find(db: &Connection, uuid: DocumentId) -> Result<Option<i64>, StorageError> {
    sql::first(
        db,
        "SELECT id FROM document WHERE uuid = ?1",
        [uuid.bytes()],
        |row| row.get(0),
    )
}

/// Returns the id of a document's row.
pub(crate) fn uuid(db: &Connection, id: i64) -> Result<DocumentId, StorageError> {
    sql::first(db, "SELECT uuid FROM document WHERE id = ?1", [id], |row| {
        sql::document_id(row, 0)
    })?
    .ok_or_else(|| sql::impossible("document.id"))
}

/// Returns how many documents there are.
pub(crate) fn count(db: &Connection) -> Result<u64, StorageError> {
    let count = sql::first(db, "SELECT count(*) FROM document", [], |row| {
        sql::count(row, 0)
    })?;
    Ok(count.unwrap_or(0))
}

/// Returns every document with its heads, by id.
pub(crate) fn fingerprint(
    db: &Connection,
) -> Result<Vec<(DocumentId, Vec<ChangeHash>)>, StorageError> {
    sql::all(
        db,
        "SELECT uuid, heads FROM document ORDER BY uuid",
        [],
        |row| Ok((sql::document_id(row, 0)?, sql::heads(row, 1)?)),
    )
}

/// Lists the references of all documents, of a file in which they never were.
pub(crate) fn list_references(db: &Connection, kinds: &Kinds) -> Result<(), StorageError> {
    for (uuid, _) in fingerprint(db)? {
        // One of a kind that this program does not know says nothing here.
        match load(db, kinds, uuid) {
            Ok(Some(loaded)) => {
                let blobs = loaded.kind.blobs(&loaded.view());
                blobs::set_references(db, loaded.id, &blobs)?;
            }
            Ok(None) | Err(LoadFault::UnknownKind(_)) => {}
            Err(LoadFault::Storage(source)) => return Err(source),
        }
    }
    Ok(())
}

/// Removes a document and all that belongs to it but its places in scopes.
pub(crate) fn delete(db: &Connection, id: i64) -> Result<(), StorageError> {
    blobs::set_references(db, id, &BTreeSet::new())?;
    records::delete(db, id)?;
    log::delete_all(db, id)?;
    outbox::delete_all(db, id)?;
    sql::execute(db, "DELETE FROM document WHERE id = ?1", [id])?;
    Ok(())
}

/// Loads a document from its cache, or from its log if the cache does not load.
pub(crate) fn load(
    db: &Connection,
    kinds: &Kinds,
    uuid: DocumentId,
) -> Result<Option<Loaded>, LoadFault> {
    let row = sql::first(
        db,
        "SELECT id, kind, schema, last, heads, saved FROM document WHERE uuid = ?1",
        [uuid.bytes()],
        |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, u16>(2)?,
                row.get::<_, i64>(3)?,
                sql::heads(row, 4)?,
                row.get::<_, Vec<u8>>(5)?,
            ))
        },
    )?;
    let Some((id, name, schema_version, last, heads, saved)) = row else {
        return Ok(None);
    };
    let Some(kind) = readable(kinds, &name, schema_version) else {
        return Err(LoadFault::UnknownKind(name));
    };
    let cached = Document::load(kind, schema_version, &saved)
        .ok()
        .filter(|document| document.heads() == heads);
    let was_rebuilt = cached.is_none();
    let document = match cached {
        Some(document) => document,
        None => rebuild(db, kind, schema_version, id)?,
    };
    let log = log::entries(db, id)?;
    Ok(Some(Loaded {
        id,
        uuid,
        kind: Arc::clone(kind),
        schema_version,
        document,
        log: log.into_iter().map(|entry| (entry.hash, entry)).collect(),
        was_rebuilt,
        read: None,
        last,
    }))
}

fn rebuild(
    db: &Connection,
    kind: &Arc<dyn Kind>,
    schema_version: u16,
    id: i64,
) -> Result<Document, StorageError> {
    tracing::debug!(document = id, "rebuilding a document from its log");
    let log = log::bytes_of_all(db, id)?;
    let bytes = log.iter().map(|(_, bytes)| bytes.as_slice());
    Document::rebuild(kind, schema_version, bytes).map_err(|_| sql::impossible("change.bytes"))
}

impl Loaded {
    /// Reads the document as it is.
    pub(crate) fn view(&self) -> View {
        self.document.view(&|hash| self.provenance(hash))
    }

    /// Makes the row of a document that nobody has edited yet.
    pub(crate) fn create(
        db: &Connection,
        document: Document,
        uuid: DocumentId,
    ) -> Result<Self, StorageError> {
        let kind = Arc::clone(document.kind());
        let schema_version = document.schema_version();
        // Its row comes first: the log's ids are made of the row's. `store` completes it.
        sql::execute(
            db,
            "INSERT INTO document (uuid, kind, schema, heads, last, body, saved)
             VALUES (?1, ?2, ?3, x'', 0, '', x'')",
            params![uuid.bytes(), kind.name(), schema_version],
        )?;
        Ok(Self {
            id: db.last_insert_rowid(),
            uuid,
            kind,
            schema_version,
            document,
            log: BTreeMap::new(),
            was_rebuilt: false,
            read: None,
            last: 0,
        })
    }

    /// Adds a change that is part of the document to its log.
    pub(crate) fn append(
        &mut self,
        db: &Connection,
        change: &Change,
        author: DeviceId,
        received: Option<WallTime>,
        intent: Option<&Intent>,
    ) -> Result<i64, StorageError> {
        self.read = None;
        self.last += 1;
        if self.last > sql::CHANGE_NUMBER_MAX {
            return Err(sql::impossible("document.last"));
        }
        let entry = LogEntry {
            id: sql::change_id(self.id, self.last),
            hash: change.hash,
            author,
            received,
        };
        log::insert(db, &entry, &change.bytes, intent)?;
        self.log.insert(change.hash, entry);
        Ok(entry.id)
    }

    /// Notes that the relay received a change, and who it says made it; says whether that was news.
    pub(crate) fn set_received(
        &mut self,
        db: &Connection,
        hash: &ChangeHash,
        author: DeviceId,
        received: WallTime,
    ) -> Result<bool, StorageError> {
        let Some(entry) = self.log.get_mut(hash) else {
            return Ok(false);
        };
        if entry.received == Some(received) && entry.author == author {
            return Ok(false);
        }
        self.read = None;
        entry.received = Some(received);
        entry.author = author;
        log::set_received(db, entry.id, author, received)?;
        Ok(true)
    }

    /// Notes that the relay does not have a change any more.
    pub(crate) fn clear_received(
        &mut self,
        db: &Connection,
        hash: &ChangeHash,
    ) -> Result<(), StorageError> {
        if let Some(entry) = self.log.get_mut(hash) {
            self.read = None;
            entry.received = None;
            log::clear_received(db, entry.id)?;
        }
        Ok(())
    }

    /// Takes changes out of the log, and makes the document anew without them.
    pub(crate) fn remove(
        &mut self,
        db: &Connection,
        changes: &[ChangeHash],
    ) -> Result<(), StorageError> {
        self.read = None;
        for hash in changes {
            if let Some(entry) = self.log.remove(hash) {
                log::delete(db, entry.id)?;
            }
        }
        self.document = rebuild(db, &self.kind, self.schema_version, self.id)?;
        Ok(())
    }

    /// Returns what the log knows of a change.
    pub(crate) fn provenance(&self, hash: &ChangeHash) -> Provenance {
        provenance(&self.log, hash)
    }

    /// Writes the document back, and what screens query of it.
    pub(crate) fn store(&self, db: &Connection, touched: Touched) -> Result<(), StorageError> {
        let view = match &self.read {
            Some(view) => Cow::Borrowed(view),
            None => Cow::Owned(self.view()),
        };
        let projection = self.kind.project(&view);
        match touched {
            Touched::Content => {
                blobs::set_references(db, self.id, &self.kind.blobs(&view))?;
                sql::execute(
                    db,
                    "UPDATE document SET heads = ?2, last = ?3, body = ?4, saved = ?5 WHERE id = ?1",
                    params![
                        self.id,
                        sql::heads_bytes(&self.document.heads()),
                        self.last,
                        projection.body,
                        self.document.save(),
                    ],
                )?;
            }
            Touched::Provenance => {
                sql::execute(
                    db,
                    "UPDATE document SET body = ?2 WHERE id = ?1 AND body <> ?2",
                    params![self.id, projection.body],
                )?;
            }
        }
        let received = self.log.values().filter_map(|entry| entry.received).max();
        records::put(db, self.id, self.kind.name(), &projection, received)
    }
}

/// Returns what a log knows of a change.
pub(crate) fn provenance(log: &BTreeMap<ChangeHash, LogEntry>, hash: &ChangeHash) -> Provenance {
    log.get(hash)
        .map_or_else(Provenance::default, |entry| Provenance {
            author: Some(entry.author),
            received: entry.received,
        })
}

impl fmt::Display for LoadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(f, "unknown kind {kind:?}"),
            Self::Storage(source) => write!(f, "{source}"),
        }
    }
}
