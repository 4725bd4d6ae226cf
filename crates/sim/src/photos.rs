//! Photos: officers take and attach them, everybody who reads a record wants them, and what must hold of that.
//!
//! Few different ones are taken, so that several people attach the same. An operator clears away what nothing refers to
//! while they are on their way. The numbers are those of the table in `docs/testing.md`.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{BlobHash, ChangeHash, DocumentId, Scope};
use gridbeat_device_core::{BlobState, SaveError, Saved};
use gridbeat_domain::{IncidentIntent, PhotoRole};
use gridbeat_relay_core::SessionId;
use gridbeat_relay_store::{RecordFilter, SqliteStore};
use gridbeat_sync_protocol::{
    BlobNonce, Frame, Get, Offer, OfferAnswer, Possession, Prove, VERSION_OF_BLOBS, blob_hash,
    encode,
};

use crate::node::Node;
use crate::world::World;

/// How many different photos there are.
pub(crate) const PHOTOS: u64 = 30;

/// Most bytes of one: five chunks and a bit.
const BYTES_MAX: u64 = 90_000;

/// In 1,000 records that come to a phone in the storm, of how many its officer opens the photos.
const OPENED_PER_MILLE: u64 = 600;

/// More than any run makes.
const ALL: u64 = 1_000_000;

/// A photo that an officer was told is saved and attached.
pub(crate) type Taken = (DocumentId, ChangeHash, BlobHash);

/// What passed of photos.
#[derive(Debug, Default)]
pub(crate) struct Photos {
    /// What the relay called received, and that no legal loss took away.
    received: BTreeSet<(DocumentId, BlobHash)>,
    /// Every chunk that the relay called kept, by the phone that brought it.
    kept: BTreeSet<(usize, BlobHash, u32)>,
    /// Every chunk that a phone has sent.
    sent: BTreeSet<(usize, BlobHash, u32)>,
    /// For which document each session has offered a photo, and asked for one.
    offers: BTreeMap<(SessionId, BlobHash), DocumentId>,
    asked: BTreeMap<(SessionId, BlobHash), DocumentId>,
}

/// The bytes of a photo.
fn bytes(number: u64) -> Vec<u8> {
    let size = 1 + number * number * 7_919 % BYTES_MAX;
    (0..size)
        .map(|at| (at % 251 + at / 16_384 * 3 + number) as u8)
        .collect()
}

impl Photos {
    /// Forgets what a relay said that was restored to an older copy.
    pub(crate) fn doubt(&mut self) {
        self.received.clear();
        self.kept.clear();
    }
}

impl World {
    /// An officer takes a photo and attaches it.
    pub(crate) fn take_photo(
        &mut self,
        node: usize,
        document: DocumentId,
        number: u64,
    ) -> Result<Saved, SaveError> {
        let now = self.nodes[node].now(self.clock());
        let core = self.nodes[node].core.as_mut();
        let core = core.expect("an officer acts on a phone that is on");
        let hash = core.put_blob(now, &bytes(number))?;
        let intent = IncidentIntent::AddPhoto {
            hash,
            role: PhotoRole::Near,
            position: None,
            preview: None,
            thumbnail: None,
        };
        let intent = serde_json::to_vec(&intent).expect("intents are plain JSON");
        let saved = core.edit(now, document, &intent)?;
        self.tally.photos += 1;
        if !self.doom.is_torn() {
            let taken = (document, saved.change, hash);
            self.nodes[node].photos.insert(taken);
        }
        Ok(saved)
    }

    /// An officer opens records that have come, and so wants their photos.
    pub(crate) fn open_photos(&mut self, node: usize, documents: &[DocumentId]) {
        for document in documents {
            if self.is_storm && !self.random.chance(OPENED_PER_MILLE) {
                continue;
            }
            let Some(core) = &self.nodes[node].core else {
                return;
            };
            let attachments = core.attachments(*document);
            let attachments = attachments.expect("a living file can be read");
            for attachment in attachments {
                if attachment.state == BlobState::Elsewhere {
                    let (document, hash) = (*document, attachment.hash);
                    self.device_do(node, |core, now| {
                        core.want_blob(now, document, hash).map(|_| ())
                    });
                }
            }
        }
    }

    /// When the storm is over, everybody opens everything.
    pub(crate) fn open_all_photos(&mut self, node: usize) {
        let Some(core) = &self.nodes[node].core else {
            return;
        };
        let held = core.fingerprint().expect("a living file can be read");
        let held: Vec<DocumentId> = held.into_iter().map(|(document, _)| document).collect();
        self.open_photos(node, &held);
    }

