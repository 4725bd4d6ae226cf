//! The datagram half of a forwarder: a listening socket, and a socket of its own per client.
//!
//! As at a carrier's address translation, each client is known to the server by a port; a
//! hand-over gives every client another one. Not here: when (`link`).

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use crate::driver::{Parcel, Shared};
use crate::{Carriage, Direction};

/// Largest datagram that UDP can carry.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Most clients at once; the one unheard of for longest makes way. Far over any demo's, and few
/// enough for the usual limit of 1024 open files.
const CLIENTS_MAX: usize = 512;

/// Receive buffer asked of the system, which may give less: holds a burst of a QUIC sender until
/// this process is scheduled, so that what is lost is what the link loses.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Pause after a socket failed for a reason that may last (out of memory), so as not to spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(10);

/// A datagram on its way from or to a client.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    client: Arc<Client>,
    bytes: Arc<[u8]>,
}

/// One client of a forwarder.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    port: Mutex<Port>,
}

/// The socket by which the server knows a client.
#[derive(Debug)]
struct Port {
    socket: Arc<UdpSocket>,
    /// Tells the socket's reader how long to go on; dropped, it stops at once. `None` when the
    /// client had to make way for others.
    retire: Option<oneshot::Sender<Duration>>,
}

/// The sockets of a forwarder's datagrams.
#[derive(Debug)]
pub(crate) struct UdpSide {
    listen: UdpSocket,
    overlap: Mutex<Duration>,
    /// By address; with the number of the datagram last heard.
    clients: Mutex<BTreeMap<SocketAddr, (u64, Arc<Client>)>>,
}

impl UdpSide {
    pub(crate) fn new(listen: UdpSocket, overlap: Duration) -> Self {
        widen(&listen);
        Self {
            listen,
            overlap: Mutex::new(overlap),
            clients: Mutex::default(),
        }
    }

    /// Sets how long answers to a port get through after the hand-over from it.
    pub(crate) fn set_overlap(&self, overlap: Duration) {
        *self.overlap.lock().unwrap_or_else(PoisonError::into_inner) = overlap;
    }

    /// Sends a datagram that has crossed the link.
    pub(crate) async fn deliver(&self, shared: &Shared, direction: Direction, datagram: &Datagram) {
        let Datagram { client, bytes } = datagram;
        let sent = match direction {
            Direction::Up => client.send(bytes).await,
            Direction::Down => self.listen.send_to(bytes, client.address).await,
        };
        if sent.is_err() {
            shared.count_undeliverable();
        }
    }

    /// Gives every client another port. One that gets none keeps its own.
    pub(crate) async fn hand_over(&self, shared: &Arc<Shared>, target: SocketAddr) {
        let overlap = *self.overlap.lock().unwrap_or_else(PoisonError::into_inner);
        let clients: Vec<_> = {
            let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            clients
                .values()
                .map(|(_, client)| Arc::clone(client))
                .collect()
        };
        for client in clients {
            if let Ok((port, retired)) = Port::open(target).await {
                let socket = Arc::clone(&port.socket);
                if !client.switch(port, overlap) {
                    continue;
                }
                shared.spawn(read_answers(Arc::clone(shared), client, socket, retired));
            }
        }
    }

    /// Returns the client of that address, made if need be.
    async fn client(
        &self,
        shared: &Arc<Shared>,
        address: SocketAddr,
        target: SocketAddr,
        number: u64,
    ) -> io::Result<Arc<Client>> {
        if let Some((heard, client)) = self
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(&address)
        {
            *heard = number;
            return Ok(Arc::clone(client));
        }
        let (port, retired) = Port::open(target).await?;
        let socket = Arc::clone(&port.socket);
        let client = Arc::new(Client {
            address,
            port: Mutex::new(port),
        });
        {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            if clients.len() >= CLIENTS_MAX {
                let heard_first = clients.iter().min_by_key(|(_, (heard, _))| *heard);
                if let Some(silent) = heard_first.map(|(address, _)| *address) {
                    let removed = clients.remove(&silent);
                    if let Some((_, silent)) = removed {
                        drop(silent.lock().retire.take());
                    }
                }
            }
            clients.insert(address, (number, Arc::clone(&client)));
        }
        shared.count_client();
        shared.spawn(read_answers(
            Arc::clone(shared),
            Arc::clone(&client),
            socket,
            retired,
        ));
        Ok(client)
    }
}

