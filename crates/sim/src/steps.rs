//! What must hold at every step, seen from outside: on the frames that pass between devices and the relay.
//!
//! The numbers are those of the table in `docs/testing.md`. Not here: what must hold at the end (`checks`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridbeat_base::{BlobHash, DeviceId, Scope};
use gridbeat_relay_core::SessionId;
use gridbeat_relay_store::Registry as _;
use gridbeat_sync_protocol::{
    Entry, Frame, Snapshot, Taken, VERSION_OF_BLOBS, VERSION_OF_LEAVING, VERSION_OF_POSITIONS,
    Verdict, Welcome, limits,
};

use crate::world::World;

/// How long an open session may be fed by what it was granted when it began (the guarantees, 8).
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(5);

/// What passed in one session.
#[derive(Debug, Default)]
struct Passed {
    /// The newest version that the device greeted with; 0 for a session that was recorded.
    newest: u16,
    /// Bytes of each push that is not acknowledged.
    pushes: BTreeMap<u64, usize>,
    scopes: BTreeMap<Scope, PassedScope>,
    /// Parts that the device sent and that are not kept.
    parts: BTreeSet<(BlobHash, u32)>,
}

#[derive(Debug, Default)]
struct PassedScope {
    /// The number that the next entry of the feed must have; `None` if any may come.
    next: Option<u64>,
    /// Bytes of each feed frame by its last entry, until it is applied.
    out: BTreeMap<u64, usize>,
    applied: u64,
    snapshot: Option<PassedSnapshot>,
}

/// What passed of a scope's snapshot, from its announcement until all of it is taken.
#[derive(Debug, Default)]
struct PassedSnapshot {
    as_of: u64,
    /// The number of the latest frame.
    sent: u64,
    /// Bytes of each frame by its number, until it is taken.
    out: BTreeMap<u64, usize>,
    is_complete: bool,
}

/// What passed in every session.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    sessions: BTreeMap<SessionId, Passed>,
}

impl Steps {
    /// Looks at a frame that a device sent. Returns what does not hold.
    fn up(&mut self, session: SessionId, frame: &Frame, bytes: usize) -> Option<String> {
        let passed = self.sessions.entry(session).or_default();
        match frame {
            Frame::Push(push) => {
                passed.pushes.insert(push.number, bytes);
                let out: usize = passed.pushes.values().sum();
                let count = passed.pushes.len() as u64;
                let over = count > limits::PUSHES_OUT_MAX
                    || out > limits::PUSH_WINDOW_BYTES + limits::PUSH_WEIGHT_MAX;
                over.then(|| format!("I10: {count} pushes of {out} bytes are out"))
            }
            Frame::Applied(applied) => {
                let scope = passed.scopes.entry(applied.scope.clone()).or_default();
                let back = applied.seq < scope.applied;
                let was = core::mem::replace(&mut scope.applied, applied.seq);
                scope.out.retain(|last, _| *last > applied.seq);
                back.then(|| format!("I11: {} was applied, then {}", was, applied.seq))
            }
            Frame::Hello(hello) => {
                passed.newest = hello.versions.newest;
                None
            }
            Frame::Removed(_) => passed.is_too_new(frame, VERSION_OF_LEAVING),
            Frame::Offer(_) | Frame::Prove(_) | Frame::Get(_) => {
                passed.is_too_new(frame, VERSION_OF_BLOBS)
            }
            Frame::Part(part) => {
                passed.parts.insert((part.hash, part.chunk));
                let out = passed.parts.len();
                (out > limits::PARTS_OUT_MAX).then(|| format!("I10: {out} parts are out"))
            }
            Frame::Taken(taken) => passed.taken(taken),
            Frame::Reconcile(it) => {
                passed
                    .scopes
                    .insert(it.scope.clone(), PassedScope::default());
                None
            }
            Frame::Welcome(_)
            | Frame::Ack(_)
            | Frame::Feed(_)
            | Frame::Compare(_)
            | Frame::Compared(_)
            | Frame::Notice(_)
            | Frame::Noted(_)
            | Frame::Snapshot(_)
            | Frame::Offered(_)
            | Frame::Kept(_)
            | Frame::Withheld(_)
            | Frame::Positions(_)
            | Frame::Moved(_)
            | Frame::Close(_) => None,
            Frame::Here(_) | Frame::Gone(_) | Frame::Watch(_) | Frame::Bring(_) => {
                passed.is_too_new(frame, VERSION_OF_POSITIONS)
            }
        }
    }

