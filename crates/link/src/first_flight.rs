//! Lets a device's first packet carry all it has to say.
//!
//! quinn starts to send the moment a connection is made: a lone greeting of TLS, padded to 1,200 bytes.
//! What the application says a few milliseconds later goes in a second datagram; and if that one
//! overtakes the first on a mobile network, the relay cannot tell whose it is and drops it. So a
//! device's connections are held back until its greeting and what waits are written, and then all of
//! it leaves in one datagram, as far as it fits.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn::{AsyncTimer, AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, TokioRuntime};
use tokio::sync::watch;

use crate::MovingSocket;
use crate::tunnel_socket::TunnelSocket;

/// How long a connection is held back at most: more than a device takes to read its outbox, and little
/// beside any round trip.
const HELD_MAX: Duration = Duration::from_millis(30);

/// The hold on an endpoint's latest connection.
#[derive(Clone, Debug)]
pub struct FirstFlight {
    /// How many connections the endpoint has made.
    made: Arc<AtomicU64>,
    /// How many of them may send.
    released: watch::Sender<u64>,
}

impl FirstFlight {
    fn new() -> Self {
        Self {
            made: Arc::default(),
            released: watch::Sender::new(0),
        }
    }

    /// Lets every connection made so far send: all is written, or there is nothing to say early.
    pub fn release(&self) {
        self.released
            .send_replace(self.made.load(Ordering::Relaxed));
    }

    async fn wait(&self, number: u64) {
        let mut released = self.released.subscribe();
        let released = released.wait_for(|released| *released >= number);
        // Too late is as good as released.
        let _ = tokio::time::timeout(HELD_MAX, released).await;
    }
}

/// A device's endpoint, and what is under it.
#[derive(Clone, Debug)]
pub struct DeviceEndpoint {
    /// The endpoint. Never to be bound anew by itself: [`Under::Udp`] is moved.
    pub endpoint: Endpoint,
    /// What holds its connections back.
    pub first_flight: FirstFlight,
    /// What it goes over.
    pub under: Under,
}

/// What carries an endpoint's datagrams.
#[derive(Clone, Debug)]
pub enum Under {
    /// A UDP socket.
    Udp(Arc<MovingSocket>),
    /// A WebSocket to one relay; it is over when the other end of this is dropped.
    WebSocket(watch::Receiver<()>),
}

/// Opens a device's endpoint at a local address.
///
/// Must be called within a tokio runtime.
///
/// # Errors
///
/// When there is no such socket to be had.
pub fn device_endpoint(local: SocketAddr) -> io::Result<DeviceEndpoint> {
    let socket = Arc::new(MovingSocket::open(local)?);
    over(Arc::<MovingSocket>::clone(&socket), Under::Udp(socket))
}

/// Opens an endpoint that goes over TCP to the relay at `host` (`name:port`), found at `relay`.
///
/// Must be called within a tokio runtime.
///
/// # Errors
///
/// When there is no way: no connection, no TLS, or somebody else answers.
pub async fn tunnel_endpoint(host: &str, relay: SocketAddr) -> io::Result<DeviceEndpoint> {
    let socket = Arc::new(TunnelSocket::open(host, relay).await?);
    let under = Under::WebSocket(socket.over());
    over(socket, under)
}

fn over(socket: Arc<dyn AsyncUdpSocket>, under: Under) -> io::Result<DeviceEndpoint> {
    let first_flight = FirstFlight::new();
    let runtime = HoldBack {
        first_flight: first_flight.clone(),
        is_open: AtomicBool::new(false),
    };
    let endpoint = Endpoint::new_with_abstract_socket(
        EndpointConfig::default(),
        None,
        socket,
        Arc::new(runtime),
    )?;
    Ok(DeviceEndpoint {
        endpoint,
        first_flight,
        under,
    })
}

/// tokio, but connections start to run when they are released.
#[derive(Debug)]
struct HoldBack {
    first_flight: FirstFlight,
    /// The first task an endpoint spawns is its own, which is not held back.
    is_open: AtomicBool,
}

impl Runtime for HoldBack {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        if !self.is_open.swap(true, Ordering::Relaxed) {
            return TokioRuntime.spawn(future);
        }
        let first_flight = self.first_flight.clone();
        let number = 1 + first_flight.made.fetch_add(1, Ordering::Relaxed);
        TokioRuntime.spawn(Box::pin(async move {
            first_flight.wait(number).await;
            future.await;
        }));
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
