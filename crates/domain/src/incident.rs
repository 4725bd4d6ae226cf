//! The incident: fields that merge, facts that are added, a state that is folded.
//!
//! Description and address merge as text; category, position and severity keep every concurrent
//! value until someone settles them; photos and facts are entries that are only ever added. The
//! state is never stored: it is folded from the facts in their order through the table of steps.
//!
//! - `view`: the incident as screens show it
//! - `deed`: what one change did
//! - `photo`: the entry of a photo
//! - `value`: its single values as they stand in the document

use std::collections::BTreeSet;

use gridbeat_base::{BlobHash, Position, Verb, Verbs, WallTime};
use gridbeat_document::{
    Author, Edit, IntentError, Kind, Projection, Refusal, Skeleton, Stamp, View, Words,
};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::fact::{self, FACTS};
use crate::{Category, State, Step};

mod deed;
mod photo;
mod value;
mod view;

pub(crate) use deed::deeds;
use photo::Photo;
pub(crate) use value::position_scalar;
use value::{category_scalar, read_position, severity_scalar};
pub use view::{ConflictValue, ConflictView, IncidentView, PhotoView, StepView};

const ADDRESS: &str = "address";
const CATEGORY: &str = "category";
const DESCRIPTION: &str = "description";
const PHOTOS: &str = "photos";
const POSITION: &str = "position";
const SEVERITY: &str = "severity";

/// Longest description, in characters. It can be rewritten whole in one action: each letter that goes and
/// each that comes is an operation, and a change has 2,000 (`document::CHANGE_OPS_MAX`).
const DESCRIPTION_CHARS_MAX: usize = 900;

/// Longest address in words, in characters: several times the longest of a city's register.
const ADDRESS_CHARS_MAX: usize = 200;

/// Longest note of a step, in characters: two screens of a handset. A note is one value, never merged.
const NOTE_CHARS_MAX: usize = 4_000;

/// Longest text that merging may leave: several descriptions written at the same time stand side by side.
const MERGED_CHARS_MAX: usize = 4_000;

/// The kind `incident`.
#[derive(Clone, Copy, Debug, Default)]
pub struct IncidentKind;

/// What a person may want of an incident. JSON, tagged by `do`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum IncidentIntent {
    /// Report a new one. Only on a new document.
    Report {
        /// What is wrong.
        category: Category,
        /// What the person saw.
        description: String,
        /// Where, in words.
        #[serde(default)]
        address: String,
        /// Where, on the ground.
        #[serde(default)]
        position: Option<Position>,
        /// How bad it is.
        #[serde(default)]
        severity: Severity,
        /// Who reports.
        by: String,
        /// The satellite's time of the report.
        #[serde(default)]
        gps: Option<WallTime>,
    },
    /// Replace the description; concurrent edits merge letter by letter.
    Describe {
        /// The whole new text.
        description: String,
    },
    /// Replace the place.
    Locate {
        /// Where, in words; unchanged if absent.
        #[serde(default)]
        address: Option<String>,
        /// Where, on the ground; unchanged if absent.
        #[serde(default)]
        position: Option<Position>,
    },
    /// Replace the category, or settle a conflict over it.
    Recategorise {
        /// What is wrong.
        category: Category,
    },
    /// Replace the severity, or settle a conflict over it.
    Rate {
        /// How bad it is.
        severity: Severity,
    },
    /// Add a photo by its hash.
    AddPhoto {
        /// The photo's BLAKE3 hash.
        hash: BlobHash,
        /// What it shows.
        role: PhotoRole,
        /// Where it was taken.
        #[serde(default)]
        position: Option<Position>,
        /// The BLAKE3 hash of a smaller picture of it, for a screen; if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        preview: Option<BlobHash>,
        /// That of a picture of it for lists.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thumbnail: Option<BlobHash>,
    },
    /// Take a step of the flow, or add a note.
    Step {
        /// The step.
        step: Step,
        /// What the person has to say about it.
        #[serde(default)]
        note: String,
        /// The unit it concerns: where it is dispatched to, or who returns it.
        #[serde(default)]
        unit: Option<String>,
        /// Who acts.
        by: String,
        /// The satellite's time of the step.
        #[serde(default)]
        gps: Option<WallTime>,
    },
}