    /// Looks at a frame that the relay sent. Returns what does not hold.
    fn down(&mut self, session: SessionId, frame: &Frame, bytes: usize) -> Option<String> {
        let passed = self.sessions.entry(session).or_default();
        match frame {
            Frame::Ack(ack) => {
                passed.pushes.remove(&ack.number);
                None
            }
            Frame::Feed(feed) => {
                let entries = feed.entries.iter().map(|entry| match entry {
                    Entry::Own { count } => *count,
                    Entry::Attach { .. } | Entry::Detach { .. } | Entry::Change { .. } => 1,
                });
                let end = feed.first_seq + entries.sum::<u64>();
                let scope = passed.scopes.entry(feed.scope.clone()).or_default();
                if scope.snapshot.is_some() {
                    return Some("I11: a scope was fed before its snapshot was taken".to_owned());
                }
                let due = scope.next.replace(end);
                scope.out.insert(end - 1, bytes);
                let out: usize = scope.out.values().sum();
                if due.is_some_and(|due| due != feed.first_seq) {
                    let first = feed.first_seq;
                    return Some(format!("I11: entry {first} was fed where {due:?} was due"));
                }
                let max = limits::FEED_WINDOW_BYTES + limits::FEED_WEIGHT_MAX;
                (out > max).then(|| format!("I10: {out} bytes of a feed are out"))
            }
            Frame::Reconcile(it) => {
                passed
                    .scopes
                    .insert(it.scope.clone(), PassedScope::default());
                None
            }
            Frame::Welcome(welcome) if passed.newest != 0 && welcome.version > passed.newest => {
                Some(format!("version {} was chosen", welcome.version))
            }
            Frame::Welcome(welcome) => {
                passed.announced(welcome);
                None
            }
            Frame::Snapshot(snapshot) => passed.snapshot(snapshot, bytes),
            Frame::Notice(_) | Frame::Noted(_) => passed.is_too_new(frame, VERSION_OF_LEAVING),
            Frame::Kept(kept) => {
                passed.parts.remove(&(kept.hash, kept.chunk));
                passed.is_too_new(frame, VERSION_OF_BLOBS)
            }
            Frame::Offered(_) | Frame::Part(_) | Frame::Withheld(_) => {
                passed.is_too_new(frame, VERSION_OF_BLOBS)
            }
            Frame::Positions(_) | Frame::Moved(_) => passed.is_too_new(frame, VERSION_OF_POSITIONS),
            Frame::Hello(_)
            | Frame::Push(_)
            | Frame::Applied(_)
            | Frame::Compare(_)
            | Frame::Compared(_)
            | Frame::Removed(_)
            | Frame::Taken(_)
            | Frame::Offer(_)
            | Frame::Prove(_)
            | Frame::Get(_)
            | Frame::Here(_)
            | Frame::Gone(_)
            | Frame::Watch(_)
            | Frame::Bring(_)
            | Frame::Close(_) => None,
        }
    }
}

impl Passed {
    /// Takes note of the snapshots that a greeting announces.
    fn announced(&mut self, welcome: &Welcome) {
        for greeting in &welcome.scopes {
            let scope = self.scopes.entry(greeting.scope.clone()).or_default();
            scope.snapshot = greeting.snapshot.map(|as_of| PassedSnapshot {
                as_of,
                ..PassedSnapshot::default()
            });
        }
    }

    /// Looks at a snapshot frame.
    fn snapshot(&mut self, frame: &Snapshot, bytes: usize) -> Option<String> {
        let scope = self.scopes.entry(frame.scope.clone()).or_default();
        let number = frame.number;
        let Some(snapshot) = scope.snapshot.as_mut().filter(|it| !it.is_complete) else {
            return Some(format!("I11: snapshot frame {number} was not announced"));
        };
        let due = snapshot.sent + 1;
        (snapshot.sent, snapshot.is_complete) = (number, frame.last);
        snapshot.out.insert(number, bytes);
        let out: usize = snapshot.out.values().sum();
        if number != due {
            return Some(format!(
                "I11: snapshot frame {number} came where {due} was due"
            ));
        }
        if frame.seq < snapshot.as_of {
            let (seq, as_of) = (frame.seq, snapshot.as_of);
            return Some(format!(
                "I11: a snapshot of {seq}, the feed goes on behind {as_of}"
            ));
        }
        let max = limits::FEED_WINDOW_BYTES + limits::FEED_WEIGHT_MAX;
        (out > max).then(|| format!("I10: {out} bytes of a snapshot are out"))
    }

    /// Takes note of what was taken of a snapshot; the feed goes on behind it after the last frame.
    fn taken(&mut self, taken: &Taken) -> Option<String> {
        let scope = self.scopes.entry(taken.scope.clone()).or_default();
        let number = taken.number;
        let Some(snapshot) = scope.snapshot.as_mut().filter(|it| number <= it.sent) else {
            return Some(format!(
                "I11: snapshot frame {number} was taken and not sent"
            ));
        };
        snapshot.out.retain(|open, _| *open > number);
        if snapshot.is_complete && snapshot.out.is_empty() {
            scope.next = Some(snapshot.as_of + 1);
            scope.snapshot = None;
        }
        None
    }

    /// Tells whether a frame of a version may not be sent in this session.
    fn is_too_new(&self, frame: &Frame, version: u16) -> Option<String> {
        let is_old = self.newest != 0 && self.newest < version;
        is_old.then(|| format!("{:?} in a session of version {}", frame.kind(), self.newest))
    }
}

