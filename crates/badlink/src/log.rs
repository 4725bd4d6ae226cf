//! A link's log: how fast the link was, and how late, step after step.
//!
//! A log is played from its first step and starts again when it runs out, so every instant has an
//! answer. It is made from a SABRE file (`sabre`), from numbers, or by [`LinkLog::synthetic`]. Not
//! here: archives of many logs (their reader belongs to the commands), and what a link does to a
//! packet.

use std::time::Duration;

/// Bandwidth under which the shipped profiles call a link dead: 10 kbit/s, below one small QUIC
/// packet a second, and the bound by which the Norwegian 3G logs are usually summed up.
pub const OUTAGE_UNDER_KBPS: u32 = 10;

/// Highest bandwidth a step may have: 100 Gbit/s, which the loopback itself does not reach.
pub const BANDWIDTH_KBPS_MAX: u32 = 100_000_000;

/// Longest log: 31 days. Bounds the memory of a made-up log, and keeps sums of nanoseconds and
/// bits far from overflow.
pub const LOG_LENGTH_MAX: Duration = Duration::from_hours(31 * 24);

/// Longest round trip a step may have: a minute. More is a mistaken unit, not a link.
pub const LATENCY_MAX: Duration = Duration::from_mins(1);

/// Length of the one step of a constant log. Any length plays the same, as logs repeat.
const CONSTANT_STEP: Duration = Duration::from_hours(1);

/// A spell of a log in which nothing changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkStep {
    /// How long the spell lasts; more than zero.
    pub duration: Duration,
    /// What the link carries, in kbit/s of packets' payload; at most [`BANDWIDTH_KBPS_MAX`].
    pub bandwidth_kbps: u32,
    /// The round trip, as SABRE means it (it waits once for a request and its answer): half of it
    /// is spent each way. At most [`LATENCY_MAX`].
    pub latency: Duration,
}

/// A spell in which the link carried next to nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outage {
    /// When it begins, from the start of the log.
    pub start: Duration,
    /// When it is over.
    pub end: Duration,
}

impl Outage {
    /// Returns how long it lasts.
    pub fn duration(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }
}

/// How a link behaved over time. Never empty; played again from the start when it runs out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkLog {
    // Invariants: not empty; every step within its bounds; the total at most LOG_LENGTH_MAX.
    steps: Vec<LinkStep>,
    total: Duration,
}

impl LinkLog {
    /// Makes a log of steps.
    ///
    /// # Errors
    ///
    /// [`LinkLogError::Empty`], [`LinkLogError::TooLong`], or the first step out of its bounds.
    pub fn new(steps: Vec<LinkStep>) -> Result<Self, LinkLogError> {
        let mut total = Duration::ZERO;
        for (index, step) in steps.iter().enumerate() {
            if step.duration.is_zero() {
                return Err(LinkLogError::NoDuration { index });
            }
            if step.bandwidth_kbps > BANDWIDTH_KBPS_MAX {
                return Err(LinkLogError::BandwidthOutOfRange { index });
            }
            if step.latency > LATENCY_MAX {
                return Err(LinkLogError::LatencyOutOfRange { index });
            }
            total = total.saturating_add(step.duration);
            if total > LOG_LENGTH_MAX {
                return Err(LinkLogError::TooLong { index });
            }
        }
        if steps.is_empty() {
            return Err(LinkLogError::Empty);
        }
        Ok(Self { steps, total })
    }

    /// Makes a log that is always the same, without latency; bandwidth over
    /// [`BANDWIDTH_KBPS_MAX`] is cut to it.
    pub fn constant(bandwidth_kbps: u32) -> Self {
        Self {
            steps: vec![LinkStep {
                duration: CONSTANT_STEP,
                bandwidth_kbps: bandwidth_kbps.min(BANDWIDTH_KBPS_MAX),
                latency: Duration::ZERO,
            }],
            total: CONSTANT_STEP,
        }
    }

    /// Returns the steps, in the order in which they are played.
    pub fn steps(&self) -> &[LinkStep] {
        &self.steps
    }

    /// Returns how long the log lasts before it starts again.
    pub fn total_duration(&self) -> Duration {
        self.total
    }

    /// Returns the step that is played at `elapsed` from the first start, any number of rounds on.
    pub fn step_at(&self, elapsed: Duration) -> &LinkStep {
        let mut left = self.in_round(elapsed);
        for step in &self.steps {
            match left.checked_sub(step.duration) {
                Some(after) => left = after,
                None => return step,
            }
        }
        unreachable!("an instant inside the log lies in one of its steps")
    }

