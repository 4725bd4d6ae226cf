//! Snapshots: a scope for a device that has nothing of it, document by document, the open and newest first.
//!
//! A snapshot is of no one moment: each frame has its documents as they are when it is read, and the feed goes on behind
//! where the scope stood at the greeting, so whatever changed meanwhile comes as an entry. One read serves all sessions at
//! one place. Nothing is read for a session that has no room.

use gridbeat_base::{Lane, Now, Scope};
use gridbeat_sync_protocol::{
    Grant, PackForm, ScopeGreeting, ScopeMark, Snapshot, SnapshotDocument,
};

use crate::config::SNAPSHOT_FIRST_BYTES_MAX;
use crate::fan::feed_change;
use crate::reasons::STORAGE_FAILED;
use crate::relay::{Relay, Waiting};
use crate::{Answer, SessionId, SnapshotPage, StoreFault, Task};

/// How far a snapshot is in one session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapping {
    /// The mark of the last page sent, in this session or an earlier one.
    pub(crate) after: Option<u64>,
}

/// Returns how a scope is to come as a snapshot, if it is, and the entry behind which its feed goes on then. One that was cut
/// off in the same life of the database goes on where it was.
pub(crate) fn due(
    mark: Option<&ScopeMark>,
    same_life: bool,
    greeting: &ScopeGreeting,
    entries_min: u64,
) -> Option<(u64, Snapping)> {
    if greeting.grant == Grant::None || mark.is_some_and(|mark| mark.cursor > 0) {
        return None;
    }
    let going = mark.and_then(|mark| mark.snapshot);
    if let Some(going) = going.filter(|going| same_life && going.as_of <= greeting.head) {
        let after = Some(going.mark);
        return Some((going.as_of, Snapping { after }));
    }
    let has_nothing = mark.is_none_or(|mark| mark.documents == 0);
    (has_nothing && greeting.head >= entries_min)
        .then_some((greeting.head, Snapping { after: None }))
}

impl Relay {
    /// Reads on for a session's snapshot, if it has room for more.
    pub(crate) fn snap_on(&mut self, id: SessionId, scope: &Scope) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let Some(Snapping { after }) = session.snapping.get(scope).copied() else {
            return;
        };
        let place = (scope.clone(), after);
        if session.protocol.snapshot_room(scope) == 0 || !self.snaps.insert(place) {
            return;
        }
        let bytes_max = match after {
            None => SNAPSHOT_FIRST_BYTES_MAX.min(self.config.snapshot_bytes),
            Some(_) => self.config.snapshot_bytes,
        };
        let scope = scope.clone();
        let task = Task::ReadSnapshot {
            scope: scope.clone(),
            after,
            bytes_max,
        };
        self.run(Waiting::Snapshot { scope, after }, task);
    }

    /// Takes in a page of a snapshot: sends it to every session that is at its place and has room.
    pub(crate) fn snapshot_read(
        &mut self,
        now: Now,
        scope: &Scope,
        after: Option<u64>,
        result: Result<Answer, StoreFault>,
    ) {
        self.snaps.remove(&(scope.clone(), after));
        let is_there = |id: &SessionId| {
            let session = &self.sessions[id];
            let snapping = session.snapping.get(scope);
            snapping.is_some_and(|at| at.after == after)
                && session.protocol.snapshot_room(scope) > 0
        };
        let receivers: Vec<_> = self.sessions.keys().copied().filter(is_there).collect();
        let page = match result {
            Ok(Answer::Snapshot(page)) => page,
            Ok(_) => panic!("a read of a snapshot was answered by another task's answer"),
            Err(_) => {
                let close = STORAGE_FAILED.close(self.config.retry_after_fault);
                for session in receivers {
                    self.close(now, session, close.clone());
                }
                return;
            }
        };
        let (mark, last) = (page.mark, page.last);
        let frame = frame_of(scope, page);
        for id in receivers {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            self.counters.snapshot_frames += 1;
            match session.protocol.snapshot(Lane::Record, frame.clone()) {
                Ok(()) if last => drop(session.snapping.remove(scope)),
                Ok(()) => {
                    let after = Some(mark);
                    session.snapping.insert(scope.clone(), Snapping { after });
                }
                Err(error) => self.close_internal(now, id, &error),
            }
            self.settle(now, id);
            self.snap_on(id, scope);
        }
    }

    /// Takes in that a session has taken more of a snapshot.
    pub(crate) fn snapshot_taken(&mut self, id: SessionId, scope: Scope) {
        self.snap_on(id, &scope);
        // After the last frame the session is fed what has come meanwhile.
        self.dirty.insert(scope);
    }
}

fn frame_of(scope: &Scope, page: SnapshotPage) -> Snapshot {
    let documents = page.documents.into_iter().map(|it| SnapshotDocument {
        document: it.document,
        kind: it.kind,
        schema_version: it.schema_version,
        changes: it.changes.into_iter().map(feed_change).collect(),
    });
    Snapshot {
        scope: scope.clone(),
        number: 0,
        seq: page.seq,
        digest: page.digest,
        mark: page.mark,
        last: page.last,
        documents: documents.collect(),
        form: PackForm::default(),
    }
}
