//! The stream half of a forwarder: connections whose bytes cross the link in pieces.
//!
//! Nothing is lost or reordered; a slow link makes the sender wait, an outage stalls all. The
//! server's side of a connection is dialled when its opening has crossed the link, and the device
//! is listened to when the answer has come back: first bytes take the round trip of a handshake.
//! A hand-over or a cut resets both sides, as a phone's change of address does. Not here: pacing
//! (`link`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::driver::{Parcel, Shared};
use crate::{Carriage, Direction};

/// What the opening of a connection weighs on the link, each way: a SYN with its usual options.
const OPENING_BYTES: usize = 60;

/// Bytes of one direction of a connection that are under way at most, waiting receiver included:
/// 8 MiB fill 300 Mbit/s over 200 ms.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// Receive buffer of the sockets: small, so that a sender feels the link's pace and not the
/// megabytes that the system would take off it.
const SOCKET_BUFFER_BYTES: u32 = 64 * 1024;

/// Connections that may wait to be accepted: the system's usual bound.
const BACKLOG: u32 = 128;

/// Pause after accepting failed (out of files), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A piece of one direction of a connection, and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    to: UnboundedSender<Content>,
    content: Content,
}

/// What crosses the link for a connection. Clones exist only for the type's sake: pieces of
/// streams are never doubled.
#[derive(Clone, Debug)]
enum Content {
    /// The connection begins: a SYN, or the answer to it.
    Opening,
    /// Some bytes, and the hold on the window that ends when they are written.
    Bytes(Arc<[u8]>, Arc<OwnedSemaphorePermit>),
    /// The sender will send no more.
    End,
}

impl Piece {
    /// Gives it to its connection's writer.
    pub(crate) fn deliver(self, shared: &Shared) {
        if self.to.send(self.content).is_err() {
            shared.count_undeliverable();
        }
    }
}

/// Opens a listening socket whose connections have small buffers.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = small_socket(address)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections, each in a task of its own.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener, target: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                shared.count_client();
                shared.spawn(carry(Arc::clone(&shared), client, target));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Carries one connection until both sides have ended it, one has broken it, or it is cut.
async fn carry(shared: Arc<Shared>, mut client: TcpStream, target: SocketAddr) {
    let mut cuts = shared.cuts();
    let (to_server, mut from_client) = unbounded_channel();
    let (to_client, mut from_server) = unbounded_channel();
    let opening = async {
        offer(
            &shared,
            Direction::Up,
            OPENING_BYTES,
            &to_server,
            Content::Opening,
        );
        from_client.recv().await;
        let server = small_socket(target)?.connect(target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        offer(
            &shared,
            Direction::Down,
            OPENING_BYTES,
            &to_client,
            Content::Opening,
        );
        from_server.recv().await;
        Ok::<_, io::Error>(server)
    };
    let opened = tokio::select! {
        opened = opening => opened.ok(),
        _ = cuts.changed() => None,
    };
    let Some(mut server) = opened else {
        reset(&client);
        return;
    };
    let is_clean = {
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        let pumps = async {
            tokio::try_join!(
                pump_in(&shared, Direction::Up, client_reads, to_server),
                pump_out(from_client, server_writes),
                pump_in(&shared, Direction::Down, server_reads, to_client),
                pump_out(from_server, client_writes),
            )
        };
        tokio::select! {
            ended = pumps => ended.is_ok(),
            _ = cuts.changed() => false,
        }
    };
    if !is_clean {
        reset(&client);
        reset(&server);
    }
}

/// Reads one side, and offers it to the link as fast as that takes it.
async fn pump_in(
    shared: &Shared,
    direction: Direction,
    mut from: impl AsyncRead + Unpin,
    to: UnboundedSender<Content>,
) -> io::Result<()> {
    let window = Arc::new(Semaphore::new(WINDOW_BYTES));
    let mut buffer = Vec::new();
    loop {
        let grain = shared.room(direction).await;
        buffer.resize(grain, 0);
        let size_bytes = from.read(&mut buffer).await?;
        if size_bytes == 0 {
            offer(shared, direction, 0, &to, Content::End);
            return Ok(());
        }
        let permits = u32::try_from(size_bytes).map_err(io::Error::other)?;
        let permit = Arc::clone(&window).acquire_many_owned(permits).await;
        let permit = permit.map_err(io::Error::other)?;
        let content = Content::Bytes(Arc::from(&buffer[..size_bytes]), Arc::new(permit));
        offer(shared, direction, size_bytes, &to, content);
    }
}

/// Writes to one side what has crossed the link.
async fn pump_out(
    mut from: UnboundedReceiver<Content>,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some(content) = from.recv().await {
        match content {
            Content::Opening => {}
            Content::Bytes(bytes, _permit) => to.write_all(&bytes).await?,
            Content::End => break,
        }
    }
    to.shutdown().await
}

fn offer(
    shared: &Shared,
    direction: Direction,
    size_bytes: usize,
    to: &UnboundedSender<Content>,
    content: Content,
) {
    let piece = Piece {
        to: to.clone(),
        content,
    };
    shared.offer(
        direction,
        size_bytes,
        Carriage::Stream,
        Parcel::Piece(piece),
    );
}

/// Makes a socket of the address's family with a small receive buffer.
fn small_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    Ok(socket)
}

/// Makes the coming close of a connection a reset.
fn reset(stream: &TcpStream) {
    // Fails only for a socket that is gone already.
    let _gone = stream.set_zero_linger();
}
