//! Receipts and batches: are they whole, signed, and in their order; and what do they account for.
//!
//! What cannot be relied on is left out of the account, so that one edit is not blamed on every row
//! that it was to speak for.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Scope, WallTime};
use gridbeat_relay_core::{EntryKind, StoreFault};
use gridbeat_sync_protocol::{
    BatchDocument, BatchHash, BatchProof, BatchStatement, PublicKey, RemovalHash, RemovalProof,
    Signature,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::{AuditReport, Finding, Segment};
use crate::error::fault;
use crate::receipt::{Answered, Before, FeedEntry, FeedRange, Receipt, ReceiptHash, Receipted};

/// Everything the receipts account for.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// The receipts that can be relied on, in order.
    pub(crate) receipts: Vec<Receipt>,
    /// Whether all of them can, and every batch too.
    pub(crate) is_whole: bool,
    /// What was there before the first.
    pub(crate) before: Before,
    /// What was pushed, by its batch's name.
    pub(crate) batches: BTreeMap<BatchHash, BatchStatement>,
    /// Each document that a device pushed to: its kind and schema version.
    pub(crate) documents: BTreeMap<DocumentId, (String, u16)>,
    pub(crate) changes: BTreeMap<(DocumentId, u64), LoggedAs>,
    /// By the scope's number in the file, and the sequence number.
    pub(crate) feed: BTreeMap<(i64, u64), FeedEntry>,
    pub(crate) scopes: BTreeMap<i64, Scope>,
    /// The hash of each entry of the operators' log, by its number.
    pub(crate) operations: BTreeMap<u64, [u8; 32]>,
    /// The keys that batches were signed by, with the receipt of the first.
    pub(crate) keys: BTreeMap<(DeviceId, [u8; 32]), WallTime>,
    /// The statements of removal, by their names, with when they came.
    pub(crate) removals: BTreeMap<RemovalHash, (RemovalProof, WallTime)>,
}

/// What the log must say of a change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LoggedAs {
    pub(crate) hash: ChangeHash,
    pub(crate) author: DeviceId,
    pub(crate) brought_by: DeviceId,
    pub(crate) received: WallTime,
}

/// What receipts say of one batch.
struct Mention {
    /// Its number in the file: the order of the first receipts.
    id: i64,
    key: Option<PublicKey>,
    was_found: bool,
}

impl Account {
    pub(crate) const fn is_empty(&self) -> bool {
        self.receipts.is_empty() && self.is_whole
    }
}

/// Reads what receipts and batches account for; what is wrong with them goes into the report.
pub(crate) fn read_account(
    connection: &Connection,
    report: &mut AuditReport,
) -> Result<Account, StoreFault> {
    let mut account = Account::default();
    read_receipts(connection, &mut account, report).map_err(fault)?;
    account.is_whole = report.findings.is_empty();
    if account.is_empty() {
        return Ok(account);
    }
    read_batches(connection, &mut account, report).map_err(fault)?;
    let sound = report.findings.len();
    let receipts = std::mem::take(&mut account.receipts);
    for receipt in &receipts {
        if let Err(what) = account.take_in(receipt) {
            report.find("receipt", format!("id={}", receipt.number), None, what);
        }
    }
    account.receipts = receipts;
    follow_devices(&account, report);
    account.is_whole &= report.findings.len() == sound;
    report.receipts = account.receipts.len() as u64;
    report.before = (account.before.changes, account.before.entries);
    Ok(account)
}

/// The chain of receipts as far as it was followed.
struct Chain {
    /// The number that must come next.
    next: i64,
    /// The hash of the last one; `None` where it cannot be known.
    last: Option<ReceiptHash>,
    key: Option<PublicKey>,
}

