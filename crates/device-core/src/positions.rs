//! Where this device is, as far as it tells, and where others are, as far as it may know.
//!
//! None of it is in the file: a position is worth something while it is new. Only the newest is told, once a second at
//! most; what could not be told when it was new is told when there is a link, with its age. Where others are is known
//! while this device watches, and ages by its own monotonic clock, so that no wall clock that is wrong makes an old
//! position look new. Rules: `PROTOCOL.md`, 4.23 to 4.26.

use std::collections::BTreeMap;
use std::time::Duration;

use gridbeat_base::{DeviceId, Monotonic, Now, Position, WallTime};
use gridbeat_sync_protocol::limits::{POSITION_KEPT, POSITION_KEPT_COARSE, POSITION_STALE};
use gridbeat_sync_protocol::{DeviceSession, Fix, Positions, SessionError, Sighting};

use crate::Device;

/// How long after a position was told the next one is, at the least.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// A fix of this device's receiver, and what goes with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Whereabouts {
    /// The position.
    pub position: Position,
    /// The radius around it that the device is in, most likely, in decimetres.
    pub accuracy_dm: u32,
    /// How fast it moves, in centimetres a second.
    pub speed_cm_s: Option<u32>,
    /// Whereto, in degrees from north over east, 0 to 359.
    pub heading_deg: Option<u16>,
    /// The charge of its battery, 0 to 100.
    pub battery_percent: Option<u8>,
    /// The receiver's clock when the fix was made.
    pub receiver_time: Option<WallTime>,
}

/// Where another device was last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SeenDevice {
    /// The device.
    pub device: DeviceId,
    /// When the fix was made, by the relay's clock.
    pub taken: WallTime,
    /// How long ago that is.
    pub age: Duration,
    /// Whether that is so long that it may be anywhere by now ([`POSITION_STALE`]): to be shown as such.
    pub is_stale: bool,
    /// Whether the fix is as it was told, and not made coarse for this device.
    pub is_exact: bool,
    /// The fix, with the device's own clock and its receiver's.
    pub fix: Fix,
}

/// What is known of positions.
#[derive(Debug, Default)]
pub(crate) struct Board {
    own: Own,
    /// Whether the relay is to be told of that.
    is_due: bool,
    /// When it was told last.
    told: Option<Monotonic>,
    watches: bool,
    /// Whether the relay is to be told of that.
    watch_due: bool,
    others: BTreeMap<DeviceId, Other>,
    /// Whether `others` is of this session.
    is_fresh: bool,
}

/// What this device tells of itself.
#[derive(Debug, Default)]
enum Own {
    /// Nothing, and it never did.
    #[default]
    Silent,
    /// Nothing any more.
    Hidden,
    /// This, since then.
    Shared(Fix, Monotonic),
}

#[derive(Debug)]
struct Other {
    sighting: Sighting,
    came: Monotonic,
    /// How old it was then.
    age: Duration,
}

impl Board {
    /// Takes in that there is a session, of which the relay knows nothing yet.
    pub(crate) fn connected(&mut self) {
        self.is_due = !matches!(self.own, Own::Silent);
        self.watch_due = self.watches;
        self.is_fresh = false;
    }

    /// Tells the relay what is due.
    pub(crate) fn tell(
        &mut self,
        now: Now,
        session: &mut DeviceSession,
    ) -> Result<(), SessionError> {
        if !session.speaks_of_positions() {
            return Ok(());
        }
        if self.is_due && self.told_due() <= now.monotonic {
            self.is_due = false;
            match &self.own {
                Own::Silent => {}
                Own::Hidden => session.gone()?,
                Own::Shared(fix, made) => {
                    let age = now.monotonic.since(*made).as_millis();
                    session.here(u64::try_from(age).unwrap_or(u64::MAX), *fix)?;
                    self.told = Some(now.monotonic);
                }
            }
        }
        if std::mem::take(&mut self.watch_due) {
            session.watch(self.watches)?;
        }
        Ok(())
    }

    /// Returns when something is to be told that waits for its time.
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.is_due.then(|| self.told_due())
    }

    /// Takes in where others are; returns whether anybody here wants to know.
    pub(crate) fn take_in(&mut self, now: Monotonic, positions: &Positions) -> bool {
        if !self.watches {
            return false;
        }
        if !std::mem::replace(&mut self.is_fresh, true) {
            self.others.clear();
        }
        for sighting in &positions.sightings {
            let held = self.others.get(&sighting.device);
            // PROTOCOL 4.25: datagrams overtake each other.
            if held.is_some_and(|other| other.sighting.taken > sighting.taken) {
                continue;
            }
            let age_ms = positions
                .now
                .millis()
                .saturating_sub(sighting.taken.millis());
            let other = Other {
                sighting: *sighting,
                came: now,
                age: Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)),
            };
            self.others.insert(sighting.device, other);
        }
        true
    }

    fn told_due(&self) -> Monotonic {
        match (&self.own, self.told) {
            (Own::Shared(..), Some(told)) => told.plus(TOLD_EVERY),
            // That it tells no more is told at once.
            (Own::Silent | Own::Hidden, _) | (Own::Shared(..), None) => Monotonic::default(),
        }
    }
}

impl Device {
    /// Tells where this device is, to those that may know (`PROTOCOL.md`, 4.26): now if there is a link, else the newest
    /// when there is one. Call it with every fix while its officer is on duty, and let him see that it is told.
    pub fn share_position(&mut self, now: Now, whereabouts: Whereabouts) {
        let fix = Fix {
            device_time: now.wall,
            receiver_time: whereabouts.receiver_time,
            position: whereabouts.position,
            accuracy_dm: whereabouts.accuracy_dm,
            speed_cm_s: whereabouts.speed_cm_s,
            heading_deg: whereabouts.heading_deg.map(|degrees| degrees % 360),
            battery_percent: whereabouts.battery_percent.map(|percent| percent.min(100)),
            waiting: Some(self.book.waiting.changes),
        };
        self.board.own = Own::Shared(fix, now.monotonic);
        self.board.is_due = true;
        self.send_waiting(now);
    }

    /// Tells nobody any more where this device is: the relay forgets where it was. To be called when duty ends, and when
    /// the app starts off duty, since the relay may not have heard it.
    pub fn hide_position(&mut self, now: Now) {
        self.board.own = Own::Hidden;
        self.board.is_due = true;
        self.send_waiting(now);
    }

    /// Begins to be told where others are, or ends it and forgets them. It costs as many bytes as they move, so only
    /// while somebody looks.
    pub fn watch_positions(&mut self, now: Now, is_wanted: bool) {
        if self.board.watches == is_wanted {
            return;
        }
        self.board.watches = is_wanted;
        self.board.watch_due = true;
        self.board.is_fresh = false;
        if !is_wanted {
            self.board.others.clear();
        }
        self.send_waiting(now);
    }

    /// Returns where others were last, in order of their ids; nobody while this device does not watch.
    pub fn positions(&self, now: Now) -> Vec<SeenDevice> {
        let others = self.board.others.values();
        others
            .filter_map(|other| {
                let seen = other.sighting.seen?;
                let age = other.age.saturating_add(now.monotonic.since(other.came));
                let kept = if seen.is_exact {
                    POSITION_KEPT
                } else {
                    POSITION_KEPT_COARSE
                };
                (age < kept).then_some(SeenDevice {
                    device: other.sighting.device,
                    taken: other.sighting.taken,
                    age,
                    is_stale: age >= POSITION_STALE,
                    is_exact: seen.is_exact,
                    fix: seen.fix,
                })
            })
            .collect()
    }
}
