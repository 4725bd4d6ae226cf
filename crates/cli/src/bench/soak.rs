//! `bench soak`: devices change records without a pause, over links that fail all the time, and one relay takes it all in.
//!
//! It is asked whether the relay's memory and its log stay where they are once everything is warm, and whether all that was
//! saved is there in the end: nothing waits on a device, none of it was refused, every change is in the relay's database as
//! plain SQL reads it, and devices of one area hold the same. The relay is a process of its own; the devices, and the links
//! before them, share this one. Each area has some devices, so that what one saves comes down to others.
//!
//! - `officer`: one device, and what is done on it
//! - `samples`: what is taken again and again, and how it grows
//! - `seen`: all that was seen, in figures and in words
//!
//! Not here: relays that die (the binary `kills` of the package `tests`), faults of disks and clocks (`gridbeat sim`).

mod officer;
mod samples;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use gridbeat_base::{Random, Scope};
use gridbeat_device::SyncState;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::field::{RelayProcess, relay_config, tell};
use super::measure::{own_rss_bytes, peak_rss_bytes, rss_bytes};
use crate::input::read_links;
use officer::{HASH_BYTES, Officer, chaos};
use samples::Sample;
use seen::Seen;

/// Devices of one area: what one saves comes down to three others, as in a grid with its neighbours.
const DEVICES_AN_AREA: u32 = 4;

/// How far apart samples are.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// How long everything may take to arrive once all links are good.
const SETTLE_MAX: Duration = Duration::from_mins(10);

/// How often it is asked whether everything has arrived.
const SETTLED_EVERY: Duration = Duration::from_millis(500);

/// How long, how much, by how many.
#[derive(Debug, Args)]
pub(super) struct SoakArgs {
    /// How long changes are saved, in minutes; parts of one too.
    #[arg(long, value_name = "MINUTES", default_value = "30", value_parser = minutes)]
    minutes: Duration,
    /// How many changes a second all devices save together.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How many devices there are.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    devices: u32,
    /// Recorded links: one JSON, a folder of them or a tar [default: made up, with outages every twenty seconds].
    #[arg(long, value_name = "FILE")]
    links: Option<PathBuf>,
    /// Decides made-up links, what goes wrong beside outages, and what is done.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.05..=10_000.0).contains(&minutes) {
        return Err("not between 0.05 and 10,000".to_owned());
    }
    Ok(Duration::from_secs_f64(minutes * 60.0))
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Soaked {
    /// The figures, as JSON.
    pub(super) figures: Value,
    /// The same in lines for people.
    pub(super) words: String,
    /// Whether everything that was saved is where it belongs.
    pub(super) is_whole: bool,
}