/// The scope whose documents a frame brings down.
const fn brings(frame: &Frame) -> Option<&Scope> {
    match frame {
        Frame::Feed(feed) => Some(&feed.scope),
        Frame::Compared(compared) => Some(&compared.scope),
        Frame::Snapshot(snapshot) => Some(&snapshot.scope),
        Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::Push(_)
        | Frame::Ack(_)
        | Frame::Applied(_)
        | Frame::Reconcile(_)
        | Frame::Compare(_)
        | Frame::Notice(_)
        | Frame::Removed(_)
        | Frame::Noted(_)
        | Frame::Taken(_)
        | Frame::Offer(_)
        | Frame::Offered(_)
        | Frame::Prove(_)
        | Frame::Kept(_)
        | Frame::Get(_)
        | Frame::Part(_)
        | Frame::Withheld(_)
        | Frame::Here(_)
        | Frame::Gone(_)
        | Frame::Watch(_)
        | Frame::Positions(_)
        | Frame::Moved(_)
        | Frame::Bring(_)
        | Frame::Close(_) => None,
    }
}

impl World {
    /// Whether the relay's own table grants a device a scope.
    fn is_granted(&self, device: DeviceId, scope: &Scope) -> bool {
        let Some(store) = &self.relay.store else {
            return false;
        };
        let rows = store.devices().expect("a living database can be read");
        let row = rows.iter().find(|row| row.device == device);
        row.and_then(|row| row.grants.get(scope))
            .is_some_and(|granted| !granted.verbs.is_empty())
    }

    /// Whether a device may be sent documents of a scope. What an open session was told holds for a while; and a relay
    /// that died at taking a right, or was restored, is told again when the storm is over.
    pub(crate) fn is_fed(&self, node: usize, scope: &Scope) -> bool {
        let node = &self.nodes[node];
        let is_fresh = self.time < node.moved + WITHDRAWN_WITHIN;
        node.scopes.contains(scope) || is_fresh || self.is_granted(node.device, scope)
    }

    /// I9: nothing more is admitted from a device that was revoked, and soon nothing sent to it.
    fn is_for_revoked(&self, session: SessionId, frame: &Frame) -> Option<&'static str> {
        let node = &self.nodes[self.network.get(session)?.node];
        let what = match frame {
            Frame::Ack(ack) if ack.verdicts.contains(&Verdict::Accepted) => "a push is accepted",
            Frame::Feed(_)
            | Frame::Compared(_)
            | Frame::Snapshot(_)
            | Frame::Part(_)
            | Frame::Positions(_)
            | Frame::Moved(_)
                if self.time > node.revoked + WITHDRAWN_WITHIN =>
            {
                "documents are sent"
            }
            Frame::Snapshot(_)
            | Frame::Taken(_)
            | Frame::Ack(_)
            | Frame::Feed(_)
            | Frame::Compared(_)
            | Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Push(_)
            | Frame::Applied(_)
            | Frame::Reconcile(_)
            | Frame::Compare(_)
            | Frame::Notice(_)
            | Frame::Removed(_)
            | Frame::Noted(_)
            | Frame::Offer(_)
            | Frame::Offered(_)
            | Frame::Prove(_)
            | Frame::Kept(_)
            | Frame::Get(_)
            | Frame::Part(_)
            | Frame::Withheld(_)
            | Frame::Here(_)
            | Frame::Gone(_)
            | Frame::Watch(_)
            | Frame::Positions(_)
            | Frame::Moved(_)
            | Frame::Bring(_)
            | Frame::Close(_) => return None,
        };
        let store = self.relay.store.as_ref().filter(|_| node.is_revoked)?;
        let rows = store.devices().expect("a living database can be read");
        let row = rows.iter().find(|row| row.device == node.device)?;
        row.revoked.is_some().then_some(what)
    }

    /// Looks at a frame of a device's.
    pub(crate) fn step_up(&mut self, session: SessionId, frame: &Frame, bytes: usize) {
        if let Some(what) = self.steps.up(session, frame, bytes) {
            self.violate(format!("{session:?}: {what}"));
        }
    }

    /// Looks at a frame of the relay's.
    pub(crate) fn step_down(&mut self, session: SessionId, frame: &Frame, bytes: usize) {
        let Some(connection) = self.network.get(session) else {
            return;
        };
        self.tally.snapshot_frames += u64::from(matches!(frame, Frame::Snapshot(_)));
        let outside = brings(frame).filter(|scope| !self.is_fed(connection.node, scope));
        if let Some(what) = self.steps.down(session, frame, bytes) {
            self.violate(format!("{session:?}: {what}"));
        }
        if let Some(what) = self.is_for_revoked(session, frame) {
            self.violate(format!("I9: {session:?}: {what}"));
        }
        if let Some(scope) = outside {
            self.violate(format!("I4: {session:?} is sent documents of {scope}"));
        }
    }

    /// Forgets a session that has ended.
    pub(crate) fn steps_end(&mut self, session: SessionId) {
        self.steps.sessions.remove(&session);
    }
}
