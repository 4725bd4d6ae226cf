//! The devices of a fan-in: each comes back with a shift of its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use gridbeat_device::{Config, Device, LinkPolicy};
use serde_json::json;
use tokio::task::JoinSet;

use super::action::read;
use super::pool::{Pool, Who};
use super::prepare::act;
use super::{address, relay_of, say, words};
use crate::bench::field::relay_config;
use crate::bench::stock::{INSTALL, Stock, open_device};

/// The longest a fan-in may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// Who comes back.
#[derive(Debug, Args)]
pub(super) struct FanArgs {
    /// The first device.
    #[arg(long, value_name = "NUMBER")]
    from: usize,
    /// The one after the last.
    #[arg(long, value_name = "NUMBER")]
    to: usize,
    /// The folder of their actions, a file each: `dev000.jsonl` and so on.
    #[arg(long, value_name = "FOLDER")]
    ops: PathBuf,
    /// The relay's address.
    #[arg(long)]
    url: String,
}

/// Saves every shift, and lets them all go when it is told to.
pub(super) async fn come_back(args: &FanArgs, pool: &Pool) -> anyhow::Result<()> {
    ensure!(args.from < args.to, "nobody comes back");
    let place = tempfile::tempdir_in(std::env::current_dir()?)?;
    pool.relay(&relay_of(place.path()))?;
    let mut stock = Stock::open_of(&relay_config(&relay_of(place.path())))?;
    let mut devices = Vec::new();
    let mut changes = 0;
    for number in args.from..args.to {
        let who = Who::Fan(number);
        let bundle = pool.bundle(who, address(&args.url))?;
        let file = place.path().join(format!("{number}.db"));
        let actions = read(&args.ops.join(format!("dev{number:03}.jsonl")))?;
        changes += actions.len();
        let mut device = open_device(&file, bundle.device)?;
        // Where it may write it learns from a relay.
        let key = bundle.signer()?.map(|signer| signer.public_key());
        stock.sync_as(&mut device, key)?;
        act(&mut device, who, &actions)?;
        device.close()?;
        let mut config = Config::new(file, bundle, INSTALL, crate::bench::kinds());
        config.link = LinkPolicy::OnRequest;
        devices.push(Device::open(config).await?);
    }
    drop(stock);
    let mut words = words();
    say(
        "ready",
        &json!({ "devices": devices.len(), "changes": changes }),
    )?;
    while let Some(word) = words.recv().await {
        match word.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["go"] => go(&devices).await?,
            ["quit"] => break,
            _ => say("unknown", &json!({ "word": word.join(" ") }))?,
        }
    }
    for device in devices {
        device.close().await;
    }
    say("quit", &json!({}))
}

async fn go(devices: &[Device]) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    for device in devices {
        let device = device.clone();
        running.spawn(async move { device.sync_once(PATIENCE).await });
    }
    let mut acknowledged = 0;
    while let Some(report) = running.join_next().await {
        let report = report.context("a device was cut off")?;
        ensure!(
            report.is_in_sync,
            "a device is not in sync but {:?}",
            report.state
        );
        acknowledged += report.acknowledged_changes;
    }
    say("done", &json!({ "acknowledged": acknowledged }))
}
