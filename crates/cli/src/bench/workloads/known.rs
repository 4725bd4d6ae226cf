//! What the times are held to, what the best of four other engines took, and what the new facts alone take.
//!
//! The others are automerge-repo 2.5, samod 0.16, PouchDB 9 and Hocuspocus 4, measured on the same workloads over links of
//! the same figures, on two cores, one run each, in November 2026. The limit is the facts under zstd 19 over one TCP
//! connection, with an fsync. They had the patrol's log of a shift in w1, of which the limit has 33 of 59 kB.

/// Seconds of one workload over one link.
pub(super) struct Known {
    pub(super) workload: &'static str,
    pub(super) link: &'static str,
    pub(super) target: Option<f64>,
    pub(super) others: Option<f64>,
    pub(super) limit: f64,
}

const fn known(
    workload: &'static str,
    link: &'static str,
    target: Option<f64>,
    others: Option<f64>,
    limit: f64,
) -> Known {
    Known {
        workload,
        link,
        target,
        others,
        limit,
    }
}

pub(super) const KNOWN: [Known; 11] = [
    known("w1", "lan", None, Some(0.3), 0.01),
    known("w1", "rtt400", Some(0.9), Some(3.2), 1.6),
    known("w1", "slow", Some(3.3), Some(11.0), 2.8),
    known("w1", "lossy", Some(5.0), Some(17.8), 3.8),
    known("w1", "flap", Some(8.0), Some(98.0), 8.0),
    known("w2", "lan", Some(0.05), Some(0.1), 0.01),
    known("w2", "rtt400", Some(0.5), Some(7.7), 0.8),
    known("w2", "slow", Some(0.55), Some(8.1), 0.9),
    known("w2", "lossy", Some(0.7), Some(8.5), 0.9),
    known("w3", "lan", Some(1.5), Some(5.1), 0.01),
    known("w3", "slow", Some(25.0), Some(78.0), 17.2),
];

pub(super) fn of(workload: &str, link: &str) -> Option<&'static Known> {
    KNOWN
        .iter()
        .find(|known| known.workload == workload && known.link == link)
}
