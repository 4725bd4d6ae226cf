//! Putting on record who pushed what and what the relay made of it, in the commit that does it.
//!
//! Of each push that is answered its statement is kept with the device's signature (`batch`), and the
//! relay's own receipt after it (`receipt`), which says what the push added to which feed. Whatever else
//! a commit adds to feeds has a receipt too, so that receipts account for every row of the log. Not
//! here: what receipts look like (`receipt`), verifying them (`audit`).

use std::collections::BTreeMap;

use gridbeat_base::{ChangeHash, DeviceId, Digest, DocumentId, Incarnation, Scope, WallTime};
use gridbeat_relay_core::{AnsweredPush, Batch, NewEntry, Removal, StoreFault};
use gridbeat_sync_protocol::{SUITE, Signer};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::commit::Fed;
use crate::error::fault;
use crate::operation;
use crate::receipt::{
    Answered, Before, BeforeChange, BeforeHasher, EntryIds, FeedEntry, FeedRange, Receipt,
    ReceiptHash, Receipted,
};
use crate::value::{from_sql, to_sql};

/// Where the chain of receipts stands.
struct Chain<'a> {
    tx: &'a Transaction<'a>,
    signer: &'a Signer,
    receipts: u64,
    last: Option<ReceiptHash>,
}

impl Chain<'_> {
    /// Signs the next receipt and writes it.
    fn add(&mut self, received: WallTime, what: Receipted) -> Result<(), StoreFault> {
        self.receipts += 1;
        let receipt = Receipt {
            number: self.receipts,
            previous: self.last,
            received,
            what,
        };
        let bytes = receipt.to_bytes();
        let signature = self.signer.sign(&bytes);
        self.tx
            .prepare_cached("INSERT INTO receipt VALUES (?1, ?2, ?3)")
            .and_then(|mut insert| {
                insert.execute(params![to_sql(receipt.number), bytes, signature.bytes()])
            })
            .map_err(fault)?;
        self.last = Some(ReceiptHash::of(&bytes));
        Ok(())
    }

    /// Says in the file where the chain stands.
    fn keep(&self) -> Result<(), StoreFault> {
        self.tx
            .prepare_cached("UPDATE chain SET receipts = ?1, last = ?2")
            .and_then(|mut update| {
                update.execute(params![to_sql(self.receipts), self.last.map(|last| last.0)])
            })
            .map_err(fault)?;
        Ok(())
    }
}

