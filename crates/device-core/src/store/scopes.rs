//! Scopes and the placement of documents in them.
//!
//! A scope's digest and count change in the same calls as the placements they are sums of, so they
//! agree at every commit. The rows of scopes are held in memory by the caller and written back.

use std::collections::BTreeMap;

use gridbeat_base::{ChangeHash, Digest, DocumentId, Scope, Verbs};
use gridbeat_sync_protocol::{Grant, SnapshotMark};
use rusqlite::{Connection, params};

use super::{log, sql};
use crate::StorageError;

/// A scope as the file has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ScopeRow {
    pub(crate) id: i64,
    pub(crate) grant: Grant,
    /// The same to the verb, where the relay told.
    pub(crate) verbs: Option<Verbs>,
    /// The last feed entry applied.
    pub(crate) cursor: u64,
    /// The sum over the placements' heads.
    pub(crate) digest: Digest,
    /// How many documents are attached.
    pub(crate) documents: u64,
    /// How far a snapshot of it is taken, while one is under way.
    pub(crate) snapshot: Option<SnapshotMark>,
    /// Where it stood when leaving began; `None` while it is granted.
    pub(crate) left: Option<Left>,
}

/// Where a scope stood when leaving it began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Left {
    pub(crate) seq: u64,
    pub(crate) digest: Digest,
    pub(crate) documents: u64,
    /// How many documents are gone from the device since.
    pub(crate) removed: u64,
    /// Whether the relay may lack what it once called durable: all of it is offered again before it goes.
    pub(crate) offers: bool,
}

/// Whether a document belongs to a scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Membership {
    /// We put it there; the relay has not said so yet.
    Proposed,
    /// The relay has it there.
    Attached,
    /// The relay took it out; it stays until what is unsent has an answer.
    Leaving,
}

/// A document's place in one scope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Placement {
    pub(crate) scope: i64,
    pub(crate) membership: Membership,
    /// The heads accepted there; empty unless attached.
    pub(crate) heads: Vec<ChangeHash>,
}

/// Reads all scopes.
pub(crate) fn load(db: &Connection) -> Result<BTreeMap<Scope, ScopeRow>, StorageError> {
    let rows = sql::all(
        db,
        "SELECT name, id, access, cursor, digest, documents,
             left_seq, left_digest, left_documents, left_removed, left_offers, verbs,
             snapshot_as_of, snapshot_mark FROM scope",
        [],
        |row| {
            let scope = ScopeRow {
                id: row.get(1)?,
                grant: sql::grant(row, 2)?,
                cursor: sql::count(row, 3)?,
                digest: sql::digest(row, 4)?,
                documents: sql::count(row, 5)?,
                left: match row.get::<_, Option<i64>>(6)? {
                    Some(_) => Some(Left {
                        seq: sql::count(row, 6)?,
                        digest: sql::digest(row, 7)?,
                        documents: sql::count(row, 8)?,
                        removed: sql::count(row, 9)?,
                        offers: row.get(10)?,
                    }),
                    None => None,
                },
                verbs: row
                    .get::<_, Option<u8>>(11)?
                    .map(|bits| Verbs::known(bits.into())),
                snapshot: match row.get::<_, Option<i64>>(13)? {
                    Some(mark) => Some(SnapshotMark {
                        as_of: sql::count(row, 12)?,
                        mark: mark.cast_unsigned(),
                    }),
                    None => None,
                },
            };
            Ok((row.get::<_, String>(0)?, scope))
        },
    )?;
    rows.into_iter()
        .map(|(name, row)| {
            let scope = Scope::new(&name).map_err(|_| sql::impossible("scope.name"))?;
            Ok((scope, row))
        })
        .collect()
}

/// Adds a scope that the relay granted.
pub(crate) fn insert(
    db: &Connection,
    scope: &Scope,
    grant: Grant,
    verbs: Option<Verbs>,
) -> Result<ScopeRow, StorageError> {
    sql::execute(
        db,
        "INSERT INTO scope (name, access, cursor, digest, documents, verbs)
         VALUES (?1, ?2, 0, ?3, 0, ?4)",
        params![
            scope.as_str(),
            sql::grant_bits(grant),
            Digest::EMPTY.bytes(),
            verbs.map(Verbs::bits)
        ],
    )?;
    Ok(ScopeRow {
        id: db.last_insert_rowid(),
        grant,
        verbs,
        cursor: 0,
        digest: Digest::EMPTY,
        documents: 0,
        snapshot: None,
        left: None,
    })
}

