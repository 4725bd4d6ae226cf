//! `bench return`: how soon what waits arrives when the link comes back.
//!
//! A device holds a connection to the relay over a link of a given round trip. The link goes, a report is
//! saved, time passes, the link returns, and it is taken how long the acknowledgement takes from then on; a
//! number of times, each outage a little longer than the last so that it ends at any moment between two
//! questions of the device. The engine's rule is that data flows again within one round trip and 250 ms: the
//! question that finds the link, and its answer. What then flows is acknowledged one round trip later, so
//! `flows` is the time of the acknowledgement less a round trip.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;
use gridbeat_badlink::{Forwarder, Profile};
use gridbeat_base::Scope;
use gridbeat_device::LinkPolicy;
use gridbeat_link::random_from_system;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::field::{acknowledged, connect, enrol, in_sync, relay_config};
use super::measure::{Samples, rounded};
use super::stock::{KIND, report};

/// What the outages are like.
#[derive(Debug, Args)]
pub(super) struct ReturnArgs {
    /// How many outages.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    outages: u32,
    /// How long the link is away, at least, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    away_ms: u64,
    /// The link's round trip, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rtt_ms: u64,
}

/// How much longer each outage is than the one before: no multiple of the pause between two questions.
const LONGER: Duration = Duration::from_millis(37);

/// Lets the link go and come back.
pub(super) fn run(args: &ReturnArgs, folder: &TempDir) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let (samples, report) = runtime.block_on(play(args, folder))?;
    #[expect(clippy::cast_precision_loss, reason = "at most 10,000")]
    let round_trip = args.rtt_ms as f64;
    let figure = |percent| samples.percentile_ms(percent);
    let flows = |percent| figure(percent).map(|took| rounded(took - round_trip));
    Ok(json!({
        "bench": "return", "outages": args.outages, "away_ms": args.away_ms, "rtt_ms": args.rtt_ms,
        "flows_p50_ms": flows(50), "flows_max_ms": flows(100),
        "acknowledged_p50_ms": figure(50), "acknowledged_max_ms": figure(100),
        "dials": report.dials, "rivals": report.rivals, "asks": report.asks,
    }))
}

async fn play(
    args: &ReturnArgs,
    folder: &TempDir,
) -> anyhow::Result<(Samples, gridbeat_device::LinkReport)> {
    let scope = Scope::new("bench")?;
    let config = relay_config(&folder.path().join("relay"));
    let relay = gridbeat_relay::start(config, gridbeat_domain::kinds()).await?;
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let profile = Profile::delay(Duration::from_millis(args.rtt_ms));
    let link = Forwarder::udp(here, relay.addr(), profile).await?;
    let bundle = enrol(&relay, &scope, link.local_addr()).await?;
    let file = folder.path().join("device.db");
    let device = connect(file, bundle, LinkPolicy::Always).await?;
    in_sync(&device).await?;
    let mut random = random_from_system();
    let mut samples = Samples::default();
    for outage in 0..args.outages {
        link.set_up(false);
        let mut news = device.link_news();
        device.create(KIND, &scope, report(&mut random)?).await?;
        tokio::time::sleep(Duration::from_millis(args.away_ms) + LONGER * outage).await;
        link.set_up(true);
        let back = Instant::now();
        if let Some(at) = acknowledged(&mut news, 1).await? {
            samples.push(at.saturating_duration_since(back));
        }
        in_sync(&device).await?;
    }
    let report = device.link_report();
    device.close().await;
    relay.stop().await;
    Ok((samples, report))
}
