//! `bench reconnect`: what it takes to be in sync again, in time and in bytes.
//!
//! A device that holds what the relay holds meets it over a link of a given round trip: `cold`, with a
//! full handshake; `resumed`, with one that early data goes out with; `live`, on a connection that is
//! up. Before the first two the changes are saved offline and the time in sync counts from the dial; on
//! the live one it counts from the save. The time of the acknowledgement counts from the beginning of the last
//! save in `live`, from the dial in the others, where the change is already durable on the device.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use gridbeat_badlink::{Forwarder, Profile};
use gridbeat_base::Scope;
use gridbeat_device::{Device, Handshake, LinkPolicy, LinkReport};
use gridbeat_link::random_from_system;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::field::{
    PATIENCE, acknowledged, connect, enrol_ahead, in_sync, offline, relay_config, tell,
};
use super::measure::{ms, rounded};
use super::stock::{KIND, Stock, open_device, report};

/// What meets what.
#[derive(Debug, Args)]
pub(super) struct ReconnectArgs {
    /// How many incidents both hold.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    documents: u64,
    /// How many reports were saved since.
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    changed: u64,
    /// How many reports others saved since, which are at the relay.
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    others: u64,
    /// A link by its name, in the place of a round trip: lan, rtt100, rtt400, slow, lossy, flap.
    #[arg(long, value_name = "NAME", conflicts_with = "rtt_ms")]
    link: Option<String>,
    /// The link's round trip, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rtt_ms: u64,
}

/// What a session is to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Session {
    Cold,
    Resumed,
    Live,
}

impl Session {
    const fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Resumed => "resumed",
            Self::Live => "live",
        }
    }
}

/// Prepares both sides, and lets them meet three times.
pub(super) fn run(args: &ReconnectArgs, folder: &TempDir) -> anyhow::Result<Value> {
    let data = folder.path().join("relay");
    let file = folder.path().join("device.db");
    let scope = Scope::new("bench")?;
    let config = relay_config(&data);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let enrolled = runtime.block_on(enrol_ahead(&config, &[scope.clone(), scope.clone()]))?;
    let [mut bundle, mut colleague] =
        <[_; 2]>::try_from(enrolled).map_err(|_| anyhow::anyhow!("two were enrolled"))?;
    let profile = args.profile()?;
    tell("making the documents");
    let mut stock = Stock::open_of(&config)?;
    stock.fill(&scope, args.documents)?;
    let mut device = open_device(&file, bundle.device)?;
    let key = bundle.signer()?.map(|signer| signer.public_key());
    stock.sync_as(&mut device, key)?;
    device.close()?;
    drop(stock);

    runtime.block_on(async {
        let relay = gridbeat_relay::start(config, gridbeat_domain::kinds()).await?;
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let link = Forwarder::udp(here, relay.addr(), profile).await?;
        bundle.relay = link.local_addr().to_string();
        colleague.relay = relay.addr().to_string();
        let others = folder.path().join("colleague.db");
        let others = connect(others, colleague, LinkPolicy::OnRequest).await?;
        // From here on it knows its scope, and has what is there.
        report_elsewhere(&others, &scope, 0).await?;
        let open = |policy| connect(file.clone(), bundle.clone(), policy);

        let device = open(LinkPolicy::OnRequest).await?;
        let mut sessions = Vec::new();
        for session in [Session::Cold, Session::Resumed] {
            report_elsewhere(&others, &scope, args.others).await?;
            sessions.push(dial(&device, &scope, args, session).await?);
        }
        device.close().await;
        let device = open(LinkPolicy::Always).await?;
        in_sync(&device).await?;
        sessions.push(stay(&device, &scope, args).await?);
        device.close().await;
        others.close().await;
        relay.stop().await;
        Ok(json!({
            "bench": "reconnect", "documents": args.documents, "changed": args.changed,
            "others": args.others, "link": args.link, "rtt_ms": args.rtt_ms, "sessions": sessions,
        }))
    })
}

