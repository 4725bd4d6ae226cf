//! A device's way over TCP, in the shape of a socket: QUIC takes it for one.
//!
//! It leads to one relay and lasts as long as its TCP connection; [`TunnelSocket::over`] tells of its end, for QUIC would
//! take it for silence. What does not fit waits in QUIC, where its lane counts. Not here: what is said on the way
//! (`tunnel`).

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::{mpsc, watch};

use crate::tunnel;

/// Datagrams handed over and not yet with TCP: as few as keep it busy.
const OUTGOING: usize = 4;

/// Datagrams that came and wait for QUIC, which takes them at once unless the machine is busy.
const INCOMING: usize = 256;

/// The socket under the endpoint of a device that goes over TCP.
pub(crate) struct TunnelSocket {
    relay: SocketAddr,
    local: SocketAddr,
    outgoing: mpsc::Sender<Bytes>,
    incoming: Mutex<mpsc::Receiver<Bytes>>,
    over: watch::Receiver<()>,
}

impl fmt::Debug for TunnelSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelSocket")
            .field("relay", &self.relay)
            .finish_non_exhaustive()
    }
}

impl TunnelSocket {
    /// Makes the way to a relay at `host` (`name:port`), found at `relay`.
    pub(crate) async fn open(host: &str, relay: SocketAddr) -> io::Result<Self> {
        let upgraded = tunnel::open(host, relay).await?;
        let local = upgraded.get_ref().get_ref().0.local_addr()?;
        let (outgoing, to_send) = mpsc::channel(OUTGOING);
        let (came, incoming) = mpsc::channel(INCOMING);
        let (lives, over) = watch::channel(());
        tokio::spawn(async move {
            tunnel::carry(upgraded, to_send, came, |datagram| datagram).await;
            drop(lives);
        });
        Ok(Self {
            relay,
            local,
            outgoing,
            incoming: Mutex::new(incoming),
            over,
        })
    }

    /// Returns what is closed when the TCP connection has ended.
    pub(crate) fn over(&self) -> watch::Receiver<()> {
        self.over.clone()
    }
}

impl AsyncUdpSocket for TunnelSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room {
            outgoing: self.outgoing.clone(),
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self
            .outgoing
            .try_send(Bytes::copy_from_slice(transmit.contents))
        {
            Err(mpsc::error::TrySendError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
            // What is sent after the end is lost on the way, as datagrams are.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buffer, meta) in bufs.iter_mut().zip(meta) {
            let datagram = match incoming.poll_recv(cx) {
                Poll::Ready(Some(datagram)) => datagram,
                Poll::Ready(None) | Poll::Pending => break,
            };
            *meta = fill(buffer, &datagram, self.relay);
            count += 1;
        }
        if count == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Puts a datagram that came from `from` into a buffer of QUIC's; one that does not fit comes empty, and is nothing.
pub(crate) fn fill(buffer: &mut [u8], datagram: &[u8], from: SocketAddr) -> RecvMeta {
    let len = match buffer.get_mut(..datagram.len()) {
        Some(place) => {
            place.copy_from_slice(datagram);
            datagram.len()
        }
        None => 0,
    };
    RecvMeta {
        addr: from,
        len,
        stride: len.max(1),
        ecn: None,
        dst_ip: None,
    }
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// One connection's waiting until there is room.
struct Room {
    outgoing: mpsc::Sender<Bytes>,
    waiting: Option<Waiting>,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

impl UdpPoller for Room {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.outgoing.capacity() == 0 && !this.outgoing.is_closed() {
            let outgoing = &this.outgoing;
            let waiting = this.waiting.get_or_insert_with(|| {
                let outgoing = outgoing.clone();
                // The place is given back at once: whoever sends takes it.
                Box::pin(async move { drop(outgoing.reserve().await) })
            });
            ready!(waiting.as_mut().poll(cx));
        }
        this.waiting = None;
        Poll::Ready(Ok(()))
    }
}
