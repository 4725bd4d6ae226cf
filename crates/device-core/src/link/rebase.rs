//! A refusal: the change leaves the document, its intent stays; later intents are done again.
//!
//! The document is made anew from its log without the refused changes and all that depend on them. What
//! of those a person at this device wanted is carried out again, in order and with its first stamp,
//! under a fresh actor: the old actor's numbers were used. Only what no relay has accepted is written
//! anew. Nothing is dropped: what cannot be done again stays among the refused.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, Scope};
use gridbeat_document::{Actor, EditError, IntentError};
use gridbeat_sync_protocol::Reason;

use super::ack::{fallen, scope_gone};
use super::work::{Work, parse};
use crate::device::enact;
use crate::store::documents::Loaded;
use crate::store::log::{self, Intent, LogEntry};
use crate::store::outbox;
use crate::store::refused::{self, RefusedRow};
use crate::store::scopes::{self, Membership};
use crate::{LinkError, SaveError};

/// A change on its way out of the document.
struct Falling {
    entry: LogEntry,
    bytes: Vec<u8>,
    intent: Option<Intent>,
    /// The scope it waits to be sent by, if it waits.
    scope: Option<i64>,
}

/// Takes refused changes out of a document and does the intents behind them again. The caller stores
/// the document.
pub(super) fn refuse(
    work: &mut Work<'_>,
    loaded: &mut Loaded,
    scope: &Scope,
    refusals: &[(ChangeHash, Reason)],
) -> Result<(), LinkError> {
    let reasons: BTreeMap<ChangeHash, &Reason> = refusals
        .iter()
        .map(|(hash, reason)| (*hash, reason))
        .collect();
    let Some((_, first)) = refusals.first() else {
        return Ok(());
    };
    let falling = falling(work, loaded, &reasons)?;
    for change in &falling {
        work.settle(change.entry.id)?;
    }
    let hashes: Vec<ChangeHash> = falling.iter().map(|change| change.entry.hash).collect();
    loaded.remove(work.tx, &hashes)?;
    let mut actor = None;
    for change in falling {
        if let Some(reason) = reasons.get(&change.entry.hash) {
            work.counters.changes_refused += 1;
            keep(work, loaded, scope, &change, reason)?;
            continue;
        }
        let Some(intent) = &change.intent else {
            keep(work, loaded, scope, &change, &fallen(first))?;
            continue;
        };
        let row = work.book.scopes.get(scope).map(|row| row.id);
        let by = change.scope.or(row).ok_or_else(scope_gone)?;
        let random = &mut *work.random;
        let actor = *actor.get_or_insert_with(|| Actor::mint(random));
        work.rebased = true;
        match enact(work.tx, loaded, actor, intent, by) {
            Ok((_, waiting)) => work.book.waiting.add(waiting.size),
            // It already is as the person wanted.
            Err(SaveError::Edit(EditError::NothingToDo)) => {}
            Err(SaveError::DiskFull) => return Err(crate::StorageError::Full.into()),
            Err(SaveError::Storage(source)) => return Err(source.into()),
            Err(SaveError::Intent(IntentError::NotAllowed { rule, words })) => {
                let reason = Reason {
                    code: rule.to_owned(),
                    en: words.en.to_owned(),
                    zh: words.zh.to_owned(),
                };
                keep(work, loaded, scope, &change, &reason)?;
            }
            Err(
                SaveError::Intent(_)
                | SaveError::Edit(_)
                | SaveError::UnknownKind { .. }
                | SaveError::UnknownDocument { .. }
                | SaveError::DocumentExists { .. }
                | SaveError::UnknownScope { .. }
                | SaveError::NotRefused { .. }
                | SaveError::BlobSize { .. }
                | SaveError::BlobUnreadable(_)
                | SaveError::NotGranted(_),
            ) => keep(work, loaded, scope, &change, &fallen(first))?,
        }
    }
    Ok(())
}

/// Returns whether nothing is left of a document that the relay never took: it is only here.
pub(super) fn is_void(work: &Work<'_>, loaded: &Loaded) -> Result<bool, LinkError> {
    let placements = scopes::placements(work.tx, loaded.id)?;
    let is_attached = placements
        .iter()
        .any(|place| place.membership == Membership::Attached);
    Ok(loaded.log.is_empty() && !is_attached)
}

/// Removes a document of which nothing is left.
pub(super) fn remove(work: &mut Work<'_>, loaded: &Loaded) -> Result<(), LinkError> {
    let document = (loaded.id, loaded.uuid);
    let placements = scopes::placements(work.tx, loaded.id)?;
    for place in &placements {
        work.displace(document, place)?;
    }
    work.let_go(document, &[])?;
    for place in placements {
        work.drop_scope_if_done(place.scope)?;
    }
    Ok(())
}

/// Returns the refused changes and all that depend on them, in causal order.
fn falling(
    work: &Work<'_>,
    loaded: &Loaded,
    reasons: &BTreeMap<ChangeHash, &Reason>,
) -> Result<Vec<Falling>, LinkError> {
    let waiting: BTreeMap<i64, i64> = outbox::of_document(work.tx, loaded.id)?
        .into_iter()
        .map(|row| (row.change, row.scope))
        .collect();
    let mut hashes: BTreeSet<ChangeHash> = BTreeSet::new();
    let mut falling = Vec::new();
    for (entry, bytes) in log::bytes_of_all(work.tx, loaded.id)? {
        let falls = reasons.contains_key(&entry.hash)
            || parse(&bytes)?.deps.iter().any(|dep| hashes.contains(dep));
        if falls {
            hashes.insert(entry.hash);
            falling.push(Falling {
                entry,
                bytes,
                intent: log::intent(work.tx, entry.id)?,
                scope: waiting.get(&entry.id).copied(),
            });
        }
    }
    Ok(falling)
}

/// Keeps a change that is not part of its document any more, with the reason.
fn keep(
    work: &Work<'_>,
    loaded: &Loaded,
    scope: &Scope,
    change: &Falling,
    reason: &Reason,
) -> Result<(), LinkError> {
    let intent = change.intent.as_ref();
    refused::insert(
        work.tx,
        &RefusedRow {
            id: 0,
            document: loaded.uuid,
            kind: loaded.kind.name().to_owned(),
            scope: scope.as_str().to_owned(),
            hash: change.entry.hash,
            author: change.entry.author,
            wall: intent.map_or(work.now.wall, |intent| intent.stamp.wall),
            refused: work.now.wall,
            intent: intent.map(|intent| intent.bytes.clone()),
            bytes: change.bytes.clone(),
            reason: reason.clone(),
            settled: None,
        },
    )?;
    Ok(())
}
