//! `bench open`: how soon a device shows the incidents around it, and what that takes of memory.
//!
//! A plain file and an encrypted one are each opened and asked in a fresh process, so that nothing of their
//! building counts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use gridbeat_base::{DeviceId, Scope};
use gridbeat_device_core::{Near, Order, Query};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::measure::{ms, own_rss_bytes};
use super::stock::{KIND, Stock, key, middle, new_device, open_device_with};

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
    #[arg(long)]
    plain: bool,
}

/// Makes the files, and has them opened.
pub(super) fn run(args: &OpenArgs, folder: &TempDir) -> anyhow::Result<Value> {
    let scope = Scope::new("bench")?;
    let mut stock = Stock::open(&folder.path().join("relay.db"))?;
    stock.fill(&scope, args.documents)?;
    let mut open = |is_plain: bool| -> anyhow::Result<(Value, u64)> {
        let id = new_device();
        let file = folder.path().join(format!("{id}.db"));
        stock.enrol(id, &scope)?;
        let mut device = open_device_with(&file, id, key().filter(|_| !is_plain))?;
        stock.sync(&mut device)?;
        device.close()?;
        let file_bytes = std::fs::metadata(&file)?.len();
        Ok((median(&file, id, is_plain)?, file_bytes))
    };
    let (plain, plain_bytes) = open(true)?;
    // The product encrypts; what cannot is measured as it is.
    let is_encrypted = key().is_some();
    let (figures, file_bytes) = if is_encrypted {
        open(false)?
    } else {
        (plain.clone(), plain_bytes)
    };
    Ok(json!({
        "bench": "open", "documents": args.documents, "runs": RUNS, "encrypted": is_encrypted,
        "file_bytes": file_bytes, "listed": figures["listed"], "open_ms": figures["open_ms"],
        "list_ms": figures["list_ms"], "added_rss_bytes": figures["added_rss_bytes"],
        "plain_file_bytes": plain_bytes, "plain_open_ms": plain["open_ms"],
        "plain_list_ms": plain["list_ms"], "plain_added_rss_bytes": plain["added_rss_bytes"],
    }))
}

/// Has a file opened several times; returns the run with the median time.
fn median(file: &Path, id: DeviceId, is_plain: bool) -> anyhow::Result<Value> {
    let program = std::env::current_exe().context("could not find this program's own file")?;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let output = Command::new(&program)
            .args(["bench", "open-child", "--device", &id.to_string()])
            .args(is_plain.then_some("--plain"))
            .arg("--file")
            .arg(file)
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
    Ok(runs.swap_remove(RUNS / 2))
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
    let key = key().filter(|_| !args.plain);
    let device = open_device_with(&args.file, args.device, key)?;
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
