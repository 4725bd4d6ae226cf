//! The record kind of the workloads: an incident, or a patrol log, as an integrator would lay it out.
//!
//! What happened is a fact under an id that the action brings along (a note's, a check-in's) or under the one
//! word it can happen by (`created`). What changes later lies over it, field by field. Times that follow
//! from others are not written twice. Nothing of an action is lost: [`state`] gives it all back.

use core::fmt::Display;
use std::collections::BTreeSet;

use gridbeat_base::{BlobHash, DocumentId, Lane, Position, WallTime};
use gridbeat_document::{
    Author, Edit, IntentError, Kind, Projection, Refusal, Skeleton, Stamp, Value, View, Words,
};
use minicbor::{Decode, Encode};

use super::action::{Action, CheckIn, Deed, Fields, Incident, Log, Note};

/// The kind's name.
pub(super) const CASE: &str = "case";

const FACTS: &str = "facts";
const FIELDS: &str = "fields";
/// The fact a document begins by.
const CREATED: &str = "created";
/// The field that a time takes which does not follow from a fact.
const UPDATED: &str = "updated_at";

const CLOSED: &str = "closed";

/// The kind.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::bench) struct CaseKind;

/// What the bytes of a fact hold.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
enum Fact {
    #[n(0)]
    Created(#[n(0)] Box<CreatedFact>),
    #[n(1)]
    Noted {
        #[n(0)]
        by: String,
        #[n(1)]
        at: i64,
        #[n(2)]
        text: String,
    },
    #[n(2)]
    LogBegun {
        #[n(0)]
        officer: String,
        #[n(1)]
        grid_id: String,
        #[n(2)]
        started_at: i64,
    },
    #[n(3)]
    CheckedIn {
        #[n(0)]
        t: i64,
        #[n(1)]
        point: String,
        #[n(2)]
        position: Position,
        #[n(3)]
        ok: bool,
        #[n(4)]
        remark: String,
    },
    #[n(4)]
    Tracked {
        #[n(0)]
        blob: BlobHash,
        #[n(1)]
        points: u32,
        #[n(2)]
        from: i64,
        #[n(3)]
        took_ms: i64,
        #[n(4)]
        length_m: u32,
    },
}

/// An incident as it was filed; its id is the document's.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
struct CreatedFact {
    #[n(0)]
    case_no: String,
    #[n(1)]
    category: String,
    #[n(2)]
    category_name: String,
    #[n(3)]
    desc: String,
    #[n(4)]
    position: Position,
    #[n(5)]
    accuracy_dm: u32,
    #[n(6)]
    address: String,
    #[cbor(n(7), with = "minicbor::bytes")]
    photos: Vec<u8>,
    #[n(8)]
    status: String,
    #[n(9)]
    priority: u8,
    #[n(10)]
    source: String,
    #[n(11)]
    created_at: i64,
    #[n(12)]
    occurred_before_ms: i64,
    #[n(13)]
    reporter_id: String,
    #[n(14)]
    reporter_name: String,
    #[n(15)]
    reporter_phone: String,
    #[n(16)]
    department: String,
    #[n(17)]
    grid_id: String,
}

impl Kind for CaseKind {
    fn name(&self) -> &'static str {
        CASE
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn lane(&self) -> Lane {
        Lane::Record
    }

    fn genesis(&self, _schema_version: u16, skeleton: &mut Skeleton<'_>) {
        skeleton.map(&[FACTS]);
        skeleton.map(&[FIELDS]);
    }

