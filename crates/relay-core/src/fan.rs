//! Fan-out: what is committed to a scope, to every session that is fed it.
//!
//! Each session has its place in each feed, kept by its protocol. One read serves all sessions at
//! one place. Nothing is read for a session that has no room.

use std::collections::BTreeSet;

use gridbeat_base::{Lane, Now, Scope};
use gridbeat_sync_protocol::{Entry, Feed, FeedChange, PackForm, limits::FEED_TARGET_BYTES};

use crate::reasons::STORAGE_FAILED;
use crate::relay::{Relay, Waiting};
use crate::{Answer, Page, SessionId, StoreFault, StoredChange, StoredEntry, Task};

/// One scope that sessions are fed.
#[derive(Debug, Default)]
pub(crate) struct Fan {
    /// The last entry that is known to be durable.
    head: u64,
    sessions: BTreeSet<SessionId>,
    /// The places at which it is being read.
    reading: BTreeSet<u64>,
}

impl Relay {
    /// Adds a session to a scope whose head it was told.
    pub(crate) fn enter_fan(&mut self, scope: &Scope, session: SessionId, head: u64) {
        let fan = self.fans.entry(scope.clone()).or_default();
        fan.head = fan.head.max(head);
        fan.sessions.insert(session);
        self.dirty.insert(scope.clone());
    }

    /// Takes a session out of a scope, and forgets the scope with the last one.
    pub(crate) fn leave_fan(&mut self, scope: &Scope, session: SessionId) {
        if let Some(fan) = self.fans.get_mut(scope) {
            fan.sessions.remove(&session);
            if fan.sessions.is_empty() {
                self.fans.remove(scope);
            }
        }
    }

    /// Takes in that entries up to `head` are durable.
    pub(crate) fn head_moved(&mut self, scope: Scope, head: u64) {
        if !self.greeting.is_empty() {
            let known = self.heads_meanwhile.entry(scope.clone()).or_default();
            *known = head.max(*known);
        }
        if let Some(fan) = self.fans.get_mut(&scope) {
            fan.head = fan.head.max(head);
            self.dirty.insert(scope);
        }
    }

    /// Starts the reads that a scope's sessions have room for.
    pub(crate) fn fan_out(&mut self, scope: &Scope) {
        let Some(fan) = self.fans.get_mut(scope) else {
            return;
        };
        let mut reads = Vec::new();
        for session in &fan.sessions {
            let protocol = &self.sessions[session].protocol;
            let Some(after) = protocol.fed(scope).filter(|after| *after < fan.head) else {
                continue;
            };
            if protocol.feed_room(scope) > 0 && fan.reading.insert(after) {
                reads.push(after);
            }
        }
        for after in reads {
            self.counters.feed_reads += 1;
            let scope = scope.clone();
            let task = Task::ReadFeed {
                scope: scope.clone(),
                after,
                bytes_max: FEED_TARGET_BYTES as u64,
            };
            self.run(Waiting::Read { scope, after }, task);
        }
    }

    /// Takes in a page of a feed: sends it to every session that is at its place and has room.
    pub(crate) fn page_read(
        &mut self,
        now: Now,
        scope: &Scope,
        after: u64,
        result: Result<Answer, StoreFault>,
    ) {
        let page = match result {
            Ok(Answer::Page(page)) => Some(page),
            Ok(_) => panic!("a read of a feed was answered by another task's answer"),
            Err(_) => None,
        };
        let Some(fan) = self.fans.get_mut(scope) else {
            return;
        };
        fan.reading.remove(&after);
        fan.head = fan.head.max(page.as_ref().map_or(0, |page| page.head));
        let head = fan.head;
        let is_there = |session: &&SessionId| {
            let protocol = &self.sessions[*session].protocol;
            protocol.fed(scope) == Some(after) && protocol.feed_room(scope) > 0
        };
        let receivers: Vec<_> = fan.sessions.iter().filter(is_there).copied().collect();
        let Some(page) = page else {
            let close = STORAGE_FAILED.close(self.config.retry_after_fault);
            for session in receivers {
                self.close(now, session, close.clone());
            }
            return;
        };
        if page.entries.is_empty() {
            return;
        }
        let (entries, bytes) = (page.entries.len() as u64, bytes_of(&page));
        let lane = self.lane_of(&page);
        let feed = Feed {
            scope: scope.clone(),
            first_seq: after + 1,
            digest: page.digest,
            head,
            entries: page.entries.into_iter().map(entry).collect(),
            form: PackForm::default(),
        };
        for session in receivers {
            self.counters.feed_entries += entries;
            self.counters.feed_bytes += bytes;
            self.feed(now, session, lane, feed.clone());
        }
        self.dirty.insert(scope.clone());
    }

    fn feed(&mut self, now: Now, id: SessionId, lane: Lane, feed: Feed) {
        if let Some(session) = self.sessions.get_mut(&id) {
            match session.protocol.feed(lane, feed) {
                Ok(()) => self.settle(now, id),
                Err(error) => self.close_internal(now, id, &error),
            }
        }
    }

    /// Returns the most urgent lane of a page's documents: what follows an urgent one in the same
    /// feed has to wait for it anyway.
    fn lane_of(&self, page: &Page) -> Lane {
        let kinds = page.entries.iter().filter_map(|entry| match entry {
            StoredEntry::Attach { kind, .. } | StoredEntry::Change { kind, .. } => Some(kind),
            StoredEntry::Detach { .. } => None,
        });
        let lanes = kinds.filter_map(|kind| Some(self.kinds.find(kind)?.lane()));
        lanes.min().unwrap_or(Lane::Record)
    }
}

fn bytes_of(page: &Page) -> u64 {
    let entries = page.entries.iter().map(|entry| match entry {
        StoredEntry::Attach { changes, .. } => changes.iter().map(|it| it.bytes.len()).sum(),
        StoredEntry::Change { change, .. } => change.bytes.len(),
        StoredEntry::Detach { .. } => 0,
    });
    entries.sum::<usize>() as u64
}

fn entry(stored: StoredEntry) -> Entry {
    match stored {
        StoredEntry::Attach {
            document,
            kind,
            schema_version,
            changes,
        } => Entry::Attach {
            document,
            kind,
            schema_version,
            changes: changes.into_iter().map(feed_change).collect(),
        },
        StoredEntry::Detach { document } => Entry::Detach { document },
        StoredEntry::Change {
            document, change, ..
        } => Entry::Change {
            document,
            change: feed_change(change),
        },
    }
}

/// Returns an accepted change as it travels.
pub(crate) fn feed_change(stored: StoredChange) -> FeedChange {
    FeedChange {
        bytes: stored.bytes,
        author: stored.author,
        received: stored.received,
    }
}
