//! A relay's socket: UDP, and beside it the devices that come over TCP.
//!
//! To QUIC each of those is a peer with an address of its own out of a range that leads nowhere (RFC 6666). Not here:
//! what is said on the way (`tunnel`), whom to let in (`relay`).

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime, UdpPoller};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::tunnel;
use crate::tunnel_socket::fill;

/// Datagrams that wait for one device's TCP: all that QUIC may have on its way to it, and as much again. What is
/// beyond is lost, as in any router.
const OUTGOING: usize = 256;

/// Datagrams that came over TCP from all devices and wait for QUIC.
const INCOMING: usize = 1024;

/// The socket under a relay's endpoint.
#[derive(Debug)]
pub struct RelaySocket {
    udp: Arc<dyn AsyncUdpSocket>,
    tunnels: Mutex<BTreeMap<SocketAddr, Tunnel>>,
    last: AtomicU64,
    came: mpsc::Sender<(SocketAddr, Bytes)>,
    incoming: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
    /// Whether TCP is looked at first: it takes turns with UDP.
    tunnels_first: AtomicBool,
}

/// A device that comes over TCP.
#[derive(Debug)]
struct Tunnel {
    from: IpAddr,
    outgoing: mpsc::Sender<Bytes>,
}

impl RelaySocket {
    /// Makes it from a bound socket, within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the system does not make it one that does not block.
    pub fn new(udp: std::net::UdpSocket) -> io::Result<Arc<Self>> {
        let (came, incoming) = mpsc::channel(INCOMING);
        Ok(Arc::new(Self {
            udp: TokioRuntime.wrap_udp_socket(udp)?,
            tunnels: Mutex::default(),
            last: AtomicU64::new(0),
            came,
            incoming: Mutex::new(incoming),
            tunnels_first: AtomicBool::new(false),
        }))
    }

    /// Takes in a device's TCP connection up to its upgrade; gives what carries its datagrams then, until it ends.
    ///
    /// # Errors
    ///
    /// When it is no connection of a device's. How long that takes is the caller's matter.
    pub async fn accept(
        self: &Arc<Self>,
        tls: &TlsAcceptor,
        tcp: TcpStream,
    ) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let from = tcp.peer_addr()?.ip();
        let upgraded = tunnel::accept(tls, tcp).await?;
        let socket = Arc::clone(self);
        Ok(async move {
            let address = discarded(1 + socket.last.fetch_add(1, Ordering::Relaxed));
            let (outgoing, to_send) = mpsc::channel(OUTGOING);
            let tunnel = Tunnel { from, outgoing };
            socket.tunnels().insert(address, tunnel);
            let came = socket.came.clone();
            tunnel::carry(upgraded, to_send, came, |datagram| (address, datagram)).await;
            socket.tunnels().remove(&address);
        })
    }

    /// Returns where a peer of QUIC's really is.
    pub fn real(&self, peer: SocketAddr) -> IpAddr {
        let tunnels = self.tunnels();
        tunnels
            .get(&peer)
            .map_or_else(|| peer.ip(), |tunnel| tunnel.from)
    }

    fn tunnels(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Tunnel>> {
        // Nothing in here is left half done by a panic.
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_tunnels(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buffer, meta) in bufs.iter_mut().zip(meta) {
            let Poll::Ready(Some((from, datagram))) = incoming.poll_recv(cx) else {
                break;
            };
            *meta = fill(buffer, &datagram, from);
            count += 1;
        }
        if count == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncUdpSocket for RelaySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        // A device's TCP that is full loses datagrams and makes nobody wait, so only UDP is asked.
        Arc::clone(&self.udp).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !is_discarded(transmit.destination) {
            return self.udp.try_send(transmit);
        }
        if let Some(tunnel) = self.tunnels().get(&transmit.destination) {
            let size = transmit.segment_size.unwrap_or(transmit.contents.len());
            for datagram in transmit.contents.chunks(size.max(1)) {
                let _ = tunnel.outgoing.try_send(Bytes::copy_from_slice(datagram));
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let tunnels_first = self.tunnels_first.fetch_xor(true, Ordering::Relaxed);
        let first = if tunnels_first {
            self.poll_tunnels(cx, bufs, meta)
        } else {
            self.udp.poll_recv(cx, bufs, meta)
        };
        if first.is_ready() {
            return first;
        }
        if tunnels_first {
            self.udp.poll_recv(cx, bufs, meta)
        } else {
            self.poll_tunnels(cx, bufs, meta)
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.udp.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.udp.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }
}

/// Makes the address of the device that came as the `number`th over TCP: in 100::/64, which leads nowhere.
fn discarded(number: u64) -> SocketAddr {
    let address = (0x0100 << 112) | u128::from(number);
    SocketAddr::new(Ipv6Addr::from_bits(address).into(), 1)
}

fn is_discarded(address: SocketAddr) -> bool {
    match address {
        SocketAddr::V6(v6) => v6.ip().to_bits() >> 64 == 0x0100 << 48,
        SocketAddr::V4(_) => false,
    }
}
