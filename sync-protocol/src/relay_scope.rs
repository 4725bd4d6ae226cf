//! The relay's half of one scope in a session: how far it was fed, and its reconciliation.
//!
//! Entries that the session's own device pushed, and that were acknowledged to it, are fed as counts.
//! Rules: `PROTOCOL.md`, 4.5 to 4.9.

use std::collections::{BTreeSet, VecDeque};

use gridbeat_base::{DocumentId, Scope};

use crate::limits::RECONCILE_ROUNDS_MAX;
use crate::runs::Runs;
use crate::snapshot::SnapshotOut;
use crate::{Compare, Compared, DeviceMisbehaved, Entry, Feed, Snapshot};

/// How far a reconciliation is.
#[derive(Debug)]
enum Stage {
    /// The device's message waits for our answer.
    Asked,
    /// The next step is the device's.
    Answered,
    /// A comparison waits for our answer about these documents.
    Comparing {
        left: BTreeSet<DocumentId>,
        last: bool,
    },
}

#[derive(Debug)]
struct Reconciliation {
    stage: Stage,
    /// Where the feed goes on: the head when we first took our inventory.
    resume: Option<u64>,
    rounds: u32,
    /// Whether a comparison was answered: then no more messages come.
    compared: bool,
}

/// One granted scope of a relay's session.
#[derive(Debug)]
pub(crate) struct RelayScope {
    /// The last entry fed; `None` while the scope must be reconciled.
    fed: Option<u64>,
    /// The last entry the device said it committed.
    applied: u64,
    /// Last number and weight of frames fed and not applied yet.
    out: VecDeque<(u64, usize)>,
    /// Entries acknowledged to the device in this session.
    own: Runs,
    snapshot: Option<SnapshotOut>,
    reconciliation: Option<Reconciliation>,
}

impl RelayScope {
    /// Makes a scope that is fed from `cursor` on, or must be reconciled first.
    pub(crate) fn new(cursor: Option<u64>) -> Self {
        Self {
            fed: cursor,
            applied: cursor.unwrap_or(0),
            out: VecDeque::new(),
            own: Runs::default(),
            snapshot: None,
            reconciliation: None,
        }
    }

    /// Makes a scope that comes as a snapshot, and is fed behind `as_of` then.
    pub(crate) fn of_snapshot(as_of: u64) -> Self {
        Self {
            snapshot: Some(SnapshotOut::new(as_of)),
            ..Self::new(None)
        }
    }

    /// Returns whether more of a snapshot is to go out.
    pub(crate) fn wants_snapshot(&self) -> bool {
        let snapshot = self.snapshot.as_ref();
        snapshot.is_some_and(|snapshot| !snapshot.is_complete())
    }

    /// Numbers a snapshot frame that goes out; returns whether one was due.
    pub(crate) fn note_snapshot(&mut self, frame: &mut Snapshot) -> bool {
        let snapshot = self.snapshot.as_mut();
        let due = snapshot.filter(|snapshot| !snapshot.is_complete());
        due.map(|snapshot| snapshot.note_sent(frame)).is_some()
    }

    /// Takes in that the device has taken a snapshot up to a frame. With the last one its feed begins.
    pub(crate) fn taken(&mut self, scope: &Scope, number: u64) -> Result<(), DeviceMisbehaved> {
        let Some(snapshot) = &mut self.snapshot else {
            let scope = scope.clone();
            return Err(DeviceMisbehaved::TakenUnsent { scope, number });
        };
        snapshot.taken(scope, number)?;
        if let Some(SnapshotOut { as_of, .. }) = self.snapshot.take_if(|it| it.is_over()) {
            self.fed = Some(as_of);
            self.applied = as_of;
            self.own.forget_through(as_of);
        }
        Ok(())
    }

    /// Returns the last entry fed, if the feed goes on behind it.
    pub(crate) const fn fed(&self) -> Option<u64> {
        match self.reconciliation {
            Some(_) => None,
            None => self.fed,
        }
    }

    /// Returns the weight of what was fed and is not applied.
    pub(crate) fn weight(&self) -> usize {
        let fed: usize = self.out.iter().map(|(_, weight)| weight).sum();
        fed + self.snapshot.as_ref().map_or(0, SnapshotOut::weight)
    }

    /// Takes note of entries that were acknowledged to the device.
    pub(crate) fn note_own(&mut self, first: u64, count: u64) {
        self.own.note(first, count);
        if let Some(fed) = self.fed() {
            self.own.forget_through(fed);
        }
    }

