//! Who is leaving what: grants that ended, and what devices state that they removed.
//!
//! Whatever ends a grant, the schema's triggers note it in the same transaction; [`stamp`] adds the time.
//! What was saved under it is judged by it until its window is over, or the device has stated that it
//! removed the scope. Not here: what a notice is for (`gridbeat-relay-core`).

use std::collections::BTreeMap;

use gridbeat_base::{DeviceId, Scope, WallTime};
use gridbeat_relay_core::{
    EndedGrant, LEAVE_WINDOW, Removal, Rights, ScopePosition, StoreFault, Surrender,
};
use gridbeat_sync_protocol::{RemovalStatement, Signer};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::error::{damaged, fault};
use crate::quarantine::{self, QUARANTINE_BYTES_MAX, QUARANTINE_CHANGES_MAX};
use crate::value::{from_sql, scope, verbs};
use crate::{SqliteReader, SqliteStore, evidence};

/// Fewest documents of a scope for which a device that has most of them by others is to compare: a feed of
/// fewer costs less than the rounds of a comparison.
const COMPARED_DOCUMENTS_MIN: i64 = 64;

/// A device's statement of removal as an operator sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemovalRow {
    /// When the relay received it.
    pub received: WallTime,
    /// What the device states.
    pub statement: RemovalStatement,
}

macro_rules! removals {
    ($($name:ident),*) => {$(
        impl $name {
            /// Lists what a device has stated that it removed, the latest first.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn removals(&self, device: DeviceId) -> Result<Vec<RemovalRow>, StoreFault> {
                removals(self.connection(), device)
            }
        }
    )*};
}

removals!(SqliteStore, SqliteReader);

/// Says when the grants ended that this transaction ended.
pub(crate) fn stamp(tx: &Transaction<'_>, now: WallTime) -> Result<(), StoreFault> {
    tx.execute(
        "UPDATE leaving SET since = ?1 WHERE since IS NULL",
        params![now.millis()],
    )
    .map_err(fault)?;
    Ok(())
}

/// Adds the grants to devices' rights that have ended and still judge what was saved under them.
pub(crate) fn judging(
    connection: &Connection,
    mut rights: BTreeMap<DeviceId, Rights>,
    at: WallTime,
) -> Result<BTreeMap<DeviceId, Rights>, StoreFault> {
    for (device, rights) in &mut rights {
        if let Rights::Granted(granted) = rights {
            for (scope, bits, ended) in of_device(connection, *device)? {
                if at < ended.until {
                    granted.entry(scope).or_insert(verbs(bits)?);
                }
            }
        }
    }
    Ok(rights)
}

/// Reads which of the grants of the scopes that a device named have ended.
pub(crate) fn ended(
    connection: &Connection,
    device: DeviceId,
    named: &[(Scope, u64)],
) -> Result<BTreeMap<Scope, EndedGrant>, StoreFault> {
    let all = of_device(connection, device)?.into_iter();
    let named = |scope: &Scope| named.iter().any(|(it, _)| it == scope);
    let ended = all.filter(|(scope, ..)| named(scope));
    Ok(ended.map(|(scope, _, ended)| (scope, ended)).collect())
}

fn of_device(
    connection: &Connection,
    device: DeviceId,
) -> Result<Vec<(Scope, u8, EndedGrant)>, StoreFault> {
    let mut find = connection
        .prepare_cached(
            "SELECT scope, verbs, seq, since FROM leaving WHERE device = ?1 AND since IS NOT NULL",
        )
        .map_err(fault)?;
    let mut rows = find.query(params![device.bytes()]).map_err(fault)?;
    let mut ended = Vec::new();
    while let Some(row) = rows.next().map_err(fault)? {
        let since = WallTime(row.get(3).map_err(fault)?);
        let grant = EndedGrant {
            seq: from_sql(row.get(2).map_err(fault)?)?,
            until: since.plus(LEAVE_WINDOW),
        };
        let name: String = row.get(0).map_err(fault)?;
        ended.push((scope(&name)?, row.get(1).map_err(fault)?, grant));
    }
    Ok(ended)
}