    /// An operator clears away what nothing refers to and what stands still: with no patience at all.
    pub(crate) fn clear_blobs(&mut self) {
        let now = self.relay_now();
        let Some(store) = self.relay.store.as_mut() else {
            return;
        };
        let cleared = store.clear_blobs(now.wall, now.wall, false);
        if self.relay.fuse.has_blown() {
            self.tally.relay_crashes += 1;
            self.crash_relay(core::time::Duration::from_secs(30));
        }
        if let Ok(cleared) = cleared {
            self.trace
                .line(format_args!("{:?} cleared {cleared:?}", self.time));
            self.tally.blobs_cleared += cleared.unused + cleared.uploads;
        }
        // A commit that the relay died at may have been done all the same.
        self.photos.kept.clear();
    }

    /// The thief asks for a colleague's photo, and says that he has it.
    pub(crate) fn ask_for_photo(&mut self, node: usize, session: SessionId) -> Vec<Vec<u8>> {
        let device = self.nodes[node].device;
        let others = self.nodes.iter().filter(|it| it.device != device);
        let photos: Vec<Taken> = others.flat_map(|it| it.photos.iter().copied()).collect();
        if photos.is_empty() {
            return Vec::new();
        }
        let at = self.random.below(photos.len() as u64);
        let (document, _, hash) = photos[usize::try_from(at).unwrap_or(0)];
        self.photos.asked.insert((session, hash), document);
        // He has the phone's own key: what it has begun to bring, he may call a blob of another size.
        let is_same = |kept: &(usize, BlobHash, u32)| (kept.0, kept.1) == (node, hash);
        self.photos.kept.retain(|kept| !is_same(kept));
        let frames = [
            Frame::Get(Get {
                document,
                hash,
                first: 0,
                count: 1,
            }),
            Frame::Offer(Offer {
                document,
                hash,
                size_bytes: 1_000,
            }),
            Frame::Prove(Prove {
                hash,
                proof: Possession::of(&BlobNonce::from_bytes([1; 32]), &b"guess"[..])
                    .expect("memory can be read"),
            }),
        ];
        frames.iter().map(encode).collect()
    }

    /// Looks at a frame of a phone's. No chunk that the relay called kept is sent again.
    pub(crate) fn photo_up(&mut self, node: usize, session: SessionId, frame: &Frame) {
        let photos = &mut self.photos;
        if let Frame::Offer(offer) = frame {
            photos.offers.insert((session, offer.hash), offer.document);
        } else if let Frame::Bring(bring) = frame {
            self.tally.chunks_sent += 1;
            photos.offers.insert((session, bring.hash), bring.document);
            if !photos.sent.insert((node, bring.hash, 0)) {
                self.tally.chunks_again += 1;
            }
        } else if let Frame::Get(get) = frame {
            photos.asked.insert((session, get.hash), get.document);
        } else if let Frame::Part(part) = frame {
            self.tally.chunks_sent += 1;
            let chunk = (node, part.hash, part.chunk);
            if !photos.sent.insert(chunk) {
                self.tally.chunks_again += 1;
            }
            if photos.kept.contains(&chunk) {
                let (hash, chunk) = (part.hash, part.chunk);
                self.violate(format!(
                    "P1: device {node} sends chunk {chunk} of {hash} again, which was kept"
                ));
            }
        }
    }

    /// Looks at a frame of the relay's. What it calls received may not be lost, and nobody is given a photo of a record
    /// that he may not read.
    pub(crate) fn photo_down(&mut self, session: SessionId, frame: &Frame) {
        let Some(connection) = self.network.get(session) else {
            return;
        };
        let node = connection.node;
        let offered = |hash| self.photos.offers.get(&(session, hash)).copied();
        if let Frame::Kept(kept) = frame {
            let document = offered(kept.hash).filter(|_| kept.is_complete);
            self.photos.kept.insert((node, kept.hash, kept.chunk));
            let received = document.map(|document| (document, kept.hash));
            self.photos.received.extend(received);
        } else if let Frame::Offered(answer) = frame
            && answer.answer == OfferAnswer::Complete
        {
            let received = offered(answer.hash).map(|document| (document, answer.hash));
            self.photos.received.extend(received);
        } else if let Frame::Part(part) = frame {
            self.tally.chunks_given += 1;
            let document = self.photos.asked.get(&(session, part.hash)).copied();
            if document.is_none_or(|document| !self.may_read(node, document)) {
                let hash = part.hash;
                self.violate(format!("I4: {session:?} is sent a part of {hash}"));
            }
        }
    }

