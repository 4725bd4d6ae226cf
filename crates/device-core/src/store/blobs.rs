//! Photos and other blobs: their chunks by number, which documents refer to them, how far they are on their way.
//!
//! A blob's row comes with the first reference to it or with its bytes, whichever is first. Its bytes go with the last
//! reference, in the same transaction, but never if they were put here and the relay does not have them: they stay until
//! a person drops them. Not here: what is sent when (`link::blobs`).
//!
//! long because bytes, references and deliveries change together, in one transaction, and are one story.

use std::collections::BTreeSet;
use std::io::{self, Read};

use gridbeat_base::{BlobHash, DocumentId, MEDIA_BYTES, Media, WallTime};
use gridbeat_sync_protocol::{CHUNK_BYTES, ChunkSet, chunk_count};
use rusqlite::{Connection, Row, params};

use super::{schema::CHANGE_NUMBER_BITS, sql};
use crate::StorageError;

/// `attachment.state`: the blob is not here as a whole, or the relay is not to have it.
const IDLE: i64 = 0;
/// `attachment.state`: it is here, and the relay has not said that it has it for the document.
const TO_SEND: i64 = 1;
/// `attachment.state`: the relay has said so.
const RECEIVED: i64 = 2;
/// `attachment.state`: the relay has refused it for good.
const REFUSED: i64 = 3;

/// How long bytes stay to which nothing ever referred, in ms: a photo that was taken when the app died. A week.
const NEVER_USED_KEPT_MS: i64 = 7 * 86_400_000;

/// A blob as it lies here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct BlobRow {
    pub(crate) id: i64,
    pub(crate) hash: BlobHash,
    /// Its size, once known.
    pub(crate) size_bytes: Option<u64>,
    pub(crate) is_whole: bool,
    /// The chunks that the relay has called durable; of no use once it has the blob.
    kept: Vec<u8>,
}

/// A blob that waits for the relay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ToSend {
    pub(crate) blob: i64,
    pub(crate) hash: BlobHash,
    pub(crate) size_bytes: u64,
    pub(crate) document: DocumentId,
    pub(crate) document_row: i64,
    /// Whether changes of the document wait for the relay.
    pub(crate) document_waits: bool,
}

/// A blob that somebody here wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) blob: i64,
    pub(crate) hash: BlobHash,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) document: DocumentId,
}

/// How far an attachment is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Delivery {
    Idle,
    ToSend,
    Received,
    Refused,
}

/// Reads a blob's chunks one after the other.
pub(crate) struct Chunks<'d> {
    db: &'d Connection,
    blob: i64,
    next: u32,
    rest: io::Cursor<Vec<u8>>,
}

impl BlobRow {
    /// Returns which of its chunks the relay has called durable.
    pub(crate) fn kept(&self) -> ChunkSet {
        let count = chunk_count(self.size_bytes.unwrap_or(0));
        ChunkSet::from_bits(count, &self.kept).unwrap_or_else(|| ChunkSet::empty(count))
    }
}

