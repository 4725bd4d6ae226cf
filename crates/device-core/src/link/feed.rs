//! A frame of a scope's feed: what others did, in the relay's order, and what we did, as a count.
//!
//! A frame is taken document by document, since documents do not touch each other and the digest is
//! compared only after the last entry: each is loaded and stored once. What cannot be taken in is
//! counted and leaves the digest unequal, and so leads to a reconciliation; nothing is passed over.

use std::collections::BTreeMap;

use gridbeat_base::{ChangeHash, DocumentId};
use gridbeat_document::{Author, Change, Incoming, Provenance, Side, Verdict, gate};
use gridbeat_sync_protocol::{Entry, Feed, FeedChange, SnapshotDocument};

use super::judged::Judged;
use super::work::{Work, parse};
use super::{Link, OwnEntry, repair};
use crate::LinkError;
use crate::store::documents::{self, LoadFault, Loaded, Touched};
use crate::store::log;
use crate::store::scopes::{self, Membership, Placement};

/// What one entry does to its document.
enum Step<'f> {
    Attach {
        kind: &'f str,
        schema_version: u16,
        changes: &'f [FeedChange],
    },
    /// It enters the scope by a push of ours.
    AttachOwn,
    Change(&'f FeedChange),
    /// A change of ours, by its name.
    ChangeOwn(ChangeHash),
    Detach,
}

/// Takes a frame in.
pub(super) fn apply(work: &mut Work<'_>, link: &mut Link, feed: &Feed) -> Result<(), LinkError> {
    let Some(row) = work.book.scopes.get(&feed.scope) else {
        return Err(LinkError::OutOfPlace);
    };
    let (scope, last) = (row.id, feed.last_seq().unwrap_or(row.cursor));
    let mut is_sound = true;
    let mut documents: BTreeMap<DocumentId, Vec<Step<'_>>> = BTreeMap::new();
    let mut seq = feed.first_seq;
    for entry in &feed.entries {
        let (document, step) = match entry {
            Entry::Attach {
                document,
                kind,
                schema_version,
                changes,
            } => {
                let step = Step::Attach {
                    kind,
                    schema_version: *schema_version,
                    changes,
                };
                (*document, step)
            }
            Entry::Detach { document } => (*document, Step::Detach),
            Entry::Change { document, change } => (*document, Step::Change(change)),
            Entry::Own { count } => {
                is_sound &= own_steps(link, scope, seq, *count, &mut documents);
                seq = seq.saturating_add(*count);
                continue;
            }
        };
        documents.entry(document).or_default().push(step);
        seq = seq.saturating_add(1);
    }
    // What the feed has passed without counting, a reconciliation has brought.
    link.own.retain(|(at, seq), _| *at != scope || *seq > last);
    for (document, steps) in &documents {
        is_sound &= apply_document(work, link, scope, *document, steps)?;
    }
    if let Some(row) = work.book.scopes.get_mut(&feed.scope) {
        row.cursor = last;
    }
    let at = link.scope(&feed.scope);
    at.head = at.head.max(feed.head);
    repair::check(work, link, &feed.scope, last, feed.digest, is_sound);
    Ok(())
}

/// Takes in a document of a scope whole, which is `judged` already if it is new here; says whether all of it could be
/// taken in.
pub(super) fn take_whole(
    work: &mut Work<'_>,
    link: &Link,
    scope: i64,
    whole: &SnapshotDocument,
    judged: Option<Judged>,
) -> Result<bool, LinkError> {
    let steps = [Step::Attach {
        kind: &whole.kind,
        schema_version: whole.schema_version,
        changes: &whole.changes,
    }];
    let Some(Judged { document, verdicts }) = judged else {
        return apply_document(work, link, scope, whole.document, &steps);
    };
    let mut loaded = Loaded::create(work.tx, document, whole.document)?;
    let incoming: Vec<&FeedChange> = whole.changes.iter().collect();
    let taken = enter(work, &mut loaded, scope, &incoming, verdicts)?;
    let is_placed = move_heads(work, &loaded, scope, &steps, &taken)?;
    loaded.store(work.tx, Touched::Content)?;
    work.changed.insert(whole.document);
    Ok(is_placed && taken.is_whole)
}

/// Finds what a run of own entries stands for; says whether all of them are known.
fn own_steps(
    link: &Link,
    scope: i64,
    first: u64,
    count: u64,
    documents: &mut BTreeMap<DocumentId, Vec<Step<'_>>>,
) -> bool {
    let end = first.saturating_add(count);
    let mut found = 0;
    for (_, OwnEntry { document, change }) in link.own.range((scope, first)..(scope, end)) {
        found += 1;
        let step = change.map_or(Step::AttachOwn, Step::ChangeOwn);
        documents.entry(*document).or_default().push(step);
    }
    found == count
}

