//! The blobs of one session as the relay's end sees them: what is on offer, what comes, what was asked for.
//!
//! Every part is verified against the blob's name before it is handed on. Rules: `PROTOCOL.md`, 4.18 to 4.22 and 4.27. Not here:
//! what the relay has, and who may have it.

use std::collections::BTreeMap;

use gridbeat_base::BlobHash;

use crate::blob::{blob_hash, chunk_count, is_blob_size, verify_slice};
use crate::limits::{OFFERS_OPEN_MAX, PARTS_ASKED_MAX, PARTS_OUT_MAX};
use crate::{BlobNonce, Bring, ChunkSet, DeviceMisbehaved, Get, Offer, OfferAnswer, Part, Prove};

/// An offer that was not answered to its end.
#[derive(Debug)]
struct Open {
    offer: Offer,
    step: Step,
}

/// How far an offer is.
#[derive(Debug)]
enum Step {
    /// Our answer is being made.
    Asked,
    /// All of it came with it, and is handled when the pushes are that it waits for.
    Brought { after: u64, bytes: Vec<u8> },
    /// It is being made durable.
    Keeping,
    /// We want the chunks that are not in `came`: those are kept, or under way to be.
    Wanted { came: ChunkSet, keeping: usize },
    /// A proof is to come under this nonce.
    Prove(BlobNonce),
    /// It has come, and is being held against the blob.
    Proved,
}

/// The blobs of one session.
#[derive(Debug, Default)]
pub(crate) struct RelayBlobs {
    offers: BTreeMap<BlobHash, Open>,
    /// What was asked for and is not given: how many chunks of each.
    gets: BTreeMap<BlobHash, Get>,
}

/// A chunk that is the blob's.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) offer: Offer,
    pub(crate) chunk: u32,
    pub(crate) bytes: Vec<u8>,
}

impl RelayBlobs {
    /// Takes in an offer.
    pub(crate) fn offer(&mut self, offer: Offer) -> Result<(), DeviceMisbehaved> {
        // PROTOCOL 4.18: each blob once, not too many, and none that is too large.
        if !is_blob_size(offer.size_bytes) {
            return Err(DeviceMisbehaved::OfferContent(offer.size_bytes));
        }
        if self.offers.contains_key(&offer.hash) {
            return Err(DeviceMisbehaved::OfferRepeated);
        }
        if self.offers.len() >= OFFERS_OPEN_MAX {
            return Err(DeviceMisbehaved::OffersTooMany);
        }
        let step = Step::Asked;
        self.offers.insert(offer.hash, Open { offer, step });
        Ok(())
    }

    /// Takes in a whole blob, and verifies it.
    pub(crate) fn bring(&mut self, bring: Bring) -> Result<(), DeviceMisbehaved> {
        let Bring {
            document,
            hash,
            after,
            bytes,
        } = bring;
        let size_bytes = bytes.len() as u64;
        self.offer(Offer {
            document,
            hash,
            size_bytes,
        })?;
        // PROTOCOL 4.27: it is the blob.
        if blob_hash(&bytes) != hash {
            return Err(DeviceMisbehaved::PartContent(0));
        }
        if let Some(open) = self.offers.get_mut(&hash) {
            open.step = Step::Brought { after, bytes };
        }
        Ok(())
    }

    /// Returns whether a blob was brought that was not given out.
    pub(crate) fn has_brought(&self) -> bool {
        let mut offers = self.offers.values();
        offers.any(|open| matches!(open.step, Step::Brought { .. }))
    }

    /// Gives out a blob that was brought and whose turn it is.
    pub(crate) fn release(&mut self, is_handled: impl Fn(u64) -> bool) -> Option<(Offer, Vec<u8>)> {
        let is_due = |open: &&mut Open| matches!(open.step, Step::Brought { after, .. } if is_handled(after));
        let open = self.offers.values_mut().find(is_due)?;
        match std::mem::replace(&mut open.step, Step::Keeping) {
            Step::Brought { bytes, .. } => Some((open.offer, bytes)),
            Step::Asked | Step::Keeping | Step::Wanted { .. } | Step::Prove(_) | Step::Proved => {
                unreachable!("it was looked at just before")
            }
        }
    }