/// Writes a scope back.
pub(crate) fn update(db: &Connection, row: &ScopeRow) -> Result<(), StorageError> {
    sql::execute(
        db,
        "UPDATE scope SET access = ?2, cursor = ?3, digest = ?4, documents = ?5,
             left_seq = ?6, left_digest = ?7, left_documents = ?8, left_removed = ?9, left_offers = ?10, verbs = ?11,
             snapshot_as_of = ?12, snapshot_mark = ?13
         WHERE id = ?1",
        params![
            row.id,
            sql::grant_bits(row.grant),
            sql::count_bits(row.cursor),
            row.digest.bytes(),
            sql::count_bits(row.documents),
            row.left.map(|left| sql::count_bits(left.seq)),
            row.left.map(|left| left.digest.bytes()),
            row.left.map(|left| sql::count_bits(left.documents)),
            row.left.map(|left| sql::count_bits(left.removed)),
            row.left.map(|left| left.offers),
            row.verbs.map(Verbs::bits),
            row.snapshot.map(|at| sql::count_bits(at.as_of)),
            row.snapshot.map(|at| at.mark.cast_signed()),
        ],
    )?;
    Ok(())
}

/// Removes a scope that has no placements left.
pub(crate) fn delete(db: &Connection, scope: i64) -> Result<(), StorageError> {
    sql::execute(db, "DELETE FROM scope WHERE id = ?1", [scope])?;
    Ok(())
}

/// Returns where a document is placed, by scope.
pub(crate) fn placements(db: &Connection, document: i64) -> Result<Vec<Placement>, StorageError> {
    sql::all(
        db,
        "SELECT scope, state, heads FROM placement WHERE document = ?1 ORDER BY scope",
        [document],
        |row| {
            Ok(Placement {
                scope: row.get(0)?,
                membership: match row.get::<_, i64>(1)? {
                    0 => Membership::Proposed,
                    1 => Membership::Attached,
                    _ => Membership::Leaving,
                },
                heads: sql::heads(row, 2)?,
            })
        },
    )
}

/// Returns a document's place in one scope.
pub(crate) fn placement(
    db: &Connection,
    document: i64,
    scope: i64,
) -> Result<Option<Placement>, StorageError> {
    Ok(placements(db, document)?
        .into_iter()
        .find(|placement| placement.scope == scope))
}

/// Puts a document into a scope, or changes its place there; keeps the scope's sums.
///
/// `before` is its place so far, of which the sums were made.
pub(crate) fn place(
    db: &Connection,
    document: (i64, DocumentId),
    before: Option<&Placement>,
    after: &Placement,
    scope: &mut ScopeRow,
) -> Result<(), StorageError> {
    let state = match after.membership {
        Membership::Proposed => 0,
        Membership::Attached => 1,
        Membership::Leaving => 2,
    };
    sql::execute(
        db,
        "INSERT INTO placement (document, scope, state, heads) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (document, scope) DO UPDATE SET state = excluded.state, heads = excluded.heads",
        params![
            document.0,
            after.scope,
            state,
            sql::heads_bytes(&after.heads)
        ],
    )?;
    count_out(document.1, before, scope);
    count_in(document.1, after, scope);
    Ok(())
}

/// Takes a document out of a scope; keeps the scope's sums.
pub(crate) fn displace(
    db: &Connection,
    document: (i64, DocumentId),
    before: &Placement,
    scope: &mut ScopeRow,
) -> Result<(), StorageError> {
    sql::execute(
        db,
        "DELETE FROM placement WHERE document = ?1 AND scope = ?2",
        [document.0, before.scope],
    )?;
    count_out(document.1, Some(before), scope);
    Ok(())
}

fn count_out(document: DocumentId, before: Option<&Placement>, scope: &mut ScopeRow) {
    if let Some(before) = before
        && !before.heads.is_empty()
    {
        scope.digest = scope
            .digest
            .minus(Digest::of_document(document, &before.heads));
        scope.documents = scope.documents.saturating_sub(1);
    }
}

