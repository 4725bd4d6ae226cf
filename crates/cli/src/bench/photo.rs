//! `bench photo`: what cuts cost a photo on its way, and what a photo on its way costs a report.
//!
//! First one photo goes up without a cut, and another with so many: each time the link goes, the device is closed in the
//! dark and opened again, and the link returns. What the cuts made the link carry again is the difference of the bytes that
//! crossed it, handshakes and greetings among them. Then reports are saved over a slow link, while it is idle and while
//! a photo goes up, and it is taken how long each acknowledgement takes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use gridbeat_badlink::{Forwarder, Profile};
use gridbeat_base::{BlobHash, DocumentId, Random, Scope};
use gridbeat_device::{BlobState, Device, DeviceBundle, LinkPolicy};
use gridbeat_link::random_from_system;
use gridbeat_relay::RelayHandle;
use gridbeat_sync_protocol::{CHUNK_BYTES, chunk_count};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::field::{PATIENCE, acknowledged, connect, enrol, in_sync, relay_config};
use super::measure::{Samples, rounded};
use super::stock::{KIND, report};

/// What the photos and the links are like.
#[derive(Debug, Args)]
pub(super) struct PhotoArgs {
    /// Bytes of a photo.
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..=32_000_000))]
    bytes: u64,
    /// How many cuts the second photo meets, spread over its first nine tenths.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    cuts: u32,
    /// Round trip of the link with cuts, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=2_000))]
    rtt_ms: u64,
    /// How many reports are saved on the slow link, idle and busy.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=200))]
    reports: u32,
    /// The slow link's preset.
    #[arg(long, value_name = "NAME", default_value = "slow", value_parser = Profile::NAMES)]
    link: String,
}

/// Runs both.
pub(super) fn run(args: &PhotoArgs, folder: &TempDir) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(play(args, folder))
}

async fn play(args: &PhotoArgs, folder: &TempDir) -> anyhow::Result<Value> {
    let scope = Scope::new("bench")?;
    let config = relay_config(&folder.path().join("relay"));
    let relay = gridbeat_relay::start(config, super::kinds()).await?;
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let profile = Profile::delay(Duration::from_millis(args.rtt_ms));
    let link = Forwarder::udp(here, relay.addr(), profile).await?;
    let bundle = enrol(&relay, &scope, link.local_addr()).await?;
    let mut field = Field {
        file: folder.path().join("device.db"),
        random: random_from_system(),
        relay,
        link,
        bundle,
        scope,
    };
    let plain = field.upload(args.bytes, 0).await?;
    let cut = field.upload(args.bytes, args.cuts).await?;
    let slow = Profile::named(&args.link).context("the link is one of the presets")?;
    field.link.set_profile(&slow);
    let (idle, busy, busy_for, chunks) = field.save_beside(args).await?;
    field.relay.stop().await;

    let chunk_bytes = CHUNK_BYTES as f64;
    let again = (cut.crossed_bytes as f64 - plain.crossed_bytes as f64) / f64::from(args.cuts);
    let parts_again = cut.parts.saturating_sub(u64::from(chunk_count(args.bytes)));
    let figure = |samples: &Samples, percent| samples.percentile_ms(percent).map(rounded);
    Ok(json!({
        "bench": "photo", "bytes": args.bytes, "chunks": chunk_count(args.bytes), "rtt_ms": args.rtt_ms,
        "whole_s": rounded(plain.took.as_secs_f64()), "whole_crossed_bytes": plain.crossed_bytes,
        "cuts": args.cuts, "cut_crossed_bytes": cut.crossed_bytes,
        "again_bytes_a_cut": again.round(), "again_chunks_a_cut": rounded(again / chunk_bytes),
        "parts_handed_out_again_a_cut": rounded(parts_again as f64 / f64::from(args.cuts)),
        "link": args.link, "reports": args.reports,
        "idle_p50_ms": figure(&idle, 50), "idle_max_ms": figure(&idle, 100),
        "busy_p50_ms": figure(&busy, 50), "busy_max_ms": figure(&busy, 100),
        "busy_photo_bytes_per_s": (chunks as f64 * chunk_bytes / busy_for.as_secs_f64()).round(),
    }))
}

/// A relay, a link, and a device that is opened again and again.
struct Field {
    file: std::path::PathBuf,
    random: Random,
    relay: RelayHandle,
    link: Forwarder,
    bundle: DeviceBundle,
    scope: Scope,
}

/// What a photo took.
struct Upload {
    took: Duration,
    /// Bytes of datagrams that crossed the link from the device to the relay.
    crossed_bytes: u64,
    /// Parts that the device handed to its transport.
    parts: u64,
}

