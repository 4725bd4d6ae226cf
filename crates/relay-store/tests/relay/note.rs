//! A small kind: named fields, of which one is closed to everybody.

use std::sync::Arc;

use gridbeat_base::Lane;
use gridbeat_document::{
    Author, Edit, IntentError, Kind, Kinds, Projection, Refusal, Skeleton, Stamp, View, Words,
};

/// The one kind of these tests. Its intent is `field=value`.
#[derive(Debug)]
pub(crate) struct Note;

impl Kind for Note {
    fn name(&self) -> &'static str {
        "note"
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn lane(&self) -> Lane {
        Lane::Urgent
    }

    fn genesis(&self, _: u16, skeleton: &mut Skeleton<'_>) {
        skeleton.map(&["fields"]);
    }

    fn apply(
        &self,
        intent: &[u8],
        _: &Stamp,
        _: &View,
        edit: &mut Edit<'_>,
    ) -> Result<(), IntentError> {
        let text = std::str::from_utf8(intent).unwrap();
        let (field, value) = text.split_once('=').unwrap();
        edit.put(&["fields", field], value);
        Ok(())
    }

    fn project(&self, view: &View) -> Projection {
        Projection {
            status: view.text(&["fields", "status"]).to_owned(),
            is_open: view.text(&["fields", "status"]) != "closed",
            text: view.text(&["fields", "text"]).to_owned(),
            body: format!("{}", view.entries(&["fields"]).count()),
            ..Projection::default()
        }
    }

    fn admit(&self, _: &View, after: &View, _: &Author) -> Result<(), Refusal> {
        if after.text(&["fields", "forbidden"]).is_empty() {
            return Ok(());
        }
        Err(Refusal {
            rule: "field_is_closed",
            words: Words {
                en: "this field is closed",
                zh: "此字段已关闭",
            },
        })
    }
}

/// A kind that the relay does not know.
#[derive(Debug)]
pub(crate) struct Stranger;

impl Kind for Stranger {
    fn name(&self) -> &'static str {
        "stranger"
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn genesis(&self, version: u16, skeleton: &mut Skeleton<'_>) {
        Note.genesis(version, skeleton);
    }

    fn apply(
        &self,
        intent: &[u8],
        stamp: &Stamp,
        view: &View,
        edit: &mut Edit<'_>,
    ) -> Result<(), IntentError> {
        Note.apply(intent, stamp, view, edit)
    }

    fn project(&self, view: &View) -> Projection {
        Note.project(view)
    }

    fn admit(&self, before: &View, after: &View, author: &Author) -> Result<(), Refusal> {
        Note.admit(before, after, author)
    }
}

/// The kinds the relay knows.
pub(crate) fn kinds() -> Kinds {
    Kinds::new([note()])
}

pub(crate) fn note() -> Arc<dyn Kind> {
    Arc::new(Note)
}

pub(crate) fn stranger() -> Arc<dyn Kind> {
    Arc::new(Stranger)
}
