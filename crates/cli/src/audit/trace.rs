//! `gridbeat audit trace`: who did what to one record, when, and whom it reached, from a relay's database.
//!
//! Everything told is in the file: who signed, when the relay received, what the record says of itself, how far
//! devices said they are. What the file cannot tell is said so. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, WallTime};
use gridbeat_document::{
    Author, Change, Document, Incoming, Provenance, Side, Verdict, View, gate,
};
use gridbeat_domain::{Deed, deeds, kinds};
use gridbeat_relay_store::{AuditError, DocumentTrace, TracedChange};
use serde_json::{Value, json};

use super::{as_input, iso, open};
use crate::args::{AuditPlace, Form, Language};
use crate::output::{Ending, print, print_json};

/// What is said of what no relay can know.
const UNKNOWN: &str = "not known: when a device that wrote nothing after it received a change, and who looked at it; \
                       the relay keeps how far each device is, and when it last said so";

/// A record's history, with what each change did and who wrote on top of it.
struct Story {
    trace: DocumentTrace,
    /// For each change, by its place in the log.
    told: Vec<Told>,
    /// Whether the whole file's evidence is as it was written; `None` if there is none.
    is_sound: Option<bool>,
}

/// What one change did, and the first change that each other device made knowing it.
struct Told {
    deeds: Vec<Deed>,
    author_clock: Option<WallTime>,
    /// By device: the place in the log of its first change that depends on this one.
    built_on: BTreeMap<DeviceId, usize>,
}

/// Tells a record's history.
pub(super) fn run(
    document: DocumentId,
    place: &AuditPlace,
    language: Language,
    form: Form,
) -> anyhow::Result<Ending> {
    let archive = open(place)?;
    let trace = archive.trace(document).map_err(as_input)?;
    let trace =
        trace.ok_or_else(|| Ending::input(&format!("the database knows no record {document}")))?;
    let is_sound = match archive.verify() {
        Ok(report) => Some(report.is_sound()),
        Err(AuditError::NoReceipts) => None,
        Err(error) => return Err(as_input(error)),
    };
    let told = tell_changes(&trace);
    let story = Story {
        trace,
        told,
        is_sound,
    };
    match form {
        Form::Json => print_json(&story.as_json(document))?,
        Form::Text => {
            for line in story.lines(document, language) {
                print(&line)?;
            }
        }
    }
    Ok(if is_sound == Some(false) {
        Ending::Failed
    } else {
        Ending::Good
    })
}

/// Builds the document change by change, and asks its kind what each one did.
fn tell_changes(trace: &DocumentTrace) -> Vec<Told> {
    let known: BTreeMap<ChangeHash, Provenance> = trace
        .changes
        .iter()
        .map(|change| {
            let provenance = Provenance {
                author: Some(change.author),
                received: Some(change.received),
            };
            (change.hash, provenance)
        })
        .collect();
    let provenance = |hash: &ChangeHash| known.get(hash).copied().unwrap_or_default();
    let kinds = kinds();
    let kind = kinds.find(&trace.kind);
    let mut document = kind.map(|kind| Document::genesis(kind, trace.schema_version));
    let mut before = View::default();
    let mut told = Vec::with_capacity(trace.changes.len());
    for change in &trace.changes {
        let mut done = Vec::new();
        if let Some(document) = &mut document {
            let incoming = [Incoming {
                bytes: &change.bytes,
                author: Author::decided(change.author),
                received: Some(change.received),
            }];
            let verdicts = gate::admit(document, &incoming, Side::Relay, &provenance);
            if matches!(verdicts[..], [Verdict::Admitted(_)]) {
                let after = document.view(&provenance);
                done = deeds(&trace.kind, &before, &after, &change.hash);
                before = after;
            }
        }
        told.push(Told {
            deeds: done,
            author_clock: change.batch.map(|batch| batch.stamp.wall),
            built_on: BTreeMap::new(),
        });
    }
    add_builders(&trace.changes, &mut told);
    told
}

