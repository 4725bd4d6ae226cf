//! Opening the file: whose it is, whether it is whole, and how SQLite is to treat it.
//!
//! What a file is gets decided from its first 100 bytes, before SQLite sees it, so that a file that is
//! not ours stays as it is; of an encrypted file it is decided by the first page, once the key opens it.
//! A fresh file is made beside its place and moved there when whole, so that no crash leaves half a one.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::cipher;
use super::lock::beside;
use super::schema::{self, APPLICATION_ID, FORMAT};
use super::sql;
use crate::{DatabaseKey, OpenError, StorageError};

/// The first SQLite whose write-ahead log does not lose commits to a reset race (fixed 2026-03-13).
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// Page cache of SQLite in KiB: holds the inner pages of every table of 10,000 documents, and keeps the
/// whole device within its 20 MB.
const CACHE_KIB: u32 = 2_048;

/// Size to which the write-ahead log is cut back after a checkpoint, in bytes: its usual size.
const LOG_SIZE_BYTES: u32 = 4 * 1024 * 1024;

/// How long to wait for another process's lock, in ms: a person looking in with a tool.
const BUSY_TIMEOUT_MS: u32 = 1_000;

/// Prepared statements kept; there are about 60.
const STATEMENTS_KEPT: usize = 96;

/// The header of an SQLite file and what of it concerns us; offsets by <https://sqlite.org/fileformat2.html>.
const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
const FORMAT_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;

/// Size of a page, as every file is made. An encrypted one is whole pages of noise.
const PAGE_BYTES: u64 = 4_096;

/// What is at a path, by the first bytes of it.
pub(super) enum Content {
    /// Nothing, or an empty file.
    None,
    /// An SQLite database, ours or another program's.
    Plain,
    /// Something that may be an encrypted database.
    Encrypted,
}

/// Opens the file at `path`, making it if there is none, and checks it if `must_check`.
///
/// The caller holds the file's lock.
pub(super) fn open(
    path: &Path,
    must_check: bool,
    key: Option<&DatabaseKey>,
) -> Result<Connection, OpenError> {
    let found = rusqlite::version_number();
    if found < SQLITE_VERSION_MIN {
        return Err(OpenError::SqliteTooOld { found });
    }
    if key.is_some() {
        cipher::check_supported()?;
    }
    match (content(path)?, key) {
        (Content::None, _) => create(path, key)?,
        (Content::Plain, Some(_)) => return Err(OpenError::NotEncrypted),
        (Content::Encrypted, None) => return Err(OpenError::KeyMissing),
        (Content::Plain, None) | (Content::Encrypted, Some(_)) => {}
    }
    // A clean close removes the log: one that is still here is the trace of a stop in the middle.
    let has_log = fs::metadata(beside(path, "-wal")).is_ok_and(|file| file.len() > 0);
    let connection = connect(path, key)?;
    if must_check || has_log {
        quick_check(&connection)?;
    }
    Ok(connection)
}

/// Limits the file's size, or takes the limit off. SQLite never goes below the size there is.
pub(super) fn set_size_max(
    connection: &Connection,
    bytes: Option<u64>,
) -> Result<(), StorageError> {
    /// The most SQLite knows.
    const PAGES_MAX: u64 = 4_294_967_294;
    let pages = bytes.map_or(PAGES_MAX, |bytes| (bytes / PAGE_BYTES).clamp(1, PAGES_MAX));
    connection.pragma_update(None, "max_page_count", sql::count_bits(pages))?;
    Ok(())
}

/// Looks at the first bytes of a file.
///
/// # Errors
///
/// The file is nothing of ours, or cannot be read.
pub(super) fn content(path: &Path) -> Result<Content, OpenError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::None),
        other => other?,
    };
    let length = file.metadata()?.len();
    let mut header = [0; HEADER_BYTES];
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return if length == 0 {
                Ok(Content::None)
            } else {
                Err(OpenError::NotADatabase)
            };
        }
        Err(error) => return Err(error.into()),
    }
    if !header.starts_with(MAGIC) {
        return if length.is_multiple_of(PAGE_BYTES) {
            Ok(Content::Encrypted)
        } else {
            Err(OpenError::NotADatabase)
        };
    }
    let number = |at: usize| {
        let bytes = header[at..at + 4]
            .try_into()
            .expect("four bytes of the header");
        u32::from_be_bytes(bytes)
    };
    check_application(number(APPLICATION_ID_AT))?;
    check_format(number(FORMAT_AT))?;
    Ok(Content::Plain)
}