impl ReconnectArgs {
    fn profile(&self) -> anyhow::Result<Profile> {
        let Some(name) = &self.link else {
            return Ok(Profile::delay(Duration::from_millis(self.rtt_ms)));
        };
        Profile::named(name)
            .with_context(|| format!("there is no link {name}, but {:?}", Profile::NAMES))
    }
}

/// Has others report, so that it is at the relay.
async fn report_elsewhere(others: &Device, scope: &Scope, count: u64) -> anyhow::Result<()> {
    save(others, scope, count).await?;
    let report = others.sync_once(PATIENCE).await;
    ensure!(
        report.is_in_sync,
        "others are not in sync but {:?}",
        report.state
    );
    Ok(())
}

/// Saves offline, dials, and ends the link again.
async fn dial(
    device: &Device,
    scope: &Scope,
    args: &ReconnectArgs,
    session: Session,
) -> anyhow::Result<Value> {
    save(device, scope, args.changed).await?;
    let before = device.link_report();
    let mut news = device.link_news();
    let dialled = Instant::now();
    let (synced, acknowledged) = tokio::join!(
        async {
            let report = device.sync_once(PATIENCE).await;
            (report, dialled.elapsed())
        },
        acknowledged(&mut news, args.changed),
    );
    let (report, took) = synced;
    ensure!(report.is_in_sync, "not in sync but {:?}", report.state);
    let acknowledged = acknowledged?.map(|at| at.saturating_duration_since(dialled));
    offline(device).await?;
    let after = device.link_report();
    let is_early = after.handshake == Some(Handshake::Early);
    ensure!(
        is_early == (session == Session::Resumed),
        "the {} session began with another handshake: {:?}",
        session.name(),
        after.handshake
    );
    Ok(figures(
        session,
        args,
        (&before, &after),
        Some(took),
        acknowledged,
    ))
}

/// Saves on a link that is up.
async fn stay(device: &Device, scope: &Scope, args: &ReconnectArgs) -> anyhow::Result<Value> {
    let before = device.link_report();
    if args.changed == 0 {
        // Nothing is to be done, and nothing is sent for it.
        return Ok(figures(Session::Live, args, (&before, &before), None, None));
    }
    let mut news = device.link_news();
    let began = save(device, scope, args.changed).await?;
    let acknowledged = acknowledged(&mut news, args.changed).await?;
    in_sync(device).await?;
    let took = began.elapsed();
    let after = device.link_report();
    let acknowledged = acknowledged.map(|at| at.saturating_duration_since(began));
    Ok(figures(
        Session::Live,
        args,
        (&before, &after),
        Some(took),
        acknowledged,
    ))
}

/// Saves reports; returns when the last save began.
async fn save(device: &Device, scope: &Scope, count: u64) -> anyhow::Result<Instant> {
    let mut random = random_from_system();
    let mut began = Instant::now();
    for _ in 0..count {
        let intent = report(&mut random)?;
        began = Instant::now();
        device.create(KIND, scope, intent).await?;
    }
    Ok(began)
}

fn figures(
    session: Session,
    args: &ReconnectArgs,
    (before, after): (&LinkReport, &LinkReport),
    in_sync: Option<Duration>,
    acknowledged: Option<Duration>,
) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "at most 10,000")]
    let round_trips = |took: Duration| rounded(took.as_secs_f64() * 1e3 / args.rtt_ms as f64);
    json!({
        "session": session.name(),
        "payload_up_bytes": after.payload.sent_bytes - before.payload.sent_bytes,
        "payload_down_bytes": after.payload.received_bytes - before.payload.received_bytes,
        "udp_up_bytes": after.udp_sent_bytes - before.udp_sent_bytes,
        "udp_down_bytes": after.udp_received_bytes - before.udp_received_bytes,
        "in_sync_ms": in_sync.map(ms),
        "acknowledged_ms": acknowledged.map(ms),
        "rtts": in_sync.map(round_trips),
    })
}
