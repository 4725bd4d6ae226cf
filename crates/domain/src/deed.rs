//! What one change did to a record, in words of both languages: for an inquiry, long afterwards.
//!
//! A kind's view is compared before and after the change. Facts name who acted and when by which clock; fields
//! and texts have only the change's own time. Not here: who brought the change, or who has read it.

use gridbeat_base::{BlobHash, ChangeHash, Position};
use gridbeat_document::{Field, Value, View};

use crate::fact::FACTS;
use crate::{FactTimes, incident, patrol};

/// One thing that a change did.
#[derive(Clone, Debug, PartialEq)]
pub struct Deed {
    /// What, in English.
    pub en: String,
    /// What, in Chinese.
    pub zh: String,
    /// Who acted, as the app names people; empty where the record does not say.
    pub by: String,
    /// When it happened, by every clock; `None` for a field or a text.
    pub times: Option<FactTimes>,
}

impl Deed {
    pub(crate) fn plain(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self {
            en: en.into(),
            zh: zh.into(),
            by: String::new(),
            times: None,
        }
    }
}

/// Tells what a change did, given the document's view before it and after it.
///
/// Of a kind that is not of this crate nothing is told. Any bytes are told of in some words.
pub fn deeds(kind: &str, before: &View, after: &View, change: &ChangeHash) -> Vec<Deed> {
    match kind {
        "incident" => incident::deeds(before, after, change),
        "patrol" => patrol::deeds(after, change),
        _ => Vec::new(),
    }
}

/// Finds the facts that a change added.
pub(crate) fn facts_of<'v>(
    view: &'v View,
    change: &ChangeHash,
) -> impl Iterator<Item = Option<&'v [u8]>> {
    let change = *change;
    let added = view.entries(&[FACTS]);
    let added = added.filter(move |(_, field)| field.origin.change == change);
    added.map(|(_, field)| {
        if let Value::Bytes(bytes) = &field.value {
            Some(bytes.as_slice())
        } else {
            None
        }
    })
}

/// Finds the value that a change put into a field, even if another one is shown.
pub(crate) fn put_by<'f>(field: &'f Field, change: &ChangeHash) -> Option<&'f Value> {
    let shown = core::iter::once((&field.value, &field.origin));
    let others = field
        .conflicts
        .iter()
        .map(|(value, origin)| (value, origin));
    let mut all = shown.chain(others);
    all.find_map(|(value, origin)| (origin.change == *change).then_some(value))
}

/// A note behind what was done, if there is one.
pub(crate) fn noted(note: &str) -> (String, String) {
    if note.is_empty() {
        (String::new(), String::new())
    } else {
        (format!(": “{note}”"), format!("：“{note}”"))
    }
}

pub(crate) fn place(position: Position) -> String {
    format!(
        "{:.7}, {:.7}",
        position.latitude_deg(),
        position.longitude_deg()
    )
}

/// The first digits of a blob's hash, as people compare them.
pub(crate) fn short(hash: &BlobHash) -> String {
    hash.to_string().chars().take(12).collect()
}

pub(crate) fn unreadable() -> Deed {
    Deed::plain("an entry that cannot be read", "无法读取的条目")
}
