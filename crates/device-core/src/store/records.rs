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
        "SELECT latitude_e7, longitude_e7, text_digest FROM record WHERE document = ?1",
        [document],
        |row| {
            Ok((
                row.get::<_, Option<i32>>(0)?,
                row.get::<_, Option<i32>>(1)?,
                row.get::<_, Vec<u8>>(2)?,
            ))
        },
    )?;
    let latitude = projection.position.map(Position::latitude_e7);
    let longitude = projection.position.map(Position::longitude_e7);
    let digest = text_digest(&projection.text);
    sql::execute(
        db,
        "INSERT INTO record (document, kind, status, is_open, category, occurred, attention,
             latitude_e7, longitude_e7, received, text_digest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (document) DO UPDATE SET status = excluded.status, is_open = excluded.is_open,
             category = excluded.category, occurred = excluded.occurred,
             attention = excluded.attention, latitude_e7 = excluded.latitude_e7,
             longitude_e7 = excluded.longitude_e7, received = excluded.received,
             text_digest = excluded.text_digest",
        params![
            document,
            kind,
            projection.status,
            projection.is_open,
            projection.category,
            projection.occurred.millis(),
            projection.attention,
            latitude,
            longitude,
            received.map(WallTime::millis),
            digest,
        ],
    )?;
    let (place_before, digest_before) = before.map_or_else(
        || ((None, None), text_digest("")),
        |(latitude, longitude, digest)| ((latitude, longitude), digest),
    );
    if place_before != (latitude, longitude) {
        put_place(db, document, projection.position)?;
    }
    if digest_before != digest {
        delete_text(db, document)?;
        put_text(db, document, &projection.text)?;
    }
    Ok(())
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
