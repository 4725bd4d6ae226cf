//! Logs in the format of SABRE, the simulator of adaptive streaming whose logs are widely shared.
//!
//! A file is a JSON array of objects with `duration_ms`, `bandwidth_kbps` and `latency_ms`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::log::{BANDWIDTH_KBPS_MAX, LATENCY_MAX, LOG_LENGTH_MAX};
use crate::{LinkLog, LinkLogError, LinkStep};

impl LinkLog {
    /// Reads a log in SABRE's format: a JSON array of objects with `duration_ms`,
    /// `bandwidth_kbps` and `latency_ms` (numbers; other keys are passed over).
    ///
    /// # Errors
    ///
    /// Names the place in the text, or the step and its field, that is wrong.
    pub fn from_sabre_json(json: &[u8]) -> Result<Self, LinkLogError> {
        let raw: Vec<SabreStep> = serde_json::from_slice(json).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let reason = error.to_string();
            match error.classify() {
                serde_json::error::Category::Data => LinkLogError::NotSabre {
                    line,
                    column,
                    reason,
                },
                serde_json::error::Category::Io
                | serde_json::error::Category::Syntax
                | serde_json::error::Category::Eof => LinkLogError::NotJson {
                    line,
                    column,
                    reason,
                },
            }
        })?;
        let steps = raw
            .iter()
            .enumerate()
            .map(|(index, step)| step.check(index));
        Self::new(steps.collect::<Result<_, _>>()?)
    }

    /// Reads one SABRE file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or [`LinkLog::from_sabre_json`] refuses what is in it.
    pub fn from_sabre_file(path: &Path) -> Result<Self, LinkFileError> {
        let json = std::fs::read(path).map_err(|source| LinkFileError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::from_sabre_json(&json).map_err(|source| LinkFileError::Wrong {
            path: path.to_owned(),
            source,
        })
    }
}

/// One object of a SABRE file, unchecked.
#[derive(Deserialize)]
struct SabreStep {
    duration_ms: f64,
    bandwidth_kbps: f64,
    latency_ms: f64,
}

impl SabreStep {
    /// Turns it into a step; `index` is its place in the file.
    fn check(&self, index: usize) -> Result<LinkStep, LinkLogError> {
        let longest_ms = LOG_LENGTH_MAX.as_secs_f64() * 1e3;
        if self.duration_ms.is_nan() || self.duration_ms <= 0.0 {
            return Err(LinkLogError::NoDuration { index });
        }
        if self.duration_ms > longest_ms {
            return Err(LinkLogError::TooLong { index });
        }
        if !(0.0..=f64::from(BANDWIDTH_KBPS_MAX)).contains(&self.bandwidth_kbps) {
            return Err(LinkLogError::BandwidthOutOfRange { index });
        }
        if !(0.0..=LATENCY_MAX.as_secs_f64() * 1e3).contains(&self.latency_ms) {
            return Err(LinkLogError::LatencyOutOfRange { index });
        }
        Ok(LinkStep {
            duration: milliseconds(self.duration_ms),
            bandwidth_kbps: self.bandwidth_kbps.round() as u32,
            latency: milliseconds(self.latency_ms),
        })
    }
}

/// A duration of that many milliseconds, to the nanosecond; the caller has checked the range.
fn milliseconds(count: f64) -> Duration {
    Duration::from_nanos((count * 1e6).round() as u64)
}

/// Why a file gave no link log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkFileError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is in the file is not a log.
    #[error("no link log in {}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: LinkLogError,
    },
}

impl LinkFileError {
    /// Returns what the caller should do about it, in words.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check the file's name and who may read it",
            Self::Wrong { source, .. } => source.remedy(),
        }
    }
}

/// A log of 3,700.5 ms with one outage.
#[cfg(test)]
pub(crate) const SAMPLE: &[u8] = br#"[
    {"duration_ms": 710, "bandwidth_kbps": 11201, "latency_ms": 20},
    {"duration_ms": 1000, "bandwidth_kbps": 3, "latency_ms": 20},
    {"duration_ms": 990.5, "bandwidth_kbps": 0, "latency_ms": 20, "cell": "a"},
    {"duration_ms": 1000, "bandwidth_kbps": 900.4, "latency_ms": 100}
]"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[track_caller]
    fn check_refused(json: &str, expected: &LinkLogError) {
        assert_eq!(
            LinkLog::from_sabre_json(json.as_bytes()).as_ref(),
            Err(expected),
            "{json}"
        );
    }

    #[test]
    fn a_sabre_log_is_read_with_its_fractions_and_foreign_keys() {
        let log = LinkLog::from_sabre_json(SAMPLE).unwrap();
        assert_eq!(log.total_duration(), Duration::from_micros(3_700_500));
        let last = LinkStep {
            duration: ms(1000),
            bandwidth_kbps: 900,
            latency: ms(100),
        };
        assert_eq!(log.steps().last(), Some(&last));
    }

    #[test]
    fn a_wrong_log_is_refused_with_its_place() {
        check_refused("[]", &LinkLogError::Empty);
        let step = |duration, bandwidth, latency| {
            format!(
                r#"[{{"duration_ms":1,"bandwidth_kbps":1,"latency_ms":1}},
                {{"duration_ms":{duration},"bandwidth_kbps":{bandwidth},"latency_ms":{latency}}}]"#
            )
        };
        check_refused(&step("0", "1", "1"), &LinkLogError::NoDuration { index: 1 });
        check_refused(
            &step("-4", "1", "1"),
            &LinkLogError::NoDuration { index: 1 },
        );
        check_refused(
            &step("1e300", "1", "1"),
            &LinkLogError::TooLong { index: 1 },
        );
        check_refused(
            &step("1", "-1", "1"),
            &LinkLogError::BandwidthOutOfRange { index: 1 },
        );
        check_refused(
            &step("1", "1e9", "1"),
            &LinkLogError::BandwidthOutOfRange { index: 1 },
        );
        check_refused(
            &step("1", "1", "-1"),
            &LinkLogError::LatencyOutOfRange { index: 1 },
        );
        check_refused(
            &step("1", "1", "60001"),
            &LinkLogError::LatencyOutOfRange { index: 1 },
        );
    }

    #[test]
    fn what_is_no_sabre_log_is_told_from_what_is_no_json() {
        let error = LinkLog::from_sabre_json(br#"[{"duration_ms": 1, "#).unwrap_err();
        assert!(
            matches!(error, LinkLogError::NotJson { line: 1, .. }),
            "{error}"
        );
        let error = LinkLog::from_sabre_json(b"[\n{\"duration_ms\": 1}]").unwrap_err();
        assert!(
            matches!(error, LinkLogError::NotSabre { line: 2, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("bandwidth_kbps"), "{error}");
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let error = LinkLog::from_sabre_file(&path).unwrap_err();
        assert!(error.to_string().contains("log.json"), "{error}");
        std::fs::write(&path, SAMPLE).unwrap();
        let log = LinkLog::from_sabre_file(&path).unwrap();
        assert_eq!(Ok(log), LinkLog::from_sabre_json(SAMPLE));
    }
}
