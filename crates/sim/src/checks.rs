//! What must hold after the calm: the promises of `docs/guarantees.md`, one check each.
//!
//! The numbers are those of the table in `docs/testing.md`, which says where each is checked.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, DocumentId, Scope, Verbs};
use gridbeat_device_core::{Device, HistoryEntry, ReadError, SyncState};
use gridbeat_domain::{IncidentView, State};
use gridbeat_relay_core::RecordRow;
use gridbeat_relay_store::{RecordFilter, Registry as _};
use gridbeat_sync_protocol::VERSION_OF_LEAVING;

use crate::leave::quarantined;
use crate::node::Node;
use crate::world::World;

/// More than any run makes.
const ALL: u64 = 1_000_000;

impl World {
    /// After a relay was restored: what neither it nor any phone holds is lost to the world, and may
    /// be, if the phone that made it was restored too. All else must come back.
    pub(crate) fn excuse_what_nobody_holds(&mut self) {
        self.relay.was_restored = true;
        self.photos.doubt();
        let held = self.held_by_phones();
        self.acknowledged.retain(|change| held.contains(change));
    }

    /// After a phone was restored: what a restored relay lacks, and only that phone could have brought back.
    pub(crate) fn excuse_what_went_with_a_phone(&mut self) {
        if !self.relay.was_restored {
            return;
        }
        let held = self.held_by_phones();
        let Some(store) = &self.relay.store else {
            // It is looked at when it is back.
            self.relay.excuse_due = true;
            return;
        };
        self.relay.excuse_due = false;
        self.acknowledged.retain(|(document, change)| {
            let is_logged = store.contains(*document, change);
            held.contains(&(*document, *change))
                || is_logged.expect("a living database can be read")
        });
    }

    /// What phones hold: what their officers were told is saved, and what lies on those that live.
    fn held_by_phones(&self) -> BTreeSet<(DocumentId, ChangeHash)> {
        let mut held: BTreeSet<(DocumentId, ChangeHash)> = BTreeSet::new();
        for node in &self.nodes {
            held.extend(&node.saved);
            let Some(core) = &node.core else { continue };
            for (document, _) in core.fingerprint().expect("a living file can be read") {
                let history = core.history(document).expect("a living file can be read");
                held.extend(history.into_iter().map(|entry| (document, entry.change)));
            }
        }
        held
    }

    /// Checks everything at the end of the calm.
    pub(crate) fn check(&mut self) {
        for node in 0..self.nodes.len() {
            self.sort_saved(node);
        }
        self.check_in_sync();
        self.check_acknowledged();
        self.check_saved();
        self.check_equal();
        self.check_grants();
        self.check_left();
        self.check_evidence();
        self.check_quarantine();
        self.check_clones();
        self.check_photos();
        self.check_positions();
    }

    /// I7: the relay's evidence verifies, and leaves no change without a receipt: none that was acknowledged
    /// is missing from the log, and of the log there is nothing that receipts do not account for.
    fn check_evidence(&mut self) {
        let Some(store) = &self.relay.store else {
            return;
        };
        let violations = match store.audit() {
            // I3: what no device signed is nobody's.
            Ok(report) if report.batches_signed != report.batches => {
                vec!["I3: a batch without a signature".to_owned()]
            }
            Ok(report) if report.before == (0, 0) => {
                let findings = report.findings.iter();
                findings.map(|it| format!("I7: {it}")).collect()
            }
            Ok(_) => vec!["evidence: changes without a receipt".to_owned()],
            Err(error) => vec![format!("evidence: {error}")],
        };
        for violation in violations {
            self.violate(violation);
        }
    }

