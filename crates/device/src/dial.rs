//! One dial: find the relay, open a socket, begin a connection.
//!
//! A dial that resumes is done at once: what is said goes out with its first packet, and whether the
//! relay takes that is known later. Both ways are raced, UDP and a WebSocket. Not here: when to dial and what then
//! (`dialer`), which way goes first (`paths`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use gridbeat_base::Monotonic;
use gridbeat_link::{
    DeviceEndpoint, DeviceTls, End, FirstFlight, Outage, Under, device_endpoint, device_transport,
    tunnel_endpoint,
};
use quinn::{Connection, Endpoint, ZeroRttAccepted};

use crate::Path;
use crate::paths::Order;

/// How long a rival waits for the relay's first answer.
pub(crate) const RIVAL: Duration = Duration::from_secs(4);

/// A socket with QUIC on it.
#[derive(Clone)]
pub(crate) struct Port {
    pub(crate) endpoint: Endpoint,
    pub(crate) first_flight: FirstFlight,
    under: Under,
}

/// What a dial made.
pub(crate) struct Dialled {
    pub(crate) port: Port,
    pub(crate) connection: Connection,
    pub(crate) outage: Arc<Outage>,
    /// There while nobody has said that the relay took the early data.
    pub(crate) early: Option<ZeroRttAccepted>,
    pub(crate) began: Monotonic,
}

impl Port {
    /// Opens a UDP socket.
    pub(crate) fn open(to: SocketAddr) -> Result<Self, End> {
        let opened = device_endpoint(any_address(to.is_ipv6()));
        opened.map(Self::of).map_err(|error| {
            tracing::warn!(%error, "no UDP socket");
            End::Silent
        })
    }

    /// Opens a WebSocket to the relay at `relay` (`host:port`), found at `to`.
    pub(crate) async fn open_web_socket(relay: &str, to: SocketAddr) -> Result<Self, End> {
        let opened = tunnel_endpoint(relay, to).await;
        opened.map(Self::of).map_err(|error| {
            tracing::debug!(%error, "no way over TCP");
            End::Silent
        })
    }

    fn of(opened: DeviceEndpoint) -> Self {
        let DeviceEndpoint {
            endpoint,
            first_flight,
            under,
        } = opened;
        Self {
            endpoint,
            first_flight,
            under,
        }
    }

    pub(crate) const fn path(&self) -> Path {
        match self.under {
            Under::Udp(_) => Path::Udp,
            Under::WebSocket(_) => Path::WebSocket,
        }
    }

    /// Waits until nothing can go this way any more; a UDP socket never knows that.
    pub(crate) async fn over(&self) {
        match &self.under {
            Under::Udp(_) => std::future::pending().await,
            Under::WebSocket(over) => {
                let mut over = over.clone();
                while over.changed().await.is_ok() {}
            }
        }
    }

    /// Moves every connection to a fresh socket, of which the relay learns by what is sent next; returns whether
    /// they could be.
    pub(crate) fn move_to_fresh_socket(&self) -> io::Result<bool> {
        match &self.under {
            Under::Udp(socket) => socket.move_to(any_address(self.is_v6())).map(|()| true),
            Under::WebSocket(_) => Ok(false),
        }
    }

    pub(crate) fn is_v6(&self) -> bool {
        self.endpoint
            .local_addr()
            .is_ok_and(|address| address.is_ipv6())
    }
}

pub(crate) async fn dial(
    port: Port,
    address: SocketAddr,
    tls: &DeviceTls,
    resumes: bool,
    began: Monotonic,
    patience: Duration,
) -> Result<Dialled, End> {
    let outage = Outage::new();
    let crypto = if resumes { &tls.resuming } else { &tls.fresh };
    let mut config = quinn::ClientConfig::new(
        Arc::<quinn::crypto::rustls::QuicClientConfig>::clone(crypto),
    );
    config.transport_config(Arc::new(device_transport(Arc::clone(&outage))));
    let connecting = port
        .endpoint
        .connect_with(config, address, &tls.server_name)
        .map_err(|error| {
            tracing::warn!(%error, "cannot dial");
            End::Silent
        })?;
    let (connection, early) = match connecting.into_0rtt() {
        Ok((connection, accepted)) => (connection, Some(accepted)),
        Err(connecting) => {
            port.first_flight.release();
            let connected = tokio::time::timeout(patience, connecting).await;
            let connected = connected.map_err(|_| End::Silent)?;
            (connected.map_err(|error| End::of(&error))?, None)
        }
    };
    Ok(Dialled {
        port,
        connection,
        outage,
        early,
        began,
    })
}

