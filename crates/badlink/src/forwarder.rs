//! A link with sockets: what the demo, tests and benchmarks hold in their hands.
//!
//! All methods but the constructors, waits and [`Forwarder::stop`] take effect at once and never
//! wait. Not here: how packets are treated (`link`), the tasks (`driver`, `udp`, `tcp`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use crate::driver::{Shared, drive};
use crate::udp::{UdpSide, read_clients};
use crate::{LinkChange, Profile, Stats, tcp};

/// How many ports are tried to find one free for UDP and TCP alike: with one port in ten taken by
/// others, all of them fail once in 10¹⁶ runs.
const PORTS_TRIED: usize = 16;

/// A forwarder between clients and one server, which treats what passes like a mobile link.
///
/// All clients share the one link. Its tasks end, and its sockets close, when it is dropped.
#[derive(Debug)]
pub struct Forwarder {
    shared: Arc<Shared>,
    udp: Option<Arc<UdpSide>>,
    local: SocketAddr,
}

impl Forwarder {
    /// Starts forwarding datagrams that come to `listen` (port 0: any) to `target`.
    ///
    /// Must be called within a tokio runtime that drives I/O and time.
    ///
    /// # Errors
    ///
    /// [`ForwarderError::Bind`] if the address cannot be listened on.
    pub async fn udp(
        listen: SocketAddr,
        target: SocketAddr,
        profile: Profile,
    ) -> Result<Self, ForwarderError> {
        let (socket, local) = bind_udp(listen).await?;
        Ok(Self::start(local, target, &profile, Some(socket), None))
    }

    /// Starts forwarding connections that come to `listen` (port 0: any) to `target`.
    ///
    /// Must be called within a tokio runtime that drives I/O and time.
    ///
    /// # Errors
    ///
    /// [`ForwarderError::Bind`] if the address cannot be listened on.
    #[expect(
        clippy::unused_async,
        reason = "like its siblings; needs the runtime they need"
    )]
    pub async fn tcp(
        listen: SocketAddr,
        target: SocketAddr,
        profile: Profile,
    ) -> Result<Self, ForwarderError> {
        let (listener, local) = bind_tcp(listen)?;
        Ok(Self::start(local, target, &profile, None, Some(listener)))
    }

    /// Starts forwarding datagrams and connections alike, over one link and at one port: for a
    /// device that falls back from one to the other.
    ///
    /// # Errors
    ///
    /// [`ForwarderError::Bind`] if the address cannot be listened on for both.
    pub async fn both(
        listen: SocketAddr,
        target: SocketAddr,
        profile: Profile,
    ) -> Result<Self, ForwarderError> {
        let mut tried = 1;
        loop {
            let (socket, local) = bind_udp(listen).await?;
            match bind_tcp(local) {
                Ok((listener, _)) => {
                    return Ok(Self::start(
                        local,
                        target,
                        &profile,
                        Some(socket),
                        Some(listener),
                    ));
                }
                Err(error) if listen.port() != 0 || tried >= PORTS_TRIED => return Err(error),
                Err(_) => tried += 1,
            }
        }
    }

    fn start(
        local: SocketAddr,
        target: SocketAddr,
        profile: &Profile,
        socket: Option<UdpSocket>,
        listener: Option<TcpListener>,
    ) -> Self {
        let shared = Arc::new(Shared::new(profile));
        let udp = socket.map(|socket| Arc::new(UdpSide::new(socket, profile.handover_overlap)));
        if let Some(udp) = &udp {
            shared.spawn(read_clients(Arc::clone(&shared), Arc::clone(udp), target));
        }
        if let Some(listener) = listener {
            shared.spawn(tcp::accept(Arc::clone(&shared), listener, target));
        }
        shared.spawn(drive(Arc::clone(&shared), udp.clone(), target));
        Self { shared, udp, local }
    }

    /// Returns the address to which clients must talk.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Returns the time since the start: the time of the [`LinkChange`]s.
    pub fn elapsed(&self) -> Duration {
        self.shared.elapsed()
    }

    /// Forces an outage, or ends a forced one. While it lasts the log plays on unheard.
    ///
    /// Datagrams that the forwarder has not read yet are treated as sent after the call.
    pub fn set_up(&self, up: bool) {
        self.shared.with_link(|link, now| link.set_up(now, up));
    }

    /// Gives every client another source port towards the server, and resets all connections.
    /// What crosses the link later than the call goes out by the new port.
    pub fn handover(&self) {
        self.shared.with_link(|link, now| link.hand_over(now));
    }

    /// Resets all connections; datagrams are not concerned.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Behaves like another profile; its log and hand-overs begin with the call. What is under
    /// way stays so, and a forced outage goes on.
    pub fn set_profile(&self, profile: &Profile) {
        if let Some(udp) = &self.udp {
            udp.set_overlap(profile.handover_overlap);
        }
        self.shared
            .with_link(|link, now| link.set_profile(now, profile));
    }

    /// Tells whether the link carries anything: not in an outage of the log, nor a forced one.
    pub fn is_up(&self) -> bool {
        self.shared.with_link(|link, now| link.is_up(now))
    }

    /// Returns every change so far, the state at the start first.
    pub fn history(&self) -> Vec<LinkChange> {
        self.shared.with_link(|link, now| {
            link.is_up(now);
            link.history().to_vec()
        })
    }

    /// Subscribes to the changes from here on; none is missed, however late it is asked for.
    pub fn changes(&self) -> LinkChanges {
        let history = self.shared.history();
        let seen = history.borrow().len();
        LinkChanges { history, seen }
    }

    /// Waits for the next change of the link, made by the log or by [`Forwarder::set_up`].
    pub async fn next_change(&self) -> LinkChange {
        let change = self.changes().next().await;
        change.expect("the forwarder, which is borrowed here, holds the sender")
    }

    /// Returns what was counted since the start.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Waits until what was counted satisfies `wanted`, and returns it.
    pub async fn stats_when(&self, wanted: impl FnMut(&Stats) -> bool) -> Stats {
        self.shared.stats_when(wanted).await
    }

    /// Ends all tasks and waits until they are gone, and with them the sockets.
    pub async fn stop(self) {
        if let Some(mut tasks) = self.shared.take_tasks() {
            tasks.shutdown().await;
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // The set aborts its tasks as it is dropped.
        drop(self.shared.take_tasks());
    }
}

/// A subscription to the ups and downs of a link.
#[derive(Debug)]
pub struct LinkChanges {
    history: watch::Receiver<Vec<LinkChange>>,
    /// How many of them were handed out, or were there before.
    seen: usize,
}

impl LinkChanges {
    /// Waits for the next change; `None` when the forwarder is gone.
    pub async fn next(&mut self) -> Option<LinkChange> {
        loop {
            let change = self.history.borrow_and_update().get(self.seen).copied();
            if change.is_some() {
                self.seen += 1;
                return change;
            }
            self.history.changed().await.ok()?;
        }
    }
}

/// Why a forwarder did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwarderError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl ForwarderError {
    /// Returns what the caller should do about it, in words.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "listen on port 0 of a local address",
        }
    }
}

async fn bind_udp(listen: SocketAddr) -> Result<(UdpSocket, SocketAddr), ForwarderError> {
    let failed = |source| ForwarderError::Bind {
        address: listen,
        source,
    };
    let socket = UdpSocket::bind(listen).await.map_err(failed)?;
    let local = socket.local_addr().map_err(failed)?;
    Ok((socket, local))
}

fn bind_tcp(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), ForwarderError> {
    let failed = |source| ForwarderError::Bind {
        address: listen,
        source,
    };
    let listener = tcp::listen(listen).map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, local))
}
