//! The little of the file that is held in memory: clock, scopes, and how much waits.
//!
//! Work in a transaction changes a copy, which replaces the original once the commit came back. So
//! memory and file never differ, whatever fails.

use std::collections::BTreeMap;

use gridbeat_base::{Hlc, HlcClock, Incarnation, Monotonic, Now, Scope, WallTime};
use rusqlite::Connection;

use crate::StorageError;
use crate::store::meta::BatchChain;
use crate::store::scopes::ScopeRow;
use crate::store::{meta, outbox, scopes};

/// A change of the relay's offset that is worth a write, in ms: below it is the jitter of a link.
const OFFSET_STEP_MS: u64 = 1_000;

/// The file's state that every action needs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Book {
    pub(crate) clock: HlcClock,
    /// Relay's clock minus ours, when last measured.
    pub(crate) relay_offset_ms: Option<i64>,
    /// The relay's time at a moment since the file was opened: it holds however the wall clock jumps.
    pub(crate) relay_time: Option<(Monotonic, WallTime)>,
    pub(crate) incarnation: Option<Incarnation>,
    /// All that the relay received up to then is in a backup, as it last said.
    pub(crate) stable: Option<WallTime>,
    /// The version of the protocol that the relay chose last.
    pub(crate) relay_version: Option<u16>,
    pub(crate) scopes: BTreeMap<Scope, ScopeRow>,
    pub(crate) waiting: Totals,
    /// The chain of signed batches. Numbers given since the last acknowledgement may be given again after
    /// a crash, which does no harm.
    pub(crate) batch: BatchChain,
    // What the file has of the clock and the offset, which may lag behind.
    clock_kept: Hlc,
    offset_kept_ms: Option<i64>,
}

/// How much waits in the outbox.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Totals {
    pub(crate) changes: u64,
    pub(crate) bytes: u64,
}

impl Book {
    /// Reads it from the file; takes time by what waits, not by what is stored.
    pub(crate) fn load(db: &Connection) -> Result<Self, StorageError> {
        let meta = meta::load(db)?;
        let waiting = outbox::load(db)?;
        // An own change's stamp stands in the outbox until a write that keeps the clock takes it out.
        let last = waiting.iter().map(|row| row.hlc).max();
        Ok(Self {
            clock: HlcClock::from_last(meta.hlc.max(last.unwrap_or_default())),
            relay_offset_ms: meta.relay_offset_ms,
            relay_time: None,
            incarnation: meta.incarnation,
            stable: meta.stable,
            relay_version: meta.relay_version,
            scopes: scopes::load(db)?,
            waiting: Totals {
                changes: waiting.len() as u64,
                bytes: waiting.iter().map(|row| row.size).sum(),
            },
            batch: meta.batch,
            clock_kept: meta.hlc,
            offset_kept_ms: meta.relay_offset_ms,
        })
    }

    /// Writes what differs from `before`, at the end of a transaction of the link.
    pub(crate) fn keep(&mut self, db: &Connection, before: &Self) -> Result<(), StorageError> {
        for row in self.scopes.values() {
            if !before.scopes.values().any(|old| old == row) {
                scopes::update(db, row)?;
            }
        }
        if self.batch.acknowledged != before.batch.acknowledged {
            meta::put_batch(db, &self.batch)?;
        }
        if self.incarnation != before.incarnation
            && let Some(incarnation) = self.incarnation
        {
            meta::put_incarnation(db, incarnation)?;
        }
        if self.stable != before.stable {
            meta::put_stable(db, self.stable)?;
        }
        if self.relay_version != before.relay_version {
            meta::put_relay_version(db, self.relay_version)?;
        }
        let moved = self.clock != before.clock || self.waiting != before.waiting;
        if moved && self.clock.last() != self.clock_kept {
            meta::put_hlc(db, self.clock.last())?;
            self.clock_kept = self.clock.last();
        }
        if let Some(offset) = self.relay_offset_ms
            && self
                .offset_kept_ms
                .is_none_or(|kept| kept.abs_diff(offset) >= OFFSET_STEP_MS)
        {
            meta::put_relay_offset(db, offset)?;
            self.offset_kept_ms = Some(offset);
        }
        Ok(())
    }

    /// Returns the time that stamps follow: the relay's, if it has told it since the file was opened, or
    /// the wall clock's. A clock that is behind so does not stamp an answer before what it answers.
    pub(crate) fn stamping_time(&self, now: Now) -> WallTime {
        self.relay_time
            .map_or(now.wall, |(at, time)| time.plus(now.monotonic.since(at)))
    }

    /// Takes note of a stamp from elsewhere.
    pub(crate) fn observe(&mut self, seen: WallTime, now: Now) {
        let ours = self.stamping_time(now);
        self.clock.observe(Hlc::at(seen), ours);
    }

    /// Takes note of a receipt: if the mark has its time, the relay's clock was set back since.
    pub(crate) fn lower_stable(&mut self, received: WallTime) {
        if self.stable.is_some_and(|stable| stable >= received) {
            self.stable = Some(WallTime(received.millis().saturating_sub(1)));
        }
    }

    /// Finds a scope by the id of its row.
    pub(crate) fn scope(&self, id: i64) -> Option<(&Scope, &ScopeRow)> {
        self.scopes.iter().find(|(_, row)| row.id == id)
    }

    /// Finds a scope by the id of its row, to change it.
    pub(crate) fn scope_mut(&mut self, id: i64) -> Option<&mut ScopeRow> {
        self.scopes.values_mut().find(|row| row.id == id)
    }
}

impl Totals {
    pub(crate) const fn add(&mut self, bytes: u64) {
        self.changes += 1;
        self.bytes += bytes;
    }

    pub(crate) const fn take(&mut self, bytes: u64) {
        self.changes = self.changes.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