/// Keeps all that a reader gives as a blob; one that is kept already stays. Nothing is kept of one that is not of a
/// size that a blob may have: then its size, as far as it was read, is the error.
pub(crate) fn insert(
    db: &Connection,
    mut bytes: impl Read,
    size_max: u64,
    at: WallTime,
) -> Result<Result<BlobHash, PutFault>, StorageError> {
    // Its name is known at its end; the row of no name is within this transaction alone.
    sql::execute(
        db,
        "INSERT INTO blob (hash, is_whole, kept, wanted, is_left) VALUES (x'', 0, x'', 0, 0)",
        [],
    )?;
    let (id, mut hasher, mut size) = (db.last_insert_rowid(), blake3::Hasher::new(), 0u64);
    for n in 0.. {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        if let Err(error) = bytes
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk)
        {
            return Ok(Err(PutFault::Unreadable(error)));
        }
        if chunk.is_empty() {
            break;
        }
        size += chunk.len() as u64;
        if size > size_max {
            return Ok(Err(PutFault::Size(size)));
        }
        hasher.update(&chunk);
        put_bytes(db, id, n, &chunk)?;
    }
    if size == 0 {
        return Ok(Err(PutFault::Size(0)));
    }
    let hash = BlobHash::from_bytes(*hasher.finalize().as_bytes());
    match find_row(db, hash)? {
        Some(row) if row.is_whole => drop_bytes(db, id)?,
        Some(row) => {
            // It was known by name, or a part of it had come: these are all of its bytes.
            sql::execute(
                db,
                "DELETE FROM chunk WHERE id BETWEEN ?1 AND ?2",
                range(row.id),
            )?;
            sql::execute(
                db,
                "UPDATE chunk SET id = id - ?1 + ?2 WHERE id BETWEEN ?3 AND ?4",
                params![first(id), first(row.id), range(id)[0], range(id)[1]],
            )?;
            sql::execute(db, "DELETE FROM blob WHERE id = ?1", [id])?;
            make_whole(db, row.id, size)?;
        }
        None => {
            sql::execute(
                db,
                "UPDATE blob SET hash = ?2, size = ?3, is_whole = 1 WHERE id = ?1",
                params![id, hash.bytes(), sql::count_bits(size)],
            )?;
        }
    }
    sql::execute(
        db,
        "UPDATE blob SET put = ?2 WHERE hash = ?1 AND put IS NULL",
        params![hash.bytes(), at.millis()],
    )?;
    Ok(Ok(hash))
}

/// Why bytes were not kept.
#[derive(Debug)]
pub(crate) enum PutFault {
    /// They are none, or more than a blob may have.
    Size(u64),
    /// They could not be read.
    Unreadable(io::Error),
}

/// Returns a blob's row.
pub(crate) fn find_row(db: &Connection, hash: BlobHash) -> Result<Option<BlobRow>, StorageError> {
    sql::first(
        db,
        "SELECT id, hash, size, is_whole, kept FROM blob WHERE hash = ?1",
        [hash.bytes()],
        blob_row,
    )
}

/// Returns the bytes of a blob that is here as a whole.
pub(crate) fn find(db: &Connection, hash: BlobHash) -> Result<Option<Vec<u8>>, StorageError> {
    let Some(row) = find_row(db, hash)?.filter(|row| row.is_whole) else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let read = Chunks::of(db, row.id).read_to_end(&mut bytes);
    read.map_err(|_| sql::impossible("chunk.bytes"))?;
    Ok(Some(bytes))
}

/// Returns one chunk.
pub(crate) fn chunk(db: &Connection, blob: i64, n: u32) -> Result<Option<Vec<u8>>, StorageError> {
    sql::first(
        db,
        "SELECT bytes FROM chunk WHERE id = ?1",
        [first(blob) + i64::from(n)],
        |row| row.get(0),
    )
}

/// Tells what a blob is by its first bytes, if they are here.
pub(crate) fn media(db: &Connection, blob: i64) -> Result<Option<Media>, StorageError> {
    sql::first(
        db,
        "SELECT substr(bytes, 1, ?2) FROM chunk WHERE id = ?1",
        params![first(blob), MEDIA_BYTES],
        |row| Ok(Media::of(&row.get::<_, Vec<u8>>(0)?)),
    )
}

/// Returns which chunks of a blob are here, of so many.
pub(crate) fn held(db: &Connection, blob: i64, count: u32) -> Result<ChunkSet, StorageError> {
    let ids = sql::all(
        db,
        "SELECT id FROM chunk WHERE id BETWEEN ?1 AND ?2",
        range(blob),
        |row| row.get::<_, i64>(0),
    )?;
    let mut set = ChunkSet::empty(count);
    for id in ids {
        set.insert(u32::try_from(id - first(blob)).unwrap_or(u32::MAX));
    }
    Ok(set)
}

