//! Reads an Automerge document into plain values.
//!
//! The order of conflicting values is fixed: by op id (counter, then actor), the winner first. A
//! container deeper than [`NESTING_MAX`] reads as empty, so that no document can overflow the stack.

use std::borrow::Cow;
use std::collections::BTreeMap;

use automerge::{
    Automerge, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue, ScalarValueRef, ValueRef,
};
use gridbeat_base::ChangeHash;

use crate::change::hash_of;
use crate::{Field, NESTING_MAX, Origin, Provenance, Value, View};

/// Reads the whole document.
pub(crate) fn view(automerge: &Automerge, provenance: &dyn Fn(&ChangeHash) -> Provenance) -> View {
    let origins = automerge
        .get_changes_meta(&[])
        .into_iter()
        .map(|change| {
            let hash = hash_of(change.hash);
            let origin = Origin {
                change: hash,
                time_s: change.timestamp,
                provenance: provenance(&hash),
            };
            (hash, origin)
        })
        .collect();
    let reader = Reader { automerge, origins };
    View {
        root: reader.map(&ROOT, 0),
    }
}

struct Reader<'a> {
    automerge: &'a Automerge,
    origins: BTreeMap<ChangeHash, Origin>,
}

impl Reader<'_> {
    fn map(&self, object: &ObjId, depth: usize) -> BTreeMap<String, Field> {
        let mut map = BTreeMap::new();
        for entry in self.automerge.map_range(object, ..) {
            let id = entry.id();
            let conflicts = if entry.conflict {
                self.conflicts(object, Prop::from(entry.key.as_ref()), depth)
            } else {
                Vec::new()
            };
            let field = Field {
                value: self.value(entry.value, &id, depth),
                origin: self.origin(&id),
                conflicts,
            };
            map.insert(entry.key.into_owned(), field);
        }
        map
    }

    fn list(&self, object: &ObjId, depth: usize) -> Vec<Field> {
        self.automerge
            .list_range(object, ..)
            .map(|entry| {
                let id = entry.id();
                let conflicts = if entry.conflict {
                    self.conflicts(object, Prop::from(entry.index), depth)
                } else {
                    Vec::new()
                };
                Field {
                    value: self.value(entry.value, &id, depth),
                    origin: self.origin(&id),
                    conflicts,
                }
            })
            .collect()
    }

    /// Reads every value of a place but the winner, which Automerge lists last.
    fn conflicts(&self, object: &ObjId, place: Prop, depth: usize) -> Vec<(Value, Origin)> {
        let all = self.automerge.get_all(object, place).unwrap_or_default();
        all.into_iter()
            .rev()
            .skip(1)
            .map(|(value, id)| {
                let value = match value {
                    automerge::Value::Object(sort) => self.container(sort, &id, depth),
                    automerge::Value::Scalar(value) => owned_scalar(value),
                };
                (value, self.origin(&id))
            })
            .collect()
    }

    fn value(&self, value: ValueRef<'_>, id: &ObjId, depth: usize) -> Value {
        match value {
            ValueRef::Object(sort) => self.container(sort, id, depth),
            ValueRef::Scalar(value) => scalar(value),
        }
    }

    fn container(&self, sort: ObjType, object: &ObjId, depth: usize) -> Value {
        let inside = depth < NESTING_MAX;
        match sort {
            ObjType::Text => Value::Text(self.automerge.text(object).unwrap_or_default()),
            ObjType::Map | ObjType::Table if inside => Value::Map(self.map(object, depth + 1)),
            ObjType::Map | ObjType::Table => Value::Map(BTreeMap::new()),
            ObjType::List if inside => Value::List(self.list(object, depth + 1)),
            ObjType::List => Value::List(Vec::new()),
        }
    }

    fn origin(&self, id: &ObjId) -> Origin {
        self.automerge
            .hash_for_opid(id)
            .and_then(|hash| self.origins.get(&hash_of(hash)))
            .cloned()
            .expect("every op of a document belongs to one of its changes")
    }
}

/// Returns whether two documents read the same: the same values at every place, conflicts included, written by the
/// same changes.
pub(crate) fn is_alike(one: &Automerge, other: &Automerge) -> bool {
    Pair { one, other }.same_map(&ROOT, 0)
}

/// Two documents that are read side by side, each as [`Reader`] reads one.
#[derive(Clone, Copy)]
struct Pair<'a> {
    one: &'a Automerge,
    other: &'a Automerge,
}

/// What stands at one place of a document: the value, who wrote it, and whether others stand beside it.
type Entry<'v> = (&'v ValueRef<'v>, ObjId, bool);

