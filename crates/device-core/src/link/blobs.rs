//! Photos and other blobs on the link: what is offered, which chunk goes next, what is asked for.
//!
//! A blob of one chunk goes whole, right behind the changes that make its document refer to it: a track or a thumbnail
//! costs no round trip. A larger one is offered when nothing of its document waits any more: thumbnails and tracks first, then previews, then the
//! large ones, of each those that came last. So what a photo shows is at the relay before the photo itself. The relay
//! says which chunks it has; the others go one by one, on a slow link one at a time: what is under way delays what is more
//! urgent, whatever its priority. What the relay says it has is written down as it is said, and nothing else is called
//! received. Not here: the bytes (`store::blobs`), the rules of the wire (`sync-protocol`).

use std::collections::BTreeMap;
use std::time::Duration;

use gridbeat_base::{BlobHash, DocumentId, Lane, Monotonic};
use gridbeat_sync_protocol::limits::{PARTS_ASKED_MAX, PARTS_OUT_MAX};
use gridbeat_sync_protocol::{
    BLOB_NOT_ATTACHED, BlobNonce, BlobTree, CHUNK_BYTES, ChunkSet, Get, Offer, OfferAnswer,
    Possession, SessionError, chunk_count, is_blob_size,
};
use rusqlite::Connection;

use super::work::Work;
use super::{Link, LinkError};
use crate::store::blobs::{self, Chunks, ToSend};
use crate::store::scopes::{self, Membership};
use crate::store::{documents, outbox, sql};
use crate::{StorageError, Uploads};

/// Most bytes of a blob that goes before larger ones, in the lane of previews: a thumbnail, a track of an hour. As
/// the protocol has it (`PROTOCOL.md`, 6.4).
const SMALL_BYTES: u64 = 64 * 1024;

/// Most bytes of a blob that goes before those that are larger still: the preview of a photo, in five seconds at 256 kbit/s.
const MIDDLE_BYTES: u64 = 256 * 1024;

/// Most large blobs on offer at a time: the one that is being sent, and the next, so that no round trip is lost between
/// them. Its inner hashes are held meanwhile, at most 128 KiB each.
const LARGE_OPEN_MAX: usize = 2;

/// Most of those in between, for the same reason; not held up by large ones that were on offer before.
const MIDDLE_OPEN_MAX: usize = 2;

/// Most small blobs on offer at a time.
const SMALL_OPEN_MAX: usize = 8;

/// Most whole chunks under way at a time.
const CHUNKS_OUT_MAX: u64 = 4;

/// How much longer than the quickest a chunk may take to be kept while another may be added to those under way: what
/// waits on the way delays a record by as much.
const QUEUE_LOW: Duration = Duration::from_millis(60);

/// How much longer it may take before one less is sent at a time.
const QUEUE_HIGH: Duration = Duration::from_millis(150);

/// How long after the relay did not give a blob, or take one, it is asked again: another device may be bringing it, or
/// the record that refers to it, or its disk has room again.
const AGAIN_AFTER: Duration = Duration::from_secs(20);

/// The longest such pause: each is twice as long as the one before, so that a phone's radio can sleep.
const AGAIN_AFTER_MAX: Duration = Duration::from_mins(5);

/// The blobs of one session.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    /// What is on offer.
    uploads: BTreeMap<BlobHash, Upload>,
    /// What the relay did not take in this session.
    refused: BTreeMap<(DocumentId, BlobHash), Again>,
    /// What it did not give.
    withheld: BTreeMap<(DocumentId, BlobHash), Again>,
    pace: Pace,
    /// When it was last looked what there is to do.
    looked: Monotonic,
}

/// A blob on offer.
#[derive(Debug)]
struct Upload {
    item: ToSend,
    /// Its inner hashes, once a chunk is wanted.
    tree: Option<BlobTree>,
    /// When each chunk under way went out.
    sent: BTreeMap<u32, Monotonic>,
    /// Whether the rest of it is held back.
    is_held: bool,
}

/// When something is tried again that the relay turned down.
#[derive(Clone, Copy, Debug, Default)]
struct Again {
    due: Monotonic,
    pause: Duration,
}

