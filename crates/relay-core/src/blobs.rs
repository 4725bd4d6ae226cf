//! Photos and other blobs: which are taken from whom, and which are given to whom.
//!
//! All of that is the store's to look up, in the transaction that acts on it: a document's references are written
//! with the change that makes them. Here the answers become words of the session, and chunks of many sessions become
//! one commit. Nothing is held of a blob but the chunks that wait for that. Not here: whether bytes are the blob's
//! (`sync-protocol`), where they lie (the store).

use std::collections::BTreeMap;

use gridbeat_base::{BlobHash, Lane, Now};
use gridbeat_sync_protocol::{BlobNonce, Get, Offer, OfferAnswer, Possession};

use crate::config::KEEP_CHUNKS_MAX;
use crate::reasons::{
    BLOB_MOVED_ON, BLOB_NOT_ATTACHED, BLOB_NOT_HERE, BLOB_NOT_PROVEN, BLOBS_TOO_MANY,
    STORAGE_FAILED, STORAGE_FULL, Why,
};
use crate::relay::{Relay, Waiting};
use crate::{Answer, BlobStanding, ChunkOutcome, NewBlob, NewChunk, SessionId, StoreFault, Task};

/// Most bytes of a blob that goes in the lane of previews (`PROTOCOL.md`, 6.4).
const PREVIEW_BYTES_MAX: u64 = 64 * 1024;

/// An offer, or a proof, that is being looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offering {
    session: SessionId,
    hash: BlobHash,
}

/// Names a blob that was brought, and the session that brought it.
pub(crate) type BlobOf = Offering;

/// A chunk that is to become durable, and the session that brought it.
#[derive(Debug)]
pub(crate) struct ChunkOf {
    session: SessionId,
    chunk: NewChunk,
}

impl Relay {
    /// Takes in that a device has a blob.
    pub(crate) fn blob_offered(&mut self, now: Now, session: SessionId, offer: Offer) {
        let Some(open) = self.sessions.get(&session) else {
            return;
        };
        let offering = Offering {
            session,
            hash: offer.hash,
        };
        let task = Task::Offer {
            device: open.device,
            offer,
            at: now.wall,
        };
        self.run(Waiting::Offer(offering), task);
    }

    /// Takes in the proof that it does.
    pub(crate) fn blob_proved(
        &mut self,
        now: Now,
        session: SessionId,
        offer: Offer,
        nonce: BlobNonce,
        proof: Possession,
    ) {
        let Some(open) = self.sessions.get(&session) else {
            return;
        };
        let offering = Offering {
            session,
            hash: offer.hash,
        };
        let task = Task::Prove {
            device: open.device,
            offer,
            nonce,
            proof,
            at: now.wall,
        };
        self.run(Waiting::Offer(offering), task);
    }

    /// Answers an offer or a proof by what was looked up.
    pub(crate) fn offer_looked_up(
        &mut self,
        now: Now,
        offering: Offering,
        result: Result<Answer, StoreFault>,
    ) {
        let refused = |why: Why| OfferAnswer::Refused(why.reason());
        let answer = match result {
            Ok(Answer::Offered(standing)) => match standing {
                BlobStanding::NotAttached => refused(BLOB_NOT_ATTACHED),
                BlobStanding::TooMany => refused(BLOBS_TOO_MANY),
                BlobStanding::Complete => OfferAnswer::Complete,
                BlobStanding::Held(nonce) => OfferAnswer::Prove(nonce),
                BlobStanding::Wanted(kept) => OfferAnswer::Wanted(kept),
            },
            Ok(Answer::Proven(true)) => {
                self.counters.blobs_proven += 1;
                OfferAnswer::Complete
            }
            Ok(Answer::Proven(false)) => refused(BLOB_NOT_PROVEN),
            Ok(_) => panic!("an offer was answered by another task's answer"),
            // Records go on all the same.
            Err(StoreFault::Full) => refused(STORAGE_FULL),
            Err(_) => refused(STORAGE_FAILED),
        };
        let Offering { session, hash } = offering;
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        if let Err(error) = open.protocol.offered(hash, answer) {
            self.close_internal(now, session, &error);
        }
        self.settle(now, session);
    }

