//! Range reconciliation: how two sides find which documents of a scope differ.
//!
//! A wrap of the negentropy protocol, version 1, over one item a document: its id and the digest of
//! its heads. The device asks, the relay answers from its own items and keeps nothing in between.
//! Results are sorted, since the library's sets are not. Rules: `PROTOCOL.md`, 4.8.

use std::collections::BTreeSet;

use gridbeat_base::{Digest, DocumentId, Remedy};
use negentropy::{Id, Negentropy, NegentropyStorageVector};

use crate::limits::RECONCILE_BYTES_MAX;

/// What one side holds of a document, for telling whether the other holds the same.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Item {
    /// The document.
    pub document: DocumentId,
    /// [`Digest::of_document`] of its heads in the scope.
    pub digest: Digest,
}

impl Item {
    /// Returns the item's place in the order of the protocol: the milliseconds of a version 7 UUID,
    /// so that documents of one time lie in one range.
    fn timestamp(&self) -> u64 {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.document.bytes()[..6]);
        u64::from_be_bytes(millis)
    }

    fn id(&self) -> Id {
        let mut id = [0; 32];
        id[..16].copy_from_slice(self.document.bytes());
        id[16..].copy_from_slice(&self.digest.bytes());
        Id::from_byte_array(id)
    }

    fn from_id(id: &Id) -> Self {
        let (mut document, mut digest) = ([0; 16], [0; 16]);
        document.copy_from_slice(&id[..16]);
        digest.copy_from_slice(&id[16..]);
        Self {
            document: DocumentId::from_bytes(document),
            digest: Digest::from_bytes(digest),
        }
    }
}

/// What one answer of the relay taught.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Step {
    /// What to send next; `None` when everything is known.
    pub reply: Option<Vec<u8>>,
    /// Items that only we hold, sorted.
    pub have: Vec<Item>,
    /// Items that only the relay holds, sorted.
    pub need: Vec<Item>,
}

impl Step {
    /// Returns the documents that differ, sorted: on both sides, or on one alone.
    pub fn documents(&self) -> Vec<DocumentId> {
        let items = self.have.iter().chain(&self.need);
        let documents: BTreeSet<_> = items.map(|item| item.document).collect();
        documents.into_iter().collect()
    }
}

/// The device's side of one reconciliation.
pub struct Reconciler(Negentropy<'static, NegentropyStorageVector>);

impl Reconciler {
    /// Begins a reconciliation over what the device holds; returns the first message too.
    pub fn initiate(items: impl IntoIterator<Item = Item>) -> (Self, Vec<u8>) {
        let mut negentropy = negentropy(items);
        let message = negentropy.initiate().expect("it is initiated once");
        (Self(negentropy), message)
    }

    /// Takes in the relay's answer.
    ///
    /// # Errors
    ///
    /// [`ReconcileError`] if it is not a message of the protocol.
    pub fn step(&mut self, message: &[u8]) -> Result<Step, ReconcileError> {
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let reply = self
            .0
            .reconcile_with_ids(message, &mut have, &mut need)
            .map_err(|_| ReconcileError::Malformed)?;
        let sorted = |ids: Vec<Id>| {
            let items: BTreeSet<Item> = ids.iter().map(Item::from_id).collect();
            items.into_iter().collect()
        };
        Ok(Step {
            reply,
            have: sorted(have),
            need: sorted(need),
        })
    }
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler").finish_non_exhaustive()
    }
}

/// Answers one message of a device from what the relay holds.
///
/// # Errors
///
/// [`ReconcileError`] if it is not a message of the protocol.
pub fn respond(
    items: impl IntoIterator<Item = Item>,
    message: &[u8],
) -> Result<Vec<u8>, ReconcileError> {
    negentropy(items)
        .reconcile(message)
        .map_err(|_| ReconcileError::Malformed)
}

fn negentropy(
    items: impl IntoIterator<Item = Item>,
) -> Negentropy<'static, NegentropyStorageVector> {
    let mut storage = NegentropyStorageVector::new();
    for item in items {
        let inserted = storage.insert(item.timestamp(), item.id());
        inserted.expect("it is not sealed yet");
    }
    storage.seal().expect("it is sealed once");
    let bytes_max = u64::try_from(RECONCILE_BYTES_MAX).expect("a size fits 64 bits");
    Negentropy::owned(storage, bytes_max).expect("the limit is above the protocol's least")
}

/// A message is not one of the reconciliation protocol: a bug at the peer, or an attack.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// It cannot be read.
    #[error("not a message of the reconciliation protocol")]
    Malformed,
}

impl ReconcileError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Malformed => Remedy::Report,
        }
    }
}
