//! `bench open`: how soon a device shows the incidents around it, and what that takes of memory.
//!
//! The file is opened and asked in a fresh process each time, so that nothing of its building counts.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use gridbeat_base::{DeviceId, Scope};
use gridbeat_device_core::{Near, Order, Query};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::measure::{ms, own_rss_bytes};
use super::stock::{KIND, Stock, middle, new_device, open_device};

/// How often the file is opened; the run with the median time counts.
const RUNS: usize = 5;

/// What to open.
#[derive(Debug, Args)]
pub(super) struct OpenArgs {
    /// How many incidents the file holds.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    documents: u64,
}

/// What the child opens.
#[derive(Debug, Args)]
pub(super) struct ChildArgs {
    #[arg(long)]
    file: PathBuf,
    #[arg(long)]
    device: DeviceId,
}

/// Makes a file, and has it opened.
pub(super) fn run(args: &OpenArgs, folder: &TempDir) -> anyhow::Result<Value> {
    let file = folder.path().join("device.db");
    let id = new_device();
    let scope = Scope::new("bench")?;
    let mut stock = Stock::open(&folder.path().join("relay.db"))?;
    stock.fill(&scope, args.documents)?;
    stock.enrol(id, &scope)?;
    let mut device = open_device(&file, id)?;
    stock.sync(&mut device)?;
    device.close()?;
    let file_bytes = std::fs::metadata(&file)?.len();

    let program = std::env::current_exe().context("could not find this program's own file")?;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let output = Command::new(&program)
            .args(["bench", "open-child", "--device", &id.to_string(), "--file"])
            .arg(&file)
            .output()?;
        if !output.status.success() {
            bail!(
                "the opening process failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        runs.push(serde_json::from_slice::<Value>(&output.stdout)?);
    }
    let took = |run: &Value| {
        run["open_ms"].as_f64().unwrap_or(f64::MAX) + run["list_ms"].as_f64().unwrap_or(f64::MAX)
    };
    runs.sort_by(|left, right| took(left).total_cmp(&took(right)));
    let median = &runs[RUNS / 2];
    Ok(json!({
        "bench": "open", "documents": args.documents, "runs": RUNS, "file_bytes": file_bytes,
        "listed": median["listed"], "open_ms": median["open_ms"], "list_ms": median["list_ms"],
        "added_rss_bytes": median["added_rss_bytes"],
    }))
}

/// Opens the file, lists, and tells what that took.
pub(super) fn child(args: &ChildArgs) -> anyhow::Result<Value> {
    let query = Query {
        kind: Some(KIND.to_owned()),
        is_open: Some(true),
        near: Some(Near {
            position: middle()?,
            within_m: None,
        }),
        order: Order::NearestFirst,
        ..Query::default()
    };
    let rss_before_bytes = own_rss_bytes()?;
    let began = Instant::now();
    let device = open_device(&args.file, args.device)?;
    let opened = began.elapsed();
    let records = device.query(&query)?;
    let listed = began.elapsed();
    let added_rss_bytes = own_rss_bytes()?.saturating_sub(rss_before_bytes);
    ensure!(!records.is_empty(), "the file holds no open incidents");
    device.close()?;
    Ok(json!({
        "open_ms": ms(opened), "list_ms": ms(listed.saturating_sub(opened)), "listed": records.len(),
        "added_rss_bytes": added_rss_bytes,
    }))
}
