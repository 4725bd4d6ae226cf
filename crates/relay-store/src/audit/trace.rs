//! What a relay's file says of one document: who made each change, who brought it, when it came, where it went
//! and how far it is known to have got.
//!
//! Batches and receipts count only if they can be relied on, as in verifying. Not here: what the changes say,
//! which only their kind can tell.

use std::collections::BTreeMap;

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Scope, WallTime};
use gridbeat_relay_core::{EntryKind, StoreFault};
use gridbeat_sync_protocol::BatchStamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::chain::{Account, read_account};
use super::{Archive, AuditError, AuditReport};
use crate::commit::{ATTACH, CHANGE};
use crate::error::fault;
use crate::receipt::Receipted;
use crate::value;

/// Everything a relay's file says of one document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DocumentTrace {
    /// Its kind's name; empty if nothing of it was ever taken in.
    pub kind: String,
    /// The schema version of its genesis.
    pub schema_version: u16,
    /// Its changes, in the order of the log.
    pub changes: Vec<TracedChange>,
    /// When it entered and left scopes, in the order of each scope's feed.
    pub placements: Vec<TracedPlacement>,
    /// What was refused of it, in the order it came.
    pub refused: Vec<TracedRefusal>,
    /// Every device that is named, and every device that has a right or a place in the relay's tables.
    pub devices: BTreeMap<DeviceId, TracedDevice>,
}

/// One change of the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TracedChange {
    /// Its name.
    pub hash: ChangeHash,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The device that made it.
    pub author: DeviceId,
    /// The device that brought it.
    pub brought_by: DeviceId,
    /// When the relay received it.
    pub received: WallTime,
    /// The batch it came in; `None` if there is none that can be relied on.
    pub batch: Option<TracedBatch>,
    /// Its places in the feeds of scopes.
    pub entries: Vec<(Scope, u64)>,
    /// The devices that said that they hold a feed up to it or further.
    pub held_by: Vec<DeviceId>,
}

/// The batch that brought a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TracedBatch {
    /// What the device said of it.
    pub stamp: BatchStamp,
    /// Whether the device signed it; the signature is good then.
    pub is_signed: bool,
    /// The relay's receipt of it.
    pub receipt: u64,
}

/// A document's entering or leaving a scope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TracedPlacement {
    /// The scope.
    pub scope: Scope,
    /// Its place in the scope's feed.
    pub seq: u64,
    /// Whether it entered.
    pub entered: bool,
    /// When, by the relay's clock; `None` if there is no receipt of it that can be relied on.
    pub at: Option<WallTime>,
}

/// Something that was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TracedRefusal {
    /// The device that brought it.
    pub device: DeviceId,
    /// The scope it was pushed in.
    pub scope: Scope,
    /// Its name, if its bytes are a change at all.
    pub hash: Option<ChangeHash>,
    /// The rule it broke.
    pub code: String,
    /// When it came.
    pub received: WallTime,
}

/// What the relay's tables say of a device.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TracedDevice {
    /// Its name; empty if the relay does not know it.
    pub name: String,
    /// When the relay last heard how far it is; `None` if never.
    pub heard: Option<WallTime>,
}

impl Archive {
    /// Gathers what the file says of a document; `None` if it says nothing.
    ///
    /// # Errors
    ///
    /// [`AuditError::Store`].
    pub fn trace(&self, document: DocumentId) -> Result<Option<DocumentTrace>, AuditError> {
        let _tx = self.connection.unchecked_transaction().ok();
        let account = read_account(&self.connection, &mut AuditReport::default())?;
        let mut trace = DocumentTrace::default();
        let found = self
            .connection
            .query_row(
                "SELECT id, kind, schema_version FROM document WHERE uuid = ?1",
                [document.bytes()],
                |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, i64>(2)?)),
            )
            .optional()
            .map_err(fault)?;
        if let Some((id, kind, schema_version)) = found {
            trace.kind = kind;
            trace.schema_version = value::schema_version(schema_version)?;
            trace.changes = changes(&self.connection, id)?;
            add_batches(&mut trace.changes, document, &account);
            add_entries(&self.connection, id, &mut trace)?;
            add_times(&mut trace.placements, document, &account);
            add_holders(&self.connection, &mut trace.changes)?;
        }
        trace.refused = refused(&self.connection, document)?;
        trace.devices = devices(&self.connection)?;
        for change in &trace.changes {
            trace.devices.entry(change.author).or_default();
            trace.devices.entry(change.brought_by).or_default();
        }
        for refused in &trace.refused {
            trace.devices.entry(refused.device).or_default();
        }
        let is_known = !trace.changes.is_empty() || !trace.refused.is_empty();
        Ok(is_known.then_some(trace))
    }
}

fn changes(connection: &Connection, document: i64) -> Result<Vec<TracedChange>, StoreFault> {
    let sql = "SELECT hash, author, brought_by, received, bytes FROM change
               WHERE document = ?1 ORDER BY n";
    rows(connection, sql, [document], |row| {
        Ok(TracedChange {
            hash: ChangeHash::from_bytes(row.get(0)?),
            author: DeviceId::from_bytes(row.get(1)?),
            brought_by: DeviceId::from_bytes(row.get(2)?),
            received: WallTime(row.get(3)?),
            bytes: row.get(4)?,
            batch: None,
            entries: Vec::new(),
            held_by: Vec::new(),
        })
    })
}

