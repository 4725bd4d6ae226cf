//! The network between devices and the relay: connections, delays, cuts, partitions.
//!
//! It promises what QUIC promises and no more. Control frames of one direction arrive in order;
//! a push, a feed frame or a part has a stream of its own and may overtake others; a datagram may, too, and may be lost. What is in flight when
//! a connection ends is gone. While a device is cut off, one way or both, what was sent waits for the link, as
//! retransmissions do, or dies with the connection.

use core::time::Duration;
use std::collections::BTreeMap;

use gridbeat_base::Random;
use gridbeat_relay_core::SessionId;
use gridbeat_sync_protocol::Frame;

/// One connection between a device and the relay.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Which device.
    pub(crate) node: usize,
    /// A replayed first flight: what the relay answers reaches nobody.
    pub(crate) is_replay: bool,
    // When the last control frame each way arrives: the next may not come earlier.
    control_up: Duration,
    control_down: Duration,
    /// The frames of the first flight, for a replay.
    pub(crate) first_flight: Vec<Vec<u8>>,
}

/// How one device's link behaves; drawn per seed and device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) delay_min: Duration,
    pub(crate) delay_spread: Duration,
    /// In 1,000 frames, how many are held up long enough to be overtaken.
    pub(crate) held_per_mille: u64,
    /// In 1,000 frames, how many take their connection down with them.
    pub(crate) cut_per_mille: u64,
    /// In 1,000 datagrams, how many are lost.
    pub(crate) lost_per_mille: u64,
    /// Nothing that the device sends arrives before this moment.
    pub(crate) mute_until: Duration,
    /// Nothing that the relay sends arrives before this moment.
    pub(crate) deaf_until: Duration,
}

impl Link {
    pub(crate) const CALM: Self = Self {
        delay_min: Duration::from_millis(40),
        delay_spread: Duration::from_millis(20),
        held_per_mille: 0,
        cut_per_mille: 0,
        lost_per_mille: 0,
        mute_until: Duration::ZERO,
        deaf_until: Duration::ZERO,
    };

    /// Tells whether no connection can be opened.
    pub(crate) fn is_partitioned(&self, now: Duration) -> bool {
        self.mute_until.max(self.deaf_until) > now
    }

    pub(crate) fn stormy(random: &mut Random, reordering: bool, cuts: bool) -> Self {
        Self {
            delay_min: Duration::from_millis(20 + random.below(280)),
            delay_spread: Duration::from_millis(1 + random.below(400)),
            held_per_mille: if reordering { random.below(400) } else { 0 },
            cut_per_mille: match cuts {
                // One link in five is so bad that hardly a session says all it has to.
                true if random.chance(200) => random.below(100),
                true => random.below(25),
                false => 0,
            },
            lost_per_mille: 300,
            mute_until: Duration::ZERO,
            deaf_until: Duration::ZERO,
        }
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// It arrives then.
    Arrives(Duration),
    /// It is lost, and its connection ends then.
    Cuts(Duration),
    /// It is lost, as a datagram may be.
    Lost,
}

/// All connections, by the relay's session.
#[derive(Debug, Default)]
pub(crate) struct Network {
    connections: BTreeMap<SessionId, Connection>,
    next: u64,
}

impl Network {
    pub(crate) fn open(&mut self, node: usize, now: Duration, is_replay: bool) -> SessionId {
        self.next += 1;
        let session = SessionId(self.next);
        let connection = Connection {
            node,
            is_replay,
            control_up: now,
            control_down: now,
            first_flight: Vec::new(),
        };
        self.connections.insert(session, connection);
        session
    }

    pub(crate) fn close(&mut self, session: SessionId) -> Option<Connection> {
        self.connections.remove(&session)
    }

    pub(crate) fn get(&self, session: SessionId) -> Option<&Connection> {
        self.connections.get(&session)
    }

    pub(crate) fn get_mut(&mut self, session: SessionId) -> Option<&mut Connection> {
        self.connections.get_mut(&session)
    }

    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.connections.keys().copied().collect()
    }

    /// Decides what becomes of a frame sent at `now`.
    pub(crate) fn send(
        &mut self,
        session: SessionId,
        frame: &Frame,
        up: bool,
        link: &Link,
        now: Duration,
        random: &mut Random,
    ) -> Option<Fate> {
        let connection = self.connections.get_mut(&session)?;
        let spread = random.below(u64::try_from(link.delay_spread.as_micros()).unwrap_or(1));
        let opens = if up { link.mute_until } else { link.deaf_until };
        let mut arrives = now.max(opens) + link.delay_min + Duration::from_micros(spread);
        if random.chance(link.cut_per_mille) {
            return Some(Fate::Cuts(arrives));
        }
        if frame.kind().is_datagram() {
            if opens > now || random.chance(link.lost_per_mille) {
                return Some(Fate::Lost);
            }
            if random.chance(link.held_per_mille) {
                arrives += link.delay_min * 4;
            }
        } else if frame.kind().has_own_stream() {
            if random.chance(link.held_per_mille) {
                arrives += link.delay_min * 4;
            }
        } else {
            let last = if up {
                &mut connection.control_up
            } else {
                &mut connection.control_down
            };
            arrives = arrives.max(*last + Duration::from_micros(1));
            *last = arrives;
        }
        Some(Fate::Arrives(arrives))
    }
}
