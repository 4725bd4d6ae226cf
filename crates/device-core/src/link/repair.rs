//! Two sides that differ find out where, and each gets what it lacks.
//!
//! First both reconcile by ranges which documents differ; then the relay compares those, change by change.
//! What the device lacks it takes in; what the relay lacks goes back to the outbox, whoever wrote it.
//! The feed goes on behind where the relay began to answer, so that some entries come twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridbeat_base::{Digest, DocumentId, Scope};
use gridbeat_sync_protocol::{
    CompareDocument, Compared, FeedChange, Grant, Held, Item, Reconciler,
    limits::{COMPARE_CHANGES_MAX, COMPARE_DOCUMENTS_MAX},
};

use super::feed::take_in;
use super::work::Work;
use super::{Link, REPAIRS_MAX, welcome};
use crate::LinkError;
use crate::store::documents::{self, LoadFault, Loaded, Touched};
use crate::store::log::{self, LogEntry};
use crate::store::outbox::{self, Waiting};
use crate::store::scopes::{self, Elsewhere, Membership, Placement};
use crate::store::sql;

/// One reconciliation of a scope.
#[derive(Debug)]
pub(super) struct Repair {
    reconciler: Reconciler,
    /// Documents of other scopes that may be in this one too, as far as they have not turned out to differ.
    elsewhere: BTreeMap<DocumentId, Elsewhere>,
    /// Documents that differ and are not asked about yet.
    differing: VecDeque<DocumentId>,
    /// Documents that differ, asked about or not.
    known: BTreeSet<DocumentId>,
    /// Whether the changes held were named when they were asked about.
    names_changes: bool,
    /// How many of the documents asked about are not answered.
    unanswered: usize,
    /// The relay's position and digest in its latest answer.
    latest: (u64, Digest),
    /// Whether everything could be taken in.
    is_whole: bool,
}

/// Compares digests at a cursor; if they differ the scope is to be reconciled.
pub(super) fn check(
    work: &mut Work<'_>,
    link: &mut Link,
    scope: &Scope,
    cursor: u64,
    digest: Digest,
    is_sound: bool,
) {
    let ours = work.book.scopes.get(scope).map(|row| row.digest);
    let at = link.scope(scope);
    if is_sound && cursor < at.settled {
        at.agrees = false;
        return;
    }
    at.agrees = is_sound && ours == Some(digest);
    if at.agrees {
        at.repairs = 0;
    } else {
        work.counters.digest_mismatches += 1;
        tracing::debug!(%scope, cursor, is_sound, "differs from the relay");
    }
}

/// Begins the reconciliations that are due: where digests differ, or the relay lacks something.
pub(super) fn begin_due(work: &mut Work<'_>, link: &mut Link) -> Result<(), LinkError> {
    let scopes: Vec<Scope> = link.scopes.keys().cloned().collect();
    for scope in scopes {
        let lags = link.lagging.values().any(|lagging| *lagging == scope);
        let cursor = work.book.scopes.get(&scope).map_or(0, |row| row.cursor);
        let at = link.scope(&scope);
        let differs = !at.agrees && cursor >= at.settled;
        let is_busy = at.repair.is_some() || at.snapshot.is_some();
        if is_busy || at.is_stuck || !(differs || lags) {
            continue;
        }
        if differs && at.repairs >= REPAIRS_MAX {
            // There is nothing more to try: a person must see to it.
            at.is_stuck = true;
            continue;
        }
        if !differs && at.lag_repairs >= REPAIRS_MAX {
            // Held until the next session.
            continue;
        }
        at.repairs += u32::from(differs);
        at.lag_repairs += u32::from(!differs);
        begin(work, link, &scope)?;
    }
    Ok(())
}

/// Where a feed is applied to its end and proven equal, lets wait again what the relay called durable
/// and yet is not in it: the relay lost it before this device saw it come back.
///
/// If the relay has it all the same, it learnt it over another connection and its feed is still under way, or keeps it
/// out of the scope: reconciling tells, as the relay makes its inventory after it has answered.
pub(super) fn reopen_lost(work: &mut Work<'_>, link: &mut Link) -> Result<(), LinkError> {
    let mut doubts = BTreeSet::new();
    let mut outside = Vec::new();
    for (scope, at) in &link.scopes {
        let Some(row) = work.book.scopes.get(scope) else {
            continue;
        };
        if !at.agrees || at.repair.is_some() || at.head != row.cursor {
            continue;
        }
        let id = row.id;
        for change in outbox::answered(work.tx, id)? {
            let document = sql::document_of(change);
            if link.reopened.insert(change) {
                tracing::debug!(%scope, "the relay lost what it had called durable");
                work.reopen(change)?;
            } else if link.doubted.insert(change) {
                doubts.insert(scope.clone());
            } else {
                work.settle(change)?;
                outside.push((id, document));
            }
        }
    }
    for scope in doubts {
        begin(work, link, &scope)?;
    }
    // The relay has those, and keeps them out of the scope.
    for (scope, document) in outside {
        let place = scopes::placement(work.tx, document, scope)?;
        if place.is_some_and(|place| place.membership == Membership::Proposed) {
            let uuid = documents::uuid(work.tx, document)?;
            work.detach(Some(link), uuid, scope)?;
        }
    }
    Ok(())
}

