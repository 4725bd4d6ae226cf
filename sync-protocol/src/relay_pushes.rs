//! The pushes of one device as a relay's session sees them: numbered, windowed, in order where it
//! matters.
//!
//! Each push has a stream of its own, so they arrive in any order. One is handed on as soon as every
//! push up to the number it waits for was. Rules: `PROTOCOL.md`, 4.3 and 4.4.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::Scope;

use crate::limits::{PUSH_WEIGHT_MAX, PUSH_WINDOW_BYTES, PUSHES_OUT_MAX};
use crate::{DeviceMisbehaved, Push, PushDocument};

/// A push that was handed on and is not acknowledged.
#[derive(Debug)]
pub(crate) struct PushIn {
    pub(crate) scope: Scope,
    pub(crate) documents: usize,
    pub(crate) changes: usize,
    weight: usize,
}

/// The pushes of one session.
#[derive(Debug, Default)]
pub(crate) struct RelayPushes {
    /// Pushes that wait for an earlier one, or for the greetings, with their weight.
    held: BTreeMap<u64, (Push, usize)>,
    /// Pushes handed on and not acknowledged.
    open: BTreeMap<u64, PushIn>,
    /// Every push up to this number was handed on.
    through: u64,
    /// The numbers handed on beyond `through`.
    beyond: BTreeSet<u64>,
}

impl RelayPushes {
    /// Takes in a push from the wire.
    pub(crate) fn accept(&mut self, push: Push) -> Result<(), DeviceMisbehaved> {
        let number = push.number;
        let known = number <= self.through
            || self.beyond.contains(&number)
            || self.held.contains_key(&number);
        // PROTOCOL 4.3: numbers rise from 1, densely.
        if known {
            return Err(DeviceMisbehaved::PushRepeated(number));
        }
        let oldest = self.open.keys().next().copied();
        let oldest = oldest.unwrap_or(u64::MAX).min(self.through + 1);
        if number - oldest >= PUSHES_OUT_MAX {
            return Err(DeviceMisbehaved::PushTooFarAhead { number, oldest });
        }
        if push.after >= number {
            let after = push.after;
            return Err(DeviceMisbehaved::PushAfterLater { number, after });
        }
        let ids: BTreeSet<_> = push.documents.iter().map(|push| push.document).collect();
        let whole = push.documents.iter().all(|push| !push.changes.is_empty());
        if ids.is_empty() || ids.len() != push.documents.len() || !whole {
            return Err(DeviceMisbehaved::PushContent(number));
        }
        let weight: usize = push.documents.iter().map(PushDocument::weight).sum();
        let held: usize = self.held.values().map(|(_, weight)| weight).sum();
        let open: usize = self.open.values().map(|push| push.weight).sum();
        let out = held + open + weight;
        if out > PUSH_WINDOW_BYTES + PUSH_WEIGHT_MAX {
            return Err(DeviceMisbehaved::PushOverWindow { weight: out });
        }
        self.held.insert(number, (push, weight));
        Ok(())
    }

    /// Gives out a push whose turn it is, the lowest number first.
    pub(crate) fn release(&mut self) -> Option<Push> {
        let mut held = self.held.iter();
        let (&number, _) = held.find(|(_, (push, _))| push.after <= self.through)?;
        let (push, weight) = self.held.remove(&number)?;
        self.beyond.insert(number);
        while self.beyond.remove(&(self.through + 1)) {
            self.through += 1;
        }
        self.open.insert(
            number,
            PushIn {
                scope: push.scope.clone(),
                documents: push.documents.len(),
                changes: push.documents.iter().map(|push| push.changes.len()).sum(),
                weight,
            },
        );
        Some(push)
    }

    /// Returns whether every push up to a number was acknowledged.
    pub(crate) fn is_handled(&self, number: u64) -> bool {
        let oldest = self.open.keys().next();
        self.through >= number && oldest.is_none_or(|oldest| *oldest > number)
    }

    /// Takes note of an acknowledgement.
    pub(crate) fn acknowledge(&mut self, number: u64) -> Option<PushIn> {
        self.open.remove(&number)
    }

    /// Returns how many pushes were handed on and wait for an acknowledgement.
    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }
}
