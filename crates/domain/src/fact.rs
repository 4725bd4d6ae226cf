//! What happened, as immutable entries, and the order they are read in.
//!
//! A fact is one entry in a document's `facts` map: a random id and one value of bytes, written
//! once and never again, so that merging is adding. Its time is kept three times over; the order of
//! facts follows the hybrid logical stamp, bounded by the relay's time of receipt.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{DeviceId, Hlc, WallTime};
use gridbeat_document::{Edit, Field, Refusal, Scalar, Stamp, Value, View, Words};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// How far after its receipt an accepted fact may still claim to have happened.
///
/// Source: the engine's rules, section 6: a fact is ordered by the smaller of its stamp and its
/// receipt plus five minutes, so that no clock that runs ahead wins.
pub const FOLD_SLACK: Duration = Duration::from_secs(5 * 60);

/// Largest encoded fact: a note of 4,000 CJK characters with its frame fits.
pub(crate) const FACT_BYTES_MAX: usize = 16 * 1024;

/// The key of the map that holds a document's facts.
pub(crate) const FACTS: &str = "facts";

/// When something happened, by every clock that was there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct FactTimes {
    /// The stamp that orders it.
    #[n(0)]
    pub hlc: Hlc,
    /// The device's wall clock.
    #[n(1)]
    pub device: WallTime,
    /// The satellite's time, where a fix gave one.
    #[n(2)]
    pub gps: Option<WallTime>,
    /// Relay's clock minus the device's, in milliseconds, when it was last measured.
    #[n(3)]
    pub relay_offset_ms: Option<i64>,
}

impl FactTimes {
    fn of(stamp: &Stamp, gps: Option<WallTime>) -> Self {
        Self {
            hlc: stamp.hlc,
            device: stamp.wall,
            gps,
            relay_offset_ms: stamp.relay_offset_ms,
        }
    }

    /// Returns the best estimate of the true time: the satellite's, else the device's corrected by
    /// the relay's offset, else the device's as it was.
    pub fn best(&self) -> WallTime {
        match (self.gps, self.relay_offset_ms) {
            (Some(gps), _) => gps,
            (None, Some(offset)) => WallTime(self.device.millis().saturating_add(offset)),
            (None, None) => self.device,
        }
    }
}

/// A fact as it lies in the document; `T` is the kind's own part.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
pub(crate) struct Fact<T> {
    #[n(0)]
    pub(crate) times: FactTimes,
    /// The device that added it; the gate holds it to be the change's author.
    #[n(1)]
    pub(crate) device: DeviceId,
    /// The person who acted, as the app names people.
    #[n(2)]
    pub(crate) by: String,
    #[n(3)]
    pub(crate) what: T,
}

/// A fact with its id and its place in the order.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) id: String,
    pub(crate) fact: Fact<T>,
    /// When the relay received it; `None` while its order is provisional.
    pub(crate) received: Option<WallTime>,
    order: Hlc,
}

/// Adds a fact to a document, under the action's own id.
pub(crate) fn add<T: Encode<()>>(
    edit: &mut Edit<'_>,
    stamp: &Stamp,
    by: &str,
    gps: Option<WallTime>,
    what: T,
) {
    let fact = Fact {
        times: FactTimes::of(stamp, gps),
        device: stamp.device,
        by: by.into(),
        what,
    };
    let bytes = minicbor::to_vec(&fact).expect("writing to memory does not fail");
    edit.put(&[FACTS, &hex(&stamp.fact)], Scalar::Bytes(bytes));
}

/// Reads a document's facts in their order; the second part counts those that cannot be read.
pub(crate) fn read<T: for<'b> Decode<'b, ()>>(view: &View) -> (Vec<Placed<T>>, u32) {
    let mut unreadable = 0;
    let mut facts = Vec::new();
    for (id, field) in view.entries(&[FACTS]) {
        let Value::Bytes(bytes) = &field.value else {
            unreadable += 1;
            continue;
        };
        match minicbor::decode::<Fact<T>>(bytes) {
            Ok(fact) => {
                let received = field.origin.provenance.received;
                let latest = received.map(|at| Hlc::at(at.plus(FOLD_SLACK)));
                let order = latest.map_or(fact.times.hlc, |latest| latest.min(fact.times.hlc));
                facts.push(Placed {
                    id: id.to_owned(),
                    fact,
                    received,
                    order,
                });
            }
            Err(_) => unreadable += 1,
        }
    }
    facts.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
    (facts, unreadable)
}

