//! Own changes kept aside are offered to a relay that lost them: raw, for their documents are not here.
//!
//! A relay under another incarnation may lack what an earlier life of its database called durable. What a
//! device still shows is found by reconciling; what left it is offered from here, one push at a time behind all
//! that waits. Each change goes once a session. One that waits for another's change stays, for the next session.
//! Not here: what is kept aside, and how long (`store::kept`).

use gridbeat_base::{DeviceId, Lane, Scope, WallTime};
use gridbeat_sync_protocol::{
    PushChange, PushDocument, SessionError, Verdict,
    limits::{PUSH_CHANGES_MAX, PUSH_DOCUMENTS_MAX, PUSH_TARGET_BYTES, PUSH_WEIGHT_MAX},
};
use rusqlite::Connection;

use super::Link;
use super::push::{PushOut, PushedDocument, Pusher};
use super::work::Work;
use crate::book::Book;
use crate::store::kept::{self, KeptRow};
use crate::store::sql;
use crate::{LinkError, StorageError};

/// Where the offering stands in a session.
#[derive(Debug, Default)]
pub(super) struct Offering {
    /// The last one that was offered.
    after: i64,
    /// The push that is out, and the changes in it.
    out: Option<(u64, Vec<i64>)>,
    is_done: bool,
}

/// Offers the next of them, if the window has room and none is out.
pub(super) fn fill(
    db: &Connection,
    book: &mut Book,
    pusher: &Pusher<'_>,
    link: &mut Link,
) -> Result<(), LinkError> {
    if !link.is_welcomed || link.offering.is_done || link.offering.out.is_some() {
        return Ok(());
    }
    let Some(life) = link.incarnation.or(book.incarnation) else {
        return Ok(());
    };
    if !link.session.can_push(Lane::Log) {
        return Ok(());
    }
    let rows = kept::of_other_lives(db, life, link.offering.after, PUSH_CHANGES_MAX)?;
    let Some(first) = rows.first() else {
        link.offering.is_done = true;
        return Ok(());
    };
    let scope = Scope::new(&first.scope).map_err(|_| sql::impossible("kept.scope"))?;
    let (ids, documents) = gather(pusher.device, &rows);
    let Some(last) = ids.last().copied() else {
        link.offering.is_done = true;
        return Ok(());
    };
    let sealed = pusher.seal(book, &scope, &documents);
    let pushed = documents.iter().map(|push| PushedDocument {
        document: push.document,
        changes: Vec::new(),
    });
    let out = PushOut {
        documents: pushed.collect(),
        batch: sealed.map(|(seal, mark)| (seal.stamp.number, mark)),
        ..PushOut::default()
    };
    let seal = sealed.map(|(seal, _)| seal);
    match link.session.push_sealed(Lane::Log, &scope, documents, seal) {
        Ok(number) => {
            link.pushes.insert(number, out);
            link.offering.after = last;
            link.offering.out = Some((number, ids));
            Ok(())
        }
        Err(SessionError::Full | SessionError::NotOpen) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes as many as go into one push: of one scope, in their order.
fn gather(device: DeviceId, rows: &[KeptRow]) -> (Vec<i64>, Vec<PushDocument>) {
    let (mut ids, mut documents): (Vec<i64>, Vec<PushDocument>) = (Vec::new(), Vec::new());
    let mut weight = 0;
    let scope = rows.first().map(|row| &row.scope);
    for row in rows.iter().take_while(|row| Some(&row.scope) == scope) {
        let change = PushChange {
            bytes: row.bytes.clone(),
            // Named though it is this device's own: it says that the change was accepted once.
            recovered_from: Some(device),
        };
        let is_next = documents
            .last()
            .is_some_and(|push| push.document == row.document);
        let again = documents.iter().any(|push| push.document == row.document);
        let fresh = PushDocument {
            document: row.document,
            kind: row.kind.clone(),
            schema_version: row.schema_version,
            changes: Vec::new(),
        };
        let more = change.weight() + if is_next { 0 } else { fresh.weight() };
        // A document comes once in a push.
        if weight + more > PUSH_WEIGHT_MAX
            || (weight > 0 && weight + more > PUSH_TARGET_BYTES)
            || (again && !is_next)
            || (!is_next && documents.len() == PUSH_DOCUMENTS_MAX)
        {
            break;
        }
        weight += more;
        if !is_next {
            documents.push(fresh);
        }
        if let Some(push) = documents.last_mut() {
            push.changes.push(change);
        }
        ids.push(row.id);
    }
    (ids, documents)
}

/// Takes the verdicts on them in; says whether the push was one of theirs.
pub(super) fn answered(
    work: &Work<'_>,
    link: &mut Link,
    number: u64,
    received: WallTime,
    verdicts: &[Verdict],
) -> Result<bool, StorageError> {
    let Some((_, ids)) = link.offering.out.take_if(|(out, _)| *out == number) else {
        return Ok(false);
    };
    let Some(life) = link.incarnation.or(work.book.incarnation) else {
        return Ok(true);
    };
    for (id, verdict) in ids.into_iter().zip(verdicts) {
        match verdict {
            Verdict::Accepted | Verdict::Known => kept::accepted(work.tx, id, life, received)?,
            Verdict::Incomplete => {}
            Verdict::Refused(reason) => {
                let words = (reason.code.as_str(), reason.en.as_str(), reason.zh.as_str());
                kept::refuse(work.tx, id, words, work.now.wall)?;
            }
        }
    }
    Ok(true)
}
