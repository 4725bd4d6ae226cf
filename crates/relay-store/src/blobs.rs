//! Photos and other blobs in the relay's file: what refers to them, what has come of them, who may have them.
//!
//! A blob's row is an upload of one device until its last chunk is there; in that transaction it becomes the whole blob,
//! and the attachment it was offered for complete. An attachment is a document and a hash, written in the transaction that
//! admits the change; only a complete one is served. Bytes lie here, in the file's own tables, so that a kill at any moment
//! leaves neither a row without bytes nor bytes that nobody finds, and a backup has both. Not here: whether a chunk is
//! the blob's (`sync-protocol`), what an operator looks at and clears away (`blob_care`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use gridbeat_base::{BlobHash, DeviceId, DocumentId, WallTime};
use gridbeat_relay_core::{
    Answer, BlobChunks, BlobStanding, ChunkOutcome, NewBlob, NewChunk, Rights, StoreFault,
};
use gridbeat_sync_protocol::{BlobNonce, BlobTree, ChunkSet, Get, Offer, Possession, chunk_count};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::error::{damaged, fault};
use crate::value::{from_sql, to_sql};
use crate::{leaving, read};

/// Most blobs that one device may have half-way here: a day without a network, several times over. Others wait until some
/// are whole.
const UPLOADS_MAX: u64 = 64;

/// How many numbers each blob has for its chunks, as a power of two: as many chunks as the largest has.
const CHUNK_BITS: u32 = 11;

/// A blob's row.
#[derive(Clone, Debug)]
pub(crate) struct BlobLine {
    pub(crate) id: i64,
    pub(crate) size_bytes: u64,
    /// The document it was offered for last; `None` once it is whole.
    document: Option<i64>,
}

/// A document as a device sees it that has to do with a blob of it.
struct Seen {
    document: i64,
    is_complete: bool,
}

/// Makes the attachments of a document those of its present content. What is gone of them leaves its bytes behind, for an
/// operator to clear away.
pub(crate) fn set_references(
    tx: &Transaction<'_>,
    document: i64,
    blobs: &BTreeSet<BlobHash>,
) -> Result<(), StoreFault> {
    tx.prepare_cached("DELETE FROM unlisted WHERE document = ?1")
        .and_then(|mut delete| delete.execute([document]))
        .map_err(fault)?;
    let mut before = BTreeSet::new();
    {
        let mut find = tx
            .prepare_cached("SELECT hash FROM attachment WHERE document = ?1")
            .map_err(fault)?;
        let mut rows = find.query([document]).map_err(fault)?;
        while let Some(row) = rows.next().map_err(fault)? {
            before.insert(BlobHash::from_bytes(row.get(0).map_err(fault)?));
        }
    }
    for gone in before.difference(blobs) {
        tx.prepare_cached("DELETE FROM attachment WHERE document = ?1 AND hash = ?2")
            .and_then(|mut delete| delete.execute(params![document, gone.bytes()]))
            .map_err(fault)?;
    }
    for new in blobs.difference(&before) {
        tx.prepare_cached("INSERT INTO attachment VALUES (?1, ?2, 0)")
            .and_then(|mut insert| insert.execute(params![document, new.bytes()]))
            .map_err(fault)?;
    }
    Ok(())
}

/// Looks what there is of a blob that a device offers, and notes that it comes.
pub(crate) fn offer(
    tx: &Transaction<'_>,
    device: DeviceId,
    offer: &Offer,
    at: WallTime,
    nonce: BlobNonce,
) -> Result<BlobStanding, StoreFault> {
    let Some(seen) = seen(tx, device, offer.document, offer.hash, Some(at))? else {
        return Ok(BlobStanding::NotAttached);
    };
    if seen.is_complete {
        return Ok(BlobStanding::Complete);
    }
    if whole(tx, offer.hash)?.is_some() {
        return Ok(BlobStanding::Held(nonce));
    }
    let count = chunk_count(offer.size_bytes);
    let begun = upload(tx, device, offer.hash)?;
    if let Some(begun) = &begun
        && begun.size_bytes == offer.size_bytes
    {
        tx.prepare_cached("UPDATE blob SET document = ?2, since = ?3 WHERE id = ?1")
            .and_then(|mut note| note.execute(params![begun.id, seen.document, at.millis()]))
            .map_err(fault)?;
        return Ok(BlobStanding::Wanted(held(tx, begun.id, count)?));
    }
    if let Some(begun) = begun {
        // Of another size it is another blob, whatever its name.
        delete(tx, begun.id)?;
    }
    if uploads(tx, device)? >= UPLOADS_MAX {
        return Ok(BlobStanding::TooMany);
    }
    begin(tx, device, offer, seen.document, at)?;
    Ok(BlobStanding::Wanted(ChunkSet::empty(count)))
}