    fn apply(
        &self,
        intent: &[u8],
        _stamp: &Stamp,
        _before: &View,
        edit: &mut Edit<'_>,
    ) -> Result<(), IntentError> {
        let action: Action = serde_json::from_slice(intent).map_err(unreadable)?;
        match action.deed {
            Deed::Create { f } => {
                if f.uuid != action.doc || f.updated_at != f.created_at || !f.notes.is_empty() {
                    return Err(unreadable("an incident begins with its own id, untouched"));
                }
                put_fact(edit, CREATED, &Fact::Created(Box::new(filed(*f)?)));
            }
            Deed::Set { f } => {
                edit.put(&[FIELDS, UPDATED], f.updated_at);
                put_fields(edit, f);
            }
            Deed::Note { n, f } => {
                // The later of all times is when the incident was last touched.
                if f.updated_at != n.at {
                    edit.put(&[FIELDS, UPDATED], f.updated_at);
                }
                put_fields(edit, f);
                let Note { id, by, at, text } = n;
                put_fact(edit, &key(id), &Fact::Noted { by, at, text });
            }
            Deed::Log { f } => {
                if f.uuid != action.doc {
                    return Err(unreadable("a log begins with its own id"));
                }
                let Log {
                    officer,
                    grid_id,
                    started_at,
                    ..
                } = f;
                let begun = Fact::LogBegun {
                    officer,
                    grid_id,
                    started_at,
                };
                put_fact(edit, CREATED, &begun);
            }
            Deed::Checkin { c } => {
                let fact = Fact::CheckedIn {
                    t: c.t,
                    point: c.point,
                    position: Position::from_degrees(c.lat, c.lon).map_err(unreadable)?,
                    ok: c.ok,
                    remark: c.remark,
                };
                put_fact(edit, &key(c.id), &fact);
            }
            Deed::Segment { s } => {
                let fact = Fact::Tracked {
                    blob: s.blob,
                    points: s.points,
                    from: s.from,
                    took_ms: s.to - s.from,
                    length_m: s.length_m,
                };
                // One piece of track is one fact, however often it was said.
                put_fact(edit, &s.blob.to_string()[..32], &fact);
            }
            Deed::Track { .. } => return Err(unreadable("points go into segments of a track")),
        }
        Ok(())
    }

    fn blobs(&self, view: &View) -> BTreeSet<BlobHash> {
        let facts = view.entries(&[FACTS]);
        let blob = |fact| match fact {
            Fact::Tracked { blob, .. } => Some(blob),
            Fact::Created(_)
            | Fact::Noted { .. }
            | Fact::LogBegun { .. }
            | Fact::CheckedIn { .. } => None,
        };
        facts
            .filter_map(|(_, field)| read(&field.value).and_then(blob))
            .collect()
    }

    fn project(&self, view: &View) -> Projection {
        match state(view) {
            Some(State::Incident(incident)) => Projection {
                is_open: incident.status != CLOSED,
                category: incident.category,
                position: Position::from_degrees(incident.lat, incident.lon).ok(),
                occurred: WallTime(incident.occurred_at),
                text: format!("{} {}", incident.desc, incident.address),
                status: incident.status,
                ..Projection::default()
            },
            Some(State::Log(log, _)) => Projection {
                occurred: WallTime(log.started_at),
                text: log.officer,
                ..Projection::default()
            },
            None => Projection {
                attention: 1,
                ..Projection::default()
            },
        }
    }

    fn admit(&self, before: &View, after: &View, _: &Author) -> Result<(), Refusal> {
        for (id, fact) in before.entries(&[FACTS]) {
            if after.field(&[FACTS, id]) != Some(fact) {
                return Err(Refusal {
                    rule: "facts_stay",
                    words: Words {
                        en: "what happened cannot be changed",
                        zh: "已发生的事实不能更改",
                    },
                });
            }
        }
        Ok(())
    }
}

/// A document of the kind, as the actions made it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// An incident; its id is left at zero, because a view does not know it.
    Incident(Box<Incident>),
    /// A patrol log, likewise, with its check-ins in order of time.
    Log(Log, Vec<CheckIn>),
}

/// Gives back what the actions of a document made of it; `None` if it has not begun.
pub(super) fn state(view: &View) -> Option<State> {
    let nobody = DocumentId::from_bytes([0; 16]);
    let facts = view
        .entries(&[FACTS])
        .filter_map(|(id, field)| Some((id, read(&field.value)?)));
    let (mut incident, mut log, mut notes, mut check_ins) = (None, None, Vec::new(), Vec::new());
    for (id, fact) in facts {
        let id = id.parse().unwrap_or(nobody);
        match fact {
            Fact::Created(created) => incident = Some(unfiled(*created)),
            Fact::Noted { by, at, text } => notes.push(Note { id, by, at, text }),
            Fact::LogBegun {
                officer,
                grid_id,
                started_at,
            } => {
                log = Some(Log {
                    uuid: nobody,
                    officer,
                    grid_id,
                    started_at,
                });
            }
            Fact::CheckedIn {
                t,
                point,
                position,
                ok,
                remark,
            } => check_ins.push(CheckIn {
                id,
                t,
                point,
                lon: position.longitude_deg(),
                lat: position.latitude_deg(),
                ok,
                remark,
            }),
            Fact::Tracked { .. } => {}
        }
    }
    if let Some(log) = log {
        check_ins.sort_by_key(|check_in| (check_in.t, *check_in.id.bytes()));
        return Some(State::Log(log, check_ins));
    }
    let mut incident = incident?;
    notes.sort_by_key(|note| (note.at, *note.id.bytes()));
    for (name, field) in view.entries(&[FIELDS]) {
        overlay(&mut incident, name, &field.value);
    }
    let noted = notes.last().map_or(0, |note| note.at);
    incident.updated_at = incident.updated_at.max(noted);
    incident.notes = notes;
    Some(State::Incident(Box::new(incident)))
}