/// Keeps a chunk that came and was verified; says whether the blob is whole with it.
///
/// Chunks that came of another size are let go: the last chunk alone proves the size.
pub(crate) fn put_chunk(
    db: &Connection,
    row: &BlobRow,
    size_bytes: u64,
    n: u32,
    bytes: &[u8],
) -> Result<bool, StorageError> {
    if row.size_bytes != Some(size_bytes) {
        sql::execute(
            db,
            "DELETE FROM chunk WHERE id BETWEEN ?1 AND ?2",
            range(row.id),
        )?;
        sql::execute(
            db,
            "UPDATE blob SET size = ?2 WHERE id = ?1",
            params![row.id, sql::count_bits(size_bytes)],
        )?;
    }
    put_bytes(db, row.id, n, bytes)?;
    let is_whole = held(db, row.id, chunk_count(size_bytes))?.is_full();
    if is_whole {
        make_whole(db, row.id, size_bytes)?;
    }
    Ok(is_whole)
}

/// Makes a document's references what they are by now. What nothing refers to any more goes.
pub(crate) fn set_references(
    db: &Connection,
    document: i64,
    blobs: &BTreeSet<BlobHash>,
) -> Result<(), StorageError> {
    let before: Vec<(i64, BlobHash)> = sql::all(
        db,
        "SELECT b.id, b.hash FROM attachment a JOIN blob b ON b.id = a.blob WHERE a.document = ?1",
        [document],
        |row| Ok((row.get(0)?, BlobHash::from_bytes(row.get(1)?))),
    )?;
    for hash in blobs {
        if !before.iter().any(|(_, known)| known == hash) {
            add_reference(db, document, *hash)?;
        }
    }
    for (blob, _) in before.iter().filter(|(_, hash)| !blobs.contains(hash)) {
        drop_reference(db, document, *blob)?;
    }
    Ok(())
}

/// Returns every blob that waits for the relay: small ones first, then those in between, then large ones; of each those that
/// came last. Each says whether its document waits for the relay too.
pub(crate) fn to_send(
    db: &Connection,
    small_bytes: u64,
    middle_bytes: u64,
) -> Result<Vec<ToSend>, StorageError> {
    sql::all(
        db,
        "SELECT b.id, b.hash, b.size, d.uuid, d.id, EXISTS (SELECT 1 FROM outbox o
             WHERE o.change BETWEEN a.document << 20 AND (a.document << 20 | 1048575) AND o.answered = 0)
         FROM attachment a
         JOIN blob b ON b.id = a.blob JOIN document d ON d.id = a.document
         WHERE a.state = 1
         ORDER BY (b.size > ?1) + (b.size > ?2), b.id DESC, a.document DESC",
        [sql::count_bits(small_bytes), sql::count_bits(middle_bytes)],
        |row| {
            Ok(ToSend {
                blob: row.get(0)?,
                hash: BlobHash::from_bytes(row.get(1)?),
                size_bytes: sql::count(row, 2)?,
                document: sql::document_id(row, 3)?,
                document_row: row.get(4)?,
                document_waits: row.get(5)?,
            })
        },
    )
}

/// Returns how many attachments wait for the relay, how many bytes of theirs it has not called durable, and how many of
/// them are larger than `bytes_max` and not owed by a document that leaves.
pub(crate) fn waiting(db: &Connection, bytes_max: u64) -> Result<(u64, u64, u64), StorageError> {
    let rows = sql::all(
        db,
        "SELECT b.id, b.hash, b.size, b.is_whole, b.kept FROM attachment a
         JOIN blob b ON b.id = a.blob WHERE a.state = 1",
        [],
        blob_row,
    )?;
    let left = rows.iter().map(|row| {
        let size = row.size_bytes.unwrap_or(0);
        size.saturating_sub(row.kept().bytes(size))
    });
    let mut held = 0;
    for row in &rows {
        let is_large = row.size_bytes.unwrap_or(0) > bytes_max;
        held += u64::from(is_large && !is_owed_by_leaving(db, row.id)?);
    }
    Ok((rows.len() as u64, left.sum(), held))
}

