//! The lines that `gridbeat device --stdio` speaks: requests in, answers and events out, JSON each.
//!
//! A request is an object with `do` and, if its answer is to be told apart, `id`. The answer repeats
//! the `id` beside `ok` or `error`. Events have `event` and come whenever something happens. Both
//! sides of the demo use these types. Not here: carrying a request out (`stdio`).

use gridbeat_base::{BlobHash, ChangeHash, DeviceId, DocumentId, Position, Scope, WallTime};
use gridbeat_device::{LinkReport, Path};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wiping::Farewell;

/// What can be asked of a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Save a new document. Answer: [`Saved`].
    Create {
        /// The kind's name.
        kind: String,
        /// The scope it belongs to.
        scope: Scope,
        /// What the person wants, in the kind's JSON.
        intent: Value,
    },
    /// Save an edit. Answer: [`Saved`].
    Edit {
        /// The document.
        document: DocumentId,
        /// What the person wants, in the kind's JSON.
        intent: Value,
    },
    /// List records. Answer: a list of [`RecordLine`].
    Query(Box<QueryLine>),
    /// Show one record. Answer: [`RecordLine`] or null.
    Record {
        /// The document.
        document: DocumentId,
    },
    /// Show a document's changes. Answer: a list of [`HistoryLine`].
    History {
        /// The document.
        document: DocumentId,
    },
    /// Say where synchronisation stands. Answer: [`StateLine`].
    Status,
    /// What the link has cost so far. Answer: [`LinkLine`].
    Link,
    /// Say what waits for the relay. Answer: [`OutboxLine`].
    Outbox,
    /// List what the relay refused.
    Refused,
    /// Save a corrected intent in place of something refused, by its number. Answer: [`Saved`].
    CorrectRefused {
        /// Its number.
        number: i64,
        /// What the person wants, in the kind's JSON.
        intent: Value,
    },
    /// Drop something refused, by its number. Answer: whether it was there.
    DropRefused {
        /// Its number.
        number: i64,
    },
    /// Keep a blob. Answer: its hash.
    PutBlob {
        /// Its bytes in hexadecimal digits.
        hex: String,
    },
    /// Take a photo into a record: its preview and thumbnail are made, and all is saved at once. Answer: [`TakenLine`].
    TakePhoto {
        /// The document.
        document: DocumentId,
        /// What the person wants, in the kind's JSON, to which `hash`, `preview` and `thumbnail` are added.
        intent: Value,
        /// The photo's bytes, JPEG or PNG, in hexadecimal digits.
        hex: String,
    },
    /// Tell when these changes, saved before this process began, are acknowledged.
    Watch {
        /// The changes.
        changes: Vec<Saved>,
    },
    /// Describe everything the device holds, for comparison. Answer: [`Print`].
    Fingerprint,
    /// The network is another, or back: find the relay anew, at once.
    NetworkChanged {
        /// Its name, such as that of a Wi-Fi.
        #[serde(default)]
        network: Option<String>,
    },
    /// Which photos and other blobs go up from now on.
    SetUploads {
        /// `all`, `no_originals` while the network costs, or `nothing`.
        uploads: UploadsWord,
    },
    /// What is to go up of photos and other blobs. Answer: [`BlobsLine`].
    Blobs,
    /// Tell where this device is, while its officer is on duty.
    SharePosition(PositionLine),
    /// Tell nobody any more where it is.
    HidePosition,
    /// Be told where others are, or no more.
    WatchPositions {
        /// Whether to be told.
        wanted: bool,
    },
    /// Where others were last. Answer: a list of [`SeenLine`].
    Positions,
    /// Close the file and end.
    Quit,
}

/// Which records to list; what is left out does not limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct QueryLine {
    /// Only records of this kind.
    pub(crate) kind: Option<String>,
    /// Only records on which work is still to be done, or only others.
    pub(crate) open: Option<bool>,
    /// Only records in this state.
    pub(crate) status: Option<String>,
    /// Only records of this category: `matter/06010`.
    pub(crate) category: Option<String>,
    /// Only records in this scope.
    pub(crate) scope: Option<Scope>,
    /// Only records with these words.
    pub(crate) text: Option<String>,
    /// The nearest to this place first.
    pub(crate) near: Option<Position>,
    /// Only records so many metres from `near`.
    pub(crate) within_m: Option<f64>,
    /// Only records with something a person should settle.
    pub(crate) needs_attention: bool,
    /// Most records to list.
    pub(crate) limit: Option<usize>,
    /// Go on after this record.
    pub(crate) after: Option<DocumentId>,
}

