//! `bench save`: how long a person waits until a report is durable, beside what the disk takes anyway.
//!
//! Reports into an encrypted file, reports into a plain one and bare inserts take turns, so that all meet
//! the same disk. A bare insert writes as many bytes into a fresh SQLite file of the same settings as a
//! report's change and its intent have.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use gridbeat_base::{Random, Scope};
use gridbeat_device::{Config, DatabaseKey, Device, KeySource};
use gridbeat_link::random_from_system;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::measure::{Samples, rounded};
use super::stock::{INSTALL, KIND, Stock, key, new_device, open_device_with, report};

/// Reports saved before anything is measured: they fill caches and make the files grow.
const WARM_UP: u64 = 5;

/// What to save.
#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    /// How many reports are saved.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    reports: u64,
}

/// A device that reports are saved on.
struct Saver {
    device: Device,
    scope: Scope,
    waiting_bytes: u64,
    times: Samples,
}

impl Saver {
    async fn open(
        folder: &Path,
        name: &str,
        key: impl Fn() -> Option<DatabaseKey>,
    ) -> anyhow::Result<Self> {
        let (file, id, scope) = (folder.join(name), new_device(), Scope::new("bench")?);
        let mut stock = Stock::open(&folder.join("relay.db"))?;
        stock.enrol(id, &scope)?;
        let mut device = open_device_with(&file, id, key())?;
        stock.sync(&mut device)?;
        device.close()?;
        let mut config = Config::alone(file, id, INSTALL, gridbeat_domain::kinds());
        config.key = key().map_or(KeySource::None, KeySource::Key);
        Ok(Self {
            device: Device::open(config).await?,
            scope,
            waiting_bytes: 0,
            times: Samples::default(),
        })
    }

    /// Saves a report; returns how long that took, and the bytes of its change and its intent.
    async fn save(&mut self, random: &mut Random) -> anyhow::Result<(Duration, u64)> {
        let intent = report(random)?;
        let intent_bytes = intent.len() as u64;
        let began = Instant::now();
        self.device.create(KIND, &self.scope, intent).await?;
        let saved = began.elapsed();
        let waits = self.device.outbox().await?.bytes;
        let bytes = waits - self.waiting_bytes + intent_bytes;
        self.waiting_bytes = waits;
        Ok((saved, bytes))
    }
}

/// Saves reports, each beside a bare insert.
pub(super) fn run(args: &SaveArgs, folder: &TempDir) -> anyhow::Result<Value> {
    let bare = bare_file(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut plain = Saver::open(folder.path(), "plain.db", || None).await?;
        let mut encrypted = match key() {
            Some(_) => Some(Saver::open(folder.path(), "device.db", key).await?),
            None => None,
        };
        let mut random = random_from_system();
        let (mut inserts, mut total_bytes) = (Samples::default(), 0);
        for number in 0..WARM_UP + args.reports {
            let counts = number >= WARM_UP;
            if let Some(encrypted) = &mut encrypted {
                let (took, _) = encrypted.save(&mut random).await?;
                if counts {
                    encrypted.times.push(took);
                }
            }
            let (took, bytes) = plain.save(&mut random).await?;
            let content = vec![0xA5_u8; usize::try_from(bytes)?];
            let began = Instant::now();
            bare.execute("INSERT INTO bare (content) VALUES (?1)", [content])?;
            let inserted = began.elapsed();
            if counts {
                plain.times.push(took);
                inserts.push(inserted);
                total_bytes += bytes;
            }
        }
        // The product encrypts; what cannot is measured as it is.
        let saves = encrypted.as_ref().map_or(&plain.times, |it| &it.times);
        let p50_ms = saves.percentile_ms(50).context("nothing was saved")?;
        let plain_p50_ms = plain.times.percentile_ms(50).context("nothing was saved")?;
        let bare_insert_p50_ms = inserts.percentile_ms(50).context("nothing was inserted")?;
        let figures = json!({
            "bench": "save", "reports": args.reports, "report_bytes": total_bytes / args.reports,
            "encrypted": encrypted.is_some(), "p50_ms": p50_ms, "p99_ms": saves.percentile_ms(99),
            "plain_p50_ms": plain_p50_ms, "plain_p99_ms": plain.times.percentile_ms(99),
            "bare_insert_p50_ms": bare_insert_p50_ms, "bare_insert_p99_ms": inserts.percentile_ms(99),
            "ratio_p50": rounded(p50_ms / bare_insert_p50_ms),
            "plain_ratio_p50": rounded(plain_p50_ms / bare_insert_p50_ms),
        });
        plain.device.close().await;
        if let Some(encrypted) = encrypted {
            encrypted.device.close().await;
        }
        Ok(figures)
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
