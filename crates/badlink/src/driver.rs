//! What the tasks of a forwarder share, and the one task that lets a link's time pass.
//!
//! Every socket's task offers what it reads to the link; the driver alone takes out what has
//! arrived, sleeping until the link's next deadline. So there is one timer for a forwarder, however
//! many packets are under way. Not here: the behaviour of the link (`link`), reading sockets.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::link::LinkEvent;
use crate::tcp::Piece;
use crate::udp::{Datagram, UdpSide};
use crate::{Carriage, Direction, Link, LinkChange, Profile, Stats};

/// Events carried out between two looks at the clock: enough to make a look cheap, few enough
/// that other tasks get the lock.
const EVENTS_AT_ONCE: usize = 64;

/// Least and most bytes read from a stream at once. The least is a packet's worth; with the most
/// a fast link needs few reads.
const GRAIN_MIN_BYTES: usize = 1200;
const GRAIN_MAX_BYTES: usize = 16 * 1024;

/// A stream is read in grains of a hundredth of a second of its link, so that its bytes trickle
/// as over a real one.
const GRAINS_PER_SECOND: u64 = 100;

/// What a link carries for the sockets.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    Datagram(Datagram),
    Piece(Piece),
}

/// What all tasks of a forwarder hold.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    started: Instant,
    /// Rings for the driver when there may be an earlier deadline.
    wake: Notify,
    /// Rings when anything was counted or room was made.
    moved: Notify,
    /// The link's ups and downs so far.
    history: watch::Sender<Vec<LinkChange>>,
    /// Counts the cuts of all connections.
    cuts: watch::Sender<u64>,
    /// `None` when the forwarder has ended: nothing starts any more.
    tasks: Mutex<Option<JoinSet<()>>>,
}

#[derive(Debug)]
struct State {
    link: Link<Parcel>,
    /// When the driver wakes by itself; `None` while it waits for a ring.
    driver_wakes: Option<Duration>,
    clients: u64,
    undeliverable: u64,
}

impl Shared {
    pub(crate) fn new(profile: &Profile) -> Self {
        let link = Link::new(profile);
        Self {
            history: watch::Sender::new(link.history().to_vec()),
            state: Mutex::new(State {
                link,
                driver_wakes: None,
                clients: 0,
                undeliverable: 0,
            }),
            started: Instant::now(),
            wake: Notify::new(),
            moved: Notify::new(),
            cuts: watch::Sender::new(0),
            tasks: Mutex::new(Some(JoinSet::new())),
        }
    }

    /// Returns the time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Hands a packet to the link.
    pub(crate) fn offer(
        &self,
        direction: Direction,
        size_bytes: usize,
        carriage: Carriage,
        parcel: Parcel,
    ) {
        let mut state = self.lock();
        // A refusal is counted by the link, and the sender of a datagram cannot know of it.
        let _refused = state
            .link
            .push(self.elapsed(), direction, size_bytes, carriage, parcel);
        let next = state.link.next_deadline();
        let earlier = next.is_some_and(|next| state.driver_wakes.is_none_or(|wakes| next < wakes));
        drop(state);
        if earlier {
            self.wake.notify_one();
        }
        self.moved.notify_waiters();
    }

    /// Changes the link, or asks it, at this moment.
    pub(crate) fn with_link<T>(&self, work: impl FnOnce(&mut Link<Parcel>, Duration) -> T) -> T {
        let mut state = self.lock();
        let result = work(&mut state.link, self.elapsed());
        self.publish(&state);
        drop(state);
        self.wake.notify_one();
        self.moved.notify_waiters();
        result
    }

    /// Waits until that direction has room, and returns how many bytes to read at once.
    pub(crate) async fn room(&self, direction: Direction) -> usize {
        loop {
            let moved = self.moved.notified();
            {
                let mut state = self.lock();
                let now = self.elapsed();
                if state.link.room_bytes(now, direction) > 0 {
                    let grain = state.link.bytes_per_second(now, direction) / GRAINS_PER_SECOND;
                    let grain = usize::try_from(grain).unwrap_or(GRAIN_MAX_BYTES);
                    return grain.clamp(GRAIN_MIN_BYTES, GRAIN_MAX_BYTES);
                }
            }
            moved.await;
        }
    }

    /// Returns what was counted.
    pub(crate) fn stats(&self) -> Stats {
        let state = self.lock();
        let (clients, undeliverable) = (state.clients, state.undeliverable);
        Stats {
            clients,
            undeliverable,
            ..state.link.stats()
        }
    }

    /// Waits until what was counted satisfies `wanted`.
    pub(crate) async fn stats_when(&self, mut wanted: impl FnMut(&Stats) -> bool) -> Stats {
        loop {
            let moved = self.moved.notified();
            let stats = self.stats();
            if wanted(&stats) {
                return stats;
            }
            moved.await;
        }
    }

    pub(crate) fn count_client(&self) {
        self.lock().clients += 1;
        self.moved.notify_waiters();
    }

    pub(crate) fn count_undeliverable(&self) {
        self.lock().undeliverable += 1;
        self.moved.notify_waiters();
    }

    /// Breaks all connections.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Returns a receiver that hears of cuts from here on.
    pub(crate) fn cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }

    pub(crate) fn history(&self) -> watch::Receiver<Vec<LinkChange>> {
        self.history.subscribe()
    }

    /// Starts a task that ends with the forwarder.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tasks) = tasks.as_mut() {
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }

    /// Takes all tasks, which end when the set is dropped; none is started from here on.
    pub(crate) fn take_tasks(&self) -> Option<JoinSet<()>> {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Tells subscribers of changes that the link has noted.
    fn publish(&self, state: &State) {
        let noted = state.link.history();
        self.history.send_if_modified(|known| {
            let is_longer = noted.len() > known.len();
            known.extend_from_slice(&noted[known.len()..]);
            is_longer
        });
    }

    /// Takes out what has happened, and says when to come again.
    fn take_events(&self, events: &mut Vec<LinkEvent<Parcel>>) -> Option<Duration> {
        let mut state = self.lock();
        let now = self.elapsed();
        while events.len() < EVENTS_AT_ONCE
            && let Some(event) = state.link.poll(now)
        {
            events.push(event);
        }
        self.publish(&state);
        state.driver_wakes = state.link.next_deadline();
        state.driver_wakes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no task panics while it holds the link")
    }
}

/// Lets a link's time pass until the forwarder ends.
pub(crate) async fn drive(shared: Arc<Shared>, udp: Option<Arc<UdpSide>>, target: SocketAddr) {
    let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
    loop {
        let deadline = shared.take_events(&mut events);
        shared.moved.notify_waiters();
        for event in events.drain(..) {
            match event {
                LinkEvent::HandedOver => {
                    shared.cut();
                    if let Some(udp) = &udp {
                        udp.hand_over(&shared, target).await;
                    }
                }
                LinkEvent::Arrived {
                    direction,
                    packet: Parcel::Datagram(datagram),
                } => {
                    if let Some(udp) = &udp {
                        udp.deliver(&shared, direction, &datagram).await;
                    }
                }
                LinkEvent::Arrived {
                    packet: Parcel::Piece(piece),
                    ..
                } => piece.deliver(&shared),
            }
        }
        match deadline.and_then(|deadline| shared.started.checked_add(deadline)) {
            Some(deadline) => tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                () = shared.wake.notified() => {}
            },
            None => shared.wake.notified().await,
        }
    }
}