/// How bad an incident is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// 轻微: can wait for the next round.
    Minor,
    /// 一般: within the ordinary time limit.
    #[default]
    Ordinary,
    /// 严重: before the ordinary ones.
    Serious,
    /// 紧急: danger to people.
    Urgent,
}

/// What a photo shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum PhotoRole {
    /// 近景: the matter from near.
    #[n(0)]
    Near,
    /// 远景: the matter in its surroundings.
    #[n(1)]
    Far,
    /// 参照物: something to find the place by.
    #[n(2)]
    Reference,
    /// 处置前: before handling.
    #[n(3)]
    Before,
    /// 处置后: after handling, from the same viewpoint.
    #[n(4)]
    After,
}

/// The fact an incident's history is made of.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
struct StepFact {
    #[n(0)]
    step: Step,
    #[n(1)]
    note: String,
    #[n(2)]
    unit: Option<String>,
}

impl Kind for IncidentKind {
    fn name(&self) -> &'static str {
        "incident"
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn genesis(&self, _schema_version: u16, skeleton: &mut Skeleton<'_>) {
        skeleton.text(&[DESCRIPTION]);
        skeleton.text(&[ADDRESS]);
        skeleton.map(&[FACTS]);
        skeleton.map(&[PHOTOS]);
    }

    fn apply(
        &self,
        intent: &[u8],
        stamp: &Stamp,
        before: &View,
        edit: &mut Edit<'_>,
    ) -> Result<(), IntentError> {
        let intent: IncidentIntent = crate::read_intent(intent)?;
        check_texts(&intent)?;
        let state = IncidentView::of(before).state;
        let is_report = matches!(intent, IncidentIntent::Report { .. });
        if is_report != (state == State::Draft) {
            return Err(not_yet_or_twice(is_report));
        }
        apply(intent, state, stamp, before, edit)
    }

    fn blobs(&self, view: &View) -> BTreeSet<BlobHash> {
        photo::blobs(view)
    }

    fn project(&self, view: &View) -> Projection {
        let incident = IncidentView::of(view);
        let names = incident.category.as_ref();
        let mut text = [incident.description.as_str(), &incident.address].join("\n");
        for name in names.iter().flat_map(|c| [&c.zh, &c.en]) {
            text.push('\n');
            text.push_str(name);
        }
        for note in incident
            .steps
            .iter()
            .map(|step| &step.note)
            .filter(|note| !note.is_empty())
        {
            text.push('\n');
            text.push_str(note);
        }
        Projection {
            status: incident.state.id().into(),
            is_open: incident.state.is_open(),
            category: names.map(Category::key).unwrap_or_default(),
            position: incident.position,
            occurred: incident
                .steps
                .first()
                .map(|step| step.times.best())
                .unwrap_or_default(),
            text,
            attention: incident.attention(),
            body: serde_json::to_string(&incident).expect("a view has only string keys"),
        }
    }

    fn needs(&self, before: &View, after: &View) -> Verbs {
        let mut needed = Verbs::NONE;
        let mut reports = false;
        for fact in fact::added::<StepFact>(before, after) {
            reports |= fact.step == Step::Report;
            needed = needed.with(fact.step.verb());
        }
        // What a report says of the matter belongs to it; on whatever was there before it is an edit.
        if fact::has_other_differences(before, after) && !(reports && before.is_blank()) {
            needed = needed.with(Verb::Edit);
        }
        needed
    }

    fn admit(&self, before: &View, after: &View, author: &Author) -> Result<(), Refusal> {
        fact::admit::<StepFact>(before, after, author.device)?;
        for path in [DESCRIPTION, ADDRESS] {
            if after.text(&[path]).chars().count() > MERGED_CHARS_MAX {
                return Err(fact::refuse(
                    "text_too_long",
                    "a text is longer than 4,000 characters",
                    "文字超过4000字",
                ));
            }
        }
        photo::admit(before, after)?;
        let position = after.field(&[POSITION]).map(|field| &field.value);
        if position.is_some_and(|value| read_position(value).is_none()) {
            return Err(fact::refuse(
                "position_malformed",
                "the position is not on the globe",
                "位置不在有效范围内",
            ));
        }
        Ok(())
    }
}

