//! The admission cycle: gather, load, judge, commit, and only then tell anybody.
//!
//! One cycle is under way at a time. What is pushed meanwhile waits for the next one, and so shares
//! its commit with all others that came: under load every durable write carries many pushes. Pushes
//! are taken in turn from each session, so that one with a backlog does not hold up the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridbeat_base::{DeviceId, DocumentId, Monotonic, Now, Scope, WallTime};
use gridbeat_sync_protocol::{Ack, Verdict};

use crate::admission::{Admission, Allowances, Judged, Taken};
use crate::config::{
    CONTENDED_MAX, CYCLE_BYTES_MAX, CYCLE_CHANGES_MAX, CYCLE_PLACES_MAX, LOAD_BYTES_MAX,
    QUARANTINE_BYTES_MAX,
};
use crate::greet::denial;
use crate::reasons::{QUARANTINE_FULL, RETRY_AFTER_DENIED, STORAGE_FAILED, STORAGE_FULL};
use crate::relay::{Relay, Waiting};
use crate::session::SessionId;
use crate::turns::Shares;
use crate::working::Working;
use crate::{
    Answer, AnsweredPush, Batch, Output, PlaceError, Rights, StoreFault, StoredDocument, Task,
    Warrant,
};

/// The time in which the documents that a device begins are counted.
const HOUR: Duration = Duration::from_secs(3600);

/// A placement that an operator asked for.
#[derive(Clone, Debug)]
pub(crate) struct Placing {
    pub(crate) document: DocumentId,
    pub(crate) scope: Scope,
    pub(crate) attach: bool,
}

/// How far the admission cycle is.
#[derive(Debug)]
pub(crate) enum Cycle {
    /// None is under way.
    Idle,
    /// Its documents are being read.
    Loading(Gathered),
    /// Its batch is being made durable. What was gathered is kept in case it must be judged again.
    Committing(Gathered, Judgement),
}

/// What one cycle is about.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pushes: Vec<Taken>,
    places: Vec<Placing>,
    /// The documents whose saved form did not load, to be read with their logs.
    logs: BTreeSet<DocumentId>,
    /// How often another write came in between.
    contended: u32,
}

/// What is to be said once the batch is durable.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    judged: Vec<Judged>,
    placed: Vec<(Placing, Result<bool, PlaceError>)>,
    documents: Vec<DocumentId>,
    /// How many entries each scope's feed gets.
    entries: BTreeMap<Scope, u64>,
    quarantine: BTreeMap<SessionId, usize>,
    begun: BTreeMap<DeviceId, u32>,
    /// When all of it was received.
    received: WallTime,
    changes: u64,
    recovered: u64,
    rebuilt: u64,
    with_marks: bool,
}

type Loaded = BTreeMap<DocumentId, Option<StoredDocument>>;

impl Relay {
    /// Starts a cycle if none is under way and there is something to do.
    pub(crate) fn start_cycle(&mut self, now: Now) {
        if !matches!(self.cycle, Cycle::Idle) {
            return;
        }
        let gathered = self.gather(now.monotonic);
        if !gathered.pushes.is_empty() || !gathered.places.is_empty() {
            self.begun
                .retain(|_, (since, _)| now.monotonic.since(*since) < HOUR);
            self.load(now, gathered, LOAD_BYTES_MAX);
        }
    }

