//! The blobs of one session as the device's end sees them: what it offers and sends, what it asked for.
//!
//! Rules: `PROTOCOL.md`, 4.18 to 4.22 and 4.27. Not here: which blobs there are, and their bytes.

use std::collections::BTreeMap;

use gridbeat_base::BlobHash;

use crate::blob::{chunk_count, verify_slice};
use crate::limits::{OFFERS_OPEN_MAX, PARTS_ASKED_MAX, PARTS_OUT_MAX};
use crate::{ChunkSet, Get, Kept, Offer, OfferAnswer, Offered, Part, RelayMisbehaved};

/// An offer that is not at its end.
#[derive(Debug)]
struct Open {
    offer: Offer,
    step: Step,
}

/// How far an offer is.
#[derive(Debug)]
enum Step {
    /// It is not answered.
    Asked,
    /// All of it went with it, and it is not answered.
    Brought,
    /// The relay wants chunks: those in `out` were sent and are not kept.
    Wanted { kept: ChunkSet, out: ChunkSet },
    /// The relay wants a proof.
    Prove,
    /// It is out.
    Proved,
}

/// What was asked for of a blob and has not come.
#[derive(Debug)]
struct Asked {
    get: Get,
    /// The blob's size, once a part has told it.
    size_bytes: Option<u64>,
    came: ChunkSet,
}

/// The blobs of one session.
#[derive(Debug, Default)]
pub(crate) struct DeviceBlobs {
    offers: BTreeMap<BlobHash, Open>,
    gets: BTreeMap<BlobHash, Asked>,
}

/// A chunk that is the blob's.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) get: Get,
    pub(crate) bytes: Vec<u8>,
    /// Whether all that was asked for of the blob has come with it.
    pub(crate) is_last: bool,
}

impl DeviceBlobs {
    /// Returns whether a blob may be offered.
    pub(crate) fn can_offer(&self, hash: &BlobHash) -> bool {
        self.offers.len() < OFFERS_OPEN_MAX && !self.offers.contains_key(hash)
    }

    pub(crate) fn offer(&mut self, offer: Offer) {
        let step = Step::Asked;
        self.offers.insert(offer.hash, Open { offer, step });
    }

    pub(crate) fn bring(&mut self, offer: Offer) {
        let step = Step::Brought;
        self.offers.insert(offer.hash, Open { offer, step });
    }

    /// Takes in the answer to an offer.
    pub(crate) fn offered(&mut self, offered: &Offered) -> Result<Offer, RelayMisbehaved> {
        let Some(open) = self.offers.get_mut(&offered.hash) else {
            return Err(RelayMisbehaved::OfferedUnasked);
        };
        let offer = open.offer;
        match (&open.step, &offered.answer) {
            (Step::Asked, OfferAnswer::Wanted(kept)) => {
                // PROTOCOL 4.18: the runs are of all chunks of the blob, and something is wanted.
                if kept.count() != chunk_count(offer.size_bytes) || kept.is_full() {
                    return Err(RelayMisbehaved::OfferedChunks);
                }
                open.step = Step::Wanted {
                    kept: kept.clone(),
                    out: ChunkSet::empty(kept.count()),
                };
            }
            (Step::Asked, OfferAnswer::Prove(_)) => open.step = Step::Prove,
            (
                Step::Asked | Step::Brought | Step::Proved,
                OfferAnswer::Complete | OfferAnswer::Refused(_),
            ) => {
                self.offers.remove(&offered.hash);
            }
            (Step::Wanted { .. } | Step::Prove, _)
            | (Step::Brought | Step::Proved, OfferAnswer::Wanted(_) | OfferAnswer::Prove(_)) => {
                return Err(RelayMisbehaved::OfferedUnasked);
            }
        }
        Ok(offer)
    }

    /// Returns whether the relay is to say something.
    pub(crate) fn is_awaiting(&self) -> bool {
        let awaits = |open: &Open| match &open.step {
            Step::Asked | Step::Brought | Step::Proved => true,
            Step::Wanted { out, .. } => !out.is_empty(),
            Step::Prove => false,
        };
        !self.gets.is_empty() || self.offers.values().any(awaits)
    }

    /// Returns how many parts are out.
    pub(crate) fn parts_out(&self) -> usize {
        let out = self.offers.values().map(|open| match &open.step {
            Step::Wanted { out, .. } => out.len() as usize,
            Step::Asked | Step::Brought | Step::Prove | Step::Proved => 0,
        });
        out.sum()
    }

