//! The quarantine: what was not admitted, kept as it came, until an operator has seen to it.
//!
//! A refused change decides on nothing: it is a row beside the log, and no document waits for it. Each
//! device has room for so much; what is refused beyond is counted here and named in its receipt alone. An
//! operator discards the bytes; what remains says what it was, who discarded it and why, for ever. Not here:
//! why something is refused (`gridbeat-relay-core`), what its bytes say (`gridbeat-document`).

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Scope, WallTime};
use gridbeat_relay_core::{RefusedChange, StoreFault};
use gridbeat_sync_protocol::Reason;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use crate::error::fault;
use crate::operation::{self, Act, By};
use crate::value::{document, from_sql, scope, to_sql};
use crate::{SqliteReader, SqliteStore};

/// Bytes that one device may leave in the quarantine: what sixteen of its sessions may. A hundred devices that
/// attack then take 1.6 GB of the disk.
pub const QUARANTINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Changes that one device may leave in the quarantine: with their reasons, about as much disk again.
pub const QUARANTINE_CHANGES_MAX: u64 = 10_000;

/// Which refused changes are wanted; every part that is `None` is not looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RefusedFilter {
    /// The device that brought it.
    pub device: Option<DeviceId>,
    /// The document it was for.
    pub document: Option<DocumentId>,
    /// The code of the rule it broke.
    pub rule: Option<String>,
    /// Only those discarded, or only those not.
    pub is_discarded: Option<bool>,
    /// Only those before this one: the last of the page before.
    pub before: Option<i64>,
}

/// One change in the quarantine, without its bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusedRow {
    /// Its number in this database; never given again.
    pub id: i64,
    /// The device that brought it.
    pub device: DeviceId,
    /// The scope it was pushed in.
    pub scope: Scope,
    /// The document it was for.
    pub document: DocumentId,
    /// Its name, if its bytes are a change at all.
    pub hash: Option<ChangeHash>,
    /// The rule it broke, with the words its device was told; those are empty for one from an earlier program.
    pub reason: Reason,
    /// When it came first.
    pub received: WallTime,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// Whether its bytes are here: its device had room for them, and nobody has discarded them.
    pub has_bytes: bool,
    /// Who discarded it.
    pub discarded: Option<Discarded>,
}

/// That a refused change was discarded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Discarded {
    /// When.
    pub at: WallTime,
    /// By whom, as the operator gave it.
    pub by: String,
    /// Why, in the operator's words.
    pub why: String,
}

/// How much one device has in the quarantine.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RefusedRoom {
    /// Changes that are not discarded.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often something was refused for which there was no room, and which is not here.
    pub beyond: u64,
}

macro_rules! quarantine {
    ($($name:ident),*) => {$(
        impl $name {
            /// Lists the quarantine, the latest first.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn refused(
                &self,
                filter: &RefusedFilter,
                limit: u64,
            ) -> Result<Vec<RefusedRow>, StoreFault> {
                list(self.connection(), filter, limit)
            }

            /// Returns one change of the quarantine, with its bytes as far as they are here.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn refused_change(
                &self,
                id: i64,
            ) -> Result<Option<(RefusedRow, Vec<u8>)>, StoreFault> {
                find(self.connection(), id)
            }

            /// Says how much a device has in the quarantine.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn refused_room(&self, device: DeviceId) -> Result<RefusedRoom, StoreFault> {
                room(self.connection(), device)
            }
        }
    )*};
}

quarantine!(SqliteStore, SqliteReader);

impl SqliteStore {
    /// Discards the bytes of a refused change; what it was stays. Returns whether it was there and was not
    /// discarded before.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then discarded.
    pub fn discard_refused(&mut self, id: i64, how: &Discarded) -> Result<bool, StoreFault> {
        let signer = self.signer();
        self.write(|tx| {
            let Some(device) = discard(tx, id, how).map_err(fault)? else {
                return Ok(false);
            };
            let act = Act {
                verb: "quarantine discard",
                subject: device.to_string(),
                details: format!("number={id}"),
            };
            let by = By::given(&how.by, &how.why);
            operation::log(tx, signer.as_ref(), &by, how.at, act)?;
            Ok(true)
        })
    }
}

/// Puts a change into the quarantine, if it is not there and its device has room.
pub(crate) fn put(
    tx: &Transaction<'_>,
    refused: &RefusedChange,
    received: WallTime,
) -> Result<(), StoreFault> {
    let room = room(tx, refused.device)?;
    let size = refused.bytes.len() as u64;
    let (mut changes, mut bytes, mut beyond) = (0_u64, 0_u64, 0_u64);
    if room.changes < QUARANTINE_CHANGES_MAX {
        let fits = room.bytes.saturating_add(size) <= QUARANTINE_BYTES_MAX;
        let kept: &[u8] = if fits { &refused.bytes } else { &[] };
        let added = insert(tx, refused, kept, received).map_err(fault)?;
        if added {
            changes = 1;
            bytes = kept.len() as u64;
        }
    } else {
        beyond = 1;
    }
    if (changes, beyond) == (0, 0) {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO refused_room VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET
             changes = changes + ?2, bytes = bytes + ?3, beyond = beyond + ?4",
    )
    .and_then(|mut add| {
        add.execute(params![
            refused.device.bytes(),
            to_sql(changes),
            to_sql(bytes),
            to_sql(beyond)
        ])
    })
    .map_err(fault)?;
    Ok(())
}

