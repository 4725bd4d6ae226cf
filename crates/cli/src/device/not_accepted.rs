//! `gridbeat device not-accepted`: what the relay did not accept, for a person to see to.
//!
//! What was wanted and why it was refused are told in both languages, here and in the exported file, which can
//! be read without this program. Not here: how something gets here (`gridbeat-device-core`).

use std::path::Path;

use anyhow::Context as _;
use gridbeat_device::{Device, RefusedIntent};
use gridbeat_domain::wanted;
use serde_json::{Value, json};

use crate::args::{Form, NotAcceptedVerb};
use crate::output::{Ending, print, print_json};
use crate::relay::iso;

/// Does what the verb says.
pub(super) async fn run(device: &Device, verb: NotAcceptedVerb) -> anyhow::Result<Ending> {
    match verb {
        NotAcceptedVerb::List { all, output } => {
            let rows = rows(device, all).await?;
            match output {
                Form::Json => print_json(&rows.iter().map(line).collect::<Vec<_>>())?,
                Form::Text => rows.iter().try_for_each(tell)?,
            }
        }
        NotAcceptedVerb::Edit { number, intent } => {
            if let Err(error) = serde_json::from_str::<Value>(&intent) {
                return Err(Ending::usage(&format!("the intent is no JSON: {error}")));
            }
            let saved = device.correct_refused(number, intent.into_bytes()).await?;
            print(&format!(
                "saved {}; number {number} is replaced by it",
                saved.document
            ))?;
        }
        NotAcceptedVerb::Drop { number, yes } => {
            if !yes {
                return Err(Ending::usage(
                    "what was typed is not sent then; say --yes to drop it",
                ));
            }
            if !device.drop_refused(number).await? {
                return Err(Ending::input(&format!(
                    "nothing that was not accepted has the number {number}"
                )));
            }
            print(&format!("dropped {number}; the history keeps it"))?;
        }
        NotAcceptedVerb::Export { file, all } => {
            let count = export(device, &file, all).await?;
            print(&format!("wrote {count} to {}", file.display()))?;
        }
    }
    Ok(Ending::Good)
}

async fn rows(device: &Device, all: bool) -> anyhow::Result<Vec<RefusedIntent>> {
    let mut rows = device.refused().await?;
    if all {
        rows.extend(device.refused_history().await?);
        rows.sort_by_key(|row| row.id);
    }
    Ok(rows)
}

/// One thing that was not accepted, as a program reads it.
pub(super) fn line(row: &RefusedIntent) -> Value {
    let intent = row.intent.as_deref();
    let told = intent.and_then(|intent| wanted(&row.kind, intent));
    let (en, zh, text) = told.map_or_else(
        || ("a change", "一项修改", String::new()),
        |it| (it.en, it.zh, it.text),
    );
    let replaced_by = row.settled.and_then(|settled| settled.replaced_by);
    json!({
        "number": row.id, "document": row.document, "kind": row.kind, "scope": row.scope,
        "change": row.change, "author": row.author, "saved_ms": row.saved, "refused_ms": row.refused,
        "wanted": {"en": en, "zh": zh, "text": text},
        "reason": {"code": row.reason.code, "en": row.reason.en, "zh": row.reason.zh},
        "intent": intent.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok()),
        "settled_ms": row.settled.map(|settled| settled.at),
        "replaced_by": replaced_by.map(|saved| json!({
            "document": saved.document, "change": saved.change,
        })),
    })
}

fn tell(row: &RefusedIntent) -> anyhow::Result<()> {
    let line = line(row);
    let word = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let (wanted, reason) = (&line["wanted"], &line["reason"]);
    print(&format!(
        "{:>4}  {} / {}: {}",
        row.id,
        word(&wanted["zh"]),
        word(&wanted["en"]),
        word(&wanted["text"])
    ))?;
    print(&format!(
        "      未接收 / not accepted: {} / {} ({})",
        word(&reason["zh"]),
        word(&reason["en"]),
        word(&reason["code"])
    ))?;
    print(&format!(
        "      {} {}, 保存于 / saved {}, 退回于 / refused {}",
        row.kind,
        row.document,
        iso(row.saved),
        iso(row.refused)
    ))?;
    if let Some(settled) = row.settled {
        print(&match settled.replaced_by {
            Some(by) => format!(
                "      已更正 / corrected {} by {}",
                iso(settled.at),
                by.change
            ),
            None => format!("      已放弃 / dropped {}", iso(settled.at)),
        })?;
    }
    Ok(())
}

/// Writes a file that people can read without this program; one that is there is not touched.
async fn export(device: &Device, file: &Path, all: bool) -> anyhow::Result<usize> {
    let rows = rows(device, all).await?;
    let lines: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut line = line(row);
            for (key, at) in [("saved", row.saved), ("refused", row.refused)] {
                line[key] = iso(at).into();
            }
            line
        })
        .collect();
    let page = json!({
        "about": {
            "zh": "本设备上未被服务端接收的内容。wanted 为当时要做的事及所写文字，reason 为未接收的原因。",
            "en": "What the relay did not accept from this device. wanted is what was to be done and what was \
                   written, reason is why it was not accepted.",
        },
        "device": device.id(),
        "not_accepted": lines,
    });
    let text = serde_json::to_string_pretty(&page)? + "\n";
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).open(file);
    let written = opened.and_then(|mut opened| {
        std::io::Write::write_all(&mut opened, text.as_bytes())?;
        opened.sync_all()
    });
    written.with_context(|| format!("{} could not be written", file.display()))?;
    Ok(lines.len())
}