/// Returns whether a document has a blob that waits for the relay.
pub(crate) fn has_to_send(db: &Connection, document: i64) -> Result<bool, StorageError> {
    let found = sql::first(
        db,
        "SELECT EXISTS (SELECT 1 FROM attachment WHERE document = ?1 AND state = 1)",
        [document],
        |row| row.get::<_, bool>(0),
    )?;
    Ok(found == Some(true))
}

/// Returns the documents that are leaving and have a blob that waits for the relay.
pub(crate) fn owed_by_leaving(db: &Connection) -> Result<Vec<(i64, DocumentId)>, StorageError> {
    sql::all(
        db,
        "SELECT d.id, d.uuid FROM document d
         WHERE EXISTS (SELECT 1 FROM placement WHERE document = d.id AND state = 2)
         AND EXISTS (SELECT 1 FROM attachment WHERE document = d.id AND state = 1)",
        [],
        |row| Ok((row.get(0)?, sql::document_id(row, 1)?)),
    )
}

/// Returns whether a document that is leaving has a blob, which waits for the relay.
pub(crate) fn is_owed_by_leaving(db: &Connection, blob: i64) -> Result<bool, StorageError> {
    let found = sql::first(
        db,
        "SELECT EXISTS (SELECT 1 FROM attachment a JOIN placement p ON p.document = a.document
         WHERE a.blob = ?1 AND a.state = 1 AND p.state = 2)",
        [blob],
        |row| row.get::<_, bool>(0),
    )?;
    Ok(found == Some(true))
}

/// Takes the relay's word for which chunks of a blob are durable there.
pub(crate) fn set_kept(
    db: &Connection,
    hash: BlobHash,
    kept: &ChunkSet,
) -> Result<(), StorageError> {
    sql::execute(
        db,
        "UPDATE blob SET kept = ?2 WHERE hash = ?1",
        params![hash.bytes(), kept.bits()],
    )?;
    Ok(())
}

/// Takes the relay's word that it has a whole blob for a document.
pub(crate) fn received(
    db: &Connection,
    document: DocumentId,
    hash: BlobHash,
) -> Result<(), StorageError> {
    set_state(db, document, hash, RECEIVED)
}

/// Takes the relay's word that it never will.
pub(crate) fn refused(
    db: &Connection,
    document: DocumentId,
    hash: BlobHash,
) -> Result<(), StorageError> {
    set_state(db, document, hash, REFUSED)
}

/// Forgets what a relay said that has begun another life: it may have lost what it had.
pub(crate) fn doubt_all(db: &Connection) -> Result<(), StorageError> {
    sql::execute(
        db,
        "UPDATE attachment SET state = 1
         WHERE state IN (2, 3) AND blob IN (SELECT id FROM blob WHERE is_whole = 1)",
        [],
    )?;
    sql::execute(db, "UPDATE blob SET kept = x''", [])?;
    Ok(())
}

/// Notes that somebody here wants a blob that a document refers to; says whether the document does.
pub(crate) fn want(
    db: &Connection,
    document: DocumentId,
    hash: BlobHash,
) -> Result<bool, StorageError> {
    let wanted = sql::execute(
        db,
        "UPDATE blob SET wanted = 1 - is_whole WHERE hash = ?2 AND id IN (SELECT a.blob
             FROM attachment a JOIN document d ON d.id = a.document WHERE d.uuid = ?1)",
        params![document.bytes(), hash.bytes()],
    )?;
    Ok(wanted > 0)
}

/// Returns the blobs that somebody here wants and that are not whole, once for each document that refers to it: the relay
/// may have it for one of them.
pub(crate) fn wanted(db: &Connection) -> Result<Vec<Wanted>, StorageError> {
    sql::all(
        db,
        "SELECT b.id, b.hash, b.size, d.uuid FROM blob b
         JOIN attachment a ON a.blob = b.id JOIN document d ON d.id = a.document
         WHERE b.wanted = 1 ORDER BY b.id DESC, d.id DESC",
        [],
        |row| {
            Ok(Wanted {
                blob: row.get(0)?,
                hash: BlobHash::from_bytes(row.get(1)?),
                size_bytes: size(row, 2)?,
                document: sql::document_id(row, 3)?,
            })
        },
    )
}

