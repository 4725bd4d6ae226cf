//! How much a log lets through up to any instant, and when a given amount is through: exactly.
//!
//! Instants are whole nanoseconds since the log started, rates whole bits a second, so an amount
//! is a whole number of *grains*: one bit a second for one nanosecond, a thousand-millionth of a
//! bit. Sums never round; only the answer to "when" is rounded, up, to the nanosecond. The log
//! repeats for ever. Not here: who is in the queue (`shaper`).

use std::time::Duration;

use crate::LinkLog;

/// Grains in a byte: eight bits, each a second of nanoseconds at one bit a second.
pub(crate) const GRAINS_PER_BYTE: i128 = 8 * 1_000_000_000;

/// Nanoseconds since some start: 584 years fit.
pub(crate) type Nanos = u64;

/// A log made ready for asking. Steps under the outage bound let nothing through.
#[derive(Debug)]
pub(crate) struct Curve {
    // Invariants: not empty; ends and sums never fall; the last end is the length of a round.
    steps: Vec<Step>,
    /// Spells of one round, up and down by turns.
    spells: Vec<Spell>,
}

#[derive(Debug)]
struct Step {
    start: Nanos,
    end: Nanos,
    /// Bits a second; 0 in an outage.
    rate: u64,
    /// Grains let through in the round when the step starts, and when it ends.
    before: i128,
    after: i128,
    latency: Duration,
}

/// Neighbouring steps that are all up or all down.
#[derive(Debug)]
struct Spell {
    end: Nanos,
    up: bool,
}

impl Curve {
    /// Makes a log ready; steps under `outage_under_kbps` count as dead.
    pub(crate) fn new(log: &LinkLog, outage_under_kbps: u32) -> Self {
        let mut steps: Vec<Step> = Vec::with_capacity(log.steps().len());
        let mut spells: Vec<Spell> = Vec::new();
        for step in log.steps() {
            let (start, before) = steps.last().map_or((0, 0), |last| (last.end, last.after));
            let length = nanos(step.duration);
            let dead = step.bandwidth_kbps < outage_under_kbps;
            let rate = if dead {
                0
            } else {
                u64::from(step.bandwidth_kbps) * 1000
            };
            let end = start + length;
            let after = before + i128::from(rate) * i128::from(length);
            match spells.last_mut() {
                Some(last) if last.up == (rate > 0) => last.end = end,
                Some(_) | None => spells.push(Spell { end, up: rate > 0 }),
            }
            steps.push(Step {
                start,
                end,
                rate,
                before,
                after,
                latency: step.latency,
            });
        }
        Self { steps, spells }
    }

    /// Returns the grains let through from the start of the log until `at`.
    pub(crate) fn served(&self, at: Nanos) -> i128 {
        let round = self.round();
        let step = self.step(at);
        let inside = i128::from(at % round.end - step.start);
        i128::from(at / round.end) * round.after + step.before + i128::from(step.rate) * inside
    }

    /// Returns the first instant at which `grains` are through; `None` if that never comes.
    pub(crate) fn time_of(&self, grains: i128) -> Option<Nanos> {
        if grains <= 0 {
            return Some(0);
        }
        let round = self.round();
        if round.after == 0 {
            return None;
        }
        // The last grain of a round belongs to that round, not to the start of the next.
        let rounds = (grains - 1) / round.after;
        let rest = grains - rounds * round.after;
        let step = &self.steps[self.steps.partition_point(|step| step.after < rest)];
        let inside = ceiling(rest - step.before, i128::from(step.rate));
        let at = rounds * i128::from(round.end) + i128::from(step.start) + inside;
        Nanos::try_from(at).ok()
    }

    /// Returns the rate at `at` in bits a second.
    pub(crate) fn rate(&self, at: Nanos) -> u64 {
        self.step(at).rate
    }

    /// Returns the log's round trip at `at`.
    pub(crate) fn latency(&self, at: Nanos) -> Duration {
        self.step(at).latency
    }

    /// Tells whether anything is let through at `at`.
    pub(crate) fn is_up(&self, at: Nanos) -> bool {
        self.rate(at) > 0
    }

    /// Returns the first instant after `at` at which the link goes up or down; `None` if it never
    /// changes.
    pub(crate) fn next_change(&self, at: Nanos) -> Option<Nanos> {
        if self.spells.len() < 2 {
            return None;
        }
        let length = self.round().end;
        let inside = at % length;
        let index = self.spells.partition_point(|spell| spell.end <= inside);
        let spell = &self.spells[index];
        let is_last = index + 1 == self.spells.len();
        let goes_on = is_last && self.spells[0].up == spell.up;
        let end = if goes_on {
            length + self.spells[0].end
        } else {
            spell.end
        };
        (at - inside).checked_add(end)
    }