    /// The relay has on record which devices were copied: operators see them.
    fn check_clones(&mut self) {
        let Some(store) = &self.relay.store else {
            return;
        };
        let mut unseen = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let is_copied = self.nodes[..number]
                .iter()
                .any(|other| other.device == node.device);
            let pairs = store.clones(Some(node.device));
            // Whoever was revoked is turned away, by whichever installation, and stands nowhere.
            if is_copied
                && !node.is_revoked
                && pairs.expect("a living database can be read").is_empty()
            {
                unseen.push(format!("nobody saw that device {number} is a copy"));
            }
        }
        for violation in unseen {
            self.violate(violation);
        }
    }

    /// I1, its first half: after the calm everybody says "in sync".
    fn check_in_sync(&mut self) {
        for node in 0..self.nodes.len() {
            let Some(core) = &self.nodes[node].core else {
                self.violate(format!("device {node} did not come back"));
                continue;
            };
            let state = core.sync_state();
            self.tally.reconciliations += core.counters().reconciliations;
            if self.nodes[node].is_revoked {
                continue;
            }
            if !matches!(state, SyncState::InSync { .. }) {
                self.violate(format!(
                    "device {node} is not in sync after the calm but {state:?}"
                ));
            }
        }
    }

    /// I2, at the relay: what was acknowledged is logged.
    fn check_acknowledged(&mut self) {
        let Some(store) = &self.relay.store else {
            self.violate("the relay did not come back".into());
            return;
        };
        // What a revoked device brings back to a relay that lost it is not admitted, and yet kept.
        let quarantine = quarantined(store);
        let lost: Vec<_> = self
            .acknowledged
            .iter()
            .filter(|(document, change)| {
                !store
                    .contains(*document, change)
                    .expect("a living database can be read")
                    && !quarantine.contains(change)
                    && !self.is_out_of_reach(*document, *change)
            })
            .map(|(document, change)| format!("acknowledged and lost: {change} of {document}"))
            .collect();
        for violation in lost {
            self.violate(violation);
        }
    }

    /// Whether a restored relay cannot get a change back: all who hold it may only read it there, or are revoked and
    /// run a program too old to be asked for what they have.
    fn is_out_of_reach(&self, document: DocumentId, change: ChangeHash) -> bool {
        let holds = |node: &&Node| {
            let core = node.core.as_ref();
            core.is_some_and(|core| history(core, document).iter().any(|it| it.change == change))
        };
        let mut holders = self.nodes.iter().filter(holds).peekable();
        let is_mute = |node: &Node| node.is_revoked && node.speaks < VERSION_OF_LEAVING;
        self.relay.was_restored
            && holders.peek().is_some()
            && holders.all(|node| is_mute(node) || self.is_reader(node, document))
    }

    /// Whether a device has what the relay has of a document, and what the relay lost, which it may not bring back.
    fn has_more(&self, node: &Node, document: DocumentId, at_relay: &[ChangeHash]) -> bool {
        let Some(core) = &node.core else {
            return false;
        };
        let history = history(core, document);
        let mut heads = at_relay.iter();
        self.relay.was_restored
            && self.is_reader(node, document)
            && heads.all(|head| history.iter().any(|it| it.change == *head))
    }

    /// Whether all that a device may do in a document's scopes is to read.
    fn is_reader(&self, node: &Node, document: DocumentId) -> bool {
        let (Some(core), Some(store)) = (&node.core, &self.relay.store) else {
            return false;
        };
        let record = core.record(document).expect("a living file can be read");
        let scopes = record.map(|record| record.scopes).unwrap_or_default();
        let rows = store.devices().expect("a living database can be read");
        let Some(row) = rows.iter().find(|row| row.device == node.device) else {
            return false;
        };
        let verbs = |scope: &Scope| row.grants.get(scope).map(|granted| granted.verbs);
        let mut verbs = scopes.iter().filter_map(verbs);
        !verbs.any(Verbs::may_change)
    }

    /// I2, on devices, and I12: every change an officer was told is saved is in the device's history, or in "not accepted",
    /// or was made anew from its intent after a refusal.
    fn check_saved(&mut self) {
        let mut lost = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(core) = &node.core else { continue };
            let refused = core.refused().expect("a living file can be read");
            let mut by_document: BTreeMap<DocumentId, Vec<ChangeHash>> = BTreeMap::new();
            for (document, change) in &node.saved {
                by_document.entry(*document).or_default().push(*change);
            }
            for (document, saved) in by_document {
                let history = history(core, document);
                let mine = history
                    .iter()
                    .filter(|entry| entry.author == node.device)
                    .count();
                let turned_down = refused
                    .iter()
                    .filter(|intent| intent.document == document)
                    .count();
                let missing = saved
                    .iter()
                    .filter(|change| !history.iter().any(|entry| entry.change == **change));
                let missing = missing
                    .filter(|change| !refused.iter().any(|intent| intent.change == **change))
                    .count();
                if missing > 0 && (turned_down == 0 || mine + turned_down < saved.len()) {
                    lost.push(format!(
                        "device {number} saved {} changes of {document}, {missing} are gone",
                        saved.len()
                    ));
                }
            }
        }
        for violation in lost {
            self.violate(violation);
        }
    }

    /// I1: all sides hold equal documents, by heads and by value; I5: their states came about by legal steps.
    fn check_equal(&mut self) {
        let Some(store) = &self.relay.store else {
            return;
        };
        let heads: BTreeMap<_, _> = store
            .heads_after(None, ALL)
            .expect("a living database can be read")
            .into_iter()
            .collect();
        let rows = store
            .records(&RecordFilter::default(), ALL)
            .expect("a living database can be read");
        let rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.document, row)).collect();
        self.tally.documents = heads.len() as u64;
        let mut differ = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let core = node.core.as_ref().filter(|_| !node.is_revoked);
            let Some(core) = core else { continue };
            let here: BTreeMap<_, _> = core
                .fingerprint()
                .expect("a living file can be read")
                .into_iter()
                .collect();
            for (document, at_relay) in &heads {
                let Some(row) = rows.get(document) else {
                    differ.push(format!("the relay has no row for {document}"));
                    continue;
                };
                if !row.scopes.iter().any(|scope| node.scopes.contains(scope)) {
                    continue;
                }
                if here.get(document) != Some(at_relay) {
                    if self.has_more(node, *document, at_relay) {
                        continue;
                    }
                    differ.push(format!(
                        "device {number} and the relay differ in the heads of {document}"
                    ));
                    continue;
                }
                let record = core.record(*document).expect("a living file can be read");
                let same = record.is_some_and(|record| {
                    record.body == row.fields.body && record.status == row.fields.status
                });
                if !same {
                    differ.push(format!(
                        "device {number} and the relay differ in the value of {document}"
                    ));
                }
            }
            for document in here
                .keys()
                .filter(|document| !heads.contains_key(*document))
            {
                // Only what was refused whole may be a device's alone.
                let refused = core.refused().expect("a living file can be read");
                if !refused.iter().any(|intent| intent.document == *document)
                    && !self.has_more(node, *document, &[])
                {
                    differ.push(format!("device {number} alone holds {document}"));
                }
            }
        }
        differ.extend(incidents_amiss(rows.values()));
        for violation in differ {
            self.violate(violation);
        }
    }

    /// I4: no phone holds a document outside the scopes it was enrolled for; I3: nor a change that nobody made who
    /// was enrolled.
    fn check_grants(&mut self) {
        let mut outside = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(core) = &node.core else { continue };
            for (document, _) in core.fingerprint().expect("a living file can be read") {
                let record = core.record(document).expect("a living file can be read");
                let scopes: Vec<Scope> = record.map(|record| record.scopes).unwrap_or_default();
                if !scopes.iter().all(|scope| node.scopes.contains(scope)) {
                    outside.push(format!("device {number} holds {document} of {scopes:?}"));
                }
                let mut history = history(core, document).into_iter();
                let invented = |entry: &HistoryEntry| {
                    self.nodes.iter().all(|node| node.device != entry.author)
                };
                if let Some(entry) = history.find(invented) {
                    let author = entry.author;
                    outside.push(format!("I3: device {number} holds work of {author}"));
                }
            }
        }
        for violation in outside {
            self.violate(violation);
        }
    }
}

