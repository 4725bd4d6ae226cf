//! The device of a workload.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use gridbeat_base::{ChangeHash, DocumentId};
use gridbeat_device::{Config, Device, LinkPolicy, Query, Record};
use serde_json::{Value, json};

use super::pool::{Pool, Who};
use super::{States, address, device_of, read_names, read_states, say, words, write_states};
use crate::bench::measure::{ms, peak_rss_bytes};
use crate::bench::stock::INSTALL;

/// The longest a session may take: what no engine manages in seven minutes is not managed.
const PATIENCE: Duration = Duration::from_mins(10);

/// So many records are what a person looks at first.
const USABLE: usize = 100;

/// Whom it talks to, and what is to come of it.
#[derive(Debug, Args)]
pub(super) struct ClientArgs {
    /// The relay's address: `host:port`, or a URL with one.
    #[arg(long)]
    url: String,
    /// What it is to hold in the end.
    #[arg(long, value_name = "FILE")]
    expect: PathBuf,
    /// What it holds in the beginning.
    #[arg(long, value_name = "FILE")]
    held: Option<PathBuf>,
    /// 1 for a device that holds nothing yet.
    #[arg(long, value_name = "0|1", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    first: u8,
}

/// Synchronises when it is told to.
pub(super) async fn sync(args: &ClientArgs, dir: &Path, pool: &Pool) -> anyhow::Result<()> {
    let who = if args.first == 1 {
        Who::Newcomer
    } else {
        Who::Officer
    };
    std::fs::create_dir_all(dir)?;
    let file = device_of(dir);
    ensure!(
        file.exists() != (args.first == 1),
        "{}: a device that holds nothing has no file, any other has one",
        file.display()
    );
    let bundle = pool.bundle(who, address(&args.url))?;
    let mut config = Config::new(file, bundle, INSTALL, crate::bench::kinds());
    config.link = LinkPolicy::OnRequest;
    let device = Device::open(config).await?;
    let expected = read_states(&args.expect)?;
    if let Some(held) = &args.held {
        let here = device.fingerprint().await?;
        for document in read_names(held)? {
            let is_here = here.binary_search_by_key(&document, |it| it.0).is_ok();
            ensure!(is_here, "document {document} is not on the device");
        }
    }
    let here = device.fingerprint().await?.into_iter();
    let own = unsent(&device, &here.map(|it| it.0).collect::<Vec<_>>()).await?;
    let mut words = words();
    say("ready", &json!({}))?;
    let mut running = None;
    loop {
        let word = words.recv().await;
        let word = word.unwrap_or_else(|| vec!["quit".to_owned()]);
        match word.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["go"] if running.is_none() => {
                let (device, expected) = (device.clone(), expected.clone());
                running = Some(tokio::spawn(go(device, expected)));
            }
            ["status"] => say("status", &figures(&device).await?)?,
            ["acked", file] => {
                let waiting = unsent(&device, &own).await?;
                let acked: Vec<_> = own.iter().filter(|it| !waiting.contains(it)).collect();
                std::fs::write(file, serde_json::to_vec(&acked)?)?;
                say("acked", &json!({ "documents": acked.len() }))?;
            }
            ["state", file] => {
                let states: States = device.fingerprint().await?.into_iter().collect();
                write_states(Path::new(file), &states)?;
                say("state", &json!({}))?;
            }
            // A save is durable when it returns.
            ["flush"] => say("durable", &json!({}))?,
            ["quit"] => break,
            _ => say("unknown", &json!({ "word": word.join(" ") }))?,
        }
    }
    device.close().await;
    if let Some(running) = running {
        running.await.context("the session was cut off")?;
    }
    say("quit", &json!({}))
}

/// Synchronises, and says what became of it.
async fn go(device: Device, expected: States) {
    let usable = tokio::spawn(usable(device.clone()));
    let outcome = meet(&device, expected).await;
    usable.abort();
    let usable = usable.await.unwrap_or(None);
    let said = match outcome {
        Ok(mut figures) => {
            figures["usable_ms"] = json!(usable.map(ms));
            say("done", &figures)
        }
        Err(error) => say("failed", &json!({ "why": format!("{error:#}") })),
    };
    // The harness may be gone; then nobody asks.
    drop(said);
}

/// Waits until the device lists as many records as a person looks at first; returns how long that took. `None` if it
/// holds them already.
async fn usable(device: Device) -> Option<Duration> {
    let began = Instant::now();
    let mut watch = device.watch(Query {
        limit: USABLE,
        ..Query::default()
    });
    let enough = |records: &[Record]| records.len() >= USABLE;
    if enough(watch.next().await.ok()?) {
        return None;
    }
    while !enough(watch.next().await.ok()?) {}
    Some(began.elapsed())
}

/// Synchronises until everything expected is held and everything of the device's own is acknowledged.
async fn meet(device: &Device, mut expected: States) -> anyhow::Result<Value> {
    let began = Instant::now();
    loop {
        let left = PATIENCE.saturating_sub(began.elapsed());
        let report = device.sync_once(left).await;
        ensure!(
            report.is_in_sync,
            "not in sync after {PATIENCE:?} but {:?}",
            report.state
        );
        expected = missing(device, expected).await?;
        if expected.is_empty() && device.blobs_waiting().await?.blobs == 0 {
            return figures(device).await;
        }
    }
}

/// Returns what of the expected states the device does not hold.
async fn missing(device: &Device, expected: States) -> anyhow::Result<States> {
    let here: BTreeMap<_, _> = device.fingerprint().await?.into_iter().collect();
    let mut missing = States::new();
    for (document, heads) in expected {
        let is_head = |hash: &ChangeHash| {
            here.get(&document)
                .is_some_and(|heads| heads.contains(hash))
        };
        let mut left: Vec<ChangeHash> = heads.into_iter().filter(|it| !is_head(it)).collect();
        if !left.is_empty() && here.contains_key(&document) {
            let history = device.history(document).await?;
            left.retain(|hash| history.iter().all(|entry| entry.change != *hash));
        }
        if !left.is_empty() {
            missing.insert(document, left);
        }
    }
    Ok(missing)
}

/// Returns the documents with changes that the relay has not called durable.
async fn unsent(device: &Device, among: &[DocumentId]) -> anyhow::Result<Vec<DocumentId>> {
    let mut unsent = Vec::new();
    for document in among {
        let history = device.history(*document).await?;
        if history.iter().any(|entry| entry.received.is_none()) {
            unsent.push(*document);
        }
    }
    Ok(unsent)
}

async fn figures(device: &Device) -> anyhow::Result<Value> {
    let link = device.link_report();
    Ok(json!({
        "waiting": device.outbox().await?.changes,
        "payload_up_bytes": link.payload.sent_bytes,
        "payload_down_bytes": link.payload.received_bytes,
        "udp_up_bytes": link.udp_sent_bytes,
        "udp_down_bytes": link.udp_received_bytes,
        "dials": link.dials,
        "peak_rss_bytes": peak_rss_bytes(std::process::id())?,
    }))
}
