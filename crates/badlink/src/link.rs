//! A whole link without its sockets: both directions, its ups and downs, its hand-overs.
//!
//! The rules of calling are those of [`Shaper`]. Not here: what a hand-over or a delivery means
//! for a socket (`forwarder`).

use std::sync::Arc;
use std::time::Duration;

use crate::curve::{Curve, Nanos, nanos};
use crate::{Carriage, Direction, Handover, Profile, Refusal, Shaper, Stats};

/// A link went up or down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkChange {
    /// When, from the start of the link.
    pub at: Duration,
    /// Whether the link is up from then on.
    pub up: bool,
}

/// Something to do, now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkEvent<P> {
    /// A packet has arrived at the other side.
    Arrived {
        /// The way it went.
        direction: Direction,
        /// What was pushed.
        packet: P,
    },
    /// The server must see another source address from here on.
    HandedOver,
}

/// A link with everything that is under way on it. `P` is what it carries.
#[derive(Debug)]
pub struct Link<P> {
    up: Shaper<P>,
    down: Shaper<P>,
    curve: Arc<Curve>,
    /// When the profile, and so its curve and its hand-overs, began.
    began: Nanos,
    handover: Handover,
    /// The next planned hand-over.
    planned: Option<Nanos>,
    /// A hand-over that was asked for and is not yet carried out.
    asked: Option<Nanos>,
    handovers: u64,
    forced_down: bool,
    /// Never empty: begins with the state at the start.
    history: Vec<LinkChange>,
    /// The curve's changes until then are in the history.
    now: Nanos,
}

impl<P: Clone> Link<P> {
    /// Starts a link at the beginning of its profile's log.
    pub fn new(profile: &Profile) -> Self {
        let curve = Arc::new(Curve::new(&profile.log, profile.outage_under_kbps));
        let mut link = Self {
            up: Shaper::with_curve(profile, Direction::Up, Arc::clone(&curve)),
            down: Shaper::with_curve(profile, Direction::Down, Arc::clone(&curve)),
            history: vec![LinkChange {
                at: Duration::ZERO,
                up: curve.is_up(0),
            }],
            curve,
            began: 0,
            handover: profile.handover.clone(),
            planned: None,
            asked: None,
            handovers: 0,
            forced_down: false,
            now: 0,
        };
        link.planned = link.plan_after(Duration::ZERO);
        link
    }

    /// Takes in a packet that came at `now`; see [`Shaper::push`].
    pub fn push(
        &mut self,
        now: Duration,
        direction: Direction,
        size_bytes: usize,
        carriage: Carriage,
        packet: P,
    ) -> Option<Refusal> {
        self.watch(now);
        self.way(direction).push(now, size_bytes, carriage, packet)
    }

    /// Returns the next thing that has happened by `now`, in the order in which they happened.
    pub fn poll(&mut self, now: Duration) -> Option<LinkEvent<P>> {
        self.watch(now);
        let up = self.up.next_arrival(now);
        let down = self.down.next_arrival(now);
        let handover = self.asked.into_iter().chain(self.planned).min();
        let first = [up, down, handover].into_iter().flatten().min()?;
        if first > self.now {
            return None;
        }
        if handover == Some(first) {
            self.handovers += 1;
            if self.asked == Some(first) {
                self.asked = None;
            }
            if self.planned == Some(first) {
                self.planned = self.plan_after(Duration::from_nanos(first - self.began));
            }
            return Some(LinkEvent::HandedOver);
        }
        let direction = if up == Some(first) {
            Direction::Up
        } else {
            Direction::Down
        };
        let delivery = self.way(direction).poll(now)?;
        Some(LinkEvent::Arrived {
            direction,
            packet: delivery.packet,
        })
    }

