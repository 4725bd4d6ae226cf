//! How a batch is written: everything in the one transaction that the caller commits.
//!
//! Sequence numbers are taken by raising the scope's head in this very transaction, so that a
//! reader by cursor never skips an entry.

use std::collections::BTreeMap;

use gridbeat_base::{Digest, DocumentId, Scope, WallTime};
use gridbeat_relay_core::{
    Answer, Batch, DocumentState, DocumentWrite, EntryKind, Mark, NewEntry, StoreFault,
};
use gridbeat_sync_protocol::Signer;
use rusqlite::{OptionalExtension as _, Transaction, params};

use crate::error::{damaged, fault};
use crate::value::{digest, from_sql, heads_to_sql, to_sql};
use crate::{blobs, clones, evidence, lives, quarantine, read};

/// `feed.what`: the document enters, with its changes up to `feed.change`.
pub(crate) const ATTACH: i64 = 1;
/// `feed.what`: the document leaves.
pub(crate) const DETACH: i64 = 2;
/// `feed.what`: the document has the change `feed.change`.
pub(crate) const CHANGE: i64 = 3;

/// Writes a whole batch. What it does is receipted by `signer`, if there is one.
pub(crate) fn commit(
    tx: &Transaction<'_>,
    batch: &Batch,
    signer: Option<&Signer>,
) -> Result<Answer, StoreFault> {
    if let Some(judged_by) = batch.rights_version
        && read::rights_version(tx)? != judged_by
    {
        return Err(StoreFault::Contended);
    }
    let mut scopes = BTreeMap::new();
    let mut documents = BTreeMap::new();
    for (document, write) in &batch.documents {
        let id = put_document(tx, *document, write, batch.received)?;
        for scope in &write.attach {
            let scope = scope_id(tx, &mut scopes, scope)?;
            tx.prepare_cached("INSERT INTO placement VALUES (?1, ?2)")
                .and_then(|mut insert| insert.execute(params![scope, id]))
                .map_err(fault)?;
        }
        for scope in &write.detach {
            let scope = scope_id(tx, &mut scopes, scope)?;
            tx.prepare_cached("DELETE FROM placement WHERE scope = ?1 AND document = ?2")
                .and_then(|mut delete| delete.execute(params![scope, id]))
                .map_err(fault)?;
        }
        documents.insert(*document, id);
    }
    let mut fed = BTreeMap::new();
    for (scope, entries) in &batch.scopes {
        let id = scope_id(tx, &mut scopes, scope)?;
        fed.insert(scope.clone(), put_entries(tx, id, entries, &documents)?);
    }
    lives::record(tx, batch, &documents)?;
    for refused in &batch.refused {
        quarantine::put(tx, refused, batch.received)?;
    }
    marks(tx, &batch.marks)?;
    evidence::record(tx, signer, batch, &fed)?;
    let first_seqs = fed.into_iter().map(|(scope, fed)| (scope, fed.first));
    Ok(Answer::Committed {
        first_seqs: first_seqs.collect(),
    })
}

/// Writes where devices stand.
pub(crate) fn marks(tx: &Transaction<'_>, marks: &[Mark]) -> Result<(), StoreFault> {
    marks
        .iter()
        .try_for_each(|mark| put_mark(tx, mark))
        .map_err(fault)
}

fn put_document(
    tx: &Transaction<'_>,
    document: DocumentId,
    write: &DocumentWrite,
    received: WallTime,
) -> Result<i64, StoreFault> {
    let count = to_sql(write.changes.len() as u64);
    let bytes = to_sql(
        write
            .changes
            .iter()
            .map(|change| change.bytes.len() as u64)
            .sum(),
    );
    let found = match write.expected {
        None => insert_document(tx, document, write, count, bytes).map_err(fault)?,
        Some(version) => update_document(tx, document, version, count, bytes).map_err(fault)?,
    };
    // A row with another version, or with this id where none was: another write came in between.
    let (id, logged) = found.ok_or(StoreFault::Contended)?;
    if let Some(state) = &write.state {
        put_state(tx, id, state, received, write.expected.is_some()).map_err(fault)?;
        blobs::set_references(tx, id, &state.blobs)?;
    }
    let mut insert = tx
        .prepare_cached("INSERT INTO change VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
        .map_err(fault)?;
    for (n, change) in (logged - count + 1..).zip(&write.changes) {
        insert
            .execute(params![
                id,
                n,
                change.hash.bytes(),
                change.author.bytes(),
                change.brought_by.bytes(),
                received.millis(),
                change.bytes
            ])
            .map_err(fault)?;
    }
    Ok(id)
}

type Found = rusqlite::Result<Option<(i64, i64)>>;

fn insert_document(
    tx: &Transaction<'_>,
    document: DocumentId,
    write: &DocumentWrite,
    count: i64,
    bytes: i64,
) -> Found {
    let state = write.state.as_ref();
    tx.prepare_cached(
        "INSERT INTO document (uuid, kind, schema_version, version, changes, log_bytes, term, heads)
         VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7)
         ON CONFLICT DO NOTHING RETURNING id, changes",
    )?
    .query_row(
        params![
            document.bytes(),
            write.kind,
            write.schema_version,
            count,
            bytes,
            state.map_or(Digest::EMPTY, |state| state.term).bytes(),
            state.map_or_else(Vec::new, |state| heads_to_sql(&state.heads)),
        ],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .optional()
}

fn update_document(
    tx: &Transaction<'_>,
    document: DocumentId,
    version: u64,
    count: i64,
    bytes: i64,
) -> Found {
    tx.prepare_cached(
        "UPDATE document SET version = version + 1, changes = changes + ?3,
             log_bytes = log_bytes + ?4
         WHERE uuid = ?1 AND version = ?2 RETURNING id, changes",
    )?
    .query_row(
        params![document.bytes(), to_sql(version), count, bytes],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .optional()
}

fn put_state(
    tx: &Transaction<'_>,
    id: i64,
    state: &DocumentState,
    received: WallTime,
    existed: bool,
) -> rusqlite::Result<()> {
    if existed {
        tx.prepare_cached("UPDATE document SET term = ?2, heads = ?3 WHERE id = ?1")?
            .execute(params![id, state.term.bytes(), heads_to_sql(&state.heads)])?;
    }
    tx.prepare_cached("INSERT OR REPLACE INTO cache VALUES (?1, ?2)")?
        .execute(params![id, state.cache])?;
    let record = &state.record;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        id,
        record.status,
        record.is_open,
        record.category,
        record.position.map(|position| position.latitude_e7()),
        record.position.map(|position| position.longitude_e7()),
        record.occurred.millis(),
        record.attention,
        received.millis(),
        record.text,
        record.body,
    ])?;
    Ok(())
}

