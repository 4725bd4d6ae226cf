//! A small kind of document: a slip is opened, noted on, and closed.

use gridbeat_base::{Position, WallTime};
use gridbeat_document::{
    Author, Edit, IntentError, Kind, Projection, Refusal, Skeleton, Stamp, Value, View, Words,
};
use serde_json::{Value as Json, json};

/// Intents: `{"open": {"text", "category", "at": [lat, lon], "occurred"}}`, `{"note": text}`,
/// `{"status": word}`, `{"category": word}`.
#[derive(Debug)]
pub(crate) struct Slip;

impl Kind for Slip {
    fn name(&self) -> &'static str {
        "slip"
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn genesis(&self, _: u16, skeleton: &mut Skeleton<'_>) {
        skeleton.map(&["fields"]);
        skeleton.map(&["notes"]);
    }

    fn apply(
        &self,
        intent: &[u8],
        stamp: &Stamp,
        before: &View,
        edit: &mut Edit<'_>,
    ) -> Result<(), IntentError> {
        let intent: Json =
            serde_json::from_slice(intent).map_err(|error| IntentError::Unreadable {
                reason: error.to_string(),
            })?;
        let is_open = before.field(&["fields", "text"]).is_some();
        if !is_open && intent.get("open").is_none() {
            return Err(IntentError::NotAllowed {
                rule: "not_opened",
                words: Words {
                    en: "it was not opened",
                    zh: "尚未建立",
                },
            });
        }
        if let Some(open) = intent.get("open") {
            edit.put(&["fields", "text"], open["text"].as_str().unwrap_or(""));
            edit.put(
                &["fields", "category"],
                open["category"].as_str().unwrap_or(""),
            );
            edit.put(&["fields", "status"], "open");
            let occurred = open["occurred"]
                .as_i64()
                .unwrap_or_else(|| stamp.wall.millis());
            edit.put(&["fields", "occurred"], occurred);
            if let (Some(lat), Some(lon)) = (open["at"][0].as_f64(), open["at"][1].as_f64()) {
                edit.put(&["fields", "lat"], lat);
                edit.put(&["fields", "lon"], lon);
            }
        }
        if let Some(note) = intent["note"].as_str() {
            let id: String = stamp.fact.iter().map(|b| format!("{b:02x}")).collect();
            edit.put(&["notes", &id], note);
        }
        for field in ["status", "category"] {
            if let Some(word) = intent[field].as_str() {
                edit.put(&["fields", field], word);
            }
        }
        Ok(())
    }

    fn project(&self, view: &View) -> Projection {
        let number = |key| match view.field(&["fields", key]).map(|field| &field.value) {
            Some(Value::F64(number)) => Some(*number),
            _ => None,
        };
        let occurred = match view
            .field(&["fields", "occurred"])
            .map(|field| &field.value)
        {
            Some(Value::Int(millis)) => *millis,
            _ => 0,
        };
        // By receipt, those not received last: so that a receipt shows in the row.
        let mut notes: Vec<_> = view
            .entries(&["notes"])
            .map(|(key, field)| {
                let received = field.origin.provenance.received;
                let is_new = received.is_none();
                (is_new, received, key, view.text(&["notes", key]))
            })
            .collect();
        notes.sort_unstable();
        let words: Vec<_> = notes.iter().map(|note| note.3).collect();
        let received: Vec<_> = notes
            .iter()
            .map(|note| note.1.map(WallTime::millis))
            .collect();
        let status = view.text(&["fields", "status"]).to_owned();
        let conflicts = view
            .field(&["fields", "status"])
            .map_or(0, |field| field.conflicts.len());
        let text = view.text(&["fields", "text"]);
        Projection {
            is_open: status != "closed",
            status,
            category: view.text(&["fields", "category"]).to_owned(),
            position: number("lat")
                .zip(number("lon"))
                .and_then(|(lat, lon)| Position::from_degrees(lat, lon).ok()),
            occurred: WallTime(occurred),
            text: format!("{text} {}", words.join(" ")).trim().to_owned(),
            attention: u32::try_from(conflicts).unwrap_or(u32::MAX),
            body: json!({"text": text, "notes": words, "received": received}).to_string(),
        }
    }

    fn admit(&self, _: &View, after: &View, _: &Author) -> Result<(), Refusal> {
        let forbidden = after
            .entries(&["notes"])
            .any(|(key, _)| after.text(&["notes", key]).contains("forbidden"));
        if forbidden || after.text(&["fields", "text"]).contains("forbidden") {
            return Err(Refusal {
                rule: "forbidden_word",
                words: Words {
                    en: "a word is forbidden",
                    zh: "含有禁用词",
                },
            });
        }
        Ok(())
    }
}
