//! One direction of a link: what becomes of a packet that comes at an instant.
//!
//! A packet first waits for its turn and is sent at the link's rate, then flies for the latency.
//! There is no clock: every call says what time it is, as the time since the link began, and must
//! not say an earlier one than before (an earlier one counts as the latest known). The same calls
//! with the same seed have the same results. The caller's duty:
//!
//! 1. [`Shaper::push`] every packet when it comes;
//! 2. call [`Shaper::poll`] until it returns `None`, and deliver what it returns;
//! 3. do so again when [`Shaper::next_deadline`] has come, or a packet, or a change.
//!
//! A late call makes nothing late but itself: instants follow from the log, not from the calls.
//! Datagrams may be lost, doubled or overtaken; pieces of streams only wait. Not here: both
//! directions together, hand-overs (`link`), sockets (`forwarder`).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::capacity::{Capacity, SHARES_PER_BYTE};
use crate::curve::{Curve, Nanos, nanos};
use crate::dice::Dice;
use crate::{Direction, Profile, Traffic, Way};

/// Least time a datagram is held up that others may overtake.
const HOLD_MIN: Duration = Duration::from_millis(1);

/// What may be added to it: 50 ms in all is about what one retransmission on a radio link takes.
const HOLD_SPREAD: Duration = Duration::from_millis(49);

/// Longest time between a datagram and its second copy.
const COPY_LAG_MAX: Duration = Duration::from_millis(20);

/// How a packet must be treated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carriage {
    /// It may be dropped, doubled and overtaken.
    Datagram,
    /// It is a piece of a stream: it may only wait.
    Stream,
}

/// Why a packet was refused as it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The link is down, or goes down before the packet can be sent.
    Outage,
    /// More bytes wait already than the queue may hold.
    QueueFull,
}

/// A packet that has arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery<P> {
    /// What was pushed.
    pub packet: P,
    /// When it arrived; never later than the time of the call.
    pub at: Duration,
}

/// One direction of a link, with the packets that wait in it and fly over it.
#[derive(Debug)]
pub struct Shaper<P> {
    capacity: Capacity,
    way: Way,
    dice: Dice,
    /// Packets not yet sent, in the order of their ends.
    queue: VecDeque<Waiting<P>>,
    /// What will be served when everything queued is sent.
    busy_until: i128,
    flying: BinaryHeap<Reverse<Flying<P>>>,
    /// Arrival of the last packet that keeps its order: none after it arrives earlier.
    latest_arrival: Nanos,
    /// Numbers pushed packets from 1.
    pushed: u64,
    /// Highest number delivered.
    latest_delivered: u64,
    traffic: Traffic,
    now: Nanos,
}

/// A packet that waits to be sent.
#[derive(Debug)]
struct Waiting<P> {
    number: u64,
    size_bytes: usize,
    carriage: Carriage,
    /// What will be served when it is sent.
    end: i128,
    /// What it takes to send it.
    work: i128,
    luck: Luck,
    packet: P,
}

/// A packet that is under way.
#[derive(Debug)]
struct Flying<P> {
    arrives: Nanos,
    number: u64,
    is_copy: bool,
    size_bytes: usize,
    packet: P,
}

/// What chance has in store for a packet. Always drawn in whole, so that a packet's luck depends
/// on its number and the seed, and not on the luck of those before it.
#[derive(Clone, Copy, Debug)]
struct Luck {
    lost: bool,
    copy_after: Option<Duration>,
    held_for: Option<Duration>,
    jitter: Duration,
}

impl<P: Clone> Shaper<P> {
    /// Starts one direction of a profile.
    pub fn new(profile: &Profile, direction: Direction) -> Self {
        let curve = Curve::new(&profile.log, profile.outage_under_kbps);
        Self::with_curve(profile, direction, Arc::new(curve))
    }

    /// Starts one direction of a profile whose curve both directions share.
    pub(crate) fn with_curve(profile: &Profile, direction: Direction, curve: Arc<Curve>) -> Self {
        let way = *profile.way(direction);
        Self {
            capacity: Capacity::new(curve, way.rate_per_mille, 0),
            way,
            dice: dice(profile, direction),
            queue: VecDeque::new(),
            busy_until: 0,
            flying: BinaryHeap::new(),
            latest_arrival: 0,
            pushed: 0,
            latest_delivered: 0,
            traffic: Traffic::default(),
            now: 0,
        }
    }

