//! What is sent next: the most urgent lane first, in a lane the newest first, a document in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Install, Lane, Scope, WallTime};
use gridbeat_sync_protocol::{
    BatchMark, BatchStamp, BatchStatement, PushChange, PushDocument, Seal, SessionError, Signer,
    limits::{PUSH_CHANGES_MAX, PUSH_DOCUMENTS_MAX, PUSH_TARGET_BYTES, PUSH_WEIGHT_MAX},
};
use rusqlite::Connection;

use super::Link;
use crate::book::Book;
use crate::store::outbox::{self, Waiting};
use crate::store::{log, sql};
use crate::{LinkError, StorageError};

/// A push without an acknowledgement.
#[derive(Clone, Debug, Default)]
pub(super) struct PushOut {
    pub(super) documents: Vec<PushedDocument>,
    /// Its number and name as a batch, if it is signed.
    pub(super) batch: Option<(u64, BatchMark)>,
    /// What was refused before and is handed over in it, in place of documents.
    pub(super) refused: Option<i64>,
}

/// A document's part of a push.
#[derive(Clone, Debug)]
pub(super) struct PushedDocument {
    pub(super) document: DocumentId,
    /// The changes in the push's order: the log's id and the name of each.
    pub(super) changes: Vec<(i64, ChangeHash)>,
}

/// What waits and is not under way, in the order in which it goes.
struct Plan {
    /// Documents by lane and newest change.
    order: VecDeque<(Lane, i64)>,
    /// Each document's changes in causal order.
    changes: BTreeMap<i64, VecDeque<Waiting>>,
}

/// Who pushes, and when.
pub(super) struct Pusher<'a> {
    pub(super) device: DeviceId,
    pub(super) install: Install,
    pub(super) signer: Option<&'a Signer>,
    pub(super) wall: WallTime,
}

impl Pusher<'_> {
    /// Signs a push as the next batch, if the device has a key.
    pub(super) fn seal(
        &self,
        book: &mut Book,
        scope: &Scope,
        documents: &[PushDocument],
    ) -> Option<(Seal, BatchMark)> {
        let signer = self.signer?;
        let chain = &mut book.batch;
        chain.number = chain.number.saturating_add(1);
        let stamp = BatchStamp {
            number: chain.number,
            clock: book.clock.last(),
            wall: self.wall,
            previous: chain.acknowledged.map(|(_, mark)| mark),
        };
        let (device, install) = (self.device, self.install);
        let batch = BatchStatement::of_push(device, install, stamp, scope, documents);
        let (seal, hash) = batch.seal(signer);
        Some((seal, hash.mark()))
    }
}

