//! What the gate must know of the changes a document has: who wrote what, and what each was made on.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, DeviceId};

use super::Rule;
use super::form::{OpName, Sound};
use crate::change::hash_of;
use crate::{Document, Provenance};

/// One change of an actor, by the numbers of its ops.
#[derive(Clone, Copy, Debug)]
struct Written {
    hash: ChangeHash,
    start_op: u64,
    max_op: u64,
    author: Option<DeviceId>,
}

/// What a change was made on, and how far its ops count.
#[derive(Clone, Debug)]
struct Node {
    deps: Vec<ChangeHash>,
    max_op: u64,
}

/// A document's changes, by name and by actor.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    nodes: BTreeMap<ChangeHash, Node>,
    /// Each actor's changes in the order of their numbers, which are dense from 1.
    actors: BTreeMap<Vec<u8>, Vec<Written>>,
}

impl History {
    pub(super) fn of(document: &Document, provenance: &dyn Fn(&ChangeHash) -> Provenance) -> Self {
        let mut history = Self::default();
        for change in document.automerge.get_changes_meta(&[]) {
            let hash = hash_of(change.hash);
            let node = Node {
                deps: change.deps.iter().map(|dep| hash_of(*dep)).collect(),
                max_op: change.max_op,
            };
            history.nodes.insert(hash, node);
            let written = Written {
                hash,
                start_op: change.start_op,
                max_op: change.max_op,
                author: provenance(&hash).author,
            };
            // Automerge lists changes in causal order, so an actor's come by number.
            let actor = change.actor.to_bytes().to_vec();
            history.actors.entry(actor).or_default().push(written);
        }
        history
    }

    pub(super) fn contains(&self, hash: &ChangeHash) -> bool {
        self.nodes.contains_key(hash)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Takes a change in as the next of its actor. Its dependencies must be here.
    pub(super) fn push(&mut self, change: &Sound, author: DeviceId) -> Result<(), Rule> {
        let actor = change.actor.bytes().as_slice();
        let written = self.actors.get(actor).map_or(&[][..], Vec::as_slice);
        if let Some(owner) = written.last().and_then(|last| last.author)
            && owner != author
        {
            return Err(Rule::ActorOfAnother);
        }
        if change.seq != written.len() as u64 + 1 {
            return Err(Rule::WrongSequence);
        }
        if written
            .last()
            .is_some_and(|last| !change.deps.contains(&last.hash))
        {
            return Err(Rule::BadDependencies);
        }
        // Each dependency's last op is above those of its own dependencies, so these suffice.
        let nodes = change.deps.iter().filter_map(|dep| self.nodes.get(dep));
        let reached = nodes.map(|node| node.max_op).max().unwrap_or(0);
        if change.start_op != reached + 1 {
            return Err(Rule::WrongStart);
        }
        let wanted: Option<BTreeSet<_>> = change.refers.iter().map(|op| self.writer(op)).collect();
        if !wanted.is_some_and(|wanted| self.is_past(&change.deps, wanted)) {
            return Err(Rule::UnknownReference);
        }
        let node = Node {
            deps: change.deps.clone(),
            max_op: change.max_op,
        };
        self.nodes.insert(change.hash, node);
        let written = Written {
            hash: change.hash,
            start_op: change.start_op,
            max_op: change.max_op,
            author: Some(author),
        };
        self.actors.entry(actor.to_vec()).or_default().push(written);
        Ok(())
    }

    /// Takes back what was pushed last.
    pub(super) fn pop(&mut self, change: &Sound) {
        self.nodes.remove(&change.hash);
        let actor = change.actor.bytes().as_slice();
        if let Some(written) = self.actors.get_mut(actor) {
            written.pop();
            if written.is_empty() {
                self.actors.remove(actor);
            }
        }
    }

    /// Finds the change that holds an op: how far its ops count, and its name.
    fn writer(&self, op: &OpName) -> Option<(u64, ChangeHash)> {
        let written = self.actors.get(&op.actor)?;
        let place = written.partition_point(|change| change.max_op < op.counter);
        let change = written.get(place)?;
        (change.start_op <= op.counter).then_some((change.max_op, change.hash))
    }

    /// Returns whether every wanted change is among `heads` and what they were made on.
    fn is_past(&self, heads: &[ChangeHash], mut wanted: BTreeSet<(u64, ChangeHash)>) -> bool {
        let mut ways = heads.to_vec();
        let mut seen = BTreeSet::new();
        while let Some((least, _)) = wanted.first().copied() {
            let Some(hash) = ways.pop() else {
                return false;
            };
            if let Some(node) = self.nodes.get(&hash)
                && seen.insert(hash)
            {
                wanted.remove(&(node.max_op, hash));
                // Ops count up along every way, so nothing wanted lies further back than the least.
                if node.max_op > least {
                    ways.extend_from_slice(&node.deps);
                }
            }
        }
        true
    }
}