/// Which photos and other blobs go up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UploadsWord {
    /// All.
    All,
    /// Small ones: thumbnails, previews and tracks.
    NoOriginals,
    /// None.
    Nothing,
}

/// What is to go up of photos and other blobs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct BlobsLine {
    /// How many attachments.
    pub(crate) blobs: u64,
    /// Their bytes that the relay does not have.
    pub(crate) bytes: u64,
    /// How many of them are held back.
    pub(crate) held: u64,
}

/// Where a device is, as its receiver says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PositionLine {
    /// The position.
    pub(crate) position: Position,
    /// The radius around it that the device is in, most likely, in metres.
    pub(crate) accuracy_m: f64,
    /// How fast it moves, in metres a second.
    #[serde(default)]
    pub(crate) speed_m_s: Option<f64>,
    /// Whereto, in degrees from north over east.
    #[serde(default)]
    pub(crate) heading_deg: Option<u16>,
    /// The charge of its battery, 0 to 100.
    #[serde(default)]
    pub(crate) battery_percent: Option<u8>,
    /// The receiver's clock, in milliseconds since 1970.
    #[serde(default)]
    pub(crate) receiver_time_ms: Option<WallTime>,
}

/// Where another device was last.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SeenLine {
    /// The device.
    pub(crate) device: DeviceId,
    /// How long ago the fix was made, in seconds.
    pub(crate) age_s: u64,
    /// Whether that is so long that it may be anywhere by now.
    pub(crate) is_stale: bool,
    /// Whether the position is as it was told, and not made coarse.
    pub(crate) is_exact: bool,
    /// How many changes wait on it for the relay, where that is told.
    pub(crate) waiting: Option<u64>,
    /// When the fix was made by the relay's clock, in milliseconds since 1970.
    pub(crate) taken_ms: WallTime,
    /// When it was made by the device's clock, likewise.
    pub(crate) device_time_ms: WallTime,
    /// The fix.
    #[serde(flatten)]
    pub(crate) at: PositionLine,
}

/// A save that is durable on the device.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// The document.
    pub(crate) document: DocumentId,
    /// The change it was saved as.
    pub(crate) change: ChangeHash,
}

/// A photo that is durable on the device, with the edit that refers to it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct TakenLine {
    /// The edit.
    #[serde(flatten)]
    pub(crate) saved: Saved,
    /// The photo's hash.
    pub(crate) hash: BlobHash,
    /// That of its preview.
    pub(crate) preview: BlobHash,
    /// That of its thumbnail.
    pub(crate) thumbnail: BlobHash,
}

/// A record as a program reads it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RecordLine {
    /// The document.
    pub(crate) document: DocumentId,
    /// Its kind.
    pub(crate) kind: String,
    /// The scopes it is in.
    pub(crate) scopes: Vec<Scope>,
    /// Its state.
    pub(crate) status: String,
    /// Whether work is still to be done.
    pub(crate) open: bool,
    /// Its category.
    pub(crate) category: String,
    /// Where it is.
    pub(crate) position: Option<Position>,
    /// When it happened.
    pub(crate) occurred_ms: WallTime,
    /// How many things a person should settle.
    pub(crate) attention: u32,
    /// How far its changes made here have got: `on_device`, `sent` or `received`.
    pub(crate) delivery: String,
    /// How far it is from the place asked for.
    pub(crate) distance_m: Option<f64>,
    /// The kind's own view of it.
    pub(crate) body: Value,
}

/// One change of a document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HistoryLine {
    /// The change.
    pub(crate) change: ChangeHash,
    /// Who made it.
    pub(crate) author: DeviceId,
    /// When it was saved, if that was here.
    pub(crate) saved_ms: Option<WallTime>,
    /// When the relay received it; null while it has not.
    pub(crate) received_ms: Option<WallTime>,
}

/// Where synchronisation stands.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct StateLine {
    /// `offline`, `connecting`, `sending`, `receiving`, `in_sync` or `problem`.
    pub(crate) state: String,
    /// How many saved changes wait for the relay.
    pub(crate) waiting: u64,
    /// In words: what is the matter, and what to do.
    pub(crate) words: String,
}

