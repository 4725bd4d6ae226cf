//! All that was seen in a soak, weighed: in figures for programs, in words for people.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::SoakArgs;
use super::officer::Officer;
use super::samples::{Sample, megabytes, slope_mb};
use crate::bench::measure::rounded;

/// Longest time in which caches fill, and memory may grow.
const WARM_UP_MAX: Duration = Duration::from_mins(5);

/// What the relay is held to: growth in ten minutes once it is warm, and the largest log beside its database.
const SLOPE_MAX_MB: f64 = 1.0;
const WAL_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) samples: Vec<Sample>,
    /// How long changes were saved.
    pub(super) worked: Duration,
    /// Where the devices wrote down what they saved.
    pub(super) files: Vec<PathBuf>,
    pub(super) outages: u64,
    pub(super) handovers: u64,
    pub(super) dropped: u64,
    /// How often a device was closed and opened again.
    pub(super) reopened: u64,
    pub(super) dials: u64,
    /// How long it took until everything had arrived; `None` if it never did.
    pub(super) settled: Option<Duration>,
    pub(super) unacknowledged: u64,
    pub(super) refused: u64,
    pub(super) saved: u64,
    pub(super) missing: u64,
    pub(super) relay_peak_rss_bytes: u64,
    pub(super) database_bytes: u64,
}

impl Seen {
    /// Adds what one device has to tell at the end, and closes it.
    pub(super) async fn add(&mut self, mut officer: Officer) -> anyhow::Result<()> {
        let device = officer.device()?;
        self.unacknowledged += device.outbox().await?.changes;
        self.refused += device.refused().await?.len() as u64;
        let (stats, outages) = officer.link();
        self.outages += outages;
        self.handovers += stats.handovers;
        self.dropped += stats.up.dropped() + stats.down.dropped();
        officer.close().await;
        self.reopened += officer.reopened;
        self.dials += officer.dials;
        Ok(())
    }

    /// Tells whether everything that was saved is where it belongs.
    pub(super) fn is_whole(&self) -> bool {
        self.settled.is_some() && self.unacknowledged + self.refused + self.missing == 0
    }

    /// Returns everything as JSON.
    pub(super) fn figures(&self, args: &SoakArgs) -> Value {
        let warm = self.warm(args);
        let relay_rss = |sample: Option<&Sample>| sample.map(|it| it.relay_rss_bytes);
        let last = self.samples.last();
        json!({
            "bench": "soak", "minutes": rounded(args.minutes.as_secs_f64() / 60.0), "rate": args.rate,
            "devices": args.devices, "seed": args.seed,
            "saved": self.saved, "saved_per_s": self.saved_per_s(), "outages": self.outages,
            "handovers": self.handovers, "dropped_datagrams": self.dropped,
            "reopened": self.reopened, "dials": self.dials, "settled_s": self.settled_s(),
            "unacknowledged": self.unacknowledged, "refused": self.refused, "missing": self.missing,
            "nothing_lost": self.is_whole(), "warm_up_s": warm_up(args).as_secs(),
            "relay_rss_start_bytes": relay_rss(self.samples.first()),
            "relay_rss_warm_bytes": relay_rss(warm.first().copied()),
            "relay_rss_end_bytes": relay_rss(last), "relay_rss_peak_bytes": self.relay_peak_rss_bytes,
            "relay_mb_per_10_min": slope_mb(&warm, |it| it.relay_rss_bytes),
            "relay_mb_per_10_min_max": SLOPE_MAX_MB,
            "relay_mb_per_10_min_last_half": slope_mb(&self.last_half(args), |it| it.relay_rss_bytes),
            "devices_rss_end_bytes": last.map(|it| it.devices_rss_bytes),
            "devices_mb_per_10_min": slope_mb(&warm, |it| it.devices_rss_bytes),
            "wal_peak_bytes": self.wal_peak_bytes(), "wal_bytes_max": WAL_MAX_BYTES,
            "database_bytes": self.database_bytes,
            "samples": self.samples.iter().map(Sample::figures).collect::<Vec<_>>(),
        })
    }

    /// Returns the same in lines for people, without the samples.
    pub(super) fn words(&self, args: &SoakArgs) -> String {
        let warm = self.warm(args);
        let growth = |samples: &[&Sample], of: fn(&Sample) -> u64| {
            slope_mb(samples, of).map_or_else(|| "?".to_owned(), |it| format!("{it:+.2}"))
        };
        let settled = self.settled_s().map_or_else(
            || "never all equal".to_owned(),
            |took| format!("all equal {took} s after the links were good"),
        );
        let lines = [
            format!(
                "saved            {} changes, {} a second, on {} devices",
                self.saved,
                self.saved_per_s(),
                args.devices
            ),
            format!(
                "links            {} outages, {} hand-overs, {} datagrams lost",
                self.outages, self.handovers, self.dropped
            ),
            format!(
                "devices          {} dials, closed and opened again {} times",
                self.dials, self.reopened
            ),
            format!(
                "lost             {} not acknowledged, {} refused, {} not in the relay's database; {settled}",
                self.unacknowledged, self.refused, self.missing
            ),
            format!(
                "relay's memory   {} MB in 10 minutes once warm (held to {SLOPE_MAX_MB}), {} in the second half, {:.1} MB at its peak",
                growth(&warm, |it| it.relay_rss_bytes),
                growth(&self.last_half(args), |it| it.relay_rss_bytes),
                megabytes(self.relay_peak_rss_bytes)
            ),
            format!(
                "devices' memory  {} MB in 10 minutes once warm, all of them together",
                growth(&warm, |it| it.devices_rss_bytes)
            ),
            format!(
                "relay's log      {:.1} MB at its peak (held to {:.1}), beside a database of {:.1} MB",
                megabytes(self.wal_peak_bytes()),
                megabytes(WAL_MAX_BYTES),
                megabytes(self.database_bytes)
            ),
        ];
        lines.join("\n")
    }

    /// Returns the samples of after the warm-up.
    fn warm(&self, args: &SoakArgs) -> Vec<&Sample> {
        let from = warm_up(args);
        self.samples.iter().filter(|it| it.at >= from).collect()
    }

    /// Returns the samples of the second half: what goes on growing there has no end in sight.
    fn last_half(&self, args: &SoakArgs) -> Vec<&Sample> {
        let from = args.minutes / 2;
        self.samples.iter().filter(|it| it.at >= from).collect()
    }

    fn wal_peak_bytes(&self) -> u64 {
        let sizes = self.samples.iter().map(|it| it.wal_bytes);
        sizes.max().unwrap_or_default()
    }

    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    fn saved_per_s(&self) -> f64 {
        rounded(self.saved as f64 / self.worked.as_secs_f64())
    }

    fn settled_s(&self) -> Option<f64> {
        self.settled.map(|took| rounded(took.as_secs_f64()))
    }
}

fn warm_up(args: &SoakArgs) -> Duration {
    WARM_UP_MAX.min(args.minutes / 3)
}