/// Finds for each change the first one that each other device made knowing it: one that depends on it.
fn add_builders(changes: &[TracedChange], told: &mut [Told]) {
    let places: BTreeMap<ChangeHash, usize> = changes.iter().map(|it| it.hash).zip(0..).collect();
    for (place, change) in changes.iter().enumerate() {
        let mut seen = BTreeSet::new();
        let mut ways = vec![place];
        while let Some(at) = ways.pop() {
            let deps = Change::parse(&changes[at].bytes).map_or_else(|_| Vec::new(), |it| it.deps);
            for dep in deps.iter().filter_map(|dep| places.get(dep).copied()) {
                if seen.insert(dep) {
                    ways.push(dep);
                }
            }
        }
        for earlier in seen {
            if changes[earlier].author != change.author {
                told[earlier].built_on.entry(change.author).or_insert(place);
            }
        }
    }
}

impl Story {
    /// Names a device: by its name, with its id if another one has the same, or by its id alone.
    fn name(&self, device: DeviceId) -> String {
        let all = &self.trace.devices;
        let name = all.get(&device).map_or("", |known| known.name.as_str());
        match all.values().filter(|known| known.name == name).count() {
            _ if name.is_empty() => device.to_string(),
            0 | 1 => name.to_owned(),
            _ => format!("{name} {device}"),
        }
    }

    /// When the relay last heard from a device how far it is.
    fn heard(&self, device: DeviceId) -> String {
        let heard = self.trace.devices.get(&device).and_then(|it| it.heard);
        heard.map_or_else(|| "never".to_owned(), iso)
    }

    fn lines(&self, document: DocumentId, language: Language) -> Vec<String> {
        let trace = &self.trace;
        let mut lines = vec![
            format!("{} {document}: {} changes", trace.kind, trace.changes.len()),
            match self.is_sound {
                Some(true) => "evidence: everything is as it was written".to_owned(),
                Some(false) => {
                    "evidence: WRONG, something was changed since: gridbeat audit verify".to_owned()
                }
                None => "evidence: none, the database has no receipts".to_owned(),
            },
        ];
        let named = self.named();
        lines.extend(named.iter().map(|device| {
            format!(
                "device {}: {device}, last heard of {}",
                self.name(*device),
                self.heard(*device)
            )
        }));
        for placement in &trace.placements {
            let what = if placement.entered { "entered" } else { "left" };
            let at = placement
                .at
                .map_or_else(|| "at a time not on record".to_owned(), iso);
            lines.push(format!(
                "{what} {} {at}, entry {}",
                placement.scope, placement.seq
            ));
        }
        for (place, (change, told)) in trace.changes.iter().zip(&self.told).enumerate() {
            self.change_lines(place, change, told, language, &mut lines);
        }
        for refused in &trace.refused {
            lines.push(format!(
                "refused ({}): {} from {}, received {}",
                refused.code,
                refused
                    .hash
                    .map_or_else(|| "no change".to_owned(), |hash| hash.to_string()),
                self.name(refused.device),
                iso(refused.received)
            ));
        }
        lines.push(UNKNOWN.to_owned());
        lines
    }

    /// The devices that the story names.
    fn named(&self) -> BTreeSet<DeviceId> {
        let mut named = BTreeSet::new();
        for change in &self.trace.changes {
            named.extend([change.author, change.brought_by]);
            named.extend(&change.held_by);
        }
        named.extend(self.trace.refused.iter().map(|it| it.device));
        named
    }