/// Tells whether the relay has said twice that it has a document, so that it need not be offered again.
fn is_doubted(work: &Work<'_>, link: &Link, uuid: DocumentId) -> Result<bool, LinkError> {
    let document = documents::find(work.tx, uuid)?;
    let mut doubted = link.doubted.iter().map(|change| sql::document_of(*change));
    Ok(document.is_some_and(|document| doubted.any(|it| it == document)))
}

fn begin(work: &mut Work<'_>, link: &mut Link, scope: &Scope) -> Result<(), LinkError> {
    let Some(row) = work.book.scopes.get(scope) else {
        return Ok(());
    };
    let id = row.id;
    // Another life of the relay may have lost what was proposed to this one and could not be brought yet.
    let inventory = scopes::inventory(work.tx, id, link.incarnation.is_some())?;
    // What it has by other scopes need not come again.
    let elsewhere = if link.scope(scope).adopts {
        scopes::elsewhere(work.tx, id)?
    } else {
        BTreeMap::new()
    };
    let held = elsewhere
        .iter()
        .map(|(document, it)| (*document, it.digest));
    let items = inventory
        .into_iter()
        .chain(held)
        .map(|(document, digest)| Item { document, digest });
    let (reconciler, message) = Reconciler::initiate(items);
    link.session.reconcile(scope, message)?;
    work.counters.reconciliations += 1;
    let at = link.scope(scope);
    at.agrees = false;
    at.repair = Some(Repair {
        reconciler,
        elsewhere,
        differing: VecDeque::new(),
        known: BTreeSet::new(),
        names_changes: true,
        unanswered: 0,
        latest: (0, Digest::EMPTY),
        is_whole: true,
    });
    Ok(())
}

/// Takes in the relay's answer to a message of range reconciliation.
pub(super) fn step(
    work: &mut Work<'_>,
    link: &mut Link,
    scope: &Scope,
    message: &[u8],
) -> Result<(), LinkError> {
    let at = link.scopes.entry(scope.clone()).or_default();
    let Some(repair) = &mut at.repair else {
        return Ok(());
    };
    let step = repair.reconciler.step(message)?;
    let lacking = step.need.iter().map(|item| item.document);
    // A document of another scope that only we name is not in this one, as far as this answer says.
    let held = step.have.iter().map(|item| item.document);
    let held = held.filter(|document| repair.elsewhere.remove(document).is_none());
    let differing: BTreeSet<DocumentId> = held.collect();
    for document in differing.into_iter().chain(lacking) {
        if repair.known.insert(document) {
            repair.differing.push_back(document);
        }
    }
    if let Some(reply) = step.reply {
        return Ok(link.session.reconcile(scope, reply)?);
    }
    let equal = std::mem::take(&mut repair.elsewhere);
    adopt(work, scope, equal)?;
    ask(work, link, scope)
}

/// Puts documents into a scope that has just come, which the device had by another in the same state.
fn adopt(
    work: &mut Work<'_>,
    scope: &Scope,
    equal: BTreeMap<DocumentId, Elsewhere>,
) -> Result<(), LinkError> {
    let Some(id) = work.book.scopes.get(scope).map(|row| row.id) else {
        return Ok(());
    };
    for (uuid, Elsewhere { id: row, heads, .. }) in equal {
        if documents::find(work.tx, uuid)? != Some(row) {
            // It left the other scope meanwhile; the digests will tell.
            continue;
        }
        let place = Placement {
            scope: id,
            membership: Membership::Attached,
            heads,
        };
        work.place((row, uuid), &place)?;
        work.changed.insert(uuid);
    }
    Ok(())
}

