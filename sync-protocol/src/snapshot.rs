//! A snapshot of one scope in a session: the frames in order on the device's side, and those that are out on the
//! relay's. Rules: `PROTOCOL.md`, 4.15 to 4.17. Not here: what goes into a frame, and in which order.

use std::collections::{BTreeMap, VecDeque};

use gridbeat_base::Scope;

use crate::{DeviceMisbehaved, RelayMisbehaved, Snapshot};

/// The device's side. Frames have a stream each and arrive in any order.
#[derive(Debug, Default)]
pub(crate) struct SnapshotIn {
    /// Frames by number, that wait for an earlier one or for the relay's greeting.
    waiting: BTreeMap<u64, Snapshot>,
    /// The number of the latest frame given out.
    given: u64,
    /// Number and weight of frames given out and not taken yet.
    open: VecDeque<(u64, usize)>,
    /// The number of the last frame, once it has come.
    last: Option<u64>,
}

impl SnapshotIn {
    /// Returns the weight of what has come and is not taken.
    pub(crate) fn weight(&self) -> usize {
        let waiting: usize = self.waiting.values().map(Snapshot::weight).sum();
        let open: usize = self.open.iter().map(|(_, weight)| weight).sum();
        waiting + open
    }

    /// Takes in a frame; it may be given out by [`Self::release`] at once or later.
    pub(crate) fn accept(&mut self, frame: Snapshot) -> Result<(), RelayMisbehaved> {
        let number = frame.number;
        let latest = self.waiting.keys().next_back().copied().unwrap_or(0);
        // PROTOCOL 4.16: frames are numbered from 1, none twice and none behind the last; only that one may be empty.
        let is_repeated = number <= self.given || self.waiting.contains_key(&number);
        let is_behind = self.last.is_some_and(|last| number > last);
        let ends_before = frame.last && number < latest;
        let is_empty = frame.documents.is_empty() && !frame.last;
        if is_repeated || is_behind || ends_before || is_empty {
            return Err(RelayMisbehaved::SnapshotNumbers {
                scope: frame.scope,
                number,
            });
        }
        if frame.last {
            self.last = Some(number);
        }
        self.waiting.insert(number, frame);
        Ok(())
    }

    /// Gives out the next frame, if it is there.
    pub(crate) fn release(&mut self) -> Option<Snapshot> {
        let frame = self.waiting.remove(&(self.given + 1))?;
        self.given = frame.number;
        self.open.push_back((frame.number, frame.weight()));
        Some(frame)
    }

    /// Takes note that the device has committed frames up to this one; returns whether that is news.
    pub(crate) fn taken(&mut self, number: u64) -> bool {
        let before = self.open.len();
        self.open.retain(|(open, _)| *open > number);
        self.open.len() < before
    }

    /// Returns whether every frame was taken.
    pub(crate) fn is_over(&self) -> bool {
        self.last == Some(self.given) && self.open.is_empty()
    }
}

/// The relay's side.
#[derive(Debug)]
pub(crate) struct SnapshotOut {
    /// The entry behind which the feed goes on.
    pub(crate) as_of: u64,
    /// The number of the latest frame.
    sent: u64,
    /// Number and weight of frames that are not taken yet.
    open: VecDeque<(u64, usize)>,
    /// Whether the last frame is out.
    is_complete: bool,
}

impl SnapshotOut {
    pub(crate) const fn new(as_of: u64) -> Self {
        Self {
            as_of,
            sent: 0,
            open: VecDeque::new(),
            is_complete: false,
        }
    }

    /// Returns the weight of what is out.
    pub(crate) fn weight(&self) -> usize {
        self.open.iter().map(|(_, weight)| weight).sum()
    }

    /// Returns whether the last frame is out.
    pub(crate) const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Numbers a frame that goes out.
    pub(crate) fn note_sent(&mut self, frame: &mut Snapshot) {
        self.sent += 1;
        frame.number = self.sent;
        self.is_complete = frame.last;
        self.open.push_back((frame.number, frame.weight()));
    }

    /// Takes in that the device has taken frames up to this one.
    pub(crate) fn taken(&mut self, scope: &Scope, number: u64) -> Result<(), DeviceMisbehaved> {
        // PROTOCOL 4.17: what is taken is out.
        if !self.open.iter().any(|(open, _)| *open == number) {
            let scope = scope.clone();
            return Err(DeviceMisbehaved::TakenUnsent { scope, number });
        }
        self.open.retain(|(open, _)| *open > number);
        Ok(())
    }

    /// Returns whether every frame was taken.
    pub(crate) fn is_over(&self) -> bool {
        self.is_complete && self.open.is_empty()
    }
}
