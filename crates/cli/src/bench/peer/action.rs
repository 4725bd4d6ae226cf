//! User actions as the workloads have them: JSON, one a line.
//!
//! A line stands for one durable change of one document. It is also the intent of that change, byte for
//! byte. Unknown fields are errors, so that nothing of a workload is dropped unnoticed.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use gridbeat_base::{BlobHash, DocumentId};
use serde::{Deserialize, Serialize};

/// One user action.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Action {
    /// The document.
    pub(super) doc: DocumentId,
    /// Who acts.
    pub(super) who: String,
    /// When, in milliseconds since 1970.
    pub(super) t: i64,
    /// What is done.
    #[serde(flatten)]
    pub(super) deed: Deed,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "k", rename_all = "lowercase")]
pub(super) enum Deed {
    /// An incident begins.
    Create {
        /// Everything that is known of it.
        f: Box<Incident>,
    },
    /// Fields become others.
    Set {
        /// The fields.
        f: Fields,
    },
    /// A note is added.
    Note {
        /// The note.
        n: Note,
        /// What becomes another by it.
        f: Fields,
    },
    /// A patrol log begins.
    Log {
        /// Whose, and when.
        f: Log,
    },
    /// The receiver fixed a position.
    Track {
        /// It.
        p: Point,
    },
    /// Points of a track became a segment. No action of a workload: what the device makes of its points.
    Segment {
        /// It.
        s: SegmentOf,
    },
    /// An officer checked in at a must-visit point.
    Checkin {
        /// Where and when.
        c: CheckIn,
    },
}

/// An incident as it is filed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Incident {
    pub(super) uuid: DocumentId,
    pub(super) case_no: String,
    pub(super) category: String,
    pub(super) category_name: String,
    pub(super) desc: String,
    pub(super) lon: f64,
    pub(super) lat: f64,
    pub(super) geo_acc: f64,
    pub(super) address: String,
    /// SHA-256 of each, hexadecimal.
    pub(super) photos: Vec<String>,
    pub(super) status: String,
    pub(super) priority: u8,
    pub(super) source: String,
    pub(super) occurred_at: i64,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) reporter_id: String,
    pub(super) reporter_name: String,
    pub(super) reporter_phone: String,
    pub(super) department: String,
    pub(super) grid_id: String,
    pub(super) notes: Vec<Note>,
}

/// Fields that become others; what is missing stays.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) geo_acc: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) category: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) department: Option<String>,
    pub(super) updated_at: i64,
}

/// A note on an incident.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    pub(super) id: DocumentId,
    pub(super) by: String,
    pub(super) at: i64,
    pub(super) text: String,
}

/// A patrol log as it begins.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) uuid: DocumentId,
    pub(super) officer: String,
    pub(super) grid_id: String,
    pub(super) started_at: i64,
}

/// A point of a track.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Point {
    pub(super) t: i64,
    pub(super) lon: f64,
    pub(super) lat: f64,
    /// Metres.
    pub(super) acc: f64,
    /// Metres a second.
    pub(super) spd: f64,
}

/// A segment of a track: the blob, and what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SegmentOf {
    pub(super) blob: BlobHash,
    pub(super) points: u32,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) length_m: u32,
}

/// A check-in.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckIn {
    pub(super) id: DocumentId,
    pub(super) t: i64,
    pub(super) point: String,
    pub(super) lon: f64,
    pub(super) lat: f64,
    pub(super) ok: bool,
    pub(super) remark: String,
}

/// Reads actions, in the order of the file.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Action>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}, line {}", path.display(), index + 1))
        })
        .collect()
}