    /// Takes in a chunk that is wanted and was verified.
    pub(crate) fn chunk_came(
        &mut self,
        session: SessionId,
        offer: Offer,
        chunk: u32,
        bytes: Vec<u8>,
    ) {
        let Some(open) = self.sessions.get(&session) else {
            return;
        };
        let chunk = NewChunk {
            device: open.device,
            hash: offer.hash,
            size_bytes: offer.size_bytes,
            chunk,
            bytes,
        };
        self.chunks.push_back(ChunkOf { session, chunk });
    }

    /// Makes the chunks durable that came meanwhile, if none are being made so.
    pub(crate) fn keep_chunks(&mut self, now: Now) {
        if self.keeps_chunks || self.chunks.is_empty() {
            return;
        }
        let count = self.chunks.len().min(KEEP_CHUNKS_MAX);
        let mut waiting: Vec<ChunkOf> = self.chunks.drain(..count).collect();
        let take = |of: &mut ChunkOf| NewChunk {
            // The bytes go to the store; here only whose they were is still asked for.
            bytes: std::mem::take(&mut of.chunk.bytes),
            ..of.chunk.clone()
        };
        let chunks = waiting.iter_mut().map(take).collect();
        self.keeps_chunks = true;
        let at = now.wall;
        self.run(
            Waiting::KeepChunks(waiting),
            Task::KeepChunks { chunks, at },
        );
    }

    /// Takes in a whole blob that was verified.
    pub(crate) fn blob_brought(&mut self, session: SessionId, offer: Offer, bytes: Vec<u8>) {
        let Some(open) = self.sessions.get(&session) else {
            return;
        };
        let of = BlobOf {
            session,
            hash: offer.hash,
        };
        let device = open.device;
        let blob = NewBlob {
            device,
            offer,
            bytes,
        };
        self.brought.push_back((of, blob));
    }

    /// Makes the blobs durable that were brought meanwhile, if none are being made so.
    pub(crate) fn keep_brought(&mut self, now: Now) {
        if self.keeps_brought || self.brought.is_empty() {
            return;
        }
        let count = self.brought.len().min(KEEP_CHUNKS_MAX);
        let (waiting, blobs) = self.brought.drain(..count).unzip();
        self.keeps_brought = true;
        let at = now.wall;
        self.run(Waiting::Bring(waiting), Task::Bring { blobs, at });
    }

    /// Tells the devices what became of the blobs that they brought.
    pub(crate) fn blobs_brought(
        &mut self,
        now: Now,
        brought: &[BlobOf],
        result: Result<Answer, StoreFault>,
    ) {
        self.keeps_brought = false;
        let refused = |why: Why| OfferAnswer::Refused(why.reason());
        let answers: Vec<OfferAnswer> = match result {
            Ok(Answer::Brought(kept)) => {
                let answer = |is_kept| match is_kept {
                    true => OfferAnswer::Complete,
                    false => refused(BLOB_NOT_ATTACHED),
                };
                kept.into_iter().map(answer).collect()
            }
            Ok(_) => panic!("blobs were brought by another task's answer"),
            // Records go on all the same.
            Err(StoreFault::Full) => vec![refused(STORAGE_FULL); brought.len()],
            Err(_) => vec![refused(STORAGE_FAILED); brought.len()],
        };
        for (of, answer) in brought.iter().zip(answers) {
            let Some(open) = self.sessions.get_mut(&of.session) else {
                continue;
            };
            self.counters.blobs_received += u64::from(answer == OfferAnswer::Complete);
            if let Err(error) = open.protocol.offered(of.hash, answer) {
                self.close_internal(now, of.session, &error);
            }
            self.settle(now, of.session);
        }
    }

