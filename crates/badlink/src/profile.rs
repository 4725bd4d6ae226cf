//! How a link treats what is sent over it: a log, and what the log does not tell.
//!
//! Plain values and the named presets of the benchmarks. Not here: the links of an officer's day (`presets`), doing it
//! (`shaper`).

use std::time::Duration;

use crate::log::BANDWIDTH_KBPS_MAX;
use crate::{LinkLog, LinkStep, OUTAGE_UNDER_KBPS};

/// Buffer of a fast path, per direction: 20 ms at 400 Mbit/s, so that bursts of the tests fit.
const FAST_QUEUE_BYTES: u32 = 1024 * 1024;

/// Buffer towards a phone: a second at 1 Mbit/s. Mobile networks hold seconds' worth (Jiang et al.,
/// "Tackling Bufferbloat in 3G/4G Networks", IMC 2012).
const MOBILE_QUEUE_DOWN_BYTES: u32 = 128 * 1024;

/// Buffer of a phone's modem: two seconds at 256 kbit/s.
const MOBILE_QUEUE_UP_BYTES: u32 = 64 * 1024;

/// What a phone may send, of what it may receive: HSPA's 5.76 of 14.4 Mbit/s.
const MOBILE_UP_PER_MILLE: u32 = 400;

/// One of the two ways over a link.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// From the device to the server.
    Up,
    /// From the server to the device.
    Down,
}

/// How one direction of a link behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Way {
    /// Share of the log's bandwidth this direction has, in thousandths; up to a million. 0: dead.
    pub rate_per_mille: u32,
    /// Time added to half of the log's round trip.
    pub extra_latency: Duration,
    /// Longest random time added on top; what jitter delays still arrives in order.
    pub jitter: Duration,
    /// Datagrams lost in the air, after they took their time to send, of a thousand.
    pub loss_per_mille: u16,
    /// Datagrams that arrive twice, of a thousand; the second up to 20 ms later.
    pub duplicate_per_mille: u16,
    /// Datagrams held up for 1 to 50 ms so that later ones may overtake them, of a thousand.
    pub reorder_per_mille: u16,
    /// Payload bytes that wait to be sent at most; a datagram beyond them is dropped, a stream's
    /// sender made to wait.
    pub queue_bytes: u32,
}

impl Way {
    /// A way with the log's whole bandwidth, no delay, no faults and a wide buffer.
    pub const CLEAN: Self = Self {
        rate_per_mille: 1000,
        extra_latency: Duration::ZERO,
        jitter: Duration::ZERO,
        loss_per_mille: 0,
        duplicate_per_mille: 0,
        reorder_per_mille: 0,
        queue_bytes: FAST_QUEUE_BYTES,
    };
}

/// When a link changes the source address that the server sees.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Handover {
    /// Only when told to.
    #[default]
    Never,
    /// Again and again, this long apart; zero means never.
    Every(Duration),
    /// At these instants after the profile began, in any order.
    At(Vec<Duration>),
}

impl Handover {
    /// Returns the first hand-over later than `elapsed` after the profile began.
    pub fn next_after(&self, elapsed: Duration) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::Every(interval) if interval.is_zero() => None,
            Self::Every(interval) => {
                let rounds = elapsed.as_nanos() / interval.as_nanos() + 1;
                Some(Duration::from_nanos_u128(rounds * interval.as_nanos()))
            }
            Self::At(instants) => instants.iter().copied().filter(|at| *at > elapsed).min(),
        }
    }
}

/// How a link behaves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Profile {
    /// Bandwidth and round trip over time. Begins when the profile does.
    pub log: LinkLog,
    /// Under this bandwidth of the log, in kbit/s, the link is down: what is sent then, or not
    /// sent fully before, is lost if it is a datagram, and waits if it is a stream's.
    pub outage_under_kbps: u32,
    /// From the device to the server.
    pub up: Way,
    /// From the server to the device.
    pub down: Way,
    /// When the server sees another source port (datagrams), or connections break (streams).
    pub handover: Handover,
    /// How long answers to the port before the last hand-over still get through. Zero: not at all.
    pub handover_overlap: Duration,
    /// Decides every random choice.
    pub seed: u64,
}

impl Profile {
    /// The names that [`Profile::named`] knows.
    pub const NAMES: [&'static str; 13] = [
        "lan",
        "rtt100",
        "rtt400",
        "slow",
        "lossy",
        "flap",
        "street",
        "tunnel",
        "handover",
        "hostile-wifi",
        "edge",
        "ghent",
        "oslo",
    ];

