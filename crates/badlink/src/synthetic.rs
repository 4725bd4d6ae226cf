//! Made-up mobile logs, for use where no recorded ones are at hand.
//!
//! The model is the least that has the traits which hurt a sync engine: a rate that wanders, and
//! outages of which most are short and a few are very long. Whole numbers only, so that a seed
//! gives the same log on every platform. Not here: a claim to match any one operator.

use std::time::Duration;

use crate::dice::Dice;
use crate::log::{LATENCY_MAX, LOG_LENGTH_MAX};
use crate::{LinkLog, LinkLogError, LinkStep};

/// Length of a step: a second, as in the recorded logs.
const STEP: Duration = Duration::from_secs(1);

/// One outage in this many is a long one. In the Norwegian 3G logs (Riiser et al., MMSys 2013) the
/// longest fifth of the outages makes up 73 % of the dead time.
const LONG_OUTAGE_ONE_IN: u64 = 5;

/// How many times the mean a long outage may last.
const LONG_OUTAGE_MEANS_MAX: u64 = 6;

/// How far the rate may wander from the typical one, both ways.
const WANDER_MAX: u64 = 8;

/// What a made-up log should be like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Synthetic {
    /// How long the log is; whole seconds, at least one.
    pub length: Duration,
    /// The rate around which it wanders, between an eighth and eight times of it, in kbit/s.
    pub typical_kbps: u32,
    /// How long the link holds between two outages, in the mean; whole seconds.
    pub up_mean: Duration,
    /// How long an outage lasts, in the mean (most are shorter, one in five much longer); whole
    /// seconds.
    pub outage_mean: Duration,
    /// The round trip of every step.
    pub latency: Duration,
}

impl Synthetic {
    /// A ride through a city on 3G: about 1 Mbit/s, a 100 ms round trip, and an outage of 20 s in
    /// the mean after every three minutes in the mean, as in the 31 h of the Norwegian 3G logs
    /// (Riiser et al., MMSys 2013: 575 outages under 10 kbit/s, 10.4 % of the time).
    pub fn ride(length: Duration) -> Self {
        Self {
            length,
            typical_kbps: 1000,
            up_mean: Duration::from_secs(180),
            outage_mean: Duration::from_secs(20),
            latency: Duration::from_millis(100),
        }
    }

    /// A minute of demonstration: outages every few seconds, each a few seconds long, so that
    /// any short stretch shows some.
    pub fn rough(length: Duration) -> Self {
        Self {
            up_mean: Duration::from_secs(12),
            outage_mean: Duration::from_secs(5),
            ..Self::ride(length)
        }
    }
}

impl LinkLog {
    /// Makes up a log: the same seed and wishes, the same log.
    ///
    /// It begins with the link up, and has an outage of at least a second if it is three seconds
    /// long or more.
    ///
    /// # Errors
    ///
    /// [`LinkLogError::Empty`] if the length is under a second, [`LinkLogError::TooLong`] if it is
    /// over [`LOG_LENGTH_MAX`], [`LinkLogError::LatencyOutOfRange`] over [`LATENCY_MAX`].
    pub fn synthetic(seed: u64, wishes: &Synthetic) -> Result<Self, LinkLogError> {
        if wishes.length > LOG_LENGTH_MAX {
            return Err(LinkLogError::TooLong { index: 0 });
        }
        if wishes.latency > LATENCY_MAX {
            return Err(LinkLogError::LatencyOutOfRange { index: 0 });
        }
        let mut dice = Dice::new(seed, 0);
        let mut rates = rates(&mut dice, wishes);
        if rates.len() >= 3 && !rates.contains(&0) {
            let third = rates.len() / 3;
            let wanted = wishes.outage_mean.as_secs().max(1);
            let length = third.min(usize::try_from(wanted).unwrap_or(usize::MAX));
            rates[third..third + length].fill(0);
        }
        let step = |bandwidth_kbps| LinkStep {
            duration: STEP,
            bandwidth_kbps,
            latency: wishes.latency,
        };
        Self::new(rates.into_iter().map(step).collect())
    }
}

/// Draws the rate of every second, in kbit/s; 0 in an outage.
fn rates(dice: &mut Dice, wishes: &Synthetic) -> Vec<u32> {
    let typical = u64::from(wishes.typical_kbps.max(1));
    let up_mean = wishes.up_mean.as_secs().max(1);
    let mut rate = typical;
    let mut outage_left = 0;
    let mut rates = Vec::new();
    for second in 0..wishes.length.as_secs() {
        if outage_left == 0 && second > 0 && dice.below(up_mean) == 0 {
            outage_left = outage_length(dice, wishes.outage_mean.as_secs().max(1));
        }
        if outage_left > 0 {
            outage_left -= 1;
            rates.push(0);
            continue;
        }
        // Up to a quarter up or a fifth down, which even out, and a tenth of the way back.
        let wandered = rate * (800 + dice.below(451)) / 1000;
        rate = ((wandered * 9 + typical) / 10)
            .clamp((typical / WANDER_MAX).max(1), typical * WANDER_MAX);
        rates.push(
            u32::try_from(rate)
                .unwrap_or(u32::MAX)
                .min(crate::log::BANDWIDTH_KBPS_MAX),
        );
    }
    rates
}

/// Draws how many seconds an outage lasts; `mean` of them in the mean, roughly.
fn outage_length(dice: &mut Dice, mean: u64) -> u64 {
    let most = if dice.below(LONG_OUTAGE_ONE_IN) == 0 {
        mean * LONG_OUTAGE_MEANS_MAX
    } else {
        mean
    };
    1 + dice.below(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_log_and_another_seed_another() {
        let wishes = Synthetic::ride(Duration::from_mins(10));
        let log = LinkLog::synthetic(7, &wishes).unwrap();
        assert_eq!(LinkLog::synthetic(7, &wishes), Ok(log.clone()));
        assert_ne!(LinkLog::synthetic(8, &wishes), Ok(log));
    }

    #[test]
    fn every_log_starts_up_and_has_an_outage() {
        for seed in 0..200 {
            let log = LinkLog::synthetic(seed, &Synthetic::ride(Duration::from_secs(30))).unwrap();
            assert_eq!(log.total_duration(), Duration::from_secs(30));
            assert!(log.steps()[0].bandwidth_kbps > 0, "seed {seed}");
            assert!(!log.outages(1).is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn a_ride_is_dead_about_a_tenth_of_the_time_and_its_outages_vary() {
        let log = LinkLog::synthetic(1, &Synthetic::ride(Duration::from_hours(24))).unwrap();
        let outages = log.outages(crate::OUTAGE_UNDER_KBPS);
        let dead: Duration = outages.iter().map(crate::Outage::duration).sum();
        let per_mille = dead.as_millis() * 1000 / log.total_duration().as_millis();
        assert!((70..=140).contains(&per_mille), "{per_mille} per mille");
        let longest = outages.iter().map(crate::Outage::duration).max().unwrap();
        assert!(longest > Duration::from_secs(60), "{longest:?}");
    }

    #[test]
    fn impossible_wishes_are_refused() {
        let wishes = Synthetic::ride(Duration::from_millis(999));
        assert_eq!(LinkLog::synthetic(1, &wishes), Err(LinkLogError::Empty));
        let wishes = Synthetic::ride(LOG_LENGTH_MAX + STEP);
        assert_eq!(
            LinkLog::synthetic(1, &wishes),
            Err(LinkLogError::TooLong { index: 0 })
        );
    }
}