    /// Returns when to call [`Link::poll`] again; `None` if nothing will happen by itself.
    pub fn next_deadline(&self) -> Option<Duration> {
        let own = [self.asked, self.planned, self.next_change()];
        let own = own.into_iter().flatten().map(Duration::from_nanos);
        own.chain(self.up.next_deadline())
            .chain(self.down.next_deadline())
            .min()
    }

    /// Forces an outage from `now` on, or ends a forced one; see [`Shaper::set_up`].
    pub fn set_up(&mut self, now: Duration, up: bool) {
        self.watch(now);
        self.up.set_up(now, up);
        self.down.set_up(now, up);
        self.forced_down = !up;
        self.note(self.now);
    }

    /// Hands over at `now`.
    pub fn hand_over(&mut self, now: Duration) {
        self.watch(now);
        self.asked = Some(self.now);
    }

    /// Behaves like another profile, whose log begins at `now`; see [`Shaper::set_profile`].
    pub fn set_profile(&mut self, now: Duration, profile: &Profile) {
        self.watch(now);
        let curve = Arc::new(Curve::new(&profile.log, profile.outage_under_kbps));
        self.up
            .replace_curve(now, profile, Direction::Up, Arc::clone(&curve));
        self.down
            .replace_curve(now, profile, Direction::Down, Arc::clone(&curve));
        self.curve = curve;
        self.began = self.now;
        self.handover = profile.handover.clone();
        self.planned = self.plan_after(Duration::ZERO);
        self.note(self.now);
    }

    /// Tells whether the link carries anything at `now`.
    pub fn is_up(&mut self, now: Duration) -> bool {
        self.watch(now);
        self.last_change().up
    }

    /// Returns every change until the last call that said a time, the state at the start first.
    /// It grows by about 50 bytes an outage, without bound.
    pub fn history(&self) -> &[LinkChange] {
        &self.history
    }

    /// Returns how many more bytes that direction's queue takes; see [`Shaper::room_bytes`].
    pub fn room_bytes(&mut self, now: Duration, direction: Direction) -> usize {
        self.way(direction).room_bytes(now)
    }

    /// Returns how many bytes a second that direction sends at `now`; 0 in an outage of the log.
    pub fn bytes_per_second(&mut self, now: Duration, direction: Direction) -> u64 {
        self.way(direction).bytes_per_second(now)
    }

    /// Returns what was counted. What only sockets can know is zero.
    pub fn stats(&self) -> Stats {
        Stats {
            up: self.up.traffic(),
            down: self.down.traffic(),
            handovers: self.handovers,
            ..Stats::default()
        }
    }

