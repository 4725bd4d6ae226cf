//! What is saved here and not yet durable at the relay.
//!
//! A change waits until the relay answers that it is durable. Then its row stays, answered, until the
//! feed shows it: a relay that lost its latest entries in between is offered it again.

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
        "SELECT change, scope, lane, hlc, size FROM outbox WHERE answered = 0
         ORDER BY lane, hlc DESC, change DESC",
        [],
        waiting,
    )
}

/// Returns what waits of one document, in causal order.
pub(crate) fn of_document(db: &Connection, document: i64) -> Result<Vec<Waiting>, StorageError> {
    sql::all(
        db,
        "SELECT change, scope, lane, hlc, size FROM outbox
         WHERE change BETWEEN ?1 AND ?2 AND answered = 0 ORDER BY change",
        range(document),
        waiting,
    )
}

/// Returns what the relay called durable in a scope but its feed has not shown.
pub(crate) fn answered(db: &Connection, scope: i64) -> Result<Vec<i64>, StorageError> {
    sql::all(
        db,
        "SELECT change FROM outbox WHERE scope = ?1 AND answered = 1 ORDER BY change",
        [scope],
        |row| row.get(0),
    )
}

/// Returns the scope whose grant a change is sent by, if it is in the outbox.
pub(crate) fn scope(db: &Connection, change: i64) -> Result<Option<i64>, StorageError> {
    sql::first(
        db,
        "SELECT scope FROM outbox WHERE change = ?1",
        [change],
        |row| row.get(0),
    )
}

/// Adds a change, or lets one wait again that was answered; says whether it did not wait before.
pub(crate) fn insert(db: &Connection, waiting: &Waiting) -> Result<bool, StorageError> {
    let added = sql::execute(
        db,
        "INSERT INTO outbox (change, scope, lane, hlc, size, answered)
         VALUES (?1, ?2, ?3, ?4, ?5, 0)
         ON CONFLICT (change) DO UPDATE SET scope = excluded.scope, answered = 0
         WHERE answered = 1",
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

/// Notes that the relay called a change durable; gives its size if it waited.
pub(crate) fn answer(db: &Connection, change: i64) -> Result<Option<u64>, StorageError> {
    sql::first(
        db,
        "UPDATE outbox SET answered = 1 WHERE change = ?1 AND answered = 0 RETURNING size",
        [change],
        |row| sql::count(row, 0),
    )
}

/// Lets a change wait that was answered; gives its size if there was one.
pub(crate) fn reopen(db: &Connection, change: i64) -> Result<Option<u64>, StorageError> {
    sql::first(
        db,
        "UPDATE outbox SET answered = 0 WHERE change = ?1 AND answered = 1 RETURNING size",
        [change],
        |row| sql::count(row, 0),
    )
}

/// Takes a change out; gives its size, and whether it still waited, if it was there.
pub(crate) fn delete(db: &Connection, change: i64) -> Result<Option<(u64, bool)>, StorageError> {
    sql::first(
        db,
        "DELETE FROM outbox WHERE change = ?1 RETURNING size, answered = 0",
        [change],
        |row| Ok((sql::count(row, 0)?, row.get(1)?)),
    )
}

/// Takes out what is left of a document that goes.
pub(crate) fn delete_all(db: &Connection, document: i64) -> Result<(), StorageError> {
    sql::execute(
        db,
        "DELETE FROM outbox WHERE change BETWEEN ?1 AND ?2",
        range(document),
    )?;
    Ok(())
}

const fn range(document: i64) -> [i64; 2] {
    [
        sql::change_id(document, 0),
        sql::change_id(document, sql::CHANGE_NUMBER_MAX),
    ]
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