/// Returns where the chain of receipts stands; `None` if there is none.
fn stands(connection: &Connection) -> Result<Option<(u64, ReceiptHash)>, StoreFault> {
    let found: Option<(i64, [u8; 32])> = connection
        .prepare_cached("SELECT receipts, last FROM chain")
        .and_then(|mut find| {
            find.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
        .map_err(fault)?;
    found
        .map(|(receipts, last)| Ok((from_sql(receipts)?, ReceiptHash(last))))
        .transpose()
}

/// Returns whether a receipt must begin a segment, because the last one began with another life of the
/// database or another key, or there is none.
pub(crate) fn must_begin(
    connection: &Connection,
    incarnation: Incarnation,
    signer: &Signer,
) -> Result<bool, StoreFault> {
    let found: Option<([u8; 16], [u8; 32])> = connection
        .query_row("SELECT incarnation, key FROM chain", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .map_err(fault)?;
    let own = (*incarnation.bytes(), *signer.public_key().bytes());
    Ok(found != Some(own))
}

/// Begins a segment of receipts. The very first also answers for what is there already.
pub(crate) fn begin(
    tx: &Transaction<'_>,
    incarnation: Incarnation,
    signer: &Signer,
    at: WallTime,
) -> Result<(), StoreFault> {
    let stands = stands(tx)?;
    let key = signer.public_key();
    let before = match stands {
        Some(_) => Before::default(),
        None => before(tx)?,
    };
    let mut chain = Chain {
        tx,
        signer,
        receipts: stands.map_or(0, |(receipts, _)| receipts),
        last: stands.map(|(_, last)| last),
    };
    let what = Receipted::Begins {
        incarnation,
        key,
        before,
    };
    chain.add(at, what)?;
    if stands.is_none() {
        // What operators did before there were receipts.
        for done in operation::read(tx, 0, i64::MAX.cast_unsigned())? {
            let (number, hash) = (done.number, done.hash());
            chain.add(at, Receipted::Operated { number, hash })?;
        }
    }
    tx.execute(
        "INSERT INTO chain VALUES (1, 0, x'', ?1, ?2)
         ON CONFLICT DO UPDATE SET incarnation = ?1, key = ?2",
        params![incarnation.bytes(), key.bytes()],
    )
    .map_err(fault)?;
    chain.keep()
}

/// Takes up the chain of receipts; `None` if the database keeps none.
fn take_up<'a>(
    tx: &'a Transaction<'a>,
    signer: Option<&'a Signer>,
) -> Result<Option<Chain<'a>>, StoreFault> {
    match (signer, stands(tx)?) {
        (None, None) => Ok(None),
        (Some(signer), Some((receipts, last))) => Ok(Some(Chain {
            tx,
            signer,
            receipts,
            last: Some(last),
        })),
        (Some(_), None) | (None, Some(_)) => Err(StoreFault::Failed {
            detail: "the database keeps receipts, and was opened without the key for them"
                .to_owned(),
        }),
    }
}

/// Puts on record what a device states that it removed.
pub(crate) fn removed(
    tx: &Transaction<'_>,
    signer: Option<&Signer>,
    removal: &Removal,
) -> Result<(), StoreFault> {
    let Some(mut chain) = take_up(tx, signer)? else {
        return Ok(());
    };
    let what = Receipted::Removed {
        statement: removal.proof.bytes.clone(),
        signed: removal.proof.signed,
    };
    chain.add(removal.received, what)?;
    chain.keep()
}

/// Puts on record that an operator did something.
pub(crate) fn operated(
    tx: &Transaction<'_>,
    signer: Option<&Signer>,
    at: WallTime,
    number: u64,
    hash: [u8; 32],
) -> Result<(), StoreFault> {
    let Some(mut chain) = take_up(tx, signer)? else {
        return Ok(());
    };
    chain.add(at, Receipted::Operated { number, hash })?;
    chain.keep()
}

/// Puts a commit on record.
pub(crate) fn record(
    tx: &Transaction<'_>,
    signer: Option<&Signer>,
    batch: &Batch,
    fed: &BTreeMap<Scope, Fed>,
) -> Result<(), StoreFault> {
    if fed.is_empty() && batch.pushes.is_empty() {
        return Ok(());
    }
    let Some(mut chain) = take_up(tx, signer)? else {
        return Ok(());
    };
    put_keys(tx, batch).map_err(fault)?;
    let mut receipted: BTreeMap<&Scope, Vec<&AnsweredPush>> = BTreeMap::new();
    for push in &batch.pushes {
        let is_first = put_batch(tx, push).map_err(fault)?;
        // What came before and changes nothing more has its receipt.
        if !is_first && push.entries.is_empty() {
            continue;
        }
        chain.add(batch.received, answer(batch, fed, push))?;
        receipted.entry(&push.scope).or_default().push(push);
    }
    let mut placed = Vec::new();
    for (scope, fed) in fed {
        let mut next = 0;
        let pushes = receipted.get(scope).into_iter().flatten();
        let pushed = pushes.map(|push| push.entries.clone());
        let end = fed.digests.len();
        for taken in pushed.chain(std::iter::once(end..end)) {
            if next < taken.start {
                placed.push(range(batch, scope, fed, next..taken.start));
            }
            next = next.max(taken.end);
        }
    }
    if !placed.is_empty() {
        chain.add(batch.received, Receipted::Placed(placed))?;
    }
    chain.keep()
}

/// Makes the receipt of a push.
fn answer(batch: &Batch, fed: &BTreeMap<Scope, Fed>, push: &AnsweredPush) -> Receipted {
    let runs = push.verdicts.chunk_by(|a, b| a == b);
    let verdicts = runs.map(|run| (Answered::from(&run[0]), run.len() as u64));
    let added = fed.get(&push.scope).filter(|_| !push.entries.is_empty());
    Receipted::Batch {
        hash: push.proof.hash,
        key: push.proof.signed.map(|(key, _)| key),
        recovers: push.recovers,
        verdicts: verdicts.collect(),
        entries: added.map(|fed| range(batch, &push.scope, fed, push.entries.clone())),
    }
}

/// Describes entries that were added to a feed.
fn range(batch: &Batch, scope: &Scope, fed: &Fed, places: core::ops::Range<usize>) -> FeedRange {
    let entries: &[NewEntry] = batch.scopes.get(scope).map_or(&[], Vec::as_slice);
    let first = fed.first + places.start as u64;
    let entries = entries[places.clone()].iter().zip(&fed.digests[places]);
    FeedRange {
        scope: scope.clone(),
        scope_id: fed.scope,
        first,
        entries: entries
            .map(|(entry, digest)| FeedEntry {
                what: entry.what,
                document: entry.document,
                digest: *digest,
            })
            .collect(),
    }
}

/// Keeps what was pushed; returns whether it was not there yet.
fn put_batch(tx: &Transaction<'_>, push: &AnsweredPush) -> rusqlite::Result<bool> {
    let proof = &push.proof;
    let signature = proof.signed.as_ref().map(|(_, signature)| signature);
    let added = tx
        .prepare_cached(
            "INSERT INTO batch (hash, device, statement, signature) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (hash) DO NOTHING",
        )?
        .execute(params![
            proof.hash.bytes(),
            push.device.bytes(),
            proof.statement,
            signature.map_or(&[][..], |signature| signature.bytes()),
        ])?;
    Ok(added > 0)
}

fn put_keys(tx: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    for push in &batch.pushes {
        if let Some((key, _)) = &push.proof.signed {
            tx.prepare_cached(
                "INSERT INTO device_key VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                push.device.bytes(),
                to_sql(SUITE),
                key.bytes(),
                batch.received.millis()
            ])?;
        }
    }
    Ok(())
}