/// Writes the row of an upload.
fn begin(
    tx: &Transaction<'_>,
    device: DeviceId,
    offer: &Offer,
    document: i64,
    at: WallTime,
) -> Result<(), StoreFault> {
    tx.prepare_cached(
        "INSERT INTO blob (hash, device, document, size, since) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .and_then(|mut insert| {
        insert.execute(params![
            offer.hash.bytes(),
            device.bytes(),
            document,
            to_sql(offer.size_bytes),
            at.millis(),
        ])
    })
    .map_err(fault)?;
    Ok(())
}

/// Keeps chunks; says what became of each, in order.
pub(crate) fn keep_chunks(
    tx: &Transaction<'_>,
    chunks: &[NewChunk],
    at: WallTime,
) -> Result<Answer, StoreFault> {
    let mut awaited: BTreeMap<(DeviceId, BlobHash), Option<BlobLine>> = BTreeMap::new();
    for chunk in chunks {
        let of = (chunk.device, chunk.hash);
        if let std::collections::btree_map::Entry::Vacant(place) = awaited.entry(of) {
            place.insert(still_awaited(tx, chunk, at)?);
        }
        if let Some(Some(line)) = awaited.get(&of) {
            tx.prepare_cached("INSERT OR IGNORE INTO blob_chunk VALUES (?1, ?2)")
                .and_then(|mut insert| {
                    insert.execute(params![
                        first(line.id) + i64::from(chunk.chunk),
                        chunk.bytes
                    ])
                })
                .map_err(fault)?;
        }
    }
    let mut outcomes = BTreeMap::new();
    for (of, line) in awaited {
        let outcome = match line {
            Some(line) => finish_if_whole(tx, of.1, &line, at)?,
            None => ChunkOutcome::Gone,
        };
        outcomes.insert(of, outcome);
    }
    let outcome = |chunk: &NewChunk| outcomes[&(chunk.device, chunk.hash)];
    Ok(Answer::ChunksKept(chunks.iter().map(outcome).collect()))
}

/// Keeps whole blobs of one chunk; says of each whether it is its document's now, in order.
pub(crate) fn bring(
    tx: &Transaction<'_>,
    blobs: &[NewBlob],
    at: WallTime,
) -> Result<Vec<bool>, StoreFault> {
    let mut kept = Vec::new();
    for blob in blobs {
        kept.push(bring_one(tx, blob, at)?);
    }
    Ok(kept)
}

fn bring_one(tx: &Transaction<'_>, blob: &NewBlob, at: WallTime) -> Result<bool, StoreFault> {
    let (device, offer) = (blob.device, &blob.offer);
    let Some(seen) = seen(tx, device, offer.document, offer.hash, Some(at))? else {
        return Ok(false);
    };
    if seen.is_complete {
        return Ok(true);
    }
    // What had come of it from this device in another way, if anything.
    if let Some(begun) = upload(tx, device, offer.hash)? {
        delete(tx, begun.id)?;
    }
    if whole(tx, offer.hash)?.is_some() {
        // Whoever brings it has it.
        complete(tx, seen.document, offer.hash)?;
        return Ok(true);
    }
    begin(tx, device, offer, seen.document, at)?;
    let line = upload(tx, device, offer.hash)?.ok_or_else(|| damaged("a blob is not there"))?;
    tx.prepare_cached("INSERT INTO blob_chunk VALUES (?1, ?2)")
        .and_then(|mut insert| insert.execute(params![first(line.id), blob.bytes]))
        .map_err(fault)?;
    finish_if_whole(tx, offer.hash, &line, at)?;
    Ok(true)
}

/// Returns the upload that a chunk belongs to, if the device may still bring it.
fn still_awaited(
    tx: &Transaction<'_>,
    chunk: &NewChunk,
    at: WallTime,
) -> Result<Option<BlobLine>, StoreFault> {
    let line = upload(tx, chunk.device, chunk.hash)?;
    let Some(line) = line.filter(|line| line.size_bytes == chunk.size_bytes) else {
        return Ok(None);
    };
    let document = line
        .document
        .ok_or_else(|| damaged("an upload is for no document"))?;
    let is_attached: bool = tx
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM attachment WHERE document = ?1 AND hash = ?2)",
        )
        .and_then(|mut find| {
            find.query_row(params![document, chunk.hash.bytes()], |row| row.get(0))
        })
        .map_err(fault)?;
    Ok((is_attached && may_see(tx, chunk.device, document, Some(at))?).then_some(line))
}

