//! The frames that carry blobs, and their bytes. Rules: `PROTOCOL.md`, 4.18 to 4.22 and 4.27.

use gridbeat_base::{BlobHash, DocumentId};

use crate::blob::{CHUNK_BYTES, chunk_count};
use crate::codec::{read_reason, write_reason};
use crate::limits::{BLOB_BYTES_MAX, SLICE_BYTES_MAX};
use crate::wire::{Reader, Writer, check_count};
use crate::{BlobNonce, ChunkSet, DecodeError, Possession, Reason};

/// Kinds of answers to an offer on the wire.
const WANTED: u64 = 0;
const COMPLETE: u64 = 1;
const PROVE: u64 = 2;
const REFUSED: u64 = 3;

/// The code of the reason for which the relay refuses a blob of a document that the device may not read, or that does
/// not refer to it.
pub const BLOB_NOT_ATTACHED: &str = "blob_not_attached";

/// The device has a blob that a document refers to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Offer {
    /// The document.
    pub document: DocumentId,
    /// The blob.
    pub hash: BlobHash,
    /// How many bytes it has.
    pub size_bytes: u64,
}

/// The relay's answer to an [`Offer`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offered {
    /// The blob.
    pub hash: BlobHash,
    /// What the relay says.
    pub answer: OfferAnswer,
}

/// What the relay says to an offer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OfferAnswer {
    /// It wants the chunks that are not among these, which it has kept from this device.
    Wanted(ChunkSet),
    /// It has the whole blob for that document.
    Complete,
    /// It has the blob, for another document: the device is to prove that it has it too.
    Prove(BlobNonce),
    /// It does not take it, or not yet.
    Refused(Reason),
}

/// The device's proof that it holds a blob.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prove {
    /// The blob.
    pub hash: BlobHash,
    /// The proof.
    pub proof: Possession,
}

/// The relay has kept a chunk, durably.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kept {
    /// The blob.
    pub hash: BlobHash,
    /// The chunk.
    pub chunk: u32,
    /// Whether the blob is whole with it.
    pub is_complete: bool,
}

/// The device asks for chunks of a blob that a document refers to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Get {
    /// The document.
    pub document: DocumentId,
    /// The blob.
    pub hash: BlobHash,
    /// The first chunk.
    pub first: u32,
    /// How many; those beyond the blob's end are not sent.
    pub count: u32,
}

/// One chunk of a blob, with what proves that it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// The blob.
    pub hash: BlobHash,
    /// How many bytes the whole blob has.
    pub size_bytes: u64,
    /// The chunk.
    pub chunk: u32,
    /// Its bytes behind the hashes beside its way to the root.
    pub slice: Vec<u8>,
}

/// The relay does not give a blob that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Withheld {
    /// The blob.
    pub hash: BlobHash,
    /// Why.
    pub reason: Reason,
}

/// A whole blob of one chunk that a document refers to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bring {
    /// The document.
    pub document: DocumentId,
    /// The blob.
    pub hash: BlobHash,
    /// The relay handles this once it has handled every push up to this number; 0 for at once.
    pub after: u64,
    /// Its bytes, at most [`CHUNK_BYTES`].
    pub bytes: Vec<u8>,
}

pub(crate) fn write_offer(out: &mut Writer, offer: &Offer) {
    out.bytes(offer.document.bytes()).bytes(offer.hash.bytes());
    out.uint(offer.size_bytes);
}

pub(crate) fn read_offer(from: &mut Reader<'_>) -> Result<Offer, DecodeError> {
    Ok(Offer {
        document: DocumentId::from_bytes(from.fixed()?),
        hash: BlobHash::from_bytes(from.fixed()?),
        size_bytes: from.uint()?,
    })
}

pub(crate) fn write_offered(out: &mut Writer, offered: &Offered) {
    out.bytes(offered.hash.bytes());
    match &offered.answer {
        OfferAnswer::Wanted(kept) => {
            out.array(2).uint(WANTED).list(&kept.runs(), |out, run| {
                out.uint(u64::from(*run));
            });
        }
        OfferAnswer::Complete => {
            out.array(1).uint(COMPLETE);
        }
        OfferAnswer::Prove(nonce) => {
            out.array(2).uint(PROVE).bytes(nonce.bytes());
        }
        OfferAnswer::Refused(reason) => write_reason(out.array(2).uint(REFUSED), reason),
    }
}

