//! What the gate must know of the changes a document has: who wrote last, and how far ops count.

use std::collections::BTreeMap;

use gridbeat_base::{ChangeHash, DeviceId};

use super::Rule;
use super::form::Sound;
use crate::change::hash_of;
use crate::{Document, Provenance};

/// The last change of an actor.
#[derive(Clone, Copy, Debug)]
struct Last {
    seq: u64,
    hash: ChangeHash,
    author: Option<DeviceId>,
}

/// A document's changes, by name and by actor.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    max_ops: BTreeMap<ChangeHash, u64>,
    actors: BTreeMap<Vec<u8>, Last>,
}

impl History {
    pub(super) fn of(document: &Document, provenance: &dyn Fn(&ChangeHash) -> Provenance) -> Self {
        let mut history = Self::default();
        for change in document.automerge.get_changes_meta(&[]) {
            let hash = hash_of(change.hash);
            history.max_ops.insert(hash, change.max_op);
            let actor = change.actor.to_bytes();
            if history
                .actors
                .get(actor)
                .is_none_or(|last| last.seq < change.seq)
            {
                let last = Last {
                    seq: change.seq,
                    hash,
                    author: provenance(&hash).author,
                };
                history.actors.insert(actor.to_vec(), last);
            }
        }
        history
    }

    pub(super) fn contains(&self, hash: &ChangeHash) -> bool {
        self.max_ops.contains_key(hash)
    }

    pub(super) fn len(&self) -> usize {
        self.max_ops.len()
    }

    /// Takes a change in as the next of its actor. Its dependencies must be here.
    pub(super) fn push(&mut self, change: &Sound, author: DeviceId) -> Result<(), Rule> {
        let last = self.actors.get(change.actor.bytes().as_slice()).copied();
        if let Some(owner) = last.and_then(|last| last.author)
            && owner != author
        {
            return Err(Rule::ActorOfAnother);
        }
        if change.seq != last.map_or(1, |last| last.seq + 1) {
            return Err(Rule::WrongSequence);
        }
        if last.is_some_and(|last| !change.deps.contains(&last.hash)) {
            return Err(Rule::BadDependencies);
        }
        // Each dependency's last op is above those of its own dependencies, so these suffice.
        let reached = change.deps.iter().filter_map(|dep| self.max_ops.get(dep));
        if change.start_op != reached.max().copied().unwrap_or(0) + 1 {
            return Err(Rule::WrongStart);
        }
        self.max_ops.insert(change.hash, change.max_op);
        let last = Last {
            seq: change.seq,
            hash: change.hash,
            author: Some(author),
        };
        self.actors.insert(change.actor.bytes().to_vec(), last);
        Ok(())
    }
}
