//! The rows of the log, held against what receipts account for.
//!
//! Inside the file documents go by numbers. Which document a number stands for is taken from all rows that
//! use it together, so that one edited row is not blamed on the others.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, DeviceId, Digest, DocumentId, WallTime};
use gridbeat_relay_core::StoreFault;
use gridbeat_sync_protocol::{PushChange, RemovalHash, SUITE};
use rusqlite::Connection;

use super::AuditReport;
use super::chain::{Account, bytes};
use crate::Operation;
use crate::commit::entry_columns;
use crate::error::fault;
use crate::receipt::{BeforeChange, BeforeHasher, EntryIds, FeedEntry};

/// What every raw change begins with, before the first bytes of its hash.
const CHUNK_MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];

/// A row of `document`.
struct DocumentRow {
    id: i64,
    uuid: Vec<u8>,
    kind: Vec<u8>,
    schema_version: i64,
    changes: i64,
}

/// A row of `change`.
struct ChangeRow {
    document: i64,
    n: i64,
    hash: Vec<u8>,
    author: Vec<u8>,
    brought_by: Vec<u8>,
    received: i64,
    bytes: Vec<u8>,
}

/// A row of `feed`.
struct FeedRow {
    scope: i64,
    seq: i64,
    what: i64,
    document: i64,
    change: i64,
    digest: Vec<u8>,
}

/// Verifies every row.
pub(super) fn verify(
    connection: &Connection,
    account: &Account,
    report: &mut AuditReport,
) -> Result<(), StoreFault> {
    let mut log = Log {
        connection,
        account,
        report,
        uuids: BTreeMap::new(),
        kinds: BTreeMap::new(),
        scopes: BTreeMap::new(),
        before: BeforeHasher::default(),
    };
    log.keys()
        .and_then(|()| log.removals())
        .and_then(|()| log.count_votes())
        .and_then(|()| log.scopes())
        .and_then(|()| log.documents())
        .and_then(|()| log.changes())
        .and_then(|()| log.feed())
        .and_then(|()| log.operations())
        .map_err(fault)?;
    let Log { before, .. } = log;
    let before = before.finish();
    if account.is_whole && before != account.before {
        report.find(
            "change",
            "before the first receipt".into(),
            None,
            format!(
                "{} changes and {} entries that no receipt has, in place of {} and {}",
                before.changes, before.entries, account.before.changes, account.before.entries
            ),
        );
    }
    Ok(())
}

struct Log<'a> {
    connection: &'a Connection,
    account: &'a Account,
    report: &'a mut AuditReport,
    /// Which document each number stands for.
    uuids: BTreeMap<i64, DocumentId>,
    /// What each number's row says of kind and schema version.
    kinds: BTreeMap<i64, (String, i64)>,
    scopes: BTreeMap<i64, String>,
    before: BeforeHasher,
}

