//! `bench save`: how long a person waits until a report is durable, beside what the disk takes anyway.
//!
//! Reports and bare inserts take turns, so that both meet the same disk. A bare insert writes as many
//! bytes into a fresh SQLite file of the same settings as a report's change and its intent have.

use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use gridbeat_base::Scope;
use gridbeat_device::{Config, Device};
use gridbeat_link::random_from_system;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::measure::{Samples, rounded};
use super::stock::{INSTALL, KIND, Stock, new_device, open_device, report};

/// Reports saved before anything is measured: they fill caches and make the files grow.
const WARM_UP: u64 = 5;

/// What to save.
#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    /// How many reports are saved.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    reports: u64,
}

/// Saves reports, each beside a bare insert.
pub(super) fn run(args: &SaveArgs, folder: &TempDir) -> anyhow::Result<Value> {
    let file = folder.path().join("device.db");
    let id = new_device();
    let scope = Scope::new("bench")?;
    let mut stock = Stock::open(&folder.path().join("relay.db"))?;
    stock.enrol(id, &scope)?;
    let mut device = open_device(&file, id)?;
    stock.sync(&mut device)?;
    device.close()?;
    drop(stock);

    let bare = bare_file(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let config = Config::alone(file, id, INSTALL, gridbeat_domain::kinds());
        let device = Device::open(config).await?;
        let mut random = random_from_system();
        let (mut saves, mut inserts) = (Samples::default(), Samples::default());
        let (mut waiting_bytes, mut total_bytes) = (0, 0);
        for number in 0..WARM_UP + args.reports {
            let intent = report(&mut random)?;
            let intent_bytes = intent.len() as u64;
            let began = Instant::now();
            device.create(KIND, &scope, intent).await?;
            let saved = began.elapsed();
            let waits = device.outbox().await?.bytes;
            let bytes = waits - waiting_bytes + intent_bytes;
            waiting_bytes = waits;
            let content = vec![0xA5_u8; usize::try_from(bytes)?];
            let began = Instant::now();
            bare.execute("INSERT INTO bare (content) VALUES (?1)", [content])?;
            let inserted = began.elapsed();
            if number >= WARM_UP {
                saves.push(saved);
                inserts.push(inserted);
                total_bytes += bytes;
            }
        }
        device.close().await;
        let p50_ms = saves.percentile_ms(50).context("nothing was saved")?;
        let bare_insert_p50_ms = inserts.percentile_ms(50).context("nothing was inserted")?;
        Ok(json!({
            "bench": "save", "reports": args.reports, "report_bytes": total_bytes / args.reports,
            "p50_ms": p50_ms, "p99_ms": saves.percentile_ms(99),
            "bare_insert_p50_ms": bare_insert_p50_ms, "bare_insert_p99_ms": inserts.percentile_ms(99),
            "ratio_p50": rounded(p50_ms / bare_insert_p50_ms),
        }))
    })
}

fn bare_file(folder: &TempDir) -> anyhow::Result<Connection> {
    let bare = Connection::open(folder.path().join("bare.db"))?;
    bare.pragma_update(None, "journal_mode", "WAL")?;
    bare.pragma_update(None, "synchronous", "FULL")?;
    bare.execute(
        "CREATE TABLE bare (id INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT",
        [],
    )?;
    Ok(bare)
}