    /// Turns the device's own entries into counts.
    pub(crate) fn count_own(&self, feed: &mut Feed) {
        let mut seq = feed.first_seq;
        let mut entries: Vec<Entry> = Vec::with_capacity(feed.entries.len());
        for entry in feed.entries.drain(..) {
            let is_own = self.own.count_from(seq) >= entry.count();
            seq = seq.saturating_add(entry.count());
            if !is_own {
                entries.push(entry);
            } else if let Some(Entry::Own { count }) = entries.last_mut() {
                *count += entry.count();
            } else {
                let count = entry.count();
                entries.push(Entry::Own { count });
            }
        }
        feed.entries = entries;
    }

    /// Takes note of a frame that goes out.
    pub(crate) fn note_fed(&mut self, last: u64, weight: usize) {
        self.fed = Some(last);
        self.out.push_back((last, weight));
        self.own.forget_through(last);
    }

    /// Takes in that the device has committed the feed up to `seq`.
    pub(crate) fn applied(&mut self, scope: &Scope, seq: u64) -> Result<(), DeviceMisbehaved> {
        // PROTOCOL 4.7: what is applied was fed, and rises.
        if self.fed().is_none_or(|fed| seq > fed) {
            let scope = scope.clone();
            return Err(DeviceMisbehaved::AppliedUnsent { scope, seq });
        }
        if seq <= self.applied {
            let scope = scope.clone();
            return Err(DeviceMisbehaved::AppliedBackwards { scope, seq });
        }
        self.applied = seq;
        while self.out.front().is_some_and(|(last, _)| *last <= seq) {
            self.out.pop_front();
        }
        Ok(())
    }

    /// Takes in a message of range reconciliation.
    pub(crate) fn asked(&mut self, scope: &Scope) -> Result<(), DeviceMisbehaved> {
        // PROTOCOL 4.17: nothing is reconciled before the whole snapshot is taken.
        if self.snapshot.is_some() {
            return Err(DeviceMisbehaved::ReconcileTooSoon(scope.clone()));
        }
        self.out.clear();
        let going = self.reconciliation.get_or_insert(Reconciliation {
            stage: Stage::Answered,
            resume: None,
            rounds: 0,
            compared: false,
        });
        // PROTOCOL 4.8: one message at a time, and none once comparing began.
        if !matches!(going.stage, Stage::Answered) || going.compared {
            return Err(DeviceMisbehaved::ReconcileTooSoon(scope.clone()));
        }
        going.stage = Stage::Asked;
        going.rounds += 1;
        if going.rounds > RECONCILE_ROUNDS_MAX {
            return Err(DeviceMisbehaved::ReconcileTooLong(scope.clone()));
        }
        Ok(())
    }

    /// Takes note of our answer to [`Self::asked`]; returns whether one was due.
    pub(crate) fn answered(&mut self, seq: u64) -> bool {
        match &mut self.reconciliation {
            Some(going) if matches!(going.stage, Stage::Asked) => {
                going.stage = Stage::Answered;
                going.resume.get_or_insert(seq);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes in a comparison.
    pub(crate) fn compare(&mut self, compare: &Compare) -> Result<(), DeviceMisbehaved> {
        let scope = || compare.scope.clone();
        let going = self.reconciliation.as_mut();
        let Some(going) = going.filter(|going| going.resume.is_some()) else {
            return Err(DeviceMisbehaved::CompareUnreconciled(scope()));
        };
        // PROTOCOL 4.9: one comparison at a time.
        if !matches!(going.stage, Stage::Answered) {
            return Err(DeviceMisbehaved::CompareTooSoon(scope()));
        }
        let documents = compare.documents.iter();
        let left: BTreeSet<_> = documents.map(|document| document.document).collect();
        if left.len() != compare.documents.len() || (left.is_empty() && !compare.last) {
            return Err(DeviceMisbehaved::CompareContent(scope()));
        }
        going.compared = true;
        let last = compare.last;
        going.stage = Stage::Comparing { left, last };
        Ok(())
    }

    /// Takes note of our answer to a comparison; returns whether it fits one. The last answer ends the
    /// reconciliation.
    pub(crate) fn compared(&mut self, compared: &Compared) -> bool {
        let Some(going) = &mut self.reconciliation else {
            return false;
        };
        let Stage::Comparing { left, last } = &mut going.stage else {
            return false;
        };
        let fits = compared
            .documents
            .iter()
            .all(|document| left.remove(&document.document));
        let ends = left.is_empty() && *last;
        if !fits || (compared.last && !ends) {
            return false;
        }
        if compared.last {
            let resume = going.resume.expect("answered before it compared");
            self.reconciliation = None;
            self.fed = Some(resume);
            self.applied = resume;
            self.own.forget_through(resume);
        } else if left.is_empty() && !*last {
            going.stage = Stage::Answered;
        }
        true
    }
}
