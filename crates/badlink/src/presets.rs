//! The links that an officer meets in a day, by name: on the street, in a tunnel, between cells, in a station's Wi-Fi.
//!
//! Those made up are given by their figures; those recorded are excerpts of public logs, second by second. Logs of a
//! whole ride are read from files (`sabre`).

use std::time::Duration;

use crate::{Handover, LinkLog, LinkStep, Profile, Way};

/// 4G on a bicycle in Ghent, kbit/s in each of 32 seconds: seconds 31 to 62 of `report_bicycle_0002`, with its dead
/// spell of ten seconds. Van der Hooft et al., "HTTP/2-Based Adaptive Streaming of HEVC Video Over 4G/LTE Networks", IEEE
/// Communications Letters 20(11), 2016.
const GHENT_KBPS: [u32; 32] = [
    3_415, 3_249, 4_432, 1_585, 1_260, 2_569, 2_383, 1_391, 107, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    2_372, 14_828, 29_666, 4_956, 47_123, 39_904, 29_172, 17_933, 36_449, 34_284, 50_983, 53_557,
    51_525,
];

/// The round trip that the Ghent logs state.
const GHENT_ROUND_TRIP: Duration = Duration::from_millis(20);

/// 3G on the way to work in Oslo, (ms, kbit/s) a step: steps 222 to 244 of `report.2010-09-20_1542CEST`, at the edge of
/// coverage with an outage of 18 s between. Riiser et al., "Commute Path Bandwidth Traces from 3G Networks", MMSys 2013.
const OSLO: [(u64, u32); 23] = [
    (1_020, 107),
    (1_090, 110),
    (1_040, 147),
    (1_100, 119),
    (2_147, 20),
    (17_970, 4),
    (1_028, 127),
    (1_020, 85),
    (1_160, 56),
    (1_151, 57),
    (1_159, 56),
    (1_170, 56),
    (1_150, 57),
    (1_100, 59),
    (1_170, 56),
    (1_020, 53),
    (1_030, 42),
    (1_240, 65),
    (1_030, 286),
    (1_271, 215),
    (1_020, 482),
    (1_009, 694),
    (1_009, 867),
];

/// The round trip that the Norwegian logs state.
const OSLO_ROUND_TRIP: Duration = Duration::from_millis(100);

/// How long the street lasts between two tunnels.
const BETWEEN_TUNNELS: Duration = Duration::from_mins(1);

/// How long tunnels last, one after the other: from an underpass to a shift's worst.
const TUNNELS: [Duration; 3] = [
    Duration::from_secs(30),
    Duration::from_secs(90),
    Duration::from_secs(300),
];

impl Profile {
    /// A street between houses: 256 kbit/s each way, a round trip of 40 to 200 ms, 3 % of the datagrams lost each way.
    pub fn street() -> Self {
        let profile = Self::mobile(LinkLog::constant(256), 0);
        let with = |way: Way| Way {
            rate_per_mille: 1_000,
            extra_latency: Duration::from_millis(20),
            jitter: Duration::from_millis(80),
            loss_per_mille: 30,
            ..way
        };
        Self {
            up: with(profile.up),
            down: with(profile.down),
            ..profile
        }
    }

    /// [`Profile::street`] with tunnels of 30, 90 and 300 s, a minute apart: nothing gets through in them.
    pub fn tunnel() -> Self {
        let step = |duration, bandwidth_kbps| LinkStep {
            duration,
            bandwidth_kbps,
            latency: Duration::ZERO,
        };
        let steps = TUNNELS.map(|tunnel| [step(BETWEEN_TUNNELS, 256), step(tunnel, 0)]);
        Self {
            log: log(steps.concat()),
            ..Self::street()
        }
    }

    /// [`Profile::street`] on the move: another source port each minute, and no answer to the one before.
    pub fn moving() -> Self {
        Self {
            handover: Handover::Every(Duration::from_mins(1)),
            ..Self::street()
        }
    }

    /// A Wi-Fi of a station or a shop that lets connections through and no datagram: 20 Mbit/s, 30 ms.
    pub fn hostile_wifi() -> Self {
        let way = Way {
            extra_latency: Duration::from_millis(15),
            loss_per_mille: 1_000,
            ..Way::CLEAN
        };
        Self {
            up: way,
            down: way,
            ..Self::mobile(LinkLog::constant(20_000), 0)
        }
    }

