//! The figures of a run: the JSON a program reads.

use serde::Serialize;

use super::chronicle::Chronicle;
use super::compare::Findings;

/// Middle and near-worst of a row of measurements, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    /// Half of them are no greater.
    pub(crate) p50: Option<u64>,
    /// 95 of 100 are no greater.
    pub(crate) p95: Option<u64>,
}

impl Percentiles {
    /// Computes both; `None` of nothing. The nearest rank counts, nothing is interpolated.
    pub(crate) fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let rank = |percent: usize| {
            let index = (values.len() * percent).div_ceil(100).checked_sub(1)?;
            values.get(index).copied()
        };
        Self {
            p50: rank(50),
            p95: rank(95),
        }
    }
}

/// The figures, in the order they are written.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// Whether every promise held.
    pub(crate) ok: bool,
    /// The seed that makes the same plan again.
    pub(crate) seed: u64,
    /// What was played.
    pub(crate) input: String,
    /// Devices, the centre's among them.
    pub(crate) devices: usize,
    /// Scopes.
    pub(crate) scopes: usize,
    /// Incidents that were reported.
    pub(crate) incidents: u64,
    /// Edits of incidents and patrols that were saved.
    pub(crate) edits: u64,
    /// Changes of which another, of another author in the same document, knew nothing, nor they of it.
    pub(crate) concurrent_edits: u64,
    /// Fields with more than one value that nobody has settled.
    pub(crate) conflicts_open: u64,
    /// Saved changes that the relay called durable.
    pub(crate) changes_acknowledged: u64,
    /// Acknowledged changes that the relay lacks, and saved ones that their device lacks.
    pub(crate) changes_lost: u64,
    /// Photos and tracks that records refer to; one counts for each record.
    pub(crate) blobs: u64,
    /// Those that the relay has, whole.
    pub(crate) blobs_received: u64,
    /// Pairs of copies that differ in a digest, heads or values.
    pub(crate) digest_mismatches: u64,
    /// How often a link went down.
    pub(crate) outages: u64,
    /// How often the relay was killed.
    pub(crate) relay_kills: u64,
    /// How often a device was killed.
    pub(crate) device_kills: u64,
    /// Datagram payload over all links, from the devices.
    pub(crate) bytes_up: u64,
    /// And to them.
    pub(crate) bytes_down: u64,
    /// Connections that devices tried, since they were started last.
    pub(crate) dials: u64,
    /// How long phones' radios were kept on together, since they were started last: an estimate for LTE.
    pub(crate) radio_on_s: u64,
    /// From a save to its acknowledgement, outages included.
    pub(crate) acknowledge_ms: Percentiles,
    /// From the return of a link to the first acknowledgement.
    pub(crate) return_to_acknowledge_ms: Percentiles,
    /// The most resident memory of a relay process.
    pub(crate) relay_peak_rss_bytes: u64,
    /// How long the whole run took.
    pub(crate) seconds: f64,
}

/// What the figures need beside what happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// The seed.
    pub(crate) seed: u64,
    /// The day's name.
    pub(crate) input: &'a str,
    /// How many scopes there are.
    pub(crate) scopes: usize,
    /// How long the whole run took.
    pub(crate) seconds: f64,
}

impl Figures {
    /// Adds up a run of which only the page is of interest.
    #[cfg(test)]
    pub(crate) fn for_page(input: &str, chronicle: &Chronicle, findings: &Findings) -> Self {
        let about = About {
            seed: 1,
            input,
            scopes: 8,
            seconds: 61.0,
        };
        Self::of(about, chronicle, findings)
    }

    /// Adds up a run.
    pub(crate) fn of(about: About<'_>, chronicle: &Chronicle, findings: &Findings) -> Self {
        let devices = &chronicle.devices;
        let sum = |of: fn(&super::chronicle::DeviceLog) -> u64| devices.iter().map(of).sum::<u64>();
        let all = |of: fn(&super::chronicle::DeviceLog) -> &Vec<u64>| {
            Percentiles::of(devices.iter().flat_map(of).copied().collect())
        };
        Self {
            ok: findings.is_good(),
            seed: about.seed,
            input: about.input.to_owned(),
            devices: devices.len(),
            scopes: about.scopes,
            incidents: findings.incidents,
            edits: sum(|log| log.edited),
            concurrent_edits: findings.concurrent_edits,
            conflicts_open: findings.conflicts.len() as u64,
            changes_acknowledged: sum(|log| log.acknowledged.len() as u64),
            changes_lost: findings.changes_lost,
            blobs: findings.blobs.referred_to,
            blobs_received: findings.blobs.received,
            digest_mismatches: findings.mismatches,
            outages: sum(super::chronicle::DeviceLog::outages),
            relay_kills: chronicle.relay_down.len() as u64,
            device_kills: sum(|log| log.kills.len() as u64),
            bytes_up: sum(|log| log.bytes_up),
            bytes_down: sum(|log| log.bytes_down),
            dials: sum(|log| log.link_cost.as_ref().map_or(0, |link| link.dials)),
            radio_on_s: sum(|log| log.link_cost.as_ref().map_or(0, |link| link.radio_on_s)),
            acknowledge_ms: all(|log| &log.acknowledge_ms),
            return_to_acknowledge_ms: all(|log| &log.return_ms),
            relay_peak_rss_bytes: chronicle.relay_peak_rss_bytes,
            seconds: (about.seconds * 10.0).round() / 10.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[u64], p50: Option<u64>, p95: Option<u64>) {
        assert_eq!(
            Percentiles::of(values.to_vec()),
            Percentiles { p50, p95 },
            "{values:?}"
        );
    }

    #[test]
    fn percentiles_take_the_nearest_rank() {
        check(&[], None, None);
        check(&[7], Some(7), Some(7));
        check(&[3, 1, 2], Some(2), Some(3));
        let hundred: Vec<u64> = (1..=100).collect();
        check(&hundred, Some(50), Some(95));
    }
}