/// Returns the blobs that a document refers to, in order of their hashes.
pub(crate) fn of_document(
    db: &Connection,
    document: DocumentId,
) -> Result<Vec<(BlobRow, Delivery, bool)>, StorageError> {
    sql::all(
        db,
        "SELECT b.id, b.hash, b.size, b.is_whole, b.kept, a.state, b.wanted FROM attachment a
         JOIN blob b ON b.id = a.blob JOIN document d ON d.id = a.document
         WHERE d.uuid = ?1 ORDER BY b.hash",
        [document.bytes()],
        |row| {
            let delivery = match row.get::<_, i64>(5)? {
                TO_SEND => Delivery::ToSend,
                RECEIVED => Delivery::Received,
                REFUSED => Delivery::Refused,
                _ => Delivery::Idle,
            };
            Ok((blob_row(row)?, delivery, row.get(6)?))
        },
    )
}

/// Returns the documents that refer to a blob.
pub(crate) fn documents_of(
    db: &Connection,
    hash: BlobHash,
) -> Result<Vec<(i64, DocumentId)>, StorageError> {
    sql::all(
        db,
        "SELECT d.id, d.uuid FROM attachment a JOIN blob b ON b.id = a.blob
         JOIN document d ON d.id = a.document WHERE b.hash = ?1 ORDER BY d.uuid",
        [hash.bytes()],
        |row| Ok((row.get(0)?, sql::document_id(row, 1)?)),
    )
}

/// Returns the blobs that were put here, that nothing refers to any more, and that the relay never had.
pub(crate) fn left(db: &Connection) -> Result<Vec<(BlobHash, u64)>, StorageError> {
    sql::all(
        db,
        "SELECT hash, size FROM blob WHERE is_left = 1
         AND NOT EXISTS (SELECT 1 FROM attachment WHERE blob = blob.id) ORDER BY id",
        [],
        |row| Ok((BlobHash::from_bytes(row.get(0)?), sql::count(row, 1)?)),
    )
}

/// Drops a blob that nothing refers to; says whether there was one.
pub(crate) fn drop_unused(db: &Connection, hash: BlobHash) -> Result<bool, StorageError> {
    let Some(row) = find_row(db, hash)? else {
        return Ok(false);
    };
    if is_referred_to(db, row.id)? {
        return Ok(false);
    }
    drop_bytes(db, row.id)?;
    Ok(true)
}

/// Drops what was put here long ago and that nothing ever referred to.
pub(crate) fn drop_never_used(db: &Connection, now: WallTime) -> Result<(), StorageError> {
    let old = sql::all(
        db,
        "SELECT id FROM blob WHERE put < ?1 AND is_left = 0
         AND NOT EXISTS (SELECT 1 FROM attachment WHERE blob = blob.id)",
        [now.millis().saturating_sub(NEVER_USED_KEPT_MS)],
        |row| row.get(0),
    )?;
    old.into_iter().try_for_each(|blob| drop_bytes(db, blob))
}

fn add_reference(db: &Connection, document: i64, hash: BlobHash) -> Result<(), StorageError> {
    sql::execute(
        db,
        "INSERT INTO blob (hash, is_whole, kept, wanted, is_left) VALUES (?1, 0, x'', 0, 0)
         ON CONFLICT (hash) DO UPDATE SET is_left = 0",
        [hash.bytes()],
    )?;
    sql::execute(
        db,
        "INSERT INTO attachment (document, blob, state) SELECT ?1, id, is_whole FROM blob WHERE hash = ?2",
        params![document, hash.bytes()],
    )?;
    Ok(())
}