fn insert(
    tx: &Transaction<'_>,
    refused: &RefusedChange,
    kept: &[u8],
    received: WallTime,
) -> rusqlite::Result<bool> {
    let added = tx
        .prepare_cached(
            "INSERT INTO refused (device, scope, document, hash, code, en, zh, received, size, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            refused.device.bytes(),
            refused.scope.as_str(),
            refused.document.bytes(),
            refused.hash.as_ref().map(|hash| hash.bytes().as_slice()),
            refused.reason.code,
            refused.reason.en,
            refused.reason.zh,
            received.millis(),
            to_sql(refused.size_bytes),
            kept,
        ])?;
    Ok(added > 0)
}

/// Discards the bytes of a refused change; returns the device that brought it, if it was there.
fn discard(tx: &Transaction<'_>, id: i64, how: &Discarded) -> rusqlite::Result<Option<DeviceId>> {
    let found: Option<([u8; 16], i64)> = tx
        .query_row(
            "SELECT device, length(bytes) FROM refused WHERE id = ?1 AND discarded IS NULL",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((device, bytes)) = found else {
        return Ok(None);
    };
    tx.execute(
        "UPDATE refused SET bytes = x'', discarded = ?2, discarded_by = ?3, discarded_why = ?4
         WHERE id = ?1",
        params![id, how.at.millis(), how.by, how.why],
    )?;
    tx.execute(
        "UPDATE refused_room SET changes = changes - 1, bytes = bytes - ?2 WHERE device = ?1",
        params![device, bytes],
    )?;
    Ok(Some(DeviceId::from_bytes(device)))
}

fn list(
    connection: &Connection,
    filter: &RefusedFilter,
    limit: u64,
) -> Result<Vec<RefusedRow>, StoreFault> {
    let mut find = connection
        .prepare_cached(
            "SELECT id, device, scope, document, hash, code, en, zh, received, size,
                 length(bytes), discarded, discarded_by, discarded_why FROM refused
             WHERE (?1 IS NULL OR device = ?1) AND (?2 IS NULL OR document = ?2)
                 AND (?3 IS NULL OR code = ?3) AND (?4 IS NULL OR (discarded IS NOT NULL) = ?4)
                 AND (?5 IS NULL OR id < ?5)
             ORDER BY id DESC LIMIT ?6",
        )
        .map_err(fault)?;
    let mut rows = find
        .query(params![
            filter.device.map(|device| *device.bytes()),
            filter.document.map(|document| *document.bytes()),
            filter.rule,
            filter.is_discarded,
            filter.before,
            to_sql(limit),
        ])
        .map_err(fault)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(fault)? {
        found.push(refused_row(row)?);
    }
    Ok(found)
}

fn find(connection: &Connection, id: i64) -> Result<Option<(RefusedRow, Vec<u8>)>, StoreFault> {
    let mut find = connection
        .prepare_cached(
            "SELECT id, device, scope, document, hash, code, en, zh, received, size,
                 length(bytes), discarded, discarded_by, discarded_why, bytes FROM refused
             WHERE id = ?1",
        )
        .map_err(fault)?;
    let mut rows = find.query([id]).map_err(fault)?;
    match rows.next().map_err(fault)? {
        Some(row) => Ok(Some((refused_row(row)?, row.get(14).map_err(fault)?))),
        None => Ok(None),
    }
}

pub(crate) fn room(connection: &Connection, device: DeviceId) -> Result<RefusedRoom, StoreFault> {
    let found: Option<(i64, i64, i64)> = connection
        .prepare_cached("SELECT changes, bytes, beyond FROM refused_room WHERE device = ?1")
        .and_then(|mut find| {
            find.query_row([device.bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
        })
        .map_err(fault)?;
    let Some((changes, bytes, beyond)) = found else {
        return Ok(RefusedRoom::default());
    };
    Ok(RefusedRoom {
        changes: from_sql(changes)?,
        bytes: from_sql(bytes)?,
        beyond: from_sql(beyond)?,
    })
}

fn refused_row(row: &Row<'_>) -> Result<RefusedRow, StoreFault> {
    let discarded = |row: &Row<'_>| -> rusqlite::Result<Option<Discarded>> {
        let Some(at) = row.get::<_, Option<i64>>(11)? else {
            return Ok(None);
        };
        Ok(Some(Discarded {
            at: WallTime(at),
            by: row.get::<_, Option<String>>(12)?.unwrap_or_default(),
            why: row.get::<_, Option<String>>(13)?.unwrap_or_default(),
        }))
    };
    let scope = scope(&row.get::<_, String>(2).map_err(fault)?)?;
    let size_bytes = from_sql(row.get(9).map_err(fault)?)?;
    let kept_bytes = from_sql(row.get(10).map_err(fault)?)?;
    let read = move || -> rusqlite::Result<RefusedRow> {
        Ok(RefusedRow {
            id: row.get(0)?,
            device: DeviceId::from_bytes(row.get(1)?),
            scope,
            document: document(row.get(3)?),
            hash: row
                .get::<_, Option<[u8; 32]>>(4)?
                .map(ChangeHash::from_bytes),
            reason: Reason {
                code: row.get(5)?,
                en: row.get(6)?,
                zh: row.get(7)?,
            },
            received: WallTime(row.get(8)?),
            size_bytes,
            has_bytes: kept_bytes > 0,
            discarded: discarded(row)?,
        })
    };
    read().map_err(fault)
}
