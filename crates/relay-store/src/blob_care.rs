//! Blobs in an operator's hands: whether each is what it is called, what refers to nothing, what is in the way. And
//! the references of documents from before there were blobs.
//!
//! Not here: blobs on their way (`blobs`).

use std::sync::Arc;

use gridbeat_base::{BlobHash, DocumentId, MEDIA_BYTES, Media, WallTime};
use gridbeat_document::{Document, Kind, Kinds, Provenance};
use gridbeat_relay_core::StoreFault;
use gridbeat_sync_protocol::BlobTree;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::blobs::{self, Chunks};
use crate::error::fault;
use crate::operation::{self, Act};
use crate::value::{document, from_sql};
use crate::{SqliteReader, SqliteStore, read};

/// Documents whose references are listed in one transaction.
const LISTED_AT_ONCE: i64 = 256;

/// What was found of the blobs in a relay's file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BlobCheck {
    /// Whole blobs that are what they are called.
    pub whole: u64,
    /// Their bytes.
    pub whole_bytes: u64,
    /// Whole blobs that are not what they are called.
    pub damaged: Vec<BlobHash>,
    /// Attachments that are called complete without a whole blob.
    pub missing: Vec<(DocumentId, BlobHash)>,
    /// Whole blobs to which no document refers, with their sizes.
    pub unused: Vec<(BlobHash, u64)>,
    /// Attachments whose blob has not come as a whole.
    pub awaited: u64,
    /// Blobs that are half-way here.
    pub uploads: u64,
}

impl BlobCheck {
    /// Returns whether nothing is wrong.
    pub const fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty()
    }
}

/// A blob that a document refers to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AttachmentRow {
    /// The document.
    pub document: DocumentId,
    /// The blob.
    pub hash: BlobHash,
    /// Whether the whole blob is here for that document.
    pub is_received: bool,
    /// What it is, by its first bytes; `None` unless it is received.
    pub media: Option<Media>,
}

/// What was cleared away.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BlobsCleared {
    /// Whole blobs to which no document referred.
    pub unused: u64,
    /// Blobs that were half-way here and went no further.
    pub uploads: u64,
    /// The bytes of both, as far as they were here.
    pub bytes: u64,
}

macro_rules! check {
    ($($name:ident),*) => {$(
        impl $name {
            /// Reads every blob and compares it with its name, and looks what refers to what.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn check_blobs(&self) -> Result<BlobCheck, StoreFault> {
                check(self.connection())
            }

            /// Lists every blob that a document refers to, in order of documents and hashes.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn attachments(&self) -> Result<Vec<AttachmentRow>, StoreFault> {
                attachments(self.connection())
            }
        }
    )*};
}

check!(SqliteStore, SqliteReader);

impl SqliteStore {
    /// Clears away blobs to which no document refers and uploads that stand still, if both have not moved since
    /// `before`; with `is_trial` only counts them. One transaction: what is referred to meanwhile stays. It is put on
    /// record, unless there was nothing.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then cleared away.
    pub fn clear_blobs(
        &mut self,
        before: WallTime,
        at: WallTime,
        is_trial: bool,
    ) -> Result<BlobsCleared, StoreFault> {
        let (signer, by) = (self.signer(), self.by.clone());
        self.write(|tx| {
            let mut cleared = BlobsCleared::default();
            for (blob, is_whole, bytes) in clearable(tx, before)? {
                cleared.unused += u64::from(is_whole);
                cleared.uploads += u64::from(!is_whole);
                cleared.bytes += bytes;
                if !is_trial {
                    blobs::delete(tx, blob)?;
                }
            }
            if !is_trial && cleared != BlobsCleared::default() {
                let BlobsCleared {
                    unused,
                    uploads,
                    bytes,
                } = cleared;
                let act = Act {
                    verb: "blob gc",
                    subject: String::new(),
                    details: format!("unused={unused} uploads={uploads} bytes={bytes}"),
                };
                operation::log(tx, signer.as_ref(), &by, at, act)?;
            }
            Ok(cleared)
        })
    }

    /// Lists the references of documents that were stored before references were; returns how many documents these
    /// were. Those of kinds that are not registered wait for a program that has them.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; what was listed until then stays listed.
    pub fn list_references(&mut self, kinds: &Kinds) -> Result<u64, StoreFault> {
        let (mut after, mut listed) = (0, 0);
        loop {
            let page = unlisted(self.connection(), after)?;
            let Some((last, _)) = page.last() else {
                return Ok(listed);
            };
            after = *last;
            listed += self.write(|tx| {
                let mut count = 0;
                for (id, name) in &page {
                    let found = kinds.find(name);
                    if let Some(document) = found.map(|kind| load(tx, *id, kind)).transpose()? {
                        let view = document.view(&|_: &_| Provenance::default());
                        blobs::set_references(tx, *id, &document.kind().blobs(&view))?;
                        count += 1;
                    }
                }
                Ok(count)
            })?;
        }
    }
}