/// Names what does not hold of the relay's incidents: I5, and that all of each can be read.
fn incidents_amiss<'a>(rows: impl Iterator<Item = &'a RecordRow>) -> Vec<String> {
    let mut differ = Vec::new();
    for row in rows.filter(|row| row.kind == "incident") {
        let view: Result<IncidentView, _> = serde_json::from_str(&row.fields.body);
        match view {
            Ok(view) if view.unreadable == 0 => differ.extend(illegal(&view)),
            Ok(_) => differ.push(format!("{} has entries that cannot be read", row.document)),
            Err(error) => differ.push(format!(
                "the row of {} cannot be read: {error}",
                row.document
            )),
        }
    }
    differ
}

/// Walks an incident's history by the table of steps: each step that counts leads from the state before it.
fn illegal(view: &IncidentView) -> Option<String> {
    let mut state = State::Draft;
    for step in &view.steps {
        let next = state.after(step.step);
        if (next.is_some(), next.unwrap_or(state)) != (step.legal, step.state) {
            return Some(format!(
                "I5: {:?} led from {state:?} to {:?}",
                step.step, step.state
            ));
        }
        state = step.state;
    }
    (state != view.state).then(|| format!("I5: it is {:?} after {state:?}", view.state))
}

/// Reads a document's history; one that the device does not hold has none.
pub(crate) fn history(core: &Device, document: DocumentId) -> Vec<HistoryEntry> {
    match core.history(document) {
        Ok(history) => history,
        Err(ReadError::UnknownDocument { .. }) => Vec::new(),
        Err(error) => panic!("a living file can be read: {error:?}"),
    }
}
