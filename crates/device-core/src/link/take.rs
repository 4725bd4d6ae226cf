//! What each word of the relay does to the file, and what is told once that is committed.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{BlobHash, Scope};
use gridbeat_sync_protocol::{BlobNonce, CloseReason, DeviceOutput};

use super::work::Work;
use super::{Leave, Link, ack, blobs, feed, leave, repair, snapshot, welcome};
use crate::LinkError;

/// What is told to the relay, or to the caller, once a transaction is committed.
#[derive(Default)]
pub(super) struct Told {
    pub(super) closed: Option<CloseReason>,
    /// Scopes that are further than before.
    pub(super) fed: BTreeSet<Scope>,
    /// The last snapshot frame of each scope.
    pub(super) taken: BTreeMap<Scope, u64>,
    /// Blobs of which the relay wants a proof.
    pub(super) to_prove: Vec<(BlobHash, BlobNonce)>,
}

/// Does in a transaction what one of the session's outputs asks for.
pub(super) fn take_in(
    work: &mut Work<'_>,
    link: &mut Link,
    told: &mut Told,
    event: DeviceOutput,
) -> Result<(), LinkError> {
    match event {
        DeviceOutput::Send { .. } => unreachable!("sent where it came out"),
        DeviceOutput::Welcomed(welcome) => welcome::apply(work, link, &welcome)?,
        DeviceOutput::Acknowledged {
            number,
            scope,
            received,
            first_seq,
            attached,
            verdicts,
        } => {
            let answer = ack::Answer {
                scope,
                received,
                first_seq,
                attached,
                verdicts,
            };
            ack::apply(work, link, number, answer)?;
        }
        DeviceOutput::Feed(feed) => {
            feed::apply(work, link, &feed)?;
            told.fed.insert(feed.scope);
        }
        DeviceOutput::Snapshot(frame) => {
            snapshot::apply(work, link, &frame)?;
            told.taken.insert(frame.scope, frame.number);
        }
        DeviceOutput::Reconciled { scope, message, .. } => {
            repair::step(work, link, &scope, &message)?;
        }
        DeviceOutput::Compared(compared) => repair::compared(work, link, compared)?,
        DeviceOutput::Aligned { scope, cursor } => repair::aligned(work, link, &scope, cursor)?,
        DeviceOutput::Noticed(notice) => {
            link.surrenders |= notice.scope.is_none();
            work.leave_news.push(Leave::Noticed {
                scope: notice.scope,
                deadline: notice.deadline,
            });
        }
        DeviceOutput::Noted(removal) => leave::noted(work, link, &removal)?,
        DeviceOutput::Offered { offer, answer } => {
            let asked = blobs::offered(work, link, offer, answer)?;
            told.to_prove.extend(asked);
        }
        DeviceOutput::Kept {
            offer,
            chunk,
            is_complete,
        } => blobs::kept(work, link, offer, chunk, is_complete)?,
        DeviceOutput::Part {
            get,
            size_bytes,
            chunk,
            bytes,
            ..
        } => blobs::came(work, link, get, size_bytes, chunk, &bytes)?,
        DeviceOutput::Withheld { .. } | DeviceOutput::Positions(_) => {
            unreachable!("noted where it came out")
        }
        DeviceOutput::Closed(reason) => told.closed = Some(reason),
    }
    Ok(())
}
