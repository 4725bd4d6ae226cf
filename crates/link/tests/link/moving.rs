//! A connection whose device changes its socket, over real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use gridbeat_link::{
    DeviceEndpoint, Outage, Under, device_endpoint, device_tls, device_transport, relay_transport,
};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};

use super::protocols::{Authority, NAME};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Sends a word over a stream of its own, and reads it at the other end.
async fn say(from: &Connection, to: &Connection, word: &str) {
    let mut stream = from.open_uni().await.unwrap();
    stream.write_all(word.as_bytes()).await.unwrap();
    stream.finish().unwrap();
    let heard = to.accept_uni().await.unwrap().read_to_end(64).await;
    assert_eq!(heard.unwrap(), word.as_bytes());
}

#[tokio::test]
async fn a_connection_goes_on_from_another_socket_both_ways_and_without_a_handshake() {
    let authority = Authority::new();
    let mut config = ServerConfig::with_crypto(authority.relay(NAME).crypto);
    config.transport_config(Arc::new(relay_transport(Outage::new())));
    let relay = Endpoint::server(config, ANY).unwrap();
    let DeviceEndpoint {
        endpoint,
        first_flight,
        under: Under::Udp(socket),
    } = device_endpoint(ANY).unwrap()
    else {
        unreachable!("asked for UDP")
    };
    let tls = device_tls(&authority.bundle(None)).unwrap();
    let mut config = ClientConfig::new(Arc::<QuicClientConfig>::clone(&tls.fresh));
    config.transport_config(Arc::new(device_transport(Outage::new())));
    let connecting = endpoint
        .connect_with(config, relay.local_addr().unwrap(), NAME)
        .unwrap();
    first_flight.release();
    let accepted = async { relay.accept().await.unwrap().await };
    let (ours, theirs) = tokio::join!(connecting, accepted);
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    say(&ours, &theirs, "from the device").await;

    for round in 0..20 {
        let before = endpoint.local_addr().unwrap();
        assert_eq!(theirs.remote_address(), before);
        socket.move_to(ANY).unwrap();
        let after = endpoint.local_addr().unwrap();
        assert_ne!(after, before);
        // The relay does not know yet: what it sends now finds the device at the old address.
        if round % 2 == 0 {
            say(&theirs, &ours, "to where it was").await;
        }
        say(&ours, &theirs, "from elsewhere").await;
        assert_eq!(theirs.remote_address(), after);
        say(&theirs, &ours, "to where it is").await;
    }
    assert_eq!(relay.stats().accepted_handshakes, 1);
    assert_eq!(endpoint.stats().outgoing_handshakes, 1);
}