fn read_receipts(
    connection: &Connection,
    account: &mut Account,
    report: &mut AuditReport,
) -> rusqlite::Result<()> {
    let kept = connection
        .prepare("SELECT id, receipts, last, incarnation, key FROM chain")?
        .query_map([], |row| {
            let cells: [Vec<u8>; 3] = [bytes(row, 2)?, bytes(row, 3)?, bytes(row, 4)?];
            Ok((row.get::<_, i64>(1)?, cells))
        })?
        .next()
        .transpose()?;
    let kept_key = kept.as_ref().and_then(|(_, cells)| {
        let key: [u8; 32] = cells[2].as_slice().try_into().ok()?;
        PublicKey::from_bytes(&key)
    });
    let mut chain = Chain {
        next: 1,
        last: None,
        key: None,
    };
    let mut find =
        connection.prepare("SELECT id, statement, signature FROM receipt ORDER BY id")?;
    let mut rows = find.query([])?;
    while let Some(row) = rows.next()? {
        let (id, statement, signature) = (row.get(0)?, bytes(row, 1)?, bytes(row, 2)?);
        chain.follow(id, &statement, &signature, kept_key, account, report);
    }
    match kept {
        Some((receipts, cells)) => chain.end(receipts, &cells, report),
        None if chain.next > 1 => {
            report.find("chain", "id=1".into(), None, "it is missing");
        }
        None => {}
    }
    Ok(())
}

impl Chain {
    /// Takes in one row of receipts.
    fn follow(
        &mut self,
        id: i64,
        statement: &[u8],
        signature: &[u8],
        kept_key: Option<PublicKey>,
        account: &mut Account,
        report: &mut AuditReport,
    ) {
        let row = || format!("id={id}");
        let receipt = Receipt::from_bytes(statement);
        let signed_by = receipt.as_ref().and_then(|receipt| match receipt.what {
            Receipted::Begins { key, .. } => Some(key),
            Receipted::Batch { .. }
            | Receipted::Placed(_)
            | Receipted::Operated { .. }
            | Receipted::Removed { .. } => self.key.or(kept_key),
        });
        let is_signed = signed_by.is_some_and(|key| {
            let signature = signature.try_into().map(Signature::from_bytes);
            signature.is_ok_and(|signature| key.verifies(statement, &signature))
        });
        let Some(receipt) = receipt.filter(|_| is_signed) else {
            report.find("receipt", row(), None, "the relay's signature is not good");
            self.pass(id);
            return;
        };
        if i64::try_from(receipt.number) != Ok(id) {
            let what = format!("it is receipt {}, in another's place", receipt.number);
            report.find("receipt", row(), None, what);
            self.pass(id);
            return;
        }
        if id > self.next {
            let missing = id - self.next;
            let what = match missing {
                1 => "it is missing".to_owned(),
                _ => format!("it is missing, and {} after it", missing - 1),
            };
            report.find("receipt", format!("id={}", self.next), None, what);
            self.last = None;
        } else if self.next > 1 && self.last.is_some() && receipt.previous != self.last {
            let what = "it does not name the receipt before it";
            report.find("receipt", row(), None, what);
        }
        self.next = id + 1;
        self.last = Some(ReceiptHash::of(statement));
        if let Receipted::Begins {
            incarnation,
            key,
            before,
        } = receipt.what
        {
            self.key = Some(key);
            if account.receipts.is_empty() {
                account.before = before;
            }
            report.segments.push(Segment {
                first: receipt.number,
                began: receipt.received,
                incarnation,
                key,
            });
        }
        account.receipts.push(receipt);
    }

    /// Goes on behind a row that cannot be relied on.
    const fn pass(&mut self, id: i64) {
        if id == self.next {
            self.next += 1;
            self.last = None;
        }
    }

    /// Compares the end of the chain with what the file says of it.
    fn end(&self, receipts: i64, cells: &[Vec<u8>; 3], report: &mut AuditReport) {
        let [last, incarnation, key] = cells;
        let row = || "id=1".to_owned();
        let is_last = self.last.is_some_and(|hash| hash.0 == last.as_slice());
        let count = self.next - 1;
        if receipts > count && !is_last {
            let what = format!("it is missing: there were {receipts} receipts");
            report.find("receipt", format!("id={}", self.next), None, what);
        } else if receipts != count {
            let what = format!("it counts {receipts} receipts, there are {count}");
            report.find("chain", row(), None, what);
        } else if self.last.is_some() && !is_last {
            report.find("chain", row(), None, "it names another last receipt");
        }
        if let Some(segment) = report.segments.last() {
            let own = (segment.incarnation.bytes(), segment.key.bytes());
            let is_own = own.0 == incarnation.as_slice() && own.1 == key.as_slice();
            if !is_own && report.findings.is_empty() {
                let what = "it names another life of the database, or another key";
                report.find("chain", row(), None, what);
            }
        }
    }
}