impl Log<'_> {
    fn find(&mut self, table: &'static str, row: String, device: Option<DeviceId>, what: &str) {
        self.report.find(table, row, device, what);
    }

    /// A row that no receipt speaks of: to be blamed only if all receipts are there.
    fn find_extra(&mut self, table: &'static str, row: String) {
        if self.account.is_whole {
            self.find(table, row, None, "no receipt speaks of it");
        }
    }

    fn operations(&mut self) -> rusqlite::Result<()> {
        let mut missing = self.account.operations.clone();
        let sql = "SELECT id, at, who, verb, subject, why, details FROM operation ORDER BY id";
        let mut find = self.connection.prepare(sql)?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let key = format!("id={id}");
            let number = u64::try_from(id).ok();
            let Some(hash) = number.and_then(|number| missing.remove(&number)) else {
                self.find_extra("operation", key);
                continue;
            };
            let mut texts = [const { String::new() }; 5];
            let mut is_text = true;
            for (column, text) in (2..).zip(&mut texts) {
                match String::from_utf8(bytes(row, column)?) {
                    Ok(found) => *text = found,
                    Err(_) => is_text = false,
                }
            }
            let [who, verb, subject, why, details] = texts;
            let entry = Operation {
                number: id.cast_unsigned(),
                at: WallTime(row.get(1)?),
                who,
                verb,
                subject,
                why,
                details,
            };
            if !is_text || entry.hash() != hash {
                self.find("operation", key, None, "it is not what its receipt names");
            }
            self.report.operations += 1;
        }
        for number in missing.into_keys() {
            self.find("operation", format!("id={number}"), None, "it is missing");
        }
        Ok(())
    }

    fn keys(&mut self) -> rusqlite::Result<()> {
        let mut missing = self.account.keys.clone();
        let sql = "SELECT device, suite, key, first_seen FROM device_key";
        let mut find = self.connection.prepare(sql)?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            let (device, key) = (bytes(row, 0)?, bytes(row, 2)?);
            let (suite, seen): (i64, i64) = (row.get(1)?, row.get(3)?);
            let name = format!("device={} key={}", hex(&device), hex(&key));
            let pair = device.try_into().ok().zip(key.try_into().ok());
            let pair = pair.map(|(device, key)| (DeviceId::from_bytes(device), key));
            match pair.and_then(|pair| Some((pair.0, missing.remove(&pair)?))) {
                None => self.find_extra("device_key", name),
                Some((device, first)) if (suite, seen) != (SUITE as i64, first.millis()) => {
                    let what = "it is not as the receipt of its first batch has it";
                    self.find("device_key", name, Some(device), what);
                }
                Some(_) => {}
            }
        }
        for ((device, key), _) in missing {
            let name = format!("device={} key={}", hex(device.bytes()), hex(&key));
            self.find("device_key", name, Some(device), "it is missing");
        }
        Ok(())
    }

    fn removals(&mut self) -> rusqlite::Result<()> {
        let mut missing: BTreeMap<_, _> = self.account.removals.iter().collect();
        let sql = "SELECT hash, device, scope, received, statement FROM removal ORDER BY hash";
        let mut find = self.connection.prepare(sql)?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            let (hash, statement) = (bytes(row, 0)?, bytes(row, 4)?);
            let name = format!("hash={}", hex(&hash));
            self.report.removals += 1;
            let named = hash.try_into().ok().map(RemovalHash::from_bytes);
            let Some((proof, received)) = named.and_then(|named| missing.remove(&named)) else {
                self.find_extra("removal", name);
                continue;
            };
            let scope = proof.statement.scope.as_ref();
            let scope = scope.map_or_else(Vec::new, |scope| scope.as_str().into());
            let is_own = statement == proof.bytes
                && bytes(row, 1)? == proof.statement.device.bytes()
                && bytes(row, 2)? == scope
                && row.get::<_, i64>(3)? == received.millis();
            if !is_own {
                let device = Some(proof.statement.device);
                self.find("removal", name, device, "it is not what its receipt says");
            }
        }
        for (hash, (proof, _)) in missing {
            let device = Some(proof.statement.device);
            self.find("removal", format!("hash={hash}"), device, "it is missing");
        }
        Ok(())
    }

    /// Finds out which document each number stands for: what most rows of changes and feeds say that use it.
    fn count_votes(&mut self) -> rusqlite::Result<()> {
        let mut votes: BTreeMap<i64, BTreeMap<DocumentId, u64>> = BTreeMap::new();
        let mut vote = |number: i64, uuid: DocumentId| {
            *votes.entry(number).or_default().entry(uuid).or_default() += 1;
        };
        let by_hash = self.account.changes.iter();
        let by_hash: BTreeMap<(&[u8], u64), DocumentId> = by_hash
            .map(|((uuid, n), logged)| ((logged.hash.bytes().as_slice(), *n), *uuid))
            .collect();
        let mut find = self
            .connection
            .prepare("SELECT document, n, hash FROM change")?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            let hash = bytes(row, 2)?;
            let n = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
            if let Some(uuid) = by_hash.get(&(hash.as_slice(), n)) {
                vote(row.get(0)?, *uuid);
            }
        }
        let mut find = self
            .connection
            .prepare("SELECT scope, seq, document FROM feed")?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            let seq = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
            if let Some(entry) = self.account.feed.get(&(row.get(0)?, seq)) {
                vote(row.get(2)?, entry.document);
            }
        }
        for (number, votes) in votes {
            let most = votes.into_iter().max_by_key(|(_, count)| *count);
            self.uuids.extend(most.map(|(uuid, _)| (number, uuid)));
        }
        Ok(())
    }

    fn scopes(&mut self) -> rusqlite::Result<()> {
        let account = self.account;
        let mut ends: BTreeMap<i64, (u64, Digest)> = BTreeMap::new();
        for ((scope, seq), entry) in &account.feed {
            // In order of sequence numbers: the last one stays.
            ends.insert(*scope, (*seq, entry.digest));
        }
        let mut missing = account.scopes.clone();
        let mut find = self
            .connection
            .prepare("SELECT id, name, head, digest FROM scope")?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            let (id, head): (i64, i64) = (row.get(0)?, row.get(2)?);
            let (name, digest) = (bytes(row, 1)?, bytes(row, 3)?);
            let text = String::from_utf8_lossy(&name).into_owned();
            self.scopes.insert(id, text);
            let Some(expected) = missing.remove(&id) else {
                // One that only has entries from before the receipts; those are verified as a whole.
                if account.before.entries == 0 {
                    self.find_extra("scope", format!("id={id}"));
                }
                continue;
            };
            let end = ends.get(&id);
            let is_end = end.is_some_and(|(seq, last)| {
                u64::try_from(head) == Ok(*seq) && last.bytes() == digest.as_slice()
            });
            if expected.as_str().as_bytes() != name {
                let what = format!("its receipts call it {expected}");
                self.find("scope", format!("id={id}"), None, &what);
            } else if account.is_whole && !is_end {
                let what = "head and digest are not those of its last entry";
                self.find("scope", format!("id={id}"), None, what);
            }
        }
        for (id, scope) in missing {
            let what = format!("it is missing: {scope}");
            self.find("scope", format!("id={id}"), None, &what);
        }
        Ok(())
    }

    fn documents(&mut self) -> rusqlite::Result<()> {
        let account = self.account;
        let mut counts: BTreeMap<DocumentId, i64> = BTreeMap::new();
        for (document, n) in account.changes.keys() {
            let count = counts.entry(*document).or_default();
            *count = (*count).max(i64::try_from(*n).unwrap_or(i64::MAX));
        }
        let mut missing = self.uuids.clone();
        let mut here = BTreeSet::new();
        let sql = "SELECT id, uuid, kind, schema_version, changes FROM document ORDER BY id";
        let mut find = self.connection.prepare(sql)?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            let row = DocumentRow {
                id: row.get(0)?,
                uuid: bytes(row, 1)?,
                kind: bytes(row, 2)?,
                schema_version: row.get(3)?,
                changes: row.get(4)?,
            };
            missing.remove(&row.id);
            here.insert(row.uuid.clone());
            let kind = String::from_utf8_lossy(&row.kind).into_owned();
            self.kinds.insert(row.id, (kind, row.schema_version));
            let own = row.uuid.as_slice().try_into().map(DocumentId::from_bytes);
            let Some(uuid) = self.uuids.get(&row.id).copied() else {
                match own {
                    // Nothing was pushed to it since there are receipts.
                    Ok(own) if account.before.changes > 0 => {
                        self.uuids.insert(row.id, own);
                    }
                    Ok(_) | Err(_) => self.find_extra("document", format!("id={}", row.id)),
                }
                continue;
            };
            let what = if uuid.bytes() != row.uuid.as_slice() {
                Some("its log is another document's")
            } else if !account.is_whole {
                None
            } else {
                let kind = account.documents.get(&uuid);
                let is_kind = kind.is_none_or(|(kind, schema)| {
                    kind.as_bytes() == row.kind && i64::from(*schema) == row.schema_version
                });
                let count = counts.get(&uuid).is_none_or(|count| *count == row.changes);
                match (is_kind, count) {
                    (false, _) => Some("it is of another kind than its batches say"),
                    (true, false) => Some("it counts other changes than its receipts"),
                    (true, true) => None,
                }
            };
            if let Some(what) = what {
                self.find("document", format!("id={}", row.id), None, what);
            }
        }
        for (id, uuid) in missing {
            if here.contains(uuid.bytes().as_slice()) {
                // It has a row under another number: whatever row names this one is wrong.
                self.uuids.remove(&id);
            } else {
                let what = format!("it is missing: {uuid}");
                self.find("document", format!("id={id}"), None, &what);
            }
        }
        Ok(())
    }

    fn changes(&mut self) -> rusqlite::Result<()> {
        let account = self.account;
        let mut missing: BTreeMap<_, _> = account.changes.iter().collect();
        let mut old = Vec::new();
        let sql = "SELECT document, n, hash, author, brought_by, received, bytes FROM change";
        let mut find = self.connection.prepare(sql)?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            let row = ChangeRow {
                document: row.get(0)?,
                n: row.get(1)?,
                hash: bytes(row, 2)?,
                author: bytes(row, 3)?,
                brought_by: bytes(row, 4)?,
                received: row.get(5)?,
                bytes: bytes(row, 6)?,
            };
            let name = format!("document={} n={}", row.document, row.n);
            self.report.changes += 1;
            self.report.changes_recovered += u64::from(row.author != row.brought_by);
            let uuid = self.uuids.get(&row.document).copied();
            let place = uuid.zip(u64::try_from(row.n).ok());
            let logged = place.and_then(|place| missing.remove(&place));
            let device = logged.map(|logged| logged.brought_by);
            if let Some(logged) = logged {
                let is_as_logged = logged.hash.bytes() == row.hash.as_slice()
                    && logged.author.bytes() == row.author.as_slice()
                    && logged.brought_by.bytes() == row.brought_by.as_slice()
                    && logged.received.millis() == row.received;
                if !is_as_logged {
                    let what = "it is not what its batch and its receipt say";
                    self.find("change", name, device, what);
                    continue;
                }
            }
            if !names_itself(&row) {
                self.find(
                    "change",
                    name,
                    device,
                    "its bytes are not what its hash names",
                );
            } else if logged.is_none() {
                match (account.before.changes, before_change(uuid, &row)) {
                    (0, _) | (_, None) => self.find_extra("change", name),
                    (_, Some(uuid)) => old.push((uuid, row)),
                }
            }
        }
        for ((uuid, n), logged) in missing {
            let number = self.number_of(*uuid);
            let name = format!("document={number} n={n}");
            self.find("change", name, Some(logged.brought_by), "it is missing");
        }
        old.sort_by_key(|(uuid, row)| (*uuid, row.n));
        for (uuid, row) in &old {
            let (kind, schema_version) = self.kinds.get(&row.document).cloned().unwrap_or_default();
            let fixed = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).unwrap_or_default();
            self.before.change(&BeforeChange {
                document: *uuid,
                kind: &kind,
                schema_version,
                n: row.n,
                hash: ChangeHash::new(row.hash.as_slice().try_into().unwrap_or_default()),
                author: DeviceId::from_bytes(fixed(&row.author)),
                brought_by: DeviceId::from_bytes(fixed(&row.brought_by)),
                received: row.received,
            });
        }
        Ok(())
    }

    fn number_of(&self, uuid: DocumentId) -> i64 {
        let mut numbers = self.uuids.iter();
        let found = numbers.find(|(_, it)| **it == uuid);
        found.map_or(0, |(number, _)| *number)
    }

    fn feed(&mut self) -> rusqlite::Result<()> {
        let account = self.account;
        let mut missing: BTreeMap<_, _> = account.feed.iter().collect();
        let mut old = Vec::new();
        let sql = "SELECT scope, seq, what, document, change, digest FROM feed";
        let mut find = self.connection.prepare(sql)?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            let row = FeedRow {
                scope: row.get(0)?,
                seq: row.get(1)?,
                what: row.get(2)?,
                document: row.get(3)?,
                change: row.get(4)?,
                digest: bytes(row, 5)?,
            };
            let name = format!("scope={} seq={}", row.scope, row.seq);
            self.report.entries += 1;
            let uuid = self.uuids.get(&row.document).copied();
            let seq = u64::try_from(row.seq).unwrap_or(0);
            match missing.remove(&(row.scope, seq)) {
                Some(entry) if !is_entry(&row, uuid, entry) => {
                    self.find("feed", name, None, "it is not what its receipt says");
                }
                Some(_) => {}
                None if account.before.entries > 0 => old.push((uuid, row)),
                None => self.find_extra("feed", name),
            }
        }
        for ((scope, seq), _) in missing {
            let name = format!("scope={scope} seq={seq}");
            self.find("feed", name, None, "it is missing");
        }
        let name = |scope: &i64| self.scopes.get(scope).cloned().unwrap_or_default();
        let mut old: Vec<_> = old
            .into_iter()
            .map(|(uuid, row)| (name(&row.scope), uuid, row))
            .collect();
        old.sort_by(|a, b| (&a.0, a.2.seq).cmp(&(&b.0, b.2.seq)));
        for (scope, uuid, row) in old {
            let ids = EntryIds {
                document: uuid.unwrap_or(DocumentId::from_bytes([0; 16])),
                digest: Digest::from_bytes(row.digest.as_slice().try_into().unwrap_or_default()),
            };
            self.before
                .entry(&scope, row.seq, (row.what, row.change), ids);
        }
        Ok(())
    }
}

/// Returns the document of a change from before the receipts, if its row can be one of theirs.
fn before_change(uuid: Option<DocumentId>, row: &ChangeRow) -> Option<DocumentId> {
    let is_whole = row.author.len() == 16 && row.brought_by.len() == 16;
    uuid.filter(|_| is_whole)
}

/// Returns whether a change's bytes are those its hash names.
fn names_itself(row: &ChangeRow) -> bool {
    let raw = PushChange {
        bytes: row.bytes.clone(),
        recovered_from: None,
    };
    let hash = raw.hash();
    let head = [CHUNK_MAGIC.as_slice(), &hash.bytes()[..4]].concat();
    hash.bytes() == row.hash.as_slice() && row.bytes.starts_with(&head)
}

fn is_entry(row: &FeedRow, uuid: Option<DocumentId>, entry: &FeedEntry) -> bool {
    let (what, change) = entry_columns(entry.what);
    uuid == Some(entry.document)
        && row.what == what
        && u64::try_from(row.change) == Ok(change)
        && entry.digest.bytes() == row.digest.as_slice()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