impl Client {
    /// Changes to another port; answers to the old one still count for `overlap`. Returns
    /// whether it did: a client that had to make way does not.
    fn switch(&self, to: Port, overlap: Duration) -> bool {
        let mut port = self.lock();
        let Some(retire) = port.retire.take() else {
            return false;
        };
        if !overlap.is_zero() {
            // Fails only if the old port's reader is gone already.
            let _gone = retire.send(overlap);
        }
        *port = to;
        true
    }

    /// Sends a datagram to the server by the port of the moment.
    async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let socket = Arc::clone(&self.lock().socket);
        match socket.send(bytes).await {
            // That was the refusal of an earlier datagram: this one has not been sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                socket.send(bytes).await
            }
            sent => sent,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Port> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port {
    /// Opens a port towards `target`.
    async fn open(target: SocketAddr) -> io::Result<(Self, oneshot::Receiver<Duration>)> {
        let any: SocketAddr = match target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(target).await?;
        widen(&socket);
        let (retire, retired) = oneshot::channel();
        Ok((
            Self {
                socket: Arc::new(socket),
                retire: Some(retire),
            },
            retired,
        ))
    }
}

/// Asks for a wide receive buffer.
fn widen(socket: &UdpSocket) {
    // A refusal leaves the usual buffer, with which everything works at lower rates.
    let _kept = socket2::SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
}

/// Reads what clients send, and offers it to the link.
pub(crate) async fn read_clients(shared: Arc<Shared>, side: Arc<UdpSide>, target: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    for number in 0.. {
        let Ok((size_bytes, address)) = side.listen.recv_from(&mut buffer).await else {
            tokio::time::sleep(RECEIVE_PAUSE).await;
            continue;
        };
        match side.client(&shared, address, target, number).await {
            Ok(client) => {
                let datagram = Datagram {
                    client,
                    bytes: Arc::from(&buffer[..size_bytes]),
                };
                let parcel = Parcel::Datagram(datagram);
                shared.offer(Direction::Up, size_bytes, Carriage::Datagram, parcel);
            }
            // No port for another client: its datagram is lost, as at a full translation table.
            Err(_) => shared.count_undeliverable(),
        }
    }
}

/// Waits for a datagram and reads it.
async fn receive(socket: &UdpSocket) -> io::Result<Arc<[u8]>> {
    loop {
        socket.readable().await?;
        let mut buffer = Vec::with_capacity(DATAGRAM_BYTES_MAX);
        match socket.try_recv_buf(&mut buffer) {
            Ok(_) => return Ok(Arc::from(buffer)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads what the server sends to one port of a client, until the port is retired.
async fn read_answers(
    shared: Arc<Shared>,
    client: Arc<Client>,
    socket: Arc<UdpSocket>,
    retired: oneshot::Receiver<Duration>,
) {
    let retirement = async {
        if let Ok(overlap) = retired.await {
            tokio::time::sleep(overlap).await;
        }
    };
    let reading = async {
        loop {
            // Who waits holds no buffer: a device that dials anew leaves a silent client behind each time.
            match receive(&socket).await {
                Ok(bytes) => {
                    let size_bytes = bytes.len();
                    let datagram = Datagram {
                        client: Arc::clone(&client),
                        bytes,
                    };
                    let parcel = Parcel::Datagram(datagram);
                    shared.offer(Direction::Down, size_bytes, Carriage::Datagram, parcel);
                }
                // The server is not there at the moment: one such error a datagram sent to it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => tokio::time::sleep(RECEIVE_PAUSE).await,
            }
        }
    };
    tokio::select! {
        () = retirement => {}
        () = reading => {}
    }
}
