//! A device's socket, which may be exchanged under its connections.
//!
//! A phone that changes networks needs a fresh socket and keeps its connections: the relay sees the next packet
//! come from another address, has that address proven, and answers there (RFC 9000, 9). The exchange is made
//! below QUIC, which learns nothing of it; what waits to read or to write is woken. It is not made by
//! `quinn::Endpoint::rebind`, which tells every connection: one that its relay has just reset then asks the
//! endpoint for a token after it has taken leave, and quinn-proto 0.11.19 answers by a panic in a lock, which
//! ends the process.
//!
//! What that costs: a connection keeps its id where it moves. Not here: when to move (`device`), and saying
//! something afterwards, without which the relay does not learn of it.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime, UdpPoller};

/// The socket under a device's endpoint.
#[derive(Debug)]
pub struct MovingSocket(Mutex<Place>);

#[derive(Debug)]
struct Place {
    current: Arc<dyn AsyncUdpSocket>,
    /// The one before. What was on its way to it is read until something comes in on the current one.
    former: Option<Arc<dyn AsyncUdpSocket>>,
    /// How often it has moved.
    moves: u64,
    /// Whoever reads: the endpoint's task.
    reader: Option<Waker>,
    /// Whoever waits until it may write, by the number of its [`Writer`].
    writers: BTreeMap<u64, Waker>,
    last_writer: u64,
}

impl MovingSocket {
    /// Opens a socket at a local address, within a tokio runtime.
    pub(crate) fn open(local: SocketAddr) -> io::Result<Self> {
        Ok(Self(Mutex::new(Place {
            current: bind(local)?,
            former: None,
            moves: 0,
            reader: None,
            writers: BTreeMap::new(),
            last_writer: 0,
        })))
    }

    /// Sends from a fresh socket at another local address from here on, and reads there.
    ///
    /// The address must be of the same family as before. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When there is no such socket to be had; the one before is kept.
    pub fn move_to(&self, local: SocketAddr) -> io::Result<()> {
        let fresh = bind(local)?;
        let (reader, writers) = {
            let mut place = self.place();
            let before = std::mem::replace(&mut place.current, fresh);
            place.former = Some(before);
            place.moves += 1;
            (place.reader.take(), std::mem::take(&mut place.writers))
        };
        for waker in reader.into_iter().chain(writers.into_values()) {
            waker.wake();
        }
        Ok(())
    }

    /// Locks what is here. No waker may be woken or dropped meanwhile: what it wakes or drops may come here too.
    fn place(&self) -> MutexGuard<'_, Place> {
        // Nothing in here is left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Arc<dyn AsyncUdpSocket> {
        Arc::clone(&self.place().current)
    }
}

impl AsyncUdpSocket for MovingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let mut place = self.place();
        place.last_writer += 1;
        let (number, moves) = (place.last_writer, place.moves);
        let poller = Arc::clone(&place.current).create_io_poller();
        drop(place);
        Box::pin(Writer {
            socket: self,
            number,
            moves,
            poller,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.current().try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (former, current, moves, _before) = {
            let mut place = self.place();
            // Before anything is looked at: a move in the meantime wakes it again.
            let before = place.reader.replace(cx.waker().clone());
            let current = Arc::clone(&place.current);
            (place.former.clone(), current, place.moves, before)
        };
        let mut is_over = false;
        if let Some(former) = former {
            match former.poll_recv(cx, bufs, meta) {
                Poll::Ready(Ok(count)) => return Poll::Ready(Ok(count)),
                Poll::Ready(Err(_)) => is_over = true,
                Poll::Pending => {}
            }
        }
        let polled = current.poll_recv(cx, bufs, meta);
        if is_over || matches!(polled, Poll::Ready(Ok(_))) {
            let mut place = self.place();
            if place.moves == moves {
                place.former = None;
            }
        }
        polled
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.current().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.current().max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.current().max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.current().may_fragment()
    }
}