fn drop_reference(db: &Connection, document: i64, blob: i64) -> Result<(), StorageError> {
    let state = sql::first(
        db,
        "DELETE FROM attachment WHERE document = ?1 AND blob = ?2 RETURNING state",
        [document, blob],
        |row| row.get::<_, i64>(0),
    )?;
    if is_referred_to(db, blob)? {
        return Ok(());
    }
    let is_unsent = matches!(state, Some(TO_SEND | REFUSED));
    let stays = is_unsent
        && sql::execute(
            db,
            "UPDATE blob SET is_left = 1 WHERE id = ?1 AND put IS NOT NULL",
            [blob],
        )? > 0;
    if stays { Ok(()) } else { drop_bytes(db, blob) }
}

fn is_referred_to(db: &Connection, blob: i64) -> Result<bool, StorageError> {
    let found = sql::first(
        db,
        "SELECT EXISTS (SELECT 1 FROM attachment WHERE blob = ?1)",
        [blob],
        |row| row.get::<_, bool>(0),
    )?;
    Ok(found == Some(true))
}

fn drop_bytes(db: &Connection, blob: i64) -> Result<(), StorageError> {
    sql::execute(
        db,
        "DELETE FROM chunk WHERE id BETWEEN ?1 AND ?2",
        range(blob),
    )?;
    sql::execute(db, "DELETE FROM blob WHERE id = ?1", [blob])?;
    Ok(())
}

fn put_bytes(db: &Connection, blob: i64, n: u32, bytes: &[u8]) -> Result<(), StorageError> {
    sql::execute(
        db,
        "INSERT OR REPLACE INTO chunk (id, bytes) VALUES (?1, ?2)",
        params![first(blob) + i64::from(n), bytes],
    )?;
    Ok(())
}

/// Notes that a blob is here as a whole: who refers to it may send it.
fn make_whole(db: &Connection, blob: i64, size_bytes: u64) -> Result<(), StorageError> {
    sql::execute(
        db,
        "UPDATE blob SET size = ?2, is_whole = 1, wanted = 0 WHERE id = ?1",
        params![blob, sql::count_bits(size_bytes)],
    )?;
    sql::execute(
        db,
        "UPDATE attachment SET state = ?2 WHERE blob = ?1 AND state = ?3",
        [blob, TO_SEND, IDLE],
    )?;
    Ok(())
}

fn set_state(
    db: &Connection,
    document: DocumentId,
    hash: BlobHash,
    state: i64,
) -> Result<(), StorageError> {
    sql::execute(
        db,
        "UPDATE attachment SET state = ?3 WHERE document = (SELECT id FROM document WHERE uuid = ?1)
         AND blob = (SELECT id FROM blob WHERE hash = ?2)",
        params![document.bytes(), hash.bytes(), state],
    )?;
    Ok(())
}

fn blob_row(row: &Row<'_>) -> rusqlite::Result<BlobRow> {
    Ok(BlobRow {
        id: row.get(0)?,
        hash: BlobHash::from_bytes(row.get(1)?),
        size_bytes: size(row, 2)?,
        is_whole: row.get(3)?,
        kept: row.get(4)?,
    })
}

fn size(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let size: Option<i64> = row.get(column)?;
    Ok(size.and_then(|size| u64::try_from(size).ok()))
}

/// Returns the id of a blob's first chunk.
const fn first(blob: i64) -> i64 {
    blob << CHANGE_NUMBER_BITS
}

const fn range(blob: i64) -> [i64; 2] {
    [first(blob), first(blob + 1) - 1]
}

impl<'d> Chunks<'d> {
    pub(crate) fn of(db: &'d Connection, blob: i64) -> Self {
        Self {
            db,
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
        let chunk = chunk(self.db, self.blob, self.next).map_err(io::Error::other)?;
        let Some(chunk) = chunk else {
            return Ok(0);
        };
        self.next += 1;
        self.rest = io::Cursor::new(chunk);
        self.rest.read(buffer)
    }
}