    /// Takes in a packet of `size_bytes` of payload that came at `now`.
    ///
    /// Returns why it was refused, if it was. One that was not may still be lost in the air, or
    /// to an outage that [`Shaper::set_up`] forces.
    pub fn push(
        &mut self,
        now: Duration,
        size_bytes: usize,
        carriage: Carriage,
        packet: P,
    ) -> Option<Refusal> {
        self.advance(now);
        self.traffic.offered_packets += 1;
        self.traffic.offered_bytes += size_bytes as u64;
        self.pushed += 1;
        let luck = Luck::draw(&mut self.dice, &self.way);
        let work = size_bytes as i128 * SHARES_PER_BYTE;
        let backlog = self.backlog();
        let start = self.capacity.served(self.now) + backlog;
        let end = start + work;
        if carriage == Carriage::Datagram {
            let last = self.capacity.served_before_outage(self.now);
            if !self.capacity.is_up(self.now) || last.is_some_and(|last| end > last) {
                // The link spends what it has left before the outage on it, in vain.
                self.busy_until = last.map_or(start, |last| start.max(last));
                self.traffic.dropped_outage += 1;
                return Some(Refusal::Outage);
            }
            let room = i128::from(self.way.queue_bytes) * SHARES_PER_BYTE - backlog;
            if backlog > 0 && work > room {
                self.traffic.dropped_queue += 1;
                return Some(Refusal::QueueFull);
            }
        }
        self.busy_until = end;
        let number = self.pushed;
        self.queue.push_back(Waiting {
            number,
            size_bytes,
            carriage,
            end,
            work,
            luck,
            packet,
        });
        None
    }

    /// Returns the next packet that has arrived by `now`, in the order of arrival.
    pub fn poll(&mut self, now: Duration) -> Option<Delivery<P>> {
        self.next_arrival(now)
            .filter(|arrives| *arrives <= self.now)?;
        let Reverse(flying) = self.flying.pop()?;
        if flying.is_copy {
            self.traffic.duplicated += 1;
        } else {
            self.traffic.delivered_packets += 1;
            self.traffic.delivered_bytes += flying.size_bytes as u64;
            if flying.number < self.latest_delivered {
                self.traffic.reordered += 1;
            }
            self.latest_delivered = self.latest_delivered.max(flying.number);
        }
        Some(Delivery {
            packet: flying.packet,
            at: Duration::from_nanos(flying.arrives),
        })
    }

    /// Returns when to call [`Shaper::poll`] again; `None` if nothing is under way, or all of it
    /// waits for a link that does not come back by itself.
    pub fn next_deadline(&self) -> Option<Duration> {
        let end = self.queue.front().map(|front| front.end);
        let end = end.or_else(|| (self.backlog() > 0).then_some(self.busy_until));
        let sent = end.and_then(|end| self.capacity.time_of(end));
        let arrives = self.flying.peek().map(|Reverse(flying)| flying.arrives);
        sent.into_iter()
            .chain(arrives)
            .min()
            .map(Duration::from_nanos)
    }

    /// Forces an outage from `now` on, or ends a forced one. Datagrams that are not sent yet are
    /// lost when it begins; those that fly still arrive.
    pub fn set_up(&mut self, now: Duration, up: bool) {
        self.advance(now);
        self.capacity.set_forced_down(self.now, !up);
        if !up {
            self.requeue();
        }
    }

    /// Behaves like another profile from `now` on. What waits keeps its place; a forced outage
    /// goes on.
    pub fn set_profile(&mut self, now: Duration, profile: &Profile, direction: Direction) {
        let curve = Curve::new(&profile.log, profile.outage_under_kbps);
        self.replace_curve(now, profile, direction, Arc::new(curve));
    }

    /// [`Shaper::set_profile`] with a curve that both directions share.
    pub(crate) fn replace_curve(
        &mut self,
        now: Duration,
        profile: &Profile,
        direction: Direction,
        curve: Arc<Curve>,
    ) {
        self.advance(now);
        self.way = *profile.way(direction);
        self.dice = dice(profile, direction);
        self.capacity
            .replace(self.now, curve, self.way.rate_per_mille);
        self.requeue();
    }

    /// Returns how many more bytes the queue takes at `now`. Whoever feeds a stream must wait
    /// while it is zero; it grows whenever a deadline has passed.
    pub fn room_bytes(&mut self, now: Duration) -> usize {
        self.advance(now);
        let free = i128::from(self.way.queue_bytes) * SHARES_PER_BYTE - self.backlog();
        usize::try_from(free.max(0) / SHARES_PER_BYTE).unwrap_or(usize::MAX)
    }

