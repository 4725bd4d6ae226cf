//! What is saved here and not yet durable at the relay.

use gridbeat_base::{Hlc, Lane};
use rusqlite::{Connection, Row, params};

use super::sql;
use crate::StorageError;

/// A change that waits for the relay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) change: i64,
    pub(crate) scope: i64,
    pub(crate) lane: Lane,
    /// When it was saved, or came back here.
    pub(crate) hlc: Hlc,
    /// Bytes of the change.
    pub(crate) size: u64,
}

/// Returns everything that waits: the most urgent lane first, and in a lane the newest first.
pub(crate) fn load(db: &Connection) -> Result<Vec<Waiting>, StorageError> {
    sql::all(
        db,
        "SELECT change, scope, lane, hlc, size FROM outbox ORDER BY lane, hlc DESC, change DESC",
        [],
        waiting,
    )
}

/// Returns what waits of one document, in causal order.
pub(crate) fn of_document(db: &Connection, document: i64) -> Result<Vec<Waiting>, StorageError> {
    sql::all(
        db,
        "SELECT change, scope, lane, hlc, size FROM outbox
         WHERE change BETWEEN ?1 AND ?2 ORDER BY change",
        [
            sql::change_id(document, 0),
            sql::change_id(document, sql::CHANGE_NUMBER_MAX),
        ],
        waiting,
    )
}

/// Adds a change; says whether it was not there yet.
pub(crate) fn insert(db: &Connection, waiting: &Waiting) -> Result<bool, StorageError> {
    let added = sql::execute(
        db,
        "INSERT INTO outbox (change, scope, lane, hlc, size) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (change) DO NOTHING",
        params![
            waiting.change,
            waiting.scope,
            lane_bits(waiting.lane),
            sql::hlc_bits(waiting.hlc),
            sql::count_bits(waiting.size),
        ],
    )?;
    Ok(added > 0)
}

/// Takes a change out; gives its size if it was there.
pub(crate) fn delete(db: &Connection, change: i64) -> Result<Option<u64>, StorageError> {
    sql::first(
        db,
        "DELETE FROM outbox WHERE change = ?1 RETURNING size",
        [change],
        |row| sql::count(row, 0),
    )
}

/// Sends a change by another scope's grant.
pub(crate) fn reroute(db: &Connection, change: i64, scope: i64) -> Result<(), StorageError> {
    sql::execute(
        db,
        "UPDATE outbox SET scope = ?2 WHERE change = ?1",
        [change, scope],
    )?;
    Ok(())
}

fn waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    Ok(Waiting {
        change: row.get(0)?,
        scope: row.get(1)?,
        lane: lane(row.get(2)?),
        hlc: sql::hlc(row, 3)?,
        size: sql::count(row, 4)?,
    })
}

const fn lane_bits(lane: Lane) -> i64 {
    match lane {
        Lane::Control => 0,
        Lane::Urgent => 1,
        Lane::Record => 2,
        Lane::Log => 3,
        Lane::Preview => 4,
        Lane::Original => 5,
    }
}

const fn lane(bits: i64) -> Lane {
    match bits {
        0 => Lane::Control,
        1 => Lane::Urgent,
        2 => Lane::Record,
        3 => Lane::Log,
        4 => Lane::Preview,
        _ => Lane::Original,
    }
}
