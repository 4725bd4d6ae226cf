//! Where devices are: the last fix of each, in memory alone, for those that may know.
//!
//! Somebody's way is his own affair but for what his work needs: so nothing older than the last fix is here, nothing
//! is written down, and how exact it is depends on who asks (`PROTOCOL.md`, 4.26). What he did where is in his
//! tracks, which are read by the rights of records. Not here: how positions travel.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridbeat_base::{DeviceId, Monotonic, Now, Position, Scope, Verb, Verbs, WallTime};
use gridbeat_sync_protocol::limits::{
    POSITION_KEPT, POSITION_KEPT_COARSE, SIGHTINGS_MAX, SIGHTINGS_MOVED_MAX,
};
use gridbeat_sync_protocol::{Fix, Gone, Here, Positions, Seen, Sighting, Watch};

use crate::relay::Relay;
use crate::session::Session;
use crate::{Output, Rights, SessionId};

/// How long what has moved is put together for those that watch.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// A coarse position is in the middle of a step of so many ten-millionths of a degree: 223 m from north to south.
const COARSE_STEP_E7: i32 = 20_000;

/// How exact a coarse position is said to be, in decimetres: from the middle of a step to its corner, at the equator.
const COARSE_ACCURACY_DM: u32 = 1_500;

/// Where the devices are.
#[derive(Debug, Default)]
pub(crate) struct Whereabouts {
    places: BTreeMap<DeviceId, Place>,
    /// Those that have moved since it was last told.
    moved: BTreeSet<DeviceId>,
    /// When that is to be told.
    due: Option<Monotonic>,
}

/// The last word of one device.
#[derive(Debug)]
struct Place {
    session: SessionId,
    number: u64,
    /// When the fix was made, by the relay's clock; later than what was held of the device before, whatever the link did
    /// to their order.
    taken: WallTime,
    /// When it came, and how old it was then.
    came: Monotonic,
    age: Duration,
    /// Where the device may change something.
    scopes: BTreeSet<Scope>,
    /// `None` if it tells no more: held on, so that what comes late is not taken.
    fix: Option<Fix>,
}

impl Place {
    fn age(&self, now: Monotonic) -> Duration {
        self.age.saturating_add(now.since(self.came))
    }

    /// Returns what is told of it to somebody; `None` if it is too old for him.
    fn seen(&self, now: Monotonic, is_exact: bool) -> Option<Seen> {
        let kept = if is_exact {
            POSITION_KEPT
        } else {
            POSITION_KEPT_COARSE
        };
        let fix = self.fix.filter(|_| self.age(now) < kept)?;
        let fix = if is_exact { fix } else { coarse(&fix) };
        Some(Seen { is_exact, fix })
    }
}

/// Returns whether a device of these rights is told of one that may change something in these scopes, and then whether
/// exactly.
fn is_exact_for(scopes: &BTreeSet<Scope>, rights: &Rights) -> Option<bool> {
    let shared = scopes.iter().map(|scope| rights.in_scope(scope));
    let shared = shared.filter(|verbs| verbs.contains(Verb::Read));
    shared.map(is_exact).max()
}

const fn is_exact(verbs: Verbs) -> bool {
    verbs.contains(Verb::Dispatch) || verbs.contains(Verb::Administer)
}

/// Returns what is told of a fix to those who are only to know who is near.
fn coarse(fix: &Fix) -> Fix {
    let middle = |e7: i32, max: i32| {
        let middle = e7.div_euclid(COARSE_STEP_E7) * COARSE_STEP_E7 + COARSE_STEP_E7 / 2;
        middle.clamp(-max, max)
    };
    let position = Position::from_e7(
        middle(fix.position.latitude_e7(), 900_000_000),
        middle(fix.position.longitude_e7(), 1_800_000_000),
    );
    Fix {
        position: position.expect("kept on the globe"),
        accuracy_dm: fix.accuracy_dm.max(COARSE_ACCURACY_DM),
        speed_cm_s: None,
        heading_deg: None,
        battery_percent: None,
        waiting: None,
        ..*fix
    }
}

impl Whereabouts {
    pub(crate) const fn next_deadline(&self) -> Option<Monotonic> {
        self.due
    }