    /// Returns the preset of that name: one of [`Profile::NAMES`].
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "lan" => Some(Self::lan()),
            "rtt100" => Some(Self::delay(Duration::from_millis(100))),
            "rtt400" => Some(Self::delay(Duration::from_millis(400))),
            "slow" => Some(Self::slow()),
            "lossy" => Some(Self::lossy()),
            "flap" => Some(Self::flap()),
            "street" => Some(Self::street()),
            "tunnel" => Some(Self::tunnel()),
            "handover" => Some(Self::moving()),
            "hostile-wifi" => Some(Self::hostile_wifi()),
            "edge" => Some(Self::edge()),
            "ghent" => Some(Self::ghent()),
            "oslo" => Some(Self::oslo()),
            _ => None,
        }
    }

    /// A recorded or made-up mobile log, played as a phone meets it: the log's bandwidth down,
    /// 40 % of it up, deep buffers, and nothing that the log does not tell.
    pub fn mobile(log: LinkLog, seed: u64) -> Self {
        Self {
            log,
            outage_under_kbps: OUTAGE_UNDER_KBPS,
            up: Way {
                rate_per_mille: MOBILE_UP_PER_MILLE,
                queue_bytes: MOBILE_QUEUE_UP_BYTES,
                ..Way::CLEAN
            },
            down: Way {
                queue_bytes: MOBILE_QUEUE_DOWN_BYTES,
                ..Way::CLEAN
            },
            handover: Handover::Never,
            handover_overlap: Duration::ZERO,
            seed,
        }
    }

    /// A wire: no delay, no limit that the loopback would notice, no faults.
    pub fn lan() -> Self {
        Self {
            up: Way::CLEAN,
            down: Way::CLEAN,
            ..Self::mobile(LinkLog::constant(BANDWIDTH_KBPS_MAX), 0)
        }
    }

    /// A wire of that round trip, half of it each way.
    pub fn delay(round_trip: Duration) -> Self {
        let way = Way {
            extra_latency: round_trip / 2,
            ..Way::CLEAN
        };
        Self {
            up: way,
            down: way,
            ..Self::lan()
        }
    }

    /// The edge of a cell: 400 ms round trip, 256 kbit/s up, 1 Mbit/s down.
    pub fn slow() -> Self {
        let profile = Self::mobile(LinkLog::constant(1000), 0);
        let extra_latency = Duration::from_millis(200);
        Self {
            up: Way {
                rate_per_mille: 256,
                extra_latency,
                ..profile.up
            },
            down: Way {
                extra_latency,
                ..profile.down
            },
            ..profile
        }
    }

    /// [`Profile::slow`] with 5 % of the datagrams lost each way.
    pub fn lossy() -> Self {
        let profile = Self::slow();
        Self {
            up: Way {
                loss_per_mille: 50,
                ..profile.up
            },
            down: Way {
                loss_per_mille: 50,
                ..profile.down
            },
            ..profile
        }
    }

    /// [`Profile::slow`] that is up for 8 s and down for 22 s, by turns.
    pub fn flap() -> Self {
        let step = |seconds, bandwidth_kbps| LinkStep {
            duration: Duration::from_secs(seconds),
            bandwidth_kbps,
            latency: Duration::ZERO,
        };
        let log = LinkLog::new(vec![step(8, 1000), step(22, 0)]);
        Self {
            log: log.expect("both steps last some time and carry little"),
            ..Self::slow()
        }
    }

    /// Returns the way of that direction.
    pub fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_preset_and_others_are_not() {
        for name in Profile::NAMES {
            assert!(Profile::named(name).is_some(), "{name}");
        }
        assert_eq!(Profile::named("LAN"), None);
    }

    #[test]
    fn hand_overs_come_at_their_instants_only() {
        let second = Duration::from_secs(1);
        assert_eq!(Handover::Never.next_after(second), None);
        assert_eq!(Handover::Every(Duration::ZERO).next_after(second), None);
        assert_eq!(
            Handover::Every(second).next_after(Duration::ZERO),
            Some(second)
        );
        assert_eq!(Handover::Every(second).next_after(second), Some(second * 2));
        let at = Handover::At(vec![second * 3, second]);
        assert_eq!(at.next_after(Duration::ZERO), Some(second));
        assert_eq!(at.next_after(second), Some(second * 3));
        assert_eq!(at.next_after(second * 3), None);
    }

    #[test]
    fn flap_is_down_from_its_eighth_second_to_its_thirtieth() {
        let outages = Profile::flap().log.outages(OUTAGE_UNDER_KBPS);
        let seconds: Vec<_> = outages
            .iter()
            .map(|outage| (outage.start.as_secs(), outage.end.as_secs()))
            .collect();
        assert_eq!(seconds, [(8, 30)]);
    }
}