/// What was added to one scope's feed.
#[derive(Debug)]
pub(crate) struct Fed {
    /// The scope's number in this file.
    pub(crate) scope: i64,
    /// The sequence number of the first entry.
    pub(crate) first: u64,
    /// The scope's digest after each entry.
    pub(crate) digests: Vec<Digest>,
}

/// Adds entries to a scope's feed.
fn put_entries(
    tx: &Transaction<'_>,
    scope: i64,
    entries: &[NewEntry],
    documents: &BTreeMap<DocumentId, i64>,
) -> Result<Fed, StoreFault> {
    let (head, before): (i64, [u8; 16]) = tx
        .prepare_cached("UPDATE scope SET head = head + ?2 WHERE id = ?1 RETURNING head, digest")
        .and_then(|mut update| {
            update.query_row(params![scope, to_sql(entries.len() as u64)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
        })
        .map_err(fault)?;
    let mut digest = digest(before);
    let first = head - to_sql(entries.len() as u64) + 1;
    let mut digests = Vec::new();
    let mut insert = tx
        .prepare_cached("INSERT INTO feed VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .map_err(fault)?;
    for (seq, entry) in (first..).zip(entries) {
        digest = digest.plus(entry.delta);
        digests.push(digest);
        let document = documents
            .get(&entry.document)
            .ok_or_else(|| damaged("an entry names a document that its batch does not"))?;
        let (what, change) = entry_columns(entry.what);
        insert
            .execute(params![
                scope,
                seq,
                what,
                document,
                to_sql(change),
                digest.bytes()
            ])
            .map_err(fault)?;
    }
    tx.prepare_cached("UPDATE scope SET digest = ?2 WHERE id = ?1")
        .and_then(|mut update| update.execute(params![scope, digest.bytes()]))
        .map_err(fault)?;
    Ok(Fed {
        scope,
        first: from_sql(first)?,
        digests,
    })
}

/// Returns what an entry has in `feed.what` and `feed.change`.
pub(crate) const fn entry_columns(what: EntryKind) -> (i64, u64) {
    match what {
        EntryKind::Attach { upto } => (ATTACH, upto),
        EntryKind::Detach => (DETACH, 0),
        EntryKind::Change { n } => (CHANGE, n),
    }
}

/// Finds a scope's number, or gives it one.
fn scope_id(
    tx: &Transaction<'_>,
    known: &mut BTreeMap<Scope, i64>,
    scope: &Scope,
) -> Result<i64, StoreFault> {
    if let Some(id) = known.get(scope) {
        return Ok(*id);
    }
    let id = tx
        .prepare_cached("SELECT id FROM scope WHERE name = ?1")
        .and_then(|mut find| {
            find.query_row([scope.as_str()], |row| row.get(0))
                .optional()
        })
        .map_err(fault)?;
    let id = match id {
        Some(id) => id,
        None => tx
            .prepare_cached("INSERT INTO scope (name, head, digest) VALUES (?1, 0, ?2)")
            .and_then(|mut insert| insert.insert(params![scope.as_str(), Digest::EMPTY.bytes()]))
            .map_err(fault)?,
    };
    known.insert(scope.clone(), id);
    Ok(id)
}

fn put_mark(tx: &Transaction<'_>, mark: &Mark) -> rusqlite::Result<()> {
    clones::note(tx, mark)?;
    tx.prepare_cached("INSERT OR REPLACE INTO mark VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            mark.device.bytes(),
            mark.install.bytes(),
            mark.seen.millis(),
            mark.clock_offset_ms,
        ])?;
    let mut insert = tx.prepare_cached(
        "INSERT OR REPLACE INTO device_cursor SELECT ?1, id, ?3 FROM scope WHERE name = ?2",
    )?;
    for (scope, seq) in &mark.cursors {
        insert.execute(params![
            mark.device.bytes(),
            scope.as_str(),
            crate::value::clamp_to_sql(*seq)
        ])?;
    }
    Ok(())
}