    /// Returns the devices of which something is held.
    pub(crate) fn devices(&self) -> impl Iterator<Item = DeviceId> {
        self.places.keys().copied()
    }

    fn is_news(&self, device: DeviceId, session: SessionId, number: u64) -> bool {
        let held = self.places.get(&device);
        held.is_none_or(|place| (place.session, place.number) < (session, number))
    }

    /// Forgets what is too old for everybody.
    fn forget_old(&mut self, now: Monotonic) {
        self.places
            .retain(|_, place| place.age(now) < POSITION_KEPT);
    }

    /// Puts a place in the stead of what was held of the device; returns when it is said to be of.
    fn put(&mut self, device: DeviceId, mut place: Place) -> WallTime {
        if let Some(before) = self.places.get(&device) {
            let after = WallTime(before.taken.millis().saturating_add(1));
            place.taken = place.taken.max(after);
        }
        let taken = place.taken;
        self.places.insert(device, place);
        taken
    }
}

impl Relay {
    /// Returns where the devices are, exactly: for the command centre.
    pub fn positions(&self, now: Now) -> Vec<Sighting> {
        let places = self.whereabouts.places.iter();
        places
            .filter_map(|(device, place)| {
                let seen = Some(place.seen(now.monotonic, true)?);
                Some(Sighting {
                    device: *device,
                    taken: place.taken,
                    seen,
                })
            })
            .collect()
    }

    /// Takes in where a device is.
    pub(crate) fn here(&mut self, now: Now, id: SessionId, here: Here) {
        let age = Duration::from_millis(here.age_ms);
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let (device, scopes) = (session.device, scopes_of(session.rights.as_ref()));
        if scopes.is_empty()
            || age >= POSITION_KEPT
            || !self.whereabouts.is_news(device, id, here.number)
        {
            return;
        }
        self.counters.positions += 1;
        let place = Place {
            session: id,
            number: here.number,
            taken: before(now.wall, age),
            came: now.monotonic,
            age,
            scopes,
            fix: Some(here.fix),
        };
        let seen = place.seen(now.monotonic, true);
        let whereabouts = &mut self.whereabouts;
        whereabouts.forget_old(now.monotonic);
        let taken = whereabouts.put(device, place);
        whereabouts.moved.insert(device);
        whereabouts
            .due
            .get_or_insert_with(|| now.monotonic.plus(TOLD_EVERY));
        self.output(Output::Sighted(Sighting {
            device,
            taken,
            seen,
        }));
    }