/// Asks the relay to compare the next documents; the last time also if there are none.
fn ask(work: &Work<'_>, link: &mut Link, scope: &Scope) -> Result<(), LinkError> {
    let Link {
        session,
        scopes,
        incarnation,
        ..
    } = link;
    // Under another incarnation the same changes may have other times of receipt. Then nothing is
    // named, so that all comes, with its times.
    let names_changes = incarnation.is_none();
    let Some(repair) = scopes.get_mut(scope).and_then(|at| at.repair.as_mut()) else {
        return Ok(());
    };
    let mut asked = Vec::new();
    let mut named = 0;
    while asked.len() < COMPARE_DOCUMENTS_MAX
        && let Some(document) = repair.differing.front().copied()
    {
        let changes: Vec<_> = match documents::find(work.tx, document)? {
            Some(id) if names_changes => log::entries(work.tx, id)?
                .into_iter()
                .filter(|entry| entry.received.is_some())
                .map(|entry| entry.hash)
                .collect(),
            Some(_) | None => Vec::new(),
        };
        if !asked.is_empty() && named + changes.len() > COMPARE_CHANGES_MAX {
            break;
        }
        named += changes.len();
        repair.differing.pop_front();
        asked.push(CompareDocument { document, changes });
    }
    repair.unanswered = asked.len();
    repair.names_changes = names_changes;
    let is_last = repair.differing.is_empty();
    Ok(session.compare(scope, asked, is_last)?)
}

/// Takes in what the relay has of documents that differ.
pub(super) fn compared(
    work: &mut Work<'_>,
    link: &mut Link,
    compared: Compared,
) -> Result<(), LinkError> {
    let scope = compared.scope;
    let Some(row) = work.book.scopes.get(&scope) else {
        return Ok(());
    };
    let (id, grant) = (row.id, row.grant);
    let at = link.scope(&scope);
    let names_changes = at.repair.as_ref().is_none_or(|repair| repair.names_changes);
    let mut is_whole = true;
    let answered = compared.documents.len();
    for document in compared.documents {
        is_whole &= match document.held {
            Some(held) => merge(
                work,
                link,
                (id, grant),
                document.document,
                &held,
                names_changes,
            )?,
            None if is_doubted(work, link, document.document)? => true,
            None => offer(work, link, (id, grant), document.document)?,
        };
    }
    let at = link.scope(&scope);
    at.head = at.head.max(compared.seq);
    let Some(repair) = &mut at.repair else {
        return Ok(());
    };
    repair.is_whole &= is_whole;
    if compared.seq >= repair.latest.0 {
        repair.latest = (compared.seq, compared.digest);
    }
    repair.unanswered = repair.unanswered.saturating_sub(answered);
    if repair.unanswered == 0 && !repair.differing.is_empty() {
        ask(work, link, &scope)?;
    }
    Ok(())
}

/// The scope is reconciled: its feed goes on behind `cursor`.
pub(super) fn aligned(
    work: &mut Work<'_>,
    link: &mut Link,
    scope: &Scope,
    cursor: u64,
) -> Result<(), LinkError> {
    let Some(row) = work.book.scopes.get_mut(scope) else {
        return Ok(());
    };
    row.cursor = cursor;
    let id = row.id;
    link.own.retain(|(at, seq), _| *at != id || *seq > cursor);
    link.lagging.retain(|_, lagging| lagging != scope);
    let at = link.scope(scope);
    let Some(repair) = at.repair.take() else {
        return Ok(());
    };
    let (seq, digest) = repair.latest;
    at.settled = seq;
    at.adopts = false;
    // An unknown kind stays unread however often it is asked for.
    at.is_stuck = !repair.is_whole;
    check(work, link, scope, cursor, digest, true);
    welcome::adopt_incarnation(work, link);
    Ok(())
}

/// Brings a document that both sides have to what both have; says whether it could.
fn merge(
    work: &mut Work<'_>,
    link: &mut Link,
    (scope, grant): (i64, Grant),
    uuid: DocumentId,
    held: &Held,
    names_changes: bool,
) -> Result<bool, LinkError> {
    let loaded = match documents::load(work.tx, work.kinds, uuid) {
        Ok(Some(loaded)) => Some(loaded),
        Ok(None) => match work.kinds.begin(&held.kind, held.schema_version) {
            Some(blank) => Some(Loaded::create(work.tx, blank, uuid)?),
            None => None,
        },
        Err(LoadFault::UnknownKind(_)) => None,
        Err(LoadFault::Storage(source)) => return Err(source.into()),
    };
    let Some(mut loaded) = loaded else {
        work.counters.changes_barred += 1;
        return Ok(false);
    };
    let incoming: Vec<&FeedChange> = held.changes.iter().collect();
    let taken = take_in(work, &mut loaded, scope, &incoming)?;
    let is_lost = |entry: &&LogEntry| {
        if names_changes {
            held.lacks.contains(&entry.hash)
        } else {
            entry.received.is_some() && !taken.has(&entry.hash)
        }
    };
    let lost: Vec<LogEntry> = loaded.log.values().filter(is_lost).copied().collect();
    if grant == Grant::Write {
        offer_again(work, &mut loaded, scope, &lost)?;
    } else {
        link.owes |= !lost.is_empty();
    }
    loaded.store(work.tx, Touched::Content)?;
    work.changed.insert(uuid);
    let is_whole = held.heads.iter().all(|head| loaded.document.contains(head));
    if is_whole {
        // What was named and is not lacked is there: the feed need not show it any more.
        for entry in loaded.log.values() {
            if entry.received.is_some() {
                work.settle_from(scope, loaded.id, entry.id)?;
            }
        }
        let mut heads = held.heads.clone();
        heads.sort_unstable();
        let place = Placement {
            scope,
            membership: Membership::Attached,
            heads,
        };
        work.place((loaded.id, uuid), &place)?;
    }
    Ok(is_whole && taken.is_whole)
}