fn read_batches(
    connection: &Connection,
    account: &mut Account,
    report: &mut AuditReport,
) -> rusqlite::Result<()> {
    let mut mentions: BTreeMap<BatchHash, Mention> = BTreeMap::new();
    for receipt in &account.receipts {
        if let Receipted::Batch { hash, key, .. } = receipt.what {
            let id = mentions.len() as i64 + 1;
            let was_found = false;
            mentions
                .entry(hash)
                .or_insert(Mention { id, key, was_found });
        }
    }
    let sql = "SELECT id, hash, device, statement, signature FROM batch ORDER BY id";
    let mut find = connection.prepare(sql)?;
    let mut rows = find.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let (hash, device) = (bytes(row, 1)?, bytes(row, 2)?);
        let proof = BatchProof::of_bytes(bytes(row, 3)?, None);
        let kept = hash.as_slice().try_into().map(BatchHash::from_bytes).ok();
        let statement = BatchStatement::from_bytes(&proof.statement).ok();
        let author = statement.as_ref().map(|statement| statement.device);
        let name = if mentions.contains_key(&proof.hash) {
            Some(proof.hash)
        } else {
            kept
        };
        let Some(mention) = name.and_then(|name| mentions.get_mut(&name)) else {
            if account.is_whole {
                let what = "no receipt speaks of it";
                report.find("batch", format!("id={id}"), author, what);
            }
            continue;
        };
        mention.was_found = true;
        let what = if kept != Some(proof.hash) {
            Some("it is not what its hash and its receipt name")
        } else if account.is_whole && id != mention.id {
            Some("it is not at the place its receipt gives it")
        } else if author.is_none_or(|author| author.bytes() != device.as_slice()) {
            Some("it names another device than its statement")
        } else if !is_signed(&proof.statement, &bytes(row, 4)?, mention.key) {
            Some("the device's signature is not good")
        } else {
            None
        };
        if let Some(what) = what {
            report.find("batch", format!("id={id}"), author, what);
        }
        report.batches += 1;
        report.batches_signed += u64::from(mention.key.is_some());
        // The statement is what the receipt names, whatever became of the cells beside it.
        if let Some(statement) = statement.filter(|_| name == Some(proof.hash)) {
            account.batches.insert(proof.hash, statement);
        }
    }
    for mention in mentions.values().filter(|mention| !mention.was_found) {
        report.find("batch", format!("id={}", mention.id), None, "it is missing");
    }
    Ok(())
}

fn is_signed(statement: &[u8], signature: &[u8], key: Option<PublicKey>) -> bool {
    let Some(key) = key else {
        return signature.is_empty();
    };
    let signature = signature.try_into().map(Signature::from_bytes);
    signature.is_ok_and(|signature| key.verifies(statement, &signature))
}

impl Account {
    /// Takes in what one receipt accounts for. `Err` says in words how it contradicts itself, its batch or
    /// an earlier one.
    fn take_in(&mut self, receipt: &Receipt) -> Result<(), &'static str> {
        for range in receipt.ranges() {
            let known = self.scopes.entry(range.scope_id);
            if *known.or_insert_with(|| range.scope.clone()) != range.scope {
                return Err("it calls a scope by another name than an earlier receipt");
            }
            for (seq, entry) in (range.first..).zip(&range.entries) {
                if self.feed.insert((range.scope_id, seq), *entry).is_some() {
                    return Err("it accounts for an entry that an earlier receipt has");
                }
            }
        }
        if let Receipted::Removed { statement, signed } = &receipt.what {
            let proof = RemovalProof::of_bytes(statement.clone(), *signed)
                .ok_or("the device's signature of what it removed is not good")?;
            let removal = (proof.hash, (proof, receipt.received));
            return match self.removals.insert(removal.0, removal.1) {
                Some(_) => Err("it accounts for a removal that an earlier receipt has"),
                None => Ok(()),
            };
        }
        if let Receipted::Operated { number, hash } = receipt.what
            && self.operations.insert(number, hash).is_some()
        {
            return Err("it speaks of an operation that an earlier receipt has");
        }
        let Receipted::Batch {
            hash,
            key,
            verdicts,
            entries,
            ..
        } = &receipt.what
        else {
            return Ok(());
        };
        let Some(batch) = self.batches.get(hash) else {
            return Ok(());
        };
        if let Some(key) = key {
            let key = (batch.device, *key.bytes());
            self.keys.entry(key).or_insert(receipt.received);
        }
        let changes = accepted(batch, verdicts, entries.as_ref());
        for accepted in changes.ok_or("it does not fit its batch")? {
            let Accepted { document, n, .. } = accepted;
            let kind = (document.kind.clone(), document.schema_version);
            self.documents.entry(document.document).or_insert(kind);
            let logged = LoggedAs {
                hash: accepted.hash,
                author: accepted.author.unwrap_or(batch.device),
                brought_by: batch.device,
                received: receipt.received,
            };
            if self
                .changes
                .insert((document.document, n), logged)
                .is_some()
            {
                return Err("it accepts a change in the place of an earlier one");
            }
        }
        Ok(())
    }
}

