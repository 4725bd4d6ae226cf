//! The lives of a database: when each began, what came back in it, and what is known to be in a backup.
//!
//! A change is on record as brought back if it came from a device of another life, or was offered again after
//! its device had left the scope. One that its own author brought may be new work: it counts as brought back if
//! its author's clock says that it was made before this life began. Not here: how another life is noticed
//! (`lineage`).

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{DeviceId, DocumentId, Incarnation, Scope, WallTime};
use gridbeat_document::Outline;
use gridbeat_relay_core::{Batch, StoreFault};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::error::{damaged, fault};
use crate::value::from_sql;
use crate::{SqliteReader, SqliteStore, read};

/// One life of the database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Life {
    /// Its id.
    pub incarnation: Incarnation,
    /// When it began; `None` if it was begun by a program that does not know the time.
    pub began: Option<WallTime>,
}

/// What one device brought back of one author's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BroughtBack {
    /// Changes.
    pub changes: u64,
    /// The documents they are of.
    pub documents: BTreeSet<DocumentId>,
    /// The scopes those are in.
    pub scopes: BTreeSet<Scope>,
}

/// Who brought, and who wrote.
pub type BroughtBy = (DeviceId, DeviceId);

macro_rules! lives {
    ($($name:ident),*) => {$(
        impl $name {
            /// Returns the present life, and how many there were before.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn life(&self) -> Result<(Life, u64), StoreFault> {
                life(self.connection())
            }

            /// Returns the time up to which everything received is known to be in a backup; `None` for nothing.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn stable(&self) -> Result<Option<WallTime>, StoreFault> {
                stable(self.connection())
            }

            /// Returns what came back from devices in the present life, by who brought it and who wrote it.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn brought_back(&self) -> Result<BTreeMap<BroughtBy, BroughtBack>, StoreFault> {
                brought_back(self.connection())
            }
        }
    )*};
}

lives!(SqliteStore, SqliteReader);

/// Notes that another life begins.
pub(crate) fn begin(
    connection: &Connection,
    incarnation: Incarnation,
    at: Option<WallTime>,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO life (incarnation, began) VALUES (?1, ?2)",
        params![incarnation.bytes(), at.map(WallTime::millis)],
    )?;
    // What came back into an earlier life is no news in this one.
    connection.execute("DELETE FROM recovered", [])?;
    Ok(())
}

/// Puts on record what of a batch came back, and sees to the mark. To be called when its documents are written.
pub(crate) fn record(
    tx: &Transaction<'_>,
    batch: &Batch,
    documents: &BTreeMap<DocumentId, i64>,
) -> Result<(), StoreFault> {
    lower_stable(tx, batch.received).map_err(fault)?;
    for (document, write) in &batch.documents {
        let id = documents
            .get(document)
            .ok_or_else(|| damaged("a document was written and has no number"))?;
        for change in write.changes.iter().filter(|change| change.recovered) {
            tx.prepare_cached(
                "INSERT INTO recovered SELECT document, n FROM change
                 WHERE document = ?1 AND hash = ?2",
            )
            .and_then(|mut insert| insert.execute(params![id, change.hash.bytes()]))
            .map_err(fault)?;
        }
    }
    Ok(())
}

/// If the clock was set back, what is received now is in no backup, though the mark says so of its time.
fn lower_stable(tx: &Transaction<'_>, received: WallTime) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE meta SET stable = ?1 - 1 WHERE stable >= ?1")?
        .execute([received.millis()])?;
    Ok(())
}

/// Moves the stable mark forward, but not beyond what was received.
pub(crate) fn raise_stable(
    tx: &Transaction<'_>,
    as_of: WallTime,
) -> Result<Option<WallTime>, StoreFault> {
    tx.execute(
        "UPDATE meta SET stable = max(ifnull(stable, 0),
             min(?1, (SELECT max(received) FROM change)))
         WHERE EXISTS (SELECT 1 FROM change)",
        [as_of.millis()],
    )
    .map_err(fault)?;
    stable(tx)
}

/// Sets the stable mark of a database that was made from a backup.
pub(crate) fn restored(tx: &Transaction<'_>, received: Option<WallTime>) -> Result<(), StoreFault> {
    tx.execute(
        "UPDATE meta SET stable = ?1",
        [received.map(WallTime::millis)],
    )
    .map_err(fault)?;
    Ok(())
}

pub(crate) fn stable(connection: &Connection) -> Result<Option<WallTime>, StoreFault> {
    let found: Option<Option<i64>> = connection
        .prepare_cached("SELECT stable FROM meta")
        .and_then(|mut find| find.query_row([], |row| row.get(0)).optional())
        .map_err(fault)?;
    Ok(found.flatten().map(WallTime))
}

fn life(connection: &Connection) -> Result<(Life, u64), StoreFault> {
    let (incarnation, began): ([u8; 16], Option<i64>) = connection
        .query_row(
            "SELECT incarnation, began FROM life ORDER BY id DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(fault)?;
    let lives: i64 = connection
        .query_row("SELECT count(*) FROM life", [], |row| row.get(0))
        .map_err(fault)?;
    let life = Life {
        incarnation: Incarnation::new(incarnation),
        began: began.map(WallTime),
    };
    Ok((life, from_sql(lives)?.saturating_sub(1)))
}

fn brought_back(connection: &Connection) -> Result<BTreeMap<BroughtBy, BroughtBack>, StoreFault> {
    let began = life(connection)?.0.began;
    let mut find = connection
        .prepare_cached(
            "SELECT c.brought_by, c.author, d.uuid, d.id,
                 CASE WHEN c.brought_by = c.author THEN c.bytes END
             FROM recovered r JOIN change c ON c.document = r.document AND c.n = r.n
             JOIN document d ON d.id = r.document",
        )
        .map_err(fault)?;
    let mut rows = find.query([]).map_err(fault)?;
    let mut found: BTreeMap<BroughtBy, BroughtBack> = BTreeMap::new();
    while let Some(row) = rows.next().map_err(fault)? {
        let bytes: Option<Vec<u8>> = row.get(4).map_err(fault)?;
        if bytes.is_some_and(|bytes| was_made_since(&bytes, began)) {
            continue;
        }
        let by = (
            DeviceId::from_bytes(row.get(0).map_err(fault)?),
            DeviceId::from_bytes(row.get(1).map_err(fault)?),
        );
        let back = found.entry(by).or_default();
        back.changes += 1;
        let document = DocumentId::from_bytes(row.get(2).map_err(fault)?);
        if back.documents.insert(document) {
            let places = read::placements(connection, row.get(3).map_err(fault)?)?;
            back.scopes.extend(places);
        }
    }
    Ok(found)
}

/// Whether a change says of itself that it was made after this life began.
fn was_made_since(bytes: &[u8], began: Option<WallTime>) -> bool {
    let made = Outline::read(bytes).map(|outline| outline.time_s.saturating_mul(1_000));
    began
        .zip(made.ok())
        .is_some_and(|(began, made)| made >= began.millis())
}