/// Offers a document that the relay does not have in the scope; says whether that could be done.
fn offer(
    work: &mut Work<'_>,
    link: &mut Link,
    (scope, grant): (i64, Grant),
    uuid: DocumentId,
) -> Result<bool, LinkError> {
    let mut loaded = match documents::load(work.tx, work.kinds, uuid) {
        Ok(Some(loaded)) => loaded,
        // Neither side has it: it left both meanwhile.
        Ok(None) => return Ok(true),
        Err(LoadFault::UnknownKind(_)) => return Ok(false),
        Err(LoadFault::Storage(source)) => return Err(source.into()),
    };
    let place = Placement {
        scope,
        membership: Membership::Proposed,
        heads: Vec::new(),
    };
    work.place((loaded.id, uuid), &place)?;
    let mut lost: Vec<LogEntry> = loaded.log.values().copied().collect();
    lost.retain(|entry| entry.received.is_some());
    // The relay takes it back into the scope only from a device that comes from another life of it.
    link.owes |= !lost.is_empty();
    if grant == Grant::Write {
        // By another scope it may have come with the times of this life, and not come again.
        let places = scopes::placements(work.tx, loaded.id)?;
        let is_elsewhere = places
            .iter()
            .any(|place| place.scope != scope && place.membership == Membership::Attached);
        if is_elsewhere {
            wait_again(work, &loaded, scope, &lost)?;
        } else {
            offer_again(work, &mut loaded, scope, &lost)?;
            loaded.store(work.tx, Touched::Provenance)?;
        }
    }
    work.changed.insert(uuid);
    Ok(true)
}

/// Offers all of a document that is to go with a scope again, for the relay may have lost it. One that is in
/// another scope too is reconciled there.
pub(super) fn offer_whole(
    work: &mut Work<'_>,
    scope: i64,
    uuid: DocumentId,
) -> Result<(), LinkError> {
    let mut loaded = match documents::load(work.tx, work.kinds, uuid) {
        Ok(Some(loaded)) => loaded,
        Ok(None) | Err(LoadFault::UnknownKind(_)) => return Ok(()),
        Err(LoadFault::Storage(source)) => return Err(source.into()),
    };
    if scopes::placements(work.tx, loaded.id)?.len() > 1 {
        return Ok(());
    }
    let mut lost: Vec<LogEntry> = loaded.log.values().copied().collect();
    lost.retain(|entry| entry.received.is_some());
    offer_again(work, &mut loaded, scope, &lost)?;
    Ok(loaded.store(work.tx, Touched::Provenance)?)
}

/// Puts accepted changes that the relay lost back into the outbox, whoever wrote them.
fn offer_again(
    work: &mut Work<'_>,
    loaded: &mut Loaded,
    scope: i64,
    lost: &[LogEntry],
) -> Result<(), LinkError> {
    for entry in lost {
        loaded.clear_received(work.tx, &entry.hash)?;
    }
    wait_again(work, loaded, scope, lost)
}

fn wait_again(
    work: &mut Work<'_>,
    loaded: &Loaded,
    scope: i64,
    lost: &[LogEntry],
) -> Result<(), LinkError> {
    for entry in lost {
        let size = log::find(work.tx, entry.id)?.map_or(0, |(_, bytes)| bytes.len() as u64);
        work.wait(&Waiting {
            change: entry.id,
            scope,
            lane: loaded.kind.lane(),
            hlc: work.book.clock.last(),
            size,
        })?;
        work.counters.changes_recovered += 1;
    }
    Ok(())
}
