//! The one function through which every change from outside passes.
//!
//! Automerge trusts its input: a well-formed change can panic it, make a document that never loads
//! again, or stop all later edits. So a change is let in only if, in this order,
//!
//! 1. it is no larger than [`CHANGE_BYTES_MAX`](crate::CHANGE_BYTES_MAX), exactly one uncompressed chunk, and names no more than
//!    [`CHANGE_OPS_MAX`](crate::CHANGE_OPS_MAX) operations, counted before Automerge decodes any;
//! 2. it has only operations a kind's edits can make, and touches no container of the genesis;
//! 3. its dependencies are here, its number and its first op are the next ones, and its actor is its
//!    author's;
//! 4. it can be applied to a copy that then saves, loads and reads the same;
//! 5. on a relay, its author holds the verbs that it takes, and the kind allows what it did.
//!
//! A change that fails is refused alone: the honest ones of the same call still pass. It runs on its caller's
//! thread: as no change from outside makes a container, nothing nests deeper than the genesis laid it out, and half
//! a phone's stack is enough (tested with 512 KiB). Not here: who
//! may write into which scope (`relay-core`), or the log.

mod form;
mod history;
mod operations;
mod order;
mod outline;
#[cfg(feature = "fuzz")]
mod probe;
mod rule;
mod trial;

use std::collections::BTreeMap;

use gridbeat_base::{ChangeHash, WallTime};

pub use outline::Outline;
#[cfg(feature = "fuzz")]
pub use probe::{Counts, counts};
pub use rule::Rule;
pub use trial::needed;

use crate::{Author, Change, Document, Provenance};
use form::Form;
pub(crate) use form::Layout;
use history::History;
use order::Candidate;
use trial::Trial;

/// A change as it came from outside.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The raw chunk.
    pub bytes: &'a [u8],
    /// Who made it, as far as the one that brought it may say.
    pub author: Author,
    /// When the relay received it, as far as known: what it is if it is let in.
    pub received: Option<WallTime>,
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// From a device to a relay: form and right are checked, [`Kind::admit`](crate::Kind::admit) and fullness included.
    Device,
    /// From a relay to a device: only the form is checked, for the relay has decided on the rest.
    Relay,
}

/// What became of one incoming change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is part of the document now. To be stored.
    Admitted(Change),
    /// It was part of the document already.
    Known(ChangeHash),
    /// It depends on changes that are neither in the document nor among those admitted with it.
    Incomplete {
        /// The change.
        hash: ChangeHash,
        /// What it waits for, sorted: all, or the lowest [`MISSING_NAMED_MAX`](crate::MISSING_NAMED_MAX). A change refused in this
        /// call may be among them.
        missing: Vec<ChangeHash>,
    },
    /// It breaks a rule and never enters.
    Refused {
        /// The change, if its bytes have a name at all.
        hash: Option<ChangeHash>,
        /// The rule it breaks.
        rule: Rule,
    },
}

/// Lets those of `incoming` into the document that keep every rule, and says what became of each.
///
/// The verdicts stand in the order of `incoming`, which may be any order. `provenance` tells what the
/// log knows of each change of the document. How the document reads then, [`Document::take_admitted`] tells.
/// Never panics on any input, though the process's panic hook may see a contained panic.
pub fn admit(
    document: &mut Document,
    incoming: &[Incoming<'_>],
    from: Side,
    provenance: &dyn Fn(&ChangeHash) -> Provenance,
) -> Vec<Verdict> {
    let mut verdicts: Vec<Option<Verdict>> = vec![None; incoming.len()];
    let mut firsts: BTreeMap<ChangeHash, usize> = BTreeMap::new();
    let mut copies = Vec::new();
    let mut candidates = Vec::new();
    for (index, offered) in incoming.iter().enumerate() {
        match Form::check(offered.bytes, document) {
            Err((hash, rule)) => verdicts[index] = Some(Verdict::Refused { hash, rule }),
            Ok(Form::Known(hash)) => verdicts[index] = Some(Verdict::Known(hash)),
            Ok(Form::Sound(sound)) => {
                let first = *firsts.entry(sound.hash).or_insert(index);
                if first == index {
                    candidates.push(Candidate {
                        index,
                        author: offered.author,
                        received: offered.received,
                        sound,
                    });
                } else {
                    copies.push((index, first));
                }
            }
        }
    }
    if !candidates.is_empty() {
        let candidates = order::causal(candidates);
        let history = History::of(document, provenance);
        let offered = candidates.iter().map(|it| (it.sound.hash, it.provenance()));
        let offered: BTreeMap<_, _> = offered.collect();
        let provenance = |hash: &ChangeHash| match offered.get(hash) {
            Some(offered) => *offered,
            None => provenance(hash),
        };
        Trial::new(document, history, from, &provenance)
            .settle(&candidates.iter().collect::<Vec<_>>(), &mut verdicts);
    }
    for (index, first) in copies {
        verdicts[index] = match &verdicts[first] {
            Some(Verdict::Admitted(change)) => Some(Verdict::Known(change.hash)),
            other => other.clone(),
        };
    }
    verdicts
        .into_iter()
        .map(|verdict| verdict.expect("every incoming change was refused, known or a candidate"))
        .collect()
}
