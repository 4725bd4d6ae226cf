//! The device that turned: enrolled, with a key and a right to write, and bent on harm.
//!
//! Its app is as honest as any; beside it the thief opens connections in the device's name and pushes forged
//! changes among honest ones, with a good seal. What the relay makes of them is checked: none that no honest
//! device could have made is ever admitted, and what was refused is nowhere afterwards. Not here: how changes are
//! forged (`forge`).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, DocumentId};
use gridbeat_relay_core::SessionId;
use gridbeat_sync_protocol::{
    BatchStatement, Entry, FeedChange, Frame, Push, PushChange, PushDocument, Verdict, encode,
};

use crate::forge::{self, Forgery, Material};
use crate::node::signer;
use crate::world::{Event, World};

/// In 1,000 pushes of the device that turned, how many are followed by a forged one, at most: it makes a quarter
/// of all pushes, so that of all up to one in twenty is forged.
const FORGED_PER_MILLE_MAX: u64 = 250;

/// How many changes of a colleague the thief keeps of one document.
const KEPT_MAX: usize = 8;

/// The device that turned, and what it has heard and done.
#[derive(Debug, Default)]
pub(crate) struct Hostile {
    /// Which device it is.
    pub(crate) node: Option<usize>,
    per_mille: u64,
    /// Changes of colleagues that the feed brought.
    heard: BTreeMap<DocumentId, Vec<Vec<u8>>>,
    /// Its last greeting.
    hello: Option<Vec<u8>>,
    /// Every forged change that was pushed.
    forged: BTreeMap<(DocumentId, ChangeHash), Forgery>,
    /// Those that the relay admitted, as it may those of some sorts.
    admitted: BTreeSet<(DocumentId, ChangeHash)>,
    /// Those that the relay refused.
    refused: BTreeSet<(DocumentId, ChangeHash)>,
}

impl World {
    /// Turns a device, if the seed has that fault.
    pub(crate) fn turn_a_device(&mut self, devices: u64) {
        if self.options.faults.hostile {
            self.hostile.node = usize::try_from(self.random.below(devices)).ok();
            self.hostile.per_mille = 1 + self.random.below(FORGED_PER_MILLE_MAX);
        }
    }

