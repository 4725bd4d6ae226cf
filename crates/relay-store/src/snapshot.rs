//! A scope's documents for a device that has nothing of it: the open ones first, then the others, the newest first.
//!
//! A mark names the last document read and in which of the two rounds. A document that is closed before it was read in the
//! first round is read in the second; one that is opened again behind the second's back is missed, and since it changed,
//! the feed says so and the device asks for it.

use gridbeat_base::{Digest, DocumentId, Scope};
use gridbeat_relay_core::{SnapshotPage, StoreFault, WholeDocument};
use gridbeat_sync_protocol::limits::{DOCUMENT_FRAME_CHANGES_MAX, SNAPSHOT_DOCUMENTS_MAX};
use rusqlite::{Connection, params};

use crate::error::fault;
use crate::read::{ROW_BYTES, for_each_change, scope_row};
use crate::value::{document, from_sql, schema_version, to_sql};

/// The documents of the first round, and of the second.
const ROUNDS: [&str; 2] = [
    "SELECT d.id, d.uuid, d.kind, d.schema_version FROM placement p
         JOIN document d ON d.id = p.document JOIN record r ON r.document = p.document
     WHERE p.scope = ?1 AND p.document < ?2 AND r.is_open = 1 ORDER BY p.document DESC",
    "SELECT d.id, d.uuid, d.kind, d.schema_version FROM placement p
         JOIN document d ON d.id = p.document LEFT JOIN record r ON r.document = p.document
     WHERE p.scope = ?1 AND p.document < ?2 AND r.is_open IS NOT 1 ORDER BY p.document DESC",
];

/// Where a snapshot goes on: in which round, and before which row of `document`.
#[derive(Clone, Copy)]
struct Place {
    round: usize,
    before: i64,
}

impl Place {
    fn of(mark: Option<u64>) -> Result<Self, StoreFault> {
        Ok(match mark {
            None => Self {
                round: 0,
                before: i64::MAX,
            },
            // A mark is named by a device; whatever it says, it only shortens what that device gets.
            Some(mark) => Self {
                round: usize::from(mark & 1 == 1),
                before: to_sql(mark >> 1),
            },
        })
    }

    fn mark(self) -> Result<u64, StoreFault> {
        Ok(from_sql(self.before)? << 1 | u64::from(self.round == 1))
    }
}

/// Reads the next documents.
pub(crate) fn page(
    connection: &Connection,
    scope: &Scope,
    after: Option<u64>,
    bytes_max: u64,
) -> Result<SnapshotPage, StoreFault> {
    let mut page = SnapshotPage {
        seq: 0,
        digest: Digest::EMPTY,
        documents: Vec::new(),
        mark: after.unwrap_or(0),
        last: true,
    };
    let Some(line) = scope_row(connection, scope)? else {
        return Ok(page);
    };
    (page.seq, page.digest) = (line.head, line.digest);
    let mut at = Place::of(after)?;
    let (mut bytes, mut changes) = (0, 0);
    while let Some(round) = ROUNDS.get(at.round) {
        let mut find = connection.prepare_cached(round).map_err(fault)?;
        let mut rows = find.query(params![line.id, at.before]).map_err(fault)?;
        while let Some(row) = rows.next().map_err(fault)? {
            let id: i64 = row.get(0).map_err(fault)?;
            let whole = whole(
                connection,
                id,
                document(row.get(1).map_err(fault)?),
                (
                    row.get(2).map_err(fault)?,
                    schema_version(row.get(3).map_err(fault)?)?,
                ),
            )?;
            bytes += bytes_of(&whole);
            changes += whole.changes.len();
            let is_full = bytes > bytes_max
                || changes > DOCUMENT_FRAME_CHANGES_MAX
                || page.documents.len() == SNAPSHOT_DOCUMENTS_MAX;
            if is_full && !page.documents.is_empty() {
                page.last = false;
                page.mark = at.mark()?;
                return Ok(page);
            }
            page.documents.push(whole);
            at.before = id;
        }
        at = Place {
            round: at.round + 1,
            before: i64::MAX,
        };
    }
    Ok(page)
}

fn whole(
    connection: &Connection,
    id: i64,
    document: DocumentId,
    (kind, schema_version): (String, u16),
) -> Result<WholeDocument, StoreFault> {
    let mut changes = Vec::new();
    for_each_change(connection, id, i64::MAX, true, |_, change| {
        changes.push(change);
    })?;
    Ok(WholeDocument {
        document,
        kind,
        schema_version,
        changes,
    })
}

fn bytes_of(whole: &WholeDocument) -> u64 {
    let changes = whole.changes.iter();
    let bytes = changes.map(|change| ROW_BYTES + change.bytes.len() as u64);
    ROW_BYTES + bytes.sum::<u64>()
}