/// What the link has cost since the device was opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LinkLine {
    /// Whether there is a connection, however silent.
    pub(crate) is_up: bool,
    /// `udp`, or `web_socket` where the network lets no UDP through; nothing before the first connection.
    pub(crate) path: Option<String>,
    /// The present round trip, in milliseconds.
    pub(crate) round_trip_ms: Option<u64>,
    /// Bytes in QUIC's datagrams, without the headers of what carries them.
    pub(crate) sent_bytes: u64,
    /// Likewise.
    pub(crate) received_bytes: u64,
    /// How long the phone's radio was kept on, an estimate for LTE.
    pub(crate) radio_on_s: u64,
    /// Connections tried.
    pub(crate) dials: u64,
}

impl LinkLine {
    /// Makes one of a report.
    pub(crate) fn of(report: &LinkReport) -> Self {
        let path = report.path.map(|path| match path {
            Path::Udp => "udp",
            Path::WebSocket => "web_socket",
        });
        let round_trip = report.round_trip.map(|it| it.as_millis());
        Self {
            is_up: report.is_up,
            path: path.map(str::to_owned),
            round_trip_ms: round_trip.and_then(|it| u64::try_from(it).ok()),
            sent_bytes: report.udp_sent_bytes,
            received_bytes: report.udp_received_bytes,
            radio_on_s: report.radio_on.as_secs(),
            dials: report.dials,
        }
    }
}

/// What waits for the relay.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct OutboxLine {
    /// How many changes.
    pub(crate) changes: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// When the oldest was saved.
    pub(crate) oldest_ms: Option<WallTime>,
}

/// Everything a device, or the relay, holds, in a form that can be compared.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Print {
    /// Each scope with its digest.
    pub(crate) scopes: Vec<ScopePrint>,
    /// Each document.
    pub(crate) documents: Vec<DocumentPrint>,
    /// How many intents the relay refused.
    pub(crate) refused: u64,
    /// How many photos and tracks the relay has not called received.
    #[serde(default)]
    pub(crate) blobs_waiting: u64,
}

/// One scope of a [`Print`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScopePrint {
    /// The scope.
    pub(crate) scope: Scope,
    /// The last entry of its feed.
    pub(crate) cursor: u64,
    /// The digest there.
    pub(crate) digest: String,
    /// How many documents it has.
    pub(crate) documents: u64,
}

/// One document of a [`Print`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DocumentPrint {
    /// The document.
    pub(crate) document: DocumentId,
    /// Its heads, sorted.
    pub(crate) heads: Vec<ChangeHash>,
    /// The hash of the record's whole view.
    pub(crate) value: BlobHash,
    /// Every change in its log, sorted; empty for a relay, which is asked one by one.
    pub(crate) changes: Vec<ChangeHash>,
}

/// What a device tells by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The file is open; requests are taken.
    Ready {
        /// The device.
        device: DeviceId,
    },
    /// Synchronisation stands differently from before.
    State(StateLine),
    /// These documents are different from before.
    Changed {
        /// They, with their state.
        documents: Vec<ChangedLine>,
    },
    /// These changes made here are durable at the relay.
    Acknowledged {
        /// They, and how long it took.
        changes: Vec<AcknowledgedLine>,
    },
    /// Others are elsewhere than before, and `positions` says where; told while they are watched.
    Moved,
    /// The device is leaving a scope, or everything (no scope): the relay gave notice.
    Leaving {
        /// The scope.
        scope: Option<Scope>,
        /// Until when the relay takes what was saved there; for everything, when the device was revoked.
        deadline_ms: i64,
    },
    /// The records of a scope are gone from this device, or everything is (no scope).
    Left {
        /// The scope.
        scope: Option<Scope>,
        /// How many documents are gone.
        removed: u64,
        /// How many changes are kept among the refused ones.
        kept: u64,
    },
    /// The device was revoked, has handed over and signed for it; its file and its keys are destroyed. The last
    /// line.
    Wiped(Farewell),
}

/// A document that changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChangedLine {
    /// The document.
    pub(crate) document: DocumentId,
    /// Its kind.
    pub(crate) kind: String,
    /// Its state.
    pub(crate) status: String,
    /// How many things a person should settle.
    pub(crate) attention: u32,
}

