//! Puts incoming changes into an order in which each comes after what it depends on.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, DeviceId, WallTime};

use super::form::Sound;
use crate::{Author, Provenance};

/// A sound change, and where in the call it stood.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) index: usize,
    pub(super) author: Author,
    pub(super) received: Option<WallTime>,
    pub(super) sound: Box<Sound>,
}

impl Candidate {
    /// What is known of it once it is let in.
    pub(super) const fn provenance(&self) -> Provenance {
        Provenance {
            author: Some(self.author.device),
            received: self.received,
        }
    }
}

/// Sorts candidates causally, keeping one author's together as far as that allows.
///
/// Dependencies outside the candidates count as met. Hashes cannot form a circle, so all are placed.
pub(super) fn causal(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let places: BTreeMap<ChangeHash, usize> = candidates
        .iter()
        .enumerate()
        .map(|(place, candidate)| (candidate.sound.hash, place))
        .collect();
    let mut waits = vec![0_usize; candidates.len()];
    let mut followers = vec![Vec::new(); candidates.len()];
    for (place, candidate) in candidates.iter().enumerate() {
        for dep in candidate
            .sound
            .deps
            .iter()
            .filter_map(|dep| places.get(dep))
        {
            waits[place] += 1;
            followers[*dep].push(place);
        }
    }
    let mut ready: BTreeSet<(DeviceId, usize)> = (0..candidates.len())
        .filter(|place| waits[*place] == 0)
        .map(|place| (candidates[place].author.device, place))
        .collect();
    let mut order = Vec::with_capacity(candidates.len());
    let mut author = None;
    loop {
        let same = author.and_then(|author| ready.range((author, 0)..=(author, usize::MAX)).next());
        let Some(next) = same.or_else(|| ready.first()).copied() else {
            break;
        };
        ready.remove(&next);
        author = Some(next.0);
        order.push(next.1);
        for follower in &followers[next.1] {
            waits[*follower] -= 1;
            if waits[*follower] == 0 {
                ready.insert((candidates[*follower].author.device, *follower));
            }
        }
    }
    let mut slots: Vec<_> = candidates.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|place| slots[place].take())
        .collect()
}
