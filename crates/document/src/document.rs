//! One loaded document: made, loaded, edited, read and saved.
//!
//! Every actor id and every commit time is set here, so the same calls give the same bytes on every
//! machine. Not here: changes from others, which enter through [`gate::admit`](crate::gate::admit) alone.

use core::fmt;
use std::sync::{Arc, OnceLock};

use automerge::transaction::CommitOptions;
use automerge::{Automerge, ReadDoc as _};
use gridbeat_base::{ChangeHash, Remedy};

use crate::change::hash_of;
use crate::contain::contained;
use crate::edit::{Edit, EditError};
use crate::{
    Actor, CHANGE_BYTES_MAX, Change, DOCUMENT_BYTES_MAX, DOCUMENT_CHANGES_MAX, Kind, Provenance,
    Stamp, View, gate, genesis, read,
};

/// The saved form of a document is compressed from this size on.
///
/// To compress an incident of 8 changes takes 100 µs, a third of all that a device does to take it in, and saves
/// 170 of its 1,360 bytes (measured).
const COMPRESSED_FROM_BYTES: usize = 4 * 1024;

/// One document in memory. Loaded for one task and dropped: an idle document is only its log.
#[derive(Clone)]
pub struct Document {
    pub(crate) kind: Arc<dyn Kind>,
    pub(crate) schema_version: u16,
    pub(crate) genesis: ChangeHash,
    pub(crate) automerge: Automerge,
    /// Bytes of the saved form it came from, and of each change since: about what a save would take.
    pub(crate) size_bytes: usize,
    /// The saved form, uncompressed, which the gate has found to load and read the same; `None` once anything
    /// else was put in.
    pub(crate) saved: Option<Vec<u8>>,
    /// How the gate read it with what it let in last; `None` likewise.
    pub(crate) admitted: Option<View>,
    /// What its genesis laid out, as the gate asks for it: made at the first question.
    pub(crate) layout: OnceLock<Arc<gate::Layout>>,
}

impl Document {
    /// Makes a document that nobody has edited yet.
    ///
    /// The same for every device: its one head is [`genesis_hash`](crate::genesis_hash).
    pub fn genesis(kind: &Arc<dyn Kind>, schema_version: u16) -> Self {
        let (automerge, genesis) = genesis::make(kind, schema_version);
        let document = Self {
            kind: Arc::clone(kind),
            schema_version,
            genesis,
            automerge,
            size_bytes: 0,
            saved: None,
            admitted: None,
            layout: OnceLock::new(),
        };
        document.layout();
        document
    }

    /// Loads a document from what [`Self::save`] gave.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if the bytes are damaged or another kind's. They are only a cache: the caller
    /// makes the document again with [`Self::rebuild`].
    pub fn load(
        kind: &Arc<dyn Kind>,
        schema_version: u16,
        saved: &[u8],
    ) -> Result<Self, LoadError> {
        let actor = genesis::actor(kind.name(), schema_version);
        let automerge = load_automerge(saved)?.with_actor(actor.to_automerge());
        // The name of the actor stands for the kind and the version, so its change is the genesis.
        let genesis = automerge
            .get_changes_meta(&[])
            .iter()
            .find(|change| change.actor.to_bytes() == actor.bytes())
            .map(|change| hash_of(change.hash))
            .ok_or(LoadError::OtherKind)?;
        Ok(Self {
            kind: Arc::clone(kind),
            schema_version,
            genesis,
            automerge,
            size_bytes: saved.len(),
            saved: None,
            admitted: None,
            layout: OnceLock::new(),
        })
    }