    fn step(&self, at: Nanos) -> &Step {
        let inside = at % self.round().end;
        &self.steps[self.steps.partition_point(|step| step.end <= inside)]
    }

    /// The last step, whose end and sum are those of the whole round.
    fn round(&self) -> &Step {
        self.steps.last().expect("a log is never empty")
    }
}

/// A duration in nanoseconds; 584 years if it is longer.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

/// Divides numbers over zero, rounding up.
pub(crate) fn ceiling(dividend: i128, divisor: i128) -> i128 {
    (dividend + divisor - 1) / divisor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkStep, OUTAGE_UNDER_KBPS};

    const MS: Nanos = 1_000_000;

    fn curve(steps: &[(u64, u32)]) -> Curve {
        let step = |&(milliseconds, bandwidth_kbps): &(u64, u32)| LinkStep {
            duration: Duration::from_millis(milliseconds),
            bandwidth_kbps,
            latency: Duration::from_millis(u64::from(bandwidth_kbps)),
        };
        let log = LinkLog::new(steps.iter().map(step).collect()).unwrap();
        Curve::new(&log, OUTAGE_UNDER_KBPS)
    }

    /// The instant in ms at which so many bytes are through.
    fn ms_of(curve: &Curve, bytes: i128) -> Option<u64> {
        let at = curve.time_of(bytes * GRAINS_PER_BYTE)?;
        assert_eq!(
            at % MS,
            0,
            "{bytes} bytes are not through at a whole millisecond"
        );
        Some(at / MS)
    }

    #[test]
    fn an_amount_is_summed_across_steps_outages_and_rounds() {
        // 800 kbit/s are 100 bytes a millisecond; 5 kbit/s count as dead.
        let curve = curve(&[(100, 800), (50, 5), (50, 0), (100, 80)]);
        assert_eq!(ms_of(&curve, 0), Some(0));
        assert_eq!(ms_of(&curve, 5_000), Some(50));
        assert_eq!(ms_of(&curve, 10_000), Some(100));
        assert_eq!(ms_of(&curve, 10_010), Some(201));
        assert_eq!(ms_of(&curve, 11_000), Some(300));
        assert_eq!(ms_of(&curve, 11_100), Some(301));
        assert_eq!(ms_of(&curve, 11_000 * 1_000_000 + 100), Some(300_000_001));
    }

    #[test]
    fn time_and_amount_are_inverse_at_every_instant() {
        let curve = curve(&[(7, 801), (5, 0), (3, 77), (11, 12_345)]);
        for at in (0..100 * MS).step_by(12_345) {
            let grains = curve.served(at);
            let first = curve.time_of(grains).unwrap();
            assert!(first <= at, "{at}");
            assert_eq!(curve.served(first), grains, "{at}");
            assert!(first == 0 || curve.served(first - 1) < grains, "{at}");
        }
    }

    #[test]
    fn a_dead_log_never_lets_anything_through() {
        let curve = curve(&[(100, 0), (100, 9)]);
        assert_eq!(curve.time_of(1), None);
        assert_eq!(curve.served(123 * MS), 0);
        assert_eq!(curve.next_change(0), None);
        assert!(!curve.is_up(5));
    }

    #[test]
    fn changes_are_found_also_over_the_end_of_a_round() {
        let curve = curve(&[(10, 100), (5, 0), (5, 9), (10, 100), (10, 200)]);
        assert_eq!(curve.next_change(0), Some(10 * MS));
        assert_eq!(curve.next_change(10 * MS - 1), Some(10 * MS));
        assert_eq!(curve.next_change(10 * MS), Some(20 * MS));
        // The round ends up and starts up: up until the next round's first outage.
        assert_eq!(curve.next_change(20 * MS), Some(50 * MS));
        assert_eq!(curve.next_change(45 * MS), Some(50 * MS));
        assert_eq!(curve.next_change(4_000_000 * MS + 3), Some(4_000_010 * MS));
    }

    #[test]
    fn each_step_has_its_own_latency() {
        let curve = curve(&[(10, 100), (10, 200)]);
        assert_eq!(curve.latency(10 * MS - 1), Duration::from_millis(100));
        assert_eq!(curve.latency(30 * MS), Duration::from_millis(200));
    }

    #[test]
    fn the_fastest_and_longest_log_stays_exact() {
        let curve = Curve::new(
            &LinkLog::constant(crate::BANDWIDTH_KBPS_MAX),
            OUTAGE_UNDER_KBPS,
        );
        let at = Nanos::MAX - 1;
        assert_eq!(curve.time_of(curve.served(at)), Some(at));
    }
}