/// Reads when a device was revoked, and how much the quarantine still takes from it.
pub(crate) fn surrender(
    connection: &Connection,
    device: DeviceId,
) -> Result<Option<Surrender>, StoreFault> {
    let revoked: Option<i64> = connection
        .prepare_cached("SELECT revoked FROM device WHERE device = ?1 AND revoked IS NOT NULL")
        .and_then(|mut find| {
            find.query_row(params![device.bytes()], |row| row.get(0))
                .optional()
        })
        .map_err(fault)?;
    let room = quarantine::room(connection, device)?;
    Ok(revoked.map(|at| Surrender {
        revoked: WallTime(at),
        bytes_left: QUARANTINE_BYTES_MAX.saturating_sub(room.bytes),
        changes_left: QUARANTINE_CHANGES_MAX.saturating_sub(room.changes),
    }))
}

/// Marks the scopes of which a device has nothing, and most documents by others that it named. Only such count as it
/// has, or had until it states that they are gone: whether a scope's documents are in one it never had is none of its
/// business.
pub(crate) fn find_mostly_held(
    connection: &Connection,
    named: &[(Scope, u64)],
    (rights, ended): (&Rights, &BTreeMap<Scope, EndedGrant>),
    positions: &mut [ScopePosition],
) -> Result<(), StoreFault> {
    let held: Vec<&Scope> = named
        .iter()
        .filter(|(_, cursor)| *cursor > 0)
        .map(|(scope, _)| scope)
        .collect();
    let may_know = |scope: &Scope| ended.contains_key(scope) || !rights.in_scope(scope).is_empty();
    let known = held.iter().filter(|scope| may_know(scope));
    let known: Vec<&Scope> = known.copied().collect();
    for position in positions {
        let is_new = !held.contains(&&position.scope) && position.head > 0;
        if !is_new || rights.in_scope(&position.scope).is_empty() {
            continue;
        }
        let (mut all, mut shared) = (0, 0);
        for scope in &known {
            let counts = overlap(connection, &position.scope, scope).map_err(fault)?;
            all = counts.0;
            shared += counts.1;
        }
        position.is_mostly_held = all >= COMPARED_DOCUMENTS_MIN && shared * 2 >= all;
    }
    Ok(())
}

/// Counts a scope's documents, and those of them that are in another scope too.
fn overlap(connection: &Connection, of: &Scope, with: &Scope) -> rusqlite::Result<(i64, i64)> {
    connection
        .prepare_cached(
            "SELECT count(*), count(q.document) FROM scope s JOIN placement p ON p.scope = s.id
             LEFT JOIN placement q ON q.document = p.document
                 AND q.scope = (SELECT id FROM scope WHERE name = ?2)
             WHERE s.name = ?1",
        )?
        .query_row([of.as_str(), with.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
}

/// Keeps a statement of removal with its receipt, and closes the window of the grant that ended.
pub(crate) fn keep(
    tx: &Transaction<'_>,
    signer: Option<&Signer>,
    removal: &Removal,
) -> Result<(), StoreFault> {
    let (proof, statement) = (&removal.proof, &removal.proof.statement);
    let scope = statement.scope.as_ref().map(Scope::as_str);
    let added = tx
        .prepare_cached("INSERT INTO removal VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")
        .and_then(|mut insert| {
            insert.execute(params![
                proof.hash.bytes(),
                statement.device.bytes(),
                scope,
                removal.received.millis(),
                proof.bytes,
            ])
        })
        .map_err(fault)?;
    if added == 0 {
        // It came before: its receipt is there.
        return Ok(());
    }
    tx.prepare_cached("DELETE FROM leaving WHERE device = ?1 AND (scope = ?2 OR ?2 IS NULL)")
        .and_then(|mut delete| delete.execute(params![statement.device.bytes(), scope]))
        .map_err(fault)?;
    evidence::removed(tx, signer, removal)
}

fn removals(connection: &Connection, device: DeviceId) -> Result<Vec<RemovalRow>, StoreFault> {
    let mut find = connection
        .prepare_cached(
            "SELECT received, statement FROM removal WHERE device = ?1
             ORDER BY received DESC, hash",
        )
        .map_err(fault)?;
    let mut rows = find.query(params![device.bytes()]).map_err(fault)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(fault)? {
        let bytes: Vec<u8> = row.get(1).map_err(fault)?;
        found.push(RemovalRow {
            received: WallTime(row.get(0).map_err(fault)?),
            statement: RemovalStatement::from_bytes(&bytes)
                .map_err(|_| damaged("a statement of removal is none"))?,
        });
    }
    Ok(found)
}
