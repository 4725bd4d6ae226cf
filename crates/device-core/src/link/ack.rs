//! What became of a push: durable, known, waiting for something, or refused.

use gridbeat_base::{Scope, WallTime};
use gridbeat_sync_protocol::{Grant, Reason, Verdict};

use super::push::PushedDocument;
use super::work::Work;
use super::{Link, OwnEntry, kept, rebase};
use crate::LinkError;
use crate::store::documents::{self, Loaded, Touched};
use crate::store::scopes::{self, Membership, Placement};
use crate::store::{refused, sql};

/// The relay's answer to one push.
pub(super) struct Answer {
    pub(super) scope: Scope,
    pub(super) received: WallTime,
    pub(super) first_seq: Option<u64>,
    pub(super) attached: Vec<bool>,
    pub(super) verdicts: Vec<Verdict>,
}

/// Takes the answer to a push in.
pub(super) fn apply(
    work: &mut Work<'_>,
    link: &mut Link,
    number: u64,
    answer: Answer,
) -> Result<(), LinkError> {
    let Some(push) = link.pushes.remove(&number) else {
        return Ok(());
    };
    // Acknowledgements come in any order: the chain goes on from the highest number.
    let chain = &mut work.book.batch;
    chain.acknowledged = push.batch.into_iter().chain(chain.acknowledged).max();
    work.book.lower_stable(answer.received);
    if kept::answered(work, link, number, answer.received, &answer.verdicts)? {
        return Ok(());
    }
    work.book.observe(answer.received, work.now);
    if let Some(id) = push.refused {
        refused::delete(work.tx, id)?;
        return Ok(());
    }
    let scope = work.book.scopes.get(&answer.scope).map(|row| row.id);
    let mut seq = answer.first_seq;
    let mut verdicts = answer.verdicts.into_iter();
    for (pushed, is_attached) in push.documents.iter().zip(answer.attached) {
        for (change, _) in &pushed.changes {
            link.in_flight.remove(change);
        }
        let verdicts: Vec<Verdict> = verdicts.by_ref().take(pushed.changes.len()).collect();
        if let Some(scope) = scope {
            note_entries(link, scope, &mut seq, pushed, is_attached, &verdicts);
        }
        let settled = Settled {
            scope: &answer.scope,
            scope_id: scope,
            received: answer.received,
            is_attached,
            verdicts,
        };
        settle(work, link, pushed, settled)?;
    }
    // PROTOCOL 4.4: the entries an acknowledgement names are dense.
    // Of a scope that is being left nothing comes.
    if let (Some(next), Some(at)) = (seq, link.scopes.get_mut(&answer.scope)) {
        at.head = at.head.max(next.saturating_sub(1));
    }
    Ok(())
}

/// What became of one document's part of a push.
struct Settled<'a> {
    scope: &'a Scope,
    scope_id: Option<i64>,
    received: WallTime,
    is_attached: bool,
    verdicts: Vec<Verdict>,
}

/// Remembers the feed entries that a document's part of a push made, for when the feed counts them.
fn note_entries(
    link: &mut Link,
    scope: i64,
    seq: &mut Option<u64>,
    pushed: &PushedDocument,
    is_attached: bool,
    verdicts: &[Verdict],
) {
    let Some(seq) = seq else {
        return;
    };
    let mut note = |change| {
        let entry = OwnEntry {
            document: pushed.document,
            change,
        };
        link.own.insert((scope, *seq), entry);
        *seq = seq.saturating_add(1);
    };
    if is_attached {
        note(None);
    }
    for ((_, hash), verdict) in pushed.changes.iter().zip(verdicts) {
        match verdict {
            Verdict::Accepted => note(Some(*hash)),
            Verdict::Known | Verdict::Incomplete | Verdict::Refused(_) => {}
        }
    }
}