fn put_fact(edit: &mut Edit<'_>, key: &str, fact: &Fact) {
    // Writing to memory cannot fail.
    let bytes = minicbor::to_vec(fact).unwrap_or_default();
    edit.put(&[FACTS, key], bytes);
}

fn put_fields(edit: &mut Edit<'_>, fields: Fields) {
    let Fields {
        status,
        priority,
        address,
        geo_acc,
        category,
        department,
        updated_at: _,
    } = fields;
    let words = [
        ("status", status),
        ("address", address),
        ("category", category),
        ("department", department),
    ];
    for (name, word) in words {
        if let Some(word) = word {
            edit.put(&[FIELDS, name], word);
        }
    }
    if let Some(priority) = priority {
        edit.put(&[FIELDS, "priority"], u32::from(priority));
    }
    if let Some(metres) = geo_acc {
        edit.put(&[FIELDS, "geo_acc"], tenths(metres));
    }
}

fn overlay(incident: &mut Incident, name: &str, value: &Value) {
    match (name, value) {
        ("status", Value::Str(word)) => incident.status.clone_from(word),
        ("address", Value::Str(word)) => incident.address.clone_from(word),
        ("category", Value::Str(word)) => incident.category.clone_from(word),
        ("department", Value::Str(word)) => incident.department.clone_from(word),
        ("priority", Value::Uint(number)) => {
            incident.priority = u8::try_from(*number).unwrap_or(u8::MAX);
        }
        ("geo_acc", Value::Uint(tenths)) => {
            incident.geo_acc = f64::from(u32::try_from(*tenths).unwrap_or(u32::MAX)) / 10.0;
        }
        (UPDATED, Value::Int(time)) => incident.updated_at = *time,
        _ => {}
    }
}

fn read(value: &Value) -> Option<Fact> {
    let Value::Bytes(bytes) = value else {
        return None;
    };
    minicbor::decode(bytes).ok()
}

/// Ids are keys as their 32 hexadecimal digits.
fn key(id: DocumentId) -> String {
    id.to_string().replace('-', "")
}

fn filed(incident: Incident) -> Result<CreatedFact, IntentError> {
    let mut photos = Vec::new();
    for photo in &incident.photos {
        let hash: BlobHash = photo.parse().map_err(unreadable)?;
        photos.extend(hash.bytes());
    }
    Ok(CreatedFact {
        case_no: incident.case_no,
        category: incident.category,
        category_name: incident.category_name,
        desc: incident.desc,
        position: Position::from_degrees(incident.lat, incident.lon).map_err(unreadable)?,
        accuracy_dm: tenths(incident.geo_acc),
        address: incident.address,
        photos,
        status: incident.status,
        priority: incident.priority,
        source: incident.source,
        created_at: incident.created_at,
        occurred_before_ms: incident.created_at - incident.occurred_at,
        reporter_id: incident.reporter_id,
        reporter_name: incident.reporter_name,
        reporter_phone: incident.reporter_phone,
        department: incident.department,
        grid_id: incident.grid_id,
    })
}

