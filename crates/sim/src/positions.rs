//! Where officers are, as far as they tell: what is told, who is told, and what is known after the calm (I14).
//!
//! Datagrams are lost, doubled by replays and overtake each other; phones are killed with what they held in memory. The
//! draws are from a source of their own, so that a city goes its way whether or not its officers tell where they are.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{DeviceId, Position, Random, Scope, Verb, Verbs};
use gridbeat_device_core::Whereabouts;
use gridbeat_relay_core::SessionId;
use gridbeat_relay_store::Registry as _;
use gridbeat_sync_protocol::{Frame, FrameKind, Positions, VERSION_OF_POSITIONS};

use crate::world::World;

/// The middle of the step of coarse positions that every position here is in, as there are fewer than 20,000.
const COARSE_E7: i32 = 10_000;

/// What officers told, and who looks.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) random: Random,
    /// What each phone's officer told last; `None` if he told that he tells no more.
    last: BTreeMap<usize, Option<Position>>,
    /// Every position that was ever told, by device: no two are the same.
    ever: BTreeMap<DeviceId, BTreeSet<i32>>,
    count: i32,
    /// The phones whose officers look where others are.
    looking: BTreeSet<usize>,
}

impl Told {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::from_number(seed ^ 0x705f_6f73),
            last: BTreeMap::new(),
            ever: BTreeMap::new(),
            count: 0,
            looking: BTreeSet::new(),
        }
    }
}

/// Tells whether a frame is about positions.
pub(crate) const fn is_of_positions(kind: FrameKind) -> bool {
    matches!(
        kind,
        FrameKind::Here
            | FrameKind::Gone
            | FrameKind::Watch
            | FrameKind::Positions
            | FrameKind::Moved
    )
}

/// A position that only this number has.
fn position_at(number: i32) -> Position {
    Position::from_e7(number, 1_217_100_000).expect("north of the equator")
}

impl World {
    /// An officer goes on: he may be somewhere else, be off duty, or look where the others are.
    pub(crate) fn move_on(&mut self, node: usize) {
        if self.told.random.chance(400) {
            self.tell(node);
        } else if self.told.random.chance(150) {
            self.hide(node);
        } else if self.told.random.chance(300) {
            let looks = self.told.random.chance(700);
            self.look(node, looks);
        }
    }

    fn tell(&mut self, node: usize) {
        if self.nodes[node].core.is_none() {
            return;
        }
        self.told.count += 1;
        let position = position_at(self.told.count);
        let device = self.nodes[node].device;
        let ever = self.told.ever.entry(device).or_default();
        ever.insert(position.latitude_e7());
        self.told.last.insert(node, Some(position));
        self.tally.positions += 1;
        self.device_do(node, |core, now| {
            let whereabouts = Whereabouts {
                position,
                accuracy_dm: 50,
                speed_cm_s: None,
                heading_deg: None,
                battery_percent: None,
                receiver_time: None,
            };
            core.share_position(now, whereabouts);
            Ok::<_, ()>(())
        });
    }

    /// An officer tells no more; as the app says too when it starts and he is not on duty.
    pub(crate) fn hide(&mut self, node: usize) {
        if self.nodes[node].core.is_some() {
            self.told.last.insert(node, None);
            self.device_do(node, |core, now| {
                core.hide_position(now);
                Ok::<_, ()>(())
            });
        }
    }

    pub(crate) fn look(&mut self, node: usize, looks: bool) {
        if self.nodes[node].core.is_some() {
            if looks {
                self.told.looking.insert(node);
            } else {
                self.told.looking.remove(&node);
            }
            self.device_do(node, |core, now| {
                core.watch_positions(now, looks);
                Ok::<_, ()>(())
            });
        }
    }

    /// A phone has started again: nobody is on duty by it, and it shows what its officer looked at.
    pub(crate) fn start_again(&mut self, node: usize) {
        if self.told.last.contains_key(&node) {
            self.hide(node);
        }
        let looks = self.told.looking.contains(&node);
        self.look(node, looks);
    }

    /// The storm is over: every other officer tells once more where he is, the others that they tell no more, and
    /// everybody looks.
    pub(crate) fn tell_all(&mut self) {
        for node in 0..self.nodes.len() {
            if node % 2 == 0 {
                self.tell(node);
            } else {
                self.hide(node);
            }
            self.look(node, true);
        }
    }

