//! What happened in a run, moment by moment, as the figures and the report need it.
//!
//! All moments count from the beginning of the shift. Nothing here reads a clock: whoever notes
//! something says when it was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridbeat_base::DocumentId;

use crate::device::protocol::{LinkLine, Saved};

/// Everything that was noted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chronicle {
    /// One log a device, the centre's last.
    pub(crate) devices: Vec<DeviceLog>,
    /// When the relay was down: killed, and answering again.
    pub(crate) relay_down: Vec<(Duration, Option<Duration>)>,
    /// The most memory any relay process had.
    pub(crate) relay_peak_rss_bytes: u64,
    /// The incidents that were reported, with the request each was made of.
    pub(crate) incidents: BTreeMap<DocumentId, usize>,
    /// The patrols, with the officer of each.
    pub(crate) patrols: BTreeMap<DocumentId, usize>,
    /// Edits that several people made in one moment, as planned; how many really were concurrent
    /// is counted on the changes themselves.
    pub(crate) meetings: u64,
    /// Steps that were no longer possible when their turn came: someone else had been faster.
    pub(crate) overtaken: u64,
    /// What was answered with an error that nobody expected.
    pub(crate) faults: Vec<String>,
    /// How long the shift was played.
    pub(crate) played: Duration,
}

/// What happened to one device.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeviceLog {
    /// Its name.
    pub(crate) name: String,
    /// The name of its link's log.
    pub(crate) link: String,
    /// When the link went up or down.
    pub(crate) link_changes: Vec<(Duration, bool)>,
    /// How many changes waited, from that moment on.
    pub(crate) outbox: Vec<(Duration, u64)>,
    /// When acknowledgements came.
    pub(crate) acknowledged_at: Vec<Duration>,
    /// When it was killed, and ready again.
    pub(crate) kills: Vec<(Duration, Option<Duration>)>,
    /// What it saved.
    pub(crate) saved: BTreeSet<Saved>,
    /// What of that the relay called durable.
    pub(crate) acknowledged: BTreeSet<Saved>,
    /// How long each took, from the save to the acknowledgement.
    pub(crate) acknowledge_ms: Vec<u64>,
    /// How long it took from each return of the link to the first acknowledgement.
    pub(crate) return_ms: Vec<u64>,
    /// How many of the saves made documents, and how many edited one.
    pub(crate) created: u64,
    pub(crate) edited: u64,
    /// Bytes over its link, both ways.
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    /// What it says that its link has cost since it was started last.
    pub(crate) link_cost: Option<LinkLine>,
    /// How often another source port was given to it.
    pub(crate) handovers: u64,
    /// Since when a link that came back owes an acknowledgement.
    returned: Option<Duration>,
}

impl DeviceLog {
    /// Begins the log of a device.
    pub(crate) fn new(name: &str, link: &str) -> Self {
        Self {
            name: name.to_owned(),
            link: link.to_owned(),
            ..Self::default()
        }
    }

    /// Notes a save.
    pub(crate) fn saved(&mut self, saved: Saved, is_new: bool) {
        if self.saved.insert(saved) {
            *(if is_new {
                &mut self.created
            } else {
                &mut self.edited
            }) += 1;
        }
    }

    /// Notes an acknowledgement.
    pub(crate) fn acknowledged(&mut self, at: Duration, saved: Saved, after_ms: Option<u64>) {
        if !self.acknowledged.insert(saved) {
            return;
        }
        self.acknowledged_at.push(at);
        self.acknowledge_ms.extend(after_ms);
        if let Some(returned) = self.returned.take() {
            let took = at.saturating_sub(returned).as_millis();
            self.return_ms.push(u64::try_from(took).unwrap_or(u64::MAX));
        }
    }

    /// Notes how much waits.
    pub(crate) fn waiting(&mut self, at: Duration, changes: u64) {
        if self.outbox.last().is_none_or(|(_, last)| *last != changes) {
            self.outbox.push((at, changes));
        }
    }

    /// Notes that the link went up or down.
    pub(crate) fn link(&mut self, at: Duration, up: bool) {
        let depth = self.depth();
        if self
            .link_changes
            .last()
            .is_some_and(|(_, last)| *last == up)
        {
            return;
        }
        // Only a return with something to send says how soon it is noticed.
        self.returned = (up && !self.link_changes.is_empty() && depth > 0).then_some(at);
        self.link_changes.push((at, up));
    }

    /// Notes that what was owed cannot be measured: the other side was killed meanwhile.
    pub(crate) fn forget_return(&mut self) {
        self.returned = None;
    }

    /// Returns how many changes wait.
    pub(crate) fn depth(&self) -> u64 {
        self.outbox.last().map_or(0, |(_, waiting)| *waiting)
    }

    /// Returns how often the link went down.
    pub(crate) fn outages(&self) -> u64 {
        self.link_changes.iter().filter(|(_, up)| !up).count() as u64
    }

    /// Returns for how long the link was down until `end`.
    pub(crate) fn down_for(&self, end: Duration) -> Duration {
        let mut total = Duration::ZERO;
        let mut since = None;
        for (at, up) in &self.link_changes {
            match (since, up) {
                (None, false) => since = Some(*at),
                (Some(down), true) => {
                    total += at.min(&end).saturating_sub(down);
                    since = None;
                }
                (None, true) | (Some(_), false) => {}
            }
        }
        total + since.map_or(Duration::ZERO, |down| end.saturating_sub(down))
    }

    /// Returns the changes that were saved here and not yet called durable.
    pub(crate) fn unacknowledged(&self) -> Vec<Saved> {
        self.saved.difference(&self.acknowledged).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use gridbeat_base::ChangeHash;

    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn saved(number: u8) -> Saved {
        Saved {
            document: DocumentId::from_bytes([1; 16]),
            change: ChangeHash::new([number; 32]),
        }
    }

    #[test]
    fn the_first_acknowledgement_after_an_outage_is_measured() {
        let mut log = DeviceLog::new("01", "log");
        log.link(at(0), true);
        log.saved(saved(1), true);
        log.waiting(at(1), 1);
        log.link(at(2), false);
        log.link(at(9), true);
        log.acknowledged(at(10), saved(1), Some(9_000));
        log.acknowledged(at(10), saved(1), Some(9_000));
        assert_eq!(log.return_ms, [1_000]);
        assert_eq!(log.acknowledge_ms, [9_000], "the same change counts once");
        assert_eq!((log.outages(), log.down_for(at(20))), (1, at(7)));
        assert!(log.unacknowledged().is_empty());
    }

    #[test]
    fn a_return_with_nothing_to_send_says_nothing() {
        let mut log = DeviceLog::new("01", "log");
        log.link(at(0), true);
        log.link(at(2), false);
        log.link(at(3), true);
        log.saved(saved(1), false);
        log.acknowledged(at(30), saved(1), Some(5));
        assert!(log.return_ms.is_empty());
    }
}
