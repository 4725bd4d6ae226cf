//! Encryption of the file, by SQLCipher: giving it the key, and making an encrypted file of a plain one.
//!
//! SQLCipher's own defaults are kept: AES-256 in CBC mode, each page of 4,096 bytes with a nonce and an
//! HMAC-SHA512 of its own; the write-ahead log holds the same encrypted pages. Whether it is compiled in
//! (feature `encrypted`) is asked of the library itself: plain SQLite would ignore a key in silence.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use zeroize::Zeroizing;

use super::file::{self, Content};
use super::lock::{Lock, beside};
use super::schema;
use super::sql;
use crate::{DatabaseKey, OpenError, StorageError};

/// Fails unless this program can encrypt.
pub(super) fn check_supported() -> Result<(), OpenError> {
    let memory = Connection::open_in_memory().map_err(StorageError::from)?;
    let version: Option<String> = memory
        .query_row("PRAGMA cipher_version", [], |row| row.get(0))
        .optional()
        .map_err(StorageError::from)?;
    version.map(|_| ()).ok_or(OpenError::KeyUnsupported)
}

/// Returns whether this program can encrypt files: whether it was built with the feature `encrypted`.
pub fn can_encrypt() -> bool {
    check_supported().is_ok()
}

/// Returns whether the file at `path` is encrypted; `None` if there is none yet.
///
/// # Errors
///
/// [`OpenError`]: it is nothing of ours, or cannot be read.
pub fn is_encrypted(path: &Path) -> Result<Option<bool>, OpenError> {
    Ok(match file::content(path)? {
        Content::None => None,
        Content::Plain => Some(false),
        Content::Encrypted => Some(true),
    })
}

/// Gives a connection its key, before anything is read. Whether it is the right one shows then.
pub(super) fn unlock(connection: &Connection, key: &DatabaseKey) -> Result<(), StorageError> {
    // It would write what it finds wrong to standard error; we return it.
    connection.execute_batch("PRAGMA cipher_log_level = NONE;")?;
    let literal = key.literal();
    let statement = Zeroizing::new(format!("PRAGMA key = \"{}\";", *literal));
    // An error of the statement would have the statement in its text.
    let given = connection.execute_batch(&statement);
    given.map_err(|_| sql::impossible("key"))
}

/// Makes an encrypted file of the plain one at `path`, and says whether it was plain.
///
/// The encrypted file is made beside its place, compared with the plain one row by row, and moved there;
/// a crash leaves the one or the other.
///
/// # Errors
///
/// [`OpenError`]; the plain file then is as it was, but for its log, which may have been brought in.
pub fn encrypt(path: &Path, key: &DatabaseKey) -> Result<bool, OpenError> {
    check_supported()?;
    let lock = Lock::take(path)?;
    let content = match file::content(path) {
        Ok(Content::None) => Err(OpenError::NotADatabase),
        other => other,
    };
    match content {
        Ok(Content::Encrypted) => {
            drop(file::open(path, lock.was_left_open(), Some(key))?);
            return Ok(false);
        }
        Ok(Content::Plain | Content::None) => {}
        Err(error) => {
            lock.withdraw();
            return Err(error);
        }
    }
    let plain = file::open(path, true, None)?;
    plain
        // Leaves everything in the file, and nothing beside it.
        .pragma_update(None, "journal_mode", "DELETE")
        .map_err(StorageError::from)?;
    plain
        .close()
        .map_err(|(_, error)| StorageError::from(error))?;

    let fresh = beside(path, ".new");
    file::remove_database(&fresh)?;
    copy(path, &fresh, key)?;
    File::open(&fresh)?.sync_all()?;
    fs::rename(&fresh, path)?;
    file::sync_folder_of(path)?;
    lock.mark_closed();
    Ok(true)
}

/// Copies all there is of a plain file into a fresh encrypted one, and compares.
fn copy(plain: &Path, fresh: &Path, key: &DatabaseKey) -> Result<(), OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(plain, flags).map_err(StorageError::from)?;
    let name = fresh.to_str().ok_or(OpenError::NotADatabase)?;
    let literal = key.literal();
    connection
        .execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cipher_log_level = NONE;")
        .and_then(|()| {
            connection.execute(
                "ATTACH DATABASE ?1 AS fresh KEY ?2",
                [name, literal.as_str()],
            )
        })
        .map_err(StorageError::from)?;
    let export = || -> Result<(), rusqlite::Error> {
        // Nothing of it counts before it is whole, flushed as a whole, and in its place.
        connection
            .execute_batch("PRAGMA fresh.journal_mode = OFF; PRAGMA fresh.synchronous = OFF;")?;
        connection.query_row("SELECT sqlcipher_export('fresh')", [], |_| Ok(()))?;
        let format: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        connection.pragma_update(Some("fresh"), "user_version", format)?;
        connection.pragma_update(Some("fresh"), "application_id", schema::APPLICATION_ID)
    };
    export().map_err(StorageError::from)?;
    compare(&connection)?;
    connection
        .execute_batch("DETACH DATABASE fresh;")
        .map_err(StorageError::from)?;
    connection
        .close()
        .map_err(|(_, error)| StorageError::from(error))?;
    Ok(())
}

/// Compares every table, row by row in the order they lie in.
fn compare(connection: &Connection) -> Result<(), StorageError> {
    const DIFFERS: &str = "copy of the file";
    let list = |database: &str| -> Result<Vec<(String, bool)>, rusqlite::Error> {
        // Virtual tables have no pages of their own: their content is in tables that have.
        let mut statement = connection.prepare(&format!(
            "SELECT name || char(0) || coalesce(sql, ''), type = 'table' AND rootpage > 0
             FROM {database}.sqlite_schema ORDER BY 1"
        ))?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    let objects = list("main")?;
    if objects != list("fresh")? {
        return Err(sql::impossible(DIFFERS));
    }
    let tables = objects.iter().filter(|(_, has_pages)| *has_pages);
    for name in tables.filter_map(|(object, _)| object.split('\0').next()) {
        let quoted = name.replace('"', "\"\"");
        let all_of =
            |database| connection.prepare(&format!("SELECT * FROM {database}.\"{quoted}\""));
        let (mut left, mut right) = (all_of("main")?, all_of("fresh")?);
        let columns = left.column_count();
        let (mut left, mut right) = (left.query([])?, right.query([])?);
        loop {
            match (left.next()?, right.next()?) {
                (None, None) => break,
                (Some(left), Some(right)) => {
                    for column in 0..columns {
                        if left.get_ref(column)? != right.get_ref(column)? {
                            return Err(sql::impossible(DIFFERS));
                        }
                    }
                }
                (Some(_), None) | (None, Some(_)) => return Err(sql::impossible(DIFFERS)),
            }
        }
    }
    Ok(())
}