    /// Whether the relay's own tables let a phone read a document; what an open session was told holds for a while.
    fn may_read(&self, node: usize, document: DocumentId) -> bool {
        let Some(store) = &self.relay.store else {
            return false;
        };
        let rows = store.records(&RecordFilter::default(), ALL);
        let rows = rows.expect("a living database can be read");
        let row = rows.into_iter().find(|row| row.document == document);
        let scopes = row.map(|row| row.scopes).unwrap_or_default();
        scopes.iter().any(|scope: &Scope| self.is_fed(node, scope))
    }

    /// What must hold of photos after the calm.
    pub(crate) fn check_photos(&mut self) {
        let Some(store) = &self.relay.store else {
            return;
        };
        let check = store.check_blobs().expect("a living database can be read");
        let at_relay: BTreeMap<_, _> = store
            .attachments()
            .expect("a living database can be read")
            .into_iter()
            .map(|row| ((row.document, row.hash), row.is_received))
            .collect();
        self.tally.photos_received += at_relay.values().filter(|it| **it).count() as u64;
        let mut amiss = Vec::new();
        if !check.is_sound() {
            amiss.push(format!("P4: {check:?}"));
        }
        for (document, hash) in &self.photos.received {
            if at_relay.get(&(*document, *hash)) != Some(&true) {
                amiss.push(format!("P2: {hash} of {document} was received and is lost"));
            }
        }
        for (number, node) in self.nodes.iter().enumerate() {
            amiss.extend(self.photos_lost(number, node, &at_relay));
            if !node.is_revoked && node.speaks >= VERSION_OF_BLOBS {
                amiss.extend(photos_amiss(number, node, store, &at_relay));
            }
        }
        for violation in amiss {
            self.violate(violation);
        }
    }

    /// P3, its first half: what an officer was told is saved is on his phone, or with the relay.
    fn photos_lost(
        &self,
        number: usize,
        node: &Node,
        at_relay: &BTreeMap<(DocumentId, BlobHash), bool>,
    ) -> Vec<String> {
        let Some(core) = &node.core else {
            return Vec::new();
        };
        let is_lost = |(document, _, hash): &&Taken| {
            let bytes = core.get_blob(*hash).expect("a living file can be read");
            let is_here = bytes.is_some_and(|bytes| blob_hash(&bytes) == *hash);
            !is_here && at_relay.get(&(*document, *hash)) != Some(&true)
        };
        // A relay that was restored may have lost what had left the phone by then.
        let left = node.photos_left.iter().filter(|_| !self.relay.was_restored);
        let photos = node.photos.iter().chain(left);
        let lost = photos.filter(|_| !node.is_revoked);
        let lost = lost.filter(is_lost).map(|(document, _, hash)| {
            format!("P3: device {number} took {hash} of {document}, which nobody has")
        });
        lost.collect()
    }
}

/// P3, its other half: of every record that a phone holds as the relay does, all photos that it has are received, and
/// all that are received have come; and it says so.
fn photos_amiss(
    number: usize,
    node: &Node,
    store: &SqliteStore,
    at_relay: &BTreeMap<(DocumentId, BlobHash), bool>,
) -> Vec<String> {
    let Some(core) = &node.core else {
        return Vec::new();
    };
    let heads: BTreeMap<_, _> = store
        .heads_after(None, ALL)
        .expect("a living database can be read")
        .into_iter()
        .collect();
    let held = core.fingerprint().expect("a living file can be read");
    let same = held
        .into_iter()
        .filter(|(document, mine)| heads.get(document) == Some(mine));
    let mut amiss = Vec::new();
    for (document, _) in same {
        let attachments = core.attachments(document);
        for attachment in attachments.expect("a living file can be read") {
            let hash = attachment.hash;
            let is_received = at_relay.get(&(document, hash)) == Some(&true);
            let holds = match attachment.state {
                BlobState::Received { is_here } => is_received && is_here,
                BlobState::Elsewhere | BlobState::Fetching { .. } => !is_received,
                BlobState::Here | BlobState::Sending { .. } | BlobState::Refused => false,
            };
            if !holds {
                amiss.push(format!(
                    "P3: device {number} has {hash} of {document} as {:?}, the relay: {is_received}",
                    attachment.state
                ));
            }
        }
    }
    amiss
}
