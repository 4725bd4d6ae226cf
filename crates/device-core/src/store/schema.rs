//! The tables, and how a file of an earlier format becomes one of the latest.
//!
//! Each step of [`MIGRATIONS`] brings a file from one format to the next and is never edited once
//! released. All steps a file needs run in one transaction together with its new format number.

use rusqlite::Connection;

use crate::StorageError;

/// Names our files in the SQLite header: "GrdB".
pub(crate) const APPLICATION_ID: u32 = 0x4772_6442;

/// The latest format this program knows; stands in the header as `user_version`.
pub(crate) const FORMAT: u32 = 6;

/// How many numbers each document has for its changes, as a power of two: two hundred times as many as
/// a document may have changes, for numbers are never used twice.
pub(crate) const CHANGE_NUMBER_BITS: u32 = 20;

/// `MIGRATIONS[n]` brings a file from format n to format n + 1.
const MIGRATIONS: [&str; FORMAT as usize] =
    [FORMAT_1, FORMAT_2, FORMAT_3, FORMAT_4, FORMAT_5, FORMAT_6];

// The log is clustered: a change's id is its document's id × 2^20 + its number there, so a document's
// changes lie side by side and need no index. Heads are 32-byte hashes, sorted, end to end.
const FORMAT_1: &str = "
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE scope (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    access    INTEGER NOT NULL,           -- 0 none, 1 read, 2 write
    cursor    INTEGER NOT NULL,           -- last feed entry applied
    digest    BLOB NOT NULL,              -- over placement.heads of the scope
    documents INTEGER NOT NULL            -- how many are attached
) STRICT;

CREATE TABLE document (
    id     INTEGER PRIMARY KEY,
    uuid   BLOB NOT NULL UNIQUE,
    kind   TEXT NOT NULL,
    schema INTEGER NOT NULL,
    heads  BLOB NOT NULL,                 -- own unsent changes included
    last   INTEGER NOT NULL,              -- number of the last change given
    body   TEXT NOT NULL,                 -- the projection's view for screens
    saved  BLOB NOT NULL                  -- a cache of the log
) STRICT;

CREATE TABLE change (
    id       INTEGER PRIMARY KEY,
    hash     BLOB NOT NULL,
    author   BLOB NOT NULL,
    received INTEGER,                     -- relay's time, ms; NULL until accepted
    hlc      INTEGER,                     -- hlc to intent: of own changes
    wall     INTEGER,
    relay_offset INTEGER,                 -- ms
    fact     BLOB,
    intent   BLOB,
    bytes    BLOB NOT NULL
) STRICT;

