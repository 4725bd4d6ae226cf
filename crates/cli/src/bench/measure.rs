//! Percentiles of times, and the memory of processes as Linux accounts for it.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Times that were taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    times: Vec<Duration>,
}

impl Samples {
    pub(super) fn push(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// Returns the time that `percent` of all do not exceed (nearest rank), in milliseconds; `None`
    /// without any.
    pub(super) fn percentile_ms(&self, percent: usize) -> Option<f64> {
        let mut times = self.times.clone();
        times.sort_unstable();
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times.get(rank - 1).map(|time| ms(*time))
    }
}

/// Returns milliseconds to the microsecond.
pub(super) fn ms(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

/// Returns a figure to the third decimal: beyond is noise.
pub(super) fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// Returns the resident memory of this process, in bytes.
pub(super) fn own_rss_bytes() -> anyhow::Result<u64> {
    status_bytes("self", "VmRSS:")
}

/// Returns the resident memory of a process, in bytes.
pub(super) fn rss_bytes(process: u32) -> anyhow::Result<u64> {
    status_bytes(&process.to_string(), "VmRSS:")
}

/// Returns the most resident memory a process has had, in bytes.
pub(super) fn peak_rss_bytes(process: u32) -> anyhow::Result<u64> {
    status_bytes(&process.to_string(), "VmHWM:")
}

fn status_bytes(process: &str, key: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("{path} tells no memory"))?;
    find_bytes(&text, key).with_context(|| format!("{path} has no {key}"))
}

fn find_bytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(times_ms: &[u64], percent: usize, expected_ms: Option<f64>) {
        let mut samples = Samples::default();
        for time in times_ms {
            samples.push(Duration::from_millis(*time));
        }
        assert_eq!(samples.percentile_ms(percent), expected_ms);
    }

    #[test]
    fn a_percentile_is_a_time_that_was_taken() {
        check(&[], 50, None);
        check(&[7], 50, Some(7.0));
        check(&[7], 99, Some(7.0));
        check(&[4, 1, 3, 2], 50, Some(2.0));
        check(&[4, 1, 3, 2], 99, Some(4.0));
        check(&(1..=200).collect::<Vec<_>>(), 99, Some(198.0));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 12 kB\n";
        assert_eq!(find_bytes(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(find_bytes(status, "VmRSS:"), Some(12 << 10));
        assert_eq!(find_bytes(status, "VmSwap:"), None);
    }
}