/// A change the relay called durable.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct AcknowledgedLine {
    /// The document.
    pub(crate) document: DocumentId,
    /// The change.
    pub(crate) change: ChangeHash,
    /// How long after the save; null if the save was another process's.
    pub(crate) after_ms: Option<u64>,
}

/// A line from a device.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// The answer to the request of that number.
    Answer(u64, Result<Value, Fault>),
    /// Something happened.
    Event(Event),
}

/// Why a request was not carried out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// What is wrong, in words.
    pub(crate) what: String,
    /// What to do about it, by the name of the remedy.
    pub(crate) remedy: String,
    /// The rule it broke, if it broke one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
}

/// Reads a request's line: its number, if it has one, and what it asks.
pub(crate) fn read_request(line: &str) -> (Option<u64>, Result<Request, Fault>) {
    let fault = |error: serde_json::Error| Fault {
        what: error.to_string(),
        remedy: "FixInput".to_owned(),
        rule: None,
    };
    let mut value: Value = match serde_json::from_str(line) {
        Ok(value) => value,
        Err(error) => return (None, Err(fault(error))),
    };
    let id = value.as_object_mut().and_then(|object| object.remove("id"));
    let request = serde_json::from_value(value).map_err(fault);
    (id.and_then(|id| id.as_u64()), request)
}

/// Writes a request's line.
pub(crate) fn write_request(id: u64, request: &Request) -> String {
    let mut value = serde_json::to_value(request).expect("strings and numbers are always JSON");
    if let Some(object) = value.as_object_mut() {
        object.insert("id".to_owned(), id.into());
    }
    let mut line = value.to_string();
    line.push('\n');
    line
}

/// Writes an answer's line.
pub(crate) fn write_answer(id: Option<u64>, answer: &Result<Value, Fault>) -> String {
    let mut value = match answer {
        Ok(ok) => serde_json::json!({ "ok": ok }),
        Err(fault) => serde_json::json!({ "error": fault }),
    };
    if let (Some(object), Some(id)) = (value.as_object_mut(), id) {
        object.insert("id".to_owned(), id.into());
    }
    let mut line = value.to_string();
    line.push('\n');
    line
}

/// Reads a line that a device wrote; `None` if it is none of ours.
pub(crate) fn read_line(line: &str) -> Option<Line> {
    let mut value: Value = serde_json::from_str(line).ok()?;
    if value.get("event").is_some() {
        return serde_json::from_value(value).ok().map(Line::Event);
    }
    let id = value.get("id")?.as_u64()?;
    let object = value.as_object_mut()?;
    if let Some(fault) = object.remove("error") {
        let fault = serde_json::from_value(fault).ok()?;
        return Some(Line::Answer(id, Err(fault)));
    }
    Some(Line::Answer(id, Ok(object.remove("ok")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_with_its_number() {
        let document = DocumentId::from_bytes([1; 16]);
        let request = Request::Edit {
            document,
            intent: serde_json::json!({"do": "rate", "severity": "serious"}),
        };
        let (id, read) = read_request(&write_request(7, &request));
        assert_eq!(id, Some(7));
        let Ok(Request::Edit {
            document: read,
            intent,
        }) = read
        else {
            panic!("another request")
        };
        assert_eq!((read, intent["do"].as_str()), (document, Some("rate")));
        let (_, query) = read_request(r#"{"do":"query","kind":"incident","limit":3}"#);
        assert!(matches!(query, Ok(Request::Query(query)) if query.limit == Some(3)));
    }

    #[test]
    fn a_request_that_cannot_be_read_says_why() {
        for bad in [
            "",
            "[]",
            r#"{"do":"fly"}"#,
            r#"{"do":"record","document":"x"}"#,
        ] {
            let (_, read) = read_request(bad);
            assert_eq!(read.unwrap_err().remedy, "FixInput", "{bad}");
        }
    }

    #[test]
    fn answers_and_events_are_told_apart() {
        let answer = write_answer(Some(3), &Ok(Value::Bool(true)));
        assert!(matches!(read_line(&answer), Some(Line::Answer(3, Ok(_)))));
        let event = Event::State(StateLine {
            state: "in_sync".into(),
            waiting: 0,
            words: String::new(),
        });
        let line = serde_json::to_string(&event).unwrap();
        assert!(matches!(
            read_line(&line),
            Some(Line::Event(Event::State(_)))
        ));
        assert!(read_line("hello").is_none());
    }
}