    /// Takes pushes in turn from each session that has any and may go, and placements.
    fn gather(&mut self, now: Monotonic) -> Gathered {
        let mut gathered = Gathered::default();
        let mut placed = BTreeSet::new();
        while let Some(placing) = self.places.front() {
            // Two placements of one document are two steps of its feeds.
            if placed.len() >= CYCLE_PLACES_MAX || !placed.insert(placing.document) {
                break;
            }
            gathered.places.extend(self.places.pop_front());
        }
        let (mut changes, mut bytes, mut shares) = (0, 0, Shares::default());
        while let Some(id) = self.next_turn(now, &shares) {
            let session = self
                .sessions
                .get_mut(&id)
                .expect("only open sessions are ready");
            let push = session.pending.front().expect("a ready session has a push");
            (changes, bytes) = (changes + push.changes(), bytes + push.bytes());
            let is_over = changes > CYCLE_CHANGES_MAX || bytes > CYCLE_BYTES_MAX;
            if is_over && !gathered.pushes.is_empty() {
                break;
            }
            let push = session.pending.pop_front().expect("it is there");
            shares.take(session.device, &push);
            gathered.pushes.push(Taken {
                session: id,
                device: session.device,
                recovers: session.recovers,
                may_bring_back: session.may_bring_back(&push.scope),
                push,
            });
            if session.pending.is_empty() {
                self.ready.remove(&id);
            }
            self.turn = SessionId(id.0.wrapping_add(1));
        }
        gathered
    }

    /// Returns whose turn it is of those that may go; notes when the first may if none does.
    fn next_turn(&mut self, now: Monotonic, shares: &Shares) -> Option<SessionId> {
        self.turn_due = None;
        let after = self.ready.range(self.turn..);
        for id in after.chain(self.ready.range(..self.turn)) {
            let session = self.sessions.get(id).expect("only open sessions are ready");
            let push = session.pending.front().expect("a ready session has a push");
            let free_at = self.turns.free_at(now, session.device, shares, push);
            if !self.turns.has_room(now, session.device, shares, push) {
                // The next cycle looks for itself.
                continue;
            }
            if free_at <= now {
                return Some(*id);
            }
            let due = self.turn_due.get_or_insert(free_at);
            *due = free_at.min(*due);
        }
        None
    }

    fn load(&mut self, now: Now, gathered: Gathered, bytes_max: u64) {
        let mut seen = BTreeSet::new();
        let pushes = gathered.pushes.iter();
        let pushed = pushes.flat_map(|it| it.push.documents.iter().map(|it| it.document));
        let documents = gathered.places.iter().map(|it| it.document).chain(pushed);
        let devices: BTreeSet<_> = gathered.pushes.iter().map(|it| it.device).collect();
        let task = Task::Load {
            documents: documents.filter(|it| seen.insert(*it)).collect(),
            devices: devices.into_iter().collect(),
            authors: authors_of(&gathered.pushes),
            logs: gathered.logs.clone(),
            bytes_max,
            at: now.wall,
        };
        self.cycle = Cycle::Loading(gathered);
        self.run(Waiting::Load, task);
    }

    /// Takes in what was read for the cycle: judges, and commits.
    pub(crate) fn loaded(&mut self, now: Now, result: Result<Answer, StoreFault>) {
        let Cycle::Loading(mut gathered) = std::mem::replace(&mut self.cycle, Cycle::Idle) else {
            panic!("documents were read for no cycle");
        };
        let (documents, warrant) = match result {
            Ok(Answer::Loaded { documents, warrant }) => (documents, warrant),
            Ok(_) => panic!("a load was answered by another task's answer"),
            Err(fault) => {
                self.give_up(now, gathered, &fault);
                return;
            }
        };
        let loaded: Loaded = documents.into_iter().collect();
        self.send_denied_away(now, &mut gathered, &warrant.rights);
        let mut later = self.put_off(&mut gathered, &loaded);
        if gathered.pushes.is_empty() && gathered.places.is_empty() && !later.is_empty() {
            // One push whose documents are large: it gets a cycle of its own, whatever it takes.
            gathered.pushes.push(later.remove(0));
            self.put_back(later);
            self.load(now, gathered, u64::MAX);
            return;
        }
        self.put_back(later);
        match self.judge(now, &gathered, loaded, &warrant) {
            Ok((batch, judgement)) => {
                for taken in &gathered.pushes {
                    self.turns.charge(now.monotonic, taken.device, &taken.push);
                }
                self.commit(now, gathered, batch, judgement);
            }
            Err(logs) => {
                gathered.logs.extend(logs);
                self.load(now, gathered, LOAD_BYTES_MAX);
            }
        }
    }