/// Holds the rules that every kind made of facts shares: none is changed or taken away, none is
/// too large, and every added one names the device that added it.
pub(crate) fn admit<T: for<'b> Decode<'b, ()>>(
    before: &View,
    after: &View,
    author: DeviceId,
) -> Result<(), Refusal> {
    let old: BTreeMap<_, _> = before
        .entries(&[FACTS])
        .map(|(id, f)| (id, &f.value))
        .collect();
    let new: BTreeMap<_, _> = after.entries(&[FACTS]).collect();
    for (id, value) in &old {
        let kept = new
            .get(id)
            .is_some_and(|field| field.value == **value && is_one(field));
        if !kept {
            return Err(refuse(
                "fact_changed",
                "a fact was changed or removed",
                "既有事实被修改或删除",
            ));
        }
    }
    for (id, field) in new.iter().filter(|(id, _)| !old.contains_key(*id)) {
        // Two changes of one push may be looked at together: a second fact under the first one's id would hide
        // behind it.
        if !is_one(field) {
            return Err(refuse(
                "fact_changed",
                "a fact was changed or removed",
                "既有事实被修改或删除",
            ));
        }
        let Value::Bytes(bytes) = &field.value else {
            return Err(refuse(
                "fact_malformed",
                "a fact is not in its form",
                "事实格式不正确",
            ));
        };
        if bytes.len() > FACT_BYTES_MAX {
            return Err(refuse(
                "fact_too_large",
                "a fact is larger than 16 KiB",
                "单条事实超过16KB",
            ));
        }
        let named = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        let Ok(fact) = minicbor::decode::<Fact<T>>(bytes) else {
            return Err(refuse(
                "fact_malformed",
                "a fact is not in its form",
                "事实格式不正确",
            ));
        };
        if !named {
            return Err(refuse(
                "fact_malformed",
                "a fact is not in its form",
                "事实格式不正确",
            ));
        }
        if fact.device != author {
            return Err(refuse(
                "fact_of_another",
                "a fact names a device that did not write it",
                "事实署名与提交设备不符",
            ));
        }
    }
    Ok(())
}

/// Returns whether a fact says one thing: the same one may have been written twice.
fn is_one(field: &Field) -> bool {
    field
        .conflicts
        .iter()
        .all(|(value, _)| *value == field.value)
}

/// Returns what the facts say that came between two views, as far as they can be read.
pub(crate) fn added<T: for<'b> Decode<'b, ()>>(
    before: &View,
    after: &View,
) -> impl Iterator<Item = T> {
    let old: BTreeSet<_> = before.entries(&[FACTS]).map(|(id, _)| id).collect();
    let added = after.entries(&[FACTS]);
    let added = added.filter(move |(id, _)| !old.contains(id));
    added.filter_map(|(_, field)| {
        let Value::Bytes(bytes) = &field.value else {
            return None;
        };
        Some(minicbor::decode::<Fact<T>>(bytes).ok()?.what)
    })
}

/// Returns whether two views differ in anything but facts.
pub(crate) fn has_other_differences(before: &View, after: &View) -> bool {
    let others = |view: &View| -> BTreeMap<String, Field> {
        let root = view.root.iter().filter(|(key, _)| *key != FACTS);
        root.map(|(key, field)| (key.clone(), field.clone()))
            .collect()
    };
    others(before) != others(after)
}

pub(crate) const fn refuse(rule: &'static str, en: &'static str, zh: &'static str) -> Refusal {
    Refusal {
        rule,
        words: Words { en, zh },
    }
}

fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use gridbeat_base::ChangeHash;
    use gridbeat_document::{Origin, Provenance};

    use super::*;

    fn view(values: &[&[u8]]) -> View {
        let origin = Origin {
            change: ChangeHash::from_bytes([1; 32]),
            time_s: 0,
            provenance: Provenance::default(),
        };
        let mut values = values
            .iter()
            .map(|bytes| (Value::Bytes(bytes.to_vec()), origin.clone()));
        let field = values.next().map(|(value, origin)| Field {
            value,
            origin,
            conflicts: values.collect(),
        });
        let facts: BTreeMap<_, _> = field.map(|it| (hex(&[7; 16]), it)).into_iter().collect();
        let facts = Field {
            value: Value::Map(facts),
            origin,
            conflicts: Vec::new(),
        };
        View {
            root: BTreeMap::from([(FACTS.to_owned(), facts)]),
        }
    }

    fn fact(device: u8, what: u8) -> Vec<u8> {
        let at = WallTime(1_790_000_000_000);
        let fact = Fact {
            times: FactTimes {
                hlc: Hlc::at(at),
                device: at,
                gps: None,
                relay_offset_ms: None,
            },
            device: DeviceId::from_bytes([device; 16]),
            by: "赵巡查".into(),
            what,
        };
        minicbor::to_vec(fact).unwrap()
    }

    fn ruled(before: &[&[u8]], after: &[&[u8]]) -> Option<&'static str> {
        let author = DeviceId::from_bytes([1; 16]);
        let admitted = admit::<u8>(&view(before), &view(after), author);
        admitted.err().map(|refusal| refusal.rule)
    }

    #[test]
    fn a_fact_that_hides_behind_another_of_the_same_push_is_refused() {
        let (own, another, colleagues, noise) =
            (fact(1, 1), fact(1, 2), fact(2, 1), Vec::from([0]));
        assert_eq!(ruled(&[], &[&own]), None);
        assert_eq!(ruled(&[], &[&own, &own]), None, "written twice");
        for hidden in [&another, &colleagues, &noise] {
            assert_eq!(ruled(&[], &[&own, hidden]), Some("fact_changed"));
            assert_eq!(ruled(&[&own], &[&own, hidden]), Some("fact_changed"));
        }
        assert_eq!(ruled(&[], &[&colleagues]), Some("fact_of_another"));
    }
}
