//! What can be said of a change from its bytes alone.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::legacy::{Key, ObjectId, OpType};
use automerge::{ReadDoc as _, ScalarValue};
use gridbeat_base::ChangeHash;

use super::{Rule, operations};
use crate::chunk::Chunk;
use crate::edit::COUNTER_STEP_MAX;
use crate::limits::CHANGE_REPLACED_MAX;
use crate::{Actor, CHANGE_BYTES_MAX, CHANGE_OPS_MAX, Document, genesis};

/// The places of a document that its genesis laid out and no change may put anything else into.
///
/// Ordered by name, as Automerge's own ids have no order.
#[derive(Debug)]
pub(super) struct Layout {
    actor: Actor,
    containers: BTreeSet<(Option<u64>, String)>,
    counters: BTreeSet<(Option<u64>, String)>,
}

impl Layout {
    pub(super) fn of(document: &Document) -> Self {
        let actor = genesis::actor(document.kind.name(), document.schema_version);
        let mut layout = Self {
            actor,
            containers: BTreeSet::new(),
            counters: BTreeSet::new(),
        };
        let change = document
            .automerge
            .get_change_by_hash(&automerge::ChangeHash(*document.genesis.bytes()))
            .expect("every document holds its genesis");
        for op in change.decode().operations {
            if let (Some(object), Key::Map(key)) = (layout.object(&op.obj), &op.key) {
                let place = (object, key.to_string());
                match op.action {
                    OpType::Make(_) => layout.containers.insert(place),
                    OpType::Put(_) => layout.counters.insert(place),
                    OpType::Delete
                    | OpType::Increment(_)
                    | OpType::MarkBegin(_)
                    | OpType::MarkEnd(_) => continue,
                };
            }
        }
        layout
    }

    /// Returns the genesis's own number of an object: `Some(None)` is the root, `None` another's.
    fn object(&self, object: &ObjectId) -> Option<Option<u64>> {
        match object {
            ObjectId::Root => Some(None),
            ObjectId::Id(id) if id.actor().to_bytes() == self.actor.bytes() => {
                Some(Some(id.counter()))
            }
            ObjectId::Id(_) => None,
        }
    }

    /// Returns whether an edit of a kind can have made this operation.
    fn allows(&self, op: &automerge::legacy::Op) -> bool {
        // Containers are made only in the genesis, so an object of another is not there.
        let Some(object) = self.object(&op.obj) else {
            return false;
        };
        let place = match &op.key {
            Key::Map(key) => Some((object, key.to_string())),
            Key::Seq(_) => None,
        };
        let is = |places: &BTreeSet<_>| place.as_ref().is_some_and(|place| places.contains(place));
        match &op.action {
            OpType::Put(value) => !is_odd(value) && !is(&self.containers) && !is(&self.counters),
            OpType::Delete => !op.insert && !is(&self.containers) && !is(&self.counters),
            OpType::Increment(by) => {
                !op.insert && is(&self.counters) && by.unsigned_abs() <= COUNTER_STEP_MAX
            }
            OpType::Make(_) | OpType::MarkBegin(_) | OpType::MarkEnd(_) => false,
        }
    }
}

/// Returns whether a value is one that edits never put: a counter, an unknown type, no real number.
fn is_odd(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Counter(_) | ScalarValue::Unknown { .. } => true,
        ScalarValue::F64(number) => !number.is_finite(),
        ScalarValue::Bytes(_)
        | ScalarValue::Str(_)
        | ScalarValue::Int(_)
        | ScalarValue::Uint(_)
        | ScalarValue::Timestamp(_)
        | ScalarValue::Boolean(_)
        | ScalarValue::Null => false,
    }
}

/// A change whose form is sound: it can be decoded and does only what edits do.
#[derive(Clone, Debug)]
pub(super) struct Sound {
    pub(super) hash: ChangeHash,
    pub(super) deps: Vec<ChangeHash>,
    pub(super) actor: Actor,
    pub(super) seq: u64,
    pub(super) start_op: u64,
    pub(super) max_op: u64,
    pub(super) change: automerge::Change,
}

/// What a look at the bytes alone gives.
pub(super) enum Form {
    /// The document has this change.
    Known(ChangeHash),
    /// A change that may be tried.
    Sound(Box<Sound>),
}

impl Form {
    pub(super) fn check(
        bytes: &[u8],
        document: &Document,
        layout: &Layout,
    ) -> Result<Self, (Option<ChangeHash>, Rule)> {
        if bytes.len() > CHANGE_BYTES_MAX {
            return Err((None, Rule::TooBig));
        }
        let chunk = Chunk::parse(bytes).map_err(|error| (None, Rule::NotAChange(error)))?;
        if document.contains(&chunk.hash) {
            return Ok(Self::Known(chunk.hash));
        }
        let hash = chunk.hash;
        sound(bytes, chunk, layout)
            .map(|sound| Self::Sound(Box::new(sound)))
            .map_err(|rule| (Some(hash), rule))
    }
}

fn sound(bytes: &[u8], chunk: Chunk<'_>, layout: &Layout) -> Result<Sound, Rule> {
    let actor = <[u8; 16]>::try_from(chunk.actor)
        .map(Actor::from_bytes)
        .ok()
        .filter(|actor| *actor != layout.actor)
        .ok_or(Rule::BadActor)?;
    if chunk.has_message || !chunk.extra.is_empty() {
        return Err(Rule::Extras);
    }
    // Automerge writes dependencies sorted, so others would be renamed by a save.
    if chunk.deps.is_empty() || !chunk.deps.is_sorted_by(|one, next| one < next) {
        return Err(Rule::BadDependencies);
    }
    let counted = operations::count(&chunk.columns).map_err(|_| Rule::Undecodable)?;
    if counted.rows == 0
        || counted.rows > CHANGE_OPS_MAX as u64
        || counted.replaced > CHANGE_REPLACED_MAX as u64
    {
        return Err(Rule::OperationCount);
    }
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let change = automerge::Change::try_from(bytes).map_err(|_| Rule::Undecodable)?;
        if change.is_empty() || change.len() > CHANGE_OPS_MAX {
            return Err(Rule::OperationCount);
        }
        if !change
            .decode()
            .operations
            .iter()
            .all(|op| layout.allows(op))
        {
            return Err(Rule::ForbiddenOperation);
        }
        Ok(change)
    }));
    let change = decoded.unwrap_or(Err(Rule::Undecodable))?;
    Ok(Sound {
        hash: chunk.hash,
        deps: chunk.deps,
        actor,
        seq: chunk.seq,
        start_op: chunk.start_op,
        max_op: chunk
            .start_op
            .checked_add(change.len() as u64 - 1)
            .ok_or(Rule::WrongStart)?,
        change,
    })
}