    /// Returns the spells in one round of the log with less than `under_kbps`, in order, longest
    /// possible ones: neighbouring steps are one spell.
    pub fn outages(&self, under_kbps: u32) -> Vec<Outage> {
        let mut outages: Vec<Outage> = Vec::new();
        let mut start = Duration::ZERO;
        for step in &self.steps {
            let end = start + step.duration;
            if step.bandwidth_kbps < under_kbps {
                match outages.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    Some(_) | None => outages.push(Outage { start, end }),
                }
            }
            start = end;
        }
        outages
    }

    /// Cuts out the part that is played from `start` on for `length`, wrapping round as often as
    /// needed. The part is a log of its own and starts again at its own end.
    ///
    /// # Errors
    ///
    /// [`LinkLogError::Empty`] if `length` is zero, [`LinkLogError::TooLong`] if it is over
    /// [`LOG_LENGTH_MAX`].
    pub fn window(&self, start: Duration, length: Duration) -> Result<Self, LinkLogError> {
        if length > LOG_LENGTH_MAX {
            return Err(LinkLogError::TooLong { index: 0 });
        }
        let mut skip = self.in_round(start);
        let mut left = length;
        let mut steps = Vec::new();
        for step in self.steps.iter().cycle() {
            if left.is_zero() {
                break;
            }
            let duration = step.duration.saturating_sub(skip).min(left);
            skip = skip.saturating_sub(step.duration);
            if !duration.is_zero() {
                left -= duration;
                steps.push(LinkStep { duration, ..*step });
            }
        }
        Self::new(steps)
    }

    /// Returns the log in which every step is so many times shorter, but never without any length; `times` is over zero.
    pub(crate) fn hastened(&self, times: u32) -> Self {
        let shorter = |step: &LinkStep| LinkStep {
            duration: (step.duration / times).max(Duration::from_nanos(1)),
            ..*step
        };
        let steps: Vec<_> = self.steps.iter().map(shorter).collect();
        let total = steps.iter().map(|step| step.duration).sum();
        Self { steps, total }
    }

    /// Returns the instant of one round that is played at `elapsed`.
    fn in_round(&self, elapsed: Duration) -> Duration {
        Duration::from_nanos_u128(elapsed.as_nanos() % self.total.as_nanos())
    }
}

/// Why something is not a link log.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkLogError {
    /// The text is not JSON.
    #[error("not JSON: {reason}")]
    NotJson {
        /// The line where reading stopped, from 1.
        line: usize,
        /// The column where reading stopped, from 1.
        column: usize,
        /// What the parser expected there.
        reason: String,
    },
    /// The text is JSON of another shape than SABRE's.
    #[error("not a SABRE log: {reason}")]
    NotSabre {
        /// The line of the wrong value, from 1.
        line: usize,
        /// The column of the wrong value, from 1.
        column: usize,
        /// What was expected there.
        reason: String,
    },
    /// There is no step in it.
    #[error("link log has no steps")]
    Empty,
    /// A step lasts no time.
    #[error("duration of step {index} is not over zero")]
    NoDuration {
        /// Which step, from 0.
        index: usize,
    },
    /// A step's bandwidth is negative or over [`BANDWIDTH_KBPS_MAX`].
    #[error("bandwidth of step {index} is not within 0 to {BANDWIDTH_KBPS_MAX} kbit/s")]
    BandwidthOutOfRange {
        /// Which step, from 0.
        index: usize,
    },
    /// A step's latency is negative or over [`LATENCY_MAX`].
    #[error("latency of step {index} is not within 0 to {} ms", LATENCY_MAX.as_millis())]
    LatencyOutOfRange {
        /// Which step, from 0.
        index: usize,
    },
    /// The log lasts longer than [`LOG_LENGTH_MAX`].
    #[error("link log is longer than 31 days at step {index}")]
    TooLong {
        /// The step with which it became too long, from 0.
        index: usize,
    },
}

impl LinkLogError {
    /// Returns what the caller should do about it, in words.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotJson { .. } | Self::NotSabre { .. } => {
                "hand in a JSON array of {duration_ms, bandwidth_kbps, latency_ms}"
            }
            Self::Empty | Self::NoDuration { .. } => "hand in steps that last some time",
            Self::BandwidthOutOfRange { .. } | Self::LatencyOutOfRange { .. } => {
                "check the units: kbit/s and milliseconds"
            }
            Self::TooLong { .. } => "cut the log, or check that durations are milliseconds",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sabre::SAMPLE;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn neighbouring_dead_steps_are_one_outage() {
        let log = LinkLog::from_sabre_json(SAMPLE).unwrap();
        let end = Duration::from_micros(2_700_500);
        let outages = log.outages(OUTAGE_UNDER_KBPS);
        assert_eq!(
            outages,
            [Outage {
                start: ms(710),
                end
            }]
        );
        assert_eq!(outages[0].duration(), Duration::from_micros(1_990_500));
        assert_eq!(log.outages(1).len(), 1);
        assert_eq!(log.outages(0), []);
    }

    #[test]
    fn a_log_starts_again_when_it_runs_out() {
        let log = LinkLog::from_sabre_json(SAMPLE).unwrap();
        let total = log.total_duration();
        assert_eq!(log.step_at(ms(709)).bandwidth_kbps, 11201);
        assert_eq!(log.step_at(ms(710)).bandwidth_kbps, 3);
        assert_eq!(log.step_at(total * 1000 + ms(710)).bandwidth_kbps, 3);
        assert_eq!(log.step_at(total).bandwidth_kbps, 11201);
    }

    #[test]
    fn a_window_cuts_steps_and_wraps_round() {
        let log = LinkLog::from_sabre_json(SAMPLE).unwrap();
        let part = log.window(ms(700), ms(20)).unwrap();
        let durations: Vec<_> = part.steps().iter().map(|step| step.duration).collect();
        assert_eq!(durations, [ms(10), ms(10)]);

        let round = log.window(ms(710), log.total_duration()).unwrap();
        assert_eq!(round.steps()[0].bandwidth_kbps, 3);
        assert_eq!(round.steps()[3].bandwidth_kbps, 11201);
        assert_eq!(round.total_duration(), log.total_duration());
        assert_eq!(
            log.window(log.total_duration() * 7 + ms(700), ms(20)),
            Ok(part)
        );
        assert_eq!(
            log.window(ms(700), Duration::ZERO),
            Err(LinkLogError::Empty)
        );
    }
}
