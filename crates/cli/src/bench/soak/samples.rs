//! What is taken of a soak again and again, and how it grows.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::measure::rounded;

/// The span that growth is told for.
const SPAN: Duration = Duration::from_mins(10);

/// What was seen at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When, from the beginning.
    pub(super) at: Duration,
    /// The relay's resident memory.
    pub(super) relay_rss_bytes: u64,
    /// That of all devices and their links.
    pub(super) devices_rss_bytes: u64,
    /// The size of the log beside the relay's database.
    pub(super) wal_bytes: u64,
    /// How many changes had been saved.
    pub(super) saved: u64,
}

impl Sample {
    /// Returns it as JSON.
    pub(super) fn figures(&self) -> Value {
        json!({
            "at_s": rounded(self.at.as_secs_f64()), "saved": self.saved,
            "relay_rss_bytes": self.relay_rss_bytes, "devices_rss_bytes": self.devices_rss_bytes,
            "wal_bytes": self.wal_bytes,
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5.0} s  {:>7} saved  relay {:.1} MB  devices {:.1} MB  log {:.1} MB",
            self.at.as_secs_f64(),
            self.saved,
            megabytes(self.relay_rss_bytes),
            megabytes(self.devices_rss_bytes),
            megabytes(self.wal_bytes),
        )
    }
}

/// Returns bytes in millions.
#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Returns how much something grows in ten minutes, in MB, by the line of least squares; `None` with fewer than two
/// moments.
pub(super) fn slope_mb(samples: &[&Sample], of: impl Fn(&Sample) -> u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let count = samples.len() as f64;
    let spans = |sample: &Sample| sample.at.as_secs_f64() / SPAN.as_secs_f64();
    let mean_at = samples.iter().map(|it| spans(it)).sum::<f64>() / count;
    let mean_mb = samples.iter().map(|it| megabytes(of(it))).sum::<f64>() / count;
    let (mut together, mut apart) = (0.0, 0.0);
    for sample in samples {
        let away = spans(sample) - mean_at;
        together += away * (megabytes(of(sample)) - mean_mb);
        apart += away * away;
    }
    (apart > 0.0).then(|| rounded(together / apart))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(relay_mb: &[(u64, u64)], expected: Option<f64>) {
        let sample = |&(at_s, mb): &(u64, u64)| Sample {
            at: Duration::from_secs(at_s),
            relay_rss_bytes: mb * 1_000_000,
            devices_rss_bytes: 0,
            wal_bytes: 0,
            saved: 0,
        };
        let samples: Vec<_> = relay_mb.iter().map(sample).collect();
        let samples: Vec<_> = samples.iter().collect();
        assert_eq!(slope_mb(&samples, |it| it.relay_rss_bytes), expected);
    }

    #[test]
    fn growth_is_the_slope_of_the_nearest_line() {
        check(&[], None);
        check(&[(10, 5)], None);
        check(&[(0, 30), (600, 32), (1_200, 34)], Some(2.0));
        check(&[(0, 30), (300, 30), (600, 30)], Some(0.0));
        check(&[(0, 31), (300, 30), (600, 30), (900, 31)], Some(0.0));
        check(&[(600, 40), (1_200, 37)], Some(-3.0));
    }
}