    /// Ends the sessions of devices that may no longer do anything, and drops their pushes, but for those
    /// that a revoked device hands over.
    fn send_denied_away(
        &mut self,
        now: Now,
        gathered: &mut Gathered,
        rights: &BTreeMap<DeviceId, Rights>,
    ) {
        let mut handed_over = BTreeMap::new();
        for taken in std::mem::take(&mut gathered.pushes) {
            let Some(rights) = rights.get(&taken.device) else {
                gathered.pushes.push(taken);
                continue;
            };
            let Some(why) = denial(rights) else {
                gathered.pushes.push(taken);
                continue;
            };
            let Some(session) = self.sessions.get_mut(&taken.session) else {
                continue;
            };
            if !session.surrenders || *rights != Rights::Revoked {
                let away = session.away_after_denial(rights);
                self.close(now, taken.session, why.close(away));
                continue;
            }
            // PROTOCOL 4.12: what there is no room for is not answered, so that the device keeps it.
            let bytes = handed_over.entry(taken.session).or_insert(0);
            *bytes += taken.push.bytes();
            let left = session
                .handed_over_left
                .checked_sub(taken.push.changes() as u64);
            if let Some(left) = left.filter(|_| *bytes <= session.quarantine_left) {
                session.handed_over_left = left;
                gathered.pushes.push(taken);
            } else {
                self.close(
                    now,
                    taken.session,
                    QUARANTINE_FULL.close(RETRY_AFTER_DENIED),
                );
            }
        }
    }

    /// Puts off what needs documents that were not read because there were too many bytes. A whole
    /// session is put off from its first such push on: its pushes keep their order. Returns the
    /// pushes that are put off.
    fn put_off(&mut self, gathered: &mut Gathered, loaded: &Loaded) -> Vec<Taken> {
        let places = std::mem::take(&mut gathered.places);
        let (here, later) = places
            .into_iter()
            .partition(|it| loaded.contains_key(&it.document));
        gathered.places = here;
        let later: Vec<Placing> = later;
        for placing in later.into_iter().rev() {
            self.places.push_front(placing);
        }
        let mut put_off = BTreeSet::new();
        let mut later = Vec::new();
        for taken in std::mem::take(&mut gathered.pushes) {
            let mut documents = taken.push.documents.iter();
            let is_here = documents.all(|it| loaded.contains_key(&it.document));
            if is_here && !put_off.contains(&taken.session) {
                gathered.pushes.push(taken);
            } else {
                put_off.insert(taken.session);
                later.push(taken);
            }
        }
        later
    }

    /// Puts pushes back to where they were taken from.
    fn put_back(&mut self, pushes: Vec<Taken>) {
        for taken in pushes.into_iter().rev() {
            if let Some(session) = self.sessions.get_mut(&taken.session) {
                session.pending.push_front(taken.push);
                self.ready.insert(taken.session);
            }
        }
    }