    /// Makes a document from its log: the genesis change and then `changes`, in any order.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if a change is damaged or one it depends on is not among them.
    pub fn rebuild<'a>(
        kind: &Arc<dyn Kind>,
        schema_version: u16,
        changes: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, LoadError> {
        let mut document = Self::genesis(kind, schema_version);
        let mut log = Vec::new();
        for bytes in changes {
            let hash = Change::parse(bytes).map_err(|_| LoadError::Damaged)?.hash;
            document.size_bytes += bytes.len();
            if hash != document.genesis {
                log.push(bytes);
            }
        }
        let applied = contained(|| {
            let changes = log
                .iter()
                .map(|bytes| automerge::Change::try_from(*bytes))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| LoadError::Damaged)?;
            document
                .automerge
                .apply_changes(changes)
                .map_err(|_| LoadError::Damaged)
        });
        applied.unwrap_or(Err(LoadError::Damaged))?;
        let missing = document.automerge.get_missing_deps(&[]);
        if !missing.is_empty() {
            return Err(LoadError::Incomplete {
                missing: missing.into_iter().map(hash_of).collect(),
            });
        }
        Ok(document)
    }

    /// Turns an intent into one change, applied to this document.
    ///
    /// `actor` must be this opening's own; `provenance` tells what the log knows of each change,
    /// for the view that the kind decides on. The change's time is `stamp.wall` in whole seconds.
    ///
    /// # Errors
    ///
    /// [`EditError`]; the document is then as it was.
    pub fn edit(
        &mut self,
        actor: Actor,
        intent: &[u8],
        stamp: &Stamp,
        provenance: &dyn Fn(&ChangeHash) -> Provenance,
    ) -> Result<Change, EditError> {
        let (changes, size_bytes) = (self.change_count(), self.size_bytes);
        if changes >= DOCUMENT_CHANGES_MAX || size_bytes >= DOCUMENT_BYTES_MAX {
            return Err(EditError::Full {
                changes,
                size_bytes,
            });
        }
        let before = self.view(provenance);
        // On a copy, because a change's size is known only once it is made.
        let mut next = self.automerge.clone().with_actor(actor.to_automerge());
        let mut edit = Edit::new(next.transaction());
        self.kind.apply(intent, stamp, &before, &mut edit)?;
        let time_s = stamp.wall.millis().div_euclid(1_000);
        edit.finish()?
            .commit_with(CommitOptions::default().with_time(time_s));
        let change = next
            .get_last_local_change()
            .expect("the transaction had operations, so it made a change");
        let size_bytes = change.raw_bytes().len();
        if size_bytes > CHANGE_BYTES_MAX {
            return Err(EditError::TooBig { size_bytes });
        }
        self.automerge = next;
        self.size_bytes += size_bytes;
        self.saved = None;
        self.admitted = None;
        Ok(Change::of_automerge(&change))
    }

    /// Returns the name of its genesis change, which is its one head before anybody edits it.
    pub const fn genesis_hash(&self) -> ChangeHash {
        self.genesis
    }

    /// Returns the document's heads, sorted; a bare genesis has its own hash.
    pub fn heads(&self) -> Vec<ChangeHash> {
        self.automerge
            .get_heads()
            .into_iter()
            .map(hash_of)
            .collect()
    }

    /// Returns whether a change is part of this document.
    pub fn contains(&self, hash: &ChangeHash) -> bool {
        // Automerge answers with what of a set of heads it lacks.
        self.automerge
            .get_missing_deps(&[automerge::ChangeHash(*hash.bytes())])
            .is_empty()
    }

    /// Returns one change of the document, its genesis included.
    pub fn change(&self, hash: &ChangeHash) -> Option<Change> {
        let hash = automerge::ChangeHash(*hash.bytes());
        let change = self.automerge.get_change_by_hash(&hash)?;
        Some(Change::of_automerge(&change))
    }

    /// Reads the whole document as plain values.
    pub fn view(&self, provenance: &dyn Fn(&ChangeHash) -> Provenance) -> View {
        read::view(&self.automerge, provenance)
    }

    /// Takes the view that the gate had of the document with what it let in last, by what was known of each change
    /// then; `None` if it let nothing in, if something else was put in since, or if it was taken.
    pub const fn take_admitted(&mut self) -> Option<View> {
        self.admitted.take()
    }

    /// Returns the document in one piece, to be loaded faster than from its log.
    ///
    /// A cache only: equal documents may save to different bytes, and a save that does not load
    /// is made again from the log. Right after the gate it is the very form that the gate has tried.
    pub fn save(&self) -> Vec<u8> {
        let plain = self.saved.clone();
        let plain = plain.unwrap_or_else(|| self.automerge.save_nocompress());
        if plain.len() < COMPRESSED_FROM_BYTES {
            plain
        } else {
            self.automerge.save()
        }
    }

    /// Returns what the genesis laid out.
    pub(crate) fn layout(&self) -> &gate::Layout {
        let layout = || Arc::new(gate::Layout::of(self));
        self.layout.get_or_init(layout)
    }

    /// Returns how many changes the document has, its genesis included.
    pub fn change_count(&self) -> usize {
        usize::try_from(self.automerge.stats().num_changes).unwrap_or(usize::MAX)
    }

    /// Returns the document's kind.
    pub const fn kind(&self) -> &Arc<dyn Kind> {
        &self.kind
    }

    /// Returns the schema version the document was made with.
    pub const fn schema_version(&self) -> u16 {
        self.schema_version
    }
}

impl fmt::Debug for Document {
    // Without its content: it is people's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("kind", &self.kind.name())
            .field("schema_version", &self.schema_version)
            .field("changes", &self.change_count())
            .finish_non_exhaustive()
    }
}

/// Loads saved bytes; the actor of the result is random and must be set.
pub(crate) fn load_automerge(saved: &[u8]) -> Result<Automerge, LoadError> {
    let loaded = contained(|| Automerge::load(saved).map_err(|_| LoadError::Damaged));
    let loaded = loaded.unwrap_or(Err(LoadError::Damaged))?;
    if loaded.get_missing_deps(&[]).is_empty() {
        Ok(loaded)
    } else {
        Err(LoadError::Damaged)
    }
}

/// Why bytes did not become a document.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes cannot be read.
    #[error("document is damaged")]
    Damaged,
    /// The bytes are a document of another kind or schema version.
    #[error("document is of another kind or schema version")]
    OtherKind,
    /// The log lacks changes that others depend on.
    #[error("log lacks {} changes", missing.len())]
    Incomplete {
        /// The changes it lacks, sorted.
        missing: Vec<ChangeHash>,
    },
}

impl LoadError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Damaged | Self::Incomplete { .. } => Remedy::Restore,
            Self::OtherKind => Remedy::Report,
        }
    }
}
