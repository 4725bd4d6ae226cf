//! I6, idempotence: after the calm, pushes of the storm are said again, and change nothing.

use core::time::Duration;
use std::collections::BTreeMap;

use gridbeat_base::{ChangeHash, Digest, DocumentId, Scope};
use gridbeat_relay_core::SessionId;
use gridbeat_sync_protocol::{Frame, Push, encode};

use crate::leave::quarantined;
use crate::node::signer;
use crate::world::{Event, World};

/// How many pushes are said again: the first ones of a run, some of them older than a restored backup.
const PUSHES_MAX: usize = 12;

/// How long the relay has to answer them.
pub(crate) const ANSWERS: Duration = Duration::from_secs(60);

/// What was said, and how the relay's scopes stood before it was said again.
#[derive(Debug, Default)]
pub(crate) struct Again {
    hellos: BTreeMap<usize, Vec<u8>>,
    pushes: Vec<(usize, SessionId, Push)>,
    before: Option<Vec<(Scope, u64, Digest)>>,
}

impl World {
    /// Remembers what a device said.
    pub(crate) fn remember(
        &mut self,
        node: usize,
        session: SessionId,
        frame: &Frame,
        bytes: &[u8],
    ) {
        match frame {
            Frame::Hello(_) => {
                self.again.hellos.insert(node, bytes.to_vec());
            }
            Frame::Push(push) if self.again.pushes.len() < PUSHES_MAX => {
                self.again.pushes.push((node, session, push.clone()));
            }
            Frame::Push(_)
            | Frame::Welcome(_)
            | Frame::Ack(_)
            | Frame::Feed(_)
            | Frame::Applied(_)
            | Frame::Reconcile(_)
            | Frame::Compare(_)
            | Frame::Compared(_)
            | Frame::Notice(_)
            | Frame::Removed(_)
            | Frame::Noted(_)
            | Frame::Snapshot(_)
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
            | Frame::Close(_) => {}
        }
    }

    /// Says pushes again whose every change was acknowledged and is held somewhere: each over a connection of its
    /// own, in its device's name.
    pub(crate) fn say_again(&mut self) {
        self.again.before = self.standing();
        let store = self.relay.store.as_ref();
        let in_quarantine = store.map(quarantined).unwrap_or_default();
        for (node, session, mut push) in core::mem::take(&mut self.again.pushes) {
            let changes = self.pushes.get(&(session, push.number));
            // What a restored relay has in its quarantine by now, by other rights, would be news to it.
            let is_known = |it: &(DocumentId, ChangeHash)| {
                self.acknowledged.contains(it) && !in_quarantine.contains(&it.1)
            };
            let known = changes.is_some_and(|all| all.iter().all(is_known));
            let hello = self.again.hellos.get(&node).cloned();
            let (true, Some(hello)) = (known, hello) else {
                continue;
            };
            (push.number, push.after) = (1, 0);
            let again = self.network.open(node, self.time, true);
            let now = self.relay_now();
            let device = self.nodes[node].device;
            let key = Some(signer(device).public_key());
            self.relay_do(|relay| relay.connected(now, again, device, key));
            self.after(Duration::from_millis(10), Event::Up(again, hello));
            let push = encode(&Frame::Push(push));
            self.after(Duration::from_millis(30), Event::Up(again, push));
            self.tally.said_again += 1;
        }
    }

    /// Checks that it made no difference.
    pub(crate) fn check_again(&mut self) {
        if self.standing() != self.again.before {
            self.violate("I6: what was said again changed the relay's scopes".into());
        }
    }

    fn standing(&self) -> Option<Vec<(Scope, u64, Digest)>> {
        let store = self.relay.store.as_ref()?;
        let rows = store.scopes().expect("a living database can be read");
        let rows = rows.into_iter();
        Some(rows.map(|row| (row.scope, row.head, row.digest)).collect())
    }
}
