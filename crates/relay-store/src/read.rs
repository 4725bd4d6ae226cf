//! The tasks that only read, on either connection. Each reads in one transaction, as of one moment.
//!
//! long because each task is one query with its rows, and they share how rows become values.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{
    ChangeHash, DeviceId, Digest, DocumentId, Incarnation, Scope, Verbs, WallTime,
};
use gridbeat_relay_core::{
    Answer, ComparedWith, Comparison, Greeting, Inventory, LoggedChange, Page, Rights,
    ScopePosition, StoreFault, StoredChange, StoredDocument, StoredEntry, Task, Warrant,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::commit::{ATTACH, CHANGE, DETACH};
use crate::enrolment;
use crate::error::{damaged, fault};
use crate::lineage::Lineage;
use crate::value::{
    clamp_to_sql, digest, document, from_sql, heads_from_sql, schema_version, scope, to_sql, verbs,
};
use crate::{blobs, evidence, leaving, lives, snapshot};

/// What an entry, a change or a document counts for beside its bytes, so that a read of many small
/// ones is bounded too. Not less than what the protocol counts for any of them.
pub(crate) const ROW_BYTES: u64 = 96;

/// What the database says of itself.
pub(crate) struct Meta {
    pub(crate) incarnation: Incarnation,
    pub(crate) lineage: Lineage,
    pub(crate) commits: u64,
}

/// Reads what the database says of itself; `None` in one that was just made.
pub(crate) fn meta(connection: &Connection) -> Result<Option<Meta>, StoreFault> {
    let row = connection
        .query_row(
            "SELECT incarnation, lineage, commits FROM meta",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()
        .map_err(fault)?;
    row.map(|(incarnation, lineage, commits)| {
        Ok(Meta {
            incarnation: Incarnation::new(incarnation),
            lineage,
            commits: from_sql(commits)?,
        })
    })
    .transpose()
}

/// Does one task that only reads.
pub(crate) fn run(connection: &Connection, task: &Task) -> Result<Answer, StoreFault> {
    let tx = connection.unchecked_transaction().map_err(fault)?;
    match task {
        Task::Greet { device, cursors } => greet(&tx, *device, cursors).map(Answer::Greeting),
        Task::Rights { devices, unless } => some_rights(&tx, devices, *unless),
        Task::Load {
            documents,
            devices,
            authors,
            logs,
            bytes_max,
            at,
        } => Ok(Answer::Loaded {
            documents: load(&tx, documents, logs, *bytes_max)?,
            warrant: Warrant {
                version: rights_version(&tx)?,
                rights: leaving::judging(&tx, all_rights(&tx, devices)?, *at)?,
                held: held(&tx, authors)?,
            },
        }),
        Task::ReadFeed {
            scope,
            after,
            bytes_max,
        } => page(&tx, scope, *after, *bytes_max).map(Answer::Page),
        Task::ReadSnapshot {
            scope,
            after,
            bytes_max,
        } => snapshot::page(&tx, scope, *after, *bytes_max).map(Answer::Snapshot),
        Task::Inventory { scope } => inventory(&tx, scope).map(Answer::Inventory),
        Task::Compare {
            scope,
            documents,
            bytes_max,
        } => compare(&tx, scope, documents, *bytes_max).map(Answer::Compared),
        Task::ReadChunks { device, get } => {
            blobs::read_chunks(&tx, *device, get).map(Answer::Chunks)
        }
        Task::Commit(_)
        | Task::Marks(_)
        | Task::Keep(_)
        | Task::Offer { .. }
        | Task::KeepChunks { .. }
        | Task::Bring { .. }
        | Task::Prove { .. } => Err(StoreFault::Failed {
            detail: "a connection that only reads was asked to write".to_owned(),
        }),
    }
}

fn greet(
    connection: &Connection,
    device: DeviceId,
    cursors: &[(Scope, u64)],
) -> Result<Greeting, StoreFault> {
    let rights = rights(connection, device)?;
    let mut scopes = Vec::new();
    let named: BTreeSet<&Scope> = cursors.iter().map(|(scope, _)| scope).collect();
    for (scope, cursor) in cursors {
        scopes.push(position(connection, scope, *cursor)?);
    }
    if let Rights::Granted(granted) = &rights {
        for scope in granted.keys().filter(|scope| !named.contains(scope)) {
            scopes.push(position(connection, scope, 0)?);
        }
    }
    let ended = leaving::ended(connection, device, cursors)?;
    leaving::find_mostly_held(connection, cursors, (&rights, &ended), &mut scopes)?;
    Ok(Greeting {
        ended,
        surrender: match rights {
            Rights::Revoked => leaving::surrender(connection, device)?,
            Rights::Unknown | Rights::Granted(_) => None,
        },
        rights,
        signs: evidence::has_key(connection, device)?,
        leased: enrolment::latest_lease(connection, device)?.map(|lease| *lease.key.bytes()),
        scopes,
        stable: lives::stable(connection)?,
    })
}

fn position(
    connection: &Connection,
    scope: &Scope,
    cursor: u64,
) -> Result<ScopePosition, StoreFault> {
    let row = scope_row(connection, scope)?;
    let head = row.as_ref().map_or(0, |row| row.head);
    let digest_at_cursor = match row {
        _ if cursor == 0 => Some(Digest::EMPTY),
        Some(row) if cursor == row.head => Some(row.digest),
        Some(row) => connection
            .prepare_cached("SELECT digest FROM feed WHERE scope = ?1 AND seq = ?2")
            .and_then(|mut find| {
                find.query_row(params![row.id, clamp_to_sql(cursor)], |row| row.get(0))
                    .optional()
            })
            .map_err(fault)?
            .map(digest),
        None => None,
    };
    Ok(ScopePosition {
        scope: scope.clone(),
        head,
        digest_at_cursor,
        is_mostly_held: false,
    })
}

pub(crate) struct ScopeLine {
    pub(crate) id: i64,
    pub(crate) head: u64,
    pub(crate) digest: Digest,
}

pub(crate) fn scope_row(
    connection: &Connection,
    scope: &Scope,
) -> Result<Option<ScopeLine>, StoreFault> {
    let row = connection
        .prepare_cached("SELECT id, head, digest FROM scope WHERE name = ?1")
        .and_then(|mut find| {
            find.query_row([scope.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
        })
        .map_err(fault)?;
    row.map(|(id, head, bytes)| {
        Ok(ScopeLine {
            id,
            head: from_sql(head)?,
            digest: digest(bytes),
        })
    })
    .transpose()
}

fn some_rights(
    connection: &Connection,
    devices: &[DeviceId],
    unless: Option<u64>,
) -> Result<Answer, StoreFault> {
    let version = rights_version(connection)?;
    let rights = if unless == Some(version) {
        None
    } else {
        Some(all_rights(connection, devices)?)
    };
    Ok(Answer::Rights { version, rights })
}

/// Reads the version of all devices' rights.
pub(crate) fn rights_version(connection: &Connection) -> Result<u64, StoreFault> {
    connection
        .prepare_cached("SELECT rights_version FROM meta")
        .and_then(|mut find| find.query_row([], |row| row.get(0)))
        .map_err(fault)
        .and_then(from_sql)
}

/// Reads what authors ever held; `None` if a restored database cannot know.
fn held(
    connection: &Connection,
    authors: &BTreeSet<DeviceId>,
) -> Result<Option<BTreeMap<DeviceId, Verbs>>, StoreFault> {
    if authors.is_empty() {
        return Ok(Some(BTreeMap::new()));
    }
    let was_restored: bool = connection
        .prepare_cached("SELECT was_restored FROM meta")
        .and_then(|mut find| find.query_row([], |row| row.get(0)))
        .map_err(fault)?;
    if was_restored {
        return Ok(None);
    }
    let mut find = connection
        .prepare_cached("SELECT held FROM device_grant WHERE device = ?1")
        .map_err(fault)?;
    let mut found = BTreeMap::new();
    for author in authors {
        let mut rows = find.query(params![author.bytes()]).map_err(fault)?;
        let mut all = Verbs::NONE;
        while let Some(row) = rows.next().map_err(fault)? {
            all = all.union(verbs(row.get(0).map_err(fault)?)?);
        }
        found.insert(*author, all);
    }
    Ok(Some(found))
}

fn all_rights(
    connection: &Connection,
    devices: &[DeviceId],
) -> Result<BTreeMap<DeviceId, Rights>, StoreFault> {
    devices
        .iter()
        .map(|device| Ok((*device, rights(connection, *device)?)))
        .collect()
}

/// Reads what a device may do.
pub(crate) fn rights(connection: &Connection, device: DeviceId) -> Result<Rights, StoreFault> {
    let revoked: Option<bool> = connection
        .prepare_cached("SELECT revoked IS NOT NULL FROM device WHERE device = ?1")
        .and_then(|mut find| {
            find.query_row(params![device.bytes()], |row| row.get(0))
                .optional()
        })
        .map_err(fault)?;
    match revoked {
        None => Ok(Rights::Unknown),
        Some(true) => Ok(Rights::Revoked),
        Some(false) => Ok(Rights::Granted(grants(connection, device)?)),
    }
}

/// Reads a device's grants, whether it was revoked since or not.
fn grants(connection: &Connection, device: DeviceId) -> Result<BTreeMap<Scope, Verbs>, StoreFault> {
    let mut find = connection
        .prepare_cached("SELECT scope, verbs FROM device_grant WHERE device = ?1 AND verbs > 0")
        .map_err(fault)?;
    let mut rows = find.query(params![device.bytes()]).map_err(fault)?;
    let mut grants = BTreeMap::new();
    while let Some(row) = rows.next().map_err(fault)? {
        let name: String = row.get(0).map_err(fault)?;
        grants.insert(scope(&name)?, verbs(row.get(1).map_err(fault)?)?);
    }
    Ok(grants)
}

/// One row of `document`.
struct DocumentLine {
    id: i64,
    kind: String,
    schema_version: u16,
    version: u64,
    log_bytes: u64,
    heads: Vec<ChangeHash>,
}

fn document_row(
    connection: &Connection,
    document: DocumentId,
) -> Result<Option<DocumentLine>, StoreFault> {
    let mut find = connection
        .prepare_cached(
            "SELECT id, kind, schema_version, version, log_bytes, heads FROM document
             WHERE uuid = ?1",
        )
        .map_err(fault)?;
    let mut rows = find.query(params![document.bytes()]).map_err(fault)?;
    let Some(row) = rows.next().map_err(fault)? else {
        return Ok(None);
    };
    Ok(Some(DocumentLine {
        id: row.get(0).map_err(fault)?,
        kind: row.get(1).map_err(fault)?,
        schema_version: schema_version(row.get(2).map_err(fault)?)?,
        version: from_sql(row.get(3).map_err(fault)?)?,
        log_bytes: from_sql(row.get(4).map_err(fault)?)?,
        heads: heads_from_sql(&row.get::<_, Vec<u8>>(5).map_err(fault)?)?,
    }))
}

type Loaded = Vec<(DocumentId, Option<StoredDocument>)>;

fn load(
    connection: &Connection,
    documents: &[DocumentId],
    logs: &BTreeSet<DocumentId>,
    bytes_max: u64,
) -> Result<Loaded, StoreFault> {
    let mut loaded = Vec::new();
    let mut bytes = 0;
    for document in documents {
        let stored = match document_row(connection, *document)? {
            Some(line) => Some(load_one(connection, line, logs.contains(document))?),
            None => None,
        };
        bytes += stored.as_ref().map_or(0, stored_bytes);
        if bytes > bytes_max && !loaded.is_empty() {
            break;
        }
        loaded.push((*document, stored));
    }
    Ok(loaded)
}

fn stored_bytes(stored: &StoredDocument) -> u64 {
    let log = stored
        .log
        .iter()
        .map(|change| change.bytes.as_ref().map_or(0, Vec::len));
    let bytes = stored.cache.as_ref().map_or(0, Vec::len) + log.sum::<usize>();
    bytes as u64 + ROW_BYTES * (1 + stored.log.len() as u64)
}

fn load_one(
    connection: &Connection,
    line: DocumentLine,
    with_log: bool,
) -> Result<StoredDocument, StoreFault> {
    let cache: Option<Vec<u8>> = connection
        .prepare_cached("SELECT saved FROM cache WHERE document = ?1")
        .and_then(|mut find| find.query_row([line.id], |row| row.get(0)).optional())
        .map_err(fault)?;
    let scopes = placements(connection, line.id)?;
    let mut left = taken_out_of(connection, line.id)?;
    left.retain(|scope| !scopes.contains(scope));
    let with_bytes = with_log || cache.is_none();
    let mut log = Vec::new();
    for_each_change(connection, line.id, i64::MAX, with_bytes, |hash, change| {
        log.push(LoggedChange {
            hash,
            author: change.author,
            received: change.received,
            bytes: with_bytes.then_some(change.bytes),
        });
    })?;
    Ok(StoredDocument {
        kind: line.kind,
        schema_version: line.schema_version,
        version: line.version,
        heads: line.heads,
        scopes,
        left,
        log_bytes: line.log_bytes,
        cache,
        log,
    })
}

/// Reads the changes of a document in the order of the log.
pub(crate) fn log_bytes(connection: &Connection, id: i64) -> Result<Vec<Vec<u8>>, StoreFault> {
    let mut log = Vec::new();
    for_each_change(connection, id, i64::MAX, true, |_, change| {
        log.push(change.bytes)
    })?;
    Ok(log)
}

/// Reads the scopes a document is in, sorted.
pub(crate) fn placements(connection: &Connection, id: i64) -> Result<Vec<Scope>, StoreFault> {
    scopes_of(
        connection,
        id,
        "SELECT s.name FROM placement p JOIN scope s ON s.id = p.scope
         WHERE p.document = ?1",
    )
}

/// Reads the scopes a document was ever taken out of, sorted. It may be in them again.
fn taken_out_of(connection: &Connection, id: i64) -> Result<Vec<Scope>, StoreFault> {
    // The condition is that of the index `feed_detach`, word for word.
    scopes_of(
        connection,
        id,
        "SELECT DISTINCT s.name FROM feed f JOIN scope s ON s.id = f.scope
         WHERE f.what = 2 AND f.document = ?1",
    )
}

fn scopes_of(connection: &Connection, id: i64, query: &str) -> Result<Vec<Scope>, StoreFault> {
    let mut find = connection.prepare_cached(query).map_err(fault)?;
    let mut rows = find.query([id]).map_err(fault)?;
    let mut scopes = Vec::new();
    while let Some(row) = rows.next().map_err(fault)? {
        scopes.push(scope(&row.get::<_, String>(0).map_err(fault)?)?);
    }
    scopes.sort_unstable();
    Ok(scopes)
}

/// Reads a document's changes in the order of the log, up to and including number `upto`.
pub(crate) fn for_each_change(
    connection: &Connection,
    id: i64,
    upto: i64,
    with_bytes: bool,
    mut take: impl FnMut(ChangeHash, StoredChange),
) -> Result<(), StoreFault> {
    let mut find = connection
        .prepare_cached(if with_bytes {
            "SELECT hash, author, received, bytes FROM change
             WHERE document = ?1 AND n <= ?2 ORDER BY n"
        } else {
            "SELECT hash, author, received, x'' FROM change
             WHERE document = ?1 AND n <= ?2 ORDER BY n"
        })
        .map_err(fault)?;
    let mut rows = find.query(params![id, upto]).map_err(fault)?;
    while let Some(row) = rows.next().map_err(fault)? {
        let hash = ChangeHash::from_bytes(row.get(0).map_err(fault)?);
        take(hash, change_at(row, 1).map_err(fault)?);
    }
    Ok(())
}

/// Reads author, receipt and bytes from three columns.
fn change_at(row: &Row<'_>, first: usize) -> rusqlite::Result<StoredChange> {
    Ok(StoredChange {
        author: DeviceId::from_bytes(row.get(first)?),
        received: WallTime(row.get(first + 1)?),
        bytes: row.get(first + 2)?,
    })
}

fn page(
    connection: &Connection,
    scope: &Scope,
    after: u64,
    bytes_max: u64,
) -> Result<Page, StoreFault> {
    let Some(line) = scope_row(connection, scope)? else {
        return Ok(Page {
            head: 0,
            digest: Digest::EMPTY,
            entries: Vec::new(),
        });
    };
    let mut page = Page {
        head: line.head,
        digest: line.digest,
        entries: Vec::new(),
    };
    let mut find = connection
        .prepare_cached(
            "SELECT f.what, f.change, f.digest, d.id, d.uuid, d.kind, d.schema_version,
                 c.author, c.received, c.bytes
             FROM feed f JOIN document d ON d.id = f.document
                 LEFT JOIN change c ON f.what = 3 AND c.document = f.document AND c.n = f.change
             WHERE f.scope = ?1 AND f.seq > ?2 ORDER BY f.seq",
        )
        .map_err(fault)?;
    let mut rows = find
        .query(params![line.id, clamp_to_sql(after)])
        .map_err(fault)?;
    let mut bytes = 0;
    while let Some(row) = rows.next().map_err(fault)? {
        let entry = entry_at(connection, row)?;
        bytes += ROW_BYTES + entry_bytes(&entry);
        if bytes > bytes_max && !page.entries.is_empty() {
            break;
        }
        page.digest = digest(row.get(2).map_err(fault)?);
        page.entries.push(entry);
    }
    Ok(page)
}

fn entry_at(connection: &Connection, row: &Row<'_>) -> Result<StoredEntry, StoreFault> {
    let document = document(row.get(4).map_err(fault)?);
    match row.get(0).map_err(fault)? {
        ATTACH => {
            let mut changes = Vec::new();
            let (id, upto) = (row.get(3).map_err(fault)?, row.get(1).map_err(fault)?);
            for_each_change(connection, id, upto, true, |_, change| changes.push(change))?;
            Ok(StoredEntry::Attach {
                document,
                kind: row.get(5).map_err(fault)?,
                schema_version: schema_version(row.get(6).map_err(fault)?)?,
                changes,
            })
        }
        DETACH => Ok(StoredEntry::Detach { document }),
        CHANGE => Ok(StoredEntry::Change {
            document,
            kind: row.get(5).map_err(fault)?,
            change: change_at(row, 7).map_err(fault)?,
        }),
        _ => Err(damaged("an entry of the feed is of no kind")),
    }
}

fn entry_bytes(entry: &StoredEntry) -> u64 {
    let row = |change: &StoredChange| ROW_BYTES + change.bytes.len() as u64;
    match entry {
        StoredEntry::Attach { changes, .. } => changes.iter().map(row).sum(),
        StoredEntry::Detach { .. } => 0,
        StoredEntry::Change { change, .. } => row(change),
    }
}

fn inventory(connection: &Connection, scope: &Scope) -> Result<Inventory, StoreFault> {
    let mut found = Inventory {
        seq: 0,
        digest: Digest::EMPTY,
        items: Vec::new(),
    };
    let Some(line) = scope_row(connection, scope)? else {
        return Ok(found);
    };
    found.seq = line.head;
    found.digest = line.digest;
    let mut find = connection
        .prepare_cached(
            "SELECT d.uuid, d.term,
                 (SELECT COALESCE(SUM(received), 0) FROM change WHERE document = d.id)
             FROM placement p JOIN document d ON d.id = p.document
             WHERE p.scope = ?1",
        )
        .map_err(fault)?;
    let mut rows = find.query([line.id]).map_err(fault)?;
    while let Some(row) = rows.next().map_err(fault)? {
        let uuid = document(row.get(0).map_err(fault)?);
        let term = digest(row.get(1).map_err(fault)?);
        let receipts = row.get(2).map_err(fault)?;
        found.items.push((uuid, term.with_receipts(receipts)));
    }
    Ok(found)
}

fn compare(
    connection: &Connection,
    scope: &Scope,
    documents: &[(DocumentId, Vec<ChangeHash>)],
    bytes_max: u64,
) -> Result<Comparison, StoreFault> {
    let line = scope_row(connection, scope)?;
    let mut comparison = Comparison {
        seq: line.as_ref().map_or(0, |line| line.head),
        digest: line.as_ref().map_or(Digest::EMPTY, |line| line.digest),
        documents: Vec::new(),
    };
    let mut bytes = 0;
    for (document, named) in documents {
        let held = match &line {
            Some(line) => compare_one(connection, line.id, *document, named)?,
            None => None,
        };
        bytes += ROW_BYTES
            + held.as_ref().map_or(0, |held| {
                let changes = held.changes.iter();
                changes
                    .map(|change| ROW_BYTES + change.bytes.len() as u64)
                    .sum()
            });
        if bytes > bytes_max && !comparison.documents.is_empty() {
            break;
        }
        comparison.documents.push((*document, held));
    }
    Ok(comparison)
}

fn compare_one(
    connection: &Connection,
    scope: i64,
    document: DocumentId,
    named: &[ChangeHash],
) -> Result<Option<ComparedWith>, StoreFault> {
    let Some(line) = document_row(connection, document)? else {
        return Ok(None);
    };
    let placed: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM placement WHERE scope = ?1 AND document = ?2)",
        )
        .and_then(|mut find| find.query_row([scope, line.id], |row| row.get(0)))
        .map_err(fault)?;
    if !placed {
        return Ok(None);
    }
    let mut lacks: BTreeSet<ChangeHash> = named.iter().copied().collect();
    let mut changes = Vec::new();
    for_each_change(connection, line.id, i64::MAX, true, |hash, change| {
        if !lacks.remove(&hash) {
            changes.push(change);
        }
    })?;
    Ok(Some(ComparedWith {
        kind: line.kind,
        schema_version: line.schema_version,
        heads: line.heads,
        lacks: lacks.into_iter().collect(),
        changes,
    }))
}

/// Returns whether a change of a document is logged.
pub(crate) fn contains(
    connection: &Connection,
    document: DocumentId,
    hash: &ChangeHash,
) -> Result<bool, StoreFault> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM document d JOIN change c ON c.document = d.id
                 WHERE d.uuid = ?1 AND c.hash = ?2)",
        )
        .and_then(|mut find| {
            find.query_row(params![document.bytes(), hash.bytes()], |row| row.get(0))
        })
        .map_err(fault)
}

/// Reads the ids and heads of a page of documents in order of their ids, after one.
pub(crate) fn heads_after(
    connection: &Connection,
    after: Option<DocumentId>,
    limit: u64,
) -> Result<Vec<(DocumentId, Vec<ChangeHash>)>, StoreFault> {
    let mut find = connection
        .prepare_cached("SELECT uuid, heads FROM document WHERE uuid > ?1 ORDER BY uuid LIMIT ?2")
        .map_err(fault)?;
    let after = after.as_ref().map_or(&[][..], |after| after.bytes());
    let mut rows = find.query(params![after, to_sql(limit)]).map_err(fault)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(fault)? {
        let heads = heads_from_sql(&row.get::<_, Vec<u8>>(1).map_err(fault)?)?;
        found.push((document(row.get(0).map_err(fault)?), heads));
    }
    Ok(found)
}