/// Returns whether a device has a signing key on record.
pub(crate) fn has_key(connection: &Connection, device: DeviceId) -> Result<bool, StoreFault> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM device_key WHERE device = ?1)")
        .and_then(|mut find| find.query_row(params![device.bytes()], |row| row.get(0)))
        .map_err(fault)
}

/// Every change and every entry, in the order of indexes: a sort would hold all of them in memory.
const CHANGES_BEFORE: &str =
    "SELECT d.uuid, d.kind, d.schema_version, c.n, c.hash, c.author, c.brought_by, c.received
     FROM document d CROSS JOIN change c ON c.document = d.id ORDER BY d.uuid, c.n";
const ENTRIES_BEFORE: &str = "SELECT s.name, f.seq, f.what, f.change, d.uuid, f.digest
     FROM scope s CROSS JOIN feed f ON f.scope = s.id CROSS JOIN document d ON d.id = f.document
     ORDER BY s.name, f.seq";

/// Sums up what is there before the first receipt.
fn before(connection: &Connection) -> Result<Before, StoreFault> {
    let mut sum = BeforeHasher::default();
    let mut find = connection.prepare(CHANGES_BEFORE).map_err(fault)?;
    let mut rows = find.query([]).map_err(fault)?;
    while let Some(row) = rows.next().map_err(fault)? {
        let kind: String = row.get(1).map_err(fault)?;
        sum.change(&BeforeChange {
            document: DocumentId::from_bytes(row.get(0).map_err(fault)?),
            kind: &kind,
            schema_version: row.get(2).map_err(fault)?,
            n: row.get(3).map_err(fault)?,
            hash: ChangeHash::new(row.get(4).map_err(fault)?),
            author: DeviceId::from_bytes(row.get(5).map_err(fault)?),
            brought_by: DeviceId::from_bytes(row.get(6).map_err(fault)?),
            received: row.get(7).map_err(fault)?,
        });
    }
    let mut find = connection.prepare(ENTRIES_BEFORE).map_err(fault)?;
    let mut rows = find.query([]).map_err(fault)?;
    while let Some(row) = rows.next().map_err(fault)? {
        let scope: String = row.get(0).map_err(fault)?;
        let columns = (row.get(2).map_err(fault)?, row.get(3).map_err(fault)?);
        let ids = EntryIds {
            document: DocumentId::from_bytes(row.get(4).map_err(fault)?),
            digest: Digest::from_bytes(row.get(5).map_err(fault)?),
        };
        sum.entry(&scope, row.get(1).map_err(fault)?, columns, ids);
    }
    Ok(sum.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_the_first_receipt_is_summed_row_by_row() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut connection).unwrap();
        for statement in [CHANGES_BEFORE, ENTRIES_BEFORE] {
            let mut explain = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
                .unwrap();
            let steps = explain
                .query_map([], |row| row.get::<_, String>(3))
                .unwrap();
            let plan: Vec<String> = steps.map(Result::unwrap).collect();
            assert!(
                plan.iter().all(|step| !step.contains("TEMP B-TREE")),
                "{plan:?}"
            );
        }
    }
}
