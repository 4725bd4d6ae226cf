//! The tables, and how a file of an earlier format becomes one of the latest.
//!
//! Each step of [`MIGRATIONS`] brings a file from one format to the next and is never edited once
//! released. All steps a file needs run in one transaction together with its new format number.

use rusqlite::Connection;

use crate::StorageError;

/// Names our files in the SQLite header: "GrdB".
pub(crate) const APPLICATION_ID: u32 = 0x4772_6442;

/// The latest format this program knows; stands in the header as `user_version`.
pub(crate) const FORMAT: u32 = 8;

/// How many numbers each document has for its changes, as a power of two: two hundred times as many as
/// a document may have changes, for numbers are never used twice.
pub(crate) const CHANGE_NUMBER_BITS: u32 = 20;

/// `MIGRATIONS[n]` brings a file from format n to format n + 1.
const MIGRATIONS: [&str; FORMAT as usize] = [
    FORMAT_1, FORMAT_2, FORMAT_3, FORMAT_4, FORMAT_5, FORMAT_6, FORMAT_7, FORMAT_8,
];

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

// Blobs in chunks of 16 KiB, clustered as changes are, and which documents refer to them. The references of documents
// from before are not listed yet: that takes their kinds (`meta.references_due`).
const FORMAT_7: &str = "
ALTER TABLE blob RENAME TO blob_before;

CREATE TABLE blob (
    id       INTEGER PRIMARY KEY,
    hash     BLOB NOT NULL UNIQUE,
    size     INTEGER,                     -- NULL until known
    is_whole INTEGER NOT NULL,            -- 1: every chunk is here
    kept     BLOB NOT NULL,               -- bitmap of the chunks that the relay called durable
    put      INTEGER,                     -- when a person put it here, ms; NULL if it came, or did not
    wanted   INTEGER NOT NULL,            -- 1: to be fetched
    is_left  INTEGER NOT NULL             -- 1: the last reference went before the relay had it
) STRICT;
CREATE INDEX blob_wanted ON blob (id) WHERE wanted = 1;