impl Pair<'_> {
    fn same_map(self, object: &ObjId, depth: usize) -> bool {
        let mut others = self.other.map_range(object, ..);
        let are_same = self.one.map_range(object, ..).all(|entry| {
            others.next().is_some_and(|other| {
                let one = (&entry.value, entry.id(), entry.conflict);
                let place = || Prop::from(entry.key.as_ref());
                entry.key == other.key
                    && self.same_entry(one, (&other.value, other.id(), other.conflict), depth)
                    && (!entry.conflict || self.same_conflicts(object, &place(), depth))
            })
        });
        are_same && others.next().is_none()
    }

    fn same_list(self, object: &ObjId, depth: usize) -> bool {
        let mut others = self.other.list_range(object, ..);
        let are_same = self.one.list_range(object, ..).all(|entry| {
            others.next().is_some_and(|other| {
                let one = (&entry.value, entry.id(), entry.conflict);
                self.same_entry(one, (&other.value, other.id(), other.conflict), depth)
                    && (!entry.conflict
                        || self.same_conflicts(object, &Prop::from(entry.index), depth))
            })
        });
        are_same && others.next().is_none()
    }

    fn same_entry(self, one: Entry<'_>, other: Entry<'_>, depth: usize) -> bool {
        let ((value, id, conflict), (other_value, other_id, other_conflict)) = (one, other);
        value == other_value
            && conflict == other_conflict
            && self.same_writer(&id, &other_id)
            && match value {
                ValueRef::Object(sort) => self.same_container(*sort, &id, depth),
                ValueRef::Scalar(_) => true,
            }
    }

    fn same_conflicts(self, object: &ObjId, place: &Prop, depth: usize) -> bool {
        let all = |automerge: &Automerge| {
            let all = automerge.get_all(object, place.clone());
            all.unwrap_or_default()
                .into_iter()
                .map(|(value, id)| (value.into_owned(), id))
                .collect::<Vec<_>>()
        };
        let (one, other) = (all(self.one), all(self.other));
        one.len() == other.len()
            && one.iter().zip(&other).all(|((value, id), other)| {
                *value == other.0
                    && self.same_writer(id, &other.1)
                    && match value {
                        automerge::Value::Object(sort) => self.same_container(*sort, id, depth),
                        automerge::Value::Scalar(_) => true,
                    }
            })
    }

    fn same_container(self, sort: ObjType, object: &ObjId, depth: usize) -> bool {
        let inside = depth < NESTING_MAX;
        match sort {
            ObjType::Text => self.one.text(object).ok() == self.other.text(object).ok(),
            ObjType::Map | ObjType::Table => !inside || self.same_map(object, depth + 1),
            ObjType::List => !inside || self.same_list(object, depth + 1),
        }
    }

    fn same_writer(self, id: &ObjId, other: &ObjId) -> bool {
        let hash = self.one.hash_for_opid(id);
        id == other && hash.is_some() && hash == self.other.hash_for_opid(other)
    }
}

fn scalar(value: ScalarValueRef<'_>) -> Value {
    match value {
        ScalarValueRef::Bytes(bytes) => Value::Bytes(bytes.into_owned()),
        ScalarValueRef::Str(text) => Value::Str(text.into_owned()),
        ScalarValueRef::Int(number) => Value::Int(number),
        ScalarValueRef::Uint(number) => Value::Uint(number),
        ScalarValueRef::F64(number) => Value::F64(number),
        ScalarValueRef::Counter(number) => Value::Counter(number),
        ScalarValueRef::Timestamp(time) => Value::Time(time),
        ScalarValueRef::Boolean(value) => Value::Bool(value),
        // The gate lets no value of a type unknown to this version in.
        ScalarValueRef::Unknown { .. } | ScalarValueRef::Null => Value::Null,
    }
}

fn owned_scalar(value: Cow<'_, ScalarValue>) -> Value {
    match value.into_owned() {
        ScalarValue::Bytes(bytes) => Value::Bytes(bytes),
        ScalarValue::Str(text) => Value::Str(text.to_string()),
        ScalarValue::Int(number) => Value::Int(number),
        ScalarValue::Uint(number) => Value::Uint(number),
        ScalarValue::F64(number) => Value::F64(number),
        ScalarValue::Counter(number) => Value::Counter(i64::from(&number)),
        ScalarValue::Timestamp(time) => Value::Time(time),
        ScalarValue::Boolean(value) => Value::Bool(value),
        ScalarValue::Unknown { .. } | ScalarValue::Null => Value::Null,
    }
}