/// A change of a batch that was accepted.
struct Accepted<'a> {
    document: &'a BatchDocument,
    /// Its number in the document's log.
    n: u64,
    hash: ChangeHash,
    author: Option<DeviceId>,
}

/// Returns the changes of a batch that were accepted; `None` if verdicts and entries do not fit the batch.
fn accepted<'a>(
    batch: &'a BatchStatement,
    verdicts: &[(Answered, u64)],
    entries: Option<&FeedRange>,
) -> Option<Vec<Accepted<'a>>> {
    let documents = batch.documents.iter();
    let mut pushed = documents.flat_map(|it| it.changes.iter().map(move |change| (it, change)));
    let entries = entries.map_or(&[][..], |range| range.entries.as_slice());
    let mut numbered = entries.iter().filter_map(|entry| match entry.what {
        EntryKind::Change { n } => Some((entry.document, n)),
        EntryKind::Attach { .. } | EntryKind::Detach => None,
    });
    let mut found = Vec::new();
    for (verdict, count) in verdicts {
        for _ in 0..*count {
            let (document, (hash, author)) = pushed.next()?;
            if *verdict != Answered::Accepted {
                continue;
            }
            let (entered, n) = numbered.next()?;
            if entered != document.document {
                return None;
            }
            found.push(Accepted {
                document,
                n,
                hash: *hash,
                author: *author,
            });
        }
    }
    (pushed.next().is_none() && numbered.next().is_none()).then_some(found)
}

/// Follows each device's own chain of batches.
fn follow_devices(account: &Account, report: &mut AuditReport) {
    let mut seen = BTreeSet::new();
    let mut marks = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut lives = 0;
    for receipt in &account.receipts {
        let (hash, key, recovers) = match &receipt.what {
            Receipted::Begins { .. } => {
                lives += 1;
                continue;
            }
            Receipted::Batch {
                hash,
                key,
                recovers,
                ..
            } => (hash, key, *recovers),
            Receipted::Placed(_) | Receipted::Operated { .. } | Receipted::Removed { .. } => {
                continue;
            }
        };
        let Some(batch) = account.batches.get(hash).filter(|_| seen.insert(*hash)) else {
            continue;
        };
        let device = report.devices.entry(batch.device).or_default();
        device.batches += 1;
        let is_first = device.batches == 1;
        if key.is_none() {
            continue;
        }
        if !numbers.insert((batch.device, batch.install, batch.stamp.number)) {
            device.numbers_repeated += 1;
        }
        let previous = batch.stamp.previous;
        let is_known = previous.is_none_or(|mark| marks.contains(&(batch.device, mark)));
        marks.insert((batch.device, hash.mark()));
        if is_known || !account.is_whole {
            continue;
        }
        let finding = Finding {
            table: "batch",
            row: format!("hash={hash}"),
            device: Some(batch.device),
            what: "its device was given an acknowledgement that this database does not have".into(),
        };
        // After a restore that is as it must be: the device has seen more than the backup.
        if lives > 1 || recovers || is_first {
            report.notes.push(finding);
        } else {
            let Finding {
                table,
                row,
                device,
                what,
            } = finding;
            report.find(table, row, device, what);
        }
    }
}

/// Reads a cell as bytes, whatever it holds: what should be text may not be any more.
pub(super) fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_vec(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => Vec::new(),
    })
}
