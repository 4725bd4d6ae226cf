//! How often requests to enrol failed, by the address they came from, and whom not to listen to.
//!
//! A code has 128 bits, so nobody guesses one; this keeps those who try from costing the relay's disk and
//! operators' attention. In memory, and bounded: a relay that is started again listens to all. Waiting for an
//! operator is no failure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use gridbeat_base::WallTime;

/// Failures after which an address is not listened to: a person's slips and retries, for all those that
/// share an office's address.
const FAILURES_MAX: u32 = 10;

/// How long failures count, and so how long an address waits at most.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// Most addresses remembered, some 300 KB; the one whose failures are oldest is forgotten for another.
const ADDRESSES_MAX: usize = 4_096;

/// Counts failures by address.
#[derive(Debug, Default)]
pub(crate) struct Attempts(BTreeMap<IpAddr, Failures>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    first: WallTime,
    count: u32,
}

impl Failures {
    fn is_over(&self, now: WallTime) -> bool {
        // A clock that was set back counts anew, rather than shutting somebody out for years.
        self.first.plus(WINDOW) <= now || now < self.first
    }
}

impl Attempts {
    /// Returns how long an address is not to be listened to, in seconds; `None` if it is.
    pub(crate) fn wait_s(&self, from: IpAddr, now: WallTime) -> Option<u32> {
        let failures = self.0.get(&from)?;
        if failures.is_over(now) || failures.count < FAILURES_MAX {
            return None;
        }
        let left_ms = failures.first.plus(WINDOW).millis() - now.millis();
        u32::try_from(left_ms / 1_000 + 1).ok()
    }

    /// Notes that a request failed.
    pub(crate) fn failed(&mut self, from: IpAddr, now: WallTime) {
        let fresh = Failures {
            first: now,
            count: 0,
        };
        if !self.0.contains_key(&from) && self.0.len() >= ADDRESSES_MAX {
            let oldest = self.0.iter().min_by_key(|(_, failures)| failures.first);
            if let Some(address) = oldest.map(|(address, _)| *address) {
                self.0.remove(&address);
            }
        }
        let failures = self.0.entry(from).or_insert(fresh);
        if failures.is_over(now) {
            *failures = fresh;
        }
        failures.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const NOW: WallTime = WallTime(1_790_000_000_000);

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn who_fails_often_waits_and_others_do_not() {
        let mut attempts = Attempts::default();
        for _ in 0..FAILURES_MAX {
            assert_eq!(attempts.wait_s(address(1), NOW), None);
            attempts.failed(address(1), NOW);
        }
        assert_eq!(attempts.wait_s(address(1), NOW), Some(901));
        assert_eq!(attempts.wait_s(address(2), NOW), None);
        assert_eq!(attempts.wait_s(address(1), NOW.plus(WINDOW)), None);
        let before = WallTime(NOW.0 - 1);
        assert_eq!(
            attempts.wait_s(address(1), before),
            None,
            "a clock set back"
        );
    }

    #[test]
    fn slips_far_apart_are_no_attack() {
        let mut attempts = Attempts::default();
        for slip in 0..3 * FAILURES_MAX {
            let now = NOW.plus(slip * Duration::from_secs(120));
            assert_eq!(attempts.wait_s(address(1), now), None);
            attempts.failed(address(1), now);
        }
    }

    #[test]
    fn no_flood_of_addresses_takes_more_memory_than_is_set() {
        let mut attempts = Attempts::default();
        for n in 0..2 * u32::try_from(ADDRESSES_MAX).unwrap() {
            attempts.failed(address(n), NOW.plus(Duration::from_millis(n.into())));
        }
        assert_eq!(attempts.0.len(), ADDRESSES_MAX);
    }
}
