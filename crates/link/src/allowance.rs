//! How many datagrams of a device's a relay takes: what is more is dropped, as a network would.

use std::time::{Duration, Instant};

/// How often a relay takes a datagram of a device's that is no probe, in the long run: a device sends one a second at most.
const TAKEN_EVERY: Duration = Duration::from_millis(500);

/// How many it takes at once, as they come when the link was held up.
const TAKEN_AT_ONCE: u32 = 8;

/// How many datagrams of a device are taken.
pub(crate) struct Allowance {
    /// When all of them may be taken again.
    full: Option<Instant>,
}

impl Allowance {
    pub(crate) const fn new() -> Self {
        Self { full: None }
    }

    /// Takes one, if there is one left.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let full = self.full.map_or(now, |full| full.max(now)) + TAKEN_EVERY;
        let is_left = full.duration_since(now) <= TAKEN_EVERY * TAKEN_AT_ONCE;
        if is_left {
            self.full = Some(full);
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_may_send_a_datagram_each_half_second_and_some_at_once() {
        let mut allowance = Allowance::new();
        let start = Instant::now();
        let taken = |allowance: &mut Allowance, after: Duration, offered: usize| {
            let takes = (0..offered).filter(|_| allowance.take(start + after));
            takes.count()
        };
        assert_eq!(taken(&mut allowance, Duration::ZERO, 100), 8);
        assert_eq!(taken(&mut allowance, Duration::from_millis(499), 5), 0);
        assert_eq!(taken(&mut allowance, Duration::from_millis(500), 5), 1);
        assert_eq!(taken(&mut allowance, Duration::from_millis(2_000), 5), 3);
        assert_eq!(taken(&mut allowance, Duration::from_secs(60), 100), 8);
    }
}