    /// Tells the devices whose chunks are durable.
    pub(crate) fn chunks_kept(
        &mut self,
        now: Now,
        chunks: Vec<ChunkOf>,
        result: Result<Answer, StoreFault>,
    ) {
        self.keeps_chunks = false;
        let outcomes = match result {
            Ok(Answer::ChunksKept(outcomes)) => outcomes,
            Ok(_) => panic!("chunks were kept by another task's answer"),
            Err(fault) => {
                let close = if fault == StoreFault::Full {
                    STORAGE_FULL.close(self.config.retry_after_full)
                } else {
                    STORAGE_FAILED.close(self.config.retry_after_fault)
                };
                for of in chunks {
                    self.close(now, of.session, close.clone());
                }
                return;
            }
        };
        // A blob is called whole with the last of its chunks in the batch, whichever made it so.
        let mut last: BTreeMap<(SessionId, BlobHash), usize> = BTreeMap::new();
        let mut whole: BTreeMap<(SessionId, BlobHash), ChunkOutcome> = BTreeMap::new();
        for (place, (of, outcome)) in chunks.iter().zip(&outcomes).enumerate() {
            let blob = (of.session, of.chunk.hash);
            last.insert(blob, place);
            let so_far = whole.entry(blob).or_insert(*outcome);
            if *outcome != ChunkOutcome::Kept {
                *so_far = *outcome;
            }
        }
        for (place, of) in chunks.iter().enumerate() {
            let blob = (of.session, of.chunk.hash);
            let outcome = whole[&blob];
            let is_whole = outcome == ChunkOutcome::Whole && last[&blob] == place;
            self.chunk_kept(now, of, outcome == ChunkOutcome::Gone, is_whole);
        }
    }

    fn chunk_kept(&mut self, now: Now, of: &ChunkOf, is_gone: bool, is_whole: bool) {
        let Some(open) = self.sessions.get_mut(&of.session) else {
            return;
        };
        let hash = of.chunk.hash;
        // Two connections of one device may bring one blob: the one in which it did not become whole begins anew.
        if is_gone || open.protocol.is_last_chunk(&hash) != is_whole {
            let close = BLOB_MOVED_ON.close(std::time::Duration::ZERO);
            return self.close(now, of.session, close);
        }
        self.counters.chunks_kept += 1;
        self.counters.blobs_received += u64::from(is_whole);
        if let Err(error) = open.protocol.kept(hash, of.chunk.chunk, is_whole) {
            self.close_internal(now, of.session, &error);
        }
        self.settle(now, of.session);
    }

    /// Takes in that a device wants chunks of a blob.
    pub(crate) fn blob_asked_for(&mut self, session: SessionId, get: Get) {
        let Some(open) = self.sessions.get(&session) else {
            return;
        };
        let device = open.device;
        self.run(
            Waiting::ReadChunks { session, get },
            Task::ReadChunks { device, get },
        );
    }

    /// Gives a device the chunks that were read for it, or says that it does not.
    pub(crate) fn chunks_read(
        &mut self,
        now: Now,
        session: SessionId,
        get: Get,
        result: Result<Answer, StoreFault>,
    ) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let said = match result {
            Ok(Answer::Chunks(Some(found))) if !found.slices.is_empty() => {
                self.counters.chunks_given += found.slices.len() as u64;
                let lane = match found.size_bytes {
                    0..=PREVIEW_BYTES_MAX => Lane::Preview,
                    _ => Lane::Original,
                };
                open.protocol
                    .give(lane, get.hash, found.size_bytes, found.slices)
            }
            Ok(Answer::Chunks(_)) => open.protocol.withhold(get.hash, BLOB_NOT_HERE.reason()),
            Ok(_) => panic!("chunks were read by another task's answer"),
            Err(_) => open.protocol.withhold(get.hash, STORAGE_FAILED.reason()),
        };
        if let Err(error) = said {
            self.close_internal(now, session, &error);
        }
        self.settle(now, session);
    }
}
