//! Devices that are moved or revoked and records that are handed over; and what must hold then.
//!
//! No document outside a device's grants stays with it, nothing that was saved is lost by it, and whoever
//! was revoked has wiped itself and said so.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, DocumentId, Scope};
use gridbeat_device_core::{SyncProblem, SyncState};
use gridbeat_relay_store::{RecordFilter, RefusedFilter, Registry as _, SqliteStore};
use gridbeat_sync_protocol::VERSION_OF_LEAVING;

use crate::world::World;

/// More than any run makes.
const ALL: u64 = 1_000_000;

impl World {
    /// An officer is moved: his devices get other scopes, at least one.
    pub(crate) fn move_device(&mut self, node: usize) {
        if self.relay.store.is_none() || self.nodes[node].is_revoked {
            return;
        }
        let at = usize::try_from(self.random.below(self.scopes.len() as u64)).unwrap_or(0);
        let mut scopes = vec![self.scopes[at].clone()];
        for scope in &self.scopes {
            if !scopes.contains(scope) && self.random.chance(300) {
                scopes.push(scope.clone());
            }
        }
        self.tally.moves += 1;
        self.trace.line(format_args!(
            "{:?} device {node} moves to {scopes:?}",
            self.time
        ));
        let device = self.nodes[node].device;
        for node in self.nodes.iter_mut().filter(|it| it.device == device) {
            node.scopes = scopes.clone();
            node.is_moved = true;
            node.moved = self.time;
        }
        self.enrol(node, &BTreeMap::new());
    }

    /// A record is taken out of one scope and put into another.
    pub(crate) fn hand_over(&mut self) {
        let Some(store) = &self.relay.store else {
            return;
        };
        let rows = store.records(&RecordFilter::default(), ALL);
        let rows = rows.expect("a living database can be read");
        if rows.is_empty() || self.relay.core.is_none() {
            return;
        }
        let at = usize::try_from(self.random.below(rows.len() as u64)).unwrap_or(0);
        let to = usize::try_from(self.random.below(self.scopes.len() as u64)).unwrap_or(0);
        let (row, to) = (&rows[at], self.scopes[to].clone());
        let (document, now) = (row.document, self.relay_now());
        let from: Vec<Scope> = row.scopes.iter().filter(|it| **it != to).cloned().collect();
        self.tally.handovers += 1;
        self.trace
            .line(format_args!("{:?} {document} goes to {to}", self.time));
        self.relay_do(|relay| {
            relay.place(now, document, to, true);
            for scope in from {
                relay.place(now, document, scope, false);
            }
        });
    }

    /// A phone is reported lost.
    pub(crate) fn revoke_device(&mut self, node: usize) {
        let device = self.nodes[node].device;
        let others = self.nodes.iter().filter(|it| it.device != device);
        if self.relay.store.is_none() || others.filter(|it| !it.is_revoked).count() < 2 {
            return;
        }
        // A thief fills the quarantine, and then hands over nothing until an operator has seen to it.
        if self
            .hostile
            .node
            .is_some_and(|thief| self.nodes[thief].device == device)
        {
            return;
        }
        self.tally.revocations += 1;
        self.trace
            .line(format_args!("{:?} device {node} is revoked", self.time));
        for node in self.nodes.iter_mut().filter(|it| it.device == device) {
            node.is_revoked = true;
        }
        self.revoke(node);
    }

    fn revoke(&mut self, node: usize) {
        let (device, now) = (self.nodes[node].device, self.relay_now());
        for node in self.nodes.iter_mut().filter(|it| it.device == device) {
            node.revoked = self.time;
        }
        if let Some(store) = self.relay.store.as_mut() {
            // A relay that dies at this commit is told again when the storm is over.
            let _ = store.revoke(device, now.wall);
            if self.relay.fuse.has_blown() {
                self.tally.relay_crashes += 1;
                self.crash_relay(core::time::Duration::from_secs(30));
            }
        }
    }