fn settle(
    work: &mut Work<'_>,
    link: &mut Link,
    pushed: &PushedDocument,
    settled: Settled<'_>,
) -> Result<(), LinkError> {
    // It may be gone, if an earlier part of its history was refused.
    let Some(mut loaded) = documents::load(work.tx, work.kinds, pushed.document)? else {
        return Ok(());
    };
    let document = (loaded.id, loaded.uuid);
    work.counters.documents_rebuilt += u64::from(loaded.was_rebuilt);
    let mut touched = None;
    let mut refusals = Vec::new();
    let mut is_incomplete = false;
    let is_granted = work
        .book
        .scopes
        .get(settled.scope)
        .is_some_and(|row| row.grant != Grant::None);
    for ((_, hash), verdict) in pushed.changes.iter().zip(settled.verdicts) {
        // A change that was made anew meanwhile is not waited for any more.
        let Some(entry) = loaded.log.get(hash).copied() else {
            continue;
        };
        match verdict {
            Verdict::Accepted => {
                work.answer(entry.id)?;
                loaded.set_received(work.tx, hash, entry.author, settled.received)?;
                touched = Some(Touched::Provenance);
            }
            Verdict::Known => work.answer(entry.id)?,
            // The relay has it, in its quarantine; here it goes with everything else.
            Verdict::Refused(_) if link.surrenders => {
                work.settle(entry.id)?;
            }
            Verdict::Incomplete if is_granted => is_incomplete = true,
            // What it builds on cannot be brought to a scope that is left.
            Verdict::Incomplete => refusals.push((*hash, left_behind())),
            // What the feed has brought since is durable, whatever became of sending it again.
            Verdict::Refused(_) if entry.received.is_some() => {}
            Verdict::Refused(reason) => refusals.push((*hash, reason)),
        }
    }
    if settled.is_attached {
        stay(work, &loaded, settled.scope_id)?;
    }
    if !refusals.is_empty() {
        rebase::refuse(work, &mut loaded, settled.scope, &refusals)?;
        touched = Some(Touched::Content);
        // What is left of it was made anew, on a history the relay has.
        is_incomplete = false;
    }
    if is_incomplete {
        link.lagging.insert(loaded.id, settled.scope.clone());
    }
    work.changed.insert(loaded.uuid);
    if let Some(touched) = touched {
        if rebase::is_void(work, &loaded)? {
            return rebase::remove(work, &loaded);
        }
        loaded.store(work.tx, touched)?;
    }
    Ok(work.finish_leaving(link, document)?)
}

/// A document that was leaving the scope entered it again by this push.
fn stay(work: &mut Work<'_>, loaded: &Loaded, scope: Option<i64>) -> Result<(), LinkError> {
    // No feed brings it to a scope that is not granted any more: there it goes on leaving.
    let granted = |scope: &i64| {
        let row = work.book.scope(*scope);
        row.is_some_and(|(_, row)| row.grant != Grant::None)
    };
    let Some(scope) = scope.filter(granted) else {
        return Ok(());
    };
    let place = scopes::placement(work.tx, loaded.id, scope)?;
    if place.is_none_or(|place| place.membership == Membership::Leaving) {
        work.place(
            (loaded.id, loaded.uuid),
            &Placement {
                scope,
                membership: Membership::Proposed,
                heads: Vec::new(),
            },
        )?;
    }
    Ok(())
}

/// The words for a change that fell with an earlier one.
pub(super) fn fallen(reason: &Reason) -> Reason {
    Reason {
        code: "depends_on_refused".to_owned(),
        en: format!("it builds on what was refused: {}", reason.en),
        zh: format!("所依据的修改未被接受：{}", reason.zh),
    }
}

/// The words for a change that builds on what the relay has lost, in a scope that is left.
fn left_behind() -> Reason {
    Reason {
        code: "scope_left".to_owned(),
        en: "it builds on what the relay lost, and this device has left the area".to_owned(),
        zh: "所依据的内容在服务端已丢失，且本设备已离开该区域".to_owned(),
    }
}

/// What a file that lost a scope would show.
pub(super) const fn scope_gone() -> crate::StorageError {
    sql::impossible("scope.name")
}