    /// Lets the thief see what the device says, and say something of his own.
    pub(crate) fn overhear_up(&mut self, node: usize, frame: &Frame, bytes: &[u8]) {
        if self.hostile.node != Some(node) {
            return;
        }
        match frame {
            Frame::Hello(_) => self.hostile.hello = Some(bytes.to_vec()),
            Frame::Push(push) if self.is_storm && self.random.chance(self.hostile.per_mille) => {
                self.push_forged(node, push);
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

    /// Lets the thief see what the device is told.
    pub(crate) fn overhear_down(&mut self, node: usize, frame: &Frame) {
        if self.hostile.node != Some(node) {
            return;
        }
        let heard: Vec<_> = if let Frame::Feed(feed) = frame {
            feed.entries.iter().filter_map(brought).collect()
        } else if let Frame::Snapshot(snapshot) = frame {
            let documents = snapshot.documents.iter();
            documents
                .map(|it| (it.document, it.changes.as_slice()))
                .collect()
        } else {
            return;
        };
        let device = self.nodes[node].device;
        for (document, changes) in heard {
            let kept = self.hostile.heard.entry(document).or_default();
            let theirs = changes.iter().filter(|change| change.author != device);
            kept.extend(theirs.map(|change| change.bytes.clone()));
            kept.drain(..kept.len().saturating_sub(KEPT_MAX));
        }
    }

    /// Pushes a forged change among those of an honest push, over a connection of its own.
    fn push_forged(&mut self, node: usize, honest: &Push) {
        let (Some(hello), Some(seal)) = (self.hostile.hello.clone(), &honest.seal) else {
            return;
        };
        let sort = self.random.below(Forgery::ALL.len() as u64);
        let sort = Forgery::ALL[usize::try_from(sort).unwrap_or(0)];
        let mut documents = honest.documents.clone();
        let place = self.random.below(documents.len().max(1) as u64);
        let Some(target) = documents.get_mut(usize::try_from(place).unwrap_or(0)) else {
            return;
        };
        let Some(bytes) = self.forged(node, sort, target) else {
            return;
        };
        let change = (target.document, forge::name(&bytes));
        let place = self.random.below(target.changes.len() as u64 + 1);
        let place = usize::try_from(place).unwrap_or(0);
        target.changes.insert(
            place,
            PushChange {
                bytes,
                recovered_from: None,
            },
        );
        let (device, install) = (self.nodes[node].device, self.nodes[node].install);
        let statement =
            BatchStatement::of_push(device, install, seal.stamp, &honest.scope, &documents);
        let (seal, _) = statement.seal(&signer(device));
        let names = documents.iter().flat_map(|it| {
            let changes = it.changes.iter();
            changes.map(|change| (it.document, forge::name(&change.bytes)))
        });
        let names = names.collect();
        let push = Frame::Push(Push {
            form: honest.form,
            number: 1,
            after: 0,
            scope: honest.scope.clone(),
            documents,
            seal: Some(seal),
        });
        if self.relay.core.is_none() {
            return;
        }
        self.trace.line(format_args!(
            "{:?} device {node} forges {sort:?} in {:?}: {:?}",
            self.time, change.0, change.1
        ));
        self.tally.forged += 1;
        self.hostile.forged.insert(change, sort);
        let session = self.network.open(node, self.time, true);
        self.pushes.insert((session, 1), names);
        let now = self.relay_now();
        let key = Some(signer(device).public_key());
        self.relay_do(|relay| relay.connected(now, session, device, key));
        let mut said = vec![hello, encode(&push)];
        said.extend(self.ask_for_photo(node, session));
        for (index, bytes) in said.into_iter().enumerate() {
            let wait = Duration::from_millis(1 + 20 * index as u64 + self.random.below(15));
            self.after(wait, Event::Up(session, bytes));
        }
        self.after(Duration::from_secs(30), Event::Cut(session));
    }

    fn forged(&mut self, node: usize, sort: Forgery, target: &PushDocument) -> Option<Vec<u8>> {
        let device = self.nodes[node].device;
        let colleague = self.nodes.iter().map(|it| it.device);
        let colleague = colleague.filter(|it| *it != device).last()?;
        let elsewhere = self.hostile.heard.iter();
        let mut elsewhere = elsewhere.filter(|(document, _)| **document != target.document);
        let material = Material {
            own: &target.changes.last()?.bytes,
            colleagues: self
                .hostile
                .heard
                .get(&target.document)
                .map_or(&[], Vec::as_slice),
            elsewhere: elsewhere.find_map(|(_, changes)| changes.last().map(Vec::as_slice)),
            device,
            colleague,
        };
        forge::forge(sort, &material, &mut self.random)
    }

    /// Takes in what the relay said of one change of a push.
    pub(crate) fn judged(&mut self, change: (DocumentId, ChangeHash), verdict: &Verdict) {
        let Some(sort) = self.hostile.forged.get(&change).copied() else {
            return;
        };
        match verdict {
            Verdict::Refused(reason) => {
                self.trace.line(format_args!("refused: {}", reason.code));
                self.hostile.refused.insert(change);
            }
            Verdict::Accepted | Verdict::Known if sort.may_be_admitted() => {
                self.tally.forged_admitted += 1;
                self.hostile.admitted.insert(change);
            }
            Verdict::Accepted | Verdict::Known => {
                self.violate(format!("a forged change was admitted: {sort:?}"));
            }
            Verdict::Incomplete => {}
        }
    }

    /// I8: what was refused is in no log, of the relay's or any device's; unless it was admitted at another time, when
    /// its device had a grant that it has no more, or not yet.
    pub(crate) fn check_quarantine(&mut self) {
        let mut found = Vec::new();
        let refused = self.hostile.refused.difference(&self.hostile.admitted);
        for (document, change) in refused {
            let logged = self.relay.store.as_ref().is_some_and(|store| {
                let logged = store.contains(*document, change);
                logged.expect("a living database can be read")
            });
            if logged {
                found.push(format!("the relay has {change}, which it refused"));
            }
            for (number, node) in self.nodes.iter().enumerate() {
                let Some(core) = &node.core else { continue };
                let history = crate::checks::history(core, *document);
                if history.iter().any(|entry| entry.change == *change) {
                    found.push(format!("device {number} has {change}, which was refused"));
                }
            }
        }
        for violation in found {
            self.violate(violation);
        }
    }

    /// Tells whether a session is one of the thief's own.
    pub(crate) fn is_thiefs(&self, session: SessionId) -> bool {
        self.network.get(session).is_some_and(|it| it.is_replay)
    }
}

/// The changes that an entry brings, and of what.
fn brought(entry: &Entry) -> Option<(DocumentId, &[FeedChange])> {
    match entry {
        Entry::Attach {
            document, changes, ..
        } => Some((*document, changes)),
        Entry::Change { document, change } => Some((*document, core::slice::from_ref(change))),
        Entry::Detach { .. } | Entry::Own { .. } => None,
    }
}