fn check_texts(intent: &IncidentIntent) -> Result<(), IntentError> {
    let description_too_long = (
        "description_too_long",
        Words {
            en: "the description is longer than 900 characters: put the rest into a note",
            zh: "描述超过900字，其余内容请写入备注",
        },
    );
    let address_too_long = (
        "address_too_long",
        Words {
            en: "the address is longer than 200 characters",
            zh: "地址超过200字",
        },
    );
    let note_too_long = (
        "note_too_long",
        Words {
            en: "the note is longer than 4,000 characters",
            zh: "备注超过4000字",
        },
    );
    let texts: &[(&str, usize, _)] = match intent {
        IncidentIntent::Report {
            description,
            address,
            ..
        } => &[
            (description, DESCRIPTION_CHARS_MAX, description_too_long),
            (address, ADDRESS_CHARS_MAX, address_too_long),
        ],
        IncidentIntent::Describe { description } => {
            &[(description, DESCRIPTION_CHARS_MAX, description_too_long)]
        }
        IncidentIntent::Locate {
            address: Some(address),
            ..
        } => &[(address, ADDRESS_CHARS_MAX, address_too_long)],
        IncidentIntent::Step { note, .. } => &[(note, NOTE_CHARS_MAX, note_too_long)],
        IncidentIntent::Locate { address: None, .. }
        | IncidentIntent::Recategorise { .. }
        | IncidentIntent::Rate { .. }
        | IncidentIntent::AddPhoto { .. } => &[],
    };
    let too_long = texts
        .iter()
        .find(|(text, max, _)| text.chars().count() > *max);
    match too_long {
        Some((_, _, (rule, words))) => Err(IntentError::NotAllowed {
            rule,
            words: *words,
        }),
        None => Ok(()),
    }
}

fn apply(
    intent: IncidentIntent,
    state: State,
    stamp: &Stamp,
    before: &View,
    edit: &mut Edit<'_>,
) -> Result<(), IntentError> {
    match intent {
        IncidentIntent::Report {
            category,
            description,
            address,
            position,
            severity,
            by,
            gps,
        } => {
            edit.update_text(&[DESCRIPTION], &description);
            edit.update_text(&[ADDRESS], &address);
            edit.put(&[CATEGORY], category_scalar(&category));
            if let Some(position) = position {
                edit.put(&[POSITION], position_scalar(position));
            }
            edit.put(&[SEVERITY], severity_scalar(severity));
            let what = StepFact {
                step: Step::Report,
                note: String::new(),
                unit: None,
            };
            fact::add(edit, stamp, &by, gps, what);
        }
        IncidentIntent::Describe { description } => {
            edit.update_text(&[DESCRIPTION], &description);
        }
        IncidentIntent::Locate { address, position } => {
            if let Some(address) = address {
                edit.update_text(&[ADDRESS], &address);
            }
            if let Some(position) = position {
                edit.put(&[POSITION], position_scalar(position));
            }
        }
        IncidentIntent::Recategorise { category } => {
            edit.put(&[CATEGORY], category_scalar(&category));
        }
        IncidentIntent::Rate { severity } => edit.put(&[SEVERITY], severity_scalar(severity)),
        IncidentIntent::AddPhoto {
            hash,
            role,
            position,
            preview,
            thumbnail,
        } => {
            let photo = Photo {
                role,
                position,
                taken: stamp.wall,
                preview,
                thumbnail,
            };
            photo::add(before, edit, &hash, photo)?;
        }
        IncidentIntent::Step {
            step,
            note,
            unit,
            by,
            gps,
        } => {
            if state.after(step).is_none() {
                return Err(step_not_allowed());
            }
            fact::add(edit, stamp, &by, gps, StepFact { step, note, unit });
        }
    }
    Ok(())
}

fn not_yet_or_twice(is_report: bool) -> IntentError {
    let (rule, words) = if is_report {
        (
            "reported_before",
            Words {
                en: "this incident has been reported",
                zh: "该案件已上报",
            },
        )
    } else {
        (
            "not_reported",
            Words {
                en: "report the incident first",
                zh: "请先上报案件",
            },
        )
    };
    IntentError::NotAllowed { rule, words }
}

fn step_not_allowed() -> IntentError {
    IntentError::NotAllowed {
        rule: "step_not_allowed",
        words: Words {
            en: "this step may not be taken in the incident's present state",
            zh: "案件当前状态不允许该操作",
        },
    }
}