    /// I14, for each word that the relay says: it is of somebody who told it, and to somebody who may know.
    pub(crate) fn seen_down(&mut self, session: SessionId, frame: &Frame) {
        let (Frame::Positions(Positions { sightings, .. })
        | Frame::Moved(Positions { sightings, .. })) = frame
        else {
            return;
        };
        let Some(connection) = self.network.get(session) else {
            return;
        };
        let reader = connection.node;
        let mut wrong = Vec::new();
        for sighting in sightings {
            let device = sighting.device;
            if device == self.nodes[reader].device {
                wrong.push(format!("I14: device {reader} is told of itself"));
            }
            let Some(seen) = sighting.seen else {
                continue;
            };
            let latitude_e7 = seen.fix.position.latitude_e7();
            let ever = self.told.ever.get(&device);
            let is_told = match seen.is_exact {
                true => ever.is_some_and(|ever| ever.contains(&latitude_e7)),
                // Who may only read is told the middle of the step that all of them are in.
                false => ever.is_some() && latitude_e7 == COARSE_E7,
            };
            if !is_told {
                wrong.push(format!(
                    "I14: {device} never told that it was at {latitude_e7}"
                ));
            }
            if !self.may_know(reader, device) {
                wrong.push(format!("I14: device {reader} is told where {device} is"));
            }
        }
        for what in wrong {
            self.violate(what);
        }
    }

    /// Whether a phone shares a scope with a device, or did just before.
    fn may_know(&self, reader: usize, device: DeviceId) -> bool {
        let mut of_device = (0..self.nodes.len()).filter(|node| self.nodes[*node].device == device);
        of_device.any(|node| {
            let mut scopes = self.scopes.iter();
            scopes.any(|scope| self.is_fed(reader, scope) && self.is_fed(node, scope))
        })
    }

    /// I14, after the calm: whoever looks knows of each that tells, in a scope that both have, where he is, and of nobody
    /// who does not tell.
    pub(crate) fn check_positions(&mut self) {
        let mut wrong = Vec::new();
        for reader in 0..self.nodes.len() {
            let now = self.nodes[reader].now(self.clock());
            let (Some(core), false) = (&self.nodes[reader].core, self.is_out(reader)) else {
                continue;
            };
            let known: BTreeMap<DeviceId, i32> = core
                .positions(now)
                .into_iter()
                .map(|seen| (seen.device, seen.fix.position.latitude_e7()))
                .collect();
            for teller in 0..self.nodes.len() {
                let device = self.nodes[teller].device;
                if device == self.nodes[reader].device || self.is_out(teller) {
                    continue;
                }
                let told = self.told.last.get(&teller).copied().flatten();
                let told = told.and_then(|position| {
                    let is_exact = self.is_told_exactly(reader, teller)?;
                    Some(if is_exact {
                        position.latitude_e7()
                    } else {
                        COARSE_E7
                    })
                });
                if known.get(&device).copied() != told {
                    wrong.push(format!(
                        "I14: device {reader} sees device {teller} at {:?}, which told {:?}",
                        known.get(&device),
                        told
                    ));
                }
            }
        }
        for what in wrong {
            self.violate(what);
        }
    }

    /// Whether the relay's table lets a phone know where another is, and then whether exactly.
    fn is_told_exactly(&self, reader: usize, teller: usize) -> Option<bool> {
        let rows = self.relay.store.as_ref()?.devices().ok()?;
        let verbs = |node: usize, scope: &Scope| {
            let row = rows
                .iter()
                .find(|row| row.device == self.nodes[node].device)?;
            Some(row.grants.get(scope)?.verbs)
        };
        let shared = self.scopes.iter().filter_map(|scope| {
            let reads = verbs(reader, scope).filter(|verbs| verbs.contains(Verb::Read));
            reads.filter(|_| verbs(teller, scope).is_some_and(Verbs::may_change))
        });
        shared.map(|verbs| verbs.contains(Verb::Dispatch)).max()
    }

    /// Whether a phone has no part in it: it turned, was revoked, speaks an older version, moved, or is one of two of one device.
    fn is_out(&self, node: usize) -> bool {
        let at = &self.nodes[node];
        let same = self.nodes.iter().filter(|other| other.device == at.device);
        self.hostile.node == Some(node)
            || at.is_revoked
            || at.is_moved
            || at.speaks < VERSION_OF_POSITIONS
            || same.count() > 1
    }
}