fn unlisted(connection: &Connection, after: i64) -> Result<Vec<(i64, String)>, StoreFault> {
    let mut find = connection
        .prepare_cached(
            "SELECT d.id, d.kind FROM unlisted u JOIN document d ON d.id = u.document
             WHERE d.id > ?1 ORDER BY d.id LIMIT ?2",
        )
        .map_err(fault)?;
    let rows = find
        .query_map(params![after, LISTED_AT_ONCE], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(fault)?;
    rows.collect::<rusqlite::Result<_>>().map_err(fault)
}

/// Loads a document from its cache, or from its log.
fn load(connection: &Connection, id: i64, kind: &Arc<dyn Kind>) -> Result<Document, StoreFault> {
    let (schema, saved): (u16, Option<Vec<u8>>) = connection
        .prepare_cached(
            "SELECT d.schema_version, c.saved FROM document d
             LEFT JOIN cache c ON c.document = d.id WHERE d.id = ?1",
        )
        .and_then(|mut find| find.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(fault)?;
    let cached = saved.and_then(|saved| Document::load(kind, schema, &saved).ok());
    if let Some(document) = cached {
        return Ok(document);
    }
    let log = read::log_bytes(connection, id)?;
    let bytes = log.iter().map(Vec::as_slice);
    Document::rebuild(kind, schema, bytes)
        .map_err(|_| crate::error::damaged("neither a document nor its log can be read"))
}

fn check(connection: &Connection) -> Result<BlobCheck, StoreFault> {
    let tx = connection.unchecked_transaction().map_err(fault)?;
    let mut found = BlobCheck::default();
    let mut find = tx
        .prepare("SELECT hash FROM blob WHERE device IS NULL ORDER BY hash")
        .map_err(fault)?;
    let mut rows = find.query([]).map_err(fault)?;
    while let Some(row) = rows.next().map_err(fault)? {
        let hash = BlobHash::from_bytes(row.get(0).map_err(fault)?);
        let Some(line) = blobs::whole(&tx, hash)? else {
            continue;
        };
        if BlobTree::of(hash, line.size_bytes, Chunks::of(&tx, line.id)).is_ok() {
            found.whole += 1;
            found.whole_bytes += line.size_bytes;
        } else {
            found.damaged.push(hash);
        }
        let is_used = tx
            .prepare_cached("SELECT 1 FROM attachment WHERE hash = ?1 LIMIT 1")
            .and_then(|mut find| find.query_row([hash.bytes()], |_| Ok(())).optional())
            .map_err(fault)?;
        if is_used.is_none() {
            found.unused.push((hash, line.size_bytes));
        }
    }
    let mut find = tx
        .prepare(
            "SELECT d.uuid, a.hash FROM attachment a JOIN document d ON d.id = a.document
             WHERE a.complete = 1 AND NOT EXISTS (
                 SELECT 1 FROM blob b WHERE b.hash = a.hash AND b.device IS NULL)
             ORDER BY d.uuid, a.hash",
        )
        .map_err(fault)?;
    let mut rows = find.query([]).map_err(fault)?;
    while let Some(row) = rows.next().map_err(fault)? {
        let hash = BlobHash::from_bytes(row.get(1).map_err(fault)?);
        found
            .missing
            .push((document(row.get(0).map_err(fault)?), hash));
    }
    let count = |query| {
        let count = tx.query_row(query, [], |row| row.get(0));
        count.map_err(fault).and_then(from_sql)
    };
    found.awaited = count("SELECT count(*) FROM attachment WHERE complete = 0")?;
    found.uploads = count("SELECT count(*) FROM blob WHERE device IS NOT NULL")?;
    Ok(found)
}

fn attachments(connection: &Connection) -> Result<Vec<AttachmentRow>, StoreFault> {
    let mut find = connection
        .prepare_cached(
            "SELECT d.uuid, a.hash, a.complete, substr(c.bytes, 1, ?1) FROM attachment a
             JOIN document d ON d.id = a.document
             LEFT JOIN blob b ON a.complete = 1 AND b.hash = a.hash AND b.device IS NULL
             LEFT JOIN blob_chunk c ON c.id = b.id << 11 ORDER BY d.uuid, a.hash",
        )
        .map_err(fault)?;
    let rows = find
        .query_map([MEDIA_BYTES], |row| {
            let first: Option<Vec<u8>> = row.get(3)?;
            Ok(AttachmentRow {
                document: document(row.get(0)?),
                hash: BlobHash::from_bytes(row.get(1)?),
                is_received: row.get(2)?,
                media: first.map(|first| Media::of(&first)),
            })
        })
        .map_err(fault)?;
    rows.collect::<rusqlite::Result<_>>().map_err(fault)
}

type Clearable = Vec<(i64, bool, u64)>;

fn clearable(connection: &Connection, before: WallTime) -> Result<Clearable, StoreFault> {
    let mut find = connection
        .prepare(
            "SELECT b.id, b.device IS NULL, coalesce((SELECT sum(length(c.bytes)) FROM blob_chunk c
                 WHERE c.id BETWEEN b.id << 11 AND (b.id << 11 | 2047)), 0)
             FROM blob b WHERE b.since < ?1 AND (b.device IS NOT NULL
                 OR NOT EXISTS (SELECT 1 FROM attachment a WHERE a.hash = b.hash))",
        )
        .map_err(fault)?;
    let rows = find
        .query_map([before.millis()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?))
        })
        .map_err(fault)?;
    let mut found = Vec::new();
    for row in rows {
        let (id, is_whole, bytes) = row.map_err(fault)?;
        found.push((id, is_whole, from_sql(bytes)?));
    }
    Ok(found)
}