/// One connection's waiting until it may write.
#[derive(Debug)]
struct Writer {
    socket: Arc<MovingSocket>,
    number: u64,
    /// After how many moves `poller` was made.
    moves: u64,
    poller: Pin<Box<dyn UdpPoller>>,
}

impl UdpPoller for Writer {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let polled = this.poller.as_mut().poll_writable(cx);
            let mut place = this.socket.place();
            if place.moves == this.moves {
                let _before = if polled.is_pending() {
                    place.writers.insert(this.number, cx.waker().clone())
                } else {
                    place.writers.remove(&this.number)
                };
                drop(place);
                return polled;
            }
            // What was asked is no longer where packets go.
            this.moves = place.moves;
            this.poller = Arc::clone(&place.current).create_io_poller();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _waker = self.socket.place().writers.remove(&self.number);
    }
}

fn bind(local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind(local)?)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::{Ipv4Addr, UdpSocket};
    use std::pin::pin;

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// Reads one datagram.
    async fn read(socket: &MovingSocket) -> Vec<u8> {
        let mut buffer = [0; 64];
        let mut meta = [RecvMeta::default()];
        let read = poll_fn(|cx| {
            let mut buffers = [IoSliceMut::new(&mut buffer)];
            socket.poll_recv(cx, &mut buffers, &mut meta)
        });
        assert_eq!(read.await.unwrap(), 1);
        buffer[..meta[0].len].to_vec()
    }

    #[tokio::test]
    async fn whoever_reads_goes_on_at_the_new_address_and_misses_nothing_sent_to_the_old() {
        let socket = MovingSocket::open(ANY).unwrap();
        let other = UdpSocket::bind(ANY).unwrap();
        let old = socket.local_addr().unwrap();
        let mut first = pin!(read(&socket));
        assert!(poll_once(first.as_mut()).await.is_pending());
        socket.move_to(ANY).unwrap();
        let new = socket.local_addr().unwrap();
        assert_ne!(old, new);

        other.send_to(b"old", old).unwrap();
        assert_eq!(first.await, b"old");
        other.send_to(b"new", new).unwrap();
        assert_eq!(read(&socket).await, b"new");
        assert!(socket.place().former.is_none(), "nothing more comes there");
    }

    /// A socket whose network takes nothing any more.
    #[derive(Debug)]
    struct Stuck;

    impl AsyncUdpSocket for Stuck {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            Box::pin(Self)
        }

        fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(ANY)
        }
    }

    impl UdpPoller for Stuck {
        fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn whoever_waits_to_write_is_woken_and_leaves_nothing_behind() {
        let socket = Arc::new(MovingSocket::open(ANY).unwrap());
        socket.place().current = Arc::new(Stuck);
        let mut writer = Arc::clone(&socket).create_io_poller();
        let mut gone = Arc::clone(&socket).create_io_poller();
        let mut writable = pin!(poll_fn(|cx| writer.as_mut().poll_writable(cx)));
        assert!(poll_once(writable.as_mut()).await.is_pending());
        assert!(
            poll_once(poll_fn(|cx| gone.as_mut().poll_writable(cx)))
                .await
                .is_pending()
        );
        drop(gone);
        assert_eq!(socket.place().writers.len(), 1);
        socket.move_to(ANY).unwrap();
        writable.await.unwrap();
        assert!(socket.place().writers.is_empty());
    }

    #[tokio::test]
    async fn a_move_that_fails_changes_nothing() {
        let socket = MovingSocket::open(ANY).unwrap();
        let before = socket.local_addr().unwrap();
        let nowhere: SocketAddr = "192.0.2.1:0".parse().unwrap();
        assert!(socket.move_to(nowhere).is_err());
        assert_eq!(socket.local_addr().unwrap(), before);
    }

    /// Polls once.
    async fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
        let mut future = pin!(future);
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }
}
