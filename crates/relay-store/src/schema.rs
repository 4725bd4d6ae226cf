//! The tables of the relay's SQLite file, and how an older file is brought up to them.
//!
//! Inside the file documents and scopes go by small numbers, so that the long tables (`change`,
//! `feed`) stay narrow. The saved documents have a table of their own, so that listing a scope
//! does not walk over them.

use rusqlite::{Connection, TransactionBehavior};

/// Marks the file as a Gridbeat relay's: the letters `GBRY` in SQLite's header field for this.
pub(crate) const APPLICATION_ID: i32 = 0x4742_5259;

/// One step a version; a file at version `n` lacks the steps from `n` on.
const STEPS: [&str; 10] = [
    TABLES, EVIDENCE, VERBS, QUARANTINE, LEAVING, OPERATIONS, LIVES, ENROLMENT, DETACHED, BLOBS,
];

const TABLES: &str = "
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    incarnation BLOB NOT NULL,
    lineage BLOB NOT NULL,
    commits INTEGER NOT NULL,
    rights_version INTEGER NOT NULL
) STRICT;

CREATE TABLE device (
    device BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    added INTEGER NOT NULL,
    revoked INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE device_grant (
    device BLOB NOT NULL,
    scope TEXT NOT NULL,
    may_write INTEGER NOT NULL,
    PRIMARY KEY (device, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE mark (
    device BLOB PRIMARY KEY,
    install BLOB NOT NULL,
    seen INTEGER NOT NULL,
    clock_offset_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE device_cursor (
    device BLOB NOT NULL,
    scope INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (device, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE scope (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    head INTEGER NOT NULL,
    digest BLOB NOT NULL
) STRICT;

CREATE TABLE document (
    id INTEGER PRIMARY KEY,
    uuid BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    version INTEGER NOT NULL,
    changes INTEGER NOT NULL,
    log_bytes INTEGER NOT NULL,
    term BLOB NOT NULL,
    heads BLOB NOT NULL
) STRICT;

CREATE TABLE cache (
    document INTEGER PRIMARY KEY,
    saved BLOB NOT NULL
) STRICT;

CREATE TABLE change (
    document INTEGER NOT NULL,
    n INTEGER NOT NULL,
    hash BLOB NOT NULL,
    author BLOB NOT NULL,
    brought_by BLOB NOT NULL,
    received INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (document, n)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX change_once ON change (document, hash);

CREATE TABLE placement (
    scope INTEGER NOT NULL,
    document INTEGER NOT NULL,
    PRIMARY KEY (scope, document)
) STRICT, WITHOUT ROWID;
CREATE INDEX placement_by_document ON placement (document);

CREATE TABLE feed (
    scope INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    what INTEGER NOT NULL,
    document INTEGER NOT NULL,
    change INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (scope, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE record (
    document INTEGER PRIMARY KEY,
    status TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    category TEXT NOT NULL,
    latitude_e7 INTEGER,
    longitude_e7 INTEGER,
    occurred INTEGER NOT NULL,
    attention INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    text TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX record_by_time ON record (occurred);

CREATE TABLE refused (
    id INTEGER PRIMARY KEY,
    device BLOB NOT NULL,
    scope TEXT NOT NULL,
    document BLOB NOT NULL,
    hash BLOB,
    code TEXT NOT NULL,
    received INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE (device, document, hash, code)
) STRICT;
";

// Who pushed what, by signature, and the relay's own signed account of it (`evidence`). What is once
// written to the log is never changed by the relay; the triggers keep other hands from it that do not
// mean to. Whoever means to can drop a trigger: the signatures are for that.
const EVIDENCE: &str = "
CREATE TABLE device_key (
    device BLOB NOT NULL,
    suite INTEGER NOT NULL,
    key BLOB NOT NULL,
    first_seen INTEGER NOT NULL,          -- the receipt of its first batch
    PRIMARY KEY (device, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE batch (
    id INTEGER PRIMARY KEY,               -- dense, in the order of the first receipts
    hash BLOB NOT NULL UNIQUE,
    device BLOB NOT NULL,
    statement BLOB NOT NULL,
    signature BLOB NOT NULL               -- empty if the device has no key
) STRICT;

CREATE TABLE receipt (
    id INTEGER PRIMARY KEY,               -- dense
    statement BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;

CREATE TABLE chain (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    receipts INTEGER NOT NULL,            -- how many there are
    last BLOB NOT NULL,                   -- hash of the last
    incarnation BLOB NOT NULL,            -- as the last receipt that begins a segment has it
    key BLOB NOT NULL
) STRICT;

CREATE TRIGGER device_key_stays BEFORE UPDATE ON device_key
BEGIN SELECT RAISE(ABORT, 'keys of devices are only added to'); END;
CREATE TRIGGER device_key_kept BEFORE DELETE ON device_key
BEGIN SELECT RAISE(ABORT, 'keys of devices are only added to'); END;
CREATE TRIGGER batch_stays BEFORE UPDATE ON batch
BEGIN SELECT RAISE(ABORT, 'batches are only added to'); END;
CREATE TRIGGER batch_kept BEFORE DELETE ON batch
BEGIN SELECT RAISE(ABORT, 'batches are only added to'); END;
CREATE TRIGGER receipt_stays BEFORE UPDATE ON receipt
BEGIN SELECT RAISE(ABORT, 'receipts are only added to'); END;
CREATE TRIGGER receipt_kept BEFORE DELETE ON receipt
BEGIN SELECT RAISE(ABORT, 'receipts are only added to'); END;
CREATE TRIGGER change_stays BEFORE UPDATE ON change
BEGIN SELECT RAISE(ABORT, 'the log of changes is only added to'); END;
CREATE TRIGGER change_kept BEFORE DELETE ON change
BEGIN SELECT RAISE(ABORT, 'the log of changes is only added to'); END;
CREATE TRIGGER feed_stays BEFORE UPDATE ON feed
BEGIN SELECT RAISE(ABORT, 'feeds are only added to'); END;
CREATE TRIGGER feed_kept BEFORE DELETE ON feed
BEGIN SELECT RAISE(ABORT, 'feeds are only added to'); END;
";

// What a device may do in a scope, as a set of verbs under the name of a role. A grant that was withdrawn
// stays, without verbs: what its device did with them stands.
const VERBS: &str = "
CREATE TABLE granted (
    device BLOB NOT NULL,
    scope TEXT NOT NULL,
    role TEXT NOT NULL,                   -- for people: nothing is decided by it
    verbs INTEGER NOT NULL CHECK (verbs BETWEEN 0 AND 127),
    held INTEGER NOT NULL CHECK (held | verbs = held AND held < 128), -- every verb it ever had
    PRIMARY KEY (device, scope)
) STRICT, WITHOUT ROWID;
INSERT INTO granted
    SELECT device, scope, '', CASE may_write WHEN 0 THEN 1 ELSE 63 END,
        CASE may_write WHEN 0 THEN 1 ELSE 63 END FROM device_grant;
DROP TABLE device_grant;
ALTER TABLE granted RENAME TO device_grant;
";

// The quarantine in an operator's hands (`quarantine`).
const QUARANTINE: &str = "
ALTER TABLE refused ADD COLUMN en TEXT NOT NULL DEFAULT '';
ALTER TABLE refused ADD COLUMN zh TEXT NOT NULL DEFAULT '';
ALTER TABLE refused ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE refused ADD COLUMN discarded INTEGER;
ALTER TABLE refused ADD COLUMN discarded_by TEXT;
ALTER TABLE refused ADD COLUMN discarded_why TEXT;
UPDATE refused SET size = length(bytes);

CREATE TABLE refused_room (               -- sums over refused; beyond: what there was no room for
    device BLOB PRIMARY KEY,
    changes INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    beyond INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO refused_room
    SELECT device, count(*), sum(length(bytes)), 0 FROM refused GROUP BY device;
";

// Grants that ended, whoever ended them, and what devices state that they removed (`leaving`). What a
// statement says is in its receipt too, by which the row is verified.
const LEAVING: &str = "
CREATE TABLE leaving (
    device BLOB NOT NULL,
    scope TEXT NOT NULL,
    verbs INTEGER NOT NULL,               -- as they were
    seq INTEGER NOT NULL,                 -- the scope's head then
    since INTEGER,                        -- NULL within the transaction that ends the grant
    PRIMARY KEY (device, scope)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER grant_ends AFTER UPDATE OF verbs ON device_grant WHEN OLD.verbs > 0 AND NEW.verbs = 0
BEGIN
    INSERT OR REPLACE INTO leaving VALUES (OLD.device, OLD.scope, OLD.verbs,
        coalesce((SELECT head FROM scope WHERE name = OLD.scope), 0), NULL);
END;
CREATE TRIGGER grant_returns AFTER UPDATE OF verbs ON device_grant WHEN NEW.verbs > 0
BEGIN DELETE FROM leaving WHERE device = NEW.device AND scope = NEW.scope; END;

CREATE TABLE removal (
    hash BLOB PRIMARY KEY,
    device BLOB NOT NULL,
    scope TEXT,                           -- NULL for everything
    received INTEGER NOT NULL,
    statement BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX removal_by_device ON removal (device, received);
CREATE TRIGGER removal_stays BEFORE UPDATE ON removal
BEGIN SELECT RAISE(ABORT, 'removals are only added to'); END;
CREATE TRIGGER removal_kept BEFORE DELETE ON removal
BEGIN SELECT RAISE(ABORT, 'removals are only added to'); END;
";

// What operators did, written in the transaction that did it.
const OPERATIONS: &str = "
ALTER TABLE meta ADD COLUMN was_restored INTEGER NOT NULL DEFAULT 0;
-- Of a file from before nobody knows.
UPDATE meta SET was_restored = 1;

CREATE TABLE operation (
    id INTEGER PRIMARY KEY,               -- dense
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    verb TEXT NOT NULL,
    subject TEXT NOT NULL,
    why TEXT NOT NULL,
    details TEXT NOT NULL
) STRICT;
CREATE TRIGGER operation_stays BEFORE UPDATE ON operation
BEGIN SELECT RAISE(ABORT, 'the operators'' log is only added to'); END;
CREATE TRIGGER operation_kept BEFORE DELETE ON operation
BEGIN SELECT RAISE(ABORT, 'the operators'' log is only added to'); END;
";

// The lives of the database and what came back in the present one; how much is in a backup; which devices were
// heard from two installations (`lives`, `clones`).
const LIVES: &str = "
ALTER TABLE meta ADD COLUMN stable INTEGER;   -- all received up to then, ms, is in a backup; NULL for nothing

CREATE TABLE life (
    id INTEGER PRIMARY KEY,
    incarnation BLOB NOT NULL,
    began INTEGER                             -- ms; NULL if not known
) STRICT;
INSERT INTO life (incarnation) SELECT incarnation FROM meta;

CREATE TABLE recovered (                      -- changes that came back in the present life
    document INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (document, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE clone (
    device BLOB NOT NULL,
    one BLOB NOT NULL,                        -- the lower of the two installations
    other BLOB NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (device, one, other)
) STRICT, WITHOUT ROWID;
";

// Who is asked in, who came, and what was issued to them. Codes lie here as hashes; a key is in plain,
// being public.
const ENROLMENT: &str = "
CREATE TABLE invitation (
    id INTEGER PRIMARY KEY,
    code BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    auto_approve INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    cancelled INTEGER,
    strangers INTEGER NOT NULL DEFAULT 0, -- requests of other keys since it was spent
    key BLOB,                             -- of the request that spent it, and what follows too
    install BLOB,
    said TEXT,
    source TEXT,
    requested INTEGER,
    tries INTEGER NOT NULL DEFAULT 0,     -- other fingerprints given for it
    approved INTEGER,
    refused INTEGER,
    device BLOB UNIQUE,
    CHECK ((approved IS NULL) = (device IS NULL))
) STRICT;

CREATE TABLE invitation_grant (
    invitation INTEGER NOT NULL,
    scope TEXT NOT NULL,
    role TEXT NOT NULL,
    verbs INTEGER NOT NULL CHECK (verbs BETWEEN 1 AND 127),
    PRIMARY KEY (invitation, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
    id INTEGER PRIMARY KEY,
    device BLOB NOT NULL,
    key BLOB NOT NULL,
    certificate BLOB NOT NULL,
    issued INTEGER NOT NULL,
    renew_after INTEGER NOT NULL,
    not_after INTEGER NOT NULL
) STRICT;
CREATE INDEX lease_by_device ON lease (device, id);

CREATE TRIGGER request_stays BEFORE UPDATE OF key, install, requested ON invitation
WHEN OLD.key IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a code is spent once'); END;
CREATE TRIGGER lease_stays BEFORE UPDATE ON lease
BEGIN SELECT RAISE(ABORT, 'leases are only added to'); END;
CREATE TRIGGER lease_kept BEFORE DELETE ON lease
BEGIN SELECT RAISE(ABORT, 'leases are only added to'); END;
";

// Out of which scopes a document was ever taken, found without reading their feeds: few entries are of that sort.
const DETACHED: &str = "
CREATE INDEX feed_detach ON feed (document, scope) WHERE what = 2;
";

// Which documents refer to which blobs, and the blobs: whole ones, and what has come of others from each device
// (`blobs`). The references of documents from before are not listed: that takes their kinds (`blob_care`).
const BLOBS: &str = "
CREATE TABLE attachment (
    document INTEGER NOT NULL,
    hash BLOB NOT NULL,
    complete INTEGER NOT NULL,            -- 1: the whole blob is here, and the document's
    PRIMARY KEY (document, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX attachment_by_hash ON attachment (hash);

CREATE TABLE blob (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    device BLOB,                          -- which brings it; NULL once it is whole
    document INTEGER,                     -- for which it brings it; NULL likewise
    size INTEGER NOT NULL,
    tree BLOB,                            -- the inner hashes of a whole one
    since INTEGER NOT NULL,               -- when it was offered last, or became whole, ms
    CHECK ((device IS NULL) = (tree IS NOT NULL) AND (device IS NULL) = (document IS NULL))
) STRICT;
CREATE UNIQUE INDEX blob_whole ON blob (hash) WHERE device IS NULL;
CREATE UNIQUE INDEX blob_upload ON blob (device, hash) WHERE device IS NOT NULL;

CREATE TABLE blob_chunk (
    id INTEGER PRIMARY KEY,               -- its blob's id × 2^11 + its number there
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE unlisted (
    document INTEGER PRIMARY KEY
) STRICT;
INSERT INTO unlisted SELECT id FROM document;
";

/// The version this program writes.
pub(crate) fn newest() -> i32 {
    i32::try_from(STEPS.len()).expect("the steps are few")
}

/// Brings a file of ours up to the newest version, in one transaction.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i32 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(0).min(STEPS.len());
    for step in &STEPS[done..] {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", newest())?;
    tx.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_rights_is_brought_up_to_verbs() {
        let mut file = Connection::open_in_memory().unwrap();
        for step in &STEPS[..2] {
            file.execute_batch(step).unwrap();
        }
        file.execute_batch(
            "PRAGMA user_version = 2;
             INSERT INTO device_grant VALUES (x'01', 'east', 1), (x'01', 'west', 0);",
        )
        .unwrap();
        migrate(&mut file).unwrap();
        let mut find = file
            .prepare("SELECT scope, role, verbs, held FROM device_grant ORDER BY scope")
            .unwrap();
        let rows = find.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        });
        let rows: Vec<(String, String, i64, i64)> = rows.unwrap().map(Result::unwrap).collect();
        let work = i64::from(gridbeat_base::Verbs::WORK.bits());
        let expected = [("east", work), ("west", 1)];
        let expected = expected.map(|(scope, verbs)| (scope.into(), String::new(), verbs, verbs));
        assert_eq!(rows, expected);
    }
}