    fn change_lines(
        &self,
        place: usize,
        change: &TracedChange,
        told: &Told,
        language: Language,
        lines: &mut Vec<String>,
    ) {
        lines.push(format!(
            "{} {} by {}",
            place + 1,
            change.hash,
            self.name(change.author)
        ));
        if told.deeds.is_empty() {
            lines.push("    did: what this program has no words for".to_owned());
        }
        for deed in &told.deeds {
            let what = match language {
                Language::En => &deed.en,
                Language::Zh => &deed.zh,
            };
            let by = if deed.by.is_empty() {
                String::new()
            } else {
                format!(", {}", deed.by)
            };
            let times = deed.times.map_or_else(String::new, |times| {
                let gps = times.gps.map_or_else(|| "not known".to_owned(), iso);
                format!("; device's clock {}, satellite's {gps}", iso(times.device))
            });
            lines.push(format!("    did: {what}{by}{times}"));
        }
        lines.push(format!(
            "    received: {}, {}",
            iso(change.received),
            self.brought(change)
        ));
        for (device, first) in &told.built_on {
            let later = &self.trace.changes[*first];
            let by_clock = self.told[*first].author_clock;
            let clock = by_clock.map_or_else(String::new, |at| {
                format!(", pushed {} by its clock", iso(at))
            });
            lines.push(format!(
                "    known to: {}, who wrote change {} on it{clock}, received {}",
                self.name(*device),
                first + 1,
                iso(later.received)
            ));
        }
        for device in change
            .held_by
            .iter()
            .filter(|it| !told.built_on.contains_key(it))
        {
            lines.push(format!(
                "    known to: {}, by {} at the latest",
                self.name(*device),
                self.heard(*device)
            ));
        }
    }

    /// Who brought a change, and under whose signature.
    fn brought(&self, change: &TracedChange) -> String {
        let from = self.name(change.brought_by);
        let batch = change.batch.map_or_else(
            || "without a batch on record".to_owned(),
            |batch| {
                let signed = if batch.is_signed {
                    "signed"
                } else {
                    "not signed"
                };
                format!(
                    "batch {} {signed}, receipt {}",
                    batch.stamp.number, batch.receipt
                )
            },
        );
        if change.brought_by == change.author {
            format!("from {from}, {batch}")
        } else {
            format!("brought back by {from}, {batch}: not under its author's signature")
        }
    }

    fn as_json(&self, document: DocumentId) -> Value {
        let trace = &self.trace;
        let changes = trace.changes.iter().zip(&self.told);
        let changes: Vec<Value> = changes
            .map(|(change, told)| self.change_json(change, told))
            .collect();
        let placements: Vec<Value> = trace
            .placements
            .iter()
            .map(|it| {
                json!({
                    "scope": it.scope, "entered": it.entered, "seq": it.seq, "at_ms": it.at,
                })
            })
            .collect();
        let refused: Vec<Value> = trace
            .refused
            .iter()
            .map(|it| {
                json!({
                    "device": it.device, "scope": it.scope, "change": it.hash, "code": it.code,
                    "received_ms": it.received,
                })
            })
            .collect();
        let devices: Vec<Value> = self
            .named()
            .into_iter()
            .map(|device| {
                let known = trace.devices.get(&device).cloned().unwrap_or_default();
                json!({"device": device, "name": known.name, "heard_ms": known.heard})
            })
            .collect();
        json!({
            "document": document, "kind": trace.kind, "sound": self.is_sound, "devices": devices,
            "placements": placements, "changes": changes, "refused": refused, "not_known": UNKNOWN,
        })
    }

    fn change_json(&self, change: &TracedChange, told: &Told) -> Value {
        let deeds: Vec<Value> = told
            .deeds
            .iter()
            .map(|deed| json!({
                "en": deed.en, "zh": deed.zh, "by": deed.by,
                "device_ms": deed.times.map(|it| it.device), "gps_ms": deed.times.and_then(|it| it.gps),
            }))
            .collect();
        let built_on: Vec<Value> = told
            .built_on
            .iter()
            .map(|(device, first)| {
                json!({
                    "device": device, "change": self.trace.changes[*first].hash,
                    "pushed_ms": self.told[*first].author_clock,
                    "received_ms": self.trace.changes[*first].received,
                })
            })
            .collect();
        let batch = change.batch.map(|it| {
            json!({
                "number": it.stamp.number, "signed": it.is_signed, "receipt": it.receipt,
                "pushed_ms": it.stamp.wall,
            })
        });
        json!({
            "change": change.hash, "author": change.author, "brought_by": change.brought_by,
            "received_ms": change.received, "batch": batch, "did": deeds,
            "entries": change.entries, "held_by": change.held_by, "built_on": built_on,
        })
    }
}