    fn way(&mut self, direction: Direction) -> &mut Shaper<P> {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    /// Notes all changes of the curve until `now`.
    fn watch(&mut self, now: Duration) {
        let now = nanos(now);
        while let Some(at) = self.next_change()
            && at <= now
        {
            self.now = at;
            self.note(at);
        }
        self.now = self.now.max(now);
    }

    /// Notes the state at `at`, if it is another than before.
    fn note(&mut self, at: Nanos) {
        let up = !self.forced_down && self.curve.is_up(at - self.began);
        if up != self.last_change().up {
            self.history.push(LinkChange {
                at: Duration::from_nanos(at),
                up,
            });
        }
    }

    fn last_change(&self) -> LinkChange {
        *self
            .history
            .last()
            .expect("the history begins with the state at the start")
    }

    /// When the curve changes next.
    fn next_change(&self) -> Option<Nanos> {
        self.curve
            .next_change(self.now - self.began)?
            .checked_add(self.began)
    }

    /// When the next hand-over is planned, later than `elapsed` after the profile began.
    fn plan_after(&self, elapsed: Duration) -> Option<Nanos> {
        nanos(self.handover.next_after(elapsed)?).checked_add(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkLog, LinkStep};

    const SECOND: Duration = Duration::from_secs(1);

    fn link(profile: &Profile) -> Link<u32> {
        Link::new(profile)
    }

    /// The history as (seconds, up).
    fn history(link: &Link<u32>) -> Vec<(u64, bool)> {
        link.history()
            .iter()
            .map(|change| (change.at.as_secs(), change.up))
            .collect()
    }

    #[test]
    fn the_history_follows_the_log_round_after_round() {
        let mut link = link(&Profile::flap());
        assert_eq!(link.next_deadline(), Some(SECOND * 8));
        assert!(!link.is_up(SECOND * 29));
        assert_eq!(history(&link), [(0, true), (8, false)]);
        assert!(!link.is_up(SECOND * 68));
        assert_eq!(
            history(&link),
            [
                (0, true),
                (8, false),
                (30, true),
                (38, false),
                (60, true),
                (68, false)
            ]
        );
    }

    #[test]
    fn a_forced_outage_hides_the_log_and_is_noted_once() {
        let mut link = link(&Profile::flap());
        link.set_up(SECOND * 2, false);
        link.set_up(SECOND * 3, false);
        assert!(!link.is_up(SECOND * 31));
        link.set_up(SECOND * 33, true);
        link.set_up(SECOND * 40, true);
        assert_eq!(
            history(&link),
            [(0, true), (2, false), (33, true), (38, false)]
        );
    }

    #[test]
    fn another_profile_begins_its_log_at_once() {
        let mut link = link(&Profile::lan());
        assert_eq!(link.next_deadline(), None);
        link.set_profile(SECOND * 5, &Profile::flap());
        assert_eq!(link.next_deadline(), Some(SECOND * 13));
        link.is_up(SECOND * 36);
        assert_eq!(history(&link), [(0, true), (13, false), (35, true)]);
        let dead = Profile {
            log: LinkLog::constant(0),
            ..Profile::lan()
        };
        link.set_profile(SECOND * 37, &dead);
        assert_eq!(history(&link).last(), Some(&(37, false)));
    }

    #[test]
    fn hand_overs_come_in_their_place_among_the_packets() {
        let handover = Handover::Every(SECOND * 2);
        let mut link = link(&Profile {
            handover,
            ..Profile::delay(SECOND * 2)
        });
        let arrived = |direction, packet| Some(LinkEvent::Arrived { direction, packet });
        let datagram = Carriage::Datagram;
        link.push(Duration::ZERO, Direction::Up, 1, datagram, 1);
        link.push(SECOND, Direction::Down, 1, datagram, 2);
        link.push(SECOND * 2, Direction::Up, 1, datagram, 3);
        assert_eq!(link.next_deadline(), Some(SECOND + Duration::from_nanos(1)));
        link.hand_over(Duration::from_millis(2500));
        let end = Duration::from_millis(3500);
        assert_eq!(link.poll(end), arrived(Direction::Up, 1));
        assert_eq!(link.poll(end), Some(LinkEvent::HandedOver));
        assert_eq!(link.poll(end), arrived(Direction::Down, 2));
        assert_eq!(link.poll(end), Some(LinkEvent::HandedOver));
        assert_eq!(link.poll(end), arrived(Direction::Up, 3));
        assert_eq!(link.poll(end), None);
        assert_eq!(link.next_deadline(), Some(SECOND * 4));
        let stats = link.stats();
        assert_eq!(
            (
                stats.handovers,
                stats.up.delivered_packets,
                stats.down.delivered_packets
            ),
            (2, 2, 1)
        );
    }

    #[test]
    fn directions_have_rates_of_their_own() {
        let step = LinkStep {
            duration: SECOND,
            bandwidth_kbps: 8000,
            latency: Duration::ZERO,
        };
        let profile = Profile::mobile(LinkLog::new(vec![step]).unwrap(), 0);
        let mut link = link(&profile);
        assert_eq!(link.bytes_per_second(SECOND, Direction::Up), 400_000);
        assert_eq!(link.bytes_per_second(SECOND, Direction::Down), 1_000_000);
        assert_eq!(link.room_bytes(SECOND, Direction::Up), 64 * 1024);
    }
}