    /// The edge of what still is a network: 64 kbit/s each way, 600 ms, 10 % lost each way.
    pub fn edge() -> Self {
        let profile = Self::mobile(LinkLog::constant(64), 0);
        let with = |way: Way| Way {
            rate_per_mille: 1_000,
            extra_latency: Duration::from_millis(300),
            loss_per_mille: 100,
            ..way
        };
        Self {
            up: with(profile.up),
            down: with(profile.down),
            ..profile
        }
    }

    /// Half a minute of 4G on a bicycle in Ghent, recorded, with a dead spell of ten seconds.
    pub fn ghent() -> Self {
        let step = |bandwidth_kbps| LinkStep {
            duration: Duration::from_secs(1),
            bandwidth_kbps,
            latency: GHENT_ROUND_TRIP,
        };
        Self::mobile(log(GHENT_KBPS.map(step).to_vec()), 0)
    }

    /// Forty seconds of 3G on the way to work in Oslo, recorded, of which 18 are an outage.
    pub fn oslo() -> Self {
        let step = |(milliseconds, bandwidth_kbps)| LinkStep {
            duration: Duration::from_millis(milliseconds),
            bandwidth_kbps,
            latency: OSLO_ROUND_TRIP,
        };
        Self::mobile(log(OSLO.map(step).to_vec()), 0)
    }

    /// The same link in fast motion: what its log says lasts so many times shorter, and planned hand-overs are so
    /// many times closer. Rates, delays and losses stay. 0 counts as 1.
    #[must_use]
    pub fn hastened(&self, times: u32) -> Self {
        let times = times.max(1);
        Self {
            log: self.log.hastened(times),
            handover: match &self.handover {
                Handover::Never => Handover::Never,
                Handover::Every(interval) => Handover::Every(*interval / times),
                Handover::At(instants) => {
                    Handover::At(instants.iter().map(|at| *at / times).collect())
                }
            },
            ..self.clone()
        }
    }

    /// Tells whether datagrams get through at all: not where all of them are lost, nor where the log is dead.
    pub fn carries_datagrams(&self) -> bool {
        let ways = [self.up, self.down];
        ways.iter()
            .all(|way| way.rate_per_mille > 0 && way.loss_per_mille < 1_000)
            && self
                .log
                .steps()
                .iter()
                .any(|step| step.bandwidth_kbps >= self.outage_under_kbps.max(1))
    }
}

fn log(steps: Vec<LinkStep>) -> LinkLog {
    LinkLog::new(steps).expect("the steps last some time, and carry little")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OUTAGE_UNDER_KBPS;

    fn outages_s(profile: &Profile) -> Vec<(f64, f64)> {
        let outages = profile.log.outages(OUTAGE_UNDER_KBPS);
        let seconds = outages
            .iter()
            .map(|it| (it.start.as_secs_f64(), it.end.as_secs_f64()));
        seconds.collect()
    }

    #[test]
    fn tunnels_are_dark_from_end_to_end_and_a_minute_apart() {
        let expected = [(60.0, 90.0), (150.0, 240.0), (300.0, 600.0)];
        assert_eq!(outages_s(&Profile::tunnel()), expected);
    }

    #[test]
    fn the_recorded_links_are_dead_where_the_logs_are() {
        assert_eq!(outages_s(&Profile::ghent()), [(9.0, 19.0)]);
        assert_eq!(outages_s(&Profile::oslo()), [(6.397, 24.367)]);
    }

    #[test]
    fn fast_motion_shortens_outages_and_hand_overs_and_nothing_else() {
        let fast = Profile::tunnel().hastened(30);
        assert_eq!(outages_s(&fast), [(2.0, 3.0), (5.0, 8.0), (10.0, 20.0)]);
        assert_eq!(fast.up, Profile::street().up);
        let interval = Duration::from_secs(2);
        let moving = Profile::moving().hastened(30);
        assert_eq!(moving.handover, Handover::Every(interval));
        assert_eq!(moving.hastened(0), moving);
    }

    #[test]
    fn only_the_hostile_wifi_takes_every_datagram() {
        for name in Profile::NAMES {
            let profile = Profile::named(name).unwrap();
            assert_eq!(
                profile.carries_datagrams(),
                name != "hostile-wifi",
                "{name}"
            );
        }
        let dead = Profile {
            log: LinkLog::constant(0),
            ..Profile::lan()
        };
        assert!(!dead.carries_datagrams());
    }
}
