//! `bench relay-memory`: a relay's memory does not grow with what it stores.
//!
//! The documents lie in one area; the idle devices are each in sync in an area of their own, because what is
//! asked for is what a waiting device costs, not what a download does.

use anyhow::Context as _;
use clap::Args;
use gridbeat_base::Scope;
use gridbeat_device::LinkPolicy;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::field::{RelayProcess, connect, in_sync, relay_config, tell};
use super::measure::{peak_rss_bytes, rss_bytes};
use super::stock::Stock;

/// What the relay has.
#[derive(Debug, Args)]
pub(super) struct RelayMemoryArgs {
    /// How many incidents its database holds.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    documents: u64,
    /// How many devices are connected and idle.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=200))]
    devices: u64,
}

/// Makes the database, starts a relay over it, and connects the devices.
pub(super) fn run(args: &RelayMemoryArgs, folder: &TempDir) -> anyhow::Result<Value> {
    let data = folder.path().join("relay");
    let config = relay_config(&data);
    let database = config.database();
    // A database with receipts from its first change: one that gets them later is read through at that start.
    RelayProcess::start(&data)?.stop()?;
    tell("making the documents");
    let mut stock = Stock::open_of(&config)?;
    stock.fill(&Scope::new("bench")?, args.documents)?;
    drop(stock);
    let database_bytes = std::fs::metadata(&database)
        .context("there is no database")?
        .len();

    let mut relay = RelayProcess::start(&data)?;
    let rss_start_bytes = rss_bytes(relay.id())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let rss_with_devices_bytes = runtime.block_on(async {
        let mut devices = Vec::new();
        for number in 0..args.devices {
            let scope = Scope::new(&format!("idle-{number}"))?;
            let bundle = relay.enrol(&scope).await?;
            let file = folder.path().join(format!("{}.db", bundle.device));
            devices.push(connect(file, bundle, LinkPolicy::Always).await?);
        }
        for device in &devices {
            in_sync(device).await?;
        }
        let rss = rss_bytes(relay.id())?;
        for device in devices {
            device.close().await;
        }
        anyhow::Ok(rss)
    })?;
    let relay_peak_rss_bytes = peak_rss_bytes(relay.id())?;
    relay.stop()?;
    Ok(json!({
        "bench": "relay-memory", "documents": args.documents, "devices": args.devices,
        "database_bytes": database_bytes, "rss_start_bytes": rss_start_bytes,
        "rss_with_devices_bytes": rss_with_devices_bytes, "relay_peak_rss_bytes": relay_peak_rss_bytes,
    }))
}
