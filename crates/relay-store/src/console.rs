//! What operators and consoles read: records, scopes, and what proves equality.
//!
//! Read directly, not as tasks: none of it decides anything. Each method is bounded by its limit.

use gridbeat_base::{ChangeHash, Digest, DocumentId, Position, Scope, WallTime};
use gridbeat_relay_core::{RecordFields, RecordRow, StoreFault};
use rusqlite::{Connection, Row, params};

use crate::error::{damaged, fault};
use crate::value::{digest, document, from_sql, scope, to_sql};
use crate::{SqliteReader, SqliteStore, read};

/// Which records are wanted; every part that is `None` is not looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecordFilter {
    /// The kind's name.
    pub kind: Option<String>,
    /// A scope the document is in.
    pub scope: Option<Scope>,
    /// Whether work is still to be done.
    pub is_open: Option<bool>,
    /// The state, in the kind's own word.
    pub status: Option<String>,
    /// The class.
    pub category: Option<String>,
    /// Only records older than this one: the last of the page before.
    pub before: Option<(WallTime, DocumentId)>,
}

/// One scope as an operator sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScopeRow {
    /// The scope.
    pub scope: Scope,
    /// Its last sequence number.
    pub head: u64,
    /// Its digest there.
    pub digest: Digest,
    /// How many documents are in it.
    pub documents: u64,
}

macro_rules! console {
    ($($name:ident),*) => {$(
        impl $name {
            /// Lists records, the latest to have happened first.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn records(
                &self,
                filter: &RecordFilter,
                limit: u64,
            ) -> Result<Vec<RecordRow>, StoreFault> {
                records(self.connection(), filter, limit)
            }

            /// Lists all scopes in order of their names.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn scopes(&self) -> Result<Vec<ScopeRow>, StoreFault> {
                scopes(self.connection())
            }

            /// Returns whether a change of a document is logged.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn contains(
                &self,
                document: DocumentId,
                change: &ChangeHash,
            ) -> Result<bool, StoreFault> {
                read::contains(self.connection(), document, change)
            }

            /// Lists documents with their heads in order of their ids, from the one after `after`.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn heads_after(
                &self,
                after: Option<DocumentId>,
                limit: u64,
            ) -> Result<Vec<(DocumentId, Vec<ChangeHash>)>, StoreFault> {
                read::heads_after(self.connection(), after, limit)
            }
        }
    )*};
}

console!(SqliteStore, SqliteReader);

fn records(
    connection: &Connection,
    filter: &RecordFilter,
    limit: u64,
) -> Result<Vec<RecordRow>, StoreFault> {
    let mut find = connection
        .prepare_cached(
            "SELECT d.id, d.uuid, d.kind, r.status, r.is_open, r.category, r.latitude_e7,
                 r.longitude_e7, r.occurred, r.attention, r.updated, r.text, r.body
             FROM record r JOIN document d ON d.id = r.document
             WHERE (?1 IS NULL OR d.kind = ?1)
                 AND (?2 IS NULL OR EXISTS (
                     SELECT 1 FROM placement p JOIN scope s ON s.id = p.scope
                     WHERE p.document = d.id AND s.name = ?2))
                 AND (?3 IS NULL OR r.is_open = ?3)
                 AND (?4 IS NULL OR r.status = ?4)
                 AND (?5 IS NULL OR r.category = ?5)
                 AND (?6 IS NULL OR (r.occurred, d.uuid) < (?6, ?7))
             ORDER BY r.occurred DESC, d.uuid DESC LIMIT ?8",
        )
        .map_err(fault)?;
    let mut rows = find
        .query(params![
            filter.kind,
            filter.scope.as_ref().map(Scope::as_str),
            filter.is_open,
            filter.status,
            filter.category,
            filter.before.map(|(at, _)| at.millis()),
            filter.before.map(|(_, document)| *document.bytes()),
            to_sql(limit),
        ])
        .map_err(fault)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(fault)? {
        let scopes = read::placements(connection, row.get(0).map_err(fault)?)?;
        found.push(record_row(row, scopes)?);
    }
    Ok(found)
}

fn record_row(row: &Row<'_>, scopes: Vec<Scope>) -> Result<RecordRow, StoreFault> {
    let read = || -> rusqlite::Result<_> {
        let place: (Option<i32>, Option<i32>) = (row.get(6)?, row.get(7)?);
        let fields = RecordFields {
            status: row.get(3)?,
            is_open: row.get(4)?,
            category: row.get(5)?,
            position: None,
            occurred: WallTime(row.get(8)?),
            attention: row.get(9)?,
            text: row.get(11)?,
            body: row.get(12)?,
        };
        Ok((
            row.get(1)?,
            row.get(2)?,
            WallTime(row.get(10)?),
            fields,
            place,
        ))
    };
    let (uuid, kind, updated, fields, place) = read().map_err(fault)?;
    let position = match place {
        (Some(latitude), Some(longitude)) => Some(
            Position::from_e7(latitude, longitude)
                .map_err(|_| damaged("a record's position is not on the globe"))?,
        ),
        _ => None,
    };
    Ok(RecordRow {
        document: document(uuid),
        kind,
        scopes,
        fields: RecordFields { position, ..fields },
        updated,
    })
}

fn scopes(connection: &Connection) -> Result<Vec<ScopeRow>, StoreFault> {
    let mut find = connection
        .prepare_cached(
            "SELECT name, head, digest,
                 (SELECT count(*) FROM placement p WHERE p.scope = s.id)
             FROM scope s ORDER BY name",
        )
        .map_err(fault)?;
    let mut rows = find.query([]).map_err(fault)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(fault)? {
        found.push(ScopeRow {
            scope: scope(&row.get::<_, String>(0).map_err(fault)?)?,
            head: from_sql(row.get(1).map_err(fault)?)?,
            digest: digest(row.get(2).map_err(fault)?),
            documents: from_sql(row.get(3).map_err(fault)?)?,
        });
    }
    Ok(found)
}