    /// Returns the first chunk of a blob that the relay wants and that is not out.
    pub(crate) fn next_chunk(&self, hash: &BlobHash) -> Option<u32> {
        match &self.offers.get(hash)?.step {
            Step::Wanted { kept, out } => kept.missing().find(|chunk| !out.contains(*chunk)),
            Step::Asked | Step::Brought | Step::Prove | Step::Proved => None,
        }
    }

    /// Notes that a chunk goes out; gives the blob's size. `None` if it may not.
    pub(crate) fn send(&mut self, hash: &BlobHash, chunk: u32) -> Option<u64> {
        if self.parts_out() >= PARTS_OUT_MAX {
            return None;
        }
        let open = self.offers.get_mut(hash)?;
        let Step::Wanted { kept, out } = &mut open.step else {
            return None;
        };
        let goes = !kept.contains(chunk) && out.insert(chunk);
        goes.then_some(open.offer.size_bytes)
    }

    /// Notes that a proof goes out; says whether it may.
    pub(crate) fn prove(&mut self, hash: &BlobHash) -> bool {
        match self.offers.get_mut(hash) {
            Some(open) if matches!(open.step, Step::Prove) => {
                open.step = Step::Proved;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes in that the relay has kept a chunk.
    pub(crate) fn kept(&mut self, word: &Kept) -> Result<Offer, RelayMisbehaved> {
        let chunk = word.chunk;
        let Some(open) = self.offers.get_mut(&word.hash) else {
            return Err(RelayMisbehaved::KeptUnsent(chunk));
        };
        let Step::Wanted { kept, out } = &mut open.step else {
            return Err(RelayMisbehaved::KeptUnsent(chunk));
        };
        // PROTOCOL 4.19: it keeps what was sent, and is complete with the last chunk.
        if !out.remove(chunk) || !kept.insert(chunk) || word.is_complete != kept.is_full() {
            return Err(RelayMisbehaved::KeptUnsent(chunk));
        }
        let offer = open.offer;
        if word.is_complete {
            self.offers.remove(&word.hash);
        }
        Ok(offer)
    }

    /// Returns how many more chunks may be asked for, of a blob of which nothing is asked for.
    pub(crate) fn get_room(&self, hash: &BlobHash) -> u32 {
        if self.gets.contains_key(hash) {
            return 0;
        }
        let asked: u32 = self.gets.values().map(|asked| asked.get.count).sum();
        PARTS_ASKED_MAX.saturating_sub(asked)
    }

    pub(crate) fn get(&mut self, get: Get) {
        let asked = Asked {
            get,
            size_bytes: None,
            came: ChunkSet::empty(get.count),
        };
        self.gets.insert(get.hash, asked);
    }

    /// Takes in a part, and verifies it.
    pub(crate) fn part(&mut self, part: &Part) -> Result<Came, RelayMisbehaved> {
        let unasked = RelayMisbehaved::PartUnasked(part.chunk);
        let Some(asked) = self.gets.get_mut(&part.hash) else {
            return Err(unasked);
        };
        let get = asked.get;
        // PROTOCOL 4.21: a part is one that was asked for, once, of a blob of one size.
        let place = part.chunk.checked_sub(get.first);
        if place.is_none_or(|place| !asked.came.insert(place))
            || *asked.size_bytes.get_or_insert(part.size_bytes) != part.size_bytes
        {
            return Err(unasked);
        }
        let bytes = verify_slice(part.hash, part.size_bytes, part.chunk, &part.slice);
        let bytes = bytes.map_err(|_| RelayMisbehaved::PartContent(part.chunk))?;
        let end = chunk_count(part.size_bytes).min(get.first + get.count);
        let is_last = asked.came.len() == end - get.first;
        if is_last {
            self.gets.remove(&part.hash);
        }
        Ok(Came {
            get,
            bytes,
            is_last,
        })
    }

    /// Takes in that the relay does not give what was asked for.
    pub(crate) fn withheld(&mut self, hash: &BlobHash) -> Result<Get, RelayMisbehaved> {
        let asked = self.gets.remove(hash);
        // PROTOCOL 4.21: it answers what was asked for.
        asked
            .map(|asked| asked.get)
            .ok_or(RelayMisbehaved::WithheldUnasked)
    }
}
