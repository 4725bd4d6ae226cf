//! The device's half of one scope in a session: its feed in order, and its reconciliation.
//!
//! Feed frames have a stream each and arrive in any order; here they wait for those before them. A
//! count of own entries also waits for the acknowledgement that named them, which comes on another
//! stream. Rules: `PROTOCOL.md`, 4.5 to 4.9.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridbeat_base::{DocumentId, Scope};

use crate::runs::Runs;
use crate::snapshot::SnapshotIn;
use crate::{Compare, Compared, Entry, Feed, Reconcile, RelayMisbehaved, SessionError, Snapshot};

/// What the relay's greeting said about a scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It has not come yet: feed frames that overtook it wait.
    Unknown,
    /// Nothing may come.
    NotGranted,
    /// Nothing may come until the scope is reconciled.
    Apart,
    /// It comes as a snapshot; its feed goes on from there when all of that is taken.
    Snapshot { as_of: u64 },
    /// Its feed goes on from the cursor.
    Aligned,
}

/// How far a reconciliation is.
#[derive(Debug)]
enum Stage {
    /// Our message is out.
    Asked,
    /// The next step is the caller's.
    Answered,
    /// A comparison is out; these documents are not answered yet.
    Comparing {
        asked: BTreeSet<DocumentId>,
        last: bool,
    },
}

#[derive(Debug)]
struct Reconciliation {
    stage: Stage,
    /// Where the feed goes on: the head when the relay first took its inventory.
    resume: Option<u64>,
    /// Comparisons that wait for the one that is out.
    queue: VecDeque<Compare>,
}

/// What the session must do about the relay's answer to a comparison.
#[derive(Debug)]
pub(crate) struct AfterCompared {
    /// Send this next.
    pub(crate) next: Option<Compare>,
    /// The reconciliation is over; the feed goes on after this entry.
    pub(crate) aligned: Option<u64>,
}

/// One scope of a device's session.
#[derive(Debug)]
pub(crate) struct DeviceScope {
    pub(crate) standing: Standing,
    /// The number of the next entry to give out.
    next: u64,
    /// Frames that end here or before were under way when the last reconciliation began.
    stale_through: u64,
    /// Frames by their first number, that wait for an earlier frame or an acknowledgement.
    waiting: BTreeMap<u64, Feed>,
    /// Last number and weight of frames given out and not applied yet.
    given: VecDeque<(u64, usize)>,
    /// Entries acknowledged to us in this session.
    own: Runs,
    snapshot: SnapshotIn,
    reconciliation: Option<Reconciliation>,
}

impl DeviceScope {
    pub(crate) fn new(cursor: u64, standing: Standing) -> Self {
        Self {
            standing,
            next: cursor.saturating_add(1),
            stale_through: 0,
            waiting: BTreeMap::new(),
            given: VecDeque::new(),
            own: Runs::default(),
            snapshot: SnapshotIn::default(),
            reconciliation: None,
        }
    }

    /// Returns the weight of what has come and is not applied.
    pub(crate) fn weight(&self) -> usize {
        let waiting: usize = self.waiting.values().map(Feed::weight).sum();
        let given: usize = self.given.iter().map(|(_, weight)| weight).sum();
        waiting + given + self.snapshot.weight()
    }

