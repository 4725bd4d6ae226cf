//! `gridbeat audit`: verify a relay's evidence on a copy of its database, trace one record through it, and print
//! the operators' log.
//!
//! Reads only. Not here: what is verified (`gridbeat-relay-store`), what it proves (`docs/evidence.md`).

mod trace;

use std::path::PathBuf;

use anyhow::Context as _;
use gridbeat_base::WallTime;
use gridbeat_relay::RelayConfig;
use gridbeat_relay_store::{Archive, AuditError, AuditReport, Finding};
use serde_json::{Value, json};

use crate::args::{AuditArgs, AuditPlace, AuditVerb, Form};
use crate::output::{Ending, print, print_json};

/// How many entries of the operators' log are read at a time.
const LOG_PAGE: u64 = 1000;

/// Does what the verb says.
pub(crate) fn run(args: &AuditArgs) -> anyhow::Result<Ending> {
    match &args.verb {
        AuditVerb::Verify { place, key, output } => verify(place, key.as_deref(), *output),
        AuditVerb::Trace {
            record,
            place,
            lang,
            output,
        } => trace::run(*record, place, *lang, *output),
        AuditVerb::Log { place, output } => log(place, *output),
    }
}

fn verify(place: &AuditPlace, key: Option<&str>, form: Form) -> anyhow::Result<Ending> {
    let archive = open(place)?;
    let mut report = archive.verify().map_err(as_input)?;
    if let Some(key) = key {
        let others = report.segments.iter();
        let others = others.filter(|it| it.key.to_string() != key.to_lowercase());
        let others: Vec<Finding> = others
            .map(|segment| Finding {
                table: "receipt",
                row: format!("id={}", segment.first),
                device: None,
                what: format!(
                    "receipts from here on are signed by another key: {}",
                    segment.key
                ),
            })
            .collect();
        report.findings.extend(others);
    }
    match form {
        Form::Json => print_json(&as_json(&report))?,
        Form::Text => tell(&report)?,
    }
    Ok(if report.is_sound() {
        Ending::Good
    } else {
        Ending::Failed
    })
}

/// Prints the operators' log, page by page: it may be long.
fn log(place: &AuditPlace, form: Form) -> anyhow::Result<Ending> {
    let archive = open(place)?;
    let mut after = 0;
    loop {
        let page = archive.operations(after, LOG_PAGE).map_err(as_input)?;
        let Some(last) = page.last() else {
            return Ok(Ending::Good);
        };
        after = last.number;
        for it in page {
            if form == Form::Json {
                print_json(&json!({
                    "number": it.number, "at_ms": it.at, "who": it.who, "verb": it.verb,
                    "subject": it.subject, "why": it.why, "details": it.details,
                }))?;
                continue;
            }
            let why = match it.why.as_str() {
                "" => String::new(),
                why => format!("  ({why})"),
            };
            let (at, who, verb, subject) = (iso(it.at), it.who, it.verb, it.subject);
            print(&format!(
                "{at}  {who}  {verb} {subject} {}{why}",
                it.details
            ))?;
        }
    }
}

fn open(place: &AuditPlace) -> anyhow::Result<Archive> {
    let config = |data: &PathBuf| RelayConfig {
        data: data.clone(),
        ..RelayConfig::default()
    };
    let db = place.db.clone();
    let db = db.or_else(|| place.data.as_ref().map(|data| config(data).database()));
    let db = db.context("the command line names a file or a folder")?;
    Archive::open(&db).map_err(as_input)
}

/// What cannot be verified is what was handed in, unless reading it failed on the way.
fn as_input(error: AuditError) -> anyhow::Error {
    if let AuditError::Store(_) = error {
        return error.into();
    }
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    Ending::input(&format!("{error}{cause}"))
}

fn tell(report: &AuditReport) -> anyhow::Result<()> {
    for segment in &report.segments {
        print(&format!(
            "from receipt {}, {}: life {} of the database, receipts signed by {}",
            segment.first,
            iso(segment.began),
            segment.incarnation,
            segment.key
        ))?;
    }
    print(&format!(
        "{} receipts, {} batches ({} signed by their devices), {} changes ({} brought back by another \
         device than their author), {} feed entries",
        report.receipts,
        report.batches,
        report.batches_signed,
        report.changes,
        report.changes_recovered,
        report.entries
    ))?;
    print(&format!(
        "{} entries of the operators' log",
        report.operations
    ))?;
    if report.before != (0, 0) {
        let (changes, entries) = report.before;
        print(&format!(
            "of these, {changes} changes and {entries} entries are from before the first receipt"
        ))?;
    }
    for (device, account) in &report.devices {
        let repeated = match account.numbers_repeated {
            0 => String::new(),
            count => format!(", {count} under a number used before: restored, copied or crashed"),
        };
        print(&format!(
            "device {device}: {} batches{repeated}",
            account.batches
        ))?;
    }
    for note in &report.notes {
        print(&format!("note: {note}"))?;
    }
    for finding in &report.findings {
        print(&format!("WRONG: {finding}"))?;
    }
    print(if report.is_sound() {
        "everything is as it was written"
    } else {
        "the first WRONG line names what was changed; later ones may follow from it"
    })?;
    Ok(())
}

fn as_json(report: &AuditReport) -> Value {
    let findings = |findings: &[Finding]| -> Vec<Value> {
        let findings = findings.iter();
        findings
            .map(|it| json!({"table": it.table, "row": it.row, "device": it.device, "what": it.what}))
            .collect()
    };
    let segments: Vec<Value> = report
        .segments
        .iter()
        .map(|it| {
            json!({
                "first": it.first, "began_ms": it.began, "incarnation": it.incarnation,
                "key": it.key.to_string(),
            })
        })
        .collect();
    let devices: Vec<Value> = report
        .devices
        .iter()
        .map(|(device, it)| {
            json!({
                "device": device, "batches": it.batches, "numbers_repeated": it.numbers_repeated,
            })
        })
        .collect();
    json!({
        "sound": report.is_sound(),
        "receipts": report.receipts,
        "batches": report.batches,
        "batches_signed": report.batches_signed,
        "changes": report.changes,
        "changes_recovered": report.changes_recovered,
        "entries": report.entries,
        "operations": report.operations,
        "changes_before": report.before.0,
        "entries_before": report.before.1,
        "segments": segments,
        "devices": devices,
        "notes": findings(&report.notes),
        "findings": findings(&report.findings),
    })
}

fn iso(at: WallTime) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| at.millis().to_string(), |at| at.to_string())
}