impl Again {
    /// Takes in that it was turned down, once more.
    fn turned_down(&mut self, now: Monotonic) {
        self.pause = (self.pause * 2).clamp(AGAIN_AFTER, AGAIN_AFTER_MAX);
        self.due = now.plus(self.pause);
    }
}

/// How much is under way at a time, in whole chunks: as many as wait nowhere. Of small blobs as many bytes.
#[derive(Debug)]
struct Pace {
    more: u64,
    quickest: Option<Duration>,
}

impl Blobs {
    /// Returns when something is to be asked for again.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        let all = self.withheld.values().chain(self.refused.values());
        // What is due and still does not go waits for something else.
        all.map(|again| again.due)
            .filter(|due| *due > self.looked)
            .min()
    }

    fn has_room(&self, rank: Rank) -> bool {
        let of_rank = |upload: &&Upload| upload.item.rank() == rank && !upload.is_held;
        self.uploads.values().filter(of_rank).count() < rank.open_max()
    }
}

/// What goes before what, by its size.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Rank {
    Small,
    Middle,
    Large,
}

impl Rank {
    const fn open_max(self) -> usize {
        match self {
            Self::Small => SMALL_OPEN_MAX,
            Self::Middle => MIDDLE_OPEN_MAX,
            Self::Large => LARGE_OPEN_MAX,
        }
    }
}

impl ToSend {
    const fn rank(&self) -> Rank {
        if self.size_bytes <= SMALL_BYTES {
            Rank::Small
        } else if self.size_bytes <= MIDDLE_BYTES {
            Rank::Middle
        } else {
            Rank::Large
        }
    }

    const fn lane(&self) -> Lane {
        match self.rank() {
            Rank::Small => Lane::Preview,
            Rank::Middle | Rank::Large => Lane::Original,
        }
    }
}

impl Default for Pace {
    /// Two chunks: the tracks of a shift at once, and on a slow link a second of it, which is taken back by the first answer.
    fn default() -> Self {
        Self {
            more: 1,
            quickest: None,
        }
    }
}

impl Pace {
    const fn bytes(&self) -> u64 {
        (1 + self.more) * CHUNK_BYTES as u64
    }

    /// Takes in how long a whole chunk took from going out to being kept.
    fn took(&mut self, took: Duration) {
        let quickest = *self.quickest.get_or_insert(took);
        self.quickest = Some(quickest.min(took));
        let queued = took.saturating_sub(quickest);
        if queued <= QUEUE_LOW {
            self.more = (self.more + 1).min(CHUNKS_OUT_MAX - 1);
        } else if queued > QUEUE_HIGH {
            self.more = self.more.saturating_sub(1);
        }
    }
}

/// Offers, sends and asks for what there is to do.
pub(super) fn fill(
    db: &Connection,
    now: Monotonic,
    uploads: Uploads,
    link: &mut Link,
) -> Result<(), LinkError> {
    link.blobs.looked = now;
    for upload in link.blobs.uploads.values_mut() {
        upload.is_held = is_held(db, uploads, &upload.item)?;
    }
    offer(db, now, uploads, link)?;
    if !link.session.speaks_of_blobs() {
        return Ok(());
    }
    send(db, now, link)?;
    ask(db, now, link)
}

/// Brings what has one chunk, and offers the rest.
fn offer(
    db: &Connection,
    now: Monotonic,
    uploads: Uploads,
    link: &mut Link,
) -> Result<(), LinkError> {
    for item in blobs::to_send(db, SMALL_BYTES, MIDDLE_BYTES)? {
        if !link.blobs.has_room(item.rank()) {
            continue;
        }
        let refused = link.blobs.refused.get(&(item.document, item.hash));
        if refused.is_some_and(|again| again.due > now)
            || !is_blob_size(item.size_bytes)
            || is_held(db, uploads, &item)?
        {
            continue;
        }
        if item.size_bytes <= CHUNK_BYTES as u64 && link.session.can_bring(&item.hash) {
            bring(db, now, link, item)?;
            continue;
        }
        if item.document_waits || !link.session.can_offer(&item.hash) {
            continue;
        }
        link.session.offer(Offer {
            document: item.document,
            hash: item.hash,
            size_bytes: item.size_bytes,
        })?;
        let upload = Upload {
            item,
            tree: None,
            sent: BTreeMap::new(),
            is_held: false,
        };
        link.blobs.uploads.insert(upload.item.hash, upload);
    }
    Ok(())
}

