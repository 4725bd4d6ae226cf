//! One dial: find the relay, open a socket, begin a connection.
//!
//! A dial that resumes is done at once: what is said goes out with its first packet, and whether the
//! relay takes that is known later. Not here: when to dial and what then (`dialer`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gridbeat_base::Monotonic;
use gridbeat_link::{
    DeviceEndpoint, DeviceTls, End, FirstFlight, MovingSocket, Outage, device_endpoint,
    device_transport,
};
use quinn::{Connection, Endpoint, ZeroRttAccepted};

/// How long a rival waits for the relay's first answer.
pub(crate) const RIVAL: Duration = Duration::from_secs(4);

/// A socket with QUIC on it.
#[derive(Clone)]
pub(crate) struct Port {
    pub(crate) endpoint: Endpoint,
    pub(crate) first_flight: FirstFlight,
    socket: Arc<MovingSocket>,
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
    pub(crate) fn open(to: SocketAddr) -> Result<Self, End> {
        match device_endpoint(any_address(to.is_ipv6())) {
            Ok(DeviceEndpoint {
                endpoint,
                first_flight,
                socket,
            }) => Ok(Self {
                endpoint,
                first_flight,
                socket,
            }),
            Err(error) => {
                tracing::warn!(%error, "no UDP socket");
                Err(End::Silent)
            }
        }
    }

    /// Moves every connection to a fresh socket. The relay learns of it by what is sent next.
    pub(crate) fn move_to_fresh_socket(&self) -> io::Result<()> {
        self.socket.move_to(any_address(self.is_v6()))
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

pub(crate) async fn dial_rival(
    relay: String,
    tls: DeviceTls,
    began: Monotonic,
) -> Result<Dialled, End> {
    let address = resolve(&relay).await?;
    dial(Port::open(address)?, address, &tls, false, began, RIVAL).await
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