fn count_in(document: DocumentId, after: &Placement, scope: &mut ScopeRow) {
    if !after.heads.is_empty() {
        scope.digest = scope
            .digest
            .plus(Digest::of_document(document, &after.heads));
        scope.documents += 1;
    }
}

/// Returns every document attached to a scope, with the heads accepted there.
pub(crate) fn inventory(
    db: &Connection,
    scope: i64,
    with_proposed: bool,
) -> Result<Vec<(DocumentId, Digest)>, StorageError> {
    let rows: Vec<(i64, DocumentId, Vec<ChangeHash>)> = sql::all(
        db,
        "SELECT document.id, document.uuid, placement.heads FROM placement
         JOIN document ON document.id = placement.document
         WHERE placement.scope = ?1 AND (placement.state = 1 OR placement.state = 0 AND ?2)",
        params![scope, with_proposed],
        |row| Ok((row.get(0)?, sql::document_id(row, 1)?, sql::heads(row, 2)?)),
    )?;
    rows.into_iter()
        .map(|(id, document, heads)| {
            let receipts = log::receipts(db, id)?;
            Ok((
                document,
                Digest::of_document(document, &heads).with_receipts(receipts),
            ))
        })
        .collect()
}

/// Returns whether a document is only proposed to a scope though the relay accepted changes of it once.
pub(crate) fn owes(db: &Connection, scope: i64) -> Result<bool, StorageError> {
    let proposed: Vec<i64> = sql::all(
        db,
        "SELECT document FROM placement WHERE scope = ?1 AND state = 0",
        [scope],
        |row| row.get(0),
    )?;
    for document in proposed {
        if log::receipts(db, document)? != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns documents with a place in a scope that they are not leaving: so many at most.
pub(crate) fn staying(db: &Connection, scope: i64, limit: usize) -> Result<Vec<i64>, StorageError> {
    sql::all(
        db,
        "SELECT document FROM placement WHERE scope = ?1 AND state <> 2 ORDER BY document LIMIT ?2",
        params![scope, sql::count_bits(limit as u64)],
        |row| row.get(0),
    )
}

/// Returns whether no document has any place in a scope.
pub(crate) fn is_empty(db: &Connection, scope: i64) -> Result<bool, StorageError> {
    let found = sql::first(
        db,
        "SELECT EXISTS (SELECT 1 FROM placement WHERE scope = ?1)",
        [scope],
        |row| row.get::<_, bool>(0),
    )?;
    Ok(found != Some(true))
}

/// A document attached to another scope: its row, its id, its heads there and their digest.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(crate) id: i64,
    pub(crate) heads: Vec<ChangeHash>,
    pub(crate) digest: Digest,
}

/// Returns the documents that are attached to other scopes and not to this one.
pub(crate) fn elsewhere(
    db: &Connection,
    scope: i64,
) -> Result<BTreeMap<DocumentId, Elsewhere>, StorageError> {
    let rows: Vec<(i64, DocumentId, Vec<ChangeHash>)> = sql::all(
        db,
        "SELECT document.id, document.uuid, placement.heads FROM placement
         JOIN document ON document.id = placement.document
         WHERE placement.scope <> ?1 AND placement.state = 1
             AND NOT EXISTS (SELECT 1 FROM placement here
                 WHERE here.document = placement.document AND here.scope = ?1)
         ORDER BY placement.scope",
        [scope],
        |row| Ok((row.get(0)?, sql::document_id(row, 1)?, sql::heads(row, 2)?)),
    )?;
    let mut found = BTreeMap::new();
    for (id, document, heads) in rows {
        let receipts = log::receipts(db, id)?;
        let digest = Digest::of_document(document, &heads).with_receipts(receipts);
        found
            .entry(document)
            .or_insert(Elsewhere { id, heads, digest });
    }
    Ok(found)
}

/// Returns every document with any place in a scope.
pub(crate) fn members(db: &Connection, scope: i64) -> Result<Vec<i64>, StorageError> {
    sql::all(
        db,
        "SELECT document FROM placement WHERE scope = ?1 ORDER BY document",
        [scope],
        |row| row.get(0),
    )
}