impl Uploads {
    /// Returns how many bytes a blob has at most that goes up.
    pub(crate) const fn bytes_max(self) -> u64 {
        match self {
            Self::All => u64::MAX,
            Self::NoOriginals => MIDDLE_BYTES,
            Self::Nothing => 0,
        }
    }
}

/// Returns whether a blob is held back. What a document that leaves owes goes in any case, or it would never have left.
fn is_held(db: &Connection, uploads: Uploads, item: &ToSend) -> Result<bool, StorageError> {
    if item.size_bytes <= uploads.bytes_max() {
        return Ok(false);
    }
    Ok(!blobs::is_owed_by_leaving(db, item.blob)?)
}

/// Brings a blob of one chunk, if what its document waits for is under way, and the link has room.
fn bring(db: &Connection, now: Monotonic, link: &mut Link, item: ToSend) -> Result<(), LinkError> {
    let out: u64 = link.blobs.uploads.values().map(Upload::bytes_out).sum();
    if out + item.size_bytes > link.blobs.pace.bytes() || !refers_when_handled(db, link, &item)? {
        return Ok(());
    }
    let Some(bytes) = blobs::chunk(db, item.blob, 0)? else {
        return Err(sql::impossible("chunk.bytes").into());
    };
    link.session
        .bring(item.lane(), item.document, item.hash, bytes)?;
    let upload = Upload {
        item,
        tree: None,
        sent: BTreeMap::from([(0, now)]),
        is_held: false,
    };
    link.blobs.uploads.insert(upload.item.hash, upload);
    Ok(())
}

/// Returns whether a document refers to its blob at the relay once all that is under way is handled there.
fn refers_when_handled(db: &Connection, link: &Link, item: &ToSend) -> Result<bool, StorageError> {
    if !item.document_waits {
        return Ok(true);
    }
    // What is refused of a document that leaves settles its blobs too: only when it is known.
    let placements = scopes::placements(db, item.document_row)?;
    if placements
        .iter()
        .any(|place| place.membership == Membership::Leaving)
    {
        return Ok(false);
    }
    let waiting = outbox::of_document(db, item.document_row)?;
    Ok(waiting.iter().all(|it| link.in_flight.contains(&it.change)))
}

