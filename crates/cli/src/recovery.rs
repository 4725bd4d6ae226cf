//! `gridbeat relay backup`, `stable`, `restore`, `recovered`: a relay's copy, and its return after a loss.
//!
//! Not here: how a copy is made (`gridbeat-relay-store`), what devices then do (`gridbeat-device-core`).

use std::path::Path;

use gridbeat_base::WallTime;
use gridbeat_relay::{Recovered, RelayConfig, backup, recovered, restore, set_stable};
use serde_json::json;

use crate::args::{Form, Hand};
use crate::office::by;
use crate::output::{Ending, print, print_json};
use crate::relay::{iso, read};

/// Copies the database of a relay that may be running.
pub(crate) fn run_backup(hand: &Hand, to: &Path, form: Form) -> anyhow::Result<Ending> {
    if to.exists() {
        let name = to.display();
        return Err(Ending::input(&format!(
            "{name} is there already: name another file"
        )));
    }
    let made = backup(&read(&hand.place.config)?, to, by(hand)?)?;
    match form {
        Form::Json => print_json(&json!({
            "file": to, "size_bytes": made.size_bytes, "changes": made.changes,
            "incarnation": made.incarnation, "stable_ms": made.stable,
        }))?,
        Form::Text => {
            print(&format!(
                "copied {} changes into {} ({} B), and opened it to see that it is whole",
                made.changes,
                to.display(),
                made.size_bytes
            ))?;
            if let Some(stable) = made.stable {
                print(&format!(
                    "devices need not keep what was received until {}",
                    iso(stable)
                ))?;
            }
        }
    }
    Ok(Ending::Good)
}

/// Moves the stable mark by an operator's word.
pub(crate) fn run_stable(hand: &Hand, as_of: &str) -> anyhow::Result<Ending> {
    let at: jiff::Timestamp = as_of.parse().map_err(|error| {
        Ending::usage(&format!(
            "write the time as 2026-11-25T08:00:00Z or with an offset: {error}"
        ))
    })?;
    let at = WallTime(at.as_millisecond());
    let config = read(&hand.place.config)?;
    print(&match set_stable(&config, at, by(hand)?)? {
        Some(stable) => format!("the stable mark is {}", iso(stable)),
        None => "nothing was received yet: there is no mark".to_owned(),
    })?;
    Ok(Ending::Good)
}

/// Puts a backup in the place of a stopped relay's database.
pub(crate) fn run_restore(hand: &Hand, from: &Path, yes: bool) -> anyhow::Result<Ending> {
    let config = read(&hand.place.config)?;
    if !yes {
        return Err(Ending::usage(&format!(
            "{} would be moved aside and {} put in its place; say --yes to do it",
            config.database().display(),
            from.display()
        )));
    }
    let done = restore(&config, from, by(hand)?)?;
    for aside in &done.aside {
        print(&format!("moved aside: {}", aside.display()))?;
    }
    print(&format!(
        "restored {} changes, received until {}",
        done.changes,
        done.received.map_or_else(|| "never".to_owned(), iso)
    ))?;
    print(&format!(
        "life {} of the database begins. Start the relay: each device compares what it holds when it next \
         calls, and offers what is missing here, whoever wrote it. gridbeat relay recovered says what came back, \
         from whom, and who has not called.",
        done.incarnation
    ))?;
    Ok(Ending::Good)
}

/// Says what came back since, and who has not called.
pub(crate) fn run_recovered(config: &RelayConfig, form: Form) -> anyhow::Result<Ending> {
    let report = recovered(config)?;
    match form {
        Form::Json => print_json(&report)?,
        Form::Text => tell(&report)?,
    }
    Ok(Ending::Good)
}

fn tell(report: &Recovered) -> anyhow::Result<()> {
    print(&format!(
        "life {} of the database, {} before it; it began {}",
        report.incarnation,
        report.lives_before,
        report
            .began_ms
            .map_or_else(|| "at a time not known".to_owned(), iso)
    ))?;
    print(&match report.stable_ms {
        Some(at) => format!("known to be in a backup: all received until {}", iso(at)),
        None => "no backup was made yet: devices keep what they sent".to_owned(),
    })?;
    if report.brought.is_empty() {
        print("nothing came back from devices")?;
    }
    for line in &report.brought {
        let scopes: Vec<&str> = line.scopes.iter().map(|scope| scope.as_str()).collect();
        let author = if line.author == line.device {
            "its own".to_owned()
        } else {
            format!("by {} {}", line.author_name, line.author)
        };
        print(&format!(
            "{} {} brought {} changes of {} documents, {author} ({})",
            line.name,
            line.device,
            line.changes,
            line.documents,
            scopes.join(", ")
        ))?;
    }
    for line in &report.silent {
        print(&format!(
            "{} {} has not called since; last heard {}",
            line.name,
            line.device,
            iso(line.seen_ms)
        ))?;
    }
    Ok(())
}