    /// Notes our answer to an offer; says whether one was due that has this form.
    pub(crate) fn answered(&mut self, hash: BlobHash, answer: &OfferAnswer) -> bool {
        let Some(open) = self.offers.get_mut(&hash) else {
            return false;
        };
        let is_due = match (&open.step, answer) {
            (Step::Asked, OfferAnswer::Wanted(kept)) => {
                kept.count() == chunk_count(open.offer.size_bytes) && !kept.is_full()
            }
            (
                Step::Asked,
                OfferAnswer::Prove(_) | OfferAnswer::Complete | OfferAnswer::Refused(_),
            )
            | (Step::Keeping | Step::Proved, OfferAnswer::Complete | OfferAnswer::Refused(_)) => {
                true
            }
            (Step::Brought { .. } | Step::Wanted { .. } | Step::Prove(_), _)
            | (Step::Keeping | Step::Proved, OfferAnswer::Wanted(_) | OfferAnswer::Prove(_)) => {
                false
            }
        };
        match answer {
            OfferAnswer::Wanted(kept) => {
                open.step = Step::Wanted {
                    came: kept.clone(),
                    keeping: 0,
                };
            }
            OfferAnswer::Prove(nonce) => open.step = Step::Prove(*nonce),
            OfferAnswer::Complete | OfferAnswer::Refused(_) => {
                self.offers.remove(&hash);
            }
        }
        is_due
    }

    /// Takes in a part, and verifies it.
    pub(crate) fn part(&mut self, part: &Part) -> Result<Came, DeviceMisbehaved> {
        let chunk = part.chunk;
        let all_keeping: usize = self.offers.values().map(Open::keeping).sum();
        let open = self.offers.get_mut(&part.hash);
        let Some(Open {
            offer,
            step: Step::Wanted { came, keeping },
        }) = open
        else {
            return Err(DeviceMisbehaved::PartUnasked(chunk));
        };
        // PROTOCOL 4.19: a part is one that is wanted, within the window, and the blob's.
        if part.size_bytes != offer.size_bytes || !came.insert(chunk) {
            return Err(DeviceMisbehaved::PartUnasked(chunk));
        }
        if all_keeping >= PARTS_OUT_MAX {
            return Err(DeviceMisbehaved::PartOverWindow);
        }
        let bytes = verify_slice(part.hash, part.size_bytes, chunk, &part.slice);
        let bytes = bytes.map_err(|_| DeviceMisbehaved::PartContent(chunk))?;
        *keeping += 1;
        Ok(Came {
            offer: *offer,
            chunk,
            bytes,
        })
    }

    /// Returns whether nothing of a blob is still to come, and just one chunk is being kept.
    pub(crate) fn is_last(&self, hash: &BlobHash) -> bool {
        let step = self.offers.get(hash).map(|open| &open.step);
        matches!(step, Some(Step::Wanted { came, keeping: 1 }) if came.is_full())
    }

    /// Notes that a chunk is kept; says whether one was being kept. The offer ends with the last.
    pub(crate) fn kept(&mut self, hash: BlobHash, is_complete: bool) -> bool {
        let open = self.offers.get_mut(&hash);
        let Some(Step::Wanted { came, keeping }) = open.map(|open| &mut open.step) else {
            return false;
        };
        let Some(rest) = keeping.checked_sub(1) else {
            return false;
        };
        *keeping = rest;
        let fits = !is_complete || (came.is_full() && rest == 0);
        if is_complete {
            self.offers.remove(&hash);
        }
        fits
    }

    /// Takes in a proof; gives what it is to be held against.
    pub(crate) fn proved(&mut self, prove: &Prove) -> Result<(Offer, BlobNonce), DeviceMisbehaved> {
        let open = self.offers.get_mut(&prove.hash);
        let Some(Open {
            offer,
            step: step @ Step::Prove(_),
        }) = open
        else {
            // PROTOCOL 4.20: a proof is one that was asked for, once.
            return Err(DeviceMisbehaved::ProveUnasked);
        };
        match std::mem::replace(step, Step::Proved) {
            Step::Prove(nonce) => Ok((*offer, nonce)),
            Step::Asked
            | Step::Brought { .. }
            | Step::Keeping
            | Step::Wanted { .. }
            | Step::Proved => {
                unreachable!("it was looked at just before")
            }
        }
    }

    /// Takes in that chunks are asked for.
    pub(crate) fn get(&mut self, get: Get) -> Result<(), DeviceMisbehaved> {
        let asked: u32 = self.gets.values().map(|get| get.count).sum();
        // PROTOCOL 4.21: each blob once at a time, and within the window.
        let fits =
            (1..=PARTS_ASKED_MAX).contains(&get.count) && asked + get.count <= PARTS_ASKED_MAX;
        if !fits || self.gets.contains_key(&get.hash) || get.first.checked_add(get.count).is_none()
        {
            return Err(DeviceMisbehaved::GetOverWindow);
        }
        self.gets.insert(get.hash, get);
        Ok(())
    }

    /// Notes that what was asked for of a blob is given, or is not; returns what it was.
    pub(crate) fn given(&mut self, hash: BlobHash) -> Option<Get> {
        self.gets.remove(&hash)
    }
}

impl Open {
    const fn keeping(&self) -> usize {
        match &self.step {
            Step::Wanted { keeping, .. } => *keeping,
            Step::Asked | Step::Brought { .. } | Step::Keeping | Step::Prove(_) | Step::Proved => 0,
        }
    }
}