    /// Takes in that a device tells nobody any more where it is.
    pub(crate) fn gone(&mut self, now: Now, id: SessionId, gone: Gone) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let device = session.device;
        if self.whereabouts.is_news(device, id, gone.number) {
            self.forget_place(now, device, id, gone.number);
        }
    }

    /// Takes in that a device wants to know where others are, or no more.
    pub(crate) fn watch(&mut self, now: Now, id: SessionId, watch: Watch) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        // Who was revoked hands over what he has, and is told nothing.
        let is_let_in = matches!(session.rights, Some(Rights::Granted(_)));
        session.watches = watch.is_wanted && is_let_in;
        if !session.watches {
            return;
        }
        let places = self.whereabouts.places.iter();
        let session = &self.sessions[&id];
        let sightings: Vec<Sighting> = places
            .filter_map(|(device, place)| sighting(session, *device, place, now.monotonic))
            .collect();
        self.tell_positions(now, id, &sightings, true);
    }

    /// Tells those that watch what has moved, if it is time.
    pub(crate) fn tell_moved(&mut self, now: Now) {
        let whereabouts = &mut self.whereabouts;
        if whereabouts
            .due
            .take_if(|due| *due <= now.monotonic)
            .is_none()
        {
            return;
        }
        let moved = std::mem::take(&mut whereabouts.moved);
        let places = &self.whereabouts.places;
        let watching = self.sessions.iter().filter(|(_, session)| session.watches);
        let told: Vec<(SessionId, Vec<Sighting>)> = watching
            .map(|(id, session)| {
                let moved = moved.iter().filter_map(|device| {
                    sighting(session, *device, places.get(device)?, now.monotonic)
                });
                (*id, moved.collect())
            })
            .collect();
        for (id, sightings) in told {
            if !sightings.is_empty() {
                self.tell_positions(now, id, &sightings, false);
            }
        }
    }

    /// Takes in what devices may do now of which something is held: it goes with the rights to be there.
    pub(crate) fn rights_of_places(&mut self, now: Now, rights: &BTreeMap<DeviceId, Rights>) {
        let mut ended = Vec::new();
        for (device, place) in &mut self.whereabouts.places {
            let Some(rights) = rights.get(device).filter(|_| place.fix.is_some()) else {
                continue;
            };
            let scopes = scopes_of(Some(rights));
            if scopes.is_empty() {
                ended.push((*device, place.session, place.number));
            } else {
                place.scopes = scopes;
            }
        }
        for (device, session, number) in ended {
            self.forget_place(now, device, session, number);
        }
    }

    /// Forgets where a device was, by its word of that number, and says so to those who knew.
    fn forget_place(&mut self, now: Now, device: DeviceId, session: SessionId, number: u64) {
        let whereabouts = &mut self.whereabouts;
        whereabouts.moved.remove(&device);
        let nowhere = Place {
            session,
            number,
            taken: now.wall,
            came: now.monotonic,
            age: Duration::ZERO,
            scopes: BTreeSet::new(),
            fix: None,
        };
        let before = whereabouts.places.get_mut(&device).map(|place| {
            let fix = place.fix.take();
            (std::mem::take(&mut place.scopes), fix)
        });
        let taken = whereabouts.put(device, nowhere);
        let Some((scopes, Some(_))) = before else {
            return;
        };
        let gone = Sighting {
            device,
            taken,
            seen: None,
        };
        let watching = self.sessions.iter().filter(|(_, session)| session.watches);
        let knew: Vec<SessionId> = watching
            .filter(|(_, session)| {
                let rights = session.rights.as_ref();
                session.device != device
                    && rights.is_some_and(|rights| is_exact_for(&scopes, rights).is_some())
            })
            .map(|(id, _)| *id)
            .collect();
        for id in knew {
            self.tell_positions(now, id, &[gone], true);
        }
        self.output(Output::Sighted(gone));
    }

    /// Tells one that watches: surely, if only with an empty list, or in datagrams.
    fn tell_positions(&mut self, now: Now, id: SessionId, sightings: &[Sighting], surely: bool) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let max = if surely {
            SIGHTINGS_MAX
        } else {
            SIGHTINGS_MOVED_MAX
        };
        let positions = |sightings: &[Sighting]| Positions {
            now: now.wall,
            sightings: sightings.to_vec(),
        };
        let mut parts: Vec<Positions> = sightings.chunks(max).map(positions).collect();
        if parts.is_empty() {
            parts.push(positions(&[]));
        }
        for part in parts {
            let told = match surely {
                true => session.protocol.positions(part),
                false => session.protocol.moved(part),
            };
            if told.is_err() {
                // It has ended meanwhile: that is among its outputs.
                break;
            }
        }
        self.settle(now, id);
    }
}

/// Returns what a session's device is told of another; `None` if nothing.
fn sighting(
    session: &Session,
    device: DeviceId,
    place: &Place,
    now: Monotonic,
) -> Option<Sighting> {
    if session.device == device {
        return None;
    }
    let is_exact = is_exact_for(&place.scopes, session.rights.as_ref()?)?;
    let seen = Some(place.seen(now, is_exact)?);
    Some(Sighting {
        device,
        taken: place.taken,
        seen,
    })
}

/// Returns the scopes in which something may be changed.
fn scopes_of(rights: Option<&Rights>) -> BTreeSet<Scope> {
    match rights {
        Some(Rights::Granted(scopes)) => scopes
            .iter()
            .filter(|(_, verbs)| verbs.may_change())
            .map(|(scope, _)| scope.clone())
            .collect(),
        Some(Rights::Unknown | Rights::Revoked) | None => BTreeSet::new(),
    }
}

fn before(time: WallTime, age: Duration) -> WallTime {
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    WallTime(time.millis().saturating_sub(age_ms))
}
