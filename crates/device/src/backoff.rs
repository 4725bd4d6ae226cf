//! How long to wait before dialling again.
//!
//! While something waits to be sent, the first attempts follow each other closely, for a phone often
//! has the link back within seconds; then they thin out. A relay that says when to come back is
//! believed, and one that turns the device away again and again is asked ever more rarely. Jitter
//! keeps a city's phones from coming back all at once.
//!
//! Pure. Not here: dialling (`dialer`).

use std::time::Duration;

use gridbeat_base::Random;

/// Attempts that follow each other closely: half a minute of them.
const EAGER: u32 = 10;

/// Longest pause between two close attempts.
const EAGER_PAUSE: Duration = Duration::from_millis(250);

/// The first longer pause; each doubles.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest pause while something waits.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Longest pause while nothing waits.
const PAUSE_MAX_IDLE: Duration = Duration::from_secs(60);

/// Longest time a device stays away from a relay that turned it away.
const AWAY_MAX: Duration = Duration::from_secs(60 * 60);

/// Counts failures, and says how long to wait.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    turned_away: u32,
    random: Random,
}

impl Backoff {
    pub(crate) const fn new(random: Random) -> Self {
        Self {
            failures: 0,
            turned_away: 0,
            random,
        }
    }

    /// Notes that the relay greeted.
    pub(crate) const fn succeeded(&mut self) {
        self.failures = 0;
        self.turned_away = 0;
    }

    /// Notes that circumstances have changed: a person asks, or the network is another.
    pub(crate) const fn start_over(&mut self) {
        self.failures = 0;
    }

    /// Returns whether the device stays away for lack of an answer alone, not because it was told to.
    pub(crate) const fn is_free(&self) -> bool {
        self.turned_away == 0
    }

    /// Notes an attempt that led to nothing; returns how long to wait.
    pub(crate) fn failed(&mut self, something_waits: bool) -> Duration {
        let failure = self.failures;
        self.failures = self.failures.saturating_add(1);
        let pause = if something_waits && failure < EAGER {
            EAGER_PAUSE
        } else if something_waits {
            doubled(PAUSE_MIN, failure - EAGER, PAUSE_MAX)
        } else {
            doubled(PAUSE_MIN, failure, PAUSE_MAX_IDLE)
        };
        self.jitter(pause)
    }

    /// Notes that the relay, or the device's own rules, ended the session for a reason that time alone
    /// may mend; returns how long to stay away: at least `asked`.
    pub(crate) fn turned_away(&mut self, asked: Duration) -> Duration {
        let times = self.turned_away;
        self.turned_away = self.turned_away.saturating_add(1);
        let away = doubled(asked, times, AWAY_MAX.max(asked));
        // Never earlier than asked.
        away + self.jitter(away / 4)
    }

    /// Half of `pause` to all of it.
    fn jitter(&mut self, pause: Duration) -> Duration {
        let half = u64::try_from(pause.as_millis() / 2).unwrap_or(u64::MAX / 2);
        Duration::from_millis(half + self.random.below(half + 1))
    }
}

fn doubled(from: Duration, times: u32, max: Duration) -> Duration {
    2_u32
        .checked_pow(times)
        .and_then(|factor| from.checked_mul(factor))
        .map_or(max, |pause| pause.min(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Random::from_number(1))
    }

    #[test]
    fn attempts_thin_out_and_never_stop() {
        let mut backoff = backoff();
        let pauses: Vec<Duration> = (0..40).map(|_| backoff.failed(true)).collect();
        assert!(pauses[..10].iter().all(|pause| *pause <= EAGER_PAUSE));
        assert!(pauses[10..].iter().all(|pause| *pause >= PAUSE_MIN / 2));
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX));
        assert!(pauses[39] >= PAUSE_MAX / 2);
        assert!(backoff.failed(false) <= PAUSE_MAX_IDLE);
    }

    #[test]
    fn success_starts_over() {
        let mut backoff = backoff();
        for _ in 0..20 {
            backoff.failed(true);
        }
        backoff.succeeded();
        assert!(backoff.failed(true) <= EAGER_PAUSE);
    }

    #[test]
    fn a_relay_that_asks_for_time_is_given_it() {
        let mut backoff = backoff();
        let asked = Duration::from_secs(60);
        let first = backoff.turned_away(asked);
        let second = backoff.turned_away(asked);
        assert!(first >= asked && first <= asked * 2, "{first:?}");
        assert!(second >= asked * 2, "{second:?}");
        let last = (0..40).map(|_| backoff.turned_away(asked)).last().unwrap();
        assert!(last >= AWAY_MAX && last <= AWAY_MAX * 2, "{last:?}");
    }
}