impl Field {
    async fn open(&self) -> anyhow::Result<Device> {
        connect(self.file.clone(), self.bundle.clone(), LinkPolicy::Always).await
    }

    /// Saves a report with a photo of new bytes.
    async fn attach(
        &mut self,
        device: &Device,
        bytes: u64,
    ) -> anyhow::Result<(DocumentId, BlobHash)> {
        let saved = device
            .create(KIND, &self.scope, report(&mut self.random)?)
            .await?;
        in_sync(device).await?;
        let mut photo = vec![0xff, 0xd8, 0xff];
        while (photo.len() as u64) < bytes {
            photo.extend(self.random.bytes::<32>());
        }
        photo.truncate(usize::try_from(bytes)?);
        let hash = device.put_blob(photo).await?;
        let intent = json!({ "do": "add_photo", "hash": hash, "role": "near" });
        device
            .edit(saved.document, intent.to_string().into_bytes())
            .await?;
        Ok((saved.document, hash))
    }

    async fn upload(&mut self, bytes: u64, cuts: u32) -> anyhow::Result<Upload> {
        let mut device = self.open().await?;
        in_sync(&device).await?;
        let crossed = self.link.stats().up.delivered_bytes;
        let began = Instant::now();
        let (document, hash) = self.attach(&device, bytes).await?;
        let (mut parts, mut passed) = (0, 0);
        let all = chunk_count(bytes);
        loop {
            let at = if passed < cuts {
                all * 9 / 10 * (passed + 1) / cuts
            } else {
                all
            };
            kept(&device, document, hash, at, all).await?;
            if passed == cuts {
                break;
            }
            passed += 1;
            self.link.set_up(false);
            parts += device.link_report().blob_parts_sent;
            device.close().await;
            device = self.open().await?;
            self.link.set_up(true);
        }
        parts += device.link_report().blob_parts_sent;
        let took = began.elapsed();
        device.close().await;
        Ok(Upload {
            took,
            crossed_bytes: self.link.stats().up.delivered_bytes - crossed,
            parts,
        })
    }

    /// Saves reports while nothing else goes over the link, and while a photo does.
    async fn save_beside(
        &mut self,
        args: &PhotoArgs,
    ) -> anyhow::Result<(Samples, Samples, Duration, u64)> {
        let device = self.open().await?;
        in_sync(&device).await?;
        let idle = self.save(&device, args.reports).await?;
        let before = self.relay.counters().await?.chunks_kept;
        let (document, hash) = self.attach(&device, args.bytes).await?;
        let all = chunk_count(args.bytes);
        // Until the link is full.
        kept(&device, document, hash, 4.min(all), all).await?;
        let began = Instant::now();
        let begun = self.relay.counters().await?.chunks_kept;
        let busy = self.save(&device, args.reports).await?;
        let (after, took) = (self.relay.counters().await?.chunks_kept, began.elapsed());
        if after - before >= u64::from(all) {
            bail!(
                "the photo was over before the reports were: it takes a larger one, or fewer of them"
            );
        }
        device.close().await;
        Ok((idle, busy, took, after - begun))
    }

    async fn save(&mut self, device: &Device, reports: u32) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        for _ in 0..reports {
            // At any moment between two chunks.
            tokio::time::sleep(Duration::from_millis(200 + self.random.below(900))).await;
            let mut news = device.link_news();
            let intent = report(&mut self.random)?;
            let saved = Instant::now();
            device.create(KIND, &self.scope, intent).await?;
            if let Some(at) = acknowledged(&mut news, 1).await? {
                samples.push(at.saturating_duration_since(saved));
            }
        }
        Ok(samples)
    }
}

/// Waits until the relay has called so many of a photo's chunks durable.
async fn kept(
    device: &Device,
    document: DocumentId,
    hash: BlobHash,
    count: u32,
    all: u32,
) -> anyhow::Result<()> {
    let mut changes = device.blob_changes();
    let wait = async {
        loop {
            let attachments = device.attachments(document).await?;
            let state = attachments
                .iter()
                .find(|it| it.hash == hash)
                .map(|it| it.state);
            let kept = match state {
                Some(BlobState::Sending { kept, .. }) => kept,
                Some(BlobState::Received { .. }) => all,
                Some(_) | None => 0,
            };
            if kept >= count {
                return anyhow::Ok(());
            }
            // A reader that is behind looks again.
            let _ = changes.recv().await;
        }
    };
    tokio::time::timeout(PATIENCE * 2, wait)
        .await
        .context("the photo did not come in time")?
}