CREATE TABLE chunk (
    id    INTEGER PRIMARY KEY,            -- its blob's id × 2^20 + its number there
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE attachment (
    document INTEGER NOT NULL,
    blob     INTEGER NOT NULL,
    state    INTEGER NOT NULL,            -- 0 idle, 1 to be sent, 2 received by the relay's word, 3 refused
    PRIMARY KEY (document, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX attachment_by_blob ON attachment (blob);
CREATE INDEX attachment_to_send ON attachment (blob) WHERE state = 1;

INSERT INTO blob (hash, size, is_whole, kept, put, wanted, is_left)
    SELECT hash, length(bytes), 1, x'', unixepoch() * 1000, 0, 0 FROM blob_before WHERE length(bytes) > 0;
WITH RECURSIVE piece (blob, hash, n) AS (
    SELECT id, hash, 0 FROM blob
    UNION ALL
    SELECT piece.blob, piece.hash, piece.n + 1 FROM piece JOIN blob ON blob.id = piece.blob
        WHERE (piece.n + 1) * 16384 < blob.size
)
INSERT INTO chunk SELECT piece.blob << 20 | piece.n, substr(b.bytes, 1 + piece.n * 16384, 16384)
    FROM piece JOIN blob_before b ON b.hash = piece.hash;
DROP TABLE blob_before;
INSERT INTO meta SELECT 'references_due', 1 WHERE EXISTS (SELECT 1 FROM document);
";

// What an app has begun and not saved: it belongs to no document yet.
const FORMAT_8: &str = "
CREATE TABLE draft (
    name  TEXT PRIMARY KEY,
    saved INTEGER NOT NULL,               -- ms
    bytes BLOB NOT NULL
) STRICT;
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

#[cfg(test)]
mod tests {
    use rusqlite::types::Value;

    use super::*;

    #[test]
    fn blobs_of_a_file_of_format_6_are_cut_into_chunks_and_keep_every_byte() {
        let mut file = Connection::open_in_memory().unwrap();
        for step in &MIGRATIONS[..6] {
            file.execute_batch(step).unwrap();
        }
        file.pragma_update(None, "user_version", 6).unwrap();
        let sizes = [1, 16_384, 16_385, 40_000];
        let bytes = |size: usize| -> Vec<u8> { (0..size).map(|at| (at % 251) as u8).collect() };
        for (hash, size) in (0u8..).zip(sizes) {
            let insert = "INSERT INTO blob (hash, bytes) VALUES (?1, ?2)";
            file.execute(insert, ([hash; 32], bytes(size))).unwrap();
        }
        migrate(&mut file).unwrap();
        assert_eq!(format(&file).unwrap(), FORMAT);
        for (hash, size) in (0u8..).zip(sizes) {
            let find = "SELECT id, size FROM blob WHERE hash = ?1 AND is_whole = 1";
            let (id, found): (i64, i64) = file
                .query_row(find, [[hash; 32]], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            assert_eq!(found, i64::try_from(size).unwrap());
            let mut find = file
                .prepare("SELECT bytes FROM chunk WHERE id >> 20 = ?1 ORDER BY id")
                .unwrap();
            let chunks: Vec<Vec<u8>> = find
                .query_map([id], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert_eq!(chunks.len(), size.div_ceil(16_384));
            assert_eq!(chunks.concat(), bytes(size));
        }
        let due = "SELECT count(*) FROM meta WHERE key = 'references_due'";
        let due: u32 = file.query_row(due, [], |row| row.get(0)).unwrap();
        assert_eq!(due, 0, "there is no document");
    }

    /// Every row of every table but SQLite's own and those of the indices, as SQL writes its values.
    fn content(file: &Connection) -> Vec<String> {
        let tables =
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'record_%'
            AND name NOT LIKE 'sqlite_%' AND name <> 'draft' ORDER BY name";
        let mut tables = file.prepare(tables).unwrap();
        let tables = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let mut content = Vec::new();
        for table in tables.map(Result::unwrap) {
            let select = format!("SELECT * FROM {table} ORDER BY 1, 2");
            let mut select = file.prepare(&select).unwrap();
            let columns = select.column_count();
            let rows = select.query_map([], |row| {
                let values = (0..columns).map(|at| row.get::<_, Value>(at));
                values.collect::<Result<Vec<_>, _>>()
            });
            let rows = rows.unwrap().map(Result::unwrap);
            content.extend(rows.map(|row| format!("{table}: {row:?}")));
        }
        content
    }

    #[test]
    fn a_file_of_format_7_keeps_all_it_has_and_can_keep_drafts_then() {
        let mut file = Connection::open_in_memory().unwrap();
        for step in &MIGRATIONS[..7] {
            file.execute_batch(step).unwrap();
        }
        file.pragma_update(None, "user_version", 7).unwrap();
        file.execute_batch(
            "INSERT INTO meta VALUES ('device', x'01'), ('relay_offset', -7);
             INSERT INTO scope VALUES (1, 'grid', 2, 40, x'02', 1, NULL, NULL, NULL, NULL, NULL, 9, NULL, NULL);
             INSERT INTO document VALUES (1, x'03', 'slip', 1, x'04', 2, '{}', x'05');
             INSERT INTO change VALUES (1048577, x'06', x'01', 5, 6, 7, -8, x'07', x'08', x'09'),
                 (1048578, x'0a', x'01', NULL, 7, 8, NULL, x'0b', x'0c', x'0d');
             INSERT INTO placement VALUES (1, 1, 1, x'04');
             INSERT INTO outbox VALUES (1048578, 1, 2, 7, 1, 0);
             INSERT INTO refused VALUES (1, x'03', 'slip', 'grid', x'0e', x'01', 1, 2, NULL, x'0f', 'code',
                 'words', '原因', NULL, NULL, NULL);
             INSERT INTO removal VALUES (1, NULL, x'10', x'11', 1);
             INSERT INTO kept VALUES (1, 'grid', x'12', 'slip', 1, x'13', x'01', 3, x'14', 4, NULL, NULL, x'15');
             INSERT INTO blob VALUES (1, x'16', 3, 1, x'01', 5, 0, 0);
             INSERT INTO chunk VALUES (1048576, x'171819');
             INSERT INTO attachment VALUES (1, 1, 1);",
        )
        .unwrap();
        let before = content(&file);
        assert_eq!(before.len(), 14);
        migrate(&mut file).unwrap();
        assert_eq!(format(&file).unwrap(), FORMAT);
        assert_eq!(content(&file), before);
        file.execute("INSERT INTO draft VALUES ('track', 1, x'00')", [])
            .unwrap();
    }
}
