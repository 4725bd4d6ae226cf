//! A scope that comes as a snapshot: each frame is committed with the mark to go on from after a cut.
//!
//! The documents of a frame are as they were when it was read, and the frames were read one after the other. So the feed
//! goes on behind where the scope stood before the first, its entries may bring what is there already, and digests are
//! compared only once it has passed where the scope stood at the last.

use gridbeat_sync_protocol::{Snapshot, SnapshotMark};

use super::work::Work;
use super::{Link, feed, judged, repair};
use crate::LinkError;

/// A snapshot that is under way.
#[derive(Debug)]
pub(super) struct Snapping {
    /// The entry behind which the feed goes on after it.
    as_of: u64,
    /// Whether everything could be taken in.
    is_whole: bool,
}

impl Snapping {
    pub(super) const fn new(as_of: u64) -> Self {
        Self {
            as_of,
            is_whole: true,
        }
    }
}

/// Takes a frame in.
pub(super) fn apply(
    work: &mut Work<'_>,
    link: &mut Link,
    frame: &Snapshot,
) -> Result<(), LinkError> {
    let Some(id) = work.book.scopes.get(&frame.scope).map(|row| row.id) else {
        return Err(LinkError::OutOfPlace);
    };
    work.counters.snapshot_frames += 1;
    let mut is_whole = true;
    let judged = judged::ahead(work.tx, work.kinds, &frame.documents)?;
    for (document, judged) in frame.documents.iter().zip(judged) {
        is_whole &= feed::take_whole(work, link, id, document, judged)?;
    }
    let at = link.scope(&frame.scope);
    let Some(snapshot) = &mut at.snapshot else {
        return Err(LinkError::OutOfPlace);
    };
    snapshot.is_whole &= is_whole;
    let (as_of, is_whole) = (snapshot.as_of, snapshot.is_whole);
    at.head = at.head.max(frame.seq);
    if let Some(row) = work.book.scopes.get_mut(&frame.scope) {
        let mark = frame.mark;
        row.snapshot = (!frame.last).then_some(SnapshotMark { as_of, mark });
        row.cursor = if frame.last { as_of } else { row.cursor };
    }
    if frame.last {
        at.snapshot = None;
        at.settled = frame.seq;
        // An unknown kind stays unread however often it is asked for.
        at.is_stuck = !is_whole;
        link.own.retain(|(at, seq), _| *at != id || *seq > as_of);
        repair::check(work, link, &frame.scope, as_of, frame.digest, true);
    }
    Ok(())
}
