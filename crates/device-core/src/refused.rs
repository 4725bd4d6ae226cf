//! What the relay did not accept, in a person's hands: read it, correct it, drop it.
//!
//! A corrected intent is a change of its own, saved like any other; in the same transaction the refused one is
//! marked as replaced by it. What was dropped or replaced stays in the history, with what was wanted and why it
//! was refused. Not here: how something comes here (`link::rebase`).

use gridbeat_base::{ChangeHash, DocumentId, Now, Scope, Verb, WallTime};
use gridbeat_document::{Change, Document, Kinds, genesis_hash};
use gridbeat_sync_protocol::Grant;
use rusqlite::Connection;

use crate::book::Book;
use crate::device::{Place, writable};
use crate::store::documents::{self, LoadFault, Loaded};
use crate::store::refused::{self, RefusedRow, Which};
use crate::store::scopes::{self, Membership, Placement};
use crate::{Device, ReadError, RefusedIntent, SaveError, Saved, Settled};

impl Device {
    /// Lists what the relay refused and nobody has seen to, the oldest first.
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn refused(&self) -> Result<Vec<RefusedIntent>, ReadError> {
        self.read_refused(Which::Open)
    }

    /// Lists what was refused once and was dropped or corrected since, the oldest first.
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn refused_history(&self) -> Result<Vec<RefusedIntent>, ReadError> {
        self.read_refused(Which::Settled)
    }

    /// Saves a corrected intent in place of one that was refused. If the record ended with the refusal, since it
    /// was to begin with it, it begins by the corrected one, under the same id.
    ///
    /// # Errors
    ///
    /// [`SaveError`]; nothing was saved then, and the refused one is to be seen to as before.
    pub fn correct_refused(
        &mut self,
        now: Now,
        id: i64,
        intent: &[u8],
    ) -> Result<Saved, SaveError> {
        // The refused change used up a number of the present actor's.
        self.actor = None;
        let action = self.action(now, intent);
        let (book, kinds, counters) = (&self.book, &self.kinds, &mut self.counters);
        let (saved, waiting) = self.store.write(|tx| {
            let row = refused::find(tx, id)?.ok_or(SaveError::NotRefused { id })?;
            let (mut loaded, places) = match documents::load(tx, kinds, row.document)? {
                Some(loaded) => {
                    counters.documents_rebuilt += u64::from(loaded.was_rebuilt);
                    let places = writable(tx, book, loaded.id)?;
                    (loaded, places)
                }
                None => begin(tx, book, kinds, &row)?,
            };
            let done = action.perform(tx, &mut loaded, &places)?;
            let saved: Saved = done.0;
            refused::settle(tx, id, now.wall, Some((saved.document, saved.change)))?;
            Ok::<_, SaveError>(done)
        })?;
        self.saved(now, action.stamp.hlc, saved, waiting);
        Ok(saved)
    }

    /// Drops something the relay refused, once a person has seen to it; says whether it was there.
    ///
    /// # Errors
    ///
    /// [`SaveError::DiskFull`] or [`SaveError::Storage`].
    pub fn drop_refused(&mut self, now: Now, id: i64) -> Result<bool, SaveError> {
        self.store
            .write(|tx| Ok(refused::settle(tx, id, now.wall, None)?))
    }

    fn read_refused(&self, which: Which) -> Result<Vec<RefusedIntent>, ReadError> {
        let rows = refused::load(self.store.reader(), which)?;
        Ok(rows.into_iter().map(intent).collect())
    }
}

/// Begins a document anew that ended with the refusal of its first change.
fn begin(
    tx: &Connection,
    book: &Book,
    kinds: &Kinds,
    row: &RefusedRow,
) -> Result<(Loaded, Vec<Place>), SaveError> {
    let kind = kinds
        .find(&row.kind)
        .ok_or_else(|| LoadFault::UnknownKind(row.kind.clone()))?;
    let gone = SaveError::UnknownDocument {
        document: row.document,
    };
    let schema = kind.schema_version();
    // Only a document that nobody else ever saw may begin again: one that the refused change was to begin.
    let was_first = Change::parse(&row.bytes).is_ok_and(|change| {
        (1..=schema).any(|version| change.deps == [genesis_hash(kind, version)])
    });
    if !was_first {
        return Err(gone);
    }
    let scope = Scope::new(&row.scope).map_err(|_| gone)?;
    let found = book.scopes.get(&scope).copied();
    // A proposed place adds nothing to the scope's sums: the copy serves.
    let mut scope_row = found.ok_or(SaveError::UnknownScope { scope })?;
    if scope_row.grant != Grant::Write {
        return Err(SaveError::NotGranted(Verb::Report));
    }
    let blank = Document::genesis(kind, schema);
    let loaded = Loaded::create(tx, blank, row.document)?;
    let proposed = Placement {
        scope: scope_row.id,
        membership: Membership::Proposed,
        heads: Vec::new(),
    };
    let document = (loaded.id, row.document);
    scopes::place(tx, document, None, &proposed, &mut scope_row)?;
    Ok((loaded, vec![Place::of(&scope_row)]))
}

fn intent(row: RefusedRow) -> RefusedIntent {
    let saved = |(document, change): (DocumentId, ChangeHash)| Saved { document, change };
    let settled = |(at, replaced_by): (WallTime, Option<_>)| Settled {
        at,
        replaced_by: replaced_by.map(saved),
    };
    RefusedIntent {
        id: row.id,
        document: row.document,
        kind: row.kind,
        scope: row.scope,
        change: row.hash,
        author: row.author,
        saved: row.wall,
        refused: row.refused,
        intent: row.intent,
        reason: row.reason,
        settled: row.settled.map(settled),
    }
}