/// Does it all.
pub(super) fn run(args: &SoakArgs, folder: &TempDir) -> anyhow::Result<Soaked> {
    let data = folder.path().join("relay");
    let database = relay_config(&data).database();
    let mut relay = RelayProcess::start(&data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut field = runtime.block_on(play(args, folder.path(), &mut relay))?;
    field.relay_peak_rss_bytes = peak_rss_bytes(relay.id())?;
    relay.stop()?;
    let held = changes(&database)?;
    let mut saved = 0;
    let mut missing = 0;
    for file in &field.files {
        for change in hashes(file)? {
            saved += 1;
            missing += u64::from(!held.contains(&change));
        }
    }
    field.saved = saved;
    field.missing = missing;
    field.database_bytes = std::fs::metadata(&database)?.len();
    Ok(Soaked {
        figures: field.figures(args),
        words: field.words(args),
        is_whole: field.is_whole(),
    })
}

/// Lets all devices work over bad links, then makes the links good and waits.
async fn play(args: &SoakArgs, folder: &Path, relay: &mut RelayProcess) -> anyhow::Result<Seen> {
    let recorded = args.links.as_deref().map(read_links).transpose()?;
    let recorded = recorded.map_or_else(Vec::new, |links| links.logs);
    let mut recorded = recorded.iter().map(|(_, log)| log).cycle();
    let mut random = Random::from_number(args.seed);
    let mut officers = Vec::new();
    for number in 0..args.devices {
        let scope = Scope::new(&format!("area-{}", number / DEVICES_AN_AREA))?;
        let link = chaos(recorded.next(), random.number(), number)?;
        let officer = Officer::enrol(relay, folder, scope, &link, random.fork());
        officers.push(officer.await?);
    }
    let files = officers.iter().map(Officer::ledger).collect();
    tell("all devices are enrolled");
    let began = Instant::now();
    let until = began + args.minutes;
    let pace = Duration::from_secs(1) * args.devices / args.rate;
    let saved = Arc::new(AtomicU64::new(0));
    let mut working = JoinSet::new();
    for officer in officers {
        working.spawn(officer.work(pace, until, Arc::clone(&saved)));
    }
    let wal = relay_config(&folder.join("relay")).database();
    let wal = wal.with_extension("db-wal");
    let (mut samples, mut officers) = (Vec::new(), Vec::new());
    let mut beat = tokio::time::interval(SAMPLE_EVERY);
    while !working.is_empty() {
        tokio::select! {
            _ = beat.tick() => {
                let sample = Sample {
                    at: began.elapsed(),
                    relay_rss_bytes: rss_bytes(relay.id())?,
                    devices_rss_bytes: own_rss_bytes()?,
                    wal_bytes: std::fs::metadata(&wal).map_or(0, |file| file.len()),
                    saved: saved.load(Ordering::Relaxed),
                };
                tell(&sample.to_string());
                samples.push(sample);
            }
            Some(ended) = working.join_next() => officers.push(ended??),
        }
    }
    let worked = began.elapsed();
    tell("all links are good from here on");
    let settled = settle(&officers).await?;
    let mut seen = Seen {
        samples,
        worked,
        files,
        settled,
        ..Seen::default()
    };
    for officer in officers {
        seen.add(officer).await?;
    }
    Ok(seen)
}

/// Makes all links good, and waits until everything has arrived everywhere; `None` if it does not.
async fn settle(officers: &[Officer]) -> anyhow::Result<Option<Duration>> {
    for officer in officers {
        officer.leave_chaos();
    }
    let began = Instant::now();
    while began.elapsed() < SETTLE_MAX {
        if has_settled(officers).await? {
            return Ok(Some(began.elapsed()));
        }
        tokio::time::sleep(SETTLED_EVERY).await;
    }
    Ok(None)
}

async fn has_settled(officers: &[Officer]) -> anyhow::Result<bool> {
    for officer in officers {
        let device = officer.device()?;
        if let SyncState::Problem { .. } = device.sync_state() {
            bail!("a device has a problem: {:?}", device.sync_state());
        }
        let is_in_sync = matches!(device.sync_state(), SyncState::InSync { .. });
        if !is_in_sync || device.outbox().await?.changes > 0 {
            return Ok(false);
        }
    }
    let mut areas = BTreeMap::new();
    for officer in officers {
        let holds = officer.device()?.fingerprint().await?;
        let first = areas
            .entry(officer.scope().clone())
            .or_insert_with(|| holds.clone());
        if *first != holds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads the names of all changes that a relay has, by plain SQL.
fn changes(database: &Path) -> anyhow::Result<BTreeSet<[u8; HASH_BYTES]>> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut all = connection.prepare("SELECT hash FROM change")?;
    let rows = all.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Reads what a device wrote down.
fn hashes(file: &Path) -> anyhow::Result<Vec<[u8; HASH_BYTES]>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .context("what was saved cannot be read")?;
    let (hashes, rest) = bytes.as_chunks();
    ensure!(rest.is_empty(), "what was saved ends in half a hash");
    Ok(hashes.to_vec())
}
