//! An incident as screens show it: the state folded from its facts, the fields with their conflicts.

use gridbeat_base::{BlobHash, DeviceId, Position, WallTime};
use gridbeat_document::{Value, View};
use serde::{Deserialize, Serialize};

use super::photo::Photo;
use super::value::{read_bytes, read_position, read_severity};
use super::{
    ADDRESS, CATEGORY, DESCRIPTION, PHOTOS, POSITION, PhotoRole, SEVERITY, Severity, StepFact,
};
use crate::{Category, FactTimes, State, Step, fact};

/// An incident as screens show it; the JSON in a record's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentView {
    /// Where it stands.
    pub state: State,
    /// What is wrong; `None` if no readable category was ever set.
    pub category: Option<Category>,
    /// What was seen.
    pub description: String,
    /// Where, in words.
    pub address: String,
    /// Where, on the ground.
    pub position: Option<Position>,
    /// How bad it is.
    pub severity: Severity,
    /// Photos by hash, in order of time.
    pub photos: Vec<PhotoView>,
    /// The history, in its order.
    pub steps: Vec<StepView>,
    /// The fields with more than one concurrent value.
    pub conflicts: Vec<ConflictView>,
    /// How many entries could not be read.
    pub unreadable: u32,
}

/// A photo as screens show it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct PhotoView {
    /// The photo's hash.
    pub hash: BlobHash,
    /// What it shows.
    pub role: PhotoRole,
    /// Where it was taken.
    pub position: Option<Position>,
    /// When it was taken, by the device's clock.
    pub taken: WallTime,
    /// The hash of a smaller picture of it, for a screen, if whoever took it made one. Nothing says that it shows the same:
    /// what counts is the photo itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<BlobHash>,
    /// That of a picture of it for lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<BlobHash>,
}

/// One fact of the history as screens show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// The fact's id.
    pub id: String,
    /// What was done.
    pub step: Step,
    /// What was said.
    pub note: String,
    /// The unit it concerns.
    pub unit: Option<String>,
    /// Who acted.
    pub by: String,
    /// With which device.
    pub device: DeviceId,
    /// When, by every clock.
    pub times: FactTimes,
    /// When the relay received it; `None` while its place in the order is provisional.
    pub received: Option<WallTime>,
    /// Whether the table allows it at its place; if not, it needs attention and changed no state.
    pub legal: bool,
    /// The state after it.
    pub state: State,
}

/// A field with more than one concurrent value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConflictView {
    /// The field.
    pub field: String,
    /// Every value, the one shown by default first.
    pub values: Vec<ConflictValue>,
}

/// One of the concurrent values of a field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConflictValue {
    /// The value, in the words or JSON of its field.
    pub value: serde_json::Value,
    /// The device that wrote it, where known.
    pub device: Option<DeviceId>,
    /// When, in seconds since 1970 by its author's clock.
    pub time_s: i64,
}

impl IncidentView {
    pub(super) fn of(view: &View) -> Self {
        let (facts, mut unreadable) = fact::read::<StepFact>(view);
        let mut state = State::Draft;
        let mut steps = Vec::with_capacity(facts.len());
        for placed in facts {
            let next = state.after(placed.fact.what.step);
            state = next.unwrap_or(state);
            steps.push(StepView {
                id: placed.id,
                step: placed.fact.what.step,
                note: placed.fact.what.note,
                unit: placed.fact.what.unit,
                by: placed.fact.by,
                device: placed.fact.device,
                times: placed.fact.times,
                received: placed.received,
                legal: next.is_some(),
                state,
            });
        }
        let mut photos = Vec::new();
        for (hash, field) in view.entries(&[PHOTOS]) {
            match (hash.parse::<BlobHash>(), read_bytes::<Photo>(&field.value)) {
                (Ok(hash), Some(photo)) => photos.push(PhotoView {
                    hash,
                    role: photo.role,
                    position: photo.position.filter(|position| position.is_valid()),
                    taken: photo.taken,
                    preview: photo.preview,
                    thumbnail: photo.thumbnail,
                }),
                _ => unreadable += 1,
            }
        }
        photos.sort_by_key(|photo| (photo.taken, *photo.hash.bytes()));
        let value = |key: &str| view.field(&[key]).map(|field| &field.value);
        Self {
            state,
            category: value(CATEGORY).and_then(read_bytes),
            description: view.text(&[DESCRIPTION]).into(),
            address: view.text(&[ADDRESS]).into(),
            position: value(POSITION).and_then(read_position),
            severity: value(SEVERITY).and_then(read_severity).unwrap_or_default(),
            photos,
            steps,
            conflicts: conflicts(view),
            unreadable,
        }
    }

    /// Counts what a person should settle: conflicting fields, steps out of place, entries that
    /// cannot be read.
    pub fn attention(&self) -> u32 {
        let marked = self.steps.iter().filter(|step| !step.legal).count();
        u32::try_from(self.conflicts.len() + marked)
            .unwrap_or(u32::MAX)
            .saturating_add(self.unreadable)
    }
}

fn conflicts(view: &View) -> Vec<ConflictView> {
    let mut found = Vec::new();
    for key in [CATEGORY, POSITION, SEVERITY] {
        let Some(field) = view.field(&[key]) else {
            continue;
        };
        let all = || {
            core::iter::once((&field.value, &field.origin)).chain(
                field
                    .conflicts
                    .iter()
                    .map(|(value, origin)| (value, origin)),
            )
        };
        // Two people who chose the same are not in conflict.
        if all().all(|(value, _)| *value == field.value) {
            continue;
        }
        let values = all().map(|(value, origin)| ConflictValue {
            value: shown(key, value),
            device: origin.provenance.author,
            time_s: origin.time_s,
        });
        found.push(ConflictView {
            field: key.into(),
            values: values.collect(),
        });
    }
    found
}

fn shown(key: &str, value: &Value) -> serde_json::Value {
    let json = match key {
        CATEGORY => serde_json::to_value(read_bytes::<Category>(value)),
        POSITION => serde_json::to_value(read_position(value)),
        _ => serde_json::to_value(read_severity(value)),
    };
    json.unwrap_or_default()
}