    /// After the storm the relay's table says what it was told to, whatever it died at or was restored to.
    pub(crate) fn settle_rights(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_revoked {
                self.revoke(node);
            } else if self.nodes[node].is_moved {
                // A table that was restored says so from here on.
                self.nodes[node].moved = self.time;
                self.enrol(node, &BTreeMap::new());
            }
        }
    }

    /// Tells whether a phone was told that it is revoked, and has nothing more to say.
    pub(crate) fn has_given_up(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        let state = node.core.as_ref().map(|core| core.sync_state());
        node.is_revoked
            && matches!(
                state,
                Some(SyncState::Problem {
                    what: SyncProblem::TurnedAway(_),
                    ..
                })
            )
    }

    /// Sorts out what an officer saved in documents that have left his phone.
    pub(crate) fn sort_saved(&mut self, node: usize) {
        let Some(core) = &self.nodes[node].core else {
            return;
        };
        let held = core.fingerprint().expect("a living file can be read");
        let held: BTreeSet<DocumentId> = held.into_iter().map(|(document, _)| document).collect();
        let refused = core.refused().expect("a living file can be read");
        let refused: BTreeSet<ChangeHash> = refused.iter().map(|it| it.change).collect();
        let node = &mut self.nodes[node];
        let saved = std::mem::take(&mut node.saved).into_iter();
        let (stays, left): (BTreeSet<_>, BTreeSet<_>) = saved
            .partition(|(document, change)| held.contains(document) || refused.contains(change));
        node.saved = stays;
        node.left.extend(left);
        let photos = std::mem::take(&mut node.photos).into_iter();
        let (stays, left): (BTreeSet<_>, BTreeSet<_>) =
            photos.partition(|(document, _, _)| held.contains(document));
        node.photos = stays;
        node.photos_left.extend(left);
        node.seen.retain(|document, _| held.contains(document));
    }

    /// What was saved in documents that left a phone is with the relay: in its log, or in its quarantine,
    /// or made anew from its intent after something it built on was refused.
    pub(crate) fn check_left(&mut self) {
        let Some(store) = &self.relay.store else {
            return;
        };
        let refused = store
            .refused(&RefusedFilter::default(), ALL)
            .expect("a living database can be read");
        let mut violations = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(core) = &node.core else { continue };
            let kept = core.refused().expect("a living file can be read");
            for (document, change) in &node.left {
                let is_there = store
                    .contains(*document, change)
                    .expect("a living database can be read");
                let mut at_relay = refused.iter().filter(|row| row.device == node.device);
                let is_refused = at_relay.any(|row| row.document == *document)
                    || kept.iter().any(|intent| intent.document == *document);
                // A relay that was restored may have lost what had left the phone by then.
                if !is_there && !is_refused && !self.relay.was_restored {
                    violations.push(format!(
                        "device {number} left with {change} of {document}, which nobody has"
                    ));
                }
            }
            if !node.is_revoked {
                continue;
            }
            if node.speaks < VERSION_OF_LEAVING {
                // It cannot be asked to wipe itself; it is turned away, and sent nothing.
                if !self.has_given_up(number) {
                    violations.push(format!("device {number} is revoked and was not told"));
                }
                continue;
            }
            let held = core.fingerprint().expect("a living file can be read");
            if !held.is_empty() || !kept.is_empty() || !self.has_given_up(number) {
                violations.push(format!(
                    "device {number} is revoked and holds {} documents: {:?}",
                    held.len(),
                    core.sync_state()
                ));
            }
            let stated = store
                .removals(node.device)
                .expect("a living database can be read");
            let has_signed = stated.iter().any(|row| row.statement.scope.is_none());
            if !has_signed && !self.relay.was_restored {
                violations.push(format!(
                    "device {number} is revoked and has not signed for it"
                ));
            }
        }
        for violation in violations {
            self.violate(violation);
        }
    }
}

/// Returns the names of the changes in the relay's quarantine.
pub(crate) fn quarantined(store: &SqliteStore) -> BTreeSet<ChangeHash> {
    let rows = store.refused(&RefusedFilter::default(), ALL);
    let rows = rows.expect("a living database can be read");
    rows.into_iter().filter_map(|row| row.hash).collect()
}
