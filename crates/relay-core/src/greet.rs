//! The first answer of a session, and what becomes of it when rights change.
//!
//! TLS proves who a device is, not that it may still come in: a resumed connection's certificate is
//! not looked at again. So the relay's own table is asked for every session before anything is sent
//! or admitted, and again and again while the session lives.

use std::collections::BTreeSet;
use std::time::Duration;

use gridbeat_base::{Now, Scope, Verbs};
use gridbeat_sync_protocol::{Grant, Hello, ScopeGreeting, ScopeMark, limits::SCOPES_MAX};

use crate::reasons::{
    DEVICE_KEY_MISSING, DEVICE_KEY_REPLACED, DEVICE_REVOKED, DEVICE_UNKNOWN, GRANTS_CHANGED,
    RETRY_AFTER_DENIED, STORAGE_FAILED, Why,
};
use crate::relay::{Relay, Waiting};
use crate::session::Session;
use crate::snapshot;
use crate::{Answer, Greeting, Output, Rights, ScopePosition, SessionId, StoreFault, Task};

impl Relay {
    /// Takes in a device's greeting: asks for its rights and for where its scopes stand.
    pub(crate) fn greet(&mut self, now: Now, id: SessionId, hello: Hello) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let (device, install) = (session.device, hello.install);
        session.install = Some(install);
        let offset = now
            .wall
            .millis()
            .saturating_sub(hello.clock.wall().millis());
        session.clock_offset_ms = offset;
        let lives = hello.incarnation;
        session.recovers = lives.is_some_and(|life| life != self.incarnation);
        session.greeted = Some(hello.scopes.clone());
        let cursors = hello
            .scopes
            .into_iter()
            .map(|mark| (mark.scope, mark.cursor))
            .collect();
        let others = self
            .sessions
            .values()
            .filter(|other| other.device == device);
        if others
            .filter_map(|other| other.install)
            .any(|other| other != install)
        {
            self.counters.clones_suspected += 1;
            self.output(Output::CloneSuspected { device });
        }
        self.marks
            .greeted(now, &self.config, device, install, offset);
        self.greeting.insert(id);
        self.rights_overtaken = true;
        self.run(
            Waiting::Greet { session: id },
            Task::Greet { device, cursors },
        );
    }

    /// Takes in what was read for a greeting: welcomes the device, or sends it away.
    pub(crate) fn greeted(&mut self, now: Now, id: SessionId, result: Result<Answer, StoreFault>) {
        self.greeting.remove(&id);
        let meanwhile = self.heads_meanwhile.clone();
        if self.greeting.is_empty() {
            self.heads_meanwhile.clear();
        }
        let Some(greeting) = self.let_in(now, id, result) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Greeting {
            rights,
            mut scopes,
            ended,
            stable,
            ..
        } = greeting;
        for position in &mut scopes {
            let later = meanwhile.get(&position.scope).copied().unwrap_or(0);
            position.head = position.head.max(later);
        }
        let marks = session.greeted.take().unwrap_or_default();
        let same_life = !session.recovers;
        let entries_min = self.config.snapshot_entries_min;
        scopes.truncate(SCOPES_MAX.max(marks.len()));
        let mut greetings = Vec::new();
        let mut heads = Vec::new();
        for (place, position) in scopes.into_iter().enumerate() {
            let mut greeting = scope_greeting(&rights, marks.get(place), &position);
            choose_way(
                session,
                marks.get(place),
                &position,
                &mut greeting,
                entries_min,
            );
            if greeting.grant != Grant::None {
                heads.push((position.scope, position.head));
                let within = marks
                    .get(place)
                    .is_some_and(|mark| mark.cursor <= greeting.head);
                let differs = !greeting.digest_agrees && !position.is_mostly_held;
                if differs && same_life && within {
                    self.counters.digest_mismatches += 1;
                }
            }
            greetings.push(greeting);
        }
        session.rights = Some(Rights::Granted(
            heads
                .iter()
                .map(|(scope, _)| (scope.clone(), rights.in_scope(scope)))
                .collect(),
        ));
        if let Err(error) =
            session
                .protocol
                .welcome_stable(self.incarnation, now.wall, greetings, stable)
        {
            // It may be the device's fault: a push that was held until here.
            self.failed(now, id, &error);
            self.close_internal(now, id, &error);
            return;
        }
        self.give_notice(now, id, ended);
        for (scope, head) in heads {
            self.enter_fan(&scope, id, head);
            self.snap_on(id, &scope);
        }
        self.settle(now, id);
    }

    /// Looks whether a device may come in; `None` if it was sent away, or let in to hand over what it has.
    fn let_in(
        &mut self,
        now: Now,
        id: SessionId,
        result: Result<Answer, StoreFault>,
    ) -> Option<Greeting> {
        let greeting = match result {
            Ok(Answer::Greeting(greeting)) => greeting,
            Ok(_) => panic!("a greeting was answered by another task's answer"),
            Err(_) => {
                self.close(now, id, STORAGE_FAILED.close(self.config.retry_after_fault));
                return None;
            }
        };
        let session = self.sessions.get(&id)?;
        let forgot_key = greeting.signs && session.key.is_none();
        let shown = session.key.map(|key| *key.bytes());
        let other_key = greeting.leased.is_some() && shown != greeting.leased;
        let why = denial(&greeting.rights)
            .or_else(|| forgot_key.then_some(DEVICE_KEY_MISSING))
            .or_else(|| other_key.then_some(DEVICE_KEY_REPLACED));
        if let Some(surrender) = greeting.surrender.filter(|_| !forgot_key && !other_key)
            && session.protocol.speaks_of_leaving()
        {
            self.take_surrender(now, id, surrender);
            return None;
        }
        if let Some(why) = why {
            self.counters.sessions_denied += 1;
            self.close(now, id, why.close(RETRY_AFTER_DENIED));
            return None;
        }
        Some(greeting)
    }

    /// Asks for the rights of every device in session, and of those of which it is held where they were.
    pub(crate) fn read_rights(&mut self) {
        self.rights_due = None;
        self.rights_overtaken = false;
        let in_session = self.sessions.values().map(|it| it.device);
        let devices: BTreeSet<_> = in_session.chain(self.whereabouts.devices()).collect();
        let devices = devices.into_iter().collect();
        let unless = self.rights_version;
        self.run(Waiting::Rights, Task::Rights { devices, unless });
    }

    /// Takes in the rights of the devices in session, and ends the sessions that were told others.
    pub(crate) fn rights_read(&mut self, now: Now, result: Result<Answer, StoreFault>) {
        if !self.sessions.is_empty() {
            self.rights_due = Some(now.monotonic.plus(self.config.rights_refresh));
        }
        let (version, rights) = match result {
            Ok(Answer::Rights { version, rights }) => (version, rights),
            Ok(_) => panic!("a look at rights was answered by another task's answer"),
            // The next look comes soon; what they were stays in force until then.
            Err(_) => return,
        };
        // What is being read for a greeting may be older than this version.
        let settled = self.greeting.is_empty() && !self.rights_overtaken;
        self.rights_version = settled.then_some(version);
        let Some(rights) = rights else {
            return;
        };
        self.rights_of_places(now, &rights);
        let mut ends = Vec::new();
        for (id, session) in &self.sessions {
            let (Some(told), Some(now)) = (&session.rights, rights.get(&session.device)) else {
                continue;
            };
            if session.surrenders && *now == Rights::Revoked {
                continue;
            }
            if let Some(why) = denial(now) {
                ends.push((*id, why.close(session.away_after_denial(now))));
            } else if told != now && !is_cut_short(told, now) {
                ends.push((*id, GRANTS_CHANGED.close(Duration::ZERO)));
            }
        }
        for (id, close) in ends {
            self.close(now, id, close);
        }
    }
}

