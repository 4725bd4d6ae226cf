//! `bench gate`: what it costs to check a push before it is let into a document.
//!
//! A relay or a device loads a document, lets one honest change pass the gate, and would store the result. Taken
//! is the gate alone, once for each of many pushes, at several lengths of the document; and how long it takes to
//! refuse the few bytes that name millions of operations.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use gridbeat_base::{ChangeHash, DeviceId, Hlc, Random, WallTime};
use gridbeat_document::{
    Actor, Author, Change, Document, Incoming, Kind, Provenance, Side, Stamp, Verdict, gate,
};
use gridbeat_domain::{IncidentIntent, Severity, kinds};
use serde_json::{Value, json};

use super::measure::Samples;
use super::stock::{KIND, report};

/// What is pushed into what.
#[derive(Debug, Args)]
pub(super) struct GateArgs {
    /// How many changes the document has; may be repeated.
    #[arg(long, value_name = "N", default_values_t = [10, 200, 1_000], value_parser = clap::value_parser!(u32).range(1..=4_000))]
    changes: Vec<u32>,
    /// How many pushes are timed for each.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pushes: u32,
}

/// 66 bytes that name 10 million operations, and as many that name 130 million (measured with Automerge 0.12:
/// 15 s and 4 GB to apply the first, 15 s to decode the second).
const OP_BOMBS: [(&str, &str); 2] = [
    (
        "10_million",
        "856f4a835c9a218c013800046576696c0101ffffffffffffffffff000000051506340442055605700580ade204016b80ade2\
         0480ade2040180ade2040080ade20400",
    ),
    (
        "130_million",
        "856f4a8319b3e313013800046576696c0101ffffffffffffffffff000000051506340442055605700580c9fe3d016b80c9fe\
         3d80c9fe3d0180c9fe3d0080c9fe3d00",
    ),
];

/// Times the gate.
pub(super) fn run(args: &GateArgs) -> anyhow::Result<Value> {
    let kind = kinds();
    let kind = Arc::clone(kind.find(KIND).context("the domain has no incidents")?);
    let mut lengths = Vec::new();
    for changes in &args.changes {
        let (saved, next) = incident(&kind, *changes)?;
        let samples = time(&kind, &saved, &next, args.pushes)?;
        lengths.push(json!({
            "changes": changes, "bytes": saved.len(),
            "p50_ms": samples.percentile_ms(50), "p99_ms": samples.percentile_ms(99),
        }));
    }
    let (saved, _) = incident(&kind, 10)?;
    let mut bombs = serde_json::Map::new();
    for (name, digits) in OP_BOMBS {
        let bomb = bytes(digits)?;
        let mut samples = Samples::default();
        for _ in 0..args.pushes {
            let mut document = Document::load(&kind, kind.schema_version(), &saved)?;
            let began = Instant::now();
            let verdict = push(&mut document, &bomb);
            samples.push(began.elapsed());
            ensure!(
                matches!(verdict, Verdict::Refused { .. }),
                "a bomb was let in: {verdict:?}"
            );
        }
        bombs.insert(format!("{name}_p99_ms"), samples.percentile_ms(99).into());
    }
    Ok(json!({
        "bench": "gate", "pushes": args.pushes, "documents": lengths, "op_bombs": bombs,
    }))
}

fn time(kind: &Arc<dyn Kind>, saved: &[u8], next: &Change, pushes: u32) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..pushes {
        let mut document = Document::load(kind, kind.schema_version(), saved)?;
        let began = Instant::now();
        let verdict = push(&mut document, &next.bytes);
        samples.push(began.elapsed());
        ensure!(
            matches!(verdict, Verdict::Admitted(_)),
            "an honest change was not let in: {verdict:?}"
        );
    }
    Ok(samples)
}

fn push(document: &mut Document, bytes: &[u8]) -> Verdict {
    let incoming = [Incoming {
        bytes,
        author: Author::decided(author()),
        received: None,
    }];
    gate::admit(document, &incoming, Side::Device, &provenance).remove(0)
}

fn author() -> DeviceId {
    DeviceId::from_bytes([1; 16])
}

fn provenance(_: &ChangeHash) -> Provenance {
    Provenance {
        author: Some(author()),
        received: None,
    }
}

/// Makes an incident of so many changes: its report, then ratings and notes, and the next change after them.
fn incident(kind: &Arc<dyn Kind>, changes: u32) -> anyhow::Result<(Vec<u8>, Change)> {
    let mut random = Random::from_number(changes.into());
    let mut document = Document::genesis(kind, kind.schema_version());
    let actor = Actor::mint(&mut random);
    let mut edit = |document: &mut Document, number: u32, intent: &[u8]| {
        let wall = WallTime(1_780_000_000_000 + i64::from(number) * 60_000);
        let stamp = Stamp {
            hlc: Hlc::at(wall),
            wall,
            relay_offset_ms: Some(0),
            device: author(),
            fact: random.bytes(),
        };
        document.edit(actor, intent, &stamp, &provenance)
    };
    let filed = report(&mut Random::from_number(1))?;
    edit(&mut document, 0, &filed)?;
    for number in 1..changes {
        edit(&mut document, number, &later(number)?)?;
    }
    let before = document.save();
    let next = edit(&mut document, changes, &later(changes)?)?;
    Ok((before, next))
}

fn later(number: u32) -> anyhow::Result<Vec<u8>> {
    let severity = [Severity::Ordinary, Severity::Serious, Severity::Urgent];
    let intent = if number.is_multiple_of(4) {
        let severity = severity[(number / 4) as usize % severity.len()];
        IncidentIntent::Rate { severity }
    } else {
        IncidentIntent::Step {
            step: gridbeat_domain::Step::Note,
            note: format!("第{number}次到场，已拍照并设置警示牌，等待权属单位处置"),
            unit: None,
            by: "王警官".into(),
            gps: None,
        }
    };
    Ok(serde_json::to_vec(&intent)?)
}

fn bytes(digits: &str) -> anyhow::Result<Vec<u8>> {
    let digits = digits.as_bytes().chunks(2);
    digits
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}