CREATE TABLE placement (
    document INTEGER NOT NULL REFERENCES document,
    scope    INTEGER NOT NULL REFERENCES scope,
    state    INTEGER NOT NULL,            -- 0 proposed, 1 attached, 2 leaving
    heads    BLOB NOT NULL,               -- accepted in this scope; empty unless attached
    PRIMARY KEY (document, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    change INTEGER PRIMARY KEY,
    scope  INTEGER NOT NULL,
    lane   INTEGER NOT NULL,
    hlc    INTEGER NOT NULL,              -- of an own change, or when it came back here
    size   INTEGER NOT NULL,
    answered INTEGER NOT NULL             -- 1: durable by the relay's word, not yet seen in the feed
) STRICT;

CREATE TABLE record (
    document     INTEGER PRIMARY KEY,
    kind         TEXT NOT NULL,
    status       TEXT NOT NULL,
    is_open      INTEGER NOT NULL,
    category     TEXT NOT NULL,
    occurred     INTEGER NOT NULL,
    attention    INTEGER NOT NULL,
    latitude_e7  INTEGER,
    longitude_e7 INTEGER,
    received     INTEGER,                 -- the latest receipt among its changes
    text_digest  BLOB NOT NULL            -- of what record_text holds of it
) STRICT;
CREATE INDEX record_by_time ON record (occurred);

CREATE VIRTUAL TABLE record_place USING rtree_i32 (
    document, latitude_min, latitude_max, longitude_min, longitude_max
);

CREATE VIRTUAL TABLE record_text USING fts5 (
    text, content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 2'
);
-- Each save makes a segment. Merging sixteen rather than four at a time halves what a save writes, and
-- a search still opens fewer than fifty.
INSERT INTO record_text (record_text, rank) VALUES ('crisismerge', 64);
INSERT INTO record_text (record_text, rank) VALUES ('automerge', 16);

CREATE TABLE refused (
    id       INTEGER PRIMARY KEY,
    document BLOB NOT NULL,
    kind     TEXT NOT NULL,
    scope    TEXT NOT NULL,
    hash     BLOB NOT NULL,
    author   BLOB NOT NULL,
    wall     INTEGER NOT NULL,            -- when it was saved
    refused  INTEGER NOT NULL,            -- when the refusal came
    intent   BLOB,
    bytes    BLOB NOT NULL,
    code     TEXT NOT NULL,
    en       TEXT NOT NULL,
    zh       TEXT NOT NULL
) STRICT;

CREATE TABLE blob (
    hash  BLOB PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;
";

// What a person did about a refused change; it stays for the history.
const FORMAT_2: &str = "
ALTER TABLE refused ADD COLUMN settled INTEGER;      -- when; NULL while it is to be seen to
ALTER TABLE refused ADD COLUMN replaced_in BLOB;     -- the document of the corrected intent
ALTER TABLE refused ADD COLUMN replaced_by BLOB;     -- its change; NULL if it was dropped
";

// Leaving: where a scope stood when it began, and what was stated about it at its end.
const FORMAT_3: &str = "
ALTER TABLE scope ADD COLUMN left_seq INTEGER;     -- this and the next four: NULL while granted
ALTER TABLE scope ADD COLUMN left_digest BLOB;
ALTER TABLE scope ADD COLUMN left_documents INTEGER;
ALTER TABLE scope ADD COLUMN left_removed INTEGER;
ALTER TABLE scope ADD COLUMN left_offers INTEGER;  -- 1: the relay may have lost what it once had

CREATE TABLE removal (
    id        INTEGER PRIMARY KEY,
    scope     TEXT,                       -- NULL for everything
    hash      BLOB NOT NULL,
    statement BLOB NOT NULL,
    noted     INTEGER NOT NULL            -- 1: the relay has it
) STRICT;
";

// What the relay last said the device may do, to the verb; NULL where it did not say.
const FORMAT_4: &str = "ALTER TABLE scope ADD COLUMN verbs INTEGER;";

// Own changes of documents that left, until the relay's stable mark has passed them (`kept`).
const FORMAT_5: &str = "
CREATE TABLE kept (
    id          INTEGER PRIMARY KEY,
    scope       TEXT NOT NULL,
    document    BLOB NOT NULL,
    kind        TEXT NOT NULL,
    schema      INTEGER NOT NULL,
    hash        BLOB NOT NULL UNIQUE,
    author      BLOB NOT NULL,
    received    INTEGER NOT NULL,            -- relay's time, ms, in the life of its database
    incarnation BLOB NOT NULL,               -- that life
    since       INTEGER NOT NULL,            -- when the document left, ms
    wall        INTEGER,
    intent      BLOB,
    bytes       BLOB NOT NULL
) STRICT;
";

// How far a snapshot of a scope is taken; NULL where none is under way.
const FORMAT_6: &str = "
ALTER TABLE scope ADD COLUMN snapshot_as_of INTEGER; -- the feed goes on behind it
ALTER TABLE scope ADD COLUMN snapshot_mark INTEGER;  -- the relay's, of 64 bits
";

/// Brings the file to the latest format. The caller has checked that it is not a later one.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StorageError> {
    let found = format(connection)?;
    if found == FORMAT {
        return Ok(());
    }
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for step in MIGRATIONS.iter().skip(found as usize) {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", FORMAT)?;
    tx.commit()?;
    tracing::debug!(from = found, to = FORMAT, "migrated the file");
    Ok(())
}

/// Returns the file's format; 0 for an empty one.
pub(crate) fn format(connection: &Connection) -> Result<u32, StorageError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
