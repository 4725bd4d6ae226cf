//! Where devices stand, kept until it is written: with the next batch, or by itself after a while.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{DeviceId, Install, Monotonic, Now, Scope};

use crate::relay::Relay;
use crate::{Config, Mark, SessionId};

/// Installations of one device named in one mark: of a phone that is copied, two or three are in use.
const INSTALLS_NAMED_MAX: usize = 16;

/// Marks that are not written yet.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    fresh: BTreeMap<DeviceId, Mark>,
    /// What is being written, alone or with a batch.
    writing: Vec<Mark>,
    due: Option<Monotonic>,
}

impl Marks {
    /// Takes note of a greeting.
    pub(crate) fn greeted(
        &mut self,
        now: Now,
        config: &Config,
        device: DeviceId,
        install: Install,
        clock_offset_ms: i64,
    ) {
        self.wait(now.monotonic, config);
        let mark = self.fresh.entry(device).or_insert_with(|| Mark {
            device,
            install,
            others: BTreeSet::new(),
            seen: now.wall,
            clock_offset_ms,
            cursors: BTreeMap::new(),
        });
        if mark.install != install && mark.others.len() < INSTALLS_NAMED_MAX {
            mark.others.insert(mark.install);
        }
        (mark.install, mark.seen) = (install, now.wall);
        mark.clock_offset_ms = clock_offset_ms;
    }

    /// Takes the marks to be written with a batch, unless some are being written.
    pub(crate) fn take(&mut self) -> Vec<Mark> {
        if self.writing.is_empty() {
            self.due = None;
            self.writing = std::mem::take(&mut self.fresh).into_values().collect();
            self.writing.clone()
        } else {
            Vec::new()
        }
    }

    /// Takes the marks to be written by themselves, if the time has come.
    pub(crate) fn due(&mut self, now: Monotonic) -> Option<Vec<Mark>> {
        self.due.filter(|due| *due <= now)?;
        self.take_all()
    }

    /// Takes the marks to be written by themselves, if there are any and none are being written.
    pub(crate) fn take_all(&mut self) -> Option<Vec<Mark>> {
        let marks = self.take();
        (!marks.is_empty()).then_some(marks)
    }

    /// Returns when [`Self::due`] may have some.
    pub(crate) const fn next_deadline(&self) -> Option<Monotonic> {
        if self.writing.is_empty() {
            self.due
        } else {
            None
        }
    }

    /// Takes in what became of marks that were written. Those that were not are tried again.
    pub(crate) fn written(&mut self, now: Monotonic, config: &Config, done: bool) {
        let marks = std::mem::take(&mut self.writing);
        if !done {
            for mut mark in marks {
                self.wait(now, config);
                if let Some(newer) = self.fresh.remove(&mark.device) {
                    mark.cursors.extend(newer.cursors);
                    if mark.install != newer.install {
                        mark.others.insert(mark.install);
                    }
                    mark.others.extend(newer.others);
                    mark = Mark {
                        cursors: mark.cursors,
                        others: mark.others,
                        install: newer.install,
                        seen: newer.seen,
                        clock_offset_ms: newer.clock_offset_ms,
                        device: newer.device,
                    };
                }
                self.fresh.insert(mark.device, mark);
            }
        }
        if !self.fresh.is_empty() {
            self.wait(now, config);
        }
    }

    /// Gives up those being written.
    pub(crate) fn forget(&mut self) {
        self.writing.clear();
    }

    fn wait(&mut self, now: Monotonic, config: &Config) {
        self.due.get_or_insert_with(|| now.plus(config.marks_every));
    }
}

impl Relay {
    /// Takes in that a device has committed a scope's feed up to `seq`.
    pub(crate) fn applied(&mut self, now: Now, id: SessionId, scope: Scope, seq: u64) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        // The window is one for all scopes of a session.
        self.dirty.extend(session.scopes());
        let Some(install) = session.install else {
            return;
        };
        let device = session.device;
        let offset = session.clock_offset_ms;
        self.marks
            .greeted(now, &self.config, device, install, offset);
        self.marks.cursor(device, scope, seq);
    }
}

impl Marks {
    fn cursor(&mut self, device: DeviceId, scope: Scope, seq: u64) {
        if let Some(mark) = self.fresh.get_mut(&device) {
            mark.cursors.insert(scope, seq);
        }
    }
}