    /// Returns how many bytes a second are sent at `now`; 0 in an outage of the log.
    pub fn bytes_per_second(&mut self, now: Duration) -> u64 {
        self.advance(now);
        self.capacity.bytes_per_second(self.now)
    }

    /// Returns what was counted.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Returns when the next packet arrives, of those sent by `now`.
    pub(crate) fn next_arrival(&mut self, now: Duration) -> Option<Nanos> {
        self.advance(now);
        self.flying.peek().map(|Reverse(flying)| flying.arrives)
    }

    /// Lets all fly that is sent by `now`.
    fn advance(&mut self, now: Duration) {
        self.now = self.now.max(nanos(now));
        while let Some(front) = self.queue.front()
            && let Some(sent) = self.capacity.time_of(front.end)
            && sent <= self.now
            && let Some(waiting) = self.queue.pop_front()
        {
            self.fly(waiting, sent);
        }
    }

    /// Lets one packet fly that was sent at `sent`, if it is not lost.
    fn fly(&mut self, waiting: Waiting<P>, sent: Nanos) {
        let Waiting {
            number,
            size_bytes,
            carriage,
            luck,
            packet,
            ..
        } = waiting;
        let latency = self.capacity.latency(sent) / 2 + self.way.extra_latency + luck.jitter;
        let mut arrives = sent.saturating_add(nanos(latency)).max(self.latest_arrival);
        match carriage {
            Carriage::Stream => self.latest_arrival = arrives,
            Carriage::Datagram if luck.lost => {
                self.traffic.dropped_loss += 1;
                return;
            }
            Carriage::Datagram => {
                match luck.held_for {
                    Some(time) => arrives = arrives.saturating_add(nanos(time)),
                    None => self.latest_arrival = arrives,
                }
                if let Some(lag) = luck.copy_after {
                    let arrives = arrives.saturating_add(nanos(lag));
                    let packet = packet.clone();
                    let copy = Flying {
                        arrives,
                        number,
                        is_copy: true,
                        size_bytes,
                        packet,
                    };
                    self.flying.push(Reverse(copy));
                }
            }
        }
        self.flying.push(Reverse(Flying {
            arrives,
            number,
            is_copy: false,
            size_bytes,
            packet,
        }));
    }

    /// Puts everything that waits in line again after the link has changed, without the datagrams
    /// that an outage takes.
    fn requeue(&mut self) {
        let served = self.capacity.served(self.now);
        let last = self.capacity.served_before_outage(self.now);
        let mut start = served;
        for mut waiting in std::mem::take(&mut self.queue) {
            waiting.work = waiting.work.min(waiting.end - served);
            waiting.end = start + waiting.work;
            match last {
                Some(last) if waiting.carriage == Carriage::Datagram && waiting.end > last => {
                    start = start.max(last);
                    self.traffic.dropped_outage += 1;
                }
                Some(_) | None => {
                    start = waiting.end;
                    self.queue.push_back(waiting);
                }
            }
        }
        self.busy_until = start;
    }

    /// Returns the shares that wait to be sent.
    fn backlog(&self) -> i128 {
        (self.busy_until - self.capacity.served(self.now)).max(0)
    }
}

impl Luck {
    fn draw(dice: &mut Dice, way: &Way) -> Self {
        let lost = dice.chance(way.loss_per_mille);
        let copied = dice.chance(way.duplicate_per_mille);
        let held = dice.chance(way.reorder_per_mille);
        let jitter = dice.up_to(way.jitter);
        let copy_lag = dice.up_to(COPY_LAG_MAX);
        let hold = HOLD_MIN + dice.up_to(HOLD_SPREAD);
        Self {
            lost,
            copy_after: copied.then_some(copy_lag),
            held_for: held.then_some(hold),
            jitter,
        }
    }
}

/// The choices of one direction: each has a stream of its own.
fn dice(profile: &Profile, direction: Direction) -> Dice {
    match direction {
        Direction::Up => Dice::new(profile.seed, 1),
        Direction::Down => Dice::new(profile.seed, 2),
    }
}

// Ordered by arrival, then number, then original before copy.
impl<P> Ord for Flying<P> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |flying: &Self| (flying.arrives, flying.number, flying.is_copy);
        key(self).cmp(&key(other))
    }
}

impl<P> PartialOrd for Flying<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> PartialEq for Flying<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<P> Eq for Flying<P> {}
