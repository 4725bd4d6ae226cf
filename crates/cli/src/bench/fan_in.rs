//! `bench fan-in`: a shift comes back from a tunnel, and every outbox arrives at once.
//!
//! The devices' reports are saved offline before the relay starts. Each device writes in an area of its
//! own, so that what is measured is admission and commit, not the fan-out to each other. The devices
//! share processors and disk with the relay, and make every acknowledgement durable there: on a real
//! relay's machine it has them to itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use gridbeat_base::Scope;
use gridbeat_device::{Device, DeviceBundle, LinkNews, LinkPolicy};
use gridbeat_link::{Clock, random_from_system};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use super::field::{PATIENCE, RelayProcess, connect, enrol_ahead, relay_config, tell};
use super::measure::{Samples, peak_rss_bytes, rounded};
use super::stock::{KIND, Stock, open_device, report};

/// Who brings how much.
#[derive(Debug, Args)]
pub(super) struct FanInArgs {
    /// How many devices come back at once.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=200))]
    devices: u64,
    /// How many reports each of them has saved.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    incidents: u64,
}

/// What one device saw.
#[derive(Debug, Default)]
struct Seen {
    /// How long each change waited for its acknowledgement, from when its push was sent.
    waits: Vec<Duration>,
    /// When its last change was acknowledged.
    last: Option<Instant>,
}

/// Fills the outboxes, and lets them all go.
pub(super) fn run(args: &FanInArgs, folder: &TempDir) -> anyhow::Result<Value> {
    let data = folder.path().join("relay");
    let config = relay_config(&data);
    let scopes = (0..args.devices).map(|number| Scope::new(&format!("area-{number}")));
    let scopes: Vec<Scope> = scopes.collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    tell("enrolling the devices");
    let bundles = runtime.block_on(enrol_ahead(&config, &scopes))?;
    tell("filling the outboxes");
    let mut stock = Stock::open(&config.database())?;
    for (bundle, scope) in bundles.iter().zip(&scopes) {
        prepare(&mut stock, folder, bundle, scope, args.incidents)?;
    }
    drop(stock);

    let relay = RelayProcess::start(&data)?;
    let (seen, began) = runtime.block_on(async {
        let mut open = Vec::new();
        for mut bundle in bundles {
            bundle.relay = relay.addr().to_string();
            let file = folder.path().join(format!("{}.db", bundle.device));
            open.push(connect(file, bundle, LinkPolicy::OnRequest).await?);
        }
        bring(open, args.incidents).await
    })?;
    let relay_peak_rss_bytes = peak_rss_bytes(relay.id())?;
    relay.stop()?;

    let mut waits = Samples::default();
    seen.iter()
        .flat_map(|seen| &seen.waits)
        .for_each(|wait| waits.push(*wait));
    let last = seen.iter().filter_map(|seen| seen.last).max();
    let seconds = last
        .context("nothing was acknowledged")?
        .saturating_duration_since(began);
    let changes = args.devices * args.incidents;
    #[expect(clippy::cast_precision_loss, reason = "at most 200,000")]
    let changes_per_s = rounded(changes as f64 / seconds.as_secs_f64());
    Ok(json!({
        "bench": "fan-in", "devices": args.devices, "incidents": args.incidents, "changes": changes,
        "seconds": rounded(seconds.as_secs_f64()), "changes_per_s": changes_per_s,
        "acknowledge_p50_ms": waits.percentile_ms(50), "acknowledge_p99_ms": waits.percentile_ms(99),
        "relay_peak_rss_bytes": relay_peak_rss_bytes,
    }))
}

/// Makes a device's file, with reports that wait.
fn prepare(
    stock: &mut Stock,
    folder: &TempDir,
    bundle: &DeviceBundle,
    scope: &Scope,
    incidents: u64,
) -> anyhow::Result<()> {
    let file = folder.path().join(format!("{}.db", bundle.device));
    let mut device = open_device(&file, bundle.device)?;
    let key = bundle.signer()?.map(|signer| signer.public_key());
    stock.sync_as(&mut device, key)?;
    let (clock, mut random) = (Clock::start(), random_from_system());
    for _ in 0..incidents {
        device.create(clock.now(), KIND, scope, &report(&mut random)?)?;
    }
    device.close()?;
    Ok(())
}

/// Lets all devices dial; returns what each saw, and when they began.
async fn bring(devices: Vec<Device>, incidents: u64) -> anyhow::Result<(Vec<Seen>, Instant)> {
    let news: Vec<_> = devices.iter().map(Device::link_news).collect();
    let began = Instant::now();
    let mut running = JoinSet::new();
    for (device, news) in devices.into_iter().zip(news) {
        running.spawn(async move {
            let (report, seen) = tokio::join!(device.sync_once(PATIENCE), watch(news, incidents));
            ensure!(
                report.is_in_sync,
                "a device is not in sync but {:?}",
                report.state
            );
            device.close().await;
            seen
        });
    }
    let mut seen = Vec::new();
    while let Some(ended) = running.join_next().await {
        seen.push(ended??);
    }
    Ok((seen, began))
}

/// Listens until so many changes were acknowledged.
async fn watch(mut news: Receiver<LinkNews>, incidents: u64) -> anyhow::Result<Seen> {
    let listen = async {
        let mut seen = Seen::default();
        while (seen.waits.len() as u64) < incidents {
            match news.recv().await {
                Ok(LinkNews::Acknowledged { changes, after, .. }) => {
                    seen.waits.extend(std::iter::repeat_n(after, changes));
                    seen.last = Some(Instant::now());
                }
                Ok(
                    LinkNews::Up { .. }
                    | LinkNews::EarlyRefused
                    | LinkNews::Down { .. }
                    | LinkNews::Renewed { .. },
                ) => {}
                Err(RecvError::Lagged(_)) => bail!("acknowledgements were missed"),
                Err(RecvError::Closed) => bail!("a device stopped"),
            }
        }
        Ok(seen)
    };
    tokio::time::timeout(PATIENCE, listen)
        .await
        .context("not everything was acknowledged in time")?
}
