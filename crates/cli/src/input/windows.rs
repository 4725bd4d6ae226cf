//! Which part of which link log a device gets, so that the demo shows what links do.
//!
//! A demo is short and outages are rare: cut at random, most parts would show none. At least half
//! of the devices get a part with an outage in it that begins and ends there.

use std::time::Duration;

use gridbeat_badlink::{LinkLog, LinkLogError, OUTAGE_UNDER_KBPS, Outage};
use gridbeat_base::Random;

use super::draw::{index_below, shuffle};
use super::links::LinkLogs;

/// An outage is worth the name from this length on: a person would notice.
pub const OUTAGE_MIN: Duration = Duration::from_secs(3);

/// A part may be dead for at most this share of its length, or the device does nothing but wait.
const DEAD_PERCENT_MAX: u32 = 60;

/// How long an outage's ends stay away from the ends of the part, in percent of its length.
const MARGIN_PERCENT: u32 = 10;

/// A part of a link log, long enough for one run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedLink {
    /// The log's name, and where in it the part begins.
    pub name: String,
    /// The part itself, as a log of the run's length.
    pub log: LinkLog,
    /// The outages of at least [`OUTAGE_MIN`] in it, under [`OUTAGE_UNDER_KBPS`].
    pub outages: Vec<Outage>,
}

impl NamedLink {
    /// Makes one of a part of a log.
    ///
    /// # Errors
    ///
    /// As [`LinkLog::window`]: if `length` is zero, or over a month.
    pub fn cut(
        name: &str,
        log: &LinkLog,
        start: Duration,
        length: Duration,
    ) -> Result<Self, LinkLogError> {
        let part = log.window(start, length)?;
        Ok(Self {
            name: format!("{name} from {} s", start.as_secs()),
            outages: long_outages(&part),
            log: part,
        })
    }
}

/// Chooses a part of `run` for each of `devices`, one log each while there are enough.
///
/// At least half of them (rounded up) have an outage, if the logs have so many that fit into a run;
/// the others begin anywhere.
///
/// # Errors
///
/// As [`LinkLog::window`]: if `run` is zero, or over a month.
pub fn choose_windows(
    logs: &LinkLogs,
    devices: usize,
    run: Duration,
    random: &mut Random,
) -> Result<Vec<NamedLink>, LinkLogError> {
    let mut order: Vec<_> = logs.logs.iter().collect();
    shuffle(random, &mut order);
    // Logs with a fitting outage first, each used once before any is used again.
    let (with, without): (Vec<_>, Vec<_>) = order
        .into_iter()
        .partition(|(_, log)| !fitting(log, run).is_empty());
    let wanted = if with.is_empty() {
        0
    } else {
        devices.div_ceil(2)
    };
    let mut links = Vec::new();
    for device in 0..wanted {
        let (name, log) = with[device % with.len()];
        let outages = fitting(log, run);
        let outage = outages[index_below(random, outages.len())];
        links.push(NamedLink::cut(name, log, around(outage, run, random), run)?);
    }
    let unused = with.iter().skip(wanted).chain(&without);
    let others: Vec<_> = unused.chain(&with).collect();
    for (name, log) in others.iter().cycle().take(devices - wanted) {
        let latest = log.total_duration().saturating_sub(run).as_millis();
        let start = random.below(u64::try_from(latest).unwrap_or(u64::MAX));
        links.push(NamedLink::cut(
            name,
            log,
            Duration::from_millis(start),
            run,
        )?);
    }
    // Who has an outage is not told by the device's number.
    shuffle(random, &mut links);
    Ok(links)
}

fn long_outages(log: &LinkLog) -> Vec<Outage> {
    let mut outages = log.outages(OUTAGE_UNDER_KBPS);
    outages.retain(|outage| outage.duration() >= OUTAGE_MIN);
    outages
}

/// Returns the outages of a log that fit into a run with a margin on both sides.
fn fitting(log: &LinkLog, run: Duration) -> Vec<Outage> {
    let longest = run * DEAD_PERCENT_MAX / 100;
    let margin = run * MARGIN_PERCENT / 100;
    let mut outages = long_outages(log);
    outages.retain(|outage| {
        outage.duration() <= longest
            && outage.start >= margin
            && outage.end + margin <= log.total_duration()
    });
    outages
}

/// Draws where a part must begin for an outage to lie in it with its margins.
fn around(outage: Outage, run: Duration, random: &mut Random) -> Duration {
    let margin = run * MARGIN_PERCENT / 100;
    let latest = outage.start.saturating_sub(margin);
    let earliest = (outage.end + margin).saturating_sub(run).min(latest);
    let room = u64::try_from((latest - earliest).as_millis()).unwrap_or(u64::MAX);
    earliest + Duration::from_millis(random.below(room.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use gridbeat_badlink::LinkStep;

    use super::*;

    const RUN: Duration = Duration::from_secs(60);

    /// A log of 600 s with one outage.
    fn log(outage: core::ops::Range<u64>) -> LinkLog {
        let step = |second| LinkStep {
            duration: Duration::from_secs(1),
            bandwidth_kbps: if outage.contains(&second) { 2 } else { 1_000 },
            latency: Duration::from_millis(100),
        };
        LinkLog::new((0..600).map(step).collect()).unwrap()
    }

    fn check(outages: &[core::ops::Range<u64>], devices: usize) -> Vec<NamedLink> {
        let logs = outages
            .iter()
            .enumerate()
            .map(|(i, o)| (format!("log {i}"), log(o.clone())));
        let logs = LinkLogs {
            logs: logs.collect(),
        };
        let mut random = Random::from_number(3);
        let links = choose_windows(&logs, devices, RUN, &mut random).unwrap();
        assert_eq!(links.len(), devices);
        assert!(links.iter().all(|link| link.log.total_duration() == RUN));
        links
    }

    fn with_outage(links: &[NamedLink]) -> usize {
        links.iter().filter(|link| !link.outages.is_empty()).count()
    }

    #[test]
    fn at_least_half_of_the_devices_meet_an_outage_that_ends() {
        let mut outages = vec![0..0; 20];
        outages[7] = 300..310;
        outages[11] = 100..130;
        let links = check(&outages, 13);
        assert!(with_outage(&links) >= 7);
        for outage in links.iter().flat_map(|link| &link.outages) {
            assert!(
                outage.start >= Duration::from_secs(6) && outage.end <= Duration::from_secs(54)
            );
        }
        assert_eq!(
            links,
            check(&outages, 13),
            "the same seed, the same windows"
        );
    }

    #[test]
    fn one_log_each_while_there_are_enough() {
        let outages: Vec<_> = (0..12)
            .map(|i| if i < 6 { 200..220 } else { 0..0 })
            .collect();
        let links = check(&outages, 12);
        let mut names: Vec<_> = links
            .iter()
            .map(|l| l.name.split(" from").next().unwrap())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 12);
    }

    #[test]
    fn outages_too_short_or_too_long_do_not_count() {
        assert_eq!(with_outage(&check(&[0..0, 300..302], 4)), 0);
        // Longer than a run: any part of it would be dead from end to end or nearly so.
        assert!(
            check(&[100..400, 0..0], 2)
                .iter()
                .all(|link| link.log.total_duration() == RUN)
        );
    }
}