/// Fills the session's window with pushes.
pub(super) fn fill(
    db: &Connection,
    book: &mut Book,
    pusher: &Pusher<'_>,
    link: &mut Link,
) -> Result<(), LinkError> {
    if book.waiting.changes == 0 || !link.session.can_push(Lane::Urgent) {
        return Ok(());
    }
    let mut plan = Plan::make(db, link)?;
    while let Some(&(lane, document)) = plan.order.front() {
        if !link.session.can_push(lane) {
            return Ok(());
        }
        let scope = plan.changes.get(&document).and_then(|rows| rows.front());
        let scope = scope.map(|row| row.scope);
        let Some((id, name)) = scope.and_then(|id| Some((id, book.scope(id)?.0.clone()))) else {
            // Nothing left of it, or its scope is gone.
            plan.order.pop_front();
            continue;
        };
        let (mut out, documents) = plan.gather(db, pusher.device, lane, id)?;
        let sealed = pusher.seal(book, &name, &documents);
        out.batch = sealed.map(|(seal, mark)| (seal.stamp.number, mark));
        let seal = sealed.map(|(seal, _)| seal);
        match link.session.push_sealed(lane, &name, documents, seal) {
            Ok(number) => {
                let sent = out.documents.iter().flat_map(|sent| &sent.changes);
                link.in_flight.extend(sent.map(|(change, _)| *change));
                link.pushes.insert(number, out);
            }
            Err(SessionError::Full | SessionError::NotOpen) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Plan {
    fn make(db: &Connection, link: &Link) -> Result<Self, StorageError> {
        let mut order = VecDeque::new();
        let mut changes: BTreeMap<i64, VecDeque<Waiting>> = BTreeMap::new();
        let mut held_back = BTreeSet::new();
        for row in outbox::load(db)? {
            let document = sql::document_of(row.change);
            if link.lagging.contains_key(&document) {
                held_back.insert(document);
            } else if !link.in_flight.contains(&row.change) {
                let rows = changes.entry(document).or_insert_with(|| {
                    order.push_back((row.lane, document));
                    VecDeque::new()
                });
                rows.push_back(row);
            }
        }
        for rows in changes.values_mut() {
            rows.make_contiguous()
                .sort_unstable_by_key(|row| row.change);
        }
        if !held_back.is_empty() {
            tracing::debug!(documents = held_back.len(), "held until reconciled");
        }
        Ok(Self { order, changes })
    }

    /// Takes out of the plan what goes into the next push of a scope.
    fn gather(
        &mut self,
        db: &Connection,
        device: DeviceId,
        lane: Lane,
        scope: i64,
    ) -> Result<(PushOut, Vec<PushDocument>), StorageError> {
        let mut out = PushOut::default();
        let mut documents = Vec::new();
        let (mut weight, mut count) = (0, 0);
        let mut later = VecDeque::new();
        let mut is_full = false;
        for (at, document) in core::mem::take(&mut self.order) {
            let rows = self.changes.entry(document).or_default();
            let is_here = rows.front().is_some_and(|row| row.scope == scope);
            is_full |= documents.len() == PUSH_DOCUMENTS_MAX;
            if is_full || at != lane || !is_here {
                later.push_back((at, document));
                continue;
            }
            let (mut pushed, mut push) = head_of(db, document)?;
            let mut own_weight = push.weight();
            while let Some(row) = rows.front().filter(|row| row.scope == scope) {
                let (entry, bytes) =
                    log::find(db, row.change)?.ok_or_else(|| sql::impossible("outbox.change"))?;
                let change = PushChange {
                    bytes,
                    recovered_from: (entry.author != device).then_some(entry.author),
                };
                let is_fitting = weight + own_weight + change.weight() <= PUSH_WEIGHT_MAX
                    && count < PUSH_CHANGES_MAX;
                if !is_fitting {
                    is_full = true;
                    break;
                }
                own_weight += change.weight();
                count += 1;
                pushed.changes.push((row.change, entry.hash));
                push.changes.push(change);
                rows.pop_front();
                if weight + own_weight >= PUSH_TARGET_BYTES {
                    is_full = true;
                    break;
                }
            }
            if !rows.is_empty() {
                later.push_back((at, document));
            }
            if !push.changes.is_empty() {
                weight += own_weight;
                out.documents.push(pushed);
                documents.push(push);
            }
        }
        self.order = later;
        Ok((out, documents))
    }
}

/// Begins a document's part of a push.
fn head_of(db: &Connection, document: i64) -> Result<(PushedDocument, PushDocument), StorageError> {
    let (uuid, kind, schema_version) = sql::first(
        db,
        "SELECT uuid, kind, schema FROM document WHERE id = ?1",
        [document],
        |row| Ok((sql::document_id(row, 0)?, row.get(1)?, row.get(2)?)),
    )?
    .ok_or_else(|| sql::impossible("outbox.change"))?;
    let pushed = PushedDocument {
        document: uuid,
        changes: Vec::new(),
    };
    let push = PushDocument {
        document: uuid,
        kind,
        schema_version,
        changes: Vec::new(),
    };
    Ok((pushed, push))
}