/// Finds the first batch, in the order of receipts, that brought each change.
fn add_batches(changes: &mut [TracedChange], document: DocumentId, account: &Account) {
    let mut brought = BTreeMap::new();
    for receipt in &account.receipts {
        let Receipted::Batch { hash, key, .. } = &receipt.what else {
            continue;
        };
        let Some(statement) = account.batches.get(hash) else {
            continue;
        };
        let batch = TracedBatch {
            stamp: statement.stamp,
            is_signed: key.is_some(),
            receipt: receipt.number,
        };
        let documents = statement.documents.iter();
        for pushed in documents.filter(|pushed| pushed.document == document) {
            for (change, _) in &pushed.changes {
                // What came again later, or was incomplete at first, counts from the receipt of its log entry.
                brought
                    .entry((*change, statement.device, receipt.received))
                    .or_insert(batch);
            }
        }
    }
    for change in changes {
        let key = (change.hash, change.brought_by, change.received);
        change.batch = brought.get(&key).copied();
    }
}

/// Reads where the document's changes stand in feeds, and when it entered and left.
fn add_entries(
    connection: &Connection,
    document: i64,
    trace: &mut DocumentTrace,
) -> Result<(), StoreFault> {
    let sql = "SELECT s.name, f.seq, f.what, f.change FROM feed f JOIN scope s ON s.id = f.scope
               WHERE f.document = ?1 ORDER BY s.name, f.seq";
    let entries: Vec<(String, i64, i64, i64)> = rows(connection, sql, [document], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    for (scope, seq, what, upto) in entries {
        let (scope, seq) = (value::scope(&scope)?, value::from_sql(seq)?);
        let upto = usize::try_from(upto).unwrap_or(0);
        let brings = match what {
            CHANGE => upto.saturating_sub(1)..upto,
            // Whoever has a scope gets with the document what it was until then.
            ATTACH => 0..upto,
            _ => 0..0,
        };
        let length = trace.changes.len();
        for change in &mut trace.changes[brings.start.min(length)..brings.end.min(length)] {
            change.entries.push((scope.clone(), seq));
        }
        if what != CHANGE {
            trace.placements.push(TracedPlacement {
                scope,
                seq,
                entered: what == ATTACH,
                at: None,
            });
        }
    }
    Ok(())
}

fn add_times(placements: &mut [TracedPlacement], document: DocumentId, account: &Account) {
    let mut times = BTreeMap::new();
    for receipt in &account.receipts {
        for range in receipt.ranges() {
            for (seq, entry) in (range.first..).zip(&range.entries) {
                let moves = !matches!(entry.what, EntryKind::Change { .. });
                if moves && entry.document == document {
                    times.insert((&range.scope, seq), receipt.received);
                }
            }
        }
    }
    for placement in placements {
        placement.at = times.get(&(&placement.scope, placement.seq)).copied();
    }
}

fn add_holders(connection: &Connection, changes: &mut [TracedChange]) -> Result<(), StoreFault> {
    let sql = "SELECT c.device, s.name, c.seq FROM device_cursor c JOIN scope s ON s.id = c.scope";
    let cursors: Vec<(DeviceId, String, i64)> = rows(connection, sql, [], |row| {
        Ok((DeviceId::from_bytes(row.get(0)?), row.get(1)?, row.get(2)?))
    })?;
    for change in changes {
        let mut held_by: Vec<DeviceId> = cursors
            .iter()
            .filter(|(device, scope, cursor)| {
                *device != change.author
                    && change.entries.iter().any(|(in_scope, seq)| {
                        in_scope.as_str() == scope
                            && i64::try_from(*seq).is_ok_and(|seq| seq <= *cursor)
                    })
            })
            .map(|(device, _, _)| *device)
            .collect();
        held_by.sort_unstable();
        held_by.dedup();
        change.held_by = held_by;
    }
    Ok(())
}

fn refused(
    connection: &Connection,
    document: DocumentId,
) -> Result<Vec<TracedRefusal>, StoreFault> {
    let sql = "SELECT device, scope, hash, code, received FROM refused
               WHERE document = ?1 ORDER BY received, id";
    let found = rows(connection, sql, [document.bytes()], |row| {
        let scope: String = row.get(1)?;
        Ok(value::scope(&scope).map(|scope| {
            Ok(TracedRefusal {
                device: DeviceId::from_bytes(row.get(0)?),
                scope,
                hash: row
                    .get::<_, Option<[u8; 32]>>(2)?
                    .map(ChangeHash::from_bytes),
                code: row.get(3)?,
                received: WallTime(row.get(4)?),
            })
        }))
    })?;
    let found = found.into_iter();
    found.map(|row| row?.map_err(fault)).collect()
}

fn devices(connection: &Connection) -> Result<BTreeMap<DeviceId, TracedDevice>, StoreFault> {
    let sql =
        "SELECT d.device, d.name, m.seen FROM device d LEFT JOIN mark m ON m.device = d.device";
    let found = rows(connection, sql, params![], |row| {
        let device = TracedDevice {
            name: row.get(1)?,
            heard: row.get::<_, Option<i64>>(2)?.map(WallTime),
        };
        Ok((DeviceId::from_bytes(row.get(0)?), device))
    })?;
    Ok(found.into_iter().collect())
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreFault> {
    let mut find = connection.prepare(sql).map_err(fault)?;
    let found = find.query_map(values, read).map_err(fault)?;
    found.collect::<rusqlite::Result<_>>().map_err(fault)
}
