//! What can be said of a change from its bytes alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpType};
use automerge::{ObjType, ReadDoc as _, ScalarValue};
use gridbeat_base::ChangeHash;

use super::{Rule, operations};
use crate::chunk::Chunk;
use crate::contain::contained;
use crate::edit::COUNTER_STEP_MAX;
use crate::limits::CHANGE_REPLACED_MAX;
use crate::{Actor, CHANGE_BYTES_MAX, CHANGE_OPS_MAX, Document, genesis};

/// The times a change may have, in seconds: all that milliseconds in 64 bits reach, so no clock is refused.
/// Automerge sums differences of times without looking whether they fit.
const TIMES_S: RangeInclusive<i64> = i64::MIN / 1_000..=i64::MAX / 1_000;

/// Last place where a change may start: Automerge counts operations in 32 bits, and stops for good
/// when they are used up.
const START_OP_MAX: u64 = u32::MAX as u64 - CHANGE_OPS_MAX as u64;

/// A container or a counter that a genesis laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sort {
    Map,
    List,
    Text,
    Counter,
}

/// What the genesis of a document laid out: the only containers there are, and their places, into
/// which no change may put anything else.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    actor: Actor,
    /// The containers by the number of the op that made them; `None` is the root.
    objects: BTreeMap<Option<u64>, Sort>,
    /// What stands where: container and key.
    places: BTreeMap<(Option<u64>, String), Sort>,
}

impl Layout {
    pub(crate) fn of(document: &Document) -> Self {
        let mut layout = Self {
            actor: genesis::actor(document.kind.name(), document.schema_version),
            objects: BTreeMap::from([(None, Sort::Map)]),
            places: BTreeMap::new(),
        };
        let change = document
            .automerge
            .get_change_by_hash(&automerge::ChangeHash(*document.genesis.bytes()))
            .expect("every document holds its genesis");
        let ids = change.start_op().get()..;
        for (id, op) in ids.zip(change.decode().operations) {
            let sort = match op.action {
                OpType::Make(ObjType::Map | ObjType::Table) => Sort::Map,
                OpType::Make(ObjType::List) => Sort::List,
                OpType::Make(ObjType::Text) => Sort::Text,
                OpType::Put(_)
                | OpType::Delete
                | OpType::Increment(_)
                | OpType::MarkBegin(_)
                | OpType::MarkEnd(_) => Sort::Counter,
            };
            if sort != Sort::Counter {
                layout.objects.insert(Some(id), sort);
            }
            if let (Some(object), Key::Map(key)) = (layout.object(&op.obj), &op.key) {
                layout.places.insert((object, key.to_string()), sort);
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
    fn allows(&self, op: &Op) -> bool {
        // Containers are made only in the genesis, so an object of another's is none.
        let Some(object) = self.object(&op.obj) else {
            return false;
        };
        let (in_text, place) = match (self.objects.get(&object), &op.key) {
            (Some(Sort::Map), Key::Map(key)) if !op.insert => {
                (false, self.places.get(&(object, key.to_string())))
            }
            (Some(Sort::List), Key::Seq(_)) => (false, None),
            (Some(Sort::Text), Key::Seq(_)) => (true, None),
            (Some(Sort::Map | Sort::List | Sort::Text | Sort::Counter) | None, _) => return false,
        };
        match &op.action {
            OpType::Put(ScalarValue::Str(letter)) => {
                place.is_none() && !(in_text && letter.is_empty())
            }
            OpType::Put(value) => place.is_none() && !in_text && !is_odd(value),
            OpType::Delete => place.is_none() && !op.insert,
            OpType::Increment(by) => {
                place == Some(&Sort::Counter) && by.unsigned_abs() <= COUNTER_STEP_MAX
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

/// The name of an op: where it counts, and who made it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct OpName {
    pub(super) counter: u64,
    pub(super) actor: Vec<u8>,
}

/// Adds the ops that an op refers to, but for earlier ones of its own change.
fn refer(own: &OpName, start_op: u64, op: &Op, refers: &mut BTreeSet<OpName>) {
    let element = match &op.key {
        Key::Seq(ElementId::Id(id)) => Some(id),
        Key::Seq(ElementId::Head) | Key::Map(_) => None,
    };
    for id in element.into_iter().chain(op.pred.iter()) {
        let is_own = id.actor().to_bytes() == own.actor;
        if !is_own || !(start_op..own.counter).contains(&id.counter()) {
            refers.insert(OpName {
                counter: id.counter(),
                actor: id.actor().to_bytes().to_vec(),
            });
        }
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
    /// The ops of other changes that its own replace or stand beside.
    pub(super) refers: BTreeSet<OpName>,
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
    ) -> Result<Self, (Option<ChangeHash>, Rule)> {
        if bytes.len() > CHANGE_BYTES_MAX {
            return Err((None, Rule::TooBig));
        }
        let chunk = Chunk::parse(bytes).map_err(|error| (None, Rule::NotAChange(error)))?;
        if document.contains(&chunk.hash) {
            return Ok(Self::Known(chunk.hash));
        }
        let hash = chunk.hash;
        sound(bytes, chunk, document.layout())
            .map(|sound| Self::Sound(Box::new(sound)))
            .map_err(|rule| (Some(hash), rule))
    }
}

fn sound(bytes: &[u8], chunk: Chunk<'_>, layout: &Layout) -> Result<Sound, Rule> {
    let counted = operations::count(&chunk.columns).map_err(|_| Rule::Undecodable)?;
    if counted.rows == 0
        || counted.rows > CHANGE_OPS_MAX as u64
        || counted.replaced > CHANGE_REPLACED_MAX as u64
    {
        return Err(Rule::OperationCount);
    }
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
    if !TIMES_S.contains(&chunk.time) {
        return Err(Rule::TimeOutOfRange);
    }
    if chunk.start_op == 0 || chunk.start_op > START_OP_MAX {
        return Err(Rule::WrongStart);
    }
    let decoded = contained(|| {
        let change = automerge::Change::try_from(bytes).map_err(|_| Rule::Undecodable)?;
        if change.is_empty() || change.len() > CHANGE_OPS_MAX {
            return Err(Rule::OperationCount);
        }
        let mut refers = BTreeSet::new();
        let ids = chunk.start_op..;
        for (counter, op) in ids.zip(change.decode().operations) {
            if !layout.allows(&op) {
                return Err(Rule::ForbiddenOperation);
            }
            let own = OpName {
                counter,
                actor: chunk.actor.to_vec(),
            };
            refer(&own, chunk.start_op, &op, &mut refers);
        }
        Ok((change, refers))
    });
    let (change, refers) = decoded.unwrap_or(Err(Rule::Undecodable))?;
    Ok(Sound {
        hash: chunk.hash,
        deps: chunk.deps,
        actor,
        seq: chunk.seq,
        start_op: chunk.start_op,
        max_op: change.max_op(),
        refers,
        change,
    })
}