pub(crate) fn read_offered(from: &mut Reader<'_>) -> Result<Offered, DecodeError> {
    let chunks_max = chunk_count(BLOB_BYTES_MAX);
    Ok(Offered {
        hash: BlobHash::from_bytes(from.fixed()?),
        answer: from.variant(|from, kind| {
            Ok(match kind {
                WANTED => {
                    let runs =
                        from.list("runs of chunks", chunks_max as usize + 1, Reader::uint)?;
                    let kept = ChunkSet::from_runs(&runs, chunks_max);
                    (
                        1,
                        OfferAnswer::Wanted(kept.ok_or_else(|| from.malformed())?),
                    )
                }
                COMPLETE => (0, OfferAnswer::Complete),
                PROVE => (1, OfferAnswer::Prove(BlobNonce::from_bytes(from.fixed()?))),
                REFUSED => (1, OfferAnswer::Refused(read_reason(from)?)),
                // PROTOCOL 2.3: an answer the reader does not know cannot be skipped.
                _ => return Err(DecodeError::UnknownOfferAnswer { kind }),
            })
        })?,
    })
}

pub(crate) fn write_prove(out: &mut Writer, prove: &Prove) {
    out.bytes(prove.hash.bytes()).bytes(prove.proof.bytes());
}

pub(crate) fn read_prove(from: &mut Reader<'_>) -> Result<Prove, DecodeError> {
    Ok(Prove {
        hash: BlobHash::from_bytes(from.fixed()?),
        proof: Possession::from_bytes(from.fixed()?),
    })
}

pub(crate) fn write_kept(out: &mut Writer, kept: &Kept) {
    out.bytes(kept.hash.bytes()).uint(u64::from(kept.chunk));
    out.bool(kept.is_complete);
}

pub(crate) fn read_kept(from: &mut Reader<'_>) -> Result<Kept, DecodeError> {
    Ok(Kept {
        hash: BlobHash::from_bytes(from.fixed()?),
        chunk: from.u32()?,
        is_complete: from.bool()?,
    })
}

pub(crate) fn write_get(out: &mut Writer, get: &Get) {
    out.bytes(get.document.bytes()).bytes(get.hash.bytes());
    out.uint(u64::from(get.first)).uint(u64::from(get.count));
}

pub(crate) fn read_get(from: &mut Reader<'_>) -> Result<Get, DecodeError> {
    Ok(Get {
        document: DocumentId::from_bytes(from.fixed()?),
        hash: BlobHash::from_bytes(from.fixed()?),
        first: from.u32()?,
        count: from.u32()?,
    })
}

pub(crate) fn write_part(out: &mut Writer, part: &Part) {
    out.bytes(part.hash.bytes()).uint(part.size_bytes);
    out.uint(u64::from(part.chunk)).bytes(&part.slice);
}

pub(crate) fn read_part(from: &mut Reader<'_>) -> Result<Part, DecodeError> {
    let (hash, size_bytes) = (BlobHash::from_bytes(from.fixed()?), from.uint()?);
    let (chunk, slice) = (from.u32()?, from.bytes()?);
    check_count("bytes of a slice", slice.len(), SLICE_BYTES_MAX)?;
    Ok(Part {
        hash,
        size_bytes,
        chunk,
        slice: slice.to_vec(),
    })
}

pub(crate) fn write_bring(out: &mut Writer, bring: &Bring) {
    out.bytes(bring.document.bytes()).bytes(bring.hash.bytes());
    out.uint(bring.after).bytes(&bring.bytes);
}

pub(crate) fn read_bring(from: &mut Reader<'_>) -> Result<Bring, DecodeError> {
    let document = DocumentId::from_bytes(from.fixed()?);
    let hash = BlobHash::from_bytes(from.fixed()?);
    let (after, bytes) = (from.uint()?, from.bytes()?);
    check_count("bytes of a chunk", bytes.len(), CHUNK_BYTES)?;
    Ok(Bring {
        document,
        hash,
        after,
        bytes: bytes.to_vec(),
    })
}

pub(crate) fn write_withheld(out: &mut Writer, withheld: &Withheld) {
    write_reason(out.bytes(withheld.hash.bytes()), &withheld.reason);
}

pub(crate) fn read_withheld(from: &mut Reader<'_>) -> Result<Withheld, DecodeError> {
    Ok(Withheld {
        hash: BlobHash::from_bytes(from.fixed()?),
        reason: read_reason(from)?,
    })
}
