//! `gridbeat blob fsck|gc`: what an operator does with the photos and files in a relay's database.
//!
//! Both work while the relay runs. Not here: what is wrong and what may go (`gridbeat-relay-store`).

use std::time::Duration;

use gridbeat_relay::{BlobCheck, BlobsCleared};
use serde_json::json;

use crate::args::{BlobVerb, Form, Hand};
use crate::office::{act, open};
use crate::output::{Ending, print, print_json};

/// Does what the verb says.
pub(crate) fn run(verb: BlobVerb) -> anyhow::Result<Ending> {
    match verb {
        BlobVerb::Fsck { place, output } => fsck(&open(&place)?.check_blobs()?, output),
        BlobVerb::Gc {
            hand,
            days,
            yes,
            output,
        } => gc(&hand, days, yes, output),
    }
}

fn fsck(check: &BlobCheck, form: Form) -> anyhow::Result<Ending> {
    let ending = if check.is_sound() {
        Ending::Good
    } else {
        Ending::Failed
    };
    if form == Form::Json {
        let texts =
            |hashes: &[_]| -> Vec<String> { hashes.iter().map(ToString::to_string).collect() };
        let missing = check.missing.iter();
        print_json(&json!({
            "whole": check.whole,
            "whole_bytes": check.whole_bytes,
            "damaged": texts(&check.damaged),
            "missing": missing.map(|(document, blob)| json!({
                "document": document.to_string(),
                "blob": blob.to_string(),
            })).collect::<Vec<_>>(),
            "unused": check.unused.len(),
            "unused_bytes": check.unused.iter().map(|(_, bytes)| bytes).sum::<u64>(),
            "awaited": check.awaited,
            "uploads": check.uploads,
        }))?;
        return Ok(ending);
    }
    print(&format!(
        "whole     {} photos and files that are what they are called, {} B",
        check.whole, check.whole_bytes
    ))?;
    print(&format!(
        "awaited   {} that records refer to and that have not come; {} half-way",
        check.awaited, check.uploads
    ))?;
    let unused: u64 = check.unused.iter().map(|(_, bytes)| bytes).sum();
    print(&format!(
        "unused    {} that no record refers to, {unused} B",
        check.unused.len()
    ))?;
    for hash in &check.damaged {
        print(&format!("damaged   {hash}"))?;
    }
    for (document, hash) in &check.missing {
        print(&format!("missing   {hash} of {document}"))?;
    }
    if ending == Ending::Failed {
        print(
            "put a backup in its place (gridbeat relay restore): devices then bring again what they hold",
        )?;
    }
    Ok(ending)
}

fn gc(hand: &Hand, days: u32, yes: bool, form: Form) -> anyhow::Result<Ending> {
    let unmoved = Duration::from_hours(24 * u64::from(days));
    let cleared = act(hand)?.clear_blobs(unmoved, !yes)?;
    let BlobsCleared {
        unused,
        uploads,
        bytes,
    } = cleared;
    if form == Form::Json {
        print_json(&json!({
            "is_done": yes,
            "unused": unused,
            "uploads": uploads,
            "bytes": bytes,
        }))?;
        return Ok(Ending::Good);
    }
    let verb = if yes {
        "cleared away"
    } else {
        "would clear away"
    };
    print(&format!(
        "{verb} {unused} photos and files that no record refers to and {uploads} half-way uploads, {bytes} B"
    ))?;
    if !yes && cleared != BlobsCleared::default() {
        print("they are gone for good then; say --yes to do it")?;
    }
    Ok(Ending::Good)
}