    /// Judges what was gathered. `Err` names documents that take their logs to be loaded.
    fn judge(
        &self,
        now: Now,
        gathered: &Gathered,
        loaded: Loaded,
        warrant: &Warrant,
    ) -> Result<(Batch, Judgement), BTreeSet<DocumentId>> {
        let pushes = gathered.pushes.iter().flat_map(|it| &it.push.documents);
        let needed: BTreeSet<_> = pushes.map(|it| it.document).collect();
        let mut working = BTreeMap::new();
        let mut logs = BTreeSet::new();
        for (id, stored) in loaded {
            let Some(stored) = stored else {
                continue;
            };
            match Working::of_stored(id, stored, &self.kinds, needed.contains(&id)) {
                Some(taken_up) => {
                    working.insert(id, taken_up);
                }
                None => {
                    logs.insert(id);
                }
            }
        }
        if !logs.is_empty() {
            return Err(logs);
        }
        let mut judgement = Judgement {
            received: now.wall,
            rebuilt: working.values().filter(|it| it.rebuilt).count() as u64,
            ..Judgement::default()
        };
        let mut admission = Admission {
            kinds: &self.kinds,
            warrant,
            received: now.wall,
            working,
            allowances: self.allowances(gathered),
            entries: BTreeMap::new(),
            refused: Vec::new(),
            begun: BTreeMap::new(),
            recovered: 0,
        };
        for placing in &gathered.places {
            let done = admission.place(placing.document, &placing.scope, placing.attach);
            let result = done.ok_or(PlaceError::UnknownDocument);
            judgement.placed.push((placing.clone(), result));
        }
        let mut answered = Vec::new();
        for taken in &gathered.pushes {
            let judged = admission.judge(taken);
            answered.extend(on_record(taken, &judged));
            judgement.judged.push(judged);
        }
        judgement.quarantine = std::mem::take(&mut admission.allowances.quarantine);
        judgement.begun = std::mem::take(&mut admission.begun);
        judgement.recovered = admission.recovered;
        let mut batch = admission.into_batch();
        batch.pushes = answered;
        batch.rights_version = Some(warrant.version);
        let entries = batch.scopes.iter();
        judgement.entries = entries
            .map(|(it, entries)| (it.clone(), entries.len() as u64))
            .collect();
        judgement.documents = batch.documents.keys().copied().collect();
        judgement.changes = batch
            .documents
            .values()
            .map(|it| it.changes.len() as u64)
            .sum();
        Ok((batch, judgement))
    }

    fn allowances(&self, gathered: &Gathered) -> Allowances {
        let mut allowances = Allowances::default();
        for taken in &gathered.pushes {
            let session = self.sessions.get(&taken.session);
            let left = session.map_or(QUARANTINE_BYTES_MAX, |it| it.quarantine_left);
            allowances.quarantine.insert(taken.session, left);
            if let Some(max) = self.config.new_documents_per_hour_max {
                let begun = self.begun.get(&taken.device).map_or(0, |(_, begun)| *begun);
                allowances
                    .documents
                    .insert(taken.device, max.saturating_sub(begun));
            }
        }
        allowances
    }

    fn commit(&mut self, now: Now, gathered: Gathered, mut batch: Batch, judged: Judgement) {
        let mut judgement = judged;
        if batch.documents.is_empty() && batch.refused.is_empty() && batch.pushes.is_empty() {
            // Nothing to write: whatever is known was durable before.
            self.tell(now, judgement, &BTreeMap::new());
            return;
        }
        batch.marks = self.marks.take();
        judgement.with_marks = !batch.marks.is_empty();
        self.cycle = Cycle::Committing(gathered, judgement);
        self.run(Waiting::Commit, Task::Commit(Box::new(batch)));
    }

    /// Takes in that the batch is durable, or is not.
    pub(crate) fn committed(&mut self, now: Now, result: Result<Answer, StoreFault>) {
        let cycle = std::mem::replace(&mut self.cycle, Cycle::Idle);
        let Cycle::Committing(mut gathered, judgement) = cycle else {
            panic!("a commit was answered in no cycle");
        };
        if judgement.with_marks {
            self.marks
                .written(now.monotonic, &self.config, result.is_ok());
        }
        match result {
            Ok(Answer::Committed { first_seqs }) => {
                self.counters.commits += 1;
                let most = &mut self.counters.commit_changes_most;
                *most = judgement.changes.max(*most);
                self.tell(now, judgement, &first_seqs);
            }
            Ok(_) => panic!("a commit was answered by another task's answer"),
            Err(StoreFault::Contended) if gathered.contended < CONTENDED_MAX => {
                self.counters.commits_contended += 1;
                gathered.contended += 1;
                self.load(now, gathered, LOAD_BYTES_MAX);
            }
            Err(fault) => self.give_up(now, gathered, &fault),
        }
    }