fn unfiled(created: CreatedFact) -> Incident {
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Incident {
        uuid: DocumentId::from_bytes([0; 16]),
        case_no: created.case_no,
        category: created.category,
        category_name: created.category_name,
        desc: created.desc,
        lon: created.position.longitude_deg(),
        lat: created.position.latitude_deg(),
        geo_acc: f64::from(created.accuracy_dm) / 10.0,
        address: created.address,
        photos: created.photos.chunks(32).map(hex).collect(),
        status: created.status,
        priority: created.priority,
        source: created.source,
        occurred_at: created.created_at - created.occurred_before_ms,
        created_at: created.created_at,
        updated_at: created.created_at,
        reporter_id: created.reporter_id,
        reporter_name: created.reporter_name,
        reporter_phone: created.reporter_phone,
        department: created.department,
        grid_id: created.grid_id,
        notes: Vec::new(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the accuracy of a fix; the conversion saturates"
)]
fn tenths(metres: f64) -> u32 {
    (metres * 10.0).round() as u32
}

fn unreadable(error: impl Display) -> IntentError {
    IntentError::Unreadable {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gridbeat_base::{DeviceId, Hlc};
    use gridbeat_document::{Actor, Document, Provenance};

    use super::*;

    const INCIDENT: &str = r#"{"k":"create","doc":"ca5ae37b-0a68-456f-859f-642898f78bcb","who":"officer-08","t":1795330204318,"f":{"uuid":"ca5ae37b-0a68-456f-859f-642898f78bcb","case_no":"SJ2026112387167501","category":"0602","category_name":"施工扰民","desc":"夜间巡逻途中发现路面坑洼积水","lon":116.35086,"lat":39.908313,"geo_acc":8.8,"address":"建设一路120号","photos":["dc4a8f93f86559bcb688a3aa448946a3e92fbb23f728244f64ab2447b3710555"],"status":"reported","priority":4,"source":"camera","occurred_at":1795329899318,"created_at":1795330204318,"updated_at":1795330204318,"reporter_id":"officer-08","reporter_name":"杨伟兰","reporter_phone":"13829113635","department":"","grid_id":"110101-007-023","notes":[]}}"#;
    const NOTE: &str = r#"{"k":"note","doc":"ca5ae37b-0a68-456f-859f-642898f78bcb","who":"officer-08","t":1795330304318,"n":{"id":"46eda5cd-8949-4af3-ae5a-119f58c66f2b","by":"officer-08","at":1795330304318,"text":"已恢复通行"},"f":{"updated_at":1795330304318}}"#;
    const SET: &str = r#"{"k":"set","doc":"ca5ae37b-0a68-456f-859f-642898f78bcb","who":"centre-01","t":1795330404318,"f":{"geo_acc":4.2,"department":"D012-环卫所","status":"filed","updated_at":1795330404318}}"#;
    const LOG: &str = r#"{"k":"log","doc":"5b0f7c1a-0000-4000-8000-000000000001","who":"officer-01","t":1795401600000,"f":{"uuid":"5b0f7c1a-0000-4000-8000-000000000001","officer":"officer-01","grid_id":"110101-007-023","started_at":1795401600000}}"#;
    const CHECK_IN: &str = r#"{"k":"checkin","doc":"5b0f7c1a-0000-4000-8000-000000000001","who":"officer-01","t":1795401700000,"c":{"id":"5b0f7c1a-0000-4000-8000-000000000002","t":1795401700000,"point":"CP-001","lon":116.36,"lat":39.91,"ok":true,"remark":"正常"}}"#;

    fn done(actions: &[&str]) -> State {
        let kind: Arc<dyn Kind> = Arc::new(CaseKind);
        let mut document = Document::genesis(&kind, 1);
        for action in actions {
            let stamp = Stamp {
                hlc: Hlc::at(WallTime(1)),
                wall: WallTime(1),
                relay_offset_ms: None,
                device: DeviceId::from_bytes([1; 16]),
                fact: [1; 16],
            };
            let actor = Actor::from_bytes([1; 16]);
            let nothing = |_: &_| Provenance::default();
            document
                .edit(actor, action.as_bytes(), &stamp, &nothing)
                .unwrap();
        }
        state(&document.view(&|_| Provenance::default())).unwrap()
    }

    #[test]
    fn nothing_of_an_incidents_actions_is_lost() {
        let State::Incident(is) = done(&[INCIDENT, NOTE, SET]) else {
            panic!("an incident was made");
        };
        let Deed::Create { f: filed } = serde_json::from_str::<Action>(INCIDENT).unwrap().deed
        else {
            panic!("it began by being filed");
        };
        let Deed::Note { n: note, .. } = serde_json::from_str::<Action>(NOTE).unwrap().deed else {
            panic!("then it was noted on");
        };
        let expected = Incident {
            uuid: is.uuid,
            geo_acc: 4.2,
            department: "D012-环卫所".to_owned(),
            status: "filed".to_owned(),
            updated_at: 1_795_330_404_318,
            notes: vec![note],
            ..*filed
        };
        assert_eq!(*is, expected);
    }

    #[test]
    fn nothing_of_a_logs_actions_is_lost() {
        let State::Log(log, check_ins) = done(&[LOG, CHECK_IN]) else {
            panic!("a log was made");
        };
        assert_eq!((log.started_at, check_ins.len()), (1_795_401_600_000, 1));
        let Deed::Checkin { c } = serde_json::from_str::<Action>(CHECK_IN).unwrap().deed else {
            panic!("it is a check-in");
        };
        assert_eq!(check_ins[0], c);
    }
}
