//! A document's content as plain values, conflicts included.
//!
//! A view is read once from the Automerge document and then stands alone: kinds fold and project
//! it without ever meeting Automerge. Every value says which change wrote it, so that an accepted
//! fact can be ordered by its receipt.

use std::collections::BTreeMap;

use gridbeat_base::{ChangeHash, DeviceId, WallTime};

/// What the root map of a document holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The root's entries, by key.
    pub root: BTreeMap<String, Field>,
}

impl View {
    /// Returns whether nothing was ever put here: every container is empty, every counter at zero.
    pub fn is_blank(&self) -> bool {
        self.root.values().all(|field| field.value.is_blank())
    }

    /// Finds a field by its path from the root; `None` if any step is missing or not a map.
    pub fn field(&self, path: &[&str]) -> Option<&Field> {
        let (last, parents) = path.split_last()?;
        let mut map = &self.root;
        for step in parents {
            let Value::Map(inner) = &map.get(*step)?.value else {
                return None;
            };
            map = inner;
        }
        map.get(*last)
    }

    /// Returns a map's entries by its path; empty if there is no such map.
    pub fn entries(&self, path: &[&str]) -> impl Iterator<Item = (&str, &Field)> {
        let map = match self.field(path).map(|field| &field.value) {
            Some(Value::Map(map)) => Some(map),
            _ => None,
        };
        map.into_iter()
            .flatten()
            .map(|(key, field)| (key.as_str(), field))
    }

    /// Returns a text or string by its path; empty if there is none.
    pub fn text(&self, path: &[&str]) -> &str {
        match self.field(path).map(|field| &field.value) {
            Some(Value::Text(text) | Value::Str(text)) => text,
            _ => "",
        }
    }
}

/// One place in a document: the value that reads by default, and every concurrent one.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The value every replica reads by default.
    pub value: Value,
    /// Who wrote it, and when.
    pub origin: Origin,
    /// The other values written without knowledge of this one, in a fixed order; empty when settled.
    pub conflicts: Vec<(Value, Origin)>,
}

/// Which change wrote a value, by whom and when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The change.
    pub change: ChangeHash,
    /// The change's own time, in seconds since 1970 by its author's clock.
    pub time_s: i64,
    /// The author, and the relay's time of receipt, as far as known.
    pub provenance: Provenance,
}

/// What a log knows about a change beyond its bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Provenance {
    /// The device that made it; `None` for a genesis.
    pub author: Option<DeviceId>,
    /// When the relay received it; `None` until it is accepted.
    pub received: Option<WallTime>,
}

/// A plain value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating-point number.
    F64(f64),
    /// A string that is replaced as a whole.
    Str(String),
    /// Text that merges letter by letter.
    Text(String),
    /// Bytes that are replaced as a whole.
    Bytes(Vec<u8>),
    /// Milliseconds since 1970.
    Time(i64),
    /// A number that merges by adding.
    Counter(i64),
    /// A map.
    Map(BTreeMap<String, Field>),
    /// A list.
    List(Vec<Field>),
}

impl Value {
    fn is_blank(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Counter(count) => *count == 0,
            Self::Map(entries) => entries.values().all(|field| field.value.is_blank()),
            Self::List(items) => items.is_empty(),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Uint(_)
            | Self::F64(_)
            | Self::Str(_)
            | Self::Bytes(_)
            | Self::Time(_) => false,
        }
    }
}