const fn check_application(application_id: u32) -> Result<(), OpenError> {
    if application_id != APPLICATION_ID {
        return Err(OpenError::ForeignFile { application_id });
    }
    Ok(())
}

const fn check_format(found: u32) -> Result<(), OpenError> {
    if found > FORMAT {
        return Err(OpenError::Newer {
            found,
            known: FORMAT,
        });
    }
    Ok(())
}

/// Makes an empty file of the latest format beside its place, then moves it there.
fn create(path: &Path, key: Option<&DatabaseKey>) -> Result<(), OpenError> {
    let fresh = beside(path, ".new");
    remove_database(&fresh)?;
    // Of a file that is gone; SQLite would take them for the fresh one's.
    for leftover in SIDE_FILES {
        remove(&beside(path, leftover))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&fresh, flags).map_err(StorageError::from)?;
    if let Some(key) = key {
        cipher::unlock(&connection, key)?;
    }
    connection
        .execute_batch(
            "PRAGMA page_size = 4096; PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;",
        )
        .and_then(|()| connection.pragma_update(None, "application_id", APPLICATION_ID))
        .map_err(StorageError::from)?;
    schema::migrate(&mut connection)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(StorageError::from)?;
    connection
        .close()
        .map_err(|(_, error)| StorageError::from(error))?;
    fs::rename(&fresh, path)?;
    sync_folder_of(path)?;
    Ok(())
}

/// What may lie beside a database.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Makes durable which files there are in the folder of `path`.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|path| !path.as_os_str().is_empty());
    // Where folders cannot be opened (Windows) it is durable without this.
    match File::open(folder.unwrap_or_else(|| Path::new("."))) {
        Ok(folder) => folder.sync_all(),
        Err(_) => Ok(()),
    }
}

/// Removes a database with what lies beside it, as far as it is there.
pub(super) fn remove_database(path: &Path) -> io::Result<()> {
    remove(path)?;
    SIDE_FILES
        .iter()
        .try_for_each(|suffix| remove(&beside(path, suffix)))
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn connect(path: &Path, key: Option<&DatabaseKey>) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(StorageError::from)?;
    // Until the format in the log is known too, closing must not write it into the file.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(StorageError::from)?;
    if let Some(key) = key {
        cipher::unlock(&connection, key)?;
    }
    let configure = || -> Result<(), rusqlite::Error> {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        // One plan a statement: otherwise each new binding compiles it anew, a seventh of all work.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.execute_batch(&format!(
            "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS};
             PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA trusted_schema = OFF;
             PRAGMA cell_size_check = ON;
             PRAGMA mmap_size = 0;
             PRAGMA foreign_keys = ON;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -{CACHE_KIB};"
        ))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        Ok(())
    };
    configure().map_err(|error| first_read_failed(error.into(), key))?;
    check_format(schema::format(&connection).map_err(|error| first_read_failed(error, key))?)?;
    if key.is_some() {
        let application_id = connection
            .pragma_query_value(None, "application_id", |row| row.get(0))
            .map_err(StorageError::from)?;
        check_application(application_id)?;
    }
    let configure = || -> Result<(), rusqlite::Error> {
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA fullfsync = ON;
             PRAGMA checkpoint_fullfsync = ON;
             PRAGMA journal_size_limit = {LOG_SIZE_BYTES};"
        ))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(())
    };
    configure().map_err(StorageError::from)?;
    Ok(connection)
}

/// Says why the first page could not be read: a tool that holds SQLite's own lock keeps us out as another
/// opener does, and a wrong key makes noise of the page.
fn first_read_failed(error: StorageError, key: Option<&DatabaseKey>) -> OpenError {
    let code = match &error {
        StorageError::Other(source) | StorageError::Damaged(source) => source.sqlite_error_code(),
        StorageError::Full
        | StorageError::Disk(_)
        | StorageError::MustReopen
        | StorageError::CommitFailed
        | StorageError::Impossible { .. } => None,
    };
    match code {
        Some(rusqlite::ErrorCode::DatabaseBusy) => OpenError::AlreadyOpen,
        Some(rusqlite::ErrorCode::NotADatabase) if key.is_some() => OpenError::WrongKey,
        _ => error.into(),
    }
}

fn quick_check(connection: &Connection) -> Result<(), OpenError> {
    let finding: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(StorageError::from)?;
    if finding == "ok" {
        Ok(())
    } else {
        Err(OpenError::Damaged { finding })
    }
}