/// Makes an upload the whole blob if its last chunk is there, and its attachment complete.
fn finish_if_whole(
    tx: &Transaction<'_>,
    hash: BlobHash,
    line: &BlobLine,
    at: WallTime,
) -> Result<ChunkOutcome, StoreFault> {
    if !held(tx, line.id, chunk_count(line.size_bytes))?.is_full() {
        return Ok(ChunkOutcome::Kept);
    }
    let Ok(tree) = BlobTree::of(hash, line.size_bytes, Chunks::of(tx, line.id)) else {
        // Each chunk was verified as it came: what lies here is not what was written.
        return Err(damaged("the chunks of a blob are not those that came"));
    };
    if whole(tx, hash)?.is_some() {
        // Another device was faster. This one has shown that it has all of it.
        delete(tx, line.id)?;
    } else {
        tx.prepare_cached(
            "UPDATE blob SET device = NULL, document = NULL, tree = ?2, since = ?3 WHERE id = ?1",
        )
        .and_then(|mut note| note.execute(params![line.id, tree.hashes(), at.millis()]))
        .map_err(fault)?;
    }
    if let Some(document) = line.document {
        complete(tx, document, hash)?;
    }
    Ok(ChunkOutcome::Whole)
}

/// Holds a device's proof against the blob; says whether the blob is its document's now.
pub(crate) fn prove(
    tx: &Transaction<'_>,
    device: DeviceId,
    offer: &Offer,
    (nonce, proof): (&BlobNonce, &Possession),
    at: WallTime,
) -> Result<bool, StoreFault> {
    let seen = seen(tx, device, offer.document, offer.hash, Some(at))?;
    let (Some(seen), Some(line)) = (seen, whole(tx, offer.hash)?) else {
        return Ok(false);
    };
    let expected = Possession::of(nonce, Chunks::of(tx, line.id));
    let is_proven = expected.map_err(|_| damaged("a blob cannot be read"))? == *proof;
    if is_proven {
        complete(tx, seen.document, offer.hash)?;
        // What had come of it from this device, before another one was faster.
        if let Some(begun) = upload(tx, device, offer.hash)? {
            delete(tx, begun.id)?;
        }
    }
    Ok(is_proven)
}

/// Reads chunks of a blob for a device; `None` if it may not have it, or it is not here for that document.
pub(crate) fn read_chunks(
    connection: &Connection,
    device: DeviceId,
    get: &Get,
) -> Result<Option<BlobChunks>, StoreFault> {
    let seen = seen(connection, device, get.document, get.hash, None)?;
    if seen.is_none_or(|seen| !seen.is_complete) {
        return Ok(None);
    }
    let Some(line) = whole(connection, get.hash)? else {
        return Err(damaged("a blob that is complete is not here"));
    };
    let tree = tree(connection, get.hash, &line)?;
    let end = chunk_count(line.size_bytes).min(get.first.saturating_add(get.count));
    let mut slices = Vec::new();
    for n in get.first..end {
        let bytes = chunk(connection, line.id, n)?;
        let slice = tree.slice(n, &bytes.unwrap_or_default());
        slices.push(slice.map_err(|_| damaged("a chunk of a blob is not what it was"))?);
    }
    Ok(Some(BlobChunks {
        size_bytes: line.size_bytes,
        slices,
    }))
}

