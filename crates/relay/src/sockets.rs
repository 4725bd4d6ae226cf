//! Where devices come in: UDP, and TCP at the same port.
//!
//! Not here: whom to let in (`listener`), what TCP carries (`tunnels`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use gridbeat_link::{EndpointKey, RelaySocket, RelayTls};
use quinn::{Endpoint, TokioRuntime};
use tokio::task::JoinHandle;

use crate::listener::{Listener, server_config};
use crate::relay::StartError;
use crate::tunnels::Tunnels;

/// How many ports are tried to find one free for UDP and TCP alike: with one in ten taken by others, all fail once in 10¹⁶.
const PORTS_TRIED: usize = 16;

/// Where devices come in.
pub(crate) struct Devices {
    pub(crate) addr: SocketAddr,
    pub(crate) socket: Arc<RelaySocket>,
    tcp: tokio::net::TcpListener,
}

impl Devices {
    /// Lets devices in, by UDP until the endpoint is closed, and by TCP until the task is ended.
    pub(crate) fn let_in(
        self,
        listener: Listener,
        endpoint: Endpoint,
    ) -> (SocketAddr, JoinHandle<()>) {
        let tunnels = Tunnels {
            socket: Arc::clone(&listener.socket),
            tls: listener.tls.clone(),
            counts: Arc::clone(&listener.counts),
            connections_max: listener.connections_max,
        };
        tokio::spawn(listener.run(endpoint));
        (self.addr, tokio::spawn(tunnels.run(self.tcp)))
    }
}

/// Listens at an address, UDP and TCP.
pub(crate) fn listen(
    addr: SocketAddr,
    key: &EndpointKey,
    tls: &RelayTls,
) -> Result<(Endpoint, Devices), StartError> {
    let listening = || {
        let (udp, tcp) = bind_both(addr)?;
        let socket = RelaySocket::new(udp)?;
        let endpoint = Endpoint::new_with_abstract_socket(
            key.endpoint_config(),
            Some(server_config(tls)),
            Arc::<RelaySocket>::clone(&socket),
            Arc::new(TokioRuntime),
        )?;
        let devices = Devices {
            addr: endpoint.local_addr()?,
            socket,
            tcp: tokio::net::TcpListener::from_std(tcp)?,
        };
        Ok((endpoint, devices))
    };
    listening().map_err(|source| StartError::Listen { addr, source })
}

/// Binds UDP and TCP at one port; where any port will do, one that is free for both.
fn bind_both(addr: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tried = 1;
    loop {
        let udp = bind(addr)?;
        let tcp = TcpListener::bind(udp.local_addr()?);
        match tcp {
            Ok(tcp) => {
                tcp.set_nonblocking(true)?;
                return Ok((udp, tcp));
            }
            Err(error) if addr.port() != 0 || tried >= PORTS_TRIED => return Err(error),
            Err(_) => tried += 1,
        }
    }
}

/// Binds a UDP socket; where every address of both families is wanted and the machine has no
/// IPv6, every address of IPv4.
fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let bound = UdpSocket::bind(addr);
    if bound.is_err() && addr.is_ipv6() && addr.ip().is_unspecified() {
        let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port());
        return UdpSocket::bind(v4).or(bound);
    }
    bound
}
