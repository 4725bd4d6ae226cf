//! A small kind, devices that edit documents of it, and shorthands for checks.

use std::sync::Arc;

use gridbeat_base::{ChangeHash, DeviceId, Hlc, WallTime};
use gridbeat_document::{
    Actor, Author, Change, Document, Edit, EditError, Incoming, IntentError, Kind, Projection,
    Provenance, Refusal, Side, Skeleton, Stamp, Value, Verdict, View, Words, gate,
};
use serde_json::{Value as Json, json};

/// Fields, a text, a list, a counter and a map of facts, each edited by its own intent.
#[derive(Debug)]
pub(crate) struct Sheet;

impl Kind for Sheet {
    fn name(&self) -> &'static str {
        "sheet"
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn genesis(&self, _: u16, skeleton: &mut Skeleton<'_>) {
        skeleton.map(&["fields"]);
        skeleton.map(&["facts"]);
        skeleton.map(&["deep", "er"]);
        skeleton.text(&["text"]);
        skeleton.list(&["list"]);
        skeleton.counter(&["count"]);
    }

    fn apply(
        &self,
        intent: &[u8],
        stamp: &Stamp,
        before: &View,
        edit: &mut Edit<'_>,
    ) -> Result<(), IntentError> {
        let intent: Json = serde_json::from_slice(intent).map_err(|e| IntentError::Unreadable {
            reason: e.to_string(),
        })?;
        for (what, with) in intent.as_object().into_iter().flatten() {
            match what.as_str() {
                "field" => {
                    let (key, value) = (with[0].as_str().unwrap(), with[1].as_str().unwrap());
                    edit.put(&["fields", key], value);
                }
                "delete" => edit.delete(&["fields", with.as_str().unwrap()]),
                "text" => edit.update_text(&["text"], with.as_str().unwrap()),
                "append" => {
                    let text = format!("{}{}", before.text(&["text"]), with.as_str().unwrap());
                    edit.update_text(&["text"], &text);
                }
                "prepend" => {
                    let text = format!("{}{}", with.as_str().unwrap(), before.text(&["text"]));
                    edit.update_text(&["text"], &text);
                }
                "push" => edit.push(&["list"], with.as_i64().unwrap()),
                "count" => edit.increment(&["count"], with.as_i64().unwrap()),
                "fact" => {
                    let id: String = stamp.fact.iter().map(|b| format!("{b:02x}")).collect();
                    edit.put(&["facts", &id], with.as_str().unwrap().as_bytes());
                }
                "path" => {
                    let path: Vec<_> = with.as_str().unwrap().split('/').collect();
                    edit.put(&path, 1_i64);
                }
                "forbidden" => {
                    edit.put(&["fields", "half"], "done");
                    return Err(IntentError::NotAllowed {
                        rule: "never",
                        words: Words {
                            en: "never",
                            zh: "不行",
                        },
                    });
                }
                other => panic!("no intent {other}"),
            }
        }
        Ok(())
    }

    fn project(&self, view: &View) -> Projection {
        Projection {
            text: view.text(&["text"]).to_owned(),
            body: format!("{:?}", view.root.keys()),
            attention: view
                .entries(&["fields"])
                .map(|(_, field)| field.conflicts.len() as u32)
                .sum(),
            ..Projection::default()
        }
    }

    fn admit(&self, before: &View, after: &View, _: &Author) -> Result<(), Refusal> {
        if after.text(&["fields", "boom"]) == "boom" {
            panic!("a mistake in the kind");
        }
        if after.text(&["fields", "bad"]) != before.text(&["fields", "bad"]) {
            return Err(Refusal {
                rule: "bad_is_closed",
                words: Words {
                    en: "no", zh: "不"
                },
            });
        }
        Ok(())
    }
}

pub(crate) const VERSION: u16 = 1;

pub(crate) fn sheet() -> Arc<dyn Kind> {
    Arc::new(Sheet)
}

pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

pub(crate) fn unknown(_: &ChangeHash) -> Provenance {
    Provenance::default()
}

/// One device's replica of one document.
pub(crate) struct Replica {
    pub(crate) number: u8,
    pub(crate) document: Document,
    pub(crate) actor: Actor,
    pub(crate) time: i64,
    pub(crate) log: Vec<(Change, DeviceId)>,
}

impl Replica {
    pub(crate) fn new(number: u8) -> Self {
        Self {
            number,
            document: Document::genesis(&sheet(), VERSION),
            actor: Actor::from_bytes([number; 16]),
            time: 1_000_000,
            log: Vec::new(),
        }
    }

    pub(crate) fn stamp(&mut self) -> Stamp {
        self.time += 1_000;
        let mut fact = [self.number; 16];
        fact[8..].copy_from_slice(&self.time.to_be_bytes());
        Stamp {
            hlc: Hlc::at(WallTime(self.time)),
            wall: WallTime(self.time),
            relay_offset_ms: None,
            device: device(self.number),
            fact,
        }
    }

    pub(crate) fn try_edit(&mut self, intent: &Json) -> Result<Change, EditError> {
        let stamp = self.stamp();
        let bytes = serde_json::to_vec(intent).unwrap();
        let change = self.document.edit(self.actor, &bytes, &stamp, &unknown)?;
        self.log.push((change.clone(), device(self.number)));
        Ok(change)
    }

    pub(crate) fn edit(&mut self, intent: Json) -> Change {
        self.try_edit(&intent).unwrap()
    }

    /// Takes in another's changes in the given order; all must pass.
    pub(crate) fn receive(&mut self, changes: &[(Change, DeviceId)]) {
        let verdicts = offer(&mut self.document, changes, Side::Device);
        for (verdict, (change, author)) in verdicts.iter().zip(changes) {
            match verdict {
                Verdict::Admitted(admitted) => {
                    assert_eq!(admitted, change);
                    self.log.push((change.clone(), *author));
                }
                Verdict::Known(hash) => assert_eq!(*hash, change.hash),
                Verdict::Incomplete { .. } | Verdict::Refused { .. } => panic!("{verdict:?}"),
            }
        }
    }

    pub(crate) fn view(&self) -> View {
        self.document.view(&unknown)
    }
}

pub(crate) fn offer(
    document: &mut Document,
    changes: &[(Change, DeviceId)],
    from: Side,
) -> Vec<Verdict> {
    let incoming: Vec<_> = changes
        .iter()
        .map(|(change, author)| Incoming {
            bytes: &change.bytes,
            author: Author::decided(*author),
            received: None,
        })
        .collect();
    gate::admit(document, &incoming, from, &unknown)
}

pub(crate) fn value<'a>(view: &'a View, path: &[&str]) -> &'a Value {
    &view.field(path).unwrap().value
}

pub(crate) fn first() -> Json {
    json!({"field": ["title", "井盖缺失"], "text": "中山路与和平路口", "fact": "reported"})
}