/// Returns the row of a whole blob.
pub(crate) fn whole(
    connection: &Connection,
    hash: BlobHash,
) -> Result<Option<BlobLine>, StoreFault> {
    connection
        .prepare_cached("SELECT id, size FROM blob WHERE hash = ?1 AND device IS NULL")
        .and_then(|mut find| {
            find.query_row([hash.bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
        .map_err(fault)?
        .map(|(id, size)| {
            Ok(BlobLine {
                id,
                size_bytes: from_sql(size)?,
                document: None,
            })
        })
        .transpose()
}

/// Returns the inner hashes of a whole blob.
fn tree(connection: &Connection, hash: BlobHash, line: &BlobLine) -> Result<BlobTree, StoreFault> {
    let hashes = connection
        .prepare_cached("SELECT tree FROM blob WHERE id = ?1")
        .and_then(|mut find| find.query_row([line.id], |row| row.get(0)))
        .map_err(fault)?;
    BlobTree::from_hashes(hash, line.size_bytes, hashes)
        .ok_or_else(|| damaged("the hashes of a blob do not fit its size"))
}

/// Deletes a blob's row and bytes.
pub(crate) fn delete(tx: &Transaction<'_>, blob: i64) -> Result<(), StoreFault> {
    tx.prepare_cached("DELETE FROM blob_chunk WHERE id BETWEEN ?1 AND ?2")
        .and_then(|mut delete| delete.execute([first(blob), first(blob + 1) - 1]))
        .map_err(fault)?;
    tx.prepare_cached("DELETE FROM blob WHERE id = ?1")
        .and_then(|mut delete| delete.execute([blob]))
        .map_err(fault)?;
    Ok(())
}

fn upload(
    connection: &Connection,
    device: DeviceId,
    hash: BlobHash,
) -> Result<Option<BlobLine>, StoreFault> {
    connection
        .prepare_cached("SELECT id, size, document FROM blob WHERE hash = ?1 AND device = ?2")
        .and_then(|mut find| {
            find.query_row(params![hash.bytes(), device.bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
        })
        .map_err(fault)?
        .map(|(id, size, document)| {
            Ok(BlobLine {
                id,
                size_bytes: from_sql(size)?,
                document,
            })
        })
        .transpose()
}

fn uploads(connection: &Connection, device: DeviceId) -> Result<u64, StoreFault> {
    connection
        .prepare_cached("SELECT count(*) FROM blob WHERE device = ?1")
        .and_then(|mut find| find.query_row([device.bytes()], |row| row.get(0)))
        .map_err(fault)
        .and_then(from_sql)
}

fn complete(tx: &Transaction<'_>, document: i64, hash: BlobHash) -> Result<(), StoreFault> {
    tx.prepare_cached("UPDATE attachment SET complete = 1 WHERE document = ?1 AND hash = ?2")
        .and_then(|mut note| note.execute(params![document, hash.bytes()]))
        .map_err(fault)?;
    Ok(())
}

/// Looks whether a document refers to a blob, and a device may see the document: by a grant it has, or, up to `at`, by
/// one that has ended and still judges.
fn seen(
    connection: &Connection,
    device: DeviceId,
    document: DocumentId,
    hash: BlobHash,
    at: Option<WallTime>,
) -> Result<Option<Seen>, StoreFault> {
    let found: Option<(i64, bool)> = connection
        .prepare_cached(
            "SELECT d.id, a.complete FROM document d JOIN attachment a ON a.document = d.id
             WHERE d.uuid = ?1 AND a.hash = ?2",
        )
        .and_then(|mut find| {
            find.query_row(params![document.bytes(), hash.bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
        })
        .map_err(fault)?;
    let Some((document, is_complete)) = found else {
        return Ok(None);
    };
    Ok(may_see(connection, device, document, at)?.then_some(Seen {
        document,
        is_complete,
    }))
}

fn may_see(
    connection: &Connection,
    device: DeviceId,
    document: i64,
    at: Option<WallTime>,
) -> Result<bool, StoreFault> {
    let mut rights = BTreeMap::from([(device, read::rights(connection, device)?)]);
    if let Some(at) = at {
        rights = leaving::judging(connection, rights, at)?;
    }
    let Some(Rights::Granted(granted)) = rights.get(&device) else {
        return Ok(false);
    };
    let scopes = read::placements(connection, document)?;
    Ok(scopes.iter().any(|scope| granted.contains_key(scope)))
}

fn held(connection: &Connection, blob: i64, count: u32) -> Result<ChunkSet, StoreFault> {
    let mut set = ChunkSet::empty(count);
    let mut find = connection
        .prepare_cached("SELECT id FROM blob_chunk WHERE id BETWEEN ?1 AND ?2")
        .map_err(fault)?;
    let mut rows = find
        .query([first(blob), first(blob + 1) - 1])
        .map_err(fault)?;
    while let Some(row) = rows.next().map_err(fault)? {
        let id: i64 = row.get(0).map_err(fault)?;
        set.insert(u32::try_from(id - first(blob)).unwrap_or(u32::MAX));
    }
    Ok(set)
}

fn chunk(connection: &Connection, blob: i64, n: u32) -> Result<Option<Vec<u8>>, StoreFault> {
    connection
        .prepare_cached("SELECT bytes FROM blob_chunk WHERE id = ?1")
        .and_then(|mut find| {
            find.query_row([first(blob) + i64::from(n)], |row| row.get(0))
                .optional()
        })
        .map_err(fault)
}

/// Returns the id of a blob's first chunk.
const fn first(blob: i64) -> i64 {
    blob << CHUNK_BITS
}

/// Reads a blob's chunks one after the other.
pub(crate) struct Chunks<'d> {
    connection: &'d Connection,
    blob: i64,
    next: u32,
    rest: io::Cursor<Vec<u8>>,
}

impl<'d> Chunks<'d> {
    pub(crate) fn of(connection: &'d Connection, blob: i64) -> Self {
        Self {
            connection,
            blob,
            next: 0,
            rest: io::Cursor::default(),
        }
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let chunk = chunk(self.connection, self.blob, self.next).map_err(io::Error::other)?;
        let Some(chunk) = chunk else {
            return Ok(0);
        };
        self.next += 1;
        self.rest = io::Cursor::new(chunk);
        self.rest.read(buffer)
    }
}
