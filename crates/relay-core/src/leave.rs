//! Leaving, as the relay sees it: notices, statements of removal, and what a revoked device hands over.
//!
//! A grant that has ended gives nothing any more, but what was saved under it is still judged by it for a
//! while, and the device is told until when. A revoked device may come in only to hand over what it has:
//! all of it goes into the quarantine, nothing is admitted, and nothing is sent to it.

use std::collections::BTreeMap;
use std::time::Duration;

use gridbeat_base::{Now, Scope};
use gridbeat_sync_protocol::{Grant, Notice, RemovalHash, RemovalProof, ScopeGreeting};

use crate::reasons::{DEVICE_REVOKED, RETRY_AFTER_DENIED, STORAGE_FAILED, STORAGE_FULL};
use crate::relay::{Relay, Waiting};
use crate::session::Session;
use crate::{Answer, EndedGrant, Removal, Rights, SessionId, StoreFault, Surrender, Task};

/// A statement of removal that is being kept.
#[derive(Debug)]
pub(crate) struct Keeping {
    session: SessionId,
    removal: RemovalHash,
    /// Whether it is of everything.
    is_last: bool,
}

impl Session {
    /// Returns how long a device that may not come in is to stay away: not at all if it is to hand over
    /// what it has.
    pub(crate) fn away_after_denial(&self, rights: &Rights) -> Duration {
        match rights {
            Rights::Revoked if self.protocol.speaks_of_leaving() => Duration::ZERO,
            Rights::Revoked | Rights::Unknown | Rights::Granted(_) => RETRY_AFTER_DENIED,
        }
    }
}

impl Relay {
    /// Tells a device of the grants that have ended.
    pub(crate) fn give_notice(
        &mut self,
        now: Now,
        id: SessionId,
        ended: BTreeMap<Scope, EndedGrant>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !session.protocol.speaks_of_leaving() {
            return;
        }
        for (scope, EndedGrant { seq, until }) in ended {
            let notice = Notice {
                scope: Some(scope),
                seq,
                deadline: until,
            };
            if let Err(error) = session.protocol.notice(notice) {
                return self.close_internal(now, id, &error);
            }
        }
    }

    /// Lets a revoked device in, to hand over what it has.
    pub(crate) fn take_surrender(&mut self, now: Now, id: SessionId, surrender: Surrender) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        self.counters.sessions_surrendering += 1;
        session.surrenders = true;
        session.quarantine_left = usize::try_from(surrender.bytes_left).unwrap_or(usize::MAX);
        session.handed_over_left = surrender.changes_left;
        session.rights = Some(Rights::Revoked);
        let marks = session.greeted.take().unwrap_or_default();
        let nothing = marks.into_iter().map(|mark| ScopeGreeting {
            scope: mark.scope,
            grant: Grant::None,
            head: 0,
            digest_agrees: true,
            verbs: None,
            snapshot: None,
        });
        let scopes = nothing.collect();
        let welcomed = session
            .protocol
            .welcome(self.incarnation, now.wall, scopes)
            .and_then(|()| {
                session.protocol.notice(Notice {
                    scope: None,
                    seq: 0,
                    deadline: surrender.revoked,
                })
            });
        if let Err(error) = welcomed {
            // It may be the device's fault: a push that was held until here.
            self.failed(now, id, &error);
            self.close_internal(now, id, &error);
            return;
        }
        self.settle(now, id);
    }

    /// Takes in a statement of removal.
    pub(crate) fn removed(&mut self, now: Now, session: SessionId, proof: RemovalProof) {
        let keeping = Keeping {
            session,
            removal: proof.hash,
            is_last: proof.statement.scope.is_none(),
        };
        let received = now.wall;
        let task = Task::Keep(Box::new(Removal { received, proof }));
        self.run(Waiting::Keep(keeping), task);
    }

    /// Takes in that a statement of removal is durable, or is not.
    pub(crate) fn kept(&mut self, now: Now, keeping: Keeping, result: Result<Answer, StoreFault>) {
        let Keeping {
            session: id,
            removal,
            is_last,
        } = keeping;
        match result {
            Ok(Answer::Kept) => self.counters.removals += 1,
            Ok(_) => panic!("a statement was kept by another task's answer"),
            Err(fault) => {
                let close = if fault == StoreFault::Full {
                    STORAGE_FULL.close(self.config.retry_after_full)
                } else {
                    STORAGE_FAILED.close(self.config.retry_after_fault)
                };
                return self.close(now, id, close);
            }
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let surrenders = session.surrenders;
        if let Err(error) = session.protocol.noted(removal) {
            return self.close_internal(now, id, &error);
        }
        self.settle(now, id);
        if surrenders && is_last {
            // PROTOCOL 4.14: there is nothing left to say to it.
            self.close(now, id, DEVICE_REVOKED.close(RETRY_AFTER_DENIED));
        }
    }
}