/// Sends chunks while less is under way than the link carries at once.
fn send(db: &Connection, now: Monotonic, link: &mut Link) -> Result<(), LinkError> {
    loop {
        let out: u64 = link.blobs.uploads.values().map(Upload::bytes_out).sum();
        let room = link.blobs.pace.bytes().saturating_sub(out);
        let session = &link.session;
        let uploads = link.blobs.uploads.values_mut();
        let uploads = uploads.filter(|upload| !upload.is_held);
        let wanted = uploads.filter_map(|upload| {
            let chunk = session.next_chunk(&upload.item.hash)?;
            Some((upload, chunk))
        });
        let next = wanted.min_by_key(|(upload, _)| (upload.item.rank(), -upload.item.blob));
        let Some((upload, chunk)) = next else {
            return Ok(());
        };
        if upload.bytes_of(chunk) > room || session.parts_out() >= PARTS_OUT_MAX {
            return Ok(());
        }
        let (hash, lane) = (upload.item.hash, upload.item.lane());
        let Some(slice) = upload.slice(db, chunk)? else {
            if blobs::find_row(db, hash)?.is_none() {
                // A person dropped it meanwhile.
                link.blobs.uploads.remove(&hash);
                continue;
            }
            // What lies here is not what it was: the relay is to get it from somebody else.
            tracing::debug!(%hash, "a blob here is damaged");
            return Err(StorageError::Impossible {
                what: "chunk.bytes",
            }
            .into());
        };
        upload.sent.insert(chunk, now);
        match link.session.part(lane, hash, chunk, slice) {
            Ok(()) => {}
            Err(SessionError::Full | SessionError::NotOpen) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Upload {
    fn bytes_of(&self, chunk: u32) -> u64 {
        let before = u64::from(chunk) * CHUNK_BYTES as u64;
        self.item
            .size_bytes
            .saturating_sub(before)
            .min(CHUNK_BYTES as u64)
    }

    fn bytes_out(&self) -> u64 {
        self.sent.keys().map(|chunk| self.bytes_of(*chunk)).sum()
    }

    /// Makes the slice of a chunk; `None` if the bytes are not the blob's.
    fn slice(&mut self, db: &Connection, chunk: u32) -> Result<Option<Vec<u8>>, StorageError> {
        let ToSend {
            blob,
            hash,
            size_bytes,
            ..
        } = self.item;
        if self.tree.is_none() {
            self.tree = BlobTree::of(hash, size_bytes, Chunks::of(db, blob)).ok();
        }
        let bytes = blobs::chunk(db, blob, chunk)?.unwrap_or_default();
        let tree = self.tree.as_ref();
        Ok(tree.and_then(|tree| tree.slice(chunk, &bytes).ok()))
    }
}

/// Asks for what somebody here wants.
fn ask(db: &Connection, now: Monotonic, link: &mut Link) -> Result<(), LinkError> {
    for item in blobs::wanted(db)? {
        let room = link.session.get_room(&item.hash);
        let withheld = link.blobs.withheld.get(&(item.document, item.hash));
        if room == 0 || withheld.is_some_and(|again| again.due > now) {
            continue;
        }
        // Of a size that is not known, the first chunks tell it.
        let count = item.size_bytes.map_or(PARTS_ASKED_MAX, chunk_count);
        let held = blobs::held(db, item.blob, count)?;
        let mut missing = held.missing();
        let Some(first) = missing.next() else {
            continue;
        };
        let more = missing
            .zip(first + 1..)
            .take_while(|(chunk, next)| chunk == next);
        let count = u32::try_from(1 + more.count()).unwrap_or(room).min(room);
        link.session.get(Get {
            document: item.document,
            hash: item.hash,
            first,
            count,
        })?;
    }
    Ok(())
}

/// Takes in what the relay says to an offer.
pub(super) fn offered(
    work: &mut Work<'_>,
    link: &mut Link,
    offer: Offer,
    answer: OfferAnswer,
) -> Result<Option<(BlobHash, BlobNonce)>, LinkError> {
    let Offer { document, hash, .. } = offer;
    match answer {
        OfferAnswer::Wanted(kept) => {
            blobs::set_kept(work.tx, hash, &kept)?;
            note(work, hash)?;
        }
        OfferAnswer::Prove(nonce) => return Ok(Some((hash, nonce))),
        OfferAnswer::Complete => received(work, link, offer)?,
        OfferAnswer::Refused(reason) => {
            tracing::debug!(%hash, code = reason.code, "a blob was not taken");
            link.blobs.uploads.remove(&hash);
            let refused = link.blobs.refused.entry((document, hash)).or_default();
            refused.turned_down(work.now.monotonic);
            // PROTOCOL 4.18: a document that is leaving does not come to refer to anything any more.
            if reason.code == BLOB_NOT_ATTACHED && is_leaving(work, document)? {
                blobs::refused(work.tx, document, hash)?;
                finish_leaving(work, link, document)?;
            }
        }
    }
    Ok(None)
}

/// Takes in that the relay has kept a chunk.
pub(super) fn kept(
    work: &mut Work<'_>,
    link: &mut Link,
    offer: Offer,
    chunk: u32,
    is_complete: bool,
) -> Result<(), LinkError> {
    let hash = offer.hash;
    if let Some(upload) = link.blobs.uploads.get_mut(&hash)
        && let Some(sent) = upload.sent.remove(&chunk)
        && upload.bytes_of(chunk) == CHUNK_BYTES as u64
    {
        link.blobs.pace.took(work.now.monotonic.since(sent));
    }
    if let Some(row) = blobs::find_row(work.tx, hash)? {
        let mut kept: ChunkSet = row.kept();
        kept.insert(chunk);
        blobs::set_kept(work.tx, hash, &kept)?;
    }
    if is_complete {
        received(work, link, offer)?;
    }
    note(work, hash)
}

/// Takes in that the relay has a whole blob for a document.
fn received(work: &mut Work<'_>, link: &mut Link, offer: Offer) -> Result<(), LinkError> {
    link.blobs.uploads.remove(&offer.hash);
    blobs::received(work.tx, offer.document, offer.hash)?;
    work.blobs_changed.insert(offer.document);
    finish_leaving(work, link, offer.document)
}

/// Takes in a chunk that was asked for.
pub(super) fn came(
    work: &mut Work<'_>,
    link: &Link,
    get: Get,
    size_bytes: u64,
    chunk: u32,
    bytes: &[u8],
) -> Result<(), LinkError> {
    // Nobody may refer to it any more, or somebody put it here meanwhile.
    let row = blobs::find_row(work.tx, get.hash)?;
    if let Some(row) = row.filter(|row| !row.is_whole) {
        if blobs::put_chunk(work.tx, &row, size_bytes, chunk, bytes)? {
            // It comes from there.
            blobs::received(work.tx, get.document, get.hash)?;
            finish_leaving(work, link, get.document)?;
        }
        note(work, get.hash)?;
    }
    Ok(())
}

/// Takes in that the relay does not give a blob.
pub(super) fn withheld(blobs: &mut Blobs, get: Get, now: Monotonic) {
    let withheld = blobs.withheld.entry((get.document, get.hash)).or_default();
    withheld.turned_down(now);
}

/// Makes the proofs that the relay asked for.
pub(super) fn prove(
    db: &Connection,
    link: &mut Link,
    asked: Vec<(BlobHash, BlobNonce)>,
) -> Result<(), LinkError> {
    for (hash, nonce) in asked {
        let Some(row) = blobs::find_row(db, hash)? else {
            continue;
        };
        let proof = Possession::of(&nonce, Chunks::of(db, row.id));
        let proof = proof.map_err(|_| sql::impossible("chunk.bytes"))?;
        link.session.prove(hash, proof)?;
    }
    Ok(())
}

/// Returns whether a document is only here for what is unsent.
fn is_leaving(work: &Work<'_>, document: DocumentId) -> Result<bool, LinkError> {
    let Some(id) = documents::find(work.tx, document)? else {
        return Ok(false);
    };
    let placements = scopes::placements(work.tx, id)?;
    let leaving = |place: &scopes::Placement| place.membership == Membership::Leaving;
    Ok(!placements.is_empty() && placements.iter().all(leaving))
}

/// Lets documents go that only stayed for their blobs, if the relay takes none.
pub(super) fn welcomed(work: &mut Work<'_>, link: &Link) -> Result<(), LinkError> {
    if !link.takes_blobs() {
        for document in blobs::owed_by_leaving(work.tx)? {
            work.finish_leaving(link, document)?;
        }
    }
    Ok(())
}

fn finish_leaving(work: &mut Work<'_>, link: &Link, document: DocumentId) -> Result<(), LinkError> {
    match documents::find(work.tx, document)? {
        Some(id) => Ok(work.finish_leaving(link, (id, document))?),
        None => Ok(()),
    }
}

/// Notes that a blob is further than before, for those who show documents that refer to it.
fn note(work: &mut Work<'_>, hash: BlobHash) -> Result<(), LinkError> {
    let documents = blobs::documents_of(work.tx, hash)?;
    work.blobs_changed
        .extend(documents.into_iter().map(|(_, document)| document));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(times_ms: &[u64]) -> u64 {
        let mut pace = Pace::default();
        for took in times_ms {
            pace.took(Duration::from_millis(*took));
        }
        pace.bytes() / CHUNK_BYTES as u64
    }

    #[test]
    fn on_a_slow_link_one_chunk_is_under_way_and_on_a_fast_one_several() {
        assert_eq!(after(&[]), 2);
        // At 256 kbit/s a chunk takes half a second; behind another one, twice that.
        assert_eq!(after(&[700, 1_200]), 2);
        assert_eq!(after(&[700, 1_200, 1_200]), 1);
        assert!(after(&[700, 1_200, 1_200, 700, 1_200, 700, 1_200]) <= 2);
        assert_eq!(after(&[40; 20]), CHUNKS_OUT_MAX);
        assert_eq!(after(&[40, 45, 250]), 3);
    }
}