    /// Tells everybody what became durable.
    fn tell(&mut self, now: Now, judgement: Judgement, first_seqs: &BTreeMap<Scope, u64>) {
        self.counters.changes_recovered += judgement.recovered;
        self.counters.documents_rebuilt += judgement.rebuilt;
        for (session, left) in judgement.quarantine {
            if let Some(session) = self.sessions.get_mut(&session) {
                session.quarantine_left = left;
            }
        }
        if self.config.new_documents_per_hour_max.is_some() {
            for (device, begun) in judgement.begun {
                let count = self.begun.entry(device).or_insert((now.monotonic, 0));
                count.1 = count.1.saturating_add(begun);
            }
        }
        for judged in judgement.judged {
            let first_seq = (!judged.entries.is_empty())
                .then(|| first_seqs[&judged.scope] + judged.entries.start as u64);
            self.count(&judged.verdicts);
            self.acknowledge(now, judged, first_seq, judgement.received);
        }
        for (scope, count) in judgement.entries {
            let head = first_seqs[&scope] + count - 1;
            self.head_moved(scope, head);
        }
        if !judgement.documents.is_empty() {
            let documents = judgement.documents;
            self.output(Output::Committed { documents });
        }
        for (placing, result) in judgement.placed {
            self.placed(placing, result);
        }
    }

    fn count(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            let counter = match verdict {
                Verdict::Accepted => &mut self.counters.changes_accepted,
                Verdict::Known => &mut self.counters.changes_known,
                Verdict::Incomplete => &mut self.counters.changes_incomplete,
                Verdict::Refused(_) => &mut self.counters.changes_refused,
            };
            *counter += 1;
        }
    }

    fn acknowledge(
        &mut self,
        now: Now,
        judged: Judged,
        first_seq: Option<u64>,
        received: WallTime,
    ) {
        let Some(session) = self.sessions.get_mut(&judged.session) else {
            return;
        };
        let ack = Ack {
            number: judged.number,
            received,
            first_seq,
            attached: judged.attached,
            verdicts: judged.verdicts,
        };
        if let Err(error) = session.protocol.acknowledge(ack) {
            self.close_internal(now, judged.session, &error);
        }
        self.settle(now, judged.session);
    }

    /// Gives up a cycle that the store failed at: nothing of it was done, and nobody was told
    /// anything. The devices keep what they pushed, and come back with it later.
    fn give_up(&mut self, now: Now, gathered: Gathered, fault: &StoreFault) {
        let close = if *fault == StoreFault::Full {
            STORAGE_FULL.close(self.config.retry_after_full)
        } else {
            STORAGE_FAILED.close(self.config.retry_after_fault)
        };
        for taken in gathered.pushes {
            self.close(now, taken.session, close.clone());
        }
        for placing in gathered.places {
            self.placed(placing, Err(fault.clone().into()));
        }
    }

    /// Says what became of a placement.
    pub(crate) fn placed(&mut self, placing: Placing, result: Result<bool, PlaceError>) {
        let Placing {
            document,
            scope,
            attach,
        } = placing;
        self.output(Output::Placed {
            document,
            scope,
            attach,
            result,
        });
    }
}

/// Returns the authors of changes that are brought by another device.
fn authors_of(pushes: &[Taken]) -> BTreeSet<DeviceId> {
    let documents = pushes.iter().flat_map(|taken| &taken.push.documents);
    let changes = documents.flat_map(|document| &document.changes);
    changes.filter_map(|change| change.recovered_from).collect()
}

/// Returns what is put on record of a push: of a signed one always, since its device names it in the
/// next; of another only if it had an effect.
fn on_record(taken: &Taken, judged: &Judged) -> Option<AnsweredPush> {
    let proof = &taken.push.proof;
    let has_effect = judged.verdicts.iter().any(|verdict| match verdict {
        Verdict::Accepted | Verdict::Refused(_) => true,
        Verdict::Known | Verdict::Incomplete => false,
    });
    (proof.signed.is_some() || has_effect).then(|| AnsweredPush {
        device: taken.device,
        proof: proof.clone(),
        recovers: taken.recovers,
        scope: judged.scope.clone(),
        entries: judged.entries.clone(),
        verdicts: judged.verdicts.clone(),
    })
}