/// Does a frame's entries of one document; says whether all could be done.
fn apply_document(
    work: &mut Work<'_>,
    link: &Link,
    scope: i64,
    uuid: DocumentId,
    steps: &[Step<'_>],
) -> Result<bool, LinkError> {
    let mut is_sound = true;
    for run in steps.split_inclusive(|step| matches!(step, Step::Detach)) {
        match run.split_last() {
            Some((Step::Detach, before)) => {
                if !before.is_empty() {
                    is_sound &= apply_run(work, scope, uuid, before)?;
                }
                work.detach(Some(link), uuid, scope)?;
            }
            Some(_) | None => is_sound &= apply_run(work, scope, uuid, run)?,
        }
    }
    Ok(is_sound)
}

fn apply_run(
    work: &mut Work<'_>,
    scope: i64,
    uuid: DocumentId,
    steps: &[Step<'_>],
) -> Result<bool, LinkError> {
    let (loaded, made) = match documents::load(work.tx, work.kinds, uuid) {
        Ok(Some(loaded)) => (Some(loaded), None),
        Ok(None) => (create(work, uuid, steps)?, Some(Touched::Content)),
        Err(LoadFault::UnknownKind(_)) => (None, None),
        Err(LoadFault::Storage(source)) => return Err(source.into()),
    };
    let Some(mut loaded) = loaded else {
        work.counters.changes_barred += 1;
        return Ok(false);
    };
    work.counters.documents_rebuilt += u64::from(loaded.was_rebuilt);
    let incoming: Vec<&FeedChange> = steps
        .iter()
        .flat_map(|step| match step {
            Step::Attach { changes, .. } => changes.iter(),
            Step::Change(change) => core::slice::from_ref(*change).iter(),
            Step::AttachOwn | Step::ChangeOwn(_) | Step::Detach => [].iter(),
        })
        .collect();
    let taken = take_in(work, &mut loaded, scope, &incoming)?;
    let is_placed = move_heads(work, &loaded, scope, steps, &taken)?;
    if let Some(touched) = made.or(taken.touched) {
        loaded.store(work.tx, touched)?;
    }
    work.changed.insert(uuid);
    Ok(is_placed && taken.is_whole)
}

/// Makes a document that enters here for the first time, which the caller stores; `None` if this program cannot read it.
fn create(
    work: &Work<'_>,
    uuid: DocumentId,
    steps: &[Step<'_>],
) -> Result<Option<Loaded>, LinkError> {
    let Some(Step::Attach {
        kind,
        schema_version,
        ..
    }) = steps.first()
    else {
        return Ok(None);
    };
    let Some(blank) = work.kinds.begin(kind, *schema_version) else {
        return Ok(None);
    };
    Ok(Some(Loaded::create(work.tx, blank, uuid)?))
}

/// What became of changes from the relay.
pub(super) struct Taken {
    /// Each change that is part of the document now, and whether it was before.
    changes: BTreeMap<ChangeHash, (Change, bool)>,
    pub(super) touched: Option<Touched>,
    /// Whether all of them are.
    pub(super) is_whole: bool,
}

/// Lets changes that the relay has in a scope into a document and its log, through the gate. The caller stores it.
pub(super) fn take_in(
    work: &mut Work<'_>,
    loaded: &mut Loaded,
    scope: i64,
    incoming: &[&FeedChange],
) -> Result<Taken, LinkError> {
    let offered: Vec<Incoming<'_>> = incoming.iter().copied().map(offered).collect();
    let Loaded { document, log, .. } = loaded;
    let provenance = |hash: &ChangeHash| -> Provenance { documents::provenance(log, hash) };
    let verdicts = gate::admit(document, &offered, Side::Relay, &provenance);
    enter(work, loaded, scope, incoming, verdicts)
}

/// Hands a change of the relay to the gate.
pub(super) fn offered(change: &FeedChange) -> Incoming<'_> {
    Incoming {
        bytes: &change.bytes,
        author: Author::decided(change.author),
        received: Some(change.received),
    }
}

/// Logs what the gate has let into a document of the changes that came in a scope.
fn enter(
    work: &mut Work<'_>,
    loaded: &mut Loaded,
    scope: i64,
    incoming: &[&FeedChange],
    verdicts: Vec<Verdict>,
) -> Result<Taken, LinkError> {
    let mut taken = Taken {
        changes: BTreeMap::new(),
        touched: None,
        is_whole: true,
    };
    let mut is_news = false;
    for (offered, verdict) in incoming.iter().zip(verdicts) {
        let (author, received) = (offered.author, offered.received);
        match verdict {
            Verdict::Admitted(change) => {
                loaded.append(work.tx, &change, author, Some(received), None)?;
                taken.changes.insert(change.hash, (change, false));
                taken.touched = Some(Touched::Content);
            }
            Verdict::Known(hash) => {
                if let Some(entry) = loaded.log.get(&hash).copied() {
                    // It came back from the relay: whatever became of the push, it is durable there.
                    let waited = work.settle_from(scope, loaded.id, entry.id)?;
                    let news = loaded.set_received(work.tx, &hash, author, received)?;
                    is_news |= news;
                    if waited || news {
                        taken.touched = taken.touched.or(Some(Touched::Provenance));
                    }
                    taken.changes.insert(hash, (parse(&offered.bytes)?, true));
                }
            }
            Verdict::Incomplete { .. } => {
                work.counters.changes_incomplete += 1;
                taken.is_whole = false;
            }
            Verdict::Refused { hash, rule } => {
                tracing::debug!(
                    document = %loaded.uuid, ?hash, rule = rule.code(),
                    "the gate did not let a change of the relay in"
                );
                work.counters.changes_barred += 1;
                taken.is_whole = false;
            }
        }
        work.book.observe(received, work.now);
    }
    // The gate knew each change as it is logged, but for one that was there already.
    let read = loaded.document.take_admitted();
    loaded.read = read.filter(|_| !is_news);
    Ok(taken)
}

/// Moves the heads accepted in a scope on; says whether every step had its place.
fn move_heads(
    work: &mut Work<'_>,
    loaded: &Loaded,
    scope: i64,
    steps: &[Step<'_>],
    taken: &Taken,
) -> Result<bool, LinkError> {
    let place = scopes::placement(work.tx, loaded.id, scope)?;
    let mut heads = place.map_or_else(Vec::new, |place| place.heads);
    let mut is_sound = true;
    for step in steps {
        match step {
            Step::Attach { .. } | Step::AttachOwn => {
                if heads.is_empty() {
                    heads.push(loaded.document.genesis_hash());
                }
                if let Step::Attach { changes, .. } = step {
                    let named = changes.iter().map(|change| taken.find(&change.bytes));
                    for change in named {
                        is_sound &= advance(work, loaded, &mut heads, change)?;
                    }
                }
            }
            Step::Change(change) => {
                let change = taken.find(&change.bytes);
                is_sound &= advance(work, loaded, &mut heads, change)?;
            }
            Step::ChangeOwn(hash) => {
                let found = match loaded.log.get(hash) {
                    Some(entry) => log::find(work.tx, entry.id)?,
                    None => None,
                };
                let change = match &found {
                    Some((_, bytes)) => Some((parse(bytes)?, true)),
                    None => None,
                };
                is_sound &= advance(work, loaded, &mut heads, change.as_ref())?;
                if let Some((entry, _)) = &found {
                    work.settle(entry.id)?;
                }
            }
            Step::Detach => {}
        }
    }
    let membership = if heads.is_empty() {
        // Nothing put it there: what came is of a document that is not in the scope.
        return Ok(false);
    } else {
        Membership::Attached
    };
    let after = Placement {
        scope,
        membership,
        heads,
    };
    work.place((loaded.id, loaded.uuid), &after)?;
    Ok(is_sound)
}

impl Taken {
    /// Tells whether a change was among those that came.
    pub(super) fn has(&self, hash: &ChangeHash) -> bool {
        self.changes.contains_key(hash)
    }

    /// Finds a change by its bytes.
    fn find(&self, bytes: &[u8]) -> Option<&(Change, bool)> {
        self.changes
            .values()
            .find(|(change, _)| change.bytes == bytes)
    }
}

/// Moves heads on by a change; says whether it could.
fn advance(
    work: &Work<'_>,
    loaded: &Loaded,
    heads: &mut Vec<ChangeHash>,
    change: Option<&(Change, bool)>,
) -> Result<bool, LinkError> {
    let Some((change, was_known)) = change else {
        return Ok(false);
    };
    if heads.is_empty() {
        return Ok(false);
    }
    // A change that came for the first time is nobody's ancestor.
    if !(*was_known && work.is_included(loaded, heads, change)?) {
        gridbeat_document::advance_heads(heads, change);
    }
    Ok(true)
}
