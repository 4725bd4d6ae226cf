//! Tries changes on a copy of the document, and keeps the copy if all is well.
//!
//! All are tried at once; only if that fails are they halved, so that honest changes cost one trial
//! and one bad change among many costs a few.

use std::collections::BTreeMap;
use std::sync::Arc;

use automerge::{Automerge, ReadDoc as _};
use gridbeat_base::{ChangeHash, Verb, Verbs};

use super::history::History;
use super::order::Candidate;
use super::{Rule, Side, Verdict};
use crate::contain::contained;
use crate::document::load_automerge;
use crate::limits::MISSING_NAMED_MAX;
use crate::{
    Author, Change, DOCUMENT_BYTES_MAX, DOCUMENT_CHANGES_MAX, Document, Kind, Provenance, View,
    read,
};

pub(super) struct Trial<'a> {
    document: &'a mut Document,
    history: History,
    from: Side,
    /// What is known of each change, those on offer included: what is let in first is read again with the rest.
    provenance: &'a dyn Fn(&ChangeHash) -> Provenance,
}

/// A copy with the tried changes, ready to take the document's place.
struct Passed {
    automerge: Automerge,
    saved: Vec<u8>,
    view: View,
}

impl<'a> Trial<'a> {
    pub(super) const fn new(
        document: &'a mut Document,
        history: History,
        from: Side,
        provenance: &'a dyn Fn(&ChangeHash) -> Provenance,
    ) -> Self {
        Self {
            document,
            history,
            from,
            provenance,
        }
    }

    /// Decides on candidates in causal order and enters the verdicts.
    pub(super) fn settle(&mut self, candidates: &[&Candidate], verdicts: &mut [Option<Verdict>]) {
        let ready = self.ready(candidates, verdicts);
        match (self.attempt(&ready), ready.as_slice()) {
            (Ok(()), _) => {
                for candidate in ready {
                    let change = Change::of_automerge(&candidate.sound.change);
                    verdicts[candidate.index] = Some(Verdict::Admitted(change));
                }
            }
            (Err(rule), [only]) => {
                verdicts[only.index] = Some(Verdict::Refused {
                    hash: Some(only.sound.hash),
                    rule,
                });
            }
            // The depth is the logarithm of the number of changes in one frame.
            (Err(_), many) => {
                let (first, second) = many.split_at(many.len() / 2);
                self.settle(first, verdicts);
                self.settle(second, verdicts);
            }
        }
    }

    /// Keeps the candidates whose dependencies are here or among those before; the others are
    /// incomplete.
    fn ready<'c>(
        &self,
        candidates: &[&'c Candidate],
        verdicts: &mut [Option<Verdict>],
    ) -> Vec<&'c Candidate> {
        let mut ready = Vec::with_capacity(candidates.len());
        // What each candidate waits for: nothing, or the first unknown change of each way back, the lowest of
        // many.
        let mut waits: BTreeMap<ChangeHash, Vec<ChangeHash>> = BTreeMap::new();
        for candidate in candidates {
            let mut missing = Vec::new();
            for dep in &candidate.sound.deps {
                match waits.get(dep) {
                    Some(further) => missing.extend_from_slice(further),
                    None if self.history.contains(dep) => {}
                    None => missing.push(*dep),
                }
            }
            missing.sort_unstable();
            missing.dedup();
            missing.truncate(MISSING_NAMED_MAX);
            let hash = candidate.sound.hash;
            if missing.is_empty() {
                ready.push(*candidate);
            } else {
                verdicts[candidate.index] = Some(Verdict::Incomplete {
                    hash,
                    missing: missing.clone(),
                });
            }
            waits.insert(hash, missing);
        }
        ready
    }

    /// Lets all candidates in, or none.
    fn attempt(&mut self, candidates: &[&Candidate]) -> Result<(), Rule> {
        if candidates.is_empty() {
            return Ok(());
        }
        let mut pushed = Vec::with_capacity(candidates.len());
        let passed = candidates
            .iter()
            .try_for_each(|candidate| {
                self.history
                    .push(&candidate.sound, candidate.author.device)?;
                pushed.push(*candidate);
                Ok(())
            })
            .and_then(|()| self.passes(candidates));
        match passed {
            Ok(passed) => {
                self.document.automerge = passed.automerge;
                self.document.size_bytes = passed.saved.len();
                self.document.saved = Some(passed.saved);
                self.document.admitted = Some(passed.view);
                Ok(())
            }
            Err(rule) => {
                for candidate in pushed.iter().rev() {
                    self.history.pop(&candidate.sound);
                }
                Err(rule)
            }
        }
    }

    fn passes(&self, candidates: &[&Candidate]) -> Result<Passed, Rule> {
        if self.from == Side::Device && self.history.len() > DOCUMENT_CHANGES_MAX {
            return Err(Rule::DocumentFull);
        }
        contained(|| self.try_on_copy(candidates)).unwrap_or(Err(Rule::Breaks))
    }

    fn try_on_copy(&self, candidates: &[&Candidate]) -> Result<Passed, Rule> {
        let view = |automerge: &Automerge| read::view(automerge, self.provenance);
        let mut copy = self.document.automerge.clone();
        let mut latest = (self.from == Side::Device).then(|| view(&copy));
        // What one author does at once is judged at once, unless a change might hide in another.
        let at_once = |one: &&Candidate, next: &&Candidate| {
            one.author == next.author
                && (self.from == Side::Relay || one.author.verbs.lacks(Verbs::WORK).is_none())
        };
        for group in candidates.chunk_by(at_once) {
            let changes: Vec<_> = group.iter().map(|one| one.sound.change.clone()).collect();
            copy.apply_changes(changes).map_err(|_| Rule::Breaks)?;
            if !copy.get_missing_deps(&[]).is_empty() {
                return Err(Rule::Breaks);
            }
            if let Some(before) = latest.take() {
                let after = view(&copy);
                allowed(&self.document.kind, &before, &after, &group[0].author)?;
                latest = Some(after);
            }
        }
        // Compressing is the dear part of saving, and hides nothing that loading would find.
        let saved = copy.save_nocompress();
        let loaded = load_automerge(&saved).map_err(|_| Rule::Breaks)?;
        let view = latest.unwrap_or_else(|| view(&copy));
        if loaded.get_heads() != copy.get_heads() || !read::is_alike(&copy, &loaded) {
            return Err(Rule::Breaks);
        }
        if self.from == Side::Device && saved.len() > DOCUMENT_BYTES_MAX {
            return Err(Rule::DocumentFull);
        }
        Ok(Passed {
            automerge: copy,
            saved,
            view,
        })
    }
}

/// Holds what a change did against its author's verbs, and asks the kind.
fn allowed(kind: &Arc<dyn Kind>, before: &View, after: &View, author: &Author) -> Result<(), Rule> {
    if let Some(verb) = author.verbs.lacks(needed(kind, before, after)) {
        return Err(Rule::NotGranted(verb));
    }
    kind.admit(before, after, author).map_err(Rule::Kind)
}

/// Returns the verbs that a change takes, from its document before and after it.
pub fn needed(kind: &Arc<dyn Kind>, before: &View, after: &View) -> Verbs {
    match kind.needs(before, after) {
        Verbs::NONE => Verbs::of(&[Verb::Edit]),
        needed => needed,
    }
}