/// Returns why a device may not come in at all.
pub(crate) const fn denial(rights: &Rights) -> Option<Why> {
    match rights {
        Rights::Unknown => Some(DEVICE_UNKNOWN),
        Rights::Revoked => Some(DEVICE_REVOKED),
        Rights::Granted(_) => None,
    }
}

/// Returns whether a session was told only as many of these rights as fit into a welcome.
fn is_cut_short(told: &Rights, now: &Rights) -> bool {
    match (told, now) {
        (Rights::Granted(told), Rights::Granted(now)) => {
            told.len() >= SCOPES_MAX
                && told
                    .iter()
                    .all(|(scope, right)| now.get(scope) == Some(right))
        }
        _ => false,
    }
}

/// Returns what is told of a set of verbs.
const fn grant(verbs: Verbs) -> Grant {
    match verbs {
        Verbs::NONE => Grant::None,
        verbs if verbs.may_change() => Grant::Write,
        _ => Grant::Read,
    }
}

/// Decides how a scope comes to a device: compared with what it has by others, as a snapshot, or by its feed.
fn choose_way(
    session: &mut Session,
    mark: Option<&ScopeMark>,
    position: &ScopePosition,
    greeting: &mut ScopeGreeting,
    entries_min: u64,
) {
    if position.is_mostly_held && session.protocol.speaks_of_leaving() {
        // PROTOCOL 3.4: it need only compare what it has by other scopes.
        greeting.digest_agrees = false;
        return;
    }
    if !session.protocol.speaks_of_snapshots() {
        return;
    }
    let same_life = !session.recovers;
    if let Some((as_of, snapping)) = snapshot::due(mark, same_life, greeting, entries_min) {
        (greeting.snapshot, greeting.digest_agrees) = (Some(as_of), true);
        session.snapping.insert(greeting.scope.clone(), snapping);
    }
}

fn scope_greeting(
    rights: &Rights,
    mark: Option<&ScopeMark>,
    position: &ScopePosition,
) -> ScopeGreeting {
    let scope: Scope = position.scope.clone();
    let verbs = rights.in_scope(&scope);
    let grant = grant(verbs);
    if grant == Grant::None {
        // Nothing is told of a scope that is withheld.
        return ScopeGreeting {
            scope,
            grant,
            head: 0,
            digest_agrees: true,
            verbs: None,
            snapshot: None,
        };
    }
    ScopeGreeting {
        scope,
        grant,
        head: position.head,
        digest_agrees: mark.is_none_or(|mark| position.digest_at_cursor == Some(mark.digest)),
        verbs: Some(verbs),
        snapshot: None,
    }
}
