//! The rows that screens query: one a document, with its place and its words beside it.

use gridbeat_base::{Position, WallTime};
use gridbeat_document::Projection;
use rusqlite::{Connection, params};

use super::sql;
use crate::StorageError;
use crate::text;

/// Writes a document's row, its place if that changed, and its words if those changed.
pub(crate) fn put(
    db: &Connection,
    document: i64,
    kind: &str,
    projection: &Projection,
    received: Option<WallTime>,
) -> Result<(), StorageError> {
    let before = sql::first(
        db,
        "SELECT latitude_e7, longitude_e7, text_digest, occurred FROM record WHERE document = ?1",
        [document],
        |row| {
            Ok(Before {
                place: (row.get(0)?, row.get(1)?),
                text_digest: row.get(2)?,
                occurred: row.get(3)?,
            })
        },
    )?;
    let latitude = projection.position.map(Position::latitude_e7);
    let longitude = projection.position.map(Position::longitude_e7);
    let digest = text_digest(&projection.text);
    if before.is_none() {
        sql::execute(
            db,
            "INSERT INTO record (document, kind, status, is_open, category, occurred, attention,
                 text_digest)
             VALUES (?1, ?2, '', 0, '', ?3, 0, x'')",
            params![document, kind, projection.occurred.millis()],
        )?;
    }
    // Without the time: SQLite would write its index again even if it is the same.
    sql::execute(
        db,
        "UPDATE record SET status = ?2, is_open = ?3, category = ?4, attention = ?5,
             latitude_e7 = ?6, longitude_e7 = ?7, received = ?8, text_digest = ?9
         WHERE document = ?1",
        params![
            document,
            projection.status,
            projection.is_open,
            projection.category,
            projection.attention,
            latitude,
            longitude,
            received.map(WallTime::millis),
            digest,
        ],
    )?;
    let before = before.unwrap_or_else(|| Before {
        place: (None, None),
        text_digest: Vec::new(),
        occurred: projection.occurred.millis(),
    });
    if before.occurred != projection.occurred.millis() {
        sql::execute(
            db,
            "UPDATE record SET occurred = ?2 WHERE document = ?1",
            params![document, projection.occurred.millis()],
        )?;
    }
    if before.place != (latitude, longitude) {
        put_place(db, document, projection.position)?;
    }
    if before.text_digest != digest {
        if !before.text_digest.is_empty() {
            delete_text(db, document)?;
        }
        put_text(db, document, &projection.text)?;
    }
    Ok(())
}

/// What decides which of the tables beside a row must be written.
struct Before {
    place: (Option<i32>, Option<i32>),
    text_digest: Vec<u8>,
    occurred: i64,
}

/// Removes a document's row, place and words.
pub(crate) fn delete(db: &Connection, document: i64) -> Result<(), StorageError> {
    sql::execute(db, "DELETE FROM record WHERE document = ?1", [document])?;
    put_place(db, document, None)?;
    delete_text(db, document)
}

fn put_place(
    db: &Connection,
    document: i64,
    position: Option<Position>,
) -> Result<(), StorageError> {
    match position {
        Some(position) => sql::execute(
            db,
            "INSERT OR REPLACE INTO record_place VALUES (?1, ?2, ?2, ?3, ?3)",
            params![document, position.latitude_e7(), position.longitude_e7()],
        )?,
        None => sql::execute(
            db,
            "DELETE FROM record_place WHERE document = ?1",
            [document],
        )?,
    };
    Ok(())
}

fn put_text(db: &Connection, document: i64, words: &str) -> Result<(), StorageError> {
    if words.is_empty() {
        return Ok(());
    }
    sql::execute(
        db,
        "INSERT INTO record_text (rowid, text) VALUES (?1, ?2)",
        params![document, text::to_index(words)],
    )?;
    Ok(())
}

fn delete_text(db: &Connection, document: i64) -> Result<(), StorageError> {
    sql::execute(db, "DELETE FROM record_text WHERE rowid = ?1", [document])?;
    Ok(())
}

/// Tells whether words changed, without keeping them twice; empty for none.
fn text_digest(words: &str) -> Vec<u8> {
    /// Enough that two texts of one document never share it by chance.
    const BYTES: usize = 8;
    if words.is_empty() {
        return Vec::new();
    }
    blake3::hash(words.as_bytes()).as_bytes()[..BYTES].to_vec()
}