/// What a dial on both ways goes by.
pub(crate) struct Attempt {
    /// Where the relay is: `host:port`.
    pub(crate) relay: String,
    pub(crate) tls: DeviceTls,
    pub(crate) order: Order,
    /// Whether the way that goes first may spend a ticket.
    pub(crate) resumes: bool,
    pub(crate) began: Monotonic,
    pub(crate) patience: Duration,
}

impl Attempt {
    /// Dials on both ways. `port` is a UDP socket to go on with.
    pub(crate) async fn dial(self, port: Option<Port>) -> Result<Dialled, End> {
        let address = resolve(&self.relay).await?;
        let (order, resumes) = (self.order, self.resumes);
        let udp = async {
            let port = match port {
                Some(port) if port.is_v6() == address.is_ipv6() => port,
                Some(_) | None => Port::open(address)?,
            };
            let resumes = resumes && order.first == Path::Udp;
            dial(port, address, &self.tls, resumes, self.began, self.patience).await
        };
        let web_socket = async {
            let port = Port::open_web_socket(&self.relay, address);
            let port = tokio::time::timeout(self.patience, port).await;
            let port = port.unwrap_or(Err(End::Silent))?;
            let resumes = resumes && order.first == Path::WebSocket;
            dial(port, address, &self.tls, resumes, self.began, self.patience).await
        };
        race(order, udp, web_socket).await
    }

    /// Dials over a WebSocket alone.
    pub(crate) async fn dial_web_socket(self) -> Result<Dialled, End> {
        let address = resolve(&self.relay).await?;
        let port = Port::open_web_socket(&self.relay, address);
        let port = tokio::time::timeout(self.patience, port).await;
        let port = port.unwrap_or(Err(End::Silent))?;
        dial(port, address, &self.tls, false, self.began, self.patience).await
    }
}

/// Goes both ways, the second a little later or when the first has had no answer. The first answer is taken, be it a
/// refusal.
pub(crate) async fn race<T>(
    order: Order,
    udp: impl Future<Output = Result<T, End>>,
    web_socket: impl Future<Output = Result<T, End>>,
) -> Result<T, End> {
    let (mut udp, mut web_socket) = (pin!(udp), pin!(web_socket));
    let mut lead = pin!(tokio::time::sleep(order.lead));
    // Whether each is under way.
    let mut has_udp = order.first == Path::Udp;
    let mut has_web_socket = !has_udp;
    let mut is_alone = true;
    while has_udp || has_web_socket {
        let done = tokio::select! {
            done = &mut udp, if has_udp => {
                has_udp = false;
                done
            }
            done = &mut web_socket, if has_web_socket => {
                has_web_socket = false;
                done
            }
            () = &mut lead, if is_alone => {
                is_alone = false;
                (has_udp, has_web_socket) = (true, true);
                continue;
            }
        };
        if !matches!(done, Err(End::Silent)) {
            return done;
        }
        if is_alone {
            is_alone = false;
            has_udp = order.first == Path::WebSocket;
            has_web_socket = order.first == Path::Udp;
        }
    }
    Err(End::Silent)
}

pub(crate) async fn resolve(relay: &str) -> Result<SocketAddr, End> {
    match tokio::net::lookup_host(relay).await {
        Ok(mut addresses) => addresses.next().ok_or(End::Silent),
        Err(error) => {
            tracing::debug!(%error, "the relay's address is not to be found");
            Err(End::Silent)
        }
    }
}

fn any_address(v6: bool) -> SocketAddr {
    if v6 {
        SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0)
    } else {
        SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)
    }
}
