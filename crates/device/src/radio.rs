//! How long the link keeps the phone's radio on.
//!
//! After the last packet a mobile network keeps the radio in its dear state for a while: 11.6 s on LTE (Huang et al., "A
//! close examination of performance and power characteristics of 4G LTE networks", MobiSys 2012). So what a
//! device says costs its battery by how often, and hardly by how much. An estimate: packets are noticed when the
//! connection is looked at. Pure: it is told the time.

use std::time::Duration;

use gridbeat_base::Monotonic;

/// How long the radio stays on after the last packet.
const TAIL: Duration = Duration::from_millis(11_600);

/// The radio as far as one device uses it.
#[derive(Debug, Default)]
pub(crate) struct Radio {
    datagrams: u64,
    until: Monotonic,
}

impl Radio {
    /// Looks at how many datagrams have gone over the present connection, both ways; returns for how much longer than
    /// known before the radio is on.
    pub(crate) fn look(&mut self, now: Monotonic, datagrams: u64) -> Duration {
        if datagrams == self.datagrams {
            return Duration::ZERO;
        }
        self.datagrams = datagrams;
        let from = self.until.max(now);
        self.until = now.plus(TAIL);
        self.until.since(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn each_packet_keeps_the_radio_on_for_its_tail_and_tails_that_overlap_count_once() {
        let mut radio = Radio::default();
        assert_eq!(radio.look(at(100), 0), Duration::ZERO);
        assert_eq!(radio.look(at(100), 3), TAIL);
        assert_eq!(radio.look(at(105), 3), Duration::ZERO);
        assert_eq!(radio.look(at(105), 4), Duration::from_secs(5));
        assert_eq!(radio.look(at(200), 5), TAIL);
        // Another connection counts from nothing.
        assert_eq!(radio.look(at(201), 1), Duration::from_secs(1));
    }
}