    /// Returns whether feed frames have come that wait.
    pub(crate) fn holds_feed(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns whether snapshot frames have come that wait.
    pub(crate) fn holds_snapshot(&self) -> bool {
        self.snapshot.weight() > 0
    }

    /// Takes in a snapshot frame; it may be given out by [`Self::release_snapshot`] at once or later.
    pub(crate) fn accept_snapshot(&mut self, frame: Snapshot) -> Result<(), RelayMisbehaved> {
        match self.standing {
            Standing::Unknown | Standing::Snapshot { .. } => self.snapshot.accept(frame),
            // PROTOCOL 4.15: a snapshot is announced, and comes once.
            Standing::NotGranted | Standing::Apart | Standing::Aligned => {
                Err(RelayMisbehaved::SnapshotNotDue(frame.scope))
            }
        }
    }

    /// Gives out the next snapshot frame, if it is there.
    pub(crate) fn release_snapshot(&mut self) -> Option<Snapshot> {
        match self.standing {
            Standing::Snapshot { .. } => self.snapshot.release(),
            Standing::Unknown | Standing::NotGranted | Standing::Apart | Standing::Aligned => None,
        }
    }

    /// Takes note that the device has committed the snapshot up to a frame; returns whether the relay is to be told.
    /// After the last one the feed goes on.
    pub(crate) fn taken(&mut self, number: u64) -> bool {
        let is_news = self.snapshot.taken(number);
        if let Standing::Snapshot { as_of } = self.standing
            && self.snapshot.is_over()
        {
            self.align(as_of);
        }
        is_news
    }

    /// Takes note of entries that an acknowledgement named.
    pub(crate) fn note_own(&mut self, first: u64, count: u64) {
        self.own.note(first, count);
        // Before a reconciliation is over, the feed may go on at any lower number.
        if self.standing == Standing::Aligned && self.reconciliation.is_none() {
            self.own.forget_through(self.next - 1);
        }
    }

    /// Takes in a feed frame; it may be given out by [`Self::release`] at once or later.
    pub(crate) fn accept(&mut self, feed: Feed) -> Result<(), RelayMisbehaved> {
        let last = feed.last_seq().unwrap_or(0);
        let empty_run = feed.entries.iter().any(|entry| entry.count() == 0);
        // PROTOCOL 4.5: entries are numbered from 1, and lie within the head.
        if feed.first_seq == 0 || last < feed.first_seq || last > feed.head || empty_run {
            return Err(RelayMisbehaved::FeedNumbers {
                scope: feed.scope,
                first_seq: feed.first_seq,
            });
        }
        if self.is_stale(feed.first_seq, last) {
            return Ok(());
        }
        match self.standing {
            Standing::NotGranted => return Err(RelayMisbehaved::FeedNotGranted(feed.scope)),
            Standing::Apart if self.reconciliation.is_none() => {
                return Err(RelayMisbehaved::FeedNotReconciled(feed.scope));
            }
            // PROTOCOL 4.17: the feed goes on when all of the snapshot is taken.
            Standing::Snapshot { .. } => {
                return Err(RelayMisbehaved::FeedNotReconciled(feed.scope));
            }
            Standing::Unknown | Standing::Apart | Standing::Aligned => {}
        }
        let (first, next) = (feed.first_seq, self.next);
        if (self.reconciliation.is_none() && first < next) || self.waiting.contains_key(&first) {
            return Err(RelayMisbehaved::FeedRepeats {
                scope: feed.scope,
                seq: first,
            });
        }
        self.waiting.insert(first, feed);
        Ok(())
    }

    /// Returns whether a frame was under way when a reconciliation began, and so is of no use.
    fn is_stale(&self, first: u64, last: u64) -> bool {
        // PROTOCOL 4.8: what the relay sent before it took its inventory ends at or before its head
        // then; what it sends after the reconciliation begins behind it.
        match &self.reconciliation {
            Some(going) => going.resume.is_none_or(|resume| first <= resume),
            None => last <= self.stale_through,
        }
    }

    /// Gives out the next frame, if it is there and every own entry in it is acknowledged.
    ///
    /// `pushes_out` says whether an acknowledgement for this scope may still come.
    pub(crate) fn release(&mut self, pushes_out: bool) -> Result<Option<Feed>, RelayMisbehaved> {
        if self.standing != Standing::Aligned || self.reconciliation.is_some() {
            return Ok(None);
        }
        let Some(waiting) = self.waiting.first_entry() else {
            return Ok(None);
        };
        let first = *waiting.key();
        if first < self.next {
            // An earlier frame reached beyond the start of this one.
            let scope = waiting.remove().scope;
            return Err(RelayMisbehaved::FeedRepeats { scope, seq: first });
        }
        if first > self.next {
            return Ok(None);
        }
        let mut seq = first;
        for entry in &waiting.get().entries {
            // PROTOCOL 4.6: own entries are those acknowledged in this session.
            if matches!(entry, Entry::Own { .. }) && self.own.count_from(seq) < entry.count() {
                if pushes_out {
                    return Ok(None);
                }
                let scope = waiting.remove().scope;
                return Err(RelayMisbehaved::OwnNotAcknowledged { scope, seq });
            }
            seq = seq.saturating_add(entry.count());
        }
        let feed = waiting.remove();
        self.next = seq;
        self.own.forget_through(seq - 1);
        self.given.push_back((seq - 1, feed.weight()));
        Ok(Some(feed))
    }

    /// Takes note that the device has committed the feed up to `seq`. Returns what the relay is to be
    /// told: the end of the last whole frame that this brings.
    pub(crate) fn applied(&mut self, seq: u64) -> Option<u64> {
        let mut whole = None;
        while let Some((last, _)) = self.given.pop_front_if(|(last, _)| *last <= seq) {
            whole = Some(last);
        }
        whole
    }

    /// Begins or goes on with a reconciliation: a message goes out.
    pub(crate) fn ask(&mut self, scope: &Scope) -> Result<(), SessionError> {
        if matches!(
            self.standing,
            Standing::Unknown | Standing::NotGranted | Standing::Snapshot { .. }
        ) {
            return Err(SessionError::OutOfPlace(scope.clone()));
        }
        match &mut self.reconciliation {
            Some(going) => match going.stage {
                Stage::Answered if going.queue.is_empty() => going.stage = Stage::Asked,
                Stage::Answered | Stage::Asked | Stage::Comparing { .. } => {
                    return Err(SessionError::OutOfPlace(scope.clone()));
                }
            },
            None => {
                self.waiting.clear();
                self.given.clear();
                self.reconciliation = Some(Reconciliation {
                    stage: Stage::Asked,
                    resume: None,
                    queue: VecDeque::new(),
                });
            }
        }
        Ok(())
    }

    /// Takes in the relay's answer to [`Self::ask`].
    pub(crate) fn answered(&mut self, reconcile: &Reconcile) -> Result<(), RelayMisbehaved> {
        match &mut self.reconciliation {
            Some(going) if matches!(going.stage, Stage::Asked) => {
                going.stage = Stage::Answered;
                going.resume.get_or_insert(reconcile.seq);
                Ok(())
            }
            Some(_) | None => Err(RelayMisbehaved::ReconcileUnasked(reconcile.scope.clone())),
        }
    }

    /// Takes a comparison to send; returns it if it may go out at once.
    pub(crate) fn compare(&mut self, compare: Compare) -> Result<Option<Compare>, SessionError> {
        let Some(going) = &mut self.reconciliation else {
            return Err(SessionError::OutOfPlace(compare.scope));
        };
        let ends = match &going.stage {
            Stage::Asked => true,
            Stage::Answered => false,
            Stage::Comparing { last, .. } => *last || going.queue.iter().any(|next| next.last),
        };
        if ends {
            return Err(SessionError::OutOfPlace(compare.scope));
        }
        going.queue.push_back(compare);
        Ok(going.next_compare())
    }

    /// Takes in the relay's answer to a comparison.
    pub(crate) fn compared(
        &mut self,
        compared: &Compared,
    ) -> Result<AfterCompared, RelayMisbehaved> {
        let unasked = || RelayMisbehaved::ComparedUnasked(compared.scope.clone());
        let going = self.reconciliation.as_mut().ok_or_else(unasked)?;
        let Stage::Comparing { asked, last } = &mut going.stage else {
            return Err(unasked());
        };
        for document in &compared.documents {
            if !asked.remove(&document.document) {
                return Err(RelayMisbehaved::ComparedDocument(document.document));
            }
        }
        // PROTOCOL 4.9: the last answer comes when every document is answered, and none is to be
        // asked about.
        if compared.last && (!*last || !asked.is_empty()) {
            return Err(RelayMisbehaved::ComparedTooShort(compared.scope.clone()));
        }
        if compared.last {
            let resume = going.resume.expect("answered before it compared");
            self.align(resume);
            return Ok(AfterCompared {
                next: None,
                aligned: Some(resume),
            });
        }
        if asked.is_empty() && !*last {
            going.stage = Stage::Answered;
        }
        Ok(AfterCompared {
            next: going.next_compare(),
            aligned: None,
        })
    }

    fn align(&mut self, resume: u64) {
        self.reconciliation = None;
        self.standing = Standing::Aligned;
        self.next = resume.saturating_add(1);
        self.stale_through = resume;
        self.own.forget_through(resume);
    }
}

impl Reconciliation {
    /// Takes the next comparison from the queue, if none is out.
    fn next_compare(&mut self) -> Option<Compare> {
        if !matches!(self.stage, Stage::Answered) {
            return None;
        }
        let compare = self.queue.pop_front()?;
        self.stage = Stage::Comparing {
            asked: compare
                .documents
                .iter()
                .map(|document| document.document)
                .collect(),
            last: compare.last,
        };
        Some(compare)
    }
}
